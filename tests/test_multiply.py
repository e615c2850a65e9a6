"""Products of two values of a graph: gates of channels and of pixels, squeeze-and-excitation."""
import numpy as np
import pytest
import reference
from check import assert_close, assert_same_bits
from test_graph import check_derivatives

import nnfast as nf

SHAPES = [
    ((5,), (5,)), ((37,), (37,)), ((37,), (1,)), ((1,), (1,)), ((4, 3, 7), (7,)), ((7,), (4, 3, 7)),
    ((4, 3, 7), (1, 1, 7)), ((4, 3, 7), (4, 3, 1)), ((4, 3, 1), (4, 3, 7)), ((4, 3, 7), (1,)), ((1, 1, 1), (4, 3, 7)),
    ((4, 3, 1), (7,)), ((2, 2, 16), (1, 1, 16)), ((2, 8, 16), (16,)), ((2, 2, 1), (4,)), ((9, 70), (70,)),
    ((9, 70), (9, 1)), ((9, 130), (9, 130)), ((6, 5, 1), (1,)), ((6, 5, 1), (6, 5, 1)), ((13, 12, 24), (24,)),
    ((13, 12, 24), (13, 12, 1)),
]


def product(a, b, dtype="float32"):
    inputs = [nf.Input(a), nf.Input(b)]
    return nf.Model(inputs, nf.Multiply()(inputs), dtype=dtype)


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_values_and_gradients(a, b, dtype, rng):
    model = product(a, b, dtype.name)
    xa, xb = (rng.standard_normal((6, *shape)).astype(dtype) for shape in (a, b))
    y = model.predict([xa, xb])
    wide = [x.astype(np.float64) for x in (xa, xb)]
    assert_close(y, reference.multiply(*wide))
    dy = rng.standard_normal(y.shape).astype(dtype)
    _, dx = model.vjp([xa, xb], dy)
    expected = reference.multiply_backward(*wide, dy.astype(np.float64))
    for ours, theirs in zip(dx, expected, strict=True):
        assert_close(ours, theirs, y[0].size)


@pytest.mark.parametrize(("a", "b"), [((4, 3, 5), (5,)), ((3, 2, 5), (3, 2, 1)), ((6,), (1,)), ((4,), (4,))])
def test_the_reference_by_differences(a, b, rng):
    xa, xb = rng.standard_normal((2, *a)), rng.standard_normal((2, *b))
    dy = rng.standard_normal(reference.multiply(xa, xb).shape)
    for i, dx in enumerate(reference.multiply_backward(xa, xb, dy)):
        x = (xa, xb)[i]
        for at in np.ndindex(x.shape):
            kept = x[at]
            values = []
            for step in (0.5, -0.5):        # linear in each factor: no step is too long
                x[at] = kept + step
                values.append((reference.multiply(xa, xb) * dy).sum())
            x[at] = kept
            np.testing.assert_allclose(dx[at], values[0] - values[1], rtol=1e-9, atol=1e-12)


def test_a_value_times_itself(rng):
    x = nf.Input((3, 2, 5))
    h = nf.Dense(5)(x)
    model = nf.Model(x, nf.Flatten()(nf.Multiply()([h, h])), dtype="float64", seed=1)
    model.compile("sgd", "squared_error")
    check_derivatives(model, rng.standard_normal((3, 3, 2, 5)), rng.standard_normal((3, 30)))


def excited(channels=12, shape=(6, 5, 3), dtype="float64", gate_first=False):
    """Squeeze-and-excitation in a residual block, with a gate of pixels behind it."""
    image = nf.Input(shape)
    x = nf.Conv2D(channels, 3, padding=1, activation="tanh")(image)
    gate = nf.Dense(channels, activation="sigmoid")(nf.Dense(4, activation="silu")(nf.GlobalAvgPool()(x)))
    y = nf.Multiply()([gate, x] if gate_first else [x, gate])
    y = nf.Add()([x, nf.Conv2D(channels, 1)(y)])
    y = nf.Multiply()([y, nf.Conv2D(1, 1, activation="sigmoid")(y)])
    return nf.Model(image, nf.Dense(4, activation="softmax")(nf.GlobalAvgPool()(y)), dtype=dtype, seed=2)


@pytest.mark.parametrize("gate_first", [False, True])
def test_gates_within_a_network(gate_first, rng):
    model = excited(channels=5, gate_first=gate_first)
    model.compile("sgd", "cross_entropy")
    check_derivatives(model, rng.standard_normal((4, 6, 5, 3)), rng.integers(0, 4, 4))


def test_gates_that_others_read_too(rng):
    image = nf.Input((4, 3, 2))
    x = nf.Conv2D(5, 2, activation="tanh")(image)
    channels = nf.Dense(5, activation="sigmoid")(nf.GlobalAvgPool()(x))
    pixels = nf.Conv2D(1, 1, activation="sigmoid")(x)
    single = nf.Dense(1)(channels)
    y = nf.Multiply()([nf.Multiply()([x, channels]), pixels])
    y = nf.Add()([y, nf.Multiply()([channels, pixels]), nf.Multiply()([single, x]), nf.Multiply()([single, y])])
    model = nf.Model(image, nf.Dense(2)(nf.Flatten()(y)), dtype="float64", seed=3)
    model.compile("sgd", "squared_error")
    check_derivatives(model, rng.standard_normal((3, 4, 3, 2)), rng.standard_normal((3, 2)))


def test_same_bits_for_any_number_of_threads(dtype, rng):
    x, y = rng.standard_normal((37, 6, 5, 3)).astype(dtype), rng.integers(0, 4, 37)
    results = []
    for n_threads in (1, 2, 3):
        model = excited(dtype=dtype.name)
        model.compile("adam", "cross_entropy", n_threads=n_threads)
        model.fit(x, y, epochs=2, batch_size=10, verbose=0)
        results.append([*model.get_weights(), model.predict(x)])
    for other in results[1:]:
        for ours, first in zip(other, results[0], strict=True):
            assert_same_bits(ours, first)


def test_what_is_not_finite_comes_through():
    model = product((2, 2, 3), (3,))
    x = np.ones((1, 2, 2, 3), np.float32)
    x[0, 1, 1, 2] = np.inf
    y = model.predict([x, np.array([[1, 2, 0]], np.float32)])
    assert np.isnan(y[0, 1, 1, 2])
    np.testing.assert_array_equal(y.ravel()[:-1], np.tile([1, 2, 0], 4)[:-1])


@pytest.mark.parametrize(("shapes", "message"), [
    ([(4, 4, 3), (4, 4, 5)], r"gate.*\(4, 4, 3\) and \(4, 4, 5\).*for each channel, \(C,\)"),
    ([(4, 4, 3), (4, 1, 3)], r"gate.*\(4, 1, 3\)"),
    ([(4, 1, 1), (1, 4, 3)], r"gate"),
    ([(8,), (4, 4, 3)], r"gate"),
    ([(3,), (3,), (3,)], r"gate: takes a list of two inputs, got 3"),
    ([(3,)], r"gate: takes a list of two inputs, got 1"),
])
def test_shapes_that_do_not_fit(shapes, message):
    with pytest.raises(ValueError, match=message):
        nf.Multiply(name="gate")([nf.Input(shape) for shape in shapes])


def test_saved_and_loaded(tmp_path, rng):
    model, x = excited(), rng.standard_normal((3, 6, 5, 3))
    model.save(tmp_path / "gated.safetensors")
    assert_same_bits(nf.load(tmp_path / "gated.safetensors").predict(x), model.predict(x))
