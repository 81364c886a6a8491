"""Actors: what is played depends on the assignment and the weights, not on who plays or on what was played before."""

import numpy as np
import pytest
import torch
from fixture_types import ExperimentOn, Made

from innerloop.actors.actor import Actor, Assignment
from innerloop.envs.api import TaskFamily
from innerloop.envs.bandit import BernoulliBandit
from innerloop.envs.errors import BadInput
from innerloop.envs.tabular import TabularMDP
from innerloop.learner.experiment import Experiment
from innerloop.learner.trajectory import Arrays, Trajectory

HERE = Assignment(iteration=3, part=1, trials=5)
families = pytest.mark.parametrize(
    "family",
    [BernoulliBandit, TabularMDP, "pendulum", "cartpole"],
    indirect=True,
    ids=["bandit", "tabular", "pendulum", "cartpole"],
)


@pytest.fixture(params=["experiment_on", "adapting_on"], ids=["by-memory", "by-gradient"])
def any_on(request: pytest.FixtureRequest) -> ExperimentOn:
    """A small experiment on a family, of each kind of adaptation."""
    return request.getfixturevalue(request.param)


def actor(experiment: Experiment, weights: Arrays, seed: int = 0, version: int = 1) -> Actor:
    made = Actor(experiment, seed)
    made.load(weights, version)
    return made


def bits(trajectory: Trajectory) -> dict[str, bytes]:
    arrays = {name: array for name, array in vars(trajectory).items() if isinstance(array, np.ndarray)}
    return {name: array.tobytes() for name, array in (arrays | trajectory.note).items()}


@families
def test_the_same_assignment_with_the_same_weights_is_the_same_bits_whatever_was_played_before(
    family: TaskFamily, any_on: ExperimentOn, shaken: Made
) -> None:
    experiment = any_on(family)
    weights, others = shaken(experiment).weights(), shaken(experiment, seed=1).weights()
    expected = actor(experiment, weights).collect(HERE)
    busy = actor(experiment, others, version=7)
    for iteration, trials in ((0, 2), (3, 9)):
        busy.collect(Assignment(iteration, 0, trials))
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002  what must not matter
    busy.load(weights, 1)
    found = busy.collect(HERE)
    assert bits(found) == bits(expected)
    assert bits(busy.collect(HERE)) == bits(expected)
    assert found.version == expected.version == 1


@families
def test_another_part_iteration_or_seed_is_another_batch(
    family: TaskFamily, any_on: ExperimentOn, shaken: Made
) -> None:
    experiment = any_on(family)
    weights = shaken(experiment).weights()
    one = actor(experiment, weights)
    seen = [one.collect(HERE), one.collect(HERE._replace(part=0)), one.collect(HERE._replace(iteration=4))]
    seen.append(actor(experiment, weights, seed=1).collect(HERE))
    assert len({bits(each)["log_prob"] for each in seen}) == 4


def test_other_weights_play_the_same_tasks_otherwise(experiment_on: ExperimentOn, shaken: Made) -> None:
    experiment = experiment_on(TabularMDP())
    one, other = (actor(experiment, shaken(experiment, seed=seed).weights()).collect(HERE) for seed in (0, 1))
    np.testing.assert_array_equal(one.observation[0], other.observation[0])
    assert bits(one)["log_prob"] != bits(other)["log_prob"]


def test_training_tasks_are_played_and_as_many_as_assigned(
    cartpole: TaskFamily, experiment_on: ExperimentOn, shaken: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, str]] = []
    real = type(cartpole).sample

    def noted(self: object, rng: np.random.Generator, n: int, split: str) -> object:
        asked.append((n, split))
        return real(cartpole, rng, n, split)

    monkeypatch.setattr(type(cartpole), "sample", noted)
    experiment = experiment_on(cartpole)
    found = actor(experiment, shaken(experiment).weights()).collect(HERE)
    assert asked == [(5, "train")]
    assert found.reward.shape[1] == 5
    assert found.trial_end.sum() == 5


@families
def test_trials_of_a_curriculum_have_the_episodes_of_the_assignment(
    family: TaskFamily, any_on: ExperimentOn, shaken: Made
) -> None:
    experiment = any_on(family, episodes=3)
    one = actor(experiment, shaken(experiment).weights())
    for episodes in (1, 2, 3):
        found = one.collect(HERE._replace(episodes=episodes))
        assert ((found.done & found.valid).sum(0) == episodes).all()


def test_each_task_is_played_by_as_many_rows_as_adapt_together(adapting_on: ExperimentOn, shaken: Made) -> None:
    experiment = adapting_on(rollouts=3, episodes=2)
    found = actor(experiment, shaken(experiment).weights()).collect(HERE)
    assert found.reward.shape[1] == 3 * 5
    assert found.trial_end.sum() == 3 * 5
    assert (found.done & found.valid).sum() == 2 * 3 * 5


def test_the_version_is_that_of_the_weights(experiment_on: ExperimentOn, shaken: Made) -> None:
    experiment = experiment_on(BernoulliBandit())
    made = Actor(experiment, 0)
    assert made.version == -1
    for version in (4, 9):
        made.load(shaken(experiment).weights(), version)
        assert made.version == made.collect(HERE).version == version


def test_weights_of_another_shape_are_refused_and_the_old_ones_played_on(
    experiment_on: ExperimentOn, shaken: Made
) -> None:
    experiment = experiment_on(BernoulliBandit(arms=5))
    made = actor(experiment, shaken(experiment).weights())
    before = bits(made.collect(HERE))
    for stranger in (experiment_on(BernoulliBandit(arms=4)), experiment_on(BernoulliBandit(arms=5), hidden=8)):
        with pytest.raises(BadInput, match=r"^the weights of \S+ have shape .*; expected .*\.$"):
            made.load(shaken(stranger).weights(), 2)
        assert made.version == 1
        assert bits(made.collect(HERE)) == before


def test_an_actor_keeps_no_hold_on_the_arrays_it_was_given(any_on: ExperimentOn, shaken: Made) -> None:
    """They may be read-only views that go away."""
    experiment = any_on(BernoulliBandit())
    weights = shaken(experiment).weights()
    made = actor(experiment, weights)
    before = bits(made.collect(HERE))
    for array in weights.values():
        array[...] = np.nan
    assert bits(made.collect(HERE)) == before
