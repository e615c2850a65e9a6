"""A convolution is a matrix product, and its gradients are convolutions, too.

    y = T x,   T the Toeplitz matrix of the kernel: each row the kernel, one place further on
    dx = T' dy,   dw_rs = sum over the whole image: sum_ij dy_ij x_{i+r,j+s},
    dx_ab = sum over the windows that hold the pixel: sum_rs dy_{a-r,b-s} w_rs

Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 9.1 (Toeplitz) and eq. 9.11 and 9.13.
"""

import numpy as np

from nnfast import functional as F
from nnfast.examples.convolution import IMAGE


def kernel_gradient(x, dy, shape):
    """dw: each weight met every pixel it slid over."""
    return np.array([[(dy * x[r:r + dy.shape[0], s:s + dy.shape[1]]).sum() for s in range(shape[1])]
                     for r in range(shape[0])])


def input_gradient(w, dy, shape):
    """dx: each window hands its dy back to the pixels it saw, times the kernel."""
    dx = np.zeros(shape)
    for (i, j), value in np.ndenumerate(dy):
        dx[i:i + w.shape[0], j:j + w.shape[1]] += value * w
    return dx


def main(figure=None):
    w = np.array([[1.0, 2], [3, 4]])
    x = IMAGE
    for padding in ("valid", "same", "full"):
        matrix = F.conv_toeplitz(w, x.shape, padding)
        # Every pixel of the frame "full" adds is outside of the image: zeros around it, then the plain convolution.
        plain = F.conv2d(x[None, ..., None], w[..., None, None], padding=1 if padding == "full" else padding)
        print(f"{padding}: T has shape {matrix.shape}, {np.mean(matrix == 0):.0%} zeros; T x against conv2d "
              f"{np.abs(matrix @ x.ravel() - plain.ravel()).max():.0e}")

    matrix = F.conv_toeplitz(w, x.shape)
    dy = np.array([[1.0, -1, 2], [0, 1, 1], [3, 0, -2]])
    dx, dw, _ = F.conv2d_backward(x[None, ..., None], w[..., None, None], dy[None, ..., None])
    dx, dw = dx[0, ..., 0], dw[..., 0, 0]
    print(f"dx = T' dy: {np.abs(matrix.T @ dy.ravel() - dx.ravel()).max():.0e}")
    print(f"dx as the sum over windows: {np.abs(input_gradient(w, dy, x.shape) - dx).max():.0e}")
    print(f"dw as the sum over the image: {np.abs(kernel_gradient(x, dy, w.shape) - dw).max():.0e}, dw =\n{dw}")

    if figure is not None:
        for ax, padding in zip(figure.subplots(1, 3), ("valid", "same", "full")):
            shown = ax.imshow(F.conv_toeplitz(w, x.shape, padding), cmap="Blues")
            ax.set(xlabel="pixel", ylabel="output", title=f"T, {padding}", xticks=range(0, 16, 4))
            ax.set_yticks(range(0, shown.get_array().shape[0], 4))
        figure.colorbar(shown, ax=figure.axes, label="weight", shrink=0.7)
