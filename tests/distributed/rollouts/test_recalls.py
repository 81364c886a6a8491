"""Which trials begin from a context: drawn of a whole iteration, and only where something is known of the task."""

import numpy as np
import pytest

from innerloop.actors.assignment import Assignment
from innerloop.distributed.rollouts.recalls import Recalls
from innerloop.distributed.rollouts.tasks import assignments
from innerloop.learner.api import Recall
from innerloop.learner.replay import Replay
from innerloop.learner.trajectory import Trajectory

TASKS = 20


def played(task: int) -> Trajectory:
    """Three steps whose reward is their task."""
    flags = np.zeros((3, 1), np.bool_)
    ends = flags.copy()
    ends[-1] = True
    reward = np.full((3, 1), task, np.float32)
    return Trajectory(
        observation=np.zeros((4, 1), np.int64), action=np.zeros((3, 1), np.int64), reward=reward,
        terminated=flags, truncated=ends, valid=~flags,
    )  # fmt: skip


@pytest.fixture
def replay() -> Replay:
    """That knows the even tasks."""
    replay = Replay(2**20)
    for task in range(0, TASKS, 2):
        replay.append([task], played(task))
    return replay


def iteration(number: int, parts: int) -> list[Assignment]:
    return assignments(number, TASKS, parts, tuple(range(TASKS)), 1)


def marked(chosen: list[Assignment]) -> list[int]:
    """The tasks whose trials begin from a context."""
    flags = [flag for each in chosen for flag in each.from_context or (0,) * each.trials]
    return [task for task, flag in enumerate(flags) if flag]


def test_trials_of_known_tasks_alone_begin_from_their_own_contexts(replay: Replay) -> None:
    recalls = Recalls(Recall(1.0, 2), replay, seed=0)
    chosen = recalls.choose(iteration(0, 6))
    assert marked(chosen) == [*range(0, TASKS, 2)]
    for each in chosen:
        contexts = recalls.contexts[each]
        np.testing.assert_array_equal(contexts.valid.any(0), each.from_context)
        for column, task in enumerate(each.tasks):
            assert (contexts.reward[:, column] == task).all() or task % 2
        assert len(contexts.reward) == 2  # of three


def test_into_how_many_parts_an_iteration_is_divided_does_not_matter_and_the_seed_does(replay: Replay) -> None:
    found = {
        (seed, number, parts): tuple(marked(Recalls(Recall(0.5, 9), replay, seed).choose(iteration(number, parts))))
        for seed in (0, 1) for number in (0, 1) for parts in (1, 3, 20)
    }  # fmt: skip
    assert len({*found.values()}) == 4
    for (seed, number, _), tasks in found.items():
        assert tasks == found[seed, number, 1]
        assert 0 < len(tasks) < TASKS // 2


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_is_asked_of_replay_where_nothing_is_wanted_or_no_task_is_fixed(share: float) -> None:
    recalls = Recalls(Recall(share, 9), Replay(1), seed=0)
    given = iteration(0, 3) if not share else assignments(0, TASKS, 3)
    assert recalls.choose(given) == given
    assert not recalls.contexts


def test_contexts_are_held_as_long_as_their_trials_may_be_played_again(replay: Replay) -> None:
    recalls = Recalls(Recall(1.0, 9), replay, seed=0)
    for number in range(3):
        recalls.choose(iteration(number, 2))
    recalls.over(2)
    assert {each.iteration for each in recalls.contexts} == {2}
