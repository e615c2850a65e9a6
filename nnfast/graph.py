"""From the values a user wrote down to numbered nodes, named parameters and the plan's description.

Values are numbered: the inputs first, then one per node in topological order. Nothing here holds an array.
"""

import zlib
from typing import NamedTuple

import numpy as np

from . import layout
from .activations import check_alpha
from .initializers import Constant, Ones, Zeros
from .layers import LAYERS, Embedding, Flatten, Input, Layer, ParameterSpec, Reshape, Value


class Node(NamedTuple):
    """One use of a layer: the numbers of the values it reads, and the indices of its parameters by short name."""

    layer: Layer
    inputs: tuple
    shape: tuple
    parameters: dict


class Ids(NamedTuple):
    """What an input holds that embeddings read: whole numbers below `limit`, which is that of the layer `reader`."""

    limit: int
    reader: str


class Parameter(NamedTuple):
    """A parameter with its full name, ``<layer>/<name>``."""

    name: str
    spec: ParameterSpec
    layer: Layer

    @property
    def trained(self):
        """Whether the optimizer updates it: not if its layer is frozen, and never if it is a layer's state."""
        return self.layer.trainable and self.spec.kind != "state"


class Graph:
    """A network as data.

    Parameters
    ----------
    inputs : list of Input
    outputs : list of Value
    model : Model
        The future owner of the layers: a layer that belongs to another living model is refused.

    Attributes
    ----------
    layers : list of Layer
        In topological order.
    names : dict of Layer to str
    nodes : list of Node
    parameters : list of Parameter
    input_names, input_shapes, output_ids, output_names, output_shapes : list
        Shapes in the model: channels last.
    data_format : "channels_last" or "channels_first"
        Order of the axes of all data.
    input_data_shapes, output_data_shapes : list
        The shapes in that order.
    ids : list
        For each input None, or Ids where embeddings read it.
    """

    def __init__(self, inputs, outputs, model):
        self.inputs = check_inputs(inputs)
        check_outputs(outputs)
        values = topological_order(self.inputs, outputs)
        self.layers = list(dict.fromkeys(value.layer for value in values))
        for layer in self.layers:
            if layer.model is not None and layer.model is not model:
                raise ValueError(f"layer {layer.label} already belongs to another model, as its weights do; make a "
                                 "new layer, or copy the whole model with model.clone()")
        self.names = name_layers(self.layers)
        self.input_names = number_names([value.name for value in self.inputs], ["input"] * len(self.inputs), "input")
        self.input_shapes = [value.shape for value in self.inputs]
        self.input_data_shapes = [value.data_shape for value in self.inputs]
        self.data_format = common_format(self.inputs)

        ids = {value: i for i, value in enumerate(self.inputs)}
        self.nodes, self.parameters = [], []
        seen = set()
        for value in values:
            layer = value.layer
            if value.specs and layer in seen:
                raise ValueError(f"layer {self.names[layer]} is called twice; shared layers are not supported")
            seen.add(layer)
            own = {}
            for spec in value.specs:
                own[spec.name] = len(self.parameters)
                self.parameters.append(Parameter(f"{self.names[layer]}/{spec.name}", spec, layer))
            ids[value] = len(ids)
            self.nodes.append(Node(layer, tuple(ids[v] for v in value.inputs), value.shape, own))
        self.output_ids = [ids[value] for value in outputs]
        self.output_names = [self.names[value.layer] for value in outputs]
        self.output_shapes = [value.shape for value in outputs]
        self.output_data_shapes = [layout.data_shape(shape, self.data_format) for shape in self.output_shapes]
        for name in self.output_names:
            if self.output_names.count(name) > 1:
                raise ValueError(f"layer {name} makes two of the outputs; each output needs a layer, and so a name, "
                                 "of its own")
        self.index = {parameter.name: i for i, parameter in enumerate(self.parameters)}
        self.ids = self._find_ids()

    def _find_ids(self):
        """For each input the ids that it holds; of several embeddings those of the one with the fewest."""
        found, n = [None] * len(self.inputs), len(self.inputs)
        for node in self.nodes:
            if not isinstance(node.layer, Embedding):
                continue
            at = node.inputs[0]
            while at >= n and isinstance(self.nodes[at - n].layer, (Flatten, Reshape)):
                at = self.nodes[at - n].inputs[0]
            if at >= n:
                raise ValueError(f"{self.names[node.layer]}: reads ids, which must come from an nf.Input (or a Reshape "
                                 f"or Flatten of it), got the output of {self.names[self.nodes[at - n].layer]}")
            own = Ids(node.layer.input_dim, self.names[node.layer])
            found[at] = own if found[at] is None else min(found[at], own)
        return found

    def bind(self, model):
        """Give the layers to `model` under their names."""
        for layer, name in self.names.items():
            layer.bind(model, name)

    def shape_of(self, value_id):
        """Shape of a value by its number."""
        n = len(self.inputs)
        return self.input_shapes[value_id] if value_id < n else self.nodes[value_id - n].shape

    def output_activation(self, i):
        """Name of the activation that makes output `i`.

        Layers that only reshape are looked through, except for softmax: it belongs to the axis it was taken over.
        """
        n, value_id, through = len(self.inputs), self.output_ids[i], False
        while value_id >= n:
            node = self.nodes[value_id - n]
            activation = node.layer.output_activation()
            if activation is not None:
                return "linear" if through and activation == "softmax" else activation
            value_id, through = node.inputs[0], True
        return "linear"

    def initial_values(self, seed, dtype):
        """Fresh arrays, one per parameter; each draws from a stream of its own, keyed by seed and name."""
        values = []
        # A new Philox takes longer than most parameters' numbers: one is set to the start of every stream instead.
        key = np.array([seed & (2**64 - 1), 0], dtype=np.uint64)
        bits = np.random.Philox(key=key)
        rng, start = np.random.Generator(bits), bits.state
        for parameter in self.parameters:
            spec = parameter.spec
            if type(spec.initializer) not in (Zeros, Ones, Constant):   # which draw nothing; a class made of them may
                key[1] = zlib.crc32(parameter.name.encode())
                start["state"]["key"] = key
                bits.state = start
            value = np.asarray(spec.initializer(spec.shape, spec.fan_in, spec.fan_out, rng, dtype), dtype=dtype)
            if value.shape != spec.shape:
                raise ValueError(f"{parameter.name}: {spec.initializer!r} made shape {value.shape}, "
                                 f"the parameter has {spec.shape}")
            if not np.isfinite(value).all():
                raise ValueError(f"{parameter.name}: {spec.initializer!r} made values that are not finite")
            values.append(value)
        return values

    def plan_spec(self, dtype, seed, regularizer):
        """The dict the compiled plan is made from, by `nnfast.fusion`: a node for each layer, and parameters."""
        parameters = []
        for parameter in self.parameters:
            spec = parameter.spec
            penalty = (spec.regularizer or regularizer) if spec.kind == "kernel" else None
            parameters.append({
                "name": parameter.name, "shape": spec.shape, "kind": spec.kind,
                "trainable": parameter.trained,
                "l1": penalty.l1 if penalty else 0.0, "l2": penalty.l2 if penalty else 0.0,
            })
        nodes, calls = [], {}
        for i, node in enumerate(self.nodes, start=len(self.inputs)):
            name = self.names[node.layer]
            # A layer that is called again draws anew.
            call = calls[name] = calls.get(name, -1) + 1
            stream = (seed ^ zlib.crc32(f"{name}/{call}".encode() if call else name.encode())) & (2**63 - 1)
            operation = node.layer.node([self.shape_of(at) for at in node.inputs], node.parameters, stream)
            check_alpha(name, operation.get("alpha", 0.0), dtype)
            if operation["op"] == "reshape" and i in self.output_ids:
                # In the plan a reshape is only another name, but each output needs a shape and a gradient of its own.
                operation = {"op": "activation", "activation": "linear", "alpha": 0.0}
            nodes.append({"name": name, "inputs": list(node.inputs), "shape": node.shape, **operation})
        return {
            "dtype": dtype.name, "channels_first": self.data_format == "channels_first",
            "inputs": [{"name": n, "shape": s} for n, s in zip(self.input_names, self.input_shapes)],
            "parameters": parameters, "nodes": nodes, "outputs": list(self.output_ids),
            "output_names": list(self.output_names),
        }

    def get_config(self):
        """JSON-able description; `from_config` reads it."""
        numbers = {layer: i for i, layer in enumerate(self.layers)}
        return {
            "inputs": [{"name": n, "shape": list(value.data_shape), **format_config(value.data_format)}
                       for n, value in zip(self.input_names, self.inputs)],
            "layers": [layer_config(layer) for layer in self.layers],
            "nodes": [{"layer": numbers[node.layer], "inputs": list(node.inputs)} for node in self.nodes],
            "outputs": list(self.output_ids),
        }

    def rebuild(self, layers):
        """Inputs and outputs of the same graph made of other layers, one per entry of `self.layers`."""
        other = dict(zip(self.layers, layers))
        inputs = [Input(value.data_shape, name=name, data_format=value.data_format)
                  for name, value in zip(self.input_names, self.inputs)]
        nodes = [(other[node.layer], node.inputs) for node in self.nodes]
        return call_nodes(inputs, nodes, self.output_ids)

    def part(self, name):
        """Inputs and output of a copy of the graph up to the layer called `name`, with copied layers of equal names."""
        n = len(self.inputs)
        ends = [i for i, node in enumerate(self.nodes) if self.names[node.layer] == name]
        if len(ends) > 1:
            raise ValueError(f"layer {name} is called {len(ends)} times, so its name does not tell where to end")
        end, = ends
        wanted = {n + end}
        for i in range(end, -1, -1):
            if n + i in wanted:
                wanted.update(self.nodes[i].inputs)
        kept = sorted(wanted)
        place = {value: i for i, value in enumerate(kept)}
        inputs = [Input(self.inputs[i].data_shape, name=self.input_names[i], data_format=self.inputs[i].data_format)
                  for i in kept if i < n]
        used = [self.nodes[i - n] for i in kept if i >= n]
        copies = {layer: layer.copy() for layer in dict.fromkeys(node.layer for node in used)}
        nodes = [(copies[node.layer], [place[v] for v in node.inputs]) for node in used]
        return call_nodes(inputs, nodes, [len(kept) - 1])


def layer_config(layer):
    """A layer as ``{"class": ..., "config": ...}``."""
    cls = type(layer)
    if LAYERS.get(cls.__name__) is not cls and type(layer).get_config is Layer.get_config:
        raise ValueError(f"{layer.label}: a layer of the class {cls.__name__} cannot be written to a file; known: "
                         f"{', '.join(LAYERS)}")
    return {"class": cls.__name__, "config": layer.get_config()}


def layer_from_config(config):
    """The inverse of `layer_config`."""
    if not isinstance(config, dict) or set(config) != {"class", "config"}:
        raise ValueError(f'layer: expected {{"class": name, "config": dict}}, got {config!r}')
    if not isinstance(config["class"], str) or config["class"] not in LAYERS:
        raise ValueError(f"unknown layer {config['class']!r}; known: {', '.join(LAYERS)}")
    return LAYERS[config["class"]].from_config(config["config"])


def values_from_config(config):
    """Inputs and outputs from what `Graph.get_config` wrote."""
    layers = [layer_from_config(entry) for entry in config_list(config, "layers")]
    inputs = []
    for entry in config_list(config, "inputs"):
        if not isinstance(entry, dict) or set(entry) - {"data_format"} != {"name", "shape"}:
            raise ValueError(f"model configuration: an input needs a name and a shape, got {entry!r}")
        inputs.append(Input(**entry))
    nodes = []
    for entry in config_list(config, "nodes"):
        if not isinstance(entry, dict) or set(entry) != {"layer", "inputs"}:
            raise ValueError(f"model configuration: a node needs a layer and inputs, got {entry!r}")
        check_ids([entry["layer"]], len(layers))
        check_ids(entry["inputs"], len(inputs) + len(nodes))
        nodes.append((layers[entry["layer"]], entry["inputs"]))
    outputs = config_list(config, "outputs")
    check_ids(outputs, len(inputs) + len(nodes))
    return call_nodes(inputs, nodes, outputs)


def call_nodes(inputs, nodes, outputs):
    """Call layers on values by number; return (inputs, outputs)."""
    values = list(inputs)
    for layer, ids in nodes:
        values.append(layer([values[i] for i in ids]))
    return inputs, [values[i] for i in outputs]


def format_config(data_format):
    """The order of axes as part of a configuration, which leaves out the usual one."""
    return {"data_format": data_format} if data_format == "channels_first" else {}


def config_list(config, key):
    """A list in a model's configuration, or an error that names the key."""
    entry = config.get(key)
    if not isinstance(entry, list):
        raise ValueError(f"model configuration: {key!r} must be a list, got {type(entry).__name__}")
    return entry


def check_ids(ids, limit):
    """Numbers of values or layers read from a configuration."""
    ok = isinstance(ids, list) and all(type(i) is int and 0 <= i < limit for i in ids)
    if not ok:
        raise ValueError(f"model configuration: expected a list of numbers in 0..{limit - 1}, got {ids!r}")


def check_inputs(inputs):
    """A list of distinct Inputs."""
    if not inputs:
        raise ValueError("Model: needs at least one input")
    for value in inputs:
        if not isinstance(value, Input):
            raise TypeError(f"Model: inputs must be nf.Input objects, got {type(value).__name__}")
    if len(set(inputs)) != len(inputs):
        raise ValueError("Model: an input is listed twice")
    return list(inputs)


def common_format(inputs):
    """The order of axes of all inputs that have more than one axis."""
    formats = {value.data_format for value in inputs if len(value.shape) > 1}
    if len(formats) > 1:
        raise ValueError("Model: inputs with several axes must have one data_format, got "
                         + ", ".join(repr(value) for value in inputs))
    return formats.pop() if formats else "channels_last"


def check_outputs(outputs):
    """A non-empty list of layer results."""
    if not outputs:
        raise ValueError("Model: needs at least one output")
    for value in outputs:
        if not isinstance(value, Value):
            raise TypeError(f"Model: outputs must be results of layer calls, got {type(value).__name__}")
        if isinstance(value, Input):
            raise ValueError("Model: an output must be made by a layer, got an Input")


def topological_order(inputs, outputs):
    """The values the outputs depend on, inputs left out, each after what it reads.

    Depth first with an explicit stack: a deep network must not meet Python's recursion limit.
    """
    order, done, used = [], set(), set()
    for output in outputs:
        stack = [(output, False)]
        while stack:
            value, ready = stack.pop()
            if value in done:
                continue
            if isinstance(value, Input):
                if value not in inputs:
                    raise ValueError(f"Model: the outputs depend on {value!r}, which is not among the inputs")
                used.add(value)
            elif ready:
                done.add(value)
                order.append(value)
            else:
                stack.append((value, True))
                stack.extend((v, False) for v in reversed(value.inputs))
    for value in inputs:
        if value not in used:
            raise ValueError(f"Model: no output depends on {value!r}")
    return order


def name_layers(layers):
    """Names of all layers: the user's, and numbered ones for the rest."""
    names = number_names([layer.given_name for layer in layers], [layer.kind for layer in layers], "layer")
    return dict(zip(layers, names))


def number_names(given, stems, what):
    """Fill the gaps in `given` with stem, stem_1, stem_2, ...; two equal names are an error."""
    taken = set()
    for name in given:
        if name is not None and name in taken:
            raise ValueError(f"two {what}s are called {name!r}; names must be unique in a model")
        taken.add(name)
    names, count = [], {}
    for name, stem in zip(given, stems):
        while name is None:
            n = count.get(stem, 0)
            count[stem] = n + 1
            candidate = f"{stem}_{n}" if n else stem
            if candidate not in taken:
                taken.add(candidate)
                name = candidate
        names.append(name)
    return names
