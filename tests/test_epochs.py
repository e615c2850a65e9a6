"""fit from epoch to epoch: callbacks, how often Python is called, epochs that share a call, and what ends it."""
import signal
import sys
import threading
import time

import numpy as np
import pytest
from small import classes, classifier, regressor, same_weights

import nnfast as nf

# --- callbacks -------------------------------------------------------------------------------------------------------

class Diary(nf.Callback):
    def __init__(self):
        self.lines = []

    def on_train_begin(self, logs=None):
        self.lines.append("begin")

    def on_epoch_end(self, epoch, logs=None):
        self.lines.append(epoch)

    def on_train_end(self, logs=None):
        self.lines.append("end")

    def close(self):
        self.lines.append("close")


class Batches(Diary):
    def on_batch_end(self, batch, logs=None):
        self.lines.append(f"batch {batch}")


def test_callbacks_are_called_in_order(rng):
    x, y = classes(rng, 40)
    diary = Diary()
    classifier().fit(x, y, epochs=2, callbacks=diary, verbose=0)
    assert diary.lines == ["begin", 0, 1, "end", "close"]


def test_a_callback_for_batches_sees_each_and_changes_nothing(rng):
    x, y = classes(rng, 40)
    diary = Batches()
    one, two = classifier(), classifier()
    a = one.fit(x, y, batch_size=16, epochs=2, callbacks=[diary], verbose=0)
    b = two.fit(x, y, batch_size=16, epochs=2, verbose=0)
    batches = ["batch 0", "batch 1", "batch 2"]
    assert diary.lines == ["begin", *batches, 0, *batches, 1, "end", "close"]
    for name, values in a.history.items():
        np.testing.assert_allclose(values, b.history[name], rtol=1e-13)
    assert same_weights(one, two)


def test_batches_with_metrics_of_several_totals(rng):
    x, y = rng.standard_normal((40, 3)), rng.standard_normal((40, 2))
    histories = []
    for callbacks in ([Batches()], None):
        model = regressor()
        model.compile("sgd", "squared_error", metrics=["r2", "mse"])
        histories.append(model.fit(x, y, batch_size=16, epochs=2, callbacks=callbacks, verbose=0).history)
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-12)


def test_stop_training_and_the_learning_rate_can_be_set_between_epochs(rng):
    x, y = classes(rng, 40)
    model = classifier()
    frozen = []

    def epoch_end(epoch, logs):
        model.optimizer.learning_rate = 1e-300
        frozen.append(model.get_weights()[0])
        model.stop_training = epoch == 2

    history = model.fit(x, y, epochs=10, callbacks=nf.LambdaCallback(on_epoch_end=epoch_end), verbose=0)
    assert len(history.history["loss"]) == 3
    np.testing.assert_array_equal(frozen[0], frozen[2])


def test_an_exception_in_a_callback_ends_fit_and_keeps_history(rng):
    x, y = classes(rng, 40)
    model = classifier()

    def epoch_end(epoch, logs):
        if epoch == 2:
            raise RuntimeError("enough")

    diary = Diary()
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(x, y, epochs=10, callbacks=[nf.LambdaCallback(on_epoch_end=epoch_end), diary], verbose=0)
    assert diary.lines[-1] == "close"
    assert len(model.history.history["loss"]) == 3


def test_early_stopping_restores_the_best_weights(rng):
    x, y = rng.standard_normal((20, 3)), rng.standard_normal((20, 2))
    xv, yv = rng.standard_normal((20, 3)), rng.standard_normal((20, 2))
    model = regressor(optimizer=nf.Adam(0.05))
    stop = nf.EarlyStopping("val_loss", patience=5, restore_best=True)
    history = model.fit(x, y, epochs=500, validation_data=(xv, yv), callbacks=stop, verbose=0)
    assert len(history.epoch) < 500
    np.testing.assert_allclose(model.evaluate(xv, yv)["loss"], min(history.history["val_loss"]), rtol=1e-12)


def test_freezing_from_a_callback(rng):
    x, y = classes(rng, 40)
    model = classifier()
    weights = []

    def epoch_end(epoch, logs):
        model.layers[0].trainable = False
        weights.append(model.get_weights()[0])

    model.fit(x, y, epochs=3, callbacks=nf.LambdaCallback(on_epoch_end=epoch_end), verbose=0)
    np.testing.assert_array_equal(weights[0], weights[2])


@pytest.mark.parametrize("event", ["on_epoch_end", "on_batch_end"])
def test_compile_within_fit_is_refused(event, rng):
    x, y = classes(rng, 40)
    model = classifier()
    callback = nf.LambdaCallback(**{event: lambda *_: model.compile("sgd", "squared_error")})
    with pytest.raises(ValueError, match="a callback has called compile"):
        model.fit(x, y, epochs=3, callbacks=callback, verbose=0)


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_verbose(verbose, rng, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)     # without a terminal there is no bar
    x, y = classes(rng, 40)
    classifier().fit(x, y, epochs=2, verbose=verbose)
    out, err = capsys.readouterr()
    assert bool(out) == (verbose == 2)
    assert bool(err) == (verbose == 1)
    if verbose:
        assert "accuracy" in out + err


# --- one call an epoch -----------------------------------------------------------------------------------------------

def test_no_python_runs_between_the_batches_of_an_epoch(rng):
    x, y = classes(rng, 4000)
    model = classifier(dtype="float32")

    def calls(n):
        count = 0

        def tracer(frame, event, argument):
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(tracer)
        try:
            model.fit(x[:n], y[:n], batch_size=4, verbose=0)
        finally:
            sys.setprofile(None)
        return count

    calls(8)
    few, many = calls(8), calls(4000)       # 2 and 1,000 batches
    assert many == few
    assert many < 400


def test_schedules_cost_no_python_per_batch(rng):
    x, y = classes(rng, 400)
    model = classifier()
    model.compile(nf.Adam(nf.schedules.Cosine(0.01, 1000)), "cross_entropy")
    model.fit(x, y, batch_size=4, verbose=0)
    assert model.iterations == 100


def test_steps_do_not_wait_for_the_gil(rng):
    """A thread that runs Python gives it away once in a switch interval: a step that asked would take 50 ms."""
    x, y = classes(rng, 4000)
    model, ended, interval = classifier(), False, sys.getswitchinterval()

    def run_python():
        while not ended:
            pass

    thread = threading.Thread(target=run_python)
    sys.setswitchinterval(0.05)
    try:
        thread.start()
        begun = time.perf_counter()
        model.fit(x, y, batch_size=4, verbose=0)
        assert time.perf_counter() - begun < 20
    finally:
        ended = True
        thread.join()
        sys.setswitchinterval(interval)
    assert model.iterations == 1000


# --- epochs that share a call ----------------------------------------------------------------------------------------

class Watching(nf.Callback):
    """Asks for nothing, but to be called after each epoch."""


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"batch_size": 7}, {"sample_weight": True}], ids=str)
def test_epochs_in_one_call_are_those_of_a_call_each(options, n_threads, rng):
    x, y = classes(rng, 60)
    if "sample_weight" in options:
        options = {"sample_weight": np.where(np.arange(60) < 32, 0.0, rng.random(60)), "shuffle": False}
    one, two = classifier(), classifier()
    for model in (one, two):
        model.compile(nf.Adam(0.01), "cross_entropy", metrics=["accuracy"], n_threads=n_threads)
    together = one.fit(x, y, epochs=30, verbose=0, **options)
    apart = two.fit(x, y, epochs=30, verbose=0, callbacks=[Watching()], **options)
    assert together.history == apart.history and together.epoch == apart.epoch == list(range(30))
    assert len(together.seconds) == 30 and min(together.seconds) > 0
    assert same_weights(one, two)
    assert (one.iterations, one.epochs_trained) == (two.iterations, two.epochs_trained)
    assert one.train_on_batch(x, y) == two.train_on_batch(x, y)


def test_epochs_in_one_call_that_end_with_an_error(rng):
    x, y = rng.standard_normal((64, 3)), rng.standard_normal((64, 2))
    histories, messages = [], []
    for callbacks in ([], [Watching()]):
        model = nf.Sequential([nf.Dense(8), nf.Dense(2)], input_shape=(3,), dtype="float64")
        model.compile(nf.SGD(10.0), "squared_error")
        with pytest.raises(nf.TrainingError) as caught:
            model.fit(x, y, epochs=1000, batch_size=16, callbacks=callbacks, verbose=0)
        histories.append(model.history.history)
        messages.append((str(caught.value), model.epochs_trained, model.iterations))
    assert histories[0] == histories[1] and messages[0] == messages[1]


def test_stop_training_from_a_loss(rng):
    x = rng.standard_normal((8, 3))
    model = nf.Sequential([nf.Dense(2)], input_shape=(3,))

    def loss(t, y):
        model.stop_training = len(model.history.epoch) == 3
        return ((y - t) ** 2).sum(axis=1), 2 * (y - t)

    model.compile("sgd", loss)
    assert len(model.fit(x, x[:, :2], epochs=100, verbose=0).epoch) == 4


def test_stop_training_from_another_thread(rng):
    x, y = classes(rng, 60)
    model = classifier()
    timer = threading.Timer(0.2, setattr, (model, "stop_training", True))
    timer.start()
    history = model.fit(x, y, epochs=10**9, verbose=0)
    timer.join()
    assert len(history.epoch) == model.epochs_trained > 0


# --- stopping --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("batches", [False, True])
def test_a_loss_that_is_not_finite_stops_fit(batches, rng):
    x, y = rng.standard_normal((64, 3)), rng.standard_normal((64, 2))
    x[40] = 1e200       # squares to infinity
    model = nf.Sequential([nf.Dense(2)], input_shape=(3,), dtype="float64")
    model.compile(nf.SGD(0.01), "squared_error")
    other = model.clone()
    with pytest.raises(nf.TrainingError, match="epoch 1, batch 3 of 4: the loss is not finite") as caught:
        model.fit(x, y, batch_size=16, shuffle=False, verbose=0, callbacks=[Batches()] if batches else None)
    assert isinstance(caught.value, FloatingPointError)
    other.fit(x[:32], y[:32], batch_size=16, shuffle=False, verbose=0)
    assert same_weights(model, other)
    assert model.iterations == 2
    with pytest.raises(nf.TrainingError, match="step 3"):
        model.train_on_batch(x, y)
    assert same_weights(model, other)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "elu", "gelu", "silu", "softplus", "relu", "relu6",
                                        "hard_sigmoid", "hard_swish", "selu", "mish"])
def test_a_batch_that_overflows_does_not_spoil_the_next(activation, rng):
    x, y = rng.standard_normal((8, 4)).astype(np.float32), rng.standard_normal((8, 1)).astype(np.float32)
    layers = [nf.Dense(8, kernel_initializer="ones"), nf.Dense(8), nf.Dense(5, activation=activation), nf.Dense(1)]
    model = nf.Sequential(layers, input_shape=(4,), seed=0)
    model.compile("adam", "squared_error")
    model.train_on_batch(x, y)
    huge = x.copy()
    huge[3] = 3e38
    with pytest.raises(nf.TrainingError):
        model.train_on_batch(huge, y)
    expected = model.clone().train_on_batch(x, y)
    assert model.train_on_batch(x, y) == expected


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_a_gradient_of_inf_times_zero_is_not_applied(activation, n_threads):
    """A hidden value overflows, but its unit is saturated: its gradient is 0, and the kernel's is nan."""
    layers = [nf.Dense(1, name="a", trainable=False), nf.Dense(16, activation=activation, name="b")]
    model = nf.Sequential(layers, input_shape=(1,))
    model.compile(nf.SGD(0.1), "squared_error", n_threads=n_threads)
    model.set_parameters({"a/kernel": [[1e30]], "b/kernel": np.ones((1, 16))})
    before = model.get_weights()
    with pytest.raises(nf.TrainingError, match="gradient is not finite"):
        model.train_on_batch([[1e30], [1e-30]], np.full((2, 16), 0.5))
    assert all((a == b).all() for a, b in zip(model.get_weights(), before))


@pytest.mark.parametrize("affine", [True, False])
def test_a_variance_that_overflows_is_not_kept(affine, rng):
    normalize = nf.BatchNorm(center=affine, scale=affine)
    model = nf.Sequential([normalize, nf.Dense(8, activation="tanh"), nf.Dense(1)], input_shape=(2,))
    model.compile(nf.Adam(0.01), "squared_error")
    x = rng.standard_normal((64, 2)) * 1e20
    with pytest.raises(nf.TrainingError):
        model.fit(x, np.sign(x[:, 0]), verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("layer", [nf.LayerNorm(), nf.Conv2DTranspose(4, 1)], ids=repr)
def test_a_gradient_that_overflows_is_not_applied(layer, n_threads):
    """Each number of dy is finite, and so is each of the normalized x; their sum is not."""
    loss = nf.CustomLoss(lambda y, target: (np.zeros(len(y)), np.full_like(y, 3e38)))
    model = nf.Sequential([layer.copy(), nf.Flatten()], input_shape=(2, 2, 4))
    model.compile(nf.SGD(0.1), loss, n_threads=n_threads)
    before = model.get_weights()
    x = np.tile([5.0, 0, 0, 0], (4, 2, 2, 1))
    with pytest.raises(nf.TrainingError, match="gradient is not finite"):
        model.train_on_batch(x, np.zeros((4, 16)))
    assert all((a == b).all() for a, b in zip(model.get_weights(), before))


def test_a_step_is_the_same_in_two_calls_for_subnormal_weights():
    models = [nf.Sequential([nf.Dense(1, use_bias=False)], input_shape=(1,)) for _ in range(2)]
    for model in models:
        model.compile(nf.SGD(0.5), "squared_error")
        model.set_weights([[[1e-39]]])
    x = np.zeros((1, 1), np.float32)
    models[0].train_on_batch(x, x)
    models[1].apply_gradients(models[1].gradients(x, x)[1])
    assert same_weights(*models)


def test_divergence_leaves_finite_weights(rng, dtype):
    x, y = rng.standard_normal((64, 3)), rng.standard_normal((64, 2))
    model = nf.Sequential([nf.Dense(8), nf.Dense(2)], input_shape=(3,), dtype=dtype.name)
    model.compile(nf.SGD(10.0), "squared_error")
    with pytest.raises(nf.TrainingError):
        model.fit(x, y, epochs=1000, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert model.history.history["loss"]
    model.compile(nf.SGD(1e-3), "squared_error")


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no pthread_kill")
def test_ctrl_c_stops_within_a_fifth_of_a_second(rng):
    x, y = rng.standard_normal((4096, 64)).astype(np.float32), rng.integers(0, 10, 4096)
    model = nf.Sequential([nf.Dense(64, activation="relu"), nf.Dense(10, activation="softmax")], input_shape=(64,))
    model.compile("adam", "cross_entropy")
    before = model.get_weights()
    model.fit(x, y, verbose=0)

    def seconds_to_stop():
        sent = []

        def interrupt():
            sent.append(time.perf_counter())
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        timer = threading.Timer(0.3, interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            model.fit(x, y, epochs=100_000_000, verbose=0)
        stopped = time.perf_counter()
        timer.join()
        return stopped - sent[0]

    # A machine that is busy with something else may keep a thread waiting that long.
    assert any(seconds_to_stop() < 0.2 for _ in range(5))
    assert (model.get_weights()[0] != before[0]).any()
    assert model.history.history["loss"]
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"][0])


def test_two_threads_train_two_models(rng):
    x, y = classes(rng, 400)
    alone = classifier()
    alone.fit(x, y, epochs=5, verbose=0)
    models = [classifier() for _ in range(4)]
    threads = [threading.Thread(target=model.fit, args=(x, y), kwargs={"epochs": 5, "verbose": 0}) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same_weights(model, alone) for model in models)


@pytest.mark.parametrize("n_threads", [2, 3])
def test_the_bits_do_not_depend_on_the_threads(n_threads, rng):
    x, y = classes(rng, 300)
    weights = []
    for n in (1, n_threads):
        model = classifier(dtype="float32")
        model.compile(nf.Adam(0.01, clip_norm=1.0), "cross_entropy", metrics=["accuracy"], n_threads=n)
        history = model.fit(x, y, batch_size=48, epochs=3, verbose=0)
        weights.append((model.get_weights(), history.history))
    for a, b in zip(weights[0][0], weights[1][0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert weights[0][1] == weights[1][1]
