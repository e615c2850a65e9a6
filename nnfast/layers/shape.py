"""Layers that only read the same numbers in another shape (row-major)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Layer, ParameterSpec, check_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import Shape, ShapeLike


class Flatten(Layer):
    """All axes but the batch become one: (N, H, W, C) -> (N, H * W * C).

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Flatten()(nf.Input((28, 28, 1))).shape
    (784,)
    """

    kind = "flatten"

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        return (math.prod(self.one_input(input_shapes)),), []

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "reshape"}

    def output_activation(self) -> str | None:
        return None


class Reshape(Layer):
    """Read each sample in another shape with the same number of elements, row-major.

    Parameters
    ----------
    shape : tuple of int
        Without the batch axis. One entry may be -1: it is worked out from the others.
    name : str, optional

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Reshape((-1, 4))(nf.Input((8,))).shape
    (2, 4)
    """

    kind = "reshape"
    fields = ("shape",)

    def __init__(self, shape: ShapeLike, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name, trainable)
        if isinstance(shape, (int, np.integer)) and not isinstance(shape, bool):
            shape = (shape,)
        if not isinstance(shape, (tuple, list)) or list(shape).count(-1) > 1:
            raise ValueError(f"{self.label}: shape must be a tuple of positive integers with at most one -1, "
                             f"got {shape!r}")
        free = [not isinstance(size, float) and size == -1 for size in shape]
        sizes = check_shape(self.label, "shape", [1 if any_size else size for size, any_size in zip(shape, free)])
        self.shape = tuple(-1 if any_size else size for size, any_size in zip(sizes, free))

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        shape = self.one_input(input_shapes)
        known = math.prod(size for size in self.shape if size != -1)
        total = math.prod(shape)
        if total % known or (-1 not in self.shape and total != known):
            raise ValueError(f"{self.label}: input {shape} has {total} elements, they do not fit shape {self.shape}")
        return tuple(total // known if size == -1 else size for size in self.shape), []

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "reshape"}

    def output_activation(self) -> str | None:
        return None
