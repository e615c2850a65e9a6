"""Graphs of layers: several inputs and outputs, joins, reshapes, Python layers. Values against plain NumPy."""
import numpy as np
import pytest
import reference

import nnfast as nf

TOLERANCE = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-11}


def numeric_gradient(f, a, eps=1e-3):
    """Fourth-order central differences of the scalar f with respect to the array a, changed in place."""
    g = np.zeros(a.shape)
    for i in np.ndindex(a.shape):
        keep = a[i]
        values = []
        for step in (-2, -1, 1, 2):
            a[i] = keep + step * eps
            values.append(f())
        a[i] = keep
        g[i] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * eps)
    return g


def check_derivatives(model, x, y, tolerance=1e-7):
    """`gradients` and `input_gradient` of a float64 model against differences of its own loss."""
    loss, grads = model.gradients(x, y)
    np.testing.assert_allclose(loss, model.evaluate(x, y)["loss"], rtol=1e-12)
    parameters = model.parameters
    for name, w in parameters.items():
        def f(name=name, w=w):
            model.set_parameters({name: w})
            return model.evaluate(x, y)["loss"]

        expected = numeric_gradient(f, w)
        model.set_parameters({name: w})
        np.testing.assert_allclose(grads[name], expected, rtol=1e-6, atol=tolerance, err_msg=name)
    xs = x if isinstance(x, list) else [x]
    dxs = model.input_gradient(x, y)
    for dx, a in zip(dxs if isinstance(x, list) else [dxs], xs, strict=True):
        expected = numeric_gradient(lambda: model.per_sample_loss(x, y).sum(), a)
        np.testing.assert_allclose(dx, expected, rtol=1e-6, atol=tolerance)


def test_groups_beside_another_reader(rng):
    x = nf.Input((4, 3, 2))
    h = nf.Conv2D(6, 2, activation="tanh")(x)
    y = nf.Add()([nf.GroupNorm(3)(h), nf.Activation("silu")(nf.GroupNorm(2)(h)), h])
    model = nf.Model(x, nf.Dense(2)(nf.Flatten()(y)), dtype="float64", seed=1)
    model.compile("sgd", "squared_error")
    check_derivatives(model, rng.standard_normal((3, 4, 3, 2)), rng.standard_normal((3, 2)))


def test_a_graph_computes_what_numpy_computes(rng, dtype):
    a, b = nf.Input((6,), name="a"), nf.Input((4,), name="b")
    h = nf.Dense(5, activation="tanh", name="h")(a)
    g = nf.Dense(5, activation="gelu", name="g")(b)
    s = nf.Add()([h, g, h])
    c = nf.Concatenate()([s, b])
    model = nf.Model([a, b], [nf.Dense(3, activation="softmax", name="p")(c), nf.Dense(1, name="v")(s)], seed=1,
                     dtype=dtype.name)
    xa, xb = rng.standard_normal((13, 6)).astype(dtype), rng.standard_normal((13, 4)).astype(dtype)
    w = {name: value.astype(np.float64) for name, value in model.parameters.items()}

    def dense(name, x):
        return x @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    hn, gn = np.tanh(dense("h", xa.astype(float))), reference.activation("gelu", dense("g", xb.astype(float)))
    sn = hn + gn + hn
    p = reference.softmax(dense("p", np.concatenate([sn, xb], axis=1)))
    got = model.predict([xa, xb])
    assert [y.dtype for y in got] == [dtype, dtype]
    np.testing.assert_allclose(got[0], p, atol=TOLERANCE[dtype])
    np.testing.assert_allclose(got[1], dense("v", sn), atol=TOLERANCE[dtype] * 10)
    named = model.predict({"b": xb, "a": xa})
    np.testing.assert_array_equal(named[0], got[0])


def test_derivatives_of_two_inputs_and_two_outputs(rng):
    a, b = nf.Input((3,), name="a"), nf.Input((2,), name="b")
    h = nf.Dense(4, activation="tanh")(a)
    c = nf.Concatenate()([h, b])
    s = nf.Add()([h, nf.Dense(4, activation="sigmoid")(c)])
    p, v = nf.Dense(3, activation="softmax", name="p")(c), nf.Dense(2, name="v")(s)
    model = nf.Model([a, b], [p, v], dtype="float64")
    model.compile("sgd", {"p": "cross_entropy", "v": "squared_error"}, loss_weights={"p": 0.5, "v": 2.0},
                  regularizer=nf.L2(0.1))
    x = [rng.standard_normal((5, 3)), rng.standard_normal((5, 2))]
    y = [rng.integers(0, 3, 5), rng.standard_normal((5, 2))]
    check_derivatives(model, x, y)


def test_derivatives_of_an_output_that_other_layers_read(rng):
    x = nf.Input((3,))
    h = nf.Dense(4, activation="tanh", name="h")(x)
    model = nf.Model(x, [h, nf.Dense(2, name="y")(h)], dtype="float64")
    model.compile("sgd", ["squared_error", "huber"])
    check_derivatives(model, rng.standard_normal((4, 3)), [rng.standard_normal((4, 4)), rng.standard_normal((4, 2))])


def test_derivatives_of_few_channels_that_several_convolutions_read(rng):
    x = nf.Input((5, 6, 1))
    h = nf.Conv2D(2, 3, padding="same", activation="tanh")(x)
    branches = [nf.Conv2D(12, 3, padding="same")(h), nf.Conv2D(16, 5, stride=2, padding=2)(h), nf.Conv2D(14, 3)(h)]
    model = nf.Model(x, nf.Dense(2)(nf.Concatenate()([nf.GlobalAvgPool()(b) for b in branches])), dtype="float64")
    model.compile(optimizer="sgd", loss="squared_error")
    check_derivatives(model, rng.standard_normal((3, 5, 6, 1)), rng.standard_normal((3, 2)))


def test_derivatives_through_reshapes_and_joins_on_the_first_axis(rng):
    x = nf.Input((2, 6))
    h = nf.Dense(4, activation="silu")(x)
    r = nf.Reshape((4, 2))(h)
    c = nf.Concatenate(axis=0)([r, nf.Reshape((-1, 2))(x)])
    y = nf.Dense(2)(nf.Flatten()(nf.Dense(3, activation="softplus")(c)))
    model = nf.Model(x, y, dtype="float64")
    model.compile("sgd", "squared_error")
    assert model.get_layer("concatenate").trainable
    check_derivatives(model, rng.standard_normal((3, 2, 6)), rng.standard_normal((3, 2)))


def test_derivatives_through_stand_alone_activations(rng):
    x = nf.Input((5,))
    h = nf.Dense(5)(x)
    s = nf.Add()([nf.Activation("softmax")(h), nf.Activation("elu", alpha=0.7)(h), nf.Activation("gelu")(x)])
    model = nf.Model(x, nf.Dense(2)(s), dtype="float64")
    model.compile("sgd", "squared_error")
    check_derivatives(model, rng.standard_normal((4, 5)), rng.standard_normal((4, 2)))


def test_an_input_that_goes_straight_to_an_output_layer(rng):
    x = nf.Input((3,))
    model = nf.Model(x, nf.Activation("tanh")(x), dtype="float64")
    data = rng.standard_normal((4, 3))
    np.testing.assert_allclose(model.predict(data), np.tanh(data), rtol=1e-14)
    assert model.count_params() == 0
    grads, dx = model.vjp(data, np.ones((4, 3)))
    assert grads == {}
    np.testing.assert_allclose(dx, 1 - np.tanh(data) ** 2, rtol=1e-12)


def test_an_output_may_be_a_reshape(rng):
    x = nf.Input((3,))
    model = nf.Model(x, nf.Reshape((2, 3))(nf.Dense(6)(x)), dtype="float64")
    model.compile("sgd", "squared_error", metrics=["mse"])
    data, y = rng.standard_normal((5, 3)), rng.standard_normal((5, 2, 3))
    out = model.predict(data)
    assert out.shape == (5, 2, 3)
    figures = model.evaluate(data, y)
    np.testing.assert_allclose(figures["loss"], ((out - y) ** 2).sum(axis=(1, 2)).mean())
    np.testing.assert_allclose(figures["mse"], ((out - y) ** 2).mean())
    check_derivatives(model, data, y)


def test_an_input_that_is_only_reshaped(rng):
    x = nf.Input((2, 3))
    model = nf.Model(x, [nf.Flatten(name="f")(x), nf.Dense(2, name="d")(nf.Flatten()(x))], dtype="float64")
    model.compile("sgd", ["squared_error", "huber"])
    data = rng.standard_normal((4, 2, 3))
    np.testing.assert_array_equal(model.predict(data)[0], data.reshape(4, 6))
    check_derivatives(model, data, [rng.standard_normal((4, 6)), rng.standard_normal((4, 2))])


def test_probabilities_that_are_reshaped(rng):
    x = nf.Input((3,))
    model = nf.Model(x, nf.Reshape((2, 2))(nf.Dense(4, activation="sigmoid")(x)), dtype="float64")
    model.compile("sgd", "binary_cross_entropy", metrics=["accuracy"])
    data, y = rng.standard_normal((5, 3)), rng.integers(0, 2, (5, 2, 2))
    p = model.predict(data)
    expected = reference.binary_cross_entropy(p.reshape(5, 4), y.reshape(5, 4))[0].mean()
    figures = model.evaluate(data, y)
    np.testing.assert_allclose(figures["loss"], expected, rtol=1e-12)
    np.testing.assert_allclose(figures["accuracy"], ((p > 0.5) == y).mean())
    check_derivatives(model, data, y)


def test_dense_acts_on_the_last_axis(rng):
    model = nf.Sequential([nf.Dense(4, activation="tanh")], input_shape=(3, 2), dtype="float64")
    x = rng.standard_normal((5, 3, 2))
    w = model.parameters
    np.testing.assert_allclose(model.predict(x), np.tanh(x @ w["dense/kernel"] + w["dense/bias"]), rtol=1e-12)
    model.compile("sgd", "squared_error")
    check_derivatives(model, x, rng.standard_normal((5, 3, 4)))


# --- Python layers ---------------------------------------------------------------------------------------------------

def test_a_lambda_layer_computes_and_differentiates(rng):
    a, b = nf.Input((3,), name="a"), nf.Input((3,), name="b")
    h = nf.Dense(3, activation="tanh")(a)
    product = nf.Lambda(lambda p, q: p * q, lambda dy, p, q, y: (dy * q, dy * p), name="product")([h, b])
    total = nf.Lambda(lambda x: x.sum(axis=1, keepdims=True), lambda dy, x, y: np.broadcast_to(dy, x.shape),
                      output_shape=(1,))(product)
    model = nf.Model([a, b], nf.Concatenate()([nf.Dense(2)(product), total]), dtype="float64")
    model.compile("sgd", "squared_error")
    x = [rng.standard_normal((5, 3)), rng.standard_normal((5, 3))]
    check_derivatives(model, x, rng.standard_normal((5, 3)))


@pytest.mark.parametrize("shape", [(3, 2), (6,)])
def test_a_lambda_layer_sees_the_shape_behind_a_reshape(shape, rng):
    shapes = set()

    def forward(x):
        shapes.add(x.shape[1:])
        return x * x

    square = nf.Lambda(forward, lambda dy, x, y: 2 * x * dy)
    model = nf.Sequential([nf.Dense(3, activation="tanh"), nf.Reshape(shape), square, nf.Flatten(), nf.Dense(2)],
                          input_shape=(2, 3), dtype="float64")
    model.compile("sgd", "squared_error")
    x = rng.standard_normal((4, 2, 3))
    check_derivatives(model, x, rng.standard_normal((4, 2)))
    assert shapes == {shape}


def test_training_through_a_lambda_layer_equals_the_built_in_layer(rng):
    def model(layer):
        m = nf.Sequential([nf.Dense(6), layer, nf.Dense(2)], input_shape=(4,), dtype="float64", seed=4)
        m.compile(nf.Adam(0.01), "squared_error")
        return m

    x, y = rng.standard_normal((40, 4)), rng.standard_normal((40, 2))
    built_in = model(nf.Activation("tanh")).fit(x, y, batch_size=16, epochs=3, verbose=0)
    python = model(nf.Lambda(np.tanh, lambda dy, x, y: dy * (1 - y * y))).fit(x, y, batch_size=16, epochs=3, verbose=0)
    np.testing.assert_allclose(python.history["loss"], built_in.history["loss"], rtol=1e-10)


@pytest.mark.parametrize(("forward", "backward", "text"), [
    (lambda x: x[:, :1], lambda dy, x, y: dy, "shape"),
    (lambda x: x, lambda dy, x, y: dy[:, :1], "shape"),
    (lambda x: 1 / 0, lambda dy, x, y: dy, "division"),
    (lambda x: None, lambda dy, x, y: dy, "lambda: forward gave None"),
    (lambda x: x, lambda dy, x, y: None, "lambda: backward gave None"),
    (lambda x: 1j * x, lambda dy, x, y: dy, "forward gave complex numbers"),
    (lambda x: x, lambda dy, x, y: 1 / 0, "division"),
])
def test_errors_of_a_lambda_layer_reach_the_user_and_leave_the_weights(forward, backward, text, rng):
    model = nf.Sequential([nf.Dense(3), nf.Lambda(forward, backward), nf.Dense(1)], input_shape=(2,))
    model.compile("sgd", "squared_error")
    before = model.get_weights()
    x = rng.standard_normal((8, 2))
    for call in (lambda: model.fit(x, x[:, :1], verbose=0), lambda: model.gradients(x, x[:, :1])):
        with pytest.raises((TypeError, ValueError, ZeroDivisionError), match=text):
            call()
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


# --- what is refused -------------------------------------------------------------------------------------------------

def test_a_layer_with_weights_is_called_once():
    x = nf.Input((4,))
    layer = nf.Dense(4)
    with pytest.raises(ValueError, match="layer dense is called twice; shared layers are not supported"):
        nf.Model(x, layer(layer(x)))


def test_a_layer_without_weights_may_be_called_twice(rng):
    x = nf.Input((4,))
    relu = nf.Activation("relu")
    model = nf.Model(x, nf.Dense(2)(relu(nf.Dense(3)(relu(x)))))
    assert len(model.layers) == 3
    other = nf.Model.from_config(model.get_config())
    data = rng.standard_normal((3, 4))
    np.testing.assert_array_equal(model.predict(data), other.predict(data))


@pytest.mark.parametrize(("make", "error", "text"), [
    (lambda x: nf.Model(x, nf.Input((4,))), ValueError, "must be made by a layer"),
    (lambda x: nf.Model(nf.Input((4,)), nf.Dense(2)(x)), ValueError, "not among the inputs"),
    (lambda x: nf.Model([x, nf.Input((2,), name="idle")], nf.Dense(2)(x)), ValueError, "no output depends on .*idle"),
    (lambda x: nf.Model([x, x], nf.Dense(2)(x)), ValueError, "listed twice"),
    (lambda x: nf.Model(x, []), ValueError, "at least one output"),
    (lambda x: nf.Model([], nf.Dense(2)(x)), ValueError, "at least one input"),
    (lambda x: nf.Model(x, 3), TypeError, "results of layer calls, got int"),
    (lambda x: nf.Model(np.ones(3), nf.Dense(2)(x)), TypeError, "nf.Input objects, got ndarray"),
    (lambda x: nf.Model(x, [nf.Dense(2, name="d")(x), nf.Dense(3, name="d")(x)]), ValueError, "two layers .*'d'"),
    (lambda x: nf.Model(x, (lambda h: [h, h])(nf.Dense(2)(x))), ValueError, "two of the outputs"),
    (lambda x: nf.Dense(2)(np.ones((3, 4))), TypeError, "to run a model on data use model.predict"),
    (lambda x: nf.Dense(2)([x, x]), ValueError, "dense: takes one input, got 2"),
    (lambda x: nf.Add()(x), ValueError, "add: takes a list of two or more inputs, got 1"),
    (lambda x: nf.Add(name="join")([x, nf.Input((5,))]), ValueError, r"join: .*input 0 has \(4,\), input 1 has \(5,\)"),
    (lambda x: nf.Concatenate(axis=1)([x, x]), ValueError, r"axis 1 is out of range for input \(4,\)"),
    (lambda x: nf.Concatenate(axis=0)([nf.Input((2, 3)), nf.Input((2, 4))]), ValueError, "may differ on axis 0 only"),
    (lambda x: nf.Reshape((3, 2))(x), ValueError, r"reshape: input \(4,\) has 4 elements"),
    (lambda x: nf.Reshape((3, -1))(x), ValueError, "do not fit"),
    (lambda x: nf.Reshape((-1, -1)), ValueError, "at most one -1"),
    (lambda x: nf.Reshape((-1.0, 2)), TypeError, "integer"),
    (lambda x: nf.Lambda(abs, abs)([]), ValueError, "lambda: is called on no input"),
    (lambda x: nf.Input((0,)), ValueError, "at least 1"),
    (lambda x: nf.Input("ab"), TypeError, "tuple of positive integers"),
    (lambda x: nf.Input((2.5,)), TypeError, "integer"),
    (lambda x: nf.Sequential([x, nf.Dense(2)], input_shape=(4,)), ValueError, "given twice"),
    (lambda x: nf.Sequential([nf.Dense(2), x]), TypeError, "entry 1 is Input; graphs are made by nf.Model"),
    (lambda x: nf.Sequential([nf.Dense]), TypeError, "Dense, a class: call it"),
    (lambda x: nf.Sequential([]), ValueError, "at least one layer"),
    (lambda x: nf.Sequential(nf.Dense(2)), TypeError, "list of layers"),
    (lambda x: nf.Sequential([nf.Dense(2)], dtype="float16"), ValueError, "float16"),
    (lambda x: nf.Sequential([nf.Dense(2)], seed=-1), ValueError, "seed"),
    (lambda x: nf.Sequential([nf.Dense(2)], seed="a"), TypeError, "seed"),
    (lambda x: nf.Sequential([nf.Dense(2, name="a/b")]), ValueError, "without '/'"),
])
def test_bad_graphs(make, error, text):
    with pytest.raises(error, match=text):
        make(nf.Input((4,)))


def test_a_part_with_a_layer_that_is_called_twice(rng):
    x, relu = nf.Input((3,)), nf.Activation("relu")
    model = nf.Model(x, nf.Dense(1, name="out")(relu(nf.Dense(3)(relu(x)))))
    part, data = model.submodel("out"), rng.standard_normal((5, 3))
    assert [layer.name for layer in part.layers] == [layer.name for layer in model.layers]
    np.testing.assert_array_equal(part.predict(data), model.predict(data))
    with pytest.raises(ValueError, match="layer activation is called 2 times"):
        model.submodel("activation")


def test_two_outputs_that_are_the_same_numbers_each_count(rng):
    x = nf.Input((3,))
    h = nf.Dense(4, name="h")(x)
    model = nf.Model(x, [h, nf.Reshape((2, 2), name="r")(h)], dtype="float64")
    model.compile("sgd", ["squared_error", "absolute_error"])
    check_derivatives(model, rng.standard_normal((3, 3)), [rng.standard_normal((3, 4)), rng.standard_normal((3, 2, 2))])


def test_a_failed_model_leaves_its_layers_free():
    x = nf.Input((4,))
    layer = nf.Dense(2, name="d")
    with pytest.raises(ValueError, match="two layers"):
        nf.Model(x, [layer(x), nf.Dense(2, name="d")(x)])
    assert nf.Model(x, layer(x)).count_params() == 10


def test_a_network_of_a_thousand_layers():
    x = value = nf.Input((2,))
    for _ in range(1000):
        value = nf.Dense(2)(value)
    model = nf.Model(x, value)
    assert model.layers[-1].name == "dense_999"
    assert model.predict(np.ones((1, 2))).shape == (1, 2)
