"""Names that are unknown here, and what messages say of them: what other libraries' names stand for, and slips.

`hint` ends the message of whoever finds such a name: tables of names, attributes, and arguments (`explained`).
"""

from __future__ import annotations

import functools
import inspect
import re
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    Function = TypeVar("Function", bound=Callable[..., Any])

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
    "swish": "silu", "hardsilu": "hard_swish", "identity": "linear",
    **{name.replace("_", ""): f"Activation('{name}')" for name in (
        "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "softmax", "relu6", "hard_sigmoid",
        "hard_swish", "selu", "mish")},
    # initialisers
    "xavier": "glorot_uniform", "xavieruniform": "glorot_uniform", "xaviernormal": "glorot_normal",
    "glorot": "glorot_uniform", "kaiming": "he_normal", "kaiminguniform": "he_uniform", "kaimingnormal": "he_normal",
    "he": "he_normal",
    # optimizers
    "lr": "learning_rate", "rate": "learning_rate", "gradientdescentoptimizer": "sgd",
    **{f"{name}optimizer": name for name in ("sgd", "adam", "adamw", "rmsprop", "adagrad")},
    # layers
    "linear": "Dense", "batchnormalization": "BatchNorm", "batchnorm1d": "BatchNorm", "batchnorm2d": "BatchNorm",
    "layernormalization": "LayerNorm", "groupnormalization": "GroupNorm",
    **dict.fromkeys(("instancenorm1d", "instancenorm2d", "instancenormalization"), "GroupNorm(groups=channels)"),
    "mul": "Multiply", "rescaling": "Rescale", "upsample": "UpSampling2D",
    "maxpooling1d": "MaxPool1D", "maxpooling2d": "MaxPool2D", "averagepooling1d": "AvgPool1D",
    "averagepooling2d": "AvgPool2D", "globalaveragepooling1d": "GlobalAvgPool",
    "globalaveragepooling2d": "GlobalAvgPool", "adaptiveavgpool2d": "GlobalAvgPool",
    "globalmaxpooling1d": "GlobalMaxPool", "globalmaxpooling2d": "GlobalMaxPool",
    "convtranspose1d": "Conv1DTranspose", "convtranspose2d": "Conv2DTranspose",
    # arguments, attributes and methods
    "eps": "epsilon", "numgroups": "groups", "p": "rate", "outfeatures": "units", "outchannels": "filters",
    "poolsize": "kernel_size",
    "bias": "use_bias", "restorebestweights": "restore_best", "requiresgrad": "trainable",
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
FREEZE = "of a layer it can be set: for layer in model.layers: layer.trainable = False"
MODE = "there is no mode to set: only fit and train_on_batch drop values and use statistics of the batch"
DEVICE = "models compute on the CPU"
#: attributes of other libraries' models, and what does it here
MODELS = {
    "add": "give all layers at once, nf.Sequential([...])",
    "cpu": DEVICE, "cuda": DEVICE, "to": DEVICE,
    "eval": MODE, "train": MODE,
    "forward": "model.predict(x) computes the outputs",
    "load_state_dict": "set_parameters takes a dict of arrays, nf.interop.from_torch_state_dict PyTorch's",
    "load_weights": "nf.load(path) reads what model.save(path) has written",
    "predict_proba": "model.predict(x) computes the outputs, of a softmax or sigmoid probabilities",
    "requires_grad": FREEZE, "trainable": FREEZE,
    "save_weights": "model.save(path) writes weights and layers",
    "state_dict": "parameters is a dict of arrays; PyTorch's is nf.interop.to_torch_state_dict(model)",
    "weights": "get_weights() returns a list of arrays, parameters is a dict of them",
    "zero_grad": "gradients do not add up from step to step",
}


class Missing:
    """An attribute that a class of nnfast does not have, whatever others do: to read or set it is an AttributeError
    that says what to do instead. Users' subclasses may have it.

    A `__getattr__` would do the same, and make every other attribute slower.
    """

    def __init__(self, name: str, instead: str) -> None:
        self.name, self.instead = name, instead

    def __get__(self, owner: Any, cls: type) -> Any:
        if owner is not None and self.name in owner.__dict__:
            return owner.__dict__[self.name]
        raise AttributeError(f"{cls.__name__} has no {self.name!r}; {self.instead}")

    def __set__(self, owner: Any, value: object) -> None:
        if of_nnfast(owner):
            self.__get__(owner, type(owner))
        owner.__dict__[self.name] = value


def normalised(name):
    return name.replace("_", "").replace("-", "").replace(" ", "").lower()


def hint(name: str, known: Collection[str], instead: Mapping[str, str] | None = None) -> str:
    """The end of a message about an unknown name: what it is called here, or what may have been meant.

    `instead` tells what to do where nothing here is called so.

    >>> hint("BatchNormalization", ["BatchNorm", "Dense"]), hint("Dens", ["BatchNorm", "Dense"]), hint("x", ["Dense"])
    ("; here it is called 'BatchNorm'", "; did you mean 'Dense'?", '')
    """
    import difflib

    wanted = normalised(name)
    by_normal = {normalised(entry): entry for entry in known}
    if wanted in by_normal:
        return f"; did you mean {by_normal[wanted]!r}?"
    elsewhere = ELSEWHERE.get(wanted, "")
    if elsewhere is None:
        return ""
    owner = re.split(r"[.(]", elsewhere)[0]
    here = normalised(owner)
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


def did_you_mean(name, known, instead=None):
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
        raise ValueError(f"{whose}unknown {what} {name!r}{did_you_mean(name, list(known))}")
    return name


def of_nnfast(owner: object) -> bool:
    """Whether an object's class is nnfast's own, not a subclass of a user's."""
    return type(owner).__module__.startswith("nnfast.")


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
            owner = function.__name__
            if owner == "__init__":     # of nnfast's own the class that was written, not a base that it has it from
                owner = type(self).__name__ if of_nnfast(self) else function.__qualname__.split(".")[-2]
        raise TypeError(f"{owner} has no argument {unknown[0]!r}{did_you_mean(unknown[0], known, ARGUMENTS)}")

    return explaining  # type: ignore[return-value]


class Explained:
    """Base of the classes whose constructors are `explained`, those of users' subclasses included."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = explained(cls.__init__)  # type: ignore[method-assign]
