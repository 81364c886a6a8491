"""Contexts: what an agent has seen of its tasks before a trial begins, as a `Trajectory` with a column for each row.

A column is one stream of steps, whatever trials they were played in, and `valid` where it has any; a column without
steps stands for a task of which nothing is known. What follows a context is a new episode of the same task. An agent
that is handed what it has seen goes on as if it had never stopped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import gymnasium
import numpy as np

from ..envs.api import Bools
from ..envs.boundary import FLAG, parse_array, parse_numbers
from ..envs.errors import BadInput, brief, require
from ..envs.spaces import layout_of, not_members
from .problem import Problem
from .trajectory import Trajectory, concatenate

Contexts = Sequence[Trajectory | None]
"""Of each task; None where nothing is known of it."""


def join(contexts: Contexts, columns: Sequence[int]) -> Trajectory | None:
    """Several contexts as one; None where nothing is known of any task.

    Args:
        contexts: with one column or more.
        columns: of each.
    """
    known = next((each for each in contexts if each is not None), None)
    if known is None:
        return None

    def nothing(count: int) -> Trajectory:
        blank = known.columns(np.zeros(count, np.int64))
        return replace(blank, valid=np.zeros_like(blank.valid))

    whole = [each or nothing(count) for each, count in zip(contexts, columns, strict=True)]
    return concatenate([replace(each, privileged={}, measures={}) for each in whole])


def in_a_row(parts: Sequence[Trajectory]) -> Trajectory:
    """Trials of the same rows, one after the other, as one stream."""

    def of(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    def with_last(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([*(array[:-1] for array in arrays), arrays[-1][-1:]])

    return Trajectory(
        observation=with_last([part.observation for part in parts]),
        action=of("action"),
        reward=of("reward"),
        terminated=of("terminated"),
        truncated=of("truncated"),
        valid=of("valid"),
        note={name: with_last([part.note[name] for part in parts]) for name in parts[0].note},
    )


def ended(context: Trajectory) -> Trajectory:
    """A context without what is padding in all of its columns; its last episode, too, has ended."""
    last, _ = last_steps(context)
    truncated = context.truncated.copy()
    truncated[last, np.arange(len(last))] |= ~context.terminated[last, np.arange(len(last))]
    return first_steps(replace(context, truncated=truncated), int(last.max()) + 1)


def first_steps(context: Trajectory, steps: int) -> Trajectory:
    """The beginning of a context."""
    return replace(
        context,
        observation=context.observation[: steps + 1],
        **{name: getattr(context, name)[:steps] for name in ("action", "reward", "terminated", "truncated", "valid")},
        note={name: array[: steps + 1] for name, array in context.note.items()},
    )


def last_steps(contexts: Trajectory) -> tuple[np.ndarray, Bools]:
    """The last step of each column, int64 [B], and whether it has one."""
    steps = np.arange(len(contexts.valid))[:, None]
    return np.where(contexts.valid, steps, 0).max(0), np.logical_or.reduce(contexts.valid, 0)


def last_outcome(contexts: Trajectory) -> tuple[np.ndarray, Bools]:
    """The reward, float32 [B], and done of each column's last step, as the agent's next input has them: 0 and False
    where nothing is known, and done where something is, because a new episode begins."""
    last, known = last_steps(contexts)
    return np.where(known, contexts.reward[last, np.arange(len(last))], np.float32(0)), known


def last_action(contexts: Trajectory, none: np.ndarray) -> np.ndarray:
    """The action of each column's last step, [B, ...], of `none` where nothing is known."""
    last, known = last_steps(contexts)
    action = contexts.action[last, np.arange(len(last))].astype(none.dtype)
    return np.where(known.reshape(-1, *[1] * (none.ndim - 1)), action, none)


def replayed(contexts: Trajectory, none: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """An agent's input at each step: observation, and the previous action, reward and done; and whether it was one.

    Args:
        contexts: of B rows.
        none: [B, ...], the action that stands for "none yet".
    """
    return zip(*contexts.inputs(none), contexts.valid, strict=False)  # the observation after the last step is left out


def parse_contexts(
    given: object, tasks: int, rollouts_per_task: int, problem: Problem, needed: Sequence[str]
) -> Contexts:
    """Contexts that somebody hands to an agent.

    Args:
        given: a sequence, of each task a `Trajectory` or None.
        tasks: that are played.
        rollouts_per_task: columns of each.
        problem: what is played.
        needed: what the agent noted of itself, and has to know of it.

    Raises:
        BadInput: another number of them, or one that is not of this problem.
    """
    listed = isinstance(given, list | tuple)
    require(listed, "contexts", given, "a list with a Trajectory, or None, for each task")
    assert isinstance(given, list | tuple)
    require(len(given) == tasks, "the number of contexts", len(given), f"{tasks}, one for each task")
    return [
        None if each is None else _parse(f"contexts[{index}]", each, rollouts_per_task, problem, needed)
        for index, each in enumerate(given)
    ]


def _parse(field: str, given: object, width: int, problem: Problem, needed: Sequence[str]) -> Trajectory | None:
    if not isinstance(given, Trajectory):
        raise BadInput(f"{field} is {brief(given)}; expected a Trajectory, or None.")
    reward = _array(f"the reward of {field}", given.reward, None, np.dtype(np.float32), (width,))
    steps = len(reward)

    def flags(name: str) -> Bools:
        return _array(f"{name} of {field}", getattr(given, name), steps, FLAG, (width,))

    def members(name: str, space: gymnasium.Space, steps: int) -> np.ndarray:
        shape, dtype = layout_of(space)
        array = _array(f"the {name} of {field}", getattr(given, name), steps, dtype, (width, *shape))
        if fault := not_members(space, array, boxes=False):
            raise BadInput(f"the {name} of {field} is {fault}.")
        return array

    missing = [name for name in needed if name not in given.note]
    expected = f"{', '.join(needed)}, as Agent.contexts gives them"
    require(not missing, f"the notes of {field}", sorted(given.note), expected)
    note = {}
    for name in needed:
        array = parse_array(f"note {name!r} of {field}", given.note[name])
        right = array.shape[:2] == (steps + 1, width)
        require(right, f"the shape of note {name!r} of {field}", array.shape, f"({steps + 1}, {width}, ...)")
        note[name] = parse_numbers(f"note {name!r} of {field}", array, array.dtype)
    found = Trajectory(
        observation=members("observation", problem.observation_space, steps + 1),
        action=members("action", problem.action_space, steps),
        reward=reward,
        terminated=flags("terminated"),
        truncated=flags("truncated"),
        valid=flags("valid"),
        note=note,
    )
    return found if found.valid.any() else None


def _array(field: str, given: object, steps: int | None, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    array = parse_array(field, given)
    expected = (steps, *shape)
    right = array.ndim == len(expected) and array.shape[1:] == shape and steps in (None, len(array))
    shown = f"({'steps' if steps is None else steps}, {', '.join(map(str, shape))})"
    require(right, f"the shape of {field}", array.shape, shown)
    return parse_numbers(field, array, dtype)
