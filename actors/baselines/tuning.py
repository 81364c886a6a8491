"""The one constant that UCB1 and epsilon-greedy have, chosen on training tasks (Duan et al. 2016, section 3.1)."""

from collections.abc import Callable

import numpy as np

from ...envs.api import TaskFamily
from ...envs.trials import Trials
from ...learner.api import InnerLoop

GRID = np.arange(21) / 20
"""The values tried, as in the paper from 0 to 1."""
TASKS = 3000
"""Training tasks on which every value of the grid is played ..."""
BUDGET = 1_000_000
"""... fewer, but at least 100, where tasks × pulls × arms would exceed this: tuning takes a second at most."""


def tuned(make: Callable[[np.ndarray], InnerLoop], family: TaskFamily, arms: int, episodes: int) -> float:
    """The value of the grid with the highest mean return on training tasks; the same at every call.

    Args:
        make: the agent whose constant is [n], one for each trial.
        family: where the tasks come from.
        arms: number of arms.
        episodes: pulls in a trial.

    Returns:
        A value of GRID.
    """
    rng = np.random.default_rng(20161109)
    n = int(np.clip(BUDGET // (episodes * arms), 100, TASKS))
    tasks = {name: np.tile(array, (len(GRID), 1)) for name, array in family.sample(rng, n, "train").items()}
    trials = Trials(family, tasks, episodes, rng)
    agent = make(np.repeat(GRID, n))
    agent.begin_trial(len(GRID) * n, rng)
    given, total = trials.begin(), np.zeros(len(GRID) * n)
    for _ in range(trials.steps):
        given, step = trials.step(agent.act(*given))
        total += step.reward
    return float(GRID[total.reshape(len(GRID), n).mean(axis=1).argmax()])
