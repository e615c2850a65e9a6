"""Gradient descent and gradient checks: numbers one computes by hand, every way to end, wrong gradients seen."""
import math

import numpy as np
import pytest

import nnfast as nf
from nnfast.optimize import check_gradient, gradient_descent, numerical_gradient


def square(x):
    return float(np.sum(np.square(x)))


def double(x):
    return 2 * x


# --- descent ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("grad", [double, None], ids=["gradient", "finite differences"])
@pytest.mark.parametrize("start", [-2.0, 2.0])
def test_square_from_either_side(start, grad):
    result = gradient_descent(square, grad, start, lr=0.1)
    np.testing.assert_allclose(result.path[:3], start * np.array([1, 0.8, 0.64]), rtol=1e-9)
    assert result.converged and isinstance(result.x, float) and abs(result.x) < 1e-5
    assert result.fun == square(result.x) == result.values[-1]
    assert len(result.path) == len(result.values) == result.n_iter + 1
    # It stopped at the first step that is not longer than delta.
    steps = np.abs(np.diff(result.path))
    assert steps[-1] <= 1e-6 < steps[-2]


def test_arrays_keep_their_shape_and_the_step_is_a_euclidean_norm():
    shapes = []
    result = gradient_descent(lambda x: shapes.append(x.shape) or square(x), None, [[3.0, 0.0], [0.0, 4.0]], lr=0.25,
                              delta=2.5)
    assert set(shapes) == {(2, 2)} and result.path.shape[1:] == (2, 2)
    # The first step is half of (3, 4): as long as delta, up to rounding.
    exact = gradient_descent(square, double, [3.0, 4.0], lr=0.25, delta=2.5)
    assert exact.converged and exact.n_iter == 1
    assert not gradient_descent(square, double, [3.0, 4.0], lr=0.25, delta=2.4999, max_iter=1).converged


def test_rates_by_schedule_and_by_function():
    rates = [0.1, 0.05, 0.025]
    expected = np.cumprod([2.0] + [1 - 2 * rate for rate in rates])
    for lr in (nf.schedules.Exponential(0.1, 0.5), lambda n: 0.1 * 0.5**n):
        result = gradient_descent(square, double, 2.0, lr=lr, max_iter=3)
        np.testing.assert_allclose(result.path, expected, rtol=1e-12)


def test_callback_sees_every_step_and_may_end_it():
    seen = []
    result = gradient_descent(square, double, 2.0, callback=lambda n, x, fun: seen.append((n, float(x), fun)) or n == 4)
    assert [n for n, _, _ in seen] == [1, 2, 3, 4]
    assert [x for _, x, _ in seen] == list(result.path[1:])
    assert seen[-1][2] == result.fun
    assert not result.converged and "callback" in result.reason


def test_callback_and_functions_cannot_change_the_path():
    def meddling(x):
        x[:] = 0
        return x

    result = gradient_descent(square, lambda x: (2 * x, meddling(x))[0], [2.0], max_iter=2,
                              callback=lambda n, x, fun: bool(meddling(x).any()))
    np.testing.assert_allclose(result.path[:, 0], [2.0, 1.6, 1.28])


@pytest.mark.parametrize(("lr", "n", "reason"), [
    (1.0, 50, "no step was as short as delta=1e-06 in max_iter=50 steps"),
    (1.1, 50, "diverging: f rose from 4 to"),
    (1.1, 10**6, "diverged: f is inf after 1943 steps"),
    (lambda n: 1e308, 10, "diverged: the step is not finite after 0 steps"),
    (0.1, 0, "in max_iter=0 steps"),
])
def test_not_converged_says_why_and_ends_at_a_finite_point(lr, n, reason):
    result = gradient_descent(square, double, 2.0, lr=lr, max_iter=n)
    assert not result.converged and reason in result.reason
    assert math.isfinite(result.x) and math.isfinite(result.fun) and np.isfinite(result.path).all()


def test_infinite_and_undefined_values_end_it():
    # Python's own arithmetic raises where NumPy gives inf.
    overflow = gradient_descent(math.exp, lambda x: -math.exp(x), 700.0, lr=1e-303)
    assert not overflow.converged and overflow.n_iter == 0 and "f is inf after 1 steps" in overflow.reason
    steep = gradient_descent(lambda x: x**4, lambda x: 4 * x**3, 2.0, lr=1e80)
    assert not steep.converged and steep.x == 2.0 and "f is inf after 1 steps" in steep.reason
    cliff = gradient_descent(lambda x: -x, lambda x: -math.exp(1000 * x), 0.7, lr=0.1)
    assert not cliff.converged and "gradient is not finite after 1 steps" in cliff.reason
    walled = gradient_descent(lambda x: float(np.log(x)), lambda x: 1 / x, 1.0, lr=2.0)
    assert not walled.converged and walled.x == 1.0 and "f is nan after 1 steps" in walled.reason
    if np.finfo(np.longdouble).max > np.finfo(float).max:
        wide = gradient_descent(lambda x: np.longdouble(10) ** int(400 * x), lambda x: -1.0, 0.5, lr=0.5)
        assert not wide.converged and "f is inf after 1 steps" in wide.reason
    unsteady = gradient_descent(square, lambda x: math.nan, 1.0)
    assert not unsteady.converged and unsteady.n_iter == 0 and "gradient is not finite" in unsteady.reason


@pytest.mark.parametrize(("arguments", "error", "text"), [
    ({"grad": lambda x: np.ones(3)}, ValueError, r"grad\(x\) has shape \(3,\), x has \(2,\)"),
    ({"grad": lambda x: 1.0}, ValueError, r"grad\(x\) has shape \(\), x has \(2,\)"),
    ({"grad": lambda x: ["a", "b"]}, TypeError, r"grad\(x\): expected real numbers, got strings"),
    ({"f": lambda x: x}, ValueError, r"f must return one number, got shape \(2,\)"),
    ({"f": lambda x: None}, TypeError, "f must return one real number, got NoneType"),
    ({"f": lambda x: 1j}, TypeError, "f must return one real number, got complex"),
    ({"f": lambda x: math.inf}, ValueError, r"f\(x0\) is inf"),
    ({"f": None}, TypeError, "f must be callable, got NoneType"),
    ({"grad": 3}, TypeError, "grad must be callable, got int"),
    ({"callback": 3}, TypeError, "callback must be callable, got int"),
    ({"x0": [1.0, math.nan]}, ValueError, "x0: nan at row 1"),
    ({"x0": []}, ValueError, "x0 is empty"),
    ({"x0": "here"}, TypeError, "x0: expected"),
    ({"delta": 0}, ValueError, "delta must be a finite number above 0, got 0"),
    ({"delta": -1e-3}, ValueError, "delta"),
    ({"delta": math.nan}, ValueError, "delta"),
    ({"lr": 0.0}, ValueError, "above 0"),
    ({"lr": "fast"}, ValueError, "unknown learning-rate schedule"),
    ({"max_iter": -1}, ValueError, "max_iter must be at least 0"),
    ({"max_iter": 2.5}, TypeError, "max_iter must be an integer"),
])
def test_bad_input(arguments, error, text):
    with pytest.raises(error, match=text):
        gradient_descent(**{"f": square, "grad": double, "x0": [1.0, 2.0], **arguments})


# --- differences -----------------------------------------------------------------------------------------------------

def test_numerical_gradient_is_exact_for_polynomials_of_degree_four():
    x = np.array([[0.5, -1.0], [2.0, 3.0]])
    np.testing.assert_allclose(numerical_gradient(lambda x: (x**4).sum(), x), 4 * x**3, rtol=1e-9)
    assert numerical_gradient(lambda x: x**4, 30.0) == pytest.approx(4 * 30.0**3, rel=1e-10)
    assert isinstance(numerical_gradient(lambda x: x**4, 2.0), float)


def test_numerical_gradient_is_of_fourth_order():
    errors = [abs(numerical_gradient(math.exp, 0.0, step=h) - 1.0) for h in (0.2, 0.1)]
    # Halving h divides the error h^4 / 30 by 16.
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.05)
    assert errors[0] == pytest.approx(0.2**4 / 30, rel=0.05)


def test_check_gradient_sees_every_wrong_entry():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4))

    def f(x):
        return np.sin(x).sum() * np.cos(x[0, 0])

    def gradient(x):
        g = np.cos(x) * np.cos(x[0, 0])
        g[0, 0] -= np.sin(x).sum() * np.sin(x[0, 0])
        return g

    check = check_gradient(f, gradient, x)
    assert check.error < 1e-9
    np.testing.assert_allclose(check.numerical, check.gradient, atol=1e-9)
    for i in np.ndindex(x.shape):
        def wrong(x, i=i):
            g = gradient(x)
            g[i] += 1e-4
            return g
        largest = np.abs(wrong(x)).max()
        assert check_gradient(f, wrong, x).error == pytest.approx(1e-4 / largest, rel=1e-3)


def test_check_gradient_near_a_kink_and_on_it():
    def relu(x):
        return float(np.maximum(x, 0).sum())

    def slope(x):
        return np.where(x > 0, 1.0, 0.0)

    # Within two steps of the kink, and on it, where anything from 0 to 1 is a slope.
    assert check_gradient(relu, slope, [1.5e-4, -1.5e-4, 1.0]).error < 1e-9
    for value in (0.0, 0.5, 1.0):
        assert check_gradient(relu, lambda x, v=value: np.array([v, 1.0]), [0.0, 1.0]).error < 1e-9
    assert check_gradient(relu, lambda x: np.array([1.5, 1.0]), [0.0, 1.0]).error > 0.3
    assert check_gradient(relu, lambda x: np.array([-0.5, 1.0]), [0.0, 1.0]).error > 0.3


def test_gradients_that_vanish_are_not_drowned_by_rounding():
    assert check_gradient(lambda x: 1e6, lambda x: 0.0, 1.0).error < 1e-6
    assert check_gradient(lambda x: 0.0, lambda x: 0.0, 1.0).error == 0


@pytest.mark.parametrize(("f", "grad", "text"), [
    (square, lambda x: np.ones((2, 1)), r"grad\(x\) has shape \(2, 1\), x has \(2,\)"),
    (square, lambda x: x * math.nan, r"grad\(x\): nan at row 0"),
    (lambda x: math.nan, double, "the finite differences of f: nan"),
    (lambda x: x, double, "f must return one number"),
])
def test_check_gradient_bad_input(f, grad, text):
    with pytest.raises(ValueError, match=text):
        check_gradient(f, grad, [1.0, 2.0])


# --- models ----------------------------------------------------------------------------------------------------------

def problem(rng, activation="tanh", **options):
    model = nf.Sequential([
        nf.Dense(9, activation=activation, kernel_regularizer=nf.L1L2(0.01, 0.02),
                 bias_initializer=nf.initializers.Constant(0.1)),
        nf.Dropout(0.4),
        nf.Dense(3, activation="softmax"),
    ], input_shape=(5,), **options)
    model.compile("sgd", "cross_entropy")
    return model, rng.standard_normal((7, 5)), rng.integers(0, 3, 7)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu", "leaky_relu", "gelu", "softplus", "relu6",
                                        "hard_sigmoid", "hard_swish", "selu", "mish"])
def test_model_gradients_are_right(rng, dtype, activation):
    model, x, y = problem(rng, activation, dtype=dtype.name)
    before = [w.tobytes() for w in model.get_weights()]
    errors = model.check_gradients(x, y, sample_weight=rng.random(7), entries=None)
    assert list(errors) == ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias", "input"]
    assert max(errors.values()) < 1e-7
    assert [w.tobytes() for w in model.get_weights()] == before and model.iterations == 0


def test_model_check_sees_a_wrong_gradient(rng):
    def backward(dy, x, y):
        return 1.01 * dy * np.cos(x)

    x = rng.standard_normal((4, 3))
    model = nf.Sequential([nf.Dense(3), nf.Lambda(np.sin, backward), nf.Dense(1)], input_shape=(3,))
    model.compile("sgd", "squared_error")
    errors = model.check_gradients(x, rng.standard_normal((4, 1)))
    # Only what lies before the wrong layer is wrong, by one part in a hundred.
    assert max(errors["dense_1/kernel"], errors["dense_1/bias"]) < 1e-7
    for name in ("dense/kernel", "dense/bias", "input"):
        assert errors[name] == pytest.approx(0.01, rel=0.05)


def test_model_check_of_graphs_convolutions_and_frozen_layers(rng):
    a, b = nf.Input((6, 6, 2), name="a"), nf.Input((3,), name="b")
    h = nf.Flatten()(nf.MaxPool2D(2)(nf.Conv2D(4, 3, activation="tanh")(a)))
    h = nf.Concatenate()([h, nf.Dense(4, activation="gelu", trainable=False)(b)])
    model = nf.Model([a, b], [nf.Dense(2, name="u")(h), nf.Dense(1, name="v", activation="sigmoid")(h)])
    model.compile("sgd", ["squared_error", "binary_cross_entropy"], loss_weights=[1.0, 0.3])
    x = [rng.standard_normal((3, 6, 6, 2)), rng.standard_normal((3, 3))]
    y = [rng.standard_normal((3, 2)), rng.integers(0, 2, (3, 1))]
    errors = model.check_gradients(x, y)
    assert set(errors) == {"conv2d/kernel", "conv2d/bias", "u/kernel", "u/bias", "v/kernel", "v/bias", "a", "b"}
    assert max(errors.values()) < 1e-7


def test_model_check_takes_data_in_its_own_order_of_axes(rng):
    model = nf.Sequential([nf.Conv2D(3, 3, activation="tanh"), nf.Flatten(), nf.Dense(2)], input_shape=(2, 5, 6),
                          data_format="channels_first")
    model.compile("sgd", "squared_error")
    errors = model.check_gradients(rng.standard_normal((2, 2, 5, 6)), rng.standard_normal((2, 2)))
    assert max(errors.values()) < 1e-7


def test_model_check_draws_entries(rng, monkeypatch):
    model, x, y = problem(rng)
    calls = []
    original = nf.optimize._difference
    monkeypatch.setattr(nf.optimize, "_difference", lambda *args: calls.append(args[0]) or original(*args))
    model.check_gradients(x, y, entries=4)
    assert [calls.count(f"check_gradients: {name}") for name in ("dense/kernel", "dense_1/bias", "input")] == [4, 3, 4]


def test_model_check_bad_input(rng):
    model, x, y = problem(rng)
    with pytest.raises(ValueError, match="entries must be at least 1"):
        model.check_gradients(x, y, entries=0)
    with pytest.raises(ValueError, match=r"expected shape \(N, 5\)"):
        model.check_gradients(x[:, :4], y)
    with pytest.raises(ValueError, match="nan at row"):
        model.check_gradients(x * math.nan, y)
    with pytest.raises(ValueError, match="not compiled"):
        nf.Sequential([nf.Dense(1)], input_shape=(5,)).check_gradients(x, y)


# --- what these rest on ----------------------------------------------------------------------------------------------

def test_clone_in_another_precision(rng):
    model, x, y = problem(rng)
    model.compile(nf.Adam(0.01), "cross_entropy")
    model.train_on_batch(x, y)
    double_model = model.clone(dtype="float64")
    assert double_model.dtype == "float64" and model.dtype == "float32"
    for a, b in zip(model.get_weights(), double_model.get_weights()):
        assert b.dtype == np.float64 and (a == b).all()
    assert double_model.iterations == 1
    for name, value in double_model.optimizer_state().items():
        assert value.dtype == np.float64 and (value == model.optimizer_state()[name]).all()
    double_model.train_on_batch(x, y)
    assert model.iterations == 1
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float64', got 'half'"):
        model.clone(dtype="half")


def test_submodel_computes_what_the_layer_makes(rng):
    a, b = nf.Input((4,), name="a"), nf.Input((3,), name="b")
    left, right = nf.Dense(5, activation="tanh", name="left")(a), nf.Dense(2, name="right")(b)
    joined = nf.Concatenate(name="joined")([left, right])
    model = nf.Model([a, b], nf.Dense(1, name="top")(joined))
    model.set_weights([rng.standard_normal(w.shape) for w in model.get_weights()])
    x = {"a": rng.standard_normal((6, 4)), "b": rng.standard_normal((6, 3))}
    parts = {name: model.submodel(name) for name in ("left", "right", "joined", "top")}
    assert parts["left"].input_names == ["a"] and parts["right"].input_names == ["b"]
    w = model.parameters
    expected = np.tanh(x["a"] @ w["left/kernel"] + w["left/bias"])
    np.testing.assert_allclose(parts["left"].predict(x["a"]), expected, rtol=1e-5)
    both = np.hstack([parts["left"].predict(x["a"]), parts["right"].predict(x["b"])])
    assert (parts["joined"].predict(x) == both).all()
    assert (parts["top"].predict(x) == model.predict(x)).all()
    # A copy: what is done to it does not reach the model.
    parts["left"].set_parameters({"left/bias": np.full(5, 9.0)})
    assert (model.parameters["left/bias"] == w["left/bias"]).all()
    with pytest.raises(ValueError, match="unknown layer 'bottom'"):
        model.submodel("bottom")


def test_submodel_with_new_layers(rng):
    model = nf.Sequential([nf.Conv2D(6, 3), nf.BatchNorm(), nf.Activation("relu"), nf.GlobalAvgPool(),
                           nf.Dense(3, activation="softmax")], input_shape=(7, 6, 2), seed=3)
    model.set_parameters({"batch_norm/running_mean": rng.standard_normal(6)})
    model.class_names = ["a", "b", "c"]
    model.compile("adam", "cross_entropy")
    features = model.submodel("global_avg_pool")
    # The new dense layer has the name of the one that is left out, and another shape.
    other = model.submodel("global_avg_pool", then=[nf.Dropout(0.5), nf.Dense(5, activation="softmax")])
    assert [layer.name for layer in other.layers][-2:] == ["dropout", "dense"]
    assert other.output_shape == (5,) and other.class_names is None
    x = rng.standard_normal((20, 7, 6, 2)).astype(np.float32)
    w = other.parameters
    z = features.predict(x) @ w["dense/kernel"] + w["dense/bias"]
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(other.predict(x), expected, rtol=1e-5)
    assert len(np.unique(w["dense/kernel"])) == 30     # drawn anew
    before = model.get_weights()
    for layer in other.layers[:-1]:
        layer.trainable = False
    other.compile(nf.Adam(0.1), "cross_entropy")
    other.fit(x, rng.integers(0, 5, 20), epochs=2, verbose=0)
    for name, value in other.parameters.items():
        assert np.array_equal(value, w[name]) == (not name.startswith("dense/")), name
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("then", "error", "message"), [
    (lambda model: nf.Dense(2), TypeError, r"submodel: then must be a list of layers, got Dense\(2\)"),
    (lambda model: [nf.Dense], TypeError, "submodel: then must be a list of layers"),
    (lambda model: [nf.Conv2D(2, 3)], ValueError, r"conv2d: .*\(4,\)"),
    (lambda model: model.layers[1:], ValueError, "layer dense_1 already belongs to another model"),
])
def test_layers_that_cannot_follow(then, error, message):
    model = nf.Sequential([nf.Dense(4), nf.Dense(2)], input_shape=(3,))
    with pytest.raises(error, match=message):
        model.submodel("dense", then=then(model))
    assert model.predict([[1.0, 2.0, 3.0]]).shape == (1, 2)


def test_submodel_keeps_the_order_of_axes(rng):
    x = rng.standard_normal((2, 3, 8, 9)).astype(np.float32)
    model = nf.Sequential([nf.Conv2D(4, 3), nf.Flatten(), nf.Dense(2)], input_shape=(3, 8, 9),
                          data_format="channels_first")
    maps = model.submodel("conv2d").predict(x)
    assert maps.shape == (2, 4, 6, 7)
    w = model.parameters
    expected = nf.functional.conv2d(np.moveaxis(x, 1, -1), w["conv2d/kernel"], w["conv2d/bias"])
    np.testing.assert_allclose(maps, np.moveaxis(expected, -1, 1), rtol=1e-5, atol=1e-6)


def test_a_rate_of_zero_is_no_standing_still():
    result = gradient_descent(lambda x: (x - 3) ** 2, lambda x: 2 * (x - 3), 0.0, lr=nf.schedules.WarmUp(10, 0.1))
    assert result.converged and result.x == pytest.approx(3, abs=1e-4)
