"""``python -m benchmarks mlp``: MLP training steps, matrix products and single calls.

For each thread count: start the competitors, verify that their loss curves agree with float64 NumPy's, then time them
in interleaved rounds, one process at a time. The minimum and the median over the rounds are kept.
"""

import dataclasses
import math
import statistics

from .competitor import Competitor, WorkerError
from .workloads import PREDICT, WORKLOADS

LIBRARIES = ("nnfast", "numpy", "torch", "jax", "sklearn")
TOLERANCE = 1e-5  # relative difference of a float32 loss from the float64 reference, each step
# Accumulating K float32 products of unit variance is off by far less than sqrt(K) times this.
GEMM_TOLERANCE = 1e-4
GEMM_SHAPES = ((1024, 1024, 1024), (256, 4096, 4096), (128, 512, 784))  # M, N, K
QUICK_BATCHES = {"mnist_mlp32": 64, "mnist_mlp128": 20, "wide_mlp": 6}  # an epoch with --quick


@dataclasses.dataclass
class Entry:
    """One row: a competitor's variant in one table. ``role`` is nnfast, numpy, step or scan."""

    table: str  # "train", "gemm" or "call"
    item: str  # the workload, shape or function
    n_threads: int
    competitor: str
    variant: str
    role: str
    choice: str = ""
    flops: float = 0.0  # a unit (step, product or call)
    problem: str = ""  # why the figures do not count: DISAGREE or FAILED, with the reason
    losses: list = dataclasses.field(default_factory=list)
    seconds: list = dataclasses.field(default_factory=list)  # a unit, each round

    @property
    def label(self):
        return f"{self.competitor} {self.variant}".strip()

    @property
    def minimum(self):
        return min(self.seconds, default=math.nan)

    @property
    def median(self):
        return statistics.median(self.seconds) if self.seconds else math.nan


class Benchmark:
    """All tables at one thread count; ``report`` has methods ``line(text)`` and ``block(title, entries)``."""

    def __init__(self, n_threads, options, meter, report):
        self.n_threads, self.options, self.meter, self.report = n_threads, options, meter, report
        self.seconds = 0.1 if options.quick else 0.5  # length of a timed stretch
        self.started = []  # all that came up
        self.competitors = []  # those still running
        self.entries, self.missing = [], {}

    def run(self):
        """Fill ``entries``. Whatever happens, no process outlives this call."""
        try:
            self.start()
            for name in self.options.workloads:
                self.train(WORKLOADS[name])
            for shape in GEMM_SHAPES:
                self.gemm(shape)
            self.calls()
        finally:
            for competitor in self.competitors:
                competitor.close()

    def start(self):
        self.report.line(f"\nStarting with {self.n_threads} thread(s)")
        for name in self.options.libraries:
            try:
                competitor = Competitor(name, self.n_threads)
            except WorkerError as error:
                self.missing[name] = f"does not start ({error})"
                self.report.line(error.details)
            else:
                if competitor.missing:
                    self.missing[name] = f"not usable here ({competitor.missing})"
                else:
                    self.started.append(competitor)
                    self.competitors.append(competitor)
                    self.report.competitor(competitor)
                    continue
            self.report.line(f"  skipped {name}: {self.missing[name]}")

    def train(self, workload):
        if self.options.quick:
            workload = dataclasses.replace(
                workload, n_batches=QUICK_BATCHES.get(workload.name, workload.n_batches)
            )
        fields = dataclasses.asdict(workload)
        reference = self.reference(fields)
        turns = []
        for competitor in self.competitors:
            for variant, role in competitor.variants.items():
                entry = self.entry("train", workload.name, competitor, variant, role, workload.flops)
                answer = self.attempt(
                    entry, competitor, "prepare_train", workload=fields, variant=variant, seconds=self.seconds
                )
                if answer is None:
                    continue
                entry.losses, entry.choice = answer["losses"], answer["choice"]
                entry.problem = disagreement(entry.losses, reference)
                if not entry.problem:
                    turns.append((entry, competitor, variant))
        self.rounds(turns)
        self.report.block(f"{workload.name}: {workload.description}", self.of("train", workload.name))

    def reference(self, fields):
        numpy = next(competitor for competitor in self.competitors if competitor.name == "numpy")
        return numpy.request("reference", workload=fields)["losses"]

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
                turns.append((entry, competitor, ""))
        self.rounds(turns)
        self.report.block(f"matrix product M x N x K = {item}", self.of("gemm", item))

    def calls(self):
        """Single calls from Python. The peers of ``train_on_batch`` are their loops in the training table.

        scikit-learn has no part in ``predict``: with two classes it builds another network (one logistic output).
        """
        predict = [competitor for competitor in self.competitors if "predict" in competitor.tables]
        self.call("predict 1 row 4-64-64-2", predict, "predict", PREDICT)
        ours = [competitor for competitor in self.competitors if competitor.name == "nnfast"]
        for name in ("tiny_mlp", "rl_mlp"):
            if ours and name in self.options.workloads:
                self.call(f"train_on_batch {name}", ours, "train_on_batch", WORKLOADS[name])
        if ours and "tiny_mlp" in self.options.workloads:
            self.call("fit of 1 epoch of 1 step tiny_mlp", ours, "fit_one_batch", WORKLOADS["tiny_mlp"])
            self.call("fit of 1000 epochs of 1 step tiny_mlp", ours, "fit_short_epochs", WORKLOADS["tiny_mlp"])

    def call(self, item, competitors, function, workload):
        turns = []
        for competitor in competitors:
            entry = self.entry("call", item, competitor, "", competitor.name)
            fields = dataclasses.asdict(workload)
            if self.attempt(
                entry, competitor, "prepare_function", function=function, workload=fields, seconds=self.seconds
            ) is not None:
                turns.append((entry, competitor, ""))
        self.rounds(turns)
        self.report.block(item, self.of("call", item))

    def entry(self, table, item, competitor, variant, role, flops=0.0):
        entry = Entry(table, item, self.n_threads, competitor.name, variant, role, flops=flops)
        self.entries.append(entry)
        return entry

    def of(self, table, item):
        return [entry for entry in self.entries if (entry.table, entry.item) == (table, item)]

    def attempt(self, entry, competitor, call, **arguments):
        """Request; a failure is noted in the entry, and a process that has ended is left out of what follows."""
        if competitor not in self.competitors:
            entry.problem = "FAILED: the process has ended"
            return None
        try:
            return competitor.request(call, **arguments)
        except WorkerError as error:
            entry.problem = f"FAILED: {error}"
            self.report.line(error.details)
            if not competitor.running:
                competitor.close()
                self.competitors = [other for other in self.competitors if other is not competitor]
            return None

    def rounds(self, turns):
        """Interleave: everybody once a round, another one first each time; the peak is measured between rounds."""
        for i in range(self.options.rounds):
            self.meter.measure(self.n_threads)
            shift = i % len(turns) if turns else 0
            for entry, competitor, variant in turns[shift:] + turns[:shift]:
                if not entry.problem:
                    answer = self.attempt(entry, competitor, "time", variant=variant)
                    if answer is not None:
                        entry.seconds.append(answer["seconds"])
        for competitor in self.competitors:
            competitor.request("drop")  # their arrays, before the next item's


def disagreement(losses, reference):
    """The reason why a loss curve is not the reference's, or ""."""
    if len(losses) != len(reference):
        return f"DISAGREE: {len(losses)} losses, expected {len(reference)}"
    for step, (loss, expected) in enumerate(zip(losses, reference)):
        if not math.isclose(loss, expected, rel_tol=TOLERANCE):
            return f"DISAGREE: loss at step {step} is {loss:.7g}, in float64 {expected:.7g}"
    return ""
