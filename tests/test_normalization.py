"""Batch and group normalization by themselves: sums over few and many pixels, and running statistics."""
import numpy as np
import pytest
import reference
from check import assert_same_bits

import nnfast as nf


def test_a_sample_of_one_pixel_is_its_own_mean():
    model = nf.Sequential([nf.BatchNorm()], input_shape=(3,), dtype="float64")
    model.set_parameters({"batch_norm/beta": [1.0, 2.0, 3.0]})
    model.compile("sgd", "squared_error")
    x = np.array([[5.0, -7.0, 0.0]])
    loss, grads = model.gradients(x, np.zeros((1, 3)), training=True)
    assert loss == 14.0
    np.testing.assert_array_equal(grads["batch_norm/beta"], [2, 4, 6])
    np.testing.assert_array_equal(grads["batch_norm/gamma"], [0, 0, 0])
    model.train_on_batch(x, np.zeros((1, 3)))
    np.testing.assert_allclose(model.parameters["batch_norm/running_mean"], 0.1 * x[0])
    np.testing.assert_allclose(model.parameters["batch_norm/running_variance"], [0.9, 0.9, 0.9])


def test_running_statistics_far_from_zero(dtype):
    """Deviations are taken from the mean first: values around 1000 keep their variance in float32."""
    model = nf.Sequential([nf.BatchNorm(momentum=1.0)], input_shape=(6, 6, 2), dtype=dtype.name)
    model.compile("sgd", "squared_error")
    x = (1000 + np.random.default_rng(0).standard_normal((20, 6, 6, 2))).astype(dtype)
    model.train_on_batch(x, np.zeros_like(x))
    w, x = model.parameters, x.astype(np.float64)
    np.testing.assert_allclose(w["batch_norm/running_mean"], x.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(w["batch_norm/running_variance"], x.var(axis=(0, 1, 2), ddof=1), rtol=1e-4)


@pytest.mark.parametrize("shape", [(2, 45, 47, 5), (1, 33, 32, 3), (3, 9, 8, 530)], ids=str)
@pytest.mark.parametrize("activation", ["relu", "linear", "tanh"])
def test_statistics_of_blocks_of_an_image(shape, activation, dtype, rng):
    x, dy = (1 + rng.normal(size=shape)).astype(dtype), rng.normal(size=shape).astype(dtype)
    z = reference.batch_norm(x.astype(np.float64), 1, 0, 1e-5)
    dz = reference.activation_backward(activation, z, dy)
    expected = reference.batch_norm_backward(x.astype(np.float64), 1.0, dz, 1e-5)
    results = []
    for n_threads in (1, 2, 3):
        model = nf.Sequential([nf.BatchNorm(), nf.Activation(activation)], input_shape=shape[1:], dtype=dtype.name)
        model.compile("sgd", "squared_error", n_threads=n_threads)
        grads, dx = model.vjp(x, dy, training=True)
        results.append((dx, grads["batch_norm/gamma"], grads["batch_norm/beta"]))
    for name, one, two, three, wanted in zip(("dx", "dgamma", "dbeta"), *results, expected):
        assert_same_bits(one, two, name)
        assert_same_bits(one, three, name)
        atol = 30 * np.finfo(dtype).eps * max(1, np.abs(wanted).max())
        np.testing.assert_allclose(one, wanted, rtol=0, atol=atol, err_msg=name)


def test_running_statistics_of_large_images_far_from_zero():
    """Sums of 50,000 floats have lost digits: the variance was 425 instead of 1."""
    model = nf.Sequential([nf.BatchNorm(momentum=1.0)], input_shape=(224, 224, 4))
    model.compile("sgd", "squared_error")
    x = (1e6 + np.random.default_rng(0).standard_normal((2, 224, 224, 4))).astype(np.float32)
    model.train_on_batch(x, np.zeros_like(x))
    w, x = model.parameters, x.astype(np.float64)
    np.testing.assert_allclose(w["batch_norm/running_mean"], x.mean(axis=(0, 1, 2)), rtol=1e-7)
    np.testing.assert_allclose(w["batch_norm/running_variance"], x.var(axis=(0, 1, 2), ddof=1), rtol=3e-3)


@pytest.mark.parametrize("offset", [0, 1e2, 1e4])
def test_group_norm_of_a_large_image(offset, rng):
    """In float32 only the rounding of x and of the numbers that it is multiplied with is left."""
    x = (offset + rng.standard_normal((1, 224, 224, 4))).astype(np.float32)
    model = nf.Sequential([nf.GroupNorm(4)], input_shape=x.shape[1:])
    expected = reference.group_norm(x.astype(np.float64), np.ones(4), np.zeros(4), 1e-5, 4)
    np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=1e-6 + 1.5e-7 * offset)
