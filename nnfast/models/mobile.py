"""Convolutional networks made for small processors: depthwise convolutions between 1 x 1 convolutions.

Layers come in the order of torchvision's models of these names, so that `nnfast.interop.from_torch_state_dict` takes
their weights. Images of which a stride of 2 leaves half are padded as there: by half of the kernel on all sides.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from ..configurable import integer, number
from ..layers import (
    Activation,
    Add,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    GlobalAvgPool,
    Input,
    Multiply,
    Reshape,
)
from ..model import Model
from ..names import choose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import DataFormat

#: Sandler et al.'s table 2: expansion, filters, blocks, stride of the first
V2_BLOCKS = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]

#: Howard et al.'s tables 1 and 2: kernel, expanded filters, filters, squeeze-and-excitation, activation, stride
V3_BLOCKS = {
    "large": [
        (3, 16, 16, False, "relu", 1), (3, 64, 24, False, "relu", 2), (3, 72, 24, False, "relu", 1),
        (5, 72, 40, True, "relu", 2), (5, 120, 40, True, "relu", 1), (5, 120, 40, True, "relu", 1),
        (3, 240, 80, False, "hard_swish", 2), (3, 200, 80, False, "hard_swish", 1),
        (3, 184, 80, False, "hard_swish", 1), (3, 184, 80, False, "hard_swish", 1),
        (3, 480, 112, True, "hard_swish", 1), (3, 672, 112, True, "hard_swish", 1),
        (5, 672, 160, True, "hard_swish", 2), (5, 960, 160, True, "hard_swish", 1),
        (5, 960, 160, True, "hard_swish", 1),
    ],
    "small": [
        (3, 16, 16, True, "relu", 2), (3, 72, 24, False, "relu", 2), (3, 88, 24, False, "relu", 1),
        (5, 96, 40, True, "hard_swish", 2), (5, 240, 40, True, "hard_swish", 1), (5, 240, 40, True, "hard_swish", 1),
        (5, 120, 48, True, "hard_swish", 1), (5, 144, 48, True, "hard_swish", 1), (5, 288, 96, True, "hard_swish", 2),
        (5, 576, 96, True, "hard_swish", 1), (5, 576, 96, True, "hard_swish", 1),
    ],
}
#: features before the last layer
V3_FEATURES = {"large": 1280, "small": 1024}

#: Tan and Le's table 1: expansion, kernel, stride of the first, filters, blocks
EFFICIENT_BLOCKS = [(1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
                    (6, 5, 2, 192, 4), (6, 3, 1, 320, 1)]
#: factors of filters and of blocks, rate of dropout, pixels of the paper's images
EFFICIENT_SCALES = {"b0": (1.0, 1.0, 0.2, 224), "b1": (1.0, 1.1, 0.2, 240), "b2": (1.1, 1.2, 0.3, 260),
                    "b3": (1.2, 1.4, 0.3, 300), "b4": (1.4, 1.8, 0.4, 380)}


def mobilenet_v2(input_shape: Sequence[int] = (224, 224, 3), classes: int = 1000, width: float = 1.0,
                 dropout: float = 0.2, data_format: DataFormat = "channels_last", **arguments: Any) -> Model:
    """MobileNetV2: inverted residuals, whose depthwise convolution has six times the channels that blocks pass on
    (Sandler et al., 2018, "MobileNetV2: inverted residuals and linear bottlenecks", table 2).

    Parameters
    ----------
    input_shape : tuple of int
        The image is halved five times.
    classes : int
    width : float
        Factor of the numbers of filters, which are then rounded to multiples of 8; above 0.
    dropout : float
        Rate before the last layer, in [0, 1); 0 leaves it out.
    data_format : "channels_last" or "channels_first"
        As in `nf.Input`.
    **arguments
        seed, dtype, name: as in `nf.Model`.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.models.mobilenet_v2((96, 96, 3), classes=10, width=0.35)
    <Model 'mobilenet_v2': 423,018 parameters, float32>
    """
    width = number("mobilenet_v2", "width", width, above=0)
    image = Input(input_shape, data_format=data_format)
    build = Block(1e-5, 0.1)
    x = build.convolved(image, rounded(32 * width), 3, 2, "relu6")
    for expansion, filters, blocks, stride in V2_BLOCKS:
        for i in range(blocks):
            x = build.residual(x, x.shape[-1] * expansion, rounded(filters * width), 3, stride if i == 0 else 1,
                               "relu6")
    x = build.convolved(x, rounded(1280 * max(1.0, width)), 1, 1, "relu6")
    return Model(image, classified(GlobalAvgPool()(x), classes, dropout, "mobilenet_v2"),
                 **{"name": "mobilenet_v2", **arguments})


def mobilenet_v3(size: str = "small", input_shape: Sequence[int] = (224, 224, 3), classes: int = 1000,
                 width: float = 1.0, dropout: float = 0.2, data_format: DataFormat = "channels_last",
                 **arguments: Any) -> Model:
    """MobileNetV3: inverted residuals with squeeze-and-excitation and hard_swish (Howard et al., 2019, "Searching for
    MobileNetV3", tables 1 and 2).

    Parameters
    ----------
    size : "small" or "large"
    input_shape, classes, width, dropout, data_format
        As in `mobilenet_v2`.
    **arguments
        seed, dtype, name: as in `nf.Model`.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.models.mobilenet_v3("small", (96, 96, 3), classes=10)
    <Model 'mobilenet_v3_small': 1,540,218 parameters, float32>
    """
    size = choose("size", size, V3_BLOCKS, "mobilenet_v3")
    width = number("mobilenet_v3", "width", width, above=0)
    image = Input(input_shape, data_format=data_format)
    build = Block(1e-3, 0.01)
    x = build.convolved(image, rounded(16 * width), 3, 2, "hard_swish")
    for kernel, expanded, filters, squeezes, activation, stride in V3_BLOCKS[size]:
        expanded = rounded(expanded * width)
        x = build.residual(x, expanded, rounded(filters * width), kernel, stride, activation,
                           rounded(expanded / 4) if squeezes else 0, "hard_sigmoid", "relu")
    x = build.convolved(x, 6 * x.shape[-1], 1, 1, "hard_swish")
    x = Dense(rounded(V3_FEATURES[size] * width), activation="hard_swish")(GlobalAvgPool()(x))
    return Model(image, classified(x, classes, dropout, "mobilenet_v3"),
                 **{"name": f"mobilenet_v3_{size}", **arguments})


def efficientnet(size: str = "b0", input_shape: Sequence[int] | None = None, classes: int = 1000,
                 dropout: float | None = None, data_format: DataFormat = "channels_last", **arguments: Any) -> Model:
    """EfficientNet: inverted residuals with squeeze-and-excitation and silu, deeper and wider together (Tan and Le,
    2019, "EfficientNet: rethinking model scaling for convolutional neural networks", table 1).

    Blocks are not left out at random in training, as the paper's are.

    Parameters
    ----------
    size : "b0" to "b4"
    input_shape : tuple of int, optional
        By default the paper's: 224, 240, 260, 300 or 380 pixels each way, three channels.
    classes : int
    dropout : float, optional
        Rate before the last layer, in [0, 1); 0 leaves it out. By default the paper's: 0.2, 0.2, 0.3, 0.3 or 0.4.
    data_format : "channels_last" or "channels_first"
        As in `nf.Input`.
    **arguments
        seed, dtype, name: as in `nf.Model`.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.models.efficientnet("b0", (96, 96, 3), classes=10)
    <Model 'efficientnet_b0': 4,062,374 parameters, float32>
    """
    size = choose("size", size, EFFICIENT_SCALES, "efficientnet")
    width, depth, usual, pixels = EFFICIENT_SCALES[size]
    if input_shape is None:
        input_shape = (pixels, pixels, 3) if data_format == "channels_last" else (3, pixels, pixels)
    image = Input(input_shape, data_format=data_format)
    build = Block(1e-5, 0.1)
    x = build.convolved(image, rounded(32 * width), 3, 2, "silu")
    for expansion, kernel, stride, filters, blocks in EFFICIENT_BLOCKS:
        for i in range(math.ceil(blocks * depth)):
            channels = x.shape[-1]
            x = build.residual(x, channels * expansion, rounded(filters * width), kernel, stride if i == 0 else 1,
                               "silu", max(1, channels // 4), "sigmoid", "silu")
    x = build.convolved(x, 4 * x.shape[-1], 1, 1, "silu")
    return Model(image, classified(GlobalAvgPool()(x), classes, usual if dropout is None else dropout, "efficientnet"),
                 **{"name": f"efficientnet_{size}", **arguments})


class Block(NamedTuple):
    """What these networks are made of, with their normalizations' numbers."""

    epsilon: float
    momentum: float

    def normalized(self, x, activation):
        x = BatchNorm(epsilon=self.epsilon, momentum=self.momentum)(x)
        return x if activation is None else Activation(activation)(x)

    def convolved(self, x, filters, kernel, stride, activation):
        """A convolution without bias, its normalization and its activation."""
        x = Conv2D(filters, kernel, stride=stride, padding=kernel // 2, use_bias=False,
                   kernel_initializer="he_normal")(x)
        return self.normalized(x, activation)

    def residual(self, x, expanded, filters, kernel, stride, activation, squeezed=0, gate="sigmoid", squeeze="relu"):
        """An inverted residual: more channels, a depthwise convolution, gates of its channels, and fewer again. The
        input is added to what has its shape."""
        y = x if expanded == x.shape[-1] else self.convolved(x, expanded, 1, 1, activation)
        y = DepthwiseConv2D(kernel, stride=stride, padding=kernel // 2, use_bias=False,
                            kernel_initializer="he_normal")(y)
        y = self.normalized(y, activation)
        if squeezed:
            gates = Reshape((1, 1, expanded))(GlobalAvgPool()(y))
            gates = Conv2D(squeezed, 1, activation=squeeze)(gates)
            y = Multiply()([y, Conv2D(expanded, 1, activation=gate)(gates)])
        y = self.convolved(y, filters, 1, 1, None)
        return Add()([x, y]) if stride == 1 and x.shape == y.shape else y


def classified(x, classes, dropout, owner):
    """The last layer, with dropout before it."""
    dropout = number(owner, "dropout", dropout, at_least=0, below=1)
    last = Dense(integer(owner, "classes", classes, at_least=1), activation="softmax")
    return last(Dropout(dropout)(x) if dropout else x)


def rounded(filters):
    """To a multiple of 8 that is not under nine tenths of it, as the authors' code does."""
    multiple = max(8, int(filters + 4) // 8 * 8)
    return multiple if multiple >= 0.9 * filters else multiple + 8
