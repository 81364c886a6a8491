"""Replay: bounded, oldest trials first out; what is drawn is what was played, uniformly, and nothing that was not.

Every transition has a number of its own, which its action, rewards and flags follow from, and every observation says of
which trial and step it is. So a draw is looked up, one transition after the other, in a table of all that was played.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from fixture_types import ExperimentOn, Made, Played
from histories import PLENTY, REQUEST, SLOT, History, numbers_kept, same, uniform

from innerloop.envs.errors import BadInput
from innerloop.envs.navigation import PointNavigation, SparsePointNavigation
from innerloop.envs.seeding import streams
from innerloop.learner.replay import Replay
from innerloop.learner.sampling import Request, Sample, Steps, choose, join
from innerloop.learner.trajectory import Trajectory, concatenate


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


@pytest.mark.parametrize("most", [0, 5, 10**6])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("slots", [10**4, 90])
@pytest.mark.parametrize("window", [1, 2, 1_000])
def test_what_is_recent_of_a_task_is_there_as_it_was_seen(window: int, slots: int, share: float, most: int) -> None:
    history = History(slots=slots).filled(60, from_context=share)
    tasks = [77, *history.replay.tasks.tolist()]
    nothing, *contexts = history.replay.contexts(tasks, window, most)
    assert nothing is None
    for task, found in zip(tasks[1:], contexts, strict=True):
        assert found is not None
        seen = [history.trajectories[trial] for trial in history.recent(task, window)]
        for name in ("action", "reward", "terminated", "truncated", "valid"):
            whole = np.concatenate([getattr(trial, name) for trial in seen])
            np.testing.assert_array_equal(getattr(found, name), whole[: most or None])
        whole = np.concatenate([*(trial.observation[:-1] for trial in seen), seen[-1].observation[-1:]])
        np.testing.assert_array_equal(found.observation, whole[: most + 1 if most else None])


@pytest.mark.parametrize("slots", [10**4, 90])
def test_no_context_is_made_of_trials_that_began_from_one_and_transitions_are(slots: int) -> None:
    history = History(slots=slots).filled(60, from_context=0.5)
    request = Request(tasks=2, steps=300, context=(4,), window=3)
    for sample in history.replay.batches(request, 60, np.random.default_rng(0)):
        assert sample.context is not None
        drawn = history.keys(sample.context, sample.tasks), history.keys(sample.steps, sample.tasks)
        for task, context, steps in zip(sample.tasks.tolist(), *drawn, strict=True):
            assert {trial for trial, _ in context} <= {*history.recent(task, 3)}
            assert {trial for trial, _ in steps} == {trial for trial, _ in history.of(task) if (trial, _) in steps}
            assert any(history.from_context[trial] for trial, _ in steps) or not any(
                history.from_context[next(iter(trial))[0]] for trial in history.trials_of(task)
            )


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
