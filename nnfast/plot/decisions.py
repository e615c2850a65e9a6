"""How a network decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import activations, functional
from ..arrays import NotNumbersError, as_numbers, check_finite
from ..configurable import boolean, integer, number
from ..data import encode_labels
from ..losses import INT32
from ..model import Model
from .figure import (
    CURVE,
    LONGEST,
    PLANE,
    SMALLEST,
    add_legend,
    axes_for,
    class_colours,
    finish,
    load_pyplot,
    shortened_names,
    text_width,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..sklearn import LogisticRegression, NNClassifier, SoftmaxRegression
    from ..typing import ArrayLike, PathLike

# Inches of a cell of a confusion matrix.
CELL = 0.3

# Of a new confusion matrix: points of the longest class name, and of what the margins have room for anyway.
LONGEST_NAME = 216.0
MARGIN = 40.0

# Where activations have their largest slopes, also those that come near them from one side only, as softplus does far
# out and hard_swish at 3.
EVERYWHERE = np.append(np.linspace(-40.0, 40.0, 8001), np.nextafter(3.0, 0.0))

# More classes than pixels can tell apart, and few enough for a square of counts.
MOST_CLASSES = 1000


def confusion_matrix(y_true: ArrayLike, y_pred: ArrayLike, class_names: Sequence[str] | None = None,
                     normalize: bool = False, ignore_label: int | None = None, *, ax: Any = None,
                     save: PathLike | None = None) -> Any:
    """How often samples, or pixels, of each true class (rows) were taken for each class (columns).

    A new figure grows with the classes and their names, to 12 inches. Where the cells are too small for them, the
    numbers and some of the class names are left out, and a new figure has a scale of colours instead of the numbers;
    long names lose their middle.

    Parameters
    ----------
    y_true : integer array (N,), or texts among `class_names`; of pixels (N, H, W)
    y_pred : the same, or array (N, ..., classes) of a network's outputs, whose largest counts
    class_names : sequence of str, optional
        By default 0, 1, ...; at most 1000.
    normalize : bool
        Parts of each row instead of counts.
    ignore_label : int, optional
        What has this label in y_true is not counted.

    Examples
    --------
    >>> import nnfast as nf
    >>> ax = nf.plot.confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], class_names=["cat", "dog"])
    >>> [(text.get_position(), text.get_text()) for text in ax.texts]
    [((0, 0), '1'), ((1, 0), '1'), ((1, 1), '2')]
    """
    boolean("plot.confusion_matrix", "normalize", normalize)
    check_names("plot.confusion_matrix", "class_names", class_names)
    if ignore_label is not None:
        ignore_label = integer("plot.confusion_matrix", "ignore_label", ignore_label, **INT32)
        if np.asarray(y_true).dtype.kind in "OUS":
            raise ValueError("plot.confusion_matrix: ignore_label is for labels that are numbers; leave texts out of "
                             "y_true and y_pred")
    y_true, y_pred = (_numbered(f"plot.confusion_matrix: {name}", y, class_names) for name, y in
                      (("y_true", y_true), ("y_pred", y_pred)))
    if y_true.ndim > 1 and y_true.shape[-1] == 1 and y_true.ndim == y_pred.ndim:
        y_true = y_true[..., 0]
    if y_pred.ndim == y_true.ndim + 1:
        y_pred = largest_class(y_pred)
    if y_true.ndim == 0 or y_true.shape != y_pred.shape or y_true.size == 0:
        raise ValueError(f"plot.confusion_matrix: y_true and y_pred must be labels (N,), or (N, H, W) of pixels, got "
                         f"{y_true.shape} and {y_pred.shape}")
    if ignore_label is not None:
        counted = y_true != ignore_label
        y_true, y_pred = y_true[counted], y_pred[counted]
        if y_true.size == 0:
            raise ValueError(f"plot.confusion_matrix: all labels are {ignore_label}, which is ignored")
    y_true, y_pred = y_true.reshape(-1), y_pred.reshape(-1)
    for y in (y_true, y_pred):
        check_labels("plot.confusion_matrix", y)
    n = int(max(y_true.max(), y_pred.max())) + 1
    most = max(n, 0 if class_names is None else len(class_names))
    if most > MOST_CLASSES:
        raise ValueError(f"plot.confusion_matrix: {most} classes, but at most {MOST_CLASSES} can be drawn; number "
                         "those that occur from 0, as np.unique(y, return_inverse=True) does")
    names = [str(i) for i in range(n)] if class_names is None else [str(name) for name in class_names]
    if len(names) < n:
        raise ValueError(f"plot.confusion_matrix: {len(names)} class names for {n} classes")
    n = len(names)
    counts = np.bincount(y_true.astype(int) * n + y_pred.astype(int), minlength=n * n).reshape(n, n)
    shown = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) if normalize else counts
    new = ax is None
    longest = LONGEST_NAME if new else 0.4 * 72 * min(axes_for(ax).bbox.size) / ax.figure.dpi
    names = shortened_names(names, longest / 10)        # in type of 10 points
    beyond = max(10 * text_width(names) - MARGIN, 0.0)
    ax = axes_for(ax, min(CELL * n + 1.5 + beyond / 72, LONGEST))
    image = ax.imshow(shown, cmap="Blues", vmin=0)
    cell = (72 * min(ax.bbox.size) / ax.figure.dpi - beyond) / n      # in points
    # A digit is 0.64 of the font's size wide. Numbers lie within the image, so the layout need not measure them all.
    size = min(8.0, 0.8 * cell / (0.64 * (4 if normalize else len(str(counts.max())))))
    for i, j in np.argwhere(counts).tolist() if size >= SMALLEST else []:
        ax.text(j, i, f"{shown[i, j]:.2f}" if normalize else str(counts[i, j]), ha="center", va="center", fontsize=size,
                color="white" if shown[i, j] > 0.6 * shown.max() else "black", in_layout=False)
    if new and size < SMALLEST:      # beside an Axes that was given it would lie on others, or come again each time
        ax.figure.colorbar(image, ax=ax, label="part of the true class" if normalize else "count", shrink=0.7)
    size = 10.0 if cell > 15 else 7.0
    every = int(np.ceil(1.5 * size / cell))
    labels = names[::every]
    fits = 0.64 * size * max(map(len, labels)) < 0.8 * every * cell
    turned = {} if fits else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(0, n, every), labels, fontsize=size, parse_math=False, **turned)
    ax.set_yticks(range(0, n, every), labels, fontsize=size, parse_math=False)
    ax.set(xlabel="predicted class", ylabel="true class")
    return finish(ax, save)


def decision_boundary(model: Model | NNClassifier | LogisticRegression | SoftmaxRegression, x: ArrayLike,
                      y: ArrayLike | None = None, margin: float = 0.1, *, ax: Any = None,
                      save: PathLike | None = None) -> Any:
    """What a network with two inputs says over the plane: p = 0.5 of a yes/no output, the classes of a softmax.

    Parameters
    ----------
    model : Model, or classifier of nnfast.sklearn
        With input shape (2,) and one output of shape (n,).
    x : array (N, 2)
        Drawn as points; the plane is drawn as far as they go.
    y : array (N,) or (N, 1), optional
        Their labels, shown as colours: integers from 0, or -1 and 1 of a single output, or texts among the model's
        `class_names`; for a classifier its classes.
    margin : float
        How far to draw around the points, as a part of their extent; a single value is drawn in the middle.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.models.logistic_regression(2)
    >>> x, y = [[0.0, 0.0], [1.0, 1.0]], [0, 1]
    >>> history = model.fit(x, y, epochs=5, verbose=0)
    >>> nf.plot.decision_boundary(model, x, y).get_xlabel()
    '$x_1$'
    """
    margin = number("plot.decision_boundary", "margin", margin, at_least=0)
    given, model = model, getattr(model, "model_", model)
    if not isinstance(model, Model):
        raise TypeError("plot.decision_boundary: expected a model, or a classifier of nnfast.sklearn that has been "
                        f"fitted, got {type(given).__name__}")
    x = as_numbers(x, "plot.decision_boundary: x")
    if model.input_shapes != [(2,)] or len(model.output_shapes) != 1 or len(model.output_shape) != 1:
        raise ValueError(f"plot.decision_boundary: needs a model with input shape (2,) and one output, this one has "
                         f"{model.input_shapes} and {model.output_shapes}")
    if x.ndim != 2 or x.shape[1] != 2 or len(x) == 0:
        raise ValueError(f"plot.decision_boundary: x must have shape (N, 2), got {x.shape}")
    check_finite(x, np.dtype(np.float64), "plot.decision_boundary: x")
    n = model.output_shape[0]
    names = model.class_names
    if isinstance(names, dict):
        names = names.get(model.output_names[0])
    classes = getattr(given, "classes_", None)
    if classes is not None and names is None:
        names = [str(value) for value in classes.tolist()]
    if y is not None:
        if classes is None:
            y = np.ravel(_numbered("plot.decision_boundary: y", y, names))
        else:
            y, _ = encode_labels(np.ravel(y), classes)
        if n == 1 and names is None and np.isin(y, (-1, 1)).all() and (y == -1).any():      # of a tanh, say
            names, y = ["class -1", "class 1"], (y > 0).astype(int)
        if len(y) != len(x):
            raise ValueError(f"plot.decision_boundary: {len(x)} points, but {len(y)} labels")
        check_labels("plot.decision_boundary", y)
        if y.max() >= max(n, 2):
            raise ValueError(f"plot.decision_boundary: label {y.max():g}, but the model has {max(n, 2)} classes")
    low, high = x.min(axis=0), x.max(axis=0)
    # Where all points agree there is no extent to take a part of.
    room = np.where(high - low > 1e-9 * np.abs(high), margin * (high - low), 0.5 * np.maximum(1.0, np.abs(high)))
    low, high = low - room, high + room
    a, b = (np.linspace(low[i], high[i], PLANE) for i in (0, 1))
    grid = np.stack(np.meshgrid(a, b), axis=-1).reshape(-1, 2)
    output = model.predict(grid.astype(model.dtype))
    ax = axes_for(ax)
    if n == 1:
        # Half-way: between the classes for a probability, at 0 for logits.
        half = 0.5 if output.min() >= 0 and output.max() <= 1 else 0.0
        spread = max(abs(output.min() - half), abs(output.max() - half))
        values = output.reshape(PLANE, PLANE)
        shades = ax.pcolormesh(a, b, values, cmap="coolwarm", alpha=0.6, vmin=half - spread, vmax=half + spread,
                               rasterized=True)
        if output.min() < half < output.max():
            ax.contour(a, b, values, levels=[half], colors="black", linewidths=1)
        ax.figure.colorbar(shades, ax=ax, label="output")
        colours = load_pyplot().get_cmap("coolwarm")([0.0, 1.0])
    else:
        classes = output.argmax(axis=1).reshape(PLANE, PLANE)
        colours = class_colours(n)
        ax.imshow(colours[classes], extent=(low[0], high[0], low[1], high[1]), origin="lower", aspect="auto", alpha=0.4)
    if y is None:
        ax.plot(*x.T, "k.", markersize=4)
    else:
        labels = np.unique(y).astype(int).tolist()
        kinds = [str(names[i]) if names is not None and len(names) > 1 else f"class {i}" for i in labels]
        points = [ax.scatter(*x[y == label].T, s=18, color=colours[label], edgecolor="black", linewidth=0.5, label=kind)
                  for label, kind in zip(labels, kinds)]
        add_legend(ax, points, kinds, fontsize="small")
    ax.set(xlabel="$x_1$", ylabel="$x_2$", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return finish(ax, save)


def activation(name: str, alpha: float | None = None, low: float = -6.0, high: float = 6.0, *, ax: Any = None,
               save: PathLike | None = None) -> Any:
    """An activation function and its derivative, as the kernels compute them.

    Parameters
    ----------
    name : str
        Any of `nnfast.activations` but softmax, which has no curve.
    alpha : float, optional
        For leaky_relu and elu.
    low, high : float
        The range of z.

    Examples
    --------
    >>> import nnfast as nf
    >>> ax = nf.plot.activation("sigmoid")
    >>> [line.get_label() for line in ax.lines[-2:]]
    ['sigmoid', 'its derivative, at most 0.25']
    """
    name, alpha = activations.resolve(name, alpha, "plot.activation")
    if not activations.ACTIVATIONS[name].elementwise:
        raise ValueError(f"plot.activation: {name} acts on whole rows, it has no curve")
    low, high = number("plot.activation", "low", low), number("plot.activation", "high", high)
    if not low < high:
        raise ValueError(f"plot.activation: low must be below high, got {low:g} and {high:g}")
    z = np.linspace(low, high, CURVE)
    y, slope = _with_slope(name, alpha, z)
    most = _with_slope(name, alpha, EVERYWHERE)[1].max()
    ax = axes_for(ax)
    ax.axhline(0, color="0.8", linewidth=0.8)
    ax.axvline(0, color="0.8", linewidth=0.8)
    (line,) = ax.plot(z, y, label=name)
    ax.plot(z, slope, "--", color=line.get_color(), label=f"its derivative, at most {most:.4g}")
    ax.set(xlabel="z", ylabel=f"{name}(z)")
    ax.legend()
    return finish(ax, save)


def _with_slope(name, alpha, z):
    """An activation and its derivative."""
    if name == "linear":
        return z, np.ones_like(z)
    options = {"alpha": alpha} if activations.ACTIVATIONS[name].alpha is not None else {}
    y = getattr(functional, name)(z, **options)
    kept = z if activations.ACTIVATIONS[name].backward == "z" else y
    return y, getattr(functional, f"{name}_backward")(np.ones_like(z), kept, **options)


def _numbered(what, y, names):
    """An array of numbers, or of texts as their positions in `names`."""
    try:
        return as_numbers(y, what)
    except NotNumbersError as error:
        if names is None:
            raise NotNumbersError(f"{error}; texts need class_names") from None
        return encode_labels(np.ravel(y), names)[0]


def check_names(op, what, names):
    """Raise TypeError for one text, whose letters would be taken for names, and for what is no sequence."""
    if names is not None and (isinstance(names, (str, bytes)) or not hasattr(names, "__len__")):
        raise TypeError(f"{op}: {what} must be a sequence of texts, got {type(names).__name__}: {names!r}")


def check_labels(op, y):
    if not (np.isfinite(y) & (y >= 0) & (y == np.floor(y))).all():
        raise ValueError(f"{op}: labels must be integers, 0 or more")


def largest_class(y):
    """The classes of a network's outputs (..., classes); of a single yes/no output 0 or 1, of integers (..., 1) they
    themselves."""
    check_finite(y, np.dtype(np.float64), "plot: outputs")
    if y.shape[-1] > 1:
        return y.argmax(axis=-1)
    return y[..., 0] if y.dtype.kind in "iu" else (y[..., 0] > 0.5).astype(int)
