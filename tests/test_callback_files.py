"""Callbacks in `fit` that change rates, write files and end training; and what a callback that fails leaves behind."""

import csv
import io
import math
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

import nnfast as nf
from nnfast.callbacks import CSVLogger, LearningRateScheduler, ReduceLROnPlateau, TensorBoard, TerminateOnNaN


@pytest.fixture
def data(rng):
    x = rng.standard_normal((60, 3))
    return x, x @ [[1.0], [2.0], [3.0]]


def network(rate=0.01, optimizer=nf.SGD):
    model = nf.Sequential([nf.Dense(1)], input_shape=(3,), dtype="float64")
    model.compile(optimizer(rate), "squared_error", metrics=["mae"])
    return model


# --- learning rates --------------------------------------------------------------------------------------------------

def test_scheduler_is_what_setting_the_rate_by_hand_is(data):
    callback = LearningRateScheduler(lambda epoch, rate: rate * 0.5)
    model, other = network(), network()
    model.fit(*data, epochs=4, callbacks=callback, verbose=0)
    for epoch in range(4):
        other.optimizer.learning_rate *= 0.5
        other.fit(*data, epochs=epoch + 1, initial_epoch=epoch, verbose=0)
    assert callback.rates == [0.005, 0.0025, 0.00125, 0.000625]
    np.testing.assert_array_equal(model.get_weights()[0], other.get_weights()[0])


def plateau(figures, **arguments):
    """Rates after each epoch with these figures."""
    model = network(1.0)
    callback = ReduceLROnPlateau("loss", **{"factor": 0.5, "patience": 2, "min_delta": 0.0, **arguments})
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, figure in enumerate(figures):
        callback.on_epoch_end(epoch, {"loss": figure})
        rates.append(model.optimizer.learning_rate)
    return rates


@pytest.mark.parametrize("figures, arguments, rates", [
    ([3, 2, 2, 2, 2, 2], {}, [1, 1, 1, 0.5, 0.5, 0.25]),
    ([3, 2, 2, 1, 1, 1], {}, [1, 1, 1, 1, 1, 0.5]),
    ([1, 1, 1, 1, 1, 1, 1], {"cooldown": 2}, [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]),
    ([1, 1, 1, 1, 1], {"min_lr": 0.4, "patience": 1}, [1, 0.5, 0.4, 0.4, 0.4]),
    ([1, 2, 3, 4, 4], {"mode": "max", "patience": 1}, [1, 1, 1, 1, 0.5]),
    ([1, 0.9, 0.8, 0.7], {"min_delta": 0.15, "patience": 1}, [1, 0.5, 0.5, 0.25]),
])
def test_plateau(figures, arguments, rates):
    assert plateau(figures, **arguments) == rates


def test_plateau_can_be_used_again(data):
    callback = ReduceLROnPlateau("mae", patience=1, min_delta=100)
    for _ in range(2):
        network().fit(*data, epochs=3, callbacks=callback, verbose=0)
        assert [epoch for epoch, _ in callback.reductions] == [1, 2]


@pytest.mark.parametrize("callback", [LearningRateScheduler(lambda epoch, rate: rate), ReduceLROnPlateau("loss")])
def test_rates_of_a_schedule_are_not_overwritten(data, callback):
    model = network(nf.schedules.Step(0.1, 10))
    with pytest.raises(ValueError, match=f"{type(callback).__name__}: the optimizer has a schedule of its own, Step"):
        model.fit(*data, callbacks=callback, verbose=0)


def halving(epoch, rate):
    return 0.9 * rate


@pytest.mark.parametrize("make", [
    lambda: LearningRateScheduler(halving), lambda: ReduceLROnPlateau("loss", patience=2, min_delta=1.0),
], ids=["scheduler", "plateau"])
def test_rates_go_on_from_a_checkpoint(data, make, tmp_path):
    whole, parts = make(), make()
    model = network()
    model.fit(*data, epochs=8, callbacks=[whole, nf.callbacks.Checkpoint(tmp_path / "a")], verbose=0)
    network().fit(*data, epochs=5, callbacks=[parts, nf.callbacks.Checkpoint(tmp_path / "b")], verbose=0)
    parts, other = make(), network()
    other.fit(*data, epochs=8, callbacks=[parts, nf.callbacks.Checkpoint(tmp_path / "b")], resume=tmp_path / "b",
              verbose=0)
    assert parts.get_state() == whole.get_state()
    np.testing.assert_array_equal(model.get_weights()[0], other.get_weights()[0])


# --- files -----------------------------------------------------------------------------------------------------------

def test_table_holds_the_history(data, tmp_path):
    path = tmp_path / "log.csv"
    history = network().fit(*data, epochs=3, validation_split=0.2, callbacks=CSVLogger(path), verbose=0).history
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    assert {name: [float(row[name]) for row in rows] for name in history} == history


def test_table_goes_on(data, tmp_path):
    path = tmp_path / "log.csv"
    model, logger = network(), CSVLogger(path, separator=";", append=True)
    model.fit(*data, epochs=2, callbacks=logger, verbose=0)
    model.fit(*data, epochs=3, initial_epoch=2, callbacks=logger, verbose=0)
    assert [line.split(";")[0] for line in path.read_text().splitlines()] == ["epoch", "0", "1", "2"]
    before = path.read_text()
    with pytest.raises(ValueError, match="has the columns epoch, loss, mae, this training has epoch, loss, mae, val"):
        model.fit(*data, validation_split=0.5, callbacks=logger, verbose=0)
    assert path.read_text() == before
    model.fit(*data, callbacks=CSVLogger(path), verbose=0)
    assert path.read_text().startswith("epoch,loss,mae\n0,")


def test_table_whose_last_line_has_no_end(data, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss,mae\n0,1.5,2.5")
    network().fit(*data, epochs=2, initial_epoch=1, callbacks=CSVLogger(path, append=True), verbose=0)
    lines = path.read_text().splitlines()
    assert lines[:2] == ["epoch,loss,mae", "0,1.5,2.5"] and lines[2].startswith("1,") and len(lines) == 3
    path.write_text("")
    network().fit(*data, epochs=2, callbacks=CSVLogger(path, append=True), verbose=0)
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["epoch", "0", "1"]


def test_table_is_closed_whatever_happens(data, tmp_path):
    logger = CSVLogger(tmp_path / "log.csv")

    def fail(epoch, logs):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        network().fit(*data, callbacks=[logger, nf.LambdaCallback(on_epoch_end=fail)], verbose=0)
    assert logger._file is None and len((tmp_path / "log.csv").read_text().splitlines()) == 2
    with pytest.raises(FileNotFoundError):
        network().fit(*data, callbacks=CSVLogger(tmp_path / "no" / "log.csv"), verbose=0)
    pickle.loads(pickle.dumps(logger))


def events(folder):
    """[(step, value)] by tag, of the only file that TensorBoard would read."""
    from tensorboardX.event_file_writer import EventsWriter  # noqa: F401
    from tensorboardX.proto.event_pb2 import Event

    (path,) = folder.iterdir()
    raw, at, found = path.read_bytes(), 0, {}
    while at < len(raw):
        size = int.from_bytes(raw[at:at + 8], "little")
        event = Event.FromString(raw[at + 12:at + 12 + size])
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
        at += size + 16
    return found


@pytest.mark.parametrize("batches", [False, True])
def test_tensorboard_holds_the_history(data, tmp_path, batches):
    history = network().fit(*data, epochs=3, batch_size=30, validation_split=0.5, verbose=0,
                            callbacks=TensorBoard(tmp_path, batches)).history
    found = {tag: [value for _, value in pairs] for tag, pairs in events(tmp_path).items()}
    for name, values in history.items():
        tag = f"{name.removeprefix('val_')}/{'validation' if name.startswith('val_') else 'train'}"
        np.testing.assert_array_equal(found[tag], np.float32(values))
    np.testing.assert_array_equal(found["learning_rate"], np.float32([0.01] * 3))
    assert len(found.get("loss/batch", ())) == (3 if batches else 0)


def test_steps_of_epochs_of_different_lengths(data, tmp_path):
    """They are counted, as a generator may give more or fewer batches in the next epoch."""
    lengths = iter([3, 1, 2])

    def batches():
        return [data] * next(lengths)

    every, some = (nf.callbacks.GradientNorms(*data, every=every) for every in (None, 2))
    network().fit(batches, epochs=3, callbacks=[every, some, TensorBoard(tmp_path, True)], verbose=0)
    assert every.steps == [0, 3, 4, 6] and some.steps == [0, 2, 4, 6]
    assert [step for step, _ in events(tmp_path)["loss/batch"]] == list(range(6))
    lengths, file = iter([3, 1, 2]), io.StringIO()
    network().fit(batches, epochs=3, callbacks=nf.ProgressBar(1, file), verbose=0)
    assert re.search(r"\b6 steps", file.getvalue().split("\r")[-1])


def test_tensorboard_without_its_package(data, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'nnfast\[tensorboard\]'"):
        network().fit(*data, callbacks=TensorBoard(tmp_path), verbose=0)


# --- the end of training ---------------------------------------------------------------------------------------------

def test_terminate_on_nan(data):
    guard = TerminateOnNaN()
    with pytest.raises(nf.TrainingError):
        network(1e200).fit(*data, epochs=9, verbose=0)
    model = network(1e200)
    history = model.fit(*data, epochs=9, callbacks=guard, verbose=0)
    assert "not finite" in guard.reason and guard.stopped_epoch == len(history.epoch) < 9
    assert all(np.isfinite(w).all() for w in model.get_weights())
    network().fit(*data, epochs=2, callbacks=guard, verbose=0)
    assert guard.stopped_epoch is None and guard.reason is None


def test_terminate_on_a_nan_figure():
    guard = TerminateOnNaN()
    guard.set_model(network())
    guard.on_epoch_end(4, {"loss": 1.0, "val_loss": math.inf})
    assert guard.stopped_epoch == 4 and guard.reason == "val_loss is inf" and guard.model.stop_training


def test_terminate_puts_back_the_best_weights(data):
    """The callbacks' on_train_end runs as after any other training."""
    x, y = data
    best = nf.EarlyStopping("loss", patience=100, restore_best=True)

    def explode(epoch, rate):
        return 1e200 if epoch == 3 else rate

    model = network()
    model.fit(x, y, epochs=9, callbacks=[best, LearningRateScheduler(explode), TerminateOnNaN()], verbose=0)
    assert best.best_epoch == 2
    other = network()
    other.fit(x, y, epochs=3, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], other.get_weights()[0])


@pytest.mark.parametrize("when", ["on_train_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end", "on_train_end"])
def test_a_callback_that_raises_ends_training_cleanly(data, when):
    closed = []

    class Fails(nf.Callback):
        def close(self):
            closed.append(True)
            raise OSError("cannot close")

    class Closes(nf.Callback):
        def close(self):
            closed.append(True)

    def fail(*given):
        raise RuntimeError("mine")

    setattr(Fails, when, fail)
    model = network()
    with pytest.raises(OSError, match="cannot close") as error:
        model.fit(*data, epochs=2, callbacks=[Fails(), Closes()], verbose=0)
    assert str(error.value.__context__) == "mine" and len(closed) == 2
    losses = model.fit(*data, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_no_bar_where_there_is_no_terminal():
    code = ("import nnfast as nf; m = nf.Sequential([nf.Dense(1)]); m.compile('sgd', 'squared_error'); "
            "m.fit([[1.0]], [[1.0]], epochs=3)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("make, error, text", [
    (lambda: LearningRateScheduler(0.1), TypeError, "schedule must be a function"),
    (lambda: ReduceLROnPlateau(factor=1.0), ValueError, "factor must be a finite number above 0 and below 1"),
    (lambda: ReduceLROnPlateau(patience=-1), ValueError, "ReduceLROnPlateau: patience"),
    (lambda: ReduceLROnPlateau(mode="least"), ValueError, "mode 'least'"),
    *[(lambda text=text: CSVLogger("a", separator=text), ValueError, "CSVLogger: separator must be one character")
      for text in (", ", "", '"', "\n", "\r", 3)],
    (lambda: CSVLogger("a", append=1), TypeError, "append must be True or False"),
    (lambda: TensorBoard("a", batches="all"), TypeError, "batches must be True or False"),
])
def test_refuses(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_a_rate_that_is_none(data):
    with pytest.raises(TypeError, match="rate of epoch 0 must be a number, got NoneType"):
        network().fit(*data, callbacks=LearningRateScheduler(lambda epoch, rate: None), verbose=0)


def test_what_notebooks_show(data):
    model = network()
    history = model.fit(*data, epochs=2, verbose=0)
    assert repr(history).startswith("<History: 2 epochs, last loss=") and repr(nf.History()) == "<History: 0 epochs>"
    assert model._repr_html_().startswith("<pre>sequential: 4 parameters, float64") and "dense" in model._repr_html_()
    assert "&lt;Sequential &#x27;sequential&#x27;: not built, float32&gt;" in nf.Sequential([nf.Dense(1)])._repr_html_()


@pytest.mark.parametrize("append", [False, True])
def test_table_of_a_run_that_goes_on(append, data, tmp_path):
    """Killed after its third epoch, of which no checkpoint tells: every epoch has one row in the end."""
    folder, path = tmp_path / "run", tmp_path / "log.csv"

    def fit(epochs, *callbacks, every=10):
        return network().fit(*data, batch_size=16, epochs=epochs, verbose=0, resume=folder, callbacks=[
            nf.callbacks.CSVLogger(path, append=append), nf.callbacks.Checkpoint(folder, every=every), *callbacks])

    def kill(epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(4, nf.LambdaCallback(on_epoch_end=kill), every="epoch")
    with open(path) as file:
        assert [line.split(",")[0] for line in file] == ["epoch", "0", "1", "2"]
    history = fit(4, every="epoch")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    assert [float(row["loss"]) for row in rows] == history.history["loss"]


def test_a_figure_that_is_no_number(tmp_path, data):
    class Adds(nf.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["note"] = "a"

    others = [TerminateOnNaN(), nf.ProgressBar(2, io.StringIO()), TensorBoard(tmp_path / "board")]
    history = network().fit(*data, epochs=2, verbose=0, callbacks=[Adds(), *others])
    assert history.epoch == [0, 1] and others[0].stopped_epoch is None
    assert re.fullmatch(r"(epoch \d/2: loss=[^ ,]+, mae=[^ ,]+\n){2}", others[1].file.getvalue())
    with pytest.raises(TypeError, match="CSVLogger: 'note' among the figures is not a number: 'a'"):
        network().fit(*data, epochs=1, verbose=0, callbacks=[Adds(), nf.callbacks.CSVLogger(tmp_path / "log.csv")])


def test_table_of_another_training(data, tmp_path):
    """Nothing of it is lost to one that cannot go on below it; without append it gives way as a whole."""
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss,other\n0,1,2\n3,1,2\n")
    with pytest.raises(ValueError, match="has the columns epoch, loss, other, this training has epoch, loss"):
        network().fit(*data, initial_epoch=2, epochs=3, verbose=0, callbacks=CSVLogger(path, append=True))
    assert path.read_text() == "epoch,loss,other\n0,1,2\n3,1,2\n"
    network().fit(*data, initial_epoch=2, epochs=3, verbose=0, callbacks=CSVLogger(path))
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["epoch", "2"]
