"""Images, and what a network makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import as_numbers, check_finite
from ..configurable import boolean, integer
from ..layers import Conv2DTranspose
from ..layout import channels_last
from ..losses import INT32
from ..model import Model
from .decisions import MOST_CLASSES, check_labels, check_names, largest_class
from .figure import LONGEST, SMALLEST, add_legend, axes_for, class_colours, finish, load_pyplot, text_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import Array, ArrayLike, PathLike


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
    check_names("plot.label_maps", "class_names", class_names)
    y = as_numbers(y, "plot.label_maps: y")
    if ignore_label is not None:
        ignore_label = integer("plot.label_maps", "ignore_label", ignore_label, **INT32)
    if y.ndim == 4:
        y = largest_class(y)
    if y.ndim != 3 or y.size == 0:
        raise ValueError(f"plot.label_maps: y must have shape (N, H, W) or (N, H, W, classes), got {y.shape}")
    counted = y != ignore_label if ignore_label is not None else np.ones(y.shape, bool)
    check_labels("plot.label_maps", y[counted])
    y = np.where(counted, y, 0).astype(int)
    n = int(y.max()) + 1 if class_names is None else len(class_names)
    if n <= y.max():
        raise ValueError(f"plot.label_maps: {n} class names for {y.max() + 1} classes")
    classes, places = np.unique(y[counted], return_inverse=True)
    every = range(n) if class_names is None else list(class_names)      # keys of a dict, say, have no positions
    names = [str(every[i]) for i in classes.tolist()]
    # Numbers of things, say, rather than of classes: colours for those that there are.
    colours = class_colours(n)[classes] if n <= MOST_CLASSES else class_colours(len(classes))
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
    add_legend(ax, squares, names, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
    if new:     # Beside an Axes that shrinks to its images constrained layout would cut the legend off.
        ax.set_adjustable("datalim")
        ax.set_xlim(ax.get_xlim(), auto=True)
        ax.set_ylim(ax.get_ylim(), auto=True)
    return finish(ax, save)


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
        if shape is None or not _is_of(shape, kernel.shape[0]):
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
    boolean(op, "colorbar", colorbar)
    batch = _one_sample(op, model, x)
    gradient = channels_last(model.input_gradient(batch, np.asarray(y)[None]), model.data_format)[0].astype(np.float64)
    image = channels_last(batch, model.data_format)[0].astype(np.float64)
    if shape is not None:
        if not _is_of(shape, image.size):
            raise ValueError(f"{op}: shape {shape} does not fit a sample of {image.size} numbers")
        image, gradient = image.reshape(shape), gradient.reshape(shape)
    if image.ndim == 3:
        image = image.mean(axis=2) if image.shape[2] != 3 else image
        gradient = gradient.sum(axis=2)
    if gradient.ndim != 2:
        raise ValueError(f"{op}: a sample has shape {image.shape}; shape=(H, W) must say how its pixels are arranged")
    ax = axes_for(ax)
    low, high = image.min(), image.max()
    ax.imshow((image - low) / ((high - low) or 1.0), cmap="gray")
    largest = float(np.abs(gradient).max()) or 1.0
    # As opaque as the gradient is large: where there is none the image shows.
    overlay = ax.imshow(gradient, cmap="coolwarm", vmin=-largest, vmax=largest, alpha=0.85 * np.abs(gradient) / largest)
    if colorbar:
        overlay = load_pyplot().cm.ScalarMappable(norm=overlay.norm, cmap=overlay.cmap)
        ax.figure.colorbar(overlay, ax=ax, label="d loss / d pixel")
    ax.set(xticks=[], yticks=[])
    return finish(ax, save)


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


def _is_of(shape, size):
    """Whether `shape` says how so many numbers are arranged."""
    sides = np.asarray(shape)
    return sides.ndim == 1 and sides.dtype.kind in "iu" and bool((sides > 0).all()) and np.prod(sides) == size


def _kernel(model, layer):
    if not isinstance(model, Model):
        if layer is not None:
            raise ValueError("plot.filters: layer names a part of a model, but a kernel was given")
        return as_numbers(model, "plot.filters: kernel")
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
    if not isinstance(model, Model):
        raise TypeError(f"{op}: expected a model, got {type(model).__name__}")
    if x.shape != model.input_shape:
        hint = "; pass one sample, x[i]" if x.shape[1:] == model.input_shape else ""
        raise ValueError(f"{op}: x has shape {x.shape}, one sample has {model.input_shape}{hint}")
    return x[None]


def _fit_titles(titles, lines, room, step, sides, ax, colorbar):
    """The Axes, titles and points of type such that no title reaches the next one; lengths in widths of an image.

    A new figure grows, to 12 inches; then the type gets smaller, and then long titles lose their ends.
    """
    small = load_pyplot().matplotlib.font_manager.FontProperties(size="small").get_size_in_points()
    wide = text_width(titles) + 0.7                      # and a space
    high = 1.25 * lines / (room - 0.05)             # of a point of type
    part = np.array([0.8 if colorbar else 0.95, 0.95])      # of a new figure, for the images
    new = ax is None
    ax = axes_for(ax, np.minimum(max(wide / step, high) * small * np.array(sides) / part / 72, LONGEST))
    given = np.array(ax.figure.bbox.size) * part if new else np.array(ax.bbox.size)
    width = 72 / ax.figure.dpi * float(np.min(given / sides))       # of an image, in points
    size = min(small, max(width * step / wide, SMALLEST), width / high)
    most = width * step / size - 0.7 + 1e-6         # but for rounding
    for i, title in enumerate(titles):
        while text_width([titles[i]]) > most and len(title) > 1:
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
        ax = axes_for(ax)
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
    return finish(ax, save)
