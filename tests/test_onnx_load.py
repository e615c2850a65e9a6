"""ONNX files from elsewhere: the standard's own test cases, real networks, further training, and what is refused."""
import contextlib
import functools
import io
import os
import random
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import nnfast as nf

ORACLES = Path(__file__).parent / "oracles"
DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"

# The cases of the standard for the operators here. What is left out has no batch (one axis), joins or moves samples,
# works on three axes of space, on integers or in half precision, or in training mode.
CASES = """
add add_bcast averagepool_1d_default averagepool_2d_ceil averagepool_2d_ceil_last_window_starts_on_pad
averagepool_2d_default averagepool_2d_pads averagepool_2d_pads_count_include_pad averagepool_2d_precomputed_pads
averagepool_2d_precomputed_pads_count_include_pad averagepool_2d_precomputed_same_upper
averagepool_2d_precomputed_strides averagepool_2d_same_lower averagepool_2d_same_upper averagepool_2d_strides
basic_conv_with_padding basic_conv_without_padding batchnorm_epsilon batchnorm_example clip_default_min concat_2d_axis_1
concat_2d_axis_negative_1 concat_3d_axis_1 concat_3d_axis_2 concat_3d_axis_negative_1 concat_3d_axis_negative_2
conv_with_autopad_same conv_with_strides_and_asymmetric_padding conv_with_strides_no_padding conv_with_strides_padding
convtranspose convtranspose_1d convtranspose_autopad_same convtranspose_dilations convtranspose_kernel_shape
convtranspose_output_shape convtranspose_pad convtranspose_pads div_bcast dropout_default dropout_default_ratio
dropout_random_old elu elu_default flatten_axis1 flatten_default_axis flatten_negative_axis3 gelu_default_2 gemm_alpha
gemm_beta gemm_default_no_bias gemm_default_scalar_bias gemm_default_single_elem_vector_bias gemm_default_vector_bias
gemm_default_zero_bias gemm_transposeB globalaveragepool globalaveragepool_precomputed globalmaxpool
globalmaxpool_precomputed group_normalization_epsilon group_normalization_example hardswish identity
instancenorm_epsilon instancenorm_example leakyrelu leakyrelu_default matmul_2d maxpool_1d_default maxpool_2d_ceil
maxpool_2d_ceil_output_size_reduce_by_one maxpool_2d_default maxpool_2d_pads maxpool_2d_precomputed_pads
maxpool_2d_precomputed_same_upper maxpool_2d_precomputed_strides maxpool_2d_same_lower maxpool_2d_same_upper
maxpool_2d_strides mul mul_bcast reduce_mean_do_not_keepdims_example reduce_mean_do_not_keepdims_random
reduce_mean_keepdims_example reduce_mean_keepdims_random reduce_mean_negative_axes_keepdims_example
reduce_mean_negative_axes_keepdims_random relu reshape_extended_dims reshape_negative_dim reshape_reduced_dims
reshape_reordered_last_dims reshape_zero_and_negative_dim reshape_zero_dim resize_upsample_scales_nearest
selu_default sigmoid
softmax_axis_2 softmax_default_axis softmax_example softmax_large_number softmax_negative_axis softplus
squeeze_negative_axes sub_bcast tanh transpose_all_permutations_0 unsqueeze_axis_1 unsqueeze_axis_2
unsqueeze_negative_axes unsqueeze_three_axes unsqueeze_two_axes unsqueeze_unsorted_axes upsample_nearest
""".split()

# Networks of one layer that PyTorch once exported, stored with the package onnx.
STORED = """
pytorch-converted/test_AvgPool1d pytorch-converted/test_AvgPool1d_stride pytorch-converted/test_AvgPool2d
pytorch-converted/test_AvgPool2d_stride pytorch-converted/test_BatchNorm1d_3d_input_eval
pytorch-converted/test_BatchNorm2d_eval pytorch-converted/test_BatchNorm2d_momentum_eval pytorch-converted/test_Conv1d
pytorch-converted/test_Conv1d_dilated pytorch-converted/test_Conv1d_groups pytorch-converted/test_Conv1d_pad1
pytorch-converted/test_Conv1d_pad1size1 pytorch-converted/test_Conv1d_pad2 pytorch-converted/test_Conv1d_pad2size1
pytorch-converted/test_Conv1d_stride pytorch-converted/test_Conv2d pytorch-converted/test_Conv2d_depthwise
pytorch-converted/test_Conv2d_depthwise_padded pytorch-converted/test_Conv2d_depthwise_strided
pytorch-converted/test_Conv2d_depthwise_with_multiplier pytorch-converted/test_Conv2d_dilated
pytorch-converted/test_Conv2d_groups pytorch-converted/test_Conv2d_groups_thnn pytorch-converted/test_Conv2d_no_bias
pytorch-converted/test_ConvTranspose2d pytorch-converted/test_ConvTranspose2d_no_bias
pytorch-converted/test_Conv2d_padding pytorch-converted/test_Conv2d_strided pytorch-converted/test_ELU
pytorch-converted/test_LeakyReLU pytorch-converted/test_LeakyReLU_with_negval pytorch-converted/test_Linear
pytorch-converted/test_Linear_no_bias pytorch-converted/test_MaxPool1d pytorch-converted/test_MaxPool1d_stride
pytorch-converted/test_MaxPool2d pytorch-converted/test_ReLU pytorch-converted/test_SELU pytorch-converted/test_Sigmoid
pytorch-converted/test_Softmax pytorch-converted/test_Softplus pytorch-converted/test_Tanh
pytorch-converted/test_ZeroPad2d pytorch-converted/test_softmax_functional_dim3 pytorch-converted/test_softmax_lastdim
pytorch-operator/test_operator_add_broadcast pytorch-operator/test_operator_add_size1_right_broadcast
pytorch-operator/test_operator_add_size1_singleton_broadcast pytorch-operator/test_operator_addconstant
pytorch-operator/test_operator_concat2 pytorch-operator/test_operator_conv pytorch-operator/test_operator_flatten
pytorch-operator/test_operator_maxpool pytorch-operator/test_operator_mm simple/test_single_relu_model
""".split()


@functools.cache
def standard_cases():
    from onnx.backend.test.case.node import collect_testcases

    with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
        return {case.name.removeprefix("test_"): case for case in collect_testcases(None)}


def run_case(proto, inputs, outputs, rtol, atol, path):
    """Import a graph whose first input is the data, or all of whose inputs are; the others become constants."""
    graph = onnx.ModelProto.FromString(proto.SerializeToString())
    known = {tensor.name for tensor in graph.graph.initializer}
    names = [value.name for value in graph.graph.input if value.name not in known]
    joining = graph.graph.node[0].op_type == "Concat" or (
        graph.graph.node[0].op_type in ("Add", "Mul") and all(x.shape == inputs[0].shape for x in inputs))
    data = names if joining else names[:1]
    for name, value in zip(names, inputs, strict=True):
        if name not in data:
            graph.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    onnx.save(graph, path)
    model = nf.onnx.load(path)
    got = model.predict(list(inputs) if joining else inputs[0])
    np.testing.assert_allclose(got, outputs[0], rtol=rtol, atol=atol)


@pytest.mark.filterwarnings("ignore")     # of the code that makes all cases, those of other operators included
@pytest.mark.parametrize("name", CASES)
def test_cases_of_the_standard(name, tmp_path):
    case = standard_cases()[name]
    inputs, outputs = case.data_sets[0]
    run_case(case.model, inputs, outputs, case.rtol, max(case.atol, 1e-6), tmp_path / "case.onnx")


def tensor(path):
    return numpy_helper.to_array(TensorProto.FromString(path.read_bytes()))


@pytest.mark.parametrize("name", STORED)
def test_stored_networks_of_one_layer(name, tmp_path):
    folder = DATA / name / "test_data_set_0"
    inputs, outputs = ([tensor(path) for path in sorted(folder.glob(f"{what}_*.pb"))] for what in ("input", "output"))
    run_case(onnx.load(DATA / name / "model.onnx"), inputs, outputs, 1e-3, 1e-6, tmp_path / "case.onnx")


@pytest.mark.parametrize("name", ["squeezenet", "resnet50", "inception_v2", "densenet121", "vgg19"])
def test_light_networks(name):
    """Whole graphs of well-known networks, whose weights are made by the graph."""
    model = nf.onnx.load(DATA / "light" / f"light_{name}.onnx")
    expected = tensor(DATA / "light" / f"light_{name}_output_0.pb")
    assert model.data_format == "channels_first" and model.input_shape == (3, 224, 224)
    got = model.predict(np.ones((1, 3, 224, 224), np.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name, operator", [("bvlc_alexnet", "LRN"), ("inception_v1", "LRN"), ("zfnet512", "LRN"),
                                            ("shufflenet", "Reshape")])
def test_light_networks_that_need_more(name, operator):
    with pytest.raises(nf.onnx.UnsupportedError, match=rf"light_{name}.onnx: node 'n\d+' \({operator}\): "):
        nf.onnx.load(DATA / "light" / f"light_{name}.onnx")


# --- further training ------------------------------------------------------------------------------------------------

def test_training_goes_on_as_in_pytorch():
    """20 steps with batch normalization in training mode: the losses and the logits after them."""
    model = nf.onnx.load(ORACLES / "training.onnx")
    with np.load(ORACLES / "training.npz") as stored:
        x, labels = stored["x"] / np.float32(16), stored["labels"]
        np.testing.assert_allclose(model.predict(x[:8]), stored["before"], rtol=0, atol=1e-5)
        model.compile(nf.SGD(0.05, momentum=0.9), nf.CrossEntropy(from_logits=True))
        losses = [model.train_on_batch(x[i:i + 16], labels[i:i + 16])["loss"] for i in range(0, len(x), 16)]
        np.testing.assert_allclose(losses, stored["losses"], rtol=2e-5)
        np.testing.assert_allclose(model.predict(x[:8]), stored["after"], rtol=0, atol=5e-4)
    assert [layer.name for layer in model.layers][:3] == ["stem.Conv", "norm.BatchNormalization", "Relu"]
    assert model.data_format == "channels_first" and model.input_names == ["x"]


# --- graphs written by hand ------------------------------------------------------------------------------------------

def graph(nodes, inputs, outputs, constants=None, opset=17):
    """An ONNX model; the shapes of its outputs are inferred."""
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    made = helper.make_graph(nodes, "by_hand", infos, results, tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for value in model.graph.output:
        if not value.type.tensor_type.HasField("shape"):
            value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, ["N", 4]))
    return model


def check(proto, path, rng, batch=3, atol=1e-5):
    """What the model computes is what onnx's reference evaluator computes; the model."""
    from onnx.reference import ReferenceEvaluator

    onnx.save(proto, path)
    model = nf.onnx.load(path)
    xs = [rng.standard_normal((batch, *shape)).astype(np.float32) for shape in model.input_shapes]
    expected = ReferenceEvaluator(proto).run(None, dict(zip([value.name for value in proto.graph.input], xs)))
    got = model.predict(xs if len(xs) > 1 else xs[0])
    for mine, theirs in zip(got if isinstance(got, list) else [got], expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=atol * max(1, abs(theirs).max()))
    return model


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs.split(), [output], name=f"{output}_node", **attributes)


def draw(rng, **shapes):
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def test_channels_last_at_the_edges(tmp_path, rng):
    """An image that comes and goes channels last, as TensorFlow's are converted."""
    nodes = [node("Transpose", "x", "a", perm=[0, 3, 1, 2]), node("Conv", "a w", "b", pads=[1, 1, 1, 1]),
             node("Relu", "b", "c"), node("Transpose", "c", "y", perm=[0, 2, 3, 1])]
    model = check(graph(nodes, {"x": ["N", 6, 5, 3]}, ["y"], draw(rng, w=(4, 3, 3, 3))), tmp_path / "a.onnx", rng)
    assert model.data_format == "channels_last" and len(model.layers) == 2


def test_features_of_an_image_in_all_ways(tmp_path, rng):
    """Flattened channels first: products, normalizations, sums and concatenations see them in that order."""
    nodes = [node("Conv", "x w", "c"), node("Flatten", "c", "f"), node("Reshape", "c s", "g"),
             node("BatchNormalization", "f gamma beta mean var", "n"), node("Mul", "g scale", "m"),
             node("Add", "m shift", "p"),
             node("Add", "n p", "a"), node("Concat", "a f u", "k", axis=1), node("Gemm", "k b", "y", transB=1),
             node("MatMul", "a d", "z"), node("Add", "z e", "o")]
    size = 4 * 4 * 3
    constants = draw(rng, w=(4, 3, 3, 3), gamma=size, beta=size, mean=size, scale=size, shift=(1, size),
                     b=(7, 2 * size + 5), d=(size, 6), e=6)
    constants |= {"var": rng.uniform(0.5, 2, size).astype(np.float32), "s": np.array([-1, size])}
    made = graph(nodes, {"x": ["N", 3, 6, 5], "u": ["N", 5]}, ["y", "o"], constants)
    check(made, tmp_path / "a.onnx", rng)


FEATURES_AS_CHANNELS = {
    "convolution": [node("Conv", "i w3 b4", "j"), node("Flatten", "j", "g")],
    "transposed convolution": [node("ConvTranspose", "i v3", "j"), node("Flatten", "j", "g")],
    "pooling": [node("GlobalAveragePool", "i", "j"), node("Flatten", "j", "g")],
    "mean": [node("ReduceMean", "i", "g", axes=[2, 3], keepdims=0)],
    "flattening": [node("Relu", "i", "j"), node("Flatten", "j", "g")],
    "larger images": [node("Upsample", "i scales", "j"), node("Flatten", "j", "g")],
}


@pytest.mark.parametrize("name", FEATURES_AS_CHANNELS)
def test_features_of_an_image_as_channels(name, tmp_path, rng):
    """(N, C, H, W) to (N, C H W) to (N, C H W, 1, 1), as before fully connected layers written as convolutions."""
    nodes = [node("Conv", "x w", "c"), node("Flatten", "c", "f"), node("Reshape", "f s", "i"),
             *FEATURES_AS_CHANNELS[name], node("MatMul", "g d", "y")]
    width = {"convolution": 4, "transposed convolution": 20, "larger images": 18 * 4}.get(name, 18)
    constants = draw(rng, w=(3, 2, 1, 1), w3=(4, 18, 1, 1), b4=4, v3=(18, 5, 2, 2), d=(width, 4))
    constants |= {"s": np.array([0, 18, 1, 1]), "scales": np.float32([1, 1, 2, 2])}
    check(graph(nodes, {"x": ["N", 2, 2, 3]}, ["y"], constants, opset=9), tmp_path / "a.onnx", rng)


# Group normalization as files before opset 18 have it.
IN_GROUPS = [node("Reshape", "c groups", "a"), node("InstanceNormalization", "a ones zeros", "b"),
             node("Reshape", "b back", "y")]
FOR_GROUPS = {"groups": np.array([0, 2, -1]), "back": np.array([0, 4, 3, 2]), "ones": np.ones(2, np.float32),
              "zeros": np.zeros(2, np.float32)}


@pytest.mark.parametrize("change, same", [
    ({}, True), ({"groups": [3, 2, -1]}, True), ({"back": [0, 4, 6]}, True), ({"back": [0, 0, -1]}, False),
    ({"groups": [1, 2, -1], "back": [-1, 4, 3, 2]}, False), ({"ones": np.float32([1, 2])}, False),
    ({"zeros": np.float32([0, 1])}, False),
])
def test_group_normalization_in_three_nodes(change, same, tmp_path, rng):
    constants = draw(rng, w=(4, 2, 1, 1)) | FOR_GROUPS | {name: np.array(value) for name, value in change.items()}
    made = graph([node("Conv", "x w", "c"), *IN_GROUPS], {"x": [3, 2, 3, 2]}, ["y"], constants)
    with contextlib.nullcontext() if same else pytest.raises(nf.onnx.UnsupportedError, match="a_node"):
        assert nf.GroupNorm in [type(layer) for layer in check(made, tmp_path / "a.onnx", rng).layers]


def test_features_of_an_image_as_normalized_channels(tmp_path, rng):
    nodes = [node("Conv", "x w", "d"), node("Flatten", "d", "f"), node("Reshape", "f s", "c"),
             node("InstanceNormalization", "c gamma beta", "y", epsilon=1.0), node("Conv", "y v", "z")]
    constants = draw(rng, w=(3, 2, 1, 1), v=(4, 18, 1, 1), gamma=18, beta=18) | {"s": np.array([0, 18, 1, 1])}
    check(graph(nodes, {"x": ["N", 2, 2, 3]}, ["z"], constants), tmp_path / "a.onnx", rng)


@pytest.mark.parametrize("nodes", [[node("Conv", "c v", "y", group=2)], IN_GROUPS])
def test_features_of_an_image_as_channels_in_groups(nodes, tmp_path, rng):
    nodes = [node("Conv", "x w", "d"), node("Flatten", "d", "f"), node("Reshape", "f s", "c"), *nodes]
    constants = draw(rng, w=(3, 2, 1, 1), v=(4, 9, 1, 1)) | FOR_GROUPS | {"s": np.array([0, 18, 1, 1])}
    onnx.save(graph(nodes, {"x": ["N", 2, 2, 3]}, ["y"], constants | {"back": constants["s"]}), tmp_path / "a.onnx")
    with pytest.raises(nf.onnx.UnsupportedError, match="groups.* of .*that were flattened channels first"):
        nf.onnx.load(tmp_path / "a.onnx")


@pytest.mark.parametrize("size", [4, 5])
def test_a_product_between_transposes(size, tmp_path, rng):
    """The axes of its output lie as those of its input."""
    nodes = [node("Transpose", "x", "t", perm=[0, 2, 1, 3]), node("MatMul", "t w", "p"), node("Flatten", "p", "f"),
             node("MatMul", "f v", "y")]
    made = graph(nodes, {"x": ["N", 4, size, 3]}, ["y"], draw(rng, w=(3, 2), v=(8 * size, 3)))
    check(made, tmp_path / "a.onnx", rng)


def test_an_mlp_over_an_image_is_left_in_its_order(tmp_path, rng):
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f w b", "y", alpha=0.5, beta=2.0)]
    model = check(graph(nodes, {"x": ["N", 2, 3, 4]}, ["y"], draw(rng, w=(24, 5), b=5)), tmp_path / "a.onnx", rng)
    assert model.data_format == "channels_last" and model.input_shape == (2, 3, 4)


@pytest.mark.parametrize("op, shape", [("Mul", (4, 1, 1)), ("Add", (1, 4, 1, 1)), ("Sub", (4, 1, 1)),
                                       ("Div", (4, 1, 1)), ("Mul", ()), ("Add", (1,)), ("Sub", ()), ("Div", (1, 1))])
@pytest.mark.parametrize("before", ["Conv", "BatchNormalization", "Relu", "read twice"])
def test_constants_for_each_channel(op, shape, before, tmp_path, rng):
    constants = draw(rng, w=(4, 2, 3, 3), gamma=4, beta=4, mean=4, k=shape)
    constants["var"] = rng.uniform(0.5, 2, 4).astype(np.float32)
    nodes = [node("Conv", "x w", "c")]
    if before == "BatchNormalization":
        nodes.append(node("BatchNormalization", "c gamma beta mean var", "n"))
    elif before == "Relu":
        nodes.append(node("Relu", "c", "n"))
    nodes.append(node(op, f"{nodes[-1].output[0]} k", "y"))
    if before == "read twice":
        nodes.append(node("Add", "y c", "z"))
    made = graph(nodes, {"x": ["N", 2, 6, 5]}, [nodes[-1].output[0]], constants)
    model = check(made, tmp_path / "a.onnx", rng)
    if before in ("Conv", "BatchNormalization"):
        assert len(model.layers) == len(nodes) - (shape != ())      # part of the layer before, unless a plain number


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("include", [0, 1, None])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 0, 2], [2, 0, 1, 1]])
@pytest.mark.parametrize("strides", [[2, 2], [3, 1], [5, 4]])
def test_pooling(ceil, include, pads, strides, tmp_path, rng):
    settings = {"kernel_shape": [3, 3], "pads": pads, "strides": strides, "ceil_mode": ceil}
    if include is not None:
        settings["count_include_pad"] = include
    nodes = [node("MaxPool" if include is None else "AveragePool", "x", "y", **settings)]
    made = graph(nodes, {"x": ["N", 2, 9, 8]}, ["y"], opset=22)
    made.ir_version = 10
    import onnxruntime

    onnx.save(made, tmp_path / "a.onnx")
    model = nf.onnx.load(tmp_path / "a.onnx")
    x = rng.standard_normal((2, 2, 9, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(model.predict(x), session.run(None, {"x": x})[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
@pytest.mark.parametrize("axes", [1, 2])
def test_convolutions(auto_pad, axes, tmp_path, rng):
    kernel, shape = (3, 2)[:axes], (8, 9)[:axes]
    settings = {"strides": [2] * axes, "dilations": [1] * axes, "auto_pad": auto_pad, "group": 2,
                "kernel_shape": kernel}
    if auto_pad == "NOTSET":
        settings |= {"pads": [1, 0, 2, 1][:2 * axes], "dilations": [2] * axes}
    nodes = [node("Conv", "x w b", "y", **settings)]
    made = graph(nodes, {"x": ["N", 4, *shape]}, ["y"], draw(rng, w=(6, 2, *kernel), b=6))
    check(made, tmp_path / "a.onnx", rng)


@pytest.mark.parametrize("settings", [
    {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"auto_pad": "VALID"}, {"pads": [1, 0, 2, 1]},
    {"output_shape": [15, 17]}, {"output_shape": [12, 13], "auto_pad": "SAME_UPPER"}, {"output_padding": [1, 0]},
], ids=str)
@pytest.mark.parametrize("axes", [1, 2])
def test_transposed_convolutions(settings, axes, tmp_path, rng):
    kernel, shape = (3, 2)[:axes], (7, 8)[:axes]
    own = {name: value if isinstance(value, str) else value[:axes] if len(value) == 2 else value[:2 * axes]
           for name, value in settings.items()}
    made = graph([node("ConvTranspose", "x w b", "y", strides=[2] * axes, kernel_shape=kernel, **own)],
                 {"x": ["N", 4, *shape]}, ["y"], draw(rng, w=(4, 6, *kernel), b=6))
    check(made, tmp_path / "a.onnx", rng)


@pytest.mark.parametrize("inputs, settings", [
    ("x r scales", {}), ("x r scales", {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("x r none sizes", {"nearest_mode": "round_prefer_ceil"}),
    ("x r scales", {"coordinate_transformation_mode": "pytorch_half_pixel"}),
    ("x r few", {"axes": [3, 2]}),
], ids=str)
def test_upsampling(inputs, settings, tmp_path, rng):
    constants = {"r": np.array([], np.float32), "none": np.array([], np.float32),
                 "scales": np.array([1, 1, 3, 2], np.float32), "sizes": np.array([3, 2, 12, 10]),
                 "few": np.array([2, 3], np.float32)}
    constants = {name: constants[name] for name in inputs.split()[1:]}
    made = graph([node("Resize", inputs, "a", **settings), node("Conv", "a w", "y")], {"x": ["N", 2, 4, 5]}, ["y"],
                 constants | draw(rng, w=(3, 2, 2, 2)), opset=18)
    model = check(made, tmp_path / "a.onnx", rng, batch=3)
    assert any(isinstance(layer, nf.UpSampling2D) and layer.size == (3, 2) for layer in model.layers)


#: constants of shapes, and nodes that make them from those of c, (N, 4, 3, 3)
SIZES = {"zero": 0, "seven": 7, "two": 2, "zeros": [0], "twos": [2], "threes": [3], "minus": [-1], "nines": [9],
         "far": [2**63 - 1], "before": [-(2**63) + 1]}
SHAPES = {
    "view(x.size(0), -1)": [node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Unsqueeze", "n zeros", "n1"),
                            node("Concat", "n1 minus", "to", axis=0)],
    "unflatten": [node("Shape", "c", "s"), node("Mod", "threes twos", "ones"), node("Slice", "s zeros ones", "n"),
                  node("Slice", "s ones far", "sizes"), node("Gather", "sizes zero", "channels"),
                  node("Div", "seven two", "rows"), node("Mul", "channels rows", "lines"),
                  node("Mul", "lines threes", "features"), node("Concat", "n features", "long", axis=0),
                  node("Cast", "long", "int32", to=TensorProto.INT32),
                  node("Cast", "int32", "to", to=TensorProto.INT64)],
    "backwards": [node("Shape", "c", "s", start=2), node("Slice", "s minus before zeros minus", "turned"),
                  node("Slice", "turned zeros twos zeros twos", "width"), node("Mul", "width threes", "w1"),
                  node("Add", "w1 w1", "w2"), node("Add", "w2 w2", "features"),
                  node("Concat", "minus features", "to", axis=0)],
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_that_nodes_compute(name, tmp_path, rng):
    """As PyTorch writes them where the number of samples is open."""
    nodes = [node("Conv", "x w", "c"), *SHAPES[name], node("Reshape", "c to", "f"), node("Gemm", "f b", "y", transB=1)]
    constants = draw(rng, w=(4, 2, 3, 3), b=(5, 36)) | {name: np.array(value) for name, value in SIZES.items()}
    check(graph(nodes, {"x": ["N", 2, 5, 5]}, ["y"], constants), tmp_path / "a.onnx", rng)


def test_sizes_of_what_is_resized(tmp_path, rng):
    nodes = [node("Conv", "x w", "c"), node("Shape", "c", "s"), node("Slice", "s zeros twos", "n"),
             node("Concat", "n sizes", "to", axis=0), node("Resize", "c r r to", "y")]
    constants = draw(rng, w=(4, 2, 3, 3), r=0) | {name: np.array(SIZES[name]) for name in ("zeros", "twos")}
    constants["sizes"] = np.array([6, 9])
    check(graph(nodes, {"x": ["N", 2, 5, 5]}, ["y"], constants), tmp_path / "a.onnx", rng)


@pytest.mark.parametrize("axes, nodes, size", [
    ((16,), [node("Unsqueeze", "x one", "i")], 1), ((5, 6), [node("Unsqueeze", "x one", "i")], 2),
    ((30,), [node("Reshape", "x image", "i")], 2), ((5, 6), [node("Reshape", "x image", "i")], 2),
    ((7,), [node("Gemm", "x d", "g"), node("Relu", "g", "e"), node("Reshape", "e image", "i")], 2),
], ids=str)
def test_images_of_one_channel_made_of_inputs(axes, nodes, size, tmp_path, rng):
    """As in x.unsqueeze(1), and x.view(-1, 1, 28, 28)."""
    nodes = [*nodes, node("Conv", "i w", "c"), node("Flatten", "c", "f"), node("MatMul", "f b", "y")]
    features = 4 * (14 if size == 1 else 3 * 4)
    constants = draw(rng, w=(4, 1, *(3,) * size), b=(features, 2), d=(7, 30))
    constants |= {"one": np.array([1]), "image": np.array([-1, 1, 5, 6])}
    check(graph(nodes, {"x": ["N", *axes]}, ["y"], constants), tmp_path / "a.onnx", rng)


@pytest.mark.parametrize("constant", [None, "value", "value_ints"])
@pytest.mark.parametrize("axis", [1, 2])
def test_the_axis_of_a_new_channel(axis, constant, tmp_path, rng):
    """(N, C, L) read as the image (N, C, 1, L) is a signal that has its channels first, (N, 1, H, W) is not."""
    nodes = [node("Unsqueeze", "x axes", "i"), node("Conv", "i w", "c"), node("Flatten", "c", "f"),
             node("MatMul", "f b", "y")]
    constants = draw(rng, w=(4, 3 if axis == 2 else 1, 1, 3), b=(4 * 6 * (1 if axis == 2 else 3), 2))
    if constant:
        value = [axis] if constant == "value_ints" else numpy_helper.from_array(np.array([axis]))
        nodes.insert(0, helper.make_node("Constant", [], ["axes"], **{constant: value}))
    else:
        constants["axes"] = np.array([axis])
    model = check(graph(nodes, {"x": ["N", 3, 8]}, ["y"], constants), tmp_path / "a.onnx", rng)
    assert model.data_format == ("channels_first" if axis == 2 else "channels_last")


def test_features_made_into_images(tmp_path, rng):
    """The decoder of an autoencoder: channels first, the features are in another order than here."""
    nodes = [node("Conv", "x w", "c", strides=[2, 2]), node("Flatten", "c", "f"), node("Gemm", "f d b", "g"),
             node("BatchNormalization", "g gamma beta mean var", "n"), node("LeakyRelu", "n", "e"),
             node("Mul", "e half", "h"), node("Reshape", "h image", "i"), node("ConvTranspose", "i v", "y")]
    constants = draw(rng, w=(4, 2, 3, 3), d=(16, 18), b=18, gamma=18, beta=18, mean=18, v=(3, 2, 2, 3))
    constants |= {"var": rng.uniform(0.5, 2, 18).astype(np.float32), "image": np.array([-1, 3, 2, 3])}
    constants["half"] = np.float32(0.5)
    made = graph(nodes, {"x": ["N", 2, 5, 6]}, ["y"], constants)
    model = check(made, tmp_path / "a.onnx", rng)
    assert model.data_format == "channels_first"
    # What something else reads, too, cannot be sorted.
    made.graph.output.append(helper.make_tensor_value_info("e", TensorProto.FLOAT, ["N", 18]))
    onnx.save(made, tmp_path / "a.onnx")
    with pytest.raises(nf.onnx.UnsupportedError, match=r"'y_node' \(ConvTranspose\): its input is not channels first"):
        nf.onnx.load(tmp_path / "a.onnx")


def test_images_made_of_vectors(tmp_path, rng):
    """Their models give images channels last, which for one channel is the same."""
    for channels in (1, 2):
        nodes = [node("Gemm", "x d", "g"), node("Reshape", "g image", "i"), node("ConvTranspose", "i v", "y")]
        constants = draw(rng, d=(5, 18), v=(3, channels, 2, 3)) | {"image": np.array([-1, 3, 2, 3])}
        made = graph(nodes, {"x": ["N", 5]}, ["y"], constants)
        if channels == 1:
            assert check(made, tmp_path / "a.onnx", rng).output_shape == (1, 3, 5)
    onnx.save(made, tmp_path / "a.onnx")
    with pytest.raises(nf.onnx.UnsupportedError, match=r"output 'y' is an image \(2, 3, 5\) made of vectors"):
        nf.onnx.load(tmp_path / "a.onnx")


def test_an_input_whose_channels_nobody_knows_goes_with_the_images(tmp_path, rng):
    nodes = [node("Conv", "x w", "c"), node("Flatten", "c", "f"), node("Flatten", "u", "g"),
             node("Concat", "f g", "h", axis=1), node("MatMul", "h b", "y")]
    made = graph(nodes, {"u": ["N", 2, 3], "x": ["N", 2, 5, 5]}, ["y"], draw(rng, w=(4, 2, 3, 3), b=(42, 3)))
    model = check(made, tmp_path / "a.onnx", rng)
    assert [value.data_format for value in model._graph.inputs] == ["channels_first"] * 2


def test_constants_that_nodes_make(tmp_path, rng):
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], [0.25])
    nodes = [node("ConstantOfShape", "shape", "a", value=value),
             helper.make_node("Constant", [], ["t"], value_floats=[1.0, 2.0]),
             node("Unsqueeze", "t axes", "u"), node("Mul", "a u", "b"), node("Transpose", "b", "w", perm=[1, 0]),
             node("Cast", "w", "d", to=TensorProto.DOUBLE), node("Cast", "d", "e", to=TensorProto.FLOAT),
             node("Concat", "e e", "k", axis=1), node("MatMul", "x k", "y")]
    constants = {"shape": np.array([2, 3]), "axes": np.array([1])}
    model = check(graph(nodes, {"x": ["N", 3]}, ["y"], constants), tmp_path / "a.onnx", rng)
    assert model.parameters["y_node/kernel"].tolist() == [[0.25, 0.5, 0.25, 0.5]] * 3


def test_a_network_with_all_the_rest(tmp_path, rng):
    nodes = [
        node("Pad", "x pads", "p"), node("Conv", "p w", "c"), node("Sigmoid", "c", "s"), node("Mul", "s c", "silu"),
        node("Elu", "silu", "e", alpha=0.5), node("GlobalMaxPool", "e", "gm"),
        node("ReduceMean", "e", "ga", axes=[2, 3], keepdims=0), node("Squeeze", "gm a23", "g"),
        node("Add", "g ga", "h"), node("Dropout", "h", "d"), node("Softplus", "d", "sp"),
        node("Unsqueeze", "sp a23", "back"), node("Identity", "back", "i"), node("Softmax", "i", "y", axis=1),
        node("Sum", "h ga d", "z"), node("LeakyRelu", "z", "o", alpha=0.3)]
    constants = draw(rng, w=(4, 2, 3, 3)) | {"pads": np.array([0, 0, 1, 0, 0, 0, 2, 1]), "a23": np.array([2, 3])}
    model = check(graph(nodes, {"x": ["N", 2, 6, 5]}, ["y", "o"], constants, opset=13), tmp_path / "a.onnx", rng)
    assert any(layer.name == "silu_node" and layer.activation == "silu" for layer in model.layers
               if isinstance(layer, nf.Activation))


ERF = [node("Div", "g root", "i"), node("Erf", "i", "e"), node("Add", "e one", "p")]
GELUS = {
    "PyTorch's": [*ERF, node("Mul", "g p", "m"), node("Mul", "m half", "z")],
    "half first": [node("Mul", "half g", "h"), *ERF, node("Mul", "h p", "z")],
    "half of the sum": [*ERF, node("Mul", "half p", "h"), node("Mul", "h g", "z")],
    "a product inside": [node("Mul", "inverse g", "i"), ERF[1], node("Add", "one e", "p"), node("Mul", "p g", "m"),
                         node("Mul", "half m", "z")],
}
FOR_GELU = {"root": np.float32(2**0.5),
            "inverse": np.float32(0.5**0.5), "one": np.float32([1]), "half": np.float32(0.5)}


@pytest.mark.parametrize("name", GELUS)
def test_gelu_in_several_nodes(name, tmp_path, rng):
    """As it is written before opset 20."""
    first, last = node("Gemm", "x w b", "g"), node("MatMul", "z v", "y")
    constants = draw(rng, w=(3, 5), b=5, v=(5, 2)) | FOR_GELU
    model = check(graph([first, *GELUS[name], last], {"x": ["N", 3]}, ["y"], constants), tmp_path / "a.onnx", rng)
    assert [type(layer) for layer in model.layers] == [nf.Dense, nf.Activation, nf.Dense]
    assert model.layers[1].activation == "gelu"


def test_gelu_beside_what_else_reads_its_nodes(tmp_path, rng):
    constants = [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))
                 for name, value in FOR_GELU.items()]
    nodes = [*constants, node("Gemm", "x w", "g"), *GELUS["PyTorch's"], node("Tanh", "i", "t"), node("Add", "z t", "y")]
    check(graph(nodes, {"x": ["N", 3]}, ["y"], draw(rng, w=(3, 5))), tmp_path / "a.onnx", rng)


SHIFTED = [node("Add", "c three", "s"), node("Clip", "s low high", "r")]
ACTIVATIONS = {     # the name here, the opset, and the nodes from c to z; as PyTorch and others write them
    "relu6": ("relu6", 17, [node("Clip", "c low high", "z")]),
    "relu6 of old": ("relu6", 9, [node("Clip", "c", "z", min=0.0, max=6.0)]),
    "relu as a Clip": ("relu", 17, [node("Clip", "c low", "z")]),
    "relu as a Clip of old": ("relu", 9, [node("Clip", "c", "z", min=0.0, max=3.4028234663852886e38)]),
    "hard_sigmoid": ("hard_sigmoid", 17, [node("HardSigmoid", "c", "z", alpha=1 / 6)]),
    "hard_sigmoid by relu6": ("hard_sigmoid", 17, [*SHIFTED, node("Div", "r six", "z")]),
    "hard_sigmoid by Mul": ("hard_sigmoid", 17, [*SHIFTED, node("Mul", "sixth r", "z")]),
    "hard_swish": ("hard_swish", 17, [node("HardSwish", "c", "z")]),
    "hard_swish of old": ("hard_swish", 13, [node("HardSigmoid", "c", "h", alpha=1 / 6), node("Mul", "c h", "z")]),
    "hard_swish by relu6": ("hard_swish", 17, [*SHIFTED, node("Mul", "c r", "m"), node("Div", "m six", "z")]),
    "hard_swish by a sixth": ("hard_swish", 17, [*SHIFTED, node("Div", "r six", "h"), node("Mul", "h c", "z")]),
    "selu": ("selu", 17, [node("Selu", "c", "z")]),
    "mish": ("mish", 18, [node("Mish", "c", "z")]),
    "mish of old": ("mish", 17, [node("Softplus", "c", "p"), node("Tanh", "p", "t"), node("Mul", "c t", "z")]),
}
FOR_ACTIVATIONS = {name: np.float32(value) for name, value in
                   {"low": 0, "high": 6, "three": 3, "six": 6, "sixth": 1 / 6, "wide": 8}.items()}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.filterwarnings("ignore:overflow")      # in the reference's Softplus
def test_activations_in_all_ways(name, tmp_path, rng):
    activation, opset, nodes = ACTIVATIONS[name]
    made = graph([node("Conv", "x w", "d"), node("Mul", "d wide", "c"), *nodes, node("Conv", "z v", "y")],
                 {"x": ["N", 2, 5, 4]}, ["y"], draw(rng, w=(3, 2, 2, 2), v=(2, 3, 1, 1)) | FOR_ACTIVATIONS, opset)
    model = check(made, tmp_path / "a.onnx", rng)
    assert [type(layer) for layer in model.layers] == [nf.Conv2D, nf.Rescale, nf.Activation, nf.Conv2D]
    assert model.layers[2].activation == activation


@pytest.mark.parametrize("nodes", [
    [*SHIFTED, node("Mul", "c r", "z")],
    [*SHIFTED, node("Mul", "c r", "m"), node("Div", "m three", "z")],
    [*SHIFTED, node("Mul", "c r", "m"), node("Div", "m six", "h"), node("Add", "h m", "z")],
    [node("Add", "c six", "s"), node("Clip", "s low high", "r"), node("Div", "r six", "z")],
    [SHIFTED[0], node("Relu", "s", "r"), node("Div", "r six", "z")],
    [node("Softplus", "c", "p"), node("Tanh", "p", "t"), node("Mul", "c t", "m"), node("Add", "m t", "z")],
])
def test_what_is_nearly_an_activation(nodes, tmp_path, rng):
    made = graph([node("Conv", "x w", "d"), node("Mul", "d wide", "c"), *nodes], {"x": ["N", 2, 5, 4]}, ["z"],
                 draw(rng, w=(3, 2, 2, 2)) | FOR_ACTIVATIONS)
    check(made, tmp_path / "a.onnx", rng)


@pytest.mark.parametrize("change", [{"half": np.float32(1)}, {"root": np.float32(2)}, {"one": np.float32([1] * 5)},
                                    {"half": np.float32([[[0.5]]])},
                                    "another factor", "sum"])
def test_erf_alone(change, tmp_path, rng):
    nodes, constants = [node("Gemm", "x w", "g"), *GELUS["PyTorch's"]], draw(rng, w=(3, 5)) | FOR_GELU
    if change == "sum":     # which is an output, too
        nodes.append(node("Identity", "p", "q"))
    elif change == "another factor":
        nodes[-2:] = [node("Mul", "half p", "m"), node("Mul", "m one", "z")]
    else:
        constants |= change
    onnx.save(graph(nodes, {"x": ["N", 3]}, ["z", "q"][:1 + (change == "sum")], constants), tmp_path / "a.onnx")
    with pytest.raises(nf.onnx.UnsupportedError, match="the operator Erf has no layer here"):
        nf.onnx.load(tmp_path / "a.onnx")


@pytest.mark.parametrize("op", ["Identity", "Flatten"])
@pytest.mark.parametrize("more", [True, False])
def test_constants_behind_a_no_op(op, more, tmp_path, rng):
    """They become part of the product before it only where nothing else reads it, under none of its names."""
    nodes = [node("Gemm", "x w b", "y"), node(op, "y", "z"), node("Mul", "z c", "a")]
    constants = draw(rng, w=(4, 5), b=(5,), c=(5,))
    if not more:
        assert len(check(graph(nodes, {"x": ["N", 4]}, ["a"], constants), tmp_path / "a.onnx", rng).layers) == 1
        return
    for last in ([node("Add", "a y", "o")], [node("Add", "a z", "o")]):
        check(graph(nodes + last, {"x": ["N", 4]}, ["o"], constants), tmp_path / "a.onnx", rng)
    check(graph(nodes, {"x": ["N", 4]}, ["a", "y"], constants), tmp_path / "a.onnx", rng)


def test_the_same_value_as_two_outputs(tmp_path, rng):
    nodes = [node("Relu", "x", "y"), node("Identity", "y", "z"), node("Identity", "x", "w")]
    check(graph(nodes, {"x": ["N", 3]}, ["y", "z", "w"]), tmp_path / "a.onnx", rng)


def test_double_precision(tmp_path, rng):
    made = graph([node("MatMul", "x w", "y")], {"x": ["N", 3]}, ["y"], {"w": rng.standard_normal((3, 2))})
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    onnx.save(made, tmp_path / "a.onnx")
    model = nf.onnx.load(tmp_path / "a.onnx", seed=7)
    assert model.dtype == "float64" and model.seed == 7


def test_layer_normalization_in_several_nodes_says_what_helps(tmp_path):
    for opset, text in ((16, "space; layer normalization is one node from opset 17 on$"), (17, "space$")):
        nodes = [node("ReduceMean", "x", "m", axes=[-1]), node("Relu", "m", "y")]
        made = graph(nodes, {"x": ["N", 8]}, ["y"], opset=opset)
        onnx.save(made, tmp_path / "a.onnx")
        with pytest.raises(nf.onnx.UnsupportedError, match=rf"axes \[-1\] of \(8,\) are not those of {text}"):
            nf.onnx.load(tmp_path / "a.onnx")


def test_open_shapes(tmp_path, rng):
    made = graph([node("Conv", "x w", "y")], {"x": ["N", 3, "H", "W"]}, ["y"], draw(rng, w=(2, 3, 3, 3)))
    onnx.save(made, tmp_path / "a.onnx")
    with pytest.raises(nf.onnx.UnsupportedError, match=r"input 'x': its shape .*give input_shapes=\{'x': \(...\)\}"):
        nf.onnx.load(tmp_path / "a.onnx")
    assert nf.onnx.load(tmp_path / "a.onnx", input_shapes={"x": (3, 8, 7)}).output_shape == (2, 6, 5)
    with pytest.raises(nf.onnx.UnsupportedError, match="W has shape"):
        nf.onnx.load(tmp_path / "a.onnx", input_shapes={"x": (4, 8, 7)})
    assert nf.onnx.load(tmp_path / "a.onnx", input_shapes={"x": [3, *np.array([8, 7])]}).output_shape == (2, 6, 5)


@pytest.mark.parametrize("shapes, error, text", [
    ({"z": (3, 8, 7)}, ValueError, "input_shapes names 'z'; the file's inputs are x"),
    ((3, 8, 7), TypeError, r"input_shapes must be a dict of shapes by the inputs' names, got \(3, 8, 7\)"),
    ({"x": 3}, ValueError, r"input_shapes\['x'\] is \(3,\), without the batch axis; the file's shape .None, 3, None, "),
    ({"x": (2, 3, 8, 7)}, ValueError, "has 3 axes besides it"),
    ({"x": (3, 8.0, 7)}, TypeError, r"input_shapes\['x'\] \(3, 8.0, 7\): a size must be an integer, got float: 8.0"),
    ({"x": "N"}, TypeError, r"input_shapes\['x'\] must be a tuple of positive integers"),
])
def test_shapes_that_are_none(shapes, error, text, tmp_path, rng):
    onnx.save(graph([node("Conv", "x w", "y")], {"x": ["N", 3, "H", "W"]}, ["y"], draw(rng, w=(2, 3, 3, 3))),
              tmp_path / "a.onnx")
    with pytest.raises(error, match=f"^onnx.load: .*{text}"):
        nf.onnx.load(tmp_path / "a.onnx", shapes)


@pytest.mark.parametrize("nodes, constants, text", [
    ([node("Sin", "x", "y")], {}, r"node 'y_node' \(Sin\): the operator Sin has no layer here; supported are Gemm, "),
    ([helper.make_node("Sin", ["x"], ["y"])], {}, r"node 'y' \(Sin\): "),
    ([node("Conv", "x x", "y")], {}, r"node 'y_node' \(Conv\): W \('x'\) must be a constant"),
    ([node("Transpose", "x", "y", perm=[1, 0, 2, 3])], {}, "moves the batch axis"),
    ([node("Transpose", "x", "a", perm=[0, 2, 3, 1]), node("MaxPool", "a", "y", kernel_shape=[2, 2])], {},
     r"node 'y_node' \(MaxPool\): its input is not channels first|other axes"),
    ([node("Relu", "x", "a"), node("Transpose", "a", "b", perm=[0, 1, 3, 2]), node("Add", "a b", "y")], {},
     r"node 'y_node' \(Add\): its inputs have their axes in different orders"),
    ([node("MaxPool", "x", "y", kernel_shape=[2, 2], dilations=[2, 1])], {}, "dilations .2, 1. of a pooling"),
    ([node("MaxPool", "x", "y", kernel_shape=[9, 9])], {}, r"node 'y_node' \(MaxPool\): .*is larger than the input"),
    ([node("Conv", "x w", "y", group=4)], {"w": np.ones((4, 3, 1, 1), np.float32)}, "W has shape .*group is 4"),
    ([node("ConvTranspose", "x w", "y", group=2)], {"w": np.ones((4, 3, 1, 1), np.float32)}, "group is 2"),
    ([node("ConvTranspose", "x w", "y")], {"w": np.ones((3, 4, 1, 1), np.float32)}, r"W has shape \(3, 4, 1, 1\)"),
    ([node("ConvTranspose", "x w", "y", output_shape=[9, 9])], {"w": np.ones((4, 3, 1, 1), np.float32)},
     "output_padding must be smaller than the stride"),
    ([node("Resize", "x r s", "y", mode="linear")], {"r": np.float32([]), "s": np.float32([1, 1, 2, 2])},
     "mode 'linear'; only 'nearest' is supported"),
    ([node("Resize", "x r s", "y", coordinate_transformation_mode="align_corners")],
     {"r": np.float32([]), "s": np.float32([1, 1, 2, 2])}, "coordinate_transformation_mode 'align_corners' with"),
    ([node("Resize", "x r s", "y")], {"r": np.float32([]), "s": np.float32([1, 1, 1.99999, 2])}, "only whole factors"),
    ([node("Resize", "x r s", "y")], {"r": np.float32([]), "s": np.float32([1, 1, np.nan, 2])}, "only whole factors"),
    ([node("Resize", "x r s", "y")], {"r": np.float32([]), "s": np.float32([1, 1, np.inf, 2])}, "only whole factors"),
    ([node("Conv", "x w b", "y")], {"w": np.ones((3, 4, 1, 1), np.float32), "b": np.ones(2, np.float32)},
     r"B has shape \(2,\), expected \(3,\)"),
    ([node("Resize", "x r s", "y")], {"r": np.float32([]), "s": np.float32([1, 1, 2, 1.5])},
     r"scales \[1.0, 1.0, 2.0, 1.5\]; only whole factors"),
    ([node("Resize", "x r s", "y")], {"r": np.float32([]), "s": np.float32([1, 2, 2, 2])}, "along the axes of space"),
    ([node("Softmax", "x", "y", axis=2)], {}, "axis 2 is not the axis of channels"),
    ([node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Mul", "x t", "y")], {}, "axes in different orders"),
    ([node("HardSigmoid", "x", "y")], {}, r"alpha 0.2 and beta 0.5 make another function than hard_sigmoid's, which "
     r"are 1/6 and 0.5 \(ONNX's default alpha is 0.2\)"),
    ([node("Selu", "x", "y", alpha=2.0)], {}, "alpha 2 and gamma 1.050701; selu has 1.6732632 and 1.050701"),
    ([node("Clip", "x i j", "y")], {"i": np.float32(-1), "j": np.float32(1)}, "from -1 to 1; only from 0 to 6"),
    ([node("Slice", "x i j", "y")], {"i": np.array([0]), "j": np.array([1])}, "a part of a computed tensor"),
    ([node("Mod", "x i", "y", fmod=1)], {"i": np.float32(2)}, "attribute 'fmod' is not supported"),
    ([node("Mod", "x i", "y")], {"i": np.float32(2)}, "the remainder of a computed tensor"),
    ([node("Shape", "x", "s"), node("Mul", "s i", "t"), node("Reshape", "x t", "y")], {"i": np.array([2, 1, 1, 2])},
     "computes with the number of samples"),
    ([node("Shape", "x", "s"), node("Cast", "s", "t", to=TensorProto.FLOAT), node("Div", "x t", "y")], {},
     "computes with the number of samples"),
    ([node("Flatten", "x", "f"), node("Shape", "x", "s"), node("Cast", "s", "t", to=TensorProto.FLOAT),
      node("Gemm", "f w t", "y")], {"w": np.ones((64, 4), np.float32)}, "computes with the number of samples"),
    ([node("Shape", "x", "s"), node("Gather", "s i", "t"), node("Reshape", "x t", "y")], {"i": np.array([1, 0, 2, 3])},
     r"the shape \[4, 'N', 4, 4\] changes the batch axis"),
    ([node("Conv", "x w", "a"), node("Flatten", "a", "y")], {"w": np.ones((2, 4, 1, 1), np.float32)},
     "output 'y' is an image that was flattened channels first"),
    ([node("Pad", "x p v", "y")], {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "v": np.float32(2)}, "only zeros around"),
    ([node("Pad", "x p", "y", mode="reflect")], {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, "mode 'reflect'"),
    ([node("Flatten", "x", "y", axis=2)], {}, "axis 2 would join samples"),
    ([node("ConstantOfShape", "s", "c"), node("Relu", "x", "y")], {"s": np.array([2**20, 2**20, 2**20])},
     "a constant of 1,152,921,504,606,846,976 elements"),
])
def test_what_no_layer_can_do(nodes, constants, text, tmp_path):
    path = tmp_path / "a.onnx"
    onnx.save(graph(nodes, {"x": ["N", 4, 4, 4]}, ["y"], constants), path)
    with pytest.raises(nf.onnx.UnsupportedError, match=text) as caught:
        nf.onnx.load(path)
    assert str(caught.value).startswith(str(path))


# --- files -----------------------------------------------------------------------------------------------------------

def test_files_that_are_none(tmp_path):
    path = tmp_path / "a.onnx"
    whole = (ORACLES / "training.onnx").read_bytes()
    for data in (b"", b"{}", os.urandom(1000), whole[:100], whole[:len(whole) // 2], whole[:-1]):
        path.write_bytes(data)
        with pytest.raises(nf.FileFormatError, match="a.onnx: is not a valid ONNX file"):
            nf.onnx.load(path)
    with pytest.raises(FileNotFoundError):
        nf.onnx.load(tmp_path / "missing.onnx")
    with pytest.raises(IsADirectoryError):
        nf.onnx.load(tmp_path)


def test_weights_that_are_damaged(tmp_path, rng):
    path, shapes = tmp_path / "a.onnx", dict.fromkeys("sbmv", (4,))
    normal = [node("BatchNormalization", "x s b m v", "y")]
    for nodes, constants, text in [
            ([node("MatMul", "x w", "y")], {"w": np.full((4, 3), np.nan, np.float32)}, "kernel: nan at row 0"),
            (normal, {**draw(rng, **shapes), "v": np.float32([1, -1, 1, 1])}, "running_variance must not be below 0")]:
        onnx.save(graph(nodes, {"x": ["N", 4]}, ["y"], constants), path)
        with pytest.raises(nf.FileFormatError, match=f"a.onnx: has weights that no layer takes: y_node/{text}"):
            nf.onnx.load(path)


def test_constants_whose_shape_is_damaged(tmp_path, rng):
    made = graph([node("Conv", "x w", "y")], {"x": ["N", 3, 5, 5]}, ["y"], draw(rng, w=(2, 3, 3, 3)))
    made.graph.initializer[0].dims[0] = 1
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "C", "H", "W"]))
    onnx.save(made, tmp_path / "a.onnx")
    with pytest.raises(nf.FileFormatError, match="a.onnx: is not a valid ONNX file: the constant 'w': cannot reshape"):
        nf.onnx.load(tmp_path / "a.onnx")


def test_no_outputs(tmp_path):
    made = graph([node("Relu", "x", "y")], {"x": ["N", 3]}, ["y"])
    del made.graph.output[:]
    onnx.save(made, tmp_path / "a.onnx")
    with pytest.raises(nf.onnx.UnsupportedError, match="a.onnx: has no outputs"):
        nf.onnx.load(tmp_path / "a.onnx")


def test_weights_outside_of_the_folder_are_not_read(tmp_path, rng):
    """A file may keep its weights beside it, but must not point elsewhere."""
    (tmp_path / "inner").mkdir()
    made = graph([node("MatMul", "x w", "y")], {"x": ["N", 40]}, ["y"], draw(rng, w=(40, 30)))
    onnx.save(made, tmp_path / "inner" / "a.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert nf.onnx.load(tmp_path / "inner" / "a.onnx").count_params() == 1200
    os.rename(tmp_path / "inner" / "w.bin", tmp_path / "w.bin")
    proto = onnx.load(tmp_path / "inner" / "a.onnx", load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../w.bin"
    (tmp_path / "inner" / "a.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(nf.FileFormatError, match="a.onnx: is not a valid ONNX file"):
        nf.onnx.load(tmp_path / "inner" / "a.onnx")


def test_random_damage(tmp_path):
    whole, path, random_ = (ORACLES / "training.onnx").read_bytes(), tmp_path / "a.onnx", random.Random(6)
    graph_ = onnx.load_from_string(whole).graph
    del graph_.initializer[:]
    skeleton = len(graph_.SerializeToString())      # the nodes, before the weights
    loaded = 0
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(random_.choice((1, 2, 5))):
            at = random_.randrange(skeleton if random_.random() < 0.8 else len(data))
            if random_.random() < 0.5:
                data[at] ^= 1 << random_.randrange(8)
            else:
                data[at] = random_.randrange(256)
        path.write_bytes(data)
        try:
            nf.onnx.load(path)
            loaded += 1
        except ValueError as error:     # UnsupportedError, FileFormatError, weights that are not finite
            assert str(error)
    assert 10 < loaded < 1490


def test_onnx_is_an_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for call in (lambda: nf.onnx.load("a.onnx"), lambda: nf.onnx.export(None, "a.onnx")):
        with pytest.raises(ImportError, match=r"pip install nnfast\[onnx\]"):
            call()
