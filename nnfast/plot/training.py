"""How training went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..callbacks import GradientNorms, History
from ..configurable import number
from ..model import Model
from .figure import (
    CURVE,
    PLANE,
    add_legend,
    axes_for,
    finish,
    load_pyplot,
    lone_markers,
    ordered_colours,
    shortened,
    text_width,
    whole_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..optimize import Descent
    from ..typing import PathLike

# Of a descent that diverged the points beyond are left out: Matplotlib's numbers at an axis would overflow.
FARTHEST = 1e300


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
    if not isinstance(keys, Iterable):
        raise TypeError(f"plot.history: keys must be names of figures, got {keys!r}; there are {', '.join(figures)}")
    keys = [keys] if isinstance(keys, str) else list(dict.fromkeys(keys))
    if not keys:
        raise ValueError(f"plot.history: keys is empty; there are {', '.join(figures)}")
    for key in keys:
        if key not in figures:
            raise ValueError(f"plot.history: no {key!r} among {', '.join(figures) or 'no figures'}")
    keys = [key for key in keys if not (key.startswith("val_") and key[4:] in keys)]     # drawn with the other
    ax = axes_for(ax)
    lines = []
    for key in keys:
        numbers = np.arange(1, len(figures[key]) + 1) if epochs is None else np.array(epochs) + 1
        lines += ax.plot(numbers, figures[key], label=key, **lone_markers(figures[key]))
        if (validated := f"val_{key}") in figures:
            lines += ax.plot(numbers, figures[validated], "--", color=lines[-1].get_color(), label=validated,
                             fillstyle="none", **lone_markers(figures[validated]))
    whole_numbers(ax)
    ax.set_xlabel("epoch")
    # The names, as far as they fit beside the Axes; those of several lines are in the legend, too.
    label = ax.set_ylabel(", ".join(keys), parse_math=False)
    room = 72 * ax.bbox.height / ax.figure.dpi / label.get_fontsize()
    if len(keys) > 1 and text_width([label.get_text()]) > room:
        label.set_text("value")
    label.set_text(shortened(label.get_text(), room))
    if len(ax.lines) > 1:
        add_legend(ax, lines, [line.get_label() for line in lines])
    return finish(ax, save)


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
    ax = axes_for(ax)
    if at is None:
        colours = ordered_colours(len(record.norms))
        lines = [ax.plot(record.steps, norms, color=colour, label=layer)[0]
                 for colour, (layer, norms) in zip(colours, record.norms.items())]
        whole_numbers(ax)
        ax.set(xlabel="training step", ylabel="gradient norm", yscale="log")
        add_legend(ax, lines, list(record.norms), fontsize="small")
        return finish(ax, save)
    if not -len(record.steps) <= at < len(record.steps):
        raise ValueError(f"plot.gradient_norms: at={at}, but there are {len(record.steps)} records")
    norms = [values[at] for values in record.norms.values()]
    ax.plot(np.arange(1, len(norms) + 1), norms, **{"marker": "o", **style})
    whole_numbers(ax)
    ax.set(xlabel="layer, from the input", ylabel="gradient norm", yscale="log")
    if "label" in style:
        ax.legend()
    return finish(ax, save)


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
    margin = number("plot.descent_path", "margin", margin, at_least=0)
    if f is not None and not callable(f):
        raise TypeError(f"plot.descent_path: f must be callable, got {type(f).__name__}")
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

    ax = axes_for(ax)
    if points.shape[1] > 2 or (points.shape[1] == 2 and f is None):
        ax.plot(np.arange(len(points)), values, ".-")
        whole_numbers(ax)
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
        # Without the yellow of viridis, which hardly shows on white, and where the minimum is.
        colours = load_pyplot().matplotlib.colors.ListedColormap(ordered_colours(256)[::-1])
        contours = ax.contour(a, b, heights, levels=15, cmap=colours, linewidths=0.8)
        ax.clabel(contours, contours.levels[::2], fontsize="small", colors="black")
        (line,) = ax.plot(*points.T, "o-", color="C3", markersize=4, linewidth=1.2, label="path")
        ax.plot(*points[-1], "s", color=line.get_color(), markersize=8)
        ax.set(xlabel="$x_1$", ylabel="$x_2$")
    return finish(ax, save)
