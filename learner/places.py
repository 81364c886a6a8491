"""Places that are named by users: each is resolved once, before anything is looked up, deleted or written there."""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ..envs.errors import BadInput, hide_password, require
from .files import reason


class Place(NamedTuple):
    """A directory, or a URL of one, that exactly one name stands for."""

    url: str
    """An absolute path without symbolic links, or a URL."""
    shown: str
    """As it was given, without the password; for sentences."""
    fs: Any
    """Of fsspec."""
    root: str
    """Its path there."""

    @property
    def local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)


def resolve_place(field: str, given: str | Path) -> Place:
    """The place that a path or an fsspec URL stands for.

    Args:
        field: that it was given for, for the refusal.
        given: a path (`~` is the home directory) or a URL.

    Raises:
        BadInput: it cannot be a place.
    """
    text = str(given)
    shown = hide_password(text)
    require(bool(text.strip()), field, shown, "a path, or a URL that fsspec can open")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"{field} is {text!a}; expected a path in UTF-8.") from None
    require(text.isprintable(), field, shown, "a path without control characters")
    if not re.search("://|::", text) or text.startswith(("file://", "local://")):
        path = resolve_path(field, text)
        return Place(str(path), shown, fsspec.filesystem("file"), str(path))
    try:
        fs, root = fsspec.core.url_to_fs(text)
    except Exception as error:  # whatever a file system of fsspec raises
        fault = hide_password(reason(error))
        raise BadInput(f"{field} is {shown!r}; expected a path or a URL that fsspec can open ({fault}).") from None
    return Place(text, shown, fs, root)


def resolve_path(field: str, given: str | Path) -> Path:
    """The absolute path that a local path stands for; `~` is the home directory, symbolic links are followed.

    Raises:
        BadInput: it cannot be a path.
    """
    text = re.sub("^(file|local)://", "", str(given))
    require(bool(text.strip()) and "://" not in text, field, hide_password(text), "a local path")
    path = os.path.expanduser(text)
    require(not path.startswith("~"), field, text, "a path; there is no such user")
    try:
        found = Path(os.path.realpath(path))
    except (OSError, ValueError) as error:  # a NUL
        raise BadInput(f"{field} is {text!r}; expected a path that can be used ({reason(error)}).") from None
    try:
        found.stat()
    except FileNotFoundError:
        pass
    except OSError as error:  # a loop of links, a name that is too long
        raise BadInput(f"{field} is {text!r}; expected a path that can be used ({reason(error)}).") from None
    return found
