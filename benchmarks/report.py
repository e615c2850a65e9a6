"""What the benchmark prints, and the JSON file with every round."""

import dataclasses
import json
import math
import os
import platform
import sys


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


class Report:
    """Prints while the benchmark runs (``line``, ``block``) and at its end (``summary``)."""

    def __init__(self, meter):
        self.meter = meter

    def line(self, text=""):
        print(text, flush=True)

    def header(self, options):
        self.line(f"CPU      {cpu_name()}, {cpu_count()} cores usable, {platform.system()} {platform.release()}")
        self.line(f"Python   {platform.python_version()}; threads {', '.join(map(str, options.threads))}; float32")
        self.line(f"Rounds   {options.rounds}, interleaved; min / median over them" + (
            "; --quick: figures not for quoting" if options.quick else ""
        ))

    def competitor(self, competitor):
        """A competitor has started."""
        self.line(f"  {competitor.version}")
        for text in competitor.configuration.splitlines():
            self.line(f"      {text}")

    def block(self, title, entries):
        """All competitors in one table item."""
        self.line(f"\n{title}, {entries[0].n_threads} thread(s)" if entries else f"\n{title}: nobody to time")
        ours = next((entry for entry in entries if entry.competitor == "nnfast" and entry.seconds), None)
        for entry in sorted(entries, key=lambda entry: entry.minimum if entry.seconds else math.inf):
            if entry.problem:
                self.line(f"  {entry.label:14} {entry.problem}")
                continue
            text = f"  {entry.label:14} {milliseconds(entry)} ms"
            if entry.flops:
                text += f" {entry.flops / entry.minimum / 1e9:8.2f} GFLOP/s {self.percent(entry):>6}"
            if ours and entry is not ours:
                text += f"   x {ratio(entry, ours)}"
            self.line(f"{text}   {entry.choice}".rstrip())

    def percent(self, entry):
        """Of the measured peak at the entry's thread count, from the fastest round."""
        peak = self.meter.best.get(entry.n_threads)
        return f"{100 * entry.flops / entry.minimum / 1e9 / peak:.1f}%" if peak else "-"

    def peak_line(self, n_threads):
        if self.meter.missing:
            return f"peak not measured: {self.meter.missing}"
        peak, lanes = self.meter.best.get(n_threads), self.meter.lanes
        if peak is None:
            return "peak not measured: nothing was timed"
        return f"measured float32 FMA peak {peak:.1f} GFLOP/s on {n_threads} core(s), vectors of {lanes} floats"

    def summary(self, n_threads, entries):
        self.line(f"\n=== {n_threads} thread(s): {self.peak_line(n_threads)}")
        self.line("Times in ms (min / median); ratios: the peer's time over ours (by min / by median), more is better.")
        self.training([entry for entry in entries if entry.table == "train"])
        self.products([entry for entry in entries if entry.table == "gemm"])
        self.calls(entries)

    def training(self, entries):
        head = ["workload", "nnfast", "numpy", "step peer", "", "scan peer"]
        rows = [[*head, "x step peer", "x scan peer", "x numpy", "GFLOP/s", "peak"]]
        for item in dict.fromkeys(entry.item for entry in entries):
            by_role = {role: best(entries, item, role) for role in ("nnfast", "numpy", "step", "scan")}
            ours, step = by_role["nnfast"], by_role["step"]
            shown = ours or min(filter(None, by_role.values()), key=lambda entry: entry.minimum, default=None)
            rate = f"{shown.flops / shown.minimum / 1e9:.2f}" if shown else "-"
            rows.append([
                item,
                milliseconds(ours),
                milliseconds(by_role["numpy"]),
                milliseconds(step),
                step.label if step else "",
                milliseconds(by_role["scan"]),
                *(ratio(by_role[role], ours) for role in ("step", "scan", "numpy")),
                rate if ours else f"({rate})",
                self.percent(shown) if ours else f"({self.percent(shown) if shown else '-'})",
            ])
        self.table(rows)
        if entries and not any(entry.competitor == "nnfast" for entry in entries):
            self.line("(GFLOP/s and peak in brackets: the fastest of the others)")

    def products(self, entries):
        competitors = list(dict.fromkeys(entry.competitor for entry in entries))
        rows = [["M x N x K", *(f"{name} GFLOP/s, peak" for name in competitors), "x numpy"]]
        for item in dict.fromkeys(entry.item for entry in entries):
            found = {entry.competitor: entry for entry in entries if entry.item == item and entry.seconds}
            cells = []
            for name in competitors:
                entry = found.get(name)
                rate = f"{entry.flops / entry.minimum / 1e9:.1f}, {self.percent(entry)}" if entry else "-"
                cells.append(rate)
            rows.append([item, *cells, ratio(found.get("numpy"), found.get("nnfast"))])
        self.table(rows)

    def calls(self, entries):
        calls = [entry for entry in entries if entry.table == "call"]
        rows = [["call", "nnfast us", "fastest peer us", "", "ratio"]]
        for item in dict.fromkeys(entry.item for entry in calls if not entry.item.startswith("fit ")):
            ours = best(calls, item, "nnfast")
            if item.startswith("train_on_batch"):  # against the peers' bare loops over prepared batches
                loop = item.split()[-1]
                peer = best(entries, loop, "step")
            else:
                others = [entry for entry in calls if entry.item == item and entry.competitor != "nnfast"]
                peer = min((e for e in others if e.seconds), key=lambda entry: entry.minimum, default=None)
            rows.append([item, microseconds(ours), microseconds(peer), peer.label if peer else "", ratio(peer, ours)])
        rows += fit_overheads(entries)
        self.table(rows)

    def table(self, rows):
        widths = [max(map(len, column)) for column in zip(*rows)]
        self.line()
        for row in rows:
            cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
            self.line("  ".join(cells))


def best(entries, item, role):
    """The fastest valid entry of a role in one item, or None."""
    found = [entry for entry in entries if entry.item == item and entry.role == role and entry.seconds]
    return min(found, key=lambda entry: entry.minimum, default=None)


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
