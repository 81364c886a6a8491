"""Every family of MDPs keeps the contract. A new one is in `FAMILIES`, so it is tested here too."""

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from drawings import some_pictures

from innerloop.envs.api import Split, Step, TaskFamily, VectorEnv
from innerloop.envs.bandit import CorrelatedBandit
from innerloop.envs.families import FAMILIES
from innerloop.envs.fewshot.images import Images
from innerloop.envs.tabular import TabularMDP
from innerloop.testing import laws

SHORT = {"ant-dir", "ant-goal", "half-cheetah-dir", "half-cheetah-vel", "humanoid-dir", "walker2d-params"}
"""Families of long episodes, which these tests cut short."""
OTHERS = {name: make for name, make in FAMILIES.items() if name != "images"}
EVERY = [
    *(pytest.param(partial(make, horizon=20) if name in SHORT else make, id=name) for name, make in OTHERS.items()),
    pytest.param(lambda: Images(data=some_pictures()), id="images"),
    pytest.param(lambda: CorrelatedBandit(level="hard"), id="correlated-bandit-hard"),
    pytest.param(lambda: TabularMDP(states=3, actions=2, horizon=4), id="tabular-mdp-small"),
    pytest.param("pendulum", id="gymnasium-continuous-tasks"),
    pytest.param("cartpole", id="gymnasium-finite-tasks"),
]
every_family = pytest.mark.parametrize("family", EVERY, indirect=True)
N = 7
ALL = np.ones(N, np.bool_)


def begin(family: TaskFamily, seed: int = 0, split: Split = "train") -> VectorEnv:
    rng = np.random.default_rng(seed)
    return family.make(family.sample(rng, N, split), rng)


def some_actions(space: gymnasium.Space, steps: int) -> np.ndarray:
    space.seed(5)
    return np.array([[space.sample() for _ in range(N)] for _ in range(steps)])


def ended(step: Step) -> np.ndarray:
    return step.terminated | step.truncated


def given(step: Step) -> list[np.ndarray]:
    """A step's arrays."""
    return [*arrays(step.observation), *step[1:5], *step.privileged.values(), *step.measures.values()]


def arrays(observation: Any) -> list[np.ndarray]:
    """Of observations, which may have several entries."""
    return [*observation.values()] if isinstance(observation, dict) else [observation]


@pytest.mark.parametrize("law", laws("family"))
@every_family
def test_a_family_keeps_the_contract(family: TaskFamily, law: Callable[[TaskFamily], None]) -> None:
    law(family)


@every_family
def test_what_the_caller_keeps_of_a_step_is_not_written_over(family: TaskFamily) -> None:
    env = begin(family)
    kept = arrays(env.reset(ALL))
    copies = [array.copy() for array in kept]
    for action in some_actions(family.action_space, family.horizon + 2):
        step = env.step(action)
        new = [*given(step), *arrays(env.reset(ended(step)))]
        kept += new
        copies += [array.copy() for array in new]
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@every_family
def test_a_family_travels(family: TaskFamily) -> None:
    """Pickled, as to an actor, it samples the same tasks and makes the same MDPs."""
    copy = pickle.loads(pickle.dumps(family))
    steps = []
    for each in (family, copy):
        env = begin(each, seed=4)
        env.reset(ALL)
        steps.append(given(env.step(some_actions(family.action_space, 1)[0])))
    for a, b in zip(*steps, strict=True):
        np.testing.assert_array_equal(a, b)
