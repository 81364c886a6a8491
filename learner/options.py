"""Options of families and algorithms: fields of a dataclass, constructed from plain values that come from outside."""

import dataclasses
import difflib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ..envs.api import TaskFamily
from ..envs.errors import BadInput, brief, raised_by, require
from ..envs.registry import resolve
from .api import Algorithm


def options_of(thing: object) -> dict[str, Any]:
    """The fields of a dataclass instance as JSON has them, tuples as lists; nothing for any other object."""
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type) and is_configurable(type(thing)):
        return {field.name: _plain(getattr(thing, field.name)) for field in dataclasses.fields(thing)}
    return {}


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def is_configurable(found: object) -> bool:
    """A dataclass type whose every field has a default: its fields are options."""
    return isinstance(found, type) and all(
        field.default is not dataclasses.MISSING
        for field in (dataclasses.fields(found) if dataclasses.is_dataclass(found) else ())
    )


def construct(kind: str, name: str, known: Mapping[str, Callable[..., Any]], options: Mapping[str, Any]) -> Any:
    """Make the thing that `name` names, with its options. A plug-in may also name a finished object, without options.

    Raises:
        BadInput: the name or an option is not known, or a value has the wrong type or range.
    """
    found = resolve(kind, name, known)
    if isinstance(found, type) and name not in known and kind in _PROTOCOLS:
        # Looked at before it is called: not every class that can be named is harmless to make.
        methods = [part for part in _parts(kind) if callable(getattr(_PROTOCOLS[kind], part, None))]
        missing = [part for part in methods if not callable(getattr(found, part, None))]
        require(not missing, kind, name, f"a class with {', '.join(missing)}, or a finished object")
    if isinstance(found, type) and dataclasses.is_dataclass(found):
        fields = {field.name: field for field in dataclasses.fields(found)}
        for option in options:
            if option not in fields:
                raise unknown_option(option, [*fields], f"{kind} {name!r}")
        options = {option: parse_option(found, fields[option], given) for option, given in options.items()}
    elif options:
        raise unknown_option(next(iter(options)), [], f"{kind} {name!r}")
    try:
        return found(**options) if isinstance(found, type) else found
    except BadInput:
        raise
    except TypeError as error:
        raise BadInput(f"{kind} is {name!r}; expected a class whose arguments all have defaults ({error}).") from error
    except Exception as error:  # whatever a plug-in's own code raises
        raise BadInput(f"{kind} is {name!r}; expected a class that can be made ({raised_by(error)}).") from error


def unknown_option(option: str, known: list[str], where: str) -> BadInput:
    """The error for an option that `where` does not have."""
    close = difflib.get_close_matches(option, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return BadInput(f"{option!r} is not an option of {where}; expected one of {', '.join(known) or 'none'}.{hint}")


def parse_option(owner: type, field: dataclasses.Field, given: Any) -> Any:
    """The value of an option: of its default's type, or, where the default does not tell (None, a tuple), of the
    annotation's; a list, which is what JSON makes of a tuple, becomes one again.

    Raises:
        BadInput: naming the option.
    """
    if field.default is dataclasses.MISSING:
        return given
    try:
        hint = get_type_hints(owner)[field.name]
    except Exception as error:  # a plug-in's own annotations
        expected = f"one that can be resolved ({raised_by(error)})"
        raise BadInput(f"the type of {field.name} is {brief(field.type)}; expected {expected}.") from error
    if type(field.default) in (bool, int, float, str) and type(None) not in get_args(hint):
        check_type(field.name, given, field.default)
        return given
    try:
        return TypeAdapter(hint).validate_json(json.dumps(given, allow_nan=False), strict=True)
    except (TypeError, ValueError, ValidationError):
        expected = hint.__name__ if isinstance(hint, type) and not hasattr(hint, "__args__") else str(hint)
        raise BadInput(f"{field.name} is {brief(given)}; expected a value of type {expected}.") from None


def check_type(field: str, given: object, default: object) -> None:
    """Refuse a value that is not of the type that its default has (a whole number is a float too), or that no number
    of 64 bits can hold.

    Raises:
        BadInput: naming the field.
    """
    kinds: tuple[type, ...] = (int, float) if type(default) is float else (type(default),)
    if type(given) not in kinds:
        require(False, field, given, f"a value of type {type(default).__name__}")
    check_range(field, given)


def check_range(field: str, given: object) -> None:
    """Refuse numbers that are not finite, or that have more than 64 bits.

    Raises:
        BadInput: naming the field.
    """
    if isinstance(given, float):
        require(math.isfinite(given), field, given, "a finite number")
    if isinstance(given, int):
        require(abs(given) < 2**63, field, given, "a whole number of at most 64 bits")


def check_parts(kind: str, name: str, thing: object) -> None:
    """Refuse what is no family or no algorithm.

    Args:
        kind: family or algorithm.
        name: that named it.
        thing: it.

    Raises:
        BadInput: something that all of the kind have is missing.
    """
    missing = [part for part in _parts(kind) if not _has(kind, name, thing, part)]
    require(not missing, kind, name, f"an object with {', '.join(missing)}")


_PROTOCOLS: dict[str, type] = {"family": TaskFamily, "algorithm": Algorithm}


def _parts(kind: str) -> list[str]:
    """What an object of a kind must have."""
    return [part for part in vars(_PROTOCOLS[kind]) if not part.startswith("_")]


def _has(kind: str, name: str, thing: object, part: str) -> bool:
    try:
        return hasattr(thing, part)
    except Exception as error:  # a plug-in's own property
        raise BadInput(f"{kind} is {name!r}; expected an object with {part} ({raised_by(error)}).") from error
