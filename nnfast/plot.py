"""Pictures of training, of what a network has learned and of how it decides; needs matplotlib (``nnfast[plot]``).

Every function draws on one Axes and returns it. Common arguments:

    ax : matplotlib Axes to draw on; None makes a new figure through pyplot, which works without a display, too.
    save : path of a file to write the figure to (.png, .pdf, .svg); None writes none.

matplotlib is imported when the first picture is drawn.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import activations, functional
from .arrays import NotNumbersError, as_numbers, check_finite
from .callbacks import GradientNorms, History
from .configurable import boolean, integer
from .data import encode_labels
from .layers import Conv2DTranspose
from .layout import channels_last
from .losses import INT32
from .model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .optimize import Descent
    from .sklearn import LogisticRegression, NNClassifier, SoftmaxRegression
    from .typing import Array, ArrayLike, PathLike

__all__ = [
    "activation", "confusion_matrix", "decision_boundary", "descent_path", "feature_maps", "filters", "gradient_norms",
    "history", "images", "label_maps", "saliency",
]

# Points along a curve, pixels along a side of a plane.
CURVE = 401
PLANE = 200

# Inches of a cell of a confusion matrix and of the longest side of a new figure, points of the smallest type.
CELL = 0.3
LONGEST = 12.0
SMALLEST = 5.0

# More classes than pixels can tell apart, and few enough for a square of counts.
MOST_CLASSES = 1000

# Of a descent that diverged the points beyond are left out: Matplotlib's numbers at an axis would overflow.
FARTHEST = 1e300


# --- training --------------------------------------------------------------------------------------------------------

def history(record: History | Model | Mapping[str, Sequence[float]], keys: str | Sequence[str] = ("loss",), *,
            ax: Any = None, save: PathLike | None = None) -> Any:
    """Figures of training by epoch, those of validation as dashed lines.

    Parameters
    ----------
    record : History, Model or dict of str to list
        What `fit` returned, the model it trained, or ``history.history``.
    keys : sequence of str
        Which figures; "val_" + key is drawn with it where there is one.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.models.linear_regression(1)
    >>> record = model.fit([[0.0], [1.0]], [[1.0], [3.0]], epochs=3, verbose=0)
    >>> ax = nf.plot.history(record)
    >>> ax.get_xlabel(), ax.get_ylabel(), ax.lines[0].get_xdata()
    ('epoch', 'loss', array([1, 2, 3]))
    """
    if isinstance(record, History):
        epochs, figures = record.epoch, record.history
    elif isinstance(record, Mapping):
        epochs, figures = None, record
    elif isinstance(own := getattr(record, "history", None), History):
        epochs, figures = own.epoch, own.history
    else:
        raise TypeError(f"plot.history: expected what fit returned, got {type(record).__name__} without a history")
    keys = [keys] if isinstance(keys, str) else list(dict.fromkeys(keys))
    for key in keys:
        if key not in figures:
            raise ValueError(f"plot.history: no {key!r} among {', '.join(figures) or 'no figures'}")
    keys = [key for key in keys if not (key.startswith("val_") and key[4:] in keys)]     # drawn with the other
    ax = _axes(ax)
    lines = []
    for key in keys:
        numbers = np.arange(1, len(figures[key]) + 1) if epochs is None else np.array(epochs) + 1
        lines += ax.plot(numbers, figures[key], label=key, **_alone(figures[key]))
        if (validated := f"val_{key}") in figures:
            lines += ax.plot(numbers, figures[validated], "--", color=lines[-1].get_color(), label=validated,
                             fillstyle="none", **_alone(figures[validated]))
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    ax.set_xlabel("epoch")
    ax.set_ylabel(", ".join(keys), parse_math=False)
    if len(ax.lines) > 1:
        _legend(ax, lines, [line.get_label() for line in lines])
    return _done(ax, save)


def gradient_norms(record: GradientNorms, at: int | None = None, *, ax: Any = None, save: PathLike | None = None,
                   **style: Any) -> Any:
    """How large the gradient of each layer is: over the steps of training, or at one moment from layer to layer.

    Parameters
    ----------
    record : nf.callbacks.GradientNorms
        After training.
    at : int, optional
        Number of a record, 0 for the one before training, -1 for the last: the norms are drawn over the layers.
        None: one line per layer over all records.
    style
        Of the line over the layers: label, color, linestyle, ... as in matplotlib's plot.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x, y = np.eye(4), np.arange(4)
    >>> model = nf.Sequential([nf.Dense(8, activation="sigmoid"), nf.Dense(4, activation="softmax")])
    >>> model.compile("sgd", "cross_entropy")
    >>> record = nf.callbacks.GradientNorms(x, y)
    >>> fitted = model.fit(x, y, epochs=2, callbacks=record, verbose=0)
    >>> [line.get_label() for line in nf.plot.gradient_norms(record).lines]
    ['dense', 'dense_1']
    """
    if not isinstance(record, GradientNorms) or not record.steps:
        raise TypeError("plot.gradient_norms: expected a GradientNorms callback that fit has used")
    if at is None and style:
        raise TypeError(f"plot.gradient_norms: {', '.join(style)} is for the line over the layers; name a record, at=0")
    ax = _axes(ax)
    if at is None:
        colours = _colours(len(record.norms))
        lines = [ax.plot(record.steps, norms, color=colour, label=layer)[0]
                 for colour, (layer, norms) in zip(colours, record.norms.items())]
        ax.set(xlabel="training step", ylabel="gradient norm", yscale="log")
        _legend(ax, lines, list(record.norms), fontsize="small")
        return _done(ax, save)
    if not -len(record.steps) <= at < len(record.steps):
        raise ValueError(f"plot.gradient_norms: at={at}, but there are {len(record.steps)} records")
    norms = [values[at] for values in record.norms.values()]
    ax.plot(np.arange(1, len(norms) + 1), norms, **{"marker": "o", **style})
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    ax.set(xlabel="layer, from the input", ylabel="gradient norm", yscale="log")
    if "label" in style:
        ax.legend()
    return _done(ax, save)


def descent_path(result: Descent, f: Callable[[Any], Any] | None = None, *, margin: float = 0.3, ax: Any = None,
                 save: PathLike | None = None) -> Any:
    """The path of a descent: on the curve of f for one variable, over its contours for two, else f by step.

    Parameters
    ----------
    result : nf.optimize.Descent
    f : callable, optional
        The function, for the curve or the contours: ``f(x)`` of one point.
    margin : float
        How far to draw around the path, as a part of its extent.

    Examples
    --------
    >>> import nnfast as nf
    >>> result = nf.optimize.gradient_descent(lambda x: x**2, None, -2.0)
    >>> ax = nf.plot.descent_path(result, lambda x: x**2)
    >>> [line.get_label() for line in ax.lines[:2]]
    ['f', 'path']
    """
    path = np.asarray(getattr(result, "path", None), np.float64)
    if path.ndim == 0 or not hasattr(result, "values"):
        raise TypeError(f"plot.descent_path: expected what gradient_descent returned, got {type(result).__name__}")
    points, values = path.reshape(len(path), -1), np.asarray(result.values)
    near = (np.abs(values) < FARTHEST) & (np.abs(points) < FARTHEST).all(axis=1)
    near[0] = True
    points, values = points[near], values[near]
    low, high = points.min(axis=0), points.max(axis=0)
    extent = np.where(high > low, high - low, 1.0)
    low, high = low - margin * extent, high + margin * extent

    def value(point):
        with np.errstate(over="ignore", invalid="ignore"):     # around the last points of one that diverged
            return float(np.ravel(f(point[0] if path.ndim == 1 else point.reshape(path.shape[1:])))[0])

    ax = _axes(ax)
    if points.shape[1] > 2 or (points.shape[1] == 2 and f is None):
        ax.plot(np.arange(len(points)), values, ".-")
        ax.set(xlabel="step", ylabel="f(x)")
    elif points.shape[1] == 1:
        if f is not None:
            x = np.linspace(low[0], high[0], CURVE)
            ax.plot(x, [value(point) for point in x[:, None]], color="0.6", label="f")
        (line,) = ax.plot(points[:, 0], values, "o-", markersize=4, linewidth=1, label="path")
        ax.plot(points[-1:, 0], values[-1:], "s", color=line.get_color(), markersize=8)
        ax.set(xlabel="x", ylabel="f(x)")
    else:
        a, b = (np.linspace(low[i], high[i], PLANE // 2) for i in (0, 1))
        heights = np.array([[value(np.array([u, v])) for u in a] for v in b])
        contours = ax.contour(a, b, heights, levels=15, cmap="viridis_r", linewidths=0.8)
        ax.clabel(contours, contours.levels[::2], fontsize="small")
        (line,) = ax.plot(*points.T, "o-", color="C3", markersize=4, linewidth=1.2, label="path")
        ax.plot(*points[-1], "s", color=line.get_color(), markersize=8)
        ax.set(xlabel="$x_1$", ylabel="$x_2$")
    return _done(ax, save)


# --- decisions -------------------------------------------------------------------------------------------------------

def confusion_matrix(y_true: ArrayLike, y_pred: ArrayLike, class_names: Sequence[str] | None = None,
                     normalize: bool = False, ignore_label: int | None = None, *, ax: Any = None,
                     save: PathLike | None = None) -> Any:
    """How often samples, or pixels, of each true class (rows) were taken for each class (columns).

    A new figure grows with the classes, to 12 inches; where the cells are too small for them, the numbers and some of
    the class names are left out.

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
        y_pred = _largest(y_pred)
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
        _check_labels("plot.confusion_matrix", y)
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
    ax = _axes(ax, min(CELL * n + 1.5, LONGEST))
    ax.imshow(shown, cmap="Blues", vmin=0)
    cell = 72 * min(ax.bbox.width, ax.bbox.height) / ax.figure.dpi / n      # in points
    # A digit is 0.64 of the font's size wide. Numbers lie within the image, so the layout need not measure them all.
    size = min(8.0, 0.8 * cell / (0.64 * (4 if normalize else len(str(counts.max())))))
    for i, j in np.argwhere(counts).tolist() if size >= SMALLEST else []:
        ax.text(j, i, f"{shown[i, j]:.2f}" if normalize else str(counts[i, j]), ha="center", va="center", fontsize=size,
                color="white" if shown[i, j] > 0.6 * shown.max() else "black", in_layout=False)
    size = 10.0 if cell > 15 else 7.0
    every = int(np.ceil(1.5 * size / cell))
    labels = names[::every]
    fits = 0.64 * size * max(map(len, labels)) < 0.8 * every * cell
    turned = {} if fits else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(0, n, every), labels, fontsize=size, parse_math=False, **turned)
    ax.set_yticks(range(0, n, every), labels, fontsize=size, parse_math=False)
    ax.set(xlabel="predicted class", ylabel="true class")
    return _done(ax, save)


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
        _check_labels("plot.decision_boundary", y)
        if y.max() >= max(n, 2):
            raise ValueError(f"plot.decision_boundary: label {y.max():g}, but the model has {max(n, 2)} classes")
    low, high = x.min(axis=0), x.max(axis=0)
    # Where all points agree there is no extent to take a part of.
    room = np.where(high - low > 1e-9 * np.abs(high), margin * (high - low), 0.5 * np.maximum(1.0, np.abs(high)))
    low, high = low - room, high + room
    a, b = (np.linspace(low[i], high[i], PLANE) for i in (0, 1))
    grid = np.stack(np.meshgrid(a, b), axis=-1).reshape(-1, 2)
    output = model.predict(grid.astype(model.dtype))
    ax = _axes(ax)
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
        colours = _pyplot().get_cmap("coolwarm")([0.0, 1.0])
    else:
        classes = output.argmax(axis=1).reshape(PLANE, PLANE)
        colours = _class_colours(n)
        ax.imshow(colours[classes], extent=(low[0], high[0], low[1], high[1]), origin="lower", aspect="auto", alpha=0.4)
    if y is None:
        ax.plot(*x.T, "k.", markersize=4)
    else:
        labels = np.unique(y).astype(int).tolist()
        kinds = [str(names[i]) if names is not None and len(names) > 1 else f"class {i}" for i in labels]
        points = [ax.scatter(*x[y == label].T, s=18, color=colours[label], edgecolor="black", linewidth=0.5, label=kind)
                  for label, kind in zip(labels, kinds)]
        _legend(ax, points, kinds, fontsize="small")
    ax.set(xlabel="$x_1$", ylabel="$x_2$", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return _done(ax, save)


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
    if not low < high:
        raise ValueError(f"plot.activation: low must be below high, got {low} and {high}")
    z = np.linspace(low, high, CURVE)
    y, slope = z, np.ones_like(z)
    if name != "linear":
        options = {"alpha": alpha} if activations.ACTIVATIONS[name].alpha is not None else {}
        y = getattr(functional, name)(z, **options)
        kept = z if activations.ACTIVATIONS[name].backward == "z" else y
        slope = getattr(functional, f"{name}_backward")(np.ones_like(z), kept, **options)
    ax = _axes(ax)
    ax.axhline(0, color="0.8", linewidth=0.8)
    ax.axvline(0, color="0.8", linewidth=0.8)
    (line,) = ax.plot(z, y, label=name)
    ax.plot(z, slope, "--", color=line.get_color(), label=f"its derivative, at most {slope.max():.4g}")
    ax.set(xlabel="z", ylabel=f"{name}(z)")
    ax.legend()
    return _done(ax, save)


# --- images ----------------------------------------------------------------------------------------------------------

def images(x: ArrayLike, columns: int | None = None, titles: Sequence[object] | None = None, *, ax: Any = None,
           save: PathLike | None = None) -> Any:
    """Images side by side, each scaled to its own darkest and brightest pixel.

    Parameters
    ----------
    x : array (N, H, W), (N, H, W, 1), or (N, H, W, 3) for colours
    columns : int, optional
        Images in a row; by default such that the whole is about square.
    titles : sequence of str, optional
        Written over the images: a new figure grows for them, to 12 inches, then the type gets smaller, and titles
        that are still too long are cut.

    Examples
    --------
    >>> import nnfast as nf
    >>> (x, y), _ = nf.datasets.digits(flatten=False)
    >>> ax = nf.plot.images(x[:6], columns=3, titles=[str(label) for label in y[:6]])
    >>> len(ax.images), [text.get_text() for text in ax.texts] == [str(label) for label in y[:6]]
    (6, True)
    """
    return _tiles(_brightness("plot.images", x), columns, titles, "gray", 0, 1, ax, save)


def label_maps(y: ArrayLike, x: ArrayLike | None = None, class_names: Sequence[str] | None = None,
               ignore_label: int | None = None, columns: int | None = None, titles: Sequence[object] | None = None, *,
               ax: Any = None, save: PathLike | None = None) -> Any:
    """The class of each pixel as a colour, over the images if there are some: what a segmentation says, or should.

    Parameters
    ----------
    y : integer array (N, H, W) or (N, H, W, 1), or array (N, H, W, classes) of a network's outputs, channels last,
        whose largest counts
    x : array (N, H, W), (N, H, W, 1) or (N, H, W, 3), optional
        The images, half of each pixel's colour.
    class_names : sequence of str, optional
        By default 0, 1, ...; those that occur are in the legend, as far as it has room.
    ignore_label : int, optional
        Pixels of this label have no colour.
    columns, titles
        See `images`.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> y = np.array([[[0, 1], [255, 1]]])
    >>> ax = nf.plot.label_maps(y, class_names=["ground", "cell"], ignore_label=255)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['ground', 'cell']
    """
    y = as_numbers(y, "plot.label_maps: y")
    if ignore_label is not None:
        ignore_label = integer("plot.label_maps", "ignore_label", ignore_label, **INT32)
    if y.ndim == 4:
        y = _largest(y)
    if y.ndim != 3 or y.size == 0:
        raise ValueError(f"plot.label_maps: y must have shape (N, H, W) or (N, H, W, classes), got {y.shape}")
    counted = y != ignore_label if ignore_label is not None else np.ones(y.shape, bool)
    _check_labels("plot.label_maps", y[counted])
    y = np.where(counted, y, 0).astype(int)
    n = int(y.max()) + 1 if class_names is None else len(class_names)
    if n <= y.max():
        raise ValueError(f"plot.label_maps: {n} class names for {y.max() + 1} classes")
    classes, places = np.unique(y[counted], return_inverse=True)
    names = [str(i if class_names is None else class_names[i]) for i in classes.tolist()]
    # Numbers of things, say, rather than of classes: colours for those that there are.
    colours = _class_colours(n)[classes] if n <= MOST_CLASSES else _class_colours(len(classes))
    shown = np.ones((*y.shape, 3))
    shown[counted] = colours[places.reshape(-1)]
    if x is not None:
        x = _brightness("plot.label_maps", x)
        if x.shape[:3] != y.shape:
            raise ValueError(f"plot.label_maps: x has shape {x.shape}, the label maps have {y.shape}")
        shown = np.where(counted[..., None], (shown + x) / 2, x)
    new = ax is None
    ax = _tiles(shown, columns, titles, None, 0, 1, ax, None)
    squares = [ax.plot([], [], "s", color=colour)[0] for colour in colours]
    _legend(ax, squares, names, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
    if new:     # Beside an Axes that shrinks to its images constrained layout would cut the legend off.
        ax.set_adjustable("datalim")
        ax.set_xlim(ax.get_xlim(), auto=True)
        ax.set_ylim(ax.get_ylim(), auto=True)
    return _done(ax, save)


def filters(model: Model | Array, layer: str | None = None, shape: Sequence[int] | None = None,
            channel: int | None = None, columns: int | None = None, titles: Sequence[object] | None = None, *,
            ax: Any = None, save: PathLike | None = None) -> Any:
    """The weights of a layer, one image per unit or filter: blue below zero, red above, on one scale.

    Parameters
    ----------
    model : Model, or array
        Or a kernel itself: (H, W, C, K), or (inputs, K) with `shape`.
    layer : str, optional
        By default the first layer with a kernel.
    shape : (H, W), optional
        How the inputs of a dense kernel are arranged.
    channel : int, optional
        Of a kernel with several input channels: the one to show; by default their sum.
    columns, titles
        See `images`.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Conv2D(8, 3)], input_shape=(28, 28, 1))
    >>> len(nf.plot.filters(model).images)
    8
    """
    kernel = _kernel(model, layer)
    if kernel.ndim == 2:
        if shape is None or np.prod(shape) != kernel.shape[0]:
            raise ValueError(f"plot.filters: the kernel {kernel.shape} is not of a convolution; shape=(H, W) must say "
                             f"how its {kernel.shape[0]} inputs are arranged, got {shape}")
        kernel = kernel.reshape(*shape, 1, kernel.shape[1])
    if kernel.ndim != 4:
        raise ValueError(f"plot.filters: a kernel must have shape (H, W, C, K) or (inputs, K), got {kernel.shape}")
    if channel is None:
        kernel = kernel.sum(axis=2)
    else:
        channel = integer("plot.filters", "channel", channel, at_least=0)
        if channel >= kernel.shape[2]:
            raise ValueError(f"plot.filters: channel {channel}, but there are {kernel.shape[2]}")
        kernel = kernel[:, :, channel]
    check_finite(kernel, np.dtype(np.float64), "plot.filters: kernel")
    largest = float(np.abs(kernel).max()) or 1.0
    kernel = np.moveaxis(kernel, -1, 0)[..., None]
    return _tiles(kernel, columns, titles, "RdBu_r", -largest, largest, ax, save, "weight")


def feature_maps(model: Model, x: ArrayLike, layer: str, columns: int | None = None,
                 titles: Sequence[object] | None = None, *, ax: Any = None, save: PathLike | None = None) -> Any:
    """What a layer makes of one sample: an image per channel, on one scale.

    Parameters
    ----------
    model : Model
        With one input.
    x : array
        One sample, of the model's input shape.
    layer : str
        A layer whose output has shape (H, W, K); one of shape (K,) is drawn as single pixels.
    columns, titles
        See `images`.

    Examples
    --------
    >>> import nnfast as nf
    >>> (x, y), _ = nf.datasets.digits(flatten=False)
    >>> model = nf.Sequential([nf.Conv2D(4, 3, activation="relu")], input_shape=(8, 8, 1))
    >>> len(nf.plot.feature_maps(model, x[0], "conv2d").images)
    4
    """
    part = model.submodel(layer)
    maps = channels_last(part.predict(_one_sample("plot.feature_maps", part, x)), part.data_format)[0]
    if maps.ndim not in (1, 3):
        raise ValueError(f"plot.feature_maps: {layer} has output {maps.shape}, expected (H, W, K) or (K,)")
    maps = maps.reshape((1, 1, -1) if maps.ndim == 1 else maps.shape)
    check_finite(maps, np.dtype(np.float64), f"plot.feature_maps: {layer}")
    maps = np.moveaxis(maps, -1, 0)[..., None]
    return _tiles(maps, columns, titles, "viridis", float(maps.min()), float(maps.max()), ax, save, "activation")


def saliency(model: Model, x: ArrayLike, y: Any, shape: Sequence[int] | None = None, colorbar: bool = True, *,
             ax: Any = None, save: PathLike | None = None) -> Any:
    """Which pixels cause the error: the gradient of one sample's loss over its image.

    Red pixels raise the loss where they get brighter, blue ones lower it (Simonyan, Vedaldi, Zisserman 2013, section 3,
    for the loss instead of the score). Of several channels the gradients are added.

    Parameters
    ----------
    model : Model
        Compiled, with one input.
    x, y : array
        One sample, of the model's input shape, and its target as in `fit`, without the batch axis.
    shape : (H, W), optional
        How the pixels of a flat sample are arranged.
    colorbar : bool

    Examples
    --------
    >>> import nnfast as nf
    >>> (x, y), _ = nf.datasets.digits()
    >>> model = nf.models.softmax_regression(64, 10)
    >>> ax = nf.plot.saliency(model, x[0], y[0], shape=(8, 8))
    >>> ax.images[-1].get_array().shape
    (8, 8)
    """
    op = "plot.saliency"
    batch = _one_sample(op, model, x)
    gradient = channels_last(model.input_gradient(batch, np.asarray(y)[None]), model.data_format)[0].astype(np.float64)
    image = channels_last(batch, model.data_format)[0].astype(np.float64)
    if shape is not None:
        if np.prod(shape) != image.size:
            raise ValueError(f"{op}: shape {tuple(shape)} does not fit a sample of {image.size} numbers")
        image, gradient = image.reshape(shape), gradient.reshape(shape)
    if image.ndim == 3:
        image = image.mean(axis=2) if image.shape[2] != 3 else image
        gradient = gradient.sum(axis=2)
    if gradient.ndim != 2:
        raise ValueError(f"{op}: a sample has shape {image.shape}; shape=(H, W) must say how its pixels are arranged")
    ax = _axes(ax)
    low, high = image.min(), image.max()
    ax.imshow((image - low) / ((high - low) or 1.0), cmap="gray")
    largest = float(np.abs(gradient).max()) or 1.0
    # As opaque as the gradient is large: where there is none the image shows.
    overlay = ax.imshow(gradient, cmap="coolwarm", vmin=-largest, vmax=largest, alpha=0.85 * np.abs(gradient) / largest)
    if colorbar:
        overlay = _pyplot().cm.ScalarMappable(norm=overlay.norm, cmap=overlay.cmap)
        ax.figure.colorbar(overlay, ax=ax, label="d loss / d pixel")
    ax.set(xticks=[], yticks=[])
    return _done(ax, save)


# --- what they share -------------------------------------------------------------------------------------------------

def _pyplot():
    try:
        import matplotlib.pyplot
    except ImportError:
        raise ImportError("nnfast.plot needs matplotlib; pip install 'nnfast[plot]'") from None
    return matplotlib.pyplot


def _axes(ax, least=0.0):
    """The Axes given, or those of a new figure whose sides, or width and height, have at least so many inches."""
    pyplot = _pyplot()
    if ax is None:
        sides = np.maximum(pyplot.rcParams["figure.figsize"], least)
        return pyplot.subplots(figsize=sides, layout="constrained")[1]
    if not isinstance(ax, pyplot.Axes):
        hint = "; take one of its elements" if isinstance(ax, np.ndarray) else ""
        raise TypeError(f"plot: ax must be an Axes of matplotlib, got {type(ax).__name__}{hint}")
    return ax


def check_ending(path):
    """Raise ValueError if matplotlib cannot write files with the path's ending; to none it adds its own."""
    ending = os.path.splitext(path)[1].lower()
    known = _pyplot().FigureCanvasBase.get_supported_filetypes()
    if ending[1:] and ending[1:] not in known:
        raise ValueError(f"{path}: pictures are not written as {ending}; expected one of "
                         f"{', '.join('.' + name for name in sorted(known))}")


def _done(ax, save):
    if save is not None:
        ax.figure.savefig(save, dpi=150)
    return ax


def _colours(n):
    """From dark to bright, for things in an order."""
    return _pyplot().get_cmap("viridis")(np.linspace(0.0, 0.9, max(n, 1)))


def _class_colours(n):
    """One for each class, far from those of its neighbours."""
    if n <= 20:
        return _pyplot().get_cmap("tab10" if n <= 10 else "tab20")(np.arange(n))[:, :3]
    # Every colour of the map once, in steps of about the golden section.
    step = next(k for k in range(round(0.618 * n), n) if math.gcd(k, n) == 1)
    return _pyplot().get_cmap("nipy_spectral", n)(np.arange(n) * step % n)[:, :3]


def _alone(values):
    """Markers for numbers between others that are none, where a line would not show them."""
    there = np.isfinite(np.asarray(values, np.float64))
    beside = np.pad(there, 1)
    places = np.flatnonzero(there & ~beside[:-2] & ~beside[2:]).tolist()
    return {"marker": "o", "markevery": places} if places else {}


def _legend(ax, own, names, fontsize="medium", **style):
    """What was labelled on the Axes before and the artists `own`, whose names are texts: with "$" or "_" in front, too.

    Of more than fit beside or onto the Axes it shows the first, and says how many it leaves out.
    """
    before = [(handle, label) for handle, label in zip(*ax.get_legend_handles_labels())
              if not any(handle is one for one in own)]
    points = _pyplot().matplotlib.font_manager.FontProperties(size=fontsize).get_size_in_points()
    height, width = (72 * side / ax.figure.dpi for side in (ax.bbox.height, ax.figure.bbox.width))
    rows = max(int(height / (1.55 * points)), 2)
    # Beside a name stand its sign and gaps of about 5 letters' heights.
    columns = max(int(0.5 * width / (points * (5 + _wide([*names, "and 100 more"])))), 1)
    room = rows * columns - len(before)
    own, names = list(own), list(names)
    if len(own) > room:
        room = max(room, 2)
        names[room - 1:] = [f"and {len(own) - room + 1} more"]
        own[room - 1:] = ax.plot([], [], " ")
    # matplotlib leaves out names with "_" in front, so they are written when the legend is there.
    signs, labels = [handle for handle, _ in before] + own, [label for _, label in before] + ["x"] * len(own)
    legend = ax.legend(signs, labels, fontsize=fontsize, ncols=max(-(-len(signs) // rows), 1), **style)
    for text, name in zip(legend.get_texts()[len(before):], names):
        text.set(text=name, parse_math=False)


def _wide(texts):
    """How wide the widest text is, in sizes of its type."""
    font = _pyplot().matplotlib.font_manager.FontProperties(size=100)
    measure = _pyplot().matplotlib.textpath.text_to_path.get_text_width_height_descent
    return max(measure(line, font, False)[0] for text in texts for line in (text.splitlines() or [""])) / 100


def _numbered(what, y, names):
    """An array of numbers, or of texts as their positions in `names`."""
    try:
        return as_numbers(y, what)
    except NotNumbersError as error:
        if names is None:
            raise NotNumbersError(f"{error}; texts need class_names") from None
        return encode_labels(np.ravel(y), names)[0]


def _check_labels(op, y):
    if not (np.isfinite(y) & (y >= 0) & (y == np.floor(y))).all():
        raise ValueError(f"{op}: labels must be integers, 0 or more")


def _largest(y):
    """The classes of a network's outputs (..., classes); of a single yes/no output 0 or 1, of integers (..., 1) they
    themselves."""
    check_finite(y, np.dtype(np.float64), "plot: outputs")
    if y.shape[-1] > 1:
        return y.argmax(axis=-1)
    return y[..., 0] if y.dtype.kind in "iu" else (y[..., 0] > 0.5).astype(int)


def _brightness(op, x):
    """Images (N, H, W, 1 or 3), each from 0 at its darkest to 1 at its brightest pixel."""
    x = as_numbers(x, f"{op}: x")
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or x.size == 0:
        raise ValueError(f"{op}: x must have shape (N, H, W), (N, H, W, 1) or (N, H, W, 3), got {x.shape}")
    check_finite(x, np.dtype(np.float64), f"{op}: x")
    low, high = x.min(axis=(1, 2, 3), keepdims=True), x.max(axis=(1, 2, 3), keepdims=True)
    return (x - low) / np.where(high > low, high - low, 1)


def _kernel(model, layer):
    if isinstance(model, np.ndarray):
        if layer is not None:
            raise ValueError("plot.filters: layer names a part of a model, but a kernel was given")
        return model
    kernels = {name.partition("/")[0]: w for name, w in model.parameters.items() if name.endswith("/kernel")}
    for own in model.layers:
        if isinstance(own, Conv2DTranspose) and own.name in kernels:    # its filters come before its inputs
            kernels[own.name] = kernels[own.name].swapaxes(-1, -2)
    if layer is None:
        if not kernels:
            raise ValueError("plot.filters: the model has no kernel")
        return next(iter(kernels.values()))
    if layer not in kernels:
        raise ValueError(f"plot.filters: no layer {layer!r} with a kernel; this model has {', '.join(kernels)}")
    return kernels[layer]


def _one_sample(op, model, x):
    x = as_numbers(x, f"{op}: x")
    if x.shape != model.input_shape:
        hint = "; pass one sample, x[i]" if x.shape[1:] == model.input_shape else ""
        raise ValueError(f"{op}: x has shape {x.shape}, one sample has {model.input_shape}{hint}")
    return x[None]


def _fit_titles(titles, lines, room, step, sides, ax, colorbar):
    """The Axes, titles and points of type such that no title reaches the next one; lengths in widths of an image.

    A new figure grows, to 12 inches; then the type gets smaller, and then long titles lose their ends.
    """
    small = _pyplot().matplotlib.font_manager.FontProperties(size="small").get_size_in_points()
    wide = _wide(titles) + 0.7                      # and a space
    high = 1.25 * lines / (room - 0.05)             # of a point of type
    part = np.array([0.8 if colorbar else 0.95, 0.95])      # of a new figure, for the images
    new = ax is None
    ax = _axes(ax, np.minimum(max(wide / step, high) * small * np.array(sides) / part / 72, LONGEST))
    given = np.array(ax.figure.bbox.size) * part if new else np.array(ax.bbox.size)
    width = 72 / ax.figure.dpi * float(np.min(given / sides))       # of an image, in points
    size = min(small, max(width * step / wide, SMALLEST), width / high)
    most = width * step / size - 0.7 + 1e-6         # but for rounding
    for i, title in enumerate(titles):
        while _wide([titles[i]]) > most and len(title) > 1:
            title = title[:-1]
            titles[i] = title.rstrip() + "\N{HORIZONTAL ELLIPSIS}"
    return ax, titles, size


def _tiles(x, columns, titles, cmap, low, high, ax, save, label=None):
    """Images (N, H, W, 1 or 3) on one Axes, with a gap between them."""
    n, height, width, _ = x.shape
    if columns is None:
        columns = int(np.ceil(np.sqrt(n * height / width)))
    columns = min(integer("plot", "columns", columns, at_least=1), n)
    if titles is not None and len(titles) != n:
        raise ValueError(f"plot: {len(titles)} titles for {n} images")
    rows = -(-n // columns)
    gap = 0.1
    titles = None if titles is None else [str(title) for title in titles]
    # Room for text above each image.
    lines = 0 if titles is None else 1 + max(title.count("\n") for title in titles)
    room = gap + 0.25 * lines
    across, down = columns * (1 + gap) + gap, rows * (height / width + room) + room
    if titles is None:
        ax = _axes(ax)
    else:
        ax, titles, size = _fit_titles(titles, lines, room, 1 + gap, (across, down), ax, label is not None)
    shown = None
    for i, image in enumerate(x):
        row, column = divmod(i, columns)
        left, top = column * (1 + gap), row * (height / width + room)
        shown = ax.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap=cmap, vmin=low, vmax=high,
                          extent=(left, left + 1, top + height / width, top))
        if titles is not None:
            ax.text(left + 0.5, top - 0.05, titles[i], ha="center", va="bottom", fontsize=size, parse_math=False)
    ax.set(xlim=(-gap, columns * (1 + gap)), ylim=(rows * (height / width + room), -room), aspect="equal")
    ax.set_axis_off()
    if label is not None:
        ax.figure.colorbar(shown, ax=ax, label=label, shrink=0.7)
    return _done(ax, save)
