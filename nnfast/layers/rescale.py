"""A fixed linear map of every element, for data that come in other units than a network wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..configurable import number
from .base import Layer, ParameterSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import Shape


class Rescale(Layer):
    """``y = x * scale + offset`` for every element, whatever the shape.

    As the first layer it takes uint8 images as they are: they stay bytes until the compiled loop reads them.

    Parameters
    ----------
    scale : float
    offset : float
    name : str, optional

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Rescale(1 / 128, offset=-1)], input_shape=(3,))
    >>> model.predict(np.array([[0, 128, 192]], dtype=np.uint8))
    array([[-1. ,  0. ,  0.5]], dtype=float32)
    """

    kind = "rescale"
    fields = ("scale", "offset")

    def __init__(self, scale: float, offset: float = 0.0, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name, trainable)
        self.scale = number(self.label, "scale", scale)
        self.offset = number(self.label, "offset", offset)

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        return self.one_input(input_shapes), []

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "rescale", "scale": self.scale, "offset": self.offset}
