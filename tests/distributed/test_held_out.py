"""Evaluation on held-out tasks while a run trains, and the best of its checkpoints."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from small_runs import adapting, final, same_bits, small

from innerloop.actors.actor import Actor
from innerloop.actors.agent import Agent
from innerloop.actors.assignment import Assignment
from innerloop.actors.evaluate import held_out
from innerloop.distributed.cli import main
from innerloop.distributed.config import Config, configure
from innerloop.distributed.curves import mean_by_episode
from innerloop.distributed.held_out import held_out_assignments, held_out_entries, held_out_trials
from innerloop.distributed.opening import open_new, open_saved
from innerloop.distributed.runs.lines import HELD_OUT, read_lines
from innerloop.distributed.saving import Saver
from innerloop.distributed.store.api import summarise
from innerloop.distributed.store.ray import RayStore
from innerloop.distributed.trainer import train
from innerloop.envs.api import Bools, Split, Step, Tasks
from innerloop.envs.errors import BadInput
from innerloop.learner.best import BEST, Best
from innerloop.learner.checkpoint import Checkpoints
from innerloop.learner.learner import Learner


class Same:
    """Rows whose observation is their task, for three steps."""

    def __init__(self, number: np.ndarray) -> None:
        self._number, self._time = number[:, None], np.zeros(len(number), np.int64)

    def reset(self, rows: Bools) -> np.ndarray:
        self._time[rows] = 0
        return self._number

    def step(self, action: np.ndarray) -> Step:
        self._time += 1
        return Step(self._number, np.zeros(len(action), np.float32), self._time >= 3, self._time < 0)


@dataclass(frozen=True)
class Shown:
    horizon = 3
    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"number": rng.normal(size=n).astype(np.float32)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> Same:
        return Same(tasks["number"])


@pytest.mark.parametrize(
    ("options", "trials"),
    [
        ({"preset": "first"}, 800),
        ({"preset": "first", "evaluate_every": 10}, 400),
        ({"preset": "first", "evaluate_every": 1_000}, 1_000),  # as an iteration
        ({"preset": "first", "evaluate_every": 0}, 0),
        ({"trials": 3, "evaluate_every": 1}, 2),
        ({"preset": "point-maml"}, 16),
        ({"preset": "cheetah-dir-maml"}, 8),  # two different tasks
        ({"preset": "point-pearl"}, 60),  # of 64, whole rounds of 20 tasks
        ({"family": "grid-navigation", "trials": 20}, 16),  # fewer than the set has
    ],
)
def test_an_evaluation_is_a_small_share_of_training(options: dict[str, Any], trials: int) -> None:
    config = configure(**options)
    assert held_out_trials(config) == trials
    if trials > 2:
        assert trials <= 0.05 * config.run.evaluate_every * config.run.trials


@pytest.mark.parametrize("config", [small(arms=3), adapting("maml")], ids=["rl2", "maml"])
def test_its_entries_are_those_of_its_trials(config: Config) -> None:
    experiment = config.experiment
    actor = Actor(experiment, 7, held_out=12)
    learner = Learner(experiment.algorithm, experiment.problem, seed=7, device="cpu", threads=1)
    actor.load(learner.acting_weights(), 0)
    [whole] = held_out_assignments(3, 12, 1)
    found = held_out_entries({whole: summarise(actor.collect(whole))})
    returns = actor.collect(whole).episode_returns(experiment.episodes).astype(np.float64)
    by_task = returns.sum(1).reshape(12, -1).mean(1)
    curve = mean_by_episode([returns])
    assert found == {
        "held_out_iteration": 3,
        "held_out_return": pytest.approx(by_task.mean()),
        "held_out_first_episode": pytest.approx(curve[0]),
        "held_out_last_episode": pytest.approx(curve[-1]),
        "held_out_error": pytest.approx(by_task.std(ddof=1) / 12**0.5),
    }


def test_the_tasks_are_the_same_at_each_evaluation_and_those_of_no_other() -> None:
    config = configure(episodes=1, hidden=4)
    experiment = replace(config.experiment, family=Shown(), family_name="shown")
    actor = Actor(experiment, 7, tasks=12, held_out=12)
    learner = Learner(experiment.algorithm, experiment.problem, seed=7, device="cpu", threads=1)
    actor.load(learner.acting_weights(), 0)
    three, eight = (actor.collect(held_out_assignments(iteration, 12, 1)[0]) for iteration in (3, 8))
    training = actor.collect(Assignment(3, 0, 12, tuple(range(12))))
    np.testing.assert_array_equal(three.observation, eight.observation)
    assert (three.action != eight.action).any()  # draws of their own
    assert not np.isin(three.observation, training.observation).any()
    evaluated = next(drawn for _, drawn in held_out(experiment.family, tasks=12, seed=7))["number"]
    assert not np.isin(three.observation, evaluated).any()


@pytest.mark.usefixtures("own_ray")
def test_a_run_is_evaluated_by_its_actors_and_trains_as_it_would_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {"iterations": 5, "keep": 1, "checkpoint_every": 1, "evaluation_tasks": 0, "seed": 3}
    train(small(evaluate_every=2, **kept), tmp_path / "one")
    train(small(evaluate_every=2, actors=2, **kept), tmp_path / "two")
    train(small(evaluate_every=0, **kept), tmp_path / "none")
    lines = {name: read_lines(tmp_path / name / "metrics.jsonl") for name in ("one", "two", "none")}
    own = [[{k: v for k, v in line.items() if k.startswith(HELD_OUT)} for line in each] for each in lines.values()]
    assert own[0] == own[1]
    assert [line.get("held_out_iteration") for line in own[0]] == [None, 2, None, 4, 5]
    assert not any(own[2])
    weights = {name: final(tmp_path / name) for name in lines}
    assert same_bits(weights["one"], weights["two"])
    iteration, value = weights["one"].pop(BEST)
    assert same_bits(weights["one"], weights["none"])
    values = {line["held_out_iteration"]: line["held_out_return"] for line in own[0] if line}
    assert value == max(values.values()) == values[iteration]
    names = Checkpoints(tmp_path / "one" / "checkpoints").names()
    assert sorted({int(name) for name in names}) == sorted({int(iteration), 5})
    best = Agent.load(tmp_path / "one", which="best")
    assert best.experiment == Agent.load(tmp_path / "one").experiment
    main(["evaluate", str(tmp_path / "one"), "--checkpoint", "best", "--tasks", "20", "--json"])
    assert json.loads(capsys.readouterr().out)["tasks"] == 20
    with pytest.raises(BadInput, match=r"^checkpoint is 'best'; expected last: the run was not evaluated"):
        Agent.load(tmp_path / "none", which="best")


def test_the_best_checkpoint_is_kept_until_there_is_a_better_one_and_moves_along(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    config = small(keep=2)
    with open_new(config, out, overwrite=False) as (opened, _):
        opened.begin()
        saver = Saver(opened, RayStore(0))
        kept = []
        for version, best in enumerate([1.0, None, 2.0, None, None, None, None], 1):
            opened.learner.version = version
            saver.save(Best(version, best) if best else None)
            kept.append([int(name) for name in opened.checkpoints.names()])
    assert kept == [[1], [1, 2], [2, 3], [3, 4], [3, 4, 5], [3, 5, 6], [3, 6, 7]]
    with open_saved(out, small(keep=2, checkpoints=str(elsewhere)), False) as (opened, _):
        assert opened.best == Best(3, 2.0)
        opened.begin()
    assert [int(name) for name in Checkpoints(elsewhere).names()] == [3, 7]
    Agent.load(out, which="best")
    (elsewhere / "00000003.json").unlink()
    with pytest.raises(BadInput, match=r"^checkpoint '.*00000003' cannot be read"):
        Agent.load(out, which="best")


def test_a_checkpoint_that_could_not_be_written_is_not_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_new(small(keep=1), tmp_path / "run", overwrite=False) as (opened, _):
        opened.begin()
        saver = Saver(opened, RayStore(0))

        def full(*_: object) -> None:
            raise OSError("no room")

        with monkeypatch.context() as patch:
            patch.setattr(opened.checkpoints, "save", full)
            opened.learner.version = 1
            saver.save(Best(1, 1.0))
        assert opened.best is None
        assert opened.counts["checkpoints_failed"] == 1


def test_an_option_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^evaluate_every is -1; expected at least 0"):
        small(evaluate_every=-1)
    with pytest.raises(BadInput, match=r"^checkpoint is 'first'; expected last or best"):
        Agent.load(tmp_path, which="first")
