"""A trial: k episodes of one MDP as one stream of policy inputs (Duan et al. 2016, section 2.2).

The boundary step is data: when an episode ends, the next input carries its last reward and done = True *together with*
the first observation of the next episode. An agent that is not shown the reward that ended an episode cannot learn
where the goal was.
"""

from typing import NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

from .api import Bools, Step, TaskFamily, Tasks
from .errors import BadInput, require


class Input(NamedTuple):
    """What the policy is given at one step, beside its own previous action."""

    observation: np.ndarray
    """[N, ...]: of the episode now running; after the trial's last step, the last observation."""
    reward: np.ndarray
    """float32 [N]: for the previous action; 0 at the start of the trial."""
    done: Bools
    """[N]: the previous action ended an episode; False at the start of the trial."""


class Trials:
    """N trials of `episodes` episodes each, one task per row, stepped as one batch.

    `over` marks the rows whose trial has ended. Such a row is stepped on with the others, but counts no more.
    """

    def __init__(self, family: TaskFamily, tasks: Tasks, episodes: int, rng: np.random.Generator) -> None:
        """Args:
        family: where the tasks come from.
        tasks: one per trial.
        episodes: k, at least 1.
        rng: all randomness of the MDPs.

        Raises:
            BadInput: `episodes` is less than 1.
        """
        require(episodes >= 1, "episodes", episodes, "at least 1")
        self._env = family.make(tasks, rng)
        self._spaces = family.observation_space, family.action_space
        self._n = len(next(iter(tasks.values())))
        self._episodes = episodes
        self.steps = episodes * family.horizon
        """Steps after which every trial is over."""
        self.episode = np.zeros(self._n, np.int64)
        """[N]: index of the episode now running, in [0, episodes]."""
        self.over = np.zeros(self._n, np.bool_)

    def begin(self) -> Input:
        """The first input of every trial."""
        observation = self._env.reset(np.ones(self._n, np.bool_))
        check_rows("the observation", observation, self._spaces[0], self._n)
        return Input(observation, np.zeros(self._n, np.float32), np.zeros(self._n, np.bool_))

    def step(self, action: np.ndarray) -> tuple[Input, Step]:
        """Take one action per row, [N, ...].

        Returns:
            The next input, and the step as the MDPs gave it.

        Raises:
            BadInput: the environment returned NaN, or arrays of a shape that its space does not have.
        """
        step = self._env.step(action)
        check_rows("the observation", step.observation, self._spaces[0], self._n)
        for field in ("reward", "terminated", "truncated"):
            shape = np.shape(getattr(step, field))
            require(shape == (self._n,), f"the shape of the environment's {field}", shape, f"({self._n},), one per row")
        if not np.isfinite(step.reward).all():
            raise BadInput(
                f"the environment's reward is {step.reward[~np.isfinite(step.reward)][0]}; expected a finite number."
            )
        done = step.terminated | step.truncated
        self.episode += done & ~self.over
        self.over = self.episode >= self._episodes
        again = done & ~self.over
        observation = step.observation
        if again.any():
            fresh = self._env.reset(again)
            check_rows("the observation", fresh, self._spaces[0], self._n)
            observation = np.where(again.reshape(-1, *[1] * (observation.ndim - 1)), fresh, observation)
        return Input(observation, step.reward, done), step


def check_rows(what: str, array: np.ndarray, space: gymnasium.Space, n: int) -> None:
    """Refuse a batch that cannot be n members of `space`: the shape, NaN, or an index out of range.

    Raises:
        BadInput: naming the environment's field, what it returned and what was expected.
    """
    shape = (n, *(space.shape or ()))
    if array.shape != shape:
        raise BadInput(
            f"the shape of {what} from the environment is {array.shape}; expected {shape}: {n} rows of {space}."
        )
    if isinstance(space, spaces.Discrete):
        first, end = space.start, space.start + space.n
        if array.dtype.kind not in "iu" or (array < first).any() or (array >= end).any():
            raise BadInput(f"{what} from the environment is {array}; expected integers in [{first}, {end}).")
    elif not np.isfinite(array).all():
        raise BadInput(f"{what} from the environment is {array[~np.isfinite(array)][0]}; expected finite numbers.")
