"""Shared fixtures. The suite runs at one instruction-set level, the one NNFAST_ISA selects; CI repeats at each what
depends on it."""
import os
import signal
from pathlib import Path

# Suites run beside each other, more threads than cores: a third of the time was threads that spin while they wait, here
# and in NumPy. The libraries read these when they are loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

import nnfast

# Processes that tests start import this same nnfast, not one that the working directory holds.
os.environ["PYTHONSAFEPATH"] = "1"
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(nnfast.__file__).parents[1]), os.environ.get("PYTHONPATH")])
)

# A shell starts background jobs with Ctrl-C ignored, and Python then leaves it so: tests of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files, tables, plots and commands are the same at any level and number of threads, and take more than half of the
# time: `pytest -m "not portable"` leaves them out.
PORTABLE = {
    "test_benchmarks", "test_build", "test_callback_files", "test_callbacks", "test_checkpoint", "test_command_line",
    "test_damaged_files", "test_datasets", "test_demo", "test_docstrings", "test_examples", "test_export_c",
    "test_files", "test_image_folder", "test_interop", "test_onnx_export", "test_onnx_load", "test_plot",
    "test_preparation", "test_repr", "test_sklearn", "test_sklearn_fits", "test_sklearn_networks", "test_streams",
    "test_tables", "test_typing",
}


MOST_WORKERS = 8    # tests of threads and of Ctrl-C want cores beside their own


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """What `pytest -n auto` starts."""
    return min(nnfast.config.config()["affinity"], MOST_WORKERS)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.stem in PORTABLE:
            item.add_marker("portable")


@pytest.fixture
def rng(request):
    """Random numbers that are the same in every run of a test and different between tests."""
    import zlib

    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def saved(path):
    """A trained model's file, small enough to try every length of it."""
    layers = [nnfast.Dense(3, activation="tanh"), nnfast.Dense(2, activation="softmax")]
    model = nnfast.Sequential(layers, input_shape=(2,), seed=1)
    model.compile("adam", "cross_entropy", metrics=["accuracy"])
    x = np.random.default_rng(0).normal(size=(20, 2))
    model.fit(x, (x[:, 0] > 0).astype(int), epochs=2, verbose=0)
    model.save(path)
    return path


@pytest.fixture(scope="session")
def digits():
    """Of scikit-learn: x and x_test in [0, 1], y, y_test."""
    from sklearn import datasets, model_selection

    x, y = datasets.load_digits(return_X_y=True)
    return model_selection.train_test_split(x / 16, y, test_size=0.25, random_state=0, stratify=y)


@pytest.fixture
def names(digits):
    """Digits by name, two hundred of them."""
    x, _, y, _ = digits
    return x[:200], np.array(["nul", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])[y[:200]]
