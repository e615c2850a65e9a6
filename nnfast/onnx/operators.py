"""What each ONNX operator becomes. Functions take the importer and the node, and return a Tensor or a constant array.

Formulas and defaults: https://onnx.ai/onnx/operators. The rules for the last window of a pooling with ceil_mode are
those of PyTorch and of ONNX from 19 on: a window that would begin in the padding behind the input is left out.
"""

import math
from dataclasses import replace

import numpy as np

from ..activations import LARGEST_FLOAT32
from ..layers import (
    Activation,
    Add,
    AvgPool1D,
    AvgPool2D,
    BatchNorm,
    Conv1D,
    Conv1DTranspose,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Dropout,
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
from .importer import Tensor, elements, is_layer
from .shapes import SHAPES

#: Activations that files write as x times a function of x: what that does, the last step first.
GATES = {"silu": ("sigmoid",), "hard_swish": ("hard_sigmoid",), "mish": ("tanh", "softplus")}
PLUS_3 = 1.0, 3.0       # scale and offset of a Rescale
NORMALIZATIONS = (BatchNorm, LayerNorm, GroupNorm)

# --- products --------------------------------------------------------------------------------------------------------


def gemm(importer, node):
    """alpha A B + beta C, with A from the inputs and B, C constant."""
    a = importer.attributes(alpha=1.0, beta=1.0, transA=0, transB=0, broadcast=1)
    x, b = importer.tensor(0), importer.constant(1, "B")
    if a["transA"] or len(x.axes) != 2 or b.ndim != 2:
        raise importer.unsupported("expected A of shape (N, features), not transposed, and a matrix B")
    kernel = a["alpha"] * (b.T if a["transB"] else b)
    bias = importer.constant(2, "C")
    return dense(importer, x, kernel, None if bias is None or a["beta"] == 0 else a["beta"] * bias)


def matmul(importer, node):
    """A B with a constant matrix B."""
    importer.attributes()
    x, b = importer.tensor(0), importer.constant(1, "B")
    if b.ndim != 2:
        raise importer.unsupported(f"expected a matrix B, got shape {b.shape}")
    return dense(importer, x, b, None)


def dense(importer, x, kernel, bias):
    if x.axes[-1] != len(x.axes) - 1:
        raise importer.unsupported("the last axis of its input was moved by a Transpose before")
    if kernel.shape[0] != x.shape[-1]:
        raise importer.unsupported(f"B has shape {kernel.shape}, the input {x.shape[-1]} features")
    if x.order is not None:
        sorted_kernel = np.empty_like(kernel)
        sorted_kernel[x.order] = kernel
        kernel = sorted_kernel
    units = kernel.shape[1]
    weights = {"kernel": kernel}
    if bias is not None:
        if bias.size not in (1, units) or bias.shape[:-1] != (1,) * (bias.ndim - 1):
            raise importer.unsupported(f"C has shape {bias.shape}, expected ({units},)")
        weights["bias"] = np.broadcast_to(bias.reshape(-1), (units,))
    layer = Dense(units, use_bias=bias is not None, name=importer.name())
    return Tensor(importer.apply(layer, x, weights=weights), x.axes)


def conv(importer, node):
    """Convolution of a signal or image with a constant kernel."""
    a = importer.attributes(auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None, strides=None)
    x, kernel = importer.image(), importer.constant(1, "W")
    bias, axes = importer.constant(2, "B"), len(x.shape) - 1
    if kernel.ndim != axes + 2:
        raise importer.unsupported(f"W has shape {kernel.shape}, the input {x.shape} without N")
    size = kernel.shape[2:]
    if a["kernel_shape"] is not None and tuple(a["kernel_shape"]) != size:
        raise importer.unsupported(f"kernel_shape is {a['kernel_shape']}, W has shape {kernel.shape}")
    stride, dilation = a["strides"] or [1] * axes, a["dilations"] or [1] * axes
    pads = padding(importer, a, x.shape[1:], size, stride, dilation)
    weights = kernel_and_bias(importer, x, kernel, bias, kernel.shape[0], 1)
    settings = {"stride": tuple(stride), "padding": pads, "dilation": tuple(dilation), "use_bias": bias is not None,
                "name": importer.name()}
    filters, group = kernel.shape[0], a["group"]
    if kernel.shape[1] * group != x.shape[0]:
        raise importer.unsupported(f"W has shape {kernel.shape}, group is {group}, the input has {x.shape[0]} channels")
    x = replace(x, order=None)
    if axes == 1:
        settings |= {"stride": stride[0], "padding": pads[0], "dilation": dilation[0]}
        layer = Conv1D(filters, size[0], groups=group, **settings)
    elif group == x.shape[0] > 1:
        layer = DepthwiseConv2D(tuple(size), depth_multiplier=filters // group, **settings)
    else:
        layer = Conv2D(filters, tuple(size), groups=group, **settings)
    return importer.same(layer, x, weights=weights)


def kernel_and_bias(importer, x, kernel, bias, filters, axis):
    """In our order of axes; (K, C, ...) of a convolution, (C, K, ...) of a transposed one: the input's channels are
    along `axis`."""
    if bias is not None and bias.shape != (filters,):
        raise importer.unsupported(f"B has shape {bias.shape}, expected ({filters},)")
    if x.order is not None:
        if kernel.shape[axis] != x.shape[0]:
            raise importer.unsupported("in groups, of channels that were flattened channels first")
        kernel = kernel.take(np.argsort(x.order), axis)
    kernel = np.moveaxis(kernel, (0, 1), (-1, -2))
    return {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}


def conv_transpose(importer, node):
    """Transposed convolution of a signal or image with a constant kernel (C, K, ...)."""
    a = importer.attributes(auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, output_padding=None,
                            output_shape=None, pads=None, strides=None)
    x, kernel = importer.image(), importer.constant(1, "W")
    bias, n = importer.constant(2, "B"), len(x.shape) - 1
    if kernel.ndim != n + 2 or kernel.shape[0] != x.shape[0]:
        raise importer.unsupported(f"W has shape {kernel.shape}, the input {x.shape} without N")
    if a["group"] != 1:
        raise importer.unsupported(f"group is {a['group']}")
    size = kernel.shape[2:]
    if a["kernel_shape"] is not None and tuple(a["kernel_shape"]) != size:
        raise importer.unsupported(f"kernel_shape is {a['kernel_shape']}, W has shape {kernel.shape}")
    stride, dilation = a["strides"] or [1] * n, a["dilations"] or [1] * n
    pads, more = transposed_padding(importer, a, x.shape[1:], size, stride, dilation)
    weights, x = kernel_and_bias(importer, x, kernel, bias, kernel.shape[1], 0), replace(x, order=None)
    place = {"kernel_size": tuple(size), "stride": tuple(stride), "padding": pads, "output_padding": more,
             "dilation": tuple(dilation)}
    if n == 1:
        place = {what: value[0] for what, value in place.items()}
    layer = (Conv1DTranspose if n == 1 else Conv2DTranspose)(kernel.shape[1], use_bias=bias is not None,
                                                             name=importer.name(), **place)
    return importer.same(layer, x, weights=weights)


def transposed_padding(importer, a, sizes, kernel, stride, dilation):
    """((before, after), ...) and the output's padding, from pads or from its shape, which may be the input's times the
    stride."""
    n, wanted = len(sizes), a["output_shape"]
    more = a["output_padding"] or [0] * n
    if wanted is None and a["auto_pad"] in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [size * step for size, step in zip(sizes, stride)]
    if wanted is None:
        pads = a["pads"] or [0] * 2 * n
        if min(pads) < 0:
            raise importer.unsupported(f"negative pads {list(pads)}")
        return tuple(zip(pads[:n], pads[n:])), tuple(more)
    pairs, rest = [], []
    for size, k, step, d, extra, out in zip(sizes, kernel, stride, dilation, more, wanted):
        total = step * (size - 1) + extra + (k - 1) * d + 1 - out
        rest.append(extra + max(-total, 0))     # what no tap reaches is longer
        small, large = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
        pairs.append((small, large) if a["auto_pad"] == "SAME_UPPER" else (large, small))
    return tuple(pairs), tuple(rest)


def padding(importer, a, sizes, kernel, stride, dilation):
    """((before, after), ...) from pads or auto_pad."""
    n = len(sizes)
    if a["auto_pad"] == "NOTSET":
        pads = a["pads"] or [0] * 2 * n
        if min(pads) < 0:
            raise importer.unsupported(f"negative pads {list(pads)}")
        return tuple(zip(pads[:n], pads[n:]))
    if a["auto_pad"] == "VALID":
        return ((0, 0),) * n
    pairs = []
    for size, k, step, d in zip(sizes, kernel, stride, dilation):
        total = max((-(-size // step) - 1) * step + (k - 1) * d + 1 - size, 0)
        small, large = total // 2, total - total // 2
        pairs.append((small, large) if a["auto_pad"] == "SAME_UPPER" else (large, small))
    return tuple(pairs)


# --- pooling ---------------------------------------------------------------------------------------------------------


def pool(importer, average):
    extra = {"count_include_pad": 0} if average else {"storage_order": 0}
    a = importer.attributes(auto_pad="NOTSET", ceil_mode=0, dilations=None, kernel_shape=None, pads=None, strides=None,
                            **extra)
    x = importer.image()
    kernel, n = a["kernel_shape"], len(x.shape) - 1
    stride = a["strides"] or [1] * n
    if a["dilations"] is not None and set(a["dilations"]) != {1}:
        raise importer.unsupported(f"dilations {list(a['dilations'])} of a pooling")
    pads = padding(importer, a, x.shape[1:], kernel, stride, [1] * n)
    include = bool(a.get("count_include_pad"))
    if a["ceil_mode"] and a["auto_pad"] == "NOTSET":
        longer = tuple(ceil_pair(*entry) for entry in zip(x.shape[1:], kernel, stride, pads))
        if include and longer != pads:
            # Only the padding that the file names counts as zeros, not what the last windows have beyond it.
            if n == 1:
                raise importer.unsupported("ceil_mode with count_include_pad over one axis")
            x = importer.same(ZeroPadding2D(pads), x)
            longer = tuple((0, after - own) for (_, after), (_, own) in zip(longer, pads))
            include = False
        pads = longer
    arguments = {"stride": tuple(stride), "padding": pads, "name": importer.name()}
    if average:
        arguments["count_include_pad"] = include
    if n == 1:
        arguments |= {"stride": stride[0], "padding": pads[0]}
        return importer.same((AvgPool1D if average else MaxPool1D)(kernel[0], **arguments), x)
    return importer.same((AvgPool2D if average else MaxPool2D)(tuple(kernel), **arguments), x)


def ceil_pair(size, kernel, stride, pair):
    """Padding of one axis that makes as many windows as ceil_mode."""
    before, after = pair
    count = -(-(size + before + after - kernel) // stride) + 1
    if (count - 1) * stride >= size + before:
        count -= 1
    return before, max(after, (count - 1) * stride + kernel - size - before)


def average_pool(importer, node):
    return pool(importer, True)


def max_pool(importer, node):
    return pool(importer, False)


def resize(importer, node):
    """Every pixel of an image, or element of a signal, several times."""
    a = importer.attributes(antialias=0, axes=None, coordinate_transformation_mode="half_pixel", cubic_coeff_a=-0.75,
                            exclude_outside=0, extrapolation_value=0.0, keep_aspect_ratio_policy="stretch",
                            mode="nearest", nearest_mode="round_prefer_floor")
    rule = a["coordinate_transformation_mode"], a["nearest_mode"]
    if a["mode"] != "nearest":
        raise importer.unsupported(f"mode {a['mode']!r}; only 'nearest' is supported")
    # For whole factors these are the same.
    if rule != ("asymmetric", "floor") and (rule[0] not in ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")
                                            or rule[1] not in ("round_prefer_floor", "round_prefer_ceil")):
        raise importer.unsupported(f"coordinate_transformation_mode {rule[0]!r} with nearest_mode {rule[1]!r}")
    if a["keep_aspect_ratio_policy"] != "stretch":
        raise importer.unsupported(f"keep_aspect_ratio_policy {a['keep_aspect_ratio_policy']!r}")
    x = importer.image()
    n = len(x.axes)
    # Before 11 the scales come first, after it a region of interest, then scales or sizes.
    at = 1 if importer.opset < 11 else 2
    given, sizes = importer.constant(at, "scales"), importer.constant(at + 1, "sizes")
    axes = [axis % n for axis in (range(n) if a["axes"] is None else a["axes"])]
    if given is None or given.size == 0:
        if sizes is None or sizes.size != len(axes):
            raise importer.unsupported("neither scales nor sizes are constant")
        # Of the batch nothing is known.
        given = np.array([1.0 if axis == 0 else size / x.shape[axis - 1] for axis, size in zip(axes, sizes)])
    scales = np.ones(n)
    if given.size != len(axes):
        raise importer.unsupported(f"{given.size} scales for {len(axes)} axes")
    scales[axes] = given
    return upsampled(importer, x, scales)


def upsample(importer, node):
    """Resize as it was called before opset 10."""
    a = importer.attributes(mode="nearest", scales=None)
    if a["mode"] != "nearest":
        raise importer.unsupported(f"mode {a['mode']!r}; only 'nearest' is supported")
    scales = a["scales"] if a["scales"] is not None else importer.constant(1, "scales")
    return upsampled(importer, importer.image(), np.asarray(scales))


def upsampled(importer, x, scales):
    values = [float(scale) for scale in scales]
    if len(values) != len(x.axes) or values[:2] != [1, 1] or not all(1 <= v < 2**31 and v == int(v) for v in values):
        raise importer.unsupported(f"scales {values}; only whole factors along the axes of space are supported")
    factors = tuple(map(int, values[2:]))
    layer = UpSampling1D if len(factors) == 1 else UpSampling2D
    return importer.same(layer(factors[0] if len(factors) == 1 else factors, name=importer.name()), x)


def global_pool(importer, layer, x, keep):
    """(N, C, H, W) to (N, C) or (N, C, 1, 1)."""
    value = importer.apply(layer, x)
    if keep:
        n = len(x.axes)
        return Tensor(Reshape((*(1,) * (n - 2), x.value.shape[-1]))(value), x.axes, x.order)
    return Tensor(value, (0, 1), x.order)


def global_average_pool(importer, node):
    importer.attributes()
    return global_pool(importer, GlobalAvgPool(name=importer.name()), importer.image(), True)


def global_max_pool(importer, node):
    importer.attributes()
    return global_pool(importer, GlobalMaxPool(name=importer.name()), importer.image(), True)


def reduction(layer):
    """The mean or maximum over all axes of space."""
    return lambda importer, node: reduced(importer, node, layer)


def reduced(importer, node, layer):
    a = importer.attributes(axes=None, keepdims=1, noop_with_empty_axes=0)
    x = importer.tensor()
    n = len(x.axes)
    axes = a["axes"] if len(node.input) < 2 else importer.constant(1, "axes")
    own = None if axes is None else {x.axes[axis % n] for axis in (int(axis) for axis in axes)}
    if n not in (3, 4) or own != set(range(1, n - 1)):
        hint = "; layer normalization is one node from opset 17 on" if own == {n - 1} and importer.opset < 17 else ""
        raise importer.unsupported(f"axes {None if axes is None else [int(axis) for axis in axes]} of "
                                   f"{x.shape} are not those of space{hint}")
    return global_pool(importer, layer(name=importer.name()), x, bool(a["keepdims"]))


# --- normalization, constants added and multiplied -------------------------------------------------------------------


def batch_normalization(importer, node):
    a = importer.attributes(epsilon=1e-5, momentum=0.9, training_mode=0, spatial=1, is_test=1)
    if a["training_mode"] or not a["spatial"] or (importer.opset < 7 and not a["is_test"]):
        raise importer.unsupported("only normalization with running statistics for each channel is supported")
    x = importer.tensor()
    if len(x.axes) > 2:
        x = importer.image()
    arrays = [importer.constant(i, what) for i, what in enumerate(("scale", "B", "mean", "var"), start=1)]
    if x.order is not None:
        arrays = [reordered(array, x.order) for array in arrays]
    weights = dict(zip(("gamma", "beta", "running_mean", "running_variance"), arrays))
    # Rounded, because it is a float32 in the file.
    layer = BatchNorm(momentum=round(1 - a["momentum"], 6), epsilon=max(a["epsilon"], 1e-12), name=importer.name())
    return importer.same(layer, x, weights=weights)


def layer_normalization(importer, node):
    """Over the last axis, of the channels or features."""
    a = importer.attributes(axis=-1, epsilon=1e-5, stash_type=1)
    x = importer.tensor()
    n = len(x.axes)
    if a["axis"] % n != n - 1 or x.axes[-1] != n - 1:
        raise importer.unsupported(f"from axis {a['axis']} of {x.shape} on; only the axis of channels or features is "
                                   "supported, and it must come last")
    gamma, beta = importer.constant(1, "Scale"), importer.constant(2, "B")
    weights = {"gamma": per_channel(importer, gamma, x)}
    if beta is not None:
        weights["beta"] = per_channel(importer, beta, x)
    layer = LayerNorm(max(a["epsilon"], 1e-12), center=beta is not None, name=importer.name())
    return importer.same(layer, x, weights=weights)


def instance_normalization(importer, node):
    """Of each channel by itself."""
    epsilon = importer.attributes(epsilon=1e-5, consumed_inputs=None)["epsilon"]
    x = importer.image()
    weights = {"gamma": importer.constant(1, "scale"), "beta": importer.constant(2, "B")}
    if x.order is not None:
        weights = {name: reordered(array, x.order) for name, array in weights.items()}
    return importer.same(GroupNorm(x.shape[0], max(epsilon, 1e-12), name=importer.name()), x, weights=weights)


def group_normalization(importer, node):
    a = importer.attributes(num_groups=None, epsilon=1e-5, stash_type=1)
    x = importer.tensor()
    if len(x.axes) > 2:
        x = importer.image()
    if x.order is not None:
        raise importer.unsupported("groups of features that were flattened channels first")
    named = ("gamma", 1, "scale"), ("beta", 2, "bias")
    weights = {name: importer.constant(i, what) for name, i, what in named if len(node.input) > i}
    if importer.opset < 21:     # numbers of groups
        weights = {name: np.repeat(array, x.shape[0] // a["num_groups"]) for name, array in weights.items()}
    layer = GroupNorm(a["num_groups"], max(a["epsilon"], 1e-12), center="beta" in weights, scale="gamma" in weights,
                      name=importer.name())
    return importer.same(layer, x, weights=weights)


def reordered(array, order):
    result = np.empty_like(array)
    result[order] = array
    return result


def affine(importer, i, scale, shift):
    """Tensor i of the node times `scale` plus `shift`: numbers, or constants with one number for each channel."""
    x = importer.tensor(i)
    scale, shift = (np.asarray(value, np.float64) for value in (scale, shift))
    if scale.size == 1 and not shift.any() and math.isclose(scale.item(), 1 / 6, rel_tol=1e-6):
        whole = sixth(importer, x)
        if whole is not None:
            return whole
    layer, channels = x.value.layer, x.value.shape[-1]
    # Layers made here have no activation of their own: in the file it is a node. A plain number is no weight of theirs:
    # it stays what it is when the model is trained.
    foldable = (is_layer(x.value, Dense, Conv1D, Conv2D, DepthwiseConv2D, *NORMALIZATIONS) and importer.reads_alone(i)
                and max(scale.ndim, shift.ndim) > 0)
    if not foldable and scale.size == shift.size == 1 and max(scale.ndim, shift.ndim) <= len(x.axes):
        return importer.same(Rescale(scale.item(), shift.item(), name=importer.name()), x)
    needed = scale.ndim > 0 or scale != 1, shift.ndim > 0 or shift != 0
    scale, shift = (per_channel(importer, value, x) for value in (scale, shift))
    weights = importer.weights.get(layer, {})
    if foldable:
        (gain, has_gain), (bias, has_bias) = (("gamma", "scale"), ("beta", "center")) \
            if isinstance(layer, NORMALIZATIONS) else (("kernel", ""), ("bias", "use_bias"))
        new, missing = dict(weights), {}
        if gain in weights or needed[0]:
            new[gain] = weights.get(gain, 1) * scale
            missing |= {has_gain: True} if gain not in weights else {}
        if bias in weights or needed[1]:
            new[bias] = weights.get(bias, 0) * scale + shift
            missing |= {has_bias: True} if bias not in weights else {}
        if missing:
            layer = type(layer).from_config(layer.get_config() | missing)
        return replace(x, value=importer.apply(layer, *(Tensor(v, ()) for v in x.value.inputs), weights=new))
    layer = BatchNorm(epsilon=1e-12, name=importer.name())
    statistics = {"running_mean": np.zeros(channels), "running_variance": np.ones(channels)}
    return importer.same(layer, x, weights={"gamma": scale, "beta": shift, **statistics})


def per_channel(importer, value, x):
    """A constant as one number for each of our channels."""
    n, channels = len(x.axes), x.value.shape[-1]
    axis = x.axes.index(n - 1)
    if value.ndim > n or value.size not in (1, channels):
        raise importer.unsupported(f"a constant of shape {value.shape} is not one number for each of {channels} "
                                   "channels")
    shape = (1,) * (n - value.ndim) + value.shape
    if value.size > 1 and shape[axis] != channels:
        raise importer.unsupported(f"a constant of shape {value.shape} does not lie along the {channels} channels")
    value = np.broadcast_to(value.reshape(-1), (channels,))
    return reordered(value, x.order) if x.order is not None and value.size > 1 else value


def along(importer, node, value):
    """The constant of an addition before opset 7, whose axis was named."""
    a = importer.attributes(axis=None, broadcast=0, consumed_inputs=None)
    if a["axis"] is not None and value.ndim:
        value = value.reshape(*value.shape, *(1,) * (len(importer.tensor().axes) - a["axis"] - value.ndim))
    return value


def binary(importer, node, function):
    """Two constants, or a tensor and a constant: (which is the tensor, the constant); None if both are tensors."""
    known = [name in importer.constants for name in node.input]
    if all(known):
        importer.attributes(axis=None, broadcast=0, consumed_inputs=None)
        values = [importer.constants[name] for name in node.input]
        elements(np.broadcast_shapes(*(value.shape for value in values)))
        return np.asarray(function(*values))
    if not any(known):
        return None
    i = known.index(False)
    return i, along(importer, node, importer.constants[node.input[1 - i]])


def add(importer, node):
    found = binary(importer, node, np.add)
    if found is None:
        importer.attributes(axis=None, broadcast=0)
        return total(importer, [importer.tensor(0), importer.tensor(1)])
    return found if isinstance(found, np.ndarray) else affine(importer, found[0], 1.0, found[1])


def subtract(importer, node):
    found = binary(importer, node, np.subtract)
    if found is None:
        raise importer.unsupported("the difference of two computed tensors")
    if isinstance(found, np.ndarray):
        return found
    i, value = found
    return affine(importer, i, 1.0, -value) if i == 0 else affine(importer, i, -1.0, value)


def multiply(importer, node):
    found = binary(importer, node, np.multiply)
    if found is None:
        return gated(importer)
    return found if isinstance(found, np.ndarray) else affine(importer, found[0], found[1], 0.0)


def gated(importer):
    """The product of a tensor and a function of it, as some activations are written."""
    for x, gate in ((importer.tensor(0), importer.tensor(1)), (importer.tensor(1), importer.tensor(0))):
        if gate.axes != x.axes:
            continue
        for name, steps in GATES.items():
            if came_from(gate.value, x.value, steps):
                return importer.same(Activation(name, name=importer.name()), x)
        if came_from(gate.value, x.value, ("relu6", PLUS_3)):      # a sixth of it comes next, see `sixth`
            return importer.same(Rescale(6.0), importer.same(Activation("hard_swish", name=importer.name()), x))
    return product(importer, importer.tensor(0), importer.tensor(1))


def product(importer, a, b):
    """Of two tensors, of which one may be a number for each channel or pixel."""
    if len(a.axes) != len(b.axes):
        raise importer.unsupported(f"shapes {a.shape} and {b.shape} without N have other numbers of axes")
    pair = [a, b]
    for i, x in enumerate(pair):
        other = pair[1 - i]
        if x.axes != other.axes and sum(size > 1 for size in x.shape) <= 1:     # its numbers lie in any order of axes
            shape = [0] * len(x.shape)
            for axis, size in zip(other.axes[1:], x.shape):
                shape[axis - 1] = size
            pair[i] = replace(x, value=importer.apply(Reshape(shape), x), axes=other.axes)
    if pair[0].axes != pair[1].axes:
        raise importer.unsupported("its inputs have their axes in different orders: a Transpose not at the edge")
    whole = pair[int(math.prod(b.shape) > math.prod(a.shape))]
    for x in pair:
        if not same_order(x.order, whole.order) and x.shape[0] > 1:
            raise importer.unsupported("features that were flattened channels first, times others")
    return replace(whole, value=importer.apply(Multiply(name=importer.name()), *pair))


def came_from(value, source, steps):
    """Whether a value was made from `source` by these steps, the last one first: activations, (scale, offset)."""
    for step in steps:
        layer = value.layer if is_layer(value, Activation, Rescale) else None
        if step != (layer.activation if isinstance(layer, Activation) else layer and (layer.scale, layer.offset)):
            return False
        value = value.inputs[0]
    return value is source or source is None


def sixth(importer, x):
    """A sixth of relu6(z + 3), or of z times that: hard_sigmoid and hard_swish in several nodes. None of all else."""
    if came_from(x.value, None, ("relu6", PLUS_3)):
        before = x.value.inputs[0].inputs[0]
        return importer.same(Activation("hard_sigmoid", name=importer.name()), replace(x, value=before))
    if came_from(x.value, None, ((6.0, 0.0), "hard_swish")):
        return replace(x, value=x.value.inputs[0])
    return None


def divide(importer, node):
    found = binary(importer, node, quotient)
    if found is None or (not isinstance(found, np.ndarray) and found[0] == 1):
        raise importer.unsupported("division by a computed tensor")
    return found if isinstance(found, np.ndarray) else affine(importer, found[0], 1.0 / found[1], 0.0)


def quotient(a, b):
    """Of two constants; that of integers has no fraction."""
    return np.trunc(a / b).astype(a.dtype) if a.dtype.kind in "iu" else a / b


def modulo(importer, node):
    found = binary(importer, node, np.mod)
    if not isinstance(found, np.ndarray):
        raise importer.unsupported("the remainder of a computed tensor")
    return found


def sum_(importer, node):
    importer.attributes(consumed_inputs=None)
    tensors = [importer.tensor(i) for i in range(len(node.input))]
    return tensors[0] if len(tensors) == 1 else total(importer, tensors)


def total(importer, tensors):
    """The sum of tensors of one shape."""
    head = tensors[0]
    for tensor in tensors[1:]:
        if tensor.shape != head.shape:
            raise importer.unsupported(f"shapes {head.shape} and {tensor.shape} without N differ")
        if tensor.axes != head.axes or not same_order(tensor.order, head.order):
            raise importer.unsupported("its inputs have their axes in different orders: a Transpose not at the edge")
    return replace(head, value=importer.apply(Add(name=importer.name()), *tensors))


def same_order(a, b):
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


# --- activations -----------------------------------------------------------------------------------------------------


def activation(name, default=None):
    def convert(importer, node):
        settings = {"consumed_inputs": None} | ({} if default is None else {"alpha": default})
        a = importer.attributes(**settings)
        return importer.same(Activation(name, a.get("alpha"), name=importer.name()), importer.tensor())
    return convert


def gelu(importer, node):
    if importer.attributes(approximate="none")["approximate"] != "none":
        raise importer.unsupported("the approximation by tanh")
    return importer.same(Activation("gelu", name=importer.name()), importer.tensor())


def swish(importer, node):
    if importer.attributes(alpha=1.0)["alpha"] != 1.0:
        raise importer.unsupported("an alpha other than 1")
    return importer.same(Activation("silu", name=importer.name()), importer.tensor())


def clip(importer, node):
    a = importer.attributes(min=None, max=None, consumed_inputs=None)
    if importer.opset >= 11:
        a = {"min": importer.constant(1, "min"), "max": importer.constant(2, "max")}
    low, high = (default if value is None else np.asarray(value).item()
                 for value, default in ((a["min"], -math.inf), (a["max"], math.inf)))
    if high >= LARGEST_FLOAT32:
        if low <= -LARGEST_FLOAT32:
            return importer.tensor()
        high = math.inf
    name = {(0, 6): "relu6", (0, math.inf): "relu"}.get((low, high))
    if name is None:
        raise importer.unsupported(f"from {low:g} to {high:g}; only from 0 to 6, which is relu6, and from 0 on")
    return importer.same(Activation(name, name=importer.name()), importer.tensor())


def hard_sigmoid(importer, node):
    a = importer.attributes(alpha=0.2, beta=0.5, consumed_inputs=None)
    # The numbers in the file are float32.
    if not (math.isclose(a["alpha"], 1 / 6, rel_tol=1e-6) and a["beta"] == 0.5):
        raise importer.unsupported(f"alpha {a['alpha']:.4g} and beta {a['beta']:.4g} make another function than "
                                   "hard_sigmoid's, which are 1/6 and 0.5 (ONNX's default alpha is 0.2)")
    return importer.same(Activation("hard_sigmoid", name=importer.name()), importer.tensor())


def selu(importer, node):
    known = {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}
    default = known if importer.opset >= 6 else {"alpha": 1.6732, "gamma": 1.0507}
    a = importer.attributes(**default, consumed_inputs=None)
    if not all(math.isclose(a[what], value, rel_tol=1e-6) for what, value in known.items()):
        raise importer.unsupported(f"alpha {a['alpha']:.8g} and gamma {a['gamma']:.8g}; selu has {known['alpha']:.8g} "
                                   f"and {known['gamma']:.8g}")
    return importer.same(Activation("selu", name=importer.name()), importer.tensor())


def softmax(importer, node):
    x = importer.tensor()
    n = len(x.axes)
    axis = importer.attributes(axis=-1 if importer.opset >= 13 else 1)["axis"] % n
    # Before 13 it went over all axes from this one on, together.
    over = {axis} if importer.opset >= 13 else {i for i in range(axis, n) if i == axis or x.shape[i - 1] > 1}
    if {x.axes[i] for i in over} != {n - 1}:
        raise importer.unsupported(f"axis {axis} is not the axis of channels or features")
    return importer.same(Activation("softmax", name=importer.name()), x)


def dropout(importer, node):
    a = importer.attributes(ratio=0.5, seed=0, is_test=1)
    given = importer.constant(1, "ratio")
    ratio = float(a["ratio"] if given is None else given)
    if importer.constant(2, "training_mode") not in (None, False):
        raise importer.unsupported("training_mode in a graph for inference")
    return importer.same(Dropout(ratio, name=importer.name()), importer.tensor())


OPERATORS = {
    "Gemm": gemm, "MatMul": matmul, "Conv": conv, "ConvTranspose": conv_transpose,
    "Resize": resize, "Upsample": upsample,
    "AveragePool": average_pool, "MaxPool": max_pool, "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool, "ReduceMean": reduction(GlobalAvgPool), "ReduceMax": reduction(GlobalMaxPool),
    "BatchNormalization": batch_normalization, "LayerNormalization": layer_normalization,
    "InstanceNormalization": instance_normalization, "GroupNormalization": group_normalization,
    "Add": add, "Sub": subtract, "Mul": multiply, "Div": divide, "Mod": modulo, "Sum": sum_,
    "Relu": activation("relu"), "LeakyRelu": activation("leaky_relu", 0.01), "Elu": activation("elu", 1.0),
    "Sigmoid": activation("sigmoid"), "Tanh": activation("tanh"), "Softplus": activation("softplus"), "Gelu": gelu,
    "Swish": swish, "Clip": clip, "HardSigmoid": hard_sigmoid, "HardSwish": activation("hard_swish"), "Selu": selu,
    "Mish": activation("mish"), "Softmax": softmax, "Dropout": dropout,
    **SHAPES,
}
