"""The classic bandit baselines against the published table, against slow obvious versions and against exact values."""

from itertools import product
from math import factorial, log, sqrt

import numpy as np
import pytest
from gymnasium import spaces
from scipy import stats

from innerloop.actors.baselines import BASELINES, baselines
from innerloop.actors.baselines.bandit import OTS, UCB1, BanditAgent, EpsilonGreedy, Gittins, Greedy, Thompson
from innerloop.actors.baselines.bayes import BayesOptimal, optimum
from innerloop.actors.baselines.posterior import BetaPosterior, NormalPosterior
from innerloop.actors.baselines.uniform import Random
from innerloop.envs.api import TaskFamily
from innerloop.envs.bandit import BernoulliBandit, CorrelatedBandit, GaussianBandit
from innerloop.envs.errors import BadInput
from innerloop.envs.navigation import PointNavigation
from innerloop.envs.tabular import TabularMDP
from innerloop.envs.trials import Trials
from innerloop.learner.api import InnerLoop

# Duan et al. 2016, table 1: (pulls, arms) to the mean return of 1,000 tasks.
NAMES = ("Random", "Gittins", "Thompson", "OTS", "UCB1", "e-greedy", "Greedy")
PUBLISHED = {
    (10, 5): (5.0, 6.6, 5.7, 6.5, 6.7, 6.6, 6.6),
    (10, 10): (5.0, 6.6, 5.5, 6.2, 6.7, 6.6, 6.6),
    (10, 50): (5.1, 6.5, 5.2, 5.5, 6.6, 6.5, 6.5),
    (100, 5): (49.9, 78.3, 74.7, 77.9, 78.0, 75.4, 74.8),
}
TASKS = {10: 5000, 100: 2000}
BERNOULLI = {
    "Greedy": lambda: Greedy(BetaPosterior(4)),
    "e-greedy": lambda: EpsilonGreedy(BetaPosterior(4), 0.3),
    "UCB1": lambda: UCB1(BetaPosterior(4), 0.2),
    "Thompson": lambda: Thompson(BetaPosterior(4)),
    "OTS": lambda: OTS(BetaPosterior(4), 5),
    "Gittins": lambda: Gittins(BetaPosterior(4)),
    "Bayes-optimal": lambda: BayesOptimal(4, 10),
    "Random": lambda: Random(spaces.Discrete(4)),
}
WITHOUT_CHANCE = ["Greedy", "UCB1", "Gittins", "Bayes-optimal"]


def returns(agent: InnerLoop, family: TaskFamily, episodes: int, n: int, seed: int = 5) -> np.ndarray:
    """The return of each of n trials on fresh test tasks."""
    rng = np.random.default_rng(seed)
    trials = Trials(family, family.sample(rng, n, "test"), episodes, rng)
    agent.begin_trial(n, rng)
    given, total = trials.begin(), np.zeros(n)
    for _ in range(trials.steps):
        given, step = trials.step(agent.act(*given))
        total += step.reward
    return total


def actions(agent: InnerLoop, payoff: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """What the agent plays, [T, n], where pull t of arm a in trial i pays payoff[t, i, a]."""
    n = payoff.shape[1]
    agent.begin_trial(n, rng)
    nothing, reward, played = np.zeros(n, np.int64), np.full(n, np.nan, np.float32), []
    for t, pays in enumerate(payoff):
        action = agent.act(nothing, reward, np.full(n, t > 0))
        assert action.shape == (n,)
        assert action.dtype == np.int64
        reward = pays[np.arange(n), action].astype(np.float32)
        played.append(action)
    return np.array(played)


def coins(pulls: int = 10, n: int = 50, arms: int = 4) -> np.ndarray:
    """Payoffs [pulls, n, arms] of Bernoulli arms."""
    rng = np.random.default_rng(8)
    return (rng.random((pulls, n, arms)) < rng.random((n, arms))).astype(np.float32)


@pytest.mark.parametrize(("pulls", "arms"), PUBLISHED)
def test_returns_are_those_published(pulls: int, arms: int) -> None:
    family = BernoulliBandit(arms=arms)
    agents = baselines(family, pulls)
    n = TASKS[pulls]
    for name, published in zip(NAMES, PUBLISHED[pulls, arms], strict=True):
        total = returns(agents[name], family, pulls, n)
        error = total.std() * sqrt(1 / n + 1 / 1000)
        assert abs(total.mean() - published) < 0.05 + 3 * error, name


@pytest.mark.parametrize(("arms", "value"), [(5, 6.66), (10, 6.714), (50, 6.714)])
def test_the_optimum_is_worth_what_is_known_and_plays_it(arms: int, value: float) -> None:
    family, agent = BernoulliBandit(arms=arms), BayesOptimal(arms, 10)
    assert agent.value == pytest.approx(value, abs=5e-4)
    played = returns(agent, family, 10, 20_000)
    assert abs(played.mean() - value) < 3 * played.std() / sqrt(20_000)


@pytest.mark.parametrize(("pulls", "arms"), [(10, 5), (10, 10), (4, 2), (1, 3)])
def test_nothing_beats_the_optimum(pulls: int, arms: int) -> None:
    family = BernoulliBandit(arms=arms)
    agents = baselines(family, pulls)
    best = returns(agents.pop("Bayes-optimal"), family, pulls, 5000)
    for name, agent in agents.items():
        ahead = returns(agent, family, pulls, 5000) - best  # the same tasks
        assert ahead.mean() <= 3 * ahead.std() / sqrt(5000), name


def test_the_optimum_is_the_best_of_all_policies() -> None:
    """Two arms, three pulls: 2 × 2² × 2⁴ deterministic policies, each worth its sum over the eight outcomes."""

    def worth(policy: tuple[int, ...]) -> float:
        total = 0.0
        for outcome in product((0, 1), repeat=3):
            first, second, third = policy[0], policy[1 + outcome[0]], policy[3 + 2 * outcome[0] + outcome[1]]
            probability = 1.0
            for arm in (0, 1):
                paid = [x for x, played in zip(outcome, (first, second, third), strict=True) if played == arm]
                successes, failures = sum(paid), len(paid) - sum(paid)
                probability *= factorial(successes) * factorial(failures) / factorial(len(paid) + 1)
            total += probability * sum(outcome)
        return total

    value, _ = optimum(2, 3)
    assert value == pytest.approx(max(worth(policy) for policy in product((0, 1), repeat=7)), abs=1e-12)


def test_greedy_and_ucb1_are_their_formulas() -> None:
    payoff = coins(pulls=30)
    for agent, c in ((Greedy(BetaPosterior(4)), 0.0), (UCB1(BetaPosterior(4), 0.2), 0.2)):
        played = actions(agent, payoff)
        for trial in range(payoff.shape[1]):
            successes, failures = [1] * 4, [1] * 4
            for t in range(30):
                index = [
                    s / (s + f) + c * sqrt(2 * log(t + 1) / (s + f)) for s, f in zip(successes, failures, strict=True)
                ]
                arm = index.index(max(index))  # the first of those that tie
                assert played[t, trial] == arm
                if payoff[t, trial, arm]:
                    successes[arm] += 1
                else:
                    failures[arm] += 1


def test_gittins_index_is_whittles() -> None:
    payoff = coins(pulls=30)
    played = actions(Gittins(BetaPosterior(4)), payoff)
    for trial in range(payoff.shape[1]):
        a, n = np.ones(4), np.full(4, 2)
        for t in range(30):
            mu = a / n
            v = mu * (1 - mu)
            arm = int(np.argmax(mu + v / (n * np.sqrt(v / n) + mu - 0.5)))
            assert played[t, trial] == arm
            a[arm] += payoff[t, trial, arm]
            n[arm] += 1


def test_optimistic_thompson_with_one_draw_is_thompson_sampling() -> None:
    one = actions(OTS(BetaPosterior(4), 1), coins(), np.random.default_rng(1))
    np.testing.assert_array_equal(one, actions(Thompson(BetaPosterior(4)), coins(), np.random.default_rng(1)))


def test_optimistic_thompson_keeps_the_densest_draw() -> None:
    agent = OTS(BetaPosterior(3), 20)
    agent.begin_trial(6, np.random.default_rng(2))
    for pays in coins(pulls=12, n=6, arms=3):
        agent.posterior.update(np.arange(6) % 3, pays[:, 0])
    rng, posterior = np.random.default_rng(3), agent.posterior
    assert isinstance(posterior, BetaPosterior)
    agent.rng = np.random.default_rng(3)
    draws = [posterior.draw(rng) for _ in range(20)]
    for i, arm in enumerate(agent.choose()):
        density = [stats.beta(posterior.success[i], posterior.failure[i]).pdf(draw[i]).prod() for draw in draws]
        assert arm == draws[int(np.argmax(density))][i].argmax()


def test_epsilon_is_the_share_of_uniform_pulls() -> None:
    always = actions(EpsilonGreedy(BetaPosterior(4), 1.0), coins(n=4000))
    np.testing.assert_allclose(np.bincount(always.ravel()) / always.size, 0.25, atol=0.01)
    never = actions(EpsilonGreedy(BetaPosterior(4), 0.0), coins())
    np.testing.assert_array_equal(never, actions(Greedy(BetaPosterior(4)), coins()))


def test_a_constant_for_each_trial_is_that_constant_in_each_trial() -> None:
    payoff = coins(pulls=20, n=30)
    mixed = actions(UCB1(BetaPosterior(4), np.repeat([0.1, 0.8], 15)), payoff)
    for c, rows in ((0.1, slice(15)), (0.8, slice(15, 30))):
        np.testing.assert_array_equal(mixed[:, rows], actions(UCB1(BetaPosterior(4), c), payoff[:, rows]))


def test_beta_posterior_is_the_closed_form() -> None:
    posterior = BetaPosterior(2)
    posterior.begin(1)
    for arm, reward in ((0, 1), (0, 1), (0, 0), (1, 0)):
        posterior.update(np.array([arm]), np.array([reward], np.float32))
    np.testing.assert_allclose(posterior.mean, [[3 / 5, 1 / 3]])
    np.testing.assert_allclose(posterior.count, [[5, 3]])
    exact = [stats.beta(3, 2), stats.beta(1, 2)]
    check_draws_and_density(posterior, exact)


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_normal_posterior_is_the_closed_form(noise: float) -> None:
    posterior = NormalPosterior(2, noise)
    posterior.begin(1)
    for arm, reward in ((0, 1.5), (0, -0.3), (0, 2.0), (1, -1.0)):
        posterior.update(np.array([arm]), np.array([reward]))
    mean = np.array([3.2 / (3 + noise**2), -1 / (1 + noise**2)])
    sd = noise / np.sqrt(np.array([3, 1]) + noise**2)
    np.testing.assert_allclose(posterior.mean[0], mean)
    np.testing.assert_allclose(posterior.count[0], 1 / sd**2)
    check_draws_and_density(posterior, [stats.norm(mean[0], sd[0]), stats.norm(mean[1], sd[1])])


def check_draws_and_density(posterior: BetaPosterior | NormalPosterior, exact: list) -> None:
    """Draws pass for those of the exact distributions of the arms, and log densities differ as the exact ones do."""
    rng = np.random.default_rng(4)
    draws = np.concatenate([posterior.draw(rng) for _ in range(2000)])
    for arm, law in enumerate(exact):
        assert stats.kstest(draws[:, arm], law.cdf).pvalue > 1e-3
    density = np.concatenate([posterior.log_density(draw[None]) for draw in draws[:9]])
    expected = sum(law.logpdf(draws[:9, arm]) for arm, law in enumerate(exact))
    np.testing.assert_allclose(density - density[0], expected - expected[0], atol=1e-9)


@pytest.mark.parametrize("name", BERNOULLI)
def test_same_seed_same_actions_and_a_new_trial_forgets(name: str) -> None:
    agent = BERNOULLI[name]()
    first = actions(agent, coins(), np.random.default_rng(6))
    actions(agent, 1 - coins(pulls=7))  # as many trials, so that nothing is right by its shape alone
    np.testing.assert_array_equal(actions(agent, coins(), np.random.default_rng(6)), first)
    np.testing.assert_array_equal(actions(BERNOULLI[name](), coins()), actions(BERNOULLI[name](), coins()))
    assert dict(agent.note) == {}


@pytest.mark.parametrize("name", WITHOUT_CHANCE)
def test_the_other_trials_of_the_batch_do_not_matter(name: str) -> None:
    payoff, order = coins(), np.random.default_rng(0).permutation(50)[:20]
    np.testing.assert_array_equal(
        actions(BERNOULLI[name](), payoff)[:, order], actions(BERNOULLI[name](), payoff[:, order])
    )


def test_gaussian_arms_are_played_better_than_blindly() -> None:
    for noise in (0.0, 0.3, 1.0):
        family = GaussianBandit(arms=5, noise=noise)
        agents = baselines(family, 30)
        assert set(agents) == {"Random", "Greedy", "e-greedy", "UCB1", "Thompson", "OTS"}
        mean = {name: returns(agent, family, 30, 1000).mean() for name, agent in agents.items()}
        assert abs(mean["Random"]) < 2
        assert all(value > 15 for name, value in mean.items() if name != "Random"), mean  # the best arm: 30 × 1.163
        assert mean["UCB1"] > mean["Greedy"]


def test_each_family_gets_the_baselines_that_apply() -> None:
    on_bandits = {*NAMES, "Bayes-optimal"}
    assert set(baselines(BernoulliBandit(arms=2), 10)) == on_bandits
    assert set(baselines(BernoulliBandit(arms=2), 11)) == on_bandits - {"Bayes-optimal"}
    assert set(baselines(CorrelatedBandit(), 5)) == on_bandits - {"Bayes-optimal"}
    on_mdps = set(BASELINES) - (on_bandits - {"Random", "e-greedy", "Greedy"}) - {"Nearest neighbour"}
    assert set(baselines(TabularMDP(states=2, actions=2, horizon=2), 2)) == on_mdps
    assert set(baselines(TabularMDP(states=40, actions=4), 2)) == {"Random"}
    assert set(baselines(PointNavigation(), 2)) == {"Random"}


def test_tuned_constants_are_the_same_at_every_call() -> None:
    first, second = baselines(BernoulliBandit(arms=5), 20), baselines(BernoulliBandit(arms=5), 20)
    assert isinstance(first["UCB1"], UCB1)
    assert isinstance(second["UCB1"], UCB1)
    assert first["UCB1"].c == second["UCB1"].c
    assert 0 < first["UCB1"].c < 0.5


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3),
        spaces.Discrete(3, start=5),
        spaces.Box(-0.1, 0.1, (2,), np.float32),
        spaces.Box(np.array([-1, -np.inf, 0], np.float32), np.array([2, np.inf, np.inf], np.float32)),
    ],
)
def test_random_actions_are_members_that_cover_the_space(space: spaces.Discrete | spaces.Box) -> None:
    agent, n = Random(space), 500
    agent.begin_trial(n)
    action = agent.act(np.zeros(n), np.zeros(n, np.float32), np.zeros(n, np.bool_))
    assert all(space.contains(member) for member in action)
    if isinstance(space, spaces.Discrete):
        assert set(action) == set(range(space.start, space.start + 3))
    else:
        low, high = np.maximum(space.low, -1.5), np.minimum(space.high, 1.5)
        assert (action.min(axis=0) < low + 0.1 * (high - low)).all()
        assert (action.max(axis=0) > high - 0.1 * (high - low)).all()


def wrong_rows() -> None:
    agent: BanditAgent = Greedy(BetaPosterior(2))
    agent.begin_trial(3)
    agent.act(np.zeros(2), np.zeros(2), np.zeros(2, np.bool_))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: BayesOptimal(5, 11), "pulls is 11; expected 1 to 10"),
        (lambda: BayesOptimal(0, 5), "arms is 0"),
        (lambda: EpsilonGreedy(BetaPosterior(2), 1.5), "epsilon is 1.5"),
        (lambda: UCB1(BetaPosterior(2), -1), "c is -1"),
        (lambda: OTS(BetaPosterior(2), 0), "samples is 0"),
        (lambda: NormalPosterior(2, -1), "noise is -1"),
        (lambda: Random(spaces.Text(2)), "expected Discrete, MultiDiscrete"),
        (lambda: baselines(BernoulliBandit(), 0), "episodes is 0"),
        (wrong_rows, r"the shape of reward is \(2,\); expected \(3,\)"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(call, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        call()
