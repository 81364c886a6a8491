"""Plug-ins for tests: families that misbehave, a memory that does not remember."""

import os
import sys
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from innerloop.envs.api import Split, Step, Tasks
from innerloop.envs.bandit import Arms, BernoulliBandit
from innerloop.envs.navigation import PointNavigation, Points
from innerloop.learner.algorithms.rl2 import RL2
from innerloop.learner.api import Consumes, Metrics, Optimise
from innerloop.learner.sampling import Both


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
        os._exit(1)


@dataclass(frozen=True, kw_only=True)
class Mixing(RL2):
    """RL² that looks at replay, too."""

    @property
    def consumes(self) -> Consumes:
        return "both"

    def update(
        self, model: nn.Module, batch: Both, optimise: Optimise, progress: float, rng: np.random.Generator
    ) -> Metrics:
        [kept] = batch.replay.trials(8, 1, rng)
        return super().update(model, batch.fresh, optimise, progress, rng) | {
            "replayed": float(kept.reward.sum()),
            "fresh": float(batch.fresh.steps),
            "behind": float(batch.fresh.version - kept.version),
        }


POISON = "INNERLOOP_TEST_POISON"


@dataclass(frozen=True, kw_only=True)
class PoisonedBandit(BernoulliBandit):
    """A bandit that cannot be sampled, everywhere or where the environment says so."""

    poisoned: bool = False

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        if self.poisoned or os.environ.get(POISON):
            raise ZeroDivisionError("the poison works")
        return super().sample(rng, n, split)


class Awkward(Exception):
    """Cannot be pickled and read again."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and\n{other}")


@dataclass(frozen=True, kw_only=True)
class RaisingBandit(BernoulliBandit):
    """A bandit whose code raises, or ends its process."""

    how: str = "raise"

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        if self.how == "raise":
            raise ValueError("no such\narm")
        if self.how == "awkward":
            raise Awkward(1, 2)
        if self.how == "numpy":
            np.linalg.inv(np.zeros((2, 2)))
        if self.how == "exit":
            sys.exit("bye")
        if self.how == "interrupt":
            raise KeyboardInterrupt
        os._exit(3)


@dataclass(frozen=True, kw_only=True)
class ClashingBandit(BernoulliBandit):
    """Has an option that the run has too."""

    seed: int = 0


class BreakingMoves(Points):
    def step(self, action: np.ndarray) -> Step:
        step, broken = super().step(action), self._time >= 2
        return step._replace(truncated=step.truncated | broken, diverged=broken)


@dataclass(frozen=True, kw_only=True)
class BreakingPoints(PointNavigation):
    """Points whose simulation breaks down at every second step."""

    def make(self, tasks: Tasks, rng: np.random.Generator) -> Points:
        return BreakingMoves(tasks["goal"], self.horizon, arrival=0.01)


class Echo(nn.Module):
    """Its output is a function of the last input alone."""

    def __init__(self, input_size: int, hidden: int, steps: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, hidden)

    def initial(self, rows: int) -> tuple[Tensor, ...]:
        return ()

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.linear(x), ()

    def unroll(self, x: Tensor) -> Tensor:
        return self.linear(x)
