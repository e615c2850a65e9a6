"""Models as data: building, names, weights, copies, configurations."""
import copy
import gc
import json
import pickle
import weakref
from types import MappingProxyType

import numpy as np
import pytest

import nnfast as nf


def small(**arguments):
    return nf.Sequential([nf.Dense(5, activation="tanh"), nf.Dense(3, activation="softmax")],
                         **{"input_shape": (4,), "seed": 0, **arguments})


def data(rng, n=32):
    return rng.standard_normal((n, 4)).astype(np.float32), rng.integers(0, 3, n)


# --- building --------------------------------------------------------------------------------------------------------

def test_parameters_have_the_names_shapes_and_start_that_are_documented():
    model = small()
    shapes = {name: w.shape for name, w in model.parameters.items()}
    assert shapes == {"dense/kernel": (4, 5), "dense/bias": (5,), "dense_1/kernel": (5, 3), "dense_1/bias": (3,)}
    assert model.count_params() == 4 * 5 + 5 + 5 * 3 + 3
    kernel = model.parameters["dense/kernel"]
    assert kernel.dtype == np.float32
    assert np.abs(kernel).max() <= np.sqrt(6 / 9)
    assert len(np.unique(kernel)) == kernel.size
    assert not model.parameters["dense/bias"].any()


def test_a_layer_without_bias_has_no_bias():
    model = nf.Sequential([nf.Dense(2, use_bias=False)], input_shape=(3,))
    assert list(model.parameters) == ["dense/kernel"]
    np.testing.assert_allclose(model.predict(np.zeros((1, 3), np.float32)), 0)


def test_the_seed_decides_the_weights():
    one, two, other = small(seed=7), small(seed=7), small(seed=8)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.get_weights()[0] != other.get_weights()[0]).any()


def test_seed_none_draws_one_and_keeps_it():
    one, two = small(seed=None), small(seed=None)
    assert one.seed != two.seed
    np.testing.assert_array_equal(small(seed=one.seed).get_weights()[0], one.get_weights()[0])


def test_float32_starts_at_the_rounded_weights_of_float64():
    for a, b in zip(small().get_weights(), small(dtype="float64").get_weights(), strict=True):
        np.testing.assert_array_equal(a, b.astype(np.float32))


def test_weights_of_a_layer_do_not_depend_on_its_neighbours():
    alone = nf.Sequential([nf.Dense(3, name="head")], input_shape=(4,), seed=3)
    graph = nf.Input((4,))
    beside = nf.Model(graph, [nf.Dense(7)(graph), nf.Dense(3, name="head")(graph)], seed=3)
    np.testing.assert_array_equal(alone.parameters["head/kernel"], beside.parameters["head/kernel"])


def test_automatic_names_avoid_given_ones():
    model = nf.Sequential([nf.Dense(2), nf.Dense(2, name="dense_1"), nf.Dense(2), nf.Activation("relu")], (2,))
    assert [layer.name for layer in model.layers] == ["dense", "dense_1", "dense_2", "activation"]
    assert model.get_layer("dense_2") is model.layers[2]


def test_an_unbuilt_sequential_learns_its_shape_from_data(rng):
    x, y = data(rng)
    model = small(input_shape=None)
    assert not model.built
    assert "not built" in repr(model)
    model.compile("adam", "cross_entropy")
    model.fit(x, y, verbose=0)
    assert model.built
    assert model.input_shape == (4,)
    assert model.output_shape == (3,)


def test_building_by_data_or_by_shape_gives_the_same_model(rng):
    x, y = data(rng)
    late, early = small(input_shape=None), small()
    for model in (late, early):
        model.compile("adam", "cross_entropy")
        model.fit(x, y, epochs=2, verbose=0)
    for a, b in zip(late.get_weights(), early.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_input_may_be_the_first_layer():
    model = nf.Sequential([nf.Input((4,), name="state"), nf.Dense(2)])
    assert model.input_names == ["state"]
    assert [layer.name for layer in model.layers] == ["dense"]


def test_one_model_owns_a_layer():
    layer = nf.Dense(3)
    model = nf.Sequential([layer], input_shape=(4,))
    with pytest.raises(ValueError, match="already belongs to another model"):
        nf.Sequential([layer], input_shape=(4,))
    assert layer.model is model
    del model
    assert nf.Sequential([layer], input_shape=(2,)).count_params() == 9


def test_repr_and_summary(capsys):
    model = small()
    model.summary()
    text = capsys.readouterr().out
    assert "43 parameters" in text
    for word in ("dense_1", "Dense", "(5,)", "25", "18"):
        assert word in text
    model.plan()
    assert "no memory yet" in capsys.readouterr().out
    model.predict(np.ones((300, 4)))
    model.plan()
    assert "KiB for activations" in capsys.readouterr().out
    nf.Sequential([nf.Dense(2, name="d"), nf.Activation("relu")], input_shape=(3,)).summary()
    assert "in d" in capsys.readouterr().out
    assert repr(model) == "<Sequential 'sequential': 43 parameters, float32>"


# --- weights ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("state", ["fresh", "predicted", "compiled"])
def test_weights_go_in_and_come_out_unchanged(state, rng, dtype):
    model = small(dtype=dtype.name)
    if state == "predicted":
        model.predict(np.ones((1, 4)))
    if state == "compiled":
        model.compile("adam", "cross_entropy")
    new = [rng.standard_normal(w.shape).astype(dtype) for w in model.get_weights()]
    model.set_weights(new)
    for a, b in zip(model.get_weights(), new, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == dtype
    model.set_parameters({"dense_1/bias": [1, 2, 3]})
    np.testing.assert_array_equal(model.parameters["dense_1/bias"], [1, 2, 3])
    np.testing.assert_array_equal(model.get_weights()[0], new[0])


def test_parameters_are_copies():
    model = small()
    for _ in range(2):
        before = model.get_weights()
        for w in (*model.get_weights(), *model.parameters.values()):
            w.fill(99)
        given = [w + 1 for w in before]
        model.set_weights(given)
        given[0].fill(99)
        np.testing.assert_array_equal(model.get_weights()[0], before[0] + 1)
        model.compile("sgd", "cross_entropy")


def test_compiling_again_keeps_weights_and_forgets_the_optimizer(rng):
    x, y = data(rng)
    model = small()
    model.compile("adam", "cross_entropy")
    model.fit(x, y, verbose=0)
    before = model.get_weights()
    assert model.iterations == 1
    model.compile("sgd", "cross_entropy")
    assert model.iterations == 0
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_predict_needs_no_compile_and_agrees_afterwards(rng):
    x, _ = data(rng)
    model = small()
    before = model.predict(x)
    model.compile("adam", "cross_entropy")
    np.testing.assert_array_equal(model.predict(x), before)
    np.testing.assert_allclose(before.sum(axis=1), 1, rtol=1e-6)


def test_one_row_and_many_rows_predict_the_same(rng):
    x, _ = data(rng, 70)
    model = small()
    whole = model.predict(x)
    for i in (0, 33, 69):
        np.testing.assert_array_equal(model.predict(x[i:i + 1])[0], whole[i])
    np.testing.assert_array_equal(model.predict(x, batch_size=7), whole)


def test_a_nan_row_spoils_no_other_row(rng):
    x, _ = data(rng)
    model = small()
    clean = model.predict(x)
    x[3, 1] = np.nan
    spoiled = model.predict(x)
    assert np.isnan(spoiled[3]).any()
    np.testing.assert_array_equal(np.delete(spoiled, 3, 0), np.delete(clean, 3, 0))


# --- frozen layers ---------------------------------------------------------------------------------------------------

def test_frozen_layers_stay(rng):
    x, y = data(rng)
    model = nf.Sequential([nf.Dense(5, activation="tanh", trainable=False), nf.Dense(3, activation="softmax")], (4,))
    model.compile("adam", "cross_entropy")
    before = model.parameters
    model.fit(x, y, verbose=0)
    _, grads = model.gradients(x, y)
    assert list(grads) == ["dense_1/kernel", "dense_1/bias"]
    after = model.parameters
    np.testing.assert_array_equal(after["dense/kernel"], before["dense/kernel"])
    assert (after["dense_1/kernel"] != before["dense_1/kernel"]).any()


def test_freezing_takes_effect_at_once_and_keeps_the_optimizer(rng):
    x, y = data(rng)
    model = small()
    model.compile(nf.Adam(0.01), "cross_entropy")
    model.fit(x, y, epochs=2, verbose=0)
    moments = model.optimizer_state()
    model.layers[0].trainable = False
    before = model.parameters
    np.testing.assert_array_equal(model.optimizer_state()["dense_1/kernel/m"], moments["dense_1/kernel/m"])
    model.fit(x, y, verbose=0)
    assert model.iterations == 3
    np.testing.assert_array_equal(model.parameters["dense/kernel"], before["dense/kernel"])
    assert (model.parameters["dense_1/kernel"] != before["dense_1/kernel"]).any()
    model.layers[0].trainable = True
    model.fit(x, y, verbose=0)
    assert (model.parameters["dense/kernel"] != before["dense/kernel"]).any()


def test_a_dropped_model_is_freed_at_once(rng):
    x, y = data(rng)
    gc.disable()
    try:
        for layers in (lambda: [nf.Dense(3, activation="softmax")],
                       lambda: [nf.Lambda(lambda x: x, lambda dy, x, y: dy), nf.Dense(3, activation="softmax")]):
            model = nf.Sequential(layers())
            model.compile("adam", "cross_entropy", metrics=["accuracy"])
            model.fit(x, y, epochs=2, validation_split=0.2, callbacks=nf.EarlyStopping("val_loss"), verbose=0)
            model.predict(x)
            gone = weakref.ref(model), weakref.ref(model.layers[0])
            del model
            assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


# --- copies ----------------------------------------------------------------------------------------------------------

COPIES = {
    "clone": lambda model: model.clone(),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("graph", [False, True], ids=["sequential", "graph"])
def test_a_copy_is_independent_and_trains_on_with_the_same_bits(way, graph, rng):
    x, y = data(rng)
    if graph:
        a = nf.Input((4,))
        h = nf.Dense(4, activation="relu")(a)
        model = nf.Model(a, nf.Dense(3, activation="softmax", name="out")(nf.Add()([a, h])), seed=2)
    else:
        layers = [nf.Dense(6, activation="relu"), nf.Dropout(0.3), nf.Dense(3, activation="softmax")]
        model = nf.Sequential(layers, seed=2)
    model.compile(nf.Adam(0.01), "cross_entropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    other = COPIES[way](model)
    assert type(other) is type(model)
    before = model.get_weights()
    first = other.fit(x, y, batch_size=8, epochs=2, verbose=0)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    second = model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    assert first.history == second.history
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [layer.name for layer in model.layers] == [layer.name for layer in other.layers]
    assert other.layers[0].model is other


def test_numbers_beyond_the_precision_of_a_copy():
    model = nf.Sequential([nf.Dense(1)], input_shape=(2,), dtype="float64")
    model.compile("adam", "squared_error")
    model.train_on_batch([[1.0, 1.0]], [[1.0]])
    model.set_parameters({"dense/kernel": [[1.0], [1e300]]})
    with pytest.raises(ValueError, match="clone: dense/kernel: 1e\\+300 at row 1.*does not fit into float32"):
        model.clone(dtype="float32")
    model.set_parameters({"dense/kernel": [[1.0], [1.0]]})
    model.set_optimizer_state(model.optimizer_state() | {"dense/bias/v": [1e300]}, 1)
    with pytest.raises(ValueError, match="clone: optimizer state dense/bias/v: 1e\\+300 .*does not fit into float32"):
        model.clone(dtype="float32")
    assert model.clone(dtype="float32", seed=1).dtype == "float32"


def test_an_unbuilt_model_can_be_copied(rng):
    x, y = data(rng)
    model = small(input_shape=None)
    model.compile("adam", "cross_entropy")
    for way in COPIES.values():
        other = way(model)
        other.fit(x, y, verbose=0)
        assert other.built
        assert not model.built


# --- configurations --------------------------------------------------------------------------------------------------

def every_layer():
    a, b = nf.Input((2, 3), name="a"), nf.Input((6,), name="b")
    h = nf.Dense(4, activation=nf.Activation("elu", alpha=0.5), kernel_initializer=nf.initializers.Constant(0.1),
                 kernel_regularizer=nf.L1L2(0.1, 0.2), trainable=False)(nf.Flatten()(a))
    g = nf.Dense(4, use_bias=False, kernel_initializer="he_normal", name="g")(nf.Dropout(0.25)(b))
    s = nf.Add()([h, nf.Activation("leaky_relu", alpha=0.2)(g)])
    c = nf.Concatenate(axis=0)([nf.Reshape((2, -1))(s), nf.Reshape((2, 2))(g)])
    return nf.Model([a, b], [nf.Dense(2, name="left")(nf.Flatten()(c)), nf.Dense(1, name="right")(s)], seed=5,
                    dtype="float64", name="all")


@pytest.mark.parametrize("make", [small, lambda: small(input_shape=None), every_layer])
def test_a_configuration_is_json_and_makes_the_same_model(make):
    model = make()
    config = json.loads(json.dumps(model.get_config()))
    other = nf.Model.from_config(config)
    assert type(other) is type(model)
    assert other.get_config() == model.get_config()
    assert other.name == model.name
    assert other.built == model.built
    if model.built:
        assert list(other.parameters) == list(model.parameters)
        for a, b in zip(other.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_changed_configuration_is_refused():
    def changed(**changes):
        return {**every_layer().get_config(), **changes}

    layers = every_layer().get_config()["layers"]
    bad = [
        None, {}, {"class": "Sequential"}, changed(extra=1), changed(**{"class": "Net"}), changed(layers={}),
        changed(layers=[{"class": "Conv9D", "config": {}}]), changed(outputs=[999]), changed(outputs=[0]),
        changed(outputs=["1"]), changed(nodes=[{"layer": 0, "inputs": [50]}]),
        changed(nodes=[{"layer": 99, "inputs": [0]}]),
        changed(inputs=[{"name": "a", "shape": [2, -3]}]), changed(dtype="int8"), changed(seed="x"), changed(seed=-1),
        changed(layers=[{"class": "Dense", "config": {"units": 2, "colour": 1}}, *layers[1:]]),
        changed(layers=[{"class": "Dense", "config": {}}, *layers[1:]]),
    ]
    for config in bad:
        with pytest.raises((ValueError, TypeError)):
            nf.Model.from_config(config)


def test_compile_settings_come_back():
    model = small()
    assert model.get_compile_config() is None
    model.compile(nf.SGD(nf.schedules.Cosine(0.1, 100), momentum=0.9, clip_norm=1.0), nf.CrossEntropy(),
                  metrics=["accuracy", nf.TopKAccuracy(2)], regularizer=nf.L2(0.01), n_threads=1)
    config = json.loads(json.dumps(model.get_compile_config()))
    other = small()
    other.compile(**config)
    assert other.get_compile_config() == model.get_compile_config()
    model.compile("adam")
    assert model.get_compile_config()["loss"] is None


def test_functions_cannot_be_written_down():
    model = nf.Sequential([nf.Lambda(lambda x: x, lambda dy, x, y: dy)], input_shape=(2,))
    with pytest.raises(ValueError, match="lambda: a Lambda layer holds Python functions"):
        model.get_config()
    model.compile("sgd", lambda t, y: (((y - t) ** 2).sum(1), 2 * (y - t)))
    with pytest.raises(ValueError, match="function"):
        model.get_compile_config()


@pytest.mark.parametrize("dtype", [None, "float16", np.int32, "f4"])
def test_a_dtype_that_is_none_of_ours(dtype):
    with pytest.raises(ValueError, match="Sequential: dtype must be 'float32' or 'float64', got"):
        nf.Sequential([nf.Dense(2)], input_shape=(3,), dtype=dtype)


def test_the_optimizer_state_goes_out_and_in(rng):
    x, y = data(rng)
    one, two = small(), small()
    for model in (one, two):
        model.compile("adam", "cross_entropy")
    one.fit(x, y, batch_size=8, epochs=2, verbose=0)
    state = one.optimizer_state()
    assert set(state) == {f"{name}/{slot}" for name in one.parameters for slot in ("m", "v")}
    two.set_weights(one.get_weights())
    two.set_optimizer_state(state, one.iterations)
    two.epochs_trained = one.epochs_trained
    assert two.iterations == 8
    assert one.fit(x, y, verbose=0).history == two.fit(x, y, verbose=0).history
    np.testing.assert_array_equal(one.get_weights()[0], two.get_weights()[0])


def test_a_bad_optimizer_state_changes_nothing(rng):
    x, y = data(rng)
    model = small()
    model.compile("adam", "cross_entropy")
    model.fit(x, y, verbose=0)
    before, steps = model.optimizer_state(), model.iterations
    shape = before["dense/kernel/m"].shape
    for bad in ({}, before | {"x": 1}, before | {"dense/kernel/m": np.zeros(3)},
                before | {"dense/kernel/m": np.full(shape, np.nan)}):
        with pytest.raises(ValueError, match="state"):
            model.set_optimizer_state(bad, 5)
    other = {name: value + 1 for name, value in before.items()}
    for count in (-1, 2**62, 2**63):
        with pytest.raises(ValueError, match="iterations"):
            model.set_optimizer_state(other, count)
    assert model.iterations == steps
    for name, value in model.optimizer_state().items():
        np.testing.assert_array_equal(value, before[name])


def test_any_mapping_will_do(rng):
    x, y = data(rng)
    one, two = small(), small()
    for model, kind in ((one, dict), (two, MappingProxyType)):
        model.compile("adam", "cross_entropy")
        model.set_parameters(kind({name: value + 1 for name, value in model.parameters.items()}))
        model.apply_gradients(kind(model.gradients(x, y)[1]))
        model.set_optimizer_state(kind({name: value + 1 for name, value in model.optimizer_state().items()}), 3)
        model.train_on_batch(x, y)
        names = [str(i) for i in range(model.output_shape[0])]
        model.class_names = kind({model.output_names[0]: names})
        assert model.class_names == {model.output_names[0]: names}
        with pytest.raises(TypeError, match="a dict goes to set_parameters"):
            model.set_weights(kind(model.parameters))
    for a, b in zip(one.get_weights(), two.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_data_and_settings_in_any_mapping(rng, tmp_path):
    x, y = data(rng)
    one, two = small(), small()
    np.savez(tmp_path / "x.npz", input=x)
    for model, kind in ((one, dict), (two, MappingProxyType)):
        output = model.output_names[0]
        model.compile("adam", kind({output: "cross_entropy"}), metrics=kind({output: ["accuracy"]}),
                      loss_weights=kind({output: 0.5}))
        model.fit(kind({"input": x}), kind({output: y}), class_weight=kind({0: 2.0}), verbose=0)
        np.testing.assert_array_equal(model.predict(kind({"input": x})), model.predict(x))
    with np.load(tmp_path / "x.npz") as arrays:
        np.testing.assert_array_equal(two.predict(arrays), one.predict(x))


@pytest.mark.parametrize("optimizer, slot", [
    ("adam", "v"), ("adamw", "v"), ("rmsprop", "square_average"), ("adagrad", "sum"),
])
def test_sums_of_squares_are_not_negative(optimizer, slot, rng):
    model = small()
    model.compile(optimizer, "cross_entropy")
    model.fit(*data(rng), verbose=0)
    before = model.optimizer_state()
    name = f"dense/kernel/{slot}"
    with pytest.raises(ValueError, match=f"{slot}: dense/kernel must not be below 0, got -1.0"):
        model.set_optimizer_state(before | {name: np.full_like(before[name], -1)}, 5)
    np.testing.assert_array_equal(model.optimizer_state()[name], before[name])


def test_plain_sgd_has_no_state():
    model = small()
    model.compile("sgd", "cross_entropy")
    assert model.optimizer_state() == {}
    model.set_optimizer_state({}, 3)
    assert model.iterations == 3


def test_settings_of_layers_are_fixed():
    model = nf.Sequential([nf.Dense(3)], input_shape=(2,))
    with pytest.raises(AttributeError, match="dense: units is fixed; make a new Dense"):
        model.layers[0].units = 4
    model.layers[0].trainable = False
    with pytest.raises(AttributeError, match="activation: activation is fixed; make a new Activation"):
        model.layers[0].activation.activation = "tanh"
    layer = nf.Conv2D(2, 3)
    value = layer(nf.Input((8, 8, 2)))
    with pytest.raises(AttributeError, match="conv2d: padding is fixed; make a new Conv2D"):
        layer.padding = "same"
    assert nf.Model(value.inputs[0], value).predict(np.ones((3, 8, 8, 2))).shape == (3, 6, 6, 2)


def test_a_layer_of_ones_own_sets_what_it_likes_before_it_is_used():
    class Wide(nf.Dense):
        def __init__(self, units):
            super().__init__(units)
            self.units = 2 * units

    layer = Wide(3)
    assert layer(nf.Input((2,))).shape == (6,)
    with pytest.raises(AttributeError, match="units is fixed"):
        layer.units = 4


def test_the_rate_of_dropout_may_be_set():
    """Also while training, whose optimizer goes on."""
    drop = nf.Dropout(0.5)
    model = nf.Sequential([nf.Dense(1, use_bias=False, kernel_initializer="ones"), drop], input_shape=(1,))
    model.compile(nf.SGD(1e-9, momentum=0.9), "squared_error")
    losses = [model.train_on_batch(np.ones((400, 1)), np.zeros((400, 1)))["loss"]]
    drop.rate = 0.0
    losses.append(model.train_on_batch(np.ones((400, 1)), np.zeros((400, 1)))["loss"])
    assert losses[0] > 1.5 and losses[1] == pytest.approx(1.0) and model.iterations == 2
    with pytest.raises(ValueError, match="dropout: rate must be"):
        drop.rate = 1.5
