"""nnfast's estimators, and `nf.fit_many` for many networks."""

import nnfast as nf
from nnfast.sklearn import NNClassifier, NNRegressor

from .fits import EVERY_EPOCH, TIMED, score, training_data
from .nnfast_net import configuration, versions

__all__ = ["VARIANTS", "configuration", "fit", "scored", "versions"]

VARIANTS = {"estimators": {"": "nnfast"}}


def fit(name, n_threads):
    """A function that makes and fits what `name` stands for."""
    what = TIMED[name]
    x, y = training_data(what.data, what.dtype)
    if what.networks == 1:
        return lambda: NNClassifier(random_state=0, **what.arguments, **EVERY_EPOCH).fit(x, y)
    (units,) = what.arguments["hidden_layer_sizes"]
    model = nf.Sequential([nf.Dense(units, activation="relu"), nf.Dense(10, activation="softmax")])
    size = what.arguments["batch_size"]
    model.compile(nf.Adam(0.001), "cross_entropy", regularizer=nf.L2(1e-4 / size))  # the estimators' alpha
    settings = {"batch_size": size, "epochs": what.arguments["max_iter"]}
    return lambda: nf.fit_many(range(what.networks), x, y, n_threads, model, **settings)


def scored(data, seed):
    return score(NNClassifier, NNRegressor, data, seed)
