"""Intervals of means over tasks: how often they cover, and that a task counts once however often it was played."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from innerloop.actors.intervals import FEW, MANY, Interval, by_task, intervals, over_seeds

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from intervals import RETURNS

REPEATED = 1_000
"""Simulated evaluations of each kind."""
STATED = {10: 0.89, 40: 0.925, 200: 0.935, 1_000: 0.94}
"""The least coverage that is stated, by the number of tasks (benchmarks/results/intervals)."""


@pytest.mark.parametrize("kind", RETURNS)
@pytest.mark.parametrize("tasks", STATED)
def test_an_interval_covers_the_mean_as_often_as_is_stated(tasks: int, kind: str) -> None:
    draw, mean = RETURNS[kind]
    found = intervals(draw(np.random.default_rng(tasks), (tasks, REPEATED)))
    covered = np.mean([each.low <= mean <= each.high for each in found])
    error = (0.05 * 0.95 / REPEATED) ** 0.5
    assert STATED[tasks] - 3 * error <= covered <= 0.99


def test_it_is_the_bootstrap_t_of_all_resamples() -> None:
    """Efron & Tibshirani, chapter 12.5, resample by resample."""
    samples, n = np.random.default_rng(3).exponential(5, (60, 4)), 60
    rng, found = np.random.default_rng(0), []
    for _ in range(1_000):
        # `intervals` draws counts; a resample with these counts
        resample = samples[np.repeat(np.arange(n), np.bincount(rng.integers(n, size=n), minlength=n))]
        found.append((resample.mean(0) - samples.mean(0)) / (resample.std(0, ddof=1) / n**0.5))
    low, high = np.quantile(found, [0.025, 0.975], axis=0)
    error = samples.std(0, ddof=1) / n**0.5
    for index, interval in enumerate(intervals(samples)):
        assert interval.mean == samples.mean(0)[index]
        assert interval.low == pytest.approx(samples.mean(0)[index] - high[index] * error[index], rel=1e-9)
        assert interval.high == pytest.approx(samples.mean(0)[index] - low[index] * error[index], rel=1e-9)


@pytest.mark.parametrize("tasks", [2, FEW - 1, MANY])
def test_of_few_and_of_many_tasks_it_is_students(tasks: int) -> None:
    samples = np.random.default_rng(1).normal(size=(tasks, 1))
    [found] = intervals(samples)
    expected = stats.t.interval(0.95, tasks - 1, samples.mean(), samples.std(ddof=1) / tasks**0.5)
    np.testing.assert_allclose((found.low, found.high), expected, rtol=1e-9)


@pytest.mark.parametrize("tasks", [1, 2, 10, 1_000])
def test_the_interval_of_one_number_over_and_over_is_that_number(tasks: int) -> None:
    assert intervals(np.full((tasks, 2), 0.5)) == [Interval(0.5, 0.5, 0.5)] * 2


def test_one_task_that_differs_from_all_others_gives_a_finite_interval() -> None:
    [found] = intervals(np.eye(12, 1))
    assert np.isfinite([found.low, found.high]).all()
    assert found.low < found.mean < found.high


def test_repeats_of_a_task_make_no_narrower_interval() -> None:
    """Twenty tasks, each played a hundred times: 95 of 100 times the mean of all tasks is in the interval."""
    rng, covered = np.random.default_rng(0), []
    for _ in range(200):
        keys = np.repeat(np.arange(20), 100)
        trials = rng.normal(0, 1, 20)[keys] + rng.normal(0, 0.3, 2_000)
        [once] = intervals(by_task(keys, trials[:, None]))
        covered.append(once.low <= 0 <= once.high)
    assert 0.9 <= np.mean(covered) <= 0.99


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("apart", [0.0, 0.1, 1.0])
def test_over_seeds_it_covers_the_mean_of_all_seeds_and_tasks(seeds: int, apart: float) -> None:
    """Runs whose true means differ by `apart` play the same 40 tasks; what they earn has noise of its own."""
    rng, covered = np.random.default_rng(seeds), []
    for _ in range(1_000):
        returns = rng.normal(0, 1, 40) + apart * rng.normal(0, 1, (seeds, 1)) + rng.normal(0, 0.5, (seeds, 40))
        error = returns.std(1, ddof=1) / 40**0.5
        low, high = (returns.mean(1) + sign * stats.t.ppf(0.975, 39) * error for sign in (-1, 1))
        every = over_seeds([Interval(*map(float, each)) for each in zip(returns.mean(1), low, high, strict=True)])
        assert every.mean == pytest.approx(returns.mean())
        covered.append(every.low <= 0 <= every.high)
    assert np.mean(covered) >= 0.93


def test_over_seeds_that_agree_it_is_that_over_tasks() -> None:
    assert over_seeds([Interval(2.0, 1.5, 3.0)] * 3) == Interval(2.0, 1.5, 3.0)


def test_the_mean_of_a_task_is_over_the_trials_that_have_it() -> None:
    keys, nan = np.array([1, 0, 1, 2, 1]), np.nan
    found = by_task(keys, np.array([[1, nan], [2, 5], [4, 3], [7, nan], [nan, 4]]))
    np.testing.assert_array_equal(found, [[2, 5], [2.5, 3.5], [7, nan]])
