"""The contracts of what plugs in: laws that every family, memory, encoder and algorithm keeps.

A law is a function that raises `Fault` with a sentence: what is wrong, and where. `innerloop check` runs them on a
plug-in, `innerloop.testing` in its author's tests, and our own tests on everything of ours.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from ...envs.errors import BadInput, EnvironmentRaised, describe, origin
from .algorithm import ALGORITHM
from .encoder import ENCODER
from .family import FAMILY
from .fault import Fault
from .memory import MEMORY

__all__ = ["CONTRACTS", "Fault", "Finding", "check", "kind_of"]

Law = Callable[[Any], None]

CONTRACTS: Mapping[str, tuple[Law, ...]] = {
    "family": FAMILY,
    "memory": MEMORY,
    "encoder": ENCODER,
    "algorithm": ALGORITHM,
}
"""Kind to its laws."""


class Finding(NamedTuple):
    """What came of a law."""

    law: str
    """In words."""
    fault: str
    """A sentence; empty where the law is kept."""


def check(kind: str, thing: Any) -> list[Finding]:
    """Every law of a kind on one thing, in an order in which the first fault is often the cause of the others.

    Args:
        kind: a name in CONTRACTS.
        thing: a family, an algorithm; a constructor of a memory or of an encoder.
    """
    return [Finding(law.__name__.replace("_", " "), _broken(law, thing)) for law in CONTRACTS[kind]]


def _broken(law: Law, thing: Any) -> str:
    try:
        law(thing)
    except (Fault, BadInput, EnvironmentRaised) as fault:
        return str(fault)
    except Exception as error:  # whatever the plug-in's own code raises
        return f"it raised {describe(error)}, at {origin(error)}."
    return ""


def kind_of(name: str, thing: object) -> str:
    """The kind of a thing.

    Raises:
        BadInput: it is none of those that plug in.
    """
    constructor = isinstance(thing, type) and issubclass(thing, nn.Module)
    parts = {
        "family": ("sample", "make"),
        "algorithm": ("build", "inner_loop", "update"),
        "memory": ("initial", "step", "unroll"),
        "encoder": ("forward",),
    }
    for kind, names in parts.items():
        is_module = kind in ("memory", "encoder")
        if is_module == constructor and all(callable(getattr(thing, part, None)) for part in names):
            return kind
    expected = "a family, an algorithm, or the class of a memory or an encoder; --kind says it of anything else"
    raise BadInput(f"what is checked is {name!r}; expected {expected}.")
