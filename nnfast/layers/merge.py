"""Layers that join several inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Layer, ParameterSpec, check_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import Shape


class Add(Layer):
    """The elementwise sum of two or more inputs of one shape.

    Examples
    --------
    >>> import nnfast as nf
    >>> x = nf.Input((8,))
    >>> nf.Add()([x, nf.Dense(8)(x)]).shape
    (8,)
    """

    kind = "add"

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        check_several(self, input_shapes)
        for i, shape in enumerate(input_shapes):
            if shape != input_shapes[0]:
                raise ValueError(f"{self.label}: all inputs must have one shape, input 0 has {input_shapes[0]}, "
                                 f"input {i} has {shape}")
        return input_shapes[0], []

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "add", "activation": "linear", "alpha": 0.0}


class Concatenate(Layer):
    """Two or more inputs side by side along one axis; the other axes must agree.

    Parameters
    ----------
    axis : int
        Axis of a sample, counted without the batch axis; -1 (the default) is the last one.
    name : str, optional

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Concatenate()([nf.Input((3,)), nf.Input((5,))]).shape
    (8,)
    """

    kind = "concatenate"
    fields = ("axis",)

    def __init__(self, axis: int = -1, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name, trainable)
        if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
            raise TypeError(f"{self.label}: axis must be an integer, got {axis!r}")
        self.axis = int(axis)

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        check_several(self, input_shapes)
        first = input_shapes[0]
        axis = self._axis(first)
        for i, shape in enumerate(input_shapes):
            if len(shape) != len(first) or shape[:axis] != first[:axis] or shape[axis + 1:] != first[axis + 1:]:
                raise ValueError(f"{self.label}: inputs may differ on axis {self.axis} only, input 0 has {first}, "
                                 f"input {i} has {shape}")
        joined = sum(shape[axis] for shape in input_shapes)
        return check_shape(self.label, "output", (*first[:axis], joined, *first[axis + 1:])), []

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "concatenate", "axis": self._axis(input_shapes[0])}

    def _axis(self, shape):
        if not -len(shape) <= self.axis < len(shape):
            raise ValueError(f"{self.label}: axis {self.axis} is out of range for input {shape} (batch not counted)")
        return self.axis % len(shape)


def check_several(layer, input_shapes):
    """Joining layers need at least two inputs."""
    if len(input_shapes) < 2:
        raise ValueError(f"{layer.label}: takes a list of two or more inputs, got {len(input_shapes)}")
