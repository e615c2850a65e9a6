"""The C kernels one at a time, at every level of this machine: matrix tiles, runs, dropout, optimizer steps.

tests/c has the same in C, with inaccessible pages around every array and levels that this machine only emulates.
"""
import os
import subprocess
import sys

import numpy as np
import pytest
import reference
from check import GUARD, assert_close, assert_same_bits, guarded

from nnfast._core import kernels, testing

LEVELS = [name for name, usable in kernels.levels() if usable]
SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 100, 257)


@pytest.fixture(params=LEVELS)
def isa(request):
    return request.param


def random(rng, shape, dtype):
    return rng.uniform(-1, 1, shape).astype(dtype)


def matrix(values, ld):
    """The values as rows `ld` apart inside a larger array of nan."""
    rows, cols = values.shape
    whole = np.full((rows, ld), np.nan, values.dtype)
    whole[:, :cols] = values
    return whole[:, :cols]


def gaps_untouched(view):
    return np.isnan(view.base[:, view.shape[1]:]).all()


# --- levels ----------------------------------------------------------------------------------------------------------

def run_python(code, **environment):
    return subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True,
                          timeout=60)


def test_the_highest_usable_level_is_selected():
    assert LEVELS[0] == "baseline"
    assert kernels.selected() == (os.environ.get("NNFAST_ISA") or LEVELS[-1])


def test_levels_of_this_architecture_are_in_the_build():
    import platform

    expected = {"x86_64": ["avx2", "avx512"], "amd64": ["avx2", "avx512"], "aarch64": ["neon"], "arm64": ["neon"]}
    assert [name for name, _ in kernels.levels()] == ["baseline", *expected.get(platform.machine().lower(), [])]


@pytest.mark.parametrize("level", LEVELS)
def test_environment_caps_the_level(level):
    result = run_python("from nnfast._core import kernels; print(kernels.selected())", NNFAST_ISA=level)
    assert result.stdout.strip() == level, result.stderr


@pytest.mark.parametrize("level", ["avx3", "AVX2", *(name for name, usable in kernels.levels() if not usable)])
def test_a_level_that_does_not_run_is_an_error(level):
    result = run_python("import nnfast._core.kernels", NNFAST_ISA=level)
    assert result.returncode != 0
    assert f"ImportError: NNFAST_ISA={level}: " in result.stderr
    assert f"usable levels here: {', '.join(LEVELS)}" in result.stderr


def test_vector_lanes(isa, dtype):
    lanes, mr, nr, mr_narrow = testing.tile(isa, dtype.char)
    assert nr >= 2 * lanes and mr >= 1 and mr_narrow >= mr
    if isa == kernels.selected():
        assert kernels.vector_lanes(dtype.name) == lanes
    with pytest.raises(ValueError, match="float16"):
        kernels.vector_lanes("float16")


# --- matrix tiles ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("k, count", [(1, 1), (7, 1), (33, 3), (100, 2)])
@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize(
    "accumulate, relu, with_bias", [(False, False, False), (True, False, True), (False, True, True)]
)
def test_brgemm(rng, isa, dtype, k, count, by_column, accumulate, relu, with_bias):
    lanes, mr, nr, mr_narrow = testing.tile(isa, dtype.char)
    for n in (1, lanes - 1, lanes, lanes + 1, nr - 1, nr):
        tallest = mr_narrow if n <= lanes else mr
        for m in {1, 2, tallest - 1, tallest}:
            a = random(rng, (count, k, m) if by_column else (count, m, k), dtype)
            b, bias = np.full((count, k, nr + 3), np.nan, dtype), np.full(nr, np.nan, dtype)
            b[:, :, :n], bias[:n] = random(rng, (count, k, n), dtype), random(rng, n, dtype)
            c = matrix(random(rng, (m, n), dtype), n + 2)
            rows = np.swapaxes(a, 1, 2) if by_column else a
            expected = sum(x.astype(np.float64) @ y[:, :n] for x, y in zip(rows, b, strict=True))
            expected += c if accumulate else 0
            expected += bias[:n] if with_bias else 0
            testing.brgemm(
                isa, a.reshape(-1), b.reshape(-1), bias if with_bias else None, c, m=m, n=n, k=k, count=count,
                a_offset=np.arange(count, dtype=np.intp) * m * k, b_step=k * (nr + 3), a_row=1 if by_column else k,
                a_col=m if by_column else 1, ldb=nr + 3, ldc=n + 2, accumulate=accumulate, relu=relu,
            )
            assert_close(c, np.maximum(expected, 0) if relu else expected, k * count, 2.0, f"c, m {m} n {n}")
            assert gaps_untouched(c), f"m {m} n {n}"


def test_brgemm_rows_do_not_depend_on_the_tile(rng, isa, dtype):
    lanes, mr, nr, _ = testing.tile(isa, dtype.char)
    k = 129
    a, b = random(rng, (mr, k), dtype), random(rng, (k, nr), dtype)
    c, row = np.empty((mr, nr), dtype), np.empty((1, nr), dtype)
    shape = {"n": nr, "k": k, "a_row": k, "a_col": 1, "ldb": nr, "ldc": nr}
    testing.brgemm(isa, a, b, None, c, m=mr, **shape)
    for i in range(mr):
        testing.brgemm(isa, a[i], b, None, row, m=1, **shape)
        assert_same_bits(c[i:i + 1], row)


@pytest.mark.parametrize("rows", SIZES[1:])
def test_transpose(rng, isa, dtype, rows):
    for cols in SIZES[1:]:
        src, dst = matrix(random(rng, (rows, cols), dtype), cols + 3), matrix(np.empty((cols, rows), dtype), rows + 1)
        testing.transpose(isa, src, dst)
        np.testing.assert_array_equal(dst, src.T)
        assert gaps_untouched(dst)


def test_column_sum_takes_four_rows_at_a_time(rng, isa, dtype):
    for rows in (1, 2, 3, 4, 7, 100):
        for cols in SIZES[1:]:
            x = matrix(random(rng, (rows, cols), dtype), cols + 1)
            y, check = guarded((cols,), dtype)
            testing.column_sum(isa, x, y)
            expected, whole = np.zeros(cols, dtype), rows - rows % 4
            for i in range(0, whole, 4):
                expected += (x[i] + x[i + 1]) + (x[i + 2] + x[i + 3])
            for row in x[whole:]:
                expected += row
            np.testing.assert_array_equal(y, expected)
            check()


# --- runs ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("n", SIZES)
def test_add(rng, isa, dtype, n):
    a, b = random(rng, n, dtype), random(rng, n, dtype)
    y, check = guarded((n,), dtype)
    testing.add(isa, a, b, y)
    np.testing.assert_array_equal(y, a + b)
    check()
    testing.add(isa, a, b, a)
    np.testing.assert_array_equal(y, a)


@pytest.mark.parametrize("n", SIZES)
def test_sum_squares(rng, isa, dtype, n):
    x = random(rng, n, dtype)
    ours = testing.sum_squares(isa, x)
    assert ours == pytest.approx((x.astype(np.float64) ** 2).sum(), rel=1e-14)
    assert ours == testing.sum_squares("baseline", x)


@pytest.mark.parametrize("n", SIZES)
def test_absolute_maximum(rng, isa, dtype, n):
    x = random(rng, n, dtype)
    assert testing.absolute_maximum(isa, x) == (np.abs(x).max() if n else 0)
    for i in range(n):
        for bad in (np.nan, np.inf, -np.inf):
            broken = x.copy()
            broken[i] = bad
            assert testing.absolute_maximum(isa, broken) == np.inf


@pytest.mark.parametrize("l1, l2", [(0.3, 0.7), (0.0, 0.7), (0.3, 0.0)])
@pytest.mark.parametrize("n", SIZES)
def test_penalty(rng, isa, dtype, n, l1, l2):
    w, before = random(rng, n, dtype), random(rng, n, dtype)
    w[1::3] = 0
    value, gradient = reference.penalty(w.astype(np.float64), l1, l2)
    g, check = guarded((n,), dtype)
    g[:] = before
    assert testing.penalty(isa, w, l1, l2) == pytest.approx(value, rel=1e-13)
    testing.penalty_backward(isa, w, g, l1, l2)
    assert_close(g, before + gradient, 3, 1.0)
    check()


@pytest.mark.parametrize("source", [np.float32, np.float64, np.uint8])
def test_gather(rng, isa, dtype, source):
    for n in SIZES:
        src = rng.integers(0, 256, n).astype(np.uint8) if source == np.uint8 else random(rng, n, source)
        dst, check = guarded((n,), dtype)
        testing.gather(isa, src, dst)
        np.testing.assert_array_equal(dst, src.astype(dtype))
        check()


# --- dropout ---------------------------------------------------------------------------------------------------------

KEY = {"seed": 3, "step": 1, "sample": 4, "layer": 15}


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.999])
def test_dropout(rng, isa, dtype, rate):
    n = 10_007
    x = rng.uniform(0.5, 1, n).astype(dtype)
    y, check = guarded((n,), dtype)
    testing.dropout(isa, x, y, rate, **KEY)
    check()
    kept = y != 0
    assert abs(kept.sum() - n * (1 - rate)) <= 5 * np.sqrt(n * rate * (1 - rate))
    assert_close(y[kept], x[kept] / (1 - rate))
    if rate == 0:
        assert_same_bits(x, y)

    other = np.empty_like(x)
    testing.dropout("baseline", x, other, rate, **KEY)
    assert_same_bits(y, other, "at another level")
    for cut in (1, 7, 128, 5000):
        testing.dropout(isa, x[:cut], other[:cut], rate, **KEY)
        testing.dropout(isa, x[cut:], other[cut:], rate, **KEY, start=cut)
        assert_same_bits(y, other, f"cut at {cut}")
    testing.dropout(isa, x, x, rate, **KEY)
    assert_same_bits(x, y, "in place")


def test_dropout_streams_are_independent(isa):
    """Bits under neighbouring keys and of neighbouring elements agree as often as coins do."""
    n = 1 << 16
    ones, y = np.ones(n, np.float32), np.empty(n, np.float32)

    def bits(**change):
        testing.dropout(isa, ones, y, 0.5, **KEY | change)
        return y != 0

    first = bits()
    margin = 5 * np.sqrt(n) / 2
    for name in KEY:
        for change in (1, 2, 1 << 32):
            assert abs((first == bits(**{name: KEY[name] ^ change})).sum() - n / 2) <= margin, (name, change)
    for lag in (1, 2, 3, 4, 8, 16, 64, 784, 4096):
        assert abs((first == np.roll(first, lag)).sum() - n / 2) <= margin, lag
    swapped = bits(seed=KEY["step"], step=KEY["seed"])
    assert abs((first == swapped).sum() - n / 2) <= margin


# --- optimizers ------------------------------------------------------------------------------------------------------

OPTIMIZERS = [
    ("sgd", {}), ("sgd", {"momentum": 0.9}), ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("adam", {}), ("adam", {"beta1": 0.7, "beta2": 0.9, "eps": 1e-4}), ("adamw", {"weight_decay": 0.1}),
    ("rmsprop", {}), ("rmsprop", {"rho": 0.9, "momentum": 0.8}), ("adagrad", {}),
]
DEFAULTS = {
    "sgd": {}, "adam": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    "adamw": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 1e-2}, "rmsprop": {"rho": 0.99, "eps": 1e-8},
    "adagrad": {"eps": 1e-10},
}


def slots(name, hyper):
    if name in ("adam", "adamw"):
        return 2
    return (name != "sgd") + ("momentum" in hyper)


@pytest.mark.parametrize("name, changes", OPTIMIZERS)
@pytest.mark.parametrize("scale, clip", [(1.0, 0.0), (0.37, 0.2)])
def test_update(rng, isa, dtype, name, changes, scale, clip):
    """50 steps against the reference; the second half of the parameters in runs of other lengths: the same bits."""
    n, lr, hyper = 83, 0.05, DEFAULTS[name] | changes
    expected = rng.uniform(-1, 1, n)
    whole = [guarded((n,), dtype) for _ in range(1 + slots(name, hyper))]
    for array, _ in whole:
        array[:] = 0
    whole[0][0][:] = expected
    pieces = [array.copy() for array, _ in whole]
    state = {}
    for t in range(1, 51):
        g = random(rng, n, dtype)
        step = hyper | {
            "lr": lr, "scale": scale, "clip": clip,
            "correction1": 1 - hyper.get("beta1", 0.0) ** t, "correction2": 1 - hyper.get("beta2", 0.0) ** t,
        }
        gradient = g.astype(np.float64) * scale
        gradient = np.clip(gradient, -clip, clip) if clip else gradient
        expected, state = reference.OPTIMIZERS[name](expected, gradient, state, t, lr, **hyper)
        w, *states = [array for array, _ in whole]
        testing.update(isa, name, w, g, *states, **step)
        for lo, hi in ((0, 1), (1, 20), (20, 83)):
            w, *states = [array[lo:hi] for array in pieces]
            testing.update(isa, name, w, g[lo:hi], *states, **step)
    for (array, check), piece in zip(whole, pieces, strict=True):
        check()
        assert_same_bits(array, piece, "cut into runs")
    error = np.abs(whole[0][0] - expected).max()
    assert error <= (1e-12 if dtype == np.float64 else 1e-4), error


@pytest.mark.parametrize("name, changes", OPTIMIZERS)
def test_update_keeps_nan_visible(isa, dtype, name, changes):
    hyper = DEFAULTS[name] | changes
    states = [np.ones(5, dtype) for _ in range(slots(name, hyper))]
    w, g = np.ones(5, dtype), np.ones(5, dtype)
    g[3] = np.nan
    testing.update(isa, name, w, g, *states, **hyper, lr=0.1, clip=0.5)
    np.testing.assert_array_equal(np.isnan(w), np.isnan(g))


def test_hooks_check_types(isa):
    with pytest.raises(TypeError, match="format"):
        testing.sum_squares(isa, np.ones(3, np.int32))
    with pytest.raises(TypeError, match="contiguous"):
        testing.sum_squares(isa, np.ones(6)[::2])
    with pytest.raises(ValueError, match="avx3"):
        testing.sum_squares("avx3", np.ones(3))


def test_guard_zones_are_wide_enough(dtype):
    assert all(testing.tile(level, dtype.char)[2] <= GUARD for level in LEVELS)
