"""Objects that are described by their constructor's arguments, and the tables that find them by name.

Initialisers, regularizers, schedules, optimizers, losses and metrics share one rule: every constructor parameter is
an attribute of the same name. From it follow the configuration for files, `repr` and equality, written once here.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from .names import Explained, did_you_mean, normalised

if TYPE_CHECKING:
    from .typing import Config


@functools.cache
def _parameters(cls):
    if cls.__init__ is object.__init__:  # whose signature is (*args, **kwargs)
        return ()
    return tuple(inspect.signature(cls.__init__).parameters.values())[1:]


def parameter_names(cls):
    return [parameter.name for parameter in _parameters(cls)]


def argument_text(value):
    """An argument as `repr` shows it, but functions by their names and arrays by their shapes."""
    if getattr(value, "shape", ()):
        return f"<array {value.shape}>"
    return getattr(value, "__qualname__", None) or repr(value)


def call_text(owner, always):
    """The call that makes `owner`, whose arguments are its attributes: what is needed or not at its default.

    The first argument is also shown if it is one of the types `always`.
    """
    parts = []
    for i, parameter in enumerate(_parameters(type(owner))):
        value = getattr(owner, parameter.name, parameter.default)
        if value is parameter.empty or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        text = argument_text(value)
        first = i == 0 and isinstance(value, always) and not isinstance(value, bool)
        if first or parameter.default is parameter.empty or text != argument_text(parameter.default):
            parts.append(f"{parameter.name}={text}")
    return f"{type(owner).__name__}({', '.join(parts)})"


def _plain(value, owner, name):
    if isinstance(value, Configurable):
        return value.to_config()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, tuple):
        return [_plain(part, owner, name) for part in value]
    raise ValueError(f"{owner}: {name} is {value!r}, a Python object that cannot be written as JSON")


class Configurable(Explained):
    """Base of the objects a model is configured with: fixed after construction, compared by value."""

    registry: ClassVar[Registry]    # of the family; a `Registry` gives itself to its base class

    def get_config(self) -> Config:
        """Return the constructor's arguments as a dict that JSON can hold.

        Raises
        ------
        ValueError
            If an argument is a Python function, or not an attribute.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.Huber(delta=2.0).get_config()
        {'delta': 2.0}
        """
        owner, names = type(self).__name__, parameter_names(type(self))
        for name in names:
            if not hasattr(self, name):
                raise ValueError(f"{owner}: the argument {name!r} is not kept as an attribute of that name")
        return {name: _plain(getattr(self, name), owner, name) for name in names}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Build the object that `get_config` described; ValueError if a name is not an argument of it.

        >>> import nnfast as nf
        >>> nf.Huber.from_config({"delta": 2.0})
        Huber(delta=2.0)
        """
        if not isinstance(config, dict):
            raise TypeError(f"{cls.__name__}: the configuration must be a dict, got {type(config).__name__}")
        known = parameter_names(cls)
        for name in config:
            if name not in known:
                raise ValueError(f"{cls.__name__} has no argument {name!r}{did_you_mean(name, known)}")
        try:
            return cls(**config)
        except TypeError as error:
            raise ValueError(f"{cls.__name__}: bad configuration {config!r}: {error}") from error

    def to_config(self) -> Config:
        """Return ``{"class": name, "config": get_config()}``, which the module's `get` turns back into the object.

        >>> import nnfast as nf
        >>> nf.L2(0.1).to_config(), nf.regularizers.get(nf.L2(0.1).to_config())
        ({'class': 'L2', 'config': {'l2': 0.1}}, L2(l2=0.1))
        """
        return {"class": type(self).__name__, "config": self.get_config()}

    def _arguments(self):
        return {name: getattr(self, name) for name in parameter_names(type(self))}

    def __repr__(self) -> str:
        return call_text(self, (int, float))    # rates and factors matter, even if they are the default

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._arguments() == other._arguments()

    # Equal objects may differ later where an attribute can be set (an optimizer's learning rate).
    __hash__ = None  # type: ignore[assignment]

    if not TYPE_CHECKING:   # which would take it that any attribute may be set
        def __setattr__(self, name, value):
            # The compiled plan copies these values, so a later assignment would silently do nothing.
            if name in self.__dict__:
                raise AttributeError(f"{type(self).__name__}.{name} is fixed; make a new {type(self).__name__}")
            object.__setattr__(self, name, value)


class Registry:
    """The classes of one family by name.

    Parameters
    ----------
    what : str
        The family's word in error messages, e.g. ``"optimizer"``.
    base : type
        The family's base class; its instances and subclasses are accepted as they are.
    classes : dict
        Name -> class. A class is found by this name and by its own, upper case and underscores aside.
    compiled : str, optional
        The attribute that names what the core is to compute, by the names of `classes` (or "custom").
    """

    def __init__(self, what, base, classes, compiled=None):
        self.what = what
        self.compiled = compiled
        self.base = base
        self.classes = classes
        base.registry = self
        self._by_normal = {normalised(cls.__name__): cls for cls in classes.values()}
        self._by_normal.update((normalised(name), cls) for name, cls in classes.items())

    def find(self, name):
        """Return the class called `name`, or raise ValueError that lists the known names."""
        cls = self._by_normal.get(normalised(name))
        if cls is None:
            raise ValueError(f"unknown {self.what} {name!r}{did_you_mean(name, list(self.classes))}")
        return cls

    def get(self, identifier):
        """Return an instance for an instance, a class, a name or what `Configurable.to_config` returned."""
        if isinstance(identifier, self.base):
            if self.compiled is not None and getattr(identifier, self.compiled) not in (*self.classes, "custom"):
                raise TypeError(f"{self.what} {type(identifier).__name__}: there is no compiled code for a {self.what} "
                                f"of your own; known: {', '.join(self.classes)}"
                                + (", and nf.CustomLoss takes a function" if self.what == "loss" else ""))
            return identifier
        if isinstance(identifier, str):
            return self._default(self.find(identifier))
        if isinstance(identifier, type) and issubclass(identifier, self.base):
            return self.get(self._default(identifier))
        if isinstance(identifier, dict):
            name = identifier.get("class")
            if set(identifier) != {"class", "config"} or not isinstance(name, str):
                raise ValueError(f'{self.what}: expected {{"class": name, "config": dict}}, got {identifier!r}')
            return self.find(name).from_config(identifier["config"])
        raise TypeError(
            f"{self.what} must be a name, an instance or a subclass of {self.base.__name__}, "
            f"got {type(identifier).__name__}: {identifier!r}"
        )

    def _default(self, cls):
        required = [parameter.name for parameter in _parameters(cls) if parameter.default is parameter.empty]
        if required:
            raise ValueError(
                f"{self.what} {cls.__name__} needs {', '.join(required)}: "
                f"write {cls.__name__}({', '.join(name + '=...' for name in required)})"
            )
        return cls()


def separator_of_fields(who: str, separator: object) -> str:
    """Return `separator` if it can stand between the fields of a line, else raise ValueError.

    >>> separator_of_fields("CSVLogger", ";")
    ';'
    """
    if not isinstance(separator, str) or len(separator) != 1 or separator in '"\r\n':
        raise ValueError(f"{who}: separator must be one character, as ',' or ';', got {separator!r}")
    return separator


def check_known(value: object) -> None:
    """Raise ValueError if `value`, or what it is configured with, is of a class that its family's `get` cannot find."""
    if isinstance(value, (list, tuple)):
        for part in value:
            check_known(part)
    elif isinstance(value, Configurable):
        cls, registry = type(value), value.registry
        if cls not in registry.classes.values():
            raise ValueError(f"{registry.what} {cls.__name__}: a class of your own cannot be written to a file; known: "
                             f"{', '.join(registry.classes)}")
        check_known(list(vars(value).values()))


def number(owner: str, name: str, value: object, *, above: float | None = None, at_least: float | None = None,
           below: float | None = None, at_most: float | None = None) -> float:
    """Return `value` as a finite float within the bounds, or raise TypeError/ValueError that says `owner: name`."""
    # The plain type first: to ask an abstract one takes longer than all the rest.
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
        raise TypeError(f"{owner}: {name} must be a number, got {type(value).__name__}: {value!r}")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    bounds = []
    if above is not None:
        bounds.append((result > above, f"above {above:g}"))
    if at_least is not None:
        bounds.append((result >= at_least, f"at least {at_least:g}"))
    if below is not None:
        bounds.append((result < below, f"below {below:g}"))
    if at_most is not None:
        bounds.append((result <= at_most, f"at most {at_most:g}"))
    if not math.isfinite(result) or not all(inside for inside, _ in bounds):
        expected = " and ".join(text for _, text in bounds)
        raise ValueError(f"{owner}: {name} must be a finite number{' ' + expected if expected else ''}, got {value!r}")
    return result


def integer(owner: str, name: str, value: object, form: str = "an integer", /, *, at_least: int,
            at_most: int | None = None) -> int:
    """Return `value` as an int within the bounds, or raise TypeError/ValueError that says `owner: name`.

    form : what the value may be, where an integer is not all.
    """
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, numbers.Integral)):
        raise TypeError(f"{owner}: {name} must be {form}, got {type(value).__name__}: {value!r}")
    if value < at_least:
        raise ValueError(f"{owner}: {name} must be at least {at_least}, got {value!r}")
    if at_most is not None and int(value) > at_most:
        raise ValueError(f"{owner}: {name} must be at most {at_most}, got {value!r}")
    return int(value)


def boolean(owner: str, name: str, value: object) -> bool:
    """Return `value` if it is True or False, or raise TypeError that says `owner: name`."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{owner}: {name} must be True or False, got {type(value).__name__}: {value!r}")
    return bool(value)
