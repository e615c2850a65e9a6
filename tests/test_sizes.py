"""Absurd sizes: an error before anything is computed, not a crash, in a process that may have 4 GiB."""
import re
import sys

import pytest
from child import python

SETUP = """
import numpy as np
import nnfast as nf
from nnfast import functional as F
x, w, one = np.ones((1, 4, 4, 1), np.float32), np.ones((2, 2, 1, 1), np.float32), np.ones((1, 1, 1, 1), np.float32)
pair, signal, taps = np.ones((1, 2, 1, 1), np.float32), np.ones((1, 4, 1)), np.ones((2, 1, 1))
many, wide = np.ones((1, 1, 1, 4096), np.float32), np.ones((1, 2, 4096, 1), np.float32)
BIG = 2**31 - 1

def net(*layers, shape):
    return nf.Sequential(list(layers), input_shape=shape)
"""

CASES = [
    # padding
    "F.conv2d(x, w, padding=BIG)",
    "F.conv2d(x, w, padding=2**20)",
    "F.conv2d(x, w, padding=((0, 0), (2**29, 2**29)))",
    "F.conv2d_backward(x, w, one, padding=2**62)",
    "F.conv1d(signal, taps, padding=(BIG - 10, 0))",
    "F.conv1d(signal, taps, padding=2**62)",
    "F.max_pool2d(x, 2**20, stride=1, padding=2**20 - 1)",
    "F.max_pool2d(x, 2**30, padding=2**29)",
    "F.avg_pool1d(signal, 2**30, stride=1, padding=2**30 - 1)",
    "net(nf.ZeroPadding2D(2**20), shape=(1, 1, 1))",
    "net(nf.ZeroPadding2D(2**18), shape=(1, 1, 1)).predict(one)",
    "net(nf.ZeroPadding2D(2**14), nf.GlobalAvgPool(), shape=(1, 1, 64)).predict(np.ones((4096, 1, 1, 64)), 4096)",
    "net(nf.ZeroPadding2D(2**10), shape=(1, 1, 2**20))",
    # dilation
    "F.conv2d(one, w, dilation=BIG - 1, padding=((BIG // 2, BIG // 2), (BIG // 2, BIG // 2)))",
    "F.conv2d(one, pair, dilation=(1, 2**30), padding=((0, 0), (2**30, 0)))",
    "F.conv2d_backward(one, pair, one, dilation=(1, 2**30), padding=((0, 0), (2**30, 0)))",
    "F.conv2d(many, wide, dilation=(1, 2**30), padding=((0, 0), (2**30, 0)))",
    "F.conv2d_backward(many, wide, one, dilation=(1, 2**30), padding=((0, 0), (2**30, 0)))",
    "F.conv_toeplitz(w, (4, 4, 1), dilation=2**70)",
    "net(nf.Conv2D(1, (1, 2), dilation=(1, 2**30), padding=((0, 0), (2**30, 0))), shape=(1, 1, 2**12))",
    # kernels, strides, channels
    "F.conv2d(x, w, stride=2**40)",
    "F.max_pool2d(x, 2**40)",
    "F.avg_pool2d_backward(one, (1, 2**40, 2**40, 1), 2**30)",
    "F.avg_pool2d_backward(one, (1, 2**30, 2**30, 1), 2**30)",
    "F.global_avg_pool_backward(np.ones((1, 1)), (1, 2**30, 2**30, 1))",
    "F.global_avg_pool_backward(np.ones((1, 1)), (1, 2**15, 2**15, 1))",
    "F.global_avg_pool_backward(np.ones((1, 1)), (1, 2**62, 2**62, 1))",
    "F.conv_toeplitz(w, (2**20, 2**20, 1))",
    "F.conv_toeplitz(w, (2**12, 2**12, 1))",
    "F.conv_toeplitz(w, (2**62, 2**62, 1))",
    "F.conv2d(x, w, n_threads=2**40)",
    "net(nf.Conv2D(2**20, 3), shape=(8, 8, 2**20))",
    "net(nf.Conv2D(2**30, 1), shape=(8, 8, 1))",
    "net(nf.Conv2D(2**62, 1), shape=(8, 8, 1))",
    "F.conv2d_transpose(x, w, stride=2**40)",
    "F.conv2d_transpose(x, w, stride=2**30)",
    "F.conv2d_transpose(x, w, dilation=2**31 - 1)",
    "F.upsample2d(x, 2**30)",
    "F.upsample2d(x, 2**40)",
    "F.upsample2d_backward(x, 2**40)",
    "net(nf.Conv2DTranspose(2**20, 3), shape=(8, 8, 2**20))",
    "net(nf.Conv2DTranspose(2**30, 1, stride=2**10), shape=(8, 8, 1))",
    "net(nf.Conv1DTranspose(1, 1, stride=2**30), shape=(2**12, 1))",
    "net(nf.UpSampling2D(2**30), shape=(8, 8, 1))",
    "net(nf.DepthwiseConv2D(1, depth_multiplier=2**38), shape=(8, 8, 1))",
    "net(nf.Dense(2**30), shape=(2**30,))",
    "net(nf.Dense(2**62), shape=(2,))",
    "net(nf.Dense(2**22), shape=(2**12,))",
    "net(nf.Dense(2**22), shape=(2**39, 1))",
    "net(nf.MaxPool2D(2**20, stride=1, padding=2**20 - 1), shape=(1, 1, 2**20))",
    "net(nf.BatchNorm(), shape=(2**31,))",
    "nf.Input((2**62, 2**62, 3))",
    "nf.Reshape((2**62, 2**62))",
    "nf.Concatenate()([nf.Input((2**39, 1))] * 2**10)",
    "net(nf.Dense(2**20), shape=(1,)).predict(np.ones((2**20, 1)), batch_size=2**20)",
]

CALLS = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
for case in {cases!r}:
    try:
        eval(case)
    except (ValueError, MemoryError) as error:
        print(case, "->", type(error).__name__, str(error))
"""


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="needs a limit of memory")
def test_absurd_sizes_are_errors():
    done = python("-c", SETUP + CALLS.format(cases=CASES), OMP_NUM_THREADS="2")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (CASES[len(lines)], done.returncode, done.stderr[-2000:])
    assert [line.split(" ->")[0] for line in lines] == CASES
    for line in lines:
        words = line.split("-> ")[1]
        assert any(text in words for text in (
            "more than this library computes", "must be at most", "must be between", "bytes", "Unable to allocate",
            "array is too big",
        )), line


@pytest.mark.parametrize("code", [
    "net(nf.Conv2D(1, 1), shape=(2**20, 2**20, 1)).summary()",
    "net(nf.Conv2D(1, 1), shape=(2**20, 2**20, 1)).plan()",
    "(lambda a: nf.Model(a, nf.Add()([a] * 300)).plan())(nf.Input((2**40 - 1,)))",
])
def test_a_large_network_may_be_described(code):
    done = python("-c", SETUP + code)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"-\d", done.stdout)       # a number that overflowed would be negative


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="needs a limit of memory")
def test_a_model_goes_on_after_a_batch_that_was_too_large():
    code = SETUP + CALLS.split("for")[0] + """
model = net(nf.ZeroPadding2D(2**10), nf.GlobalAvgPool(), nf.Dense(2), shape=(1, 1, 4))
model.compile("sgd", "squared_error")
data = np.ones((512, 1, 1, 4), np.float32)
before = model.predict(data[:2])
for call in (lambda: model.predict(data, batch_size=512), lambda: model.train_on_batch(data, np.ones((512, 2)))):
    try:
        call()
    except MemoryError as error:
        print(error)
print(np.array_equal(model.predict(data[:2]), before), model.train_on_batch(data[:2], before)["loss"])
"""
    done = python("-c", code, OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and all(line.endswith("bytes for a batch of 512") for line in lines[:2])
    assert lines[2] == "True 0.0"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="needs a limit of memory")
@pytest.mark.parametrize("code", [
    # one window of a large image, at strides beyond it: dx is zero wherever there is no tap
    """y, dy = F.conv2d(image, w, stride=BIG), np.ones((1, 1, 1, 1), np.float32)
dx = F.conv2d_backward(image, w, dy, stride=BIG)[0]
assert y.shape == dy.shape and y.sum() == 4 and dx.sum() == 4 and dx[0, :2, :2].sum() == 4""",
    """dy = np.ones((1, 1, 2, 1), np.float32)
y, dx = F.conv2d(image, w, stride=2**20), F.conv2d_backward(image, w, dy, stride=2**20)[0]
assert y.shape == dy.shape and y.sum() == 8 and dx.sum() == 8 and dx[0, :2, 2**20:].sum() == 4""",
    """model = net(nf.Conv2D(1, 2, stride=2**20, padding="same", kernel_initializer="zeros"), nf.Flatten(), nf.Dense(1),
    shape=(2, 2**20 + 2, 1))
model.compile("sgd", "squared_error")
assert np.isfinite(model.fit(image, np.ones((1, 1)), epochs=2, verbose=0).history["loss"]).all()
assert model.input_gradient(image, np.ones((1, 1))).shape == image.shape""",
])
def test_huge_strides_take_no_more_time_or_memory(code):
    setup = SETUP + CALLS.split("for")[0] + "image = np.ones((1, 2, 2**20 + 2, 1), np.float32)\n"
    done = python("-c", setup + code, OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
