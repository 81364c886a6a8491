"""Several parts of a family that knows nothing of parts: their MDPs are joined, and must be alike."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from lengths import OVER, Lengths

from innerloop.envs.api import Step, Tasks
from innerloop.envs.checked import make
from innerloop.envs.errors import BadInput
from innerloop.envs.seeding import SideBySide

PARTS = SideBySide([np.random.SeedSequence(number) for number in range(2)], [2, 3])
TASKS: Tasks = {"length": np.array([3, 1, 4, 2, 5])}


class Separate(Lengths):
    """Makes a new batch each time, with something privileged that depends on it."""

    def __init__(self, **privileged: Any) -> None:
        self._given = privileged

    def make(self, tasks: Tasks, rng: np.random.Generator) -> "Batch":
        return Batch(tasks, {name: value(len(tasks["length"])) for name, value in self._given.items()})


class Batch(Lengths):
    def __init__(self, tasks: Tasks, privileged: dict[str, np.ndarray]) -> None:
        self._length, self._time, self._privileged = (
            tasks["length"],
            np.zeros(len(tasks["length"]), np.int64),
            privileged,
        )

    def step(self, action: np.ndarray) -> Step:
        named = {name: array for name, array in self._privileged.items() if array.size}
        return super().step(action)._replace(privileged=named)


def two_steps(family: Lengths) -> list[Step]:
    env = make(family, TASKS, PARTS, OVER)  # pyright: ignore[reportArgumentType]
    env.reset(np.ones(5, np.bool_))
    return [env.step(np.zeros((5, 1), np.float32)) for _ in range(2)]


def test_the_rows_of_all_parts_are_in_one_step() -> None:
    _, step = two_steps(Separate(hint=lambda n: np.full(n, n, np.float32)))
    np.testing.assert_array_equal(step.reward, [2, 2, 2, 2, 2])
    np.testing.assert_array_equal(step.terminated, [False, True, False, False, False])
    np.testing.assert_array_equal(step.truncated, [False, False, False, True, False])
    np.testing.assert_array_equal(step.privileged["hint"], [2, 2, 3, 3, 3])
    np.testing.assert_array_equal(step.measures["place"], [20] * 5)


@pytest.mark.parametrize(
    "hint",
    [
        lambda n: np.zeros(n if n == 2 else 0, np.float32),
        lambda n: np.zeros(n, np.float32 if n == 2 else np.int64),
        lambda n: np.zeros((n, n), np.float32),
    ],
    ids=["name", "type", "shape"],
)
def test_what_is_privileged_is_alike_in_all_parts(hint: Any) -> None:
    with pytest.raises(
        BadInput, match=r"^what is privileged of a step of Separate is .*; expected .*, as in another batch\.$"
    ):
        two_steps(Separate(hint=hint))


def test_each_part_has_a_batch_of_its_own() -> None:
    sentence = r"^Lengths's make returned the same object for two batches; expected a new one for each\.$"
    with pytest.raises(BadInput, match=sentence):
        two_steps(Lengths())


class Asking(Lengths):
    """Says that it gives answers, members of Discrete(3)."""

    answers = True
    action_space = spaces.Discrete(3)

    def __init__(self, **privileged: Any) -> None:
        self._given = privileged

    def make(self, tasks: Tasks, rng: np.random.Generator) -> Batch:
        return Batch(tasks, self._given)


@pytest.mark.parametrize(
    ("privileged", "sentence"),
    [
        ({}, "^the answer of .* is None; expected the right action of each row"),
        ({"reward": np.zeros(5, np.float32)}, "is None; expected the right action"),
        ({"answer": np.array([0, 1, 2, 3, 0])}, r"^the answer of .* is .*3.*; expected integers in \[0, 3\)"),
        ({"answer": np.zeros((5, 1), np.int64)}, r"^the shape of the answer of .* is \(5, 1\); expected \(5,\)"),
        ({"answer": np.zeros(5, np.float32)}, "^the answer of .*; expected integers"),
    ],
)
def test_answers_are_actions(privileged: dict[str, np.ndarray], sentence: str) -> None:
    env = make(Asking(**privileged), TASKS, np.random.default_rng(0), OVER)  # pyright: ignore[reportArgumentType]
    env.reset(np.ones(5, np.bool_))
    with pytest.raises(BadInput, match=sentence):
        env.step(np.zeros((5, 1), np.float32))


def test_right_answers_arrive_as_actions_are_stored() -> None:
    env = make(Asking(answer=np.array([0, 1, 2, 0, 1], np.uint8)), TASKS, np.random.default_rng(0), OVER)  # pyright: ignore[reportArgumentType]
    env.reset(np.ones(5, np.bool_))
    answer = env.step(np.zeros((5, 1), np.float32)).privileged["answer"]
    assert (answer.dtype, answer.tolist()) == (np.int64, [0, 1, 2, 0, 1])
