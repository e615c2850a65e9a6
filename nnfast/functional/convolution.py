"""Convolutions: y = act(x * w + b), a cross-correlation as in all frameworks, and the gradients.

Layout: x (N, L, C) or (N, H, W, C), w (S, C / groups, K) or (R, S, C / groups, K), y (N, OL, K) or (N, OH, OW, K). The
transposed convolutions' w is (S, K, C) or (R, S, K, C): as the convolution has it that goes from y to x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import activations
from .._core import convolution_call as _convolution
from ..geometry import check_groups, transposed_window, window
from .arguments import as_array, gradient_arrays, image, like, result_array, threads

if TYPE_CHECKING:
    from ..typing import Array, Arrays, Padding, Size


def conv1d(x: Array, w: Array, b: Array | None = None, stride: Size = 1, padding: Padding = "valid", dilation: Size = 1,
           groups: int = 1, activation: str = "linear", *, alpha: float | None = None,
           out: Array | None = None, n_threads: int | None = None) -> Array:
    """Convolution of signals, (N, L, C) -> (N, OL, K); w (S, C / groups, K). For the arguments see `conv2d`.

    `padding` is "valid", "same", an int or (left, right).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 4, 1)
    >>> nf.functional.conv1d(x, np.array([-1.0, 1.0]).reshape(2, 1, 1))[0, :, 0]      # not flipped
    array([1., 2., 4.])
    """
    return _forward("conv1d", 1, x, w, b, stride, padding, dilation, groups, activation, alpha, out, n_threads)


def conv1d_backward(x: Array, w: Array, dy: Array, stride: Size = 1, padding: Padding = "valid", dilation: Size = 1,
                    groups: int = 1, *, need_dx: bool = True, need_dw: bool = True, need_db: bool = True,
                    out: tuple[Array | None, Array | None, Array | None] | None = None,
                    n_threads: int | None = None) -> tuple[Arrays, Arrays, Arrays]:
    """Gradients (dx, dw, db) of `conv1d` without activation, given dy (N, OL, K). See `conv2d_backward`.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> x, w = np.array([1.0, 2.0, 4.0]).reshape(1, 3, 1), np.array([-1.0, 1.0]).reshape(2, 1, 1)
    >>> dx, dw, db = nf.functional.conv1d_backward(x, w, np.ones((1, 2, 1)))
    >>> dx[0, :, 0], dw[:, 0, 0], db
    (array([-1.,  0.,  1.]), array([3., 6.]), array([2.]))
    """
    return _backward("conv1d_backward", 1, x, w, dy, stride, padding, dilation, groups, (need_dx, need_dw, need_db),
                     out, n_threads)


def conv2d(x: Array, w: Array, b: Array | None = None, stride: Size = 1, padding: Padding = "valid", dilation: Size = 1,
           groups: int = 1, activation: str = "linear", *, alpha: float | None = None,
           out: Array | None = None, n_threads: int | None = None) -> Array:
    """Convolution of images.

    y[n, i, j, k] = act(sum over r, s, c of x[n, i stride + r dilation - top, j stride + s dilation - left, c]
    w[r, s, c, k], + b[k]), where x is zero outside. The kernel is not flipped (see `conv_toeplitz` for both).

    Parameters
    ----------
    x : array (N, H, W, C)
    w : array (R, S, C / groups, K)
        Of K filters, the first K / groups see the first C / groups channels, and so on. A depthwise convolution has as
        many groups as channels.
    b : array (K,), optional
    stride, dilation : int or (h, w)
    padding : "valid", "same", int or ((top, bottom), (left, right))
        "same" is TensorFlow's: ceil(H / stride) rows, the odd zero at the bottom or right.
    groups : int
        Divides C and K.
    activation : str
        "linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "relu6", "hard_sigmoid",
        "hard_swish", "selu", "mish" or "softmax" (over K).
    alpha : float, optional
        Slope of leaky_relu below zero (default 0.01) or depth of elu (1.0), at least 0; an error with the others.

    Returns
    -------
    array (N, OH, OW, K)

    Raises
    ------
    ValueError
        For shapes that do not fit, an empty batch, sizes out of range, or a kernel larger than the padded input.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x, w = np.ones((1, 3, 3, 2)), np.ones((2, 2, 2, 1))
    >>> nf.functional.conv2d(x, w, padding="same")[0, :, :, 0]
    array([[8., 8., 4.],
           [8., 8., 4.],
           [4., 4., 2.]])
    """
    return _forward("conv2d", 2, x, w, b, stride, padding, dilation, groups, activation, alpha, out, n_threads)


def conv2d_backward(x: Array, w: Array, dy: Array, stride: Size = 1, padding: Padding = "valid", dilation: Size = 1,
                    groups: int = 1, *, need_dx: bool = True, need_dw: bool = True, need_db: bool = True,
                    out: tuple[Array | None, Array | None, Array | None] | None = None,
                    n_threads: int | None = None) -> tuple[Arrays, Arrays, Arrays]:
    """Gradients of `conv2d` without activation.

    For a layer with an activation, pass dy through the activation's ``*_backward`` first.

    Parameters
    ----------
    x : array (N, H, W, C)
    w : array (R, S, C / groups, K)
    dy : array (N, OH, OW, K)
    stride, padding, dilation, groups
        As in `conv2d`.
    need_dx, need_dw, need_db : bool
        A gradient that is not needed is not computed and comes back as None.
    out : (dx, dw, db), optional
        Each an array or None; None for those that are not needed.

    Returns
    -------
    dx : array (N, H, W, C) or None
    dw : array (R, S, C / groups, K) or None
    db : array (K,) or None

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x, w = np.ones((1, 3, 3, 1)), np.ones((2, 2, 1, 1))
    >>> dx, dw, db = nf.functional.conv2d_backward(x, w, np.ones((1, 2, 2, 1)))
    >>> dx[0, :, :, 0], dw.ravel(), db
    (array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]]), array([4., 4., 4., 4.]), array([4.]))
    """
    return _backward("conv2d_backward", 2, x, w, dy, stride, padding, dilation, groups, (need_dx, need_dw, need_db),
                     out, n_threads)


def conv1d_transpose(x: Array, w: Array, b: Array | None = None, stride: Size = 1, padding: Padding = "valid",
                     output_padding: Size = 0, dilation: Size = 1, activation: str = "linear", *,
                     alpha: float | None = None, out: Array | None = None, n_threads: int | None = None) -> Array:
    """Transposed convolution of signals, (N, L, C) -> (N, OL, K); w (S, K, C).

    For the arguments see `conv2d_transpose`; `padding` is "valid", "same", an int or (left, right).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> x, w = np.array([1.0, 10.0]).reshape(1, 2, 1), np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    >>> nf.functional.conv1d_transpose(x, w, stride=2)[0, :, 0]
    array([ 1.,  2., 13., 20., 30.])
    """
    return _transposed("conv1d_transpose", 1, x, w, b, stride, padding, output_padding, dilation, activation, alpha,
                       out, n_threads)


def conv1d_transpose_backward(x: Array, w: Array, dy: Array, stride: Size = 1, padding: Padding = "valid",
                              output_padding: Size = 0, dilation: Size = 1, *, need_dx: bool = True,
                              need_dw: bool = True, need_db: bool = True,
                              out: tuple[Array | None, Array | None, Array | None] | None = None,
                              n_threads: int | None = None) -> tuple[Arrays, Arrays, Arrays]:
    """Gradients (dx, dw, db) of `conv1d_transpose` without activation, given dy (N, OL, K). See `conv2d_backward`.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> x, w = np.array([1.0, 10.0]).reshape(1, 2, 1), np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    >>> dx, dw, db = nf.functional.conv1d_transpose_backward(x, w, np.ones((1, 5, 1)), stride=2)
    >>> dx[0, :, 0], dw[:, 0, 0], db
    (array([6., 6.]), array([11., 11., 11.]), array([5.]))
    """
    return _transposed_backward("conv1d_transpose_backward", 1, x, w, dy, stride, padding, output_padding, dilation,
                                (need_dx, need_dw, need_db), out, n_threads)


def conv2d_transpose(x: Array, w: Array, b: Array | None = None, stride: Size = 1, padding: Padding = "valid",
                     output_padding: Size = 0, dilation: Size = 1, activation: str = "linear", *,
                     alpha: float | None = None, out: Array | None = None, n_threads: int | None = None) -> Array:
    """Transposed convolution of images: what `conv2d` with the same kernel has as its input gradient.

    y[n, i', j', k] = act(b[k] + sum of x[n, i, j, c] w[r, s, k, c] over c and all i, j, r, s with
    i stride + r dilation - top = i', j stride + s dilation - left = j').

    Parameters
    ----------
    x : array (N, H, W, C)
    w : array (R, S, K, C)
    b : array (K,), optional
    stride, dilation : int or (h, w)
    padding : "valid", "same", int or ((top, bottom), (left, right))
        What is cut off around y. "same": OH = H stride, OW = W stride.
    output_padding : int or (h, w)
        Rows and columns more at the bottom and right, fewer than the stride; 0 with "same".
    activation, alpha
        As in `conv2d`.

    Returns
    -------
    array (N, OH, OW, K)
        Without "same", OH = (H - 1) stride + (R - 1) dilation + 1 - top - bottom + output_padding.

    Raises
    ------
    ValueError
        For shapes that do not fit, an empty batch, sizes out of range, or a padding that leaves nothing.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    >>> nf.functional.conv2d_transpose(x, np.ones((2, 2, 1, 1)), stride=2)[0, :, :, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.],
           [3., 3., 4., 4.],
           [3., 3., 4., 4.]])
    """
    return _transposed("conv2d_transpose", 2, x, w, b, stride, padding, output_padding, dilation, activation, alpha,
                       out, n_threads)


def conv2d_transpose_backward(x: Array, w: Array, dy: Array, stride: Size = 1, padding: Padding = "valid",
                              output_padding: Size = 0, dilation: Size = 1, *, need_dx: bool = True,
                              need_dw: bool = True, need_db: bool = True,
                              out: tuple[Array | None, Array | None, Array | None] | None = None,
                              n_threads: int | None = None) -> tuple[Arrays, Arrays, Arrays]:
    """Gradients (dx, dw, db) of `conv2d_transpose` without activation, given dy (N, OH, OW, K). See `conv2d_backward`.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> x, w, dy = np.ones((1, 2, 2, 3)), np.ones((2, 2, 1, 3)), np.ones((1, 4, 4, 1))
    >>> dx, dw, db = nf.functional.conv2d_transpose_backward(x, w, dy, stride=2)
    >>> dx.shape, dw[:, :, 0, 0], db
    ((1, 2, 2, 3), array([[4., 4.],
           [4., 4.]]), array([16.]))
    """
    return _transposed_backward("conv2d_transpose_backward", 2, x, w, dy, stride, padding, output_padding, dilation,
                                (need_dx, need_dw, need_db), out, n_threads)


def _forward(op, axes, x, w, b, stride, padding, dilation, groups, activation, alpha, out, n_threads):
    activation, alpha = activations.resolve(activation, alpha, op)
    x, w, groups, place, shape = _place(op, axes, x, w, stride, padding, dilation, groups)
    activations.check_alpha(op, alpha, x.dtype)
    if b is not None:
        b = like(op, "b", b, "w", w, w.shape[-1:])
    out = result_array(op, out, shape, x.dtype, (x, w, b))
    n_threads = threads(op, n_threads)
    _convolution.conv_forward(image(x), _kernel(w), b, place.as_tuple(), groups, activation, alpha, image(out),
                              n_threads)
    return out


def _backward(op, axes, x, w, dy, stride, padding, dilation, groups, needed, out, n_threads):
    x, w, groups, place, shape = _place(op, axes, x, w, stride, padding, dilation, groups)
    dy = like(op, "dy", dy, "x", x, shape)
    dx, dw, db = gradient_arrays(op, out, needed, x, w, dy)
    n_threads = threads(op, n_threads)
    _convolution.conv_backward(image(x), _kernel(w), image(dy), None if dx is None else image(dx),
                               None if dw is None else _kernel(dw), db, place.as_tuple(), groups, n_threads)
    return dx, dw, db


def _place(op, axes, x, w, stride, padding, dilation, groups):
    """Checked x, w and groups, where the kernel stands, and the shape of y."""
    x = as_array(op, "x", x)
    w = like(op, "w", w, "x", x)
    form, kernel_form = ("(N, L, C)", "(S, C / groups, K)") if axes == 1 else ("(N, H, W, C)", "(R, S, C / groups, K)")
    if x.ndim != axes + 2 or 0 in x.shape:
        raise ValueError(f"{op}: x must have shape {form}, none of them 0, got {x.shape}")
    if w.ndim != axes + 2 or 0 in w.shape:
        raise ValueError(f"{op}: w must have shape {kernel_form}, none of them 0, got {w.shape}")
    groups = check_groups(op, groups, x.shape[-1], w.shape[-1])
    if w.shape[-2] * groups != x.shape[-1]:
        raise ValueError(f"{op}: x has {x.shape[-1]} channels, w of shape {w.shape} with {groups} groups expects "
                         f"{w.shape[-2] * groups}")
    place = window(op, x.shape[1:-1], w.shape[0] if axes == 1 else w.shape[:2], stride, padding, dilation,
                   max(x.shape[-1], w.shape[-1]))
    return x, w, groups, place, (x.shape[0], *place.output[2 - axes:], w.shape[-1])


def _kernel(w):
    """A kernel with two axes in space."""
    return w if w.ndim == 4 else w[None]


def _transposed(op, axes, x, w, b, stride, padding, output_padding, dilation, activation, alpha, out, n_threads):
    activation, alpha = activations.resolve(activation, alpha, op)
    x, w, place, shape = _transposed_place(op, axes, x, w, stride, padding, output_padding, dilation)
    activations.check_alpha(op, alpha, x.dtype)
    if b is not None:
        b = like(op, "b", b, "w", w, w.shape[-2:-1])
    out = result_array(op, out, shape, x.dtype, (x, w, b))
    _convolution.conv_transpose_forward(image(x), _kernel(w), b, place.as_tuple(), activation, alpha, image(out),
                                        threads(op, n_threads))
    return out


def _transposed_backward(op, axes, x, w, dy, stride, padding, output_padding, dilation, needed, out, n_threads):
    x, w, place, shape = _transposed_place(op, axes, x, w, stride, padding, output_padding, dilation)
    dy = like(op, "dy", dy, "x", x, shape)
    dx, dw, db = gradient_arrays(op, out, needed, x, w, dy, w.shape[-2:-1])
    n_threads = threads(op, n_threads)
    # The convolution that goes back, of dy: its result is dx, its kernel's gradient, for x as that of its result, dw.
    if dx is not None:
        _convolution.conv_forward(image(dy), _kernel(w), None, place.as_tuple(), 1, "linear", 0.0, image(dx), n_threads)
    if dw is not None:
        _convolution.conv_backward(image(dy), _kernel(w), image(x), None, _kernel(dw), None, place.as_tuple(), 1,
                                   n_threads)
    if db is not None:
        _convolution.sum_over_pixels(image(dy), db, n_threads)
    return dx, dw, db


def _transposed_place(op, axes, x, w, stride, padding, output_padding, dilation):
    """Checked x and w, where the kernel stands on y, and the shape of y."""
    x = as_array(op, "x", x)
    w = like(op, "w", w, "x", x)
    form, kernel_form = ("(N, L, C)", "(S, K, C)") if axes == 1 else ("(N, H, W, C)", "(R, S, K, C)")
    if x.ndim != axes + 2 or 0 in x.shape:
        raise ValueError(f"{op}: x must have shape {form}, none of them 0, got {x.shape}")
    if w.ndim != axes + 2 or 0 in w.shape:
        raise ValueError(f"{op}: w must have shape {kernel_form}, none of them 0, got {w.shape}")
    if w.shape[-1] != x.shape[-1]:
        raise ValueError(f"{op}: x has {x.shape[-1]} channels, w of shape {w.shape} expects {w.shape[-1]}")
    place = transposed_window(op, x.shape[1:-1], w.shape[0] if axes == 1 else w.shape[:2], stride, padding,
                              output_padding, dilation, max(w.shape[-2:]))
    return x, w, place, (x.shape[0], *place.input[2 - axes:], w.shape[-2])
