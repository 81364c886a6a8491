"""For the tests of a plug-in: the contract that ours keep.

    import pytest
    from innerloop.testing import laws

    @pytest.mark.parametrize("law", laws("family"))
    def test_contract(law):
        law(MyFamily())

A law raises AssertionError, or `innerloop.envs.errors.BadInput`, with a sentence that says what is wrong and where.
"""

from collections.abc import Callable
from typing import Any

from .actors.contract import CONTRACTS, Fault, Finding, check

__all__ = ["Fault", "Finding", "check", "laws"]


def laws(kind: str) -> tuple[Callable[[Any], None], ...]:
    """The laws of a kind.

    Args:
        kind: family, algorithm (finished objects), memory or encoder (constructors).
    """
    return CONTRACTS[kind]
