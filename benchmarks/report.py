"""What the benchmark prints, and the JSON file with every round."""

import argparse
import dataclasses
import json
import math
import os
import platform
import sys

DIRECT = "GFLOP/s count a direct convolution's arithmetic: Winograd's filtering, which needs less, may exceed the peak"


def cpu_name():
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cpu_count():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def positive(text):
    """An option's number of rounds, seeds or epochs."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


class Report:
    """Prints lines, the entries of one item (``block``) and tables; formats what is of the measured peak."""

    def __init__(self, meter):
        self.meter = meter

    def line(self, text=""):
        print(text, flush=True)

    def header(self, options):
        self.line(f"CPU      {cpu_name()}, {cpu_count()} cores usable, {platform.system()} {platform.release()}")
        self.line(f"Python   {platform.python_version()}; threads {', '.join(map(str, options.threads))}; float32")
        self.line(f"Rounds   {options.rounds}, interleaved; min / median over them" + (
            "; --quick: short stretches, whose figures move more" if options.quick else ""
        ))

    def competitor(self, competitor):
        """A competitor has started."""
        self.line(f"  {competitor.version}")
        for text in competitor.configuration.splitlines():
            self.line(f"      {text}")

    def block(self, title, entries):
        """All competitors in one table item."""
        self.line(f"\n{title}, {entries[0].n_threads} thread(s)" if entries else f"\n{title}: nobody to time")
        ours = next((entry for entry in entries if entry.competitor == "nnfast" and entry.valid), None)
        for entry in sorted(entries, key=lambda entry: entry.minimum if entry.seconds else math.inf):
            if entry.problem:
                self.line(f"  {entry.label:20} {entry.problem}")
                continue
            text = f"  {entry.label:20} {milliseconds(entry)} ms"
            if entry.flops:
                text += f" {self.rate(entry):>8} GFLOP/s {self.percent(entry):>6}"
            if ours and entry is not ours:
                text += f"   x {ratio(entry, ours)}"
            self.line(f"{text}   {entry.choice}".rstrip())

    def rate(self, entry):
        """GFLOP/s of the fastest round."""
        return f"{entry.flops / entry.minimum / 1e9:.2f}" if entry else "-"

    def percent(self, entry):
        """Of the measured peak at the entry's thread count, from the fastest round."""
        peak = self.meter.best.get(entry.n_threads) if entry else None
        return f"{100 * entry.flops / entry.minimum / 1e9 / peak:.1f}%" if peak else "-"

    def peak(self, n_threads):
        """The heading of a summary."""
        self.line(f"\n=== {n_threads} thread(s): {self.peak_line(n_threads)}")
        self.line("Times in ms (min / median); ratios: the peer's time over ours (by min / by median), more is better.")

    def peak_line(self, n_threads):
        if self.meter.missing:
            return f"peak not measured: {self.meter.missing}"
        peak, lanes = self.meter.best.get(n_threads), self.meter.lanes
        if peak is None:
            return "peak not measured: nothing was timed"
        return f"measured float32 FMA peak {peak:.1f} GFLOP/s on {n_threads} core(s), vectors of {lanes} floats"

    def table(self, rows):
        widths = [max(map(len, column)) for column in zip(*rows)]
        self.line()
        for row in rows:
            cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
            self.line("  ".join(cells))


def best(entries, item, role):
    """The fastest valid entry of a role in one item, or None."""
    found = [entry for entry in entries if entry.item == item and entry.role == role and entry.valid]
    return min(found, key=lambda entry: entry.minimum, default=None)


def milliseconds(entry):
    return f"{figure(1e3 * entry.minimum)} / {figure(1e3 * entry.median)}" if entry else "-"


def microseconds(entry):
    return f"{figure(1e6 * entry.minimum)} / {figure(1e6 * entry.median)}" if entry else "-"


def figure(value):
    """Three or four significant digits without an exponent."""
    return f"{value:.4f}" if value < 1 else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def ratio(peer, ours):
    if not (peer and ours):
        return "-"
    return f"{peer.minimum / ours.minimum:.2f} / {peer.median / ours.median:.2f}"


def write_json(path, options, meter, benchmarks):
    """Everything measured, in seconds, each round by itself."""
    document = {
        "command": ["python", "-m", "benchmarks", *sys.argv[1:]],
        "cpu": cpu_name(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "rounds": options.rounds,
        "quick": options.quick,
        "peak_gflops": {str(n): rate for n, rate in meter.best.items()},
        "vector_floats": meter.lanes,
        "versions": {c.name: c.version for b in benchmarks for c in b.started},
        "configuration": {c.name: c.configuration for b in benchmarks for c in b.started if c.configuration},
        "missing": {name: reason for b in benchmarks for name, reason in b.missing.items()},
        "entries": [
            {**dataclasses.asdict(e), "minimum": e.minimum, "median": e.median} if e.seconds else dataclasses.asdict(e)
            for b in benchmarks
            for e in b.entries
        ],
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
