"""Upsampling: each element of a signal or an image several times, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..geometry import check_sizes, spatial, upsampling_window
from .base import Layer, ParameterSpec, check_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..geometry import Window
    from ..typing import Shape, Size


class UpSampling(Layer):
    """What the upsampling layers share; `axes` is the number of spatial axes."""

    size: int | tuple[int, int]

    axes = 2
    fields = ("size",)

    def __init__(self, size: Size = 2, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name, trainable)
        self.size = check_sizes(self.label, "size", size, self.axes)

    def window(self, input_shape: Shape) -> Window:
        """The pooling window over the output that holds one element of the input."""
        shape, channels = spatial(self.label, input_shape, self.axes)
        return upsampling_window(self.label, shape, self.size, channels)

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        shape = self.one_input(input_shapes)
        return check_shape(self.label, "output", (*self.window(shape).input[2 - self.axes:], shape[-1])), []

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        return {"op": "upsample", "window": self.window(input_shapes[0]).as_tuple(), "channels": input_shapes[0][-1]}


class UpSampling1D(UpSampling):
    """Each element of a signal `size` times: (L, C) -> (L size, C).

    Parameters
    ----------
    size : int
    name : str, optional

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.UpSampling1D(3)], input_shape=(2, 1))
    >>> model.predict([[[1.0], [4.0]]])[0, :, 0]
    array([1., 1., 1., 4., 4., 4.], dtype=float32)
    """

    kind = "up_sampling1d"
    axes = 1


class UpSampling2D(UpSampling):
    """Each pixel of an image as a block of size x size pixels: (H, W, C) -> (H size, W size, C).

    The nearest pixel's values, without interpolation; a convolution after it smooths the blocks.

    Parameters
    ----------
    size : int or (int, int)
        How many times as high and wide the image becomes.
    name : str, optional

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.UpSampling2D((2, 3))(nf.Input((5, 5, 8))).shape
    (10, 15, 8)
    """

    kind = "up_sampling2d"
