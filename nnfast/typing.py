"""Names of the types in nnfast's signatures, for annotations of your own; ``import nnfast`` does not load them.

A result that is one array for most models and a list of arrays for some has the type ``Array | Any``: what an array has
is checked, and a list may be unpacked without a cast. So have attributes that are None until something is called.

>>> from nnfast.typing import Array, Logs
>>> def show(epoch: int, logs: Logs) -> None:
...     print(epoch, logs["loss"])
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .augment import Augmentation
from .callbacks import Callback
from .initializers import Initializer
from .layers import Activation
from .losses import Loss
from .metrics import Metric
from .optimizers import Optimizer
from .regularizers import Regularizer
from .schedules import Schedule
from .solvers import Solver

__all__ = [
    "ActivationLike", "Array", "ArrayLike", "Arrays", "Augment", "Callbacks", "ClassWeight", "Config", "DTypeLike",
    "Data", "DataFormat", "InitializerLike", "Inputs", "Logs", "LossLike", "MatrixLike", "MetricLike", "Mode",
    "OptimizerLike", "Padding", "PathLike", "RateLike", "RegularizerLike", "Shape", "ShapeLike", "Size", "SolverLike",
    "Source", "Verbose",
]


class _HasArray(Protocol):
    def __array__(self) -> np.ndarray[Any, Any]: ...


class _Sparse(Protocol):
    def tocsr(self) -> Any: ...


class _Samples(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, i: int, /) -> Any: ...


#: a NumPy array
Array: TypeAlias = NDArray[Any]
#: one array; for several inputs, outputs or gradients a list of them, or None for one that was not asked for
Arrays: TypeAlias = NDArray[Any] | Any
#: what NumPy makes an array of: arrays, lists, frames, tensors; not single numbers
ArrayLike: TypeAlias = _HasArray | Sequence[Any]
#: the same, or a SciPy sparse matrix
MatrixLike: TypeAlias = ArrayLike | _Sparse
#: arrays for the inputs or outputs of a model: one, a list, or a dict by name
Data: TypeAlias = ArrayLike | Mapping[str, Any]
#: the same for inputs, where sparse matrices may be among them
Inputs: TypeAlias = MatrixLike | Mapping[str, Any]
#: the same, or what is read while training: data sets, batches, functions that return batches
Source: TypeAlias = Inputs | _Samples | Iterable[Any] | Callable[[], Iterable[Any]]

#: the shape of one sample, without the batch axis
Shape: TypeAlias = tuple[int, ...]
ShapeLike: TypeAlias = int | Sequence[int]
#: of a kernel, stride or dilation: a number, or one for each axis
Size: TypeAlias = int | Sequence[int]
Padding: TypeAlias = Literal["valid", "same"] | int | Sequence[int] | Sequence[Sequence[int]]
DataFormat: TypeAlias = Literal["channels_last", "channels_first"]

#: figures by name, as callbacks get them
Logs: TypeAlias = dict[str, float]
#: what `get_config` returns: data that JSON can hold
Config: TypeAlias = dict[str, Any]
PathLike: TypeAlias = str | os.PathLike[str]
#: the argument of `fit`: one augmentation, a list, or lists by input name
Augment: TypeAlias = str | Augmentation | type[Augmentation] | Sequence[Any] | Mapping[str, Any]
Callbacks: TypeAlias = Callback | Sequence[Callback]
ClassWeight: TypeAlias = Mapping[Any, float] | Literal["balanced"]
Mode: TypeAlias = Literal["auto", "min", "max"]
Verbose: TypeAlias = Literal[0, 1, 2] | bool

ActivationLike: TypeAlias = str | Activation | None
InitializerLike: TypeAlias = str | Initializer | type[Initializer] | Config
LossLike: TypeAlias = str | Loss | type[Loss] | Config | Callable[[Array, Array], tuple[ArrayLike, ArrayLike]]
MetricLike: TypeAlias = str | Metric | type[Metric] | Config
OptimizerLike: TypeAlias = str | Optimizer | type[Optimizer] | Config
RateLike: TypeAlias = float | Schedule | Callable[[int], float] | Config
RegularizerLike: TypeAlias = str | Regularizer | type[Regularizer] | Config
SolverLike: TypeAlias = str | Solver | type[Solver] | Config
