"""Estimators for scikit-learn: nnfast's networks behind `fit` and `predict`, in pipelines and searches.

`NNClassifier` and `NNRegressor` take the arguments of scikit-learn's `MLPClassifier` and `MLPRegressor` with the same
meanings and defaults, and more. `LinearRegression`, `LogisticRegression` and `SoftmaxRegression` are the models of
`nnfast.models`, trained to their minimum. Needs ``pip install 'nnfast[sklearn]'``.

>>> import nnfast as nf
>>> (x, y), (x_test, y_test) = nf.datasets.digits()
>>> net = nf.sklearn.NNClassifier((32,), learning_rate_init=0.01, early_stopping=True, random_state=0)
>>> net.fit(x, y).score(x_test, y_test) > 0.9
True
"""

try:
    import sklearn  # noqa: F401
except ImportError:
    raise ImportError("nnfast.sklearn needs scikit-learn; pip install 'nnfast[sklearn]'") from None

from .classifier import NNClassifier
from .regression import LinearRegression, LogisticRegression, SoftmaxRegression
from .regressor import NNRegressor

__all__ = ["LinearRegression", "LogisticRegression", "NNClassifier", "NNRegressor", "SoftmaxRegression"]
