"""A fixed linear map of every element, for data that come in other units than a network wants."""

from ..configurable import number
from .base import Layer


class Rescale(Layer):
    """``y = x * scale + offset`` for every element, whatever the shape.

    As the first layer it takes uint8 images as they are: they stay bytes until the compiled loop reads them.

    Parameters
    ----------
    scale : float
    offset : float
    name : str, optional

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Rescale(1 / 128, offset=-1)], input_shape=(3,))
    >>> model.predict(np.array([[0, 128, 192]], dtype=np.uint8))
    array([[-1. ,  0. ,  0.5]], dtype=float32)
    """

    kind = "rescale"
    fields = ("scale", "offset")

    def __init__(self, scale, offset=0.0, name=None, trainable=True):
        super().__init__(name, trainable)
        self.scale = number(self.label, "scale", scale)
        self.offset = number(self.label, "offset", offset)

    def build(self, input_shapes):
        return self.one_input(input_shapes), []

    def node(self, input_shapes, parameters, seed):
        return {"op": "rescale", "scale": self.scale, "offset": self.offset}
