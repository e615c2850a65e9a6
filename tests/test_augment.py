"""Augmentation: each operation against a few lines of NumPy fed with the same random numbers, and training with it."""
import math
import pickle
from types import MappingProxyType

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from check import assert_same_bits, guarded
from stand_ins import KillAfter, Killed, Samples

import nnfast as nf
from nnfast._core import kernels, testing
from nnfast.augment import Cutout, Flip, Mixup, Noise, Shift, get
from nnfast.callbacks import Checkpoint

LEVELS = [name for name, usable in kernels.levels() if usable]
KEY = {"seed": 3, "step": 1, "sample": 4, "layer": 15}
SEED = 7


# --- the reference ---------------------------------------------------------------------------------------------------

def mix64(x):
    for factor in (0xff51afd7ed558ccd, 0xc4ceb9fe1a85ec53):
        x = (x ^ x >> 33) * factor % 2**64
    return x ^ x >> 33


def mix32(x):
    for shift, factor in ((16, 0x7feb352d), (15, 0x846ca68b)):
        x = (x ^ x >> np.uint32(shift)) * np.uint32(factor)
    return x ^ x >> np.uint32(16)


def random_bits(seed, step, sample, layer, block=0):
    """The low and the high 32 of 64 bits."""
    golden, h = 0x9e3779b97f4a7c15, 0
    for part in (seed, step, sample, layer, block):
        h = mix64(((h ^ part) + golden) % 2**64)
    return h % 2**32, h >> 32


def normal_numbers(n, **key):
    k1, k2 = (np.uint32(k) for k in random_bits(**key))
    element = np.arange(-(-n // 128) * 128, dtype=np.uint32)
    bits = mix32(mix32(element ^ k1) + k2).reshape(-1, 2, 64) >> np.uint32(1)
    radius = np.sqrt(-2 * np.log((bits[:, 0] + 0.5) / 2**31))
    angle = 2 * np.pi * bits[:, 1] / 2**31 - np.pi
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:n]


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def moved(x, down, right):
    y = np.zeros_like(x)
    H, W = x.shape[:2]
    for i in range(max(0, down), min(H, H + down)):
        for j in range(max(0, right), min(W, W + right)):
            y[i, j] = x[i - down, j - right]
    return y


def augmented(x, operations, step, b, which=0):
    """A sample, channels last, as float64."""
    x = x.astype(np.float64)
    for place, operation in enumerate(operations):
        key = {"seed": SEED, "step": step, "sample": b, "layer": 2**63 | which << 32 | place}
        low, high = random_bits(**key)
        if isinstance(operation, Flip):
            if operation.vertical and (low + 0.5) / 2**32 < operation.probability:
                x = x[::-1]
            if operation.horizontal and (high + 0.5) / 2**32 < operation.probability:
                x = x[:, ::-1]
        elif isinstance(operation, Shift):
            most = pair(operation.pixels)
            x = moved(x, *(bits * (2 * m + 1) // 2**32 - m for bits, m in zip((low, high), most)))
        elif isinstance(operation, Cutout):
            if (random_bits(**key, block=1)[0] + 0.5) / 2**32 < operation.probability:
                x = x.copy()
                h, w = pair(operation.size)
                top, left = low * x.shape[0] // 2**32 - h // 2, high * x.shape[1] // 2**32 - w // 2
                x[max(0, top):top + h, max(0, left):left + w] = 0
        elif isinstance(operation, Noise):
            x = x + operation.deviation * normal_numbers(x.size, **key).reshape(x.shape)
    return x


def mixing(alpha, batch, step, b):
    """(the other row, the share of row b)."""
    key = {"seed": SEED, "step": step, "sample": b, "layer": 2**63 | 0xffffffff}
    if batch == 1:
        return b, 1.0
    low, high = random_bits(**key)
    cosine = math.cos(2 * math.pi * (low + 0.5) / 2**32)
    with np.errstate(over="ignore"):
        c2 = np.expm1(-math.log((high + 0.5) / 2**32) / alpha) * cosine**2
    other = (b + 1 + (random_bits(**key, block=1)[0] * (batch - 1) >> 32)) % batch
    return other, 0.5 + 0.5 / math.sqrt(1 + 1 / c2)


def batches_of(x, operations, batch_size, first_step=0):
    """Each sample as it is trained with, without shuffling, and its (other row, share) under mixup."""
    alpha = next((op.alpha for op in operations if isinstance(op, Mixup)), None)
    rows, parts = [], []
    for step, start in enumerate(range(0, len(x), batch_size), start=first_step):
        batch = [augmented(row, operations, step, b) for b, row in enumerate(x[start:start + batch_size])]
        for b in range(len(batch)):
            other, share = mixing(alpha, len(batch), step, b) if alpha else (b, 1.0)
            rows.append(share * batch[b] + (1 - share) * batch[other])
            parts.append((start + other, share))
    return np.array(rows), parts


# --- what a network sees ---------------------------------------------------------------------------------------------

class Seen(list):
    """Batches that came into a network; `layer` is to be its first."""

    def __init__(self):
        self.layer = nf.Lambda(self._forward, lambda dy, x, y: dy)

    def _forward(self, x):
        self.append(x.copy())
        return x

    def take(self):
        rows = np.concatenate(self)
        self.clear()
        return rows


def seeing(shape, dtype="float32", before=(), seed=SEED, **settings):
    """A network, and what comes into it."""
    seen = Seen()
    model = nf.Sequential([*before, seen.layer, nf.Flatten(), nf.Dense(1)], input_shape=shape, dtype=dtype, seed=seed,
                          **settings)
    model.compile(nf.SGD(1e-9), "squared_error")
    return model, seen


def pass_through(x, augment, batch_size=8, **settings):
    """What an epoch makes of x, in its order."""
    shape = x.shape[1:]
    model, seen = seeing(shape, **settings)
    model.fit(x, np.zeros((len(x), 1)), batch_size=batch_size, shuffle=False, verbose=0, augment=augment)
    return seen.take()


GEOMETRY = {
    "flip": [Flip()],
    "both flips": [Flip(vertical=True)],
    "vertical": [Flip(horizontal=False, vertical=True, probability=0.8)],
    "shift": [Shift(2)],
    "columns": [Shift((0, 3))],
    "cutout": [Cutout(3)],
    "some cutouts": [Cutout((1, 4), probability=0.5)],
    "several": [Flip(), Shift((2, 1)), Cutout(2), Flip(False, True), Shift(1)],
    "another order": [Cutout(2), Shift((2, 1)), Flip()],
}


@pytest.mark.parametrize("operations", GEOMETRY.values(), ids=GEOMETRY)
@pytest.mark.parametrize("channels", [1, 3])
def test_geometry(operations, channels, dtype, rng):
    x = rng.standard_normal((37, 5, 7, channels)).astype(dtype)
    given = x.copy()
    x.flags.writeable = False
    y = pass_through(x, operations, dtype=dtype.name)
    assert_same_bits(y, batches_of(x, operations, 8)[0].astype(dtype))
    assert_same_bits(x, given)
    assert not np.array_equal(x, y)


@pytest.mark.parametrize("source", ["uint8", "float32", "float64", "int16"])
@pytest.mark.parametrize("first", [False, True], ids=["channels_last", "channels_first"])
@pytest.mark.parametrize("rescaled", [False, True])
def test_types_formats_and_scale(source, first, rescaled, dtype, rng):
    """Zeros and deviations are those of the data, whatever the network makes of them."""
    operations = [Shift(2), Noise(3.0), Flip(), Cutout(3), Mixup(1.0)]
    x = rng.integers(0, 200, (21, 6, 5, 3)).astype(source)
    scale, offset = (1 / 255, 0.5) if rescaled else (1.0, 0.0)
    given = np.ascontiguousarray(np.moveaxis(x, -1, 1)) if first else x
    y = pass_through(given, operations, dtype=dtype.name, before=[nf.Rescale(scale, offset)] if rescaled else [],
                     data_format="channels_first" if first else "channels_last")
    expected = batches_of(x, operations, 8)[0] * scale + offset
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5 * 200 * scale)


@pytest.mark.parametrize("shape", [(1,), (5,), (128,), (1000,), (40, 3), (6, 5, 2), (2, 3, 4, 5)], ids=str)
def test_noise_and_mixup_on_any_shape(shape, dtype, rng):
    operations = [Mixup(0.5), Noise(0.3)]       # mixup is last all the same
    x = rng.standard_normal((11, *shape)).astype(dtype)
    y = pass_through(x, operations, batch_size=4, dtype=dtype.name)
    np.testing.assert_allclose(y, batches_of(x, operations, 4)[0], rtol=0, atol=5e-6)


def test_each_epoch_has_its_own(rng):
    x = rng.standard_normal((32, 6, 6, 1)).astype(np.float32)
    for operation in (Flip(), Shift(2), Cutout(2), Noise(0.1), Mixup(1.0)):
        model, seen = seeing((6, 6, 1))
        model.fit(x, np.zeros((32, 1)), epochs=2, shuffle=False, verbose=0, augment=operation)
        first, second = np.split(seen.take(), 2)
        assert not np.array_equal(first, second), operation
        model.fit(x, np.zeros((32, 1)), shuffle=False, verbose=0, augment=operation)
        assert not np.array_equal(seen.take(), first), operation
        assert not np.array_equal(pass_through(x, operation, 32, seed=SEED + 1), first), operation


def test_equal_operations_draw_by_themselves(rng):
    x = rng.standard_normal((64, 50)).astype(np.float32)
    y = pass_through(x, [Noise(1.0), Noise(1.0)], 64)
    assert (y - x).std() == pytest.approx(math.sqrt(2), rel=0.05)


def test_nothing_but_training_is_augmented(rng):
    x = rng.standard_normal((40, 6, 6, 1)).astype(np.float32)
    y = np.zeros((40, 1))
    model, seen = seeing((6, 6, 1))
    every = [Flip(probability=1.0), Shift(2), Cutout(2), Noise(0.5), Mixup()]
    model.fit(x, y, batch_size=30, shuffle=False, validation_split=0.25, verbose=0, augment=every)
    training, validation = np.split(seen.take(), [30])
    assert not (training == x[:30]).all(axis=(1, 2, 3)).any()
    assert_same_bits(validation, x[30:])
    model.fit(x, y, validation_data=(x, y), epochs=0, verbose=0, augment=every)
    for call in (model.evaluate, model.train_on_batch, model.gradients, model.per_sample_loss):
        call(x, y)
        assert_same_bits(seen.take(), x, call.__name__)
    model.predict(x)
    assert_same_bits(seen.take(), x)


# --- distributions ---------------------------------------------------------------------------------------------------

def test_flips_happen_with_their_probability():
    x = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1).repeat(20_000, axis=0)
    y = pass_through(x, Flip(vertical=True, probability=0.3), 100)
    kinds = y[:, 0, 0, 0].astype(int)       # which corner came to the top left: 1 if mirrored, + 2 if upside down
    share = np.bincount(kinds, minlength=4) / len(x)
    np.testing.assert_allclose(share, [0.49, 0.21, 0.21, 0.09], atol=5 * 0.5 / math.sqrt(len(x)))
    assert_same_bits(pass_through(x[:200], Flip(probability=1.0)), x[:200, :, ::-1].copy())
    assert_same_bits(pass_through(x[:200], Flip(probability=0.0)), x[:200])


def test_shifts_and_cutouts_are_uniform():
    n = 20_000
    x = np.zeros((n, 5, 5, 1), np.float32)
    x[:, 2, 2] = 1
    y = pass_through(x, Shift((1, 2)), 100)[:, 1:4, :, 0]
    assert (y.sum(axis=(1, 2)) == 1).all()
    assert scipy.stats.chisquare(y.sum(axis=0).ravel()).pvalue > 1e-4
    y = pass_through(np.ones((n, 4, 3, 1), np.float32), Cutout(1), 100)[..., 0]
    assert (y.sum(axis=(1, 2)) == 11).all()
    assert scipy.stats.chisquare((y == 0).sum(axis=0).ravel()).pvalue > 1e-4


@pytest.mark.parametrize("isa", LEVELS)
def test_noise_is_normal(isa, dtype):
    x = np.zeros(1 << 17, dtype)
    testing.noise(isa, x, 1.0, **KEY)
    assert scipy.stats.kstest(x, "norm").pvalue > 1e-4
    assert scipy.stats.kurtosis(x) == pytest.approx(0, abs=5 * math.sqrt(24 / x.size))
    for lag in (1, 2, 63, 64, 65, 128):
        assert abs(np.corrcoef(x[:-lag], x[lag:])[0, 1]) < 5 / math.sqrt(x.size), lag
    for name in KEY:
        other = np.zeros_like(x)
        testing.noise(isa, other, 1.0, **KEY | {name: KEY[name] + 1})
        assert abs(np.corrcoef(x, other)[0, 1]) < 5 / math.sqrt(x.size), name


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_mixup_draws_from_a_beta_distribution(alpha, rng):
    batch = 20
    x = rng.standard_normal((500 * batch, 1))
    expected, parts = batches_of(x, [Mixup(alpha)], batch)
    np.testing.assert_allclose(pass_through(x, Mixup(alpha), batch, dtype="float64"), expected, rtol=1e-12, atol=1e-12)
    other, share = np.array(parts).T
    assert scipy.stats.kstest(share, lambda s: 2 * scipy.stats.beta(alpha, alpha).cdf(s) - 1).pvalue > 1e-4
    distance = np.bincount((other - np.arange(len(x))).astype(int) % batch)
    assert distance[0] == 0
    assert scipy.stats.chisquare(distance[1:]).pvalue > 1e-4


@pytest.mark.parametrize("alpha", [1e-300, 1e-12, 1e12, 1e300])
def test_extreme_mixup(alpha, rng):
    x = rng.standard_normal((16, 3))
    y = pass_through(x, Mixup(alpha), 16, dtype="float64")
    expected = x if alpha < 1 else np.array([(x[b] + x[mixing(1.0, 16, 0, b)[0]]) / 2 for b in range(16)])
    np.testing.assert_allclose(y, expected, atol=1e-5)


# --- kernels ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize("n", [0, 1, 3, 16, 63, 64, 65, 127, 128, 129, 700])
def test_noise_kernel(isa, n, dtype, rng):
    x, check = guarded((n,), dtype)
    x[:] = given = rng.standard_normal(n).astype(dtype)
    testing.noise(isa, x, 0.7, **KEY)
    check()
    np.testing.assert_allclose(x, given + 0.7 * normal_numbers(n, **KEY), rtol=0, atol=3e-6)
    longer = np.concatenate([given, given])
    testing.noise(isa, longer, 0.7, **KEY)
    assert_same_bits(longer[:n], x)


@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize("n", [1, 2, 3, 17, 64])
def test_reverse_kernel(isa, n, dtype, rng):
    for items in (0, 1, 2, 3, 6, 31):
        x, check = guarded((items * n,), dtype)
        x[:] = given = rng.standard_normal(items * n).astype(dtype)
        testing.reverse(isa, x, n)
        check()
        assert_same_bits(x, np.ascontiguousarray(given.reshape(items, n)[::-1]).reshape(-1))


# --- mixup's targets -------------------------------------------------------------------------------------------------

def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("classes", [3, 40])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_mixed_labels(classes, kind, weighted, dtype, rng):
    """Loss, accuracy and one step of gradient descent, by hand."""
    n, rate = 24, 0.5
    x, labels = rng.standard_normal((n, 6)).astype(dtype), rng.integers(0, classes, n)
    one_hot = np.eye(classes)[labels]
    weight = rng.uniform(0, 2, n) if weighted else None
    model = nf.Sequential([nf.Dense(classes, activation="softmax")], input_shape=(6,), dtype=dtype.name, seed=SEED)
    model.compile(nf.SGD(rate), "cross_entropy", metrics=["accuracy", nf.metrics.TopKAccuracy(2), "mse"])
    before = [w.astype(np.float64) for w in model.get_weights()]
    history = model.fit(x, labels if kind == "labels" else one_hot, batch_size=n, shuffle=False, verbose=0,
                        sample_weight=weight, augment=[Mixup(1.0)]).history

    mixed, parts = batches_of(x, [Mixup(1.0)], n)
    target = np.array([share * one_hot[i] + (1 - share) * one_hot[other] for i, (other, share) in enumerate(parts)])
    p = softmax(mixed @ before[0] + before[1])
    share_of = np.ones(n) / n if weight is None else weight / weight.sum()
    loss = -(target * np.log(p)).sum(axis=1) @ share_of
    dz = (p - target) * share_of[:, None]
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    assert history["loss"][0] == pytest.approx(loss, rel=tolerance)
    assert history["accuracy"][0] == (p.argmax(axis=1) == labels).mean()
    rank = (p > p[np.arange(n), labels][:, None]).sum(axis=1)
    assert history["top_k_accuracy"][0] == pytest.approx((rank < 2).mean())
    assert history["mse"][0] == pytest.approx(((p - target) ** 2).mean(), rel=tolerance)
    for value, start, gradient in zip(model.get_weights(), before, (mixed.T @ dz, dz.sum(axis=0))):
        np.testing.assert_allclose(value, start - rate * gradient, rtol=0, atol=tolerance)

    # Labels are labels again afterwards: on the long way, the short way, and in evaluation.
    other = nf.Sequential([nf.Dense(classes, activation="softmax")], input_shape=(6,), dtype=dtype.name, seed=SEED)
    other.compile(nf.SGD(rate), "cross_entropy")
    other.set_weights(model.get_weights())
    assert model.evaluate(x, labels)["loss"] == other.evaluate(x, labels)["loss"]
    assert model.train_on_batch(x, labels)["loss"] == other.train_on_batch(x, labels)["loss"]
    model.compile(nf.SGD(rate), "cross_entropy")
    model.fit(x, labels, verbose=0, augment=Mixup(1.0))
    other.set_weights(model.get_weights())
    assert model.train_on_batch(x, labels) == other.train_on_batch(x, labels)
    assert_same_bits(model.get_weights()[0], other.get_weights()[0])


@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy", "custom"])
def test_mixed_rows(loss, rng):
    x, y = rng.standard_normal((10, 4)), rng.uniform(0, 1, (10, 3))
    function = (lambda t, p: (((p - t) ** 2).sum(axis=1), 2 * (p - t))) if loss == "custom" else loss
    activation = "sigmoid" if loss == "binary_cross_entropy" else None
    model = nf.Sequential([nf.Dense(3, activation=activation)], input_shape=(4,), dtype="float64", seed=SEED)
    model.compile(nf.SGD(0.1), function, metrics=["mae"])
    kernel, bias = model.get_weights()
    history = model.fit(x, y, batch_size=10, shuffle=False, verbose=0, augment=[Noise(0.1), Mixup(0.4)]).history
    mixed, parts = batches_of(x, [Noise(0.1), Mixup(0.4)], 10)
    t = np.array([share * y[i] + (1 - share) * y[other] for i, (other, share) in enumerate(parts)])
    p = mixed @ kernel + bias
    if activation:
        p = 1 / (1 + np.exp(-p))
        losses = -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum(axis=1)
    else:
        losses = ((p - t) ** 2).sum(axis=1)
    assert history["loss"][0] == pytest.approx(losses.mean(), rel=1e-6)
    assert history["mae"][0] == pytest.approx(abs(p - t).mean(), rel=1e-6)


def test_mixed_targets_with_channels_first(rng):
    x, y = rng.standard_normal((6, 2, 4, 5)), rng.standard_normal((6, 3, 4, 5))
    model = nf.Sequential([nf.Conv2D(3, 1)], input_shape=(2, 4, 5), data_format="channels_first", dtype="float64",
                          seed=SEED)
    model.compile(nf.SGD(1e-3), "squared_error")
    kernel = model.get_weights()[0][0, 0]
    loss = model.fit(x, y, batch_size=6, shuffle=False, verbose=0, augment=Mixup(1.0)).history["loss"][0]
    parts = batches_of(x, [Mixup(1.0)], 6)[1]
    mixed, t = (np.array([s * a[i] + (1 - s) * a[o] for i, (o, s) in enumerate(parts)]) for a in (x, y))
    expected = ((np.einsum("nchw,ck->nkhw", mixed, kernel) - t) ** 2).sum(axis=(1, 2, 3)).mean()
    assert loss == pytest.approx(expected, rel=1e-10)


def test_a_batch_of_one_mixes_with_nothing(rng):
    x, y = rng.standard_normal((5, 3)).astype(np.float32), np.array([0, 1, 2, 1, 0])
    weights = []
    for augment in (None, Mixup()):
        model = nf.Sequential([nf.Dense(3, activation="softmax")], input_shape=(3,), seed=SEED)
        model.compile("sgd", "cross_entropy")
        model.fit(x, y, batch_size=1, verbose=0, augment=augment)
        weights.append(model.get_weights())
    np.testing.assert_allclose(weights[0][0], weights[1][0], rtol=1e-6)


def test_class_weights_are_those_of_the_sample_itself(rng):
    x, y = rng.standard_normal((30, 4)), rng.integers(0, 3, 30)
    results = []
    for given in ({"class_weight": {0: 2.0, 1: 0.0}}, {"sample_weight": np.array([2.0, 0.0, 1.0])[y]}):
        model = nf.Sequential([nf.Dense(3, activation="softmax")], input_shape=(4,), seed=SEED)
        model.compile("adam", "cross_entropy")
        model.fit(x, y, batch_size=8, epochs=2, verbose=0, augment=Mixup(), **given)
        results.append(model.get_weights()[0])
    assert_same_bits(*results)


# --- the same bits ---------------------------------------------------------------------------------------------------

EVERY = [Flip(), Shift(1), Cutout(2), Noise(0.1), Mixup(0.5)]


def network(seed=SEED, **settings):
    layers = [nf.Conv2D(6, 3, activation="relu"), nf.Dropout(0.2), nf.Flatten(), nf.Dense(10, activation="softmax")]
    model = nf.Sequential(layers, input_shape=(8, 8, 1), seed=seed)
    model.compile(nf.Adam(0.01), "cross_entropy", metrics=["accuracy"], **settings)
    return model


def digits(n=203):
    (x, y), _ = nf.datasets.digits(flatten=False)
    return x[:n], y[:n]


def train(model, x=None, y=None, **settings):
    if x is None:
        x, y = digits()
    model.fit(x, y, **{"batch_size": 20, "epochs": 2, "verbose": 0, "augment": EVERY} | settings)
    return b"".join(w.tobytes() for w in model.get_weights())


def test_threads_do_not_matter():
    expected = train(network(n_threads=1))
    for threads in (2, 3):
        assert train(network(n_threads=threads)) == expected
    growing = network(n_threads=1)      # a thread's memory grows when samples are first mixed
    train(growing, augment=None)
    growing._use_threads(3)
    before = growing.clone()
    before._use_threads(1)
    assert train(growing) == train(before)


@pytest.mark.parametrize("stream", [False, True])
def test_going_on_from_a_checkpoint(stream, tmp_path):
    x, y = digits()
    if stream:
        np.save(tmp_path / "x.npy", x)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
    def checkpoint(name):
        return Checkpoint(tmp_path / name, every=4)

    expected = train(network(), x, y, epochs=3, callbacks=[checkpoint("a")])
    with pytest.raises(Killed):
        train(network(), x, y, epochs=3, callbacks=[checkpoint("b"), KillAfter(17)])
    again = train(network(n_threads=2), x, y, epochs=3, callbacks=[checkpoint("b")], resume=tmp_path / "b")
    assert again == expected
    for other in (None, EVERY[:-1], [Flip(), Shift(2), *EVERY[2:]]):
        with pytest.raises(ValueError, match="another run: data: augment"):
            train(network(), x, y, epochs=4, resume=tmp_path / "b", augment=other)


@pytest.mark.parametrize("block", [1, 8 << 20])
def test_streams_as_arrays(block, tmp_path, monkeypatch):
    monkeypatch.setattr("nnfast.streams.BLOCK_BYTES", block)
    x, y = digits()
    np.save(tmp_path / "x.npy", x)

    def plain():
        model = nf.Sequential([nf.Conv2D(6, 3, activation="relu"), nf.Flatten(), nf.Dense(10, activation="softmax")],
                              input_shape=(8, 8, 1), seed=SEED)
        model.compile(nf.Adam(0.01), "cross_entropy")
        return model

    expected = train(plain(), x, y)
    assert train(plain(), np.load(tmp_path / "x.npy", mmap_mode="r"), y) == expected
    assert train(plain(), Samples(x, y)) == expected
    in_order = train(plain(), x, y, shuffle=False)
    batches = lambda: ((x[i:i + 20], y[i:i + 20]) for i in range(0, len(x), 20))      # noqa: E731
    assert train(plain(), batches, batch_size=None) == in_order


def test_sparse_rows(rng):
    x, y = scipy.sparse.random(50, 20, 0.2, random_state=0, dtype=np.float32).tocsr(), rng.integers(0, 3, 50)

    def fresh():
        model = nf.Sequential([nf.Dense(3, activation="softmax")], input_shape=(20,), seed=SEED)
        model.compile("adam", "cross_entropy")
        return model

    augment = [Noise(0.1), Mixup()]
    assert train(fresh(), x, y, augment=augment) == train(fresh(), x.toarray(), y, augment=augment)


def test_many_at_once():
    x, y = digits()
    models = [network(seed) for seed in range(3)]
    nf.fit_many(models, x, y, n_threads=2, epochs=2, batch_size=20, augment=EVERY)
    for seed, model in enumerate(models):
        assert b"".join(w.tobytes() for w in model.get_weights()) == train(network(seed))


def test_callbacks_that_see_batches_change_nothing():
    assert train(network(), callbacks=[nf.LambdaCallback(on_batch_end=lambda batch, logs: None)]) == train(network())


# --- several inputs --------------------------------------------------------------------------------------------------

def test_several_inputs(rng):
    image, vector = nf.Input((6, 5, 2), name="image"), nf.Input((4,), name="vector")
    seen = Seen(), Seen()
    both = nf.Concatenate()([nf.Flatten()(seen[0].layer(image)), seen[1].layer(vector)])
    model = nf.Model([image, vector], nf.Dense(2)(both), seed=SEED, dtype="float64")
    model.compile("sgd", "squared_error")
    x = [rng.standard_normal((9, 6, 5, 2)), rng.standard_normal((9, 4))]
    y = rng.standard_normal((9, 2))
    augment = {"image": [Flip(), Shift(1)], "vector": [Noise(0.1)]}
    model.fit(x, y, batch_size=9, shuffle=False, verbose=0, augment=augment)
    images = np.array([augmented(row, augment["image"], 0, b) for b, row in enumerate(x[0])])
    vectors = np.array([augmented(row, augment["vector"], 0, b, which=1) for b, row in enumerate(x[1])])
    assert_same_bits(seen[0].take(), images)
    np.testing.assert_allclose(seen[1].take(), vectors, atol=1e-6)

    model.fit(x, y, batch_size=9, shuffle=False, verbose=0,
              augment=MappingProxyType({"vector": Mixup(1.0)}))
    parts = [mixing(1.0, 9, 1, b) for b in range(9)]
    for rows, given in zip(seen, x):
        expected = [share * given[b] + (1 - share) * given[other] for b, (other, share) in enumerate(parts)]
        np.testing.assert_allclose(rows.take(), expected, rtol=1e-12, atol=1e-12)
    for bad, message in ((Noise(1), r"2 inputs \(image, vector\); augment must be a dict"),
                         ({"picture": Flip()}, "unknown input 'picture'; inputs: image, vector"),
                         ({"image": Mixup(), "vector": [Mixup()]}, "several Mixups"),
                         ({"vector": Flip()}, r"Flip is for images .*input 'vector' of model has shape \(4,\)")):
        with pytest.raises(ValueError, match=message):
            model.fit(x, y, verbose=0, augment=bad)


# --- arguments -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: Flip(probability=1.5), ValueError, "Flip: probability must be a finite number at least 0 and at most 1"),
    (lambda: Flip(probability=-0.1), ValueError, "Flip: probability"),
    (lambda: Flip(probability=float("nan")), ValueError, "Flip: probability"),
    (lambda: Flip(probability="half"), TypeError, "Flip: probability must be a number, got str"),
    (lambda: Flip(horizontal=1), TypeError, "Flip: horizontal must be True or False"),
    (lambda: Flip(False, False), ValueError, "Flip: horizontal and vertical are both False"),
    (lambda: Shift(-1), ValueError, "Shift: pixels must be at least 0, got -1"),
    (lambda: Shift(1.5), TypeError, "Shift: pixels must be an integer, got float"),
    (lambda: Shift((1, 2, 3)), ValueError, r"Shift: pixels must be a number or \(height, width\)"),
    (lambda: Shift((1, "2")), TypeError, "Shift: pixels must be an integer"),
    (lambda: Shift(True), TypeError, "Shift: pixels"),
    (lambda: Cutout(0), ValueError, "Cutout: size must be at least 1"),
    (lambda: Cutout(None), TypeError, "Cutout: size must be an integer, got NoneType"),
    (lambda: Cutout(2, 2.0), ValueError, "Cutout: probability"),
    (lambda: Noise(-1), ValueError, "Noise: deviation must be a finite number at least 0"),
    (lambda: Noise(float("inf")), ValueError, "Noise: deviation"),
    (lambda: Noise([1.0]), TypeError, "Noise: deviation must be a number, got list"),
    (lambda: Mixup(0), ValueError, "Mixup: alpha must be a finite number above 0"),
    (lambda: Mixup(float("nan")), ValueError, "Mixup: alpha"),
    (lambda: nf.augment.Augmentation(), TypeError, "base class"),
    (lambda: get("rotate"), ValueError, "unknown augmentation 'rotate'"),
    (lambda: get("shift"), ValueError, "augmentation Shift needs pixels"),
])
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(("shape", "augment", "error", "message"), [
    ((64,), Flip(), ValueError, r"Flip is for images .*input 'input' of net has shape \(64,\)"),
    ((8, 8), [Shift(1)], ValueError, r"Shift is for images .*has shape \(8, 8\)"),
    ((64,), [Noise(0.1), Cutout(2)], ValueError, "Cutout is for images"),
    ((8, 8, 1), Shift(8), ValueError, "Shift: pixels=8 can leave nothing of the image"),
    ((8, 4, 4), [Shift((2, 5))], ValueError, r"Shift: pixels=\(2, 5\) can leave nothing .*shape \(8, 4, 4\)"),
    ((4, 8, 1), [Cutout(5)], ValueError, "Cutout: size=5 is larger than the image"),
    ((8, 8, 1), 4, TypeError, "augmentation must be a name, an instance or a subclass of Augmentation, got int"),
    ((8, 8, 1), [Flip(), nf.Dropout(0.5)], TypeError, "got Dropout"),
    ((8, 8, 1), [None], TypeError, "got NoneType"),
    ((8, 8, 1), ["mirror"], ValueError, "unknown augmentation 'mirror'"),
    ((8, 8, 1), [Mixup(), Mixup(0.1)], ValueError, "several Mixups"),
    ((8, 8, 1), {"images": Flip()}, ValueError, "unknown input 'images'; inputs: input"),
])
@pytest.mark.parametrize("built", [True, False])
def test_what_does_not_fit_changes_nothing(shape, augment, error, message, built, rng):
    x, y = rng.standard_normal((10, *shape)), rng.integers(0, 2, 10)
    model = nf.Sequential([nf.Flatten(), nf.Dense(2, activation="softmax")], name="net",
                          input_shape=shape if built else None)
    model.compile("sgd", "cross_entropy")
    before = model.get_weights() if built else None
    with pytest.raises(error, match=message):
        model.fit(x, y, verbose=0, augment=augment)
    assert model.built == built
    assert (model.iterations, model.epochs_trained, model.history) == (0, 0, None)
    if built:
        assert_same_bits(model.get_weights()[0], before[0])


def test_solvers_do_without(rng):
    model = nf.Sequential([nf.Dense(1)], input_shape=(3,))
    model.compile("sgd", "squared_error")
    with pytest.raises(ValueError, match="augment is for training without one"):
        model.fit(rng.standard_normal((9, 3)), np.zeros((9, 1)), solver="lbfgs", augment=Noise(1.0))


@pytest.mark.parametrize("nothing", [None, [], (), {}, {"input": []}])
def test_nothing_asked_for(nothing):
    assert train(network(), augment=nothing) == train(network(), augment=None)


def test_names_classes_and_configurations():
    expected = train(network(), augment=[Flip(), Mixup()])
    for given in (["flip", "mixup"], (Flip, Mixup), [Flip().to_config(), Mixup(0.2)], {"input": ["Flip", "mix_up"]}):
        assert train(network(), augment=given) == expected
    assert train(network(), augment="flip") == train(network(), augment=Flip().to_config())
    for entry in (*EVERY, Shift((0, 4)), Cutout((1, 2), 0.5)):
        assert get(entry.to_config()) == entry
        assert pickle.loads(pickle.dumps(entry)) == entry
        assert repr(entry) == repr(get(entry.to_config()))
    assert repr(Shift((0, 4))) == "Shift(pixels=(0, 4))"
    with pytest.raises(AttributeError, match=r"Noise\.deviation is fixed"):
        EVERY[3].deviation = 2.0


# --- training --------------------------------------------------------------------------------------------------------

def test_digits_are_still_learnt():
    (x, y), (x_test, y_test) = nf.datasets.digits(flatten=False)
    pixels = (x * 16).astype(np.uint8)
    layers = [nf.Rescale(1 / 16), nf.Conv2D(16, 3, activation="relu"), nf.MaxPool2D(2), nf.Flatten(),
              nf.Dense(64, activation="relu"), nf.Dense(10, activation="softmax")]
    model = nf.Sequential(layers, input_shape=(8, 8, 1), seed=0)
    model.compile(nf.Adam(3e-3), "cross_entropy", metrics=["accuracy"])
    history = model.fit(pixels, y, epochs=25, verbose=0, augment=[Shift(1), Cutout(2), Noise(1.0), Mixup(0.2)]).history
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    assert model.evaluate((x_test * 16).astype(np.uint8), y_test)["accuracy"] > 0.96


def test_shifts_teach_what_is_not_in_the_data():
    """Few digits, tested where they have been moved: a network that has met moved ones knows more of these."""
    (x, y), (x_test, y_test) = nf.datasets.digits(flatten=False)
    moved_test = np.roll(x_test, 1, axis=2)
    moved_test[:, :, 0] = 0
    scores = []
    for augment in (None, Shift(1)):
        model = network()
        model.fit(x[:500], y[:500], epochs=30, verbose=0, augment=augment)
        scores.append(model.evaluate(moved_test, y_test)["accuracy"])
    assert scores[1] > scores[0] + 0.1


def test_estimators():
    from sklearn.base import clone

    (x, y), (x_test, y_test) = nf.datasets.digits()

    def cnn(n_features, n_outputs):
        return nf.Sequential([nf.Conv2D(8, 3, activation="relu"), nf.Flatten(),
                              nf.Dense(n_outputs, activation="softmax")], input_shape=(8, 8, 1))

    net = nf.sklearn.NNClassifier(model=cnn, learning_rate_init=0.01, max_iter=15, random_state=0,
                                  augment=[Shift(1), Mixup(0.2)], tol=0)
    with pytest.warns(UserWarning, match="max_iter"):
        net.fit(x, y)
    assert net.score(x_test, y_test) > 0.9
    assert clone(net).augment == [Shift(1), Mixup(0.2)]
    with pytest.raises(ValueError, match="Shift is for images"):
        nf.sklearn.NNClassifier((8,), augment=Shift(1)).fit(x, y)
    with pytest.raises(ValueError, match="augment would have no effect"):
        nf.sklearn.NNRegressor((8,), solver="lbfgs", augment=Noise(0.1)).fit(x, y)
