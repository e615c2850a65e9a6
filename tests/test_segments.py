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


def graph(kind, dtype="float64", n_threads=None):
    """Networks in which more than one layer reads what the gradients are made of."""
    image = nf.Input((24, 24, 4))
    h = nf.Conv2D(16, 3, padding="same", activation="relu")(image)
    if kind == "batch norm":
        h = nf.Activation("relu")(nf.BatchNorm()(nf.Conv2D(12, 3, padding="same", use_bias=False)(h)))
    elif kind == "two readers":
        h = nf.Concatenate()([nf.Conv2D(8, 3, padding="same")(h), nf.Conv2D(8, 5, padding="same")(h), h])
    elif kind == "residual":
        h = nf.Add()([h, nf.Conv2D(16, 3, padding="same", activation="tanh")(h)])
    elif kind == "lambda":
        h = nf.Conv2D(8, 3, activation="relu")(nf.Lambda(lambda x: 2 * x, lambda dy, x, y: 2 * dy)(h))
    elif kind == "pooled":
        h = nf.MaxPool2D(2)(nf.Conv2D(16, 3, padding="same", activation="relu")(nf.MaxPool2D(2)(h)))
    model = nf.Model(image, nf.Dense(3)(nf.GlobalAvgPool()(h)), dtype=dtype, seed=3)
    model.compile(nf.Adam(1e-3), "squared_error", n_threads=n_threads)
    rng = np.random.default_rng(2)
    return model, rng.standard_normal((24, 24, 24, 4)).astype(dtype), rng.standard_normal((24, 3))


GRAPHS = ["plain", "batch norm", "two readers", "residual", "lambda", "pooled"]


@pytest.mark.parametrize("kind", [kind for kind in GRAPHS if kind != "batch norm"])
def test_the_gradient_of_a_batch_is_the_mean_of_its_samples(kind):
    """One sample has no segments."""
    model, x, y = graph(kind)
    assert len(model._require_plan().segments(24)) >= 1
    _, whole = model.gradients(x, y)
    single = [model.gradients(x[i:i + 1], y[i:i + 1])[1] for i in range(24)]
    for key, gradient in whole.items():
        np.testing.assert_allclose(gradient, np.mean([own[key] for own in single], axis=0), rtol=0,
                                   atol=1e-12 * abs(gradient).max())


@pytest.mark.parametrize("kind", GRAPHS)
def test_threads_do_not_matter_to_graphs(kind):
    """Also with batches that have segments and one that has none in turns, and other calls in between."""
    results = set()
    for n_threads in (1, 2, 3, 8):
        model, x, y = graph(kind, "float32", n_threads)
        history = model.fit(x, y, 23, epochs=2, verbose=0).history["loss"]      # and 1
        slopes = model.input_gradient(x[:9], y[:9]), *model.vjp(x[:5], y[:5])[0].values()
        model.train_on_batch(x, y)
        results.add((*history, *(a.tobytes() for a in (*slopes, *model.get_weights()))))
    assert len(results) == 1


def test_memory_does_not_grow_with_large_batches():
    """Eight kernels are enough for any batch."""
    plan = make("signal", "float32")[0]._require_plan()
    frozen = make("signal", "float32")[0]
    frozen.layers[0].trainable = False
    per_sample = [p.memory(800) - p.memory(400) for p in (plan, frozen._require_plan())]
    first = plan.memory(8) - frozen._require_plan().memory(8)
    assert first > 0 and plan.segments(8)
    kernel = 7 * 5 * 32 * 4         # packed: 20 columns take two vectors at most
    # Without segments the two differ by what a frozen layer does not keep, which grows with the batch.
    described = {name: size for row in plan.describe() for name, size in row["buffers"].items() if name == "segments"}
    assert 0 < described["segments"] <= 8 * kernel
    assert plan.memory(10**6) < 10**6 * plan.memory(1)
    assert per_sample[0] >= per_sample[1]
    assert plan.memory(10**18) > 10**18


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
    assert "gradients that threads have made by segments of it: conv2d (8)" in capsys.readouterr().out
    make("large kernel")[0].plan()
    assert "by segments" not in capsys.readouterr().out


@pytest.mark.skipif(not nf.config.config()["openmp"], reason="without OpenMP one thread has all tiles")
@pytest.mark.parametrize("batch", [8, 32, 64, 256])
def test_threads_share_what_segments_leave(batch):
    """The demo's network: of 32 samples only the first convolution has segments, of 256 the second, too. Work that is
    taken for done goes to one thread, and the other waits."""
    layers = [nf.Conv2D(32, 3, padding="same", activation="relu"), nf.Conv2D(32, 3, padding="same", activation="relu"),
              nf.MaxPool2D(2), nf.Conv2D(64, 3, padding="same", activation="relu"), nf.MaxPool2D(2), nf.Flatten(),
              nf.Dense(128, activation="relu"), nf.Dense(10, activation="softmax")]
    model = nf.Sequential(layers, input_shape=(8, 8, 1), seed=1)
    model.compile("adam", "cross_entropy", n_threads=2)
    plan = model._require_plan()
    in_segments = plan.segments(batch)
    assert list(in_segments) == ["conv2d", "conv2d_1"][:{8: 0, 32: 1, 64: 1, 256: 2}[batch]]
    # multiply-adds of a sample for each number of a kernel
    work = {"conv2d": 64, "conv2d_1": 64, "conv2d_2": 16, "dense": 1, "dense_1": 1}
    mine, others = [sum(numbers * work[name[:-7]] for name, numbers in share.items()
                        if name.endswith("/kernel") and name[:-7] not in in_segments)
                    for share in plan.shares(batch, 2)]
    assert 0.8 < mine / others < 1.25
