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

from typing import TYPE_CHECKING

from .base import Callback, CallbackList, EarlyStopping, GradientNorms, History, LambdaCallback, Position, ProgressBar
from .loggers import CSVLogger, TensorBoard
from .rates import LearningRateScheduler, ReduceLROnPlateau
from .termination import TerminateOnNaN

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint

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


if not TYPE_CHECKING:   # which would take it that there is any name
    def __getattr__(name):
        if name == "Checkpoint":    # it writes models to files, and models import this module
            from ..checkpoint import Checkpoint

            return Checkpoint
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
