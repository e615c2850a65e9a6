"""Training learns the same as PyTorch: equal first weights and batches give equal losses, step for step."""

import json
from pathlib import Path

import numpy as np
import pytest

import nnfast as nf
from nnfast import losses, optimizers

ORACLE = np.load(Path(__file__).parent / "oracles" / "curves.npz")
SPECS = json.loads(str(ORACLE["specs"]))


class Problem:
    """A stored network with its data; see oracles/make_curves.py."""

    def __init__(self, name, dtype, n_threads=None):
        self.spec = spec = SPECS[name]
        self.name = name
        depth = len(spec["layers"])
        layers = [
            nf.Dense(units, activation=activation, kernel_regularizer=nf.L1L2(l1, l2) if l1 or l2 else None)
            for (units, activation), l1, l2 in zip(
                spec["layers"], spec.get("l1", [0.0] * depth), spec.get("l2", [0.0] * depth)
            )
        ]
        self.model = nf.Sequential(layers, input_shape=(spec["inputs"],), dtype=dtype)
        self.model.compile(
            optimizer=optimizers.get(dict(zip(("class", "config"), spec["optimizer"]))),
            loss=losses.get(dict(zip(("class", "config"), spec["loss"]))),
            n_threads=n_threads,
        )
        scale = float(ORACLE["weight_scale"])
        self.model.set_weights([self.stored(f"{kind}{i}") / scale for i in range(depth) for kind in ("kernel", "bias")])
        self.x = self.stored("x") / float(ORACLE["scale"])
        self.t = self.stored("t").astype(np.int64)
        if self.t.ndim > 1 and spec["loss"][0] != "BinaryCrossEntropy":
            self.t = self.t / float(ORACLE["scale"])
        elif self.t.ndim == 1 and spec["loss"][0] != "CrossEntropy":
            self.t = np.eye(spec["layers"][-1][0])[self.t]
        self.weight = self.stored("weight").astype(float) if spec.get("weighted") else None

    def stored(self, key):
        return ORACLE[f"{self.name}/{key}"]

    def batches(self):
        """The sample indices of each step."""
        order, n, size = self.stored("order").astype(np.intp), self.spec["samples"], self.spec["batch"]
        for epoch in range(0, len(order), n):
            rows = order[epoch : epoch + n]
            yield from (rows[i : i + size] for i in range(0, len(rows), size))

    def weights_of(self, rows):
        return None if self.weight is None else self.weight[rows]

    def train_step_by_step(self):
        return np.array([
            self.model.train_on_batch(self.x[rows], self.t[rows], sample_weight=self.weights_of(rows))["loss"]
            for rows in self.batches()
        ])


@pytest.mark.parametrize("name", SPECS)
def test_float64(name):
    problem = Problem(name, "float64")
    ours, expected = problem.train_step_by_step(), problem.stored("losses64")
    assert len(ours) == 200
    np.testing.assert_allclose(ours, expected, rtol=1e-9)
    kernel, bias = problem.model.get_weights()[-2:]
    np.testing.assert_allclose(kernel, problem.stored("last_kernel"), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(bias, problem.stored("last_bias"), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", SPECS)
def test_float32(name):
    problem = Problem(name, "float32")
    ours, expected = problem.train_step_by_step(), problem.stored("losses32")
    np.testing.assert_allclose(ours[:20], expected[:20], rtol=1e-5)
    np.testing.assert_allclose(ours[-20:], expected[-20:], rtol=0.02)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_fit_is_the_same_steps(name, n_threads):
    """`fit` gets there with whole epochs in one call, for any number of threads."""
    problem = Problem(name, "float64", n_threads)
    spec, order = problem.spec, problem.stored("order").astype(np.intp)
    losses64, sizes = problem.stored("losses64"), [len(rows) for rows in problem.batches()]
    weights = [1.0 * size if problem.weight is None else problem.weight[rows].sum()
               for size, rows in zip(sizes, problem.batches())]
    step = 0
    for start in range(0, len(order), spec["samples"]):
        rows = order[start : start + spec["samples"]]
        steps = -(-len(rows) // spec["batch"])
        history = problem.model.fit(
            problem.x[rows], problem.t[rows], sample_weight=problem.weights_of(rows), batch_size=spec["batch"],
            epochs=1, shuffle=False, verbose=0,
        )
        here = slice(step, step + steps)
        assert history.history["loss"] == [
            pytest.approx(np.average(losses64[here], weights=weights[here]), rel=1e-9)
        ]
        step += steps
    assert step == 200
    np.testing.assert_allclose(problem.model.get_weights()[-2], problem.stored("last_kernel"), rtol=1e-7, atol=1e-9)
