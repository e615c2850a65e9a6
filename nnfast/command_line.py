"""The commands that train and use models from files: train, evaluate, predict, summary, export, bench.

What `train` learns about the data (columns, their texts, what to do about gaps; sizes of images) is kept in the model's
metadata, so that the other commands treat further data alike.
"""

import contextlib
import csv
import functools
import json
import math
import os
import sys
import time
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np

import nnfast as nf

from .arrays import as_numbers, check_finite, class_axis, varies_finely
from .configurable import number
from .data.encoding import MOST_TEXTS, TableEncoding, described_features, less, offsets_of
from .data.preparation import COARSEST
from .models.tabular import inputs_of
from .summary import counted, described_layers

#: classes whose confusions are counted: a table of more would be mostly memory
MOST_CONFUSED = 1000
#: the metadata's entry
KEY = "data"
DENSE = "dense:64 relu dense:64 relu"
#: of the vectors that stand for texts of columns with many of them
WIDTH = 8
CONVOLUTIONAL = "conv:16 relu maxpool conv:32 relu maxpool flatten dense:64 relu"


@dataclass
class Data:
    """Samples, targets (None if there are none), names of classes, and what to remember of how they were read."""

    x: np.ndarray | dict
    y: np.ndarray | None
    classes: list | None
    how: dict
    paths: list | None = None           # of images
    lines: np.ndarray | None = None     # of a table, as spreadsheets count them

    def __len__(self):
        return len(self.x if self.lines is None else self.lines)

    @property
    def values(self):
        """What a sample has, in words."""
        if isinstance(self.x, dict):
            return described_features(TableEncoding(**self.how["encoding"])).replace("feature", "value")
        shape = self.x.shape[1:]
        return counted(shape[0], "value") if len(shape) == 1 else f"{' x '.join(map(str, shape))} values"


# --- reading ---------------------------------------------------------------------------------------------------------

def read(path, how=None, target=None, drop=(), missing=None, kind="auto", labels=None, size=None, targets=True,
         categories=(), max_one_hot=None):
    """The data in a file or folder. `how`: as earlier ones were read, from a model's metadata; `targets`: if wanted."""
    form = form_of(path)
    if how is not None and how["form"] != form:
        raise ValueError(f"{path}: holds {form}, the model was trained on {how['form']}")
    for option, given, meant in (("--target", target, "a table"), ("--drop", drop, "a table"),
                                 ("--missing", missing not in (None, "error"), "a table"),
                                 ("--category", categories, "a table"),
                                 ("--max-one-hot", max_one_hot is not None, "a table"), ("--size", size, "images")):
        if given and form != meant:
            raise ValueError(f"{option} is for {meant}, {path} holds {form}; leave it out")
    if labels and (form != "arrays" or path.lower().endswith(".npz")):
        raise ValueError(f"--labels goes with an idx file of images, {path} is none; leave it out")
    if form == "a table":
        missing = missing or (how or {}).get("missing", "error")
        if how is not None:
            encoding = how["encoding"] if targets else {**how["encoding"], "target": None}
            table = nf.data.csv(path, encoding=encoding, missing=missing)
        else:
            if target is not None and len(set(target)) < len(target):
                raise ValueError("--target: a column is named twice")
            if target is None:
                raise ValueError(f"{path}: which column is to be predicted? --target COLUMN "
                                 f"(columns: {', '.join(nf.data.tables.read_csv(path)[0])})")
            table = nf.data.csv(path, target if len(target) > 1 else target[0], missing, kind, drop,
                                categories=categories, max_one_hot=MOST_TEXTS if max_one_hot is None else max_one_hot)
        return Data(table.x, table.y, table.classes, {
            "form": form, "encoding": table.encoding.to_dict(), "missing": missing}, lines=table.lines)
    if form == "images":
        if how is not None:
            size, mode, classes = how["size"], how["mode"], how["classes"]
        else:
            mode, classes = "rgb", None
        images = nf.data.image_folder(path, size, mode, classes, labels=targets)
        return Data(images.x, images.y, images.classes, {
            "form": form, "size": list(images.x.shape[1:3]), "mode": mode, "classes": images.classes}, images.paths)
    x, y = read_arrays(path, labels)
    classes = None if how is None else how["classes"]
    if y is not None and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y is not None and y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8", "replace")
    if how is None and kind == "classes" and (y is None or y.ndim != 1):
        raise ValueError(f"{path}: --kind classes needs one label for each sample, "
                         f"{'there are none' if y is None else f'y has shape {y.shape}'}")
    if how is None and y is not None and y.ndim == 1 and (
            kind == "classes" or (kind != "numbers" and y.dtype.kind in "iubU")):
        y, names = nf.data.encode_labels(y)
        classes = [str(name) for name in names]
    elif y is not None and classes is not None and targets:
        y, _ = nf.data.encode_labels([str(value) for value in y.tolist()], classes)
    return Data(x, y, classes, {"form": form, "classes": classes})


def form_of(path):
    """What a file or folder that is there holds, by its name."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file or folder {path!r}")
    form = form_by_name(path)
    if form is None:
        raise ValueError(f"{path}: unknown kind of file; expected a table (.csv, .tsv, .txt), .npz, idx (.idx, -ubyte, "
                         "plain or .gz), or a folder of image folders")
    return form


def form_by_name(path):
    name = path.lower()
    if os.path.isdir(path) or name.endswith(nf.data.images.ENDINGS):
        return "images"
    if name.removesuffix(".gz").endswith((".csv", ".tsv", ".txt")):
        return "a table"
    if name.endswith(".npz") or name.removesuffix(".gz").endswith((".idx", "ubyte")):
        return "arrays"
    return None


def read_arrays(path, labels):
    """x and y of an .npz file with arrays of these names, or of idx files (those of MNIST)."""
    if path.lower().endswith(".npz"):
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                names = list(stored)
                x, y = (stored[name] if name in names else None for name in ("x", "y"))
        except (ValueError, TypeError, EOFError, zlib.error, zipfile.BadZipFile):
            raise ValueError(f"{path}: is not an .npz file of numbers and texts, or damaged; np.savez('file.npz', x=x, "
                             "y=y) writes one") from None
        if x is None:
            raise ValueError(f"{path}: has the arrays {', '.join(names)}; expected x, and y to train")
    else:
        x, y = nf.datasets.read_idx(path), None if labels is None else nf.datasets.read_idx(labels)
    if y is not None and y.ndim == 0:
        raise ValueError(f"{path}: y is a single value; expected one for each sample")
    if y is not None and x.ndim > 0 and len(x) != len(y):
        raise ValueError(f"{path}: {len(x)} samples, but {len(y)} targets")
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(f"{path}: x has shape {x.shape}; expected (samples, values) or (samples, height, width, "
                         "channels)")
    return x[..., None] if x.ndim == 3 else x, y


# --- models from text ------------------------------------------------------------------------------------------------

def layers_of(text):
    """Layers of a text such as "conv:16:5 relu maxpool flatten dense:64 relu dropout:0.5"."""
    layers = []
    for word in text.split():
        name, *numbers = word.split(":")
        try:
            values = [float(value) if "." in value else int(value) for value in numbers]
        except ValueError:
            raise ValueError(f"--model: {word!r}: {':'.join(numbers)!r} is not a number") from None
        makers = {
            "dense": (nf.Dense, 1, 1), "conv": (lambda k, r=3: nf.Conv2D(k, r, padding="same"), 1, 2),
            "maxpool": (lambda r=2: nf.MaxPool2D(r), 0, 1), "avgpool": (lambda r=2: nf.AvgPool2D(r), 0, 1),
            "flatten": (nf.Flatten, 0, 0), "dropout": (nf.Dropout, 1, 1), "batchnorm": (nf.BatchNorm, 0, 0),
            "layernorm": (nf.LayerNorm, 0, 0), "groupnorm": (nf.GroupNorm, 1, 1),
            "gap": (nf.GlobalAvgPool, 0, 0),
        }
        if name not in makers:
            if values:
                raise ValueError(f"--model: unknown layer {word!r}; known: {', '.join(makers)}, and activations")
            try:
                layers.append(nf.Activation(name))
            except ValueError:
                raise ValueError(f"--model: unknown layer {word!r}; known: {', '.join(makers)}, and activations such "
                                 "as relu, tanh, sigmoid, gelu") from None
            continue
        make, least, most = makers[name]
        if not least <= len(values) <= most:
            raise ValueError(f"--model: {word!r}: {name} takes {least if least == most else f'{least} or {most}'} "
                             f"number{'s' if most != 1 else ''}, as in "
                             f"{name}{':64' if least and name != 'dropout' else ''}")
        layers.append(make(*values))
    return layers


def build(text, data, train_x, train_y, args):
    """The compiled network: normalisation, the layers asked for, and the output that fits the target."""
    ids = isinstance(train_x, dict)
    images = not ids and train_x.ndim > 2
    layers = layers_of((CONVOLUTIONAL if images else DENSE) if text is None else text)
    if images and not any(layer.kind in ("flatten", "global_avg_pool") for layer in layers):
        raise ValueError("--model: images need flatten or gap before the output")
    if data.classes:
        last = nf.Dense(len(data.classes), activation="softmax")
    else:
        last = nf.Dense(1 if train_y.ndim == 1 else train_y.shape[1])
    if ids:
        inputs, value = inputs_of(train_x, TableEncoding(**data.how["encoding"]), WIDTH)
        for layer in (*layers, last):
            value = layer(value)
        model = nf.Model(inputs, value, seed=args.seed)
    else:
        first = nf.Rescale(1 / 255) if train_x.dtype == np.uint8 else nf.data.normalization(train_x)
        model = nf.Sequential([first, *layers, last], input_shape=train_x.shape[1:], seed=args.seed)
    model.compile(nf.Adam(args.lr), "cross_entropy" if data.classes else "squared_error",
                  metrics=["accuracy"] if data.classes else ["mae", "r2"], n_threads=args.threads)
    return model


def fit_numbers(model, x, y, validation_data, **settings):
    """`fit` in units of the targets' spread, else the errors of large numbers would hide those of the others.

    Afterwards, also after Ctrl-C, the last layer, a Dense, answers in the targets' own units.
    """
    xv, yv = validation_data
    mean, variance = nf.data.normalization(y if y.ndim > 1 else y[:, None]).statistics
    spread = np.sqrt(variance)
    try:
        return model.fit(x, (y - mean) / spread, validation_data=(xv, (yv - mean) / spread), **settings)
    finally:
        *others, kernel, bias = model.get_weights()
        model.set_weights([*others, kernel * spread, bias * spread + mean])
        model.compile(**model.get_compile_config())     # the optimizer's moments were those of other gradients


# --- commands --------------------------------------------------------------------------------------------------------

def train(args):
    data = read(args.data, None, args.target, args.drop, args.missing, args.kind, args.labels, args.size,
                categories=args.category, max_one_hot=args.max_one_hot)
    if data.y is None:
        raise ValueError(f"{args.data}: has no targets; an .npz file needs an array y, idx files --labels FILE")
    if data.classes and len(data.classes) < 2:
        raise ValueError(f"{args.data}: has samples of one class only, {data.classes[0]!r}; there is nothing to learn")
    if not data.classes:
        y = as_numbers(data.y, f"{args.data}: y")
        check_finite(y, np.dtype(np.float32), f"{args.data}: y")
        # Tables count such numbers from their smallest.
        if varies_finely(y.reshape(len(y), -1), COARSEST).any():
            raise ValueError(f"{args.data}: y: its numbers lie so close together, far from 0, that float32 would make "
                             "many of them equal; subtract their mean")
    share = number("--validation", "SHARE", args.validation, above=0, below=1)
    x, xv, y, yv = nf.data.train_test_split(data.x, data.y, test_size=share, seed=args.seed,
                                            stratify=data.y if data.classes else None)
    model = build(args.model, data, x, y, args)
    model.metadata = {KEY: data.how}
    if data.classes:
        model.class_names = data.classes
    silent = args.quiet or args.json
    what = (counted(len(data.classes), "class") if data.classes else
            "a number" if y.ndim == 1 else counted(y.shape[1], "number"))
    if not silent:
        print(f"{counted(len(y), 'sample')} to train, {len(yv)} to validate; predicting {what} from {data.values}; "
              f"{model.count_params():,} parameters")
        if not data.classes:
            print("the errors of the epochs are in units of the targets' standard deviations")
    callbacks = []
    if args.patience is not None:
        callbacks.append(nf.EarlyStopping(patience=args.patience, restore_best=True))
    try:
        fit = model.fit if data.classes else functools.partial(fit_numbers, model)
        history = fit(x, y, batch_size=args.batch_size, epochs=args.epochs, validation_data=(xv, yv),
                      callbacks=callbacks, verbose=0 if silent else 1)
    except (KeyboardInterrupt, nf.TrainingError):
        if args.out:
            model.save(args.out)
            print(f"\nsaved what was reached as {args.out}", file=sys.stderr)
        raise
    if args.out:
        model.save(args.out)
    figures = model.evaluate(xv, yv)
    table = confusion(model, xv, yv) if data.classes and not args.quiet else None
    if args.plot:
        nf.plot.history(history, save=args.plot)
    report = {"figures": figures, "epochs": len(history.epoch), "train_samples": len(y), "validation_samples": len(yv),
              "seconds": sum(history.seconds), "classes": data.classes, "out": args.out,
              "confusion": None if table is None or not args.json else table.tolist()}
    if args.json:
        print_json(report)
    elif not args.quiet:
        print(f"{counted(len(history.epoch), 'epoch')} in {sum(history.seconds):.2f} s; on the validation samples: "
              f"{words(figures)}")
        show_confusion(table, data.classes)
        if args.out:
            print(f"saved as {args.out}; use it with: nnfast predict {args.out} DATA")
    return 0


def evaluate(args):
    model, data = model_and_data(args)
    if data.y is None:
        raise ValueError(f"{args.data}: has no targets to compare with; `nnfast predict` needs none")
    figures = model.evaluate(data.x, data.y)
    labels = data.classes and data.y.ndim == 1 and data.y.dtype.kind in "iub"
    table = confusion(model, data.x, data.y) if labels and (args.json or not args.quiet) else None
    if args.json:
        print_json({"figures": figures, "samples": len(data), "classes": data.classes,
                    "confusion": None if table is None else table.tolist()})
    elif not args.quiet:
        print(f"{counted(len(data), 'sample')}: {words(figures)}")
        show_confusion(table, data.classes)
    return 0


def predict(args):
    model, data = model_and_data(args, targets=False)
    columns = []
    if data.paths:
        columns.append(("file", data.paths))
    elif data.how.get("missing") == "drop":
        gaps = not np.array_equal(data.lines, np.arange(2, len(data.lines) + 2))
        if gaps and not args.quiet:
            print(f"{args.data}: rows with gaps are left out; the first column tells the numbers of the others",
                  file=sys.stderr)
        # Else nobody could tell to which rows the predictions belong.
        if gaps or args.missing == "drop":
            columns.append(("row", data.lines.tolist()))
    outputs = model.predict(data.x)
    for i, values in enumerate([outputs] if len(model.output_names) == 1 else outputs):
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if len(bad):
            raise ValueError(f"{args.data}: the prediction of sample {bad[0]} is not finite; are its values?")
        columns += columns_of(model, i, values)
    header, rows = [name for name, _ in columns], list(zip(*(column for _, column in columns)))
    if args.json:
        report = json.dumps([dict(zip(header, row)) for row in rows])
    with open_output(args.out) as file:
        if args.json:
            file.write(report + "\n")
        else:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
    if args.out and not (args.quiet or args.json):
        print(f"{counted(len(rows), 'prediction')} in {args.out}")
    return 0


def columns_of(model, output, values):
    """An output's columns in the table of predictions: pairs of a name (after the output's, if there are several) and
    texts, or numbers with the fewest digits that tell them apart.
    """
    name = model.output_names[output]
    prefix = f"{name}:" if len(model.output_names) > 1 else ""
    classes = model.class_names
    if isinstance(classes, dict):
        classes = classes.get(name)
    columns, offsets = [], {}
    if classes and len(classes) > 1 and values.ndim == 2:
        values = probabilities(model, values, output)
        columns.append((prefix + "prediction", [classes[i] for i in values.argmax(axis=1)]))
        names = [f"p({name})" for name in classes]
    else:
        values = values.reshape(len(values), -1)
        target = (model.metadata.get(KEY, {}).get("encoding") or {}).get("target") or {}
        names = target.get("names") or [f"output{i}" for i in range(values.shape[1])]
        offsets = dict(zip(names, target.get("offsets", ())))
    return columns + [(prefix + name, [float(str(value)) + offsets.get(name, 0.0) for value in column])
                      for name, column in zip(names, values.T)]


def summary(args):
    model = nf.load(args.model_file)
    if args.json:
        print_json({"name": model.name, "parameters": model.count_params(), "input_shapes": model.input_shapes,
                    "output_shapes": model.output_shapes, "classes": model.class_names, "dtype": model.dtype,
                    "layers": described_layers(model)})
    elif not args.quiet:
        model.summary()
        classes = model.class_names
        for output, names in classes.items() if isinstance(classes, dict) else [("classes", classes or [])]:
            if names:
                print(f"{output}: {', '.join(names)}")
    return 0


def table_columns(model):
    """Names of the numbers and ids that a model of a table reads, and of the numbers that it gives, in their order: the
    other commands make them of a table's columns, a program that runs an exported network has to."""
    how = model.metadata.get(KEY)
    if not isinstance(how, dict) or how.get("form") != "a table":   # a program may have its own metadata of this name
        return {}
    encoding = TableEncoding(**how["encoding"])
    columns = {"numbers": encoding.feature_names, "ids": encoding.id_names}
    if encoding.target and not encoding.classes:
        columns["target"] = [less(*pair) for pair in zip(encoding.target["names"], offsets_of(encoding.target))]
    return {what: names for what, names in columns.items() if names}


def export(args):
    model = nf.load(args.model_file)
    columns = table_columns(model)
    ending = os.path.splitext(args.out)[1].lower()
    if ending == ".onnx":
        nf.onnx.export(model, args.out)
        files = [args.out]
    elif ending == ".c":
        files = nf.export_c(model, args.out)
    else:
        raise ValueError(f"--out {args.out}: the ending says what to write, .onnx or .c")
    if args.json:
        print_json({"files": list(map(str, files)), **columns})
    elif not args.quiet:
        print(f"written: {', '.join(map(str, files))}")
        for what, names in columns.items():
            print(f"{what}: {', '.join(names)}")
    return 0


def bench(args):
    """Time prediction and, for a model compiled with a loss, a training step, on random data."""
    model = nf.load(args.model_file)
    rng = np.random.default_rng(0)
    report = {}
    for rows in (1, args.batch_size):
        x = [rng.random((rows, *shape), np.float32) if ids is None else rng.integers(0, ids.limit, (rows, *shape))
             for shape, ids in zip(model.input_shapes, model._graph.ids)]
        x = x[0] if len(x) == 1 else x
        report[f"predict {rows}"] = seconds_of(lambda x=x: model.predict(x))
    if model._objective:
        outputs = model.predict(x)
        outputs = [outputs] if len(model.output_names) == 1 else outputs
        y = [answers(loss, values, model.data_format) for loss, values in zip(model._objective.losses, outputs)]
        y = y[0] if len(y) == 1 else y
        trained = model.clone()
        report[f"train step {args.batch_size}"] = seconds_of(lambda: trained.train_on_batch(x, y))
    if args.json:
        print_json({"seconds": report})
    elif not args.quiet:
        for what, seconds in report.items():
            rows = int(what.split()[-1])
            name = f"{what.rsplit(' ', 1)[0]}, {counted(rows, 'sample')}"
            print(f"{name:28} {seconds * 1e6:12,.1f} us {rows / seconds:14,.0f} samples/s")
    return 0


def answers(loss, values, data_format):
    """An output's own values as targets that fit its loss: any number of steps towards them stays finite."""
    if loss.name == "cross_entropy":
        return values.argmax(axis=class_axis(values.shape[1:], data_format))
    return values.clip(0, 1) if loss.name == "binary_cross_entropy" else values


COMMANDS = {"train": train, "evaluate": evaluate, "predict": predict, "summary": summary, "export": export,
            "bench": bench}


# --- what the commands share -----------------------------------------------------------------------------------------

def model_and_data(args, targets=True):
    try:
        model = nf.load(args.model_file)
    except (nf.FileFormatError, IsADirectoryError):
        if form := form_by_name(args.model_file):
            raise ValueError(f"{args.model_file}: holds {form}, not a model; the order is MODEL DATA") from None
        raise
    how = model.metadata.get(KEY)
    if how is not None:
        return model, read(args.data, how, missing=args.missing, labels=args.labels, targets=targets)
    if form_of(args.data) != "arrays":
        raise ValueError(f"{args.model_file}: was not made by `nnfast train`, so it does not say how to read "
                         f"{args.data}; give an .npz file with an array x")
    data = read(args.data, {"form": "arrays", "classes": None}, missing=args.missing, labels=args.labels)
    # Numbers are targets as `fit` took them; only texts stand for the labels of classes.
    if isinstance(model.class_names, list) and len(model.class_names) > 1:
        data.classes = model.class_names
        if targets and data.y is not None and data.y.dtype.kind in "US":
            data.y, _ = nf.data.encode_labels(data.y.astype(str), data.classes)
    return model, data


def confusion(model, x, y):
    """Counts: rows are the true classes, columns the predicted ones; of samples with a label that counts. None for very
    many classes."""
    p = probabilities(model, model.predict(x))
    classes = p.shape[1]
    if classes > MOST_CONFUSED:
        return None
    counted = y != model._objective.losses[0].ignore_label
    cells = y[counted].astype(np.intp) * classes + p[counted].argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def probabilities(model, values, output=0):
    """(N, classes) of an output's values (N, width); a width of 1 is the probability of the second class of two."""
    loss = model._objective.losses[output] if model._objective else None
    if loss is not None and loss.from_logits:
        values = getattr(nf.functional, loss.activation)(values)
    return values if values.shape[1] > 1 else np.concatenate([1 - values, values], axis=1)


def show_confusion(table, classes):
    if table is None or len(classes) > 20:
        return
    names = [name if len(name) <= 12 else name[:11] + "~" for name in classes]
    left = max(len("true"), *map(len, names))
    width = max(4, *map(len, names), len(str(table.max())))
    print(f"\n{'true':{left}}  predicted\n{'':{left}}  " + " ".join(f"{name:>{width}}" for name in names))
    for name, row in zip(names, table):
        print(f"{name:{left}}  " + " ".join(f"{count:{width}}" for count in row))


def print_json(report):
    """A line of JSON, which has no infinity: null stands for it, and for NaN."""
    def finite(value):
        if isinstance(value, dict):
            return {name: finite(part) for name, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [finite(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    print(json.dumps(finite(report), allow_nan=False))


def words(figures):
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def open_output(path):
    """The file to write to, or the standard output."""
    return open(path, "w", newline="", encoding="utf-8") if path else contextlib.nullcontext(sys.stdout)


def seconds_of(call):
    """The least time of a call, over about half a second."""
    call()
    best, end = float("inf"), time.perf_counter() + 0.5
    while time.perf_counter() < end:
        begun = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begun)
    return best
