"""Real data for the regressions: the digits that come with nnfast, and tables that come with scikit-learn."""

import numpy as np

import nnfast as nf


def digits():
    """All 1,797 digits, (N, 8, 8) in [0, 1] and their labels, in float64."""
    (x, y), (x_test, y_test) = nf.datasets.digits(flatten=False)
    return np.concatenate([x, x_test])[..., 0].astype(np.float64), np.concatenate([y, y_test])


def table(name):
    """scikit-learn's "diabetes", "breast_cancer" or "iris": x with columns of mean 0 and variance 1, y, and the names
    of the columns; None where scikit-learn is not installed."""
    try:
        from sklearn import datasets
    except ImportError:
        print(f"(with scikit-learn installed this example goes on with its table {name})")
        return None
    data = getattr(datasets, f"load_{name}")()
    return (data.data - data.data.mean(axis=0)) / data.data.std(axis=0), data.target, list(data.feature_names)
