"""A class for each pixel or step: cross-entropy, metrics, class weights and augmentation of outputs (H, W, classes)."""
import json
from pathlib import Path

import numpy as np
import pytest
from check import assert_same_bits
from reference import softmax
from stand_ins import Samples

import nnfast as nf
from nnfast.augment import Cutout, Flip, Mixup, Noise, Shift
from nnfast.metrics import MeanIoU

ORACLE = np.load(Path(__file__).parent / "oracles" / "losses.npz")
SHAPES = {"signal": (7, 3), "image": (4, 6, 5), "long": (9, 31, 2), "many classes": (3, 5, 70)}
VOID = 255


def one_hot(labels, classes):
    """Rows of zeros for labels that are no class."""
    return (labels[..., None] == np.arange(classes)).astype(float)


def pixels(shape, loss="cross_entropy", dtype="float64", activation="softmax", **settings):
    """A network whose logits are its inputs."""
    make = nf.Conv1D if len(shape) == 2 else nf.Conv2D
    layer = make(shape[-1], 1, activation=activation, use_bias=False, name="classes")
    model = nf.Sequential([layer], input_shape=shape, dtype=dtype, seed=2)
    model.compile(**{"optimizer": nf.SGD(0.1), "loss": loss} | settings)
    model.set_weights([np.eye(shape[-1]).reshape(model.get_weights()[0].shape)])
    return model


def data(rng, shape, n=6, void=0.2):
    """Logits, and labels some of which are VOID."""
    z = 3 * rng.standard_normal((n, *shape))
    labels = rng.integers(0, shape[-1], z.shape[:-1])
    return z, np.where(rng.random(labels.shape) < void, VOID, labels)


def step_of(z, dz, share):
    """The gradient of the kernel where sample n counts share[n]."""
    share = share.reshape(-1, *[1] * (dz.ndim - 1))
    return z.reshape(-1, z.shape[-1]).T @ (dz * share).reshape(-1, dz.shape[-1])


def summed(values):
    return values.reshape(len(values), -1).sum(axis=1)


# --- the loss --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("kind", ["labels", "ignored", "one-hot", "shares"])
def test_value_and_gradient(shape, from_logits, kind, dtype, rng):
    z, labels = data(rng, shape, void=0.3 if kind == "ignored" else 0)
    t = one_hot(labels, shape[-1])
    if kind == "shares":
        t = rng.dirichlet(np.ones(shape[-1]), labels.shape)
    loss = nf.CrossEntropy(from_logits, VOID if kind == "ignored" else None)
    model = pixels(shape, loss, dtype.name, None if from_logits else "softmax")
    y = labels if kind in ("labels", "ignored") else t
    counted = t.sum(axis=-1, keepdims=True)
    values = summed(-(t * np.log(softmax(z))).sum(axis=-1))
    dz = softmax(z) * counted - t
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(model.per_sample_loss(z, y), values, **tolerance)
    np.testing.assert_allclose(model.input_gradient(z, y), dz, **tolerance)
    weight = rng.uniform(0, 2, len(z))
    value, grads = model.gradients(z, y, sample_weight=weight)
    assert value == pytest.approx(weight @ values / weight.sum(), rel=tolerance["rtol"])
    expected = step_of(z, dz, weight / weight.sum())
    np.testing.assert_allclose(grads["classes/kernel"].reshape(expected.shape), expected, rtol=0,
                               atol=10 * tolerance["atol"])
    assert model.evaluate(z, y, batch_size=4)["loss"] == pytest.approx(values.mean(), rel=tolerance["rtol"])


@pytest.mark.parametrize("name", ["pixels", "pixels_ignored", "pixels_weighted"])
def test_equals_pytorch(name):
    z, t, values, dz = (ORACLE[f"{name}/{key}"] for key in ("z", "t", "values", "dz"))
    config = json.loads(str(ORACLE["pixel_specs"]))[name]
    model = pixels(z.shape[1:], nf.losses.get(config["loss"]), optimizer=nf.SGD(1.0))
    if "class_weight" not in config:
        np.testing.assert_allclose(model.per_sample_loss(z, t), values, rtol=1e-13)
        np.testing.assert_allclose(model.input_gradient(z, t), dz, rtol=1e-12, atol=1e-14)
        return
    before = model.get_weights()[0]
    weights = {label: weight for label, weight in enumerate(config["class_weight"]) if weight != 1}
    assert model.train_on_batch(z, t, class_weight=weights)["loss"] == pytest.approx(values.mean(), rel=1e-13)
    step = step_of(z, dz, np.full(len(z), 1 / len(z)))
    np.testing.assert_allclose((before - model.get_weights()[0])[0, 0], step, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("from_logits", [False, True])
def test_logits_of_any_size(from_logits):
    z = np.array([[[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]]])
    model = pixels((2, 3), nf.CrossEntropy(from_logits), "float32", None if from_logits else "softmax")
    np.testing.assert_allclose(model.per_sample_loss(z, [[1, 0]]), [2e4 + np.log(3)], rtol=1e-6)
    np.testing.assert_allclose(model.input_gradient(z, [[1, 0]]), [[[1, -1, 0], [-2 / 3, 1 / 3, 1 / 3]]], atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("batch", [1, 5])
def test_threads_do_not_matter(shape, batch, rng):
    z, labels = data(rng, shape, n=11)
    results = []
    for n_threads in (1, 2, 3):
        model = pixels(shape, nf.CrossEntropy(ignore_label=VOID), "float32", metrics=["accuracy", "mean_iou"],
                       n_threads=n_threads)
        history = model.fit(z, labels, batch, epochs=2, verbose=0, class_weight="balanced").history
        results.append((history, [w.tobytes() for w in model.get_weights()], model.evaluate(z, labels)))
    assert results[0] == results[1] == results[2]


def test_types_of_labels_do_not_matter(rng):
    z, labels = data(rng, (5, 4, 3), void=0.1)
    results = set()
    for dtype in (np.uint8, np.int16, np.int32, np.int64, np.uint32, np.float32):
        for given in (labels.astype(dtype), np.asfortranarray(labels.astype(dtype)), labels.astype(dtype)[..., None],
                      labels.astype(dtype).tolist()):
            model = pixels((5, 4, 3), nf.CrossEntropy(ignore_label=VOID), "float32")
            model.fit(z, given, 2, epochs=2, verbose=0, validation_split=0.34)
            results.add(model.get_weights()[0].tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("value", [-100, -1, 0, 2, 255, 2**31 - 1, -2**31])
def test_any_label_may_be_ignored(value, rng):
    z, labels = data(rng, (5, 3), void=0)
    gone = rng.random(labels.shape) < 0.3
    given = np.where(gone, value, labels)
    gone |= labels == value
    values = -np.log(np.take_along_axis(softmax(z), labels[..., None], -1))[..., 0]
    model = pixels((5, 3), nf.CrossEntropy(ignore_label=value))
    np.testing.assert_allclose(model.per_sample_loss(z, given), np.where(gone, 0, values).sum(axis=1), rtol=1e-12)


def test_samples_without_a_label(rng):
    """Of a vector of classes: as if they were not there, but for the mean, also in batches that have nothing else."""
    z, labels = rng.standard_normal((300, 4)), rng.integers(0, 4, 300)
    labels[rng.random(300) < 0.5] = VOID
    labels[:32] = VOID
    counted = labels != VOID
    weight = rng.uniform(0.5, 2, 300)
    layers = [nf.Dense(4, activation="softmax")]
    model = nf.Sequential(layers, input_shape=(4,), dtype="float64", seed=1)
    model.compile("adam", nf.CrossEntropy(ignore_label=VOID), metrics=["accuracy", nf.TopKAccuracy(2)])
    losses = model.per_sample_loss(z, labels)
    plain = nf.Sequential([nf.Dense(4, activation="softmax")], input_shape=(4,), dtype="float64", seed=1)
    plain.compile("adam", "cross_entropy", metrics=["accuracy", nf.TopKAccuracy(2)])
    assert not losses[~counted].any()
    np.testing.assert_allclose(losses[counted], plain.per_sample_loss(z[counted], labels[counted]), rtol=1e-13)
    figures, expected = model.evaluate(z, labels), plain.evaluate(z[counted], labels[counted])
    assert figures["accuracy"] == expected["accuracy"] and figures["top_k_accuracy"] == expected["top_k_accuracy"]
    assert figures["loss"] == pytest.approx(expected["loss"] * counted.mean())
    # The gradients, too: a sample of weight zero is one without a label, but counts in the mean.
    zeros = np.where(counted, weight, 0)
    value, grads = model.gradients(z, labels, weight)
    other, expected = plain.gradients(z, np.where(counted, labels, 0), zeros)
    assert value == pytest.approx(other * zeros.sum() / weight.sum())
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, expected[name] * zeros.sum() / weight.sum(), rtol=1e-11, atol=1e-14)
    history = model.fit(z, labels, 16, epochs=3, verbose=0, class_weight="balanced", shuffle=False).history
    assert history["loss"][2] < history["loss"][0]
    assert model.train_on_batch(z[:8].astype(np.float64), labels[:8])["loss"] == 0
    with pytest.raises(nf.TrainingError):
        model.train_on_batch(np.full((2, 4), 1e308), [VOID, 1])


def test_gradients_by_finite_differences(rng):
    layers = [nf.Conv2D(4, 3, padding="same", activation="tanh"), nf.Conv2D(3, 1, activation="softmax")]
    model = nf.Sequential(layers, input_shape=(5, 4, 2), dtype="float64", seed=3)
    model.compile("sgd", nf.CrossEntropy(ignore_label=7))
    x, y = rng.standard_normal((3, 5, 4, 2)), rng.integers(0, 4, (3, 5, 4))
    y[y == 3] = 7
    assert max(model.check_gradients(x, y).values()) < 1e-6


def test_an_output_of_pixels_and_one_of_the_image(rng):
    """Two outputs, and what each would learn by itself."""
    image = nf.Input((6, 6, 2))
    x = nf.Conv2D(5, 3, padding="same", activation="relu")(image)
    mask = nf.Conv2D(3, 1, activation="softmax", name="mask")(x)
    kind = nf.Dense(4, activation="softmax", name="kind")(nf.GlobalAvgPool()(x))
    model = nf.Model(image, [mask, kind], dtype="float64", seed=1)
    model.compile("sgd", {"mask": nf.CrossEntropy(ignore_label=VOID), "kind": "cross_entropy"},
                  metrics={"mask": ["mean_iou"], "kind": ["accuracy"]}, loss_weights={"mask": 0.25, "kind": 1.0})
    images, masks, kinds = rng.standard_normal((9, 6, 6, 2)), rng.integers(0, 3, (9, 6, 6)), rng.integers(0, 4, 9)
    masks[:, 0] = VOID
    targets = {"mask": masks, "kind": kinds}
    p, q = model.predict(images)
    p_true = np.take_along_axis(p, np.where(masks == VOID, 0, masks)[..., None], -1)[..., 0]
    mask_loss = -np.where(masks == VOID, 0, np.log(p_true)).sum(axis=(1, 2))
    kind_loss = -np.log(q[np.arange(9), kinds])
    figures = model.evaluate(images, targets)
    assert figures["mask_loss"] == pytest.approx(mask_loss.mean(), rel=1e-12)
    assert figures["loss"] == pytest.approx((0.25 * mask_loss + kind_loss).mean(), rel=1e-12)
    assert figures["mask_mean_iou"] == pytest.approx(iou(p.argmax(axis=-1), masks, 3))
    before = model.evaluate(images, targets)["loss"]
    model.fit(images, targets, epochs=20, verbose=0)
    assert model.evaluate(images, targets)["loss"] < before


def test_functional(dtype, rng):
    z, labels = data(rng, (4, 3, 5))
    weight, n = rng.uniform(0, 2, 6), 6
    t = one_hot(labels, 5)
    counted = labels != VOID
    values = summed(-(t * np.log(softmax(z))).sum(axis=-1))
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for n_threads in (1, 2, 3):
        loss, dz = nf.functional.softmax_cross_entropy(z.astype(dtype), labels, ignore_label=VOID, sample_weight=weight,
                                                       n_threads=n_threads)
        assert loss == pytest.approx(weight @ values / weight.sum(), rel=tolerance)
        expected = (softmax(z) * counted[..., None] - t) * (weight / weight.sum())[:, None, None, None]
        np.testing.assert_allclose(dz, expected, rtol=0, atol=tolerance)
    shares = rng.dirichlet(np.ones(5), (n, 4, 3)).astype(dtype)
    loss, dz = nf.functional.softmax_cross_entropy(z.astype(dtype), shares)
    assert loss == pytest.approx(-(shares * np.log(softmax(z))).sum() / n, rel=tolerance)
    np.testing.assert_allclose(dz, (softmax(z) - shares) / n, rtol=0, atol=tolerance)
    with pytest.raises(ValueError, match=r"labels y have shape \(6, 4\), expected \(6, 4, 3\) for logits of shape"):
        nf.functional.softmax_cross_entropy(z.astype(dtype), labels[..., 0])
    infinite = z.astype(dtype)
    infinite[labels == VOID] = -np.inf      # what does not count may be anything that has a softmax
    infinite[labels == VOID, 1] = 0
    assert np.isfinite(nf.functional.softmax_cross_entropy(infinite, labels, ignore_label=VOID)[0])
    with pytest.raises(ValueError, match="ignore_label=255 needs labels y"):
        nf.functional.softmax_cross_entropy(z.astype(dtype), shares, ignore_label=VOID)
    with pytest.raises(ValueError, match="from 0 to 4, got 255"):
        nf.functional.softmax_cross_entropy(z.astype(dtype), labels)


# --- metrics ---------------------------------------------------------------------------------------------------------

def iou(predicted, labels, classes):
    scores = []
    for c in range(classes):
        a, b = (predicted == c) & (labels != VOID), labels == c
        if (a | b).any():
            scores.append((a & b).sum() / (a | b).sum())
    return np.mean(scores)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", ["labels", "rows"])
def test_metrics(shape, kind, dtype, rng):
    z, labels = data(rng, shape, n=20)
    model = pixels(shape, nf.CrossEntropy(ignore_label=VOID), dtype.name,
                   metrics=["accuracy", nf.TopKAccuracy(2), "mean_iou"])
    figures = model.evaluate(z, labels if kind == "labels" else one_hot(labels, shape[-1]), batch_size=7)
    z, counted = z.astype(dtype), labels != VOID
    assert figures["accuracy"] == pytest.approx((z.argmax(axis=-1) == labels)[counted].mean())
    rank = (z > np.take_along_axis(z, np.where(counted, labels, 0)[..., None], -1)).sum(axis=-1)
    assert figures["top_k_accuracy"] == pytest.approx((rank < 2)[counted].mean())
    assert figures["mean_iou"] == pytest.approx(iou(z.argmax(axis=-1), labels, shape[-1]))


def test_metrics_of_numbers(rng):
    """Labels of pixels are compared as one-hot vectors."""
    z, labels = data(rng, (4, 5, 3), n=50, void=0)
    model = pixels((4, 5, 3), metrics=["mse", "mae", "binary_accuracy", "r2"])
    p, t = softmax(z), one_hot(labels, 3)
    figures = model.evaluate(z, labels)
    assert figures["mse"] == pytest.approx(((p - t) ** 2).mean())
    assert figures["mae"] == pytest.approx(abs(p - t).mean())
    assert figures["binary_accuracy"] == pytest.approx(((p > 0.5) == (t > 0.5)).mean())
    spread = ((t - t.mean(axis=0)) ** 2).sum(axis=0)
    assert figures["r2"] == pytest.approx((1 - ((p - t) ** 2).sum(axis=0) / spread).mean())
    assert figures == pytest.approx(model.evaluate(z, t))


@pytest.mark.parametrize("from_logits", [False, True])
def test_mean_iou_of_yes_and_no(from_logits, rng):
    z, mask = rng.standard_normal((8, 5, 4, 1)), rng.random((8, 5, 4, 1)) < 0.3
    model = pixels((5, 4, 1), nf.BinaryCrossEntropy(from_logits), activation=None if from_logits else "sigmoid",
                   metrics=["mean_iou", "accuracy", MeanIoU(2.0 if from_logits else 0.88, name="sure")])
    figures = model.evaluate(z, mask)
    assert figures["mean_iou"] == pytest.approx(iou((z > 0).astype(int), mask.astype(int), 2))
    assert figures["accuracy"] == pytest.approx(((z > 0) == mask).mean())
    sure = z > (2.0 if from_logits else np.log(0.88 / 0.12))
    assert figures["sure"] == pytest.approx(iou(sure.astype(int), mask.astype(int), 2))


def test_accuracy_of_pixels_under_another_loss(rng):
    z, labels = data(rng, (4, 5, 3), void=0)
    model = pixels((4, 5, 3), "squared_error", metrics=["accuracy", "mean_iou"])
    figures = model.evaluate(z, one_hot(labels, 3))
    assert figures["accuracy"] == pytest.approx((z.argmax(axis=-1) == labels).mean())
    assert figures["mean_iou"] == pytest.approx(iou(z.argmax(axis=-1), labels, 3))


def test_nothing_that_counts_is_nan(rng):
    z = rng.standard_normal((3, 4, 5, 2))
    model = pixels((4, 5, 2), nf.CrossEntropy(ignore_label=9), metrics=["accuracy", "mean_iou"])
    figures = model.evaluate(z, np.full((3, 4, 5), 9))
    assert figures["loss"] == 0 and np.isnan([figures["accuracy"], figures["mean_iou"]]).all()
    before = model.get_weights()[0]
    assert model.train_on_batch(z, np.full((3, 4, 5), 9))["loss"] == 0
    assert_same_bits(model.get_weights()[0], before)


# --- class weights ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("given", ["balanced", {0: 0.25, 2: 0}, {1: 3}])
@pytest.mark.parametrize("kind", ["labels", "rows"])
def test_class_weights(given, kind, rng):
    z, labels = data(rng, (5, 6, 3))
    counted = labels != VOID
    factors = np.ones(3)
    if given == "balanced":
        factors = counted.sum() / 3 / np.bincount(labels[counted])
    else:
        factors[list(given)] = list(given.values())
    weight = rng.uniform(0, 2, 6)
    model = pixels((5, 6, 3), nf.CrossEntropy(ignore_label=VOID), optimizer=nf.SGD(1.0))
    before = model.get_weights()[0]
    y = labels if kind == "labels" else one_hot(labels, 3)
    logs = model.train_on_batch(z, y, weight, given)
    each = one_hot(labels, 3) @ factors
    values = summed(-each * np.log((softmax(z) * one_hot(labels, 3)).sum(axis=-1) + ~counted))
    assert logs["loss"] == pytest.approx(weight @ values / weight.sum())
    dz = (softmax(z) - one_hot(labels, 3)) * each[..., None]
    step = step_of(z, dz, weight / weight.sum())
    np.testing.assert_allclose((before - model.get_weights()[0])[0, 0], step, rtol=1e-9, atol=1e-12)
    # They say what to learn, not how good it is.
    plain = pixels((5, 6, 3), nf.CrossEntropy(ignore_label=VOID))
    plain.set_weights(model.get_weights())
    assert model.evaluate(z, y) == plain.evaluate(z, y)


@pytest.mark.parametrize("source", ["array", "memory map", "data set", "generator", "callback"])
def test_class_weights_of_any_source(source, tmp_path, rng):
    z, labels = data(rng, (4, 6, 3), n=23)
    z = z.astype(np.float32)
    weight = {0: 0.5, 2: 4.0}
    expected = pixels((4, 6, 3), nf.CrossEntropy(ignore_label=VOID), "float32")
    expected.fit(z, labels, 5, epochs=2, shuffle=False, verbose=0, class_weight=weight)
    model = pixels((4, 6, 3), nf.CrossEntropy(ignore_label=VOID), "float32")
    settings = {"epochs": 2, "shuffle": False, "verbose": 0, "class_weight": weight}
    if source == "array":
        model.fit(z, labels, 5, validation_data=(z, labels), **settings)
    elif source == "memory map":
        np.save(tmp_path / "z.npy", z)
        model.fit(np.load(tmp_path / "z.npy", mmap_mode="r"), labels, 5, **settings)
    elif source == "data set":
        model.fit(Samples(z, labels), batch_size=5, **settings)
    elif source == "generator":
        model.fit(lambda: ((z[i:i + 5], labels[i:i + 5]) for i in range(0, 23, 5)), **settings)
    else:
        model.fit(z, labels, 5, callbacks=nf.LambdaCallback(on_batch_end=lambda *_: None), **settings)
    assert_same_bits(model.get_weights()[0], expected.get_weights()[0])


def test_balanced_over_the_rows_that_are_trained_with(tmp_path, rng):
    z, labels = data(rng, (4, 6, 3), n=20)
    z = z.astype(np.float32)
    labels[15:] = 0
    np.save(tmp_path / "z.npy", z)
    results = []
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
    for x, y, split in ((z[:15], labels[:15], 0), (z, labels, 0.25), (mapped, labels, 0.25)):
        model = pixels((4, 6, 3), nf.CrossEntropy(ignore_label=VOID), "float32")
        model.fit(x, y, 5, shuffle=False, verbose=0, class_weight="balanced", validation_split=split)
        results.append(model.get_weights()[0].tobytes())
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("shape", [(1, 4), (1, 1, 4), (4,)])
@pytest.mark.parametrize("kind", ["labels", "rows"])
@pytest.mark.parametrize("ignore", [None, 0, VOID])
def test_outputs_of_one_pixel(shape, kind, ignore, rng):
    """A map of one pixel is weighed as a map is, a vector by its samples' weights."""
    z, labels = rng.standard_normal((8, *shape)), rng.integers(0, 4, (8, *shape[:-1]))
    if ignore == VOID:
        labels[::3] = VOID
    counted = labels != (-1 if ignore is None else ignore)
    if kind == "rows":
        counted = labels != VOID
    y = labels if kind == "labels" else one_hot(labels, 4)
    factors = np.array([10.0, 0.0, 1.0, 0.5])
    body = nf.Dense(4, activation="softmax", use_bias=False)
    model = nf.Sequential([body], input_shape=shape, dtype="float64")
    model.compile("sgd", nf.CrossEntropy(ignore_label=ignore))
    model.set_weights([np.eye(4)])
    each = np.where(counted, (one_hot(labels, 4) @ factors), 0).reshape(8)
    values = -np.log((softmax(z) * one_hot(labels, 4)).sum(axis=-1) + (labels == VOID)).reshape(8)
    total = 8 if len(shape) > 1 else (np.where(counted, each, factors.mean())).sum()
    loss = model.train_on_batch(z, y, class_weight=dict(enumerate(factors)))["loss"]
    assert loss == pytest.approx((each * values).sum() / total)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("metrics", [(), ["accuracy"]])
def test_train_on_batch_ignores_what_is_also_a_class(dtype, metrics, rng):
    """On the short way of small batches, too."""
    x, y = rng.standard_normal((6, 4)).astype(dtype), np.array([0, 1, 2, 0, 1, 2], np.int32)
    model = nf.Sequential([nf.Dense(3, activation="softmax")], input_shape=(4,), dtype=dtype, seed=0)
    model.compile("sgd", nf.CrossEntropy(ignore_label=0), metrics=metrics)
    loss = model.evaluate(x, y)["loss"]
    assert model.train_on_batch(x, y)["loss"] == pytest.approx(loss, rel=1e-6)
    before = model.get_weights()[0]
    assert model.train_on_batch(x, 0 * y)["loss"] == 0
    assert_same_bits(model.get_weights()[0], before)


def test_equal_class_weights_change_nothing_for_vectors(rng):
    x, y = rng.standard_normal((40, 4)), rng.integers(0, 3, 40)
    y[::4] = VOID
    losses = []
    for weight in (None, {0: 3.0, 1: 3.0, 2: 3.0}, {0: 1, 1: 1, 2: 1}):
        model = nf.Sequential([nf.Dense(3, activation="softmax")], input_shape=(4,), dtype="float64", seed=0)
        model.compile("sgd", nf.CrossEntropy(ignore_label=VOID))
        losses.append(model.fit(x, y, 8, epochs=3, verbose=0, class_weight=weight).history["loss"])
    assert losses[0] == pytest.approx(losses[1]) and losses[0] == pytest.approx(losses[2])


def test_class_weights_that_are_all_zero(rng):
    z, labels = data(rng, (4, 6, 3), void=0)
    with pytest.raises(ValueError, match="class_weight: all weights are zero"):
        pixels((4, 6, 3)).fit(z, labels, verbose=0, class_weight={0: 0, 1: 0, 2: 0})


# --- augmentation ----------------------------------------------------------------------------------------------------

COPY = {
    "flips": [Flip(vertical=True)],
    "shift": [Shift((1, 2))],
    "several": [Shift(1), Flip(), Shift((0, 1)), Flip(False, True)],
}


@pytest.mark.parametrize("operations", COPY.values(), ids=COPY)
@pytest.mark.parametrize("target", ["labels", "bytes", "rows", "image"])
@pytest.mark.parametrize("first", [False, True])
def test_targets_move_with_the_image(operations, target, first, dtype, rng):
    """The image tells its own classes, so that a network that copies it makes no error, wherever they have moved to."""
    n, shape, classes = 40, (5, 6), 3
    labels = rng.integers(0, classes, (n, *shape))
    images = one_hot(labels, classes) * 100
    y = {"labels": labels, "bytes": labels.astype(np.uint8), "rows": one_hot(labels, classes), "image": images}[target]
    if first:
        images = np.moveaxis(images, -1, 1)
        y = np.moveaxis(y, -1, 1) if y.ndim == 4 else y
    layer = nf.Conv2D(classes, 1, use_bias=False, activation=None if target == "image" else "softmax")
    model = nf.Sequential([layer], input_shape=images.shape[1:], dtype=dtype.name, seed=4,
                          data_format="channels_first" if first else "channels_last")
    model.compile(nf.SGD(1e-12), "squared_error" if target == "image" else "cross_entropy",
                  metrics=["accuracy"] if target != "image" else [])
    model.set_weights([np.eye(classes)[None, None]])
    history = model.fit(images, y, 7, epochs=3, verbose=0, augment=operations).history
    assert max(history["loss"]) < 1e-12
    if target != "image":
        assert history["accuracy"] == [1.0] * 3


@pytest.mark.parametrize("operations", COPY.values(), ids=COPY)
def test_the_image_does_move(operations, rng):
    """Against targets that do not, because they are vectors."""
    images = rng.standard_normal((40, 5, 6, 1))
    model = nf.Sequential([nf.Conv2D(1, 1, use_bias=False, kernel_initializer="ones"), nf.Flatten()],
                          input_shape=(5, 6, 1))
    model.compile(nf.SGD(1e-12), "squared_error")
    assert model.fit(images, images.reshape(40, -1), verbose=0, augment=operations).history["loss"][0] > 1


def test_what_comes_in_from_outside_has_no_label(rng):
    labels = np.zeros((30, 4, 4), int)
    images = np.ones((30, 4, 4, 1))
    model = nf.Sequential([nf.Conv2D(2, 1, activation="softmax", kernel_initializer="zeros")], input_shape=(4, 4, 1))
    model.compile(nf.SGD(1e-12), "cross_entropy", metrics=["accuracy"])
    history = model.fit(images, labels, 30, verbose=0, augment=Shift(3)).history
    assert history["loss"][0] < 0.75 * 16 * np.log(2)       # log 2 for each pixel that is left
    assert history["accuracy"] == [1.0]
    assert model.evaluate(images, labels)["loss"] == pytest.approx(16 * np.log(2))


def test_mixed_labels(rng):
    """Mixup of labels is that of their one-hot vectors, rows of zeros where there is none."""
    z, labels = data(rng, (4, 5, 3), n=16)
    operations = [Flip(), Noise(0.1), Mixup(0.8)]
    results = []
    for y in (labels, labels.astype(np.uint8), one_hot(labels, 3)):
        model = pixels((4, 5, 3), nf.CrossEntropy(ignore_label=VOID), metrics=["accuracy"])
        history = model.fit(z, y, 8, epochs=2, verbose=0, augment=operations, class_weight={1: 2.0}).history
        results.append((history["loss"], history["accuracy"], model.get_weights()[0]))
    assert results[0][0] == results[1][0] == pytest.approx(results[2][0], rel=1e-12)
    assert results[0][1] == results[1][1] == results[2][1]
    np.testing.assert_allclose(results[0][2], results[2][2], rtol=1e-11)


def test_augmented_streams_as_arrays(tmp_path, rng):
    z, labels = data(rng, (5, 4, 3), n=22)
    z = z.astype(np.float32)
    np.save(tmp_path / "z.npy", z)
    settings = {"batch_size": 4, "epochs": 2, "verbose": 0, "augment": [Shift(1), Flip(), Mixup(), Cutout(2)]}
    results = []
    for args in ((z, labels), (np.load(tmp_path / "z.npy", mmap_mode="r"), labels), (Samples(z, labels),)):
        model = pixels((5, 4, 3), nf.CrossEntropy(ignore_label=VOID), "float32")
        model.fit(*args, **settings)
        results.append(model.get_weights()[0].tobytes())
    assert results[0] == results[1] == results[2]


def test_moves_that_fit_no_target(rng):
    images = rng.standard_normal((4, 6, 6, 1))
    model = nf.Sequential([nf.Conv2D(2, 2, stride=2, activation="softmax", name="half")], input_shape=(6, 6, 1))
    model.compile("sgd", "cross_entropy")
    labels = rng.integers(0, 2, (4, 3, 3))
    with pytest.raises(ValueError, match="Shift moves the target of output 'half' by as many pixels as the image, but "
                                         "it has 3 x 3 pixels, the image 6 x 6"):
        model.fit(images, labels, verbose=0, augment=Shift(1))
    assert model.iterations == 0
    model.fit(images, labels, verbose=0, augment=[Flip(), Cutout(2)])
    inputs = nf.Input((6, 6, 1), name="left"), nf.Input((6, 6, 1), name="right")
    model = nf.Model(inputs, nf.Conv2D(2, 1, activation="softmax", name="mask")(nf.Add()(inputs)))
    model.compile("sgd", "cross_entropy")
    both = {"left": images, "right": images}
    labels = rng.integers(0, 2, (4, 6, 6))
    with pytest.raises(ValueError, match=r"several inputs \(left, right\), so it is not known with which of them the "
                                         "target of output 'mask'"):
        model.fit(both, labels, verbose=0, augment={"left": Flip(), "right": Shift(1)})
    model.fit(both, labels, verbose=0, augment={"left": Flip(), "right": Noise(0.1)})


def test_moves_of_targets_that_hide_their_rows(rng):
    images, labels = rng.standard_normal((4, 3, 5, 2)), rng.integers(0, 2, (4, 15))
    model = nf.Sequential([nf.Conv2D(2, 1), nf.Reshape((15, 2)), nf.Activation("softmax")], input_shape=(3, 5, 2))
    model.compile("sgd", "cross_entropy")
    for move in (Flip(), Shift(1)):
        with pytest.raises(ValueError, match=r"not those of the target of output 'activation', whose shape \(15, 2\) "
                                             r"hides rows and columns; make it \(3, 5, 2\)"):
            model.fit(images, labels, verbose=0, augment=move)
    model.fit(images, labels, verbose=0, augment=[Noise(0.1), Cutout(2)])


def test_moves_leave_metrics_of_other_losses_alone(rng):
    """Targets whose largest number is below zero are classes all the same."""
    z, labels = data(rng, (4, 6, 3), void=0)
    model = pixels((4, 6, 3), "squared_error", activation=None, optimizer=nf.SGD(1e-12),
                   metrics=["accuracy", "mean_iou"])
    target = one_hot(labels, 3) - 2
    plain = model.fit(z, target, shuffle=False, verbose=0).history
    moved = model.fit(z, target, shuffle=False, verbose=0, augment=Flip(probability=0)).history
    assert plain["accuracy"] == moved["accuracy"] and plain["mean_iou"] == moved["mean_iou"]
    assert plain["accuracy"][0] == pytest.approx((z.argmax(axis=-1) == labels).mean())


# --- what does not fit -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("y", "message"), [
    (np.zeros((4, 6), int), r"expects labels \(N, 6, 5\) or probabilities \(N, 6, 5, 3\), got shape \(4, 6\)"),
    (np.zeros((4, 5, 6), int), r"expects labels \(N, 6, 5\)"),
    (np.zeros(4, int), r"expects labels \(N, 6, 5\)"),
    (np.zeros((3, 6, 5), int), "expected one target for each of the 4 samples, got 3 targets"),
    (np.full((4, 6, 5), 3), r"class labels must be in 0..2 for an output of 3 classes, got 3 at row 0, index \(0, 0\); "
                            "a label of pixels that are not to count is nf.CrossEntropy's ignore_label"),
    (np.full((4, 6, 5), -1), "must be in 0..2 .*got -1"),
    (np.full((4, 6, 5), 0.5), r"class labels must be integers, got 0.5 at row 0, index \(0, 0\)"),
    (np.full((4, 6, 5), np.nan), "class labels must be integers, got nan"),
    (np.full((4, 6, 5, 3), 0.5), r"must sum to 1, those of row 0, index \(0, 0\) sum to 1.5"),
    (np.zeros((4, 6, 5, 3)), "sum to 0; rows of zeros do not count with nf.CrossEntropy's ignore_label"),
    (np.full((4, 6, 5), "cat"), "strings"),
])
def test_bad_targets(y, message, rng):
    model = pixels((6, 5, 3))
    before = model.get_weights()[0]
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(rng.standard_normal((4, 6, 5, 3)), y, verbose=0)
    assert model.iterations == 0
    assert_same_bits(model.get_weights()[0], before)


def test_labels_beside_those_that_are_ignored(rng):
    x, y = rng.standard_normal((4, 6, 5, 3)), np.full((4, 6, 5), VOID)
    y[2, 3, 4] = 5
    with pytest.raises(ValueError, match=r"got 5 at row 2, index \(3, 4\); only 255 is ignored$"):
        pixels((6, 5, 3), nf.CrossEntropy(ignore_label=VOID)).fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="got 5 at row 12"):
        pixels((6, 5, 3), nf.CrossEntropy(ignore_label=VOID)).fit(
            Samples(np.concatenate([x] * 4), np.concatenate([0 * y] * 2 + [y, y])[[*range(10), 8, 9, 10, 11, 12, 13]]),
            batch_size=4, shuffle=False, verbose=0)


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: nf.CrossEntropy(ignore_label=0.5), TypeError, "CrossEntropy: ignore_label must be an integer"),
    (lambda: nf.CrossEntropy(ignore_label=2**31), ValueError, "CrossEntropy: ignore_label"),
    (lambda: nf.CrossEntropy(ignore_label=True), TypeError, "CrossEntropy: ignore_label"),
    (lambda: MeanIoU("half"), TypeError, "MeanIoU: threshold"),
    (lambda: pixels((4, 4, 3), nf.CrossEntropy(ignore_label=9), metrics=["mse"]), ValueError,
     r"classes: mse counts what the loss ignores \(ignore_label=9\); use accuracy, top_k_accuracy, mean_iou"),
    (lambda: pixels((4, 4, 3), "binary_cross_entropy", activation="sigmoid", metrics=["mean_iou"]), ValueError,
     "classes: mean_iou compares one class for each pixel, but the output has 3 yes/no answers"),
    (lambda: pixels((4, 4, 3), metrics=[nf.TopKAccuracy(4)]), ValueError, "k=4, but the output has only 3 values"),
    (lambda: pixels((4, 4, 1)), ValueError, "cross_entropy over one output is always 0"),
])
def test_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_solvers_take_no_class_weights_of_pixels(rng):
    pytest.importorskip("scipy")
    z, labels = data(rng, (4, 6, 3), void=0)
    model = pixels((4, 6, 3))
    with pytest.raises(ValueError, match="without class weights of pixels"):
        model.fit(z, labels, solver="lbfgs", class_weight="balanced", verbose=0)
    before = model.evaluate(z, labels)["loss"]
    for y in (labels, labels.astype(np.uint8)):
        model = pixels((4, 6, 3))
        assert model.fit(z, y, solver="lbfgs", verbose=0).converged
        assert model.evaluate(z, labels)["loss"] < before


# --- the whole way ---------------------------------------------------------------------------------------------------

def scenes(rng, n, size=16):
    """Noise, squares and discs of the same brightness; labels 0, 1, 2, and VOID around them."""
    i, j = np.mgrid[:size, :size]
    x, y = 0.3 * rng.standard_normal((n, size, size, 1)), np.zeros((n, size, size), np.uint8)
    for image, labels in zip(x, y):
        for kind in (1, 2):
            r, (a, b) = rng.integers(2, 5), rng.integers(2, size - 2, 2)
            distance = np.maximum(abs(i - a), abs(j - b)) if kind == 1 else np.hypot(i - a, j - b)
            labels[distance <= r + 1] = VOID
            labels[distance <= r] = kind
            image[distance <= r] += 2
    return x, y


def test_a_unet_learns_shapes(tmp_path, rng):
    x, y = scenes(rng, 240)
    model = nf.models.unet((16, 16, 1), classes=3, depth=2, width=0.125, seed=1)
    model.compile(nf.Adam(2e-3), nf.CrossEntropy(ignore_label=VOID), metrics=["accuracy", "mean_iou"])
    history = model.fit(x[:200], y[:200], 16, epochs=20, verbose=0, validation_data=(x[200:], y[200:]),
                        augment=[Flip(vertical=True), Shift(2)], class_weight="balanced").history
    assert history["val_mean_iou"][-1] > 0.7 > history["val_mean_iou"][0]
    assert model.predict(x[:2]).shape == (2, 16, 16, 3)
    model.save(tmp_path / "unet.safetensors")
    again = nf.load(tmp_path / "unet.safetensors")
    assert again.evaluate(x[200:], y[200:]) == model.evaluate(x[200:], y[200:])
    for each in (model, again):
        each.fit(x[:32], y[:32], verbose=0)
    assert_same_bits(model.get_weights()[0], again.get_weights()[0])


def test_going_on_with_labels_of_another_type(tmp_path, rng):
    z, labels = data(rng, (4, 6, 3), n=12)
    folder = str(tmp_path / "run")
    model = pixels((4, 6, 3), nf.CrossEntropy(ignore_label=VOID))
    model.fit(z, labels.astype(np.uint8), 4, verbose=0, callbacks=nf.callbacks.Checkpoint(folder))
    again = pixels((4, 6, 3), nf.CrossEntropy(ignore_label=VOID))
    again.fit(z, labels, 4, epochs=2, verbose=0, resume=folder)
    assert again.iterations == 6


def test_the_command_line(tmp_path, rng, capsys):
    from nnfast.__main__ import main

    z, labels = data(rng, (3, 4, 6), n=9, void=0)
    model = nf.Sequential([nf.Conv2D(3, 1, activation="softmax")], input_shape=(3, 4, 6), data_format="channels_first")
    model.compile("sgd", "cross_entropy")
    model.save(tmp_path / "map.safetensors")
    assert main(["bench", str(tmp_path / "map.safetensors"), "--batch-size", "4"]) == 0
    x, y = rng.standard_normal((400, 2)), rng.integers(0, 200, 400).astype(np.uint8)
    y[::5] = VOID
    vector = nf.Sequential([nf.Dense(200, activation="softmax")], input_shape=(2,))
    vector.compile("sgd", nf.CrossEntropy(ignore_label=VOID), metrics=["accuracy"])
    vector.class_names = [f"c{i}" for i in range(200)]
    vector.save(tmp_path / "vector.safetensors")
    np.savez(tmp_path / "xy.npz", x=x, y=y)
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "vector.safetensors"), str(tmp_path / "xy.npz"), "--json"]) == 0
    table = np.array(json.loads(capsys.readouterr().out)["confusion"])
    expected = np.zeros((200, 200), int)
    np.add.at(expected, (y[y != VOID], vector.predict(x[y != VOID]).argmax(axis=1)), 1)
    np.testing.assert_array_equal(table, expected)


def test_estimators_number_their_labels_anew(rng):
    pytest.importorskip("sklearn")
    from nnfast.sklearn import NNClassifier

    x, y = rng.standard_normal((20, 3)), np.arange(20) % 3
    with pytest.raises(ValueError, match="NNClassifier: .*ignores a label, but an estimator numbers its labels anew"):
        NNClassifier(loss=nf.CrossEntropy(ignore_label=0)).fit(x, y)


def test_going_on_from_a_checkpoint_needs_the_same_class_weights(tmp_path, rng):
    z, labels = data(rng, (4, 6, 3), n=12)

    def fit(epochs, resume, **settings):
        model = pixels((4, 6, 3), nf.CrossEntropy(ignore_label=VOID), "float32")
        model.fit(z, labels, 4, epochs=epochs, verbose=0, resume=resume, **settings)
        return model.get_weights()[0].tobytes()

    folder = str(tmp_path / "run")
    expected = fit(4, None, class_weight={1: 2.0})
    fit(2, None, class_weight={1: 2.0}, callbacks=nf.callbacks.Checkpoint(folder))
    assert fit(4, folder, class_weight={1: 2.0}) == expected
    with pytest.raises(ValueError, match="class_weight"):
        fit(6, folder, class_weight={1: 3.0})
