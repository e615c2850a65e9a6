"""Fully connected layers: y = act(x w + b), and the gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import activations
from .._core import dense as _dense
from .arguments import as_array, gradient_arrays, like, matrix, result_array, threads

if TYPE_CHECKING:
    from ..typing import Array, Arrays


def dense(x: Array, w: Array, b: Array | None = None, activation: str = "linear", *,
          alpha: float | None = None, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y = act(x w + b), over the last axis of x.

    Parameters
    ----------
    x : array (..., C)
    w : array (C, K)
    b : array (K,), optional
    activation : str
        "linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "relu6", "hard_sigmoid",
        "hard_swish", "selu", "mish" or "softmax".
    alpha : float, optional
        Slope of leaky_relu below zero (default 0.01) or depth of elu (1.0), at least 0; an error with the others.

    Returns
    -------
    array (..., K)

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.array([[1.0, 2.0]])
    >>> nf.functional.dense(x, np.array([[1.0, -1.0], [1.0, -1.0]]), np.array([0.5, 0.5]), activation="relu")
    array([[3.5, 0. ]])
    """
    op = "dense"
    activation, alpha = activations.resolve(activation, alpha, op)
    x, w = _dense_inputs(op, x, w)
    if alpha:
        activations.check_alpha(op, alpha, x.dtype)
    if b is not None:
        b = like(op, "b", b, "w", w, (w.shape[1],))
    out = result_array(op, out, (*x.shape[:-1], w.shape[1]), x.dtype, (x, w, b))
    n_threads = threads(op, n_threads)
    _dense.dense_forward(matrix(x), w, b, activation, alpha, matrix(out), n_threads)
    return out


def dense_backward(x: Array, w: Array, dy: Array, *, need_dx: bool = True, need_dw: bool = True, need_db: bool = True,
                   out: tuple[Array | None, Array | None, Array | None] | None = None,
                   n_threads: int | None = None) -> tuple[Arrays, Arrays, Arrays]:
    """Gradients of y = x w + b, given dy: dx = dy w', dw = x' dy, db = the sum of dy over all rows.

    For a layer with an activation, pass dy through the activation's ``*_backward`` first.

    Parameters
    ----------
    x : array (..., C)
    w : array (C, K)
    dy : array (..., K)
    need_dx, need_dw, need_db : bool
        A gradient that is not needed is not computed and comes back as None.
    out : (dx, dw, db), optional
        Each an array or None; None for those that are not needed.

    Returns
    -------
    dx : array (..., C) or None
    dw : array (C, K) or None
    db : array (K,) or None

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x, w = np.ones((2, 3)), np.ones((3, 1))
    >>> dx, dw, db = nf.functional.dense_backward(x, w, np.array([[1.0], [2.0]]))
    >>> dx[:, 0], dw[0], db
    (array([1., 2.]), array([3.]), array([3.]))
    """
    op = "dense_backward"
    x, w = _dense_inputs(op, x, w)
    dy = like(op, "dy", dy, "x", x, (*x.shape[:-1], w.shape[1]))
    dx, dw, db = gradient_arrays(op, out, (need_dx, need_dw, need_db), x, w, dy)
    _dense.dense_backward(matrix(x), w, matrix(dy), None if dx is None else matrix(dx), dw, db, threads(op, n_threads))
    return dx, dw, db


def _dense_inputs(op, x, w):
    x = as_array(op, "x", x)
    w = like(op, "w", w, "x", x)
    if x.ndim < 1:
        raise ValueError(f"{op}: x must have at least one axis, got shape ()")
    if w.ndim != 2 or w.shape[0] != x.shape[-1]:
        raise ValueError(f"{op}: w has shape {w.shape}, expected ({x.shape[-1]}, outputs) for x of shape {x.shape}")
    return x, w
