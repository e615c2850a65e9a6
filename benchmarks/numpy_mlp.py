"""Pure NumPy, written as an expert would: the baseline that is always there.

One flat array each for parameters, gradients and optimizer state, so that an update is a few whole-array calls, in
blocks that stay in the L2 cache; every intermediate has a preallocated ``out=``; no dX for the first layer;
batches are contiguous slices, not shuffled. The float64 variant is the reference for everybody's loss curve.
"""

import numpy as np

VARIANTS = {"": "numpy"}

BLOCK = 16384  # elements an optimizer call works on: parameter, gradient, two moments and a temporary fit 512 KiB
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def versions():
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"numpy {np.__version__} ({blas['name']} {blas['version']})"


class Trainer:
    """Forward, backward and update of an MLP; ``h[i]`` is layer i's output, ``d[i]`` the loss gradient before it."""

    def __init__(self, problem, variant, n_threads, dtype=np.float32):
        self.problem, self.workload = problem, problem.workload
        self.choice = ""
        batch_size, widths = self.workload.batch_size, self.workload.widths
        size = sum(p.size for p in problem.parameters)
        self.theta, self.grad, self.work = (np.zeros(size, dtype) for _ in range(3))
        self.m, self.v = (np.zeros(size if self.workload.optimizer == "adam" else 0, dtype) for _ in range(2))
        theta_views, grad_views, start = [], [], 0
        for p in problem.parameters:
            theta_views.append(self.theta[start : start + p.size].reshape(p.shape))
            grad_views.append(self.grad[start : start + p.size].reshape(p.shape))
            start += p.size
        self.w, self.b = theta_views[0::2], theta_views[1::2]
        self.dw, self.db = grad_views[0::2], grad_views[1::2]
        self.theta_views = theta_views
        self.h = [np.empty((batch_size, width), dtype) for width in widths[1:]]
        self.d = [np.empty_like(h) for h in self.h]
        self.slope = [np.empty_like(h, dtype=bool if self.workload.activation == "relu" else dtype) for h in self.h]
        self.ones = np.ones(batch_size, dtype)
        self.row = np.empty((batch_size, 1), dtype)
        self.picked = np.empty(batch_size, dtype)
        # The update is theta -= grad for SGD: the rate is folded into the loss gradient, which saves a pass.
        rate = self.workload.learning_rate if self.workload.optimizer == "sgd" else 1.0
        self.scale = rate / batch_size
        self.blocks = [slice(i, min(i + BLOCK, size)) for i in range(0, size, BLOCK)]
        self.batches = []
        for x, y in problem.batches():
            if self.workload.loss == "cross_entropy":  # flat positions of the true classes in (batch, classes)
                y = y.astype(np.intp) + np.arange(batch_size) * widths[-1]
            self.batches.append((x.astype(dtype, copy=False), y if y.dtype == np.intp else y.astype(dtype, copy=False)))

    def reset(self):
        for view, p in zip(self.theta_views, self.problem.parameters):
            view[...] = p
        self.m[...] = 0
        self.v[...] = 0
        self.step_count = 0

    def losses(self, n_steps):
        return [float(self.step(x, y)) for x, y in self.batches[:n_steps]]

    def epochs(self, count):
        for _ in range(count):
            total = 0.0
            for x, y in self.batches:
                total += self.step(x, y)

    def step(self, x, y):
        self.forward(x)
        loss = self.cross_entropy(y) if self.workload.loss == "cross_entropy" else self.squared_error(y)
        self.backward(x)
        if self.workload.optimizer == "adam":
            self.adam()
        else:
            for block in self.blocks:
                theta = self.theta[block]
                np.subtract(theta, self.grad[block], out=theta)
        return loss

    def forward(self, x):
        last = len(self.w) - 1
        for i, (w, b, h) in enumerate(zip(self.w, self.b, self.h)):
            np.dot(x, w, out=h)
            np.add(h, b, out=h)
            if i < last:
                if self.workload.activation == "relu":
                    np.maximum(h, 0, out=h)
                else:
                    np.tanh(h, out=h)
            x = h

    def cross_entropy(self, y):
        """Mean of log(sum(exp(z))) - z[y]; d = (softmax(z) - onehot(y)) * scale."""
        z, d, row = self.h[-1], self.d[-1], self.row
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
        """Mean over the batch of sum((h - y)**2); d = 2 (h - y) * scale."""
        h, d = self.h[-1], self.d[-1]
        np.subtract(h, y, out=d)
        flat = d.reshape(-1)
        loss = np.dot(flat, flat) / len(y)
        np.multiply(d, 2 * self.scale, out=d)
        return loss

    def backward(self, x):
        for i in range(len(self.w) - 1, -1, -1):
            below, d = self.h[i - 1] if i else x, self.d[i]
            np.dot(below.T, d, out=self.dw[i])
            np.dot(self.ones, d, out=self.db[i])
            if i:
                d_below, slope = self.d[i - 1], self.slope[i - 1]
                np.dot(d, self.w[i].T, out=d_below)
                if self.workload.activation == "relu":
                    np.greater(below, 0, out=slope)
                else:  # tanh' = 1 - h**2
                    np.multiply(below, below, out=slope)
                    np.subtract(1, slope, out=slope)
                np.multiply(d_below, slope, out=d_below)

    def adam(self):
        """Adam with m and v stored over (1 - beta): two multiplications an element less, the same steps."""
        self.step_count += 1
        correction1, correction2 = 1 - BETA1**self.step_count, 1 - BETA2**self.step_count
        root = ((1 - BETA2) / correction2) ** 0.5
        rate = self.workload.learning_rate * (1 - BETA1) / correction1 / root
        epsilon = EPSILON / root
        for block in self.blocks:
            theta, grad, m, v, t = self.theta[block], self.grad[block], self.m[block], self.v[block], self.work[block]
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


def reference_losses(problem, n_steps):
    """The loss curve in float64."""
    trainer = Trainer(problem, "", 1, dtype=np.float64)
    trainer.reset()
    return trainer.losses(n_steps)


def predict(problem, n_threads):
    """A call that predicts one row, softmax probabilities included."""
    trainer = Trainer(problem, "", n_threads)
    trainer.reset()
    x = problem.x[:1]

    def call():
        trainer.forward(x)
        z = trainer.h[-1]
        np.exp(z - z.max(), out=z)
        return z / z.sum()

    return call


def gemm(a, b, out, n_threads):
    return lambda: np.matmul(a, b, out=out)
