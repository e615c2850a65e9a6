"""Pooling: the largest value, or the mean, of each channel in a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..configurable import boolean
from ..geometry import check_padding, check_sizes, global_window, pooling_window, spatial
from .base import Layer, ParameterSpec, check_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..geometry import Window
    from ..typing import Padding, Shape, Size


class Pooling(Layer):
    """What the pooling layers share; `axes` is the number of spatial axes."""

    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int]
    padding: Padding

    axes = 2
    fields: tuple[str, ...] = ("kernel_size", "stride", "padding")

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Padding = "valid",
                 name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name, trainable)
        self.kernel_size = check_sizes(self.label, "kernel_size", kernel_size, self.axes)
        self.stride = self.kernel_size if stride is None else check_sizes(self.label, "stride", stride, self.axes)
        self.padding = check_padding(self.label, padding, self.axes)

    def window(self, input_shape: Shape) -> Window:
        """Where the windows stand on an input (L, C) or (H, W, C)."""
        shape, _ = spatial(self.label, input_shape, self.axes)
        return pooling_window(self.label, shape, self.kernel_size, self.stride, self.padding)

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        shape = self.one_input(input_shapes)
        return check_shape(self.label, "output", (*self.window(shape).output[2 - self.axes:], shape[-1])), []


class MaxPooling(Pooling):
    """The part of `MaxPool1D` and `MaxPool2D` that does not depend on the number of axes."""

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "max_pool", "window": self.window(input_shapes[0]).as_tuple(), "channels": input_shapes[0][-1]}


class AveragePooling(Pooling):
    """The part of `AvgPool1D` and `AvgPool2D` that does not depend on the number of axes."""

    fields = (*Pooling.fields, "count_include_pad")

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Padding = "valid",
                 count_include_pad: bool = False, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(kernel_size, stride, padding, name, trainable)
        self.count_include_pad = boolean(self.label, "count_include_pad", count_include_pad)

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "average_pool", "window": self.window(input_shapes[0]).as_tuple(),
                "channels": input_shapes[0][-1], "include_pad": self.count_include_pad}


class MaxPool1D(MaxPooling):
    """The largest value of each channel in windows along a signal: (L, C) -> (OL, C).

    Parameters
    ----------
    kernel_size : int
    stride : int, optional
        The kernel's size if left out.
    padding : "valid", "same", int or (left, right)
        Smaller than the kernel. Padding never is the largest value: it counts as -inf.
    name : str, optional

    Notes
    -----
    The first of several equal maxima gets the gradient. NaN counts as the largest value.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.MaxPool1D(2)], input_shape=(5, 1))
    >>> model.predict([[[1.0], [4.0], [3.0], [2.0], [9.0]]])[0, :, 0]
    array([4., 3.], dtype=float32)
    """

    kind = "max_pool1d"
    axes = 1


class MaxPool2D(MaxPooling):
    """The largest value of each channel in windows over an image: (H, W, C) -> (OH, OW, C).

    Parameters
    ----------
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        The kernel's size if left out.
    padding : "valid", "same", int or ((top, bottom), (left, right))
        Smaller than the kernel. Padding never is the largest value: it counts as -inf.
    name : str, optional

    Notes
    -----
    The first of several equal maxima, row by row, gets the gradient. NaN counts as the largest value. A 2 x 2 pooling
    right after a convolution and its relu, relu6, tanh, sigmoid, hard_sigmoid, elu, selu or leaky_relu runs inside it,
    unless its kernel is 1 x 1.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.MaxPool2D(3, stride=2, padding="same")(nf.Input((28, 28, 8))).shape
    (14, 14, 8)
    """

    kind = "max_pool2d"


class AvgPool1D(AveragePooling):
    """The mean of each channel in windows along a signal: (L, C) -> (OL, C).

    Parameters
    ----------
    kernel_size : int
    stride : int, optional
        The kernel's size if left out.
    padding : "valid", "same", int or (left, right)
        Smaller than the kernel.
    count_include_pad : bool
        False: the mean over the input's elements in the window. True: padding counts as zeros.
    name : str, optional

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.AvgPool1D(2, padding=(1, 0))], input_shape=(3, 1))
    >>> model.predict([[[1.0], [4.0], [2.0]]])[0, :, 0]
    array([1., 3.], dtype=float32)
    """

    kind = "avg_pool1d"
    axes = 1


class AvgPool2D(AveragePooling):
    """The mean of each channel in windows over an image: (H, W, C) -> (OH, OW, C).

    Parameters
    ----------
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        The kernel's size if left out.
    padding : "valid", "same", int or ((top, bottom), (left, right))
        Smaller than the kernel.
    count_include_pad : bool
        False: the mean over the input's pixels in the window. True: padding counts as zeros.
    name : str, optional

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.AvgPool2D(2)(nf.Input((28, 28, 8))).shape
    (14, 14, 8)
    """

    kind = "avg_pool2d"


class GlobalPooling(Layer):
    """What `GlobalMaxPool` and `GlobalAvgPool` share: one window over everything."""

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        shape = self.one_input(input_shapes)
        global_window(self.label, shape)
        return (shape[-1],), []

    def _place(self, input_shapes):
        shape = input_shapes[0]
        return {"window": global_window(self.label, shape).as_tuple(), "channels": shape[-1]}


class GlobalMaxPool(GlobalPooling):
    """The largest value of each channel: (L, C) or (H, W, C) -> (C,). Ties and NaN as in `MaxPool2D`.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.GlobalMaxPool()(nf.Input((7, 7, 64))).shape
    (64,)
    """

    kind = "global_max_pool"

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "max_pool", **self._place(input_shapes)}


class GlobalAvgPool(GlobalPooling):
    """The mean of each channel: (L, C) or (H, W, C) -> (C,).

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.GlobalAvgPool()], input_shape=(2, 2, 1))
    >>> model.predict([[[[1.0], [2.0]], [[3.0], [6.0]]]])
    array([[3.]], dtype=float32)
    """

    kind = "global_avg_pool"

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "average_pool", "include_pad": False, **self._place(input_shapes)}
