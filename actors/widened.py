"""Pads an agent's batch to a number of rows at which the bits of a row do not depend on the number of rows."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..envs.api import Bools
from ..learner.api import InnerLoop, begin_trial
from ..learner.trajectory import Trajectory

ROWS, OF_TASKS = 32, 8
"""The batch has a multiple of `ROWS` rows; of `OF_TASKS` for agents that play several rows per task. Vectorised kernels
compute the remainder of a batch differently."""


class Widened:
    """Another agent, whose batch is padded by repeating rows."""

    def __init__(self, agent: InnerLoop) -> None:
        """Args:
        agent: one that can draw from `SideBySide`.
        """
        self._agent = agent
        self.rollouts_per_task = agent.rollouts_per_task

    @property
    def note(self) -> Mapping[str, np.ndarray]:
        return {name: array[: self._n] for name, array in self._agent.note.items()}

    def begin_trial(self, n: int, rng: Any = None, contexts: Trajectory | None = None) -> None:
        """`rng`: a `SideBySide`."""
        more = -n % (ROWS if self.rollouts_per_task == 1 else math.lcm(OF_TASKS, 2 * self.rollouts_per_task))
        self._n, self._more = n, np.arange(more) % self.rollouts_per_task
        wider = None if contexts is None else contexts.columns(np.concatenate([np.arange(n), self._more]))
        begin_trial(self._agent, n + more, rng.beside(more) if more else rng, wider)

    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        if not len(self._more):
            return self._agent.act(observation, reward, done)
        wider = (np.concatenate([array, array[self._more]]) for array in (observation, reward, done))
        return self._agent.act(*wider)[: self._n]
