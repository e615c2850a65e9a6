"""A weight for each pixel or step: `sample_weight` of the output's shape without its last axis."""
import numpy as np
import pytest
from check import assert_same_bits
from reference import softmax
from stand_ins import Samples

import nnfast as nf
from nnfast.augment import Flip, Mixup, Shift

VOID = 255


def values_of(kind, y, z):
    """The loss of each pixel, of targets and of what comes before the output's activation."""
    if kind == "cross_entropy":
        return -np.log(np.take_along_axis(softmax(z), y[..., None], axis=-1))[..., 0]
    if kind == "binary_cross_entropy":
        return (np.logaddexp(0, z) - y * z).sum(axis=-1)
    e = (softmax(z) if kind == "softmax" else z) - y
    if kind == "absolute_error":
        return abs(e).sum(axis=-1)
    if kind == "huber":
        return np.where(abs(e) < 1, e * e / 2, abs(e) - 0.5).sum(axis=-1)
    return (e * e).sum(axis=-1)


ACTIVATIONS = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "softmax": "softmax"}
LOSSES = ["cross_entropy", "binary_cross_entropy", "squared_error", "softmax", "absolute_error", "huber"]
SHAPES = {"signal": (7, 3), "image": (4, 6, 5), "long": (9, 31, 2), "one step": (1, 3), "one pixel": (1, 1, 3)}


def network(shape, kind, dtype="float64", loss=None, **settings):
    """A network whose logits are its inputs."""
    make = nf.Conv1D if len(shape) == 2 else nf.Conv2D
    layer = make(shape[-1], 1, activation=ACTIVATIONS.get(kind), use_bias=False, name="head")
    model = nf.Sequential([layer], input_shape=shape, dtype=dtype, seed=2)
    model.compile(nf.SGD(0.1), loss or ("squared_error" if kind == "softmax" else kind), **settings)
    model.set_weights([np.eye(shape[-1]).reshape(model.get_weights()[0].shape)])
    return model


def data(rng, shape, kind="cross_entropy", n=6):
    """Logits, targets, and weights, of which a third are zero."""
    z = rng.standard_normal((n, *shape))
    y = rng.integers(0, shape[-1], z.shape[:-1]) if kind == "cross_entropy" else rng.random(z.shape)
    return z, y, rng.uniform(0, 2, z.shape[:-1]) * (rng.random(z.shape[:-1]) < 0.7)


def mean(w, values):
    return (w * values).sum() / len(w)


# --- the loss --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", LOSSES)
def test_value_and_gradient(shape, kind, dtype, rng):
    z, y, w = data(rng, shape, kind)
    model = network(shape, kind, dtype.name)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    expected = mean(w, values_of(kind, y, z))
    value, grads = model.gradients(z, y, w)
    assert value == pytest.approx(expected, rel=tolerance)
    assert model.evaluate(z, y, 4, w)["loss"] == pytest.approx(expected, rel=tolerance)
    assert max(model.check_gradients(z, y, w).values()) < 1e-6          # huber and absolute error have kinks
    before = model.get_weights()[0]
    assert model.train_on_batch(z, y, w)["loss"] == pytest.approx(expected, rel=tolerance)
    np.testing.assert_allclose(before - model.get_weights()[0], 0.1 * grads["head/kernel"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
def test_weights_of_one_change_nothing(kind, rng):
    z, y, _ = data(rng, (4, 6, 5), kind)
    model = network((4, 6, 5), kind)
    value, grads = model.gradients(z, y, np.ones((6, 4, 6)))
    plain, expected = model.gradients(z, y)
    assert value == pytest.approx(plain, rel=1e-14)
    np.testing.assert_allclose(grads["head/kernel"], expected["head/kernel"], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["cross_entropy", "binary_cross_entropy"])
def test_a_weight_of_zero_is_an_ignored_target(kind, rng):
    z, y, _ = data(rng, (5, 6, 2), kind)
    y = y if kind == "cross_entropy" else (y > 0.5).astype(float)
    w = rng.integers(0, 2, (6, 5, 6))
    ignoring = (nf.CrossEntropy if kind == "cross_entropy" else nf.BinaryCrossEntropy)(ignore_label=VOID)
    missing = np.where(w if kind == "cross_entropy" else w[..., None], y, VOID)
    value, grads = network((5, 6, 2), kind).gradients(z, y, w)
    other, expected = network((5, 6, 2), kind, loss=ignoring).gradients(z, missing)
    assert value == pytest.approx(other, rel=1e-13)
    np.testing.assert_allclose(grads["head/kernel"], expected["head/kernel"], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("kind", ["cross_entropy", "binary_cross_entropy"])
def test_beside_class_weights_and_what_is_ignored(kind, ignored, rng):
    z, y, w = data(rng, (5, 6, 2), kind)
    y = y if kind == "cross_entropy" else (y > 0.5).astype(float)
    factors, counted = {0: 0.5, 1: 3.0}, rng.random(y.shape) < (0.7 if ignored else 1)
    make = nf.CrossEntropy if kind == "cross_entropy" else nf.BinaryCrossEntropy
    loss = make(ignore_label=VOID if ignored else None)
    share = np.where(y == 1, factors[1], factors[0]) * counted
    if kind == "cross_entropy":
        values = share * values_of(kind, y, z)
    else:
        values = (share * (np.logaddexp(0, z) - y * z)).sum(axis=-1)
    model = network((5, 6, 2), kind, loss=loss)
    logs = model.train_on_batch(z, np.where(counted, y, VOID), w, class_weight=factors)
    assert logs["loss"] == pytest.approx(mean(w, values), rel=1e-12)


def test_probabilities(rng):
    z, _, w = data(rng, (5, 6, 3))
    t = rng.dirichlet(np.ones(3), w.shape)
    model = network((5, 6, 3), "cross_entropy")
    assert model.evaluate(z, t, sample_weight=w)["loss"] == pytest.approx(
        mean(w, -(t * np.log(softmax(z))).sum(axis=-1)), rel=1e-12)


@pytest.mark.parametrize("kind", ["cross_entropy", "squared_error"])
def test_threads_do_not_matter(kind, rng):
    z, y, w = data(rng, (9, 31, 2), kind, 21)
    trained = []
    for n_threads in (1, 2, 3):
        model = network((9, 31, 2), kind, "float32", n_threads=n_threads)
        model.fit(z, y, 8, epochs=2, sample_weight=w, verbose=0)
        trained.append(model.get_weights()[0])
    assert_same_bits(trained[0], trained[1])
    assert_same_bits(trained[0], trained[2])


@pytest.mark.parametrize("shape", [(1, 2), (1, 1, 2)])
def test_one_pixel_beside_class_weights(shape, rng):
    """A single pixel's weight does not cancel, as that of a sample would."""
    z, y, w = data(rng, shape)
    labels = y.copy()
    labels[2] = VOID
    model = network(shape, "cross_entropy", loss=nf.CrossEntropy(ignore_label=VOID))
    share = np.where(y == 1, 3.0, 0.5) * (labels != VOID)
    logs = model.train_on_batch(z, labels, w + 1, class_weight={0: 0.5, 1: 3.0})
    assert logs["loss"] == pytest.approx(mean(w + 1, share * values_of("cross_entropy", y, z)), rel=1e-12)


@pytest.mark.parametrize("of", ["pixels", "samples"])
def test_a_target_that_does_not_count_may_be_any_number(of, rng):
    """Maps of numbers mark what is not known by the lowest float32, whose distance overflows."""
    z, y, w = data(rng, (4, 6, 2), "squared_error")
    w = w if of == "pixels" else np.array([0, 1, 0.5, 0, 2, 0])
    spoilt = np.where(w.reshape(w.shape + (1,) * (4 - w.ndim)) == 0, np.finfo(np.float32).min, y)
    model, expected = (network((4, 6, 2), "squared_error", "float32") for _ in range(2))
    assert model.train_on_batch(z, spoilt, w) == expected.train_on_batch(z, y, w)
    assert_same_bits(model.get_weights()[0], expected.get_weights()[0])


def test_a_batch_without_weight_takes_the_step_of_its_penalties(rng):
    z, y, w = data(rng, (4, 6, 3))
    model = network((4, 6, 3), "cross_entropy", regularizer=nf.L2(0.5))
    logs = model.train_on_batch(z, y, 0 * w)
    assert logs["loss"] == pytest.approx(0.25 * 3)
    np.testing.assert_allclose(model.get_weights()[0][0, 0], (1 - 0.1 * 0.5) * np.eye(3))
    model.train_on_batch(z, y, np.zeros(6))
    assert model.iterations == 1


def test_channels_first(rng):
    z, y, w = data(rng, (5, 6, 3))
    model = nf.Sequential([nf.Conv2D(3, 1, activation="softmax", use_bias=False)], input_shape=(3, 5, 6),
                          data_format="channels_first", dtype="float64")
    model.compile("sgd", "cross_entropy")
    model.set_weights([np.eye(3)[None, None]])
    expected = mean(w, values_of("cross_entropy", y, z))
    for weights in (w, w[..., None], w[:, None]):
        assert model.evaluate(np.moveaxis(z, -1, 1), y, sample_weight=weights)["loss"] == pytest.approx(expected)


def test_metrics_count_all_pixels(rng):
    z, y, w = data(rng, (5, 6, 3))
    model = network((5, 6, 3), "cross_entropy", metrics=["accuracy", "mean_iou"])
    plain, weighted = model.evaluate(z, y), model.evaluate(z, y, sample_weight=w)
    assert weighted["loss"] != plain["loss"]
    assert [weighted[key] for key in ("accuracy", "mean_iou")] == [plain[key] for key in ("accuracy", "mean_iou")]


# --- data ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("source", ["list", "uint8", "strided", "memory map", "data set", "generator", "callback"])
def test_any_source(source, tmp_path, rng):
    z, y, _ = data(rng, (4, 6, 3), n=23)
    w = rng.integers(0, 4, (23, 4, 6)).astype(np.float32)
    z = z.astype(np.float32)
    expected, model = (network((4, 6, 3), "cross_entropy", "float32") for _ in range(2))
    settings = {"epochs": 2, "shuffle": False, "verbose": 0}
    expected.fit(z, y, 5, sample_weight=w, **settings)
    if source == "memory map":
        np.save(tmp_path / "z.npy", z)
        model.fit(np.load(tmp_path / "z.npy", mmap_mode="r"), y, 5, sample_weight=w, **settings)
    elif source == "data set":
        model.fit(Samples(z, y, w), batch_size=5, **settings)
    elif source == "generator":
        model.fit(lambda: ((z[i:i + 5], y[i:i + 5], w[i:i + 5]) for i in range(0, 23, 5)), **settings)
    elif source == "callback":
        model.fit(z, y, 5, sample_weight=w, callbacks=nf.LambdaCallback(on_batch_end=lambda *_: None), **settings)
    else:
        given = {"list": w.tolist(), "uint8": w.astype(np.uint8), "strided": np.repeat(w, 2, axis=2)[:, :, ::2]}[source]
        model.fit(z, y, 5, sample_weight=given, **settings)
    assert_same_bits(model.get_weights()[0], expected.get_weights()[0])


def test_shuffled_batches_and_validation(rng):
    """The rows of the weights go with those of the data."""
    z, y, w = data(rng, (4, 6, 3), n=20)
    model = network((4, 6, 3), "cross_entropy")
    history = model.fit(z, y, 4, epochs=2, sample_weight=w, validation_split=0.25, verbose=0).history
    assert history["val_loss"][-1] == pytest.approx(
        mean(w[15:], values_of("cross_entropy", y[15:], z[15:] @ model.get_weights()[0][0, 0])), rel=1e-12)
    # With a rate of nearly zero the mean of an epoch is that of the data, in any order.
    model = network((4, 6, 3), "cross_entropy")
    model.compile(nf.SGD(1e-14), "cross_entropy")
    losses = model.fit(z, y, 3, epochs=3, sample_weight=w, validation_data=(z, y, w), verbose=0).history
    expected = mean(w, values_of("cross_entropy", y, z))
    np.testing.assert_allclose(losses["loss"] + losses["val_loss"], expected, rtol=1e-10)


@pytest.mark.parametrize("dtype_name", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["cross_entropy", "squared_error"])
def test_weights_move_with_the_image(kind, dtype_name, rng):
    """Each pixel of the image tells its own weight, which a flip or a shift leaves with it."""
    w = rng.integers(1, 9, (40, 5, 6))
    for augment in ([Flip(True, True)], [Shift((1, 2))], [Shift(1), Flip()]):
        model = nf.Sequential([nf.Conv2D(2, 1, activation="softmax" if kind == "cross_entropy" else None)],
                              input_shape=(5, 6, 1), dtype=dtype_name, seed=4)
        model.compile(nf.SGD(1e-30), kind)
        if kind == "squared_error":     # of 1 / sqrt(w) and 0: times w it is 1 for each pixel that is left
            model.set_weights([np.array([[[[1.0, 0.0]]]]), np.zeros(2)])
            x, y = (1 / np.sqrt(w))[..., None], np.zeros((*w.shape, 2))
            full = 30.0
        else:                           # log 2 times its weight for each
            model.set_weights([np.zeros((1, 1, 1, 2)), np.zeros(2)])
            x, y = w[..., None].astype(float), np.zeros(w.shape, int)
            full = np.log(2) * w.sum() / 40
        loss = model.fit(x, y, 8, sample_weight=w, augment=augment, verbose=0).history["loss"][0]
        if any(isinstance(one, Shift) for one in augment):
            assert 0.4 * full < loss < 0.999 * full
            if kind == "squared_error":
                assert 40 * loss == pytest.approx(round(40 * loss), abs=2e-3)
        else:
            assert loss == pytest.approx(full, rel=1e-5)


def test_what_a_shift_brings_in_has_no_weight(rng):
    model = nf.Sequential([nf.Conv2D(1, 1, kernel_initializer="zeros", bias_initializer="ones")], input_shape=(4, 4, 1))
    model.compile(nf.SGD(1e-30), "squared_error")
    x = np.zeros((30, 4, 4, 1))
    history = model.fit(x, x, 30, sample_weight=np.ones((30, 4, 4)), augment=Shift(3), verbose=0).history
    assert history["loss"][0] < 0.75 * 16          # 1 for each pixel that is left
    assert model.fit(x, x, 30, augment=Shift(3), verbose=0).history["loss"][0] == pytest.approx(16)


def test_mixup_keeps_the_weights_of_the_larger_part(rng):
    z, y, _ = data(rng, (4, 4, 3), n=8)
    model = network((4, 4, 3), "cross_entropy")
    w = np.zeros((8, 4, 4))
    w[0] = 1
    losses = []
    for factor in (1, 2):
        model = network((4, 4, 3), "cross_entropy")
        losses.append(model.fit(z, y, 8, sample_weight=factor * w, augment=Mixup(0.4), verbose=0).history["loss"][0])
    assert 0 < losses[0]
    assert losses[1] == pytest.approx(2 * losses[0], rel=1e-12)


def test_solvers(rng):
    """Weighted least squares."""
    pytest.importorskip("scipy")
    x = rng.standard_normal((10, 7, 3))
    y = x @ rng.standard_normal((3, 1)) + 0.3 * rng.standard_normal((10, 7, 1))
    w = rng.uniform(0, 2, (10, 7))
    model = nf.Sequential([nf.Conv1D(1, 1, use_bias=False)], input_shape=(7, 3))
    model.compile("sgd", "squared_error")
    assert model.fit(x, y, solver="lbfgs", sample_weight=w, verbose=0).converged
    root = np.sqrt(w)[..., None]
    expected = np.linalg.lstsq((root * x).reshape(-1, 3), (root * y).reshape(-1), rcond=None)[0]
    np.testing.assert_allclose(model.get_weights()[0].ravel(), expected, rtol=1e-4)


def test_a_solver_takes_the_weights_of_classes_as_those_of_pixels(rng):
    pytest.importorskip("scipy")
    z, y, _ = data(rng, (4, 6, 3))
    model, factors = network((4, 6, 3), "cross_entropy"), {0: 2.0, 1: 0.5, 2: 1.0}
    weights = np.array([factors[c] for c in range(3)])[y]
    with pytest.raises(ValueError, match="give each pixel the weight of its class as sample_weight"):
        model.fit(z, y, solver="lbfgs", class_weight=factors, verbose=0)
    logs = model.clone().train_on_batch(z, y, class_weight=factors)
    assert model.evaluate(z, y, sample_weight=weights)["loss"] == pytest.approx(logs["loss"], rel=1e-12)
    assert model.fit(z, y, solver="lbfgs", sample_weight=weights, verbose=0).history["loss"][-1] < logs["loss"]


def test_going_on_from_a_checkpoint_needs_the_same_weights(tmp_path, rng):
    z, y, w = data(rng, (4, 6, 3), n=12)

    def fit(epochs, w, resume, **settings):
        model = network((4, 6, 3), "cross_entropy", "float32")
        model.fit(z, y, 4, epochs=epochs, sample_weight=w, verbose=0, resume=resume, **settings)
        return model.get_weights()[0].tobytes()

    folder = str(tmp_path / "run")
    expected = fit(4, w, None)
    fit(2, w, None, callbacks=nf.callbacks.Checkpoint(folder))
    assert fit(4, w, folder) == expected
    with pytest.raises(ValueError, match="data"):
        fit(6, 2 * w, folder)


def test_a_checkpoint_tells_weights_of_samples_from_those_of_their_only_pixels(tmp_path, rng):
    z, y, w = data(rng, (1, 3))
    for given in (w[:, 0] + 1, w + 1):
        model = network((1, 3), "cross_entropy")
        settings = {"callbacks": nf.callbacks.Checkpoint(tmp_path), "resume": tmp_path, "verbose": 0}
        if given.ndim == 1:
            model.fit(z, y, 2, epochs=1, sample_weight=given, **settings)
        else:
            with pytest.raises(ValueError, match=r"weights \(of samples, pixels or classes\)"):
                model.fit(z, y, 2, epochs=2, sample_weight=given, **settings)


def test_many_at_once(rng):
    z, y, w = data(rng, (4, 6, 3), n=12)
    model = network((4, 6, 3), "cross_entropy")
    together = nf.fit_many(range(2), z, y, model=model, epochs=2, sample_weight=w)
    for seed, trained in enumerate(together):
        alone = model.clone(seed=seed)
        alone.fit(z, y, epochs=2, sample_weight=w, verbose=0)
        assert_same_bits(alone.get_weights()[0], trained.get_weights()[0])


# --- bad input -------------------------------------------------------------------------------------------------------

BAD = {
    "shape": (lambda w: w[:, 1:], r"expected shape \(6,\), one weight per sample or \(6, 4, 6\), one for each pixel or "
                                  r"step, got \(6, 3, 6\)"),
    "an axis more": (lambda w: np.stack([w, w], -1), r"got \(6, 4, 6, 2\)"),
    "negative": (lambda w: np.where(np.arange(6) == 2, -1.0, w), r"got -1.0 at row 0, index \(0, 2\)"),
    "huge": (lambda w: w * 1e30, r"from 0 to 1e\+18"),
    "nan": (lambda w: w * np.nan, "nan at row 0"),
    "text": (lambda w: w.astype(str), "strings"),
    "all zero": (lambda w: 0 * w, "all weights are zero"),
}


@pytest.mark.parametrize("spoil, message", BAD.values(), ids=BAD)
def test_bad_weights(spoil, message, rng):
    z, y, w = data(rng, (4, 6, 3))
    model = network((4, 6, 3), "cross_entropy")
    before = model.get_weights()[0]
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(z, y, sample_weight=spoil(w + 0.1), verbose=0)
    assert_same_bits(model.get_weights()[0], before)
    assert model.iterations == 0


def test_outputs_whose_pixels_have_no_weights(rng):
    w = np.ones((6, 4))
    vector = nf.Sequential([nf.Dense(4)], input_shape=(3,))
    vector.compile("sgd", "squared_error")
    with pytest.raises(ValueError, match=r"expected shape \(6,\), one weight per sample, got \(6, 4\)"):
        vector.fit(np.ones((6, 3)), w, sample_weight=w, verbose=0)
    inputs = nf.Input((4, 2))
    two = nf.Model(inputs, [nf.Conv1D(1, 1)(inputs), nf.Conv1D(1, 1)(inputs)])
    two.compile("sgd", ["squared_error"] * 2)
    with pytest.raises(ValueError, match=r"one weight per sample, got \(6, 4\); .* are for models with one output"):
        two.fit(np.ones((6, 4, 2)), [np.ones((6, 4, 1))] * 2, sample_weight=w, verbose=0)
    own = nf.Sequential([nf.Conv1D(1, 1)], input_shape=(4, 2))
    own.compile("sgd", lambda y, p: (((p - y) ** 2).sum(axis=(1, 2)), 2 * (p - y)))
    with pytest.raises(ValueError, match=r"a loss of your own .* shape \(6,\), got \(6, 4\)"):
        own.fit(np.ones((6, 4, 2)), np.ones((6, 4, 1)), sample_weight=w, verbose=0)


def test_a_loss_of_your_own_has_no_room_for_them(rng):
    z, y, _ = data(rng, (8, 8, 1), "squared_error")
    sizes = []
    for loss in ("squared_error", lambda y, p: (((p - y) ** 2).sum(axis=(1, 2, 3)), 2 * (p - y))):
        model = network((8, 8, 1), "squared_error", loss=loss)
        model.train_on_batch(z, y)
        sizes.append(model._plan.arena_bytes)
    assert sizes[0] - sizes[1] >= z.nbytes


def test_a_data_set_whose_samples_lack_weights(rng):
    z, y, w = data(rng, (4, 6, 3))
    weights = [w[0], None, *w[2:]]
    model = network((4, 6, 3), "cross_entropy")
    for given, number in ((weights, 1), (weights[1:], 0)):
        with pytest.raises(ValueError, match=rf"samples of one batch have weights, others have none .number {number}"):
            model.fit(Samples(z, y, given), batch_size=5, shuffle=False, verbose=0)
    assert model.iterations == 0


@pytest.mark.parametrize("source", ["data set", "generator"])
def test_data_that_are_read_and_in_which_no_pixel_counts(source, rng):
    z, y, w = data(rng, (4, 6, 3))
    model = network((4, 6, 3), "cross_entropy")

    def given(w):
        return Samples(z, y, w) if source == "data set" else lambda: (
            (z[i:i + 3], y[i:i + 3], w[i:i + 3]) for i in (0, 3))

    w[:3] = 0
    for call in (model.fit, model.evaluate):
        settings = {"verbose": 0} if call == model.fit else {}
        assert call(given(w), **settings)
        with pytest.raises(ValueError, match="all weights are zero"):
            call(given(0 * w), **settings)
