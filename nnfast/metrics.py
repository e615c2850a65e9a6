"""Metrics: totals the compiled loops add up batch by batch, and the figure they make at the end.

===============  ===================================================================================
accuracy         share of samples whose largest output is the target's class; for an output that is yes/no
                 (binary_cross_entropy, or a single output) it means binary_accuracy, as in Keras
top_k_accuracy   share of samples whose class is among the k largest outputs
mean_iou         mean over the classes of intersection over union (Jaccard's index) of what is predicted and what is
                 right
binary_accuracy  share of outputs on the same side of `threshold` as the target is of 0.5
mse, mae         mean over samples and outputs of (y - t)^2, |y - t|
r2               mean over outputs of 1 - sum (y - t)^2 / sum (t - mean t)^2 (scikit-learn's r2_score)
===============  ===================================================================================

Where an output has a class for each of its pixels, (H, W, classes), the first three count pixels instead of samples.
Those that the loss ignores do not count. Sample weights do not count in metrics.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from .configurable import Configurable, Registry, integer, number
from .losses import BinaryCrossEntropy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .losses import Loss
    from .typing import MetricLike

__all__ = ["Accuracy", "BinaryAccuracy", "MeanAbsoluteError", "MeanIoU", "MeanSquaredError", "Metric", "R2",
           "TopKAccuracy", "get"]


class Metric(Configurable):
    """Base of the metrics.

    Attributes
    ----------
    kind : str
        Name of the compiled metric.
    name : str
        Key in the history; two metrics of one output need different names.
    counts_labels : bool
        Whether what has no label is left out.
    more_is_better : bool or None
        Whether a larger figure is a better one; None: the name tells.
    threshold : float or None
        Above which an output means yes; None: a probability of a half.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.metrics.get("accuracy"), nf.metrics.Accuracy(name="acc").name
    (Accuracy(), 'acc')
    """

    kind: str | None = None
    k = 1
    threshold: float | None = None
    counts_labels = False
    more_is_better: bool | None = None

    def __init__(self, name: str | None = None) -> None:
        if type(self).kind is None:
            raise TypeError("Metric is the base class; use one of its subclasses")
        if name is None:
            name = type(self).kind
        if not isinstance(name, str) or not name:
            raise TypeError(f"{type(self).__name__}: name must be a text, got {name!r}")
        self.name = name

    def plan_spec(self, loss: Loss | None) -> dict[str, Any]:
        """Return what the compiled plan has to know of the metric of an output trained with `loss`, as a dict."""
        # Logits are positive where their sigmoid is above a half.
        half = 0.0 if isinstance(loss, BinaryCrossEntropy) and loss.from_logits else 0.5
        return {"kind": self.kind, "k": self.k, "threshold": half if self.threshold is None else self.threshold}

    def result(self, totals: Sequence[float], count: int, n_outputs: int = 1) -> float:
        """Return the figure after `count` samples as a float; nan where count is 0."""
        return float(totals[0]) / count if count else float("nan")


class _MeanOverOutputs(Metric):
    """Totals that are sums over samples and outputs."""

    def result(self, totals: Sequence[float], count: int, n_outputs: int = 1) -> float:
        return super().result(totals, count * n_outputs)


class _ShareOfLabels(Metric):
    """Totals that are hits and what was counted: samples or pixels with a label."""

    counts_labels = True

    def result(self, totals: Sequence[float], count: int, n_outputs: int = 1) -> float:
        return float(totals[0] / totals[1]) if totals[1] else float("nan")


class Accuracy(_ShareOfLabels):
    """Share of samples, or pixels, whose largest output is the target's class (the first one where several are equal).

    For a single output, and with binary_cross_entropy for several, it is `BinaryAccuracy` under this name. Targets of a
    single output must then be classes, 0 and 1 (or probabilities between them), under any loss: for numbers it is a
    ValueError.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Activation("softmax")], input_shape=(3,))
    >>> model.compile("sgd", "cross_entropy", metrics=[nf.metrics.Accuracy()])
    >>> model.evaluate([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0]], [0, 2])["accuracy"]
    0.5
    """

    kind = "accuracy"
    more_is_better = True

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)


class TopKAccuracy(_ShareOfLabels):
    """Share of samples, or pixels, whose class is among the `k` largest outputs.

    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Activation("softmax")], input_shape=(3,))
    >>> model.compile("sgd", "cross_entropy", metrics=[nf.TopKAccuracy(2)])
    >>> model.evaluate([[5.0, 4.0, 0.0], [0.0, 5.0, 4.0]], [0, 2])["top_k_accuracy"]
    1.0
    """

    kind = "top_k_accuracy"
    more_is_better = True

    def __init__(self, k: int = 5, name: str = "top_k_accuracy") -> None:
        super().__init__(name)
        self.k = integer("TopKAccuracy", "k", k, at_least=1)


class MeanIoU(Metric):
    """Mean over the classes of |A and B| / |A or B|, with A the pixels predicted as a class and B those of it.

    A and B are counted over all samples. Classes that occur in neither do not count. An output of a single number is
    of class 1 above `threshold`, else of class 0.

    Parameters
    ----------
    threshold : float, optional
        Of a single output, as `predict` returns it. By default a probability of a half: 0.5, or 0.0 for logits;
        targets must then be in [0, 1].
    name : str
        Key in the history.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Activation("softmax")], input_shape=(2,))
    >>> model.compile("sgd", "cross_entropy", metrics=[nf.metrics.MeanIoU()])
    >>> model.evaluate([[5.0, 0.0], [0.0, 5.0], [0.0, 5.0]], [0, 1, 0])["mean_iou"]     # 1/2 of either class
    0.5
    """

    kind = "mean_iou"
    more_is_better = True
    counts_labels = True

    def __init__(self, threshold: float | None = None, name: str = "mean_iou") -> None:
        super().__init__(name)
        self.threshold = None if threshold is None else number("MeanIoU", "threshold", threshold)

    def result(self, totals: Sequence[float], count: int, n_outputs: int = 1) -> float:
        """Return the figure of the totals [hits of each class, predictions of each, pixels of each].

        >>> import nnfast as nf
        >>> nf.MeanIoU().result([1.0, 0.0, 1.0, 1.0, 1.0, 1.0], 2)
        0.5
        """
        both, predicted, actual = np.asarray(totals, dtype=np.float64).reshape(3, -1)
        either = predicted + actual - both
        return float((both[either > 0] / either[either > 0]).mean()) if either.any() else float("nan")


class BinaryAccuracy(_ShareOfLabels):
    """Share of outputs y with y > threshold where the target is above 0.5, and y <= threshold where it is not.

    Parameters
    ----------
    threshold : float, optional
        Compared with the output as `predict` returns it. By default a probability of a half: 0.5, or 0.0 for logits;
        targets must then be in [0, 1].
    name : str
        Key in the history.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Activation("sigmoid")], input_shape=(1,))
    >>> model.compile("sgd", "binary_cross_entropy", metrics=[nf.BinaryAccuracy(threshold=0.9)])
    >>> model.evaluate([[1.0], [5.0]], [[1.0], [1.0]])["binary_accuracy"]
    0.5
    """

    kind = "binary_accuracy"
    more_is_better = True

    def __init__(self, threshold: float | None = None, name: str = "binary_accuracy") -> None:
        super().__init__(name)
        self.threshold = None if threshold is None else number("BinaryAccuracy", "threshold", threshold)


class MeanSquaredError(_MeanOverOutputs):
    """Mean over samples and outputs of (y - t)^2.

    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(2, kernel_initializer="ones")], input_shape=(1,))
    >>> model.compile("sgd", "squared_error", metrics=["mse"])
    >>> model.evaluate([[1.0]], [[3.0, 1.0]])
    {'loss': 4.0, 'mse': 2.0}
    """

    kind = "mse"
    more_is_better = False

    def __init__(self, name: str = "mse") -> None:
        super().__init__(name)


class MeanAbsoluteError(_MeanOverOutputs):
    """Mean over samples and outputs of |y - t|.

    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(2, kernel_initializer="ones")], input_shape=(1,))
    >>> model.compile("sgd", "squared_error", metrics=["mae"])
    >>> model.evaluate([[1.0]], [[3.0, 1.0]])
    {'loss': 4.0, 'mae': 1.0}
    """

    kind = "mae"
    more_is_better = False

    def __init__(self, name: str = "mae") -> None:
        super().__init__(name)


class R2(Metric):
    """Coefficient of determination, averaged over the outputs.

    Totals are the sums over samples of (y - t)^2, t and t^2, each for every output. Where all targets of an output
    are equal it counts 1.0 if they are met exactly, else 0.0, as in scikit-learn; so do targets that are nearly equal:
    a million times further from 0 than from each other. Subtract what they have in common first.

    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(1, kernel_initializer="ones")], input_shape=(1,))
    >>> model.compile("sgd", "squared_error", metrics=["r2"])
    >>> round(model.evaluate([[1.0], [2.0], [3.0]], [[1.0], [2.0], [4.0]])["r2"], 4)
    0.7857
    """

    kind = "r2"
    more_is_better = True

    def __init__(self, name: str = "r2") -> None:
        super().__init__(name)

    def result(self, totals: Sequence[float], count: int, n_outputs: int = 1) -> float:
        """Return the figure.

        >>> import nnfast as nf
        >>> nf.metrics.R2().result([1.0, 6.0, 14.0], 3)
        0.5
        """
        if not count:
            return float("nan")
        residual, total, squares = np.asarray(totals, dtype=np.float64).reshape(3, n_outputs)
        spread = squares - total * total / count
        # Equal targets leave rounding errors here, not 0.
        equal = spread <= 8 * np.finfo(np.float64).eps * np.sqrt(count) * squares
        scores = np.where(equal, residual == 0, 1 - residual / np.where(equal, 1, spread))
        return float(scores.mean())


REGISTRY = Registry("metric", Metric, {
    "accuracy": Accuracy,
    "top_k_accuracy": TopKAccuracy,
    "mean_iou": MeanIoU,
    "binary_accuracy": BinaryAccuracy,
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "r2": R2,
}, compiled="kind")


def get(identifier: MetricLike) -> Metric:
    """Return the metric for a name, an instance, a class or a configuration.

    >>> import nnfast as nf
    >>> nf.metrics.get("mse").name
    'mse'
    """
    return REGISTRY.get(identifier)


def resolve(identifier: MetricLike, loss: Loss | None, n_outputs: int) -> Metric:
    """Return the metric meant by `identifier` for an output of width `n_outputs` trained with `loss`.

    Parameters
    ----------
    identifier : str, Metric, type or dict
        As in `get`. Accuracy becomes binary accuracy, under its own name, for a single output and for
        binary_cross_entropy.
    loss : Loss or None
        The loss of the output.
    n_outputs : int
        Length of the output's last axis.

    Raises
    ------
    ValueError
        If the name is unknown, or k is larger than the number of outputs.
    """
    metric = get(identifier)
    if metric.kind == "accuracy" and (n_outputs == 1 or isinstance(loss, BinaryCrossEntropy)):
        if type(metric) is Accuracy:
            return BinaryAccuracy(name=metric.name)
        metric = copy.copy(metric)      # of a class of the user's own
        metric.__dict__["kind"] = BinaryAccuracy.kind
    if metric.kind == "top_k_accuracy" and metric.k > n_outputs:
        raise ValueError(f"TopKAccuracy: k={metric.k}, but the output has only {n_outputs} values")
    return metric
