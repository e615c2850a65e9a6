"""Data that are read while training: the same weights as from arrays in memory, and bounded memory."""

import os
import threading
import time
from types import MappingProxyType

import numpy as np
import pytest
import scipy.sparse
from child import evaluate as run_python
from stand_ins import Samples

import nnfast as nf
from nnfast.streams import is_stream


def network(features=5, **arguments):
    model = nf.Sequential([nf.Dense(8, activation="relu"), nf.Dense(3, activation="softmax")],
                          input_shape=(features,), **arguments)
    model.compile(nf.Adam(0.01), "cross_entropy", metrics=["accuracy"])
    return model


@pytest.fixture
def data(rng):
    return rng.standard_normal((203, 5), np.float32), rng.integers(0, 3, 203)


@pytest.fixture
def mapped(data, tmp_path):
    np.save(tmp_path / "x.npy", data[0])
    return np.load(tmp_path / "x.npy", mmap_mode="r")


def batches(*arrays, size=32):
    for i in range(0, len(arrays[0]), size):
        yield tuple(a[i:i + size] for a in arrays)


def same_weights(a, b):
    for x, y in zip(a.get_weights(), b.get_weights()):
        np.testing.assert_array_equal(x, y)


def same_figures(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-12)


@pytest.fixture(params=["default", "one batch"])
def blocks(request, monkeypatch):
    """Blocks of any size give the same."""
    if request.param == "one batch":
        monkeypatch.setattr("nnfast.streams.BLOCK_BYTES", 1)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("kind", ["memmap", "csr", "csc", "samples"])
def test_same_as_arrays(data, mapped, kind, shuffle, blocks, rng):
    x, y = data
    weight = rng.random(203)
    arguments = {"epochs": 3, "batch_size": 20, "validation_split": 0.2, "shuffle": shuffle, "verbose": 0}
    model, other = network(), network()
    expected = model.fit(x, y, sample_weight=weight, **arguments).history
    if kind == "samples":
        given = {"x": Samples(x, y, weight)}
    else:
        source = {"memmap": mapped, "csr": scipy.sparse.csr_array(x), "csc": scipy.sparse.csc_matrix(x)}[kind]
        given = {"x": source, "y": y, "sample_weight": weight}
    found = other.fit(**given, **arguments).history
    same_weights(model, other)
    same_figures(found, expected)
    same_figures(other.evaluate(**given), model.evaluate(x, y, sample_weight=weight))
    np.testing.assert_array_equal(other.predict(given["x"]), model.predict(x))


def test_class_weights(data, mapped):
    x, y = data
    weights = {0: 3.0, 2: 0.5}
    model = network()
    model.fit(x, y, class_weight=weights, validation_split=0.2, epochs=2, verbose=0)
    for given in ({"x": mapped, "y": y}, {"x": Samples(x, y)}):
        other = network()
        history = other.fit(**given, class_weight=weights, validation_split=0.2, epochs=2, verbose=0).history
        same_weights(model, other)
        same_figures(history, model.history.history)


def test_weights_that_are_all_zero(data, mapped):
    y = data[1]
    for zero in (slice(None), slice(None, 162), slice(162, None)):       # all, those trained with, those kept
        weight = np.ones(203)
        weight[zero] = 0
        with pytest.raises(ValueError, match="all weights are zero"):
            network().fit(mapped, y, sample_weight=weight, validation_split=0.2, verbose=0)
    zeros = np.zeros(203)
    for call in (lambda model: model.fit(mapped, y, validation_data=(mapped, y, zeros), verbose=0),
                 lambda model: model.fit(mapped, y, class_weight={0: 0.0, 1: 0.0, 2: 0.0}, verbose=0),
                 lambda model: model.evaluate(mapped, y, sample_weight=zeros),
                 lambda model: model.fit(Samples(*data, zeros), verbose=0),
                 lambda model: model.evaluate(Samples(*data, zeros)),
                 lambda model: model.fit(batches(*data, zeros), verbose=0),
                 lambda model: model.fit(*data, validation_data=Samples(*data, zeros), verbose=0)):
        with pytest.raises(ValueError, match="all weights are zero"):
            call(network())


@pytest.mark.parametrize("make", [
    lambda x, y: [(xb, yb) for xb, yb in batches(x, y)].__iter__,
    lambda x, y: lambda: batches(x, y),
    lambda x, y: Loader(x, y),
], ids=["iterators", "generators", "loader"])
def test_batches(data, make):
    x, y = data
    model, other = network(), network()
    model.fit(x, y, epochs=3, shuffle=False, verbose=0, validation_data=(x, y))
    bar = nf.LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    history = other.fit(make(x, y), epochs=3, callbacks=[bar], validation_data=make(x, y), verbose=0).history
    same_weights(model, other)
    same_figures(history, model.history.history)
    assert bar.params["steps"] == 7
    np.testing.assert_array_equal(other.predict(make(x, y)), model.predict(x))
    same_figures(other.evaluate(make(x, y)), model.evaluate(x, y))


class Loader:
    """As a PyTorch DataLoader."""

    def __init__(self, *arrays):
        self.arrays = arrays

    def __len__(self):
        return 7

    def __iter__(self):
        return batches(*self.arrays)


@pytest.mark.parametrize("error", [TypeError, NotImplementedError])
def test_a_loader_whose_length_is_unknown(data, error):
    class Endless(Loader):
        def __len__(self):
            raise error("has no len()")

    model, other = network(), network()
    for fitted, given in ((model, lambda: batches(*data)), (other, Endless(*data))):
        fitted.fit(given, epochs=2, verbose=0)
    same_weights(model, other)


def test_samples_of_nested_lists(rng):
    """A list is one array: also where it is as long as the batch."""
    x = rng.standard_normal((16, 8, 4))
    y = x[:, 0, :1]
    given = Samples(x.tolist(), y)

    def made():
        model = nf.Sequential([nf.Flatten(), nf.Dense(1)], input_shape=(8, 4))
        model.compile("sgd", "squared_error")
        return model

    model, other = made(), made()
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    other.fit(given, batch_size=8, epochs=2, verbose=0)
    same_weights(model, other)
    for size in (5, 8):
        np.testing.assert_array_equal(other.predict(given, batch_size=size), model.predict(x))


@pytest.mark.parametrize("kind", ["scalars", "scalar and array", "lists", "dict", "mapping"])
def test_samples_of_several_inputs_and_outputs(kind, rng):
    a, b = rng.standard_normal((20, 2)), rng.standard_normal((20, 2))
    labels, values = rng.integers(0, 3, 20), rng.standard_normal(20)

    def made():
        first, second = nf.Input((2,), name="a"), nf.Input((2,), name="b")
        h = nf.Concatenate()([first, second])
        outputs = [nf.Dense(3, activation="softmax", name="policy")(h), nf.Dense(1, name="value")(h)]
        model = nf.Model([first, second], outputs)
        model.compile("sgd", ["cross_entropy", "squared_error"])
        return model

    samples = {
        "scalars": [((a[i], b[i]), (labels[i], values[i])) for i in range(20)],
        "scalar and array": [((a[i], b[i]), (labels[i], values[i:i + 1])) for i in range(20)],
        "lists": [[[a[i].tolist(), b[i].tolist()], [int(labels[i]), [values[i]]]] for i in range(20)],
        "dict": [({"a": a[i], "b": b[i]}, {"policy": labels[i], "value": values[i]}) for i in range(20)],
        "mapping": [(MappingProxyType({"a": a[i], "b": b[i]}), MappingProxyType({"policy": labels[i], "value": v}))
                    for i, v in enumerate(values)],
    }[kind]
    given = Samples([x for x, _ in samples], [y for _, y in samples])
    model, other = made(), made()
    model.fit([a, b], [labels, values], batch_size=2, epochs=2, verbose=0)
    other.fit(given, batch_size=2, epochs=2, verbose=0)
    same_weights(model, other)
    for expected, found in zip(model.predict([a, b]), other.predict(given, batch_size=2)):
        np.testing.assert_array_equal(found, expected)


def test_an_unbuilt_model_learns_its_shape(data, mapped):
    x, y = data
    for given in ({"x": mapped, "y": y}, {"x": Samples(x, y)}, {"x": batches(x, y)}):
        model = nf.Sequential([nf.Dense(3, activation="softmax")])
        model.compile("adam", "cross_entropy")
        model.fit(**given, verbose=0)
        assert model.input_shape == (5,)
    other = nf.Sequential([nf.Dense(3, activation="softmax")])
    other.compile("adam", "cross_entropy")
    other.fit(x, y, shuffle=False, verbose=0)
    same_weights(model, other)      # the batch that told the shape has been trained on, too


def test_blocks_hold_every_row_once(mapped, data):
    from nnfast.streams import open_stream

    stream = open_stream(network(), mapped, data[1])
    natural = np.arange(203)
    orders = [stream.block_order(4, 7, epoch) for epoch in range(2)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), natural)
    assert (orders[0] != orders[1]).any() and (orders[0] != natural).any()
    model = network()
    losses = model.fit(mapped, data[1], shuffle="block", epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_batch_callbacks_see_every_batch(mapped, data):
    seen = []
    watch = nf.LambdaCallback(on_batch_end=lambda batch, logs: seen.append((batch, logs["loss"])))
    network().fit(mapped, data[1], batch_size=50, epochs=2, callbacks=watch, verbose=0)
    expected, seen[:] = seen[:], []
    network().fit(*data, batch_size=50, epochs=2, callbacks=watch, verbose=0)
    assert [batch for batch, _ in seen] == [0, 1, 2, 3, 4] * 2
    np.testing.assert_allclose(seen, expected, rtol=1e-12)


@pytest.mark.parametrize("every", ["epoch", 3])
@pytest.mark.parametrize("shuffle", [True, False, "block"])
def test_checkpoints(mapped, data, tmp_path, every, shuffle):
    arguments = {"batch_size": 20, "epochs": 4, "shuffle": shuffle, "verbose": 0}
    model, other = network(), network()
    model.fit(mapped, data[1], **arguments)

    def stop(epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        network().fit(mapped, data[1], **arguments, callbacks=[
            nf.callbacks.Checkpoint(tmp_path, every=every), nf.LambdaCallback(on_epoch_end=stop)])
    other.fit(mapped, data[1], **arguments, callbacks=nf.callbacks.Checkpoint(tmp_path, every=every), resume=tmp_path)
    same_weights(model, other)
    for another in {True, False, "block"} - {shuffle}:
        with pytest.raises(ValueError, match=f"data: shuffle: {shuffle!r} there, {another!r} here"):
            network().fit(mapped, data[1], **arguments | {"shuffle": another}, resume=tmp_path)
    with pytest.raises(ValueError, match="batches from a generator cannot be found again"):
        network().fit(batches(*data), callbacks=nf.callbacks.Checkpoint(tmp_path / "b"), verbose=0)


def test_a_copy_on_write_map_keeps_what_was_written(data, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros_like(data[0]))
    x = np.load(tmp_path / "x.npy", mmap_mode="c")
    x[:] = data[0]
    model, other = network(), network()
    model.fit(*data, epochs=2, verbose=0)
    other.fit(x, data[1], epochs=2, verbose=0)
    same_weights(model, other)


def test_more_data_than_memory(tmp_path):
    """A file of 800 MB in less than 200 MB above what the program takes without data."""
    code = f"""
import numpy as np, nnfast as nf
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) // 1024
x = np.lib.format.open_memmap({str(tmp_path / 'x.npy')!r}, "w+", np.float32, (100_000, 2048))
x[0] = x[-1] = 1
y = np.zeros(len(x), np.int32)
model = nf.Sequential([nf.Dense(2, activation="softmax")], input_shape=(2048,))
model.compile("sgd", "cross_entropy")
model.fit(x[:512], y[:512], verbose=0)
before = peak()
model.fit(x, y, batch_size=256, validation_split=0.1, verbose=0)
model.predict(x, batch_size=256)
model.fit(x, y, batch_size=256, shuffle="block", verbose=0)
print(peak() - before)
"""
    assert int(run_python(code)) < 200
    os.unlink(tmp_path / "x.npy")


def test_the_reader_ends_with_training(data, mapped):
    """Also where training is stopped, or fails, in the middle of an epoch."""
    def stop(batch, logs):
        raise RuntimeError("enough")

    closed = []

    def endless():
        try:
            while True:
                yield data[0][:8], data[1][:8]
        finally:
            closed.append(True)

    for given in ({"x": endless}, {"x": mapped, "y": data[1]}):
        with pytest.raises(RuntimeError, match="enough"):
            network().fit(**given, callbacks=nf.LambdaCallback(on_batch_end=stop), verbose=0)
    assert closed == [True]
    assert not [thread for thread in threading.enumerate() if thread.name == "nnfast-reader"]


def test_training_ends_while_a_generator_waits(data):
    def stop(batch, logs):
        raise RuntimeError("enough")

    go_on = threading.Event()

    def waiting():
        yield data[0][:8], data[1][:8]
        yield data[0][:8], data[1][:8]
        go_on.wait(20)
        yield data[0][:8], data[1][:8]

    begun = time.monotonic()
    with pytest.raises(RuntimeError, match="enough"):
        network().fit(waiting, callbacks=nf.LambdaCallback(on_batch_end=stop), verbose=0)
    assert time.monotonic() - begun < 10
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "nnfast-reader":
            thread.join(10)
            assert not thread.is_alive()


def test_reading_errors_reach_the_caller(data):
    class Broken(Samples):
        def __getitem__(self, i):
            if i == 100:
                raise OSError("disk is gone")
            return super().__getitem__(i)

    with pytest.raises(OSError, match="disk is gone"):
        network().fit(Broken(*data), verbose=0)


@pytest.mark.parametrize("given, error, text", [
    (lambda x, y: {"x": Samples(x, y), "y": y}, ValueError, "Samples gives its targets .* itself.*leave y out"),
    (lambda x, y: {"x": Samples(x, y), "class_weight": "balanced"}, ValueError, "needs all labels before training"),
    (lambda x, y: {"x": batches(x, y), "batch_size": 3}, ValueError, "leave batch_size out"),
    (lambda x, y: {"x": batches(x, y), "shuffle": True}, ValueError, "shuffle where they are made"),
    (lambda x, y: {"x": batches(x, y), "validation_split": 0.1}, ValueError, "give validation_data"),
    (lambda x, y: {"x": batches(x, y), "epochs": 2}, ValueError, "a generator is used up after one pass: give a func"),
    (lambda x, y: {"x": iter([])}, ValueError, "gave no batch"),
    (lambda x, y: {"x": lambda: 3}, TypeError, "expected an iterable of batches"),
    (lambda x, y: {"x": Samples(x)}, TypeError, "sample 0 of Samples must be .x, y. or .x, y, weight., got 1 things"),
    (lambda x, y: {"x": Samples([])}, ValueError, "Samples is empty"),
    (lambda x, y: {"x": scipy.sparse.csr_array(x)}, TypeError, "y: expected an array of numbers, got NoneType"),
    (lambda x, y: {"x": x}, TypeError, "y: expected an array of numbers, got NoneType"),
    (lambda x, y: {"x": x, "y": y, "shuffle": "block"}, ValueError, "arrays in memory gain nothing"),
    (lambda x, y: {"x": scipy.sparse.csr_array(x), "y": y[:9]}, ValueError, "each of the 203 samples, got 9"),
    (lambda x, y: {"x": scipy.sparse.csr_array(x[:, :4]), "y": y}, ValueError, r"shape \(N, 5\), got \(203, 4\)"),
    (lambda x, y: {"x": Samples(x, y), "solver": "lbfgs"}, ValueError, "in memory: an array"),
    (lambda x, y: {"x": Samples([x[0], x[0][:3]], [0, 1])}, ValueError, "different shapes"),
    (lambda x, y: {"x": Samples([{"input": x[0]}, {}], [0, 1])}, KeyError, "input.*\n.*in a batch of samples 0, ..."),
    (lambda x, y: {"x": Samples(np.full_like(x, np.nan), y)}, ValueError, "data must be finite"),
])
def test_errors_say_what_to_do(data, given, error, text):
    with pytest.raises(error, match=text):
        network().fit(**{"verbose": 0, **given(*data)})


@pytest.mark.parametrize("kind", ["memmap", "csr", "samples"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_errors_name_the_row_of_the_data(data, tmp_path, kind, shuffle):
    x, y = data
    x[177, 3] = np.nan
    np.save(tmp_path / "x.npy", x)
    given = {"memmap": (np.load(tmp_path / "x.npy", mmap_mode="r"), y), "csr": (scipy.sparse.csr_array(x), y),
             "samples": (Samples(x, y),)}[kind]
    for split in (0.0, 0.2):
        with pytest.raises(ValueError, match="nan at row 177, column 3; data must be finite"):
            network().fit(*given, shuffle=shuffle, validation_split=split, batch_size=10, verbose=0)
    with pytest.raises(ValueError, match="nan at row 177"):
        network().evaluate(*given)


@pytest.mark.parametrize("kind", ["memmap", "csr", "samples", "batches"])
def test_errors_of_predict_name_the_row_of_the_data(tmp_path, kind, blocks):
    ids = np.zeros((203, 2))
    ids[177, 1] = 9
    np.save(tmp_path / "ids.npy", ids)
    given = {"memmap": np.load(tmp_path / "ids.npy", mmap_mode="r"), "csr": scipy.sparse.csr_array(ids),
             "samples": Samples(ids, ids), "batches": batches(ids, ids, size=16)}[kind]
    model = nf.Sequential([nf.Embedding(4, 3), nf.Flatten(), nf.Dense(1)], input_shape=(2,))
    place = "row 1, column 1\nin batch 11, counted from 0" if kind == "batches" else "row 177, column 1$"
    with pytest.raises(ValueError, match=f"got 9.0 at {place}"):
        model.predict(given, batch_size=16)


@pytest.mark.parametrize("kind", ["csr", "samples and None", "samples", "batches"])
def test_errors_of_validation_say_so(data, kind):
    x, y = data
    model = network()

    def validate(wrong):
        given = {"csr": (scipy.sparse.csr_array(wrong), y), "samples and None": (Samples(wrong, y), None),
                 "samples": Samples(wrong, y), "batches": lambda: batches(wrong, y)}[kind]
        model.fit(x, y, validation_data=given, verbose=0)

    with pytest.raises(ValueError, match=r"^validation_data: model input .*expected shape \(N, 5\), got"):
        validate(x[:, :4])
    assert kind == "batches" or model.iterations == 0       # whose shape is known only when they come
    gap = np.where(np.arange(203)[:, None] == 170, np.nan, x)
    with pytest.raises(ValueError, match="^validation_data: model input .* nan at row"):
        validate(gap)
    with pytest.raises(ValueError, match="^model input .* nan at row 170"):     # of the data that are split
        model.fit(scipy.sparse.csr_array(gap), y, validation_split=0.2, verbose=0)


def test_errors_name_the_batch(data):
    x, y = data[0].copy(), data[1]
    x[70] = np.nan
    with pytest.raises(ValueError, match="row 6, column 0; data must be finite\nin batch 2, counted from 0"):
        network().fit(lambda: batches(x, y), verbose=0)
    with pytest.raises(ValueError, match="data must be finite\nin a batch of samples 64, ... of Samples"):
        network().fit(Samples(x, y), batch_size=32, shuffle=False, verbose=0)


def test_what_is_a_stream(data, mapped, tmp_path):
    np.savez(tmp_path / "x.npz", x=data[0])
    with np.load(tmp_path / "x.npz") as arrays:
        assert not is_stream(arrays) and not is_stream(MappingProxyType({"a": data[0]}))
    assert not any(map(is_stream, (data[0], [1, 2], {"a": data[0]}, "text", 3, None, np.ma.array([1.0]))))
    assert all(map(is_stream, (mapped, Samples(*data), Loader(*data), batches(*data), lambda: None)))


@pytest.mark.parametrize("kind", ["array", "list", "dict"])
def test_a_data_set_may_use_its_arrays_again(data, kind):
    x, y = data

    class Reused(Samples):
        row, numbers = np.empty(5, "f"), [0.0] * 5

        def __getitem__(self, i):
            if kind == "list":
                self.numbers[:] = x[i].tolist()
                return self.numbers, y[i]
            self.row[:] = x[i]
            return {"input": self.row} if kind == "dict" else self.row, y[i]

    model, other = network(), network()
    for fitted, given in ((model, Samples(x, y)), (other, Reused(x, y))):
        fitted.fit(given, epochs=2, verbose=0)
    same_weights(model, other)
    np.testing.assert_array_equal(other.predict(Reused(x, y)), model.predict(x))


def test_samples_of_several_types(data):
    """An array of the first sample's type would round those of the others."""
    x, y = data
    rows = [[1, 0, 2, 3, 1], *x[1:100].tolist(), *x[100:].astype(np.float64)]
    given = np.array(rows, np.float64)
    model, other = network(dtype="float64"), network(dtype="float64")
    model.fit(given, y, shuffle=False, verbose=0)
    other.fit(Samples(rows, y), shuffle=False, verbose=0)
    same_weights(model, other)
    weights = [None, *[1.0] * 202]
    for mixed in (weights, weights[::-1]):
        with pytest.raises((ValueError, TypeError), match="some samples of one batch have weights|sample_weight.*None"):
            network().fit(Samples(x, y, mixed), shuffle=False, verbose=0)


@pytest.mark.parametrize("item", [
    lambda x: (x,), lambda x: [x], lambda x: x, lambda x: x.tolist(), lambda x: tuple(x.tolist()), lambda x: (x, 0),
    lambda x: [x.tolist(), 0],
], ids=["tuple of one", "list of one", "array", "list", "tuple of numbers", "pair", "pair of lists"])
@pytest.mark.parametrize("width", [1, 3])
def test_samples_to_predict(item, width, rng):
    x = rng.standard_normal((20, width))
    model = nf.Sequential([nf.Dense(2)], input_shape=(width,))
    np.testing.assert_array_equal(model.predict(Items([item(row) for row in x])), model.predict(x))
    if not isinstance(item(x[0])[0], float):    # as batches, too
        np.testing.assert_array_equal(model.predict(item(part) for part in (x[:7], x[7:])), model.predict(x))


class Items:
    """Samples that are whatever the list has."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def test_a_generator_may_use_its_arrays_again(rng):
    """What waits to be trained on must not change under it."""
    x, y = rng.standard_normal((320, 4)).astype("f"), rng.integers(0, 2, 320).astype("i")

    def batches(copies):
        b, c = np.empty((32, 4), "f"), np.empty(32, "i")
        for i in range(0, 320, 32):
            b[:], c[:] = x[i:i + 32], y[i:i + 32]
            yield (b.copy(), c.copy()) if copies else (b, c)

    results = []
    for copies in (True, False):
        model = nf.Sequential([nf.Dense(8, activation="relu"), nf.Dense(2, activation="softmax")], input_shape=(4,))
        model.compile("adam", "cross_entropy")
        model.fit(lambda copies=copies: batches(copies), epochs=2, verbose=0)
        results.append((model.get_weights()[0].tobytes(), model.evaluate(batches(copies))["loss"],
                        model.predict(lambda copies=copies: (b for b, _ in batches(copies))).tobytes()))
    assert results[0] == results[1]
