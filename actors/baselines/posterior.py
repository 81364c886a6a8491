"""What a bandit baseline believes of the arms: the conjugate posterior of every arm's mean, n trials at once.

The arms are taken to be independent, which is true of every family here but `CorrelatedBandit`, where Wang et al. 2016
(arXiv:1611.05763) play the classic baselines with independent arms as well.
"""

from typing import Protocol

import numpy as np

from ...envs.api import TaskFamily
from ...envs.bandit import BernoulliBandit, CorrelatedBandit, GaussianBandit
from ...envs.errors import require


class Posterior(Protocol):
    """The belief about the arms of n bandits, and the prior when nothing has been pulled."""

    arms: int
    """Number of arms."""

    def begin(self, n: int) -> None:
        """Return to the prior, for n bandits."""
        ...

    def update(self, arm: np.ndarray, reward: np.ndarray) -> None:
        """Learn from one pull a trial: the arm, int64 [n], and what it paid, [n]."""
        ...

    @property
    def mean(self) -> np.ndarray:
        """float64 [n, arms]: the expected payoff of every arm, in the task's units."""
        ...

    @property
    def count(self) -> np.ndarray:
        """float64 [n, arms]: how much is known of every arm, in pulls, the prior's share included; always positive."""
        ...

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """float64 [n, arms]: one draw of the arms' means for every trial."""
        ...

    def log_density(self, mean: np.ndarray) -> np.ndarray:
        """float64 [n]: the joint log density of the arms' means [n, arms], up to a constant of each trial."""
        ...


class BetaPosterior:
    """Payoffs 0 or 1, and means uniform on [0, 1] beforehand: Beta(1 + successes, 1 + failures).

    So statistics start at one success and one failure, as in Duan et al. 2016, section 3.1.
    """

    def __init__(self, arms: int) -> None:
        require(arms >= 1, "arms", arms, "at least 1")
        self.arms = arms
        self.begin(0)

    def begin(self, n: int) -> None:
        self.success = np.ones((n, self.arms))
        """[n, arms], the prior's one included."""
        self.failure = np.ones((n, self.arms))
        """[n, arms], the prior's one included."""
        self._row = np.arange(n)

    def update(self, arm: np.ndarray, reward: np.ndarray) -> None:
        self.success[self._row, arm] += reward
        self.failure[self._row, arm] += 1 - reward

    @property
    def mean(self) -> np.ndarray:
        return self.success / self.count

    @property
    def count(self) -> np.ndarray:
        return self.success + self.failure

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        # A ratio of Gammas: several times the speed of Generator.beta where an arm is still at (1, 1).
        success, failure = rng.standard_gamma(self.success), rng.standard_gamma(self.failure)
        return success / (success + failure)

    def log_density(self, mean: np.ndarray) -> np.ndarray:
        return ((self.success - 1) * np.log(mean) + (self.failure - 1) * np.log1p(-mean)).sum(axis=1)


class NormalPosterior:
    """Normal payoffs of known noise, means N(0, 1) beforehand: N(mean, 1 / precision), precision 1 + pulls / noise².

    `count` is that precision: pulls of unit noise, and the prior is worth one of them. UCB1's m then makes its bonus
    c sqrt(2 ln t) posterior standard deviations, which is the textbook's at noise 1 and follows the noise elsewhere.
    """

    def __init__(self, arms: int, noise: float) -> None:
        require(arms >= 1, "arms", arms, "at least 1")
        require(0 <= noise < float("inf"), "noise", noise, "a finite number of at least 0")
        self.arms = arms
        self._weight = 1 / max(noise, 1e-6) ** 2  # of one pull; finite where payoffs are exact
        self.begin(0)

    def begin(self, n: int) -> None:
        self._sum = np.zeros((n, self.arms))
        self._precision = np.ones((n, self.arms))
        self._row = np.arange(n)

    def update(self, arm: np.ndarray, reward: np.ndarray) -> None:
        self._sum[self._row, arm] += self._weight * reward
        self._precision[self._row, arm] += self._weight

    @property
    def mean(self) -> np.ndarray:
        return self._sum / self._precision

    @property
    def count(self) -> np.ndarray:
        return self._precision

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        return self.mean + rng.standard_normal(self._sum.shape) / np.sqrt(self._precision)

    def log_density(self, mean: np.ndarray) -> np.ndarray:
        return -0.5 * (self._precision * (mean - self.mean) ** 2).sum(axis=1)


def posterior(family: TaskFamily) -> Posterior | None:
    """The prior belief that fits a family of bandits; None if it is no such family."""
    match family:
        case BernoulliBandit():
            return BetaPosterior(family.arms)
        case CorrelatedBandit():
            return BetaPosterior(2)
        case GaussianBandit():
            return NormalPosterior(family.arms, family.noise)
        case _:
            return None
