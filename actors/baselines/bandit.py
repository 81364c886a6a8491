"""The classic bandit algorithms, n trials at once: the baselines of Duan et al. 2016 (arXiv:1611.02779).

Each reads nothing but its posterior and differs in one line. Where arms tie, the one of the lowest index is played.
"""

from collections.abc import Mapping

import numpy as np

from ...envs.api import Bools
from ...envs.errors import require
from .posterior import BetaPosterior, Posterior


class BanditAgent:
    """An `InnerLoop` that keeps the posterior of every arm; what it plays is `choose`, which a baseline defines."""

    rollouts_per_task = 1

    def __init__(self, posterior: Posterior) -> None:
        """Args:
        posterior: the belief to keep; it must not be shared with another agent.
        """
        self.note: Mapping[str, np.ndarray] = {}
        self.posterior = posterior
        self._own_rng = np.random.default_rng(0)
        self.begin_trial(0)

    def begin_trial(self, n: int, rng: np.random.Generator | None = None) -> None:
        """Forget everything: n new, unknown bandits.

        Args:
            n: number of trials.
            rng: source of all randomness until the next call; None: the agent's own, which began with seed 0.
        """
        self.posterior.begin(n)
        self.n = n
        self.rng = self._own_rng if rng is None else rng
        self.pulls = 0
        """Pulls made so far in each of the trials."""
        self._action: np.ndarray | None = None

    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        """Learn what the last pull paid, choose the next.

        Args:
            observation: ignored, as bandits show nothing.
            reward: [n], for the previous pull; ignored at the start of the trial.
            done: ignored, as every pull ends an episode.

        Returns:
            The arms to pull, int64 [n].

        Raises:
            BadInput: `reward` is not of shape (n,).
        """
        require(np.shape(reward) == (self.n,), "the shape of reward", np.shape(reward), f"({self.n},), one per trial")
        if self._action is not None:
            self.posterior.update(self._action, reward)
            self.pulls += 1
        self._action = self.choose()
        return self._action

    def choose(self) -> np.ndarray:
        """The arms to pull, int64 [n], from `posterior`, `pulls` and `rng`."""
        raise NotImplementedError


class Greedy(BanditAgent):
    """Play the arm of the highest posterior mean."""

    def choose(self) -> np.ndarray:
        return self.posterior.mean.argmax(axis=1)


class EpsilonGreedy(BanditAgent):
    """Play a uniformly drawn arm with probability epsilon, and the arm of the highest posterior mean otherwise."""

    def __init__(self, posterior: Posterior, epsilon: float | np.ndarray) -> None:
        """Args:
            posterior: the belief to keep.
            epsilon: probability in [0, 1]; one number, or [n], one for each trial.

        Raises:
            BadInput: `epsilon` is no probability.
        """
        require(bool(np.all((np.asarray(epsilon) >= 0) & (np.asarray(epsilon) <= 1))), "epsilon", epsilon, "0 to 1")
        super().__init__(posterior)
        self.epsilon = epsilon

    def choose(self) -> np.ndarray:
        explore = self.rng.random(self.n) < self.epsilon
        return np.where(
            explore, self.rng.integers(self.posterior.arms, size=self.n), self.posterior.mean.argmax(axis=1)
        )


class UCB1(BanditAgent):
    """Play the arm of the highest mean + c sqrt(2 ln t / m) (Auer et al. 2002, with the scale c of Duan et al. 2016).

    t counts the pulls of the trial, the coming one included; m is the posterior's `count`.
    """

    def __init__(self, posterior: Posterior, c: float | np.ndarray) -> None:
        """Args:
            posterior: the belief to keep.
            c: scale of the bonus, in the task's units, at least 0; one number, or [n], one for each trial.

        Raises:
            BadInput: `c` is negative or not finite.
        """
        require(bool(np.all((np.asarray(c) >= 0) & np.isfinite(c))), "c", c, "a finite number of at least 0")
        super().__init__(posterior)
        self.c = c

    def choose(self) -> np.ndarray:
        scale = np.reshape(self.c, (-1, 1)) * np.sqrt(2 * np.log(self.pulls + 1))  # [1 or n, 1]
        return (self.posterior.mean + scale / np.sqrt(self.posterior.count)).argmax(axis=1)


class Thompson(BanditAgent):
    """Draw the arms' means from the posterior, play the best of them (Thompson 1933)."""

    def choose(self) -> np.ndarray:
        return self.posterior.draw(self.rng).argmax(axis=1)


class OTS(BanditAgent):
    """Optimistic Thompson sampling: of several draws of all means, believe the one of the highest posterior density.

    Section 3.1 of Duan et al. 2016 (May et al. 2012 define it per arm instead).
    """

    def __init__(self, posterior: Posterior, samples: int = 20) -> None:
        """Args:
            posterior: the belief to keep.
            samples: number of draws a pull, at least 1; 1 is Thompson sampling, and many come near `Greedy`.

        Raises:
            BadInput: `samples` is less than 1.
        """
        require(samples >= 1, "samples", samples, "at least 1")
        super().__init__(posterior)
        self.samples = samples

    def choose(self) -> np.ndarray:
        best = np.zeros(self.n, np.int64)
        highest = np.full(self.n, -np.inf)
        for _ in range(self.samples):
            mean = self.posterior.draw(self.rng)
            density = self.posterior.log_density(mean)
            best = np.where(density > highest, mean.argmax(axis=1), best)
            highest = np.maximum(density, highest)
        return best


class Gittins(BanditAgent):
    """Play the arm of the highest Gittins index, by Whittle's closed form without discounting; Bernoulli arms only.

    With a of n pulls paid (the prior's one in two included), mu = a / n and v = mu (1 - mu), the index is
    mu + v / (n sqrt((2 ln(1 / gamma) + 1 / n) v) + mu - 1/2)  (Whittle 1982; Gittins et al. 2011), here at gamma = 1.
    It does not know how many pulls are left. Against an index calibrated to that number, it gives up 0.08 of 6.65 in
    trials of 10 pulls of 5 arms and 0.04 of 78.5 in trials of 100, and it needs no table.
    """

    def __init__(self, posterior: BetaPosterior) -> None:
        super().__init__(posterior)

    def choose(self) -> np.ndarray:
        mean, count = self.posterior.mean, self.posterior.count
        variance = mean * (1 - mean)
        return (mean + variance / (np.sqrt(count * variance) + mean - 0.5)).argmax(axis=1)
