"""Where what a family and its environments give is parsed: into arrays that are ours and are what the space says, or
into one sentence that says who gave what in which field. Behind it nothing is checked again.

Numbers may come in any type that holds them without loss; rounding to fewer digits is none. A finite number outside a
box's bounds is taken as it is: many environments leave theirs by a little, and nothing here depends on them.
"""

import math
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .api import NOTHING, Bools, Step, Tasks
from .errors import BadInput, brief
from .measures import NAME
from .spaces import Composite, Whole, entries, layout_of, limits, unpack

LARGEST = float(np.finfo(np.float32).max)
FLAG = np.dtype(np.bool_)


def parse_array(field: str, given: object) -> np.ndarray:
    """Something array-like as numbers; it may share their memory.

    Raises:
        BadInput: it holds other things than real numbers, or its rows have different lengths.
    """
    if isinstance(given, np.ndarray) and given.dtype.kind in "fiub":
        return given
    try:
        array = np.asarray(given)
    except Exception as error:  # ragged, or whatever an array-like's own code raises
        raise BadInput(f"{field} is {brief(given)}; expected an array of numbers.") from error
    if array.dtype.kind not in "fiub":
        raise BadInput(f"{field} is {brief(given)}; expected numbers.")
    return array


def parse_numbers(field: str, given: object, dtype: np.dtype) -> np.ndarray:
    """A copy of an array with another dtype.

    Raises:
        BadInput: a number is NaN, infinite, or one that the dtype does not have (rounding apart).
    """
    array = parse_array(field, given)
    if array.dtype == dtype:
        found = array.copy()
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            found = array.astype(dtype)
    if dtype.kind == "f":
        if not all_finite(found):
            bad = array[~np.isfinite(found)][0]
            expected = f"numbers within the range of {dtype}" if np.isfinite(bad) else "finite numbers"
            raise BadInput(f"{field} is {bad}; expected {expected}.")
    elif array.dtype != dtype and not (lossless := found == array).all():
        bad = array[~lossless].flat[0]
        whole = "True or False" if dtype == FLAG else f"whole numbers that {dtype} has"
        raise BadInput(f"{field} is {bad}; expected {whole}.")
    return found


def all_finite(array: np.ndarray) -> bool:
    """None is NaN or infinite: then nor is the sum of their squares, which is several times as fast to look at."""
    flat = array.reshape(-1)
    with np.errstate(over="ignore"):  # then each is looked at
        square = np.dot(flat, flat)
    return math.isfinite(square) or bool(np.isfinite(array).all())


def parse_rows(field: str, given: object, space: gymnasium.Space, n: int | None) -> np.ndarray:
    """A copy of n members of a space as they are stored (`spaces.layout_of`), [n, ...]; where n is None, of a single
    one, without that axis.

    Args:
        field: what they are.
        given: [n, ...]; of a `Dict` a mapping, of a `Tuple` a sequence, of such arrays by entry, or as they are stored.
        space: of one.
        n: members.

    Raises:
        BadInput: an entry or a shape is another, or a number none of the space's.
    """
    if isinstance(space, Composite):
        return _parse_entries(field, given, space, n)
    array, own = parse_array(field, given), space.shape or ()
    shape = own if n is None else (n, *own)
    if array.shape != shape:
        rows = "" if n is None else f": {n} rows of {space}"
        raise BadInput(f"the shape of {field} is {array.shape}; expected {shape}{rows}.")
    if isinstance(space, Whole):
        first, end = limits(space)
        inside = (array >= first) & (array < end)
        if not inside.all() or (n is not None and array.dtype.kind == "f"):
            shown = array if array.size < 10 else array[np.unravel_index(inside.argmin(), inside.shape)]
            expected = f"integers in [{first}, {end})" if np.ndim(first) == 0 else f"members of {space}"
            raise BadInput(f"{field} is {shown}; expected {expected}.")
    return parse_numbers(field, array, layout_of(space).dtype)


def _parse_entries(field: str, given: Any, space: Composite, n: int | None) -> np.ndarray:
    """Packed."""
    if isinstance(given, np.ndarray) and (given.dtype, given.shape[given.ndim - 1 :]) == layout_of(space)[::-1]:
        given = unpack(space, given)
    expected = dict(entries(space))
    if isinstance(space, spaces.Dict):
        if not isinstance(given, Mapping) or given.keys() != expected.keys():
            found = f"with {', '.join(map(repr, given)) or 'nothing'}" if isinstance(given, Mapping) else brief(given)
            raise BadInput(f"{field} is {found}; expected a mapping with {', '.join(map(repr, expected))}.")
        values = given
    else:
        if not isinstance(given, tuple | list) or len(given) != len(expected):
            raise BadInput(f"{field} is {brief(given)}; expected a tuple of {len(expected)} entries.")
        values = dict(enumerate(given))
    rows = () if n is None else (n,)
    packed = []
    for name, entry in expected.items():
        part = parse_rows(f"{name!r} of {field}", values[name], entry, n)
        flat = part.reshape(*rows, math.prod(part.shape[len(rows) :]))
        packed.append(flat.view(np.uint8) if flat.size else np.empty((*rows, 0), np.uint8))
    return np.concatenate(packed, -1)


def parse_number(field: str, given: object) -> float:
    """One reward.

    Raises:
        BadInput: it is not one finite number, or beyond float32.
    """
    if not isinstance(given, float):  # np.float64 is one
        array = parse_array(field, given)
        if array.size != 1:
            raise BadInput(f"{field} is {brief(given)}; expected one number.")
        given = float(array.item())
    if not -LARGEST <= given <= LARGEST:  # nor is NaN
        raise BadInput(f"{field} is {given}; expected a finite number.")
    return float(given)


def parse_flag(field: str, given: object) -> bool:
    """True or False, also as a number or an array of one.

    Raises:
        BadInput: it is something else.
    """
    if given is True or given is False:
        return given
    array = parse_array(field, given)
    if array.size != 1 or array.item() not in (0, 1):
        raise BadInput(f"{field} is {brief(given)}; expected True or False.")
    return bool(array.item())


def parse_step(who: str, step: object, space: gymnasium.Space, n: int) -> Step:
    """What a `VectorEnv` of n rows gave, as arrays that it cannot write over.

    Raises:
        BadInput: it is no `Step`, or a field is not what `Step` says.
    """
    if not isinstance(step, Step):
        raise BadInput(f"what step of {who} returned is {brief(step)}; expected a Step (innerloop.envs.api).")
    return Step(
        parse_rows(f"{who}'s observation", step.observation, space, n),
        _parse_rewards(f"{who}'s reward", step.reward, n),
        _parse_flags(f"{who}'s terminated", step.terminated, n),
        _parse_flags(f"{who}'s truncated", step.truncated, n),
        _parse_diverged(f"{who}'s diverged", step.diverged, n),
        step.privileged if step.privileged is NOTHING else _parse_privileged(f"{who}'s privileged", step.privileged, n),
        step.measures if step.measures is NOTHING else _parse_named(f"{who}'s measures", step.measures, n),
    )


def _parse_privileged(field: str, given: object, n: int) -> dict[str, np.ndarray]:
    """Name to numbers [n, ...]."""
    found = {}
    for name, array in _mapping(field, given).items():
        what = f"{name!r} of {field}"
        if name == "reward":
            found[name] = _parse_rewards(what, array, n)
            continue
        parsed = parse_array(what, array)
        if parsed.shape[:1] != (n,):
            raise BadInput(f"the shape of {what} is {parsed.shape}; expected {n} rows.")
        found[name] = parse_numbers(what, parsed, parsed.dtype.newbyteorder("="))
    return found


def _parse_named(field: str, given: object, n: int) -> dict[str, np.ndarray]:
    """Name to numbers float32 [n]."""
    return {name: _parse_rewards(f"{name!r} of {field}", array, n) for name, array in _mapping(field, given).items()}


def _mapping(field: str, given: object) -> dict[str, Any]:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) and NAME.fullmatch(name) for name in given):
        raise BadInput(f"{field} is {brief(given)}; expected a mapping of names (lower-case letters, digits and _).")
    return dict(given)


def _parse_rewards(field: str, given: object, n: int) -> np.ndarray:
    """float32 [n]"""
    array = _one_per_row(field, given, n)
    if array.dtype == np.float32:
        found = array.copy()
    else:
        with np.errstate(over="ignore"):
            found = array.astype(np.float32)
    if not all_finite(found):
        raise BadInput(f"{field} is {array[~np.isfinite(found)][0]}; expected a finite number.")
    return found


def _parse_flags(field: str, given: object, n: int) -> Bools:
    """bool [n]"""
    return parse_numbers(field, _one_per_row(field, given, n), FLAG)


def _parse_diverged(field: str, given: object, n: int) -> Bools | np.bool_:
    """bool [n], or one for all rows."""
    if given is np.False_ or given is False:
        return np.False_
    return np.bool_(parse_flag(field, given)) if np.ndim(given) == 0 else _parse_flags(field, given, n)  # pyright: ignore


def _one_per_row(field: str, given: object, n: int) -> np.ndarray:
    array = parse_array(field, given)
    if array.shape != (n,):
        raise BadInput(f"the shape of {field} is {array.shape}; expected ({n},), one per row.")
    return array


def parse_tasks(who: str, given: object, n: int | None = None) -> Tasks:
    """Tasks as arrays with one row each.

    Args:
        who: the family's name.
        given: what it sampled.
        n: tasks that it was asked for; None for any number from 1.

    Raises:
        BadInput: it is not a dict of arrays of numbers or text, all with that many rows, or it is empty.
    """
    if not isinstance(given, Mapping) or not given:
        raise BadInput(f"what {who} sampled is {brief(given)}; expected a dict of arrays, with one row per task each.")
    tasks = {}
    for name, array in given.items():
        found = parse_task_array(f"{name!r} of the tasks of {who}", array)
        rows = found.shape[0] if found.ndim else 0
        n = max(rows, 1) if n is None else n
        if not isinstance(name, str) or rows != n:
            raise BadInput(f"the shape of {name!r} of the tasks of {who} is {found.shape}; expected {n} rows.")
        tasks[name] = found
    return tasks


def parse_task_array(field: str, given: object) -> np.ndarray:
    """Numbers or text as an array.

    Raises:
        BadInput: it holds something else, or its rows have different lengths.
    """
    try:
        array = np.asarray(given)
    except Exception as error:  # ragged, or whatever an array-like's own code raises
        raise BadInput(f"{field} is {brief(given)}; expected numbers or text.") from error
    if array.dtype.kind not in "fiubcUS":
        raise BadInput(f"{field} is {brief(given)}; expected numbers or text.")
    return array


def parse_count(field: str, given: object, least: int = 1) -> int:
    """A whole number, of any type but bool.

    Raises:
        BadInput: it is none, or less than `least`.
    """
    if not isinstance(given, int | np.integer) or isinstance(given, bool) or given < least:
        raise BadInput(f"{field} is {brief(given)}; expected at least {least}, a whole number.")
    return int(given)


def name_of(family: object, default: str = "") -> str:
    """How sentences call a family: by the name that it has, as its environment, else by `default`, else by its type."""
    name = getattr(family, "name", None)
    return name if isinstance(name, str) else default or type(family).__name__
