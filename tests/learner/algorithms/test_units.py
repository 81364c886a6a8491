"""RL² learns the same whatever unit rewards have: what it is shown, and what its critic predicts, is in their own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixture_types import ExperimentOn
from gymnasium import spaces
from small import SMALL

from innerloop.actors.actor import Actor
from innerloop.actors.assignment import Assignment
from innerloop.actors.rollout import play
from innerloop.distributed.config import configure
from innerloop.envs.api import TaskFamily
from innerloop.envs.bandit import BernoulliBandit
from innerloop.envs.navigation import SparsePointNavigation
from innerloop.envs.seeding import streams
from innerloop.envs.tabular import TabularMDP
from innerloop.envs.trials import Trials, sample_tasks
from innerloop.learner.algorithms.rl2 import prepare
from innerloop.learner.gradient.baseline import task_advantages
from innerloop.learner.learner import Learner
from innerloop.learner.memory.gated import LSTM
from innerloop.learner.policy import RecurrentPolicy
from innerloop.learner.problem import Problem
from innerloop.learner.trajectory import Trajectory

UNITS = [2.0**-13, 2.0**20]
"""About 1e-4 and 1e6; of a power of two even the bits are the same."""
PROBLEM = Problem(spaces.Discrete(3), spaces.Discrete(2), 2, 4)
IN_UNITS = {"value_mean", "value_std", "reward_size"}


def in_unit(trajectory: Trajectory, unit: float) -> Trajectory:
    reward = (trajectory.reward * unit).astype(np.float32)
    return replace(
        trajectory, reward=reward, note=trajectory.note | {"value": trajectory.note["value"] * np.float32(unit)}
    )


@pytest.mark.parametrize("family", [BernoulliBandit(arms=3), TabularMDP(states=3, actions=2, horizon=3)], ids=str)
@pytest.mark.parametrize("unit", UNITS)
def test_updates_have_the_same_bits_in_any_unit(unit: float, family: TaskFamily, experiment_on: ExperimentOn) -> None:
    experiment = experiment_on(family)
    one, other = (Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1) for _ in range(2))
    actor = Actor(experiment, seed=0)
    for iteration in range(3):
        actor.load(one.weights(), iteration)
        trajectory = actor.collect(Assignment(iteration, 0, 24))
        metrics = [each.update(t, 0.0) for each, t in ((one, trajectory), (other, in_unit(trajectory, unit)))]
        assert metrics[0] == metrics[1]
    found, expected = other.weights(), one.weights()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array * (unit if name in IN_UNITS else 1), err_msg=name)
    assert found["reward_updates"] == 3


@pytest.mark.parametrize("unit", UNITS)
def test_an_agent_acts_alike_in_any_unit(unit: float, experiment_on: ExperimentOn) -> None:
    family = TabularMDP(states=3, actions=2, horizon=3)
    experiment = experiment_on(family)
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu")
    actor = Actor(experiment, seed=0)
    actor.load(learner.weights(), 0)
    learner.update(actor.collect(Assignment(0, 0, 24)), 0.0)
    model = learner.model
    assert isinstance(model, RecurrentPolicy)
    agents = [experiment.algorithm.inner_loop(model, experiment.problem) for _ in range(2)]
    drawn = streams(5, "test")
    trials = Trials(family, sample_tasks(family, drawn.tasks, 8, "test"), 3, drawn.env)
    seen = play(agents[0], trials, np.random.default_rng(1))
    with torch.no_grad():
        for name in IN_UNITS:
            getattr(model, name).mul_(unit)
    agents[1].begin_trial(8, np.random.default_rng(1))
    none = model.head.none(8)
    for t, (observation, _, reward, done) in enumerate(zip(*in_unit(seen, unit).inputs(none), strict=True)):
        action = agents[1].act(observation, reward, done)
        np.testing.assert_array_equal(agents[1].note["value"], seen.note["value"][t] * np.float32(unit))
        if t < len(seen.action):
            np.testing.assert_array_equal(action, seen.action[t])


def test_nothing_follows_rewards_before_there_are_any(experiment_on: ExperimentOn) -> None:
    """A goal that nobody has found leaves the units as they are, and the critic near 0, where it begins."""
    experiment = experiment_on(SparsePointNavigation(horizon=3))
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu")
    actor = Actor(experiment, seed=0)
    actor.load(learner.weights(), 0)
    trajectory = actor.collect(Assignment(0, 0, 16))
    assert not trajectory.reward.any()
    metrics = learner.update(trajectory, 0.0)
    weights = learner.weights()
    units = {"value_mean": 0, "value_std": 1, "value_updates": 0, "reward_size": 1, "reward_updates": 0}
    for name, start in units.items():
        assert weights[name] == start
    assert metrics["value_loss"] < 1e-3


@pytest.mark.parametrize(("mean", "spread"), [(20_000.0, 5.0), (-3e5, 30.0), (1e-4, 1e-6), (0.0, 1e6)])
def test_the_critics_unit_is_the_targets_spread_however_far_from_0_they_are(mean: float, spread: float) -> None:
    policy = RecurrentPolicy(PROBLEM, LSTM, 8, 0)
    rng = torch.Generator().manual_seed(0)
    for _ in range(60):
        targets = mean + spread * torch.randn(1_000, generator=rng)
        policy.popart_update(targets)
    assert float(policy.value_std) == pytest.approx(spread, rel=0.05)
    assert float(policy.value_mean) == pytest.approx(mean, abs=0.1 * spread)


def test_the_size_of_rewards_is_that_of_those_that_are_not_0() -> None:
    policy = RecurrentPolicy(PROBLEM, LSTM, 8, 0)
    policy.reward_update(torch.tensor([0.0, -3.0, 0.0, 5.0]))
    assert float(policy.reward_size) == 4
    policy.reward_update(torch.zeros(9))
    assert float(policy.reward_size) == 4
    policy.reward_update(torch.tensor([2.0]))
    assert float(policy.reward_size) == 3  # the mean of both
    for _ in range(100):
        policy.reward_update(torch.tensor([10.0]))
    assert float(policy.reward_size) == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", ["maml", "promp"])
def test_adaptation_by_gradient_is_the_same_in_any_unit(name: str, unit: float) -> None:
    """Advantages are normalised by task, in the inner steps and in the outer update: the bits are the same."""
    options = {"family": "point-navigation", "horizon": 4, "episodes": 2, "hidden": 8}
    experiment = configure(algorithm=name, **SMALL[name] | options).experiment
    learners = [Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1) for _ in range(2)]
    for iteration in range(3):
        actor = Actor(experiment, 0)
        actor.load(learners[0].acting_weights(), iteration)
        trials = actor.collect(Assignment(iteration, 0, 6))
        found = learners[0].update(trials, 0.0)
        other = learners[1].update(replace(trials, reward=(trials.reward * unit).astype(np.float32)), 0.0)
        assert found == other
    for mine, yours in zip(*(learner.weights().values() for learner in learners), strict=True):
        np.testing.assert_array_equal(mine, yours)


@pytest.mark.parametrize("unit", [1.0, *UNITS])
def test_rounding_is_no_preference_of_rl2(unit: float, experiment_on: ExperimentOn) -> None:
    """Where all trials earn the same, no action is better than another."""
    experiment = replace(experiment_on(BernoulliBandit(arms=3)), episodes=1)
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    actor = Actor(experiment, 0)
    actor.load(learner.acting_weights(), 0)
    trials = actor.collect(Assignment(0, 0, 777))
    trials = replace(trials, reward=np.full_like(trials.reward, 0.1 * unit))
    assert isinstance(learner.model, RecurrentPolicy)
    batch, _ = prepare(learner.model, trials, 0.99, 0.3)
    assert float(batch.advantage.abs().max()) < 0.05


@pytest.mark.parametrize("unit", [1.0, *UNITS])
@pytest.mark.parametrize("episodes", [50, 777])
def test_rounding_is_no_preference_of_adaptation_by_gradient(episodes: int, unit: float) -> None:
    """What the ridge leaves of returns that are all the same, at observations that differ, is no advantage either."""
    x = torch.randn(1, episodes, 2, generator=torch.Generator().manual_seed(0))
    reward, valid = torch.full((1, episodes), 0.1 * unit), torch.ones(1, episodes, dtype=torch.bool)
    found, _ = task_advantages(x, reward, valid, rollouts_per_task=episodes, discount=0.99, trace=1.0)
    assert float(found.abs().max()) < 0.1  # several, if it were normalised
