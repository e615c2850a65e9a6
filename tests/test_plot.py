"""Pictures: what is drawn is what was given, on the axes asked for, without a display."""
import os
import sys
from types import MappingProxyType

import matplotlib
import numpy as np
import pytest
from child import evaluate
from small import half_plane

import nnfast as nf
from nnfast.activations import ACTIVATIONS
from nnfast.plot.figure import COLOURS, class_colours, shortened, shortened_names, text_width

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def cnn():
    (x, y), _ = nf.datasets.digits(flatten=False)
    model = nf.Sequential([nf.Conv2D(6, 3, activation="relu"), nf.MaxPool2D(2), nf.Conv2D(4, 2), nf.Flatten(),
                           nf.Dense(10, activation="softmax")], input_shape=(8, 8, 1))
    model.compile("adam", "cross_entropy", metrics=["accuracy"])
    record = nf.callbacks.GradientNorms(x[:50], y[:50])
    history = model.fit(x[:200], y[:200], epochs=3, validation_split=0.2, callbacks=record, verbose=0)
    return model, x, y, history, record


@pytest.fixture(scope="module")
def plane():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 2))
    return x, (x[:, 0] > 0).astype(int)


def calls(cnn, plane):
    """Every function with arguments that draw something."""
    model, x, y, history, record = cnn
    descent = nf.optimize.gradient_descent(lambda v: (v**2).sum(), None, [1.0, 2.0], lr=0.2)
    return {
        "history": lambda **o: nf.plot.history(history, **o),
        "gradient_norms": lambda **o: nf.plot.gradient_norms(record, **o),
        "descent_path": lambda **o: nf.plot.descent_path(descent, lambda v: (v**2).sum(), **o),
        "confusion_matrix": lambda **o: nf.plot.confusion_matrix(y[:50], model.predict(x[:50]), **o),
        "decision_boundary": lambda **o: nf.plot.decision_boundary(half_plane(), *plane, **o),
        "activation": lambda **o: nf.plot.activation("sigmoid", **o),
        "images": lambda **o: nf.plot.images(x[:5], titles=list("abcde"), **o),
        "filters": lambda **o: nf.plot.filters(model, **o),
        "feature_maps": lambda **o: nf.plot.feature_maps(model, x[0], "conv2d", **o),
        "label_maps": lambda **o: nf.plot.label_maps((x[:4, ..., 0] > 0.5).astype(int), x[:4], **o),
        "saliency": lambda **o: nf.plot.saliency(model, x[0], y[0], **o),
    }


def test_all_functions_are_tested(cnn, plane):
    assert sorted(calls(cnn, plane)) == nf.plot.__all__


@pytest.mark.parametrize("name", nf.plot.__all__)
def test_axes_and_files(cnn, plane, name, tmp_path):
    draw = calls(cnn, plane)[name]
    ax = draw()
    assert isinstance(ax, matplotlib.axes.Axes) and plt.get_fignums() == [1]
    # On axes that were given, and no new figure.
    figure, given = plt.subplots(1, 2)
    numbers = plt.get_fignums()
    path = tmp_path / "picture.png"
    assert draw(ax=given[1], save=path) is given[1] and plt.get_fignums() == numbers
    assert not given[0].has_data() and given[1].has_data()
    image = plt.imread(path)
    assert image.shape[0] > 100 and image.std() > 0.01
    # Pictures have words for their axes, images have none.
    if name not in ("images", "filters", "feature_maps", "label_maps", "saliency"):
        assert ax.get_xlabel() and ax.get_ylabel()


@pytest.mark.parametrize("name", nf.plot.__all__)
def test_what_is_no_axes_is_refused(cnn, plane, name):
    draw = calls(cnn, plane)[name]
    figure, several = plt.subplots(1, 2)
    for ax, got in ((several, "ndarray; take one of its elements"), (figure, "Figure"), (3, "int")):
        with pytest.raises(TypeError, match=f"plot: ax must be an Axes of matplotlib, got {got}"):
            draw(ax=ax)


def test_works_without_a_display(tmp_path):
    code = f"""
import nnfast as nf
ax = nf.plot.activation("tanh", save={str(tmp_path / 'x.svg')!r})
import matplotlib
print(matplotlib.get_backend())
"""
    assert evaluate(code, DISPLAY=None, WAYLAND_DISPLAY=None, MPLBACKEND=None).strip().lower() in ("agg", "macosx")
    assert "<svg" in (tmp_path / "x.svg").read_text(encoding="utf-8")


def test_importing_nnfast_does_not_import_matplotlib():
    for code in ("import nnfast", "import nnfast; nnfast.plot", "import nnfast.examples.worst_digits"):
        assert evaluate(f"{code}; import sys; print('matplotlib' in sys.modules)").strip() == "False"


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"nnfast.plot needs matplotlib; pip install 'nnfast\[plot\]'"):
        nf.plot.activation("relu")


# --- what is drawn ---------------------------------------------------------------------------------------------------

def test_history(cnn):
    model, _, _, history, _ = cnn
    for record in (history, model, history.history, MappingProxyType(history.history)):
        ax = nf.plot.history(record, keys=["loss", "accuracy"])
        assert [line.get_label() for line in ax.lines] == ["loss", "val_loss", "accuracy", "val_accuracy"]
        for line in ax.lines:
            assert line.get_xdata().tolist() == [1, 2, 3]
            assert list(line.get_ydata()) == history.history[line.get_label()]
    with pytest.raises(ValueError, match="no 'mse' among loss, accuracy, val_loss, val_accuracy"):
        nf.plot.history(history, "mse")
    with pytest.raises(TypeError, match="expected what fit returned, got Sequential without a history"):
        nf.plot.history(half_plane())


def test_gradient_norms(cnn):
    record = cnn[-1]
    ax = nf.plot.gradient_norms(record)
    assert [line.get_label() for line in ax.lines] == ["conv2d", "conv2d_1", "dense"]
    assert all(list(line.get_xdata()) == record.steps for line in ax.lines)
    ax = nf.plot.gradient_norms(record, at=-1, label="last", color="red")
    assert list(ax.lines[0].get_ydata()) == [values[-1] for values in record.norms.values()]
    assert ax.lines[0].get_color() == "red" and ax.get_legend() is not None and ax.get_yscale() == "log"
    with pytest.raises(ValueError, match="at=4, but there are 4 records"):
        nf.plot.gradient_norms(record, at=4)
    with pytest.raises(TypeError, match="label is for the line over the layers"):
        nf.plot.gradient_norms(record, label="x")
    with pytest.raises(TypeError, match="that fit has used"):
        nf.plot.gradient_norms(nf.callbacks.GradientNorms([[1.0]], [[1.0]]))


def test_descent_path():
    one = nf.optimize.gradient_descent(lambda x: x**2, None, -2.0, lr=0.1)
    ax = nf.plot.descent_path(one, lambda x: x**2)
    curve, path = ax.lines[:2]
    np.testing.assert_allclose(curve.get_ydata(), curve.get_xdata() ** 2)
    assert (path.get_xdata() == one.path).all() and (path.get_ydata() == one.values).all()
    two = nf.optimize.gradient_descent(lambda x: (x**2).sum(), None, [[-2.0], [1.0]], lr=0.1)
    ax = nf.plot.descent_path(two, lambda x: (x**2).sum())
    assert (np.stack(ax.lines[0].get_data(), axis=1) == two.path[..., 0]).all()
    many = nf.optimize.gradient_descent(lambda x: (x**2).sum(), None, np.ones(5), lr=0.1)
    for result, f in ((many, lambda x: (x**2).sum()), (two, None)):
        ax = nf.plot.descent_path(result, f)
        assert (ax.lines[0].get_ydata() == result.values).all() and ax.get_xlabel() == "step"
    # A descent that never moved still has an extent to draw.
    nf.plot.descent_path(nf.optimize.gradient_descent(lambda x: x**2, None, 0.0), lambda x: x**2)
    with pytest.raises(TypeError, match="expected what gradient_descent returned"):
        nf.plot.descent_path([1.0, 2.0])


@pytest.mark.parametrize("start", [-2.0, [-2.0, 1.0], [-2.0, 1.0, 3.0]])
@pytest.mark.parametrize("power", [2, 4])
def test_the_path_of_a_descent_that_diverged_is_drawn_without_warnings(start, power, tmp_path):
    def f(x):
        return np.sum(x**power)

    result = nf.optimize.gradient_descent(f, lambda x: power * x ** (power - 1), start, lr=1.5)
    assert "diverged" in result.reason
    ax = nf.plot.descent_path(result, f, save=tmp_path / "path.png")
    assert np.isfinite(ax.dataLim.get_points()).all()


def test_confusion_matrix():
    true, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    ax = nf.plot.confusion_matrix(true, predicted, class_names=["a", "b", "c"])
    assert ax.images[0].get_array().tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert sorted(text.get_text() for text in ax.texts) == ["1", "1", "1", "1", "2"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b", "c"]
    parts = nf.plot.confusion_matrix(true, np.eye(3)[predicted], normalize=True).images[0].get_array()
    np.testing.assert_allclose(parts, [[0.5, 0.5, 0], [0, 1, 0], [1 / 3, 0, 2 / 3]])
    # One output is a probability; a class that does not occur has an empty row.
    yes_no = nf.plot.confusion_matrix([0, 1, 3], [[0.2], [0.9], [0.6]], normalize=True).images[0].get_array()
    assert yes_no.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    for bad, text in (((true, predicted[:5]), r"got \(6,\) and \(5,\)"), ((true - 1, predicted), "integers, 0 or more"),
                      ((true + 0.5, predicted), "integers"), ((true, predicted, ["a"]), "1 class names for 3 classes"),
                      (([], []), "got")):
        with pytest.raises(ValueError, match=text):
            nf.plot.confusion_matrix(*bad)


def test_confusion_matrix_of_pixels(rng):
    true, outputs = rng.integers(0, 3, (4, 5, 6)), rng.random((4, 5, 6, 3))
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (true, outputs.argmax(axis=-1)), true != 1)
    given = np.where(true == 1, 255, true)
    ax = nf.plot.confusion_matrix(given, outputs, ignore_label=255)
    assert ax.images[0].get_array().tolist() == counts.tolist()
    same = nf.plot.confusion_matrix(given[..., None], outputs, ignore_label=255)
    assert same.images[0].get_array().tolist() == counts.tolist()
    with pytest.raises(ValueError, match="ignore_label is for labels that are numbers"):
        nf.plot.confusion_matrix(["a", "b"], ["a", "b"], ["a", "b"], ignore_label=1)
    for bad, text in (((true, outputs[:3]), r"\(N, H, W\) of pixels, got \(4, 5, 6\) and \(3, 5, 6\)"),
                      ((given * 0 + 255, outputs, None, False, 255), "all labels are 255, which is ignored")):
        with pytest.raises(ValueError, match=text):
            nf.plot.confusion_matrix(*bad)


def test_label_maps(rng):
    y, x = rng.integers(0, 3, (2, 4, 5)), rng.random((2, 4, 5, 1))
    y[0, 0] = 255
    ax = nf.plot.label_maps(y, class_names=["sky", "sea", "land"], ignore_label=255, titles=["one", "two"])
    colours = [line.get_color() for line in ax.get_legend().get_lines()]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sky", "sea", "land"]
    for image, labels in zip(ax.images, y):
        for c in range(3):
            np.testing.assert_allclose(image.get_array()[labels == c], np.broadcast_to(colours[c], (
                (labels == c).sum(), 3)))
        assert (np.asarray(image.get_array())[labels == 255] == 1).all()
    # Half the image's brightness; all of it where there is no label.
    over = nf.plot.label_maps(y, x, ignore_label=255).images[0].get_array()
    light = (x[0] - x[0].min()) / np.ptp(x[0])
    np.testing.assert_allclose(over[0], np.broadcast_to(light[0], (5, 3)))
    np.testing.assert_allclose(over[1:], (np.array(colours)[y[0, 1:]] + light[1:]) / 2)
    outputs = np.eye(3)[np.where(y == 255, 0, y)]
    np.testing.assert_array_equal(nf.plot.label_maps(outputs).images[1].get_array(),
                                  nf.plot.label_maps(y, ignore_label=255).images[1].get_array())
    np.testing.assert_array_equal(nf.plot.label_maps(y[..., None], ignore_label=255).images[1].get_array(),
                                  nf.plot.label_maps(y, ignore_label=255).images[1].get_array())
    for bad, text in (((y[0],), r"\(N, H, W, classes\), got \(4, 5\)"),
                      ((y, None, ["a", "b"]), "2 class names for 256"),
                      ((y - 1,), "integers, 0 or more"), ((y, x[:1]), r"x has shape \(1, 4, 5, 1\), the label maps"),
                      ((y, x[..., [0, 0]]), "plot.label_maps: x must have shape")):
        with pytest.raises(ValueError, match=text):
            nf.plot.label_maps(*bad)


@pytest.mark.parametrize(("n", "normalize", "own", "numbers", "inches"), [
    (3, True, False, True, 4.8), (10, False, False, True, 4.8), (25, True, False, True, 9),
    (60, False, False, True, 12), (60, True, False, False, 12), (150, False, False, False, 12),
    (30, False, True, False, 4.8),
])
def test_confusion_matrix_of_many_classes_is_readable(n, normalize, own, numbers, inches):
    y = np.arange(20 * n) % n
    given = plt.subplots(1, 2)[1][0] if own else None
    ax = nf.plot.confusion_matrix(y, np.where(y % 7, y, 0), normalize=normalize, ax=given)
    figure = ax.figure
    figure.draw_without_rendering()
    assert figure.get_size_inches()[1] == pytest.approx(inches) and bool(ax.texts) == numbers
    cell = ax.get_window_extent().width / n
    assert all(text.get_window_extent().width < cell for text in ax.texts)
    labels = ax.get_yticklabels()
    assert len(labels) >= min(n, 15) and [label.get_text() for label in labels[:2]] == ["0", str(ax.get_yticks()[1])]
    for a, b in zip(labels, labels[1:]):
        assert not a.get_window_extent().overlaps(b.get_window_extent())
    across = ax.get_xticklabels()
    if not across[0].get_rotation():
        assert not any(a.get_window_extent().overlaps(b.get_window_extent()) for a, b in zip(across, across[1:]))


def test_confusion_matrix_of_texts():
    true, predicted = ["b", "a", "b"], np.array(["b", "b", "a"])
    counts = [[0, 1], [1, 1]]
    named = nf.plot.confusion_matrix([0, 1], [1, 1], np.array(["a", "b"]))
    assert [label.get_text() for label in named.get_yticklabels()] == ["a", "b"]
    for pair in ((true, predicted), (true, [1, 1, 0]), (true, np.eye(2)[[1, 1, 0]])):
        assert nf.plot.confusion_matrix(*pair, ["a", "b"]).images[0].get_array().tolist() == counts
    with pytest.raises(TypeError, match="y_true: expected real numbers, got strings .*; texts need class_names"):
        nf.plot.confusion_matrix(true, predicted)
    with pytest.raises(ValueError, match="b is not among the classes a, c"):
        nf.plot.confusion_matrix(true, predicted, ["a", "c"])


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_decision_boundary_names_the_classes(plane):
    x, y = plane
    model = half_plane()
    for names in (["left", "right"], {model.output_names[0]: ["left", "right"]}):
        model.class_names = names
        for labels in (y, np.array(["left", "right"])[y], [["left", "right"][i] for i in y]):
            ax = nf.plot.decision_boundary(model, x, labels)
            assert legend(ax) == ["left", "right"]
            assert len(ax.collections[-1].get_offsets()) == y.sum()
    with pytest.raises(ValueError, match="up is not among the classes left, right"):
        nf.plot.decision_boundary(model, x, ["up"] * 40)
    model.class_names = ["right"]       # one name for one output leaves class 0 without
    assert legend(nf.plot.decision_boundary(model, x, y)) == ["class 0", "class 1"]


@pytest.mark.parametrize("classes", [["left", "right"], [7, 3], [True, False], ["a", "b", "c"]], ids=str)
def test_decision_boundary_of_a_classifier(plane, classes):
    x = plane[0]
    y = np.array(classes)[np.arange(40) % len(classes)]
    for net in (nf.sklearn.NNClassifier((), solver="lbfgs", alpha=1.0), nf.sklearn.SoftmaxRegression(l2=0.1)):
        net.fit(x, y)
        assert legend(nf.plot.decision_boundary(net, x, y)) == [str(value) for value in sorted(classes)]
    with pytest.raises(ValueError, match="9 is not among the classes"):
        nf.plot.decision_boundary(net, x, [9] * 40)
    for bad in (nf.sklearn.NNClassifier(), "model"):
        with pytest.raises(TypeError, match=f"nnfast.sklearn that has been fitted, got {type(bad).__name__}"):
            nf.plot.decision_boundary(bad, x, y)


def test_decision_boundary_of_minus_one_and_one(plane):
    model = nf.Sequential([nf.Dense(1, activation="tanh")], input_shape=(2,))
    x, y = plane
    assert legend(nf.plot.decision_boundary(model, x, 2 * np.asarray(y) - 1)) == ["class -1", "class 1"]


def test_decision_boundary_lies_where_the_model_changes_its_mind(plane):
    x, y = plane
    for activation in ("sigmoid", "linear"):
        ax = nf.plot.decision_boundary(half_plane(activation), x, y)
        line = np.concatenate([path.vertices for c in ax.collections if hasattr(c, "levels") for path in c.get_paths()])
        np.testing.assert_allclose(line[:, 0], 0.25, atol=0.02)
        assert [t.get_text() for t in ax.get_legend().get_texts()] == ["class 0", "class 1"]
    three = nf.Sequential([nf.Dense(3, activation="softmax")], input_shape=(2,))
    three.set_weights([np.array([[-9.0, 0, 9], [0, 0, 0]]), np.array([0, 4.5, 0])])
    ax = nf.plot.decision_boundary(three, x)
    columns = ax.images[0].get_array()[0]
    edges = np.flatnonzero((np.diff(columns, axis=0) != 0).any(axis=1))
    low, high = ax.get_xlim()
    np.testing.assert_allclose(low + (edges + 1) / len(columns) * (high - low), [-0.5, 0.5], atol=0.04)
    for bad, text in ((lambda: nf.plot.decision_boundary(three, x[:, :1]), r"x must have shape \(N, 2\), got"),
                      (lambda: nf.plot.decision_boundary(three, x, y[:3]), "40 points, but 3 labels"),
                      (lambda: nf.plot.decision_boundary(three, x, y + 2), "label 3, but the model has 3 classes"),
                      (lambda: nf.plot.decision_boundary(three, x, y - 1), "labels must be integers, 0 or more"),
                      (lambda: nf.plot.decision_boundary(three, x, y * np.nan), "labels must be integers"),
                      (lambda: nf.plot.decision_boundary(three, np.where(x < -2, np.nan, x)), "x: nan at row"),
                      (lambda: nf.plot.decision_boundary(nf.Sequential([nf.Dense(1)], input_shape=(3,)), x),
                       r"needs a model with input shape \(2,\)")):
        with pytest.raises(ValueError, match=text):
            bad()


@pytest.mark.parametrize("name", [name for name, needs in ACTIVATIONS.items() if needs.elementwise])
def test_activation_and_its_derivative(name):
    ax = nf.plot.activation(name, low=-3, high=4)
    z, y = ax.lines[2].get_data()
    _, slope = ax.lines[3].get_data()
    assert z[0] == -3 and z[-1] == 4
    smooth = np.abs(z[1:-1, None] - [0, -3, 3]).min(axis=1) > 0.02     # away from the kinks
    np.testing.assert_allclose(slope[1:-1][smooth], ((y[2:] - y[:-2]) / (z[2:] - z[:-2]))[smooth], atol=1e-3)


def test_activation_bad_input():
    for bad, text in ((("softmax",), "softmax acts on whole rows"), (("rellu",), "did you mean 'relu'"),
                      (("tanh", 0.5), "takes no alpha"), (("elu", 1.0, 2, 1), "low must be below high")):
        with pytest.raises(ValueError, match=text):
            nf.plot.activation(*bad)
    assert nf.plot.activation("leaky_relu", 0.5).lines[2].get_ydata()[0] == -3.0


@pytest.mark.parametrize(("name", "alpha", "most"), [
    ("softplus", None, "1"), ("sigmoid", None, "0.25"), ("tanh", None, "1"), ("gelu", None, "1.129"),
    ("silu", None, "1.1"), ("elu", 2.0, "2"), ("leaky_relu", 0.5, "1"), ("linear", None, "1"),
    ("relu6", None, "1"), ("hard_sigmoid", None, "0.1667"), ("hard_swish", None, "1.5"), ("selu", None, "1.758"),
    ("mish", None, "1.088"),
])
def test_the_largest_slope_is_that_of_the_function_not_of_the_range(name, alpha, most):
    ax = nf.plot.activation(name, alpha, low=-3.0, high=-1.0)
    assert ax.lines[-1].get_label() == f"its derivative, at most {most}"


def drawn(ax):
    """The arrays of all images on the axes, in their order."""
    return [image.get_array() for image in ax.images]


def test_images_are_scaled_one_by_one(rng):
    x = rng.standard_normal((5, 4, 3)) * np.array([1, 10, 100, 1, 0])[:, None, None]
    ax = nf.plot.images(x, columns=2)
    for image, shown in zip(x[:4], drawn(ax)):
        np.testing.assert_allclose(shown, (image - image.min()) / (image.max() - image.min()))
    assert not drawn(ax)[4].any()
    places = [tuple(image.get_extent()[::2]) for image in ax.images]
    assert len(set(places)) == 5 and len({left for left, _ in places}) == 2
    assert drawn(nf.plot.images(rng.random((2, 4, 4, 3))))[0].shape == (4, 4, 3)
    for bad, text in ((x[0], r"got \(4, 3\)"), (rng.random((2, 4, 4, 2)), r"got \(2, 4, 4, 2\)"), (x[:0], "got")):
        with pytest.raises(ValueError, match=text):
            nf.plot.images(bad)
    with pytest.raises(ValueError, match="1 titles for 5 images"):
        nf.plot.images(x, titles=["a"])
    with pytest.raises(ValueError, match="columns must be at least 1"):
        nf.plot.images(x, columns=0)


def test_filters(cnn, rng):
    model = cnn[0]
    w = model.parameters
    for layer, kernel in ((None, w["conv2d/kernel"]), ("conv2d_1", w["conv2d_1/kernel"])):
        ax = nf.plot.filters(model, layer)
        np.testing.assert_allclose(np.stack(drawn(ax), axis=-1), kernel.sum(axis=2))
        assert ax.images[0].norm.vmax == -ax.images[0].norm.vmin == pytest.approx(np.abs(kernel.sum(axis=2)).max())
    decoder = nf.Sequential([nf.Conv2DTranspose(5, 3, 2)], input_shape=(4, 4, 2), seed=0)
    kernel = decoder.parameters["conv2d_transpose/kernel"]
    np.testing.assert_allclose(np.stack(drawn(nf.plot.filters(decoder)), axis=-1), kernel.sum(axis=3), rtol=1e-6)
    ax = nf.plot.filters(w["conv2d_1/kernel"], channel=2)
    np.testing.assert_allclose(np.stack(drawn(ax), axis=-1), w["conv2d_1/kernel"][:, :, 2])
    dense = rng.standard_normal((12, 3))
    np.testing.assert_allclose(np.stack(drawn(nf.plot.filters(dense, shape=(3, 4))), axis=-1), dense.reshape(3, 4, 3))
    for bad, text in ((lambda: nf.plot.filters(model, "dense"), r"is not of a convolution; shape=\(H, W\)"),
                      (lambda: nf.plot.filters(dense, shape=(3, 5)), "12 inputs are arranged"),
                      (lambda: nf.plot.filters(model, "flatten"), "no layer 'flatten' with a kernel; this model has"),
                      (lambda: nf.plot.filters(model, "conv2d_1", channel=6), "channel 6, but there are 6"),
                      (lambda: nf.plot.filters(dense, "a"), "a kernel was given"),
                      (lambda: nf.plot.filters(dense[0]), r"got \(3,\)")):
        with pytest.raises(ValueError, match=text):
            bad()


def test_feature_maps(cnn):
    model, x, _, _, _ = cnn
    for layer, shape in (("conv2d", (6, 6)), ("max_pool2d", (3, 3)), ("dense", (1, 1))):
        maps = np.stack(drawn(nf.plot.feature_maps(model, x[3], layer)), axis=-1)
        assert maps.shape[:2] == shape
        np.testing.assert_array_equal(maps.squeeze(), model.submodel(layer).predict(x[3:4])[0])
    with pytest.raises(ValueError, match=r"one sample has \(8, 8, 1\); pass one sample, x\[i\]"):
        nf.plot.feature_maps(model, x[:3], "conv2d")
    with pytest.raises(ValueError, match="unknown layer 'conv'"):
        nf.plot.feature_maps(model, x[3], "conv")


def test_saliency_is_the_input_gradient(cnn, rng):
    model, x, y, _, _ = cnn
    image, gradient = drawn(nf.plot.saliency(model, x[7], y[7]))[:2]
    expected = model.input_gradient(x[7:8], y[7:8])[0, :, :, 0]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    np.testing.assert_allclose(image, x[7, :, :, 0] / x[7].max(), rtol=1e-6)
    # Flat samples, several channels, and axes in another order.
    flat = nf.Sequential([nf.Dense(2)], input_shape=(6,))
    flat.compile("sgd", "squared_error")
    sample, target = rng.random(6).astype(np.float32), [1.0, 2.0]
    expected = flat.input_gradient(sample[None], [target])[0]
    np.testing.assert_allclose(drawn(nf.plot.saliency(flat, sample, target, shape=(2, 3)))[1], expected.reshape(2, 3))
    first = nf.Sequential([nf.Flatten(), nf.Dense(2)], input_shape=(3, 4, 5), data_format="channels_first")
    first.compile("sgd", "squared_error")
    sample = rng.random((3, 4, 5)).astype(np.float32)
    expected = first.input_gradient(sample[None], [target])[0].sum(axis=0)
    np.testing.assert_allclose(drawn(nf.plot.saliency(first, sample, target, colorbar=False))[1], expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"shape=\(H, W\) must say how its pixels"):
        nf.plot.saliency(flat, np.zeros(6), target)
    with pytest.raises(ValueError, match=r"shape \(2, 2\) does not fit a sample of 6"):
        nf.plot.saliency(flat, np.zeros(6), target, shape=(2, 2))
    with pytest.raises(ValueError, match=r"x has shape \(5,\), one sample has \(6,\)"):
        nf.plot.saliency(flat, np.zeros(5), target)


@pytest.mark.parametrize("shape", [[2, 3], np.array([2, 3]), (np.int64(2), np.int32(3))])
def test_a_shape_may_be_any_sequence_of_integers(shape, rng):
    model = nf.Sequential([nf.Dense(2)], input_shape=(6,))
    model.compile("sgd", "squared_error")
    assert drawn(nf.plot.saliency(model, rng.random(6), [1.0, 2.0], shape=shape))[1].shape == (2, 3)
    kernel = rng.standard_normal((6, 4))
    np.testing.assert_array_equal(drawn(nf.plot.filters(kernel, shape=shape)),
                                  drawn(nf.plot.filters(kernel, shape=(2, 3))))


@pytest.mark.parametrize("names", [("a", "b"), np.array(["a", "b"]), {"a": 3, "b": 4}, {"a": 3, "b": 4}.keys()])
def test_class_names_may_be_any_collection(names):
    y = np.array([[[0, 1], [1, 1]]])
    assert legend(nf.plot.label_maps(y, class_names=names)) == ["a", "b"]
    assert [label.get_text() for label in nf.plot.confusion_matrix(y, y, names).get_yticklabels()] == ["a", "b"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        nf.plot.activation("relu", save=os.path.join(tmp_path, "no", "such.png"))


# --- what can be read ------------------------------------------------------------------------------------------------

ODD = ["$5-$10", r"$\foo$", "_hidden"]


def written(ax):
    """All texts of a figure as they are drawn, without a mathematical reading."""
    ax.figure.draw_without_rendering()
    texts = ax.figure.findobj(lambda artist: isinstance(artist, matplotlib.text.Text) and artist.get_text() in ODD)
    assert not any(text.get_parse_math() for text in texts)
    return {text.get_text() for text in texts}


def softmax(n, names=None):
    model = nf.Sequential([nf.Dense(n, activation="softmax")], input_shape=(2,), seed=1)
    model.class_names = names
    return model


def test_names_and_titles_are_no_mathematics(plane, rng):
    x, labels = plane[0], np.arange(40) % 3
    figures = {name: [1.0, 0.5] for name in ODD}
    assert written(nf.plot.decision_boundary(softmax(3, ODD), x, labels)) == set(ODD)
    assert written(nf.plot.confusion_matrix(labels, labels, ODD)) == set(ODD)
    assert written(nf.plot.label_maps(labels[:36].reshape(1, 6, 6), class_names=ODD)) == set(ODD)
    assert written(nf.plot.images(rng.random((3, 4, 4)), titles=ODD)) == set(ODD)
    assert written(nf.plot.filters(rng.random((3, 3, 1, 3)), titles=ODD)) == set(ODD)
    assert written(nf.plot.history(figures, ODD)) == set(ODD)
    assert not nf.plot.history(figures, ODD).yaxis.label.get_parse_math()
    # What others have labelled stays in the legend, as they wrote it.
    ax = plt.subplots()[1]
    ax.axhline(0, label="$y_0$")
    texts = nf.plot.history(figures, ODD[:1], ax=ax).get_legend().get_texts()
    assert [(text.get_text(), text.get_parse_math()) for text in texts] == [("$y_0$", True), (ODD[0], False)]


@pytest.mark.parametrize("n", [10, 20, 21, 256, 1000])
def test_every_class_has_its_own_colour(n):
    y = np.resize(np.arange(n), (1, 32, 32))
    shown = np.asarray(nf.plot.label_maps(y, class_names=range(n)).images[0].get_array()).reshape(-1, 3)
    colours = shown[:n]
    assert len(np.unique(colours, axis=0)) == n
    if n <= 256:
        assert len(np.unique((255 * colours).round(), axis=0)) == n
    assert np.abs(np.diff(colours, axis=0)).max(axis=1).min() > 0.04     # and not nearly the next one's
    np.testing.assert_array_equal(shown, colours[y.reshape(-1)])
    if n <= 20:
        np.testing.assert_allclose(colours, matplotlib.colors.to_rgba_array(COLOURS)[:, :3] if n == 10 else
                                   plt.get_cmap("tab20").colors)


def as_seen(colours, blindness):
    """CIELAB of what people without one kind of cones see; Machado, Oliveira, Fernandes (2009)."""
    kinds = {"protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]],
             "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]}
    light = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    light = np.clip(light @ np.array(kinds[blindness]).T, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    f = light @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(f > 0.008856, np.cbrt(f), 7.787 * f + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("blindness", ["protanopia", "deuteranopia"])
@pytest.mark.parametrize(("n", "apart"), [(3, 40), (4, 40), (10, 15)])
def test_colour_blind_readers_tell_few_classes_apart(n, apart, blindness):
    seen = as_seen(class_colours(n), blindness)
    distances = np.linalg.norm(seen[:, None] - seen, axis=-1)
    assert distances[np.triu_indices(n, 1)].min() > apart


def inside(ax):
    """Whether the whole legend is in the picture."""
    ax.figure.draw_without_rendering()
    box, page = ax.get_legend().get_window_extent(), ax.figure.bbox
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= page.x1 and box.y1 <= page.y1


@pytest.mark.filterwarnings("error")
def test_legends_fit(plane, rng):
    y = rng.integers(0, 3, (2, 16, 16))
    y[:, :3] = 255
    ax = nf.plot.label_maps(y)
    assert legend(ax) == ["0", "1", "2", "255"] and inside(ax)
    colours = [line.get_color() for line in ax.get_legend().get_lines()]
    np.testing.assert_array_equal(np.asarray(ax.images[0].get_array())[y[0] == 255], np.tile(colours[3], (48, 1)))
    assert legend(nf.plot.label_maps(y + 10**6)) == ["1000000", "1000001", "1000002", "1000255"]
    assert legend(nf.plot.label_maps(y * 0 + 255, ignore_label=255)) == []
    many = np.arange(256).reshape(1, 16, 16)
    for names in (None, [f"a long name, number {i}" for i in range(256)]):
        ax = nf.plot.label_maps(many, class_names=names)
        texts = legend(ax)
        assert inside(ax) and len(texts) >= 15 and texts[-1] == f"and {256 - len(texts) + 1} more"
    ax = nf.plot.label_maps(many[:, :2] % 21)
    assert legend(ax) == [str(i) for i in range(21)] and inside(ax)
    ax = nf.plot.decision_boundary(softmax(100), rng.standard_normal((300, 2)), np.arange(300) % 100)
    assert inside(ax) and legend(ax)[0] == "class 0" and legend(ax)[-1].endswith(" more")
    # Long names are shortened to the Axes, also in one of several.
    figures = {f"the_output_of_a_head_with_a_very_long_name_{i}_mean_absolute_error": [1.0, 0.5] for i in range(8)}
    for own in (None, plt.subplots(1, 2)[1][1]):
        ax = nf.plot.history(figures, list(figures), ax=own)
        assert inside(ax) and len(set(legend(ax))) == 8 and ax.get_ylabel() == "value"
        assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x0


def test_names_lose_their_middle_or_what_all_of_them_begin_with():
    name = "abcdefghijklmnopqrstuvwxyz"
    short = shortened(name, 6.0)
    first, last = short.split("\N{HORIZONTAL ELLIPSIS}")
    assert name.startswith(first) and name.endswith(last) and 0 <= len(first) - len(last) <= 1
    assert text_width([short]) <= 6 and shortened(name, 20.0) == name and shortened("ab", 0.1) == "ab"
    assert shortened_names([name, "short"], 6.0) == [short, "short"]
    same = shortened_names([f"a name that begins like all {i} and ends so, too" for i in range(3)] + ["short"], 8.0)
    assert [name[:2] for name in same] == [f"\N{HORIZONTAL ELLIPSIS}{i}" for i in range(3)] + ["sh"]
    assert text_width(same) <= 8
    # Of several lines each is as wide as a name may be.
    wrapped = "abcdefgh\nijklmnop\nqrstuvwx"
    assert shortened_names([wrapped], 6.0) == [wrapped]
    assert shortened_names([f"{wrapped}\n{name}\n"], 6.0) == [f"{wrapped}\n{short}\n"]


@pytest.mark.parametrize("keys", [["head_accuracy", "segmentation_mean_iou", "regression_mean_absolute_error"],
                                  ["the_output_of_a_head_with_a_very_long_name_and_its_mean_absolute_error"]])
def test_the_label_of_a_history_fits(keys):
    ax = nf.plot.history({key: [1.0, 0.5] for key in keys}, keys)
    ax.figure.draw_without_rendering()
    box, page = ax.yaxis.label.get_window_extent(), ax.figure.bbox
    assert box.y0 >= 0 and box.y1 <= page.y1
    assert nf.plot.history({"loss": [1.0], "accuracy": [0.5]}, ["loss", "accuracy"]).get_ylabel() == "loss, accuracy"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("own", [False, True])
def test_confusion_matrix_with_long_names_is_readable(own):
    names = [f"a very long class name, number {i} of the whole data set" for i in range(10)]
    y = np.arange(20_000) % 10
    given = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")[1][0] if own else None
    ax = nf.plot.confusion_matrix(y, (y + np.arange(20_000) // 10) % 10, names, ax=given)
    ax.figure.draw_without_rendering()
    page, frame = ax.figure.bbox, ax.get_window_extent()
    assert len(ax.texts) == 100 and all(text.get_window_extent().width < frame.width / 10 for text in ax.texts)
    assert own or frame.height > 0.5 * page.height
    labels = ax.get_yticklabels() + ax.get_xticklabels()
    assert len({label.get_text() for label in labels}) == 10
    for label in labels:
        box = label.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= page.x1 and box.y1 <= page.y1
    # Turned by 45 degrees they are as far apart as their type is high.
    assert 72 / ax.figure.dpi * frame.width / 10 * np.sqrt(0.5) > ax.get_xticklabels()[0].get_fontsize()


def test_a_confusion_matrix_without_numbers_has_a_scale():
    y = np.arange(3000) % 150
    for normalize, label in ((False, "count"), (True, "part of the true class")):
        _, scale = nf.plot.confusion_matrix(y, y, normalize=normalize).figure.axes
        assert scale.get_ylabel() == label
    assert len(nf.plot.confusion_matrix(y % 3, y % 3).figure.axes) == 1


def test_a_confusion_matrix_leaves_what_is_around_an_axes_as_it_is():
    y, ax = np.arange(3000) % 150, plt.subplots()[1]
    place = ax.get_position().bounds
    for own in (ax, ax, ax.inset_axes((0.5, 0.5, 0.4, 0.4))):
        own.clear()
        assert nf.plot.confusion_matrix(y, y, ax=own) is own
        assert ax.figure.axes == [ax] and ax.get_position(original=True).bounds == place


def test_wrong_arguments_are_named(cnn, plane):
    model, x, y, history, _ = cnn
    boundary, descent = half_plane(), nf.optimize.gradient_descent(lambda v: v**2, None, 1.0)
    for bad, kind, text in (
            (lambda: nf.plot.history(history, 3), TypeError, "history: keys must be names of figures, got 3; .* loss"),
            (lambda: nf.plot.history(history, []), ValueError, "history: keys is empty; there are loss, "),
            (lambda: nf.plot.confusion_matrix([0, 1], [0, 1], "ab"), TypeError, "must be a sequence .* str: 'ab'"),
            (lambda: nf.plot.confusion_matrix([0, 1], [0, 1], 5), TypeError, "must be a sequence .* int: 5"),
            (lambda: nf.plot.label_maps([[[0, 1]]], class_names="01"), TypeError, "label_maps: class_names must be"),
            (lambda: nf.plot.decision_boundary(boundary, plane[0], margin=-1), ValueError, "margin must be .* least 0"),
            (lambda: nf.plot.decision_boundary(boundary, plane[0], margin="a"), TypeError, "margin must be a number"),
            (lambda: nf.plot.activation("relu", low=-np.inf), ValueError, "low must be a finite number, got -inf"),
            (lambda: nf.plot.activation("relu", high="a"), TypeError, "high must be a number, got str"),
            (lambda: nf.plot.descent_path(descent, 3), TypeError, "descent_path: f must be callable, got int"),
            (lambda: nf.plot.descent_path(descent, margin=-1), ValueError, "margin must be .* at least 0"),
            (lambda: nf.plot.filters(np.ones((144, 3)), shape=(-12, -12)), ValueError, r"inputs are .* \(-12, -12\)"),
            (lambda: nf.plot.filters("conv2d"), TypeError, "plot.filters: kernel: expected an array of numbers"),
            (lambda: nf.plot.saliency(model, x[0], y[0], shape=3), ValueError, "shape 3 does not fit a sample of 64"),
            (lambda: nf.plot.saliency(model, x[0], y[0], colorbar="no"), TypeError, "colorbar must be True or False"),
            (lambda: nf.plot.saliency(3, x[0], y[0]), TypeError, "plot.saliency: expected a model, got int")):
        with pytest.raises(kind, match=text):
            bad()
    # A kernel may be nested lists, as other arrays may.
    assert len(nf.plot.filters(np.ones((4, 3)).tolist(), shape=[2, 2]).images) == 3


def whole(ax):
    ax.figure.draw_without_rendering()
    return all(tick == round(tick) for tick in ax.get_xticks())


def test_steps_are_whole_numbers(cnn):
    record = nf.callbacks.GradientNorms([[1.0]], [[1.0]])
    nf.models.linear_regression(1).fit([[1.0]], [[2.0]], epochs=3, callbacks=record, verbose=0)
    descent = nf.optimize.gradient_descent(lambda x: (x**2).sum(), None, np.ones(3), lr=0.1, max_iter=3)
    assert record.steps[-1] == len(descent.path) - 1 == 3
    assert whole(nf.plot.gradient_norms(record)) and whole(nf.plot.descent_path(descent))
    # An Axes with another scale, or with its own ticks, keeps them.
    for settings, ticks in (({"xscale": "log"}, None), ({"xticks": [0.0, 1.5, 3.0]}, [0.0, 1.5, 3.0])):
        for draw, what in ((nf.plot.history, {"loss": [2.0, 1.0]}), (nf.plot.gradient_norms, record),
                           (nf.plot.descent_path, descent)):
            ax = plt.subplots()[1]
            ax.set(**settings)
            draw(what, ax=ax)
            assert ax.get_xscale() == settings.get("xscale", "linear") and ticks in (None, list(ax.get_xticks()))


def test_contours_show_on_white():
    valley = nf.optimize.gradient_descent(lambda x: (x**2).sum(), None, [2.0, 1.0], lr=0.1)
    ax = nf.plot.descent_path(valley, lambda x: (x**2).sum())
    assert ax.texts and all(matplotlib.colors.to_rgb(text.get_color()) == (0, 0, 0) for text in ax.texts)
    assert ax.collections[0].get_edgecolor()[:, 0].max() < 0.8       # red: the yellow of viridis has 0.99


@pytest.mark.parametrize(("n", "columns", "title", "own", "cut"), [
    (100, None, "true {}, said 3", False, False), (64, None, "filter number {}", True, True),
    (6, 3, "{}", False, False), (36, None, "a very long title of the image number {}", False, False),
    (20, 20, "true {}", False, False), (16, None, "an image\nof a {}", False, False),
    (49, None, "a very, very, very long title of image {}", False, True),
])
def test_titles_do_not_overlap(rng, n, columns, title, own, cut):
    given = plt.subplots(1, 2)[1][0] if own else None
    titles = [title.format(i) for i in range(n)]
    ax = nf.plot.images(rng.random((n, 8, 8)), columns, titles, ax=given)
    ax.figure.draw_without_rendering()
    texts = [text.get_text() for text in ax.texts]
    for text, whole in zip(texts, titles):
        assert text == whole or (cut and whole.startswith(text[:-1].rstrip()) and text[-1] == "\N{HORIZONTAL ELLIPSIS}")
    assert (texts != titles) == cut
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    images = [image.get_window_extent() for image in ax.images]
    assert not any(a.overlaps(b) for a in boxes for b in images)
    assert (own or min(text.get_fontsize() for text in ax.texts) >= 5) and max(ax.figure.get_size_inches()) <= 12
    if n == 6:
        assert ax.texts[0].get_fontsize() == pytest.approx(8.33) and tuple(ax.figure.get_size_inches()) == (6.4, 4.8)


def test_bright_pixels_are_bright_in_saliency(cnn):
    model, x, y, _, _ = cnn
    image = nf.plot.saliency(model, x[7], y[7]).images[0]
    assert image.cmap(0.0)[:3] == (0, 0, 0) and image.cmap(1.0)[:3] == (1, 1, 1)


def test_numbers_that_are_none_are_refused(cnn, rng):
    model, x = cnn[:2]
    bad = x[:2].copy()
    bad[1, 2, 3] = np.nan
    outputs = np.full((4, 3), np.nan)
    kernel = np.full((3, 3, 1, 2), np.inf)
    for draw, text in ((lambda: nf.plot.images(bad), "plot.images: x: nan at row 1"),
                       (lambda: nf.plot.label_maps(np.zeros((2, 8, 8), int), bad), "plot.label_maps: x: nan at row 1"),
                       (lambda: nf.plot.label_maps(outputs.reshape(1, 2, 2, 3)), "outputs: nan at row 0"),
                       (lambda: nf.plot.confusion_matrix([0, 1, 2, 0], outputs), "outputs: nan at row 0"),
                       (lambda: nf.plot.filters(kernel), "plot.filters: kernel: inf at row 0"),
                       (lambda: nf.plot.saliency(model, bad[1], 0), "nan at row 0")):
        with pytest.raises(ValueError, match=text):
            draw()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("margin", [0.1, 0.0])
def test_decision_boundary_of_points_without_extent(plane, margin):
    for x in (plane[0][:1], np.c_[plane[0][:, 0], np.full(40, 3.0)], np.array([[0.3, 0.0], [0.1 + 0.2, 0.0]])):
        ax = nf.plot.decision_boundary(half_plane(), x, np.zeros(len(x), int), margin)
        ax.figure.draw_without_rendering()
        for column, (low, high) in zip(x.T, (ax.get_xlim(), ax.get_ylim())):
            if np.ptp(column) < 1e-9:
                assert low <= column[0] - 0.5 and high >= column[0] + 0.5
            else:
                assert (low, high) == pytest.approx((column.min() - margin * np.ptp(column),
                                                     column.max() + margin * np.ptp(column)))


def test_a_legend_on_a_busy_machine(plane, monkeypatch):
    """matplotlib warns when it has looked for a place for over a second; warnings are errors here."""
    import time

    x = plane[0]
    ax = nf.plot.decision_boundary(half_plane(), x, (x[:, 0] > 0).astype(int))
    seconds = iter(range(0, 10**6, 10))
    monkeypatch.setattr(time, "perf_counter", lambda: next(seconds))
    ax.figure.draw_without_rendering()


def test_history_of_few_numbers():
    ax = nf.plot.history({"loss": [0.5], "val_loss": [0.6]})
    ax.figure.draw_without_rendering()
    low, high = ax.get_xlim()
    assert [tick for tick in ax.get_xticks() if low <= tick <= high] == [1]
    assert [line.get_marker() for line in ax.lines] == ["o", "o"]
    # A figure whose validation is drawn with it is drawn once.
    figures = {"loss": [0.5, 0.4], "val_loss": [0.6, 0.5]}
    for keys in (["loss", "val_loss"], ["val_loss", "loss", "loss"]):
        ax = nf.plot.history(figures, keys)
        assert [line.get_label() for line in ax.lines] == ["loss", "val_loss"] and ax.get_ylabel() == "loss"
        assert [line.get_marker() for line in ax.lines] == ["None", "None"]
    assert nf.plot.history(figures, "val_loss").get_ylabel() == "val_loss"
    # Without a marker nothing would show of a number between two that are none.
    (line,) = nf.plot.history({"loss": [1.0, np.nan, 2.0, np.nan, 3.0, 4.0, np.inf]}).lines
    assert line.get_marker() == "o" and line.get_markevery() == [0, 2]


def test_confusion_matrix_of_too_many_classes():
    for y, names in (([100_000, 100_001], None), ([0, 1], [str(i) for i in range(1001)])):
        with pytest.raises(ValueError, match=r"100\d\d\d? classes, but at most 1000 .* number those that occur"
                           if names is None else "1001 classes, but at most 1000"):
            nf.plot.confusion_matrix(y, y, names)
