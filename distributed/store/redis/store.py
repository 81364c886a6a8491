"""The store in Redis: what was played outlives the learner and the cluster, and comes back after a crash of either.

Actors write to the server, each trajectory whole; `Stream` reads it. Replay is in the learner's memory, so that
sampling never waits for the network, and the server holds what it was made of. Several runs can share a server.
"""

import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ....actors.assignment import Assignment
from ....envs.errors import BadInput
from ....learner.api import Consumes
from ....learner.replay import Replay
from ....learner.trajectory import Arrays
from ..api import Kept, Summary, Taken, Whereabouts, summarise
from ..schema import Schema
from .address import Address
from .connection import Link, examine
from .entries import Entry, Record, keys_of
from .lock import RunLock
from .stream import Stream
from .writer import RedisWriter

REMEMBERED = 1_000
"""Iterations back for which a trajectory that comes a second time is recognised."""

PartKey = tuple[int, int]
"""Iteration and part of an assignment."""


class _Announced(NamedTuple):
    """What an actor says that it has written."""

    assignment: Assignment
    summary: Summary
    at: float
    """On the stream's clock."""


class _Held(NamedTuple):
    """An entry whose trials are in replay."""

    id: bytes
    size: int
    record: Record
    end: int
    """The replay's number of the trial behind its last one."""


class RedisStore:
    """The learner's end."""

    def __init__(self, url: str, run: str, *, capacity: int, consumes: Consumes, lost_after: float = 30.0) -> None:
        """Args:
        url: see `Address.parse`.
        run: its name; runs with different names can share a server.
        capacity: bytes of replay, in memory and, at most, on the server.
        consumes: whether trajectories are taken, kept, or both.
        lost_after: seconds in contact with the server after which what an actor has announced counts as lost.

        Raises:
            BadInput: the server cannot be used, or the run's name, or a living run uses it.
        """
        keys, link = keys_of(run), Link(Address.parse(url))
        self._replays, self._capacity, self._lost_after = consumes != "fresh", capacity, lost_after
        examine(link, capacity if self._replays else 0)
        self._session = secrets.token_hex(8).encode()
        self.writer = RedisWriter(Link(link.address, "the actor"), keys, self._session)
        self.replay = Replay(capacity)
        self.link, self.run_lock = link, RunLock(link, f"innerloop:{run}:lock", run)
        self.stream = Stream(link, keys, self.run_lock)
        self._lock = threading.Lock()
        self._waiting: dict[PartKey, Entry] = {}
        self._announced: dict[PartKey, _Announced] = {}
        self._again: set[PartKey] = set()
        """Waited already when the run went on."""
        self._settled: OrderedDict[PartKey, bytes] = OrderedDict()
        """Delivered or in replay, by entry; empty once it was learned from."""
        self._floor = 0
        """Iterations before this one are over."""
        self._held: deque[_Held] = deque()
        self._held_bytes = 0
        self._discarded = 0
        self._refused: dict[PartKey, str] = {}
        """What our actors wrote and is none of the run's, and why."""
        self.run_lock.take()

    @property
    def clock(self) -> float:
        return self.stream.clock

    @property
    def counts(self) -> dict[str, int]:
        """As documented, and `discarded`: played before a crash, with weights that the learner no longer has."""
        counts = {"quarantined": self.stream.quarantined, "discarded": self._discarded}
        if not self._replays:
            return counts
        replay = self.replay
        trials = {"replay_trials": len(replay), "replay_bytes": replay.nbytes, "replay_evicted": replay.evicted}
        return trials | {"replay_lost": 0} | counts

    def exists(self) -> bool:
        return self.stream.exists()

    def delete(self) -> None:
        self.stream.delete()

    def begin(self, version: int, schema: Schema | None = None) -> list[Assignment]:
        self.stream.prepare(schema, self._refuse)
        self._floor = version
        self._refill(version)
        for entry in sorted(self.stream.unread(), key=lambda entry: entry.assignment):
            place = _key(entry.assignment)
            over = entry.assignment.iteration < version
            if self._settled.get(place) == entry.id:
                continue
            if place in self._waiting or place in self._settled or (over and not self._replays):
                self.stream.drop(entry.id)
            elif over:
                self._keep(entry)
            elif entry.trajectory.version > version:
                self._discard(entry)
            else:
                self._waiting[place] = entry
        self._again = {*self._waiting}
        self.stream.start(self._accept)
        return [entry.assignment for entry in self._waiting.values()]

    def append(self, assignment: Assignment, summary: Summary, place: Whereabouts | None) -> None:
        assert place is None, "the actor writes by itself"
        with self._lock:
            self._announced[_key(assignment)] = _Announced(assignment, summary, self.stream.clock)

    def __len__(self) -> int:
        with self._lock:
            return len(self._due())

    def take(self, count: int, oldest_version: int) -> Taken:
        taken = Taken({}, [], [])
        with self._lock:
            for place in self._due():
                if len(taken.trajectories) == count:
                    break
                entry, announced = self._pop(place)
                if entry is None:
                    taken.lost.append(announced.assignment)
                elif entry.trajectory.version < oldest_version:
                    self.stream.drop(entry.id)
                    taken.stale.append(entry.assignment)
                else:
                    if self._replays:
                        self._keep(entry)
                    else:
                        self._settle(entry)
                    taken.trajectories[entry.assignment] = entry.trajectory
        return taken

    def keep(self, count: int) -> Kept:
        kept = Kept({}, [])
        with self._lock:
            for place in self._due():
                if len(kept.kept) == count:
                    break
                entry, announced = self._pop(place)
                if entry is None:
                    kept.lost.append(announced.assignment)
                else:
                    self._keep(entry)
                    kept.kept[entry.assignment] = announced.summary
        return kept

    def learned(self, assignments: list[Assignment]) -> None:
        if self._replays:  # the server holds what is in replay
            return
        with self._lock:
            for place in map(_key, assignments):
                if id := self._settled.get(place):
                    self.stream.drop(id)
                    self._settled[place] = b""

    def export(self) -> Arrays:
        return {}  # the server has it

    def restore(self, saved: Iterable[Arrays], played: int) -> None:
        self.replay.played = played  # what was played is with the server

    def close(self) -> None:
        self.stream.close()
        self.run_lock.release()
        self.link.client.close()

    def _refill(self, version: int) -> None:
        """Fill replay as it was when the learner had this version, as far as the server still has it."""
        played, self.replay.played = self.replay.played, 0
        for record in self.stream.records():
            if record.iteration >= version:
                self.stream.back(record)
            elif (entry := self.stream.read(record.id)) and entry.assignment.iteration == record.iteration:
                self._keep(entry, record)
            else:
                self.stream.drop(record.id.encode(), record)
        self.replay.played = max(played, self.replay.played)

    def _accept(self, entry: Entry) -> None:
        """An entry has come; in the stream's thread."""
        place = _key(entry.assignment)
        with self._lock:
            known = self._waiting[place].id if place in self._waiting else self._settled.get(place)
            if known == entry.id:  # the server has forgotten that it had sent it
                return
            if entry.session != self._session:  # from an actor that has not noticed that its learner is gone
                self._discard(entry)
            elif known is not None or entry.assignment.iteration < self._floor:
                self.stream.drop(entry.id)
            else:
                self._waiting[place] = entry

    def _refuse(self, assignment: Assignment, session: bytes, reason: str) -> None:
        """An entry was put aside; in the stream's thread, or before it begins."""
        if session == self._session:
            self._refused[_key(assignment)] = reason

    def _due(self) -> list[PartKey]:
        """What can be delivered, or reported as lost; oldest first."""
        self.stream.check()
        late = self.stream.clock - self._lost_after
        here = self._waiting.keys() & (self._announced.keys() | self._again)
        return sorted(here | {place for place, a in self._announced.items() if place not in here and a.at < late})

    def _pop(self, place: PartKey) -> tuple[Entry | None, _Announced]:
        """What has come for a place, if anything, and what its actor said of it.

        Raises:
            BadInput: what its actor wrote was put aside, as it would be whoever plays it.
        """
        entry, announced = self._waiting.pop(place, None), self._announced.pop(place, None)
        self._again.discard(place)
        if announced is None:
            assert entry is not None
            announced = _Announced(entry.assignment, summarise(entry.trajectory), 0.0)
        if entry is None and (reason := self._refused.pop(place, "")):
            raise BadInput(
                f"part {place[1]} of iteration {place[0]} is no trajectory of this run's as an actor wrote it: "
                f"{reason.rstrip('.')}. The environment or the algorithm gave it."
            )
        return entry, announced

    def _settle(self, entry: Entry) -> None:
        """Remember that an entry was delivered, and forget the oldest."""
        iteration, _ = place = _key(entry.assignment)
        self._settled[place] = entry.id
        oldest = iteration - REMEMBERED
        self._floor = max(self._floor, oldest)
        while next(iter(self._settled))[0] < oldest:
            self._settled.popitem(last=False)

    def _discard(self, entry: Entry) -> None:
        self._discarded += 1
        self.stream.drop(entry.id)

    def _keep(self, entry: Entry, record: Record | None = None) -> None:
        """Put an entry into replay, which may have its record from before; the server forgets what replay forgets."""
        replay, assignment = self.replay, entry.assignment
        columns = entry.trajectory.reward.shape[1]
        tasks, from_context = (
            np.repeat(each, columns // max(1, len(each))).tolist()
            for each in (assignment.tasks, assignment.from_context)
        )
        replay.append(tasks, entry.trajectory, None, from_context)
        if not record:
            record = Record.of(entry)
            self.stream.keep(entry.id, record)
        self._settle(entry)
        self._held.append(_Held(entry.id, entry.size, record, replay.appended))
        self._held_bytes += entry.size
        first = replay.appended - len(replay)
        while self._held and (self._held[0].end <= first or self._held_bytes > self._capacity):
            oldest = self._held.popleft()
            self._held_bytes -= oldest.size
            self.stream.drop(oldest.id, oldest.record)


def _key(assignment: Assignment) -> PartKey:
    return assignment.iteration, assignment.part
