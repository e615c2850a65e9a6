"""Operators that compute constants, or give a tensor another shape or order of axes; see operators.py."""

import math
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from ..layers import (
    Activation,
    BatchNorm,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Input,
    LayerNorm,
    Rescale,
    Reshape,
    ZeroPadding2D,
)
from .importer import BATCH, INTEGER, REAL, Tensor, elements, first_axes, is_layer, last_axes


def identity(importer, node):
    importer.attributes()
    name = node.input[0]
    return importer.constants[name] if name in importer.constants else importer.tensor()


def constant(importer, node):
    a = importer.attributes(value=None, value_float=None, value_floats=None, value_int=None, value_ints=None)
    if a["value"] is not None:
        return numpy_helper.to_array(a["value"])
    value = next(value for value in a.values() if value is not None)
    is_float = a["value_float"] is not None or a["value_floats"] is not None
    return np.asarray(value, np.float32 if is_float else np.int64)


def constant_of_shape(importer, node):
    value = importer.attributes(value=None)["value"]
    value = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
    shape = [int(size) for size in importer.constant(0, "shape")]
    elements(shape)
    return np.broadcast_to(value.reshape(()), shape)


def shape_of(importer, node):
    """The sizes of a tensor's axes."""
    a, name = importer.attributes(start=0, end=None), node.input[0]
    sizes = importer.constants[name].shape if name in importer.constants else (BATCH, *importer.tensor().shape)
    return np.array(sizes[a["start"]:a["end"]], np.int64)


def slice_(importer, node):
    """A part of a constant."""
    a = importer.attributes(starts=None, ends=None, axes=None)
    if node.input[0] not in importer.constants:
        raise importer.unsupported("a part of a computed tensor")
    array = importer.constants[node.input[0]]
    starts, ends, axes, steps = (importer.constant(i, what) if a.get(what) is None else a[what]
                                 for i, what in enumerate(("starts", "ends", "axes", "steps"), start=1))
    parts = [slice(None)] * array.ndim
    for i, (start, end) in enumerate(zip(starts, ends)):
        axis, step = i if axes is None else int(axes[i]), 1 if steps is None else int(steps[i])
        parts[axis] = slice(int(start), int(end), step)
    return array[tuple(parts)]


def cast(importer, node):
    a = importer.attributes(to=None, saturate=1)
    name = node.input[0]
    if name in importer.constants:
        return importer.constants[name].astype(onnx.helper.tensor_dtype_to_np_dtype(a["to"]))
    ids = all(other.op_type == "Gather" for other in importer.graph.node if node.output[0] in other.input)
    if a["to"] in INTEGER and (name in importer.integers or (ids and importer.readers.get(node.output[0]))):
        return importer.tensor()    # ids are whole, or an error before anything is computed
    if a["to"] not in REAL:
        raise importer.unsupported(f"to {TensorProto.DataType.Name(a['to'])}")
    return importer.tensor()


def gather(importer, node):
    """Rows of a constant table."""
    axis = importer.attributes(axis=0)["axis"]
    if all(name in importer.constants for name in node.input):
        return np.take(importer.constants[node.input[0]], importer.constants[node.input[1]], axis)
    table, x = importer.constant(0, "data"), importer.tensor(1)
    if table.ndim != 2 or axis % 2 != 0:
        raise importer.unsupported(f"expected the rows of a matrix, got axis {axis} of data of shape {table.shape}")
    source = x.value
    while is_layer(source, Flatten, Reshape):
        source = source.inputs[0]
    if not isinstance(source, Input):
        raise importer.unsupported("its indices are computed; expected ids that come in as they are")
    if x.order is not None:
        raise importer.unsupported("its ids were flattened channels first")
    layer = Embedding(*table.shape, name=importer.name())
    return Tensor(importer.apply(layer, x, weights={"kernel": table}), (*x.axes, len(x.axes)))


def flatten(importer, node):
    axis = importer.attributes(axis=1)["axis"]
    x = importer.tensor()
    if axis != 1 and axis % len(x.axes) != 1:
        raise importer.unsupported(f"axis {axis} would join samples")
    return flat(importer, x)


def flat(importer, x):
    """(N, ...) to (N, features)."""
    if len(x.axes) == 2:
        return x
    value = importer.apply(Flatten(name=importer.name()), x)
    numbers = np.arange(math.prod(x.value.shape)).reshape(x.value.shape)
    if x.order is not None:
        numbers = numbers[..., x.order]
    order = numbers.transpose([axis - 1 for axis in x.axes[1:]]).ravel()
    return Tensor(value, (0, 1), None if (order[1:] > order[:-1]).all() else order)


def reshape(importer, node):
    a = importer.attributes(shape=None, allowzero=0, consumed_inputs=None)
    name = node.input[0]
    shape = a["shape"] if a["shape"] is not None else importer.constant(1, "shape")
    if name in importer.constants:
        array = importer.constants[name]
        return array.reshape([array.shape[i] if size == 0 and not a["allowzero"] else int(size)
                              for i, size in enumerate(shape)])
    x = importer.tensor()
    sizes, batch_open = importer.batch_free(shape, "the shape")
    if a["allowzero"] and 0 in sizes:
        raise importer.unsupported(f"the shape {sizes} has no elements")
    old = x.shape
    sizes = [old[i] if size == 0 and i < len(old) else size for i, size in enumerate(sizes)]
    known = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and not batch_open and known > 0:
        sizes[sizes.index(-1)] = math.prod(old) // known
    return reshaped(importer, x, tuple(sizes))


def reshaped(importer, x, sizes):
    """A tensor in another shape, as the file counts its elements."""
    if not sizes or min(sizes) < 1 or math.prod(sizes) != math.prod(x.shape):
        raise importer.unsupported(f"the shape {sizes} does not hold a sample of shape {x.shape}")
    if sizes == x.shape:
        return x
    if len(sizes) == 1:
        return flat(importer, x)
    n = len(sizes) + 1
    is_image = n in (3, 4) and importer.is_image(importer.node.output[0], n)
    if (is_image or importer.channels_first) and len(x.axes) == 2 and sizes[0] == x.shape[0]:
        # (N, C) to (N, C, 1, 1), whatever the order of the features
        return Tensor(importer.apply(Reshape((*sizes[1:], sizes[0]), name=importer.name()), x), first_axes(n), x.order)
    if x.axes == last_axes(len(x.axes)) and x.order is None:
        if is_image and (sizes[0] == 1 or sort_features(importer, x, sizes)):
            return Tensor(importer.apply(Reshape((*sizes[1:], sizes[0]), name=importer.name()), x), first_axes(n))
        return Tensor(importer.apply(Reshape(sizes, name=importer.name()), x), last_axes(n))
    if x.channels_first and x.order is None and sizes[0] == x.shape[0]:
        return Tensor(importer.apply(Reshape((*sizes[1:], sizes[0]), name=importer.name()), x), first_axes(n))
    raise importer.unsupported(f"from {x.shape} to {sizes} in a graph whose images are channels first here")


def sort_features(importer, x, sizes):
    """Have features made in the order in which a Reshape to an image (C, H, W) needs them, channels fastest: sort the
    weights of the dense layer that makes them, and of what lies between. False, and nothing, where that cannot be."""
    layers, value = [], x.value
    while importer.read_once(value) and (is_layer(value, BatchNorm, Dropout, LayerNorm, Rescale) or (
            is_layer(value, Activation) and value.layer.activation != "softmax")):
        layers.append(value.layer)
        value = value.inputs[0]
    if len(x.axes) > 2 or not is_layer(value, Dense) or not importer.read_once(value):
        return False
    order = np.moveaxis(np.arange(math.prod(sizes)).reshape(sizes), 0, -1).ravel()
    for layer in (value.layer, *layers):
        weights = importer.weights.get(layer, {})
        importer.weights[layer] = {name: np.take(array, order, -1) for name, array in weights.items()}
    return True


def squeeze(importer, node):
    axes, name = squeezed_axes(importer, node), node.input[0]
    if name in importer.constants:
        return np.squeeze(importer.constants[name], axes)
    x = importer.tensor()
    n = len(x.axes)
    axes = {axis % n for axis in axes} if axes is not None else {i for i in range(1, n) if x.shape[i - 1] == 1}
    if 0 in axes or any(x.shape[axis - 1] != 1 for axis in axes):
        raise importer.unsupported(f"axes {sorted(axes)} of {x.shape} are not of size 1")
    return reshaped(importer, x, tuple(size for i, size in enumerate(x.shape, start=1) if i not in axes))


def unsqueeze(importer, node):
    axes, name = squeezed_axes(importer, node), node.input[0]
    if axes is None:
        raise importer.unsupported("without axes")
    if name in importer.constants:
        return np.expand_dims(importer.constants[name], axes)
    x = importer.tensor()
    n = len(x.axes) + len(axes)
    axes, sizes = {axis % n for axis in axes}, iter(x.shape)
    if 0 in axes:
        raise importer.unsupported("a new axis before the batch")
    return reshaped(importer, x, tuple(1 if i in axes else next(sizes) for i in range(1, n)))


def squeezed_axes(importer, node):
    axes = importer.attributes(axes=None)["axes"]
    if axes is None:
        axes = importer.constant(1, "axes")
    return None if axes is None else tuple(int(axis) for axis in axes)


def transpose(importer, node):
    name = node.input[0]
    perm = importer.attributes(perm=None)["perm"]
    if name in importer.constants:
        return importer.constants[name].transpose(perm)
    x = importer.tensor()
    perm = list(perm) if perm is not None else list(reversed(range(len(x.axes))))
    if perm[0] != 0:
        raise importer.unsupported(f"perm {perm} moves the batch axis")
    return replace(x, axes=tuple(x.axes[i] for i in perm))


def concat(importer, node):
    axis = importer.attributes(axis=1)["axis"]
    if all(name in importer.constants for name in node.input):
        return np.concatenate([importer.constants[name] for name in node.input], axis)
    tensors = [importer.tensor(i) for i in range(len(node.input))]
    head = tensors[0]
    axis %= len(head.axes)
    if axis == 0:
        raise importer.unsupported("axis 0 is the batch")
    if any(tensor.axes != head.axes for tensor in tensors):
        raise importer.unsupported("its inputs have their axes in different orders: a Transpose not at the edge")
    if len(tensors) == 1:
        return head
    order = None
    if any(tensor.order is not None for tensor in tensors):
        if len(head.axes) != 2:
            raise importer.unsupported("features that were flattened channels first")
        orders, begin = [], 0
        for tensor in tensors:
            size = tensor.shape[0]
            orders.append(begin + (np.arange(size) if tensor.order is None else tensor.order))
            begin += size
        order = np.concatenate(orders)
    value = importer.apply(Concatenate(axis=head.axes[axis] - 1, name=importer.name()), *tensors)
    return Tensor(value, head.axes, order)


def pad(importer, node):
    a = importer.attributes(mode="constant", pads=None, value=0.0)
    x = importer.image()
    n = len(x.axes)
    pads = a["pads"] if a["pads"] is not None else importer.constant(1, "pads")
    value = importer.constant(2, "constant_value")
    value = a["value"] if value is None else float(np.asarray(value).item())
    axes = importer.constant(3, "axes")
    axes = list(range(n)) if axes is None else [int(axis) % n for axis in axes]
    pads = [int(size) for size in pads]
    pairs = dict(zip(axes, zip(pads[:len(axes)], pads[len(axes):])))
    # The exporter writes the smallest number for zero (see its comment).
    if a["mode"] != "constant" or abs(value) > 1e-37 or min(pads) < 0:
        raise importer.unsupported(f"mode {a['mode']!r} with value {value} and pads {pads}; only zeros around an image "
                                   "are supported")
    if n != 4 or any(any(pairs.get(axis, (0, 0))) for axis in (0, 1)):
        raise importer.unsupported(f"pads {pads} on other axes than height and width of an image")
    return importer.same(ZeroPadding2D((pairs.get(2, (0, 0)), pairs.get(3, (0, 0))), name=importer.name()), x)


SHAPES = {
    "Identity": identity, "Constant": constant, "ConstantOfShape": constant_of_shape, "Cast": cast,
    "Shape": shape_of, "Slice": slice_,
    "Flatten": flatten, "Reshape": reshape, "Squeeze": squeeze, "Unsqueeze": unsqueeze, "Transpose": transpose,
    "Concat": concat, "Pad": pad, "Gather": gather,
}
