"""What ``python -m benchmarks estimators`` fits: data and arguments, for nnfast and scikit-learn alike."""

import functools
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

#: Every epoch counts: nobody stops before the last one.
EVERY_EPOCH = {"tol": 0.0, "n_iter_no_change": 10**9}


@dataclass(frozen=True)
class Fit:
    """A fit that is timed."""

    description: str
    data: str
    arguments: dict  # of the estimators
    dtype: str = "float32"
    networks: int = 1


TIMED = {
    "digits": Fit("64-100-10, 1,437 digits, batches of 200, 50 epochs", "digits", {"max_iter": 50}),
    "digits64": Fit("the same in float64", "digits", {"max_iter": 50}, "float64"),
    "wide": Fit("784-100-10, 10,000 samples, batches of 200, 10 epochs", "random", {"max_iter": 10}),
    "words": Fit("20,000-100-20, 4,000 texts of some 110 different words, a sparse matrix, batches of 200, 3 epochs",
                 "words", {"max_iter": 3}),
    "many": Fit("64 networks 64-32-10 side by side, 1,437 digits, batches of 32, 10 epochs", "digits",
                {"hidden_layer_sizes": (32,), "batch_size": 32, "max_iter": 10}, networks=64),
    "one": Fit("one of those networks", "digits", {"hidden_layer_sizes": (32,), "batch_size": 32, "max_iter": 10}),
}

#: Data sets whose scores are compared, with the arguments of both estimators; everything else is the default.
SCORED = {name: {"max_iter": 1000} for name in ("digits", "breast_cancer", "wine", "iris", "diabetes")}
SCORED["diabetes"] = {"max_iter": 1000, "hidden_layer_sizes": (50, 50), "learning_rate_init": 0.01,
                      "early_stopping": True}


@functools.lru_cache(maxsize=4)
def training_data(name, dtype):
    """X and y of a timed fit."""
    if name == "digits":
        x, y = datasets.load_digits(return_X_y=True)
        return (x[:1437] / 16).astype(dtype), y[:1437]
    rng = np.random.default_rng(0)
    if name == "words":     # the n-th most frequent word is n times rarer than the first (Zipf)
        chances = 1 / np.arange(1, 20_001)
        words = rng.choice(20_000, (4_000, 150), p=chances / chances.sum())
        rows = np.repeat(np.arange(4_000), 150)
        counts = sparse.csr_matrix((np.ones(words.size, dtype), (rows, words.ravel())), (4_000, 20_000))
        return counts.log1p(), rng.integers(0, 20, 4_000)
    return rng.standard_normal((10_000, 784)).astype(dtype), rng.integers(0, 10, 10_000)


def split(name, seed):
    """(x, x_test, y, y_test) of a data set of scikit-learn's, a quarter for the test; the inputs scaled."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    parts = train_test_split(x, y, test_size=0.25, random_state=seed, stratify=None if name == "diabetes" else y)
    scaler = StandardScaler().fit(parts[0])
    return scaler.transform(parts[0]), scaler.transform(parts[1]), *parts[2:]


def score(classifier, regressor, name, seed):
    """Accuracy, or R^2, on the test data."""
    x, x_test, y, y_test = split(name, seed)
    estimator = (regressor if name == "diabetes" else classifier)(random_state=seed, **SCORED[name])
    return float(estimator.fit(x, y).score(x_test, y_test))
