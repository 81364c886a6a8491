"""Evaluation on held-out tasks: the adaptation curve, with bootstrap intervals over tasks."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..envs.api import TaskFamily
from ..envs.errors import require
from ..envs.seeding import streams
from ..envs.trials import Trials
from ..learner.api import InnerLoop
from .rollout import play

CHUNK = 2_000
"""Rows played side by side: large enough to be fast, small enough for any family's memory."""


@dataclass(frozen=True)
class Interval:
    """A mean over tasks and its 95 % bootstrap interval, in the task's units."""

    mean: float
    low: float
    high: float


def play_tasks(agent: InnerLoop, family: TaskFamily, episodes: int, *, tasks: int, seed: int) -> np.ndarray:
    """Play one trial on each of `tasks` held-out tasks.

    The tasks and their noise depend on `seed` alone, so agents are compared on the same ones.

    Returns:
        The return of each episode, float64 [tasks, episodes]; the mean over the rows of a task.

    Raises:
        BadInput: fewer than 2 tasks, or the environment returned something that its spaces do not have.
    """
    require(tasks >= 2, "tasks", tasks, "at least 2, for an interval")
    returns = []
    size = max(1, CHUNK // agent.width)
    for part, start in enumerate(range(0, tasks, size)):
        rng = streams(seed, "test", part)
        drawn = family.sample(rng.tasks, min(size, tasks - start), "test")
        trajectory = play(agent, Trials(family, drawn, episodes, rng.env, agent.width), rng.agent)
        returns.append(trajectory.episode_returns(episodes).reshape(-1, agent.width, episodes).mean(1))
    return np.concatenate(returns)


def intervals(samples: np.ndarray, resamples: int = 1_000) -> list[Interval]:
    """Mean and 95 % percentile bootstrap interval of every column (Efron & Tibshirani 1993, chapter 13).

    Args:
        samples: [tasks, columns].
        resamples: bootstrap replications.
    """
    n = len(samples)
    rng = np.random.default_rng(0)
    # Resampling n tasks with replacement is weighting each by how often it was drawn: one matrix product.
    counts = np.stack([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(resamples)])
    means = counts.astype(np.float64) @ samples / n
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return [Interval(*map(float, column)) for column in zip(samples.mean(0), low, high, strict=True)]


def evaluate(agent: InnerLoop, family: TaskFamily, episodes: int, *, tasks: int, seed: int) -> dict[str, Any]:
    """The return of a trial and of each of its episodes.

    Returns:
        `return`, an interval as {mean, low, high}; `by_episode`, a list of the same, one per episode; `tasks`.
    """
    returns = play_tasks(agent, family, episodes, tasks=tasks, seed=seed)
    whole, *each = (asdict(i) for i in intervals(np.column_stack([returns.sum(1), returns])))
    return {"return": whole, "by_episode": each, "tasks": tasks}
