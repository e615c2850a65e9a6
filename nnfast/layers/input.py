"""The place where data enters a graph."""

from .base import Value, check_shape


class Input(Value):
    """An input of a model.

    Parameters
    ----------
    shape : tuple of int, or int
        Shape of one sample, without the batch axis.
    name : str, optional
        Names the array in error messages and in a dict of inputs; unnamed inputs become ``input``, ``input_1``, ...

    Examples
    --------
    >>> import nnfast as nf
    >>> x = nf.Input((4,), name="state")
    >>> nf.Dense(2)(x).shape
    (2,)
    """

    __slots__ = ("name",)

    def __init__(self, shape, name=None):
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"Input: name must be a non-empty string without '/', got {name!r}")
        super().__init__(None, (), check_shape(name or "Input", "shape", shape))
        self.name = name

    def __repr__(self):
        return f"Input({self.shape}, name={self.name!r})"
