"""A goal that is somewhere in a grid (Zintgraf et al. 2020, arXiv:1910.08348, section 5.1).

observation  the cell, Discrete(size²), row by row; every episode starts in cell 0, a corner
action       Discrete(5): stay, one column up, one row up, one column down, one row down; a wall stops a move
reward       1 in the goal's cell after the move, -0.1 in any other
terminated   never: an agent that has found the goal can stay on it and is rewarded at every step
truncated    after `horizon` steps
task         goal: int64 [N], its cell, uniform over those outside the two by two cells around the start
"""

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from .api import Bools, Split, Step, Tasks
from .errors import require
from .seeding import Random, in_rounds

_MOVES = np.array([(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)])
"""Row and column of each action."""


@dataclass(frozen=True, kw_only=True)
class GridNavigation:
    """Find a hidden goal, then go straight to it; the module's docstring is the specification. Goals are the same in
    training and test, as published."""

    size: int = 5
    """Cells along a side."""
    horizon: int = 15
    """Steps in an episode."""

    action_space = spaces.Discrete(len(_MOVES))
    same_tasks = True
    side_by_side = True

    def __post_init__(self) -> None:
        require(3 <= self.size <= 1_000, "size", self.size, "3 to 1,000")
        require(self.horizon >= 1, "horizon", self.horizon, "at least 1")

    @property
    def observation_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.size**2)

    def task_count(self, split: Split) -> int:
        return len(self._goals())

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"goal": in_rounds(rng, self._goals(), n)}

    def make(self, tasks: Tasks, rng: Random) -> "Grids":
        return Grids(tasks["goal"], self.size, self.horizon)

    def _goals(self) -> np.ndarray:
        cells = np.arange(self.size**2)
        return cells[np.maximum(*np.divmod(cells, self.size)) >= 2]


class Grids:
    """N grids, each with its goal."""

    def __init__(self, goal: np.ndarray, size: int, horizon: int) -> None:
        self._goal, self._size, self._horizon = goal, size, horizon
        self._cell, self._time = np.zeros((len(goal), 2), np.int64), np.zeros(len(goal), np.int64)
        self._no = np.zeros(len(goal), np.bool_)

    def reset(self, rows: Bools) -> np.ndarray:
        self._cell[rows] = 0
        self._time[rows] = 0
        return self._seen()

    def step(self, action: np.ndarray) -> Step:
        self._cell = np.clip(self._cell + _MOVES[action], 0, self._size - 1)
        self._time += 1
        seen = self._seen()
        reward = np.where(seen == self._goal, np.float32(1), np.float32(-0.1))
        return Step(seen, reward, self._no, self._time >= self._horizon)

    def _seen(self) -> np.ndarray:
        return self._cell[:, 0] * self._size + self._cell[:, 1]
