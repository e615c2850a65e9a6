"""python -m nnfast examples: each runs, says what it should, and draws a picture."""
import importlib
import pkgutil
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from child import python

from nnfast import examples
from nnfast.__main__ import main

# Longer is no longer something to read beside the lecture notes.
MOST_LINES = 60

#: What the output of each must hold.
SAYS = {
    "gradient_descent": ["-2, -1.6, -1.28, -1.024", "2, 1.6, 1.28, 1.024", r"lr = 0.9: converged=True",
                         "lr = 1.0: converged=False, no step was as short", "lr = 1.1: converged=False, diverging",
                         r"finite differences: \[0. 0.\]", r"relative error \de-1\d"],
    "linear_regression": [r"normal equations: \de-(09|1\d)", r"mean squared error 0.0465, variance of y 0.1374",
                          r"Ridge\(alpha=10\): \de-0[6789]", "l1 from .* zeros: 10$", "l2 from .* zeros: 0$"],
    "logistic_regression": ["digits 3 and 8: 357 images, convergence", "N = 0.051140\n", "cross-entropy +0.051140\n",
                            r"two-class softmax: \de-1[67]", r"scikit-learn's coefficients [1-9]e-0[78]"],
    "softmax_regression": ["minimum of the loss 0.21952", r"\(p - y\): (0e\+00|\de-1\d)", "150 flowers right"],
    "cross_entropy": [r"H\(\[0.3, 0.7\], \[0.7, 0.3\]\) = 0.950", r"\[0.3, 0.7\]\) = 0.611", "= 1.204", "= 0.105",
                      "from logits 2.191311, from probabilities 2.191311",
                      r"-log / 3 = 0.498703, mean cross-entropy = 0.498703"],
    "backpropagation": [r"z = \[5. 2. 5.\], a = \[0.9933 0.8808 0.9933\], y_hat = 0.8808, loss = 0.0142",
                        "nnfast predicts 0.8808", r"relative error at most \de-1\d"],
    "deeper_backpropagation": ["2 layers: ", "3 layers: ", "4 layers: sum over all units differs by \\de-1\\d"],
    "output_gradients": [r"cross_entropy: (\[.*\]), p - y = \1", r"squared_error: (\[.*\]), J' 2 \(p - y\) = \1",
                         r"tanh hidden units: 100 x 3 at once against a loop \de-1\d"],
    "convolution": [r"\[ 1.  0. -1.  2.  1.  2.\] with \[1. 0. 1.\]: \[0. 2. 0. 4.\]",
                    r"\[\[ 0.  2.  0.\]\n \[ 4. -1.  3.\]\n \[-2.  3.  1.\]\]", r"\[\[ 9.5  6.2\]\n \[10.   5.2\]\]",
                    r"against np.convolve: 0e\+00", r"f \* g = g \* f: (\[.*\]) \1\n"],
    "convolution_matrix": [r"valid: T has shape \(9, 16\)", r"full: T has shape \(25, 16\)", r"dx = T' dy: 0e\+00"],
    "convolution_sizes": ["409,600 weights", "1,000,000,000,000 weights", "7 x 7 x 512", "138,357,544"],
    "vanishing_gradients": [r"sigmoid 8 hidden layers: gradient norm of the first \d.\de-0[56]",
                            r"relu    8 hidden layers: gradient norm of the first (\d.\de\+00|\d.\de-01)"],
    "sigmoid": [r"sigmoid\(-t\) = 1 - sigmoid\(t\): to \de-1\d", "at most 0.25, at t = 0",
                "likelihood 2.1075, loss 2.1075"],
    "why_networks": ["straight line 0.4903", "3 tanh units 0.01", "linear there"],
    "relu_against_sigmoid": [r"relu   : 9\d.\d% of the test images right after \d+ epochs; \d+ us a step",
                             r"sigmoid: 9\d.\d% .* after \d\d\d? epochs"],
    "feature_maps": [r"filter (\d) by hand: (\d.\d+), nnfast \2", r"into maps of \(8, 8, 8\)"],
    "worst_digits": [r"9\d.\d% of 359 test images right", r"largest gradient at pixel"],
}


def test_every_example_is_listed_and_tested():
    files = {module.name for module in pkgutil.iter_modules(examples.__path__) if not module.name.startswith("_")}
    assert files == set(examples.NAMES) == set(SAYS) and len(examples.NAMES) == len(files)


@pytest.mark.parametrize("name", examples.NAMES)
def test_an_example_says_and_draws_what_it_should(name, capsys, tmp_path):
    path = tmp_path / "picture.png"
    assert main(["examples", name, "--plot", str(path)]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    for text in SAYS[name]:
        assert re.search(text, output.out, re.MULTILINE), f"no {text!r} in\n{output.out}"
    import matplotlib.image

    image = matplotlib.image.imread(path)[..., :3]
    assert image.shape[0] >= 500 and image.shape[1] >= 1000
    # Not only white, and nothing cut off by the edge: a frame of a few pixels is empty.
    assert image.std() > 0.05
    frame = np.concatenate([image[:2].ravel(), image[-2:].ravel(), image[:, :2].ravel(), image[:, -2:].ravel()])
    assert (frame > 0.9).all()


@pytest.mark.parametrize("name", examples.NAMES)
def test_an_example_is_short_and_names_its_source(name):
    module = examples.load(name)
    text = Path(module.__file__).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert "\nSource: " in module.__doc__ and re.search(r"\((18|19|20)\d\d\)", module.__doc__)
    assert examples.title(name).endswith((".", "?")) and module.main.__code__.co_varnames[0] == "figure"


@pytest.mark.parametrize("name", ["linear_regression", "logistic_regression", "softmax_regression"])
def test_digits_do_where_scikit_learn_is_missing(name, capsys, monkeypatch, tmp_path):
    for module in [module for module in sys.modules if module.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    importlib.reload(examples.load(name))
    assert main(["examples", name, "--plot", str(tmp_path / "picture.png")]) == 0
    output = capsys.readouterr().out
    assert "with scikit-learn installed this example goes on" in output and "digits" in output
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_the_list(capsys):
    assert main(["examples"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:len(examples.NAMES)]] == list(examples.NAMES)
    assert all(len(line) <= 120 for line in lines)
    assert f"python -m nnfast examples {examples.NAMES[0]}" in lines[-2]


def test_from_a_shell():
    done = python("-W", "error", "-m", "nnfast", "examples", "cross_entropy")
    assert done.returncode == 0 and "0.950" in done.stdout and done.stderr == ""


@pytest.mark.parametrize(("arguments", "message"), [
    (["nothing"], "no example 'nothing'; there are gradient_descent, "),
    (["_data"], "no example '_data'"),
    (["cross_entropy", "--plot", "/no/such/folder/x.png"], "there is no folder '/no/such/folder'"),
    (["cross_entropy", "--plot", "picture.what"], "picture.what: pictures are not written as .what"),
    (["--plot", "x.png"], "--plot goes with the name of an example"),
])
def test_errors_are_one_line(arguments, message, capsys):
    assert main(["examples", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("nnfast examples: ") and message in error and error.count("\n") == 1


def test_without_matplotlib(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["examples", "cross_entropy", "--plot", "x.png"]) == 1
    assert "pip install 'nnfast[plot]'" in capsys.readouterr().err
    assert main(["examples", "cross_entropy"]) == 0


def test_a_missing_scipy_is_one_line(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    assert main(["examples", "why_networks"]) == 1
    assert "pip install 'nnfast[scipy]'" in capsys.readouterr().err
