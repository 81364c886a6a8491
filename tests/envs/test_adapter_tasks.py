"""Tasks of an adapted family: `set_task` is handed what was given, train and test share none, a round has each once."""

import collections
import pickle
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
from given import Given, family, played

from innerloop.envs.adapter import GymnasiumFamily
from innerloop.envs.api import TaskFamily
from innerloop.envs.errors import BadInput, EnvironmentRaised
from innerloop.envs.mujoco import Walker2DParams
from innerloop.envs.navigation import SparsePointNavigation
from innerloop.envs.seeding import in_rounds
from innerloop.envs.trials import Trials

ONES = np.ones(4, np.bool_)


class Suite(NamedTuple):
    """As a suite's own: a name and bytes that only it can read."""

    env_name: str
    data: bytes


class Opaque:
    """Nothing is known of it."""


def handed(tasks: Any, n: int = 60, **options: Any) -> list[Any]:
    """What `set_task` gets in training."""
    seen: list[Any] = []
    some = family(set_task=lambda env, task: seen.append(task), tasks=tasks, **options)
    rng = np.random.default_rng(0)
    Trials(some, some.sample(rng, n, "train"), 1, rng)
    return seen


def same(given: Any, found: Any) -> bool:
    if type(given) is not type(found):
        return False
    if isinstance(given, Mapping):
        return given.keys() == found.keys() and all(same(given[name], found[name]) for name in given)
    if isinstance(given, np.ndarray):
        return given.dtype == found.dtype and np.array_equal(given, found)
    return bool(given == found)


@pytest.mark.parametrize(
    "members",
    [
        [{"a": i} for i in range(6)],
        [{"a": i, **({"b": 1.5} if i % 2 else {})} for i in range(6)],  # other names in each
        [{"a": "x" * i} for i in range(6)],
        [{"a": b"x" + i * b"\0"} for i in range(6)],
        [{"a": f"{i}\0"} for i in range(6)],
        [{"a": np.arange(i, dtype=np.int16)} for i in range(6)],  # ragged
        [{"a": np.full(2, i, np.float32)} for i in range(6)],
        [{"a": [i, [1, "b"]], "c": None} for i in range(6)],
        [{"a": {"deep": (i, {1: 2})}} for i in range(6)],
        [{"a": 2**80 + i} for i in range(6)],
        [{"a": 2**63 + i, "b": -1} for i in range(6)],
        [{"a": bool(i % 2), "b": i} for i in range(6)],
        [{"a": np.float32(i)} for i in range(6)],
        [{"a": 1 if i else 1.5, "b": i} for i in range(6)],
        [{"a": Opaque()} and {"a": i, "member": 7} for i in range(6)],
        [{i: i} for i in range(6)],
        [Suite("reach-v3", pickle.dumps({"rand_vec": np.full(3, i)})) for i in range(6)],
        [Opaque() for _ in range(6)],
        [(i, "x") for i in range(6)],
        [MappingProxyType({"a": i}) for i in range(6)],
        range(6),
        [f"level {i}\0" for i in range(6)],
        np.arange(6),
    ],
    ids=lambda members: str(members[1])[:40],
)
@pytest.mark.parametrize("split", [False, True], ids=["list", "split"])
def test_a_member_of_a_list_is_handed_over_as_it_is(members: Any, split: bool) -> None:
    given = list(members)
    seen = handed({"train": given[:4], "test": given[4:]} if split else members)
    found = [next(index for index, member in enumerate(given) if same(member, each)) for each in seen]
    wanted = set(range(4)) if split else set(found)
    assert set(found) == wanted
    assert len(wanted) == (4 if split else 5)
    assert collections.Counter(found).most_common()[0][1] - collections.Counter(found).most_common()[-1][1] <= 1
    for index, each in zip(found, seen, strict=True):
        if not isinstance(each, dict):
            assert each is given[index] or each == given[index]


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: {"a": float(rng.random())},
        lambda rng: {"a": int(rng.integers(9))},
        lambda rng: {"a": bool(rng.integers(2)), "b": rng.random()},
        lambda rng: {"a": np.int16(rng.integers(9))},
        lambda rng: {"a": rng.integers(2**63 - 1)},
        lambda rng: {"a": np.float32(rng.random())},
        lambda rng: {"a": rng.random(3)},
        lambda rng: {"a": rng.random((2, 3)).astype(np.float32)},
        lambda rng: {"a": ["left", "forward"][rng.integers(2)], "b": rng.random()},
        lambda rng: {"a": rng.random(2).tolist()},
        lambda rng: {"a": tuple(rng.random(2).tolist())},
        lambda rng: {"a": complex(rng.random(), 1)},
        lambda rng: {"a": 2**53 + int(rng.integers(9))},
        lambda rng: {"b": 1, "a": rng.random()} if rng.random() < 0.5 else {"a": rng.random(), "b": 2},
    ],
)
def test_what_a_function_draws_is_handed_over_as_it_was_drawn(draw: Callable[[np.random.Generator], Any]) -> None:
    seen, rng = handed(draw), np.random.default_rng(0)
    expected = [draw(rng) for _ in seen]
    assert all(same(one, other) for one, other in zip(expected, seen, strict=True))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda rng: {"a": 1} if rng.random() < 0.6 else {"a": 1, "b": 2},
            r"a task of Given is {.*}; expected the names a",
        ),
        (lambda rng: {"a": b"x" + rng.integers(3) * b"\0"}, "'a' of a task of Given is b'x.*; expected a value that"),
        (lambda rng: {"a": "x" + rng.integers(3) * "\0"}, "'a' of a task of Given is 'x.*; expected a value that"),
        (lambda rng: {"a": rng.random(rng.integers(1, 4))}, r"the shape of 'a' of a task of Given is .*; expected \("),
        (lambda rng: {"a": [[1], [1, 2]]}, "'a' of a task of Given is .*; expected numbers or text"),
        (lambda rng: {"a": ((1, 2), (3, 4))}, "'a' of a task of Given is .*; expected a value that"),
        (lambda rng: {"a": 2**70}, "'a' of a task of Given is 1180591620717411303424; expected numbers"),
        (lambda rng: {"a": 2**63 + 1 if rng.random() < 0.5 else -1}, "'a' of a task of Given is .*; expected a value"),
        (lambda rng: {"a": None}, "the type of 'a' of a task of Given is 'NoneType'; expected numbers"),
        (lambda rng: {"a": Opaque()}, "the type of 'a' of a task of Given is 'Opaque'; expected"),
        (lambda rng: {"a": {"b": 1}}, "the type of 'a' of a task of Given is 'dict'; expected"),
        (lambda rng: {"a": np.array([None])}, "'a' of a task of Given is .*; expected numbers or text"),
        (
            lambda rng: {"a": 1 if rng.random() > 0.6 else 1.5},
            "'a' of a task of Given is 1.5; expected a value of type int",
        ),
        (
            lambda rng: {"a": True if rng.random() > 0.6 else 1},
            "'a' of a task of Given is 1; expected a value of type bool",
        ),
        (lambda rng: {}, "a task of Given is {}; expected a dict"),
        (lambda rng: None, "a task of Given is None; expected a dict"),
        (lambda rng: 3.0, r"a task of Given is 3\.0; expected a dict"),
        (lambda rng: {1: 2}, "a task of Given is {1: 2}; expected a dict"),
        (lambda rng: Suite("x", b"y"), r"a task of Given is Suite\(.*; expected a dict.*as a list"),
    ],
)
def test_what_a_function_draws_and_cannot_travel_is_refused(draw: Any, message: str) -> None:
    with pytest.raises(BadInput, match=rf"^{message}[^\n]*\.$"):
        handed(draw)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"gravity": [1, 2]}, r"the keys of tasks is \['gravity'\]; expected train and test"),
        ({"train": [1, 2]}, r"the keys of tasks is \['train'\]; expected train and test"),
        ({"train": [1, 2], "test": [3], "valid": [4]}, "the keys of tasks is .*; expected train and test"),
        ({"train": [1, 2], "test": []}, "the number of test tasks is 0; expected at least 1 of the 2 given"),
        ({"train": [], "test": [1]}, "the number of train tasks is 0; expected at least 1 of the 1 given"),
        ({"train": 3, "test": [1]}, r"tasks\['train'\] is 3; expected a list of tasks"),
        ({"train": [{"a": 1}, {"a": 2}], "test": [{"a": 2.0}]}, "task {'a': 2.0} of Given is in train and in test"),
        ({"train": [Suite("a", b"x")], "test": [Suite("a", b"x")]}, "task Suite.* of Given is in train and in test"),
        ({"train": [{"a": np.ones(2)}], "test": [{"a": np.ones(2)}]}, "task .* of Given is in train and in test"),
        ({"train": [1, 1, 2], "test": [3]}, "the number of different tasks is 3; expected 4"),
        ([{"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, *range(5)], "the number of different tasks is 6; expected 7"),
        ([{"a": np.nan}, {"a": np.float32("nan")}, {"a": 1}], ".* is in train and in test|the number of different"),
        ("abc", "tasks is 'abc'; expected a list of tasks"),
        (3, "tasks is 3; expected a list of tasks"),
        (None, "tasks is None; expected a list of tasks"),
        ([], "the number of test tasks is 0; expected at least 1 of the 0 given"),
        ([{"a": 1}], "the number of test tasks is 0; expected at least 1 of the 1 given"),
    ],
)
def test_lists_that_cannot_be_are_refused_in_one_sentence(tasks: Any, message: str) -> None:
    with pytest.raises(BadInput, match=rf"^({message})[^\n]*\.$"):
        family(tasks=tasks)


def test_a_split_that_is_given_needs_no_share() -> None:
    with pytest.raises(BadInput, match=r"^test_share is 0\.5; expected none, because the tasks are split already\.$"):
        family(tasks={"train": [1], "test": [2]}, test_share=0.5)


def test_a_given_split_is_kept_and_its_numbers_are_seen_beside_the_members() -> None:
    some = family(
        tasks={"train": [{"goal": [i, 0.5], "name": "x"} for i in range(4)], "test": [{"goal": [9, 9], "name": "y"}]}
    )
    rng = np.random.default_rng(0)
    train, test = some.sample(rng, 4, "train"), some.sample(rng, 3, "test")
    assert sorted(train["goal"][:, 0].tolist()) == [0, 1, 2, 3]
    np.testing.assert_array_equal(train["goal"][:, 0], train["member"])
    np.testing.assert_array_equal(test["member"], [4, 4, 4])
    np.testing.assert_array_equal(test["goal"], [[9, 9]] * 3)
    assert test["name"].tolist() == ["y"] * 3


def test_what_set_task_does_to_a_task_is_not_done_to_the_next_trial() -> None:
    def spoil(env: gymnasium.Env, task: Any) -> None:
        assert task["goal"].tolist() == [1, 2]
        assert task["more"] == [3]
        task["goal"] += 1
        task["more"].append(4)
        task.clear()

    for tasks in (
        [{"goal": np.array([1, 2]), "more": [3], "number": i} for i in range(5)],
        lambda rng: {"goal": np.array([1, 2]), "more": [3]},
    ):
        some, rng = family(set_task=spoil, tasks=tasks), np.random.default_rng(0)
        drawn = some.sample(rng, 4, "train")
        for _ in range(3):
            Trials(some, drawn, 1, rng)


def test_what_the_caller_does_to_a_list_afterwards_does_not_matter() -> None:
    tasks = [{"a": i} for i in range(5)]
    seen: list[Any] = []
    some, rng = family(set_task=lambda env, task: seen.append(task["a"]), tasks=tasks), np.random.default_rng(0)
    for task in tasks:
        task["a"] = 99
    tasks.clear()
    some.make(some.sample(rng, 4, "train"), rng)
    assert set(seen) < set(range(5))


FINITE = {
    "listed": (lambda: family(tasks=range(50)), 40, 10),
    "split": (lambda: family(tasks={"train": range(7), "test": range(7, 10)}), 7, 3),
    "sparse-point-navigation": (SparsePointNavigation, 80, 20),
    "walker2d-params": (Walker2DParams, 40, 10),
}


@pytest.mark.parametrize(("make", "train", "test"), FINITE.values(), ids=FINITE)
def test_none_of_a_finite_set_comes_twice_before_all_have_come(
    make: Callable[[], TaskFamily], train: int, test: int
) -> None:
    some = make()
    for split, members in (("train", train), ("test", test)):
        for n in (1, members // 2, members, members + 1, 3 * members + 2):
            tasks = some.sample(np.random.default_rng(1), n, split)  # pyright: ignore[reportArgumentType]
            rows = [tuple(np.concatenate([tasks[name][i].ravel() for name in tasks])) for i in range(n)]
            counts = collections.Counter(rows)
            assert len(counts) == min(n, members)
            assert max(counts.values()) == -(-n // members)
            assert min(counts.values()) >= n // members
            for start in range(0, n - members + 1, members):
                assert len(set(rows[start : start + members])) == members


def test_rounds_are_shuffled_and_come_from_the_generator() -> None:
    members = np.array([3, 5, 7, 9])
    first, again, other = (in_rounds(np.random.default_rng(seed), members, 10).tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert first[:4] != first[4:8]
    firsts = collections.Counter(in_rounds(np.random.default_rng(seed), members, 1)[0] for seed in range(2000))
    assert all(abs(count - 500) < 4 * np.sqrt(375) for count in firsts.values())


def resets(some: GymnasiumFamily, episodes: int = 3) -> list[list[int | None]]:
    made: list[Given] = []
    some.instances.make, make = lambda: made.append(make()) or made[-1], some.instances.make
    some.instances.spare.clear()
    played(some, episodes=episodes, n=4)
    return [env.seeds for env in made]


def test_by_default_every_episode_has_another_seed() -> None:
    seeds = resets(family(tasks=[{"seed": i} for i in range(9)]))
    assert [len(each) for each in seeds] == [3] * 4
    assert len({seed for each in seeds for seed in each}) == 12


@pytest.mark.parametrize(
    ("tasks", "name"),
    [
        ([{"seed": 100 + i} for i in range(9)], "seed"),
        ([{"level": np.int32(100 + i)} for i in range(9)], "level"),
        (range(100, 109), "task"),
        (lambda rng: {"seed": int(rng.integers(100, 2**62))}, "seed"),
    ],
    ids=["entry", "numpy", "the-task-itself", "drawn"],
)
def test_where_the_seed_is_the_task_every_episode_of_a_trial_has_it(tasks: Any, name: str) -> None:
    seeds = resets(family(tasks=tasks, seed_from=name))
    for each in seeds:
        assert each[0] is not None
        assert each[0] >= 100
        assert each == [each[0]] * 3
    assert len({each[0] for each in seeds}) == 4
    assert all(type(seed) is int for each in seeds for seed in each)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "7", None, np.float64(3)])
def test_a_seed_that_is_none_is_refused_in_one_sentence(seed: Any) -> None:
    some = family(tasks=[{"seed": seed, "number": i} for i in range(5)], seed_from="seed")
    with pytest.raises(
        BadInput, match=r"^the seed \(seed\) of a task of Given is .*; expected at least 0, a whole number\.$"
    ):
        played(some)


def test_a_function_that_raises_is_named_with_its_line() -> None:
    def tasks(rng: np.random.Generator) -> Any:
        raise KeyError("gravity")

    with pytest.raises(
        EnvironmentRaised,
        match=r"^Given's tasks raised KeyError: 'gravity', at .*test_adapter_tasks.py:\d+ in tasks\.$",
    ):
        family(tasks=tasks)


def test_a_family_of_any_tasks_travels() -> None:
    some = GymnasiumFamily(Given, print, [Suite("x", bytes([i])) for i in range(5)], horizon=4)
    copy = pickle.loads(pickle.dumps(some))
    for each in (some, copy):
        rng = np.random.default_rng(3)
        tasks = each.sample(rng, 4, "train")
        assert [each.source.task(tasks, row) for row in range(4)] == [
            some.source.members[member] for member in tasks["member"]
        ]
