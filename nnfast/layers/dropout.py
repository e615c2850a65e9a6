"""Dropout: while training, each element is zeroed with probability `rate` and the others grow by 1 / (1 - rate)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..configurable import number
from .base import Layer, ParameterSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import Shape


class Dropout(Layer):
    """Zero a random share of the elements while training; do nothing otherwise.

    The elements kept are divided by ``1 - rate`` ("inverted dropout", Srivastava et al., 2014, JMLR 15, section 10), so
    `predict` needs no correction. The mask is counter-based: it depends on the model's seed, the step, the sample
    and the layer, never on the number of threads.

    Parameters
    ----------
    rate : float
        In [0, 1).
    name : str, optional

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dropout(0.5)], input_shape=(3,))
    >>> model.predict([[1.0, 2.0, 3.0]])
    array([[1., 2., 3.]], dtype=float32)
    """

    kind = "dropout"
    fields = ("rate",)

    def __init__(self, rate: float, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name, trainable)
        self.rate = rate

    @property
    def rate(self) -> float:
        """Share of the elements that is zeroed in training; may be set at any time."""
        return self._rate

    @rate.setter
    def rate(self, value: float) -> None:
        self._rate = number(self.label, "rate", value, at_least=0, below=1)
        if self.model is not None:
            self.model._drop_plan()     # the plan was made for the old rate

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        return self.one_input(input_shapes), []

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "dropout", "rate": self.rate, "seed": seed}
