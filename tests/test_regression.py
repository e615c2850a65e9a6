"""Regressions as one-layer networks: the same minima as scikit-learn's, in closed form, and in mini-batches."""
import numpy as np
import pytest
from sklearn import datasets
from sklearn.linear_model import Lasso, LogisticRegression, Ridge

import nnfast as nf
from nnfast import models

TOLERANCE = 1e-6    # of the largest coefficient


def scaled(name):
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    spread = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1), y


def minimum(model, x, y):
    history = model.fit(x, y, solver="lbfgs", verbose=0)
    assert history.converged
    return model.get_weights()


def assert_same(ours, theirs):
    """Kernels and intercepts; of softmax intercepts only the differences mean something."""
    kernel, bias = ours
    coefficients, intercept = np.atleast_2d(theirs.coef_).T, np.atleast_1d(theirs.intercept_)
    scale = np.abs(coefficients).max()
    assert np.abs(kernel - coefficients).max() <= TOLERANCE * scale
    if len(bias) > 1:
        bias, intercept = bias - bias.mean(), intercept - intercept.mean()
    assert np.abs(bias - intercept).max() <= TOLERANCE * max(scale, np.abs(intercept).max())


# --- scikit-learn ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("alpha", [0.1, 10.0])
@pytest.mark.parametrize("raw", [False, True], ids=["scaled", "raw"])
def test_ridge(alpha, raw):
    x, y = datasets.load_diabetes(return_X_y=True) if raw else scaled("diabetes")
    model = models.linear_regression(10, l2=2 * alpha / len(x), dtype="float64")
    assert_same(minimum(model, x, y), Ridge(alpha=alpha, solver="cholesky").fit(x, y))


def test_lasso_has_the_same_zeros():
    x, y = scaled("diabetes")
    theirs = Lasso(alpha=3.0, tol=1e-12, max_iter=100_000).fit(x, y)
    ours = minimum(models.linear_regression(10, l1=2 * 3.0, dtype="float64"), x, y)
    assert_same(ours, theirs)
    assert ((ours[0][:, 0] == 0) == (theirs.coef_ == 0)).all() and (theirs.coef_ == 0).any()


def test_ridge_with_several_outputs():
    x, y = scaled("diabetes")
    y = np.column_stack([y, np.sin(y), x[:, 0] - y / 100])
    model = models.linear_regression(10, 3, l2=2 * 5.0 / len(x), dtype="float64")
    theirs = Ridge(alpha=5.0, solver="cholesky").fit(x, y)
    kernel, bias = minimum(model, x, y)
    for ours, coefficients in ((kernel, theirs.coef_.T), (bias, theirs.intercept_)):
        assert (np.abs(ours - coefficients) <= TOLERANCE * np.abs(coefficients).max(axis=0)).all()


@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_logistic(strength):
    x, y = scaled("breast_cancer")
    model = models.logistic_regression(30, l2=1 / (strength * len(x)), dtype="float64")
    theirs = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-14, max_iter=1000).fit(x, y)
    assert_same(minimum(model, x, y), theirs)
    assert model.evaluate(x, y)["accuracy"] == theirs.score(x, y)
    np.testing.assert_allclose(model.predict(x)[:, 0], theirs.predict_proba(x)[:, 1], atol=1e-6)


def test_logistic_with_l1_has_the_same_zeros():
    x, y = scaled("breast_cancer")
    model = models.logistic_regression(30, l1=1 / (0.1 * len(x)), dtype="float64")
    theirs = LogisticRegression(C=0.1, l1_ratio=1.0, solver="saga", tol=1e-12, max_iter=100_000, random_state=0)
    ours = minimum(model, x, y)
    assert_same(ours, theirs.fit(x, y))
    assert ((ours[0][:, 0] == 0) == (theirs.coef_[0] == 0)).all() and (theirs.coef_ == 0).any()


@pytest.mark.parametrize(("name", "classes", "strength"), [("iris", 3, 1.0), ("iris", 3, 100.0), ("digits", 10, 0.1)])
def test_softmax(name, classes, strength):
    x, y = (part[:400] for part in scaled(name))
    model = models.softmax_regression(x.shape[1], classes, l2=1 / (strength * len(x)), dtype="float64")
    theirs = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-14, max_iter=1000).fit(x, y)
    assert_same(minimum(model, x, y), theirs)


# --- by themselves ---------------------------------------------------------------------------------------------------

def test_linear_regression_solves_the_normal_equations(rng):
    x, y = rng.standard_normal((50, 4)), rng.standard_normal(50)
    kernel, bias = minimum(models.linear_regression(4, dtype="float64"), x, y)
    expected = np.linalg.lstsq(np.column_stack([x, np.ones(50)]), y, rcond=None)[0]
    np.testing.assert_allclose([*kernel[:, 0], bias[0]], expected, atol=1e-8)


def test_ridge_in_closed_form_leaves_the_intercept_alone(rng):
    x, y = rng.standard_normal((40, 3)), 100 + rng.standard_normal(40)
    l2 = 0.7
    kernel, bias = minimum(models.linear_regression(3, l2=l2, dtype="float64"), x, y)
    # Bishop, eq. 3.28, with lambda = N l2 / 2, on centred data: the intercept absorbs the means.
    centred = x - x.mean(axis=0)
    expected = np.linalg.solve(centred.T @ centred + 40 * l2 / 2 * np.eye(3), centred.T @ (y - y.mean()))
    np.testing.assert_allclose(kernel[:, 0], expected, atol=1e-8)
    np.testing.assert_allclose(bias[0], y.mean() - x.mean(axis=0) @ expected, atol=1e-7)


def test_two_class_softmax_is_logistic_regression_of_the_difference(rng):
    x = rng.standard_normal((60, 3))
    y = (x[:, 0] + rng.standard_normal(60) > 0).astype(int)
    w, b = rng.standard_normal((3, 2)), rng.standard_normal(2)
    pair = models.softmax_regression(3, 2, dtype="float64")
    single = models.logistic_regression(3, dtype="float64")
    pair.set_weights([w, b])
    single.set_weights([w[:, 1:] - w[:, :1], b[1:] - b[:1]])
    np.testing.assert_allclose(pair.predict(x)[:, 1:], single.predict(x), rtol=1e-12)
    assert pair.evaluate(x, y)["loss"] == pytest.approx(single.evaluate(x, y)["loss"], rel=1e-12)
    # And so are their minima: each half of the pair is half as far, so the penalty counts half.
    half, whole = minimum(models.softmax_regression(3, 2, l2=0.2, dtype="float64"), x, y), \
        minimum(models.logistic_regression(3, l2=0.1, dtype="float64"), x, y)
    np.testing.assert_allclose(half[0][:, 1] - half[0][:, 0], whole[0][:, 0], atol=1e-6)
    np.testing.assert_allclose(half[0].sum(axis=1), 0, atol=1e-8)


def test_the_loss_is_the_negative_log_likelihood(rng):
    x, y = rng.standard_normal((30, 2)), rng.integers(0, 2, 30)
    model = models.logistic_regression(2, dtype="float64")
    model.set_weights([rng.standard_normal((2, 1)), rng.standard_normal(1)])
    p = model.predict(x)[:, 0]
    likelihood = np.prod(p**y * (1 - p) ** (1 - y))
    assert model.evaluate(x, y)["loss"] == pytest.approx(-np.log(likelihood) / 30, rel=1e-12)
    many = models.softmax_regression(2, 3, dtype="float64")
    many.set_weights([rng.standard_normal((2, 3)), rng.standard_normal(3)])
    labels = rng.integers(0, 3, 30)
    likelihood = np.prod(many.predict(x)[np.arange(30), labels])
    assert many.evaluate(x, labels)["loss"] == pytest.approx(-np.log(likelihood) / 30, rel=1e-12)


@pytest.mark.parametrize("batch_size", [50, 200], ids=["mini-batches", "full batch"])
@pytest.mark.parametrize("penalty", [{"l2": 0.05}, {"l1": 0.02}], ids=["l2", "l1"])
def test_mini_batches_and_full_batches_approach_the_same_minimum(rng, batch_size, penalty):
    x = rng.standard_normal((200, 3))
    y = (x @ [1.0, -2.0, 0.0] + rng.standard_normal(200) > 0).astype(int)
    rate = nf.schedules.InverseTime(1.0, 1.0, 300)
    stepped = models.logistic_regression(3, optimizer=nf.SGD(rate), dtype="float64", **penalty)
    stepped.fit(x, y, batch_size=batch_size, epochs=800, verbose=0)
    solved = minimum(models.logistic_regression(3, dtype="float64", **penalty), x, y)
    np.testing.assert_allclose(np.concatenate([w.ravel() for w in stepped.get_weights()]),
                               np.concatenate([w.ravel() for w in solved]), atol=0.01)


def test_they_are_what_they_say():
    linear = models.linear_regression(4, 2, l1=0.1, l2=0.2, seed=7)
    assert [layer.activation.activation for layer in linear.layers] == ["linear"]
    assert linear.layers[0].kernel_regularizer == nf.L1L2(0.1, 0.2) and linear.seed == 7
    assert not any(w.any() for w in linear.get_weights())
    assert models.logistic_regression(4, dtype="float64").dtype == "float64"
    assert models.softmax_regression(4, 3).output_shape == (3,)
    assert nf.models.linear_regression is models.linear_regression
    # The intercept is never penalised.
    linear.set_weights([np.zeros((4, 2)), np.full(2, 9.0)])
    assert linear.evaluate(np.zeros((1, 4)), np.full((1, 2), 9.0))["loss"] == 0


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: models.linear_regression(0), ValueError, "at least 1"),
    (lambda: models.linear_regression(3, 0), ValueError, "units must be at least 1"),
    (lambda: models.linear_regression(3, l2=-1.0), ValueError, "l2 must be a finite number at least 0"),
    (lambda: models.linear_regression(3, l1=float("nan")), ValueError, "l1"),
    (lambda: models.softmax_regression(3, 1), ValueError, "cross_entropy over one output is always 0"),
    (lambda: models.logistic_regression(3, optimizer="fast"), ValueError, "unknown optimizer 'fast'"),
    (lambda: models.logistic_regression(2).fit([[0.0, 1.0]], [2], verbose=0), ValueError, "2"),
])
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
