"""Models for tests of what the plan fuses."""
import numpy as np

import nnfast as nf

CLASSES = 3


def plan_of(model):
    return model._require_plan()


def members(model, inference=False):
    return [entry["members"] for entry in plan_of(model).describe(inference)]


def sequential(layers, shape, dtype="float32", **arguments):
    """A compiled model whose biases, scales and statistics are not just zeros and ones."""
    model = nf.Sequential(layers, input_shape=shape, dtype=np.dtype(dtype).name, **arguments)
    disturb(model)
    return model


def disturb(model, seed=0):
    rng = np.random.default_rng(seed)
    for name, value in model.parameters.items():
        if not name.endswith("kernel"):
            low = 0.3 if name.endswith("variance") else -0.5
            model.set_parameters({name: value + rng.uniform(low, 0.8, value.shape)})


def head():
    return [nf.Flatten(), nf.Dense(CLASSES, activation="softmax")]


def watched(layers, shape, dtype, names):
    """The same layers as a graph in which another layer, whose output is one of the model's, reads the results of those
    called `names`: nothing is fused with them."""
    x = value = nf.Input(shape)
    seen = []
    for layer in layers:
        value = layer(value)
        if layer.name in names:
            seen.append(nf.Lambda(lambda a: a[:, :1], lambda dy, a, y: np.zeros_like(a), (1, *value.shape[1:]),
                                  f"see_{layer.name}")(value))
    return nf.Model(x, [value, *seen], dtype=np.dtype(dtype).name)
