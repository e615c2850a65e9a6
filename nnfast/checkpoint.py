"""Checkpoints while `fit` runs, and going on from one with the same bits.

A checkpoint is a model file (files.py) whose entry ``fit`` says where training stood:

    epoch, step      epochs done, and batches done of the one after them
    totals           what those batches have added up; null between epochs
    stopped          whether a callback had ended training
    learning_rate    as it is set now; null if it is a Python function, or a schedule of a class of the user's own
    data             what `signature` says of the training data, which must be the same when going on
    callbacks        class and state of each callback that has one; their arrays are tensors "callbacks/0/..."

The random streams are counter-based (training.py), so the counters in ``training`` are all of their state.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import warnings
import zlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .callbacks.base import Callback, Position, check_monitor, expect_monitor, more_is_better
from .configurable import check_known, integer
from .files import (
    CALLBACKS,
    check_tensors,
    describe,
    is_portable,
    numbers,
    pack,
    plain_numbers,
    read_history,
    split,
    unpack,
)
from .names import choose
from .tensor_file import FileFormatError, Problem, flush_folder, is_integer, naming, read, replace, short

if TYPE_CHECKING:
    from .callbacks import CallbackList
    from .typing import Config, Logs, Mode, PathLike

NAME = re.compile(r"checkpoint-(\d{6,})\.safetensors")
BEST = "best.safetensors"
ENTRIES = {"epoch", "step", "totals", "stopped", "learning_rate", "data", "callbacks"}


class Checkpoint(Callback):
    """Save the whole state of training again and again, so that ``fit(..., resume=folder)`` can go on from it.

    Going on leads to the very weights, bit for bit, that training without the interruption would have reached, at any
    number of threads on one instruction-set level. Each file is complete or not there: it is written beside its place,
    forced to the disk and renamed. `nf.load` reads a checkpoint, too, as the model it holds.

    Parameters
    ----------
    folder : str or os.PathLike
        Made if missing. The files are called ``checkpoint-000001.safetensors`` and so on, the newest last.
    every : "epoch" or int
        "epoch": after each epoch. A number: after so many batches, counted over all epochs. In both cases the end of
        training is saved, too.
    monitor : str, optional
        Name of a figure, e.g. "val_loss": the state after the epoch with the best one is also kept, as
        ``best.safetensors``.
    keep : int
        How many checkpoints to keep besides the best. With 2 or more a damaged newest one costs the work since the one
        before it, not all.
    mode : {"auto", "min", "max"}
        Whether less or more of `monitor` is better, as in `EarlyStopping`.

    Raises
    ------
    ValueError
        When training begins, if the folder holds checkpoints of another run, which this one would delete.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> folder = tempfile.mkdtemp()
    >>> def train(epochs):
    ...     model = nf.Sequential([nf.Dense(8, activation="tanh"), nf.Dense(1)], input_shape=(1,))
    ...     model.compile("adam", "squared_error")
    ...     history = model.fit(x, x ** 2, epochs=epochs, callbacks=nf.callbacks.Checkpoint(folder), resume=folder,
    ...                         verbose=0)
    ...     return model, history.epoch
    >>> train(2)[1], train(4)[1]        # the second call goes on after the first one's two epochs
    ([0, 1], [0, 1, 2, 3])
    """

    comes_last = True

    def __init__(self, folder: PathLike, every: Literal["epoch"] | int = "epoch", monitor: str | None = None,
                 keep: int = 3, mode: Mode = "auto") -> None:
        self.folder = os.fspath(folder)
        if every != "epoch":
            if isinstance(every, str):
                raise ValueError(f'Checkpoint: every must be "epoch" or a number of batches, got {every!r}')
            every = integer("Checkpoint", "every", every, at_least=1)
        self.every = every
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"Checkpoint: monitor must be a name, got {type(monitor).__name__}: {monitor!r}")
        self.monitor = monitor
        self.keep = integer("Checkpoint", "keep", keep, at_least=1)
        self.mode = choose("Checkpoint mode", mode, ("auto", "min", "max"))
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._own: set[str] = set()       # names of the files this object has written
        self._run: CallbackList | Any = None
        self._saved: Position | None = None

    @property
    def batch_interval(self) -> int:
        return 0 if self.every == "epoch" else self.every

    def set_run(self, run: CallbackList) -> None:
        self._run = run

    def close(self) -> None:
        self._run = self.model = None

    def get_state(self) -> Config | None:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def set_state(self, state: Config) -> None:
        self.best, self.best_epoch = state["best"], state["best_epoch"]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self.monitor is not None:
            expect_monitor("Checkpoint", self.monitor, self.params)
        os.makedirs(self.folder, exist_ok=True)
        self.best = self.best_epoch = None
        self._saved = self._run.position if self._run.resumed == os.path.realpath(self.folder) else None
        foreign = [name for _, name in checkpoints(self.folder) if name not in self._own]
        if foreign and self._saved is None and not self._of_this_run(foreign[-1]):
            raise ValueError(f"Checkpoint: {self.folder} holds {foreign[-1]} of an earlier run; go on with it by "
                             f"fit(..., resume={self.folder!r}), or choose another folder")
        # What a killed process has left half written.
        for name in os.listdir(self.folder):
            if re.fullmatch(r"\.nnfast-[0-9a-f]{16}\.tmp", name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.folder, name))
        self._portable = is_portable(self.model)

    def _of_this_run(self, name):
        """Whether training goes on, from another folder, with the run that has also written this checkpoint."""
        if self._run.resumed is None:
            return False
        path = os.path.join(self.folder, name)
        try:
            with naming(path):
                description, _ = unpack(*read(path))
                check_fit(description["fit"])
            _check_same(self.model, description, self._run.signature, path)
        except ValueError:      # FileFormatError is one
            return False
        return True

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        position = self._run.position
        if self.every != "epoch" and (position.epoch * self.params["steps"] + position.step) % self.every == 0:
            self._save()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        improved = False
        if self.monitor is not None:
            check_monitor("Checkpoint", self.monitor, logs)
            value = logs[self.monitor]
            more = more_is_better(self.monitor, self.mode, self.model)
            improved = value == value and (self.best is None or (value > self.best if more else value < self.best))
        if improved:
            self.best, self.best_epoch = float(value), epoch
        if improved or self.every == "epoch":
            self._save(improved, self.every == "epoch")

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._saved != self._run.position:
            self._save()

    def _save(self, best=False, numbered=True):
        """Write the state of training, as the best one and as the next in the row."""
        description, tensors = describe(self.model, portable=self._portable)
        description["fit"], arrays = fit_state(self.model, self._run)
        pieces = pack(description, tensors | arrays)
        if best:
            replace(os.path.join(self.folder, BEST), pieces)
        if not numbered:
            return
        there = checkpoints(self.folder)
        name = f"checkpoint-{there[-1][0] + 1 if there else 1:06}.safetensors"
        replace(os.path.join(self.folder, name), pieces)
        self._own.add(name)
        self._saved = self._run.position
        for _, old in [*there, (0, name)][:-self.keep]:
            os.unlink(os.path.join(self.folder, old))
            self._own.discard(old)
        flush_folder(self.folder)


def checkpoints(folder):
    """(number, file name) of the checkpoints in a folder, oldest first."""
    return sorted((int(match[1]), name) for name in os.listdir(folder) if (match := NAME.fullmatch(name)))


def fit_state(model, run):
    """(the entry ``fit``, arrays by tensor name)."""
    position = run.position
    totals = position.totals
    if totals is not None:
        totals = plain_numbers({name: value for name, value in totals.items() if name != "status"})
    states, arrays = [], {}
    for callback in run.callbacks:
        state = callback.get_state()
        if state is None:
            continue
        for name, value in list(state.items()):
            if isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float64) and np.isfinite(value).all():
                arrays[f"{CALLBACKS}{len(states)}/{name}"] = state.pop(name)
        try:
            states.append({"class": type(callback).__name__,
                           "state": json.loads(json.dumps(pack_state(state), allow_nan=False))})
        except (TypeError, ValueError) as error:
            raise ValueError(f"Checkpoint: the state of {type(callback).__name__} must be numbers, texts and arrays: "
                             f"{error}") from error
    return {"epoch": position.epoch, "step": position.step, "totals": totals, "stopped": model.stop_training,
            "learning_rate": rate_config(model.optimizer), "data": run.signature, "callbacks": states}, arrays


def pack_state(value):
    """A callback's state as JSON holds it: numbers that are not finite as {"float": text}, arrays as {"array": dtype,
    "shape", "values"}."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufU":
            raise TypeError(f"an array of {value.dtype} is not of numbers or texts")
        return {"array": value.dtype.str, "shape": list(value.shape), "values": pack_state(value.ravel().tolist())}
    if isinstance(value, dict):
        return {name: pack_state(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [pack_state(entry) for entry in value]
    return {"float": repr(float(value))} if isinstance(value, float) and not math.isfinite(value) else value


def unpack_state(value):
    """The inverse of `pack_state`."""
    if isinstance(value, list):
        return [unpack_state(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"float"} and value["float"] in ("nan", "inf", "-inf"):
        return float(value["float"])
    if set(value) == {"array", "shape", "values"}:
        try:
            return np.array(unpack_state(value["values"]), value["array"]).reshape(value["shape"])
        except (TypeError, ValueError) as error:
            raise Problem(f"a callback's state has an array that is none: {error}") from error
    return {name: unpack_state(entry) for name, entry in value.items()}


def rate_config(optimizer):
    """The learning rate as JSON holds it; None for what it cannot hold."""
    try:
        check_known(optimizer.learning_rate)
        return optimizer.get_config()["learning_rate"]
    except ValueError:
        return None


def signature(xs, ys, weight, batch_size, shuffle):
    """What tells one call of `fit` from another: sizes, and a checksum of some rows of the data."""
    n, code = len(xs[0]), 0
    rows = np.linspace(0, n - 1, min(n, 64)).astype(np.intp)
    # Labels are the same in any type.
    ys = [y[rows].astype(np.int32) if y.dtype.kind in "iu" else y[rows] for y in ys]
    for array in (*(x[rows] for x in xs), *ys, *([] if weight is None else [weight[rows]])):
        code = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8), code)
    if weight is not None and weight.ndim > 1:      # of a single pixel they are as many numbers as those of samples
        code = zlib.crc32(b"pixels", code)
    return {"samples": n, "batch_size": batch_size, "shuffle": shuffle, "rows": f"{code:08x}"}


# --- going on --------------------------------------------------------------------------------------------------------

def resume(model, folder, run, history):
    """Bring a model, its history and a run of `fit` that is about to begin to the newest whole checkpoint.

    A folder that is missing or holds no checkpoint leaves everything as it is: training begins.

    Raises
    ------
    FileFormatError
        If there are checkpoints, but none can be read.
    ValueError
        If the checkpoint is of another model, other settings or other data.
    """
    folder = os.fspath(folder)
    if not os.path.exists(folder):
        return
    there = checkpoints(folder)
    errors = []
    for _, name in reversed(there):
        path = os.path.join(folder, name)
        try:
            with naming(path):
                description, tensors = unpack(*read(path))
                check_fit(description["fit"])
            break
        except FileFormatError as error:
            errors.append(error)
            if len(errors) < len(there):
                warnings.warn(f"{error}; going back to the checkpoint before it", RuntimeWarning, stacklevel=5)
    else:
        if errors:
            raise FileFormatError(f"{folder}: none of its {len(there)} checkpoints can be read: {errors[0]}")
        return
    fit, training = description["fit"], description["training"]
    _check_same(model, description, run.signature, path)
    with naming(path):
        weights, state, arrays = split(tensors, model._graph.index)
        check_tensors(weights, model._graph, model.dtype)
        if not isinstance(training, dict) or not is_integer(training.get("epochs_trained")):
            raise Problem("has no state of training")
        earlier = read_history(training.get("history"))
        totals = None
        if fit["totals"] is not None:
            totals = numbers(fit["totals"], "totals") | {"status": "ok"}
        states = _assign(fit["callbacks"], arrays, run.callbacks, path)
    if description["model"] is not None:
        for layer, entry in zip(model.layers, description["model"]["layers"], strict=True):
            layer.trainable = entry["config"]["trainable"]
    if fit["learning_rate"] is not None:
        given = rate_config(model.optimizer)
        # A rate that callbacks have changed since is nobody's wish for another one.
        if given not in (fit["learning_rate"], fit["data"].get("learning_rate")):
            warnings.warn(f"{path}: going on with its learning rate, {short(fit['learning_rate'])}, not with "
                          f"{short(given)}, which the model was compiled with; to change it, nf.load the checkpoint, "
                          "compile and call fit without resume", RuntimeWarning, stacklevel=5)
        model.optimizer.learning_rate = fit["learning_rate"]
        run.signature["learning_rate"] = fit["data"].get("learning_rate")
    model.set_optimizer_state(state, training["iterations"])
    model.set_parameters(weights)
    # The number of the epoch in progress keys its order; `fit` counts it anew.
    model.epochs_trained = training["epochs_trained"] - (totals is not None)
    if earlier is not None:
        history.epoch, history.history, history.seconds = earlier.epoch, earlier.history, earlier.seconds
    run.position = Position(fit["epoch"], fit["step"], totals)
    run.resumed = os.path.realpath(folder)
    run.states = states
    # EarlyStopping's word stands. What another callback has ended, the time of a machine perhaps, goes on.
    run.stopped = fit["stopped"] and any(state.get("stopped_epoch") is not None for _, state in run.states)


def check_fit(fit):
    """The entry ``fit`` of a file is one."""
    if not isinstance(fit, dict) or set(fit) != ENTRIES:
        raise Problem("is a model, not a checkpoint" if fit is None
                      else f"fit must have the entries {sorted(ENTRIES)}, got {short(fit)}")
    if not all(is_integer(fit[name]) and fit[name] >= 0 for name in ("epoch", "step")) or not isinstance(
            fit["stopped"], bool) or not isinstance(fit["data"], dict):
        raise Problem(f"fit says no position: {short(fit)}")
    totals, callbacks = fit["totals"], fit["callbacks"]
    names = {"loss", "weight", "steps", "count", "step", "metrics", "output_loss"}
    if (totals is None) != (fit["step"] == 0) or (totals is not None and (
            not isinstance(totals, dict) or set(totals) != names)):
        raise Problem(f"fit: totals do not fit step {fit['step']}: {short(totals)}")
    if not isinstance(callbacks, list) or not all(
            isinstance(entry, dict) and set(entry) == {"class", "state"} and isinstance(entry["class"], str)
            and isinstance(entry["state"], dict) for entry in callbacks):
        raise Problem(f"fit: callbacks must be a list of classes and states, got {short(callbacks)}")


def _check_same(model, description, data, path):
    """The model and the data are those that the checkpoint was made with."""
    here, there = ({"data": {name: value for name, value in entries.items() if name != "learning_rate"}}
                   for entries in (data, description["fit"]["data"]))
    if description["model"] is not None:
        here |= {"model": _comparable_model(model.get_config()), "compile": _comparable(model.get_compile_config())}
        there |= {"model": _comparable_model(description["model"]), "compile": _comparable(description["compile"])}
    found = first_difference(there, here)
    if found and found.startswith("data: rows:"):
        found = "data: rows with other numbers, targets or weights (of samples, pixels or classes), or split otherwise"
    if found:
        raise ValueError(f"fit: {path} is of another run: {found}; give the same model, settings and data, or begin "
                         "anew without resume")


def _comparable_model(config):
    """Without what callbacks may change: which layers are trained."""
    layers = [{**entry, "config": {name: value for name, value in entry["config"].items() if name != "trainable"}}
              for entry in config["layers"]]
    return {**config, "layers": layers}


def _comparable(compiled):
    """Without what callbacks may change, the learning rate, and what makes no difference, the threads."""
    optimizer = compiled["optimizer"]
    config = {name: value for name, value in optimizer["config"].items() if name != "learning_rate"}
    return {**compiled, "optimizer": {**optimizer, "config": config}, "n_threads": None}


def first_difference(there, here, where=""):
    """Where two JSON values differ, in words, or None."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in sorted(there.keys() | here.keys()):
            found = first_difference(there.get(name), here.get(name), f"{where}{name}: ")
            if found:
                return found
        return None
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        return next((found for i, (a, b) in enumerate(zip(there, here))
                     if (found := first_difference(a, b, f"{where}{i}: "))), None)
    if there == here and type(there) is type(here):
        return None
    return f"{where}{short(there)} there, {short(here)} here"


def _assign(entries, arrays, callbacks, path):
    """[(callback, state)], matched by class, in order."""
    left, states = list(callbacks), []
    for i, entry in enumerate(entries):
        callback = next((c for c in left if type(c).__name__ == entry["class"]), None)
        if callback is None:
            if entry["class"] != "Checkpoint":
                warnings.warn(f"{path} holds the state of a callback {entry['class']}, which this call of fit has not",
                              RuntimeWarning, stacklevel=6)
            continue
        left.remove(callback)
        own = {name.partition("/")[2]: array for name, array in arrays.items() if name.partition("/")[0] == str(i)}
        states.append((callback, unpack_state(entry["state"]) | own))
    return states
