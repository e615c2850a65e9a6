"""What can be done with a model once it is compiled: train, evaluate, predict.

Python prepares an epoch (order of the samples, learning rates) and reads its totals; the epoch itself is one call of
the plan with the GIL released. Only a callback that wants every batch makes it one call per batch. Where nobody looks
at the epochs in between, short ones share a call: Python's part would take as long, and threads that train side by
side would wait for each other's.

Random streams are counter-based: shuffling is keyed by the model's seed and the number of the epoch over the model's
life, dropout by seed, number of the step, sample and layer, augmentation by seed, step and place in the batch.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np

from . import optimizers, regularizers, streams
from ._core.plan import shuffle as permute
from ._core.threads import resolve as check_threads
from .arrays import as_inputs, as_sample_weight, as_targets, split_shape, weigh_classes
from .callbacks import CallbackList, History, Position, ProgressBar
from .callbacks.base import may_add_figures
from .configurable import boolean, integer, number
from .losses import CustomLoss
from .names import Explained, explained
from .objective import Objective
from .streams import Stream, check_stream, is_stream, open_stream
from .totals import TrainingError, add_totals, training_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .typing import (
        Array,
        ArrayLike,
        Arrays,
        Augment,
        Callbacks,
        ClassWeight,
        Config,
        Data,
        Inputs,
        Logs,
        LossLike,
        MetricLike,
        OptimizerLike,
        PathLike,
        RegularizerLike,
        SolverLike,
        Source,
        Verbose,
    )

    Function = TypeVar("Function", bound=Callable[..., Any])

#: samples in a pass where the user names no batch size; fewer if they would take much memory
INFERENCE_BATCH = 256


class Settings(NamedTuple):
    """What `compile` was given, checked."""

    optimizer: optimizers.Optimizer
    objective: Objective | None
    regularizer: regularizers.Regularizer | None
    n_threads: int | None


#: of the question whether a model is being trained
ASKING = threading.Lock()


def one_at_a_time(fit: Function) -> Function:
    """The same method, which refuses to begin while a call on the same model has not ended."""
    @functools.wraps(fit)
    def alone(self, *args, **kwargs):
        begun = False
        try:        # Ctrl-C may come between any two of these steps
            with ASKING:
                if self._in_fit:
                    raise RuntimeError(f"fit: {self.name} is being trained already, by a call of fit that has not "
                                       "ended; in a callback or another thread train a copy, model.clone()")
                begun = self._in_fit = True
            return fit(self, *args, **kwargs)
        finally:
            if begun:
                self._in_fit = False

    return alone  # type: ignore[return-value]


class Training(Explained):
    """The part of a model that needs data; `nnfast.model` has the rest."""

    _slots: dict[str, Array]
    _in_fit: bool

    # -- compile -------------------------------------------------------------------------------------------------

    @explained
    def compile(self, optimizer: OptimizerLike = "adam",
                loss: LossLike | Sequence[LossLike] | Mapping[str, LossLike] | None = None,
                metrics: MetricLike | Sequence[Any] | Mapping[str, Any] | None = (),
                loss_weights: Sequence[float] | Mapping[str, float] | None = None,
                regularizer: RegularizerLike | None = None, n_threads: int | None = None) -> None:
        """Say how to train. Weights are kept; the optimizer starts anew.

        Parameters
        ----------
        optimizer : str or Optimizer
            "sgd", "adam", "adamw", "rmsprop", "adagrad", or e.g. ``nf.Adam(1e-3)``, whose rate may be set
            while training; one that another model has been compiled with is copied.
        loss : str, Loss or callable
            "cross_entropy", "binary_cross_entropy", "squared_error", "absolute_error", "huber", an object such as
            ``nf.CrossEntropy(from_logits=True)``, or a function (see `nf.CustomLoss`). With several outputs a list, or
            a dict by output name. None: only `vjp` and `apply_gradients` can train.
        metrics : sequence of str or Metric
            "accuracy", "top_k_accuracy", "mean_iou", "binary_accuracy", "mse", "mae", "r2". With several outputs a dict
            by output name, or a list with one sequence per output.
        loss_weights : list or dict of float, optional
            Factors of the outputs' losses in the total; 1 by default.
        regularizer : nf.L1, nf.L2 or nf.L1L2, optional
            For the kernels of all layers without a ``kernel_regularizer`` of their own.
        n_threads : int, optional
            Threads that this model uses. By default the library decides: by the work in a step, by whether other models
            compute at the same time, and by trying now and then whether one thread is faster than all.

        Raises
        ------
        ValueError, TypeError
            For unknown names, or a loss or metric that does not fit its output. The model stays as it was.

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(3, activation="softmax")], input_shape=(2,))
        >>> model.compile(nf.Adam(1e-2, clip_norm=1.0), "cross_entropy", metrics=["accuracy"], regularizer=nf.L2(1e-4))
        >>> model.optimizer
        Adam(learning_rate=0.01, clip_norm=1.0)
        """
        optimizer = optimizers.get(optimizer)
        regularizer = regularizers.get(regularizer)
        if n_threads is not None:
            check_threads(n_threads)
            n_threads = int(n_threads)
        if loss is None:
            if metrics or loss_weights is not None:
                raise ValueError("compile: metrics and loss_weights need a loss")
            objective = None
        else:
            objective = Objective(loss, metrics, loss_weights, self._graph.output_names if self.built else None)
        optimizer.check_dtype(self._dtype)
        bound = plan = None
        settings = Settings(optimizer, objective, regularizer, n_threads)
        if self.built:
            if objective is not None:
                bound = objective.bind(self._graph)
            values = self._values if self._plan is None else self.get_weights()
            plan = self._make_plan(settings, bound, values, {}, 0)
        self._settings = settings._replace(optimizer=optimizer.of_model(self))
        self._objective = bound
        self._slots, self._steps = {}, 0
        if plan is not None:
            self._adopt_plan(plan)

    def _set_fast_path(self):
        """What the shortest path of `train_on_batch` asks: a plan whose only figure is the loss."""
        objective = self._objective
        simple = self._plan is not None and objective is not None and not objective.keys and not objective.output_keys
        self._train_fast = self._plan.train_fast if simple else None

    @property
    def compiled(self) -> bool:
        """Whether `compile` was called."""
        return self._settings is not None

    @property
    def optimizer(self) -> optimizers.Optimizer | Any:
        """The optimizer given to `compile`, or None. Its ``learning_rate`` may be set between epochs."""
        return self._settings.optimizer if self._settings else None

    def _use_threads(self, n_threads):
        """Change the number of threads, and nothing else."""
        if self._settings.n_threads != n_threads:
            self._drop_plan()
            self._settings = self._settings._replace(n_threads=n_threads)

    def _interrupt(self):
        """From another thread: end a call of `fit` that runs, with KeyboardInterrupt."""
        self.stop_training = self._interrupted = True
        plan = self._plan
        if plan is not None:
            plan.interrupt(KeyboardInterrupt())

    def _compiled(self):
        if self._settings is None:
            raise ValueError(f"{self.name} is not compiled; call model.compile(optimizer, loss) first")
        return self._settings

    def _with_loss(self, x):
        """The plan and objective for calls that need a loss; an unbuilt Sequential is built from `x`."""
        if self._compiled().objective is None:
            raise ValueError(f"{self.name} was compiled without a loss; call model.compile(optimizer, loss)")
        self._build_from(x)
        return self._require_plan(), self._objective

    def _build_from(self, x):
        """Only a Sequential can learn its input shape from data."""

    def get_compile_config(self) -> Config | None:
        """The arguments of `compile` as JSON-able data, or None; ``model.compile(**config)`` takes them back.

        Raises
        ------
        ValueError
            If the loss or the learning rate is a Python function.

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(1)], input_shape=(2,))
        >>> model.compile(nf.SGD(0.1), "squared_error", metrics=["mae"])
        >>> again = model.clone()
        >>> again.compile(**model.get_compile_config())
        >>> again.optimizer
        SGD(learning_rate=0.1)
        """
        if self._settings is None:
            return None
        settings = self._settings
        config: Config = {"loss": None, "metrics": [], "loss_weights": None}
        if settings.objective is not None:
            config = settings.objective.get_config()
        regularizer = settings.regularizer
        return {"optimizer": settings.optimizer.to_config(), **config,
                "regularizer": None if regularizer is None else regularizer.to_config(),
                "n_threads": settings.n_threads}

    # -- data ----------------------------------------------------------------------------------------------------

    def _inputs(self, x, finite=True):
        graph = self._graph
        return as_inputs(x, graph.input_names, graph.input_data_shapes, self._dtype, finite, graph.data_format,
                         graph.ids)

    def _targets(self, y, n, measured=True):
        """Checked targets; measured: metrics will be computed of them."""
        graph, objective = self._graph, self._objective
        yes_no = objective.yes_no if measured else [None] * len(objective.yes_no)
        return as_targets(y, graph.output_names, graph.output_data_shapes, objective.losses, yes_no, self._dtype, n,
                          graph.data_format)

    def _open(self, x, y, sample_weight, class_weight, call):
        """What `_data` returns, for a compiled model; or (stream, None, its weights, its number of rows or None). Class
        weights are a stream's own; for arrays they come when it is known which rows are trained with."""
        if is_stream(x):
            if self._compiled().objective is None:
                raise ValueError(f"{self.name} was compiled without a loss; call model.compile(optimizer, loss)")
            stream = open_stream(self, x, y, sample_weight, class_weight, call)
            self._require_plan()
            return stream, None, stream.own_weight(), stream.n
        self._with_loss(x)
        return self._data(x, y, sample_weight)

    def _data(self, x, y, sample_weight=None, measured=True):
        """Checked arrays: inputs, targets, weights, number of samples."""
        xs, n = self._inputs(x)
        return xs, self._targets(y, n, measured), self._weights(sample_weight, n), n

    def _weights(self, sample_weight, n):
        """Checked weights of samples, or of the pixels of the output if there is but one, or None."""
        if sample_weight is None:
            return None
        graph, pixels = self._graph, None
        if len(graph.output_names) == 1:
            pixels, _ = split_shape(graph.output_data_shapes[0], graph.data_format)
        weight = as_sample_weight(sample_weight, n, None, pixels, self.dtype)
        if weight.ndim > 1 and isinstance(self._objective.losses[0], CustomLoss):
            raise ValueError("sample_weight: a loss of your own is called for whole samples, so it takes one weight "
                             f"per sample, shape ({n},), got {weight.shape}; weigh pixels in the loss itself")
        return weight

    def _weigh_classes(self, class_weight, weight, ys):
        """Weights of the samples, and factors of the classes of pixels or None."""
        graph = self._graph
        return weigh_classes(class_weight, weight, ys, graph.output_data_shapes, self._objective.losses,
                             graph.data_format)

    # -- fit -----------------------------------------------------------------------------------------------------

    @explained
    @one_at_a_time
    def fit(self, x: Source, y: Data | None = None, batch_size: int | None = None, epochs: int | None = None,
            shuffle: bool | Literal["block"] | None = None, validation_split: float = 0.0,
            validation_data: Sequence[Any] | Source | None = None, sample_weight: ArrayLike | None = None,
            class_weight: ClassWeight | None = None, callbacks: Callbacks | None = None, verbose: Verbose = 1,
            initial_epoch: int = 0, resume: PathLike | None = None, solver: SolverLike | None = None,
            augment: Augment | None = None) -> History:
        """Train for a number of epochs.

        Parameters
        ----------
        x : array (N, ...), or list or dict of arrays for several inputs
            Any real dtype; float32, float64 and uint8 are read in place, all else is converted once. Frames of pandas,
            polars and Arrow; SciPy sparse matrices, of which dense layers read the numbers that are not 0 alone; a
            NumPy memory map, read block by block; a data set with ``__len__`` and ``__getitem__``, or an iterable of
            batches, that gives (x, y) or (x, y, weight) itself: see `nnfast.streams`.
        y : array, or list or dict of arrays for several outputs
            Targets in the output's shape; for cross_entropy also integer labels (N,), or (N, H, W) for outputs
            (H, W, classes).
        batch_size : int
            Samples in a step, 32 by default; the last batch of an epoch may be smaller.
        epochs : int
            Number of the last epoch, counted from 1: ``epochs - initial_epoch`` are trained. 1 by default.
        shuffle : bool, or "block"
            Draw the samples in a new order in each epoch, which is the default. The order depends on the model's seed
            and on how many epochs it has been trained for, in all calls. "block", for memory maps and data sets: rows
            that lie side by side are read together and mixed with those of other such runs, which disks are faster at.
        validation_split : float
            In [0, 1): this share of the rows, the last ones, is kept for validation.
        validation_data : tuple (x, y) or (x, y, sample_weight), optional
            Evaluated after each epoch; the figures are called ``val_...``.
        sample_weight : array (N,), (N, H, W) or (N, T), optional
            The loss of a batch is ``sum(w * loss) / sum(w)``; a batch whose weights are all zero is skipped. Each is 0
            or from 1e-100 to 1e100. Or a weight from 0 to 1e18 for each pixel or step of the only output, (N, H, W) or
            (N, T), of any loss but a function of your own: a sample's loss is then the sum of w times the loss of each,
            the batch's the mean of these, and nothing is divided by the weights; a batch whose weights are all zero
            takes the step of its penalties and of momentum. Metrics count all samples and pixels alike.
        class_weight : dict of int to float, or "balanced", optional
            Multiplied into the sample weights. "balanced": n / (classes * samples of the class), of those trained with.
            Where each pixel has a class, or a sample several yes/no answers (classes 0 and 1), the loss of a pixel or
            answer is multiplied by the weight of its class (of probabilities that of the largest one), and nothing is
            divided by their sum: weights twice as large make the loss twice as large. "balanced" then counts pixels or
            answers that are not ignored, whose weights are 1 in the mean.
        callbacks : Callback or sequence of Callback, optional
        verbose : {0, 1, 2}
            0: silent, 1: a progress bar, 2: a line per epoch.
        initial_epoch : int
            Where to start counting, to go on with an earlier run.
        resume : str or os.PathLike, optional
            A folder of `nf.callbacks.Checkpoint`: go on from its newest whole checkpoint, to the same bits as without
            the interruption; from the beginning if it holds none. Model, settings and data must be the same, `epochs`
            may be larger. The learning rate is the checkpoint's, with a RuntimeWarning if the model was compiled with
            another. A damaged newest checkpoint is passed over with a RuntimeWarning.
        solver : None, "lbfgs" or nf.solvers.LBFGS
            "lbfgs" looks for the minimum over all samples at once and stops where the gradient vanishes: for
            regressions and other small problems without dropout; needs SciPy. Kernels with an L1 penalty get exact
            zeros. An epoch is then an iteration, at most 1000 by default, the figures are those after it, and
            ``history.converged`` and ``history.message`` tell how it ended. The optimizer given to `compile` is not
            used; batch_size below the number of samples, shuffle=True, initial_epoch, resume, checkpoints and augment
            are errors.
        augment : nf.augment.Augmentation, or list of them; for several inputs a dict of lists by input name
            Random changes of the samples that are trained with, others in each epoch: flips, shifts, cutouts, noise,
            mixup; see `nnfast.augment`.

        Returns
        -------
        History
            ``history.history`` maps "loss", metrics and "val_..." to lists, one entry per epoch; ``history.seconds``
            lists the time each epoch took. The figures of training are running means over the epoch. Also kept as
            ``model.history``, after an exception, too.

        Raises
        ------
        ValueError, TypeError
            For data that does not fit, before anything is trained.
        TrainingError
            If a loss or gradient is not finite; the model keeps the last finite weights.
        RuntimeError
            If the model is being trained already: in one of its callbacks, or in another thread.
        KeyboardInterrupt
            After Ctrl-C, within 50 ms or a batch; the model keeps the weights reached.
        ImportError
            If a solver is asked for and SciPy is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> import nnfast as nf
        >>> x = np.linspace(-1, 1, 64)[:, None]
        >>> model = nf.Sequential([nf.Dense(16, activation="tanh"), nf.Dense(1)], seed=1)
        >>> model.compile(nf.Adam(0.01), "squared_error")
        >>> history = model.fit(x, x ** 2, epochs=100, verbose=0)
        >>> history.history["loss"][-1] < 0.1 * history.history["loss"][0]
        True
        """
        if batch_size is not None:
            batch_size = integer("fit", "batch_size", batch_size, at_least=1)
        if epochs is not None:
            epochs = integer("fit", "epochs", epochs, at_least=0)
        initial_epoch = integer("fit", "initial_epoch", initial_epoch, at_least=0)
        if shuffle is not None and shuffle != "block":
            shuffle = boolean("fit", "shuffle", shuffle)
        if solver is not None:
            from . import solvers  # here, because few need it

            solver = solvers.get(solver)
            if augment is not None:
                raise ValueError("fit: a solver's function must not change from step to step; augment is for training "
                                 "without one")
        with Unbuild(self):
            xs, ys, weight, n = self._open(x, y, sample_weight, class_weight, "fit")
            stream = isinstance(xs, Stream)
            if stream:
                check_stream(xs, batch_size, shuffle, validation_split, solver)
            elif shuffle == "block":
                raise ValueError('fit: shuffle="block" is for data that are read while training (memory maps, data '
                                 "sets); arrays in memory gain nothing from it")
            recipe = None
            if augment is not None:
                from .augment import recipe_of  # here, because few need it

                recipe = recipe_of(augment, self._graph, self.name)
            validation = self._validation(validation_split, validation_data, n)
            if stream and isinstance(validation, int):
                xs, validation = xs.split(validation)
                n, weight = xs.n, xs.own_weight()
            elif isinstance(validation, int):
                n -= validation
                validation = [a[n:] for a in xs], [a[n:] for a in ys], None if weight is None else weight[n:]
                xs, ys, weight = [a[:n] for a in xs], [a[:n] for a in ys], None if weight is None else weight[:n]
            factors = None      # a stream's are its own
            if not stream:      # class weights say what to learn, not how good it is: validation does without them
                weight, factors = self._weigh_classes(class_weight, weight, ys)
            check_weight(weight, "fit: sample_weight" if class_weight is None else "fit: sample_weight, class_weight")
            if validation is not None:
                check_weight(validation.own_weight() if isinstance(validation, Stream) else validation[2],
                             "fit: sample_weight of the validation data")
            history = History()
            history.seconds = []
            every = [history, *as_list(callbacks), *([ProgressBar(verbose)] if verbose else [])]
            if solver is None:
                epochs = 1 if epochs is None else epochs
                batch_size = None if n is None else min(batch_size or 32, n)
                steps = xs.steps if n is None else -(-n // batch_size)
                params: Config = {"epochs": epochs, "steps": steps, "initial_epoch": initial_epoch}
            else:
                solvers.check_options(self.layers, every, batch_size, shuffle, initial_epoch, n)
                if factors is not None:
                    raise ValueError("fit: a solver minimizes the loss as it is, without class weights of pixels "
                                     "or answers; train without a solver, or give each pixel the weight of its class "
                                     "as sample_weight")
                params = {"epochs": solvers.MOST_ITERATIONS if epochs is None else epochs, "steps": 1,
                          "initial_epoch": 0}
            params["figures"] = None if any(map(may_add_figures, every)) else self._objective.figure_names(
                validation is not None)
            run = CallbackList(every, self, params)
            if resume is not None or any(callback.comes_last for callback in run.callbacks):
                from . import checkpoint

                if solver is not None:
                    raise ValueError("fit: a solver's search cannot be gone on with; resume and Checkpoint are for "
                                     "training without one")
                order = True if shuffle is None else shuffle
                if stream:
                    run.signature = xs.signature(batch_size, order)
                else:
                    run.signature = checkpoint.signature(xs, ys, weight, batch_size, order)
                run.signature["learning_rate"] = checkpoint.rate_config(self.optimizer)
                if recipe is not None:
                    run.signature["augment"] = recipe.config
                seen = xs.class_factors if stream else factors
                if seen is not None:
                    run.signature["class_weight"] = seen.tolist()
                if resume is not None:
                    checkpoint.resume(self, resume, run, history)

        self.history = history
        self.stop_training, self._interrupted = run.stopped, False
        try:
            run.on_train_begin()
            try:
                if solver is None:
                    self._train(run, history, xs, ys, weight, factors, validation, batch_size, shuffle, recipe)
                else:
                    solvers.search(self, solver, run, history, xs, ys, weight, validation, epochs)
            except TrainingError as error:
                if not run.on_training_error(error):
                    raise
            run.on_train_end()
        finally:
            history.model = None  # else the two hold each other, and a dropped model waits for the garbage collector
            run.close()
        return history

    def _train(self, run, history, xs, ys, weight, factors, validation, batch_size, shuffle, recipe):
        """The epochs of `fit` in mini-batches."""
        objective, stream = self._objective, xs if isinstance(xs, Stream) else None
        n = stream.n if stream else len(xs[0])
        progress = None
        if run.wants_progress:
            def progress(step, totals):
                run.on_progress(step, objective.figures(totals))

        order = None
        if shuffle is not False and n is not None:
            order = np.empty(n, np.intp)
        if (stream is None and validation is None and recipe is None and not run.position.step
                and run.callbacks == [history] and isinstance(self._settings.optimizer.learning_rate, float)):
            self._train_epochs(run, history, xs, ys, weight, factors, order, batch_size)
            return
        validation_batch = max(batch_size or 0, self._require_plan().default_batch(INFERENCE_BATCH))
        for epoch in range(run.position.epoch, run.params["epochs"]):
            if self.stop_training:
                break
            begun = time.perf_counter()
            run.on_epoch_begin(epoch)
            plan = self._plan_for(objective)
            if order is not None and shuffle == "block":
                order[:] = stream.block_order(batch_size, self.seed, self._epochs)
            elif order is not None:
                permute(order, self.seed, self._epochs, True)
            self._epochs += 1
            if stream:
                totals = stream.train_epoch(plan, order, batch_size, progress, run, recipe)
            else:
                totals = self._train_epoch(plan, xs, ys, weight, factors, order, batch_size, run.params["steps"],
                                           progress, run, recipe)
            if totals["status"] != "ok":
                steps = run.params["steps"] if n is not None else stream.steps
                of = f" of {steps}" if steps else ""
                raise training_error(totals, f"epoch {epoch + 1}, batch {totals['step'] + 1}{of}")
            logs = objective.figures(totals)
            if validation is not None:
                logs.update(objective.figures(self._evaluate(validation, validation_batch), "val_"))
            history.seconds.append(time.perf_counter() - begun)
            run.position = Position(epoch + 1)
            run.on_epoch_end(epoch, logs)

    def _train_epochs(self, run, history, xs, ys, weight, factors, order, batch_size):
        """Epochs that nobody looks at in between: as many in one call of the plan as take little time together."""
        objective, steps, epochs = self._objective, run.params["steps"], run.params["epochs"]
        while run.position.epoch < epochs and not self.stop_training:
            plan, ended = self._plan_for(objective), []
            rates = self._settings.optimizer.learning_rates(plan.iterations, steps)     # one constant: of any epoch
            try:
                plan.train_epochs(xs, ys, weight, order, batch_size, rates, self.seed, self._epochs,
                                  epochs - run.position.epoch, ended, factors)
            except BaseException:
                self._record_epochs(run, history, ended)
                self._epochs += 1       # the one that was begun
                raise
            self._record_epochs(run, history, ended)
            totals, _ = ended[-1]
            if totals["status"] != "ok":
                raise training_error(totals, f"epoch {run.position.epoch + 1}, batch {totals['step'] + 1} of {steps}")

    def _record_epochs(self, run, history, ended):
        """What `fit` keeps of epochs that have ended."""
        for totals, seconds in ended:
            self._epochs += 1
            if totals["status"] == "ok":
                history.seconds.append(seconds)
                epoch = run.position.epoch
                run.position = Position(epoch + 1)
                run.on_epoch_end(epoch, self._objective.figures(totals))

    def _evaluate(self, data, batch_size):
        """Totals over checked data: a tuple (xs, ys, weight) or a stream."""
        plan = self._plan_for(self._objective)
        if isinstance(data, Stream):
            return data.evaluate(plan, batch_size)
        return plan.evaluate(*data, min(batch_size, len(data[0][0])))

    def _train_epoch(self, plan, xs, ys, weight, factors, order, batch_size, n_steps, progress, run, recipe):
        """The rest of an epoch: in one call, or in one for each stretch between batches that callbacks want to see."""
        objective, position, interval = self._objective, run.position, run.batch_interval
        step, sums, report = position.step, position.totals, None
        while step < n_steps:
            count = n_steps - step
            if interval:
                count = min(count, interval - (position.epoch * n_steps + step) % interval)
            if progress is not None:
                def report(done, totals, first=step, before=sums):
                    progress(first + done, add_totals(before, totals))
            rates = self._settings.optimizer.learning_rates(plan.iterations, count)
            totals = plan.train_epoch(xs, ys, weight, order, batch_size, rates, self.seed, step, count, report,
                                      recipe, factors)
            sums = add_totals(sums, totals)
            if totals["status"] != "ok":
                return sums
            step += count
            if interval:
                run.position = Position(position.epoch, step, sums)
                run.on_batch_end(step - 1, objective.figures(sums))
                if progress is not None:
                    progress(step, sums)
                plan = self._plan_for(objective)
        return sums

    def _plan_for(self, objective):
        """The plan, which a callback may have made anew by freezing a layer."""
        if self._objective is not objective:
            raise ValueError("fit: a callback has called compile; the data was checked for the loss before")
        return self._require_plan()

    def _validation(self, split, data, n):
        """Checked validation arrays, the number of rows to split off, or None."""
        if data is None and type(split) is float and split == 0.0:
            return None
        split = number("fit", "validation_split", split, at_least=0, below=1)
        if data is not None:
            if split:
                raise ValueError("fit: give validation_split or validation_data, not both")
            if is_stream(data):
                data = (data,)
            elif not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
                raise ValueError("fit: validation_data must be (x, y) or (x, y, sample_weight), got "
                                 + (f"{len(data)} entries" if isinstance(data, (tuple, list)) else type(data).__name__))
            with streams.naming("validation_data"):
                if is_stream(data[0]):
                    stream = open_stream(self, *data)
                    stream.name = "validation_data"
                    return stream
                xs, ys, weight, _ = self._data(*data)
            return xs, ys, weight
        if split == 0:
            return None
        if n is None:
            raise ValueError("fit: validation_split needs data whose rows can be counted; give validation_data")
        # Rows kept for training are rounded down, as in Keras; the nudge undoes the error of 1 - split.
        rows = n - int(n * (1 - split) + 1e-9)
        if rows in (0, n):
            raise ValueError(f"fit: validation_split={split} of {n} samples leaves {n - rows} to train on and {rows} "
                             "to validate with")
        return rows

    # -- single batches ------------------------------------------------------------------------------------------

    def train_on_batch(self, x: Inputs, y: Data, sample_weight: ArrayLike | None = None,
                       class_weight: ClassWeight | None = None) -> Logs:
        """Take one optimizer step on a batch.

        Parameters as in `fit`.

        Returns
        -------
        dict of str to float
            Loss (before the step, penalties included) and metrics of this batch. A batch whose weights are all zero
            takes no step and has loss 0, if they are weights of samples; else it has that of the penalties.

        Raises
        ------
        TrainingError
            If the loss or the gradient is not finite; the step is not applied.

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(1, kernel_initializer="zeros")], input_shape=(1,))
        >>> model.compile(nf.SGD(0.25), "squared_error")
        >>> [model.train_on_batch([[1.0]], [[2.0]]) for step in range(2)]
        [{'loss': 4.0}, {'loss': 0.0}]
        """
        fast = self._train_fast
        if fast is not None and sample_weight is None and class_weight is None:
            rate = self._settings.optimizer.learning_rate
            if type(rate) is float:
                loss = fast(x, y, rate)
                if loss is not None:
                    if not math.isfinite(loss):
                        raise training_error({"status": "loss"}, f"step {self.iterations + 1}")
                    return {"loss": loss}
        with Unbuild(self):
            plan, objective = self._with_loss(x)
            xs, ys, weight, n = self._data(x, y, sample_weight)
            weight, factors = self._weigh_classes(class_weight, weight, ys)
        rates = self._settings.optimizer.learning_rates(plan.iterations, 1)
        totals = plan.train_epoch(xs, ys, weight, None, n, rates, self.seed, 0, 1, None, None, factors)
        if totals["status"] != "ok":
            raise training_error(totals, f"step {plan.iterations + 1}")
        return objective.figures(totals)

    def test_on_batch(self, x: Inputs, y: Data, sample_weight: ArrayLike | None = None) -> Logs:
        """Loss and metrics of some samples, without training; as `evaluate`.

        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(1, kernel_initializer="ones")], input_shape=(1,))
        >>> model.compile("sgd", "squared_error")
        >>> model.test_on_batch([[1.0], [2.0]], [[1.0], [4.0]])
        {'loss': 2.0}
        """
        return self.evaluate(x, y, None, sample_weight)

    @explained
    def evaluate(self, x: Source, y: Data | None = None, batch_size: int | None = None,
                 sample_weight: ArrayLike | None = None) -> Logs:
        """Loss and metrics over a data set, in inference mode.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`.
        batch_size : int, optional
            Samples in a pass; by default 256, or fewer if they would take more than 128 MiB. It changes memory and
            time, not the figures beyond rounding.

        Returns
        -------
        dict of str to float
            ``{"loss": ..., "accuracy": ...}``; the loss includes penalties.

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(1, kernel_initializer="ones")], input_shape=(1,))
        >>> model.compile("sgd", "squared_error", metrics=["mae"])
        >>> model.evaluate([[1.0], [2.0]], [[1.0], [4.0]])
        {'loss': 2.0, 'mae': 1.0}
        """
        if batch_size is not None:
            batch_size = integer("evaluate", "batch_size", batch_size, at_least=1)
        with Unbuild(self):
            xs, ys, weight, _ = self._open(x, y, sample_weight, None, "evaluate")
            check_weight(weight, "evaluate: sample_weight")
        data = xs if isinstance(xs, Stream) else (xs, ys, weight)
        batch_size = batch_size or self._require_plan().default_batch(INFERENCE_BATCH)
        return self._objective.figures(self._evaluate(data, batch_size))

    def predict(self, x: Source, batch_size: int | None = None) -> Arrays:
        """Outputs for a data set, in inference mode; needs no `compile`.

        Parameters
        ----------
        x : array (N, ...), or list or dict of arrays for several inputs
            NaN and infinities are let through: the rows that hold them give NaN or what the layers make of them.
        batch_size : int, optional
            Samples in a pass; by default as in `evaluate`. It changes memory and time, not the result.

        Returns
        -------
        ndarray (N, ...) in the model's dtype; a list of them for several outputs

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(2, kernel_initializer="ones")], input_shape=(3,))
        >>> model.predict([[1, 2, 3]])
        array([[6., 6.]], dtype=float32)
        """
        if batch_size is not None:
            batch_size = integer("predict", "batch_size", batch_size, at_least=1)
        plan = self._plan
        if plan is not None:
            out = plan.predict_fast(x)
            if out is not None:
                return out
        if is_stream(x):
            return streams.predict(self, x, batch_size or INFERENCE_BATCH)
        with Unbuild(self):
            self._build_from(x)
            plan = self._require_plan()
            xs, n = self._inputs(x, finite=False)
        return one_or_list(plan.predict(xs, min(batch_size or plan.default_batch(INFERENCE_BATCH), n)))


class Unbuild:
    """Undo the building of an unbuilt Sequential if the data that shaped it turns out to be bad."""

    __slots__ = ("model", "built")

    def __init__(self, model):
        self.model = model

    def __enter__(self):
        self.built = self.model._graph is not None

    def __exit__(self, kind, error, trace):
        model = self.model
        if kind is not None and not self.built:
            model._graph = model._values = model._plan = model._objective = None
            model._set_fast_path()


def one_or_list(arrays):
    """One array by itself, several as they are."""
    return arrays[0] if len(arrays) == 1 else arrays


def as_list(callbacks):
    """A list of callbacks from None, one or several."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def check_weight(weight, what):
    """A data set in which no sample counts has no mean."""
    if weight is not None and not weight.any():
        raise ValueError(f"{what}: all weights are zero")
