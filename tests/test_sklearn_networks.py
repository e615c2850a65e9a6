"""NNClassifier and NNRegressor beside scikit-learn's networks, and in scikit-learn's machinery."""

import csv
import pickle
import warnings
from types import MappingProxyType

import joblib
import numpy as np
import pytest
import scipy.sparse
from sklearn import datasets
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, Ridge
from sklearn.linear_model import LinearRegression as TheirLinear
from sklearn.linear_model import LogisticRegression as TheirLogistic
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nnfast as nf
from nnfast.__main__ import main
from nnfast.sklearn import LinearRegression, LogisticRegression, NNClassifier, NNRegressor, SoftmaxRegression

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SHORT = {"max_iter": 20, "random_state": 0}


def scores(ours, theirs, load, seeds, **arguments):
    """Mean test scores over seeds, at the same settings."""
    x, y = load(return_X_y=True)
    found = []
    for kind in (ours, theirs):
        total = 0.0
        for seed in seeds:
            xt, xv, yt, yv = train_test_split(x, y, random_state=seed, test_size=0.25)
            total += make_pipeline(StandardScaler(), kind(random_state=seed, **arguments)).fit(xt, yt).score(xv, yv)
        found.append(total / len(seeds))
    return found


@pytest.mark.parametrize("ours, theirs, load, arguments", [
    (NNClassifier, MLPClassifier, datasets.load_digits, {"max_iter": 40}),
    (NNClassifier, MLPClassifier, datasets.load_breast_cancer, {"max_iter": 100}),
    (NNClassifier, MLPClassifier, datasets.load_wine, {"max_iter": 100}),
    (NNClassifier, MLPClassifier, datasets.load_iris, {"max_iter": 200}),
    (NNRegressor, MLPRegressor, datasets.load_diabetes, {"max_iter": 200, "learning_rate_init": 0.02}),
], ids=["digits", "breast_cancer", "wine", "iris", "diabetes"])
def test_as_good_as_scikit_learns(ours, theirs, load, arguments):
    mine, other = scores(ours, theirs, load, range(3), **arguments)
    assert mine >= other - 0.015, (mine, other)
    assert mine > (0.3 if ours is NNRegressor else 0.9)




@pytest.mark.parametrize("arguments", [
    {"alpha": 0.5},
    {"alpha": 0.0, "activation": "tanh"},
    {"solver": "sgd", "learning_rate_init": 0.05},
    {"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False, "momentum": 0.5},
    {"solver": "sgd", "learning_rate_init": 0.5, "learning_rate": "invscaling", "power_t": 0.3,
     "momentum": 0.0},
], ids=str)
@pytest.mark.parametrize("ours, theirs", [(NNClassifier, MLPClassifier), (NNRegressor, MLPRegressor)])
def test_steps_are_scikit_learns(digits, arguments, ours, theirs):
    """Whole-batch training from equal weights gives equal losses and weights: the same loss, penalty and updates."""
    x, _, y, _ = digits
    x, y = x[:100], y[:100] if ours is NNClassifier else y[:100] / 10
    common = {"hidden_layer_sizes": (7,), "batch_size": 100, "shuffle": False, "random_state": 0, **arguments}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = theirs(max_iter=1, warm_start=True, **common).fit(x, y)
        net = ours(max_iter=1, warm_start=True, **common).fit(x, y)
        net.model_.set_weights([a for pair in zip(first.coefs_, first.intercepts_) for a in pair])
        other = first.set_params(max_iter=12).fit(x, y)
        net.loss_curve_ = []
        net.set_params(max_iter=12).fit(x, y)
    # scikit-learn's Adam adds epsilon before the bias correction of the root, ours as PyTorch after it.
    exact = arguments.get("solver") == "sgd"
    np.testing.assert_allclose(net.loss_curve_, other.loss_curve_[1:], rtol=1e-12 if exact else 1e-5)
    for a, b in zip(net.coefs_, other.coefs_):
        np.testing.assert_allclose(a, b, atol=1e-12 if exact else 1e-3)


@pytest.mark.parametrize("ours, theirs", [(NNClassifier, MLPClassifier), (NNRegressor, MLPRegressor)])
def test_the_minimum_is_scikit_learns(digits, ours, theirs):
    """Without hidden layers there is one; the penalty of "lbfgs" is divided by all samples."""
    x, _, y, _ = digits
    y = y == 3 if ours is NNClassifier else y / 10
    settings = {"hidden_layer_sizes": (), "solver": "lbfgs", "alpha": 5.0, "tol": 1e-9, "max_iter": 2000}
    mine, other = ours(**settings).fit(x, y), theirs(**settings).fit(x, y)
    np.testing.assert_allclose(mine.coefs_[0], other.coefs_[0], atol=5e-3)
    assert mine.loss_ == pytest.approx(other.loss_, rel=1e-5)      # theirs stops a little earlier


def test_stops_where_scikit_learn_stops(digits):
    x, _, y, _ = digits
    net = NNClassifier((30,), tol=0.01, n_iter_no_change=3, random_state=0).fit(x, y)
    curve = net.loss_curve_
    best, waited = np.inf, 0
    n = 0
    for loss in curve:
        n += 1
        waited = waited + 1 if loss > best - 0.01 else 0
        best = min(best, loss)
        if waited > 3:
            break
    assert net.n_iter_ == n == len(curve) < 200
    assert net.best_loss_ == best and net.loss_ == curve[-1] and net.t_ == n * len(x)


def test_says_that_it_has_not_ended(digits):
    with pytest.warns(ConvergenceWarning, match="max_iter=2 iterations .* raise max_iter or the learning rate, "):
        NNClassifier(max_iter=2, optimizer="adam").fit(digits[0], digits[2])


@pytest.mark.parametrize("make", [NNClassifier, NNRegressor])
@pytest.mark.parametrize("solver, others", [
    ("adam", {"learning_rate": "adaptive", "power_t": 0.1, "momentum": 0.5, "nesterovs_momentum": False}),
    ("sgd", {"beta_1": 0.5, "beta_2": 0.5, "epsilon": 0.1, "power_t": 0.1}),
    ("lbfgs", {"learning_rate": "invscaling", "momentum": 0.5, "beta_1": 0.5, "batch_size": 7, "shuffle": False,
               "learning_rate_init": 0.5, "early_stopping": True, "n_iter_no_change": 1}),
])
def test_arguments_of_other_solvers_have_no_effect(digits, make, solver, others):
    x, _, y, _ = digits
    # A large tolerance, for what happens where training stops.
    settings = {"solver": solver, "max_iter": 10, "tol": 0.5, "n_iter_no_change": 1, "random_state": 0}
    plain = make((4,), **settings).fit(x, y)
    net = make((4,), **settings | others).fit(x, y)
    assert net.loss_curve_ == plain.loss_curve_ and net.best_loss_ == plain.best_loss_
    assert net.validation_scores_ is None and net.best_validation_score_ is None
    np.testing.assert_array_equal(net.predict(x), plain.predict(x))


def test_evaluations_of_the_loss_are_limited(digits):
    x, _, y, _ = digits
    with pytest.warns(ConvergenceWarning, match="lbfgs ended .*EVALUATIONS EXCEEDS.* raise max_iter or max_fun"):
        net = NNRegressor((4,), solver="lbfgs", max_fun=5, random_state=0).fit(x, y)
    assert 1 <= net.n_iter_ <= 5
    with pytest.raises(ValueError, match="max_fun must be at least 1"):
        NNRegressor(max_fun=0).fit(x, y)


# --- scikit-learn's machinery ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.timeout(120)
def test_grid_search_in_parallel(names, backend):
    search = GridSearchCV(make_pipeline(StandardScaler(), NNClassifier((8,), **SHORT, learning_rate_init=0.02)),
                          {"nnclassifier__alpha": [1e-4, 1.0], "nnclassifier__dropout": [0.0, 0.2]}, n_jobs=2, cv=2)
    with joblib.parallel_backend(backend), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(*names)
    assert search.best_score_ > 0.2
    assert set(search.predict(names[0])) <= set(names[1])


def test_a_search_over_solvers_has_all_scores(names):
    search = GridSearchCV(NNClassifier((4,), **SHORT), {
        "solver": ["sgd", "adam", "lbfgs"], "learning_rate": ["constant", "adaptive"], "early_stopping": [False, True],
    }, cv=2)
    assert np.isfinite(search.fit(*names).cv_results_["mean_test_score"]).all()


def test_cross_validation_calibration_and_clone(names):
    x, y = names
    net = NNClassifier((16,), learning_rate_init=0.02, **SHORT)
    assert cross_val_score(net, x, y, cv=2).mean() > 0.5
    calibrated = CalibratedClassifierCV(net, cv=2).fit(x, y)
    np.testing.assert_allclose(calibrated.predict_proba(x).sum(axis=1), 1)
    net.fit(x, y)
    again = clone(net)
    assert not hasattr(again, "model_")
    np.testing.assert_array_equal(again.fit(x, y).predict_proba(x), net.predict_proba(x))


@pytest.mark.parametrize("optimizer", [None, "rmsprop"])
def test_pickle_and_joblib_keep_every_bit_and_train_on(names, tmp_path, optimizer):
    x, y = names
    net = NNClassifier((8,), optimizer=optimizer, **SHORT)
    net.partial_fit(x, y, classes=np.unique(y))
    copies = [pickle.loads(pickle.dumps(net))]
    joblib.dump(net, tmp_path / "net")
    copies.append(joblib.load(tmp_path / "net"))
    net.partial_fit(x, y)
    for copy in copies:
        copy.partial_fit(x, y)
        np.testing.assert_array_equal(copy.predict_proba(x), net.predict_proba(x))
        assert copy.loss_curve_ == net.loss_curve_


# --- what MLPClassifier does not have --------------------------------------------------------------------------------

def test_sparse_is_dense(names):
    x, y = names
    sparse = scipy.sparse.csr_array(x)
    a, b = (NNClassifier((8,), **SHORT).fit(data, y) for data in (x, sparse))
    np.testing.assert_array_equal(a.predict_proba(x), b.predict_proba(sparse))


@pytest.mark.parametrize("arguments", [
    {"early_stopping": True}, {"solver": "lbfgs"}, {"warm_start": True}, {"dropout": 0.2},
    {"model": nf.Sequential([nf.BatchNorm(), nf.Dense(3, activation="softmax")])},
    {"model": nf.Sequential([nf.Conv1D(4, 3), nf.Flatten(), nf.Dense(3, activation="softmax")], input_shape=(60, 1))},
], ids=lambda arguments: next(iter(arguments)))
def test_sparse_is_dense_with_any_arguments(rng, arguments):
    x = np.where(rng.random((90, 60)) < 0.08, rng.standard_normal((90, 60)), 0.0)
    y, weight, sparse = np.arange(90) % 3, rng.integers(0, 3, 90), scipy.sparse.csr_matrix(x)
    a, b = (NNClassifier(**(SHORT | arguments)).fit(data, y, weight) for data in (x, sparse))
    for estimator, data in ((a, x), (b, sparse)):
        if "solver" not in arguments and "early_stopping" not in arguments:
            estimator.partial_fit(data[:30], y[:30])
    np.testing.assert_array_equal(a.predict_proba(x), b.predict_proba(sparse))
    assert a.loss_curve_ == b.loss_curve_ and a.score(x, y) == b.score(sparse, y)


@pytest.mark.parametrize("regression", [
    SoftmaxRegression(), LogisticRegression(l2=0.01, l1=0.001), LinearRegression(l2=0.1), LinearRegression(),
], ids=["softmax", "logistic", "ridge", "least squares"])
def test_regressions_of_sparse_matrices(rng, regression):
    """They reach the same minimum from uncentred columns."""
    x = np.where(rng.random((200, 30)) < 0.08, rng.random((200, 30)), 0.0)
    y = (x @ rng.standard_normal(30) > 0).astype(int)
    weight, sparse = rng.integers(0, 3, 200), scipy.sparse.csr_matrix(x)
    a, b = (clone(regression).fit(data, y, weight) for data in (x, sparse))
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-6)
    np.testing.assert_allclose(a.intercept_, b.intercept_, atol=1e-6)
    np.testing.assert_allclose(a.predict(x), b.predict(sparse), atol=1e-6)


def test_precision_follows_the_data(names):
    x, y = names
    for dtype in (np.float32, np.float64):
        net = NNClassifier((8,), **SHORT).fit(x.astype(dtype), y)
        assert net.predict_proba(x.astype(dtype)).dtype == dtype == net.coefs_[0].dtype
        assert net.model_.dtype == np.dtype(dtype).name
        assert NNRegressor((8,), **SHORT).fit(x.astype(dtype), x[:, 20]).predict(x.astype(dtype)).dtype == dtype


def test_convolution_by_a_function_and_by_a_model(names):
    x, y = names

    def network(n_features, n_outputs):
        assert n_features == 64
        return nf.Sequential([
            nf.Conv2D(4, 3, activation="relu"), nf.MaxPool2D(2), nf.Flatten(), nf.Dense(n_outputs, "softmax"),
        ], input_shape=(8, 8, 1))

    search = GridSearchCV(NNClassifier(model=network, learning_rate_init=0.02, max_iter=30, random_state=1),
                          {"alpha": [0.0, 1e-3]}, cv=2).fit(x, y)
    assert search.best_score_ > 0.6
    made = network(64, 10)
    before = made.get_weights()
    net = NNClassifier(model=made, learning_rate_init=0.02, max_iter=30, random_state=1).fit(x, y)
    assert net.score(x, y) > 0.8
    for a, b in zip(made.get_weights(), before):
        np.testing.assert_array_equal(a, b)
    stopping = clone(net).set_params(early_stopping=True, max_iter=3)
    assert len(stopping.fit(x, y).validation_scores_) == len(stopping.fit(x, y, validation_data=(x, y)).coefs_) + 1 == 3
    images = x.reshape(-1, 8, 8, 1)
    np.testing.assert_array_equal(clone(net).fit(images, y).predict(images), net.predict(x))
    seeds = [NNClassifier(model=network, max_iter=1, random_state=seed).fit(x, y).coefs_[0] for seed in (0, 1, 1)]
    assert (seeds[0] != seeds[1]).any() and (seeds[1] == seeds[2]).all()


def test_a_compiled_model_keeps_its_settings(names):
    x, y = names
    labels = np.unique(y, return_inverse=True)[1]
    model = nf.Sequential([nf.Dense(10, activation="softmax")], input_shape=(64,), dtype="float64")
    model.compile(nf.SGD(0.5), "cross_entropy", regularizer=nf.L2(0.1))
    net = NNClassifier(model=model, max_iter=3, shuffle=False, n_iter_no_change=10).fit(x, y)
    model.fit(x, labels, epochs=3, batch_size=200, shuffle=False, verbose=0)
    np.testing.assert_array_equal(net.coefs_[0], model.parameters["dense/kernel"])
    assert model.optimizer.learning_rate == net.model_.optimizer.learning_rate == 0.5


@pytest.mark.parametrize("loss, proba", [
    (None, True), ("cross_entropy", True), (nf.CrossEntropy(from_logits=True), True), ("binary_cross_entropy", True),
    ("squared_error", True),
    (lambda t, p: (((p - t) ** 2).sum(axis=1), 2 * (p - t)), True),
], ids=["none", "cross_entropy", "logits", "one_against_rest", "brier", "function"])
@pytest.mark.parametrize("two", [False, True], ids=["ten", "two"])
def test_losses_of_classes(digits, loss, proba, two):
    x, _, y, _ = digits
    y = y < 5 if two else y
    net = NNClassifier((32,), loss=loss, learning_rate_init=0.02, max_iter=20, random_state=0).fit(x, y)
    assert net.score(x, y) > 0.85
    p = net.predict_proba(x)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(net.classes_[p.argmax(axis=1)], net.predict(x))
    np.testing.assert_array_equal(net.predict_log_proba(x), np.log(p))


@pytest.mark.parametrize("loss", [None, "absolute_error", nf.Huber(0.5)])
def test_losses_of_numbers(digits, loss):
    x, _, y, _ = digits
    net = NNRegressor((32,), loss=loss, learning_rate_init=0.02, max_iter=100, random_state=0)
    assert net.fit(x, y).score(x, y) > 0.8
    both = net.fit(x, np.stack([y, -y], axis=1))
    assert both.predict(x).shape == (len(x), 2) and both.score(x, np.stack([y, -y], axis=1)) > 0.8


def test_labels_that_do_not_exclude_each_other(digits):
    x, _, y, _ = digits
    labels = np.stack([y < 5, y % 2 == 0, y == 3], axis=1).astype(int)
    net = NNClassifier((32,), learning_rate_init=0.02, max_iter=30, random_state=0, early_stopping=True).fit(x, labels)
    assert net.predict(x).shape == labels.shape and net.score(x, labels) > 0.8
    p = net.predict_proba(x)
    np.testing.assert_array_equal(p > 0.5, net.predict(x) == 1)


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, scipy.sparse.csc_matrix, scipy.sparse.coo_matrix])
def test_sparse_labels_are_dense_ones(digits, form):
    x, xv, y, yv = digits
    labels, held = (np.stack([y < 5, y % 2 == 0, y == 3], axis=1).astype(int) for y in (y, yv))
    net = NNClassifier((8,), **SHORT).fit(x, form(labels), validation_data=(xv, form(held)))
    dense = NNClassifier((8,), **SHORT).fit(x, labels, validation_data=(xv, held))
    assert net.loss_curve_ == dense.loss_curve_ and net.validation_scores_ == dense.validation_scores_
    assert isinstance(net.predict(x), np.ndarray) and net.score(x, form(labels)) == dense.score(x, labels)
    net.partial_fit(x, form(labels))
    dense.partial_fit(x, labels)
    np.testing.assert_array_equal(net.predict_proba(x), dense.predict_proba(x))


@pytest.mark.parametrize("classes, texts", [
    (["pos", "neg"], ["neg", "pos"]), ([7, 3, 5], ["3", "5", "7"]), ([True, False], ["False", "True"]),
    (["", "a"], None),
], ids=str)
@pytest.mark.parametrize("loss", [None, nf.CrossEntropy(from_logits=True)], ids=["none", "logits"])
def test_the_model_has_the_names_of_the_classes(names, classes, texts, loss, tmp_path, capsys):
    x, digits = names
    y = np.array(classes)[np.unique(digits, return_inverse=True)[1] % len(classes)]
    net = NNClassifier((8,), loss=loss, **SHORT).fit(x, y)
    assert net.model_.class_names == texts and pickle.loads(pickle.dumps(net)).model_.class_names == texts
    if texts:
        net.model_.save(tmp_path / "m.safetensors")
        np.savez(tmp_path / "d.npz", x=x)
        assert main(["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "d.npz")]) == 0
        rows = list(csv.reader(capsys.readouterr().out.splitlines()))
        assert rows[0] == ["prediction", *(f"p({text})" for text in texts)]
        assert [row[0] for row in rows[1:]] == [str(value) for value in net.predict(x).tolist()]


def test_names_of_a_given_model_stay_and_labels_have_none(names):
    x, y = names
    model = nf.Sequential([nf.Dense(10, "softmax")], input_shape=(64,))
    assert NNClassifier(model=model, **SHORT).fit(x, y).model_.class_names == sorted(set(y)) and not model.class_names
    model.class_names = list("abcdefghij")
    assert NNClassifier(model=model, **SHORT).fit(x, y).model_.class_names == list("abcdefghij")
    assert NNClassifier((8,), **SHORT).fit(x, np.eye(4, dtype=int)[[0, 1, 2, 3] * 50]).model_.class_names is None


def test_class_weight_is_sample_weight(names):
    x, y = names
    weights = np.where(y == "one", 3.0, 1.0)
    a = NNClassifier((8,), class_weight=MappingProxyType({"one": 3.0}), **SHORT).fit(x, y)
    b = NNClassifier((8,), **SHORT).fit(x, y, weights)
    np.testing.assert_array_equal(a.predict_proba(x), b.predict_proba(x))
    balanced = NNClassifier((8,), class_weight="balanced", **SHORT).fit(x, y)
    assert (balanced.coefs_[0] != NNClassifier((8,), **SHORT).fit(x, y).coefs_[0]).any()


def test_rows_of_weight_zero_are_absent(names):
    x, y = names
    there = (np.arange(200) % 3 > 0) | (y == "one")
    a = NNClassifier((8,), class_weight="balanced", **SHORT).fit(x, y, there.astype(float))
    b = NNClassifier((8,), class_weight="balanced", **SHORT).fit(x[there], y[there])
    np.testing.assert_array_equal(a.predict_proba(x), b.predict_proba(x))
    weight = there[:100].astype(float)
    kept = x[:100][there[:100]], y[:100][there[:100]]
    a = NNClassifier((8,), **SHORT).fit(x, y, validation_data=(x[:100], y[:100], weight))
    assert a.validation_scores_ == NNClassifier((8,), **SHORT).fit(x, y, validation_data=kept).validation_scores_


@pytest.mark.parametrize("weights", [{"one": -0.5, "two": 0.0}, {"one": np.nan}, {"one": -2.0}, {"one": np.inf}])
def test_bad_class_weights(names, weights):
    with pytest.raises(ValueError, match="class_weight must be finite and not negative, got {'one'"):
        NNClassifier((8,), class_weight=weights, **SHORT).fit(*names)


@pytest.mark.parametrize("make", [NNClassifier, NNRegressor])
def test_bad_validation_data(names, make):
    x = names[0]
    y = (x[:, 5] > 0.5).astype(int)
    for validation, text in [((x, y, -np.ones(200)), "Negative values"), ((x, None), "y"),
                             ((x, y[:50]), "inconsistent"), ((x, y, np.zeros(200)), "zero")]:
        with pytest.raises(ValueError, match=f"^validation_data: .*{text}"):
            make((8,), **SHORT).fit(x, y, validation_data=validation)


def test_early_stopping_keeps_the_best_weights(digits):
    x, xv, y, yv = digits
    arguments = {"learning_rate_init": 0.05, "n_iter_no_change": 3, "random_state": 0, "max_iter": 60}
    net = NNClassifier((16,), early_stopping=True, **arguments).fit(x, y, validation_data=(xv, yv))
    assert net.score(xv, yv) == net.best_validation_score_ == max(net.validation_scores_)
    assert len(net.validation_scores_) == net.n_iter_ < 60
    split = NNClassifier((16,), early_stopping=True, validation_fraction=0.3, **arguments).fit(x, y)
    assert split.t_ == split.n_iter_ * (len(x) - int(np.ceil(0.3 * len(x))))
    curve = NNClassifier((16,), max_iter=5).fit(x, y, validation_data=(xv, yv))
    assert len(curve.validation_scores_) == 5


def test_dropout_callbacks_optimizer_threads(names):
    x, y = names
    seen = []
    net = NNClassifier(
        (8,), dropout=0.5, optimizer=nf.AdamW(0.01), n_threads=1, random_state=0, max_iter=3,
        callbacks=nf.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch)),
    ).fit(x, y)
    assert seen == [0, 1, 2]
    assert [type(layer).__name__ for layer in net.model_.layers] == ["Dense", "Dropout", "Dense"]
    assert type(net.model_.optimizer) is nf.AdamW and net.model_.optimizer is not net.optimizer
    assert net.model_._settings.n_threads == 1


def test_warm_start_goes_on(names):
    x, y = names
    net = NNClassifier((8,), warm_start=True, random_state=0, max_iter=4).fit(x, y)
    first = net.loss_
    net.fit(x, y)
    assert len(net.loss_curve_) == 8 and net.n_iter_ == 4 and net.loss_ < first


def test_adaptive_rate_falls_before_training_ends(names):
    x, y = names
    net = NNClassifier((8,), solver="sgd", learning_rate="adaptive", learning_rate_init=0.1, tol=0.5,
                       n_iter_no_change=1, random_state=0).fit(x, y)
    assert net.model_.optimizer.learning_rate < 1e-6 and net.n_iter_ < 200


def test_string_classes_in_frames():
    import pandas as pd

    x, y = datasets.load_iris(return_X_y=True, as_frame=True)
    net = NNClassifier((8,), max_iter=150, learning_rate_init=0.02, random_state=0)
    net.fit(x, pd.Series(["abc"[i] for i in y], dtype="category"))
    assert list(net.feature_names_in_) == list(x.columns) and list(net.classes_) == ["a", "b", "c"]
    assert set(net.predict(x)) == {"a", "b", "c"}


@pytest.mark.parametrize("arguments, message", [
    ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be > 0"),
    ({"activation": "rellu"}, "did you mean 'relu'"),
    ({"solver": "newton"}, "unknown NNClassifier solver 'newton'"),
    ({"optimizer": "adam", "learning_rate_init": 0.1}, "learning_rate_init would have no effect: optimizer="),
    ({"optimizer": "adam", "solver": "lbfgs"}, "solver would have no effect: optimizer="),
    ({"solver": "lbfgs", "augment": nf.augment.Noise(0.1)}, "augment would have no effect"),
    ({"momentum": 1.5}, "momentum must be a finite number at least 0 and at most 1"),
    ({"solver": "sgd", "beta_2": 1.0}, "beta_2 must be a finite number at least 0 and below 1"),
    ({"solver": "lbfgs", "epsilon": 0.0}, "epsilon must be a finite number above 0"),
    ({"solver": "lbfgs", "batch_size": 0}, "batch_size must be at least 1"),
    ({"model": lambda n, m: None, "dropout": 0.1}, "dropout would have no effect: model="),
    ({"max_iter": 0}, "max_iter must be at least 1"),
    ({"dropout": 1.0}, "dropout must be a finite number at least 0 and below 1"),
    ({"model": lambda n, m: nf.Sequential([nf.Dense(3, "softmax")])}, "y has 10 classes; give the last layer 10 units"),
    ({"model": nf.Sequential([nf.Dense(10, "softmax")], input_shape=(65,))}, "X has 64 features"),
])
def test_errors_say_what_to_do(names, arguments, message):
    with pytest.raises(ValueError, match=message):
        NNClassifier(**arguments).fit(*names)


def test_more_errors(names):
    x, y = names
    net = NNClassifier((4,), max_iter=1)
    with pytest.raises(TypeError, match="must return an nnfast model, got list"):
        NNClassifier(model=lambda n, m: []).fit(x, y)
    with pytest.raises(ValueError, match="classes must be passed"):
        net.partial_fit(x, y)
    with pytest.raises(ValueError, match=r"validation_data must be \(X, y\)"):
        net.fit(x, y, validation_data=x)
    with pytest.raises(ValueError, match=r"classes .*'ten'.* that the first call did not have"):
        net.fit(x, y, validation_data=(x[:1], ["ten"]))
    with pytest.raises(AttributeError):
        NNClassifier(solver="lbfgs").partial_fit(x, y)
    lossless = nf.Sequential([nf.Dense(10, "softmax")])
    lossless.compile("adam")
    with pytest.raises(ValueError, match="model sequential was compiled without a loss"):
        NNClassifier(model=lossless).fit(x, y)
    with pytest.raises(nf.TrainingError):
        NNRegressor((4,), optimizer=nf.SGD(1e30), max_iter=30).fit(x, x[:, 5])


# --- the regressions -------------------------------------------------------------------------------------------------

def test_regressions_reach_scikit_learns_minima(digits):
    x, _, y, _ = digits
    x, y = x[:300] + 0.0, y[:300]
    n = len(x)
    ours = LinearRegression(l2=2 * 1.0 / n).fit(x, y)
    theirs = Ridge(1.0).fit(x, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-6)
    for ours, target in ((LogisticRegression(l2=1 / n), y < 5), (SoftmaxRegression(l2=1 / n), y)):
        theirs = TheirLogistic(tol=1e-10, max_iter=5000).fit(x, target)
        np.testing.assert_allclose(ours.fit(x, target).predict_proba(x), theirs.predict_proba(x), atol=1e-5)


def test_regressions_say_which_one_to_take():
    with pytest.raises(ValueError, match="use SoftmaxRegression for 3 classes"):
        LogisticRegression().fit([[0.0], [1.0], [2.0]], [0, 1, 2])
    with pytest.warns(ConvergenceWarning, match="minimum is not reached after 1 iterations"):
        LinearRegression(max_iter=1).fit(np.eye(5) * [1, 10, 100, 1000, 1], np.arange(5.0))


@pytest.mark.parametrize("make, bad", [
    (lambda: NNClassifier((4,), **SHORT), {"sample_weight": -np.ones(200)}),
    (lambda: NNClassifier((4,), **SHORT), {"validation_data": (np.eye(2), ["ten", "ten"])}),
    (lambda: NNClassifier((4,), **SHORT), {"augment": "flip"}),
    (lambda: NNRegressor((4,), **SHORT), {"sample_weight": -np.ones(200), "y": np.eye(200)}),
    (LogisticRegression, {}),
    (lambda: SoftmaxRegression(), {"sample_weight": np.zeros(200)}),
    (lambda: LinearRegression(), {"sample_weight": np.zeros(200), "y": np.eye(200)}),
])
def test_a_refused_fit_changes_nothing(names, make, bad):
    x, y = names
    net = make()
    numbers = isinstance(net, (NNRegressor, LinearRegression))
    net.fit(x[:, :60], x[:, 60] if numbers else y == "one")
    before, state = net.predict(x[:, :60]), set(vars(net))
    bad = {"y": x if numbers else y} | bad
    if "augment" in bad:
        net.set_params(augment=bad.pop("augment"))
    with pytest.raises((TypeError, ValueError)):
        net.fit(x, **bad)
    np.testing.assert_array_equal(net.predict(x[:, :60]), before)
    assert set(vars(net)) == state


@pytest.mark.parametrize("weighted", [False, True])
def test_regression_far_from_0(weighted, rng):
    """Timestamps, and targets of any size: the minimum is reached all the same, and is scikit-learn's."""
    x = np.c_[1.7e9 + np.arange(300) * 8640.0, np.sin(np.arange(300.0))]
    y = np.arange(300) * 0.1 + x[:, 1]
    weight = rng.random(300) if weighted else None
    for size in (1e-10, 1.0, 1e16):
        line = LinearRegression().fit(x, size * y, sample_weight=weight)
        assert line.score(x, size * y) > 1 - 1e-9
    shifted = rng.standard_normal((200, 3)) + 100 * np.arange(3)
    y = shifted @ [1.0, 2.0, 3.0] + rng.standard_normal(200)
    ours, theirs = LinearRegression(l2=0.1).fit(shifted, 1e4 * y), Ridge(10.0).fit(shifted, 1e4 * y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-6)
    lasso, their_lasso = LinearRegression(l1=0.2).fit(shifted, 50 * y), Lasso(0.1, tol=1e-12).fit(shifted, 50 * y)
    np.testing.assert_allclose(lasso.coef_, their_lasso.coef_, rtol=1e-6)
    single = LinearRegression().fit(x.astype("f"), y[:1].repeat(300) + x[:, 1])
    assert single.predict(x[:5].astype("f")).dtype == np.float32


def test_a_search_that_rounding_ends_is_told():
    """Timestamps are columns in units of their own for a dense layer, but not for one behind another layer."""
    x = np.c_[1.7e9 + np.arange(300) * 8640.0, np.sin(np.arange(300.0))]
    y = np.sin(np.arange(300)) > 0
    assert NNClassifier((), solver="lbfgs", random_state=0, max_iter=2000).fit(x, y).score(x, y) > 0.95
    network = nf.Sequential([nf.Activation("linear"), nf.Dense(1, activation="sigmoid")], dtype="float64")
    with pytest.warns(ConvergenceWarning, match="falls no further in float64"):
        NNClassifier(model=network, solver="lbfgs", random_state=0).fit(1000 * x, y)


def early(**arguments):
    return NNClassifier((32,), early_stopping=True, learning_rate_init=0.01, random_state=0, max_iter=15,
                        n_iter_no_change=5, **arguments)


def test_a_fit_that_goes_on_keeps_the_best_weights():
    (x, y), (xv, yv) = nf.datasets.digits()
    net = early(warm_start=True).fit(x[:500], y[:500], validation_data=(xv, yv))
    before = net.score(xv, yv)
    net.set_params(learning_rate_init=0.5).fit(x[:500], y[:500], validation_data=(xv, yv))
    assert net.score(xv, yv) == net.best_validation_score_ == before


def test_validation_scores_have_the_weights_of_samples_alone(rng):
    """Also with a part of the samples as validation data."""
    y = np.repeat([0, 1], [180, 20])
    x = 0.5 * y[:, None] + rng.standard_normal((200, 3))
    net = NNClassifier((3,), class_weight={0: 1, 1: 1e6}, early_stopping=True, validation_fraction=0.5, max_iter=2,
                       random_state=0).fit(x, y)
    assert np.allclose(np.array(net.validation_scores_) * 100 % 1, 0, atol=1e-9)        # of 100 rows
    assert net.best_loss_ == min(net.loss_curve_)


def test_early_stopping_without_a_place_for_each_class(rng):
    x = rng.standard_normal((100, 4))
    net = NNClassifier((3,), early_stopping=True, max_iter=2).fit(x, np.arange(100) % 20)
    assert len(net.validation_scores_) == 2
    y = np.arange(100) % 3
    y[0] = 77
    NNClassifier((3,), early_stopping=True, max_iter=2).fit(x, y)
    with pytest.raises(ValueError, match="validation set is too small"):
        NNRegressor((3,), early_stopping=True).fit(x, y, validation_data=(x[:1], y[:1]))


def test_class_weights_of_classes_that_are_not_there(rng):
    x, y = rng.standard_normal((60, 4)), np.arange(60) % 3
    net = NNClassifier((3,), class_weight={0: 2.0, 2: 3.0}, max_iter=2, random_state=0)
    net.partial_fit(x[y < 2], y[y < 2], classes=range(3))
    NNClassifier((3,), class_weight={0: 2.0, 1: 1.0, 2: 1.0, 9: 5.0}, max_iter=2).fit(x, y)
    with pytest.raises(ValueError, match="class_weight has 9, which is not among the classes"):
        NNClassifier((3,), class_weight={0: 2.0, 9: 1.0}, max_iter=2).fit(x, y)
    names = np.array(["a", "b", "c"])[y]
    one = NNClassifier((3,), class_weight={"a": 2.0}, max_iter=2, random_state=0).fit(x, names)
    other = NNClassifier((3,), max_iter=2, random_state=0).fit(x, names, sample_weight=np.where(y == 0, 2.0, 1.0))
    np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])


def test_callbacks_see_the_validation_loss(rng):
    x = rng.standard_normal((80, 4))
    y = (x[:, 0] > 0).astype(int)
    seen = []
    watch = [nf.EarlyStopping(patience=1000), nf.callbacks.ReduceLROnPlateau(),
             nf.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["val_loss"]))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        NNClassifier((4,), max_iter=5, callbacks=watch).fit(x, y, validation_data=(x, y))
        NNClassifier((4,), loss="squared_error", max_iter=5, callbacks=watch).fit(x, y, validation_data=(x, y))
        NNRegressor((4,), max_iter=5, early_stopping=True, callbacks=watch).fit(x, x[:, 0])
    assert len(seen) == 15 and np.isfinite(seen).all()


def test_flags_of_numpy_and_sparse_targets(rng):
    x = rng.standard_normal((40, 3))
    search = GridSearchCV(NNClassifier((3,), max_iter=3), {"early_stopping": np.array([True, False])}, cv=2,
                          error_score="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(x, np.arange(40) % 2)
    with pytest.raises(TypeError, match="y is a sparse matrix; give y.toarray"):
        NNRegressor().fit(x, scipy.sparse.csr_matrix(x))


def test_an_error_in_a_fit_that_goes_on_leaves_its_record():
    (x, y), _ = nf.datasets.digits()
    net = NNClassifier((8,), max_iter=3, warm_start=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        net.fit(x[:200], y[:200])
    before = (net.n_iter_, net.t_, list(net.loss_curve_))

    def fail(epoch, logs):
        raise ValueError("no")

    net.set_params(callbacks=nf.LambdaCallback(on_epoch_end=fail))
    with pytest.raises(ValueError, match="no"):
        net.fit(x[:200], y[:200])
    assert (net.n_iter_, net.t_, net.loss_curve_) == before


def test_regressions_on_constant_columns_and_few_rows(rng):
    x = rng.normal(size=(101, 3))
    x[:, 1] = 0.1
    y = 2 * x[:, 0] + 1 + 0.1 * rng.normal(size=101)
    for dtype in ("f8", "f4"):
        for weight in (None, rng.uniform(0.1, 2, 101)):
            line = LinearRegression().fit(x.astype(dtype), y.astype(dtype), weight)
            theirs = TheirLinear().fit(x, y, weight)
            np.testing.assert_allclose(line.coef_, theirs.coef_, atol=1e-5)
            np.testing.assert_allclose(line.intercept_, theirs.intercept_, atol=1e-5)
    few = rng.normal(size=(10, 30)) * np.logspace(0, 2, 30)     # of many minima the shortest
    line, theirs = LinearRegression().fit(few, y[:10]), TheirLinear().fit(few, y[:10])
    assert np.linalg.norm(line.coef_) < 1.2 * np.linalg.norm(theirs.coef_)


def test_the_model_of_a_regression_has_its_penalty(rng):
    x = rng.normal(size=(50, 3))
    line = LinearRegression(l1=0.1).fit(x, 1000 * x[:, 0])
    assert line.model_.layers[-1].kernel_regularizer == nf.L1L2(0.1, 0.0)
    loss = np.square(line.predict(x) - 1000 * x[:, 0]).mean() + 0.1 * np.abs(line.coef_).sum()
    assert line.model_.evaluate(x, 1000 * x[:, 0])["loss"] == pytest.approx(loss, rel=1e-6)


def test_a_search_at_its_minimum_does_not_warn(rng):
    x = rng.normal(size=(200, 4))
    net = NNClassifier((10,), solver="lbfgs", max_iter=500, alpha=1.0, random_state=0, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        for _ in range(3):
            net.fit(x, x[:, 0] + x[:, 1] > 0)
    line = nf.models.linear_regression(4, dtype="float64")
    assert all(line.fit(x, 1e6 * x[:, :1] + rng.normal(size=(200, 1)) * 1e5, solver="lbfgs", verbose=0).converged
               for _ in range(3))
