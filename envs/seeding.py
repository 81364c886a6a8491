"""Where randomness comes from: streams keyed by what is played, never by who plays it or what is played beside it."""

import copy
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Self

import numpy as np

from .api import Bools, Split

AHEAD = 16
"""Steps whose numbers are drawn in one call, which costs more than the numbers."""


class SideBySide:
    """The random numbers of several parts that are played as one batch: each part gets the numbers it would get alone.

    It offers three methods of `np.random.Generator`; the first entry of `size` is the total number of rows.
    """

    def __init__(self, seeds: Sequence[np.random.SeedSequence], rows: Sequence[int]) -> None:
        """Args:
        seeds: of each part.
        rows: number of rows of each part.
        """
        self._seeds, self._rows = seeds, rows
        self.columns = [slice(*ends) for ends in pairwise(accumulate(rows, initial=0))]
        """The rows of each part."""
        self._only: Bools | None = None
        self._restarts = 0
        self._sources: dict[tuple[Any, ...], list[np.random.Generator]] = {}
        self._drawn: dict[tuple[Any, ...], list[np.ndarray]] = {}  # the next one last

    def generators(self) -> list[np.random.Generator]:
        """One per part, for code that plays the parts separately."""
        return [generator(seed) for seed in self._seeds]

    def beside(self, rows: int) -> "SideBySide":
        """The same parts, followed by a further one with this number of rows."""
        return SideBySide([*self._seeds, np.random.SeedSequence(0)], [*self._rows, rows])

    def only(self, rows: Bools) -> Self:
        """A view for draws that only some rows need: parts without any of these rows draw nothing and get zeros."""
        some = copy.copy(self)
        some._only = rows
        return some

    def restart(self) -> None:
        """Continue with new numbers, which do not depend on how many were drawn before."""
        self._restarts += 1
        self._sources.clear()
        self._drawn.clear()

    def random(self, size: Any, dtype: Any = np.float64) -> np.ndarray:
        """Uniform on [0, 1)."""
        return self._draw("random", size, dtype)

    def uniform(self, low: float, high: float, size: Any) -> np.ndarray:
        """Uniform on [low, high)."""
        return low + (high - low) * self.random(size)

    def standard_normal(self, size: Any, dtype: Any = np.float64) -> np.ndarray:
        """Normal with mean 0 and variance 1."""
        return self._draw("standard_normal", size, dtype)

    def _draw(self, method: str, size: Any, dtype: Any) -> np.ndarray:
        _, *rest = (size,) if isinstance(size, int) else size
        # One stream per kind of draw, so that the order of different kinds does not matter.
        kind = (self._only is None, method == "random", np.dtype(dtype).itemsize, *rest)
        if waiting := self._drawn.get(kind):
            return waiting.pop()
        if kind not in self._sources:
            self._sources[kind] = [_source(seed, self._restarts, *map(int, kind)) for seed in self._seeds]
        parts = zip(self._sources[kind], self._rows, self.columns, strict=True)
        if self._only is not None:
            drawn = [
                getattr(rng, method)((n, *rest), dtype) if self._only[columns].any() else np.zeros((n, *rest), dtype)
                for rng, n, columns in parts
            ]
            return np.concatenate(drawn)
        block = [getattr(rng, method)((AHEAD, n, *rest), dtype) for rng, n, _ in parts]
        self._drawn[kind] = [*np.concatenate(block, axis=1)[::-1]]
        return self._drawn[kind].pop()


def generator(seed: np.random.SeedSequence) -> np.random.Generator:
    """A counter-based generator."""
    return np.random.Generator(np.random.Philox(seed))


def _source(seed: np.random.SeedSequence, *key: int) -> np.random.Generator:
    return generator(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key)))


Random = np.random.Generator | SideBySide
"""A source of random numbers for many rows at once."""


def only(rng: Random, rows: Bools) -> Random:
    """`SideBySide.only`; a plain generator draws for all rows."""
    return rng.only(rows) if isinstance(rng, SideBySide) else rng


class Streams(NamedTuple):
    """The three independent sources of one batch of trials."""

    tasks: np.random.Generator
    """Draws the tasks."""
    env: np.random.Generator
    """The MDPs' own noise."""
    agent: np.random.Generator
    """The agent's noise."""


def seeds(seed: int, split: Split, *key: int) -> list[np.random.SeedSequence]:
    """The seeds of the three `Streams` of the batch of trials named by `key`.

    Training and test draw from different streams, so that tasks of a continuous distribution are disjoint too.

    Args:
        seed: of the run, at least 0.
        split: which tasks.
        key: such as (iteration, part), each at least 0.
    """
    return np.random.SeedSequence((seed, ("train", "test").index(split), len(key), *key)).spawn(3)


def streams(seed: int, split: Split, *key: int) -> Streams:
    """Streams for the batch of trials named by `key`; the same arguments give the same numbers on any worker."""
    return Streams(*map(generator, seeds(seed, split, *key)))


def in_rounds(rng: np.random.Generator, members: np.ndarray, n: int) -> np.ndarray:
    """n of the members, [n, ...]: none twice before all have been drawn."""
    rounds = max(1, -(-n // len(members)))
    return np.concatenate([rng.permutation(members) for _ in range(rounds)])[:n]
