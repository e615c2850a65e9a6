"""nnfast in the accuracy table: one ``fit``."""

import time

import nnfast as nf

from .nnfast_net import build, configuration, versions
from .workloads import fashion_problem

__all__ = ["VARIANTS", "accuracy", "configuration", "versions"]

VARIANTS = {"accuracy": {"": "nnfast"}}


def accuracy(path, seed, epochs, n_threads):
    problem, x_test, y_test = fashion_problem(path, seed)
    workload = problem.workload
    steps = epochs * -(-len(problem.x) // workload.batch_size)
    model = build(problem, seed)
    rate = nf.schedules.Cosine(workload.learning_rate, steps)
    model.compile(optimizer=nf.Adam(rate), loss=workload.loss, metrics=["accuracy"], n_threads=n_threads)
    start = time.perf_counter()
    model.fit(problem.x, problem.y, batch_size=workload.batch_size, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - start
    return {"accuracy": model.evaluate(x_test, y_test)["accuracy"], "seconds": seconds}
