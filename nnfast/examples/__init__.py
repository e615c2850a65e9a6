"""The mathematics of neural networks, one short program per idea: ``python -m nnfast examples``.

Each module has a docstring with the formula and where it is from, and `main(figure=None)`, which prints what it shows
and draws it, if a matplotlib Figure is given. Read them in the order of `NAMES`.
"""

import importlib

#: in the order to read them
NAMES = (
    "gradient_descent",
    "linear_regression",
    "logistic_regression",
    "softmax_regression",
    "cross_entropy",
    "backpropagation",
    "deeper_backpropagation",
    "output_gradients",
    "convolution",
    "convolution_matrix",
    "convolution_sizes",
    "vanishing_gradients",
    "sigmoid",
    "why_networks",
    "relu_against_sigmoid",
    "feature_maps",
    "worst_digits",
)


def load(name):
    """The module of an example; ValueError with the known names for another name."""
    if name not in NAMES:
        raise ValueError(f"no example {name!r}; there are {', '.join(NAMES)}")
    return importlib.import_module(f"{__name__}.{name}")


def title(name):
    """The first line of an example's docstring."""
    return load(name).__doc__.partition("\n")[0]


def run(name, plot=None):
    """Run an example; `plot` is a file to draw it to."""
    example = load(name)
    if plot is None:
        example.main()
        return
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("drawing needs matplotlib; pip install 'nnfast[plot]'") from None
    # Without pyplot: no window, no display, nothing to close.
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    example.main(figure)
    figure.savefig(plot, dpi=120)
