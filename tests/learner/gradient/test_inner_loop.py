"""The agent that adapts by gradient: it adapts as the learner says it did, from what its own rows saw."""

from typing import Any

import numpy as np
import pytest
import torch
from fixture_types import AdaptingOn, Made, Played

from innerloop.envs.api import TaskFamily
from innerloop.envs.errors import BadInput
from innerloop.envs.navigation import PointNavigation
from innerloop.envs.tabular import TabularMDP
from innerloop.learner.algorithms.maml import MAML
from innerloop.learner.algorithms.promp import ProMP
from innerloop.learner.api import InnerLoop
from innerloop.learner.experiment import Experiment
from innerloop.learner.gradient.adaptation import adapted, log_probability_loss, phases, ratio_loss
from innerloop.learner.gradient.inner_loop import GradientBased
from innerloop.learner.learner import Learner
from innerloop.learner.trajectory import concatenate

families = pytest.mark.parametrize(
    "family",
    [lambda: PointNavigation(horizon=5), lambda: TabularMDP(states=4, actions=3, horizon=4), "cartpole", "pendulum"],
    indirect=True,
    ids=["navigation", "tabular", "cartpole", "pendulum"],
)


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        ("maml", {}),
        ("maml", {"learned_rates": True, "inner_decay": 1.0, "discount": 0.9, "trace": 0.8}),
        ("promp", {"inner_decay": 0.3, "layers": 2}),
    ],
    ids=["maml", "learned-rates", "promp"],
)
@families
def test_the_learners_adapted_weights_give_the_log_probabilities_that_were_noted(
    family: TaskFamily,
    algorithm: str,
    options: dict[str, Any],
    adapting_on: AdaptingOn,
    shaken: Made,
    played: Played,
) -> None:
    """Of every episode of trials with two inner steps, put side by side: one rate, one baseline, one order of steps."""
    experiment = adapting_on(family, algorithm=algorithm, rollouts=3, **options)
    learner = shaken(experiment)
    trajectory = concatenate([played(experiment, learner, n=2, seed=seed) for seed in (1, 2)])
    model, how = learner.model, experiment.algorithm
    assert isinstance(how, GradientBased)
    data, _ = phases(model, trajectory, rollouts_per_task=3, discount=how.discount, trace=how.trace)
    assert len(data) == 3
    before = None
    with torch.no_grad():
        for weights, each in zip(
            adapted(model, data[:-1], loss=ratio_loss if algorithm == "promp" else log_probability_loss),
            data,
            strict=True,
        ):
            log_prob, _ = model.head.measure(model.distribution(weights, each.x), each.draw)  # pyright: ignore
            counted = each.weight > 0
            torch.testing.assert_close(log_prob[counted], each.log_prob[counted], rtol=1e-4, atol=1e-4)
            if before is not None:  # adaptation changes more than rounding does
                unadapted, _ = model.head.measure(model.distribution(before, each.x), each.draw)  # pyright: ignore
                assert float((unadapted - log_prob)[counted].abs().max()) > 0.01
            before = weights


def test_episodes_of_one_trial_have_different_lengths_and_none_is_lost(
    cartpole: TaskFamily, adapting_on: AdaptingOn, shaken: Made, played: Played
) -> None:
    experiment = adapting_on(cartpole)
    learner = shaken(experiment)
    trajectory = played(experiment, learner, n=3)
    data, _ = phases(learner.model, trajectory, rollouts_per_task=4, discount=0.99, trace=1.0)
    assert sum(int((each.weight > 0).sum()) for each in data) == trajectory.steps < trajectory.valid.size
    rewards = trajectory.episode_returns(3)  # the pole pays 1 a step
    assert len(np.unique(rewards)) > 3
    for episode, each in enumerate(data):
        counted = (each.weight > 0).unflatten(1, (-1, 4)).sum(1).reshape(-1)
        np.testing.assert_array_equal(counted, rewards[:, episode])


def begun(experiment: Experiment, learner: Learner, n: int, greedy: bool = False) -> InnerLoop:
    agent = experiment.algorithm.inner_loop(learner.model, experiment.problem, greedy)
    agent.begin_trial(n, np.random.default_rng(0))
    return agent


LAST = np.array([0, 2, 1, 2, 1, 1, 0, 2])  # of each row's steps in every episode; two tasks of four rows


def by_hand(agent: InnerLoop, rubbish: float = 0.0) -> np.ndarray:
    """Three episodes that end by `LAST`, on observations and rewards that are given; rows that wait see rubbish.

    Returns:
        Log-probabilities of what was done, [steps, 8]; nan where a row waits.
    """
    rng, noted = np.random.default_rng(1), []
    observation, reward, done = np.zeros((8, 2), np.float32), np.zeros(8, np.float32), np.zeros(8, np.bool_)
    for t in range(9):
        agent.act(observation, reward, done)
        waits = t % 3 > LAST
        noted.append(np.where(waits, np.nan, agent.note["log_prob"]))
        observation = rng.standard_normal((8, 2)).astype(np.float32)
        reward, done = rng.standard_normal(8).astype(np.float32), t % 3 == LAST
        reward[waits], done[waits] = rubbish, rubbish > 0
        observation[(t + 1) % 3 > LAST] += rubbish
    return np.stack(noted)


def test_what_rows_are_shown_while_they_wait_means_nothing(adapting_on: AdaptingOn, shaken: Made) -> None:
    experiment = adapting_on()
    learner = shaken(experiment)
    first, second = (by_hand(begun(experiment, learner, 8), rubbish) for rubbish in (0.0, 70.0))
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_a_task_learns_from_its_own_rows_alone(adapting_on: AdaptingOn, shaken: Made) -> None:
    """Other rewards of the second task change what it does after the first episode, and nothing of the first task."""
    experiment = adapting_on()
    learner, noted = shaken(experiment), []
    for sign in (1, -1):
        agent, rng = begun(experiment, learner, 8), np.random.default_rng(1)
        reward, done = np.zeros(8, np.float32), np.zeros(8, np.bool_)
        for t in range(4):
            agent.act(rng.standard_normal((8, 2)).astype(np.float32), reward, done)
            reward, done = rng.standard_normal(8).astype(np.float32), np.full(8, t == 2)
            reward[4:] *= sign
        noted.append(agent.note["log_prob"])
    np.testing.assert_array_equal(noted[0][:4], noted[1][:4])
    assert (np.abs(noted[0][4:] - noted[1][4:]) > 1e-4).all()


def test_it_reads_the_models_weights_as_they_are_when_a_trial_begins(adapting_on: AdaptingOn, shaken: Made) -> None:
    experiment = adapting_on()
    learner, other = shaken(experiment), shaken(experiment, seed=1)
    agent = begun(experiment, learner, 8)
    first = by_hand(agent)
    learner.model.load_state_dict(other.model.state_dict())
    agent.begin_trial(8, np.random.default_rng(0))
    second = by_hand(agent)
    assert not np.allclose(first, second, equal_nan=True)
    np.testing.assert_array_equal(second, by_hand(begun(experiment, other, 8)))


def test_adaptation_leaves_the_model_as_it_is(adapting_on: AdaptingOn, shaken: Made) -> None:
    experiment = adapting_on()
    learner = shaken(experiment)
    before = learner.weights()
    by_hand(begun(experiment, learner, 8))
    assert all(np.array_equal(array, before[name]) for name, array in learner.weights().items())


def test_a_greedy_agent_takes_the_most_probable_action_once_it_has_adapted_for_the_last_time(
    adapting_on: AdaptingOn, shaken: Made
) -> None:
    """What adaptation learns from is drawn as ever: rollouts that are all alike would teach it nothing."""
    experiment = adapting_on(TabularMDP(states=4, actions=3, horizon=4), episodes=2)
    learner = shaken(experiment)
    greedy, drawing = (begun(experiment, learner, 4, greedy) for greedy in (True, False))
    no, nothing, rng = np.zeros(4, np.bool_), np.zeros(4, np.float32), np.random.default_rng(0)
    greedy.begin_trial(4, rng)
    drawing.begin_trial(4, np.random.default_rng(0))
    for _ in range(3):
        np.testing.assert_array_equal(greedy.act(np.arange(4), nothing, no), drawing.act(np.arange(4), nothing, no))
    actions = greedy.act(np.arange(4), np.arange(4, dtype=np.float32), ~no)
    before = rng.bit_generator.state
    np.testing.assert_array_equal(greedy.act(np.arange(4), nothing, no), actions)
    assert rng.bit_generator.state == before
    taken = greedy.note["log_prob"]
    assert (taken > np.log(1 / 3)).all()
    for _ in range(20):
        drawing.act(np.arange(4), np.arange(4, dtype=np.float32), ~no)
        assert (drawing.note["log_prob"] <= taken + 1e-5).all()


@pytest.mark.parametrize("n", [1, 3, 6])
def test_rows_come_in_whole_tasks(n: int, adapting_on: AdaptingOn, shaken: Made) -> None:
    experiment = adapting_on()
    with pytest.raises(BadInput, match=rf"^n is {n}; expected a multiple of 4, .*\.$"):
        begun(experiment, shaken(experiment), n)


@pytest.mark.parametrize("algorithm", [MAML, ProMP])
@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("rollouts", 1, "at least 2, to tell better from worse"),
        ("hidden", 0, "at least 1"),
        ("layers", 0, "at least 1"),
        ("inner_rate", 0.0, "a finite number above 0"),
        ("inner_rate", float("inf"), "a finite number above 0"),
        ("inner_decay", 0.0, "a number in (0, 1]"),
        ("inner_decay", 1.5, "a number in (0, 1]"),
        ("activation", "gelu", "relu or tanh"),
        ("discount", 1.01, "a number in [0, 1]"),
        ("trace", float("nan"), "a number in [0, 1]"),
    ],
)
def test_an_option_out_of_range_is_refused_in_one_sentence(
    algorithm: type[MAML] | type[ProMP], option: str, value: Any, expected: str
) -> None:
    with pytest.raises(BadInput) as refused:
        algorithm(**{option: value})
    assert str(refused.value) == f"{option} is {value!r}; expected {expected}."
