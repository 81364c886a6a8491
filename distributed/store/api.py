"""What lies between actors and learner: trajectories on their way, each delivered once."""

from typing import NamedTuple, Protocol

from ...actors.actor import Assignment
from ...learner.trajectory import Trajectory


class Taken(NamedTuple):
    """What `Store.take` gives."""

    trajectories: dict[Assignment, Trajectory]
    """Delivered now, and never again; by what they were played for."""
    stale: list[Assignment]
    """Dropped: their weights trailed the learner's by more than was allowed."""
    lost: list[Assignment]
    """Gone with the machine that held them."""


class Store(Protocol):
    """Trajectories by reference, with the version of the weights that made them.

    On-policy algorithms take each trajectory once, from here. Replay (sampling by task from all that was appended) and
    the context of a task belong to the same interface and come with the algorithms that need them.
    """

    def append(self, assignment: Assignment, version: int, reference: object) -> None:
        """Keep what an actor made of an assignment, with weights of this version."""
        ...

    def __len__(self) -> int:
        """Trajectories waiting."""
        ...

    def take(self, count: int, oldest_version: int) -> Taken:
        """Deliver up to `count` trajectories of `oldest_version` or newer.

        The oldest assignments come first.
        """
        ...
