"""What a policy remembers of a trial: interchangeable networks behind one interface (`api.py`).

`step` and `unroll` compute the same function; `step` one input at a time for acting, `unroll` a whole trial for
learning. A new memory is one file and one line in MEMORIES.
"""

import functools
import inspect

from torch import nn

from ...envs.errors import require
from ...envs.registry import resolve
from ..api import MOST_LAYERS
from ..options import unknown_option
from .api import MakeMemory, Memory, State
from .deepset import DeepSet
from .gated import GRU, LSTM
from .memoryless import Memoryless
from .mingru import MinGRU
from .snail import SNAIL
from .transformer import Transformer

__all__ = ["GRU", "LSTM", "MEMORIES", "MakeMemory", "Memory", "Memoryless", "State", "constructor"]

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
    """What makes the memory that is named, with the options behind its name: `transformer,layers=4,window=128`.

    Args:
        field: of the configuration, as it stands in errors.
        given: a name in MEMORIES or package.module:attribute; then, after commas, options as name=count.

    Raises:
        BadInput: no such memory or option, or a value that is not a whole number of at least 1.
    """
    name, *options = given.split(",")
    make = resolve(field, name, MEMORIES)
    require(_is_constructor(make), field, given, "a constructor (input size, hidden, steps) of an nn.Module")
    if not options:
        return make
    parameters = inspect.signature(make).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    chosen: dict[str, int] = {}
    for each in options:
        option, _, count = each.partition("=")
        if option not in known:
            raise unknown_option(option, known, f"{field} {name!r}")
        most = MOST.get(option, 2**20)
        whole = count.isascii() and count.isdigit() and len(count) < 10 and 1 <= int(count) <= most
        require(whole, f"{option} of {field} {name!r}", count, f"a whole number of at least 1, at most {most:,}")
        chosen[option] = int(count)
    return functools.partial(make, **chosen)


def _is_constructor(found: object) -> bool:
    """Looked at before it is called: not everything that can be named is harmless to call."""
    if isinstance(found, type):
        return issubclass(found, nn.Module)
    if not (isinstance(found, functools.partial) or inspect.isfunction(found)):
        return False
    kinds = [parameter.kind for parameter in inspect.signature(found).parameters.values()]
    return kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) >= 3
