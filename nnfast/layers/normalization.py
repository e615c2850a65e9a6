"""Normalization: numbers shifted and scaled to mean 0 and variance 1, then scaled and shifted again.

Of each channel over the batch, or of each sample over its features or groups of its channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import initializers
from ..configurable import boolean, integer, number
from .base import Layer, ParameterSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from ..typing import Array, InitializerLike, Shape


class Normalization(Layer):
    """What the normalizations share: epsilon, and the numbers of the last axis that scale and shift it afterwards."""

    def _set_common(self, epsilon: float, center: bool, scale: bool, beta_initializer: InitializerLike,
                    gamma_initializer: InitializerLike) -> None:
        self.epsilon = number(self.label, "epsilon", epsilon, at_least=1e-12)
        self.center = boolean(self.label, "center", center)
        self.scale = boolean(self.label, "scale", scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)

    def _affine(self, channels: int) -> list[ParameterSpec]:
        """gamma and beta, unless they are left out."""
        wanted = [("gamma", self.gamma_initializer)] * self.scale + [("beta", self.beta_initializer)] * self.center
        return [ParameterSpec(name, (channels,), "bias", initializer, channels, channels)
                for name, initializer in wanted]


class BatchNorm(Normalization):
    """Normalise each channel over the batch and all spatial axes (Ioffe and Szegedy, 2015, algorithm 1).

    Input (..., C), output of the same shape: ``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta``. In training
    mean and (biased) variance are those of the batch; otherwise they are running statistics, which each training step
    moves towards the batch's: ``running = (1 - momentum) * running + momentum * batch``, with the unbiased variance.

    Parameters
    ----------
    momentum : float
        In [0, 1]. PyTorch's meaning: the weight of the new batch. Keras's momentum is one minus this.
    epsilon : float
        At least 1e-12, added to the variance. PyTorch's default is the same, Keras's is 1e-3.
    center, scale : bool
        False leaves out beta or gamma.
    beta_initializer, gamma_initializer : str or initializer
    name : str, optional
    trainable : bool
        A frozen layer keeps its statistics, too, and uses them in training (as in Keras): what fine-tuning wants.

    Notes
    -----
    Parameters ``gamma``, ``beta``, ``running_mean`` and ``running_variance``, each (C,). The running ones get no
    gradient; ``gradients(..., training=True)`` uses the batch's statistics without recording them. Regularizers leave
    gamma and beta alone. One sample of one pixel has variance 0, so its output is beta, up to the
    rounding of an input that is far from 0, which is divided by sqrt(epsilon).

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Conv2D(8, 3, use_bias=False), nf.BatchNorm(), nf.Activation("relu")],
    ...                       input_shape=(8, 8, 3))
    >>> {name: w.shape for name, w in model.parameters.items() if "batch_norm" in name}
    {'batch_norm/gamma': (8,), 'batch_norm/beta': (8,), 'batch_norm/running_mean': (8,),
     'batch_norm/running_variance': (8,)}
    """

    kind = "batch_norm"
    #: (mean, variance) arrays that the running statistics begin with (`nnfast.data.normalization`); None: 0 and 1
    statistics: tuple[Array, Array] | None = None
    #: why they are none for a model of float32
    float32_error: str | None = None
    fields = ("momentum", "epsilon", "center", "scale", "beta_initializer", "gamma_initializer")

    def __init__(self, momentum: float = 0.1, epsilon: float = 1e-5, center: bool = True, scale: bool = True,
                 beta_initializer: InitializerLike = "zeros", gamma_initializer: InitializerLike = "ones",
                 name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name, trainable)
        self.momentum = number(self.label, "momentum", momentum, at_least=0, at_most=1)
        self._set_common(epsilon, center, scale, beta_initializer, gamma_initializer)

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        shape = self.one_input(input_shapes)
        channels = shape[-1]
        mean, variance = initializers.Zeros(), initializers.Ones()
        if self.statistics is not None:
            mean, variance = (Given(self.label, values, self.float32_error) for values in self.statistics)
        return shape, [
            *self._affine(channels),
            ParameterSpec("running_mean", (channels,), "state", mean, channels, channels),
            ParameterSpec("running_variance", (channels,), "state", variance, channels, channels, minimum=0.0),
        ]

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "batch_norm", "gamma": parameters.get("gamma", -1), "beta": parameters.get("beta", -1),
                "mean": parameters["running_mean"], "variance": parameters["running_variance"],
                "channels": input_shapes[0][-1], "momentum": self.momentum, "epsilon": self.epsilon,
                "frozen": not self.trainable, "activation": "linear", "alpha": 0.0}


class LayerNorm(Normalization):
    """Normalise the last axis of every sample by itself (Ba, Kiros and Hinton, 2016, equation 4).

    Input (..., C), output of the same shape: ``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta``, where mean
    and (biased) variance are over the C features of a sample, or channels of a pixel. Unlike `BatchNorm` it is the same
    in training and in inference, keeps no statistics, and makes sense for a batch of any size.

    Parameters
    ----------
    epsilon : float
        At least 1e-12, added to the variance. PyTorch's default is the same, Keras's is 1e-3.
    center, scale : bool
        False leaves out beta or gamma.
    beta_initializer, gamma_initializer : str or initializer
    name : str, optional
    trainable : bool

    Notes
    -----
    Parameters ``gamma`` and ``beta``, each (C,). Regularizers leave them alone.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(8), nf.LayerNorm(), nf.Activation("tanh")], input_shape=(3,))
    >>> {name: w.shape for name, w in model.parameters.items() if "layer_norm" in name}
    {'layer_norm/gamma': (8,), 'layer_norm/beta': (8,)}
    """

    kind = "layer_norm"
    fields = ("epsilon", "center", "scale", "beta_initializer", "gamma_initializer")

    def __init__(self, epsilon: float = 1e-5, center: bool = True, scale: bool = True,
                 beta_initializer: InitializerLike = "zeros", gamma_initializer: InitializerLike = "ones",
                 name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name, trainable)
        self._set_common(epsilon, center, scale, beta_initializer, gamma_initializer)

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        shape = self.one_input(input_shapes)
        return shape, self._affine(shape[-1])

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "layer_norm", "gamma": parameters.get("gamma", -1), "beta": parameters.get("beta", -1),
                "epsilon": self.epsilon, "activation": "linear", "alpha": 0.0}


class GroupNorm(Normalization):
    """Normalise groups of neighbouring channels of every sample by themselves, over all pixels (Wu and He, 2018,
    section 3).

    Input (..., C), output of the same shape: ``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta``, where mean
    and (biased) variance are over the pixels and the C / groups channels of a group. Unlike `BatchNorm` it is the same
    in training and in inference, keeps no statistics, and does not mind small batches. With as many groups as channels
    it is instance normalization (Ulyanov, Vedaldi and Lempitsky, 2016).

    Parameters
    ----------
    groups : int
        By which C is divisible.
    epsilon : float
        At least 1e-12, added to the variance. PyTorch's default is the same, Keras's is 1e-3.
    center, scale : bool
        False leaves out beta or gamma.
    beta_initializer, gamma_initializer : str or initializer
    name : str, optional
    trainable : bool

    Notes
    -----
    Parameters ``gamma`` and ``beta``, each (C,). Regularizers leave them alone. A group of one number is beta, up to
    the rounding of an input that is far from 0, which is divided by sqrt(epsilon).

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Conv2D(64, 3, use_bias=False), nf.GroupNorm(16), nf.Activation("relu")],
    ...                       input_shape=(8, 8, 3))
    >>> {name: w.shape for name, w in model.parameters.items() if "group_norm" in name}
    {'group_norm/gamma': (64,), 'group_norm/beta': (64,)}
    """

    kind = "group_norm"
    fields = ("groups", "epsilon", "center", "scale", "beta_initializer", "gamma_initializer")

    def __init__(self, groups: int = 32, epsilon: float = 1e-5, center: bool = True, scale: bool = True,
                 beta_initializer: InitializerLike = "zeros", gamma_initializer: InitializerLike = "ones",
                 name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name, trainable)
        self.groups = integer(self.label, "groups", groups, at_least=1)
        self._set_common(epsilon, center, scale, beta_initializer, gamma_initializer)

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        shape = self.one_input(input_shapes)
        if shape[-1] % self.groups:
            raise ValueError(f"{self.label}: the {shape[-1]} channels of input {shape} are not divisible by "
                             f"groups={self.groups}")
        return shape, self._affine(shape[-1])

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "group_norm", "gamma": parameters.get("gamma", -1), "beta": parameters.get("beta", -1),
                "channels": input_shapes[0][-1], "groups": self.groups, "epsilon": self.epsilon,
                "activation": "linear", "alpha": 0.0}


class Given(initializers.Initializer):
    """Values that are known."""

    def __init__(self, label: str, values: Array, float32_error: str | None) -> None:
        self.label = label
        self.values = values
        self.float32_error = float32_error

    def __call__(self, shape: Sequence[int], fan_in: int, fan_out: int, rng: np.random.Generator,
                 dtype: DTypeLike = np.float32) -> Array:
        if self.float32_error and dtype != np.float64:
            raise ValueError(self.float32_error)
        return super().__call__(shape, fan_in, fan_out, rng, dtype)

    def draw(self, shape: Shape, fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        if self.values.shape != shape:
            raise ValueError(f"{self.label}: its statistics are of {len(self.values)} columns or channels, the data "
                             f"have {shape[0]}")
        return self.values
