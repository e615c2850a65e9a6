"""nnfast.functional's pooling against the reference, for every kind of window."""
import itertools

import numpy as np
import pytest
import reference
from check import assert_close, assert_same_bits, check_op
from hypothesis import given, settings
from hypothesis import strategies as st

import nnfast.functional as F
from nnfast.geometry import pooling_window

CHANNELS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130]
KERNELS = [(1, 1), (2, 2), (3, 3), (1, 2), (3, 1), (2, 5), (5, 4)]
STRIDES = [None, (1, 1), (2, 2), (1, 3), (3, 2)]


def place_of(shape, kernel, stride=None, padding="valid"):
    """The reference's (kernel, stride, padding) for ours."""
    at = pooling_window("test", shape[1:-1], kernel, stride, padding)
    return at.kernel, at.stride, at.padding


def pool_case(x, kernel, stride=None, padding="valid"):
    """All four operations in every form, dtype and number of threads."""
    where = place_of(x.shape, kernel, stride, padding)
    area = where[0][0] * where[0][1]
    dy = np.random.default_rng(1).normal(size=reference.max_pool2d(x, *where).shape)
    check_op(lambda x, **k: F.max_pool2d(x, kernel, stride, padding, **k), lambda x: reference.max_pool2d(x, *where),
             [x])
    # Several windows may have the same maximum, and their dy add up there.
    check_op(lambda x, dy, **k: F.max_pool2d_backward(x, dy, kernel, stride, padding, **k),
             lambda x, dy: reference.max_pool2d_backward(x, dy, *where), [x, dy], [area], [4.0], ["dx"])
    for include in (False, True):
        check_op(lambda x, p=include, **k: F.avg_pool2d(x, kernel, stride, padding, p, **k),
                 lambda x, p=include: reference.avg_pool2d(x, *where, p), [x], [area], [4.0])
        check_op(lambda dy, p=include, **k: F.avg_pool2d_backward(dy, x.shape, kernel, stride, padding, p, **k),
                 lambda dy, p=include: reference.avg_pool2d_backward(dy, x.shape, *where, p), [dy], [area], [4.0],
                 ["dx"])


def quick_case(x, kernel, stride, padding):
    """The values alone, one thread and three, in both dtypes."""
    where = place_of(x.shape, kernel, stride, padding)
    dy = np.random.default_rng(1).normal(size=reference.max_pool2d(x, *where).shape)
    for dtype in (np.float32, np.float64):
        one, three = [ours(x.astype(dtype), dy.astype(dtype), kernel, stride, padding, n) for n in (1, 3)]
        rounded, dy_rounded = x.astype(dtype).astype(np.float64), dy.astype(dtype).astype(np.float64)
        expected = {
            "max": reference.max_pool2d(rounded, *where),
            "max dx": reference.max_pool2d_backward(rounded, dy_rounded, *where),
        }
        for p in (False, True):
            expected[f"mean {p}"] = reference.avg_pool2d(rounded, *where, p)
            expected[f"mean dx {p}"] = reference.avg_pool2d_backward(dy_rounded, x.shape, *where, p)
        for name, a in one.items():
            label = f"{name}, {np.dtype(dtype).name}, {x.shape}, {kernel}, {stride}, {padding}: "
            assert_close(a, expected[name], where[0][0] * where[0][1], 4.0, label)
            assert_same_bits(a, three[name], label)


def ours(x, dy, *arguments):
    """All results of nnfast by name; the last argument is the number of threads."""
    *place, n_threads = arguments
    results = {"max": F.max_pool2d(x, *place, n_threads=n_threads),
               "max dx": F.max_pool2d_backward(x, dy, *place, n_threads=n_threads)}
    for p in (False, True):
        results[f"mean {p}"] = F.avg_pool2d(x, *place, p, n_threads=n_threads)
        results[f"mean dx {p}"] = F.avg_pool2d_backward(dy, x.shape, *place, p, n_threads=n_threads)
    return results


@pytest.mark.parametrize("c", CHANNELS)
def test_channels(c, rng):
    pool_case(rng.normal(size=(2, 6, 5, c)), 2)
    pool_case(rng.normal(size=(1, 5, 6, c)), 3, 2, "same")


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_every_combination(kernel, rng):
    paddings = ["valid", "same", ((kernel[0] - 1, 0), (0, kernel[1] - 1)), ((0, kernel[0] // 2), (kernel[1] // 2, 0))]
    for stride, padding, c in itertools.product(STRIDES, paddings, (1, 6, 19)):
        quick_case(rng.normal(size=(2, 9, 8, c)), kernel, stride, padding)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.integers(1, 40)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)), st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 2), st.integers(0, 2**32 - 1),
)
def test_any_geometry(shape, kernel, stride, padding, seed):
    x = np.random.default_rng(seed).normal(size=shape)
    try:
        place_of(shape, kernel, stride, padding)
    except ValueError:
        with pytest.raises(ValueError, match="larger than the input|smaller than the kernel"):
            F.max_pool2d(x, kernel, stride, padding)
        return
    quick_case(x, kernel, stride, padding)


def test_images_large_enough_for_all_threads(rng):
    pool_case(rng.normal(size=(3, 40, 41, 33)), 2)
    pool_case(rng.normal(size=(1, 90, 70, 16)), 3, 2, 1)


@pytest.mark.parametrize("kernel, stride, padding", [
    (2, None, "valid"), (3, 2, "same"), (3, 1, (2, 0)), (1, 4, "valid"),
], ids=str)
def test_signals(kernel, stride, padding, rng):
    x = rng.normal(size=(3, 11, 5))
    at = pooling_window("test", (11,), kernel, stride, padding)
    where = at.kernel, at.stride, at.padding
    dy = rng.normal(size=(3, at.output[1], 5))
    check_op(lambda x, **k: F.max_pool1d(x, kernel, stride, padding, **k),
             lambda x: reference.max_pool2d(x[:, None], *where)[:, 0], [x])
    check_op(lambda x, dy, **k: F.max_pool1d_backward(x, dy, kernel, stride, padding, **k),
             lambda x, dy: reference.max_pool2d_backward(x[:, None], dy[:, None], *where)[:, 0], [x, dy], [3], [4.0])
    for p in (False, True):
        check_op(lambda x, p=p, **k: F.avg_pool1d(x, kernel, stride, padding, p, **k),
                 lambda x, p=p: reference.avg_pool2d(x[:, None], *where, p)[:, 0], [x], [3], [4.0])
        check_op(lambda dy, p=p, **k: F.avg_pool1d_backward(dy, x.shape, kernel, stride, padding, p, **k),
                 lambda dy, p=p: reference.avg_pool2d_backward(dy[:, None], (3, 1, 11, 5), *where, p)[:, 0],
                 [dy], [3], [4.0])


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 7, 3), (3, 5, 4, 17), (1, 1, 1, 1), (2, 30, 31, 64)], ids=str)
def test_global_pooling(shape, rng):
    x, dy = rng.normal(size=shape), rng.normal(size=(shape[0], shape[-1]))
    axes = tuple(range(1, x.ndim - 1))
    n = x[0, ..., 0].size
    check_op(F.global_max_pool, lambda x: x.max(axis=axes), [x])
    check_op(F.global_avg_pool, lambda x: x.mean(axis=axes), [x], [n], [4.0])

    def expand(a):
        return a.reshape(shape[0], *[1] * len(axes), shape[-1])

    check_op(F.global_max_pool_backward, lambda x, dy: (x == expand(x.max(axis=axes))) * expand(dy), [x, dy])
    check_op(lambda dy, **k: F.global_avg_pool_backward(dy, shape, **k),
             lambda dy: np.broadcast_to(expand(dy) / n, shape).copy(), [dy])


# --- ties, NaN, infinities -------------------------------------------------------------------------------------------

def test_the_first_of_equal_maxima_gets_the_gradient(dtype):
    x = np.zeros((1, 4, 4, 20), dtype)
    dy = np.arange(1, 1 + 2 * 2 * 20, dtype=dtype).reshape(1, 2, 2, 20)
    dx = F.max_pool2d_backward(x, dy, 2)
    assert_same_bits(dx[:, ::2, ::2], dy)
    assert not dx[:, 1::2].any() and not dx[:, :, 1::2].any()
    np.testing.assert_array_equal(F.max_pool2d_backward(x, dy, 2, padding=1, stride=3)[:, 0, 0], dy[:, 0, 0])
    assert_same_bits(F.global_max_pool_backward(x, dy[:, 0, 0])[:, 0, 0], dy[:, 0, 0])


@pytest.mark.parametrize("c", [1, 3, 16, 21])
def test_ties_of_every_kind(c, rng):
    """Few different values: the place of the first maximum must be right in every lane and tap."""
    for kernel, stride, padding in ((2, None, "valid"), (3, 1, 1), ((2, 3), (3, 2), "same"), (4, 2, 3)):
        quick_case(rng.integers(0, 3, size=(2, 8, 9, c)).astype(float), kernel, stride, padding)
        quick_case(np.full((1, 7, 7, c), -0.0), kernel, stride, padding)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("kernel, stride, padding", [(2, None, "valid"), (3, 2, 1), (3, 1, "same"), (5, 3, 2)], ids=str)
@pytest.mark.parametrize("c", [1, 5, 16, 19])
def test_taps(kernel, stride, padding, c, n_threads, rng, dtype):
    x = rng.integers(0, 5, size=(5, 9, 30, c)).astype(dtype)
    x[rng.random(x.shape) < 0.1] = np.nan
    y, taps = F.max_pool2d_with_taps(x, kernel, stride, padding, n_threads=n_threads)
    assert_same_bits(y, F.max_pool2d(x, kernel, stride, padding))
    _, (step, _), pads = place_of(x.shape, kernel, stride, padding)
    padded, inside = np.pad(x, ((0, 0), *pads, (0, 0))), np.pad(np.ones(x.shape[1:3], bool), pads)
    for i, j in np.ndindex(y.shape[1:3]):
        at = slice(i * step, i * step + kernel), slice(j * step, j * step + kernel)
        values = padded[:, *at][:, inside[at]]
        np.testing.assert_array_equal(taps[:, i, j], values.argmax(axis=1))     # which takes the first NaN, too
    dy, unused = rng.normal(size=y.shape).astype(dtype), np.full_like(x, np.inf)
    assert_same_bits(F.max_pool2d_backward(unused, dy, kernel, stride, padding, taps=taps, n_threads=n_threads),
                     F.max_pool2d_backward(x, dy, kernel, stride, padding))


def test_taps_of_signals(rng):
    x, dy = rng.normal(size=(3, 11, 5)), rng.normal(size=(3, 6, 5))
    out = np.empty_like(dy), np.empty_like(dy)
    y, taps = F.max_pool1d_with_taps(x, 3, 2, "same", out=out)
    assert y is out[0] and taps is out[1]
    assert_same_bits(y, F.max_pool1d(x, 3, 2, "same"))
    assert_same_bits(F.max_pool1d_backward(x, dy, 3, 2, "same", taps=taps),
                     F.max_pool1d_backward(x, dy, 3, 2, "same"))


def test_zeros_of_both_signs_are_equal(dtype):
    x = np.array([[-0.0, 0.0], [0.0, -0.0]], dtype).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(F.max_pool2d_backward(x, np.ones((1, 1, 1, 1), dtype), 2).ravel(), [1, 0, 0, 0])


@pytest.mark.parametrize("kernel, stride, padding", [(2, None, "valid"), (3, 2, 1), (3, 1, "same"), (5, 3, 2)], ids=str)
@pytest.mark.parametrize("c", [1, 5, 16, 19])
def test_nan_is_the_largest(kernel, stride, padding, c, rng, dtype):
    x = rng.normal(size=(2, 9, 10, c)).astype(dtype)
    x[rng.random(x.shape) < 0.1] = np.nan
    x[rng.random(x.shape) < 0.1] = np.inf
    where = place_of(x.shape, kernel, stride, padding)
    y = F.max_pool2d(x, kernel, stride, padding)
    np.testing.assert_array_equal(y, reference.max_pool2d(x, *where).astype(dtype))
    dy = rng.integers(1, 100, size=y.shape).astype(dtype)
    np.testing.assert_array_equal(F.max_pool2d_backward(x, dy, kernel, stride, padding),
                                  reference.max_pool2d_backward(x.astype(np.float64), dy.astype(np.float64), *where))
    with np.errstate(invalid="ignore"):
        expected = reference.avg_pool2d(x.astype(np.float64), *where)
    np.testing.assert_array_equal(np.isnan(F.avg_pool2d(x, kernel, stride, padding)), np.isnan(expected))


def test_windows_that_are_nearly_all_padding(dtype):
    x = np.arange(6, dtype=dtype).reshape(1, 2, 3, 1)
    dy = np.full((1, 1, 1, 1), 2, dtype)
    dx = F.max_pool2d_backward(x, dy, 2**15 + 1, padding=2**14)
    np.testing.assert_array_equal(dx.ravel(), [0, 0, 0, 0, 0, 2])


def test_windows_of_minus_infinity(dtype):
    """-inf is a number like others: it comes through, and the gradient goes to the first one, not to the padding."""
    x = np.full((1, 2, 2, 3), -np.inf, dtype)
    dy = np.ones((1, 3, 3, 3), dtype)
    assert (F.max_pool2d(x, 2, 1, 1) == -np.inf).all()
    dx = F.max_pool2d_backward(x, dy, 2, 1, 1)
    np.testing.assert_array_equal(dx[0, :, :, 0], [[4, 2], [2, 1]])
    np.testing.assert_array_equal(F.global_max_pool_backward(x, dy[:, 0, 0])[0, :, :, 0], [[1, 0], [0, 0]])


def test_means_of_what_is_there(dtype):
    x = np.ones((1, 3, 3, 2), dtype)
    assert_same_bits(F.avg_pool2d(x, 3, 1, 1), x)
    counts = np.array([[4, 6, 4], [6, 9, 6], [4, 6, 4]])
    np.testing.assert_allclose(F.avg_pool2d(x, 3, 1, 1, True)[0, :, :, 0], counts / 9, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2**20, 1), (1000, 600, 3), (300, 40)])
def test_means_of_large_windows(shape, rng):
    x = rng.uniform(0.05, 0.15, (1, *shape)).astype(np.float32)
    mean = x.astype(np.float64).mean(axis=tuple(range(1, x.ndim - 1)))
    np.testing.assert_allclose(F.global_avg_pool(x), mean, rtol=3e-7)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 2e38])
def test_means_that_are_not_finite(value):
    x = np.ones((1, 30, 9, 3), np.float32)
    x[0, :8] = value
    with np.errstate(over="ignore", invalid="ignore"):
        expected = x.sum(axis=(1, 2)) / np.float32(270)
    np.testing.assert_array_equal(F.global_avg_pool(x), expected)


def test_pixels_no_window_reaches_get_no_gradient(dtype):
    x, dy = np.ones((2, 8, 8, 3), dtype), np.ones((2, 2, 2, 3), dtype)
    for call in (lambda out: F.max_pool2d_backward(x, dy, 2, 4, out=out),
                 lambda out: F.avg_pool2d_backward(dy, x.shape, 2, 4, out=out)):
        dx = call(np.full_like(x, np.nan))
        assert dx.sum() == 24
        assert not dx[:, 2:4].any() and not dx[:, 6:].any() and not dx[:, :, 6:].any()


# --- arguments -------------------------------------------------------------------------------------------------------

X, DY = np.ones((2, 6, 8, 3), np.float32), np.ones((2, 3, 4, 3), np.float32)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: F.max_pool2d([[1.0]], 2), TypeError, "max_pool2d: x must be a NumPy array"),
    (lambda: F.max_pool2d(X.astype(int), 2), TypeError, "max_pool2d: x must be float32 or float64, got int64"),
    (lambda: F.max_pool2d(X[0], 2), ValueError, r"x must have shape \(N, H, W, C\), none of them 0, got \(6, 8, 3\)"),
    (lambda: F.max_pool2d(X[:0], 2), ValueError, r"none of them 0, got \(0, 6, 8, 3\)"),
    (lambda: F.max_pool1d(X, 2), ValueError, r"max_pool1d: x must have shape \(N, L, C\)"),
    (lambda: F.max_pool2d(X, 7), ValueError, "max_pool2d: kernel 7 x 7 is larger than the input 6 x 8"),
    (lambda: F.max_pool2d(X, 0), ValueError, "kernel_size must be at least 1"),
    (lambda: F.max_pool2d(X, 2, 0), ValueError, "stride must be at least 1"),
    (lambda: F.max_pool2d(X, 2, -1), ValueError, "stride must be at least 1"),
    (lambda: F.max_pool2d(X, 2, 1, 2), ValueError, "padding must be smaller than the kernel"),
    (lambda: F.max_pool2d(X, 2, 1, "full"), ValueError, "padding must be 'valid'"),
    (lambda: F.max_pool2d(X, 2, n_threads=0), ValueError, "max_pool2d: n_threads must be"),
    (lambda: F.max_pool2d(X, 2, out=np.ones((2, 3, 4, 2), np.float32)), ValueError, r"expected \(2, 3, 4, 3\)"),
    (lambda: F.max_pool2d(X, 1, out=X), ValueError, "overlaps"),
    (lambda: F.max_pool2d_backward(X, DY[:, :2], 2), ValueError,
     r"dy has shape \(2, 2, 4, 3\), expected \(2, 3, 4, 3\)"),
    (lambda: F.max_pool2d_backward(X, DY.astype(float), 2), TypeError, "dy is float64, but x is float32"),
    (lambda: F.avg_pool2d(X, 2, count_include_pad=1), TypeError, "count_include_pad must be True or False"),
    (lambda: F.avg_pool2d_backward(DY, (2, 6, 8), 2), ValueError, r"x_shape must be \(N, H, W, C\), got \(2, 6, 8\)"),
    (lambda: F.avg_pool2d_backward(DY, 5, 2), ValueError, "x_shape must be"),
    (lambda: F.avg_pool2d_backward(DY, (2, 6, 0, 3), 2), ValueError, "a size must be at least 1"),
    (lambda: F.avg_pool2d_backward(DY, (2, 6.0, 8, 3), 2), TypeError, "a size must be an integer"),
    (lambda: F.avg_pool2d_backward(DY, (2, 8, 8, 3), 2), ValueError, r"dy has shape .* expected \(2, 4, 4, 3\)"),
    (lambda: F.avg_pool2d_backward(DY, (3, 6, 8, 3), 2), ValueError, r"expected \(3, 3, 4, 3\)"),
    (lambda: F.avg_pool2d_backward(np.ones((1, 2**9, 2**9, 1)), (1, 2**19, 2**19, 1), 2**10), MemoryError, "allocate"),
    (lambda: F.avg_pool1d_backward(DY, (2, 6, 3), 2), ValueError, "avg_pool1d_backward: dy has shape"),
    (lambda: F.max_pool2d_with_taps(X, 2, out=DY), TypeError, r"with_taps: out must be a tuple \(y, taps\)"),
    (lambda: F.max_pool2d_with_taps(X, 2, out=(DY.copy(), DY[:1])), ValueError, r"out taps has shape \(1, 3, 4, 3\)"),
    (lambda: F.max_pool2d_with_taps(X, 2, out=(DY, DY)), ValueError, "out taps overlaps"),
    (lambda: F.max_pool2d_backward(X, DY, 2, taps=DY.astype(int)), TypeError, "taps must be float32 or float64"),
    (lambda: F.max_pool2d_backward(X, DY, 2, taps=DY[:, :2]), ValueError, r"taps has shape .* expected \(2, 3, 4, 3\)"),
    (lambda: F.global_max_pool(X[0, 0]), ValueError, r"\(N, L, C\) or \(N, H, W, C\), none of them 0, got \(8, 3\)"),
    (lambda: F.global_max_pool_backward(X, DY), ValueError, r"expected \(2, 3\)"),
    (lambda: F.global_avg_pool_backward(DY[:, 0, 0], (2, 3)), ValueError,
     r"x_shape must be \(N, L, C\) or \(N, H, W, C\)"),
    (lambda: F.global_avg_pool_backward(DY[:, 0, 0], (3, 6, 3)), ValueError,
     r"dy has shape \(2, 3\), expected \(3, 3\)"),
])
def test_wrong_arguments(call, error, text):
    with pytest.raises(error, match=text):
        call()
