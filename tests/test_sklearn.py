"""The estimators by scikit-learn's own rules."""

import inspect
import unittest

import numpy as np
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


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("make", sorted({type(estimator) for estimator in ESTIMATORS}, key=lambda make: make.__name__))
def test_every_parameter_and_attribute_has_an_entry(make):
    """One of its own, from which scikit-learn's diagrams in notebooks take their texts."""
    estimator = make(max_iter=2).fit(np.eye(4), [0, 1, 0, 1])
    parameters, attributes = inspect.getdoc(make).split("\nAttributes\n")
    learnt = [name for name in dir(estimator) if name.endswith("_") and not name.startswith("_")]
    for text, names in ((parameters, estimator.get_params()), (attributes, [*learnt, "feature_names_in_"])):
        assert [name for name in names if f"\n{name} : " not in text] == []
