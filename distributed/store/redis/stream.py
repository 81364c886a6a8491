"""What a run has on a Redis server, as the learner sees it: entries to read, and what is told about them.

One thread talks to the server, so that the learner never waits for the network.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import redis
from redis.exceptions import RedisError, ResponseError

from ....actors.assignment import Assignment
from ....envs.errors import BadInput, require
from ..schema import Schema
from . import wire
from .address import TIMEOUT
from .connection import Link, Stopped, is_full
from .entries import SESSION, TYPES, Entry, Keys, Record
from .lock import RunLock

BLOCK = 100
"""Milliseconds that the server lets us wait for an entry."""
AT_ONCE = 4
"""Entries that are asked for at once."""
LOOK = 1.0
"""Seconds between looks at the server's memory."""
QUARANTINE, CUT = 16, 2**16
"""Entries in quarantine, and bytes of each."""

_GROUP = _CONSUMER = "learner"


class Stream:
    """The learner's end of a run's stream."""

    def __init__(self, link: Link, keys: Keys, lock: RunLock) -> None:
        """Args:
        link: to the server.
        keys: of the run.
        lock: on its name, taken; nothing is written without it.
        """
        self.link, self._keys, self._run_lock = link, keys, lock
        self._schema: Schema | None = None
        self._refused: Callable[[Assignment, bytes, str], None] = lambda assignment, session, reason: None
        self.quarantined = 0
        """What was found there and is none of the run's."""
        self.clock = 0.0
        """Seconds in contact with the server, while it refused nobody because it was full."""
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: Exception | None = None
        self._over: list[bytes] = []
        self._forgotten: list[str] = []
        self._records: dict[bytes, str] = {}
        self.newest: bytes | str = "0"
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
                self.newest = id

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

    def start(self, accept: Callable[[Entry], None]) -> None:
        """Read what comes from now on, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, args=(accept,), name="redis", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the thread, if anything did, or that another run has the name."""
        if self.failure:
            raise self.failure
        self._run_lock.check()

    def close(self) -> None:
        """Stop reading; tell the server what it has not been told yet, if it answers."""
        self._stop.set()
        if self._thread:
            self._thread.join(2 * TIMEOUT)

    def _ask(self, action: Callable[[redis.Redis], Any]) -> Any:
        def ours(client: redis.Redis) -> Any:
            self._run_lock.ensure(client)
            return action(client)

        return self.link.patiently(ours, self._stop)

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
                self._ask(lambda client: self.turn(client, accept))
        except Stopped:
            pass
        except Exception as error:  # for `check`
            self.failure = error
        if not self.link.away.on:
            with suppress(RedisError, BadInput):
                self._run_lock.ensure(self.link.client)
                self._flush(self.link.client)

    def turn(self, client: redis.Redis, accept: Callable[[Entry], None]) -> None:
        begin = time.monotonic()
        try:
            if begin - self._looked > LOOK:
                self._looked = begin
                self.link.look()
            self._flush(client)
            for id, fields in self._receive(client, BLOCK):
                if entry := self._decoded(client, id, fields):
                    accept(entry)
                self.newest = id
        except RedisError:
            self._behind = True
            raise
        if not self.link.refusing:
            self.clock += min(time.monotonic() - begin, 1.0)

    def _receive(self, client: redis.Redis, block: int | None = None) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """What is next: first what was sent already and may not have arrived, then what is new."""
        try:
            found = self._read(client, self.newest) if self._behind else []
            self._behind = bool(found)
            return found or self._read(client, ">", block)
        except RedisError as error:
            self._behind = True
            if "NOGROUP" not in str(error):
                raise
        logging.getLogger("innerloop").warning(
            "%s has lost what it held of this run; what was on its way is played again.", self.link.address.place
        )
        self.newest = "0"
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

    def _flush(self, client: redis.Redis) -> None:
        """Tell the server what has become of entries."""
        with self._lock:
            over, forgotten, records = [*self._over], [*self._forgotten], {**self._records}
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
        if records:
            try:
                with client.pipeline(transaction=True) as together:
                    together.xack(self._keys.trajectories, _GROUP, *records)
                    together.rpush(self._keys.kept, *records.values())
                    together.execute()
            except RedisError as error:
                if not is_full(error):
                    raise
                self.link.notice(error)  # what is deleted makes room: that must not wait for this
                return
            with self._lock:
                for id in records:
                    self._records.pop(id, None)
