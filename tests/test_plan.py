"""The compiled plan: what is fused, what memory that saves, and that results stay the same."""
import gc

import numpy as np
import pytest
from check import assert_same_bits
from fused import CLASSES, disturb, head, members, plan_of, sequential, watched
from nnfast._core.memory import soil_spare

import nnfast as nf
from nnfast.fusion import fuse

# --- which layers become one operation -------------------------------------------------------------------------------

def fused_names(layers, shape, inference=False):
    model = nf.Sequential(layers, input_shape=shape)
    spec = model._graph.plan_spec(np.dtype("float32"), 0, None)
    inputs, operations = fuse(spec["inputs"], spec["nodes"], spec["outputs"], inference)
    return [entry["members"] for entry in inputs + operations]


def test_operations_of_training_and_inference():
    def layers():
        return [nf.Rescale(0.1, name="r"), nf.Conv2D(4, 3, name="c"), nf.BatchNorm(name="n"),
                nf.Activation("relu", name="a"), nf.MaxPool2D(2, name="p"), nf.Flatten(name="f"),
                nf.Dropout(0.5, name="d"), nf.Dense(4, name="e"), nf.BatchNorm(name="m"),
                nf.Activation("softmax", name="s")]

    assert fused_names(layers(), (8, 8, 2)) == [["input", "r"], ["c"], ["n", "a"], ["p"], ["d"], ["e"], ["m", "s"]]
    assert fused_names(layers(), (8, 8, 2), True) == [["input", "r"], ["c", "n", "a", "p"], ["e", "m", "s"]]


@pytest.mark.parametrize(("layers", "expected"), [
    (lambda: [nf.Conv2D(4, 3, activation="relu"), nf.BatchNorm()], 2),      # a normalization after an activation
    (lambda: [nf.Conv2D(4, 3), nf.MaxPool2D(2), nf.BatchNorm()], 2),        # gamma may be negative
    (lambda: [nf.Conv2D(4, 3), nf.BatchNorm(), nf.BatchNorm()], 2),
    (lambda: [nf.Conv2D(4, 3), nf.Reshape((4, 36)), nf.BatchNorm()], 2),    # other channels
    (lambda: [nf.MaxPool2D(2), nf.BatchNorm(), nf.Activation("relu")], 2),
    (lambda: [nf.Dense(4), nf.Activation("tanh"), nf.Activation("tanh")], 2),
    (lambda: [nf.Conv2D(4, 3, activation="gelu"), nf.MaxPool2D(2)], 2),     # not monotonic
    (lambda: [nf.Conv2D(4, 3), nf.MaxPool2D(3, stride=2)], 2),              # windows overlap
    (lambda: [nf.Conv2D(4, 3), nf.MaxPool2D(2, padding=1)], 2),
    (lambda: [nf.Conv2D(4, 1), nf.MaxPool2D(2)], 2),
    (lambda: [nf.Conv2D(4, 3), nf.MaxPool2D(2), nf.Activation("relu")], 2),
    (lambda: [nf.Conv2D(4, 3), nf.Rescale(2.0)], 2),
    (lambda: [nf.Rescale(2.0), nf.Rescale(3.0)], 1),
    (lambda: [nf.Reshape((16, 4)), nf.Rescale(3.0)], 1),
    (lambda: [nf.Dropout(0.5), nf.Rescale(3.0), nf.Activation("tanh")], 2),     # in training, dropout comes first
    (lambda: [nf.Dense(4), nf.Dropout(0.5)], 2),                            # the output
    (lambda: [nf.Dense(4), nf.Dropout(0.5), nf.Activation("relu"), nf.BatchNorm()], 2),
    (lambda: [nf.DepthwiseConv2D(3), nf.BatchNorm(), nf.Activation("gelu")], 1),
])
def test_what_is_left_apart_in_inference(layers, expected):
    model = nf.Sequential(layers(), input_shape=(8, 8, 1))
    assert len(members(model, inference=True)) == expected
    x = np.random.default_rng(0).standard_normal((3, 8, 8, 1)).astype(np.float32)
    y = model.predict(x)
    assert np.isfinite(y).all()
    model.compile("sgd", "squared_error")       # training is another program
    values, dy = model.per_sample_loss(x, np.zeros_like(y)), model.vjp(x, np.ones_like(y))[1]
    np.testing.assert_allclose(values, (y.reshape(3, -1) ** 2).sum(axis=1), rtol=1e-4)
    assert model.gradients(x, np.zeros_like(y))[0] == pytest.approx(values.mean(), rel=1e-4)
    assert dy.shape == x.shape and np.isfinite(dy).all()


def test_a_convolution_as_large_as_the_image_is_a_dense_layer():
    model = nf.Sequential([nf.Conv2D(8, (5, 4)), nf.Conv2D(6, 1, activation="relu"), nf.Conv2D(4, 1, groups=2),
                           nf.Conv2D(3, 1, 3, padding=((1, 1), (1, 0)))], input_shape=(5, 4, 2))
    spec = model._graph.plan_spec(np.dtype("float32"), 0, None)
    _, operations = fuse(spec["inputs"], spec["nodes"], spec["outputs"])
    assert [operation["op"] for operation in operations] == ["dense", "dense", "conv", "conv"]


def test_values_that_others_see_are_kept():
    x = nf.Input((6, 6, 2))
    z = nf.Conv2D(4, 3, name="c")(x)
    y = nf.Activation("relu", name="a")(nf.BatchNorm(name="n")(z))
    model = nf.Model(x, [nf.MaxPool2D(2, name="p")(y), nf.Add(name="s")([z, y])])
    assert members(model, inference=True) == [["c"], ["n", "a"], ["p"], ["s"]]
    x = nf.Input((6, 6, 2))
    scaled = nf.Rescale(0.5, name="r")(x)
    model = nf.Model(x, nf.Concatenate(name="j")([x, scaled]))
    assert members(model) == [["r"], ["j"]] and [entry["members"] for entry in plan_of(model).gathered] == [["input"]]


def test_a_sum_takes_the_activation_after_it(dtype):
    for activation in ("relu", "gelu", "softmax"):
        layers = {"a": nf.Dense(5, name="a"), "b": nf.Dense(5, name="b")}
        x = nf.Input((4,))
        total = nf.Add(name="s")([layers["a"](x), layers["b"](x)])
        model = nf.Model(x, nf.Activation(activation, name="t")(total), dtype=dtype.name)
        assert members(model) == [["a"], ["b"], ["s", "t"]]
        assert plan_of(model).describe()[2]["fused"] == activation
        w = model.parameters
        data = np.random.default_rng(0).standard_normal((7, 4)).astype(dtype)
        z = sum(data @ w[f"{name}/kernel"] + w[f"{name}/bias"] for name in "ab")
        expected = (nf.functional.softmax if activation == "softmax" else getattr(nf.functional, activation))(z)
        np.testing.assert_allclose(model.predict(data), expected, rtol=0, atol=20 * np.finfo(dtype).eps)
        model.compile("sgd", "squared_error")
        errors = model.check_gradients(data, np.zeros((7, 5)))
        assert max(errors.values()) < 1e-7


# --- fused equals unfused, and takes less memory ---------------------------------------------------------------------

@pytest.mark.parametrize("activation", ["linear", "relu", "tanh", "elu", "gelu"])
@pytest.mark.parametrize("image, channels, filters", [
    ((9, 10), 5, 5), ((9, 10), 16, 16),     # Winograd's sums, too
    ((21, 36), 16, 64),                     # in bands of rows, which end with whole tiles
])
def test_fused_has_the_bits_of_unfused(activation, image, channels, filters, dtype):
    def layers():
        return [nf.Conv2D(filters, 3, padding="same", name="conv"), nf.Activation(activation, name="act"),
                nf.MaxPool2D(2, name="pool"), nf.Flatten(), nf.Dense(CLASSES, activation="softmax", name="out")]

    fused = sequential(layers(), (*image, channels), dtype)
    unfused = watched(layers(), (*image, channels), dtype, ("conv", "act"))
    unfused.set_parameters(fused.parameters)
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((7, *image, channels)).astype(dtype), rng.integers(0, CLASSES, 7)
    assert_same_bits(fused.predict(x), unfused.predict(x)[0])
    fused.compile("sgd", "cross_entropy")
    unfused.compile("sgd", ["cross_entropy", "squared_error", "squared_error"], loss_weights=[1.0, 0.0, 0.0])
    nothing = [np.zeros(y.shape) for y in unfused.predict(x)[1:]]
    grads, others = fused.gradients(x, labels)[1], unfused.gradients(x, [labels, *nothing])[1]
    for name, gradient in grads.items():
        np.testing.assert_array_equal(gradient, others[name], err_msg=name)


def test_what_is_fused_has_no_buffer():
    shape, pooled, image = (12, 12, 1), 6 * 6 * 16 * 4, 12 * 12 * 16 * 4

    def layers():
        return [nf.Conv2D(16, 3, padding="same", name="c"), nf.Activation("relu", name="a"), nf.MaxPool2D(2, name="p"),
                *head()]

    fused, unfused = nf.Sequential(layers(), input_shape=shape), watched(layers(), shape, "float32", ("c", "a"))
    row = plan_of(fused).describe()[0]
    assert row["members"] == ["c", "a", "p"] and row["fused"] == "bias + relu + max_pool"
    assert row["flops"] == 2 * 12 * 12 * 16 * 9 and row["shape"] == (6, 6, 16)
    # Padded to whole cache lines. Before the pooling there is a gradient, and nothing else. The segments of the
    # kernel's gradient take an eighth of what it is made of at most.
    assert row["buffers"].pop("segments") <= image // 8 + 12 * 12 * 4 // 8
    assert {name: size // 64 for name, size in row["buffers"].items()} == {
        "y": pooled // 64 + 1, "dy": pooled // 64 + 1, "code": pooled // 64 + 1, "dz": image // 64 + 1, "bias sums": 1}
    assert [entry["buffers"] for entry in plan_of(fused).describe(True)][0] == {"y": pooled + 64}
    for inference, saved in ((False, 3 * image), (True, image)):
        assert plan_of(unfused).memory(10, inference) - plan_of(fused).memory(10, inference) > 10 * saved
    x = np.random.default_rng(0).standard_normal((10, *shape)).astype(np.float32)
    for model in (fused, unfused):
        assert plan_of(model).arena_bytes == 0
        model.predict(x)
        assert plan_of(model).arena_bytes == plan_of(model).memory(10, True)


def test_describe_names_everything():
    model = sequential([
        nf.ZeroPadding2D(1, name="pad"), nf.Conv2D(8, 3, activation="relu", name="conv"), nf.BatchNorm(name="norm"),
        nf.MaxPool2D(3, stride=2, name="max"), nf.AvgPool2D(2, name="mean"), nf.Rescale(2.0, name="scale"),
        nf.Flatten(name="flat"), nf.Dense(CLASSES, use_bias=False, name="out"), nf.Activation("softmax", name="soft"),
    ], (9, 9, 2))
    model.compile("sgd", "cross_entropy")
    rows = {row["name"]: row for row in plan_of(model).describe()}
    assert {name: (row["op"], row["shape"], row["flops"], row["fused"]) for name, row in rows.items()} == {
        "pad": ("pad", (11, 11, 2), 0, ""),
        "conv": ("conv", (9, 9, 8), 2 * 81 * 8 * 18, "bias + relu"),
        "norm": ("batch_norm", (9, 9, 8), 2 * 81 * 8, ""),
        "max": ("max_pool", (4, 4, 8), 16 * 8 * 9, ""),
        "mean": ("average_pool", (2, 2, 8), 4 * 8 * 4, ""),
        "scale": ("rescale", (2, 2, 8), 2 * 32, ""),
        "out": ("dense", (CLASSES,), 2 * 32 * CLASSES, "softmax + loss"),
    }


def by(stages):
    """Stages without the numbers of samples at a time."""
    return [("samples" if shares.endswith("samples") else shares, work) for shares, work in stages]


def test_stages_and_barriers(capsys):
    model = nf.Sequential([nf.Conv2D(4, 3, name="c"), nf.BatchNorm(name="n"),
                           nf.Lambda(lambda x: x, lambda dy, x, y: dy, name="l"), nf.Flatten(),
                           nf.Dense(CLASSES, activation="softmax", name="out")], input_shape=(6, 6, 2))
    model.compile("sgd", "cross_entropy")
    stages = by(plan_of(model).stages("training"))
    assert [(shares, work) for shares, work in stages if shares != "panels of kernels"] == [
        ("samples", [("forward", "c"), ("sums", "n")]),
        ("channels", [("statistics", "n")]),
        ("samples", [("forward", "n")]),
        ("one thread", [("forward", "l")]),
        ("samples", [("forward", "out"), ("loss", "out"), ("backward", "out")]),
        ("one thread", [("backward", "l")]),
        ("samples", [("sums of gradients", "n")]),
        ("channels", [("gradients", "n")]),
        ("samples", [("backward", "n"), ("backward", "c")]),
        ("tiles of parameters", [("gradient and update", name) for name in (
            "c/kernel", "c/bias", "n/gamma", "n/beta", "out/kernel", "out/bias")]),
    ]
    assert by(plan_of(model).stages("inference")) == [
        ("panels of kernels", [("prepare", "c")]), ("samples", [("forward", "c")]),
        ("one thread", [("forward", "l")]), ("samples", [("forward", "out")])]
    model.plan()
    text = capsys.readouterr().out
    for words in ("no memory yet", "a training step", "predict and evaluate", "bias + batch_norm", "KiB for 64", "dy ",
                  " samples: forward c", "by channels: statistics n", "by one thread: forward l"):
        assert words in text
    model.predict(np.ones((2, 6, 6, 2)))
    model.plan()
    assert "KiB for activations" in capsys.readouterr().out


def test_summary_shows_what_became_of_each_layer(capsys):
    model = nf.Sequential([nf.Rescale(1 / 255), nf.Conv2D(8, 3), nf.Activation("relu"), nf.MaxPool2D(2), *head()],
                          input_shape=(8, 8, 3))
    model.compile("sgd", "cross_entropy")
    model.summary()
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert rows["rescale"].endswith("in input") and rows["max_pool2d"].endswith("in conv2d")
    assert rows["activation"].endswith("in conv2d") and rows["conv2d"].endswith("bias + relu + max_pool")
    assert rows["dense"].endswith("bias + softmax + loss") and f"{2 * 36 * 8 * 27:,}" in rows["conv2d"]


def test_summary_tells_calls_and_inputs_of_one_name_apart(capsys):
    x, pool = nf.Input((8, 8, 2), name="dense"), nf.MaxPool2D(2)
    nf.Model(x, nf.Dense(3, activation="relu")(nf.Flatten()(pool(pool(x))))).summary()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[3:]]
    pools = [row for row in rows if row[0] == "max_pool2d"]
    assert [row[-1] for row in pools] == ["128", "32"]      # FLOPs
    assert rows[-1][0] == "dense" and rows[-1][-3:] == ["bias", "+", "relu"]


# --- memory ----------------------------------------------------------------------------------------------------------

def test_gradients_take_memory_only_if_someone_needs_them():
    model = nf.Sequential([nf.Conv2D(8, 3, name="a"), nf.Conv2D(8, 3, name="b"), *head()], input_shape=(10, 10, 3))
    model.compile("sgd", "cross_entropy")
    plan = plan_of(model)
    assert [sorted(row["buffers"]) for row in plan.describe()] == [["bias sums", "dy", "segments", "y"]] * 2 + [
        ["dy", "y"]]
    assert [sorted(row["buffers"]) for row in plan.describe(True)] == [["y"]] * 3
    x, labels = np.ones((4, 10, 10, 3), np.float32), np.zeros(4, int)
    model.train_on_batch(x, labels)
    before = plan.arena_bytes
    gradients = model.gradients(x, labels)[1]
    assert plan.arena_bytes == before
    model.input_gradient(x, labels)
    assert plan.arena_bytes - before >= 4 * 10 * 10 * 3 * 4
    after = plan.arena_bytes
    for key, value in model.gradients(x, labels)[1].items():
        assert_same_bits(value, gradients[key], key)
    model.input_gradient(x, labels)
    assert plan.arena_bytes == after
    frozen = model.clone()
    frozen.get_layer("a").trainable = False
    rows = plan_of(frozen).describe()
    assert sorted(rows[0]["buffers"]) == ["y"] and "dy" in rows[1]["buffers"]


def test_buffers_share_memory_where_their_times_do_not_overlap():
    model = nf.models.resnet(14, input_shape=(16, 16, 3))
    model.compile("sgd", "cross_entropy")
    plan = plan_of(model)
    for inference, share in ((False, 0.75), (True, 0.5)):
        alone = sum(size for row in plan.describe(inference) for size in row["buffers"].values())
        assert plan.memory(64, inference) < share * 64 * alone
    # A convolution before a normalization keeps its output until the gradient takes its place.
    assert "dy" not in plan.describe()[0]["buffers"]


def branched(seed, dtype="float64", n_threads=None):
    """A random graph of every kind of node, with equal shapes on many edges, so that much memory is shared."""
    rng = np.random.default_rng(seed)
    x = nf.Input((6, 6, 4))
    values = [x]
    for _ in range(9):
        value, other = values[rng.integers(len(values))], values[rng.integers(len(values))]
        kind = rng.integers(9)
        if kind == 0:
            made = nf.Activation(["tanh", "gelu", "sigmoid"][rng.integers(3)])(value)
        elif kind == 1:
            made = nf.Add()([value, other])
        elif kind == 2:
            made = nf.Conv2D(4, 1)(nf.Concatenate()([value, other]))
        elif kind == 3:
            made = nf.MaxPool2D(3, stride=1, padding=1)(value)
        elif kind == 4:
            made = nf.Lambda(lambda a: 2 * a, lambda dy, a, y: 2 * dy)(value)
        elif kind == 5:
            made = nf.AvgPool2D(3, stride=1, padding="same")(value)
        else:
            made = nf.Conv2D(4, 3, padding="same", activation=["linear", "tanh"][rng.integers(2)])(value)
            if kind > 6:
                made = nf.BatchNorm()(made)
        values.append(made)
    used = [value for value in values[1:] if rng.random() < 0.5] or [values[-1]]
    shown = nf.Activation("tanh", name="map")(nf.Add()([*used, values[-1]]))
    joined = nf.Dropout(0.2)(nf.Rescale(2.0)(nf.Rescale(0.5)(shown)))     # an output that others read
    model = nf.Model(x, [nf.Dense(CLASSES, activation="softmax", name="out")(nf.Flatten()(joined)), shown], dtype=dtype,
                     seed=seed)
    disturb(model, seed)
    model.compile(nf.SGD(0.01), ["cross_entropy", "squared_error"], n_threads=n_threads)
    return model


@pytest.mark.parametrize("seed", range(12))
def test_shared_memory_in_random_graphs(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((7, 6, 6, 4)), [rng.integers(0, CLASSES, 7), rng.standard_normal((7, 6, 6, 4))]
    model = branched(seed)
    assert max(model.check_gradients(x, y, entries=20).values()) < 1e-5
    first = model.gradients(x, y, training=True)
    model.input_gradient(x, y)      # lays memory out anew, with the gradients of inputs
    second = model.gradients(x, y, training=True)
    assert first[0] == second[0]
    for key, value in first[1].items():
        assert_same_bits(value, second[1][key], key)
    results = []
    for n_threads in (1, 2, 3):
        model = branched(seed, n_threads=n_threads)
        model.fit(x, y, batch_size=3, epochs=2, verbose=0)
        results.append([*model.get_weights(), *model.predict(x)])
    for other in results[1:]:
        for a, b in zip(results[0], other):
            assert_same_bits(a, b)


def test_passes_without_a_batch_size_take_little_memory():
    model = nf.models.vgg(11, input_shape=(128, 128, 3), width=0.5, classes=5)
    plan = plan_of(model)
    small = nf.Sequential([nf.Dense(3)], input_shape=(4,))
    assert plan_of(small).default_batch(256) == plan_of(small).default_batch(256, inference=False) == 256
    for inference in (True, False):
        batch = plan.default_batch(256, inference)
        assert plan.n_threads <= batch < 256
        assert plan.memory(batch, inference) < 2**27 or batch == plan.n_threads


def test_one_plan_predicts_and_trains_in_turns():
    """Training and inference have memory of their own: neither sees what the other leaves."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((9, 7, 7, 3)).astype(np.float32), rng.integers(0, CLASSES, 9)
    models = []
    for _ in range(2):
        model = sequential([nf.Conv2D(5, 3, activation="sigmoid"), nf.BatchNorm(), nf.MaxPool2D(2), *head()], (7, 7, 3))
        model.compile(nf.Adam(0.01), "cross_entropy")
        models.append(model)
    for step in range(4):
        first = models[0].train_on_batch(x, labels)
        models[1].predict(np.full_like(x, np.nan))
        models[1].predict(x[: step + 1])
        assert models[1].train_on_batch(x, labels) == first
    for a, b in zip(*(model.get_weights() for model in models)):
        assert_same_bits(a, b)


# --- memory that changes hands ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("layers", [
    lambda: [nf.Flatten(), nf.Dense(300, activation="relu"), nf.Dropout(0.5), *head()],
    lambda: [nf.Conv2D(20, 5, padding="same"), nf.BatchNorm(), nf.MaxPool2D(3, padding=1), *head()],
    lambda: [nf.Conv2D(7, 3, activation="tanh"), nf.MaxPool2D(2), *head()],
])
def test_memory_of_a_model_that_is_gone_is_cleared_for_the_next(layers):
    random = np.random.default_rng(0)
    x = random.standard_normal((200, 20, 20, 3)).astype(np.float32)
    y = random.integers(0, CLASSES, 200)

    def run():
        gc.collect()
        soil_spare()
        model = nf.Sequential(layers(), input_shape=x.shape[1:])
        model.compile(nf.Adam(0.01), "cross_entropy", n_threads=2)
        model.fit(x, y, epochs=2, batch_size=100, verbose=0)
        return [*model.get_weights(), model.predict(x), model.input_gradient(x, y)]

    results = [run() for _ in range(3)]
    blocks, _ = soil_spare()
    assert blocks > 0
    for a, *others in zip(*results, strict=True):
        for b in others:
            assert_same_bits(a, b)


def test_spare_memory_is_bounded():
    for width in range(100, 2000, 100):
        model = nf.Sequential([nf.Dense(width)], input_shape=(900,))
        model.predict(np.zeros((1, 900), np.float32))
    del model
    gc.collect()
    blocks, size = soil_spare()
    assert 0 < blocks <= 16
    assert 2**18 <= size <= 2**26
