"""nnfast through its public interface: ``fit`` with shuffling, as a user would call it."""

import contextlib
import io
import math

import nnfast as nf

from . import workloads
from .architectures import rows

VARIANTS = {"mlp": {"": "nnfast"}, "cnn": {"": "nnfast"}}


def versions():
    return f"nnfast {nf.__version__}"


def configuration():
    """What ``nnfast.show_config()`` prints: ISA level, OpenMP, threads."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        nf.show_config()
    return text.getvalue().strip()


def layer(description, activation):
    if isinstance(description, workloads.Conv):
        filters, size, padding, _ = description
        return nf.Conv2D(filters, size, padding=padding, activation=activation)
    if isinstance(description, workloads.Pool):
        return {"max": nf.MaxPool2D, "avg": nf.AvgPool2D}[description.kind](description.size)
    if isinstance(description, workloads.Dropout):
        return nf.Dropout(description.rate)
    return nf.Dense(description.units, activation=activation)


def build(problem, seed=0):
    """The model with the problem's weights, not compiled."""
    workload = problem.workload
    last = "softmax" if workload.loss == "cross_entropy" else "linear"
    layers = []
    for description, shape in zip(workload.layers, workload.shapes):
        if isinstance(description, workloads.Dense) and len(shape) > 1:
            layers.append(nf.Flatten())
        activation = last if description is workload.layers[-1] else getattr(description, "activation", None)
        layers.append(layer(description, activation))
    model = nf.Sequential(layers, input_shape=workload.input_shape, seed=seed)
    model.set_weights(problem.parameters)
    return model


def compiled(problem, model=None):
    """Compile (which starts a new optimizer state) and load the problem's weights.

    As users have it and the peers do, the library decides how many of the process's threads (OMP_NUM_THREADS) a network
    is worth.
    """
    model = model or build(problem)
    start(model, problem.workload, problem.parameters)
    return model


def start(model, workload, weights):
    """Training begins anew: a new optimizer, these weights."""
    optimizer = {"sgd": nf.SGD, "adam": nf.Adam}[workload.optimizer](workload.learning_rate)
    model.compile(optimizer=optimizer, loss=workload.loss)
    model.set_weights(weights)


class Trainer:
    def __init__(self, problem, variant, n_threads, choice="fit, shuffled"):
        self.problem, self.choice = problem, choice
        self.model = build(problem)

    def reset(self):
        compiled(self.problem, self.model)

    def losses(self, n_steps):
        """The curve of ``train_on_batch``; a ``fit`` over the same batches must arrive at the same mean loss."""
        losses = [self.model.train_on_batch(x, y)["loss"] for x, y in self.problem.batches()[:n_steps]]
        self.reset()
        n_samples = n_steps * self.problem.workload.batch_size
        history = self.fit(rows(self.problem.x, 0, n_samples), self.problem.y[:n_samples], 1, shuffle=False)
        mean, fitted = math.fsum(losses) / n_steps, history.history["loss"][0]
        if not math.isclose(mean, fitted, rel_tol=1e-5):
            raise AssertionError(f"fit's mean loss is {fitted}, train_on_batch's {mean}")
        return losses

    def fit(self, x, y, epochs, shuffle=True):
        batch_size = self.problem.workload.batch_size
        return self.model.fit(x, y, batch_size=batch_size, epochs=epochs, shuffle=shuffle, verbose=0)

    def epochs(self, count):
        self.fit(self.problem.x, self.problem.y, count)


def predict(problem, n_threads):
    model, x = compiled(problem), problem.x[:1]
    return lambda: model.predict(x)


def train_on_batch(problem, n_threads):
    model, (x, y) = compiled(problem), problem.batches()[0]
    return lambda: model.train_on_batch(x, y)


def fit_one_batch(problem, n_threads):
    """A call of ``fit`` with one step in it: its time less a step is what a call costs."""
    trainer, (x, y) = Trainer(problem, "", n_threads), problem.batches()[0]
    trainer.reset()
    return lambda: trainer.fit(x, y, 1)


def fit_short_epochs(problem, n_threads):
    """A call of ``fit`` with 1000 epochs of one step."""
    trainer, (x, y) = Trainer(problem, "", n_threads), problem.batches()[0]
    trainer.reset()
    return lambda: trainer.fit(x, y, 1000)


def gemm(a, b, out, n_threads):
    return lambda: nf.functional.dense(a, b, out=out, n_threads=n_threads)
