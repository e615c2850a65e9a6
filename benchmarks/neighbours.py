"""``python -m benchmarks.neighbours``: what threads are worth beside others who want the cores.

A training step of three networks, with one thread, with all of them kept, and with their number left open, as it is
unless ``compile(n_threads=)`` says otherwise: on a machine that is otherwise idle, beside a process that keeps one core
busy, and right after a product of NumPy, whose threads go on spinning for a while. All take turns; medians over the
rounds.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import time

import numpy as np

import nnfast as nf

from . import nnfast_net
from .report import positive
from .workloads import CNN, MLP, make_problem

NETWORKS = ("rl_mlp", "mnist_mlp32", "lenet5")
STRETCH = 0.03      # seconds of training at a time: shorter than NumPy's threads spin


@contextlib.contextmanager
def idle():
    yield lambda: None


@contextlib.contextmanager
def busy_process():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"], stderr=subprocess.DEVNULL) as child:
        try:
            yield lambda: None
        finally:
            child.kill()


@contextlib.contextmanager
def after_numpy():
    a = np.random.default_rng(0).standard_normal((600, 600))
    yield lambda: a @ a


NEIGHBOURS = {"idle": idle, "busy process": busy_process, "after NumPy": after_numpy}


def trained(name, n_threads):
    """A function that trains for about STRETCH and returns the seconds of a step."""
    workload = {**MLP, **CNN}[name]
    problem = make_problem(name, n_batches=workload.quick_batches)
    model = nnfast_net.build(problem)
    optimizer = {"sgd": nf.SGD, "adam": nf.Adam}[workload.optimizer](workload.learning_rate)
    model.compile(optimizer, workload.loss, n_threads=n_threads)

    def train(epochs):
        begun = time.perf_counter()
        model.fit(problem.x, problem.y, batch_size=workload.batch_size, epochs=epochs, verbose=0)
        return (time.perf_counter() - begun) / (epochs * workload.quick_batches)

    train(1)
    epochs = max(1, round(STRETCH / (train(1) * workload.quick_batches)))
    return lambda: train(epochs)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=20, help="(default: 20)")
    rounds = parser.parse_args(arguments).rounds
    kept = {"one": 1, "all": nf.config.config()["threads"], "open": None}
    print(f"microseconds a step, medians of {rounds} rounds; {kept['all']} threads")
    print(f"{'':14}{'':14}" + "".join(f"{name:>10}" for name in kept))
    for neighbour, presence in NEIGHBOURS.items():
        for network in NETWORKS:
            runs = {name: trained(network, n_threads) for name, n_threads in kept.items()}
            seconds = {name: [] for name in runs}
            with presence() as disturb:
                for _ in range(rounds):
                    for name, run in runs.items():
                        disturb()
                        seconds[name].append(run())
            medians = "".join(f"{statistics.median(values) * 1e6:10.1f}" for values in seconds.values())
            print(f"{neighbour:14}{network:14}{medians}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\ninterrupted")
        sys.exit(130)
