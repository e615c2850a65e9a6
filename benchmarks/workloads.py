"""The networks that the benchmarks train, their data and their initial weights.

Every process makes the same arrays from the same seeds, so nothing but names and figures travels between processes.
Layouts: x (n_samples, *input_shape), images channels last; y (n_samples,) class labels or (n_samples, outputs);
kernels (in, out) and (R, S, C, K).
"""

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Conv(NamedTuple):
    """Convolution with a square kernel and stride 1; padding "same" or "valid"."""

    filters: int
    size: int
    padding: str
    activation: str


class Pool(NamedTuple):
    """Pooling without overlap; kind "max" or "avg"."""

    kind: str
    size: int


class Dense(NamedTuple):
    """Dense layer; images are flattened, channels last."""

    units: int
    activation: str = "linear"


class Dropout(NamedTuple):
    """Dropout while training."""

    rate: float


@dataclass(frozen=True)
class Workload:
    """One network, optimizer and batch size, and how many batches make an epoch."""

    name: str
    input_shape: tuple[int, ...]
    layers: tuple  # the last one is linear; "cross_entropy" includes the softmax
    optimizer: str  # "sgd" (plain) or "adam" (PyTorch's defaults)
    learning_rate: float
    batch_size: int
    n_batches: int  # batches an epoch
    quick_batches: int  # with --quick
    loss: str = "cross_entropy"  # or "squared_error"
    check_steps: int = 20  # steps over which the loss curves must agree before anything is timed
    tolerance: float = 1e-5  # relative difference of a float32 loss from the float64 reference, each step
    nonzero: float = 1.0  # share of the inputs that is not 0

    @property
    def outputs(self):
        return self.layers[-1].units

    @functools.cached_property
    def shapes(self):
        """Input shape of each layer, and the output's."""
        shapes = [self.input_shape]
        for layer in self.layers:
            shapes.append(output_shape(layer, shapes[-1]))
        return shapes

    @functools.cached_property
    def kernels(self):
        """(kernel shape, multiplications by each weight for one sample) of the layers that have weights."""
        found = []
        for layer, inputs, outputs in zip(self.layers, self.shapes, self.shapes[1:]):
            if isinstance(layer, Dense):
                found.append(((math.prod(inputs), layer.units), 1))
            elif isinstance(layer, Conv):
                found.append(((layer.size, layer.size, inputs[-1], layer.filters), math.prod(outputs[:2])))
        return found

    @property
    def flops(self):
        """Floating-point operations of the products and convolutions of one step, also those with zeros.

        The first layer needs no dX.
        """
        products = [math.prod(shape) * uses for shape, uses in self.kernels]
        return 2 * self.batch_size * (3 * sum(products) - products[0])

    @property
    def description(self):
        optimizer = {"sgd": "SGD", "adam": "Adam"}[self.optimizer]
        layers = "-".join(describe(layer) for layer in self.layers)
        hidden = self.layers[0].activation
        zeros = "" if self.nonzero == 1 else f", {1 - self.nonzero:.0%} of the inputs 0"
        return f"{'x'.join(map(str, self.input_shape))}-{layers} {hidden}, {self.loss}, {optimizer}, " \
               f"batch {self.batch_size}{zeros}"


def output_shape(layer, shape):
    if isinstance(layer, Dense):
        return (layer.units,)
    if isinstance(layer, Dropout):
        return shape
    h, w, c = shape
    if isinstance(layer, Pool):
        return h // layer.size, w // layer.size, c
    cut = 0 if layer.padding == "same" else layer.size - 1
    return h - cut, w - cut, layer.filters


def describe(layer):
    if isinstance(layer, Conv):
        return f"{layer.filters}c{layer.size}"
    if isinstance(layer, Pool):
        return layer.kind
    return f"drop{layer.rate:g}" if isinstance(layer, Dropout) else str(layer.units)


def mlp(widths, activation):
    return tuple(Dense(width, activation) for width in widths[:-1]) + (Dense(widths[-1]),)


def vgg(blocks, dense):
    """Blocks of 3x3 convolutions, each ended by a pooling, and dense layers."""
    convolutions = [[Conv(filters, 3, "same", "relu") for filters in block] + [Pool("max", 2)] for block in blocks]
    return tuple(sum(convolutions, [])) + mlp(dense, "relu")


MLP = {
    workload.name: workload
    for workload in (
        Workload("tiny_mlp", (4,), mlp((10, 3), "tanh"), "sgd", 0.1, 16, 512, 512),
        # A value-and-policy regression as reinforcement learning fits it after each roll-out: 8 observations,
        # 4 continuous targets, squared error on a linear head.
        Workload("rl_mlp", (8,), mlp((64, 64, 4), "tanh"), "adam", 1e-3, 64, 512, 512, loss="squared_error"),
        Workload("mnist_mlp32", (784,), mlp((128, 10), "relu"), "adam", 1e-3, 32, 256, 64),
        # Adam's first steps are as long for the smallest gradient as for the largest, and rounding decides the sign of
        # some of 669,000: hence the tolerance.
        Workload("mnist_mlp128", (784,), mlp((512, 512, 10), "relu"), "adam", 1e-3, 128, 32, 20, tolerance=1e-4),
        # The same where four of five inputs are 0, as in MNIST's images: 19 % of their pixels hold ink.
        Workload("sparse_mlp", (784,), mlp((512, 512, 10), "relu"), "adam", 1e-3, 128, 32, 20, tolerance=1e-4,
                 nonzero=0.19),
        # Six steps suffice there: each takes some 0.2 s, in float64 for the reference twice that.
        Workload("wide_mlp", (1024,), mlp((4096, 4096, 1000), "relu"), "sgd", 0.01, 256, 16, 6, check_steps=6),
    )
}

#: Two convolutions of the MNIST examples of PyTorch and Keras: `nnfast.models.mnist_cnn`.
TWO_CONVOLUTIONS = Conv(32, 3, "valid", "relu"), Conv(64, 3, "valid", "relu"), Pool("max", 2)

CNN = {
    workload.name: workload
    for workload in (
        Workload(
            "lenet5", (28, 28, 1),
            (Conv(6, 5, "same", "tanh"), Pool("avg", 2), Conv(16, 5, "valid", "tanh"), Pool("avg", 2))
            + mlp((120, 84, 10), "tanh"),
            "sgd", 0.05, 64, 64, 20,
        ),
        # Adam again: in one of these batches the rounding of Winograd's sums decides the sign of a gradient, which is
        # 1.3e-5 of the next loss; without them (NNFAST_WINOGRAD=0) the curves differ by 3e-7.
        Workload(
            "mnist_cnn", (28, 28, 1), TWO_CONVOLUTIONS + mlp((128, 10), "relu"), "adam", 1e-3, 64, 12, 10,
            check_steps=10, tolerance=1e-4,
        ),
        Workload(
            "cifar_vgg", (32, 32, 3), vgg(((32, 32), (64, 64), (128, 128)), (256, 10)), "sgd", 1e-3, 64, 6, 5,
            check_steps=5,
        ),
        # The 138 million weights of configuration D; a step is 0.4 TFLOP. In 13 layers of relu and max-pooling rounding
        # decides now and then which of two near values passes the gradient on: hence the tolerance.
        Workload(
            "vgg16", (224, 224, 3),
            vgg(((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3), (4096, 4096, 1000)),
            "sgd", 1e-3, 4, 2, 2, check_steps=2, tolerance=1e-4,
        ),
    )
}

#: The network of the one-row ``predict`` row: a small policy net with two class probabilities.
PREDICT = Workload("predict_1_row", (4,), mlp((64, 64, 2), "tanh"), "adam", 1e-3, 1, 1, 1)

#: What ``accuracy`` trains on Fashion-MNIST; the rate falls to 0 along a cosine.
ACCURACY = Workload(
    "fashion_cnn", (28, 28, 1), TWO_CONVOLUTIONS + (Dropout(0.25), Dense(128, "relu"), Dropout(0.5), Dense(10)),
    "adam", 1e-3, 128, 469, 469,
)

WORKLOADS = {**MLP, **CNN, PREDICT.name: PREDICT}


@dataclass(frozen=True)
class Problem:
    """A workload with its arrays; ``parameters`` is [kernel 1, bias 1, kernel 2, ...]."""

    workload: Workload
    x: np.ndarray
    y: np.ndarray
    parameters: list[np.ndarray]

    def batches(self):
        """The batches in order, as contiguous slices without a copy."""
        size = self.workload.batch_size
        return [(self.x[i : i + size], self.y[i : i + size]) for i in range(0, len(self.x), size)]


@functools.lru_cache(maxsize=1)
def make_problem(name, **changes):
    """The named workload, with these fields changed, and its arrays: float32 and int32 labels.

    The targets are a fixed linear teacher's, who looks at the first inputs, plus noise.
    """
    workload = dataclasses.replace(WORKLOADS[name], **changes)
    rng = np.random.default_rng(20240229)
    n, n_out = workload.n_batches * workload.batch_size, workload.outputs
    x = rng.standard_normal((n, *workload.input_shape), dtype=np.float32)
    if workload.nonzero < 1:
        x *= rng.random(x.shape) < workload.nonzero
    if len(workload.input_shape) == 3:
        x *= 0.25  # max-pooling makes large values larger: so the first losses are near log(classes)
    seen = x.reshape(n, -1)[:, :1024]
    teacher = rng.standard_normal((seen.shape[1], n_out), dtype=np.float32) / np.float32(np.sqrt(seen.shape[1]))
    y = seen @ teacher + 0.1 * rng.standard_normal((n, n_out), dtype=np.float32)
    if workload.loss == "cross_entropy":
        y = y.argmax(axis=1).astype(np.int32)
        y[:n_out] = np.arange(min(n, n_out))  # every class occurs: scikit-learn refuses to go on with fewer
    return Problem(workload, x, y, make_parameters(workload, rng))


@functools.lru_cache(maxsize=1)
def fashion_mnist(path):
    from nnfast import datasets  # only here: the other processes do without nnfast

    return datasets.fashion_mnist(path, flatten=False)


def fashion_problem(path, seed):
    """Problem, x_test, y_test of Fashion-MNIST; the seed makes the initial weights."""
    (x, y), (x_test, y_test) = fashion_mnist(path)
    return Problem(ACCURACY, x, y, make_parameters(ACCURACY, np.random.default_rng(seed))), x_test, y_test


def make_parameters(workload, rng):
    """Dense kernels by Glorot and Bengio, convolutions' by He et al., lest deep networks fade; biases 0."""
    parameters = []
    for shape, _ in workload.kernels:
        area = math.prod(shape[:-2])
        limit = math.sqrt(6 / (area * shape[-2])) if len(shape) == 4 else math.sqrt(6 / sum(shape))
        parameters.append(rng.uniform(-limit, limit, shape).astype(np.float32))
        parameters.append(np.zeros(shape[-1], dtype=np.float32))
    return parameters
