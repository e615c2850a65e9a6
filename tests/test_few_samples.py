"""Fewer samples than threads: convolutions share each sample's pixels. Results, and the bits of one thread."""
import numpy as np
import pytest
from chain import run
from check import assert_close
from fused import sequential

import nnfast as nf

SHAPE, CLASSES = (22, 24, 12), 3

NETS = {
    "winograd and pooling": lambda: [nf.Conv2D(32, 3, padding="same", activation="relu"), nf.MaxPool2D(2)],
    "winograd, tanh, odd pooling": lambda: [nf.Conv2D(24, 3, activation="tanh"), nf.MaxPool2D(3)],
    "direct and pooling": lambda: [nf.Conv2D(20, 5, activation="relu"), nf.MaxPool2D((2, 3))],
    "two in a row, gelu": lambda: [nf.Conv2D(20, 5, activation="gelu", padding="same"), nf.Conv2D(16, 3)],
    "stride and dilation": lambda: [nf.Conv2D(40, 3, stride=2, dilation=2, padding=2, activation="elu")],
    "stride beyond the kernel": lambda: [nf.Conv2D(16, 3, padding="same"), nf.Conv2D(32, 2, stride=3)],
    "groups": lambda: [nf.Conv2D(48, 5, groups=3, activation="sigmoid")],
    "depthwise": lambda: [nf.DepthwiseConv2D(9, padding="same", activation="relu"), nf.Conv2D(24, 3)],
    "depthwise multiplier": lambda: [nf.DepthwiseConv2D(9, depth_multiplier=3, padding="same"), nf.Conv2D(16, 3)],
    "one pixel, normalized": lambda: [nf.Conv2D(64, 1, use_bias=False), nf.BatchNorm(), nf.Activation("relu")],
}


def network(name, dtype):
    layers = [*NETS[name](), nf.GlobalAvgPool(), nf.Dense(CLASSES, activation="softmax")]
    return sequential(layers, SHAPE, dtype, seed=0)


def batch(n, dtype):
    rng = np.random.default_rng(n)
    return rng.standard_normal((n, *SHAPE)).astype(dtype), rng.integers(0, CLASSES, n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETS)
def test_same_bits_as_one_thread(name, dtype):
    results = []
    for n_threads in (1, 2, 3, 5):
        model = network(name, dtype)
        model.compile(nf.SGD(0.01), "cross_entropy", n_threads=n_threads)
        found = []
        for n in (1, 2, 3, 6):
            x, labels = batch(n, dtype)
            found += [model.predict(x), model.input_gradient(x, labels), *model.gradients(x, labels)[1].values()]
            model.fit(x, labels, batch_size=4, epochs=2, verbose=0)
            found += model.get_weights()
        results.append([array.tobytes() for array in found])
    for result in results[1:]:
        assert result == results[0]


@pytest.mark.parametrize("name", [name for name in NETS if "normalized" not in name])
def test_equals_the_reference(name):
    model = network(name, "float64")
    model.compile(nf.SGD(0.01), "cross_entropy", n_threads=4)
    for n in (1, 3):
        x, labels = batch(n, "float64")
        y, _, total, grads, dx, _ = run(model, x, np.eye(CLASSES)[labels], "softmax_cross_entropy")
        assert_close(model.predict(x), y, 10_000)
        loss, ours = model.gradients(x, labels)
        assert np.isclose(loss, total, rtol=1e-12)
        for at, expected in grads.items():
            assert_close(ours[at], expected, 10_000, np.abs(expected).max(), at)
        assert_close(model.input_gradient(x, labels) / n, dx, 10_000, np.abs(dx).max())


def test_one_dimension():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 2000, 16)).astype(np.float32)
    outputs = []
    for n_threads in (1, 3):
        model = nf.Sequential([nf.Conv1D(32, 9, activation="relu"), nf.MaxPool1D(2), nf.Conv1D(8, 9)],
                              input_shape=(2000, 16), seed=0)
        model.compile("sgd", "squared_error", n_threads=n_threads)
        outputs.append(model.predict(x).tobytes())
    assert outputs[0] == outputs[1]
