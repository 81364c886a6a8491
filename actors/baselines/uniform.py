"""The baseline that any family has: actions that look at nothing."""

from collections.abc import Mapping

import gymnasium
import numpy as np
from gymnasium import spaces

from ...envs.api import Bools
from ...envs.spaces import Whole, bounded, check_action_space, limits, scale_of


class Random:
    """An `InnerLoop` that draws every action uniformly from the action space.

    Where a Box has no bounds, uniform means nothing: there it draws N(0, 1); with one bound, around what lies 1 inside
    of it, clipped to it.
    """

    rollouts_per_task = 1

    def __init__(self, action_space: gymnasium.Space) -> None:
        """Args:
            action_space: of one MDP.

        Raises:
            BadInput: it is another kind of space, or its bounds are none.
        """
        check_action_space("the action space", action_space)
        self.note: Mapping[str, np.ndarray] = {}
        self._space = action_space
        self._own_rng = np.random.default_rng(0)
        self.begin_trial(0)

    def begin_trial(self, n: int, rng: np.random.Generator | None = None) -> None:
        """n new tasks; `rng` as in `InnerLoop`, None being the agent's own, which began with seed 0."""
        self._n = n
        self._rng = self._own_rng if rng is None else rng

    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        """The next actions, [n, ...], int64 or of the box's dtype; all three arguments are ignored."""
        shape = (self._n, *(self._space.shape or ()))
        if isinstance(self._space, Whole):
            first, end = limits(self._space)
            return first + self._rng.integers(np.asarray(end) - first, size=shape)
        assert isinstance(self._space, spaces.Box)
        low, high = self._space.low.astype(np.float64), self._space.high.astype(np.float64)
        both, (centre, _) = bounded(self._space), scale_of(self._space)
        base, width = np.where(both, low, 0), np.where(both, high, 0) - np.where(both, low, 0)
        uniform = base + width * self._rng.random(shape)
        normal = np.clip(centre + self._rng.standard_normal(shape), low, high)
        return np.where(both, uniform, normal).astype(self._space.dtype)
