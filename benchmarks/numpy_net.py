"""Pure NumPy, written as an expert would (``nnfast/numpy_network.py``): the baseline that is always there.

Batches are contiguous slices, not shuffled. The float64 variant is the reference for everybody's loss curve.
"""

import numpy as np

from nnfast import numpy_network as net

from . import workloads

VARIANTS = {"mlp": {"": "numpy"}, "cnn": {"": "numpy"}}


def versions():
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"numpy {np.__version__} ({blas['name']} {blas['version']})"


def layer(description):
    if isinstance(description, workloads.Conv):
        return net.Conv2D(*description)
    if isinstance(description, workloads.Pool):
        return {"max": net.MaxPool2D, "avg": net.AvgPool2D}[description.kind](description.size)
    return net.Dense(*description)


def build(problem, dtype=np.float32):
    workload = problem.workload
    layers = [layer(description) for description in workload.layers]
    network = net.Network(
        workload.input_shape, layers, workload.batch_size,
        workload.loss, workload.optimizer, workload.learning_rate, dtype,
    )
    network.load(problem.parameters)
    return network


class Trainer:
    def __init__(self, problem, variant, n_threads, choice="", dtype=np.float32):
        self.choice = choice
        self.parameters = problem.parameters
        self.network = build(problem, dtype)
        self.batches = [self.network.prepare(x, y) for x, y in problem.batches()]

    def reset(self):
        self.network.load(self.parameters)

    def losses(self, n_steps):
        return [float(self.network.step(x, y)) for x, y in self.batches[:n_steps]]

    def epochs(self, count):
        step = self.network.step
        for _ in range(count):
            total = 0.0
            for x, y in self.batches:
                total += step(x, y)


def reference_losses(problem, n_steps):
    """The loss curve in float64."""
    return Trainer(problem, "", 1, dtype=np.float64).losses(n_steps)


def predict(problem, n_threads):
    """A call that predicts one row, softmax probabilities included."""
    network, x = build(problem), problem.x[:1]

    def call():
        z = network.forward(x)
        np.exp(z - z.max(), out=z)
        return z / z.sum()

    return call


def gemm(a, b, out, n_threads):
    return lambda: np.matmul(a, b, out=out)
