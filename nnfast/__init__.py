"""Small neural networks, trained whole in compiled code.

>>> import nnfast as nf
>>> model = nf.Sequential([nf.Dense(16, activation="relu"), nf.Dense(3, activation="softmax")], input_shape=(4,))
>>> model.compile(nf.Adam(1e-3), loss="cross_entropy", metrics=["accuracy"])
>>> model
<Sequential 'sequential': 131 parameters, float32>
"""

from . import datasets, functional, initializers, losses, metrics, optimizers, regularizers, schedules
from .callbacks import Callback, EarlyStopping, History, LambdaCallback, ProgressBar
from .config import __version__, show_config
from .files import FileFormatError, from_json, load, save, to_json
from .layers import Activation, Add, Concatenate, Dense, Dropout, Flatten, Input, Lambda, Layer, Reshape
from .losses import AbsoluteError, BinaryCrossEntropy, CrossEntropy, CustomLoss, Huber, SquaredError
from .metrics import BinaryAccuracy, TopKAccuracy
from .model import Model, Sequential
from .optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from .regularizers import L1, L1L2, L2
from .training import TrainingError

__all__ = [
    "L1",
    "L1L2",
    "L1L2",
    "L2",
    "SGD",
    "AbsoluteError",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "Add",
    "BinaryAccuracy",
    "BinaryCrossEntropy",
    "Callback",
    "Concatenate",
    "CrossEntropy",
    "CustomLoss",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "FileFormatError",
    "Flatten",
    "History",
    "Huber",
    "Input",
    "Lambda",
    "LambdaCallback",
    "Layer",
    "Model",
    "ProgressBar",
    "RMSprop",
    "Reshape",
    "Sequential",
    "SquaredError",
    "TopKAccuracy",
    "TrainingError",
    "__version__",
    "datasets",
    "from_json",
    "functional",
    "initializers",
    "load",
    "losses",
    "metrics",
    "optimizers",
    "regularizers",
    "save",
    "schedules",
    "show_config",
    "to_json",
]
