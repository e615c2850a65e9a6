"""``python -m benchmarks accuracy --path DIR``: test accuracy on Fashion-MNIST, and the seconds to reach it.

A network of two convolutions (32 and 64 filters), pooling, dropout and a dense layer of 128 is trained by nnfast and by
PyTorch with the same recipe: the same initial weights, Adam with its rate on a cosine, batches of 128 shuffled, the
same threads. Seconds are those of training alone.
"""

import statistics

from .suite import Suite
from .workloads import ACCURACY


class Benchmark(Suite):
    """The suite: a seed is a round."""

    name = "accuracy"
    libraries = ("nnfast", "torch")

    def measure(self):
        self.report.line(f"\n{ACCURACY.description} on a cosine, {self.options.epochs} epochs")
        turns = [
            (self.entry("accuracy", ACCURACY.name, competitor, variant, role), competitor)
            for competitor in self.competitors for variant, role in competitor.variants.items()
        ]
        for seed in range(self.options.rounds):
            for entry, competitor in turns:
                answer = not entry.problem and self.attempt(
                    entry, competitor, "accuracy", path=self.options.path, seed=seed, epochs=self.options.epochs
                )
                if answer:
                    entry.seconds.append(answer["seconds"])
                    entry.accuracies.append(answer["accuracy"])
                    text = f"{answer['accuracy']:8.2%} {answer['seconds']:9.1f} s"
                    self.report.line(f"  seed {seed}  {entry.label:10} {text}")

    def summary(self):
        rows = [["", "mean test accuracy", "least", "most", "median s"]]
        for entry in self.entries:
            if entry.accuracies:
                mean, low, high = statistics.fmean(entry.accuracies), min(entry.accuracies), max(entry.accuracies)
                rows.append([entry.label, f"{mean:.2%}", f"{low:.2%}", f"{high:.2%}", f"{entry.median:.1f}"])
        self.report.line(f"\n=== {self.n_threads} thread(s), {self.options.rounds} seed(s)")
        self.report.table(rows)
