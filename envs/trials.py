"""A trial: k episodes of one MDP, or as many as fit into its steps, as one stream of policy inputs (Duan et al. 2016,
section 2.2).

The boundary step is data: when an episode ends, the next input carries its last reward and done = True *together with*
the first observation of the next episode. An agent that never sees the reward that ended an episode cannot learn where
the goal was.
"""

from typing import NamedTuple

import numpy as np

from .api import Bools, Split, Step, TaskFamily, Tasks
from .boundary import name_of, parse_count, parse_tasks
from .checked import make
from .errors import BadInput, require
from .measures import Measures, parse_measures
from .seeding import Random, SideBySide


class Input(NamedTuple):
    """The input of the policy at one step, in addition to its own previous action."""

    observation: np.ndarray
    """[N, ...]: of the episode now running; after the trial's last step, the last observation."""
    reward: np.ndarray
    """float32 [N]: for the previous action; 0 at the start of the trial."""
    done: Bools
    """[N]: the previous action ended an episode; False at the start of the trial, and while a row waits."""


def sample_tasks(family: TaskFamily, rng: np.random.Generator, n: int, split: Split) -> Tasks:
    """n tasks of a family.

    Raises:
        BadInput: what it sampled is not a dict of arrays with n rows each.
    """
    return parse_tasks(name_of(family), family.sample(rng, n, split), n)


class Trials:
    """N rows of `episodes` episodes each, stepped as one batch; each task is played in `rollouts_per_task` of them.

    Where a trial has a number of steps instead, episodes follow each other until they are used up; the last one is then
    truncated.

    If a task has several rows, the agent adapts to it from all of them: each row waits at the end of an episode until
    the others have finished theirs. A row that waits, or whose trial is over, is still stepped, but does not count.
    """

    def __init__(
        self,
        family: TaskFamily,
        tasks: Tasks,
        episodes: int,
        rng: Random,
        rollouts_per_task: int = 1,
        trial_steps: int = 0,
    ) -> None:
        """Args:
        family: where the tasks come from.
        tasks: one per trial.
        episodes: k, at least 1.
        rng: source of all randomness of the MDPs; `SideBySide` if the trials are of several parts.
        rollouts_per_task: rows of one task, at least 1; they are adjacent.
        trial_steps: of each trial, instead of `episodes`; 0 for those.

        Raises:
            BadInput: `episodes` or `rollouts_per_task` is less than 1, or the horizon or the tasks are malformed; or
                rows that wait for each other are counted in steps.
            EnvironmentRaised: the family's own code raised.
        """
        require(episodes >= 1, "episodes", episodes, "at least 1")
        require(rollouts_per_task >= 1, "rollouts_per_task", rollouts_per_task, "at least 1")
        self._name = name_of(family)
        # Always a copy: what the environment does to its tasks must not reach the caller's.
        tasks = {
            name: np.repeat(array, rollouts_per_task, axis=0) for name, array in parse_tasks(self._name, tasks).items()
        }
        over = parse_measures(self._name, getattr(family, "measures", {}))
        self._env, self._rng = make(family, tasks, rng, over), rng
        self._n = len(next(iter(tasks.values())))
        require(trial_steps >= 0, "trial_steps", trial_steps, "at least 0")
        require(not (trial_steps and rollouts_per_task > 1), "trial_steps", trial_steps, "0 where rows wait for others")
        self._limit = trial_steps
        self._episodes, self._wait = trial_steps or episodes, rollouts_per_task > 1
        self._horizon, self._clock = parse_count(f"the horizon of {self._name}", family.horizon), 0
        self._began = np.zeros(self._n, np.int64)  # by the clock: each row's episode
        self._due = self._horizon  # by the clock: no episode must have ended before
        self.steps = trial_steps or episodes * self._horizon
        """Steps after which every trial is over."""
        self.episode = np.zeros(self._n, np.int64)
        """[N]: episodes ended; the index of the one now running, unless the row waits."""
        self.playing = np.ones(self._n, np.bool_)
        """[N]: the next step counts; False where the row waits or its trial is over."""
        self.diverged = np.zeros(self._n, np.int64)
        """[N]: episodes that were cut because their simulation broke down."""
        self.measures = Measures(over, self._n)
        """Of every episode so far."""

    def begin(self) -> Input:
        """The first input of every trial."""
        observation = self._env.reset(np.ones(self._n, np.bool_))
        return Input(observation, np.zeros(self._n, np.float32), np.zeros(self._n, np.bool_))

    def step(self, action: np.ndarray) -> tuple[Input, Step]:
        """Take one action per row, [N, ...].

        Returns:
            The next input, and the step as the MDPs returned it; it is meaningless in rows that were not playing.

        Raises:
            BadInput: the environment returned something outside its spaces, or continues beyond its horizon.
            EnvironmentRaised: its own code raised.
        """
        step = self._env.step(action)
        self._clock += 1
        cut = self._clock == self._limit
        if cut:
            step = step._replace(truncated=step.truncated | ~step.terminated)
        self.measures.add(step.measures, self.episode, self.playing)
        done = (step.terminated | step.truncated) & self.playing
        going = self.playing & ~done
        if self._clock >= self._due and going.any():
            self._check_horizon(self._began[going])
        if step.diverged is not np.False_:
            self.diverged += step.diverged & self.playing
        self.episode += done
        ended = done if not self._wait else ~self.playing | done
        again = ended & (self.episode < self._episodes)
        if cut or (self._wait and not ended.all()):
            again[:] = False
        self.playing = going | again
        observation = step.observation
        if again.any():
            self._began[again] = self._clock
            if self._wait and isinstance(self._rng, SideBySide):
                self._rng.restart()  # how long rows have waited depends on the other tasks
            fresh = self._env.reset(again)
            observation = np.where(again.reshape(-1, *[1] * (observation.ndim - 1)), fresh, observation)
        return Input(observation, step.reward, done), step

    def _check_horizon(self, began: np.ndarray) -> None:
        self._due = int(began.min()) + self._horizon
        if self._due <= self._clock:
            raise BadInput(
                f"an episode of {self._name} goes on after {self._horizon} steps, its horizon; expected terminated or "
                "truncated by then."
            )
