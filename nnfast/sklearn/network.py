"""What the two network estimators share: the network, its training, and when that ends.

Design:
1. Constructor arguments are kept as they are given and checked by `fit`, as scikit-learn wants it.
2. `model_` is an nnfast model; whatever has been learnt is in it, so pickling an estimator pickles a model.
3. Rows of weight zero are left out, and the penalty is divided by the total weight of a batch, on average: weights then
   mean repetitions, and a weight of zero means absence.
4. Arguments of another solver have no effect, as in scikit-learn, so that searches go over solvers. What contradicts
   an argument that scikit-learn does not have (`model=`, `optimizer=`, `augment=`) raises an error.
"""

from __future__ import annotations

import copy
import inspect
import math
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .. import activations, losses, optimizers
from ..callbacks import Callback
from ..configurable import boolean, integer, number
from ..layers import Dense, Dropout
from ..model import Model
from ..names import choose
from ..regularizers import L2
from ..sequential import Sequential
from ..solvers import LBFGS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..typing import Array, Augment, Callbacks, LossLike, MatrixLike, OptimizerLike

#: scikit-learn's names of activations
ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid"}

# Arguments that say how the network looks, or how it is trained, and so mean nothing beside one that says it already.
LAYER_ARGUMENTS = ("hidden_layer_sizes", "activation", "dropout")
SOLVER_ARGUMENTS = ("solver", "learning_rate", "learning_rate_init", "power_t", "momentum", "nesterovs_momentum",
                    "beta_1", "beta_2", "epsilon", "max_fun")

SMALLEST_RATE = 1e-6        # learning_rate="adaptive" stops below it, as in scikit-learn
ENOUGH = 1000               # samples for the loss_ of a fit that Ctrl-C has ended in its first epoch


class Network(BaseEstimator):
    """Base of NNClassifier and NNRegressor; these define what targets mean."""

    model_: Model
    loss_: float
    best_loss_: float
    loss_curve_: list[float]
    validation_scores_: list[float] | Any
    best_validation_score_: float | Any
    n_iter_: int
    t_: int

    # Set by `fit`, but not in pickles of estimators that were fitted before there were these:
    _made_from: Any = None              # `_layers()`; None if that is not known
    _given_settings: Any = None         # those of the compiled model that a function has made

    def __init__(self, hidden_layer_sizes: int | Sequence[int] = (100,), activation: str = "relu", *,
                 solver: Literal["adam", "sgd", "lbfgs"] = "adam", alpha: float = 0.0001,
                 batch_size: int | Literal["auto"] = "auto",
                 learning_rate: Literal["constant", "invscaling", "adaptive"] = "constant",
                 learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
                 random_state: Any = None, tol: float = 1e-4, verbose: bool = False, warm_start: bool = False,
                 momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
                 validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 n_iter_no_change: float = 10, max_fun: int = 15000,
                 model: Model | Callable[[Any, int], Model] | None = None,
                 loss: LossLike | None = None, optimizer: OptimizerLike | None = None, dropout: float = 0.0,
                 augment: Augment | None = None, callbacks: Callbacks | None = None,
                 n_threads: int | None = None) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.dropout = dropout
        self.augment = augment
        self.callbacks = callbacks
        self.n_threads = n_threads

    # -- what the subclasses define ------------------------------------------------------------------------------

    def _read_targets(self, y, first):
        """Check y; return it as the network learns it, (N,) or (N, outputs)."""
        raise NotImplementedError

    def _prediction(self, outputs):
        """What `predict` returns for the network's outputs."""
        raise NotImplementedError

    def _score_outputs(self, outputs, y, weight):
        """The validation score of outputs."""
        raise NotImplementedError

    # -- training ------------------------------------------------------------------------------------------------

    def _fit(self, X, y, sample_weight, validation_data=None, incremental=False):
        with Undo(self):
            self._check_arguments(incremental)
            first = not hasattr(self, "model_") or not (self.warm_start or incremental)
            layers = self._layers()
            if not first and self._made_from not in (None, layers):
                how = "partial_fit" if incremental else "warm_start=True"
                raise ValueError(f"{type(self).__name__}: {', '.join(LAYER_ARGUMENTS)} or model has changed, but {how} "
                                 "goes on with the layers of the call before; begin anew with fit and warm_start=False")
            X, y, weight = self._read(X, y, sample_weight, first)
            X, y, own = self._present(X, y, weight)
            # Only now: what is absent does not count in the balance of classes.
            weight = self._weights(own, y)
            if weight is not None and own is not None:
                own = own[weight > 0]
            X, y, weight = self._present(X, y, weight)
            rng = check_random_state(self.random_state)
            seed = int(rng.randint(np.iinfo(np.int32).max))
            validation = None
            if validation_data is not None:
                validation = self._validation_data(validation_data)
            elif self._stops_early():
                X, y, weight, validation = self._split(X, y, weight, own, rng)
            batch = self._batch_size(len(y))
            if first:
                self.model_ = self._new_model(X, seed)
                self.t_, self.loss_curve_, self.best_loss_ = 0, [], math.inf
                self._no_improvement = 0
                self.validation_scores_ = self.best_validation_score_ = None
            if validation is not None and self.validation_scores_ is None:
                self.validation_scores_, self.best_validation_score_ = [], -math.inf
            if first or not incremental:
                mass = batch if weight is None else batch * float(weight.mean())
                self._compile(mass)
            self._made_from = layers
            warning = self._train(self._shaped(X), y, weight, validation, batch, incremental, first)
        if warning is not None:     # where it is made an error, the estimator is fitted all the same
            warnings.warn(warning, stacklevel=3)
        return self

    def _train(self, X, y, weight, validation, batch, incremental, first):
        """Fit `model_`; the warning that there is to give, or None."""
        model = self.model_
        if validation is not None:
            validation = (self._shaped(validation[0]), *validation[1:])
        lbfgs = self.solver == "lbfgs"
        watch = Watch(self, validation, len(y), incremental, lbfgs)
        warning, callbacks = None, self.callbacks
        if not isinstance(callbacks, (list, tuple)):
            callbacks = [] if callbacks is None else [callbacks]
        options = {"solver": LBFGS(self.tol or 1e-12, max_evaluations=self.max_fun)} if lbfgs else {
            "batch_size": batch, "shuffle": self.shuffle, "augment": self.augment}
        if callbacks and validation is not None:    # which may monitor val_loss
            options["validation_data"] = (validation[0], self._as_targets(validation[1]), validation[2])
        self.n_iter_ = 0
        watch.set_model(model)      # Ctrl-C may come before `fit` does
        watch.begin(model)
        try:
            with warnings.catch_warnings():
                # Said below in scikit-learn's words.
                warnings.filterwarnings("ignore", "fit: the solver has not reached", RuntimeWarning)
                model.fit(X, self._as_targets(y), epochs=1 if incremental else self.max_iter, sample_weight=weight,
                          verbose=0, callbacks=[*callbacks, watch], **options)
            settled = watch.stopped
            if lbfgs:   # a search that rounding ends, or a kink of relu, has got as far as it can, if it has moved
                moved = self.n_iter_ > 1 or not first
                settled = model.history.converged or ("LIMIT" not in model.history.message and moved)
            ended = settled or model.stop_training
        except KeyboardInterrupt:
            warning = UserWarning("Training interrupted by user.")
            ended = True
        if self.n_iter_ == 0:       # a search that begins at its minimum, or Ctrl-C in the first epoch
            # Who presses Ctrl-C does not want to wait for the loss of all.
            rows = slice(None, None, math.ceil(len(y) / ENOUGH) if warning else 1)
            watch.on_epoch_end(0, model.evaluate(X[rows], self._as_targets(y[rows]),
                                                 sample_weight=None if weight is None else weight[rows]))
        self.loss_ = self.loss_curve_[-1]
        if watch.best_weights is not None:
            model.set_weights(watch.best_weights)
        if not ended and not incremental:
            how, other = f"max_iter={self.max_iter} iterations reached", "the learning rate"
            if lbfgs:
                how, other = f"lbfgs ended after {self.n_iter_} iterations ({model.history.message})", "max_fun"
            warning = ConvergenceWarning(
                f"{type(self).__name__}: {how} before the loss settled; raise max_iter or {other}, or bring the "
                "columns of X to one scale (StandardScaler)")
        return warning

    def _as_targets(self, y):
        """Targets as the model's loss takes them."""
        return y

    def _read(self, X, y, weight, first):
        """Checked arrays; X may be a sparse matrix."""
        X, y = validate_data(
            self, X, y, accept_sparse="csr", multi_output=True, dtype=(np.float64, np.float32), reset=first,
            allow_nd=self.model is not None, y_numeric=is_regressor(self),
        )
        y = self._read_targets(y, first)
        if weight is not None:
            weight = _check_sample_weight(weight, X, dtype=np.float64, ensure_non_negative=True)
        return X, y, weight

    def _present(self, X, y, weight):
        """Without the rows of weight zero."""
        if weight is None or weight.all():
            return X, y, weight
        if not weight.any():
            raise ValueError(f"{type(self).__name__}: all sample weights are zero")
        return X[weight > 0], y[weight > 0], weight[weight > 0]

    def _weights(self, weight, y):
        """Weights of samples with those of their classes."""
        return weight

    def _validation_data(self, data):
        if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
            raise ValueError(f"{type(self).__name__}: validation_data must be (X, y) or (X, y, sample_weight)")
        X, y, weight = (*data, None)[:3]
        try:
            X, y, weight = self._present(*self._read(X, y, weight, False))
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation_data: {error}") from None
        if is_regressor(self) and len(y) < 2:
            raise ValueError("The validation set is too small: R^2 needs two samples.")
        return X, y, weight

    def _split(self, X, y, weight, own, rng):
        """Keep a part of the rows for validation, with the classes in the same proportions where each has two rows and
        a place there. own: weights without those of the classes, which say what to learn and not how good it is."""
        stratify = None
        if is_classifier(self) and y.ndim == 1:
            counts = np.unique(y, return_counts=True)[1]
            room = min(len(y) - 1, math.ceil(self.validation_fraction * len(y)))
            if counts.min() > 1 and len(counts) <= min(room, len(y) - room):
                stratify = y
        if self.validation_fraction * len(y) <= 1:
            raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your "
                             "dataset.")
        train, held = train_test_split(
            np.arange(len(y)), test_size=self.validation_fraction, random_state=rng, stratify=stratify)
        return (X[train], y[train], None if weight is None else weight[train],
                (X[held], y[held], None if own is None else own[held]))

    def _stops_early(self):
        """Whether a validation score ends training."""
        return self.early_stopping and self.solver != "lbfgs"

    def _batch_size(self, n):
        if self.solver == "lbfgs":
            return n
        if isinstance(self.batch_size, str):
            return min(200, n)
        if self.batch_size > n:
            warnings.warn(f"{type(self).__name__}: batch_size={self.batch_size} is more than the {n} samples; taking "
                          "all of them", stacklevel=4)
        return min(int(self.batch_size), n)

    # -- arguments -----------------------------------------------------------------------------------------------

    def _given(self, names):
        """Those of the arguments that are not at their defaults."""
        defaults = inspect.signature(type(self).__init__).parameters
        return [name for name in names if not same(getattr(self, name), defaults[name].default)]

    def _refuse(self, names, reason):
        if given := self._given(names):
            raise ValueError(f"{type(self).__name__}: {', '.join(given)} would have no effect: {reason}")

    def _check_arguments(self, incremental):
        who = type(self).__name__
        if self.model is None:
            sizes = self._hidden_sizes()
            for size in sizes:
                if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
                    raise ValueError(f"{who}: hidden_layer_sizes must be > 0 integers, got {list(sizes)}")
            activations.resolve(ACTIVATIONS.get(self.activation, self.activation), None, who)
            number(who, "dropout", self.dropout, at_least=0, below=1)
        else:
            self._refuse(LAYER_ARGUMENTS, "model= says which layers there are")
        choose(f"{who} solver", self.solver, ("adam", "sgd", "lbfgs"))
        choose(f"{who} learning_rate", self.learning_rate, ("constant", "invscaling", "adaptive"))
        if self.batch_size != "auto":
            integer(who, "batch_size", self.batch_size, at_least=1)
        integer(who, "max_iter", self.max_iter, at_least=1)
        integer(who, "max_fun", self.max_fun, at_least=1)
        if self.n_iter_no_change != math.inf:
            integer(who, "n_iter_no_change", self.n_iter_no_change, at_least=1)
        number(who, "alpha", self.alpha, at_least=0)
        number(who, "tol", self.tol, at_least=0)
        number(who, "learning_rate_init", self.learning_rate_init, above=0)
        number(who, "power_t", self.power_t, at_least=0)
        number(who, "validation_fraction", self.validation_fraction, at_least=0, below=1)
        number(who, "momentum", self.momentum, at_least=0, at_most=1)
        number(who, "beta_1", self.beta_1, at_least=0, below=1)
        number(who, "beta_2", self.beta_2, at_least=0, below=1)
        number(who, "epsilon", self.epsilon, above=0)
        for name in ("shuffle", "warm_start", "early_stopping", "nesterovs_momentum"):
            boolean(who, name, getattr(self, name))
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.optimizer is not None:
            self._refuse(SOLVER_ARGUMENTS, "optimizer= says how to train")
        elif self.solver == "lbfgs":
            self._refuse(("augment",), 'solver="lbfgs" takes the same samples in every step')
        if isinstance(self.model, Model):
            self._check_compiled(self.model)

    def _check_compiled(self, model):
        """A model that is compiled says how it is trained."""
        if not model.compiled:
            return
        if model._settings.objective is None:
            raise ValueError(f"{type(self).__name__}: model {model.name} was compiled without a loss; compile it with "
                             "one, or give a model that is not compiled")
        self._refuse(("loss", "optimizer", "alpha", *SOLVER_ARGUMENTS),
                     "the model has been compiled; give a model that has not, or leave them out")

    def _hidden_sizes(self):
        sizes = self.hidden_layer_sizes
        return tuple(sizes) if hasattr(sizes, "__iter__") else (sizes,)

    def _layers(self):
        """The arguments that say which layers there are, to compare."""
        if self.model is not None:
            return self.model
        return self._hidden_sizes(), ACTIVATIONS.get(self.activation, self.activation), self.dropout

    def __getstate__(self):
        state = super().__getstate__()
        if not isinstance(self._made_from, tuple) and self._made_from is not self.model:
            # Who has taken a function out of `model` may have done so because it cannot be pickled.
            return state | {"_made_from": None}
        return state

    # -- the network ---------------------------------------------------------------------------------------------

    def _new_model(self, X, seed):
        dtype = X.dtype.name
        self._given_settings = None
        if self.model is None:
            # Biases start as in scikit-learn, not at zero.
            layers, activation = [], ACTIVATIONS.get(self.activation, self.activation)
            for size in self._hidden_sizes():
                layers.append(Dense(int(size), activation=activation, bias_initializer="glorot_uniform"))
                if self.dropout:
                    layers.append(Dropout(self.dropout))
            layers.append(Dense(self._n_outputs(), activation=self._output_activation(),
                                bias_initializer="glorot_uniform"))
            return Sequential(layers, input_shape=(X.shape[1],), seed=seed, dtype=dtype)
        if isinstance(self.model, Model):
            model = self.model.clone(dtype)
            fresh = not model.built
        elif callable(self.model):
            shape = X.shape[1:]
            made = self.model(shape[0] if len(shape) == 1 else shape, self._width())
            if not isinstance(made, Model):
                raise TypeError(f"{type(self).__name__}: model= must return an nnfast model, got {type(made).__name__}")
            self._check_compiled(made)
            self._given_settings = made._settings
            model, fresh = made.clone(dtype), True
        else:
            raise TypeError(f"{type(self).__name__}: model must be an nnfast model or a function (n_features, "
                            f"n_outputs) that makes one, got {type(self.model).__name__}")
        model.seed = seed
        model._build_from(X[:1])
        if fresh:
            # A function gives fresh weights, of which random_state decides.
            model._drop_plan()
            model._values = model._graph.initial_values(seed, model._dtype)
        if len(model.input_shapes) != 1 or len(model.output_shapes) != 1:
            raise ValueError(f"{type(self).__name__}: model must have one input and one output, {model.name} has "
                             f"{len(model.input_shapes)} and {len(model.output_shapes)}")
        if math.prod(model.input_shape) != math.prod(X.shape[1:]):
            raise ValueError(f"{type(self).__name__}: model {model.name} expects inputs of shape {model.input_shape}, "
                             f"X has {math.prod(X.shape[1:])} features")
        self._check_output(model)
        return model

    def _width(self):
        """How many outputs a function that makes a model is asked for."""
        return self._n_outputs()

    def _shaped(self, X):
        """Rows as the network's input has them: an image may come as one long row."""
        shape = self.model_.input_shape
        if X.shape[1:] == shape:
            return X
        return (X.toarray() if hasattr(X, "toarray") else X).reshape((X.shape[0], *shape))

    def _compile(self, mass):
        """Compile for batches whose weights sum to `mass`."""
        model = self.model_
        config = self.model._settings if isinstance(self.model, Model) else self._given_settings
        if config is not None:
            self._check_loss(config.objective.losses[0])
            model.compile(copy.deepcopy(config.optimizer), config.objective.losses, config.objective.requested[0],
                          regularizer=config.regularizer, n_threads=self.n_threads or config.n_threads)
            return
        loss, factor = self._loss()
        self._check_loss(losses.get(loss))
        model.compile(self._optimizer(), loss, loss_weights=[factor],
                      regularizer=L2(self.alpha / mass) if self.alpha else None, n_threads=self.n_threads)

    def _check_loss(self, loss):
        if loss.ignore_label is not None:
            raise ValueError(f"{type(self).__name__}: {loss!r} ignores a label, but an estimator numbers its labels "
                             "anew; leave those rows out of X and y")

    def _loss(self):
        """The loss, and its factor in the total."""
        return losses.get(self.loss), 1.0

    def _optimizer(self):
        if self.optimizer is not None:
            # A copy, because callbacks may change its rate.
            return copy.deepcopy(optimizers.get(self.optimizer))
        rate = float(self.learning_rate_init)
        if self.solver == "sgd":
            return optimizers.SGD(rate, self.momentum, self.nesterovs_momentum and self.momentum > 0)
        return optimizers.Adam(rate, self.beta_1, self.beta_2, self.epsilon)

    # -- inference -----------------------------------------------------------------------------------------------

    def _read_inputs(self, X):
        return validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False,
                             allow_nd=self.model is not None)

    def _outputs(self, X):
        check_is_fitted(self, "model_")
        return self.model_.predict(self._shaped(self._read_inputs(X)))

    def predict(self, X: MatrixLike) -> Array:
        """Predict the targets of samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            With `model=` of the shape that `fit` got, which may be the model's.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._prediction(self._outputs(X))

    # -- what has been learnt ------------------------------------------------------------------------------------

    def _arrays(self, ending):
        if "model_" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} is not fitted yet; call fit first")
        return [value for name, value in self.model_.parameters.items() if name.endswith(ending)]

    @property
    def coefs_(self) -> list[Array]:
        """Copies of the kernels, input side first: (n_in, n_out) for dense layers."""
        return self._arrays("/kernel")

    @property
    def intercepts_(self) -> list[Array]:
        """Copies of the biases, input side first."""
        return self._arrays("/bias")

    @property
    def n_layers_(self) -> int:
        """Layers with a kernel, and the input."""
        return len(self.coefs_) + 1

    @property
    def out_activation_(self) -> str:
        """scikit-learn's name of the output's activation."""
        if "model_" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} is not fitted yet; call fit first")
        name = self.model_._graph.output_activation(0)
        return {"linear": "identity", "sigmoid": "logistic"}.get(name, name)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class Undo:
    """Leave an estimator as it was if `fit` fails: one that is half fitted would pass for fitted. The model of a fit
    that goes on keeps the weights reached."""

    def __init__(self, estimator):
        self.estimator = estimator

    def __enter__(self):
        self.before = {name: list(value) if isinstance(value, list) and name.endswith("_") else value
                       for name, value in vars(self.estimator).items()}

    def __exit__(self, kind, error, trace):
        if error is not None:
            self.estimator.__dict__ = self.before


class Watch(Callback):
    """Follows a fit from epoch to epoch: records, validates, and ends it by scikit-learn's rules."""

    def __init__(self, estimator, validation, n, incremental, lbfgs):
        self.estimator, self.validation, self.n = estimator, validation, n
        self.incremental, self.lbfgs = incremental, lbfgs
        self.early_stopping = estimator._stops_early()
        self.stopped = False
        self.best_weights = None
        self.waited = estimator._no_improvement if incremental else 0

    def begin(self, model):
        """Of a fit that goes on: the weights that it begins with are the best so far, if the best are to be kept."""
        net = self.estimator
        if self.validation is not None:
            net.best_validation_score_ = -math.inf
        if self.early_stopping and net.validation_scores_:
            x, y, weight = self.validation
            net.best_validation_score_ = float(net._score_outputs(model.predict(x), y, weight))
            self.best_weights = model.get_weights()

    def on_epoch_end(self, epoch, logs):
        net, model = self.estimator, self.model
        net.n_iter_ += 1
        net.t_ += self.n
        net.loss_curve_.append(logs["loss"])
        if net.verbose:
            print(f"Iteration {net.n_iter_}, loss = {logs['loss']:.8f}")
        if self.validation is not None:
            self._validate()
        if not self.early_stopping:
            self.waited = self.waited + 1 if logs["loss"] > net.best_loss_ - net.tol else 0
        net.best_loss_ = min(net.best_loss_, logs["loss"])
        if self.lbfgs:
            return
        if net.solver == "sgd" and net.learning_rate == "invscaling":
            model.optimizer.learning_rate = net.learning_rate_init / (net.t_ + 1) ** net.power_t
        if self.waited > net.n_iter_no_change:
            adaptive = net.solver == "sgd" and net.learning_rate == "adaptive"
            if adaptive and model.optimizer.learning_rate > SMALLEST_RATE:
                model.optimizer.learning_rate = model.optimizer.learning_rate / 5
                self.waited = 0
            else:
                self.stopped = model.stop_training = True
                if net.verbose:
                    print(f"{'Validation score' if self.early_stopping else 'Training loss'} did not improve more than "
                          f"tol={net.tol:f} for {net.n_iter_no_change} consecutive epochs. Stopping.")
        net._no_improvement = self.waited

    def _validate(self):
        net = self.estimator
        x, y, weight = self.validation
        score = float(net._score_outputs(self.model.predict(x), y, weight))
        net.validation_scores_.append(score)
        if net.verbose:
            print(f"Validation score: {score:f}")
        if self.early_stopping:
            self.waited = self.waited + 1 if score < net.best_validation_score_ + net.tol else 0
            if score > net.best_validation_score_ or self.best_weights is None:
                self.best_weights = self.model.get_weights()
        net.best_validation_score_ = max(net.best_validation_score_, score)


def same(value, default):
    """Whether an argument is at its default, which is a plain value."""
    if value is default:
        return True
    return type(value) is type(default) and isinstance(value, (str, bool, int, float, tuple)) and value == default
