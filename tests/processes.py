"""What a test starts ends with it, whatever happens to the test, and nobody waits longer than a bound.

A process is known by a variable of its environment, which all that it starts inherits: Ray's daemons too, whose parent
may be gone. Its value is a path: a pytest, below it what its tests start. A watcher beside each pytest ends what is
left when that is gone, also after kill -9. Nothing without the mark is ever ended, nor what was not started by the
pytest itself.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import psutil
import pytest

MARK = "INNERLOOP_TEST"
BEGIN_SECONDS = 400.0
"""For whatever has to come up: a server, a Ray on a busy machine, the first lines of a run."""
END_SECONDS = 900.0
"""For a command to end that does its work and then ends by itself."""
LEAVE_SECONDS = 240.0
"""For what has been told to end."""
FAIR = {"RAY_worker_niceness": "0"}
"""At Ray's 15, actors hardly run beside whatever else keeps the cores busy."""
LOOK_SECONDS = 0.5
"""Between two looks of a watcher at whether its pytest is there."""

ENDING_WITH_US = "from multiprocessing", "compile_worker"
"""Helpers of this process, which wait for its end: the resource tracker's, the compiler's."""

_watchers: list[subprocess.Popen] = []  # held: they outlive this process, which is no fault of theirs
_numbers = count()


def marked(mark: str) -> list[psutil.Process]:
    """The living processes with a mark, or one below it, and all that descends from them."""
    known = {process.pid: process for process in psutil.process_iter(["ppid", "status"])}
    found: set[int] = set()
    for pid, process in known.items():
        with suppress(psutil.Error, OSError):
            if f"{process.environ().get(MARK, '')}/".startswith(f"{mark}/"):
                found.add(pid)
    for pid, process in known.items():
        line = [pid]
        while process and process.pid not in found:
            process = known.get(process.info["ppid"])
            line += [process.pid] if process else []
        found |= {*line} if process else set()
    return [known[pid] for pid in found if known[pid].info["status"] != psutil.STATUS_ZOMBIE]


def named(mark: str, *names: str) -> list[psutil.Process]:
    """Those of `marked` that have one of these names; others may end while they are asked for theirs."""
    found = []
    for process in marked(mark):
        with suppress(psutil.NoSuchProcess):
            if process.name() in names:
                found.append(process)
    return found


def end(mark: str) -> None:
    """Kill all processes with a mark; returns when they are gone."""
    until(lambda: not _kill(marked(mark)), LEAVE_SECONDS, lambda: f"will not end: {[*map(told, marked(mark))]}", 0.02)


def _kill(processes: list[psutil.Process]) -> list[psutil.Process]:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    return processes


def told(process: psutil.Process) -> str:
    """What a process is, and which test started it."""
    with suppress(psutil.Error):
        return f"{process.pid} {process.cmdline()[:3]} of {process.environ().get('PYTEST_CURRENT_TEST', 'no test')}"
    return str(process)


def until(
    holds: Callable[[], Any],
    seconds: float = BEGIN_SECONDS,
    what: str | Callable[[], str] = "it did not happen in time",
    pause: float = 0.1,
) -> Any:
    """What `holds` returns, as soon as that is something; `what` is the matter if it is not."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(pause)
    return found


@contextmanager
def spawn(command: list[str], *, env: Mapping[str, str] = os.environ, **options: Any) -> Iterator[psutil.Popen]:
    """A process in a group of its own, as a terminal gives it, that ends with the block, and with it all it started.

    Args:
        command: the program and its arguments.
        env: its environment.
        options: of `subprocess.Popen`.

    Yields:
        The process; its `mark` is its own.
    """
    mark = f"{os.environ[MARK]}/{next(_numbers)}"
    process = psutil.Popen(command, env={**env, MARK: mark}, start_new_session=True, **options)
    process.mark = mark
    try:
        yield process
    finally:
        with suppress(psutil.Error):
            _kill([*process.children(recursive=True), process])  # Redis has written over its environment
        end(mark)
        process.wait()
        for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
            pipe.close()


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself, what it said, and its status."""
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with spawn(command, **piped | options) as process:
        out, said = process.communicate(timeout=END_SECONDS)
        return subprocess.CompletedProcess(command, process.returncode, out, said)


def pytest_configure() -> None:
    """Mark this pytest's processes, give them one directory for what Ray and servers write, and begin the watcher."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; what tests start would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(FAIR)
    outer = os.environ.get(MARK)
    scratch = ""
    if outer is None:  # not one of xdist's workers, nor a pytest that a test starts
        scratch = os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="il-")  # short, as socket paths have to be
    watcher = {**os.environ, MARK: outer or "tests"}
    os.environ[MARK] = mark = f"{outer or 'tests'}/{secrets.token_hex(4)}"
    command = [sys.executable, __file__, str(os.getpid()), mark, scratch]
    nowhere: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    _watchers.append(subprocess.Popen(command, env=watcher, start_new_session=True, **nowhere))


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails when a process has outlived all tests, and names it and its test; ends all at once after Ctrl-C."""
    yield
    mark, left = os.environ[MARK], []

    def gone() -> bool:
        left[:] = [each for each in marked(mark) if not any(name in told(each) for name in ENDING_WITH_US)]
        return not left

    try:
        if request.session.exitstatus == pytest.ExitCode.INTERRUPTED:
            return
        until(gone, LEAVE_SECONDS, lambda: f"outlived the tests: {[*map(told, left)]}")
    finally:
        end(mark)


def watch(pytest_pid: int, mark: str, scratch: str) -> None:
    """End what is left of a pytest when it is gone."""
    parent = psutil.Process(pytest_pid)
    started: set[psutil.Process] = set()  # also such that have lost their mark, as by a title that they gave themselves
    while os.getppid() == pytest_pid:
        with suppress(psutil.Error):
            started |= {*parent.children(recursive=True)} - {psutil.Process()}
        started = {process for process in started if process.is_running()}
        time.sleep(LOOK_SECONDS)
    _kill([*started])
    end(mark)
    if scratch:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2], sys.argv[3] if sys.argv[3:] else "")
