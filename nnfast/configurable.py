"""Objects that are described by their constructor's arguments, and the tables that find them by name.

Initialisers, regularizers, schedules, optimizers, losses and metrics share one rule: every constructor parameter is
an attribute of the same name. From it follow the configuration for files, `repr` and equality, written once here.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import re
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from .typing import Config

    Function = TypeVar("Function", bound=Callable[..., Any])


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


def explained(function: Function) -> Function:
    """The same method or constructor, whose TypeError about an argument that it does not have says what to write."""
    @functools.wraps(function)
    def explaining(self, *args, **kwargs):
        try:
            return function(self, *args, **kwargs)
        except TypeError:
            parameters = inspect.signature(function).parameters.values()
            known = [parameter.name for parameter in parameters][1:]
            unknown = [name for name in kwargs if name not in known]
            if not unknown or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
                raise       # of something else, within
            owner = type(self).__name__ if function.__name__ == "__init__" else function.__name__
        raise TypeError(f"{owner} has no argument {unknown[0]!r}{_did_you_mean(unknown[0], known, ARGUMENTS)}")

    return explaining  # type: ignore[return-value]


class Explained:
    """Base of the classes whose constructors are `explained`, those of users' subclasses included."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = explained(cls.__init__)  # type: ignore[method-assign]


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
                raise ValueError(f"{cls.__name__} has no argument {name!r}{_did_you_mean(name, known)}")
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


def of_nnfast(owner: object) -> bool:
    """Whether an object's class is nnfast's own, not a subclass of a user's."""
    return type(owner).__module__.startswith("nnfast.")


def _normalised(name):
    return name.replace("_", "").replace("-", "").replace(" ", "").lower()


#: What other libraries call what nnfast has, by normalised name. With a dot or a call it is to be written so, after nf.
ELSEWHERE = {
    # losses
    "mse": "squared_error", "mseloss": "squared_error", "meansquarederror": "squared_error",
    "mae": "absolute_error", "l1": "absolute_error", "l1loss": "absolute_error", "meanabsoluteerror": "absolute_error",
    "huberloss": "huber", "smoothl1": "huber", "smoothl1loss": "huber",
    "categoricalcrossentropy": "cross_entropy", "sparsecategoricalcrossentropy": "cross_entropy",
    "logloss": "cross_entropy", "nll": "cross_entropy", "nllloss": "cross_entropy",
    "crossentropyloss": "CrossEntropy(from_logits=True)",
    "bce": "binary_cross_entropy", "bceloss": "binary_cross_entropy",
    "bcewithlogitsloss": "BinaryCrossEntropy(from_logits=True)",
    # metrics
    "acc": "accuracy", "accuracyscore": "accuracy", "categoricalaccuracy": "accuracy",
    "sparsecategoricalaccuracy": "accuracy", "topkcategoricalaccuracy": "top_k_accuracy",
    "sparsetopkcategoricalaccuracy": "top_k_accuracy", "r2score": "r2",
    # activations, by name and as layers
    "swish": "silu", "identity": "linear",
    **{name.replace("_", ""): f"Activation('{name}')" for name in (
        "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "softmax")},
    # initialisers
    "xavier": "glorot_uniform", "xavieruniform": "glorot_uniform", "xaviernormal": "glorot_normal",
    "glorot": "glorot_uniform", "kaiming": "he_normal", "kaiminguniform": "he_uniform", "kaimingnormal": "he_normal",
    "he": "he_normal",
    # optimizers
    "lr": "learning_rate", "rate": "learning_rate", "gradientdescentoptimizer": "sgd",
    **{f"{name}optimizer": name for name in ("sgd", "adam", "adamw", "rmsprop", "adagrad")},
    # layers
    "linear": "Dense", "batchnormalization": "BatchNorm", "batchnorm1d": "BatchNorm", "batchnorm2d": "BatchNorm",
    "layernormalization": "LayerNorm", "rescaling": "Rescale", "upsample": "UpSampling2D",
    "maxpooling1d": "MaxPool1D", "maxpooling2d": "MaxPool2D", "averagepooling1d": "AvgPool1D",
    "averagepooling2d": "AvgPool2D", "globalaveragepooling1d": "GlobalAvgPool",
    "globalaveragepooling2d": "GlobalAvgPool", "adaptiveavgpool2d": "GlobalAvgPool",
    "globalmaxpooling1d": "GlobalMaxPool", "globalmaxpooling2d": "GlobalMaxPool",
    "convtranspose1d": "Conv1DTranspose", "convtranspose2d": "Conv2DTranspose",
    # arguments, attributes and methods
    "eps": "epsilon", "p": "rate", "outfeatures": "units", "outchannels": "filters", "poolsize": "kernel_size",
    "bias": "use_bias", "restorebestweights": "restore_best", "requiresgrad": "trainable", "forward": "predict",
    "predictproba": "predict", "saveweights": "save", "weights": "parameters",
    # all else
    "modelcheckpoint": "Checkpoint", "traintestsplit": "data.train_test_split",
    # what nnfast lacks, though it has something that is spelt nearly so
    **dict.fromkeys(("adamax", "geglu", "glu", "mape", "msle", "rprop", "rrelu")),
}
#: losses, by normalised name, of whose outputs other libraries take the mean
SUMMED = {"squarederror", "absoluteerror", "huber", "binarycrossentropy"}


#: what other libraries' constructors and methods are told and those of nnfast need not be
ARGUMENTS = {
    "inputshape": "the model knows it: nf.Sequential([...], input_shape=...)",
    "inputdim": "the model knows it: nf.Sequential([...], input_shape=...)",
    "stepsperepoch": "an epoch is all of x, in steps of batch_size samples",
    "verbose": "it prints nothing",
}


def hint(name: str, known: Collection[str], instead: Mapping[str, str] | None = None) -> str:
    """The end of a message about an unknown name: what it is called here, or what may have been meant.

    `instead` tells what to do where nothing here is called so.

    >>> hint("BatchNormalization", ["BatchNorm", "Dense"]), hint("Dens", ["BatchNorm", "Dense"]), hint("x", ["Dense"])
    ("; here it is called 'BatchNorm'", "; did you mean 'Dense'?", '')
    """
    import difflib

    wanted = _normalised(name)
    by_normal = {_normalised(entry): entry for entry in known}
    elsewhere = ELSEWHERE.get(wanted, "")
    if elsewhere is None:
        return ""
    owner = re.split(r"[.(]", elsewhere)[0]
    here = _normalised(owner)
    if here in by_normal:
        called = f"here it is called {by_normal[here]!r}" if owner == elsewhere else f"use nf.{elsewhere}"
        return f"; {called}{' (summed over the outputs, not averaged)' if here in SUMMED else ''}"
    if instead and wanted in instead:
        return f"; {instead[wanted]}"
    # A slip is seldom in the first letter, and another number is another thing (Conv3D).
    digits = _digits(wanted)
    like = [entry for entry in by_normal if entry[:1] == wanted[:1] and digits in ("", _digits(entry))]
    close = difflib.get_close_matches(wanted, like, n=1, cutoff=0.8)
    return f"; did you mean {by_normal[close[0]]!r}?" if close else ""


def _digits(name):
    return "".join(filter(str.isdigit, name))


def _did_you_mean(name, known, instead=None):
    return f"{hint(name, known, instead)} (known: {', '.join(known)})"


def choose(what: str, name: str, known: Collection[str], owner: str = "") -> str:
    """Return `name` if it is one of `known`, else raise ValueError that lists them and says whose it is.

    >>> choose("activation", "rellu", ["relu", "tanh"])
    Traceback (most recent call last):
        ...
    ValueError: unknown activation 'rellu'; did you mean 'relu'? (known: relu, tanh)
    """
    whose = f"{owner}: " if owner else ""
    if not isinstance(name, str):
        raise TypeError(f"{whose}{what} must be a name, got {type(name).__name__}: {name!r}")
    if name not in known:
        raise ValueError(f"{whose}unknown {what} {name!r}{_did_you_mean(name, list(known))}")
    return name


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
        self._by_normal = {_normalised(cls.__name__): cls for cls in classes.values()}
        self._by_normal.update((_normalised(name), cls) for name, cls in classes.items())

    def find(self, name):
        """Return the class called `name`, or raise ValueError that lists the known names."""
        cls = self._by_normal.get(_normalised(name))
        if cls is None:
            raise ValueError(f"unknown {self.what} {name!r}{_did_you_mean(name, list(self.classes))}")
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
