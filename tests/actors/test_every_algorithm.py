"""Every algorithm plays every family and learns from what it played: a new one of either is tested by being named."""

from typing import Any

import numpy as np
import pytest
import torch
from small import CLASSES, PAIRS, REWARDED, SMALL, of_length

from innerloop.actors.actor import Actor, Assignment
from innerloop.distributed.config import configure
from innerloop.learner.learner import Learner
from innerloop.learner.replay import Replay


@pytest.mark.parametrize(("family", "algorithm"), PAIRS)
def test_one_iteration(family: str, algorithm: str) -> None:
    options = of_length(family, 4)
    config = configure(family=family, algorithm=algorithm, episodes=2, **SMALL[algorithm], **options)
    on_policy = config.experiment.learns_fresh
    learner = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device="cpu", threads=1)
    actor = Actor(config.experiment, seed=0)
    before = learner.weights()
    actor.load(before, 0)
    trajectory = actor.collect(Assignment(iteration=0, part=0, trials=3))
    rows = 3 * SMALL[algorithm].get("rollouts", 1)
    assert trajectory.reward.shape[1] == rows
    assert (trajectory.done & trajectory.valid).sum() == 2 * rows
    ends_itself = family in (*CLASSES, "sinusoid", "tabular-mdp") or family.endswith("bandit")
    assert trajectory.truncated[trajectory.trial_end].any() == (not ends_itself)
    replay = Replay(2**20)
    if not on_policy:
        replay.append([0, 1, 2], trajectory)
    metrics = learner.update(trajectory if on_policy else replay, 0.0)
    assert all(np.isfinite(value) for value in metrics.values()), metrics
    assert learner.version == 1
    if np.ptp(trajectory.reward) > 0 or not on_policy:  # four steps do not reach a sparse reward
        assert any(not np.array_equal(array, before[name]) for name, array in learner.weights().items())


@pytest.mark.parametrize("algorithm", REWARDED)
def test_the_shorter_trials_of_a_curriculum(algorithm: str) -> None:
    config = configure(family="point-navigation", horizon=4, algorithm=algorithm, episodes=3, **SMALL[algorithm])
    learner = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device="cpu", threads=1)
    actor, replay = Actor(config.experiment, seed=0), Replay(2**20)
    for iteration, episodes in enumerate((1, 2, 3)):
        actor.load(learner.weights(), iteration)
        trajectory = actor.collect(Assignment(iteration, part=0, trials=3, episodes=episodes))
        replay.append([0, 1, 2], trajectory)
        metrics = learner.update(trajectory if config.experiment.learns_fresh else replay, 0.0)
        assert all(np.isfinite(value) for value in metrics.values()), metrics
    assert learner.version == 3


@pytest.mark.parametrize("algorithm", REWARDED)
def test_an_actor_plays_the_same_with_the_weights_that_it_is_sent_as_with_all(algorithm: str) -> None:
    config = configure(family="point-navigation", horizon=4, algorithm=algorithm, episodes=3, **SMALL[algorithm])
    learner = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device="cpu", threads=1)
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)  # unlike those that an actor builds
    played = []
    for weights in (learner.weights(), learner.acting_weights()):
        actor = Actor(config.experiment, seed=0)
        actor.load(weights, 1)
        played.append(actor.collect(Assignment(iteration=0, part=0, trials=3)))
    for name in ("observation", "action", "reward"):
        np.testing.assert_array_equal(*(getattr(each, name) for each in played))
    for name, array in played[0].note.items():
        np.testing.assert_array_equal(array, played[1].note[name])
    assert (len(learner.acting_weights()) < len(learner.weights())) == (not config.experiment.learns_fresh)


HOLDS: dict[str, dict[str, Any]] = {
    **{name: {"algorithm": name} for name in REWARDED},
    "rl2-transitions": {"algorithm": "rl2", "transitions": True},
    "pearl-successors": {"algorithm": "pearl", "next_observation": True},
}


@pytest.mark.parametrize("name", HOLDS)
def test_an_agent_keeps_no_hold_on_the_arrays_it_is_shown_or_gives(name: str) -> None:
    """An environment may write every step into the same ones."""
    options = SMALL[HOLDS[name]["algorithm"]] | HOLDS[name]
    experiment = configure(family="point-navigation", horizon=4, episodes=3, **options).experiment
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    n, found = 4 * options.get("rollouts", 1), []
    for reused in (False, True):
        agent, rng = experiment.algorithm.inner_loop(learner.model, experiment.problem), np.random.default_rng(1)
        agent.begin_trial(n, np.random.default_rng(0))
        given = np.zeros((n, 2), np.float32), np.zeros(n, np.float32), np.zeros(n, np.bool_)
        found.append([])
        for t in range(9):
            action = agent.act(*(given if reused else (array.copy() for array in given)))
            found[-1] += [action.copy(), *(array.copy() for array in agent.note.values())]
            if reused:
                action[...] = 0
            given[0][...] = rng.standard_normal((n, 2))
            given[1][...] = rng.standard_normal(n)
            given[2][...] = t % 4 == 2
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
