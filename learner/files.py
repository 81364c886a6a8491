"""What is read from files: looked at once, here, and either of the expected shape or refused in one sentence."""

import json
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from pydantic import TypeAdapter, ValidationError

from ..envs.errors import BadInput

T = TypeVar("T")

LARGEST = 2**28
"""Bytes of a file that is read whole, unless the caller says otherwise."""


def read(path: str | Path, what: str, expected: str, *, fs: Any = None, most: int = LARGEST) -> bytes:
    """The bytes of a file.

    Args:
        path: of the file, as `fs` takes it.
        what: the file's name in the refusal.
        expected: what should be there, for the refusal.
        fs: an fsspec file system; the local one by default.
        most: bytes.

    Raises:
        FileNotFoundError: it is not there.
        BadInput: it cannot be read, or is larger.
    """
    fs = fs or fsspec.filesystem("file")
    try:
        size = fs.size(str(path))
        if size is not None and size > most:
            raise BadInput(f"{what} has {size} bytes; expected {expected}, of at most {most}.")
        return fs.cat_file(str(path))
    except (BadInput, FileNotFoundError):
        raise
    except Exception as error:  # whatever a file system of fsspec raises
        raise BadInput(f"{what} cannot be read ({reason(error)}); expected {expected}.") from error


def parse(kind: TypeAdapter[T], data: bytes, what: str, expected: str) -> T:
    """JSON of a given shape. Types are compared strictly: a number in quotes is no number.

    Args:
        kind: the shape.
        data: the JSON.
        what: the file's name in the refusal.
        expected: what should be there, for the refusal.

    Raises:
        BadInput: it is no JSON, or of another shape.
    """
    try:
        return kind.validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        fault = f"{where}: {first['msg']}" if where else first["msg"]
        raise BadInput(f"{what} cannot be used ({fault}); expected {expected}.") from None


def to_json(document: Any, indent: int | None = 1) -> bytes:
    """A document as bytes of UTF-8."""
    return json.dumps(document, indent=indent).encode()


def reason(error: BaseException) -> str:
    """The first line of what an error says, with its type where that is not in the text."""
    said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
