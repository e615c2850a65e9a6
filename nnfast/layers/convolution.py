"""Convolutions of signals and images: every output is a weighted sum over a window of the input.

    y[n, i, j, k] = f(b[k] + sum_{r, s, c} w[r, s, c, k] x[n, i', j', c])
    i' = i stride + r dilation - top,  j' = j stride + s dilation - left

with x zero outside. As in all frameworks this is a cross-correlation: the kernel is not flipped (see
`nnfast.functional.conv_toeplitz`, which has both).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import initializers, regularizers
from ..configurable import boolean, integer
from ..geometry import check_groups, check_padding, check_sizes, spatial, window
from .activation import ActivatedLayer, get_activation
from .base import ParameterSpec, check_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..geometry import Window
    from ..initializers import Initializer
    from ..regularizers import Regularizer
    from ..typing import ActivationLike, InitializerLike, Padding, RegularizerLike, Shape, Size


class Convolution(ActivatedLayer):
    """What the convolution layers share; `axes` is the number of spatial axes."""

    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int]
    padding: Padding
    dilation: int | tuple[int, int]
    use_bias: bool
    kernel_initializer: Initializer
    bias_initializer: Initializer
    kernel_regularizer: Regularizer | None

    axes = 2
    fields: tuple[str, ...] = (
        "filters", "kernel_size", "stride", "padding", "dilation", "groups", "activation", "use_bias",
        "kernel_initializer", "bias_initializer", "kernel_regularizer",
    )

    def __init__(self, filters: int, kernel_size: Size, stride: Size = 1, padding: Padding = "valid",
                 dilation: Size = 1, groups: int = 1, activation: ActivationLike = "linear", use_bias: bool = True,
                 kernel_initializer: InitializerLike = "glorot_uniform", bias_initializer: InitializerLike = "zeros",
                 kernel_regularizer: RegularizerLike | None = None, name: str | None = None,
                 trainable: bool = True) -> None:
        super().__init__(name, trainable)
        self.filters = integer(self.label, "filters", filters, at_least=1)
        self.groups = integer(self.label, "groups", groups, at_least=1)
        self._set_common(kernel_size, stride, padding, dilation, activation, use_bias, kernel_initializer,
                         bias_initializer, kernel_regularizer)

    def _set_common(self, kernel_size, stride, padding, dilation, activation, use_bias, kernel_initializer,
                    bias_initializer, kernel_regularizer):
        self.kernel_size = check_sizes(self.label, "kernel_size", kernel_size, self.axes)
        self.stride = check_sizes(self.label, "stride", stride, self.axes)
        self.padding = check_padding(self.label, padding, self.axes)
        self.dilation = check_sizes(self.label, "dilation", dilation, self.axes)
        self.activation = get_activation(activation, self.label)
        self.use_bias = boolean(self.label, "use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def window(self, input_shape: Shape) -> Window:
        """Where the kernel stands on an input (L, C) or (H, W, C)."""
        shape, channels = spatial(self.label, input_shape, self.axes)
        return window(self.label, shape, self.kernel_size, self.stride, self.padding, self.dilation,
                      max(channels, self.channels(channels)[1]))

    def channels(self, input_channels: int) -> tuple[int, int]:
        """(groups, output channels) for this number of input channels."""
        return check_groups(self.label, self.groups, input_channels, self.filters), self.filters

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        shape = self.one_input(input_shapes)
        _, inputs = spatial(self.label, shape, self.axes)
        place = self.window(shape)
        groups, outputs = self.channels(inputs)
        kernel = (*place.kernel[2 - self.axes:], inputs // groups, outputs)
        area = place.kernel[0] * place.kernel[1]
        fan_in, fan_out = area * inputs // groups, area * outputs // groups
        specs = [ParameterSpec("kernel", check_shape(self.label, "kernel", kernel), "kernel", self.kernel_initializer,
                               fan_in, fan_out, self.kernel_regularizer)]
        if self.use_bias:
            specs.append(ParameterSpec("bias", (outputs,), "bias", self.bias_initializer, fan_in, fan_out))
        return check_shape(self.label, "output", (*place.output[2 - self.axes:], outputs)), specs

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        channels = input_shapes[0][-1]
        return {"op": "conv", "kernel": parameters["kernel"], "bias": parameters.get("bias", -1),
                "window": self.window(input_shapes[0]).as_tuple(), "channels": channels,
                "groups": self.channels(channels)[0],
                "activation": self.activation.activation, "alpha": self.activation.alpha}


class Conv1D(Convolution):
    """Convolution of a signal.

    Input (L, C), output (OL, filters), kernel (S, C / groups, filters), bias (filters,); channels last.

    Parameters
    ----------
    filters : int
        Channels of the output.
    kernel_size : int
    stride : int
        Steps from one output to the next.
    padding : "valid", "same", int or (left, right)
        Zeros around the input. "same" is TensorFlow's: ceil(L / stride) outputs, an odd zero at the right. For a causal
        convolution pad ``((kernel_size - 1) * dilation, 0)``.
    dilation : int
        Steps from one element of the kernel to the next.
    groups : int
        Divides channels and filters: each group of filters sees its own group of channels.
    activation : str or Activation
        Name of an activation (see `Activation`), or ``nf.Activation("leaky_relu", alpha=0.1)`` to set its alpha.
    use_bias : bool
    kernel_initializer, bias_initializer : str or initializer
        Starting values; ``"glorot_uniform"`` and ``"zeros"`` by default.
    kernel_regularizer : nf.L1, nf.L2, nf.L1L2, optional
    name : str, optional
    trainable : bool

    Raises
    ------
    ValueError
        When the layer is called, if the kernel is larger than the padded input, or groups do not divide the channels.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Conv1D(8, 3, padding="same", activation="relu")(nf.Input((100, 2))).shape
    (100, 8)
    """

    kind = "conv1d"
    axes = 1


class Conv2D(Convolution):
    """Convolution of an image.

    Input (H, W, C), output (OH, OW, filters), kernel (R, S, C / groups, filters), bias (filters,); channels last.

    Parameters
    ----------
    filters : int
        Channels of the output.
    kernel_size : int or (int, int)
        Height and width of the kernel.
    stride : int or (int, int)
        Pixels from one output to the next.
    padding : "valid", "same", int or ((top, bottom), (left, right))
        Zeros around the input. "same" is TensorFlow's: ceil(H / stride) x ceil(W / stride) outputs, odd zeros at the
        bottom and right.
    dilation : int or (int, int)
        Pixels from one element of the kernel to the next.
    groups : int
        Divides channels and filters: each group of filters sees its own group of channels.
    activation : str or Activation
        Name of an activation (see `Activation`), or ``nf.Activation("leaky_relu", alpha=0.1)`` to set its alpha.
    use_bias : bool
    kernel_initializer, bias_initializer : str or initializer
        Starting values; ``"glorot_uniform"`` and ``"zeros"`` by default.
    kernel_regularizer : nf.L1, nf.L2, nf.L1L2, optional
        Penalty on the kernel, added to the mean loss. Biases are never penalised.
    name : str, optional
    trainable : bool

    Raises
    ------
    ValueError
        When the layer is called, if the kernel is larger than the padded input, or groups do not divide the channels.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Conv2D(6, (5, 3), stride=2)], input_shape=(28, 28, 1))
    >>> model.output_shape, {name: w.shape for name, w in model.parameters.items()}
    ((12, 13, 6), {'conv2d/kernel': (5, 3, 1, 6), 'conv2d/bias': (6,)})
    """

    kind = "conv2d"


class DepthwiseConv2D(Convolution):
    """Convolution of each channel of an image by itself.

    Input (H, W, C), output (OH, OW, C * depth_multiplier), kernel (R, S, 1, C * depth_multiplier); channels last.
    Output channel k reads input channel ``k // depth_multiplier``: a `Conv2D` with as many groups as channels.

    Parameters
    ----------
    kernel_size : int or (int, int)
    stride : int or (int, int)
    padding : "valid", "same", int or ((top, bottom), (left, right))
    dilation : int or (int, int)
    depth_multiplier : int
        Outputs of each channel.
    activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, name, trainable
        As in `Conv2D`.

    Examples
    --------
    >>> import nnfast as nf
    >>> x = nf.Input((16, 16, 8))
    >>> nf.Conv2D(32, 1)(nf.DepthwiseConv2D(3, padding="same")(x)).shape    # a separable convolution
    (16, 16, 32)
    """

    kind = "depthwise_conv2d"
    fields = ("kernel_size", "stride", "padding", "dilation", "depth_multiplier", "activation", "use_bias",
              "kernel_initializer", "bias_initializer", "kernel_regularizer")

    def __init__(self, kernel_size: Size, stride: Size = 1, padding: Padding = "valid", dilation: Size = 1,
                 depth_multiplier: int = 1, activation: ActivationLike = "linear", use_bias: bool = True,
                 kernel_initializer: InitializerLike = "glorot_uniform", bias_initializer: InitializerLike = "zeros",
                 kernel_regularizer: RegularizerLike | None = None, name: str | None = None,
                 trainable: bool = True) -> None:
        ActivatedLayer.__init__(self, name, trainable)
        self.depth_multiplier = integer(self.label, "depth_multiplier", depth_multiplier, at_least=1)
        self._set_common(kernel_size, stride, padding, dilation, activation, use_bias, kernel_initializer,
                         bias_initializer, kernel_regularizer)

    def channels(self, input_channels: int) -> tuple[int, int]:
        return input_channels, input_channels * self.depth_multiplier
