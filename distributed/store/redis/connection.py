"""The way to a Redis server: patience while it does not answer, and one sentence for what waiting does not mend.

The password is in none of the texts made here."""

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import redis
from redis import exceptions

from ....envs.errors import BadInput
from ...launch.access import is_loopback
from .address import PASSWORD, Address

T = TypeVar("T")

PAUSES = 0.05, 1.0
"""Seconds between tries: the first pause, doubled up to the last."""
OLDEST = 6, 2
"""The server's version."""
NEARLY_FULL = 0.95
"""Share of the server's memory in use."""
CALM = 10.0
"""Seconds that a server must have room before that is said."""
REFUSING = 10.0
"""Seconds for which a server that has refused a write counts as refusing: whoever waits has tried again by then."""

_PASSING = exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ReadOnlyError, exceptions.ClusterDownError
_UNWELL = ("MISCONF", "BUSY ", "NOREPLICAS", "UNBLOCKED")
"""How answers begin that a server gives while it is not well."""

_log = logging.getLogger("innerloop")


class Stopped(Exception):
    """Told to stop while waiting."""


def is_full(error: redis.RedisError) -> bool:
    """Whether a command was refused because the server has no memory left."""
    aborted = isinstance(error, exceptions.ExecAbortError) and "OOM" in str(error)
    return aborted or isinstance(error, exceptions.OutOfMemoryError)


class Condition:
    """A state that is worth a line in the log when it begins, and one when it is over."""

    def __init__(self, over: str) -> None:
        self._over, self.on = over, False
        self._last = 0.0
        self._lock = threading.Lock()

    def begin(self, sentence: str) -> None:
        """It is so; said once."""
        with self._lock:
            if not self.on:
                _log.warning("%s", sentence)
            self.on, self._last = True, time.monotonic()

    def end(self, calm: float = 0.0) -> None:
        """It is not so; said once, when it has not been so for some seconds."""
        with self._lock:
            if self.on and time.monotonic() - self._last >= calm:
                self.on = False
                _log.warning("%s", self._over)


class Link:
    """A client of one server, with patience. Pickled, it is the address alone."""

    def __init__(self, address: Address, who: str = "the run") -> None:
        """Args:
        address: of the server.
        who: waits when it does not answer.
        """
        self.address, self._who = address, who
        self.client = address.connect()
        self.away = Condition(f"{address.place} answers again; {who} goes on.")
        self.full = Condition(f"{address.place} has room again.")
        self._refused, self._refused_at = -1, -REFUSING

    @property
    def refusing(self) -> bool:
        """Whether writes are refused now, ours or somebody else's, because the server is full."""
        return time.monotonic() - self._refused_at < REFUSING

    def __reduce__(self) -> tuple[type["Link"], tuple[Address, str]]:
        return Link, (self.address, self._who)

    def once(self, action: Callable[[redis.Redis], T]) -> T:
        """What the action gives; waits only while a server that has just started loads its data.

        Raises:
            BadInput: whatever went wrong, in one sentence.
        """
        while True:
            try:
                result = action(self.client)
            except exceptions.BusyLoadingError:
                self.away.begin(f"{self.address.place} still loads its data; {self._who} waits.")
                time.sleep(PAUSES[1])
            except redis.RedisError as error:
                self._raise_unless_passing(error)
                self._refuse(f"which cannot be reached ({self._reason(error)})", "a Redis server (rediss:// with TLS)")
            except Exception:  # the client's own, about an answer of another kind
                self._raise_unless_passing(exceptions.InvalidResponse())
            else:
                self.away.end()
                return result

    def patiently(self, action: Callable[[redis.Redis], T], stop: threading.Event) -> T:
        """What the action gives, when the server answers and has room for it, however long that takes.

        Args:
            action: is tried again from its beginning.
            stop: ends the waiting.

        Raises:
            Stopped: `stop` was set.
            BadInput: what waiting does not mend, in one sentence.
        """
        pause, last = PAUSES
        while not stop.is_set():
            try:
                result = action(self.client)
            except redis.RedisError as error:
                self.notice(error)
            else:
                self.away.end()
                return result
            stop.wait(pause)
            pause = min(2 * pause, last)
        raise Stopped

    def notice(self, error: redis.RedisError) -> None:
        """Log what waiting mends.

        Raises:
            BadInput: it does not.
        """
        place = self.address.place
        if is_full(error):
            self._refused_at = time.monotonic()
            self.full.begin(f"{place} is full; {self._who} waits for room. It may need more memory (maxmemory).")
            return
        self._raise_unless_passing(error)
        self.away.begin(f"no answer from {place}; {self._who} waits ({self._reason(error)}).")

    def look(self) -> None:
        """Say when the server's memory is nearly used up, or was too small for somebody, and when there is room."""
        server: dict[str, Any] = self.client.info()  # pyright: ignore[reportAssignmentType]
        limit, used = server.get("maxmemory", 0), server.get("used_memory", 0)
        refused = server.get("errorstat_OOM", {}).get("count", 0)
        if refused > self._refused >= 0:
            self._refused_at = time.monotonic()
        if (limit and used >= NEARLY_FULL * limit) or refused > self._refused >= 0:
            self.full.begin(
                f"{self.address.place} is full, or nearly ({used / 2**20:.1f} of {limit / 2**20:.1f} MiB used); "
                f"{self._who} waits for room. It may need more memory (maxmemory)."
            )
        else:
            self.full.end(CALM)
        self._refused = refused

    def _raise_unless_passing(self, error: redis.RedisError) -> None:
        """Raise what waiting does not mend."""
        who = exceptions.AuthenticationError, exceptions.AuthorizationError
        if isinstance(error, (*who, exceptions.AuthenticationWrongNumberOfArgsError)):
            if self.address.password is None:
                self._refuse("which asks for a password", f"one in the URL, or in {PASSWORD}")
            self._refuse("which refuses this user and password", "those of one of its users")
        if isinstance(error, exceptions.NoPermissionError):
            self._refuse(f"which refuses a command ({self._reason(error)})", "a user who may use innerloop:* there")
        if isinstance(error, exceptions.InvalidResponse):
            self._refuse("where something answers that is not Redis", "a Redis server (rediss:// if it speaks TLS)")
        if not isinstance(error, _PASSING) and not self._reason(error).startswith(_UNWELL):
            self._refuse(f"which refuses a command ({self._reason(error)})", "a Redis server that takes it")

    def _reason(self, error: redis.RedisError) -> str:
        """What the server or the client says, without the password and the command."""
        text = str(error).rpartition("caused error: ")[2].strip().rstrip(".")
        secret = self.address.password
        return text.replace(secret, "…") if secret else text

    def _refuse(self, fault: str, expected: str) -> NoReturn:
        raise BadInput(f"store is {str(self.address)!r}, {fault}; expected {expected}.") from None


def examine(link: Link, capacity: int) -> None:
    """Look whether a server can be used, before a run begins.

    Args:
        link: to it.
        capacity: bytes that the run will keep there.

    Raises:
        BadInput: in one sentence, why not.
    """
    url = f"store is {str(link.address)!r}"
    if not link.address.password and not is_loopback(link.address.host):
        raise BadInput(f"{url}, on another machine and without a password; expected one in the URL, or in {PASSWORD}.")
    server: dict[str, Any] = link.once(lambda client: client.info())  # pyright: ignore[reportAssignmentType]
    version, oldest = str(server.get("redis_version", "")), ".".join(map(str, OLDEST))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if not numbers or (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise BadInput(f"{url}, which is Redis {version}; expected {oldest} or newer.")
    limit, policy = server.get("maxmemory", 0), server.get("maxmemory_policy", "noeviction")
    if limit and policy != "noeviction":
        raise BadInput(f"{url}, whose maxmemory-policy {policy} would lose data; expected noeviction.")
    if limit and capacity > limit:
        raise BadInput(f"{url}, whose maxmemory is {limit} bytes; expected room for the replay, {capacity} bytes.")
    if server.get("aof_enabled") == 0:
        _log.warning("%s does not log to disk (appendonly no): what it holds goes with it.", link.address.place)
