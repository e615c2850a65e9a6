"""Convolutional networks of the literature. Each function's docstring names the paper and what differs from it.

All end in a softmax, so they go with ``loss="cross_entropy"`` (`unet` with one class: in a sigmoid, for
"binary_cross_entropy"), and take the further arguments of `nf.Sequential` and `nf.Model`: seed, dtype, name and
data_format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..configurable import boolean, integer, number
from ..layers import (
    Activation,
    Add,
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Conv2DTranspose,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Input,
    MaxPool2D,
)
from ..model import Model
from ..sequential import Sequential

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import DataFormat

#: filters of the convolutions of Simonyan and Zisserman's table 1, columns A, B, D and E; a list ends in a pooling
VGG_BLOCKS = {
    11: [[64], [128], [256, 256], [512, 512], [512, 512]],
    13: [[64, 64], [128, 128], [256, 256], [512, 512], [512, 512]],
    16: [[64, 64], [128, 128], [256] * 3, [512] * 3, [512] * 3],
    19: [[64, 64], [128, 128], [256] * 4, [512] * 4, [512] * 4],
}


def lenet5(input_shape: Sequence[int] = (28, 28, 1), classes: int = 10, activation: str = "tanh",
           **arguments: Any) -> Sequential:
    """LeNet-5: two convolutions with pooling, three dense layers (LeCun et al., 1998, "Gradient-based learning applied
    to document recognition", section II.B).

    Differences: zeros around the image, where the paper has 32 x 32 pixels with a margin; pooling without weights; the
    second convolution sees all channels; a softmax instead of radial basis functions.

    Parameters
    ----------
    input_shape : tuple of int
        At least 12 x 12 pixels.
    classes : int
    activation : str
    **arguments
        seed, dtype, name, data_format: as in `nf.Sequential`.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.models.lenet5()
    <Sequential 'lenet5': 61,706 parameters, float32>
    """
    return Sequential([
        Conv2D(6, 5, padding="same", activation=activation),
        AvgPool2D(2),
        Conv2D(16, 5, activation=activation),
        AvgPool2D(2),
        Flatten(),
        Dense(120, activation=activation),
        Dense(84, activation=activation),
        Dense(classes, activation="softmax"),
    ], input_shape=input_shape, **{"name": "lenet5", **arguments})


def mnist_cnn(input_shape: Sequence[int] = (28, 28, 1), classes: int = 10, dropout: bool = False,
              **arguments: Any) -> Sequential:
    """Two 3 x 3 convolutions of 32 and 64 filters, one pooling, a dense layer of 128: the MNIST example of PyTorch
    (https://github.com/pytorch/examples/tree/main/mnist) and, before it, of Keras.

    Parameters
    ----------
    input_shape : tuple of int
    classes : int
    dropout : bool
        True: dropout as in the example, 0.25 after the pooling and 0.5 before the last layer.
    **arguments
        seed, dtype, name, data_format: as in `nf.Sequential`.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.models.mnist_cnn()
    <Sequential 'mnist_cnn': 1,199,882 parameters, float32>
    """
    boolean("mnist_cnn", "dropout", dropout)
    return Sequential([
        Conv2D(32, 3, activation="relu"),
        Conv2D(64, 3, activation="relu"),
        MaxPool2D(2),
        *([Dropout(0.25)] if dropout else []),
        Flatten(),
        Dense(128, activation="relu"),
        *([Dropout(0.5)] if dropout else []),
        Dense(classes, activation="softmax"),
    ], input_shape=input_shape, **{"name": "mnist_cnn", **arguments})


def vgg(depth: int = 16, input_shape: Sequence[int] = (224, 224, 3), classes: int = 1000, width: float = 1.0,
        batch_norm: bool = False, dropout: float = 0.5, **arguments: Any) -> Sequential:
    """VGG: five blocks of 3 x 3 convolutions, each ended by a pooling, and two dense layers of 4096 (Simonyan and
    Zisserman, 2014, "Very deep convolutional networks for large-scale image recognition", table 1).

    Parameters
    ----------
    depth : 11, 13, 16 or 19
        Layers with weights: configurations A, B, D and E.
    input_shape : tuple of int
        At least 32 x 32 pixels.
    classes : int
    width : float
        Factor of the number of filters and of dense units; above 0.
    batch_norm : bool
        True: batch normalization after each convolution, before its relu; these convolutions have no bias.
    dropout : float
        Rate before the second and third dense layer, in [0, 1); 0 leaves them out.
    **arguments
        seed, dtype, name, data_format: as in `nf.Sequential`.

    Notes
    -----
    Kernels start as He et al. propose (`nf.initializers.HeNormal`); the paper had to train in stages.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.models.vgg(11, input_shape=(32, 32, 3), classes=10, width=0.25, batch_norm=True)
    <Sequential 'vgg11': 1,771,130 parameters, float32>
    """
    depth = integer("vgg", "depth", depth, at_least=1)
    if depth not in VGG_BLOCKS:
        raise ValueError(f"vgg: depth must be 11, 13, 16 or 19, got {depth}")
    width = number("vgg", "width", width, above=0)
    boolean("vgg", "batch_norm", batch_norm)
    dropout = number("vgg", "dropout", dropout, at_least=0, below=1)
    layers = []
    for block in VGG_BLOCKS[depth]:
        for filters in block:
            filters = scaled(filters, width)
            if batch_norm:
                layers += [Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal"),
                           BatchNorm(), Activation("relu")]
            else:
                layers.append(Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal"))
        layers.append(MaxPool2D(2))
    layers.append(Flatten())
    for _ in range(2):
        layers.append(Dense(scaled(4096, width), activation="relu", kernel_initializer="he_normal"))
        if dropout:
            layers.append(Dropout(dropout))
    layers.append(Dense(classes, activation="softmax"))
    return Sequential(layers, input_shape=input_shape, **{"name": f"vgg{depth}", **arguments})


def resnet(depth: int = 20, input_shape: Sequence[int] = (32, 32, 3), classes: int = 10, width: float = 1.0,
           data_format: DataFormat = "channels_last", **arguments: Any) -> Model:
    """ResNet for small images: 6n + 2 layers of 16, 32 and 64 filters with shortcuts around every two (He et al., 2015,
    "Deep residual learning for image recognition", section 4.2).

    Where the number of filters changes, the shortcut is a 1 x 1 convolution with stride 2 (option B of section 3.3; the
    paper's results on CIFAR-10 use option A, zeros in place of the new channels).

    Parameters
    ----------
    depth : int
        6n + 2: 8, 14, 20, 32, 44, 56, 110.
    input_shape : tuple of int
    classes : int
    width : float
        Factor of the number of filters; above 0.
    data_format : "channels_last" or "channels_first"
        As in `nf.Input`.
    **arguments
        seed, dtype, name: as in `nf.Model`.

    Notes
    -----
    The paper trains with SGD, rate 0.1 (divided by 10 after 32k and 48k steps of 128 images), momentum 0.9 and
    ``regularizer=nf.L2(1e-4)``, on images shifted by up to 4 pixels and mirrored at random.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.models.resnet(20)
    <Model 'resnet20': 274,042 parameters, float32>
    """
    depth = integer("resnet", "depth", depth, at_least=8)
    if depth % 6 != 2:
        raise ValueError(f"resnet: depth must be 6n + 2 (8, 14, 20, 32, 44, 56, 110, ...), got {depth}")
    width = number("resnet", "width", width, above=0)
    image = Input(input_shape, data_format=data_format)
    x = convolved(image, scaled(16, width))
    x = Activation("relu")(x)
    for stage, filters in enumerate((16, 32, 64)):
        for block in range((depth - 2) // 6):
            stride = 2 if stage > 0 and block == 0 else 1
            y = Activation("relu")(convolved(x, scaled(filters, width), stride=stride))
            y = convolved(y, scaled(filters, width))
            shortcut = x if stride == 1 else convolved(x, scaled(filters, width), 1, stride)
            x = Activation("relu")(Add()([y, shortcut]))
    output = Dense(classes, activation="softmax")(GlobalAvgPool()(x))
    return Model(image, output, **{"name": f"resnet{depth}", **arguments})


def unet(input_shape: Sequence[int] = (128, 128, 3), classes: int = 2, depth: int = 4, width: float = 1.0,
         batch_norm: bool = False, data_format: DataFormat = "channels_last", **arguments: Any) -> Model:
    """U-Net: a class for each pixel of an image, from what is around it at all scales (Ronneberger, Fischer and Brox,
    2015, "U-Net: convolutional networks for biomedical image segmentation", figure 1).

    Going down, two 3 x 3 convolutions and a pooling for each level, twice as many filters in the next; going up, a
    transposed convolution that halves them, what the level had on the way down beside it, and two convolutions.
    Differences: convolutions keep the size of the image ("same" padding), where the paper's output is smaller than its
    input; there is no dropout, and no weight of borders in the loss.

    Parameters
    ----------
    input_shape : tuple of int
        Height and width are multiples of 2 ** depth.
    classes : int
        The output is a softmax over them, (H, W, classes); of one class a sigmoid, (H, W, 1).
    depth : int
        How often the image is halved.
    width : float
        Factor of the number of filters, which is 64 in the first level; above 0.
    batch_norm : bool
        True: batch normalization after each 3 x 3 convolution, before its relu; these convolutions have no bias.
    data_format : "channels_last" or "channels_first"
        As in `nf.Input`.
    **arguments
        seed, dtype, name: as in `nf.Model`.

    Notes
    -----
    `nf.CrossEntropy` and, of one class, `nf.BinaryCrossEntropy` leave out pixels without a label (``ignore_label``),
    and ``class_weight`` of `Model.fit` tells how much rare classes count. "mean_iou" is the usual metric.
    `nf.augment.Flip` and `nf.augment.Shift` move the labels with their image.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.models.unet((64, 64, 1), classes=3, depth=3, width=0.25)
    <Model 'unet': 481,779 parameters, float32>
    """
    classes = integer("unet", "classes", classes, at_least=1)
    depth = integer("unet", "depth", depth, at_least=1)
    width = number("unet", "width", width, above=0)
    boolean("unet", "batch_norm", batch_norm)
    image = Input(input_shape, data_format=data_format)
    if len(image.shape) != 3 or any(size % 2**depth for size in image.shape[:2]):
        raise ValueError("unet: input_shape must be of an image, height, width and channels, the first two multiples "
                         f"of 2 ** depth = {2**depth}, got {image.data_shape}")
    filters = [scaled(64 * 2**level, width) for level in range(depth + 1)]
    x, skipped = image, []
    for level in range(depth):
        x = level_of(x, filters[level], batch_norm)
        skipped.append(x)
        x = MaxPool2D(2)(x)
    x = level_of(x, filters[depth], batch_norm)
    for level in reversed(range(depth)):
        x = Conv2DTranspose(filters[level], 2, stride=2, kernel_initializer="he_normal")(x)
        x = level_of(Concatenate()([skipped[level], x]), filters[level], batch_norm)
    output = Conv2D(classes, 1, activation="softmax" if classes > 1 else "sigmoid")(x)
    return Model(image, output, **{"name": "unet", **arguments})


def level_of(x, filters, batch_norm):
    """Two convolutions of a U-Net."""
    for _ in range(2):
        if batch_norm:
            x = Activation("relu")(convolved(x, filters))
        else:
            x = Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
    return x


def convolved(x, filters, kernel_size=3, stride=1):
    """A convolution without bias, and its batch normalization."""
    x = Conv2D(filters, kernel_size, stride=stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    return BatchNorm()(x)


def scaled(count, width):
    """`count` filters or units times `width`, at least one."""
    return max(1, round(count * width))
