"""The numbers of the lecture: what one computes on paper is what nnfast computes."""
import math

import numpy as np
import pytest

import nnfast as nf
from nnfast import functional as F
from nnfast.examples import backpropagation, deeper_backpropagation, vanishing_gradients
from nnfast.examples.convolution import DIAGONAL, IMAGE, KERNEL, POOLED, SIGNAL, conv
from nnfast.examples.convolution_matrix import input_gradient, kernel_gradient
from nnfast.examples.convolution_sizes import parameters, vgg16


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# --- cross-entropy of distributions ----------------------------------------------------------------------------------

@pytest.mark.parametrize(("p", "q", "expected"), [
    ([0.3, 0.7], [0.7, 0.3], 0.950), ([0.3, 0.7], [0.3, 0.7], 0.611), ([1, 0], [0.3, 0.7], 1.204),
    ([1, 0], [0.9, 0.1], 0.105),
])
def test_cross_entropy_of_distributions(p, q, expected):
    assert round(F.cross_entropy(p, q), 3) == expected
    assert F.cross_entropy(p, q) >= F.entropy(p)
    assert (F.cross_entropy(p, q) == F.entropy(p)) == (p == q)


def test_entropy_of_rows_and_of_certainties(rng):
    p = rng.dirichlet(np.ones(5), (3, 4))
    assert F.entropy(p).shape == (3, 4) and F.entropy(p).dtype == np.float64
    np.testing.assert_allclose(F.entropy(p), -(p * np.log(p)).sum(-1))
    assert F.entropy([0, 1, 0]) == 0 and math.copysign(1, F.entropy([0.0, 1.0])) == 1
    assert F.entropy(np.full(8, 1 / 8, np.float32)) == pytest.approx(math.log(8))
    many = F.softmax(3 * rng.standard_normal(300_000).astype(np.float32))
    assert F.entropy(many) == pytest.approx(-(many * np.log(many, dtype=np.float64)).sum())
    assert F.cross_entropy([0, 1], [1, 0]) == math.inf
    # What p rules out costs nothing, whatever q says of it.
    assert F.cross_entropy([0, 1], [0, 1]) == 0


def test_cross_entropy_is_the_loss_and_the_mean_negative_log_likelihood(rng):
    z, labels = rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
    q = F.softmax(z)
    values = F.cross_entropy(np.eye(4)[labels], q)
    assert F.softmax_cross_entropy(z, labels)[0] == pytest.approx(values.mean(), rel=1e-12)
    assert -math.log(np.prod(q[np.arange(6), labels])) / 6 == pytest.approx(values.mean(), rel=1e-12)


@pytest.mark.parametrize(("p", "error", "text"), [
    ([0.5, 0.6], ValueError, "p must sum to 1 over its last axis, to within 0.001, got 1.1"),
    ([0.5, 0.5010004], ValueError, "got 1.0010004"),
    ([[1.0, 0.0], [0.2, 0.2]], ValueError, "got 0.4"),
    ([1.5, -0.5], ValueError, "p holds -0.5; probabilities are at least 0"),
    ([math.nan, 1.0], ValueError, "p holds nan"),
    ([math.inf, 0.0], ValueError, "got inf"),
    ([], ValueError, r"at least one probability, got shape \(0,\)"),
    (1.0, ValueError, r"got shape \(\)"),
    (["a"], TypeError, "got strings"),
    (None, TypeError, "got NoneType"),
])
def test_entropy_of_what_is_no_distribution(p, error, text):
    with pytest.raises(error, match=f"entropy: .*{text}"):
        F.entropy(p)
    with pytest.raises(error, match=text):
        F.cross_entropy(p, [0.5, 0.5])


def test_cross_entropy_of_different_shapes():
    with pytest.raises(ValueError, match=r"p has shape \(2,\), q has \(1, 2\)"):
        F.cross_entropy([0.5, 0.5], [[0.5, 0.5]])


# --- back-propagation by hand ----------------------------------------------------------------------------------------

def test_the_worked_net():
    x, W, b, U, y = backpropagation.X, backpropagation.W, backpropagation.B, backpropagation.U, backpropagation.Y
    assert [x.tolist(), W.tolist(), b.tolist(), U.tolist(), y] == [
        [2, 1, 2], [[1, 0, 1], [1, -1, 0], [0, 0, 2]], [1, 1, 1], [-1, 1, 1], 1]
    model = backpropagation.network()
    z = nf.functional.dense(x[None], W.T.copy(), b)[0]
    assert z.tolist() == [5, 2, 5]
    a = model.submodel("hidden").predict(x[None])[0]
    assert a.round(4).tolist() == [0.9933, 0.8808, 0.9933]
    y_hat = model.predict(x[None])[0, 0]
    assert round(float(y_hat), 4) == 0.8808
    loss, loss_grads = model.gradients(x[None], [[y]])
    assert round(loss, 4) == 0.0142

    delta = U * a * (1 - a)
    expected = {"hidden/kernel": np.outer(delta, x).T, "hidden/bias": delta, "output/kernel": a[:, None]}
    grads, dx = model.vjp(x[None], [[1.0]])
    assert set(grads) == set(loss_grads) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(grads[name], value, rtol=1e-13)
        np.testing.assert_allclose(loss_grads[name], 2 * (y_hat - y) * value, rtol=1e-13)
    np.testing.assert_allclose(dx[0], W.T @ delta, rtol=1e-13)
    np.testing.assert_allclose(model.input_gradient(x[None], [[y]])[0], 2 * (y_hat - y) * (W.T @ delta), rtol=1e-13)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_deltas_sum_over_all_units_of_the_next_layer(depth):
    x, y = np.array([[0.5, -1.0, 2.0]]), np.array([[1.0, 2.0]])
    model = deeper_backpropagation.network(depth)
    _, grads = model.gradients(x, y)
    read = [grads[name] for name in grads if name.endswith("bias")]
    sums = deeper_backpropagation.deltas(model, x, y)
    paths = deeper_backpropagation.deltas(model, x, y, one_path=True)
    assert len(read) == len(sums) == depth
    for layer in range(depth):
        np.testing.assert_allclose(sums[layer][0], read[layer], rtol=1e-12)
        wrong = np.abs(paths[layer][0] - read[layer]).max() / np.abs(read[layer]).max()
        # Dropping the sum changes every layer before the last by more than half.
        assert wrong > 0.5 if layer < depth - 1 else wrong == 0
    assert max(model.check_gradients(x, y, entries=None).values()) < 1e-7


def output_model(units, activation, loss, z):
    """A net whose logits are its bias: d loss / d z is the bias's gradient."""
    model = nf.Sequential([nf.Dense(units, activation=activation)], input_shape=(1,), dtype="float64")
    model.set_weights([np.zeros((1, units)), z])
    model.compile("sgd", loss)
    return model


def test_softmax_with_cross_entropy_gives_p_minus_y(rng):
    z, y = rng.standard_normal(5), rng.dirichlet(np.ones(5))
    _, grads = output_model(5, "softmax", "cross_entropy", z).gradients([[1.0]], y[None])
    p = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(grads["dense/bias"], p - y, rtol=1e-12)


def test_softmax_with_squared_error_needs_the_whole_jacobian(rng):
    z, y = rng.standard_normal(5), rng.dirichlet(np.ones(5))
    _, grads = output_model(5, "softmax", "squared_error", z).gradients([[1.0]], y[None])
    p = np.exp(z) / np.exp(z).sum()
    jacobian = np.diag(p) - np.outer(p, p)
    np.testing.assert_allclose(grads["dense/bias"], jacobian @ (2 * (p - y)), rtol=1e-10)
    assert np.abs(grads["dense/bias"] - np.diag(jacobian) * 2 * (p - y)).max() > 1e-3     # its diagonal is not enough
    rows = [F.softmax_backward(unit, p) for unit in np.eye(5)]
    np.testing.assert_allclose(rows, jacobian, rtol=1e-12)


@pytest.mark.parametrize("hidden", ["tanh", "sigmoid"])
def test_binary_cross_entropy_vectorised_over_examples(rng, hidden):
    x = rng.standard_normal((100, 3))
    y = (x.sum(axis=1, keepdims=True) > 0).astype(float)
    model = nf.Sequential([nf.Dense(4, activation=hidden), nf.Dense(1, activation="sigmoid")], input_shape=(3,),
                          dtype="float64")
    model.compile("sgd", "binary_cross_entropy")
    loss, grads = model.gradients(x, y)

    W, b, U, c = model.get_weights()
    a = np.tanh(x @ W + b) if hidden == "tanh" else sigmoid(x @ W + b)
    p = sigmoid(a @ U + c)
    slope = 1 - a**2 if hidden == "tanh" else a * (1 - a)
    dz2 = (p - y) / 100
    dz1 = dz2 @ U.T * slope
    expected = {"dense/kernel": x.T @ dz1, "dense/bias": dz1.sum(0), "dense_1/kernel": a.T @ dz2,
                "dense_1/bias": dz2.sum(0)}
    for name, value in expected.items():
        np.testing.assert_allclose(grads[name], value, rtol=1e-10, atol=1e-14)
    assert loss == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(), rel=1e-12)

    singles = [model.gradients(x[i:i + 1], y[i:i + 1]) for i in range(100)]
    assert loss == pytest.approx(np.mean([value for value, _ in singles]), rel=1e-12)
    for name in grads:
        np.testing.assert_allclose(grads[name], np.mean([g[name] for _, g in singles], axis=0), atol=1e-14)


# --- convolution by hand ---------------------------------------------------------------------------------------------

def test_convolutions_on_paper():
    assert (SIGNAL.tolist(), KERNEL.tolist()) == ([1, 0, -1, 2, 1, 2], [1, 0, 1])
    assert conv(SIGNAL, KERNEL).tolist() == [0, 2, 0, 4]
    assert IMAGE.tolist() == [[1, 0, -1, 2], [2, -1, 2, 1], [-1, 2, 0, 1], [1, -1, 1, 1]]
    assert DIAGONAL.tolist() == [[1, 0], [0, 1]]
    assert conv(IMAGE, DIAGONAL).tolist() == [[0, 2, 0], [4, -1, 3], [-2, 3, 1]]
    assert POOLED.tolist() == [[3.5, 9.5, 1.7, 6.2], [1.5, 2.5, 1.4, 3.2], [7.5, 6.5, 1.5, 5.2], [2.5, 10, 2.4, 0.1]]
    assert F.max_pool2d(POOLED[None, ..., None], 2)[0, ..., 0].tolist() == [[9.5, 6.2], [10, 5.2]]


@pytest.mark.parametrize("padding", ["valid", "same", "full"])
def test_the_toeplitz_matrix_is_the_convolution_and_its_transpose_the_gradient(rng, padding):
    x, w = rng.standard_normal((5, 6)), rng.standard_normal((3, 2))
    T = F.conv_toeplitz(w, x.shape, padding)
    pads = ((2, 2), (1, 1)) if padding == "full" else padding
    y = F.conv2d(x[None, ..., None], w[..., None, None], padding=pads)
    np.testing.assert_allclose(T @ x.ravel(), y.ravel(), atol=1e-14)
    dy = rng.standard_normal(y.shape)
    dx, _, _ = F.conv2d_backward(x[None, ..., None], w[..., None, None], dy, padding=pads)
    np.testing.assert_allclose(T.T @ dy.ravel(), dx.ravel(), atol=1e-14)


def test_full_and_flipped_is_true_convolution(rng):
    f, g = rng.standard_normal(7), rng.standard_normal(4)
    expected = np.convolve(f, g)
    np.testing.assert_allclose(F.conv_toeplitz(g, f.shape, "full", flip=True) @ f, expected, atol=1e-14)
    np.testing.assert_allclose(F.conv_toeplitz(f, g.shape, "full", flip=True) @ g, expected, atol=1e-14)
    assert np.abs(F.conv_toeplitz(g, f.shape, "full") @ f - expected).max() > 0.1       # without the flip it is not
    box = np.ones(5)
    triangle = F.conv_toeplitz(box, box.shape, "full", flip=True) @ box
    assert triangle.tolist() == [1, 2, 3, 4, 5, 4, 3, 2, 1]


def test_gradients_of_a_convolution_as_sums(rng):
    x, w, dy = rng.standard_normal((6, 5)), rng.standard_normal((3, 2)), rng.standard_normal((4, 4))
    dx, dw, db = F.conv2d_backward(x[None, ..., None], w[..., None, None], dy[None, ..., None])
    np.testing.assert_allclose(kernel_gradient(x, dy, w.shape), dw[..., 0, 0], atol=1e-13)
    np.testing.assert_allclose(input_gradient(w, dy, x.shape), dx[0, ..., 0], atol=1e-13)
    np.testing.assert_allclose(db, dy.sum())


def test_colours_are_added_channel_by_channel(rng):
    x, w = rng.standard_normal((1, 7, 6, 3)), rng.standard_normal((3, 3, 3, 2))
    y = F.conv2d(x, w)
    parts = [F.conv2d(x[..., c:c + 1].copy(), w[:, :, c:c + 1].copy()) for c in range(3)]
    np.testing.assert_allclose(sum(parts), y, atol=1e-13)


def test_counts_of_parameters():
    maps = nf.Input((32, 32, 128))
    conv_layer = nf.Conv2D(128, 5, padding="same", use_bias=False)(maps)
    dense_layer = nf.Dense(math.prod(conv_layer.shape), use_bias=False)(nf.Flatten()(maps))
    assert parameters(conv_layer) == 409_600 == 128 * 128 * 5 * 5
    assert parameters(dense_layer) == (32 * 32 * 128) ** 2
    pixels = nf.Input((1000, 1000, 1))
    assert parameters(nf.Dense(10**6, use_bias=False)(nf.Flatten()(pixels))) == 10**12
    assert parameters(nf.Conv2D(1, 3, padding="same", use_bias=False)(pixels)) == 9


def test_shapes_of_vgg():
    rows = vgg16()
    assert [shape[0] for _, shape, _ in rows[:5]] == [112, 56, 28, 14, 7]
    assert rows[4][1] == (7, 7, 512) and rows[-1][1] == (1000,)
    assert sum(count for _, _, count in rows) == 138_357_544


# --- vanishing gradients ---------------------------------------------------------------------------------------------

def test_the_derivative_of_the_sigmoid_is_at_most_a_quarter():
    z = np.linspace(-20, 20, 4001)
    slope = F.sigmoid_backward(np.ones_like(z), F.sigmoid(z))
    assert slope.max() == 0.25 and z[slope.argmax()] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_sigmoids_shrink_the_error_layer_by_layer(depth):
    (x, y), _ = nf.datasets.digits()
    model = vanishing_gradients.network("sigmoid", depth)
    for i in range(40):
        ratios, bounds = vanishing_gradients.shrinkage(model, x[i:i + 1], y[i:i + 1])
        assert len(ratios) == depth and (ratios <= bounds * (1 + 1e-12)).all()
    # After training with larger weights, too.
    model.fit(x, y, epochs=3, verbose=0)
    for i in range(40):
        ratios, bounds = vanishing_gradients.shrinkage(model, x[i:i + 1], y[i:i + 1])
        assert (ratios <= bounds * (1 + 1e-12)).all()


def first_over_last(activation, depth):
    (x, y), _ = nf.datasets.digits()
    model = vanishing_gradients.network(activation, depth)
    record = nf.callbacks.GradientNorms(x[:256], y[:256])
    model.fit(x[:256], y[:256], epochs=1, callbacks=record, verbose=0)
    norms = [values[0] for values in record.norms.values()]
    assert len(norms) == depth + 1
    return norms


def test_a_sweep_over_depth():
    sigmoids = {depth: first_over_last("sigmoid", depth) for depth in (2, 4, 6, 8)}
    for norms in sigmoids.values():
        assert (np.diff(np.log(norms)) > 0.5).all()      # each layer nearer to the output has more than e^0.5 times
    firsts = [norms[0] for norms in sigmoids.values()]
    assert (np.diff(firsts) < 0).all() and firsts[-1] < 1e-3 * firsts[0]
    for depth in (2, 4, 6, 8):
        norms = first_over_last("relu", depth)
        assert max(norms) / min(norms) < 5


def trained(callbacks, dropout=0.3, **options):
    (x, y), _ = nf.datasets.digits()
    x, y = x[:200], y[:200]
    model = nf.Sequential([nf.Dense(20, activation="sigmoid", kernel_regularizer=nf.L2(1e-3)), nf.Dropout(dropout),
                           nf.Dense(10, activation="softmax")], input_shape=(64,), seed=3)
    model.compile(nf.Adam(0.01, clip_norm=1.0), "cross_entropy")
    history = model.fit(x, y, batch_size=48, epochs=3, callbacks=callbacks(x, y), verbose=0, **options)
    return history.history["loss"], [w.tobytes() for w in [*model.get_weights(), *model.optimizer_state().values()]]


@pytest.mark.parametrize("every", [None, 1, 4])
def test_asking_for_norms_changes_nothing(every):
    records = []

    def ask(x, y):
        # More rows than a batch has, so the plan needs more memory than training.
        records.append(nf.callbacks.GradientNorms(x, y, every=every))
        return records[0]

    losses, weights = trained(ask)
    expected_losses, expected_weights = trained(lambda x, y: None)
    assert weights == expected_weights
    # Batch by batch the running mean is added up in another order.
    assert losses == (expected_losses if every is None else pytest.approx(expected_losses, rel=1e-12))
    record = records[0]
    assert record.steps == {None: [0, 5, 10, 15], 1: list(range(16)), 4: [0, 4, 8, 12]}[every]
    assert list(record.norms) == ["dense", "dense_1"]
    assert all(len(values) == len(record.steps) for values in record.norms.values())


def test_norms_are_those_of_the_gradients(rng):
    x, y = rng.standard_normal((10, 3)), rng.standard_normal((10, 2))
    model = nf.Sequential([nf.Dense(4, activation="tanh", name="a"), nf.Dense(3, name="b", trainable=False),
                           nf.Dense(2, name="c", use_bias=False)], input_shape=(3,), dtype="float64")
    model.compile("sgd", "squared_error", regularizer=nf.L2(0.1))
    _, grads = model.gradients(x, y)
    record = nf.callbacks.GradientNorms(x, y)
    model.fit(x, y, epochs=2, initial_epoch=1, callbacks=record, verbose=0)
    assert list(record.norms) == ["a", "c"] and record.steps == [0, 1]
    assert record.norms["a"][0] == pytest.approx(
        math.sqrt((grads["a/kernel"] ** 2).sum() + (grads["a/bias"] ** 2).sum()), rel=1e-12)
    assert record.norms["c"][0] == pytest.approx(np.linalg.norm(grads["c/kernel"]), rel=1e-12)
    # A second fit starts a new record.
    model.fit(x, y, epochs=1, callbacks=record, verbose=0)
    assert record.steps == [0, 1]


@pytest.mark.parametrize(("every", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("all", TypeError)])
def test_norms_bad_input(every, error):
    with pytest.raises(error, match="GradientNorms: every"):
        nf.callbacks.GradientNorms([[1.0]], [[1.0]], every=every)


def test_norms_of_bad_data_are_an_error_before_training(rng):
    model = nf.Sequential([nf.Dense(1)], input_shape=(3,))
    model.compile("sgd", "squared_error")
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"expected shape \(N, 3\)"):
        model.fit(rng.standard_normal((4, 3)), np.zeros((4, 1)), verbose=0,
                  callbacks=nf.callbacks.GradientNorms(np.zeros((4, 2)), np.zeros((4, 1))))
    assert (model.get_weights()[0] == before[0]).all()


# --- why networks ----------------------------------------------------------------------------------------------------

def test_the_sigmoid_and_its_mirror_image(dtype):
    t = np.linspace(-30, 30, 1001).astype(dtype)
    np.testing.assert_allclose(F.sigmoid(-t), 1 - F.sigmoid(t), atol=4 * np.finfo(dtype).eps)
    # theta turns and steepens it, b moves it to -b / theta.
    for theta in (0.5, -0.5, 2.0, -2.0):
        for b in (3.0, -3.0):
            x = np.array([-b / theta - 1, -b / theta, -b / theta + 1], dtype)
            y = F.sigmoid((theta * x + b).astype(dtype))
            assert y[1] == 0.5 and (y[2] > y[0]) == (theta > 0)


def test_a_bias_is_a_column_of_ones(rng):
    x, w, b = rng.standard_normal((6, 3)), rng.standard_normal((3, 2)), rng.standard_normal(2)
    ones = np.column_stack([x, np.ones(6)])
    y = F.dense(x, w, b)
    np.testing.assert_allclose(F.dense(ones, np.vstack([w, b])), y, rtol=1e-13)
    dy = rng.standard_normal((6, 2))
    _, dw, db = F.dense_backward(x, w, dy)
    _, both, _ = F.dense_backward(ones, np.vstack([w, b]), dy)
    np.testing.assert_allclose(both, np.vstack([dw, db]), rtol=1e-13)


@pytest.mark.parametrize("y", [0.0, 1.0])
def test_the_bernoulli_likelihood_is_the_loss(y):
    t = np.linspace(-5, 5, 101)[:, None]
    p = F.sigmoid(t)
    likelihood = p**y * (1 - p) ** (1 - y)
    np.testing.assert_array_equal(likelihood, y * p + (1 - y) * (1 - p))
    loss, _ = F.sigmoid_cross_entropy(t, np.full_like(t, y))
    assert loss == pytest.approx(-np.log(likelihood).mean(), rel=1e-12)


def test_a_line_fails_where_one_hidden_layer_fits():
    from nnfast.examples import why_networks

    x, y = why_networks.curve()
    line = nf.models.linear_regression(1, dtype="float64")
    line.fit(x, y, solver="lbfgs", verbose=0)
    assert line.evaluate(x, y)["loss"] > 0.9 * y.var()
    model = why_networks.network(x, y)
    assert model.evaluate(x, y)["loss"] < 1.2 * 0.1**2      # the noise
    # In the hidden values the problem is linear: regression on them does as well as the network.
    hidden = model.submodel("hidden").predict(x)
    regression = nf.models.linear_regression(3, dtype="float64")
    regression.fit(hidden, y, solver="lbfgs", verbose=0)
    assert regression.evaluate(hidden, y)["loss"] <= model.evaluate(x, y)["loss"] * (1 + 1e-6)


def test_relu_needs_fewer_epochs_than_sigmoid():
    from nnfast.examples.relu_against_sigmoid import TARGET, Until, network

    (x, y), test = nf.datasets.digits()
    epochs = {}
    for activation in ("relu", "sigmoid"):
        history = network(activation).fit(x, y, epochs=200, validation_data=test, callbacks=Until(TARGET), verbose=0)
        assert history.history["val_accuracy"][-1] >= TARGET == 0.95
        epochs[activation] = len(history.epoch)
    assert 3 * epochs["relu"] < epochs["sigmoid"]
