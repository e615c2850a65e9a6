"""A fully connected layer: y[n, j] = f(sum_i x[n, i] * kernel[i, j] + bias[j])."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import initializers, regularizers
from ..configurable import boolean, integer
from .activation import ActivatedLayer, get_activation
from .base import ParameterSpec, check_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import ActivationLike, InitializerLike, RegularizerLike, Shape


class Dense(ActivatedLayer):
    """Fully connected layer over the last axis: ``y = activation(x @ kernel + bias)``.

    Input (..., C), output (..., units), kernel (C, units), bias (units,).

    Parameters
    ----------
    units : int
        Width of the output.
    activation : str or Activation
        Name of an activation (see `Activation`), or ``nf.Activation("leaky_relu", alpha=0.1)`` to set its alpha.
    use_bias : bool
        False leaves the bias out.
    kernel_initializer, bias_initializer : str or initializer
        Starting values; ``"glorot_uniform"`` and ``"zeros"`` by default.
    kernel_regularizer : nf.L1, nf.L2, nf.L1L2, optional
        Penalty on the kernel, added to the mean loss. Biases are never penalised.
    name : str, optional
    trainable : bool

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(3, activation="tanh")], input_shape=(2,), seed=0)
    >>> {name: w.shape for name, w in model.parameters.items()}
    {'dense/kernel': (2, 3), 'dense/bias': (3,)}
    """

    kind = "dense"
    fields = ("units", "activation", "use_bias", "kernel_initializer", "bias_initializer", "kernel_regularizer")

    def __init__(self, units: int, activation: ActivationLike = "linear", use_bias: bool = True,
                 kernel_initializer: InitializerLike = "glorot_uniform", bias_initializer: InitializerLike = "zeros",
                 kernel_regularizer: RegularizerLike | None = None, name: str | None = None,
                 trainable: bool = True) -> None:
        super().__init__(name, trainable)
        self.units = integer(self.label, "units", units, at_least=1)
        self.activation = get_activation(activation, self.label)
        self.use_bias = boolean(self.label, "use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        shape = self.one_input(input_shapes)
        fan_in, fan_out = shape[-1], self.units
        specs = [ParameterSpec("kernel", check_shape(self.label, "kernel", (fan_in, fan_out)), "kernel",
                               self.kernel_initializer, fan_in, fan_out, self.kernel_regularizer)]
        if self.use_bias:
            specs.append(ParameterSpec("bias", (fan_out,), "bias", self.bias_initializer, fan_in, fan_out))
        return check_shape(self.label, "output", (*shape[:-1], self.units)), specs

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "dense", "kernel": parameters["kernel"], "bias": parameters.get("bias", -1),
                "activation": self.activation.activation, "alpha": self.activation.alpha}
