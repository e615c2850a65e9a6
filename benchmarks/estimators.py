"""``python -m benchmarks estimators``: nnfast's estimators against scikit-learn's, with the same arguments.

Fits of as many epochs are timed in interleaved rounds; 64 small networks are ``nf.fit_many`` here and joblib over
MLPClassifier there. Then both are fitted to five data sets until they stop by themselves, and scored on test data: a
seed splits the data and draws the weights.
"""

import statistics

from .report import best, milliseconds, ratio
from .suite import Suite

#: Names of `fits.TIMED` and `fits.SCORED`, which import scikit-learn.
TIMED = ("digits", "digits64", "wide", "words", "many", "one")
SCORED = ("digits", "breast_cancer", "wine", "iris", "diabetes")
WORKLOADS = (*TIMED, "scores")


class Benchmark(Suite):
    """The suite."""

    name = "estimators"
    libraries = ("nnfast", "sklearn")
    needed = ("nnfast", "sklearn")
    # A warning of scikit-learn's for each fit that ends with the last epoch, which is what was asked for.
    variables = {"PYTHONWARNINGS": "ignore"}

    def measure(self):
        for fit in (name for name in TIMED if name in self.options.workloads):
            turns = []
            for competitor in self.competitors:
                entry = self.entry("fit", fit, competitor, "", "nnfast" if competitor.name == "nnfast" else "step")
                answer = self.attempt(entry, competitor, "prepare_fit", fit=fit, seconds=self.seconds)
                if answer is not None:
                    entry.choice = answer["description"]
                    turns.append((entry, competitor))
            self.rounds(turns)
            self.report.block(fit, self.of("fit", fit))
        seeds = self.options.seeds or (2 if self.options.quick else 10)
        for name in SCORED if "scores" in self.options.workloads else ():
            for competitor in self.competitors:
                entry = self.entry("score", name, competitor, "", competitor.name)
                answer = self.attempt(entry, competitor, "scores", data=name, seeds=seeds)
                if answer is not None:
                    entry.accuracies = answer["scores"]

    def summary(self):
        self.report.peak(self.n_threads)
        rows = [["a fit", "nnfast", "scikit-learn", "x scikit-learn"]]
        for fit in (name for name in TIMED if name in self.options.workloads):
            ours, peer = best(self.of("fit", fit), fit, "nnfast"), best(self.of("fit", fit), fit, "step")
            rows.append([fit, milliseconds(ours), milliseconds(peer), ratio(peer, ours)])
        self.report.table(rows)
        rows = [["mean test score", "nnfast", "scikit-learn", "seeds"]]
        for name in SCORED if "scores" in self.options.workloads else ():
            scores = {entry.competitor: entry.accuracies for entry in self.of("score", name) if entry.accuracies}
            means = (f"{statistics.fmean(scores[library]):.4f}" if library in scores else "-"
                     for library in self.libraries)
            rows.append([name, *means, str(max(map(len, scores.values()), default=0))])
        if len(rows) > 1:
            self.report.table(rows)
