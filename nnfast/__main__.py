"""The command line: ``python -m nnfast demo``, ``python -m nnfast examples`` and ``python -m nnfast info``."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from .config import __version__, show_config

# Read once, when NumPy's BLAS library is loaded.
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
                "OMP_NUM_THREADS")
# These force kernels for older processors on OpenBLAS: NumPy would race with a handicap.
BLAS_HANDICAPS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def positive(text):
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return number


def natural(text):
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected 0 or a positive integer, got {text!r}")
    return int(text)


def parser():
    p = argparse.ArgumentParser(prog="python -m nnfast", description="Neural networks on CPUs.")
    p.add_argument("--version", action="version", version=f"nnfast {__version__}")
    commands = p.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="train a network on real images and race it against pure NumPy",
        description="Train a small convolutional network on real images, test it, and race it against the same network "
                    "in pure NumPy.",
    )
    demo.add_argument("--data", choices=("digits", "fashion-mnist"), default="digits",
                      help="digits come with nnfast (default); fashion-mnist is downloaded unless --path is given")
    demo.add_argument("--path", metavar="DIR", help="folder of the four Fashion-MNIST files")
    demo.add_argument("--epochs", type=positive, metavar="N", help="default: 20 for digits, 5 for fashion-mnist")
    demo.add_argument("--batch-size", type=positive, metavar="N", help="default: 32 for digits, 64 for fashion-mnist")
    demo.add_argument("--seed", type=natural, default=0, metavar="N", help="default: 0")
    demo.add_argument("--threads", type=positive, metavar="N", help="for nnfast and for NumPy's BLAS; default: all")
    demo.add_argument("--no-numpy", action="store_true", help="leave out the race")
    examples = commands.add_parser(
        "examples", help="the mathematics of neural networks, one short program per idea",
        description="List the examples, or run one: it prints what it shows, and draws it with --plot.",
    )
    examples.add_argument("name", nargs="?", help="which one to run; without it all are listed")
    examples.add_argument("--plot", metavar="FILE", help="draw to this file (.png, .pdf, .svg); needs matplotlib")
    commands.add_parser("info", help="show version, instruction sets and threads")
    return p


def environment(args):
    """The environment in which NumPy races fairly, or None if this process has it."""
    env = {name: value for name, value in os.environ.items() if name not in BLAS_HANDICAPS}
    if args.threads is not None:
        env |= dict.fromkeys(BLAS_THREADS, str(args.threads))
    return None if args.no_numpy or env == dict(os.environ) else env


def run_demo(args):
    if (env := environment(args)) is not None:
        # NumPy is loaded here already, so another process must do it.
        options = [f"--{name}={value}" for name in ("data", "path", "epochs", "batch_size", "seed", "threads")
                   if (value := getattr(args, name)) is not None]
        options = [option.replace("batch_size", "batch-size", 1) for option in options]
        # This same nnfast, whatever the current folder holds (-P).
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), env.get("PYTHONPATH")]))
        return subprocess.run([sys.executable, "-P", "-m", "nnfast", "demo", *options], env=env, check=False).returncode
    from . import demo  # only now: nothing else needs it

    return demo.run(args.data, args.path, args.epochs, args.batch_size, args.seed, args.threads, not args.no_numpy)


def run_examples(args):
    from . import examples  # only now: nothing else needs it

    if args.name is not None:
        examples.run(args.name, args.plot)
        return 0
    if args.plot is not None:
        raise ValueError("--plot goes with the name of an example")
    width = max(map(len, examples.NAMES))
    for name in examples.NAMES:
        print(f"{name:{width}}  {examples.title(name)}")
    print(f"\nRun one with: python -m nnfast examples {examples.NAMES[0]} --plot picture.png")
    print(f"The programs are in {Path(examples.__file__).parent}")
    return 0


def main(argv=None):
    """Run a command; returns the exit code: 0, 1 after an error, 2 for wrong arguments, 130 after Ctrl-C."""
    args = parser().parse_args(argv)
    try:
        if args.command == "info":
            show_config()
            return 0
        if args.command == "examples":
            return run_examples(args)
        return run_demo(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ImportError, OSError, ValueError) as error:
        print(f"nnfast {args.command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
