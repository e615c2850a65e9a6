"""Weights of PyTorch and Keras: the same logits from them, and back; what does not fit is refused whole."""
import io
import json
import pickle
import sys
import types
import zipfile
from pathlib import Path
from types import MappingProxyType

import h5py
import numpy as np
import pytest
import safetensors.numpy

import nnfast as nf
from nnfast.interop import from_keras_weights, from_torch_state_dict, to_torch_state_dict

ORACLES = Path(__file__).parent / "oracles"
sys.path.insert(0, str(ORACLES))
from make_torch_nets import weights  # noqa: E402


def vgg_layers():
    layers = [nf.Conv2D(8, 3, padding=1, activation="relu"), nf.MaxPool2D(2),
              nf.Conv2D(16, 3, padding=1, activation="relu"), nf.MaxPool2D(2)]
    for filters in (32, 64, 64):
        layers += [nf.Conv2D(filters, 3, padding=1, activation="relu") for _ in range(2)] + [nf.MaxPool2D(2)]
    return [*layers, nf.Flatten(), nf.Dense(512, activation="relu"), nf.Dropout(0.5), nf.Dense(512, activation="relu"),
            nf.Dropout(0.5), nf.Dense(10)]


def residual(**settings):
    x = nf.Input((8, 8, 3))
    h = nf.Activation("relu")(nf.BatchNorm(name="norm")(nf.Conv2D(8, 3, 2, 1, use_bias=False, name="stem")(x)))
    g = nf.DepthwiseConv2D(3, padding=1, depth_multiplier=2, activation="sigmoid", name="depthwise")(h)
    h = nf.Add()([h, nf.Conv2D(8, 1, groups=2, name="point")(g)])
    return nf.Model(x, nf.Dense(5, name="head")(nf.BatchNorm(name="features")(nf.Flatten()(h))), **settings)


def sequential(shape, layers):
    return lambda **settings: nf.Sequential(layers(), input_shape=shape, **settings)


def ready(model):
    """With logits instead of the softmax."""
    return model.submodel(model.layers[-2].name, then=[nf.Dense(5)])


NETS = {
    "mlp": sequential((20,), lambda: [nf.Dense(32, activation="relu"), nf.Dense(16, activation="tanh"), nf.Dense(10)]),
    "lenet": sequential((28, 28, 1), lambda: [
        nf.Conv2D(6, 5, padding=2, activation="tanh"), nf.AvgPool2D(2), nf.Conv2D(16, 5, activation="tanh"),
        nf.AvgPool2D(2), nf.Flatten(), nf.Dense(120, activation="tanh"), nf.Dense(84, activation="tanh"),
        nf.Dense(10)]),
    "vgg11": sequential((64, 64, 3), vgg_layers),
    "residual": residual,
    "normalized": sequential((5, 4, 2), lambda: [
        nf.Conv2D(5, 2), nf.Flatten(), nf.LayerNorm(), nf.Dense(9), nf.LayerNorm(1e-3, center=False),
        nf.Activation("tanh"), nf.Dense(4)]),
    "decoder": sequential((2, 1, 6), lambda: [
        nf.Conv2DTranspose(9, 4, stride=2, padding=1, activation="relu"), nf.UpSampling2D(2),
        nf.Conv2DTranspose(4, (3, 5), (2, 3), ((1, 1), (2, 2)), (1, 2), use_bias=False), nf.BatchNorm(),
        nf.Activation("tanh"), nf.Conv2DTranspose(2, 3, dilation=2)]),
    "grouped": sequential((5, 4, 2), lambda: [
        nf.Conv2D(8, 2, use_bias=False), nf.GroupNorm(4), nf.Activation("relu"), nf.Conv2D(6, 2), nf.GroupNorm(6),
        nf.Activation("tanh"), nf.GlobalAvgPool(), nf.Dense(9), nf.GroupNorm(3), nf.Activation("tanh"), nf.Dense(4)]),
    "mobilenet_v2": lambda **settings: ready(nf.models.mobilenet_v2((40, 48, 3), 5, 0.35, **settings)),
    "mobilenet_v3_small": lambda **settings: ready(nf.models.mobilenet_v3("small", (40, 48, 3), 5, 0.5, **settings)),
    "mobilenet_v3_large": lambda **settings: ready(nf.models.mobilenet_v3("large", (40, 48, 3), 5, 0.35, **settings)),
    "efficientnet": lambda **settings: ready(nf.models.efficientnet("b0", (40, 48, 3), 5, **settings)),
    "signal": sequential((30, 4), lambda: [
        nf.Conv1D(6, 5, dilation=2, padding=4), nf.BatchNorm(), nf.Activation("relu"), nf.MaxPool1D(2), nf.Flatten(),
        nf.Dense(3)]),
}


def oracle(net):
    """(state dict, input, logits) of PyTorch."""
    with np.load(ORACLES / "torch_nets.npz") as stored:
        state = weights(net, json.loads(str(stored[net + "_shapes"])))
        return state, state.pop("input"), stored[net]


def check(model, x, logits):
    # A hundred layers of drawn weights magnify what float32 rounds off.
    tolerance = 1e-3 if model.dtype == "float32" and len(model.layers) > 100 else 1e-5
    np.testing.assert_allclose(np.moveaxis(model.predict(np.moveaxis(x, 1, -1)), -1, 1), logits, rtol=0,
                               atol=tolerance * abs(logits).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("net", NETS)
def test_logits_of_pytorch(net, dtype):
    state, x, logits = oracle(net)
    model = NETS[net](dtype=dtype)
    from_torch_state_dict(model, MappingProxyType(state))
    check(model, x, logits)


@pytest.mark.parametrize("net", NETS)
def test_there_and_back(net):
    state, _, _ = oracle(net)
    model = NETS[net]()
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in state))
    from_torch_state_dict(model, state, modules)
    back = to_torch_state_dict(model, modules)
    counters = {name for name in back if name.endswith("num_batches_tracked")}
    assert set(back) - counters == set(state)
    assert len(counters) == sum(name.endswith("running_mean") for name in state)
    for name, array in state.items():
        assert back[name].flags.c_contiguous
        np.testing.assert_array_equal(back[name], array)
    own = to_torch_state_dict(model)
    other = NETS[net](seed=9)
    from_torch_state_dict(other, own)     # matched by the layers' names
    assert all((a == b).all() for a, b in zip(model.get_weights(), other.get_weights(), strict=True))


@pytest.mark.parametrize("net", ["mlp", "vgg11"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_safetensors_file(net, dtype, tmp_path):
    state, x, logits = oracle(net)
    if dtype == "float16":
        state = {name: array.astype(np.float16) for name, array in state.items()}
    elif dtype == "bfloat16":
        state = {name: (array.view(np.uint32) & 0xFFFF0000).view(np.float32) for name, array in state.items()}
    path = tmp_path / "net.safetensors"
    safetensors.numpy.save_file(state, path)
    if dtype == "bfloat16":
        upper = {name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in state.items()}
        safetensors.numpy.save_file(upper, path)
        path.write_bytes(path.read_bytes().replace(b'"U16"', b'"BF16"'))
        fix_header(path)
    model, same = NETS[net](), NETS[net]()
    from_torch_state_dict(model, path)
    from_torch_state_dict(same, state)
    assert all((a == b).all() for a, b in zip(model.get_weights(), same.get_weights(), strict=True))
    if dtype == "float32":
        check(model, x, logits)


def fix_header(path):
    """The header's length after a replacement in its text."""
    data = path.read_bytes()
    end = data.index(b"}}") + 2
    while data[end:end + 1] == b" ":
        end += 1
    path.write_bytes((end - 8).to_bytes(8, "little") + data[8:])


def test_order_and_names():
    state = {"z.weight": np.ones((3, 2)), "z.bias": np.zeros(3), "a.weight": np.ones((1, 3)), "a.bias": np.ones(1)}

    def predict(*mapping, names=(None, None), state=state):
        model = nf.Sequential([nf.Dense(3, name=names[0]), nf.Dense(1, name=names[1])], input_shape=(2,))
        from_torch_state_dict(model, state, *mapping)
        return model.predict([[1.0, 1.0]]).item()

    assert predict() == 7
    shuffled = dict(reversed(state.items()))
    assert predict(["z", "a"], state=shuffled) == predict({"dense": "z", "dense_1": "a"}, state=shuffled) == 7
    assert predict(names=("z", "a"), state=shuffled) == 7
    with pytest.raises(ValueError, match=r"dense/kernel from 'a': expected shape \(3, 2\) for our .*, got \(1, 3\)"):
        predict(state=shuffled)


@pytest.mark.parametrize("change, mapping, error, text", [
    (lambda s: s.pop("0.bias"), None, ValueError, "dense/bias: the module '0' has no 'bias'; it has weight"),
    (lambda s: s.pop("2.weight"), None, ValueError, "dense_1/kernel: the module '2' has no 'weight'"),
    (lambda s: s.update({"0.extra": np.ones(1)}), None, ValueError, "dense has no place for extra of '0'"),
    (lambda s: s.update({"9.weight": np.ones(1)}), None, ValueError, "3 layers have parameters .* there are 4 modules"),
    (lambda s: s.update({"9.weight": np.ones(1)}), ["0", "2", "4"], ValueError, "no layer takes 9"),
    (lambda s: None, ["0", "2"], ValueError, "3 layers have parameters .*, the mapping has 2 entries"),
    (lambda s: None, ["0", "2", "2"], ValueError, "names '2' twice"),
    (lambda s: None, ["0", "2", "x"], ValueError, "dense_2: there is no 'x'; there are 0, 2, 4"),
    (lambda s: None, ["0", "2", 4], TypeError, "names must be texts, got 4"),
    (lambda s: None, {"dense": "0"}, ValueError,
     "must name each layer with parameters .dense, dense_1, dense_2., got dense"),
    (lambda s: None, "0", TypeError, "mapping must be a dict or a list"),
    (lambda s: s.update({"0.weight": s["0.weight"].T}), None, ValueError, r"expected shape \(32, 20\).*got \(20, 32\)"),
    (lambda s: s.update({"0.weight": s["0.weight"] * np.nan}), None, ValueError, "dense/kernel: nan at row 0"),
    (lambda s: s.update({"0.weight": "w"}), None, TypeError, "0.weight: expected an array of numbers, got str"),
    (lambda s: s.update({3: np.ones(1)}), None, TypeError, "names must be texts, got 3"),
    (lambda s: s.update({"epoch": np.ones(1)}), None, ValueError, r"4 modules \(0, 2, 4, ''\); give a mapping"),
    (lambda s: s.update({"epoch": np.ones(1)}), ["0", "2", "4"], ValueError, "no layer takes ''$"),
    (lambda s: s.clear(), None, ValueError, r"there are 0 modules \(none\); give a mapping"),
])
def test_what_does_not_fit_is_refused_whole(change, mapping, error, text):
    state, _, _ = oracle("mlp")
    change(state)
    model = NETS["mlp"]()
    before = model.get_weights()
    with pytest.raises(error, match=text):
        from_torch_state_dict(model, state, mapping)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))


def test_pickled_files_are_refused(tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match="expected a .safetensors file.*weights_only=True"):
        from_torch_state_dict(NETS["mlp"](), path)
    damaged = tmp_path / "net.safetensors"
    damaged.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(nf.FileFormatError, match="net.safetensors: "):
        from_torch_state_dict(NETS["mlp"](), damaged)
    with pytest.raises(FileNotFoundError):
        from_torch_state_dict(NETS["mlp"](), tmp_path / "missing.safetensors")
    with pytest.raises(TypeError, match="expected a dict of arrays or a path, got list$"):
        from_torch_state_dict(NETS["mlp"](), [])
    module = types.SimpleNamespace(state_dict=dict)
    with pytest.raises(TypeError, match="a path, got SimpleNamespace; give its state_dict()"):
        from_torch_state_dict(NETS["mlp"](), module)


def test_model_files_are_not_state_dicts(tmp_path):
    NETS["mlp"]().save(tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match="net.safetensors is a model file of nnfast; nf.load reads it"):
        from_torch_state_dict(NETS["mlp"](), tmp_path / "net.safetensors")


@pytest.mark.parametrize("function", [from_torch_state_dict, from_keras_weights])
def test_a_model_comes_first(function):
    with pytest.raises(TypeError, match=f"{function.__name__}: expected an nnfast model, got dict"):
        function({}, NETS["mlp"]())
    with pytest.raises(TypeError, match="to_torch_state_dict: expected an nnfast model, got dict"):
        to_torch_state_dict({})


def test_joined_features_have_no_known_order():
    x = nf.Input((2, 2, 3))
    model = nf.Model(x, nf.Dense(2)(nf.Concatenate()([nf.Flatten()(x), nf.Flatten()(nf.Conv2D(2, 1)(x))])))
    with pytest.raises(ValueError, match="dense reads concatenate, which joins features.*in PyTorch is not known"):
        to_torch_state_dict(model)


# --- orders of features ----------------------------------------------------------------------------------------------

def net(shape, *layers, **settings):
    return lambda: nf.Sequential(list(layers), input_shape=shape, **settings)


def flips():
    return nf.Lambda(lambda x: -x, lambda dy, x, y: -dy)


def negative(nn):
    class Negative(nn.Module):
        def forward(self, x):
            return -x
    return Negative()


def branches():
    """What a convolution reads is channels first in PyTorch where it is flattened, too."""
    x = nf.Input((6, 4))
    h = nf.Flatten()(nf.Conv1D(3, 2, name="a")(x))
    return nf.Model(x, nf.Dense(2, name="c")(nf.Add()([h, nf.Dense(15, name="b")(nf.Flatten()(x))])))


def torch_branches(nn):
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv1d(4, 3, 2), nn.Linear(24, 15), nn.Linear(15, 2)

        def forward(self, x):
            return self.c(self.a(x).flatten(1) + self.b(x.flatten(1)))
    return Branches()


def mixer():
    """An input joined with what a Dense layer makes of its last axis has that last in PyTorch."""
    x = nf.Input((2, 3, 4))
    h = nf.Add()([x, nf.Dense(4, name="b")(nf.LayerNorm(name="a")(x))])
    return nf.Model(x, nf.Dense(2, name="c")(nf.Flatten()(h)))


def torch_mixer(nn):
    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(24, 2)

        def forward(self, x):
            return self.c((x + self.b(self.a(x))).flatten(1))
    return Mixer()


def sorted_decoder():
    """Everything that reads the features of which an image is made is sorted, not only the layer that makes them."""
    x = nf.Input((3,))
    h = nf.Activation("relu")(nf.LayerNorm(name="n")(nf.Dense(32, name="a")(x)))
    image = nf.Flatten()(nf.Conv2DTranspose(2, 2, name="b")(nf.Reshape((2, 2, 8))(h)))
    joined = nf.Concatenate()([nf.Dense(3, name="c")(h), nf.Dense(2, name="e")(image)])
    return nf.Model(x, nf.Dense(2, name="d")(joined))


def torch_sorted_decoder(nn):
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.n, self.b = nn.Linear(3, 32), nn.LayerNorm(32), nn.ConvTranspose2d(8, 2, 2)
            self.c, self.d, self.e = nn.Linear(32, 3), nn.Linear(5, 2), nn.Linear(18, 2)

        def forward(self, x):
            import torch

            h = self.n(self.a(x)).relu()
            return self.d(torch.cat([self.c(h), self.e(self.b(h.unflatten(1, (8, 2, 2))).flatten(1))], 1))
    return Decoder()


def gates():
    """Channels come first in a product of pixels' gates and channels', too; a single number has no order."""
    x = nf.Input((4, 3, 2))
    h = nf.Multiply()([nf.Conv2D(1, 1, name="a")(x), nf.Dense(5, name="b")(nf.GlobalAvgPool()(x))])
    h = nf.Flatten()(h)
    return nf.Model(x, nf.Dense(2, name="d")(nf.Multiply()([nf.Dense(1, name="c")(h), h])))


def torch_gates(nn):
    class Gates(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = nn.Conv2d(2, 1, 1), nn.Linear(2, 5), nn.Linear(60, 1), nn.Linear(60, 2)

        def forward(self, x):
            h = (self.a(x) * self.b(x.mean((2, 3)))[:, :, None, None]).flatten(1)
            return self.d(self.c(h) * h)
    return Gates()


#: ours, PyTorch's, and whether its data have the channels first while ours have them last
PAIRS = {
    "rescale": (net((2, 6, 6), nf.Conv2D(3, 3), nf.Flatten(), nf.Rescale(-1), nf.Dense(2),
                    data_format="channels_first"),
                lambda nn: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), negative(nn), nn.Linear(48, 2)), False),
    "lambda": (net((6, 6, 2), nf.Conv2D(3, 3), nf.Flatten(), flips(), nf.BatchNorm(), nf.Dense(2)),
               lambda nn: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), negative(nn), nn.BatchNorm1d(48),
                                        nn.Linear(48, 2)), True),
    "lambda_on_images": (net((6, 6, 2), nf.Conv2D(3, 3), flips(), nf.Flatten(), nf.Dense(2)),
                         lambda nn: nn.Sequential(nn.Conv2d(2, 3, 3), negative(nn), nn.Flatten(), nn.Linear(48, 2)),
                         True),
    "plane": (net((5, 4), nf.Flatten(), nf.Dense(3)), lambda nn: nn.Sequential(nn.Flatten(), nn.Linear(20, 3)), False),
    "plane_channels_first": (net((5, 4), nf.Flatten(), nf.Dense(3), data_format="channels_first"),
                             lambda nn: nn.Sequential(nn.Flatten(), nn.Linear(20, 3)), False),
    "image": (net((5, 4, 3), nf.Flatten(), nf.Dense(3)), lambda nn: nn.Sequential(nn.Flatten(), nn.Linear(60, 3)),
              True),
    "image_channels_first": (net((3, 5, 4), nf.Flatten(), nf.Dense(3), data_format="channels_first"),
                             lambda nn: nn.Sequential(nn.Flatten(), nn.Linear(60, 3)), False),
    "dense": (net((5, 4), nf.Dense(3), nf.Flatten(), nf.Dense(2)),
              lambda nn: nn.Sequential(nn.Linear(4, 3), nn.Flatten(), nn.Linear(15, 2)), False),
    "layer_norm": (net((5, 4), nf.LayerNorm(), nf.Flatten(), nf.Dense(2)),
                   lambda nn: nn.Sequential(nn.LayerNorm(4), nn.Flatten(), nn.Linear(20, 2)), False),
    "signal": (net((5, 4), nf.BatchNorm(), nf.Flatten(), nf.Dense(2)),
               lambda nn: nn.Sequential(nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(20, 2)), True),
    "tokens": (net((3,), nf.Dense(20), nf.Reshape((5, 4)), nf.Dense(3), nf.Flatten(), nf.Dense(2)),
               lambda nn: nn.Sequential(nn.Linear(3, 20), nn.Unflatten(1, (5, 4)), nn.Linear(4, 3), nn.Flatten(),
                                        nn.Linear(15, 2)), False),
    "there_and_back": (net((3,), nf.Dense(20), nf.Reshape((5, 4)), nf.Activation("tanh"), nf.Flatten(), nf.Dense(2)),
                       lambda nn: nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 2)), False),
    "decoder": (net((3,), nf.Dense(32), nf.Reshape((2, 2, 8)), nf.Conv2DTranspose(2, 3, stride=2)),
                lambda nn: nn.Sequential(nn.Linear(3, 32), nn.Unflatten(1, (8, 2, 2)), nn.ConvTranspose2d(8, 2, 3, 2)),
                True),
    "normalized_decoder": (
        net((3,), nf.Dense(24, use_bias=False), nf.BatchNorm(), nf.Activation("relu"), nf.Rescale(-1.0),
            nf.Reshape((6, 4)), nf.UpSampling1D(2), nf.Conv1D(2, 3)),
        lambda nn: nn.Sequential(nn.Linear(3, 24, bias=False), nn.BatchNorm1d(24), nn.ReLU(), negative(nn),
                                 nn.Unflatten(1, (4, 6)), nn.Upsample(scale_factor=2), nn.Conv1d(4, 2, 3)), True),
    "image_out": (net((3,), nf.Dense(24), nf.Reshape((2, 4, 3))),
                  lambda nn: nn.Sequential(nn.Linear(3, 24), nn.Unflatten(1, (3, 2, 4))), True),
    "autoencoder": (
        net((4, 4, 2), nf.Conv2D(3, 3), nf.Flatten(), nf.Dense(5), nf.Dense(12), nf.Reshape((2, 2, 3)),
            nf.Conv2DTranspose(2, 3)),
        lambda nn: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 12),
                                 nn.Unflatten(1, (3, 2, 2)), nn.ConvTranspose2d(3, 2, 3)), True),
    "branches": (branches, torch_branches, True),
    "mixer": (mixer, torch_mixer, False),
    "sorted_decoder": (sorted_decoder, torch_sorted_decoder, False),
    "gates": (gates, torch_gates, True),
}


@pytest.mark.parametrize("name", PAIRS)
def test_orders_of_features_in_pytorch(name, rng):
    torch = pytest.importorskip("torch")
    ours, theirs, turned = PAIRS[name]
    model, module = ours(), theirs(torch.nn).eval()
    state = {key: rng.uniform(0.5, 1.5, array.shape).astype(np.float32) if array.dtype.is_floating_point
             else np.array(0) for key, array in module.state_dict().items()}
    module.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    shape = model.input_shape
    x = rng.standard_normal((3, shape[-1], *shape[:-1]) if turned else (3, *shape)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    if sorted(model.parameters)[0].startswith("a/"):
        mapping = None
    else:
        mapping = list(dict.fromkeys(key.rpartition(".")[0] for key in state))
    from_torch_state_dict(model, state, mapping)
    got = model.predict(np.moveaxis(x, 1, -1) if turned else x)
    np.testing.assert_allclose(np.moveaxis(got, -1, 1) if turned else got, expected, rtol=1e-4, atol=1e-4)
    back = to_torch_state_dict(model, mapping)
    assert set(back) == set(state)
    for key, array in state.items():
        np.testing.assert_array_equal(back[key], array)


def test_columns_of_an_image_are_sorted():
    """Without PyTorch: row (c, h, w) of its weight is our column (h, w, c)."""
    model = nf.Sequential([nf.Dense(24), nf.Reshape((2, 3, 4)), nf.MaxPool2D(2), nf.Flatten()], input_shape=(5,))
    model.set_parameters({"dense/bias": np.arange(24)})
    state = to_torch_state_dict(model)
    ours = model.parameters["dense/kernel"].reshape(5, 2, 3, 4)
    np.testing.assert_array_equal(state["dense.weight"], ours.transpose(3, 1, 2, 0).reshape(24, 5))
    np.testing.assert_array_equal(state["dense.bias"], np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1).ravel())
    plane = nf.Sequential([nf.Flatten(), nf.Rescale(2.0), nf.Dense(2)], input_shape=(5, 4))
    np.testing.assert_array_equal(to_torch_state_dict(plane)["dense.weight"], plane.parameters["dense/kernel"].T)


def read_twice():
    x = nf.Input((3,))
    h = nf.Reshape((4, 4))(nf.Dense(16)(x))
    return nf.Model(x, [nf.Conv1D(2, 2)(h), nf.Dense(3)(h)])


def halves():
    return nf.Lambda(lambda x: x[:, :24], lambda dy, x, y: np.pad(dy, ((0, 0), (0, 24))), (24,))


def joined_with_an_input():
    a, b = nf.Input((4, 4, 3)), nf.Input((48,), name="b")
    h = nf.Add()([nf.Flatten()(nf.Conv2D(3, 3, padding=1)(a)), b])
    return nf.Model([a, b], nf.Dense(2)(h))


def joined_vectors():
    x = nf.Input((6, 4))
    h = nf.Add()([nf.Dense(3, name="inner")(x), nf.Conv1D(3, 1)(x)])
    return nf.Model(x, nf.Dense(2)(nf.Flatten()(h)))


def joined_decoder():
    x = nf.Input((3,))
    h = nf.Concatenate()([nf.Dense(8)(x), nf.Dense(4)(x)])
    return nf.Model(x, nf.Conv2D(2, 1)(nf.Reshape((2, 2, 3))(h)))


def gate_of_an_image():
    x = nf.Input((2, 2, 3))
    gate = nf.Activation("sigmoid")(nf.Flatten()(nf.Conv2D(4, 1)(x)))
    return nf.Model(x, nf.GlobalAvgPool()(nf.Multiply()([gate, nf.Conv2D(16, 1)(x)])))


@pytest.mark.parametrize("make, text", [
    (net((4, 4, 3), nf.Conv2D(3, 3, padding=1), nf.Flatten(), halves(), nf.Dense(2)),
     r"dense reads lambda, which makes features of \[\(48,\)\]; their order in PyTorch is not known"),
    (net((12,), nf.Reshape((2, 2, 3)), nf.Conv2D(2, 1)),
     r"the input 'input' has features, reshape makes an image \(2, 2, 3\) of features, and these are the same"),
    (net((4, 4, 3), nf.MaxPool2D(2), nf.Flatten(), nf.Reshape((3, 2, 2)), nf.Conv2D(2, 1)),
     r"flatten makes features of an image \(2, 2, 3\), reshape makes an image \(3, 2, 2\) of features"),
    (net((4, 4, 6), nf.Conv2D(6, 1), nf.Reshape((4, 24)), nf.Dense(2)),
     r"reshape reads an image \(4, 4, 6\) as \(4, 24\), with other channels; their order in PyTorch is not known"),
    (joined_with_an_input, "the input 'b' has features, flatten makes features of .*, and these are the same"),
    (joined_vectors, "add joins inner's vectors with values that have their channels first in PyTorch"),
    (joined_decoder, "concatenate makes features, reshape makes an image"),
    (gate_of_an_image, "multiply reads features that a Flatten or Reshape makes of an image as a number for each"),
    (net((2, 2, 3), nf.Conv2D(4, 1), nf.Flatten(), nf.GroupNorm(2, center=False, scale=False), nf.Dense(2)),
     "group_norm reads features that a Flatten or Reshape makes of an image, whose order and so whose groups"),
    (read_twice, "conv1d and dense_1 read the same values, the one with their channels first"),
])
def test_orders_that_cannot_be_had(make, text):
    model = make()
    with pytest.raises(ValueError, match=text):
        to_torch_state_dict(model)
    before, state = model.get_weights(), {}
    for name, array in model.parameters.items():
        kernel = name.endswith("kernel")
        name = name.replace("/kernel", ".weight").replace("/bias", ".bias")
        state[name] = np.moveaxis(array, (-1, -2), (0, 1)) + 1 if kernel else array
    with pytest.raises(ValueError, match=text):
        from_torch_state_dict(model, state)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))


# --- Keras -----------------------------------------------------------------------------------------------------------

def keras_cnn(**settings):
    return nf.Sequential([
        nf.Conv2D(4, 3, activation="relu"), nf.DepthwiseConv2D(3, depth_multiplier=2), nf.BatchNorm(epsilon=1e-3),
        nf.MaxPool2D(2), nf.Conv2D(6, 1, use_bias=False), nf.Flatten(), nf.Dense(12, activation="tanh"),
        nf.BatchNorm(epsilon=1e-3, scale=False), nf.Dense(4, activation="softmax")], input_shape=(10, 8, 3), **settings)


def keras_mlp(**settings):
    return nf.Sequential([nf.Dense(5, activation="tanh") for _ in range(12)], input_shape=(5,), **settings)


@pytest.mark.parametrize("file, make", [("cnn.weights.h5", keras_cnn), ("cnn.keras", keras_cnn),
                                        ("mlp.weights.h5", keras_mlp)])
def test_predictions_of_keras(file, make):
    kind = file[:3]
    model = make()
    from_keras_weights(model, ORACLES / f"keras_{file}")
    with np.load(ORACLES / "keras_nets.npz") as stored:
        np.testing.assert_allclose(model.predict(stored[kind + "_x"]), stored[kind + "_y"], rtol=0, atol=1e-5)


def test_keras_names():
    file = ORACLES / "keras_cnn.weights.h5"
    model, same = keras_cnn(), keras_cnn(seed=5)
    from_keras_weights(model, file)
    names = ["conv2d", "depthwise_conv2d", "batch_normalization", "conv2d_1", "dense", "batch_normalization_1",
             "dense_1"]
    from_keras_weights(same, file, names)
    assert all((a == b).all() for a, b in zip(model.get_weights(), same.get_weights(), strict=True))
    before = model.get_weights()
    names[0], names[3] = names[3], names[0]
    with pytest.raises(ValueError, match=r"conv2d has kernel, bias, 'conv2d_1' in the file has 1 arrays: \(1, 1, 8"):
        from_keras_weights(model, file, names)
    for other, text in [(keras_mlp(), "no layer takes|has no dense left"),
                        (nf.Sequential([nf.Dense(3)], input_shape=(2,)), "no layer takes batch_normalization, ")]:
        with pytest.raises(ValueError, match=text):
            from_keras_weights(other, file)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))


def test_nested_and_older_keras_files(tmp_path):
    kernel, bias = np.ones((2, 3), np.float32), np.arange(3, dtype=np.float32)
    with h5py.File(tmp_path / "nested.weights.h5", "w") as file:
        group = file.create_group("layers/functional/layers/dense/vars")
        group["0"], group["1"] = kernel, bias
        file["optimizer/vars/0"] = 3
    with h5py.File(tmp_path / "old.weights.h5", "w") as file:
        file.attrs["layer_names"] = [b"flatten", b"fc"]
        file.create_group("flatten").attrs["weight_names"] = np.array([], "S1")
        file.create_group("fc").attrs["weight_names"] = [b"fc/kernel:0", b"fc/bias:0"]
        file["fc/fc/kernel:0"], file["fc/fc/bias:0"] = kernel, bias
    for name, mapping in (("nested", ["functional/dense"]), ("old", {"dense": "fc"})):
        model = nf.Sequential([nf.Dense(3)], input_shape=(2,))
        from_keras_weights(model, tmp_path / f"{name}.weights.h5", mapping)
        assert (model.predict([[1.0, 1.0]]) == [[2, 3, 4]]).all()


@pytest.mark.parametrize(("kind", "stem", "n_arrays"), [
    ("BatchNormalization", "batch_normalization", 4), ("LayerNormalization", "layer_normalization", 2)])
def test_epsilons_of_keras(kind, stem, n_arrays, tmp_path):
    path, where = tmp_path / "net.keras", [f"layers/{stem}", f"layers/functional/layers/{stem}", f"layers/{stem}_1"]
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for group in where:
            for i in range(n_arrays):
                file[f"{group}/vars/{i}"] = np.ones(3, np.float32)
    first, inner, last = ({"class_name": kind, "config": {"name": "other", "epsilon": epsilon}}
                          for epsilon in (1e-3, 1e-4, 1e-5))
    layers = [{"class_name": "InputLayer", "config": {}}, first,
              {"class_name": "Functional", "config": {"layers": [inner]}}, last]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": layers}}))
        archive.writestr("model.weights.h5", weights.getvalue())
    layer, names = {"BatchNormalization": nf.BatchNorm, "LayerNormalization": nf.LayerNorm}[kind], [
        stem, f"functional/{stem}", f"{stem}_1"]
    for i, epsilon in enumerate(("0.001", "0.0001", "1e-05")):
        given = [1e-3, 1e-4, 1e-5]
        given[i] = 0.5
        model = nf.Sequential([layer(epsilon=own) for own in given], input_shape=(3,))
        before = model.get_weights()
        with pytest.raises(ValueError, match=rf"{model.layers[i].name} has epsilon 0.5, '{names[i]}' in the file "
                                             rf"{epsilon}; give nf\.{layer.__name__}\(epsilon={epsilon}\)$"):
            from_keras_weights(model, path, names)
        assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))
    model = nf.Sequential([layer(epsilon=own) for own in (1e-3, 1e-4, 1e-5)], input_shape=(3,))
    from_keras_weights(model, path, names)
    assert all((weights == 1).all() for weights in model.get_weights())


def test_weights_in_files_that_no_layer_takes(tmp_path):
    keras, torch = tmp_path / "net.weights.h5", tmp_path / "net.safetensors"
    arrays = [np.ones(3, np.float32), np.zeros(3, np.float32), np.zeros(3, np.float32), np.float32([1, -2, 1])]
    with h5py.File(keras, "w") as file:
        for i, array in enumerate(arrays):
            file[f"layers/batch_normalization/vars/{i}"] = array
    names = ("weight", "bias", "running_mean", "running_var")
    safetensors.numpy.save_file({f"0.{name}": array for name, array in zip(names, arrays)}, torch)
    model = nf.Sequential([nf.BatchNorm()], input_shape=(3,))
    before = model.get_weights()
    for read, path in ((from_keras_weights, keras), (from_torch_state_dict, torch)):
        with pytest.raises(nf.FileFormatError, match=f"{path.name}: .*running_variance must not be below 0, got -2"):
            read(model, path)
    with pytest.raises(ValueError, match="^set_parameters: .*running_variance must not be below 0, got -2"):
        from_torch_state_dict(model, {f"0.{name}": array for name, array in zip(names, arrays)})
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))


def test_damaged_keras_files(tmp_path):
    whole = (ORACLES / "keras_cnn.weights.h5").read_bytes()
    path = tmp_path / "net.weights.h5"
    model = keras_cnn()
    before = model.get_weights()

    def refused(text="."):
        with pytest.raises(nf.FileFormatError, match=f"net.*: {text}"):
            from_keras_weights(model, path)

    for data in (b"", b"{}", pickle.dumps([1]), whole[:100], whole[:len(whole) // 2], whole[:-2000]):
        path.write_bytes(data)
        refused("is not a weight file of Keras")
    with h5py.File(path, "w") as file:
        file["layers/dense/x"] = 3
    refused("has no layers with weights")
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = h5py.SoftLink("/nowhere")
    refused("is not a weight file of Keras")
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = "text"
    refused(".*is not an array of numbers")
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", (1 << 20, 1 << 10), "f4", chunks=(1 << 10, 1 << 10))
    refused(".*bytes are stored")
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = 3
        file["layers/dense/again"] = file["layers"]
    refused(".*is there twice")
    other = tmp_path / "other.h5"
    other.write_bytes(whole)
    with h5py.File(path, "w") as file:
        file["layers"] = h5py.ExternalLink(str(other), "/layers")
    refused("has no layers with weights")
    path = tmp_path / "net.keras"
    for data in (b"", whole, b"PK\x03\x04" + bytes(100)):
        path.write_bytes(data)
        refused("is not a .keras file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    refused("is not a .keras file")
    unread = "is not a weight file of Keras"        # the weights; what a configuration does not tell is not compared
    for config, text in (('{"config": {}}', unread), ("{}", unread), ('{"config": {"layers": [1]}}', unread),
                         ('{"config": {"layers": 1}}', unread), ('{"config": null}', unread),
                         ("[" * 9999, ".*config.json cannot be read"), (b"\xff", ".*config.json cannot be read")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model.weights.h5", b"nothing")
            archive.writestr("config.json", config)
        refused(text)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))
    for missing in ("missing.keras", "missing.weights.h5"):
        with pytest.raises(FileNotFoundError):
            from_keras_weights(model, tmp_path / missing)
    with pytest.raises(IsADirectoryError):
        from_keras_weights(model, tmp_path)


def test_random_damage_to_keras_files(tmp_path):
    import random

    whole = (ORACLES / "keras_cnn.weights.h5").read_bytes()
    random_, path, model = random.Random(4), tmp_path / "net.weights.h5", keras_cnn()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(random_.choice((1, 5, 50))):
            data[random_.randrange(len(data))] = random_.randrange(256)
        path.write_bytes(data)
        try:
            from_keras_weights(model, path)
        except ValueError:
            pass    # FileFormatError is one; arrays that do not fit are another
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_h5py_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"h5py; pip install nnfast\[interop\]"):
        from_keras_weights(keras_mlp(), ORACLES / "keras_mlp.weights.h5")
