"""Sequential: a model that is a list of layers, which the first data may shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .arrays import as_numbers
from .graph import Graph, format_config, layer_config, number_names
from .layers import Input, Layer, Value
from .layers.base import check_shape
from .layout import check_format
from .model import Model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from .typing import Config, DataFormat, ShapeLike


class Sequential(Model):
    """A network whose layers follow one another.

    Parameters
    ----------
    layers : list of Layer
        The first entry may be an `Input`.
    input_shape : tuple of int, optional
        Shape of one sample, without the batch axis. If left out, the first data given to `fit`, `predict` or another
        method decides.
    seed : int or None
        Keys the initial weights, the shuffling and dropout. None draws one from the system.
    dtype : "float32" or "float64"
        Precision of parameters, activations and results.
    name : str, optional
    data_format : "channels_last" or "channels_first"
        Order of the axes of data with more than one axis, (H, W, C) or (C, H, W): `input_shape` and all arrays have it.
        Parameters and what layers see are channels last in any case.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> y = np.array([0, 1, 1, 0])
    >>> model = nf.Sequential([nf.Dense(8, activation="tanh"), nf.Dense(2, activation="softmax")], seed=0)
    >>> model.compile(nf.Adam(0.05), "cross_entropy", metrics=["accuracy"])
    >>> history = model.fit(x, y, batch_size=4, epochs=200, verbose=0)
    >>> model.predict(x).argmax(axis=1)
    array([0, 1, 1, 0])
    """

    def __init__(self, layers: Sequence[Layer | Input], input_shape: ShapeLike | None = None, seed: int | None = 0,
                 dtype: DTypeLike = "float32", name: str | None = None,
                 data_format: DataFormat = "channels_last") -> None:
        self._setup(seed, dtype, name)
        self._data_format = check_format("Sequential", data_format)
        if not isinstance(layers, (list, tuple)):
            raise TypeError(f"Sequential: expected a list of layers, got {type(layers).__name__}")
        layers = cast("list[Any]", list(layers))
        self._input: Any = None
        if layers and isinstance(layers[0], Input):
            self._input = layers.pop(0)
            if input_shape is not None:
                raise ValueError("Sequential: the input shape is given twice, by input_shape and by the Input layer")
            if data_format not in ("channels_last", self._input.data_format):
                raise ValueError(f"Sequential: data_format is {data_format!r}, that of the Input layer "
                                 f"{self._input.data_format!r}")
            self._data_format = self._input.data_format
        elif input_shape is not None:
            self._input = Input(check_shape("Sequential", "input_shape", input_shape), data_format=data_format)
        if not layers:
            raise ValueError("Sequential: needs at least one layer")
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                what = layer.__name__ + ", a class: call it" if isinstance(layer, type) else type(layer).__name__
                hint = "; graphs are made by nf.Model(inputs, outputs)" if isinstance(layer, Value) else ""
                raise TypeError(f"Sequential: layers must be nf layers, entry {i} is {what}{hint}")
            if layer.model is not None:
                raise ValueError(f"layer {layer.label} already belongs to another model, as its weights do; make a new "
                                 "layer, or copy the whole model with model.clone()")
            if layer in layers[:i]:
                raise ValueError(f"layer {layer.label} is listed twice; shared layers are not supported")
        names = number_names([layer.given_name for layer in layers], [layer.kind for layer in layers], "layer")
        self._layers = layers
        if self._input is not None:
            for layer, layer_name in zip(layers, names):
                layer.announce(layer_name)
            self._build(self._input)
        else:
            for layer, layer_name in zip(layers, names):
                layer.bind(self, layer_name)

    def _build(self, value):
        x = value
        for layer in self._layers:
            value = layer(value)
        self._set_graph(Graph([x], [value], self))

    def _build_from(self, x):
        """Build from the shape of data, if the shape is not known."""
        if self._graph is None:
            x = x if hasattr(x, "tocsr") else as_numbers(x, "model input")
            if x.ndim < 2:
                raise ValueError(f"model input: expected shape (N, ...), one row per sample, got {x.shape}")
            if 0 in x.shape:
                raise ValueError(f"model input: empty data, shape {x.shape}")
            self._build(Input(x.shape[1:], data_format=self._data_format))

    @property
    def layers(self) -> list[Layer]:
        """The layers in order."""
        return list(self._layers)

    def _copy_layers(self, other):
        self._layers = [layer.copy() for layer in other._layers]
        if other.built:
            inputs, outputs = other._graph.rebuild(self._layers)
            self._graph = Graph(inputs, outputs, self)
        for layer in self._layers:
            layer.bind(self, layer.given_name)

    def __setstate__(self, state):
        super().__setstate__(state)
        for layer in self._layers:
            layer.bind(self, layer.name)

    def get_config(self) -> Config:
        shape = list(self.input_shapes[0]) if self.built else None
        name = self._graph.inputs[0].name if self.built else None
        return {"class": "Sequential", **self._common_config(), "input_shape": shape, "input_name": name,
                **format_config(self._data_format),
                "layers": [layer_config(layer) for layer in self._layers]}
