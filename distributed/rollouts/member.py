"""One actor of the pool, and what it has been asked."""

from dataclasses import dataclass, field
from typing import Any

import ray

from ...actors.assignment import Assignment


@dataclass(frozen=True, eq=False)
class Call:
    """Assignments under way, played side by side."""

    assignments: list[Assignment]
    trajectories: ray.ObjectRef


@dataclass(eq=False)
class Member:
    """An actor of the pool."""

    name: str
    slot: int
    """Its place; the one that replaces it takes the same."""
    actor: Any
    play: Any
    """Its method `collect`."""
    since: float
    """When it was started, last answered, or was asked with nothing else to do; of the pool's clock."""
    node: str = ""
    """Empty until it has answered for the first time: Ray may still be looking for a place."""
    calls: list[Call] = field(default_factory=list)
    """Which it plays in this order."""
    retiring: bool = False
    """Gets no more calls, and ends when it has none."""
