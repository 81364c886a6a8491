"""A replay that is exported and restored, whole, in pieces and by shards, draws what it would have drawn."""

from collections.abc import Iterator

import numpy as np
import pytest
from histories import PLENTY, REQUEST, SLOT, History, numbers_kept, same

from innerloop.learner.replay import Replay
from innerloop.learner.trajectory import Arrays


def assert_alike(one: Replay, other: Replay) -> None:
    """They hold the same, and the same random numbers draw the same."""
    same(one.tasks, other.tasks)
    same((len(one), one.steps, one.nbytes), (len(other), other.steps, other.nbytes))
    for batches in (
        lambda replay, rng: replay.batches(REQUEST, 3, rng),
        lambda replay, rng: replay.batches(REQUEST._replace(context=(3, 5)), 3, rng),
        lambda replay, rng: replay.trials(5, 3, rng),
        lambda replay, rng: replay.contexts(replay.tasks.tolist(), 2),
    ):
        for mine, yours in zip(*(batches(replay, np.random.default_rng(0)) for replay in (one, other)), strict=True):
            same(mine, yours)


def assert_alike_from_now_on(history: History, restored: Replay) -> None:
    """The same trials make the same room in both."""
    for _ in range(40):
        history.filled(1)
        task, from_context = next(iter(history.trials[-1].values())).task, [int(history.from_context[-1])]
        restored.append([task], history.trajectories[-1], None, from_context)
        assert numbers_kept(restored) == numbers_kept(history.replay)
    assert_alike(history.replay, restored)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("slots", [10**4, 100])
def test_what_is_restored_draws_as_what_was_exported(slots: int, dense: bool) -> None:
    history = History(slots=slots, dense=dense).filled(40, from_context=0.4)
    restored = Replay(slots * SLOT)
    restored.restore(history.replay.export())
    assert_alike(history.replay, restored)
    assert restored.appended == len(history.replay)


@pytest.mark.parametrize("slots", [10**4, 100])
@pytest.mark.parametrize("every", [1, 3, 7])
def test_pieces_that_are_restored_in_their_order_are_the_whole_and_what_follows_is_the_same(
    every: int, slots: int
) -> None:
    """A run that is resumed goes on as the one that was never stopped."""
    history, pieces, exported = History(slots=slots), [], 0
    for _ in range(8):
        history.filled(every, from_context=0.4)
        pieces.append(history.replay.export(exported))
        exported = history.replay.appended
    same(history.replay.export(exported)["trials"], np.zeros((0, 4)))
    restored = Replay(slots * SLOT)
    for piece in pieces:
        restored.restore(piece)
    assert_alike(history.replay, restored)
    assert_alike_from_now_on(history, restored)


@pytest.mark.parametrize("seed", range(4))
def test_pieces_of_which_nothing_is_kept_are_not_needed(seed: int) -> None:
    """`Pieces` deletes the oldest as long as the newer hold as many bytes as the replay: what is left must do, to
    restore the same and to go on the same, with trials of any lengths."""
    capacity = 100 * SLOT
    history, pieces = History(capacity, seed), []
    for trial in range(60):
        history.filled(1)
        pieces.append(history.replay.export(trial))
    needed = [*accumulated(pieces, capacity)][::-1]
    assert 1 < len(needed) < 60
    restored = Replay(capacity)
    for piece in needed:
        restored.restore(piece)
    assert_alike(history.replay, restored)
    assert_alike_from_now_on(history, restored)


def accumulated(pieces: list[Arrays], capacity: int) -> Iterator[Arrays]:
    """The newest pieces, until they hold as many bytes of trials."""
    held = 0
    while held < capacity:
        yield pieces[-1]
        held += len(pieces.pop()["reward"]) * SLOT


def test_a_shard_restores_the_tasks_that_are_its_own() -> None:
    history = History().filled(30)
    exported = history.replay.export()
    odd, even = Replay(PLENTY), Replay(PLENTY)
    odd.restore(exported, lambda task: task % 2 == 1)
    even.restore(exported, lambda task: task % 2 == 0)
    assert (odd.tasks.tolist(), even.tasks.tolist()) == ([1], [0, 2])
    for replay in (odd, even):
        one, other = (
            each.draw_steps(replay.tasks, REQUEST, np.random.default_rng(0)) for each in (replay, history.replay)
        )
        same(one, other)
