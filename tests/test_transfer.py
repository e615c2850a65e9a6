"""Data on their way in and out: types, channels first, rescaling."""
import numpy as np
import pytest
from check import assert_same_bits
from fused import head, plan_of, sequential, watched

import nnfast as nf


@pytest.mark.parametrize("source", ["uint8", "float32", "float64", "int16"])
@pytest.mark.parametrize("shape", [(1, 5, 6), (3, 17, 19), (16, 16, 16), (21, 3, 5), (40, 1, 1), (3, 300), (2, 1)],
                         ids=str)
@pytest.mark.parametrize("rescaled", [False, True])
def test_channels_first_in_and_out(source, shape, rescaled, dtype):
    """A network that only rescales shows what is gathered and delivered, forward and backward."""
    x = np.random.default_rng(0).integers(0, 200, (5, *shape)).astype(source)
    layers = [nf.Rescale(1 / 255, 0.5)] if rescaled else []
    model = nf.Sequential([*layers, nf.Activation("linear")], input_shape=shape, dtype=dtype.name,
                          data_format="channels_first")
    last = nf.Sequential([*[nf.Rescale(1 / 255, 0.5) for _ in layers], nf.Activation("linear")],
                         input_shape=(*shape[1:], shape[0]), dtype=dtype.name)
    y = model.predict(x, batch_size=2)
    expected = (x.astype(dtype) / 255 + 0.5) if rescaled else x.astype(dtype)
    np.testing.assert_allclose(y, expected, rtol=4 * np.finfo(dtype).eps)
    assert_same_bits(y, np.ascontiguousarray(np.moveaxis(last.predict(np.moveaxis(x, 1, -1)), -1, 1)))
    model.compile("sgd", "squared_error")
    targets = np.random.default_rng(1).standard_normal(x.shape)
    scale = 1 / 255 if rescaled else 1
    np.testing.assert_allclose(model.input_gradient(x, targets), 2 * scale * (y - targets), rtol=0, atol=1e-3 * scale)
    dy = np.random.default_rng(2).standard_normal(x.shape).astype(dtype)
    np.testing.assert_allclose(model.vjp(x, dy)[1], scale * dy, rtol=4 * np.finfo(dtype).eps)
    model.evaluate(x, y)
    assert model.evaluate(x, y)["loss"] == 0


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_no_second_copy_of_the_data(kind, dtype):
    model = nf.Sequential([nf.Rescale(0.5), nf.Conv2D(2, 3, name="c")], input_shape=(3, 8, 9), dtype=dtype.name,
                          data_format="channels_first")
    model.compile("sgd", "squared_error")
    x, y = np.ones((4, 3, 8, 9), kind), np.ones((4, 2, 6, 7), dtype)
    xs, ys, _, _ = model._data(x, y)
    assert xs[0] is x and ys[0] is y


def test_targets_with_channels_first():
    model = nf.Sequential([nf.Conv2D(3, 1, activation="softmax", name="map")], input_shape=(2, 4, 5),
                          data_format="channels_first")
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((6, 2, 4, 5)), rng.uniform(0, 1, (6, 3, 4, 5))
    p = model.predict(x)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)     # over the channels
    model.compile("sgd", "squared_error", metrics=["mae"])
    np.testing.assert_allclose(model.per_sample_loss(x, t), ((p - t) ** 2).sum(axis=(1, 2, 3)), rtol=1e-4)
    assert model.evaluate(x, t)["mae"] == pytest.approx(abs(p - t).mean(), rel=1e-5)
    with pytest.raises(ValueError, match=r"output 'map' has shape \(N, 3, 4, 5\), got targets of shape \(6, 4, 5, 3\)"):
        model.evaluate(x, np.moveaxis(t, 1, -1))


def test_rescaling_has_no_value_of_its_own(dtype):
    def layers():
        return [nf.Rescale(1 / 255, -0.25, name="r"), nf.Conv2D(4, 3, activation="relu", name="c"), *head()]

    fused, unfused = sequential(layers(), (8, 8, 3), dtype), watched(layers(), (8, 8, 3), dtype, ("r",))
    unfused.set_parameters(fused.parameters)
    # The other reader makes no difference: what counts is who reads the input.
    assert [entry["members"] for entry in plan_of(unfused).gathered] == [["input", "r"]]
    x = nf.Input((8, 8, 3))
    scaled = layers()[0](x)
    apart = nf.Model(x, nf.Add()([nf.Flatten()(scaled), nf.Flatten()(x)]), dtype=dtype.name)
    assert [entry["op"] for entry in plan_of(apart).describe()] == ["rescale", "add"]
    row = plan_of(fused).describe()[0]
    assert row["name"] == "c"
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    assert_same_bits(fused.predict(images), unfused.predict(images)[0])
    assert_same_bits(fused.predict(images), fused.predict(images.astype(dtype)))
    np.testing.assert_allclose(apart.predict(images).reshape(images.shape), images * (1 + 1 / 255) - 0.25,
                               rtol=1e-5)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("source", [np.uint8, np.float32, np.float64])
def test_nothing_but_a_rescaling(data_format, source):
    """A plan without operations: whatever is done is done while the samples are gathered."""
    model = nf.Sequential([nf.Rescale(1 / 255)], input_shape=(3, 40, 50), data_format=data_format)
    x = np.random.default_rng(0).integers(0, 256, (8, 3, 40, 50)).astype(source)
    for _ in range(5):
        np.testing.assert_allclose(model.predict(x), x / 255, rtol=1e-6)
