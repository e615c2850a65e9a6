"""Type hints: of everything public, and as mypy --strict sees them in a program of a user's."""
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typed_example
from public import methods, public

import nnfast

EXAMPLE = Path(typed_example.__file__)
PACKAGE = Path(nnfast.__file__).parent
PUBLIC = public()


def unannotated(function):
    signature = inspect.signature(function)
    missing = [name for i, (name, parameter) in enumerate(signature.parameters.items())
               if parameter.annotation is parameter.empty and not (i == 0 and name in ("self", "cls"))]
    return missing + (["return"] if signature.return_annotation is signature.empty else [])


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_annotated(name):
    value = PUBLIC[name]
    functions = methods(value) if inspect.isclass(value) else [("", value)]
    missing = {method: bare for method, function in functions if (bare := unannotated(function))}
    assert not missing, f"{name} has parameters without a type: {missing}"


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").exists()


def test_the_names_of_types_can_be_imported():
    from nnfast import typing

    assert {"Array", "ArrayLike", "Data", "Logs"} <= set(typing.__all__)
    for name in typing.__all__:
        assert hasattr(typing, name)


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """{line: code} of what mypy --strict reports in the example."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("mypy")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}

    def child(*arguments):
        return subprocess.run([sys.executable, "-P", *arguments], cwd=folder, env=environment, capture_output=True,
                              text=True, check=False)

    # In a checkout nnfast is not where mypy looks for packages; where it is, mypy does not want to be told.
    if str(PACKAGE.parent) not in child("-c", "import sys; print(*sys.path, sep='\\n')").stdout.splitlines():
        environment["MYPYPATH"] = str(PACKAGE.parent)
    # Outside of the repository, whose configuration is not the user's; nnfast's own errors are not theirs, either.
    run = child("-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent",
                f"--cache-dir={folder / 'cache'}", "--no-error-summary", "--hide-error-context", str(EXAMPLE))
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found = {}
    for line in run.stdout.splitlines():
        if ": error: " in line:
            number, code = re.search(r"\.py:(\d+): error: .*\[([\w-]+)\]$", line).groups()
            found.setdefault(int(number), (code, line))
    return found


@pytest.fixture(scope="module")
def mistakes():
    """{line: code} of the mistakes made on purpose."""
    lines = EXAMPLE.read_text("utf-8").splitlines()
    return {i: match[1] for i, line in enumerate(lines, 1) if (match := re.search(r"# error: ([\w-]+)$", line))}


def test_mypy_finds_nothing_wrong_with_a_users_program(errors, mistakes):
    wrong = [line for number, (_, line) in errors.items() if number not in mistakes]
    assert not wrong, "\n".join(wrong)


def test_mypy_reports_mistakes(errors, mistakes):
    assert len(mistakes) > 20
    assert {number: code for number, (code, _) in errors.items() if number in mistakes} == mistakes


# What type checkers are told is only right if it runs, too.

def test_the_users_program_runs(tmp_path, capsys):
    pytest.importorskip("onnx")
    assert typed_example.sequential(tmp_path).shape == (359, 10)
    typed_example.graph(np.random.default_rng(0).normal(size=(16, 7)).astype(np.float32))
    assert typed_example.residual().output_shape == (2,)
    typed_example.batches()
    typed_example.mathematics()
    assert "epoch 1/3" in capsys.readouterr().out
