"""Splits, labels and normalization: what is done to data before they are trained with."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import nnfast as nf
from nnfast.data import encode_labels, frame, normalization, train_test_split


@pytest.mark.parametrize("test_size, held", [(0.25, 26), (0.5, 51), (7, 7), (0.001, 1)])
@pytest.mark.parametrize("stratified", [False, True])
def test_split(test_size, held, stratified):
    x = np.arange(101)
    y = (x % 10 == 0).astype(int) + (x % 2)
    parts = train_test_split(x, list(x), test_size=test_size, seed=3, stratify=y if stratified else None)
    train, test, train_list, test_list = parts
    assert len(test) == held and list(train) == train_list and list(test) == test_list
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), x)
    again = train_test_split(x, test_size=test_size, seed=3, stratify=y if stratified else None)
    np.testing.assert_array_equal(again[1], test)
    assert (np.diff(test) < 0).any() or held < 3
    if stratified:
        for label in range(3):
            assert abs((y[test] == label).sum() - held * (y == label).mean()) < 1


def test_split_of_a_dict():
    x = {"numbers": np.arange(8)[:, None], "ids": np.arange(8)[:, None] + 10}
    train, test, y_train, y_test = train_test_split(x, np.arange(8))
    for part, y in ((train, y_train), (test, y_test)):
        np.testing.assert_array_equal(part["numbers"][:, 0], y)
        np.testing.assert_array_equal(part["ids"][:, 0], y + 10)
    with pytest.raises(ValueError, match="give at least one array"):
        train_test_split({})
    with pytest.raises(TypeError, match="expected arrays, got Table; split its x and y"):
        train_test_split(frame(pd.DataFrame({"a": [1, 2], "b": [1.5, 2]}), "b"))
    with pytest.raises(ValueError, match="different numbers of samples: 8, 7, 8"):
        train_test_split({"numbers": np.arange(8), "ids": np.arange(7)}, np.arange(8))


def test_split_of_a_frame():
    data = pd.DataFrame({"a": range(10)}, index=list("abcdefghij"))
    train, test = train_test_split(data, test_size=3)
    assert len(train) == 7 and set(train.index) | set(test.index) == set("abcdefghij")


@pytest.mark.parametrize("arguments, message", [
    ({"arrays": ([1, 2], [1])}, "different numbers of samples: 2, 1"),
    ({"arrays": ([1, 2],), "test_size": 2}, "leaves none to train with"),
    ({"arrays": ([1, 2],), "test_size": 1.5}, "test_size must be"),
    ({"arrays": ()}, "at least one array"),
    ({"arrays": ([1, 2],), "stratify": [1]}, "stratify has shape"),
])
def test_split_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        train_test_split(*arguments.pop("arrays"), **arguments)


def test_labels():
    labels, classes = encode_labels(pd.Series(["b", "a", "b"]))
    assert labels.tolist() == [1, 0, 1] and classes.tolist() == ["a", "b"] and labels.dtype == np.int32
    assert encode_labels(["a"], classes)[0].tolist() == [0]
    with pytest.raises(ValueError, match="encode_labels: c is not among the classes a, b"):
        encode_labels(["a", "c"], classes)
    with pytest.raises(TypeError, match=r"different types \(NoneType, str\)"):
        encode_labels(["a", None])
    for mixed in (["cat", float("nan"), "dog"], [1, "1"], [True, "a"], ("a", b"a")):
        for given in (mixed, pd.Series(mixed, dtype=object)):
            with pytest.raises(TypeError, match="labels are of different types"):
                encode_labels(given)
    for numbers in ([2, 1.5, np.int8(2)], [1, 2, 2], [True, np.False_], [np.str_("b"), "a"]):
        labels, classes = encode_labels(numbers)
        assert classes[labels].tolist() == numbers
    for gap in (np.array([1.0, np.nan]), [1, float("nan")], pd.to_datetime(["2024-01-01", None]),
                np.array([1, "NaT"], "m8[D]")):
        with pytest.raises(ValueError, match="the label of row 1 is missing"):
            encode_labels(gap)


@pytest.mark.parametrize("shape", [(40, 3), (20, 4, 5, 3)])
def test_normalization_is_saved(rng, tmp_path, shape, dtype):
    x = rng.standard_normal(shape) * [1, 1000, 0] + [5, -1e4, 0.1]
    layers = [normalization(x), *([nf.Flatten()] if len(shape) > 2 else []), nf.Dense(2)]
    model = nf.Sequential(layers, input_shape=shape[1:], dtype=dtype.name)
    model.compile("sgd", "squared_error")
    normal = model.submodel("batch_norm").predict(x).reshape(-1, 3)
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(normal.std(axis=0), [1, 1, 0], atol=1e-3)
    before = model.parameters["batch_norm/running_mean"]
    model.fit(x, np.zeros((len(x), 2)), epochs=2, verbose=0)
    np.testing.assert_array_equal(model.parameters["batch_norm/running_mean"], before)
    model.metadata = {"scale": [1, 2.5, None]}
    model.save(tmp_path / "m.safetensors")
    loaded = nf.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert loaded.metadata == {"scale": [1, 2.5, None]}
    with pytest.raises(ValueError, match="statistics are of 3 columns or channels, the data have 4"):
        nf.Sequential([normalization(x)], input_shape=(4,))


@pytest.mark.parametrize("numbers", [1_700_000_000 + np.arange(99), 1e5 + 1e-3 * np.arange(9)])
def test_normalization_of_numbers_that_float32_cannot_hold(numbers):
    x = np.stack([np.arange(len(numbers)), numbers], axis=1)
    with pytest.raises(ValueError, match=r"normalization: the numbers of column 1 \(mean .*, standard deviation .*\) "
                                         r"lie so close together.*subtract the mean first, or .* dtype='float64'"):
        nf.Sequential([normalization(x), nf.Dense(1)], input_shape=(2,))
    z = nf.Sequential([normalization(x)], input_shape=(2,), dtype="float64").predict(x)
    np.testing.assert_allclose(z[:, 1], z[:, 0], atol=1e-5)
    nf.Sequential([normalization(x - [0, numbers[0]]), nf.Dense(1)], input_shape=(2,))
    nf.Sequential([normalization(np.float32(x)), nf.Dense(1)], input_shape=(2,))       # nothing more to lose


def test_metadata_is_a_copy_and_json(tmp_path):
    model = nf.Sequential([nf.Dense(1)], input_shape=(1,))
    model.metadata = {"a": [1]}
    model.metadata["a"].append(2)
    assert model.metadata == {"a": [1]} == nf.Model.from_config(model.get_config()).metadata
    for bad, error in (([], TypeError), ({"a": np.ones(2)}, ValueError), ({"a": float("nan")}, ValueError)):
        with pytest.raises(error, match="metadata:"):
            model.metadata = bad


def test_normalization_of_a_memory_map(tmp_path, rng):
    x = (rng.standard_normal((4000, 300)) * 3 + 5).astype("f")
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for ours, theirs in zip(normalization(mapped).statistics, (x.mean(axis=0, dtype="f8"), x.var(axis=0, dtype="f8"))):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "dia", "bsr", "dok", "lil"])
def test_split_of_sparse_matrices(form):

    x = scipy.sparse.random(40, 5, 0.5, random_state=0).asformat(form)
    train, test, y_train, y_test = train_test_split(x, np.arange(40))
    np.testing.assert_array_equal(test.toarray(), x.toarray()[y_test])
    np.testing.assert_array_equal(train.toarray(), x.toarray()[y_train])
    with pytest.raises(TypeError, match="stratify has classes of different types"):
        train_test_split(np.arange(4), stratify=["a", "b", None, "a"])


def test_normalization_of_booleans_and_numbers_without_a_sign(rng):
    flags = rng.random((50, 3)) > 0.5
    np.testing.assert_allclose(normalization(flags).statistics[0], flags.mean(axis=0))
    for dtype in ("u8", "i8", "u4", "f8"):
        seconds = (1_700_000_000 + rng.integers(0, 40, (50, 1))).astype(dtype)
        with pytest.raises(ValueError, match="lie so close together, far from 0"):
            nf.Sequential([normalization(seconds)], input_shape=(1,))
    assert normalization(np.array([[-128], [127]], "i1")).statistics[0] == -0.5
