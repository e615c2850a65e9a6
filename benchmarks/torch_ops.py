"""PyTorch's operations without autograd, NCHW and channels_last; inputs are in that layout before the clock starts.

The gradients are the ``aten`` operations that autograd would call, each asked for one result.
"""

import torch
from torch.nn import functional as F

from .torch_net import image_batch, versions

__all__ = ["VARIANTS", "conv2d", "dense", "max_pool2d", "softmax_cross_entropy", "versions"]

VARIANTS = {"conv": {"NCHW": "step", "channels_last": "step"}}
FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
aten = torch.ops.aten


def operation(call, as_nnfast, n_threads):
    torch.set_num_threads(n_threads)
    torch.set_grad_enabled(False)
    return call, as_nnfast


def images(y):
    return y.permute(0, 2, 3, 1).numpy()


def conv2d(case, direction, arrays, variant, n_threads):
    x, w, dy = arrays
    x, dy = image_batch(x, FORMATS[variant]), image_batch(dy, FORMATS[variant])
    w = torch.from_numpy(w).permute(3, 2, 0, 1).contiguous(memory_format=FORMATS[variant])
    stride, padding = [case.stride] * 2, [case.padding] * 2
    if direction == "forward":
        return operation(lambda: F.conv2d(x, w, None, stride, padding, 1, case.groups), images, n_threads)
    wanted = [direction == "dx", direction == "dw", False]

    def backward():
        results = aten.convolution_backward(
            dy, x, w, None, stride, padding, [1, 1], False, [0, 0], case.groups, wanted
        )
        return results[0 if direction == "dx" else 1]

    return operation(backward, images if direction == "dx" else lambda dw: dw.permute(2, 3, 1, 0).numpy(), n_threads)


def dense(case, direction, arrays, variant, n_threads):
    """One layout: weights (out, in), as in ``nn.Linear``."""
    if variant != "NCHW":
        return None
    x, w, dy = map(torch.from_numpy, arrays)
    w = w.T.contiguous()
    if direction == "forward":
        return operation(lambda: F.linear(x, w), torch.Tensor.numpy, n_threads)
    if direction == "dx":
        return operation(lambda: torch.mm(dy, w), torch.Tensor.numpy, n_threads)
    return operation(lambda: torch.mm(dy.T, x), lambda dw: dw.T.numpy(), n_threads)


def max_pool2d(case, direction, arrays, variant, n_threads):
    x, dy = (image_batch(a, FORMATS[variant]) for a in arrays)
    if direction == "forward":
        return operation(lambda: F.max_pool2d(x, case.size, case.stride), images, n_threads)
    size, stride = [case.size] * 2, [case.stride] * 2
    _, indices = aten.max_pool2d_with_indices(x, size, stride)  # as in training, the forward pass has found them

    def backward():
        return aten.max_pool2d_with_indices_backward(dy, x, size, stride, [0, 0], [1, 1], False, indices)

    return operation(backward, images, n_threads)


def softmax_cross_entropy(case, direction, arrays, variant, n_threads):
    if variant != "NCHW":
        return None
    logits, y = map(torch.from_numpy, arrays)
    one = torch.ones(())

    def call():
        p = aten._log_softmax(logits, 1, False)
        loss, total = aten.nll_loss_forward(p, y, None, 1, -100)
        dp = aten.nll_loss_backward(one, p, y, None, 1, -100, total)
        return loss, aten._log_softmax_backward_data(dp, p, 1, logits.dtype)

    return operation(call, lambda results: (results[0].item(), results[1].numpy()), n_threads)
