"""The command line: the demo learns, its race is a fair one, and errors are one line."""
import re

import numpy as np
import pytest
from child import python

import nnfast as nf
from nnfast import demo
from nnfast.__main__ import main

DIGITS = demo.TASKS["digits"]


def test_the_demo_network_learns_the_digits():
    (x, y), (x_test, y_test) = demo.load("digits")
    accuracies = []
    for seed in range(5):
        model = demo.build(DIGITS, 64, seed)
        model.fit(x, y, batch_size=DIGITS.batch_size, epochs=DIGITS.epochs, verbose=0)
        accuracies.append(model.evaluate(x_test, y_test)["accuracy"])
    assert np.mean(accuracies) >= 0.97, accuracies


def test_race_is_between_equals():
    (x, y), _ = demo.load("digits")
    race = demo.run_race(DIGITS, x[:330], y[:330], 32, seed=1, n_threads=1)
    assert race.ours > 0 and race.numpy > 0
    assert race.difference < 1e-3


def test_numpy_rival_computes_the_same_step():
    (x, y), _ = demo.load("digits")
    weights = [w.astype(np.float64) for w in demo.build(DIGITS, 64).get_weights()]
    rival = demo.NumpyMLP(weights, 1e-3, batch_size=32)
    model = nf.Sequential([nf.Dense(DIGITS.hidden, activation="relu"), nf.Dense(10, activation="softmax")],
                          input_shape=(64,), dtype="float64")
    model.compile(nf.Adam(1e-3), "cross_entropy")
    model.set_weights(weights)
    x = x.astype(np.float64)
    for rows in (slice(0, 32), slice(32, 64), slice(64, 75)):
        ours = model.train_on_batch(x[rows], y[rows])["loss"]
        np.testing.assert_allclose(ours, rival.step(x[rows], y[rows]), rtol=1e-10)
    got = np.concatenate([w.ravel() for w in model.get_weights()])
    np.testing.assert_allclose(got, rival.flat, rtol=1e-8, atol=1e-11)


def test_race_between_unequals_is_void(monkeypatch, capsys):
    monkeypatch.setattr(demo.NumpyMLP, "beta1", 0.5)
    assert demo.run(epochs=1) == 1
    output = capsys.readouterr()
    assert "the times do not compare" in output.err
    assert "times as fast" not in output.out


def test_demo_prints_accuracy_time_and_ratio():
    done = python("-m", "nnfast", "demo", "--epochs", "3", "--threads", "1", "--seed", "2")
    assert done.returncode == 0, done.stderr
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


def test_blas_settings_that_slow_numpy_down_are_removed():
    done = python("-m", "nnfast", "demo", "--epochs", "1", "--batch-size", "64", OPENBLAS_CORETYPE="Prescott")
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
