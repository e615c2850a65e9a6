"""Layers. Each is plain data; see `base.Layer` for what one tells the model."""

from .activation import Activation
from .base import Layer, ParameterSpec, Value
from .convolution import Conv1D, Conv2D, DepthwiseConv2D
from .convolution_transpose import Conv1DTranspose, Conv2DTranspose
from .dense import Dense
from .dropout import Dropout
from .embedding import Embedding
from .function import Lambda
from .input import Input
from .merge import Add, Concatenate, Multiply
from .normalization import BatchNorm, GroupNorm, LayerNorm
from .padding import ZeroPadding2D
from .pooling import AvgPool1D, AvgPool2D, GlobalAvgPool, GlobalMaxPool, MaxPool1D, MaxPool2D
from .rescale import Rescale
from .shape import Flatten, Reshape
from .upsampling import UpSampling1D, UpSampling2D

#: the layers a model file may name
LAYERS: dict[str, type[Layer]] = {cls.__name__: cls for cls in (
    Dense, Conv1D, Conv2D, DepthwiseConv2D, Conv1DTranspose, Conv2DTranspose, MaxPool1D, MaxPool2D, AvgPool1D,
    AvgPool2D, GlobalMaxPool, GlobalAvgPool, UpSampling1D, UpSampling2D, ZeroPadding2D, BatchNorm, LayerNorm, GroupNorm,
    Rescale, Activation, Dropout, Embedding, Flatten, Reshape, Add, Multiply, Concatenate,
)}

__all__ = [
    "LAYERS", "Activation", "Add", "AvgPool1D", "AvgPool2D", "BatchNorm", "Concatenate", "Conv1D",
    "Conv1DTranspose", "Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D", "Dropout", "Embedding", "Flatten",
    "GlobalAvgPool", "GlobalMaxPool", "GroupNorm", "Input", "Lambda", "Layer", "LayerNorm", "MaxPool1D",
    "MaxPool2D", "Multiply", "ParameterSpec", "Rescale", "Reshape", "UpSampling1D", "UpSampling2D", "Value",
    "ZeroPadding2D",
]
