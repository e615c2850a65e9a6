"""Losses and metrics: values and gradients against PyTorch in float64, fit between loss and output, figures."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import nnfast as nf
from nnfast import losses, metrics
from nnfast.losses import AbsoluteError, BinaryCrossEntropy, CrossEntropy, CustomLoss, Huber, SquaredError

ORACLE = np.load(Path(__file__).parent / "oracles" / "losses.npz")
SPECS = json.loads(str(ORACLE["specs"]))


def identity_model(n, activation, loss, dtype="float64", metrics=()):
    """A network whose last pre-activations are its inputs, so that input_gradient is the loss's gradient."""
    model = nf.Sequential([nf.Dense(n, activation=activation, use_bias=False)], input_shape=(n,), dtype=dtype)
    model.compile(optimizer="sgd", loss=loss, metrics=list(metrics))
    model.set_weights([np.eye(n)])
    return model


@pytest.mark.parametrize("name", SPECS)
def test_equals_pytorch(name):
    spec = SPECS[name]
    z, t, values, dz = (ORACLE[f"{name}/{key}"] for key in ("z", "t", "values", "dz"))
    model = identity_model(z.shape[1], spec["activation"], losses.get(spec["loss"]))
    np.testing.assert_allclose(model.per_sample_loss(z, t), values, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(model.input_gradient(z, t), dz, rtol=1e-12, atol=1e-14)
    loss, grads = model.gradients(z, t)
    assert loss == pytest.approx(values.mean(), rel=1e-13)
    (dw,) = grads.values()
    np.testing.assert_allclose(dw, z.T @ dz / len(z), rtol=1e-12, atol=1e-14 * max(1.0, abs(z).max()))
    assert model.evaluate(z, t)["loss"] == pytest.approx(values.mean(), rel=1e-13)


@pytest.mark.parametrize("name", SPECS)
def test_equals_pytorch_float32(name):
    spec = SPECS[name]
    z, t, values, dz = (ORACLE[f"{name}/{key}"] for key in ("z", "t", "values", "dz"))
    model = identity_model(z.shape[1], spec["activation"], losses.get(spec["loss"]), "float32")
    np.testing.assert_allclose(model.per_sample_loss(z, t), values, rtol=3e-6, atol=3e-6)
    np.testing.assert_allclose(model.input_gradient(z, t), dz, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("loss, activation", [
    ("cross_entropy", "softmax"), (CrossEntropy(True), "linear"), ("binary_cross_entropy", "sigmoid"),
    (BinaryCrossEntropy(True), "linear"), ("squared_error", "softmax"), ("huber", "tanh"), ("absolute_error", "elu"),
])
def test_weights_scale_samples(loss, activation, rng):
    z = rng.standard_normal((9, 3))
    t = np.eye(3)[rng.integers(0, 3, 9)]
    weight = np.array([0, 1, 2, 0.5, 3, 0, 1, 1, 0.25])
    model = identity_model(3, activation, loss)
    values, dz = model.per_sample_loss(z, t), model.input_gradient(z, t)
    value, grads = model.gradients(z, t, sample_weight=weight)
    assert value == pytest.approx(weight @ values / weight.sum(), rel=1e-13)
    (dw,) = grads.values()
    np.testing.assert_allclose(dw, (z * weight[:, None]).T @ dz / weight.sum(), rtol=1e-11, atol=1e-14)


def test_labels_equal_one_hot(rng):
    z, labels = rng.standard_normal((10, 4)), rng.integers(0, 4, 10)
    model = identity_model(4, "softmax", "cross_entropy")
    np.testing.assert_array_equal(model.per_sample_loss(z, labels), model.per_sample_loss(z, np.eye(4)[labels]))
    np.testing.assert_array_equal(model.input_gradient(z, labels), model.input_gradient(z, np.eye(4)[labels]))


def test_custom_loss_equals_built_in(rng):
    calls = []

    def squared(y_true, y_pred):
        calls.append((y_true.shape, y_pred.shape))
        d = y_pred - y_true
        return (d * d).sum(axis=1), 2 * d

    x, t = rng.standard_normal((8, 3)), rng.standard_normal((8, 3))
    ours, built_in = identity_model(3, "tanh", squared), identity_model(3, "tanh", "squared_error")
    np.testing.assert_allclose(ours.per_sample_loss(x, t), built_in.per_sample_loss(x, t), rtol=1e-14)
    np.testing.assert_allclose(ours.input_gradient(x, t), built_in.input_gradient(x, t), rtol=1e-14)
    for model in (ours, built_in):
        model.fit(x, t, epochs=3, batch_size=5, shuffle=False, verbose=0)
    np.testing.assert_allclose(ours.get_weights()[0], built_in.get_weights()[0], rtol=1e-13)
    assert ((5, 3), (5, 3)) in calls and ((3, 3), (3, 3)) in calls


@pytest.mark.parametrize("result, text", [
    (lambda t, y: None, r"must return \(values, gradient\), got NoneType"),
    (lambda t, y: (y, y, y), r"must return \(values, gradient\), got 3 things"),
    (lambda t, y: (np.zeros(len(y) + 1), y), "shape"),
    (lambda t, y: (np.zeros(len(y)), y[:, :1]), "shape"),
])
def test_custom_loss_of_wrong_form(result, text):
    model = identity_model(3, "linear", result)
    before = model.get_weights()[0]
    with pytest.raises((ValueError, TypeError), match=text):
        model.train_on_batch(np.zeros((4, 3)), np.zeros((4, 3)))
    np.testing.assert_array_equal(model.get_weights()[0], before)


def test_custom_loss_that_raises():
    def broken(y_true, y_pred):
        raise KeyError("in the user's loss")

    with pytest.raises(KeyError, match="in the user's loss"):
        identity_model(3, "linear", broken).train_on_batch(np.zeros((4, 3)), np.zeros((4, 3)))


# --- loss and output fit ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("loss, activation, text", [
    ("cross_entropy", "linear", r"activation is 'linear'; give the last layer activation='softmax', or .*from_logits"),
    ("cross_entropy", "sigmoid", "cross_entropy expects the output of a softmax"),
    ("cross_entropy", "relu", "cross_entropy expects the output of a softmax"),
    (CrossEntropy(from_logits=True), "softmax", "applied twice; remove the activation, or use loss='cross_entropy'"),
    (CrossEntropy(from_logits=True), "sigmoid", r"use nf.CrossEntropy\(\) with activation='softmax'"),
    ("binary_cross_entropy", "linear", "binary_cross_entropy expects the output of a sigmoid"),
    ("binary_cross_entropy", "softmax", "binary_cross_entropy expects the output of a sigmoid"),
    (BinaryCrossEntropy(from_logits=True), "sigmoid", "use loss='binary_cross_entropy'"),
    (BinaryCrossEntropy(from_logits=True), "softmax", r"use nf.BinaryCrossEntropy\(\) with activation='sigmoid'"),
])
def test_mismatch(loss, activation, text):
    with pytest.raises(ValueError, match=text) as info:
        losses.get(loss).check_output(activation, "head")
    assert str(info.value).startswith("head: ")
    with pytest.raises(ValueError, match=text):
        identity_model(3, activation, loss)


def test_cross_entropy_of_one_output():
    with pytest.raises(ValueError, match="one output is always 0"):
        identity_model(1, "softmax", "cross_entropy")


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
@pytest.mark.parametrize("activation", ["linear", "softmax", "sigmoid", "relu"])
def test_regression_fits_any_output(loss, activation):
    losses.get(loss).check_output(activation, "head", (2,))


ALL = [CrossEntropy(), CrossEntropy(True), CrossEntropy(ignore_label=255), BinaryCrossEntropy(),
       BinaryCrossEntropy(from_logits=True), SquaredError(), AbsoluteError(), Huber(), Huber(0.5)]


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_survives_json(loss):
    again = losses.get(json.loads(json.dumps(loss.to_config())))
    assert again == loss and again.describe() == loss.describe()
    assert losses.get(loss) is loss and type(losses.get(loss.name)) is type(loss)
    assert eval(repr(loss), vars(losses)) == loss
    assert set(loss.describe()) == {"loss", "from_logits", "delta", "ignore_label", "function"}


def test_function_is_a_loss():
    def zero(y_true, y_pred):
        return np.zeros(len(y_pred)), np.zeros_like(y_pred)

    loss = losses.get(zero)
    assert loss == CustomLoss(zero) and loss.function is zero
    with pytest.raises(ValueError, match="CustomLoss: .* cannot be written"):
        loss.get_config()


@pytest.mark.parametrize("make, error, text", [
    (lambda: losses.get("cross_entrpy"), ValueError, "did you mean 'cross_entropy'"),
    (lambda: losses.get(None), TypeError, "loss must be a name"),
    (lambda: losses.get(CustomLoss), ValueError, "needs function"),
    (lambda: CustomLoss("x"), TypeError, "CustomLoss: function must be callable"),
    (lambda: Huber(0), ValueError, "Huber: delta must be a finite number above 0, got 0"),
    (lambda: CrossEntropy(from_logits=1), TypeError, "CrossEntropy: from_logits must be True or False"),
    (lambda: losses.Loss(), TypeError, "base class"),
])
def test_refuses(make, error, text):
    with pytest.raises(error, match=text):
        make()


# --- metrics ---------------------------------------------------------------------------------------------------

def evaluate(y, t, names, loss="squared_error", activation="linear", batch_size=7):
    """The figures of metrics for outputs y and targets t, over several batches."""
    model = identity_model(y.shape[1], activation, loss, metrics=names)
    figures = model.evaluate(y, t, batch_size=batch_size)
    return [figures[metrics.get(name).name] for name in names]


def test_accuracy(rng):
    z, labels = rng.standard_normal((50, 6)), rng.integers(0, 6, 50)
    rank = (z > z[np.arange(50), labels][:, None]).sum(axis=1)
    names = ["accuracy", metrics.TopKAccuracy(2), metrics.TopKAccuracy(3, name="top3")]
    for t in (labels, np.eye(6)[labels]):
        assert evaluate(z, t, names, "cross_entropy", "softmax") == pytest.approx(
            [np.mean(rank < 1), np.mean(rank < 2), np.mean(rank < 3)])
    assert evaluate(z, np.eye(6)[labels], ["accuracy"]) == pytest.approx([np.mean(rank < 1)])


def test_equal_outputs_count_in_their_order():
    z = np.zeros((4, 4))
    assert evaluate(z, np.arange(4), ["accuracy", metrics.TopKAccuracy(2)], "cross_entropy", "softmax") == [0.25, 0.5]


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(("cls", "n"), [(metrics.Accuracy, 1), (metrics.Accuracy, 3), (metrics.BinaryAccuracy, 1),
                                        (metrics.BinaryAccuracy, 3), (metrics.MeanIoU, 1)])
def test_metrics_by_name_by_class_and_as_objects(cls, n, from_logits, rng):
    z, t = rng.standard_normal((40, n)), rng.integers(0, 2, (40, n)).astype(float)
    loss, activation = BinaryCrossEntropy(from_logits), "linear" if from_logits else "sigmoid"
    forms = [cls.kind, cls, cls(), cls().to_config()]
    figures = [evaluate(z, t, [form], loss, activation) for form in forms]
    half = {"class": cls.__name__, "config": {"threshold": 0.0 if from_logits else 0.5, "name": cls.kind}}
    if cls is not metrics.Accuracy:
        figures.append(evaluate(z, t, [half], loss, activation))
        half["config"]["threshold"] = 0.5       # as files of a threshold of 0.5 have it: it stays
        assert metrics.get(half).plan_spec(loss)["threshold"] == 0.5
    assert figures == [figures[0]] * len(figures)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("from_logits", [False, True])
def test_accuracy_of_yes_no_outputs(n, from_logits, rng):
    z, t = rng.standard_normal((40, n)), rng.integers(0, 2, (40, n)).astype(float)
    loss, activation = BinaryCrossEntropy(from_logits), "linear" if from_logits else "sigmoid"
    expected = np.mean((z > 0) == (t > 0.5))
    assert evaluate(z, t, ["accuracy", "binary_accuracy"], loss, activation) == pytest.approx([expected, expected])


def test_binary_accuracy_threshold(rng):
    y, t = rng.random((40, 2)), rng.integers(0, 2, (40, 2)).astype(float)
    assert evaluate(y, t, [metrics.BinaryAccuracy(0.7)]) == pytest.approx([np.mean((y > 0.7) == (t > 0.5))])


def test_accuracy_of_a_single_regression_output():
    y, t = np.array([[0.2], [0.9], [0.6]]), np.array([[0.0], [1.0], [0.0]])
    assert evaluate(y, t, ["accuracy"]) == pytest.approx([2 / 3])


@pytest.mark.parametrize("n", [1, 4])
def test_regression_metrics(n, rng):
    t = 3 + 2 * rng.standard_normal((30, n)) * np.arange(1, n + 1)
    y = t + rng.standard_normal((30, n))
    r2 = np.mean(1 - ((y - t) ** 2).sum(0) / ((t - t.mean(0)) ** 2).sum(0))
    assert evaluate(y, t, ["mse", "mae", "r2"]) == pytest.approx(
        [np.mean((y - t) ** 2), np.mean(abs(y - t)), r2], rel=1e-12)


def test_r2_of_constant_targets():
    """As in scikit-learn: 1.0 if met exactly, else 0.0, averaged with the other outputs."""
    t = np.full((9, 2), 0.1)
    assert evaluate(t, t, ["r2"]) == [1.0]
    assert evaluate(t + [0.0, 0.5], t, ["r2"]) == [0.5]
    assert evaluate(t + 0.5, t, ["r2"]) == [0.0]


def test_figures_of_nothing_are_nan():
    for name in metrics.REGISTRY.classes:
        metric = metrics.get(name)
        assert math.isnan(metric.result([0.0] * 6, 0, 2))


def test_resolve():
    def kinds(identifier, loss, n):
        loss = None if loss is None else losses.get(loss)
        metric = metrics.resolve(identifier, loss, n)
        return metric.kind, metric.name, metric.plan_spec(loss)["threshold"]

    assert kinds("accuracy", "cross_entropy", 3) == ("accuracy", "accuracy", 0.5)
    assert kinds("Accuracy", "binary_cross_entropy", 3) == ("binary_accuracy", "accuracy", 0.5)
    assert kinds("accuracy", BinaryCrossEntropy(True), 1) == ("binary_accuracy", "accuracy", 0.0)
    assert kinds("accuracy", "squared_error", 1) == ("binary_accuracy", "accuracy", 0.5)
    assert kinds("accuracy", None, 4) == ("accuracy", "accuracy", 0.5)
    assert kinds(metrics.Accuracy(name="hits"), "binary_cross_entropy", 3) == ("binary_accuracy", "hits", 0.5)
    assert kinds(metrics.Accuracy(name="hits"), "squared_error", 1) == ("binary_accuracy", "hits", 0.5)
    assert kinds("binary_accuracy", BinaryCrossEntropy(True), 2) == ("binary_accuracy", "binary_accuracy", 0.0)
    assert kinds(metrics.BinaryAccuracy(0.3), BinaryCrossEntropy(True), 2)[2] == 0.3
    with pytest.raises(ValueError, match="TopKAccuracy: k=5, but the output has only 3 values"):
        metrics.resolve("top_k_accuracy", losses.get("cross_entropy"), 3)


@pytest.mark.parametrize("name", metrics.REGISTRY.classes)
def test_metric_survives_json(name):
    metric = metrics.get(name)
    assert metric.kind == metric.name == name
    assert metrics.get(json.loads(json.dumps(metric.to_config()))) == metric
    assert set(metric.plan_spec(None)) == {"kind", "k", "threshold"}
    assert type(metric)(name="other").name == "other"


@pytest.mark.parametrize("make, error, text", [
    (lambda: metrics.get("acuracy"), ValueError, "unknown metric 'acuracy'; did you mean 'accuracy'"),
    (lambda: metrics.get("acc"), ValueError, "unknown metric 'acc'; here it is called 'accuracy'"),
    (lambda: losses.get("mse"), ValueError, "unknown loss 'mse'; here it is called 'squared_error'"),
    (lambda: losses.get("sparse_categorical_crossentropy"), ValueError, "here it is called 'cross_entropy'"),
    (lambda: metrics.get(len), TypeError, "metric must be a name"),
    (lambda: metrics.TopKAccuracy(0), ValueError, "TopKAccuracy: k must be at least 1, got 0"),
    (lambda: metrics.BinaryAccuracy("x"), TypeError, "BinaryAccuracy: threshold must be a number"),
    (lambda: metrics.R2(name=""), TypeError, "R2: name"),
])
def test_refuses_metrics(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_an_accuracy_of_ones_own_keeps_its_figure(rng):
    class Errors(metrics.Accuracy):
        more_is_better = False

        def __init__(self, name="errors"):
            super().__init__(name)

        def result(self, totals, count, n_outputs=1):
            return 1 - super().result(totals, count, n_outputs)

    x, y = rng.standard_normal((20, 3)), rng.integers(0, 2, (20, 3))
    model = nf.Sequential([nf.Activation("sigmoid")], input_shape=(3,))
    model.compile("sgd", "binary_cross_entropy", metrics=["accuracy", Errors()])
    figures = model.evaluate(x, y)
    assert figures["errors"] == pytest.approx(1 - figures["accuracy"])


def test_derivatives_ask_no_metric():
    model = nf.Sequential([nf.Dense(1, activation="tanh")], input_shape=(1,))
    model.compile("sgd", "squared_error", metrics=["accuracy"])
    assert model.gradients([[1.0], [2.0]], [-1, 1])[0] > 0
    with pytest.raises(ValueError, match=r"accuracy needs classes .* -1 and 1 nf.BinaryAccuracy\(0.0\)"):
        model.evaluate([[1.0], [2.0]], [-1, 1])
