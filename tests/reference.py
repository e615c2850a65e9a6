"""Every operation of nnfast, forward and backward, in a few lines of float64 NumPy: the executable specification.

Arrays are x (B, C), w (C, K), b (K,), y (B, K); images are x (N, H, W, C) with kernels w (R, S, C / groups, K), signals
images of one row. Gradients are dx, dw, db, dy. A loss is a pair (one value a sample, its
gradient with respect to the prediction, not divided by B). `test_reference.py` checks every gradient by central
differences; everything else in the suite is compared with this file.
"""
import math

import numpy as np

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


# --- dense -----------------------------------------------------------------------------------------------------------

def dense(x, w, b=None):
    return x @ w if b is None else x @ w + b


def dense_backward(x, w, dy):
    return dy @ w.T, x.T @ dy, dy.sum(axis=0)


# --- activations -----------------------------------------------------------------------------------------------------

def sigmoid(z):
    e = np.exp(-np.abs(z))                          # never overflows
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def normal_cdf(z):
    return 0.5 * _erfc(-z / math.sqrt(2.0))         # erfc, not 1 + erf: keeps its digits in the left tail


def normal_pdf(z):
    return np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


SELU_SCALE, SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848


def activation(name, z, alpha=0.0):
    """y = act(z). alpha: the slope of leaky_relu below zero, the depth of elu."""
    return {
        "linear": lambda: z,
        "sigmoid": lambda: sigmoid(z),
        "tanh": lambda: np.tanh(z),
        "relu": lambda: np.maximum(z, 0.0),
        "leaky_relu": lambda: np.where(z > 0, z, alpha * z),
        "elu": lambda: np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0))),
        "gelu": lambda: z * normal_cdf(z),
        "silu": lambda: z * sigmoid(z),
        "softplus": lambda: np.logaddexp(0.0, z),
        "relu6": lambda: np.clip(z, 0.0, 6.0),
        "hard_sigmoid": lambda: np.clip(z + 3.0, 0.0, 6.0) / 6.0,
        "hard_swish": lambda: z * np.clip(z + 3.0, 0.0, 6.0) / 6.0,
        "selu": lambda: SELU_SCALE * activation("elu", z, SELU_ALPHA),
        "mish": lambda: z * np.tanh(np.logaddexp(0.0, z)),
        "softmax": lambda: softmax(z),
    }[name]()


def activation_backward(name, z, dy, alpha=0.0):
    """dz = dy * act'(z); for softmax the product with its Jacobian. At the kinks of the relus the left slope counts, at
    those of relu6 and of the hard functions that of the outer side."""
    s, w = sigmoid(z), np.logaddexp(0.0, z)
    return {
        "linear": lambda: dy,
        "sigmoid": lambda: dy * s * (1.0 - s),
        "tanh": lambda: dy * (1.0 - np.tanh(z) ** 2),
        "relu": lambda: dy * (z > 0),
        "leaky_relu": lambda: dy * np.where(z > 0, 1.0, alpha),
        "elu": lambda: dy * np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0.0))),
        "gelu": lambda: dy * (normal_cdf(z) + z * normal_pdf(z)),
        "silu": lambda: dy * s * (1.0 + z * (1.0 - s)),
        "softplus": lambda: dy * s,
        "relu6": lambda: dy * ((z > 0) & (z < 6)),
        "hard_sigmoid": lambda: dy * (np.abs(z) < 3) / 6.0,
        "hard_swish": lambda: dy * np.where(np.abs(z) < 3, z / 3.0 + 0.5, z >= 3),
        "selu": lambda: SELU_SCALE * activation_backward("elu", z, dy, SELU_ALPHA),
        # 1 - tanh(w)^2 without cancellation
        "mish": lambda: dy * (np.tanh(w) + z * s * 4.0 * sigmoid(2.0 * w) * sigmoid(-2.0 * w)),
        "softmax": lambda: softmax_backward(softmax(z), dy),
    }[name]()


def softmax_backward(y, dy):
    return (dy - (dy * y).sum(axis=-1, keepdims=True)) * y


# --- windows over images: stride and dilation are (h, w), padding ((top, bottom), (left, right)) ----------------------

ONE, NONE = (1, 1), ((0, 0), (0, 0))


def windows(x, kernel, stride, padding, dilation=ONE, fill=0.0):
    """Every window of x as (N, OH, OW, R, S, C), a copy; `fill` stands around the image."""
    x = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=fill)
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    view = np.lib.stride_tricks.sliding_window_view(x, extent, axis=(1, 2))        # (N, ., ., C, extent)
    view = view[:, ::stride[0], ::stride[1], :, ::dilation[0], ::dilation[1]]
    return view.transpose(0, 1, 2, 4, 5, 3).copy()


def scatter(parts, shape, stride, padding, dilation=ONE):
    """The transpose of `windows`: adds parts (N, OH, OW, R, S, C) up where they came from, an x of `shape`."""
    (top, bottom), (left, right) = padding
    dx = np.zeros((shape[0], shape[1] + top + bottom, shape[2] + left + right, shape[3]))
    for r, s in np.ndindex(parts.shape[3:5]):
        rows, columns = [slice(at * d, at * d + (n - 1) * step + 1, step)
                         for at, d, n, step in zip((r, s), dilation, parts.shape[1:3], stride)]
        dx[:, rows, columns] += parts[:, :, :, r, s]
    return dx[:, top:top + shape[1], left:left + shape[2]]


def conv2d(x, w, b=None, stride=ONE, padding=NONE, dilation=ONE, groups=1):
    v = windows(x, w.shape[:2], stride, padding, dilation)
    v, w = v.reshape(*v.shape[:5], groups, -1), w.reshape(*w.shape[:3], groups, -1)
    y = np.einsum("nijrsgc,rscgk->nijgk", v, w).reshape(*v.shape[:3], -1)
    return y if b is None else y + b


def conv2d_backward(x, w, dy, stride=ONE, padding=NONE, dilation=ONE, groups=1):
    v = windows(x, w.shape[:2], stride, padding, dilation)
    shape, v, g = v.shape, v.reshape(*v.shape[:5], groups, -1), dy.reshape(*dy.shape[:3], groups, -1)
    dw = np.einsum("nijrsgc,nijgk->rscgk", v, g).reshape(w.shape)
    dv = np.einsum("nijgk,rscgk->nijrsgc", g, w.reshape(*w.shape[:3], groups, -1)).reshape(shape)
    return scatter(dv, x.shape, stride, padding, dilation), dw, dy.sum(axis=(0, 1, 2))


def conv2d_transpose(x, w, size, b=None, stride=ONE, padding=NONE, dilation=ONE):
    """Every pixel of x (N, H, W, C) adds its sums with w (R, S, K, C) to images of this size."""
    parts = np.einsum("nijk,rsck->nijrsc", x, w)
    y = scatter(parts, (len(x), *size, w.shape[2]), stride, padding, dilation)
    return y if b is None else y + b


def conv2d_transpose_backward(x, w, dy, stride=ONE, padding=NONE, dilation=ONE):
    v = windows(dy, w.shape[:2], stride, padding, dilation)
    return np.einsum("nijrsc,rsck->nijk", v, w), np.einsum("nijrsc,nijk->rsck", v, x), dy.sum(axis=(0, 1, 2))


def upsample2d(x, size):
    return np.kron(x, np.ones((1, *size, 1)))


def upsample2d_backward(dy, size):
    (h, w), (n, H, W, c) = size, dy.shape
    return dy.reshape(n, H // h, h, W // w, w, c).sum(axis=(2, 4))


def max_pool2d(x, kernel, stride, padding=NONE):
    return windows(x, kernel, stride, padding, fill=-np.inf).max(axis=(3, 4))       # nan wins


def max_pool2d_backward(x, dy, kernel, stride, padding=NONE):
    """To the first maximum row by row, or the first nan; never to the padding, not even where all is -inf."""
    v = windows(x, kernel, stride, padding, fill=-np.inf)
    inside = windows(np.ones_like(x), kernel, stride, padding) == 1
    top = v.max(axis=(3, 4), keepdims=True)
    equal = (((v == top) | (np.isnan(v) & np.isnan(top))) & inside).reshape(*v.shape[:3], -1, v.shape[5])
    first = np.arange(equal.shape[3])[:, None] == equal.argmax(axis=3)[:, :, :, None]
    return scatter((first * dy[:, :, :, None]).reshape(v.shape), x.shape, stride, padding)


def window_counts(shape, kernel, stride, padding, include_pad):
    """How many elements each window averages, (1, OH, OW, 1)."""
    ones = np.ones((1, *shape[1:3], 1))
    return windows(ones, kernel, stride, padding, fill=1.0 if include_pad else 0.0).sum(axis=(3, 4))


def avg_pool2d(x, kernel, stride, padding=NONE, include_pad=False):
    total = windows(x, kernel, stride, padding).sum(axis=(3, 4))
    return total / window_counts(x.shape, kernel, stride, padding, include_pad)


def avg_pool2d_backward(dy, x_shape, kernel, stride, padding=NONE, include_pad=False):
    share = dy / window_counts(x_shape, kernel, stride, padding, include_pad)
    parts = np.broadcast_to(share[:, :, :, None, None], (*dy.shape[:3], *kernel, dy.shape[3]))
    return scatter(parts, x_shape, stride, padding)


# --- products of samples, of which one may be repeated along axes ----------------------------------------------------

def factors(a, b):
    """Both with the axes of their product (N, ..., C)."""
    axes = max(a.ndim, b.ndim)
    return [x.reshape(len(x), *(1,) * (axes - x.ndim), *x.shape[1:]) for x in (a, b)]


def multiply(a, b):
    a, b = factors(a, b)
    return a * b


def multiply_backward(a, b, dy):
    """(da, db): of a factor that is repeated the sums over all its places."""
    gradients, wide = [], factors(a, b)
    for given, x, other in zip((a, b), wide, wide[::-1]):
        dx = dy * other
        repeated = tuple(i for i, n in enumerate(x.shape) if n < dx.shape[i])
        gradients.append(dx.sum(axis=repeated).reshape(given.shape))
    return gradients


# --- batch normalization over all axes but the last ------------------------------------------------------------------

def batch_norm(x, gamma, beta, epsilon, mean=None, variance=None):
    """With the batch's mean and biased variance, or with those given (inference)."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axis=axes) if mean is None else mean
    variance = x.var(axis=axes) if variance is None else variance
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def batch_norm_backward(x, gamma, dy, epsilon):
    """(dx, dgamma, dbeta) where mean and variance are the batch's (Ioffe and Szegedy 2015, section 3)."""
    axes = tuple(range(x.ndim - 1))
    scale = 1.0 / np.sqrt(x.var(axis=axes) + epsilon)
    x_hat = (x - x.mean(axis=axes)) * scale
    dgamma, dbeta, n = (dy * x_hat).sum(axis=axes), dy.sum(axis=axes), x[..., 0].size
    return gamma * scale * (dy - dbeta / n - x_hat * dgamma / n), dgamma, dbeta


def running(old_mean, old_variance, x, momentum):
    """The running statistics after a step: PyTorch's, with the unbiased variance."""
    axes, n = tuple(range(x.ndim - 1)), x[..., 0].size
    unbiased = x.var(axis=axes) * n / max(n - 1, 1)
    return (1 - momentum) * old_mean + momentum * x.mean(axis=axes), (1 - momentum) * old_variance + momentum * unbiased


# --- embedding: w[ids] ------------------------------------------------------------------------------------------------

def embedding(ids, w):
    return w[ids]


def embedding_backward(ids, w, dy):
    dw = np.zeros_like(w)
    np.add.at(dw, ids, dy)
    return dw


# --- layer normalization over the last axis --------------------------------------------------------------------------

def layer_norm(x, gamma, beta, epsilon):
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def layer_norm_backward(x, gamma, dy, epsilon):
    """(dx, dgamma, dbeta)."""
    scale = 1.0 / np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)
    x_hat, g, axes = (x - x.mean(axis=-1, keepdims=True)) * scale, dy * gamma, tuple(range(x.ndim - 1))
    dx = scale * (g - g.mean(axis=-1, keepdims=True) - x_hat * (g * x_hat).mean(axis=-1, keepdims=True))
    return dx, (dy * x_hat).sum(axis=axes), dy.sum(axis=axes)


# --- group normalization over all pixels and groups of neighbouring channels ------------------------------------------

def grouped(x, groups):
    """x (N, ..., C) as (N, groups, pixels, C / groups), and back."""
    shape = (len(x), math.prod(x.shape[1:-1]), groups, -1)

    def back(a):
        return a.swapaxes(1, 2).reshape(x.shape)

    return x.reshape(shape).swapaxes(1, 2), back


def group_norm(x, gamma, beta, epsilon, groups):
    v, back = grouped(x, groups)
    mean, variance = v.mean(axis=(2, 3), keepdims=True), v.var(axis=(2, 3), keepdims=True)
    return gamma * back((v - mean) / np.sqrt(variance + epsilon)) + beta


def group_norm_backward(x, gamma, dy, epsilon, groups):
    """(dx, dgamma, dbeta)."""
    (v, back), (g, _), axes = grouped(x, groups), grouped(dy * gamma, groups), tuple(range(x.ndim - 1))
    scale = 1.0 / np.sqrt(v.var(axis=(2, 3), keepdims=True) + epsilon)
    x_hat = (v - v.mean(axis=(2, 3), keepdims=True)) * scale
    dx = scale * (g - g.mean(axis=(2, 3), keepdims=True) - x_hat * (g * x_hat).mean(axis=(2, 3), keepdims=True))
    return back(dx), (dy * back(x_hat)).sum(axis=axes), dy.sum(axis=axes)


# --- losses: (value of each sample, gradient with respect to y) ------------------------------------------------------

def one_hot(labels, n):
    return np.eye(n)[labels]


def softmax_cross_entropy(z, t):
    top = z.max(axis=-1, keepdims=True)
    log_p = z - top - np.log(np.exp(z - top).sum(axis=-1, keepdims=True))
    # 0 * -inf is 0 here: a class without probability costs nothing however small its p
    return -np.where(t == 0, 0.0, t * log_p).sum(axis=-1), np.exp(log_p) * t.sum(axis=-1, keepdims=True) - t


def sigmoid_cross_entropy(z, t):
    return (np.logaddexp(0.0, z) - t * z).sum(axis=-1), sigmoid(z) - t


def binary_cross_entropy(y, t):
    """y: probabilities. The logarithms stop at -100 and the denominator at 1e-12, as in PyTorch's BCELoss."""
    with np.errstate(divide="ignore"):
        log_y, log_not = np.maximum(np.log(y), -100.0), np.maximum(np.log1p(-y), -100.0)
    return -(t * log_y + (1.0 - t) * log_not).sum(axis=-1), (y - t) / np.maximum(y * (1.0 - y), 1e-12)


def squared_error(y, t):
    return ((y - t) ** 2).sum(axis=-1), 2.0 * (y - t)


def absolute_error(y, t):
    return np.abs(y - t).sum(axis=-1), np.sign(y - t)


def huber(y, t, delta=1.0):
    d = np.abs(y - t)
    return np.where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta)).sum(axis=-1), np.clip(y - t, -delta, delta)


LOSSES = {
    "softmax_cross_entropy": softmax_cross_entropy, "sigmoid_cross_entropy": sigmoid_cross_entropy,
    "binary_cross_entropy": binary_cross_entropy, "squared_error": squared_error,
    "absolute_error": absolute_error, "huber": huber,
}


# --- optimizers: new (w, state); state starts as {} and t counts steps from 1. Formulas and defaults as PyTorch's ----

def sgd(w, g, state, t, lr, momentum=0.0, nesterov=False):
    if momentum == 0.0:
        return w - lr * g, state
    v = g if t == 1 else momentum * state["momentum"] + g
    return w - lr * (g + momentum * v if nesterov else v), {"momentum": v}


def adam(w, g, state, t, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * state.get("m", 0.0) + (1.0 - beta1) * g
    v = beta2 * state.get("v", 0.0) + (1.0 - beta2) * g * g
    return w - lr * (m / (1.0 - beta1**t)) / (np.sqrt(v / (1.0 - beta2**t)) + eps), {"m": m, "v": v}


def adamw(w, g, state, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2):
    return adam(w * (1.0 - lr * weight_decay), g, state, t, lr, beta1, beta2, eps)


def rmsprop(w, g, state, t, lr, rho=0.99, momentum=0.0, eps=1e-8):
    s = rho * state.get("s", 0.0) + (1.0 - rho) * g * g
    step = momentum * state.get("momentum", 0.0) + g / (np.sqrt(s) + eps)
    return w - lr * step, {"s": s, "momentum": step}


def adagrad(w, g, state, t, lr, eps=1e-10):
    s = state.get("s", 0.0) + g * g
    return w - lr * g / (np.sqrt(s) + eps), {"s": s}


OPTIMIZERS = {"sgd": sgd, "adam": adam, "adamw": adamw, "rmsprop": rmsprop, "adagrad": adagrad}


def clip(grads, clip_norm=None, clip_value=None):
    """Global-norm clipping over all gradients together (1e-6 as in PyTorch's clip_grad_norm_), then by value."""
    if clip_norm is not None:
        norm = math.sqrt(sum((g * g).sum() for g in grads))
        grads = [g * min(1.0, clip_norm / (norm + 1e-6)) for g in grads]
    if clip_value is not None:
        grads = [np.clip(g, -clip_value, clip_value) for g in grads]
    return grads


def penalty(w, l1=0.0, l2=0.0):
    """Value and gradient; the sign of zero is zero."""
    return 0.5 * l2 * (w * w).sum() + l1 * np.abs(w).sum(), l2 * w + l1 * np.sign(w)


# --- a whole network -------------------------------------------------------------------------------------------------

def mlp_forward(x, kernels, biases, activations, alpha=0.0):
    """All pre-activations and all values: zs[i] belongs to layer i, ys[0] is x."""
    ys, zs = [x], []
    for w, b, name in zip(kernels, biases, activations):
        zs.append(dense(ys[-1], w, b))
        ys.append(activation(name, zs[-1], alpha))
    return zs, ys


def mlp(x, t, kernels, biases, activations, loss, weight=None, l1=0.0, l2=0.0, alpha=0.0, **loss_arguments):
    """(loss, dws, dbs, dx) of dense layers under `loss`, a key of LOSSES that sees the last activation's output.

    The loss is sum_i weight_i l_i / sum_i weight_i plus the penalties; dws and dbs are its gradients. Row i of dx is
    d l_i / d x_i, neither weighted nor divided by B.
    """
    zs, ys = mlp_forward(x, kernels, biases, activations, alpha)
    values, dy = LOSSES[loss](ys[-1], t, **loss_arguments)
    share = np.full(len(x), 1.0 / len(x)) if weight is None else weight / weight.sum()
    penalties = [penalty(w, l1, l2) for w in kernels]
    dws, dbs = [], []
    for i in reversed(range(len(kernels))):
        dz = activation_backward(activations[i], zs[i], dy, alpha)
        dws.insert(0, ys[i].T @ (share[:, None] * dz) + penalties[i][1])
        dbs.insert(0, share @ dz)
        dy = dz @ kernels[i].T
    return share @ values + sum(value for value, _ in penalties), dws, dbs, dy


def mlp_train(x, t, kernels, biases, activations, loss, optimizer, lr, batches, clip_norm=None, clip_value=None,
              hyper=None, **arguments):
    """Trains over `batches` (index arrays). Returns (the loss of each batch before its step, kernels, biases)."""
    parameters, states, losses = [*kernels, *biases], [{} for _ in [*kernels, *biases]], []
    n = len(kernels)
    for step, rows in enumerate(batches, start=1):
        value, dws, dbs, _ = mlp(x[rows], t[rows], parameters[:n], parameters[n:], activations, loss, **arguments)
        losses.append(value)
        for i, g in enumerate(clip([*dws, *dbs], clip_norm, clip_value)):
            parameters[i], states[i] = OPTIMIZERS[optimizer](parameters[i], g, states[i], step, lr, **(hyper or {}))
    return np.array(losses), parameters[:n], parameters[n:]
