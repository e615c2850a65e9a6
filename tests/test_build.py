"""What the build complains of; what is installed: import, modules, choice of the instruction set, show_config."""
import importlib
import importlib.util
import os
import pkgutil
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from child import TIME_LIMIT, evaluate, python

import nnfast
from nnfast._core import kernels
from nnfast.config import config

LEVELS = ("baseline", "avx2", "avx512", "neon")
USABLE = [name for name, usable in kernels.levels() if usable]

IMPORT_SECONDS = 0.060
ROOT = Path(__file__).parents[1]


def modules():
    names = [m.name for m in pkgutil.walk_packages(nnfast.__path__, "nnfast.") if m.name != "nnfast.__main__"]
    # What is inside of nnfast.onnx is imported when one of its functions is called, and needs the package onnx.
    has_onnx = importlib.util.find_spec("onnx") is not None
    return [name for name in names if has_onnx or not name.startswith("nnfast.onnx.")]


def test_every_module_imports():
    names = modules()
    assert "nnfast._core.kernels" in names
    for name in names:
        importlib.import_module(name)


def test_public_names_exist():
    for name in ["nnfast", *modules()]:
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            assert hasattr(module, public), f"{name}.__all__ names {public}, which is not there"


def test_compiled_modules_use_the_limited_api():
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    suffix = sysconfig.get_config_var("EXT_SUFFIX") if free_threaded or sys.platform == "win32" else ".abi3.so"
    files = [importlib.import_module(name).__file__ for name in modules() if name.startswith("nnfast._core.")]
    assert files
    for file in files:
        if sys.platform == "win32" and not free_threaded:
            assert Path(file).name.count(".") == 1 and file.endswith(".pyd"), file  # name.pyd: no version in it
        else:
            assert file.endswith(suffix), file


@pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="no sources beside the tests")
@pytest.mark.skipif(os.name != "posix" or not shutil.which("cc"), reason="no compiler cc, or nobody asks CC for it")
@pytest.mark.parametrize(("command", "message"), [
    ("exit 1", "building nnfast takes a C11 compiler, and the one here does not work"),
    ("if grep -q Python.h probe.c; then exit 1; fi", "building nnfast takes the C headers of Python"),
    # A compiler that links no program, as with CFLAGS=-fsanitize=address, has the next thing checked.
    ('case "$*" in *" -o probe") exit 1;; esac; if grep -q Python.h probe.c; then exit 1; fi',
     "building nnfast takes the C headers of Python"),
])
def test_build_says_first_what_the_machine_lacks(tmp_path, command, message):
    pytest.importorskip("setuptools")
    compiler = tmp_path / "cc"
    compiler.write_text(f'#!/bin/sh\n{command}\nexec {shutil.which("cc")} "$@"\n', encoding="utf-8")
    compiler.chmod(0o755)
    done = subprocess.run([sys.executable, "setup.py", "build_ext", "-b", tmp_path, "-t", tmp_path], cwd=ROOT,
                          env=os.environ | {"CC": str(compiler)}, capture_output=True, text=True, timeout=TIME_LIMIT)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {message}")
    assert "OpenMP" not in done.stderr and "Cythonizing" not in done.stdout


def test_import_is_fast():
    # Processor time of this thread: neither the machine's other work is nnfast's, nor the threads of NumPy's BLAS,
    # which spin for a while after `import numpy`. A machine whose cores are slow or shared shows in NumPy's own import,
    # which takes twice the limit or more where nothing else runs. The fastest of some runs: the first reads the disk.
    code = ("import time; start = time.thread_time(); import numpy; between = time.thread_time(); import nnfast; "
            "print(between - start, time.thread_time() - between)")
    # With bytecode on disk, as pip installs it.
    seconds = [map(float, evaluate(code, PYTHONDONTWRITEBYTECODE=None).split()) for _ in range(10)]
    numpy_seconds, nnfast_seconds = map(min, zip(*seconds))
    assert nnfast_seconds < max(IMPORT_SECONDS, numpy_seconds / 2)


def test_import_loads_only_numpy_and_the_standard_library():
    code = "import sys, numpy; before = set(sys.modules); import nnfast; print(*sorted(set(sys.modules) - before))"
    loaded = {name.partition(".")[0] for name in evaluate(code).split()}
    # Cython's shared types appear as modules, too.
    loaded = {name for name in loaded if not name.startswith(("_cython_", "cython_runtime"))}
    assert "nnfast" in loaded
    assert loaded - {"nnfast", "numpy"} <= set(sys.stdlib_module_names)


def test_highest_usable_level_is_selected():
    code = "from nnfast._core.kernels import selected; print(selected())"
    assert evaluate(code, NNFAST_ISA=None).strip() == USABLE[-1]
    assert evaluate(code, NNFAST_ISA="").strip() == USABLE[-1]


def test_every_usable_level_can_be_selected():
    assert USABLE[0] == "baseline"
    for level in USABLE:
        assert evaluate("import nnfast; nnfast.show_config()", NNFAST_ISA=level).count(f"in use   {level}\n") == 1


@pytest.mark.parametrize("level", [*(level for level in LEVELS if level not in USABLE), "sse9", "AVX2 ", "é"])
def test_level_that_does_not_run_here_is_an_error(level):
    done = python("-c", "import nnfast", NNFAST_ISA=level, PYTHONUTF8="1")
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith(f"ImportError: NNFAST_ISA={level}: ")
    assert message.endswith(f"usable levels here: {', '.join(USABLE)}")


def test_config():
    c = config()
    assert c["version"] == nnfast.__version__
    assert c["numpy"] == np.__version__
    assert c["levels"] == [name for name, _ in kernels.levels()]
    assert c["usable"] == USABLE
    assert c["selected"] == kernels.selected()
    assert isinstance(c["openmp"], bool)
    assert 1 <= c["threads"] <= min(c["omp_limit"], c["affinity"])
    if not c["openmp"]:
        assert c["threads"] == 1


def test_threads_follow_omp_num_threads():
    code = "from nnfast.config import config; print(config()['threads'])"
    assert evaluate(code, OMP_NUM_THREADS="1").strip() == "1"


def test_show_config_prints_one_line_each(capsys):
    assert nnfast.show_config() is None
    lines = capsys.readouterr().out.splitlines()
    shown = [line[:15].strip() for line in lines]
    assert shown == ["nnfast", "Python", "NumPy", "platform", "levels built", "levels usable", "level in use",
                     "Winograd", "OpenMP", "threads"]
    assert lines[0].endswith(nnfast.__version__)
    assert lines[6].endswith(kernels.selected())


def test_winograd_can_be_switched_off():
    """Then a pixel reaches only the outputs that see it."""
    code = """import numpy as np, nnfast as nf
x = np.ones((1, 12, 12, 32), np.float32)
x[0, 5, 5, 0] = np.nan
w = np.ones((3, 3, 32, 32), np.float32)
print(int(np.isnan(nf.functional.conv2d(x, w, padding=1)).any(-1).sum()), nf.config.config()["winograd"])"""
    assert evaluate(code, NNFAST_WINOGRAD="0").strip() == "9 False"
    assert evaluate("import nnfast; print(nnfast.config.config()['winograd'])").strip() == "True"
    done = python("-c", "import nnfast", NNFAST_WINOGRAD="no")
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "ImportError: NNFAST_WINOGRAD=no: must be 0 or 1"
