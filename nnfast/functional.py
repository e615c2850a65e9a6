"""The kernels of nnfast as stateless functions over NumPy arrays, for other programs to build on.

Every function runs in the dtype of its first array, float32 or float64, and all other arrays must have it, too: nothing
is converted behind your back. Inputs may be strided or read-only (an array that is not C-contiguous is copied first);
they are not searched for nan or inf, which come out as in NumPy. Wrong types raise TypeError, wrong shapes and values
ValueError, before any kernel runs.

Common arguments
    out : array (or a tuple of arrays where a function returns several) that receives the result, of exactly its shape
        and dtype, C-contiguous, writable, and apart from all inputs. Nothing is allocated for it then.
    n_threads : most threads this call may use; None means the default, see `nnfast.show_config`. Results have the same
        bits for any number. The GIL is released, so calls with ``n_threads=1`` run side by side in your own threads.
"""

import math

import numpy as np

from . import activations
from ._core import dense as _dense
from ._core import elementwise as _elementwise
from ._core.threads import resolve as _threads
from .arrays import as_numbers
from .configurable import number

__all__ = [
    "dense", "dense_backward",
    "sigmoid", "sigmoid_backward", "tanh", "tanh_backward", "relu", "relu_backward",
    "leaky_relu", "leaky_relu_backward", "elu", "elu_backward", "gelu", "gelu_backward", "silu", "silu_backward",
    "softplus", "softplus_backward", "softmax", "softmax_backward",
    "softmax_cross_entropy", "sigmoid_cross_entropy", "binary_cross_entropy",
    "squared_error", "absolute_error", "huber",
    "entropy", "cross_entropy",
]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_INT32_MAX = np.iinfo(np.int32).max


# --- checks: `op` is the function's name, `name` the argument's ------------------------------------------------------

def _array(op, name, a):
    """a, C-contiguous; TypeError unless it is an array of float32 or float64."""
    if not isinstance(a, np.ndarray):
        raise TypeError(f"{op}: {name} must be a NumPy array of float32 or float64, got {type(a).__name__}")
    if a.dtype not in _FLOATS:
        raise TypeError(f"{op}: {name} must be float32 or float64, got {a.dtype}")
    return _contiguous(a)


def _contiguous(a):
    flags = a.flags
    return a if flags.c_contiguous and flags.aligned else np.array(a, order="C", subok=False)


def _like(op, name, a, x_name, x, shape=None):
    """a with x's dtype and with `shape` (None: any)."""
    a = _array(op, name, a)
    if a.dtype != x.dtype:
        raise TypeError(f"{op}: {name} is {a.dtype}, but {x_name} is {x.dtype}")
    if shape is not None and a.shape != shape:
        raise ValueError(f"{op}: {name} has shape {a.shape}, expected {shape} for {x_name} of shape {x.shape}")
    return a


def _result(op, out, shape, dtype, inputs, name="out"):
    """A new array, or `out` after its checks."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{op}: {name} must be a NumPy array, got {type(out).__name__}")
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


def _matrix(a):
    """All leading axes as rows of the last one."""
    return a if a.ndim == 2 else a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


# --- dense -----------------------------------------------------------------------------------------------------------

def dense(x, w, b=None, activation="linear", *, alpha=None, out=None, n_threads=None):
    """y = act(x w + b), over the last axis of x.

    Parameters
    ----------
    x : array (..., C)
    w : array (C, K)
    b : array (K,), optional
    activation : str
        "linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus" or "softmax".
    alpha : float, optional
        Slope of leaky_relu below zero (default 0.01) or depth of elu (1.0), at least 0; an error with the others.

    Returns
    -------
    array (..., K)

    Examples
    --------
    >>> x = np.array([[1.0, 2.0]])
    >>> dense(x, np.array([[1.0, -1.0], [1.0, -1.0]]), np.array([0.5, 0.5]), activation="relu")
    array([[3.5, 0. ]])
    """
    activation, alpha = activations.resolve(activation, alpha, "dense")
    x, w = _dense_inputs("dense", x, w)
    if b is not None:
        b = _like("dense", "b", b, "w", w, (w.shape[1],))
    out = _result("dense", out, (*x.shape[:-1], w.shape[1]), x.dtype, (x, w, b))
    n_threads = _threads(n_threads)
    _dense.dense_forward(_matrix(x), w, b, activation, alpha, _matrix(out), n_threads)
    return out


def dense_backward(x, w, dy, *, need_dx=True, need_dw=True, need_db=True, out=None, n_threads=None):
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
    >>> x, w = np.ones((2, 3)), np.ones((3, 1))
    >>> dx, dw, db = dense_backward(x, w, np.array([[1.0], [2.0]]))
    >>> dx[:, 0], dw[0], db
    (array([1., 2.]), array([3.]), array([3.]))
    """
    op = "dense_backward"
    x, w = _dense_inputs(op, x, w)
    dy = _like(op, "dy", dy, "x", x, (*x.shape[:-1], w.shape[1]))
    if out is None:
        out = None, None, None
    elif not isinstance(out, tuple) or len(out) != 3:
        raise TypeError(f"{op}: out must be a tuple (dx, dw, db) of arrays or None")
    grads = []
    for name, needed, given, shape in zip(
        ("dx", "dw", "db"), (need_dx, need_dw, need_db), out, (x.shape, w.shape, w.shape[1:]), strict=True
    ):
        if needed:
            # The gradients may not overlap each other, either.
            grads.append(_result(op, given, shape, x.dtype, (x, w, dy, *grads), f"out {name}"))
        elif given is not None:
            raise ValueError(f"{op}: out holds {name}, but need_{name} is false")
        else:
            grads.append(None)
    dx, dw, db = grads
    _dense.dense_backward(_matrix(x), w, _matrix(dy), None if dx is None else _matrix(dx), dw, db, _threads(n_threads))
    return dx, dw, db


def _dense_inputs(op, x, w):
    x = _array(op, "x", x)
    w = _like(op, "w", w, "x", x)
    if x.ndim < 1:
        raise ValueError(f"{op}: x must have at least one axis, got shape ()")
    if w.ndim != 2 or w.shape[0] != x.shape[-1]:
        raise ValueError(f"{op}: w has shape {w.shape}, expected ({x.shape[-1]}, outputs) for x of shape {x.shape}")
    return x, w


# --- activations -----------------------------------------------------------------------------------------------------

def _forward(name, x, alpha, out, n_threads):
    _, alpha = activations.resolve(name, alpha, name)
    x = _array(name, "x", x)
    out = _result(name, out, x.shape, x.dtype, (x,))
    _elementwise.activation_forward(name, x, out, alpha, _threads(n_threads))
    return out


def _backward(name, dy, kept_name, kept, alpha, out, n_threads):
    """kept: x or y, whichever the derivative is computed from."""
    op = f"{name}_backward"
    _, alpha = activations.resolve(name, alpha, op)
    dy = _array(op, "dy", dy)
    kept = _like(op, kept_name, kept, "dy", dy, dy.shape)
    out = _result(op, out, dy.shape, dy.dtype, (dy, kept))
    x, y = (kept, None) if kept_name == "x" else (None, kept)
    _elementwise.activation_backward(name, x, y, dy, out, alpha, _threads(n_threads))
    return out


def sigmoid(x, *, out=None, n_threads=None):
    """y = 1 / (1 + exp(-x)), elementwise.

    >>> sigmoid(np.array([-1e4, 0.0, 1e4]))
    array([0. , 0.5, 1. ])
    """
    return _forward("sigmoid", x, None, out, n_threads)


def sigmoid_backward(dy, y, *, out=None, n_threads=None):
    """dx = dy y (1 - y), from the output y = sigmoid(x).

    >>> sigmoid_backward(np.array([1.0]), np.array([0.5]))
    array([0.25])
    """
    return _backward("sigmoid", dy, "y", y, None, out, n_threads)


def tanh(x, *, out=None, n_threads=None):
    """y = tanh(x), elementwise."""
    return _forward("tanh", x, None, out, n_threads)


def tanh_backward(dy, y, *, out=None, n_threads=None):
    """dx = dy (1 - y^2), from the output y = tanh(x)."""
    return _backward("tanh", dy, "y", y, None, out, n_threads)


def relu(x, *, out=None, n_threads=None):
    """y = max(x, 0), elementwise."""
    return _forward("relu", x, None, out, n_threads)


def relu_backward(dy, y, *, out=None, n_threads=None):
    """dx = dy where y > 0, else 0, from the output y = relu(x)."""
    return _backward("relu", dy, "y", y, None, out, n_threads)


def leaky_relu(x, *, alpha=0.01, out=None, n_threads=None):
    """y = x where x > 0, else alpha x; alpha >= 0."""
    return _forward("leaky_relu", x, alpha, out, n_threads)


def leaky_relu_backward(dy, y, *, alpha=0.01, out=None, n_threads=None):
    """dx = dy where y > 0, else alpha dy, from the output y = leaky_relu(x)."""
    return _backward("leaky_relu", dy, "y", y, alpha, out, n_threads)


def elu(x, *, alpha=1.0, out=None, n_threads=None):
    """y = x where x > 0, else alpha (exp(x) - 1); alpha >= 0 (Clevert et al. 2015)."""
    return _forward("elu", x, alpha, out, n_threads)


def elu_backward(dy, y, *, alpha=1.0, out=None, n_threads=None):
    """dx = dy where y > 0, else dy (y + alpha), from the output y = elu(x)."""
    return _backward("elu", dy, "y", y, alpha, out, n_threads)


def gelu(x, *, out=None, n_threads=None):
    """y = x Phi(x) with the normal distribution's Phi, exact, not the tanh form (Hendrycks and Gimpel 2016)."""
    return _forward("gelu", x, None, out, n_threads)


def gelu_backward(dy, x, *, out=None, n_threads=None):
    """dx = dy (Phi(x) + x phi(x)), from the input x."""
    return _backward("gelu", dy, "x", x, None, out, n_threads)


def silu(x, *, out=None, n_threads=None):
    """y = x sigmoid(x), also called swish (Elfwing et al. 2017)."""
    return _forward("silu", x, None, out, n_threads)


def silu_backward(dy, x, *, out=None, n_threads=None):
    """dx = dy s (1 + x (1 - s)) with s = sigmoid(x), from the input x."""
    return _backward("silu", dy, "x", x, None, out, n_threads)


def softplus(x, *, out=None, n_threads=None):
    """y = log(1 + exp(x)), without overflow."""
    return _forward("softplus", x, None, out, n_threads)


def softplus_backward(dy, x, *, out=None, n_threads=None):
    """dx = dy sigmoid(x), from the input x."""
    return _backward("softplus", dy, "x", x, None, out, n_threads)


def softmax(x, *, out=None, n_threads=None):
    """y_j = exp(x_j) / sum_k exp(x_k) over the last axis, safe for any finite x.

    >>> softmax(np.array([[0.0, 0.0], [1e4, -1e4]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    x = _array("softmax", "x", x)
    _check_rows("softmax", "x", x)
    out = _result("softmax", out, x.shape, x.dtype, (x,))
    _elementwise.softmax_forward(x, out, x.shape[-1], _threads(n_threads))
    return out


def softmax_backward(dy, y, *, out=None, n_threads=None):
    """dx_j = y_j (dy_j - sum_k dy_k y_k) over the last axis, from the output y = softmax(x)."""
    dy = _array("softmax_backward", "dy", dy)
    _check_rows("softmax_backward", "dy", dy)
    y = _like("softmax_backward", "y", y, "dy", dy, dy.shape)
    out = _result("softmax_backward", out, dy.shape, dy.dtype, (dy, y))
    _elementwise.softmax_backward(y, dy, out, dy.shape[-1], _threads(n_threads))
    return out


def _check_rows(op, name, x):
    if x.ndim < 1 or x.shape[-1] == 0:
        raise ValueError(f"{op}: {name} must have a last axis of at least one element, got shape {x.shape}")


# --- losses ----------------------------------------------------------------------------------------------------------

def softmax_cross_entropy(logits, y, *, sample_weight=None, out=None, n_threads=None):
    """Cross-entropy of softmax(logits), and its gradient with respect to the logits, in one pass.

    The loss is the mean over the batch of -sum_j y_j log p_j, p = softmax(logits); with weights, the weighted mean
    sum_i w_i l_i / sum_i w_i. Its gradient is (p - y) / B. Both are safe for logits of any size.

    Parameters
    ----------
    logits : array (B, K)
    y : integer array (B,) of classes 0..K-1, or array (B, K) of probabilities
    sample_weight : float array (B,), optional
        Not negative, of positive sum.
    out : array (B, K), optional
        Receives the gradient.

    Returns
    -------
    loss : float
    dlogits : array (B, K)

    Examples
    --------
    >>> loss, dlogits = softmax_cross_entropy(np.zeros((2, 4)), np.array([0, 3]))
    >>> round(loss, 4), dlogits[0]
    (1.3863, array([-0.375,  0.125,  0.125,  0.125]))
    """
    op = "softmax_cross_entropy"
    logits = _array(op, "logits", logits)
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(f"{op}: logits must have shape (batch, classes), none of them 0, got {logits.shape}")
    if isinstance(y, np.ndarray) and y.dtype.kind in "iu":
        labels, y = _labels(op, y, *logits.shape), None
    else:
        labels, y = None, _like(op, "y", y, "logits", logits, logits.shape)
    return _loss(op, logits, y, labels, sample_weight, 0.0, out, n_threads)


def sigmoid_cross_entropy(logits, y, *, sample_weight=None, out=None, n_threads=None):
    """Binary cross-entropy of p = sigmoid(logits), summed over the outputs; the gradient is (p - y) / B.

    logits and y, the targets in [0, 1], have shape (B, ...). Returns (loss, dlogits), see `softmax_cross_entropy`.

    >>> loss, dlogits = sigmoid_cross_entropy(np.array([[0.0], [1e4]]), np.array([[1.0], [1.0]]))
    >>> round(loss, 4), dlogits[:, 0]
    (0.3466, array([-0.25,  0.  ]))
    """
    return _regression("sigmoid_cross_entropy", "logits", logits, y, sample_weight, 0.0, out, n_threads)


def binary_cross_entropy(p, y, *, sample_weight=None, out=None, n_threads=None):
    """-sum_j (y_j log p_j + (1 - y_j) log(1 - p_j)), the mean over the batch, for probabilities p of shape (B, ...).

    The logarithms are cut off at -100, as PyTorch's BCELoss does. Returns (loss, dp). Where p is a sigmoid's output,
    `sigmoid_cross_entropy` on the logits is faster and exact.
    """
    return _regression("binary_cross_entropy", "p", p, y, sample_weight, 0.0, out, n_threads)


def squared_error(y_hat, y, *, sample_weight=None, out=None, n_threads=None):
    """sum_j (y_hat_j - y_j)^2, the mean over the batch, for arrays (B, ...). Returns (loss, dy_hat).

    >>> squared_error(np.array([[1.0, 3.0]]), np.array([[0.0, 0.0]]))
    (10.0, array([[2., 6.]]))
    """
    return _regression("squared_error", "y_hat", y_hat, y, sample_weight, 0.0, out, n_threads)


def absolute_error(y_hat, y, *, sample_weight=None, out=None, n_threads=None):
    """sum_j |y_hat_j - y_j|, the mean over the batch, for arrays (B, ...). Returns (loss, dy_hat)."""
    return _regression("absolute_error", "y_hat", y_hat, y, sample_weight, 0.0, out, n_threads)


def huber(y_hat, y, *, delta=1.0, sample_weight=None, out=None, n_threads=None):
    """Huber's loss, summed over the outputs: d^2 / 2 where d = |y_hat - y| <= delta, else delta (d - delta / 2).

    Arrays have shape (B, ...), delta > 0. Returns (loss, dy_hat).
    """
    delta = number("huber", "delta", delta, above=0)
    return _regression("huber", "y_hat", y_hat, y, sample_weight, delta, out, n_threads)


def _regression(op, name, prediction, y, sample_weight, delta, out, n_threads):
    prediction = _array(op, name, prediction)
    if prediction.ndim < 1 or prediction.size == 0:
        raise ValueError(f"{op}: {name} must have shape (batch, ...) and not be empty, got {prediction.shape}")
    y = _like(op, "y", y, name, prediction, prediction.shape)
    return _loss(op, prediction, y, None, sample_weight, delta, out, n_threads)


def _labels(op, y, rows, classes):
    if y.shape != (rows,):
        raise ValueError(f"{op}: labels y have shape {y.shape}, expected ({rows},) "
                         f"for logits of shape {(rows, classes)}")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= min(classes, _INT32_MAX):
        raise ValueError(f"{op}: labels y must be from 0 to {classes - 1}, got {low if low < 0 else high}")
    return _contiguous(y.astype(np.int32, copy=False))


def _loss(op, prediction, y, labels, sample_weight, delta, out, n_threads):
    rows = prediction.shape[0]
    weight, total = None, rows
    if sample_weight is not None:
        weight = np.ascontiguousarray(sample_weight, dtype=np.float64)
        if weight.shape != (rows,):
            raise ValueError(f"{op}: sample_weight has shape {weight.shape}, expected ({rows},)")
        total = float(weight.sum())
        if not (weight.min() >= 0 and 0 < total < math.inf):
            raise ValueError(f"{op}: sample_weight must be finite, not negative and of positive sum")
    gradient = _result(op, out, prediction.shape, prediction.dtype, (prediction, y, labels, weight))
    loss = _elementwise.loss(op, prediction, y, labels, weight, 1.0 / total, delta, gradient, rows, _threads(n_threads))
    return loss, gradient


# --- distributions: in NumPy and float64, for lists, too -------------------------------------------------------------

def entropy(p):
    """H(p) = -sum_j p_j log p_j over the last axis, in nats; 0 log 0 is 0 (Shannon 1948).

    Parameters
    ----------
    p : array-like (..., K)
        Rows that are not negative and sum to 1, to within 1e-6.

    Returns
    -------
    float, or float64 array (...)

    Examples
    --------
    >>> round(entropy([0.5, 0.5]), 4)
    0.6931
    """
    p = _distributions("entropy", "p", p)
    return _expected_surprise(p, p)


def cross_entropy(p, q):
    """H(p, q) = -sum_j p_j log q_j over the last axis, in nats: the mean surprise at events of p for who believes q.

    Goodfellow, Bengio, Courville, *Deep Learning* (2016), eq. 3.51. It is entropy(p) where q = p, and more elsewhere;
    infinite where q rules out what p does not. For a network's output `softmax_cross_entropy` takes the logits.

    Parameters
    ----------
    p, q : array-like (..., K)
        Of one shape; rows that are not negative and sum to 1, to within 1e-6.

    Returns
    -------
    float, or float64 array (...)

    Examples
    --------
    >>> round(cross_entropy([1, 0], [0.9, 0.1]), 3)
    0.105
    """
    p, q = (_distributions("cross_entropy", name, a) for name, a in (("p", p), ("q", q)))
    if p.shape != q.shape:
        raise ValueError(f"cross_entropy: p has shape {p.shape}, q has {q.shape}; they must be equal")
    return _expected_surprise(p, q)


def _expected_surprise(p, q):
    with np.errstate(divide="ignore"):
        log_q = np.log(q, where=p > 0, out=np.zeros_like(q))
    total = -(p * log_q).sum(axis=-1) + 0.0     # not -0.0
    return float(total) if total.ndim == 0 else total


def _distributions(op, name, p):
    p = as_numbers(p, f"{op}: {name}").astype(np.float64)
    if p.ndim < 1 or p.shape[-1] == 0:
        raise ValueError(f"{op}: {name} must have a last axis of at least one probability, got shape {p.shape}")
    # Written so that nan fails, too.
    if not (p >= 0).all():
        raise ValueError(f"{op}: {name} holds {p[~(p >= 0)][0]}; probabilities are at least 0")
    sums = np.ravel(p.sum(axis=-1))
    if not (np.abs(sums - 1) <= 1e-6).all():
        raise ValueError(f"{op}: {name} must sum to 1 over its last axis, got {sums[np.abs(sums - 1).argmax()]:.6g}")
    return p
