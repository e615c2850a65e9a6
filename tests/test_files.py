"""Model files: what is saved comes back with the same bits and trains on; what is damaged is refused by name."""
import copy
import json
import math
import os
import pickle
import random
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import networks
import numpy as np
import pytest
import safetensors.numpy

import nnfast as nf
from nnfast import files, tensor_file

ORACLES = Path(__file__).parent / "oracles"
OPTIMIZERS = [
    nf.SGD(0.05), nf.SGD(0.05, momentum=0.9, nesterov=True), nf.Adam(1e-2, clip_norm=1.0), nf.AdamW(1e-2),
    nf.RMSprop(1e-2, momentum=0.5), nf.Adagrad(0.1), nf.Adam(nf.schedules.WarmUp(20, nf.schedules.Cosine(0.01, 500))),
]


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


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def saved(path):
    """A trained model's file, small enough to try every length of it."""
    model = nf.Sequential([nf.Dense(3, activation="tanh"), nf.Dense(2, activation="softmax")], input_shape=(2,), seed=1)
    model.compile("adam", "cross_entropy", metrics=["accuracy"])
    x = np.random.default_rng(0).normal(size=(20, 2))
    model.fit(x, (x[:, 0] > 0).astype(int), epochs=2, verbose=0)
    model.save(path)
    return path


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


# --- round trips -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_training_goes_on_with_the_same_bits(optimizer, dtype, path):
    x, y = data()
    model = sequential(optimizer, dtype)
    model.fit(x, y, epochs=2, batch_size=32, verbose=0)
    model.save(path)
    loaded = nf.load(path)
    same_state(model, loaded)
    histories = [m.fit(x, y, epochs=3, batch_size=32, verbose=0, validation_split=0.2).history for m in (model, loaded)]
    assert histories[0] == histories[1]
    assert model.train_on_batch(x[:50], y[:50]) == loaded.train_on_batch(x[:50], y[:50])
    same_state(model, loaded)
    assert model.predict(x).tobytes() == loaded.predict(x).tobytes()


def test_graph(path):
    xs, ys = graph_data()
    model = graph()
    model.fit(xs, ys, epochs=2, verbose=0)
    model.save(path)
    loaded = nf.load(path)
    same_state(model, loaded)
    for m in (model, loaded):
        m.fit(xs, ys, epochs=2, verbose=0)
    same_state(model, loaded)
    assert [p.tobytes() for p in model.predict(xs)] == [p.tobytes() for p in loaded.predict(xs)]
    assert loaded.output_names == ["policy", "value"] and loaded.input_names == ["a", "b"]


def test_convolutions(path):
    """Running statistics are among the weights, the order of axes in the architecture."""
    model, (x, y) = images(), image_data()
    model.fit(x, y, epochs=2, verbose=0)
    model.save(path)
    loaded = nf.load(path)
    assert loaded.data_format == "channels_first"
    for m in (model, loaded):
        m.fit(x, y, epochs=2, verbose=0)
    same_state(model, loaded)
    assert model.predict(x).tobytes() == loaded.predict(x).tobytes()
    same_state(model, pickle.loads(pickle.dumps(model)))


def test_compiled_but_not_trained(path):
    model = sequential()
    model.save(path)
    loaded = nf.load(path)
    x, y = data()
    for m in (model, loaded):
        m.fit(x, y, epochs=1, verbose=0)
    same_state(model, loaded)


def test_not_compiled(path):
    model = nf.Sequential([nf.Dense(4)], input_shape=(3,), seed=2)
    model.save(path)
    loaded = nf.load(path)
    assert not loaded.compiled
    same_state(model, loaded)


def test_built_by_data(path):
    model = nf.Sequential([nf.Dense(4)], seed=2)
    with pytest.raises(ValueError, match="is not built"):
        model.save(path)
    assert not path.exists()
    y = model.predict(np.ones((1, 3)))
    model.save(path)
    assert nf.load(path).predict(np.ones((1, 3))).tobytes() == y.tobytes()


def test_without_optimizer_state(path):
    x, y = data()
    model = sequential()
    model.fit(x, y, epochs=2, verbose=0)
    model.save(path)
    size = path.stat().st_size
    model.save(path, include_optimizer=False)
    assert path.stat().st_size < size
    loaded = nf.load(path)
    assert loaded.compiled and loaded.iterations == 0 and loaded.epochs_trained == 0
    assert loaded.predict(x).tobytes() == model.predict(x).tobytes()
    assert not any(name.startswith("optimizer/") for name in safetensors.numpy.load_file(path))


def test_frozen_layer_and_learning_rate_set_later(path):
    x, y = data()
    model = sequential()
    model.get_layer("hidden").trainable = False
    model.fit(x, y, epochs=1, verbose=0)
    model.optimizer.learning_rate = 0.5
    model.save(path)
    loaded = nf.load(path)
    assert loaded.optimizer.learning_rate == 0.5 and not loaded.get_layer("hidden").trainable
    same_state(model, loaded)


def test_an_awkwardly_named_layer(path):
    layers = [nf.Dense(2, name="optimizer"), nf.Dense(1, name="Schicht \u00df\u4e2d \"x\" .\n")]
    model = nf.Sequential(layers, input_shape=(2,))
    model.compile("adam", "squared_error")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    model.save(path)
    same_state(model, nf.load(path))


def test_other_programs_can_read_the_file(saved):
    tensors = safetensors.numpy.load_file(saved)
    model = nf.load(saved)
    assert set(model.parameters) | {f"optimizer/{name}" for name in model.optimizer_state()} == set(tensors)
    assert (tensors["dense/kernel"] == model.parameters["dense/kernel"]).all()
    with safetensors.safe_open(saved, "numpy") as file:
        metadata = json.loads(file.metadata()["nnfast"])
    assert metadata["format"] == 1 and metadata["version"] == nf.__version__


def test_equal_models_make_equal_files(saved, tmp_path):
    again = tmp_path / "again.safetensors"
    for _ in range(10):         # safetensors alone would write the two texts in either order
        nf.load(saved).save(again)
        assert again.read_bytes() == saved.read_bytes()


def test_path_may_be_a_string(saved):
    same_state(nf.load(str(saved)), nf.load(saved))
    for wrong in (None, 3):
        with pytest.raises(TypeError):
            nf.load(wrong)


def test_history_class_names_and_the_name_of_the_input(path):
    x, y = data()
    model = nf.Sequential([nf.Input((6,), name="petals"), nf.Dense(3, activation="softmax")])
    model.compile("adam", "cross_entropy", metrics=["accuracy"])
    model.class_names = ["a", "b", "\u00e7"]
    first = model.fit(x, y, epochs=2, verbose=0, validation_split=0.1)
    first.history["odd"] = [math.nan, -math.inf]
    model.save(path)
    for other in (nf.load(path), pickle.loads(pickle.dumps(model))):
        same_state(model, other)
        assert other.input_names == ["petals"] and other.class_names == ["a", "b", "\u00e7"]
        assert repr(other.history.history) == repr(first.history) and other.history.epoch == [0, 1]
        assert other.history.seconds == first.seconds
        other.class_names[0] = "a copy"
        assert other.class_names[0] == "a"
    assert model.clone().class_names == copy.deepcopy(model).class_names == model.class_names


def test_class_names_are_checked():
    model = nf.Sequential([nf.Dense(3)])
    model.class_names = ["a", "b"]
    with pytest.raises(ValueError, match="output 'dense' has 3 values, got 2 names"):
        model.predict(np.ones((1, 2)))
    assert not model.built
    model.class_names = None
    model.predict(np.ones((1, 2)))
    for names, error, text in [("abc", TypeError, "expected a list of non-empty texts, got 'abc'"),
                               (["a", "b", 3], TypeError, "got \\['a', 'b', 3\\]"),
                               (["a", "b", ""], TypeError, "non-empty"),
                               (["a", "b", "a"], ValueError, "'a' appears twice"),
                               ({"other": ["a"]}, ValueError, "unknown output 'other'; this model has dense"),
                               (["a"], ValueError, "has 3 values, got 1 names")]:
        with pytest.raises(error, match=text):
            model.class_names = names
        assert model.class_names is None
    yes_no = nf.Sequential([nf.Dense(1, activation="sigmoid")], input_shape=(2,))
    yes_no.class_names = ["no", "yes"]
    two = graph()
    with pytest.raises(ValueError, match="expected a dict of lists by output name"):
        two.class_names = ["a", "b", "c"]
    two.class_names = {"policy": ["left", "right", "stay"]}
    assert pickle.loads(pickle.dumps(two)).class_names == two.class_names


@pytest.mark.parametrize("make", [sequential, graph, images, lambda: nf.Sequential([nf.Dense(2)])])
def test_json(make):
    model = make()
    text = model.to_json()
    assert json.loads(text)["model"]["class"] == type(model).__name__
    other = nf.Model.from_json(text)
    assert other.to_json() == text and nf.from_json(text.encode()).to_json() == text
    assert nf.from_json(nf.to_json(model, indent=2)).to_json() == text
    assert other.built == model.built and other.compiled == model.compiled
    if model.built:
        same_state(model, other)    # the same seed draws the same weights
    if model.compiled:
        x, y = {sequential: data, graph: graph_data, images: image_data}[make]()
        model.fit(x, y, verbose=0)
        assert model.to_json() == text


@pytest.mark.parametrize("text, message", [
    ("", "the text is not valid JSON"), ("[]", "not a JSON object"), ("{}", "has format None"),
    ("[" * 99, "more than 32"),
    (json.dumps({"format": 1}), "must have the entries"), ("\ud800", "not valid JSON"), ("NaN", "not a JSON number"),
])
def test_bad_json(text, message):
    with pytest.raises(nf.FileFormatError, match=f"from_json: .*{message}"):
        nf.from_json(text)
    with pytest.raises(TypeError, match="expected a text, got dict"):
        nf.from_json({})


def test_json_of_the_wrong_kind(saved):
    inner = json.loads(split(saved)[0]["__metadata__"]["nnfast"])
    with pytest.raises(nf.FileFormatError, match="a model without tensors has no training state"):
        nf.from_json(json.dumps(inner))
    inner["training"] = None
    inner["model"]["layers"][0]["config"]["units"] = 2**60
    with pytest.raises(nf.FileFormatError, match="dense: kernel .* elements, more than"):
        nf.from_json(json.dumps(inner))


def test_a_pickle_holds_a_file(saved):
    model = nf.load(saved)
    assert saved.read_bytes() in pickle.dumps(model)
    text = pickle.dumps(model).replace(b"dense/kernel", b"dense/kernal")
    with pytest.raises(nf.FileFormatError, match="pickled model: "):
        pickle.loads(text)


def absolute(x):
    return abs(x)


def absolute_backward(dy, x, y):
    return dy * np.sign(x)


def test_models_with_functions_pickle_with_them():
    model = nf.Sequential([nf.Lambda(absolute, absolute_backward), nf.Dense(2)], input_shape=(2,))
    model.compile("adam", "squared_error")
    model.train_on_batch(np.ones((2, 2)), np.ones((2, 2)))
    other = pickle.loads(pickle.dumps(model))
    for m in (model, other):
        m.train_on_batch(np.ones((2, 2)), np.ones((2, 2)))
    assert all((a == b).all() for a, b in zip(model.get_weights(), other.get_weights(), strict=True))


@pytest.mark.parametrize("number", [1])
def test_files_of_every_released_format(number):
    """Architecture, weights, optimizer, history: later versions go on from a file of this one."""
    with np.load(ORACLES / f"format{number}.npz") as stored:
        for name in ("dense", "conv"):
            model = nf.load(ORACLES / f"format{number}_{name}.safetensors")
            x, labels = stored[f"{name}_x"] / 16, stored[f"{name}_labels"]
            predicted = model.predict(x)
            for i, y in enumerate(predicted if isinstance(predicted, list) else [predicted]):
                np.testing.assert_allclose(y, stored[f"{name}_y{i}"], rtol=0, atol=1e-6)
            assert model.compiled and model.iterations == 6 and model.epochs_trained == 2
            assert len(model.history.history["loss"]) == 2
            y = labels if name == "dense" else [labels, x[:, 0, 0, :1]]
            loss = model.fit(x, y, epochs=1, batch_size=8, verbose=0).history["loss"]
            np.testing.assert_allclose(loss, stored[f"{name}_loss"], rtol=1e-5)
    first = nf.load(ORACLES / f"format{number}_dense.safetensors")
    assert first.class_names == ["setosa", "versicolor", "virginica"] and first.input_names == ["petals"]
    assert first.name == "iris" and first.optimizer.clip_norm == 1.0 and first.get_layer("species").units == 3
    second = nf.load(ORACLES / f"format{number}_conv.safetensors")
    assert second.data_format == "channels_first" and second.dtype == "float64" and second.input_shape == (2, 9, 8)


# --- what cannot be saved --------------------------------------------------------------------------------------------

class MyLayer(nf.Dense):
    pass


class MyModel(nf.Sequential):
    pass


def compiled(layers=None, cls=nf.Sequential, **settings):
    model = cls(layers or [nf.Dense(2)], input_shape=(2,))
    model.compile(**({"optimizer": "sgd", "loss": "squared_error"} | settings))
    return model


@pytest.mark.parametrize("make, text", [
    (lambda: compiled([nf.Dense(2), nf.Lambda(abs, lambda dy, x, y: dy * np.sign(x))]), "lambda.*cannot be written"),
    (lambda: compiled(loss=lambda t, y: ((y - t).sum(1), np.ones_like(y))), "CustomLoss.*cannot be written"),
    (lambda: compiled(optimizer=nf.SGD(lambda step: 0.1)), "SGD.*cannot be written"),
    (lambda: nf.Sequential([nf.Dense(2)]), "not built"),
])
def test_models_that_cannot_be_saved(make, text, path):
    path.write_bytes(b"precious")
    with pytest.raises(ValueError, match=text):
        make().save(path)
    assert path.read_bytes() == b"precious" and os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("make", [lambda: compiled([MyLayer(2)]), lambda: compiled(cls=MyModel), lambda: "model"])
def test_classes_of_your_own_cannot_be_saved(make, path):
    with pytest.raises((TypeError, ValueError), match="MyLayer|MyModel|str"):
        nf.save(make(), path)
    assert not path.exists()


# --- writing safely --------------------------------------------------------------------------------------------------

class Trouble(OSError):
    pass


@pytest.mark.parametrize("function", ["os.fsync", "os.replace", "os.open", "os.chmod"])
def test_the_old_file_survives_an_error(function, saved, monkeypatch):
    before = saved.read_bytes()
    model = nf.load(saved)
    model.set_weights([w + 1 for w in model.get_weights()])

    def fail(*arguments, **more):
        raise Trouble(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(function, fail)
        with pytest.raises(Trouble):
            model.save(saved)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name], "a temporary file was left behind"
    model.save(saved)
    assert saved.read_bytes() != before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_full_disk(saved, monkeypatch):
    """The write itself fails: the file that `save` opens is a device without space."""
    before = saved.read_bytes()
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, *more: real("/dev/full", os.O_WRONLY))
    with pytest.raises(OSError, match="No space left"):
        nf.load(saved).save(saved)
    monkeypatch.undo()
    assert saved.read_bytes() == before


def test_interrupted_while_writing(saved, monkeypatch):
    before = saved.read_bytes()

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        nf.load(saved).save(saved)
    assert saved.read_bytes() == before and os.listdir(saved.parent) == [saved.name]


def test_folder_as_path(tmp_path, saved):
    for operation in (nf.load, nf.load(saved).save):
        with pytest.raises(OSError):
            operation(tmp_path)
    with pytest.raises(FileNotFoundError):
        nf.load(saved).save(tmp_path / "missing" / "model.safetensors")
    with pytest.raises(FileNotFoundError):
        nf.load(tmp_path / "missing.safetensors")
    assert os.listdir(tmp_path) == [saved.name]


def test_no_permission(saved, monkeypatch):
    def refuse(*arguments, **more):
        raise PermissionError(13, "Permission denied")

    model = nf.load(saved)
    before = saved.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(PermissionError):
            model.save(saved)
    assert saved.read_bytes() == before
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PermissionError):
        nf.load(saved)


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_mode_and_link_are_kept(saved, tmp_path):
    model = nf.load(saved)
    os.chmod(saved, 0o640)
    link = tmp_path / "link.safetensors"
    link.symlink_to(saved.name)
    model.set_weights([w + 1 for w in model.get_weights()])
    model.save(link)
    assert link.is_symlink() and saved.stat().st_mode & 0o777 == 0o640
    same_state(nf.load(saved), model)
    fresh = tmp_path / "fresh.safetensors"
    umask = os.umask(0o027)
    try:
        model.save(fresh)
    finally:
        os.umask(umask)
    assert fresh.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a regular file")


def test_weights_that_are_not_finite(saved):
    model = nf.load(saved)
    text, tensors = split(saved)[0]["__metadata__"]["nnfast"], safetensors.numpy.load_file(saved)
    for bad in (np.nan, np.inf):
        tensors["dense/kernel"][0, 0] = bad
        safetensors.numpy.save_file(tensors, saved, sealed(text, tensors))
        refused(saved, "tensor dense/kernel holds values that are not finite")
    assert np.isfinite(model.get_weights()[0]).all()


# --- damaged and foreign files ---------------------------------------------------------------------------------------

def test_cut_off_anywhere(saved):
    whole = saved.read_bytes()
    for length in {*range(0, len(whole), 7), *range(20), *range(len(whole) - 20, len(whole))}:
        saved.write_bytes(whole[:length])
        refused(saved, ".")
    saved.write_bytes(whole + b"\0")
    refused(saved, LIBRARY)


def test_foreign_files(path):
    for content in (b"", b"\x93NUMPY\x01\x00v\x00{'descr'", b"\x89HDF\r\n\x1a\n" + bytes(100),
                    b"PK\x03\x04" + bytes(200), b"\x80\x04\x95" + bytes(60), b"{}" * 50, os.urandom(1000)):
        path.write_bytes(content)
        refused(path, ".")
    safetensors.numpy.save_file({"w": np.ones(3, np.float32)}, path)
    refused(path, "not a model file of nnfast")
    safetensors.numpy.save_file({"w": np.ones(3, np.float32)}, path, {"format": "pt"})
    refused(path, "not a model file of nnfast")


def test_huge_header(saved, monkeypatch):
    body = saved.read_bytes()[8:]
    for length in (2**64 - 1, 2**63, 2**40, 100 << 20):
        saved.write_bytes(struct.pack("<Q", length) + body)
        refused(saved, f"says its header has {length} bytes, more than 33554432")
    saved.write_bytes(struct.pack("<Q", len(body) + 1) + body)
    refused(saved, LIBRARY)
    monkeypatch.setattr(tensor_file, "MAX_HEADER", 10)
    saved.write_bytes(struct.pack("<Q", len(body)) + body)
    refused(saved, "more than 10")


@pytest.mark.parametrize("change, text", [
    (lambda h: h["dense/kernel"].update(data_offsets=[0, 24]), LIBRARY),        # overlaps another
    (lambda h: h["dense/bias"]["data_offsets"].reverse(), LIBRARY),
    (lambda h: h["dense/bias"].update(data_offsets=[2**40, 2**40 + 12]), LIBRARY),
    (lambda h: h["dense/bias"].update(data_offsets=[-12, 0]), LIBRARY),
    (lambda h: h["dense/bias"].update(data_offsets=[0.0, 12.0]), LIBRARY),
    (lambda h: h["dense/bias"].update(data_offsets=[0, 12, 24]), LIBRARY),
    (lambda h: h["dense/bias"].update(data_offsets=[False, 12]), LIBRARY),
    (lambda h: h["dense/bias"].update(data_offsets={}), LIBRARY),
    (lambda h: h["dense/bias"].update(shape=[4]), LIBRARY),
    (lambda h: h["dense/bias"].update(shape=[2**62, 2**62]), LIBRARY),
    (lambda h: h["dense/bias"].update(shape=[1] * 9 + [3]), r"the architecture expects \(3,\)"),
    (lambda h: h["dense/bias"].update(shape=[1] * 70 + [3]), r"tensor dense/bias: shape \[1, 1, .*\.\.\.: maximum"),
    (lambda h: h.update(a={"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}), r"tensor a: shape \[0, "),
    (lambda h: h.update(a={"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}), "tensor a|unknown a|damaged"),
    (lambda h: h["dense/bias"].update(shape="3"), LIBRARY),
    (lambda h: h["dense/bias"].update(dtype="I32"), "tensor dense/bias is int32, expected float32 or float64"),
    (lambda h: h["dense/bias"].update(dtype="U32"), "tensor dense/bias is uint32, expected float32 or float64"),
    (lambda h: h["dense/bias"].update(dtype="F16", shape=[6]), "tensor dense/bias is float16, expected float32"),
    (lambda h: h["dense/bias"].update(dtype="BF16", shape=[6]), "is damaged: its checksum"),
    (lambda h: h["dense/bias"].update(dtype="F8_E4M3", shape=[12]), "dense/bias: dtype F8_E4M3, expected F64 or F32"),
    (lambda h: h["dense/bias"].update(dtype="X"), LIBRARY),
    (lambda h: h["dense/bias"].update(dtype=["F32"]), LIBRARY),
    (lambda h: h["dense/bias"].pop("shape"), LIBRARY),
    (lambda h: h.update({"dense/bias": 3}), LIBRARY),
    (lambda h: h.pop("dense/bias"), LIBRARY),
    (lambda h: h.pop("__metadata__"), "not a model file of nnfast"),
    (lambda h: h["__metadata__"].pop("checksum"), "is damaged: its checksum is None"),
    (lambda h: h["__metadata__"].update(checksum="00000000"), "is damaged: its checksum is '00000000'"),
    (lambda h: h["__metadata__"].update(nnfast=h["__metadata__"]["nnfast"].replace("0.001", "0.002")), "is damaged"),
    (lambda h: h["__metadata__"].update(more=3), LIBRARY),
    (lambda h: h["__metadata__"].update(nnfast=3), LIBRARY),
    (lambda h: h.update(__metadata__=[]), LIBRARY),
    (lambda h: h.update(__metadata__=None), "not a model file of nnfast"),
    (lambda h: h["__metadata__"].update(nnfast="{"), "the metadata is not valid JSON"),
    (lambda h: h["__metadata__"].update(nnfast="3"), "the metadata is not a JSON object"),
    (lambda h: h["__metadata__"].update(nnfast='{"format": NaN}'), "NaN is not a JSON number"),
    (lambda h: h["__metadata__"].update(nnfast='{"format": 1, "format": 1}'), "'format' appears twice"),
    (lambda h: h["__metadata__"].update(nnfast="[" * 100_000), "more than 32 objects or lists"),
    (lambda h: h["__metadata__"].update(nnfast='{"a":' * 100_000), "more than 32 objects or lists"),
    (lambda h: h["__metadata__"].update(nnfast="9" * 10_000), "the metadata is not valid JSON"),
    (lambda h: h["__metadata__"].update(nnfast="\ud800"), LIBRARY),
])
def test_tampered_header(saved, change, text):
    header, body = split(saved)
    change(header)
    join(saved, header, body)
    refused(saved, text)


@pytest.mark.parametrize("text, message", [
    (b"[]", LIBRARY),
    (b"{", LIBRARY),
    (b'{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, '
     b'"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}', "the key 'a' appears twice"),
    (b'{"__metadata__": {"a": "1", "a": "2"}}', "the key 'a' appears twice"),
    (b'{"__metadata__": {}, "__metadata__": {}}', LIBRARY),
    (b'{"\xff": 1}', LIBRARY),
    (b"[" * 100_000, LIBRARY),
    (b'{"a":' * 100_000, LIBRARY),
    (b'{"__metadata__": {"nnfast": "{}", "checksum": ""}}', "has format None; this version of nnfast, .*, reads 1"),
])
def test_header_text(path, text, message):
    join(path, text, b"")
    refused(path, message)


@pytest.mark.skipif(sys.platform != "linux", reason="needs files with holes")
def test_a_file_of_a_terabyte_is_not_read(saved):
    os.truncate(saved, 2**40)
    refused(saved, LIBRARY)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory that holds")
def test_a_file_larger_than_memory(tmp_path):
    """It fits once, but not with the copy that safetensors makes, which would panic."""
    path = tmp_path / "large.safetensors"
    safetensors.numpy.save_file({"w": np.zeros(20 << 20, np.float32)}, path)
    code = ("import re, resource, sys\nimport safetensors\n"
            "from nnfast.tensor_file import FileFormatError, naming, read\n"
            "used = int(re.search(r'VmSize:\\s+(\\d+)', open('/proc/self/status').read())[1]) << 10\n"
            "resource.setrlimit(resource.RLIMIT_AS, (used + (110 << 20),) * 2)\n"
            "try:\n    with naming('it'):\n        read(sys.argv[1])\n"
            "except FileFormatError as error:\n    print(error)\n")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("it: does not fit into memory\n", "")


def test_arrays_of_any_kind_and_layout():
    tensors = {"none": np.array(3.0), "empty": np.ones((0, 3), np.float32), "f": np.asfortranarray(np.eye(3)[:2]),
               "slice": np.arange(12, dtype=np.float32)[::-2], "T": np.arange(6.0).reshape(2, 3).T}
    tensors |= {dtype: np.array([[1, 0, 1]]).astype(dtype)
                for dtype in ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2")}
    metadata, read = tensor_file.decode(b"".join(tensor_file.encode(tensors, {"b": "\u00df\x00\x7f\"\n", "a": ""})))
    assert metadata == {"b": "\u00df\x00\x7f\"\n", "a": ""} and set(read) == set(tensors)
    for name, array in tensors.items():
        assert read[name].dtype == array.dtype and read[name].shape == array.shape and (read[name] == array).all()


def test_brackets_in_strings_are_not_nesting(path):
    model = nf.Sequential([nf.Dense(1, name="[" * 50 + '\\"{' * 50)], input_shape=(1,))
    model.save(path)
    same_state(model, nf.load(path))


def layer(description, i=0):
    return description["model"]["layers"][i]


@pytest.mark.parametrize("change, text", [
    (lambda d: d.update(format=2), "has format 2; this version of nnfast, .*, reads 1"),
    (lambda d: d.update(format=True), "has format True"),
    (lambda d: d.update(format="1"), "has format '1'"),
    (lambda d: d.pop("compile"), "must have the entries"),
    (lambda d: d.update(extra=1), "must have the entries"),
    (lambda d: d.update(class_names="ab"), "class_names: expected a list"),
    (lambda d: d.update(class_names=["a", "b", "c"]), "class_names: output 'dense_1' has 2 values, got 3 names"),
    (lambda d: d["training"].update(history=[]), "history must be lists by name"),
    (lambda d: d["training"]["history"]["history"].update(loss=["much"]), "expected a number, got 'much'"),
    (lambda d: d["training"]["history"].update(epoch=[None]), "epochs must be integers"),
    (lambda d: layer(d).update({"class": "Conv9D"}), "unknown layer 'Conv9D'"),
    (lambda d: layer(d).update({"class": "Lambda"}), "unknown layer 'Lambda'"),
    (lambda d: layer(d).update({"class": ["Dense"]}), "unknown layer"),
    (lambda d: layer(d).pop("config"), "layer"),
    (lambda d: layer(d)["config"].update(units=4),
     r"tensor dense/kernel has shape \(2, 3\), the architecture expects \(2, 4\)"),
    (lambda d: layer(d)["config"].update(units=10**9), "the architecture expects"),
    (lambda d: layer(d)["config"].update(units=10**12), "dense: kernel .* has 2,000,000,000,000 elements"),
    (lambda d: layer(d)["config"].update(units=10**30), "architecture"),
    (lambda d: layer(d)["config"].update(units="3"), "units"),
    (lambda d: layer(d)["config"].update(units=True), "units"),
    (lambda d: layer(d)["config"].update(colour=1), "colour"),
    (lambda d: layer(d)["config"].update(name="other"), "missing dense/kernel|missing other/kernel"),
    (lambda d: layer(d)["config"].update(use_bias=False), "unknown dense/bias"),
    (lambda d: layer(d)["config"].update(kernel_initializer={"class": "os.system", "config": {}}),
     "unknown initializer"),
    (lambda d: layer(d)["config"].update(activation=[[]]), "architecture is not valid"),
    (lambda d: d["model"].update(layers=[]), "architecture is not valid"),
    (lambda d: d["model"].update(layers={}), "'layers' must be a list"),
    (lambda d: d["model"].update(layers=[layer(d)] * 10_001), "10001 layers, more than 10000"),
    (lambda d: d["model"].update(dtype="float64"), "tensor .* is float32, the model is 'float64'"),
    (lambda d: d["model"].update(dtype="float16"), "tensor .* is float32, the model is 'float16'"),
    (lambda d: d["model"].update(dtype=3), "dtype must be a string"),
    (lambda d: d["model"].update(input_shape=None), "input_shape|shape"),
    (lambda d: d["model"].update(input_shape=[0]), "architecture is not valid"),
    (lambda d: d["model"].update(input_shape=[2**70]), "architecture is not valid"),
    (lambda d: d["model"].update(seed=-1), "seed"),
    (lambda d: d["model"].update(seed=0.5), "seed"),
    (lambda d: d["model"].update({"class": "Transformer"}), "architecture is not valid"),
    (lambda d: d["model"].pop("seed"), "missing seed"),
    (lambda d: d.update(model=None), "model must be a JSON object"),
    (lambda d: d["compile"]["optimizer"].update({"class": "Lion"}), "unknown optimizer 'Lion'"),
    (lambda d: d["compile"]["optimizer"]["config"].update(beta1=2.0), "beta1"),
    (lambda d: d["compile"].update(loss="hinge"), "compile settings are not valid"),
    (lambda d: d["compile"].update(loss="squared_error", metrics=["beauty"]), "compile settings are not valid"),
    (lambda d: d["compile"].update(callbacks=[]), "compile settings are not valid"),
    (lambda d: d["compile"].update(n_threads=-1), "n_threads"),
    (lambda d: d["compile"].update(n_threads=10**9), "n_threads"),
    (lambda d: d.update(compile=[]), "compile must be a JSON object"),
    (lambda d: d.update(compile=None), "but no compile settings"),
    (lambda d: d.update(training=None), "has optimizer state"),
    (lambda d: d.update(training=3), "training must be the counters"),
    (lambda d: d["training"].update(iterations=-1), "training must be the counters"),
    (lambda d: d["training"].update(iterations=2**80), "training must be the counters"),
    (lambda d: d["training"].update(iterations=True), "training must be the counters"),
    (lambda d: d["training"].pop("epochs_trained"), "training must be the counters"),
    (lambda d: d["compile"].update(optimizer={"class": "SGD", "config": {}}),
     "optimizer state does not fit: .*unknown"),
])
def test_tampered_metadata(saved, change, text):
    edit(saved, change)
    refused(saved, text)


def test_doubling_shapes_are_refused(tmp_path):
    """A few bytes of architecture must not describe a model that no memory holds."""
    path = tmp_path / "bomb.safetensors"
    x = nf.Input((1,))
    model = nf.Model(x, nf.Dense(1)(nf.Concatenate()([x, x])))
    model.save(path)

    def bomb(description):
        model = description["model"]
        model["layers"] = [model["layers"][0]]
        model["nodes"] = [{"layer": 0, "inputs": [i, i]} for i in range(60)]
        model["outputs"] = [60]

    edit(path, bomb)
    refused(path, "output .* elements, more than|its tensors are not those")


@pytest.mark.parametrize("remove, text", [
    ("dense/bias", "missing dense/bias"),
    ("optimizer/dense/bias/m", "missing dense/bias/m"),
])
def test_missing_and_unknown_tensors(saved, remove, text):
    tensors = safetensors.numpy.load_file(saved)
    inner = split(saved)[0]["__metadata__"]["nnfast"]

    def refuse(changed, text):
        safetensors.numpy.save_file(changed, saved, sealed(inner, changed))
        refused(saved, text)

    refuse({k: v for k, v in tensors.items() if k != remove}, text)
    refuse(tensors | {remove + "_": tensors[remove]}, f"unknown {re.escape(text.split()[-1])}_")
    refuse(tensors | {remove: np.ones((7, 7), np.float32)}, r"\(7, 7\)")
    refuse(tensors | {remove: tensors[remove].astype(np.float64)}, "is float64, the model is 'float32'")
    safetensors.numpy.save_file(tensors, saved, sealed(inner, tensors))     # in another order of the tensors
    nf.load(saved)


# --- random damage ---------------------------------------------------------------------------------------------------

NUMBERS = (b"0", b"-1", b"1", b"999", b"4294967296", b"18446744073709551615", b"1e999", b"0.5", b"null", b"true", b"[]",
           b"{}", b'"x"')


def damaged(whole, end, random_):
    """A copy with bits, bytes, numbers and words changed, pieces removed and doubled, mostly before `end`."""
    data = bytearray(whole)
    for _ in range(random_.choice((1, 1, 1, 2, 5))):
        at = random_.randrange(min(end if random_.random() < 0.9 else len(data), len(data)) or 1)
        kind = random_.randrange(6)
        if kind == 0:
            data[at] ^= 1 << random_.randrange(8)
        elif kind == 1:
            data[at] = random_.choice(b'{}[]",:0123456789-eE.\\ntf\x00\xff ')
        elif kind == 2:
            del data[at:at + random_.choice((1, 2, 10, 100))]
        elif kind == 3:
            data[at:at] = data[at:at + random_.choice((1, 2, 10, 100))]
        else:
            # A number, or a word, in place of another.
            pattern = rb"\d+" if kind == 4 else rb"[A-Za-z_]{3,}"
            places = [match.span() for match in re.finditer(pattern, data[:end])]
            if places:
                start, stop = random_.choice(places)
                other = slice(*random_.choice(places))
                data[start:stop] = random_.choice(NUMBERS) if kind == 4 else data[other]
        if not data:
            break
    return bytes(data)


def mutations(whole, count, seed):
    """Damaged files: the bytes as they lie there, or our own text or the header with all around it put right."""
    random_ = random.Random(seed)
    (length,) = struct.unpack("<Q", whole[:8])
    header, body = whole[8:8 + length], whole[8 + length:]
    text = json.loads(header)["__metadata__"]["nnfast"].encode()
    tensors = safetensors.numpy.load(whole)
    for _ in range(count):
        kind = random_.random()
        if kind < 0.25:
            data = bytearray(damaged(whole, 8 + length, random_))
            if random_.random() < 0.2:
                wrong = random_.choice((0, 1, 8, length - 1, length + 1, len(whole), 2**32, 2**63))
                data[:8] = struct.pack("<Q", wrong)
            yield bytes(data)
        elif kind < 0.5:
            new = damaged(header, length, random_)
            yield struct.pack("<Q", len(new)) + new + body
        else:
            new = damaged(text, len(text), random_).decode("utf-8", "replace")
            yield safetensors.numpy.save(tensors, sealed(new, tensors))


def same_or_refused(path, data):
    """Only two things may happen: FileFormatError, or a model that predicts. True if it loads."""
    with open(path, "r+b") as file:     # writing a new file each time takes longer than all the rest
        file.write(data)
        file.truncate()
    try:
        model = nf.load(path)
    except nf.FileFormatError as error:
        assert str(path) in str(error)
        return False
    except BaseException as error:
        error.add_note(f"the file was {data!r}")
        raise
    if model.built and math.prod(model.input_shapes[0]) < 1e6:
        # The damage may have changed names and shapes of the inputs, but this is a whole model.
        model.predict(dict(zip(model.input_names, [np.ones((1, *shape)) for shape in model.input_shapes])))
    return True


@pytest.mark.parametrize("kind, count", [("small", 6000), ("settings", 5000), ("graph", 5000), ("images", 4000)])
def test_random_damage(kind, count, saved):
    """20,000 files, in well under a minute."""
    if kind != "small":
        x, y = {"settings": data, "graph": graph_data, "images": image_data}[kind]()
        model = {"settings": sequential, "graph": graph, "images": images}[kind]()
        model.fit(x, y, epochs=1, verbose=0)
        model.save(saved)
    started = time.perf_counter()
    loaded = sum(same_or_refused(saved, mutated) for mutated in mutations(saved.read_bytes(), count, len(kind)))
    assert count * 0.01 < loaded < count * 0.5      # both ways are tested: what is harmless still loads
    assert time.perf_counter() - started < 60
