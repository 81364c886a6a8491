"""Streams: what is played decides the numbers, nothing else."""

from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import kstest, norm, uniform

from innerloop.envs.api import Split
from innerloop.envs.seeding import AHEAD, SideBySide, Streams, only, streams


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


SEEDS = [np.random.SeedSequence((7, number)) for number in range(3)]
ROWS = 2, 5, 1
DRAWS: dict[str, Callable[[SideBySide, int], np.ndarray]] = {
    "random": lambda rng, n: rng.random(n),
    "random-float32": lambda rng, n: rng.random((n, 1), np.float32),
    "normal": lambda rng, n: rng.standard_normal((n, 4)),
    "normal-float32": lambda rng, n: rng.standard_normal((n, 4), np.float32),
    "uniform": lambda rng, n: rng.uniform(-3, 5, (n, 2, 2)),
}


def alone(number: int) -> SideBySide:
    return SideBySide([SEEDS[number]], [ROWS[number]])


@pytest.mark.parametrize("draw", DRAWS)
def test_a_batch_gets_side_by_side_what_it_gets_alone(draw: str) -> None:
    together, each = SideBySide(SEEDS, ROWS), [alone(number) for number in range(3)]
    for _ in range(2 * AHEAD + 3):
        found = DRAWS[draw](together, sum(ROWS))
        expected = [DRAWS[draw](rng, rows) for rng, rows in zip(each, ROWS, strict=True)]
        assert found.dtype == expected[0].dtype
        np.testing.assert_array_equal(found, np.concatenate(expected))


@pytest.mark.parametrize("draw", DRAWS)
def test_numbers_are_of_their_distribution_and_none_comes_twice(draw: str) -> None:
    rng = SideBySide(SEEDS, ROWS)
    found = np.concatenate([DRAWS[draw](rng, sum(ROWS)).ravel() for _ in range(400)])
    low, high = (-3, 5) if draw == "uniform" else (0, 1)
    expected = norm.cdf if "normal" in draw else uniform(low, high - low).cdf
    assert kstest(found, expected).pvalue > 1e-3
    assert len(np.unique(found)) > 0.999 * len(found)


def test_what_is_drawn_of_one_kind_does_not_depend_on_the_others() -> None:
    def numbers(rng: SideBySide, others: int) -> np.ndarray:
        for name in [*DRAWS] * others:
            if name != "normal":
                DRAWS[name](rng, sum(ROWS))
        return DRAWS["normal"](rng, sum(ROWS))

    np.testing.assert_array_equal(numbers(SideBySide(SEEDS, ROWS), 0), numbers(SideBySide(SEEDS, ROWS), 3))


@pytest.mark.parametrize("draw", ["normal", "normal-float32", "uniform", "random"])
def test_a_batch_that_needs_nothing_draws_nothing(draw: str) -> None:
    """Whatever the others need meanwhile."""
    together, each = SideBySide(SEEDS, ROWS), [alone(number) for number in range(3)]
    needs = np.random.default_rng(0).random((50, 3)) < 0.4
    for need in needs:
        rows = np.repeat(need, ROWS) & np.array([True, False, False, True, False, True, False, True])
        rows[[0, 2, 7]] = need  # at least one of a batch's
        found = DRAWS[draw](together.only(rows), sum(ROWS))
        for number, columns in enumerate(together.columns):
            if need[number]:
                every = np.ones(ROWS[number], np.bool_)
                expected = DRAWS[draw](each[number].only(every), ROWS[number])
                np.testing.assert_array_equal(found[columns], expected)


def test_after_a_restart_it_does_not_matter_how_much_was_drawn() -> None:
    def after(draws: int) -> np.ndarray:
        rng = SideBySide(SEEDS, ROWS)
        for _ in range(draws):
            rng.random(sum(ROWS))
        rng.restart()
        return rng.random(sum(ROWS))

    np.testing.assert_array_equal(after(0), after(AHEAD + 2))
    assert not np.isin(after(0), SideBySide(SEEDS, ROWS).random(sum(ROWS))).any()


def test_only_some_rows_of_a_generator_are_all_of_them() -> None:
    one, other = np.random.default_rng(0), np.random.default_rng(0)
    np.testing.assert_array_equal(only(one, np.array([True, False])).random(2), other.random(2))
