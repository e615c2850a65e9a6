"""Networks beyond stacks of layers, as nnfast and PyTorch users write them: their data and initial weights.

``nnfast_models.py`` and ``torch_models.py`` each have a function of every name here, which builds the network. Both
list its layers in the same order, so a parameter is known by its number; features that a dense layer reads are never
flattened images, whose order differs. There is no dropout: the loss curves could not be compared.
"""

import functools
import math
from dataclasses import dataclass, replace

import numpy as np

SEED = 20240229


@dataclass(frozen=True)
class Input:
    """One input: the shape of a sample, channels last, and of how many ids its numbers are (0: they are numbers)."""

    shape: tuple[int, ...]
    ids: int = 0


@dataclass(frozen=True)
class Architecture:
    """A network with its data and how it is trained. The fields that `workloads.Workload` has mean the same."""

    name: str
    description: str
    inputs: tuple[Input, ...]
    target: tuple[int, ...]  # shape of a sample's labels or numbers
    classes: int  # of labels; 0: the targets are numbers
    optimizer: str
    learning_rate: float
    batch_size: int
    n_batches: int
    quick_batches: int
    check_steps: int = 6
    # Batch normalization makes a network forget the size of what it gets, not how far rounding has moved it.
    tolerance: float = 1e-4
    flops: float = 0.0  # not counted

    @property
    def loss(self):
        return "cross_entropy" if self.classes else "squared_error"


MODELS = {
    architecture.name: architecture
    for architecture in (
        Architecture("resnet20", "ResNet-20 (32 x 32 x 3), batch normalization", (Input((32, 32, 3)),), (), 10,
                     "sgd", 0.01, 64, 4, 3, check_steps=3),
        Architecture("mobile", "depthwise and 1 x 1 convolutions to 256 channels (32 x 32 x 3), batch normalization",
                     (Input((32, 32, 3)),), (), 10, "sgd", 0.01, 32, 8, 5, check_steps=5),
        Architecture("mobilenet_v3", "MobileNetV3-small (96 x 96 x 3), squeeze-and-excitation, batch normalization",
                     (Input((96, 96, 3)),), (), 10, "sgd", 0.01, 32, 4, 3, check_steps=3, tolerance=1e-3),
        Architecture("unet", "U-Net of depth 3, 16 to 128 channels (64 x 64 x 1), batch normalization",
                     (Input((64, 64, 1)),), (64, 64), 3, "adam", 1e-3, 16, 4, 3, check_steps=3, tolerance=1e-3),
        Architecture("autoencoder", "convolutions and transposed convolutions with stride 2 (28 x 28 x 1)",
                     (Input((28, 28, 1)),), (28, 28, 1), 0, "adam", 1e-3, 64, 16, 10),
        Architecture("signal", "three Conv1D of 7 taps (512 x 2), batch normalization, max-pooling", (Input((512, 2)),),
                     (), 5, "adam", 1e-3, 32, 16, 10),
        Architecture("text", "20,000 words x 64, Conv1D of 5 taps to 128, the maximum over 100 words",
                     (Input((100,), 20000),), (), 2, "adam", 1e-3, 32, 32, 16),
        Architecture("table", "5,000 categories x 8 beside 7 numbers, dense 64-64-1", (Input((7,)), Input((1,), 5000)),
                     (1,), 0, "adam", 1e-3, 256, 64, 32),
        Architecture("layer_norm", "dense 256-256-256-10 (128), layer normalization, gelu", (Input((128,)),), (), 10,
                     "adam", 1e-3, 128, 32, 16),
    )
}


@dataclass(frozen=True)
class Problem:
    """An architecture with its arrays: the input, or a tuple of them, and the targets."""

    workload: Architecture
    x: np.ndarray | tuple[np.ndarray, ...]
    y: np.ndarray

    def batches(self):
        """The batches in order, as contiguous slices without a copy."""
        size = self.workload.batch_size
        return [(rows(self.x, i, i + size), self.y[i : i + size]) for i in range(0, len(self.y), size)]


def rows(x, start, end):
    """Of an array, or of several."""
    return tuple(part[start:end] for part in x) if isinstance(x, tuple) else x[start:end]


@functools.lru_cache(maxsize=1)
def make_problem(name, **changes):
    """The named architecture, with these fields changed, and its arrays: float32, int64 ids, int32 labels."""
    workload = replace(MODELS[name], **changes)
    rng = np.random.default_rng(SEED)
    n = workload.n_batches * workload.batch_size
    x = tuple(rng.integers(0, entry.ids, (n, *entry.shape)) if entry.ids else
              rng.standard_normal((n, *entry.shape), dtype=np.float32) for entry in workload.inputs)
    if workload.classes:
        y = rng.integers(0, workload.classes, (n, *workload.target), dtype=np.int32)
    else:
        y = rng.standard_normal((n, *workload.target), dtype=np.float32)
    return Problem(workload, x if len(x) > 1 else x[0], y)


def initial(number, kind, shape):
    """Parameter `number` of a network in nnfast's order of axes. kind: "kernel", "embedding", "ones" or "zeros"."""
    if kind in ("ones", "zeros"):
        return np.full(shape, float(kind == "ones"), np.float32)
    limit = 0.1 if kind == "embedding" else math.sqrt(6 / math.prod(shape[:-1]))
    return np.random.default_rng((SEED, number)).uniform(-limit, limit, shape).astype(np.float32)
