"""Which of a run's checkpoints is the best on held-out tasks."""

from typing import NamedTuple

import numpy as np

from ..envs.errors import require
from .trajectory import Arrays

BEST = "held_out/best"
"""Name of the array in a checkpoint that says so: float64 (iteration, return of a trial)."""


class Best(NamedTuple):
    """The checkpoint whose agent did best on the run's held-out tasks so far."""

    iteration: int
    trial_return: float
    """Mean over these tasks, in their units."""

    def state(self) -> Arrays:
        """For `parse_best`."""
        return {BEST: np.array(self, np.float64)}


def parse_best(arrays: Arrays, version: int) -> Best | None:
    """What a checkpoint of this version says of the best until then; None for a run that was not evaluated.

    Raises:
        BadInput: it is no iteration until then, or no return.
    """
    if BEST not in arrays:
        return None
    given = arrays[BEST]
    shaped = given.shape == (2,) and given.dtype == np.float64
    expected = f"float64 (2,): an iteration from 1 to {version}, and a finite return"
    require(shaped, f"the checkpoint's {BEST}", f"{given.dtype} {given.shape}", expected)
    iteration, trial_return = given.tolist()
    usable = iteration in range(1, version + 1) and np.isfinite(trial_return)
    require(bool(usable), f"the checkpoint's {BEST}", given.tolist(), expected)
    return Best(int(iteration), trial_return)
