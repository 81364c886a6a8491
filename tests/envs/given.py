"""An environment that gives whatever it is told to, and the sentence with which a family refuses it."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from innerloop.envs.adapter import GymnasiumFamily
from innerloop.envs.api import Step
from innerloop.envs.trials import Input, Trials


class Given(gymnasium.Env):
    """Episodes of three steps; `fields` replace what it gives at each step, by the names of Gymnasium's five."""

    observation_space: gymnasium.Space = spaces.Box(-10, 10, (2,), np.float32)
    action_space: gymnasium.Space = spaces.Discrete(2)
    limit = 3

    def __init__(self, **fields: Any) -> None:
        self.closed, self.seeds = 0, []
        for space in ("observation_space", "action_space"):
            if space in fields:
                setattr(self, space, fields.pop(space))
        self.fields = fields

    def usual(self) -> Any:
        space = self.observation_space
        start = space.start if isinstance(space, spaces.Discrete) else 0
        return np.full(space.shape or (), start, space.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.time = 0
        self.seeds.append(seed)
        return self.fields.get("reset", (self.fields.get("first", self.usual()), {}))

    def step(self, action: Any) -> Any:
        self.time += 1
        usual = {
            "observation": self.usual(),
            "reward": 1.0,
            "terminated": self.time >= self.limit,
            "truncated": False,
            "info": {},
        }
        return self.fields.get("step", tuple((usual | self.fields)[name] for name in usual))

    def close(self) -> None:
        self.closed += 1


def draw(rng: np.random.Generator) -> dict[str, float]:
    return {"number": rng.random()}


def leave(env: gymnasium.Env, task: Any) -> None:
    """All tasks are the same MDP."""


def family(make: Callable[[], gymnasium.Env] = Given, **options: Any) -> GymnasiumFamily:
    return GymnasiumFamily(make, **({"tasks": draw, "set_task": leave, "horizon": 5} | options))


def played(some: Any, episodes: int = 2, n: int = 2, steps: int = 100) -> tuple[list[Input], list[Step]]:
    """The inputs and the steps of whole trials, with a member of the action space as every action."""
    rng = np.random.default_rng(0)
    trials = Trials(some, some.sample(rng, n, "train"), episodes, rng)
    some.action_space.seed(0)
    action = np.array([some.action_space.sample() for _ in range(n)])
    inputs, taken = [trials.begin()], []
    while trials.playing.any() and len(taken) < steps:
        given, step = trials.step(action)
        inputs.append(given)
        taken.append(step)
    return inputs, taken
