"""The base of the callbacks, and those that most trainings use."""

from __future__ import annotations

import math
import sys
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..configurable import argument_text, boolean, call_text, integer, number
from ..names import Explained, choose, of_nnfast

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model import Model
    from ..totals import TrainingError
    from ..typing import Array, Callbacks, Config, Data, Inputs, Logs, Mode, Verbose


class Position(NamedTuple):
    """Where `fit` stands: epochs done, batches done of the next one, and what these have added up.

    >>> import nnfast as nf
    >>> nf.callbacks.Position(epoch=2, step=10)
    Position(epoch=2, step=10, totals=None)
    """

    epoch: int
    step: int = 0
    totals: dict[str, Any] | None = None


class Callback(Explained):
    """Base of the callbacks; override what you need.

    `logs` holds the figures reached: ``{"loss": ..., "accuracy": ..., "val_loss": ...}``. In `on_epoch_end` they are
    those of the epoch; where training or an epoch begins, and at the end of training, `logs` is None. Training runs
    compiled from one epoch to the next; only if a callback overrides `on_batch_end` does `fit` return to Python after
    every batch, which costs small networks most of their speed. To follow an epoch cheaply override `on_progress`,
    which is called at most ten times a second.

    Attributes
    ----------
    model : Model
        The model being trained; setting ``model.stop_training = True`` ends training after the epoch.
    params : dict
        "epochs", the number of the last epoch; "steps", the batches of an epoch; "initial_epoch"; "figures", the names
        of all figures there will be, or None if callbacks may add some.

    Examples
    --------
    >>> import nnfast as nf
    >>> class LossBelow(nf.Callback):
    ...     def __init__(self, limit):
    ...         self.limit = limit
    ...     def on_epoch_end(self, epoch, logs):
    ...         if logs["loss"] < self.limit:
    ...             self.model.stop_training = True
    >>> model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
    >>> model.compile(nf.SGD(0.1), "squared_error")
    >>> history = model.fit([[1.0]], [[2.0]], epochs=1000, callbacks=LossBelow(0.01), verbose=0)
    >>> len(history.epoch) < 20
    True
    """

    model: Model | Any = None
    params: dict[str, Any] | Any = None
    #: whether this one is called after all others, to see what they have done
    comes_last = False

    def __repr__(self) -> str:
        return call_text(self, (int, float, str))

    def set_model(self, model: Model) -> None:
        """Given the model before training."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Given `params` before training."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before epoch `epoch` = 0, 1, ...; again for one in the midst of which training goes on (`fit(resume=)`)."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """After batch `batch` = 0, 1, ... of the epoch."""

    def on_progress(self, step: int, logs: Logs) -> None:
        """Now and then within an epoch, after `step` of its batches."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """After epoch `epoch`, validation included."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch."""

    def on_training_error(self, error: TrainingError) -> bool:
        """After a step whose loss or gradient was not finite; True ends training without raising the error."""
        return False

    def set_run(self, run: CallbackList) -> None:
        """Given the `CallbackList` before training, by a callback that looks at the others."""

    def get_state(self) -> Config | None:
        """What a checkpoint must hold for this callback to go on: a new dict of numbers, texts and arrays; or None."""
        return None

    def set_state(self, state: Config) -> None:
        """Take back what `get_state` gave, after `on_train_begin`."""

    def close(self) -> None:
        """Last of all, also where training ended with an exception; gives back what is held outside of Python."""

    @property
    def wants_batches(self) -> bool:
        """Whether `on_batch_end` does anything."""
        return type(self).on_batch_end is not Callback.on_batch_end

    @property
    def batch_interval(self) -> int:
        """`on_batch_end` is called at least after each so many batches, counted over all epochs; 0: never."""
        return 1 if self.wants_batches else 0

    @property
    def wants_progress(self) -> bool:
        """Whether `on_progress` does anything."""
        return type(self).on_progress is not Callback.on_progress


class CallbackList:
    """Several callbacks as one, called in their order.

    Parameters
    ----------
    callbacks : None, Callback or sequence of Callback
    model : Model
    params : dict
        See `Callback.params`.

    Attributes
    ----------
    position : Position
        Where training stands; `fit` keeps it up to date.
    batch_interval : int
        After how many batches `on_batch_end` is due, 0 for never.
    signature, resumed, stopped, states
        For checkpoints: what tells this run from others, the folder it goes on from, whether it had been ended there,
        and the states of callbacks found there.

    Raises
    ------
    TypeError
        If something in `callbacks` is not a `Callback`.

    Examples
    --------
    >>> import nnfast as nf
    >>> params = {"epochs": 2, "steps": 10}
    >>> run = nf.callbacks.CallbackList([nf.History(), nf.ProgressBar(0)], model=None, params=params)
    >>> run.on_epoch_end(0, {"loss": 0.5})
    >>> run, run.wants_batches
    (CallbackList([<History: 1 epoch, last loss=0.5>, ProgressBar(verbose=0)]), False)
    """

    def __init__(self, callbacks: Callbacks | None, model: Any, params: dict[str, Any]) -> None:
        if callbacks is None:
            callbacks = []
        elif isinstance(callbacks, Callback):
            callbacks = [callbacks]
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                hint = "; make an instance of it" if isinstance(callback, type) else ""
                raise TypeError(f"callbacks must be nf.Callback objects, got {callback!r}{hint}")
        self.callbacks.sort(key=lambda callback: callback.comes_last)
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)
            callback.set_run(self)
        self.params = params
        self.batch_interval = math.gcd(*(callback.batch_interval for callback in self.callbacks))
        self.wants_batches = self.batch_interval > 0
        self.position = Position((params or {}).get("initial_epoch", 0))
        self.signature: Config | Any = None
        self.resumed: str | None = None
        self.stopped = False
        self.states: list[tuple[Callback, Config]] = []
        self.wants_progress = any(callback.wants_progress for callback in self.callbacks)

    def __repr__(self) -> str:
        return f"CallbackList({self.callbacks!r})"

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """`Callback.on_train_begin` of each, then the states of a checkpoint."""
        for callback in self.callbacks:
            callback.on_train_begin(logs)
        for callback, state in self.states:
            callback.set_state(state)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """`Callback.on_epoch_begin` of each."""
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, logs)

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """`Callback.on_batch_end` of each."""
        for callback in self.callbacks:
            callback.on_batch_end(batch, logs)

    def on_progress(self, step: int, logs: Logs) -> None:
        """`Callback.on_progress` of each."""
        for callback in self.callbacks:
            callback.on_progress(step, logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """`Callback.on_epoch_end` of each."""
        for callback in self.callbacks:
            if callback.comes_last:
                self._record_added(logs)
            callback.on_epoch_end(epoch, logs)
        self._record_added(logs)

    def _record_added(self, logs):
        """What callbacks have added to the figures belongs to the history, too."""
        for callback in self.callbacks:
            if isinstance(callback, History):
                callback.add(logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """`Callback.on_train_end` of each; first of those that save where training stands, which others then change."""
        for callback in sorted(self.callbacks, key=lambda callback: not callback.comes_last):
            callback.on_train_end(logs)

    def on_training_error(self, error: TrainingError) -> bool:
        """`Callback.on_training_error` of each; True if one of them gave True."""
        handled = False
        for callback in self.callbacks:     # all of them are told
            handled = callback.on_training_error(error) or handled
        return handled

    def close(self) -> None:
        """Close every callback, whatever one of them raises; the first error is raised when all are closed."""
        first = None
        for callback in self.callbacks:
            try:
                callback.close()
            except Exception as error:
                first = first or error
        if first is not None:
            raise first


class History(Callback):
    """The figures of every epoch: ``history`` maps each name to a list, ``epoch`` lists the epochs. `fit` returns one.

    Attributes
    ----------
    epoch : list of int
    history : dict of str to list of float
    seconds : list of float
        Time that each epoch took; where `fit` has made the history.
    converged, message : bool, str
        How the search ended; where `fit` was given a solver.

    Examples
    --------
    >>> import nnfast as nf
    >>> h = nf.History()
    >>> h.on_epoch_end(0, {"loss": 0.5}); h.on_epoch_end(1, {"loss": 0.25})
    >>> h.epoch, h.history
    ([0, 1], {'loss': [0.5, 0.25]})
    """

    seconds: list[float]
    converged: bool
    message: str

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}
        self._recorded: set[str] = set()        # of the last epoch

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.epoch.append(epoch)
        self._recorded = set(logs)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def add(self, logs: Logs) -> None:
        """Numbers of the last epoch that are not in the history yet, as floats; nan for epochs without them."""
        for name, value in numbers_in(logs).items():
            if name not in self._recorded:
                values = self.history.setdefault(name, [])
                values += [math.nan] * (len(self.epoch) - 1 - len(values)) + [value]
                self._recorded.add(name)
        for values in self.history.values():
            values += [math.nan] * (len(self.epoch) - len(values))

    def __repr__(self) -> str:
        last = _figures({name: values[-1] for name, values in self.history.items() if values})
        n = len(self.epoch)
        return f"<History: {n} epoch{'' if n == 1 else 's'}{', last ' + last if last else ''}>"


def numbers_in(logs):
    """The figures that are numbers, as floats; callbacks may have added others."""
    found = {}
    for name, value in logs.items():
        try:
            array = np.asarray(value)
        except ValueError:      # a ragged list
            continue
        if array.ndim == 0 and array.dtype.kind in "biuf":
            found[name] = float(array)
    return found


class LambdaCallback(Callback):
    """A callback from functions, each with the signature of the method it stands for.

    Examples
    --------
    >>> import nnfast as nf
    >>> show = nf.LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
    >>> show.on_epoch_end(3, {"loss": 0.5})
    3 0.5
    """

    def __init__(self, on_train_begin: Callable[..., object] | None = None,
                 on_epoch_begin: Callable[..., object] | None = None, on_batch_end: Callable[..., object] | None = None,
                 on_progress: Callable[..., object] | None = None, on_epoch_end: Callable[..., object] | None = None,
                 on_train_end: Callable[..., object] | None = None) -> None:
        given = {
            "on_train_begin": on_train_begin,
            "on_epoch_begin": on_epoch_begin,
            "on_batch_end": on_batch_end,
            "on_progress": on_progress,
            "on_epoch_end": on_epoch_end,
            "on_train_end": on_train_end,
        }
        for name, function in given.items():
            if function is None:
                continue
            if not callable(function):
                raise TypeError(f"LambdaCallback: {name} must be callable, got {type(function).__name__}")
            setattr(self, name, function)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={argument_text(value)}" for name, value in self.__dict__.items() if callable(value))
        return f"LambdaCallback({given})"

    @property
    def wants_batches(self) -> bool:
        return "on_batch_end" in self.__dict__

    @property
    def wants_progress(self) -> bool:
        return "on_progress" in self.__dict__


class EarlyStopping(Callback):
    """Stop when a figure has not improved for `patience` epochs.

    Parameters
    ----------
    monitor : str
        Name of the figure in the logs.
    min_delta : float
        Least change that counts as an improvement.
    patience : int
        Epochs without improvement after which training stops.
    mode : {"auto", "min", "max"}
        Whether less or more is better; "auto": what the metric says, less for losses, and for figures that other
        callbacks add more if their name contains accuracy, r2 or iou.
    restore_best : bool
        Put back the weights of the best epoch when training ends, whether or not it ended early.

    Attributes
    ----------
    best, best_epoch : float, int
        The best figure and its epoch; nan and None before the first.
    stopped_epoch : int or None
        The epoch that stopped training.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(1, kernel_initializer="zeros")], input_shape=(1,))
    >>> model.compile(nf.SGD(0.25), "squared_error")
    >>> stop = nf.EarlyStopping("loss", patience=2, restore_best=True)
    >>> history = model.fit([[1.0]], [[2.0]], epochs=100, callbacks=stop, verbose=0)
    >>> stop.best, stop.best_epoch, stop.stopped_epoch
    (0.0, 1, 3)
    """

    def __init__(self, monitor: str = "val_loss", min_delta: float = 0.0, patience: int = 0, mode: Mode = "auto",
                 restore_best: bool = False) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"EarlyStopping: monitor must be a name, got {type(monitor).__name__}: {monitor!r}")
        self.monitor = monitor
        self.min_delta = number("EarlyStopping", "min_delta", min_delta, at_least=0)
        self.patience = integer("EarlyStopping", "patience", patience, at_least=0)
        self.mode = choose("EarlyStopping mode", mode, ("auto", "min", "max"))
        self.restore_best = boolean("EarlyStopping", "restore_best", restore_best)
        self._forget()

    def _forget(self) -> None:
        self.best = math.nan
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._waited = 0
        self._weights: list[Array] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        expect_monitor("EarlyStopping", self.monitor, self.params)
        self._forget()

    def get_state(self) -> Config | None:
        best = None if self.best_epoch is None else self.best
        weights = {f"weights/{i}": array for i, array in enumerate(self._weights or [])}
        return {"best": best, "best_epoch": self.best_epoch, "waited": self._waited,
                "stopped_epoch": self.stopped_epoch, **weights}

    def set_state(self, state: Config) -> None:
        weights = [state[f"weights/{i}"] for i in range(sum(name.startswith("weights/") for name in state))]
        self.best = math.nan if state["best"] is None else state["best"]
        self.best_epoch, self._waited, self._weights = state["best_epoch"], state["waited"], weights or None
        self.stopped_epoch = state.get("stopped_epoch")

    def _improved(self, value):
        if self.best_epoch is None:
            return not math.isnan(value)
        more = more_is_better(self.monitor, self.mode, self.model)
        return value > self.best + self.min_delta if more else value < self.best - self.min_delta

    def improves(self, who: str, epoch: int, logs: Logs) -> bool:
        """Whether the epoch's figure is the best so far, which it then is remembered as."""
        check_monitor(who, self.monitor, logs)
        improved = self._improved(logs[self.monitor])
        if improved:
            self.best, self.best_epoch = float(logs[self.monitor]), epoch
        return improved

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.improves("EarlyStopping", epoch, logs):
            self._waited = 0
            if self.restore_best:
                self._weights = self.model.get_weights()
            return
        self._waited += 1
        if self._waited >= max(self.patience, 1):
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._weights is not None:
            self.model.set_weights(self._weights)
            self._weights = None


def may_add_figures(callback):
    """Whether there may be figures in the logs that only this callback knows of."""
    return isinstance(callback, LambdaCallback) or not of_nnfast(callback)


def check_monitor(who, monitor, figures):
    """A figure that a callback looks at must be among those that there are."""
    if monitor not in figures:
        validated = any(name.startswith("val_") for name in figures)
        hint = "; give fit validation data" if monitor.startswith("val_") and not validated else ""
        raise ValueError(f"{who}: no {monitor!r} among {', '.join(figures) or 'no figures'}{hint}")


def expect_monitor(who, monitor, params):
    """The same before training, if it is known by then which figures there will be."""
    if (params or {}).get("figures") is not None:
        check_monitor(who, monitor, params["figures"])


def more_is_better(monitor, mode, model):
    """Whether a figure of this name improves by growing: "auto" asks the model's metrics, and of others the name."""
    if mode != "auto":
        return mode == "max"
    name = monitor.removeprefix("val_")
    known = getattr(getattr(model, "_objective", None), "directions", {})
    more = known.get(name)
    return ("accuracy" in name or "r2" in name or "iou" in name) if more is None else more


class GradientNorms(Callback):
    """Records how large the gradient of each layer is while `fit` runs; training goes on as if it were not there.

    The gradient is that of the mean loss over (x, y), penalties included, dropout off. Where it shrinks from layer to
    layer towards the input, the first layers hardly learn: Hochreiter 1991; Glorot and Bengio 2010, fig. 7.

    Parameters
    ----------
    x, y
        Data to take the gradient on, as in `fit`: some of the training data.
    every : int or None
        Number of steps from one record to the next; each returns to Python after every batch. None: once an epoch.

    Attributes
    ----------
    norms : dict of str to list of float
        By layer, in the network's order: the Euclidean norm over all trainable parameters of the layer.
    steps : list of int
        The steps of this `fit` that came before each record; the first is 0.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x, y = np.eye(4), np.arange(4)
    >>> model = nf.Sequential([nf.Dense(8, activation="sigmoid"), nf.Dense(4, activation="softmax")])
    >>> model.compile("sgd", "cross_entropy")
    >>> record = nf.callbacks.GradientNorms(x, y)
    >>> history = model.fit(x, y, batch_size=2, epochs=3, callbacks=record, verbose=0)
    >>> record.steps, list(record.norms)
    ([0, 2, 4, 6], ['dense', 'dense_1'])
    """

    def __init__(self, x: Inputs, y: Data, every: int | None = None) -> None:
        self.x = x
        self.y = y
        self.every = None if every is None else integer("GradientNorms", "every", every, at_least=1)
        self.norms: dict[str, list[float]] = {}
        self.steps: list[int] = []

    @property
    def wants_batches(self) -> bool:
        return self.every is not None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.norms, self.steps = {}, []
        self._done: int | Any = None        # steps of the epochs before this one
        self._record(0)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self._done is None:
            self._done = (epoch - self.params["initial_epoch"]) * self.params["steps"]

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        if self.every is not None and (self._done + batch + 1) % self.every == 0:
            self._record(self._done + batch + 1)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._done += self.params["steps"]      # of this epoch: a generator's differ
        if self.every is None:
            self._record(self._done)

    def get_state(self) -> Config | None:
        return {"steps": list(self.steps), "norms": {layer: list(values) for layer, values in self.norms.items()}}

    def set_state(self, state: Config) -> None:
        self.steps, self.norms = state["steps"], state["norms"]

    def __repr__(self) -> str:
        every = "epoch" if self.every is None else f"{self.every} steps"
        return f"<GradientNorms: {len(self.steps)} records of {len(self.norms)} layers, one every {every}>"

    def _record(self, step):
        _, grads = self.model.gradients(self.x, self.y)
        squares = {}
        for name, grad in grads.items():
            layer = name.partition("/")[0]
            squares[layer] = squares.get(layer, 0.0) + float(np.square(grad, dtype=np.float64).sum())
        for layer, square in squares.items():
            self.norms.setdefault(layer, []).append(math.sqrt(square))
        self.steps.append(step)


class ProgressBar(Callback):
    """Progress, figures and time left on the terminal, by tqdm.

    The figures of validation are those of the last epoch that had ended. On a narrow terminal the bar shrinks, then the
    rate, the count and digits go, then whole figures, first those of training.

    Parameters
    ----------
    verbose : {0, 1, 2}
        0: nothing. 1: one bar over all epochs. 2: one line after each epoch.
    file : file object, optional
        Where to write; by default the bar goes to stderr if that is a terminal (or a notebook), and nowhere if it is
        not; the lines go to stdout.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(1, kernel_initializer="zeros")], input_shape=(1,))
    >>> model.compile(nf.SGD(0.25), "squared_error")
    >>> history = model.fit([[1.0]], [[2.0]], epochs=2, verbose=2)
    epoch 1/2: loss=4
    epoch 2/2: loss=0
    """

    def __init__(self, verbose: Verbose = 1, file: IO[str] | None = None) -> None:
        if isinstance(verbose, bool):
            verbose = int(verbose)
        if verbose not in (0, 1, 2):
            raise ValueError(f"verbose must be 0, 1 or 2, got {verbose!r}")
        self.verbose = verbose
        self.file = file
        self._bar = None

    @property
    def wants_progress(self) -> bool:
        return self.verbose == 1

    def on_train_begin(self, logs: Logs | None = None) -> None:
        from importlib.util import find_spec

        self._first = self.params.get("initial_epoch", 0)
        self._validated: Logs = {}
        self._done: int | Any = None        # steps of the epochs before this one
        notebook = "ipykernel" in sys.modules
        if self.verbose == 1 and (self.file is not None or notebook or sys.stderr.isatty()):
            # Here, because importing it takes longer than importing all of nnfast.
            if notebook and find_spec("ipywidgets"):       # without it tqdm would warn, and draw with text anyway
                from tqdm.auto import tqdm
            else:
                from tqdm import tqdm as terminal

                tqdm = _fitting(terminal)
            epochs = self.params["epochs"] - self._first
            self._bar = tqdm(
                desc=f"epoch {self._first + 1}/{self.params['epochs']}" if epochs > 0 else None,
                total=epochs * self.params["steps"] or None, unit=" steps", file=self.file, dynamic_ncols=True,
                mininterval=0.1,
            )

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self._bar is not None:
            self._bar.set_description_str(f"epoch {epoch + 1}/{self.params['epochs']}", refresh=False)
            if self._done is None:
                self._done = (epoch - self._first) * self.params["steps"]

    def on_progress(self, step: int, logs: Logs) -> None:
        self._show(step, {**logs, **self._validated})

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self._bar is not None:
            self._validated = {name: value for name, value in logs.items() if name.startswith("val_")}
            self._show(self.params["steps"], logs)
            self._done += self.params["steps"]      # of this epoch: a generator's differ
        elif self.verbose == 2:
            print(f"epoch {epoch + 1}/{self.params['epochs']}: {_figures(logs)}", file=self.file)

    def _show(self, step, logs):
        if self._bar is not None:
            self._bar.logs = logs
            self._bar.set_postfix_str(_figures(logs), refresh=False)
            self._bar.update(self._done + step - self._bar.n)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _figures(logs, digits=4):
    return ", ".join(f"{name}={value:.{digits}g}" for name, value in numbers_in(logs).items())


# Lines for ever narrower terminals: the text, the fewest cells of a bar, the digits of a figure.
_LINES = (
    ("epoch {epoch}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]", 9, 4),
    ("epoch {epoch}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]", 5, 4),
    ("epoch {epoch}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]", 5, 4),
    ("{epoch}: {percentage:3.0f}%|{bar}| [<{remaining}{postfix}]", 3, 4),
    ("{epoch}: {percentage:3.0f}% [<{remaining}{postfix}]", 0, 4),
    ("{epoch}: {percentage:3.0f}% [<{remaining}{postfix}]", 0, 3),
    ("{epoch}: {percentage:3.0f}%{postfix}", 0, 3),
    ("{epoch}{postfix}", 0, 3),
)

# The same where nobody knows how many steps there are, as in the epochs of a generator.
_LINES_WITHOUT_TOTAL = (
    ("epoch {epoch}: {n_fmt}{unit} [{elapsed}, {rate_fmt}{postfix}]", 0, 4),
    ("epoch {epoch}: {n_fmt}{unit} [{elapsed}{postfix}]", 0, 4),
    ("{epoch}: {n_fmt}{unit}{postfix}", 0, 4),
    ("{epoch}: {n_fmt}{unit}{postfix}", 0, 3),
    ("{epoch}: {n_fmt}{postfix}", 0, 3),
    ("{epoch}{postfix}", 0, 3),
)


def _fitting(tqdm):
    """tqdm whose line fits a terminal of any width: measured when it is drawn, as times and rates change until then."""
    class Fitting(tqdm):  # type: ignore[misc]
        logs = None

        @property
        def format_dict(self):
            drawn = super().format_dict
            if (drawn["ncols"] or 0) > 0 and drawn["prefix"]:
                drawn.update(self._fit(drawn))
            return drawn

        def _fit(self, drawn):
            order = list(self.logs or {})[::-1]
            order.sort(key=lambda name: name.startswith("val_"))      # those of training go first
            epoch = drawn["prefix"].removeprefix("epoch ")
            for gone in range(len(order) + 1):
                shown = {name: value for name, value in (self.logs or {}).items() if name not in order[:gone]}
                for text, least, digits in _LINES if drawn["total"] else _LINES_WITHOUT_TOTAL:
                    line = {"bar_format": text, "epoch": epoch, "postfix": _figures(shown, digits)}
                    measured = {**drawn, **line, "bar_format": text.replace("{bar}", "#" * least), "ncols": None}
                    if len(self.format_meter(**measured)) <= drawn["ncols"]:
                        return line
            return line

    return Fitting
