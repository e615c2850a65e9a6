"""Checks of arguments. `op` is the name of the function called, `name` the argument's."""

import math

import numpy as np

from nnfast._core.memory import bytes_to_line
from nnfast._core.threads import resolve

from ..arrays import unmasked
from ..configurable import boolean, integer

LINE = 64             # bytes of a cache line
WORTH_A_LINE = 16384  # bytes
MOST_THREADS = 1024   # as in the core

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def as_array(op, name, a):
    """a, C-contiguous; TypeError unless it is an array of float32 or float64."""
    if not isinstance(a, np.ndarray):
        raise TypeError(f"{op}: {name} must be a NumPy array of float32 or float64, got {type(a).__name__}")
    if type(a) is not np.ndarray:
        a = unmasked(a, f"{op}: {name}")
    if a.dtype not in FLOATS:
        raise TypeError(f"{op}: {name} must be float32 or float64, got {a.dtype}")
    return contiguous(a)


def contiguous(a):
    """a, or a copy of it, C-contiguous and aligned."""
    flags = a.flags
    return a if flags.c_contiguous and flags.aligned else np.array(a, order="C", subok=False)


def like(op, name, a, x_name, x, shape=None):
    """a with x's dtype and with `shape` (None: any)."""
    a = as_array(op, name, a)
    if a.dtype != x.dtype:
        raise TypeError(f"{op}: {name} is {a.dtype}, but {x_name} is {x.dtype}")
    if shape is not None and a.shape != shape:
        raise ValueError(f"{op}: {name} has shape {a.shape}, expected {shape} for {x_name} of shape {x.shape}")
    return a


def result_array(op, out, shape, dtype, inputs, name="out"):
    """A new array, or `out` after its checks."""
    if out is None:
        try:
            return new_array(shape, dtype)
        except (MemoryError, ValueError) as error:      # NumPy has no array of more than 2^63 bytes
            raise MemoryError(f"{op}: cannot allocate the result, of shape {shape} and {dtype}, "
                              f"{math.prod(shape) * dtype.itemsize:,} bytes") from error
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{op}: {name} must be a NumPy array, got {type(out).__name__}")
    unmasked(out, f"{op}: {name}")
    if out.dtype != dtype:
        raise TypeError(f"{op}: {name} is {out.dtype}, expected {dtype}")
    if out.shape != shape:
        raise ValueError(f"{op}: {name} has shape {out.shape}, expected {shape}")
    flags = out.flags
    if not (flags.c_contiguous and flags.writeable and flags.aligned):
        raise ValueError(f"{op}: {name} must be C-contiguous, aligned and writable")
    for a in inputs:
        # All of these are contiguous, so overlapping bounds are overlapping elements.
        if a is not None and np.may_share_memory(out, a):
            raise ValueError(f"{op}: {name} overlaps another argument's memory")
    return out


def new_array(shape, dtype):
    """An array that begins with a cache line, unless it is small: NumPy's large ones begin within one, so every vector
    lies in two, and the next call, which reads the result, is slowed down as well."""
    size = math.prod(shape) * dtype.itemsize
    if size < WORTH_A_LINE:
        return np.empty(shape, dtype)
    room = np.empty(size + LINE, np.uint8)
    return np.ndarray(shape, dtype, room, bytes_to_line(room))


def gradient_arrays(op, out, needed, x, w, dy, bias_shape=None):
    """(dx, dw, db) of a layer with a kernel: new arrays or those in `out`, None where one is not needed.

    bias_shape: the last axis of w unless given.
    """
    if out is None:
        out = None, None, None
    elif not isinstance(out, tuple) or len(out) != 3:
        raise TypeError(f"{op}: out must be a tuple (dx, dw, db) of arrays or None")
    gradients = []
    shapes = x.shape, w.shape, w.shape[-1:] if bias_shape is None else bias_shape
    for name, wanted, given, shape in zip(("dx", "dw", "db"), needed, out, shapes, strict=True):
        if boolean(op, f"need_{name}", wanted):
            # The gradients may not overlap each other, either.
            gradients.append(result_array(op, given, shape, x.dtype, (x, w, dy, *gradients), f"out {name}"))
        elif given is not None:
            raise ValueError(f"{op}: out holds {name}, but need_{name} is false")
        else:
            gradients.append(None)
    return gradients


def threads(op, n_threads):
    """The number of threads that a call uses."""
    if n_threads is not None:
        n_threads = integer(op, "n_threads", n_threads, at_least=1, at_most=MOST_THREADS)
    return resolve(n_threads)


def matrix(a):
    """All leading axes as rows of the last one."""
    return a if a.ndim == 2 else a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


def image(a):
    """Signals (N, L, C) as images (N, 1, L, C), and images as they are."""
    return a if a.ndim == 4 else a[:, None]
