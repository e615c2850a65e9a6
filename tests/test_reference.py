"""The reference itself, checked by fourth-order central differences: it shares no formula with what it checks."""
import numpy as np
import pytest
import reference

ACTIVATIONS = ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "relu6",
               "hard_sigmoid", "hard_swish", "selu", "mish", "softmax"]


def central_difference(f, x, h=1e-3):
    """Gradient of the scalar f at x by the five-point formula; its error is h^4 / 30 times the fifth derivative."""
    grad = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[i] = h
        grad[i] = (f(x - 2 * e) - 8 * f(x - e) + 8 * f(x + e) - f(x + 2 * e)) / (12 * h)
    return grad


def close(ours, expected):
    np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-9)


def away_from_zero(x, gap=0.05):
    """The same signs, but no kink within reach of the difference formula."""
    return np.where(x >= 0, x + gap, x - gap)


def away_from_kinks(x, gap=0.05):
    """The same, also for those of relu6 and the hard functions."""
    for kink in (0.0, -3.0, 3.0, 6.0):
        x = np.where(np.abs(x - kink) < gap, kink + np.copysign(gap, x - kink), x)
    return x


def test_the_check_itself_can_fail(rng):
    x = rng.normal(size=(2, 3))
    close(central_difference(lambda x: (x**3).sum(), x), 3 * x**2)
    with pytest.raises(AssertionError):
        close(central_difference(lambda x: (x**3).sum(), x), 3 * x**2 + 1e-6)


def test_dense(rng):
    x, w, b, g = (rng.normal(size=s) for s in [(4, 3), (3, 5), (5,), (4, 5)])
    dx, dw, db = reference.dense_backward(x, w, g)
    close(dx, central_difference(lambda v: (reference.dense(v, w, b) * g).sum(), x))
    close(dw, central_difference(lambda v: (reference.dense(x, v, b) * g).sum(), w))
    close(db, central_difference(lambda v: (reference.dense(x, w, v) * g).sum(), b))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name, rng):
    z, g = away_from_kinks(3 * rng.normal(size=(3, 6))), rng.normal(size=(3, 6))
    expected = central_difference(lambda v: (reference.activation(name, v, 0.3) * g).sum(), z)
    close(reference.activation_backward(name, z, g, 0.3), expected)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_far_out_is_finite(name):
    z = np.array([[-1e4, -745.0, -40.0, 0.0, 40.0, 745.0, 1e4]])
    with np.errstate(over="raise", invalid="raise"):
        assert np.isfinite(reference.activation(name, z, 0.3)).all()
        assert np.isfinite(reference.activation_backward(name, z, np.ones_like(z), 0.3)).all()


PLACES = [
    ((3, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1), ((2, 3), (2, 1), ((1, 0), (2, 1)), (1, 2), 1),
    ((2, 2), (3, 2), ((0, 2), (1, 1)), (2, 1), 2), ((1, 3), (1, 2), ((0, 0), (1, 1)), (1, 1), 4),
]


@pytest.mark.parametrize("kernel, stride, padding, dilation, groups", PLACES, ids=str)
def test_conv2d(kernel, stride, padding, dilation, groups, rng):
    x, w, b = rng.normal(size=(2, 5, 6, 4)), rng.normal(size=(*kernel, 4 // groups, 8)), rng.normal(size=8)
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    g = rng.normal(size=reference.conv2d(x, w, b, **how).shape)
    dx, dw, db = reference.conv2d_backward(x, w, g, **how)
    close(dx, central_difference(lambda v: (reference.conv2d(v, w, b, **how) * g).sum(), x))
    close(dw, central_difference(lambda v: (reference.conv2d(x, v, b, **how) * g).sum(), w))
    close(db, central_difference(lambda v: (reference.conv2d(x, w, v, **how) * g).sum(), b))


@pytest.mark.parametrize("kernel, stride, padding, dilation, groups", PLACES, ids=str)
def test_conv2d_by_its_definition(kernel, stride, padding, dilation, groups, rng):
    """One sum a pixel, straight from the formula, against the reference's einsum."""
    x, w = rng.normal(size=(2, 5, 6, 4)), rng.normal(size=(*kernel, 4 // groups, 8))
    y = reference.conv2d(x, w, None, stride, padding, dilation, groups)
    for n, i, j, k in np.ndindex(y.shape):
        total = 0.0
        for r, s, c in np.ndindex(w.shape[:3]):
            at = i * stride[0] + r * dilation[0] - padding[0][0], j * stride[1] + s * dilation[1] - padding[1][0]
            if 0 <= at[0] < 5 and 0 <= at[1] < 6:
                total += x[n, at[0], at[1], k // (8 // groups) * (4 // groups) + c] * w[r, s, c, k]
        assert abs(y[n, i, j, k] - total) < 1e-12


@pytest.mark.parametrize("kernel, stride, padding, dilation", [place[:4] for place in PLACES], ids=str)
def test_conv2d_transpose(kernel, stride, padding, dilation, rng):
    x, w, b = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(*kernel, 3, 5)), rng.normal(size=3)
    size = tuple((n - 1) * step + (k - 1) * d + 1 - sum(pair)
                 for n, step, k, d, pair in zip((3, 4), stride, kernel, dilation, padding))
    how = {"stride": stride, "padding": padding, "dilation": dilation}
    y = reference.conv2d_transpose(x, w, size, b, **how)
    g = rng.normal(size=y.shape)
    dx, dw, db = reference.conv2d_transpose_backward(x, w, g, **how)
    close(dx, central_difference(lambda v: (reference.conv2d_transpose(v, w, size, b, **how) * g).sum(), x))
    close(dw, central_difference(lambda v: (reference.conv2d_transpose(x, v, size, b, **how) * g).sum(), w))
    close(db, central_difference(lambda v: (reference.conv2d_transpose(x, w, size, v, **how) * g).sum(), b))
    # By its definition: one product at a time.
    expected = np.broadcast_to(b, y.shape).copy()
    for n, i, j, r, s in np.ndindex(2, 3, 4, *kernel):
        row, column = (at * step + tap * d - pair[0] for at, step, tap, d, pair
                       in zip((i, j), stride, (r, s), dilation, padding))
        if 0 <= row < size[0] and 0 <= column < size[1]:
            expected[n, row, column] += w[r, s] @ x[n, i, j]
    close(y, expected)


def test_upsample2d(rng):
    x, g = rng.normal(size=(2, 3, 2, 2)), rng.normal(size=(2, 6, 6, 2))
    y = reference.upsample2d(x, (2, 3))
    np.testing.assert_array_equal(y, x.repeat(2, axis=1).repeat(3, axis=2))
    close(reference.upsample2d_backward(g, (2, 3)),
          central_difference(lambda v: (reference.upsample2d(v, (2, 3)) * g).sum(), x))


@pytest.mark.parametrize("kernel, stride, padding", [
    ((2, 2), (2, 2), ((0, 0), (0, 0))), ((3, 2), (1, 3), ((2, 1), (0, 1))), ((1, 2), (2, 1), ((0, 0), (1, 0))),
], ids=str)
def test_pooling(kernel, stride, padding, rng):
    x = rng.permutation(2 * 5 * 6 * 3).reshape(2, 5, 6, 3) / 10.0       # no two values within reach of a difference
    g = rng.normal(size=reference.max_pool2d(x, kernel, stride, padding).shape)
    close(reference.max_pool2d_backward(x, g, kernel, stride, padding),
          central_difference(lambda v: (reference.max_pool2d(v, kernel, stride, padding) * g).sum(), x))
    for include_pad in (False, True):
        expected = central_difference(
            lambda v, p=include_pad: (reference.avg_pool2d(v, kernel, stride, padding, p) * g).sum(), x)
        close(reference.avg_pool2d_backward(g, x.shape, kernel, stride, padding, include_pad), expected)


def test_pooling_by_hand():
    x = np.array([[1.0, 4.0, 4.0], [3.0, 4.0, np.nan]]).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(reference.max_pool2d(x, (2, 2), (1, 1)).ravel(), [4, np.nan])
    dx = reference.max_pool2d_backward(x, np.array([[[[1.0], [10.0]]]]), (2, 2), (1, 1))
    np.testing.assert_array_equal(dx.ravel(), [0, 1, 0, 0, 0, 10])
    ones = np.ones((1, 2, 2, 1))
    padding = ((1, 0), (1, 0))
    close(reference.avg_pool2d(ones, (2, 2), (1, 1), padding), ones)
    close(reference.avg_pool2d(ones, (2, 2), (1, 1), padding, True).ravel(), [0.25, 0.5, 0.5, 1.0])


@pytest.mark.parametrize("shape", [(6, 3), (3, 2, 4, 2)], ids=str)
def test_batch_norm(shape, rng):
    x, g = 2 * rng.normal(size=shape) + 1, rng.normal(size=shape)
    gamma, beta = rng.normal(size=shape[-1]), rng.normal(size=shape[-1])
    dx, dgamma, dbeta = reference.batch_norm_backward(x, gamma, g, 0.1)
    close(dx, central_difference(lambda v: (reference.batch_norm(v, gamma, beta, 0.1) * g).sum(), x))
    close(dgamma, central_difference(lambda v: (reference.batch_norm(x, v, beta, 0.1) * g).sum(), gamma))
    close(dbeta, central_difference(lambda v: (reference.batch_norm(x, gamma, v, 0.1) * g).sum(), beta))
    y = reference.batch_norm(x, np.ones(shape[-1]), np.zeros(shape[-1]), 0.0)
    close(y.reshape(-1, shape[-1]).mean(axis=0), np.zeros(shape[-1]))
    close(y.reshape(-1, shape[-1]).std(axis=0), np.ones(shape[-1]))


def test_embedding(rng):
    ids, w, g = rng.integers(0, 5, (3, 4)), rng.standard_normal((5, 2)), rng.standard_normal((3, 4, 2))
    close(reference.embedding_backward(ids, w, g),
          central_difference(lambda v: (reference.embedding(ids, v) * g).sum(), w))
    close(reference.embedding(ids, w), np.eye(5)[ids] @ w)



@pytest.mark.parametrize("shape", [(6, 3), (3, 2, 4, 5)], ids=str)
def test_layer_norm(shape, rng):
    x, g = 2 * rng.normal(size=shape) + 1, rng.normal(size=shape)
    gamma, beta = rng.normal(size=shape[-1]), rng.normal(size=shape[-1])
    dx, dgamma, dbeta = reference.layer_norm_backward(x, gamma, g, 0.1)
    close(dx, central_difference(lambda v: (reference.layer_norm(v, gamma, beta, 0.1) * g).sum(), x))
    close(dgamma, central_difference(lambda v: (reference.layer_norm(x, v, beta, 0.1) * g).sum(), gamma))
    close(dbeta, central_difference(lambda v: (reference.layer_norm(x, gamma, v, 0.1) * g).sum(), beta))
    y = reference.layer_norm(x, 1.0, 0.0, 0.0)
    close(y.mean(axis=-1), np.zeros(shape[:-1]))
    close(y.std(axis=-1), np.ones(shape[:-1]))


@pytest.mark.parametrize(("shape", "groups"), [((6, 4), 2), ((3, 2, 4, 6), 3), ((3, 5, 4), 4)], ids=str)
def test_group_norm(shape, groups, rng):
    x, g = 2 * rng.normal(size=shape) + 1, rng.normal(size=shape)
    gamma, beta = rng.normal(size=shape[-1]), rng.normal(size=shape[-1])
    how = 0.1, groups
    dx, dgamma, dbeta = reference.group_norm_backward(x, gamma, g, *how)
    close(dx, central_difference(lambda v: (reference.group_norm(v, gamma, beta, *how) * g).sum(), x))
    close(dgamma, central_difference(lambda v: (reference.group_norm(x, v, beta, *how) * g).sum(), gamma))
    close(dbeta, central_difference(lambda v: (reference.group_norm(x, gamma, v, *how) * g).sum(), beta))
    y = reference.group_norm(x, 1.0, 0.0, 0.0, groups)
    first = y[..., :shape[-1] // groups].reshape(shape[0], -1)
    close(first.mean(axis=1), np.zeros(shape[0]))
    close(first.std(axis=1), np.ones(shape[0]))


def test_running_statistics():
    x = np.array([[1.0], [3.0]])
    mean, variance = reference.running(np.array([10.0]), np.array([1.0]), x, 0.25)
    close(mean, [8.0])
    close(variance, [1.25])     # the unbiased variance of 1 and 3 is 2


def targets(loss, rng, shape):
    if loss == "softmax_cross_entropy":
        return reference.softmax(rng.normal(size=shape))
    return rng.uniform(size=shape)


@pytest.mark.parametrize("loss", reference.LOSSES)
def test_loss(loss, rng):
    t = targets(loss, rng, (4, 3))
    y = t + away_from_zero(rng.normal(size=t.shape))
    if loss == "binary_cross_entropy":
        y = rng.uniform(0.1, 0.9, size=t.shape)
    arguments = {"delta": 0.7} if loss == "huber" else {}
    _, dy = reference.LOSSES[loss](y, t, **arguments)
    expected = central_difference(lambda v: reference.LOSSES[loss](v, t, **arguments)[0].sum(), y, h=1e-4)
    close(dy, expected)


def test_unnormalised_targets_of_cross_entropy(rng):
    z, t = rng.normal(size=(4, 3)), rng.uniform(size=(4, 3))
    close(reference.softmax_cross_entropy(z, t)[1],
          central_difference(lambda v: reference.softmax_cross_entropy(v, t)[0].sum(), z))


def test_labels_are_one_hot_targets(rng):
    z, labels = rng.normal(size=(5, 3)), np.array([0, 2, 1, 1, 0])
    values, _ = reference.softmax_cross_entropy(z, reference.one_hot(labels, 3))
    close(values, -np.log(reference.softmax(z)[np.arange(5), labels]))


def test_penalty(rng):
    w = away_from_zero(rng.normal(size=(3, 4)))
    close(reference.penalty(w, 0.2, 0.3)[1], central_difference(lambda v: reference.penalty(v, 0.2, 0.3)[0], w))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss, last", [("softmax_cross_entropy", "linear"), ("squared_error", "softmax"),
                                        ("binary_cross_entropy", "sigmoid"), ("huber", "elu")])
def test_mlp(loss, last, weighted, rng):
    sizes, activations = [4, 5, 3], ["tanh", last]
    kernels = [away_from_zero(rng.normal(size=s) / 2) for s in zip(sizes, sizes[1:])]
    biases = [rng.normal(size=n) / 2 for n in sizes[1:]]
    x, t = rng.normal(size=(6, 4)), targets(loss, rng, (6, 3))
    weight = rng.uniform(0.5, 2.0, size=6) if weighted else None

    def run(x=x, kernels=kernels, biases=biases):
        return reference.mlp(x, t, kernels, biases, activations, loss, weight, l1=0.01, l2=0.1, alpha=1.0)

    _, dws, dbs, dx = run()
    close(dws[0], central_difference(lambda v: run(kernels=[v, kernels[1]])[0], kernels[0]))
    close(dws[1], central_difference(lambda v: run(kernels=[kernels[0], v])[0], kernels[1]))
    close(dbs[0], central_difference(lambda v: run(biases=[v, biases[1]])[0], biases[0]))
    close(dbs[1], central_difference(lambda v: run(biases=[biases[0], v])[0], biases[1]))
    share = np.full(6, 1 / 6) if weight is None else weight / weight.sum()
    close(share[:, None] * dx, central_difference(lambda v: run(x=v)[0], x))


def test_zero_weight_removes_a_sample(rng):
    x, t, w, b = (rng.normal(size=s) for s in [(4, 3), (4, 2), (3, 2), (2,)])
    some = reference.mlp(x, t, [w], [b], ["linear"], "squared_error", weight=np.array([1.0, 0, 1.0, 0]))
    rest = reference.mlp(x[::2], t[::2], [w], [b], ["linear"], "squared_error")
    close(some[0], rest[0])
    close(some[1][0], rest[1][0])


@pytest.mark.parametrize("name, lr, momentum", [
    ("sgd", 0.02, 0.0), ("sgd", 0.02, 0.9), ("adam", 0.05, 0.0), ("adamw", 0.05, 0.0), ("rmsprop", 0.01, 0.0),
    ("rmsprop", 0.01, 0.9), ("adagrad", 0.3, 0.0),
])
def test_optimizers_descend(name, lr, momentum, rng):
    w, state = rng.normal(size=5), {}
    start = (w * w).sum()
    for t in range(1, 301):
        w, state = reference.OPTIMIZERS[name](w, 2 * w, state, t, lr, **({"momentum": momentum} if momentum else {}))
    assert (w * w).sum() < 1e-2 * start


def test_first_steps_by_hand():
    """The first step of each, where the moving averages are known without running them."""
    w, g = np.array([1.0, -2.0]), np.array([0.5, -0.25])
    close(reference.sgd(w, g, {}, 1, 0.1)[0], w - 0.1 * g)
    close(reference.sgd(w, g, {}, 1, 0.1, momentum=0.9)[0], w - 0.1 * g)
    close(reference.sgd(w, g, {}, 1, 0.1, momentum=0.9, nesterov=True)[0], w - 0.1 * 1.9 * g)
    close(reference.adam(w, g, {}, 1, 0.1, eps=0.0)[0], w - 0.1 * np.sign(g))
    close(reference.adamw(w, g, {}, 1, 0.1, eps=0.0, weight_decay=0.5)[0], 0.95 * w - 0.1 * np.sign(g))
    close(reference.rmsprop(w, g, {}, 1, 0.1, rho=0.75, eps=0.0)[0], w - 0.2 * np.sign(g))
    close(reference.adagrad(w, g, {}, 1, 0.1, eps=0.0)[0], w - 0.1 * np.sign(g))


def test_clip():
    grads = [np.array([3.0, 0.0]), np.array([-4.0])]
    norm = sum((g * g).sum() for g in reference.clip(grads, clip_norm=1.0)) ** 0.5
    assert 0.999999 < norm < 1.0
    close(reference.clip(grads, clip_norm=10.0)[1], [-4.0])
    close(reference.clip(grads, clip_value=0.5)[0], [0.5, 0.0])
    close(reference.clip(grads, clip_value=0.5)[1], [-0.5])
