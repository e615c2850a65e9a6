"""Weights of other libraries: into a model, and back.

PyTorch keeps dense weights as (out, in), kernels as (K, C / groups, R, S), those of transposed convolutions as
(C, K, R, S), data as (N, C, H, W), and so flattens channels slowest; here they are (in, out), (R, S, C / groups, K),
(R, S, K, C), (N, H, W, C), and channels are flattened fastest. What has its axes in the same order in both, as an
embedding's vectors, (ids, features), is flattened in the same order, too; `from_torch_state_dict` says what that is.
Keras has our order of everything. What a layer's parameters are called:

==================  =========================================  =================================================
layer               PyTorch                                    Keras
==================  =========================================  =================================================
Dense, Conv...      weight, bias                               kernel, bias
Embedding           weight                                     embeddings
BatchNorm           weight, bias, running_mean, running_var    gamma, beta, moving_mean, moving_variance
LayerNorm           weight, bias                               gamma, beta
GroupNorm           weight, bias                               gamma, beta
==================  =========================================  =================================================

The normalizations' epsilon is 1e-5 here and in PyTorch by default, 1e-3 in Keras. It belongs to the layer, not to the
weights: `from_keras_weights` compares it where the file holds it.

Every function checks all it was given before it changes the model.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import zipfile
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import as_numbers
from .files import KEY, check_model
from .layers import (
    LAYERS,
    Activation,
    Add,
    AvgPool1D,
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv1D,
    Conv1DTranspose,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    MaxPool1D,
    MaxPool2D,
    Multiply,
    Rescale,
    Reshape,
    UpSampling1D,
    UpSampling2D,
    ZeroPadding2D,
)
from .tensor_file import FileFormatError, Problem, naming, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .graph import Graph
    from .layers import Layer
    from .model import Model
    from .typing import Array, PathLike

__all__ = ["from_keras_weights", "from_torch_state_dict", "to_torch_state_dict"]

PYTORCH = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "running_mean": "running_mean",
           "running_variance": "running_var"}
#: classes as Keras's files call them, and the order in which each class's arrays lie there
KERAS = {Dense: "dense", Conv1D: "conv1d", Conv2D: "conv2d", DepthwiseConv2D: "depthwise_conv2d",
         Conv1DTranspose: "conv1d_transpose", Conv2DTranspose: "conv2d_transpose", BatchNorm: "batch_normalization",
         LayerNorm: "layer_normalization", GroupNorm: "group_normalization", Embedding: "embedding"}
KERAS_ORDER = ("kernel", "bias", "gamma", "beta", "running_mean", "running_variance")

#: layers that read images and signals and make them: in PyTorch with their channels first
IMAGES = (Conv1D, Conv2D, DepthwiseConv2D, Conv1DTranspose, Conv2DTranspose, MaxPool1D, MaxPool2D, AvgPool1D, AvgPool2D,
          GlobalMaxPool, GlobalAvgPool, UpSampling1D, UpSampling2D, ZeroPadding2D, BatchNorm, GroupNorm)
#: layers that work on the last axis in PyTorch, too, or make it
VECTORS = (Dense, Embedding, LayerNorm)

#: bytes that a .keras file may unpack to
MOST_UNPACKED = 16 << 30


def from_torch_state_dict(model: Model, state: PathLike | Mapping[str, Any],
                          mapping: Mapping[str, str] | Sequence[str] | None = None) -> None:
    """Set all parameters from a PyTorch module's ``state_dict``.

    Parameters
    ----------
    model : Model
        Of the same architecture, input shape known. What PyTorch has in another order is put into ours; see Notes.
    state : dict of str to array, or str or os.PathLike
        Arrays or CPU tensors by name, those of bfloat16 as ``.float()``; or a .safetensors file. Pickled files (.pt,
        .pth) are refused: reading them runs code. Load them with ``torch.load(..., weights_only=True)`` and pass the
        result.
    mapping : dict of str to str, or list of str, optional
        The module's name for each layer that has parameters: by layer name, or in the order of the layers. Left out,
        modules are matched by name if each layer has a module of its name, else by order. A file keeps no order: there
        the names' order counts, with numbers in it as numbers.

    Raises
    ------
    ValueError, TypeError
        If modules are missing or left over, a shape does not fit, or an order is not known. The model stays as it was.
    FileFormatError, OSError
        For a file that cannot be read, or whose weights no layer takes: NaN, infinities, a variance below 0.

    Notes
    -----
    Features that a Flatten or Reshape makes of an image or signal are in another order in PyTorch, which has channels
    first; so are those of which a Reshape makes one. Dense layers and normalizations that read or make such features
    have their rows and columns sorted. Channels are first in PyTorch

    - in what convolutions, poolings, UpSampling, ZeroPadding2D, BatchNorm and GroupNorm make, and last, as here, in
      what Dense, LayerNorm and Embedding make;
    - else, for inputs and for what a Reshape makes, where the former read it, and last where the latter do;
    - if neither reads it, in inputs and outputs (H, W, C), which are taken for images, and in all inputs and outputs of
      a model whose data are channels first. Inputs (H, W) and (L, C) are taken to be the same in both.

    Activation, Add, Multiply, Concatenate, Dropout, Rescale and a Reshape that keeps the last axis leave the axes as
    they are; a Lambda layer that keeps the shape is taken to work on each element. Where the order in PyTorch is not
    known, or sorted weights cannot make up for it, that is an error: values joined that have their channels first and
    last; a Reshape of an image to other channels; an image made of an input's features (give the input the image's
    shape); features made of an image that a GroupNorm reads, or a Multiply as a number for each channel.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(2)], input_shape=(3,))
    >>> nf.interop.from_torch_state_dict(model, {"fc.weight": np.ones((2, 3)), "fc.bias": np.zeros(2)})
    >>> model.predict([[1.0, 2.0, 3.0]])
    array([[6., 6.]], dtype=float32)
    """
    check_model("from_torch_state_dict", model)
    path = None
    if isinstance(state, (str, os.PathLike)):
        path = os.fspath(state)
        state = _tensors(path)
    elif not isinstance(state, Mapping):
        hint = "; give its state_dict()" if hasattr(state, "state_dict") else ""
        raise TypeError(f"from_torch_state_dict: expected a dict of arrays or a path, got {type(state).__name__}{hint}")
    modules: dict[str, dict[str, Array]] = {}
    for name, array in state.items():
        if not isinstance(name, str):
            raise TypeError(f"from_torch_state_dict: names must be texts, got {name!r}")
        module, _, parameter = name.rpartition(".")
        if parameter != "num_batches_tracked":      # a counter that only a momentum of None reads
            modules.setdefault(module, {})[parameter] = as_numbers(array, f"from_torch_state_dict: {name}")
    new, orders = {}, Orders(model._built())
    for node, layer, module in _match(model, modules, mapping, "from_torch_state_dict"):
        arrays = dict(modules[module])
        for name, shape in _parameters(model, node):
            what = f"{layer.name}/{name}"
            array = arrays.pop(PYTORCH[name], None)
            if array is None:
                raise ValueError(f"from_torch_state_dict: {what}: the module {module!r} has no {PYTORCH[name]!r}; "
                                 f"it has {', '.join(modules[module])}")
            new[what] = _from_torch(orders, node, name, shape, array, f"from_torch_state_dict: {what} from {module!r}")
        if arrays:
            raise ValueError(f"from_torch_state_dict: {layer.name} has no place for {', '.join(arrays)} of {module!r}")
    _set(model, new, path)


def to_torch_state_dict(model: Model, mapping: Mapping[str, str] | Sequence[str] | None = None) -> dict[str, Array]:
    """All parameters under PyTorch's names, in PyTorch's layout: the inverse of `from_torch_state_dict`.

    Parameters
    ----------
    model : Model
    mapping : dict of str to str, or list of str, optional
        The module's name for each layer that has parameters; the layers' names if left out.

    Returns
    -------
    dict of str to ndarray
        ``module.load_state_dict({name: torch.from_numpy(array) for name, array in result.items()})`` takes it.

    Raises
    ------
    ValueError
        If the mapping does not fit, or the order of features in PyTorch is not known.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Conv2D(8, 3), nf.Flatten(), nf.Dense(2)], input_shape=(5, 5, 1))
    >>> {name: a.shape for name, a in nf.interop.to_torch_state_dict(model, ["features.0", "head"]).items()}
    {'features.0.weight': (8, 1, 3, 3), 'features.0.bias': (8,), 'head.weight': (2, 72), 'head.bias': (2,)}
    """
    check_model("to_torch_state_dict", model)
    nodes = _nodes(model)
    if mapping is None:
        mapping = [node.layer.name for node in nodes]
    names = _names(nodes, mapping, "to_torch_state_dict")
    parameters, result, orders = model.parameters, {}, Orders(model._graph)
    for node, module in zip(nodes, names):
        prefix = f"{module}." if module else ""
        for name, _ in _parameters(model, node):
            array = parameters[f"{node.layer.name}/{name}"]
            result[prefix + PYTORCH[name]] = np.ascontiguousarray(_to_torch(orders, node, name, array))
        if isinstance(node.layer, BatchNorm):
            result[prefix + "num_batches_tracked"] = np.array(0)
    return result


def from_keras_weights(model: Model, path: PathLike, mapping: Mapping[str, str] | Sequence[str] | None = None) -> None:
    """Set all parameters from a ``.weights.h5`` or ``.keras`` file of Keras (extra ``interop``: h5py).

    Parameters
    ----------
    model : Model
        Of the same architecture, input shape known.
    path : str or os.PathLike
    mapping : dict of str to str, or list of str, optional
        The name in the file for each layer that has parameters: by layer name, or in the order of the layers. Left out,
        the layers of each class are matched by their order, as Keras numbers them.

    Raises
    ------
    ValueError, TypeError
        If layers are missing or left over, or a shape or epsilon does not fit. The model stays as it was.
    FileFormatError, OSError
        For a file that cannot be read, or whose weights no layer takes: NaN, infinities, a variance below 0.
    ImportError
        Without h5py.

    Notes
    -----
    Keras's normalizations add an epsilon of 1e-3 by default, those here 1e-5: give ``nf.BatchNorm(epsilon=0.001)`` and
    ``nf.LayerNorm(epsilon=0.001)``. A ``.keras`` file says what they add, which is compared; a ``.weights.h5`` file
    does not, and with another epsilon the predictions are silently others than Keras's.

    Examples
    --------
    >>> import tempfile
    >>> import h5py
    >>> import numpy as np
    >>> import nnfast as nf
    >>> path = tempfile.mkdtemp() + "/model.weights.h5"
    >>> with h5py.File(path, "w") as file:      # as Keras lays it out
    ...     file["layers/dense/vars/0"] = np.ones((3, 2))
    ...     file["layers/dense/vars/1"] = np.zeros(2)
    >>> model = nf.Sequential([nf.Dense(2)], input_shape=(3,))
    >>> nf.interop.from_keras_weights(model, path)
    >>> model.predict([[1.0, 2.0, 3.0]])
    array([[6., 6.]], dtype=float32)
    """
    check_model("from_keras_weights", model)
    path = os.fspath(path)
    with naming(path):
        entries, epsilons = _keras_entries(path)
    nodes = _nodes(model)
    if mapping is None:
        mapping = _keras_names(nodes, entries, path)
    new = {}
    for node, layer, name in _match(model, entries, mapping, "from_keras_weights"):
        wanted = sorted(_parameters(model, node), key=lambda entry: KERAS_ORDER.index(entry[0]))
        arrays = entries[name]
        if len(arrays) != len(wanted):
            raise ValueError(f"from_keras_weights: {layer.name} has {', '.join(n for n, _ in wanted)}, {name!r} in the "
                             f"file has {len(arrays)} arrays: {', '.join(str(a.shape) for a in arrays)}")
        for (own, shape), array in zip(wanted, arrays):
            if own == "kernel" and isinstance(layer, DepthwiseConv2D) and array.ndim == 4:
                array = array.reshape(*array.shape[:2], 1, -1)      # (R, S, C, multiplier)
            if array.shape != shape:
                raise ValueError(f"from_keras_weights: {layer.name}/{own} has shape {shape}, {name!r} in the file "
                                 f"{array.shape}")
            new[f"{layer.name}/{own}"] = array
        epsilon = epsilons.get(name)
        if epsilon is not None and not math.isclose(epsilon, layer.epsilon, rel_tol=1e-6):
            raise ValueError(f"from_keras_weights: {layer.name} has epsilon {layer.epsilon:g}, {name!r} in the file "
                             f"{epsilon:g}; give nf.{type(layer).__name__}(epsilon={epsilon:g})")
    _set(model, new, path)


def _set(model, new, path):
    """Set parameters; of those that are refused, for NaN or a negative variance, say in which file they are."""
    try:
        model.set_parameters(new)
    except ValueError as error:
        if path is None:
            raise
        why = str(error).removeprefix("set_parameters: ")
        raise FileFormatError(f"{path}: has weights that no layer takes: {why}") from error


# --- which layer is which --------------------------------------------------------------------------------------------

def _nodes(model):
    """The nodes of the graph that have parameters, in order."""
    nodes = [node for node in model._built().nodes if node.parameters]
    for node in nodes:
        if type(node.layer) not in KERAS:
            raise ValueError(f"interop: {node.layer.name} is a {type(node.layer).__name__}, which no other library has")
    return nodes


def _parameters(model, node):
    """(name, shape) of a node's parameters."""
    return [(name, model._graph.parameters[i].spec.shape) for name, i in node.parameters.items()]


def _match(model, modules, mapping, who):
    """(node, layer, module name) for each layer with parameters; every module is used once."""
    nodes = _nodes(model)
    layers = [node.layer.name for node in nodes]
    if mapping is None:
        if all(name in modules for name in layers):
            mapping = layers
        else:
            mapping = list(modules)
            if len(mapping) != len(layers):
                raise ValueError(f"{who}: {len(layers)} layers have parameters ({', '.join(layers)}), there are "
                                 f"{len(mapping)} modules ({_listed(mapping)}); give a mapping")
    names = _names(nodes, mapping, who)
    for layer, name in zip(layers, names):
        if name not in modules:
            raise ValueError(f"{who}: {layer}: there is no {name!r}; there are {_listed(modules)}")
    left = [name for name in modules if name not in names]
    if left:
        raise ValueError(f"{who}: no layer takes {_listed(left)}")
    return [(node, node.layer, name) for node, name in zip(nodes, names)]


def _listed(modules):
    """Names in an error's text; that of the whole module, whose own parameters have no dot, is empty."""
    return ", ".join(name or "''" for name in modules) or "none"


def _names(nodes, mapping, who):
    """The other library's name for each node."""
    layers = [node.layer.name for node in nodes]
    if isinstance(mapping, Mapping):
        if set(mapping) != set(layers):
            raise ValueError(f"{who}: the mapping must name each layer with parameters ({', '.join(layers)}), got "
                             f"{', '.join(map(str, mapping)) or 'none'}")
        names = [mapping[layer] for layer in layers]
    elif isinstance(mapping, (list, tuple)):
        if len(mapping) != len(layers):
            raise ValueError(f"{who}: {len(layers)} layers have parameters ({', '.join(layers)}), the mapping has "
                             f"{len(mapping)} entries")
        names = list(mapping)
    else:
        raise TypeError(f"{who}: mapping must be a dict or a list of names, got {type(mapping).__name__}")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{who}: the mapping's names must be texts, got {name!r}")
        if names.count(name) > 1:
            raise ValueError(f"{who}: the mapping names {name!r} twice")
    return names


# --- PyTorch's layout ------------------------------------------------------------------------------------------------

class Orders:
    """In which order PyTorch has the elements of a graph's values.

    An order is an array: for each of our elements the number of the same one in PyTorch; None if they are the same.
    Values that layers leave in their order make one group, and have one order. For a group of values with several axes
    the question is whether their channels come first in PyTorch; `from_torch_state_dict` documents the answer. A group
    of features has the order of the images that they are made of, and that are made of them.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.first = len(graph.inputs)      # the number of the first node's value
        self.before = list(range(self.first + len(graph.nodes)))    # another value of the group, up to its oldest
        self.readers: list[list[int]] = [[] for _ in self.before]   # by the numbers of their values
        self.values: dict[Layer, int] = {}
        self.known: dict[int, Array | None] = {}
        for value, node in self._made():
            self.values[node.layer] = value     # one with parameters is called once
            for at in node.inputs:
                self.readers[at].append(value)
                if self._kept(node, at):
                    pair = self._group(at), self._group(value)
                    self.before[max(pair)] = min(pair)
        self.groups: dict[int, list[int]] = {}
        for value in range(len(self.before)):
            self.groups.setdefault(self._group(value), []).append(value)
        # What no layer asks for below: images that cannot be what they are in PyTorch.
        for value, node in self._made():
            at = node.inputs[0]
            self._check_alone(node)
            if not isinstance(node.layer, Reshape) or len(node.shape) == 1 or self._kept(node, at):
                continue
            if len(graph.shape_of(at)) == 1:
                self.of(at, node.layer)
            elif not _same(self._of_image(at), self._of_image(value)):
                raise ValueError(f"interop: {node.layer.name} reads an image {graph.shape_of(at)} as {node.shape}, "
                                 "with other channels; their order in PyTorch is not known")

    def _check_alone(self, node):
        """Refuse features in another order where no weights can be sorted."""
        layer, n = node.layer, len(node.shape)
        for at in node.inputs:
            if len(self.graph.shape_of(at)) > 1:
                continue
            if isinstance(layer, GroupNorm) and self.of(at, layer) is not None:
                raise ValueError(f"interop: {layer.name} reads features that a Flatten or Reshape makes of an image, "
                                 "whose order and so whose groups are others in PyTorch")
            if isinstance(layer, Multiply) and n > 1 and self.of(at, layer) is not None:
                raise ValueError(f"interop: {layer.name} reads features that a Flatten or Reshape makes of an image as "
                                 "a number for each channel; their order is another in PyTorch")

    def parameter(self, node, name):
        """[(axis, order)] of those axes of a parameter that PyTorch has in another order."""
        if not isinstance(node.layer, (Dense, BatchNorm, LayerNorm)) or len(node.shape) > 1:
            return []
        at, value = node.inputs[0], self.values[node.layer]
        if not isinstance(node.layer, Dense):
            found = [(0, at)]
        else:
            found = [(0, at), (1, value)] if name == "kernel" else [(0, value)]
        orders = [(axis, self.of(value, node.layer)) for axis, value in found]
        return [(axis, order) for axis, order in orders if order is not None]

    def of(self, value, reader):
        """The order of features; `reader` is the layer to name in errors."""
        group = self._group(value)
        if group in self.known:
            return self.known[group]
        self.known[group] = None    # for the group itself, which a Lambda behind it may lead back to
        found = []                  # (order, what needs it)
        for member in self.groups[group]:
            if member < self.first:
                found.append((None, f"the input {self.graph.input_names[member]!r} has features"))
            else:
                found += self._of_made(self._node(member), reader)
            for made in self.readers[member]:
                node = self._node(made)
                if isinstance(node.layer, Reshape) and len(node.shape) > 1:
                    found.append((self._of_image(made), f"{node.layer.name} makes an image {node.shape} of features"))
        for order, what in found[1:]:
            if not _same(order, found[0][0]):
                raise ValueError(f"interop: {found[0][1]}, {what}, and these are the same features; no order of them "
                                 "in PyTorch, where channels come first, fits both")
        self.known[group] = found[0][0] if found else None
        return self.known[group]

    def _of_made(self, node, reader):
        """The same for the features that a node makes; empty where it leaves them as they are, or sorts them itself."""
        layer, shapes = node.layer, [self.graph.shape_of(at) for at in node.inputs]
        others = [(at, shape) for at, shape in zip(node.inputs, shapes) if not self._kept(node, at)]
        if not others or isinstance(layer, (Dense, Multiply)):      # the other factor is a single number
            return []
        if isinstance(layer, (Flatten, Reshape)):
            return [(self._of_image(node.inputs[0]), f"{layer.name} makes features of an image {shapes[0]}")]
        for at, shape in others:
            if len(shape) > 1 and (isinstance(layer, IMAGES) or shape[-1:] == node.shape):
                continue    # a number for each channel
            if (self.of(at, reader) if len(shape) == 1 else self._of_image(at)) is not None:
                does = "joins features" if isinstance(layer, Concatenate) else "makes features of"
                raise ValueError(f"interop: {reader.name} reads {layer.name}, which {does} {shapes}; "
                                 "their order in PyTorch is not known")
        return [(None, f"{layer.name} makes features")]

    def _of_image(self, value):
        """The order of a value with several axes."""
        *space, channels = self.graph.shape_of(value)
        if math.prod(space) == 1 or channels == 1 or not self._has_channels_first(value):
            return None
        return np.moveaxis(np.arange(math.prod(space) * channels).reshape(channels, *space), 0, -1).ravel()

    def _has_channels_first(self, value):
        """Whether an image or signal has its channels first in PyTorch."""
        graph, members = self.graph, self.groups[self._group(value)]
        nodes = [self._node(member) for member in members if member >= self.first]
        if any(graph.ids[member] for member in members if member < self.first):
            return False
        read = [self._node(reader).layer for member in members for reader in self.readers[member]]
        for layers, joined in (([node.layer for node in nodes], True), (read, False)):
            first = [layer for layer in layers if isinstance(layer, IMAGES)]
            last = [layer for layer in layers if isinstance(layer, VECTORS)]
            if first and last and joined:
                name = next(node.layer.name for node in nodes if len(node.inputs) > 1)
                whose = "an embedding" if isinstance(last[0], Embedding) else last[0].name
                raise ValueError(f"interop: {name} joins {whose}'s vectors with values that have their channels first "
                                 "in PyTorch; their order there is not known")
            if first and last:
                raise ValueError(f"interop: {first[0].name} and {last[0].name} read the same values, the one with "
                                 "their channels first in PyTorch, the other last; their order there is not known")
            if first or last:
                return bool(first)
        edges = [member for member in members if member < self.first or member in graph.output_ids]
        return any(graph.data_format == "channels_first" or len(graph.shape_of(member)) > 2 for member in edges)

    def _kept(self, node, at):
        """Whether what a node makes of value `at` has the order that this has."""
        layer, before, after = node.layer, self.graph.shape_of(at), node.shape
        if type(layer) not in LAYERS.values():      # Lambda, classes of the user's
            return before == after if len(after) == 1 else len(before) > 1
        if isinstance(layer, Multiply):     # a gate of channels or pixels has an order of its own
            shapes = [self.graph.shape_of(other) for other in node.inputs]
            return before == after or (after not in shapes and len(before) > 1 and before[:-1] == after[:-1])
        if len(before) == 1 and len(after) == 1:
            return isinstance(layer, (Activation, Add, BatchNorm, Dropout, Flatten, GroupNorm, LayerNorm, Rescale,
                                      Reshape))
        if isinstance(layer, Reshape):
            return len(before) > 1 and len(after) > 1 and before[-1] == after[-1]
        return len(after) > 1 and isinstance(layer, (Activation, Add, Concatenate, Dropout, Rescale))

    def _made(self):
        """(value, the node that makes it)."""
        return enumerate(self.graph.nodes, start=self.first)

    def _node(self, value):
        return self.graph.nodes[value - self.first]

    def _group(self, value):
        """The oldest value of a value's group."""
        while self.before[value] != value:
            self.before[value] = self.before[self.before[value]]
            value = self.before[value]
        return value


def _same(a, b):
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def _from_torch(orders, node, name, shape, array, what):
    layer, given = node.layer, array.shape
    if name == "kernel" and not isinstance(layer, Embedding):
        expected = (shape[-1], shape[-2], *shape[:-2])
        if given == expected:
            array = np.moveaxis(array, (0, 1), (-1, -2))
    else:
        expected = shape
    if given != expected:
        raise ValueError(f"{what}: expected shape {expected} for our {shape}, got {given}")
    for axis, order in orders.parameter(node, name):
        array = array.take(order, axis)
    return array


def _to_torch(orders, node, name, array):
    for axis, order in orders.parameter(node, name):
        array = array.take(np.argsort(order), axis)
    turned = name == "kernel" and not isinstance(node.layer, Embedding)
    return np.moveaxis(array, (-1, -2), (0, 1)) if turned else array


def _tensors(path):
    """The tensors of a .safetensors file, in the order of their names."""
    if not path.endswith(".safetensors"):
        raise ValueError(f"from_torch_state_dict: expected a .safetensors file, got {path!r}; load other files with "
                         "torch.load(..., weights_only=True) and pass the dict")
    with naming(path):
        metadata, tensors = read(path)
    if KEY in metadata:
        raise ValueError(f"from_torch_state_dict: {path} is a model file of nnfast; nf.load reads it")
    return {name: tensors[name] for name in sorted(tensors, key=_natural)}


def _natural(name):
    """A sort key that takes numbers in a name as numbers: features.2 before features.10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", name)]


# --- Keras's files ---------------------------------------------------------------------------------------------------

def _keras_entries(path):
    """{name in the file: arrays} of a .weights.h5 or .keras file, and {name: epsilon} of normalizations, as far as it
    says."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("Keras's files need h5py; pip install nnfast[interop]") from error

    source, epsilons = path, {}
    if path.endswith(".keras"):
        if os.path.isdir(path):
            raise IsADirectoryError(21, "Is a directory", path)
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(info.file_size for info in archive.infolist())
                if size > MOST_UNPACKED:
                    raise Problem(f"unpacks to {size} bytes, more than {MOST_UNPACKED}")
                source = io.BytesIO(archive.read("model.weights.h5"))
                if "config.json" in archive.namelist():
                    epsilons = _epsilons(json.loads(archive.read("config.json")))
        except (zipfile.BadZipFile, KeyError, NotImplementedError, EOFError, zipfile.zlib.error) as error:
            raise Problem(f"is not a .keras file: {error}") from error
        except (ValueError, RecursionError) as error:
            raise Problem(f"is not a .keras file: its config.json cannot be read: {error}") from error
    else:
        with open(path, "rb") as file:      # for the operating system's own words where that fails
            file.read(1)
    try:
        with h5py.File(source, "r") as file:
            entries = _legacy_layers(file) if "layer_names" in file.attrs else _layers(file, "", {}, set())
    except FileFormatError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise Problem(f"is not a weight file of Keras: {error}") from error
    if not entries:
        raise Problem("has no layers with weights")
    return entries, epsilons


def _epsilons(config, path=""):
    """{name in the file: epsilon} of the normalizations in a model's or layer's configuration, as far as it tells:
    layers are numbered there by their class."""
    config = config.get("config") if isinstance(config, dict) else None
    if not isinstance(config, dict):
        return {}
    found, seen = {}, Counter()
    layers = config.get("layers")
    for layer in layers if isinstance(layers, list) else ():
        if not isinstance(layer, dict) or not isinstance(layer.get("class_name"), str):
            continue
        stem = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", layer["class_name"]).lower()
        name = f"{path}{stem}_{seen[stem]}" if seen[stem] else path + stem
        seen[stem] += 1
        own = layer.get("config")
        if stem not in (KERAS[BatchNorm], KERAS[LayerNorm], KERAS[GroupNorm]):
            found |= _epsilons(layer, f"{name}/")
        elif isinstance(own, dict) and isinstance(own.get("epsilon"), (int, float)):
            found[name] = float(own["epsilon"])
    return found


def _layers(group, path, entries, seen):
    """Keras 3: groups with a group ``vars`` of arrays 0, 1, ...; those of a model are in its group ``layers``."""
    import h5py

    seen.add(h5py.h5o.get_info(group.id).addr)
    for name in sorted(group, key=_natural):
        # Links into other files are not followed.
        if not isinstance(group.get(name, getlink=True), h5py.HardLink) or not isinstance(group[name], h5py.Group):
            continue
        if name in ("vars", "optimizer", "metrics", "loss_tracker"):
            continue
        inner = group[name]
        if h5py.h5o.get_info(inner.id).addr in seen:
            raise Problem(f"the group {inner.name} is there twice")
        own = path if name == "layers" else f"{path}/{name}" if path else name
        if isinstance(inner.get("vars"), h5py.Group) and len(inner["vars"]):
            entries[own] = [_array(inner["vars"], i) for i in sorted(inner["vars"], key=_natural)]
        _layers(inner, own, entries, seen)
    return entries


def _legacy_layers(file):
    """Keras 2: names of layers and of their arrays in attributes."""
    entries = {}
    for layer in file.attrs["layer_names"]:
        layer = layer.decode() if isinstance(layer, bytes) else layer
        names = [name.decode() if isinstance(name, bytes) else name for name in file[layer].attrs["weight_names"]]
        if names:
            entries[layer] = [_array(file[layer], name) for name in names]
    return entries


def _array(group, name):
    import h5py

    data = group[name]
    if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiu" or data.external or data.is_virtual:
        raise Problem(f"{data.name} is not an array of numbers in the file itself")
    stored = data.id.get_storage_size()
    if data.size * data.dtype.itemsize > max(1 << 20, 1100 * stored):     # zlib packs at most 1032 : 1
        raise Problem(f"{data.name} says it has shape {data.shape}, but {stored} bytes are stored")
    return data[()]


def _keras_names(nodes, entries, path):
    """Names in the file for nodes, matched by class and order."""
    own = [node.layer.name for node in nodes]
    if all(name in entries for name in own) and len(own) == len(entries):
        return own
    left = {cls: [name for name in entries if re.fullmatch(rf"{stem}(_\d+)?", name)] for cls, stem in KERAS.items()}
    names = []
    for node in nodes:
        if not left[type(node.layer)]:
            raise ValueError(f"from_keras_weights: {path} has no {KERAS[type(node.layer)]} left for {node.layer.name}; "
                             f"it has {', '.join(entries)}; give a mapping")
        names.append(left[type(node.layer)].pop(0))
    return names
