"""The command line, ``nnfast`` or ``python -m nnfast``: what there is, and how it is asked for."""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from .config import __version__, config, show_config

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
    p = argparse.ArgumentParser(prog="nnfast", description="Neural networks on CPUs.")
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
    info = commands.add_parser("info", help="show version, instruction sets and threads")
    for command in (demo, examples, info):
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    info.add_argument("--json", action="store_true", help="print JSON")
    add_model_commands(commands)
    return p


def add_model_commands(commands):
    """train, evaluate, predict, summary, export and bench; command_line.py runs them."""
    tables_and_arrays = "a table (.csv, .tsv, .txt; also .gz), .npz with arrays x and y, idx file, or "

    def add(name, text, needs_data=True, model_file=True, images="folder of image folders"):
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if model_file:
            command.add_argument("model_file", metavar="MODEL", help="a model file (.safetensors)")
        if needs_data:
            command.add_argument("data", metavar="DATA", help=tables_and_arrays + images)
            command.add_argument("--labels", metavar="FILE", help="idx file of the labels, for an idx file of images")
            command.add_argument("--missing", choices=("error", "mean", "drop"),
                                 help="where a table lacks values: stop, fill, or leave the row out (default: "
                                 f"{'as in training' if model_file else 'error'})")
        command.add_argument("--quiet", action="store_true",
                             help="print nothing but errors; JSON and predictions are printed all the same")
        command.add_argument("--json", action="store_true", help="print one line of JSON")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return command

    train = add("train", "train a network on data in a file or folder", model_file=False)
    train.add_argument("--target", metavar="COL", action="append", help="column of a table to predict; can be repeated")
    train.add_argument("--drop", metavar="COL", action="append", default=[],
                       help="column to leave out; can be repeated")
    train.add_argument("--kind", choices=("auto", "classes", "numbers"), default="auto", help="what the target is")
    train.add_argument("--category", metavar="COL", action="append", default=[],
                       help="column whose numbers are names, as postcodes; can be repeated")
    train.add_argument("--max-one-hot", type=natural, metavar="N", help="text columns with more different texts "
                       "than this get a trained vector for each text (rare ones share one) instead of a value of 0 or "
                       "1; 0: all text columns (default: 50)")
    train.add_argument("--size", type=positive, nargs=2, metavar=("H", "W"), help="scale images to this size")
    train.add_argument("--model", metavar="LAYERS",
                       help='hidden layers, e.g. "dense:64 relu dropout:0.2 dense:32 relu" '
                       'or "conv:16:5 relu maxpool flatten dense:64 relu"; the output is added')
    train.add_argument("--epochs", type=positive, default=20, metavar="N", help="default: 20")
    train.add_argument("--batch-size", type=positive, default=32, metavar="N", help="default: 32")
    train.add_argument("--lr", type=float, default=1e-3, metavar="RATE", help="Adam's learning rate (default: 0.001)")
    train.add_argument("--validation", type=float, default=0.2, metavar="SHARE", help="share kept apart (default: 0.2)")
    train.add_argument("--patience", type=positive, metavar="N", help="stop after N epochs without a better validation "
                       "loss, and keep the best weights")
    train.add_argument("--seed", type=natural, default=0, metavar="N", help="default: 0")
    train.add_argument("--threads", type=positive, metavar="N", help="default: all, as far as the work needs them")
    train.add_argument("--out", metavar="FILE", help="where to save the model (.safetensors)")
    train.add_argument("--plot", metavar="FILE", help="draw the loss by epoch (.png, .pdf, .svg); needs matplotlib")
    add("evaluate", "measure a model on data with targets")
    predict = add("predict", "write a model's predictions as CSV",
                  images="folder of images, or an image; targets are not needed")
    predict.add_argument("--out", metavar="FILE", help="default: the standard output")
    add("summary", "list a model's layers", needs_data=False)
    export = add("export", "write a model as ONNX or C source; print which numbers that of a table reads",
                 needs_data=False)
    export.add_argument("--out", metavar="FILE", required=True, help="ends in .onnx or .c")
    bench = add("bench", "time a model's predictions and training steps", needs_data=False)
    bench.add_argument("--batch-size", type=positive, default=256, metavar="N", help="default: 256")


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


def same_file(a, b):
    return os.path.exists(a) and os.path.exists(b) and os.path.samefile(a, b)


def problem_of_output(path):
    """Why a file cannot be written there, or None."""
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        return "is a folder"
    if os.path.exists(path) and not os.path.isfile(path):
        return "is not a file, and would be replaced by one"
    if not os.path.isdir(folder):
        return f"there is no folder {os.path.dirname(path)!r}"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"cannot be written: {error.strerror}"


def check_outputs(args):
    """Before hours of work: whether the files asked for can be written, and are none of those to be read."""
    for option in ("out", "plot"):
        path = getattr(args, option, None)
        if path is not None and (problem := problem_of_output(path)):
            raise ValueError(f"--{option} {path}: {problem}")
        for read in (getattr(args, name, None) for name in ("data", "labels", "model_file")):
            if path is not None and read is not None and same_file(path, read):
                raise ValueError(f"--{option} {path}: would overwrite {read}, which is read; give it another name")
    if args.command == "train" and args.out is not None and args.plot is not None and args.out == args.plot:
        raise ValueError(f"--plot {args.plot}: would overwrite the model; give it another name")
    if args.command == "train" and args.out is not None:
        from .files import check_ending  # only now, as the commands

        check_ending(args.out)
    if getattr(args, "plot", None) is not None:
        from .plot.figure import check_ending as check_picture

        check_picture(args.plot)


def as_options(error):
    """What an error says, in one line, about options of a command instead of arguments of functions."""
    message = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        message = f"{error.filename}: {error.strerror.lower()}"
    elif isinstance(error, MemoryError):
        message = f"not enough memory: {message or 'take a smaller network or less data'}"
    for pattern, option in ((r"missing='(\w+)'", r"--missing \1"), (r"drop=\['(.*?)'\]", r"--drop '\1'"),
                            (r"size=\((\d+), (\d+)\)", r"--size \1 \2"), (r"\bleave kind out", "leave --kind out"),
                            (r"max_one_hot=(\d+)", r"--max-one-hot \1"),
                            (r"categories=\['(.*?)'\]", r"--category '\1'"),
                            (r"kind='classes'", "--kind classes")):
        message = re.sub(pattern, option, message)
    return " ".join(message.split())


def main(argv=None):
    """Run a command; returns the exit code: 0, 1 after an error, 2 for wrong arguments, 130 after Ctrl-C."""
    args = parser().parse_args(argv)
    show = warnings.showwarning
    warnings.showwarning = lambda message, *_: print(f"nnfast {args.command}: warning: {as_options(message)}",
                                                     file=sys.stderr)
    try:
        check_outputs(args)
        if args.command == "info":
            if args.json:
                print(json.dumps(config()))
            else:
                show_config()
            return 0
        if args.command == "examples":
            return run_examples(args)
        if args.command == "demo":
            return run_demo(args)
        from .command_line import COMMANDS  # only now, as the others

        return COMMANDS[args.command](args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output has enough of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ImportError, OSError, ValueError, TypeError, FloatingPointError, MemoryError) as error:
        if args.debug:
            raise
        print(f"nnfast {args.command}: {as_options(error)}", file=sys.stderr)
        return 1
    finally:
        warnings.showwarning = show


if __name__ == "__main__":
    sys.exit(main())
