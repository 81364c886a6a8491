"""Interchangeable parts of a network (memories, encoders), named on the command line with their options:
`transformer,layers=4,window=128`."""

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..envs.errors import BadInput, require
from ..envs.registry import resolve
from .api import MOST_LAYERS
from .options import unknown_option

MOST = {"layers": MOST_LAYERS}
"""The largest values of some options; of others 2^20."""


def parse_constructor(
    field: str, given: str, known: Mapping[str, Callable[..., Any]], arguments: tuple[str, ...]
) -> Callable[..., Any]:
    """The constructor that is named, with the options that follow its name.

    Args:
        field: of the configuration, as errors call it.
        given: a name in `known` or package.module:attribute; then, after commas, options as name=value. They are the
            constructor's keyword-only arguments (bool, int, float or str, with defaults).
        known: constructors by name.
        arguments: what a constructor is called with, for the sentence that refuses another.

    Raises:
        BadInput: no such constructor or option, or a value that is not of the type of the option's default.
    """
    name, *options = given.split(",")
    make = resolve(field, name, known)
    expected = f"a constructor ({', '.join(arguments)}) of an nn.Module"
    require(_is_constructor(make, len(arguments)), field, given, expected)
    if not options:
        return make
    parameters = inspect.signature(make).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
    chosen: dict[str, Any] = {}
    for each in options:
        option, _, text = each.partition("=")
        if option not in defaults:
            raise unknown_option(option, [*defaults], f"{field} {name!r}")
        chosen[option] = _parse(f"{option} of {field} {name!r}", text, defaults[option], MOST.get(option, 2**20))
    return functools.partial(make, **chosen)


def _parse(what: str, text: str, default: object, most: int) -> bool | int | float | str:
    """The value of an option, of its default's type.

    Raises:
        BadInput: it is none, or the option is of another type than bool, int, float and str.
    """
    match default:
        case bool():
            require(text in ("true", "false"), what, text, "true or false")
            return text == "true"
        case int():
            whole = text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most
            require(whole, what, text, f"a whole number of at least 1, at most {most:,}")
            return int(text)
        case float():
            number = re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?", text, re.ASCII)
            require(number is not None and math.isfinite(float(text)), what, text, "a finite number")
            return float(text)
        case str():
            return text
    raise BadInput(f"{what} is {text!r}; expected an option whose default is a bool, int, float or str.")


def _is_constructor(found: object, arguments: int) -> bool:
    """Looked at before it is called: not everything that can be named is harmless to call."""
    if isinstance(found, type):
        return issubclass(found, nn.Module)
    if not (isinstance(found, functools.partial) or inspect.isfunction(found)):
        return False
    kinds = [parameter.kind for parameter in inspect.signature(found).parameters.values()]
    positional = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return sum(kind in positional for kind in kinds) >= arguments
