"""The same numbers as PyTorch: convolutions, pooling and batch normalization, and training with them step for step."""

import json
from pathlib import Path

import numpy as np
import pytest
from check import assert_close

import nnfast as nf
import nnfast.functional as F
from nnfast import optimizers

ORACLE = np.load(Path(__file__).parent / "oracles" / "convolution.npz")
SPECS = json.loads(str(ORACLE["specs"]))
SCALE, WEIGHT_SCALE = float(ORACLE["scale"]), float(ORACLE["weight_scale"])


def stored(key, dtype, scale=1.0):
    return (ORACLE[key] / scale).astype(dtype)


@pytest.mark.parametrize("name", SPECS["conv"])
def test_convolution(name, dtype):
    _, _, _, stride, padding, dilation, groups = SPECS["conv"][name]
    x, w, b, dy = (stored(f"conv/{name}/{key}", dtype, SCALE) for key in ("x", "w", "b", "dy"))
    y = F.conv2d(x, w, b, stride, padding, dilation, groups)
    grads = F.conv2d_backward(x, w, dy, stride, padding, dilation, groups)
    for key, ours in zip(("y", "dx", "dw", "db"), (y, *grads)):
        expected = ORACLE[f"conv/{name}/{key}"]
        assert_close(ours, expected, 4, float(np.abs(expected).max()), key)


@pytest.mark.parametrize("name", SPECS["pool"])
def test_pooling(name, dtype):
    _, kernel, stride, padding = SPECS["pool"][name]
    place = kernel, stride, [(n, n) for n in padding]
    x, dy = stored(f"pool/{name}/x", dtype, SCALE), stored(f"pool/{name}/dy", dtype, SCALE)
    results = {"max_y": F.max_pool2d(x, *place), "max_dx": F.max_pool2d_backward(x, dy, *place)}
    for key, p in (("mean", False), ("mean_pad", True)):
        results[f"{key}_y"] = F.avg_pool2d(x, *place, p)
        results[f"{key}_dx"] = F.avg_pool2d_backward(dy, x.shape, *place, p)
    for key, ours in results.items():
        expected = ORACLE[f"pool/{name}/{key}"]
        assert_close(ours, expected, 4, float(np.abs(expected).max()), key)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batch_normalization(dtype):
    """Three steps in training, through `vjp`, and the statistics after them, through a learning rate of nearly zero."""
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-12}
    x, dy, gamma, beta = (stored(f"norm/{key}", dtype, SCALE) for key in ("x", "dy", "gamma", "beta"))
    model = nf.Sequential([nf.BatchNorm(momentum=0.3, epsilon=1e-3)], input_shape=x.shape[2:], dtype=dtype)
    model.set_parameters({"batch_norm/gamma": gamma, "batch_norm/beta": beta})
    model.compile(nf.SGD(1e-30), "squared_error")
    for step in range(3):
        grads, dx = model.vjp(x[step], dy[step], training=True)
        for name, ours in (("dx", dx), ("dgamma", grads["batch_norm/gamma"]), ("dbeta", grads["batch_norm/beta"])):
            np.testing.assert_allclose(ours, ORACLE[f"norm/{name}"][step], **tolerance, err_msg=f"{name}, step {step}")
        # With y as its target, the loss of a training step is the distance of our y from PyTorch's.
        target = ORACLE["norm/y"][step]
        loss = model.train_on_batch(x[step], target)["loss"]
        assert loss < 1e-20 if dtype == "float64" else loss < 1e-8
    for name in ("running_mean", "running_variance"):
        np.testing.assert_allclose(model.parameters[f"batch_norm/{name}"], ORACLE[f"norm/{name}"], **tolerance)
    np.testing.assert_allclose(model.predict(x[0]), ORACLE["norm/inference"], **tolerance)


def network(name, dtype, n_threads=None):
    """(model, x, t, batches) of a stored network; see oracles/make_convolution.py."""
    spec = SPECS["net"][name]
    layers = []
    for kind, *how in spec["layers"]:
        if kind == "conv":
            filters, size, stride, padding, groups, activation = how
            layers.append(nf.Conv2D(filters, size, stride, padding, groups=groups, activation=activation))
        else:
            layers.append({
                "max": nf.MaxPool2D, "average": nf.AvgPool2D, "mean": nf.GlobalAvgPool, "flatten": nf.Flatten,
                "norm": nf.BatchNorm, "activation": nf.Activation, "dense": nf.Dense,
            }[kind](*how))
    model = nf.Sequential(layers, input_shape=spec["input"], dtype=dtype)
    trained = [key for key in model.parameters if "running" not in key]
    model.set_parameters({key: stored(f"net/{name}/weight{i}", "d", WEIGHT_SCALE) for i, key in enumerate(trained)})
    optimizer = optimizers.get(dict(zip(("class", "config"), spec["optimizer"])))
    model.compile(optimizer, nf.CrossEntropy(from_logits=True), n_threads=n_threads)
    x, t = stored(f"net/{name}/x", dtype, SCALE), ORACLE[f"net/{name}/t"].astype(int)
    return model, x, t, ORACLE[f"net/{name}/order"].astype(int)


def check_weights(model, name):
    for key, stem in ((next(iter(model.parameters)), "first_kernel"), (list(model.parameters)[-1], "last_bias")):
        np.testing.assert_allclose(model.parameters[key], ORACLE[f"net/{name}/{stem}"], rtol=1e-7, atol=1e-9)
    for i, key in enumerate(key for key in model.parameters if "running" in key):
        np.testing.assert_allclose(model.parameters[key], ORACLE[f"net/{name}/statistic{i}"], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", SPECS["net"])
def test_loss_curve_in_float64(name):
    model, x, t, batches = network(name, "float64")
    ours = [model.train_on_batch(x[rows], t[rows])["loss"] for rows in batches]
    assert len(ours) == 100
    np.testing.assert_allclose(ours, ORACLE[f"net/{name}/losses64"], rtol=1e-9)
    check_weights(model, name)


@pytest.mark.parametrize("name", SPECS["net"])
def test_loss_curve_in_float32(name):
    model, x, t, batches = network(name, "float32")
    ours = [model.train_on_batch(x[rows], t[rows])["loss"] for rows in batches]
    expected = ORACLE[f"net/{name}/losses32"]
    np.testing.assert_allclose(ours[:20], expected[:20], rtol=2e-5)
    np.testing.assert_allclose(ours[-20:], expected[-20:], rtol=0.01)


@pytest.mark.parametrize("name", SPECS["net"])
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_fit_is_the_same_steps(name, n_threads):
    """The 100 batches as one epoch, one call of the compiled loop."""
    model, x, t, batches = network(name, "float64", n_threads)
    rows = batches.ravel()
    history = model.fit(x[rows], t[rows], batch_size=batches.shape[1], shuffle=False, verbose=0)
    assert history.history["loss"] == [pytest.approx(ORACLE[f"net/{name}/losses64"].mean(), rel=1e-9)]
    check_weights(model, name)
