"""From a name to the thing it names: the known ones, or any `package.module:attribute`.

A plug-in is code. One that the user names is imported; one that a saved run names only where the user names it again,
or trusts the run, and never from inside the run's own directory.
"""

import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from .errors import BadInput, raised_by


class Saved(NamedTuple):
    """A saved configuration that is being read."""

    directory: Path | None
    """Of the run, where it is a local one."""
    trusted: bool | Collection[str]
    """Whether its plug-ins may be imported, or the names of those that may."""


_SAVED: ContextVar[Saved | None] = ContextVar("saved", default=None)


@contextmanager
def reading_saved(directory: Path | None, trusted: bool | Collection[str]) -> Iterator[None]:
    """While this lasts, names come from a saved run and not from the user.

    Args:
        directory: of the run, where it is a local one: nothing is imported from inside it.
        trusted: whether its plug-ins may be imported, or the names of those that may.
    """
    token = _SAVED.set(Saved(directory, trusted))
    try:
        yield
    finally:
        _SAVED.reset(token)


def resolve(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    """Look `name` up among the known ones; a name with a colon is imported instead.

    The working directory is searched for plug-ins too, as `python -m` would.

    Args:
        kind: what is looked for, as it appears in the error ("family", "algorithm", "memory").
        name: a key of `known`, or `package.module:attribute`.
        known: the registry.

    Raises:
        BadInput: no such name (the message lists the known ones and the closest), no such module or attribute, or a
            plug-in that a saved run names and nobody trusts.
    """
    if name in known:
        return known[name]
    if ":" not in name:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        names = ", ".join(sorted(known))
        raise BadInput(f"{kind} is {name!r}; expected one of {names}, or a plug-in as package.module:attribute.{hint}")
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise BadInput(f"{kind} is {name!r}; expected an importable package.module:attribute (it is no such name).")
    saved = _SAVED.get()
    if saved and saved.trusted is not True and (saved.trusted is False or name not in saved.trusted):
        again = f"--{kind} {name}, or --trust-plugins" if kind in ("family", "algorithm") else "--trust-plugins"
        raise BadInput(
            f"{kind} is {name!r}, a plug-in that the saved run names; expected {again} "
            "(from Python: trust_plugins=True), because importing it runs its code."
        )
    try:
        found = _imported(kind, name, module, saved.directory if saved else None)
        for part in attribute.split("."):
            found = getattr(found, part)
    except BadInput:
        raise
    except (Exception, SystemExit) as error:  # whatever the plug-in's own code raises
        raise BadInput(
            f"{kind} is {name!r}; expected an importable package.module:attribute ({raised_by(error)})."
        ) from error
    return found


def _imported(kind: str, name: str, module: str, forbidden: Path | None) -> Any:
    """The module, imported package by package; nothing inside the forbidden directory is executed."""
    here = Path.cwd()
    if str(here) not in sys.path and not _inside(here, forbidden):
        sys.path.insert(0, str(here))
    found = None
    for end, _ in enumerate(parts := module.split("."), 1):
        path = ".".join(parts[:end])
        spec = None if path in sys.modules else importlib.util.find_spec(path)
        places = (
            [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.has_location else [])] if spec else []
        )
        if any(_inside(Path(place), forbidden) for place in places if place):
            raise BadInput(
                f"{kind} is {name!r}, which lies in the run's own directory; expected a plug-in outside of it."
            )
        found = importlib.import_module(path)
    return found


def _inside(path: Path, directory: Path | None) -> bool:
    if directory is None:
        return False
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory))
