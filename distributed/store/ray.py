"""The store in Ray's object store: arrays stay where they were made until the learner takes them."""

import ray
from ray.exceptions import ObjectLostError, RayActorError

from ...actors.actor import Assignment
from ...learner.trajectory import Trajectory
from .api import Taken


class RayStore:
    """References held by the driver, arrays in shared memory (read without copying on the learner's node)."""

    def __init__(self) -> None:
        self._waiting: dict[Assignment, tuple[int, ray.ObjectRef]] = {}

    def append(self, assignment: Assignment, version: int, reference: object) -> None:
        assert isinstance(reference, ray.ObjectRef)
        self._waiting[assignment] = version, reference

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, count: int, oldest_version: int) -> Taken:
        taken = Taken({}, [], [])
        for assignment in sorted(self._waiting):
            if len(taken.trajectories) == count:
                break
            version, reference = self._waiting.pop(assignment)
            if version < oldest_version:
                taken.stale.append(assignment)
                continue
            try:
                trajectory = ray.get(reference)
            except (ObjectLostError, RayActorError):
                taken.lost.append(assignment)
                continue
            assert isinstance(trajectory, Trajectory)
            taken.trajectories[assignment] = trajectory
        return taken
