"""Operations on images take a few samples at a time: results do not depend on how many."""
import numpy as np
import pytest
from chain import run
from check import assert_close
from fused import plan_of, sequential

import nnfast as nf

SHAPE, CLASSES = (30, 28, 12), 3    # a sample's numbers fill a good part of a chunk

NETS = {
    "normalized": lambda: [nf.Conv2D(16, 3, use_bias=False), nf.BatchNorm(), nf.Activation("relu"),
                           nf.DepthwiseConv2D(3, padding="same", use_bias=False), nf.BatchNorm(),
                           nf.Activation("elu"), nf.Conv2D(24, 1), nf.MaxPool2D(3, 2)],
    "pooled": lambda: [nf.Conv2D(20, 5, activation="gelu"), nf.MaxPool2D(2), nf.ZeroPadding2D(1),
                       nf.Conv2D(16, 3, activation="tanh"), nf.AvgPool2D(2)],
    "a large kernel between": lambda: [nf.Conv2D(16, 3, activation="relu"), nf.Conv2D(96, 5, activation="relu"),
                                       nf.AvgPool2D(2), nf.Activation("sigmoid")],
}


def by_samples(model, program):
    """(samples at a time, names) of the stages that go by samples; 0: all at once."""
    found = []
    for by, work in plan_of(model).stages(program):
        if by.endswith("samples"):
            number = {"samples": "0", "single samples": "1"}.get(by, by.split()[0])
            found.append((int(number), [name for _, name in work]))
    return found


@pytest.mark.parametrize("name", NETS)
def test_equals_the_reference(name):
    model = sequential([*NETS[name](), nf.GlobalAvgPool(), nf.Dense(CLASSES, activation="softmax")], SHAPE, "float64",
                       seed=0)
    model.compile(nf.SGD(0.01), "cross_entropy", n_threads=1)
    n = 7
    assert 0 < min(number for number, _ in by_samples(model, "training") if number) < n
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((n, *SHAPE)), rng.integers(0, CLASSES, n)
    _, _, total, grads, _, _ = run(model, x, np.eye(CLASSES)[labels], "softmax_cross_entropy", training=True)
    loss, ours = model.gradients(x, labels, training=True)
    assert np.isclose(loss, total, rtol=1e-12)
    for at, expected in grads.items():
        assert_close(ours[at], expected, 100_000, np.abs(expected).max(), at)


def branches(dtype="float64"):
    x = nf.Input((24, 24, 8))
    h = nf.Conv2D(8, 3, padding="same", activation="relu")(x)
    h = nf.Activation("relu")(nf.Add()([x, nf.Conv2D(8, 3, padding="same")(h), h]))
    h = nf.Concatenate()([h, nf.AvgPool2D(3, 1, "same")(h), nf.MaxPool2D(3, 1, "same")(x)])
    h = nf.Dropout(0.3)(nf.Rescale(0.5, 0.1)(h))
    y = nf.Dense(4, activation="softmax")(nf.GlobalMaxPool()(nf.Conv2D(12, 3, stride=2)(h)))
    return nf.Model(x, [y, nf.GlobalAvgPool()(h)], dtype=dtype)


def test_a_batch_is_the_mean_of_its_samples():
    model = branches()
    model.compile("sgd", ["cross_entropy", "squared_error"], n_threads=1)
    rng = np.random.default_rng(1)
    n = 9
    x, labels, values = rng.standard_normal((n, 24, 24, 8)), rng.integers(0, 4, n), rng.standard_normal((n, 32))[:, :24]
    assert any(0 < number < n for number, _ in by_samples(model, "training"))
    loss, together = model.gradients(x, [labels, values])
    single = [model.gradients(x[i:i + 1], [labels[i:i + 1], values[i:i + 1]]) for i in range(n)]
    assert np.isclose(loss, np.mean([value for value, _ in single]), rtol=1e-13)
    for name, expected in together.items():
        mean = np.mean([gradients[name] for _, gradients in single], axis=0)
        assert np.allclose(expected, mean, rtol=1e-11, atol=1e-13 * np.abs(mean).max())
    outputs = model.predict(x)
    for i in range(n):
        for output, own in zip(outputs, model.predict(x[i:i + 1])):
            assert (output[i] == own[0]).all()


def test_numbers_follow_the_size_of_a_sample():
    """Up to a chunk's memory; kernels and dense layers that want many rows take them all."""
    found = {}
    for side in (16, 32, 128):
        model = nf.Sequential([nf.Conv2D(16, 1, name="a"), nf.AvgPool2D(2, name="b"), nf.Conv2D(512, 5, name="large"),
                               nf.Conv2D(8, 1, name="c"), nf.GlobalAvgPool(name="d"),
                               nf.Dense(2, name="dense")], input_shape=(side, side, 4))
        model.compile("sgd", "squared_error")
        stages = by_samples(model, "inference")
        assert [names for _, names in stages] == [["a", "b"], ["large"], ["c", "d"], ["dense"]]
        found[side] = [number for number, _ in stages]
        assert found[side][1] == found[side][3] == 0
    assert found[16][0] > found[32][0] > found[128][0] == 1 and found[16][2] > found[128][2]
