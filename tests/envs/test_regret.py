"""Regret as the outer loop's reward: what it is at every step, and that the agent's own stream does not notice."""

from typing import Any

import numpy as np
import pytest

from innerloop.envs.api import TaskFamily
from innerloop.envs.bandit import BernoulliBandit, CorrelatedBandit, GaussianBandit
from innerloop.envs.planning import action_values, known
from innerloop.envs.tabular import TabularMDP

KINDS = [BernoulliBandit, CorrelatedBandit, GaussianBandit, TabularMDP]
N = 200


def drawn(family: TaskFamily, actions: np.ndarray) -> tuple[dict[str, np.ndarray], list[Any]]:
    """The tasks, and what each row of actions [T, N] gives; episodes begin again where they end."""
    tasks = family.sample(np.random.default_rng(0), N, "train")
    env = family.make(tasks, np.random.default_rng(1))
    env.reset(np.ones(N, np.bool_))
    steps = []
    for action in actions:
        steps.append(env.step(action))
        env.reset(steps[-1].terminated)
    return tasks, steps


@pytest.mark.parametrize("kind", KINDS)
def test_the_agent_sees_the_same_with_and_without(kind: Any) -> None:
    actions = np.random.default_rng(2).integers(kind().action_space.n, size=(25, N))
    (_, without), (_, given) = drawn(kind(), actions), drawn(kind(regret=True), actions)
    for one, other in zip(without, given, strict=True):
        assert not one.privileged
        assert other.privileged["reward"].dtype == np.float32
        for ours, its in zip(one[:5], other[:5], strict=True):
            np.testing.assert_array_equal(ours, its)


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_a_pull_costs_what_its_arm_pays_less_than_the_best(kind: Any) -> None:
    actions = np.random.default_rng(2).integers(kind().action_space.n, size=(25, N))
    tasks, steps = drawn(kind(regret=True), actions)
    for action, step in zip(actions, steps, strict=True):
        played = tasks["mean"][np.arange(N), action]
        np.testing.assert_allclose(step.privileged["reward"], played - tasks["mean"].max(1), atol=1e-6)


def test_the_best_actions_of_an_mdp_cost_nothing_and_no_other_is_free() -> None:
    family = TabularMDP(states=4, actions=3, horizon=5, regret=True)
    tasks = family.sample(np.random.default_rng(0), N, "train")
    values = action_values(tasks["reward"], family.horizon, known(tasks["transition"]))
    env = family.make(tasks, np.random.default_rng(1))
    state, row, free = env.reset(np.ones(N, np.bool_)), np.arange(N), 0
    for t in range(family.horizon):
        best = values[t, row, state].argmax(1)
        action = np.where(np.arange(N) % 2, best, 0)
        step = env.step(action)
        np.testing.assert_array_equal(step.privileged["reward"] == 0, action == best)
        assert (step.privileged["reward"] <= 0).all()
        free += int((action == best)[::2].sum())
        state = step.observation
    assert 0 < free < N // 2 * family.horizon  # action 0 is the best one at times


def test_over_an_episode_the_regret_is_what_the_return_falls_short_of_the_best() -> None:
    """Kakade & Langford 2002, lemma 6.1, for actions drawn uniformly, by simulation of one MDP."""
    family, n = TabularMDP(states=4, actions=3, horizon=5, regret=True), 40_000
    one = family.sample(np.random.default_rng(3), 1, "train")
    tasks = {name: np.repeat(array, n, axis=0) for name, array in one.items()}
    best = action_values(one["reward"], family.horizon, known(one["transition"]))[0, 0, 0].max()
    env, rng = family.make(tasks, np.random.default_rng(1)), np.random.default_rng(2)
    env.reset(np.ones(n, np.bool_))
    reward, gain = np.zeros(n), np.zeros(n)
    for _ in range(family.horizon):
        step = env.step(rng.integers(3, size=n))
        reward, gain = reward + step.reward, gain + step.privileged["reward"]
    error = np.sqrt((reward.var() + gain.var()) / n)
    assert abs(reward.mean() - best - gain.mean()) < 4 * error
    assert gain.mean() < -10 * error  # a policy that has something to lose
    assert gain.var() < 0.6 * reward.var()
