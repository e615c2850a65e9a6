"""The command line: the demo learns, its race is a fair one, and errors are one line."""
import re

import numpy as np
import pytest
from child import python

import nnfast as nf
from nnfast import demo, numpy_network
from nnfast.__main__ import BLAS_HANDICAPS, main
from nnfast.config import config


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """The demo runs here, not in a child with a fairer environment, and without pauses: times do not matter."""
    monkeypatch.setattr(demo, "BLAS_SPIN", 0)
    for name in BLAS_HANDICAPS:
        monkeypatch.delenv(name, raising=False)


DIGITS = demo.TASKS["digits"]


def test_the_demo_network_learns_the_digits():
    (x, y), (x_test, y_test) = demo.load("digits")
    accuracies = []
    for seed in range(2 if config()["selected"] == "baseline" else 5):  # baseline takes its time
        model = demo.build(DIGITS, x.shape[1:], seed)
        demo.train(DIGITS, model, x, y, DIGITS.epochs, DIGITS.batch_size, verbose=0)
        accuracies.append(model.evaluate(x_test, y_test)["accuracy"])
    assert np.mean(accuracies) >= 0.985, accuracies


def test_race_is_between_equals():
    (x, y), _ = demo.load("digits")
    race = demo.run_race(DIGITS, x[:320], y[:320], 32, seed=1, n_threads=1)
    assert race.ours > 0 and race.numpy > 0
    assert race.difference < 1e-3


@pytest.mark.parametrize("batch_size", [1, 40])
@pytest.mark.parametrize(("optimizer", "loss"), [("adam", "cross_entropy"), ("sgd", "squared_error")])
def test_numpy_network_computes_the_same_step(rng, batch_size, optimizer, loss):
    # few and many channels, several blocks of windows, padding, both poolings and all activations
    shape, last = (24, 16, 3), "softmax" if loss == "cross_entropy" else "linear"
    network = numpy_network.Network(shape, [
        numpy_network.Conv2D(5, 5, "same", "tanh"), numpy_network.AvgPool2D(2),
        numpy_network.Conv2D(16, 3, "valid", "relu"), numpy_network.Conv2D(7, 1), numpy_network.MaxPool2D(2),
        numpy_network.Dense(20, "relu"), numpy_network.Dense(10),
    ], batch_size, loss, optimizer, learning_rate=1e-3, dtype=np.float64)
    model = nf.Sequential([
        nf.Conv2D(5, 5, padding="same", activation="tanh"), nf.AvgPool2D(2),
        nf.Conv2D(16, 3, activation="relu"), nf.Conv2D(7, 1), nf.MaxPool2D(2),
        nf.Flatten(), nf.Dense(20, activation="relu"), nf.Dense(10, activation=last),
    ], input_shape=shape, dtype="float64")
    model.compile({"adam": nf.Adam, "sgd": nf.SGD}[optimizer](1e-3), loss)
    network.load(model.get_weights())
    for _ in range(3):
        x = rng.standard_normal((batch_size, *shape))
        y = rng.integers(0, 10, batch_size) if loss == "cross_entropy" else rng.standard_normal((batch_size, 10))
        ours = model.train_on_batch(x, y)["loss"]
        np.testing.assert_allclose(ours, network.step(*network.prepare(x, y)), rtol=1e-10)
    for got, expected in zip(network.parameters, model.get_weights(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-11)


def test_numpy_network_says_what_it_cannot_do():
    network = numpy_network.Network((4,), [numpy_network.Dense(3)], batch_size=2)
    with pytest.raises(ValueError, match="a batch of 3, expected 2"):
        network.prepare(np.zeros((3, 4)), np.zeros(3))
    with pytest.raises(ValueError, match="7 x 7 pixels are not whole windows of 2 x 2"):
        numpy_network.Network((7, 7, 1), [numpy_network.MaxPool2D(2)], batch_size=2)


def test_race_between_unequals_is_void(monkeypatch, capsys):
    monkeypatch.setattr(numpy_network, "BETA1", 0.5)
    assert demo.run(epochs=1) == 1
    output = capsys.readouterr()
    assert "the times do not compare" in output.err
    assert "times as fast" not in output.out


def test_demo_prints_accuracy_time_and_ratio():
    done = python("-m", "nnfast", "demo", "--epochs", "3", "--threads", "1", "--seed", "2")
    assert done.returncode == 0, done.stderr
    assert re.search(r"network 8x8x1 - .* - 10", done.stdout)
    assert re.search(r"test accuracy +9\d\.\d\d%", done.stdout)
    assert re.search(r"time a step +[\d,.]+ us nnfast, [\d,.]+ us pure NumPy", done.stdout)
    assert re.search(r"nnfast is +[\d.]+ times as fast", done.stdout)
    assert done.stderr == ""      # a bar is for terminals


def test_demo_without_numpy(capsys):
    assert main(["demo", "--no-numpy", "--epochs", "1", "--batch-size", "100"]) == 0
    output = capsys.readouterr().out
    assert "15 steps" in output
    assert re.search(r"time a step +[\d,.]+ us\n", output)
    assert "NumPy" not in output


def test_demo_of_a_serial_build_says_so(monkeypatch, capsys):
    monkeypatch.setattr(demo, "config", lambda: config() | {"openmp": False, "threads": 1})
    main(["demo", "--epochs", "1", "--no-numpy", "--threads", "2"])
    assert capsys.readouterr().out.splitlines()[0].endswith("kernels, one thread: built without OpenMP")


def test_blas_settings_that_slow_numpy_down_are_removed():
    done = python("-m", "nnfast", "demo", "--epochs", "1", "--batch-size", "64", OPENBLAS_CORETYPE="Prescott",
                  OPENBLAS_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert "batches of 64, 1 epochs" in done.stdout


def test_info(capsys):
    assert main(["info"]) == 0
    assert capsys.readouterr().out.startswith("nnfast  ")


def test_version(capsys):
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"nnfast {nf.__version__}\n"


@pytest.mark.parametrize("arguments", [
    [], ["nothing"], ["demo", "--data", "cats"], ["demo", "--epochs", "0"], ["demo", "--batch-size", "-1"],
    ["demo", "--threads", "two"], ["demo", "--seed", "-1"], ["demo", "--seed", "x"], ["info", "--epochs", "1"],
])
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--path", "x"], "--path goes with --data fashion-mnist"),
    (["--data", "fashion-mnist", "--path", "/no/such/folder"], "no train-images-idx3-ubyte"),
])
def test_errors_are_one_line(arguments, message, capsys):
    assert main(["demo", "--epochs", "1", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("nnfast demo: ") and message in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_too_many_threads():
    done = python("-m", "nnfast", "demo", "--epochs", "1", "--no-numpy", "--threads", "99999")
    assert done.returncode == 1
    assert "n_threads" in done.stderr.splitlines()[-1]


def test_ctrl_c(monkeypatch, capsys):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)
    assert main(["demo"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
