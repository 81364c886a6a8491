"""Multi-armed bandits: an episode is one pull, a trial is n pulls (Duan et al. 2016, section 3.1; Wang et al. 2016).

observation  nothing: Discrete(1), always 0
action       the arm, Discrete(arms)
reward       the pull's payoff
terminated   after every pull
privileged   reward, where the family is told to give it: minus the pull's regret, the arm's mean less the best arm's
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from gymnasium import spaces

from .api import NOTHING, Bools, Split, Step, Tasks
from .errors import require
from .seeding import Random

Pull = Callable[[Random, np.ndarray], np.ndarray]


class Arms:
    """N bandits as one batch: `mean` is [N, arms]; `pull` draws rewards [N] from the means [N] of the arms played."""

    def __init__(self, mean: np.ndarray, pull: Pull, rng: Random, *, regret: bool = False) -> None:
        self._mean, self._pull, self._rng = mean, pull, rng
        self._best = mean.max(axis=1) if regret else None
        self._row = np.arange(len(mean))
        self._nothing = np.zeros(len(mean), np.int64)
        self._yes, self._no = np.ones(len(mean), np.bool_), np.zeros(len(mean), np.bool_)

    def reset(self, rows: Bools) -> np.ndarray:
        return self._nothing

    def step(self, action: np.ndarray) -> Step:
        mean = self._mean[self._row, action]
        reward = self._pull(self._rng, mean).astype(np.float32)
        privileged = NOTHING if self._best is None else {"reward": (mean - self._best).astype(np.float32)}
        return Step(self._nothing, reward, self._yes, self._no, privileged=privileged)


def _bernoulli(rng: Random, mean: np.ndarray) -> np.ndarray:
    return rng.random(len(mean)) < mean


@dataclass(frozen=True, kw_only=True)
class BernoulliBandit:
    """Independent arms, each paying 1 with its own probability, uniform on [0, 1] (Duan et al. 2016, section 3.1).

    task  mean: float64 [N, arms], the probabilities
    """

    arms: int = 5
    """Number of arms."""
    regret: bool = False
    """Give the outer loop minus each pull's expected regret to learn from; the agent sees the payoff alone."""

    horizon = 1
    side_by_side = True
    observation_space = spaces.Discrete(1)

    def __post_init__(self) -> None:
        require(self.arms >= 1, "arms", self.arms, "at least 1")

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.arms)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"mean": rng.random((n, self.arms))}

    def make(self, tasks: Tasks, rng: Random) -> Arms:
        return Arms(tasks["mean"], _bernoulli, rng, regret=self.regret)


LEVELS = {"easy": 0.1, "medium": 0.25, "hard": 0.4}


@dataclass(frozen=True, kw_only=True)
class CorrelatedBandit:
    """Two arms paying with p and 1 - p: one pull tells about both (Wang et al. 2016, arXiv:1611.05763, section 3.1.2).

    The levels other than uniform have two tasks, p and 1 - p. Splitting two tasks would leave one arm untried, so
    train and test share both: evaluation there measures exploration, not generalisation.

    task  mean: float64 [N, 2], the probabilities
    """

    level: Literal["uniform", "easy", "medium", "hard"] = "uniform"
    """How p is drawn: uniform on [0, 1], or from {.1, .9} (easy), {.25, .75} (medium), {.4, .6} (hard)."""
    regret: bool = False
    """Give the outer loop minus each pull's expected regret to learn from; the agent sees the payoff alone."""

    horizon = 1
    side_by_side = True
    observation_space = spaces.Discrete(1)
    action_space = spaces.Discrete(2)

    def __post_init__(self) -> None:
        require(self.level in ("uniform", *LEVELS), "level", self.level, "uniform, easy, medium or hard")

    @property
    def same_tasks(self) -> bool:
        """See `TaskFamily`."""
        return self.level != "uniform"

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        if self.level == "uniform":
            p = rng.random(n)
        else:
            low = LEVELS[self.level]
            p = np.where(rng.random(n) < 0.5, low, 1 - low)
        return {"mean": np.stack([p, 1 - p], axis=1)}

    def make(self, tasks: Tasks, rng: Random) -> Arms:
        return Arms(tasks["mean"], _bernoulli, rng, regret=self.regret)


@dataclass(frozen=True, kw_only=True)
class GaussianBandit:
    """Independent arms with normal payoffs; the means are drawn from N(0, 1).

    task  mean: float64 [N, arms]
    """

    arms: int = 5
    """Number of arms."""
    noise: float = 1.0
    """Standard deviation of one payoff around its arm's mean."""
    regret: bool = False
    """Give the outer loop minus each pull's expected regret to learn from; the agent sees the payoff alone."""

    horizon = 1
    side_by_side = True
    observation_space = spaces.Discrete(1)

    def __post_init__(self) -> None:
        require(self.arms >= 1, "arms", self.arms, "at least 1")
        require(0 <= self.noise < float("inf"), "noise", self.noise, "a finite number of at least 0")

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.arms)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"mean": rng.standard_normal((n, self.arms))}

    def make(self, tasks: Tasks, rng: Random) -> Arms:
        return Arms(tasks["mean"], self._pull, rng, regret=self.regret)

    def _pull(self, rng: Random, mean: np.ndarray) -> np.ndarray:
        return mean + self.noise * rng.standard_normal(len(mean))
