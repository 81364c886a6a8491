"""Runs through Redis: the same bits, and a crash that nothing is lost in."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer, find_server
from small_runs import final, mixing, replaying, same_bits, small

from innerloop.actors.assignment import Assignment
from innerloop.distributed.config import Config
from innerloop.distributed.runs.lines import read_lines
from innerloop.distributed.store.api import Summary, Whereabouts
from innerloop.distributed.store.redis.store import RedisStore
from innerloop.distributed.trainer import Components, resume, train
from innerloop.envs.errors import BadInput

pytestmark = pytest.mark.usefixtures("own_ray")


CANARY = "c4n-ary-password"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    if find_server() is None:
        pytest.skip("no redis-server of version 6.2 or newer is installed")
    with RedisServer(password=CANARY, durable=True) as server:
        yield server


def test_a_run_through_redis_changes_no_bit_and_leaves_no_password(
    server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(small(), tmp_path / "ray")
    train(small(store=server.url, actors=2), tmp_path / "redis")
    assert same_bits(final(tmp_path / "ray"), final(tmp_path / "redis"))
    assert read_lines(tmp_path / "redis" / "metrics.jsonl")[-1]["quarantined"] == 0
    for file in (tmp_path / "redis").rglob("*"):
        assert file.is_dir() or CANARY.encode() not in file.read_bytes()
    assert CANARY not in caplog.text


def returning(**options: Any) -> Config:
    """Some trials begin from contexts."""
    return replaying(posterior_share=0.5, **options)


@pytest.mark.parametrize("make", [small, returning, mixing], ids=["rl2", "pearl", "both"])
def test_a_run_through_redis_goes_on_after_a_crash(
    make: Callable[..., Config], server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the learner and of the server: what the server holds is found again under the run's name."""
    train(make(store=server.url), tmp_path / "whole")

    def die(line: dict[str, Any]) -> None:
        if line["iteration"] == 3:
            raise RuntimeError("dies")  # no checkpoint of the third iteration but the one that a dying run saves

    with pytest.raises(RuntimeError, match="dies"):
        train(make(store=server.url), tmp_path / "dead", watch=die)
    server.kill()
    server.start()
    monkeypatch.setenv("INNERLOOP_REDIS_PASSWORD", CANARY)  # the saved configuration does not have it
    resume(tmp_path / "dead", trust_plugins=True)
    assert same_bits(final(tmp_path / "whole"), final(tmp_path / "dead"))


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_run_that_dies_within_an_iteration_goes_on_as_if_it_had_not(
    parts: int, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What of the iteration was played waits on the server, and begins from contexts or not as it would have."""
    train(returning(store=server.url, parts=3), tmp_path / "whole")
    assert sum(line.get("trials_from_context", 0) for line in read_lines(tmp_path / "whole" / "metrics.jsonl")) > 2

    class Dying(RedisStore):
        """Its learner dies when some of the third iteration's parts have been written."""

        def append(self, assignment: Assignment, summary: Summary, place: Whereabouts | None) -> None:
            super().append(assignment, summary, place)
            seen.append(assignment.iteration)
            if seen.count(2) == parts:
                raise RuntimeError("dies")

    def make(config: Config) -> Dying:
        return Dying(config.run.store, config.run.name, capacity=2**24, consumes="replay")

    seen: list[int] = []
    with pytest.raises(RuntimeError, match="dies"):
        train(returning(store=server.url, parts=3), tmp_path / "dead", components=Components(store=make))
    assert read_lines(tmp_path / "dead" / "metrics.jsonl")[-1]["iteration"] == 2
    monkeypatch.setenv("INNERLOOP_REDIS_PASSWORD", CANARY)
    resume(tmp_path / "dead")
    assert same_bits(final(tmp_path / "whole"), final(tmp_path / "dead"))


def test_a_name_that_redis_holds_is_not_overwritten_unasked(server: RedisServer, tmp_path: Path) -> None:
    config = small(store=server.url, name="taken", iterations=1)
    train(config, tmp_path / "first")
    with pytest.raises(BadInput, match="name is 'taken'; expected one that the store does not hold yet"):
        train(config, tmp_path / "second")
    assert not (tmp_path / "second").exists()
    train(config, tmp_path / "second", overwrite=True)
