"""Checkpoints: training goes on with the same bits after kill -9 at any moment, and damage costs one checkpoint."""
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import networks
import numpy as np
import pytest
from stand_ins import KillAfter, Killed

import nnfast as nf
from nnfast.callbacks import Checkpoint
from nnfast.checkpoint import checkpoints, unpack_state
from nnfast.tensor_file import Problem

N, BATCH = 203, 16      # the last batch of an epoch is a small one
STEPS = -(-N // BATCH)


def data():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(N, 6)).astype(np.float32)
    return x, (x[:, :3] + 0.3 * x[:, 3:]).argmax(axis=1)


def make(optimizer=None, **settings):
    layers = [nf.Dense(16, activation="relu", name="first"), nf.Dropout(0.3), nf.Dense(3, activation="softmax")]
    model = nf.Sequential(layers, input_shape=(6,), seed=11)
    optimizer = optimizer or nf.Adam(nf.schedules.Cosine(0.01, 200))
    model.compile(optimizer, "cross_entropy", metrics=["accuracy"], **settings)
    return model


def train(model=None, epochs=4, callbacks=(), **settings):
    """A model trained, and its history."""
    model = model or make()
    settings = {"batch_size": BATCH, "validation_split": 0.2, "verbose": 0} | settings
    history = model.fit(*data(), epochs=epochs, callbacks=list(callbacks), **settings)
    return model, history


def same(a, b):
    """Two (model, history) are equal in all bits."""
    (one, first), (two, second) = a, b
    for ours, theirs in ((one.parameters, two.parameters), (one.optimizer_state(), two.optimizer_state())):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert ours[name].tobytes() == theirs[name].tobytes(), name
    assert (one.iterations, one.epochs_trained) == (two.iterations, two.epochs_trained)
    assert first.history == second.history and first.epoch == second.epoch


# --- exact resume ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("every", ["epoch", 1, 3, 7, STEPS, 1000])
def test_going_on_after_every_batch(every, tmp_path):
    """The process dies and is started anew again and again; each time it comes a few batches further."""
    others = lambda: [nf.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: None)]     # noqa: E731
    expected = train(callbacks=[*others(), Checkpoint(tmp_path / "a", every=every)])
    folder, attempts = tmp_path / "b", 0
    while True:
        reach = {"epoch": 15, 1: 2, 3: 5, 7: 9, STEPS: 20, 1000: 100}[every] + attempts % 3
        attempts += 1
        try:
            result = train(callbacks=[Checkpoint(folder, every=every), KillAfter(reach)], resume=folder)
            break
        except Killed:
            assert attempts < 200
    assert attempts > 2 or every == 1000
    same(result, expected)


def test_a_checkpoint_changes_nothing(tmp_path):
    plain = train()
    for every in ("epoch", 4):
        model, history = train(callbacks=[Checkpoint(tmp_path / str(every), every=every)])
        assert [w.tobytes() for w in model.get_weights()] == [w.tobytes() for w in plain[0].get_weights()]
        np.testing.assert_allclose(history.history["loss"], plain[1].history["loss"], rtol=1e-12)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_at_any_number_of_threads(threads, tmp_path):
    expected = train(callbacks=[Checkpoint(tmp_path / "a", every=5)])
    with pytest.raises(Killed):
        train(make(n_threads=4 - threads), callbacks=[Checkpoint(tmp_path / "b", every=5), KillAfter(5)])
    again = train(make(n_threads=threads), callbacks=[Checkpoint(tmp_path / "b", every=5)], resume=tmp_path / "b")
    same(again, expected)


def test_weights_and_several_outputs_mid_epoch(tmp_path):
    def run(**settings):
        a = nf.Input((6,))
        h = nf.Dropout(0.2)(nf.Dense(8, activation="tanh")(a))
        model = nf.Model(a, [nf.Dense(3, activation="softmax", name="p")(h), nf.Dense(1, name="v")(h)], seed=2)
        model.compile(nf.SGD(0.05, momentum=0.9), {"p": "cross_entropy", "v": "squared_error"},
                      metrics={"p": ["accuracy"], "v": ["mae", "r2"]}, regularizer=nf.L2(1e-3))
        x, y = data()
        history = model.fit(x, [y, x[:, :1]], batch_size=16, epochs=3, verbose=0, shuffle=False,
                            sample_weight=np.linspace(0, 1, N), **settings)
        return model, history

    expected = run(callbacks=Checkpoint(tmp_path / "a", every=4))
    with pytest.raises(Killed):
        run(callbacks=[Checkpoint(tmp_path / "b", every=4), KillAfter(7)])
    same(run(callbacks=Checkpoint(tmp_path / "b", every=4), resume=tmp_path / "b"), expected)


def test_running_statistics(tmp_path):
    """What batch normalization has learnt of the batches so far is part of the state."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 8, 8, 3)), rng.integers(0, 5, 60)

    def run(folder, *callbacks, **settings):
        model = networks.image_net("norm")
        model.compile("adam", nf.CrossEntropy(from_logits=True))
        callbacks = [Checkpoint(folder, every=3), *callbacks]
        return model, model.fit(x, y, batch_size=8, epochs=3, verbose=0, callbacks=callbacks, **settings)

    expected = run(tmp_path / "a")
    with pytest.raises(Killed):
        run(tmp_path / "b", KillAfter(12))
    same(run(tmp_path / "b", resume=tmp_path / "b"), expected)


def test_recorded_norms_go_on(tmp_path):
    def run(folder, *callbacks, **settings):
        record = nf.callbacks.GradientNorms(*data(), every=4)
        train(callbacks=[record, Checkpoint(folder, every=4), *callbacks], **settings)
        return record

    expected = run(tmp_path / "a")
    with pytest.raises(Killed):
        run(tmp_path / "b", KillAfter(18))
    record = run(tmp_path / "b", resume=tmp_path / "b")
    assert record.steps == expected.steps and record.norms == expected.norms


def test_a_solver_cannot_be_gone_on_with(tmp_path):
    model = nf.Sequential([nf.Dense(3, activation="softmax")], input_shape=(6,))
    model.compile("sgd", "cross_entropy")
    for settings in ({"resume": tmp_path}, {"callbacks": Checkpoint(tmp_path)}):
        with pytest.raises(ValueError, match="fit: .*solver"):
            model.fit(*data(), solver="lbfgs", verbose=0, **settings)
    assert os.listdir(tmp_path) == []


def test_early_stopping_goes_on_where_it_was(tmp_path):
    def callbacks(folder):
        return [Checkpoint(folder), nf.EarlyStopping("val_loss", patience=2, min_delta=0.05, restore_best=True)]

    model, history = train(make("sgd"), epochs=30, callbacks=callbacks(tmp_path / "a"))
    epochs = len(history.epoch)
    assert 3 < epochs < 30
    for last in range(1, epochs + 1):
        folder = tmp_path / str(last)
        # Ends without on_train_end, which would put the best weights back.
        with pytest.raises(Killed):
            train(make("sgd"), epochs=30, callbacks=[*callbacks(folder), EndOfEpoch(last)])
        again = train(make("sgd"), epochs=30, callbacks=callbacks(folder), resume=folder)
        same(again, (model, history))
        # The run is over, and a further call finds it so.
        checkpoint, stop = callbacks(folder)
        same(train(make("sgd"), epochs=30, callbacks=[checkpoint, stop], resume=folder), (model, history))
        assert stop.stopped_epoch == epochs - 1


class EndOfEpoch(nf.Callback):
    comes_last = True

    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epochs:
            raise Killed


class Overflow(nf.Callback):
    """Makes the first epochs' figure infinite, and keeps what is least of it."""

    def on_train_begin(self, logs=None):
        self.least, self.seen = math.inf, []

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = math.inf if epoch < 3 else math.nan if epoch == 3 else logs["val_loss"]
        self.least, self.seen = min(self.least, logs["val_loss"]), [*self.seen, logs["val_loss"]]

    def get_state(self):
        return {"least": self.least, "seen": self.seen}

    def set_state(self, state):
        self.least, self.seen = state["least"], state["seen"]


def test_figures_that_are_not_finite(tmp_path):
    def callbacks(folder):
        return [Overflow(), nf.EarlyStopping(patience=10, restore_best=True),
                nf.callbacks.ReduceLROnPlateau(patience=1), Checkpoint(tmp_path / folder, monitor="val_loss")]

    expected, found = callbacks("a"), callbacks("b")
    result = train(make(nf.SGD(0.05)), callbacks=expected, epochs=6)
    train(make(nf.SGD(0.05)), callbacks=callbacks("b"), epochs=2)
    again = train(make(nf.SGD(0.05)), callbacks=found, epochs=6, resume=tmp_path / "b")
    assert [w.tobytes() for w in result[0].get_weights()] == [w.tobytes() for w in again[0].get_weights()]
    assert repr(expected[0].seen) == repr(found[0].seen) and expected[0].least == found[0].least < math.inf
    assert expected[1].best_epoch == found[1].best_epoch >= 4
    assert expected[2].reductions == found[2].reductions
    assert (expected[3].best, expected[3].best_epoch) == (found[3].best, found[3].best_epoch)


def test_what_callbacks_have_changed_comes_back(tmp_path):
    def change(epoch, logs):
        if epoch == 0:
            model.optimizer.learning_rate = 0.3
            model.get_layer("first").trainable = False

    callbacks = lambda folder: [nf.LambdaCallback(on_epoch_end=change), Checkpoint(folder)]     # noqa: E731
    model = make(nf.SGD(0.1, momentum=0.5))
    expected = train(model, callbacks=callbacks(tmp_path / "a"))
    model = make(nf.SGD(0.1, momentum=0.5))
    train(model, 2, callbacks(tmp_path / "b"))
    model = make(nf.SGD(0.1, momentum=0.5))
    result = train(model, 4, callbacks(tmp_path / "b"), resume=tmp_path / "b")
    assert model.optimizer.learning_rate == 0.3 and not model.get_layer("first").trainable
    same(result, expected)


def test_models_with_functions(tmp_path):
    def build():
        layers = [nf.Dense(8), nf.Lambda(np.tanh, lambda dy, x, y: dy * (1 - y * y)), nf.Dense(3, activation="softmax")]
        model = nf.Sequential(layers, seed=1)
        model.compile(nf.SGD(lambda step: 0.1 / (1 + step)), "cross_entropy")
        return model

    expected = train(build(), callbacks=[Checkpoint(tmp_path / "a", every=5)])
    with pytest.raises(Killed):
        train(build(), callbacks=[Checkpoint(tmp_path / "b", every=5), KillAfter(6)])
    same(train(build(), callbacks=[Checkpoint(tmp_path / "b", every=5)], resume=tmp_path / "b"), expected)
    newest = tmp_path / "b" / checkpoints(tmp_path / "b")[-1][1]
    with pytest.raises(nf.FileFormatError, match=r"with Python functions.*fit\(..., resume=folder\)"):
        nf.load(newest)


class Root(nf.schedules.Schedule):
    def __init__(self, initial):
        self.first = initial

    def rates(self, t):
        return self.first / np.sqrt(t + 1)


def test_a_schedule_of_your_own(tmp_path):
    expected = train(make(nf.SGD(Root(0.1))))
    with pytest.raises(Killed):
        train(make(nf.SGD(Root(0.1))), callbacks=[Checkpoint(tmp_path, every=5), KillAfter(12)])
    same(train(make(nf.SGD(Root(0.1))), callbacks=[Checkpoint(tmp_path, every=5)], resume=tmp_path), expected)


# --- a process killed at random moments ------------------------------------------------------------------------------

CHILD = """
import sys, hashlib
sys.path.insert(0, {tests!r})
import numpy as np, nnfast as nf
from test_checkpoint import BATCH, data, make
print("ready", flush=True)
model = make(nf.Adam(0.01))
history = model.fit(*data(), batch_size=BATCH, epochs=60, verbose=0, validation_split=0.2, resume=sys.argv[1],
                    callbacks=[nf.callbacks.Checkpoint(sys.argv[1], every=3, keep=2, monitor="val_loss"),
                               nf.EarlyStopping("val_loss", patience=50, restore_best=True)])
bits = b"".join(w.tobytes() for w in model.get_weights()) + repr(history.history).encode()
print(hashlib.sha256(bits).hexdigest(), flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a system that can kill")
def test_kill_9_at_random_moments(tmp_path):
    """A real process is killed again and again, in the midst of batches, writes and renames."""
    code = CHILD.format(tests=str(Path(__file__).parent))

    def start(folder, threads):
        return subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE, text=True,
                                env=os.environ | {"OMP_NUM_THREADS": str(threads)})

    whole = start(tmp_path / "whole", 1)
    expected = whole.communicate(timeout=120)[0].split()[1]
    random_, kills = random.Random(3), 0
    folder = tmp_path / "killed"
    while True:
        child = start(folder, 1 + kills % 3)
        assert child.stdout.readline() == "ready\n"
        # Soon at first, so that a fast machine does not come to the end before; with the kills each process gets more
        # time, so that a slow one comes there, too.
        timer = threading.Timer(random_.uniform(0, 0.1 * max(1, kills - 7)), child.kill)
        timer.start()
        result = child.stdout.read()
        timer.cancel()
        if child.wait(timeout=60) == 0:
            break
        assert child.returncode == -signal.SIGKILL
        child.stdout.close()
        kills += 1
    child.stdout.close()
    assert result.split() == [expected]
    assert kills >= 8
    assert len(checkpoints(folder)) == 2
    for name in os.listdir(folder):
        assert name.endswith((".safetensors", ".tmp"))
    best = nf.load(folder / "best.safetensors")
    same((best, best.history), (loaded := nf.load(tmp_path / "whole" / "best.safetensors"), loaded.history))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a system that can kill")
def test_kill_9_while_saving(tmp_path):
    """The file is the old or the new one, never anything else."""
    path = tmp_path / "model.safetensors"
    code = ("import sys, numpy as np, nnfast as nf\n"
            "model = nf.Sequential([nf.Dense(300), nf.Dense(300)], input_shape=(300,))\n"
            "for i in range(10**9):\n"
            "    model.set_weights([np.full_like(w, i) for w in model.get_weights()])\n"
            "    model.save(sys.argv[1])\n"
            "    if i == 0: print('ready', flush=True)\n")
    random_, seen = random.Random(8), set()
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
        assert child.stdout.readline()
        time.sleep(random_.uniform(0, 0.1))
        child.kill()
        child.wait(timeout=60)
        child.stdout.close()
        weights = np.concatenate([w.ravel() for w in nf.load(path).get_weights()])
        assert (weights == weights[0]).all()
        seen.add(weights[0])
    assert len(seen) > 1


# --- the folder ------------------------------------------------------------------------------------------------------

def numbers(folder):
    return [number for number, _ in checkpoints(folder)]


def test_keep(tmp_path):
    train(epochs=7, callbacks=[Checkpoint(tmp_path, keep=2)])
    assert numbers(tmp_path) == [6, 7] and len(os.listdir(tmp_path)) == 2
    model = nf.load(tmp_path / "checkpoint-000006.safetensors")
    assert model.epochs_trained == 6 and model.history.epoch == list(range(6))


def test_the_end_is_saved(tmp_path):
    train(epochs=1, callbacks=[Checkpoint(tmp_path, every=5, keep=9)])
    steps = -(-int(N * 0.8) // BATCH)
    assert numbers(tmp_path) == list(range(1, steps // 5 + 2))
    model, history = train(epochs=1, callbacks=[Checkpoint(tmp_path, every=5, keep=9)], resume=tmp_path)
    assert numbers(tmp_path) == list(range(1, steps // 5 + 2)) and history.epoch == [0]


def test_every_counts_over_all_epochs(tmp_path):
    steps = -(-int(N * 0.8) // BATCH)
    train(epochs=3, callbacks=[Checkpoint(tmp_path, every=2 * steps + 1, keep=9)])
    found = [nf.load(tmp_path / name).iterations for _, name in checkpoints(tmp_path)]
    assert found == [2 * steps + 1, 3 * steps]


@pytest.mark.parametrize("monitor, mode, best", [("val_loss", "auto", np.argmin), ("val_loss", "max", np.argmax),
                                                 ("accuracy", "auto", np.argmax), ("accuracy", "min", np.argmin)])
def test_best(monitor, mode, best, tmp_path):
    _, history = train(make("sgd"), 8, [Checkpoint(tmp_path, monitor=monitor, mode=mode, keep=1)])
    model = nf.load(tmp_path / "best.safetensors")
    assert model.epochs_trained == best(history.history[monitor]) + 1
    assert len(os.listdir(tmp_path)) == 2


def test_best_is_remembered_when_going_on(tmp_path):
    expected = tmp_path / "a" / "best.safetensors"
    train(make("sgd"), 8, [Checkpoint(tmp_path / "a", every=5, monitor="val_loss", mode="max")])
    for epochs in range(1, 9):
        train(make("sgd"), epochs, [Checkpoint(tmp_path / "b", every=5, monitor="val_loss", mode="max")],
              resume=tmp_path / "b")
    one, two = nf.load(expected), nf.load(tmp_path / "b" / "best.safetensors")
    same((one, one.history), (two, two.history))


def test_a_monitor_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="no 'val_loss' among loss, accuracy; give fit validation data"):
        train(callbacks=[Checkpoint(tmp_path, monitor="val_loss")], validation_split=0.0)


def test_another_run_in_the_folder(tmp_path):
    own = Checkpoint(tmp_path)
    model, _ = train(epochs=1, callbacks=[own])
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    with pytest.raises(ValueError, match="holds checkpoint-000001.safetensors of an earlier run.*resume="):
        train(callbacks=[Checkpoint(tmp_path)])
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before
    train(model, 2, [own], initial_epoch=1)      # the same object may go on in its folder
    assert numbers(tmp_path) == [1, 2]


def test_going_on_where_there_is_nothing(tmp_path):
    expected = train(epochs=2)
    same(train(epochs=2, resume=tmp_path), expected)
    same(train(epochs=2, resume=tmp_path / "missing"), expected)
    (tmp_path / "notes.txt").write_text("not a checkpoint")
    (tmp_path / "checkpoint-1.safetensors").write_text("nor is this")
    same(train(epochs=2, resume=str(tmp_path)), expected)
    with pytest.raises(NotADirectoryError):
        train(resume=tmp_path / "notes.txt")


def test_left_overs_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / ".nnfast-0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / "other.tmp").write_bytes(b"mine")
    train(epochs=1, callbacks=[Checkpoint(tmp_path)])
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-000001.safetensors", "other.tmp"]


def test_more_epochs(tmp_path):
    expected = train(epochs=5)
    train(epochs=2, callbacks=[Checkpoint(tmp_path)])
    train(epochs=1, callbacks=[Checkpoint(tmp_path)], resume=tmp_path)     # has been done already
    same(train(epochs=5, callbacks=[Checkpoint(tmp_path)], resume=tmp_path), expected)
    assert numbers(tmp_path) == [3, 4, 5]


def test_a_full_disk_leaves_the_checkpoints(tmp_path, monkeypatch):
    from nnfast import checkpoint

    train(epochs=2, callbacks=[Checkpoint(tmp_path)])
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    model = make()

    def full(path, pieces):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        train(model, 4, [Checkpoint(tmp_path)], resume=tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before
    assert model.epochs_trained == 3        # the model in memory has what was reached


# --- damage ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("damage", [
    lambda b: b[:len(b) // 2], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b + b"\0",
    lambda b: b.replace(b'"epoch\\":3', b'"epoch\\":2', 1), lambda b: b[:200] + b"\xff" + b[201:],
])
def test_a_damaged_newest_one_costs_no_more_than_itself(damage, tmp_path):
    expected = train(epochs=4)
    train(epochs=3, callbacks=[Checkpoint(tmp_path)])
    newest = tmp_path / "checkpoint-000003.safetensors"
    whole = newest.read_bytes()
    newest.write_bytes(damage(whole))
    assert newest.read_bytes() != whole
    with pytest.warns(RuntimeWarning, match="checkpoint-000003.*going back to the checkpoint before it"):
        result = train(epochs=4, callbacks=[Checkpoint(tmp_path)], resume=tmp_path)
    same(result, expected)
    assert numbers(tmp_path) == [3, 4, 5]


def test_all_damaged(tmp_path):
    train(epochs=2, callbacks=[Checkpoint(tmp_path)])
    for name in os.listdir(tmp_path):
        (tmp_path / name).write_bytes(b"\0" * 100)
    model = make()
    before = model.get_weights()
    with pytest.warns(RuntimeWarning), pytest.raises(nf.FileFormatError, match="none of its 2 checkpoints can be read"):
        train(model, resume=tmp_path)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True)) and model.iterations == 0


def rewrite(path, change):
    """A checkpoint whose description was changed, with a checksum that fits."""
    from nnfast import files, tensor_file

    metadata, tensors = tensor_file.read(path)
    description, tensors = files.unpack(metadata, tensors)
    change(description)
    tensor_file.replace(path, files.pack(description, tensors))


@pytest.mark.parametrize("change, text", [
    (lambda d: d.update(fit=None), "is a model, not a checkpoint"),
    (lambda d: d.update(fit=3), "fit must have the entries"),
    (lambda d: d["fit"].pop("step"), "fit must have the entries"),
    (lambda d: d["fit"].update(step=-1), "fit says no position"),
    (lambda d: d["fit"].update(epoch=True), "fit says no position"),
    (lambda d: d["fit"].update(stopped=0), "fit says no position"),
    (lambda d: d["fit"].update(step=2), "totals do not fit step 2: None"),
    (lambda d: d["fit"].update(step=2, totals={}), "totals do not fit step 2"),
    (lambda d: d["fit"].update(callbacks={}), "callbacks must be a list"),
    (lambda d: d["fit"].update(callbacks=[{"class": 3, "state": {}}]), "callbacks must be a list"),
])
def test_a_tampered_position(change, text, tmp_path):
    train(epochs=1, callbacks=[Checkpoint(tmp_path)])
    rewrite(tmp_path / "checkpoint-000001.safetensors", change)
    with pytest.raises(nf.FileFormatError, match=text):
        train(resume=tmp_path)


@pytest.mark.parametrize("other, text", [
    (lambda: (nf.Sequential([nf.Dense(3, activation="softmax")], input_shape=(6,)), {}), "compile: loss|model: layers"),
    (lambda: (make("sgd"), {}), "compile: optimizer: class: 'Adam' there, 'SGD' here"),
    (lambda: (make(), {"batch_size": 8}), "data: batch_size: 16 there, 8 here"),
    (lambda: (make(), {"shuffle": False}), "data: shuffle: True there, False here"),
    (lambda: (make(), {"validation_split": 0.5}), "data: rows|data: samples"),
    (lambda: (make(), {"sample_weight": np.ones(N)}), "data: rows"),
])
def test_another_model_or_other_data(other, text, tmp_path):
    train(epochs=1, callbacks=[Checkpoint(tmp_path)])
    model, settings = other()
    if not model.compiled:
        model.compile(nf.Adam(nf.schedules.Cosine(0.01, 200)), "cross_entropy", metrics=["accuracy"])
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"checkpoint-000001.safetensors is of another run: ({text})"):
        train(model, resume=tmp_path, **settings)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True)) and model.iterations == 0


@pytest.mark.filterwarnings("error")
def test_another_learning_rate(tmp_path):
    """It is the checkpoint's; only a rate that nobody has seen before is worth a warning."""
    def callbacks(*others):
        return [nf.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=10.0), *others]

    train(make(nf.Adam(0.01)), 3, callbacks(Checkpoint(tmp_path)))
    model, _ = train(make(nf.Adam(0.01)), 3, callbacks(), resume=tmp_path)
    assert model.optimizer.learning_rate == 0.0025
    train(model, 4, callbacks(), resume=tmp_path)
    for _ in range(2):      # and again, though the run that the first one was a part of has been saved
        other = make(nf.Adam(0.1))
        with pytest.warns(RuntimeWarning, match="going on with its learning rate, .*, not with 0.1, which the model"):
            train(other, 5, callbacks(Checkpoint(tmp_path)), resume=tmp_path)
        assert other.optimizer.learning_rate < 0.01


def test_callbacks_that_are_gone(tmp_path):
    train(epochs=1, callbacks=[Checkpoint(tmp_path), nf.EarlyStopping(patience=9)])
    with pytest.warns(RuntimeWarning, match="state of a callback EarlyStopping, which this call of fit has not"):
        train(epochs=2, resume=tmp_path)


def test_a_state_that_is_not_data(tmp_path):
    class Odd(nf.Callback):
        def get_state(self):
            return {"function": print}

    with pytest.raises(ValueError, match="the state of Odd must be numbers, texts and arrays"):
        train(callbacks=[Odd(), Checkpoint(tmp_path)])
    Odd.get_state = lambda self: {"dates": np.array(["2024-01-01"], "M8[D]")}
    with pytest.raises(ValueError, match=r"state of Odd .* an array of datetime64\[D\] is not of numbers or texts"):
        train(callbacks=[Odd(), Checkpoint(tmp_path)])
    Odd.get_state = lambda self: {"lists": json.loads("[" * 40 + "]" * 40)}
    with pytest.raises(ValueError, match="more than 32 objects or lists inside each other"):
        train(callbacks=[Odd(), Checkpoint(tmp_path)])
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("arguments, error, text", [
    ({"every": "batch"}, ValueError, 'every must be "epoch" or a number of batches, got \'batch\''),
    ({"every": 0}, ValueError, "Checkpoint: every must be at least 1, got 0"),
    ({"every": 1.5}, TypeError, "every must be an integer"),
    ({"keep": 0}, ValueError, "keep must be at least 1"),
    ({"monitor": 3}, TypeError, "monitor must be a name, got int"),
    ({"mode": "least"}, ValueError, "unknown Checkpoint mode 'least'"),
])
def test_refuses(arguments, error, text, tmp_path):
    with pytest.raises(error, match=text):
        Checkpoint(tmp_path, **arguments)
    with pytest.raises(TypeError):
        Checkpoint(None)


def test_progress_is_shown_over_the_whole_run(tmp_path):
    seen = []

    class Watch(nf.Callback):
        def on_progress(self, step, logs=None):
            seen.append((step, logs["loss"]))

    train(epochs=1, callbacks=[Checkpoint(tmp_path, every=4), Watch()])
    assert [step for step, _ in seen][:3] == [4, 8, 11]
    description = json.loads(next(iter(_metadata(tmp_path).values())))
    assert description["fit"]["epoch"] == 1


def _metadata(folder):
    from safetensors import safe_open

    with safe_open(folder / checkpoints(folder)[-1][1], "numpy") as file:
        metadata = file.metadata()
    return {"nnfast": metadata["nnfast"]}


def test_rates_are_scheduled_once_an_epoch(tmp_path):
    """Also in an epoch in the midst of which training goes on."""
    def run(folder, *others):
        schedule = nf.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
        result = train(make(nf.SGD(0.1)), callbacks=[schedule, Checkpoint(folder, every=5), *others], resume=folder)
        return result, schedule.rates

    expected, rates = run(tmp_path / "a")
    with pytest.raises(Killed):
        run(tmp_path / "b", KillAfter(STEPS + 8))
    result, again = run(tmp_path / "b")
    same(expected, result)
    assert rates == again == [0.1, 0.05, 0.025, 0.0125]


@pytest.mark.parametrize("every", ["epoch", 5])
def test_best_weights_are_not_lost_when_more_epochs_follow(every, tmp_path):
    def run(folder, epochs):
        stop = nf.EarlyStopping("val_loss", patience=100, restore_best=True)
        result = train(make(nf.SGD(0.9)), epochs, [stop, Checkpoint(folder, every=every)], resume=folder)
        return result, (stop.best, stop.best_epoch)

    expected, best = run(tmp_path / "a", 8)
    run(tmp_path / "b", 5)
    result, again = run(tmp_path / "b", 8)
    same(expected, result)
    assert best == again


def test_what_a_callback_of_the_users_has_stopped_goes_on(tmp_path):
    """The time of a machine was over; early stopping's word stands."""
    class TimeLimit(nf.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    assert train(callbacks=[TimeLimit(), Checkpoint(tmp_path / "a")], resume=tmp_path / "a")[1].epoch == [0, 1]
    same(train(callbacks=[Checkpoint(tmp_path / "a")], resume=tmp_path / "a"), train())
    early = lambda: [nf.EarlyStopping("loss", min_delta=100.0, patience=1), Checkpoint(tmp_path / "b")]    # noqa: E731
    for _ in range(2):
        assert train(callbacks=early(), resume=tmp_path / "b")[1].epoch == [0, 1]


def test_checkpoints_in_two_folders(tmp_path):
    both = lambda: [Checkpoint(tmp_path / "a"), Checkpoint(tmp_path / "b", every=3)]     # noqa: E731
    with pytest.raises(Killed):
        train(callbacks=[*both(), KillAfter(20)], resume=tmp_path / "a")
    same(train(callbacks=both(), resume=tmp_path / "a"), train())
    with pytest.raises(ValueError, match="holds checkpoint-.* of an earlier run"):
        train(callbacks=both())
    with pytest.raises(ValueError, match="of an earlier run"):
        train(callbacks=[Checkpoint(tmp_path / "a"), Checkpoint(tmp_path / "c")], batch_size=8, resume=tmp_path / "c")


def test_states_of_any_numbers(tmp_path):
    class Odd(nf.Callback):
        seen = None

        def get_state(self):
            return {"a": np.float32(0.1), "b": np.int64(3), "c": np.arange(3), "d": np.array([True, False]),
                    "e": [np.array([np.nan, np.inf]), {"f": np.float16([0.1])}], "g": np.array(["x", "yy"]),
                    "h": np.ones((2, 3), np.float32), "i": np.array([np.nan])}

        def set_state(self, state):
            Odd.seen = state

    train(epochs=1, callbacks=[Odd(), Checkpoint(tmp_path)])
    train(epochs=2, callbacks=[Odd(), Checkpoint(tmp_path)], resume=tmp_path)
    expected = Odd().get_state()
    assert Odd.seen["a"] == expected["a"] and Odd.seen["b"] == 3
    for name in "cdghi":
        assert Odd.seen[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(Odd.seen[name], expected[name])
    np.testing.assert_array_equal(Odd.seen["e"][0], expected["e"][0])
    np.testing.assert_array_equal(Odd.seen["e"][1]["f"], expected["e"][1]["f"])


@pytest.mark.parametrize("array", [
    {"array": "O8x", "shape": [1], "values": [1]}, {"array": "<i8", "shape": [3], "values": [1]},
    {"array": "<i8", "shape": [1], "values": ["x"]}])
def test_states_whose_arrays_are_none(array):
    with pytest.raises(Problem, match="a callback's state has an array that is none"):
        unpack_state({"a": array})


def test_checkpoints_of_another_model_are_not_deleted(tmp_path):
    """Beside the folder from which training goes on."""
    other = nf.Sequential([nf.Dense(3, activation="softmax")], input_shape=(6,))
    other.compile("sgd", "cross_entropy", metrics=["accuracy"])
    train(other, 2, [Checkpoint(tmp_path / "other")])
    there = os.listdir(tmp_path / "other")
    train(epochs=1, callbacks=[Checkpoint(tmp_path / "a")])
    with pytest.raises(ValueError, match="of an earlier run"):
        train(callbacks=[Checkpoint(tmp_path / "a"), Checkpoint(tmp_path / "other")], resume=tmp_path / "a")
    assert os.listdir(tmp_path / "other") == there
