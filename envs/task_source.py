"""Where an adapted family's tasks come from: a function that draws one, or finite lists of them.

Tasks travel as arrays. `set_task` gets what the user gave: of a function, each entry with the type that it was drawn
with; of a list, the member itself, whatever it is, because what travels is its number.
"""

import copy
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from .api import Split, Tasks
from .boundary import parse_task_array
from .errors import BadInput, ask, brief, describe, require
from .seeding import in_rounds

MEMBER = "member"
"""The array that holds the number of each task of a list."""
SCALARS = (bool, int, float, complex, str, bytes)


class TaskSource(Protocol):
    """Draws tasks as arrays, and gives one of them back as `set_task` is to see it."""

    def size(self, split: Split) -> int:
        """How many different ones there are; 0 for no end of them."""
        ...

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        """n tasks."""
        ...

    def task(self, tasks: Tasks, row: int) -> Any:
        """One of them."""
        ...


class Drawn:
    """Tasks that a function draws: mappings with the same names, each to numbers or text of one type and shape."""

    def __init__(self, who: str, draw: Callable[[np.random.Generator], Any]) -> None:
        self._who, self._draw = who, draw
        self._kinds = {name: type(value) for name, value in self._one(np.random.default_rng(0)).items()}
        for name, kind in self._kinds.items():
            known = kind in (*SCALARS, list, tuple, np.ndarray) or issubclass(kind, np.generic)
            require(known, f"the type of {name!r} of a task of {who}", kind.__name__, "numbers, text, lists or arrays")

    def size(self, split: Split) -> int:
        return 0

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        drawn = [self._one(rng) for _ in range(n)]
        for task in drawn:
            if task.keys() != self._kinds.keys():
                raise BadInput(f"a task of {self._who} is {brief(task)}; expected the names {', '.join(self._kinds)}.")
        return {name: self._column(name, kind, [task[name] for task in drawn]) for name, kind in self._kinds.items()}

    def task(self, tasks: Tasks, row: int) -> Any:
        return {name: _restored(array[row], self._kinds.get(name)) for name, array in tasks.items()}

    def _one(self, rng: np.random.Generator) -> Mapping[str, Any]:
        task = ask(self._who, "tasks", self._draw, rng)
        if not isinstance(task, Mapping) or not task or not all(isinstance(name, str) for name in task):
            raise BadInput(
                f"a task of {self._who} is {brief(task)}; expected a dict of names to numbers or arrays (tasks of "
                "another kind can be given as a list)."
            )
        return task

    def _column(self, name: str, kind: type, values: list[Any]) -> np.ndarray:
        field = f"{name!r} of a task of {self._who}"
        arrays = [parse_task_array(field, value) for value in values]
        for value, array in zip(values, arrays, strict=True):
            if array.shape != arrays[0].shape:
                raise BadInput(
                    f"the shape of {field} is {array.shape}; expected {arrays[0].shape}, as that of the one before."
                )
            exact = type(value) is kind or (kind is float and type(value) is int)
            require(exact, field, value, f"a value of type {kind.__name__}, as in the first task")
        column = np.stack(arrays)
        for value, held in zip(values, column, strict=True):
            if not _same(value, _restored(held, kind)):
                raise BadInput(f"{field} is {brief(value)}; expected a value that an array of {column.dtype} can hold.")
        return column


class Listed:
    """Finite lists of tasks, one for training and one for test that share none."""

    def __init__(self, who: str, given: Iterable[Any] | Mapping[Any, Iterable[Any]], test_share: float | None) -> None:
        if isinstance(given, Mapping):
            require(given.keys() == {"train", "test"}, "the keys of tasks", sorted(map(str, given)), "train and test")
            require(test_share is None, "test_share", test_share, "none, because the tasks are split already")
            train, test = (_listed(f"tasks[{split!r}]", given[split]) for split in ("train", "test"))
            self.members = [*train, *test]
            order, held_out = np.arange(len(self.members)), len(test)
            split = {"train": order[: len(train)], "test": order[len(train) :]}
        else:
            self.members = _listed("tasks", given)
            share = 0.2 if test_share is None else test_share
            number = isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1
            require(number, "test_share", share, "a number in (0, 1)")
            order = np.random.default_rng(0).permutation(len(self.members))
            held_out = round(share * len(self.members))
            split = {"test": order[:held_out], "train": order[held_out:]}
        self._split: dict[Split, np.ndarray] = split  # pyright: ignore[reportAttributeAccessIssue]
        for name, members in self._split.items():
            require(len(members) > 0, f"the number of {name} tasks", 0, f"at least 1 of the {len(self.members)} given")
        self._check_distinct(who)
        self._columns = _columns(self.members)

    def size(self, split: Split) -> int:
        return len(self._split[split])

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        index = in_rounds(rng, self._split[split], n)
        return {MEMBER: index} | {name: column[index] for name, column in self._columns.items()}

    def task(self, tasks: Tasks, row: int) -> Any:
        if MEMBER not in tasks:
            return {name: array[row] for name, array in tasks.items()}
        member = self.members[tasks[MEMBER][row]]
        return _copied(member)

    def _check_distinct(self, who: str) -> None:
        splits = {index: name for name, own in self._split.items() for index in own.tolist()}
        seen: dict[Hashable, int] = {}
        for index, member in enumerate(self.members):
            first = seen.setdefault(_key(member), index)
            if first != index and splits[first] != splits[index]:
                raise BadInput(f"task {brief(member)} of {who} is in train and in test; expected different ones there.")
        different = len(seen)
        require(different == len(self.members), "the number of different tasks", different, f"{len(self.members)}")


def _listed(field: str, given: Any) -> list[Any]:
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise BadInput(f"{field} is {brief(given)}; expected a list of tasks.")
    return [_copied(member) for member in given]


def _copied(member: Any) -> Any:
    """A dict's entries are easily changed in place, and must not be for the next trial; other objects stay the same."""
    try:
        return copy.deepcopy(member) if isinstance(member, dict) else member
    except Exception as error:  # whatever the entries' own code raises
        raise BadInput(f"a task is {brief(member)}; expected one that can be copied ({describe(error)}).") from error


def _columns(members: list[Any]) -> Tasks:
    """The entries, beside the number, that all members have as numbers or text of one shape: to be read by people."""
    if not all(isinstance(member, Mapping) for member in members):
        return {}
    columns = {}
    for name in members[0]:
        try:
            arrays = [parse_task_array("", member[name]) for member in members]
            columns[name] = np.stack(arrays)
        except (BadInput, KeyError, ValueError):  # nobody sees it then
            continue
    return {name: column for name, column in columns.items() if isinstance(name, str) and name != MEMBER}


def _key(value: Any) -> Hashable:
    """Equal for equal tasks."""
    if isinstance(value, Mapping):
        return "mapping", frozenset((name, _key(each)) for name, each in value.items())
    if isinstance(value, np.ndarray):
        return "array", value.shape, tuple(map(_key, value.ravel().tolist()))
    if isinstance(value, list | tuple):
        return "sequence", tuple(map(_key, value))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value != value:
        return "nan"
    try:
        hash(value)
    except TypeError:
        return type(value), id(value)
    return value


def _restored(value: Any, kind: type | None) -> Any:
    """A row of a column as what was given."""
    if kind in SCALARS:
        return kind(value.item())
    if kind is list or kind is tuple:
        return kind(value.tolist())
    return np.array(value) if isinstance(value, np.ndarray) else value


def _same(given: Any, restored: Any) -> bool:
    if isinstance(given, np.ndarray):
        equal = np.array_equal(given, restored, equal_nan=given.dtype.kind in "fc")
        return equal and given.dtype == restored.dtype
    try:
        return bool(given == restored) or bool(given != given)  # NaN
    except ValueError:  # arrays inside of it, which would come back as lists
        return False
