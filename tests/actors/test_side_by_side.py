"""Assignments that an actor plays as one batch: each has the same bits as alone, whatever they are."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from lengths import Lengths
from small import PAIRS, REWARDED, SMALL, of_length
from torch import nn

from innerloop.actors.actor import Actor, Assignment
from innerloop.actors.widened import OF_TASKS, ROWS
from innerloop.distributed.config import configure
from innerloop.distributed.rollouts.tasks import assignments
from innerloop.envs.adapter import GymnasiumFamily
from innerloop.envs.api import Bools, Split, Step, Tasks
from innerloop.envs.seeding import Random
from innerloop.learner.algorithms.rl2 import RL2
from innerloop.learner.api import Problem
from innerloop.learner.learner import Learner
from innerloop.learner.memory import MEMORIES
from innerloop.learner.policy import RecurrentAgent
from innerloop.learner.trajectory import Trajectory

TRIALS = 11


def shaken(**options: Any) -> Actor:
    """An actor with the same weights as every other one, unlike the first ones of a run."""
    experiment, rng = configure(**options).experiment, np.random.default_rng(0)
    actor, learner = Actor(experiment, seed=0), Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu")
    noise = {name: 0.3 * rng.standard_normal(array.shape) for name, array in learner.weights().items()}
    actor.load({name: (array + noise[name]).astype(array.dtype) for name, array in learner.weights().items()}, 1)
    return actor


def played(trajectory: Trajectory) -> dict[str, np.ndarray]:
    """What counts, trial by trial: how long rows have waited depends on who else was there."""
    valid = trajectory.valid.T

    def of_trials(array: np.ndarray) -> np.ndarray:
        return array[: len(trajectory.reward)].swapaxes(0, 1)[valid]

    steps = {
        "observation": trajectory.observation, "action": trajectory.action, "reward": trajectory.reward,
        "terminated": trajectory.terminated, "truncated": trajectory.truncated, **trajectory.privileged,
        **trajectory.note,
    }  # fmt: skip
    return {name: of_trials(array) for name, array in steps.items()} | trajectory.measures | {"lengths": valid.sum(1)}


def same(found: list[Trajectory], expected: list[Trajectory]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(map(played, found), map(played, expected), strict=True):
        assert one.keys() == other.keys()
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name], err_msg=name)


def alike_however_they_are_divided(
    make: Callable[[], Actor], episodes: int = 0, contexts: Sequence[Trajectory | None] = (None,) * 5
) -> None:
    everything = assignments(2, TRIALS, 5, episodes=episodes)
    alone = [make().collect(*each) for each in zip(everything, contexts, strict=True)]
    for shares in ([0, 5], [0, 2, 5], [0, 1, 4, 5]):
        actor = make()
        found = [actor.collect_all(everything[a:b], contexts[a:b]) for a, b in pairwise(shares)]
        same([each for share in found for each in share], alone)


@pytest.mark.parametrize("algorithm", REWARDED)
def test_trials_from_contexts_beside_others(algorithm: str) -> None:
    """Some parts have contexts of all of their tasks, some of none, some of a few and of other lengths."""
    options = {"family": f"{Lengthy.__module__}:Lengthy", "episodes": 3, "hidden": 8, **SMALL[algorithm]}

    def make() -> Actor:
        return shaken(algorithm=algorithm, **options)

    contexts: list[Trajectory | None] = [make().collect(each) for each in assignments(1, TRIALS, 5)]
    if "rollouts" not in options:  # inner steps are taken of all tasks or of none
        whole = contexts[3]
        assert whole is not None
        of_some = whole.valid & (np.arange(whole.valid.shape[1]) > 0)
        contexts[1:5] = None, contexts[2], replace(whole, valid=of_some), None
    alike_however_they_are_divided(make, contexts=contexts)
    with_, without = (make().collect(assignments(2, TRIALS, 5)[0], each) for each in (contexts[0], None))
    assert not np.array_equal(with_.action[:3], without.action[:3])


@pytest.mark.parametrize(("family", "algorithm"), PAIRS)
def test_every_family_with_every_algorithm(family: str, algorithm: str) -> None:
    options = of_length(family, 5)
    alike_however_they_are_divided(
        lambda: shaken(family=family, algorithm=algorithm, episodes=3, **SMALL[algorithm], **options)
    )


@pytest.mark.parametrize("memory", MEMORIES)
def test_every_memory(memory: str) -> None:
    alike_however_they_are_divided(
        lambda: shaken(family="tabular-mdp", horizon=4, episodes=4, memory=memory, hidden=16, embedding=0)
    )


@pytest.mark.parametrize("algorithm", REWARDED)
def test_episodes_of_different_lengths_that_others_wait_for(algorithm: str) -> None:
    """Each batch is made by itself: the family does not say that several can be one."""
    family = f"{Lengthy.__module__}:Lengthy"
    alike_however_they_are_divided(lambda: shaken(family=family, algorithm=algorithm, episodes=3, **SMALL[algorithm]))
    family = f"{Lengthy.__module__}:Declared"
    alike_however_they_are_divided(lambda: shaken(family=family, algorithm=algorithm, episodes=3, **SMALL[algorithm]))


def _set_length(env: gymnasium.Env, task: Any) -> None:
    env.unwrapped.length = float(task["length"])  # pyright: ignore[reportAttributeAccessIssue]


POLES = GymnasiumFamily(
    lambda: gymnasium.make("CartPole-v1"), _set_length, lambda rng: {"length": rng.uniform(0.1, 0.9)}, horizon=25
)


@pytest.mark.parametrize("algorithm", REWARDED)
def test_single_environments(algorithm: str) -> None:
    """Their episodes end at different times, and each has its own seed."""
    alike_however_they_are_divided(
        lambda: shaken(family=f"{Lengthy.__module__}:POLES", algorithm=algorithm, episodes=3, **SMALL[algorithm])
    )


def test_trials_by_steps_and_shorter_ones_of_a_curriculum() -> None:
    family = f"{Lengthy.__module__}:Lengthy"
    alike_however_they_are_divided(lambda: shaken(family=family, trial_steps=17, hidden=8, embedding=0))
    alike_however_they_are_divided(lambda: shaken(family=family, episodes=4, hidden=8, embedding=0), episodes=2)


def test_a_trajectory_is_as_long_as_its_own_longest_trial() -> None:
    actor = shaken(family=f"{Lengthy.__module__}:Lengthy", episodes=3, hidden=8, embedding=0)
    together = actor.collect_all(assignments(0, TRIALS, 5))
    lengths = [len(each.reward) for each in together]
    assert len({*lengths}) > 1
    for each in together:
        assert each.valid[-1].any()
        assert len(each.observation) == len(each.reward) + 1
        assert each.reward.flags.c_contiguous
        assert each.measures["steps"].shape == (each.reward.shape[1], 3)


@pytest.mark.parametrize("algorithm", REWARDED)
def test_a_network_is_asked_once_for_all(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch at each step, of a number of rows that has no remainder."""
    options = {"family": "tabular-mdp", "horizon": 6, "episodes": 2, "hidden": 8, **SMALL[algorithm]}
    actor, experiment = shaken(algorithm=algorithm, **options), configure(algorithm=algorithm, **options).experiment
    everything, rows = assignments(0, 40, 10), []
    actor.collect_all(everything)  # sees that it may
    agent = type(experiment.algorithm.inner_loop(experiment.algorithm.build(experiment.problem), experiment.problem))
    act: Any = agent.act

    def counted(self: Any, observation: np.ndarray, *others: Any) -> np.ndarray:
        rows.append(len(observation))
        return act(self, observation, *others)

    monkeypatch.setattr(agent, "act", counted)
    actor.collect_all(everything)
    width = SMALL[algorithm].get("rollouts", 1)
    multiple = ROWS if width == 1 else math.lcm(OF_TASKS, 2 * width)
    if len(rows) > 13 and "AuthenticAMD" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("on this processor a row's bits depend on the others: part by part is right")
    assert rows == [math.ceil(40 * width / multiple) * multiple] * 13
    rows.clear()
    actor.collect(Assignment(0, 0, 1))
    assert rows == [multiple] * 13


class Lengthy(Lengths):
    """With batches that do not know of each other."""

    def make(self, tasks: Tasks, rng: Random) -> "Walked":
        return Walked(tasks, rng)


class Declared(Lengthy):
    side_by_side = True


class Walked(Lengths):
    """Noisy, and with something privileged."""

    def __init__(self, tasks: Tasks, rng: Random) -> None:
        self._length, self._time, self._rng = tasks["length"], np.zeros(len(tasks["length"]), np.int64), rng

    def step(self, action: np.ndarray) -> Step:
        step, n = super().step(action), len(action)
        noise = self._rng.standard_normal((n, 1)).astype(np.float32)
        return step._replace(observation=np.clip(step.observation + noise, 0, 9), privileged={"noise": noise[:, 0]})


class Crowded(RecurrentAgent):
    """Says that its rows do not depend on each other, and they do."""

    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        return (super().act(observation, reward, done) + len(observation) // 64) % 3


class Alone(RecurrentAgent):
    side_by_side = False

    def begin_trial(self, n: int, rng: Random | None = None) -> None:
        assert rng is None or isinstance(rng, np.random.Generator)
        super().begin_trial(n, rng)


class WithAgent(RL2):
    def inner_loop(self, model: nn.Module, problem: Problem, greedy: bool = False) -> RecurrentAgent:
        return self.agent(model, greedy)  # pyright: ignore


class WithCrowded(WithAgent):
    agent = Crowded


class WithAlone(WithAgent):
    agent = Alone


class Shared(Lengths):
    """All batches are one object: what one is told, all are."""

    action_space = spaces.Discrete(3)  # pyright: ignore

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"length": np.full(n, 5)}


@pytest.mark.parametrize("algorithm", ["WithCrowded", "WithAlone"])
def test_an_agent_that_cannot_plays_one_after_the_other(algorithm: str) -> None:
    name = f"{WithAgent.__module__}:{algorithm}"
    alike_however_they_are_divided(
        lambda: shaken(family="tabular-mdp", actions=3, horizon=4, episodes=2, algorithm=name, hidden=8, embedding=0)
    )


def test_a_family_whose_batches_are_one_object_is_played_one_after_the_other() -> None:
    alike_however_they_are_divided(
        lambda: shaken(family=f"{Shared.__module__}:Shared", episodes=2, hidden=8, embedding=0)
    )
