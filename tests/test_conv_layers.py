"""Convolutional models: every layer, alone and in networks, against the reference; files, fusion, threads."""
import numpy as np
import pytest
import reference
from chain import run
from check import assert_same_bits

import nnfast as nf

TOLERANCE = {"float32": 2e-4, "float64": 1e-10}
CLASSES = 3


def close(ours, expected, dtype, what=""):
    """Relative to the largest expected value."""
    assert ours.shape == expected.shape, what
    scale = max(float(np.abs(expected).max(initial=0.0)), 1e-3)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=what)


def head():
    return [nf.Flatten(), nf.Dense(CLASSES, activation="softmax")]


# name: (input shape, layers); each ends in three classes
NETS = {
    "lenet": ((12, 13, 1), lambda: [
        nf.Conv2D(6, 3, padding="same", activation="tanh"), nf.AvgPool2D(2), nf.Conv2D(16, 3, activation="tanh"),
        nf.AvgPool2D(2), nf.Flatten(), nf.Dense(9, activation="tanh"), nf.Dense(CLASSES, activation="softmax")]),
    "relu, max-pooling": ((11, 10, 3), lambda: [
        nf.Conv2D(8, 3, activation="relu"), nf.MaxPool2D(2), nf.Conv2D(17, 3, padding=1, activation="relu"),
        nf.MaxPool2D(2), *head()]),
    "two in a row": ((10, 10, 2), lambda: [
        nf.Conv2D(32, 3, activation="relu"), nf.Conv2D(33, 3, activation="relu"), nf.MaxPool2D(2), *head()]),
    "activations as layers": ((9, 8, 2), lambda: [
        nf.Conv2D(5, 3), nf.Activation("relu"), nf.MaxPool2D(2), nf.Conv2D(7, 2), nf.Activation("elu", alpha=0.7),
        *head()]),
    "pooling before the activation": ((9, 8, 2), lambda: [
        nf.Conv2D(5, 3), nf.MaxPool2D(2), nf.Activation("tanh"), nf.Conv2D(4, 2), nf.MaxPool2D((1, 2)),
        nf.Activation("gelu"), *head()]),
    "every activation": ((7, 7, 2), lambda: [
        nf.Conv2D(4, 2, activation="sigmoid"), nf.Conv2D(4, 1, activation="gelu"), nf.Conv2D(5, 2, activation="silu"),
        nf.Conv2D(3, 2, activation="softplus"), nf.Conv2D(6, 2, activation=nf.Activation("leaky_relu", alpha=0.3)),
        nf.Conv2D(4, 1, activation="softmax"), *head()]),
    "pooled activations": ((12, 12, 2), lambda: [
        nf.Conv2D(4, 3, activation="gelu", padding="same"), nf.MaxPool2D(2), nf.Conv2D(5, 2, activation="sigmoid"),
        nf.MaxPool2D(2), nf.Conv2D(6, 2, padding=1, activation=nf.Activation("leaky_relu", alpha=0.2)),
        nf.MaxPool2D((3, 1)), *head()]),
    "strides": ((13, 11, 3), lambda: [
        nf.Conv2D(8, 3, stride=2, padding="same", activation="relu"),
        nf.Conv2D(9, (2, 3), stride=(3, 2), use_bias=False), nf.Activation("tanh"), *head()]),
    "dilation": ((12, 12, 2), lambda: [
        nf.Conv2D(6, 3, dilation=2, activation="relu"), nf.Conv2D(4, (1, 3), dilation=(1, 3), padding="same"),
        *head()]),
    "groups": ((8, 7, 4), lambda: [
        nf.Conv2D(8, 3, groups=2, padding="same", activation="relu"), nf.MaxPool2D(2), nf.Conv2D(12, 2, groups=4),
        nf.Activation("sigmoid"), *head()]),
    "depthwise": ((9, 9, 3), lambda: [
        nf.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="relu"),
        nf.Conv2D(8, 1, activation="relu"), nf.DepthwiseConv2D(3, stride=2, use_bias=False), nf.Activation("tanh"),
        nf.GlobalAvgPool(), nf.Dense(CLASSES, activation="softmax")]),
    "depthwise, pooled": ((8, 8, 5), lambda: [
        nf.DepthwiseConv2D(3, activation="relu"), nf.MaxPool2D(2), *head()]),
    "one by one": ((5, 6, 4), lambda: [
        nf.Conv2D(16, 1, activation="relu"), nf.MaxPool2D(2), nf.Conv2D(7, 1, stride=2, activation="tanh"), *head()]),
    "as large as the image": ((4, 3, 5), lambda: [
        nf.Conv2D(17, (4, 3), activation="tanh"), nf.BatchNorm(), nf.Conv2D(8, 1, 2, activation="gelu"),
        nf.Conv2D(6, 1, groups=2), nf.Conv2D(4, 1, use_bias=False), *head()]),
    "as large, moved by padding": ((3, 3, 2), lambda: [nf.Conv2D(4, 3, 3, padding=1, activation="tanh"), *head()]),
    "overlapping pooling": ((11, 12, 2), lambda: [
        nf.Conv2D(6, 3, activation="relu"), nf.MaxPool2D(3, stride=2, padding="same"), nf.Conv2D(5, 2),
        nf.MaxPool2D(2, stride=1), *head()]),
    "pooling beyond the rest": ((11, 9, 2), lambda: [
        nf.Conv2D(6, 2, activation="relu"), nf.MaxPool2D(3), nf.MaxPool2D(2, stride=3, padding=((1, 0), (0, 1))),
        *head()]),
    "average pooling": ((10, 9, 2), lambda: [
        nf.Conv2D(5, 2), nf.AvgPool2D(3, stride=2, padding="same"), nf.Activation("tanh"),
        nf.AvgPool2D(2, stride=1, padding=1, count_include_pad=True), *head()]),
    "global maximum": ((6, 5, 3), lambda: [
        nf.Conv2D(7, 2, activation="tanh"), nf.GlobalMaxPool(), nf.Dense(CLASSES, activation="softmax")]),
    "padding as a layer": ((6, 5, 2), lambda: [
        nf.ZeroPadding2D(((1, 0), (2, 1))), nf.Conv2D(4, 3, activation="relu"), nf.ZeroPadding2D(1), nf.MaxPool2D(2),
        *head()]),
    "rescaled": ((6, 6, 3), lambda: [nf.Rescale(0.5, offset=-0.25), nf.Conv2D(4, 3, activation="relu"), *head()]),
    "rescaled in the middle": ((6, 6, 3), lambda: [nf.Conv2D(4, 3), nf.Rescale(-2.0), nf.Activation("tanh"), *head()]),
    "pooling first": ((7, 8, 3), lambda: [nf.MaxPool2D(2), nf.AvgPool2D(2, stride=1), *head()]),
    "dense over pixels": ((4, 5, 3), lambda: [nf.Conv2D(6, 2), nf.Dense(5, activation="tanh"), *head()]),
    "signals": ((20, 3), lambda: [
        nf.Conv1D(8, 5, padding="same", activation="relu"), nf.MaxPool1D(2), nf.Conv1D(6, 3, dilation=2, groups=2),
        nf.Activation("tanh"), nf.AvgPool1D(2, padding=1, stride=1), nf.Conv1D(4, 3, stride=2, padding=(2, 0)),
        *head()]),
    "signals, global": ((15, 2), lambda: [
        nf.Conv1D(8, 3, activation="relu"), nf.GlobalMaxPool(), nf.Dense(CLASSES, activation="softmax")]),
    "reshaped": ((24,), lambda: [
        nf.Dense(36, activation="relu"), nf.Reshape((3, 3, 4)), nf.Conv2D(5, 2, activation="relu"), nf.Reshape((4, 5)),
        nf.Conv1D(3, 2), *head()]),
    "transposed": ((5, 4, 3), lambda: [
        nf.Conv2DTranspose(6, 4, stride=2, padding="same", activation="relu"),
        nf.Conv2DTranspose(5, (2, 3), stride=(3, 2), padding=((1, 0), (0, 2)), output_padding=(2, 1), use_bias=False),
        nf.Activation("tanh"), nf.Conv2DTranspose(2, 3, dilation=(1, 2), activation="gelu"), *head()]),
    "transposed, gaps": ((3, 4, 2), lambda: [
        nf.Conv2DTranspose(4, 1, stride=2, padding="same", activation="relu"),
        nf.Conv2DTranspose(3, 2, stride=3, dilation=2, activation="softplus"), *head()]),
    "transposed, many channels": ((5, 5, 9), lambda: [
        nf.Conv2DTranspose(17, 3, padding=1, activation="relu"), nf.MaxPool2D(2), nf.Conv2D(16, 3, padding=1),
        nf.Conv2DTranspose(16, 4, stride=2, padding=1, activation="softmax"), *head()]),
    "transposed, by Winograd's filtering": ((12, 13, 5), lambda: [
        nf.Conv2D(16, 1), nf.Conv2DTranspose(24, 3, padding=1, activation="relu"),
        nf.Conv2DTranspose(17, 5, padding=2, activation="tanh"), nf.Conv2DTranspose(16, 4, stride=2, padding=1),
        nf.GlobalAvgPool(), nf.Dense(CLASSES, activation="softmax")]),
    "autoencoder": ((8, 8, 2), lambda: [
        nf.Conv2D(8, 3, stride=2, padding="same", activation="relu"), nf.Conv2DTranspose(4, 3, 2, "same"),
        nf.BatchNorm(), nf.Activation("relu"), nf.UpSampling2D((1, 2)), nf.Conv2D(2, 3, activation="relu"), *head()]),
    "upsampled first": ((4, 3, 2), lambda: [nf.UpSampling2D(2), nf.Conv2D(4, 3, activation="relu"), *head()]),
    "signals, transposed": ((9, 3), lambda: [
        nf.Conv1DTranspose(6, 4, stride=2, padding=(1, 2), output_padding=1, activation="tanh"), nf.UpSampling1D(3),
        nf.Conv1DTranspose(4, 3, padding="same", dilation=2), nf.Activation("relu"), *head()]),
    "layer norm": ((5,), lambda: [
        nf.LayerNorm(), nf.Dense(70), nf.LayerNorm(epsilon=0.01), nf.Activation("relu"),
        nf.Dense(33, activation="silu"), nf.LayerNorm(center=False), nf.Dense(16), nf.LayerNorm(scale=False),
        nf.Activation("gelu"), nf.Dense(1), nf.LayerNorm(), nf.Dense(8), nf.LayerNorm(center=False, scale=False),
        nf.Dense(CLASSES, activation="softmax")]),
    "layer norm of pixels": ((6, 5, 3), lambda: [
        nf.Conv2D(17, 3), nf.LayerNorm(), nf.Activation("softmax"), nf.Conv2D(8, 2), nf.LayerNorm(0.1),
        nf.Activation("tanh"), nf.LayerNorm(scale=False), nf.MaxPool2D(2), *head()]),
    "group norm": ((8, 7, 3), lambda: [
        nf.Conv2D(6, 3, use_bias=False), nf.GroupNorm(3), nf.Activation("relu"), nf.MaxPool2D(2),
        nf.Conv2D(5, 2, use_bias=False), nf.GroupNorm(5, epsilon=0.01), nf.Activation("gelu"),
        nf.GroupNorm(1, scale=False), nf.Conv2D(34, 1), nf.GroupNorm(2, center=False), *head()]),
    "group norm, dense": ((6,), lambda: [
        nf.Dense(9), nf.GroupNorm(3), nf.Activation("relu"), nf.GroupNorm(1), nf.Dense(8),
        nf.GroupNorm(4, center=False, scale=False), nf.Dense(CLASSES, activation="softmax")]),
    "group norm first": ((9, 6), lambda: [
        nf.GroupNorm(2), nf.Conv1D(16, 3, use_bias=False), nf.GroupNorm(16), nf.Activation("relu"), *head()]),
    "batch norm": ((8, 7, 3), lambda: [
        nf.Conv2D(6, 3, use_bias=False), nf.BatchNorm(), nf.Activation("relu"), nf.MaxPool2D(2), nf.Conv2D(5, 2),
        nf.BatchNorm(momentum=0.3, epsilon=0.01), nf.Activation("gelu"), *head()]),
    "batch norm, dense": ((6,), lambda: [
        nf.Dense(9), nf.BatchNorm(center=False), nf.Activation("tanh"), nf.BatchNorm(scale=False), nf.Dense(8),
        nf.BatchNorm(center=False, scale=False), nf.Activation("sigmoid"), nf.Dense(CLASSES, activation="softmax")]),
    "batch norm first": ((5, 4, 2), lambda: [
        nf.BatchNorm(center=False, scale=False), nf.Conv2D(4, 2, activation="relu"), nf.BatchNorm(), *head()]),
    "batch norm, signals": ((9, 4), lambda: [
        nf.Conv1D(6, 3), nf.BatchNorm(), nf.Activation("relu"), nf.GlobalAvgPool(),
        nf.Dense(CLASSES, activation="softmax")]),
}


def make(name, dtype="float64", n_threads=None, optimizer="sgd", **arguments):
    """A compiled model whose biases and running statistics are not just zeros and ones, and a batch for it."""
    shape, layers = NETS[name]
    model = nf.Sequential(layers(), input_shape=shape, dtype=dtype, seed=1, **arguments)
    rng = np.random.default_rng(5)
    parameters = model.parameters
    for key, value in parameters.items():
        if not key.endswith("kernel"):
            parameters[key] = value + rng.uniform(0.0 if key.endswith("variance") else -0.5, 0.5, value.shape)
    model.set_parameters(parameters)
    model.compile(optimizer, "cross_entropy", n_threads=n_threads)
    return model, rng.standard_normal((5, *shape)).astype(dtype), rng.integers(0, CLASSES, 5)


def expected_of(model, x, labels, **arguments):
    return run(model, x, reference.one_hot(labels, CLASSES), "softmax_cross_entropy", **arguments)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETS)
def test_values_and_derivatives(name, dtype):
    model, x, labels = make(name, dtype)
    y, values, total, grads, dx, _ = expected_of(model, x, labels)
    close(model.predict(x), y, dtype, "predict")
    close(model.predict(x[:1]), y[:1], dtype, "predict one")
    close(model.per_sample_loss(x, labels), values, dtype, "per_sample_loss")
    loss, ours = model.gradients(x, labels)
    close(np.float64(loss), total, dtype, "loss")
    assert list(ours) == [key for key in model.parameters if "running" not in key]
    for key, gradient in ours.items():
        close(gradient, grads[key], dtype, key)
    close(model.input_gradient(x, labels), dx * len(x), dtype, "input_gradient")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in NETS if "batch norm" in name])
def test_batch_statistics(name, dtype):
    model, x, labels = make(name, dtype)
    before = model.parameters
    _, _, total, grads, _, state = expected_of(model, x, labels, training=True)
    loss, ours = model.gradients(x, labels, training=True)
    close(np.float64(loss), total, dtype, "loss")
    for key, gradient in ours.items():
        # A bias before a normalization has no effect: its gradient is zero but for rounding.
        close(gradient, grads[key], dtype, key)
    for key, value in model.parameters.items():
        assert_same_bits(value, before[key], f"gradients changed {key}")
    assert model.train_on_batch(x, labels)["loss"] == pytest.approx(total, rel=TOLERANCE[dtype])
    after = model.parameters
    assert state
    for key, value in state.items():
        close(after[key], value, dtype, key)


@pytest.mark.parametrize("name", NETS)
def test_training(name):
    """Ten steps of `fit` with a batch of another size at the end, against the reference's."""
    model, x, labels = make(name, optimizer=nf.SGD(0.05))
    mirror, _, _ = make(name)
    losses = []
    for _ in range(5):
        for rows in (slice(0, 3), slice(3, 5)):
            _, _, total, grads, _, state = expected_of(mirror, x[rows], labels[rows], training=True)
            losses.append(total)
            step = {key: value - 0.05 * grads[key] for key, value in mirror.parameters.items() if key in grads}
            mirror.set_parameters(step | state)
    history = model.fit(x, labels, batch_size=3, epochs=5, shuffle=False, verbose=0)
    expected = [(3 * a + 2 * b) / 5 for a, b in zip(losses[::2], losses[1::2])]
    np.testing.assert_allclose(history.history["loss"], expected, rtol=1e-8)
    for key, value in mirror.parameters.items():
        close(model.parameters[key], value, "float64", key)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETS)
def test_the_same_bits_for_any_number_of_threads(name, dtype):
    results = []
    for n_threads in (1, 2, 3):
        model, _, _ = make(name, dtype, n_threads, nf.Adam(0.01))
        rng = np.random.default_rng(6)
        x, labels = rng.standard_normal((23, *model.input_shape)).astype(dtype), rng.integers(0, CLASSES, 23)
        history = model.fit(x, labels, batch_size=9, epochs=2, verbose=0)
        results.append([np.array(history.history["loss"]), model.predict(x), model.input_gradient(x, labels),
                        *model.gradients(x, labels, training=True)[1].values(), *model.get_weights()])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_same_bits(a, b, name)


@pytest.mark.parametrize("name", NETS)
def test_vjp(name):
    model, x, _ = make(name)
    dy = np.random.default_rng(7).standard_normal((5, CLASSES))
    grads, dx = model.vjp(x, dy)
    steps = np.random.default_rng(8).standard_normal(x.shape) * 1e-6
    expected = (model.predict(x + steps) - model.predict(x - steps)) / 2
    assert (dx * steps).sum() == pytest.approx((expected * dy).sum(), rel=1e-5, abs=1e-12)
    assert list(grads) == [key for key in model.parameters if "running" not in key]


@pytest.mark.parametrize("name", NETS)
def test_files_and_configurations(name, tmp_path):
    model, x, labels = make(name, optimizer=nf.Adam(0.01))
    model.fit(x, labels, batch_size=2, epochs=2, verbose=0)
    other = nf.Sequential.from_config(model.get_config())
    assert other.get_config() == model.get_config()
    other.set_weights(model.get_weights())
    assert_same_bits(other.predict(x), model.predict(x))
    model.save(tmp_path / "m.safetensors")
    loaded = nf.load(tmp_path / "m.safetensors")
    clone = model.clone()
    for m in (loaded, clone):
        assert_same_bits(m.predict(x), model.predict(x))
    histories = [m.fit(x, labels, batch_size=2, epochs=2, verbose=0).history for m in (model, loaded, clone)]
    assert histories[0] == histories[1] == histories[2]
    assert not any("running" in key for key in model.optimizer_state())


@pytest.mark.parametrize("name", ["relu, max-pooling", "batch norm", "depthwise", "groups", "signals"])
def test_frozen_layers(name):
    model, x, labels = make(name)
    for layer in model.layers[:3]:
        layer.trainable = False
    before = model.parameters
    _, _, _, grads, _, state = expected_of(model, x, labels, training=True)
    ours = model.gradients(x, labels, training=True)[1]
    frozen = {layer.name for layer in model.layers[:3]}
    assert ours and not any(key.split("/")[0] in frozen for key in ours)
    for key, gradient in ours.items():
        close(gradient, grads[key], "float64", key)
    model.train_on_batch(x, labels)
    for key, value in model.parameters.items():
        if key.split("/")[0] in frozen:
            assert_same_bits(value, before[key], key)
        elif key in state:
            close(value, state[key], "float64", key)


def test_penalties_are_of_kernels_alone():
    model, x, labels = make("batch norm")
    plain = model.gradients(x, labels)
    model.compile("sgd", "cross_entropy", regularizer=nf.L1L2(0.1, 0.2))
    loss, grads = model.gradients(x, labels)
    total = plain[0]
    for key, w in model.parameters.items():
        if key.endswith("kernel"):
            value, gradient = reference.penalty(w, 0.1, 0.2)
            total += value
            close(grads[key], plain[1][key] + gradient, "float64", key)
        elif key in grads:
            close(grads[key], plain[1][key], "float64", key)
    assert loss == pytest.approx(total)


@pytest.mark.parametrize("training", [True, False])
def test_normalized_rows_of_many_samples(dtype, training):
    """Single pixels: statistics of groups of samples and bands of channels, the last of each not full."""
    units, n = 75, 150

    def layers():
        return [nf.Dense(units, use_bias=False), nf.BatchNorm(momentum=0.3), nf.Activation("relu"),
                nf.BatchNorm(scale=False), nf.Activation("silu"), nf.Dense(CLASSES, activation="softmax")]

    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((n, 9)).astype(dtype), rng.integers(0, CLASSES, n)
    results = []
    for n_threads in (1, 2, 3):
        model = nf.Sequential(layers(), input_shape=(9,), dtype=dtype.name, seed=2)
        model.compile(nf.SGD(0.1), "cross_entropy", n_threads=n_threads)
        _, _, total, grads, _, running = expected_of(model, x, labels, training=training)
        loss, ours = model.gradients(x, labels, training=training)
        close(np.float64(loss), total, dtype.name, "loss")
        for key, expected in grads.items():
            close(ours[key], expected, dtype.name, key)
        model.fit(x, labels, batch_size=n, epochs=1, shuffle=False, verbose=0)
        if training:
            for key, expected in running.items():
                close(model.parameters[key], expected, dtype.name, key)
        results.append([array.tobytes() for array in [model.predict(x), *ours.values(), *model.get_weights()]])
    assert results[1] == results[0] and results[2] == results[0]


def test_a_step_that_is_not_applied_leaves_the_statistics():
    model, x, labels = make("batch norm")
    before = model.parameters
    model.set_parameters({"dense/kernel": np.full_like(before["dense/kernel"], 1e308)})
    before = model.parameters
    with pytest.raises(nf.TrainingError):
        model.train_on_batch(x, labels)
    for key, value in model.parameters.items():
        assert_same_bits(value, before[key], key)
    history = make("batch norm")[0]
    statistics = history.parameters
    history.train_on_batch(x, labels, sample_weight=np.zeros(5))
    for key, value in history.parameters.items():
        assert_same_bits(value, statistics[key], key)


# --- graphs ----------------------------------------------------------------------------------------------------------

def residual(dtype="float64", seed=3):
    x = nf.Input((6, 5, 3))
    h = nf.Activation("silu")(nf.BatchNorm()(nf.Conv2D(4, 3, padding="same", use_bias=False)(x)))
    y = nf.BatchNorm()(nf.Conv2D(8, 3, stride=2, padding="same", activation="tanh")(h))
    s = nf.Conv2D(8, 1, stride=2, padding="same")(h)
    joined = nf.Concatenate()([nf.Activation("tanh")(nf.Add()([y, s])), nf.AvgPool2D(2, padding="same")(h)])
    return nf.Model(x, nf.Dense(CLASSES, activation="softmax")(nf.GlobalAvgPool()(joined)), dtype=dtype, seed=seed)


def test_derivatives_of_a_residual_graph_by_differences():
    model = residual()
    model.compile("sgd", "cross_entropy")
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((4, 6, 5, 3)), rng.integers(0, CLASSES, 4)
    for training in (True, False):
        _, grads = model.gradients(x, labels, training=training)
        parameters = model.parameters
        for key, gradient in grads.items():
            direction = rng.standard_normal(gradient.shape)
            values = []
            for step in (-2, -1, 1, 2):
                model.set_parameters({key: parameters[key] + 1e-4 * step * direction})
                values.append(model.gradients(x, labels, training=training)[0])
            model.set_parameters({key: parameters[key]})
            slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / 12e-4
            assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-5, abs=1e-8), (key, training)
    dx = model.input_gradient(x, labels)
    direction = rng.standard_normal(x.shape)
    values = [model.per_sample_loss(x + 1e-4 * step * direction, labels).sum() for step in (-2, -1, 1, 2)]
    slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / 12e-4
    assert (dx * direction).sum() == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(1, 2, 1), ((1, 3), (2, 1), 2), (2, 3, 1)])
def test_a_depthwise_multiplier_adds_to_a_gradient(kernel, stride, dilation):
    """Pixels that no tap reaches get nothing of it, in every sample."""
    x = nf.Input((5, 6, 2))
    h = nf.Dense(2)(x)
    d = nf.DepthwiseConv2D(kernel, stride, dilation=dilation, depth_multiplier=2)(h)
    model = nf.Model(x, [d, nf.Flatten()(h)], dtype="float64")
    model.compile("sgd", ["squared_error"] * 2)
    rng = np.random.default_rng(0)
    targets = [rng.standard_normal((3, *shape)) for shape in model.output_shapes]
    errors = model.check_gradients(rng.standard_normal((3, 5, 6, 2)), targets)
    assert max(errors.values()) < 1e-8


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_few_channels_that_several_layers_read(channels):
    """Their gradient is a sum, with pixels in the vectors of its terms."""
    x = nf.Input((9, 11, 2))
    h = nf.Conv2D(channels, 3)(x)
    model = nf.Model(x, [nf.Conv2D(3, 3)(h), nf.Conv2D(4, 5, padding="same")(h), nf.Flatten()(h)], dtype="float64")
    model.compile("sgd", ["squared_error"] * 3)
    rng = np.random.default_rng(0)
    targets = [rng.standard_normal((3, *shape)) for shape in model.output_shapes]
    errors = model.check_gradients(rng.standard_normal((3, 9, 11, 2)), targets)
    assert max(errors.values()) < 1e-8


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_graph_trains_to_the_same_bits_on_any_number_of_threads(dtype):
    results = []
    for n_threads in (1, 2, 3):
        model = residual(dtype)
        model.compile(nf.Adam(0.01), "cross_entropy", n_threads=n_threads)
        rng = np.random.default_rng(0)
        x, labels = rng.standard_normal((21, 6, 5, 3)).astype(dtype), rng.integers(0, CLASSES, 21)
        model.fit(x, labels, batch_size=8, epochs=3, verbose=0)
        results.append([model.predict(x), *model.get_weights()])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_same_bits(a, b)


# --- fusion ----------------------------------------------------------------------------------------------------------

def plan_of(model):
    return model._require_plan().describe()


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh", "elu", "gelu", "softplus", "relu6", "hard_sigmoid",
                                        "hard_swish", "selu", "mish"])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_fused_equals_unfused(activation, padding, dtype):
    """The same layers twice: once in a row, once with each value also read by a layer of its own, so that nothing can
    be fused."""
    def layers():
        return (nf.Conv2D(6, 3, padding=padding, name="conv"), nf.Activation(activation, name="act"),
                nf.MaxPool2D(2, name="pool"))

    x = nf.Input((9, 10, 3))
    conv, act, pool = layers()
    fused = nf.Model(x, nf.Dense(CLASSES, activation="softmax", name="out")(nf.Flatten()(pool(act(conv(x))))),
                     dtype=dtype.name)
    x = nf.Input((9, 10, 3))
    conv, act, pool = layers()
    z = conv(x)
    y = act(z)
    main = nf.Dense(CLASSES, activation="softmax", name="out")(nf.Flatten()(pool(y)))
    unfused = nf.Model(x, [main, nf.GlobalAvgPool(name="z")(z), nf.GlobalAvgPool(name="y")(y)], dtype=dtype.name)
    assert len(plan_of(unfused)) == 6 and len(plan_of(fused)) <= 3
    unfused.set_parameters(fused.parameters)
    rng = np.random.default_rng(0)
    data, labels = rng.standard_normal((7, 9, 10, 3)).astype(dtype), rng.integers(0, CLASSES, 7)
    fused.compile("sgd", "cross_entropy")
    unfused.compile("sgd", ["cross_entropy", "squared_error", "squared_error"], loss_weights=[1.0, 0.0, 0.0])
    nothing = np.zeros((7, 6))
    close(fused.predict(data), unfused.predict(data)[0].astype(np.float64), dtype.name)
    grads, other = fused.gradients(data, labels)[1], unfused.gradients(data, [labels, nothing, nothing])[1]
    for key, gradient in grads.items():
        close(gradient, other[key].astype(np.float64), dtype.name, key)
    close(fused.input_gradient(data, labels),
          unfused.input_gradient(data, [labels, nothing, nothing]).astype(np.float64), dtype.name)


def test_what_is_fused():
    model = nf.Sequential([
        nf.Conv2D(8, 3, name="a"), nf.Activation("relu", name="b"), nf.MaxPool2D(2, name="c"),
        nf.Conv2D(8, 3, activation="relu", name="d"), nf.Flatten(name="e"), nf.Dense(4, name="f"),
        nf.Activation("softmax", name="g"),
    ], input_shape=(12, 12, 1))
    members = [entry["members"] for entry in plan_of(model)]
    assert members == [["a", "b", "c"], ["d"], ["f", "g"]]
    shapes = [tuple(entry["shape"]) for entry in plan_of(model)]
    assert shapes == [(5, 5, 8), (3, 3, 8), (4,)]           # no value of the convolution's own size is kept


@pytest.mark.parametrize("activation", ["relu6", "hard_sigmoid", "selu", "hard_swish", "mish"])
def test_pooling_joins_what_never_falls(activation):
    model = nf.Sequential([nf.Conv2D(8, 3, activation=activation), nf.MaxPool2D(2)], input_shape=(12, 12, 1))
    assert len(plan_of(model)) == (2 if activation in ("hard_swish", "mish") else 1)
    # Both fall below zero: the largest value is not that of the largest sum.
    x = np.random.default_rng(0).uniform(-4, -1, (2, 12, 12, 1)).astype(np.float32)
    kernel = np.zeros((3, 3, 1, 8), np.float32)
    kernel[1, 1] = 1
    model.set_parameters({f"{model.layers[0].name}/kernel": kernel})
    values = getattr(nf.functional, activation)(x[:, 1:-1, 1:-1])
    expected = values.reshape(2, 5, 2, 5, 2, 1).max(axis=(2, 4))
    close(model.predict(x), np.broadcast_to(expected, (2, 5, 5, 8)).astype(np.float64), "float32")


def test_summary(capsys):
    model, _, _ = make("relu, max-pooling")
    model.summary()
    text = capsys.readouterr().out
    for words in ("conv2d", "Conv2D", "(9, 8, 8)", "224", "max_pool2d", "in conv2d"):
        assert words in text
    model.plan()
    assert "conv2d" in capsys.readouterr().out


def test_flops_are_two_for_each_product():
    model = nf.Sequential([nf.Conv2D(8, (3, 2), groups=2), nf.Flatten(), nf.Dense(5)], input_shape=(6, 7, 4))
    flops = {entry["name"]: entry["flops"] for entry in plan_of(model)}
    assert flops == {"conv2d": 2 * 4 * 6 * 8 * 3 * 2 * 2, "dense": 2 * 4 * 6 * 8 * 5}


# --- data: bytes, channels first -------------------------------------------------------------------------------------

def test_images_of_bytes(dtype):
    layers = [nf.Rescale(1 / 255), nf.Conv2D(4, 3, activation="relu"), nf.MaxPool2D(2), *head()]
    model = nf.Sequential(layers, input_shape=(8, 8, 3), dtype=dtype.name)
    model.compile(nf.SGD(0.1), "cross_entropy", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (11, 8, 8, 3), dtype=np.uint8), rng.integers(0, CLASSES, 11)
    (xs, n) = model._inputs(images)
    assert xs[0] is images and n == 11                      # no conversion in Python
    other = model.clone()
    figures = [model.fit(images, labels, batch_size=4, epochs=2, verbose=0).history,
               other.fit(images.astype(dtype), labels, batch_size=4, epochs=2, verbose=0).history]
    assert figures[0] == figures[1]
    assert_same_bits(model.predict(images), other.predict(images.astype(dtype)))
    dx = model.input_gradient(images, labels)
    assert dx.dtype == dtype and dx.shape == images.shape
    y, *_, gradient, _ = expected_of(model, images, labels)
    close(model.predict(images), y, dtype.name)
    close(dx, gradient * 11, dtype.name)


@pytest.mark.parametrize("name", ["relu, max-pooling", "depthwise", "signals", "batch norm", "rescaled"])
def test_channels_first(name, dtype):
    """The same model with the same weights on data in the other order."""
    shape, layers = NETS[name]
    model, x, labels = make(name, dtype.name)
    first = nf.Sequential(layers(), input_shape=(shape[-1], *shape[:-1]), dtype=dtype.name,
                          data_format="channels_first")
    first.set_weights(model.get_weights())
    first.compile("sgd", "cross_entropy")
    turned = np.moveaxis(x, -1, 1)                          # a view: not contiguous
    assert first.input_shape == turned.shape[1:] and first.data_format == "channels_first"
    assert_same_bits(first.predict(turned), model.predict(x))
    assert_same_bits(first.predict(np.ascontiguousarray(turned)), model.predict(x))
    dx = first.input_gradient(turned, labels)
    assert dx.flags.c_contiguous
    np.testing.assert_array_equal(dx, np.moveaxis(model.input_gradient(x, labels), -1, 1))
    for a, b in zip(first.gradients(turned, labels)[1].values(), model.gradients(x, labels)[1].values(), strict=True):
        assert_same_bits(a, b)
    loaded = nf.Sequential.from_config(first.get_config())
    assert loaded.input_shape == first.input_shape and loaded.get_config() == first.get_config()
    assert first.clone().predict(turned).tobytes() == model.predict(x).tobytes()


def test_channels_first_outputs_and_targets(tmp_path):
    """An output with spatial axes comes, and is wanted, in the order of the data."""
    x = nf.Input((3, 6, 5), data_format="channels_first", name="image")
    assert x.shape == (6, 5, 3) and x.data_shape == (3, 6, 5)
    vector = nf.Input((4,), name="vector")
    h = nf.Conv2D(4, 3, padding="same", activation="tanh")(x)
    model = nf.Model([x, vector], [nf.Conv2D(2, 1, name="map")(h),
                                   nf.Dense(1, name="value")(nf.Concatenate()([nf.GlobalAvgPool()(h), vector]))],
                     dtype="float64")
    model.compile("sgd", ["squared_error", "squared_error"])
    rng = np.random.default_rng(0)
    images, vectors = rng.standard_normal((7, 3, 6, 5)), rng.standard_normal((7, 4))
    maps, values = model.predict([images, vectors])
    assert maps.shape == (7, 2, 6, 5) and values.shape == (7, 1) and maps.flags.c_contiguous
    assert model.output_shapes == [(2, 6, 5), (1,)] and model.input_shapes == [(3, 6, 5), (4,)]
    targets = [rng.standard_normal(maps.shape), rng.standard_normal(values.shape)]
    expected = ((maps - targets[0]) ** 2).sum(axis=(1, 2, 3)) + ((values - targets[1]) ** 2).sum(axis=1)
    np.testing.assert_allclose(model.per_sample_loss([images, vectors], targets), expected, rtol=1e-12)
    with pytest.raises(ValueError, match=r"output 'map' has shape \(N, 2, 6, 5\), got targets of shape \(7, 6, 5, 2\)"):
        model.evaluate([images, vectors], [targets[0].transpose(0, 2, 3, 1), targets[1]])
    dys = [rng.standard_normal(maps.shape), rng.standard_normal(values.shape)]
    _, dxs = model.vjp([images, vectors], dys)
    steps = rng.standard_normal(images.shape) * 1e-6
    ahead, behind = model.predict([images + steps, vectors]), model.predict([images - steps, vectors])
    slope = sum(((a - b) / 2 * dy).sum() for a, b, dy in zip(ahead, behind, dys))
    assert (dxs[0] * steps).sum() == pytest.approx(slope, rel=1e-5)
    with pytest.raises(ValueError, match=r"dy of output 'map': expected shape \(7, 2, 6, 5\)"):
        model.vjp([images, vectors], [dys[0].transpose(0, 2, 3, 1), dys[1]])
    model.fit([images, vectors], targets, epochs=2, verbose=0)
    model.save(tmp_path / "m.safetensors")
    loaded = nf.load(tmp_path / "m.safetensors")
    assert loaded.data_format == "channels_first"
    for a, b in zip(loaded.predict([images, vectors]), model.predict([images, vectors])):
        assert_same_bits(a, b)
    for a, b in zip(model.clone().predict([images, vectors]), model.predict([images, vectors])):
        assert_same_bits(a, b)


def test_channels_first_from_the_first_data():
    model = nf.Sequential([nf.Conv2D(4, 3), nf.Flatten(), nf.Dense(2)], data_format="channels_first")
    assert model.predict(np.ones((2, 3, 7, 8), np.uint8)).shape == (2, 2)
    assert model.input_shape == (3, 7, 8) and model.parameters["conv2d/kernel"].shape == (3, 3, 3, 4)
    model = nf.Sequential([nf.Input((3, 7, 8), data_format="channels_first"), nf.Conv2D(4, 3)])
    assert model.output_shape == (4, 5, 6)


# --- what is refused -------------------------------------------------------------------------------------------------

IMAGE = nf.Input((8, 9, 6))


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: nf.Conv2D(0, 3), ValueError, "conv2d: filters must be at least 1, got 0"),
    (lambda: nf.Conv2D(8, 0, name="first"), ValueError, "first: kernel_size must be at least 1, got 0"),
    (lambda: nf.Conv2D(8, (3, 3, 3)), ValueError, r"conv2d: kernel_size must be an integer or \(h, w\)"),
    (lambda: nf.Conv2D(8, 2.5), TypeError, r"kernel_size must be an integer or \(h, w\), got float"),
    (lambda: nf.Conv2D(8, 3, stride=0), ValueError, "stride must be at least 1, got 0"),
    (lambda: nf.Conv2D(8, 3, stride=-2), ValueError, "stride must be at least 1, got -2"),
    (lambda: nf.Conv2D(8, 3, dilation=0), ValueError, "dilation must be at least 1, got 0"),
    (lambda: nf.Conv2D(8, 3, padding="full"), ValueError, "padding must be 'valid', 'same'"),
    (lambda: nf.Conv2D(8, 3, padding=(1, 1)), ValueError, "top, bottom"),
    (lambda: nf.Conv2D(8, 3, groups=0), ValueError, "groups must be at least 1"),
    (lambda: nf.Conv2D(8, 3, activation="rellu"), ValueError, "did you mean 'relu'"),
    (lambda: nf.Conv2D(8, 3, use_bias="no"), TypeError, "use_bias"),
    (lambda: nf.Conv1D(8, (3, 3)), ValueError, "conv1d: kernel_size must be an integer"),
    (lambda: nf.DepthwiseConv2D(3, depth_multiplier=0), ValueError, "depthwise_conv2d: depth_multiplier must be"),
    (lambda: nf.MaxPool2D(0), ValueError, "max_pool2d: kernel_size"),
    (lambda: nf.MaxPool2D(2, stride=0), ValueError, "max_pool2d: stride"),
    (lambda: nf.AvgPool1D(2, count_include_pad=None), TypeError, "avg_pool1d: count_include_pad must be True or False"),
    (lambda: nf.ZeroPadding2D("same"), ValueError, "zero_padding2d: padding must be an integer or"),
    (lambda: nf.ZeroPadding2D(-1), ValueError, "zero_padding2d: padding must be at least 0"),
    (lambda: nf.BatchNorm(momentum=1.5), ValueError, "batch_norm: momentum must be .* at most 1, got 1.5"),
    (lambda: nf.BatchNorm(epsilon=0), ValueError, "batch_norm: epsilon"),
    (lambda: nf.BatchNorm(center=1), TypeError, "batch_norm: center"),
    (lambda: nf.Rescale("255"), TypeError, "rescale: scale must be a number"),
    (lambda: nf.Rescale(np.inf), ValueError, "rescale: scale must be a finite number"),
    (lambda: nf.Conv2D(8, 3)(nf.Input((28, 28))), ValueError,
     r"conv2d: expected an input of shape \(H, W, C\), channels last, got \(28, 28\)"),
    (lambda: nf.Conv1D(8, 3)(nf.Input((28,))), ValueError, r"conv1d: expected an input of shape \(L, C\)"),
    (lambda: nf.Conv2D(8, 10, name="c")(IMAGE), ValueError, "c: kernel 10 x 10 is larger than the input 8 x 9"),
    (lambda: nf.Sequential([nf.Conv2D(4, 3)], input_shape=(1, 8, 8)), ValueError, 'data_format="channels_first"$'),
    (lambda: nf.Conv2D(8, 3, groups=4)(IMAGE), ValueError, "conv2d: 6 channels cannot be divided into 4 groups"),
    (lambda: nf.Conv2D(8, 3, groups=3)(IMAGE), ValueError, "conv2d: 8 filters cannot be divided into 3 groups"),
    (lambda: nf.Conv2D(8, 3)([IMAGE, IMAGE]), ValueError, "conv2d: takes one input, got 2"),
    (lambda: nf.Conv2D(2**40, 3)(IMAGE), ValueError, "conv2d: .* 1099511627776 channels .* more than"),
    (lambda: nf.Conv2D(1, 1, padding=2**21)(IMAGE), ValueError, "more than this library computes"),
    (lambda: nf.ZeroPadding2D(2**21)(IMAGE), ValueError, "more than this library computes"),
    (lambda: nf.MaxPool2D(9)(IMAGE), ValueError, "max_pool2d: kernel 9 x 9 is larger than the input 8 x 9"),
    (lambda: nf.AvgPool2D(2, padding=2)(IMAGE), ValueError, "avg_pool2d: padding must be smaller than the kernel"),
    (lambda: nf.MaxPool1D(2)(IMAGE), ValueError, r"max_pool1d: expected an input of shape \(L, C\)"),
    (lambda: nf.GlobalAvgPool()(nf.Input((5,))), ValueError,
     r"global_avg_pool: .* \(L, C\) or \(H, W, C\), got \(5,\)"),
    (lambda: nf.ZeroPadding2D(1)(nf.Input((5, 5))), ValueError, r"zero_padding2d: expected .* \(H, W, C\)"),
    (lambda: nf.Input((5,), data_format="channels_first"), ValueError,
     r"needs a shape \(C, L\) or \(C, H, W\), got \(5,\)"),
    (lambda: nf.Input((3, 5), data_format="first"), ValueError, "unknown Input data_format 'first'"),
    (lambda: nf.Sequential([nf.Dense(2)], data_format="nchw"), ValueError, "unknown Sequential data_format 'nchw'"),
    (lambda: nf.Sequential([nf.Input((3, 5, 5)), nf.Conv2D(2, 3)], data_format="channels_first"), ValueError,
     "data_format is 'channels_first', that of the Input layer 'channels_last'"),
])
def test_bad_layers(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_inputs_of_both_orders():
    last, first = nf.Input((8, 9, 6)), nf.Input((6, 8, 9), data_format="channels_first")
    with pytest.raises(ValueError, match="must have one data_format, got Input.*Input.*channels_first"):
        nf.Model([last, first], nf.Add()([last, first]))


@pytest.mark.parametrize(("data", "error", "text"), [
    (np.ones((4, 8, 9)), ValueError,
     r"expected shape \(N, 8, 9, 1\), got \(4, 8, 9\); the channel axis is x\[..., None\]"),
    (np.ones((4, 1, 8, 9)), ValueError,
     r"got \(4, 1, 8, 9\); for data with channels first see the model's data_format"),
    (np.ones((8, 9, 1)), ValueError, r"one sample is x\[None\]"),
    (np.ones((0, 8, 9, 1)), ValueError, r"empty data, shape \(0, 8, 9, 1\)"),
    (np.full((4, 8, 9, 1), "a"), TypeError, "expected real numbers, got strings"),
    (np.full((4, 8, 9, 1), np.nan), ValueError, r"nan at row 0, index \(0, 0, 0\)"),
])
def test_bad_data(data, error, text):
    for dtype in ("float32", "float64"):
        model = nf.Sequential([nf.Conv2D(2, 3), *head()], input_shape=(8, 9, 1), dtype=dtype)
        model.compile("sgd", "cross_entropy")
        before = model.get_weights()
        with pytest.raises(error, match=text):
            model.fit(data, np.zeros(len(data), int), verbose=0)
        for a, b in zip(model.get_weights(), before):
            assert_same_bits(a, b)


def test_bad_running_statistics():
    model, x, _ = make("batch norm")
    before = model.parameters
    with pytest.raises(ValueError, match="batch_norm/running_variance must not be below 0, got -1.0"):
        model.set_parameters({"batch_norm/running_mean": np.ones(6), "batch_norm/running_variance": -np.ones(6)})
    for key, value in model.parameters.items():
        assert_same_bits(value, before[key], key)
    model.compile("sgd", "cross_entropy")
    grads = {key: np.ones_like(value) for key, value in before.items()}
    with pytest.raises(ValueError, match="running_mean is frozen or a running statistic"):
        model.apply_gradients(grads)
    model.apply_gradients({key: g for key, g in grads.items() if "running" not in key})
    assert_same_bits(model.parameters["batch_norm/running_mean"], before["batch_norm/running_mean"])


@pytest.mark.parametrize("change", [
    {"kernel_size": "abc"}, {"kernel_size": [3, 3, 3]}, {"kernel_size": [3.5, 3]}, {"kernel_size": None}, {"stride": 0},
    {"stride": 2**70}, {"padding": [[1, 2], 3]}, {"padding": {}}, {"padding": "causal"}, {"groups": 7},
    {"groups": "2"}, {"filters": 2**62}, {"filters": -1}, {"dilation": [1, 10**6]}, {"activation": {"activation": 3}},
    {"use_bias": 1}, {"colour": 3},
], ids=str)
def test_bad_configurations(change):
    model = nf.Sequential([nf.Conv2D(4, 3)], input_shape=(8, 8, 3))
    config = model.get_config()
    config["layers"][0]["config"] |= change
    with pytest.raises((ValueError, TypeError)):
        nf.Sequential.from_config(config)


@pytest.mark.parametrize("data_format", ["first", 3, None, ["channels_first"]], ids=str)
def test_bad_data_format_in_a_configuration(data_format):
    config = nf.Sequential([nf.Conv2D(4, 3)], input_shape=(8, 8, 3)).get_config() | {"data_format": data_format}
    with pytest.raises((ValueError, TypeError), match="data_format"):
        nf.Sequential.from_config(config)
    x = nf.Input((8, 8, 3))
    config = nf.Model(x, nf.Conv2D(4, 3)(x)).get_config()
    config["inputs"][0]["data_format"] = data_format
    with pytest.raises((ValueError, TypeError), match="data_format"):
        nf.Model.from_config(config)


@pytest.mark.parametrize("y", [np.zeros(5, int), np.zeros((5, 1), int), np.eye(4)[[0, 1, 2, 3, 0]]])
def test_a_forgotten_flatten(y, rng):
    """The output has a class for each pixel, the data one for each image."""
    model = nf.Sequential([nf.Conv2D(3, 3), nf.Dense(4, activation="softmax")], input_shape=(8, 8, 1))
    model.compile("adam", "cross_entropy")
    with pytest.raises(ValueError, match=r"expects labels \(N, 6, 6\) or probabilities \(N, 6, 6, 4\), got shape .*; "
                                         "for one class of a whole sample put nf.Flatten or nf.GlobalAvgPool before "
                                         "the last layer"):
        model.fit(rng.random((5, 8, 8, 1)), y, verbose=0)
