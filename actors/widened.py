"""An agent whose network is asked of a number of rows at which a row has the same bits however many there are."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..envs.api import Bools
from ..learner.api import InnerLoop

ROWS, OF_TASKS = 32, 8
"""A network's batch has a multiple of so many rows, and of so many where several are a task's: libraries compute the
rows at the end of other numbers in another way."""


class Widened:
    """Another agent, asked about some of the rows again where their number is no multiple of `ROWS`."""

    def __init__(self, agent: InnerLoop) -> None:
        """Args:
        agent: that draws from `SideBySide`.
        """
        self._agent = agent
        self.rollouts_per_task = agent.rollouts_per_task

    @property
    def note(self) -> Mapping[str, np.ndarray]:
        return {name: array[: self._n] for name, array in self._agent.note.items()}

    def begin_trial(self, n: int, rng: Any = None) -> None:
        """`rng`: `SideBySide`."""
        more = -n % (ROWS if self.rollouts_per_task == 1 else math.lcm(OF_TASKS, 2 * self.rollouts_per_task))
        self._n, self._more = n, np.arange(more) % self.rollouts_per_task
        self._agent.begin_trial(n + more, rng.beside(more) if more else rng)

    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        if not len(self._more):
            return self._agent.act(observation, reward, done)
        wider = (np.concatenate([array, array[self._more]]) for array in (observation, reward, done))
        return self._agent.act(*wider)[: self._n]
