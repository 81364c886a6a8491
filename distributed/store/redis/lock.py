"""One run at a time uses a name: a key of the server's that says who does, and lapses unless it is renewed.

The key is `innerloop:{run}:lock`. It is taken before anything of the run is written or deleted, renewed in a thread,
and deleted when the run ends. A run that was killed leaves it behind: on the same machine that is noticed at once,
elsewhere when it has lapsed.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import psutil
import redis
from redis.exceptions import RedisError, WatchError

from ....envs.errors import BadInput
from .address import TIMEOUT
from .connection import Link, is_full

LAPSE = 30.0
"""Seconds without renewal after which a lock lapses."""
RENEWAL = 5.0
"""Seconds between renewals."""
POLL = 0.5
"""Seconds between looks at a lock whose owner may be dead."""


class Owner(NamedTuple):
    """Who has a lock."""

    token: str
    """Of this run alone."""
    host: str
    """Name of the machine, for sentences."""
    system: str
    """The machine since it was started, and the processes that can be seen there."""
    pid: int
    started: str
    """When the process began, as the system counts."""
    since: int
    """When the lock was taken, in seconds since 1970."""

    @classmethod
    def this(cls) -> "Owner":
        """This process, for one run."""
        return cls(
            secrets.token_hex(16), socket.gethostname(), system(), os.getpid(), _start(os.getpid()), int(time.time())
        )

    @classmethod
    def parse(cls, data: bytes) -> "Owner | None":
        """The inverse of `encode`; None for anything else."""
        try:
            found = cls(**json.loads(data))
            datetime.fromtimestamp(found.since)
        except (ValueError, TypeError, OverflowError, OSError, RecursionError):
            return None
        right = all(type(value) is type(like) for value, like in zip(found, cls("", "", "", 0, "", 0), strict=True))
        return found if right and 0 < found.pid < 2**31 else None

    def encode(self) -> bytes:
        return json.dumps(self._asdict()).encode()

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since)
        return f"a run on {self.host[:100]!r} (process {self.pid}) since {since:%Y-%m-%d %H:%M:%S}"

    @property
    def here(self) -> bool:
        """Whether its process would be seen here, if it were alive."""
        return self.system == system()

    @property
    def gone(self) -> bool:
        """Whether its process is known to have ended."""
        return self.here and (not psutil.pid_exists(self.pid) or _start(self.pid) not in (self.started, "?"))


class RunLock:
    """A run's lock on its name."""

    def __init__(self, link: Link, key: str, run: str) -> None:
        """Args:
        link: to the server.
        key: of the lock.
        run: its name.
        """
        self._link, self._key, self._run = link, key, run
        self.value = b""
        self._replaces: bytes | None = None
        """What a server without room for another lock has in its place."""
        self.held_until = 0.0
        """Until when, of the monotonic clock, nobody else can have taken it."""
        self.failure: BadInput | None = None
        self._mutex, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._renew_always, name="redis-lock", daemon=True)

    def take(self) -> None:
        """Take the lock; waits, and says so, while nobody knows whether the run that has it is alive.

        Raises:
            BadInput: a living run has it.
        """
        self.value, self._replaces = Owner.this().encode(), None
        seen: tuple[bytes, float] | None = None
        while True:
            found, left = self._link.patiently(self._look, self._stop)
            owner = Owner.parse(found) if found else None
            if found is None or (owner and owner.gone):
                if self._link.patiently(lambda client, found=found: self._claim(client, found), self._stop):
                    break
                continue  # somebody was faster
            lapses = time.monotonic() + left
            renewed = seen and (seen[0] != found or lapses > seen[1] + RENEWAL / 2)
            if (owner and owner.here) or renewed or not 0 <= left <= LAPSE:
                raise BadInput(
                    f"name is {self._run!r}, in use on {self._link.address.place} by {owner or 'another run'}; "
                    f"expected another name, or that run to have ended ({_lapse(left)})."
                )
            if not seen:
                logging.getLogger("innerloop").warning(
                    "the name %r is in use on %s by %s, which may have died; this run waits to see (%s).",
                    self._run,
                    self._link.address.place,
                    owner or "another run",
                    _lapse(left),
                )
            seen = found, lapses
            self._stop.wait(POLL)
        self._thread.start()

    def ensure(self, client: redis.Redis) -> None:
        """Called before whatever is asked of the server; asks for the lock first if it may have lapsed.

        Raises:
            BadInput: another run has the name now.
            RedisError: the server does not answer.
        """
        if time.monotonic() >= self.held_until:
            self._renew(client)
        self.check()

    def check(self) -> None:
        """Raise what became of the lock, if it is lost."""
        if self.failure:
            raise self.failure

    def release(self) -> None:
        """Let others use the name, if the server answers; otherwise the lock lapses."""
        self._stop.set()
        if not self._thread.ident:
            return
        self._thread.join(2 * TIMEOUT)
        if not self._link.away.on:
            client, lapse = self._link.client, int(1000 * LAPSE)
            with suppress(RedisError):
                if client.getex(self._key, px=lapse) == self.value:  # now nobody takes it before it is deleted
                    client.delete(self._key)

    def _look(self, client: redis.Redis) -> tuple[bytes | None, float]:
        """The lock's owner, and the seconds until it lapses, -1 for never."""
        with client.pipeline(transaction=False) as together:
            together.get(self._key)
            together.pttl(self._key)
            found, left = together.execute()
        return (None, 0.0) if left == -2 else (found, left / 1000)

    def _claim(self, client: redis.Redis, found: bytes | None) -> bool:
        """Take the lock in the place of what was found there; False if that has changed."""
        try:
            asked = time.monotonic()
            if not self._replace(client, found):
                return False
            self.held_until, self._replaces = asked + LAPSE, None
        except RedisError as error:
            if not is_full(error):
                raise
            # It may be this run that makes room, by what it reads: it goes on, and takes the lock as soon as it can.
            self.held_until, self._replaces = time.monotonic() + RENEWAL, found
        return True

    def _replace(self, client: redis.Redis, found: bytes | None) -> bool:
        lapse = int(1000 * LAPSE)
        if found is None:
            return bool(client.set(self._key, self.value, nx=True, px=lapse))
        with client.pipeline(transaction=True) as together:
            together.watch(self._key)
            if together.get(self._key) != found:
                return False
            together.multi()
            together.set(self._key, self.value, px=lapse)
            try:
                together.execute()
            except WatchError:
                return False
        return True

    def _renew_always(self) -> None:
        while not self._stop.wait(RENEWAL) and not self.failure:
            with suppress(RedisError, BadInput):  # whoever waits for the server says so; `check` raises the other
                self._renew(self._link.client)

    def _renew(self, client: redis.Redis) -> None:
        with self._mutex:
            asked = time.monotonic()
            found: Any = client.getex(self._key, px=int(1000 * LAPSE))  # also where there is no room for another key
            if found == self.value:
                self.held_until = asked + LAPSE
            elif found not in (None, self._replaces) or not self._claim(client, found):
                self._lose(found)

    def _lose(self, found: bytes | None) -> NoReturn:
        owner = Owner.parse(found or b"") or "another run"
        self.failure = BadInput(
            f"name is {self._run!r}, in use on {self._link.address.place} by {owner}, which took it when this run's "
            "lock had lapsed; expected one run at a time. This one ends, and its checkpoints are kept."
        )
        raise self.failure


def system() -> str:
    """The same for processes that see each other, and for no others."""
    found = [socket.gethostname()]
    with suppress(OSError):
        found.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        found.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(found)


def _start(pid: int) -> str:
    """When a process began, as the system counts; empty if it has ended, and ? if that cannot be seen."""
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return ""
        stat = Path(f"/proc/{pid}/stat")  # in ticks since the machine was started, which no change of the clock moves
        return stat.read_text().rpartition(")")[2].split()[19] if stat.exists() else str(process.create_time())
    except (psutil.Error, OSError):
        return "?" if psutil.pid_exists(pid) else ""


def _lapse(left: float) -> str:
    return f"its lock lapses in {left:.0f} seconds unless it renews it" if left >= 0 else "its lock never lapses"
