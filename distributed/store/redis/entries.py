"""What a run has on a Redis server: the names of its keys, and what is in them.

All keys of a run begin with `innerloop:{run}:`

    trajectories  a stream, one entry per trajectory, read by the consumer group `learner`; an entry is pending until it
                  has been learned from, or is in replay
    kept          what is in replay, in its order: a list of "entry iteration"
    quarantine    a stream of the newest entries that could not be decoded, cut short, with the reason
    format        of the entries
    lock          of the run that uses the name; see `RunLock`
"""

import re
from typing import NamedTuple

from ....actors.assignment import Assignment
from ....envs.errors import require
from ....learner.trajectory import Trajectory

SESSION = b"session"
"""The field of an entry that says for whom it was written; the others are the trajectory, in pieces."""


class Keys(NamedTuple):
    """The names of a run's keys."""

    trajectories: str
    kept: str
    quarantine: str
    format: str


TYPES = Keys("stream", "list", "stream", "string")
"""What each key is."""
_RECORD = re.compile(rb"(\d{1,20}-\d{1,20}) (\d{1,18})")


def keys_of(run: str) -> Keys:
    """Of a run.

    Raises:
        BadInput: its name has other characters than letters, digits, `_`, `.` and `-`.
    """
    require(bool(re.fullmatch(r"[\w.-]{1,200}", run)), "the run's name", run, "letters, digits, and any of _.-")
    return Keys(*(f"innerloop:{run}:{name}" for name in Keys._fields))


class Entry(NamedTuple):
    """What an entry of the stream holds."""

    id: bytes
    session: bytes
    size: int
    """Bytes."""
    assignment: Assignment
    trajectory: Trajectory


class Record(NamedTuple):
    """That an entry is in replay."""

    id: str
    iteration: int
    text: str
    """As the server has it."""

    @classmethod
    def of(cls, entry: Entry) -> "Record":
        id, iteration = entry.id.decode(), entry.assignment.iteration
        return cls(id, iteration, f"{id} {iteration}")

    @classmethod
    def parse(cls, data: bytes) -> "Record | None":
        """None for what is no record."""
        if not (found := _RECORD.fullmatch(data)):
            return None
        id, iteration = found[1].decode(), int(found[2])
        return cls(id, iteration, data.decode()) if all(int(part) < 2**64 for part in id.split("-")) else None
