"""The Bayes-adaptive optimum of short Bernoulli bandits, exactly, by dynamic programming over beliefs.

A belief is what every arm has paid so far. Which arm is which does not matter, so a belief is a multiset of (successes,
failures), and arms never pulled need not be listed: within 10 pulls there are a few thousand beliefs, however many arms
there are. No agent can have a higher expected return on the family (Duff 2002, "Optimal learning").
"""

from functools import cache

import numpy as np

from ...envs.errors import require
from .bandit import BanditAgent
from .posterior import BetaPosterior

LONGEST = 10
"""Pulls for which beliefs are few enough to list, and their keys fit 64 bits."""
CODES = LONGEST * (LONGEST + 1) // 2
"""Number of codes of an arm that can still be played: those of up to LONGEST - 1 pulls."""

Belief = tuple[int, ...]
"""The codes of the arms that were pulled, highest first. An arm that paid s of m pulls has code m (m + 1) / 2 + s."""


def optimum(arms: int, pulls: int) -> tuple[float, dict[Belief, int]]:
    """Solve the bandit of uniform payoff probabilities.

    Args:
        arms: number of arms, at least 1.
        pulls: pulls in a trial, 1 to 10.

    Returns:
        The expected return of a trial, and for every belief before the last pull the code of the arm to pull (0: an arm
        that was never pulled).
    """
    count = [m for m in range(LONGEST) for _ in range(m + 1)]  # pulls, by code
    paid = [s for m in range(LONGEST) for s in range(m + 1)]  # successes, by code
    policy: dict[Belief, int] = {}

    @cache
    def value(belief: Belief, left: int) -> float:
        if left == 0:
            return 0.0

        def worth(code: int) -> float:
            others = list(belief)
            if code:
                others.remove(code)
            probability = (paid[code] + 1) / (count[code] + 2)
            failure = code + count[code] + 1  # one pull more, as many successes
            lost, won = (tuple(sorted([*others, after], reverse=True)) for after in (failure, failure + 1))
            return probability * (1 + value(won, left - 1)) + (1 - probability) * value(lost, left - 1)

        worths = {code: worth(code) for code in {*belief, *([0] if len(belief) < arms else [])}}
        policy[belief] = max(sorted(worths), key=worths.__getitem__)
        return worths[policy[belief]]

    return value((), pulls), policy


class BayesOptimal(BanditAgent):
    """Pull what maximises the expected return of a whole trial of known length, uniform probabilities being the prior.

    value  float, the expected return of a trial: 6.66 for 10 pulls of 5 arms, 6.71 for 10 pulls of 10 or more
    """

    def __init__(self, arms: int, pulls: int) -> None:
        """Args:
            arms: number of arms, at least 1.
            pulls: pulls in a trial, 1 to 10.

        Raises:
            BadInput: `arms` or `pulls` is out of range.
        """
        require(
            1 <= pulls <= LONGEST, "pulls", pulls, f"1 to {LONGEST}, as longer trials have too many beliefs to list"
        )
        self._belief = BetaPosterior(arms)
        super().__init__(self._belief)
        self._length = pulls
        self.value, policy = optimum(arms, pulls)
        self._power = CODES ** np.arange(min(arms, LONGEST - 1))  # int64; at most LONGEST - 1 arms were pulled
        key = np.array([sum(code * CODES**place for place, code in enumerate(belief)) for belief in policy])
        order = np.argsort(key)
        self._key, self._play = key[order], np.array([*policy.values()])[order]

    def choose(self) -> np.ndarray:
        """The arms to pull, int64 [n]; past the trial's last pull, where all are worth the same, the first."""
        if self.pulls >= self._length:
            return np.zeros(self.n, np.int64)
        paid = self._belief.success.astype(np.int64) - 1  # [n, arms]
        count = paid + self._belief.failure.astype(np.int64) - 1
        code = count * (count + 1) // 2 + paid
        belief = np.sort(code, axis=1)[:, ::-1][:, : len(self._power)]
        play = self._play[np.searchsorted(self._key, belief @ self._power)]
        return (code == play[:, None]).argmax(axis=1)
