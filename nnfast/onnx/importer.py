"""From an ONNX file to a model: the graph is read node by node, each becoming layers or a constant.

Design:

1. A tensor of the file is a constant (an array), or a `Tensor`: a value of the graph being made, with the order of its
   axes. ONNX's images are channels first, the layers' channels last; `axes[i]` is the axis of our value that is axis i
   in the file. So a Transpose costs nothing, it is another order, and what needs one order asks for it.
2. Flattening an image that is channels first gives features in another order here than there. `order[i]` is the number
   of our feature that is feature i in the file; dense layers and normalizations sort their weights by it.
3. Layers are made with fresh weights; the file's come after the model is whole (`weights`, by layer).
4. Additions and multiplications of constants become part of the layer before where nothing else reads it.
5. Integers are ids, which only a Gather reads (`integers`): nothing is computed with them, as here they are real
   numbers. Shapes are constants.

What a node becomes is in operators.py and shapes.py; patterns.py first makes nodes of a few that stand for one.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from ..layers import Activation, Input, Layer, Reshape, Value
from ..layers.base import check_shape
from ..model import Model
from ..tensor_file import FileFormatError
from . import UnsupportedError, patterns

REAL = {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64"}
INTEGER = (TensorProto.INT32, TensorProto.INT64)
#: operators that give integers as they came
KEEP_INTEGERS = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast")
#: operators that may read a shape with the number of samples in it: they compute nothing with that
READ_SHAPES = (*KEEP_INTEGERS, "Shape", "Slice", "Gather", "Concat", "Resize")
#: stands for the number of samples, which is not known, in the shapes that nodes compute; also as int32 and float32
BATCH = -(1 << 31)
#: elements of a constant that nodes may compute
MOST_ELEMENTS = 1 << 31


@dataclass(frozen=True)
class Tensor:
    """A value of the graph, and how the file sees it; see Design 1 and 2."""

    value: Value
    axes: tuple
    order: np.ndarray | None = None

    @property
    def shape(self):
        """Sizes of the axes in the file, without the batch."""
        return tuple(self.value.shape[axis - 1] for axis in self.axes[1:])

    @property
    def channels_first(self):
        return self.axes == first_axes(len(self.axes))


def last_axes(n):
    """The order in which both have the same axes."""
    return tuple(range(n))


def first_axes(n):
    """The order of an ONNX image: channels, our last axis, come second."""
    return (0, n - 1, *range(1, n - 1))


def read(path, input_shapes, seed):
    """See `nnfast.onnx.load`."""
    path = os.fspath(path)
    if input_shapes is None:
        input_shapes = {}
    elif not isinstance(input_shapes, Mapping):
        raise TypeError(f"onnx.load: input_shapes must be a dict of shapes by the inputs' names, got {input_shapes!r}")
    input_shapes = {name: check_shape("onnx.load", f"input_shapes[{name!r}]", shape)
                    for name, shape in input_shapes.items()}
    with open(path, "rb") as file:      # for the operating system's own words where that fails
        file.read(1)
    try:
        proto = onnx.load(path)
        # Files beyond 2 GB, which have their weights beside them, can only be checked where they lie.
        onnx.checker.check_model(path if proto.ByteSize() >= 1 << 31 else proto, full_check=True)
        patterns.fuse(proto.graph)
    except OSError:
        raise
    except Exception as error:      # of protobuf's and onnx's own classes, which differ between their versions
        raise FileFormatError(f"{path}: is not a valid ONNX file: {error}") from error
    graph = proto.graph
    named = [graph, *graph.node, *graph.input, *graph.output, *graph.initializer]
    texts = [entry.name for entry in named] + [text for node in graph.node for text in (
        node.op_type, node.domain, *node.input, *node.output, *(attribute.name for attribute in node.attribute))]
    for text in texts:
        if not isinstance(text, str):       # what some versions of protobuf make of damaged texts
            raise FileFormatError(f"{path}: is not a valid ONNX file: the name {text!r} is not UTF-8")
    return Importer(path, proto.graph, opset_of(path, proto), input_shapes).model(seed)


def opset_of(path, proto):
    """The version of ONNX's own operators."""
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx"):
            return entry.version
    raise UnsupportedError(f"{path}: has no operators of ONNX's own domain")


class Importer:
    """A model in the making."""

    def __init__(self, path, graph, opset, input_shapes):
        self.path, self.graph, self.opset = path, graph, opset
        self.constants, self.tensors = {}, {}
        self.weights = {}       # layer -> {parameter: array}
        self.names, self.made_outputs, self.integers = set(), set(), set()
        self.with_batch = set()     # constants that hold BATCH
        self.readers = {}
        for node in graph.node:
            for name in node.input if node.op_type != "Shape" else ():     # which reads no numbers
                self.readers[name] = self.readers.get(name, 0) + 1
        for output in graph.output:
            self.readers[output.name] = self.readers.get(output.name, 0) + 1
        if graph.sparse_initializer:
            raise UnsupportedError(f"{path}: has sparse constants")
        for tensor in graph.initializer:
            self.constants[tensor.name] = self._array(tensor)
        self.inputs, self.batch, self.dtype = [], None, None
        self._make_inputs(input_shapes)

    def _array(self, tensor):
        """A constant; onnx's checker does not compare its shape with its data."""
        try:
            return numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            raise FileFormatError(f"{self.path}: is not a valid ONNX file: the constant {tensor.name!r}: "
                                  f"{error}") from error

    # -- inputs and outputs --------------------------------------------------------------------------------------

    def _make_inputs(self, input_shapes):
        given = [value for value in self.graph.input if value.name not in self.constants]
        unknown = [name for name in input_shapes if name not in [value.name for value in given]]
        if unknown:
            raise ValueError(f"onnx.load: input_shapes names {unknown[0]!r}; the file's inputs are "
                             f"{', '.join(value.name for value in given)}")
        shapes = {}
        for value in given:
            what = f"{self.path}: input {value.name!r}"
            type_ = value.type.tensor_type
            if not value.type.HasField("tensor_type") or type_.elem_type not in (*REAL, *INTEGER):
                kind = TensorProto.DataType.Name(type_.elem_type) if value.type.HasField("tensor_type") else "no tensor"
                raise UnsupportedError(f"{what}: is {kind}; expected FLOAT or DOUBLE, or INT32 or INT64 for ids")
            if type_.elem_type in INTEGER:
                self.integers.add(value.name)
            else:
                dtype = REAL[type_.elem_type]
                if self.dtype not in (None, dtype):
                    raise UnsupportedError(f"{what}: is {dtype}, another one {self.dtype}")
                self.dtype = dtype
            dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in type_.shape.dim]
            if value.name in input_shapes:
                shape = input_shapes[value.name]
                if type_.HasField("shape") and len(shape) != len(dims) - 1:
                    raise ValueError(f"onnx.load: input_shapes[{value.name!r}] is {shape}, without the batch axis; the "
                                     f"file's shape {tuple(dims)} has {len(dims) - 1} axes besides it")
            else:
                shape = tuple(dims[1:])
            if not shape or not all(isinstance(size, int) and size > 0 for size in shape):
                raise UnsupportedError(f"{what}: its shape {tuple(dims)} must have a batch axis and fixed sizes after "
                                       f"it; give input_shapes={{{value.name!r}: (...)}}")
            self.batch = dims[0] if dims else None
            shapes[value.name] = shape
        images = {name: self.is_image(name, len(shape) + 1) for name, shape in shapes.items() if len(shape) > 1}
        for name, shape in shapes.items():
            # An input of which no node says where its channels are goes with the others.
            first = name in images and (images[name] or (images[name] is None and True in images.values()))
            entry = Input(shape, name=self.layer_name(name), data_format="channels_first" if first else "channels_last")
            self.inputs.append(entry)
            n = len(shape) + 1
            self.tensors[name] = Tensor(entry, first_axes(n) if first else last_axes(n))
        if not self.inputs:
            raise UnsupportedError(f"{self.path}: has no inputs")
        if self.dtype is None:      # ids alone
            kinds = [output.type.tensor_type.elem_type for output in self.graph.output]
            self.dtype = "float64" if TensorProto.DOUBLE in kinds else "float32"
        several = {value.data_format for value in self.inputs if len(value.shape) > 1}
        if len(several) > 1:
            raise UnsupportedError(f"{self.path}: some inputs are images channels first, others are not")

    def is_image(self, name, n):
        """Whether a value of n axes is read as an image whose channels come first: the first node that says where it
        expects the channels decides; None if none does."""
        spatial = {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize",
                   "Upsample", "BatchNormalization", "InstanceNormalization", "GroupNormalization", "Pad"}
        waiting, seen = [(name, last_axes(n))], {name}
        while waiting:
            name, axes = waiting.pop(0)     # axes: those of the value asked for, in the order of this one's
            for node in self.graph.node:
                if name not in node.input:
                    continue
                if node.op_type in spatial or self._reduces_last_axis(node):
                    return axes[1] == 1
                if node.op_type in ("MatMul", "LayerNormalization"):
                    return axes[-1] == 1
                if node.op_type == "Softmax" and self.opset >= 13:
                    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
                    return axes[axis] == 1 if -len(axes) <= axis < len(axes) else False
                after = axes
                if node.op_type == "Transpose":
                    perm = [list(attribute.ints) for attribute in node.attribute] or [list(reversed(range(len(axes))))]
                    if sorted(perm[0]) != list(range(len(axes))):
                        continue
                    after = tuple(axes[i] for i in perm[0])
                elif node.op_type == "Unsqueeze":
                    new = self._axes(node)
                    size, old = len(axes) + len(new), iter(axes)
                    new = {axis % size for axis in new}
                    after = tuple(None if i in new else next(old, None) for i in range(size))
                elif node.op_type in ("Reshape", "Flatten", "Gemm", "Gather", "Shape"):
                    continue
                waiting.extend((output, after) for output in node.output if output not in seen)
                seen.update(node.output)
        return None

    def _reduces_last_axis(self, node):
        """Whether a node takes the mean or maximum over the last axis, which then is not that of the channels."""
        if node.op_type not in ("ReduceMean", "ReduceMax"):
            return False
        return any(axis in (-1, 3) for axis in self._axes(node))

    def _axes(self, node):
        """The axes that a node names, as far as constants say them before nodes are read."""
        if len(node.input) < 2:
            return [axis for attribute in node.attribute if attribute.name == "axes" for axis in attribute.ints]
        axes = self.constants.get(node.input[1], ())
        for other in self.graph.node:
            if other.op_type == "Constant" and node.input[1] in other.output:
                axes = [self._array(value.t) if value.name == "value" else [*value.ints] or value.i
                        for value in other.attribute if value.name in ("value", "value_ints", "value_int")]
        return [int(axis) for axis in np.ravel(axes)]

    def model(self, seed):
        """The whole model."""
        from .operators import OPERATORS

        for node in self.graph.node:
            self.node = node
            if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
                domain = f"{node.domain}." if node.domain else ""
                raise self.unsupported(f"the operator {domain}{node.op_type} has no layer here; supported are "
                                       f"{', '.join(OPERATORS)}")
            integer = any(name in self.integers for name in node.input)
            if integer and node.op_type not in (*KEEP_INTEGERS, "Gather", "Shape"):
                raise self.unsupported("computes with integers; only a Gather may read them, as ids")
            with_batch = any(name in self.with_batch for name in node.input)
            if with_batch and node.op_type not in READ_SHAPES:
                raise self.unsupported("computes with the number of samples")
            for name in node.output[1:]:
                if name and self.readers.get(name):
                    raise self.unsupported(f"its second output {name!r} is used")
            try:
                result = OPERATORS[node.op_type](self, node)
            except UnsupportedError:
                raise
            except (ValueError, TypeError, OverflowError, MemoryError, IndexError, KeyError) as error:
                raise self.unsupported(str(error)) from error
            (self.tensors if isinstance(result, Tensor) else self.constants)[node.output[0]] = result
            if (with_batch or node.op_type == "Shape") and np.any(self.constants.get(node.output[0]) == BATCH):
                self.with_batch.add(node.output[0])
            if integer and node.op_type in KEEP_INTEGERS and not self._casts_to_real(node):
                self.integers.add(node.output[0])
        if not self.graph.output:
            raise UnsupportedError(f"{self.path}: has no outputs")
        outputs = [self._output(output.name) for output in self.graph.output]
        name = self.layer_name(self.graph.name) or "onnx"
        model = Model(self.inputs, outputs, seed=seed, dtype=self.dtype, name=name)
        parameters = {f"{layer.name}/{name}": array for layer, arrays in self.weights.items()
                      for name, array in arrays.items() if layer in model._graph.names}
        try:
            model.set_parameters(parameters)
        except ValueError as error:     # NaN, a negative variance
            why = str(error).removeprefix("set_parameters: ")
            raise FileFormatError(f"{self.path}: has weights that no layer takes: {why}") from error
        return model

    def _casts_to_real(self, node):
        return node.op_type == "Cast" and any(attribute.name == "to" and attribute.i in REAL
                                              for attribute in node.attribute)

    def _output(self, name):
        tensor = self.tensors.get(name)
        if tensor is None:
            raise UnsupportedError(f"{self.path}: the output {name!r} depends on no input")
        if name in self.integers:
            raise UnsupportedError(f"{self.path}: the output {name!r} is integers")
        n, value = len(tensor.axes), tensor.value
        if n > 2 and tensor.axes != (first_axes(n) if self.channels_first else last_axes(n)):
            if any(len(entry.shape) > 1 for entry in self.inputs):
                raise UnsupportedError(f"{self.path}: the output {name!r} has other axes than the inputs: a Transpose "
                                       "that is not at the edge")
            if not tensor.channels_first or value.shape[-1] > 1:
                raise UnsupportedError(f"{self.path}: the output {name!r} is an image {tensor.shape} made of vectors; "
                                       "models whose inputs are vectors have their channels last")
            value = Reshape(tensor.shape)(value)    # of one channel, whose pixels lie as they do channels last
        if tensor.order is not None:
            raise UnsupportedError(f"{self.path}: the output {name!r} is an image that was flattened channels first")
        if isinstance(value, Input) or value.layer in self.made_outputs:
            value = Activation("linear")(value)     # an output needs a layer of its own
        self.made_outputs.add(value.layer)
        return value

    # -- for operators -------------------------------------------------------------------------------------------

    @property
    def channels_first(self):
        """Whether the graph's images come, and so go, channels first."""
        return any(value.data_format == "channels_first" for value in self.inputs)

    def unsupported(self, why):
        """The error about the node being read."""
        node = self.node
        name = node.name or (node.output[0] if node.output else "?")
        return UnsupportedError(f"{self.path}: node {name!r} ({node.op_type}): {why}")

    def layer_name(self, name):
        """A name as layers may have it, not given yet; or None."""
        name = re.sub(r"/+", ".", name.strip("/"))
        if not name or name in self.names:
            return None
        self.names.add(name)
        return name

    def constant(self, i, what):
        """Input i of the node, which must be a constant; None if it is left out."""
        if i >= len(self.node.input) or not self.node.input[i]:
            return None
        name = self.node.input[i]
        if name not in self.constants:
            raise self.unsupported(f"{what} ({name!r}) must be a constant")
        return self.constants[name]

    def tensor(self, i=0):
        """Input i of the node, which must be computed from the inputs."""
        name = self.node.input[i]
        if name not in self.tensors:
            raise self.unsupported(f"input {i} ({name!r}) is a constant; expected something computed from the inputs")
        return self.tensors[name]

    def image(self, i=0):
        """Input i as an image or signal, channels first."""
        tensor = self.tensor(i)
        if len(tensor.axes) not in (3, 4):
            raise self.unsupported("expected an image (N, C, H, W) or a signal (N, C, L), "
                                   f"got {tensor.shape} without N")
        if not tensor.channels_first:
            raise self.unsupported("its input is not channels first: a Transpose or Reshape has moved an axis before")
        return tensor

    def attributes(self, **defaults):
        """The node's attributes; one that is not among the defaults is an error."""
        values = dict(defaults)
        for attribute in self.node.attribute:
            if attribute.name not in defaults:
                raise self.unsupported(f"attribute {attribute.name!r} is not supported")
            value = onnx.helper.get_attribute_value(attribute)
            values[attribute.name] = value.decode() if isinstance(value, bytes) else value
        return values

    def apply(self, layer, *tensors, weights=None):
        """The value of a layer called on tensors."""
        if weights is not None:
            self.weights[layer] = weights
        return layer([tensor.value for tensor in tensors])

    def same(self, layer, tensor, weights=None):
        """A layer that leaves the axes where they are."""
        return replace(tensor, value=self.apply(layer, tensor, weights=weights))

    def name(self):
        """A name for the node's layer."""
        return self.layer_name(self.node.name)

    def reads_alone(self, i):
        """Whether nothing else reads input i of the node, under none of its names: a no-op only gives it another."""
        return self.read_once(self.tensor(i).value)

    def read_once(self, value):
        """The same for a value of the graph being made."""
        return all(self.readers.get(name, 0) <= 1 for name, tensor in self.tensors.items() if tensor.value is value)

    def batch_free(self, sizes, what):
        """Sizes of a target shape without the batch, which must stay the first axis."""
        sizes = ["N" if size == BATCH else int(size) for size in sizes]
        if not sizes or sizes[0] not in (0, -1, "N", self.batch) or "N" in sizes[1:]:
            raise self.unsupported(f"{what} {sizes} changes the batch axis")
        return sizes[1:], sizes[0] == -1


def elements(shape):
    """The number of elements of a shape, which must not be too large."""
    count = math.prod(int(size) for size in shape)
    if not 0 <= count <= MOST_ELEMENTS:
        raise ValueError(f"a constant of {count:,} elements")
    return count


def is_layer(value, *classes):
    """Whether a value was made by a layer of these classes."""
    return isinstance(value.layer, Layer) and isinstance(value.layer, classes)
