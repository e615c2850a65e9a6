"""Callbacks by themselves: early stopping, history, functions, and what the progress bar writes."""

import copy
import io
import math
import os
import pickle
import re
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest

import nnfast as nf
from nnfast.callbacks import Callback, CallbackList, EarlyStopping, History, LambdaCallback, ProgressBar


class Weights:
    """As much of a model as callbacks see."""

    def __init__(self):
        self.stop_training = False
        self.value = 0

    def get_weights(self):
        return [self.value]

    def set_weights(self, weights):
        (self.value,) = weights


def run(callback, figures, name="val_loss"):
    """Let a callback see these figures, one an epoch, until it stops; returns the model and the epochs run."""
    model = Weights()
    calls = CallbackList(callback, model, {"epochs": len(figures), "steps": 1, "initial_epoch": 0})
    calls.on_train_begin()
    for epoch, value in enumerate(figures):
        calls.on_epoch_begin(epoch)
        model.value = epoch
        calls.on_epoch_end(epoch, {name: value})
        if model.stop_training:
            break
    calls.on_train_end()
    calls.close()
    return model, epoch + 1


@pytest.mark.parametrize("arguments, figures, epochs, best", [
    ({}, [3, 2, 1], 3, 2),
    ({}, [3, 2, 2, 1], 3, 1),
    ({"patience": 1}, [3, 2, 2, 1], 3, 1),
    ({"patience": 2}, [3, 2, 2, 1, 1, 1, 0], 6, 3),
    ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.4, 2.3, 2.2], 5, 2),
    ({"patience": 2}, [math.nan, 2, math.nan, 1, 3, 3], 6, 3),
    ({"patience": 2}, [math.nan] * 4, 2, None),
    ({"mode": "max"}, [1, 2, 1], 3, 1),
    ({"mode": "max", "min_delta": 1}, [1, 2], 2, 0),
])
def test_early_stopping(arguments, figures, epochs, best):
    callback = EarlyStopping(**arguments)
    model, ran = run(callback, figures)
    assert (ran, callback.best_epoch) == (epochs, best)
    assert callback.stopped_epoch == (epochs - 1 if model.stop_training else None)
    assert model.value == epochs - 1
    callback = EarlyStopping(**arguments, restore_best=True)
    model, _ = run(callback, figures)
    assert model.value == (epochs - 1 if best is None else best)


@pytest.mark.parametrize("name, better", [("val_loss", 0), ("mae", 0), ("val_accuracy", 2), ("top_k_accuracy", 2),
                                          ("val_r2", 2)])
def test_early_stopping_knows_which_way(name, better):
    callback = EarlyStopping(name, patience=5)
    run(callback, [1, 2, 3] if better else [1, 1, 1], name)
    assert callback.best_epoch == better


def test_early_stopping_can_be_used_again():
    callback = EarlyStopping(patience=1)
    assert run(callback, [1, 2])[1] == 2
    assert run(callback, [5, 4, 3])[1] == 3 and callback.best == 3


def test_early_stopping_without_its_figure():
    with pytest.raises(ValueError, match="no 'val_loss' among loss; give fit validation data"):
        run(EarlyStopping(), [1], "loss")
    with pytest.raises(ValueError, match="no 'val_los' among val_loss$"):
        run(EarlyStopping("val_los"), [1], "val_loss")


def test_bar_of_a_notebook_without_widgets(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)         # which would warn
    bar = ProgressBar(1, io.StringIO())
    bar.set_params({"epochs": 1, "steps": 1, "initial_epoch": 0})
    bar.on_train_begin()
    bar.on_train_end()
    assert "0/1" in bar.file.getvalue()


def test_early_stopping_in_fit(rng):
    x = rng.standard_normal((60, 3))
    y = x @ rng.standard_normal((3, 1)) + rng.standard_normal((60, 1))
    model = nf.Sequential([nf.Dense(20, activation="tanh"), nf.Dense(1)], input_shape=(3,), dtype="float64")
    model.compile(nf.Adam(0.05), "squared_error")
    callback = EarlyStopping(patience=3, restore_best=True)
    history = model.fit(x, y, validation_split=0.5, epochs=500, callbacks=[callback], verbose=0).history
    assert len(history["val_loss"]) == callback.best_epoch + 4 < 500
    assert callback.best == min(history["val_loss"])
    assert model.evaluate(x[30:], y[30:])["loss"] == pytest.approx(callback.best, rel=1e-12)


def test_history():
    history = History()
    run(history, [3.0, 2.0])
    assert history.history == {"val_loss": [3.0, 2.0]} and history.epoch == [0, 1]


@pytest.mark.parametrize("solver", [None, "lbfgs"])
def test_fit_within_fit(solver):
    """Of the model that is being trained it is refused; of another, a copy of it for one, it is not."""
    model = nf.Sequential([nf.Dense(1)], input_shape=(1,), name="mine")
    model.compile("sgd", "squared_error")
    data = np.array([[1.0], [2.0]]), np.array([[2.0], [3.0]])
    copies = []

    def train(epoch, logs):
        for copied in (model.clone(), model.clone(seed=3), copy.deepcopy(model)):
            copies.append(copied.fit(*data, verbose=0))
        history, steps = model.history, model.iterations
        with pytest.raises(RuntimeError, match="fit: mine is being trained already.* train a copy, model.clone"):
            model.fit(*data, epochs=7, verbose=0)
        assert model.history is history and model.iterations == steps and model.stop_training is False
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(*data, epochs=5, solver=solver, callbacks=LambdaCallback(on_epoch_end=train), verbose=0)
    assert model.history.epoch == [0, 1] and len(copies) == 6
    assert model.fit(*data, epochs=3, verbose=0).epoch == [0, 1, 2]     # when the first has ended, however it did


def test_figures_that_callbacks_add(tmp_path):
    class Score(nf.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["score"], logs["note"] = np.float32(epoch), "a text"

    model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
    model.compile("sgd", "squared_error")
    stop = nf.EarlyStopping("score", patience=2, mode="max")
    folder = tmp_path / "checkpoints"
    callbacks = [Score(), stop, nf.callbacks.Checkpoint(folder)]
    history = model.fit([[1.0]], [[2.0]], epochs=3, callbacks=callbacks, verbose=0)
    assert history.history["score"] == [0.0, 1.0, 2.0] and set(history.history) == {"loss", "score"}
    saved = nf.load(max(folder.iterdir()))
    assert saved.history.history == history.history


def test_figures_that_callbacks_add_now_and_then():
    class Score(nf.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch % 3 == 1:
                logs["score"] = np.array(epoch)

    model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
    model.compile("sgd", "squared_error")
    history = model.fit([[1.0]], [[2.0]], epochs=6, callbacks=Score(), verbose=0)
    np.testing.assert_array_equal(history.history["score"], [math.nan, 1, math.nan, math.nan, 4, math.nan])


@pytest.mark.parametrize("callback", [EarlyStopping("val_acc"), nf.callbacks.ReduceLROnPlateau("val_acc"),
                                      nf.callbacks.Checkpoint("never made", monitor="val_acc")])
def test_a_misspelt_figure_is_found_before_training(callback, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
    model.compile("sgd", "squared_error", metrics=["mae"])
    with pytest.raises(ValueError, match="no 'val_acc' among loss, mae, val_loss, val_mae$"):
        model.fit([[1.0], [2.0]], [[2.0], [1.0]], callbacks=callback, validation_split=0.5, verbose=0)
    assert model.iterations == 0 and not list(tmp_path.iterdir())


def test_order_of_calls():
    seen = []
    names = ["on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end"]
    run(LambdaCallback(**{name: lambda *given, name=name: seen.append(name) for name in names}), [1, 2])
    assert seen == names[:1] + names[1:3] * 2 + names[3:]


def test_only_what_is_asked_for():
    class Batches(Callback):
        def on_batch_end(self, batch, logs=None):
            pass

    class Progress(Callback):
        def on_progress(self, step, logs=None):
            pass

    def wants(*callbacks):
        calls = CallbackList(callbacks, None, {})
        return calls.wants_batches, calls.wants_progress

    assert wants() == wants(Callback(), History(), EarlyStopping()) == (False, False)
    assert wants(Callback(), Batches()) == wants(LambdaCallback(on_batch_end=print)) == (True, False)
    assert wants(Progress()) == wants(LambdaCallback(on_progress=print)) == wants(ProgressBar(1)) == (False, True)
    assert wants(ProgressBar(0), ProgressBar(2)) == (False, False)


def train(verbose, file=None, **arguments):
    x, y = np.zeros((64, 3), np.float32), np.arange(64) % 2
    model = nf.Sequential([nf.Dense(2, activation="softmax")], input_shape=(3,))
    model.compile("sgd", "cross_entropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=16, epochs=3, shuffle=False, callbacks=[ProgressBar(verbose, file)], verbose=0,
              **arguments)


def test_progress_bar():
    file = io.StringIO()
    train(1, file)
    last = file.getvalue().rstrip().split("\r")[-1]
    assert last.startswith("epoch 3/3: 100%") and "12/12" in last and "steps/s" in last and "<" in last
    assert "loss=0.6931, accuracy=0.5" in last


FIGURES = {"loss": 0.34567, "accuracy": 0.6125, "val_loss": 0.41234, "val_accuracy": 0.55}


def drawn(columns, resized=None, figures=True, steps=5):
    """The lines that a bar draws on a terminal of so many columns, over the epochs 3 and 4 of 4."""
    import fcntl
    import pty
    import termios

    def resize(columns):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))

    def read():
        try:
            while got := os.read(master, 4096):
                parts.append(got)
        except OSError:         # Linux says so where all is read
            pass

    master, terminal = pty.openpty()
    resize(columns)
    parts: list[bytes] = []
    reader = threading.Thread(target=read)
    reader.start()
    logs = FIGURES if figures else {}
    with os.fdopen(terminal, "w", encoding="utf-8") as file:
        bar = ProgressBar(1, file)
        bar.set_params({"epochs": 4, "steps": steps, "initial_epoch": 2})
        bar.on_train_begin()
        bar.on_epoch_begin(2)
        bar.on_epoch_end(2, logs)
        bar._bar.refresh()
        bar.on_epoch_begin(3)
        if resized:
            resize(resized)
        bar.on_progress(2, dict(list(logs.items())[:2]))
        bar._bar.refresh()
        bar.on_epoch_end(3, logs)
        bar.on_train_end()
    reader.join()
    os.close(master)
    return [line.strip() for line in b"".join(parts).decode().replace("\n", "\r").split("\r") if line.strip()]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("columns", "shown"), [
    (200, ["loss=0.3457", "accuracy=0.6125", "val_loss=0.4123", "val_accuracy=0.55"]),
    (120, ["loss=0.3457", "accuracy=0.6125", "val_loss=0.4123", "val_accuracy=0.55"]),
    (80, ["loss=0.346", "accuracy=0.613", "val_loss=0.412", "val_accuracy=0.55"]),
    (60, ["loss=0.3457", "val_loss=0.4123", "val_accuracy=0.55"]),
    (44, ["val_loss=0.4123", "val_accuracy=0.55"]),
    (40, ["val_loss=0.412", "val_accuracy=0.55"]),
    (30, ["val_loss=0.4123"]),
    (20, ["val_loss=0.412"]),
    (12, []),
])
def test_no_figure_is_cut_on_a_narrow_terminal(columns, shown):
    lines = drawn(columns)
    whole = {f"{value:.{digits}g}" for value in FIGURES.values() for digits in (3, 4)}
    assert max(map(len, lines)) <= columns      # tqdm before 4.68 draws on the last column, too
    # Those of validation stay while the next epoch runs.
    for line in lines[-2:]:
        found = re.findall(r"\w+=[\d.]+", line)
        assert [figure.partition("=")[0] for figure in found] == [figure.partition("=")[0] for figure in shown]
        for figure in found:
            assert figure.partition("=")[2] in whole
    assert "4/4" in lines[-1] and ("steps/s" in lines[-1]) == (columns == 200)
    assert all("val_" not in line for line in drawn(columns, figures=False))


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("columns", "shown"), [
    (200, ["loss=0.3457", "accuracy=0.6125", "val_loss=0.4123", "val_accuracy=0.55"]),
    (60, ["loss=0.346", "val_loss=0.412", "val_accuracy=0.55"]), (40, ["val_loss=0.412", "val_accuracy=0.55"]),
    (30, ["val_loss=0.4123"]), (20, ["val_loss=0.412"]), (12, []),
])
def test_no_figure_is_cut_where_nobody_knows_the_number_of_steps(columns, shown):
    lines = drawn(columns, steps=0)
    assert max(map(len, lines)) <= columns
    assert re.findall(r"\w+=[\d.]+", lines[-1]) == shown
    assert "4/4" in lines[-1] and ("steps/s" in lines[-1]) == (columns == 200)
    assert all("=" not in line for line in drawn(columns, figures=False, steps=0))


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_bar_follows_a_resized_terminal():
    lines = drawn(200, 40)
    assert "val_accuracy=0.55" in lines[1] and "steps/s" in lines[1]
    assert all(len(line) < 40 and "val_loss=0.412" in line for line in lines[-2:])
    lines = drawn(30, 200)
    assert len(lines[1]) < 30 and all("accuracy=0.6125, val_loss=0.4123" in line for line in lines[-2:])


def test_progress_lines(capsys):
    train(2)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"] and err == ""
    assert lines[0] == "epoch 1/3: loss=0.6931, accuracy=0.5"


def test_silence(capfd):
    train(0)
    assert capfd.readouterr() == ("", "")


def test_progress_bar_of_a_part_is_full_at_the_end():
    file = io.StringIO()
    train(1, file, initial_epoch=1)
    assert "8/8" in file.getvalue().split("\r")[-1]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="terminals are POSIX's")
def test_progress_bar_of_a_terminal_without_a_size():
    """As serial consoles and some programs have them: the line is not cut."""
    import fcntl
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 0, 0, 0))
    with open(theirs, "w") as terminal:
        train(1, terminal)
        terminal.flush()
        text = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "loss=" in text and "epoch" in text


def test_progress_bar_is_closed_after_an_exception():
    bar = ProgressBar(1, io.StringIO())

    def fail(epoch, logs):
        raise RuntimeError("stop")

    model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
    model.compile("sgd", "squared_error")
    with pytest.raises(RuntimeError, match="stop"):
        model.fit([[1.0]], [[1.0]], callbacks=[bar, LambdaCallback(on_epoch_end=fail)], verbose=0)
    assert bar._bar is None


def test_tqdm_is_imported_when_first_used():
    code = "import sys, nnfast; assert not [m for m in sys.modules if m.startswith(('tqdm', 'safetensors'))]"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("make, error, text", [
    (lambda: EarlyStopping(3), TypeError, "monitor must be a name, got int: 3"),
    (lambda: EarlyStopping(patience=-1), ValueError, "EarlyStopping: patience must be at least 0, got -1"),
    (lambda: EarlyStopping(min_delta=-0.1), ValueError, "EarlyStopping: min_delta"),
    (lambda: EarlyStopping(mode="least"), ValueError, "unknown EarlyStopping mode 'least'"),
    (lambda: EarlyStopping(restore_best="yes"), TypeError, "restore_best must be True or False"),
    (lambda: ProgressBar(3), ValueError, "verbose must be 0, 1 or 2, got 3"),
    (lambda: LambdaCallback(on_epoch_end=3), TypeError, "LambdaCallback: on_epoch_end must be callable, got int"),
    (lambda: CallbackList([print], None, {}), TypeError, "must be nf.Callback objects, got <built-in"),
    (lambda: CallbackList([History], None, {}), TypeError, "make an instance of it"),
])
def test_refuses(make, error, text):
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize(("metric", "better"), [("mean_iou", True), (nf.metrics.Accuracy(name="acc"), True),
                                                (nf.metrics.MeanSquaredError(name="r2_like"), False)])
def test_auto_asks_the_metric_which_way(metric, better, rng):
    x = rng.normal(size=(60, 4))
    model = nf.Sequential([nf.Dense(2, activation="softmax")], input_shape=(4,), seed=1)
    model.compile(nf.SGD(0.5), "cross_entropy", metrics=[metric])
    stop = nf.EarlyStopping(f"val_{nf.metrics.get(metric).name}", patience=100)
    history = model.fit(x, (x[:, 0] > 0).astype(int), epochs=8, validation_split=0.3, callbacks=stop, verbose=0).history
    figures = history[stop.monitor]
    assert stop.best == (max(figures) if better else min(figures))


def test_auto_knows_the_losses_of_outputs(rng):
    image = nf.Input((4,))
    model = nf.Model(image, [nf.Dense(1, name="r2")(image), nf.Dense(1, name="other")(image)])
    model.compile(nf.SGD(0.01), ["squared_error"] * 2)
    x = rng.normal(size=(40, 4))
    stop = nf.EarlyStopping("r2_loss", patience=3)
    losses = model.fit(x, [x[:, :1]] * 2, epochs=10, callbacks=stop, verbose=0).history["r2_loss"]
    assert len(losses) == 10 and stop.best == min(losses)


def test_a_plateau_is_one_of_the_metric(rng):
    x = rng.normal(size=(200, 4))
    model = nf.Sequential([nf.Dense(2, activation="softmax")], input_shape=(4,), seed=1)
    reductions = []
    for name in ("accuracy", "acc"):
        model = model.clone(seed=1)
        model.compile(nf.SGD(0.05), "cross_entropy", metrics=[nf.metrics.Accuracy(name=name)])
        lower = nf.callbacks.ReduceLROnPlateau(name, patience=2, min_delta=0)
        model.fit(x, (x[:, 0] > 0).astype(int), epochs=8, callbacks=lower, verbose=0)
        reductions.append(lower.reductions)
    assert reductions[0] == reductions[1]


def test_an_optimizer_belongs_to_one_model():
    """A rate that callbacks lower is not that of another model; the first model's may be set by the object."""
    optimizer = nf.SGD(0.1)
    models = [nf.Sequential([nf.Dense(2)], input_shape=(4,)) for _ in range(2)]
    for model in models:
        model.compile(optimizer, "squared_error")
    lower = nf.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=10)
    models[0].fit(np.ones((20, 4)), np.ones((20, 2)), epochs=5, verbose=0, callbacks=lower)
    assert models[0].optimizer.learning_rate < 0.1 and models[1].optimizer.learning_rate == 0.1
    assert models[0].optimizer is optimizer and models[1].optimizer is not optimizer
    models[0].compile(optimizer, "squared_error")
    assert models[0].optimizer is optimizer
    assert pickle.loads(pickle.dumps(optimizer)) == copy.deepcopy(optimizer) == optimizer


def test_figures_of_an_output_and_of_validation_data():
    image = nf.Input((4,))
    model = nf.Model(image, [nf.Dense(1, name="p")(image), nf.Dense(1, name="val_p")(image)])
    with pytest.raises(ValueError, match="output 'val_p' would be taken for those of validation data"):
        model.compile("sgd", ["squared_error"] * 2)


def test_fits_of_one_model_at_once(rng):
    """Only one of them trains, in whatever order they begin."""
    x, y = rng.random((20_000, 8), np.float32), rng.integers(0, 3, 20_000)
    model = nf.Sequential([nf.Dense(64, activation="relu"), nf.Dense(3, activation="softmax")], input_shape=(8,))
    model.compile("sgd", "cross_entropy")
    refused = []

    def train():
        try:
            model.fit(x, y, epochs=3, verbose=0)
        except RuntimeError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=train) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) + model.epochs_trained // 3 == 3
    assert all("is being trained already" in text for text in refused)
    model.fit(x[:8], y[:8], verbose=0)
