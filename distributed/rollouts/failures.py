"""How actors failed: what is said of it, when a place is given up, and when the run is."""

import collections
import logging
from collections.abc import Sequence

from ray.exceptions import RayActorError, RayTaskError

from ...actors.assignment import Assignment
from ...envs.errors import RunFailed
from .member import Member
from .remote import Failed

SILENT = "connection error code 2. End of file"
"""What Ray says of a process that ended without a word."""

_log = logging.getLogger("innerloop")


class ActorsDied(RunFailed):
    """No actor is left that does not fail, or no actor can play an assignment."""


class Failures:
    """Counts failures by place, by assignment and by reason."""

    def __init__(self, max_restarts: int) -> None:
        """Args:
        max_restarts: how often in a row an actor is replaced before its place stays empty, and in how many places an
            assignment may fail before the run is given up.
        """
        self._max_restarts = max_restarts
        self._in_a_row: collections.Counter[int] = collections.Counter()
        self._failed_in: dict[Assignment, set[int]] = collections.defaultdict(set)
        self._reasons: collections.Counter[str] = collections.Counter()
        self._last = ""
        """Why an actor failed last."""
        self.given_up: set[int] = set()
        """Places that stay empty."""

    def forgive(self) -> None:
        """The nodes are others than before: all places are as good as new."""
        self.given_up.clear()
        self._in_a_row.clear()

    def well(self, slot: int, assignments: Sequence[Assignment]) -> None:
        """Assignments were played."""
        self._in_a_row.pop(slot, None)
        for assignment in assignments:
            self._failed_in.pop(assignment, None)

    def record(self, member: Member, error: Exception, *, counts: bool) -> None:
        """An actor failed: say so, each reason once, and give its place up if that happens again and again.

        Args:
            member: the actor.
            error: why.
            counts: it was the actor's own fault, as far as can be told.
        """
        if counts:
            self._in_a_row[member.slot] += 1
        failures = self._in_a_row[member.slot]
        self._last, details = explain(error)
        self._reasons[self._last] += 1
        first = self._reasons[self._last] == 1
        if first:
            _log.debug("%s: %s", member.name, details)
        if failures > self._max_restarts:
            self.given_up.add(member.slot)
            why = f": {self._last}" if first else ", each time as it was said before"
            _log.error("%s failed; its place is given up after %d failures in a row%s.", member.name, failures, why)
        elif first:
            _log.warning("%s failed, and is replaced: %s.", member.name, self._last)

    def blame(self, assignments: Sequence[Assignment], slot: int, error: Exception) -> None:
        """An actor failed while it played assignments.

        Raises:
            ActorsDied: so have too many others.
        """
        for assignment in assignments:
            places = self._failed_in[assignment]
            places.add(slot)
            if len(places) > self._max_restarts:
                raise ActorsDied(
                    f"part {assignment.part} of iteration {assignment.iteration} failed in {len(places)} actors; "
                    f"max_restarts is {self._max_restarts}. The last said: {self._last}."
                ) from error

    def all_failed(self) -> ActorsDied:
        """The end of a run of whose actors none is left."""
        return ActorsDied(f"every actor failed; max_restarts is {self._max_restarts}. The last said: {self._last}.")

    def close(self) -> None:
        """Say how often actors failed, where it was said once."""
        for reason, times in self._reasons.items():
            if times > 1:
                _log.warning("%d times an actor failed like this: %s.", times, reason)
        self._reasons.clear()


def explain(error: Exception) -> tuple[str, str]:
    """Why an actor failed, in one sentence without its full stop; and all that is known of it."""
    said = str(error)
    if isinstance(error, RayTaskError) and isinstance(error.cause, Failed):
        return error.cause.reason, error.cause.details
    if not isinstance(error, RayActorError):
        return (said.strip() or type(error).__name__).splitlines()[-1].strip().rstrip("."), said
    if SILENT in said:
        return "its process ended at once: it was killed, crashed, or its environment called os._exit", said
    detail = (said.partition("exit detail: ")[2] or said).partition("Some common causes")[0]
    return f"its process ended: {' '.join(detail.split())}".rstrip("."), said
