"""The actors' end of the store in Redis: they write to the server themselves, each trajectory whole."""

import threading
from typing import Any

from ....actors.assignment import Assignment
from ....learner.trajectory import Trajectory
from . import wire
from .connection import CALM, Link
from .entries import SESSION, Keys

PIECE = 2**20
"""Bytes of a field of an entry, at most."""


class RedisWriter:
    """The actors' end; made by the store."""

    def __init__(self, link: Link, keys: Keys, session: bytes) -> None:
        """Args:
        link: to the server.
        keys: of the run.
        session: of the store that reads.
        """
        self.link, self.keys, self._session = link, keys, session

    def write(self, assignment: Assignment, trajectory: Trajectory) -> None:
        """Returns when the server has it, whole; waits while the server is full or does not answer.

        Raises:
            BadInput: the server refuses for good.
        """
        data = memoryview(wire.encode(assignment, trajectory))
        entry: dict[Any, Any] = {SESSION: self._session}
        entry |= {str(start // PIECE): data[start : start + PIECE] for start in range(0, len(data), PIECE)}
        self.link.patiently(lambda client: client.xadd(self.keys.trajectories, entry), threading.Event())
        self.link.full.end(CALM)
