"""Corridors: their lengths are the task, and an episode ends where they end."""

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from innerloop.envs.api import Bools, Split, Step, Tasks
from innerloop.envs.trials import Trials


class Corridors:
    """The observation is (episodes begun, steps walked); only the step that reaches the end pays."""

    def __init__(self, length: np.ndarray, limit: int) -> None:
        self._length, self._limit = length, limit
        self._begun, self._walked = np.zeros(len(length)), np.zeros(len(length))

    def reset(self, rows: Bools) -> np.ndarray:
        self._begun = self._begun + rows
        self._walked = np.where(rows, 0, self._walked)
        return self._seen()

    def step(self, action: np.ndarray) -> Step:
        self._walked = self._walked + 1
        there = self._walked == self._length
        reward = np.where(there, 100.0 + self._begun, 0.0).astype(np.float32)
        return Step(self._seen(), reward, there, ~there & (self._walked >= self._limit))

    def _seen(self) -> np.ndarray:
        return np.stack([self._begun, self._walked], axis=1).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Corridor:
    horizon: int = 4
    observation_space = spaces.Box(0, 1000, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"length": rng.integers(1, 7, n)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> Corridors:
        return Corridors(tasks["length"], self.horizon)


def trials_of(lengths: list[int], episodes: int, width: int = 1) -> Trials:
    return Trials(Corridor(), {"length": np.array(lengths)}, episodes, np.random.default_rng(0), width)


def stay(n: int) -> np.ndarray:
    return np.zeros(n, np.int64)
