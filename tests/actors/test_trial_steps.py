"""Trials that are counted in steps: episodes follow each other until the steps are used up."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lengths import OVER, Lengths
from small import SMALL

from innerloop.actors.actor import Actor, Assignment
from innerloop.actors.baselines import Random
from innerloop.actors.evaluate import WINDOWS, evaluate, window_edges
from innerloop.actors.rollout import play
from innerloop.distributed.config import configure
from innerloop.distributed.loop import last_episode
from innerloop.distributed.rollouts.tasks import TaskOrder
from innerloop.distributed.store.api import summarise
from innerloop.distributed.store.redis.wire import decode, encode
from innerloop.distributed.store.schema import Schema, Undecodable
from innerloop.envs.errors import BadInput
from innerloop.envs.trials import Trials
from innerloop.learner.algorithms import ALGORITHMS
from innerloop.learner.experiment import Experiment
from innerloop.learner.exported import check_exported
from innerloop.learner.learner import Learner
from innerloop.learner.replay import Replay


def experiment(algorithm: str = "rl2", **options: Any) -> Experiment:
    return Experiment(
        family_name="lengths",
        family=Lengths(),
        algorithm_name=algorithm,
        algorithm=ALGORITHMS[algorithm](**SMALL[algorithm]),
        **{"episodes": 2, "trial_steps": 7} | options,
    )


def test_episodes_follow_each_other_until_the_steps_are_used_up() -> None:
    lengths = np.array([1, 2, 3, 7, 9])
    trials = Trials(Lengths(), {"length": lengths}, 2, np.random.default_rng(0), trial_steps=7)
    found = play(Random(Lengths.action_space), trials, np.random.default_rng(0))
    assert found.valid.shape == (7, 5)
    assert found.valid.all()
    for column, length in enumerate(lengths):
        time = np.arange(7) % length + 1
        np.testing.assert_array_equal(found.reward[:, column], time)
        over, odd = time == length, length % 2 == 1
        np.testing.assert_array_equal(found.terminated[:, column], over & odd)
        cut = (over & (not odd)) | ((np.arange(7) == 6) & ~over)  # the cut is recorded as a truncation
        np.testing.assert_array_equal(found.truncated[:, column], cut)
        returns = found.episode_returns(7)[column]
        whole, rest = divmod(7, length)
        expected = [length * (length + 1) / 2] * whole + [rest * (rest + 1) / 2] * int(rest > 0)
        np.testing.assert_array_equal(returns, expected + [np.nan] * (7 - len(expected)))
        steps = [length] * whole + [rest] * int(rest > 0)
        np.testing.assert_array_equal(found.measures["steps"][column], steps + [np.nan] * (7 - len(steps)))
    assert found.trial_end[-1].all()


@pytest.mark.parametrize("algorithm", ["rl2", "pearl", "recurrent-sac"])
def test_an_algorithm_learns_from_them(algorithm: str) -> None:
    some = experiment(algorithm)
    learner = Learner(some.algorithm, some.problem, seed=0, device="cpu", threads=1)
    actor, assignment = Actor(some, seed=0), Assignment(iteration=0, part=0, trials=6, episodes=2)
    actor.load(learner.acting_weights(), 0)
    trajectory, replay, again = actor.collect(assignment), Replay(2**20), Replay(2**20)
    assert trajectory.reward.shape == (7, 6)
    schema = Schema.of(some, learner.model, iterations=1, parts=1, tasks=0)
    if some.learns_fresh:
        schema.check(assignment, decode(encode(assignment, trajectory))[1])
        endless = np.zeros_like(trajectory.truncated)
        with pytest.raises(Undecodable, match="trials of 7 steps"):
            schema.check(assignment, replace(trajectory, truncated=endless, terminated=endless))
    else:
        replay.append([0, 1, 2, 3, 4, 5], trajectory)
        exported = replay.export()
        check_exported(exported, 1, problem=some.problem, tasks=6)
        again.restore(exported)
    metrics = learner.update(trajectory if some.learns_fresh else again, 0.0)
    assert all(np.isfinite(value) for value in metrics.values()), metrics
    summary = summarise(trajectory)
    assert summary.steps == 42
    played = (~np.isnan(summary.returns)).sum(1)
    np.testing.assert_array_equal(played, trajectory.done.sum(0))
    order = TaskOrder(6, "prioritised", 0)
    order.played((0, 1, 2, 3, 4, 5), summary.returns)
    np.testing.assert_array_equal(order.episodes, played)
    np.testing.assert_allclose(order.last_return, trajectory.reward.sum(0))
    last = [row[count - 1] for row, count in zip(summary.returns, played, strict=True)]
    np.testing.assert_array_equal(last_episode(summary.returns), last)


@pytest.mark.parametrize("algorithm", ["maml", "promp"])
def test_adaptation_between_whole_episodes_refuses_them(algorithm: str) -> None:
    with pytest.raises(BadInput, match=rf"^trial_steps is 7; expected 0 with {algorithm}, .*\.$"):
        experiment(algorithm)


def test_a_configuration_comes_back_and_says_what_counts() -> None:
    some = experiment()
    assert some.problem.steps == 7
    config = configure(family="point-navigation", trial_steps=300)
    assert Experiment.from_json(config.to_json()).trial_steps == 300
    for options, message in (
        ({"episodes": 3}, "episodes is 3; expected it only without trial_steps"),
        ({"episodes_start": 2}, "episodes_start is 2; expected 0 where trials are counted in steps"),
        ({"evaluation_episodes": 2}, "evaluation_episodes is 2; expected 0 where trials are counted in steps"),
        ({"trial_steps": -1}, "trial_steps is -1; expected at least 0"),
        ({"trial_steps": 2.0}, "trial_steps is 2.0; expected a value of type int"),
        ({"trial_steps": 10**9}, "trial_steps is 1000000000; expected trials of at most"),
    ):
        with pytest.raises(BadInput, match=f"^{message}"):
            configure(family="point-navigation", **({"trial_steps": 300} | options))


def test_evaluation_is_by_attempt_and_by_window_of_steps(tmp_path: Path) -> None:
    found = evaluate(
        Random(Lengths.action_space), Lengths(), 1, tasks=200, seed=0, trial_steps=40, file=tmp_path / "tasks.csv"
    )
    with (tmp_path / "tasks.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    lengths = np.array([row["length"] for row in rows])
    np.testing.assert_array_equal([row["episodes"] for row in rows], np.ceil(40 / lengths))
    assert len(found["by_window"]) == WINDOWS == 10
    time = np.arange(40) % lengths[:, None] + 1
    for index, window in enumerate(found["by_window"]):
        own = time[:, 4 * index : 4 * index + 4].sum(1)
        np.testing.assert_array_equal([row[f"window.{index + 1}"] for row in rows], own)
        assert window["mean"] == pytest.approx(own.mean())
    assert found["return"]["mean"] == pytest.approx(time.sum(1).mean())
    attempts = np.ceil(40 / lengths)
    assert len(found["by_episode"]) == max(n for n in range(1, 41) if (attempts >= n).mean() >= 0.5)
    first = lengths * (lengths + 1) / 2
    assert found["by_episode"][0]["mean"] == pytest.approx(first.mean())
    assert found["regret"] is None
    assert len(found["measures"]["steps"]) == len(found["by_episode"])
    assert [name for name in rows[0] if name.startswith("measure")] == [f"measure.{name}" for name in OVER]
    np.testing.assert_allclose([row["measure.steps"] for row in rows], 40 / np.ceil(40 / lengths))


def test_windows_are_as_equal_as_can_be_and_no_more_than_steps() -> None:
    assert window_edges(0) == [0]
    assert window_edges(3) == [0, 1, 2, 3]
    edges = np.diff(window_edges(505))
    assert edges.sum() == 505
    assert np.ptp(edges) <= 1
