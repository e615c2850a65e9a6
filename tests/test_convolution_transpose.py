"""nnfast.functional's transposed convolutions and upsampling against the reference, and what they refuse."""
import itertools

import numpy as np
import pytest
import reference
from check import assert_close, assert_same_bits, check_op
from test_convolution import scale

import nnfast as nf
import nnfast.functional as F
from nnfast.geometry import transposed_window

NAMES = ("dx", "dw", "db")

KERNELS = [(1, 1), (2, 2), (3, 3), (1, 3), (4, 4), (5, 2)]
STRIDES = [(1, 1), (2, 2), (3, 2)]
PADDINGS = ["valid", "same", 1, ((1, 0), (0, 2))]
DILATIONS = [(1, 1), (2, 1)]


def place_of(x, w, **where):
    """The output's size and the reference's arguments for ours."""
    at = transposed_window("test", x.shape[1:3], w.shape[:2], **where)
    return at.input, {"stride": at.stride, "padding": at.padding, "dilation": at.dilation}


def lengths(x, w, dy):
    """How many products y, dx, dw and db sum at most."""
    taps = w.shape[0] * w.shape[1]
    return taps * w.shape[3] + 1, taps * w.shape[2], dy[..., 0].size, dy[..., 0].size


@pytest.mark.parametrize("c, k", [(1, 1), (1, 6), (3, 4), (5, 17), (8, 8), (16, 16), (17, 9), (33, 31), (64, 65),
                                  (70, 3)])
@pytest.mark.parametrize("where", [{"padding": 1}, {"stride": 2, "padding": 1, "output_padding": 1}], ids=str)
def test_channels(c, k, where, rng):
    x, w, b = rng.normal(size=(2, 5, 4, c)), rng.normal(size=(3, 3, k, c)), rng.normal(size=k)
    size, how = place_of(x, w, **where)
    dy = rng.normal(size=(2, *size, k))
    n, *counts = lengths(x, w, dy)
    tolerance = [max(scale(count, w), scale(count, w.swapaxes(2, 3))) for count in (n, *counts)]
    for activation in ("linear", "relu", "tanh"):
        check_op(lambda x, w, b, a=activation, **more: F.conv2d_transpose(x, w, b, activation=a, **where, **more),
                 lambda x, w, b, a=activation: reference.activation(
                     a, reference.conv2d_transpose(x, w, size, b, **how)),
                 [x, w, b], [n], tolerance[:1])
    check_op(lambda x, w, dy, **more: F.conv2d_transpose_backward(x, w, dy, **where, **more),
             lambda x, w, dy: reference.conv2d_transpose_backward(x, w, dy, **how),
             [x, w, dy], counts, tolerance[1:], NAMES)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_every_combination(kernel, rng):
    for stride, padding, dilation, (c, k) in itertools.product(STRIDES, PADDINGS, DILATIONS, [(3, 4), (16, 9)]):
        x, w, b = rng.normal(size=(3, 4, 3, c)), rng.normal(size=(*kernel, k, c)), rng.normal(size=k)
        for more in (0, tuple(step - 1 for step in stride)):
            where = {"stride": stride, "padding": padding, "dilation": dilation, "output_padding": more}
            try:
                size, how = place_of(x, w, **where)
            except ValueError:
                with pytest.raises(ValueError, match="makes nothing of|output_padding must be 0"):
                    F.conv2d_transpose(x, w, b, **where)
                continue
            dy = rng.normal(size=(3, *size, k))
            expected = (reference.conv2d_transpose(x, w, size, b, **how),
                        *reference.conv2d_transpose_backward(x, w, dy, **how))
            results = [(F.conv2d_transpose(x, w, b, n_threads=n, **where),
                        *F.conv2d_transpose_backward(x, w, dy, n_threads=n, **where)) for n in (1, 3)]
            for name, e, one, three, n in zip(("y", *NAMES), expected, *results, lengths(x, w, dy)):
                assert_close(one, e, n, max(scale(n, w), scale(n, w.swapaxes(2, 3))), f"{name}, {where}: ")
                assert_same_bits(one, three, f"{name}, {where}")


def test_same_is_as_large_as_the_stride_says(rng):
    for kernel, stride in itertools.product((1, 2, 3, 5), (1, 2, 3)):
        y = F.conv2d_transpose(np.ones((1, 4, 5, 1)), np.ones((kernel, kernel, 1, 1)), stride=stride, padding="same")
        assert y.shape == (1, 4 * stride, 5 * stride, 1)
        # It goes back to where it came from.
        assert F.conv2d(y, np.ones((kernel, kernel, 1, 1)), stride=stride, padding="same").shape == (1, 4, 5, 1)


def test_it_is_the_convolutions_transpose(rng):
    """<conv(a), x> = <a, conv_transpose(x)>."""
    where = {"stride": (2, 3), "padding": ((1, 0), (2, 1)), "dilation": (1, 2)}
    w, a = rng.normal(size=(3, 2, 5, 4)), rng.normal(size=(2, 9, 11, 5))
    x = rng.normal(size=F.conv2d(a, w, **where).shape)
    more = tuple(n - m for n, m in zip(a.shape[1:3], F.conv2d_transpose(x, w, **where).shape[1:3]))
    back = F.conv2d_transpose(x, w, output_padding=more, **where)
    assert np.vdot(F.conv2d(a, w, **where), x) == pytest.approx(np.vdot(a, back), rel=1e-12)


def test_signals(rng):
    x, w, b = rng.normal(size=(2, 7, 3)), rng.normal(size=(4, 5, 3)), rng.normal(size=5)
    where = {"stride": 2, "padding": (1, 2), "output_padding": 1}
    wide = {"stride": (1, 2), "padding": ((0, 0), (1, 2)), "output_padding": (0, 1)}
    y = F.conv1d_transpose(x, w, b, activation="relu", **where)
    assert_same_bits(y, F.conv2d_transpose(x[:, None], w[None], b, activation="relu", **wide)[:, 0])
    dy = rng.normal(size=y.shape)
    own = F.conv1d_transpose_backward(x, w, dy, **where)
    for a, e in zip(own, F.conv2d_transpose_backward(x[:, None], w[None], dy[:, None], **wide)):
        assert_same_bits(a, e.reshape(a.shape))
    assert F.conv1d_transpose_backward(x, w, dy, need_dx=False, need_db=False, **where)[::2] == (None, None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 2, (1, 3), (3, 2)])
@pytest.mark.parametrize("c", [1, 3, 8, 17, 48])
def test_upsampling(c, size, dtype, rng):
    x = rng.normal(size=(3, 4, 5, c)).astype(dtype)
    pair = size if isinstance(size, tuple) else (size, size)
    y = reference.upsample2d(x, pair)
    dy = rng.normal(size=y.shape).astype(dtype)
    for n_threads in (1, 3):
        assert_same_bits(F.upsample2d(x, size, n_threads=n_threads), y.astype(dtype))
        dx = F.upsample2d_backward(dy, size, n_threads=n_threads)
        assert_close(dx, reference.upsample2d_backward(dy.astype(np.float64), pair), pair[0] * pair[1], 4.0)
    assert_same_bits(F.upsample1d(x[:, 0], pair[1]), x[:, 0].repeat(pair[1], axis=1))
    assert_close(F.upsample1d_backward(dy[:, 0], pair[1]),
                 reference.upsample2d_backward(dy[:, :1].astype(np.float64), (1, pair[1]))[:, 0], pair[1], 4.0)


@pytest.mark.parametrize("call, text", [
    (lambda x, w: F.conv2d_transpose(x[0], w), r"conv2d_transpose: x must have shape \(N, H, W, C\)"),
    (lambda x, w: F.conv2d_transpose(x, w[..., :2]), r"x has 3 channels, w of shape \(3, 3, 4, 2\) expects 2"),
    (lambda x, w: F.conv2d_transpose(x, w, np.zeros(3)), r"b has shape \(3,\), expected \(4,\)"),
    (lambda x, w: F.conv2d_transpose(x, w, padding=7),
     r"kernel 3 x 3 with stride 1 x 1 with padding \(\(7, 7\), \(7, 7\)\) and output_padding 0 x 0 makes nothing of "
     "the input 5 x 5"),
    (lambda x, w: F.conv2d_transpose(x, w, padding=np.ones((2, 2), int)), "padding must be 'valid', .* got ndarray"),
    (lambda x, w: F.conv2d_transpose(x, w, stride=2**30), "output 4294967299 x 4294967299 and 4 channels"),
    (lambda x, w: F.upsample2d(x, 2**21), "output 10485760 x 10485760 and 3 channels"),
    (lambda x, w: F.conv2d_transpose(x, w, stride=2, output_padding=2),
     r"must be smaller than the stride \(2, 2\), got \(2, 2\)"),
    (lambda x, w: F.conv2d_transpose(x, w, stride=2, padding="same", output_padding=1), "output_padding must be 0"),
    (lambda x, w: F.conv2d_transpose(x, w, output_padding=-1), "output_padding must be at least 0"),
    (lambda x, w: F.conv2d_transpose(x, w, stride=0), "stride must be at least 1"),
    (lambda x, w: F.conv2d_transpose(x, w, out=np.zeros((2, 7, 7, 3))), r"out has shape \(2, 7, 7, 3\), expected"),
    (lambda x, w: F.conv2d_transpose_backward(x, w, x), r"dy has shape \(2, 5, 5, 3\), expected \(2, 7, 7, 4\)"),
    (lambda x, w: F.conv1d_transpose(x[0], w), r"w must have shape \(S, K, C\)"),
    (lambda x, w: F.upsample2d(x, 0), "size must be at least 1"),
    (lambda x, w: F.upsample2d(x[0]), r"upsample2d: x must have shape \(N, H, W, C\)"),
    (lambda x, w: F.upsample2d_backward(x, 2),
     r"dy has shape \(2, 5, 5, 3\), which is no whole number of blocks of size 2"),
    (lambda x, w: F.upsample1d(x[0], (2, 2)), "size must be an integer"),
    (lambda x, w: F.conv2d_transpose(x, w, activation="swish"), "conv2d_transpose: unknown activation 'swish'"),
    (lambda x, w: F.conv2d_transpose(x.astype("f4"), w.astype("f4"), activation="elu", alpha=1e39),
     "conv2d_transpose: alpha must be at most"),
])
def test_what_does_not_fit(call, text, rng):
    x, w = rng.normal(size=(2, 5, 5, 3)), rng.normal(size=(3, 3, 4, 3))
    with pytest.raises((ValueError, TypeError), match=text):
        call(x, w)


@pytest.mark.parametrize("layer, shape, text", [
    (lambda: nf.Conv2DTranspose(4, 3, padding=4), (5, 5, 2),
     r"conv2d_transpose: kernel 3 x 3 with stride 1 x 1 with padding \(\(4, 4\), .* makes nothing of the input 5 x 5"),
    (lambda: nf.Conv1DTranspose(4, 3, padding=6), (5, 2), "conv1d_transpose: kernel 3 with stride 1 with padding"),
    (lambda: nf.Conv2DTranspose(4, 3), (5, 2), r"expected an input of shape \(H, W, C\)"),
    (lambda: nf.Conv2DTranspose(4, 3, 2, output_padding=(0, 2)), None, "must be smaller than the stride"),
    (lambda: nf.Conv2DTranspose(4, 3, 2, "same", 1), None, "says how large the output is"),
    (lambda: nf.Conv2DTranspose(0, 3), None, "filters must be at least 1"),
    (lambda: nf.UpSampling2D(0), None, "size must be at least 1"),
    (lambda: nf.UpSampling2D((2, 2)), (5, 2), r"expected an input of shape \(H, W, C\)"),
    (lambda: nf.UpSampling1D((2, 2)), None, "size must be an integer"),
])
def test_layers_that_do_not_fit(layer, shape, text):
    with pytest.raises(ValueError, match=text):
        layer()(nf.Input(shape))


@pytest.mark.parametrize("layers", [
    lambda: [nf.UpSampling2D(2), nf.Conv2DTranspose(5, 2, 2)], lambda: [nf.LayerNorm(), nf.Conv2DTranspose(5, 1)],
], ids=["upsampling", "layer norm"])
def test_gradients_meet_where_a_value_has_two_readers(layers, rng):
    """The second reader adds to the gradient of the first; each of the two operations in each place."""
    for swapped in (False, True):
        inputs = nf.Input((4, 4, 3))
        h = nf.Conv2D(5, 1, name="stem")(inputs)
        y = nf.Add()([layer(h) for layer in (layers()[::-1] if swapped else layers())])
        model = nf.Model(inputs, nf.Flatten()(y), dtype="float64", seed=0)
        model.compile("sgd", "squared_error")
        x, target = rng.normal(size=(3, 4, 4, 3)), rng.normal(size=(3, *model.output_shape))
        dx, step = model.input_gradient(x, target), 1e-5 * rng.normal(size=x.shape)
        values = [model.per_sample_loss(x + sign * step, target).sum() for sign in (1, -1)]
        assert (dx * step).sum() == pytest.approx((values[0] - values[1]) / 2, rel=1e-6)


def test_initializers_know_how_many_inputs_an_output_has(rng):
    """He's keeps the variance of relu's inputs, with a stride and without."""
    x = rng.normal(size=(40, 8, 8, 64))
    he = {"kernel_initializer": "he_normal"}
    for layer in (nf.Conv2D(64, 4, 1, "same", **he), nf.Conv2DTranspose(64, 4, 1, "same", **he),
                  nf.Conv2DTranspose(64, 4, 2, 1, **he)):
        y = nf.Sequential([layer], input_shape=(8, 8, 64), seed=0).predict(x)[:, 2:-2, 2:-2]
        assert y.var() == pytest.approx(2.0, rel=0.1)


def test_an_autoencoder_learns():
    """Digits through eight numbers and back: a third of the variance is left at most."""
    (x, _), (x_test, _) = nf.datasets.digits(flatten=False)
    model = nf.Sequential([
        nf.Conv2D(16, 3, stride=2, padding="same", activation="relu"), nf.Flatten(), nf.Dense(8),
        nf.Dense(128, activation="relu"), nf.Reshape((4, 4, 8)),
        nf.Conv2DTranspose(16, 4, stride=2, padding="same", activation="relu"), nf.Conv2D(1, 3, padding="same"),
    ], input_shape=(8, 8, 1), seed=0)
    model.compile(nf.Adam(2e-3), "squared_error")
    model.fit(x, x, epochs=30, batch_size=32, verbose=0)
    left = np.square(model.predict(x_test) - x_test).sum() / np.square(x_test - x.mean(axis=0)).sum()
    assert left < 1 / 3
