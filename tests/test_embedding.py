"""Embedding: against one-hot vectors and NumPy, ids of all kinds and sources, files and other libraries."""
import copy
import os
import pickle
import shutil
import threading

import numpy as np
import onnx
import onnxruntime
import pytest
import reference
from check import assert_same_bits
from stand_ins import Samples

import nnfast as nf

# rows, columns, ids of a sample: one panel and several, tiles of all rows and of some, rows that are no whole vector
SHAPES = [(7, 3, 4), (1, 1, 1), (40, 16, 9), (9, 130, 5), (300, 37, 12), (6000, 33, 20), (2, 64, 3)]


def network(rows, columns, n, dtype="float64", **settings):
    layers = [nf.Embedding(rows, columns, name="table"), nf.Flatten(), nf.Dense(3, activation="softmax", name="head")]
    model = nf.Sequential(layers, input_shape=(n,), dtype=dtype, seed=5)
    model.compile(**{"optimizer": nf.SGD(0.5), "loss": "cross_entropy"} | settings)
    return model


def data(rng, rows, n, samples=26):
    x = rng.integers(0, rows, (samples, n))
    x[0] = rows - 1         # one id many times in a sample
    x[:, 0] = 0
    return x, rng.integers(0, 3, samples)


@pytest.mark.parametrize(("rows", "columns", "n"), SHAPES)
def test_value_and_gradient(rows, columns, n, dtype, rng):
    x, y = data(rng, rows, n)
    model = network(rows, columns, n, dtype.name)
    table, kernel, bias = (w.astype(np.float64) for w in model.get_weights())
    flat = reference.embedding(x, table).reshape(len(x), -1)
    p = reference.softmax(flat @ kernel + bias)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(model.predict(x), p, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(model.submodel("table").predict(x), model.get_weights()[0][x])
    dz = (p - np.eye(3)[y]) / len(x)
    expected = reference.embedding_backward(x, table, (dz @ kernel.T).reshape(len(x), n, columns))
    loss, grads = model.gradients(x, y)
    assert loss == pytest.approx(-np.log(p[np.arange(len(x)), y]).mean(), rel=tolerance)
    np.testing.assert_allclose(grads["table/kernel"], expected, rtol=0, atol=tolerance)
    assert not model.input_gradient(x, y).any()
    # One step of a batch in which the bound on the gradient suffices, and one where it is measured.
    for clip in (None, 1e3):
        stepped = network(rows, columns, n, dtype.name, optimizer=nf.SGD(0.5, clip_norm=clip))
        stepped.train_on_batch(x, y)
        np.testing.assert_allclose(stepped.get_weights()[0], table - 0.5 * expected, rtol=0, atol=tolerance)


def test_equals_one_hot_vectors(rng):
    """A convolution over the embedded words is one over one-hot vectors behind a dense layer, with a penalty, too."""
    x, y = data(rng, 20, 11, 40)
    body = [nf.Conv1D(6, 3, activation="tanh"), nf.GlobalMaxPool(), nf.Dense(3, activation="softmax")]
    model = nf.Sequential([nf.Embedding(20, 5, kernel_regularizer=nf.L2(0.01)), *body], input_shape=(11,),
                          dtype="float64", seed=3)
    body = [nf.Conv1D(6, 3, activation="tanh"), nf.GlobalMaxPool(), nf.Dense(3, activation="softmax")]
    one_hot = nf.Sequential([nf.Dense(5, use_bias=False, kernel_regularizer=nf.L2(0.01)), *body], input_shape=(11, 20),
                            dtype="float64")
    one_hot.set_weights(model.get_weights())
    histories = []
    for net, inputs in ((model, x), (one_hot, np.eye(20)[x])):
        net.compile(nf.Adam(0.01), "cross_entropy")
        histories.append(net.fit(inputs, y, 8, epochs=5, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-10)
    np.testing.assert_allclose(model.get_weights()[0], one_hot.get_weights()[0], rtol=1e-8, atol=1e-10)


def test_gradients_by_finite_differences(rng):
    x, y = data(rng, 6, 8)
    model = nf.Sequential([nf.Embedding(6, 4), nf.Conv1D(3, 2, activation="tanh"), nf.Flatten(),
                           nf.Dense(3, activation="softmax")], input_shape=(8,), dtype="float64", seed=1)
    model.compile("sgd", "cross_entropy")
    assert max(model.check_gradients(x, y).values()) < 1e-6


@pytest.mark.parametrize("columns", [3, 37, 64])
def test_a_step_is_as_long_as_its_clipped_gradient(columns, dtype, rng):
    """Kernels are padded to whole vectors: what the padding holds is zero."""
    x, y = data(rng, 50, 6)
    model = network(50, columns, 6, dtype.name, optimizer=nf.SGD(1.0, clip_norm=1e-3))
    for _ in range(3):
        before = model.get_weights()
        model.train_on_batch(x, y)
        moved = sum(((a.astype(float) - b) ** 2).sum() for a, b in zip(model.get_weights(), before, strict=True))
        assert np.sqrt(moved) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_threads_do_not_matter(batch, rng):
    x, y = data(rng, 5000, 30, 48)
    results = []
    for n_threads in (1, 2, 3):
        layers = [nf.Embedding(5000, 37), nf.Conv1D(16, 3, activation="relu"), nf.GlobalMaxPool(),
                  nf.Dense(3, activation="softmax")]
        model = nf.Sequential(layers, input_shape=(30,), seed=2)
        model.compile("adam", "cross_entropy", regularizer=nf.L2(1e-4), n_threads=n_threads)
        history = model.fit(x, y, batch, epochs=2, verbose=0).history
        results.append((history, [w.tobytes() for w in model.get_weights()]))
    assert results[0] == results[1] == results[2]


def test_axes_of_ids(rng):
    """An image of ids, ids with channels first, and one id."""
    x = rng.integers(0, 9, (4, 3, 5))
    image = nf.Sequential([nf.Embedding(9, 2)], input_shape=(3, 5))
    np.testing.assert_array_equal(image.predict(x), image.get_weights()[0][x])
    first = nf.Sequential([nf.Embedding(9, 2)], input_shape=(3, 5), data_format="channels_first")
    np.testing.assert_array_equal(first.predict(x), np.moveaxis(first.get_weights()[0][np.moveaxis(x, 1, -1)], -1, 1))
    reshaped = nf.Sequential([nf.Reshape((5, 3)), nf.Flatten(), nf.Embedding(9, 2)], input_shape=(15,))
    np.testing.assert_array_equal(reshaped.predict(x.reshape(4, 15)), reshaped.get_weights()[0][x.reshape(4, 15)])


def test_columns_of_a_table(rng):
    """Two columns of categories and three of numbers, each with its input; one of the embeddings is frozen."""
    city, colour, numbers = nf.Input((1,), name="city"), nf.Input((2,), name="colours"), nf.Input((3,), name="numbers")
    frozen = nf.Embedding(4, 2, trainable=False, name="colour")
    parts = [nf.Flatten()(nf.Embedding(30, 5, name="city_vectors")(city)), nf.Flatten()(frozen(colour)), numbers]
    h = nf.Dense(8, activation="relu")(nf.Concatenate()(parts))
    model = nf.Model([city, colour, numbers], nf.Dense(1)(h), dtype="float64", seed=1)
    model.compile(nf.Adam(0.02), "squared_error")
    x = {"city": rng.integers(0, 30, (200, 1)), "colours": rng.integers(0, 4, (200, 2)),
         "numbers": rng.standard_normal((200, 3))}
    y = np.sin(x["city"][:, 0]) + x["numbers"][:, 0]
    before = copy.deepcopy(model.parameters)
    history = model.fit(x, y, epochs=60, verbose=0).history["loss"]
    assert history[-1] < 0.1 * history[0]
    assert_same_bits(model.parameters["colour/kernel"], before["colour/kernel"])
    assert (model.parameters["city_vectors/kernel"] != before["city_vectors/kernel"]).any(axis=1).all()
    gradients = model.input_gradient(x, y)
    assert not gradients[0].any() and not gradients[1].any() and gradients[2].any()


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_an_input_of_ids_may_be_numbers_for_other_layers(order, rng):
    """Whichever layer comes first: backward the last one sets the input's gradient, the others add to it."""
    both = nf.Input((3,))
    makers = [lambda: nf.Dense(2, use_bias=False, name="dense")(both),
              lambda: nf.Flatten()(nf.Embedding(5, 2, name="five")(both)),
              lambda: nf.Flatten()(nf.Embedding(4, 2, name="four")(both))]
    h = nf.Concatenate()([makers[i]() for i in order])
    model = nf.Model(both, h, dtype="float64")
    x = rng.integers(0, 4, (6, 3))
    kernel, five, four = (model.parameters[f"{name}/kernel"] for name in ("dense", "five", "four"))
    parts = [x @ kernel, five[x].reshape(6, -1), four[x].reshape(6, -1)]
    expected = np.concatenate([parts[i] for i in order], axis=1)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-12)
    model.compile("sgd", "squared_error")
    y = rng.standard_normal((6, h.shape[0]))
    at = sum(parts[i].shape[1] for i in order[:order.index(0)])
    dense = 2 * (expected - y)[:, at:at + 2] @ kernel.T
    np.testing.assert_allclose(model.input_gradient(x, y), dense, rtol=1e-10)
    with pytest.raises(ValueError, match=r"the embedding 'four' has ids 0..3, got 4 at row 0, column 0"):
        model.predict(x * 0 + 4)


# --- ids -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["uint8", "int8", "int32", "uint64", "float16", "float32", "float64", "list", "bool"])
def test_types_of_ids(kind, rng):
    x, y = data(rng, 2 if kind == "bool" else 100, 6)
    model, same = network(100, 4, 6, "float32"), network(100, 4, 6, "float32")
    given = x.tolist() if kind == "list" else x.astype(kind)
    np.testing.assert_array_equal(model.predict(given), same.predict(x))
    for net, ids in ((model, given), (same, x)):
        net.fit(ids, y, 5, epochs=2, verbose=0)
        net.train_on_batch(ids[:4], y[:4])
    assert_same_bits(model.get_weights()[0], same.get_weights()[0])


def test_ids_beyond_what_their_type_counts_to(rng):
    model = nf.Sequential([nf.Embedding(2049, 4)], input_shape=(3,))
    np.testing.assert_array_equal(model.predict(np.array([[2048, 0, 1]], np.float16)),
                                  model.predict(np.array([[2048, 0, 1]])))
    wide = nf.Sequential([nf.Embedding(100000, 2)], input_shape=(3,))
    np.testing.assert_array_equal(wide.predict(np.array([[2048, 0, 1]], np.float16)),
                                  wide.predict(np.array([[2048, 0, 1]])))


def test_bad_ids_of_a_frame():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"city": [0, 1], "street": [2, 7], "house": [1, 1]})
    with pytest.raises(ValueError, match="got 7 at row 1, column 'street'"):
        network(7, 3, 3).predict(frame)


BAD = {
    "negative": (np.array([[0, -1, 2]]),
                 "model input 'input': the embedding 'table' has ids 0..6, got -1 at row 0, column 1"),
    "too large": (np.array([[0, 1, 2], [3, 4, 7]]), "got 7 at row 1, column 2"),
    "half": (np.array([[0, 1.5, 2]]), "got 1.5 at row 0, column 1"),
    "nan": (np.array([[0, 1, np.nan]]), "got nan at row 0, column 2"),
    "nan in float32": (np.array([[0, 1, np.nan]], np.float32), "got nan at row 0, column 2"),
    "too large in float32": (np.array([[0, 1, 7]], np.float32), "got 7.0 at row 0, column 2"),
    "infinite": (np.array([[np.inf, 1, 1]], np.float32), "got inf at row 0, column 0"),
    "huge": (np.array([[1e300, 1, 1]]), r"got 1e\+300 at row 0, column 0"),
    "beyond int64": (np.array([[2**63, 1, 1]], np.uint64), "got 9223372036854775808"),
}


@pytest.mark.parametrize(("x", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bad_ids_change_nothing(x, message, dtype):
    model = network(7, 3, 3, dtype)
    before = model.get_weights()[0]
    y = np.zeros(len(x), int)
    good = np.zeros((4, 3)), np.zeros(4, int)
    calls = [lambda x: model.predict(x), lambda x: model.fit(x, y, verbose=0), lambda x: model.train_on_batch(x, y),
             lambda x: model.evaluate(x, y), lambda x: model.input_gradient(x, y),
             lambda x: model.per_sample_loss(x, y), lambda x: model.vjp(x, np.ones((len(x), 3))),
             lambda x: model.fit(*good, validation_data=(x, y), verbose=0)]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call(x)
    assert model.iterations == 0
    assert_same_bits(model.get_weights()[0], before)


def test_texts_are_no_ids():
    with pytest.raises(TypeError, match="expected real numbers, got strings"):
        network(7, 3, 3).predict([["a", "b", "c"]])


@pytest.mark.parametrize("source", ["memory map", "data set", "generator", "sparse"])
def test_sources(source, tmp_path, rng):
    x, y = data(rng, 50, 6)
    expected, model = network(50, 4, 6, "float32"), network(50, 4, 6, "float32")
    settings = {"epochs": 2, "shuffle": False, "verbose": 0}
    expected.fit(x, y, 5, **settings)
    np.save(tmp_path / "x.npy", x)
    if source == "memory map":
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        model.fit(mapped, y, 5, **settings)
        np.testing.assert_array_equal(model.predict(mapped), model.predict(x))
    elif source == "data set":
        model.fit(Samples(x, y), batch_size=5, **settings)
    elif source == "generator":
        model.fit(lambda: ((x[i:i + 5], y[i:i + 5]) for i in range(0, len(x), 5)), **settings)
    else:
        scipy = pytest.importorskip("scipy.sparse")
        model.fit(scipy.csr_array(x), y, 5, **settings)
    assert_same_bits(model.get_weights()[0], expected.get_weights()[0])
    wrong = x.copy()
    wrong[21, 3] = 50
    with pytest.raises(ValueError, match="got 50 at row 21, column 3"):
        model.fit(Samples(wrong, y), batch_size=5, **settings)


@pytest.mark.parametrize("change", [nf.augment.Noise(0.1), nf.augment.Mixup()])
def test_ids_are_not_augmented(change, rng):
    x, y = data(rng, 50, 6)
    with pytest.raises(ValueError, match="'input' holds ids, which the embedding 'table' reads"):
        network(50, 4, 6).fit(x, y, verbose=0, augment=change)
    ids, numbers = nf.Input((2,), name="ids"), nf.Input((3,), name="numbers")
    h = nf.Concatenate()([nf.Flatten()(nf.Embedding(5, 2)(ids)), numbers])
    model = nf.Model([ids, numbers], nf.Dense(1)(h))
    model.compile("sgd", "squared_error")
    x = {"ids": rng.integers(0, 5, (8, 2)), "numbers": rng.standard_normal((8, 3))}
    if isinstance(change, nf.augment.Mixup):
        with pytest.raises(ValueError, match="Mixup mixes all inputs, but 'ids' holds ids"):
            model.fit(x, np.zeros(8), verbose=0, augment={"numbers": change})
    else:
        model.fit(x, np.zeros(8), verbose=0, augment={"numbers": change})


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: nf.Embedding(0, 3), ValueError, "embedding: input_dim must be at least 1"),
    (lambda: nf.Embedding(2**24 + 1, 3), ValueError, "embedding: input_dim must be at most 16777216"),
    (lambda: nf.Embedding(5, 0), ValueError, "embedding: output_dim must be at least 1"),
    (lambda: nf.Embedding(5.0, 3), TypeError, "embedding: input_dim must be an integer"),
    (lambda: nf.Embedding(5), TypeError, "output_dim"),
    (lambda: nf.Sequential([nf.Dense(4), nf.Embedding(5, 3)], input_shape=(2,)), ValueError,
     r"embedding: reads ids, which must come from an nf.Input \(or a Reshape or Flatten of it\), got the output of d"),
    (lambda: nf.Sequential([nf.Rescale(2), nf.Embedding(5, 3)], input_shape=(2,)), ValueError, "output of rescale"),
    (lambda: nf.Embedding(2**24, 2**24), ValueError, None),
])
def test_refuses(make, error, message):
    if message is None:
        with pytest.raises(error, match="more than this library computes"):
            nf.Sequential([make()], input_shape=(1,))
        return
    with pytest.raises(error, match=message):
        make()


def test_an_unbuilt_model_sees_ids_first(rng):
    x, y = data(rng, 9, 4)
    model = nf.Sequential([nf.Embedding(9, 2), nf.Flatten(), nf.Dense(3, activation="softmax")])
    model.compile("adam", "cross_entropy")
    with pytest.raises(ValueError, match="got 9 at row"):
        model.fit(x + (x == 8), y, verbose=0)
    assert not model.built
    model.fit(x, y, verbose=0)


def test_many_models_and_threads(rng):
    x, y = data(rng, 40, 5)
    models = [network(40, 3, 5, "float32") for _ in range(3)]
    nf.fit_many(models, x, y, epochs=2, batch_size=8)
    single = network(40, 3, 5, "float32")
    single.fit(x, y, 8, epochs=2, verbose=0)
    for model in models:
        assert_same_bits(model.get_weights()[0], single.get_weights()[0])
    ids = [x[i] for i in range(3)]
    np.testing.assert_array_equal(nf.predict_many(models, ids), [m.predict(i[None])[0] for m, i in zip(models, ids)])
    with pytest.raises(ValueError, match="has ids 0..39, got 40"):
        nf.predict_many(models, [i * 0 + 40 for i in ids])
    errors = []

    def work():
        try:
            single.predict(x)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


# --- files and other libraries ---------------------------------------------------------------------------------------

def test_files(tmp_path, rng):
    x, y = data(rng, 50, 6)
    model = network(50, 4, 6, optimizer="adam")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.safetensors")
    for again in (nf.load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(x), model.predict(x))
        assert again.layers[0].get_config() == model.layers[0].get_config()
        with pytest.raises(ValueError, match="ids 0..49"):
            again.predict(x + 50)
        again.fit(x, y, verbose=0)
    model.fit(x, y, verbose=0)
    assert_same_bits(again.get_weights()[0], model.get_weights()[0])


def three_inputs():
    city, words, numbers = nf.Input((1,), name="city"), nf.Input((4,), name="words"), nf.Input((3,), name="numbers")
    parts = [nf.Flatten()(nf.Embedding(5, 3)(city)), nf.Flatten()(nf.Embedding(7, 2)(nf.Reshape((2, 2))(words))),
             numbers]
    model = nf.Model([city, words, numbers], nf.Dense(2, activation="softmax")(nf.Concatenate()(parts)), seed=3)
    rng = np.random.default_rng(0)
    return model, {"city": rng.integers(0, 5, (6, 1)), "words": rng.integers(0, 7, (6, 4)),
                   "numbers": rng.standard_normal((6, 3)).astype("f")}


def text_net():
    model = nf.Sequential([nf.Embedding(50, 6), nf.Conv1D(8, 3, activation="relu"), nf.GlobalMaxPool(),
                           nf.Dense(2, activation="softmax")], input_shape=(9,), seed=3)
    return model, {"input": np.random.default_rng(0).integers(0, 50, (6, 9))}


def shared():
    """Ids that a dense layer reads, too."""
    both = nf.Input((3,), name="both")
    model = nf.Model(both, nf.Concatenate()([nf.Dense(2)(both), nf.Flatten()(nf.Embedding(6, 2)(both))]), seed=3)
    return model, {"both": np.random.default_rng(0).integers(0, 6, (6, 3))}


def reshaped_and_shared():
    """The Reshape, whose embedding might take integers, comes before the dense layer that may not."""
    both = nf.Input((4,), name="both")
    h = [nf.Flatten()(nf.Embedding(6, 3)(nf.Reshape((2, 2))(both))), nf.Dense(2)(both)]
    return nf.Model(both, nf.Concatenate()(h), seed=3), {"both": np.random.default_rng(0).integers(0, 6, (6, 4))}


def channels_first():
    model = nf.Sequential([nf.Embedding(6, 3), nf.Flatten(), nf.Dense(2)], input_shape=(2, 3), seed=3,
                          data_format="channels_first")
    return model, {"input": np.random.default_rng(0).integers(0, 6, (6, 2, 3))}


@pytest.mark.parametrize("net", [text_net, three_inputs, shared, reshaped_and_shared, channels_first])
def test_onnx(net, tmp_path):
    model, x = net()
    path = tmp_path / "m.onnx"
    nf.onnx.export(model, path)
    expected = model.predict(x if len(x) > 1 else next(iter(x.values())))
    session = onnxruntime.InferenceSession(os.fspath(path))
    feed = {value.name: x[value.name].astype(np.int64 if value.type == "tensor(int64)" else "f")
            for value in session.get_inputs()}
    assert sorted({array.dtype.kind for array in feed.values()}) == {
        text_net: ["i"], channels_first: ["i"], three_inputs: ["f", "i"], shared: ["f"],
        reshaped_and_shared: ["f"]}[net]
    np.testing.assert_allclose(session.run(None, feed)[0], expected, atol=1e-6)
    again = nf.onnx.load(path)
    np.testing.assert_allclose(again.predict(x if len(x) > 1 else next(iter(x.values()))), expected, atol=1e-6)
    assert any(isinstance(layer, nf.Embedding) for layer in again.layers)


def test_a_text_network_of_pytorch(tmp_path, rng):
    """Gather, Transpose, Conv, Relu, ReduceMax, Gemm, as PyTorch exports it; ids of 32 bits that are cast."""
    table, kernel, head = (rng.standard_normal(shape).astype("f") for shape in ((50, 6), (8, 6, 3), (2, 8)))
    graph = onnx.parser.parse_graph("""g (int32[N, 9] ids) => (float[N, 2] y) {
        long = Cast<to = 7>(ids)
        e = Gather(table, long)
        t = Transpose<perm = [0, 2, 1]>(e)
        c = Conv(t, kernel)
        r = Relu(c)
        m = ReduceMax<axes = [2], keepdims = 0>(r)
        y = Gemm<transB = 1>(m, head) }""")
    for name, array in (("table", table), ("kernel", kernel), ("head", head)):
        graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, tmp_path / "t.onnx")
    ids = rng.integers(0, 50, (5, 9)).astype(np.int32)
    expected = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"ids": ids})[0]
    model = nf.onnx.load(tmp_path / "t.onnx")
    assert [type(layer).__name__ for layer in model.layers] == ["Embedding", "Conv1D", "Activation", "GlobalMaxPool",
                                                                "Dense"]
    np.testing.assert_allclose(model.predict(ids), expected, atol=1e-5)


def test_integers_that_are_numbers_for_other_nodes(tmp_path, rng):
    graph = onnx.parser.parse_graph("""g (int64[N, 3] x) => (float[N, 9] y) {
        e = Gather(table, x)
        f = Flatten(e)
        n = Cast<to = 1>(x)
        y = Concat<axis = 1>(f, n) }""")
    table = rng.standard_normal((4, 2)).astype("f")
    graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.float64(3), "stray"))
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8),
              tmp_path / "x.onnx")
    model = nf.onnx.load(tmp_path / "x.onnx")
    x = rng.integers(0, 4, (5, 3))
    assert model.dtype == "float32"
    np.testing.assert_array_equal(model.predict(x), np.concatenate([table[x].reshape(5, 6), x], axis=1))


@pytest.mark.parametrize(("body", "text"), [
    ("y = Add(x, x)", "computes with integers"),
    ("y = Gather<axis = 1>(table, x)", "expected the rows of a matrix, got axis 1 of data of shape"),
    ("y = Gather(cube, x)", "expected the rows of a matrix, got axis 0 of data of shape"),
    ("y = Identity(x)", "is integers"),
    ("r = Relu(z) i = Cast<to = 7>(r) y = Gather(table, i)", "its indices are computed"),
    ("i = Cast<to = 7>(z) y = Cast<to = 1>(i)", "to INT64"),
    ("g = Gather(x, one) y = Cast<to = 1>(g)", r"data \('x'\) must be a constant"),
])
def test_what_onnx_may_do_with_integers(body, text, tmp_path):
    shape = "A, B, C, D" if "cube" in body else "A, B, C" if "table" in body else "A, B"
    graph = onnx.parser.parse_graph(f"g (int64[N, 3] x, float[N, 3] z) => (float[{shape}] y) {{ {body} }}")
    for name, array in (("table", np.ones((4, 2), "f")), ("cube", np.ones((4, 2, 2), "f")), ("one", np.array([1]))):
        graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    if body.startswith(("y = Identity", "y = Add")):
        graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8),
              tmp_path / "x.onnx")
    with pytest.raises(nf.onnx.UnsupportedError, match=text):
        nf.onnx.load(tmp_path / "x.onnx")


def test_weights_of_pytorch_and_keras(tmp_path, rng):
    h5py = pytest.importorskip("h5py")
    table, kernel, bias = rng.standard_normal((50, 4)), rng.standard_normal((24, 3)), rng.standard_normal(3)
    model = network(50, 4, 6)
    nf.interop.from_torch_state_dict(model, {"words.weight": table, "out.weight": kernel.T, "out.bias": bias})
    for own, given in zip(model.get_weights(), (table, kernel, bias), strict=True):
        np.testing.assert_array_equal(own, given)
    state = nf.interop.to_torch_state_dict(model, ["words", "out"])
    np.testing.assert_array_equal(state["words.weight"], table)
    with pytest.raises(ValueError, match=r"table/kernel from 'words': expected shape \(50, 4\)"):
        nf.interop.from_torch_state_dict(model, {"words.weight": table.T, "out.weight": kernel.T, "out.bias": bias})
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        file["layers/embedding/vars/0"] = table
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = kernel, bias
    other = network(50, 4, 6)
    nf.interop.from_keras_weights(other, tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other.get_weights()[0], table)


def joined(kind):
    """Vectors of one embedding, or of two, flattened behind another layer."""
    a, b = nf.Input((6,), name="a"), nf.Input((6,), name="b")
    u = nf.Embedding(20, 4, name="u")(a)
    if kind in ("add", "concatenate"):
        v = nf.Embedding(9, 4, name="v")(b)
        return [a, b], nf.Add()([u, v]) if kind == "add" else nf.Concatenate()([u, v])
    h = {"rescale": lambda: nf.Rescale(2.0)(u), "reshape": lambda: nf.Reshape((3, 8))(u),
         "dense": lambda: nf.Activation("relu")(nf.Dense(5, name="inner")(u)),
         "residual": lambda: nf.LayerNorm(name="norm")(nf.Add()([u, nf.Dense(4, name="inner")(u)])),
         "convolution": lambda: nf.Add()([u, nf.Conv1D(4, 3, padding="same", name="inner")(u)])}[kind]()
    return [a], h


@pytest.mark.parametrize("kind", ["add", "concatenate", "rescale", "reshape", "dense", "residual"])
def test_order_of_vectors_in_pytorch(kind):
    """PyTorch flattens them as we do: the head's kernel is only turned."""
    inputs, h = joined(kind)
    model = nf.Model(inputs, nf.Dense(3, name="head")(nf.Flatten()(h)), seed=1)
    state = nf.interop.to_torch_state_dict(model)
    np.testing.assert_array_equal(state["head.weight"], model.parameters["head/kernel"].T)
    other = model.clone(seed=2)
    nf.interop.from_torch_state_dict(other, state)
    np.testing.assert_array_equal(other.parameters["head/kernel"], model.parameters["head/kernel"])


def test_orders_that_are_not_known_in_pytorch():
    inputs, h = joined("convolution")
    model = nf.Model(inputs, nf.Dense(3, name="head")(nf.Flatten()(h)))
    with pytest.raises(ValueError, match="add joins an embedding's vectors with values that have their channels first"):
        nf.interop.to_torch_state_dict(model)
    text = nf.Sequential([nf.Embedding(9, 4), nf.Conv1D(5, 3), nf.Flatten(), nf.Dense(2, use_bias=False)],
                         input_shape=(6,))
    kernel = text.parameters["dense/kernel"].reshape(4, 5, 2)       # which PyTorch flattens channels first
    np.testing.assert_array_equal(nf.interop.to_torch_state_dict(text)["dense.weight"],
                                  kernel.transpose(1, 0, 2).reshape(20, 2).T)


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a compiler called cc")
@pytest.mark.parametrize("net", [text_net, three_inputs, shared])
def test_c(net, tmp_path):
    from test_export_c import build, call

    model, x = net()
    nf.export_c(model, tmp_path / "net.c")
    library = build(tmp_path / "net.c")
    assert "holds ids 0.." in (tmp_path / "net.h").read_text()
    expected = model.predict(x if len(x) > 1 else next(iter(x.values())))
    for i in range(3):
        got = call(library, "net", model, [array[i] for array in x.values()])
        np.testing.assert_allclose(got[0], expected[i], atol=1e-6)
    # What is no id is the first one: the function cannot refuse it.
    first = {name: array[0] * (array.dtype.kind == "f") for name, array in x.items()}
    if net is text_net:
        for bad in (-1, 50, 1e30, np.nan, np.inf):
            (got,) = call(library, "net", model, [np.full(9, bad)])
            np.testing.assert_allclose(got, model.predict(first["input"][None])[0], atol=1e-6)


def test_the_command_line(tmp_path, rng, capsys):
    from nnfast.__main__ import main

    x, y = data(rng, 50, 6)
    model = network(50, 4, 6, "float32")
    model.save(tmp_path / "m.safetensors")
    np.savez(tmp_path / "xy.npz", x=x, y=y)
    assert main(["bench", str(tmp_path / "m.safetensors"), "--batch-size", "8"]) == 0
    assert main(["evaluate", str(tmp_path / "m.safetensors"), str(tmp_path / "xy.npz")]) == 0
    assert main(["summary", str(tmp_path / "m.safetensors")]) == 0
    np.savez(tmp_path / "bad.npz", x=x + 50, y=y)
    assert main(["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "bad.npz")]) != 0
    assert "ids 0..49" in capsys.readouterr().err


def test_it_reads_well(capsys):
    model, _ = text_net()
    assert repr(model.layers[0]) == "Embedding(50, 6)"
    model.summary()
    assert "embedding" in capsys.readouterr().out
    model.plan()
    assert "embedding" in capsys.readouterr().out
