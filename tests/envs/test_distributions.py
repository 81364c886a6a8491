"""What the families' tasks and rewards are drawn from, against the distributions that the papers state."""

import numpy as np
import pytest
from scipy import stats

from innerloop.envs.bandit import LEVELS, BernoulliBandit, CorrelatedBandit, GaussianBandit
from innerloop.envs.errors import BadInput
from innerloop.envs.tabular import TabularMDP

MANY = 20_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def passes(sample: np.ndarray, law: str, *args: float) -> None:
    """Kolmogorov and Smirnov do not object."""
    assert stats.kstest(sample.ravel(), law, args=args).pvalue > 1e-3


def test_bernoulli_arms_are_uniform_and_independent() -> None:
    mean = BernoulliBandit(arms=4).sample(rng(), MANY, "train")["mean"]
    assert mean.shape == (MANY, 4)
    for arm in mean.T:
        passes(arm, "uniform")
    assert np.abs(np.corrcoef(mean.T) - np.eye(4)).max() < 4 / np.sqrt(MANY)


def test_a_bernoulli_arm_pays_one_with_its_own_probability() -> None:
    mean = np.array([[0.0, 0.2, 0.7, 1.0]])
    tasks = {"mean": np.repeat(mean, MANY, axis=0)}
    for arm, p in enumerate(mean[0]):
        reward = BernoulliBandit(arms=4).make(tasks, rng()).step(np.full(MANY, arm)).reward
        assert set(np.unique(reward)) <= {0.0, 1.0}
        assert abs(reward.mean() - p) <= 4 * np.sqrt(p * (1 - p) / MANY)


def test_each_row_is_paid_by_its_own_arms() -> None:
    tasks = {"mean": np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])}
    env = BernoulliBandit(arms=2).make(tasks, rng())
    for actions, paid in (([0, 0, 0], [0, 1, 0]), ([1, 1, 1], [1, 0, 1]), ([1, 0, 0], [1, 1, 0])):
        step = env.step(np.array(actions))
        np.testing.assert_array_equal(step.reward, paid)
        assert step.terminated.all()
        assert not step.truncated.any()


def test_correlated_arms_add_up_to_one() -> None:
    mean = CorrelatedBandit().sample(rng(), MANY, "train")["mean"]
    np.testing.assert_allclose(mean.sum(1), 1)
    passes(mean[:, 0], "uniform")


@pytest.mark.parametrize(("level", "low"), [("easy", 0.1), ("medium", 0.25), ("hard", 0.4)])
def test_levels_have_two_tasks_equally_often(level: str, low: float) -> None:
    assert LEVELS[level] == low
    mean = CorrelatedBandit(level=level).sample(rng(), MANY, "test")["mean"]
    np.testing.assert_allclose(np.sort(mean, axis=1), np.tile([low, 1 - low], (MANY, 1)))
    share = (mean[:, 0] < 0.5).mean()
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(MANY)


def test_gaussian_means_and_payoffs_are_normal() -> None:
    family = GaussianBandit(arms=3, noise=0.5)
    mean = family.sample(rng(), MANY, "train")["mean"]
    passes(mean, "norm")
    tasks = {"mean": np.tile([-2.0, 0.0, 3.0], (MANY, 1))}
    for arm, centre in enumerate((-2.0, 0.0, 3.0)):
        passes(family.make(tasks, rng()).step(np.full(MANY, arm)).reward, "norm", centre, 0.5)


def test_transitions_are_dirichlet_rows_and_reward_means_normal_around_one() -> None:
    states, actions = 4, 3
    tasks = TabularMDP(states=states, actions=actions).sample(rng(), 3000, "train")
    assert tasks["transition"].shape == (3000, states, actions, states)
    np.testing.assert_allclose(tasks["transition"].sum(-1), 1)
    np.testing.assert_allclose(tasks["transition"].mean(0), 1 / states, atol=0.02)
    for state in range(states):  # one coordinate of Dirichlet(1, ..., 1) is Beta(1, S - 1)
        passes(tasks["transition"][..., 0, 0, state], "beta", 1, states - 1)
    passes(tasks["reward"], "norm", 1)


def test_states_follow_the_table_and_rewards_its_means() -> None:
    """Many rows of one MDP: how often each state follows, and what it paid, from every state under every action."""
    states, actions = 3, 2
    family = TabularMDP(states=states, actions=actions, horizon=10**9)
    one = family.sample(rng(7), 1, "train")
    tasks = {name: np.repeat(array, MANY, axis=0) for name, array in one.items()}
    env, source = family.make(tasks, rng()), rng(1)
    state = env.reset(np.ones(MANY, np.bool_))
    np.testing.assert_array_equal(state, 0)
    seen = np.zeros((states, actions, states))
    rewards: dict[tuple[int, int], list[np.ndarray]] = {(s, a): [] for s in range(states) for a in range(actions)}
    for _ in range(4):
        action = source.integers(actions, size=MANY)
        step = env.step(action)
        np.add.at(seen, (state, action, step.observation), 1)
        for s, a in rewards:
            rewards[s, a].append(step.reward[(state == s) & (action == a)])
        state = step.observation
    for s, a in rewards:
        expected = one["transition"][0, s, a] * seen[s, a].sum()
        assert stats.chisquare(seen[s, a], expected).pvalue > 1e-3
        passes(np.concatenate(rewards[s, a]), "norm", one["reward"][0, s, a], 1)


def test_a_tabular_episode_is_terminated_at_the_horizon_and_starts_in_state_zero() -> None:
    family = TabularMDP(states=5, actions=2, horizon=3)
    env = family.make(family.sample(rng(), 50, "train"), rng())
    everyone = np.ones(50, np.bool_)
    for _ in range(2):
        np.testing.assert_array_equal(env.reset(everyone), 0)
        for t in range(3):
            step = env.step(np.zeros(50, np.int64))
            assert (step.terminated == (t == 2)).all()
            assert not step.truncated.any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BernoulliBandit(arms=0), "^arms is 0; expected at least 1.$"),
        (lambda: GaussianBandit(arms=-1), "^arms is -1; expected at least 1.$"),
        (lambda: GaussianBandit(noise=float("nan")), "^noise is nan; expected a finite number of at least 0.$"),
        (lambda: CorrelatedBandit(level="harder"), "^level is 'harder'; expected uniform, easy, medium or hard.$"),
        (lambda: TabularMDP(states=0), "^states is 0; expected at least 1.$"),
        (lambda: TabularMDP(actions=0), "^actions is 0; expected at least 1.$"),
        (lambda: TabularMDP(horizon=0), "^horizon is 0; expected at least 1.$"),
    ],
)
def test_options_out_of_range_are_refused_in_one_sentence(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(BadInput, match=message):
        make()
