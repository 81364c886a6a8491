"""Measures: numbers beside the reward, of steps and then of episodes, and out of an adapted environment's infos."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from given import Given, family, played
from gymnasium import spaces

from innerloop.actors.baselines import Random
from innerloop.actors.evaluate import evaluate
from innerloop.actors.rollout import play
from innerloop.envs.api import Bools, Split, Step, Tasks
from innerloop.envs.errors import BadInput
from innerloop.envs.measures import Measures, parse_measures
from innerloop.envs.trials import Trials

OVER = {"place": "last", "moves": "sum", "seen": "ever"}


class Counting:
    """Rows whose episodes are as long as their task says; every measure is a function of the step."""

    observation_space, action_space, horizon = spaces.Discrete(1), spaces.Discrete(2), 5
    measures: Mapping[str, Any] = OVER

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"length": rng.integers(1, 6, n)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> "Counting":
        self._length, self._time = tasks["length"], np.zeros(len(tasks["length"]), np.int64)
        return self

    def reset(self, rows: Bools) -> np.ndarray:
        self._time[rows] = 0
        return np.zeros(len(self._time), np.int64)

    def step(self, action: np.ndarray) -> Step:
        self._time += 1
        over, zeros = self._time >= self._length, np.zeros(len(self._time))
        return Step(zeros.astype(int), zeros, over, zeros > 0, measures=self.of_step())

    def of_step(self) -> dict[str, np.ndarray]:
        return {"place": 10.0 * self._time, "moves": self._time, "seen": self._time == 2}


@pytest.mark.parametrize("rollouts", [1, 2])
def test_an_episodes_measures_are_made_of_its_own_steps(rollouts: int) -> None:
    family, lengths = Counting(), np.array([1, 2, 3, 5])
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
    class Other(Counting):
        def of_step(self) -> dict[str, np.ndarray]:
            return given

    trials = Trials(Other(), {"length": np.ones(3)}, 2, np.random.default_rng(0))
    trials.begin()
    with pytest.raises(
        BadInput, match=r"^the measures of a step of Other are .*; expected place, moves, seen, as .*\.$"
    ):
        trials.step(np.zeros(3, np.int64))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["success"], r"the measures of X are \['success'\]; expected a mapping of names"),
        ({"Success": "ever"}, "a measure of X is called 'Success'; expected at most 40 lower-case letters"),
        ({"a.b": "ever"}, "a measure of X is called 'a.b'; expected"),
        ({1: "ever"}, "a measure of X is called 1; expected"),
        ({"won": "mean"}, "the measure 'won' of X is 'mean'; expected last, sum or ever"),
    ],
)
def test_measures_that_are_none_are_refused(given: Any, message: str) -> None:
    with pytest.raises(BadInput, match=f"^{message}"):
        parse_measures("X", given)


def test_evaluation_has_every_measure_by_episode() -> None:
    found = evaluate(Random(Counting.action_space), Counting(), 3, tasks=50, seed=0)["measures"]
    assert [*found] == [*OVER]
    for by_episode in found.values():
        assert len(by_episode) == 3
        assert all(each["low"] < each["mean"] < each["high"] for each in by_episode)
        assert len({each["mean"] for each in by_episode}) == 1  # a task's episodes are all alike


class Informing(Given):
    """Infos with and without the numbers."""

    def info(self) -> dict[str, Any]:
        return {1: {"won": False, "far": 3}, 2: {"won": True, "pay": 2.5}, 3: {"pay": 1}}[self.time]

    def step(self, action: Any) -> Any:
        return (*super().step(action)[:4], self.info())


def measured(**options: Any) -> dict[str, np.ndarray]:
    some = family(Informing, **options)
    trials = Trials(some, some.sample(np.random.default_rng(0), 2, "train"), 2, np.random.default_rng(0))
    return play(Random(some.action_space), trials, np.random.default_rng(0)).measures


def test_the_adapter_takes_them_from_infos() -> None:
    found = measured(measures={"won": "ever", "far": "last", "pay": "sum"})
    assert {name: array.tolist() for name, array in found.items()} == {
        "won": [[1, 1]] * 2, "far": [[3, 3]] * 2, "pay": [[3.5, 3.5]] * 2,
    }  # fmt: skip


def test_a_measure_that_no_info_has_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "innerloop"):
        found = measured(measures={"won": "ever", "succes": "ever"})
    assert [record.getMessage() for record in caplog.records] == ["No info of Informing had succes in a whole episode."]
    assert not found["succes"].any()


@pytest.mark.parametrize("value", [np.nan, "yes", [1, 2], None], ids=str)
def test_a_measure_in_an_info_that_is_no_number_is_refused(value: Any) -> None:
    class Wrong(Informing):
        def info(self) -> dict[str, Any]:
            return {"won": value}

    with pytest.raises(BadInput, match=r"^Wrong's won is .*; expected "):
        played(family(Wrong, measures={"won": "ever"}))
