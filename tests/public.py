"""The public API: what `nnfast.__all__` and the `__all__` of the modules in it name."""
import inspect
from types import ModuleType

import nnfast


def modules():
    """nnfast and the public modules in it."""
    return [nnfast, *(module for name in nnfast.__all__ if isinstance(module := getattr(nnfast, name), ModuleType))]


def public():
    """Each public function and class by its full name."""
    found = {}
    for module in modules():
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value):
                # A name that several modules have counts once, as the first of them has it.
                found.setdefault(value, f"{module.__name__}.{name}")
    return {name: value for value, name in found.items()}


def methods(cls):
    """(name, function) for the public methods and properties of a class, inherited ones of nnfast's included."""
    found = {}
    for base in cls.__mro__:
        if not base.__module__.startswith("nnfast"):
            continue
        for name, value in vars(base).items():
            if name.startswith("_") and name not in ("__init__", "__call__"):
                continue
            if isinstance(value, property):
                found.setdefault(name, value.fget)
                found.setdefault(f"{name}.setter", value.fset or value.fget)
            elif isinstance(value, (classmethod, staticmethod)):
                found.setdefault(name, value.__func__)
            elif inspect.isfunction(value):
                found.setdefault(name, value)
    return found.items()
