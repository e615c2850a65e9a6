"""SciPy's sparse matrices as inputs: the bits of the same numbers with the zeros among them, whoever reads them."""
import numpy as np
import pytest
import scipy.sparse

import nnfast as nf

CLASSES = 5


def some(rows, columns, density, dtype="float32", seed=1):
    """A sparse matrix, some of whose rows and columns are empty, and labels."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, columns)) * (rng.random((rows, columns)) < density)
    x[rows // 2] = 0
    return scipy.sparse.csr_matrix(x.astype(dtype)), np.arange(rows) % CLASSES


def network(columns, *layers, dtype="float32", n_threads=None, **compiled):
    model = nf.Sequential([*(layers or [nf.Dense(20, "relu")]), nf.Dense(CLASSES, "softmax")], input_shape=(columns,),
                          dtype=dtype, seed=0)
    model.compile(**{"optimizer": nf.Adam(0.01), "loss": "cross_entropy", "metrics": ["accuracy"]} | compiled,
                  n_threads=n_threads)
    return model


def same_weights(model, other):
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def train_both(model, other, x, y, **arguments):
    """On the array and on the sparse matrix."""
    arguments = {"epochs": 2, "verbose": 0} | arguments
    expected, found = model.fit(x.toarray(), y, **arguments), other.fit(x, y, **arguments)
    same_weights(model, other)
    assert found.history == expected.history
    np.testing.assert_array_equal(other.predict(x), model.predict(x.toarray()))
    assert other.evaluate(x, y) == model.evaluate(x.toarray(), y)


#: rows, columns, units, batch size: sums that one block holds and that several do, of columns and of samples; few
#: units, a panel that is not filled and several groups of panels; batches that threads cannot share out evenly; as many
#: columns as threads
SHAPES = [(40, 3, 4, 8), (60, 40, 20, 16), (101, 900, 1, 10), (300, 2000, 100, 64), (700, 1700, 300, 600),
          (9, 3000, 8, 1)]


@pytest.mark.parametrize("density", [0.0, 0.01, 0.08, 0.4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_bits(shape, dtype, density):
    rows, columns, units, batch_size = shape
    x, y = some(rows, columns, density, dtype)
    weights = []
    for n_threads in (1, 2, 3):
        model, other = (network(columns, nf.Dense(units, "tanh"), dtype=dtype, n_threads=n_threads) for _ in range(2))
        train_both(model, other, x, y, batch_size=batch_size)
        weights.append(other)
    same_weights(weights[0], weights[1])
    same_weights(weights[0], weights[2])


@pytest.mark.parametrize("layers", [
    [nf.Dropout(0.3), nf.Dense(20, "relu")],
    [nf.BatchNorm(), nf.Dense(20, "relu")],
    [nf.Dense(20, use_bias=False), nf.BatchNorm(), nf.Activation("relu")],
    [nf.Rescale(2.0, 0.5), nf.Dense(20, "relu")],
    [nf.Reshape((45, 2)), nf.Conv1D(4, 3), nf.Flatten()],
    [nf.Dense(20, kernel_regularizer=nf.L2(0.1)), nf.Dropout(0.5)],
], ids=lambda layers: type(layers[0]).__name__)
def test_layers(layers):
    """Those that read an input with its zeros, and those whose dense layer is not all."""
    x, y = some(80, 90, 0.05)
    model, other = (network(90, *[layer.copy() for layer in layers]) for _ in range(2))
    train_both(model, other, x, y, batch_size=16)


def test_graph():
    """Two dense layers that read one input, and a sparse input beside one that is not."""
    def make():
        words, numbers = nf.Input((300,), name="words"), nf.Input((4,), name="numbers")
        h = nf.Concatenate()([nf.Dense(8, "relu")(words), nf.Dense(3, "tanh")(words), numbers])
        model = nf.Model([words, numbers], nf.Dense(CLASSES, "softmax")(h), seed=0)
        model.compile("adam", "cross_entropy")
        return model

    x, y = some(60, 300, 0.03)
    numbers = np.random.default_rng(0).standard_normal((60, 4), dtype=np.float32)
    model, other = make(), make()
    model.fit([x.toarray(), numbers], y, epochs=2, batch_size=7, verbose=0)
    other.fit({"words": x, "numbers": numbers}, y, epochs=2, batch_size=7, verbose=0)
    same_weights(model, other)


def test_an_input_that_is_an_output_too():
    entry = nf.Input((30,))
    same = nf.Rescale(1.0)(entry)       # gathered as it is
    model = nf.Model(entry, [nf.Dense(2)(same), same], seed=0)
    x, _ = some(10, 30, 0.1)
    for a, b in zip(model.predict(x), model.predict(x.toarray())):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("augment", [nf.augment.Noise(0.1), [nf.augment.Mixup(0.4)]], ids=["noise", "mixup"])
def test_augmented(augment):
    x, y = some(50, 30, 0.1)
    model, other = network(30), network(30)
    train_both(model, other, x, y, batch_size=10, augment=augment)


@pytest.mark.parametrize("given", [
    lambda x: x.tocsc(), lambda x: x.tocoo(), lambda x: x.todok(), lambda x: x.tolil(),
    lambda x: scipy.sparse.csr_array(x), lambda x: x.astype(np.float64),
    lambda x: scipy.sparse.csr_matrix((x.data, x.indices.astype(np.int64), x.indptr.astype(np.int64)), x.shape),
], ids=["csc", "coo", "dok", "lil", "array", "float64", "int64"])
def test_formats(given):
    x, y = some(50, 70, 0.05)
    model, other = network(70), network(70)
    model.fit(x.toarray(), y, verbose=0)
    other.fit(given(x), y, verbose=0)
    same_weights(model, other)


def test_numbers_in_any_order_twice_and_zero():
    """And the user's matrix stays as it was."""
    x = scipy.sparse.csr_matrix(([3.0, 1.0, 2.0, 0.0, 5.0], [4, 0, 4, 2, 1], [0, 3, 3, 5]), (3, 6))
    before = x.data.copy(), x.indices.copy(), x.indptr.copy()
    model, other = network(6), network(6)
    model.fit(x.toarray(), [0, 1, 2], verbose=0)
    other.fit(x, [0, 1, 2], verbose=0)
    same_weights(model, other)
    for array, same in zip((x.data, x.indices, x.indptr), before):
        np.testing.assert_array_equal(array, same)


def test_places_that_come_many_times():
    """They are added up in the order they have, as `toarray` does."""
    rng = np.random.default_rng(0)
    x = scipy.sparse.csr_matrix((rng.standard_normal(1200, dtype=np.float32), rng.integers(0, 3, 1200),
                                 np.arange(0, 1201, 60)), (20, 40))
    train_both(network(40), network(40), x, np.arange(20) % CLASSES)


def test_what_scipy_takes_for_granted():
    """Columns that have been exchanged since SciPy saw that they ascend; and its checks would change the matrix."""
    x, y = some(100, 900, 0.02)
    assert x.has_canonical_format
    x.indices = np.random.default_rng(0).permutation(900).astype(np.int32)[x.indices]
    train_both(network(900), network(900), x, y)
    numbers = np.arange(1, 101, dtype=np.float32)
    x = scipy.sparse.csr_matrix((3, 40), dtype=np.float32)
    x.data, x.indices, x.indptr = numbers[:5], np.arange(5), np.array([0, 2, 4, 5], np.int32)
    network(40).predict(x)
    assert x.indices.dtype == np.int64 and x.indptr.dtype == np.int32 and np.shares_memory(x.data, numbers)


@pytest.mark.parametrize("kind", ["int8", "bool", "uint8", "int64"])
def test_whole_numbers(kind):
    x, y = some(50, 70, 0.1)
    x = (x > 0.5).astype(kind)
    train_both(network(70), network(70), x, y)
    model, other = network(70), network(70)
    expected = model.fit(lambda: iter([(x.toarray(), y)]), verbose=0).history
    assert other.fit(lambda: iter([(x, y)]), verbose=0).history == expected
    np.testing.assert_array_equal(other.predict(iter([x[:9], x[9:]])), model.predict(x.toarray()))


@pytest.mark.parametrize("dtype, given", [("float64", "float32"), ("float32", "float64")])
def test_subnormal_numbers_are_zero(dtype, given):
    x, y = some(20, 30, 0.1, given)
    train_both(network(30, dtype=dtype), network(30, dtype=dtype), x * 1e-38, y)


def test_other_calls():
    x, y = some(40, 200, 0.05)
    model, dense = network(200), x.toarray()
    loss, gradients = model.gradients(x, y)
    expected, others = model.gradients(dense, y)
    assert loss == expected and gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, others[name])
    np.testing.assert_array_equal(model.per_sample_loss(x, y), model.per_sample_loss(dense, y))
    assert model.test_on_batch(x, y) == model.test_on_batch(dense, y)
    other = model.clone()
    other.compile(**model.get_compile_config())
    assert model.train_on_batch(x, y) == other.train_on_batch(dense, y)
    # Batches of a generator may be sparse, too.
    model.fit(lambda: iter([(x[:20], y[:20]), (x[20:], y[20:])]), verbose=0)
    other.fit(lambda: iter([(dense[:20], y[:20]), (dense[20:], y[20:])]), verbose=0)
    same_weights(model, other)


def test_validation_weights_and_callbacks():
    x, y = some(120, 100, 0.05)
    weight = np.random.default_rng(0).random(120)
    for arguments in ({"validation_split": 0.25}, {"validation_data": (x[:30], y[:30])}, {"shuffle": False},
                      {"class_weight": {0: 3.0}}, {"callbacks": [nf.callbacks.EarlyStopping(monitor="loss")]},
                      {"callbacks": [nf.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: None)]}):
        model, other = network(100), network(100)
        train_both(model, other, x, y, sample_weight=weight, batch_size=16, **arguments)


def test_a_checkpoint_of_one_goes_on_with_the_other(tmp_path):
    x, y = some(60, 50, 0.1)
    model, other, whole = network(50), network(50), network(50)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[nf.callbacks.Checkpoint(tmp_path)])
    other.fit(x.toarray(), y, epochs=4, verbose=0, resume=tmp_path)
    whole.fit(x, y, epochs=4, verbose=0)
    same_weights(other, whole)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_solver(dtype):
    x, y = some(200, 300, 0.05, "float64")
    model, other = (nf.Sequential([nf.Dense(CLASSES, "softmax", kernel_regularizer=nf.L2(0.01))], input_shape=(300,),
                                  dtype=dtype, seed=0) for _ in range(2))
    for made, data in ((model, x.toarray()), (other, x)):
        made.compile("sgd", "cross_entropy")
        made.fit(data, y, solver="lbfgs", verbose=0)
    same_weights(model, other)


def test_rows_are_not_mixed_up_with_those_of_the_call_before():
    """A plan reads arrays again after a sparse matrix, and other matrices."""
    x, y = some(40, 60, 0.05)
    model, other = network(60), network(60)
    for data, labels in ((x, y), (x.toarray(), y), (x[:7], y[:7]), (x.toarray()[:3], y[:3])):
        model.fit(data, labels, verbose=0)
        other.fit(data if isinstance(data, np.ndarray) else data.toarray(), labels, verbose=0)
    same_weights(model, other)


@pytest.mark.parametrize("bad, text", [(np.nan, "nan at row 7, column 3; data must be finite"),
                                       (np.inf, "inf at row 7, column 3; data must be finite"),
                                       (1e300, r"1e\+300 at row 7, column 3; does not fit into float32")])
def test_numbers_that_are_not_finite(bad, text):
    x, y = some(20, 30, 0.1, "float64")
    x = x.tolil()
    x[7, 3] = bad
    model = network(30)
    before = model.get_weights()
    for call in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match=text):
            call(x, y)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.isnan(model.predict(x)).any(axis=1), np.arange(20) == 7)


@pytest.mark.parametrize("given, error, text", [
    (lambda x: x[:, :4], ValueError, r"expected shape \(N, 30\), got \(20, 4\)"),
    (lambda x: x[:0], ValueError, "empty data"),
    (lambda x: x * 1j, TypeError, "complex numbers"),
    (lambda x: scipy.sparse.csr_matrix((x.data, x.indices, x.indptr[::-1]), x.shape), ValueError, "ind"),
    (lambda x: scipy.sparse.csr_matrix((x.data, x.indices + 25, x.indptr), x.shape), ValueError, "ind"),
    (lambda x: scipy.sparse.csr_matrix((x.data, x.indices - 5, x.indptr), x.shape), ValueError, "ind"),
])
def test_bad_matrices(given, error, text):
    x, y = some(20, 30, 0.3)
    model = network(30)
    with pytest.raises(error, match=text):
        model.fit(given(x), y[:given(x).shape[0]], verbose=0)


def test_rows_that_are_not_vectors():
    model = nf.Sequential([nf.Flatten(), nf.Dense(2)], input_shape=(5, 6))
    for x in (scipy.sparse.csr_array(np.ones((4, 30))), scipy.sparse.coo_array(np.ones((4, 5, 6)))):
        with pytest.raises(ValueError, match=r"model input 'input': expected shape \(N, 5, 6\), got a sparse matrix"):
            model.predict(x)


def test_no_gradient_of_a_sparse_input():
    x, y = some(20, 30, 0.1)
    model = network(30)
    for call, arguments in ((model.input_gradient, (x, y)), (model.vjp, (x, np.zeros((20, CLASSES)))),
                            (model.check_gradients, (x, y))):
        with pytest.raises(TypeError, match=f"{call.__name__}: model input 'input' is a sparse matrix.*x.toarray"):
            call(*arguments)


def test_an_unbuilt_model():
    x, y = some(20, 30, 0.1)
    model, other = (nf.Sequential([nf.Dense(CLASSES, "softmax")], seed=0) for _ in range(2))
    for made, data in ((model, x), (other, x.toarray())):
        made.compile("sgd", "cross_entropy")
        made.fit(data, y, verbose=0)
    same_weights(model, other)
