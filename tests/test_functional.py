"""nnfast.functional against the reference, and its checks of arguments."""
import threading

import numpy as np
import pytest
import reference
from check import GUARD, assert_close, assert_same_bits, check_op, guarded, strided
from hypothesis import given, settings
from hypothesis import strategies as st

import nnfast.functional as F

ELEMENTWISE = ["sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "relu6",
               "hard_sigmoid", "hard_swish", "selu", "mish"]
FROM_INPUT = ["gelu", "silu", "softplus", "hard_swish", "mish"]     # derivative computed from x, the others' from y
ALPHA = {"leaky_relu": 0.2, "elu": 0.7}
CHUNK = 4096                                    # elements of one thread's turn in nnfast/_core/elementwise.pyx

# (rows, C, K): one element, one row, and both sides of the tiles 4x8, 6x16, 8x8, 14x32 and of whole vectors.
DENSE_SHAPES = [
    (1, 1, 1), (1, 7, 1), (1, 64, 3), (5, 1, 9), (3, 4, 8), (4, 5, 7), (6, 16, 16), (7, 17, 17), (13, 31, 31),
    (14, 32, 32), (15, 33, 33), (29, 65, 47), (28, 3, 64), (57, 129, 65), (2, 300, 2), (130, 600, 10),
    (1, 7, 64), (2, 70, 128), (4, 33, 256), (8, 35, 512),      # dx as dot products
]


def alpha_of(name):
    return {"alpha": ALPHA[name]} if name in ALPHA else {}


def away_from_zero(x, gap=0.01):
    return np.where(x >= 0, x + gap, x - gap)


# --- values ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", DENSE_SHAPES, ids=str)
def test_dense(shape, rng):
    rows, c, k = shape
    x, w, b = rng.normal(size=(rows, c)), rng.normal(size=(c, k)), rng.normal(size=k)
    dense_case(x, w, b)


def dense_case(x, w, b, activation="linear", **arguments):
    # For n products of standard normals the sum's partial values reach a few sqrt(n): that is the scale of the error.
    length = x.shape[-1] + 1
    scale = 4.0
    check_op(
        lambda x, w, b, **how: F.dense(x, w, b, activation, **arguments, **how),
        lambda x, w, b: reference.activation(activation, reference.dense(x, w, b), arguments.get("alpha", 0.0)),
        [x, w, b], [length], [scale * max(1.0, np.sqrt(length) / 4)],
    )


@pytest.mark.parametrize("shape", DENSE_SHAPES, ids=str)
def test_dense_backward(shape, rng):
    rows, c, k = shape
    x, w, dy = rng.normal(size=(rows, c)), rng.normal(size=(c, k)), rng.normal(size=(rows, k))
    check_op(F.dense_backward, reference.dense_backward, [x, w, dy], (k, rows, rows),
             [4.0 * max(1.0, np.sqrt(n) / 4) for n in (k, rows, rows)], ("dx", "dw", "db"))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_dense_any_shape(rows, c, k, seed):
    rng = np.random.default_rng(seed)
    x, w, b, dy = (rng.normal(size=s) for s in [(rows, c), (c, k), (k,), (rows, k)])
    dense_case(x, w, b)
    check_op(F.dense_backward, reference.dense_backward, [x, w, dy], (k, rows, rows),
             [4.0 * max(1.0, np.sqrt(n) / 4) for n in (k, rows, rows)], ("dx", "dw", "db"))


@pytest.mark.parametrize("activation", [*ELEMENTWISE, "softmax"])
def test_dense_with_activation(activation, rng):
    x, w, b = rng.normal(size=(9, 5)), rng.normal(size=(5, 35)), rng.normal(size=35)
    dense_case(x, w, b, activation, **alpha_of(activation))


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_dense_of_few_rows_and_whole_vectors(activation, rng):
    """w is read in place, some of its rows at a time."""
    dense_case(rng.normal(size=(3, 40)), rng.normal(size=(40, 64)), rng.normal(size=64), activation)


def test_dense_large_enough_for_all_threads(rng):
    x, w, b = rng.normal(size=(150, 130)), rng.normal(size=(130, 210)), rng.normal(size=210)
    dense_case(x, w, b, "relu")
    dy = rng.normal(size=(150, 210))
    check_op(F.dense_backward, reference.dense_backward, [x, w, dy], (210, 150, 150), (16.0,), ("dx", "dw", "db"))


def test_dense_over_the_last_axis(rng, dtype):
    x, w, dy = (rng.normal(size=s).astype(dtype) for s in [(2, 3, 4), (4, 5), (2, 3, 5)])
    y = F.dense(x, w)
    assert y.shape == (2, 3, 5)
    assert_same_bits(y.reshape(6, 5), F.dense(x.reshape(6, 4), w))
    assert_same_bits(F.dense(x[0, 0], w), y[0, 0])
    dx, dw, db = F.dense_backward(x, w, dy)
    dx2, dw2, db2 = F.dense_backward(x.reshape(6, 4), w, dy.reshape(6, 5))
    assert dx.shape == x.shape
    for a, b in [(dx.reshape(6, 4), dx2), (dw, dw2), (db, db2)]:
        assert_same_bits(a, b)


def test_dense_without_bias(rng, dtype):
    x, w = rng.normal(size=(5, 4)).astype(dtype), rng.normal(size=(4, 3)).astype(dtype)
    assert_same_bits(F.dense(x, w), F.dense(x, w, np.zeros(3, dtype)))


@pytest.mark.parametrize("needed", [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)], ids=str)
def test_dense_backward_computes_what_is_needed(needed, rng, dtype):
    x, w, dy = (rng.normal(size=s).astype(dtype) for s in [(5, 4), (4, 3), (5, 3)])
    everything = F.dense_backward(x, w, dy)
    some = F.dense_backward(x, w, dy, **{f"need_{n}": bool(v) for n, v in zip(("dx", "dw", "db"), needed)})
    for wanted, whole, part in zip(needed, everything, some):
        assert part is None if not wanted else (part == whole).all()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)], ids=str)
def test_dense_of_nothing(shape, dtype):
    rows, c = shape
    x, w = np.ones((rows, c), dtype), np.ones((c, 2), dtype)
    b = np.array([1, 2], dtype)
    np.testing.assert_array_equal(F.dense(x, w, b), np.tile(b, (rows, 1)))
    dx, dw, db = F.dense_backward(x, w, np.ones((rows, 2), dtype))
    assert dx.shape == (rows, c)
    np.testing.assert_array_equal(dw, np.zeros((c, 2)))
    np.testing.assert_array_equal(db, [rows, rows])


@pytest.mark.parametrize("rows", [1, 3, 30])
def test_dense_without_inputs_or_outputs(rows, dtype):
    b = np.arange(32, dtype=dtype)
    y = F.dense(np.ones((rows, 0), dtype), np.ones((0, 32), dtype), b)
    np.testing.assert_array_equal(y, np.tile(b, (rows, 1)))
    for activation in ("linear", "tanh", "softmax"):
        assert F.dense(np.ones((rows, 4), dtype), np.ones((4, 0), dtype), activation=activation).shape == (rows, 0)
    dx, dw, db = F.dense_backward(np.ones((0, 4), dtype), np.ones((4, 32), dtype), np.ones((0, 32), dtype))
    assert dx.shape == (0, 4) and not dw.any() and not db.any()
    dx, dw, db = F.dense_backward(np.ones((2, 4), dtype), np.ones((4, 0), dtype), np.ones((2, 0), dtype))
    assert not dx.any() and dw.shape == (4, 0) and db.shape == (0,)


def test_subnormals_count_the_same_in_every_gradient():
    """As zero, where the processor can do that."""
    tiny = np.full((1, 4, 1, 16), 1e-39, np.float32)
    x, w = np.ones((1, 4, 1, 4), np.float32), np.ones((1, 1, 4, 16), np.float32)
    gradients = [*F.dense_backward(x[0], w[0, 0], tiny[0]), *F.conv2d_backward(x, w, tiny)]
    assert len({bool(gradient.any()) for gradient in gradients}) == 1


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (2, 3, 4), (3 * CHUNK + 5,)], ids=str)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activation(name, shape, rng):
    x, dy = away_from_zero(3 * rng.normal(size=shape)), rng.normal(size=shape)
    alpha = ALPHA.get(name, 0.0)
    check_op(lambda x, **how: getattr(F, name)(x, **alpha_of(name), **how),
             lambda x: reference.activation(name, x, alpha), [x])
    backward = getattr(F, f"{name}_backward")
    if name in FROM_INPUT:
        check_op(backward, lambda dy, x: reference.activation_backward(name, x, dy), [dy, x], names=("dx",))
    else:
        # The reference starts from x: give ours the y of each dtype.
        def through_y(dy, x, out, n_threads):
            return backward(dy, getattr(F, name)(x, **alpha_of(name)), **alpha_of(name), out=out, n_threads=n_threads)

        # y (1 - y) and 1 - y^2 double the error of y, whose size is 1 where they are small
        check_op(through_y, lambda dy, x: reference.activation_backward(name, x, dy, alpha), [dy, x], [4],
                 [np.abs(dy).max(initial=1.0)], ("dx",))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activation_defaults(name, dtype):
    x = np.array([-2.0, 3.0], dtype)
    alpha = {"leaky_relu": 0.01, "elu": 1.0}.get(name, 0.0)
    assert_close(getattr(F, name)(x), reference.activation(name, x.astype(np.float64), alpha))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activation_of_nothing(name, dtype):
    x = np.zeros((3, 0), dtype)
    assert getattr(F, name)(x).shape == getattr(F, f"{name}_backward")(x, x).shape == (3, 0)


@pytest.mark.parametrize("shape", [
    (1,), (7,), (1, 1), (5, 3), (3, 16), (2, 3, 17), (1, 1000), (4 * CHUNK // 33, 33),
], ids=str)
def test_softmax(shape, rng):
    x, dy = 3 * rng.normal(size=shape), rng.normal(size=shape)
    check_op(F.softmax, reference.softmax, [x], [shape[-1]])

    def through_y(dy, x, out, n_threads):
        return F.softmax_backward(dy, F.softmax(x), out=out, n_threads=n_threads)

    check_op(through_y, lambda dy, x: reference.softmax_backward(reference.softmax(x), dy), [dy, x], [4 * shape[-1]],
             names=("dx",))


def test_softmax_of_no_rows(dtype):
    nothing = np.zeros((0, 3), dtype)
    assert F.softmax(nothing).shape == F.softmax_backward(nothing, nothing).shape == (0, 3)


def weighted(loss, y, t, weight, **arguments):
    values, dy = reference.LOSSES[loss](y.reshape(len(y), -1), t.reshape(len(y), -1), **arguments)
    share = weight / weight.sum()
    return (share @ values), (share[:, None] * dy).reshape(y.shape)


def loss_case(loss, y, t, weight, **arguments):
    n = y[0].size
    scale = np.abs(reference.LOSSES[loss](y.reshape(len(y), -1), t.reshape(len(y), -1), **arguments)[0]).max()
    # Gradients are differences of numbers of size 1 (or of y) divided by B.
    size = max(1.0, np.abs(y).max()) if loss in ("squared_error", "absolute_error", "huber") else 1.0
    if loss == "binary_cross_entropy":
        size = 100.0
    check_op(
        lambda y, t, weight, out, n_threads: getattr(F, loss)(
            y, t, sample_weight=weight, out=out, n_threads=n_threads, **arguments),
        lambda y, t, weight: weighted(loss, y, t, weight, **arguments),
        [y, t, weight], (n + 3, 4), (max(scale, 1.0), size * (weight / weight.sum()).max()), ("loss", "dy"),
        out_shapes=[y.shape],
    )


LOSS_SHAPES = [(1, 1), (1, 5), (4, 3), (7, 17), (3, 2, 5), (6,), (3 * CHUNK // 10 + 1, 10)]


@pytest.mark.parametrize("shape", LOSS_SHAPES, ids=str)
@pytest.mark.parametrize("loss", [loss for loss in reference.LOSSES if loss != "softmax_cross_entropy"])
def test_loss(loss, shape, rng):
    weight = rng.uniform(0.5, 2.0, size=shape[0])
    if loss in ("sigmoid_cross_entropy", "binary_cross_entropy"):
        t = rng.uniform(size=shape)
        y = rng.uniform(0.02, 0.98, size=shape) if loss == "binary_cross_entropy" else 3 * rng.normal(size=shape)
    else:
        t = rng.normal(size=shape)
        # The sign of the difference must not hang on the rounding to float32.
        y = t + away_from_zero(rng.normal(size=shape))
    loss_case(loss, y, t, weight, **({"delta": 0.7} if loss == "huber" else {}))


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 3), (7, 17), (3 * CHUNK // 10 + 1, 10)], ids=str)
def test_softmax_cross_entropy(shape, rng):
    logits, t = 3 * rng.normal(size=shape), reference.softmax(rng.normal(size=shape))
    weight = rng.uniform(0.5, 2.0, size=shape[0])
    loss_case("softmax_cross_entropy", logits, t, weight)
    labels = rng.integers(shape[1], size=shape[0])
    check_op(
        lambda z, labels, out, n_threads: F.softmax_cross_entropy(z, labels, out=out, n_threads=n_threads),
        lambda z, labels: weighted("softmax_cross_entropy", z, reference.one_hot(labels, shape[1]), np.ones(shape[0])),
        [logits, labels], (shape[1], shape[1]), (10.0, 2 / shape[0]), ("loss", "dlogits"),
        out_shapes=[shape],
    )


def test_cross_entropies_of_huge_logits(dtype):
    z = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype)
    loss, dz = F.softmax_cross_entropy(z, np.array([0, 0]))
    assert loss == 1e4
    np.testing.assert_array_equal(dz, np.array([[0, 0], [-0.5, 0.5]], dtype))
    loss, dz = F.sigmoid_cross_entropy(z, np.ones_like(z))
    assert loss == 1e4
    np.testing.assert_array_equal(dz, np.array([[0, -0.5], [-0.5, 0]], dtype))


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_labels_of_any_integer_type(kind, dtype):
    z = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], dtype)
    loss, dz = F.softmax_cross_entropy(z, np.array([2, 1], kind))
    same, dz_same = F.softmax_cross_entropy(z, np.array([[0, 0, 1], [0, 1, 0]], dtype))
    assert abs(loss - same) < 1e-6
    assert_same_bits(dz, dz_same)


def test_losses_are_python_floats(dtype):
    loss, _ = F.squared_error(np.ones((2, 2), dtype), np.zeros((2, 2), dtype))
    assert type(loss) is float and loss == 2.0


def test_nan_comes_through(dtype):
    x = np.array([[1.0, np.nan]], dtype)
    for y in (F.sigmoid(x), F.relu(x), F.gelu(x), F.dense(x, np.ones((2, 1), dtype)), F.softmax(x)):
        assert np.isnan(y).any()


@pytest.mark.parametrize("n", [1, 5, 40])
def test_losses_of_what_is_not_finite(n, dtype):
    inf, nan = np.inf, np.nan
    for logit, y, loss, slope in [(inf, 0, inf, 1), (inf, 1, 0, 0), (inf, 0.5, inf, 0.5), (-inf, 0, 0, 0),
                                  (-inf, 1, inf, -1), (nan, 0, nan, nan), (nan, 1, nan, nan), (1, nan, nan, nan)]:
        value, dz = F.sigmoid_cross_entropy(np.full((1, n), logit, dtype), np.full((1, n), y, dtype))
        np.testing.assert_array_equal(value, loss)
        np.testing.assert_array_equal(dz, slope)
    for y_hat, y, slope in [(nan, 0, nan), (0, nan, nan), (inf, 0, 1), (0, inf, -1), (inf, inf, nan), (2, 2, 0)]:
        _, dy = F.absolute_error(np.full((1, n), y_hat, dtype), np.full((1, n), y, dtype))
        np.testing.assert_array_equal(dy, slope)


# --- arguments -------------------------------------------------------------------------------------------------------

X = np.ones((2, 3), np.float32)
W = np.ones((3, 4), np.float32)
B = np.ones(4, np.float32)
Y = np.ones((2, 4), np.float32)
X64 = X.astype(np.float64)


def weigh(sample_weight):
    return F.squared_error(X, X, sample_weight=sample_weight)


@pytest.mark.parametrize("call, error, text", [
    (lambda: F.dense([[1.0]], W), TypeError, "dense: x must be a NumPy array of float32 or float64, got list"),
    (lambda: F.dense(X.astype(np.float16), W), TypeError, "dense: x must be float32 or float64, got float16"),
    (lambda: F.dense(X.astype(">f4"), W), TypeError, "dense: x must be float32 or float64, got >f4"),
    (lambda: F.dense(X, W.astype(np.float64)), TypeError, "dense: w is float64, but x is float32"),
    (lambda: F.dense(X, np.ones((2, 4), np.float32)), ValueError,
     r"dense: w has shape \(2, 4\), expected \(3, outputs\) for x of shape \(2, 3\)"),
    (lambda: F.dense(X, np.ones(3, np.float32)), ValueError, r"dense: w has shape \(3,\)"),
    (lambda: F.dense(np.ones((), np.float32), W), ValueError, "dense: x must have at least one axis"),
    (lambda: F.dense(X, W, np.ones(3, np.float32)), ValueError,
     r"dense: b has shape \(3,\), expected \(4,\) for w of shape \(3, 4\)"),
    (lambda: F.dense(X, W, B.astype(np.float64)), TypeError, "dense: b is float64, but w is float32"),
    (lambda: F.dense(X, W, activation="rellu"), ValueError, "dense: unknown activation 'rellu'; did you mean 'relu'"),
    (lambda: F.dense(X, W, activation=3), TypeError, "dense: activation must be a name, got int"),
    (lambda: F.dense(X, W, activation="relu", alpha=0.1), ValueError, "dense: relu takes no alpha"),
    (lambda: F.dense(X, W, activation="elu", alpha=-0.1), ValueError,
     "dense: alpha must be a finite number at least 0"),
    (lambda: F.dense(X, W, n_threads=0), ValueError, "dense: n_threads must be at least 1, got 0"),
    (lambda: F.dense(X, W, n_threads=1.5), TypeError, "dense: n_threads must be an integer"),
    (lambda: F.relu(X, n_threads=True), TypeError, "relu: n_threads must be an integer, got bool"),
    (lambda: F.softmax(X, n_threads=np.array([2])), TypeError, "softmax: n_threads must be an integer, got ndarray"),
    (lambda: F.squared_error(X, X, n_threads=5000), ValueError, "squared_error: n_threads must be at most 1024"),
    (lambda: F.dense_backward(X, W, np.ones((2, 3), np.float32)), ValueError,
     r"dense_backward: dy has shape \(2, 3\), expected \(2, 4\) for x of shape \(2, 3\)"),
    (lambda: F.dense_backward(X, W, Y, out=[None] * 3), TypeError, "out must be a tuple"),
    (lambda: F.dense_backward(X, W, Y, need_db=False, out=(None, None, B)), ValueError, "need_db is false"),
    (lambda: F.dense_backward(X, W, Y, need_dx="no"), TypeError,
     "dense_backward: need_dx must be True or False, got str: 'no'"),
    (lambda: F.dense_backward(X, W, Y, need_db=0), TypeError, "dense_backward: need_db must be True or False"),
    (lambda: F.relu(3.0), TypeError, "relu: x must be a NumPy array of float32 or float64, got float"),
    (lambda: F.relu(np.ones(3, complex)), TypeError, "relu: x must be float32 or float64, got complex128"),
    (lambda: F.leaky_relu(X, alpha=float("nan")), ValueError, "leaky_relu: alpha must be a finite number"),
    (lambda: F.leaky_relu(X, alpha=1e300), ValueError,
     r"leaky_relu: alpha must be at most 3.40282e\+38, the largest float32, got 1e\+300"),
    (lambda: F.elu_backward(X, X, alpha=1e300), ValueError, "elu_backward: alpha must be at most"),
    (lambda: F.dense(X, W, activation="elu", alpha=1e300), ValueError, "dense: alpha must be at most"),
    (lambda: F.relu_backward(X, Y), ValueError, r"relu_backward: y has shape \(2, 4\), expected \(2, 3\)"),
    (lambda: F.gelu_backward(X, X64), TypeError, "gelu_backward: x is float64, but dy is float32"),
    (lambda: F.softmax(np.ones((2, 0), np.float32)), ValueError, "softmax: x must have a last axis"),
    (lambda: F.softmax_cross_entropy(X, np.array([0, 3])), ValueError, "labels y must be from 0 to 2, got 3"),
    (lambda: F.softmax_cross_entropy(X, np.array([-1, 0])), ValueError, "labels y must be from 0 to 2, got -1"),
    (lambda: F.softmax_cross_entropy(X, np.array([2**40, 0])), ValueError, "got 1099511627776"),
    (lambda: F.softmax_cross_entropy(X, np.array([0, 1, 2])), ValueError,
     r"labels y have shape \(3,\), expected \(2,\)"),
    (lambda: F.softmax_cross_entropy(X, [0, 1]), TypeError, "softmax_cross_entropy: y must be a NumPy array of integer "
     "labels, or of probabilities of the logits' float32, got list"),
    (lambda: F.softmax_cross_entropy(X, np.array([True, False])), TypeError, "of integer labels, .* got bool"),
    (lambda: F.softmax_cross_entropy(X, np.array([0.0, 1.0], np.float32)), ValueError, r"y has shape \(2,\)"),
    (lambda: F.softmax_cross_entropy(X[0], np.array([0])), ValueError,
     r"logits must have shape \(batch, ..., classes\)"),
    (lambda: F.softmax_cross_entropy(X[:0], np.zeros(0, int)), ValueError, "logits must have shape"),
    (lambda: F.squared_error(X[:0], X[:0]), ValueError, r"y_hat must have shape \(batch, ...\) and not be empty"),
    (lambda: F.squared_error(X, X64), TypeError, "squared_error: y is float64, but y_hat is float32"),
    (lambda: F.huber(X, X, delta=0), ValueError, "huber: delta must be a finite number above 0"),
    (lambda: weigh(np.ones(3)), ValueError,
     r"squared_error: sample_weight: expected shape \(2,\), one weight per sample, got \(3,\)$"),
    (lambda: weigh(np.ones((2, 1))), ValueError, r"one weight per sample, got \(2, 1\)$"),
    (lambda: F.squared_error(X[:1], X[:1], sample_weight=2.0), ValueError, r"expected shape \(1,\).* got \(\)"),
    (lambda: weigh(np.zeros(2)), ValueError, "squared_error: sample_weight: all weights are zero"),
    (lambda: weigh([2.0, -1.0]), ValueError, "must not be negative, got -1.0 at row 1"),
    (lambda: weigh([np.nan, 1.0]), ValueError, "squared_error: sample_weight: nan at row 0; data must be finite"),
    (lambda: weigh([1.0, 5e307]), ValueError, r"must be 0 or from 1e-100 to 1e\+100, got 5e\+307 at row 1"),
    (lambda: weigh([1.0, 5e-324]), ValueError, "got 5e-324 at row 1"),
    (lambda: weigh(np.array([1, 2], "M8[D]")), TypeError, "squared_error: sample_weight: .* got dates"),
    (lambda: weigh(["1", "2"]), TypeError, "got strings"),
    (lambda: weigh(np.ones(2, complex)), TypeError, "got complex numbers"),
    (lambda: weigh({0: 1.0, 1: 2.0}), TypeError, "got dict"),
    (lambda: F.upsample2d(np.ones((1, 5, 5, 2)), 10**5), MemoryError,
     r"upsample2d: cannot allocate the result, of shape \(1, 500000, 500000, 2\) and float64, 4,000,000,000,000 bytes"),
    (lambda: F.upsample2d(np.ones((2**21, 1, 1, 1), np.float32), 2**20), MemoryError, "upsample2d: cannot allocate"),
])
def test_wrong_arguments(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("call, name", [
    (lambda x: F.relu(x), "relu: x"),
    (lambda x: F.relu(X, out=x), "relu: out"),
    (lambda x: F.dense(X, W, out=np.ma.array(Y, mask=Y > 0)), "dense: out"),
    (lambda x: F.squared_error(X, x), "squared_error: y"),
    (lambda x: F.softmax_cross_entropy(X, x[0, :2].astype(int)), "softmax_cross_entropy: y"),
    (lambda x: weigh(x[0, :2]), "squared_error: sample_weight"),
    (lambda x: F.entropy(x), "entropy: p"),
    (lambda x: F.conv_toeplitz(x[0].astype(int), (5,)), "conv_toeplitz: w"),
])
def test_masked_arrays(call, name):
    x = np.ma.array(X.copy())
    assert np.isfinite(F.relu(x, out=np.ma.array(X.copy()))).all()      # masks nothing
    x[0, 1] = np.ma.masked
    with pytest.raises(TypeError, match=f"^{name}: masked arrays are not supported, fill the masked entries first"):
        call(x)


@pytest.mark.parametrize("out, error, text", [
    (lambda x: [1.0], TypeError, "must be a NumPy array, got list"),
    (lambda x: np.ones((2, 3)), TypeError, "is float64, expected float32"),
    (lambda x: np.ones((3, 2), np.float32), ValueError, r"has shape \(3, 2\), expected \(2, 3\)"),
    (lambda x: np.ones((3, 2), np.float32).T, ValueError, "C-contiguous"),
    (lambda x: np.broadcast_to(np.float32(1), (2, 3)), ValueError, "C-contiguous"),
    (lambda x: np.frombuffer(bytes(24), np.float32).reshape(2, 3), ValueError, "writable"),
    (lambda x: np.frombuffer(bytearray(25), np.float32, 6, 1).reshape(2, 3), ValueError, "aligned"),
    (lambda x: x, ValueError, "overlaps another"),
    (lambda x: x.base[2:8].reshape(2, 3), ValueError, "overlaps another"),
], ids=["list", "dtype", "shape", "order", "broadcast", "read-only", "unaligned", "the input", "half the input"])
def test_wrong_out(out, error, text):
    x = np.ones(12, np.float32)[:6].reshape(2, 3)
    before = x.copy()
    for call in (lambda o: F.relu(x, out=o), lambda o: F.softmax(x, out=o), lambda o: F.gelu_backward(x, x, out=o),
                 lambda o: F.squared_error(x, x + 1, out=o),
                 lambda o: F.dense(x, np.ones((3, 3), np.float32), out=o),
                 lambda o: F.dense_backward(x, np.ones((3, 4), np.float32), Y, out=(o, None, None))):
        with pytest.raises(error, match=text):
            call(out(x))
        assert_same_bits(x, before)


def test_gradients_may_not_overlap_each_other():
    whole = np.ones(20, np.float32)
    with pytest.raises(ValueError, match="out db overlaps"):
        F.dense_backward(X, W, Y, out=(None, whole[:12].reshape(3, 4), whole[10:14]))


def test_out_beside_its_input_in_one_array_is_fine():
    whole = np.arange(-3.0, 3.0, dtype=np.float32)
    assert F.relu(whole[:3], out=whole[3:]) is not None
    np.testing.assert_array_equal(whole, [-3, -2, -1, 0, 0, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_results_begin_with_a_cache_line(dtype):
    """Whatever NumPy's own do: a hundred sizes leave its memory in many states."""
    kept = []
    for channels in range(1, 101):
        x, w = np.ones((2, 40, 40, 1), dtype), np.ones((1, 1, 1, channels), dtype)
        y = F.conv2d(x, w)
        assert np.all(y == 1)
        if y.nbytes >= 16384:
            kept.append(y)
            assert y.ctypes.data % 64 == 0
    assert len(kept) > 90


def test_strided_transposed_and_unaligned_inputs(rng):
    x = rng.normal(size=(5, 3)).astype(np.float32)
    w = rng.normal(size=(3, 4)).astype(np.float32)
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.float32, x.size, 1).reshape(x.shape)
    expected = F.dense(x, w)
    for form in (np.asfortranarray(x), strided(x), x[::-1][::-1], unaligned):
        assert_same_bits(F.dense(form, w), expected)
        assert_same_bits(F.dense(x, np.asfortranarray(w)), expected)
        assert_same_bits(F.tanh(form), F.tanh(x))


def test_the_guard_zones_notice_a_write():
    array, check = guarded((2, 3), np.float32)
    check()
    array.base[GUARD + 6] = 0.0
    with pytest.raises(AssertionError, match="wrote past"):
        check()


def test_many_python_threads(rng):
    """As another program embeds it: own threads, n_threads=1, own out arrays."""
    x, w = rng.normal(size=(64, 50)).astype(np.float32), rng.normal(size=(50, 40)).astype(np.float32)
    expected = F.dense(x, w, activation="tanh", n_threads=1)
    failures = []

    def work():
        out = np.empty_like(expected)
        for _ in range(200):
            out.fill(np.nan)
            F.dense(x, w, activation="tanh", out=out, n_threads=1)
            if out.tobytes() != expected.tobytes():
                failures.append(out.copy())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads) and not failures


def test_training_by_hand_with_out(rng):
    """Arrays made once, no allocation in the loop: a two-layer net learns, and its gradients are the reference's."""
    x = rng.normal(size=(32, 4))
    labels = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    w1, w2 = rng.normal(size=(4, 16)) / 2, rng.normal(size=(16, 2)) / 4
    b1, b2 = np.zeros(16), np.zeros(2)
    h, dz, z, dh = np.empty((32, 16)), np.empty((32, 2)), np.empty((32, 2)), np.empty((32, 16))
    dx2, dw1, dw2, db1, db2 = np.empty((32, 16)), np.empty_like(w1), np.empty_like(w2), np.empty(16), np.empty(2)
    losses = []
    for step in range(300):
        F.dense(x, w1, b1, "tanh", out=h)
        F.dense(h, w2, b2, out=z)
        loss, _ = F.softmax_cross_entropy(z, labels, out=dz)
        F.dense_backward(h, w2, dz, out=(dx2, dw2, db2))
        F.tanh_backward(dx2, h, out=dh)
        F.dense_backward(x, w1, dh, need_dx=False, out=(None, dw1, db1))
        if step == 0:
            value, dws, dbs, _ = reference.mlp(x, reference.one_hot(labels, 2), [w1, w2], [b1, b2],
                                               ["tanh", "linear"], "softmax_cross_entropy")
            assert abs(loss - value) < 1e-14
            for ours, expected in zip((dw1, dw2, db1, db2), (*dws, *dbs)):
                assert_close(ours, expected, length=32)
        for p, g in zip((w1, w2, b1, b2), (dw1, dw2, db1, db2)):
            p -= 0.5 * g
        losses.append(loss)
    assert losses[-1] < 0.2 * losses[0]
