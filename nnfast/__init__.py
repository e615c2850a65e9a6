"""Small neural networks, trained whole in compiled code.

>>> import nnfast as nf
>>> model = nf.Sequential([nf.Dense(16, activation="relu"), nf.Dense(3, activation="softmax")], input_shape=(4,))
>>> model.compile(nf.Adam(1e-3), loss="cross_entropy", metrics=["accuracy"])
>>> model
<Sequential 'sequential': 131 parameters, float32>
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from . import callbacks, initializers, losses, metrics, optimizers, regularizers, schedules
from .callbacks import Callback, EarlyStopping, History, LambdaCallback, ProgressBar
from .config import __version__, show_config
from .layers import (
    Activation,
    Add,
    AvgPool1D,
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv1D,
    Conv1DTranspose,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    Input,
    Lambda,
    Layer,
    LayerNorm,
    MaxPool1D,
    MaxPool2D,
    Multiply,
    Rescale,
    Reshape,
    UpSampling1D,
    UpSampling2D,
    ZeroPadding2D,
)
from .losses import AbsoluteError, BinaryCrossEntropy, CrossEntropy, CustomLoss, Huber, SquaredError
from .metrics import BinaryAccuracy, MeanIoU, TopKAccuracy
from .model import Model
from .names import hint as _hint
from .optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from .regularizers import L1, L1L2, L2
from .sequential import Sequential
from .totals import TrainingError

if TYPE_CHECKING:
    from . import augment, data, datasets, functional, interop, models, onnx, optimize, plot, sklearn, solvers
    from .c_source import export_c
    from .ensemble import fit_many, predict_many
    from .files import FileFormatError, from_json, load, save, to_json

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "SGD",
    "AbsoluteError",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "Add",
    "AvgPool1D",
    "AvgPool2D",
    "BatchNorm",
    "BinaryAccuracy",
    "BinaryCrossEntropy",
    "Callback",
    "Concatenate",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "CrossEntropy",
    "CustomLoss",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "FileFormatError",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "History",
    "Huber",
    "Input",
    "Lambda",
    "LambdaCallback",
    "Layer",
    "LayerNorm",
    "MaxPool1D",
    "MaxPool2D",
    "MeanIoU",
    "Model",
    "Multiply",
    "ProgressBar",
    "RMSprop",
    "Rescale",
    "Reshape",
    "Sequential",
    "SquaredError",
    "TopKAccuracy",
    "TrainingError",
    "UpSampling1D",
    "UpSampling2D",
    "ZeroPadding2D",
    "__version__",
    "augment",
    "callbacks",
    "data",
    "datasets",
    "export_c",
    "fit_many",
    "from_json",
    "functional",
    "initializers",
    "interop",
    "load",
    "losses",
    "metrics",
    "models",
    "onnx",
    "optimize",
    "optimizers",
    "plot",
    "predict_many",
    "regularizers",
    "save",
    "schedules",
    "show_config",
    "sklearn",
    "solvers",
    "to_json",
]

# What training and prediction do without is imported when first asked for. By name: where a function is, None for a
# module.
_LATER = {"FileFormatError": "files", "augment": None, "data": None, "datasets": None, "export_c": "c_source",
          "fit_many": "ensemble", "from_json": "files", "functional": None, "interop": None, "load": "files",
          "models": None, "onnx": None, "optimize": None, "plot": None, "predict_many": "ensemble", "save": "files",
          "sklearn": None, "solvers": None, "to_json": "files"}


if not TYPE_CHECKING:   # which would take it that there is any name
    def __getattr__(name):
        if name not in _LATER:
            known = [] if name.startswith("_") else __all__
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}{_hint(name, known)}")
        module = importlib.import_module(f"{__name__}.{_LATER[name] or name}")
        return getattr(module, name) if _LATER[name] else module


def __dir__():
    return sorted({*globals(), *_LATER})
