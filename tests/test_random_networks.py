"""Convolutional networks drawn at random, layer by layer, against the reference: what no list of cases thinks of."""
import numpy as np
import pytest
import reference
from chain import run

import nnfast as nf
from nnfast.activations import ACTIVATIONS

CLASSES = 3
LARGEST = 6000      # elements of a value: the reference is slow
# Of the largest expected number. In float32 a network of a few layers in which a maximum is nearly a tie loses digits.
TOLERANCE = {"float32": 3e-3, "float64": 1e-8}


def draw_window(rng, signal):
    """Arguments kernel_size, stride, padding."""
    def several(choices, count=2):
        return tuple(int(i) for i in rng.choice(choices, count))

    kernel, stride = several([1, 2, 3, 4]), several([1, 1, 1, 2, 3])
    padding = ["valid", "same", int(rng.integers(3)), (several(range(3)), several(range(3)))][rng.integers(4)]
    if signal:
        return kernel[0], stride[0], padding[0] if isinstance(padding, tuple) else padding
    return kernel, stride, padding


def draw_layer(rng, shape):
    """A layer, which may or may not fit an input of this shape."""
    signal, channels = len(shape) == 2, shape[-1]
    place = draw_window(rng, signal)
    dilation, activation, use_bias = int(rng.choice([1, 1, 2])), rng.choice(list(ACTIVATIONS)), bool(rng.random() < 0.7)
    kind = rng.choice(["conv", "conv", "conv", "depthwise", "transposed", "upsampled", "max", "max", "2x2", "mean",
                       "pad", "norm", "layer norm", "activation", "rescale"])
    if kind == "conv":
        filters = int(rng.choice([1, 3, 4, 6, 8, 16, 17, 33]))
        fitting = [g for g in range(1, channels + 1) if channels % g == 0 and filters % g == 0]
        groups = int(rng.choice(fitting)) if rng.random() < 0.3 else 1
        return (nf.Conv1D if signal else nf.Conv2D)(filters, *place, dilation, groups, str(activation), use_bias)
    if kind == "depthwise" and not signal:
        return nf.DepthwiseConv2D(*place, dilation, int(rng.integers(1, 3)), str(activation), use_bias)
    if kind == "transposed":
        filters, (_, stride, padding) = int(rng.choice([1, 3, 4, 8, 17, 33])), place
        more = 0 if padding == "same" else int(rng.integers(np.min(stride)))
        return (nf.Conv1DTranspose if signal else nf.Conv2DTranspose)(filters, *place, more, dilation, str(activation),
                                                                      use_bias)
    if kind == "upsampled":
        size = rng.integers(1, 4, 2).tolist()
        return nf.UpSampling1D(size[0]) if signal else nf.UpSampling2D(size)
    if kind == "max":
        return (nf.MaxPool1D if signal else nf.MaxPool2D)(*place)
    if kind == "2x2":
        return (nf.MaxPool1D if signal else nf.MaxPool2D)(2)
    if kind == "mean":
        return (nf.AvgPool1D if signal else nf.AvgPool2D)(*place, count_include_pad=bool(rng.random() < 0.5))
    if kind == "pad" and not signal:
        return nf.ZeroPadding2D(1 if isinstance(place[2], str) else place[2])
    if kind == "norm":
        return nf.BatchNorm(center=bool(rng.random() < 0.7), scale=bool(rng.random() < 0.7), epsilon=0.05)
    if kind == "layer norm":
        return nf.LayerNorm(center=bool(rng.random() < 0.7), scale=bool(rng.random() < 0.7), epsilon=0.05)
    if kind == "rescale":
        return nf.Rescale(float(rng.normal()), float(rng.normal()))
    return nf.Activation(str(activation))


def draw_network(rng):
    """(input shape, layers)."""
    if rng.random() < 0.2:
        shape = tuple(int(n) for n in (rng.integers(6, 20), rng.integers(1, 6)))
    else:
        shape = tuple(int(n) for n in (*rng.integers(4, 14, 2), rng.choice([1, 2, 3, 4, 8, 17])))
    value, layers, wanted = nf.Input(shape), [], int(rng.integers(1, 7))
    for _ in range(60):
        layer = draw_layer(rng, value.shape)
        try:
            following = layer(value)
        except ValueError:      # a window larger than what is left of the image
            continue
        if np.prod(following.shape) <= LARGEST:
            layers, value = [*layers, layer], following
        if len(layers) == wanted:
            break
    last = [nf.Flatten, nf.GlobalAvgPool, nf.GlobalMaxPool][rng.integers(3)]
    return shape, [*layers, last(), nf.Dense(CLASSES, activation="softmax")]


def close(ours, expected, dtype, what):
    ours = np.asarray(ours, dtype=np.float64)
    assert ours.shape == np.shape(expected), what
    scale = max(float(np.abs(expected).max(initial=0.0)), 1e-2)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=what)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(60))
def test_network(seed, dtype):
    rng = np.random.default_rng(seed)
    shape, layers = draw_network(rng)
    model = nf.Sequential(layers, input_shape=shape, dtype=dtype, seed=seed)
    parameters = model.parameters
    for key, value in parameters.items():
        if not key.endswith("kernel"):
            parameters[key] = value + rng.uniform(0.0 if key.endswith("variance") else -0.5, 0.5, value.shape)
    model.set_parameters(parameters)
    model.compile(nf.SGD(0.03), "cross_entropy", n_threads=int(rng.integers(1, 4)))
    n = int(rng.integers(1, 9))
    x, labels = rng.normal(size=(n, *shape)).astype(dtype), rng.integers(0, CLASSES, n)
    weight, target = rng.uniform(0.1, 2.0, n), reference.one_hot(labels, CLASSES)

    y, values, total, grads, dx, _ = run(model, x, target, "softmax_cross_entropy")
    close(model.predict(x), y, dtype, "predict")
    close(model.per_sample_loss(x, labels), values, dtype, "per_sample_loss")
    loss, ours = model.gradients(x, labels)
    close(loss, total, dtype, "loss")
    for key, gradient in ours.items():
        close(gradient, grads[key], dtype, key)
    close(model.input_gradient(x, labels), dx * n, dtype, "input_gradient")

    _, _, total, grads, _, state = run(model, x, target, "softmax_cross_entropy", training=True, weight=weight)
    before = model.parameters
    close(model.train_on_batch(x, labels, sample_weight=weight)["loss"], total, dtype, "loss of a step")
    for key, value in model.parameters.items():
        close(value, state[key] if key in state else before[key] - 0.03 * grads[key], dtype, f"{key} after a step")
    close(model.predict(x[:1]), run(model, x[:1], target[:1], "softmax_cross_entropy")[0], dtype, "predict one")
