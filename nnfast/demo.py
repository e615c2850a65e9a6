"""The demo: a small convolutional network learns real images, then races the same network in pure NumPy.

The race is over equal work: equal initial weights, equal batches in equal order, equal mathematics; the two loss curves
are compared, and the ratio is given only if they agree. Both run in this process, in turns, so that what else the
machine does hits both.
"""

import sys
import time
from dataclasses import dataclass

import numpy as np

import nnfast as nf

from . import numpy_network as rival
from .config import config


@dataclass(frozen=True)
class Task:
    """A data set and settings that suit it."""

    title: str
    filters: tuple[tuple[int, ...], ...]  # of 3x3 convolutions; a pooling ends each inner tuple
    hidden: int  # units of the dense layer before the last
    learning_rate: float  # at the start; it falls to 0 along a cosine
    epochs: int
    batch_size: int


TASKS = {
    "digits": Task("handwritten digits (UCI, 8x8 pixels)", ((32, 32), (64,)), 128, 2e-3, 20, 32),
    "fashion-mnist": Task("Fashion-MNIST (28x28 pixels)", ((16,), (32,)), 128, 2e-3, 5, 64),
}

# Batches that a round of the race has at most, and rounds.
RACE_BATCHES = 20
RACE_ROUNDS = 7

# Seconds before each turn, in which the threads of NumPy's BLAS stop waiting for more work at full speed.
BLAS_SPIN = 0.25

# Largest relative difference between the loss curves at which they count as equal: float32 sums in another order
# differ by 1e-7, and training multiplies that.
RACE_TOLERANCE = 0.02


def load(data, path=None):
    """(x_train, y_train), (x_test, y_test) of the data set called `data`."""
    if data == "digits":
        if path is not None:
            raise ValueError("--path goes with --data fashion-mnist; the digits come with nnfast")
        return nf.datasets.digits(flatten=False)
    return nf.datasets.fashion_mnist(path, flatten=False)


def build(task, input_shape, seed=0):
    """The network of the demo: blocks of convolutions and a pooling, a dense layer, softmax over 10 classes."""
    layers = []
    for block in task.filters:
        layers += [nf.Conv2D(filters, 3, padding="same", activation="relu") for filters in block]
        layers.append(nf.MaxPool2D(2))
    layers += [nf.Flatten(), nf.Dense(task.hidden, activation="relu"), nf.Dense(10, activation="softmax")]
    return nf.Sequential(layers, input_shape=input_shape, seed=seed)


def build_rival(task, input_shape, batch_size):
    """The same network in pure NumPy, with Adam at a constant rate."""
    layers = []
    for block in task.filters:
        layers += [rival.Conv2D(filters, 3, padding="same", activation="relu") for filters in block]
        layers.append(rival.MaxPool2D(2))
    layers += [rival.Dense(task.hidden, activation="relu"), rival.Dense(10)]
    return rival.Network(input_shape, layers, batch_size, learning_rate=task.learning_rate)


def describe(task, input_shape):
    """The layers in a line: 8x8x1 - 32 - 32 - pool - 64 - pool - 128 - 10."""
    blocks = [f"{' - '.join(map(str, block))} - pool" for block in task.filters]
    return " - ".join(["x".join(map(str, input_shape)), *blocks, str(task.hidden), "10"])


def train(task, model, x, y, epochs, batch_size, n_threads=None, verbose=1):
    """Compile and fit with Adam, its rate falling to 0 along a cosine."""
    rate = nf.schedules.Cosine(task.learning_rate, total_steps=epochs * -(-len(x) // batch_size))
    model.compile(optimizer=nf.Adam(rate), loss="cross_entropy", metrics=["accuracy"], n_threads=n_threads)
    model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=verbose)


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

    model = build(task, x.shape[1:], seed)
    c = config()
    # pip does not show what the build warns of.
    threads = f"up to {n_threads or c['threads']} thread(s)" if c["openmp"] else "one thread: built without OpenMP"
    print(f"nnfast {c['version']}, {c['selected']} kernels, {threads}")
    print(f"{task.title}: {len(x):,} images to learn from, {len(x_test):,} to test with")
    print(f"network {describe(task, x.shape[1:])}, 3x3 convolutions, relu, softmax\n"
          f"{model.count_params():,} parameters; Adam, batches of {batch_size}, {epochs} epochs")
    sys.stdout.flush()  # before the bar, which is on stderr

    start = time.perf_counter()
    train(task, model, x, y, epochs, batch_size, n_threads)
    seconds = time.perf_counter() - start
    accuracy = model.evaluate(x_test, y_test)["accuracy"]
    steps = epochs * -(-len(x) // batch_size)
    print(f"\ntest accuracy    {accuracy:.2%}   ({round(accuracy * len(y_test)):,} of {len(y_test):,}, after "
          f"{seconds:.2f} s and {steps:,} steps)")

    batch_size = min(batch_size, len(x))
    rows = min(len(x) // batch_size, RACE_BATCHES) * batch_size  # whole batches
    race = run_race(task, x[:rows], y[:rows], batch_size, seed, n_threads, compare)
    if not compare:
        print(f"time a step      {race.ours * 1e6:,.1f} us")
        return 0
    print(f"time a step      {race.ours * 1e6:,.1f} us nnfast, {race.numpy * 1e6:,.1f} us pure NumPy   (medians)")
    if not race.difference <= RACE_TOLERANCE:
        print(f"the loss curves of the two differ by {race.difference:.1%}: the times do not compare", file=sys.stderr)
        return 1
    print(f"nnfast is        {race.numpy / race.ours:.1f} times as fast as the same network in NumPy\n"
          f"                 (equal weights and batches; the loss curves differ by at most {race.difference:.1g})")
    return 0


@dataclass(frozen=True)
class Race:
    """Seconds a step, medians over the rounds, and the largest relative difference between the rounds' losses."""

    ours: float
    numpy: float
    difference: float


def run_race(task, x, y, batch_size, seed, n_threads, compare=True):
    """Train both on the same whole batches, in turns, each round from the same weights; or nnfast alone."""
    sides = [OurSide(task, x, y, batch_size, seed, n_threads)]
    if compare:
        sides.append(NumpySide(task, x, y, batch_size, sides[0].weights))
    times, losses = np.empty((2, RACE_ROUNDS, len(sides)))
    for i in range(RACE_ROUNDS):
        for j, side in enumerate(sides):
            side.reset()
            time.sleep(BLAS_SPIN)
            start = time.perf_counter()
            losses[i, j] = side.epoch()
            times[i, j] = time.perf_counter() - start
    medians = np.median(times, axis=0) / (len(x) // batch_size)
    differences = np.abs(losses[:, 0] / losses[:, -1] - 1)
    return Race(float(medians[0]), float(medians[-1]), float(differences.max()))


class OurSide:
    """`reset` goes back to the first weights, `epoch` trains once through the data and returns the mean loss."""

    def __init__(self, task, x, y, batch_size, seed, n_threads):
        self.data, self.batch_size = (x, y), batch_size
        self.model = build(task, x.shape[1:], seed)
        self.weights = self.model.get_weights()
        self.model.compile(optimizer=nf.Adam(task.learning_rate), loss="cross_entropy", n_threads=n_threads)
        self.optimizer_state = self.model.optimizer_state()

    def reset(self):
        self.model.set_weights(self.weights)
        self.model.set_optimizer_state(self.optimizer_state, iterations=0)

    def epoch(self):
        history = self.model.fit(*self.data, batch_size=self.batch_size, epochs=1, shuffle=False, verbose=0)
        return history.history["loss"][0]


class NumpySide:
    """The same, in pure NumPy."""

    def __init__(self, task, x, y, batch_size, weights):
        self.network, self.weights = build_rival(task, x.shape[1:], batch_size), weights
        self.batches = [self.network.prepare(x[i:i + batch_size], y[i:i + batch_size])
                        for i in range(0, len(x), batch_size)]

    def reset(self):
        self.network.load(self.weights)

    def epoch(self):
        return sum(self.network.step(*batch) for batch in self.batches) / len(self.batches)
