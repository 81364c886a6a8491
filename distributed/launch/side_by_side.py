"""Processes side by side, one for each of several runs or cells of a table; none of them outlives this one."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from ...envs.errors import FULL, BadInput
from ...learner.files import no_link, plain, reason
from .stopping import Interrupted, stop_signals

STOP_SECONDS = 120.0
"""How long those that are asked to stop may take to save their state."""
LOOK_SECONDS = 0.2
"""Between looks at them."""

Process = subprocess.Popen[bytes]


def side_by_side(
    afters: Mapping[str, str], at_once: int, command: Callable[[str], tuple[list[str], Path]]
) -> list[str]:
    """Run the command of every one, `at_once` at a time. Ctrl-C and SIGTERM ask all of them to stop; a second one, or
    too long a time, ends them.

    Args:
        afters: its name, to that of the one that must be done before it; empty for none.
        at_once: processes.
        command: of one, and its log.

    Returns:
        Those whose process failed.

    Raises:
        BadInput: a log cannot be written.
        Interrupted: they were asked to stop, and have.
    """
    waiting, running, failed = [*afters], dict[str, Process](), list[str]()
    logs: dict[str, Path] = {}
    try:
        with stop_signals() as stopping:
            while (running or waiting) and not stopping.is_set():
                for cell in [each for each in waiting if afters[each] not in {*waiting, *running}]:
                    if len(running) < at_once:
                        waiting.remove(cell)
                        arguments, logs[cell] = command(cell)
                        running[cell] = _begin(arguments, logs[cell])
                        _say(f"{cell}: begun, its log is {logs[cell]}")
                for cell, process in [*running.items()]:
                    if process.poll() is not None:
                        _end([running.pop(cell)])  # what it may have left behind
                        failed += [cell] if process.returncode else []
                        _say(f"{cell}: {f'failed: {last_line(logs[cell])}' if process.returncode else 'done'}")
                stopping.wait(LOOK_SECONDS)
            if stopping.is_set():
                _end(running.values())
                raise Interrupted(0)
    except KeyboardInterrupt:
        _end(running.values(), patience=0.0)
        running.clear()
        raise
    finally:
        _end(running.values())
    return failed


def _begin(arguments: list[str], log: Path) -> Process:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab", opener=no_link) as file:
            return subprocess.Popen(arguments, stdout=file, stderr=file, start_new_session=True)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise BadInput(f"the log is {str(log)!r}; expected a file that can be written ({reason(error)}).") from None


def _end(processes: Collection[Process], patience: float | None = None) -> None:
    """Ask them to stop, wait, and end those that have not; with all that is of their process groups."""
    end = time.monotonic() + (STOP_SECONDS if patience is None else patience)
    try:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        _say("one has not stopped in time, and is ended")
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def last_line(file: Path) -> str:
    """What a log ends with."""
    with file.open("rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - 2**16))
        text = log.read().decode(errors="replace")
    return plain((text.strip().splitlines() or ["nothing"])[-1])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
