"""Layers. Each is plain data; see `base.Layer` for what one tells the model."""

from .activation import Activation
from .base import Layer, ParameterSpec, Value
from .dense import Dense
from .dropout import Dropout
from .function import Lambda
from .input import Input
from .merge import Add, Concatenate
from .shape import Flatten, Reshape

#: the layers a model file may name
LAYERS = {cls.__name__: cls for cls in (Dense, Activation, Dropout, Flatten, Reshape, Add, Concatenate)}

__all__ = ["LAYERS", "Activation", "Add", "Concatenate", "Dense", "Dropout", "Flatten", "Input", "Lambda", "Layer",
           "ParameterSpec", "Reshape", "Value"]
