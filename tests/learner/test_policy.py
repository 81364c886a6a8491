"""The recurrent policy: memory survives episodes and not trials; observations become finite numbers of order one."""

from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch
from fixture_types import Made
from gymnasium import spaces
from torch import nn

from innerloop.envs.api import TaskFamily
from innerloop.envs.bandit import BernoulliBandit
from innerloop.envs.errors import BadInput
from innerloop.envs.tabular import TabularMDP
from innerloop.learner.api import Problem
from innerloop.learner.encoders import ENCODERS, build_encoder
from innerloop.learner.encoders.flat import Flat
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.memory import LSTM, MEMORIES
from innerloop.learner.policy import RecurrentAgent, RecurrentPolicy
from innerloop.learner.trajectory import Trajectory

N = 4
families = pytest.mark.parametrize(
    "family", [BernoulliBandit, TabularMDP, "pendulum"], indirect=True, ids=["bandit", "tabular", "pendulum"]
)
memories = pytest.mark.parametrize("memory", [name for name in MEMORIES if name != "none"])


def agent_of(learner: Learner, greedy: bool = False) -> RecurrentAgent:
    assert isinstance(learner.model, RecurrentPolicy)
    return RecurrentAgent(learner.model, greedy)


def fed(agent: RecurrentAgent, family: TaskFamily, rewards: np.ndarray, done: np.ndarray) -> list[np.ndarray]:
    """Log-probabilities and values of a new trial whose actions are drawn from one fixed source."""
    space = family.observation_space
    space.seed(0)
    agent.begin_trial(N, np.random.default_rng(0))
    seen = []
    observation = np.array([space.sample() for _ in range(N)])
    for reward, ended in zip(rewards, done, strict=True):
        agent.act(observation, np.full(N, reward, np.float32), np.full(N, ended))
        seen.append(np.stack([agent.note["log_prob"], agent.note["value"]]))
    return seen


@memories
@families
def test_what_an_earlier_episode_brought_changes_the_actions_of_a_later_one(
    family: TaskFamily, memory: str, experiment_on: Callable[..., Experiment], shaken: Made
) -> None:
    """The inputs differ in the reward of the first step alone; two episodes end in between."""
    agent = agent_of(shaken(experiment_on(family, memory=memory)), greedy=True)
    done = np.array([False, False, True, False, True, False])
    low, high = (fed(agent, family, np.array([0, reward, 0, 0, 0, 0]), done) for reward in (0.0, 1.0))
    np.testing.assert_array_equal(low[0], high[0])
    for before, after in zip(low[1:], high[1:], strict=True):
        assert (np.abs(before - after).max(axis=1) > 1e-6).any()
    assert np.abs(low[-1][1] - high[-1][1]).min() > 1e-6


@memories
@families
def test_a_new_trial_forgets_everything(
    family: TaskFamily, memory: str, experiment_on: Callable[..., Experiment], shaken: Made
) -> None:
    agent = agent_of(shaken(experiment_on(family, memory=memory)))
    done = np.array([False, False, True, False])
    first = fed(agent, family, np.array([0, 1, 1, 1]), done)
    other = fed(agent, family, np.array([0, -1, 3, -1]), ~done)
    again = fed(agent, family, np.array([0, 1, 1, 1]), done)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@families
def test_without_memory_a_policy_sees_the_observation_alone(
    family: TaskFamily, experiment_on: Callable[..., Experiment], shaken: Made
) -> None:
    agent = agent_of(shaken(experiment_on(family, memory="none")), greedy=True)
    one = fed(agent, family, np.array([0, 1, 1, 1]), np.array([False, False, True, False]))
    other = fed(agent, family, np.array([0, -1, 3, -1]), np.array([False, True, False, True]))
    np.testing.assert_array_equal(one, other)
    for later in one[1:]:
        np.testing.assert_array_equal(one[0], later)  # the same observation over and over


@families
def test_the_memory_is_not_reset_where_done_is_set(
    family: TaskFamily, experiment_on: Callable[..., Experiment], shaken: Made
) -> None:
    """Three ends of episodes in a row: were the state reset, the second and the third would look alike."""
    agent = agent_of(shaken(experiment_on(family)), greedy=True)
    seen = fed(agent, family, np.zeros(4), np.array([False, True, True, True]))
    assert np.abs(seen[2] - seen[3]).max() > 1e-5


def test_the_previous_action_is_an_input(experiment_on: Callable[..., Experiment], shaken: Made) -> None:
    """Rows differ in nothing but what they drew at the first step."""
    family = BernoulliBandit(arms=3)
    agent = agent_of(shaken(experiment_on(family)))
    agent.begin_trial(60, np.random.default_rng(0))
    nothing, zero, no = np.zeros(60, np.int64), np.zeros(60, np.float32), np.zeros(60, np.bool_)
    action = agent.act(nothing, zero, no)
    first = agent.note["value"]
    agent.act(nothing, zero, no)
    assert np.ptp(first) < 1e-6
    for arm in range(3):
        assert np.ptp(agent.note["value"][action == arm]) < 1e-6
    assert len(np.unique(agent.note["value"].round(5))) == 3


def test_a_greedy_agent_takes_the_most_probable_action(
    experiment_on: Callable[..., Experiment], shaken: Made, played: Callable[..., Trajectory]
) -> None:
    """Over many draws from the same inputs, what it takes is what is drawn most often."""
    learner = shaken(experiment_on(BernoulliBandit(arms=3)))
    nothing, zero, no = np.zeros(3000, np.int64), np.zeros(3000, np.float32), np.zeros(3000, np.bool_)
    drawing, greedy = agent_of(learner), agent_of(learner, greedy=True)
    for agent in (drawing, greedy):
        agent.begin_trial(3000, np.random.default_rng(0))
    often = np.bincount(drawing.act(nothing, zero, no), minlength=3)
    assert often.min() > 0
    np.testing.assert_array_equal(greedy.act(nothing, zero, no), often.argmax())


def test_one_agent_plays_trials_of_different_numbers_of_rows(
    experiment_on: Callable[..., Experiment], shaken: Made
) -> None:
    agent = agent_of(shaken(experiment_on(BernoulliBandit())))
    for n in (5, 2, 9):
        agent.begin_trial(n)
        action = agent.act(np.zeros(n, np.int64), np.zeros(n, np.float32), np.zeros(n, np.bool_))
        assert action.shape == agent.note["value"].shape == (n,)


@pytest.mark.parametrize("start", [0, 4, -2])
def test_a_discrete_observation_is_a_one_among_minus_ones(start: int) -> None:
    encoded = Flat(spaces.Discrete(3, start=start))(torch.tensor([[start, start + 2]]))
    assert encoded.tolist() == [[[1, -1, -1], [-1, -1, 1]]]


def test_a_bounded_observation_is_scaled_to_one_by_its_bounds() -> None:
    space = spaces.Box(np.float32([[0, -4], [10, -1]]), np.float32([[2, 4], [30, 1]]))
    encode = Flat(space)
    for member, row in ((space.low, [-1] * 4), (space.high, [1] * 4), ((space.low + space.high) / 2, [0] * 4)):
        torch.testing.assert_close(encode(torch.from_numpy(member)[None]), torch.tensor([row], dtype=torch.float32))


@pytest.mark.parametrize(
    "bounds", [(-np.inf, np.inf), (-3.4e38, 3.4e38), (0, np.inf), (2, 2)], ids=["none", "huge", "half", "no width"]
)
def test_any_observation_of_a_box_becomes_finite_numbers(bounds: tuple[float, float]) -> None:
    encode = Flat(spaces.Box(*bounds, (3,), np.float32))
    encoded = encode(torch.tensor([[2.0, 2.0, 2.0]]))
    assert encoded.shape == (1, 3)
    assert torch.isfinite(encoded).all()
    assert encoded.abs().max() < 10


@pytest.mark.parametrize("space", [spaces.Text(3), spaces.Graph(spaces.Discrete(2), None)], ids=str)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_another_kind_of_observation_is_refused_in_one_sentence(encoder: str, space: gymnasium.Space) -> None:
    with pytest.raises(BadInput, match=r"^the observation space is .*; expected Discrete, .* Tuple of these; .*\.$"):
        build_encoder(encoder, space)
    with pytest.raises(BadInput, match=r"^'x' of the observation space is .*; expected Discrete, .*\.$"):
        build_encoder(encoder, spaces.Dict({"x": space}))


def test_following_the_targets_changes_the_critics_units_and_no_prediction() -> None:
    """PopArt: after many updates the units are the targets' mean and spread; what is predicted stays as it was."""
    torch.manual_seed(0)
    problem = Problem(spaces.Discrete(3), spaces.Discrete(2), 2, 4)
    policy = RecurrentPolicy(problem, LSTM, 8, 0)
    nn.init.normal_(policy.output.weight)
    x = torch.randint(3, (5, 6)), torch.randn(5, 6, 4)
    logits, before = policy.unroll(*x)
    targets = 40 + 7 * torch.randn(10_000)
    policy.popart_update(targets[:100])  # what is predicted before is in no unit: it becomes that many spreads
    _, value = policy.unroll(*x)
    torch.testing.assert_close(value, before * targets[:100].std(correction=0) + targets[:100].mean())
    for _ in range(100):
        policy.popart_update(targets)
        after_logits, after = policy.unroll(*x)
        torch.testing.assert_close(after, value, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(after_logits, logits)
    torch.testing.assert_close(policy.value_mean, targets.mean(), rtol=1e-3, atol=0)
    torch.testing.assert_close(policy.value_std, targets.std(), rtol=1e-2, atol=0)
