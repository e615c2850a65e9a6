"""Arrays in .safetensors files: read strictly, written so that a crash leaves the old file.

Layout (https://huggingface.co/docs/safetensors): 8 bytes little-endian header length, the header, a JSON object of
tensor name -> {dtype, shape, data_offsets}, with texts by name in its entry ``__metadata__``, then the tensors' bytes.

Reading believes nothing: the header must be strict JSON, account for every byte of the file and overlap nowhere, all of
it checked before an array is made. Writing goes to a new file beside the old one, which takes its place only when it is
whole on the disk.
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

#: A header of 100,000 tensors has about 10 MB.
MAX_HEADER = 32 << 20
#: Objects and lists inside each other. Ours need 8.
MAX_DEPTH = 32

METADATA = "__metadata__"
#: the types of our own files
REAL = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
#: those of other programs' weights; bfloat16, which NumPy lacks, is read as its 16 bits
FOREIGN = REAL | {"F16": np.dtype("<f2"), "BF16": np.dtype("<u2"), "I64": np.dtype("<i8"), "I32": np.dtype("<i4"),
                  "I16": np.dtype("<i2"), "I8": np.dtype("i1"), "U8": np.dtype("u1"), "BOOL": np.dtype("?")}
NAMES = {dtype: name for name, dtype in REAL.items()}


class FileFormatError(ValueError):
    """The file is not of the expected format, or it is damaged."""


class Problem(Exception):
    """What is wrong with a file; `naming` adds the file's name."""


@contextlib.contextmanager
def naming(what):
    """Turn a `Problem` into the FileFormatError about `what`, a file."""
    try:
        yield
    except Problem as problem:
        raise FileFormatError(f"{what}: {problem}") from problem.__cause__


# --- writing ---------------------------------------------------------------------------------------------------------

def encode(tensors, metadata):
    """The pieces of a file, in order: its head as bytes, then one C-contiguous array per tensor.

    Parameters
    ----------
    tensors : dict of str to array of float32 or float64
    metadata : dict of str to str
    """
    header, pieces, end = {METADATA: metadata}, [], 0
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name], tensors[name].dtype.newbyteorder("<"))
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
        pieces.append(array)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)     # so that the data begin at a multiple of 8
    if len(text) > MAX_HEADER:
        raise ValueError(f"save: the file's header would have {len(text)} bytes, more than {MAX_HEADER}")
    return [struct.pack("<Q", len(text)) + text, *pieces]


def replace(path, pieces):
    """Make `pieces`, bytes and arrays, the content of the file at `path`, or leave everything as it was."""
    path = os.path.realpath(path)
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".nnfast-{os.urandom(8).hex()}.tmp")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with open(file, "wb") as stream:
            for piece in pieces:
                stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    flush_folder(folder)


def flush_folder(folder):
    """Force the names in a folder to the disk: a new name is there only when the folder is."""
    if os.name != "posix":      # other systems cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- reading ---------------------------------------------------------------------------------------------------------

def read(path, dtypes=REAL):
    """The metadata and the tensors of a file.

    Parameters
    ----------
    path : str
    dtypes : dict of str to dtype
        The types of tensors to accept, by the format's names.

    Returns
    -------
    metadata : dict of str to str
    tensors : dict of str to (dtype name, array)

    Raises
    ------
    Problem
        If the file is not such a file, or damaged.
    OSError
        If it cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
        raise Problem("is not a regular file")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = _header_length(file.read(8), size)
        header = file.read(length)
        if len(header) != length:
            raise Problem(f"ends after {8 + len(header)} bytes, inside its header")
        metadata, entries = _parse_header(header, size - 8 - length, dtypes)
        try:
            data = file.read()
        except MemoryError:
            raise Problem(f"its {size} bytes do not fit into memory") from None
        if len(data) != size - 8 - length:
            raise Problem("changed while it was read")
    return metadata, _arrays(data, entries, dtypes)


def decode(data, dtypes=REAL):
    """As `read`, from the bytes of a file."""
    data = memoryview(data).cast("B")
    length = _header_length(data[:8], len(data))
    metadata, entries = _parse_header(bytes(data[8:8 + length]), len(data) - 8 - length, dtypes)
    return metadata, _arrays(data[8 + length:], entries, dtypes)


def _arrays(data, entries, dtypes):
    return {name: (dtype, np.frombuffer(data, dtypes[dtype], math.prod(shape), start).reshape(shape))
            for name, (dtype, shape, start) in entries.items()}


def _header_length(head, size):
    if len(head) < 8:
        raise Problem(f"has {len(head)} bytes, too few for a safetensors file")
    (length,) = struct.unpack("<Q", head)
    if length > size - 8:
        raise Problem(f"says its header has {length} bytes, but has {size - 8} after the length: "
                      "cut off, or not a safetensors file")
    if length > MAX_HEADER:
        raise Problem(f"has a header of {length} bytes, more than {MAX_HEADER}")
    return length


def _parse_header(header, data_size, dtypes):
    """(metadata, (dtype name, shape, start) of each tensor) of a header that describes exactly `data_size` bytes."""
    entries = parse_json(header, "header")
    if not isinstance(entries, dict):
        raise Problem("the header is not a JSON object")
    metadata = entries.pop(METADATA, {})
    if not isinstance(metadata, dict):
        raise Problem(f"{METADATA} is not a JSON object")
    for name, value in metadata.items():
        if not isinstance(value, str):
            raise Problem(f"metadata entry {name!r} is not a string")
    tensors, spans = {}, []
    for name, entry in entries.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise Problem(f"tensor {name}: expected dtype, shape and data_offsets, got {short(entry)}")
        dtype = dtypes.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
        if dtype is None:
            raise Problem(f"tensor {name}: dtype {short(entry['dtype'])}, expected {' or '.join(dtypes)}")
        shape, offsets = entry["shape"], entry["data_offsets"]
        for what, values in (("shape", shape), ("data_offsets", offsets)):
            if not isinstance(values, list) or not all(is_integer(v) and 0 <= v < 2**63 for v in values):
                raise Problem(f"tensor {name}: {what} must be a list of integers not below 0, got {short(values)}")
        if len(shape) > 8:
            raise Problem(f"tensor {name}: has {len(shape)} axes")
        if len(offsets) != 2 or not offsets[0] <= offsets[1] <= data_size:
            raise Problem(f"tensor {name}: data_offsets {short(offsets)} are not within the file's {data_size} bytes "
                          "of data")
        if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
            raise Problem(f"tensor {name}: shape {short(shape)} of {entry['dtype']} does not fill "
                          f"{offsets[1] - offsets[0]} bytes")
        tensors[name] = entry["dtype"], tuple(shape), offsets[0]
        spans.append((*offsets, name))
    end = 0
    for start, stop, name in sorted(spans):
        if start != end:
            raise Problem(f"tensor {name}: begins at byte {start} of the data, expected {end}: "
                          + ("it overlaps another" if start < end else "a gap"))
        end = stop
    if end != data_size:
        raise Problem(f"has {data_size} bytes of data, its tensors {end}")
    return metadata, tensors


def parse_json(text, what):
    """Strict JSON from bytes: UTF-8, no key twice, no NaN, no deep nesting."""
    def unique(pairs):
        result = dict(pairs)
        if len(result) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the key {short(twice)} appears twice")
        return result

    def refuse(constant):
        raise ValueError(f"{constant} is not a JSON number")

    try:
        text = text.decode("utf-8")
        _check_depth(text)
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Problem(f"the {what} is not valid JSON: {error}") from error


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


def is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def short(value):
    """A value in an error message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
