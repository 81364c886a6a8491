"""Evaluation: means and intervals over tasks, the same tasks for everyone, the same numbers every time."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from innerloop.actors import evaluate as module
from innerloop.actors.baselines.uniform import Random
from innerloop.actors.evaluate import Interval, evaluate, intervals, play_tasks
from innerloop.actors.rollout import play
from innerloop.envs.api import TaskFamily
from innerloop.envs.bandit import BernoulliBandit, CorrelatedBandit, GaussianBandit
from innerloop.envs.errors import BadInput
from innerloop.envs.navigation import PointNavigation
from innerloop.envs.seeding import streams
from innerloop.envs.tabular import TabularMDP
from innerloop.envs.trials import Trials
from innerloop.learner.api import InnerLoop
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner

ExperimentOn, Made = Callable[..., Experiment], Callable[..., Learner]


@pytest.fixture
def agent_on(experiment_on: ExperimentOn, shaken: Made) -> Callable[..., InnerLoop]:
    """A small agent on a family, seeded."""

    def make(family: TaskFamily, seed: int = 0) -> InnerLoop:
        experiment = experiment_on(family)
        return experiment.algorithm.inner_loop(shaken(experiment, seed=seed).model, experiment.problem)

    return make


def test_means_are_exact_and_intervals_are_those_of_the_percentile_bootstrap() -> None:
    rng = np.random.default_rng(0)
    samples = np.column_stack([rng.normal(3, 2, 150), rng.exponential(1, 150), rng.random(150)])
    for found, column in zip(intervals(samples, 4000), samples.T, strict=True):
        assert found.mean == pytest.approx(column.mean(), rel=1e-12)
        expected = stats.bootstrap((column,), np.mean, n_resamples=4000, method="percentile", rng=rng)
        width = expected.confidence_interval.high - expected.confidence_interval.low
        assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.05 * width)
        assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.05 * width)


def test_an_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = [each.low <= 0 <= each.high for each in intervals(rng.standard_normal((60, 400)))]
    assert 0.9 <= np.mean(covered) <= 0.98


def test_the_interval_of_one_number_over_and_over_is_that_number() -> None:
    assert intervals(np.full((10, 2), 0.5)) == [Interval(0.5, 0.5, 0.5)] * 2


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
    assert found.keys() == {"return", "by_episode", "regret", "tasks"}
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


@pytest.mark.parametrize("tasks", [1, 0, -3])
def test_an_interval_needs_two_tasks(tasks: int, agent_on: Callable[..., InnerLoop]) -> None:
    family = BernoulliBandit()
    with pytest.raises(BadInput, match=rf"^tasks is {tasks}; expected at least 2.*\.$"):
        evaluate(agent_on(family), family, 2, tasks=tasks, seed=0)


def test_every_task_has_its_line_of_parameters_and_returns(tmp_path: Path) -> None:
    family = PointNavigation(horizon=3)
    agent = Random(family.action_space)
    found = evaluate(agent, family, 2, tasks=7, seed=0, file=tmp_path / "returns.csv")
    header, *lines = list(csv.reader((tmp_path / "returns.csv").open()))
    assert header == ["goal.0", "goal.1", "episode.1", "episode.2"]
    numbers = np.array(lines, np.float64)
    [(_, tasks)] = module.held_out(family, tasks=7, seed=0)
    np.testing.assert_array_equal(numbers[:, :2].astype(np.float32), tasks["goal"])
    assert numbers[:, 2].mean() == pytest.approx(found["by_episode"][0]["mean"])
    np.testing.assert_array_equal(numbers[:, 2:], play_tasks(agent, family, 2, tasks=7, seed=0))


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    family = PointNavigation(horizon=1)
    with pytest.raises(BadInput, match=r"^csv is '.*'; expected a file that can be written"):
        evaluate(Random(family.action_space), family, 1, tasks=2, seed=0, file=tmp_path / "no" / "returns.csv")
