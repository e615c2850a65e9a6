"""scikit-learn's MLPClassifier and MLPRegressor, side by side in joblib's processes for many networks."""

from joblib import Parallel, delayed
from sklearn.neural_network import MLPClassifier, MLPRegressor

from .fits import EVERY_EPOCH, TIMED, score, training_data
from .sklearn_net import versions

__all__ = ["VARIANTS", "fit", "scored", "versions"]

VARIANTS = {"estimators": {"": "step"}}


def fit(name, n_threads):
    """A function that makes and fits what `name` stands for."""
    what = TIMED[name]
    x, y = training_data(what.data, what.dtype)

    def one(seed):
        return MLPClassifier(random_state=seed, **what.arguments, **EVERY_EPOCH).fit(x, y)

    if what.networks == 1:
        return lambda: one(0)
    return lambda: Parallel(n_threads)(delayed(one)(seed) for seed in range(what.networks))


def scored(data, seed):
    return score(MLPClassifier, MLPRegressor, data, seed)
