"""The kernels of nnfast as stateless functions over NumPy arrays, for other programs to build on.

Every function runs in the dtype of its first array, float32 or float64, and all other arrays must have it, too: nothing
is converted behind your back. Inputs may be strided or read-only (an array that is not C-contiguous is copied first);
they are not searched for nan or inf, which come out as in NumPy, but that convolutions by Winograd's minimal filtering
spread them over neighbouring pixels (see `nnfast.show_config`). Subnormal numbers count as zero inside the compiled
loops: where a window holds nothing larger, `max_pool2d` may return any of them. Wrong types and masked entries raise
TypeError, wrong shapes and values ValueError, before any kernel runs.

Common arguments
    out : array (or a tuple of arrays where a function returns several) that receives the result, of exactly its shape
        and dtype, C-contiguous, writable, and apart from all inputs; it may be where a strided input was copied from.
        Nothing is allocated for it then.
    n_threads : most threads this call may use; None means the default, see `nnfast.show_config`. Results have the same
        bits for any number. The GIL is released, so calls with ``n_threads=1`` run side by side in your own threads.

Products, convolutions and pooling need memory to work in. One call's is kept for the next, at most 64 MB.
"""

from .activation import (
    elu,
    elu_backward,
    gelu,
    gelu_backward,
    hard_sigmoid,
    hard_sigmoid_backward,
    hard_swish,
    hard_swish_backward,
    leaky_relu,
    leaky_relu_backward,
    mish,
    mish_backward,
    relu,
    relu6,
    relu6_backward,
    relu_backward,
    selu,
    selu_backward,
    sigmoid,
    sigmoid_backward,
    silu,
    silu_backward,
    softmax,
    softmax_backward,
    softplus,
    softplus_backward,
    tanh,
    tanh_backward,
)
from .convolution import (
    conv1d,
    conv1d_backward,
    conv1d_transpose,
    conv1d_transpose_backward,
    conv2d,
    conv2d_backward,
    conv2d_transpose,
    conv2d_transpose_backward,
)
from .distribution import cross_entropy, entropy
from .fully_connected import dense, dense_backward
from .loss import (
    absolute_error,
    binary_cross_entropy,
    huber,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    squared_error,
)
from .pooling import (
    avg_pool1d,
    avg_pool1d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    global_avg_pool,
    global_avg_pool_backward,
    global_max_pool,
    global_max_pool_backward,
    max_pool1d,
    max_pool1d_backward,
    max_pool1d_with_taps,
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_with_taps,
)
from .toeplitz import conv_toeplitz
from .upsampling import upsample1d, upsample1d_backward, upsample2d, upsample2d_backward

__all__ = [
    "dense", "dense_backward",
    "conv1d", "conv1d_backward", "conv2d", "conv2d_backward", "conv_toeplitz",
    "conv1d_transpose", "conv1d_transpose_backward", "conv2d_transpose", "conv2d_transpose_backward",
    "upsample1d", "upsample1d_backward", "upsample2d", "upsample2d_backward",
    "max_pool1d", "max_pool1d_backward", "max_pool1d_with_taps",
    "max_pool2d", "max_pool2d_backward", "max_pool2d_with_taps",
    "avg_pool1d", "avg_pool1d_backward", "avg_pool2d", "avg_pool2d_backward",
    "global_max_pool", "global_max_pool_backward", "global_avg_pool", "global_avg_pool_backward",
    "sigmoid", "sigmoid_backward", "tanh", "tanh_backward", "relu", "relu_backward",
    "leaky_relu", "leaky_relu_backward", "elu", "elu_backward", "gelu", "gelu_backward", "silu", "silu_backward",
    "softplus", "softplus_backward", "relu6", "relu6_backward", "hard_sigmoid", "hard_sigmoid_backward", "hard_swish",
    "hard_swish_backward", "selu", "selu_backward", "mish", "mish_backward", "softmax", "softmax_backward",
    "softmax_cross_entropy", "sigmoid_cross_entropy", "binary_cross_entropy",
    "squared_error", "absolute_error", "huber",
    "entropy", "cross_entropy",
]
