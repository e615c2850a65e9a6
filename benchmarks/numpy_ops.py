"""Pure NumPy: convolutions as im2col products (`nnfast.numpy_network.Im2col`), results in arrays allocated once."""

import numpy as np

from nnfast.numpy_network import Im2col

from .numpy_net import versions

__all__ = ["VARIANTS", "conv2d", "dense", "max_pool2d", "softmax_cross_entropy", "versions"]

VARIANTS = {"conv": {"": "numpy"}}


def conv2d(case, direction, arrays, variant, n_threads):
    """None for groups: im2col has nothing for depthwise convolutions but a loop over the channels."""
    if case.groups > 1:
        return None
    x, w, dy = arrays
    kernel = case.r, case.s
    padding = ((case.padding,) * 2,) * 2
    if direction == "dx" and case.stride == 1:  # a convolution of dy with the kernel turned round
        around = (case.r - 1 - case.padding,) * 2, (case.s - 1 - case.padding,) * 2
        return forward(Im2col(dy.shape, kernel, 1, around, dy.dtype), dy, turned(w), x.shape)
    windows = Im2col(x.shape, kernel, case.stride, padding, x.dtype)
    if direction == "forward":
        return forward(windows, x, w, dy.shape)
    return weight_gradient(windows, x, dy, w.shape) if direction == "dw" else strided_dx(case, windows, w, dy)


def turned(w):
    return np.ascontiguousarray(w[::-1, ::-1].transpose(0, 1, 3, 2))


def forward(windows, x, w, shape):
    y, w = np.empty(shape, x.dtype), w.reshape(-1, w.shape[-1])
    rows_of_y = y.reshape(-1, shape[-1])

    def call():
        for matrix, rows in windows.blocks(x):
            np.dot(matrix, w, out=rows_of_y[rows])
        return y

    return call, unchanged


def weight_gradient(windows, x, dy, shape):
    dw, k = np.empty(shape, x.dtype), shape[-1]
    total, dy = dw.reshape(-1, k), dy.reshape(-1, k)
    part = np.empty_like(total)

    def call():
        total[...] = 0
        for matrix, rows in windows.blocks(x):
            np.dot(matrix.T, dy[rows], out=part)
            np.add(total, part, out=total)
        return dw

    return call, unchanged


def strided_dx(case, windows, w, dy):
    """The gradient of the windows is a product; each element of the kernel adds its part to the padded image."""
    padded = np.empty((case.n, case.h + 2 * case.padding, case.w + 2 * case.padding, case.c), dy.dtype)
    inside = padded[:, case.padding:case.padding + case.h, case.padding:case.padding + case.w]
    w, (oh, ow), step = w.reshape(-1, case.k), case.output, case.stride
    d = np.empty((oh * ow, len(w)), dy.dtype)
    taps = d.reshape(oh, ow, case.r, case.s, case.c)

    def call():
        padded[...] = 0
        for n in range(case.n):
            np.dot(dy[n].reshape(-1, case.k), w.T, out=d)
            for r in range(case.r):
                for s in range(case.s):
                    target = padded[n, r:r + step * (oh - 1) + 1:step, s:s + step * (ow - 1) + 1:step]
                    np.add(target, taps[:, :, r, s], out=target)
        return inside

    return call, unchanged


def dense(case, direction, arrays, variant, n_threads):
    x, w, dy = arrays
    a, b = {"forward": (x, w), "dx": (dy, w.T), "dw": (x.T, dy)}[direction]
    out = np.empty((a.shape[0], b.shape[1]), a.dtype)
    return lambda: np.dot(a, b, out=out), unchanged


def max_pool2d(case, direction, arrays, variant, n_threads):
    """The pixels of a window are one strided array each; without ties, as here, dx goes to those equal to y."""
    x, dy = arrays
    oh, ow = dy.shape[1:3]
    last = case.stride * (oh - 1) + 1, case.stride * (ow - 1) + 1
    taps = [(slice(None), slice(i, i + last[0], case.stride), slice(j, j + last[1], case.stride))
            for i in range(case.size) for j in range(case.size)]
    y, dx, equal = np.empty_like(dy), np.empty_like(x), np.empty(dy.shape, bool)
    part = np.empty_like(dy)

    def pool():
        np.copyto(y, x[taps[0]])
        for tap in taps[1:]:
            np.maximum(y, x[tap], out=y)
        return y

    def backward():
        dx[...] = 0
        for tap in taps:
            np.equal(x[tap], y, out=equal)
            np.multiply(dy, equal, out=part)
            np.add(dx[tap], part, out=dx[tap])
        return dx

    pool()  # as in training, y is there for the backward pass
    return pool if direction == "forward" else backward, unchanged


def softmax_cross_entropy(case, direction, arrays, variant, n_threads):
    logits, y = arrays
    true_class = y + np.arange(case.n) * case.k
    z, d = np.empty_like(logits), np.empty_like(logits)

    def call():
        np.subtract(logits, logits.max(axis=1, keepdims=True), out=z)
        np.exp(z, out=d)
        sums = d.sum(axis=1, keepdims=True)
        loss = (np.log(sums).sum() - z.take(true_class).sum()) / case.n
        np.divide(d, sums, out=d)
        d.reshape(-1)[true_class] -= 1
        np.multiply(d, 1 / case.n, out=d)
        return loss, d

    return call, unchanged


def unchanged(result):
    return result
