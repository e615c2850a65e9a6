"""Elementwise activations and softmax, each with its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import activations
from .._core import elementwise as _elementwise
from .arguments import as_array, like, result_array, threads

if TYPE_CHECKING:
    from ..typing import Array


def _forward(name, x, alpha, out, n_threads):
    _, alpha = activations.resolve(name, alpha, name)
    x = as_array(name, "x", x)
    activations.check_alpha(name, alpha, x.dtype)
    out = result_array(name, out, x.shape, x.dtype, (x,))
    _elementwise.activation_forward(name, x, out, alpha, threads(name, n_threads))
    return out


def _backward(name, dy, kept_name, kept, alpha, out, n_threads):
    """kept: x or y, whichever the derivative is computed from."""
    op = f"{name}_backward"
    _, alpha = activations.resolve(name, alpha, op)
    dy = as_array(op, "dy", dy)
    activations.check_alpha(op, alpha, dy.dtype)
    kept = like(op, kept_name, kept, "dy", dy, dy.shape)
    out = result_array(op, out, dy.shape, dy.dtype, (dy, kept))
    x, y = (kept, None) if kept_name == "x" else (None, kept)
    _elementwise.activation_backward(name, x, y, dy, out, alpha, threads(op, n_threads))
    return out


def sigmoid(x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y = 1 / (1 + exp(-x)), elementwise.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.sigmoid(np.array([-1e4, 0.0, 1e4]))
    array([0. , 0.5, 1. ])
    """
    return _forward("sigmoid", x, None, out, n_threads)


def sigmoid_backward(dy: Array, y: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx = dy y (1 - y), from the output y = sigmoid(x).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.sigmoid_backward(np.array([1.0]), np.array([0.5]))
    array([0.25])
    """
    return _backward("sigmoid", dy, "y", y, None, out, n_threads)


def tanh(x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y = tanh(x), elementwise.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.tanh(np.array([-1e4, 0.0, 0.5]))
    array([-1.        ,  0.        ,  0.46211716])
    """
    return _forward("tanh", x, None, out, n_threads)


def tanh_backward(dy: Array, y: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx = dy (1 - y^2), from the output y = tanh(x).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.tanh_backward(np.array([10.0, 10.0]), y=np.array([0.0, 0.5]))
    array([10. ,  7.5])
    """
    return _backward("tanh", dy, "y", y, None, out, n_threads)


def relu(x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y = max(x, 0), elementwise.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return _forward("relu", x, None, out, n_threads)


def relu_backward(dy: Array, y: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx = dy where y > 0, else 0, from the output y = relu(x).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.relu_backward(np.array([10.0, 10.0]), y=np.array([0.0, 2.0]))
    array([ 0., 10.])
    """
    return _backward("relu", dy, "y", y, None, out, n_threads)


def leaky_relu(x: Array, *, alpha: float = 0.01, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y = x where x > 0, else alpha x; alpha >= 0.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.leaky_relu(np.array([-1.0, 2.0]), alpha=0.1)
    array([-0.1,  2. ])
    """
    return _forward("leaky_relu", x, alpha, out, n_threads)


def leaky_relu_backward(dy: Array, y: Array, *, alpha: float = 0.01, out: Array | None = None,
                        n_threads: int | None = None) -> Array:
    """dx = dy where y > 0, else alpha dy, from the output y = leaky_relu(x).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.leaky_relu_backward(np.array([10.0, 10.0]), y=np.array([-0.1, 2.0]), alpha=0.1)
    array([ 1., 10.])
    """
    return _backward("leaky_relu", dy, "y", y, alpha, out, n_threads)


def elu(x: Array, *, alpha: float = 1.0, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y = x where x > 0, else alpha (exp(x) - 1); alpha >= 0 (Clevert et al. 2015).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.elu(np.array([-1e4, -1.0, 2.0]))
    array([-1.        , -0.63212056,  2.        ])
    """
    return _forward("elu", x, alpha, out, n_threads)


def elu_backward(dy: Array, y: Array, *, alpha: float = 1.0, out: Array | None = None,
                 n_threads: int | None = None) -> Array:
    """dx = dy where y > 0, else dy (y + alpha), from the output y = elu(x).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.elu_backward(np.array([10.0, 10.0]), y=np.array([-0.5, 2.0]))
    array([ 5., 10.])
    """
    return _backward("elu", dy, "y", y, alpha, out, n_threads)


def gelu(x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y = x Phi(x) with the normal distribution's Phi, exact, not the tanh form (Hendrycks and Gimpel 2016).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.gelu(np.array([-1.0, 0.0, 1.0]))
    array([-0.15865525,  0.        ,  0.84134475])
    """
    return _forward("gelu", x, None, out, n_threads)


def gelu_backward(dy: Array, x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx = dy (Phi(x) + x phi(x)), from the input x.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.gelu_backward(np.array([1.0, 1.0]), x=np.array([0.0, 1.0]))
    array([0.5       , 1.08331547])
    """
    return _backward("gelu", dy, "x", x, None, out, n_threads)


def silu(x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y = x sigmoid(x), also called swish (Elfwing et al. 2017).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.silu(np.array([-1.0, 0.0, 1.0]))
    array([-0.26894142,  0.        ,  0.73105858])
    """
    return _forward("silu", x, None, out, n_threads)


def silu_backward(dy: Array, x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx = dy s (1 + x (1 - s)) with s = sigmoid(x), from the input x.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.silu_backward(np.array([1.0, 1.0]), x=np.array([0.0, 1.0]))
    array([0.5       , 0.92767051])
    """
    return _backward("silu", dy, "x", x, None, out, n_threads)


def softplus(x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y = log(1 + exp(x)), without overflow.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.softplus(np.array([-1e4, 0.0, 1e4]))
    array([0.00000000e+00, 6.93147181e-01, 1.00000000e+04])
    """
    return _forward("softplus", x, None, out, n_threads)


def softplus_backward(dy: Array, x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx = dy sigmoid(x), from the input x.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.softplus_backward(np.array([1.0, 1.0]), x=np.array([0.0, 1e4]))
    array([0.5, 1. ])
    """
    return _backward("softplus", dy, "x", x, None, out, n_threads)


def relu6(x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y = min(max(x, 0), 6), elementwise.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.relu6(np.array([-1.0, 2.0, 7.0]))
    array([0., 2., 6.])
    """
    return _forward("relu6", x, None, out, n_threads)


def relu6_backward(dy: Array, y: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx = dy where 0 < y < 6, else 0, from the output y = relu6(x).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.relu6_backward(np.array([10.0, 10.0, 10.0]), y=np.array([0.0, 2.0, 6.0]))
    array([ 0., 10.,  0.])
    """
    return _backward("relu6", dy, "y", y, None, out, n_threads)


def hard_sigmoid(x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y = relu6(x + 3) / 6, as PyTorch and Keras 3 have it.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.hard_sigmoid(np.array([-3.0, 0.0, 1.5, 3.0]))
    array([0.  , 0.5 , 0.75, 1.  ])
    """
    return _forward("hard_sigmoid", x, None, out, n_threads)


def hard_sigmoid_backward(dy: Array, y: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx = dy / 6 where 0 < y < 1, else 0, from the output y = hard_sigmoid(x).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.hard_sigmoid_backward(np.array([12.0, 12.0]), y=np.array([0.5, 1.0]))
    array([2., 0.])
    """
    return _backward("hard_sigmoid", dy, "y", y, None, out, n_threads)


def hard_swish(x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y = x relu6(x + 3) / 6 (Howard et al. 2019).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.hard_swish(np.array([-4.0, -1.5, 1.0, 4.0]))
    array([-0.        , -0.375     ,  0.66666667,  4.        ])
    """
    return _forward("hard_swish", x, None, out, n_threads)


def hard_swish_backward(dy: Array, x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx = dy (x/3 + 1/2) where -3 < x < 3, 0 up to -3 and dy from 3 on, from the input x.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.hard_swish_backward(np.array([1.0, 1.0, 1.0]), x=np.array([-3.0, 1.5, 3.0]))
    array([0., 1., 1.])
    """
    return _backward("hard_swish", dy, "x", x, None, out, n_threads)


def selu(x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y = 1.0507... elu(x), alpha being 1.6732...: mean 0 and variance 1 stay so (Klambauer et al. 2017).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.selu(np.array([-1e4, -1.0, 2.0]))
    array([-1.75809934, -1.11133074,  2.10140197])
    """
    return _forward("selu", x, None, out, n_threads)


def selu_backward(dy: Array, y: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx = 1.0507... dy where y > 0, else dy (y + 1.7581...), from the output y = selu(x).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.selu_backward(np.array([10.0, 10.0]), y=np.array([-1.0, 2.0]))
    array([ 7.58099341, 10.50700987])
    """
    return _backward("selu", dy, "y", y, None, out, n_threads)


def mish(x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y = x tanh(softplus(x)), without overflow (Misra 2019).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.mish(np.array([-1e4, -1.0, 1.0, 1e4]))
    array([-0.00000000e+00, -3.03401461e-01,  8.65098388e-01,  1.00000000e+04])
    """
    return _forward("mish", x, None, out, n_threads)


def mish_backward(dy: Array, x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx = dy (t + x s (1 - t^2)) with t = tanh(softplus(x)), s = sigmoid(x), from the input x.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.mish_backward(np.array([1.0, 1.0]), x=np.array([0.0, 1.0]))
    array([0.6       , 1.04903622])
    """
    return _backward("mish", dy, "x", x, None, out, n_threads)


def softmax(x: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """y_j = exp(x_j) / sum_k exp(x_k) over the last axis, safe for any finite x.

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.softmax(np.array([[0.0, 0.0], [1e4, -1e4]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    x = as_array("softmax", "x", x)
    _check_rows("softmax", "x", x)
    out = result_array("softmax", out, x.shape, x.dtype, (x,))
    _elementwise.softmax_forward(x, out, x.shape[-1], threads("softmax", n_threads))
    return out


def softmax_backward(dy: Array, y: Array, *, out: Array | None = None, n_threads: int | None = None) -> Array:
    """dx_j = y_j (dy_j - sum_k dy_k y_k) over the last axis, from the output y = softmax(x).

    >>> import numpy as np
    >>> import nnfast as nf
    >>> nf.functional.softmax_backward(np.array([[1.0, 0.0]]), y=np.array([[0.5, 0.5]]))
    array([[ 0.25, -0.25]])
    """
    dy = as_array("softmax_backward", "dy", dy)
    _check_rows("softmax_backward", "dy", dy)
    y = like("softmax_backward", "y", y, "dy", dy, dy.shape)
    out = result_array("softmax_backward", out, dy.shape, dy.dtype, (dy, y))
    _elementwise.softmax_backward(y, dy, out, dy.shape[-1], threads("softmax_backward", n_threads))
    return out


def _check_rows(op, name, x):
    if x.ndim < 1 or x.shape[-1] == 0:
        raise ValueError(f"{op}: {name} must have a last axis of at least one element, got shape {x.shape}")
