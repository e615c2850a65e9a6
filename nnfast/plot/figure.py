"""What all pictures share: Axes, colours, legends, files."""

from __future__ import annotations

import bisect
import math
import os

import numpy as np

# Inches of the longest side of a new figure, points of the smallest type.
LONGEST = 12.0
SMALLEST = 5.0

# Petroff (2021), Accessible Color Sequences for Data Visualization: ten classes that colour-blind readers tell
# apart. Of matplotlib's own ten, orange and green look the same without red cones, green and red without green ones.
COLOURS = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")

# Points along a curve, pixels along a side of a plane.
CURVE = 401
PLANE = 200


def load_pyplot():
    try:
        import matplotlib.pyplot
    except ImportError:
        raise ImportError("nnfast.plot needs matplotlib; pip install 'nnfast[plot]'") from None
    return matplotlib.pyplot


def axes_for(ax, least=0.0):
    """The Axes given, or those of a new figure whose sides, or width and height, have at least so many inches."""
    pyplot = load_pyplot()
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
    known = load_pyplot().FigureCanvasBase.get_supported_filetypes()
    if ending[1:] and ending[1:] not in known:
        raise ValueError(f"{path}: pictures are not written as {ending}; expected one of "
                         f"{', '.join('.' + name for name in sorted(known))}")


def finish(ax, save):
    if save is not None:
        ax.figure.savefig(save, dpi=150)
    return ax


def ordered_colours(n):
    """From dark to bright, for things in an order."""
    return load_pyplot().get_cmap("viridis")(np.linspace(0.0, 0.9, max(n, 1)))


def class_colours(n):
    """One for each class, far from those of its neighbours, and up to 10 also for colour-blind readers."""
    if n <= len(COLOURS):
        return np.array([load_pyplot().matplotlib.colors.to_rgb(colour) for colour in COLOURS[:n]])
    if n <= 20:
        return load_pyplot().get_cmap("tab20")(np.arange(n))[:, :3]
    # Every colour of the map once, in steps of about the golden section.
    step = next(k for k in range(round(0.618 * n), n) if math.gcd(k, n) == 1)
    return load_pyplot().get_cmap("nipy_spectral", n)(np.arange(n) * step % n)[:, :3]


def lone_markers(values):
    """Markers for numbers between others that are none, where a line would not show them."""
    there = np.isfinite(np.asarray(values, np.float64))
    beside = np.pad(there, 1)
    places = np.flatnonzero(there & ~beside[:-2] & ~beside[2:]).tolist()
    return {"marker": "o", "markevery": places} if places else {}


def add_legend(ax, own, names, fontsize="medium", **style):
    """What was labelled on the Axes before and the artists `own`, whose names are texts: with "$" or "_" in front, too.

    Of more than fit beside or onto the Axes it shows the first, and says how many it leaves out; long names lose their
    middle.
    """
    before = [(handle, label) for handle, label in zip(*ax.get_legend_handles_labels())
              if not any(handle is one for one in own)]
    points = load_pyplot().matplotlib.font_manager.FontProperties(size=fontsize).get_size_in_points()
    height, width = (72 * side / ax.figure.dpi for side in (ax.bbox.height, ax.figure.bbox.width))
    rows = max(int(height / (1.55 * points)), 2)
    # Beside a name stand its sign and gaps of about 5 letters' heights.
    longest = 0.6 * width if "bbox_to_anchor" in style else 0.9 * 72 * ax.bbox.width / ax.figure.dpi
    names = shortened_names(names, max(longest / points - 5, 5.0))
    columns = max(int(0.5 * width / (points * (5 + text_width([*names, "and 100 more"])))), 1)
    room = rows * columns - len(before)
    own = list(own)
    if len(own) > room:
        room = max(room, 2)
        names[room - 1:] = [f"and {len(own) - room + 1} more"]
        own[room - 1:] = ax.plot([], [], " ")
    # matplotlib leaves out names with "_" in front, so they are written when the legend is there.
    signs, labels = [handle for handle, _ in before] + own, [label for _, label in before] + ["x"] * len(own)
    # Of a place that it was not told matplotlib warns when the search takes a second, as it does on a busy machine.
    style.setdefault("loc", load_pyplot().rcParams["legend.loc"])
    legend = ax.legend(signs, labels, fontsize=fontsize, ncols=max(-(-len(signs) // rows), 1), **style)
    for text, name in zip(legend.get_texts()[len(before):], names):
        text.set(text=name, parse_math=False)


def whole_numbers(ax):
    """Of epochs, steps and layers there are no halves; an Axes with a scale or ticks of its own keeps them."""
    locator = ax.xaxis.get_major_locator()
    if isinstance(locator, load_pyplot().matplotlib.ticker.MaxNLocator):
        locator.set_params(integer=True, min_n_ticks=1)


def shortened(text, most):
    """A text of one line at most so many sizes of its type wide: of a longer one the beginning and the end."""
    return shortened_names([text], most)[0]


def shortened_names(names, most):
    """Names of lines at most so many sizes of their type wide; if they were the same then, without their beginning."""
    widths = _letter_widths([*names, "\N{HORIZONTAL ELLIPSIS}"])

    def width(text):
        return sum(widths[letter] for letter in text)

    def shortened_line(line):
        def without_middle(kept):
            return line[:kept - kept // 2].rstrip() + "\N{HORIZONTAL ELLIPSIS}" + line[len(line) - kept // 2:].lstrip()

        if len(line) < 3 or width(line) <= most:
            return line
        fitting = bisect.bisect(range(2, len(line)), most, key=lambda kept: width(without_middle(kept)))
        return without_middle(max(fitting + 1, 2))

    def shortened(name):
        return "\n".join(map(shortened_line, name.split("\n")))

    short = [shortened(name) for name in names]
    cut = [i for i, name in enumerate(names) if short[i] != name]
    if len(set(short)) < len(set(names)):
        common = len(os.path.commonprefix([names[i] for i in cut]))
        for i in cut:
            short[i] = shortened("\N{HORIZONTAL ELLIPSIS}" + names[i][common:])
    return short


def text_width(texts):
    """How wide the widest text is, in sizes of its type."""
    widths = _letter_widths(texts)
    return max(sum(widths[letter] for letter in line) for text in texts for line in (text.splitlines() or [""]))


def _letter_widths(texts):
    """Of each letter that occurs: measuring a thousand names whole takes a second."""
    font = load_pyplot().matplotlib.font_manager.FontProperties(size=100)
    measure = load_pyplot().matplotlib.textpath.text_to_path.get_text_width_height_descent
    # Between others, as a blank alone has no width; a line's end has none at all.
    without = measure("nn", font, False)[0]
    return {letter: 0.0 if letter.splitlines() == [""] else (measure(f"n{letter}n", font, False)[0] - without) / 100
            for letter in set().union(*texts)}
