"""The demo: a multilayer perceptron learns real images, then races the same network in pure NumPy.

The race is over equal work: equal initial weights, equal batches in equal order, equal mathematics; the two loss curves
are compared, and the ratio is given only if they agree. Both run in this process, in turns, so that what else the
machine does hits both.
"""

import statistics
import sys
import time
from dataclasses import dataclass

import numpy as np

import nnfast as nf

from .config import config


@dataclass(frozen=True)
class Task:
    """A data set and settings that suit it."""

    title: str
    hidden: int
    learning_rate: float
    epochs: int
    batch_size: int


TASKS = {
    "digits": Task("handwritten digits (UCI, 8x8 pixels)", 256, 4e-3, 30, 32),
    "fashion-mnist": Task("Fashion-MNIST (28x28 pixels)", 256, 1e-3, 5, 128),
}

# Batches that a round of the race has at most, and rounds.
RACE_BATCHES = 50
RACE_ROUNDS = 15

# Largest relative difference between the loss curves at which they count as equal: float32 sums in another order
# differ by 1e-7, and training multiplies that.
RACE_TOLERANCE = 0.02


def load(data, path=None):
    """(x_train, y_train), (x_test, y_test) of the data set called `data`."""
    if data == "digits":
        if path is not None:
            raise ValueError("--path goes with --data fashion-mnist; the digits come with nnfast")
        return nf.datasets.digits()
    return nf.datasets.fashion_mnist(path)


def build(task, n_inputs, seed=0, n_threads=None, metrics=("accuracy",)):
    """The network of the demo, compiled: one hidden layer, softmax over 10 classes."""
    model = nf.Sequential([
        nf.Dense(task.hidden, activation="relu"),
        nf.Dense(10, activation="softmax"),
    ], input_shape=(n_inputs,), seed=seed)
    model.compile(
        optimizer=nf.Adam(task.learning_rate), loss="cross_entropy", metrics=list(metrics), n_threads=n_threads
    )
    return model


def run(data="digits", path=None, epochs=None, batch_size=None, seed=0, n_threads=None, compare=True):
    """Train, evaluate and race; prints what it finds.

    Parameters
    ----------
    data : "digits" or "fashion-mnist"
    path : folder of the Fashion-MNIST files, see `nnfast.datasets.fashion_mnist`
    epochs, batch_size : int, optional
        By default what suits the data.
    seed : int
        Keys the initial weights and the order of the samples.
    n_threads : int, optional
    compare : bool
        Whether to race NumPy.

    Returns
    -------
    int
        0, or 1 if the loss curves of the race disagree.
    """
    task = TASKS[data]
    epochs = task.epochs if epochs is None else epochs
    batch_size = task.batch_size if batch_size is None else batch_size
    (x, y), (x_test, y_test) = load(data, path)

    model = build(task, x.shape[1], seed, n_threads)
    c = config()
    print(f"nnfast {c['version']}, {c['selected']} kernels, up to {n_threads or c['threads']} thread(s)")
    print(f"{task.title}: {len(x):,} images to learn from, {len(x_test):,} to test with")
    print(f"network {x.shape[1]}-{task.hidden}-10, relu, softmax; {model.count_params():,} parameters; "
          f"Adam, batches of {batch_size}, {epochs} epochs")
    sys.stdout.flush()  # before the bar, which is on stderr

    start = time.perf_counter()
    model.fit(x, y, batch_size=batch_size, epochs=epochs)
    seconds = time.perf_counter() - start
    accuracy = model.evaluate(x_test, y_test)["accuracy"]
    steps = epochs * -(-len(x) // batch_size)
    print(f"\ntest accuracy    {accuracy:.2%}   ({round(accuracy * len(y_test)):,} of {len(y_test):,}, after "
          f"{seconds:.2f} s and {steps:,} steps)")

    rows = min(len(x), RACE_BATCHES * batch_size)
    if not compare:
        ours = race_round(model, x[:rows], y[:rows], batch_size)
        print(f"time a step      {statistics.median(ours() for _ in range(RACE_ROUNDS)) * 1e6:,.1f} us")
        return 0
    race = run_race(task, x[:rows], y[:rows], batch_size, seed, n_threads)
    print(f"time a step      {race.ours * 1e6:,.1f} us nnfast, {race.numpy * 1e6:,.1f} us pure NumPy   (medians)")
    if not race.difference <= RACE_TOLERANCE:
        print(f"the loss curves of the two differ by {race.difference:.1%}: the times do not compare", file=sys.stderr)
        return 1
    print(f"nnfast is        {race.numpy / race.ours:.1f} times as fast as the same network in NumPy\n"
          f"                 (equal weights and batches; the loss curves differ by at most {race.difference:.1g})")
    return 0


@dataclass(frozen=True)
class Race:
    ours: float  # seconds a step, median over the rounds
    numpy: float
    difference: float  # largest relative difference between the losses of the rounds


def run_race(task, x, y, batch_size, seed, n_threads):
    model = build(task, x.shape[1], seed, n_threads, metrics=())
    rival = NumpyMLP(model.get_weights(), task.learning_rate, batch_size)
    sides = race_round(model, x, y, batch_size), race_round(rival, x, y, batch_size)
    times = [[side() for side in sides] for _ in range(RACE_ROUNDS)]
    ours, numpy = (statistics.median(column) for column in zip(*times, strict=True))
    losses, rival_losses = (np.array(side.losses) for side in sides)
    return Race(ours, numpy, float(np.max(np.abs(losses - rival_losses) / rival_losses)))


class race_round:
    """Calling it trains one epoch, in the order of the data, and returns seconds a step; `losses` collects."""

    def __init__(self, model, x, y, batch_size):
        self.model, self.data, self.batch_size = model, (x, y), batch_size
        self.steps = -(-len(x) // batch_size)
        self.losses = []

    def __call__(self):
        start = time.perf_counter()
        history = self.model.fit(*self.data, batch_size=self.batch_size, epochs=1, shuffle=False, verbose=0)
        seconds = time.perf_counter() - start
        self.losses.append(history.history["loss"][-1])
        return seconds / self.steps


class NumpyMLP:
    """Relu layers, softmax and cross entropy, trained by Adam, written for speed in NumPy.

    Everything is in place: activations, gradients and optimizer state are allocated once. Parameters and gradients
    are views into one flat array each, so that Adam is a dozen calls in all. The gradient with respect to the data is
    not computed.
    """

    beta1, beta2, eps = 0.9, 0.999, 1e-8

    def __init__(self, weights, learning_rate, batch_size):
        self.learning_rate = learning_rate
        self.flat = np.concatenate([w.ravel() for w in weights])
        self.flat_gradient, self.m, self.v, self.flat_scratch = (np.zeros_like(self.flat) for _ in range(4))
        self.t = 0
        ends = np.cumsum([w.size for w in weights])[:-1]
        views = [
            [part.reshape(w.shape) for part, w in zip(np.split(flat, ends), weights, strict=True)]
            for flat in (self.flat, self.flat_gradient)
        ]
        self.kernels, self.biases = views[0][0::2], views[0][1::2]
        self.kernel_gradients, self.bias_gradients = views[1][0::2], views[1][1::2]
        widths = [w.shape[1] for w in self.kernels]
        # By rows in the batch: activations, their gradient and the mask of relu for each layer.
        self.buffers = {}
        dtypes = self.flat.dtype, self.flat.dtype, bool
        self.capacity = [tuple(np.empty((batch_size, width), d) for d in dtypes) for width in widths]
        self.rows = np.arange(batch_size)
        self.ones = np.ones(batch_size, self.flat.dtype)

    def fit(self, x, y, batch_size, epochs, shuffle, verbose):
        """Train as `Model.fit` does with ``shuffle=False, verbose=0``."""
        if shuffle or verbose:
            raise ValueError("NumpyMLP takes the samples in their order and prints nothing")
        history = nf.History()
        for epoch in range(epochs):
            total = 0.0
            for start in range(0, len(x), batch_size):
                batch = x[start:start + batch_size], y[start:start + batch_size]
                total += self.step(*batch) * len(batch[0])
            history.on_epoch_end(epoch, {"loss": total / len(x)})
        return history

    def step(self, x, y):
        """One step; returns the mean loss of the batch."""
        loss = self.gradient(x, y)
        self.update()
        return loss

    def gradient(self, x, y):
        n = len(x)
        if n not in self.buffers:  # the last batch of an epoch is smaller
            self.buffers[n] = [tuple(part[:n] for part in buffer) for buffer in self.capacity]
        layers, rows, ones = self.buffers[n], self.rows[:n], self.ones[:n]

        inp = x
        for (out, _, _), w, b in zip(layers, self.kernels, self.biases, strict=True):
            np.dot(inp, w, out=out)
            out += b
            if w is not self.kernels[-1]:
                np.maximum(out, 0, out=out)
            inp = out

        # softmax, cross entropy and (p - onehot) / n, in the output's place
        out -= out.max(axis=1, keepdims=True)
        picked = out[rows, y]
        np.exp(out, out=out)
        sums = out.sum(axis=1, keepdims=True)
        loss = float(np.log(sums).mean() - picked.mean())
        sums *= n
        np.divide(out, sums, out=out)
        out[rows, y] -= self.flat.dtype.type(1 / n)

        dout = out
        for i in range(len(layers) - 1, -1, -1):
            inp = layers[i - 1][0] if i else x
            np.dot(inp.T, dout, out=self.kernel_gradients[i])
            np.dot(ones, dout, out=self.bias_gradients[i])
            if i:
                _, dinp, mask = layers[i - 1]
                np.dot(dout, self.kernels[i].T, out=dinp)
                np.greater(inp, 0, out=mask)
                dinp *= mask
                dout = dinp
        return loss

    def update(self):
        self.t += 1
        g, m, v, scratch = self.flat_gradient, self.m, self.v, self.flat_scratch
        # v += (1 - beta2) (g^2 - v); m += (1 - beta1) (g - m)
        np.multiply(g, g, out=scratch)
        scratch -= v
        scratch *= 1 - self.beta2
        v += scratch
        g -= m
        g *= 1 - self.beta1
        m += g
        # w -= lr / correction1 * m / (sqrt(v / correction2) + eps), with the corrections taken out of the arrays
        root = (1 - self.beta2**self.t) ** 0.5
        np.sqrt(v, out=scratch)
        scratch += self.eps * root
        np.divide(m, scratch, out=scratch)
        scratch *= self.learning_rate * root / (1 - self.beta1**self.t)
        self.flat -= scratch
