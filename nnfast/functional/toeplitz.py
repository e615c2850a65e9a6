"""A convolution as a matrix: to look at, to test against, and to hand to linear algebra."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ..configurable import boolean, integer
from ..geometry import check_groups, check_sizes, window
from ..names import choose
from .arguments import as_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import Array, Arrays, Padding, Size


def conv_toeplitz(w: Array, input_shape: Sequence[int], padding: Padding | Literal["full"] = "valid",
                  flip: bool = False, stride: Size = 1, dilation: Size = 1, groups: int = 1,
                  sparse: bool = False) -> Arrays:
    """The matrix T of a convolution: ``T @ x.ravel() == conv(x, w).ravel()``, for one sample x of shape input_shape.

    Samples are read row-major, channels last: element (i, j, c) of an image is number (i W + j) C + c. The transposed
    matrix is the gradient's: ``T.T @ dy.ravel() == dx.ravel()``.

    Parameters
    ----------
    w : array
        (S, C / groups, K) for signals, (R, S, C / groups, K) for images; (S,) or (R, S) for a single channel. Integers
        are taken as float64.
    input_shape : tuple of int
        (L, C) or (H, W, C); (L,) or (H, W) for a kernel of a single channel.
    padding : "valid", "same", "full", int or pairs
        "full" puts zeros around x until every place has an output where the kernel touches x. The others are those of
        `conv1d` and `conv2d`.
    flip : bool
        False: a cross-correlation, what layers compute. True: a convolution in the sense of mathematics, with the
        kernel reversed along its spatial axes; ``conv_toeplitz(w, (n,), "full", flip=True) @ x`` is
        ``np.convolve(w, x)``.
    stride, dilation, groups
        As in `conv1d` and `conv2d`.
    sparse : bool
        True: a scipy.sparse CSR array (needs scipy) instead of a dense matrix, which has mostly zeros.

    Returns
    -------
    array (outputs, inputs) of w's dtype, or scipy.sparse.csr_array

    Raises
    ------
    ValueError
        For shapes that do not fit, or a kernel larger than the padded input.
    ImportError
        If `sparse` is asked for and scipy is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.conv_toeplitz(np.array([1, 2, 3]), (4,))
    array([[1., 2., 3., 0.],
           [0., 1., 2., 3.]])
    >>> w, x = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0])
    >>> nf.functional.conv_toeplitz(w, (2,), "full", flip=True) @ x, np.convolve(w, x)
    (array([ 4., 13., 22., 15.]), array([ 4., 13., 22., 15.]))
    """
    op = "conv_toeplitz"
    boolean(op, "flip", flip)
    boolean(op, "sparse", sparse)
    if isinstance(w, np.ndarray) and w.dtype.kind in "iu":
        w = w.astype(np.float64)
    w = as_array(op, "w", w)
    if w.ndim not in (1, 2, 3, 4) or 0 in w.shape:
        raise ValueError(f"{op}: w must have shape (S,), (R, S), (S, C / groups, K) or (R, S, C / groups, K), none of "
                         f"them 0, got {w.shape}")
    axes = 1 if w.ndim % 2 else 2
    single = w.ndim == axes
    if not isinstance(input_shape, (tuple, list)) or len(input_shape) != axes + (not single):
        form = {(1, True): "(L,)", (2, True): "(H, W)", (1, False): "(L, C)", (2, False): "(H, W, C)"}[axes, single]
        raise ValueError(f"{op}: input_shape must be {form} for a kernel of shape {w.shape}, got {input_shape!r}")
    input_shape = tuple(integer(op, f"input_shape {tuple(input_shape)!r}: a size", n, at_least=1) for n in input_shape)
    if single:
        w, input_shape = w[..., None, None], (*input_shape, 1)
    channels, filters = input_shape[-1], w.shape[-1]
    groups = check_groups(op, groups, channels, filters)
    if w.shape[-2] * groups != channels:
        raise ValueError(f"{op}: input_shape has {channels} channels, w of shape {w.shape} with {groups} groups "
                         f"expects {w.shape[-2] * groups}")
    kernel = w.shape[0] if axes == 1 else w.shape[:2]
    if isinstance(padding, str):
        choose(f"{op} padding", padding, ("valid", "same", "full"))
    if padding == "full":
        spread = check_sizes(op, "dilation", dilation, axes)
        padding = (w.shape[0] - 1) * spread if axes == 1 else [
            ((size - 1) * step,) * 2 for size, step in zip(kernel, spread)]
    place = window(op, input_shape[:-1], kernel, stride, padding, dilation)
    if flip:
        w = np.flip(w, axis=tuple(range(axes)))
    w = w if axes == 2 else w[None]
    shape = place.output[0] * place.output[1] * filters, place.input[0] * place.input[1] * channels
    if sparse:
        from scipy.sparse import csr_array  # an optional dependency, loaded by those who ask for it

        rows, columns, values = _entries(w, place, channels, groups)
        return csr_array((values, (rows, columns)), shape=shape)
    matrix = np.zeros(shape, w.dtype)
    rows, columns, values = _entries(w, place, channels, groups)
    matrix[rows, columns] = values
    return matrix


def _entries(w, place, channels, groups):
    """Row, column and value of each entry, tap by tap: row (i OW + j) K + k reads column (y W + x) C + c."""
    (height, width), (outputs_h, outputs_w), filters = place.input, place.output, w.shape[-1]
    k = np.arange(filters)[:, None]
    c = np.arange(w.shape[2]) + k // (filters // groups) * w.shape[2]       # (K, C / groups): the group's own channels
    entries = []
    for r in range(w.shape[0]):
        y = np.arange(outputs_h) * place.stride[0] + r * place.dilation[0] - place.padding[0][0]
        i = np.flatnonzero((y >= 0) & (y < height))
        for s in range(w.shape[1]):
            x = np.arange(outputs_w) * place.stride[1] + s * place.dilation[1] - place.padding[1][0]
            j = np.flatnonzero((x >= 0) & (x < width))
            outputs = (i[:, None] * outputs_w + j).reshape(-1, 1, 1)
            inputs = (y[i][:, None] * width + x[j]).reshape(-1, 1, 1)
            form = (outputs.size, *c.shape)
            entries.append([np.broadcast_to(a, form).ravel()
                            for a in (outputs * filters + k, inputs * channels + c, w[r, s].T)])
    return [np.concatenate(parts) for parts in zip(*entries)]
