"""A Redis for the tests, and stores in it; dashboards that answer what they are told to."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest
from dashboards import Answers, Dashboard
from redis_server import RedisServer
from redis_stores import Open

from innerloop.distributed.store.redis.store import RedisStore
from innerloop.learner.api import Consumes

NAMES = (f"run{number}" for number in count())


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One that many runs share."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def durable() -> Iterator[RedisServer]:
    """One that can be killed."""
    with RedisServer(durable=True) as server:
        yield server


@pytest.fixture
def open_store() -> Iterator[Open]:
    """Stores that are closed after the test; of a run of their own, unless it is named."""
    with ExitStack() as stack:

        def make(
            server: RedisServer, run: str = "", *, url: str = "", consumes: Consumes = "fresh", **options: float
        ) -> RedisStore:
            given = {"capacity": 10**7} | options
            store = RedisStore(url or server.url, run or next(NAMES), consumes=consumes, **given)
            stack.callback(store.close)
            return store

        yield make


@pytest.fixture
def serve() -> Iterator[Callable[[Answers], Dashboard]]:
    """Dashboards that are closed after the test."""
    with ExitStack() as stack:

        def make(answers: Answers) -> Dashboard:
            dashboard = Dashboard(answers)
            stack.callback(dashboard.close)
            return dashboard

        yield make
