"""The five MLP training workloads, their data and their initial weights.

Every process makes the same arrays from the same seeds, so nothing but figures travels between processes.
Layouts: x (n_samples, widths[0]); y (n_samples,) class labels or (n_samples, widths[-1]); kernels (in, out).
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Workload:
    """One network, optimizer and batch size, and how many batches make an epoch."""

    name: str
    widths: tuple[int, ...]  # input, hidden ..., output
    activation: str  # of the hidden layers; the output is softmax (cross_entropy) or linear (squared_error)
    optimizer: str  # "sgd" (plain) or "adam" (PyTorch's defaults)
    learning_rate: float
    batch_size: int
    n_batches: int  # batches an epoch
    loss: str = "cross_entropy"
    check_steps: int = 20  # steps over which the loss curves must agree before anything is timed

    @property
    def flops(self):
        """Floating-point operations of the matrix products of one step; the first layer needs no dX."""
        pairs = list(zip(self.widths[:-1], self.widths[1:]))
        products = 3 * sum(i * o for i, o in pairs) - pairs[0][0] * pairs[0][1]
        return 2 * self.batch_size * products

    @property
    def description(self):
        widths = "-".join(map(str, self.widths))
        optimizer = {"sgd": "SGD", "adam": "Adam"}[self.optimizer]
        return f"{widths} {self.activation}, {self.loss}, {optimizer}, batch {self.batch_size}"


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("tiny_mlp", (4, 10, 3), "tanh", "sgd", 0.1, 16, 512),
        # A value-and-policy regression as reinforcement learning fits it after each roll-out: 8 observations,
        # 4 continuous targets, squared error on a linear head.
        Workload("rl_mlp", (8, 64, 64, 4), "tanh", "adam", 1e-3, 64, 512, loss="squared_error"),
        Workload("mnist_mlp32", (784, 128, 10), "relu", "adam", 1e-3, 32, 256),
        Workload("mnist_mlp128", (784, 512, 512, 10), "relu", "adam", 1e-3, 128, 32),
        # Six steps suffice there: each takes some 0.2 s, in float64 for the reference twice that.
        Workload("wide_mlp", (1024, 4096, 4096, 1000), "relu", "sgd", 0.01, 256, 16, check_steps=6),
    )
}

#: The network of the one-row ``predict`` row: a small policy net with two class probabilities.
PREDICT = Workload("predict_1_row", (4, 64, 64, 2), "tanh", "adam", 1e-3, 1, 1)


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


def make_problem(workload):
    """Return the arrays of ``workload``, float32 and int32 labels; targets of a fixed linear teacher plus noise."""
    rng = np.random.default_rng(20240229)
    n, n_in, n_out = workload.n_batches * workload.batch_size, workload.widths[0], workload.widths[-1]
    x = rng.standard_normal((n, n_in), dtype=np.float32)
    teacher = rng.standard_normal((n_in, n_out), dtype=np.float32) / np.float32(np.sqrt(n_in))
    y = x @ teacher + 0.1 * rng.standard_normal((n, n_out), dtype=np.float32)
    if workload.loss == "cross_entropy":
        y = y.argmax(axis=1).astype(np.int32)
        y[:n_out] = np.arange(min(n, n_out))  # every class occurs: scikit-learn refuses to go on with fewer
    parameters = []
    for fan_in, fan_out in zip(workload.widths[:-1], workload.widths[1:]):
        limit = np.sqrt(6.0 / (fan_in + fan_out))  # Glorot uniform
        parameters.append(rng.uniform(-limit, limit, (fan_in, fan_out)).astype(np.float32))
        parameters.append(np.zeros(fan_out, dtype=np.float32))
    return Problem(workload, x, y, parameters)
