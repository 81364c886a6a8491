"""The spaces that are supported, and the scale on which actions are drawn from a box."""

import numpy as np
from gymnasium import spaces

from .api import Bools
from .errors import BadInput, brief

ROUNDING = 1e-5
"""By which a number may leave a box, in units of its bounds."""
NO_BOUND = 1e30
"""A bound of an action box that is farther from 0 means "no bound": 3.4e38, the largest float32, is often written."""


def check_space(what: str, space: object, expected: str = "Discrete or Box") -> None:
    """Refuse a space that is not supported, or whose bounds leave no member.

    Args:
        what: such as "the observation space".
        space: what was found in its place.
        expected: the kinds of space, for the sentence; only "a Box of floats" excludes other boxes.

    Raises:
        BadInput: naming what the space is.
    """
    floats = "of floats" in expected
    if isinstance(space, spaces.Box) and not (floats and space.dtype.kind != "f"):
        if not (space.low <= space.high).all():  # nor is NaN
            raise BadInput(f"{what} is {brief(space)}; expected bounds that are numbers, the lower ones first.")
    elif not isinstance(space, spaces.Discrete):
        raise BadInput(f"{what} is {brief(space)}; expected {expected}.")


def bounded(space: spaces.Box) -> Bools:
    """Where a box has both bounds, with its shape."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    return np.asarray((low > -NO_BOUND) & (high < NO_BOUND))


def scale_of(space: spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    """The centre of a box and its half-width, float64 with its shape; the half-width is 1 where there is no width.

    Where a bound is missing the half-width is 1, and the centre lies 1 inside of the other one; it is 0 where both are.
    """
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    below, above, both = low > -NO_BOUND, high < NO_BOUND, bounded(space)
    low, high = np.where(below, low, 0), np.where(above, high, 0)
    centre = np.where(both, low / 2 + high / 2, low + high + below - above * 1.0)
    return centre, np.where(both & (high > low), high / 2 - low / 2, 1.0)


def same_structure(space: object, other: object) -> bool:
    """Members of both are arrays of one shape and dtype, or the same integers; the bounds of boxes may differ."""
    if isinstance(space, spaces.Box) and isinstance(other, spaces.Box):
        return space.shape == other.shape and space.dtype == other.dtype
    return space == other


def inside(box: spaces.Box, array: np.ndarray) -> bool:
    """Whether all of [..., *shape] is in a box, but for what rounding does at its bounds."""
    low, high = box.low.astype(np.float64), box.high.astype(np.float64)
    return bool(((array >= low - ROUNDING * (1 + abs(low))) & (array <= high + ROUNDING * (1 + abs(high)))).all())
