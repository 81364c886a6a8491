"""Shared by the tests of off-policy algorithms: a family whose episodes end at any step; a gradient step, watched;
a lopsided box and normal numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from innerloop.actors.rollout import play
from innerloop.envs.api import Bools, Split, Step, Tasks
from innerloop.envs.seeding import streams
from innerloop.envs.trials import Trials
from innerloop.learner.api import Loss, Metrics
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.trajectory import Trajectory

LOPSIDED = spaces.Box(np.float32([-2, 0, 5]), np.float32([2, 5, 5.5]))


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Constant(np.random.Generator):
    """All of its normal numbers are the same."""

    def __init__(self, value: float) -> None:
        super().__init__(np.random.PCG64(0))
        self._value = np.float32(value)

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        return np.full(size, self._value, dtype)


class Watched:
    """Takes no step, and keeps what it was given."""

    def __init__(self) -> None:
        self.total, self.metrics = torch.zeros(()), dict[str, Tensor]()

    def parts(self, trials: np.ndarray, most: int = 2**62) -> list[np.ndarray]:
        return [trials]

    def map(self, function: Callable[[Any], Any], items: Any) -> list[Any]:
        return [function(item) for item in items]

    def __call__(self, loss: Loss, trials: np.ndarray, *, learning_rate: float, max_norm: float) -> Metrics:
        self.loss, self.trials = loss, trials
        self.total, metrics = loss(trials)
        self.metrics = dict(metrics)
        return {}


@dataclass(frozen=True)
class Drift:
    """A point drifts by what is its own. An episode ends at a step that is drawn, by its end or by a cut."""

    horizon = 6
    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-2, 1, (1,), np.float32)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"drift": rng.normal(size=n).astype(np.float32)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> "Drifting":
        return Drifting(tasks["drift"], rng)


class Drifting:
    def __init__(self, drift: np.ndarray, rng: np.random.Generator) -> None:
        self._drift, self._rng = drift, rng
        self._position = np.zeros_like(drift)
        self._time = np.zeros(len(drift), np.int64)

    def reset(self, rows: Bools) -> np.ndarray:
        self._position[rows] = self._rng.normal(size=rows.sum())
        self._time[rows] = 0
        return self._position[:, None].copy()

    def step(self, action: np.ndarray) -> Step:
        self._position += self._drift + action[:, 0]
        self._time += 1
        ends, how = self._rng.random((2, len(self._drift)))
        over = (ends < 0.3) | (self._time == 6)
        terminated = over & (how < 0.5)
        return Step(self._position[:, None].copy(), np.sin(self._position), terminated, over & ~terminated)


def trials_of(experiment: Experiment, learner: Learner, n: int = 8, greedy: bool = False, seed: int = 3) -> Trajectory:
    rng = streams(seed, "train", 0)
    tasks = experiment.family.sample(rng.tasks, n, "train")
    agent = experiment.algorithm.inner_loop(learner.model, experiment.problem, greedy)
    return play(agent, Trials(experiment.family, tasks, experiment.episodes, rng.env), rng.agent)
