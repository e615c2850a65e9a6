"""Regression by a network: `NNRegressor`."""

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import column_or_1d

from .network import Network


class NNRegressor(RegressorMixin, Network):
    """A network that predicts numbers: scikit-learn's `MLPRegressor`, many times faster, and more.

    The arguments and attributes that are not listed here are those of `NNClassifier`.

    Parameters
    ----------
    loss : str, nf.losses.Loss or function, default=None
        None: half the squared error, as in scikit-learn, summed over the outputs. Anything that
        ``model.compile(loss=)`` takes: "absolute_error", ``nf.Huber(2.0)``, a function.
    model : nnfast model, or function (n_features, n_outputs) -> model, default=None
        n_outputs is the number of columns of y.

    Attributes
    ----------
    validation_scores_ : list of float
        R^2 by epoch on the validation data; only where there are any.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> net = nf.sklearn.NNRegressor((20,), activation="tanh", solver="lbfgs", random_state=0)
    >>> net.fit(x, np.sin(3 * x[:, 0])).score(x, np.sin(3 * x[:, 0])) > 0.99
    True
    """

    def __init__(
        self, hidden_layer_sizes=(100,), activation="relu", *, solver="adam", alpha=0.0001, batch_size="auto",
        learning_rate="constant", learning_rate_init=0.001, power_t=0.5, max_iter=200, shuffle=True, random_state=None,
        tol=1e-4, verbose=False, warm_start=False, momentum=0.9, nesterovs_momentum=True, early_stopping=False,
        validation_fraction=0.1, beta_1=0.9, beta_2=0.999, epsilon=1e-8, n_iter_no_change=10, model=None, loss=None,
        optimizer=None, dropout=0.0, callbacks=None, n_threads=None,
    ):
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
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.dropout = dropout
        self.callbacks = callbacks
        self.n_threads = n_threads

    def fit(self, X, y, sample_weight=None, validation_data=None):
        """Train the network.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            A sparse matrix is made dense.
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
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one pass over some samples; parameters as in `fit`."""
        return self._fit(X, y, sample_weight, incremental=True)

    def _read_targets(self, y, first):
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
