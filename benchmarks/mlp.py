"""``python -m benchmarks mlp``: MLP training steps, matrix products and single calls.

For each thread count: start the competitors, verify that their loss curves agree with float64 NumPy's, then time them
in interleaved rounds, one process at a time. The minimum and the median over the rounds are kept.
"""

import math

import numpy as np

from .report import best, microseconds, ratio
from .training import Training
from .workloads import PREDICT

# Accumulating K float32 products of unit variance is off by far less than sqrt(K) times this.
GEMM_TOLERANCE = 1e-4
GEMM_SHAPES = ((1024, 1024, 1024), (256, 4096, 4096), (128, 512, 784))  # M, N, K


class Benchmark(Training):
    """The suite."""

    name = "mlp"
    libraries = ("nnfast", "numpy", "torch", "jax", "sklearn")

    def measure(self):
        for name in self.options.workloads:
            self.train(name)
        for shape in GEMM_SHAPES:
            self.gemm(shape)
        self.calls()

    def gemm(self, shape):
        item = "x".join(map(str, shape))
        turns = []
        for competitor in self.competitors:
            if "gemm" not in competitor.tables:
                continue
            entry = self.entry("gemm", item, competitor, "", competitor.name, 2.0 * math.prod(shape))
            answer = self.attempt(entry, competitor, "prepare_gemm", shape=shape, seconds=self.seconds)
            if answer is None:
                continue
            if not answer["error_over_sqrt_k"] < GEMM_TOLERANCE:
                entry.problem = f"DISAGREE: error / sqrt(K) is {answer['error_over_sqrt_k']:.1e}"
            else:
                turns.append((entry, competitor))
        self.rounds(turns)
        self.report.block(f"matrix product M x N x K = {item}", self.of("gemm", item))

    def calls(self):
        """Single calls from Python. The peers of ``train_on_batch`` are their loops in the training table.

        scikit-learn has no part in ``predict``: with two classes it builds another network (one logistic output).
        """
        predict = [competitor for competitor in self.competitors if "predict" in competitor.tables]
        self.call("predict 1 row 4-64-64-2", predict, "predict", PREDICT.name)
        ours = [competitor for competitor in self.competitors if competitor.name == "nnfast"]
        for name in ("tiny_mlp", "rl_mlp"):
            if name in self.options.workloads:
                self.call(f"train_on_batch {name}", ours, "train_on_batch", name)
        if "tiny_mlp" in self.options.workloads:
            self.call("fit of 1 epoch of 1 step tiny_mlp", ours, "fit_one_batch", "tiny_mlp")
            self.call("fit of 1000 epochs of 1 step tiny_mlp", ours, "fit_short_epochs", "tiny_mlp")

    def call(self, item, competitors, function, workload):
        """Time a function; what several have, which is ``predict``, must give NumPy's result."""
        turns, results = [], {}
        for competitor in competitors:
            entry = self.entry("call", item, competitor, "", competitor.name)
            answer = self.attempt(
                entry, competitor, "prepare_function", function=function, workload=workload, seconds=self.seconds
            )
            if answer is not None:
                turns.append((entry, competitor))
                results[competitor.name] = answer["result"]
        expected = results.get("numpy")
        for entry, _ in turns:
            result = results[entry.competitor]
            if expected is None:
                continue
            if len(result) != len(expected) or not np.allclose(result, expected, 1e-5, 1e-6):
                entry.problem = f"DISAGREE: {result}, NumPy's is {expected}"
        self.rounds(turns)
        self.report.block(item, self.of("call", item))

    def summary(self):
        self.report.peak(self.n_threads)
        self.training_table()
        self.products_table()
        self.calls_table()

    def products_table(self):
        entries = [entry for entry in self.entries if entry.table == "gemm"]
        competitors = list(dict.fromkeys(entry.competitor for entry in entries))
        rows = [["M x N x K", *(f"{name} GFLOP/s, peak" for name in competitors), "x numpy"]]
        for item in dict.fromkeys(entry.item for entry in entries):
            found = {entry.competitor: entry for entry in entries if entry.item == item and entry.valid}
            timed = map(found.get, competitors)
            cells = [f"{self.report.rate(entry)}, {self.report.percent(entry)}" if entry else "-" for entry in timed]
            rows.append([item, *cells, ratio(found.get("numpy"), found.get("nnfast"))])
        self.report.table(rows)

    def calls_table(self):
        calls = [entry for entry in self.entries if entry.table == "call"]
        rows = [["call", "nnfast us", "fastest peer us", "", "ratio"]]
        for item in dict.fromkeys(entry.item for entry in calls if not entry.item.startswith("fit ")):
            ours = best(calls, item, "nnfast")
            if item.startswith("train_on_batch"):  # against the peers' bare loops over prepared batches
                peer = best(self.entries, item.split()[-1], "step")
            else:
                others = [entry for entry in calls if entry.item == item and entry.competitor != "nnfast"]
                peer = min((e for e in others if e.valid), key=lambda entry: entry.minimum, default=None)
            rows.append([item, microseconds(ours), microseconds(peer), peer.label if peer else "", ratio(peer, ours)])
        self.report.table(rows + fit_overheads(self.entries))


def fit_overheads(entries):
    """What a call of ``fit`` and an epoch cost besides their steps (tiny_mlp)."""
    step = best(entries, "tiny_mlp", "nnfast")
    one = best(entries, "fit of 1 epoch of 1 step tiny_mlp", "nnfast")
    many = best(entries, "fit of 1000 epochs of 1 step tiny_mlp", "nnfast")
    if not (step and one and many):
        return []
    epoch = (many.minimum - one.minimum) / 999 - step.minimum
    call = one.minimum - step.minimum - epoch
    return [
        ["fit: a call, besides epochs and steps", f"{1e6 * call:.2f}", "", "", ""],
        ["fit: an epoch, besides its steps", f"{1e6 * epoch:.2f}", "", "", ""],
    ]
