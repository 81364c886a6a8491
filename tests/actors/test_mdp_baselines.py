"""The baselines on tabular MDPs against the paper's figures, against brute force, and one by one against in a batch."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from innerloop.actors.baselines import BASELINES
from innerloop.actors.baselines.mdp import BEB, OPSRL, PSRL, UCRL2, KnownMDP, MDPEpsilonGreedy, MDPGreedy, ModelAgent
from innerloop.actors.baselines.model import ModelBelief
from innerloop.actors.baselines.regret import best_return
from innerloop.actors.evaluate import evaluate, play_tasks
from innerloop.envs.api import Tasks
from innerloop.envs.errors import BadInput
from innerloop.envs.planning import action_values, known, optimistic
from innerloop.envs.tabular import TabularMDP

# 10 episodes: Duan et al. 2016, table 2 (1,000 tasks), and with the true prior what was simulated apart from this code.
PUBLISHED = {
    "Random": 100.1, "PSRL": 138.1, "OPSRL": 144.1, "UCRL2": 146.6, "BEB": 150.2, "e-greedy": 132.8, "Greedy": 134.8,
    "PSRL, true prior": 133.6, "BEB, true prior": 157.5, "Greedy, true prior": 154.6, "Known MDP": 218.2,
}  # fmt: skip

AGENTS: dict[str, Callable[[], ModelAgent]] = {
    "Greedy": lambda: MDPGreedy(ModelBelief(3, 2, 0), 4),
    "Greedy at every step": lambda: MDPGreedy(ModelBelief(3, 2, 0), 4, True),
    "Greedy that draws ties": lambda: MDPGreedy(ModelBelief(3, 2, 0), 4, draw_ties=True),
    "BEB": lambda: BEB(ModelBelief(3, 2, 0), 4, c=1.5),
    "BEB at every step": lambda: BEB(ModelBelief(3, 2, 1), 4, c=0.5, every_step=True),
    "UCRL2": lambda: UCRL2(ModelBelief(3, 2, 0), 4, c=0.05),
    "e-greedy": lambda: MDPEpsilonGreedy(ModelBelief(3, 2, 0), 4, epsilon=0.3),
    "PSRL": lambda: PSRL(ModelBelief(3, 2, 0), 4),
    "OPSRL": lambda: OPSRL(ModelBelief(3, 2, 0), 4, 3),
}
WITHOUT_CHANCE = ["Greedy", "Greedy at every step", "BEB", "BEB at every step", "UCRL2"]


def some(n: int = 5, states: int = 3, actions: int = 2, seed: int = 0) -> Tasks:
    """Random MDPs."""
    family = TabularMDP(states=states, actions=actions)
    return family.sample(np.random.default_rng(seed), n, "train")


def experience(n: int, steps: int, states: int = 3, actions: int = 2) -> list[tuple[np.ndarray, ...]]:
    """Steps (state, action, reward, next state, whether that was seen) of n MDPs."""
    rng = np.random.default_rng(7)

    def step() -> tuple[np.ndarray, ...]:
        state, next_state = rng.integers(states, size=(2, n))
        return state, rng.integers(actions, size=n), rng.normal(1, 2, n), next_state, rng.random(n) < 0.8

    return [step() for _ in range(steps)]


def test_the_best_return_is_that_of_the_best_of_all_policies() -> None:
    """Two states, two actions, three steps: 2^(2 x 3) policies of state and time, each worth its sum over the paths."""
    family = TabularMDP(states=2, actions=2, horizon=3)
    tasks = some(4, 2, 2)
    found = best_return(family, tasks)
    assert found is not None
    for i in range(4):

        def worth(policy: tuple[int, ...], i: int = i) -> float:
            total = 0.0
            for path in product(range(2), repeat=2):
                states = (0, *path)
                actions = [policy[2 * t + s] for t, s in enumerate(states)]
                moves = zip(states[:-1], actions[:-1], states[1:], strict=True)
                probability = np.prod([tasks["transition"][i, s, a, then] for s, a, then in moves])
                total += probability * sum(tasks["reward"][i, s, a] for s, a in zip(states, actions, strict=True))
            return total

        assert found[i] == pytest.approx(max(worth(policy) for policy in product(range(2), repeat=6)))


@pytest.mark.parametrize("prior", [0, 1])
def test_the_belief_is_what_counting_gives(prior: int) -> None:
    belief, n = ModelBelief(3, 2, prior), 4
    belief.begin(n)
    steps = experience(n, 60)
    for step in steps:
        belief.update(*step)
    for i, s, a in product(range(n), range(3), range(2)):
        here = [each for each in steps if each[0][i] == s and each[1][i] == a]
        paid = [float(each[2][i]) for each in here]
        counts = [1 + sum(bool(each[3][i] == t and each[4][i]) for each in here) for t in range(3)]
        np.testing.assert_allclose(belief.reward[i, s, a], (prior + sum(paid)) / (1 + len(paid)))
        np.testing.assert_allclose(belief.precision[i, s, a], 1 + len(paid))
        np.testing.assert_allclose(belief.transition[i, s, a], np.array(counts) / sum(counts))
    draws = [belief.draw(np.random.default_rng(seed)) for seed in range(4000)]
    transition, reward = (np.array(each) for each in zip(*draws, strict=True))
    total = belief.alpha.sum(3, keepdims=True)
    sd = np.sqrt(belief.transition * (1 - belief.transition) / (total + 1))  # of a Dirichlet
    assert (np.abs(transition.mean(0) - belief.transition) < 5 * sd / np.sqrt(4000)).all()
    np.testing.assert_allclose(transition.std(0), sd, rtol=0.1)
    np.testing.assert_allclose(reward.mean(0), belief.reward, atol=0.09)
    np.testing.assert_allclose(reward.std(0), 1 / np.sqrt(belief.precision), rtol=0.07)


def learned(agent: ModelAgent, n: int = 6, seed: int = 2) -> ModelAgent:
    """After 60 steps of every MDP."""
    agent.begin_trial(n, np.random.default_rng(seed))
    for step in experience(n, 60):
        agent.belief.update(*step)
    agent.steps = 60
    return agent


def test_bonuses_and_radii_are_their_formulas() -> None:
    beb = learned(BEB(ModelBelief(3, 2, 0), 4, c=np.arange(6) / 2))
    ucrl2 = learned(UCRL2(ModelBelief(3, 2, 0), 1, c=0.05))
    visits = np.zeros((6, 3, 2))
    for state, action, *_ in experience(6, 60):
        visits[np.arange(6), state, action] += 1
    for i in range(6):
        belief = beb.belief
        expected = action_values(
            belief.reward[i : i + 1] + i / 2 / (1 + visits[i : i + 1]), 4, known(belief.transition[i : i + 1])
        )
        np.testing.assert_allclose(beb.values(4)[:, i], expected[:, 0])
    t, delta = 61, 0.05
    widest = 0.05 * np.sqrt(7 * np.log(2 * 3 * 2 * t / delta) / (2 * (1 + visits)))
    np.testing.assert_allclose(ucrl2.values(1)[0], ucrl2.belief.reward + widest)
    radius = 0.05 * np.sqrt(14 * 3 * np.log(2 * 2 * t / delta) / (1 + visits))
    two = action_values(ucrl2.belief.reward + widest, 2, optimistic(ucrl2.belief.transition, radius))
    np.testing.assert_allclose(ucrl2.values(2), two)


def test_optimistic_sampling_believes_the_best_of_its_draws() -> None:
    agent = learned(OPSRL(ModelBelief(3, 2, 0), 4, 3), seed=5)
    rng = np.random.default_rng(5)
    draws = [agent.belief.draw(rng) for _ in range(3)]
    each = [action_values(reward, 4, known(transition)) for transition, reward in draws]
    np.testing.assert_array_equal(agent.values(4), np.max(each, axis=0))
    one = learned(OPSRL(ModelBelief(3, 2, 0), 4, 1), seed=5)
    np.testing.assert_array_equal(one.values(4), each[0])  # which is PSRL


def actions(agent: ModelAgent, tasks: Tasks, episodes: int = 5, seed: int = 4) -> np.ndarray:
    """What the agent plays, [T, n], where the noise of a task is the same whoever plays beside it."""
    n, horizon = len(tasks["reward"]), agent.horizon
    noise = np.random.default_rng(seed).random((episodes * horizon, 50, 2))
    agent.begin_trial(n, np.random.default_rng(6))
    row, state, reward, done = np.arange(n), np.zeros(n, np.int64), np.zeros(n, np.float32), np.zeros(n, np.bool_)
    played = []
    for t in range(episodes * horizon):
        action = agent.act(state, reward, done)
        assert action.shape == (n,)
        assert action.dtype == np.int64
        at = (row, state, action)
        ids = tasks["id"]
        reward = (tasks["reward"][at] + noise[t, ids, 0]).astype(np.float32)
        state = (noise[t, ids, 1][:, None] >= tasks["transition"][at].cumsum(1)[:, :-1]).sum(1)
        done = np.full(n, t % horizon == horizon - 1)
        state = np.where(done, 0, state)
        played.append(action)
    return np.array(played)


@pytest.mark.parametrize("name", WITHOUT_CHANCE)
def test_a_batch_is_its_mdps_one_by_one(name: str) -> None:
    tasks = some(20) | {"id": np.arange(20)}
    together = actions(AGENTS[name](), tasks)
    for i in range(20):
        alone = actions(AGENTS[name](), {key: array[i : i + 1] for key, array in tasks.items()})
        np.testing.assert_array_equal(together[:, i], alone[:, 0])


@pytest.mark.parametrize("name", AGENTS)
def test_same_seed_same_actions_and_a_new_trial_forgets(name: str) -> None:
    tasks, agent = some(20) | {"id": np.arange(20)}, AGENTS[name]()
    first = actions(agent, tasks)
    actions(agent, some(20, seed=1) | {"id": np.arange(20)}, seed=9)
    np.testing.assert_array_equal(actions(agent, tasks), first)
    assert len(np.unique(first)) == 2


def test_ties_are_drawn_uniformly_and_what_is_better_is_played_always() -> None:
    agent = MDPGreedy(ModelBelief(2, 4, 0), 1, draw_ties=True)
    agent.begin_trial(4000, np.random.default_rng(0))
    start = np.zeros(4000, np.int64)
    first = agent.act(start, np.zeros(4000), np.zeros(4000, bool))
    np.testing.assert_allclose(np.bincount(first, minlength=4) / 4000, 0.25, atol=0.03)
    again = agent.act(start, np.where(first < 2, 1.0, -1.0), np.ones(4000, bool))
    np.testing.assert_array_equal(again[first < 2], first[first < 2])
    others = again[first == 3]
    np.testing.assert_allclose(np.bincount(others, minlength=4) / len(others), [1 / 3, 1 / 3, 1 / 3, 0], atol=0.06)


def test_epsilon_is_the_share_of_uniform_actions() -> None:
    tasks = some(50) | {"id": np.arange(50)}
    never = actions(MDPEpsilonGreedy(ModelBelief(3, 2, 0), 4, epsilon=0), tasks)
    np.testing.assert_array_equal(never, actions(MDPGreedy(ModelBelief(3, 2, 0), 4), tasks))
    always = actions(MDPEpsilonGreedy(ModelBelief(3, 2, 0), 4, epsilon=1), tasks)
    assert 0.45 < always.mean() < 0.55


def test_who_knows_the_mdp_gets_what_it_is_worth() -> None:
    family = TabularMDP(states=4, actions=3, horizon=5)
    found = evaluate(KnownMDP(4, 3, 5), family, 3, tasks=3000, seed=1)
    assert found["regret"]["low"] < 0 < found["regret"]["high"]
    learner = play_tasks(MDPGreedy(ModelBelief(4, 3, 1), 5), family, 3, tasks=3000, seed=1)
    assert found["return"]["mean"] > learner.sum(1).mean() + 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_returns_are_those_published(name: str) -> None:
    family, tasks = TabularMDP(), 500
    agent = BASELINES[name](family, 10)
    assert agent is not None
    returns = play_tasks(agent, family, 10, tasks=tasks, seed=3).sum(1)
    error = returns.std() * np.sqrt(1 / tasks + 1 / 1000)
    assert abs(returns.mean() - PUBLISHED[name]) < 2.5 + 3 * error


def wrong_rows() -> None:
    agent = MDPGreedy(ModelBelief(2, 2, 0), 3)
    agent.begin_trial(3)
    agent.act(np.zeros(2, np.int64), np.zeros(2), np.zeros(2, np.bool_))


def wrong_length() -> None:
    agent = MDPGreedy(ModelBelief(2, 2, 0), 3)
    agent.begin_trial(1)
    for _ in range(2):
        agent.act(np.zeros(1, np.int64), np.zeros(1), np.ones(1, np.bool_))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: ModelBelief(0, 2, 0), "states is 0"),
        (lambda: ModelBelief(2, 0, 0), "actions is 0"),
        (lambda: MDPGreedy(ModelBelief(2, 2, 0), 0), "horizon is 0"),
        (lambda: MDPEpsilonGreedy(ModelBelief(2, 2, 0), 3, epsilon=1.5), "epsilon is 1.5"),
        (lambda: BEB(ModelBelief(2, 2, 0), 3, c=-1), "c is -1"),
        (lambda: UCRL2(ModelBelief(2, 2, 0), 3, c=float("nan")), "c is nan"),
        (lambda: OPSRL(ModelBelief(2, 2, 0), 3, 0), "samples is 0"),
        (wrong_rows, r"the shape of observation is \(2,\); expected \(3,\)"),
        (wrong_length, r"done is \[True\]; expected episodes of 3 steps"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(call: Callable[[], object], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        call()
