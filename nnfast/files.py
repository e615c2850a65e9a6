"""Models in files: one .safetensors file holds the weights, the optimizer's state and, as JSON, everything else.

Layout (https://huggingface.co/docs/safetensors): 8 bytes little-endian header length, the header, a JSON object of
tensor name -> {dtype, shape, data_offsets}, then the tensors' bytes. Ours are the parameters under their own names
("dense/kernel"), the optimizer's state ("optimizer/dense/kernel/m"), and in the header's ``__metadata__`` one entry,
``nnfast``, a JSON object:

    format      1
    version     of the library that wrote the file
    model       what get_config returned
    compile     what get_compile_config returned; null if the model was not compiled
    training    {"iterations", "epochs_trained"}, the counters that training goes on from; null without optimizer state

Nothing in a file is code, and nothing is believed: a file is parsed here strictly and completely before safetensors
reads it, tensors are compared with the architecture before a weight is allocated, and whatever is wrong raises
FileFormatError. Writing goes to a new file beside the old one, which takes its place only when it is whole on the disk.
"""

import contextlib
import errno
import json
import math
import os
import re
import stat
import struct

import numpy as np

from .config import __version__
from .graph import Graph, config_list, layer_from_config, values_from_config
from .layers import LAYERS, Input
from .model import Model, Sequential, difference

FORMAT = 1
KEY = "nnfast"
OPTIMIZER = "optimizer/"

#: A header of 100,000 tensors has about 10 MB; safetensors itself stops at 100 MB.
MAX_HEADER = 32 << 20
#: Objects and lists inside each other. Ours need 8.
MAX_DEPTH = 32

#: Layers or nodes of a model. Shapes can double with each, so this bounds how large one can become.
MAX_LAYERS = 10_000
MAX_ELEMENTS = 2**40

DTYPES = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


class FileFormatError(ValueError):
    """The file is not a model file of this library, or it is damaged."""


def save(model, path, include_optimizer=True):
    """Write a model to a .safetensors file: architecture, weights, settings of `compile`, optimizer state.

    A file that is already there is replaced in one step: after a crash, a full disk or an error it is the old one.

    Parameters
    ----------
    model : Model
    path : str or os.PathLike
    include_optimizer : bool
        False leaves the optimizer's state and counters out: a file of a third or half the size, from which training
        starts anew.

    Raises
    ------
    ValueError
        If the model is not built, holds Python functions (a Lambda layer, a custom loss, a learning rate that is a
        function), or has weights that are not finite. Nothing is written then.
    OSError
        If the file cannot be written.
    """
    path = os.fspath(path)
    description, tensors = _describe(model, include_optimizer)
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise ValueError(f"save: {name} holds values that are not finite")
    # safetensors is imported when first used: `import nnfast` loads numpy and the compiled core alone.
    from safetensors.numpy import save as serialize

    metadata = {KEY: json.dumps(description, allow_nan=False, separators=(",", ":"))}
    _replace(path, serialize({name: np.ascontiguousarray(array) for name, array in tensors.items()}, metadata))


def load(path):
    """Read a model that `save` wrote.

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
    """
    path = os.fspath(path)
    try:
        description, tensors = _read(path)
        return _build(description, tensors)
    except _Problem as problem:
        raise FileFormatError(f"{path}: {problem}") from problem.__cause__


class _Problem(Exception):
    """What is wrong with a file; `load` adds the file's name."""


# --- from the model to the file --------------------------------------------------------------------------------------

def _describe(model, include_optimizer):
    """(what goes into the metadata, the tensors by name)."""
    if type(model) not in (Model, Sequential):
        # A subclass would come back as its base class, without its own code.
        raise TypeError(f"save: expected a Model or Sequential, got {type(model).__name__}")
    compiled = model.get_compile_config()
    description = {
        "format": FORMAT,
        "version": __version__,
        "model": model.get_config(),
        "compile": compiled,
        "training": None,
    }
    for layer in model.layers:
        if LAYERS.get(type(layer).__name__) is not type(layer):
            raise ValueError(f"save: {layer.name} is a {type(layer).__name__}, a class that a file cannot name; "
                             f"known: {', '.join(LAYERS)}")
    tensors = dict(model.parameters)
    if include_optimizer and compiled is not None:
        description["training"] = {"iterations": model.iterations, "epochs_trained": model.epochs_trained}
        tensors.update((OPTIMIZER + name, array) for name, array in model.optimizer_state().items())
    return description, tensors


def _replace(path, data):
    """Make `data` the content of the file at `path`, or leave everything as it was."""
    path = os.path.realpath(path)
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".nnfast-{os.urandom(8).hex()}.tmp")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with open(file, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if os.name == "posix":
        # The new name is on the disk only when the folder is. Other systems cannot open folders.
        folder = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


# --- from the file to the model --------------------------------------------------------------------------------------

def _read(path):
    """(the metadata's JSON, the tensors by name) of a file whose every byte has been accounted for."""
    if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
        raise _Problem("is not a regular file")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(8)
        length = _header_length(head, size)
        header = file.read(length)
        if len(header) != length:
            raise _Problem(f"ends after {8 + len(header)} bytes, inside its header")
        description, expected = _parse_header(header, size - 8 - length)
        data = file.read()
        if len(data) != size - 8 - length:
            raise _Problem("changed while it was read")
    from safetensors import SafetensorError
    from safetensors.numpy import load as deserialize

    try:
        tensors = deserialize(b"".join((head, header, data)))
    except SafetensorError as error:
        raise _Problem(f"safetensors cannot read it: {error}") from error
    for name, (dtype, shape) in expected.items():
        array = tensors.get(name)
        if array is None or array.dtype != dtype or array.shape != shape:
            raise _Problem(f"safetensors reads tensor {name} in another way than its header says")
        if not np.isfinite(array).all():
            raise _Problem(f"tensor {name} holds values that are not finite")
    return description, tensors


def _header_length(head, size):
    if len(head) < 8:
        raise _Problem(f"has {len(head)} bytes, too few for a safetensors file")
    (length,) = struct.unpack("<Q", head)
    if length > size - 8:
        raise _Problem(f"says its header has {length} bytes, but has {size - 8} after the length: "
                       "cut off, or not a safetensors file")
    if length > MAX_HEADER:
        raise _Problem(f"has a header of {length} bytes, more than {MAX_HEADER}")
    return length


def _parse_header(header, data_size):
    """(our metadata, (dtype, shape) of each tensor) of a header that describes exactly `data_size` bytes."""
    entries = _parse_json(header, "header")
    if not isinstance(entries, dict):
        raise _Problem("the header is not a JSON object")
    metadata = entries.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get(KEY), str):
        raise _Problem(f"is not a model file of nnfast: its header has no {KEY!r} entry in __metadata__")
    for name, value in metadata.items():
        if not isinstance(value, str):
            raise _Problem(f"metadata entry {name!r} is not a string")
    description = _parse_json(metadata[KEY].encode("utf-8", "surrogatepass"), "metadata")
    if not isinstance(description, dict):
        raise _Problem("the metadata is not a JSON object")
    if not _is_integer(description.get("format")) or description["format"] != FORMAT:
        raise _Problem(f"has format {_short(description.get('format'))}; this version of nnfast, {__version__}, "
                       f"reads {FORMAT}")
    keys = {"format", "version", "model", "compile", "training"}
    if set(description) != keys:
        raise _Problem(f"the metadata must have the entries {sorted(keys)}, it has {sorted(description)}")
    return description, _parse_tensors(entries, data_size)


def _parse_tensors(entries, data_size):
    tensors, spans = {}, []
    for name, entry in entries.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise _Problem(f"tensor {name}: expected dtype, shape and data_offsets, got {_short(entry)}")
        dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
        if dtype is None:
            raise _Problem(f"tensor {name}: dtype {_short(entry['dtype'])}, expected F32 or F64")
        shape, offsets = entry["shape"], entry["data_offsets"]
        for what, values in (("shape", shape), ("data_offsets", offsets)):
            if not isinstance(values, list) or not all(_is_integer(v) and 0 <= v < 2**63 for v in values):
                raise _Problem(f"tensor {name}: {what} must be a list of integers not below 0, got {_short(values)}")
        if len(shape) > 8:
            raise _Problem(f"tensor {name}: has {len(shape)} axes")
        if len(offsets) != 2 or not offsets[0] <= offsets[1] <= data_size:
            raise _Problem(f"tensor {name}: data_offsets {_short(offsets)} are not within the file's {data_size} bytes "
                           "of data")
        if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
            raise _Problem(f"tensor {name}: shape {_short(shape)} of {entry['dtype']} does not fill "
                           f"{offsets[1] - offsets[0]} bytes")
        tensors[name] = dtype, tuple(shape)
        spans.append((*offsets, name))
    end = 0
    for start, stop, name in sorted(spans):
        if start != end:
            raise _Problem(f"tensor {name}: begins at byte {start} of the data, expected {end}: "
                           + ("it overlaps another" if start < end else "a gap"))
        end = stop
    if end != data_size:
        raise _Problem(f"has {data_size} bytes of data, its tensors {end}")
    return tensors


def _parse_json(text, what):
    """Strict JSON: UTF-8, no key twice, no NaN, no deep nesting."""
    def unique(pairs):
        result = dict(pairs)
        if len(result) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the key {_short(twice)} appears twice")
        return result

    def refuse(constant):
        raise ValueError(f"{constant} is not a JSON number")

    try:
        text = text.decode("utf-8")
        _check_depth(text)
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise _Problem(f"the {what} is not valid JSON: {error}") from error


def _check_depth(text):
    """Stop before the parser does: how deep that may go depends on the interpreter."""
    depth = 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', text, re.DOTALL):
        if match[0] in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"more than {MAX_DEPTH} objects or lists inside each other")
        elif match[0] in "]}":
            depth -= 1


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value):
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _build(description, tensors):
    """The model; its parameters' shapes are compared with the tensors before any of them is allocated."""
    config = description["model"]
    with _problems("the architecture is not valid"):
        graph = _graph(config)
        shapes = {parameter.name: parameter.spec.shape for parameter in graph.parameters}
    state = {name[len(OPTIMIZER):]: array for name, array in tensors.items()
             if name.startswith(OPTIMIZER) and name not in shapes}
    weights = {name: array for name, array in tensors.items() if name in shapes or not name.startswith(OPTIMIZER)}
    if set(weights) != set(shapes):
        raise _Problem("its tensors are not those of its architecture: " + difference(weights, shapes))
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise _Problem(f"tensor {name} has shape {weights[name].shape}, the architecture expects {shape}")
    for name, array in tensors.items():
        if array.dtype.name != config["dtype"]:
            raise _Problem(f"tensor {name} is {array.dtype.name}, the model is {_short(config['dtype'])}")
    with _problems("the architecture is not valid"):
        model = Model.from_config(config)
        model.set_parameters(weights)
    if description["compile"] is not None:
        with _problems("its compile settings are not valid"):
            model.compile(**_dict("compile", description["compile"]))
    _restore_training(model, description["training"], state)
    return model


def _graph(config):
    """The model's graph of new layers, which hold no arrays."""
    config = _dict("model", config)
    for key in ("inputs", "layers", "nodes", "outputs"):
        if key in config and len(config_list(config, key)) > MAX_LAYERS:
            raise ValueError(f"{len(config[key])} {key}, more than {MAX_LAYERS}")
    if not isinstance(config.get("dtype"), str):
        raise ValueError(f"dtype must be a string, got {_short(config.get('dtype'))}")
    if config.get("class") == "Sequential":
        value = first = Input(config.get("input_shape"), data_format=config.get("data_format", "channels_last"))
        for entry in config_list(config, "layers"):
            value = layer_from_config(entry)(value)
        graph = Graph([first], [value], None)
    else:
        graph = Graph(*values_from_config(config), None)
    for node in graph.nodes:
        if math.prod(node.shape) > MAX_ELEMENTS:
            raise ValueError(f"{graph.names[node.layer]}: an output of {math.prod(node.shape):,} elements")
    return graph


def _restore_training(model, training, state):
    if training is None:
        if state:
            raise _Problem(f"has optimizer state ({', '.join(state)}), but no training counters")
        return
    if not isinstance(training, dict) or set(training) != {"iterations", "epochs_trained"} or not all(
            _is_integer(count) and 0 <= count < 2**62 for count in training.values()):
        raise _Problem("training must be the counters iterations and epochs_trained, integers not below 0, "
                       f"got {_short(training)}")
    if not model.compiled:
        raise _Problem("has training counters, but no compile settings")
    with _problems("its optimizer state does not fit"):
        # An optimizer that has not made a step yet may have no arrays.
        if state or training["iterations"]:
            model.set_optimizer_state(state, training["iterations"])
    model.epochs_trained = training["epochs_trained"]


@contextlib.contextmanager
def _problems(what):
    """What the classes of a configuration refuse is a problem of the file."""
    try:
        yield
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise _Problem(f"{what}: {error}") from error


def _dict(what, value):
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a JSON object, got {_short(value)}")
    return value
