"""Elementwise activations, and softmax over the last axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from ..activations import resolve
from .base import Layer, ParameterSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import ActivationLike, Config, Shape


class Activation(Layer):
    """Apply an activation to every element, or softmax over the last axis. Shapes stay as they are.

    Parameters
    ----------
    activation : str
        "linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "relu6", "hard_sigmoid",
        "hard_swish", "selu", "mish" or "softmax".
    alpha : float, optional
        Slope below zero of leaky_relu (default 0.01), or the depth of elu (default 1.0); the others have none.
    name : str, optional

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Activation("leaky_relu", alpha=0.5)], input_shape=(2,))
    >>> model.predict([[-2.0, 2.0]])
    array([[-1.,  2.]], dtype=float32)
    """

    kind = "activation"
    fields = ("activation", "alpha")

    def __init__(self, activation: str, alpha: float | None = None, name: str | None = None,
                 trainable: bool = True) -> None:
        super().__init__(name, trainable)
        self.activation, self.alpha = resolve(activation, alpha, self.label)

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        return self.one_input(input_shapes), []

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "activation", "activation": self.activation, "alpha": self.alpha}

    def output_activation(self) -> str | None:
        return self.activation

    def get_config(self) -> Config:
        config = super().get_config()
        if self.alpha == resolve(self.activation)[1]:
            config["alpha"] = None
        return config


class ActivatedLayer(Layer):
    """Base of layers with an argument `activation`: a name, or an `Activation` with its alpha."""

    activation: Activation

    def output_activation(self) -> str | None:
        return self.activation.activation

    def _argument(self, field):
        if field == "activation" and self.activation.get_config()["alpha"] is None:
            return self.activation.activation
        return super()._argument(field)

    def get_config(self) -> Config:
        name, alpha = self.activation.activation, self.activation.get_config()["alpha"]
        activation = name if alpha is None else {"activation": name, "alpha": alpha}
        return super().get_config() | {"activation": activation}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        if isinstance(config, dict) and isinstance(config.get("activation"), dict):
            config = config | {"activation": Activation.from_config(config["activation"])}
        return super().from_config(config)


def get_activation(activation: ActivationLike, label: str) -> Activation:
    """`activation` (a name, None for linear, or an Activation) as an Activation without a model."""
    own = activation.copy() if isinstance(activation, Activation) else Activation(resolve(activation, None, label)[0])
    own._fixed = True       # it belongs to a layer, whose argument it is
    return own
