"""What a run says of itself: one JSON line per iteration, the same in TensorBoard.

A full disk delays what is written, and changes nothing else: it waits in memory until there is room.
"""

import io
import json
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.record_writer import RecordWriter

from ...learner.files import no_link, write_whole
from .lines import scan

_log = logging.getLogger("innerloop")


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
