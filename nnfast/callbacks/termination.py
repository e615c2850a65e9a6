"""Ending a training that has gone out of bounds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .base import Callback, numbers_in

if TYPE_CHECKING:
    from ..totals import TrainingError
    from ..typing import Config, Logs


class TerminateOnNaN(Callback):
    """End training without an error where a figure becomes infinite or NaN.

    Without it `fit` raises `TrainingError`. In both cases the step that would have spoilt the weights is not applied:
    the model keeps its last finite ones. A search over settings can so go on with the next.

    Attributes
    ----------
    stopped_epoch : int or None
        The epoch that ended training; None if nothing went wrong.
    reason : str or None
        What happened.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
    >>> model.compile(nf.SGD(1e30), "squared_error")
    >>> guard = nf.callbacks.TerminateOnNaN()
    >>> history = model.fit([[1.0], [2.0]], [[1.0], [2.0]], epochs=50, callbacks=guard, verbose=0)
    >>> guard.stopped_epoch is not None and guard.stopped_epoch < 49
    True
    """

    def __init__(self) -> None:
        self.stopped_epoch: int | None = None
        self.reason: str | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.stopped_epoch = self.reason = None

    def get_state(self) -> Config | None:
        return {"stopped_epoch": self.stopped_epoch, "reason": self.reason}

    def set_state(self, state: Config) -> None:
        self.stopped_epoch, self.reason = state["stopped_epoch"], state["reason"]

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        bad = [f"{name} is {value}" for name, value in numbers_in(logs).items() if not math.isfinite(value)]
        if bad:
            self.stopped_epoch, self.reason = epoch, ", ".join(bad)
            self.model.stop_training = True

    def on_training_error(self, error: TrainingError) -> bool:
        self.stopped_epoch, self.reason = self._epoch, str(error)
        self.model.stop_training = True
        return True
