"""Arrays in .safetensors files: read strictly, written so that a crash leaves the old file.

The `safetensors` package knows the format (https://huggingface.co/docs/safetensors). Added here: no key of the header
twice, a bound on the header, files that replace the old one only when they are whole on the disk, FileFormatError for
everything that is refused, and equal bytes for equal contents.
"""

import contextlib
import errno
import json
import os
import re
import stat

import numpy as np

#: A header of 100,000 tensors has about 10 MB.
MAX_HEADER = 32 << 20
#: Objects and lists inside each other. Ours need 8.
MAX_DEPTH = 32

METADATA = "__metadata__"
#: bfloat16, which NumPy lacks, is the upper half of a float32
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
          "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"}


class FileFormatError(ValueError):
    """The file is not of the expected format, or it is damaged.

    >>> import nnfast as nf
    >>> try:
    ...     nf.from_json("{}")
    ... except nf.FileFormatError as error:
    ...     print(error)
    from_json: has format None; this version of nnfast, 0.1.0, reads 1
    """


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
    """The pieces of a file, in order.

    Parameters
    ----------
    tensors : dict of str to array
    metadata : dict of str to str
    """
    from safetensors.numpy import save  # here and below, because `import nnfast` needs none of it

    # The package takes the memory as it lies.
    data = save({name: np.asarray(array, order="C") for name, array in tensors.items()}, metadata)
    end = 8 + int.from_bytes(data[:8], "little")
    # It writes the metadata in a random order (https://github.com/safetensors/safetensors/issues/584).
    header = json.loads(data[8:end]) | {METADATA: dict(sorted(metadata.items()))}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(end - 8)
    if len(text) > MAX_HEADER:
        raise ValueError(f"save: the file's header would have {len(text)} bytes, more than {MAX_HEADER}")
    return [len(text).to_bytes(8, "little") + text, memoryview(data)[end:]]


def replace(path, pieces):
    """Make `pieces`, bytes and arrays, the content of the file at `path`, or leave everything as it was."""
    path = os.path.realpath(path)
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, "Not a file, which would be replaced", path)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "No such folder", folder)
    temporary = os.path.join(folder, f".nnfast-{os.urandom(8).hex()}.tmp")
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:    # which names a file that nobody asked for
        raise type(error)(error.errno, error.strerror, path) from None
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

def read(path):
    """The metadata and the tensors of a file.

    Parameters
    ----------
    path : str

    Returns
    -------
    metadata : dict of str to str
    tensors : dict of str to array
        bfloat16 as float32

    Raises
    ------
    Problem
        If the file is not such a file, or damaged.
    OSError
        If it cannot be read.
    """
    from safetensors import safe_open

    if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
        raise Problem("is not a regular file")
    with open(path, "rb", buffering=0) as file, _refusals():
        _header_end(file.read(8))
        with safe_open(os.fsdecode(path), "numpy"):
            pass                # the header is right for the file's size: only now read all of it
        file.seek(0)
        data = file.read()
    return decode(data)


def decode(data):
    """As `read`, from the bytes of a file."""
    from safetensors import deserialize

    end = _header_end(data)
    with _refusals():
        bytearray(len(data))    # is there memory for its copy? Where not, the package panics, or hangs
        entries = deserialize(data)
    metadata = parse_json(data[8:end], "header").get(METADATA) or {}
    tensors = {}
    for name, entry in entries:
        if entry["dtype"] not in DTYPES:
            raise Problem(f"tensor {name}: dtype {entry['dtype']}, expected {' or '.join(DTYPES)}")
        array = np.frombuffer(entry["data"], DTYPES[entry["dtype"]])
        if entry["dtype"] == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        try:
            tensors[name] = array.reshape(entry["shape"])
        except (ValueError, OverflowError) as error:    # more axes than NumPy has, or 0 times too much
            raise Problem(f"tensor {name}: shape {short(entry['shape'])}: {error}") from error
    return metadata, tensors


def _header_end(data):
    """Where the header ends that begins with these bytes."""
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER:
        raise Problem(f"is damaged, or not a safetensors file: it says its header has {length} bytes, more than "
                      f"{MAX_HEADER}")
    return 8 + length


@contextlib.contextmanager
def _refusals():
    """What the package refuses is a problem of the file."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise Problem(f"is damaged, or not a safetensors file: {error}") from error
    except MemoryError as error:
        raise Problem("does not fit into memory") from error


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
        check_depth(text)
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Problem(f"the {what} is not valid JSON: {error}") from error


def check_depth(text):
    """Raise ValueError before the parser would: how deep that may go depends on the interpreter."""
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
