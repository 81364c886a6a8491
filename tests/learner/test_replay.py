"""Replay: bounded, oldest trials first out; what is drawn is what was played, uniformly, and nothing that was not.

Every transition has a number of its own, which its action, rewards and flags follow from, and every observation says of
which trial and step it is. So a draw is looked up, one transition after the other, in a table of all that was played.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from fixture_types import ExperimentOn, Made, Played
from scipy import stats

from innerloop.envs.errors import BadInput
from innerloop.envs.navigation import PointNavigation, SparsePointNavigation
from innerloop.envs.seeding import streams
from innerloop.learner.replay import Replay
from innerloop.learner.sampling import Request, Sample, Steps, choose, join
from innerloop.learner.trajectory import Arrays, Trajectory, concatenate

PLENTY = 10**6
SLOT = 2 * 4 + 4 + 4 + 1 + 1 + 4
"""Bytes of a step: an observation of two floats, action, reward, two flags, the episode's index."""

Key = tuple[int, int]
"""A trial's number, and a step of it."""


class Transition(NamedTuple):
    """One transition as it was played."""

    task: int
    episode: int
    terminated: bool
    truncated: bool
    last: bool
    """Of its trial."""

    @property
    def successor_known(self) -> bool:
        """The observation behind it was stored: an episode's last one is shown behind the trial's end alone."""
        return self.last or not (self.terminated or self.truncated)


def number(key: Key) -> int:
    return 1_000 * key[0] + key[1]


class History:
    """A replay, and beside it a table of all that was ever appended."""

    def __init__(self, capacity: int = PLENTY, seed: int = 0, dense: bool = False, slots: int = 0) -> None:
        self.replay = Replay(slots * SLOT or capacity)
        self.rng, self.dense = np.random.default_rng(seed), dense
        self.trials: list[dict[Key, Transition]] = []
        self.trajectories: list[Trajectory] = []

    def append(self, task: int, lengths: Sequence[int] = (), ends: str = "") -> None:
        """A trial of episodes of these lengths, each (e)nding because it terminated, was (c)ut, or (b)oth."""
        lengths = lengths or self.rng.integers(1, 5, self.rng.integers(1, 4)).tolist()
        ends = ends or "".join(self.rng.choice(["e", "c"], len(lengths)))
        trial, steps = len(self.trials), sum(lengths)
        terminated, truncated = np.zeros((2, steps, 1), np.bool_)
        boundary = np.cumsum(lengths) - 1
        terminated[boundary, 0] = [end in "eb" for end in ends]
        truncated[boundary, 0] = [end in "cb" for end in ends]
        episode = np.repeat(np.arange(len(lengths)), lengths)
        numbers = np.array([[number((trial, step))] for step in range(steps)], np.float32)
        observation = np.stack([np.full((steps + 1, 1), trial), np.arange(steps + 1)[:, None]], -1)
        trajectory = Trajectory(
            observation=observation.astype(np.float32),
            action=-numbers,
            reward=numbers,
            terminated=terminated,
            truncated=truncated,
            valid=np.ones((steps, 1), np.bool_),
            privileged={"reward": numbers + 0.5} if self.dense else {},
            note={"mean": observation},  # which is not kept
            version=trial,
        )
        self.replay.append([task], trajectory)
        self.trajectories.append(trajectory)
        self.trials.append(
            {
                (trial, step): Transition(
                    task, int(episode[step]), terminated[step, 0], truncated[step, 0], step == steps - 1
                )
                for step in range(steps)
            }
        )

    def filled(self, trials: int, tasks: int = 3) -> "History":
        for _ in range(trials):
            self.append(int(self.rng.integers(tasks)))
        return self

    @property
    def kept(self) -> list[dict[Key, Transition]]:
        """Trials that are in the replay, if the oldest have gone first."""
        return self.trials[self.replay.evicted :]

    def of(self, task: int, window: int = 10**6) -> dict[Key, Transition]:
        """Transitions of the newest trials of a task."""
        return {key: step for trial in self.trials_of(task)[-window:] for key, step in trial.items()}

    def trials_of(self, task: int) -> list[dict[Key, Transition]]:
        return [trial for trial in self.kept if next(iter(trial.values())).task == task]

    def keys(self, steps: Steps[np.ndarray], tasks: np.ndarray) -> list[list[Key]]:
        """Which transitions were drawn, [M, N]; everything about them must be as it was played."""
        found: list[list[Key]] = []
        for task, *columns in zip(tasks.tolist(), *(array.tolist() for array in steps), strict=True):
            found.append([])
            for seen, action, reward, outer_reward, following, terminated in zip(*columns, strict=True):
                key = trial, step = int(seen[0]), int(seen[1])
                played, own = self.trials[trial][key], number(key)
                assert (played.task, played.terminated) == (task, terminated)
                assert (action, reward, outer_reward) == (-own, own, own + 0.5 * self.dense)
                assert not played.successor_known or following == [trial, step + 1]
                found[-1].append(key)
        return found


def uniform(found: Sequence[Hashable], members: Sequence[Hashable]) -> bool:
    """Nothing but the members, each equally often, as far as chance allows."""
    assert set(found) <= set(members)
    if len(members) == 1:
        return True
    counts = Counter(found)
    return float(stats.chisquare([counts[member] for member in members]).pvalue) > 1e-4


def numbers_kept(replay: Replay) -> list[int]:
    """Of the trials, in the replay's order, out of what it exports."""
    exported = replay.export()
    starts = np.cumsum([0, *(exported["trials"][:, 1] + 1)])[:-1]
    return exported["observation"][starts, 0].astype(int).tolist()


def same(one: object, other: object) -> None:
    """Samples, steps or trajectories, bit for bit."""
    if isinstance(one, Trajectory):
        one, other = vars(one), vars(other)
        assert one.keys() == other.keys()
        one, other = tuple(one.values()), tuple(other.values())
    if isinstance(one, dict):
        assert one.keys() == other.keys()  # pyright: ignore[reportAttributeAccessIssue]
        one, other = tuple(one.values()), tuple(other.values())  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(one, tuple):
        for mine, yours in zip(one, other, strict=True):
            same(mine, yours)
    else:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("slots", [13, 14, 40, 111, 112.9])
def test_it_is_never_above_its_capacity_and_the_oldest_trials_go_first(slots: float) -> None:
    capacity, longest = int(slots * SLOT), 13  # three episodes of at most four steps, and the last observation
    history = History(capacity)
    replay, played = history.replay, 0
    for trial in range(300):
        history.append(int(history.rng.integers(5)))
        kept = history.kept
        assert replay.nbytes == sum(len(each) + 1 for each in kept) * SLOT <= capacity
        assert replay.nbytes > capacity - (2 * longest + 1) * SLOT or replay.evicted == 0  # it is not wasted either
        assert replay.appended == trial + 1
        assert replay.appended - replay.evicted == len(replay) >= 1
        assert replay.steps == sum(map(len, kept))
        played += len(history.trials[-1])
        assert replay.played == played
        assert replay.tasks.tolist() == sorted({step.task for each in kept for step in each.values()})
        if trial % 25 == 0 or trial > 290:
            assert numbers_kept(replay) == list(range(replay.evicted, replay.appended))
    assert replay.evicted > 150


def test_the_oldest_trials_go_first_whichever_task_they_are_of() -> None:
    history = History(slots=30)
    for task in (7, 7, 3, 3, 3):  # six slots each
        history.append(task, [5])
    assert history.replay.tasks.tolist() == [3, 7]
    history.append(3, [5])
    assert history.replay.tasks.tolist() == [3, 7]
    history.append(3, [5])
    assert history.replay.tasks.tolist() == [3]
    history.append(9, [5])
    assert history.replay.tasks.tolist() == [3, 9]
    assert (len(history.replay), history.replay.evicted) == (5, 3)


def test_a_trial_that_is_larger_than_the_capacity_is_refused_and_nothing_changes() -> None:
    history = History(slots=6)
    for _ in range(2):  # empty, and with something in it
        with pytest.raises(
            BadInput, match=rf"^the replay's capacity is {6 * SLOT} bytes, room for 5 .* trial, 6 steps\.$"
        ):
            history.append(0, [2, 4])
        before = len(history.replay)
        history.append(1, [5])
        assert len(history.replay) == before + 1 or history.replay.evicted == 1
    assert history.replay.tasks.tolist() == [1]


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_replay_has_room_for_something(capacity: int) -> None:
    with pytest.raises(BadInput, match=rf"^capacity is {capacity}; expected at least 1 byte\.$"):
        Replay(capacity)


def test_bytes_are_taken_of_all_that_is_kept_of_a_step() -> None:
    sparse, dense = History().filled(1), History(dense=True).filled(1)
    steps = len(sparse.trials[0])
    assert (sparse.replay.nbytes, dense.replay.nbytes) == ((steps + 1) * SLOT, (steps + 1) * (SLOT + 4))


def test_columns_of_other_tasks_may_be_left_out() -> None:
    history = History().filled(4)
    side_by_side = concatenate(history.trajectories)
    replay = Replay(PLENTY)
    replay.append([4, 5, 6, 7], side_by_side, columns=[1, 3])
    assert replay.tasks.tolist() == [5, 7]
    same(replay.export()["reward"], np.concatenate([one_more(history.trajectories[i].reward[:, 0]) for i in (1, 3)]))


def one_more(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, array[-1:]])


def test_columns_that_wait_for_each_other_are_refused(gapped: Callable[..., Trajectory]) -> None:
    with pytest.raises(ValueError, match="one row per task"):
        Replay(PLENTY).append([0, 0], gapped([[1, 2], [2, 1]], 2))


@pytest.mark.parametrize("slots", [10**4, 90])
@pytest.mark.parametrize("dense", [False, True])
def test_all_transitions_are_drawn_but_those_of_episodes_that_were_cut_while_the_trial_went_on(
    dense: bool, slots: int
) -> None:
    """Looked at again and again while trials come and go."""
    history, rng = History(slots=slots * (SLOT + 4 * dense) // SLOT, dense=dense), np.random.default_rng(0)
    for _ in range(3):
        tasks = history.filled(15).replay.tasks
        drawn = history.replay.draw_steps(tasks, Request(tasks=3, steps=2_000), rng)
        assert drawn.context is None
        np.testing.assert_array_equal(drawn.tasks, tasks)
        for task, found in zip(tasks, history.keys(drawn.steps, tasks), strict=True):
            own = history.of(task).items()
            assert set(found) == {key for key, step in own if step.successor_known or step.terminated}
    assert (history.replay.evicted > 0) == (slots == 90)
    assert not all(step.successor_known or step.terminated for trial in history.kept for step in trial.values())


@pytest.mark.parametrize(
    ("ends", "steps"),
    [("cc", [0, 2, 3]), ("ee", [0, 1, 2, 3]), ("ce", [0, 2, 3]), ("ec", [0, 1, 2, 3])],
    ids=["cut", "ended", "cut-then-ended", "ended-then-cut"],
)
def test_what_is_drawn_of_two_episodes_of_two_steps(ends: str, steps: list[int]) -> None:
    history = History()
    history.append(0, [2, 2], ends)
    drawn = history.replay.draw_steps(np.zeros(1, np.int64), Request(tasks=1, steps=200), np.random.default_rng(0))
    assert {step for _, step in history.keys(drawn.steps, drawn.tasks)[0]} == set(steps)


def test_a_step_that_ended_its_episode_is_drawn_even_where_it_was_cut_too() -> None:
    """A Gymnasium environment may say both at once; what would have followed is worth nothing all the same."""
    history = History()
    history.append(0, [2, 2], "bc")
    drawn = history.replay.draw_steps(np.zeros(1, np.int64), Request(tasks=1, steps=200), np.random.default_rng(0))
    assert {step for _, step in history.keys(drawn.steps, drawn.tasks)[0]} == {0, 1, 2, 3}


def test_transitions_of_a_task_are_drawn_uniformly_however_long_its_trials_are() -> None:
    history = History()
    for lengths in ([1], [2, 1], [2]):
        history.append(4, lengths, "e" * len(lengths))
        history.append(2, [3], "e")
    drawn = history.replay.draw_steps(np.array([4, 4]), Request(tasks=2, steps=3_000), np.random.default_rng(0))
    first, second = history.keys(drawn.steps, drawn.tasks)
    assert uniform(first, [*history.of(4)])
    assert uniform(second, [*history.of(4)])
    members = [*product(history.of(4), repeat=2)]  # and independently of each other
    assert uniform([*zip(first, second, strict=True)], members)
    assert uniform([*zip(first[::2], first[1::2], strict=True)], members)


def test_tasks_are_drawn_uniformly_and_independently_however_much_is_kept_of_them() -> None:
    history = History()
    for task, trials in ((0, 1), (3, 9), (8, 2), (9, 1)):
        for _ in range(trials):
            history.append(task)
    batches = history.replay.batches(Request(tasks=3, steps=1), 1_500, np.random.default_rng(0))
    drawn = np.stack([sample.tasks for sample in batches])
    assert drawn.shape == (1_500, 3)
    assert uniform(drawn.ravel().tolist(), [0, 3, 8, 9])
    assert uniform([*zip(drawn[:, 0].tolist(), drawn[:, 1].tolist(), strict=True)], [*product([0, 3, 8, 9], repeat=2)])


def test_nothing_can_be_drawn_where_there_is_nothing() -> None:
    rng, expected = np.random.default_rng(0), r"^the replay is 'empty'; expected trials of some task\.$"
    with pytest.raises(BadInput, match=expected):
        next(Replay(PLENTY).batches(Request(tasks=1, steps=1), 1, rng))
    with pytest.raises(BadInput, match=expected):
        next(Replay(PLENTY).trials(1, 1, rng))
    with pytest.raises(BadInput, match=expected):
        choose(np.zeros(0, np.int64), 1, rng)


@pytest.mark.parametrize("slots", [10**4, 90])
@pytest.mark.parametrize("length", [1, 3, 9])
@pytest.mark.parametrize("window", [1, 2, 5, 1_000])
def test_a_context_is_the_beginning_of_one_of_the_newest_trials(window: int, length: int, slots: int) -> None:
    """Of each equally often, its boundaries too; looked at again and again while trials come and go."""
    history, rng = History(slots=slots), np.random.default_rng(0)
    request = Request(tasks=3, steps=1, context=(length,), window=window)
    for _ in range(4):
        for task in history.filled(12).replay.tasks:
            drawn = history.replay.draw_steps(np.full(400, task), request, rng)
            assert drawn.context is not None
            found = [tuple(each) for each in history.keys(drawn.context, drawn.tasks)]
            recent = [[*each] for each in history.trials_of(task)[-window:]]
            assert uniform(found, [tuple(each[step % len(each)] for step in range(length)) for each in recent])
    assert (history.replay.evicted > 0) == (slots == 90)


@pytest.mark.parametrize("window", [1, 3])
def test_every_next_observation_of_a_context_that_needs_it_is_what_followed(window: int) -> None:
    """An agent leaves out an episode's last step, whose successor it is not shown, so its context has none either,
    whether the episode was cut or ended; behind the trial's end the successor is known."""
    history = History().filled(30)
    request = Request(tasks=3, steps=1, context=(50,), window=window, successors=True)
    tasks = np.repeat(history.replay.tasks, 100)
    drawn = history.replay.draw_steps(tasks, request, np.random.default_rng(0))
    assert drawn.context is not None
    keys = history.keys(drawn.context, tasks)
    for task in history.replay.tasks:
        found = {key for own, each in zip(tasks, keys, strict=True) if own == task for key in each}
        recent = history.of(task, window)
        assert found == {key for key, step in recent.items() if step.successor_known} < recent.keys()
    for row in drawn.context.observation[..., 1] + 1 - drawn.context.next_observation[..., 1]:
        np.testing.assert_array_equal(row, 0)


def test_each_batch_has_contexts_of_one_of_the_lengths() -> None:
    history = History().filled(9)
    request = Request(tasks=2, steps=1, context=(2, 3, 7))
    batches = history.replay.batches(request, 600, np.random.default_rng(0))
    lengths = [sample.context.reward.shape for sample in batches if sample.context is not None]
    assert uniform(lengths, [(2, 2), (2, 3), (2, 7)])


@pytest.mark.parametrize("slots", [10**4, 90])
@pytest.mark.parametrize("window", [1, 2, 1_000])
def test_what_is_recent_of_a_task_is_there_in_its_order(window: int, slots: int) -> None:
    history = History(slots=slots).filled(40)
    for task in history.replay.tasks.tolist():
        found = history.replay.context(task, window)
        assert history.keys(found, np.array([task])) == [[*history.of(task, window)]]
    with pytest.raises(BadInput, match=r"^task is 77; expected one of those in replay: \[0, 1, 2\]\.$"):
        history.replay.context(77, 1)


@pytest.mark.parametrize("dense", [False, True])
def test_whole_trials_are_the_columns_that_were_appended_padded_and_masked(dense: bool) -> None:
    history = History(slots=120, dense=dense).filled(40)
    asked = history.replay.tasks[[2, 0, 1, 1, 2]]
    for trajectory in (history.replay.draw_trials(asked, np.random.default_rng(seed)) for seed in range(5)):
        numbers = trajectory.observation[0, :, 0].astype(int)
        for number, task in zip(numbers, asked, strict=True):
            assert (number, 0) in history.of(task)
        longest = max(len(history.trials[each]) for each in numbers)
        assert trajectory.valid.shape == (longest, 5)
        expected = replace(concatenate([history.trajectories[each] for each in numbers]), note={})
        assert not expected.valid.all()
        same(trajectory, expected)
        assert trajectory.version == min(numbers)


def test_whole_trials_are_drawn_uniformly_of_tasks_and_of_a_tasks_trials() -> None:
    history = History()
    for task, lengths in ((0, [1]), (5, [1]), (5, [9]), (5, [4, 4])):
        history.append(task, lengths)
    drawn = history.replay.trials(2, 600, np.random.default_rng(0))
    numbers = np.stack([trajectory.observation[0, :, 0] for trajectory in drawn]).astype(int)
    assert uniform([("task", each == 0) for each in numbers.ravel().tolist()], [("task", True), ("task", False)])
    assert uniform([each for each in numbers.ravel().tolist() if each], [1, 2, 3])
    assert uniform([*zip(*(numbers.T == 0).tolist(), strict=True)], [*product([True, False], repeat=2)])


REQUEST = Request(tasks=4, steps=9, context=(7,), window=2, successors=False)


def assert_alike(one: Replay, other: Replay) -> None:
    """They hold the same, and the same random numbers draw the same."""
    same(one.tasks, other.tasks)
    same((len(one), one.steps, one.nbytes), (len(other), other.steps, other.nbytes))
    for batches in (
        lambda replay, rng: replay.batches(REQUEST, 3, rng),
        lambda replay, rng: replay.batches(REQUEST._replace(context=(3, 5)), 3, rng),
        lambda replay, rng: replay.trials(5, 3, rng),
    ):
        for mine, yours in zip(*(batches(replay, np.random.default_rng(0)) for replay in (one, other)), strict=True):
            same(mine, yours)


def assert_alike_from_now_on(history: History, restored: Replay) -> None:
    """The same trials make the same room in both."""
    for _ in range(40):
        history.filled(1)
        restored.append([next(iter(history.trials[-1].values())).task], history.trajectories[-1])
        assert numbers_kept(restored) == numbers_kept(history.replay)
    assert_alike(history.replay, restored)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("slots", [10**4, 100])
def test_what_is_restored_draws_as_what_was_exported(slots: int, dense: bool) -> None:
    history = History(slots=slots, dense=dense).filled(40)
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
        history.filled(every)
        pieces.append(history.replay.export(exported))
        exported = history.replay.appended
    same(history.replay.export(exported)["trials"], np.zeros((0, 3)))
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


def test_samples_are_joined_in_the_places_that_their_tasks_have() -> None:
    history, rng = History().filled(30), np.random.default_rng(0)
    whole = history.replay.draw_steps(np.array([2, 0, 1, 1, 0]), REQUEST, rng)
    assert whole.context is not None

    def part(places: list[int], context: bool = True) -> tuple[np.ndarray, Sample]:
        steps, recent = (Steps(*(array[places] for array in each)) for each in (whole.steps, whole.context))
        return np.array(places), Sample(whole.tasks[places], steps, recent if context else None)

    same(join([part([1, 3]), part([4, 0, 2])]), whole)
    same(join([part([0, 1, 2, 3, 4])]), whole)
    without = join([part([1, 3], context=False), part([0, 2, 4], context=False)])
    assert without.context is None
    same(without.steps, whole.steps)


def test_some_columns_of_a_trajectory_are_these_columns_of_all_its_arrays() -> None:
    history = History(dense=True).filled(4)
    whole = concatenate(history.trajectories)
    whole = replace(
        whole, note={"value": np.arange(whole.observation[..., 0].size).reshape(whole.observation.shape[:2])}
    )
    index = np.array([3, 0, 3])
    for name, array in vars(whole.columns(index)).items():
        if name == "note":
            np.testing.assert_array_equal(array["value"], whole.note["value"][:, [3, 0, 3]])
        elif isinstance(array, np.ndarray):
            np.testing.assert_array_equal(array, getattr(whole, name)[:, [3, 0, 3]], err_msg=name)
    assert [*whole.columns(index).privileged] == ["reward"]
    assert not replace(whole, privileged={}).columns(index).privileged


def test_a_dense_reward_is_padded_counted_and_learned_from_in_place_of_the_other() -> None:
    history = History(dense=True)
    for lengths in ([2], [1]):
        history.append(0, lengths)
    whole = concatenate(history.trajectories)
    np.testing.assert_array_equal(whole.privileged["reward"], [[0.5, 1000.5], [1.5, 0]])
    assert whole.outer_reward is whole.privileged["reward"]
    sparse = replace(whole, privileged={})
    assert sparse.outer_reward is sparse.reward
    assert whole.nbytes == sparse.nbytes + 4 * 4


def test_sparse_navigation_gives_the_distance_to_learn_from_where_it_is_asked_to(
    experiment_on: ExperimentOn, shaken: Made, played: Played
) -> None:
    family = SparsePointNavigation(horizon=4, dense=True)
    experiment = experiment_on(family, episodes=2)
    trajectory = played(experiment, shaken(experiment), n=6)
    goal = family.sample(streams(3, "train", 0).tasks, 6, "train")["goal"]
    assert trajectory.privileged["reward"].dtype == np.float32
    position = np.zeros((6, 2))
    for t in range(8):
        position = np.where(t == 4, 0, position) + np.clip(trajectory.action[t], -0.1, 0.1)
        distance = np.hypot(*(position - goal).T)
        np.testing.assert_allclose(trajectory.privileged["reward"][t], -distance, atol=1e-5)
        np.testing.assert_allclose(trajectory.reward[t], np.where(distance <= 0.2, 1 - distance, 0), atol=1e-5)
    for other in (SparsePointNavigation(horizon=4), PointNavigation(horizon=4)):
        experiment = experiment_on(other, episodes=2)
        assert played(experiment, shaken(experiment), n=6).privileged == {}
