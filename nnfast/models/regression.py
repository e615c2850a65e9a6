"""Regressions: networks of one dense layer, whose loss has a single minimum.

Their weights start at zero. They come compiled with the loss that defines them, and train in mini-batches with
``model.fit(x, y, epochs=...)`` or to the exact minimum with ``model.fit(x, y, solver="lbfgs")`` (needs SciPy). With
theta the kernel, b the bias (the intercept, which is never penalised) and N samples, they minimise

    1/N sum_i loss_i + l2/2 sum theta^2 + l1 sum |theta|

scikit-learn weighs the same terms differently; the minima are equal for

    =====================  ======================================================  =====================
    linear_regression      Ridge(alpha)                                            l2 = 2 alpha / N
    linear_regression      Lasso(alpha)                                            l1 = 2 alpha
    logistic_regression,   LogisticRegression(C), penalty l2                       l2 = 1 / (C N)
    softmax_regression     LogisticRegression(C), penalty l1                       l1 = 1 / (C N)
    =====================  ======================================================  =====================

The minimum is reached fastest where all columns of x have about the same scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..layers import Dense
from ..regularizers import L1L2
from ..sequential import Sequential

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from ..typing import OptimizerLike

__all__ = ["linear_regression", "logistic_regression", "softmax_regression"]


def linear_regression(n_features: int, n_outputs: int = 1, l2: float = 0.0, l1: float = 0.0,
                      optimizer: OptimizerLike = "adam", dtype: DTypeLike = "float32", seed: int = 0) -> Sequential:
    """Linear regression: y = x theta + b with the squared error.

    Bishop, *Pattern Recognition and Machine Learning* (2006), eq. 3.3 and 3.12; with l2 ridge regression (eq. 3.27),
    with l1 the lasso (Tibshirani 1996). The error has no factor 1/2.

    Parameters
    ----------
    n_features, n_outputs : int
        x has shape (N, n_features), y (N, n_outputs), or (N,) for one output.
    l2, l1 : float
        Factors of the penalties on theta.
    optimizer : str or Optimizer
        For training in mini-batches.
    dtype : "float32" or "float64"
    seed : int
        Of the order of the samples.

    Returns
    -------
    Sequential
        Compiled; the parameters are "dense/kernel" and "dense/bias".

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.models.linear_regression(1, dtype="float64")
    >>> history = model.fit([[0.0], [1.0], [2.0]], [[1.0], [3.0], [5.0]], solver="lbfgs", verbose=0)
    >>> model.predict([[3.0]]).round(6)
    array([[7.]])
    """
    return _one_layer(n_features, n_outputs, "linear", "squared_error", l2, l1, optimizer, dtype, seed)


def logistic_regression(n_features: int, l2: float = 0.0, l1: float = 0.0, optimizer: OptimizerLike = "adam",
                        dtype: DTypeLike = "float32", seed: int = 0) -> Sequential:
    """Logistic regression: p(y = 1) = sigmoid(x theta + b) with the binary cross-entropy.

    Bishop (2006), eq. 4.87 and 4.90. The loss is the negative logarithm of the Bernoulli likelihood
    prod_i p_i^y_i (1 - p_i)^(1 - y_i), so its minimum is the maximum-likelihood estimate. On classes that a plane
    separates there is no minimum without a penalty: theta grows without end.

    Parameters
    ----------
    n_features : int
        x has shape (N, n_features), y (N,) or (N, 1) with entries 0 or 1.
    l2, l1, optimizer, dtype, seed
        See `linear_regression`.

    Returns
    -------
    Sequential
        Compiled, with the metric "accuracy"; `predict` gives p, of shape (N, 1).

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.models.logistic_regression(1, l2=0.1)
    >>> history = model.fit([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], solver="lbfgs", verbose=0)
    >>> model.predict([[-1.5], [1.5]])[:, 0] > 0.5
    array([False,  True])
    """
    return _one_layer(n_features, 1, "sigmoid", "binary_cross_entropy", l2, l1, optimizer, dtype, seed)


def softmax_regression(n_features: int, n_classes: int, l2: float = 0.0, l1: float = 0.0,
                       optimizer: OptimizerLike = "adam", dtype: DTypeLike = "float32", seed: int = 0) -> Sequential:
    """Multinomial logistic regression: p(y = k) = softmax(x theta + b)_k with the cross-entropy.

    Bishop (2006), eq. 4.104 and 4.108. Adding one number to all columns of b changes no probability: of the minima
    the one is found whose b sums to zero. Two classes are logistic regression with theta_1 - theta_0 and b_1 - b_0,
    as softmax(z)_1 = sigmoid(z_1 - z_0).

    Parameters
    ----------
    n_features, n_classes : int
        x has shape (N, n_features), y (N,) with classes 0 ... n_classes - 1, or (N, n_classes) with probabilities.
    l2, l1, optimizer, dtype, seed
        See `linear_regression`.

    Returns
    -------
    Sequential
        Compiled, with the metric "accuracy".

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.models.softmax_regression(1, 3, l2=0.01)
    >>> history = model.fit([[-2.0], [0.0], [2.0]], [0, 1, 2], solver="lbfgs", verbose=0)
    >>> model.predict([[-2.0], [0.0], [2.0]]).argmax(axis=1)
    array([0, 1, 2])
    """
    return _one_layer(n_features, n_classes, "softmax", "cross_entropy", l2, l1, optimizer, dtype, seed)


def _one_layer(n_features, units, activation, loss, l2, l1, optimizer, dtype, seed):
    penalty = L1L2(l1, l2)
    dense = Dense(units, activation=activation, kernel_initializer="zeros", kernel_regularizer=penalty)
    model = Sequential([dense], input_shape=(n_features,), dtype=dtype, seed=seed)
    model.compile(optimizer, loss, metrics=[] if activation == "linear" else ["accuracy"])
    return model
