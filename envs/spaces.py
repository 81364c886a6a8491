"""The spaces that are supported, how their members are stored, and the scale on which actions are drawn from a box.

Every member is stored as one array. Those of `Dict` and `Tuple` are *packed*: uint8 [bytes], their entries' own bytes
one after the other, so that an image beside a few numbers takes one byte per pixel wherever it goes. `unpack` gives the
entries back; `learner.encoders` does the same with tensors.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

from .api import Bools
from .errors import BadInput, brief

ROUNDING = 1e-5
"""By which a number may leave a box, in units of its bounds."""
NO_BOUND = 1e30
"""A bound of an action box that is farther from 0 means "no bound": 3.4e38, the largest float32, is often written."""
WIDEST = 8
"""Bytes of the largest number that a box may be of."""

Whole = spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
"""Spaces of whole numbers that count possibilities."""
Composite = spaces.Dict | spaces.Tuple
OBSERVATIONS = (
    "Discrete, MultiDiscrete, MultiBinary, Box, or Dict or Tuple of these; gymnasium.wrappers.FilterObservation leaves "
    "out what is none"
)
ACTIONS = (
    "Discrete, MultiDiscrete, MultiBinary or a Box of floats; gymnasium.wrappers.TransformAction makes one of another "
    "space"
)


def check_observation_space(what: str, space: object) -> None:
    """Refuse a space that is not supported, or whose bounds leave no member.

    Args:
        what: such as "the observation space".
        space: what was found in its place.

    Raises:
        BadInput: naming the entry of the space, and what it is.
    """
    if not isinstance(space, Composite):
        return _check_leaf(what, space, OBSERVATIONS)
    found = list(entries(space))
    if not found:
        raise BadInput(f"{what} is {brief(space)}; expected at least one entry.")
    for name, entry in found:
        if not isinstance(name, str | int):
            raise BadInput(f"a name in {what} is {brief(name)}; expected text.")
        check_observation_space(f"{name!r} of {what}", entry)


def check_action_space(what: str, space: object) -> None:
    """As `check_observation_space`, of actions."""
    if isinstance(space, spaces.Box) and space.dtype.kind != "f":
        raise BadInput(f"{what} is {brief(space)}; expected {ACTIONS}.")
    _check_leaf(what, space, ACTIONS)


def _check_leaf(what: str, space: object, expected: str) -> None:
    if isinstance(space, spaces.Box):
        if space.dtype.kind not in "fiub" or space.dtype.itemsize > WIDEST:
            raise BadInput(f"{what} is {brief(space)}; expected numbers of at most {8 * WIDEST} bits.")
        if not (space.low <= space.high).all():  # nor is NaN
            raise BadInput(f"{what} is {brief(space)}; expected bounds that are numbers, the lower ones first.")
    elif not isinstance(space, Whole):
        raise BadInput(f"{what} is {brief(space)}; expected {expected}.")


def entries(space: Composite) -> Iterator[tuple[Any, gymnasium.Space]]:
    """Their names, of a tuple their places; in order."""
    yield from space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)


class Layout(NamedTuple):
    """How members of a space are stored: as arrays [..., *shape]."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Of one member."""
        return math.prod(self.shape) * self.dtype.itemsize


def layout_of(space: gymnasium.Space) -> Layout:
    """How members of a space are stored."""
    if isinstance(space, Composite):
        return Layout((sum(layout_of(entry).nbytes for _, entry in entries(space)),), np.dtype(np.uint8))
    return Layout(space.shape or (), np.dtype(space.dtype).newbyteorder("="))


class Leaf(NamedTuple):
    """A leaf: a space without entries of its own, nested or not."""

    path: tuple[str | int, ...]
    """The names, or places, that lead to it."""
    space: gymnasium.Space
    start: int
    """Its first byte in the packed member."""

    @property
    def stop(self) -> int:
        """The byte after its last."""
        return self.start + layout_of(self.space).nbytes


def leaves(space: gymnasium.Space, path: tuple[str | int, ...] = (), start: int = 0) -> Iterator[Leaf]:
    """The leaves of a space, in the order in which they are stored."""
    if not isinstance(space, Composite):
        yield Leaf(path, space, start)
        return
    for name, entry in entries(space):
        yield from leaves(entry, (*path, name), start)
        start += layout_of(entry).nbytes


def leaf_arrays(space: gymnasium.Space, stored: np.ndarray) -> Iterator[tuple[Leaf, np.ndarray]]:
    """The leaves of a space with their part of its stored members [..., *shape]: [..., *shape of the leaf]."""
    for leaf in leaves(space):
        own = stored
        if leaf.path:
            shape, dtype = layout_of(leaf.space)
            own = np.ascontiguousarray(stored[..., leaf.start : leaf.stop])
            own = (own.view(dtype) if own.size else own.astype(dtype)).reshape(*stored.shape[:-1], *shape)
        yield leaf, own


def unpack(space: gymnasium.Space, stored: np.ndarray) -> Any:
    """Stored members [..., *shape] as the space has them: dicts and tuples of arrays [..., *shape of the entry]."""
    return _nested(space, (array for _, array in leaf_arrays(space, stored)))


def _nested(space: gymnasium.Space, arrays: Iterator[np.ndarray]) -> Any:
    if not isinstance(space, Composite):
        return next(arrays)
    found = {name: _nested(entry, arrays) for name, entry in entries(space)}
    return found if isinstance(space, spaces.Dict) else tuple(found.values())


def limits(space: Whole) -> tuple[Any, Any]:
    """The first of a space's whole numbers and the one after its last; integers, or arrays of its shape."""
    match space:
        case spaces.Discrete():
            return int(space.start), int(space.start) + int(space.n)
        case spaces.MultiDiscrete():
            return space.start.astype(np.int64), space.start.astype(np.int64) + space.nvec.astype(np.int64)
    return 0, 2


def bounded(space: spaces.Box) -> Bools:
    """Where a box has both bounds, with its shape."""
    below, above = _bounds(space)
    return below & above


def _bounds(space: spaces.Box) -> tuple[Bools, Bools]:
    """Where a box has a lower bound, and where an upper one, with its shape."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    return np.asarray(low > -NO_BOUND), np.asarray(high < NO_BOUND)


def half_bounded(space: spaces.Box) -> np.ndarray:
    """float32 with the box's shape: 1 where it has a lower bound alone, -1 where an upper one alone, else 0."""
    below, above = _bounds(space)
    return below.astype(np.float32) - above.astype(np.float32)


def scale_of(space: spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    """The centre of a box and its half-width, float64 with its shape; the half-width is 1 where there is no width.

    Where a bound is missing the half-width is 1, and the centre lies 1 inside of the other one; it is 0 where both are.
    """
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    (below, above), both = _bounds(space), bounded(space)
    low, high = np.where(below, low, 0), np.where(above, high, 0)
    centre = np.where(both, low / 2 + high / 2, low + high + below - above * 1.0)
    return centre, np.where(both & (high > low), high / 2 - low / 2, 1.0)


def same_structure(space: object, other: object) -> bool:
    """Members of both are stored alike, entry by entry, or are the same whole numbers; the bounds of boxes may
    differ."""
    if isinstance(space, spaces.Box) and isinstance(other, spaces.Box):
        return layout_of(space) == layout_of(other)
    if isinstance(space, Composite) and isinstance(other, type(space)):
        own, others = dict(entries(space)), dict(entries(other))  # pyright: ignore[reportArgumentType]
        return [*own] == [*others] and all(same_structure(own[name], others[name]) for name in own)
    return space == other


def inside(box: spaces.Box, array: np.ndarray) -> bool:
    """Whether all of [..., *shape] is in a box, but for what rounding does at its bounds."""
    low, high = box.low.astype(np.float64), box.high.astype(np.float64)
    return bool(((array >= low - ROUNDING * (1 + abs(low))) & (array <= high + ROUNDING * (1 + abs(high)))).all())


def not_members(space: gymnasium.Space, stored: np.ndarray, *, boxes: bool) -> str:
    """What of stored members [..., *shape] their space does not have, and what it has; empty if there is nothing.

    Args:
        space: of one.
        stored: as `layout_of` says.
        boxes: whether a box's bounds count; many environments leave those of their observations by a little.
    """
    for leaf, array in leaf_arrays(space, stored):
        where = ".".join(map(str, leaf.path)) + ": " if leaf.path else ""
        if isinstance(leaf.space, Whole):
            first, end = limits(leaf.space)
            if not ((array >= first) & (array < end)).all():
                return f"{where}{array.min()} to {array.max()}; expected members of {leaf.space}"
        elif array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{where}not finite"
        elif boxes and isinstance(leaf.space, spaces.Box) and not inside(leaf.space, array):
            return f"{where}out of bounds; expected members of {leaf.space}"
    return ""
