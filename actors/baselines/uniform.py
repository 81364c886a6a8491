"""The baseline that any family has: actions that look at nothing."""

from collections.abc import Mapping

import gymnasium
import numpy as np
from gymnasium import spaces

from ...envs.api import Bools
from ...envs.errors import BadInput


class Random:
    """An `InnerLoop` that draws every action uniformly from the action space.

    Where a Box has no bounds, uniform means nothing: there it draws N(0, 1), clipped to the bound it has, if any.
    """

    width = 1

    def __init__(self, action_space: gymnasium.Space) -> None:
        """Args:
            action_space: of one MDP, `Discrete` or `Box`.

        Raises:
            BadInput: it is another kind of space.
        """
        if not isinstance(action_space, spaces.Discrete | spaces.Box):
            raise BadInput(f"the action space is {action_space}; expected Discrete or Box.")
        self.note: Mapping[str, np.ndarray] = {}
        self._space = action_space
        self._own_rng = np.random.default_rng(0)
        self.begin_trial(0)

    def begin_trial(self, n: int, rng: np.random.Generator | None = None) -> None:
        """n new tasks; `rng` as in `InnerLoop`, None being the agent's own, which began with seed 0."""
        self._n = n
        self._rng = self._own_rng if rng is None else rng

    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        """The next actions, [n, ...], in the space's dtype (int64 for `Discrete`); all three arguments are ignored."""
        if isinstance(self._space, spaces.Discrete):
            return self._space.start + self._rng.integers(self._space.n, size=self._n)
        shape = (self._n, *self._space.shape)
        low, high = self._space.low.astype(np.float64), self._space.high.astype(np.float64)
        bounded = np.isfinite(low) & np.isfinite(high)
        base, width = np.where(bounded, low, 0), np.where(bounded, high, 0) - np.where(bounded, low, 0)
        uniform = base + width * self._rng.random(shape)
        normal = np.clip(self._rng.standard_normal(shape), low, high)
        return np.where(bounded, uniform, normal).astype(self._space.dtype)
