"""Small real data for examples, tests and benchmarks.

Layout: images channels last, ``(n, height, width, 1)``, or flattened to ``(n, height * width)``; float32 in [0, 1].
Labels: int32, ``(n,)``. Every loader returns ``(x_train, y_train), (x_test, y_test)``.
"""

from __future__ import annotations

import os
import sys
from os.path import expanduser, isfile, join
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .typing import Array, PathLike

__all__ = ["digits", "fashion_mnist", "read_idx"]

# Name, SHA-256 of the gzip file.
_FASHION_MNIST = (
    ("train-images-idx3-ubyte", "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"),
    ("train-labels-idx1-ubyte", "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"),
    ("t10k-images-idx3-ubyte", "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"),
    ("t10k-labels-idx1-ubyte", "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"),
)
# Both are named by the authors. The second has no https; the checksums hold for either.
_FASHION_MNIST_URLS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
_TIMEOUT = 30.0  # seconds without a byte

# http://yann.lecun.com/exdb/mnist describes the format: the third byte is the type, the fourth the number of axes.
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CHUNK = 1 << 20


def digits(flatten: bool = True) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """1,797 handwritten digits of 8x8 pixels, shipped with the package.

    The test file of *Optical Recognition of Handwritten Digits*, E. Alpaydin and C. Kaynak, UCI Machine Learning
    Repository (1998), https://doi.org/10.24432/C50P49, licence CC BY 4.0, as scikit-learn distributes it. The
    stratified 80/20 split is fixed: of each class, every fifth sample is in the test set.

    Parameters
    ----------
    flatten : bool
        True: images are rows of 64 numbers; False: ``(n, 8, 8, 1)``.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        1,438 and 359 samples: float32 in [0, 1] (the source's 0..16, divided by 16) and int32 labels 0..9.

    Examples
    --------
    >>> import nnfast as nf
    >>> (x_train, y_train), (x_test, y_test) = nf.datasets.digits()
    >>> x_train.shape, y_train.shape, x_test.shape, y_test.shape
    ((1438, 64), (1438,), (359, 64), (359,))
    >>> nf.datasets.digits(flatten=False)[0][0].shape
    (1438, 8, 8, 1)
    """
    with np.load(join(os.path.dirname(__file__), "data", "digits.npz"), allow_pickle=False) as stored:
        train, test = (
            (_images(stored[f"x_{part}"], 16, flatten), stored[f"y_{part}"].astype(np.int32))
            for part in ("train", "test")
        )
        return train, test


def fashion_mnist(path: PathLike | None = None,
                  flatten: bool = True) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """60,000 + 10,000 grey 28x28 images of clothing in 10 classes (Zalando SE, MIT licence).

    H. Xiao, K. Rasul, R. Vollgraf, *Fashion-MNIST* (2017), https://arxiv.org/abs/1708.07747. Any other data set in the
    four files of MNIST loads, too, with `path`.

    Parameters
    ----------
    path : str or path, optional
        Folder of the four idx files, plain or gzip (``.gz``). Nothing is downloaded then. Without it the files are
        looked for in the folder ``fashion-mnist`` of ``$NNFAST_DATA``, or else of the user's cache (``~/.cache/nnfast``
        on Linux), and downloaded there (30 MB, checked by SHA-256) if they are not all there.
    flatten : bool
        True: images are rows of 784 numbers; False: ``(n, 28, 28, 1)``.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        float32 in [0, 1] (the source's 0..255, divided by 255) and int32 labels 0..9.

    Raises
    ------
    FileNotFoundError
        `path` lacks one of the files.
    ConnectionError
        The download failed; the message says where to put which files.
    OSError
        A file cannot be read, or none can be made in the folder that they are downloaded to.
    ValueError
        A file is damaged, or is not what its name says.

    Examples
    --------
    >>> import tempfile
    >>> import nnfast as nf
    >>> folder = tempfile.mkdtemp()
    >>> for part, n in [("train", 3), ("t10k", 2)]:      # files of the same names and format
    ...     with open(f"{folder}/{part}-images-idx3-ubyte", "wb") as file:
    ...         _ = file.write(bytes([0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(n * 28 * 28))
    ...     with open(f"{folder}/{part}-labels-idx1-ubyte", "wb") as file:
    ...         _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, n]) + bytes(range(n)))
    >>> (x_train, y_train), (x_test, y_test) = nf.datasets.fashion_mnist(folder)
    >>> x_train.shape, y_train, x_test.shape
    ((3, 784), array([0, 1, 2], dtype=int32), (2, 784))
    """
    if path is None:
        folder = join(_cache(), "fashion-mnist")
        for name, sha256 in _FASHION_MNIST:
            if _find(folder, name) is None:
                _download(folder, name + ".gz", sha256)
    else:
        folder = os.fspath(path)
        missing = [name for name, _ in _FASHION_MNIST if _find(folder, name) is None]
        if missing:
            raise FileNotFoundError(f"fashion_mnist: no {', '.join(missing)} (plain or .gz) in {folder!r}")
    files = [_find(folder, name) for name, _ in _FASHION_MNIST]
    return tuple(_labelled(images, labels, flatten) for images, labels in (files[:2], files[2:]))


def read_idx(path: PathLike) -> Array:
    """Array stored in an idx file, the format of MNIST; gzip files are recognised by their content.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    array
        Of the file's shape and type (uint8, int8, int16, int32, float32 or float64), in native byte order.

    Raises
    ------
    ValueError
        Not an idx file, an unknown type, damaged gzip data, or more or fewer bytes than the header promises.

    Examples
    --------
    >>> import tempfile
    >>> import nnfast as nf
    >>> path = tempfile.mkdtemp() + "/labels-idx1-ubyte"
    >>> with open(path, "wb") as file:
    ...     _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))     # type, axes, size, data
    >>> nf.datasets.read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    import gzip
    import zlib

    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            with gzip.GzipFile(fileobj=file) if compressed else file as stream:
                return _read_idx(stream, path)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: damaged gzip file: {error}") from error


def _read_idx(file, path):
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_TYPES:
        raise ValueError(f"{path}: not an idx file: it begins with {head.hex(' ') or 'nothing'}")
    dtype, ndim = np.dtype(_IDX_TYPES[head[2]]), head[3]
    if not 1 <= ndim <= 32:
        raise ValueError(f"{path}: idx header says {ndim} axes, expected 1 to 32")
    dims = file.read(4 * ndim)
    if len(dims) < 4 * ndim:
        raise ValueError(f"{path}: truncated in the idx header")
    shape = tuple(int(n) for n in np.frombuffer(dims, ">u4"))
    size = dtype.itemsize
    for n in shape:
        size *= n
    # In pieces, because a false header may promise more bytes than there is memory.
    data = bytearray()
    while len(data) <= size and (piece := file.read(min(_CHUNK, size + 1 - len(data)))):
        data += piece
    if len(data) != size:
        came = "more" if len(data) > size else f"only {len(data)}"
        raise ValueError(f"{path}: idx header promises shape {shape}, {size} bytes of data; there are {came}")
    a = np.frombuffer(data, dtype).reshape(shape)
    return a.astype(dtype.newbyteorder("="), copy=False)


def _images(x, largest, flatten):
    x = x.reshape((len(x), -1) if flatten else (*x.shape, 1))
    return np.divide(x, largest, dtype=np.float32)


def _labelled(images_path, labels_path, flatten):
    x, y = read_idx(images_path), read_idx(labels_path)
    if x.ndim != 3 or x.dtype != np.uint8 or x.size == 0:
        raise ValueError(f"{images_path}: expected uint8 images (n, height, width), got {x.dtype} {x.shape}")
    if y.ndim != 1 or y.dtype != np.uint8:
        raise ValueError(f"{labels_path}: expected uint8 labels (n,), got {y.dtype} {y.shape}")
    if len(x) != len(y):
        raise ValueError(f"{len(x)} images in {images_path}, but {len(y)} labels in {labels_path}")
    if y.max() > 9:
        raise ValueError(f"{labels_path}: label {y.max()}, expected 0 to 9")
    return _images(x, 255, flatten), y.astype(np.int32)


def _find(folder, name):
    """The file, plain or compressed, or None."""
    return next((file for file in (join(folder, name), join(folder, f"{name}.gz")) if isfile(file)), None)


def _cache():
    """The folder that data sets are kept in."""
    if folder := os.environ.get("NNFAST_DATA"):
        return folder
    if sys.platform == "win32" and (folder := os.environ.get("LOCALAPPDATA")):
        return join(folder, "nnfast", "Cache")
    if sys.platform == "darwin":
        return expanduser(join("~", "Library", "Caches", "nnfast"))
    return join(os.environ.get("XDG_CACHE_HOME") or expanduser(join("~", ".cache")), "nnfast")


def _download(folder, name, sha256):
    """folder/name, from the first address that has it with this checksum."""
    import contextlib
    import hashlib
    import http.client
    from urllib.request import urlopen

    failures = []
    for url in _FASHION_MNIST_URLS:
        # A name of its own and a rename at the end: neither an interrupted download nor a second process downloading
        # at the same time can leave a part of the file under its name. Not by tempfile: only its user could read it,
        # and $NNFAST_DATA may be a folder for many.
        part = join(folder, f"{name}.{os.urandom(8).hex()}.part")
        try:
            os.makedirs(folder, exist_ok=True)
            file = open(part, "xb")
        except OSError as error:
            raise type(error)(f"fashion_mnist: no file can be made in {folder}: {error.strerror}. Set NNFAST_DATA to a "
                              "folder where it can, or pass the folder that the files are in as path") from error
        try:
            with file, urlopen(url + name, timeout=_TIMEOUT) as response:
                checksum = hashlib.sha256()
                while piece := response.read(_CHUNK):
                    checksum.update(piece)
                    file.write(piece)
            if checksum.hexdigest() == sha256:
                os.replace(part, join(folder, name))
                return
            failures.append(f"{url}{name}: wrong SHA-256 {checksum.hexdigest()}")
        except (OSError, http.client.HTTPException) as error:
            # Windows replaces no file that is open: a second process has been faster and reads it.
            if isfile(join(folder, name)):
                return
            failures.append(f"{url}{name}: {error or type(error).__name__}")
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
    names = ", ".join(f"{name}.gz" for name, _ in _FASHION_MNIST)
    raise ConnectionError(
        f"fashion_mnist: download failed ({'; '.join(failures)}). Put the four files {names} into {folder}, "
        "or pass the folder they are in as path"
    )
