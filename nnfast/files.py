"""Models in files: one .safetensors file holds the weights, the optimizer's state and, as JSON, everything else.

The tensors are the parameters under their own names ("dense/kernel"), the optimizer's state
("optimizer/dense/kernel/m") and, in checkpoints, arrays of callbacks ("callbacks/0/weights/1"). The file's metadata has
two texts: ``nnfast``, a JSON object, and ``checksum``, the CRC-32 of that text followed by the tensors' bytes in the
order of their names. The object's entries are

    format       1
    version      of the library that wrote the file
    model        what get_config returned: the layers with all their settings, names and shapes of the inputs
    compile      what get_compile_config returned; null if the model was not compiled
    class_names  what the outputs mean: null, a list, or lists by output name
    training     {"iterations", "epochs_trained", "history"}, from which training goes on; null without optimizer state
    fit          in checkpoints, where `fit` stood (nnfast/checkpoint.py); else null

Nothing in a file is code, and nothing is believed: the safetensors package accounts for every byte of it, its tensors
are compared with the architecture before a weight is allocated, and whatever is wrong raises FileFormatError. The same
representation serves `to_json`, which has no tensors, and pickle.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import zlib
from typing import TYPE_CHECKING

import numpy as np

from . import metrics
from .callbacks import History
from .config import __version__
from .configurable import check_known
from .graph import Graph, config_list, layer_from_config, values_from_config
from .layers import LAYERS, Input
from .model import Model, difference
from .sequential import Sequential
from .tensor_file import (
    FileFormatError,
    Problem,
    check_depth,
    decode,
    encode,
    is_integer,
    naming,
    parse_json,
    read,
    replace,
    short,
)

if TYPE_CHECKING:
    from .typing import PathLike

__all__ = ["FileFormatError", "from_json", "load", "save", "to_json"]

FORMAT = 1
KEY = "nnfast"
CHECKSUM = "checksum"
OPTIMIZER = "optimizer/"
CALLBACKS = "callbacks/"
REAL = ("float32", "float64")
ENTRIES = {"format", "version", "model", "compile", "class_names", "training", "fit"}

#: Endings that other programs would take a file by.
FOREIGN = {".c", ".csv", ".h5", ".hdf5", ".joblib", ".json", ".keras", ".npy", ".npz", ".onnx", ".pb", ".pickle",
           ".pkl", ".pt", ".pth", ".tflite", ".tsv", ".xlsx", ".zip"}
#: what writes such files
EXPORTS = {".c": "nnfast export or nf.export_c", ".onnx": "nnfast export or nf.onnx.export"}

#: Layers or nodes of a model.
MAX_LAYERS = 10_000


def save(model: Model, path: PathLike, include_optimizer: bool = True) -> None:
    """Write a model to a .safetensors file: architecture, weights, settings of `compile`, optimizer state, history.

    A file that is already there is replaced in one step: after a crash, a full disk or an error it is the old one.

    Parameters
    ----------
    model : Model
    path : str or os.PathLike
    include_optimizer : bool
        False leaves the optimizer's state, the counters and the history out: a file of a third or half the size, from
        which training starts anew.

    Raises
    ------
    ValueError
        If the model is not built, holds Python functions (a Lambda layer, a custom loss, a learning rate that is a
        function) or objects of your own classes (a schedule, an initialiser), or has weights that are not finite, or
        the path has the ending of another format (.onnx, .h5, .pt). Nothing is written then.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(2)], input_shape=(3,))
    >>> path = tempfile.mkdtemp() + "/model.safetensors"
    >>> nf.save(model, path)
    >>> nf.load(path)
    <Sequential 'sequential': 8 parameters, float32>
    """
    check_model("save", model)
    path = os.fspath(path)
    check_ending(path)
    check_portable(model)
    replace(path, pack(*describe(model, include_optimizer)))


def load(path: PathLike) -> Model:
    """Read a model that `save` or a checkpoint wrote.

    If it was compiled, so is the result, and with the optimizer's state in the file training goes on as if it had not
    been interrupted, with the same bits.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    Model or Sequential

    Raises
    ------
    FileFormatError
        If the file is not such a file, or damaged; the message names the file and the problem.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(2)], input_shape=(3,))
    >>> path = tempfile.mkdtemp() + "/model.safetensors"
    >>> model.save(path)
    >>> bool((nf.load(path).predict([[1, 2, 3]]) == model.predict([[1, 2, 3]])).all())
    True
    """
    path = os.fspath(path)
    with naming(path):
        return build(*unpack(*read(path)))


def to_json(model: Model, indent: int | None = None) -> str:
    """A model without its weights as JSON text: architecture, settings of `compile`, class names.

    Raises
    ------
    ValueError
        If the model holds Python functions, or objects of your own classes.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(2, activation="softmax")], input_shape=(3,))
    >>> nf.from_json(model.to_json())
    <Sequential 'sequential': 8 parameters, float32>
    """
    check_portable(model, needs_weights=False)
    description, _ = describe(model, include_optimizer=False, tensors=False)
    return json.dumps(description, allow_nan=False, indent=indent)


def from_json(text: str | bytes) -> Model:
    """A new model, with fresh weights drawn from its seed, from what `to_json` returned.

    Raises
    ------
    FileFormatError
        If the text is not of that format.

    Examples
    --------
    >>> import nnfast as nf
    >>> model = nf.Sequential([nf.Dense(2)], input_shape=(3,), seed=1)
    >>> again = nf.from_json(model.to_json())
    >>> again, bool((again.get_weights()[0] == model.get_weights()[0]).all())
    (<Sequential 'sequential': 8 parameters, float32>, True)
    """
    if not isinstance(text, (str, bytes)):
        raise TypeError(f"from_json: expected a text, got {type(text).__name__}; a dict goes to nf.Model.from_config")
    with naming("from_json"):
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        description = _check_description(parse_json(data, "text"))
        if description["training"] is not None or description["fit"] is not None:
            raise Problem("a model without tensors has no training state")
        return build(description, None)


# --- from the model to the file --------------------------------------------------------------------------------------

def check_ending(path):
    """Raise ValueError if the name of a file to save a model in says that it is of another format."""
    ending = os.path.splitext(path)[1].lower()
    if ending in FOREIGN:
        hint = f"; {EXPORTS[ending]} writes {ending}" if ending in EXPORTS else ""
        raise ValueError(f"save: {path}: models are saved as .safetensors, not as {ending}{hint}")


def check_portable(model, needs_weights=True):
    """Raise unless the model is all data, of classes that a file can name."""
    if type(model) not in (Model, Sequential):
        # A subclass would come back as its base class, without its own code.
        raise TypeError(f"save: expected a Model or Sequential, got {type(model).__name__}")
    if needs_weights:
        model._built()
    model.get_config()
    model.get_compile_config()
    if model.compiled:
        optimizer, objective, regularizer, _ = model._settings
        check_known([optimizer, regularizer])
        if objective is not None:
            check_known([*objective.losses, *(metrics.get(entry) for own in objective.requested for entry in own)])
    for layer in model.layers:
        check_known(list(vars(layer).values()))
        if LAYERS.get(type(layer).__name__) is not type(layer):
            raise ValueError(f"save: {layer.name} is a {type(layer).__name__}, a class that a file cannot name; "
                             f"known: {', '.join(LAYERS)}")


def is_portable(model):
    """Whether the model is all data, so that a file can hold it."""
    try:
        check_portable(model, needs_weights=False)
    except (TypeError, ValueError):
        return False
    return True


def check_model(who, model):
    """A model comes first, here and in exports: the path, or another library's module, is an error that says so."""
    if not isinstance(model, Model):
        raise TypeError(f"{who}: expected an nnfast model, got {type(model).__name__}")


def describe(model, include_optimizer=True, tensors=True, portable=True):
    """(what goes into the metadata, the tensors by name).

    With ``portable=False`` architecture and settings are left out: enough to go on training in a process that has made
    the model itself, where it holds Python functions.
    """
    description = {
        "format": FORMAT,
        "version": __version__,
        "model": model.get_config() if portable else None,
        "compile": model.get_compile_config() if portable else None,
        "class_names": model.class_names,
        "training": None,
        "fit": None,
    }
    arrays = dict(model.parameters) if tensors and model.built else {}
    if include_optimizer and model.compiled and model.built:
        history = model.history
        description["training"] = {
            "iterations": model.iterations, "epochs_trained": model.epochs_trained,
            "history": None if history is None else {
                "epoch": list(history.epoch), "history": plain_numbers(history.history),
                "seconds": plain_numbers(getattr(history, "seconds", []))},
        }
        arrays.update((OPTIMIZER + name, array) for name, array in model.optimizer_state().items())
    return description, arrays


def pack(description, tensors):
    """The pieces of the file."""
    for name, array in tensors.items():
        if array.dtype.name not in REAL:
            raise ValueError(f"save: {name} is {array.dtype.name}, expected {' or '.join(REAL)}")
        if not np.isfinite(array).all():
            raise ValueError(f"save: {name} holds values that are not finite")
    text = json.dumps(description, allow_nan=False, separators=(",", ":"))
    check_depth(text)       # what is read again is no deeper
    return encode(tensors, {KEY: text, CHECKSUM: checksum(text, tensors)})


def checksum(text, tensors):
    """CRC-32 of a text and the bytes of tensors in the order of their names, as eight hexadecimal digits."""
    code = zlib.crc32(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        code = zlib.crc32(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8), code)
    return f"{code:08x}"


def plain_numbers(value):
    """Numbers in lists and dicts as JSON holds them: NaN and infinities as texts."""
    if isinstance(value, dict):
        return {name: plain_numbers(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_numbers(entry) for entry in value]
    if is_integer(value):
        return value
    value = float(value)
    return value if math.isfinite(value) else repr(value)


def numbers(value, what):
    """The inverse of `plain_numbers`."""
    if isinstance(value, dict):
        return {name: numbers(entry, what) for name, entry in value.items()}
    if isinstance(value, list):
        return [numbers(entry, what) for entry in value]
    if value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Problem(f"{what}: expected a number, got {short(value)}")
    return value


# --- from the file to the model --------------------------------------------------------------------------------------

def unpack(metadata, tensors):
    """(the description, the tensors by name) of a file's contents, its checksum verified."""
    if KEY not in metadata:
        raise Problem(f"is not a model file of nnfast: its header has no {KEY!r} entry in __metadata__")
    text = metadata[KEY]
    description = _check_description(parse_json(text.encode(), "metadata"))
    code = checksum(text, tensors)
    if metadata.get(CHECKSUM) != code:
        raise Problem(f"is damaged: its checksum is {short(metadata.get(CHECKSUM))}, its contents have {code!r}")
    for name, array in tensors.items():
        if array.dtype.name not in REAL:        # the checksum does not cover it
            raise Problem(f"tensor {name} is {array.dtype.name}, expected {' or '.join(REAL)}")
        if not np.isfinite(array).all():
            raise Problem(f"tensor {name} holds values that are not finite")
    return description, tensors


def _check_description(description):
    if not isinstance(description, dict):
        raise Problem("the metadata is not a JSON object")
    if not is_integer(description.get("format")) or description["format"] != FORMAT:
        raise Problem(f"has format {short(description.get('format'))}; this version of nnfast, {__version__}, "
                      f"reads {FORMAT}")
    if set(description) != ENTRIES:
        raise Problem(f"the metadata must have the entries {sorted(ENTRIES)}, it has {sorted(description)}")
    return description


def build(description, tensors):
    """The model; its parameters' shapes are compared with the tensors before any of them is allocated.

    Without tensors (None) the weights are fresh.
    """
    config = description["model"]
    if config is None and description["fit"] is not None:
        raise Problem("is a checkpoint of a model with Python functions or classes, which a file cannot hold; make the "
                      "model and go on with model.fit(..., resume=folder)")
    with _problems("the architecture is not valid"):
        graph = _graph(config, unbuilt=tensors is None or not tensors)
    weights = state = {}
    if tensors is not None and graph is not None:
        weights, state, _ = split(tensors, graph.index)
        check_tensors(weights, graph, config["dtype"])
        for name, array in state.items():
            if array.dtype.name != config["dtype"]:
                raise Problem(f"tensor {OPTIMIZER}{name} is {array.dtype.name}, the model is {short(config['dtype'])}")
    with _problems("the architecture is not valid"):
        model = Model.from_config(config)
        if weights:
            model.set_parameters(weights)
        model.class_names = description["class_names"]
    if description["compile"] is not None:
        with _problems("its compile settings are not valid"):
            model.compile(**_dict("compile", description["compile"]))
    restore_training(model, description["training"], state)
    return model


def split(tensors, parameters):
    """(weights, optimizer state, callbacks' arrays) by name, of a model with these parameters."""
    weights, state, arrays = {}, {}, {}
    for name, array in tensors.items():
        if name in parameters or not name.startswith((OPTIMIZER, CALLBACKS)):
            weights[name] = array
        elif name.startswith(OPTIMIZER):
            state[name[len(OPTIMIZER):]] = array
        else:
            arrays[name[len(CALLBACKS):]] = array
    return weights, state, arrays


def check_tensors(weights, graph, dtype):
    """A file's weights are those of the graph, in names, shapes and type."""
    shapes = {parameter.name: parameter.spec.shape for parameter in graph.parameters}
    if set(weights) != set(shapes):
        raise Problem("its tensors are not those of its architecture: " + difference(weights, shapes))
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise Problem(f"tensor {name} has shape {weights[name].shape}, the architecture expects {shape}")
        if weights[name].dtype.name != dtype:
            raise Problem(f"tensor {name} is {weights[name].dtype.name}, the model is {short(dtype)}")


def _graph(config, unbuilt):
    """The model's graph of new layers, which hold no arrays; None for a Sequential that is to be built by data."""
    config = _dict("model", config)
    for key in ("inputs", "layers", "nodes", "outputs"):
        if key in config and len(config_list(config, key)) > MAX_LAYERS:
            raise ValueError(f"{len(config[key])} {key}, more than {MAX_LAYERS}")
    if not isinstance(config.get("dtype"), str):
        raise ValueError(f"dtype must be a string, got {short(config.get('dtype'))}")
    if config.get("class") == "Sequential":
        if unbuilt and config.get("input_shape") is None:
            return None
        value = first = Input(config.get("input_shape"), data_format=config.get("data_format", "channels_last"))
        for entry in config_list(config, "layers"):
            value = layer_from_config(entry)(value)
        return Graph([first], [value], None)
    return Graph(*values_from_config(config), None)


def restore_training(model, training, state):
    """Give the model the optimizer state, counters and history of a file."""
    if training is None:
        if state:
            raise Problem(f"has optimizer state ({', '.join(state)}), but no training counters")
        return
    if not isinstance(training, dict) or set(training) != {"iterations", "epochs_trained", "history"} or not all(
            is_integer(training[count]) and 0 <= training[count] < 2**62 for count in ("iterations", "epochs_trained")):
        raise Problem("training must be the counters iterations and epochs_trained, integers not below 0, and the "
                      f"history, got {short(training)}")
    if not model.compiled:
        raise Problem("has training counters, but no compile settings")
    history = read_history(training["history"])
    with _problems("its optimizer state does not fit"):
        # An optimizer that has not made a step yet may have no arrays.
        if state or training["iterations"]:
            model.set_optimizer_state(state, training["iterations"])
    model.epochs_trained = training["epochs_trained"]
    model.history = history


def read_history(entry):
    """The History of a file, or None."""
    if entry is None:
        return None
    if not isinstance(entry, dict) or set(entry) != {"epoch", "history", "seconds"} or not isinstance(
            entry["history"], dict) or not all(
            isinstance(values, list) for values in (entry["epoch"], entry["seconds"], *entry["history"].values())):
        raise Problem(f"history must be lists by name, got {short(entry)}")
    if not all(is_integer(epoch) for epoch in entry["epoch"]):
        raise Problem(f"history: epochs must be integers, got {short(entry['epoch'])}")
    history = History()
    history.epoch = entry["epoch"]
    for name, values in entry["history"].items():
        history.history[name] = [numbers(value, f"history of {name}") for value in values]
    history.seconds = numbers(entry["seconds"], "history: seconds")
    return history


@contextlib.contextmanager
def _problems(what):
    """What the classes of a configuration refuse is a problem of the file."""
    try:
        yield
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise Problem(f"{what}: {error}") from error


def _dict(what, value):
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a JSON object, got {short(value)}")
    return value


# --- pickle ----------------------------------------------------------------------------------------------------------

def to_bytes(model):
    """A model, built or not, as the bytes of a file."""
    return b"".join(pack(*describe(model)))


def from_bytes(data):
    """The inverse of `to_bytes`."""
    with naming("pickled model"):
        return build(*unpack(*decode(data)))
