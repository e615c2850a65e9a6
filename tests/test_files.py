"""Model files: what is saved comes back with the same bits and trains on."""
import copy
import json
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from model_files import data, graph, graph_data, image_data, images, refused, same_state, sealed, sequential, split

import nnfast as nf

ORACLES = Path(__file__).parent / "oracles"
OPTIMIZERS = [
    nf.SGD(0.05), nf.SGD(0.05, momentum=0.9, nesterov=True), nf.Adam(1e-2, clip_norm=1.0), nf.AdamW(1e-2),
    nf.RMSprop(1e-2, momentum=0.5), nf.Adagrad(0.1), nf.Adam(nf.schedules.WarmUp(20, nf.schedules.Cosine(0.01, 500))),
]


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


def test_a_model_comes_first(path):
    with pytest.raises(TypeError, match="save: expected an nnfast model, got "):
        nf.save(path, sequential())
    assert not path.exists()


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


def test_metadata_no_deeper_than_is_read(path):
    def deep(n):
        return {"a": deep(n - 1)} if n > 1 else {"a": 1}

    model = compiled()
    for depth in (31, 60, 300):
        with pytest.raises(ValueError, match="metadata: .*more than 32 objects or lists inside each other"):
            model.metadata = deep(depth)
    model.metadata = deep(30)
    model.save(path)
    assert nf.load(path).metadata == nf.from_json(model.to_json()).metadata == deep(30)


@pytest.mark.parametrize("make", [lambda: compiled([MyLayer(2)]), lambda: compiled(cls=MyModel), lambda: "model"])
def test_classes_of_your_own_cannot_be_saved(make, path):
    with pytest.raises((TypeError, ValueError), match="MyLayer|MyModel|str"):
        nf.save(make(), path)
    assert not path.exists()


class Root(nf.schedules.Schedule):
    def __init__(self, initial):
        self.initial = initial

    def rates(self, t):
        return self.initial / np.sqrt(t + 1)


class Cosine(Root):
    """Called like one of ours."""


class Unkept(nf.schedules.Schedule):
    def __init__(self, initial):
        self.first = initial

    def rates(self, t):
        return np.full(t.shape, self.first)


class Identity(nf.initializers.Initializer):
    def draw(self, shape, fan_in, fan_out, rng):
        return np.eye(*shape)


class Sparse(nf.regularizers.Regularizer):
    l1 = 0.25


class Error(nf.SquaredError):
    pass


class Mean(nf.metrics.MeanAbsoluteError):
    pass


class Slow(nf.SGD):
    pass


@pytest.mark.parametrize("layer, settings", [
    ({}, {"optimizer": nf.SGD(Root(0.1))}),
    ({}, {"optimizer": nf.SGD(Cosine(0.1))}),
    ({}, {"optimizer": nf.SGD(nf.schedules.WarmUp(3, Root(0.1)))}),
    ({}, {"optimizer": nf.SGD(Unkept(0.1))}),
    ({}, {"optimizer": Slow(0.1)}),
    ({}, {"loss": Error()}),
    ({}, {"metrics": ["mse", Mean()]}),
    ({}, {"metrics": Mean}),
    ({}, {"regularizer": Sparse()}),
    ({"kernel_regularizer": Sparse()}, {}),
    ({"kernel_initializer": Identity()}, {}),
])
def test_objects_of_your_own_classes(layer, settings, path):
    """A file cannot name them; copies and pickles keep them."""
    model = compiled([nf.Dense(2, **layer)], **settings)
    with pytest.raises(ValueError, match="cannot be written to a file|'initial' is not kept"):
        model.save(path)
    assert not path.exists()
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for m in (model, *copies):
        m.fit([[1.0, 2.0]], [[1.0, 0.0]], epochs=3, verbose=0)
    for other in copies:
        assert other.history.history == model.history.history
        assert type(other.optimizer.learning_rate) is type(model.optimizer.learning_rate)
        for a, b in zip(model.get_weights(), other.get_weights()):
            assert a.tobytes() == b.tobytes()


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


@pytest.mark.parametrize(("name", "hint"), [
    ("m.onnx", "; nnfast export or nf.onnx.export writes .onnx"), ("m.c", "; nnfast export or nf.export_c writes .c"),
    ("m.H5", ""), ("m.keras", ""), ("m.pth", ""), ("m.pkl", ""), ("data.csv", ""),
])
def test_endings_of_other_formats(saved, tmp_path, name, hint):
    path = tmp_path / name
    ending = path.suffix.lower()
    with pytest.raises(ValueError, match=f"{name}: models are saved as .safetensors, not as {ending}{hint}$"):
        nf.load(saved).save(path)
    assert os.listdir(tmp_path) == [saved.name]


@pytest.mark.parametrize("name", ["model", "model.v2"])
def test_other_endings_and_none(saved, tmp_path, name):
    nf.load(saved).save(tmp_path / name)
    same_state(nf.load(tmp_path / name), nf.load(saved))


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
