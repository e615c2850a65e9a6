"""nnfast.functional's convolutions against the reference, for every kind of kernel; and the convolution's matrix."""
import itertools
import math

import numpy as np
import pytest
import reference
from check import assert_close, assert_same_bits, check_op
from hypothesis import given, settings
from hypothesis import strategies as st

import nnfast.functional as F
from nnfast.geometry import window

NAMES = ("dx", "dw", "db")

# (C, K): one, and both sides of vectors and tiles of 4, 8, 16, 32, 48 and 64.
CHANNELS = [(1, 1), (1, 6), (2, 3), (3, 32), (4, 5), (5, 4), (6, 16), (7, 8), (8, 7), (9, 9), (15, 17), (16, 16),
            (17, 15), (20, 50), (24, 40), (31, 33), (32, 31), (33, 32), (48, 47), (64, 65), (65, 64), (130, 3)]

KERNELS = [(1, 1), (1, 2), (2, 2), (3, 3), (3, 1), (2, 5), (5, 4)]
STRIDES = [(1, 1), (2, 2), (1, 3), (3, 2)]
PADDINGS = ["valid", "same", 1, ((2, 0), (1, 3))]
DILATIONS = [(1, 1), (2, 1), (3, 2)]
GROUPS = [(6, 4, 1), (6, 4, 2), (6, 6, 6), (6, 18, 6)]      # C, K, groups; the last two depthwise


def scale(n, w=None):
    """Error of a sum of n products of standard normals, relative to `length=n`: see test_functional.dense_case.
    Winograd's sums, for kernels w of several taps and many channels, have up to three times that of the plain sum."""
    winograd = w is not None and max(w.shape[:2]) >= 2 and min(16 * w.shape[2], w.shape[3]) >= 8
    return (16.0 if winograd else 4.0) * max(1.0, math.sqrt(n) / 4)


def lengths(x, w, dy):
    """How many products each of dx, dw and db sums at most."""
    taps = w.shape[0] * w.shape[1]
    return taps * w.shape[3], dy.shape[0] * dy.shape[1] * dy.shape[2], dy.shape[0] * dy.shape[1] * dy.shape[2]


def place_of(x, w, stride=1, padding="valid", dilation=1):
    """The reference's arguments for ours."""
    at = window("test", x.shape[1:3], w.shape[:2], stride, padding, dilation)
    return {"stride": at.stride, "padding": at.padding, "dilation": at.dilation}


def conv_case(x, w, b, groups=1, activation="linear", alpha=None, **where):
    """`conv2d` and its backward on float64 arrays, in every form, dtype and number of threads."""
    how = place_of(x, w, **where) | {"groups": groups}
    n = w[..., 0].size + 1
    check_op(
        lambda x, w, b, **k: F.conv2d(x, w, b, groups=groups, activation=activation, alpha=alpha, **where, **k),
        lambda x, w, b: reference.activation(activation, reference.conv2d(x, w, b, **how), alpha or 0.0),
        [x, w, b], [n], [scale(n, w)],
    )
    dy = np.random.default_rng(1).normal(size=reference.conv2d(x, w, **how).shape)
    counts = lengths(x, w, dy)
    check_op(lambda x, w, dy, **k: F.conv2d_backward(x, w, dy, groups=groups, **where, **k),
             lambda x, w, dy: reference.conv2d_backward(x, w, dy, **how),
             [x, w, dy], counts, [scale(n, w) for n in counts], NAMES)


def quick_case(x, w, b, dy, groups, how, **where):
    """Values only, for products of many parameters; three threads must not differ from one."""
    expected = reference.conv2d(x, w, b, **how), *reference.conv2d_backward(x, w, dy, **how)
    counts = w[..., 0].size + 1, *lengths(x, w, dy)
    for dtype in (np.float32, np.float64):
        a = [v.astype(dtype) for v in (x, w, b, dy)]
        if dtype == np.float32:
            expected32 = [v.astype(np.float64) for v in a]
            expected_here = (reference.conv2d(*expected32[:3], **how),
                             *reference.conv2d_backward(expected32[0], expected32[1], expected32[3], **how))
        else:
            expected_here = expected
        results = []
        for n_threads in (1, 3):
            y = F.conv2d(*a[:3], groups=groups, n_threads=n_threads, **where)
            results.append((y, *F.conv2d_backward(a[0], a[1], a[3], groups=groups, n_threads=n_threads, **where)))
        for name, e, one, three, n in zip(("y", *NAMES), expected_here, *results, counts):
            label = f"{name}, {np.dtype(dtype).name}, {where}, groups {groups}: "
            assert_close(one, e, n, scale(n, w), label)
            assert_same_bits(one, three, label)


# --- values ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("c, k", CHANNELS)
def test_channels(c, k, rng):
    conv_case(rng.normal(size=(2, 5, 6, c)), rng.normal(size=(3, 3, c, k)), rng.normal(size=k), padding="same")


@pytest.mark.parametrize("c, k", [(1, 1), (3, 16), (16, 33), (64, 64), (65, 31)])
def test_one_by_one_kernels(c, k, rng):
    conv_case(rng.normal(size=(3, 4, 5, c)), rng.normal(size=(1, 1, c, k)), rng.normal(size=k))


@pytest.mark.parametrize("width", [1, 2, 3, 5, 6, 7, 8, 13, 14, 15, 27, 28, 29, 30, 57])
def test_widths_around_the_tiles(width, rng):
    conv_case(rng.normal(size=(1, 3, width, 8)), rng.normal(size=(3, 3, 8, 17)), rng.normal(size=17), padding=1)


@pytest.mark.parametrize("kernel, where, groups", [
    ((1, 1), {}, 1), ((2, 2), {"padding": "same"}, 1), ((1, 3), {"stride": 2, "padding": 1}, 1), ((5, 1), {}, 2),
    ((2, 2), {"dilation": 2}, 4), ((3, 3), {"stride": (1, 2), "padding": "same"}, 1),
], ids=str)
def test_pixels_a_page_apart(kernel, where, groups, rng):
    """High tiles copy them to where they do not share one set of the L1 cache: 4096 bytes of 512 or 1024 channels."""
    for c in (512, 1024):
        x, w = rng.normal(size=(1, 5, 17, c)), rng.normal(size=(*kernel, c // groups, 17 * groups))
        how = place_of(x, w, **where) | {"groups": groups}
        dy = rng.normal(size=reference.conv2d(x, w, **how).shape)
        quick_case(x, w, rng.normal(size=17 * groups), dy, groups, how, **where)


@pytest.mark.parametrize("shape, kernel, groups, padding", [
    ((6, 21, 30, 3), (3, 3, 3, 20), 1, 1), ((5, 22, 25, 12), (3, 3, 1, 12), 12, "same"),
    ((9, 32, 32, 9), (3, 3, 9, 12), 1, 1), ((7, 17, 19, 8), (2, 3, 4, 8), 2, "valid"),
    ((5, 20, 20, 1), (5, 5, 1, 6), 1, 2),
], ids=str)
def test_gradients_of_a_batch_in_segments(shape, kernel, groups, padding, rng):
    """A kernel too small to be shared among threads by its parts."""
    x, w, b = rng.normal(size=shape), rng.normal(size=kernel), rng.normal(size=kernel[-1])
    how = place_of(x, w, padding=padding) | {"groups": groups}
    dy = rng.normal(size=reference.conv2d(x, w, **how).shape)
    quick_case(x, w, b, dy, groups, how, padding=padding)


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("groups", [1, 2])
def test_large_kernels_on_small_images(groups, activation, rng):
    """Where much of a row would meet zeros, columns of taps add to y one by one."""
    x, w = rng.normal(size=(2, 5, 5, 34 * groups)), rng.normal(size=(4, 4, 34, 37 * groups))
    b = rng.normal(size=37 * groups)
    conv_case(x, w, b, groups, activation, padding=3, dilation=2)


@pytest.mark.parametrize("c", [1, 2])
@pytest.mark.parametrize("where", [
    {"padding": 1}, {"dilation": (2, 1), "stride": (1, 2)}, {"dilation": (3, 1)},
], ids=str)
def test_first_layers(c, where, rng):
    """Kernel rows of few numbers, which share a tile of the kernel's gradient, and columns of one vector and of two."""
    x, w, b = rng.normal(size=(2, 9, 8, c)), rng.normal(size=(3, 3, c, 37)), rng.normal(size=37)
    how = place_of(x, w, **where) | {"groups": 1}
    quick_case(x, w, b, rng.normal(size=reference.conv2d(x, w, **how).shape), 1, how, **where)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_every_combination(kernel, rng):
    for stride, padding, dilation, (c, k, groups) in itertools.product(STRIDES, PADDINGS, DILATIONS, GROUPS):
        x, w, b = rng.normal(size=(2, 8, 9, c)), rng.normal(size=(*kernel, c // groups, k)), rng.normal(size=k)
        where = {"stride": stride, "padding": padding, "dilation": dilation}
        try:
            how = place_of(x, w, **where) | {"groups": groups}
        except ValueError:
            with pytest.raises(ValueError, match="larger than the input"):
                F.conv2d(x, w, b, groups=groups, **where)
            continue
        dy = rng.normal(size=reference.conv2d(x, w, **how).shape)
        quick_case(x, w, b, dy, groups, how, **where)


@pytest.mark.parametrize("c, multiplier", [(1, 3), (3, 1), (5, 2), (8, 1), (15, 3), (16, 1), (17, 1), (33, 2), (64, 1)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_depthwise(c, multiplier, stride, rng):
    # A row has blocks of pixels, pixels left over and pixels whose taps do not all lie inside the image.
    k = c * multiplier
    x, w, b = rng.normal(size=(2, 6, 15, c)), rng.normal(size=(3, 3, 1, k)), rng.normal(size=k)
    conv_case(x, w, b, groups=c, stride=stride, padding="same")


@pytest.mark.parametrize("dilation, stride", [((1, 2), 1), ((2, 1), 2), (2, 2), ((1, 2), 3)])
def test_depthwise_with_dilation(dilation, stride, rng):
    x, w, b = rng.normal(size=(2, 7, 21, 17)), rng.normal(size=(3, 3, 1, 17)), rng.normal(size=17)
    conv_case(x, w, b, groups=17, stride=stride, dilation=dilation, padding="same")


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(3, 3), (3, 2), (3, 5)])
def test_depthwise_of_a_narrow_image(kernel, width, rng):
    # Taps of two kernel rows are as far from each other as those of one.
    x, w, b = rng.normal(size=(2, 7, width, 9)), rng.normal(size=(*kernel, 1, 9)), rng.normal(size=9)
    conv_case(x, w, b, groups=9, padding="same")


@pytest.mark.parametrize("kernel", [(5, 5), (3, 5), (5, 3), (1, 5)])
@pytest.mark.parametrize("size, where", [
    ((6, 15), {"padding": "same"}), ((7, 11), {"stride": 2, "padding": "same"}), ((5, 5), {"padding": 2}),
    ((9, 3), {"padding": 4}), ((5, 5), {"padding": 3, "stride": 2}), ((4, 1), {"padding": 2}),
    ((9, 14), {"padding": ((0, 1), (3, 0))}), ((9, 10), {"padding": 2, "dilation": (2, 1)}),
    ((2, 300), {"padding": 2})], ids=str)
def test_depthwise_of_larger_kernels(kernel, size, where, rng):
    """In images of five columns the last tap of a kernel row has the next row's first one as its neighbour."""
    x, w, b = rng.normal(size=(2, *size, 37)), rng.normal(size=(*kernel, 1, 37)), rng.normal(size=37)
    how = place_of(x, w, **where) | {"groups": 37}
    quick_case(x, w, b, rng.normal(size=reference.conv2d(x, w, **how).shape), 37, how, **where)


@pytest.mark.parametrize("where", [{"padding": "same"}, {"stride": (3, 2)}, {"padding": 1, "dilation": (2, 1)},
                                   {"stride": (1, 4), "padding": ((2, 0), (0, 1))}], ids=str)
def test_depthwise_of_pixels_that_share_sets_of_the_cache(where, rng):
    """dw reads a copy of x, in which rows take turns."""
    c = 512
    x, w, b = rng.normal(size=(2, 8, 5, c)), rng.normal(size=(3, 2, 1, c)), rng.normal(size=c)
    how = place_of(x, w, **where) | {"groups": c}
    quick_case(x, w, b, rng.normal(size=reference.conv2d(x, w, **how).shape), c, how, **where)


@pytest.mark.parametrize("size, kernel, where", [
    ((40, 14), (3, 3), {"padding": "same"}), ((7, 12), (5, 5), {"padding": 1}),
    ((3, 13), (3, 3), {"padding": ((6, 1), (0, 7))}), ((6, 12), (7, 2), {"padding": 3, "dilation": (1, 3)}),
    ((15, 20), (3, 4), {}), ((4, 40), (1, 9), {"padding": ((0, 0), (4, 4))}),
    ((12, 13), (3, 3), {"padding": 4, "dilation": 4}), ((17, 12), (3, 3), {"padding": 5, "dilation": 5}),
    ((40, 12), (9, 1), {"padding": ((4, 4), (0, 0))})], ids=str)
@pytest.mark.parametrize("c", [512, 1024])
def test_depthwise_of_pixels_in_one_or_two_sets_of_the_cache(c, size, kernel, where, rng):
    """y and dx are made of copies of x and dy, some channels at a time, in several bands of rows."""
    x, w, b = rng.normal(size=(2, *size, c)), rng.normal(size=(*kernel, 1, c)), rng.normal(size=c)
    how = place_of(x, w, **where) | {"groups": c}
    quick_case(x, w, b, rng.normal(size=reference.conv2d(x, w, **how).shape), c, how, **where)


@pytest.mark.parametrize("c, k, where", [(48, 64, {"padding": "same"}), (130, 37, {"stride": 2}),
                                         (65, 32, {"padding": 1})])
@pytest.mark.parametrize("size", [(7, 7), (14, 13), (5, 4), (3, 2)])
def test_short_rows(size, c, k, where, rng):
    """Tiles of pixels of several rows, several samples, and the panel of few columns by itself."""
    x, w, b = rng.normal(size=(5, *size, c)), rng.normal(size=(3, 2, c, k)), rng.normal(size=k)
    how = place_of(x, w, **where)
    quick_case(x, w, b, rng.normal(size=reference.conv2d(x, w, **how).shape), 1, how | {"groups": 1}, **where)


@pytest.mark.parametrize("c, k, groups, size, kernel, where", [
    (16, 1, 1, (9, 7), (3, 3), {"padding": "same"}), (24, 2, 1, (6, 33), (5, 4), {}), (8, 3, 1, (8, 8), (3, 3), {}),
    (17, 4, 1, (5, 18), (3, 5), {"padding": ((4, 3), (0, 2))}),
    (40, 5, 1, (1, 50), (1, 7), {"padding": ((0, 0), (3, 3))}),
    (9, 6, 1, (12, 12), (5, 5), {"padding": 2, "dilation": (2, 1)}), (12, 7, 1, (9, 9), (2, 3), {"dilation": (1, 3)}),
    (8, 8, 1, (7, 5), (3, 3), {"padding": 1}), (64, 2, 1, (41, 37), (3, 3), {"padding": 1}),
    (64, 8, 4, (6, 9), (3, 3), {"padding": 1}), (2, 40, 1, (11, 10), (5, 5), {"stride": 2, "padding": 2}),
    (1, 96, 1, (9, 8), (4, 4), {"stride": (3, 1)}), (8, 40, 8, (7, 8), (3, 3), {"padding": 1}),
    (2, 2, 1, (2, 6), (2, 6), {"padding": ((3, 3), (5, 5))}),
    (12, 11, 1, (9, 40), (4, 3), {"stride": (2, 1), "dilation": (2, 1), "padding": 1}),
    (10, 16, 1, (13, 150), (2, 5), {}),
])
def test_few_output_channels(c, k, groups, size, kernel, where, rng):
    """Of y, or of dx: pixels take the place of channels in vectors, where that pays; in dw also numbers of x."""
    x, w, b = rng.normal(size=(5, *size, c)), rng.normal(size=(*kernel, c // groups, k)), rng.normal(size=k)
    how = place_of(x, w, **where) | {"groups": groups}
    quick_case(x, w, b, rng.normal(size=reference.conv2d(x, w, **how).shape), groups, how, **where)


def test_few_output_channels_in_every_form(rng):
    conv_case(rng.normal(size=(2, 9, 11, 16)), rng.normal(size=(3, 3, 16, 2)), rng.normal(size=2), activation="relu",
              padding=1)


@pytest.mark.parametrize("c, k, groups, where", [
    (6, 16, 1, {}), (1, 64, 1, {"padding": 1}), (4, 32, 2, {"dilation": (1, 2)}), (17, 40, 1, {"stride": 2}),
    (3, 24, 1, {"padding": ((4, 3), (4, 0))}),
])
def test_large_kernel_of_a_small_image(c, k, groups, where, rng):
    # Most taps of dx lie in dy's padding.
    x, w, b = rng.normal(size=(3, 8, 9, c)), rng.normal(size=(5, 5, c // groups, k)), rng.normal(size=k)
    conv_case(x, w, b, groups=groups, **where)


@pytest.mark.parametrize("c, k, groups", [(4, 4, 2), (6, 9, 3), (32, 64, 4), (34, 66, 2), (8, 16, 8)])
def test_groups(c, k, groups, rng):
    conv_case(rng.normal(size=(2, 5, 4, c)), rng.normal(size=(3, 2, c // groups, k)), rng.normal(size=k), groups=groups,
              padding=1)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)), st.integers(1, 9), st.integers(1, 20),
    st.tuples(st.integers(1, 5), st.integers(1, 5)), st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2), st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.integers(0, 2**32 - 1),
)
def test_any_geometry(shape, c, k, kernel, stride, padding, dilation, seed):
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([g for g in range(1, c + 1) if c % g == 0 and k % g == 0]))
    x, w, b = rng.normal(size=(*shape, c)), rng.normal(size=(*kernel, c // groups, k)), rng.normal(size=k)
    where = {"stride": stride, "padding": padding, "dilation": dilation}
    try:
        how = place_of(x, w, **where) | {"groups": groups}
    except ValueError:
        return
    dy = rng.normal(size=reference.conv2d(x, w, **how).shape)
    quick_case(x, w, b, dy, groups, how, **where)


def test_a_layer_large_enough_for_all_threads(rng):
    conv_case(rng.normal(size=(5, 20, 21, 33)), rng.normal(size=(3, 3, 33, 40)), rng.normal(size=40), padding="same")


def test_one_image_for_several_threads(rng):
    conv_case(rng.normal(size=(1, 40, 37, 16)), rng.normal(size=(3, 3, 16, 24)), rng.normal(size=24), stride=2)


def test_a_wide_first_layer(rng):
    """ResNet's: 7 x 7, stride 2, three channels."""
    conv_case(rng.normal(size=(1, 23, 22, 3)), rng.normal(size=(7, 7, 3, 20)), rng.normal(size=20), stride=2, padding=3)


def test_a_kernel_over_the_whole_input(rng):
    conv_case(rng.normal(size=(3, 4, 5, 6)), rng.normal(size=(4, 5, 6, 7)), rng.normal(size=7))


@pytest.mark.parametrize("shape, padding", [
    ((2, 8, 12), "same"), ((1, 12, 9), 1), ((1, 5, 8), ((3, 0), (1, 4))),       # borders at the ends of whole tiles
    ((3, 17, 18), "same"), ((1, 41, 40), "valid"),      # more tiles than are multiplied at once
], ids=str)
@pytest.mark.parametrize("channels", [(16, 32), (21, 9), (41, 66)], ids=str)
def test_winograd(shape, padding, channels, rng):
    winograd_case(rng, shape, (3, 3), channels, padding=padding)


def winograd_case(rng, shape, kernel, channels, **where):
    C, K = channels
    x, w, b = rng.normal(size=(*shape, C)), rng.normal(size=(*kernel, C, K)), rng.normal(size=K)
    how = place_of(x, w, **where) | {"groups": 1}
    dy = rng.normal(size=reference.conv2d(x, w, **how).shape)
    quick_case(x, w, b, dy, 1, how, **where)


@pytest.mark.parametrize("kernel", [(2, 2), (4, 4), (5, 5), (4, 5), (3, 2), (2, 5)], ids=str)
@pytest.mark.parametrize("padding", ["same", ((0, 3), (2, 1))], ids=str)
@pytest.mark.parametrize("channels", [(16, 32), (33, 20)], ids=str)
def test_winograd_of_other_kernels(kernel, padding, channels, rng):
    winograd_case(rng, (3, 20, 23), kernel, channels, padding=padding)


@pytest.mark.parametrize("kernel, stride", [
    ((4, 4), 2), ((3, 3), 2), ((5, 5), 2), ((7, 7), 2), ((6, 7), 2), ((8, 9), 2), ((3, 5), (1, 2)), ((4, 3), (2, 1)),
    ((3, 12), (1, 4)), ((9, 3), (3, 1)), ((11, 11), 4), ((8, 7), 4), ((6, 6), 3),
], ids=str)
@pytest.mark.parametrize("padding", ["same", ((1, 4), (3, 0))], ids=str)
@pytest.mark.parametrize("channels", [(32, 48), (21, 35), (3, 16)], ids=str)
def test_winograd_with_strides(kernel, stride, padding, channels, rng):
    """Pieces with equal numbers of taps and with different ones, borders in the middle of a stride."""
    winograd_case(rng, (2, 31, 40), kernel, channels, stride=stride, padding=padding)


@pytest.mark.parametrize("kernel", [(7, 7), (6, 8), (11, 3), (3, 9)], ids=str)
@pytest.mark.parametrize("channels", [(16, 32), (2, 24)], ids=str)
def test_winograd_of_large_kernels(kernel, channels, rng):
    winograd_case(rng, (2, 21, 26), kernel, channels, padding=((2, 5), (0, 4)))


@pytest.mark.parametrize("taps, stride, dilation", [
    (2, 1, 1), (3, 1, 1), (5, 1, 1), (3, 1, 2), (5, 1, 3), (3, 1, 40), (7, 1, 1), (9, 1, 2), (16, 1, 1), (7, 2, 1),
    (10, 5, 1),
], ids=str)
@pytest.mark.parametrize("length, padding", [(31, "same"), (420, ((2, 1), (1, 9)))], ids=str)
@pytest.mark.parametrize("channels", [(32, 48), (21, 35)], ids=str)
def test_winograd_of_one_row(taps, stride, dilation, length, padding, channels, rng):
    """Tiles of one row, in several strips where rows are long, of pixels that a dilation sets apart; rows of zeros."""
    winograd_case(rng, (2, 9, length), (1, taps), channels, stride=(1, stride), dilation=(1, dilation), padding=padding)


def test_padding_beyond_the_kernel(rng):
    """Outputs that see nothing but zeros are the bias."""
    x, w, b = rng.normal(size=(1, 2, 3, 2)), rng.normal(size=(2, 2, 2, 3)), rng.normal(size=3)
    conv_case(x, w, b, padding=((3, 4), (5, 2)))
    assert_same_bits(F.conv2d(x, w, b, padding=3)[0, 0, 0], b)


@pytest.mark.parametrize("activation, alpha", [("sigmoid", None), ("tanh", None), ("relu", None), ("leaky_relu", 0.2),
                                               ("elu", 0.7), ("gelu", None), ("silu", None), ("softplus", None),
                                               ("relu6", None), ("hard_sigmoid", None), ("hard_swish", None),
                                               ("selu", None), ("mish", None), ("softmax", None)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_activations(activation, alpha, groups, rng):
    x, w, b = rng.normal(size=(2, 5, 6, 4)), rng.normal(size=(3, 3, 4 // groups, 36)) / 3, rng.normal(size=36)
    conv_case(x, w, b, groups, activation, alpha, padding="same")


def test_defaults_are_pytorchs_and_no_more(dtype):
    x, w = np.array([[[[-3.0], [2.0]]]], dtype), np.ones((1, 1, 1, 1), dtype)
    np.testing.assert_allclose(F.conv2d(x, w, activation="leaky_relu").ravel(), [-0.03, 2.0], rtol=1e-6)
    np.testing.assert_allclose(F.conv2d(x, w, activation="elu").ravel(), [math.expm1(-3), 2.0], rtol=1e-6)


@pytest.mark.parametrize("stride, padding, dilation, groups", [
    (1, "valid", 1, 1), (2, "same", 1, 2), (3, (4, 0), 2, 1), (1, 2, 3, 4), (2, (0, 1), 1, 1),
], ids=str)
def test_conv1d(stride, padding, dilation, groups, rng):
    x, w, b = rng.normal(size=(3, 14, 4)), rng.normal(size=(3, 4 // groups, 8)), rng.normal(size=8)
    at = window("test", (14,), 3, stride, padding, dilation)
    how = {"stride": at.stride, "padding": at.padding, "dilation": at.dilation, "groups": groups}
    check_op(lambda x, w, b, **k: F.conv1d(x, w, b, stride, padding, dilation, groups, **k),
             lambda x, w, b: reference.conv2d(x[:, None], w[None], b, **how)[:, 0], [x, w, b], [13], [scale(13)])
    dy = rng.normal(size=(3, at.output[1], 8))

    def backward(x, w, dy):
        dx, dw, db = reference.conv2d_backward(x[:, None], w[None], dy[:, None], **how)
        return dx[:, 0], dw[0], db

    counts = 24, 42, 42
    check_op(lambda x, w, dy, **k: F.conv1d_backward(x, w, dy, stride, padding, dilation, groups, **k), backward,
             [x, w, dy], counts, [scale(n) for n in counts], NAMES)


@pytest.mark.parametrize("groups", [1, 3])
def test_without_bias(groups, rng, dtype):
    x, w = rng.normal(size=(2, 5, 5, 3)).astype(dtype), rng.normal(size=(3, 3, 3 // groups, 6)).astype(dtype)
    assert_same_bits(F.conv2d(x, w, groups=groups), F.conv2d(x, w, np.zeros(6, dtype), groups=groups))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("needed", list(itertools.product((False, True), repeat=3)), ids=str)
def test_backward_computes_what_is_needed(needed, groups, rng, dtype):
    x, w, dy = (rng.normal(size=s).astype(dtype) for s in [(2, 5, 6, 4), (3, 2, 4 // groups, 8), (2, 3, 5, 8)])
    everything = F.conv2d_backward(x, w, dy, groups=groups)
    some = F.conv2d_backward(x, w, dy, groups=groups, **{f"need_{n}": v for n, v in zip(NAMES, needed)})
    for wanted, whole, part in zip(needed, everything, some):
        if wanted:
            assert_same_bits(whole, part)
        else:
            assert part is None


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_nan_stays_within_the_windows_that_hold_it(groups, stride, rng, dtype):
    x, w = rng.normal(size=(3, 9, 9, 4)).astype(dtype), rng.normal(size=(3, 3, 4 // groups, 8)).astype(dtype)
    x[1, 4, 5, 1] = np.nan
    expected = np.isnan(reference.conv2d(x.astype(np.float64), w.astype(np.float64), stride=(stride, stride),
                                         padding=((1, 1), (1, 1)), groups=groups))
    assert expected.any() and not expected.all()
    np.testing.assert_array_equal(np.isnan(F.conv2d(x, w, stride=stride, padding=1, groups=groups)), expected)
    y = F.conv2d(np.nan_to_num(x), w, stride=stride, padding=1, groups=groups)
    dx, dw, _ = F.conv2d_backward(x, w, y, stride, 1, groups=groups)
    assert np.isfinite(dx).all()
    first = (groups // 4) * 8 // groups         # of the filters that see channel 1
    row = dw[:, :, 1 % (4 // groups), first:first + 8 // groups]
    assert np.isnan(row).any()
    row[...] = 0
    assert np.isfinite(dw).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_comes_through(value, dtype):
    x = np.ones((1, 4, 4, 2), dtype)
    x[0, 0, 0, 0] = value
    y = F.conv2d(x, np.ones((2, 2, 2, 3), dtype), padding=1)
    assert (y[0, :2, :2] == value).all() and np.isfinite(y[0, 2:]).all() and np.isfinite(y[0, :, 2:]).all()


def test_zero_gradient_is_zero(dtype):
    x, w = np.ones((2, 4, 4, 3), dtype), np.ones((3, 3, 3, 5), dtype)
    for gradient in F.conv2d_backward(x, w, np.zeros((2, 2, 2, 5), dtype)):
        assert not gradient.any()


def test_pixels_no_window_reaches_get_no_gradient(rng, dtype):
    """Stride beyond the kernel, and a rest at the edge: dx is zero there, whatever out held before."""
    x, w = rng.normal(size=(2, 9, 9, 3)).astype(dtype), rng.normal(size=(2, 2, 3, 4)).astype(dtype)
    out = np.full_like(x, np.nan)
    dx, _, _ = F.conv2d_backward(x, w, np.ones((2, 3, 3, 4), dtype), stride=3, need_dw=False, need_db=False,
                                 out=(out, None, None))
    assert dx is out
    reached = np.zeros((9, 9), bool)
    for i, j in itertools.product((0, 3, 6), repeat=2):
        reached[i:i + 2, j:j + 2] = True
    assert (dx[:, ~reached] == 0).all() and (dx[:, reached] != 0).all()


# --- arguments -------------------------------------------------------------------------------------------------------

X, W, B = np.ones((2, 6, 7, 4), np.float32), np.ones((3, 3, 4, 8), np.float32), np.ones(8, np.float32)
DY = np.ones((2, 4, 5, 8), np.float32)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: F.conv2d(X.tolist(), W), TypeError, "conv2d: x must be a NumPy array of float32 or float64, got list"),
    (lambda: F.conv2d(X.astype(np.uint8), W), TypeError, "conv2d: x must be float32 or float64, got uint8"),
    (lambda: F.conv2d(X, W.astype(float)), TypeError, "conv2d: w is float64, but x is float32"),
    (lambda: F.conv2d(X, W, B.astype(float)), TypeError, "conv2d: b is float64"),
    (lambda: F.conv2d(X, W, B[:3]), ValueError, r"conv2d: b has shape \(3,\), expected \(8,\)"),
    (lambda: F.conv2d(X[0], W), ValueError, r"x must have shape \(N, H, W, C\), none of them 0, got \(6, 7, 4\)"),
    (lambda: F.conv2d(X[:0], W), ValueError, r"none of them 0, got \(0, 6, 7, 4\)"),
    (lambda: F.conv2d(X[..., :0], W[:, :, :0]), ValueError, "none of them 0"),
    (lambda: F.conv2d(X, W[0]), ValueError,
     r"w must have shape \(R, S, C / groups, K\), none of them 0, got \(3, 4, 8\)"),
    (lambda: F.conv2d(X, W[..., :0]), ValueError, "w must have shape"),
    (lambda: F.conv2d(X, W[:, :, :3]), ValueError,
     r"conv2d: x has 4 channels, w of shape \(3, 3, 3, 8\) with 1 groups expects 3"),
    (lambda: F.conv2d(X, W, groups=2), ValueError, "with 2 groups expects 8"),
    (lambda: F.conv2d(X, W, groups=3), ValueError, "4 channels cannot be divided into 3 groups"),
    (lambda: F.conv2d(X, W[:, :, :2, :3], groups=2), ValueError, "3 filters cannot be divided into 2 groups"),
    (lambda: F.conv2d(X, W, groups=0), ValueError, "conv2d: groups must be at least 1"),
    (lambda: F.conv2d(X, W, stride=0), ValueError, "conv2d: stride must be at least 1, got 0"),
    (lambda: F.conv2d(X, W, stride=(1, -1)), ValueError, r"stride \(1, -1\)"),
    (lambda: F.conv2d(X, W, dilation=0), ValueError, "dilation must be at least 1"),
    (lambda: F.conv2d(X, W, dilation=4), ValueError, "spans 9 x 9, is larger than the input 6 x 7"),
    (lambda: F.conv2d(X, W, padding=-1), ValueError, "padding must be at least 0"),
    (lambda: F.conv2d(X, W, padding="SAME"), ValueError, "padding must be 'valid', 'same'"),
    (lambda: F.conv2d(X[:, :2], W), ValueError, "conv2d: kernel 3 x 3 is larger than the input 2 x 7"),
    (lambda: F.conv2d(X, W, activation="rellu"), ValueError, "did you mean 'relu'"),
    (lambda: F.conv2d(X, W, activation="swish"), ValueError, "^conv2d: unknown activation 'swish'; here .* 'silu'"),
    (lambda: F.conv2d(X, W, activation="hard_silu"), ValueError, "activation 'hard_silu'; here .* 'hard_swish'"),
    (lambda: F.conv2d(X, W, activation="hardsigmoid"), ValueError, "did you mean 'hard_sigmoid'"),
    (lambda: F.conv2d(X, W, activation="relu6", alpha=0.1), ValueError, "conv2d: relu6 takes no alpha"),
    (lambda: F.conv2d(X, W, activation="elu", alpha=1e39), ValueError, "conv2d: alpha must be at most 3.4"),
    (lambda: F.conv2d(X, W, stride=np.array([1, 1])), TypeError,
     r"conv2d: stride must be an integer or \(h, w\), got ndarray"),
    (lambda: F.conv2d(X, W, padding=None), TypeError,
     r"conv2d: padding must be 'valid', 'same', an integer or \(\(top, bottom\), \(left, right\)\), got NoneType"),
    (lambda: F.conv2d(X, W, activation="relu", alpha=0.1), ValueError, "conv2d: relu takes no alpha"),
    (lambda: F.conv2d(X, W, n_threads=0), ValueError, "conv2d: n_threads must be"),
    (lambda: F.conv2d(X, W, padding=2**22), ValueError, "more than this library computes"),
    (lambda: F.conv2d(X[..., :1], np.ones((1, 1, 1, 2**9), np.float32), padding=2**14), MemoryError,
     r"conv2d: cannot allocate the result, of shape \(2, 32774, 32775, 512\)"),
    (lambda: F.conv2d_backward(X, W, DY[:, :3]), ValueError, r"conv2d_backward: dy has shape \(2, 3, 5, 8\), expected"),
    (lambda: F.conv2d_backward(X, W, DY.astype(float)), TypeError, "dy is float64"),
    (lambda: F.conv2d_backward(X, W, DY, out=[None] * 3), TypeError, "out must be a tuple"),
    (lambda: F.conv2d_backward(X, W, DY, need_dw=False, out=(None, W.copy(), None)), ValueError, "need_dw is false"),
    (lambda: F.conv2d_backward(X, W, DY, out=(X, None, None)), ValueError, "out dx overlaps another"),
    (lambda: F.conv1d(X, W), ValueError, r"conv1d: x must have shape \(N, L, C\)"),
    (lambda: F.conv1d(X[0], W), ValueError, r"conv1d: w must have shape \(S, C / groups, K\)"),
    (lambda: F.conv1d(X[0], W[0], stride=(1, 1)), ValueError, r"conv1d: stride must be an integer, got \(1, 1\)"),
    (lambda: F.conv1d_backward(X[0], W[0], DY[0]), ValueError, "conv1d_backward: dy has shape"),
])
def test_wrong_arguments(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(("out", "error", "text"), [
    (lambda: np.ones((2, 4, 5, 8)), TypeError, "out is float64, expected float32"),
    (lambda: np.ones((2, 4, 5, 7), np.float32), ValueError, r"out has shape \(2, 4, 5, 7\), expected \(2, 4, 5, 8\)"),
    (lambda: np.ones((2, 5, 4, 8), np.float32).transpose(0, 2, 1, 3), ValueError, "C-contiguous"),
    (lambda: W.reshape(-1)[:1].repeat(320).reshape(2, 4, 5, 8).tolist(), TypeError, "must be a NumPy array"),
    (lambda: np.broadcast_to(np.float32(1), (2, 4, 5, 8)), ValueError, "C-contiguous"),
])
def test_wrong_out(out, error, text):
    with pytest.raises(error, match=text):
        F.conv2d(X, W, out=out())


# --- the convolution's matrix ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("padding", ["valid", "same", 2, ((1, 0), (2, 3))], ids=str)
@pytest.mark.parametrize("stride, dilation, groups", [(1, 1, 1), (2, 1, 2), ((1, 3), (2, 1), 1), (1, 1, 4)], ids=str)
def test_the_matrix_is_the_convolution(padding, stride, dilation, groups, rng, dtype):
    x, w = rng.normal(size=(1, 6, 7, 4)).astype(dtype), rng.normal(size=(3, 2, 4 // groups, 8)).astype(dtype)
    matrix = F.conv_toeplitz(w, (6, 7, 4), padding, stride=stride, dilation=dilation, groups=groups)
    assert matrix.dtype == dtype
    y = F.conv2d(x, w, None, stride, padding, dilation, groups)
    assert matrix.shape == (y.size, x.size)
    np.testing.assert_allclose(matrix @ x.ravel(), y.ravel(), rtol=1e-4, atol=1e-4 if dtype == "f" else 1e-12)
    dy = rng.normal(size=y.shape).astype(dtype)
    dx, _, _ = F.conv2d_backward(x, w, dy, stride, padding, dilation, groups)
    np.testing.assert_allclose(matrix.T @ dy.ravel(), dx.ravel(), rtol=1e-4, atol=1e-4 if dtype == "f" else 1e-12)


def test_the_matrix_of_signals(rng):
    x, w = rng.normal(size=(1, 9, 2)), rng.normal(size=(3, 2, 4))
    for padding in ("valid", "same", (2, 0)):
        matrix = F.conv_toeplitz(w, (9, 2), padding, dilation=2)
        np.testing.assert_allclose(matrix @ x.ravel(), F.conv1d(x, w, padding=padding, dilation=2).ravel(), atol=1e-12)


@pytest.mark.parametrize("n, s", [(7, 3), (3, 7), (5, 5), (6, 1), (1, 4)])
def test_full_and_flipped_is_the_convolution_of_mathematics(n, s, rng):
    x, w = rng.normal(size=n), rng.normal(size=s)
    matrix = F.conv_toeplitz(w, (n,), "full", flip=True)
    assert matrix.shape == (n + s - 1, n)
    np.testing.assert_allclose(matrix @ x, np.convolve(w, x), atol=1e-12)
    np.testing.assert_allclose(F.conv_toeplitz(w, (n,), "full") @ x, np.correlate(x, w, "full"), atol=1e-12)
    for diagonal in range(-(s - 1), 1):        # a Toeplitz matrix: constant along each diagonal
        assert len(set(np.diagonal(matrix, diagonal))) == 1


def test_an_image_flipped(rng):
    image, kernel = rng.normal(size=(4, 5)), rng.normal(size=(2, 3))
    expected = np.zeros((5, 7))
    for i, j in np.ndindex(kernel.shape):
        expected[i:i + 4, j:j + 5] += kernel[i, j] * image
    matrix = F.conv_toeplitz(kernel, (4, 5), "full", flip=True)
    np.testing.assert_allclose((matrix @ image.ravel()).reshape(5, 7), expected, atol=1e-12)


@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_a_kernel_of_integers_is_float64(kind, rng):
    w = rng.integers(0, 9, (3, 3)).astype(kind)
    matrix = F.conv_toeplitz(w, (4, 5), "full", flip=True)
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(matrix, F.conv_toeplitz(w.astype(np.float64), (4, 5), "full", flip=True))


@pytest.mark.parametrize("w_shape, shape", [((3, 2, 4), (9, 2)), ((3, 2, 2, 4), (5, 6, 2)), ((3,), (4,))], ids=str)
def test_the_sparse_matrix_is_the_dense_one(w_shape, shape, rng, dtype):
    sparse = pytest.importorskip("scipy.sparse")
    w = rng.normal(size=w_shape).astype(dtype)
    for padding in ("valid", "same", "full"):
        matrix = F.conv_toeplitz(w, shape, padding, sparse=True)
        assert isinstance(matrix, sparse.csr_array) and matrix.dtype == dtype
        assert matrix.nnz <= matrix.shape[0] * w.size // (w.shape[-1] if w.ndim > 2 else 1)
        np.testing.assert_array_equal(matrix.toarray(), F.conv_toeplitz(w, shape, padding))


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: F.conv_toeplitz([1.0], (3,)), TypeError, "conv_toeplitz: w must be a NumPy array"),
    (lambda: F.conv_toeplitz(np.ones((2,) * 5), (3,)), ValueError, "w must have shape"),
    (lambda: F.conv_toeplitz(np.ones(0), (3,)), ValueError, "w must have shape"),
    (lambda: F.conv_toeplitz(np.ones(3), 5), ValueError, r"input_shape must be \(L,\) for a kernel of shape \(3,\)"),
    (lambda: F.conv_toeplitz(np.ones((3, 3)), (5,)), ValueError, r"input_shape must be \(H, W\)"),
    (lambda: F.conv_toeplitz(W, (5, 5)), ValueError, r"input_shape must be \(H, W, C\)"),
    (lambda: F.conv_toeplitz(W, (5, 0, 4)), ValueError, "a size must be at least 1"),
    (lambda: F.conv_toeplitz(W, (5, 5, 3)), ValueError, "input_shape has 3 channels, w of shape .* expects 4"),
    (lambda: F.conv_toeplitz(W, (2, 5, 4)), ValueError, "kernel 3 x 3 is larger than the input 2 x 5"),
    (lambda: F.conv_toeplitz(W, (5, 5, 4), "ful"), ValueError, "padding 'ful'; did you mean 'full'"),
    (lambda: F.conv_toeplitz(np.array([1, 2j]), (3,)), TypeError, "w must be float32 or float64, got complex128"),
    (lambda: F.conv_toeplitz(W, (5, 5, 4), flip=1), TypeError, "flip must be True or False"),
    (lambda: F.conv_toeplitz(W, (5, 5, 4), groups=3), ValueError, "4 channels cannot be divided"),
    (lambda: F.conv_toeplitz(np.ones(1), (2**22,)), MemoryError, "allocate"),
])
def test_wrong_arguments_of_the_matrix(call, error, text):
    with pytest.raises(error, match=text):
        call()
