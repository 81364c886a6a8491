"""The one constant that a baseline has, chosen on training tasks (Duan et al. 2016, section 3.1)."""

from collections.abc import Callable

import numpy as np

from ...envs.api import TaskFamily
from ...envs.trials import Trials
from ...learner.api import InnerLoop

GRID = np.arange(21) / 20
"""The values tried where nothing else is said, as in the paper from 0 to 1."""
TASKS = 3000
"""Training tasks on which every value of the grid is played ..."""
BUDGET = 1_000_000
"""... fewer, but at least 100, where tasks × episodes × size would exceed this: bandits take a second at most."""


def tuned(
    make: Callable[[np.ndarray], InnerLoop], family: TaskFamily, size: int, episodes: int, grid: np.ndarray = GRID
) -> float:
    """The value of the grid with the highest mean return on training tasks; the same at every call.

    Args:
        make: the agent whose constant is [n], one for each trial.
        family: where the tasks come from.
        size: numbers in a task, such as arms: what an episode costs to play.
        episodes: episodes in a trial.
        grid: the values tried.

    Returns:
        A value of the grid.
    """
    rng = np.random.default_rng(20161109)
    n = int(np.clip(BUDGET // (episodes * size), 100, TASKS))
    tasks = {name: np.concatenate([array] * len(grid)) for name, array in family.sample(rng, n, "train").items()}
    trials = Trials(family, tasks, episodes, rng)
    agent = make(np.repeat(grid, n))
    agent.begin_trial(len(grid) * n, rng)
    given, total = trials.begin(), np.zeros(len(grid) * n)
    for _ in range(trials.steps):
        given, step = trials.step(agent.act(*given))
        total += step.reward
    return float(grid[total.reshape(len(grid), n).mean(axis=1).argmax()])
