"""The process of one competitor: reads requests (JSON lines) from stdin, answers on stdout.

The parent sets the environment; this module limits the cores before the competitor's libraries are imported, because
they size their thread pools then. Requests: ``prepare`` (build and check something to time), ``time``, ``drop``.
"""

import gc
import importlib
import json
import os
import sys
import traceback

from .timing import repeated, repeats_for, timed


def main():
    name, n_threads = sys.argv[1], int(sys.argv[2])
    # Answers go out on a copy of stdout; what libraries print goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_threads])

    def answer(message):
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        competitor = importlib.import_module(f"benchmarks.{name}_mlp")
    except ImportError as error:
        answer({"missing": str(error)})
        return
    tasks = Tasks(competitor, n_threads)
    answer(guarded(describe, competitor))
    for line in sys.stdin:
        request = json.loads(line)
        answer(guarded(getattr(tasks, request.pop("call")), **request))


def guarded(function, /, *arguments, **named):
    """The answer, or the exception as an answer: one failed request leaves the others to go on."""
    try:
        return function(*arguments, **named)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


def describe(competitor):
    tables = [table for table in ("train", "gemm", "predict") if table == "train" or hasattr(competitor, table)]
    return {
        "version": competitor.versions(),
        "configuration": competitor.configuration() if hasattr(competitor, "configuration") else "",
        "variants": competitor.VARIANTS,
        "tables": tables,
    }


class Tasks:
    """The requests; each prepares ``self.run(count)`` and an untimed ``self.reset()``."""

    def __init__(self, competitor, n_threads):
        self.competitor, self.n_threads = competitor, n_threads
        self.prepared = {}

    def reference(self, workload):
        problem = make_problem(workload)
        return {"losses": self.competitor.reference_losses(problem, problem.workload.check_steps)}

    def prepare_train(self, workload, variant, seconds):
        problem = make_problem(workload)
        trainer = self.competitor.Trainer(problem, variant, self.n_threads)
        trainer.reset()
        losses = trainer.losses(problem.workload.check_steps)
        trainer.reset()
        count = repeats_for(trainer.epochs, seconds)
        self.prepared[variant] = (trainer.reset, trainer.epochs, count, problem.workload.n_batches)
        return {"losses": losses, "choice": trainer.choice}

    def prepare_gemm(self, shape, seconds):
        import numpy as np

        M, N, K = shape
        rng = np.random.default_rng(0)
        a, b = (rng.standard_normal(s, dtype=np.float32) for s in ((M, K), (K, N)))
        out = np.empty((M, N), np.float32)
        call = self.competitor.gemm(a, b, out, self.n_threads)
        call()
        rows = np.linspace(0, M - 1, 8).astype(int)  # a few rows in float64 tell a wrong product
        expected = a[rows].astype(np.float64) @ b
        error = float(np.abs(out[rows] - expected).max() / np.sqrt(K))
        self.prepare_call(call, seconds)
        return {"error_over_sqrt_k": error}

    def prepare_function(self, function, workload, seconds):
        call = getattr(self.competitor, function)(make_problem(workload), self.n_threads)
        self.prepare_call(call, seconds)
        return {}

    def prepare_call(self, call, seconds):
        run = repeated(call)
        self.prepared[""] = (lambda: None, run, repeats_for(run, seconds), 1)

    def time(self, variant):
        reset, run, count, units = self.prepared[variant]
        reset()
        return {"seconds": timed(run, count) / (count * units)}

    def drop(self):
        self.prepared.clear()
        gc.collect()
        return {}


def make_problem(fields):
    from . import workloads

    return workloads.make_problem(workloads.Workload(**{**fields, "widths": tuple(fields["widths"])}))


if __name__ == "__main__":
    main()
