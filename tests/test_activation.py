"""exp, log and the activations of every level: units in the last place over the float range, edges, derivatives.

The accuracy of a value y against the true r is |y - r| in units of the last place of r. Values whose true size is
below the least normal number count as zero, as everywhere in nnfast.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import reference

from nnfast._core import kernels, testing

LEVELS = [name for name, usable in kernels.levels() if usable]
ORACLE = np.load(Path(__file__).parent / "oracles" / "activation.npz")
NAMES = ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "relu6",
         "hard_sigmoid", "hard_swish", "selu", "mish"]
FROM_INPUT = ["gelu", "silu", "softplus", "hard_swish", "mish"]         # derivative computed from z, the others' from y

# Largest error in units in the last place. The measured maxima are 50 to 80 % of these.
ULPS = {"exp": 2.0, "log": 2.0, "sigmoid": 4.0, "tanh": 4.0, "elu": 4.0, "gelu": 10.0, "silu": 4.0, "softplus": 4.0,
        "relu6": 0.5, "hard_sigmoid": 2.0, "hard_swish": 3.5, "selu": 4.0, "mish": 5.0}

# Below this e^-z overflows and silu is 0; sigmoid is, too, and its true value is below the least normal number. So is
# e^z, where mish is 0.
VANISHES = {"silu": -88.3, "mish": -87.3}


@pytest.fixture(params=LEVELS)
def level(request):
    return request.param


def run(level, name, x, alpha=1.0):
    y = np.full_like(x, np.nan)
    if name in ("exp", "log"):
        getattr(testing, name)(level, x, y)
    else:
        testing.activation(level, name, x, y, alpha)
    return y


def backward(level, name, z, dy, alpha=1.0):
    """The gradient by the kernel, given z only where it may ask for it."""
    dz = np.full_like(z, np.nan)
    y = run(level, name, z, alpha)
    testing.activation_backward(level, name, z if name in FROM_INPUT else None, y, dy, dz, alpha)
    return dz


def ulps(y, expected):
    """Distances in units of the last place of `expected`, which may be more precise than y."""
    info = np.finfo(y.dtype)
    _, exponent = np.frexp(expected)
    return np.abs(y.astype(np.float64) - expected) / np.ldexp(1.0, np.maximum(exponent - 1, info.minexp) - info.nmant)


def float32_sweep(step=8191):
    """Every 8191st float32 by its bits: about a thousand in each binade of each sign, with infinities and NaNs."""
    x = np.arange(0, 2**32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x[np.isnan(x)] = np.nan         # signalling ones raise a warning when NumPy converts them
    return x[(np.abs(x) >= np.finfo(np.float32).tiny) | (x == 0) | np.isnan(x)]


def truth(name, x):
    """The functions in float64."""
    with np.errstate(all="ignore"):
        if name in ("exp", "log"):
            return getattr(np, name)(x)
        if name == "gelu":      # erfc only where it matters: the reference calls it one number at a time
            inner = np.abs(x) < 14.5
            return np.where(inner, reference.activation(name, np.where(inner, x, 0.0)), np.maximum(x, 0.0))
        if name in ("silu", "hard_swish", "mish"):
            x = np.maximum(x, -1000.0)
        return reference.activation(name, x, 1.0)


@pytest.mark.parametrize("name", ULPS)
def test_float32_over_the_whole_range(level, name):
    x = float32_sweep()
    if name == "gelu":
        x = np.concatenate([x[::7], np.linspace(-13.1, 6.0, 20011, dtype=np.float32)])
    if name in VANISHES:
        x = x[~((x > -93.0) & (x < VANISHES[name]))]
    y, expected = run(level, name, x), truth(name, x.astype(np.float64))
    info = np.finfo(np.float32)

    assert (np.isnan(y) == np.isnan(expected)).all()
    size = np.abs(expected)
    finite = (size >= info.tiny) & (size < info.max)
    worst = np.argmax(np.where(finite, ulps(y, np.where(finite, expected, 1.0)), 0.0))
    assert ulps(y[worst], expected[worst]) <= ULPS[name], f"{name}({x[worst]!r}) = {y[worst]!r}"
    assert (np.abs(y[size < info.tiny]) <= info.tiny).all()
    beyond = size > info.max
    np.testing.assert_array_equal(y[beyond], np.copysign(np.inf, expected[beyond]))


@pytest.mark.parametrize("name", [name for name in ULPS if name != "relu6"])      # which rounds nothing
def test_float64_against_fifty_digits(level, name):
    x, expected = ORACLE[f"{name}/x"], ORACLE[f"{name}/y"]
    y = run(level, name, x)
    error = ulps(y, expected)
    worst = np.argmax(error)
    assert error[worst] <= ULPS[name] + 0.5, f"{name}({x[worst]!r}) = {y[worst]!r}"     # the oracle itself is rounded


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "elu", "silu", "softplus", "selu", "mish"])
def test_float64_between_the_oracle_points(level, name, rng):
    # NumPy is good to a few units itself, but covers the intervals densely. (Its gelu is not: the rounding of
    # x / sqrt(2) alone costs hundreds of units in the tail.)
    x = np.concatenate([rng.uniform(-36.0, 36.0, 4000), np.ldexp(rng.uniform(-2, 2, 4000), rng.integers(-60, 3, 4000))])
    assert ulps(run(level, name, x), truth(name, x)).max() <= ULPS[name] + 8.0


EDGES = {       # -inf, inf, -0, the least normal number, the greatest
    "exp": lambda tiny, most: [0, np.inf, 1, 1, np.inf],
    "sigmoid": lambda tiny, most: [0, 1, 0.5, 0.5, 1],
    "tanh": lambda tiny, most: [-1, 1, 0, tiny, 1],
    "relu": lambda tiny, most: [0, np.inf, 0, tiny, most],
    "leaky_relu": lambda tiny, most: [-np.inf, np.inf, 0, tiny, most],
    "elu": lambda tiny, most: [-1, np.inf, 0, tiny, most],
    "gelu": lambda tiny, most: [0, np.inf, 0, None, most],
    "silu": lambda tiny, most: [0, np.inf, 0, None, most],
    "softplus": lambda tiny, most: [0, np.inf, None, None, most],
    "relu6": lambda tiny, most: [0, 6, 0, tiny, 6],
    "hard_sigmoid": lambda tiny, most: [0, 1, 0.5, 0.5, 1],
    "hard_swish": lambda tiny, most: [0, np.inf, 0, None, most],
    "selu": lambda tiny, most: [None, np.inf, 0, None, np.inf],
    "mish": lambda tiny, most: [0, np.inf, 0, None, most],
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(level, name, dtype):
    info = np.finfo(dtype)
    x = np.array([-np.inf, np.inf, -0.0, info.tiny, info.max, np.nan], dtype)
    y = run(level, name, x)
    for given, value, expected in zip(x, y, EDGES[name](info.tiny, info.max), strict=False):
        assert expected is None or value == expected, f"{name}({given})"
    assert np.isnan(y[-1])


def test_edges_of_log(level, dtype):
    x = np.array([0.0, -0.0, -1.0, -np.inf, np.inf, np.nan, 1.0, np.finfo(dtype).max], dtype)
    y = run(level, "log", x)
    expected = [-np.inf, -np.inf, np.nan, np.nan, np.inf, np.nan, 0.0, math.log(np.finfo(dtype).max)]
    np.testing.assert_allclose(y, expected, rtol=np.finfo(dtype).eps)
    assert y[6] == 0.0


def test_exp_over_and_underflow_at_the_right_place(level, dtype):
    info = np.finfo(dtype)
    top, bottom = dtype.type(math.log(info.max)), dtype.type(math.log(info.tiny))
    inside = np.array([np.nextafter(top, 0, dtype=dtype), np.nextafter(bottom, dtype.type(0))], dtype)
    outside = np.array([top * dtype.type(1.001), bottom * dtype.type(1.06)], dtype)
    assert np.isfinite(run(level, "exp", inside)).all()
    assert (run(level, "exp", inside) >= info.tiny).all()
    assert run(level, "exp", outside)[0] == np.inf
    assert run(level, "exp", outside)[1] <= info.tiny


def test_tiny_arguments_keep_their_digits(level, dtype):
    x = np.array([1e-20, -1e-20, 3e-37, -3e-37], dtype)
    np.testing.assert_array_equal(run(level, "tanh", x), x)
    np.testing.assert_array_equal(run(level, "elu", x), x)
    np.testing.assert_array_equal(run(level, "gelu", x), x / 2)
    np.testing.assert_array_equal(run(level, "silu", x), x / 2)
    np.testing.assert_array_equal(run(level, "hard_swish", x), x / 2)
    np.testing.assert_allclose(run(level, "mish", x), x * 0.6, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", NAMES)
def test_saturated_values_stay_in_range(level, name, dtype, rng):
    x = (rng.standard_normal(5000) * 20).astype(dtype)
    y = run(level, name, x)
    if name == "tanh":
        assert np.abs(y).max() <= 1
    if name in ("sigmoid", "hard_sigmoid"):
        assert y.min() >= 0
        assert y.max() <= 1
    if name == "elu":
        assert y.min() >= -1
    order = np.argsort(x)
    if name not in ("gelu", "silu", "hard_swish", "mish"):      # the others never fall, rounding apart
        assert (np.diff(y[order]) >= -4 * np.finfo(dtype).eps * np.abs(y[order][1:])).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("alpha", [0.0, 0.01, 1.0, 1.7])
def test_equals_reference(level, name, alpha, dtype, rng):
    z = (rng.standard_normal(997) * 4).astype(dtype)
    z[::50] = 0
    dy = rng.standard_normal(z.size).astype(dtype)
    wide, wide_dy = z.astype(np.float64), dy.astype(np.float64)
    eps = np.finfo(dtype).eps
    expected = reference.activation(name, wide, alpha)
    np.testing.assert_allclose(run(level, name, z, alpha), expected, rtol=16 * eps, atol=2 * eps)
    dz = backward(level, name, z, dy, alpha)
    np.testing.assert_allclose(dz, reference.activation_backward(name, wide, wide_dy, alpha), rtol=16 * eps,
                               atol=16 * eps)


@pytest.mark.parametrize("name", NAMES)
def test_derivative_by_central_differences(level, name):
    z = np.linspace(-6.0, 6.0, 240) + 1e-3      # an even number, and beside the ends: no point at a kink
    h = 1e-5
    slope = (run(level, name, z + h, 0.3) - run(level, name, z - h, 0.3)) / (2 * h)
    np.testing.assert_allclose(backward(level, name, z, np.ones_like(z), 0.3), slope, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_derivative_at_the_edges(level, name, dtype):
    z = np.array([-np.inf, np.inf, -200.0, 200.0, -0.0, 0.0], dtype)
    low = 0.25 if name == "leaky_relu" else 1.0 if name == "linear" else 0.0
    high = 0.0 if name in ("sigmoid", "tanh", "relu6", "hard_sigmoid") else 1.0
    if name == "selu":
        high = reference.SELU_SCALE
    middle = {"linear": 1, "sigmoid": 0.25, "tanh": 1, "relu": 0, "leaky_relu": 0.25, "elu": 0.25, "gelu": 0.5,
              "silu": 0.5, "softplus": 0.5, "relu6": 0, "hard_sigmoid": 1 / 6, "hard_swish": 0.5,
              "selu": reference.SELU_SCALE * reference.SELU_ALPHA, "mish": 0.6}[name]
    slope = backward(level, name, z, np.ones_like(z), 0.25)
    np.testing.assert_allclose(slope, [low, high, low, high, middle, middle], rtol=4 * np.finfo(dtype).eps, atol=1e-37)


# PyTorch's: at the number itself the slope is that of the outer side; its neighbours' is their own.
@pytest.mark.parametrize(("name", "kink", "slopes"), [
    ("relu6", 0.0, (0, 0, 1)), ("relu6", 6.0, (1, 0, 0)), ("hard_sigmoid", -3.0, (0, 0, 1 / 6)),
    ("hard_sigmoid", 3.0, (1 / 6, 0, 0)), ("hard_swish", -3.0, (0, 0, -0.5)), ("hard_swish", 3.0, (1.5, 1, 1)),
])
def test_derivative_at_the_kinks(level, name, kink, slopes, dtype):
    kink = dtype.type(kink)
    z = np.array([np.nextafter(kink, -dtype.type(np.inf)), kink, np.nextafter(kink, dtype.type(np.inf))], dtype)
    slope = backward(level, name, z, np.ones_like(z))
    np.testing.assert_allclose(slope, slopes, rtol=4 * np.finfo(dtype).eps)
    assert ((slope == 0) == (np.array(slopes) == 0)).all()


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_not_lost(level, name, dtype):
    z = np.linspace(-1, 1, 41).astype(dtype)
    z[[3, 17, 40]] = np.nan
    assert (np.isnan(run(level, name, z)) == np.isnan(z)).all()
    dy = np.full_like(z, np.nan)
    passing = ~np.isnan(z) & (z > 0)
    assert np.isnan(backward(level, name, z, dy)[passing]).all()


@pytest.mark.parametrize("name", NAMES)
def test_tails_touch_nothing_and_change_no_bits(level, name, dtype, rng):
    z = rng.standard_normal(70).astype(dtype) * 3
    dy = rng.standard_normal(70).astype(dtype)
    whole, whole_dz = run(level, name, z, 0.5), backward(level, name, z, dy, 0.5)
    for n in range(70):
        y, dz = np.full(80, -7, dtype), np.full(80, -7, dtype)
        testing.activation(level, name, z[:n], y[:n], 0.5)
        np.testing.assert_array_equal(y[:n], whole[:n])
        testing.activation_backward(level, name, z[:n], whole[:n], dy[:n], dz[:n], 0.5)
        np.testing.assert_array_equal(dz[:n], whole_dz[:n])
        assert (y[n:] == -7).all()
        assert (dz[n:] == -7).all()


@pytest.mark.parametrize("name", NAMES)
def test_in_place(level, name, dtype, rng):
    z = rng.standard_normal(53).astype(dtype)
    dy = rng.standard_normal(53).astype(dtype)
    expected, expected_dz = run(level, name, z, 0.5), backward(level, name, z, dy, 0.5)
    y = z.copy()
    testing.activation(level, name, y, y, 0.5)
    np.testing.assert_array_equal(y, expected)
    testing.activation_backward(level, name, z, y, dy, dy, 0.5)
    np.testing.assert_array_equal(dy, expected_dz)


# --- softmax ---------------------------------------------------------------------------------------------------------

SHAPES = [(1, 1), (3, 2), (16, 3), (5, 7), (4, 8), (7, 9), (33, 10), (3, 16), (2, 17), (5, 100)]


def padded(values, pad, fill=-7):
    """The same rows with `pad` more columns in memory."""
    whole = np.full((values.shape[0], values.shape[1] + pad), fill, values.dtype)
    whole[:, :values.shape[1]] = values
    return whole, whole[:, :values.shape[1]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pad", [0, 3])
def test_softmax(level, shape, pad, dtype, rng):
    eps = np.finfo(dtype).eps
    _, x = padded((rng.standard_normal(shape) * 4).astype(dtype), pad, np.nan)
    whole, y = padded(np.zeros(shape, dtype), pad)
    testing.softmax(level, x, y)
    # x - max x is rounded: a relative error of its size times eps / 2 in the power.
    np.testing.assert_allclose(y, reference.softmax(x.astype(np.float64)), rtol=(8 + 0.5 * np.ptp(x)) * eps)
    np.testing.assert_allclose(y.astype(np.float64).sum(axis=1), 1.0, rtol=4 * eps)
    assert (whole[:, shape[1]:] == -7).all()

    dy = rng.standard_normal(shape).astype(dtype)
    whole, dx = padded(np.zeros(shape, dtype), pad)
    testing.softmax_backward(level, y, dy, dx)
    expected = reference.softmax_backward(y.astype(np.float64), dy.astype(np.float64))
    np.testing.assert_allclose(dx, expected, rtol=8 * eps, atol=4 * eps * np.sqrt(shape[1]))
    assert (whole[:, shape[1]:] == -7).all()

    testing.softmax_backward(level, y, dy, dy)
    np.testing.assert_array_equal(dy, dx)
    testing.softmax(level, x, x)
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("n", [3, 10, 40])
def test_softmax_edges(level, n, dtype):
    x = np.zeros((6, n), dtype)
    x[0] = 1e4
    x[1, 0], x[1, 1:] = 1e4, -1e4
    x[2, -1] = -np.inf
    x[3, -1] = np.nan
    x[4, 0] = np.nan
    x[5, :] = -1e4
    y = np.empty_like(x)
    testing.softmax(level, x, y)
    np.testing.assert_allclose(y[[0, 5]], 1 / n, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(y[1], np.eye(n)[0])
    assert y[2, -1] == 0
    np.testing.assert_allclose(y[2, :-1], 1 / (n - 1), rtol=4 * np.finfo(dtype).eps)
    assert np.isnan(y[3:5]).all()


# --- losses, fused with softmax and sigmoid or by themselves ---------------------------------------------------------

def loss_of(name, y, t, delta=1.0):
    """(value a row, gradient, probabilities) in float64."""
    with np.errstate(divide="ignore"):
        if name == "softmax_cross_entropy":
            below = y - y.max(axis=1, keepdims=True)
            p = reference.softmax(y)
            logarithm = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
            terms = np.where(t == 0, 0.0, -t * np.where(t == 0, 0.0, logarithm))
            return terms.sum(axis=1), p * t.sum(axis=1, keepdims=True) - t, p
        if name == "sigmoid_cross_entropy":
            p = reference.sigmoid(y)
            terms = np.maximum(y, 0) - y * t + np.log1p(np.exp(-np.abs(y)))
            return terms.sum(axis=1), p - t, p
        if name == "binary_cross_entropy":
            log_p, log_q = np.maximum(np.log(y), -100), np.maximum(np.log1p(-y), -100)
            return -(t * log_p + (1 - t) * log_q).sum(axis=1), (y - t) / np.maximum(y * (1 - y), 1e-12), None
    d = y - t
    if name == "squared_error":
        return (d * d).sum(axis=1), 2 * d, None
    if name == "absolute_error":
        return np.abs(d).sum(axis=1), np.sign(d), None
    size = np.abs(d)
    return np.where(size <= delta, d * d / 2, delta * (size - delta / 2)).sum(axis=1), np.clip(d, -delta, delta), None


def check_loss(level, name, y, t, labels, weight, pad, delta=0.8, scale=0.25):
    """Values, gradients and probabilities, with and without the optional outputs, in padded memory."""
    dtype, (m, n) = y.dtype, y.shape
    eps = np.finfo(dtype).eps
    expected, slope, p = loss_of(name, y.astype(np.float64), t.astype(np.float64), delta)
    scales = scale * (np.ones(m) if weight is None else weight)
    _, y = padded(y, pad, np.nan)
    given = None if labels is not None else padded(t, pad, np.nan)[1]
    whole_p, p_out = padded(np.zeros((m, n), dtype), pad)
    whole_dy, dy = padded(np.zeros((m, n), dtype), pad)
    value = np.full(m + 1, np.nan)
    keywords = {"weight": weight, "scale": scale, "delta": delta}
    testing.loss(level, name, y, given, labels, value, p=p_out, dy=dy, **keywords)

    assert np.isnan(value[m])
    span = 1 + (np.ptp(y) if name.endswith("cross_entropy") else 0.0)
    size = np.maximum(1.0, np.abs(expected))
    assert (np.abs(value[:m] - expected) <= 8 * eps * np.sqrt(n) * size * np.maximum(1.0, span / 8)).all()
    largest = np.abs(slope).max() * scales[:, None]
    assert (np.abs(dy - slope * scales[:, None]) <= (4 + span) * eps * np.maximum(largest, scales[:, None])).all()
    assert (whole_dy[:, n:] == -7).all()
    assert (whole_p[:, n:] == -7).all()
    if p is not None:
        np.testing.assert_allclose(p_out, p, rtol=(8 + span) * eps)

    # Nothing but values; then probabilities over the logits: the same bits.
    other = np.full(m + 1, np.nan)
    testing.loss(level, name, y, given, labels, other, **keywords)
    np.testing.assert_array_equal(other, value)
    second = np.empty_like(dy)
    testing.loss(level, name, y, given, labels, other, p=y if p is not None else None, dy=second, **keywords)
    np.testing.assert_array_equal(other, value)
    np.testing.assert_array_equal(second, dy)
    if p is not None:
        np.testing.assert_array_equal(y, p_out)


@pytest.mark.parametrize("name", testing.LOSSES)
@pytest.mark.parametrize("shape", [*SHAPES, (19, 1), (40, 1)])
@pytest.mark.parametrize("pad", [0, 3])
def test_loss(level, name, shape, pad, dtype, rng):
    y = (rng.random(shape) if name == "binary_cross_entropy" else rng.standard_normal(shape) * 3).astype(dtype)
    t = rng.random(shape).astype(dtype)
    weight = rng.random(shape[0])
    check_loss(level, name, y, t, None, None, pad)
    check_loss(level, name, y, t, None, weight, pad)
    if name == "softmax_cross_entropy":
        labels = rng.integers(0, shape[1], shape[0]).astype(np.int32)
        check_loss(level, name, y, np.eye(shape[1], dtype=dtype)[labels], labels, weight, pad)


def test_cross_entropy_of_huge_logits(level, dtype):
    z = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype)
    value, dz = np.empty(2), np.empty_like(z)
    testing.loss(level, "softmax_cross_entropy", z, None, np.array([1, 2], np.int32), value, dy=dz)
    np.testing.assert_allclose(value, [2e4, math.log(2)], rtol=1e-7)
    np.testing.assert_allclose(dz, [[1, -1, 0], [0, 0.5, -0.5]], rtol=1e-7)
    t = np.array([[1, 0, 0], [0.5, 0.5, 0]], dtype)
    testing.loss(level, "sigmoid_cross_entropy", z, t, None, value, dy=dz)
    np.testing.assert_allclose(value, [math.log(2), 2e4], rtol=1e-7)
    np.testing.assert_allclose(dz, [[0, 0, 0.5], [-0.5, 0.5, 1]], rtol=1e-7)


def test_impossible_class_costs_nothing_where_not_asked_for(level, dtype):
    z = np.array([[-np.inf, 0.0, 0.0]] * 2, dtype)
    t = np.array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]], dtype)
    value, dz = np.empty(2), np.empty_like(z)
    testing.loss(level, "softmax_cross_entropy", z, t, None, value, dy=dz)
    np.testing.assert_allclose(value, [math.log(2), np.inf], rtol=1e-7)
    np.testing.assert_allclose(dz[0], [0, -0.5, 0.5], rtol=1e-7)


def test_binary_cross_entropy_at_its_cuts(level, dtype):
    p = np.array([[0.0, 1.0, 0.0, 1.0]], dtype)
    t = np.array([[1.0, 0.0, 0.0, 1.0]], dtype)
    value, dp = np.empty(1), np.empty_like(p)
    testing.loss(level, "binary_cross_entropy", p, t, None, value, dy=dp)
    assert value[0] == 200.0
    np.testing.assert_allclose(dp, [[-1e12, 1e12, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("name", testing.LOSSES)
@pytest.mark.parametrize("n", [1, 3, 40])
def test_loss_of_nan_is_nan(level, name, n, dtype):
    y, t = np.full((2, n), 0.25, dtype), np.full((2, n), 0.5, dtype)
    y[1, n // 2] = np.nan
    value = np.empty(2)
    testing.loss(level, name, y, t, None, value, dy=np.empty_like(y))
    assert np.isfinite(value[0])
    assert np.isnan(value[1])
