"""The single operations that ``conv`` times: real layer shapes and seeded random ones, their arrays, their checks.

Layouts as in nnfast: x (N, H, W, C), w (R, S, C / groups, K), y and dy (N, OH, OW, K); dense x (N, C), w (C, K). Values
are standard normal. A case has a `kind` (the function's name in ``<name>_ops.py``), `directions`, the `flops` of one,
`arrays()`, and `difference(direction, arrays, result)`: a few elements, or all, against float64 by definition, divided
by the square root of the number of terms.
"""

import functools
import math
import random
from dataclasses import dataclass

import numpy as np


def normal(*shapes):
    rng = np.random.default_rng(20240229)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


@dataclass(frozen=True)
class Conv:
    """Convolution and its gradients; the same padding on all sides."""

    name: str
    n: int
    h: int
    w: int
    c: int
    k: int
    r: int
    s: int
    stride: int
    padding: int
    groups: int = 1

    kind = "conv2d"
    directions = ("forward", "dx", "dw")

    @property
    def output(self):
        return tuple((size + 2 * self.padding - kernel) // self.stride + 1
                     for size, kernel in ((self.h, self.r), (self.w, self.s)))

    @property
    def flops(self):
        return 2 * self.n * math.prod(self.output) * self.k * self.r * self.s * self.c // self.groups

    def arrays(self):
        """x, w, dy."""
        return normal((self.n, self.h, self.w, self.c), (self.r, self.s, self.c // self.groups, self.k),
                      (self.n, *self.output, self.k))

    def difference(self, direction, arrays, result):
        """At the corners and some other places, over all channels of each."""
        x, w, dy = arrays
        expected_shape = {"forward": dy, "dx": x, "dw": w}[direction].shape
        if result.shape != expected_shape:
            raise AssertionError(f"shape {result.shape}, expected {expected_shape}")
        padding = (0, 0), (self.padding,) * 2, (self.padding,) * 2, (0, 0)
        x = np.pad(x, padding)
        rng = np.random.default_rng(0)
        first, last = np.zeros(3, int), np.array(result.shape[:3]) - 1
        places = [first, last, *(rng.integers(0, last + 1) for _ in range(6))]
        terms = {"forward": w[..., 0].size, "dx": w[..., 0, :].size // self.groups, "dw": dy[..., 0].size}[direction]
        expect = {"forward": self.forward_at, "dx": self.dx_at, "dw": self.dw_at}[direction]
        worst = 0.0
        for place in places:
            error = result[tuple(place)] - expect(place, x, w.astype(np.float64), dy)
            worst = max(worst, float(np.abs(error).max()))
        return worst / math.sqrt(terms)

    def grouped(self, w):
        """(R, S, C / groups, groups, K / groups)."""
        return w.reshape(*w.shape[:3], self.groups, -1)

    def forward_at(self, place, x, w, dy):
        n, i, j = place
        top, left = i * self.stride, j * self.stride
        window = x[n, top:top + self.r, left:left + self.s].reshape(self.r, self.s, self.groups, -1)
        return np.einsum("rsgc,rscgk->gk", window, self.grouped(w)).ravel()

    def dx_at(self, place, x, w, dy):
        n, i, j = place
        total = np.zeros((self.groups, self.c // self.groups))
        for r in range(self.r):
            for s in range(self.s):
                top, left = i + self.padding - r, j + self.padding - s
                row, column = top // self.stride, left // self.stride
                on_grid = top % self.stride == 0 and left % self.stride == 0
                if on_grid and 0 <= row < self.output[0] and 0 <= column < self.output[1]:
                    total += np.einsum("gk,cgk->gc", dy[n, row, column].reshape(self.groups, -1), self.grouped(w)[r, s])
        return total.ravel()

    def dw_at(self, place, x, w, dy):
        r, s, c = place
        rows, columns = ((size - 1) * self.stride + 1 for size in self.output)
        seen = x[:, r:r + rows:self.stride, s:s + columns:self.stride, c::self.c // self.groups]  # of each group, c
        dy = dy.reshape(*dy.shape[:3], self.groups, -1)
        return np.einsum("nijg,nijgk->gk", seen, dy, dtype=np.float64, optimize=True).ravel()


@dataclass(frozen=True)
class MaxPool:
    """Max-pooling without padding, and its gradient."""

    name: str
    n: int
    h: int
    w: int
    c: int
    size: int
    stride: int

    kind = "max_pool2d"
    directions = ("forward", "dx")
    flops = 0

    def windows(self, x):
        """(N, OH, OW, C, size, size), a view."""
        windows = np.lib.stride_tricks.sliding_window_view(x, (self.size, self.size), axis=(1, 2))
        return windows[:, ::self.stride, ::self.stride]

    def arrays(self):
        """x, dy."""
        (x,) = normal((self.n, self.h, self.w, self.c))
        return x, *normal(self.windows(x).shape[:4])

    def difference(self, direction, arrays, result):
        x, dy = arrays
        windows = self.windows(x)
        if direction == "forward":
            return float(np.abs(result - windows.max(axis=(4, 5))).max())
        expected = np.zeros(x.shape)
        largest = windows.reshape(*dy.shape, -1).argmax(axis=-1)
        n, i, j, c = np.indices(dy.shape, sparse=True)
        at = n, i * self.stride + largest // self.size, j * self.stride + largest % self.size, c
        np.add.at(expected, at, dy)
        return float(np.abs(result - expected).max())


@dataclass(frozen=True)
class Dense:
    """Product with a weight matrix, and its gradients."""

    name: str
    n: int
    c: int
    k: int

    kind = "dense"
    directions = ("forward", "dx", "dw")

    @property
    def flops(self):
        return 2 * self.n * self.c * self.k

    def arrays(self):
        """x, w, dy."""
        return normal((self.n, self.c), (self.c, self.k), (self.n, self.k))

    def difference(self, direction, arrays, result):
        x, w, dy = arrays
        a, b = {"forward": (x, w), "dx": (dy, w.T), "dw": (x.T, dy)}[direction]
        rows = np.linspace(0, len(a) - 1, 8).astype(int)
        return float(np.abs(result[rows] - a[rows].astype(np.float64) @ b).max() / math.sqrt(a.shape[1]))


@dataclass(frozen=True)
class CrossEntropy:
    """Mean cross-entropy of a softmax together with its gradient."""

    name: str
    n: int
    k: int

    kind = "softmax_cross_entropy"
    directions = ("both",)
    flops = 0

    def arrays(self):
        """logits, labels (int64)."""
        return *normal((self.n, self.k)), np.random.default_rng(1).integers(0, self.k, self.n)

    def difference(self, direction, arrays, result):
        logits, y = arrays
        loss, dlogits = result
        e = np.exp(logits.astype(np.float64))
        p = e / e.sum(axis=1, keepdims=True)
        expected_loss = -np.log(p[np.arange(self.n), y]).mean()
        p[np.arange(self.n), y] -= 1
        return max(abs(float(loss) - expected_loss), float(np.abs(dlogits * self.n - p).max()))


@functools.lru_cache(maxsize=1)
def arrays_of(case):
    """The case's arrays, kept for its other directions."""
    return case.arrays()


def square(name, n, size, c, k, kernel, stride=1, padding=0, groups=1):
    return Conv(name, n, size, size, c, k, kernel, kernel, stride, padding, groups)


def random_cases(count=20):
    """Kernels 1 to 7, stride 1 or 2, any padding below the kernel, 1 to 256 channels; 0.1 to 2 GFLOP.

    `random.Random` gives the same numbers in every version of Python.
    """
    generator, cases = random.Random(20240229), []
    while len(cases) < count:
        draw = generator.randint
        r, s, stride = draw(1, 7), draw(1, 7), draw(1, 2)
        padding = draw(0, min(r, s) - 1)
        case = Conv(
            f"random {len(cases) + 1}", draw(1, 32), draw(7, 64), draw(7, 64),
            round(2 ** generator.uniform(0, 8)), round(2 ** generator.uniform(0, 8)), r, s, stride, padding,
        )
        if 1e8 <= case.flops <= 2e9:
            cases.append(case)
    return cases


CASES = {
    case.name: case
    for case in (
        square("LeNet conv1", 64, 28, 1, 6, 5, padding=2),
        square("LeNet conv2", 64, 14, 6, 16, 5),
        square("MNIST CNN conv1", 64, 28, 1, 32, 3),
        square("MNIST CNN conv2", 64, 26, 32, 64, 3),
        square("CIFAR VGG conv1_1", 64, 32, 3, 32, 3, padding=1),
        square("CIFAR VGG conv1_2", 64, 32, 32, 32, 3, padding=1),
        square("CIFAR VGG conv2_1", 64, 16, 32, 64, 3, padding=1),
        square("CIFAR VGG conv2_2", 64, 16, 64, 64, 3, padding=1),
        square("CIFAR VGG conv3_1", 64, 8, 64, 128, 3, padding=1),
        square("CIFAR VGG conv3_2", 64, 8, 128, 128, 3, padding=1),
        square("VGG-16 conv1_1", 4, 224, 3, 64, 3, padding=1),
        square("VGG-16 conv1_2", 4, 224, 64, 64, 3, padding=1),
        square("VGG-16 conv2_1", 4, 112, 64, 128, 3, padding=1),
        square("VGG-16 conv2_2", 4, 112, 128, 128, 3, padding=1),
        square("VGG-16 conv3_1", 4, 56, 128, 256, 3, padding=1),
        square("VGG-16 conv3_2", 4, 56, 256, 256, 3, padding=1),
        square("VGG-16 conv4_1", 4, 28, 256, 512, 3, padding=1),
        square("VGG-16 conv4_2", 4, 28, 512, 512, 3, padding=1),
        square("VGG-16 conv5_1", 4, 14, 512, 512, 3, padding=1),
        square("ResNet-50 7x7/2", 4, 224, 3, 64, 7, stride=2, padding=3),
        square("ResNet-50 3x3 64", 4, 56, 64, 64, 3, padding=1),
        square("ResNet-50 3x3 512", 4, 7, 512, 512, 3, padding=1),
        square("ResNet-50 3x3/2 128", 4, 56, 128, 128, 3, stride=2, padding=1),
        square("ResNet-50 3x3/2 256", 4, 28, 256, 256, 3, stride=2, padding=1),
        square("ResNet-50 3x3/2 512", 4, 14, 512, 512, 3, stride=2, padding=1),
        square("ResNet-50 1x1 64-64", 4, 56, 64, 64, 1),
        square("ResNet-50 1x1 64-256", 4, 56, 64, 256, 1),
        square("ResNet-50 1x1 256-64", 4, 56, 256, 64, 1),
        square("ResNet-50 1x1 512-128", 4, 28, 512, 128, 1),
        square("ResNet-50 1x1 1024-256", 4, 14, 1024, 256, 1),
        square("ResNet-50 1x1 512-2048", 4, 7, 512, 2048, 1),
        square("ResNet-50 1x1/2 256-512", 4, 56, 256, 512, 1, stride=2),
        square("MobileNet dw 112 32", 4, 112, 32, 32, 3, padding=1, groups=32),
        square("MobileNet dw/2 112 64", 4, 112, 64, 64, 3, stride=2, padding=1, groups=64),
        square("MobileNet dw 56 128", 4, 56, 128, 128, 3, padding=1, groups=128),
        square("MobileNet dw/2 28 256", 4, 28, 256, 256, 3, stride=2, padding=1, groups=256),
        square("MobileNet dw 14 512", 4, 14, 512, 512, 3, padding=1, groups=512),
        square("MobileNetV3 dw5 28 120", 4, 28, 120, 120, 5, padding=2, groups=120),
        square("MobileNetV3 dw5/2 14 672", 4, 14, 672, 672, 5, stride=2, padding=2, groups=672),
        square("MobileNetV3 dw5 7 960", 4, 7, 960, 960, 5, padding=2, groups=960),
        square("AlexNet 5x5 64-192", 4, 27, 64, 192, 5, padding=2),
        square("GoogLeNet 5x5 16-32", 16, 28, 16, 32, 5, padding=2),
        square("DCGAN 4x4/2 64-128", 16, 32, 64, 128, 4, stride=2, padding=1),
        Conv("signal 3 64-64", 32, 1, 256, 64, 64, 1, 3, 1, 0),
        Conv("signal 5 32-64", 32, 1, 500, 32, 64, 1, 5, 1, 0),
        Conv("signal 7 64-128", 32, 1, 250, 64, 128, 1, 7, 1, 0),
        Conv("signal 9 32-32", 32, 1, 500, 32, 32, 1, 9, 1, 0),
        square("odd 3x3 6-16", 64, 28, 6, 16, 3, padding=1),
        square("odd 5x5 20-50", 64, 12, 20, 50, 5),
        square("odd 3x3 24-40", 32, 28, 24, 40, 3, padding=1),
        *random_cases(),
        MaxPool("max_pool 2x2 MNIST CNN", 64, 24, 24, 64, 2, 2),
        MaxPool("max_pool 2x2 CIFAR VGG", 64, 32, 32, 32, 2, 2),
        MaxPool("max_pool 2x2 VGG-16", 4, 224, 224, 64, 2, 2),
        MaxPool("max_pool 3x3/2 ResNet-50", 4, 112, 112, 64, 3, 2),
        Dense("dense LeNet 400-120", 64, 400, 120),
        Dense("dense MNIST CNN 9216-128", 64, 9216, 128),
        Dense("dense 784-512", 128, 784, 512),
        Dense("dense VGG-16 4096-4096", 4, 4096, 4096),
        Dense("dense 1024-1024", 256, 1024, 1024),
        CrossEntropy("cross_entropy 64x10", 64, 10),
        CrossEntropy("cross_entropy 256x1000", 256, 1000),
        CrossEntropy("cross_entropy 4096x10", 4096, 10),
    )
}
