"""Ways in which files are damaged, and what lies in a directory, to be compared."""

import json
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
