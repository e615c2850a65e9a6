"""Several yes/no answers a sample, as maps (H, W, C) or vectors: answers that are missing, and class weights."""
import numpy as np
import pytest
from check import assert_same_bits
from stand_ins import Samples

import nnfast as nf
from nnfast.augment import Flip, Mixup, Noise, Shift

SHAPES = {"one": (1,), "vector": (5,), "mask": (6, 7, 1), "masks": (4, 5, 3), "long": (9, 31, 2)}
VOID = 255


def answers(shape, loss="binary_cross_entropy", dtype="float64", activation="sigmoid", **settings):
    """A network whose logits are its inputs."""
    model = nf.Sequential([nf.Activation(activation, name="answers")], input_shape=shape, dtype=dtype, seed=2)
    model.compile(**{"optimizer": nf.SGD(0.1), "loss": loss} | settings)
    return model


def trained(shape, loss, dtype="float64", **settings):
    """A network with a kernel, the unit matrix, from one channel to another."""
    form = {"activation": "sigmoid", "use_bias": False}
    layer = nf.Dense(shape[0], **form) if len(shape) == 1 else nf.Conv2D(shape[-1], 1, **form)
    model = nf.Sequential([layer], input_shape=shape, dtype=dtype, seed=2)
    model.compile(**{"optimizer": nf.SGD(0.1), "loss": loss} | settings)
    model.set_weights([np.eye(shape[-1]).reshape(model.get_weights()[0].shape)])
    return model


def data(rng, shape, n=6, void=0.3):
    """Logits, and answers of which some are VOID."""
    z = 3 * rng.standard_normal((n, *shape))
    return z, np.where(rng.random(z.shape) < void, VOID, rng.integers(0, 2, z.shape))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def entropies(z, y):
    return np.logaddexp(0, z) - z * y


def summed(values):
    return values.reshape(len(values), -1).sum(axis=1)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("ignored", [VOID, -1])
def test_value_and_gradient(shape, from_logits, ignored, dtype, rng):
    z, y = data(rng, shape)
    counted = y != VOID
    loss = nf.BinaryCrossEntropy(from_logits, ignored)
    model = answers(shape, loss, dtype.name, "linear" if from_logits else "sigmoid")
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-12}
    values, dz = summed(counted * entropies(z, y * counted)), counted * (sigmoid(z) - y)
    y = np.where(counted, y, ignored)
    np.testing.assert_allclose(model.per_sample_loss(z, y), values, **tolerance)
    gradient = model.input_gradient(z, y)
    np.testing.assert_allclose(gradient, dz, **tolerance)
    assert not gradient[~counted].any()
    assert model.evaluate(z, y, batch_size=4)["loss"] == pytest.approx(values.mean(), rel=tolerance["rtol"])


def test_answers_that_are_reshaped(rng):
    z, y = data(rng, (12,))
    layers = [nf.Activation("sigmoid"), nf.Reshape((3, 4, 1))]
    model = nf.Sequential(layers, input_shape=(12,), dtype="float64")
    model.compile("sgd", nf.BinaryCrossEntropy(ignore_label=VOID))
    expected = ((y != VOID) * entropies(z, y * (y != VOID))).sum() / len(z)
    assert model.evaluate(z, y.reshape(6, 3, 4, 1))["loss"] == pytest.approx(expected)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_metrics(shape, dtype, rng):
    z, y = data(rng, shape, n=9)
    metrics = [nf.metrics.Accuracy(), "binary_accuracy"] + (["mean_iou"] if shape[-1] == 1 else [])
    if shape[-1] > 1:
        metrics[0] = "accuracy"
    figures = answers(shape, nf.BinaryCrossEntropy(ignore_label=VOID), dtype.name, metrics=metrics).evaluate(z, y)
    counted, predicted = y != VOID, z > 0
    share = (predicted == y)[counted].mean()
    assert figures["accuracy"] == figures["binary_accuracy"] == pytest.approx(share, rel=1e-12)
    if shape[-1] == 1:
        both = [((predicted == c) & (y == c) & counted).sum() for c in (0, 1)]
        either = [(((predicted == c) | (y == c)) & counted).sum() for c in (0, 1)]
        assert figures["mean_iou"] == pytest.approx(np.divide(both, either).mean(), rel=1e-12)


def test_nothing_that_counts_is_nan(rng):
    z, y = data(rng, (4, 5, 1), void=1)
    model = trained((4, 5, 1), nf.BinaryCrossEntropy(ignore_label=VOID), metrics=["accuracy", "mean_iou"])
    before = model.get_weights()[0]
    logs = model.train_on_batch(z, y)
    assert logs["loss"] == 0
    assert np.isnan([logs["accuracy"], logs["mean_iou"]]).all()
    assert_same_bits(model.get_weights()[0], before)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_threads_do_not_matter(shape, rng):
    z, y = data(rng, shape, n=37)
    results = []
    for n_threads in (1, 2, 3):
        model = trained(shape, nf.BinaryCrossEntropy(ignore_label=VOID), "float32", n_threads=n_threads,
                        metrics=["accuracy"])
        history = model.fit(z, y, 10, epochs=2, verbose=0, class_weight={1: 2.0}).history
        results.append((history, model.get_weights()[0]))
    assert results[0][0] == results[1][0] == results[2][0]
    assert_same_bits(results[0][1], results[1][1])
    assert_same_bits(results[0][1], results[2][1])


@pytest.mark.parametrize("given", ["balanced", {0: 0.25}, {1: 3, 0: 0}])
@pytest.mark.parametrize("shape", [(5,), (6, 7, 1), (9, 31, 2)])
def test_class_weights(given, shape, rng):
    z, y = data(rng, shape)
    counted = y != VOID
    factors = np.ones(2)
    if given == "balanced":
        factors = counted.sum() / 2 / np.bincount(y[counted])
    else:
        factors[list(given)] = list(given.values())
    each = counted * factors[(y == 1).astype(int)]
    weight = rng.uniform(0, 2, 6)
    model = trained(shape, nf.BinaryCrossEntropy(ignore_label=VOID), optimizer=nf.SGD(1.0))
    before = model.get_weights()[0]
    logs = model.train_on_batch(z, y, weight, given)
    assert logs["loss"] == pytest.approx(weight @ summed(each * entropies(z, y * counted)) / weight.sum())
    dz = (each * (sigmoid(z) - y * counted)) * (weight / weight.sum()).reshape(-1, *[1] * len(shape))
    step = z.reshape(-1, shape[-1]).T @ dz.reshape(-1, shape[-1])
    np.testing.assert_allclose((before - model.get_weights()[0]).reshape(step.shape), step, rtol=1e-9, atol=1e-12)
    # They say what to learn, not how good it is.
    plain = trained(shape, nf.BinaryCrossEntropy(ignore_label=VOID))
    plain.set_weights(model.get_weights())
    assert model.evaluate(z, y) == plain.evaluate(z, y)


def test_the_class_of_a_share_is_the_larger_one(rng):
    z, y = rng.standard_normal((6, 5)), rng.random((6, 5))
    loss = trained((5,), "binary_cross_entropy").train_on_batch(z, y, class_weight={1: 3.0})["loss"]
    assert loss == pytest.approx((np.where(y > 0.5, 3, 1) * entropies(z, y)).sum() / 6)


def test_class_weights_of_one_answer_are_sample_weights(rng):
    """Those without an answer weigh the mean of the two."""
    z, y = data(rng, (1,), n=30)
    counted = y[:, 0] != VOID
    weight = np.where(counted, np.where(y[:, 0] == 1, 4.0, 1.0), 2.5)
    losses = [trained((1,), nf.BinaryCrossEntropy(ignore_label=VOID)).train_on_batch(z, y, **how)["loss"]
              for how in ({"class_weight": {1: 4.0}}, {"sample_weight": weight})]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("source", ["memory map", "data set", "generator"])
def test_sources(source, tmp_path, rng):
    z, y = data(rng, (4, 6, 1), n=23)
    z, y = z.astype(np.float32), y.astype(np.uint8)
    np.save(tmp_path / "z.npy", z)
    settings = {"epochs": 2, "verbose": 0, "shuffle": False, "class_weight": {1: 2.0}}
    histories = []
    for kind in ("array", source):
        model = trained((4, 6, 1), nf.BinaryCrossEntropy(ignore_label=VOID), "float32", metrics=["accuracy"])
        if kind == "generator":
            def batches():
                return ((z[i : i + 5], y[i : i + 5]) for i in range(0, 23, 5))
            histories.append(model.fit(batches, **settings).history)
            continue
        x = {"array": z, "memory map": np.load(tmp_path / "z.npy", mmap_mode="r"), "data set": Samples(z, y)}[kind]
        histories.append(model.fit(x, None if kind == "data set" else y, 5, **settings).history)
    assert histories[0]["loss"] == histories[1]["loss"]
    assert histories[0]["accuracy"] == histories[1]["accuracy"]


def test_masks_move_with_their_image(rng):
    """The mask says where the image is above 0, so a network that knows makes no mistake, wherever both are moved; what
    comes in from outside is not asked for."""
    y = rng.integers(0, 2, (40, 5, 6, 1)).astype(np.uint8)
    images = np.where(y == 1, 9.0, -9.0)
    y[rng.random(y.shape) < 0.2] = VOID
    settings = {"batch_size": 10, "epochs": 2, "verbose": 0, "augment": [Flip(), Shift(2)]}
    shares = []
    for loss in (nf.BinaryCrossEntropy(ignore_label=VOID), nf.BinaryCrossEntropy()):
        model = answers((5, 6, 1), loss, "float32", optimizer=nf.SGD(1e-12), metrics=["accuracy"])
        known = y if loss.ignore_label else np.where(images > 0, 1, 0)
        history = model.fit(images, known, **settings).history
        shares.append(history["accuracy"])
        assert history["accuracy"] == [1.0, 1.0]
        assert loss.ignore_label is None or max(history["loss"]) < 0.01
    # Zeros come in for both, of which a sigmoid makes 1/2: no for the metric, but log 2 for the loss that asks.
    assert history["loss"][0] > 1


def test_mixed_answers_are_missing_if_either_is(rng):
    z, y = data(rng, (4,), n=16)
    y[8:] = VOID
    model = answers((4,), nf.BinaryCrossEntropy(ignore_label=VOID), metrics=["binary_accuracy"])
    history = model.fit(z, y, 16, epochs=3, verbose=0, augment=[Noise(0.1), Mixup(0.8)]).history
    assert np.isfinite(history["loss"]).all()
    plain = model.evaluate(z, y)["loss"]
    assert 0 < min(history["loss"]) and max(history["loss"]) < plain


def test_logits_of_any_size():
    z = np.array([[1e4, -1e4, 1e4, -1e4]], np.float32)
    model = answers((4,), nf.BinaryCrossEntropy(ignore_label=VOID), "float32")
    assert model.per_sample_loss(z, [[1, 0, VOID, VOID]]) == [0]
    assert model.per_sample_loss(z, [[0, 0, VOID, 1]]) == [2e4]
    assert_same_bits(np.abs(model.input_gradient(z, [[0, 1, VOID, VOID]])), np.array([[1, 1, 0, 0]], np.float32))


def test_files_keep_what_is_ignored(tmp_path):
    model = answers((4,), nf.BinaryCrossEntropy(ignore_label=-1))
    model.save(tmp_path / "model.safetensors")
    assert nf.load(tmp_path / "model.safetensors").evaluate([[0, 0, 0, 0]], [[1, 0, -1, -1]])["loss"] == (
        pytest.approx(2 * np.log(2)))


@pytest.mark.parametrize("ignored", [0, 1, 0.5, 2**25])
def test_what_cannot_be_ignored(ignored):
    with pytest.raises((TypeError, ValueError), match="BinaryCrossEntropy: ignore_label"):
        nf.BinaryCrossEntropy(ignore_label=ignored)


@pytest.mark.parametrize(("ignored", "message"), [
    (None, r"targets in \[0, 1\], got 255.0 at row 1, column 2; .* nf.BinaryCrossEntropy's ignore_label"),
    (-1, r"targets in \[0, 1\], got 255.0 at row 1, column 2; only -1 is ignored"),
])
def test_answers_that_are_neither(ignored, message):
    model = answers((3,), nf.BinaryCrossEntropy(ignore_label=ignored))
    with pytest.raises(ValueError, match=message):
        model.fit(np.zeros((2, 3)), [[0, 1, 1], [1, 0, VOID]], verbose=0)


def test_metrics_that_count_everything_are_refused():
    with pytest.raises(ValueError, match=r"mse counts what the loss ignores \(ignore_label=255\); .*binary_accuracy"):
        answers((3,), nf.BinaryCrossEntropy(ignore_label=VOID), metrics=["mse"])


def test_class_weights_need_classes(rng):
    with pytest.raises(ValueError, match=r"needs class labels .* or yes/no answers .* loss is squared_error"):
        answers((3,), "squared_error").fit(rng.random((4, 3)), rng.random((4, 3)), class_weight="balanced", verbose=0)
