"""Splitting, labels and normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import as_numbers, check_finite, moments, varies_finely
from ..configurable import integer, number
from ..layers import BatchNorm

if TYPE_CHECKING:
    from ..typing import Array, ArrayLike


#: of a column's standard deviation: where float32 moves numbers by more, there is little left to learn from
COARSEST = 0.1


def train_test_split(*arrays: Any, test_size: float = 0.25, seed: int = 0,
                     stratify: ArrayLike | None = None) -> list[Any]:
    """Split arrays into a part to train with and a part to test with.

    Parameters
    ----------
    *arrays : sequence with one entry per sample
        NumPy arrays, lists, SciPy matrices; frames of pandas by position; dicts of these, as `Table.x` with ids.
    test_size : float or int
        A share in (0, 1), rounded up, or a number of samples.
    seed : int
        Of the order. The same seed and number of samples give the same split everywhere.
    stratify : array, optional
        Classes: each keeps its share in both parts.

    Returns
    -------
    list
        Train and test part of the first array, of the second, and so on, as scikit-learn's function of this name.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x, y = np.arange(8), np.arange(8) % 2
    >>> x_train, x_test, y_train, y_test = nf.data.train_test_split(x, y, stratify=y)
    >>> len(x_train), y_test
    (6, array([1, 0]))
    """
    sizes = [size for a in arrays for size in sizes_of(a)]
    if not sizes:
        raise ValueError("train_test_split: give at least one array")
    n = sizes[0]
    if set(sizes) != {n}:
        raise ValueError(f"train_test_split: the arrays have different numbers of samples: "
                         f"{', '.join(map(str, sizes))}")
    seed = integer("train_test_split", "seed", seed, at_least=0)
    if isinstance(test_size, (int, np.integer)) and not isinstance(test_size, bool):
        held = integer("train_test_split", "test_size", test_size, at_least=1)
    else:
        held = int(np.ceil(number("train_test_split", "test_size", test_size, above=0, below=1) * n - 1e-9))
    if held >= n:
        raise ValueError(f"train_test_split: test_size={test_size} of {n} samples leaves none to train with")
    order = np.random.Generator(np.random.Philox(seed)).permutation(n)
    if stratify is not None:
        classes = np.asarray(stratify)
        if classes.shape != (n,):
            raise ValueError(f"train_test_split: stratify has shape {classes.shape}, expected ({n},)")
        chosen = np.zeros(n, bool)
        try:
            labels, counts = np.unique(classes, return_inverse=True, return_counts=True)[1:]
        except TypeError:
            raise TypeError("train_test_split: stratify has classes of different types; missing ones need a name of "
                            "their own") from None
        exact = held * counts / n
        quota = np.floor(exact).astype(int)
        # What rounding down has left over goes to the classes that it took most from.
        quota[np.argsort(quota - exact, kind="stable")[:held - quota.sum()]] += 1
        for label, size in enumerate(quota):
            chosen[order[labels[order] == label][:size]] = True
        parts = order[~chosen[order]], order[chosen[order]]
    else:
        parts = order[held:], order[:held]
    return [take(a, part) for a in arrays for part in parts]


def sizes_of(a):
    if isinstance(a, dict) and not hasattr(a, "tocsr"):     # one of SciPy's matrices is a dict, too
        return [size for part in a.values() for size in sizes_of(part)]
    if not hasattr(a, "__len__") and not hasattr(a, "shape"):
        hint = "; split its x and y" if hasattr(a, "x") else ""
        raise TypeError(f"train_test_split: expected arrays, got {type(a).__name__}{hint}")
    return [a.shape[0] if hasattr(a, "shape") else len(a)]


def take(a, index):
    if hasattr(a, "tocsr"):     # of SciPy's formats the one that has rows
        return a.tocsr()[index]
    if isinstance(a, dict):
        return {name: take(part, index) for name, part in a.items()}
    if hasattr(a, "iloc"):
        return a.iloc[index]
    return a[index] if hasattr(a, "shape") else [a[i] for i in index]


def encode_labels(y: ArrayLike, classes: ArrayLike | None = None) -> tuple[Array, Array]:
    """Classes of any kind as labels 0, 1, ..., in sorted order.

    Parameters
    ----------
    y : sequence of text, numbers or booleans
    classes : sequence, optional
        The classes of an earlier call, to encode further data in the same way.

    Returns
    -------
    labels : int32 array
        ``classes[labels]`` is y again.
    classes : array

    Examples
    --------
    >>> import nnfast as nf
    >>> labels, classes = nf.data.encode_labels(["cat", "dog", "cat"])
    >>> labels, classes[labels]
    (array([0, 1, 0], dtype=int32), array(['cat', 'dog', 'cat'], dtype='<U3'))
    """
    # A list as objects: NumPy would make texts of all labels, also of numbers and gaps, where one is a text.
    y = np.asarray(y, None if hasattr(y, "__array__") else object)
    if y.ndim != 1 or len(y) == 0:
        raise ValueError(f"encode_labels: expected one label per sample, got shape {y.shape}")
    if y.dtype.kind == "O":
        types = set(map(type, y))
        if len(set(map(kind_of, types))) > 1:
            names = ", ".join(sorted(own.__name__ for own in types))
            raise TypeError(f"encode_labels: labels are of different types ({names}); missing ones need a label of "
                            "their own, or leave their rows out")
        y = np.array(list(y))
    if y.dtype.kind in "fmM" and not np.isfinite(y).all():
        raise ValueError(f"encode_labels: the label of row {int(np.argmin(np.isfinite(y)))} is missing")
    if classes is None:
        classes, labels = np.unique(y, return_inverse=True)
        return labels.astype(np.int32), classes
    classes = np.asarray(classes)
    places = {value: i for i, value in enumerate(classes.tolist())}
    unknown = sorted({str(value) for value in y.tolist() if value not in places})
    if unknown:
        raise ValueError(f"encode_labels: {', '.join(unknown[:5])} is not among the classes "
                         f"{', '.join(map(str, classes[:20]))}")
    return np.array([places[value] for value in y.tolist()], np.int32), classes


def kind_of(own):
    """What the types of labels must have in common for them to be compared: those of numbers are one kind."""
    if issubclass(own, str):
        return str
    return complex if issubclass(own, (int, float, complex, np.number, np.bool_)) else own


def normalization(x: ArrayLike, name: str | None = None) -> BatchNorm:
    """A first layer that brings each column of x to mean 0 and variance 1.

    Its statistics are parameters of the model: `save` writes them, and `predict` takes data in their own units. It is a
    `BatchNorm` that is frozen, with the variance of x (divided by N); constant columns become 0.

    A model of float32 refuses the layer if it could not tell most of a column's numbers apart, as seconds since 1970:
    x becomes float32 before anything is subtracted.

    Parameters
    ----------
    x : array (N, ..., C)
        The training data; the statistics are over all axes but the last.
    name : str, optional

    Returns
    -------
    BatchNorm

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.array([[10.0, 500.0], [20.0, 500.0], [30.0, 500.0]])
    >>> model = nf.Sequential([nf.data.normalization(x), nf.Dense(1)], input_shape=(2,))
    >>> model.submodel("batch_norm").predict(x)
    array([[-1.2247449,  0.       ], [ 0.       ,  0.       ], [ 1.2247449,  0.       ]], dtype=float32)
    """
    x = as_numbers(x, "normalization: x")
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"normalization: expected data (N, ..., C), got shape {x.shape}")
    check_finite(x, np.dtype(np.float64), "normalization: x")
    rows = x.reshape(-1, x.shape[-1])
    mean, variance = moments(rows)
    if variance.max() > np.finfo(np.float32).max:
        raise ValueError(f"normalization: the numbers of column {variance.argmax()} are so large (mean "
                         f"{mean[variance.argmax()]:g}) that their squares do not fit into float32; divide them first")
    layer = BatchNorm(epsilon=1e-12, center=False, scale=False, name=name, trainable=False)
    if (spoilt := varies_finely(rows, COARSEST)).any():
        column = spoilt.argmax()
        layer.float32_error = (f"normalization: the numbers of column {column} (mean {mean[column]:.10g}, standard "
                              f"deviation {variance[column]**0.5:.3g}) lie so close together, far from 0, that float32 "
                              "would make many of them equal; subtract the mean first, or make the model with "
                              "dtype='float64'")
    # Of equal numbers rounding leaves a trace of a variance.
    variance[variance <= 1e-24 * np.square(mean)] = 1.0
    variance[variance == 0] = 1.0
    layer.statistics = mean, variance
    return layer
