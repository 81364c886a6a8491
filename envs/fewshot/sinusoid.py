"""Sine curves of unknown amplitude and phase (Finn et al. 2017, arXiv:1703.03400, section 5.1)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from ..api import Bools, Split, Step, Tasks
from ..errors import require
from ..seeding import Random, only

NUMBER = spaces.Box(-np.inf, np.inf, (1,), np.float32)


@dataclass(frozen=True, kw_only=True)
class Sinusoid:
    """What is the curve's value at x? An episode is one point.

    observation  example: x, float32 [N, 1], uniform on ±5, 0 after an episode's last step; answer: that to the step
                 before, float32 [N, 1], 0 where it is not told; told: int64 [N], 1 where it is
    action       y, float32 [N, 1], any number
    reward       minus the squared error, as far as float32 goes
    terminated   after every step
    privileged   answer: the right one, float32 [N, 1]
    task         amplitude and phase, float64 [N]: y = amplitude sin(x - phase)
    """

    amplitude: tuple[float, float] = (0.1, 5.0)
    """Range of the amplitude, uniform."""
    phase: tuple[float, float] = (0.0, math.pi)
    """Range of the phase, radians, uniform."""
    shots: int = 0
    """Episodes whose answers are told; 0 for all, else those after them are queries."""

    horizon = 1
    answers = True
    side_by_side = True
    observation_space = spaces.Dict({"answer": NUMBER, "example": NUMBER, "told": spaces.Discrete(2)})
    action_space = NUMBER

    def __post_init__(self) -> None:
        for field in ("amplitude", "phase"):
            low, high = getattr(self, field)
            within = -1e6 <= low <= high <= 1e6
            require(within, field, getattr(self, field), "two numbers within ±1e6, the smaller one first")
        require(self.shots >= 0, "shots", self.shots, "at least 0")

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"amplitude": rng.uniform(*self.amplitude, n), "phase": rng.uniform(*self.phase, n)}

    def make(self, tasks: Tasks, rng: Random) -> "Curves":
        return Curves(tasks["amplitude"], tasks["phase"], self.shots, rng)


class Curves:
    """N curves."""

    def __init__(self, amplitude: np.ndarray, phase: np.ndarray, shots: int, rng: Random) -> None:
        self._amplitude, self._phase, self._shots, self._rng = amplitude, phase, shots, rng
        n = len(phase)
        self._x, self._answer = np.zeros((n, 1), np.float32), np.zeros((n, 1), np.float32)
        self._told, self._episode = np.zeros(n, np.int64), np.full(n, -1)
        self._yes, self._no = np.ones(n, np.bool_), np.zeros(n, np.bool_)

    def reset(self, rows: Bools) -> Any:
        self._episode[rows] += 1
        self._x[rows, 0] = only(self._rng, rows).uniform(-5, 5, len(rows))[rows]
        return self._observation()

    def step(self, action: np.ndarray) -> Step:
        x = self._x[:, 0].astype(np.float64)
        y = (self._amplitude * np.sin(x - self._phase)).astype(np.float32)[:, None]
        told = self._yes if not self._shots else self._episode < self._shots
        self._x, self._told = np.zeros_like(self._x), told.astype(np.int64)
        self._answer = np.where(told[:, None], y, np.float32(0))
        error = (action.astype(np.float64) - y)[:, 0]
        reward = -np.minimum(error**2, np.finfo(np.float32).max).astype(np.float32)
        return Step(self._observation(), reward, self._yes, self._no, privileged={"answer": y})

    def _observation(self) -> Any:
        return {"answer": self._answer, "example": self._x.copy(), "told": self._told}
