"""What Python does between epochs, and only if asked between batches, while `fit` runs.

=====================  ==========================================================================
Callback               base: override what you need
LambdaCallback         one made of functions
History                the figures of every epoch; `fit` returns one
ProgressBar            on the terminal or in a notebook
Checkpoint             saves the whole state of training, to go on from
EarlyStopping          ends training where a figure no longer improves, and keeps the best weights
TerminateOnNaN         ends training without an error where it goes out of bounds
LearningRateScheduler  sets the learning rate of each epoch by a function
ReduceLROnPlateau      lowers the learning rate where a figure no longer improves
CSVLogger              writes the figures to a table
TensorBoard            writes them for TensorBoard
GradientNorms          records how large the gradient of each layer is
=====================  ==========================================================================
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ..names import hint as _hint
from .base import Callback, CallbackList, EarlyStopping, GradientNorms, History, LambdaCallback, Position, ProgressBar

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint
    from .loggers import CSVLogger, TensorBoard
    from .rates import LearningRateScheduler, ReduceLROnPlateau
    from .termination import TerminateOnNaN

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "Checkpoint",
    "EarlyStopping",
    "GradientNorms",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "Position",
    "ProgressBar",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]

# Imported when first asked for: where each is. (Checkpoint writes models to files, and models import this module.)
_LATER = {"CSVLogger": ".loggers", "Checkpoint": "..checkpoint", "LearningRateScheduler": ".rates",
          "ReduceLROnPlateau": ".rates", "TensorBoard": ".loggers", "TerminateOnNaN": ".termination"}


if not TYPE_CHECKING:   # which would take it that there is any name
    def __getattr__(name):
        if name not in _LATER:
            known = [] if name.startswith("_") else __all__
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}{_hint(name, known)}")
        return getattr(importlib.import_module(_LATER[name], __name__), name)


def __dir__():
    return sorted({*globals(), *_LATER})
