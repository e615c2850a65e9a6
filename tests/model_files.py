"""Models to save, and what takes model files apart."""
import json
import struct

import networks
import numpy as np
import pytest
import safetensors.numpy

import nnfast as nf
from nnfast import files


def data(n=300, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6))
    return x, (x[:, :3] + 0.3 * x[:, 3:]).argmax(axis=1)


def sequential(optimizer="adam", dtype="float32", **settings):
    model = nf.Sequential([
        nf.Dense(16, activation=nf.Activation("leaky_relu", alpha=0.2), kernel_regularizer=nf.L1L2(1e-4, 1e-3)),
        nf.Dropout(0.2),
        nf.Dense(8, activation="elu", use_bias=False, kernel_initializer=nf.initializers.HeNormal(), name="hidden"),
        nf.Dense(3, activation="softmax"),
    ], input_shape=(6,), dtype=dtype, seed=7, name="digits")
    model.compile(optimizer, "cross_entropy", metrics=["accuracy", nf.TopKAccuracy(2)], **settings)
    return model


def graph():
    a, b = nf.Input((6,), name="a"), nf.Input((2, 3), name="b")
    h = nf.Add()([nf.Dense(6, activation="tanh")(a), nf.Flatten()(b)])
    h = nf.Reshape((3, 4))(nf.Concatenate()([h, nf.Activation("gelu")(a)]))
    h = nf.Flatten()(nf.Dense(5, activation="silu")(h))
    outputs = [nf.Dense(3, activation="softmax", name="policy")(h), nf.Dense(1, name="value")(h)]
    model = nf.Model([a, b], outputs, seed=3)
    model.compile(nf.SGD(0.01, momentum=0.9), loss={"policy": "cross_entropy", "value": nf.Huber(0.5)},
                  loss_weights={"policy": 1.0, "value": 0.25}, metrics={"policy": ["accuracy"]},
                  regularizer=nf.L2(1e-3), n_threads=2)
    return model


def images():
    model = networks.image_net("norm", "channels_first")
    model.compile("adam", nf.CrossEntropy(from_logits=True))
    return model


def image_data():
    rng = np.random.default_rng(3)
    return rng.normal(size=(40, 3, 8, 8)), rng.integers(0, 5, 40)


def graph_data():
    x, labels = data()
    return [x, x.reshape(-1, 2, 3)], [labels, x[:, :1]]


def same_state(a, b):
    assert type(a) is type(b) and a.name == b.name and a.seed == b.seed and a.dtype == b.dtype
    assert a.get_config() == b.get_config()
    assert a.get_compile_config() == b.get_compile_config()
    assert a.iterations == b.iterations and a.epochs_trained == b.epochs_trained
    for ours, theirs in ((a.parameters, b.parameters), (a.optimizer_state(), b.optimizer_state())):
        assert list(ours) == list(theirs)
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype and ours[name].tobytes() == theirs[name].tobytes(), name


def split(path):
    """(header as Python objects, data) of a safetensors file."""
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    return json.loads(whole[8:8 + length]), whole[8 + length:]


def join(path, header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def sealed(text, tensors):
    """The metadata of a file with this text of ours and these tensors: its checksum is right."""
    return {"nnfast": text, "checksum": files.checksum(text, tensors)}


def edit(path, change):
    """Rewrites the file after `change(metadata)` of our own JSON, with a checksum that fits."""
    header, body = split(path)
    inner = json.loads(header["__metadata__"]["nnfast"])
    change(inner)
    header["__metadata__"] = sealed(json.dumps(inner), safetensors.numpy.load_file(path))
    join(path, header, body)


#: what the safetensors package refuses; its own words, which follow, change with its version
LIBRARY = "is damaged, or not a safetensors file: ."


def refused(path, text):
    with pytest.raises(nf.FileFormatError, match=text) as caught:
        nf.load(path)
    assert str(caught.value).startswith(f"{path}: ")
