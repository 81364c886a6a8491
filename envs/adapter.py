"""A family of MDPs out of any single `gymnasium.Env` and a function that sets its task.

The environments of a batch are stepped one after the other in Python: right for trying an idea, slow for a large run.
A family that is stepped often deserves a batched implementation of `api.VectorEnv`.

What an environment gives is parsed where it gives it (`boundary`): it is right, or `BadInput` says in a sentence which
environment gave what. What its own code raises is `EnvironmentRaised`, with the line of that code.
"""

import logging
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .api import Bools, Split, Step, Tasks
from .boundary import parse_count, parse_flag, parse_number, parse_rows
from .errors import BadInput, ask, require
from .instances import Instances, running_statistics
from .measures import Over, parse_measures
from .seeding import Random, SideBySide, only
from .spaces import layout_of
from .task_source import Drawn, Listed, TaskSource

log = logging.getLogger("innerloop")

Task = Mapping[str, Any]
"""One task: names to numbers or arrays."""


class GymnasiumFamily:
    """Tasks of one Gymnasium environment.

    task  of a function, the entries that it gives, each stacked to [N, ...]; of a list, member: int64 [N], the number
          of each task among all that were given, train before test, and the entries that all tasks share
    """

    side_by_side = True

    def __init__(
        self,
        make: Callable[[], gymnasium.Env],
        set_task: Callable[[gymnasium.Env, Any], Any],
        tasks: Callable[[np.random.Generator], Task] | Iterable[Any] | Mapping[Any, Iterable[Any]],
        *,
        horizon: int | None = None,
        test_share: float | None = None,
        seed_from: str | None = None,
        rows: int = 64,
        measures: Mapping[str, Over] = MappingProxyType({}),
    ) -> None:
        """Args:
        make: makes the environment, a new one at every call.
        set_task: makes the (wrapped) environment the MDP of a task; called before the first reset of a trial.
        tasks: draws one task from a generator: a dict of numbers, text or arrays. Or a finite list of tasks of any
            kind (dicts, or a suite's own objects), which is split into train and test; {"train": a list, "test": a
            list} where it is split already. `set_task` gets a list's members as they are (dicts as copies).
        horizon: steps after which every episode has ended; by default the environment's own time limit. A lower
            one truncates.
        test_share: of a list, held out for "test"; by default 0.2.
        seed_from: for environments whose seed is the task: the name of the task's entry, a whole number of at least 0,
            that every reset of a trial is given as its seed (of tasks that are numbers, any name: the number itself).
            By default every episode has another seed, from the run's own.
        rows: environments that evaluation has side by side, at most (more, where one task needs more).
        measures: numbers of the steps' `info` that are reported beside the return, with how an episode's is made of
            them: {"success": "ever"}. Where an info does not have one, `last` keeps the one before, and else it is 0.

        Raises:
            BadInput: no horizon is given and the environment has no time limit; a split would be empty, or train and
                test share a task; or the environment, its spaces or its tasks cannot be used.
            EnvironmentRaised: `make` or `tasks` raised.
        """
        self.rows = parse_count("rows", rows)
        self.measures = parse_measures("the family", measures)
        self._unseen = set(self.measures)
        self.instances, self._set_task, self._seed_from = Instances(make), set_task, seed_from
        try:
            [env] = self.instances.take(1)
            self.instances.give_back([env])
            self.name = self.instances.name
            self.observation_space = self.instances.observation_space
            self.action_space = self.instances.action_space
            limit = env.spec.max_episode_steps if env.spec else None
            given = horizon if horizon is not None else limit
            missing = "at least 1; the environment has no time limit of its own"
            require(given is not None, "horizon", given, missing)
            self.horizon = parse_count("horizon", given)
            self.source: TaskSource = (
                Drawn(self.name, tasks) if callable(tasks) else Listed(self.name, tasks, test_share)
            )
            drawn = callable(tasks) and test_share is not None
            require(not drawn, "test_share", test_share, "none, because the tasks are drawn and not listed")
        except BaseException:
            self.instances.close()
            raise
        for wrapper in running_statistics(env):
            log.warning(
                "%s of %s normalises by what it has seen of every episode before: results depend on what else was "
                "played, and on where. Normalise by fixed numbers.",
                wrapper,
                self.name,
            )

    def task_count(self, split: Split) -> int:
        return self.source.size(split)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return self.source.sample(rng, n, split)

    def make(self, tasks: Tasks, rng: Random) -> "GymnasiumEnvs":
        instances, n = self.instances, len(next(iter(tasks.values())))
        seeds: list[int] | None = None if self._seed_from is None else []
        envs = instances.take(n)
        try:
            for row, env in enumerate(envs):
                task = self.source.task(tasks, row)
                if seeds is not None:
                    seeds.append(self._seed(task))
                ask(self.name, "set_task", self._set_task, env, task)
                instances.check_spaces(env)
        except BaseException:
            instances.give_back(envs)
            raise
        return GymnasiumEnvs(instances, envs, self.horizon, rng, seeds, self.measures, self._unseen)

    def _seed(self, task: Any) -> int:
        assert self._seed_from is not None
        seed = task.get(self._seed_from) if isinstance(task, Mapping) else task
        return parse_count(f"the seed ({self._seed_from}) of a task of {self.name}", seed, least=0)


class GymnasiumEnvs:
    """N single environments as one batch."""

    def __init__(
        self,
        instances: Instances,
        envs: list[gymnasium.Env],
        horizon: int,
        rng: Random,
        seeds: list[int] | None,
        measures: Mapping[str, Over],
        unseen: set[str],
    ) -> None:
        """Args:
        instances: where the environments go when this batch is gone: making one can take longer than a whole trial.
        envs: N, with their tasks.
        horizon: steps after which an episode is truncated.
        rng: gives a seed to every episode, unless it is given.
        seeds: of every episode of a row.
        measures: of the steps' infos.
        unseen: names that no info has contained so far; all batches of a family share the set, so that they are
            reported once.
        """
        self.instances, self._envs, self._horizon, self._rng, self._seeds = instances, envs, horizon, rng, seeds
        self._name, self._space, self._actions = instances.name, instances.observation_space, instances.action_space
        self._scalar = isinstance(self._actions, spaces.Discrete)  # which environments index with
        shape, dtype = layout_of(self._space)
        self._observation = np.zeros((len(envs), *shape), dtype)
        self._plain = isinstance(self._space, spaces.Box) and dtype.kind == "f"
        self._time = np.zeros(len(envs), np.int64)
        self._over = np.ones(len(envs), np.bool_)
        self._how, self._unseen = measures, unseen
        self._measures = {name: np.zeros(len(envs), np.float32) for name in measures}
        weakref.finalize(self, instances.give_back, envs)

    def reset(self, rows: Bools) -> np.ndarray:
        drawn = self._seeds if self._seeds is not None else _seeds(only(self._rng, rows), len(self._envs))
        for row in np.flatnonzero(rows).tolist():
            answer = self._ask(row, "reset", seed=drawn[row])
            if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)):
                raise self._unexpected("reset", answer, "a tuple (observation, info), info a dict")
            self._see(row, answer[0])
        self._time[rows], self._over[rows] = 0, False
        for array in self._measures.values():
            array[rows] = 0
        return self._observation.copy()

    def step(self, action: np.ndarray) -> Step:
        n = len(self._envs)
        reward, terminated, truncated = np.zeros(n, np.float32), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        action = np.asarray(action, self._actions.dtype)
        for row in np.flatnonzero(~self._over).tolist():
            answer = self._ask(row, "step", action[row] if self._scalar else action[row, ...])
            if not (isinstance(answer, tuple) and len(answer) == 5 and isinstance(answer[4], dict)):
                expected = "a tuple (observation, reward, terminated, truncated, info), info a dict"
                raise self._unexpected("step", answer, expected)
            self._see(row, answer[0])
            reward[row] = parse_number(f"{self._name}'s reward", answer[1])
            terminated[row] = parse_flag(f"{self._name}'s terminated", answer[2])
            truncated[row] = parse_flag(f"{self._name}'s truncated", answer[3])
            self._measure(row, answer[4])
        self._time += 1
        truncated |= ~self._over & ~terminated & (self._time >= self._horizon)
        self._over |= terminated | truncated
        if self._unseen and self._over.any():
            log.warning("No info of %s had %s in a whole episode.", self._name, ", ".join(sorted(self._unseen)))
            self._unseen.clear()
        return Step(self._observation.copy(), reward, terminated, truncated, measures=self._measures)

    def _measure(self, row: int, info: dict[str, Any]) -> None:
        for name, array in self._measures.items():
            if name in info:
                array[row] = parse_number(f"{self._name}'s {name}", info[name])
                self._unseen.discard(name)
            elif self._how[name] != "last":
                array[row] = 0

    def _ask(self, row: int, method: str, *args: Any, **options: Any) -> Any:
        env = self._envs[row]
        try:
            return ask(self._name, method, getattr(env, method), *args, **options)
        except Exception:
            self.instances.discard(env)  # its state is unknown now
            raise

    def _see(self, row: int, given: object) -> None:
        mine = self._observation
        fits = type(given) is np.ndarray and given.dtype == mine.dtype and given.shape == mine.shape[1:]
        if not (fits and self._plain):
            given = parse_rows(f"{self._name}'s observation", given, self._space, None)
        mine[row] = given  # pyright: ignore[reportArgumentType,reportCallIssue]

    def _unexpected(self, method: str, answer: object, expected: str) -> BadInput:
        size = f" of {len(answer)}" if isinstance(answer, tuple) else ""
        return BadInput(
            f"what {method} of {self._name} returned is a {type(answer).__name__}{size}; expected {expected}."
        )


def _seeds(rng: Random, n: int) -> list[int]:
    if isinstance(rng, SideBySide):
        return (2**31 * rng.random(n)).astype(np.int64).tolist()
    return rng.integers(2**31, size=n).tolist()
