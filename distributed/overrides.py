"""Options of a trained agent's family that an evaluation changes: `--family.NAME VALUE`."""

import json
from typing import Any

from ..envs.errors import BadInput, require

PREFIX = "--family."


def split_overrides(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The words of a command line without `--family.NAME VALUE`, and these as values by name.

    A value is what JSON makes of it; several, with commas or spaces between them, are a list; else it is text.

    Raises:
        BadInput: an option without a value.
    """
    others: list[str] = []
    given: dict[str, list[str]] = {}
    own: list[str] | None = None
    for word in words:
        if word.startswith(PREFIX):
            name, equals, value = word.removeprefix(PREFIX).partition("=")
            own = given.setdefault(name.replace("-", "_"), [])
            own += [value] if equals else []
        elif word.startswith("--"):
            own = None
            others.append(word)
        else:
            (others if own is None else own).append(word)
    for name, values in given.items():
        if not values:
            raise BadInput(f"{PREFIX}{name} has no value; expected one.")
    return others, {name: _value(name, ",".join(values)) for name, values in given.items()}


def _value(name: str, text: str) -> Any:
    for shown in (text, f"[{text}]"):
        try:
            value = json.loads(shown, parse_constant=lambda word: _refuse(name, word))
        except (ValueError, RecursionError) as error:
            if isinstance(error, BadInput):
                raise
            continue
        return value
    return text


def _refuse(name: str, word: str) -> None:
    require(False, f"{PREFIX}{name}", word, "a finite number")
