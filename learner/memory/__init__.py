"""What a policy remembers of a trial: interchangeable networks behind one interface (`api.py`).

`step` and `unroll` compute the same function; `step` one input at a time for acting, `unroll` a whole trial for
learning. A new memory is one file and one line in MEMORIES.
"""

import functools
import inspect
import math
import re
from typing import Any

from torch import nn

from ...envs.errors import BadInput, require
from ...envs.registry import resolve
from ..api import MOST_LAYERS
from ..options import unknown_option
from .api import MakeMemory, Memory, State, observation_only
from .deepset import DeepSet
from .gated import GRU, LSTM
from .memoryless import Memoryless
from .mingru import MinGRU
from .snail import SNAIL
from .transformer import Transformer

__all__ = [
    "GRU",
    "LSTM",
    "MEMORIES",
    "MakeMemory",
    "Memory",
    "Memoryless",
    "State",
    "constructor",
    "observation_only",
]

MEMORIES: dict[str, MakeMemory] = {
    "deepset": DeepSet,
    "gru": GRU,
    "lstm": LSTM,
    "mingru": MinGRU,
    "none": Memoryless,
    "snail": SNAIL,
    "transformer": Transformer,
}
"""Name to a constructor; what it makes is also an `nn.Module`."""
MOST = {"layers": MOST_LAYERS}
"""The largest values of some options of memories; of others 2^20."""


def constructor(field: str, given: str) -> MakeMemory:
    """The constructor of the named memory, with the options that follow its name: `transformer,layers=4,window=128`.

    Args:
        field: of the configuration, as errors call it.
        given: a name in MEMORIES or package.module:attribute; then, after commas, options as name=value.

    Raises:
        BadInput: no such memory or option, or a value that is not of the type of the option's default.
    """
    name, *options = given.split(",")
    make = resolve(field, name, MEMORIES)
    require(_is_constructor(make), field, given, "a constructor (input size, hidden, steps) of an nn.Module")
    if not options:
        return make
    parameters = inspect.signature(make).parameters.values()
    known = {parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    chosen: dict[str, Any] = {}
    for each in options:
        option, _, text = each.partition("=")
        if option not in known:
            raise unknown_option(option, [*known], f"{field} {name!r}")
        chosen[option] = _parse(f"{option} of {field} {name!r}", text, known[option], MOST.get(option, 2**20))
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


def _is_constructor(found: object) -> bool:
    """Looked at before it is called: not everything that can be named is harmless to call."""
    if isinstance(found, type):
        return issubclass(found, nn.Module)
    if not (isinstance(found, functools.partial) or inspect.isfunction(found)):
        return False
    kinds = [parameter.kind for parameter in inspect.signature(found).parameters.values()]
    return kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) >= 3
