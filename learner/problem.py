"""What is learned on, as far as a model depends on it."""

from typing import NamedTuple

import gymnasium


class Problem(NamedTuple):
    """What a model must know of its problem before it can be built."""

    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    episodes: int
    """Episodes in a trial."""
    horizon: int
    """Steps after which every episode has ended."""
    trial_steps: int = 0
    """Steps of a trial, whatever number of episodes that is; 0 where it has `episodes`."""

    @property
    def steps(self) -> int:
        """Of the longest trial."""
        return self.trial_steps or self.episodes * self.horizon

    @property
    def most_episodes(self) -> int:
        """That a trial can have."""
        return self.trial_steps or self.episodes
