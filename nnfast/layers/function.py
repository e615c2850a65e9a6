"""A layer written in Python by the user. It ends a compiled stage: the plan takes the GIL to call it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import Layer, ParameterSpec, check_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..typing import Array, Arrays, Config, Shape, ShapeLike


class Lambda(Layer):
    """A layer of two Python functions, for what no built-in layer computes.

    Parameters
    ----------
    forward : callable
        ``forward(x0, x1, ...) -> y``: arrays of shape (N, ...) in the model's dtype, one per input; y is (N,) +
        output_shape.
    backward : callable
        ``backward(dy, x0, x1, ..., y) -> dx``, or a tuple of one array per input: the gradient of the loss with
        respect to each input, given dy, the gradient with respect to y.
    output_shape : tuple of int, optional
        Without the batch axis; the (first) input's shape if left out.
    name : str, optional

    Notes
    -----
    Both run under the GIL once per batch, so they cost what Python costs. A model with a Lambda layer cannot be saved:
    a file holds no code.

    Examples
    --------
    >>> import nnfast as nf
    >>> square = nf.Lambda(lambda x: x * x, lambda dy, x, y: 2 * x * dy)
    >>> model = nf.Sequential([square], input_shape=(2,))
    >>> model.predict([[2.0, 3.0]])
    array([[4., 9.]], dtype=float32)
    """

    kind = "lambda"
    fields = ("forward", "backward", "output_shape")

    def __init__(self, forward: Callable[..., Array], backward: Callable[..., Arrays],
                 output_shape: ShapeLike | None = None, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name, trainable)
        for what, function in (("forward", forward), ("backward", backward)):
            if not callable(function):
                raise TypeError(f"{self.label}: {what} must be callable, got {type(function).__name__}")
        self.forward = forward
        self.backward = backward
        self.output_shape = None if output_shape is None else check_shape(self.label, "output_shape", output_shape)

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        if not input_shapes:
            raise ValueError(f"{self.label}: is called on no input")
        return self.output_shape or input_shapes[0], []

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "python", "forward": self.forward, "backward": self.backward}

    def output_activation(self) -> str | None:
        return "lambda"

    def get_config(self) -> Config:
        raise ValueError(f"{self.label}: a Lambda layer holds Python functions; it cannot be written to a file")
