"""fit(solver="lbfgs"): minima, what it does with callbacks, weights and penalties, and what it refuses."""
import math
import sys

import numpy as np
import pytest

import nnfast as nf


def problem(rng, dtype="float64", n=60, **dense):
    """A softmax regression with a minimum of its own, and its data."""
    x = rng.standard_normal((n, 4))
    y = (x[:, 0] + 0.5 * rng.standard_normal(n) > 0).astype(int) + (x[:, 1] > 0.8)
    layer = nf.Dense(3, activation="softmax", **{"kernel_regularizer": nf.L2(0.01), **dense})
    model = nf.Sequential([layer], input_shape=(4,), dtype=dtype, seed=1)
    model.compile("sgd", "cross_entropy", metrics=["accuracy"])
    return model, x, y


def largest_gradient(model, x, y, **options):
    """In float64, whatever the model's dtype."""
    _, grads = model.clone(dtype="float64").gradients(x, y, **options)
    return max(np.abs(g).max() for g in grads.values())


def test_the_gradient_vanishes_at_the_minimum(rng, dtype):
    model, x, y = problem(rng, dtype.name)
    history = model.fit(x, y, solver="lbfgs", verbose=0)
    assert history.converged and "CONVERGENCE" in history.message
    assert largest_gradient(model, x, y) < (1e-8 if dtype == np.float64 else 1e-6)
    assert list(history.history) == ["loss", "accuracy"]
    assert len(history.seconds) == len(history.epoch) == len(history.history["loss"])
    # The figures are those after each iteration; nothing else of the state of training has moved.
    assert history.history["loss"][-1] == model.evaluate(x, y)["loss"]
    assert (np.diff(history.history["loss"]) <= 1e-7).all()
    assert model.history is history and model.iterations == 0 and model.epochs_trained == 0


def test_both_precisions_find_the_same_minimum(rng):
    minima = []
    for dtype in ("float64", "float32"):
        model, x, y = problem(np.random.default_rng(5), dtype)
        model.fit(x, y, solver="lbfgs", verbose=0)
        minima.append(model.get_weights())
        assert all(w.dtype == dtype for w in minima[-1])
    for a, b in zip(*minima):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def test_sample_and_class_weights_count(rng):
    model, x, y = problem(rng)
    weight = rng.random(len(x))
    weight[:20] = 0
    model.fit(x, y, solver="lbfgs", sample_weight=weight, verbose=0)
    assert largest_gradient(model, x, y, sample_weight=weight) < 1e-8
    # Samples of weight 0 are as if they were not there.
    other, _, _ = problem(rng)
    other.fit(x[20:], y[20:], solver="lbfgs", sample_weight=weight[20:], verbose=0)
    for a, b in zip(model.get_weights(), other.get_weights()):
        np.testing.assert_allclose(a, b, atol=1e-6)
    other.fit(x, y, solver="lbfgs", class_weight={0: 3.0}, verbose=0)
    assert largest_gradient(other, x, y, sample_weight=np.where(y == 0, 3.0, 1.0)) < 1e-8


def test_l1_weights_are_exactly_zero_or_stationary(rng):
    model, x, y = problem(rng, kernel_regularizer=nf.L1(0.05))
    assert model.fit(x, y, solver="lbfgs", verbose=0).converged
    kernel, bias = model.get_weights()
    assert 0 < (kernel == 0).sum() < kernel.size
    # Without the penalty the gradient is -l1 sign(w) where w is not 0, and at most l1 where it is (subgradients).
    plain, _, _ = problem(rng, kernel_regularizer=None)
    plain.set_weights([kernel, bias])
    _, grads = plain.gradients(x, y)
    on, g = kernel != 0, grads["dense/kernel"]
    np.testing.assert_allclose(g[on], -0.05 * np.sign(kernel[on]), atol=1e-7)
    assert (np.abs(g[~on]) <= 0.05 + 1e-9).all()
    assert np.abs(grads["dense/bias"]).max() < 1e-8


def test_a_search_that_is_stuck_goes_on(rng, monkeypatch):
    """At a bound SciPy may end far from the minimum, with other rounding it does not."""
    import scipy.optimize

    minimize, most = scipy.optimize.minimize, []

    def stuck(*args, options, **kwargs):
        most.append(options["maxiter"])
        if len(most) > 1:
            return minimize(*args, options=options, **kwargs)
        result = minimize(*args, options=options | {"maxiter": 3}, **kwargs)
        result.message = "ABNORMAL: "
        return result

    monkeypatch.setattr(scipy.optimize, "minimize", stuck)
    model, x, y = problem(rng, kernel_regularizer=nf.L1(0.05))
    history = model.fit(x, y, solver="lbfgs", verbose=0)
    assert history.converged and most == [1000, 997] and len(history.history["loss"]) == len(history.epoch) > 3
    other, x, y = problem(rng, kernel_regularizer=nf.L1(0.05))
    most.clear()
    assert not other.fit(x, y, solver="lbfgs", epochs=3, verbose=0).converged and most == [3]


def test_l1_from_weights_of_either_sign(rng):
    ends = []
    for start in (-2.0, 0.0, 3.0):
        model, x, y = problem(np.random.default_rng(3), kernel_initializer=nf.initializers.Constant(start),
                              kernel_regularizer=nf.L1L2(0.02, 0.01))
        first = model.evaluate(x, y)["loss"]
        history = model.fit(x, y, solver="lbfgs", verbose=0)
        assert history.history["loss"][0] < first or start == 0
        ends.append(model.get_weights()[0])
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-6)
    np.testing.assert_allclose(ends[2], ends[1], atol=1e-6)


def test_a_hidden_layer_trains_too_and_frozen_layers_stay(rng):
    x = rng.standard_normal((80, 3))
    y = np.sin(x.sum(axis=1, keepdims=True))
    model = nf.Sequential([nf.Dense(12, activation="tanh"), nf.Dense(8, activation="tanh", trainable=False),
                           nf.Dense(1)], dtype="float64")
    model.compile(loss="squared_error")
    history = model.fit(x, y, solver="lbfgs", epochs=1, verbose=0)
    frozen = model.parameters["dense_1/kernel"]
    history = model.fit(x, y, solver="lbfgs", epochs=300, verbose=0)
    assert history.history["loss"][-1] < 0.01 * history.history["loss"][0]
    assert (model.parameters["dense_1/kernel"] == frozen).all()


def test_validation_and_early_stopping(rng):
    model, x, y = problem(rng)
    stop = nf.EarlyStopping("val_loss", restore_best=True)
    history = model.fit(x, y, solver="lbfgs", validation_split=0.5, callbacks=stop, verbose=0)
    losses = history.history["val_loss"]
    assert len(losses) == stop.stopped_epoch + 1 and not history.converged
    assert model.evaluate(x[30:], y[30:])["loss"] == min(losses) == losses[stop.best_epoch]


def test_callbacks_see_each_iteration(rng):
    model, x, y = problem(rng, "float32")
    calls, weights = [], []
    record = nf.callbacks.GradientNorms(x, y)
    watch = nf.LambdaCallback(
        on_train_begin=lambda logs: calls.append("train"), on_epoch_begin=lambda epoch, logs: calls.append(epoch),
        on_epoch_end=lambda epoch, logs: (calls.append(logs["loss"]), weights.append(model.get_weights())),
        on_train_end=lambda logs: calls.append("end"))
    history = model.fit(x, y, solver="lbfgs", epochs=4, callbacks=[watch, record], verbose=0)
    assert calls == ["train", *(v for pair in zip(range(4), history.history["loss"]) for v in pair), "end"]
    assert record.steps == [0, 1, 2, 3, 4]
    # The model held the weights of the iteration, and keeps the last ones.
    assert all((a == b).all() for a, b in zip(weights[-1], model.get_weights()))
    assert not (weights[0][0] == weights[1][0]).all()


def test_progress_bar(rng, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    model, x, y = problem(rng)
    model.fit(x, y, solver="lbfgs", epochs=3)
    assert "3/3" in capsys.readouterr().err
    model.fit(x, y, solver="lbfgs", epochs=2, verbose=2)
    assert capsys.readouterr().out.count("epoch ") == 2


def test_a_number_of_iterations_is_kept_silently_the_default_warns(rng, monkeypatch):
    model, x, y = problem(rng)
    history = model.fit(x, y, solver="lbfgs", epochs=3, verbose=0)
    assert len(history.epoch) == 3 and not history.converged and "ITERATIONS" in history.message.upper()
    monkeypatch.setattr(nf.solvers, "MOST_ITERATIONS", 5)
    with pytest.warns(RuntimeWarning, match="has not reached the minimum after 5 iterations"):
        model.fit(x, y, solver="lbfgs", verbose=0)
    assert model.fit(x, y, solver="lbfgs", epochs=0, verbose=0).epoch == []


def test_separable_classes_without_penalty_have_no_minimum_and_do_not_hang():
    model = nf.models.logistic_regression(1, dtype="float64")
    history = model.fit([[-1.0], [1.0]], [0, 1], solver="lbfgs", verbose=0)
    assert math.isfinite(model.get_weights()[0][0, 0]) and history.history["loss"][-1] < 1e-6


def test_a_loss_that_is_not_finite_stops_it(rng):
    x = rng.standard_normal((20, 2))
    model = nf.Sequential([nf.Dense(1)], dtype="float64")

    def loss(y_true, y_pred):
        big = np.abs(y_pred) > 5
        values = np.where(big, np.nan, (y_true - y_pred) ** 2)
        return values.sum(axis=1), 2 * (y_pred - y_true)

    model.compile(loss=loss)
    before = model.fit(x, np.full((20, 1), 3.0), solver="lbfgs", epochs=1, verbose=0) and model.get_weights()
    with pytest.raises(nf.TrainingError, match="iteration 1: the loss is not finite"):
        model.fit(100 * x, np.full((20, 1), 3.0), solver="lbfgs", verbose=0)
    assert all((a == b).all() for a, b in zip(before, model.get_weights()))


def test_an_exception_keeps_the_weights_reached(rng):
    model, x, y = problem(rng, "float32")
    reached = []

    def interrupt(epoch, logs):
        reached.append(model.get_weights())
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, solver="lbfgs", callbacks=nf.LambdaCallback(on_epoch_end=interrupt), verbose=0)
    assert all((a == b).all() for a, b in zip(reached[-1], model.get_weights()))
    assert len(model.history.epoch) == 3


def test_an_error_in_the_middle_of_a_step_keeps_the_weights_before_it(rng, dtype):
    model = nf.Sequential([nf.Dense(1)], input_shape=(2,), dtype=dtype.name)
    reached, calls = [], []

    def loss(y_true, y_pred):
        calls.append(1)
        if len(reached) == 2 and len(calls) > calls_then[0] + 1:
            raise RuntimeError("no more")
        return np.log(np.cosh(y_pred - y_true)).sum(axis=1), np.tanh(y_pred - y_true)

    calls_then = [0]

    def note(epoch, logs):
        reached.append(model.get_weights())
        calls_then[0] = len(calls)

    model.compile(loss=loss)
    x = rng.standard_normal((30, 2))
    with pytest.raises(RuntimeError, match="no more"):
        model.fit(x, x[:, :1] + 3, solver="lbfgs", callbacks=nf.LambdaCallback(on_epoch_end=note), verbose=0)
    assert all((a == b).all() for a, b in zip(reached[-1], model.get_weights()))


def test_solver_objects(rng):
    model, x, y = problem(rng)
    rough = model.fit(x, y, solver=nf.solvers.LBFGS(tolerance=1e-2), verbose=0)
    fine = model.fit(x, y, solver=nf.solvers.LBFGS(tolerance=1e-9, memory=5), verbose=0)
    assert rough.converged and fine.converged
    assert nf.solvers.get({"class": "LBFGS", "config": {"tolerance": 0.5, "memory": 3}}) == nf.solvers.LBFGS(0.5, 3)


@pytest.mark.parametrize("most", [1, 5, 20])
def test_evaluations_are_limited(rng, most):
    model, x, y = problem(rng)
    before, counts = [], [0]

    def loss(y_true, y_pred):
        counts[0] += 1
        return ((y_true - y_pred) ** 2).sum(axis=1), 2 * (y_pred - y_true)

    model.compile(loss=loss)
    note = nf.LambdaCallback(on_epoch_begin=lambda epoch, logs: before.append(counts[0] - epoch))
    history = model.fit(x, np.eye(3)[y], solver=nf.solvers.LBFGS(max_evaluations=most), callbacks=note, epochs=100,
                        verbose=0)
    # Without the iterations' figures, which are computed once each.
    assert before[-1] <= most < counts[0] - len(before)
    assert not history.converged and "EXCEEDS LIMIT" in history.message


def frozen(model):
    for layer in model.layers:
        layer.trainable = False


@pytest.mark.parametrize(("options", "error", "text"), [
    ({"solver": "lbfg"}, ValueError, "unknown solver 'lbfg'; did you mean 'lbfgs'"),
    ({"solver": 3}, TypeError, "solver must be a name"),
    ({"batch_size": 59}, ValueError, "sees all 60 samples in every step, batch_size=59"),
    ({"shuffle": True}, ValueError, "no order to shuffle"),
    ({"initial_epoch": 1}, ValueError, "initial_epoch=1"),
    ({"callbacks": nf.LambdaCallback(on_batch_end=print)}, ValueError, "LambdaCallback wants to see every batch"),
    ({"epochs": -1}, ValueError, "epochs must be at least 0"),
])
def test_options_that_mean_nothing_are_errors(rng, options, error, text):
    model, x, y = problem(rng)
    before = model.get_weights()
    with pytest.raises(error, match=text):
        model.fit(x, y, **{"solver": "lbfgs", "verbose": 0, **options})
    assert all((a == b).all() for a, b in zip(before, model.get_weights()))


def test_options_that_say_what_a_solver_does_anyway_are_fine(rng):
    model, x, y = problem(rng)
    assert model.fit(x, y, solver="lbfgs", batch_size=60, shuffle=False, initial_epoch=0, verbose=0).converged


@pytest.mark.parametrize(("layer", "text"), [
    (nf.Dropout(0.5, name="half"), "but half draws masks"),
    (nf.BatchNorm(name="norm"), "the running statistics of norm"),
])
def test_layers_that_change_by_themselves_are_refused(rng, layer, text):
    model = nf.Sequential([layer, nf.Dense(1)], input_shape=(4,))
    model.compile(loss="squared_error")
    with pytest.raises(ValueError, match=text):
        model.fit(rng.standard_normal((5, 4)), np.zeros((5, 1)), solver="lbfgs", verbose=0)


def test_frozen_models_and_meddling_callbacks(rng):
    model, x, y = problem(rng)
    freeze = nf.LambdaCallback(on_epoch_end=lambda epoch, logs: frozen(model))
    with pytest.raises(ValueError, match="a callback has frozen a layer"):
        model.fit(x, y, solver="lbfgs", callbacks=freeze, verbose=0)
    with pytest.raises(ValueError, match="all layers are frozen"):
        model.fit(x, y, solver="lbfgs", verbose=0)


def test_without_scipy_the_error_says_what_to_install(rng, monkeypatch):
    model, x, y = problem(rng)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"needs SciPy; pip install 'nnfast\[scipy\]'"):
        model.fit(x, y, solver="lbfgs", verbose=0)


def test_mini_batches_are_as_they_were_by_default(rng):
    x, y = rng.standard_normal((50, 4)), rng.integers(0, 3, 50)
    ends = []
    for options in ({}, {"batch_size": 32, "epochs": 1, "shuffle": True}, {"shuffle": False}):
        model = nf.Sequential([nf.Dense(3, activation="softmax")], input_shape=(4,), seed=2)
        model.compile(nf.Adam(0.1), "cross_entropy")
        history = model.fit(x, y, verbose=0, **options)
        assert model.iterations == 2 and len(history.epoch) == 1
        ends.append([w.tobytes() for w in model.get_weights()])
    assert ends[0] == ends[1] != ends[2]


@pytest.mark.parametrize("scales", [(1e8, 0.01), (1e5, 1e-4), (1e9, 1e-3), (1e-6, 1e-6)])
@pytest.mark.parametrize("shift", [0, 10])
def test_columns_of_unequal_size(scales, shift, rng):
    """A population beside a rate."""
    z = rng.standard_normal((300, 2)) + shift
    x, y = z * scales, z @ [1.0, -2.0]
    model = nf.models.linear_regression(2, dtype="float64")
    assert model.fit(x, y, solver="lbfgs", verbose=0).converged
    np.testing.assert_allclose(model.get_weights()[0][:, 0] * scales, [1, -2], rtol=1e-5)
    labels = (y > y.mean()).astype(int)
    losses = []
    for inputs in (z, x):
        model = nf.models.logistic_regression(2, dtype="float64")
        labels[:20] = 1         # so that no plane parts them
        assert model.fit(inputs, labels, solver="lbfgs", verbose=0).converged
        losses.append(model.evaluate(inputs, labels)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-7)


def test_a_kink_in_columns_of_unequal_size(rng):
    """At the minimum the error's slope is -l1 sign(w), or at most l1 where w is 0."""
    x, l1 = rng.standard_normal((300, 4)) * [1e4, 1, 1, 1e-3], 0.5
    y = x @ [[3e-4], [2.0], [0.1], [900.0]]
    model = nf.models.linear_regression(4, l1=l1, dtype="float64")
    assert model.fit(x, y, solver="lbfgs", verbose=0).converged
    w, b = model.get_weights()
    slope = 2 * x.T @ (x @ w + b - y) / 300
    np.testing.assert_array_equal(w[:, 0] == 0, [False, False, True, True])
    np.testing.assert_allclose(slope[:2, 0], -l1 * np.sign(w[:2, 0]), rtol=1e-3)
    assert (np.abs(slope[2:]) < l1).all()


def test_going_on_at_the_minimum(rng):
    """Of an exact fit, of a loss that falls for ever, of one with an exponential, of a column that hardly counts."""
    x, w = rng.standard_normal((300, 3)), rng.standard_normal((3, 1))
    linear = nf.models.linear_regression(3, dtype="float64")
    logistic = nf.models.logistic_regression(3, dtype="float64")
    linear.set_weights([w, np.zeros(1)])
    poisson = nf.Sequential([nf.Dense(1)], input_shape=(3,), dtype="float64")
    poisson.compile("sgd", nf.CustomLoss(lambda t, p: ((np.exp(p) - t * p).sum(axis=1), np.exp(p) - t)))
    tiny = nf.models.linear_regression(3)
    for _ in range(4):
        assert linear.fit(x, x @ w, solver="lbfgs", verbose=0).converged
        assert logistic.fit(x, (x[:, 0] > 0).astype(int), solver="lbfgs", verbose=0).converged
        assert poisson.fit(x, rng.poisson(1.5, 300), solver="lbfgs", verbose=0).converged
        assert tiny.fit(x * [1e-42, 1, 1], 1e5 * (x @ w), solver="lbfgs", verbose=0).converged


@pytest.mark.parametrize("kind", ["memory map", "function"])
def test_validation_data_of_any_source(kind, tmp_path, rng):
    x, y = rng.standard_normal((60, 3)).astype(np.float32), rng.integers(0, 2, 60)
    np.save(tmp_path / "x.npy", x)
    data = (np.load(tmp_path / "x.npy", mmap_mode="r"), y) if kind == "memory map" else lambda: iter([(x, y)])
    curves = [nf.models.logistic_regression(3, l2=0.1).fit(x, y, solver="lbfgs", verbose=0, validation_data=given)
              .history["val_loss"] for given in ((x, y), data)]
    assert curves[0] == pytest.approx(curves[1])


def test_a_callback_that_ends_the_search(rng):
    x, y = rng.standard_normal((60, 3)), rng.standard_normal(60)
    history = nf.models.linear_regression(3).fit(
        x, y, solver="lbfgs", verbose=0, callbacks=nf.callbacks.EarlyStopping("loss", patience=1, min_delta=1e9))
    assert not history.converged and history.message == "a callback ended the search"
