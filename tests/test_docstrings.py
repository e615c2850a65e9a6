"""Every public name has a docstring with an example, which runs as it would where a user pastes it."""
import doctest
import inspect
import io

import pytest
from public import methods, modules, public

import nnfast as nf

PUBLIC = public()
PARSER = doctest.DocTestParser()


def examples():
    """The examples of modules, public names and methods by full name; what several classes inherit counts once."""
    documented = {module.__name__: module for module in modules()} | PUBLIC
    for name, value in PUBLIC.items():
        if inspect.isclass(value):
            documented.update((f"{name}.{method}", function) for method, function in methods(value))
    by_text = {value.__doc__ or "": name for name, value in reversed(documented.items())}
    tests = (PARSER.get_doctest(text, {"__name__": "__main__"}, name, None, 0) for text, name in by_text.items())
    return {test.name: test for test in tests if test.examples}


EXAMPLES = examples()


def test_the_public_names_are_found():
    assert len(PUBLIC) > 150
    assert {"nnfast.Dense", "nnfast.fit_many", "nnfast.functional.conv2d", "nnfast.sklearn.NNClassifier"} <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example(name):
    assert ">>> " in (PUBLIC[name].__doc__ or ""), f"{name} has no example"


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run_in_a_namespace_of_their_own(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    failed = runner.run(EXAMPLES[name], out=report.write).failed
    if "ImportError: " in report.getvalue() or "ModuleNotFoundError: " in report.getvalue():
        pytest.skip("needs a package that is not installed")
    assert not failed, report.getvalue()


@pytest.mark.parametrize("cls", [nf.Model, nf.Sequential])
def test_every_method_of_models_has_an_example(cls):
    for name, _ in methods(cls):
        method = getattr(cls, name.partition(".")[0])
        if not isinstance(method, property) and not name.startswith("__"):
            assert ">>> " in (inspect.getdoc(method) or ""), f"{cls.__name__}.{name} has no example"


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if inspect.isclass(value)])
def test_every_public_method_is_documented(name):
    cls = PUBLIC[name]
    for method, _ in methods(cls):
        if "." not in method and not method.startswith("__"):
            assert inspect.getdoc(getattr(cls, method)), f"{name}.{method} has no docstring"
