"""What lies between actors and learner: trajectories on their way, and replay of those that came."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np
import ray

from ...actors.assignment import Assignment
from ...learner.sampling import Sampler
from ...learner.trajectory import Arrays, Trajectory
from .schema import Schema


class Whereabouts(NamedTuple):
    """Where a trajectory is: in a list that an actor returned."""

    reference: ray.ObjectRef
    """To the list."""
    at: int
    """The index."""


class Summary(NamedTuple):
    """What an actor says of a trajectory; it travels at once, the arrays stay where they are."""

    version: int
    """Of the weights that played."""
    steps: int
    """Of the environment, in all trials."""
    returns: np.ndarray
    """[B, episodes], undiscounted, of each episode of each trial."""
    diverged: int
    """Episodes that were cut because their simulation broke down."""
    seconds: float
    """That the actor spent playing."""
    measures: dict[str, np.ndarray]
    """Measures by episode, name to [B, episodes]; see `Trajectory`."""


def summarise(trajectory: Trajectory, seconds: float = 0.0) -> Summary:
    """The summary of a trajectory of whole trials, which took an actor that many seconds."""
    episodes = int((trajectory.done & trajectory.valid).sum(0).max())
    returns = trajectory.episode_returns(episodes)
    return Summary(trajectory.version, trajectory.steps, returns, trajectory.diverged, seconds, trajectory.measures)


class Taken(NamedTuple):
    """What `Store.take` gives."""

    trajectories: dict[Assignment, Trajectory]
    """Delivered now, and never again (unless the learner dies before it has learned from them)."""
    stale: list[Assignment]
    """Dropped: their weights trailed the learner's by more than was allowed."""
    lost: list[Assignment]
    """Gone with the machine that held them."""


class Kept(NamedTuple):
    """What `Store.keep` did."""

    kept: dict[Assignment, Summary]
    """In replay now."""
    lost: list[Assignment]
    """Gone with the machine that held them."""


class Writer(Protocol):
    """The actors' end of a store that they write to themselves. It is pickled, and connects when it is first used."""

    def write(self, assignment: Assignment, trajectory: Trajectory) -> None:
        """Returns when the store has it; waits while the store is full or does not answer."""
        ...


class Store(Protocol):
    """Trajectories with the version of the weights that made them.

    Algorithms that consume fresh trajectories `take` each of them once. Those that consume replay have them put into
    `replay` with `keep`, bounded by bytes, oldest trials first out, and sample from there by task; where both are
    consumed, `take` puts into replay what it delivers. Whoever opens a store has the run's name to itself
    until it is closed.
    """

    @property
    def writer(self) -> Writer | None:
        """What the actors write with; None where they return trajectories by reference."""
        ...

    @property
    def replay(self) -> Sampler:
        """What was kept."""
        ...

    @property
    def clock(self) -> float:
        """Seconds that go on only while actors can write: how long one takes to answer is measured by them."""
        ...

    @property
    def counts(self) -> dict[str, int]:
        """For the run's metrics, by name: replay_trials, replay_bytes, replay_evicted, replay_lost (trials that went
        with the machine that held them), quarantined (what was found there and is none of the run's)."""
        ...

    def exists(self) -> bool:
        """Whether a run of this name is in the store already."""
        ...

    def delete(self) -> None:
        """Delete all that the store has of the run; before `begin`."""
        ...

    def begin(self, version: int, schema: Schema | None = None) -> list[Assignment]:
        """Called once, before the first assignment of a run that goes on from a version (0: begins).

        Args:
            version: of the learner's weights.
            schema: of the run's trajectories, where others could write to the store; None for no comparison.

        Returns:
            What waits already, played before a crash and not learned from. What was played for iterations from
            `version` on with weights that the learner no longer has, is discarded.
        """
        ...

    def append(self, assignment: Assignment, summary: Summary, place: Whereabouts | None) -> None:
        """An actor has played an assignment; `place` is None if it wrote the trajectory itself."""
        ...

    def __len__(self) -> int:
        """Trajectories waiting."""
        ...

    def take(self, count: int, oldest_version: int) -> Taken:
        """Deliver up to `count` trajectories of `oldest_version` or newer.

        The oldest assignments come first.
        """
        ...

    def keep(self, count: int) -> Kept:
        """Put up to `count` trajectories into replay, the oldest assignments first."""
        ...

    def learned(self, assignments: list[Assignment]) -> None:
        """What was taken has been learned from, and need not come back after a crash."""
        ...

    def export(self) -> Arrays:
        """What was kept since the last call, to be saved with a checkpoint; empty if the store outlives the run."""
        ...

    def restore(self, saved: Iterable[Arrays], played: int) -> None:
        """Fill replay with what `export` gave, in its order, after that many environment steps of the run."""
        ...

    def close(self) -> None:
        """Let go of everything but what must outlive the run."""
        ...
