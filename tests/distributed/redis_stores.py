"""Shared by the tests of the store in Redis: trajectories by number, written, announced and awaited."""

from collections.abc import Callable

import numpy as np
import pytest
from processes import BEGIN_SECONDS, until
from redis_server import RedisServer, find_server

from innerloop.actors.actor import Assignment
from innerloop.distributed.store.api import summarise
from innerloop.distributed.store.redis.store import RedisStore
from innerloop.learner.trajectory import Trajectory

needs_redis = pytest.mark.skipif(find_server() is None, reason="no redis-server of version 6.2 or newer is installed")
Open = Callable[..., RedisStore]


def begun(store: RedisStore, version: int = 0) -> RedisStore:
    assert store.begin(version) == []
    return store


def trajectory(number: float, version: int = 0, *, steps: int = 5, columns: int = 1) -> Trajectory:
    """Of one episode, whose first reward is a given number."""
    rng = np.random.default_rng(int(number))
    reward = rng.normal(size=(steps, columns)).astype(np.float32)
    reward[0] = number
    end = np.zeros((steps, columns), np.bool_)
    end[-1] = True
    return Trajectory(
        observation=rng.normal(size=(steps + 1, columns, 2)).astype(np.float32),
        action=rng.integers(4, size=(steps, columns), dtype=np.int8),
        reward=reward,
        terminated=end,
        truncated=np.zeros_like(end),
        valid=np.ones_like(end),
        note={"value": rng.normal(size=(steps + 1, columns))},
        version=version,
    )


def play(store: RedisStore, assignment: Assignment, played: Trajectory | None = None) -> None:
    """What an actor does, and what the pool then says of it."""
    played = played or trajectory(assignment.part)
    store.writer.write(assignment, played)
    store.append(assignment, summarise(played), None)


def wait_until(condition: Callable[[], object], seconds: float = BEGIN_SECONDS) -> None:
    until(condition, seconds, pause=0.01)


def wait_for(store: RedisStore, trajectories: int) -> None:
    wait_until(lambda: len(store) >= trajectories)
    assert len(store) == trajectories


def entries(server: RedisServer, store: RedisStore) -> int:
    """In the run's stream."""
    with server.client() as client:
        return int(client.xlen(store.writer.keys.trajectories))  # pyright: ignore[reportArgumentType]


def numbers(trajectories: dict[Assignment, Trajectory]) -> list[float]:
    return [float(t.reward[0, 0]) for t in trajectories.values()]
