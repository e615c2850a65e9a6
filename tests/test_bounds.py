"""Kernels work in whole vectors. Here arrays lie between two pages that no one may touch: reading or writing one number
beyond them, in front or behind, ends the process, which is therefore another one."""
import ctypes
import itertools
import mmap
import subprocess
import sys

import numpy as np
import pytest

import nnfast as nf
import nnfast.functional as F

PAGE = mmap.PAGESIZE


class Fence:
    """Makes arrays that begin, or end, at a forbidden page."""

    def __init__(self, behind):
        self.behind = behind
        self.rng = np.random.default_rng(0)
        self.protect = ctypes.CDLL(None).mprotect
        self.protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

    def array(self, shape, dtype, fill=None):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        pages = -(-size // PAGE) * PAGE
        memory = mmap.mmap(-1, pages + 2 * PAGE)
        at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for page in (at, at + PAGE + pages):
            assert self.protect(page, PAGE, 0) == 0
        array = np.frombuffer(memory, dtype, size // np.dtype(dtype).itemsize,
                              PAGE + pages - size if self.behind else PAGE).reshape(shape)
        array[...] = self.rng.normal(size=shape) if fill is None else fill
        return array

    def results(self, *like):
        return tuple(self.array(a.shape, a.dtype, np.nan) for a in like)


def convolutions():
    """x's shape, w's, groups, stride, padding, dilation."""
    for c, stride in itertools.product((1, 2, 3, 5, 7, 8, 9, 16, 17), (1, 2)):
        yield (2, 5, 6, c), (3, 3, c, c + 1), 1, stride, "same", 1
        yield (2, 5, 6, c), (3, 2, 1, c), c, stride, ((0, 2), (4, 1)), 1
        yield (1, 4, 5, c), (2, 3, 1, 2 * c), c, stride, "same", 2
        yield (2, 3, 4, c), (1, 1, c, 5), 1, stride, "valid", 1
    yield (2, 8, 9, 16), (3, 3, 16, 16), 1, 1, "same", 1
    yield (1, 7, 6, 48), (3, 3, 48, 32), 1, 1, ((0, 3), (2, 1)), 1
    yield (1, 8, 6, 41), (3, 3, 41, 27), 1, 1, "same", 1
    yield (1, 5, 6, 70), (3, 3, 70, 9), 1, 1, 1, 1
    yield (1, 5, 6, 70), (3, 3, 70, 100), 1, 2, 1, 1
    yield (1, 4, 4, 34), (3, 3, 17, 34), 2, 1, 1, 1
    yield (2, 4, 5, 173), (2, 2, 173, 35), 1, 2, "valid", 1
    yield (1, 5, 6, 100), (3, 3, 100, 3), 1, 1, "same", 2
    yield (1, 6, 7, 41), (3, 3, 1, 41), 41, 1, "same", 1
    yield (1, 7, 6, 512), (3, 3, 1, 512), 512, 1, 1, 1
    for c, k in (16, 16), (21, 35), (41, 9):     # Winograd's filtering of other kernels
        yield (1, 12, 13, c), (5, 5, c, k), 1, 1, "same", 1
        yield (2, 11, 9, c), (2, 2, c, k), 1, 1, "valid", 1
        yield (1, 15, 17, c), (4, 4, c, k), 1, 2, ((1, 2), (0, 3)), 1
        yield (1, 16, 19, c), (7, 7, c, k), 1, 1, ((0, 3), (4, 1)), 1
        yield (1, 31, 33, c), (9, 9, c, k), 1, 3, "same", 1
        yield (1, 1, 50, c), (1, 5, c, k), 1, 1, ((0, 0), (1, 3)), 1
        yield (2, 2, 40, c), (1, 3, c, k), 1, 1, "valid", 3
        yield (1, 2, 61, c), (1, 9, c, k), 1, (1, 2), ((0, 0), (4, 0)), 1


def run_convolutions(fence, dtype):
    for shape, kernel, groups, stride, padding, dilation in convolutions():
        x, w, b = fence.array(shape, dtype), fence.array(kernel, dtype), fence.array(kernel[-1:], dtype)
        where = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        y, = fence.results(F.conv2d(x, w, b, **where))
        F.conv2d(x, w, b, **where, out=y)
        F.conv2d_backward(x, w, y, **where, out=fence.results(x, w, b))


def run_transposed(fence, dtype):
    channels = (1, 3), (5, 2), (16, 16), (9, 17), (33, 41), (70, 9)
    places = ((3, 3), 1, 1, 1), ((4, 4), 2, 1, 1), ((2, 3), 3, "same", 1), ((3, 2), 2, 0, 2)
    for (c, k), (kernel, stride, padding, dilation) in itertools.product(channels, places):
        x, w, b = fence.array((2, 4, 5, c), dtype), fence.array((*kernel, k, c), dtype), fence.array((k,), dtype)
        where = {"stride": stride, "padding": padding, "dilation": dilation}
        y, = fence.results(F.conv2d_transpose(x, w, b, **where))
        F.conv2d_transpose(x, w, b, **where, out=y)
        F.conv2d_transpose_backward(x, w, y, **where, out=fence.results(x, w, b))
        y, dx = fence.results(F.upsample2d(x, kernel), x)
        F.upsample2d_backward(F.upsample2d(x, kernel, out=y), kernel, out=dx)


def run_pools(fence, dtype):
    windows = (2, 2, "valid"), (3, 2, "same"), (3, 1, ((1, 2), (2, 0))), (2, 3, "valid")
    for c, (kernel, stride, padding) in itertools.product((1, 2, 3, 4, 5, 7, 8, 9, 15, 17), windows):
        x = fence.array((1, 6, 8, c), dtype)
        y, dx = fence.results(F.max_pool2d(x, kernel, stride, padding), x)
        F.max_pool2d(x, kernel, stride, padding, out=y)
        F.max_pool2d_backward(x, y, kernel, stride, padding, out=dx)
        F.avg_pool2d(x, kernel, stride, padding, out=y)
        F.avg_pool2d_backward(y, x.shape, kernel, stride, padding, out=dx)


def run_dense(fence, dtype):
    for rows, c, k in [(1, 1, 1), (1, 17, 16), (3, 33, 48), (3, 5, 19), (28, 3, 64), (2, 40, 35), (40, 30, 17),
                       (1, 5, 64), (3, 33, 192), (4, 67, 512)]:
        x, w, b = fence.array((rows, c), dtype), fence.array((c, k), dtype), fence.array((k,), dtype)
        y = fence.array((rows, k), dtype)
        F.dense(x, w, b, "relu", out=y)
        F.dense_backward(x, w, y, out=fence.results(x, w, b))


def run_model(fence, dtype):
    layers = [nf.Conv2D(5, 3, activation="relu"), nf.MaxPool2D(2), nf.Flatten(), nf.Dense(3)]
    model = nf.Sequential(layers, input_shape=(7, 8, 3), dtype=np.dtype(dtype).name, seed=0)
    model.compile("sgd", "squared_error")
    x, y = fence.array((5, 7, 8, 3), dtype), fence.array((5, 3), dtype)
    model.fit(x, y, batch_size=2, verbose=0, augment=[nf.augment.Flip(), nf.augment.Shift(2)])
    model.predict(x)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no mprotect")
@pytest.mark.parametrize("behind", ["behind", "in front"])
def test_nothing_is_touched_beyond_the_arrays(behind):
    done = subprocess.run([sys.executable, __file__, behind], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"after {done.stdout.split() or 'nothing'}: {done.stderr}"
    assert done.stdout.split() == ["run_convolutions", "run_transposed", "run_pools", "run_dense", "run_model"] * 2


if __name__ == "__main__":
    for precision in (np.float32, np.float64):
        for part in (run_convolutions, run_transposed, run_pools, run_dense, run_model):
            part(Fence(sys.argv[1] == "behind"), precision)
            print(part.__name__, flush=True)
