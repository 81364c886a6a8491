"""The store in Ray: trajectories stay in the object store of the node that played them; replay lives in shards."""

import time
from collections.abc import Iterable

import ray
from ray.exceptions import ObjectLostError, RayActorError

from ...actors.assignment import Assignment
from ...learner.trajectory import Arrays, Trajectory
from .api import Kept, Summary, Taken, Whereabouts
from .schema import Schema
from .shards import ShardedReplay


class RayStore:
    """References held by the driver, arrays in shared memory (read without copying on the learner's node)."""

    writer = None

    def __init__(self, shards: int = 0, capacity: int = 0, patience: float = 300.0) -> None:
        """Args:
        shards: actors that share the replay; 0 where nothing is replayed.
        capacity: bytes of replay, in all.
        patience: seconds without an answer after which a shard is replaced.
        """
        self._waiting: dict[Assignment, tuple[Summary, Whereabouts]] = {}
        self.replay = ShardedReplay(shards, capacity, patience)

    @property
    def clock(self) -> float:
        return time.monotonic()

    @property
    def counts(self) -> dict[str, int]:
        return self.replay.counts

    def exists(self) -> bool:
        return False

    def delete(self) -> None:
        pass

    def begin(self, version: int, schema: Schema | None = None) -> list[Assignment]:
        return []

    def append(self, assignment: Assignment, summary: Summary, place: Whereabouts | None) -> None:
        assert place is not None, "actors do not write here"
        self._waiting[assignment] = summary, place

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, count: int, oldest_version: int) -> Taken:
        taken = Taken({}, [], [])
        fetched: dict[Assignment, Whereabouts] = {}
        for assignment in sorted(self._waiting):
            if len(fetched) == count:
                break
            summary, place = self._waiting.pop(assignment)
            if summary.version < oldest_version:
                taken.stale.append(assignment)
            else:
                fetched[assignment] = place
        gone = self.replay.append([*fetched.items()]) if self.replay.shards else []
        for assignment, trajectory in zip(fetched, _fetch([*fetched.values()]), strict=True):
            if trajectory is None or assignment in gone:
                taken.lost.append(assignment)
            else:
                taken.trajectories[assignment] = trajectory
        return taken

    def keep(self, count: int) -> Kept:
        chosen = {assignment: self._waiting.pop(assignment) for assignment in sorted(self._waiting)[:count]}
        lost = self.replay.append([(assignment, place) for assignment, (_, place) in chosen.items()])
        return Kept({assignment: s for assignment, (s, _) in chosen.items() if assignment not in lost}, lost)

    def learned(self, assignments: list[Assignment]) -> None:
        pass  # what was taken is gone; after a crash it is played again

    def export(self) -> Arrays:
        return self.replay.export()

    def restore(self, saved: Iterable[Arrays], played: int) -> None:
        self.replay.restore(saved)
        self.replay.played = played

    def close(self) -> None:
        self.replay.close()


def _fetch(places: list[Whereabouts]) -> list[Trajectory | None]:
    """Trajectories, which come from their nodes side by side; None for one that is gone."""
    references = [*dict.fromkeys(place.reference for place in places)]
    found = dict(zip(references, _get(references), strict=True))
    return [None if (together := found[place.reference]) is None else together[place.at] for place in places]


def _get(references: list[ray.ObjectRef]) -> list[list[Trajectory] | None]:
    try:
        return ray.get(references)
    except (ObjectLostError, RayActorError):
        if len(references) == 1:
            return [None]
        return [found for reference in references for found in _get([reference])]
