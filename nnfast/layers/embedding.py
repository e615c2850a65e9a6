"""Vectors for things that are told apart by numbers: words, categories, users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import initializers, regularizers
from ..configurable import integer
from .base import Layer, ParameterSpec, check_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import InitializerLike, RegularizerLike, Shape


class Embedding(Layer):
    """A trained vector for each id: ``y[i] = kernel[x[i]]`` (Bengio et al., 2003, "A neural probabilistic language
    model", section 2, the matrix C).

    Input (...) of whole numbers from 0 to input_dim - 1, output (..., output_dim), kernel (input_dim, output_dim). It
    is what a dense layer without bias does to one-hot vectors, without these.

    Parameters
    ----------
    input_dim : int
        How many ids there are; 2^24 at most.
    output_dim : int
        Length of the vectors.
    kernel_initializer : str or initializer
        Both fans are output_dim: with "glorot_uniform", the default, the vectors are about 1 long.
    kernel_regularizer : nf.L1, nf.L2, nf.L1L2, optional
    name : str, optional
    trainable : bool

    Notes
    -----
    Data are arrays of any real type (integers are the usual one) whose values are checked: `ValueError` for ids that
    are not whole or out of range, before a batch that holds one is computed. The input must be one of the model's, or a
    Reshape or Flatten of it, and is not augmented. A gradient with respect to ids is 0.

    Every step updates all vectors, also those of ids that do not occur in it, as optimizers with momentum and penalties
    (that of `Model.compile`, too) do. A table of several columns needs an embedding, and so an `nf.Input`, for each of
    them, or one embedding of all whose ids do not overlap.

    Examples
    --------
    Sequences of 20 words, of a vocabulary of 1000:

    >>> import nnfast as nf
    >>> model = nf.Sequential([
    ...     nf.Embedding(1000, 16), nf.Conv1D(32, 3, activation="relu"), nf.GlobalMaxPool(),
    ...     nf.Dense(2, activation="softmax"),
    ... ], input_shape=(20,))
    >>> model.predict([[7, 999] + 18 * [0]]).shape
    (1, 2)
    """

    kind = "embedding"
    fields = ("input_dim", "output_dim", "kernel_initializer", "kernel_regularizer")

    def __init__(self, input_dim: int, output_dim: int, kernel_initializer: InitializerLike = "glorot_uniform",
                 kernel_regularizer: RegularizerLike | None = None, name: str | None = None,
                 trainable: bool = True) -> None:
        super().__init__(name, trainable)
        # All whole numbers up to here are float32 numbers.
        self.input_dim = integer(self.label, "input_dim", input_dim, at_least=1, at_most=2**24)
        self.output_dim = integer(self.label, "output_dim", output_dim, at_least=1)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        shape = self.one_input(input_shapes)
        kernel = check_shape(self.label, "kernel", (self.input_dim, self.output_dim))
        specs = [ParameterSpec("kernel", kernel, "kernel", self.kernel_initializer, self.output_dim, self.output_dim,
                               self.kernel_regularizer)]
        return check_shape(self.label, "output", (*shape, self.output_dim)), specs

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "embedding", "kernel": parameters["kernel"]}
