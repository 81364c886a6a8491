"""What is read from files: looked at once, here, and either of the expected shape or refused in one sentence."""

import contextlib
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

from fsspec.implementations.local import LocalFileSystem
from pydantic import Field, PlainValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from ..envs.errors import LONGEST, BadInput

T = TypeVar("T")

LARGEST = 2**28
"""Bytes of a file that is read whole, unless the caller says otherwise."""


def _number(given: Any) -> float:
    if type(given) is float or (type(given) is int and -(2**63) <= given < 2**63):
        return given
    raise PydanticCustomError("number", "Input should be a number of at most 64 bits")


def _finite(given: Any) -> float:
    if abs(_number(given)) < float("inf"):
        return given
    raise PydanticCustomError("finite", "Input should be a finite number")


Count = Annotated[int, Field(ge=0, lt=2**63)]
"""A whole number of at least 0."""
Number = Annotated[float, PlainValidator(_number)]
"""A whole number stays one; NaN and infinities, which Python writes, are numbers."""
Finite = Annotated[float, PlainValidator(_finite)]
"""A number that is neither NaN nor infinite."""


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
        BadInput: it cannot be read, is no file, or is larger.
    """
    if fs is None or isinstance(fs, LocalFileSystem):
        with open_file(path, what, expected, most=most) as file:
            return _read(file, what, expected, most)
    try:
        size = fs.size(str(path))
        if size is None:
            with fs.open(str(path), "rb") as file:
                return _read(file, what, expected, most)
        _bound(size, what, expected, most)
        data: bytes = fs.cat_file(str(path))
    except (BadInput, FileNotFoundError):
        raise
    except Exception as error:  # whatever a file system of fsspec raises
        raise BadInput(f"{what} cannot be read ({reason(error)}); expected {expected}.") from error
    _bound(len(data), what, expected, most)
    return data


def no_link(path: str, flags: int) -> int:
    """For `open` as its `opener`, where a file is added to: others may have put a link in its place."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def open_file(path: str | Path, what: str, expected: str, *, most: int = LARGEST) -> BinaryIO:
    """A local file, open for reading. What would wait for a writer, or never end, is not opened: pipes, devices.

    Raises:
        FileNotFoundError: it is not there.
        BadInput: it cannot be read, is no file, or is larger.
    """
    try:
        _regular(os.stat(path), what, expected)
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (BadInput, FileNotFoundError):
        raise
    except (OSError, ValueError) as error:  # no permission, a loop of links, a NUL in its name
        raise BadInput(f"{what} cannot be read ({reason(error)}); expected {expected}.") from error
    file = os.fdopen(handle, "rb")
    try:
        about = os.fstat(handle)
        _regular(about, what, expected)  # it may be another one by now
        _bound(about.st_size, what, expected, most)
    except BaseException:
        file.close()
        raise
    return file


def _regular(about: os.stat_result, what: str, expected: str) -> None:
    if not stat.S_ISREG(about.st_mode):
        kind = "a directory" if stat.S_ISDIR(about.st_mode) else "a pipe, a socket or a device"
        raise BadInput(f"{what} is {kind}; expected {expected}.")


def _bound(size: int, what: str, expected: str, most: int) -> None:
    if size > most:
        raise BadInput(f"{what} has {size} bytes; expected {expected}, of at most {most}.")


def _read(file: BinaryIO, what: str, expected: str, most: int) -> bytes:
    try:
        data = file.read(most + 1)
    except OSError as error:  # a disk that fails
        raise BadInput(f"{what} cannot be read ({reason(error)}); expected {expected}.") from error
    _bound(len(data), what, expected, most)
    return data


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
        raise BadInput(f"{what} cannot be used ({fault(error)}); expected {expected}.") from None


def fault(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return plain(f"{where}: {first['msg']}" if where else first["msg"])


def read_json(kind: TypeAdapter[T], path: str | Path, expected: str, *, most: int = LARGEST) -> T:
    """`read` and `parse` of a local file, which goes by its path in the refusal.

    Raises:
        FileNotFoundError: it is not there.
        BadInput: it cannot be used.
    """
    what = repr(str(path))
    return parse(kind, read(path, what, expected, most=most), what, expected)


def to_json(document: Any, indent: int | None = 1) -> bytes:
    """A document as bytes of UTF-8."""
    return json.dumps(document, indent=indent).encode()


def reason(error: BaseException) -> str:
    """The first line of what an error says, with its type where that is not in the text."""
    said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    if isinstance(error, OSError) and error.strerror:
        return plain(error.strerror)
    return plain(f"{type(error).__name__}: {said}" if said else type(error).__name__)


def plain(text: object, most: int = LONGEST) -> str:
    """A text of others as one short line for a terminal: no control characters, which could move its cursor."""
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(text)[: most + 1])
    return shown if len(shown) <= most else f"{shown[:most]}…"


def write_whole(path: str | Path, data: bytes) -> None:
    """Write a local file so that at any moment it is either as before or complete, on disk too."""
    temporary = f"{path}.{secrets.token_hex(8)}.part"
    # Exclusively, and not through a link: others may be able to write to the directory.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
