"""Ready-made networks: functions that return a `Sequential`."""

from .regression import linear_regression, logistic_regression, softmax_regression

__all__ = ["linear_regression", "logistic_regression", "softmax_regression"]
