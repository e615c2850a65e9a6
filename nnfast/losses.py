"""Losses: the value of each sample and its gradient. The batch's loss is the (weighted) mean over its samples.

With y the output of one sample, t its target and j over all outputs:

====================  ==========================================  =======================================
name                  value of a sample                           gradient with respect to y
====================  ==========================================  =======================================
cross_entropy         -sum_j t_j log softmax(z)_j, summed over    softmax(z) - t, with respect to z
                      the pixels where there are some
binary_cross_entropy  -sum_j t_j log p_j + (1 - t_j) log(1 - p_j) p - t, with respect to z; p = sigmoid(z)
squared_error         sum_j (y_j - t_j)^2                         2 (y_j - t_j)
absolute_error        sum_j |y_j - t_j|                           sign(y_j - t_j)
huber                 sum_j (y_j - t_j)^2 / 2 where |.| <= delta,  clip(y_j - t_j, -delta, delta)
                      else delta (|y_j - t_j| - delta / 2)
====================  ==========================================  =======================================

Keras and PyTorch average the last four over j, and cross_entropy over the pixels; here they are sums, so many times as
large. That holds for Keras's name "binary_crossentropy", too, which is taken for binary_cross_entropy.

The two cross-entropies are computed from the logits z, also where the last layer is a softmax or sigmoid: the plan
fuses the two, so that nothing overflows or is rounded to log(0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .configurable import Configurable, Registry, boolean, integer, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from .typing import Array, ArrayLike, Config, LossLike, Shape

__all__ = ["AbsoluteError", "BinaryCrossEntropy", "CrossEntropy", "CustomLoss", "Huber", "Loss", "SquaredError", "get"]


#: bounds of a label in the compiled loop
INT32 = {"at_least": -2**31, "at_most": 2**31 - 1}
#: bounds of whole numbers that float32 has all of
LARGEST_EXACT = {"at_least": -2**24, "at_most": 2**24}


class Loss(Configurable):
    """Base of the losses.

    Attributes
    ----------
    name : str
        Name of the compiled loss, and of the loss in error messages.
    from_logits : bool
        Whether the output holds logits, i.e. the activation belongs to the loss.
    integer_labels : bool
        Whether targets may be class labels, one integer per sample or pixel, instead of one number per output.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.losses.get("squared_error"), nf.SquaredError().name
    (SquaredError(), 'squared_error')
    """

    name: str | None = None
    from_logits = False
    delta = 1.0
    ignore_label: int | None = None
    function: Callable[[Array, Array], tuple[ArrayLike, ArrayLike]] | None = None
    integer_labels = False

    def __init__(self) -> None:
        if type(self).name is None:
            raise TypeError("Loss is the base class; use one of its subclasses, or CustomLoss for your own function")

    def describe(self) -> dict[str, Any]:
        """Return what the compiled plan has to know, as a dict."""
        return {
            "loss": self.name,
            "from_logits": self.from_logits,
            "delta": self.delta,
            "ignore_label": self.ignore_label,
            "function": self.function,
        }

    def check_output(self, activation_name: str, layer_name: str, shape: Shape | None = None) -> None:
        """Raise ValueError unless this loss fits an output.

        Parameters
        ----------
        activation_name : str
            The output's last activation, "linear" where it has none.
        layer_name : str
            The layer the message is about.
        shape : tuple of int, optional
            The output's shape without the batch.
        """
        if activation_name == "softmax" and shape and shape[-1] == 1:
            raise ValueError(
                f"{layer_name}: the softmax of one output is always 1, so {self.name} trains nothing; use "
                "activation='sigmoid' for yes and no, or leave it linear for numbers"
            )


class _LogitLoss(Loss):
    """A loss that belongs to one activation: that of the output, or with from_logits its own."""

    activation: str | None = None

    def __init__(self, from_logits: bool = False) -> None:
        super().__init__()
        self.from_logits = boolean(type(self).__name__, "from_logits", from_logits)

    def check_output(self, activation_name: str, layer_name: str, shape: Shape | None = None) -> None:
        cls = type(self).__name__
        if self.from_logits and activation_name in ("softmax", "sigmoid"):
            raise ValueError(
                f"{layer_name}: {self.name} with from_logits=True expects logits, but the output's activation is "
                f"'{activation_name}', which would be applied twice; remove the activation, or "
                + (
                    f"use loss='{self.name}'" if activation_name == self.activation
                    else f"use nf.{cls}() with activation='{self.activation}'"
                )
            )
        if not self.from_logits and activation_name != self.activation:
            raise ValueError(
                f"{layer_name}: {self.name} expects the output of a {self.activation}, but the output's activation "
                f"is '{activation_name}'; give the last layer activation='{self.activation}', or leave it linear and "
                f"use loss=nf.{cls}(from_logits=True)"
            )


class CrossEntropy(_LogitLoss):
    """Cross-entropy between one class (or a distribution) per sample and the output's softmax over the last axis.

    An output with further axes, (H, W, classes) or (L, classes), has a class for each pixel or step: segmentation and
    the labelling of sequences. The loss of a sample is then the sum over its pixels.

    Parameters
    ----------
    from_logits : bool
        False: the output is a softmax. True: the output is linear and the loss takes its softmax.
    ignore_label : int, optional
        Samples or pixels of this label count neither in the loss nor in metrics: what nobody has labelled, the padding
        of sequences. It may be one of the classes. Of probabilities, those rows do not count that are all zero.

    Notes
    -----
    Targets are integer labels (B,) or rows (B, classes) of probabilities, e.g. one-hot; of pixels (B, H, W) or
    (B, H, W, classes). The batch's loss is the mean over its samples, also over those that are ignored. PyTorch and
    Keras average over the pixels, too: a learning rate that suits SGD there, divided by the number of pixels, suits it
    here. ``loss_weights=[1 / pixels]`` of `Model.compile` does that to the figures as well.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(4, kernel_initializer="zeros")], input_shape=(2,))
    >>> model.compile("adam", nf.CrossEntropy(from_logits=True))
    >>> round(model.evaluate([[1.0, 2.0]], [3])["loss"], 4)         # log 4
    1.3863

    The same for the six pixels of an image, four of which have a label:

    >>> layer = nf.Conv2D(4, 1, activation="softmax", kernel_initializer="zeros")
    >>> model = nf.Sequential([layer], input_shape=(2, 3, 1))
    >>> model.compile("adam", nf.CrossEntropy(ignore_label=255), metrics=["accuracy", "mean_iou"])
    >>> x, y = [[[[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]]]], [[[0, 3, 255], [0, 0, 255]]]
    >>> {name: round(figure, 4) for name, figure in model.evaluate(x, y).items()}       # 4 log 4
    {'loss': 5.5452, 'accuracy': 0.75, 'mean_iou': 0.375}
    """

    name = "cross_entropy"
    activation = "softmax"
    integer_labels = True

    def __init__(self, from_logits: bool = False, ignore_label: int | None = None) -> None:
        super().__init__(from_logits)
        if ignore_label is not None:
            ignore_label = integer("CrossEntropy", "ignore_label", ignore_label, **INT32)
        self.ignore_label = ignore_label

    def check_output(self, activation_name: str, layer_name: str, shape: Shape | None = None) -> None:
        super().check_output(activation_name, layer_name, shape)
        if shape and shape[-1] == 1:
            raise ValueError(
                f"{layer_name}: cross_entropy over one output is always 0, as its softmax is 1; use two outputs, or "
                f"activation='sigmoid' with loss='binary_cross_entropy'"
            )


class BinaryCrossEntropy(_LogitLoss):
    """Cross-entropy of independent yes/no outputs, summed over the outputs; targets are in [0, 1].

    Parameters
    ----------
    from_logits : bool
        False: the output is a sigmoid. True: the output is linear and the loss takes its sigmoid.
    ignore_label : int, optional
        Answers with this target, neither 0 nor 1, count neither in the loss nor in metrics: what nobody has asked or
        labelled.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(1, activation="sigmoid", kernel_initializer="zeros")], input_shape=(2,))
    >>> model.compile("adam", nf.BinaryCrossEntropy())
    >>> round(model.evaluate([[1.0, 2.0]], [[1.0]])["loss"], 4)     # log 2
    0.6931

    Three questions, of which one has no answer:

    >>> model = nf.Sequential([nf.Dense(3, activation="sigmoid", kernel_initializer="zeros")], input_shape=(2,))
    >>> model.compile("adam", nf.BinaryCrossEntropy(ignore_label=-1), metrics=["binary_accuracy"])
    >>> {name: round(figure, 4) for name, figure in model.evaluate([[1.0, 2.0]], [[1, -1, 0]]).items()}     # 2 log 2
    {'loss': 1.3863, 'binary_accuracy': 0.5}
    """

    name = "binary_cross_entropy"
    activation = "sigmoid"

    def __init__(self, from_logits: bool = False, ignore_label: int | None = None) -> None:
        super().__init__(from_logits)
        if ignore_label is not None:
            ignore_label = integer("BinaryCrossEntropy", "ignore_label", ignore_label, **LARGEST_EXACT)
            if ignore_label in (0, 1):
                raise ValueError("BinaryCrossEntropy: ignore_label must be neither 0 nor 1, which mean no and yes, "
                                 f"got {ignore_label}")
        self.ignore_label = ignore_label


class SquaredError(Loss):
    """Sum over the outputs of (y - t)^2, without 1/2, for any output.

    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(2, kernel_initializer="ones")], input_shape=(1,))
    >>> model.compile("sgd", nf.SquaredError())
    >>> model.evaluate([[1.0]], [[3.0, 0.0]])
    {'loss': 5.0}
    """

    name = "squared_error"


class AbsoluteError(Loss):
    """Sum over the outputs of |y - t|, for any output; the gradient at y = t is 0.

    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(2, kernel_initializer="ones")], input_shape=(1,))
    >>> model.compile("sgd", nf.AbsoluteError())
    >>> model.evaluate([[1.0]], [[3.0, 0.0]])
    {'loss': 3.0}
    """

    name = "absolute_error"


class Huber(Loss):
    """Squared within `delta` of the target, linear beyond, summed over the outputs (Huber 1964; PyTorch's HuberLoss).

    Parameters
    ----------
    delta : float
        Where the square ends, above 0.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(2, kernel_initializer="ones")], input_shape=(1,))
    >>> model.compile("sgd", nf.Huber(delta=1.0))
    >>> model.evaluate([[1.0]], [[3.0, 0.5]])
    {'loss': 1.625}
    """

    name = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        self.delta = number("Huber", "delta", delta, above=0)


class CustomLoss(Loss):
    """A loss computed by a Python function, called once a batch.

    Parameters
    ----------
    function : callable
        ``function(y_true, y_pred) -> (values, gradient)``: arrays (B, ...) come in; `values` has shape (B,), the
        loss of each sample; `gradient` has y_pred's shape, row i the derivative of values[i], not divided by B.

    Targets have the output's shape: class labels as one-hot vectors. ``model.compile(loss=function)`` makes one, too.
    Files cannot hold a function: to save the model, compile it with one of nnfast's losses; to train it again after
    loading, with this one.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> def log_cosh(y_true, y_pred):
    ...     d = y_pred - y_true
    ...     return np.log(np.cosh(d)).sum(axis=1), np.tanh(d)
    >>> model = nf.Sequential([nf.Dense(1, kernel_initializer="zeros")], input_shape=(1,))
    >>> model.compile("sgd", nf.losses.CustomLoss(log_cosh))
    >>> round(model.evaluate([[1.0]], [[2.0]])["loss"], 3)
    1.325
    """

    name = "custom"

    def __init__(self, function: Callable[[Array, Array], tuple[ArrayLike, ArrayLike]]) -> None:
        super().__init__()
        if not callable(function):
            raise TypeError(f"CustomLoss: function must be callable, got {type(function).__name__}: {function!r}")
        self.function = function

    def get_config(self) -> Config:
        raise ValueError(f"CustomLoss: {self.function!r} is a Python function, which cannot be written as JSON; "
                         "compile the model with one of nnfast's losses before it is saved")

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"function": self._values_and_gradient}

    def _values_and_gradient(self, y_true, y_pred):
        result = self.function(y_true, y_pred)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            got = f"{len(result)} things" if isinstance(result, (tuple, list)) else type(result).__name__
            raise TypeError(f"loss {self.function!r} must return (values, gradient), got {got}")
        return result


REGISTRY = Registry("loss", Loss, {
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
}, compiled="name")


def get(identifier: LossLike) -> Loss:
    """Return the loss for a name, an instance, a class, a configuration or a function (see `CustomLoss`).

    >>> import nnfast as nf
    >>> nf.losses.get("cross_entropy")
    CrossEntropy()
    """
    if callable(identifier) and not isinstance(identifier, (type, Loss)):
        return CustomLoss(identifier)
    return REGISTRY.get(identifier)
