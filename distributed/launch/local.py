"""A Ray cluster of our own on this machine: nobody else's, on loopback, begun with patience and ended whole."""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private import ray_constants, services

from ...envs.errors import BadInput, RunFailed, require
from .guard import CLUSTER, end_cluster

START_SECONDS = 120.0
"""For a node to begin; Ray's own 30, fixed in its code, are too few on a busy machine."""
PAUSES = 2.0, 10.0
"""Seconds before another try, when Ray has not started."""
LONGEST_PARENT = 28
"""Bytes of the name of the directory that Ray's may lie in: a socket's whole name may have 107."""
_PATIENT = {
    "RAY_gcs_server_port_wait_time_s": START_SECONDS,
    "RAY_raylet_start_wait_time_s": START_SECONDS,
    "RAY_agent_register_timeout_ms": 1000 * START_SECONDS,
    "RAY_worker_register_timeout_seconds": 2 * START_SECONDS,
}
"""What Ray's processes read from the environment."""
running: set[Path] = set()
"""Directories of the clusters that this process has started and not ended."""

_log = logging.getLogger("innerloop")


class ClusterFailed(RunFailed):
    """Ray did not start, or its cluster died under a run."""


@contextlib.contextmanager
def own_cluster(cpus: int, *, dashboard: bool = False) -> Iterator[Any]:
    """Start Ray, be its driver, and end it with the block; yields what `ray.init` returns.

    Raises:
        BadInput: there is no place for Ray's files.
        ClusterFailed: Ray does not start, also not when it is tried again.
    """
    given = {"num_cpus": cpus, "include_dashboard": dashboard, "log_to_driver": False, "logging_level": "ERROR"}
    context, directory = _begin(given | {"configure_logging": True})
    running.add(directory)
    try:
        yield context
    finally:
        _end(directory)
        running.discard(directory)


def abandon() -> None:
    """End the clusters that this process has started, without asking Ray, which cannot be asked any more."""
    for directory in [*running]:
        end_cluster(str(directory))


def own_directory() -> Path:
    """Make a directory that only this user can enter, for a cluster's files and sockets; the caller removes it.

    Ray's own directory goes into it: Ray makes that writable by everybody, even where it exists already.

    Raises:
        BadInput: it cannot be made where RAY_TMPDIR says.
    """
    named = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"
    parent = os.path.abspath(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    if len(os.fsencode(parent)) > LONGEST_PARENT:
        expected = f"a directory whose name has at most {LONGEST_PARENT} bytes, because sockets lie in it"
        require(named != "RAY_TMPDIR", named, parent, expected)
        parent = "/tmp"
    try:
        return Path(tempfile.mkdtemp(prefix="ray-", dir=parent))
    except OSError as error:
        raise BadInput(f"{named} is {parent!r}; expected a directory that can be written ({error}).") from error


def _begin(options: dict[str, Any]) -> tuple[Any, Path]:
    """What `ray.init` returns, and the directory that Ray's lies in."""
    for pause in (*PAUSES, None):
        directory = own_directory()
        try:
            with patience(), on_loopback(), _ended_by_sigterm(), _marked(directory):
                return ray.init(address="local", _temp_dir=str(directory / "r"), **options), directory
        except Exception as error:  # Ray raises bare ones
            _end(directory, keep=pause is None)
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            if pause is None:
                raise ClusterFailed(f"Ray does not start ({reason}). Its logs are kept in {directory}.") from error
            _log.warning("Ray did not start (%s). It is tried again in %g seconds.", reason, pause)
            time.sleep(pause)
        except BaseException:
            _end(directory)
            raise
    raise AssertionError


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Let nodes take longer to begin than Ray's code does."""
    for name, value in _PATIENT.items():
        os.environ.setdefault(name, f"{value:.0f}")
    ask = services.get_node

    def ask_patiently(address: str, node: str) -> dict[str, Any]:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                return ask(address, node)
            except RuntimeError:  # it has not announced itself
                if time.monotonic() > end or not any(map(_is_living_raylet, psutil.Process().children())):
                    raise
            time.sleep(0.1)

    longer = replaced(ray_constants, "RAY_DASHBOARD_STARTUP_TIMEOUT_S", START_SECONDS)
    with longer, replaced(services, "get_node", ask_patiently):
        yield


def _is_living_raylet(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() == "raylet" and process.status() != psutil.STATUS_ZOMBIE
    return False


@contextlib.contextmanager
def _marked(directory: Path) -> Iterator[None]:
    """What is started within the block can be found again, also without its parent and under another title."""
    os.environ[CLUSTER] = str(directory)
    try:
        yield
    finally:
        del os.environ[CLUSTER]


def on_loopback() -> contextlib.AbstractContextManager[None]:
    """Ray's ports listen on loopback alone when the node's address is that; on Linux it will not take it otherwise."""
    return replaced(ray_constants, "ENABLE_RAY_CLUSTER", False)


@contextlib.contextmanager
def replaced(place: Any, name: str, value: Any) -> Iterator[None]:
    """Another value for an attribute within the block."""
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Until Ray has started, SIGTERM would leave what has."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(directory: Path, *, keep: bool = False) -> None:
    """End a cluster whose files are in a directory, which is removed unless it is to be kept."""
    with contextlib.suppress(Exception):
        ray.shutdown()
    end_cluster(str(directory), keep=keep)
