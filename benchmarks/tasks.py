"""What a competitor's process is asked to do: check and prepare something to time, time it, measure memory, train."""

import gc

import numpy as np

from . import architectures, ops, workloads
from .memory import peak_kib, reset_peak
from .timing import repeated, repeats_for, timed


def make_problem(name, **changes):
    """A workload's, or an architecture's."""
    module = architectures if name in architectures.MODELS else workloads
    return module.make_problem(name, **changes)


class Tasks:
    """The requests; those that prepare leave (untimed reset(), run(count), count, units a count) in ``prepared``."""

    def __init__(self, competitor, n_threads):
        self.competitor, self.n_threads = competitor, n_threads
        self.prepared = {}

    def reference(self, workload, n_batches):
        problem = make_problem(workload, n_batches=n_batches)
        return {"losses": self.competitor.reference_losses(problem, problem.workload.check_steps)}

    def prepare_train(self, workload, n_batches, variant, seconds):
        problem = make_problem(workload, n_batches=n_batches)
        trainer = self.competitor.Trainer(problem, variant, self.n_threads)
        trainer.reset()
        losses = trainer.losses(problem.workload.check_steps)
        trainer.reset()
        count = repeats_for(trainer.epochs, seconds)
        self.prepared[variant] = (trainer.reset, trainer.epochs, count, n_batches)
        return {"losses": losses, "choice": trainer.choice}

    def memory(self, workload, variant, choice):
        """Train for two steps in this fresh process; KiB resident before, and at most.

        A step of a tiny network comes first: the code of the libraries is resident then. Nothing is compiled before
        training starts: what compiling needs counts.
        """
        self.train_briefly("lenet5", variant, choice, n_batches=1, batch_size=1)
        gc.collect()
        return self.train_briefly(workload, variant, choice, n_batches=2)

    def train_briefly(self, workload, variant, choice, **changes):
        problem = workloads.make_problem(workload, **changes)
        trainer = self.competitor.Trainer(problem, variant, self.n_threads, choice)
        reset_peak()
        built = peak_kib()
        trainer.reset()
        trainer.epochs(1)
        return {"built": built, "peak": peak_kib()} if built else {}

    def prepare_gemm(self, shape, seconds):
        M, N, K = shape
        rng = np.random.default_rng(0)
        a, b = (rng.standard_normal(s, dtype=np.float32) for s in ((M, K), (K, N)))
        out = np.empty((M, N), np.float32)
        call = self.competitor.gemm(a, b, out, self.n_threads)
        call()
        rows = np.linspace(0, M - 1, 8).astype(int)  # a few rows in float64 tell a wrong product
        expected = a[rows].astype(np.float64) @ b
        error = float(np.abs(out[rows] - expected).max() / np.sqrt(K))
        self.prepare_call("", call, seconds)
        return {"error_over_sqrt_k": error}

    def prepare_function(self, function, workload, seconds):
        call = getattr(self.competitor, function)(workloads.make_problem(workload), self.n_threads)
        result = np.asarray(call()).ravel().tolist() if function == "predict" else None
        self.prepare_call("", call, seconds)
        return {"result": result}

    def prepare_op(self, case, direction, variant, seconds):
        """Prepare one operation and say how far it is off; None if the library lacks it in this variant.

        The competitor makes ``call()`` and a function that turns what it returns into arrays of nnfast's layout.
        """
        case = ops.CASES[case]
        arrays = ops.arrays_of(case)
        made = getattr(self.competitor, case.kind)(case, direction, arrays, variant, self.n_threads)
        if made is None:
            return {"difference": None}
        call, as_nnfast = made
        difference = case.difference(direction, arrays, as_nnfast(call()))
        self.prepare_call(variant, call, seconds)
        return {"difference": difference}

    def accuracy(self, path, seed, epochs):
        return self.competitor.accuracy(path, seed, epochs, self.n_threads)

    def prepare_fit(self, fit, seconds):
        from . import fits  # imports scikit-learn

        self.prepare_call("", self.competitor.fit(fit, self.n_threads), seconds)
        return {"description": fits.TIMED[fit].description}

    def scores(self, data, seeds):
        return {"scores": [self.competitor.scored(data, seed) for seed in range(seeds)]}

    def prepare_call(self, variant, call, seconds):
        run = repeated(call)
        self.prepared[variant] = (lambda: None, run, repeats_for(run, seconds), 1)

    def time(self, variant):
        reset, run, count, units = self.prepared[variant]
        reset()
        return {"seconds": timed(run, count) / (count * units)}

    def drop(self):
        self.prepared.clear()
        workloads.make_problem.cache_clear()
        architectures.make_problem.cache_clear()
        gc.collect()
        return {}
