"""What a task is worth to who knows it, and so what a learner loses by having to learn: its regret."""

import numpy as np

from ...envs.api import TaskFamily, Tasks
from ...envs.bandit import BernoulliBandit, CorrelatedBandit, GaussianBandit
from ...envs.planning import action_values, known
from ...envs.tabular import TabularMDP


def best_return(family: TaskFamily, tasks: Tasks) -> np.ndarray | None:
    """The expected return of one episode of each task under the best policy for that task.

    The regret of a trial (Wang et al. 2016, arXiv:1611.05763, section 3.1) is this times the episodes, less the return.

    Args:
        family: where the tasks come from.
        tasks: N of them.

    Returns:
        float64 [N], in the task's units; None where it is not known.
    """
    match family:
        case BernoulliBandit() | CorrelatedBandit() | GaussianBandit():
            return tasks["mean"].max(axis=1)
        case TabularMDP():
            values = action_values(tasks["reward"], family.horizon, known(tasks["transition"]))
            return values[0, :, 0].max(axis=1)  # episodes start in state 0
        case _:
            return None
