"""What an optimizer is set to. The updates are compiled (csrc/optimizer.c); formulas and defaults are PyTorch's.

With g the gradient of the mean loss (penalties included), t = 1, 2, ... and everything elementwise:

========  =================================================================================================
SGD       v = momentum v + g (v = g in the first step);  w -= lr v, or with nesterov  w -= lr (g + momentum v)
Adam      m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
          w -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)          (Kingma and Ba 2015)
AdamW     w -= lr weight_decay w, then Adam's update                                (Loshchilov and Hutter 2019)
RMSprop   v = rho v + (1 - rho) g^2;  d = g / (sqrt(v) + epsilon);  w -= lr d, or with momentum
          b = momentum b + d;  w -= lr b                                            (Hinton 2012, lecture 6)
Adagrad   v += g^2;  w -= lr g / (sqrt(v) + epsilon)                                (Duchi et al. 2011)
========  =================================================================================================

Clipping comes first: `clip_norm` scales all gradients by min(1, clip_norm / (norm + 1e-6)), norm being the 2-norm of
all of them together; `clip_value` cuts each element to [-clip_value, clip_value]. With both, the norm goes first.
"""

from __future__ import annotations

import copy
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from . import schedules
from .configurable import Configurable, Registry, boolean, number, parameter_names
from .names import hint, of_nnfast

if TYPE_CHECKING:
    from .typing import Array, OptimizerLike, RateLike

__all__ = ["Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "SGD", "get"]


class Optimizer(Configurable):
    """Base of the optimizers.

    Attributes
    ----------
    kind : str
        Name of the compiled update.
    learning_rate : float, Schedule or callable
        Rate, or the rate of each step 0, 1, ...; may be set between epochs. All else is fixed.

    Examples
    --------
    >>> import nnfast as nf
    >>> optimizer = nf.optimizers.get("adam")
    >>> optimizer.learning_rate = 0.01
    >>> optimizer
    Adam(learning_rate=0.01)
    """

    kind: str | None = None
    _learning_rate: float | Any

    # What the plan asks of every optimizer; a subclass's own attributes take the place of these.
    momentum = 0.0
    nesterov = False
    beta1 = 0.0
    beta2 = 0.0
    rho = 0.0
    epsilon = 0.0
    weight_decay = 0.0
    initial_accumulator_value = 0.0

    def __init__(self, learning_rate: RateLike, clip_norm: float | None, clip_value: float | None) -> None:
        if type(self).kind is None:
            raise TypeError("Optimizer is the base class; use SGD, Adam, AdamW, RMSprop or Adagrad")
        self.learning_rate = learning_rate
        self.clip_norm = None if clip_norm is None else self._number("clip_norm", clip_norm, above=0)
        self.clip_value = None if clip_value is None else self._number("clip_value", clip_value, above=0)

    def of_model(self, model: object) -> Optimizer:
        """The optimizer of the model that it is first compiled with; of another one a copy, as a rate that is set for
        the one is not for the other."""
        owner = self.__dict__.get("_owner")
        if owner is not None and owner() is not model:
            return copy.copy(self).of_model(model)
        self.__dict__["_owner"] = weakref.ref(model)
        return self

    def check_dtype(self, dtype: np.dtype[Any]) -> None:
        """Raise ValueError if a constant is no number of a model's precision, or 0 there."""
        limits = np.finfo(dtype)
        for name in ("epsilon", "initial_accumulator_value"):
            value = getattr(self, name)
            if value and not float(limits.tiny) <= value <= float(limits.max):
                raise ValueError(f"{type(self).__name__}: {name}={value:g} is out of the range of {dtype.name}, "
                                 f"{limits.tiny:.2g} to {limits.max:.2g}")

    if not TYPE_CHECKING:   # as in Configurable
        def __setattr__(self, name, value):
            known = parameter_names(type(self))
            if of_nnfast(self) and name not in known and not name.startswith("_"):
                raise AttributeError(f"{type(self).__name__} has no {name!r}{hint(name, known)}")
            super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_owner"}

    def _number(self, name: str, value: object, **bounds: float) -> float:
        return number(type(self).__name__, name, value, **bounds)

    @property
    def learning_rate(self) -> float | Any:
        """Rate, or the rate of each step 0, 1, ...; may be set between epochs."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: RateLike) -> None:
        if isinstance(value, dict):
            value = schedules.get(value)
        elif not isinstance(value, schedules.Schedule) and (not callable(value) or isinstance(value, type)):
            value = self._number("learning_rate", value, above=0)
        self.__dict__["_learning_rate"] = value

    def learning_rates(self, start: int, count: int) -> Array:
        """Return the rates of the steps start ... start + count - 1.

        Returns
        -------
        ndarray of float64, shape (count,)

        Raises
        ------
        ValueError
            If a schedule or function yields a rate that is negative or not finite.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.SGD(nf.schedules.Exponential(1.0, 0.5)).learning_rates(1, 3)
        array([0.5  , 0.25 , 0.125])
        """
        rate = self._learning_rate
        if isinstance(rate, float):
            rates = np.empty(count)
            rates.fill(rate)        # np.full takes several times as long, once an epoch
            return rates
        rates = schedules.get(rate).values(start, count)
        if rates.shape != (count,):
            raise ValueError(f"{type(self).__name__}: {rate!r} gave rates of shape {rates.shape} for {count} steps")
        bad = ~(np.isfinite(rates) & (rates >= 0))
        if bad.any():
            first = int(np.argmax(bad))
            raise ValueError(
                f"{type(self).__name__}: the learning rate of step {start + first} must be finite and at least 0, "
                f"got {rates[first]}"
            )
        return rates

    def hyperparameters(self) -> dict[str, float]:
        """Return the constants of the update as a dict of floats, with the names the compiled plan uses.

        >>> import nnfast as nf
        >>> nf.AdamW(weight_decay=0.1).hyperparameters()["weight_decay"]
        0.1
        """
        return {
            "momentum": self.momentum,
            "nesterov": float(self.nesterov),
            "beta1": self.beta1,
            "beta2": self.beta2,
            "rho": self.rho,
            "eps": self.epsilon,
            "weight_decay": self.weight_decay,
            "initial_accumulator": self.initial_accumulator_value,
        }


class SGD(Optimizer):
    """Stochastic gradient descent with optional (Nesterov) momentum, undampened.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.SGD(0.1, momentum=0.9).hyperparameters()["momentum"]
    0.9
    """

    kind = "sgd"

    def __init__(self, learning_rate: RateLike = 0.01, momentum: float = 0.0, nesterov: bool = False,
                 clip_norm: float | None = None, clip_value: float | None = None) -> None:
        super().__init__(learning_rate, clip_norm, clip_value)
        self.momentum = self._number("momentum", momentum, at_least=0, below=1)
        self.nesterov = boolean("SGD", "nesterov", nesterov)
        if self.nesterov and self.momentum == 0:
            raise ValueError("SGD: nesterov=True needs a momentum above 0, e.g. SGD(momentum=0.9, nesterov=True)")


class Adam(Optimizer):
    """Adaptive moment estimation with bias correction.

    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(1, use_bias=False, kernel_initializer="zeros")], input_shape=(1,))
    >>> model.compile(nf.Adam(0.125), "squared_error")
    >>> loss = model.train_on_batch([[1.0]], [[3.0]])
    >>> model.get_weights()         # the first step is as long as the rate
    [array([[0.125]], dtype=float32)]
    """

    kind = "adam"

    def __init__(self, learning_rate: RateLike = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
                 clip_norm: float | None = None, clip_value: float | None = None) -> None:
        super().__init__(learning_rate, clip_norm, clip_value)
        self.beta1 = self._number("beta1", beta1, at_least=0, below=1)
        self.beta2 = self._number("beta2", beta2, at_least=0, below=1)
        self.epsilon = self._number("epsilon", epsilon, above=0)


class AdamW(Adam):
    """Adam with decoupled weight decay, which acts on every parameter, biases included, as in PyTorch.

    >>> import nnfast as nf
    >>> nf.AdamW(nf.schedules.WarmUp(100, then=1e-3), weight_decay=0.05)
    AdamW(learning_rate=WarmUp(steps=100, then=0.001), weight_decay=0.05)
    """

    kind = "adamw"

    def __init__(self, learning_rate: RateLike = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
                 weight_decay: float = 0.01, clip_norm: float | None = None, clip_value: float | None = None) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon, clip_norm, clip_value)
        self.weight_decay = self._number("weight_decay", weight_decay, at_least=0)


class RMSprop(Optimizer):
    """Gradient divided by a running root mean square, uncentred.

    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
    >>> model.compile(nf.RMSprop(0.001, clip_norm=1.0), "squared_error")
    >>> model.optimizer
    RMSprop(learning_rate=0.001, clip_norm=1.0)
    """

    kind = "rmsprop"

    def __init__(self, learning_rate: RateLike = 0.01, rho: float = 0.99, epsilon: float = 1e-8, momentum: float = 0.0,
                 clip_norm: float | None = None, clip_value: float | None = None) -> None:
        super().__init__(learning_rate, clip_norm, clip_value)
        self.rho = self._number("rho", rho, at_least=0, below=1)
        self.epsilon = self._number("epsilon", epsilon, above=0)
        self.momentum = self._number("momentum", momentum, at_least=0, below=1)


class Adagrad(Optimizer):
    """Gradient divided by the root of the sum of all its squares so far.

    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(1, use_bias=False, kernel_initializer="zeros")], input_shape=(1,))
    >>> model.compile(nf.Adagrad(0.5), "squared_error")
    >>> loss = model.train_on_batch([[1.0]], [[3.0]])
    >>> model.get_weights()         # the first step is as long as the rate
    [array([[0.5]], dtype=float32)]
    """

    kind = "adagrad"

    def __init__(self, learning_rate: RateLike = 0.01, epsilon: float = 1e-10, initial_accumulator_value: float = 0.0,
                 clip_norm: float | None = None, clip_value: float | None = None) -> None:
        super().__init__(learning_rate, clip_norm, clip_value)
        self.epsilon = self._number("epsilon", epsilon, above=0)
        self.initial_accumulator_value = self._number(
            "initial_accumulator_value", initial_accumulator_value, at_least=0
        )


REGISTRY = Registry("optimizer", Optimizer, {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
}, compiled="kind")


def get(identifier: OptimizerLike) -> Optimizer:
    """Return the optimizer for a name (with its defaults), an instance, a class or a configuration.

    >>> import nnfast as nf
    >>> nf.optimizers.get("sgd").learning_rate
    0.01
    """
    return REGISTRY.get(identifier)
