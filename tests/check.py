"""`check_op`: one call compares an operation with the reference, in every way an operation can be called.

For both dtypes and 1, 2 and 3 threads it runs `ours` on contiguous, strided and read-only inputs, with and without
`out`, and checks that

* the results agree with the reference within `tolerance`,
* they have the same bits each time,
* inputs are unchanged, and so is the memory around each `out` (guard zones filled with nan).

Before each call the memory that calls have borrowed before, since the check began, is filled with nan.
"""
import math

import numpy as np
from nnfast._core.memory import drop_spare, soil_spare

THREADS = (1, 2, 3)
DTYPES = (np.float32, np.float64)
GUARD = 64      # elements before and after: wider than any vector or tile row


def guarded(shape, dtype):
    """An array of nan inside a larger one, and a function that asserts that nothing around it was written."""
    size = math.prod(shape)
    whole = np.full(size + 2 * GUARD, np.nan, dtype)
    array = whole[GUARD:GUARD + size].reshape(shape)

    def check():
        assert np.isnan(whole[:GUARD]).all(), "wrote before the output"
        assert np.isnan(whole[GUARD + size:]).all(), "wrote past the output"

    return array, check


def strided(a):
    """The same values with a gap after each element and rows that do not follow one another."""
    if a.ndim == 0:
        return a
    wide = np.full([n + 1 for n in a.shape[:-1]] + [2 * a.shape[-1] + 1], np.nan, a.dtype) if a.dtype.kind == "f" \
        else np.full([n + 1 for n in a.shape[:-1]] + [2 * a.shape[-1] + 1], -1, a.dtype)
    view = wide[tuple(slice(0, n) for n in a.shape[:-1]) + (slice(1, 2 * a.shape[-1] + 1, 2),)]
    view[...] = a
    return view


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def tolerance(dtype, length, scale):
    """Error allowed for sums of `length` products of size `scale`: 4 eps sqrt(length) scale."""
    return 4.0 * np.finfo(dtype).eps * math.sqrt(max(length, 1)) * scale


def assert_close(ours, expected, length=1, scale=None, what=""):
    """Each element within `tolerance`; scale defaults to the largest expected magnitude."""
    assert ours.shape == expected.shape, f"{what}: shape {ours.shape}, expected {expected.shape}"
    if expected.size == 0:
        return
    if scale is None:
        scale = float(np.abs(expected).max()) or 1.0
    error = np.abs(ours.astype(np.float64) - expected)
    worst = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
    assert error[worst] <= tolerance(ours.dtype, length, scale), (
        f"{what}{[int(i) for i in worst]} is {ours[worst]!r}, expected {expected[worst]!r}: "
        f"error {error[worst]:.3g} > {tolerance(ours.dtype, length, scale):.3g}"
    )


def assert_same_bits(a, b, what=""):
    assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes(), f"{what}: not the same bits"


def check_op(ours, reference, inputs, lengths=(1,), scales=(None,), names=("y",), out_shapes=None):
    """Compares `ours(*inputs, out=, n_threads=)` with `reference(*inputs)`.

    Parameters
    ----------
    ours, reference : callable
        Both return an array or a tuple of arrays (floats count as arrays of shape ()).
    inputs : list of float64 or integer arrays
        Floats are rounded to each dtype first, and the reference sees the rounded values.
    lengths, scales : one per result
        Length of the longest reduction and size of its terms, see `tolerance`.
    out_shapes : list of tuple, optional
        Shapes of the arrays that go into `out`, alone or as a tuple; by default of all results.
    """
    lengths, scales = [tuple(v) * len(names) if len(v) == 1 else v for v in (lengths, scales)]
    drop_spare()    # what other tests have left takes longer to fill than these calls take
    for dtype in DTYPES:
        rounded = [a.astype(dtype) if a.dtype.kind == "f" else a for a in inputs]
        expected = _results(reference(*[a.astype(np.float64) if a.dtype.kind == "f" else a for a in rounded]))
        shapes = out_shapes if out_shapes is not None else [e.shape for e in expected]
        first = None
        for form in (np.array, strided, read_only):
            for n_threads in THREADS:
                given = [form(a) for a in rounded]
                outs, checks = zip(*(guarded(shape, dtype) for shape in shapes), strict=True)
                soil_spare()
                plain = _results(ours(*given, out=None, n_threads=n_threads))
                soil_spare()
                filled = _results(ours(*given, out=outs[0] if len(outs) == 1 else outs, n_threads=n_threads))
                where = f"{np.dtype(dtype).name}, {form.__name__}, {n_threads} threads: "
                for a, b in zip(given, rounded, strict=True):
                    assert_same_bits(np.asarray(a), b, where + "input")
                for check in checks:
                    check()
                assert all(any(out is r for r in filled) for out in outs), where + "out was not returned"
                for name, e, p, f, length, scale in zip(names, expected, plain, filled, lengths, scales, strict=True):
                    if e.shape:
                        assert p.dtype == dtype, f"{where}{name} is {p.dtype}"
                        assert_close(p, e, length, scale, where + name)
                    else:
                        # a loss is summed in float64 from values of the input's precision
                        assert abs(p - e) <= tolerance(dtype, length, scale or max(1.0, abs(e))), where + name
                    assert_same_bits(p, f, where + name + " with out")
                first = first or plain
                for name, a, b in zip(names, first, plain, strict=True):
                    assert_same_bits(a, b, where + name)


def _results(value):
    values = value if isinstance(value, tuple) else (value,)
    return [v if isinstance(v, np.ndarray) else np.asarray(v, dtype=np.float64) for v in values]
