"""Where randomness comes from: streams keyed by what is played, never by who plays it, or beside what."""

import copy
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Self

import numpy as np

from .api import Bools, Split

AHEAD = 16
"""Steps for which numbers are drawn at once: a call costs more than its numbers."""


class SideBySide:
    """Random numbers of several batches of rows that are played as one: each batch gets what it would get alone.

    It has three methods of `np.random.Generator`, whose `size` begins with the number of all rows.
    """

    def __init__(self, seeds: Sequence[np.random.SeedSequence], rows: Sequence[int]) -> None:
        """Args:
        seeds: of each batch.
        rows: of each batch.
        """
        self._seeds, self._rows = seeds, rows
        self.columns = [slice(*ends) for ends in pairwise(accumulate(rows, initial=0))]
        """Where each batch has its rows."""
        self._only: Bools | None = None
        self._restarts = 0
        self._sources: dict[tuple[Any, ...], list[np.random.Generator]] = {}
        self._drawn: dict[tuple[Any, ...], list[np.ndarray]] = {}  # the next one last

    def generators(self) -> list[np.random.Generator]:
        """Of each batch, for who draws for one alone."""
        return [np.random.Generator(np.random.Philox(seed)) for seed in self._seeds]

    def beside(self, rows: int) -> "SideBySide":
        """With one more batch of so many rows, at the end."""
        return SideBySide([*self._seeds, np.random.SeedSequence(0)], [*self._rows, rows])

    def only(self, rows: Bools) -> Self:
        """The same for draws that some rows need: a batch that has none of them draws nothing, and gets zeros."""
        some = copy.copy(self)
        some._only = rows
        return some

    def restart(self) -> None:
        """Go on with other numbers: the same ones, however many were drawn before."""
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
        # A stream for each kind of draw: which kind comes when, then does not matter.
        kind = (self._only is None, method == "random", np.dtype(dtype).itemsize, *rest)
        if kind not in self._sources:
            self._sources[kind] = [_source(seed, self._restarts, *map(int, kind)) for seed in self._seeds]
        batches = zip(self._sources[kind], self._rows, self.columns, strict=True)
        if self._only is not None:
            needed = [self._only[columns].any() for columns in self.columns]
            drawn = [
                getattr(rng, method)((n, *rest), dtype) if need else np.zeros((n, *rest), dtype)
                for (rng, n, _), need in zip(batches, needed, strict=True)
            ]
            return np.concatenate(drawn)
        if not self._drawn.get(kind):
            block = [getattr(rng, method)((AHEAD, n, *rest), dtype) for rng, n, _ in batches]
            self._drawn[kind] = [*np.concatenate(block, axis=1)[::-1]]
        return self._drawn[kind].pop()


def _source(seed: np.random.SeedSequence, *key: int) -> np.random.Generator:
    return np.random.Generator(
        np.random.Philox(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key)))
    )


Random = np.random.Generator | SideBySide
"""What draws for many rows at once."""


def only(rng: Random, rows: Bools) -> Random:
    """For draws that only these rows need; of a `Generator`, all rows get theirs."""
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
    """Of the three `Streams` of the batch of trials named by `key`.

    Training and test draw from different streams, so that tasks of a continuous distribution are disjoint too.

    Args:
        seed: of the run, at least 0.
        split: which tasks.
        key: such as (iteration, part), each at least 0.
    """
    return np.random.SeedSequence((seed, ("train", "test").index(split), len(key), *key)).spawn(3)


def streams(seed: int, split: Split, *key: int) -> Streams:
    """Streams for the batch of trials named by `key`, as `seeds`; the same arguments give the same numbers, on any
    worker."""
    return Streams(*(np.random.Generator(np.random.Philox(child)) for child in seeds(seed, split, *key)))


def in_rounds(rng: np.random.Generator, members: np.ndarray, n: int) -> np.ndarray:
    """n of the members, [n, ...]: none twice before all have been drawn."""
    rounds = max(1, -(-n // len(members)))
    return np.concatenate([rng.permutation(members) for _ in range(rounds)])[:n]
