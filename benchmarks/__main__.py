"""Command line of the benchmarks."""

import argparse
import sys
from pathlib import Path

from . import mlp
from .peak import PeakMeter
from .report import Report, cpu_count, write_json
from .workloads import WORKLOADS


def comma_list(allowed):
    def parse(text):
        names = [name for name in text.split(",") if name]
        unknown = [name for name in names if name not in allowed]
        if unknown or not names:
            raise argparse.ArgumentTypeError(f"{text!r} is not a comma list of {', '.join(allowed)}")
        return names

    return parse


def thread_list(text):
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1 or max(counts) > cpu_count():
        raise argparse.ArgumentTypeError(f"{text!r} is not a comma list of numbers from 1 to {cpu_count()}")
    return counts


def positive(text):
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Benchmarks of nnfast.")
    suites = parser.add_subparsers(dest="suite", required=True)
    suite = suites.add_parser("mlp", help="MLP training, matrix products and single calls", description=mlp.__doc__)
    peers = [name for name in mlp.LIBRARIES if name != "nnfast"]
    suite.add_argument("--json", metavar="FILE", help="write every round to FILE")
    suite.add_argument(
        "--threads", type=thread_list, default=sorted({1, min(2, cpu_count())}), help="comma list (default: 1,2)"
    )
    suite.add_argument(
        "--against", type=comma_list(peers), default=peers, help=f"comma list of {','.join(peers)}; numpy always runs"
    )
    suite.add_argument("--rounds", type=positive, help="interleaved rounds (default: 5; with --quick 2)")
    suite.add_argument("--quick", action="store_true", help="short stretches and small epochs, to try the suite out")
    suite.add_argument(
        "--workloads", type=comma_list(list(WORKLOADS)), default=list(WORKLOADS), help="comma list (default: all)"
    )
    options = parser.parse_args(arguments)
    if options.json and not Path(options.json).resolve().parent.is_dir():
        parser.error(f"--json {options.json}: no such folder")  # before the run, not after it
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.libraries = [name for name in mlp.LIBRARIES if name in ("nnfast", "numpy", *options.against)]
    return options


def main(arguments=None):
    """Run, print, and return the exit code: 1 when a loss curve disagrees, something failed or nnfast is missing."""
    options = parse(arguments)
    meter = PeakMeter()
    report = Report(meter)
    report.header(options)
    benchmarks = []
    try:
        for n_threads in options.threads:
            benchmarks.append(mlp.Benchmark(n_threads, options, meter, report))
            benchmarks[-1].run()
    except KeyboardInterrupt:
        report.line("\ninterrupted")
        return 130
    finally:
        meter.close()
    for benchmark in benchmarks:
        report.summary(benchmark.n_threads, benchmark.entries)
    if options.json:
        write_json(options.json, options, meter, benchmarks)
    wrong = [entry for benchmark in benchmarks for entry in benchmark.entries if entry.problem]
    for entry in wrong:
        report.line(f"{entry.item}, {entry.n_threads} thread(s), {entry.label}: {entry.problem}")
    missing = any("nnfast" in benchmark.missing for benchmark in benchmarks)
    return 1 if wrong or missing else 0


if __name__ == "__main__":
    sys.exit(main())
