"""How a plan finds out whether a team of threads or one alone is faster: by the times of simulated steps."""
import numpy as np
import pytest
from nnfast._core.pace import simulate


def time_of(steps, ways):
    return sum(step[alone] for step, alone in zip(steps, ways))


@pytest.mark.parametrize("step", [5e-6, 1e-4, 2e-3])
@pytest.mark.parametrize("ratio", [0.5, 0.8, 1.5, 10])
def test_nearly_all_steps_go_the_faster_way(step, ratio):
    steps = [(step * ratio, step)] * int(2 / step)      # ratio: a team's time to one thread's
    least = len(steps) * min(steps[0])
    assert time_of(steps, simulate(steps)) < 1.02 * least + 30 * max(steps[0]) + 0.01 * (ratio > 1) * ratio


def test_the_first_steps_belong_to_the_team():
    assert not any(simulate([(1e-4, 2e-4)] * 45))


@pytest.mark.parametrize("before, after", [((1e-4, 2e-4), (1e-3, 2e-4)), ((5e-4, 2e-4), (1e-4, 2e-4))])
def test_a_change_is_noticed(before, after):
    """A team that becomes slower than one thread within a few hundredths of a second, one that becomes faster within
    the longest time between trials."""
    steps = [before] * 20000 + [after] * 20000
    ways = simulate(steps)
    best = before[1] < before[0], after[1] < after[0]
    assert np.mean(np.array(ways[10000:20000]) == best[0]) > 0.97
    changed = 20000 + next(i for i in range(20000) if ways[20000 + i:20100 + i] == [best[1]] * 100)
    assert time_of(steps[20000:changed], ways[20000:changed]) < (0.05 if best[1] else 1.5)
    assert np.mean(np.array(ways[changed:]) == best[1]) > 0.97


def test_one_disturbed_step_changes_nothing_for_long():
    steps = [(1e-4, 2e-4)] * 10000 + [(0.05, 0.05)] + [(1e-4, 2e-4)] * 10000
    assert np.mean(simulate(steps)[10001:]) < 0.02


def test_long_steps_are_not_tried_alone():
    assert not any(simulate([(0.05, 0.04)] * 500, work=1e9))


@pytest.mark.parametrize("strange", [0.0, -5.0, -1000.0, 1e6])
def test_a_clock_that_was_set_does_no_harm(strange):
    steps = [(1e-4, 2e-4)] * 5000 + [(strange, strange)] + [(1e-4, 2e-4)] * 90000
    ways = np.array(simulate(steps))
    assert ways[5001:].mean() < 0.02 and ways[5001:].any()


def test_the_next_plan_knows_what_the_one_before_found_out():
    """Many live for some milliseconds only."""
    steps = [(5e-3, 1e-4)] * 100
    assert not all(simulate(steps))
    assert all(simulate(steps, first=False))


def test_the_first_step_does_not_count():
    """Its memory is new and its data are far away."""
    assert np.mean(simulate([(0.02, 0.02)] + [(2e-3, 4e-3)] * 1000)) < 0.02
