"""Aggregates over runs and tasks: those of rliable, and intervals that cover as they say."""

from collections.abc import Callable

import numpy as np
import pytest
from rliable import library, metrics

from innerloop.actors.aggregate import (
    interval,
    iqm,
    mean,
    median,
    optimality_gap,
    percentiles,
    probability_of_improvement,
    profile,
    resamples,
)

SHAPES = [(1, 1), (5, 1), (1, 7), (3, 10), (5, 26), (10, 1_000)]
SAME = {
    "mean": (mean, metrics.aggregate_mean),
    "median": (median, metrics.aggregate_median),
    "iqm": (iqm, metrics.aggregate_iqm),
    "optimality gap": (optimality_gap, metrics.aggregate_optimality_gap),
}


def scores(shape: tuple[int, int], seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Lopsided, and some of them the same."""
    return np.round(scale * np.random.default_rng(seed).gamma(1.5, size=shape), 2)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("ours", "theirs"), SAME.values(), ids=SAME)
def test_an_aggregate_is_rliables(
    ours: Callable[..., float], theirs: Callable[..., float], shape: tuple[int, int]
) -> None:
    for seed in range(5):
        given = scores(shape, seed) - 0.5
        assert ours(given) == pytest.approx(float(theirs(given)), rel=0, abs=1e-9)


@pytest.mark.parametrize("goal", [-1.0, 0.0, 0.7, 30.0])
def test_the_gap_to_any_goal_is_rliables(goal: float) -> None:
    given = scores((5, 26))
    expected = float(metrics.aggregate_optimality_gap(given, goal))
    assert optimality_gap(given, goal) == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("runs", [1, 4])
def test_the_probability_of_improvement_is_rliables(shape: tuple[int, int], runs: int) -> None:
    ones, others = scores(shape), scores((runs, shape[1]), seed=1, scale=0.8)
    expected = float(metrics.probability_of_improvement(ones, others))
    assert probability_of_improvement(ones, others) == pytest.approx(expected, rel=0, abs=1e-9)
    assert probability_of_improvement(ones, ones) == pytest.approx(0.5)
    assert probability_of_improvement(ones, others) + probability_of_improvement(others, ones) == pytest.approx(1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_performance_profile_is_rliables(shape: tuple[int, int]) -> None:
    given, thresholds = scores(shape), np.round(np.linspace(-0.5, 8, 41), 2)  # some of them are scores
    expected = library.score_distributions(given, thresholds)
    np.testing.assert_allclose(profile(given, thresholds), expected, rtol=0, atol=1e-9)


class AsDrawn:
    """A generator whose whole numbers are those that rliable has drawn."""

    def __init__(self, drawn: list[np.ndarray]) -> None:
        self._drawn = iter(drawn)

    def integers(self, most: int, size: object) -> np.ndarray:
        return next(self._drawn)


@pytest.mark.parametrize("over_tasks", [False, True])
def test_an_interval_is_rliables_of_the_same_draws(over_tasks: bool) -> None:
    given, reps = scores((5, 26)), 200
    drawn: list[np.ndarray] = []

    class Watched(library.StratifiedBootstrap):
        def update_indices(self) -> tuple[np.ndarray, ...]:
            found = super().update_indices()
            drawn.extend([found[1].reshape(-1), found[0]] if over_tasks else [found[0]])
            return found

    np.random.seed(0)  # noqa: NPY002 - what rliable draws from
    theirs = Watched(given, task_bootstrap=over_tasks).conf_int(metrics.aggregate_iqm, reps=reps, method="percentile")
    rng: object = AsDrawn(drawn)
    found = [iqm(each) for (each,) in resamples([given], reps, rng, over_tasks=over_tasks)]  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(percentiles(np.array(found)), theirs.reshape(-1), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("runs", "least"), [(3, 0.65), (5, 0.78), (10, 0.86), (30, 0.91)])
def test_intervals_over_runs_cover_as_is_said(runs: int, least: float) -> None:
    """Of normal scores on a single task; the percentile bootstrap of few is too narrow, as everybody's is."""
    rng, covered, repeats = np.random.default_rng(0), 0, 400
    for repeat in range(repeats):
        found = interval(mean, rng.normal(3, 2, (runs, 1)), over_tasks=False, count=200, seed=repeat)
        covered += found.low <= 3 <= found.high
    assert least <= covered / repeats <= 0.97


def test_tasks_are_resampled_where_others_are_meant() -> None:
    """Runs that agree about tasks that differ: nothing is uncertain of these tasks, and much of others."""
    given = np.tile(np.arange(20.0), (5, 1))
    within, beyond = (interval(mean, given, over_tasks=each) for each in (False, True))
    assert within.low == within.high == within.mean == 9.5
    error = given[0].std() / 20**0.5
    assert beyond.high - beyond.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_two_algorithms_are_resampled_on_the_same_tasks() -> None:
    task = np.arange(50.0)
    ones, others = np.tile(task + 1, (3, 1)), np.tile(task, (4, 1))
    found = interval(lambda a, b: float((a.mean(0) - b.mean(0)).mean()), ones, others)
    assert found.low == pytest.approx(1)
    assert found.high == pytest.approx(1)
