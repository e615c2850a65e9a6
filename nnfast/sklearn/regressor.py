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

    The arguments and attributes that are not listed here are those of `NNClassifier`.

    Parameters
    ----------
    loss : str, nf.losses.Loss or function, default=None
        None: half the squared error, as in scikit-learn, summed over the outputs (of which `loss_` there is the mean).
        Anything that ``model.compile(loss=)`` takes: "absolute_error", ``nf.Huber(2.0)``, a function; "squared_error"
        is nnfast's, without the half. There is no "poisson".
    model : nnfast model, or function (n_features, n_outputs) -> model, default=None
        n_outputs is the number of columns of y.

    Attributes
    ----------
    validation_scores_ : list of float
        R^2 by epoch on the validation data; None if there are none.

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
