"""Evaluation: means and intervals over tasks, the same tasks for everyone, the same numbers every time."""

import csv
import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from fixture_types import ExperimentOn, Made
from gymnasium import spaces

from innerloop.actors import evaluate as module
from innerloop.actors.agent import Agent
from innerloop.actors.baselines.uniform import Random
from innerloop.actors.evaluate import evaluate, play_tasks
from innerloop.actors.report import evaluation, table
from innerloop.actors.rollout import play
from innerloop.envs.adapter import GymnasiumFamily
from innerloop.envs.api import TaskFamily
from innerloop.envs.bandit import BernoulliBandit, CorrelatedBandit, GaussianBandit
from innerloop.envs.errors import BadInput
from innerloop.envs.mujoco import HalfCheetahDir
from innerloop.envs.navigation import PointNavigation, SparsePointNavigation
from innerloop.envs.seeding import streams
from innerloop.envs.tabular import TabularMDP
from innerloop.envs.trials import Trials
from innerloop.learner.api import InnerLoop


@pytest.fixture
def agent_on(experiment_on: ExperimentOn, shaken: Made) -> Callable[..., InnerLoop]:
    """A small agent on a family, seeded."""

    def make(family: TaskFamily, seed: int = 0) -> InnerLoop:
        experiment = experiment_on(family)
        return experiment.algorithm.inner_loop(shaken(experiment, seed=seed).model, experiment.problem)

    return make


def test_returns_are_those_of_one_trial_on_each_held_out_task(agent_on: Callable[..., InnerLoop]) -> None:
    family = TabularMDP(states=3, actions=2, horizon=4)
    found = play_tasks(agent_on(family), family, 3, tasks=20, seed=5)
    assert found.shape == (20, 3)
    rng = streams(5, "test", 0)
    trials = Trials(family, family.sample(rng.tasks, 20, "test"), 3, rng.env)
    trajectory = play(agent_on(family), trials, rng.agent)
    expected = trajectory.reward.astype(np.float64).reshape(3, 4, 20).sum(1).T
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_returns_of_rows_that_adapt_together_are_one_return_of_their_task(
    adapting_on: ExperimentOn, shaken: Made
) -> None:
    """The mean over them, episode by episode, summed step by step."""
    experiment = adapting_on(PointNavigation(horizon=5), rollouts=4)
    agent, family = experiment.algorithm.inner_loop(shaken(experiment).model, experiment.problem), experiment.family
    found = play_tasks(agent, family, 3, tasks=6, seed=5)
    assert found.shape == (6, 3)
    rng = streams(5, "test", 0)
    trials = Trials(family, family.sample(rng.tasks, 6, "test"), 3, rng.env, 4)
    trajectory = play(agent, trials, rng.agent)
    expected = np.zeros((6, 3))
    for row in range(24):
        episode = 0
        for t in np.flatnonzero(trajectory.valid[:, row]):
            expected[row // 4, episode] += trajectory.reward[t, row] / 4
            episode += int(trajectory.done[t, row])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_result_is_the_document_that_it_says(agent_on: Callable[..., InnerLoop]) -> None:
    family = GaussianBandit(arms=3)
    returns = play_tasks(agent_on(family), family, 4, tasks=30, seed=2)
    found = evaluate(agent_on(family), family, 4, tasks=30, seed=2)
    assert found.keys() == {"return", "by_episode", "regret", "measures", "tasks", "different_tasks"}
    assert found["measures"] == {}
    assert found["tasks"] == 30
    assert len(found["by_episode"]) == 4
    for each, column in zip([found["return"], *found["by_episode"]], [returns.sum(1), *returns.T], strict=True):
        assert each.keys() == {"mean", "low", "high"}
        assert each["mean"] == pytest.approx(column.mean())
        assert each["low"] < each["mean"] < each["high"]
        assert all(type(number) is float for number in each.values())


@pytest.mark.parametrize("family", [GaussianBandit(arms=3), CorrelatedBandit(level="hard"), TabularMDP(states=4)])
def test_regret_is_what_the_best_policy_for_each_task_has_more(family: TaskFamily) -> None:
    """Of an agent that plays at random: its expected return, computed by hand, less than the best's."""
    found = evaluate(Random(family.action_space), family, 5, tasks=3000, seed=0)
    [*parts] = [tasks for _, tasks in module.held_out(family, tasks=3000, seed=0)]
    tasks = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if isinstance(family, TabularMDP):
        at_random, best = np.zeros((3000, 4)), np.zeros((3000, 4))  # of each state, with more and more steps left
        for _ in range(family.horizon):
            blind = tasks["reward"] + np.einsum("nsat,nt->nsa", tasks["transition"], at_random)
            known = tasks["reward"] + np.einsum("nsat,nt->nsa", tasks["transition"], best)
            at_random, best = blind.mean(2), known.max(2)
        expected = (5 * (best - at_random)[:, 0]).mean()
    else:
        expected = (5 * (tasks["mean"].max(1) - tasks["mean"].mean(1))).mean()
    assert found["regret"]["low"] < found["regret"]["mean"] < found["regret"]["high"]
    error = (found["return"]["high"] - found["return"]["low"]) / 4
    assert abs(found["regret"]["mean"] - expected) < 3 * error


def test_where_nobody_knows_the_best_there_is_no_regret() -> None:
    family = PointNavigation(horizon=2)
    assert evaluate(Random(family.action_space), family, 2, tasks=5, seed=0)["regret"] is None


def test_the_same_seed_gives_the_same_result_whatever_was_evaluated_before(agent_on: Callable[..., InnerLoop]) -> None:
    family = TabularMDP(states=3, actions=2, horizon=4)
    agent = agent_on(family)
    first = evaluate(agent, family, 3, tasks=10, seed=1)
    other = evaluate(agent, family, 3, tasks=10, seed=2)
    evaluate(agent, family, 2, tasks=7, seed=3)
    assert evaluate(agent, family, 3, tasks=10, seed=1) == first
    assert evaluate(agent_on(family), family, 3, tasks=10, seed=1) == first
    assert other != first


class Noted(BernoulliBandit):
    """Says which tasks it gave."""

    given: list[np.ndarray]

    def sample(self, rng: np.random.Generator, n: int, split: str) -> dict[str, np.ndarray]:
        assert split == "test"
        tasks = super().sample(rng, n, split)
        self.given.append(tasks["mean"])
        return tasks


def test_all_agents_are_compared_on_the_same_tasks(agent_on: Callable[..., InnerLoop]) -> None:
    family = Noted(arms=3)
    object.__setattr__(family, "given", [])
    for agent in (agent_on(family), agent_on(family, seed=1), Random(family.action_space)):
        evaluate(agent, family, 2, tasks=10, seed=4)
    assert len(family.given) == 3
    np.testing.assert_array_equal(family.given[0], family.given[1])
    np.testing.assert_array_equal(family.given[0], family.given[2])


def test_many_tasks_are_played_in_parts_that_share_none(
    agent_on: Callable[..., InnerLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 10)
    family = Noted(arms=3)
    object.__setattr__(family, "given", [])
    returns = play_tasks(agent_on(family), family, 3, tasks=25, seed=0)
    assert returns.shape == (25, 3)
    assert [len(part) for part in family.given] == [10, 10, 5]
    assert len(np.unique(np.concatenate(family.given), axis=0)) == 25


class NotedPoints(PointNavigation):
    """Says which tasks it gave."""

    given: list[np.ndarray]

    def sample(self, rng: np.random.Generator, n: int, split: str) -> dict[str, np.ndarray]:
        assert split == "test"
        tasks = super().sample(rng, n, split)
        self.given.append(tasks["goal"])
        return tasks


def noted_points() -> NotedPoints:
    family = NotedPoints(horizon=2)
    object.__setattr__(family, "given", [])
    return family


def test_parts_have_as_many_rows_at_most_whoever_adapts(
    adapting_on: ExperimentOn, shaken: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 10)
    family, rows = noted_points(), []
    experiment = adapting_on(family, episodes=2, rollouts=4)
    agent = experiment.algorithm.inner_loop(shaken(experiment).model, experiment.problem)
    begin = agent.begin_trial
    monkeypatch.setattr(agent, "begin_trial", lambda n, rng: (rows.append(n), begin(n, rng)))
    returns = play_tasks(agent, family, 2, tasks=25, seed=0)
    assert returns.shape == (25, 2)
    assert max(rows) <= 10
    assert sum(rows) == 25 * 4
    assert len(np.unique(np.concatenate(family.given), axis=0)) == 25


@pytest.mark.parametrize("tasks", [5, 25], ids=["in-one-part", "in-parts"])
def test_agents_that_adapt_in_several_rows_play_the_same_tasks_as_those_that_adapt_in_one(
    tasks: int, adapting_on: ExperimentOn, shaken: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 20)
    given = []
    for rollouts in (1, 2, 4):
        family = noted_points()
        experiment = adapting_on(family, episodes=2, rollouts=max(2, rollouts))
        agent = experiment.algorithm.inner_loop(shaken(experiment).model, experiment.problem)
        play_tasks(Random(family.action_space) if rollouts == 1 else agent, family, 2, tasks=tasks, seed=4)
        given.append(np.concatenate(family.given))
    np.testing.assert_array_equal(given[1], given[0])
    np.testing.assert_array_equal(given[2], given[0])


class Few(NotedPoints):
    """Good for a few rows only."""

    rows: Any = 6


@pytest.mark.parametrize(("rollouts", "most"), [(1, 6), (2, 6), (4, 4), (8, 8)])
def test_as_many_rows_are_played_at_once_as_the_family_is_good_for(
    rollouts: int, most: int, adapting_on: ExperimentOn, shaken: Made
) -> None:
    family, rows = Few(horizon=2), []
    object.__setattr__(family, "given", [])
    experiment = adapting_on(family, episodes=2, rollouts=max(2, rollouts))
    agent = experiment.algorithm.inner_loop(shaken(experiment).model, experiment.problem)
    agent = Random(family.action_space) if rollouts == 1 else agent
    begin = agent.begin_trial
    agent.begin_trial = lambda n, rng: (rows.append(n), begin(n, rng))  # pyright: ignore[reportAttributeAccessIssue]
    assert play_tasks(agent, family, 2, tasks=25, seed=0).shape == (25, 2)
    assert max(rows) == most
    assert sum(rows) == 25 * rollouts
    assert len(family.given) == 1  # the tasks are the same, however many are played at once


@pytest.mark.parametrize("rows", [0, -1, 2.5, True, None, "8"])
def test_rows_that_are_no_number_are_refused_in_one_sentence(rows: Any) -> None:
    family = Few(horizon=2)
    object.__setattr__(family, "rows", rows)
    with pytest.raises(BadInput, match=r"^the rows of Few is .*; expected at least 1, a whole number\.$"):
        play_tasks(Random(family.action_space), family, 2, tasks=4, seed=0)


class Ladder(gymnasium.Env):
    """An episode of as many steps as its task says, each of which pays that."""

    observation_space, action_space = spaces.Box(-1, 1, (1,), np.float32), spaces.Discrete(2)
    alive = most = 0

    def __init__(self) -> None:
        Ladder.alive += 1
        Ladder.most = max(Ladder.most, Ladder.alive)
        self.height = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.left = self.height
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.left -= 1
        return np.zeros(1, np.float32), float(self.height), self.left == 0, False, {}

    def close(self) -> None:
        Ladder.alive -= 1


def set_height(env: gymnasium.Env, task: Any) -> None:
    assert isinstance(env, Ladder)
    env.height = task["height"]


def ladders(**options: Any) -> GymnasiumFamily:
    Ladder.alive = Ladder.most = 0
    tasks = {"train": [{"height": 9}], "test": [{"height": height} for height in range(1, 8)]}
    return GymnasiumFamily(Ladder, set_height, tasks, horizon=9, **options)


@pytest.mark.parametrize("rows", [1, 3, 5, 64])
def test_no_more_environments_are_alive_than_a_family_has_rows_and_returns_are_right(rows: int, tmp_path: Path) -> None:
    family = ladders(rows=rows)
    found = play_tasks(Random(family.action_space), family, 2, tasks=30, seed=0)
    [(_, tasks)] = module.held_out(family, tasks=30, seed=0)
    np.testing.assert_array_equal(found, np.repeat(tasks["height"][:, None] ** 2, 2, axis=1))
    assert len(found) == 35  # each of seven ladders five times
    assert Ladder.most == min(rows, 35)
    evaluate(Random(family.action_space), family, 2, tasks=30, seed=0, file=tmp_path / "returns.csv")
    assert Ladder.most == min(rows, 35)
    header, *lines = csv.reader((tmp_path / "returns.csv").read_text().splitlines())
    assert header == ["member", "height", "episode.1", "episode.2"]
    np.testing.assert_array_equal(
        np.array(lines, np.float64), np.column_stack([tasks["member"], tasks["height"], found])
    )
    del family
    gc.collect()
    assert Ladder.alive == 0


def test_a_family_that_does_not_say_plays_the_usual_number_at_once() -> None:
    assert module.rows_of(BernoulliBandit()) == module.CHUNK
    assert module.rows_of(ladders()) == 64


def test_memory_does_not_grow_with_the_number_of_tasks_but_for_their_returns() -> None:
    """Numpy's own count of bytes: 40,000 bandits, and 400,000 less than twice as much more than their returns are."""
    family, peaks = BernoulliBandit(), []
    for tasks in (4_000, 40_000):
        tracemalloc.start()
        evaluate(Random(family.action_space), family, 2, tasks=tasks, seed=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    returns, resampled = 36_000 * 4 * 8, 36_000 * 3 * 8  # trial, two episodes, regret; a resample's indices and counts
    assert peaks[1] - peaks[0] < returns + 2 * resampled


@pytest.mark.parametrize("tasks", [1, 0, -3])
def test_an_interval_needs_two_tasks(tasks: int, agent_on: Callable[..., InnerLoop]) -> None:
    family = BernoulliBandit()
    with pytest.raises(BadInput, match=rf"^tasks is {tasks}; expected at least 2.*\.$"):
        evaluate(agent_on(family), family, 2, tasks=tasks, seed=0)


def test_more_returns_than_memory_holds_are_refused_in_one_sentence() -> None:
    family = BernoulliBandit()
    with pytest.raises(BadInput, match=r"^tasks is 1000000000000000000; expected fewer, .*\.$"):
        evaluate(Random(family.action_space), family, 2, tasks=10**18, seed=0)


@pytest.mark.parametrize(("tasks", "played"), [(7, 7), (20, 20), (21, 40), (2_001, 2_020)])
def test_a_finite_test_set_is_played_in_whole_rounds_and_its_tasks_count_once(tasks: int, played: int) -> None:
    """Twenty goals; fewer trials are of different ones."""
    family = SparsePointNavigation(horizon=2)
    drawn = [each["goal"] for _, each in module.held_out(family, tasks=tasks, seed=3)]
    _, counts = np.unique(np.concatenate(drawn), axis=0, return_counts=True)
    assert {*counts.tolist()} == {max(1, played // 20)}
    assert counts.sum() == played
    found = evaluate(Random(family.action_space), family, 2, tasks=tasks, seed=3)
    assert (found["tasks"], found["different_tasks"]) == (played, min(20, played))


def test_an_interval_is_over_the_means_of_tasks_that_were_played_again_and_again(tmp_path: Path) -> None:
    """Each rung of a ladder gives its height squared, however often it is climbed."""
    family = ladders(rows=64)
    once, often = (evaluate(Random(family.action_space), family, 2, tasks=tasks, seed=0) for tasks in (7, 350))
    assert (often["tasks"], often["different_tasks"]) == (350, once["different_tasks"]) == (350, 7)
    for name in ("mean", "low", "high"):
        assert often["return"][name] == pytest.approx(once["return"][name], rel=0.02)


@pytest.mark.parametrize(
    ("family", "tasks", "said"),
    [
        (BernoulliBandit(), 50, "50 held-out tasks"),
        (SparsePointNavigation(horizon=2), 40, "40 trials on 20 different held-out tasks"),
        (HalfCheetahDir(horizon=2), 4, "4 trials on 2 different held-out tasks, too few for an interval to say much"),
    ],
    ids=["endless", "20", "2"],
)
def test_a_table_says_how_many_different_tasks_there_were(
    family: TaskFamily, tasks: int, said: str, agent_on: Callable[..., InnerLoop], experiment_on: ExperimentOn
) -> None:
    agent = Agent(experiment_on(family), agent_on(family))
    assert said in str(table(evaluation(agent, tasks=tasks, seed=0), "it").title)
