"""Optimizers: their updates against torch.optim (50 steps, float64), and what they can be set to."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import nnfast as nf
from nnfast import optimizers, regularizers, schedules
from nnfast.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop

ORACLE = np.load(Path(__file__).parent / "oracles" / "optimizers.npz")
CONFIGS = json.loads(str(ORACLE["configs"]))


def oracle_model(optimizer, dtype="float64"):
    model = nf.Sequential([nf.Dense(3, name="dense")], input_shape=(7,), dtype=dtype)
    model.compile(optimizer=optimizer, loss="squared_error")
    model.set_weights([ORACLE["start_kernel"], ORACLE["start_bias"]])
    return model


def oracle_gradients(step):
    return {"dense/kernel": ORACLE["kernel_gradients"][step], "dense/bias": ORACLE["bias_gradients"][step]}


def flat(model):
    return np.concatenate([w.ravel() for w in model.get_weights()])


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_pytorch_step_for_step(name):
    model = oracle_model(optimizers.get(CONFIGS[name]))
    for step, expected in enumerate(ORACLE[name]):
        model.apply_gradients(oracle_gradients(step))
        np.testing.assert_allclose(flat(model), expected, rtol=1e-10, atol=1e-10, err_msg=f"step {step}")


@pytest.mark.parametrize("name", CONFIGS)
def test_float32_follows(name):
    model = oracle_model(optimizers.get(CONFIGS[name]), "float32")
    expected = ORACLE[name]
    for step in range(len(expected)):
        model.apply_gradients(oracle_gradients(step))
    # Rounding of 50 steps: 2^-24 of the largest weight on the way, each.
    np.testing.assert_allclose(flat(model), expected[-1], atol=50 * 2.0**-23 * abs(expected).max())


@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9), Adam(0.01), AdamW(0.01), RMSprop(0.01), Adagrad(0.1)])
def test_training_equals_applied_gradients(optimizer, rng):
    """The update fused into training is the one apply_gradients does."""
    x, t = rng.standard_normal((20, 7)), rng.standard_normal((20, 3))
    trained, applied = oracle_model(optimizer), oracle_model(optimizer)
    for _ in range(5):
        trained.train_on_batch(x, t)
        applied.apply_gradients(applied.gradients(x, t)[1])
    np.testing.assert_allclose(flat(trained), flat(applied), rtol=1e-13, atol=1e-14)


def test_no_gradient_no_step():
    """A weight whose gradient is always zero stays, bit for bit, also where the update divides by its size."""
    for optimizer in (SGD(0.1, momentum=0.9), Adam(0.1), RMSprop(0.1), Adagrad(0.1)):
        model = oracle_model(optimizer)
        before = flat(model)
        for _ in range(3):
            model.apply_gradients({"dense/kernel": np.zeros((7, 3)), "dense/bias": np.zeros(3)})
        np.testing.assert_array_equal(flat(model), before)


def test_clip_norm_is_over_all_gradients_together():
    model = oracle_model(SGD(1.0, clip_norm=1.0))
    before = flat(model)
    model.apply_gradients({"dense/kernel": np.full((7, 3), 10.0), "dense/bias": np.full(3, 20.0)})
    step = before - flat(model)
    assert np.linalg.norm(step) == pytest.approx(1.0, rel=1e-6)
    assert step[-1] == pytest.approx(2 * step[0])


def test_clip_norm_leaves_small_gradients_alone():
    model = oracle_model(SGD(1.0, clip_norm=100.0))
    before = flat(model)
    model.apply_gradients({"dense/kernel": np.full((7, 3), 0.25), "dense/bias": np.full(3, 0.5)})
    np.testing.assert_allclose(before - flat(model), [0.25] * 21 + [0.5] * 3, rtol=1e-13)


# --- settings -------------------------------------------------------------------------------------------------

ALL = [
    SGD(),
    SGD(0.1, 0.9, nesterov=True, clip_norm=1.0),
    Adam(schedules.Cosine(0.1, 50), beta1=0.8),
    AdamW(0.1, weight_decay=0.3, clip_value=0.5),
    RMSprop(momentum=0.4),
    Adagrad(initial_accumulator_value=0.1),
]


@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_survives_json(optimizer):
    again = optimizers.get(json.loads(json.dumps(optimizer.to_config())))
    assert again == optimizer and again.hyperparameters() == optimizer.hyperparameters()
    assert type(optimizer).from_config(optimizer.get_config()) == optimizer
    assert eval(repr(optimizer), {**vars(optimizers), **vars(schedules)}) == optimizer


@pytest.mark.parametrize("name", optimizers.REGISTRY.classes)
def test_lookup(name):
    optimizer = optimizers.get(name)
    assert optimizer.kind == name
    assert optimizers.get(type(optimizer)) == optimizer == optimizers.get(name.upper())
    assert optimizers.get(optimizer) is optimizer
    assert set(optimizer.hyperparameters()) == {
        "momentum", "nesterov", "beta1", "beta2", "rho", "eps", "weight_decay", "initial_accumulator",
    }
    assert all(type(value) is float for value in optimizer.hyperparameters().values())


def test_learning_rates():
    np.testing.assert_array_equal(SGD(0.5).learning_rates(3, 2), [0.5, 0.5])
    np.testing.assert_array_equal(SGD(schedules.Step(1.0, 2, 0.5)).learning_rates(1, 4), [1, 0.5, 0.5, 0.25])
    np.testing.assert_array_equal(SGD(lambda step: 0.1 * step).learning_rates(2, 2), [0.2, 0.1 * 3])


def test_learning_rate_can_be_set():
    optimizer = SGD(0.5)
    optimizer.learning_rate = 0.25
    assert optimizer.learning_rates(0, 1) == [0.25] and optimizer == SGD(0.25)
    optimizer.learning_rate = schedules.Exponential(0.5, 0.5)
    assert optimizer.learning_rates(1, 1) == [0.25]
    with pytest.raises(ValueError, match="SGD: learning_rate"):
        optimizer.learning_rate = 0
    assert optimizer.learning_rates(1, 1) == [0.25]


def test_other_settings_are_fixed():
    for name in ("momentum", "clip_norm"):
        with pytest.raises(AttributeError, match=f"SGD.{name} is fixed; make a new SGD"):
            setattr(SGD(), name, 0.5)
    with pytest.raises(AttributeError, match="Adam has no 'lr'; here it is called 'learning_rate'"):
        Adam().lr = 0.1
    with pytest.raises(AttributeError, match="SGD has no 'weight_decay'"):
        SGD().weight_decay = 0.1


@pytest.mark.parametrize("optimizer", [Adam(epsilon=1e-38), Adagrad(initial_accumulator_value=1e300)])
def test_constants_out_of_the_range_of_float32(optimizer):
    with pytest.raises(ValueError, match=r"is out of the range of float32, 1.2e-38 to 3.4e\+38"):
        nf.Sequential([nf.Dense(1)], input_shape=(1,)).compile(optimizer, "squared_error")
    nf.Sequential([nf.Dense(1)], input_shape=(1,), dtype="float64").compile(optimizer, "squared_error")


@pytest.mark.parametrize(("setting", "base"), [("optimizer", SGD), ("loss", nf.SquaredError),
                                               ("metrics", nf.metrics.MeanSquaredError)])
def test_classes_of_ones_own_have_no_compiled_code(setting, base):
    own = type("Own", (base,), {"name" if setting == "loss" else "kind": "mine"})
    settings = {setting: [own] if setting == "metrics" else own}
    model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
    with pytest.raises(TypeError, match="Own: there is no compiled code"):
        model.compile(**{"optimizer": "sgd", "loss": "squared_error"} | settings)


def test_a_refused_optimizer_belongs_to_nobody():
    optimizer = SGD()
    model = nf.Sequential([nf.Dense(2)], input_shape=(1,))
    with pytest.raises(ValueError):
        model.compile(optimizer, "cross_entropy")
    other = nf.Sequential([nf.Dense(2)], input_shape=(1,))
    other.compile(optimizer, "squared_error")
    assert other.optimizer is optimizer


@pytest.mark.parametrize("rate, text", [
    (schedules.Exponential(1.0, 2.0), "learning rate of step 1024 must be finite and at least 0, got inf"),
    (lambda step: math.nan if step == 1030 else 0.1, "rate of step 1030 must be a finite number"),
    (lambda step: -0.1, "rate of step 1020 must be a finite number at least 0, got -0.1"),
])
def test_refuses_rates_of_a_schedule(rate, text):
    with pytest.raises(ValueError, match=text):
        SGD(rate).learning_rates(1020, 20)


def test_a_function_cannot_be_written():
    with pytest.raises(ValueError, match="Adam: learning_rate is .* cannot be written"):
        Adam(lambda step: 0.1).get_config()


@pytest.mark.parametrize("make, text", [
    (lambda: SGD(0), "SGD: learning_rate must be a finite number above 0, got 0"),
    (lambda: SGD(-0.1), "SGD: learning_rate"),
    (lambda: SGD(10**400), "SGD: learning_rate must be a finite number"),
    (lambda: SGD(math.nan), "SGD: learning_rate"),
    (lambda: SGD(momentum=1.0), "SGD: momentum must be a finite number at least 0 and below 1, got 1.0"),
    (lambda: SGD(nesterov=True), "nesterov=True needs a momentum above 0"),
    (lambda: SGD(clip_norm=0), "SGD: clip_norm"),
    (lambda: Adam(clip_value=-1), "Adam: clip_value"),
    (lambda: Adam(beta1=1.0), "Adam: beta1"),
    (lambda: AdamW(beta2=-0.1), "AdamW: beta2"),
    (lambda: Adam(epsilon=0), "Adam: epsilon"),
    (lambda: AdamW(weight_decay=-1), "AdamW: weight_decay"),
    (lambda: RMSprop(rho=1.5), "RMSprop: rho"),
    (lambda: Adagrad(initial_accumulator_value=-1), "Adagrad: initial_accumulator_value"),
    (lambda: optimizers.get("adamm"), "unknown optimizer 'adamm'; did you mean 'adam'.*known: sgd, adam"),
    (lambda: Adam.from_config({"lr": 0.1}), "Adam has no argument 'lr'"),
    (lambda: Adam.from_config({"beta1": "0.9"}), "Adam: bad configuration .* beta1 must be a number, got str"),
])
def test_refuses_values(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize("make, text", [
    (lambda: SGD("fast"), "SGD: learning_rate must be a number, got str: 'fast'"),
    (lambda: SGD(None), "SGD: learning_rate must be a number, got NoneType"),
    (lambda: SGD(schedules.Cosine), "SGD: learning_rate must be a number, got type"),
    (lambda: SGD(nesterov=1), "SGD: nesterov must be True or False, got int: 1"),
    (lambda: optimizers.get(0.1), "optimizer must be a name"),
    (lambda: optimizers.Optimizer(0.1, None, None), "base class"),
])
def test_refuses_types(make, text):
    with pytest.raises(TypeError, match=text):
        make()


# --- regularizers ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("regularizer, l1, l2", [
    (nf.L1(0.5), 0.5, 0.0), (nf.L2(0.25), 0.0, 0.25), (nf.L1L2(0.5, 0.25), 0.5, 0.25),
])
def test_regularizer(regularizer, l1, l2):
    assert (regularizer.l1, regularizer.l2) == (l1, l2)
    assert regularizer([[1.0, -2.0], [0.0, 4.0]]) == l1 * 7 + l2 / 2 * 21
    assert regularizers.get(json.loads(json.dumps(regularizer.to_config()))) == regularizer
    assert regularizers.get(None) is None and regularizers.get("l1_l2") == nf.L1L2()


@pytest.mark.parametrize("regularizer", [nf.L1(0.5), nf.L2(0.25), nf.L1L2(0.5, 0.25)], ids=repr)
def test_regularizer_in_training(regularizer, rng):
    """The compiled penalty is the one described, on kernels only, in the loss and in the gradient."""
    x, t = rng.standard_normal((6, 4)), rng.standard_normal((6, 3))
    layers = [nf.Dense(3, kernel_regularizer=given, name="d") for given in (None, regularizer)]
    plain, penalised = (nf.Sequential([layer], input_shape=(4,), dtype="float64", seed=1) for layer in layers)
    for model in (plain, penalised):
        model.compile("sgd", "squared_error")
    w = plain.get_weights()[0]
    w[0, 0] = 0.0
    for model in (plain, penalised):
        model.set_weights([w, np.ones(3)])
    loss, grads = plain.gradients(x, t)
    loss2, grads2 = penalised.gradients(x, t)
    assert loss2 - loss == pytest.approx(regularizer(w), rel=1e-10)
    np.testing.assert_allclose(
        grads2["d/kernel"] - grads["d/kernel"], regularizer.l1 * np.sign(w) + regularizer.l2 * w, atol=1e-13
    )
    np.testing.assert_array_equal(grads2["d/bias"], grads["d/bias"])


@pytest.mark.parametrize("make, error, text", [
    (lambda: nf.L2(-1), ValueError, "L2: l2 must be a finite number at least 0, got -1"),
    (lambda: nf.L1("a"), TypeError, "L1: l1 must be a number"),
    (lambda: regularizers.get("l3"), ValueError, "unknown regularizer 'l3'"),
    (lambda: regularizers.get(0.01), TypeError, "regularizer must be a name"),
])
def test_refuses_regularizers(make, error, text):
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize("clip", [{"clip_norm": 1.0}, {"clip_value": 0.5}])
def test_large_gradients_are_clipped_and_not_refused(clip):
    model = nf.Sequential([nf.Dense(2, use_bias=False, kernel_initializer="zeros")], input_shape=(2,))
    model.compile(nf.SGD(0.1, **clip))
    model.apply_gradients({"dense/kernel": np.full((2, 2), 1e18)})
    np.testing.assert_allclose(model.get_weights()[0], np.full((2, 2), -0.05), rtol=1e-6)
    model.compile(nf.SGD(0.1))
    with pytest.raises(nf.TrainingError, match="the gradient is not finite, or so large that its square would not be"):
        model.apply_gradients({"dense/kernel": np.full((2, 2), 1e18)})


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("penalty", [nf.L2(1000.0), nf.L2(1e30), nf.L1(1e300)])
def test_penalties_that_blow_up_leave_finite_weights(penalty, n_threads):
    model = nf.Sequential([nf.Dense(64, use_bias=False)], input_shape=(64,), seed=1)
    model.compile(SGD(0.3), "squared_error", regularizer=penalty, n_threads=n_threads)
    x = np.zeros((4, 64), np.float32)
    with pytest.raises(nf.TrainingError, match="last finite weights"):
        model.fit(x, x, epochs=40, verbose=0)
    assert np.isfinite(model.get_weights()[0]).all()


@pytest.mark.parametrize("convert", [np.asarray, np.ndarray.tolist])
def test_an_infinite_penalty_takes_no_step(convert):
    model = nf.Sequential([nf.Dense(1, use_bias=False)], input_shape=(1,), dtype="float64")
    model.compile(SGD(0.1), "squared_error", regularizer=nf.L2(1.0))
    model.set_weights([[[1e155]]])
    x = convert(np.zeros((4, 1)))
    for train in (model.train_on_batch, lambda x, y: model.fit(x, y, verbose=0)):
        with pytest.raises(nf.TrainingError, match="loss"):
            train(x, x)
    assert model.iterations == 0 and model.get_weights()[0] == 1e155


def test_losses_that_weigh_nothing_may_be_infinite():
    x, y, weight = np.ones((8, 1), np.float32), np.ones(8), np.r_[np.ones(7), 0]
    y[7] = 1e25
    model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
    model.compile("sgd", "squared_error")
    expected = model.evaluate(x[:7], y[:7])["loss"]
    assert model.train_on_batch(x, y, weight)["loss"] == pytest.approx(expected)
    image = nf.Input((1,))
    model = nf.Model(image, [nf.Dense(1)(image), nf.Dense(1)(image)])
    model.compile("sgd", ["squared_error"] * 2, loss_weights=[1, 0])
    assert np.isfinite(model.train_on_batch(x, [np.ones(8), y])["loss"])


def test_optimizers_of_ones_own_have_other_defaults():
    class Fast(SGD):
        def __init__(self, learning_rate=0.3):
            super().__init__(learning_rate, momentum=0.9)
            self._mine = 3

    class Any(Adam):
        def __init__(self, **options):
            super().__init__(**options)

    for optimizer, momentum in ((Fast(), 0.9), (Any(learning_rate=0.1), 0)):
        model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
        model.compile(optimizer, "squared_error")
        model.train_on_batch([[1.0]], [[1.0]])
        assert model.optimizer.momentum == momentum
