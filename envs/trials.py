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
    """[N]: the previous action ended an episode; False at the start of the trial, and while a row waits."""


class Trials:
    """N rows of `episodes` episodes each, stepped as one batch; a task is played in `width` rows side by side.

    With several rows to a task, what is learned from one episode comes from all of them: every row then waits at the
    end of an episode until all have ended theirs. A row that waits, or whose trial is over, is stepped on with the
    others, but does not count.
    """

    def __init__(
        self, family: TaskFamily, tasks: Tasks, episodes: int, rng: np.random.Generator, width: int = 1
    ) -> None:
        """Args:
        family: where the tasks come from.
        tasks: one per trial.
        episodes: k, at least 1.
        rng: all randomness of the MDPs.
        width: rows of one task, at least 1; they lie next to each other.

        Raises:
            BadInput: `episodes` or `width` is less than 1.
        """
        require(episodes >= 1, "episodes", episodes, "at least 1")
        require(width >= 1, "width", width, "at least 1")
        if width > 1:
            tasks = {name: np.repeat(array, width, axis=0) for name, array in tasks.items()}
        self._env = family.make(tasks, rng)
        self._spaces = family.observation_space, family.action_space
        self._n = len(next(iter(tasks.values())))
        self._episodes, self._wait = episodes, width > 1
        self.steps = episodes * family.horizon
        """Steps after which every trial is over."""
        self.episode = np.zeros(self._n, np.int64)
        """[N]: episodes ended, in [0, episodes]; the index of the one now running, unless the row waits."""
        self.playing = np.ones(self._n, np.bool_)
        """[N]: the next step counts; False where the row waits or its trial is over."""
        self.diverged = 0
        """Episodes that were cut because their simulation broke down."""

    def begin(self) -> Input:
        """The first input of every trial."""
        observation = self._env.reset(np.ones(self._n, np.bool_))
        check_rows("the observation", observation, self._spaces[0], self._n)
        return Input(observation, np.zeros(self._n, np.float32), np.zeros(self._n, np.bool_))

    def step(self, action: np.ndarray) -> tuple[Input, Step]:
        """Take one action per row, [N, ...].

        Returns:
            The next input, and the step as the MDPs gave it; in rows that were not playing, it means nothing.

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
        done = (step.terminated | step.truncated) & self.playing
        self.diverged += int((step.diverged & self.playing).sum())
        self.episode += done
        ended = done if not self._wait else ~self.playing | done
        again = ended & (self.episode < self._episodes)
        if self._wait and not ended.all():
            again[:] = False
        self.playing = (self.playing & ~done) | again
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
