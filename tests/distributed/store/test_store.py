"""One contract for every store; what is Redis's alone is in test_store_redis*.py."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import ray
from processes import until
from ray.exceptions import ObjectLostError
from redis_stores import needs_redis
from scipy.stats import chisquare

from innerloop.actors.actor import Assignment
from innerloop.distributed.store.api import Store, Whereabouts, summarise
from innerloop.distributed.store.ray import RayStore
from innerloop.distributed.store.redis.store import RedisStore
from innerloop.learner.api import Consumes
from innerloop.learner.sampling import Request, Sample
from innerloop.learner.trajectory import Trajectory

pytestmark = pytest.mark.usefixtures("own_ray")

Open = Callable[..., Store]
NAMES = (f"contract{number}" for number in count())
STORES = ("ray", "redis")


@pytest.fixture(params=[pytest.param(name, marks=needs_redis if name == "redis" else ()) for name in STORES])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens the store, begun, and closes it after the test."""
    place = request.getfixturevalue("server").url if request.param == "redis" else "ray"
    with ExitStack() as stack:

        def make(consumes: Consumes = "fresh", capacity: int = 2**20) -> Store:
            store = (
                in_ray(consumes, capacity)
                if place == "ray"
                else RedisStore(place, next(NAMES), capacity=capacity, consumes=consumes)
            )
            stack.callback(store.close)
            assert store.begin(0) == []
            return store

        yield make


def in_ray(consumes: Consumes, capacity: int = 2**20) -> RayStore:
    return RayStore(0 if consumes == "fresh" else 2, capacity)


def trajectory(number: float, version: int = 0, columns: int = 1, steps: int = 6) -> Trajectory:
    """Trials of two episodes; reward and observation say which column and step they are of."""
    step, column = np.arange(steps + 1, dtype=np.float32)[:, None], np.arange(columns, dtype=np.float32)
    observation = (number + column + step / 100)[..., None]
    nothing = np.zeros((steps, columns), np.bool_)
    ends = nothing.copy()
    ends[[steps // 2 - 1, -1]] = True
    return Trajectory(
        observation=observation,
        action=observation[:-1] / 2,
        reward=observation[:-1, :, 0],
        terminated=nothing,
        truncated=ends,
        valid=~nothing,
        version=version,
    )


def deliver(store: Store, assignment: Assignment, played: Trajectory) -> None:
    """What an actor does, and what the pool then says of it."""
    if store.writer:
        store.writer.write(assignment, played)
    place = None if store.writer else Whereabouts(ray.put([played]), 0)
    store.append(assignment, summarise(played), place)


def wait_for(store: Store, trajectories: int) -> None:
    until(lambda: len(store) >= trajectories, pause=0.01)


def fill(store: Store, *versions: int) -> None:
    for part in reversed(range(len(versions))):  # as if the last had finished first
        deliver(store, Assignment(0, part, 1), trajectory(part, versions[part]))
    wait_for(store, len(versions))


def keep(store: Store, trials: int, tasks: int, iteration: int = 0) -> None:
    """Trial i is of task i % tasks, and its numbers begin at 10 times that."""
    for trial in range(trials):
        task = trial % tasks
        deliver(store, Assignment(iteration, trial, 1, (task,)), trajectory(10 * task, iteration))
    wait_for(store, trials)
    kept = store.keep(trials)
    assert [assignment.part for assignment in kept.kept] == [*range(trials)]
    assert all(summary.steps == 6 for summary in kept.kept.values())
    assert not kept.lost


def draw(store: Store, request: Request, count: int = 1, seed: int = 0) -> list[Sample]:
    return [*store.replay.batches(request, count, np.random.default_rng(seed))]


def test_trajectories_come_once_and_in_order_whoever_finished_first(opened: Open) -> None:
    store = opened()
    fill(store, 5, 5, 5)
    assert len(store) == 3
    first = store.take(2, oldest_version=5)
    assert [t.reward[0, 0] for t in first.trajectories.values()] == [0, 1]
    store.learned([*first.trajectories])
    second = store.take(2, oldest_version=5)
    assert [t.reward[0, 0] for t in second.trajectories.values()] == [2]
    assert len(store) == 0
    assert not store.take(2, oldest_version=5).trajectories


def test_what_is_too_old_is_dropped_and_named(opened: Open) -> None:
    store = opened()
    fill(store, 3, 5, 4)
    taken = store.take(3, oldest_version=4)
    assert {a.part: t.version for a, t in taken.trajectories.items()} == {1: 5, 2: 4}
    assert taken.stale == [Assignment(0, 0, 1)]
    assert len(store) == 0


def test_what_was_kept_is_sampled_by_task(opened: Open) -> None:
    store = opened(consumes="replay")
    keep(store, trials=12, tasks=4)
    assert len(store) == 0
    assert store.replay.played == 12 * 6
    assert store.counts["replay_trials"] == 12
    for sample in draw(store, Request(tasks=8, steps=16, context=(5,)), 5):
        for steps, length in ((sample.steps, 16), (sample.context, 5)):
            assert steps is not None
            assert steps.reward.shape == (8, length)
            expected = np.broadcast_to(sample.tasks[:, None], steps.reward.shape)
            np.testing.assert_array_equal(steps.reward // 10, expected)
            np.testing.assert_array_equal(steps.reward, steps.observation[..., 0])
            np.testing.assert_array_equal(steps.action[..., 0], steps.reward / 2)
        np.testing.assert_allclose(sample.steps.next_observation, sample.steps.observation + 0.01, atol=1e-5)


def test_what_is_taken_is_in_replay_too_where_both_are_consumed(opened: Open) -> None:
    store = opened(consumes="both")
    for task in range(4):
        deliver(store, Assignment(0, task, 1, (task,)), trajectory(10 * task, version=5 - task))
    wait_for(store, 4)
    taken = store.take(9, oldest_version=4)
    assert sorted(each.part for each in taken.trajectories) == [0, 1]
    assert sorted(each.part for each in taken.stale) == [2, 3]  # in neither
    assert store.counts["replay_trials"] == 2
    store.learned([*taken.trajectories])
    assert store.counts["replay_trials"] == 2
    drawn = np.concatenate([sample.tasks for sample in draw(store, Request(tasks=50, steps=1), 2)])
    assert {*drawn.tolist()} == {0, 1}


def test_batches_are_uniform_over_tasks_however_much_is_kept_of_each(opened: Open) -> None:
    store = opened(consumes="replay")
    keep(store, trials=9, tasks=6)  # two trials of three tasks, one of the others
    drawn = np.concatenate([sample.tasks for sample in draw(store, Request(tasks=200, steps=1), 10)])
    assert chisquare(np.bincount(drawn, minlength=6)).pvalue > 0.01


def test_the_same_draws_come_again(opened: Open) -> None:
    store = opened(consumes="replay")
    keep(store, trials=6, tasks=3)
    request = Request(tasks=4, steps=3, context=(2,))
    first, again, other = (draw(store, request, 6, seed) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.steps.reward, b.steps.reward)
    assert any((a.steps.reward != b.steps.reward).any() for a, b in zip(first, other, strict=True))


def test_whole_trials_are_what_was_played(opened: Open) -> None:
    store = opened(consumes="replay")
    keep(store, trials=6, tasks=3)
    [trials] = store.replay.trials(5, 1, np.random.default_rng(0))
    for column in range(5):
        task = trials.reward[0, column]
        for name in ("observation", "action", "reward", "truncated", "terminated", "valid"):
            expected = getattr(trajectory(task), name)[:, 0]
            np.testing.assert_array_equal(getattr(trials, name)[:, column], expected)


def test_the_context_of_a_task_is_what_was_last_played_of_it(opened: Open) -> None:
    store = opened(consumes="replay")
    for iteration in range(3):
        for task in (0, 1):
            deliver(store, Assignment(iteration, task, 1, (task,)), trajectory(10 * task + 100 * iteration, iteration))
        wait_for(store, 2)
        store.keep(2)
    for window, iterations in ((1, [2]), (2, [1, 2]), (9, [0, 1, 2])):
        one, nothing, zero, again = store.replay.contexts([1, 5, 0, 1], window)
        assert nothing is None
        for task, found in ((1, one), (0, zero), (1, again)):
            assert found is not None
            seen = [trajectory(10 * task + 100 * i) for i in iterations]
            for name in ("action", "reward", "terminated", "truncated", "valid"):
                np.testing.assert_array_equal(getattr(found, name), np.concatenate([getattr(t, name) for t in seen]))
        [short] = store.replay.contexts([1], window, most=4)
        assert short is not None
        assert one is not None
        np.testing.assert_array_equal(short.reward, one.reward[:4])
        assert len(short.observation) == 5


def test_no_context_is_made_of_what_began_from_one_while_there_is_anything_else(opened: Open) -> None:
    store = opened(consumes="replay")
    for iteration, flag in enumerate((1, 0, 1, 1)):
        assignment = Assignment(iteration, 0, 2, (3, 4), 2, (flag, 0))
        deliver(store, assignment, trajectory(100 * iteration, iteration, columns=2))
        wait_for(store, 1)
        store.keep(1)
        newest = [found.reward[0, 0] for found in store.replay.contexts([3, 4], 1) if found is not None]
        assert newest == [0 if iteration == 0 else 100, 100 * iteration + 1]
    request = Request(tasks=64, steps=50, context=(6,), window=4)
    [sample] = draw(store, request)
    assert sample.context is not None
    hundreds = np.floor(sample.context.reward[sample.tasks == 3] / 100)
    assert {*hundreds.ravel().tolist()} == {1}
    assert {*np.floor(sample.steps.reward[sample.tasks == 3] / 100).ravel().tolist()} == {0, 1, 2, 3}


def test_a_context_is_never_older_than_its_window(opened: Open) -> None:
    store = opened(consumes="replay")
    for iteration in range(3):
        deliver(store, Assignment(iteration, 0, 1, (0,)), trajectory(100 * iteration))
        wait_for(store, 1)
        store.keep(1)
    for window, oldest in ((1, 200), (2, 100), (3, 0)):
        [sample] = draw(store, Request(tasks=64, steps=20, context=(6,), window=window))
        assert sample.context is not None
        assert np.floor(sample.context.reward.min() / 100) * 100 == oldest
        assert sample.steps.reward.min() < 100  # of all that is kept


def test_replay_is_bounded_by_bytes_and_the_oldest_trials_make_room(opened: Open) -> None:
    capacity = 20_000
    store = opened(consumes="replay", capacity=capacity)
    for iteration in range(4):
        keep(store, trials=60, tasks=6, iteration=iteration)
        assert store.counts["replay_bytes"] <= capacity
    counts = store.counts
    assert counts["replay_evicted"] > 0
    assert counts["replay_evicted"] + counts["replay_trials"] == 240
    assert store.replay.played == 240 * 6


def test_what_is_exported_fills_another(opened: Open) -> None:
    store = opened(consumes="replay")
    keep(store, trials=6, tasks=3)
    saved = [store.export()]
    keep(store, trials=6, tasks=3, iteration=1)
    saved.append(store.export())
    other = opened(consumes="replay")
    other.restore([arrays for arrays in saved if arrays], played=72)
    assert other.replay.played == 72
    if saved[0]:  # a store that outlives the run has nothing to export
        assert not store.export()
        request = Request(tasks=4, steps=3, context=(2,))
        for a, b in zip(draw(store, request, 3), draw(other, request, 3), strict=True):
            np.testing.assert_array_equal(a.steps.reward, b.steps.reward)


def test_a_run_that_was_deleted_is_not_there(opened: Open) -> None:
    store = opened(consumes="replay")
    keep(store, trials=2, tasks=2)
    store.delete()
    assert not store.exists()


@ray.remote(num_cpus=0)
class Owner:
    """What it puts into the object store dies with it."""

    def put(self, trajectory: Trajectory) -> list[ray.ObjectRef]:
        return [ray.put([trajectory])]


def lost_reference() -> ray.ObjectRef:
    """Ray takes a moment to notice."""
    owner = Owner.remote()
    large = replace(trajectory(7, 1), note={"large": np.zeros((7, 1, 50_000))})  # so that it lives in shared memory
    [reference] = ray.get(owner.put.remote(large))
    ray.kill(owner)

    def lost() -> bool:
        try:
            ray.get(reference)
        except ObjectLostError:
            return True
        return False

    until(lost, what="the object was not lost")
    return reference


@pytest.mark.parametrize("consumes", ["fresh", "replay", "both"])
def test_what_is_lost_with_its_machine_is_named_and_the_rest_is_delivered(consumes: Consumes) -> None:
    """In Ray; what is lost on the way to Redis is in test_store_redis.py."""
    store = in_ray(consumes)
    summary = summarise(trajectory(7, 1))
    store.append(Assignment(0, 1, 1, (1,)), summary, Whereabouts(lost_reference(), 0))
    deliver(store, Assignment(0, 0, 1, (0,)), trajectory(0, 1))
    done = store.take(2, oldest_version=1) if consumes != "replay" else store.keep(2)
    assert done.lost == [Assignment(0, 1, 1, (1,))]
    assert [*done[0]] == [Assignment(0, 0, 1, (0,))]
    store.close()


def test_a_shard_that_dies_is_replaced_while_batches_are_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    store = in_ray(consumes="replay")
    keep(store, trials=8, tasks=4)
    batches = store.replay.batches(Request(tasks=4, steps=2), 20, np.random.default_rng(0))
    next(batches)
    ray.kill(store.replay.shards[0])
    assert len([*batches]) == 19
    assert store.counts["replay_lost"] == store.counts["replay_trials"] == 4
    assert "4 trials of 2 tasks are lost" in caplog.text
    keep(store, trials=4, tasks=4, iteration=1)
    assert store.counts["replay_trials"] == 8
    store.close()
