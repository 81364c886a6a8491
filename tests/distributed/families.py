"""Families that misbehave, for tests."""

from dataclasses import dataclass

import numpy as np

from innerloop.envs.api import Split, Step, Tasks
from innerloop.envs.bandit import Arms, BernoulliBandit


class NaNArms(Arms):
    def step(self, action: np.ndarray) -> Step:
        return super().step(action)._replace(reward=np.full(len(action), np.nan, np.float32))


@dataclass(frozen=True, kw_only=True)
class NaNBandit(BernoulliBandit):
    """A bandit whose every reward is NaN."""

    def make(self, tasks: Tasks, rng: np.random.Generator) -> Arms:
        return NaNArms(tasks["mean"], lambda rng, mean: mean, rng)


@dataclass(frozen=True, kw_only=True)
class SuicidalBandit(BernoulliBandit):
    """A bandit whose worker dies on every batch of tasks."""

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        import os

        os._exit(1)


@dataclass(frozen=True, kw_only=True)
class ClashingBandit(BernoulliBandit):
    """Has an option that the run has too."""

    seed: int = 0
