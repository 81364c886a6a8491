"""A family of MDPs out of any single `gymnasium.Env` and a function that sets its task.

The environments of a batch are stepped one after the other in Python: right for trying an idea, slow for a large run.
A family that is stepped often deserves a batched implementation of `api.VectorEnv`.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from .api import Bools, Split, Step, Tasks
from .errors import require

Task = Mapping[str, Any]
"""One task: names to numbers or arrays."""


class GymnasiumFamily:
    """Tasks of one Gymnasium environment.

    task  the entries that `tasks` gives, each stacked to [N, ...]
    """

    def __init__(
        self,
        make: Callable[[], gymnasium.Env],
        set_task: Callable[[gymnasium.Env, Task], None],
        tasks: Callable[[np.random.Generator], Task] | Sequence[Task],
        *,
        horizon: int | None = None,
        test_share: float = 0.2,
    ) -> None:
        """Args:
        make: makes the environment.
        set_task: makes the (wrapped) environment the MDP of a task; called before the first reset of a trial.
        tasks: draws one task from a generator; or a finite list of tasks, which is split into train and test.
        horizon: steps after which every episode has ended; by default the environment's own time limit. A lower
            one truncates.
        test_share: of a finite list, held out for "test".

        Raises:
            BadInput: no horizon is given and the environment has no time limit; or a split would be empty.
        """
        self._make, self._set_task, self._tasks = make, set_task, tasks
        self._spare: list[gymnasium.Env] = []
        env = self._take()
        self.observation_space, self.action_space = env.observation_space, env.action_space
        limit = env.spec.max_episode_steps if env.spec else None
        self._spare.append(env)
        given = horizon if horizon is not None else limit
        require(
            given is not None and given >= 1,
            "horizon",
            given,
            "at least 1; the environment has no time limit of its own",
        )
        self.horizon: int = given or 0
        if not callable(tasks):
            different = {tuple((k, np.asarray(task[k]).tobytes()) for k in sorted(task)) for task in tasks}
            require(len(different) == len(tasks), "the number of different tasks", len(different), f"{len(tasks)}")
            order = np.random.default_rng(0).permutation(len(tasks))
            held_out = round(test_share * len(tasks))
            self._split: dict[Split, np.ndarray] = {"test": order[:held_out], "train": order[held_out:]}
            for split, members in self._split.items():
                require(len(members) > 0, f"the number of {split} tasks", 0, f"at least 1 of the {len(tasks)} given")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_spare": []}

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        if callable(self._tasks):
            drawn = [self._tasks(rng) for _ in range(n)]
        else:
            drawn = [self._tasks[index] for index in rng.choice(self._split[split], n)]
        return {name: np.stack([np.asarray(task[name]) for task in drawn]) for name in drawn[0]}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> "GymnasiumEnvs":
        n = len(next(iter(tasks.values())))
        envs = [self._take() for _ in range(n)]
        for row, env in enumerate(envs):
            self._set_task(env, {name: array[row] for name, array in tasks.items()})
        batch = GymnasiumEnvs(envs, self.horizon, rng)
        weakref.finalize(batch, self._spare.extend, envs)  # making one can take longer than a whole trial
        return batch

    def _take(self) -> gymnasium.Env:
        return self._spare.pop() if self._spare else self._make()


class GymnasiumEnvs:
    """N single environments as one batch."""

    def __init__(self, envs: list[gymnasium.Env], horizon: int, rng: np.random.Generator) -> None:
        self._envs, self._horizon, self._rng = envs, horizon, rng
        self._observation: list[Any] = [None] * len(envs)
        self._time = np.zeros(len(envs), np.int64)
        self._over = np.ones(len(envs), np.bool_)

    def reset(self, rows: Bools) -> np.ndarray:
        seeds = self._rng.integers(2**31, size=len(self._envs))
        for row in np.flatnonzero(rows):
            self._observation[row], _ = self._envs[row].reset(seed=int(seeds[row]))
        self._time[rows], self._over[rows] = 0, False
        return self._stacked()

    def step(self, action: np.ndarray) -> Step:
        n = len(self._envs)
        reward, terminated, truncated = np.zeros(n, np.float32), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        for row in np.flatnonzero(~self._over):
            answer = self._envs[row].step(action[row])
            self._observation[row], reward[row], terminated[row], truncated[row] = answer[:4]
        self._time += 1
        truncated |= ~self._over & ~terminated & (self._time >= self._horizon)
        self._over |= terminated | truncated
        return Step(self._stacked(), reward, terminated, truncated)

    def _stacked(self) -> np.ndarray:
        space = self._envs[0].observation_space
        for observation in self._observation:
            shape = np.shape(observation)
            require(shape == space.shape, "the shape of the environment's observation", shape, str(space.shape))
        return np.asarray(self._observation, space.dtype)
