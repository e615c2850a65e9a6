"""fit_many and predict_many: what one model after the other would have given, and errors that reach the caller."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import nnfast as nf


def build(seed, width=8, n_threads=None):
    model = nf.Sequential([nf.Dense(width, activation="relu"), nf.Dropout(0.2), nf.Dense(3, activation="softmax")],
                          seed=seed)
    model.compile(nf.Adam(0.01), "cross_entropy", metrics=["accuracy"], n_threads=n_threads)
    return model


@pytest.fixture
def data(rng):
    return rng.standard_normal((150, 6)), rng.integers(0, 3, 150)


@pytest.mark.parametrize("n_threads", [None, 1, 3])
def test_same_as_one_after_the_other(data, n_threads):
    models, others = ([build(seed, 5 + seed) for seed in range(6)] for _ in range(2))
    for _ in range(2):      # and again, from where they are
        histories = nf.fit_many(models, *data, n_threads=n_threads, epochs=3, validation_split=0.2)
        for model, other, history in zip(models, others, histories):
            expected = other.fit(*data, epochs=3, validation_split=0.2, verbose=0)
            assert history.history == expected.history and model.history is history
            for a, b in zip(model.get_weights(), other.get_weights()):
                np.testing.assert_array_equal(a, b)
            assert model.iterations == other.iterations


@pytest.mark.parametrize("built", [True, False])
def test_seeds_train_copies_of_one_model(data, built):
    template = build(99)
    if built:
        template.fit(*data, epochs=1, verbose=0)
        before = template.get_weights()
    models = nf.fit_many(range(5), *data, model=template, epochs=3)
    assert template.epochs_trained == int(built)
    for seed, model in enumerate(models):
        expected = build(seed)
        assert model.history.history == expected.fit(*data, epochs=3, verbose=0).history
        assert model.seed == seed and model._settings.n_threads is None
        for a, b in zip(model.get_weights(), expected.get_weights()):
            np.testing.assert_array_equal(a, b)
    if built:
        for a, b in zip(template.get_weights(), before):
            np.testing.assert_array_equal(a, b)


def test_errors_of_seeds(data):
    template = build(0)
    with pytest.raises(TypeError, match="entry 0 is int; seeds need model="):
        nf.fit_many(range(3), *data)
    with pytest.raises(TypeError, match="fit_many: entry 1: seed must be an integer, got str"):
        nf.fit_many([0, "1"], *data, model=template)
    with pytest.raises(ValueError, match="fit_many: entry 0: seed must be at least 0, got -1"):
        nf.fit_many([-1], *data, model=template)
    with pytest.raises(TypeError, match="entry 0: seed must be an integer, got Sequential"):
        nf.fit_many([template], *data, model=template)
    with pytest.raises(TypeError, match="expected a list of seeds, got int"):
        nf.fit_many(3, *data, model=template)
    with pytest.raises(TypeError, match="model must be an nnfast model, got str"):
        nf.fit_many([0], *data, model="template")
    with pytest.raises(ValueError, match="fit_many: model is not compiled"):
        nf.fit_many([0], *data, model=nf.Sequential([nf.Dense(1)]))
    with pytest.raises(nf.TrainingError) as caught:
        nf.fit_many([7], data[0], np.eye(3)[data[1]], model=exploding(), epochs=5)
    assert caught.value.__notes__ == ["fit_many: seed 7"]
    with pytest.raises(nf.TrainingError) as caught:
        nf.fit_many([template, exploding()], data[0], np.eye(3)[data[1]], epochs=5)
    assert caught.value.__notes__ == ["fit_many: model 1, 'sequential'"]


def test_copies_have_optimizers_of_their_own(data):
    template = build(0)
    first, second = nf.fit_many(range(2), *data, model=template)
    first.optimizer.learning_rate = 0.5
    assert template.optimizer.learning_rate == second.optimizer.learning_rate == 0.01
    assert first.clone().optimizer is not first.optimizer


def test_settings_stay(data):
    models = [build(0), build(1, n_threads=2)]
    nf.fit_many(models, *data)
    assert [model._settings.n_threads for model in models] == [None, 2]
    assert nf.fit_many([], *data) == []


def test_the_others_end_where_one_fails(data):
    models = [build(0), build(1), build(2)]
    y = np.eye(3)[data[1]]
    for model in models[::2]:
        model.compile("sgd", "cross_entropy")
    with pytest.raises(nf.TrainingError):
        nf.fit_many([models[0], exploding(), models[2]], data[0], y, epochs=5)
    assert models[0].epochs_trained == models[2].epochs_trained == 5


def exploding():
    model = nf.Sequential([nf.Dense(3)])
    model.compile(nf.SGD(1e38), "squared_error")
    return model


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no pthread_kill")
def test_ctrl_c_ends_all(data):
    models = [build(seed) for seed in range(4)]

    def interrupt():
        while models[0].iterations < 100:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        nf.fit_many(models, *data, n_threads=2, epochs=10**8)
    thread.join()
    steps = [model.iterations for model in models]
    assert steps[0] >= 100 and steps[2:] == [0, 0]      # nobody has begun with these
    time.sleep(0.1)
    assert [model.iterations for model in models] == steps
    assert models[0].history.history["loss"] and models[0]._settings.n_threads is None
    nf.fit_many(models, *data)


def test_ctrl_c_while_threads_begin(data, monkeypatch):
    models, start = [build(seed) for seed in range(4)], threading.Thread.start

    def interrupted_start(thread):
        start(thread)
        while models[0].iterations < 100:
            time.sleep(0.01)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted_start)
        with pytest.raises(KeyboardInterrupt):
            nf.fit_many(models, *data, n_threads=2, epochs=10**8)
    steps = [model.iterations for model in models]
    assert steps[0] >= 100 and steps[1:] == [0, 0, 0]
    time.sleep(0.1)
    assert models[0].iterations == steps[0]
    nf.fit_many(models, *data)


IMPATIENT = """
import signal, threading, time
import numpy as np
import nnfast as nf

models = [nf.Sequential([nf.Dense(3, activation="softmax")]) for _ in range(4)]
for model in models:
    model.compile("sgd", "cross_entropy")
inside = True

def interrupt(signum, frame):
    if inside:
        raise KeyboardInterrupt

def ready():
    while not models[0].iterations:
        time.sleep(0.001)
    print("ready", flush=True)

signal.signal(signal.SIGINT, interrupt)
threading.Thread(target=ready).start()
try:
    nf.fit_many(models, np.zeros((150, 6)), np.zeros(150, int), n_threads=2, epochs=10**8)
except KeyboardInterrupt:
    inside = False
steps = [model.iterations for model in models]
time.sleep(0.1)
assert [model.iterations for model in models] == steps
print(steps[0] > 0, steps[2:])
"""


@pytest.mark.skipif(os.name == "nt", reason="a console's Ctrl-C reaches the parent, too")
def test_ctrl_c_again_and_again():
    """Also while all fits are being ended."""
    child = subprocess.Popen([sys.executable, "-c", IMPATIENT], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
    assert child.stdout.readline() == "ready\n"
    for _ in range(3):
        child.send_signal(signal.SIGINT)
        time.sleep(0.004)
    try:
        output, errors = child.communicate(timeout=60)
    finally:
        child.kill()
    assert output == "True [0, 0]\n", errors


def test_takes_whatever_can_be_gone_through(data):
    class Population:       # a sequence without __iter__
        def __init__(self, models):
            self.models = models

        def __getitem__(self, i):
            return self.models[i]

    models = [build(0), build(1)]
    histories = nf.fit_many(Population(models), *data, epochs=1)
    assert [history.history for history in histories] == [model.history.history for model in models]
    sample = np.stack([data[0][0]] * 2)
    np.testing.assert_array_equal(nf.predict_many(Population(models), sample), nf.predict_many(iter(models), sample))


def test_refuses(data):
    model = build(0)
    with pytest.raises(ValueError, match="model 1 is in the list twice; use model.clone"):
        nf.fit_many([model, model], *data)
    with pytest.raises(TypeError, match="fit_many: expected a list of models, got one"):
        nf.fit_many(model, *data)
    with pytest.raises(TypeError, match="fit_many: expected a list of models, got int"):
        nf.fit_many(4, *data)
    with pytest.raises(TypeError, match="predict_many: expected a list of models, got ndarray"):
        nf.predict_many(np.array(4), data[0])
    with pytest.raises(TypeError, match="entry 0 is str"):
        nf.fit_many(["model"], *data)
    with pytest.raises(ValueError, match="model 0 is not compiled"):
        nf.fit_many([nf.Sequential([nf.Dense(1)])], *data)
    with pytest.raises(TypeError, match="callbacks belongs to one model"):
        nf.fit_many([model], *data, callbacks=[])


# --- predict_many ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_are_those_of_each(dtype, rng):
    models = [nf.Sequential([nf.Dense(n, activation="tanh"), nf.Dense(2)], input_shape=(4,), seed=n, dtype=dtype)
              for n in range(1, 6)]
    x = rng.standard_normal((5, 4)).astype(dtype)
    expected = np.concatenate([model.predict(x[i:i + 1]) for i, model in enumerate(models)])
    for samples in (x, list(x), x.astype(np.float64).tolist()):
        np.testing.assert_array_equal(nf.predict_many(models, samples), expected)
    assert nf.predict_many([models[0]] * 5, x).shape == (5, 2)


def test_outputs_of_several_shapes(rng):
    image = nf.Sequential([nf.Conv2D(2, 3)], input_shape=(5, 5, 1))
    x = nf.Input((3,))
    heads = nf.Model(x, [nf.Dense(2)(x), nf.Dense(1)(x)])
    samples = [rng.standard_normal((5, 5, 1)), rng.standard_normal(3)]
    first, second = nf.predict_many([image, heads], samples)
    np.testing.assert_array_equal(first, image.predict(samples[0][None])[0])
    assert [y.shape for y in second] == [(2,), (1,)]
    assert len(nf.predict_many([], [])) == 0


def test_refuses_samples_that_do_not_fit():
    models = [nf.Sequential([nf.Dense(2)], input_shape=(4,)) for _ in range(3)]
    with pytest.raises(ValueError, match="expected a sample for each of 3 models, got 2"):
        nf.predict_many(models, np.zeros((2, 4)))
    with pytest.raises(ValueError, match="predict_many: model 1: .*4.*5"):
        nf.predict_many(models, [np.zeros(4), np.zeros(5), np.zeros(4)])
    with pytest.raises(TypeError, match="predict_many: models must be nnfast models, entry 0 is int"):
        nf.predict_many([3], [np.zeros(4)])


def small_models(n):
    models = [nf.Sequential([nf.Dense(2)], input_shape=(3,), seed=seed) for seed in range(n)]
    for model in models:
        model.compile("adam", "squared_error")
    return models


def test_data_that_are_used_up_after_one_pass():
    batches = [(np.ones((4, 3)), np.ones((4, 2)))] * 3
    with pytest.raises(TypeError, match="list_iterator is used up after one pass, and there are 2 models"):
        nf.fit_many(small_models(2), iter(batches), epochs=1)
    for validation in (iter(batches), (iter(batches), None), [iter(batches), None, None]):
        with pytest.raises(TypeError, match="fit_many: validation_data: list_iterator is used up after one pass"):
            nf.fit_many(small_models(2), *batches[0], validation_data=validation)
        nf.fit_many(small_models(1), *batches[0], validation_data=validation)
    first, second = nf.fit_many(small_models(2), lambda: iter(batches), validation_data=batches.__iter__, epochs=2)
    assert first.history.keys() == second.history.keys() == {"loss", "val_loss"}
    assert len(nf.fit_many(small_models(1), iter(batches), None, epochs=1)) == 1
    assert len(nf.fit_many(small_models(2), lambda: iter(batches), None, epochs=2)) == 2


@pytest.mark.skipif(os.name == "nt", reason="signals to oneself are POSIX's")
def test_ctrl_c_while_models_wait_for_data():
    def slowly():
        while True:
            time.sleep(0.1)
            yield np.ones((4, 3)), np.ones((4, 2))

    models = small_models(2)
    timer = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        nf.fit_many(models, slowly, None, epochs=2)
    assert time.monotonic() - begun < 5
    for model in models:        # and can be used again
        model.fit(lambda: iter([(np.ones((4, 3)), np.ones((4, 2)))]), epochs=1, verbose=0)
