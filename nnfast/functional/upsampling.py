"""Upsampling: each element of a signal, or pixel of an image, several times.

Layout: x (N, L, C) or (N, H, W, C), y (N, L size, C) or (N, H size, W size, C).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._core import pooling as _pooling
from ..geometry import upsampling_window
from .arguments import as_array, image, result_array, threads

if TYPE_CHECKING:
    from ..typing import Array, Size


def upsample1d(x: Array, size: Size = 2, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """Each element of signals `size` times, (N, L, C) -> (N, L size, C).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.upsample1d(np.array([1.0, 4.0]).reshape(1, 2, 1), 3)[0, :, 0]
    array([1., 1., 1., 4., 4., 4.])
    """
    return _forward("upsample1d", 1, x, size, out, n_threads)


def upsample1d_backward(dy: Array, size: Size = 2, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx of `upsample1d` given dy (N, L size, C): sums of `size` elements.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.upsample1d_backward(np.arange(6.0).reshape(1, 6, 1), 3)[0, :, 0]
    array([ 3., 12.])
    """
    return _backward("upsample1d_backward", 1, dy, size, out, n_threads)


def upsample2d(x: Array, size: Size = 2, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """Each pixel of images as a block of size x size, or h x w, pixels: (N, H, W, C) -> (N, H size, W size, C).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.upsample2d(np.array([1.0, 4.0]).reshape(1, 1, 2, 1))[0, :, :, 0]
    array([[1., 1., 4., 4.],
           [1., 1., 4., 4.]])
    """
    return _forward("upsample2d", 2, x, size, out, n_threads)


def upsample2d_backward(dy: Array, size: Size = 2, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx of `upsample2d` given dy (N, H size, W size, C): sums of the blocks.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.upsample2d_backward(np.ones((1, 2, 6, 1)), (2, 3))[0, :, :, 0]
    array([[6., 6.]])
    """
    return _backward("upsample2d_backward", 2, dy, size, out, n_threads)


def _forward(op, axes, x, size, out, n_threads):
    x = _checked(op, axes, "x", x)
    place = upsampling_window(op, x.shape[1:-1], size, x.shape[-1])
    out = result_array(op, out, (x.shape[0], *place.input[2 - axes:], x.shape[-1]), x.dtype, (x,))
    _pooling.upsample(image(x), image(out), place.as_tuple(), threads(op, n_threads))
    return out


def _backward(op, axes, dy, size, out, n_threads):
    dy = _checked(op, axes, "dy", dy)
    factors = upsampling_window(op, (1,) * axes, size).kernel[2 - axes:]
    if any(n % factor for n, factor in zip(dy.shape[1:-1], factors)):
        raise ValueError(f"{op}: dy has shape {dy.shape}, which is no whole number of blocks of size {size}")
    shape = tuple(n // factor for n, factor in zip(dy.shape[1:-1], factors))
    place = upsampling_window(op, shape, size, dy.shape[-1])
    out = result_array(op, out, (dy.shape[0], *shape, dy.shape[-1]), dy.dtype, (dy,))
    _pooling.upsample_gradient(image(dy), image(out), place.as_tuple(), threads(op, n_threads))
    return out


def _checked(op, axes, name, a):
    a = as_array(op, name, a)
    if a.ndim != axes + 2 or 0 in a.shape:
        form = "(N, L, C)" if axes == 1 else "(N, H, W, C)"
        raise ValueError(f"{op}: {name} must have shape {form}, none of them 0, got {a.shape}")
    return a
