"""Ways in which files are damaged, and what lies in a directory, to be compared."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def tree(place: Path) -> dict[str, Any]:
    """Everything that is there, byte by byte; of large files the size."""
    return {
        str(file.relative_to(place)): (
            os.readlink(file) if file.is_symlink()
            else file.read_bytes() if file.is_file() and file.stat().st_size < 2**24
            else file.lstat().st_size if file.is_file() else file.lstat().st_mode
        )
        for file in sorted(place.rglob("*"))
    }  # fmt: skip


def changed(entry: str, value: Any, *, drop: bool = False) -> Callable[[Path], None]:
    """One entry of a JSON file; dots lead into it."""

    def change(file: Path) -> None:
        document = where = json.loads(file.read_text())
        *path, last = entry.split(".")
        for key in path:
            where = where[int(key)] if isinstance(where, list) else where[key]
        if drop:
            del where[last]
        else:
            where[last] = value
        file.write_text(json.dumps(document))

    return change


def replaced(data: bytes) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(data) and None


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        file.unlink()
        make(file)

    return change


def sparse(file: Path) -> None:
    with file.open("wb") as handle:
        handle.truncate(10 * 2**30)


ANY_JSON: dict[str, Callable[[Path], None]] = {
    "empty": lambda file: file.write_bytes(b"") and None,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-40]) and None,
    "a list": replaced(b"[]"),
    "a number": replaced(b"1"),
    "deep": replaced(b"[" * 100_000),
    "deep objects": replaced(b'{"episodes":' * 100_000),
    "not UTF-8": replaced(b'{"\xff": 1}'),
    "binary": replaced(bytes(range(256))),
    "huge": instead(sparse),
    "a directory": instead(Path.mkdir),
    "a pipe": instead(os.mkfifo),
    "a device": instead(lambda file: file.symlink_to("/dev/zero")),
    "a loop of links": instead(lambda file: file.symlink_to(file.name)),
}
CONFIG = ANY_JSON | {
    "no episodes": changed("episodes", None, drop=True),
    "text for episodes": changed("episodes", "5"),
    "half an episode": changed("episodes", 2.5),
    "true": changed("episodes", True),
    "no episode": changed("episodes", 0),
    "fewer than none": changed("episodes", -1),
    "beyond 64 bits": changed("episodes", 2**64),
    "no run": changed("run", None, drop=True),
    "a list for the run": changed("run", []),
    "no iterations": changed("run.iterations", 0),
    "NaN minutes": changed("run.minutes", math.nan),
    "negative minutes": changed("run.minutes", -1.0),
    "a number for the name": changed("run.name", 5),
    "text for the family": changed("family", "point-navigation"),
    "a family without a name": changed("family", {}),
}
METRICS = {name: ANY_JSON[name] for name in ANY_JSON if name != "cut"} | {  # a cut one is in test_journal
    "not there": Path.unlink,
    "no line": replaced(b"\n\n"),
    "no line that can be used": replaced(b"{}\n[]\nx\n"),
}
