"""A law that is broken."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import getstate, seed, setstate

import numpy as np
import torch

from ...envs.errors import brief
from ...learner.options import construct, options_of


class Fault(AssertionError):
    """The message says in one sentence what is wrong and where."""


def demand(condition: object, sentence: str) -> None:
    """Raises:
    Fault: the condition does not hold.
    """
    if not condition:
        raise Fault(sentence)


def options_survive(kind: str, thing: object) -> None:
    """Raises:
    Fault: the options of a family or an algorithm are others when they have been written and read.
    """
    if options := options_of(thing):
        again = options_of(construct(kind, "it", {"it": type(thing)}, options))
        demand(again == options, f"its options are {options}, and {again} when they are read again.")


def same(one: np.ndarray, other: np.ndarray, sentence: str) -> None:
    """Raises:
    Fault: two arrays differ, with the first place where they do.
    """
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape:
        raise Fault(f"{sentence} (shapes {one.shape} and {other.shape}).")
    differs = (one != other) & ~((one != one) & (other != other))
    if differs.any():
        place = tuple(int(each) for each in np.argwhere(differs)[0])
        raise Fault(f"{sentence} (at {list(place)}: {brief(one[place].item())} and {brief(other[place].item())}).")


@contextmanager
def other_global_randomness(number: int) -> Iterator[None]:
    """The generators that nobody hands over begin elsewhere meanwhile."""
    before = np.random.get_state(), getstate()  # noqa: NPY002 - what must not matter
    np.random.seed(number)  # noqa: NPY002
    seed(number)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(number)
            yield
    finally:
        np.random.set_state(before[0])  # noqa: NPY002
        setstate(before[1])
