"""Sine curves of unknown amplitude and phase (Finn et al. 2017, arXiv:1703.03400, section 5.1)."""

import math
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from ..api import Bools, Split, Step, Tasks
from ..errors import require
from ..seeding import Random, only


@dataclass(frozen=True, kw_only=True)
class Sinusoid:
    """What is the curve's value at x? An episode is one point.

    observation  float32 [N, 3]: x, uniform on ±5 (0 after an episode's last step); the answer to the step before, or 0
                 where it is not told; 1 where it is told
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
    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)

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
        self._seen = np.zeros((len(phase), 3), np.float32)
        self._episode = np.full(len(phase), -1)
        self._yes, self._no = np.ones(len(phase), np.bool_), np.zeros(len(phase), np.bool_)

    def reset(self, rows: Bools) -> np.ndarray:
        self._episode[rows] += 1
        self._seen[rows, 0] = only(self._rng, rows).uniform(-5, 5, len(rows))[rows]
        return self._seen

    def step(self, action: np.ndarray) -> Step:
        y = (self._amplitude * np.sin(self._seen[:, 0] - self._phase)).astype(np.float32)
        told = self._yes if not self._shots else self._episode < self._shots
        self._seen = np.stack([np.zeros_like(y), np.where(told, y, np.float32(0)), told.astype(np.float32)], 1)
        error = action[:, 0].astype(np.float64) - y
        reward = -np.minimum(error**2, np.finfo(np.float32).max).astype(np.float32)
        return Step(self._seen, reward, self._yes, self._no, privileged={"answer": y[:, None]})
