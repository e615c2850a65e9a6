"""What all suites share: competitors start, take turns in interleaved rounds, and may fail without stopping us."""

import dataclasses
import math
import statistics

from .competitor import Competitor, WorkerError


@dataclasses.dataclass
class Entry:
    """One row: a competitor's variant in one table. ``role`` is nnfast, numpy, step or scan."""

    table: str  # "train", "gemm", "call", "op" or "accuracy"
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
    accuracies: list = dataclasses.field(default_factory=list)  # of the test set, each seed
    memory: dict = dataclasses.field(default_factory=dict)  # KiB: "built" before training, "peak" in it

    @property
    def label(self):
        return f"{self.competitor} {self.variant}".strip()

    @property
    def valid(self):
        """Timed, and nothing was wrong in any round."""
        return bool(self.seconds) and not self.problem

    @property
    def minimum(self):
        return min(self.seconds, default=math.nan)

    @property
    def median(self):
        return statistics.median(self.seconds) if self.seconds else math.nan


#: glibc's allocator keeps what is freed, as allocators do that experts give PyTorch: else large arrays come new from
#: the kernel each time, and its page faults are timed.
KEEP_FREED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}


class Suite:
    """All tables at one thread count. A subclass names its `libraries` and defines `measure` and `summary`."""

    name = ""
    libraries = ()
    needed = ("nnfast",)  # nothing is measured without these
    variables = {}  # of the competitors' environment
    stretch, quick_stretch = 0.5, 0.1  # seconds timed at a time
    peak_stretch = 0.2  # seconds for the FMA peak, each round

    def __init__(self, n_threads, options, meter, report):
        self.n_threads, self.options, self.meter, self.report = n_threads, options, meter, report
        self.seconds = self.quick_stretch if options.quick else self.stretch
        self.started = []  # all that came up
        self.competitors = []  # those still running
        self.entries, self.missing = [], {}

    def run(self):
        """Fill ``entries``. Whatever happens, no process outlives this call."""
        try:
            self.start()
            if not any(name in self.missing for name in self.needed):
                self.measure()
        finally:
            for competitor in self.competitors:
                competitor.close()

    def start(self):
        self.report.line(f"\nStarting with {self.n_threads} thread(s)")
        for name in self.libraries:
            if name not in (*self.needed, *self.options.against):
                continue
            try:
                competitor = Competitor(name, self.name, self.n_threads, **self.variables)
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

    def entry(self, table, item, competitor, variant, role, flops=0.0):
        entry = Entry(table, item, self.n_threads, competitor.name, variant, role, flops=flops)
        self.entries.append(entry)
        return entry

    def of(self, table, item):
        return [entry for entry in self.entries if (entry.table, entry.item) == (table, item)]

    def attempt(self, entry, competitor, call, **arguments):
        """Request; a failure is noted in the entry, and a process that has ended is left out of what follows."""
        try:
            if competitor.running:
                return competitor.request(call, **arguments)
            entry.problem = "FAILED: the process has ended"
        except WorkerError as error:
            entry.problem = f"FAILED: {error}"
            self.report.line(error.details)
        self.leave_out_ended()
        return None

    def leave_out_ended(self):
        for competitor in self.competitors:
            if not competitor.running:
                competitor.close()
        self.competitors = [competitor for competitor in self.competitors if competitor.running]

    def rounds(self, turns):
        """Interleave (entry, competitor) turns: everybody once a round, another one first each time."""
        for i in range(self.options.rounds):
            self.meter.measure(self.n_threads, self.peak_stretch)
            shift = i % len(turns) if turns else 0
            for entry, competitor in turns[shift:] + turns[:shift]:
                if not entry.problem:
                    answer = self.attempt(entry, competitor, "time", variant=entry.variant)
                    if answer is not None:
                        entry.seconds.append(answer["seconds"])
        self.leave_out_ended()  # the system may have ended one that was stopped, for want of memory
        for competitor in self.competitors:
            competitor.request("drop")  # their arrays, before the next item's
