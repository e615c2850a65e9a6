"""Learning rates that depend on the epoch, or on how training goes.

For a rate that depends on the step alone give the optimizer a schedule (`nnfast.schedules`): it costs nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..configurable import integer, number
from .base import Callback, EarlyStopping, expect_monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model import Model
    from ..typing import Config, Logs, Mode


def fixed_rate(who: str, model: Model) -> float:
    """The optimizer's rate, which must be a number."""
    rate = model.optimizer.learning_rate
    if not isinstance(rate, float):
        raise ValueError(f"{who}: the optimizer has a schedule of its own, {rate!r}; give it a number as learning_rate"
                         f", or leave {who} out")
    return rate


class LearningRateScheduler(Callback):
    """Set the optimizer's learning rate before each epoch.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, rate) -> rate``: epoch counts from 0, rate is the one in force.

    Attributes
    ----------
    rates : list of float
        The rate of each epoch.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
    >>> model.compile(nf.SGD(0.1), "squared_error")
    >>> halve = nf.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
    >>> history = model.fit([[1.0]], [[2.0]], epochs=3, callbacks=halve, verbose=0)
    >>> halve.rates
    [0.1, 0.05, 0.025]
    """

    def __init__(self, schedule: Callable[[int, float], float]) -> None:
        if not callable(schedule):
            raise TypeError(f"LearningRateScheduler: schedule must be a function (epoch, rate) -> rate, got "
                            f"{type(schedule).__name__}: {schedule!r}")
        self.schedule = schedule
        self.rates: list[float] = []
        self._epoch: int | None = None      # of the last rate

    def on_train_begin(self, logs: Logs | None = None) -> None:
        fixed_rate("LearningRateScheduler", self.model)
        self.rates, self._epoch = [], None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if epoch == self._epoch:        # training goes on in the midst of it
            return
        self._epoch = epoch
        rate = self.schedule(epoch, fixed_rate("LearningRateScheduler", self.model))
        rate = number("LearningRateScheduler", f"rate of epoch {epoch}", rate, above=0)
        self.model.optimizer.learning_rate = rate
        self.rates.append(rate)

    def get_state(self) -> Config | None:
        return {"rates": self.rates, "epoch": self._epoch}

    def set_state(self, state: Config) -> None:
        self.rates, self._epoch = state["rates"], state.get("epoch")


class ReduceLROnPlateau(Callback):
    """Lower the learning rate when a figure has not improved for `patience` epochs.

    Parameters
    ----------
    monitor : str
        Name of the figure in the logs.
    factor : float
        In (0, 1): the new rate is ``factor * rate``.
    patience : int
        Epochs without improvement after which the rate falls.
    mode : {"auto", "min", "max"}
        Whether less or more is better, as in `EarlyStopping`.
    min_delta : float
        Least change that counts as an improvement.
    cooldown : int
        Epochs after a fall that do not count as without improvement.
    min_lr : float
        The rate does not fall below.

    Attributes
    ----------
    reductions : list of (int, float)
        The epochs after which the rate fell, and to what.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
    >>> model.compile(nf.SGD(1e-9), "squared_error")
    >>> lower = nf.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=2)
    >>> history = model.fit([[1.0]], [[2.0]], epochs=6, callbacks=lower, verbose=0)
    >>> lower.reductions
    [(2, 5e-10), (4, 2.5e-10)]
    """

    def __init__(self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10, mode: Mode = "auto",
                 min_delta: float = 1e-4, cooldown: int = 0, min_lr: float = 0.0) -> None:
        self._best = EarlyStopping(monitor, min_delta, 0, mode)     # it knows what an improvement is
        self.monitor = monitor
        self.factor = number("ReduceLROnPlateau", "factor", factor, above=0, below=1)
        self.patience = integer("ReduceLROnPlateau", "patience", patience, at_least=0)
        self.cooldown = integer("ReduceLROnPlateau", "cooldown", cooldown, at_least=0)
        self.min_lr = number("ReduceLROnPlateau", "min_lr", min_lr, at_least=0)
        self.reductions: list[tuple[int, float]] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        fixed_rate("ReduceLROnPlateau", self.model)
        expect_monitor("ReduceLROnPlateau", self.monitor, self.params)
        self._best.set_model(self.model)        # whose metrics know whether more is better
        self._best.on_train_begin()
        self.reductions = []
        self._waited = self._cooling = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self._best.improves("ReduceLROnPlateau", epoch, logs):
            self._waited = 0
        elif self._cooling == 0:
            self._waited += 1
        self._cooling = max(0, self._cooling - 1)
        if self._waited < max(self.patience, 1):
            return
        rate = fixed_rate("ReduceLROnPlateau", self.model)
        lower = max(rate * self.factor, self.min_lr)
        self._waited, self._cooling = 0, self.cooldown
        if 0 < lower < rate and not math.isclose(lower, rate):
            self.model.optimizer.learning_rate = lower
            self.reductions.append((epoch, lower))

    def get_state(self) -> Config | None:
        best = None if math.isnan(self._best.best) else self._best.best
        return {"best": best, "best_epoch": self._best.best_epoch, "waited": self._waited, "cooling": self._cooling,
                "reductions": self.reductions}

    def set_state(self, state: Config) -> None:
        self._best.best = math.nan if state["best"] is None else state["best"]
        self._best.best_epoch = state["best_epoch"]
        self._waited, self._cooling = state["waited"], state["cooling"]
        self.reductions = [(epoch, rate) for epoch, rate in state["reductions"]]
