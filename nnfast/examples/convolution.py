"""Convolution by hand: one small kernel slides over a signal or an image.

    layers, cross-correlation:   y_i  = sum_s x_{i+s} w_s         y_ij = sum_rs x_{i+r,j+s} w_rs
    mathematics, convolution:    (f * g)_i = sum_a f_a g_{i-a}    = (g * f)_i: the kernel runs backwards
    max-pooling:                 y_ij = the largest x in the window

Of several channels, as in a colour image, the results are added.

Source: Goodfellow, Bengio, Courville, Deep Learning (2016), eq. 9.3 to 9.6 and section 9.3.
"""

import numpy as np

from nnfast import functional as F

SIGNAL, KERNEL = np.array([1.0, 0, -1, 2, 1, 2]), np.array([1.0, 0, 1])
IMAGE = np.array([[1.0, 0, -1, 2], [2, -1, 2, 1], [-1, 2, 0, 1], [1, -1, 1, 1]])
DIAGONAL = np.array([[1.0, 0], [0, 1]])
POOLED = np.array([[3.5, 9.5, 1.7, 6.2], [1.5, 2.5, 1.4, 3.2], [7.5, 6.5, 1.5, 5.2], [2.5, 10, 2.4, 0.1]])


def conv(x, w):
    """conv1d or conv2d of one sample with one channel."""
    function = F.conv1d if x.ndim == 1 else F.conv2d
    return function(x[None, ..., None], w[..., None, None])[0, ..., 0]


def main(figure=None):
    print(f"{SIGNAL} with {KERNEL}: {conv(SIGNAL, KERNEL)}")
    print(f"image\n{IMAGE}\nwith\n{DIAGONAL}:\n{conv(IMAGE, DIAGONAL)}")
    print(f"max-pooling 2 x 2 of\n{POOLED}:\n{F.max_pool2d(POOLED[None, ..., None], 2)[0, ..., 0]}")

    # Convolution: every overlap counts ("full"), and the kernel is flipped.
    box = np.repeat([0.0, 1.0, 0.0], 20)
    triangle = F.conv_toeplitz(box, box.shape, "full", flip=True) @ box
    print(f"full and flipped against np.convolve: {np.abs(triangle - np.convolve(box, box)).max():.0e}")
    swapped = F.conv_toeplitz(SIGNAL, KERNEL.shape, "full", flip=True) @ KERNEL
    print(f"f * g = g * f: {swapped} {F.conv_toeplitz(KERNEL, SIGNAL.shape, 'full', flip=True) @ SIGNAL}")

    rng = np.random.default_rng(0)
    rgb, w = rng.standard_normal((1, 6, 6, 3)), rng.standard_normal((3, 3, 3, 1))
    one_by_one = sum(conv(rgb[0, ..., c].copy(), w[..., c, 0].copy()) for c in range(3))
    print(f"RGB, channel by channel and added: {np.abs(F.conv2d(rgb, w)[0, ..., 0] - one_by_one).max():.0e}")

    if figure is not None:
        left, right = figure.subplots(1, 2)
        left.step(np.arange(len(box)), box, where="mid", label="f: a box")
        left.plot(triangle / 20, label="f * f / 20: a triangle")
        left.set(xlabel="sample", ylabel="value", title="two boxes, convolved")
        left.legend()
        right.plot(SIGNAL, "o-", label="signal")
        right.plot(np.arange(4) + 1, conv(SIGNAL, KERNEL), "s--", label="with [1, 0, 1]")
        right.set(xlabel="sample", ylabel="value", title="cross-correlation, centred under the kernel")
        right.legend()
