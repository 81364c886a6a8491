"""What a baseline believes of N tabular MDPs: conjugate posteriors of every transition and every mean reward."""

import numpy as np

from ...envs.errors import require


class ModelBelief:
    """Transitions Dirichlet(1, ..., 1) beforehand; mean rewards N(`reward_mean`, 1), and rewards N(mean, 1).

    Duan et al. 2016 gave their baselines 0 as the mean, while their MDPs are drawn with 1 (section 3.2).
    """

    def __init__(self, states: int, actions: int, reward_mean: float) -> None:
        require(states >= 1, "states", states, "at least 1")
        require(actions >= 1, "actions", actions, "at least 1")
        self.states, self.actions, self._prior = states, actions, reward_mean
        self.begin(0)

    def begin(self, n: int) -> None:
        """Return to the prior, for n MDPs."""
        shape = (n, self.states, self.actions)
        self.alpha = np.ones((*shape, self.states))
        """[n, S, A, S], the Dirichlet's parameters: one more than the transitions seen."""
        self.transition = np.full((*shape, self.states), 1 / self.states)
        """[n, S, A, S], expected."""
        self.reward = np.full(shape, float(self._prior))
        """[n, S, A], expected."""
        self.precision = np.ones(shape)
        """[n, S, A], of the mean rewards: one more than the rewards seen."""
        self._row = np.arange(n)

    def update(
        self, state: np.ndarray, action: np.ndarray, reward: np.ndarray, next_state: np.ndarray, seen: np.ndarray
    ) -> None:
        """Learn from one step of every MDP.

        Args:
            state: [n], where it was.
            action: [n], what it did.
            reward: [n], what that paid.
            next_state: [n], where it came to ...
            seen: bool [n], ... unless the episode ended, and what is shown is the next one's first state.
        """
        at = (self._row, state, action)
        self.precision[at] += 1
        self.reward[at] += (reward - self.reward[at]) / self.precision[at]
        self.alpha[(*at, next_state)] += seen
        self.transition[at] = self.alpha[at] / self.alpha[at].sum(axis=1, keepdims=True)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One MDP for each, drawn from the posterior: transitions [n, S, A, S] and mean rewards [n, S, A]."""
        gamma = rng.standard_gamma(self.alpha)
        transition = gamma / gamma.sum(axis=3, keepdims=True)
        return transition, self.reward + rng.standard_normal(self.reward.shape) / np.sqrt(self.precision)
