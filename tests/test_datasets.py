"""The shipped digits, idx files and the loader of Fashion-MNIST, on small files made here."""
import gzip
import hashlib
import http.server
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

from nnfast import datasets
from nnfast.datasets import digits, fashion_mnist, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
NAMES = [name for name, _ in datasets._FASHION_MNIST]


def idx(a):
    """a in the idx format."""
    header = struct.pack(f">BBBB{a.ndim}I", 0, 0, CODES[a.dtype.str[1:]], a.ndim, *a.shape)
    return header + a.astype(a.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def parts(rng):
    """Images and labels, four small arrays in the order of NAMES."""
    return [rng.integers(0, 256, (12, 5, 3), np.uint8), rng.integers(0, 10, 12).astype(np.uint8),
            rng.integers(0, 256, (4, 5, 3), np.uint8), rng.integers(0, 10, 4).astype(np.uint8)]


def store(folder, parts, compress):
    folder.mkdir(parents=True, exist_ok=True)
    for name, a in zip(NAMES, parts, strict=True):
        if compress:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(a)))
        else:
            (folder / name).write_bytes(idx(a))


def check(loaded, parts):
    for (x, y), images, labels in zip(loaded, parts[0::2], parts[1::2], strict=True):
        assert x.dtype == np.float32 and y.dtype == np.int32
        assert x.flags.c_contiguous
        np.testing.assert_array_equal(x, (images.reshape(len(images), -1) / 255).astype(np.float32))
        np.testing.assert_array_equal(y, labels)


# --- digits ----------------------------------------------------------------------------------------------------------

def test_digits_shapes_and_range():
    (x_train, y_train), (x_test, y_test) = digits()
    assert x_train.shape == (1438, 64) and x_test.shape == (359, 64)
    assert y_train.shape == (1438,) and y_test.shape == (359,)
    for x, y in ((x_train, y_train), (x_test, y_test)):
        assert x.dtype == np.float32 and y.dtype == np.int32
        assert x.min() == 0 and x.max() == 1
        np.testing.assert_array_equal(x * 16, np.round(x * 16))


def test_digits_are_the_known_ones():
    (x_train, y_train), (x_test, y_test) = digits()
    x = np.concatenate([x_train, x_test])
    # Class counts and the sum of all pixels of the 1,797 samples, as UCI and scikit-learn have them.
    assert np.bincount(np.concatenate([y_train, y_test])).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (x.astype(np.float64) * 16).sum() == 561718
    # The first sample of the source, a zero, is the first one of the training set.
    first = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0, 0, 3, 15, 2, 0, 11, 8, 0, 0, 4, 12, 0, 0, 8, 8, 0,
             0, 5, 8, 0, 0, 9, 8, 0, 0, 4, 11, 0, 1, 12, 7, 0, 0, 2, 14, 5, 10, 12, 0, 0, 0, 0, 6, 13, 10, 0, 0, 0]
    assert (x_train[0] * 16).tolist() == first and y_train[0] == 0


def test_digits_split_is_stratified_and_disjoint():
    (x_train, y_train), (x_test, y_test) = digits()
    share = np.bincount(y_test) / (np.bincount(y_train) + np.bincount(y_test))
    assert np.all(np.abs(share - 0.2) < 0.004)
    assert not {row.tobytes() for row in x_train} & {row.tobytes() for row in x_test}


def test_digits_as_images():
    flat, images = digits()[1][0], digits(flatten=False)[1][0]
    assert images.shape == (359, 8, 8, 1)
    np.testing.assert_array_equal(images.reshape(359, 64), flat)


def test_digits_are_new_arrays_each_time():
    x = digits()[0][0]
    x[:] = -1
    assert digits()[0][0].min() == 0


def test_data_names_its_source_and_licence():
    folder = Path(datasets.__file__).parent / "data"
    text = (folder / "README.txt").read_text(encoding="utf-8")
    for words in ("CC BY 4.0", "Alpaydin", "Kaynak", "UCI", "1998"):
        assert words in text and words in digits.__doc__
    assert (folder / "digits.npz").stat().st_size < 150_000


# --- idx files -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", CODES)
def test_read_idx_types(tmp_path, rng, kind, compress):
    a = (rng.standard_normal((3, 4, 2)) * 100).astype(kind)
    # The name does not tell whether it is compressed.
    (tmp_path / "file").write_bytes(gzip.compress(idx(a)) if compress else idx(a))
    b = read_idx(str(tmp_path / "file"))
    assert b.dtype == a.dtype and b.dtype.isnative and b.flags.writeable
    np.testing.assert_array_equal(b, a)


def test_read_idx_empty_axis(tmp_path):
    (tmp_path / "file").write_bytes(idx(np.zeros((0, 7), np.uint8)))
    assert read_idx(tmp_path / "file").shape == (0, 7)


GOOD = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))
HUGE = struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)


@pytest.mark.parametrize(("data", "message"), [
    (b"", "not an idx file: it begins with nothing"),
    (GOOD[:3], "not an idx file: it begins with 00 00 08"),
    (b"\x01" + GOOD[1:], "not an idx file"),
    (b"PK\x03\x04" + bytes(100), "not an idx file: it begins with 50 4b 03 04"),
    (GOOD[:2] + b"\x0a" + GOOD[3:], "not an idx file"),
    (GOOD[:3] + b"\x00" + GOOD[4:], "0 axes"),
    (GOOD[:3] + b"\xff" + GOOD[4:], "255 axes"),
    (GOOD[:10], "truncated in the idx header"),
    (GOOD[:-1], r"promises shape \(2, 3\), 6 bytes of data; there are only 5"),
    (GOOD[:12], "there are only 0"),
    (GOOD + b"\0", "there are more"),
    (HUGE + bytes(1000), "there are only 1000"),
])
@pytest.mark.parametrize("compress", [False, True])
def test_read_idx_refuses(tmp_path, data, message, compress):
    (tmp_path / "file").write_bytes(gzip.compress(data) if compress else data)
    with pytest.raises(ValueError, match=message) as error:
        read_idx(tmp_path / "file")
    assert str(tmp_path / "file") in str(error.value)


@pytest.mark.parametrize("damage", [
    lambda g: g[:-12],                                      # cut off
    lambda g: g[:-8] + bytes(4) + g[-4:],                   # false checksum
    lambda g: g[:12] + bytes([g[12] ^ 0xFF]) + g[13:],      # damaged stream
    lambda g: g[:2] + b"\x07" + g[3:],                      # unknown method
    lambda g: g[:5],
])
def test_read_idx_refuses_damaged_gzip(tmp_path, damage):
    a = np.arange(200, dtype=np.uint8)
    (tmp_path / "file").write_bytes(damage(gzip.compress(idx(a))))
    with pytest.raises(ValueError, match="damaged gzip file|not an idx file|idx header"):
        read_idx(tmp_path / "file")


def test_read_idx_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "file")


# --- Fashion-MNIST ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("compress", [False, True])
def test_fashion_mnist_from_a_folder(tmp_path, parts, compress):
    store(tmp_path, parts, compress)
    check(fashion_mnist(tmp_path), parts)
    check(fashion_mnist(path=str(tmp_path)), parts)
    assert fashion_mnist(tmp_path, flatten=False)[1][0].shape == (4, 5, 3, 1)


def test_fashion_mnist_names_missing_files(tmp_path, parts):
    store(tmp_path, parts, False)
    (tmp_path / NAMES[1]).unlink()
    with pytest.raises(FileNotFoundError, match=f"no {NAMES[1]} "):
        fashion_mnist(tmp_path)
    with pytest.raises(FileNotFoundError, match=", ".join(NAMES)):
        fashion_mnist(tmp_path / "nothing")


def wrong_rank(p):
    p[0] = p[0].reshape(12, 15)


def wrong_type(p):
    p[0] = p[0].astype(np.int16)


def wrong_labels(p):
    p[3] = p[3].astype(np.int32)


def wrong_count(p):
    p[1] = p[1][:-1]


def label_too_large(p):
    p[1][3] = 10


def nothing(p):
    p[2], p[3] = p[2][:0], p[3][:0]


@pytest.mark.parametrize(("spoil", "message"), [
    (wrong_rank, r"expected uint8 images \(n, height, width\), got uint8 \(12, 15\)"),
    (wrong_type, "got int16"),
    (wrong_labels, r"expected uint8 labels \(n,\), got int32"),
    (wrong_count, "12 images in .*, but 11 labels"),
    (label_too_large, "label 10, expected 0 to 9"),
    (nothing, "got uint8"),
])
def test_fashion_mnist_refuses(tmp_path, parts, spoil, message):
    spoil(parts)
    store(tmp_path, parts, False)
    with pytest.raises(ValueError, match=message):
        fashion_mnist(tmp_path)


def test_fashion_mnist_from_the_cache(tmp_path, parts, monkeypatch):
    monkeypatch.setenv("NNFAST_DATA", str(tmp_path))
    monkeypatch.setattr(datasets, "_FASHION_MNIST_URLS", ())
    store(tmp_path / "fashion-mnist", parts, True)
    check(fashion_mnist(), parts)


@pytest.mark.parametrize(("platform", "variables", "expected"), [
    ("linux", {"XDG_CACHE_HOME": "/x"}, Path("/x/nnfast")),
    ("linux", {"XDG_CACHE_HOME": ""}, Path.home() / ".cache" / "nnfast"),
    ("darwin", {}, Path.home() / "Library" / "Caches" / "nnfast"),
    ("win32", {"LOCALAPPDATA": "/a"}, Path("/a/nnfast/Cache")),
    ("win32", {"NNFAST_DATA": "/data", "LOCALAPPDATA": "/a"}, Path("/data")),
])
def test_cache_folder(monkeypatch, platform, variables, expected):
    monkeypatch.setattr(datasets.sys, "platform", platform)
    for name in ("NNFAST_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Path(datasets._cache()) == expected


@pytest.fixture
def server(tmp_path):
    """A web server of the files in tmp_path/web."""
    (tmp_path / "web").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        requests = []

        def __init__(self, *args):
            super().__init__(*args, directory=tmp_path / "web")

        def log_message(self, *args):
            self.requests.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as s:
        thread = threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        s.url, s.requests = f"http://127.0.0.1:{s.server_port}/", Handler.requests
        yield s
        s.shutdown()
        thread.join()


@pytest.fixture
def web(server, tmp_path, parts, monkeypatch):
    """Fashion-MNIST is now these small files, on the local server, with an empty cache."""
    store(tmp_path / "web", parts, True)
    sums = [(n, hashlib.sha256((tmp_path / "web" / f"{n}.gz").read_bytes()).hexdigest()) for n in NAMES]
    monkeypatch.setattr(datasets, "_FASHION_MNIST", tuple(sums))
    monkeypatch.setattr(datasets, "_FASHION_MNIST_URLS", (server.url + "no/such/folder/", server.url))
    monkeypatch.setenv("NNFAST_DATA", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return server


def cached(tmp_path):
    return sorted(os.listdir(tmp_path / "cache" / "fashion-mnist"))


def test_download_once_and_from_the_second_address(web, parts, tmp_path):
    check(fashion_mnist(), parts)
    assert cached(tmp_path) == sorted(f"{name}.gz" for name in NAMES)
    asked = len(web.requests)
    assert asked == 12  # of eight requests four fail, and the server writes two lines about a failure
    check(fashion_mnist(), parts)
    assert len(web.requests) == asked


def test_download_fetches_only_what_is_missing(web, parts, tmp_path):
    fashion_mnist()
    (tmp_path / "cache" / "fashion-mnist" / f"{NAMES[2]}.gz").unlink()
    web.requests.clear()
    check(fashion_mnist(), parts)
    assert set(web.requests) <= {f"/no/such/folder/{NAMES[2]}.gz", f"/{NAMES[2]}.gz"}


def test_download_with_a_wrong_checksum_is_thrown_away(web, tmp_path):
    file = tmp_path / "web" / f"{NAMES[1]}.gz"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ConnectionError, match=f"{NAMES[1]}.gz: wrong SHA-256"):
        fashion_mnist()
    assert cached(tmp_path) == [f"{NAMES[0]}.gz"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_download_is_for_all_users_that_the_umask_allows(web, tmp_path):
    before = os.umask(0o022)
    try:
        fashion_mnist()
    finally:
        os.umask(before)
    for file in (tmp_path / "cache" / "fashion-mnist").iterdir():
        assert file.stat().st_mode & 0o777 == 0o644


def test_download_beside_a_faster_process_that_reads_its_file(web, parts, tmp_path, monkeypatch):
    """As on Windows, which then does not let it be replaced."""
    replace = os.replace

    def faster(source, target):
        replace(source, target)
        raise PermissionError(13, "Access is denied", target)

    monkeypatch.setattr(datasets.os, "replace", faster)
    check(fashion_mnist(), parts)
    assert cached(tmp_path) == sorted(f"{name}.gz" for name in NAMES)


def test_without_a_folder_to_write_to_the_error_says_what_to_do(web, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NNFAST_DATA", str(tmp_path / "file"))
    with pytest.raises(OSError, match="no file can be made in .*fashion-mnist: .* Set NNFAST_DATA to a folder"):
        fashion_mnist()
    assert web.requests == []


def test_without_a_network_the_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("NNFAST_DATA", str(tmp_path))
    # Port 9 of this machine: nobody listens.
    monkeypatch.setattr(datasets, "_FASHION_MNIST_URLS", ("http://127.0.0.1:9/",))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ConnectionError) as error:
        fashion_mnist()
    message = str(error.value)
    assert str(tmp_path / "fashion-mnist") in message
    assert all(f"{name}.gz" in message for name in NAMES)
    assert os.listdir(tmp_path / "fashion-mnist") == []
