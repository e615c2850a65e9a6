"""``nnfast.functional``, results in new arrays: what a caller writes who keeps nothing between calls, except taps."""

from nnfast import functional as F

from .nnfast_net import configuration, versions

__all__ = ["VARIANTS", "configuration", "conv2d", "dense", "max_pool2d", "softmax_cross_entropy", "versions"]

VARIANTS = {"conv": {"": "nnfast"}}


def conv2d(case, direction, arrays, variant, n_threads):
    x, w, dy = arrays
    place = {"stride": case.stride, "padding": case.padding, "groups": case.groups, "n_threads": n_threads}
    if direction == "forward":
        return lambda: F.conv2d(x, w, **place), unchanged
    return gradient(direction, lambda **needed: F.conv2d_backward(x, w, dy, **place, **needed))


def dense(case, direction, arrays, variant, n_threads):
    x, w, dy = arrays
    if direction == "forward":
        return lambda: F.dense(x, w, n_threads=n_threads), unchanged
    return gradient(direction, lambda **needed: F.dense_backward(x, w, dy, n_threads=n_threads, **needed))


def gradient(direction, backward):
    """One of the gradients alone."""
    needed = {f"need_{name}": name == direction for name in ("dx", "dw", "db")}
    position = ("dx", "dw").index(direction)
    return lambda: backward(**needed)[position], unchanged


def max_pool2d(case, direction, arrays, variant, n_threads):
    x, dy = arrays
    if direction == "forward":
        return lambda: F.max_pool2d(x, case.size, case.stride, n_threads=n_threads), unchanged
    _, taps = F.max_pool2d_with_taps(x, case.size, case.stride)     # as in training, the forward pass has found them
    return lambda: F.max_pool2d_backward(x, dy, case.size, case.stride, taps=taps, n_threads=n_threads), unchanged


def softmax_cross_entropy(case, direction, arrays, variant, n_threads):
    logits, y = arrays
    return lambda: F.softmax_cross_entropy(logits, y, n_threads=n_threads), unchanged


def unchanged(result):
    return result
