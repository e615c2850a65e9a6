"""Penalties on kernels, added to the mean loss of a batch: l1 * sum |w| + l2 / 2 * sum w^2. Biases are left alone.

The halved square makes the gradient l2 * w, the "weight decay" of most texts; Keras's L2 has no half, so its factor is
half of this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .configurable import Configurable, Registry, number

if TYPE_CHECKING:
    from .typing import ArrayLike, RegularizerLike

__all__ = ["L1", "L1L2", "L2", "Regularizer", "get"]


class Regularizer(Configurable):
    """Base: the attributes `l1` and `l2` are the factors, 0.0 where a subclass has none.

    >>> import nnfast as nf
    >>> class Sparse(nf.regularizers.Regularizer):
    ...     l1 = 0.25
    >>> Sparse()([1.0, -2.0])
    0.75
    """

    l1 = 0.0
    l2 = 0.0

    def __repr__(self) -> str:
        # All factors: one that is left out would be taken for 0.
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._arguments().items())})"

    def __call__(self, w: ArrayLike) -> float:
        """Return the penalty of the array `w` as a float."""
        w = np.asarray(w, dtype=np.float64)
        return float(self.l1 * np.abs(w).sum() + 0.5 * self.l2 * np.square(w).sum())


class L1(Regularizer):
    """l1 * sum |w|, which drives weights to exactly zero.

    >>> import nnfast as nf
    >>> nf.L1(0.5)([1.0, -2.0])
    1.5
    """

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = number("L1", "l1", l1, at_least=0)


class L2(Regularizer):
    """l2 / 2 * sum w^2.

    >>> import nnfast as nf
    >>> nf.L2(0.5)([1.0, -2.0])
    1.25
    """

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = number("L2", "l2", l2, at_least=0)


class L1L2(Regularizer):
    """l1 * sum |w| + l2 / 2 * sum w^2.

    >>> import nnfast as nf
    >>> nf.L1L2(0.5, 0.5)([1.0, -2.0])
    2.75
    """

    def __init__(self, l1: float = 0.01, l2: float = 0.01) -> None:
        self.l1 = number("L1L2", "l1", l1, at_least=0)
        self.l2 = number("L1L2", "l2", l2, at_least=0)


REGISTRY = Registry("regularizer", Regularizer, {"l1": L1, "l2": L2, "l1_l2": L1L2})


def get(identifier: RegularizerLike | None) -> Regularizer | None:
    """Return the regularizer for a name, an instance, a class or a configuration; None stays None.

    >>> import nnfast as nf
    >>> nf.regularizers.get("l2")
    L2(l2=0.01)
    """
    return None if identifier is None else REGISTRY.get(identifier)
