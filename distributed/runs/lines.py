"""The lines of a metrics file, which somebody else may have written: read one by one, and what is wrong with them."""

import bisect
import itertools
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from ...learner.files import fault, open_file
from .saved import LINE, Line

_log = logging.getLogger("innerloop")

LARGEST = 2**32
"""Bytes of a metrics file that is read."""
LONGEST_LINE = 2**20
"""Bytes of a line; ours have two thousand."""
USED = ("iteration", "env_steps", "seconds", "return", "first_episode", "last_episode")
"""Entries that every line has."""
HELD_OUT = "held_out_"
"""Begins the names of what a line has of an evaluation on held-out tasks; most lines are of iterations without one."""
FAULTS_SHOWN = 3
"""Lines that a warning says the fault of."""


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
