"""The regressions of `nnfast.models` as estimators. What they minimise is told there; here is only the wrapping."""

from __future__ import annotations

import math
import sys
import warnings
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from ..configurable import integer, number
from ..models import linear_regression, logistic_regression, softmax_regression
from ..solvers import LBFGS
from .network import Undo

if TYPE_CHECKING:
    from ..model import Model
    from ..typing import Array, ArrayLike, Arrays, MatrixLike


#: so many times as large as another a column spoils a search
DIFFERENT = 1e4
#: of a sparse matrix: more are not worth a search among columns far from 0
MOST_STORED = 0.1


class _Regression(BaseEstimator):
    """One dense layer, trained to the minimum by L-BFGS."""

    model_: Model
    n_iter_: int

    def __init__(self, l2: float = 0.0, l1: float = 0.0, *, max_iter: int = 1000, tol: float = 1e-9) -> None:
        self.l2 = l2
        self.l1 = l1
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Find the minimum.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            A sparse matrix stays one if it stores at most a tenth of its numbers and there is a penalty. Else it is
            made dense: only columns of mean 0, without a penalty also of one scale, lead a search to the minimum.
        y : array-like of shape (n_samples,); for LinearRegression also (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
            How often each sample counts.

        Returns
        -------
        self
        """
        who = type(self).__name__
        integer(who, "max_iter", self.max_iter, at_least=1)
        number(who, "tol", self.tol, above=0)
        for name in ("l2", "l1"):
            number(who, name, getattr(self, name), at_least=0)
        with Undo(self):
            X, y = validate_data(self, X, y, accept_sparse="csr", multi_output=True, dtype=(np.float64, np.float32),
                                 y_numeric=is_regressor(self))
            if hasattr(X, "toarray") and (X.nnz > MOST_STORED * math.prod(X.shape) or not (self.l2 or self.l1)):
                X = X.toarray()
            if sample_weight is not None:
                sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
                X, y, sample_weight = X[sample_weight > 0], y[sample_weight > 0], sample_weight[sample_weight > 0]
                if len(y) == 0:
                    raise ValueError(f"{who}: all sample weights are zero")
            y, dtype = self._read_targets(y), X.dtype.name
            X, mean, scale = centred(X, sample_weight, not self.l2 and not self.l1)
            y, offset, size = self._centred_targets(y, sample_weight)
            l1 = min(self.l1 / size, sys.float_info.max)
            search = self._new_model({"l2": self.l2, "l1": l1, "dtype": dtype})
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "fit: the solver has not reached", RuntimeWarning)
                # So that weights and repetitions of rows agree to the tolerance.
                history = search.fit(X, y, sample_weight=sample_weight, epochs=self.max_iter, verbose=0,
                                     solver=LBFGS(tolerance=0.01 * self.tol))
            theta, bias = (weights.astype(np.float64) for weights in search.get_weights())
            theta = theta * size / scale[:, None]
            self.model_ = self._new_model({"l2": self.l2, "l1": self.l1, "dtype": dtype})
            self.model_.set_weights([theta, bias * size + offset - mean @ theta])
            self.model_.history = history
        self.n_iter_ = max(1, len(history.epoch))
        if not history.converged:
            warnings.warn(f"{who}: the minimum is not reached after {self.n_iter_} iterations: {history.message}; "
                          "columns of one scale help (StandardScaler), as does a penalty, or a larger max_iter",
                          ConvergenceWarning, stacklevel=2)
        return self

    def _centred_targets(self, y, weight):
        """Targets less an offset and over a size, and these."""
        return y, 0.0, 1.0

    def _outputs(self, X):
        check_is_fitted(self, "model_")
        X = validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
        return self.model_.predict(X)

    def _parameter(self, name):
        if "model_" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} is not fitted yet; call fit first")
        return self.model_.parameters[f"dense/{name}"]

    @property
    def coef_(self) -> Array:
        """theta, one row for each output, (n_outputs, n_features)."""
        return self._parameter("kernel").T

    @property
    def intercept_(self) -> Array:
        """The bias, (n_outputs,)."""
        return self._parameter("bias")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def centred(x, weight, scaled):
    """Columns of mean 0, and their mean and scale, which is 1 unless `scaled`. A sparse matrix stays as it is: its
    columns are nearly all 0, and only that keeps it sparse.

    The bias is not penalised, so the minimum is the same, and theta, too, times the scale. A search among columns far
    from 0, or of very different size, would end long before it. Where there is no single minimum, scales choose another
    one than the shortest theta.
    """
    x = x.astype(np.float64)
    if hasattr(x, "toarray"):
        return x, np.zeros(x.shape[1]), np.ones(x.shape[1])
    mean = np.average(x, axis=0, weights=weight)
    x -= mean
    deviation = np.sqrt(np.average(np.square(x), axis=0, weights=weight))
    # Of equal numbers the mean's rounding is left.
    equal = deviation <= 10 * math.sqrt(len(x)) * np.finfo(np.float64).eps * np.abs(mean)
    x[:, equal] = 0
    some, scale = deviation[~equal], np.ones_like(mean)
    if scaled and len(some) and some.max() > DIFFERENT * some.min():
        scale = np.where(equal, 1.0, deviation)
    return x / scale, mean, scale


class LinearRegression(RegressorMixin, _Regression):
    """Linear regression: `nnfast.models.linear_regression` as an estimator.

    Parameters
    ----------
    l2 : float, default=0.0
        Factor of the penalty l2 / 2 * sum theta^2; Ridge's alpha is l2 = 2 alpha / n_samples.
    l1 : float, default=0.0
        Factor of the penalty l1 * sum |theta|; Lasso's alpha is l1 = 2 alpha.
    max_iter : int, default=1000
        Most iterations of L-BFGS.
    tol : float, default=1e-9
        Largest entry of the gradient at which the search ends, with columns of X and y of mean 0, y of size 1 (and
        columns of X of very different size, where there is no penalty, of variance 1).

    Attributes
    ----------
    model_ : nnfast model
        The network of one dense layer.
    coef_ : ndarray of shape (n_features,), or (n_outputs, n_features) for several columns of y
        theta.
    intercept_ : float, or ndarray of shape (n_outputs,)
        The bias.
    n_iter_ : int
        Iterations of L-BFGS.
    n_features_in_ : int
        Columns of X in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where all are strings.

    Examples
    --------
    >>> import nnfast as nf
    >>> line = nf.sklearn.LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    >>> line.predict([[3.0]]).round(6)
    array([7.])
    """

    def _read_targets(self, y):
        self._one_column = y.ndim == 1
        self._columns = 1 if self._one_column else y.shape[1]
        return y

    def _new_model(self, arguments):
        return linear_regression(self.n_features_in_, n_outputs=self._columns, **arguments)

    def _centred_targets(self, y, weight):
        # The loss and an L2 penalty grow with the square of a common size, an L1 penalty with the size.
        y = y.reshape(len(y), -1).astype(np.float64)
        largest = float(np.abs(y).max()) or 1.0     # whose square may be beyond float64
        y, offset, _ = centred(y / largest, weight, False)
        size = float(np.sqrt(np.mean(np.square(y)))) or 1.0
        return y / size, offset * largest, max(size * largest, math.ulp(0.0))

    @property
    def coef_(self) -> Array:
        """theta: (n_features,), or (n_outputs, n_features) for several columns of y."""
        theta = super().coef_
        return theta[0] if self._one_column else theta

    @property
    def intercept_(self) -> Arrays:
        """The bias: a number, or (n_outputs,) for several columns of y."""
        bias = super().intercept_
        return bias[0] if self._one_column else bias

    def predict(self, X: MatrixLike) -> Array:
        """Predict the targets of samples: (n_samples,), or (n_samples, n_outputs)."""
        outputs = self._outputs(X)
        return np.ascontiguousarray(outputs[:, 0]) if self._one_column else outputs

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class _ClassRegression(ClassifierMixin, _Regression):
    """What the two regressions of classes share."""

    classes_: Array

    def __init__(self, l2: float = 1e-3, l1: float = 0.0, *, max_iter: int = 1000, tol: float = 1e-9) -> None:
        super().__init__(l2, l1, max_iter=max_iter, tol=tol)

    def _read_targets(self, y):
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__}: needs samples of at least 2 classes, got only one class: "
                             f"{self.classes_.tolist()[0]!r}")
        return labels

    def predict(self, X: MatrixLike) -> Array:
        """Predict the classes of samples."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_log_proba(self, X: MatrixLike) -> Array:
        """Logarithms of `predict_proba`; minus infinity for 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))


class LogisticRegression(_ClassRegression):
    """Logistic regression of two classes: `nnfast.models.logistic_regression` as an estimator.

    Parameters
    ----------
    l2 : float, default=0.001
        Factor of the penalty l2 / 2 * sum theta^2; scikit-learn's C is l2 = 1 / (C n_samples). Where a plane separates
        the classes there is no minimum without one.
    l1 : float, default=0.0
        Factor of the penalty l1 * sum |theta|; scikit-learn's C is l1 = 1 / (C n_samples).
    max_iter : int, default=1000
        Most iterations of L-BFGS.
    tol : float, default=1e-9
        Largest entry of the gradient at which the search ends, with columns of X of mean 0 (and those of very
        different size, where there is no penalty, of variance 1).

    Attributes
    ----------
    model_ : nnfast model
        The network of one dense layer.
    classes_ : ndarray
        The classes in order.
    coef_ : ndarray of shape (1, n_features)
        theta.
    intercept_ : ndarray of shape (1,)
        The bias.
    n_iter_ : int
        Iterations of L-BFGS.
    n_features_in_ : int
        Columns of X in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where all are strings.

    Examples
    --------
    >>> import nnfast as nf
    >>> fit = nf.sklearn.LogisticRegression().fit([[-2.0], [-1.0], [1.0], [2.0]], ["no", "no", "yes", "yes"])
    >>> fit.predict([[-3.0], [3.0]])
    array(['no', 'yes'], dtype='<U3')
    """

    def _read_targets(self, y):
        labels = super()._read_targets(y)
        if len(self.classes_) > 2:
            raise ValueError("Only binary classification is supported. The type of the target is multiclass; use "
                             f"SoftmaxRegression for {len(self.classes_)} classes")
        return labels

    def _new_model(self, arguments):
        return logistic_regression(self.n_features_in_, **arguments)

    def predict_proba(self, X: MatrixLike) -> Array:
        """Probabilities of the two classes, (n_samples, 2)."""
        p = self._outputs(X)
        return np.concatenate([1 - p, p], axis=1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


class SoftmaxRegression(_ClassRegression):
    """Multinomial logistic regression: `nnfast.models.softmax_regression` as an estimator.

    Parameters
    ----------
    l2 : float, default=0.001
        Factor of the penalty l2 / 2 * sum theta^2; scikit-learn's C is l2 = 1 / (C n_samples). Where planes separate
        the classes there is no minimum without one.
    l1 : float, default=0.0
        Factor of the penalty l1 * sum |theta|; scikit-learn's C is l1 = 1 / (C n_samples).
    max_iter : int, default=1000
        Most iterations of L-BFGS.
    tol : float, default=1e-9
        As in `LogisticRegression`.

    Attributes
    ----------
    model_ : nnfast model
        The network of one dense layer.
    classes_ : ndarray
        The classes in order.
    coef_ : ndarray of shape (n_classes, n_features)
        theta.
    intercept_ : ndarray of shape (n_classes,)
        The bias.
    n_iter_ : int
        Iterations of L-BFGS.
    n_features_in_ : int
        Columns of X in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where all are strings.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.sklearn.SoftmaxRegression().fit([[-2.0], [0.0], [2.0]], ["a", "b", "c"]).predict([[3.0]])
    array(['c'], dtype='<U1')
    """

    def _new_model(self, arguments):
        return softmax_regression(self.n_features_in_, len(self.classes_), **arguments)

    def predict_proba(self, X: MatrixLike) -> Array:
        """Probabilities of the classes, (n_samples, n_classes)."""
        return self._outputs(X)
