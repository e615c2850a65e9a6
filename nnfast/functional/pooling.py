"""Pooling: the largest value or the mean of each channel in windows, and the gradients.

Layout: x (N, L, C) or (N, H, W, C), y (N, OL, C) or (N, OH, OW, C); global pooling gives (N, C).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._core import pooling as _pooling
from ..configurable import boolean, integer
from ..geometry import global_window, pooling_window
from .arguments import as_array, image, like, result_array, threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import Array, Padding, Size


def max_pool1d(x: Array, kernel_size: Size, stride: Size | None = None, padding: Padding = "valid", *,
               out: Array | None = None, n_threads: int | None = None) -> Array:
    """The largest values along signals, (N, L, C) -> (N, OL, C). For the arguments see `max_pool2d`.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.max_pool1d(np.array([1.0, 5.0, 3.0, 4.0]).reshape(1, 4, 1), 2)[0, :, 0]
    array([5., 4.])
    """
    return _max("max_pool1d", 1, x, kernel_size, stride, padding, out, n_threads)


def max_pool1d_with_taps(x: Array, kernel_size: Size, stride: Size | None = None, padding: Padding = "valid", *,
                         out: tuple[Array, Array] | None = None,
                         n_threads: int | None = None) -> tuple[Array, Array]:
    """y of `max_pool1d` and which value of its window each is, for `max_pool1d_backward`. See `max_pool2d_with_taps`.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> y, taps = nf.functional.max_pool1d_with_taps(np.array([1.0, 5.0, 4.0, 3.0]).reshape(1, 4, 1), 2)
    >>> taps[0, :, 0]
    array([1., 0.])
    """
    return _max_with_taps("max_pool1d_with_taps", 1, x, kernel_size, stride, padding, out, n_threads)


def max_pool1d_backward(x: Array, dy: Array, kernel_size: Size, stride: Size | None = None, padding: Padding = "valid",
                        *, taps: Array | None = None, out: Array | None = None,
                        n_threads: int | None = None) -> Array:
    """dx of `max_pool1d`, given its input x and dy. See `max_pool2d_backward`.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.array([1.0, 5.0, 3.0, 4.0]).reshape(1, 4, 1)
    >>> nf.functional.max_pool1d_backward(x, np.array([10.0, 20.0]).reshape(1, 2, 1), 2)[0, :, 0]
    array([ 0., 10.,  0., 20.])
    """
    return _max_backward("max_pool1d_backward", 1, x, dy, kernel_size, stride, padding, taps, out, n_threads)


def max_pool2d(x: Array, kernel_size: Size, stride: Size | None = None, padding: Padding = "valid", *,
               out: Array | None = None, n_threads: int | None = None) -> Array:
    """The largest value of each channel in windows over images.

    Parameters
    ----------
    x : array (N, H, W, C)
    kernel_size : int or (h, w)
    stride : int or (h, w), optional
        The kernel's size if left out.
    padding : "valid", "same", int or ((top, bottom), (left, right))
        Smaller than the kernel; it never is the largest value (it counts as -inf).

    Returns
    -------
    array (N, OH, OW, C)
        NaN wherever a window holds one.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.array([[1.0, 5.0, 3.0], [4.0, 2.0, 6.0]]).reshape(1, 2, 3, 1)
    >>> nf.functional.max_pool2d(x, 2, stride=1)[0, :, :, 0]
    array([[5., 6.]])
    """
    return _max("max_pool2d", 2, x, kernel_size, stride, padding, out, n_threads)


def max_pool2d_with_taps(x: Array, kernel_size: Size, stride: Size | None = None, padding: Padding = "valid", *,
                         out: tuple[Array, Array] | None = None,
                         n_threads: int | None = None) -> tuple[Array, Array]:
    """`max_pool2d`, and where each value came from: `max_pool2d_backward` need not search for it again.

    For the arguments see `max_pool2d`.

    Returns
    -------
    y : array (N, OH, OW, C)
    taps : array (N, OH, OW, C), x's dtype
        Of the pixels of a window that are inside the image, counted row by row from 0, the one that y is; the first of
        several.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.array([[1.0, 5.0, 3.0], [4.0, 2.0, 6.0]]).reshape(1, 2, 3, 1)
    >>> y, taps = nf.functional.max_pool2d_with_taps(x, 2, stride=1)
    >>> taps[0, :, :, 0]
    array([[1., 3.]])
    >>> nf.functional.max_pool2d_backward(x, np.array([[[[10.0], [20.0]]]]), 2, stride=1, taps=taps)[0, :, :, 0]
    array([[ 0., 10.,  0.],
           [ 0.,  0., 20.]])
    """
    return _max_with_taps("max_pool2d_with_taps", 2, x, kernel_size, stride, padding, out, n_threads)


def max_pool2d_backward(x: Array, dy: Array, kernel_size: Size, stride: Size | None = None, padding: Padding = "valid",
                        *, taps: Array | None = None, out: Array | None = None,
                        n_threads: int | None = None) -> Array:
    """dx of `max_pool2d`: each window's dy goes to its largest value, the first one, row by row, of several.

    Parameters
    ----------
    x : array (N, H, W, C)
        The input of `max_pool2d`; in windows that hold NaN the first NaN counts as largest.
    dy : array (N, OH, OW, C)
    kernel_size, stride, padding
        As in `max_pool2d`.
    taps : array (N, OH, OW, C), optional
        What `max_pool2d_with_taps` returned for x, which saves the search: of x only its shape is used then.

    Returns
    -------
    array (N, H, W, C)

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.array([[1.0, 5.0, 3.0], [4.0, 2.0, 6.0]]).reshape(1, 2, 3, 1)
    >>> nf.functional.max_pool2d_backward(x, np.array([[[[10.0], [20.0]]]]), 2, stride=1)[0, :, :, 0]
    array([[ 0., 10.,  0.],
           [ 0.,  0., 20.]])
    """
    return _max_backward("max_pool2d_backward", 2, x, dy, kernel_size, stride, padding, taps, out, n_threads)


def avg_pool1d(x: Array, kernel_size: Size, stride: Size | None = None, padding: Padding = "valid",
               count_include_pad: bool = False, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """Means along signals, (N, L, C) -> (N, OL, C). For the arguments see `avg_pool2d`.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.avg_pool1d(np.array([1.0, 5.0, 3.0, 4.0]).reshape(1, 4, 1), 2)[0, :, 0]
    array([3. , 3.5])
    """
    return _average("avg_pool1d", 1, x, kernel_size, stride, padding, count_include_pad, out, n_threads)


def avg_pool1d_backward(dy: Array, x_shape: Sequence[int], kernel_size: Size, stride: Size | None = None,
                        padding: Padding = "valid", count_include_pad: bool = False, *, out: Array | None = None,
                        n_threads: int | None = None) -> Array:
    """dx of `avg_pool1d` for an x of shape x_shape, (N, L, C), given dy.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.avg_pool1d_backward(np.array([10.0, 20.0]).reshape(1, 2, 1), (1, 4, 1), 2)[0, :, 0]
    array([ 5.,  5., 10., 10.])
    """
    return _average_backward("avg_pool1d_backward", 1, dy, x_shape, kernel_size, stride, padding, count_include_pad,
                             out, n_threads)


def avg_pool2d(x: Array, kernel_size: Size, stride: Size | None = None, padding: Padding = "valid",
               count_include_pad: bool = False, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """The mean of each channel in windows over images.

    Parameters
    ----------
    x : array (N, H, W, C)
    kernel_size : int or (h, w)
    stride : int or (h, w), optional
        The kernel's size if left out.
    padding : "valid", "same", int or ((top, bottom), (left, right))
        Smaller than the kernel.
    count_include_pad : bool
        False: the mean over the pixels of x in a window. True: padding counts as zeros.

    Returns
    -------
    array (N, OH, OW, C)

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.array([[1.0, 5.0], [4.0, 2.0]]).reshape(1, 2, 2, 1)
    >>> nf.functional.avg_pool2d(x, 2, padding=((1, 0), (0, 0)))[0, :, :, 0]
    array([[3.]])
    """
    return _average("avg_pool2d", 2, x, kernel_size, stride, padding, count_include_pad, out, n_threads)


def avg_pool2d_backward(dy: Array, x_shape: Sequence[int], kernel_size: Size, stride: Size | None = None,
                        padding: Padding = "valid", count_include_pad: bool = False, *, out: Array | None = None,
                        n_threads: int | None = None) -> Array:
    """dx of `avg_pool2d`: each window's dy in equal parts to the pixels it averaged.

    Parameters
    ----------
    dy : array (N, OH, OW, C)
    x_shape : tuple of int
        (N, H, W, C), the shape of the input of `avg_pool2d`.
    kernel_size, stride, padding, count_include_pad
        As in `avg_pool2d`.

    Returns
    -------
    array (N, H, W, C)

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.avg_pool2d_backward(np.array([[[[8.0]]]]), (1, 2, 2, 1), 2)[0, :, :, 0]
    array([[2., 2.],
           [2., 2.]])
    """
    return _average_backward("avg_pool2d_backward", 2, dy, x_shape, kernel_size, stride, padding, count_include_pad,
                             out, n_threads)


def global_max_pool(x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """The largest value of each channel, (N, L, C) or (N, H, W, C) -> (N, C).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.global_max_pool(np.array([[1.0, 20.0], [5.0, 10.0]]).reshape(1, 2, 2))
    array([[ 5., 20.]])
    """
    op = "global_max_pool"
    x, place = _everywhere(op, x)
    out = result_array(op, out, (x.shape[0], x.shape[-1]), x.dtype, (x,))
    _pooling.max_pool_forward(image(x), _pixel(out), None, place.as_tuple(), threads(op, n_threads))
    return out


def global_max_pool_backward(x: Array, dy: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx of `global_max_pool`, given its input x and dy (N, C): all of dy to the first of the largest values.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.array([[1.0, 20.0], [5.0, 10.0]]).reshape(1, 2, 2)
    >>> nf.functional.global_max_pool_backward(x, np.array([[7.0, 8.0]]))[0]
    array([[0., 8.],
           [7., 0.]])
    """
    op = "global_max_pool_backward"
    x, place = _everywhere(op, x)
    dy = like(op, "dy", dy, "x", x, (x.shape[0], x.shape[-1]))
    out = result_array(op, out, x.shape, x.dtype, (x, dy))
    _pooling.max_pool_backward(image(x), None, _pixel(dy), image(out), place.as_tuple(), threads(op, n_threads))
    return out


def global_avg_pool(x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """The mean of each channel, (N, L, C) or (N, H, W, C) -> (N, C).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.global_avg_pool(np.array([[1.0, 20.0], [5.0, 10.0]]).reshape(1, 2, 2))
    array([[ 3., 15.]])
    """
    op = "global_avg_pool"
    x, place = _everywhere(op, x)
    out = result_array(op, out, (x.shape[0], x.shape[-1]), x.dtype, (x,))
    _pooling.average_pool_forward(image(x), _pixel(out), place.as_tuple(), False, threads(op, n_threads))
    return out


def global_avg_pool_backward(dy: Array, x_shape: Sequence[int], *, out: Array | None = None,
                             n_threads: int | None = None) -> Array:
    """dx of `global_avg_pool` for an x of shape x_shape, (N, L, C) or (N, H, W, C), given dy (N, C).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.global_avg_pool_backward(np.array([[8.0, 6.0]]), (1, 2, 2))[0]
    array([[4., 3.],
           [4., 3.]])
    """
    op = "global_avg_pool_backward"
    dy = as_array(op, "dy", dy)
    x_shape = _input_shape(op, x_shape, (3, 4))
    shape = x_shape[0], x_shape[-1]
    if dy.shape != shape:
        raise ValueError(f"{op}: dy has shape {dy.shape}, expected {shape} for x of shape {x_shape}")
    place = global_window(op, x_shape[1:])
    out = result_array(op, out, x_shape, dy.dtype, (dy,))
    _pooling.average_pool_backward(_pixel(dy), image(out), place.as_tuple(), False, threads(op, n_threads))
    return out


def _max(op, axes, x, kernel_size, stride, padding, out, n_threads):
    x, place, shape = _place(op, axes, x, kernel_size, stride, padding)
    out = result_array(op, out, shape, x.dtype, (x,))
    _pooling.max_pool_forward(image(x), image(out), None, place.as_tuple(), threads(op, n_threads))
    return out


def _max_with_taps(op, axes, x, kernel_size, stride, padding, out, n_threads):
    x, place, shape = _place(op, axes, x, kernel_size, stride, padding)
    if out is None:
        out = None, None
    elif not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"{op}: out must be a tuple (y, taps) of arrays")
    y = result_array(op, out[0], shape, x.dtype, (x,), "out y")
    taps = result_array(op, out[1], shape, x.dtype, (x, y), "out taps")
    _pooling.max_pool_forward(image(x), image(y), image(taps), place.as_tuple(), threads(op, n_threads))
    return y, taps


def _max_backward(op, axes, x, dy, kernel_size, stride, padding, taps, out, n_threads):
    x, place, shape = _place(op, axes, x, kernel_size, stride, padding)
    dy = like(op, "dy", dy, "x", x, shape)
    if taps is not None:
        taps = like(op, "taps", taps, "x", x, shape)
    out = result_array(op, out, x.shape, x.dtype, (x, dy, taps))
    _pooling.max_pool_backward(image(x), None if taps is None else image(taps), image(dy), image(out),
                               place.as_tuple(), threads(op, n_threads))
    return out


def _average(op, axes, x, kernel_size, stride, padding, include_pad, out, n_threads):
    boolean(op, "count_include_pad", include_pad)
    x, place, shape = _place(op, axes, x, kernel_size, stride, padding)
    out = result_array(op, out, shape, x.dtype, (x,))
    _pooling.average_pool_forward(image(x), image(out), place.as_tuple(), include_pad, threads(op, n_threads))
    return out


def _average_backward(op, axes, dy, x_shape, kernel_size, stride, padding, include_pad, out, n_threads):
    boolean(op, "count_include_pad", include_pad)
    dy = as_array(op, "dy", dy)
    x_shape = _input_shape(op, x_shape, (axes + 2,))
    place = pooling_window(op, x_shape[1:-1], kernel_size, stride, padding)
    shape = (x_shape[0], *place.output[2 - axes:], x_shape[-1])
    if dy.shape != shape:
        raise ValueError(f"{op}: dy has shape {dy.shape}, expected {shape} for x of shape {x_shape}")
    out = result_array(op, out, x_shape, dy.dtype, (dy,))
    _pooling.average_pool_backward(image(dy), image(out), place.as_tuple(), include_pad, threads(op, n_threads))
    return out


def _place(op, axes, x, kernel_size, stride, padding):
    """Checked x, where the windows stand, and the shape of y."""
    x = as_array(op, "x", x)
    if x.ndim != axes + 2 or 0 in x.shape:
        form = "(N, L, C)" if axes == 1 else "(N, H, W, C)"
        raise ValueError(f"{op}: x must have shape {form}, none of them 0, got {x.shape}")
    place = pooling_window(op, x.shape[1:-1], kernel_size, stride, padding)
    return x, place, (x.shape[0], *place.output[2 - axes:], x.shape[-1])


def _everywhere(op, x):
    x = as_array(op, "x", x)
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise ValueError(f"{op}: x must have shape (N, L, C) or (N, H, W, C), none of them 0, got {x.shape}")
    return x, global_window(op, x.shape[1:])


def _input_shape(op, shape, ranks):
    if not isinstance(shape, (tuple, list)) or len(shape) not in ranks:
        form = " or ".join("(N, L, C)" if rank == 3 else "(N, H, W, C)" for rank in ranks)
        raise ValueError(f"{op}: x_shape must be {form}, got {shape!r}")
    return tuple(integer(op, f"x_shape {tuple(shape)!r}: a size", size, at_least=1) for size in shape)


def _pixel(a):
    """(N, C) as images of one pixel."""
    return np.reshape(a, (a.shape[0], 1, 1, a.shape[-1]))
