"""Networks of every layer, as the tests of files and exports use them, and random ones."""
import numpy as np
from hypothesis import strategies as st

import nnfast as nf
from nnfast.activations import ACTIVATIONS


def statistics(model, rng):
    """Running statistics, gammas and biases that are not what they start as."""
    new = {}
    for name, value in model.parameters.items():
        if not name.endswith("/kernel"):
            new[name] = rng.uniform(0.5, 1.5, value.shape) - (0 if name.endswith("variance") else 0.5)
    model.set_parameters(new)
    return model


def mlp(**settings):
    layers = [nf.Dense(32, activation="relu"), nf.Dropout(0.5), nf.Dense(16, activation="tanh", use_bias=False),
              nf.Dense(10, activation="softmax")]
    return nf.Sequential(layers, **({"input_shape": (20,), "seed": 3} | settings))


def graph(dtype="float32"):
    a, b = nf.Input((6,), name="a"), nf.Input((2, 3), name="b * \u00e9")
    h = nf.Add()([nf.Dense(6, activation="tanh")(a), nf.Flatten()(b), a])
    g = nf.Concatenate(axis=0)([nf.Reshape((2, 3))(h), b, nf.Reshape((2, 3))(nf.Activation("elu", alpha=0.5)(a))])
    c = nf.Concatenate()([h, nf.Activation("gelu")(h), nf.Activation("relu")(a)])
    outputs = [nf.Dense(4, activation="softmax", name="policy")(g), nf.Dense(1, name="value")(c),
               nf.Flatten(name="copy")(h)]
    return nf.Model([a, b], outputs, seed=4, dtype=dtype)


def residual(dtype="float32", data_format="channels_last"):
    x = nf.Input((8, 6, 4) if data_format == "channels_last" else (4, 8, 6), data_format=data_format)
    h = nf.BatchNorm()(nf.Conv2D(4, 3, padding="same", use_bias=False)(x))
    h = nf.Activation("relu")(nf.Add()([x, h]))
    h = nf.Concatenate()([h, nf.Conv2D(3, 1)(h), nf.AvgPool2D(3, 1, "same")(h)])
    h = nf.Concatenate(axis=0)([h, h])
    return nf.Model(x, [h, nf.GlobalAvgPool()(h), nf.Dropout(0.1)(x)], dtype=dtype)


def gated(dtype="float32", data_format="channels_last"):
    """Products with a number for each channel, for each pixel, for all, and with as many numbers."""
    x = nf.Input((8, 6, 4) if data_format == "channels_last" else (4, 8, 6), data_format=data_format)
    h = nf.Conv2D(6, 3, padding="same", activation="tanh")(x)
    gate = nf.Dense(6, activation="sigmoid")(nf.Dense(3, activation="relu")(nf.GlobalAvgPool()(h)))
    g = nf.Multiply()([gate, h])
    g = nf.Multiply()([g, nf.Conv2D(6, 1)(nf.Reshape((1, 1, 6))(gate))])
    g = nf.Multiply()([nf.Conv2D(1, 3, padding="same", activation="sigmoid")(g), g])
    g = nf.Multiply()([g, nf.Multiply()([h, g])])
    v = nf.GlobalAvgPool()(g)
    v = nf.Multiply()([nf.Multiply()([v, gate]), nf.Dense(1)(v)])
    return nf.Model(x, [g, nf.Dense(3)(v), nf.Multiply()([h, nf.Dense(1)(v)])], dtype=dtype, seed=6)


#: shape of a sample, channels last, and layers
IMAGES = {
    "conv1d": ((30, 3), lambda: [nf.Conv1D(8, 5, stride=2, padding=(4, 0), activation="relu"), nf.MaxPool1D(3, 2, 1),
                                 nf.Conv1D(6, 3, dilation=2, groups=2), nf.AvgPool1D(2, padding=(1, 0))]),
    "conv2d": ((13, 11, 4), lambda: [nf.Conv2D(6, (3, 2), stride=(2, 1), padding="same", activation="elu"),
                                     nf.Conv2D(8, 3, padding=((0, 2), (1, 0)), dilation=(1, 2), groups=2),
                                     nf.ZeroPadding2D(((1, 0), (0, 2))), nf.MaxPool2D(2)]),
    "depthwise": ((9, 9, 3), lambda: [nf.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="silu"),
                                      nf.Conv2D(5, 1, use_bias=False), nf.GlobalAvgPool()]),
    "pools": ((12, 10, 2), lambda: [nf.AvgPool2D(3, 2, "same"), nf.AvgPool2D(2, 1, 1, count_include_pad=True),
                                    nf.MaxPool2D((3, 2), (1, 2), "same"), nf.GlobalMaxPool()]),
    "padded": ((6, 5, 2), lambda: [nf.ZeroPadding2D(2), nf.AvgPool2D(3, 2, count_include_pad=True),
                                   nf.Activation("softmax"), nf.ZeroPadding2D(1), nf.AvgPool2D(2)]),
    "transposed": ((5, 4, 3), lambda: [nf.Conv2DTranspose(6, (3, 4), 2, ((1, 0), (1, 2)), (1, 0), activation="relu"),
                                       nf.BatchNorm(), nf.UpSampling2D((1, 2)), nf.Conv2DTranspose(4, 2, 3, "same"),
                                       nf.Conv2DTranspose(2, 3, 1, 1, 0, (2, 1), activation="tanh", use_bias=False),
                                       nf.BatchNorm(), nf.Activation("softmax")]),
    "transposed signal": ((7, 3), lambda: [nf.Conv1DTranspose(4, 5, 2, (1, 2), 1, activation="relu"),
                                           nf.UpSampling1D(3), nf.Conv1DTranspose(2, 3, padding="same", dilation=2)]),
    "layer norm": ((5, 4, 3), lambda: [nf.Conv2D(6, 2), nf.LayerNorm(0.01), nf.Activation("relu"),
                                       nf.LayerNorm(scale=False), nf.Flatten(), nf.LayerNorm(), nf.Dense(9),
                                       nf.LayerNorm(center=False), nf.Activation("tanh"),
                                       nf.LayerNorm(center=False, scale=False)]),
    "group norm": ((5, 4, 3), lambda: [nf.Conv2D(6, 2), nf.GroupNorm(3, 0.01), nf.Activation("relu"),
                                       nf.GroupNorm(6), nf.Conv2D(4, 2), nf.GroupNorm(4, scale=False),
                                       nf.Activation("tanh"), nf.GroupNorm(1, center=False), nf.GlobalAvgPool(),
                                       nf.Dense(9), nf.GroupNorm(3), nf.Dense(4), nf.GroupNorm(2, scale=False)]),
    "norm": ((8, 8, 3), lambda: [nf.Rescale(0.5, 0.1), nf.Conv2D(6, 3, use_bias=False), nf.BatchNorm(),
                                 nf.Activation("relu"), nf.BatchNorm(scale=False), nf.Conv2D(4, 3, activation="tanh"),
                                 nf.BatchNorm(center=False), nf.Flatten(), nf.Dense(5), nf.BatchNorm()]),
}


def image_net(kind, data_format="channels_last", dtype="float32"):
    shape, layers = IMAGES[kind]
    if data_format == "channels_first":
        shape = (shape[-1], *shape[:-1])
    return nf.Sequential(layers(), input_shape=shape, dtype=dtype, data_format=data_format, seed=1)


READY = {
    "lenet5": nf.models.lenet5,
    "mnist_cnn": nf.models.mnist_cnn,
    "vgg": lambda: nf.models.vgg(11, (32, 32, 3), 10, width=0.125, batch_norm=True),
    "resnet": lambda: nf.models.resnet(8, width=0.5, data_format="channels_first", input_shape=(3, 16, 16)),
}


# --- drawn by hypothesis ---------------------------------------------------------------------------------------------

activations = st.sampled_from([name for name in ACTIVATIONS if name != "softmax"])


@st.composite
def layers_of_an_image(draw, shape):
    """One to five layers that fit an image (H, W, C); all but a last one keep an image."""
    layers = []
    for _ in range(draw(st.integers(1, 5))):
        height, width, channels = shape
        kernel = (draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width))))
        stride = (draw(st.integers(1, 3)), draw(st.integers(1, 2)))
        pairs = tuple((draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in kernel)
        padding = draw(st.sampled_from(["valid", "same", pairs]))
        kind = draw(st.sampled_from(["conv", "depthwise", "transposed", "upsampled", "max", "average", "norm",
                                     "activation", "pad", "rescale", "dense", "dropout"]))
        if kind == "conv":
            groups = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
            layer = nf.Conv2D(groups * draw(st.integers(1, 3)), kernel, stride, padding, groups=groups,
                              activation=draw(activations), use_bias=draw(st.booleans()))
        elif kind == "depthwise":
            layer = nf.DepthwiseConv2D(kernel, stride, padding, depth_multiplier=draw(st.integers(1, 2)))
        elif kind == "transposed":
            more = tuple(draw(st.integers(0, step - 1)) for step in stride)
            layer = nf.Conv2DTranspose(draw(st.integers(1, 3)), kernel, stride, "valid", more,
                                       activation=draw(activations), use_bias=draw(st.booleans()))
        elif kind == "upsampled":
            layer = nf.UpSampling2D((draw(st.integers(1, 2)), draw(st.integers(1, 3))))
        elif kind == "max":
            layer = nf.MaxPool2D(kernel, stride, padding)
        elif kind == "average":
            layer = nf.AvgPool2D(kernel, stride, padding, count_include_pad=draw(st.booleans()))
        elif kind == "norm":
            layer = draw(st.sampled_from([nf.BatchNorm, nf.LayerNorm]))(center=draw(st.booleans()),
                                                                        scale=draw(st.booleans()))
        elif kind == "activation":
            layer = nf.Activation(draw(st.sampled_from(list(ACTIVATIONS))))
        elif kind == "pad":
            layer = nf.ZeroPadding2D(((draw(st.integers(0, 2)), 1), (0, draw(st.integers(0, 2)))))
        elif kind == "rescale":
            layer = nf.Rescale(draw(st.sampled_from([0.5, -2.0])), draw(st.sampled_from([0.0, 0.25])))
        elif kind == "dense":
            layer = nf.Dense(draw(st.integers(1, 4)), activation=draw(activations))
        else:
            layer = nf.Dropout(0.5)
        layers.append(layer)
        shape = layer(nf.Input(shape)).shape
    ending = draw(st.sampled_from(["image", "flat", "mean", "max"]))
    if ending == "flat":
        layers += [nf.Flatten(), nf.Dense(3, activation="softmax")]
    elif ending != "image":
        layers += [nf.GlobalAvgPool() if ending == "mean" else nf.GlobalMaxPool(), nf.Dense(2)]
    return layers


@st.composite
def networks(draw):
    """A random network over images, with statistics."""
    shape = (draw(st.integers(3, 9)), draw(st.integers(3, 9)), draw(st.integers(1, 4)))
    data_format = draw(st.sampled_from(["channels_last", "channels_first"]))
    layers = draw(layers_of_an_image(shape))
    if data_format == "channels_first":
        shape = (shape[-1], *shape[:-1])
    model = nf.Sequential(layers, input_shape=shape, data_format=data_format, seed=draw(st.integers(0, 100)))
    return statistics(model, np.random.default_rng(draw(st.integers(0, 100))))
