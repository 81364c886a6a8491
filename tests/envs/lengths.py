"""Episodes whose length is the task, and numbers that follow from the step alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from innerloop.envs.api import Bools, Split, Step, Tasks

OVER = {"place": "last", "moves": "sum", "seen": "ever", "steps": "sum"}


class Lengths:
    """The reward of a step is its number in the episode. Odd lengths end in a terminal state, even ones are cut."""

    observation_space, action_space = spaces.Box(0, 9, (1,), np.float32), spaces.Box(-1, 1, (1,), np.float32)
    horizon = 9
    measures: Mapping[str, Any] = OVER

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"length": rng.integers(1, 10, n)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> "Lengths":
        self._length, self._time = tasks["length"], np.zeros(len(tasks["length"]), np.int64)
        return self

    def reset(self, rows: Bools) -> np.ndarray:
        self._time[rows] = 0
        return self._time[:, None].astype(np.float32)

    def step(self, action: np.ndarray) -> Step:
        self._time += 1
        over, odd = self._time >= self._length, self._length % 2 == 1
        seen, reward = self._time[:, None].astype(np.float32), self._time.astype(np.float32)
        return Step(seen % 9, reward, over & odd, over & ~odd, measures=self.of_step())

    def of_step(self) -> dict[str, np.ndarray]:
        time = self._time
        return {"place": 10.0 * time, "moves": time, "seen": time == 2, "steps": np.ones(len(time))}
