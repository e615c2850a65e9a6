"""The order of axes in the user's arrays, and in the model.

In the model everything is channels last, (N, L, C) and (N, H, W, C). A model whose inputs are declared
``data_format="channels_first"`` takes data as (N, C, L) and (N, C, H, W) and gives results back so: `predict`,
`input_gradient`, targets, and the output gradients of `vjp`, wherever there is an axis besides batch and channels.
Parameters, and what Lambda layers and custom losses see, are channels last in any model, and `Flatten` counts
channels fastest. The compiled loop turns each sample round as it reads or writes it (nnfast/_core/transfer.pyx); there
is no second copy of the data.
"""

import numpy as np

from .names import choose

FORMATS = ("channels_last", "channels_first")


def check_format(owner, data_format, shape=None):
    """`data_format` if it is known and fits a sample's shape (None: not known yet)."""
    choose(f"{owner} data_format", data_format, FORMATS)
    if data_format == "channels_first" and shape is not None and len(shape) < 2:
        raise ValueError(f"{owner}: data_format='channels_first' needs a shape (C, L) or (C, H, W), got {shape}")
    return data_format


def model_shape(shape, data_format):
    """The shape of a sample in the model.

    >>> model_shape((3, 32, 48), "channels_first")
    (32, 48, 3)
    """
    return (*shape[1:], shape[0]) if data_format == "channels_first" else shape


def data_shape(shape, data_format):
    """The shape of a sample in the user's arrays; the inverse of `model_shape`."""
    return (shape[-1], *shape[:-1]) if data_format == "channels_first" else shape


def channel_axis(data_format):
    """Where a batch in the user's order of axes has its channels."""
    return 1 if data_format == "channels_first" else -1


def channels_last(a, data_format):
    """A batch of the user's with its channels last: the array itself, or a view of it."""
    return np.moveaxis(a, channel_axis(data_format), -1)
