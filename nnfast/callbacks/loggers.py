"""Figures of every epoch, written where other programs read them."""

from __future__ import annotations

import csv
import os
from typing import IO, TYPE_CHECKING, Any

from ..configurable import boolean, separator_of_fields
from ..tensor_file import replace
from .base import Callback, numbers_in

if TYPE_CHECKING:
    from ..typing import Logs, PathLike
    from .base import CallbackList


class CSVLogger(Callback):
    """Write the figures of each epoch as a row of a table; each row is on the disk when the next epoch begins.

    Parameters
    ----------
    path : str or os.PathLike
    separator : str
    append : bool
        True: write below the rows that are there, which must have the same columns. False: a new file, but where
        training goes on (`fit` with resume or initial_epoch). Then rows of epochs that come again give way.

    Examples
    --------
    >>> import os, tempfile
    >>> import nnfast as nf
    >>> path = os.path.join(tempfile.mkdtemp(), "log.csv")
    >>> model = nf.Sequential([nf.Dense(1, kernel_initializer="zeros")], input_shape=(1,))
    >>> model.compile(nf.SGD(0.25), "squared_error")
    >>> history = model.fit([[1.0]], [[2.0]], epochs=2, callbacks=nf.callbacks.CSVLogger(path), verbose=0)
    >>> with open(path) as file:
    ...     file.read()
    'epoch,loss\\n0,4.0\\n1,0.0\\n'
    """

    def __init__(self, path: PathLike, separator: str = ",", append: bool = False) -> None:
        self.path = os.fspath(path)
        self.separator = separator_of_fields("CSVLogger", separator)
        self.append = boolean("CSVLogger", "append", append)
        self._file: IO[str] | Any = None
        self._run: CallbackList | None = None
        self._columns: list[str] | None = None      # of this training
        self._lines: list[str] = []     # that are in the file
        self._first = 0         # epoch of this training

    def set_run(self, run: CallbackList) -> None:
        self._run = run

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._first = 0 if self._run is None else self._run.position.epoch
        self._lines, self._columns = [], None
        if (self.append or self._first > 0) and os.path.exists(self.path):
            with open(self.path, newline="", encoding="utf-8") as file:
                self._lines = file.readlines()
        # Opened before the first epoch, so that a path that cannot be written to is known before hours of training.
        self._open("a" if self._lines else "w")

    def _open(self, mode):
        self._file = open(self.path, mode, newline="", encoding="utf-8")
        self._rows = csv.writer(self._file, delimiter=self.separator, lineterminator="\n")

    def _begin(self, columns):
        """Before the first row, of which the columns are known then: what is to stay of the rows that are there."""
        self._columns = columns
        there = next(csv.reader(self._lines, delimiter=self.separator), None)
        if self._lines and there != columns and self.append:
            raise ValueError(f"CSVLogger: {self.path} has the columns {', '.join(there)}, this training has "
                             f"{', '.join(columns)}; take another file, or append=False")
        kept = len(self._lines) if there == columns else 0
        while self._first > 0 and kept > 1 and at_least(self._lines[kept - 1].split(self.separator)[0], self._first):
            kept -= 1
        if kept < len(self._lines):
            self._file.close()
            replace(self.path, ["".join(self._lines[:kept]).encode()])
            self._open("a")
        if kept == 0:
            self._rows.writerow(columns)
        elif not self._lines[kept - 1].endswith("\n"):
            self._file.write("\n")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        columns = ["epoch", *logs]
        if self._columns is None:
            self._begin(columns)
        elif columns != self._columns:
            raise ValueError(f"CSVLogger: the rows of {self.path} have the columns {', '.join(self._columns)}, this "
                             f"epoch has {', '.join(columns)}")
        self._rows.writerow([epoch, *(number_in("CSVLogger", name, value) for name, value in logs.items())])
        self._file.flush()

    def close(self) -> None:
        self._run = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def __getstate__(self):
        return self.__dict__ | {"_file": None, "_rows": None, "_run": None}


def at_least(text, epoch):
    return text.strip().isdecimal() and int(text) >= epoch


def number_in(who, name, value):
    try:
        return repr(float(value))
    except (TypeError, ValueError):
        raise TypeError(f"{who}: {name!r} among the figures is not a number: {value!r}") from None


class TensorBoard(Callback):
    """Write the figures of each epoch for TensorBoard; needs ``pip install 'nnfast[tensorboard]'``.

    Training and validation figures of one name share a chart: "loss/train" and "loss/validation".

    Parameters
    ----------
    folder : str or os.PathLike
        TensorBoard shows it with ``tensorboard --logdir folder``; give each training a folder of its own in it.
    batches : bool
        True: also the running figures after every batch, as "loss/batch"; `fit` then returns to Python after each.

    Examples
    --------
    >>> import os, tempfile
    >>> import nnfast as nf
    >>> folder = tempfile.mkdtemp()
    >>> model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
    >>> model.compile("sgd", "squared_error")
    >>> history = model.fit([[1.0]], [[2.0]], epochs=2, callbacks=nf.callbacks.TensorBoard(folder), verbose=0)
    >>> [name.startswith("events.out.tfevents") for name in os.listdir(folder)]
    [True]
    """

    def __init__(self, folder: PathLike, batches: bool = False) -> None:
        self.folder = os.fspath(folder)
        self.batches = boolean("TensorBoard", "batches", batches)
        self._writer: Any = None

    @property
    def wants_batches(self) -> bool:
        return self.batches

    def on_train_begin(self, logs: Logs | None = None) -> None:
        try:
            from tensorboardX import SummaryWriter  # here, because few need it
        except ImportError:
            raise ImportError("TensorBoard: needs tensorboardX; pip install 'nnfast[tensorboard]'") from None

        self._writer = SummaryWriter(self.folder)
        self._done: int | Any = None        # steps of the epochs before this one

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self._done is None:
            self._done = epoch * self.params["steps"]

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        if self.batches:
            for name, value in numbers_in(logs).items():
                self._writer.add_scalar(f"{name}/batch", value, self._done + batch)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        for name, value in numbers_in(logs).items():
            validation = name.startswith("val_")
            tag = f"{name.removeprefix('val_')}/{'validation' if validation else 'train'}"
            self._writer.add_scalar(tag, value, epoch)
        optimizer = self.model.optimizer
        if optimizer is not None and isinstance(optimizer.learning_rate, float):
            self._writer.add_scalar("learning_rate", optimizer.learning_rate, epoch)
        self._writer.flush()
        self._done += self.params["steps"]      # of this epoch: a generator's differ

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __getstate__(self):
        return self.__dict__ | {"_writer": None}
