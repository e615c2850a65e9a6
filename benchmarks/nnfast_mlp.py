"""nnfast through its public interface: ``fit`` with shuffling, as a user would call it."""

import contextlib
import io
import math

import nnfast as nf

VARIANTS = {"": "nnfast"}


def versions():
    return f"nnfast {nf.__version__}"


def configuration():
    """What ``nnfast.show_config()`` prints: ISA level, OpenMP, threads."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        nf.show_config()
    return text.getvalue().strip()


def build(problem, n_threads):
    workload = problem.workload
    layers = [nf.Dense(width, activation=workload.activation) for width in workload.widths[1:-1]]
    last = "softmax" if workload.loss == "cross_entropy" else "linear"
    layers.append(nf.Dense(workload.widths[-1], activation=last))
    model = nf.Sequential(layers, input_shape=(workload.widths[0],), seed=0)
    compile_model(model, problem, n_threads)
    return model


def compile_model(model, problem, n_threads):
    """Compile (which starts a new optimizer state) and load the problem's weights."""
    workload = problem.workload
    optimizer = {"sgd": nf.SGD, "adam": nf.Adam}[workload.optimizer](workload.learning_rate)
    model.compile(optimizer=optimizer, loss=workload.loss, n_threads=n_threads)
    model.set_weights(problem.parameters)


class Trainer:
    choice = "fit, shuffled"

    def __init__(self, problem, variant, n_threads):
        self.problem, self.n_threads = problem, n_threads
        self.model = build(problem, n_threads)

    def reset(self):
        compile_model(self.model, self.problem, self.n_threads)

    def losses(self, n_steps):
        """The curve of ``train_on_batch``; a ``fit`` over the same batches must arrive at the same mean loss."""
        losses = [self.model.train_on_batch(x, y)["loss"] for x, y in self.problem.batches()[:n_steps]]
        self.reset()
        n_samples = n_steps * self.problem.workload.batch_size
        history = self.fit(self.problem.x[:n_samples], self.problem.y[:n_samples], 1, shuffle=False)
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
    model, x = build(problem, n_threads), problem.x[:1]
    return lambda: model.predict(x)


def train_on_batch(problem, n_threads):
    model, (x, y) = build(problem, n_threads), problem.batches()[0]
    return lambda: model.train_on_batch(x, y)


def fit_one_batch(problem, n_threads):
    """A call of ``fit`` with one step in it: its time less a step is what a call costs."""
    trainer, (x, y) = Trainer(problem, "", n_threads), problem.batches()[0]
    return lambda: trainer.fit(x, y, 1)


def fit_short_epochs(problem, n_threads):
    """A call of ``fit`` with 1000 epochs of one step."""
    trainer, (x, y) = Trainer(problem, "", n_threads), problem.batches()[0]
    return lambda: trainer.fit(x, y, 1000)


def gemm(a, b, out, n_threads):
    return lambda: nf.functional.dense(a, b, out=out, n_threads=n_threads)
