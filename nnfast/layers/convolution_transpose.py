"""Transposed convolutions: from small images to larger ones, as in decoders and generators.

    y[n, i', j', k] = f(b[k] + sum_{r, s, c} w[r, s, k, c] x[n, i, j, c])  over all i, j, r, s with
    i' = i stride + r dilation - top,  j' = j stride + s dilation - left

Each element of the input adds the kernel, times itself, to the output: the transpose of the convolution with the same
kernel (`convolution`), or its input gradient. It is also called a deconvolution, though it inverts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..configurable import integer
from ..geometry import check_output_padding, spatial, transposed_window
from .activation import ActivatedLayer
from .base import ParameterSpec, check_shape
from .convolution import Convolution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..geometry import Window
    from ..typing import ActivationLike, InitializerLike, Padding, RegularizerLike, Shape, Size


class TransposedConvolution(Convolution):
    """What the transposed convolutions share; `axes` is the number of spatial axes."""

    output_padding: int | tuple[int, int]

    fields = ("filters", "kernel_size", "stride", "padding", "output_padding", "dilation", "activation", "use_bias",
              "kernel_initializer", "bias_initializer", "kernel_regularizer")

    def __init__(self, filters: int, kernel_size: Size, stride: Size = 1, padding: Padding = "valid",
                 output_padding: Size = 0, dilation: Size = 1, activation: ActivationLike = "linear",
                 use_bias: bool = True, kernel_initializer: InitializerLike = "glorot_uniform",
                 bias_initializer: InitializerLike = "zeros", kernel_regularizer: RegularizerLike | None = None,
                 name: str | None = None, trainable: bool = True) -> None:
        ActivatedLayer.__init__(self, name, trainable)
        self.filters = integer(self.label, "filters", filters, at_least=1)
        self._set_common(kernel_size, stride, padding, dilation, activation, use_bias, kernel_initializer,
                         bias_initializer, kernel_regularizer)
        self.output_padding = check_output_padding(self.label, output_padding, self.stride, self.padding, self.axes)

    def channels(self, input_channels: int) -> tuple[int, int]:
        """(groups, output channels)."""
        return 1, self.filters

    def window(self, input_shape: Shape) -> Window:
        """Where the kernel stands on the output: the window of the convolution from there to the input."""
        shape, channels = spatial(self.label, input_shape, self.axes)
        return transposed_window(self.label, shape, self.kernel_size, self.stride, self.padding, self.output_padding,
                                 self.dilation, max(channels, self.filters))

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        shape = self.one_input(input_shapes)
        _, inputs = spatial(self.label, shape, self.axes)
        place = self.window(shape)
        kernel = check_shape(self.label, "kernel", (*place.kernel[2 - self.axes:], self.filters, inputs))
        area = place.kernel[0] * place.kernel[1]
        # An element of the output meets every stride-th tap.
        fan_in, fan_out = -(-area * inputs // (place.stride[0] * place.stride[1])), area * self.filters
        specs = [ParameterSpec("kernel", kernel, "kernel", self.kernel_initializer, fan_in, fan_out,
                               self.kernel_regularizer)]
        if self.use_bias:
            specs.append(ParameterSpec("bias", (self.filters,), "bias", self.bias_initializer, fan_in, fan_out))
        return check_shape(self.label, "output", (*place.input[2 - self.axes:], self.filters)), specs

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "conv_transpose", "kernel": parameters["kernel"], "bias": parameters.get("bias", -1),
                "window": self.window(input_shapes[0]).as_tuple(), "channels": self.filters,
                "activation": self.activation.activation, "alpha": self.activation.alpha}


class Conv1DTranspose(TransposedConvolution):
    """Transposed convolution of a signal: with a stride it becomes so many times as long.

    Input (L, C), output (OL, filters), kernel (S, filters, C), bias (filters,); channels last. Without "same",
    OL = (L - 1) stride + (S - 1) dilation + 1 - left - right + output_padding.

    Parameters
    ----------
    filters, kernel_size, stride, padding, output_padding, dilation, activation, use_bias, kernel_initializer,
    bias_initializer, kernel_regularizer, name, trainable
        As in `Conv2DTranspose`, along one axis; padding is "valid", "same", int or (left, right).

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Conv1DTranspose(8, 4, stride=2, padding="same")(nf.Input((50, 2))).shape
    (100, 8)
    """

    kind = "conv1d_transpose"
    axes = 1


class Conv2DTranspose(TransposedConvolution):
    """Transposed convolution of an image: with a stride it becomes so many times as high and wide.

    Input (H, W, C), output (OH, OW, filters), kernel (R, S, filters, C), bias (filters,); channels last. Without
    "same", OH = (H - 1) stride + (R - 1) dilation + 1 - top - bottom + output_padding, likewise OW.

    Parameters
    ----------
    filters : int
        Channels of the output.
    kernel_size : int or (int, int)
        Height and width of the kernel. A multiple of the stride treats all pixels of the output alike.
    stride : int or (int, int)
        Pixels of the output from one pixel of the input to the next.
    padding : "valid", "same", int or ((top, bottom), (left, right))
        What is cut off around the output: the padding of the convolution that goes back. "same" is TensorFlow's:
        (H stride) x (W stride) outputs.
    output_padding : int or (int, int)
        Rows and columns more at the bottom and right, fewer than the stride; 0 with "same". A strided convolution makes
        several sizes of input one size of output; this chooses among them on the way back. Keras's "valid", where the
        kernel is smaller than the stride, is ours with ``output_padding=stride - kernel_size``.
    dilation : int or (int, int)
        Pixels from one element of the kernel to the next.
    activation : str or Activation
        Name of an activation (see `Activation`), or ``nf.Activation("leaky_relu", alpha=0.1)`` to set its alpha.
    use_bias : bool
    kernel_initializer, bias_initializer : str or initializer
        Starting values; ``"glorot_uniform"`` and ``"zeros"`` by default. fan_in is the number of inputs that an element
        of the output is made of: kernel area x C / stride^2.
    kernel_regularizer : nf.L1, nf.L2, nf.L1L2, optional
        Penalty on the kernel, added to the mean loss. Biases are never penalised.
    name : str, optional
    trainable : bool

    Raises
    ------
    ValueError
        When the layer is called, if the padding leaves nothing of the output.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Conv2DTranspose(3, 4, stride=2, padding=1)], input_shape=(16, 16, 8))
    >>> model.output_shape, model.parameters["conv2d_transpose/kernel"].shape
    ((32, 32, 3), (4, 4, 3, 8))
    """

    kind = "conv2d_transpose"
