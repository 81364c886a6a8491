"""Trajectories: padded side by side, with what belongs to no trial marked; returns against a loop."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from innerloop.learner.trajectory import Trajectory, concatenate

FIELDS = ("observation", "action", "reward", "terminated", "truncated", "valid")


def random(steps: int, lengths: tuple[int, ...], version: int = 0, seed: int = 0) -> Trajectory:
    """Trials of those lengths, in which episodes end at random and always with the trial; rubbish behind the ends."""
    rng = np.random.default_rng(seed)
    trials = len(lengths)
    valid = np.arange(steps)[:, None] < np.array(lengths)
    ends, cut = rng.random((steps, trials)) < 0.4, rng.random((steps, trials)) < 0.5
    ends[np.array(lengths) - 1, np.arange(trials)] = True
    return Trajectory(
        observation=rng.standard_normal((steps + 1, trials, 2)).astype(np.float32),
        action=rng.integers(5, size=(steps, trials)),
        reward=rng.standard_normal((steps, trials)).astype(np.float32),
        terminated=ends & ~cut,
        truncated=ends & cut,
        valid=valid,
        note={"value": rng.standard_normal((steps + 1, trials)).astype(np.float32)},
        version=version,
    )


def test_trials_side_by_side_keep_every_number_and_the_padding_is_not_valid() -> None:
    parts = [random(4, (4, 2), version=7, seed=1), random(6, (5, 6, 3), version=5, seed=2), random(6, (6,), 9, 3)]
    whole = concatenate(parts)
    assert whole.version == 5
    assert whole.steps == 4 + 2 + 5 + 6 + 3 + 6
    first = 0
    for part in parts:
        columns = slice(first, first + part.reward.shape[1])
        first = columns.stop
        for name in FIELDS:
            own, joined = getattr(part, name), getattr(whole, name)[:, columns]
            assert joined.dtype == own.dtype
            np.testing.assert_array_equal(joined[: len(own)], own)
            if name in ("observation", "action"):  # must be members of their space
                assert (joined[len(own) :] == own[-1]).all()
            else:
                assert not joined[len(own) :].any()
        np.testing.assert_array_equal(whole.note["value"][: len(part.reward) + 1, columns], part.note["value"])
        np.testing.assert_array_equal(whole.trial_end[: len(part.reward), columns], part.trial_end)
        assert not whole.trial_end[len(part.reward) :, columns].any()
    assert whole.reward.shape == (6, first)
    assert whole.observation.shape == (7, first, 2)
    assert whole.note["value"].shape == (7, first)


def test_one_trajectory_is_itself() -> None:
    one = random(4, (4, 2))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(concatenate([one]), name), getattr(one, name))


def test_there_is_something_to_concatenate() -> None:
    with pytest.raises(ValueError, match="at least one"):
        concatenate([])


def test_a_trial_ends_at_its_last_valid_step_and_nowhere_else() -> None:
    lengths = (1, 6, 3)
    expected = np.zeros((6, 3), np.bool_)
    for column, length in enumerate(lengths):
        expected[length - 1, column] = True
    np.testing.assert_array_equal(random(6, lengths).trial_end, expected)


def test_an_episode_ends_by_termination_or_truncation() -> None:
    one = random(6, (6, 6))
    assert one.terminated.any()
    assert one.truncated.any()
    np.testing.assert_array_equal(one.done, one.terminated | one.truncated)


def test_episode_returns_are_the_sums_of_a_loop() -> None:
    lengths = (1, 8, 12, 5)
    one = random(12, lengths)
    expected = np.full((4, 12), np.nan)
    for column, length in enumerate(lengths):
        episode = 0
        for t in range(length):
            before = expected[column, episode]
            expected[column, episode] = float(one.reward[t, column]) + (0 if np.isnan(before) else before)
            episode += bool(one.terminated[t, column] or one.truncated[t, column])
    assert np.isnan(expected[0, 1:]).all()  # never reached
    np.testing.assert_allclose(one.episode_returns(12), expected, rtol=1e-12)


LENGTHS = [[3, 1, 2], [1, 4, 2], [2, 2, 2], [5, 1, 1], [1, 1, 1], [1, 1, 6]]


@pytest.mark.parametrize("width", [1, 2, 3])
def test_columns_that_wait_have_gaps_which_do_not_count(width: int, gapped: Callable[..., Trajectory]) -> None:
    """The end of a trial is the end of its last episode; the returns are those of the steps that count."""
    one = gapped(LENGTHS, width)
    assert (np.diff(one.valid.astype(int), axis=0) > 0).any() == (width > 1)
    assert one.steps == sum(map(sum, LENGTHS))
    np.testing.assert_array_equal(one.trial_end.sum(0), [1] * 6)
    found = one.episode_returns(3)
    for column, lengths in enumerate(LENGTHS):
        last = 10_000 * column + 200 + lengths[2] - 1
        np.testing.assert_array_equal(one.reward[one.trial_end[:, column], column], [last])
        for episode, length in enumerate(lengths):
            numbers = [10_000 * column + 100 * episode + t for t in range(length)]
            assert found[column, episode] == sum(numbers)


def test_episodes_that_broke_down_are_added_up() -> None:
    parts = [replace(random(4, (4, 2)), diverged=diverged) for diverged in (2, 0, 3)]
    assert concatenate(parts).diverged == 5
    assert random(4, (4, 2)).diverged == 0


def test_bytes_are_those_of_all_arrays() -> None:
    one = random(4, (4, 2))
    assert one.nbytes == sum(getattr(one, name).nbytes for name in FIELDS) + one.note["value"].nbytes
