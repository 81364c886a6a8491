"""Options of a trained agent's family, or algorithm, that an evaluation changes: `--family.NAME VALUE`."""

import json
from typing import Any

from ..envs.errors import BadInput, require

KINDS = "family", "algorithm"


def split_overrides(words: list[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The words of a command line without `--family.NAME VALUE` and `--algorithm.NAME VALUE`, and these as values by
    kind and name.

    A value is what JSON makes of it; several, with commas or spaces between them, are a list; else it is text.

    Raises:
        BadInput: an option without a value.
    """
    others: list[str] = []
    given: dict[tuple[str, str], list[str]] = {}
    own: list[str] | None = None
    for word in words:
        kind, dot, rest = word.removeprefix("--").partition(".")
        if word.startswith("--") and dot and kind in KINDS:
            name, equals, value = rest.partition("=")
            own = given.setdefault((kind, name.replace("-", "_")), [])
            own += [value] if equals else []
        elif word.startswith("--"):
            own = None
            others.append(word)
        else:
            (others if own is None else own).append(word)
    found: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for (kind, name), values in given.items():
        if not values:
            raise BadInput(f"--{kind}.{name} has no value; expected one.")
        found[kind][name] = _value(f"--{kind}.{name}", ",".join(values))
    return others, found


def _value(option: str, text: str) -> Any:
    for shown in (text, f"[{text}]"):
        try:
            return json.loads(shown, parse_constant=lambda word: _refuse(option, word))
        except BadInput:
            raise
        except (ValueError, RecursionError):  # no JSON
            continue
    return text


def _refuse(option: str, word: str) -> None:
    require(False, option, word, "a finite number")
