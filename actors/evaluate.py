"""Evaluation on held-out tasks: the adaptation curve, with bootstrap intervals over tasks."""

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..envs.api import TaskFamily, Tasks
from ..envs.errors import BadInput, require
from ..envs.seeding import Streams, streams
from ..envs.trials import Trials
from ..learner.api import InnerLoop
from .baselines.regret import best_return
from .rollout import play

CHUNK = 2_000
"""Rows played side by side: large enough to be fast, small enough for any family's memory."""


@dataclass(frozen=True)
class Interval:
    """A mean over tasks and its 95 % bootstrap interval, in the task's units."""

    mean: float
    low: float
    high: float


@runtime_checkable
class Informed(Protocol):
    """An agent that is told the tasks before each trial: no learner, but what learners are measured against."""

    def inform(self, tasks: Tasks) -> None:
        """Take the tasks of the trial that begins next."""
        ...


def play_tasks(agent: InnerLoop, family: TaskFamily, episodes: int, *, tasks: int, seed: int) -> np.ndarray:
    """Play one trial on each of `tasks` held-out tasks.

    The tasks and their noise depend on `seed` alone, so agents are compared on the same ones.

    Returns:
        The return of each episode, float64 [tasks, episodes]; the mean over the rows of a task.

    Raises:
        BadInput: fewer than 2 tasks, or the environment returned something that its spaces do not have.
    """
    return np.concatenate([returns for _, returns in _played(agent, family, episodes, tasks=tasks, seed=seed)])


def _played(
    agent: InnerLoop, family: TaskFamily, episodes: int, *, tasks: int, seed: int
) -> Iterator[tuple[Tasks, np.ndarray]]:
    """What `play_tasks` plays, with the returns, part by part."""
    require(tasks >= 2, "tasks", tasks, "at least 2, for an interval")
    together = max(1, CHUNK // agent.width)
    for rng, drawn in held_out(family, tasks=tasks, seed=seed):
        for start in range(0, len(next(iter(drawn.values()))), together):
            some = {name: array[start : start + together] for name, array in drawn.items()}
            if isinstance(agent, Informed):
                agent.inform(some)
            trajectory = play(agent, Trials(family, some, episodes, rng.env, agent.width), rng.agent)
            yield some, trajectory.episode_returns(episodes).reshape(-1, agent.width, episodes).mean(1)


def held_out(family: TaskFamily, *, tasks: int, seed: int) -> Iterator[tuple[Streams, Tasks]]:
    """The tasks that `play_tasks` plays, up to CHUNK at a time, and the randomness that goes with them."""
    for part, start in enumerate(range(0, tasks, CHUNK)):
        rng = streams(seed, "test", part)
        yield rng, family.sample(rng.tasks, min(CHUNK, tasks - start), "test")


def write_returns(file: Path, tasks: Tasks, returns: np.ndarray) -> None:
    """A line for every task: its parameters, and the return of each episode.

    Args:
        file: comma-separated values; columns such as goal.0, goal.1, episode.1, episode.2.
        tasks: as the family drew them.
        returns: [tasks, episodes].

    Raises:
        BadInput: the file cannot be written.
    """
    columns: dict[str, np.ndarray] = {}
    for name, array in (*tasks.items(), ("episode", returns)):
        flat = array.reshape(len(array), -1)
        start = 1 if name == "episode" else 0
        names = [name] if array.ndim == 1 else [f"{name}.{index + start}" for index in range(flat.shape[1])]
        columns |= dict(zip(names, flat.T, strict=True))
    try:
        with file.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    except OSError as error:
        raise BadInput(f"csv is {str(file)!r}; expected a file that can be written ({error}).") from error


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


def evaluate(
    agent: InnerLoop, family: TaskFamily, episodes: int, *, tasks: int, seed: int, file: Path | None = None
) -> dict[str, Any]:
    """The return of a trial and of each of its episodes; into `file`, if given, those of every single task.

    Returns:
        `return`, an interval as {mean, low, high}; `by_episode`, a list of the same, one per episode; `regret`, the
        same of what the trial's return falls short of that of the best policy for each task, where that is known, else
        None; `tasks`.
    """
    parts = [*_played(agent, family, episodes, tasks=tasks, seed=seed)]
    returns = np.concatenate([each for _, each in parts])
    if file is not None:
        write_returns(file, {name: np.concatenate([t[name] for t, _ in parts]) for name in parts[0][0]}, returns)
    best = [found for part, _ in parts if (found := best_return(family, part)) is not None]
    regret = [episodes * np.concatenate(best) - returns.sum(1)] if best else []
    whole, *each = (asdict(i) for i in intervals(np.column_stack([returns.sum(1), returns, *regret])))
    return {
        "return": whole,
        "by_episode": each[:episodes],
        "regret": each[episodes] if regret else None,
        "tasks": tasks,
    }
