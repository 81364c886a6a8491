"""What a policy remembers of a trial: interchangeable networks behind one interface (`api.py`).

`step` and `unroll` compute the same function; `step` one input at a time for acting, `unroll` a whole trial for
learning. A new memory is one file and one line in MEMORIES.
"""

from ..constructors import parse_constructor
from .api import MakeMemory, Memory, State, observation_only
from .deepset import DeepSet
from .gated import GRU, LSTM
from .mann import MANN
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
    "mann": MANN,
    "mingru": MinGRU,
    "none": Memoryless,
    "snail": SNAIL,
    "transformer": Transformer,
}
"""Name to a constructor; what it makes is also an `nn.Module`."""


def constructor(field: str, given: str) -> MakeMemory:
    """The constructor of the named memory, with the options that follow its name: `transformer,layers=4,window=128`.

    Args:
        field: of the configuration, as errors call it.
        given: see `parse_constructor`.

    Raises:
        BadInput: no such memory or option, or a value that is not of the type of the option's default.
    """
    return parse_constructor(field, given, MEMORIES, ("input size", "hidden", "steps"))
