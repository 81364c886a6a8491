"""How a run is doing, as it tells others, and as they read it."""

import math
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from ...learner.files import Finite, Number
from ..runs.saved import SavedConfig

PREFIX = "innerloop-"
"""Begins the names of the files among a node's logs; the run's name follows."""


class Status(NamedTuple):
    """A run, as it was last heard of."""

    name: str
    config: dict[str, Any]
    """As saved (see `SavedConfig`); not resolved, because its plug-ins may be missing here."""
    line: dict[str, Any]
    """The last line of metrics; empty before the first iteration."""
    time: float
    """When that was, in seconds since the epoch."""
    warning: str = ""
    """What of its metrics cannot be read."""

    @property
    def finished(self) -> bool:
        return self.line.get("iteration", 0) >= self.config["run"]["iterations"] or self._minutes_left == 0

    @property
    def _minutes_left(self) -> float | None:
        """Of training, where the run is bounded by that."""
        minutes = self.config["run"].get("minutes", 0)
        left = minutes - self.line.get("seconds", 0) / 60
        return max(0.0, left) if minutes > 0 and not math.isnan(left) else None

    @property
    def seconds_left(self) -> float:
        """Until it has finished, as far as can be told after its first iteration; else NaN."""
        done, seconds = self.line.get("iteration", 0), self.line.get("seconds", math.nan)
        by_iterations = seconds * max(0, self.config["run"]["iterations"] / done - 1) if done > 0 else math.nan
        return by_iterations if self._minutes_left is None else min(60 * self._minutes_left, by_iterations)


class Told(TypedDict):
    """What a `StatusFile` leaves, which may be another user's, or another version's."""

    name: str
    config: SavedConfig
    line: dict[str, Number]
    time: Finite


TOLD: TypeAdapter[Told] = TypeAdapter(Told)
