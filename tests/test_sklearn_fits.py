"""Estimators after a fit: what it kept, refused, warned of or left undone, also when it failed."""

import pickle
import warnings
from copy import deepcopy

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import nnfast as nf
from nnfast.sklearn import LinearRegression, LogisticRegression, NNClassifier, NNRegressor, SoftmaxRegression

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SHORT = {"max_iter": 20, "random_state": 0}


def test_a_function_may_make_a_compiled_model(names):
    x, y = names

    def network(n_features, n_outputs):
        model = nf.Sequential([nf.Dense(n_outputs, activation="softmax")])
        model.compile(nf.SGD(0.5), "squared_error", regularizer=nf.L2(0.1))
        return model

    net = NNClassifier(model=network, warm_start=True, **SHORT).fit(x, y)
    for _ in range(2):
        settings = net.model_._settings
        assert (type(net.model_.optimizer), net.model_.optimizer.learning_rate) == (nf.SGD, 0.5)
        assert (settings.objective.losses[0], settings.regularizer) == (nf.SquaredError(), nf.L2(0.1))
        net.fit(x, y)
    with pytest.raises(ValueError, match="alpha would have no effect: the model has been compiled"):
        NNClassifier(model=network, alpha=0.1).fit(x, y)
    soft = NNClassifier(model=lambda n, m: nf.models.softmax_regression(n, m, l2=1.0), **SHORT).fit(x, y)
    assert soft.model_._settings.regularizer is None
    assert not any(isinstance(value, nf.Model) for name, value in vars(net).items() if name != "model_")


def test_a_model_may_be_compiled_between_two_fits(names):
    model = nf.Sequential([nf.Dense(10, activation="softmax")])
    net = NNClassifier(model=model, warm_start=True, **SHORT).fit(*names)
    for optimizer in (nf.SGD(0.5), nf.RMSprop(0.25)):
        model.compile(optimizer, "cross_entropy")
        assert net.fit(*names).model_.optimizer.learning_rate == optimizer.learning_rate


def test_estimators_pickled_by_older_versions_go_on(names):
    """Which did not keep what the layers were made from."""
    model = nf.Sequential([nf.Dense(10, activation="softmax")])
    model.compile(nf.SGD(0.5), "cross_entropy")
    for net in (NNClassifier((4,), warm_start=True, **SHORT), NNClassifier(model=model, warm_start=True, **SHORT)):
        net.fit(*names)
        new, old = deepcopy(net), deepcopy(net)
        for name in ("_made_from", "_given_settings"):
            vars(old).pop(name)
        for one in (new, old):
            one.fit(*names).partial_fit(*names)
        assert old.loss_curve_ == new.loss_curve_
        with pytest.raises(ValueError, match="has changed, but warm_start=True"):
            old.set_params(model=None, hidden_layer_sizes=(9,)).fit(*names)


@pytest.mark.parametrize("changed", [
    {"hidden_layer_sizes": (9,)}, {"activation": "tanh"}, {"dropout": 0.5},
    {"model": lambda n, m: nf.Sequential([nf.Dense(m, "softmax")]), "hidden_layer_sizes": (100,)},
], ids=lambda changed: next(iter(changed)))
def test_a_fit_that_goes_on_does_not_ignore_other_layers(names, changed):
    x, y = names
    net = NNClassifier([8], warm_start=True, **SHORT).fit(x, y)
    net.set_params(hidden_layer_sizes=8, alpha=0.1, learning_rate_init=0.1).fit(x, y)       # the same layers
    line = NNClassifier((8,), "identity", warm_start=True, **SHORT).fit(x, y)
    assert len(line.set_params(activation="linear").fit(x, y).loss_curve_) == 40
    copied = pickle.loads(pickle.dumps(net)).partial_fit(x, y).set_params(**changed)
    with pytest.raises(ValueError, match="has changed, but warm_start=True goes on with the layers"):
        copied.fit(x, y)
    with pytest.raises(ValueError, match="has changed, but partial_fit goes on with the layers"):
        copied.partial_fit(x, y)
    copied.set_params(warm_start=False).fit(x, y).set_params(warm_start=True).fit(x, y)


def test_a_function_may_be_taken_out_so_that_the_estimator_can_be_pickled(names):
    x, y = names
    net = NNClassifier(model=lambda n, m: nf.Sequential([nf.Dense(m, "softmax")]), warm_start=True, **SHORT).fit(x, y)
    function = net.model
    copied = pickle.loads(pickle.dumps(net.set_params(model=None))).set_params(model=function)
    np.testing.assert_array_equal(copied.predict(x), net.predict(x))
    with pytest.raises(ValueError, match="has changed, but warm_start=True"):
        net.fit(x, y)
    net.set_params(model=function)
    assert copied.fit(x, y).loss_curve_ == net.fit(x, y).loss_curve_


@pytest.mark.parametrize("error", [RuntimeError("no"), MemoryError(), SystemExit()], ids=repr)
def test_an_estimator_whose_first_fit_failed_is_not_fitted(names, error):
    def fail(epoch, logs):
        raise error

    net = NNClassifier((4,), callbacks=nf.LambdaCallback(on_epoch_end=fail))
    with pytest.raises(type(error)):
        net.fit(*names)
    assert vars(net) == vars(clone(net)) | {"callbacks": net.callbacks}
    with pytest.raises(NotFittedError):
        net.predict(names[0])


def test_a_search_that_begins_at_its_minimum_has_a_loss(rng):
    x = rng.normal(size=(40, 3))
    net = NNClassifier((3,), solver="lbfgs", tol=100.0, random_state=0, alpha=0.0)
    net.fit(x, x[:, 0] > 0, validation_data=(x, x[:, 0] > 0))
    loss = -net.predict_log_proba(x)[np.arange(40), (x[:, 0] > 0).astype(int)].mean()
    assert net.loss_curve_ == [net.loss_] == [net.best_loss_] == [pytest.approx(loss)] and net.n_iter_ == 1
    assert net.validation_scores_ == [net.score(x, x[:, 0] > 0)]


def test_ctrl_c_in_the_first_epoch_leaves_a_loss(names):
    def stop(batch, logs):
        raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted by user") as caught:
        net = NNClassifier((4,), batch_size=20, callbacks=nf.LambdaCallback(on_batch_end=stop)).fit(*names)
    assert net.loss_curve_ == [net.loss_] and np.isfinite(net.loss_) and caught[0].filename == __file__


def test_ctrl_c_in_the_first_epoch_does_not_wait_for_the_loss_of_all(rng):
    def stop(batch, logs):
        raise KeyboardInterrupt

    x, weight = rng.normal(size=(2001, 3)), rng.uniform(0.5, 2.0, 2001)
    with pytest.warns(UserWarning, match="interrupted by user"):
        net = NNRegressor((4,), callbacks=nf.LambdaCallback(on_batch_end=stop)).fit(x, x[:, 0], weight)
    some = slice(None, None, 3)
    assert net.loss_ == net.model_.evaluate(x[some], x[some, :1], sample_weight=weight[some])["loss"]


def test_ctrl_c_before_the_first_epoch_leaves_a_score(names):
    class Stop(nf.Callback):
        def set_model(self, model):
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted by user"):
        net = NNClassifier((4,), early_stopping=True, callbacks=Stop()).fit(*names)
    assert len(net.validation_scores_) == 1


@pytest.mark.parametrize("make", [NNClassifier, LogisticRegression])
def test_an_estimator_whose_warnings_are_errors_is_fitted(make):
    x, y = np.eye(4), [0, 1, 0, 1]
    net = make(max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            net.fit(x, y)
    assert net.predict(x).shape == (4,) and net.n_iter_ == 1


@pytest.mark.parametrize("fit", [NNClassifier.fit, lambda net, x, y: net.partial_fit(x, y, classes=y)])
def test_a_large_batch_is_said_to_the_caller(names, fit):
    with pytest.warns(UserWarning, match="batch_size=1000 is more than the 200 samples") as caught:
        fit(NNClassifier((4,), batch_size=1000, max_iter=1), *names)
    assert caught[0].filename == __file__


def test_the_best_validation_score_is_that_of_the_last_fit(rng):
    x = rng.normal(size=(100, 3))
    y = (x[:, 0] > 0).astype(int)
    net = NNClassifier((8,), learning_rate_init=0.05, warm_start=True, **SHORT).fit(x, y, validation_data=(x, y))
    assert net.best_validation_score_ == max(net.validation_scores_) > 0.8
    net.fit(x, y, validation_data=(x, 1 - y)).fit(x, y)
    assert net.best_validation_score_ == max(net.validation_scores_[20:]) < 0.2


def test_no_fraction_for_validation_where_none_is_needed(names):
    x, y = names
    NNClassifier((4,), validation_fraction=0.0, **SHORT).fit(x, y)
    early = NNClassifier((4,), validation_fraction=0.0, early_stopping=True, **SHORT)
    early.fit(x, y, validation_data=(x, y))
    with pytest.raises(ValueError, match="validation set is too small. Increase 'validation_fraction'"):
        early.fit(x, y)


def test_predicted_labels_are_those_above_a_half(rng):
    """Also of a softmax whose logits are all above 0 or all below."""
    x = rng.normal(size=(90, 4))
    one_hot = np.eye(3, dtype=int)[np.arange(90) % 3]
    for loss in (nf.CrossEntropy(from_logits=True), nf.BinaryCrossEntropy(from_logits=True), None):
        net = NNClassifier((8,), loss=loss, learning_rate_init=0.1, max_iter=100, random_state=0).fit(x, one_hot)
        np.testing.assert_array_equal(net.predict(x), net.predict_proba(x) > 0.5)
    for other in (-1, 256):
        with pytest.raises(ValueError, match="must be labels of 0 and 1, got multilabel-indicator of"):
            net.fit(x, other * one_hot)


@pytest.mark.parametrize("weights, kind, message", [
    ("balance", ValueError, "unknown NNClassifier class_weight 'balance'.*balanced"),
    ([1.0, 2.0], TypeError, "NNClassifier: class_weight must be a dict, 'balanced' or None, got list"),
])
def test_class_weights_of_the_wrong_kind(names, weights, kind, message):
    with pytest.raises(kind, match=message):
        NNClassifier((4,), class_weight=weights).fit(*names)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_targets_whose_squares_are_beyond_float64(rng, size):
    x = rng.normal(size=(50, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        line = LinearRegression().fit(x, size * (x @ [1.0, 2.0, 3.0] + 4.0))
    np.testing.assert_allclose(line.coef_ / size, [1.0, 2.0, 3.0], rtol=1e-6)
    np.testing.assert_allclose(line.intercept_ / size, 4.0, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_targets_next_to_zero(rng, dtype):
    """Beside which a penalty is as good as infinite, and whose size may round to 0."""
    x = rng.normal(size=(50, 3)).astype(dtype)
    for y in (1e-310 * x[:, 0].astype("float64"), np.eye(50)[0] * 5e-324):
        for l1 in (0.0, 0.01):
            line = LinearRegression(l1=l1).fit(x, y)
            assert float(np.abs(line.coef_).max()) <= (2e-310 if not l1 else 0.0)
            assert float(abs(line.intercept_)) <= 1e-310


@pytest.mark.parametrize("make", [NNClassifier, LogisticRegression, SoftmaxRegression])
def test_the_only_class_is_named_as_it_was_given(make):
    with pytest.raises(ValueError, match="only one class: 'a'$"):
        make().fit([[0.0], [1.0]], np.array(["a", "a"]))
