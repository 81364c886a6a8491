"""Where randomness comes from: streams keyed by what is played, never by who plays it."""

from typing import NamedTuple

import numpy as np

from .api import Split


class Streams(NamedTuple):
    """The three independent sources of one batch of trials."""

    tasks: np.random.Generator
    """Draws the tasks."""
    env: np.random.Generator
    """The MDPs' own noise."""
    agent: np.random.Generator
    """The agent's noise."""


def streams(seed: int, split: Split, *key: int) -> Streams:
    """Streams for the batch of trials named by `key`; the same arguments give the same numbers, on any worker.

    Training and test draw from different streams, so that tasks of a continuous distribution are disjoint too.

    Args:
        seed: of the run, at least 0.
        split: which tasks.
        key: such as (iteration, part), each at least 0.
    """
    children = np.random.SeedSequence((seed, ("train", "test").index(split), len(key), *key)).spawn(3)
    return Streams(*(np.random.Generator(np.random.Philox(child)) for child in children))


def in_rounds(rng: np.random.Generator, members: np.ndarray, n: int) -> np.ndarray:
    """n of the members, [n, ...]: none twice before all have been drawn."""
    rounds = max(1, -(-n // len(members)))
    return np.concatenate([rng.permutation(members) for _ in range(rounds)])[:n]
