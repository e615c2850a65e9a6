"""What a layer is: immutable data that tells shapes, parameters and the node it becomes in the plan.

Design:
1. A layer computes nothing and holds no weights. `build` is a pure function from input shapes to the output shape and
   the parameters wanted; `node` writes the attributes of the compiled operation. Weights live in the model.
2. Shapes never contain the batch axis, and layout is channels last: (features,), (H, W, C).
3. Calling a layer on a `Value` makes a new `Value`: the graph is the chain of values back to the inputs.
4. Adding a layer = one file here with one class, and its line in the table `LAYERS` of `__init__.py`.
"""

from __future__ import annotations

import inspect
import math
import re
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import numpy as np

from ..configurable import Configurable, argument_text, boolean, integer
from ..names import Explained, hint, of_nnfast

if TYPE_CHECKING:
    from ..initializers import Initializer
    from ..model import Model
    from ..regularizers import Regularizer
    from ..typing import Config, Shape, ShapeLike


class ParameterSpec(NamedTuple):
    """A parameter a layer asks for; the model names it ``<layer>/<name>`` and owns its array.

    `kind` is "kernel" (trained, under regularizers), "bias" (trained, never penalised) or "state" (numbers that the
    forward pass keeps up, such as running statistics: never trained). No value may be below `minimum`.
    """

    name: str
    shape: Shape
    kind: str
    initializer: Initializer
    fan_in: int
    fan_out: int
    regularizer: Regularizer | None = None
    minimum: float | None = None


class Value:
    """The array that flows from one layer to the next while a graph is being written down.

    Attributes
    ----------
    layer : Layer or None
        The layer that makes it; None for an `Input`.
    inputs : tuple of Value
        What the layer was called on.
    shape : tuple of int
        Without the batch axis.
    """

    __slots__ = ("layer", "inputs", "shape", "specs")

    def __init__(self, layer: Layer | Any, inputs: tuple[Value, ...], shape: Shape,
                 specs: Sequence[ParameterSpec] = ()) -> None:
        self.layer = layer
        self.inputs = inputs
        self.shape = shape
        self.specs = tuple(specs)

    def __repr__(self) -> str:
        return f"<Value of {self.layer.label}, shape {self.shape}>"


class Layer(Explained):
    """Base class of all layers.

    Parameters
    ----------
    name : str, optional
        Unique in its model, without "/"; the model numbers unnamed layers: ``dense``, ``dense_1``, ...
    trainable : bool
        False freezes the layer's parameters: they get no update. May be changed at any time.

    A layer belongs to one model, as its weights do; `Model.clone` copies both.

    Examples
    --------
    >>> import nnfast as nf
    >>> layer = nf.Dense(8, activation="relu", name="hidden")
    >>> model = nf.Sequential([layer, nf.Dense(2)], input_shape=(3,))
    >>> layer.trainable = False
    >>> model.layers
    [Dense(8, activation='relu', name='hidden', trainable=False), Dense(2)]
    """

    #: the stem of automatic names, and the class's name in model files via the table in ``__init__``
    kind = "layer"
    #: names of the constructor's arguments that `get_config` writes, besides name and trainable
    fields: tuple[str, ...] = ()
    #: whether a graph has been made of the fields as they are
    _fixed = False

    def __init__(self, name: str | None = None, trainable: bool = True) -> None:
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"{self.kind}: name must be a non-empty string without '/', got {name!r}")
        self._given_name = self._name = name
        self._trainable = boolean(self.label, "trainable", trainable)
        self._model: weakref.ref[Model] | None = None

    if not TYPE_CHECKING:   # which would take it that any attribute may be set
        def __setattr__(self, name, value):
            # The shapes of a graph, and later the compiled plan, are made of what they were.
            if self._fixed and name in type(self).fields and name in self.__dict__:
                raise AttributeError(f"{self.label}: {name} is fixed; make a new {type(self).__name__}")
            # Users may keep what they like with a layer, but not what they would take for a setting.
            if name[0] != "_" and name not in self.fields and not hasattr(type(self), name) and of_nnfast(self):
                if instead := hint(name, ("trainable",)):
                    raise AttributeError(f"{type(self).__name__} has no {name!r}{instead}")
            super().__setattr__(name, value)

    @property
    def name(self) -> str | Any:
        """The layer's name; None until it belongs to a model if none was given."""
        return self._name

    @property
    def label(self) -> str:
        """What error messages call the layer."""
        return self._name or self.kind

    @property
    def trainable(self) -> bool:
        """Whether the optimizer updates this layer's parameters."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        value = boolean(self.label, "trainable", value)
        if value != self._trainable:
            self._trainable = value
            model = self.model
            if model is not None:
                model._drop_plan()  # the plan was made for the old set of trained parameters

    @property
    def model(self) -> Model | None:
        """The model this layer belongs to, or None."""
        return None if self._model is None else self._model()

    def announce(self, name: str) -> None:
        """Name the layer for error messages while a model is built that will bind it."""
        self._name = name

    def bind(self, model: Model, name: str) -> None:
        """Hand the layer to `model` under `name`."""
        self._model = weakref.ref(model)
        self._name = name
        self._fixed = True

    def copy(self) -> Self:
        """The same layer, name included, without a model."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, _model=None, _given_name=self._name)
        return new

    __copy__ = copy

    @property
    def given_name(self) -> str | None:
        """The name the user gave, or None; automatic names are the model's and may change with it."""
        return self._given_name

    def __getstate__(self):
        return self.__dict__ | {"_model": None}

    # Any, so that mypy lets ``x = nf.Dense(8)(x)`` follow ``x = nf.Input(3)``, whose type is a subclass of Value.
    def __call__(self, inputs: Value | Sequence[Value]) -> Any:
        """Write one use of the layer into a graph.

        Parameters
        ----------
        inputs : Value or sequence of Value
            Several for `Add`, `Concatenate` and `Lambda`.

        Returns
        -------
        Value

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.Dense(8)(nf.Input((3,)))
        <Value of dense, shape (8,)>
        """
        several = isinstance(inputs, Sequence) and not isinstance(inputs, str)
        inputs = tuple(cast("Sequence[Value]", inputs)) if several else (cast("Value", inputs),)
        for value in inputs:
            if not isinstance(value, Value):
                raise TypeError(
                    f"{self.label}: a layer is called on nf.Input(...) or on another layer's result, "
                    f"got {type(value).__name__}; to run a model on data use model.predict"
                )
        shape, specs = self.build([value.shape for value in inputs])
        self._fixed = True
        return Value(self, inputs, shape, specs)

    def build(self, input_shapes: Sequence[Shape]) -> tuple[Shape, list[ParameterSpec]]:
        """Check the input shapes; return the output shape and the parameters wanted.

        Parameters
        ----------
        input_shapes : list of tuple of int
            One per input, without the batch axis.

        Returns
        -------
        shape : tuple of int
        specs : list of ParameterSpec
        """
        raise NotImplementedError(f"{type(self).__name__} must define build")

    def node(self, input_shapes: Sequence[Shape], parameters: dict[str, int], seed: int) -> dict[str, Any]:
        """The operation of the plan: a dict with "op" and its attributes.

        Parameters
        ----------
        input_shapes : list of tuple of int
        parameters : dict of str to int
            The index of each parameter `build` asked for.
        seed : int
            The layer's own random stream.
        """
        raise NotImplementedError(f"{type(self).__name__} must define node")

    def output_activation(self) -> str | None:
        """The last activation's name, or None to ask the layer before."""
        return "linear"

    def get_config(self) -> Config:
        """The constructor's arguments as JSON-able data.

        >>> import nnfast as nf
        >>> nf.MaxPool2D(2, name="pool").get_config()
        {'name': 'pool', 'trainable': True, 'kernel_size': [2, 2], 'stride': [2, 2], 'padding': 'valid'}
        """
        config: Config = {"name": self._name, "trainable": self._trainable}
        for field in self.fields:
            value = getattr(self, field)
            config[field] = value.to_config() if isinstance(value, Configurable) else as_lists(value)
        return config

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """The inverse of `get_config`; ValueError if an argument is unknown or missing.

        >>> import nnfast as nf
        >>> nf.MaxPool2D.from_config({"kernel_size": [2, 2], "padding": "same"})
        MaxPool2D(2, padding='same')
        """
        if not isinstance(config, dict):
            raise TypeError(f"{cls.__name__}: the configuration must be a dict, got {type(config).__name__}")
        try:
            inspect.signature(cls).bind(**config)
        except TypeError as error:
            raise ValueError(f"{cls.__name__}: bad configuration {config!r}: {error}") from error
        return cls(**config)

    def one_input(self, input_shapes: Sequence[Shape]) -> Shape:
        """The only input's shape, or an error for several."""
        if len(input_shapes) != 1:
            raise ValueError(f"{self.label}: takes one input, got {len(input_shapes)}")
        return input_shapes[0]

    def _argument(self, field):
        """A field in the shortest form that the constructor takes."""
        value = getattr(self, field)
        if field in ("kernel_size", "stride", "dilation") and isinstance(value, tuple) and len(set(value)) == 1:
            return value[0]
        return value

    def __repr__(self) -> str:
        parameters = inspect.signature(type(self)).parameters
        needed = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
        plain = None
        if set(needed) <= set(self.fields):
            plain = type(self)(**{name: getattr(self, name) for name in needed})
        parts = []
        for field in self.fields:
            text = argument_text(self._argument(field))
            if field in needed:
                parts.append(text)
            elif plain is None or text != argument_text(plain._argument(field)):
                parts.append(f"{field}={text}")
        if self._name is not None and not re.fullmatch(rf"{self.kind}(_\d+)?", self._name):
            parts.append(f"name={self._name!r}")
        if not self._trainable:
            parts.append("trainable=False")
        return f"{type(self).__name__}({', '.join(parts)})"


def as_lists(value):
    """Tuples, and tuples in them, as JSON has them."""
    return [as_lists(entry) for entry in value] if isinstance(value, tuple) else value


def check_shape(who: str, what: str, shape: ShapeLike) -> Shape:
    """`shape` (an int or a sequence of ints) as a tuple of positive ints, without the batch axis."""
    if isinstance(shape, (int, np.integer)) and not isinstance(shape, bool):
        shape = (shape,)
    if type(shape) is not tuple and not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) == 0:
        raise TypeError(f"{who}: {what} must be a tuple of positive integers without the batch axis, got {shape!r}")
    if not all(type(size) is int and size >= 1 for size in shape):  # the words for an error cost more than the check
        shape = [integer(who, f"{what} {tuple(shape)!r}: a size", size, at_least=1) for size in shape]
    shape = tuple(shape)
    if math.prod(shape) > 2**40:
        raise ValueError(f"{who}: {what} {shape} has {math.prod(shape):,} elements, more than this library computes")
    return shape

