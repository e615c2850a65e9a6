"""The networks of ``architectures.py`` in nnfast, trained by ``fit`` with shuffling, as a user would call it."""

import nnfast as nf

from . import nnfast_net
from .architectures import initial
from .nnfast_net import configuration, versions

__all__ = ["VARIANTS", "Trainer", "configuration", "versions"]

VARIANTS = {"models": {"": "nnfast"}}


def normalized(convolution, activation="relu"):
    return [convolution, nf.BatchNorm(), nf.Activation(activation)]


def resnet20(inputs, last):
    """`nf.models.resnet(20)` with PyTorch's padding, which where a stride is 2 begins one pixel before ours."""
    image = nf.Input(inputs[0].shape)
    x = chained(image, normalized(nf.Conv2D(16, 3, padding=1, use_bias=False)))
    for filters in (16, 32, 64):
        for block in range(3):
            stride = 2 if block == 0 and filters > 16 else 1
            y = chained(x, normalized(nf.Conv2D(filters, 3, stride=stride, padding=1, use_bias=False)))
            y = chained(y, normalized(nf.Conv2D(filters, 3, padding=1, use_bias=False))[:2])
            if stride == 2:
                x = chained(x, normalized(nf.Conv2D(filters, 1, stride=2, use_bias=False))[:2])
            x = nf.Activation("relu")(nf.Add()([y, x]))
    return nf.Model(image, last(nf.GlobalAvgPool()(x)))


def chained(x, layers):
    for layer in layers:
        x = layer(x)
    return x


def mobile(inputs, last):
    layers = normalized(nf.Conv2D(32, 3, padding="same", use_bias=False))
    for filters, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        layers += normalized(nf.DepthwiseConv2D(3, stride=stride, padding=1, use_bias=False))
        layers += normalized(nf.Conv2D(filters, 1, use_bias=False))
    return nf.Sequential([*layers, nf.GlobalAvgPool(), last], input_shape=inputs[0].shape)


def mobilenet_v3(inputs, last):
    return nf.models.mobilenet_v3("small", inputs[0].shape, classes=10, dropout=0.0)


def unet(inputs, last):
    return nf.models.unet(inputs[0].shape, classes=3, depth=3, width=0.25, batch_norm=True)


def autoencoder(inputs, last):
    return nf.Sequential([
        nf.Conv2D(32, 3, stride=2, padding=1, activation="relu"),
        nf.Conv2D(64, 3, stride=2, padding=1, activation="relu"),
        nf.Conv2DTranspose(32, 4, stride=2, padding=1, activation="relu"),
        nf.Conv2DTranspose(1, 4, stride=2, padding=1),
    ], input_shape=inputs[0].shape)


def signal(inputs, last):
    layers = []
    for filters in (32, 64, 128):
        layers += [*normalized(nf.Conv1D(filters, 7, padding="same", use_bias=False)), nf.MaxPool1D(2)]
    return nf.Sequential([*layers, nf.GlobalAvgPool(), last], input_shape=inputs[0].shape)


def text(inputs, last):
    return nf.Sequential([nf.Embedding(inputs[0].ids, 64), nf.Conv1D(128, 5, activation="relu"), nf.GlobalMaxPool(),
                          last], input_shape=inputs[0].shape)


def table(inputs, last):
    numbers, ids = (nf.Input(entry.shape) for entry in inputs)
    value = nf.Concatenate()([numbers, nf.Flatten()(nf.Embedding(inputs[1].ids, 8)(ids))])
    for _ in range(2):
        value = nf.Dense(64, activation="relu")(value)
    return nf.Model([numbers, ids], last(value))


def layer_norm(inputs, last):
    layers = []
    for _ in range(3):
        layers += [nf.Dense(256), nf.LayerNorm(), nf.Activation("gelu")]
    return nf.Sequential([*layers, last], input_shape=inputs[0].shape)


def build(workload):
    """The model with its initial weights, not compiled."""
    last = (nf.Dense(workload.classes, activation="softmax") if workload.classes else
            nf.Dense(workload.target[-1]))
    model = globals()[workload.name](workload.inputs, last)
    state, number = {}, 0
    for name, value in model.parameters.items():
        layer, kind = name.split("/")
        if kind in ("kernel", "gamma", "bias", "beta"):     # else: a batch normalization's statistics
            kind = {"gamma": "ones", "bias": "zeros", "beta": "zeros"}.get(kind, kind)
            if layer.startswith("embedding"):
                kind = "embedding"
            state[name] = initial(number, kind, value.shape)
            number += 1
    model.set_weights([state.get(name, value) for name, value in model.parameters.items()])
    return model


class Trainer(nnfast_net.Trainer):
    """As of a stack of layers, from the architecture's weights on."""

    def __init__(self, problem, variant, n_threads, choice="fit, shuffled"):
        self.problem, self.choice = problem, choice
        self.model = build(problem.workload)
        self.weights = self.model.get_weights()

    def reset(self):
        nnfast_net.start(self.model, self.problem.workload, self.weights)
