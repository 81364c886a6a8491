"""What a run says of itself: one JSON line per iteration, the same in TensorBoard.

A full disk delays what is written, and changes nothing else: it waits in memory until there is room.
"""

import bisect
import io
import itertools
import json
import logging
import math
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json
from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.record_writer import RecordWriter

from ...learner.files import fault, no_link, open_file, write_whole
from .saved import LINE, Line

_log = logging.getLogger("innerloop")

LARGEST = 2**32
"""Bytes of a metrics file that is read."""
LONGEST_LINE = 2**20
"""Bytes of a line; ours have two thousand."""
USED = ("iteration", "env_steps", "seconds", "return", "first_episode", "last_episode")
"""Entries that every line has."""
FAULTS_SHOWN = 3
"""Lines that a warning says the fault of."""


class Journal:
    """`metrics.jsonl` and `tensorboard/` of a run's directory."""

    def __init__(self, directory: Path, version: int) -> None:
        """Args:
        directory: of the run.
        version: what was written of later iterations, before a crash, is dropped: they will be written again. Lines
            that cannot be read stay as they are, with a warning.

        Raises:
            OSError: the directory cannot be written.
            BadInput: its metrics cannot be read.
        """
        file, board = directory / "metrics.jsonl", directory / "tensorboard"
        found = scan(file, version)
        if warning := found.warning(file):
            _log.warning("%s They stay in the file.", warning)
        _cut(file, found.unwanted)
        board.mkdir(exist_ok=True)
        now = time.time()
        self._lines = Tail(file)
        self._events = Tail(board / f"events.out.tfevents.{now:.6f}.{socket.gethostname()}.{os.getpid()}")
        begin = [Event(wall_time=now, file_version="brain.Event:2")]
        if version:  # of what an earlier file has, TensorBoard forgets what comes from this step on
            start = SessionLog(status=SessionLog.SessionStatus.START)
            begin.append(Event(wall_time=now, step=version + 1, session_log=start))
        self._events.append(records(begin))

    def write(self, line: dict[str, Any]) -> None:
        """Add one iteration; `line["iteration"]` counts from 1."""
        self._lines.append(json.dumps(line).encode() + b"\n")
        values = [Summary.Value(tag=name, simple_value=value) for name, value in line.items()]
        self._events.append(
            records([Event(wall_time=time.time(), step=line["iteration"], summary=Summary(value=values))])
        )

    def close(self) -> None:
        """Write what waits, if there is room, and say so if there is none."""
        self._lines.close()
        self._events.close()


def _cut(file: Path, unwanted: list[tuple[int, int]]) -> None:
    """Leave some of its bytes out of a file, and see to it that its last line is whole; nothing is written if it is."""
    before = file.read_bytes() if file.exists() else b""
    starts, ends = [0, *(end for _, end in unwanted)], [*(start for start, _ in unwanted), len(before)]
    after = b"".join(before[start:end] for start, end in zip(starts, ends, strict=True))
    after += b"\n" if after and not after.endswith(b"\n") else b""
    if after != before:
        write_whole(str(file), after)


class Tail:
    """The end of a file that is written to; what does not fit on the disk waits."""

    def __init__(self, path: Path) -> None:
        """Args:
        path: of the file, made if it is not there.

        Raises:
            OSError: it cannot be opened, or is a link, which others may have put there.
        """
        self._path, self._waiting, self._full = path, b"", False
        self._file = open(path, "ab", buffering=0, opener=no_link)  # noqa: SIM115 - until it is closed
        self._end = self._file.tell()

    def append(self, data: bytes) -> None:
        """Add to the file, whole or not yet."""
        self._waiting += data
        try:
            written = self._file.write(self._waiting)
            if written != len(self._waiting):  # the last bytes of a disk
                raise OSError("no space left")
        except OSError as error:
            os.ftruncate(self._file.fileno(), self._end)  # no half of a line stays behind
            if not self._full:
                self._full = True
                _log.warning("%s cannot be written (%s); it waits in memory until it can.", self._path, error)
            return
        self._end += written
        self._waiting = b""
        if self._full:
            self._full = False
            _log.warning("%s is written again; nothing of it is missing.", self._path)

    def close(self) -> None:
        """Try once more."""
        if self._waiting:
            self.append(b"")
        if self._waiting:
            _log.warning("%s lacks its last %d bytes: they could not be written.", self._path, len(self._waiting))
        self._file.close()


def records(events: list[Event]) -> bytes:
    """As they stand in TensorBoard's files."""
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString())
    return buffer.getvalue()


class Scan(NamedTuple):
    """What is in a metrics file."""

    lines: list[Line]
    """That can be used; their iterations increase."""
    faults: list[str]
    """Of every line that is left out, which it is and why."""
    missing: int
    """Iterations before the last that no line is of."""
    unwanted: list[tuple[int, int]]
    """From which byte to which: a last line that was cut short, and lines of iterations that `scan` was not to keep."""

    def warning(self, file: Path) -> str:
        """What the lines do not show, in a sentence; empty if that is nothing."""
        said: list[str] = []
        if self.faults:
            shown = "; ".join(self.faults[:FAULTS_SHOWN]) + ("; …" if len(self.faults) > FAULTS_SHOWN else "")
            said.append(f"{len(self.faults)} of its lines left out ({shown})")
        if self.missing:
            said.append(f"{self.missing} iterations missing")
        return f"{str(file)!r} is damaged: {', '.join(said)}." if said else ""


def read_lines(file: Path) -> list[Line]:
    """The lines of a metrics file, oldest first. A last one that was cut short by a crash is left out (a resumed run
    writes it again); what else cannot be used is left out with a warning.

    Raises:
        BadInput: it is there and cannot be read, or is no file.
    """
    found = scan(file)
    if warning := found.warning(file):
        _log.warning("%s", warning)
    return found.lines


def scan(file: Path, version: int | None = None) -> Scan:
    """Read a metrics file, line by line.

    Args:
        file: need not be there.
        version: the last iteration that is kept; all by default.

    Raises:
        BadInput: it is there and cannot be read, or is no file.
    """
    read: list[tuple[int, Line]] = []
    faults: dict[int, str] = {}
    unwanted: list[tuple[int, int]] = []
    for number, start, end, text, whole in _split(file):
        if not text.strip():
            continue
        line = _parse(text)
        if isinstance(line, str):
            if whole or len(text) > LONGEST_LINE or _is_json(text):
                faults[number] = f"line {number} {line}"
            else:
                unwanted.append((start, end))
        elif version is not None and line["iteration"] > version:
            unwanted.append((start, end))
        else:
            read.append((number, line))
    kept = _increasing([line["iteration"] for _, line in read])
    for index in sorted({*range(len(read))} - {*kept}):
        number, line = read[index]
        faults[number] = f"line {number} is of iteration {line['iteration']}, out of order"
    lines = [read[index][1] for index in kept]
    missing = lines[-1]["iteration"] - len(lines) if lines else 0
    return Scan(lines, [faults[number] for number in sorted(faults)], missing, unwanted)


def _split(file: Path) -> Iterator[tuple[int, int, int, bytes, bool]]:
    """Of each line its number, first byte, byte after the last, text, and whether it is whole. One that is longer than
    any of ours comes without its rest."""
    try:
        stream = open_file(file, repr(str(file)), "the metrics of a run", most=LARGEST)
    except FileNotFoundError:
        return
    with stream:
        end = 0
        for number in itertools.count(1):
            text = rest = stream.readline(LONGEST_LINE + 1)
            start, end = end, end + len(text)
            while not rest.endswith(b"\n") and (rest := stream.readline(LONGEST_LINE)):
                end += len(rest)
            if not text:
                return
            yield number, start, end, text, rest.endswith(b"\n")


def _parse(text: bytes) -> Line | str:
    """A line, or what is wrong with it."""
    if len(text) > LONGEST_LINE:
        return f"has more than {LONGEST_LINE:,} bytes"
    try:
        line: Line = LINE.validate_json(text, strict=True)
    except ValidationError as error:
        return f"cannot be used: {fault(error)}"
    for entry in USED:
        if entry not in line:
            return f"has no {entry}"
    for entry, least in (("iteration", 1), ("env_steps", 0)):
        if not (type(line[entry]) is int and line[entry] >= least):
            return f"has {entry} {line[entry]}"
    return line if 0 <= line["seconds"] < math.inf else f"has seconds {line['seconds']}"


def _is_json(text: bytes) -> bool:
    try:
        from_json(text)
    except ValueError:
        return False
    return True


def _increasing(numbers: list[int]) -> list[int]:
    """Indices of a longest subsequence that increases: what a few numbers out of order leave of a count.

    (Fredman 1975, by patience sorting.)
    """
    ends: list[int] = []  # the least number that ends an increasing subsequence of each length
    last: list[int] = []  # its index
    before: list[int] = []
    for index, number in enumerate(numbers):
        length = bisect.bisect_left(ends, number)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [number]
        last[length : length + 1] = [index]
    found: list[int] = []
    at = last[-1] if last else -1
    while at >= 0:
        found.append(at)
        at = before[at]
    return found[::-1]
