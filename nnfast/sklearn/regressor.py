"""Regression by a network: `NNRegressor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import column_or_1d

from .network import Network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import ArrayLike, MatrixLike


class NNRegressor(RegressorMixin, Network):
    """A network that predicts numbers: scikit-learn's `MLPRegressor` with a compiled core, and more.

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
        Share of the samples kept for that where `fit` gets no `validation_data`.
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
        function gets the number of columns of y; X of more than two axes makes n_features its shape. A model that is
        compiled keeps its optimizer and loss. `fit` starts with the weights of a model that has some, and with fresh
        ones of a function's.
    loss : str, nf.losses.Loss or function, default=None
        None: half the squared error, as in scikit-learn, summed over the outputs (of which `loss_` there is the mean).
        Anything that ``model.compile(loss=)`` takes: "absolute_error", ``nf.Huber(2.0)``, a function; "squared_error"
        is nnfast's, without the half. There is no "poisson".
    optimizer : str or nf.optimizers.Optimizer, default=None
        Instead of `solver` and its arguments.
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
        The network. ``model_.save(path)`` writes it to a file.
    loss_ : float
        The last epoch's loss.
    best_loss_ : float
        The least loss of an epoch.
    loss_curve_ : list of float
        By epoch, penalty included.
    validation_scores_ : list of float
        R^2 by epoch on the validation data, with the samples' weights; None if there are none. Callbacks see the loss
        there as "val_loss".
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
        Columns of y.
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
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> net = nf.sklearn.NNRegressor((20,), activation="tanh", solver="lbfgs", random_state=0)
    >>> net.fit(x, np.sin(3 * x[:, 0])).score(x, np.sin(3 * x[:, 0])) > 0.99
    True
    """

    n_outputs_: int

    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None,
            validation_data: Sequence[Any] | None = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Of a sparse matrix dense layers read the numbers that are not 0 alone, other layers the rows of a batch
            with their zeros.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
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
    def partial_fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train for one pass over some samples; parameters as in `fit`."""
        return self._fit(X, y, sample_weight, incremental=True)

    def _read_targets(self, y, first):
        if hasattr(y, "toarray"):
            raise TypeError("NNRegressor: y is a sparse matrix; give y.toarray()")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        columns = 1 if y.ndim == 1 else y.shape[1]
        if first:
            self.n_outputs_ = columns
            self._one_column = y.ndim == 1
        elif columns != self.n_outputs_:
            raise ValueError(f"NNRegressor: y has {columns} columns, in the call before it had {self.n_outputs_}")
        return y.reshape(len(y), columns)

    def _n_outputs(self):
        return self.n_outputs_

    def _output_activation(self):
        return "linear"

    def _check_output(self, model):
        if model.output_shape != (self.n_outputs_,):
            raise ValueError(f"NNRegressor: model {model.name} ends in shape {model.output_shape}, y has "
                             f"{self.n_outputs_} columns; give the last layer {self.n_outputs_} units")

    def _loss(self):
        return ("squared_error", 0.5) if self.loss is None else super()._loss()

    def _prediction(self, outputs):
        return np.ascontiguousarray(outputs[:, 0]) if self._one_column else outputs

    def _score_outputs(self, outputs, y, weight):
        return r2_score(y, outputs, sample_weight=weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
