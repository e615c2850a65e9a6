"""Gradients of small convolution kernels by segments of the batch: where, values, bits for any number of threads."""
import numpy as np
import pytest
from chain import run

import nnfast as nf

#: shape of a sample, the layer, and whether there are segments of a batch of 24
LAYERS = {
    "one channel": ((20, 22, 1), lambda: nf.Conv2D(6, 5, padding=2), True),
    "few outputs": ((34, 30, 6), lambda: nf.Conv2D(5, 3, stride=2), True),
    "kernel rows": ((24, 24, 3), lambda: nf.Conv2D(32, 3, padding="same"), True),
    "few columns": ((16, 16, 40), lambda: nf.Conv2D(24, 3, dilation=2, padding="same"), True),
    "taps": ((28, 28, 40), lambda: nf.Conv2D(72, (1, 3), stride=(1, 2)), True),
    "one tap": ((20, 20, 48), lambda: nf.Conv2D(80, 1), True),
    "channels in parts": ((24, 24, 160), lambda: nf.Conv2D(80, 1), True),
    "winograd": ((32, 32, 24), lambda: nf.Conv2D(24, 3, padding="same"), True),
    "winograd with strides": ((48, 48, 16), lambda: nf.Conv2D(16, 3, stride=2, padding="same"), True),
    "groups": ((24, 24, 24), lambda: nf.Conv2D(40, 3, groups=4), True),
    "depthwise": ((24, 24, 40), lambda: nf.DepthwiseConv2D(3, padding="same"), True),
    "depthwise with a multiplier": ((20, 20, 12), lambda: nf.DepthwiseConv2D(3, depth_multiplier=3), True),
    "signal": ((400, 5), lambda: nf.Conv1D(20, 7, padding="same"), True),
    "pooled": ((40, 40, 8), lambda: nf.Conv2D(20, 3, activation="relu", padding="same"), True),
    "transposed": ((12, 12, 16), lambda: nf.Conv2DTranspose(12, 4, stride=2, padding="same"), True),
    "transposed signal": ((200, 12), lambda: nf.Conv1DTranspose(10, 4, stride=2), True),
    "large kernel": ((8, 8, 96), lambda: nf.Conv2D(96, 3), False),
    "small image": ((5, 5, 3), lambda: nf.Conv2D(8, 3), False),
}


def make(name, dtype="float64", batch=24, n_threads=None, optimizer="sgd", **settings):
    shape, layer, _ = LAYERS[name]
    layers = [layer(), *([nf.MaxPool2D(2)] if name == "pooled" else []), nf.GlobalAvgPool(), nf.Dense(3)]
    model = nf.Sequential(layers, input_shape=shape, dtype=dtype, seed=4)
    model.compile(optimizer, "squared_error", n_threads=n_threads, **settings)
    rng = np.random.default_rng(7)
    return model, rng.standard_normal((batch, *shape)).astype(dtype), rng.standard_normal((batch, 3))


@pytest.mark.parametrize("name", LAYERS)
def test_where_they_are(name):
    model, x, y = make(name)
    found = model._require_plan().segments(24)
    assert bool(found) == LAYERS[name][2], found
    assert all(count in (2, 4, 8) for count in found.values())
    assert not model._require_plan().segments(1)        # there is nothing to share


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [24, 37])
@pytest.mark.parametrize("name", LAYERS)
def test_values(name, batch, dtype):
    """Also of batches that are no multiple of the segments."""
    model, x, y = make(name, dtype, batch)
    _, _, total, expected, _, _ = run(model, x, y, "squared_error")
    loss, ours = model.gradients(x, y)
    assert loss == pytest.approx(total, rel=1e-5 if dtype == "float32" else 1e-12)
    for key, gradient in ours.items():
        most = abs(expected[key]).max()
        np.testing.assert_allclose(gradient, expected[key], rtol=0, atol=(3e-5 if dtype == "float32" else 1e-11) * most)


@pytest.mark.parametrize("name", LAYERS)
def test_threads_do_not_matter(name):
    results = set()
    for n_threads in (1, 2, 3, 8):
        for clip_norm in (None, 0.1):
            model, x, y = make(name, "float32", 37, n_threads, nf.Adam(1e-3, clip_norm=clip_norm),
                               regularizer=nf.L2(1e-4))
            history = model.fit(x, y, 24, epochs=2, verbose=0).history["loss"]      # and 13
            results.add((clip_norm, *history, *(w.tobytes() for w in model.get_weights())))
    assert len(results) == 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_step_is_as_long_as_its_clipped_gradient(name, dtype):
    """Kernels are padded to whole vectors: what the padding of a segment's holds is zero."""
    model, x, y = make(name, dtype, optimizer=nf.SGD(1.0, clip_norm=1e-3))
    for _ in range(2):
        before = model.get_weights()
        model.train_on_batch(x, y)
        moved = sum(((a.astype(float) - b) ** 2).sum() for a, b in zip(model.get_weights(), before, strict=True))
        assert np.sqrt(moved) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("name", ["kernel rows", "winograd", "transposed"])
def test_batches_of_several_sizes_share_memory(name):
    """What a large batch has left there is not seen by a smaller one, nor the other way round."""
    model, x, y = make(name, "float32")
    expected = {n: make(name, "float32")[0].gradients(x[:n], y[:n]) for n in (24, 2, 9)}
    for n in (24, 2, 9, 24, 2):
        loss, grads = model.gradients(x[:n], y[:n])
        assert loss == expected[n][0]
        for key, gradient in grads.items():
            np.testing.assert_array_equal(gradient, expected[n][1][key])


def test_frozen_kernels_have_none():
    model, x, y = make("kernel rows")
    model.layers[0].trainable = False
    assert not model._require_plan().segments(24)
    before = model.get_weights()[0]
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], before)


def test_the_plan_tells(capsys):
    model, x, y = make("kernel rows")
    model.plan()
    assert "before the tiles of a batch of 64, by segments of it: gradient conv2d (8)" in capsys.readouterr().out
    make("large kernel")[0].plan()
    assert "by segments" not in capsys.readouterr().out
