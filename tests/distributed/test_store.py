"""One contract for every store."""

import time
from collections.abc import Callable

import numpy as np
import pytest
import ray
from ray.exceptions import ObjectLostError

from innerloop.actors.actor import Assignment
from innerloop.distributed.store import RayStore, Store
from innerloop.learner.trajectory import Trajectory

pytestmark = pytest.mark.usefixtures("own_ray")

STORES: list[Callable[[], Store]] = [RayStore]


def trajectory(number: float, version: int) -> Trajectory:
    flags = np.zeros((20_000, 1), np.bool_)  # large enough to live in shared memory
    reward = np.full((20_000, 1), number, np.float32)
    return Trajectory(
        observation=np.zeros((20_001, 1)),
        action=reward,
        reward=reward,
        terminated=flags,
        truncated=flags,
        valid=~flags,
        version=version,
    )


@ray.remote(num_cpus=0)
class Owner:
    """What it puts into the object store dies with it."""

    def put(self, trajectory: Trajectory) -> list[ray.ObjectRef]:
        return [ray.put(trajectory)]


def wait_until_lost(reference: ray.ObjectRef) -> None:
    """Ray takes a moment to notice."""
    for _ in range(100):
        try:
            ray.get(reference)
        except ObjectLostError:
            return
        time.sleep(0.1)
    raise AssertionError("the object was not lost within 10 seconds")


def fill(store: Store, *versions: int) -> list[ray.ObjectRef]:
    references = [ray.put(trajectory(part, version)) for part, version in enumerate(versions)]
    for part in reversed(range(len(versions))):  # as if the last had finished first
        store.append(Assignment(0, part, 1), versions[part], references[part])
    return references


@pytest.mark.parametrize("make", STORES)
def test_trajectories_come_once_and_in_order_whoever_finished_first(make: Callable[[], Store]) -> None:
    store = make()
    fill(store, 5, 5, 5)
    assert len(store) == 3
    first = store.take(2, oldest_version=5)
    assert [t.reward[0, 0] for t in first.trajectories.values()] == [0, 1]
    second = store.take(2, oldest_version=5)
    assert [t.reward[0, 0] for t in second.trajectories.values()] == [2]
    assert len(store) == 0
    assert not store.take(2, oldest_version=5).trajectories


@pytest.mark.parametrize("make", STORES)
def test_what_is_too_old_is_dropped_and_named(make: Callable[[], Store]) -> None:
    store = make()
    fill(store, 3, 5, 4)
    taken = store.take(3, oldest_version=4)
    assert {a.part: t.version for a, t in taken.trajectories.items()} == {1: 5, 2: 4}
    assert taken.stale == [Assignment(0, 0, 1)]
    assert len(store) == 0


@pytest.mark.parametrize("make", STORES)
def test_what_is_lost_is_named_and_the_rest_is_delivered(make: Callable[[], Store]) -> None:
    store = make()
    owner = Owner.remote()
    [reference] = ray.get(owner.put.remote(trajectory(7, 1)))
    fill(store, 1)
    store.append(Assignment(0, 1, 1), 1, reference)
    ray.kill(owner)
    wait_until_lost(reference)
    taken = store.take(2, oldest_version=1)
    assert taken.lost == [Assignment(0, 1, 1)]
    assert [t.reward[0, 0] for t in taken.trajectories.values()] == [0]
