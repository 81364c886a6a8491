"""From a name to the thing it names: the known ones, or any `package.module:attribute`."""

import difflib
import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from .errors import BadInput


def resolve(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    """Look `name` up among the known ones; a name with a colon is imported instead.

    The working directory is searched for plug-ins too, as `python -m` would.

    Args:
        kind: what is looked for, as it stands in the error ("family", "algorithm", "memory").
        name: a key of `known`, or `package.module:attribute`.
        known: the registry.

    Raises:
        BadInput: no such name (the message lists the known ones and the closest), or no such module or attribute.
    """
    if name in known:
        return known[name]
    if ":" not in name:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        names = ", ".join(sorted(known))
        raise BadInput(f"{kind} is {name!r}; expected one of {names}, or a plug-in as package.module:attribute.{hint}")
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever the plug-in's own code raises
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BadInput(f"{kind} is {name!r}; expected an importable package.module:attribute ({reason}).") from error
    return found
