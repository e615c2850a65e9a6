"""Learning rates as functions of the step t = 0, 1, 2, ... since `compile`: one for each batch not of weight 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .configurable import Configurable, Registry, integer, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from .typing import Array, Config, RateLike

__all__ = [
    "Constant", "Cosine", "Exponential", "FromFunction", "InverseTime", "OneCycle", "Schedule", "Step", "WarmUp",
    "get",
]


class Schedule(Configurable):
    """Base: a subclass defines `rates(t)` for a float64 array of steps.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> class Root(nf.schedules.Schedule):
    ...     def __init__(self, initial):
    ...         self.initial = initial
    ...     def rates(self, t):
    ...         return self.initial / np.sqrt(t + 1)
    >>> nf.SGD(Root(0.1)), Root(0.1)(3)
    (SGD(learning_rate=Root(initial=0.1)), 0.05)
    """

    def values(self, start: int, count: int) -> Array:
        """Return the rates of steps start ... start + count - 1 as a float64 array.

        >>> import nnfast as nf
        >>> nf.schedules.Constant(0.5).values(10, 3)
        array([0.5, 0.5, 0.5])
        """
        # A rate that overflows is reported by the optimizer, with its step, not by NumPy.
        with np.errstate(over="ignore"):
            return np.asarray(self.rates(np.arange(start, start + count, dtype=np.float64)), dtype=np.float64)

    def rates(self, t: Array) -> Array:
        """Return the rates of the steps `t` (float64 array); what a user's own schedule has to define."""
        raise NotImplementedError(f"{type(self).__name__} does not define rates(t)")

    def __call__(self, step: int) -> float:
        """Return the rate of one step as a float."""
        return float(self.values(step, 1)[0])


class Constant(Schedule):
    """The same rate for every step.

    >>> import nnfast as nf
    >>> nf.schedules.Constant(0.1)(1000)
    0.1
    """

    def __init__(self, rate: float) -> None:
        self.rate = number("Constant", "rate", rate, above=0)

    def rates(self, t: Array) -> Array:
        return np.full(t.shape, self.rate)


class Step(Schedule):
    """initial * gamma^floor(t / step_size) (PyTorch's StepLR).

    >>> import nnfast as nf
    >>> nf.schedules.Step(1.0, step_size=2, gamma=0.5).values(0, 5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """

    def __init__(self, initial: float, step_size: int, gamma: float = 0.1) -> None:
        self.initial = number("Step", "initial", initial, above=0)
        self.step_size = integer("Step", "step_size", step_size, at_least=1)
        self.gamma = number("Step", "gamma", gamma, above=0)

    def rates(self, t: Array) -> Array:
        return self.initial * self.gamma ** (t // self.step_size)


class Exponential(Schedule):
    """initial * decay_rate^(t / decay_steps) (PyTorch's ExponentialLR where decay_steps is 1).

    >>> import nnfast as nf
    >>> nf.schedules.Exponential(1.0, 0.5, decay_steps=2).values(0, 5).round(4)
    array([1.    , 0.7071, 0.5   , 0.3536, 0.25  ])
    """

    def __init__(self, initial: float, decay_rate: float, decay_steps: int = 1) -> None:
        self.initial = number("Exponential", "initial", initial, above=0)
        self.decay_rate = number("Exponential", "decay_rate", decay_rate, above=0)
        self.decay_steps = integer("Exponential", "decay_steps", decay_steps, at_least=1)

    def rates(self, t: Array) -> Array:
        return self.initial * self.decay_rate ** (t / self.decay_steps)


class Cosine(Schedule):
    """final + (initial - final) (1 + cos(pi t / total_steps)) / 2, and `final` from total_steps on.

    Loshchilov and Hutter 2017, eq. 5, without restarts; up to total_steps equal to PyTorch's CosineAnnealingLR.

    >>> import nnfast as nf
    >>> nf.Adam(nf.schedules.Cosine(1e-3, total_steps=1000))
    Adam(learning_rate=Cosine(initial=0.001, total_steps=1000))
    >>> nf.schedules.Cosine(1.0, total_steps=4).values(0, 6).round(4)
    array([1.    , 0.8536, 0.5   , 0.1464, 0.    , 0.    ])
    """

    def __init__(self, initial: float, total_steps: int, final: float = 0.0) -> None:
        self.initial = number("Cosine", "initial", initial, above=0)
        self.total_steps = integer("Cosine", "total_steps", total_steps, at_least=1)
        self.final = number("Cosine", "final", final, at_least=0)

    def rates(self, t: Array) -> Array:
        return _cosine_between(self.initial, self.final, np.minimum(t / self.total_steps, 1.0))


class InverseTime(Schedule):
    """initial / (1 + decay_rate t / decay_steps).

    >>> import nnfast as nf
    >>> nf.schedules.InverseTime(1.0, decay_rate=1.0).values(0, 4).round(4)
    array([1.    , 0.5   , 0.3333, 0.25  ])
    """

    def __init__(self, initial: float, decay_rate: float, decay_steps: int = 1) -> None:
        self.initial = number("InverseTime", "initial", initial, above=0)
        self.decay_rate = number("InverseTime", "decay_rate", decay_rate, at_least=0)
        self.decay_steps = integer("InverseTime", "decay_steps", decay_steps, at_least=1)

    def rates(self, t: Array) -> Array:
        return self.initial / (1.0 + self.decay_rate * t / self.decay_steps)


class WarmUp(Schedule):
    """A straight line from `start` to the first rate of `then` over `steps` steps, after them `then` from its step 0.

    Step 0 has the rate `start`; with the default 0.0 it changes nothing.

    Parameters
    ----------
    steps : int
        Length of the line.
    then : Schedule or float
        What follows; its own step count begins at 0 when the line ends.
    start : float
        Rate of step 0.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.schedules.WarmUp(4, then=0.8).values(0, 6)
    array([0. , 0.2, 0.4, 0.6, 0.8, 0.8])
    """

    def __init__(self, steps: int, then: float | Schedule | Config, start: float = 0.0) -> None:
        self.steps = integer("WarmUp", "steps", steps, at_least=1)
        if isinstance(then, (Schedule, dict)):
            self.then: float | Schedule = REGISTRY.get(then)
        else:
            self.then = number("WarmUp", "then", then, above=0)
        self.start = number("WarmUp", "start", start, at_least=0)

    def rates(self, t: Array) -> Array:
        then = get(self.then)
        line = self.start + (then(0) - self.start) * t / self.steps
        return np.where(t < self.steps, line, then.rates(np.maximum(t - self.steps, 0.0)))


class OneCycle(Schedule):
    """Up from max_rate / div_factor to max_rate in the first pct_start of the steps, then down to
    max_rate / div_factor / final_div_factor, both along half a cosine; constant after total_steps.

    Smith and Topin 2018. The rates are those of PyTorch's OneCycleLR; the momentum is left alone (PyTorch's
    cycle_momentum=False).

    >>> import nnfast as nf
    >>> nf.schedules.OneCycle(1.0, total_steps=10).values(0, 10).round(2)
    array([0.04, 0.52, 1.  , 0.95, 0.81, 0.61, 0.39, 0.19, 0.05, 0.  ])
    """

    def __init__(self, max_rate: float, total_steps: int, pct_start: float = 0.3, div_factor: float = 25.0,
                 final_div_factor: float = 1e4) -> None:
        self.max_rate = number("OneCycle", "max_rate", max_rate, above=0)
        self.total_steps = integer("OneCycle", "total_steps", total_steps, at_least=1)
        self.pct_start = number("OneCycle", "pct_start", pct_start, at_least=0, at_most=1)
        self.div_factor = number("OneCycle", "div_factor", div_factor, above=0)
        self.final_div_factor = number("OneCycle", "final_div_factor", final_div_factor, above=0)

    def rates(self, t: Array) -> Array:
        first = self.max_rate / self.div_factor
        last = first / self.final_div_factor
        peak = self.pct_start * self.total_steps - 1.0
        end = self.total_steps - 1.0
        # The peak lies at or before step 0 where the rise has no step of its own; so may the end after it.
        up = t / peak if peak > 0 else np.ones_like(t)
        down = (t - peak) / (end - peak) if end > peak else np.ones_like(t)
        rising = _cosine_between(first, self.max_rate, np.clip(up, 0.0, 1.0))
        falling = _cosine_between(self.max_rate, last, np.clip(down, 0.0, 1.0))
        return np.where((t <= peak) & (peak > 0), rising, falling)


class FromFunction(Schedule):
    """The rates a Python function of the step returns. It is called for each step of an epoch before the epoch.

    >>> import nnfast as nf
    >>> nf.schedules.FromFunction(lambda step: 0.1 if step < 2 else 0.01).values(0, 4)
    array([0.1 , 0.1 , 0.01, 0.01])
    """

    def __init__(self, function: Callable[[int], float]) -> None:
        if not callable(function):
            raise TypeError(f"FromFunction: function must be callable, got {type(function).__name__}")
        self.function = function

    def rates(self, t: Array) -> Array:
        return np.array([self._rate(int(step)) for step in t], dtype=np.float64)

    def _rate(self, step):
        return number("learning_rate", f"rate of step {step}", self.function(step), at_least=0)


def _cosine_between(first, last, part):
    return last + (first - last) * 0.5 * (1.0 + np.cos(np.pi * part))


REGISTRY = Registry("learning-rate schedule", Schedule, {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "cosine": Cosine,
    "warm_up": WarmUp,
    "one_cycle": OneCycle,
    "inverse_time": InverseTime,
})


def get(identifier: RateLike | str) -> Schedule:
    """Return the schedule for a rate, a schedule, a configuration or a function of the step.

    >>> import nnfast as nf
    >>> nf.schedules.get(0.1), nf.schedules.get(lambda step: 0.5 / (step + 1))(4)
    (Constant(rate=0.1), 0.1)
    """
    if isinstance(identifier, (Schedule, dict, str)):
        return REGISTRY.get(identifier)
    if callable(identifier) and not isinstance(identifier, type):
        return FromFunction(identifier)
    return Constant(number("learning_rate", "value", identifier, above=0))
