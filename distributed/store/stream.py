"""What a run has on a Redis server, as the learner sees it: entries to read, and what is told about them.

All keys of a run begin with `innerloop:{run}:`

    trajectories  a stream, one entry per trajectory, read by the consumer group `learner`; an entry is pending until it
                  has been learned from, or is in replay
    kept          what is in replay, in its order: a list of "entry iteration"
    tasks         a hash, of each fixed training task: task:episodes (seen by the learner), task:return (of its last
                  trial)
    quarantine    a stream of the newest entries that could not be decoded, cut short, with the reason
    format        of the entries
    lock          of the run that uses the name; see `RunLock`

One thread talks to the server, so that the learner never waits for the network.
"""

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import redis
from redis.exceptions import RedisError, ResponseError

from ...actors.actor import Assignment
from ...envs.errors import BadInput, require
from ...learner.trajectory import Trajectory
from . import wire
from .connection import TIMEOUT, Link, Stopped, is_full
from .lock import RunLock
from .schema import Schema

SESSION = b"session"
"""The field of an entry that says for whom it was written; the others are the trajectory, in pieces."""
BLOCK = 100
"""Milliseconds that the server lets us wait for an entry."""
AT_ONCE = 4
"""Entries that are asked for at once."""
LOOK = 1.0
"""Seconds between looks at the server's memory."""
QUARANTINE, CUT = 16, 2**16
"""Entries in quarantine, and bytes of each."""
MOST = 2**53
"""Episodes that are counted of a task."""

_GROUP = _CONSUMER = "learner"


class Keys(NamedTuple):
    """The names of a run's keys."""

    trajectories: str
    kept: str
    tasks: str
    quarantine: str
    format: str


TYPES = Keys("stream", "list", "hash", "stream", "string")
"""What each key is."""
_RECORD = re.compile(rb"(\d{1,20}-\d{1,20}) (\d{1,18})")
_STATISTIC = re.compile(rb"\d{1,18}:(episodes|return)")


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


class Stream:
    """The learner's end of a run's stream."""

    def __init__(self, link: Link, keys: Keys, lock: RunLock) -> None:
        """Args:
        link: to the server.
        keys: of the run.
        lock: on its name, taken; nothing is written without it.
        """
        self._link, self._keys, self._name = link, keys, lock
        self._schema: Schema | None = None
        self._refused: Callable[[Assignment, bytes, str], None] = lambda assignment, session, reason: None
        self.quarantined = 0
        """What was found there and is none of the run's."""
        self.clock = 0.0
        """Seconds in contact with the server, while it refused nobody because it was full."""
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._over: list[bytes] = []
        self._forgotten: list[str] = []
        self._records: dict[bytes, str] = {}
        self._seen: list[tuple[int, int, float]] = []
        self._newest: bytes | str = "0"
        self._behind = True  # what was sent to us behind the newest may not have arrived
        self._looked = -LOOK

    def prepare(
        self, schema: Schema | None = None, refused: Callable[[Assignment, bytes, str], None] | None = None
    ) -> None:
        """Make what is not there yet.

        Args:
            schema: of what is to be found; None for any trajectory.
            refused: told of what is no trajectory of the run's: what it says it was played for, for which session, and
                what is wrong with it.

        Raises:
            BadInput: the entries there are of another format, or what is there is none of ours.
        """
        self._schema, self._refused = schema, refused or self._refused
        for key, expected in zip(self._keys, TYPES, strict=True):
            kind = self._ask(lambda client, key=key: client.type(key)).decode()
            require(kind in (expected, "none"), f"the type of {key} in Redis", kind, f"{expected}, or --overwrite")
        found: Any = self._ask(lambda client: client.getrange(self._keys.format, 0, 20))
        if not found:
            self._ask(self._create)
        else:
            given, expected = found.decode(errors="replace"), str(wire.FORMAT)
            require(
                given == expected, f"the format of {self._keys.format} in Redis", given, f"{expected}, or --overwrite"
            )
        self._ask(self._clean_statistics)

    def exists(self) -> bool:
        """Whether the server has anything of the run."""
        return self._ask(lambda client: client.exists(*self._keys)) > 0

    def delete(self) -> None:
        """Delete all that the server has of the run."""
        self._ask(lambda client: client.unlink(*self._keys))

    def unread(self) -> Iterator[Entry]:
        """What is there and not learned from nor in replay, oldest first."""
        while entries := self._ask(self._receive):
            for id, fields in entries:
                if entry := self._ask(lambda client, id=id, fields=fields: self._decoded(client, id, fields)):
                    yield entry
                self._newest = id

    def records(self) -> list[Record]:
        """Of what is in replay, in its order; what is none is deleted, counted and named."""
        found: Any = self._ask(lambda client: client.lrange(self._keys.kept, 0, -1))
        records: dict[str, Record] = {}
        for data in dict.fromkeys(found):
            record = Record.parse(data)
            if record and record.id not in records:
                records[record.id] = record
            else:
                self._ask(lambda client, data=data: client.lrem(self._keys.kept, 0, data))
                self._count(f"{data[:100]!r} of {self._keys.kept} is no record of an entry and was deleted")
        return [*records.values()]

    def read(self, id: str) -> Entry | None:
        """An entry in replay, if it is still there."""
        found: Any = self._ask(lambda client: client.xrange(self._keys.trajectories, id, id))
        return self._ask(lambda client: self._decoded(client, *found[0], kept=True)) if found else None

    def back(self, record: Record) -> None:
        """An entry is not in replay any more; it will be among the `unread`."""

        def claim(client: redis.Redis) -> None:
            client.xclaim(self._keys.trajectories, _GROUP, _CONSUMER, 0, [record.id], force=True, justid=True)
            client.lrem(self._keys.kept, 0, record.text)

        self._ask(claim)

    def drop(self, id: bytes, record: Record | None = None) -> None:
        """Have an entry deleted, soon, and its record, if it was in replay."""
        with self._lock:
            self._over.append(id)
            if record:
                self._records.pop(id, None)
                self._forgotten.append(record.text)

    def keep(self, id: bytes, record: Record) -> None:
        """Have it written down, soon, that an entry is in replay."""
        with self._lock:
            self._records[id] = record.text

    def seen(self, entry: Entry) -> None:
        """Have its part in the statistics of its tasks written down, soon."""
        tasks, trajectory = entry.assignment.tasks, entry.trajectory
        per_task = len(trajectory.reward[0]) // max(1, len(tasks))  # columns, next to each other
        episodes = (trajectory.done & trajectory.valid).sum(0)[::per_task].tolist()
        returns = (trajectory.reward * trajectory.valid).sum(0, np.float64)[::per_task].tolist()
        with self._lock:
            self._seen += zip(tasks, episodes, returns, strict=False)

    def start(self, accept: Callable[[Entry], None]) -> None:
        """Read what comes from now on, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, args=(accept,), name="redis", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the thread, if anything did, or that another run has the name."""
        if self._failure:
            raise self._failure
        self._name.check()

    def close(self) -> None:
        """Stop reading; tell the server what it has not been told yet, if it answers."""
        self._stop.set()
        if self._thread:
            self._thread.join(2 * TIMEOUT)

    def _ask(self, action: Callable[[redis.Redis], Any]) -> Any:
        def ours(client: redis.Redis) -> Any:
            self._name.ensure(client)
            return action(client)

        return self._link.patiently(ours, self._stop)

    def _create(self, client: redis.Redis) -> None:
        client.set(self._keys.format, wire.FORMAT)
        try:
            client.xgroup_create(self._keys.trajectories, _GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):  # it is there already
                raise

    def _run(self, accept: Callable[[Entry], None]) -> None:
        try:
            while not self._stop.is_set():
                self._ask(lambda client: self._turn(client, accept))
        except Stopped:
            pass
        except Exception as error:  # for `check`
            self._failure = error
        if not self._link.away.on:
            with suppress(RedisError, BadInput):
                self._name.ensure(self._link.client)
                self._flush(self._link.client)

    def _turn(self, client: redis.Redis, accept: Callable[[Entry], None]) -> None:
        begin = time.monotonic()
        try:
            if begin - self._looked > LOOK:
                self._looked = begin
                self._link.look()
            self._flush(client)
            for id, fields in self._receive(client, BLOCK):
                if entry := self._decoded(client, id, fields):
                    accept(entry)
                self._newest = id
        except RedisError:
            self._behind = True
            raise
        if not self._link.refusing:
            self.clock += min(time.monotonic() - begin, 1.0)

    def _receive(self, client: redis.Redis, block: int | None = None) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """What is next: first what was sent already and may not have arrived, then what is new."""
        try:
            found = self._read(client, self._newest) if self._behind else []
            self._behind = bool(found)
            return found or self._read(client, ">", block)
        except RedisError as error:
            self._behind = True
            if "NOGROUP" not in str(error):
                raise
        logging.getLogger("innerloop").warning(
            "%s has lost what it held of this run; what was on its way is played again.", self._link.address.place
        )
        self._newest = "0"
        self._create(client)
        return []

    def _read(self, client: redis.Redis, after: bytes | str, block: int | None = None) -> list[Any]:
        streams: dict[Any, Any] = {self._keys.trajectories: after}
        reply: Any = client.xreadgroup(_GROUP, _CONSUMER, streams, count=AT_ONCE, block=block)
        return reply[0][1] if reply else []

    def _decoded(
        self, client: redis.Redis, id: bytes, fields: dict[bytes, bytes], *, kept: bool = False
    ) -> Entry | None:
        """An entry; None, and it goes into quarantine, if it is none."""
        if not fields:  # deleted meanwhile
            self.drop(id)
            return None
        data = b"".join(value for name, value in fields.items() if name != SESSION)
        session, assignment = fields.get(SESSION, b""), None
        try:
            assignment, trajectory = wire.decode(data)
            if self._schema:
                self._schema.check(assignment, trajectory, kept=kept)
            return Entry(id, session, len(data), assignment, trajectory)
        except wire.Undecodable as error:
            reason, assignment = str(error), error.assignment or assignment
        about: dict[Any, Any] = {"entry": id, "reason": reason, "bytes": len(data), "data": data[:CUT]}
        try:
            with client.pipeline(transaction=True) as together:
                together.xadd(self._keys.quarantine, about, maxlen=QUARANTINE, approximate=False)
                together.xack(self._keys.trajectories, _GROUP, id)
                together.xdel(self._keys.trajectories, id)
                together.execute()
        except RedisError as error:
            if not is_full(error):
                raise
            self.drop(id)
        place = f"entry {id.decode()} of {self._keys.trajectories}"
        self._count(f"{place} is no trajectory of this run's and was put aside: {reason}")
        if assignment:
            self._refused(assignment, session, reason)
        return None

    def _count(self, sentence: str) -> None:
        self.quarantined += 1
        logging.getLogger("innerloop").warning("%s", sentence)

    def _clean_statistics(self, client: redis.Redis) -> None:
        """Delete what the hash of tasks has beside statistics that can be counted on."""
        found: Any = client.hgetall(self._keys.tasks)
        if wrong := [name for name, value in found.items() if not _is_statistic(name, value)]:
            client.hdel(self._keys.tasks, *wrong)
            shown = ", ".join(repr(name[:50]) for name in wrong[:5])
            self._count(
                f"{len(wrong)} fields of {self._keys.tasks} are no statistics of tasks and were deleted: {shown}"
            )

    def _flush(self, client: redis.Redis) -> None:
        """Tell the server what has become of entries."""
        with self._lock:
            over, forgotten, records, seen = [*self._over], [*self._forgotten], {**self._records}, [*self._seen]
        if over:
            # Not as a transaction: a full server takes none, and this makes room. What is gone before it is
            # acknowledged is found out when it is read again.
            with client.pipeline(transaction=False) as together:
                together.xdel(self._keys.trajectories, *over)
                together.xack(self._keys.trajectories, _GROUP, *over)
                for record in forgotten:
                    together.lrem(self._keys.kept, 0, record)
                together.execute()
            with self._lock:
                del self._over[: len(over)], self._forgotten[: len(forgotten)]
        if records or seen:
            try:
                with client.pipeline(transaction=True) as together:
                    if records:
                        together.xack(self._keys.trajectories, _GROUP, *records)
                        together.rpush(self._keys.kept, *records.values())
                    for task, episodes, last in seen:
                        together.hincrby(self._keys.tasks, f"{task}:episodes", episodes)
                        together.hset(self._keys.tasks, f"{task}:return", last)
                    together.execute()
            except RedisError as error:
                if not is_full(error):
                    raise
                self._link.notice(error)  # what is deleted makes room: that must not wait for this
                return
            with self._lock:
                del self._seen[: len(seen)]
                for id in records:
                    self._records.pop(id, None)


def _is_statistic(name: bytes, value: bytes) -> bool:
    try:
        return bool(_STATISTIC.fullmatch(name)) and (
            math.isfinite(float(value)) if name.endswith(b"return") else 0 <= int(value) < MOST
        )
    except ValueError:
        return False
