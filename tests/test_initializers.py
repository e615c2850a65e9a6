"""First values of parameters: their distribution, shape, type and reproducibility."""

import json
import math

import numpy as np
import pytest

import nnfast as nf
from nnfast import initializers
from nnfast.initializers import Constant, Initializer, Orthogonal

FAN_IN, FAN_OUT = 300, 200
UNIFORM = {
    "glorot_uniform": math.sqrt(6 / (FAN_IN + FAN_OUT)),
    "he_uniform": math.sqrt(6 / FAN_IN),
    "lecun_uniform": math.sqrt(3 / FAN_IN),
}
NORMAL = {
    "glorot_normal": math.sqrt(2 / (FAN_IN + FAN_OUT)),
    "he_normal": math.sqrt(2 / FAN_IN),
    "lecun_normal": math.sqrt(1 / FAN_IN),
}
NAMES = list(initializers.REGISTRY.classes)


def make(name, shape=(FAN_IN, FAN_OUT), dtype=np.float64, seed=0, **arguments):
    init = initializers.REGISTRY.find(name)(**arguments)
    return init(shape, FAN_IN, FAN_OUT, np.random.Generator(np.random.Philox(seed)), dtype)


@pytest.mark.parametrize("name, limit", UNIFORM.items())
def test_uniform(name, limit):
    w = make(name)
    assert -limit <= w.min() < -0.99 * limit and 0.99 * limit < w.max() <= limit
    # The spread of a mean of n values is std / sqrt(n); five of them are never exceeded by chance.
    assert abs(w.mean()) < 5 * limit / math.sqrt(3 * w.size)
    assert w.std() == pytest.approx(limit / math.sqrt(3), rel=0.01)


@pytest.mark.parametrize("name, std", NORMAL.items())
def test_normal(name, std):
    w = make(name)
    assert abs(w.mean()) < 5 * std / math.sqrt(w.size)
    assert w.std() == pytest.approx(std, rel=0.015)
    # Not truncated: of 60,000 values some lie beyond 3.5 standard deviations.
    assert 3.5 * std < abs(w).max() < 6 * std
    assert np.mean(abs(w) < std) == pytest.approx(0.6827, abs=0.01)


@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (5, 5), (1, 3), (3, 1), (3, 3, 2, 7), (2, 1, 2, 9)])
@pytest.mark.parametrize("gain", [1.0, 2.5, -1.0])
def test_orthogonal(shape, gain):
    w = make("orthogonal", shape, gain=gain)
    assert w.shape == shape
    flat = w.reshape(-1, shape[-1])
    square = flat.T @ flat if flat.shape[0] >= flat.shape[1] else flat @ flat.T
    np.testing.assert_allclose(square, gain**2 * np.eye(len(square)), atol=1e-13 * gain**2)


def test_orthogonal_has_no_preferred_sign():
    corners = [make("orthogonal", (3, 3), seed=seed)[0, 0] for seed in range(200)]
    assert 60 < np.sum(np.array(corners) > 0) < 140


def test_orthogonal_needs_a_matrix():
    with pytest.raises(ValueError, match="Orthogonal: needs a shape of two axes or more, got \\(5,\\)"):
        make("orthogonal", (5,))


def test_constants():
    assert (make("zeros", (3,)) == 0).all() and (make("ones", (3,)) == 1).all()
    assert (make("constant", (3, 2), value=-0.25) == -0.25).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(5, 3), (3, 3, 2, 4)])
def test_form(name, shape, dtype):
    w = make(name, shape, dtype)
    assert w.shape == shape and w.dtype == dtype and w.flags.c_contiguous and w.flags.writeable
    np.testing.assert_array_equal(w, make(name, shape, np.float64).astype(dtype))


@pytest.mark.parametrize("name", [*UNIFORM, *NORMAL, "orthogonal"])
def test_seed_decides(name):
    assert (make(name, seed=3) == make(name, seed=3)).all()
    assert (make(name, seed=3) != make(name, seed=4)).any()


@pytest.mark.parametrize("name", NAMES)
def test_lookup_and_json(name):
    init = initializers.get(name)
    again = initializers.get(json.loads(json.dumps(init.to_config())))
    assert again == init and initializers.get(init) is init
    assert initializers.get(type(init)) == init == initializers.get(type(init).__name__)
    assert eval(repr(init), vars(initializers)) == init


def test_user_class():
    class Diagonal(Initializer):
        def draw(self, shape, fan_in, fan_out, rng):
            return np.eye(*shape)

    w = initializers.get(Diagonal)((2, 3), 2, 3, None, np.float32)
    assert w.dtype == np.float32 and w[1, 1] == 1


def test_compares_by_value():
    assert Orthogonal(2) == Orthogonal(2.0) != Orthogonal(3)
    assert Constant(1) != initializers.Ones()
    with pytest.raises(AttributeError, match="Orthogonal.gain is fixed"):
        Orthogonal().gain = 2


@pytest.mark.parametrize("bad, error, text", [
    ("glorot_unifrom", ValueError, "unknown initializer 'glorot_unifrom'; did you mean 'glorot_uniform'"),
    ("xyzzy", ValueError, "known: glorot_uniform, glorot_normal, he_uniform"),
    (3, TypeError, "initializer must be a name, .* got int: 3"),
    (None, TypeError, "got NoneType"),
    ({"class": "Orthogonal", "config": {"gain": "x"}}, ValueError, "gain must be a number"),
    ({"class": "Orthogonal", "config": []}, TypeError, "must be a dict, got list"),
    ({"class": 3, "config": {}}, ValueError, "expected"),
])
def test_refuses(bad, error, text):
    with pytest.raises(error, match=text):
        initializers.get(bad)


def test_a_class_made_of_a_constant_draws_from_a_stream_of_its_own():
    class Noise(nf.initializers.Zeros):
        def draw(self, shape, fan_in, fan_out, rng):
            return rng.random(shape)

    biases = []
    for kernel in ("zeros", "glorot_uniform"):
        layer = nf.Dense(3, kernel_initializer=kernel, bias_initializer=Noise())
        model = nf.Sequential([layer], input_shape=(2,), seed=1)
        biases.append(model.get_weights()[1])
    np.testing.assert_array_equal(*biases)
