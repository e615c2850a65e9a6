"""What users get wrong: each error says what came and what was expected, and the model is as it was before."""
import copy
import inspect

import numpy as np
import pytest
import scipy.sparse
from stand_ins import Samples

import nnfast as nf

N, WIDTH, CLASSES = 12, 4, 3


def model_with(loss="cross_entropy", compiled=True, built=True, metrics=()):
    last = {"cross_entropy": nf.Dense(CLASSES, activation="softmax"),
            "binary_cross_entropy": nf.Dense(2, activation="sigmoid")}
    model = nf.Sequential([nf.Dense(5, activation="tanh"), last.get(loss) or nf.Dense(2)],
                          input_shape=(WIDTH,) if built else None, seed=0)
    if compiled:
        model.compile(nf.Adam(0.01), loss, metrics=metrics)
    return model


def x_and(labels=None):
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, WIDTH)), rng.integers(0, CLASSES, N) if labels is None else labels


def snapshot(model):
    if not model.built:
        return "not built"
    state = [*model.get_weights(), *model.optimizer_state().values()]
    return [a.tobytes() for a in state], model.iterations, model.epochs_trained


def refuses(model, call, error, text):
    """`call(model)` raises `error`, its message matches `text`, and the model is unchanged."""
    before = snapshot(model)
    with pytest.raises(error, match=text):
        call(model)
    assert snapshot(model) == before


# --- x ---------------------------------------------------------------------------------------------------------------

def bad_inputs():
    good, _ = x_and()
    nan, inf, huge = good.copy(), good.copy(), good.copy()
    nan[3, 2], inf[5, 1], huge[7, 0] = np.nan, -np.inf, 1e300
    return [
        ("rank 1", good[0], ValueError,
         r"model input 'input': expected shape \(N, 4\), got \(4,\); one sample is x\[None\]"),
        ("rank 3", good[None], ValueError, r"expected shape \(N, 4\), got \(1, 12, 4\)"),
        ("rank 0", 3.0, ValueError, r"expected shape \(N, 4\), got \(\)"),
        ("width", good[:, :3], ValueError, r"expected shape \(N, 4\), got \(12, 3\)"),
        ("empty", good[:0], ValueError, r"empty data, shape \(0, 4\)"),
        ("empty list", [], ValueError, r"got \(0,\)"),
        ("strings", good.astype(str), TypeError, "expected real numbers, got strings"),
        ("bytes", good.astype("S"), TypeError, "got bytes"),
        ("objects", np.array([[1, 2, None, 4]] * N, dtype=object), TypeError, "NoneType None at row 0, column 2"),
        ("structured", np.zeros((N, WIDTH), [("a", float)]), TypeError, "expected real numbers"),
        ("complex", good + 1j, TypeError, "complex numbers"),
        ("dates", np.zeros((N, WIDTH), "M8[s]"), TypeError, "dates"),
        ("list of strings", [["a"] * WIDTH] * N, TypeError, "strings"),
        ("mixed list", [[1, 2, 3, {}]] * N, TypeError, "dict .* at row 0, column 3"),
        ("ragged", [[1, 2, 3, 4], [1, 2, 3]] * 6, ValueError, "ragged"),
        ("None", None, TypeError, "got NoneType"),
        ("string", "abc", TypeError, "got str"),
        ("masked", np.ma.masked_less(good, 0), TypeError, "masked"),
        ("nan", nan, ValueError, "nan at row 3, column 2; data must be finite"),
        ("inf", inf, ValueError, "-inf at row 5, column 1"),
        ("half inf", inf.astype(np.float16), ValueError, "-inf at row 5, column 1"),
        ("too large", huge, ValueError, r"1e\+300 at row 7, column 0; does not fit into float32"),
        ("dict", {"x": good}, ValueError, "expected a dict with input, got x"),
    ]


BAD_X = bad_inputs()


@pytest.mark.parametrize(("x", "error", "text"), [case[1:] for case in BAD_X], ids=[case[0] for case in BAD_X])
@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch", "gradients", "input_gradient",
                                  "per_sample_loss"])
def test_bad_x(call, x, error, text):
    _, y = x_and()
    arguments = {"verbose": 0} if call == "fit" else {}
    refuses(model_with(), lambda model: getattr(model, call)(x, y, **arguments), error, text)


@pytest.mark.parametrize(("x", "error", "text"), [case[1:] for case in BAD_X], ids=[case[0] for case in BAD_X])
def test_bad_x_for_predict(x, error, text):
    if "row" in text and error is ValueError:
        assert model_with().predict(x).shape == (N, CLASSES)     # NaN in, NaN out: documented
    else:
        refuses(model_with(compiled=False), lambda model: model.predict(x), error, text)


def test_bad_x_leaves_an_unbuilt_model_unbuilt():
    x, y = x_and()
    model = model_with(built=False)
    for bad, text in ((x[0], r"\(N, \.\.\.\)"), (x[:0], "empty"), ([], "got"), (x.astype(str), "strings")):
        refuses(model, lambda model, bad=bad: model.fit(bad, y, verbose=0), (ValueError, TypeError), text)
    refuses(model, lambda model: model.fit(x, y + 5, verbose=0), ValueError, "labels must be in 0..2")
    refuses(model, lambda model: model.fit(x[:, :0], y, verbose=0), ValueError, "empty")
    model.fit(x[:, :2], y, verbose=0)
    assert model.input_shape == (2,)


def test_nan_is_found_in_large_values_that_overflow_a_sum():
    model = model_with("squared_error")
    x = np.full((N, WIDTH), 3e38, np.float32)
    y = np.zeros((N, 2))
    model.evaluate(x, y)        # finite data, though its sum is not
    x[2, 2] = np.nan
    refuses(model, lambda model: model.evaluate(x, y), ValueError, "nan at row 2, column 2")


# --- y ---------------------------------------------------------------------------------------------------------------

LABELS = np.arange(N) % CLASSES
ONE_HOT = np.eye(CLASSES)[LABELS]


def with_entry(a, at, value):
    a = np.array(a, dtype=float)
    a[at] = value
    return a


@pytest.mark.parametrize(("y", "error", "text"), [
    (with_entry(LABELS, 4, 3).astype(int), ValueError,
     r"labels must be in 0\.\.2 for an output of width 3, got 3 at row 4"),
    (with_entry(LABELS, 2, -1).astype(int), ValueError, "got -1 at row 2"),
    (with_entry(LABELS, 5, 0.5), ValueError, "labels must be integers, got 0.5 at row 5"),
    (with_entry(LABELS, 5, np.nan), ValueError, "labels must be integers, got nan at row 5"),
    (np.full(N, 2**40), ValueError, "got 1099511627776 at row 0"),
    (LABELS[:-1], ValueError, "one target for each of the 12 samples, got 11 targets"),
    (1, ValueError, "got a single number"),
    (np.array(1), ValueError, "got a single number"),
    (np.zeros(N, "M8[s]"), TypeError, "dates"),
    (np.zeros(N, [("a", int)]), TypeError, "expected real numbers"),
    (LABELS.astype(str), TypeError, "strings"),
    (LABELS + 0j, TypeError, "complex"),
    (np.eye(4)[LABELS], ValueError, r"expects labels \(N,\) or probabilities \(N, 3\), got shape \(12, 4\)"),
    (ONE_HOT[:, None], ValueError, r"got shape \(12, 1, 3\)"),
    (with_entry(ONE_HOT, (3, 1), -0.5), ValueError, "must not be negative, got -0.5 at row 3, column 1"),
    (with_entry(ONE_HOT, (3, 0), 2.0), ValueError, "must sum to 1, those of row 3 sum to"),
    (with_entry(ONE_HOT, (3, 0), np.nan), ValueError, "nan at row 3, column 0"),
    ([[1, 0, 0], [1, 0]] * 6, ValueError, "ragged"),
    (None, TypeError, "y: expected an array of numbers, got NoneType"),
    ([LABELS, LABELS], ValueError, "got 2 targets"),
])
def test_bad_y_for_cross_entropy(y, error, text):
    x, _ = x_and()
    refuses(model_with(), lambda model: model.fit(x, y, verbose=0), error, text)
    refuses(model_with(), lambda model: model.train_on_batch(x.astype(np.float32), y), error, text)
    refuses(model_with(), lambda model: model.fit(x, LABELS, validation_data=(x, y), verbose=0), error,
            f"validation_data: .*{text}")


@pytest.mark.parametrize(("loss", "y", "text"), [
    ("squared_error", np.zeros((N, 3)), r"output 'dense_1' has shape \(N, 2\), got targets of shape \(12, 3\)"),
    ("squared_error", np.zeros(N), r"class labels go with loss='cross_entropy', or one-hot: np.eye\(2\)\[y\]"),
    ("squared_error", np.full((N, 2), np.inf), "inf at row 0, column 0"),
    ("binary_cross_entropy", np.full((N, 2), 1.5), r"targets in \[0, 1\], got 1.5 at row 0, column 0"),
    ("binary_cross_entropy", np.full((N, 2), -0.1), r"targets in \[0, 1\]"),
])
def test_bad_y_for_other_losses(loss, y, text):
    x, _ = x_and()
    refuses(model_with(loss), lambda model: model.fit(x, y, verbose=0), ValueError, text)
    for dtype in (np.float32, np.float64):
        def call(model, dtype=dtype):
            model.train_on_batch(x.astype(np.float32), y.astype(dtype))

        refuses(model_with(loss), call, ValueError, text)


# --- what is accepted ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("convert", [
    lambda x: x.astype(np.float64), lambda x: x.astype(np.float32), lambda x: x.astype(np.float16),
    lambda x: x.astype(np.uint8), lambda x: x.astype(np.int64), lambda x: x.astype(">f4"), lambda x: x.astype(">f8"),
    lambda x: x.tolist(), lambda x: tuple(map(tuple, x.tolist())), lambda x: list(x), lambda x: np.asfortranarray(x),
    lambda x: np.repeat(x, 2, axis=0)[::2], lambda x: np.repeat(x, 2, axis=1)[:, ::2], lambda x: x[::-1][::-1],
    lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    lambda x: np.ma.array(x), lambda x: x.astype(np.longdouble),
], ids=["float64", "float32", "float16", "uint8", "int64", "big-endian 4", "big-endian 8", "list", "tuple",
        "list of rows", "fortran", "every other row", "every other column", "negative stride", "unaligned", "masked",
        "longdouble"])
@pytest.mark.parametrize("read_only", [False, True])
def test_input_of_any_kind_is_the_same_numbers(convert, read_only):
    x = np.random.default_rng(0).integers(0, 200, (N, WIDTH)).astype(np.float64)
    expected = model_with()
    expected.fit(x, LABELS, epochs=2, batch_size=5, verbose=0)
    data = convert(x)
    if read_only and isinstance(data, np.ndarray):
        data.setflags(write=False)
    before = np.array(data, copy=True)
    model = model_with()
    model.fit(data, LABELS, epochs=2, batch_size=5, verbose=0)
    for a, b in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.predict(data), expected.predict(x))
    model.train_on_batch(data, LABELS)
    np.testing.assert_array_equal(before, data)


@pytest.mark.parametrize("convert", [
    lambda y: y.astype(np.int8), lambda y: y.astype(np.uint64), lambda y: y.astype(float),
    lambda y: y.astype(np.float16), lambda y: y.tolist(), lambda y: y[:, None],
    lambda y: np.repeat(y, 2)[::2], lambda y: y.astype(np.int32),
])
def test_labels_of_any_kind(convert):
    x, _ = x_and()
    expected = model_with().evaluate(x, LABELS)
    assert model_with().evaluate(x, convert(LABELS)) == expected


def test_one_hot_labels_are_labels():
    x, _ = x_and()
    expected = model_with(metrics=["accuracy"]).evaluate(x, LABELS)
    for y in (ONE_HOT, ONE_HOT.astype(bool), ONE_HOT.astype(np.uint8), ONE_HOT.tolist()):
        figures = model_with(metrics=["accuracy"]).evaluate(x, y)
        assert figures["accuracy"] == expected["accuracy"]
        np.testing.assert_allclose(figures["loss"], expected["loss"], rtol=1e-6)


def test_a_flat_target_for_a_single_output():
    x, _ = x_and()
    y = x[:, 0]
    figures = []
    for target in (y, y[:, None], y.tolist()):
        model = nf.Sequential([nf.Dense(1)], input_shape=(WIDTH,))
        model.compile("sgd", "squared_error")
        figures.append(model.evaluate(x, target))
    assert figures[0] == figures[1] == figures[2]


class Frame:
    """What nnfast sees of a pandas DataFrame."""

    iloc = None     # frames of other libraries have none

    def __init__(self, values, columns):
        self.values, self.columns = values, columns

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype=dtype)

    def __len__(self):
        return len(self.values)


def test_data_frames():
    x, _ = x_and()
    names = ["age", "height", "name", "weight"]
    expected = model_with().evaluate(x, LABELS)
    assert model_with().evaluate(Frame(x, names), Frame(LABELS, None)) == expected
    mixed = x.astype(object)
    mixed[1, 2] = "Ada"
    refuses(model_with(), lambda model: model.fit(Frame(mixed, names), LABELS, verbose=0), TypeError,
            "str 'Ada' at row 1, column 'name'")
    refuses(model_with(), lambda model: model.fit(Frame(x.astype(object), names), LABELS, verbose=0), TypeError,
            "astype")


# --- arguments of fit ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("arguments", "error", "text"), [
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ({"batch_size": -3}, ValueError, "got -3"),
    ({"batch_size": 2.5}, TypeError, "batch_size must be an integer"),
    ({"batch_size": True}, TypeError, "bool"),
    ({"epochs": -1}, ValueError, "epochs"),
    ({"epochs": "3"}, TypeError, "epochs"),
    ({"initial_epoch": -1}, ValueError, "initial_epoch"),
    ({"shuffle": "yes"}, TypeError, "shuffle"),
    ({"verbose": 7}, ValueError, "verbose must be 0, 1 or 2, got 7"),
    ({"validation_split": 1.0}, ValueError, "validation_split"),
    ({"validation_split": -0.1}, ValueError, "validation_split"),
    ({"validation_split": 0.99}, ValueError, "leaves 0 to train on and 12"),
    ({"validation_split": 1e-12}, ValueError, "leaves 12 to train on and 0"),
    ({"validation_split": 0.5, "validation_data": x_and()}, ValueError, "not both"),
    ({"validation_data": 3}, ValueError, "got int"),
    ({"validation_data": (1, 2, 3, 4)}, ValueError, "got 4 entries"),
    ({"validation_data": (np.zeros((3, 9)), np.zeros(3))}, ValueError, r"validation_data: .*\(3, 9\)"),
    ({"sample_weight": np.ones(5)}, ValueError, r"sample_weight: expected shape \(12,\).*got \(5,\)"),
    ({"sample_weight": -np.ones(N)}, ValueError, "must not be negative, got -1.0 at row 0"),
    ({"sample_weight": np.full(N, np.nan)}, ValueError, "nan at row 0"),
    ({"sample_weight": ["a"] * N}, TypeError, "strings"),
    ({"sample_weight": np.zeros(N)}, ValueError, "all weights are zero"),
    ({"sample_weight": np.full(N, 1e308)}, ValueError, "must be 0 or from 1e-100 to 1e.100, got 1e.308 at row 0"),
    ({"sample_weight": np.array([0] * (N - 1) + [1e-320])}, ValueError, f"got 1e-320 at row {N - 1}"),
    ({"class_weight": {3: 1.0}}, ValueError, r"classes are 0\.\.2, got 3"),
    ({"class_weight": {"a": 1.0}}, ValueError, "got 'a'"),
    ({"class_weight": {0.5: 1.0}}, ValueError, "got 0.5"),
    ({"class_weight": {np.nan: 1.0}}, ValueError, "got nan"),
    ({"class_weight": {-1.0: 1.0}}, ValueError, "got -1.0"),
    ({"class_weight": {1 + 0j: 1.0}}, ValueError, r"got \(1\+0j\)"),
    ({"class_weight": {0: -1.0}}, ValueError, "class 0 must be 0 or from 1e-100 to 1e.100, got -1.0"),
    ({"class_weight": {0: "x"}}, TypeError, "class 0 must be a number"),
    ({"class_weight": "even"}, ValueError, "balanced"),
    ({"class_weight": [1, 2, 3]}, TypeError, "got list"),
    ({"callbacks": [3]}, TypeError, "nf.Callback objects, got 3"),
    ({"callbacks": nf.EarlyStopping}, TypeError, "make an instance"),
])
@pytest.mark.parametrize("built", [True, False])
def test_bad_arguments_of_fit(arguments, error, text, built):
    x, y = x_and()
    refuses(model_with(built=built), lambda model: model.fit(x, y, **{"verbose": 0, **arguments}), error, text)


def test_class_weights_need_classes():
    x, _ = x_and()
    refuses(model_with("squared_error"), lambda model: model.fit(x, x[:, :2], class_weight={0: 1}, verbose=0),
            ValueError, "the loss is squared_error")


@pytest.mark.parametrize("kind", [bool, np.float32, np.float64, np.uint8, object])
def test_class_weights_by_the_labels_as_they_are(kind):
    x, y = x_and((np.arange(N) % 3 > 0).astype(kind)[:, None])
    figures = []
    for keys in (np.unique(y), [0, 1]):
        model = nf.Sequential([nf.Dense(1, activation="sigmoid")], input_shape=(WIDTH,), seed=0)
        model.compile("sgd", "binary_cross_entropy")
        figures.append(model.train_on_batch(x, y.astype(float), class_weight=dict(zip(keys, [2.0, 0.5]))))
    assert figures[0] == figures[1] != model.evaluate(x, y.astype(float))


@pytest.mark.parametrize("call", ["evaluate", "predict"])
def test_bad_batch_sizes(call):
    x, y = x_and()
    arguments = (x, y) if call == "evaluate" else (x.astype(np.float32),)
    for bad, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("a", TypeError)):
        refuses(model_with(), lambda model, bad=bad: getattr(model, call)(*arguments, batch_size=bad), error,
                "batch_size")


@pytest.mark.parametrize("metric", ["accuracy", nf.metrics.Accuracy(), nf.BinaryAccuracy, "mean_iou"])
@pytest.mark.parametrize("call", [
    lambda model, x, y: model.fit(x, y, verbose=0),
    lambda model, x, y: model.fit(x, 0 * y, validation_data=(x, y), verbose=0),
    lambda model, x, y: model.fit(lambda: iter([(x, y)]), verbose=0),
    lambda model, x, y: model.fit(Samples(x, y), verbose=0),
    lambda model, x, y: model.evaluate(scipy.sparse.csr_array(x), y),
    lambda model, x, y: model.evaluate(x, y),
    lambda model, x, y: model.train_on_batch(x, y),
])
def test_accuracy_of_numbers(metric, call):
    x, y = x_and(np.repeat([[100.0], [200.0], [300.0]], 4, axis=0))
    model = nf.Sequential([nf.Dense(1)], input_shape=(WIDTH,))
    model.compile("sgd", "squared_error", metrics=["mae", metric])
    before, name = model.get_weights(), nf.metrics.get(metric).name
    with pytest.raises(ValueError, match=rf"y: {name} needs classes \(targets 0 and 1\), got .00.0 at row \d+, column "
                                         "0; for numbers use 'mae', 'mse' or 'r2'"):
        call(model, x, y)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))
    call(model, x, y > 150)


def test_accuracy_of_answers_of_another_kind():
    """-1 and 1 for a tanh, with a threshold that says so; one-hot rows."""
    x, y = x_and(np.where(np.arange(N) % 3, 1.0, -1.0)[:, None])
    model = nf.Sequential([nf.Dense(1, activation="tanh")], input_shape=(WIDTH,))
    model.compile("sgd", "squared_error", metrics=[nf.BinaryAccuracy(0.0)])
    assert model.evaluate(x, y)["binary_accuracy"] == ((model.predict(x) > 0) == (y > 0)).mean()
    model_with("squared_error", metrics=["accuracy", "mean_iou"]).evaluate(x, 7 * x[:, :2])


# --- compile ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", nf.CustomLoss(lambda t, y: (t, y))])
@pytest.mark.parametrize("layers", [[nf.Dense(1, activation="softmax")], [nf.Dense(1), nf.Activation("softmax")],
                                    [nf.Reshape((2, 2, 1)), nf.Conv2D(1, 1, activation="softmax")]])
def test_softmax_of_one_output(layers, loss):
    model = nf.Sequential(layers, input_shape=(WIDTH,))
    refuses(model, lambda model: model.compile("sgd", loss), ValueError,
            f"{model.layers[-1].name}: the softmax of one output is always 1, so .* trains nothing; use activation=")


@pytest.mark.parametrize(("arguments", "error", "text"), [
    ({"optimizer": "adamm"}, ValueError, "unknown optimizer 'adamm'; did you mean 'adam'"),
    ({"optimizer": 3}, TypeError, "optimizer must be a name"),
    ({"optimizer": None}, TypeError, "NoneType"),
    ({"loss": "crossentropyy"}, ValueError, "unknown loss"),
    ({"loss": 3}, TypeError, "loss must be a name"),
    ({"loss": "binary_cross_entropy"}, ValueError, "dense_1: binary_cross_entropy expects the output of a sigmoid"),
    ({"loss": nf.CrossEntropy(from_logits=True)}, ValueError, "applied twice"),
    ({"loss": ["cross_entropy", "cross_entropy"]}, ValueError, "the model has 1 outputs, got 2 entries in loss"),
    ({"loss": {"other": "cross_entropy"}}, ValueError, r"must name each output \(dense_1\), got other"),
    ({"metrics": ["accuracyy"]}, ValueError, "unknown metric"),
    ({"metrics": ["accuracy", "accuracy"]}, ValueError, "'accuracy' is taken"),
    ({"metrics": [nf.TopKAccuracy(4)]}, ValueError, "only 3 values"),
    ({"metrics": {"other": ["accuracy"]}}, ValueError, "unknown output 'other'"),
    ({"loss_weights": [-1.0]}, ValueError, "loss_weights"),
    ({"loss_weights": [0.0]}, ValueError, "all zero"),
    ({"loss_weights": ["a"]}, TypeError, "loss_weights"),
    ({"regularizer": "l3"}, ValueError, "unknown regularizer"),
    ({"n_threads": 0}, ValueError, "n_threads must be between 1 and 1024, got 0"),
    ({"n_threads": 5000}, ValueError, "got 5000"),
    ({"n_threads": 1.5}, TypeError, "n_threads"),
    ({"loss": None, "metrics": ["accuracy"]}, ValueError, "need a loss"),
])
def test_bad_arguments_of_compile(arguments, error, text):
    x, y = x_and()
    model = model_with()
    model.fit(x, y, verbose=0)
    before = model.get_compile_config()
    arguments = {"optimizer": "sgd", "loss": "cross_entropy", **arguments}
    refuses(model, lambda model: model.compile(**arguments), error, text)
    assert model.get_compile_config() == before
    model.fit(x, y, verbose=0)


def test_several_outputs_need_an_answer_for_each():
    x = nf.Input((3,))
    model = nf.Model(x, [nf.Dense(2, name="a")(x), nf.Dense(2, name="b")(x)])
    for arguments, text in [
        ({"loss": "squared_error"}, r"2 outputs \(a, b\); loss must be a list of 2 or a dict"),
        ({"loss": ["huber"]}, "got 1 entries in loss"),
        ({"loss": {"a": "huber"}}, "must name each output"),
        ({"loss": ["huber"] * 2, "metrics": ["mse", "mae"]}, "metrics must be a dict by output name"),
        ({"loss": ["huber"] * 2, "loss_weights": 2.0}, "loss_weights must be a list of 2"),
    ]:
        refuses(model, lambda model, arguments=arguments: model.compile("sgd", **arguments), ValueError, text)
    model.compile("sgd", ["huber", "squared_error"])
    data = np.zeros((4, 3))
    y = np.zeros((4, 2))
    refuses(model, lambda model: model.fit(data, y, verbose=0), ValueError,
            r"2 \(a, b\); expected a list of as many arrays")
    refuses(model, lambda model: model.fit(data, [y, y, y], verbose=0), ValueError, "got 3")
    refuses(model, lambda model: model.fit(data, {"a": y, "c": y}, verbose=0), ValueError,
            "expected a dict with a, b, got a, c")
    refuses(model, lambda model: model.fit(data, [y, y[:3]], verbose=0), ValueError, "y of output 'b'.*got 3 targets")
    refuses(model, lambda model: model.fit(data, [y, y], class_weight={0: 1}, verbose=0), ValueError, "one output")
    refuses(model, lambda model: model.vjp(data, [y, y[:, :1]]), ValueError,
            r"dy of output 'b': expected shape \(4, 2\)")
    refuses(model, lambda model: model.vjp(data, [y, y + np.nan]), ValueError, "nan")


def test_inputs_of_different_lengths():
    a, b = nf.Input((3,), name="a"), nf.Input((2,), name="b")
    model = nf.Model([a, b], nf.Dense(1)(nf.Concatenate()([a, b])))
    text = "model input 'b' has 4 samples, model input 'a' has 5"
    refuses(model, lambda model: model.predict([np.zeros((5, 3)), np.zeros((4, 2))]), ValueError, text)
    refuses(model, lambda model: model.predict(np.zeros((5, 3))), ValueError, r"2 \(a, b\)")


def test_losses_and_metrics_that_do_not_fit_the_output():
    linear = nf.Sequential([nf.Dense(3)], input_shape=(2,))
    flat = nf.Sequential([nf.Dense(4, activation="softmax"), nf.Reshape((2, 2)), nf.Flatten()], input_shape=(2,))
    single = nf.Sequential([nf.Dense(1, activation="softmax")], input_shape=(2,))
    refuses(linear, lambda model: model.compile("sgd", "cross_entropy"), ValueError,
            "dense: cross_entropy expects .* softmax")
    refuses(flat, lambda model: model.compile("sgd", "cross_entropy"), ValueError, "expects the output of a softmax")
    refuses(single, lambda model: model.compile("sgd", "cross_entropy"), ValueError, "over one output")


def test_an_unbuilt_model_finds_the_misfit_at_the_first_data():
    x, y = x_and()
    model = nf.Sequential([nf.Dense(3)])
    model.compile("sgd", "cross_entropy")
    refuses(model, lambda model: model.fit(x, y, verbose=0), ValueError, "expects the output of a softmax")


# --- models that are not ready ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("call", [
    lambda model: model.get_weights(), lambda model: model.parameters, lambda model: model.set_weights([]),
    lambda model: model.summary(), lambda model: model.count_params(), lambda model: model.input_shape,
    lambda model: model.set_parameters({}), lambda model: model.output_shapes, lambda model: model.apply_gradients({}),
    lambda model: model.plan(), lambda model: model.output_names,
])
def test_an_unbuilt_model_says_so(call):
    refuses(model_with(built=False), call, ValueError, "not built: its input shape is not known yet")


@pytest.mark.parametrize("call", [
    lambda model, x, y: model.fit(x, y, verbose=0), lambda model, x, y: model.evaluate(x, y),
    lambda model, x, y: model.train_on_batch(x, y), lambda model, x, y: model.test_on_batch(x, y),
    lambda model, x, y: model.gradients(x, y), lambda model, x, y: model.input_gradient(x, y),
    lambda model, x, y: model.per_sample_loss(x, y), lambda model, x, y: model.apply_gradients({}),
    lambda model, x, y: model.set_optimizer_state({}, 0),
])
@pytest.mark.parametrize("built", [True, False])
def test_an_uncompiled_model_says_so(call, built):
    refuses(model_with(compiled=False, built=built), lambda model: call(model, *x_and()), ValueError,
            "not compiled; call model.compile")


def test_a_model_without_a_loss_says_so():
    model = model_with(compiled=False)
    model.compile("sgd")
    refuses(model, lambda model: model.fit(*x_and(), verbose=0), ValueError, "compiled without a loss")


# --- weights and gradients -------------------------------------------------------------------------------------------

def changed_list(at, value):
    return lambda weights: [value if i == at else w for i, w in enumerate(weights)]


@pytest.mark.parametrize(("change", "error", "text"), [
    (changed_list(2, np.zeros((4, 3))), ValueError, r"dense_1/kernel has shape \(5, 3\), got \(4, 3\)"),
    (changed_list(3, np.zeros((1, 3))), ValueError, r"dense_1/bias has shape \(3,\), got \(1, 3\)"),
    (changed_list(3, [np.nan, 0, 0]), ValueError, "dense_1/bias: nan at row 0"),
    (changed_list(3, [1e300, 0, 0]), ValueError, "does not fit into float32"),
    (changed_list(3, ["a", "b", "c"]), TypeError, "strings"),
    (changed_list(3, None), TypeError, "NoneType"),
    (lambda weights: weights[:-1], ValueError, "4 parameters .* got 3 arrays"),
    (lambda weights: [], ValueError, "got 0 arrays"),
    (lambda weights: 3, TypeError, "list of arrays, got int"),
    (lambda weights: {"dense/kernel": weights[0]}, TypeError, "a dict goes to set_parameters"),
])
@pytest.mark.parametrize("compiled", [True, False])
def test_bad_weights(change, error, text, compiled):
    model = model_with(compiled=compiled)
    refuses(model, lambda model: model.set_weights(change([w + 1 for w in model.get_weights()])), error, text)


def test_bad_parameters_by_name():
    model = model_with()
    good = {"dense/bias": np.ones(5)}
    refuses(model, lambda model: model.set_parameters(good | {"dense/colour": 1}), ValueError,
            "unknown parameter 'dense/colour'")
    refuses(model, lambda model: model.set_parameters(good | {"dense_1/bias": np.ones(4)}), ValueError,
            r"\(3,\), got \(4,\)")
    refuses(model, lambda model: model.set_parameters([1]), TypeError, "dict of parameter name")


@pytest.mark.parametrize(("change", "error", "text"), [
    ({"dense/kernel": None}, ValueError, "apply_gradients: missing dense/kernel"),
    ({"other": np.zeros(3)}, ValueError, "unknown parameter 'other'"),
    ({"dense/kernel": np.zeros((4, 4))}, ValueError, r"\(4, 5\), got \(4, 4\)"),
    ({"dense/bias": np.full(5, np.inf)}, ValueError, "inf at row 0"),
    ({"dense/bias": ["a"] * 5}, TypeError, "strings"),
])
def test_bad_gradients(change, error, text):
    x, y = x_and()
    model = model_with()
    grads = model.gradients(x, y)[1] | change
    grads = {name: grad for name, grad in grads.items() if grad is not None}
    refuses(model, lambda model: model.apply_gradients(grads), error, text)


def test_gradients_too_large_to_apply():
    x, y = x_and()
    model = model_with()
    grads = {name: np.full_like(grad, 1e38) for name, grad in model.gradients(x, y)[1].items()}
    refuses(model, lambda model: model.apply_gradients(grads), nf.TrainingError, "gradient is not finite")


def test_a_frozen_parameter_takes_no_gradient():
    x, y = x_and()
    model = model_with()
    grads = model.gradients(x, y)[1]
    model.layers[0].trainable = False
    refuses(model, lambda model: model.apply_gradients(grads), ValueError, "dense/kernel is frozen")


# --- layers ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("make", "error", "text"), [
    (lambda: nf.Dense(0), ValueError, "dense: units must be at least 1, got 0"),
    (lambda: nf.Dense(2.0, name="head"), TypeError, "head: units must be an integer, got float"),
    (lambda: nf.Dense(True), TypeError, "bool"),
    (lambda: nf.Dense(3, activation="rellu"), ValueError, "dense: unknown activation 'rellu'; did you mean 'relu'"),
    (lambda: nf.Dense(3, kernel_initializer="glorot"), ValueError, "unknown initializer"),
    (lambda: nf.Dense(3, kernel_regularizer="l9"), ValueError, "unknown regularizer"),
    (lambda: nf.Dense(3, use_bias=1), TypeError, "use_bias must be True or False"),
    (lambda: nf.Dense(3, trainable=None), TypeError, "trainable must be True or False"),
    (lambda: nf.Dense(3, name=""), ValueError, "name must be a non-empty string"),
    (lambda: nf.Activation("tanh", alpha=0.5), ValueError, "tanh takes no alpha"),
    (lambda: nf.Activation("elu", alpha=float("nan")), ValueError, "alpha"),
    (lambda: nf.Dropout(1.0), ValueError, "rate must be a finite number at least 0 and below 1, got 1.0"),
    (lambda: nf.Dropout("a"), TypeError, "rate"),
    (lambda: nf.Concatenate(axis="x"), TypeError, "axis must be an integer"),
    (lambda: nf.Lambda(3, abs), TypeError, "forward must be callable"),
    (lambda: nf.Lambda(abs, None), TypeError, "backward must be callable"),
    (lambda: nf.Reshape("ab"), ValueError, "shape must be a tuple"),
])
def test_bad_layers(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_alpha_must_fit_the_models_dtype():
    layers = [nf.Dense(3, activation=nf.Activation("leaky_relu", alpha=1e300), name="head")]
    nf.Sequential(layers, input_shape=(2,), dtype="float64").predict(np.ones((1, 2)))
    with pytest.raises(ValueError, match="head: alpha must be at most 3.40282e.38, the largest float32, got 1e.300"):
        nf.Sequential([layer.copy() for layer in layers], input_shape=(2,)).predict(np.ones((1, 2)))


def test_an_initializer_of_the_wrong_shape():
    class Broken(nf.initializers.Initializer):
        def draw(self, shape, fan_in, fan_out, rng):
            return np.zeros(3)

    with pytest.raises(ValueError, match="dense/kernel: .*made shape"):
        nf.Sequential([nf.Dense(2, kernel_initializer=Broken())], input_shape=(4,))


def test_things_that_do_not_become_arrays():
    class Tensor:
        def __init__(self, error):
            self.error = error

        def __array__(self, dtype=None, copy=None):
            raise self.error

    model = model_with()
    for error in (RuntimeError("requires grad. Use tensor.detach()"), TypeError("unsupported type BFloat16")):
        with pytest.raises(nf.arrays.NotNumbersError, match=f"Tensor cannot be read as an array: {error}"):
            model.predict(Tensor(error))
    batches = [(np.zeros((2, 4)), np.zeros(2)), (np.zeros((2, 4)), np.zeros(2))]
    with pytest.raises(ValueError, match=r"batches \(x, y\) may come from an iterator"):
        model.fit(batches, verbose=0)


# --- names of other libraries, and misspelt ones ---------------------------------------------------------------------

@pytest.mark.parametrize(("call", "text"), [
    (lambda _: nf.Adam(lr=0.1), r"^Adam has no argument 'lr'; here it is called 'learning_rate' \(known: lear"),
    (lambda _: nf.Conv2D(8, 3, strides=2), "^Conv2D has no argument 'strides'; did you mean 'stride'"),
    (lambda _: nf.EarlyStopping(restore_best_weights=True), "^EarlyStopping has .*; here it is called 'restore_best'"),
    (lambda _: nf.Dense(3, input_shape=(4,)), r"^Dense has no argument 'input_shape'; .* nf.Sequential\(\[...\], "),
    (lambda _: nf.Input((3,), dtype="float32"), r"^Input has no argument 'dtype' \(known: shape, name, data_format\)"),
    (lambda _: nf.Sequential([nf.Dense(2)], input_dim=3), "^Sequential has no argument 'input_dim'"),
    (lambda model: model.compile(optimiser="sgd"), "^compile has no argument 'optimiser'; did you mean 'optimizer'"),
    (lambda model: model.fit(*x_and(), epoch=3), "^fit has no argument 'epoch'; did you mean 'epochs'"),
    (lambda model: model.fit(*x_and(), steps_per_epoch=3), "^fit has .*; an epoch is all of x"),
    (lambda model: model.evaluate(*x_and(), verbose=0), "^evaluate has no argument 'verbose'; it prints nothing"),
])
def test_unknown_arguments(call, text):
    refuses(model_with(), call, TypeError, text)


def test_errors_about_arguments_within_a_users_constructor_are_their_own():
    class Wide(nf.Layer):
        def __init__(self, size, **options):
            super().__init__(**options)
            int(siez=size)

    with pytest.raises(TypeError, match="'siez'"):
        Wide(3, name="wide")
    with pytest.raises(TypeError, match="^Layer has no argument 'units'"):
        Wide(3, units=3)
    assert list(inspect.signature(Wide).parameters) == ["size", "options"]


@pytest.mark.parametrize(("name", "text"), [
    ("add", r"^Sequential has no 'add'; give all layers at once"),
    ("eval", "there is no mode to set"),
    ("state_dict", "^Sequential has no 'state_dict'; parameters is a dict of arrays"),
    ("save_weights", r"model.save\(path\) writes"),
    ("trainable", "for layer in model.layers: layer.trainable = False"),
    ("fitt", "no attribute 'fitt'"),
])
def test_attributes_that_models_do_not_have(name, text):
    model = model_with()
    assert not hasattr(model, name)
    refuses(model, lambda model: getattr(model, name), AttributeError, text)


def test_models_of_ones_own_have_what_they_like():
    class Trained(nf.Sequential):
        def __init__(self, layers, weights):
            super().__init__(layers, input_shape=(3,))
            self.weights = weights

        def eval(self):
            return "so"

    model = Trained([nf.Dense(2)], [1])
    model.trainable = False
    assert (model.weights, model.eval(), model.trainable) == ([1], "so", False)
    assert not hasattr(model, "state_dict")
    nf.Sequential([nf.Dense(2)]).scaler = 3


@pytest.mark.parametrize(("owner", "name", "text"), [
    (lambda model: model, "trainable", "for layer in model.layers: layer.trainable = False"),
    (lambda model: model.layers[0], "traniable", "^Dense has no 'traniable'; did you mean 'trainable'"),
    (lambda model: model.layers[0], "requires_grad", "^Dense has no 'requires_grad'; here it is called 'trainable'"),
])
def test_attributes_that_would_change_nothing(owner, name, text):
    model = model_with()
    refuses(model, lambda model: setattr(owner(model), name, False), AttributeError, text)
    owner(model)._note = "free"


def test_classes_of_a_users_own_have_attributes_of_their_own():
    class Named(nf.Sequential):
        pass

    class Doubled(nf.Dense):
        pass

    layer = Doubled(2)
    layer.note = "mine"
    model = Named([layer], input_shape=(3,))
    model.note = "mine"
    assert copy.copy(model).note == model.note == model.layers[0].note


def test_the_error_of_a_models_property_is_not_hidden():
    class Odd(nf.Sequential):
        @property
        def figure(self):
            return self.layers[0].figure

    with pytest.raises(AttributeError, match="'Dense' object has no attribute 'figure'"):
        Odd([nf.Dense(2)]).figure  # noqa: B018
