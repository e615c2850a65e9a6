"""``python -m benchmarks conv``: single operations of `nnfast.functional` against PyTorch and NumPy.

Convolution forward, dX and dW each by itself over real layer shapes and 20 random ones, then max-pooling, dense layers
and the loss. Results are checked first. PyTorch runs NCHW and channels_last; the ratio is to the faster of the two.
Rows in which PyTorch is faster are marked.
"""

import math
import statistics

from .ops import CASES
from .report import DIRECT, best, figure, ratio
from .suite import KEEP_FREED, Suite

TOLERANCE = 1e-4  # of the difference over the square root of the number of terms, of unit variance

COLUMNS = ("nnfast ms", "GFLOP/s", "peak", "PyTorch ms", "layout", "x PyTorch", "x NumPy")
LOSS = "<-- PyTorch is faster"


class Benchmark(Suite):
    """The suite; prints a row as soon as it is measured."""

    name = "conv"
    libraries = ("nnfast", "numpy", "torch")
    variables = KEEP_FREED
    stretch, quick_stretch, peak_stretch = 0.1, 0.02, 0.03

    def measure(self):
        cases = [case for case in CASES.values() if self.options.only in case.name]
        self.width = max((len(case.name) for case in cases), default=0) + len(" forward")
        self.report.line("\nMinimum over the rounds; ratios: the peer's time over ours by minimum / by median")
        self.report.line(DIRECT)
        self.line("", COLUMNS)
        for case in cases:
            for direction in case.directions:
                self.row(case, direction)

    def line(self, name, cells, mark=""):
        widths = (10, 8, 7, 11, 14, 14, 14)
        self.report.line(name.ljust(self.width) + "".join(c.rjust(w) for c, w in zip(cells, widths)) + f"  {mark}")

    def row(self, case, direction):
        item = f"{case.name} {direction}"
        turns = []
        for competitor in self.competitors:
            for variant, role in competitor.variants.items():
                entry = self.entry("op", item, competitor, variant, role, case.flops)
                answer = self.attempt(
                    entry, competitor, "prepare_op",
                    case=case.name, direction=direction, variant=variant, seconds=self.seconds,
                )
                if answer is None:
                    continue
                if answer["difference"] is None:
                    self.entries.remove(entry)
                elif not answer["difference"] < TOLERANCE:
                    entry.problem = f"DISAGREE: off by {answer['difference']:.1e}"
                else:
                    turns.append((entry, competitor))
        self.rounds(turns)
        self.print_row(item)

    def print_row(self, item):
        entries = self.of("op", item)
        ours, numpy, torch = (best(entries, item, role) for role in ("nnfast", "numpy", "step"))
        cells = [
            milliseconds(ours), self.report.rate(ours) if ours and ours.flops else "-",
            self.report.percent(ours) if ours and ours.flops else "-",
            milliseconds(torch), torch.variant if torch else "-", ratio(torch, ours), ratio(numpy, ours),
        ]
        problems = [f"{entry.label}: {entry.problem}" for entry in entries if entry.problem]
        self.line(item, cells, "; ".join(problems) or (LOSS if loses(torch, ours) else ""))

    def summary(self):
        self.report.line(f"\n=== {self.n_threads} thread(s): {self.report.peak_line(self.n_threads)}")
        items = list(dict.fromkeys(entry.item for entry in self.entries))
        rows = [["direction", "rows", "x PyTorch: least", "geometric mean", "x NumPy: least", "geometric mean"]]
        for direction in ("forward", "dx", "dw", "both", "all"):
            of_direction = [item for item in items if direction == "all" or item.endswith(f" {direction}")]
            ratios = [self.ratios(of_direction, role) for role in ("step", "numpy")]
            cells = [text for values in ratios for text in (least(values), mean(values))]
            if of_direction:
                rows.append([direction, str(len(of_direction)), *cells])
        self.report.table(rows)
        losing = [item for item in items if loses(best(self.entries, item, "step"), best(self.entries, item, "nnfast"))]
        compared = len(self.ratios(items, "step"))
        text = f"PyTorch is faster in {len(losing)} of {compared} rows" if compared else "PyTorch was not timed"
        self.report.line(f"\n{text}" + ":" * bool(losing))
        for item in losing:
            self.print_row(item)

    def ratios(self, items, role):
        pairs = [(best(self.entries, item, role), best(self.entries, item, "nnfast")) for item in items]
        return [peer.minimum / ours.minimum for peer, ours in pairs if peer and ours]


def loses(peer, ours):
    return bool(peer and ours and peer.minimum < ours.minimum)


def milliseconds(entry):
    return figure(1e3 * entry.minimum) if entry else "-"


def least(ratios):
    return f"{min(ratios):.2f}" if ratios else "-"


def mean(ratios):
    return f"{math.exp(statistics.fmean(map(math.log, ratios))):.2f}" if ratios else "-"
