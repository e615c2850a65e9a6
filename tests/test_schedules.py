"""Learning-rate schedules: against torch.optim.lr_scheduler, at their ends, and as data."""

import json
from pathlib import Path

import numpy as np
import pytest

from nnfast import optimizers, schedules
from nnfast.schedules import Constant, Cosine, Exponential, InverseTime, OneCycle, Schedule, Step, WarmUp

ORACLE = np.load(Path(__file__).parent / "oracles" / "schedules.npz")
CONFIGS = json.loads(str(ORACLE["configs"]))

ALL = [
    Constant(0.1),
    Step(0.5, 3, 0.5),
    Exponential(0.5, 0.9, 4),
    Cosine(0.5, 9, 0.1),
    InverseTime(0.5, 0.3),
    WarmUp(5, Cosine(0.5, 9)),
    WarmUp(5, 0.3, start=0.1),
    OneCycle(0.5, 20),
    OneCycle(0.5, 20, pct_start=0.0),
    OneCycle(0.5, 20, pct_start=1.0),
    OneCycle(0.5, 1),
]


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_pytorch(name):
    expected = ORACLE[name]
    ours = schedules.get(CONFIGS[name]).values(0, len(expected))
    np.testing.assert_allclose(ours, expected, rtol=1e-11)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_any_part_has_the_same_rates(schedule):
    whole = schedule.values(0, 50)
    assert whole.dtype == np.float64 and whole.shape == (50,)
    assert np.isfinite(whole).all() and (whole >= 0).all()
    np.testing.assert_array_equal(schedule.values(7, 20), whole[7:27])
    assert [schedule(step) for step in (0, 6, 49)] == [whole[0], whole[6], whole[49]]
    assert schedule.values(3, 0).shape == (0,)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_survives_json(schedule):
    again = schedules.get(json.loads(json.dumps(schedule.to_config())))
    assert again == schedule and repr(again) == repr(schedule)
    np.testing.assert_array_equal(again.values(0, 30), schedule.values(0, 30))


def test_beyond_the_last_step():
    np.testing.assert_array_equal(Cosine(0.5, 10, 0.1).values(10, 3), [0.1] * 3)
    np.testing.assert_allclose(OneCycle(1.0, 10).values(9, 3), [1 / 25 / 1e4] * 3, rtol=1e-12)
    assert OneCycle(1.0, 10).values(0, 10).max() == 1.0


def test_warm_up_is_a_line_then_the_other_from_its_beginning():
    then = Step(0.8, 2, 0.5)
    np.testing.assert_allclose(WarmUp(4, then).values(0, 8), [0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.4, 0.4])


def test_of_a_function():
    calls = []

    def rate(step):
        calls.append(step)
        return 1.0 / (1 + step)

    np.testing.assert_array_equal(schedules.get(rate).values(2, 3), [1 / 3, 1 / 4, 1 / 5])
    assert calls == [2, 3, 4] and all(type(step) is int for step in calls)
    np.testing.assert_array_equal(WarmUp(2, schedules.get(rate)).values(0, 4), [0, 0.5, 1, 0.5])


def test_of_a_user_class():
    class Sqrt(Schedule):
        def rates(self, t):
            return 0.1 / np.sqrt(1 + t)

    np.testing.assert_allclose(optimizers.SGD(Sqrt()).learning_rates(0, 4), 0.1 / np.sqrt([1, 2, 3, 4]))


@pytest.mark.parametrize("make, text", [
    (lambda: Constant(0), "Constant: rate must be a finite number above 0, got 0"),
    (lambda: Step(0.1, 0), "Step: step_size must be at least 1, got 0"),
    (lambda: Step(0.1, 5, gamma=-1), "Step: gamma"),
    (lambda: Exponential(0.1, 0.0), "Exponential: decay_rate"),
    (lambda: Exponential(float("inf"), 0.9), "Exponential: initial"),
    (lambda: Cosine(0.1, 10, final=-0.1), "Cosine: final"),
    (lambda: InverseTime(0.1, -1), "InverseTime: decay_rate"),
    (lambda: OneCycle(0.1, 10, pct_start=1.5), "OneCycle: pct_start"),
    (lambda: WarmUp(0, 0.1), "WarmUp: steps"),
    (lambda: WarmUp(3, -0.1), "WarmUp: then"),
    (lambda: schedules.get("cosin"), "did you mean 'cosine'"),
    (lambda: schedules.get("cosine"), "needs initial, total_steps"),
    (lambda: schedules.get({"class": "Cosine", "config": {"rate": 1}}), "no argument 'rate'"),
    (lambda: schedules.get({"class": "Cosine"}), "expected"),
    (lambda: schedules.get(-0.5), "learning_rate"),
])
def test_refuses_values(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize("make, text", [
    (lambda: Constant("0.1"), "Constant: rate must be a number, got str: '0.1'"),
    (lambda: Constant(True), "must be a number, got bool"),
    (lambda: Step(0.1, 2.5), "Step: step_size must be an integer, got float: 2.5"),
    (lambda: schedules.get([0.1]), "must be a number, got list"),
    (lambda: schedules.get(Cosine), "must be a number, got type"),
    (lambda: schedules.get(lambda step: None)(0), "rate of step 0 must be a number"),
])
def test_refuses_types(make, text):
    with pytest.raises(TypeError, match=text):
        make()
