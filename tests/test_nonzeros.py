"""Dense layers whose inputs or gradients hold many zeros: values, bits and threads.

A batch of few rows, and nnfast.functional, multiply all numbers: theirs are the bits that skipping zeros must have.
"""
import numpy as np
import pytest
import reference

import nnfast as nf
from nnfast import functional as F
from nnfast._core import kernels, testing

BIAS = nf.initializers.Constant(0.1)

#: rows, inputs, outputs
SHAPES = [(24, 64, 64), (64, 33, 100), (37, 70, 257), (130, 784, 128), (96, 1700, 96), (128, 260, 65)]


def with_zeros(rng, shape, share, dtype):
    """About this share of the numbers is not zero."""
    return (rng.standard_normal(shape) * (rng.random(shape) < share)).astype(dtype)


def make(inputs, outputs, activation="linear", dtype="float32", n_threads=None):
    model = nf.Sequential([nf.Dense(outputs, activation, bias_initializer=BIAS)],
                          input_shape=(inputs,), dtype=dtype, seed=3)
    model.compile("sgd", "squared_error", n_threads=n_threads)
    return model


def close(actual, expected, dtype):
    np.testing.assert_allclose(actual, expected, rtol=0,
                               atol=(1e-5 if dtype == "float32" else 1e-13) * (1 + abs(expected).max()))


@pytest.mark.parametrize("share", [0, 0.004, 0.1, 0.5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_forward(rng, shape, dtype, share):
    rows, inputs, outputs = shape
    x = with_zeros(rng, (rows, inputs), share, dtype)
    for activation in ("linear", "relu", "tanh"):
        model = make(inputs, outputs, activation, dtype)
        w, b = (p.astype(float) for p in model.get_weights())
        y = model.predict(x, batch_size=rows)
        close(y, reference.activation(activation, x.astype(float) @ w + b), dtype)
        np.testing.assert_array_equal(y, np.concatenate([model.predict(x[i:i + 1]) for i in range(rows)]))


@pytest.mark.parametrize("shares", [(0.5, 1), (1, 0.5), (0.3, 0.5), (0.02, 0.1), (1, 0), (0, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_backward(rng, shape, dtype, shares):
    """dW from lists of x or of dy, whichever holds more zeros, and dx from those of dy."""
    rows, inputs, outputs = shape
    x, dy = with_zeros(rng, (rows, inputs), shares[0], dtype), with_zeros(rng, (rows, outputs), shares[1], dtype)
    results = []
    for n_threads in (1, 2, 3):
        model = make(inputs, outputs, dtype=dtype, n_threads=n_threads)
        w = model.get_weights()[0]
        grads, dx = model.vjp(x, dy)
        results.append((grads["dense/kernel"], grads["dense/bias"], dx))
    exact = x.T.astype(float) @ dy, dy.astype(float).sum(axis=0), dy.astype(float) @ w.T
    full_dx, full_dw, _ = F.dense_backward(x, w, dy)
    for dw, db, dx in results:
        for ours, expected in zip((dw, db, dx), exact, strict=True):
            close(ours, expected, dtype)
        np.testing.assert_array_equal(dx, full_dx)
        if rows <= 128:     # samples that are summed at once
            np.testing.assert_array_equal(dw, full_dw)
        np.testing.assert_array_equal(dw, results[0][0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_samples(rng, dtype):
    """More than are summed at once."""
    x, dy = with_zeros(rng, (700, 100), 1, dtype), with_zeros(rng, (700, 150), 0.4, dtype)
    for a, b in ((x, dy), (dy, x)):
        model = make(a.shape[1], b.shape[1], dtype=dtype)
        grads, _ = model.vjp(a, b)
        close(grads["dense/kernel"], a.T.astype(float) @ b, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "inputs", "panels", "share", "skipped"), [
    (64, 200, 4, 0.3, True), (24, 64, 2, 0.5, True), (64, 200, 5, 0.0, True),
    (64, 200, 4, 0.8, False), (64, 200, 4, 1.0, False),
    (16, 200, 4, 0.3, False), (64, 20, 4, 0.3, False), (64, 200, 1, 0.3, False),     # too few to pay
])
def test_which_products_skip_zeros(rng, dtype, rows, inputs, panels, share, skipped):
    isa = kernels.selected()
    outputs = panels * testing.tile(isa, np.dtype(dtype).char)[2]
    x, w = with_zeros(rng, (rows, inputs), share, dtype), rng.standard_normal((inputs, outputs)).astype(dtype)
    y = np.full((rows, outputs), np.nan, dtype)
    assert testing.multiply_nonzeros(isa, x, w, y) == skipped
    if skipped:
        close(y, x.astype(float) @ w, dtype)
    else:
        assert np.isnan(y).all()


@pytest.mark.parametrize("part", ["first rows", "last rows", "first columns", "one row"])
def test_zeros_in_places(rng, part):
    """Whatever the rows that are looked at promise."""
    x = rng.standard_normal((200, 1900)).astype(np.float32)
    x[{"first rows": np.s_[:150], "last rows": np.s_[20:], "first columns": np.s_[:, :1000],
       "one row": np.s_[1:]}[part]] = 0
    model = make(1900, 130)
    y = model.predict(x, batch_size=200)
    np.testing.assert_array_equal(y, np.concatenate([model.predict(x[i:i + 10]) for i in range(0, 200, 10)]))
    dy = rng.standard_normal((200, 130)).astype(np.float32)
    grads, _ = model.vjp(x, dy)
    close(grads["dense/kernel"], x.T.astype(float) @ dy, "float32")


@pytest.mark.parametrize("dropout", [0, 0.5])
def test_training(dropout):
    """ReLU, dropout and inputs of zeros together: the same bits for any number of threads, and what NumPy gets."""
    rng = np.random.default_rng(0)
    x, y = with_zeros(rng, (300, 200), 0.2, np.float32), rng.integers(0, 7, 300)
    results = set()
    for n_threads in (1, 2, 3, 5):
        hidden = [layer for _ in range(2) for layer in (nf.Dense(160, activation="relu"), nf.Dropout(dropout))]
        model = nf.Sequential([*hidden, nf.Dense(7, activation="softmax")], input_shape=(200,), seed=1)
        model.compile(nf.Adam(1e-3), "cross_entropy", n_threads=n_threads)
        model.fit(x, y, batch_size=64, epochs=3, verbose=0)
        results.add(b"".join(w.tobytes() for w in model.get_weights()))
    assert len(results) == 1
    if not dropout:
        model.check_gradients(x[:40], y[:40])


#: sample, layer: a pixel by itself, its rows and panels not full, channels beyond one block, every second pixel, taps
CONVOLUTIONS = {
    "pointwise": ((12, 11, 64), lambda: nf.Conv2D(96, 1)),
    "pointwise, rest": ((9, 7, 70), lambda: nf.Conv2D(150, 1)),
    "pointwise, deep": ((6, 6, 1100), lambda: nf.Conv2D(128, 1, activation="tanh")),
    "pointwise, long": ((20, 30, 64), lambda: nf.Conv2D(64, 1, activation="relu", bias_initializer=BIAS)),
    "pointwise signal": ((300, 80), lambda: nf.Conv1D(130, 1)),
    "strided": ((15, 15, 64), lambda: nf.Conv2D(100, 1, stride=2)),
    "taps": ((13, 14, 72), lambda: nf.Conv2D(130, 3, stride=2, padding="same")),
    "groups": ((10, 10, 160), lambda: nf.Conv2D(160, 1, groups=2)),
    "transposed": ((7, 7, 96), lambda: nf.Conv2DTranspose(72, 2, stride=2)),
}


@pytest.mark.parametrize("shares", [(0.4, 1), (1, 0.4), (0.05, 0.3), (0, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(rng, name, dtype, shares):
    """The same as where the zeros are all but zero: then nothing is skipped."""
    shape, layer = CONVOLUTIONS[name]
    tiny = np.finfo(dtype).tiny * 2**10
    x = with_zeros(rng, (5, *shape), shares[0], dtype)
    results = []
    for n_threads, fill in ((1, 0), (2, 0), (3, 0), (1, tiny)):
        model = nf.Sequential([layer()], input_shape=shape, dtype=dtype, seed=5)
        model.compile("sgd", "squared_error", n_threads=n_threads)
        given = np.where(x == 0, x.dtype.type(fill), x)
        y = model.predict(given, batch_size=5)
        dy = with_zeros(np.random.default_rng(1), y.shape, shares[1], dtype)
        grads, dx = model.vjp(given, np.where(dy == 0, dy.dtype.type(fill), dy))
        results.append([y, dx, *grads.values()])
    for ours in results[1:3]:
        for a, b in zip(ours, results[0], strict=True):
            np.testing.assert_array_equal(a, b)
    for full, ours in zip(results[3], results[0], strict=True):
        np.testing.assert_allclose(ours, full, rtol=0, atol=np.finfo(dtype).tiny * 2**24)


def test_lists_behind_a_copy(rng):
    """Of so many pixels, with the zeros around them, that what other layers need would not hold the lists, too."""
    x = with_zeros(rng, (1, 112, 112, 512), 0.3, np.float32)
    model = nf.Sequential([nf.Conv2D(128, 1, stride=4, padding=1)], input_shape=x.shape[1:])
    w = model.get_weights()[0][0, 0]
    rows = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))[:, ::4, ::4].astype(float)
    for n_threads in (1, 2):
        model.compile("sgd", "squared_error", n_threads=n_threads)
        close(model.predict(x), rows @ w, "float32")
