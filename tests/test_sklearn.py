"""The estimators by scikit-learn's own rules."""

import unittest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from nnfast.sklearn import LinearRegression, LogisticRegression, NNClassifier, NNRegressor, SoftmaxRegression

ESTIMATORS = [
    NNClassifier(max_iter=100),
    NNClassifier(max_iter=50, solver="lbfgs"),
    NNRegressor(max_iter=100),
    LinearRegression(),
    LogisticRegression(),
    SoftmaxRegression(),
]

#: checks of what an estimator does not claim, for which scikit-learn itself has nothing to look at
NOT_CLAIMED = ("does not have a decision_function method", "SCIPY_ARRAY_API is not set")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(ESTIMATORS)
def test_estimator_checks(estimator, check):
    try:
        check(estimator)
    except unittest.SkipTest as reason:
        assert any(text in str(reason) for text in NOT_CLAIMED)
