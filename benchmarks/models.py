"""``python -m benchmarks models``: training of networks beyond stacks of layers, nnfast against PyTorch.

Residual networks, U-Nets, depthwise convolutions, signals, texts, tables, autoencoders, layer normalization
(``architectures.py``). Loss curves are checked against PyTorch's in float64, then everybody is timed in interleaved
rounds. Without PyTorch nnfast is timed alone, and nothing is checked.
"""

from .architectures import MODELS
from .report import best, milliseconds, ratio
from .training import Training


class Benchmark(Training):
    """The suite."""

    name = "models"
    libraries = ("nnfast", "torch")
    needed = ("nnfast",)
    workloads = MODELS
    reference = "torch"

    def measure(self):
        for name in self.options.workloads:
            self.train(name)

    def summary(self):
        self.report.peak(self.n_threads)
        rows = [["network", "nnfast", "PyTorch", "", "x PyTorch"]]
        for name in self.options.workloads:
            ours, peer = best(self.entries, name, "nnfast"), best(self.entries, name, "step")
            rows.append([name, milliseconds(ours), milliseconds(peer), peer.label if peer else "", ratio(peer, ours)])
        self.report.table(rows)
