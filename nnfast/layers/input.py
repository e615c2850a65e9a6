"""The place where data enters a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..layout import check_format, data_shape, model_shape
from ..names import explained
from .base import Value, check_shape

if TYPE_CHECKING:
    from ..typing import DataFormat, Shape, ShapeLike


class Input(Value):
    """An input of a model.

    Parameters
    ----------
    shape : tuple of int, or int
        Shape of one sample as the data have it, without the batch axis.
    name : str, optional
        Names the array in error messages and in a dict of inputs; unnamed inputs become ``input``, ``input_1``, ...
    data_format : "channels_last" or "channels_first"
        Order of the axes of the data, (H, W, C) or (C, H, W). Layers see channels last in any case; the data are
        turned round once on their way in, and results on their way out (see `nnfast.layout`).

    Attributes
    ----------
    shape : tuple of int
        What layers see: channels last.
    data_shape : tuple of int
        What the data have.

    Examples
    --------
    >>> import nnfast as nf
    >>> x = nf.Input((4,), name="state")
    >>> nf.Dense(2)(x).shape
    (2,)
    >>> image = nf.Input((3, 32, 32), data_format="channels_first")
    >>> nf.Conv2D(8, 3)(image).shape
    (30, 30, 8)
    """

    __slots__ = ("name", "data_format")

    name: str | None
    data_format: DataFormat

    @explained
    def __init__(self, shape: ShapeLike, name: str | None = None, data_format: DataFormat = "channels_last") -> None:
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"Input: name must be a non-empty string without '/', got {name!r}")
        shape = check_shape(name or "Input", "shape", shape)
        self.data_format = check_format(name or "Input", data_format, shape)
        super().__init__(None, (), model_shape(shape, data_format))
        self.name = name

    @property
    def data_shape(self) -> Shape:
        """The shape of one sample as the data have it."""
        return data_shape(self.shape, self.data_format)

    def __repr__(self) -> str:
        order = "" if self.data_format == "channels_last" else f", data_format={self.data_format!r}"
        name = "" if self.name is None else f", name={self.name!r}"
        return f"Input({self.data_shape}{name}{order})"
