"""fit, evaluate, single batches, derivatives: what they compute and what they leave behind."""

import numpy as np
import pytest
import reference
from small import classes, classifier, regressor, same_weights

import nnfast as nf


def reference_gradients(model, x, t, loss, activations, **arguments):
    w = model.get_weights()
    return reference.mlp(x, t, w[0::2], w[1::2], activations, loss, **arguments)


# --- fit against the reference ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("width", [1, 8, 15, 17, 64, 127, 128, 129])
def test_rows_of_any_width_arrive(width, shuffle, dtype, rng):
    """They are gathered all at once: a step on all of them is the reference's."""
    x, y = rng.normal(size=(2, 37, width)).astype(dtype)
    model = nf.Sequential([nf.Dense(width)], input_shape=(width,), dtype=dtype.name, seed=0)
    model.compile(nf.SGD(0.1), "squared_error")
    w, b = (value.astype(np.float64) for value in model.get_weights())
    model.fit(x, y, batch_size=37, shuffle=shuffle, verbose=0)
    slope = 0.2 / 37 * (x.astype(np.float64) @ w + b - y)
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    for value, expected in zip(model.get_weights(), (w - x.T @ slope, b - slope.sum(axis=0)), strict=True):
        np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance)


def test_fit_is_the_reference_step_by_step(rng):
    x, y = classes(rng, 50)
    model = classifier()
    w = model.get_weights()
    batches = [slice(i, i + 16) for i in range(0, 50, 16)]
    history = model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
    t = reference.one_hot(y, 3)
    kernels, biases, state, losses, step = w[0::2], w[1::2], [{} for _ in w], [], 0
    for _ in range(3):
        total = 0
        for batch in batches:
            loss, dws, dbs, _ = reference.mlp(x[batch], t[batch], kernels, biases, ["tanh", "linear"],
                                              "softmax_cross_entropy")
            step += 1
            total += loss * len(x[batch])
            for group, grads, offset in ((kernels, dws, 0), (biases, dbs, 1)):
                for i, g in enumerate(grads):
                    group[i], state[2 * i + offset] = reference.adam(group[i], g, state[2 * i + offset], step, 0.01)
        losses.append(total / 50)
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-10)
    for a, b in zip(model.get_weights()[0::2], kernels, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_history_has_a_figure_for_every_epoch(rng):
    x, y = classes(rng)
    model = classifier()
    history = model.fit(x, y, epochs=3, validation_split=0.25, verbose=0)
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert all(len(values) == 3 for values in history.history.values())
    assert all(type(value) is float for values in history.history.values() for value in values)
    assert history.epoch == [0, 1, 2]
    assert len(history.seconds) == 3
    assert all(seconds > 0 for seconds in history.seconds)
    assert model.history is history
    more = model.fit(x, y, epochs=5, initial_epoch=3, verbose=0)
    assert more.epoch == [3, 4]
    assert model.epochs_trained == 5


def test_training_learns(rng):
    x, y = classes(rng, 256)
    model = classifier(dtype="float32")
    history = model.fit(x, y, epochs=60, verbose=0)
    assert history.history["accuracy"][-1] > 0.95
    assert model.evaluate(x, y)["accuracy"] > 0.95


def test_training_figures_are_running_means(rng):
    x, y = classes(rng, 40)
    model = classifier()
    model.compile(nf.SGD(1e-12), "cross_entropy", metrics=["accuracy"])
    history = model.fit(x, y, batch_size=16, verbose=0)
    figures = model.evaluate(x, y)
    np.testing.assert_allclose(history.history["loss"][0], figures["loss"], rtol=1e-9)
    assert history.history["accuracy"][0] == figures["accuracy"]


# --- order of the samples --------------------------------------------------------------------------------------------

class Order:
    """A loss that notes the batches it sees."""

    def __init__(self):
        self.seen = []

    def __call__(self, y_true, y_pred):
        self.seen.append(y_true[:, 0].astype(int).tolist())
        return np.zeros(len(y_true)), np.zeros_like(y_pred)


def orders(model_seed=0, calls=((10, 2),), shuffle=True, batch_size=4):
    loss = Order()
    model = nf.Sequential([nf.Dense(1)], input_shape=(1,), seed=model_seed)
    model.compile("sgd", loss)
    for n, epochs in calls:
        x = np.arange(n, dtype=float)[:, None]
        model.fit(x, x, batch_size=batch_size, epochs=epochs, shuffle=shuffle, verbose=0)
    return loss.seen


def test_every_epoch_sees_every_sample_once_in_a_new_order():
    seen = orders()
    assert [len(batch) for batch in seen] == [4, 4, 2, 4, 4, 2]
    first, second = sum(seen[:3], []), sum(seen[3:], [])
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_two_fits_of_one_epoch_are_one_fit_of_two():
    assert orders(calls=((10, 1), (10, 1))) == orders(calls=((10, 2),))
    assert orders(model_seed=1) != orders(model_seed=0)


def test_without_shuffle_the_order_is_that_of_the_data():
    assert sum(orders(shuffle=False), []) == [*range(10), *range(10)]


def test_batches_larger_than_the_data():
    assert orders(batch_size=1000, shuffle=False) == [list(range(10))] * 2


def test_the_same_seed_trains_the_same_bits(rng):
    x, y = classes(rng)
    one, two = classifier(), classifier()
    for model in (one, two):
        model.fit(x, y, epochs=3, verbose=0)
    assert same_weights(one, two)


# --- validation ------------------------------------------------------------------------------------------------------

def test_validation_takes_the_last_rows_and_trains_on_the_others(rng):
    x, y = classes(rng, 50)
    one, two = classifier(), classifier()
    a = one.fit(x, y, epochs=2, validation_split=0.2, verbose=0)
    b = two.fit(x[:40], y[:40], epochs=2, validation_data=(x[40:], y[40:]), verbose=0)
    assert a.history == b.history
    assert same_weights(one, two)
    figures = one.evaluate(x[40:], y[40:])
    np.testing.assert_allclose(a.history["val_loss"][-1], figures["loss"], rtol=1e-12)
    assert a.history["val_accuracy"][-1] == figures["accuracy"]


def test_validation_counts_sample_weights_but_not_class_weights(rng):
    x, y = classes(rng, 40)
    w = rng.random(40)
    model = classifier()
    h = model.fit(x, y, validation_split=0.5, sample_weight=w, class_weight={0: 5.0}, verbose=0)
    expected = model.evaluate(x[20:], y[20:], sample_weight=w[20:])["loss"]
    np.testing.assert_allclose(h.history["val_loss"][0], expected, rtol=1e-12)
    h = model.fit(x, y, validation_data=(x, y, w), verbose=0)
    np.testing.assert_allclose(h.history["val_loss"][0], model.evaluate(x, y, sample_weight=w)["loss"], rtol=1e-12)


def test_validation_does_not_change_training(rng):
    x, y = classes(rng, 50)
    one, two = classifier(), classifier()
    one.fit(x, y, epochs=2, verbose=0)
    two.fit(x, y, epochs=2, validation_data=(x, y), verbose=0)
    assert same_weights(one, two)


# --- weights of samples and classes ----------------------------------------------------------------------------------

def test_a_sample_weight_counts_as_so_many_copies(rng):
    x, y = classes(rng, 12)
    copies = rng.integers(0, 4, 12)
    many = np.repeat(np.arange(12), copies)
    one, two = classifier(), classifier()
    a = one.train_on_batch(x, y, sample_weight=copies)
    b = two.train_on_batch(x[many], y[many])
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-12)
    for v, w in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(v, w, rtol=1e-12, atol=1e-14)


def test_class_weights_are_sample_weights(rng):
    x, y = classes(rng, 30)
    factors = {0: 2.0, 2: 0.5}
    w = np.array([factors.get(label, 1.0) for label in y])
    extra = rng.random(30)
    for targets in (y, reference.one_hot(y, 3)):
        one, two = classifier(), classifier()
        a = one.fit(x, targets, class_weight=factors, sample_weight=extra, verbose=0)
        b = two.fit(x, targets, sample_weight=w * extra, verbose=0)
        assert a.history == b.history
        assert same_weights(one, two)


def test_balanced_class_weights_are_scikit_learns(rng):
    x, y = classes(rng, 60)
    counts = np.bincount(y, minlength=3)
    w = 60 / (3 * counts[y])
    one, two = classifier(), classifier()
    one.fit(x, y, class_weight="balanced", verbose=0)
    two.fit(x, y, sample_weight=w, verbose=0)
    assert same_weights(one, two)


def test_balanced_class_weights_do_not_count_the_rows_kept_for_validation(rng):
    x, y = classes(rng, 60)
    y[45:] = 0
    one, two = classifier(), classifier()
    a = one.fit(x, y, class_weight="balanced", validation_split=0.25, verbose=0)
    b = two.fit(x[:45], y[:45], class_weight="balanced", validation_data=(x[45:], y[45:]), verbose=0)
    assert a.history == b.history
    assert same_weights(one, two)


def test_class_weights_of_a_yes_no_output(rng):
    x, y = rng.standard_normal((20, 4)), rng.integers(0, 2, 20)
    model = nf.Sequential([nf.Dense(1, activation="sigmoid")], input_shape=(4,), dtype="float64")
    model.compile("sgd", "binary_cross_entropy")
    other = model.clone()
    a = model.train_on_batch(x, y, class_weight={1: 3})
    b = other.train_on_batch(x, y, sample_weight=np.where(y == 1, 3, 1))
    assert a == b


def test_a_batch_of_weight_zero_is_skipped(rng):
    x, y = classes(rng, 8)
    model = classifier()
    before = model.get_weights()
    w = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert model.train_on_batch(x, y, sample_weight=np.zeros(8))["loss"] == 0
    assert model.iterations == 0
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    other = model.clone()
    model.fit(x, y, batch_size=4, shuffle=False, sample_weight=w, verbose=0)
    other.train_on_batch(x[4:], y[4:])
    assert model.iterations == other.iterations == 1
    assert same_weights(model, other)
    with pytest.raises(ValueError, match="all weights are zero"):
        model.fit(x, y, sample_weight=np.zeros(8), verbose=0)


# --- single batches and derivatives ----------------------------------------------------------------------------------

def test_a_batch_that_is_skipped_has_no_learning_rate():
    """The rate belongs to the step, however the steps are called for."""
    x, w = np.arange(1.0, 7.0)[:, None], np.array([1.0, 0, 1, 0, 1, 1])

    class Each(nf.Callback):
        def on_batch_end(self, batch, logs=None):
            pass

    def trained(train):
        model = nf.Sequential([nf.Dense(1, kernel_initializer="zeros")], input_shape=(1,), dtype="float64")
        model.compile(nf.SGD(nf.schedules.Exponential(0.01, 0.5)), "squared_error")
        train(model)
        assert model.iterations == 4
        return [array.tobytes() for array in model.get_weights()]

    def fit(model, **options):
        model.fit(x, 2 * x, batch_size=1, shuffle=False, sample_weight=w, verbose=0, **options)

    expected = trained(lambda model: [model.train_on_batch(x[i:i + 1], 2 * x[i:i + 1]) for i in (0, 2, 4, 5)])
    assert trained(fit) == expected
    assert trained(lambda model: fit(model, callbacks=[Each()])) == expected


@pytest.mark.parametrize("metrics", [[], ["mse", "mae"]])
def test_train_on_batch_is_a_step_of_fit(metrics, rng):
    x, y = rng.standard_normal((16, 3)), rng.standard_normal((16, 2))
    one, two = regressor(optimizer=nf.Adam(0.01)), regressor(optimizer=nf.Adam(0.01))
    for model in (one, two):
        model.compile(nf.Adam(nf.schedules.Exponential(0.01, 0.5)), "squared_error", metrics=metrics)
    for _ in range(3):
        expected = one.evaluate(x, y)
        logs = one.train_on_batch(x, y)
        assert logs.keys() == expected.keys()
        for name, value in logs.items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-12)
        two.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    assert same_weights(one, two)
    assert one.iterations == 3


def test_the_short_path_of_train_on_batch_is_the_long_one(rng, dtype):
    x, y = rng.standard_normal((16, 3)).astype(dtype), rng.standard_normal((16, 2)).astype(dtype)
    one, two = regressor(dtype=dtype.name), regressor(dtype=dtype.name)
    for _ in range(3):
        a = one.train_on_batch(x, y)
        b = two.train_on_batch(x.tolist(), y.tolist(), sample_weight=None)
        assert a == b
    assert same_weights(one, two)


def test_test_on_batch_changes_nothing(rng):
    x, y = classes(rng, 20)
    model = classifier()
    before = model.get_weights()
    assert model.test_on_batch(x, y) == model.evaluate(x, y)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.iterations == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_those_of_the_reference(weighted, rng):
    x, y = classes(rng, 20)
    w = rng.random(20) if weighted else None
    model = classifier()
    model.compile("adam", "cross_entropy", regularizer=nf.L1L2(0.02, 0.3))
    loss, grads = model.gradients(x, y, sample_weight=w)
    expected, dws, dbs, dx = reference_gradients(model, x, reference.one_hot(y, 3), "softmax_cross_entropy",
                                                 ["tanh", "linear"], weight=w, l1=0.02, l2=0.3)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    for i, name in enumerate(("dense", "dense_1")):
        np.testing.assert_allclose(grads[f"{name}/kernel"], dws[i], rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(grads[f"{name}/bias"], dbs[i], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(model.input_gradient(x, y), dx, rtol=1e-10, atol=1e-13)
    values = reference.softmax_cross_entropy(np.log(model.predict(x)), reference.one_hot(y, 3))[0]
    losses = model.per_sample_loss(x, y)
    assert losses.dtype == np.float64
    np.testing.assert_allclose(losses, values, rtol=1e-10)


def test_a_layer_with_its_own_penalty_keeps_it(rng):
    x, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 1))
    model = nf.Sequential([nf.Dense(4, kernel_regularizer=nf.L2(0.5)), nf.Dense(1)], input_shape=(3,), dtype="float64")
    model.compile("sgd", "squared_error", regularizer=nf.L1(0.25))
    w = model.parameters
    expected = model.per_sample_loss(x, y).mean() + 0.25 * (w["dense/kernel"] ** 2).sum() + 0.25 * np.abs(
        w["dense_1/kernel"]).sum()
    np.testing.assert_allclose(model.evaluate(x, y)["loss"], expected, rtol=1e-12)
    np.testing.assert_allclose(model.train_on_batch(x, y)["loss"], expected, rtol=1e-12)


def test_gradients_and_apply_gradients_are_a_step(rng):
    x, y = classes(rng, 20)
    one, two = classifier(), classifier()
    for _ in range(3):
        _, grads = one.gradients(x, y)
        one.apply_gradients(grads)
        two.train_on_batch(x, y)
    assert one.iterations == 3
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


def test_vjp_pulls_any_gradient_back(rng):
    x, y = rng.standard_normal((10, 3)), rng.standard_normal((10, 2))
    model = regressor()
    dy = 2 * (model.predict(x) - y)
    grads, dx = model.vjp(x, dy / 10)
    expected = model.gradients(x, y)[1]
    for name, value in expected.items():
        np.testing.assert_allclose(grads[name], value, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(dx * 10, model.input_gradient(x, y), rtol=1e-10, atol=1e-13)


def test_vjp_needs_no_compile_and_no_penalty_counts(rng):
    model = nf.Sequential([nf.Dense(2, kernel_regularizer=nf.L2(1.0))], dtype="float64")
    x, dy = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    grads, dx = model.vjp(x, dy)
    np.testing.assert_allclose(grads["dense/kernel"], x.T @ dy, rtol=1e-12)
    np.testing.assert_allclose(grads["dense/bias"], dy.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(dx, dy @ model.parameters["dense/kernel"].T, rtol=1e-12)


def test_dropout_is_off_except_in_training(rng):
    x = np.ones((400, 50))
    model = nf.Sequential([nf.Dropout(0.4), nf.Dense(1, kernel_initializer="ones")], input_shape=(50,), dtype="float64")
    model.compile("sgd", "absolute_error")
    assert (model.predict(x) == 50).all()
    y = np.zeros((400, 1))
    _, exact = model.gradients(x, y)
    _, masked = model.gradients(x, y, training=True)
    np.testing.assert_allclose(exact["dense/kernel"], 1, rtol=1e-12)
    assert masked["dense/kernel"].std() > 0.01
    np.testing.assert_allclose(masked["dense/kernel"].mean(), 1, atol=0.02)
    grads, dx = model.vjp(x, y + 1, training=True)
    kept = (dx != 0).mean()
    np.testing.assert_allclose(kept, 0.6, atol=0.02)
    np.testing.assert_allclose(dx[dx != 0], 1 / 0.6, rtol=1e-12)
    np.testing.assert_allclose(grads["dense/kernel"].ravel(), dx.sum(axis=0), rtol=1e-12)
    one, two = model.clone(), model.clone()
    one.train_on_batch(x, y)
    two.apply_gradients(two.gradients(x, y, training=True)[1])
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    one.compile(nf.SGD(1e-12), "absolute_error")
    losses = {one.train_on_batch(x, y)["loss"] for _ in range(4)}
    assert len(losses) == 4


def test_a_policy_and_a_value_train_together(rng):
    """Actor-critic on a bandit whose best arm is the state's sign."""
    x = nf.Input((2,))
    h = nf.Dense(16, activation="tanh")(x)
    model = nf.Model(x, [nf.Dense(2, activation="softmax", name="policy")(h), nf.Dense(1, name="value")(h)], seed=1)
    model.compile(nf.Adam(0.02))
    rewards = []
    for _ in range(300):
        s = rng.standard_normal((64, 2))
        p, v = model.predict(s)
        a = (rng.random(64) > p[:, 0]).astype(int)
        r = (a == (s[:, 0] > 0)).astype(float)
        rewards.append(r.mean())
        advantage = r - v[:, 0]
        dp = np.zeros((64, 2))
        dp[np.arange(64), a] = -advantage / p[np.arange(64), a] / 64
        grads, _ = model.vjp(s, {"policy": dp, "value": -2 * advantage[:, None] / 64})
        model.apply_gradients(grads)
    assert np.mean(rewards[:3]) < 0.75
    assert np.mean(rewards[-50:]) > 0.93
    assert model.iterations == 300


# --- several outputs -------------------------------------------------------------------------------------------------

def two_outputs():
    x = nf.Input((3,))
    h = nf.Dense(5, activation="relu")(x)
    kind, size = nf.Dense(3, activation="softmax", name="kind")(h), nf.Dense(1, name="size")(h)
    return nf.Model(x, [kind, size], dtype="float64")


def test_each_output_has_its_loss_weight_and_metrics(rng):
    x, kind, size = rng.standard_normal((20, 3)), rng.integers(0, 3, 20), rng.standard_normal(20)
    model = two_outputs()
    model.compile("adam", {"kind": "cross_entropy", "size": "squared_error"}, loss_weights={"kind": 2, "size": 0.5},
                  metrics={"kind": ["accuracy"], "size": "mae"})
    history = model.fit(x, [kind, size], epochs=2, validation_data=(x, {"size": size, "kind": kind}), verbose=0)
    names = ["loss", "kind_loss", "size_loss", "kind_accuracy", "size_mae"]
    assert list(history.history) == names + [f"val_{name}" for name in names]
    figures = model.evaluate(x, [kind, size])
    p, v = model.predict(x)
    np.testing.assert_allclose(figures["kind_loss"], -np.log(p[np.arange(20), kind]).mean(), rtol=1e-10)
    np.testing.assert_allclose(figures["size_loss"], ((v[:, 0] - size) ** 2).mean(), rtol=1e-10)
    np.testing.assert_allclose(figures["loss"], 2 * figures["kind_loss"] + 0.5 * figures["size_loss"], rtol=1e-12)
    assert figures["kind_accuracy"] == (p.argmax(1) == kind).mean()
    np.testing.assert_allclose(figures["size_mae"], np.abs(v[:, 0] - size).mean(), rtol=1e-12)
    np.testing.assert_allclose(model.per_sample_loss(x, [kind, size]).mean(), figures["loss"], rtol=1e-12)


# --- metrics ---------------------------------------------------------------------------------------------------------

def test_metrics_over_uneven_batches(rng):
    x, y = rng.standard_normal((37, 3)), rng.standard_normal((37, 2))
    model = regressor()
    model.compile("sgd", "huber", metrics=["mse", "mae", "r2"])
    p = model.predict(x)
    figures = model.evaluate(x, y, batch_size=10)
    np.testing.assert_allclose(figures["mse"], ((p - y) ** 2).mean(), rtol=1e-12)
    np.testing.assert_allclose(figures["mae"], np.abs(p - y).mean(), rtol=1e-12)
    r2 = 1 - ((p - y) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(figures["r2"], r2.mean(), rtol=1e-10)


@pytest.mark.parametrize("from_logits", [False, True])
def test_yes_no_metrics(from_logits, rng):
    x, y = rng.standard_normal((41, 3)), rng.integers(0, 2, (41, 4))
    model = nf.Sequential([nf.Dense(4, activation="linear" if from_logits else "sigmoid")], input_shape=(3,))
    model.compile("sgd", nf.BinaryCrossEntropy(from_logits=from_logits), metrics=["accuracy"])
    p = model.predict(x)
    expected = ((p > (0 if from_logits else 0.5)) == y).mean()
    np.testing.assert_allclose(model.evaluate(x, y)["accuracy"], expected, rtol=1e-6)


def test_metrics_of_labels_are_those_of_one_hot_vectors(rng):
    x, y = classes(rng, 50)
    model = nf.Sequential([nf.Dense(3, activation="softmax")], input_shape=(4,))
    model.compile("sgd", "cross_entropy", metrics=["accuracy", "binary_accuracy", "r2", "mse", "mae"])
    expected = model.evaluate(x, np.eye(3)[y])
    p, t = model.predict(x), np.eye(3)[y]
    assert expected["binary_accuracy"] == pytest.approx(((p > 0.5) == t).mean())
    model.evaluate(x, np.eye(3)[::-1][y])       # leaves other targets behind
    assert model.evaluate(x, y) == expected


def test_top_k(rng):
    x, y = rng.standard_normal((50, 3)), rng.integers(0, 7, 50)
    model = nf.Sequential([nf.Dense(7, activation="softmax")], input_shape=(3,))
    model.compile("sgd", "cross_entropy", metrics=[nf.TopKAccuracy(2), "accuracy"])
    p = model.predict(x)
    top = np.argsort(-p, axis=1)[:, :2]
    figures = model.evaluate(x, y)
    np.testing.assert_allclose(figures["top_k_accuracy"], (top == y[:, None]).any(axis=1).mean())
    np.testing.assert_allclose(figures["accuracy"], (p.argmax(1) == y).mean())
