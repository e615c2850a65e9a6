"""Losses: the mean over the batch, and its gradient with respect to the prediction, in one pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .._core import elementwise as _elementwise
from ..arrays import as_sample_weight, unmasked
from ..configurable import integer, number
from ..losses import INT32
from .arguments import as_array, contiguous, like, result_array, threads

if TYPE_CHECKING:
    from ..typing import Array, ArrayLike

_INT32_MAX = np.iinfo(np.int32).max


def softmax_cross_entropy(logits: Array, y: Array, *, sample_weight: ArrayLike | None = None,
                          ignore_label: int | None = None, out: Array | None = None,
                          n_threads: int | None = None) -> tuple[float, Array]:
    """Cross-entropy of softmax(logits), and its gradient with respect to the logits, in one pass.

    The loss is the mean over the batch of -sum_j y_j log p_j, p = softmax(logits) over the last axis; with weights, the
    weighted mean sum_i w_i l_i / sum_i w_i. Its gradient is (p - y) / B. Both are safe for logits of any size. Of
    logits (B, ..., K), with a class for each pixel, a sample's loss is the sum over its pixels.

    Parameters
    ----------
    logits : array (B, K) or (B, ..., K)
    y : integer array (B,) or (B, ...) of classes 0..K-1, or array of probabilities like logits
    sample_weight : array-like (B,), optional
        Each 0 or from 1e-100 to 1e100, not all 0.
    ignore_label : int, optional
        Samples or pixels of this label have loss and gradient 0; y is to hold labels.
    out : array like logits, optional
        Receives the gradient.

    Returns
    -------
    loss : float
    dlogits : array like logits

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> loss, dlogits = nf.functional.softmax_cross_entropy(np.zeros((2, 4)), np.array([0, 3]))
    >>> round(loss, 4), dlogits[0]
    (1.3863, array([-0.375,  0.125,  0.125,  0.125]))
    """
    op = "softmax_cross_entropy"
    logits = as_array(op, "logits", logits)
    if logits.ndim < 2 or 0 in logits.shape:
        raise ValueError(f"{op}: logits must have shape (batch, ..., classes), none of them 0, got {logits.shape}")
    if not isinstance(y, np.ndarray) or y.dtype.kind not in "iuf":
        raise TypeError(f"{op}: y must be a NumPy array of integer labels, or of probabilities of the logits' "
                        f"{logits.dtype}, got {y.dtype if isinstance(y, np.ndarray) else type(y).__name__}")
    y = unmasked(y, f"{op}: y")
    counted = None
    if y.dtype.kind in "iu":
        if ignore_label is not None:
            counted = y != integer(op, "ignore_label", ignore_label, **INT32)
            y = np.where(counted, y, 0)
        labels, y = _labels(op, y, logits.shape), None
    elif ignore_label is not None:
        raise ValueError(f"{op}: ignore_label={ignore_label} needs labels y, an array of integers")
    else:
        labels, y = None, like(op, "y", y, "logits", logits, logits.shape)
    return _loss(op, logits, y, labels, sample_weight, 0.0, out, n_threads, math.prod(logits.shape[1:-1]), counted)


def sigmoid_cross_entropy(logits: Array, y: Array, *, sample_weight: ArrayLike | None = None, out: Array | None = None,
                          n_threads: int | None = None) -> tuple[float, Array]:
    """Binary cross-entropy of p = sigmoid(logits), summed over the outputs; the gradient is (p - y) / B.

    logits and y, the targets in [0, 1], have shape (B, ...). Returns (loss, dlogits), see `softmax_cross_entropy`.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> loss, dlogits = nf.functional.sigmoid_cross_entropy(np.array([[0.0], [1e4]]), np.array([[1.0], [1.0]]))
    >>> round(loss, 4), dlogits[:, 0]
    (0.3466, array([-0.25,  0.  ]))
    """
    return _regression("sigmoid_cross_entropy", "logits", logits, y, sample_weight, 0.0, out, n_threads)


def binary_cross_entropy(p: Array, y: Array, *, sample_weight: ArrayLike | None = None, out: Array | None = None,
                         n_threads: int | None = None) -> tuple[float, Array]:
    """-sum_j (y_j log p_j + (1 - y_j) log(1 - p_j)), the mean over the batch, for probabilities p of shape (B, ...).

    The logarithms are cut off at -100, as PyTorch's BCELoss does. Returns (loss, dp). Where p is a sigmoid's output,
    `sigmoid_cross_entropy` on the logits is faster and exact.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> loss, dp = nf.functional.binary_cross_entropy(np.array([[0.5], [0.8]]), np.array([[1.0], [0.0]]))
    >>> round(loss, 4), dp[:, 0]
    (1.1513, array([-1. ,  2.5]))
    """
    return _regression("binary_cross_entropy", "p", p, y, sample_weight, 0.0, out, n_threads)


def squared_error(y_hat: Array, y: Array, *, sample_weight: ArrayLike | None = None, out: Array | None = None,
                  n_threads: int | None = None) -> tuple[float, Array]:
    """sum_j (y_hat_j - y_j)^2, the mean over the batch, for arrays (B, ...). Returns (loss, dy_hat).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.squared_error(np.array([[1.0, 3.0]]), np.array([[0.0, 0.0]]))
    (10.0, array([[2., 6.]]))
    """
    return _regression("squared_error", "y_hat", y_hat, y, sample_weight, 0.0, out, n_threads)


def absolute_error(y_hat: Array, y: Array, *, sample_weight: ArrayLike | None = None, out: Array | None = None,
                   n_threads: int | None = None) -> tuple[float, Array]:
    """sum_j |y_hat_j - y_j|, the mean over the batch, for arrays (B, ...). Returns (loss, dy_hat).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.absolute_error(np.array([[1.0, -3.0]]), np.array([[0.0, 0.0]]))
    (4.0, array([[ 1., -1.]]))
    """
    return _regression("absolute_error", "y_hat", y_hat, y, sample_weight, 0.0, out, n_threads)


def huber(y_hat: Array, y: Array, *, delta: float = 1.0, sample_weight: ArrayLike | None = None,
          out: Array | None = None, n_threads: int | None = None) -> tuple[float, Array]:
    """Huber's loss, summed over the outputs: d^2 / 2 where d = |y_hat - y| <= delta, else delta (d - delta / 2).

    Arrays have shape (B, ...), delta > 0. Returns (loss, dy_hat).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.huber(np.array([[0.5, 3.0]]), np.array([[0.0, 0.0]]))
    (2.625, array([[0.5, 1. ]]))
    """
    delta = number("huber", "delta", delta, above=0)
    return _regression("huber", "y_hat", y_hat, y, sample_weight, delta, out, n_threads)


def _regression(op, name, prediction, y, sample_weight, delta, out, n_threads):
    prediction = as_array(op, name, prediction)
    if prediction.ndim < 1 or prediction.size == 0:
        raise ValueError(f"{op}: {name} must have shape (batch, ...) and not be empty, got {prediction.shape}")
    y = like(op, "y", y, name, prediction, prediction.shape)
    return _loss(op, prediction, y, None, sample_weight, delta, out, n_threads)


def _labels(op, y, shape):
    if y.shape != shape[:-1]:
        raise ValueError(f"{op}: labels y have shape {y.shape}, expected {shape[:-1]} for logits of shape {shape}")
    low, high, classes = int(y.min()), int(y.max()), shape[-1]
    if low < 0 or high >= min(classes, _INT32_MAX):
        raise ValueError(f"{op}: labels y must be from 0 to {classes - 1}, got {low if low < 0 else high}")
    return contiguous(y.astype(np.int32, copy=False))


def _loss(op, prediction, y, labels, sample_weight, delta, out, n_threads, pixels=1, counted=None):
    """pixels: rows of the loss in a sample. counted: which of them count, or None."""
    batch = prediction.shape[0]
    weight, total = as_sample_weight(sample_weight, batch, op), batch
    if weight is not None:
        total = float(weight.sum())
        if total == 0:
            raise ValueError(f"{op}: sample_weight: all weights are zero")
        weight = np.repeat(weight, pixels) if pixels > 1 else weight
    if counted is not None:
        weight = counted.reshape(-1) * (1.0 if weight is None else weight)
    gradient = result_array(op, out, prediction.shape, prediction.dtype, (prediction, y, labels, weight))
    loss = _elementwise.loss(op, prediction, y, labels, weight, 1.0 / total, delta, gradient, batch * pixels,
                             threads(op, n_threads))
    return loss, gradient
