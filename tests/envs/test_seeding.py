"""Streams: what is played decides the numbers, nothing else."""

from itertools import combinations, product

import numpy as np

from innerloop.envs.api import Split
from innerloop.envs.seeding import Streams, streams


def first_numbers(three: Streams) -> list[tuple[float, ...]]:
    return [tuple(rng.random(4)) for rng in three]


def test_the_same_key_gives_the_same_numbers() -> None:
    assert first_numbers(streams(3, "train", 5, 2)) == first_numbers(streams(3, "train", 5, 2))


def test_streams_of_different_keys_seeds_and_splits_share_nothing() -> None:
    splits: tuple[Split, ...] = ("train", "test")
    seen = [
        set(numbers)
        for seed, split, iteration, part in product((0, 1), splits, (0, 1, 2), (0, 1))
        for numbers in first_numbers(streams(seed, split, iteration, part))
    ]
    assert len(seen) == 2 * 2 * 3 * 2 * 3
    for a, b in combinations(seen, 2):
        assert not a & b


def test_a_stream_does_not_depend_on_how_much_another_has_given() -> None:
    untouched = streams(0, "train", 1, 1).env.random(3)
    three = streams(0, "train", 1, 1)
    three.tasks.random(1000)
    three.agent.random(1000)
    np.testing.assert_array_equal(three.env.random(3), untouched)
