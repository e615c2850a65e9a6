"""Dense layers whose weights the threads share: results, bits for any number of threads, stages."""
import numpy as np
import pytest
from chain import run
from check import assert_close
from fused import disturb, plan_of

import nnfast as nf

WIDTHS = 300, 270, 261      # every kernel is beyond half of an L2 cache


def network(activation="relu", output="softmax", dtype="float32", between=()):
    layers = [nf.Dense(WIDTHS[1], activation=activation, name="a"), *between,
              nf.Dense(WIDTHS[2], activation=output, name="b")]
    model = nf.Sequential(layers, input_shape=WIDTHS[:1], seed=0, dtype=dtype)
    disturb(model)
    return model


def batch(n, dtype=np.float32):
    rng = np.random.default_rng(n)
    return rng.standard_normal((n, WIDTHS[0])).astype(dtype), rng.integers(0, WIDTHS[-1], n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh", "gelu"])
def test_equals_the_reference(activation, dtype):
    model = network(activation, dtype=dtype)
    model.compile(nf.SGD(0.1), "cross_entropy", n_threads=3)
    for n in (1, 7, 40):
        x, labels = batch(n, dtype)
        y, values, total, grads, dx, _ = run(model, x, np.eye(WIDTHS[-1])[labels], "softmax_cross_entropy")
        assert_close(model.predict(x), y, WIDTHS[0])
        loss, ours = model.gradients(x, labels)
        assert np.isclose(loss, total, rtol=1e-5)
        for name, expected in grads.items():
            assert_close(ours[name], expected, WIDTHS[0], np.abs(expected).max(), name)
        assert_close(model.input_gradient(x, labels) / n, dx, WIDTHS[0], np.abs(dx).max())


@pytest.mark.parametrize("activation, output, loss", [
    ("relu", "softmax", "cross_entropy"), ("gelu", "softmax", "squared_error"), ("sigmoid", "tanh", "squared_error"),
    ("linear", "sigmoid", "binary_cross_entropy"),
])
def test_same_bits_for_any_number_of_threads(activation, output, loss):
    """5 and 7 threads share columns, 6 and 8 rows and columns; with one row most of them have none."""
    results = []
    for n_threads in (1, 2, 3, 5, 6, 7, 8):
        found = []
        for n in (1, 9, 130):
            x, y = batch(n)
            if loss != "cross_entropy":
                y = np.eye(WIDTHS[-1], dtype=np.float32)[y]
            model = network(activation, output, between=[nf.Dropout(0.1)])
            model.compile(nf.Adam(1e-3), loss, n_threads=n_threads)
            model.fit(x, y, batch_size=50, epochs=2, verbose=0)
            vjp, dx = model.vjp(x, np.ones((n, WIDTHS[-1]), np.float32))
            found += [model.predict(x), model.input_gradient(x, y), *model.parameters.values(), *vjp.values(), dx]
        results.append([array.tobytes() for array in found])
    for result in results[1:]:
        assert result == results[0]


def test_a_gradient_is_added_to_another():
    """Two layers and a sum read one value: the second layer adds its dx to what is there."""
    x, targets = batch(33, np.float64)[0], np.ones((33, 3))
    results = []
    for n_threads in (1, 2, 5):
        inputs = nf.Input((WIDTHS[0],))
        hidden = nf.Dense(300, activation="tanh", name="hidden")(inputs)
        both = nf.Add()([nf.Dense(300, activation="tanh")(hidden), nf.Dense(300)(hidden), hidden])
        model = nf.Model(inputs, nf.Dense(3)(both), seed=0, dtype="float64")
        model.compile(nf.SGD(1e-4), "squared_error", n_threads=n_threads)
        gradients = model.gradients(x, targets)[1]
        results.append([gradient.tobytes() for gradient in gradients.values()])
    assert results[0] == results[1] == results[2]
    step, start, losses = 1e-4, model.parameters["hidden/kernel"], []
    for sign in (1, -1):
        start[4, 5] += sign * step
        model.set_weights([start, *model.get_weights()[1:]])
        losses.append(model.evaluate(x, targets)["loss"])
        start[4, 5] -= sign * step
    assert np.isclose((losses[0] - losses[1]) / (2 * step), gradients["hidden/kernel"][4, 5], rtol=1e-6)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_gradient_that_overflows_is_not_applied(optimizer, n_threads):
    """Here, too, it is known from x and dz, which are far from overflow themselves."""
    model = nf.Sequential([nf.Dense(64, kernel_initializer="zeros")], input_shape=(4096,))
    model.compile(optimizer, "squared_error", n_threads=n_threads)
    assert ("blocks of outputs", [("forward", "dense")]) in plan_of(model).stages("training")
    x, y = np.full((8, 4096), 1e25, np.float32), np.full((8, 64), 1e18, np.float32)
    with pytest.raises(nf.TrainingError):
        model.fit(x, y, verbose=0)
    assert not model.get_weights()[0].any() and model.iterations == 0


def test_stages():
    model = network("tanh", between=[nf.Dropout(0.5)])
    model.compile("sgd", "cross_entropy")
    assert plan_of(model).stages("training") == [
        ("blocks of outputs", [("forward", "a")]),
        ("samples", [("forward", "dropout")]),
        ("blocks of outputs", [("forward", "b")]),
        ("samples", [("loss", "b")]),       # with the softmax
        ("blocks of inputs", [("backward", "b")]),
        ("samples", [("backward", "dropout"), ("activation's gradient", "a")]),
        ("blocks of inputs", [("backward", "a")]),
        ("tiles of parameters",
         [("gradient and update", name) for name in ("a/kernel", "a/bias", "b/kernel", "b/bias")]),
    ]
    small = nf.Sequential([nf.Dense(240, activation="tanh", name="a"), nf.Dense(2)], input_shape=(256,))
    assert plan_of(small).stages("inference") == [("samples", [("forward", "a"), ("forward", "dense")])]


@pytest.mark.parametrize("shape", [(1, 4000, 1001), (1001, 4000, 1), (64, 999, 64), (37, 700, 130)], ids=str)
def test_a_product_has_the_same_bits_for_any_number_of_threads(shape):
    """The threads of a call share its result likewise; here is work for eight."""
    M, K, N = shape
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((M, K), (K, N)))
    one = nf.functional.dense(x, w, n_threads=1)
    assert_close(one, x.astype(np.float64) @ w, K)
    for n_threads in range(2, 9):
        assert nf.functional.dense(x, w, n_threads=n_threads).tobytes() == one.tobytes()


def test_a_dropout_that_is_called_twice_draws_twice():
    a, b, drop = nf.Input((1000,)), nf.Input((1000,)), nf.Dropout(0.5)
    model = nf.Model([a, b], nf.Add()([drop(a), drop(b)]))
    _, (da, db) = model.vjp([np.ones((1, 1000))] * 2, np.ones((1, 1000)), training=True)
    assert 0.4 < (da == db).mean() < 0.6
