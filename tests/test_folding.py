"""Batch normalization in the weights of the layer before it, in inference."""
import numpy as np
import pytest
from check import assert_same_bits
from fused import CLASSES, head, members, sequential, watched

import nnfast as nf

FOLDED = {
    "conv": ((9, 8, 3), lambda: [nf.Conv2D(5, 3, name="w")]),
    "no bias": ((9, 8, 3), lambda: [nf.Conv2D(37, 3, stride=2, padding="same", use_bias=False, name="w")]),
    "one by one": ((5, 6, 4), lambda: [nf.Conv2D(70, 1, name="w")]),
    "winograd": ((9, 8, 16), lambda: [nf.Conv2D(32, 3, padding=1, name="w")]),
    "groups": ((8, 7, 6), lambda: [nf.Conv2D(9, 3, groups=3, dilation=2, name="w")]),
    "wide groups": ((4, 4, 4), lambda: [nf.Conv2D(74, 2, groups=2, name="w")]),
    "depthwise": ((8, 7, 5), lambda: [nf.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="w")]),
    "wide depthwise": ((5, 5, 40), lambda: [nf.DepthwiseConv2D(3, use_bias=False, name="w")]),
    "signal": ((20, 3), lambda: [nf.Conv1D(7, 5, name="w")]),
    "dense": ((11,), lambda: [nf.Dense(35, name="w")]),
    "dense over pixels": ((4, 5, 3), lambda: [nf.Dense(6, use_bias=False, name="w")]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("after", ["nothing", "relu", "gelu", "pooling", "softmax"])
@pytest.mark.parametrize("name", FOLDED)
def test_normalization_in_the_weights(name, after, dtype):
    shape, first = FOLDED[name]
    center, scale = (after != "relu"), (after != "gelu")

    def layers():
        last = [nf.Activation({"nothing": "linear", "pooling": "tanh"}.get(after, after))]
        if after == "pooling" and len(shape) == 3:
            last.append(nf.MaxPool2D(2))
        return [*first(), nf.BatchNorm(center=center, scale=scale, name="n"), *last]

    model = sequential(layers(), shape, dtype)
    assert members(model, inference=True)[0][:2] == ["w", "n"] and members(model)[0] == ["w"]
    apart = watched(layers(), shape, dtype, ("w",))
    apart.set_parameters(model.parameters)
    x = np.random.default_rng(1).standard_normal((6, *shape)).astype(dtype)
    expected = apart.predict(x)[0]
    # Both round each weight or each sum once more or less; cancellation makes the largest term the scale.
    scale = max(1.0, abs(expected).max())
    np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=32 * np.finfo(dtype).eps * scale)
    assert_same_bits(model.predict(x), model.predict(x))
    assert_same_bits(model.predict(x[3:4]), model.predict(x)[3:4])


@pytest.mark.parametrize("name", ["winograd", "wide groups", "wide depthwise", "dense"])
def test_folded_weights_on_any_number_of_threads(name, dtype):
    shape, first = FOLDED[name]
    x = np.random.default_rng(1).standard_normal((9, *shape)).astype(dtype)
    results = []
    for n_threads in (1, 2, 3):
        model = sequential([*first(), nf.BatchNorm(), nf.Activation("relu"), *head()], shape, dtype, seed=3)
        model.compile("sgd", "cross_entropy", n_threads=n_threads)
        results.append(model.predict(x, batch_size=4))
    for other in results[1:]:
        assert_same_bits(results[0], other)


@pytest.mark.parametrize("name", ["conv", "winograd", "groups", "depthwise", "dense"])
def test_folded_weights_follow_the_parameters(name, dtype, tmp_path):
    """After whatever changes parameters, a prediction is that of a copy that has never made one."""
    shape, first = FOLDED[name]
    model = sequential([*first(), nf.BatchNorm(name="n"), nf.Activation("relu"), *head()], shape, dtype)
    model.compile(nf.SGD(0.1), "cross_entropy")
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((8, *shape)).astype(dtype), rng.integers(0, CLASSES, 8)
    weights = model.get_weights()
    seen = [model.predict(x)]
    model.save(tmp_path / "m.safetensors")
    changes = [
        lambda: model.train_on_batch(x, labels),
        lambda: model.fit(x, labels, batch_size=4, epochs=2, verbose=0, validation_data=(x, labels)),
        lambda: model.set_parameters({"n/running_mean": np.ones_like(model.parameters["n/running_mean"])}),
        lambda: model.set_parameters({"n/running_variance": 2 + np.zeros_like(model.parameters["n/running_variance"])}),
        lambda: model.apply_gradients(model.gradients(x, labels, training=True)[1]),
        lambda: model.set_weights(weights),
    ]
    for change in changes:
        change()
        model.evaluate(x, labels)
        y = model.predict(x)
        assert_same_bits(y, model.clone().predict(x))
        assert not np.array_equal(y, seen[-1])
        seen.append(y)
    assert_same_bits(seen[-1], seen[0])
    assert_same_bits(nf.load(tmp_path / "m.safetensors").predict(x), seen[0])
    model.gradients(x, labels, training=True)       # the batch's statistics are not the model's
    model.vjp(x, np.ones((8, CLASSES)), training=True)
    assert_same_bits(model.predict(x), seen[0])


@pytest.mark.parametrize("name", FOLDED)
def test_losses_and_metrics_of_folded_models(name):
    shape, first = FOLDED[name]
    model = sequential([*first(), nf.BatchNorm(), nf.Activation("relu"), nf.Flatten(), nf.Dense(CLASSES),
                        nf.BatchNorm(), nf.Activation("softmax")], shape, "float64")
    model.compile("sgd", "cross_entropy", metrics=["accuracy"], regularizer=nf.L2(0.1))
    assert [len(names) for names in members(model, inference=True)] == [3, 3]
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((7, *shape)), rng.integers(0, CLASSES, 7)
    p = model.predict(x)
    penalty = sum(0.05 * (w**2).sum() for key, w in model.parameters.items() if key.endswith("kernel"))
    losses = -np.log(p[np.arange(7), labels])
    np.testing.assert_allclose(model.per_sample_loss(x, labels), losses, rtol=1e-12)
    figures = model.evaluate(x, labels, batch_size=3)
    assert figures["loss"] == pytest.approx(losses.mean() + penalty, rel=1e-12)
    assert figures["accuracy"] == np.mean(p.argmax(axis=1) == labels)
    # What differentiates runs apart: the same but for rounding.
    assert model.gradients(x, labels)[0] == pytest.approx(figures["loss"], rel=1e-12)
    assert max(model.check_gradients(x, labels, entries=10).values()) < 1e-6


def test_normalizations_that_stay_use_the_running_statistics(dtype):
    model = sequential([nf.BatchNorm(), nf.Conv2D(4, 3, activation="relu"), nf.BatchNorm(), *head()], (6, 6, 2), dtype)
    model.compile("sgd", "cross_entropy")
    x = np.random.default_rng(0).standard_normal((5, 6, 6, 2)).astype(dtype)
    before = model.predict(x)
    model.gradients(x, np.zeros(5, int), training=True)
    assert_same_bits(model.predict(x), before)
    model.train_on_batch(x, np.zeros(5, int))
    after = model.predict(x)
    assert not np.array_equal(before, after)
    assert_same_bits(after, model.clone().predict(x))
