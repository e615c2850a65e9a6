"""``python -m benchmarks cnn``: end-to-end training of convolutional networks, time a step and peak memory.

As ``mlp``: loss curves are checked first, then everybody is timed in interleaved rounds. Peak memory is measured in a
process of its own for each variant, because a process never gives all of it back, and with the system's own allocator.
"""

from .competitor import Competitor, WorkerError
from .report import DIRECT
from .training import Training


class Benchmark(Training):
    """The suite."""

    name = "cnn"
    libraries = ("nnfast", "numpy", "torch", "jax")

    def measure(self):
        for name in self.options.workloads:
            self.train(name)
            self.memory(name)

    def memory(self, name):
        """Fill the entries' ``memory``; without /proc there is none."""
        for entry in self.of("train", name):
            if entry.problem:
                continue
            try:
                competitor = Competitor(entry.competitor, self.name, self.n_threads)
            except WorkerError as error:
                self.report.line(f"  memory of {entry.label}: {error}\n{error.details}")
                continue
            try:
                answer = self.attempt(
                    entry, competitor, "memory", workload=name, variant=entry.variant, choice=entry.choice
                )
            finally:
                competitor.close()
            entry.memory = answer or {}
        self.report.table(self.memory_rows([name]))

    def summary(self):
        self.report.peak(self.n_threads)
        self.report.line(DIRECT)
        self.training_table()
        self.report.line("\nPeak memory in training, MB: grown since the network was built / of the whole process")
        self.report.table(self.memory_rows(self.options.workloads))

    def memory_rows(self, names):
        measured = [entry for entry in self.entries if entry.memory and entry.item in names]
        labels = list(dict.fromkeys(entry.label for entry in measured))
        rows = [["peak memory, MB", *labels]]
        for name in names:
            found = {entry.label: entry.memory for entry in measured if entry.item == name}
            rows.append([name, *(megabytes(found.get(label)) for label in labels)])
        return rows


def megabytes(memory):
    if not memory:
        return "-"
    return f"{(memory['peak'] - memory['built']) / 1024:.1f} / {memory['peak'] / 1024:.0f}"
