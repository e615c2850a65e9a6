"""Every public name has a docstring with an example; that the examples run is checked by pytest --doctest-modules."""
import inspect

import pytest
from public import methods, public

import nnfast as nf

PUBLIC = public()


def test_the_public_names_are_found():
    assert len(PUBLIC) > 150
    assert {"nnfast.Dense", "nnfast.fit_many", "nnfast.functional.conv2d", "nnfast.sklearn.NNClassifier"} <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example(name):
    assert ">>> " in (PUBLIC[name].__doc__ or ""), f"{name} has no example"


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
