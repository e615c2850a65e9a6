"""Entropies of distributions, in NumPy and float64. Unlike the kernels these take lists and any type of number, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import SUM_TOLERANCE, as_numbers

if TYPE_CHECKING:
    from ..typing import ArrayLike


def entropy(p: ArrayLike) -> Any:
    """H(p) = -sum_j p_j log p_j over the last axis, in nats; 0 log 0 is 0 (Shannon 1948).

    Parameters
    ----------
    p : array-like (..., K)
        Rows that are not negative and sum to 1, to within 0.001.

    Returns
    -------
    float, or float64 array (...)

    Examples
    --------
    >>> import nnfast as nf
    >>> round(nf.functional.entropy([0.5, 0.5]), 4)
    0.6931
    """
    p = _distributions("entropy", "p", p)
    return _expected_surprise(p, p)


def cross_entropy(p: ArrayLike, q: ArrayLike) -> Any:
    """H(p, q) = -sum_j p_j log q_j over the last axis, in nats: the mean surprise at events of p for who believes q.

    Goodfellow, Bengio, Courville, *Deep Learning* (2016), eq. 3.51. It is entropy(p) where q = p, and more elsewhere;
    infinite where q rules out what p does not. For a network's output `softmax_cross_entropy` takes the logits.

    Parameters
    ----------
    p, q : array-like (..., K)
        Of one shape; rows that are not negative and sum to 1, to within 0.001.

    Returns
    -------
    float, or float64 array (...)

    Examples
    --------
    >>> import nnfast as nf
    >>> round(nf.functional.cross_entropy([1, 0], [0.9, 0.1]), 3)
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
    if not (np.abs(sums - 1) <= SUM_TOLERANCE).all():
        raise ValueError(f"{op}: {name} must sum to 1 over its last axis, to within {SUM_TOLERANCE}, got "
                         f"{sums[np.abs(sums - 1).argmax()]:.9g}")
    return p
