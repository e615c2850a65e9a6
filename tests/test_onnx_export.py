"""Exported ONNX files: onnx's checker, onnxruntime, onnx's reference evaluator and the way back agree with predict."""
import json
import os

import networks
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

import nnfast as nf
from nnfast.activations import ACTIVATIONS
from nnfast.layout import channel_axis

FORMATS = ["channels_last", "channels_first"]


def close(got, expected, dtype="float32"):
    assert got.shape == expected.shape
    # ONNX holds alpha and epsilon, and its Gelu the constants, in single precision. A normalization of two numbers that
    # are nearly equal divides what has been rounded by their small difference.
    tolerance = 5e-5 if dtype == "float32" else 1e-7
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * max(1, abs(expected).max()))


def equal(model, path, rng, data_format=None, back=True, runtime=True):
    """Exports and compares three ways; the file's graph."""
    nf.onnx.export(model, path, data_format=data_format)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    for value in (*proto.graph.input, *proto.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "N"
    names = [value.name for value in proto.graph.input]
    assert names == model.input_names and [value.name for value in proto.graph.output] == model.output_names
    own, theirs = model.data_format, data_format or model.data_format
    for batch in (1, 3):
        xs = [rng.standard_normal((batch, *shape)).astype(model.dtype) for shape in model.input_shapes]
        expected = model.predict(xs if len(xs) > 1 else xs[0])
        expected = expected if isinstance(expected, list) else [expected]
        expected = [np.moveaxis(y, channel_axis(own), channel_axis(theirs)) for y in expected]
        feed = {name: np.ascontiguousarray(np.moveaxis(x, channel_axis(own), channel_axis(theirs)))
                for name, x in zip(names, xs, strict=True)}
        if not misread(proto):
            for y, got in zip(expected, ReferenceEvaluator(proto).run(None, feed), strict=True):
                close(got, y, model.dtype)
        if runtime:
            session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
            for y, got in zip(expected, session.run(None, feed), strict=True):
                close(got, y, model.dtype)
        if back:
            again = nf.onnx.load(path)
            got = again.predict(list(feed.values()) if len(xs) > 1 else feed[names[0]])
            for y, other in zip(expected, got if isinstance(got, list) else [got], strict=True):
                close(other, y, model.dtype)
            assert count(again) == count(model) + sum(
                (not layer.center) * size + (not layer.scale) * size for layer, size in normalized(model))
    return proto.graph


def misread(proto):
    """Whether onnx's reference evaluator takes the pads of a graph for others: it reads those of a MaxPool with strides
    of 1 as (top, bottom, left, right), where the standard has (top, left, bottom, right)."""
    for node in proto.graph.node:
        attributes = {attribute.name: list(attribute.ints) for attribute in node.attribute}
        if node.op_type == "MaxPool" and set(attributes["strides"]) == {1} and len(attributes["pads"]) == 4:
            if attributes["pads"][1] != attributes["pads"][2]:
                return True
    return False


def count(model):
    """Parameters but for the gammas of layer and both of group normalizations, which may come back if they were left
    out, too."""
    own = {nf.LayerNorm: ("gamma",), nf.GroupNorm: ("gamma", "beta")}
    left_out = {f"{layer.name}/{name}" for layer in model.layers for name in own.get(type(layer), ())}
    return sum(w.size for name, w in model.parameters.items() if name not in left_out)


def normalized(model):
    """Batch normalizations and their channels: without beta or gamma they come back with both."""
    return [(layer, model.parameters[f"{layer.name}/running_mean"].size) for layer in model.layers
            if isinstance(layer, nf.BatchNorm)]


def operators(graph):
    return [node.op_type for node in graph.node]


@pytest.mark.parametrize("make", [networks.mlp, networks.graph], ids=["mlp", "graph"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dense_networks(make, dtype, tmp_path, rng):
    # onnxruntime has no Elu and Gelu for doubles.
    equal(make(dtype=dtype), tmp_path / "a.onnx", rng, runtime=dtype == "float32" or make is networks.mlp)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("own", FORMATS)
@pytest.mark.parametrize("kind", networks.IMAGES)
def test_images(kind, own, data_format, tmp_path, rng):
    model = networks.statistics(networks.image_net(kind, own), rng)
    equal(model, tmp_path / "a.onnx", rng, data_format)


@pytest.mark.parametrize("kind", networks.IMAGES)
def test_images_in_double_precision(kind, tmp_path, rng):
    equal(networks.statistics(networks.image_net(kind, dtype="float64"), rng), tmp_path / "a.onnx", rng, runtime=False)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("own", FORMATS)
def test_residual_network(own, data_format, tmp_path, rng):
    equal(networks.statistics(networks.residual(data_format=own), rng), tmp_path / "a.onnx", rng, data_format)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("own", FORMATS)
def test_products(own, data_format, tmp_path, rng):
    equal(networks.statistics(networks.gated(data_format=own), rng), tmp_path / "a.onnx", rng, data_format)


@pytest.mark.parametrize("name", networks.READY)
def test_ready_networks(name, tmp_path, rng):
    equal(networks.statistics(networks.READY[name](), rng), tmp_path / "a.onnx", rng)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(6,), (5, 4), (4, 3, 2)])
def test_every_activation(activation, shape, tmp_path, rng):
    alpha = 0.3 if ACTIVATIONS[activation].alpha is not None else None
    layers = [nf.Rescale(20.0), nf.Activation(activation, alpha), nf.Dense(3, activation=activation)]
    equal(nf.Sequential(layers, input_shape=shape), tmp_path / "a.onnx", rng, back=False)
    alone = nf.Sequential([nf.Activation(activation, alpha)], input_shape=shape)
    equal(alone, tmp_path / "a.onnx", rng, "channels_first" if len(shape) > 1 else None, back=False)


@settings(max_examples=150, deadline=None,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(model=networks.networks(), data_format=st.sampled_from(FORMATS))
def test_random_networks(model, data_format, tmp_path):
    equal(model, tmp_path / "a.onnx", np.random.default_rng(0), data_format)


def test_what_is_no_weight_comes_back_as_none(tmp_path, rng):
    model = nf.Sequential([nf.Conv2D(1, 1, use_bias=False), nf.Rescale(2.0, offset=3.0), nf.Flatten(),
                           nf.Dense(1, use_bias=False), nf.Rescale(0.5, offset=1.0)], input_shape=(2, 2, 2))
    equal(model, tmp_path / "a.onnx", rng)


@pytest.mark.parametrize("data_format", FORMATS)
def test_an_output_that_is_a_reshape(data_format, tmp_path, rng):
    x = nf.Input((5, 4, 3))
    flat = nf.Flatten()(nf.Conv2D(2, 3, activation="tanh")(x))
    for outputs in (flat, [flat, nf.Dense(3)(flat)], [nf.Reshape((2, 6))(flat), nf.Reshape((4, 3))(flat)]):
        equal(nf.Model(x, outputs).clone(), tmp_path / "a.onnx", rng, data_format)


@pytest.mark.parametrize("data_format", FORMATS)
def test_softmax_alone_says_where_the_channels_are(data_format, tmp_path, rng):
    model = nf.Sequential([nf.Activation("softmax")], input_shape=(4, 3, 2))
    equal(model, tmp_path / "a.onnx", rng, data_format)


def test_as_few_transposes_as_can_be(tmp_path, rng):
    model = nf.Sequential([nf.Conv2D(4, 3, activation="relu"), nf.MaxPool2D(2), nf.BatchNorm(), nf.GlobalAvgPool(),
                           nf.Dense(3)], input_shape=(8, 8, 2))
    assert operators(equal(model, tmp_path / "a.onnx", rng, "channels_first")).count("Transpose") == 0
    assert operators(equal(model, tmp_path / "a.onnx", rng, "channels_last")).count("Transpose") == 1


def test_dtype(tmp_path, rng):
    model = networks.statistics(networks.image_net("norm", dtype="float64"), rng)
    nf.onnx.export(model, tmp_path / "a.onnx", dtype="float32")
    session = onnxruntime.InferenceSession(os.fspath(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    x = rng.standard_normal((2, *model.input_shape)).astype(np.float32)
    got = session.run(None, {"input": x})[0]
    assert got.dtype == np.float32
    close(got, model.predict(x))


def test_names_and_class_names(tmp_path):
    x = nf.Input((3,), name="state")
    model = nf.Model(x, nf.Dense(2, name="state", activation="softmax")(nf.Dense(2, name="hidden")(x)), name="policy")
    model.class_names = ["left", "\u00e9"]
    nf.onnx.export(model, tmp_path / "a.onnx")
    proto = onnx.load(tmp_path / "a.onnx")
    assert proto.graph.name == "policy" and proto.producer_name == "nnfast" and proto.producer_version == nf.__version__
    assert {tensor.name for tensor in proto.graph.initializer} >= {"hidden/kernel", "hidden/bias"}
    assert proto.graph.output[0].name == "state_1"
    assert json.loads(proto.metadata_props[0].value) == ["left", "\u00e9"]


def test_training_a_model_that_came_back(tmp_path, rng):
    """Weights are parameters again: training it is training the original."""
    x, y = rng.standard_normal((64, 8, 8, 2)), rng.integers(0, 3, 64)
    model = nf.Sequential([nf.Conv2D(4, 3, activation="relu"), nf.BatchNorm(momentum=0.3), nf.BatchNorm(momentum=0.1),
                           nf.Flatten(), nf.Dense(3)], input_shape=(8, 8, 2))
    nf.onnx.export(model, tmp_path / "a.onnx")
    again = nf.onnx.load(tmp_path / "a.onnx")
    assert [layer.momentum for layer in again.layers if isinstance(layer, nf.BatchNorm)] == [0.3, 0.1]
    losses = []
    for one in (model, again):
        one.compile(nf.SGD(0.05, momentum=0.9), nf.CrossEntropy(from_logits=True))
        losses.append(one.fit(x, y, batch_size=16, epochs=3, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    np.testing.assert_allclose(again.predict(x), model.predict(x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("make, arguments, error, text", [
    (lambda: nf.Sequential([nf.Dense(2)]), {}, ValueError, "not built"),
    (lambda: nf.Sequential([nf.Lambda(abs, abs, name="mine")], input_shape=(2,)), {}, ValueError,
     "onnx.export: mine: a Lambda layer holds Python functions"),
    (networks.mlp, {"data_format": "NCHW"}, ValueError, "unknown export data_format 'NCHW'"),
    (networks.mlp, {"dtype": "float16"}, ValueError, "unknown export dtype 'float16'"),
    (lambda: "a.onnx", {}, TypeError, "onnx.export: expected an nnfast model, got str"),
])
def test_refuses(make, arguments, error, text, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"precious")
    with pytest.raises(error, match=text):
        nf.onnx.export(make(), tmp_path / "a.onnx", **arguments)
    assert (tmp_path / "a.onnx").read_bytes() == b"precious" and len(os.listdir(tmp_path)) == 1


def test_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match="No such folder: '.*missing'"):
        nf.onnx.export(networks.mlp(), tmp_path / "missing" / "a.onnx")
    with pytest.raises(IsADirectoryError):
        nf.onnx.export(networks.mlp(), tmp_path)
