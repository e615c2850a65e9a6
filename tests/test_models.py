"""The ready nets: their shapes and sizes as published, their arguments, and that they train."""
import numpy as np
import pandas as pd
import pytest

import nnfast as nf
from nnfast.graph import Graph


@pytest.fixture
def without_weights(monkeypatch):
    """Models that allocate nothing, to count the parameters of large ones."""
    monkeypatch.setattr(Graph, "initial_values", lambda self, seed, dtype: [])


def test_lenet5():
    model = nf.models.lenet5()
    assert [node.shape for node in model._graph.nodes] == [
        (28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (400,), (120,), (84,), (10,)]
    # LeCun et al. 1998: C1 156, C5 48,120, F6 10,164 parameters; C3 sees all six maps here.
    sizes = [w.size for w in model.get_weights()]
    assert [a + b for a, b in zip(sizes[::2], sizes[1::2])] == [156, 2416, 48120, 10164, 850]
    assert model.name == "lenet5" and model.dtype == "float32"


def test_mnist_cnn():
    model = nf.models.mnist_cnn()
    assert model.count_params() == 1_199_882        # as the example prints
    assert not any(isinstance(layer, nf.Dropout) for layer in model.layers)
    rates = [layer.rate for layer in nf.models.mnist_cnn(dropout=True).layers if isinstance(layer, nf.Dropout)]
    assert rates == [0.25, 0.5]


@pytest.mark.parametrize("depth, parameters", [(11, 132_863_336), (13, 133_047_848), (16, 138_357_544),
                                               (19, 143_667_240)])
def test_vgg(depth, parameters, without_weights):
    """The counts of torchvision's vgg11, vgg13, vgg16 and vgg19."""
    model = nf.models.vgg(depth)
    assert model.count_params() == parameters
    assert sum(isinstance(layer, (nf.Conv2D, nf.Dense)) for layer in model.layers) == depth
    assert model.output_shape == (1000,) and model.name == f"vgg{depth}"


def test_vgg_with_batch_norm(without_weights):
    """torchvision's vgg11_bn has 132,868,840 parameters; it keeps the biases, and does not count running statistics."""
    model = nf.models.vgg(11, batch_norm=True)
    filters = 64 + 128 + 2 * 256 + 4 * 512
    assert model.count_params() == 132_868_840 - filters + 2 * filters
    kinds = [type(layer).__name__ for layer in model.layers[:4]]
    assert kinds == ["Conv2D", "BatchNorm", "Activation", "MaxPool2D"]


@pytest.mark.parametrize("depth", [8, 20, 32, 44, 56, 110])
def test_resnet(depth, without_weights):
    """The published shapes; He et al. 2015 count 0.27, 0.46, 0.66, 0.85 and 1.7 million parameters (table 6), to which
    option B adds 2,752 in the shortcuts."""
    model = nf.models.resnet(depth)
    convolutions = [layer for layer in model.layers if isinstance(layer, nf.Conv2D)]
    assert sum(layer.kernel_size == (3, 3) for layer in convolutions) + 1 == depth
    assert sum(layer.kernel_size == (1, 1) for layer in convolutions) == 2
    shapes = [node.shape for node in model._graph.nodes if isinstance(node.layer, nf.Add)]
    n = (depth - 2) // 6
    assert shapes == [(32, 32, 16)] * n + [(16, 16, 32)] * n + [(8, 8, 64)] * n
    published = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}
    trained = sum(np.prod(p.spec.shape) for p in model._graph.parameters if p.trained)
    if depth in published:
        assert (trained - 2752) / 1e6 == pytest.approx(published[depth], abs=0.05 if depth == 110 else 0.008)


@pytest.mark.parametrize(("make", "parameters"), [
    (lambda: nf.models.mobilenet_v2(), 3_504_872), (lambda: nf.models.mobilenet_v2(width=0.35, classes=7), 405_095),
    (lambda: nf.models.mobilenet_v3("small"), 2_542_856), (lambda: nf.models.mobilenet_v3("large"), 5_483_032),
    (lambda: nf.models.mobilenet_v3("small", width=0.75, classes=7), 890_303),
    (lambda: nf.models.efficientnet("b0"), 5_288_548), (lambda: nf.models.efficientnet("b1"), 7_794_184),
    (lambda: nf.models.efficientnet("b2"), 9_109_994), (lambda: nf.models.efficientnet("b3"), 12_233_232),
    (lambda: nf.models.efficientnet("b4"), 19_341_616)])
def test_networks_for_small_processors(make, parameters, without_weights):
    """The counts of torchvision's models, which leave out the running statistics; test_interop.py has their logits."""
    model = make()
    assert sum(np.prod(p.spec.shape) for p in model._graph.parameters if p.trained) == parameters


def test_a_network_for_small_processors_learns(rng):
    x, y = rng.random((16, 3, 32, 32), np.float32), np.arange(16) % 4
    model = nf.models.mobilenet_v3("small", (3, 32, 32), classes=4, width=0.35, dropout=0, data_format="channels_first")
    model.compile(nf.Adam(3e-3), "cross_entropy")
    history = model.fit(x, y, batch_size=16, epochs=25, verbose=0).history["loss"]
    assert history[-1] < 0.1 * history[0]


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: nf.models.mobilenet_v3("medium"), ValueError, "mobilenet_v3: unknown size 'medium'.*small"),
    (lambda: nf.models.mobilenet_v3(3), TypeError, "mobilenet_v3: size must be a name"),
    (lambda: nf.models.mobilenet_v2(width=0), ValueError, "mobilenet_v2: width"),
    (lambda: nf.models.mobilenet_v2(dropout=1), ValueError, "mobilenet_v2: dropout"),
    (lambda: nf.models.efficientnet("b9"), ValueError, "efficientnet: unknown size 'b9'"),
    (lambda: nf.models.efficientnet(classes=0), ValueError, "efficientnet: classes"),
    (lambda: nf.models.mobilenet_v2((32, 32)), ValueError, r"\(32, 32\)"),
])
def test_networks_for_small_processors_that_cannot_be(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_unet(without_weights):
    """Figure 1 of the paper, with an image of one channel and two classes: 64 to 1024 filters, four poolings."""
    model = nf.models.unet((64, 96, 1), 2)
    levels = [64 * 2**level for level in range(5)]
    pairs = [9 * c * k + k + 9 * k * k + k for c, k in zip([1, *levels], levels)]                   # going down
    pairs += [4 * 2 * k * k + k + 9 * 2 * k * k + k + 9 * k * k + k for k in levels[:4]]            # going up
    assert model.count_params() == sum(pairs) + 64 * 2 + 2
    assert model.output_shape == (64, 96, 2)
    beside = [node.shape for node in model._graph.nodes if isinstance(node.layer, nf.Concatenate)]
    assert beside == [(8, 12, 1024), (16, 24, 512), (32, 48, 256), (64, 96, 128)]
    normalized = nf.models.unet((4, 64, 64), classes=1, depth=2, width=0.5, batch_norm=True,
                                data_format="channels_first", name="mask", seed=3)
    assert (normalized.output_shape, normalized.name) == ((1, 64, 64), "mask")
    assert sum(isinstance(layer, nf.BatchNorm) for layer in normalized.layers) == 10
    normalized.compile("adam", "binary_cross_entropy", metrics=["mean_iou"])    # a sigmoid


SMALL = {
    "lenet5": lambda **arguments: nf.models.lenet5(classes=4, activation="relu", **arguments),
    "mnist_cnn": lambda **arguments: nf.models.mnist_cnn(classes=4, dropout=True, **arguments),
    "vgg11": lambda **arguments: nf.models.vgg(11, (32, 33, 1), 4, width=0.03, dropout=0.1, **arguments),
    "vgg13": lambda **arguments: nf.models.vgg(13, (32, 32, 1), 4, 0.03, batch_norm=True, dropout=0, **arguments),
    "resnet8": lambda **arguments: nf.models.resnet(8, (9, 10, 1), 4, width=0.5, **arguments),
    "resnet14": lambda **arguments: nf.models.resnet(14, (8, 8, 1), 4, width=0.25, **arguments),
}


@pytest.mark.parametrize("name", SMALL)
def test_they_train(name):
    """Four kinds of images, noise on a bright quarter: learned in a few steps."""
    model = SMALL[name](seed=3)
    assert model.name == name
    height, width, _ = model.input_shape
    rng = np.random.default_rng(0)
    labels = np.arange(64) % 4
    x = rng.normal(size=(64, height, width, 1)).astype("f") / 2
    for image, label in zip(x, labels):
        rows, columns = divmod(label, 2)
        image[rows * height // 2:(rows + 1) * height // 2, columns * width // 2:(columns + 1) * width // 2] += 1
    model.compile(nf.Adam(3e-3), "cross_entropy", metrics=["accuracy"])
    history = model.fit(x, labels, batch_size=16, epochs=12, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert np.isfinite(model.predict(x)).all()


def sold(n=600, seed=0):
    """Prices and who bought, by town, colour and size."""
    rng = np.random.default_rng(seed)
    town, colour = rng.integers(0, 40, n), rng.integers(0, 3, n)
    size = rng.random(n)
    price = town * 7 % 11 + colour + size
    return {"town": [f"town {i}" for i in town], "colour": [f"colour {i}" for i in colour], "size": size,
            "price": price, "buyer": np.array(["Ann", "Bob", "Cid"])[(town + colour) % 3]}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("target", "max_one_hot", "drop"), [
    ("price", 10, "buyer"), ("buyer", 10, "price"), ("buyer", 0, "price"), ("buyer", 0, ["price", "size"]),
    ("price", None, "buyer")])
def test_tabular(target, max_one_hot, drop, dtype, tmp_path):
    table = nf.data.frame(pd.DataFrame(sold()), target, drop=drop, max_one_hot=max_one_hot)
    x, x_test, y, y_test = nf.data.train_test_split(table.x, table.y)
    model = nf.models.tabular(x, table.encoding.to_dict(), (32, 32), width=4, dtype=dtype, seed=1)
    classes = target == "buyer"
    loss, metric = ("cross_entropy", "accuracy") if classes else ("squared_error", "r2")
    model.compile(nf.Adam(1e-2), loss, metrics=[metric])
    model.fit(x, y, epochs=40, verbose=0)
    assert model.evaluate(x_test, y_test)[metric] > 0.85
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(nf.load(tmp_path / "m.safetensors").predict(x_test), model.predict(x_test))
    if max_one_hot == 10:
        assert model.input_names == ["numbers", "ids"] and model.parameters["embedding/kernel"].shape == (40, 4)


def test_tabular_is_what_it_says():
    """Numbers less mean over deviation, the texts' vectors one after another, dense layers."""
    table = nf.data.frame(pd.DataFrame(sold(100)), "price", drop="buyer", max_one_hot=0)
    model = nf.models.tabular(table.x, table.encoding, 5, width=2, activation="tanh", dropout=0.5, dtype="float64")
    w = model.parameters
    numbers, ids = table.x["numbers"].astype("f8"), table.x["ids"]
    vectors = w["embedding/kernel"][ids].reshape(100, 4)
    features = np.concatenate([(numbers - numbers.mean()) / numbers.std(), vectors], axis=1)
    hidden = np.tanh(features @ w["dense/kernel"] + w["dense/bias"])
    np.testing.assert_allclose(model.predict(table.x), hidden @ w["dense_1/kernel"] + w["dense_1/bias"], atol=1e-10)
    assert [layer.kind for layer in model.layers].count("dropout") == 1
    assert tabular(target=["price", "size"]).output_shape == (2,) and tabular(target="buyer").output_shape == (3,)


def tabular(x=None, target="price", **arguments):
    table = nf.data.frame(pd.DataFrame(sold(60)), target, max_one_hot=10)
    return nf.models.tabular(table.x if x is None else x, arguments.pop("encoding", table.encoding), **arguments)


def test_arguments_of_the_model(tmp_path):
    model = nf.models.resnet(8, (3, 16, 16), dtype="float64", seed=5, name="small", data_format="channels_first")
    assert (model.name, model.dtype, model.seed, model.data_format) == ("small", "float64", 5, "channels_first")
    x = np.random.default_rng(0).normal(size=(2, 3, 16, 16))
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(nf.load(tmp_path / "m.safetensors").predict(x), model.predict(x))
    first = nf.models.lenet5((1, 28, 28), data_format="channels_first")
    assert first.input_shape == (1, 28, 28) and first.output_shape == (10,)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: nf.models.vgg(12), ValueError, "vgg: depth must be 11, 13, 16 or 19, got 12"),
    (lambda: nf.models.vgg("16"), TypeError, "vgg: depth must be an integer"),
    (lambda: nf.models.vgg(11, width=0), ValueError, "vgg: width must be a finite number above 0"),
    (lambda: nf.models.vgg(11, batch_norm=1), TypeError, "vgg: batch_norm must be True or False"),
    (lambda: nf.models.vgg(11, dropout=1.0), ValueError, "vgg: dropout"),
    (lambda: nf.models.vgg(11, input_shape=(16, 16, 3)), ValueError, "kernel 2 x 2 is larger than the input 1 x 1"),
    (lambda: nf.models.resnet(18), ValueError, r"resnet: depth must be 6n \+ 2 .* got 18"),
    (lambda: nf.models.resnet(2), ValueError, "resnet: depth must be at least 8"),
    (lambda: nf.models.resnet(8, width=-1), ValueError, "resnet: width"),
    (lambda: nf.models.resnet(8, (32, 32)), ValueError, r"conv2d: expected an input of shape \(H, W, C\)"),
    (lambda: nf.models.lenet5((8, 8, 1)), ValueError, "conv2d_1: kernel 5 x 5 is larger than the input 4 x 4"),
    (lambda: nf.models.lenet5(classes=0), ValueError, "dense: units must be at least 1"),
    (lambda: nf.models.mnist_cnn(dropout=0.5), TypeError, "mnist_cnn: dropout must be True or False"),
    (lambda: nf.models.lenet5(depth=3), TypeError, "depth"),
    (lambda: nf.models.unet((48, 40, 1)), ValueError, r"multiples of 2 \*\* depth = 16, got \(48, 40, 1\)"),
    (lambda: nf.models.unet((3, 32, 24), data_format="channels_first"), ValueError, r"got \(3, 32, 24\)"),
    (lambda: nf.models.unet((32, 32)), ValueError, "unet: input_shape must be of an image"),
    (lambda: nf.models.unet(classes=0), ValueError, "unet: classes must be at least 1"),
    (lambda: nf.models.unet(depth=0), ValueError, "unet: depth must be at least 1"),
    (lambda: tabular(np.ones((5, 3))), ValueError,
     r"tabular: x must be table.x, .* a dict of numbers \(N, 7\), ids \(N, 1\); got an array \(5, 3\)"),
    (lambda: tabular({"ids": np.ones((5, 1)), "rest": [[1]]}), ValueError, r"got ids \(5, 1\), rest list"),
    (lambda: tabular({"ids": np.ones((5, 1)), "numbers": np.ones((4, 7))}), ValueError,
     r"got ids \(5, 1\), numbers \(4, 7\)"),
    (lambda: tabular([np.ones((5, 7)), np.ones((5, 1))]), ValueError, "x must be table.x, .* got list"),
    (lambda: tabular({}), ValueError, "got an empty dict"),
    (lambda: tabular(hidden_layer_sizes=8.0), TypeError, "tabular: hidden_layer_sizes must be integers, .* got 8.0"),
    (lambda: tabular(hidden_layer_sizes=["8"]), TypeError, "hidden_layer_sizes must be an integer, got str: '8'"),
    (lambda: tabular(target=None), ValueError, r"tabular: the table has no target; csv\(..., target=NAME\)"),
    (lambda: tabular(encoding="city"), TypeError, "tabular: encoding must be that of a table .* got str"),
    (lambda: tabular(width=0), ValueError, "tabular: width must be at least 1"),
    (lambda: tabular(hidden_layer_sizes=(8, 0)), ValueError, "tabular: hidden_layer_sizes must be at least 1, got 0"),
    (lambda: tabular(dropout=1.5), ValueError, "dropout: rate"),
    (lambda: nf.models.unet(batch_norm="no"), TypeError, "unet: batch_norm must be True or False"),
])
def test_bad_arguments(call, error, text):
    with pytest.raises(error, match=text):
        call()
