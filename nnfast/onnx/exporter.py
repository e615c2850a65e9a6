"""From a model's graph to ONNX nodes.

Inside the model everything is channels last; ONNX's convolutions and poolings want channels first. So each value is
written down in one of two orders of its axes, and turned (Transpose) only where a node needs the other one:
convolutions, poolings, padding and batch normalization want channels first, dense layers over several axes and reshapes
channels last, all else takes what comes. Nodes are those of the compiled plan (`Graph.plan_spec`); dropout is left out.
"""

import json
import os

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..config import __version__
from ..files import check_model
from ..layout import FORMATS
from ..names import choose
from ..tensor_file import replace

#: what all runtimes of the last years read, and that from which on these are operators
OPSET, NEWER = 17, {"Mish": 18, "Gelu": 20}
IR_VERSION = 8

ACTIVATIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "leaky_relu": "LeakyRelu", "elu": "Elu",
               "softplus": "Softplus", "gelu": "Gelu", "relu6": "Clip", "hard_sigmoid": "HardSigmoid",
               "hard_swish": "HardSwish", "selu": "Selu", "mish": "Mish", "softmax": "Softmax"}


def write(model, path, data_format, dtype):
    """See `nnfast.onnx.export`."""
    check_model("onnx.export", model)
    path = os.fspath(path)
    if data_format is not None:
        choose("export data_format", data_format, FORMATS)
    dtype = model.dtype if dtype is None else choose("export dtype", dtype, ("float32", "float64"))
    proto = Exporter(model, data_format, np.dtype(dtype)).proto()
    onnx.checker.check_model(proto, full_check=True)
    replace(path, [proto.SerializeToString()])


class Exporter:
    """One ONNX graph in the making. A value is (name, whether its axes are channels first)."""

    def __init__(self, model, data_format, dtype):
        self.model, self.dtype = model, dtype
        self.graph = graph = model._built()
        self.first = (data_format or graph.data_format) == "channels_first"
        self.nodes, self.constants, self.names = [], {}, set()
        self.spec = graph.plan_spec(np.dtype(model.dtype), model.seed, None)
        self.parameters = model.get_weights()
        self.type = helper.np_dtype_to_tensor_dtype(dtype)
        self.inputs, self.values, self.integers = [], {}, set()
        for i, (name, shape) in enumerate(zip(graph.input_names, graph.input_shapes)):
            name = self._name(name)
            self.values[i] = name, self.first and len(shape) > 1
            ids = self._values_of_ids(i)
            self.integers |= ids
            self.inputs.append(self._info(name, shape, onnx.TensorProto.INT64 if ids else self.type))
        # Outputs keep their names; whatever is called so inside gets another.
        self.outputs = [self._name(name) for name in graph.output_names]
        self.shapes = dict(enumerate(graph.input_shapes))
        for i, node in enumerate(self.spec["nodes"], start=len(graph.input_names)):
            self.shapes[i] = tuple(node["shape"])
            self.values[i] = self._write(node)
        for name, i in zip(self.outputs, graph.output_ids):
            self._finish(i, name)

    def proto(self):
        """The file."""
        graph = self.graph
        opset = max([OPSET, *(NEWER.get(node.op_type, OPSET) for node in self.nodes)])
        outputs = [self._info(name, shape, self.type) for name, shape in zip(self.outputs, graph.output_shapes)]
        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        proto = helper.make_graph(self.nodes, self.model.name, self.inputs, outputs, constants)
        result = helper.make_model(proto, producer_name="nnfast", producer_version=__version__, ir_version=IR_VERSION,
                                   opset_imports=[helper.make_opsetid("", opset)])
        if self.model.class_names is not None:
            helper.set_model_props(result, {"class_names": json.dumps(self.model.class_names)})
        return result

    # -- parts of the graph --------------------------------------------------------------------------------------

    def _name(self, stem):
        """A name nobody else has."""
        name, n = stem, 0
        while name in self.names:
            n += 1
            name = f"{stem}_{n}"
        self.names.add(name)
        return name

    def _info(self, name, shape, kind):
        if self.first and len(shape) > 1:
            shape = (shape[-1], *shape[:-1])
        return helper.make_tensor_value_info(name, kind, ["N", *shape])

    def _values_of_ids(self, i):
        """Value i and its reshapes if embeddings alone read them, so that they may be integers; else nothing."""
        first, found = len(self.graph.input_shapes), {i}
        readers = [(at, node["op"]) for at, node in enumerate(self.spec["nodes"], start=first) if i in node["inputs"]]
        for at, op in readers:
            own = self._values_of_ids(at) if op == "reshape" else {i} if op == "embedding" else set()
            if not own:
                return set()
            found |= own
        return found if readers and i not in self.graph.output_ids else set()

    def _constant(self, name, array):
        name = self._name(name)
        self.constants[name] = np.asarray(array, order="C")      # a number stays one
        return name

    def _real(self, name, array):
        return self._constant(name, np.asarray(array, self.dtype))

    def _node(self, op, inputs, stem, **attributes):
        """Write one node; its output's name."""
        output = self._name(stem)
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def _turned(self, i, first):
        """The name of value i with its axes in one of the two orders."""
        name, is_first = self.values[i]
        if is_first == first or len(self.shapes[i]) == 1:
            return name
        return self._turn(name, len(self.shapes[i]), first)

    def _turn(self, name, axes, first):
        """Transpose a value from the other order into this one."""
        perm = [0, axes, *range(1, axes)] if first else [0, *range(2, axes + 1), 1]
        return self._node("Transpose", [name], f"{name}_{'first' if first else 'last'}", perm=perm)

    def _finish(self, i, name):
        """An output: the value in the wanted order, under its own name."""
        value = self._turned(i, self.first and len(self.shapes[i]) > 1)
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name + "/output"))

    # -- operations ----------------------------------------------------------------------------------------------

    def _write(self, node):
        """Nodes for one operation of the plan; its value."""
        method = getattr(self, f"_{node['op']}", None)
        if method is None:
            raise ValueError(f"onnx.export: {node['name']}: "
                             + ("a Lambda layer holds Python functions" if node["op"] == "python" else "no operator "
                                f"for {node['op']!r}"))
        value = method(node, node["name"])
        if node["op"] in ("dense", "conv", "conv_transpose"):
            value = self._activate(value, node, len(node["shape"]))
        return value

    def _dense(self, node, name):
        kernel = self._real(f"{name}/kernel", self.parameters[node["kernel"]])
        bias = None if node["bias"] < 0 else self._real(f"{name}/bias", self.parameters[node["bias"]])
        x = self._turned(node["inputs"][0], False)
        if len(node["shape"]) == 1:
            return self._node("Gemm", [x, kernel] + ([bias] if bias else []), name), False
        product = self._node("MatMul", [x, kernel], name)
        return (self._node("Add", [product, bias], name) if bias else product), False

    def _conv(self, node, name):
        place = window(node["window"], len(node["shape"]) - 1)
        return self._node("Conv", self._conv_inputs(node, name), name, group=node["groups"], **place), True

    def _conv_transpose(self, node, name):
        axes = len(node["shape"]) - 1
        place = window(node["window"], axes)
        before, after = place["pads"][:axes], place["pads"][axes:]
        sizes = zip(node["shape"], self.shapes[node["inputs"][0]], place["kernel_shape"], place["strides"],
                    place["dilations"], before, after)
        place["output_padding"] = [out - (size - 1) * step - (kernel - 1) * apart - 1 + first + last
                                   for out, size, kernel, step, apart, first, last in sizes]
        return self._node("ConvTranspose", self._conv_inputs(node, name), name, **place), True

    def _conv_inputs(self, node, name):
        """Data, kernel (K, C / groups, R, S) and bias; a transposed convolution's kernel is (C, K, R, S)."""
        kernel = np.moveaxis(self.parameters[node["kernel"]], (-1, -2), (0, 1))
        inputs = [self._turned(node["inputs"][0], True), self._real(f"{name}/kernel", kernel)]
        if node["bias"] >= 0:
            inputs.append(self._real(f"{name}/bias", self.parameters[node["bias"]]))
        return inputs

    def _upsample(self, node, name):
        axes = len(node["shape"]) - 1
        factors = window(node["window"], axes)["strides"]
        scales = self._constant(f"{name}/scales", np.array([1, 1, *factors], np.float32))
        inputs = [self._turned(node["inputs"][0], True), "", scales]
        return self._node("Resize", inputs, name, mode="nearest", coordinate_transformation_mode="asymmetric",
                          nearest_mode="floor"), True

    def _max_pool(self, node, name):
        return self._pool(node, name, "Max", {})

    def _average_pool(self, node, name):
        return self._pool(node, name, "Average", {"count_include_pad": int(node["include_pad"])})

    def _pool(self, node, name, kind, attributes):
        i = node["inputs"][0]
        x, axes = self._turned(i, True), len(self.shapes[i]) - 1
        if len(node["shape"]) == 1:     # a global pooling
            pooled = self._node(f"Global{kind}Pool", [x], name)
            shape = self._constant(f"{name}/shape", np.array([0, node["shape"][0]]))
            return self._node("Reshape", [pooled, shape], name), False
        place = window(node["window"], axes)
        del place["dilations"]
        return self._node(f"{kind}Pool", [x], name, **place, **attributes), True

    def _pad(self, node, name):
        place = window(node["window"], 2)["pads"]
        pads = self._constant(f"{name}/pads", np.array([0, 0, *place[:2], 0, 0, *place[2:]]))
        # onnxruntime merges a Pad with zeros into the pooling after it, whose own padding counts otherwise. The
        # smallest number there is stops it from that.
        value = self._real(f"{name}/value", np.finfo(self.dtype).smallest_subnormal)
        return self._node("Pad", [self._turned(node["inputs"][0], True), pads, value], name), True

    def _batch_norm(self, node, name):
        i, channels = node["inputs"][0], node["channels"]

        def parameter(what, default):
            at = node.get(what, -1)
            return self._real(f"{name}/{what}", self.parameters[at] if at >= 0 else np.full(channels, default))

        inputs = [self._turned(i, True), parameter("gamma", 1), parameter("beta", 0), parameter("mean", 0),
                  parameter("variance", 1)]
        # The momentum is for further training alone; ONNX's is the weight of what was before.
        settings = {"epsilon": node["epsilon"], "momentum": 1 - node["momentum"]}
        return self._node("BatchNormalization", inputs, name, **settings), len(self.shapes[i]) > 1

    def _layer_norm(self, node, name):
        channels = node["shape"][-1]
        gamma = self.parameters[node["gamma"]] if node["gamma"] >= 0 else np.ones(channels)
        inputs = [self._turned(node["inputs"][0], False), self._real(f"{name}/gamma", gamma)]
        if node["beta"] >= 0:
            inputs.append(self._real(f"{name}/beta", self.parameters[node["beta"]]))
        return self._node("LayerNormalization", inputs, name, axis=-1, epsilon=node["epsilon"]), False

    def _group_norm(self, node, name):
        i, channels, groups = node["inputs"][0], node["channels"], node["groups"]
        shape, first = self.shapes[i], len(self.shapes[i]) > 1
        gamma, beta = ((what, self.parameters[node[what]]) if node[what] >= 0 else None for what in ("gamma", "beta"))
        x = self._turned(i, first)
        if groups == channels and first:
            scale, bias = gamma or ("gamma", np.ones(channels)), beta or ("beta", np.zeros(channels))
            inputs = [x, *(self._real(f"{name}/{what}", array) for what, array in (scale, bias))]
            return self._node("InstanceNormalization", inputs, name, epsilon=node["epsilon"]), first
        # GroupNormalization is an operator from opset 18 on only: a channel of InstanceNormalization is a group here.
        own = [0, channels, *shape[:-1]] if first else [0, channels]
        shapes = [self._constant(f"{name}/shape", np.array(sizes)) for sizes in ([0, groups, -1], own)]
        constants = [self._real(f"{name}/{what}", array) for what, array in (("ones", np.ones(groups)),
                                                                             ("zeros", np.zeros(groups)))]
        x = self._node("Reshape", [x, shapes[0]], f"{name}/groups")
        x = self._node("InstanceNormalization", [x, *constants], f"{name}/normal", epsilon=node["epsilon"])
        x = self._node("Reshape", [x, shapes[1]], name)
        for op, weights in (("Mul", gamma), ("Add", beta)):
            if weights is not None:
                array = weights[1].reshape(-1, *(1,) * (len(shape) - 1))
                x = self._node(op, [x, self._real(f"{name}/{weights[0]}", array)], name)
        return x, first

    def _embedding(self, node, name):
        table, i = self._real(f"{name}/kernel", self.parameters[node["kernel"]]), node["inputs"][0]
        ids = self._turned(i, False)
        if i not in self.integers:
            ids = self._node("Cast", [ids], f"{name}/ids", to=onnx.TensorProto.INT64)
        return self._node("Gather", [table, ids], name, axis=0), False

    def _rescale(self, node, name):
        x, first = self.values[node["inputs"][0]]
        x = self._node("Mul", [x, self._real(f"{name}/scale", node["scale"])], name)
        if node["offset"]:
            x = self._node("Add", [x, self._real(f"{name}/offset", node["offset"])], name)
        return x, first

    def _activation(self, node, name):
        # An output that is a reshape, see Graph.plan_spec.
        if self.shapes[node["inputs"][0]] != tuple(node["shape"]):
            return self._reshape(node, name)
        return self._activate(self.values[node["inputs"][0]], node, len(node["shape"]))

    def _activate(self, value, node, axes):
        """The activation of a node, applied to a value of so many axes."""
        (x, first), activation, name = value, node["activation"], node["name"]
        if activation == "linear":
            return value
        if activation == "silu":
            gate = self._node("Sigmoid", [x], name)
            return self._node("Mul", [x, gate], name), first
        inputs, attributes = [x], {}
        if activation == "relu6":
            inputs += [self._real(f"{name}/low", 0), self._real(f"{name}/high", 6)]
        elif activation == "hard_sigmoid":
            attributes |= {"alpha": 1 / 6, "beta": 0.5}
        elif activation in ("leaky_relu", "elu"):
            attributes["alpha"] = node["alpha"]
        elif activation == "softmax":
            attributes["axis"] = 1 if first else axes
        return self._node(ACTIVATIONS[activation], inputs, name, **attributes), first

    def _add(self, node, name):
        first = self.values[node["inputs"][0]][1]
        xs = [self._turned(i, first) for i in node["inputs"]]
        total = xs[0]
        for x in xs[1:]:    # Add, because not all runtimes have Sum in float64
            total = self._node("Add", [total, x], name)
        return total, first

    def _multiply(self, node, name):
        n, shapes = len(node["shape"]), [self.shapes[i] for i in node["inputs"]]
        # The order of the one with all channels and pixels, which need not be turned then.
        whole = shapes.index(tuple(node["shape"])) if tuple(node["shape"]) in shapes else 0
        first = n > 1 and self.values[node["inputs"][whole]][1]
        xs = []
        for i, shape in zip(node["inputs"], shapes):
            if len(shape) == n:
                xs.append(self._turned(i, first))
                continue
            wide = (*(1,) * (n - len(shape)), *shape)
            shape = np.array([0, wide[-1], *wide[:-1]] if first else [0, *wide])
            xs.append(self._node("Reshape", [self._turned(i, False), self._constant(f"{name}/shape", shape)], name))
        return self._node("Mul", xs, name), first

    def _concatenate(self, node, name):
        first, axes = self.values[node["inputs"][0]][1], len(node["shape"])
        axis = node["axis"] + 1
        if first:
            axis = 1 if axis == axes else axis + 1
        return self._node("Concat", [self._turned(i, first) for i in node["inputs"]], name, axis=axis), first

    def _dropout(self, node, name):
        return self.values[node["inputs"][0]]

    def _reshape(self, node, name):
        x = self._turned(node["inputs"][0], False)
        if self.shapes[node["inputs"][0]] == tuple(node["shape"]):
            return x, False
        # 0 keeps the batch as it is.
        return self._node("Reshape", [x, self._constant(f"{name}/shape", np.array([0, *node["shape"]]))], name), False


def window(place, axes):
    """Attributes of a convolution or pooling over one or two axes."""
    rows, columns, down, right, top, left, bottom, after, dilation_h, dilation_w = place[4:]
    pairs = {"kernel_shape": (rows, columns), "strides": (down, right), "dilations": (dilation_h, dilation_w)}
    attributes = {name: list(pair[2 - axes:]) for name, pair in pairs.items()}
    attributes["pads"] = [*(top, left)[2 - axes:], *(bottom, after)[2 - axes:]]
    return attributes
