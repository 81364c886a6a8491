"""Whose a directory is: a lock that belongs to a living process, on this machine or on another that shares the disk.

The lock is a file that names host, process and its start, and is touched while that process lives. On the same host a
process that is gone gives it up at once; from another host it has lapsed when it was not touched for `LEASE_S`.
"""

import contextlib
import logging
import os
import socket
import time
from pathlib import Path

import filelock

from ...envs.errors import BadInput, RunFailed
from ...learner.files import reason

LOCK = ".lock"
"""The file's name."""
LEASE_S = 60.0
"""Seconds without a touch after which the lock of a process on another host has lapsed."""
NAME_S = 2.0
"""Seconds until the holder of a lock that was just taken is named in its file, at most."""
POLL_S = 0.5
"""Seconds between looks at a lock that another host holds."""


class LockLost(RunFailed):
    """Another process may hold the directory now."""


class DirectoryLock:
    """Held from `acquire` to `release`; gone when the process is."""

    def __init__(self, field: str, directory: Path, shown: str) -> None:
        """Args:
        field: that the directory was given for, for the refusal.
        directory: an absolute path; made if need be.
        shown: the directory, as it was given.
        """
        self._field, self._directory, self._shown = field, directory, shown
        self._lock = filelock.SoftFileLease(directory / LOCK, lease_duration=LEASE_S, thread_local=False)
        self._made: list[Path] = []
        """Directories that were not there before, the innermost first."""

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            BadInput: a living process holds it, or the directory cannot be written.
        """
        self._made = [each for each in (self._directory, *self._directory.parents) if not each.exists()]
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except filelock.Timeout:
                self._outwait()
        except OSError as error:
            self._unmake()
            raise BadInput(
                f"{self._field} is {self._shown!r}; expected a directory that can be written ({reason(error)})."
            ) from error
        except BaseException:
            self._unmake()
            raise

    @property
    def lost(self) -> bool:
        """This process stood still for so long that another took over."""
        return self._lock.compromise is not None

    def check(self) -> None:
        """Raises:
        LockLost: this process stood still for so long that another took over.
        """
        if self.lost:
            raise LockLost(
                f"{self._field} is {self._shown!r}, whose lock this process no longer holds; another process may be "
                "going on with the run, and nothing more is written."
            )

    def release(self) -> None:
        """Give the lock up; a directory that was made for it and is empty is removed again."""
        with contextlib.suppress(OSError):
            self._lock.release()
        self._unmake()

    def _outwait(self) -> None:
        """Refuse, unless the holder is on another host and turns out to be gone."""
        owner = self._lock.owner
        if owner is None or owner.hostname == socket.gethostname():
            raise self._held()
        seen, end = self._touched(), time.monotonic() + LEASE_S + 2 * POLL_S
        logging.getLogger("innerloop").warning(
            "%s is held by process %d on %s; waiting up to %.0f s to see whether it still lives.",
            self._shown, owner.pid, owner.hostname, LEASE_S,
        )  # fmt: skip
        while time.monotonic() < end:
            try:
                self._lock.acquire(timeout=POLL_S)
                return
            except filelock.Timeout:
                if self._touched() != seen:
                    break
        raise self._held()

    def _touched(self) -> int:
        try:
            return os.stat(self._directory / LOCK).st_mtime_ns
        except FileNotFoundError:
            return 0

    def _held(self) -> BadInput:
        end = time.monotonic() + NAME_S
        while (owner := self._lock.owner) is None and time.monotonic() < end:
            time.sleep(0.01)
        who = f"process {owner.pid} on {owner.hostname} uses" if owner else f"another process uses (see {LOCK} in it)"
        return BadInput(f"{self._field} is {self._shown!r}, which {who}; expected a directory that no living run uses.")

    def _unmake(self) -> None:
        for directory in self._made:
            with contextlib.suppress(OSError):  # something is in it
                directory.rmdir()
