"""Command line of the benchmarks."""

import argparse
import sys
from pathlib import Path

from . import accuracy, cnn, conv, estimators, mlp, models
from .architectures import MODELS
from .ops import CASES
from .peak import PeakMeter
from .report import Report, cpu_count, positive, write_json
from .workloads import CNN, MLP


def comma_list(allowed, least=1):
    def parse(text):
        names = [name for name in text.split(",") if name]
        unknown = [name for name in names if name not in allowed]
        if unknown or len(names) < least:
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


def unwritable(path):
    """Why the file cannot be written, or ""; one that was not there is not left behind."""
    there = Path(path).exists()
    if there and not (Path(path).is_file() or Path(path).is_dir()):
        return ""  # to open and close a pipe would end its reader
    path = Path(path).resolve()  # of a link that points to no file, not the link
    try:
        with open(path, "a", encoding="utf-8"):
            pass
    except OSError as error:
        return error.strerror
    if not there:
        path.unlink()
    return ""


def add_suite(suites, module, text):
    """The options that all suites have."""
    suite = suites.add_parser(module.Benchmark.name, help=text, description=module.__doc__)
    suite.set_defaults(benchmark=module.Benchmark)
    peers = [name for name in module.Benchmark.libraries if name not in module.Benchmark.needed]
    suite.add_argument("--json", metavar="FILE", help="write every round to FILE, at the end")
    threads = sorted({1, min(2, cpu_count())})
    suite.add_argument(
        "--threads", type=thread_list, default=threads,
        help=f"comma list (default here: {','.join(map(str, threads))})",
    )
    always = ", ".join(module.Benchmark.needed)
    suite.add_argument(
        "--against", type=comma_list(peers, least=0), default=peers,
        help=f"comma list of {','.join(peers)}, or nothing; always: {always}",
    )
    suite.add_argument("--quick", action="store_true", help="short stretches and small epochs, to try the suite out")
    return suite


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Benchmarks of nnfast.")
    suites = parser.add_subparsers(dest="suite", required=True)
    timed = {
        "mlp": add_suite(suites, mlp, "MLP training, matrix products and single calls"),
        "cnn": add_suite(suites, cnn, "training of convolutional networks: time a step and peak memory"),
        "models": add_suite(suites, models, "training of networks beyond stacks of layers, against PyTorch"),
        "conv": add_suite(suites, conv, "single operations: convolution and its gradients, pooling, dense, loss"),
        "estimators": add_suite(suites, estimators, "fits of the estimators and their scores, against scikit-learn"),
    }
    for suite in timed.values():
        suite.add_argument("--rounds", type=positive, help="interleaved rounds (default: 5; with --quick 2)")
    for name, workloads in (("mlp", MLP), ("cnn", CNN), ("models", MODELS), ("estimators", estimators.WORKLOADS)):
        names = list(workloads)
        timed[name].add_argument(
            "--workloads", type=comma_list(names), default=names, help=f"comma list of {','.join(names)} (default: all)"
        )
    timed["estimators"].add_argument(
        "--seeds", type=positive, metavar="N", help="how many the scores are means over (default: 10; with --quick 2)"
    )
    timed["conv"].add_argument("--only", metavar="SUBSTRING", default="", help="only rows whose name contains this")
    suite = add_suite(suites, accuracy, "test accuracy on Fashion-MNIST, and seconds to reach it")
    suite.add_argument("--path", metavar="DIR", required=True, help="folder of the four idx files, plain or .gz")
    suite.add_argument("--seeds", type=positive, metavar="N", help="how many (default: 3; with --quick 1)")
    suite.add_argument("--epochs", type=positive, metavar="N", help="default: 10; with --quick 1")
    options = parser.parse_args(arguments)
    if options.json and (reason := unwritable(options.json)):
        parser.error(f"--json {options.json}: {reason}")  # before the run, not after it
    if options.suite == "conv" and not any(options.only in name for name in CASES):
        parser.error(f"--only {options.only}: no row's name contains it")
    if options.suite == "accuracy":
        if not Path(options.path).is_dir():
            parser.error(f"--path {options.path}: no such folder")
        options.path = str(Path(options.path).resolve())  # the competitors run in another folder
        options.rounds = options.seeds or (1 if options.quick else 3)
        options.epochs = options.epochs or (1 if options.quick else 10)
    else:
        options.rounds = options.rounds or (2 if options.quick else 5)
    return options


def main(arguments=None):
    """Run, print, and return the exit code: 1 when a result disagrees, something failed or nnfast is missing."""
    options = parse(arguments)
    meter = PeakMeter()
    report = Report(meter)
    report.header(options)
    benchmarks = []
    try:
        for n_threads in options.threads:
            benchmarks.append(options.benchmark(n_threads, options, meter, report))
            benchmarks[-1].run()
    except KeyboardInterrupt:
        report.line("\ninterrupted")
        return 130
    finally:
        meter.close()
    for benchmark in benchmarks:
        benchmark.summary()
    if options.json:
        write_json(options.json, options, meter, benchmarks)
    wrong = [entry for benchmark in benchmarks for entry in benchmark.entries if entry.problem]
    for entry in wrong:
        report.line(f"{entry.item}, {entry.n_threads} thread(s), {entry.label}: {entry.problem}")
    missing = [name for benchmark in benchmarks for name in benchmark.needed if name in benchmark.missing]
    return 1 if wrong or missing else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before or after the suites
        print("\ninterrupted")
        sys.exit(130)
