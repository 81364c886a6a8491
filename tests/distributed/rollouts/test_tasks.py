"""The order of fixed training tasks: repeatable, balanced or worst first, and taken up again where it was left."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from innerloop.distributed.rollouts.tasks import TaskOrder
from innerloop.envs.errors import BadInput
from innerloop.learner.checkpoint import Checkpoints

BOTH = ["balanced", "prioritised"]


@pytest.mark.parametrize("order", BOTH)
def test_where_every_trial_is_of_a_new_task_there_is_nothing_to_choose(order: str) -> None:
    made = TaskOrder(0, order, 0)
    assert made.choose(3, 8) == ()
    assert made.state() == {}
    made.load({})
    assert made.choose(4, 8) == ()


@pytest.mark.parametrize(("tasks", "trials"), [(10, 4), (4, 10), (7, 7), (1, 3), (100, 1), (3, 8)])
def test_balanced_plays_every_task_equally_often(tasks: int, trials: int) -> None:
    """After any iteration, no task has been played twice more often than another."""
    made, counts = TaskOrder(tasks, "balanced", 0), Counter(dict.fromkeys(range(tasks), 0))
    for iteration in range(60):
        chosen = made.choose(iteration, trials)
        assert len(chosen) == trials
        assert all(type(task) is int for task in chosen)
        counts.update(chosen)
        assert counts.keys() == {*range(tasks)}
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize(
    "trials", [[8, 6, 4, 3, 2, 2, 2, 9], [1, 1, 30, 1, 1, 7], [5, 12, 5, 12, 5]], ids=["curriculum", "burst", "turns"]
)
def test_balanced_plays_every_task_equally_often_however_the_number_of_trials_changes(trials: list[int]) -> None:
    made, places = TaskOrder(5, "balanced", 0), []
    for iteration, count in enumerate(trials):
        places += made.choose(iteration, count)
        counts = np.bincount(places, minlength=5)
        assert counts.max() - counts.min() <= 1
    constant = TaskOrder(5, "balanced", 0)  # the same endless shuffle, cut differently
    assert places == [task for iteration in range(len(places)) for task in constant.choose(iteration, 1)]


def test_a_resumed_run_with_another_number_of_trials_goes_on_where_it_was(tmp_path: Path) -> None:
    """Iterations that were requested ahead are chosen for again, from where the last one that is over ended."""
    made, before = TaskOrder(7, "balanced", 3), []
    for iteration, count in enumerate([9, 6, 5, 4]):
        chosen = made.choose(iteration, count)
        before += chosen if iteration < 2 else ()
    made.over(2)
    checkpoints = Checkpoints(str(tmp_path))
    checkpoints.save(made.state(), {"version": 2}, {})
    resumed = TaskOrder(7, "balanced", 3)
    resumed.load(checkpoints.newest().arrays)
    assert made.state()["tasks/starts"].tolist() == [[2, 15], [3, 20], [4, 24]]  # no more than is needed
    after = [task for iteration, count in enumerate([2, 11], 2) for task in resumed.choose(iteration, count)]
    constant = TaskOrder(7, "balanced", 3)
    assert before + after == [task for iteration in range(28) for task in constant.choose(iteration, 1)]


def test_a_checkpoint_that_does_not_say_where_it_was_goes_on_as_it_always_did() -> None:
    made, constant = TaskOrder(7, "balanced", 3), TaskOrder(7, "balanced", 3)
    made.load({"tasks/episodes": np.zeros(7, np.int64), "tasks/last_return": np.full(7, np.nan)})
    assert made.choose(4, 5) == tuple(constant.choose(place, 1)[0] for place in range(20, 25))


@pytest.mark.parametrize("given", [0, 5, 20])
def test_another_number_of_tasks_than_the_checkpoints_is_refused(given: int) -> None:
    trained = TaskOrder(8, "prioritised", 0)
    trained.played((7, 1), np.ones((2, 3)))
    with pytest.raises(BadInput, match=rf"^tasks is {given}; expected 8, as many as the run has trained on\.$"):
        TaskOrder(given, "prioritised", 0).load(trained.state())


def test_balanced_depends_on_the_seed_and_the_iteration_alone() -> None:
    first, second, other = (TaskOrder(20, "balanced", seed) for seed in (0, 0, 1))
    expected = [first.choose(iteration, 6) for iteration in range(30)]
    for iteration in reversed(range(30)):  # in another order, with other results
        second.played(second.choose(iteration, 6), np.full((6, 2), iteration))
        assert second.choose(iteration, 6) == expected[iteration]
    assert [other.choose(iteration, 6) for iteration in range(30)] != expected
    passes = np.array(expected[:10] + expected[10:20]).reshape(6, 20)
    assert len({tuple(each) for each in passes.tolist()}) == 6  # each pass is shuffled anew


def counted(made: TaskOrder, iterations: int = 400, trials: int = 10) -> np.ndarray:
    drawn = np.concatenate([made.choose(iteration, trials) for iteration in range(iterations)])
    return np.bincount(drawn, minlength=len(made.episodes)) / len(drawn)


def test_prioritised_prefers_what_went_worse_and_most_of_all_what_was_never_played() -> None:
    """In proportion to the rank: of four tasks 4, 3, 2 and 1 tenths."""
    made = TaskOrder(4, "prioritised", 0)
    made.played((0, 2, 3), np.array([[5.0, 1.0], [-3.0, 2.0], [50.0, 50.0]]))
    np.testing.assert_allclose(counted(made), [0.2, 0.4, 0.3, 0.1], atol=0.03)
    made.played((1, 2), np.array([[-100.0, 0.0], [900.0, 0.0]]))
    np.testing.assert_allclose(counted(made), [0.3, 0.4, 0.1, 0.2], atol=0.03)


def test_prioritised_depends_on_the_seed_the_iteration_and_what_was_played() -> None:
    first, second, other = (TaskOrder(20, "prioritised", seed) for seed in (0, 0, 1))
    for made in (first, second, other):
        made.played(tuple(range(20)), np.arange(20.0)[:, None])
    for iteration in (5, 3, 4):
        assert first.choose(iteration, 50) == second.choose(iteration, 50) != other.choose(iteration, 50)
    assert first.choose(3, 50) != first.choose(4, 50)
    second.played(tuple(range(20)), -np.arange(20.0)[:, None])
    assert first.choose(3, 50) != second.choose(3, 50)


def test_episodes_are_counted_and_the_last_trials_return_is_kept() -> None:
    made = TaskOrder(4, "balanced", 0)
    np.testing.assert_array_equal(made.last_return, np.nan)
    made.played((2, 0), np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    made.played((2, 2), np.array([[7.0, 0.0, 0.0], [0.0, 0.0, 8.0]]))
    np.testing.assert_array_equal(made.episodes, [3, 0, 9, 0])
    np.testing.assert_array_equal(made.last_return, [15, np.nan, 8, np.nan])


def test_of_a_task_that_is_played_in_several_columns_their_mean_counts() -> None:
    """What adapts by gradient plays rollouts of a task side by side, next to each other."""
    made = TaskOrder(4, "prioritised", 0)
    made.played((3, 1), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [10.0, 0.0], [20.0, 0.0], [60.0, 0.0]]))
    np.testing.assert_allclose(made.last_return, [np.nan, 30, np.nan, 7])


@pytest.mark.parametrize("order", BOTH)
def test_a_run_that_goes_on_chooses_as_if_it_had_not_been_stopped(order: str, tmp_path: object) -> None:
    made, rng = TaskOrder(9, order, 5), np.random.default_rng(0)
    for iteration in range(6):
        made.played(made.choose(iteration, 4), rng.normal(size=(4, 2)))
    checkpoints = Checkpoints(str(tmp_path))
    checkpoints.save(made.state(), {"version": 6}, {})
    resumed = TaskOrder(9, order, 5)
    resumed.load(checkpoints.newest().arrays)
    for iteration in range(6, 12):
        chosen, returns = made.choose(iteration, 4), rng.normal(size=(4, 2))
        assert resumed.choose(iteration, 4) == chosen
        for each in (made, resumed):
            each.played(chosen, returns)
    for name, array in made.state().items():
        np.testing.assert_array_equal(resumed.state()[name], array, err_msg=name)
        assert resumed.state()[name].dtype == array.dtype


def test_what_was_loaded_is_not_changed_by_what_is_played() -> None:
    made = TaskOrder(3, "balanced", 0)
    arrays = {"tasks/episodes": np.array([1, 2, 3]), "tasks/last_return": np.array([1.0, np.nan, 3.0])}
    made.load(arrays)
    made.played((1,), np.ones((1, 2)))
    np.testing.assert_array_equal(arrays["tasks/episodes"], [1, 2, 3])
    np.testing.assert_array_equal(arrays["tasks/last_return"], [1, np.nan, 3])


def test_a_checkpoint_without_fixed_tasks_leaves_it_as_it_is() -> None:
    made = TaskOrder(3, "balanced", 0)
    made.played((1,), np.ones((1, 2)))
    made.load({})
    np.testing.assert_array_equal(made.episodes, [0, 2, 0])
