"""Classification by a network: `NNClassifier`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from .. import losses
from ..names import choose
from .network import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..model import Model
    from ..typing import Array, ArrayLike, Augment, Callbacks, ClassWeight, LossLike, MatrixLike, OptimizerLike


class NNClassifier(ClassifierMixin, Network):
    """A network that tells classes apart: scikit-learn's `MLPClassifier` with a compiled core, and more.

    Parameters
    ----------
    hidden_layer_sizes : int or tuple of int, default=(100,)
        Units of the hidden layers.
    activation : str, default="relu"
        Of the hidden layers: "identity", "logistic", "tanh", "relu", or another of nnfast's.
    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        "lbfgs" needs SciPy, which scikit-learn brings.
    alpha : float, default=0.0001
        The penalty alpha / 2 * sum w^2, divided by the samples in a batch.
    batch_size : int or "auto", default="auto"
        "auto" is min(200, n_samples). Only for "adam" and "sgd"; "lbfgs" takes all samples in every step.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Only for "sgd". "invscaling": learning_rate_init / t^power_t; "adaptive": divided by 5 where training would
        stop.
    learning_rate_init : float, default=0.001
        Only for "adam" and "sgd".
    power_t : float, default=0.5
        Only for "sgd" with learning_rate="invscaling".
    max_iter : int, default=200
        Most epochs, or most iterations of "lbfgs".
    shuffle : bool, default=True
        Only for "adam" and "sgd".
    random_state : int, RandomState instance or None, default=None
        Of the weights, the order of the samples, the validation split and dropout.
    tol : float, default=1e-4
        Training ends when the loss (or with `early_stopping` the validation score) has not improved by this much for
        more than `n_iter_no_change` epochs; with solver="lbfgs" when the largest entry of the gradient is below it.
    verbose : bool, default=False
        Print the loss of each epoch.
    warm_start : bool, default=False
        `fit` goes on with the weights of the last call; the arguments that say which layers there are must be the same.
    momentum : float, default=0.9
        Only for "sgd". Where the rate changes, what has been gathered counts at the new rate, as in PyTorch;
        scikit-learn's counts at the old one.
    nesterovs_momentum : bool, default=True
        Only for "sgd" with momentum > 0.
    early_stopping : bool, default=False
        Stop by the score on validation data, and keep the best weights. Only for "adam" and "sgd".
    validation_fraction : float, default=0.1
        Share of the samples kept for that where `fit` gets no `validation_data`; of each class, if all have two samples
        and a place there.
    beta_1 : float, default=0.9
        Decay of the gradient's mean. Only for "adam".
    beta_2 : float, default=0.999
        Decay of the squared gradient's mean. Only for "adam".
    epsilon : float, default=1e-8
        Added to the root of that, as in PyTorch. Only for "adam".
    n_iter_no_change : int, default=10
        See `tol`. Only for "adam" and "sgd".
    max_fun : int, default=15000
        Only for "lbfgs": training ends after the iteration in which the loss has been computed more often than this.
    model : nnfast model, or function (n_features, n_outputs) -> model, default=None
        Any network with one input and one output, convolutional ones too: rows of X are reshaped to its input. A
        function gets the number of classes (or labels); X of more than two axes makes n_features its shape. A model
        that is compiled keeps its optimizer and loss. `fit` starts with the weights of a model that has some, and with
        fresh ones of a function's.
    loss : str, nf.losses.Loss or function, default=None
        None: cross-entropy. Anything that ``model.compile(loss=)`` takes.
    optimizer : str or nf.optimizers.Optimizer, default=None
        Instead of `solver` and its arguments.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied into `sample_weight`. Of several columns of labels also a list of dicts, one
        for each column. In `partial_fit` "balanced" is of each call's samples.
    dropout : float, default=0.0
        Rate after each hidden layer.
    augment : nf.augment.Augmentation or list, default=None
        Random changes of the samples in training, see `nnfast.augment`. Images need a `model=` that takes images. Not
        for "lbfgs".
    callbacks : nf.Callback or list, default=None
        Called in training, as by ``model.fit(callbacks=)``.
    n_threads : int, default=None
        Most threads. By default nnfast decides by the work in a step, within what joblib grants.

    Attributes
    ----------
    model_ : nnfast model
        The network. ``model_.save(path)`` writes it to a file, with the classes' texts as its `class_names` (unless
        `model=` has names of its own, or y was labels that do not exclude each other).
    classes_ : ndarray
        The classes in order, or the numbers of the labels.
    loss_ : float
        The last epoch's loss.
    best_loss_ : float
        The least loss of an epoch.
    loss_curve_ : list of float
        By epoch, penalty included.
    validation_scores_ : list of float
        Accuracy by epoch on the validation data, with the samples' weights but not those of classes; None if there are
        none. Callbacks see the loss there as "val_loss".
    best_validation_score_ : float
        The largest of the last fit with validation data; None if there was none.
    t_ : int
        Samples seen, in all epochs together.
    n_iter_ : int
        Epochs of the last fit, or iterations of "lbfgs".
    coefs_ : list of ndarray
        Copies of the kernels, input side first: (n_in, n_out) for dense layers.
    intercepts_ : list of ndarray
        Copies of the biases.
    n_features_in_ : int
        Columns of X in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where all are strings.
    n_outputs_ : int
        Numbers that the network gives for a sample: one for two classes.
    n_layers_ : int
        Layers with a kernel, and the input.
    out_activation_ : str
        Activation of the output, by scikit-learn's name.

    Notes
    -----
    The network has X's precision: float32 for float32, else float64; float32 is about twice as fast. An epoch's last,
    smaller batch counts the penalty like the others. `partial_fit` keeps the penalty of its first call.

    Examples
    --------
    >>> import nnfast as nf
    >>> (x, y), (x_test, y_test) = nf.datasets.digits()
    >>> net = nf.sklearn.NNClassifier((64,), early_stopping=True, class_weight="balanced", random_state=0)
    >>> net.fit(x, y).score(x_test, y_test) > 0.9
    True
    """

    classes_: Array

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
                 loss: LossLike | None = None, optimizer: OptimizerLike | None = None,
                 class_weight: ClassWeight | None = None, dropout: float = 0.0, augment: Augment | None = None,
                 callbacks: Callbacks | None = None, n_threads: int | None = None) -> None:
        super().__init__(
            hidden_layer_sizes, activation, solver=solver, alpha=alpha, batch_size=batch_size,
            learning_rate=learning_rate, learning_rate_init=learning_rate_init, power_t=power_t, max_iter=max_iter,
            shuffle=shuffle, random_state=random_state, tol=tol, verbose=verbose, warm_start=warm_start,
            momentum=momentum, nesterovs_momentum=nesterovs_momentum, early_stopping=early_stopping,
            validation_fraction=validation_fraction, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon,
            n_iter_no_change=n_iter_no_change, max_fun=max_fun, model=model, loss=loss, optimizer=optimizer,
            dropout=dropout, augment=augment, callbacks=callbacks, n_threads=n_threads,
        )
        self.class_weight = class_weight

    def fit(self, X: MatrixLike, y: MatrixLike, sample_weight: ArrayLike | None = None,
            validation_data: Sequence[Any] | None = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Of a sparse matrix dense layers read the numbers that are not 0 alone, other layers the rows of a batch
            with their zeros.
        y : array-like of shape (n_samples,), or {array-like, sparse matrix} (n_samples, n_labels) of 0 and 1
            Classes of any kind, strings too; several columns are labels that do not exclude each other, which `predict`
            returns as a dense array.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each sample counts.
        validation_data : tuple (X, y) or (X, y, sample_weight), default=None
            Scored after each epoch; with `early_stopping` instead of a part of the samples.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, validation_data)

    @available_if(lambda self: self.solver != "lbfgs" or self.optimizer is not None)
    def partial_fit(self, X: MatrixLike, y: MatrixLike, classes: ArrayLike | None = None,
                    sample_weight: ArrayLike | None = None) -> Self:
        """Train for one pass over some samples.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array-like, default=None
            All classes that will ever come; needed in the first call.

        Returns
        -------
        self
        """
        if not hasattr(self, "model_"):
            if classes is None and type_of_target(y) != "multilabel-indicator":
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self._announced = None if classes is None else np.unique(classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                             f"{self.classes_!r}")
        try:
            return self._fit(X, y, sample_weight, incremental=True)
        finally:
            self.__dict__.pop("_announced", None)

    # -- targets -------------------------------------------------------------------------------------------------

    def _read_targets(self, y, first):
        check_classification_targets(y)
        y = y.toarray() if hasattr(y, "toarray") else y
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if y.ndim == 2:
            # scikit-learn also calls two other numbers an indicator, such as -1 and 1.
            if type_of_target(y) != "multilabel-indicator" or not ((y == 0) | (y == 1)).all():
                raise ValueError("NNClassifier: several columns of y must be labels of 0 and 1, got "
                                 f"{type_of_target(y)} of {np.unique(y)[:10].tolist()}")
            if first:
                self.classes_ = np.arange(y.shape[1])
                self._multilabel = True
            elif not self._multilabel or y.shape[1] != len(self.classes_):
                raise ValueError(f"NNClassifier: y has {y.shape[1]} columns, it had other targets in the call before")
            return y.astype(np.uint8)
        announced = self.__dict__.get("_announced")
        present = np.unique(y)
        if first:
            self.classes_ = present if announced is None else announced
            self._multilabel = False
            if len(self.classes_) < 2:
                raise ValueError(f"NNClassifier: needs samples of at least 2 classes, got only one class: "
                                 f"{self.classes_.tolist()[0]!r}")
        elif self._multilabel:
            raise ValueError("NNClassifier: y was a matrix of labels in the call before, now it has one column")
        unknown = np.setdiff1d(present, self.classes_)
        if len(unknown):
            raise ValueError(f"NNClassifier: y has classes {unknown.tolist()!r} that the first call did not have; it "
                             f"had {self.classes_.tolist()!r}")
        return np.searchsorted(self.classes_, y).astype(np.int32)

    def _weights(self, weight, y):
        if self.class_weight is None:
            return weight
        if y.ndim == 1 and not isinstance(self.class_weight, (Mapping, str)):
            raise TypeError("NNClassifier: class_weight must be a dict, 'balanced' or None, got "
                            f"{type(self.class_weight).__name__}")
        if isinstance(self.class_weight, str):
            choose("NNClassifier class_weight", self.class_weight, ("balanced",))
        if isinstance(self.class_weight, Mapping) and y.ndim == 1:
            factors = self._factors()[y]
        else:
            given = dict(self.class_weight) if isinstance(self.class_weight, Mapping) else self.class_weight
            factors = compute_sample_weight(given, y if y.ndim == 2 else self.classes_[y])
        if not (np.isfinite(factors) & (factors >= 0)).all():
            raise ValueError(f"NNClassifier: class_weight must be finite and not negative, got {self.class_weight}")
        return factors if weight is None else weight * factors

    def _factors(self):
        """The weight of each class by a dict: 1 where it names none. A name that is no class is taken for a slip unless
        all classes have one, as a search over parts of the data may bring about."""
        classes = self.classes_.tolist()
        given = {key.item() if isinstance(key, np.generic) else key: value for key, value in self.class_weight.items()}
        unknown = [key for key in given if key not in classes]
        if unknown and not all(name in given for name in classes):
            raise ValueError(f"NNClassifier: class_weight has {unknown[0]!r}, which is not among the classes "
                             f"{classes[:20]!r}")
        return np.array([given.get(name, 1.0) for name in classes], np.float64)

    @property
    def n_outputs_(self) -> int:
        """Numbers that the network gives for a sample: one for two classes."""
        if "model_" not in self.__dict__:
            raise AttributeError("NNClassifier is not fitted yet; call fit first")
        return self.model_.output_shape[-1]

    def _n_outputs(self):
        return 1 if not self._multilabel and len(self.classes_) == 2 and self.loss is None else len(self.classes_)

    def _new_model(self, X, seed):
        model = super()._new_model(X, seed)
        names = [str(value) for value in self.classes_.tolist()]
        if model.class_names is None and not self._multilabel and all(names):
            model.class_names = names
        return model

    def _width(self):
        return len(self.classes_)

    def _output_activation(self):
        loss = None if self.loss is None else losses.get(self.loss)
        if loss is not None and loss.from_logits:
            return "linear"
        if self._multilabel or self._n_outputs() == 1 or (loss is not None and loss.name == "binary_cross_entropy"):
            return "sigmoid"
        return "softmax"

    def _check_output(self, model):
        shape, classes = model.output_shape, len(self.classes_)
        if shape != (classes,) and not (shape == (1,) and classes == 2 and not self._multilabel):
            raise ValueError(f"NNClassifier: model {model.name} ends in shape {shape}, y has {classes} "
                             f"{'labels' if self._multilabel else 'classes'}; give the last layer {classes} units")

    def _loss(self):
        if self.loss is not None:
            return super()._loss()
        activation, width = self.model_._graph.output_activation(0), self.model_.output_shape[-1]
        yes_no = self._multilabel or width == 1 or activation == "sigmoid"
        if activation not in ("softmax", "sigmoid"):
            return (losses.BinaryCrossEntropy if yes_no else losses.CrossEntropy)(from_logits=True), 1.0
        return "binary_cross_entropy" if yes_no else "cross_entropy", 1.0

    def _as_targets(self, y):
        loss = self.model_._objective.losses[0]
        width = self.model_.output_shape[-1]
        if y.ndim == 1 and not loss.integer_labels and width > 1:
            return np.eye(width, dtype=self.model_.dtype)[y]
        return y

    # -- inference -----------------------------------------------------------------------------------------------

    def _probabilities(self, outputs):
        """Of each class or label: (N, classes)."""
        loss = self.model_._objective.losses[0]
        activation = self.model_._graph.output_activation(0)
        if loss.from_logits:
            activation = loss.activation
            outputs = softmax(outputs) if activation == "softmax" else sigmoid(outputs)
        if activation not in ("softmax", "sigmoid"):
            raise ValueError(f"NNClassifier: the network ends in {activation!r}, which gives no probabilities; end it "
                             "in softmax or sigmoid")
        if self._multilabel or activation == "softmax":
            return outputs
        if outputs.shape[1] == 1:
            return np.concatenate([1 - outputs, outputs], axis=1)
        return outputs / np.maximum(outputs.sum(axis=1, keepdims=True), np.finfo(outputs.dtype).tiny)

    def _choice(self, outputs):
        """Indices of classes, or labels of 0 and 1."""
        if outputs.shape[1] > 1 and not self._multilabel:
            return outputs.argmax(axis=1)
        loss = self.model_._objective.losses[0]
        if loss.from_logits and loss.activation == "softmax":
            chosen = softmax(outputs) > 0.5
        else:
            chosen = outputs > (0.0 if loss.from_logits else 0.5)
        chosen = chosen.astype(np.intp)
        return chosen if self._multilabel else chosen[:, 0]

    def _prediction(self, outputs):
        choice = self._choice(outputs)
        return choice if self._multilabel else self.classes_[choice]

    def _score_outputs(self, outputs, y, weight):
        right = self._choice(outputs) == y
        return np.average(right.all(axis=1) if right.ndim == 2 else right, weights=weight)

    def predict_proba(self, X: MatrixLike) -> Array:
        """Probabilities of the classes, in the order of `classes_`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._probabilities(self._outputs(X))

    def predict_log_proba(self, X: MatrixLike) -> Array:
        """Logarithms of `predict_proba`; minus infinity for 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def sigmoid(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)
