"""Layers that join several inputs."""

from __future__ import annotations

import math
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


class Multiply(Layer):
    """The elementwise product of two inputs: gates, attention, squeeze-and-excitation (Hu, Shen and Sun 2018).

    One of the two may have a number for each channel only, (C,) or (1, 1, C) beside an image (H, W, C), or for each
    pixel, (H, W, 1), or a single one, (1,): it is repeated, as NumPy would.

    Examples
    --------
    How much of each channel goes on depends on the means of all of them:

    >>> import nnfast as nf
    >>> image = nf.Input((16, 16, 24))
    >>> squeezed = nf.Dense(6, activation="relu")(nf.GlobalAvgPool()(image))
    >>> nf.Multiply()([image, nf.Dense(24, activation="sigmoid")(squeezed)]).shape
    (16, 16, 24)
    """

    kind = "multiply"

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        if len(input_shapes) != 2:
            raise ValueError(f"{self.label}: takes a list of two inputs, got {len(input_shapes)}")
        shape = self._joint_shape(*input_shapes)
        return check_shape(self.label, "output", shape), []

    def _joint_shape(self, *input_shapes):
        try:
            shape = np.broadcast_shapes(*input_shapes)
        except ValueError:
            shape = None
        for factor in input_shapes:
            if shape is None or (math.prod(factor[:-1]) not in (1, math.prod(shape[:-1]))):
                raise ValueError(f"{self.label}: inputs of {input_shapes[0]} and {input_shapes[1]} numbers; they must "
                                 "have one shape, or one of them a number for each channel, (C,), for each pixel, "
                                 "(..., 1), or a single one, (1,)")
        return shape

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        # Element (i, j) of a factor is at [i * row + j * column] of its numbers.
        *space, columns = self._joint_shape(*input_shapes)
        rows, strides = math.prod(space), []
        for factor in input_shapes:
            size = math.prod(factor)
            strides.append((columns, 1) if size == rows * columns else (0, int(size == columns)) if factor[-1] == size
                           else (1, 0))
        if strides == [(columns, 1)] * 2:       # in one run
            rows, columns = 1, rows * columns
            strides = [(columns, 1)] * 2
        return {"op": "multiply", "rows": rows, "columns": columns, "strides": strides}


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
