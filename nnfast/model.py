"""Models: a graph of layers, its parameters, and the compiled plan that runs them.

Design:
1. The graph (graph.py) is data. Parameters are Python arrays until the plan is made, then the plan owns them and
   Python reads copies; at any time exactly one of `_values` and `_plan` holds them.
2. The plan is made as late as possible: by `compile`, or by the first call that needs one. Where something it was made
   from changes (a layer is frozen), it is dropped and made anew with parameters and optimizer state carried over.
3. Every method checks all it was given before it changes anything.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ._core.plan import Plan
from .arrays import check_finite
from .class_names import as_names, check_names
from .configurable import integer
from .derivatives import Derivatives
from .fusion import operations
from .graph import (
    Graph,
    config_list,
    layer_from_config,
    values_from_config,
)
from .layers import Input, Layer, Value
from .names import MODELS, Missing
from .summary import plan_text, summary_text
from .training import Training
from .weights import Weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from .callbacks import History
    from .typing import Array, ArrayLike, Config, DataFormat, PathLike, Shape

#: held while a plan is made, so that two threads that need a model's first plan get the same one
PLANNING = threading.RLock()

#: arrays of optimizers that are sums of squares, whose roots are taken
SQUARES = {"v", "square_average", "sum"}
DTYPES = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}


class Model(Weights, Training, Derivatives):
    """A network written as a graph of layer calls.

    Parameters
    ----------
    inputs : Input, or list of Input
    outputs : Value, or list of Value
        Results of layer calls; each must come from a layer of its own, whose name is the output's.
    seed : int or None
        Keys the initial weights, the shuffling and dropout. None draws one from the system.
    dtype : "float32" or "float64"
        Precision of parameters, activations and results.
    name : str, optional

    Attributes
    ----------
    layers : list of Layer
    history : History or None
        Of the last call of `fit`.
    stop_training : bool
        Set by callbacks to end `fit` after the epoch.

    Examples
    --------
    Two inputs, two outputs:

    >>> import nnfast as nf
    >>> a, b = nf.Input((4,), name="a"), nf.Input((3,), name="b")
    >>> h = nf.Dense(8, activation="relu")(nf.Concatenate()([a, b]))
    >>> model = nf.Model([a, b], [nf.Dense(2, name="policy")(h), nf.Dense(1, name="value")(h)])
    >>> model.output_shapes
    [(2,), (1,)]
    """

    name: str
    history: History | Any
    stop_training: bool

    def __init__(self, inputs: Input | Sequence[Input], outputs: Value | Sequence[Value], seed: int | None = 0,
                 dtype: DTypeLike = "float32", name: str | None = None) -> None:
        self._setup(seed, dtype, name)
        inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        self._set_graph(Graph(inputs, outputs, self))

    def _setup(self, seed, dtype, name):
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))
        self._seed = model_seed(type(self).__name__, seed)
        self._dtype = model_dtype(type(self).__name__, dtype)
        if name is not None and (not isinstance(name, str) or not name):
            raise ValueError(f"{type(self).__name__}: name must be a non-empty string, got {name!r}")
        self.name = name or type(self).__name__.lower()
        self._graph = self._values = self._plan = None
        self._settings = self._objective = None
        self._slots, self._steps = {}, 0
        self._epochs = 0
        self._class_names = None
        self._metadata = {}
        self._set_fast_path()
        self.history = None
        self.stop_training = self._interrupted = self._in_fit = False

    def _set_graph(self, graph):
        """Take over a new graph with fresh weights; nothing changes if one of its parts refuses."""
        if self._class_names is not None:
            check_names(self._class_names, graph)
        values = graph.initial_values(self.seed, self._dtype)
        objective = None
        if self._settings is not None and self._settings.objective is not None:
            objective = self._settings.objective.bind(graph)
        graph.bind(self)
        self._graph, self._values, self._objective = graph, values, objective

    # -- what the model is ---------------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers in topological order."""
        return list(self._built().layers)

    def get_layer(self, name: str) -> Layer:
        """The layer called `name`.

        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(8, name="hidden"), nf.Dense(2)], input_shape=(3,))
        >>> model.get_layer("hidden").trainable = False
        >>> model.get_layer("hidden")
        Dense(8, name='hidden', trainable=False)
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"unknown layer {name!r}; this model has {', '.join(layer.name for layer in self.layers)}")

    @property
    def built(self) -> bool:
        """Whether the input shape is known, and so the parameters exist."""
        return self._graph is not None

    @property
    def dtype(self) -> str:
        """"float32" or "float64"."""
        return self._dtype.name

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs."""
        return list(self._built().input_names)

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs: of the layers that make them."""
        return list(self._built().output_names)

    @property
    def input_shapes(self) -> list[Shape]:
        """Shapes of all inputs as the data have them, without the batch axis."""
        return list(self._built().input_data_shapes)

    @property
    def output_shapes(self) -> list[Shape]:
        """Shapes of all outputs as `predict` gives them, without the batch axis."""
        return list(self._built().output_data_shapes)

    @property
    def input_shape(self) -> Shape:
        """Shape of the only input, without the batch axis."""
        return self._only(self.input_shapes, "input")

    @property
    def output_shape(self) -> Shape:
        """Shape of the only output, without the batch axis."""
        return self._only(self.output_shapes, "output")

    @property
    def data_format(self) -> DataFormat:
        """"channels_last" or "channels_first": the order of axes of data and results (see `nnfast.layout`)."""
        return self._built().data_format

    def _only(self, shapes, what):
        if len(shapes) != 1:
            raise ValueError(f"{self.name} has {len(shapes)} {what}s; use {what}_shapes")
        return shapes[0]

    def _built(self):
        if self._graph is None:
            raise ValueError(f"{self.name} is not built: its input shape is not known yet; pass input_shape=(...), or "
                             "call fit or predict with data first")
        return self._graph

    @property
    def class_names(self) -> list[str] | Any:
        """What the values of the output mean, a list of texts, saved with the model; None if not set.

        With several outputs a dict of lists by output name. A single yes/no output may have two names, for 0 and 1.

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(2, activation="softmax")], input_shape=(3,))
        >>> model.class_names = ["cat", "dog"]
        >>> model.class_names[int(model.predict([[1, 2, 3]]).argmax())] in ("cat", "dog")
        True
        """
        names = self._class_names
        if isinstance(names, dict):
            return {output: list(own) for output, own in names.items()}
        return None if names is None else list(names)

    @class_names.setter
    def class_names(self, names: Sequence[str] | Mapping[str, Sequence[str]] | None) -> None:
        if isinstance(names, Mapping):
            names = {output: as_names(own) for output, own in names.items()}
        elif names is not None:
            names = as_names(names)
        if names is not None and self.built:
            check_names(names, self._graph)
        self._class_names = names

    @property
    def metadata(self) -> Config:
        """What else belongs to the model, a dict of JSON-able values that is saved with it: units, sources, encodings.

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(2)], input_shape=(3,))
        >>> model.metadata = {"unit": "metres"}
        >>> model.clone().metadata
        {'unit': 'metres'}
        """
        import json

        return json.loads(json.dumps(self._metadata))

    @metadata.setter
    def metadata(self, metadata: Config) -> None:
        import json

        from .tensor_file import check_depth

        if not isinstance(metadata, dict):
            raise TypeError(f"metadata: expected a dict, got {type(metadata).__name__}")
        try:
            text = json.dumps(metadata, allow_nan=False)
            check_depth(f"[[{text}]]")      # as it lies in files, which are read no deeper
            self._metadata = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"metadata: must be texts, finite numbers, lists and dicts: {error}") from None

    def count_params(self) -> int:
        """The number of parameters, frozen ones and running statistics included.

        >>> import nnfast as nf
        >>> nf.Sequential([nf.Dense(2)], input_shape=(3,)).count_params()
        8
        """
        return sum(int(np.prod(parameter.spec.shape)) for parameter in self._built().parameters)

    def summary(self) -> None:
        """Print a table of the layers: output shape, parameters, FLOPs of one sample, what is fused.

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(2)], input_shape=(3,))
        >>> model.summary()    # doctest: +ELLIPSIS
        sequential: 8 parameters, float32
        ...
        """
        print(summary_text(self))

    def plan(self) -> None:
        """Print what the compiled plan does: its nodes with what is fused and their buffers, for training and for
        inference; what runs sample by sample, and where the threads wait for each other; memory and threads.

        >>> import nnfast as nf
        >>> nf.Sequential([nf.Dense(2, activation="relu")], input_shape=(3,)).plan()
        plan of sequential: float32, at most ...
        stage 1, by samples: forward dense
        ...
        """
        print(plan_text(self))

    def __repr__(self) -> str:
        what = f"{self.count_params():,} parameters" if self.built else "not built"
        return f"<{type(self).__name__} {self.name!r}: {what}, {self.dtype}>"

    def _repr_html_(self) -> str:
        """What notebooks show: the table of `summary`."""
        import html

        return f"<pre>{html.escape(summary_text(self) if self.built else repr(self))}</pre>"

    # -- the plan ------------------------------------------------------------------------------------------------

    def _make_plan(self, settings, objective, values, slots, steps):
        """A plan from all it depends on; the model is only read."""
        graph = self._built()
        regularizer = settings.regularizer if settings else None
        spec = operations(graph.plan_spec(self._dtype, self.seed, regularizer))
        plan = Plan(spec, settings.n_threads if settings else None)
        plan.fast_seed = self.seed
        plan.write_parameters(dict(enumerate(values)))
        if settings is not None:
            optimizer = settings.optimizer
            plan.set_optimizer(optimizer.kind, optimizer.hyperparameters(), optimizer.clip_norm or 0.0,
                               optimizer.clip_value or 0.0)
            names = plan.optimizer_slots()
            plan.write_slots({(i, j): slots[f"{name}/{slot}"] for i, name in enumerate(graph.index)
                            for j, slot in enumerate(names) if f"{name}/{slot}" in slots})
            plan.iterations = steps
        if objective is not None:
            plan.set_losses(objective.plan_losses())
        return plan

    def _require_plan(self):
        """The plan, made now if there is none."""
        plan = self._plan
        if plan is None:
            with PLANNING:
                plan = self._plan
                if plan is None:
                    self._built()
                    plan = self._make_plan(self._settings, self._objective, self._values, self._slots, self._steps)
                    self._adopt_plan(plan)
        return plan

    def _adopt_plan(self, plan):
        self._plan, self._values = plan, None
        self._slots, self._steps = {}, 0
        self._set_fast_path()

    def _drop_plan(self):
        """Take parameters and optimizer state back; the next call that needs a plan makes one."""
        if self._plan is not None:
            values, slots, steps = self.get_weights(), self.optimizer_state(), self.iterations
            self._plan, self._values, self._slots, self._steps = None, values, slots, steps
            self._set_fast_path()

    # -- the state of training -----------------------------------------------------------------------------------

    @property
    def seed(self) -> int:
        """What initial weights, shuffling, dropout and augmentation are drawn from. A new one changes no weights."""
        return self._seed

    @seed.setter
    def seed(self, value: int) -> None:
        value = model_seed(self.name, value)
        if value != self._seed:
            self._seed = value
            self._drop_plan()       # in which the layers' streams are

    @property
    def iterations(self) -> int:
        """The number of optimizer steps taken since `compile`."""
        return self._steps if self._plan is None else self._plan.iterations

    @property
    def epochs_trained(self) -> int:
        """The number of epochs of all `fit` calls; it keys the shuffling, so no two epochs have the same order."""
        return self._epochs

    @epochs_trained.setter
    def epochs_trained(self, value: int) -> None:
        self._epochs = integer(self.name, "epochs_trained", value, at_least=0, at_most=2**62)

    def optimizer_state(self) -> dict[str, Array]:
        """Copies of the optimizer's arrays, ``{"dense/kernel/m": array, ...}``; empty if it keeps none.

        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(2, use_bias=False)], input_shape=(1,))
        >>> model.compile("adam", "squared_error")
        >>> {name: array.shape for name, array in model.optimizer_state().items()}
        {'dense/kernel/m': (1, 2), 'dense/kernel/v': (1, 2)}
        """
        if self._settings is None or self._graph is None:
            return {}
        if self._plan is None:
            return {name: value.copy() for name, value in self._slots.items()}
        names = self._plan.optimizer_slots()
        return {f"{parameter.name}/{slot}": array
                for parameter, arrays in zip(self._graph.parameters, self._plan.read_slots())
                if parameter.spec.kind != "state"
                for slot, array in zip(names, arrays)}

    def set_optimizer_state(self, state: Mapping[str, ArrayLike], iterations: int) -> None:
        """Put back what `optimizer_state` and `iterations` gave.

        Raises
        ------
        ValueError, TypeError
            For missing or unknown names, wrong shapes, NaN or infinities, sums of squares below 0, or 2^62 iterations
            and more; nothing is changed then.

        Examples
        --------
        >>> import nnfast as nf
        >>> def build():
        ...     model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
        ...     model.compile("adam", "squared_error")
        ...     return model
        >>> first, second = build(), build()
        >>> history = first.fit([[1.0]], [[2.0]], epochs=5, verbose=0)
        >>> second.set_weights(first.get_weights())
        >>> second.set_optimizer_state(first.optimizer_state(), first.iterations)
        >>> second.train_on_batch([[1.0]], [[2.0]]) == first.train_on_batch([[1.0]], [[2.0]])
        True
        """
        self._compiled()
        steps = integer("set_optimizer_state", "iterations", iterations, at_least=0)
        if steps >= 2**62:
            raise ValueError(f"set_optimizer_state: iterations must be below 2**62, got {steps}")
        plan = self._require_plan()
        if not isinstance(state, Mapping):
            raise TypeError(f"set_optimizer_state: expected a dict, got {type(state).__name__}")
        graph, slots = self._graph, plan.optimizer_slots()
        names = [parameter.name for parameter in graph.parameters if parameter.spec.kind != "state"]
        expected = [f"{name}/{slot}" for name in names for slot in slots]
        if set(state) != set(expected):
            raise ValueError("set_optimizer_state: " + difference(state, expected))
        new = [self._checked({name: state[f"{name}/{slot}"] for name in names}, f"optimizer state {slot}")
               for slot in slots]
        for slot, arrays in zip(slots, new):
            for name, value in arrays.items():
                if slot in SQUARES and value.min() < 0:
                    raise ValueError(f"optimizer state {slot}: {name} must not be below 0, got {value.min()}")
        plan.write_slots({(graph.index[name], j): value
                          for j, arrays in enumerate(new) for name, value in arrays.items()})
        plan.iterations = steps

    # -- copies, configurations, files ---------------------------------------------------------------------------

    def save(self, path: PathLike, include_optimizer: bool = True) -> None:
        """Write the model to a .safetensors file; see `nnfast.save`.

        >>> import tempfile
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(2)], input_shape=(3,))
        >>> path = tempfile.mkdtemp() + "/model.safetensors"
        >>> model.save(path)
        >>> nf.load(path)
        <Sequential 'sequential': 8 parameters, float32>
        """
        from .files import save  # here, because that module imports this one

        save(self, path, include_optimizer)

    def to_json(self, indent: int | None = None) -> str:
        """The model without its weights as JSON text; see `nnfast.to_json`.

        >>> import json
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(2)], input_shape=(3,))
        >>> json.loads(model.to_json())["model"]["input_shape"]
        [3]
        """
        from .files import to_json

        return to_json(self, indent)

    @staticmethod
    def from_json(text: str | bytes) -> Model:
        """A new model from what `to_json` returned; see `nnfast.from_json`.

        >>> import nnfast as nf
        >>> nf.Model.from_json(nf.Sequential([nf.Dense(2)], input_shape=(3,)).to_json())
        <Sequential 'sequential': 8 parameters, float32>
        """
        from .files import from_json

        return from_json(text)

    def clone(self, dtype: DTypeLike | None = None, seed: int | None = None) -> Self:
        """An independent copy: layers, weights, compile settings, optimizer state.

        Parameters
        ----------
        dtype : "float32" or "float64", optional
            The copy's precision, to which weights and optimizer state are converted; by default this model's.
        seed : int, optional
            The copy begins anew, as the same layers in a model of this seed: with its initial weights, no step taken.

        Raises
        ------
        ValueError
            If a weight or a number of the optimizer's state is beyond the range of `dtype`.

        Examples
        --------
        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(2)], input_shape=(3,))
        >>> target = model.clone()
        >>> all((a == b).all() for a, b in zip(model.get_weights(), target.get_weights()))
        True
        >>> [layer.name for layer in model.clone(seed=1).layers]
        ['dense']
        """
        new = object.__new__(type(self))
        if seed is None:
            new.__dict__.update(self.__getstate__())
        else:
            new.__dict__.update(self.__dict__)
            new._seed = model_seed(type(self).__name__, seed)
            new._plan, new._slots, new._steps, new._epochs, new.history, new._in_fit = None, {}, 0, 0, None, False
        if self._settings is not None:      # a learning rate that is set in one is not the other's
            new._settings = self._settings._replace(optimizer=copy.copy(self._settings.optimizer))
        if dtype is not None:
            new._dtype = model_dtype(type(self).__name__, dtype)
            new._slots = {name: converted(value, new._dtype, f"clone: optimizer state {name}")
                          for name, value in new._slots.items()}
        new._copy_layers(self)
        if seed is not None and self.built:
            new._values = new._graph.initial_values(new.seed, new._dtype)
        elif dtype is not None and self.built:
            new._values = [converted(value, new._dtype, f"clone: {parameter.name}")
                           for parameter, value in zip(self._graph.parameters, new._values)]
        new._set_fast_path()
        return new

    def submodel(self, layer: str, then: Sequence[Layer] = ()) -> Model:
        """A copy of the part of the network that ends with a layer, and new layers behind it.

        Parameters
        ----------
        layer : str
            Name of the last layer of the part.
        then : list of Layer
            New layers, each of which reads what the one before makes; none by default.

        Returns
        -------
        Model
            The part has the same weights, new layers have fresh ones; there are no compile settings. The inputs are
            those that the layer depends on.

        Examples
        --------
        What a layer makes of the data:

        >>> import nnfast as nf
        >>> model = nf.Sequential([nf.Dense(5, activation="tanh"), nf.Dense(2)], input_shape=(3,))
        >>> model.submodel("dense").predict([[1.0, 2.0, 3.0]]).shape
        (1, 5)

        A trained network for other classes, of which the last layer alone is trained:

        >>> other = model.submodel("dense", then=[nf.Dense(4, activation="softmax", name="classes")])
        >>> for layer in other.layers[:-1]:
        ...     layer.trainable = False
        >>> other.layers
        [Dense(5, activation='tanh', trainable=False), Dense(4, activation='softmax', name='classes')]
        """
        self.get_layer(layer)
        if not isinstance(then, (list, tuple)) or not all(isinstance(new, Layer) for new in then):
            raise TypeError(f"submodel: then must be a list of layers, got {then!r}")
        inputs, (value,) = self._built().part(layer)
        for new in then:
            value = new(value)
        part = Model(inputs, value, self.seed, self.dtype, self.name)
        mine, graph = self.parameters, part._graph
        part.set_parameters({parameter.name: mine[parameter.name] for parameter in graph.parameters
                             if parameter.layer not in then})
        return part

    def _copy_layers(self, other):
        graph = other._graph
        inputs, outputs = graph.rebuild([layer.copy() for layer in graph.layers])
        self._graph = Graph(inputs, outputs, self)
        self._graph.bind(self)

    def __copy__(self) -> Self:
        return self.clone()

    # A pickle, and a deep copy on its way, hold the bytes of a file: so they live as long as files do. Models that
    # files cannot hold, because functions or classes of the user's own are part of them, go as their attributes.

    def __deepcopy__(self, memo):
        from .files import from_bytes, is_portable, to_bytes

        return from_bytes(to_bytes(self)) if is_portable(self) else self.clone()

    def __reduce_ex__(self, protocol):
        from .files import from_bytes, is_portable, to_bytes

        if is_portable(self):
            return from_bytes, (to_bytes(self),)
        return super().__reduce_ex__(protocol)

    def __getstate__(self):
        # The plan is addresses and code; what it holds goes as arrays, and a new one is made when needed.
        state = self.__dict__ | {"_plan": None, "_train_fast": None, "_slots": self.optimizer_state(),
                                 "_steps": self.iterations, "_in_fit": False}
        if self.built:
            state["_values"] = self.get_weights()
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._set_fast_path()
        if self._graph is not None:
            self._graph.bind(self)

    def get_config(self) -> Config:
        """The architecture as JSON-able data, without weights; `from_config` reads it.

        >>> import nnfast as nf
        >>> config = nf.Sequential([nf.Dense(2)], input_shape=(3,)).get_config()
        >>> config["class"], config["input_shape"], config["layers"][0]["class"]
        ('Sequential', [3], 'Dense')
        """
        return {"class": "Model", **self._common_config(), **self._graph.get_config()}

    def _common_config(self):
        metadata = {"metadata": self.metadata} if self._metadata else {}
        return {"name": self.name, "seed": self.seed, "dtype": self.dtype, **metadata}

    @staticmethod
    def from_config(config: Config) -> Model:
        """A new model from what `get_config` returned, with fresh weights.

        Raises
        ------
        ValueError, TypeError
            If the configuration is not of a model, or names an unknown layer.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.Model.from_config(nf.models.lenet5().get_config())
        <Sequential 'lenet5': 61,706 parameters, float32>
        """
        if not isinstance(config, dict):
            raise TypeError(f"model configuration: expected a dict, got {type(config).__name__}")
        cls = config.get("class")
        keys = {"Model": {"inputs", "layers", "nodes", "outputs"},
                "Sequential": {"input_shape", "input_name", "layers"}}
        if not isinstance(cls, str) or cls not in keys:
            raise ValueError(f"model configuration: unknown class {cls!r}; known: {', '.join(keys)}")
        expected = keys[cls] | {"class", "name", "seed", "dtype"}
        optional = {"metadata", "data_format"} if cls == "Sequential" else {"metadata"}
        if set(config) - optional != expected:
            raise ValueError("model configuration: " + difference(config, sorted(expected)))
        model = Model._from_parts(config, cls)
        model.metadata = config.get("metadata", {})
        return model

    @staticmethod
    def _from_parts(config, cls):
        common = {key: config[key] for key in ("name", "seed", "dtype")}
        if cls == "Model":
            inputs, outputs = values_from_config(config)
            return Model(inputs, outputs, **common)
        from .sequential import Sequential  # here, because that module imports this one

        layers = [layer_from_config(entry) for entry in config_list(config, "layers")]
        data_format = config.get("data_format", "channels_last")
        if config["input_name"] is not None:
            value = Input(config["input_shape"], name=config["input_name"], data_format=data_format)
            return Sequential([value, *layers], **common)
        return Sequential(layers, input_shape=config["input_shape"], data_format=data_format, **common)


for other, instead in MODELS.items():
    setattr(Model, other, Missing(other, instead))


def model_seed(who, seed):
    """A seed as an int below 2**63."""
    seed = integer(who, "seed", seed, at_least=0)
    if seed >= 2**63:
        raise ValueError(f"{who}: seed must be below 2**63, got {seed}")
    return seed


def model_dtype(owner, dtype):
    """The NumPy dtype for "float32" or "float64"."""
    try:
        return DTYPES[dtype if dtype is None or isinstance(dtype, str) else np.dtype(dtype).name]
    except (KeyError, TypeError):
        raise ValueError(f"{owner}: dtype must be 'float32' or 'float64', got {dtype!r}") from None


def converted(value, dtype, what):
    """A copy of an array in another precision, whose range must hold every number."""
    check_finite(value, dtype, what)
    return value.astype(dtype)


def difference(got, expected):
    """Missing and unknown names in words."""
    parts = []
    missing = [name for name in expected if name not in got]
    unknown = [str(name) for name in got if name not in expected]
    if missing:
        parts.append(f"missing {', '.join(missing)}")
    if unknown:
        parts.append(f"unknown {', '.join(unknown)}")
    return "; ".join(parts)
