"""Measures: numbers beside the reward, of steps and then of episodes, and out of an adapted environment's infos."""

import csv
import logging
import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from given import Given, family, played
from lengths import OVER, Lengths
from logged import ours

from innerloop.actors.baselines import Random
from innerloop.actors.evaluate import evaluate
from innerloop.actors.rollout import play
from innerloop.distributed.loop import measure_entries
from innerloop.distributed.watch.entries import by_episode, measures_of
from innerloop.envs.api import Split, TaskFamily, Tasks
from innerloop.envs.errors import BadInput
from innerloop.envs.measures import Measures, parse_measures
from innerloop.envs.trials import Trials
from innerloop.learner.episodes import episode_entries


@pytest.mark.parametrize("rollouts", [1, 2])
def test_an_episodes_measures_are_made_of_its_own_steps(rollouts: int) -> None:
    family, lengths = Lengths(), np.array([1, 2, 3, 5])
    trials = Trials(family, {"length": lengths}, 2, np.random.default_rng(0), rollouts)
    found = play(Random(family.action_space), trials, np.random.default_rng(0)).measures
    own = lengths.repeat(rollouts).astype(float)[:, None].repeat(2, 1)
    np.testing.assert_array_equal(found["place"], 10 * own)
    np.testing.assert_array_equal(found["moves"], own * (own + 1) / 2)
    np.testing.assert_array_equal(found["seen"], own >= 2)
    assert all(array.dtype == np.float32 for array in found.values())


def test_a_row_that_does_not_play_measures_nothing_and_an_episode_that_was_not_played_is_nan() -> None:
    measures = Measures({"x": "sum"}, 2)
    for episode in (0, 3):
        measures.add({"x": np.float32([1, 2])}, np.array([episode, 0]), np.array([True, False]))
    np.testing.assert_array_equal(measures.by_episode(5)["x"], [[1, np.nan, np.nan, 1, np.nan], [np.nan] * 5])


@pytest.mark.parametrize("given", [{}, {"place": np.ones(3)}, dict.fromkeys([*OVER, "more"], np.ones(3))], ids=str)
def test_a_step_with_other_measures_than_the_familys_is_refused(given: dict[str, Any]) -> None:
    class Other(Lengths):
        def of_step(self) -> dict[str, np.ndarray]:
            return given

    trials = Trials(Other(), {"length": np.ones(3)}, 2, np.random.default_rng(0))
    trials.begin()
    with pytest.raises(
        BadInput, match=r"^the measures of a step of Other are .*; expected place, moves, seen, steps, as .*\.$"
    ):
        trials.step(np.zeros(3, np.int64))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["success"], r"the measures of X are \['success'\]; expected a mapping of names"),
        ({"Success": "ever"}, "a measure of X is called 'Success'; expected at most 40 lower-case letters"),
        ({"a.b": "ever"}, "a measure of X is called 'a.b'; expected"),
        ({"won_episode_1": "ever"}, "a measure of X is called 'won_episode_1'; expected .* without _episode_"),
        ({1: "ever"}, "a measure of X is called 1; expected"),
        ({"won": "mean"}, "the measure 'won' of X is 'mean'; expected last, sum or ever"),
    ],
)
def test_measures_that_are_none_are_refused(given: Any, message: str) -> None:
    with pytest.raises(BadInput, match=f"^{message}"):
        parse_measures("X", given)


ALIKE = ["returns", "episode", "episodes", "window", "length", "measure", "mean_return", "by_episode", "episode_1"]
"""What else evaluation and a metrics line speak of."""


@pytest.mark.parametrize("trial_steps", [0, 6])
@pytest.mark.parametrize("name", ALIKE)
def test_a_measure_that_is_called_like_something_else_is_kept_apart_from_it(
    name: str, trial_steps: int, tmp_path: Path
) -> None:
    class Alike(Lengths):
        measures = MappingProxyType({name: "last"})

        def of_step(self) -> dict[str, np.ndarray]:
            return {name: np.full(len(self._time), -1)}

    def found(family: Lengths) -> tuple[dict[str, Any], list[list[str]]]:
        agent, file = Random(family.action_space), tmp_path / "tasks.csv"
        result = evaluate(agent, family, 2, tasks=9, seed=0, trial_steps=trial_steps, file=file)
        with file.open() as lines:
            return result, [*csv.reader(lines)]

    (usual, lines), (result, other) = found(Lengths()), found(Alike())
    assert {mean["mean"] for mean in result.pop("measures")[name]} == {-1}
    assert result == {key: value for key, value in usual.items() if key != "measures"}
    ours = [index for index, column in enumerate(other[0]) if column.startswith(f"measure.{name}")]
    assert {line[index] for index in ours for line in other[1:]} == {"-1.0"}
    theirs = [index for index, column in enumerate(lines[0]) if not column.startswith("measure.")]
    assert [line[: ours[0]] for line in other] == [[line[index] for index in theirs] for line in lines]
    line = measure_entries([{name: np.float32([[3, 5]])}]) | episode_entries(np.array([1.0, 2.0]))
    assert measures_of(line) == [f"measure_{name}"]
    assert by_episode(line, f"measure_{name}") == {1: 3, 2: 5}
    assert by_episode(line) == {1: 1, 2: 2}


@pytest.mark.parametrize(("entry", "shape"), [("episode", (2,)), ("measure.steps.1", ()), ("measure.steps", (2,))])
def test_a_task_whose_entry_is_called_like_a_column_of_the_file_is_refused(
    entry: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    class Named(Lengths):
        def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
            return super().sample(rng, n, split) | {entry: np.zeros((n, *shape))}

    with pytest.raises(BadInput, match=rf"^tasks have an entry '{re.escape(entry)}.*'; expected another name, "):
        evaluate(Random(Named.action_space), Named(), 2, tasks=3, seed=0, file=tmp_path / "tasks.csv")
    assert not [*tmp_path.iterdir()]


def test_evaluation_has_every_measure_by_episode() -> None:
    found = evaluate(Random(Lengths.action_space), Lengths(), 3, tasks=50, seed=0)["measures"]
    assert [*found] == [*OVER]
    for curve in found.values():
        assert len(curve) == 3
        assert all(each["low"] < each["mean"] < each["high"] for each in curve)
        assert len({each["mean"] for each in curve}) == 1  # a task's episodes are all alike


class Informing(Given):
    """Infos with and without the numbers."""

    def info(self) -> dict[str, Any]:
        return {1: {"won": False, "far": 3}, 2: {"won": True, "pay": 2.5}, 3: {"pay": 1}}[self.time]

    def step(self, action: Any) -> Any:
        return (*super().step(action)[:4], self.info())


def measured(some: TaskFamily) -> dict[str, np.ndarray]:
    trials = Trials(some, some.sample(np.random.default_rng(0), 2, "train"), 2, np.random.default_rng(0))
    return play(Random(some.action_space), trials, np.random.default_rng(0)).measures


def test_the_adapter_takes_them_from_infos() -> None:
    found = measured(family(Informing, measures={"won": "ever", "far": "last", "pay": "sum"}))
    assert {name: array.tolist() for name, array in found.items()} == {
        "won": [[1, 1]] * 2, "far": [[3, 3]] * 2, "pay": [[3.5, 3.5]] * 2,
    }  # fmt: skip


def test_a_measure_that_no_info_has_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    some = family(Informing, measures={"won": "ever", "succes": "ever"})
    with caplog.at_level(logging.WARNING, "innerloop"):
        found = [measured(some) for _ in range(3)][-1]
    assert ours(caplog) == ["No info of Informing had succes in a whole episode."]
    assert not found["succes"].any()


@pytest.mark.parametrize("value", [np.nan, "yes", [1, 2], None], ids=str)
def test_a_measure_in_an_info_that_is_no_number_is_refused(value: Any) -> None:
    class Wrong(Informing):
        def info(self) -> dict[str, Any]:
            return {"won": value}

    with pytest.raises(BadInput, match=r"^Wrong's won is .*; expected "):
        played(family(Wrong, measures={"won": "ever"}))
