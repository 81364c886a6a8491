"""Confidence intervals of a mean over tasks.

A task is the unit: how often it was played does not make more of it, so trials are averaged by task first. The interval
is the bootstrap-t's (Efron & Tibshirani 1993, chapter 12.5), which takes the skewness of returns into account: each
resample of the tasks gives a mean in units of its own standard error, and quantiles of that take the place of
Student's. It covers the mean in at least 89 % of all cases at 10 tasks, in 92.5 % at 40, in 93.5 % at 200, in 94 % at
1,000, also where returns are very skewed (`benchmarks/results/intervals`).

Fewer than `FEW` different tasks are too few to say anything of others: the interval is Student's then, wide, and right
only for returns that are normally distributed among tasks; whoever shows it says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

FEW = 10
"""Different tasks below which an interval is not to be relied on."""
MANY = 1_000
"""Different tasks from which on Student's interval covers as often as the bootstrap's, at a hundredth of its cost."""
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over tasks and its 95 % interval, in the task's units."""

    mean: float
    low: float
    high: float


def intervals(samples: np.ndarray, resamples: int = 1_000) -> list[Interval]:
    """Mean and 95 % interval of every column.

    Args:
        samples: [tasks, columns], one row for each different task.
        resamples: bootstrap replications.
    """
    n, tail = len(samples), (1 - LEVEL) / 2
    mean = samples.mean(0)
    if n < 2:
        return [Interval(*[float(each)] * 3) for each in mean]
    error = np.array([column.std(ddof=1) for column in samples.T]) / n**0.5
    if n < FEW or n >= MANY:
        low, high = stdtrit(n - 1, [tail, 1 - tail])
    else:
        low, high = _studentised_quantiles(samples - mean, resamples, tail)
    return [Interval(*map(float, column)) for column in zip(mean, mean - high * error, mean - low * error, strict=True)]


def over_seeds(found: Sequence[Interval]) -> Interval:
    """The mean over runs that have played the same tasks, with an interval over seeds and tasks.

    Its half widths are two, added in squares: Student's of the runs' means, and that over tasks, which more runs on the
    same tasks do not make smaller (the root mean square of those of the runs).

    Args:
        found: of each run, at least 2; over tasks.
    """
    means = np.array([each.mean for each in found])
    n = len(means)
    seeds = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * means.std(ddof=1) / n**0.5
    below, above = (
        float(np.sqrt(seeds**2 + np.mean(np.square(means - [getattr(each, bound) for each in found]))))
        for bound in ("low", "high")
    )
    mean = float(means.mean())
    return Interval(mean, mean - below, mean + above)


def _studentised_quantiles(centred: np.ndarray, resamples: int, tail: float) -> np.ndarray:
    """The quantiles [2, columns] of resampled means in units of their own standard errors."""
    n, rng = len(centred), np.random.default_rng(0)
    # Resampling n tasks with replacement is weighting each by how often it was drawn.
    weights = np.stack([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(resamples)])
    sums = weights @ np.concatenate([centred, centred**2], 1) / n
    shift, square = np.split(sums, 2, 1)
    error = np.sqrt(np.maximum(square - shift**2, 0) / (n - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        studentised = np.where(error > 0, shift / error, np.where(shift == 0, 0.0, np.sign(shift) * np.inf))
    # Where hardly a task differs from the others, whole resamples are alike; the largest of the others stands for them.
    finite = np.where(np.isfinite(studentised), studentised, np.nan)
    most = np.nanmax(np.abs(finite), 0)
    return np.quantile(np.clip(studentised, -most, most), [tail, 1 - tail], axis=0)


def by_task(keys: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """The mean of each different task, [tasks, columns]; NaN where all of its samples are. Where all are of different
    tasks, the samples as they are.

    Args:
        keys: int64 [N], which task a sample is of, from 0 on.
        samples: [N, columns], NaN where there is none.
    """
    if keys.max() + 1 == len(samples):
        return samples
    there = ~np.isnan(samples)
    sums, counts = (
        np.stack([np.bincount(keys, column, keys.max() + 1) for column in array.T], 1)
        for array in (np.where(there, samples, 0.0), there.astype(np.float64))
    )
    with np.errstate(invalid="ignore"):
        return sums / counts
