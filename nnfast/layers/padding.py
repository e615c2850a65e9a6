"""Zeros around an image, as a layer of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..geometry import check_padding, spatial, window
from .base import Layer, ParameterSpec, check_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..geometry import Window
    from ..typing import Padding, Shape


class ZeroPadding2D(Layer):
    """Put zeros around an image: (H, W, C) -> (top + H + bottom, left + W + right, C).

    Convolutions and poolings have a `padding` of their own, which costs less.

    Parameters
    ----------
    padding : int, or ((top, bottom), (left, right))
    name : str, optional

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.ZeroPadding2D(((1, 0), (2, 2)))(nf.Input((5, 5, 3))).shape
    (6, 9, 3)
    """

    padding: Padding

    kind = "zero_padding2d"
    fields = ("padding",)

    def __init__(self, padding: Padding, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name, trainable)
        if isinstance(padding, str):
            raise ValueError(f"{self.label}: padding must be an integer or ((top, bottom), (left, right)), "
                             f"got {padding!r}")
        self.padding = check_padding(self.label, padding, 2)

    def window(self, input_shape: Shape) -> Window:
        """The input as seen by a kernel of one pixel."""
        return window(self.label, spatial(self.label, input_shape, 2)[0], 1, padding=self.padding)

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        shape = self.one_input(input_shapes)
        return check_shape(self.label, "output", (*self.window(shape).output, shape[-1])), []

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "pad", "window": self.window(input_shapes[0]).as_tuple(), "channels": input_shapes[0][-1]}
