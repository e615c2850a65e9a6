"""Networks in pure NumPy, trained as an expert would write it: what the demo and the benchmarks race against.

Layout: images (N, H, W, C), kernels (R, S, C, K) and (in, out), as everywhere in nnfast. Every intermediate has its
buffer, so the size of a batch is fixed. Parameters, gradients and optimizer state are one flat array each: an update is
a few calls on blocks that stay in the L2 cache. Convolutions are matrix products over im2col windows, in blocks that
stay in cache, too. The first layer computes no dx.

A layer has ``y`` and ``dy``; ``forward(x)`` fills y, ``backward(x, dx)`` turns dy into the gradient before the
activation, in its place, and fills the parameters' gradients and dx.
"""

import math

import numpy as np

L2_FLOATS = 16384  # that an optimizer call works on: parameter, gradient, two moments, a temporary are 5 x 64 KiB
IM2COL_FLOATS = 1 << 20  # in a block of windows, for the last-level cache; each product wakes all threads of the BLAS,
IM2COL_ROWS = 1024       # so as many windows at least: dw is added up once a block
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Layer:
    """Base. A subclass sets `parameter_shapes` and calls `allocate` in its `build(input_shape, batch_size, dtype)`."""

    parameter_shapes = ()
    activation = "linear"

    def allocate(self, shape, dtype):
        self.y, self.dy = np.empty(shape, dtype), np.empty(shape, dtype)
        if self.activation != "linear":
            self.slope = np.empty(shape, bool if self.activation == "relu" else dtype)

    def activate(self, y):
        if self.activation == "relu":
            np.maximum(y, 0, out=y)
        elif self.activation == "tanh":
            np.tanh(y, out=y)

    def derive(self, y, dy, slope):
        """dy times the activation's derivative, in place."""
        if self.activation == "relu":
            np.greater(y, 0, out=slope)
        else:  # tanh' = 1 - y^2
            np.multiply(y, y, out=slope)
            np.subtract(1, slope, out=slope)
        np.multiply(dy, slope, out=dy)


class Dense(Layer):
    """y = f(x w + b); images are flattened."""

    def __init__(self, units, activation="linear"):
        self.units, self.activation = units, activation

    def build(self, input_shape, batch_size, dtype):
        self.parameter_shapes = (math.prod(input_shape), self.units), (self.units,)
        self.ones = np.ones(batch_size, dtype)
        self.allocate((batch_size, self.units), dtype)

    def forward(self, x):
        np.dot(flat(x), self.w, out=self.y)
        np.add(self.y, self.b, out=self.y)
        self.activate(self.y)

    def backward(self, x, dx):
        if self.activation != "linear":
            self.derive(self.y, self.dy, self.slope)
        np.dot(flat(x).T, self.dy, out=self.dw)
        np.dot(self.ones, self.dy, out=self.db)
        if dx is not None:
            np.dot(self.dy, self.w.T, out=flat(dx))


def flat(x):
    """Images as rows."""
    return x if x.ndim == 2 else x.reshape(len(x), -1)


class Im2col:
    """The windows of images (N, H, W, C) as rows of a matrix, (windows, R S C), a block of them at a time."""

    def __init__(self, shape, kernel, stride, padding, dtype):
        n, h, w, c = shape
        (r, s), ((top, bottom), (left, right)) = kernel, padding
        self.direct = (r, s, stride, padding) == (1, 1, 1, ((0, 0), (0, 0)))  # the images themselves
        padded = np.zeros((n, h + top + bottom, w + left + right, c), dtype)
        self.padded = padded if padded.shape != tuple(shape) else None
        self.interior = padded[:, top:top + h, left:left + w]
        oh, ow = (padded.shape[1] - r) // stride + 1, (padded.shape[2] - s) // stride + 1
        self.output_shape = n, oh, ow
        self.windows_shape = n, oh, ow, r, s, c
        sn, sh, sw, sc = padded.strides
        self.strides = sn, sh * stride, sw * stride, sh, sw, sc
        # With few channels the runs to copy are longer along the image: such a block is the transposed matrix.
        self.transposed = c * s < ow
        rows = max(IM2COL_ROWS, IM2COL_FLOATS // (r * s * c))
        samples, lines = max(1, rows // (oh * ow)), min(oh, max(1, rows // ow))
        scratch = np.empty(min(samples, n) * lines * ow * r * s * c, dtype)
        self.parts = []
        if not self.direct:
            for i in range(0, n, samples):
                for j in range(0, oh, lines):
                    self.parts.append(self.part(slice(i, min(i + samples, n)), slice(j, min(j + lines, oh)), scratch))

    def part(self, samples, lines, scratch):
        """(which windows, their block, the block as a matrix, its rows in the whole matrix)."""
        _, oh, ow, r, s, c = self.windows_shape
        shape = samples.stop - samples.start, lines.stop - lines.start, ow
        rows, columns, first = math.prod(shape), r * s * c, (samples.start * oh + lines.start) * ow
        block = scratch[:rows * columns]
        if self.transposed:
            matrix, block = block.reshape(columns, rows).T, block.reshape(r, s, c, *shape).transpose(3, 4, 5, 0, 1, 2)
        else:
            matrix, block = block.reshape(rows, columns), block.reshape(*shape, r, s, c)
        return (samples, lines), block, matrix, slice(first, first + rows)

    def blocks(self, x):
        """Yield (matrix, its rows in the whole); the next block overwrites the matrix."""
        if self.direct:
            yield x.reshape(-1, x.shape[-1]), slice(None)
            return
        if self.padded is not None:
            self.interior[...] = x
            x = self.padded
        windows = np.ndarray(self.windows_shape, x.dtype, x, 0, self.strides)
        for which, block, matrix, rows in self.parts:
            np.copyto(block, windows[which])
            yield matrix, rows


class Conv2D(Layer):
    """Convolution with stride 1. dx is a convolution, too: of dy, with the kernel turned round."""

    def __init__(self, filters, kernel_size, padding="valid", activation="linear"):
        self.filters, self.kernel_size, self.padding, self.activation = filters, kernel_size, padding, activation

    def build(self, input_shape, batch_size, dtype):
        size, channels = self.kernel_size, input_shape[-1]
        self.parameter_shapes = (size, size, channels, self.filters), (self.filters,)
        before = (size - 1) // 2 if self.padding == "same" else 0
        after = size - 1 - before if self.padding == "same" else 0
        self.windows = Im2col((batch_size, *input_shape), (size, size), 1, ((before, after),) * 2, dtype)
        self.allocate((*self.windows.output_shape, self.filters), dtype)
        turned = size - 1 - before, size - 1 - after
        self.dy_windows = Im2col(self.y.shape, (size, size), 1, (turned, turned), dtype)
        self.turned = np.empty((size, size, self.filters, channels), dtype)
        self.dw_part = np.empty((size * size * channels, self.filters), dtype)
        self.ones = np.ones(math.prod(self.windows.output_shape), dtype)

    def forward(self, x):
        w, y = self.w.reshape(-1, self.filters), self.y.reshape(-1, self.filters)
        for matrix, rows in self.windows.blocks(x):
            np.dot(matrix, w, out=y[rows])
            np.add(y[rows], self.b, out=y[rows])
            self.activate(y[rows])

    def backward(self, x, dx):
        k = self.filters
        dy, dw = self.dy.reshape(-1, k), self.dw.reshape(-1, k)
        dw[...] = 0
        for matrix, rows in self.windows.blocks(x):
            if self.activation != "linear":
                self.derive(self.y.reshape(-1, k)[rows], dy[rows], self.slope.reshape(-1, k)[rows])
            np.dot(matrix.T, dy[rows], out=self.dw_part)
            np.add(dw, self.dw_part, out=dw)
        np.dot(self.ones, dy, out=self.db)
        if dx is not None:
            self.turned[...] = self.w[::-1, ::-1].transpose(0, 1, 3, 2)
            turned, dx = self.turned.reshape(-1, dx.shape[-1]), dx.reshape(-1, dx.shape[-1])
            for matrix, rows in self.dy_windows.blocks(self.dy):
                np.dot(matrix, turned, out=dx[rows])


class Pool2D(Layer):
    """Pooling without overlap; the images must be whole windows. A window's pixels are one strided array each."""

    def __init__(self, size):
        self.size = size

    def build(self, input_shape, batch_size, dtype):
        (h, w, c), p = input_shape, self.size
        if h % p or w % p:
            raise ValueError(f"images of {h} x {w} pixels are not whole windows of {p} x {p}")
        self.taps = [(slice(None), slice(i, None, p), slice(j, None, p)) for i in range(p) for j in range(p)]
        self.allocate((batch_size, h // p, w // p, c), dtype)


class MaxPool2D(Pool2D):
    """The largest value. Of several, all get the gradient; after a relu these are zeros, which pass none on."""

    def build(self, input_shape, batch_size, dtype):
        super().build(input_shape, batch_size, dtype)
        self.equal = np.empty(self.y.shape, bool)

    def forward(self, x):
        np.copyto(self.y, x[self.taps[0]])
        for tap in self.taps[1:]:
            np.maximum(self.y, x[tap], out=self.y)

    def backward(self, x, dx):
        for tap in self.taps:
            np.equal(x[tap], self.y, out=self.equal)
            np.multiply(self.dy, self.equal, out=dx[tap])


class AvgPool2D(Pool2D):
    """The mean."""

    def forward(self, x):
        np.copyto(self.y, x[self.taps[0]])
        for tap in self.taps[1:]:
            np.add(self.y, x[tap], out=self.y)
        np.multiply(self.y, 1 / self.size**2, out=self.y)

    def backward(self, x, dx):
        np.multiply(self.dy, 1 / self.size**2, out=self.dy)
        for tap in self.taps:
            dx[tap] = self.dy


class Network:
    """Layers one after the other, with the loss and the optimizer.

    Parameters
    ----------
    input_shape : tuple of int
    layers : list of Layer
        The last one is linear; "cross_entropy" includes the softmax.
    batch_size : int
    loss : "cross_entropy" or "squared_error"
    optimizer : "adam" or "sgd"
    learning_rate : float
    dtype : float32 or float64
    """

    def __init__(self, input_shape, layers, batch_size, loss="cross_entropy", optimizer="adam", learning_rate=1e-3,
                 dtype=np.float32):
        self.layers, self.batch_size, self.loss, self.optimizer = layers, batch_size, loss, optimizer
        self.learning_rate = learning_rate
        for layer in layers:
            layer.build(input_shape, batch_size, dtype)
            input_shape = layer.y.shape[1:]
        self.downwards = list(zip(layers[:0:-1], layers[-2::-1], strict=True))  # each layer with the one below
        weighted = [layer for layer in layers if layer.parameter_shapes]
        shapes = [shape for layer in weighted for shape in layer.parameter_shapes]
        size = sum(map(math.prod, shapes))
        self.theta, self.grad = np.zeros(size, dtype), np.zeros(size, dtype)
        self.m, self.v = (np.zeros(size if optimizer == "adam" else 0, dtype) for _ in range(2))
        self.work = np.empty(L2_FLOATS, dtype)
        self.parameters, gradients = views(self.theta, shapes), views(self.grad, shapes)
        for i, layer in enumerate(weighted):
            layer.w, layer.b = self.parameters[2 * i:2 * i + 2]
            layer.dw, layer.db = gradients[2 * i:2 * i + 2]
        self.row = np.empty((batch_size, 1), dtype)
        self.picked = np.empty(batch_size, dtype)
        # The update is theta -= grad for SGD: the rate is folded into the loss gradient, which saves a pass.
        self.scale = (learning_rate if optimizer == "sgd" else 1.0) / batch_size
        self.blocks = [slice(i, min(i + L2_FLOATS, size)) for i in range(0, size, L2_FLOATS)]
        self.step_count = 0

    def load(self, parameters):
        """Start from these, [kernel, bias, kernel, bias, ...], with a new optimizer state."""
        for view, p in zip(self.parameters, parameters, strict=True):
            view[...] = p
        self.m[...] = 0
        self.v[...] = 0
        self.step_count = 0

    def prepare(self, x, y):
        """A batch as `step` takes it: x, and targets, or the flat positions of the true classes in (batch, classes)."""
        dtype = self.theta.dtype
        if len(x) != self.batch_size:
            raise ValueError(f"a batch of {len(x)}, expected {self.batch_size}")
        if self.loss == "cross_entropy":
            y = y.astype(np.intp) + np.arange(self.batch_size) * self.layers[-1].units
        else:
            y = y.astype(dtype, copy=False)
        return np.ascontiguousarray(x, dtype), y

    def step(self, x, y):
        """Train on a prepared batch and return its mean loss."""
        self.forward(x)
        loss = self.cross_entropy(y) if self.loss == "cross_entropy" else self.squared_error(y)
        self.backward(x)
        if self.optimizer == "adam":
            self.adam()
        else:
            for block in self.blocks:
                theta = self.theta[block]
                np.subtract(theta, self.grad[block], out=theta)
        return loss

    def forward(self, x):
        """The last layer's output, before the softmax."""
        for layer in self.layers:
            layer.forward(x)
            x = layer.y
        return x

    def backward(self, x):
        for layer, lower in self.downwards:
            layer.backward(lower.y, lower.dy)
        self.layers[0].backward(x, None)

    def cross_entropy(self, y):
        """Mean of log(sum(exp(z))) - z[y]; dy = (softmax(z) - onehot(y)) * scale."""
        z, d, row = self.layers[-1].y, self.layers[-1].dy, self.row
        np.max(z, axis=1, keepdims=True, out=row)
        np.subtract(z, row, out=z)
        z.take(y, out=self.picked, mode="clip")
        np.exp(z, out=d)
        np.sum(d, axis=1, keepdims=True, out=row)
        np.divide(d, row, out=d)
        d.reshape(-1)[y] -= 1
        np.multiply(d, self.scale, out=d)
        np.log(row, out=row)
        return (row.sum() - self.picked.sum()) / len(y)

    def squared_error(self, y):
        """Mean over the batch of sum((h - y)^2); dy = 2 (h - y) * scale."""
        h, d = self.layers[-1].y, self.layers[-1].dy
        np.subtract(h, y, out=d)
        flat = d.reshape(-1)
        loss = np.dot(flat, flat) / len(y)
        np.multiply(d, 2 * self.scale, out=d)
        return loss

    def adam(self):
        """Adam with m and v stored over (1 - beta): two multiplications an element less, the same steps."""
        self.step_count += 1
        correction1, correction2 = 1 - BETA1**self.step_count, 1 - BETA2**self.step_count
        root = ((1 - BETA2) / correction2) ** 0.5
        rate = self.learning_rate * (1 - BETA1) / correction1 / root
        epsilon = EPSILON / root
        for block in self.blocks:
            theta, grad, m, v = self.theta[block], self.grad[block], self.m[block], self.v[block]
            t = self.work[:len(theta)]
            np.multiply(m, BETA1, out=m)
            np.add(m, grad, out=m)
            np.multiply(v, BETA2, out=v)
            np.multiply(grad, grad, out=t)
            np.add(v, t, out=v)
            np.sqrt(v, out=t)
            np.add(t, epsilon, out=t)
            np.divide(m, t, out=t)
            np.multiply(t, rate, out=t)
            np.subtract(theta, t, out=theta)


def views(flat, shapes):
    """Arrays of these shapes that follow one another in `flat`."""
    found, start = [], 0
    for shape in shapes:
        size = math.prod(shape)
        found.append(flat[start:start + size].reshape(shape))
        start += size
    return found
