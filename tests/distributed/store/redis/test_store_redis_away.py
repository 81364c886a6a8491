"""A server that is away or full for longer than actors are waited for: the run waits, and a hang is still found."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from logged import ours
from redis_server import RedisServer
from redis_stores import Open, begun, needs_redis, trajectory, wait_until
from test_trainer import replaying, small

from innerloop.actors.actor import Assignment
from innerloop.distributed.config import Config
from innerloop.distributed.rollouts.pool import Pool
from innerloop.distributed.runs.lines import read_lines
from innerloop.distributed.store.redis import address, connection, stream
from innerloop.distributed.trainer import Components, make_pool, train
from innerloop.envs.errors import BadInput

pytestmark = needs_redis

PATIENCE = 1.5

Trouble = Callable[[RedisServer], Any]


def fill(server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("maxmemory", 1)


def empty(server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("maxmemory", 0)


TROUBLES: dict[str, tuple[Trouble, Trouble]] = {
    "stopped": (RedisServer.pause, RedisServer.resume),
    "killed": (RedisServer.kill, RedisServer.start),
    "full": (fill, empty),
}


@pytest.mark.usefixtures("own_ray")
@pytest.mark.parametrize(
    ("make", "trouble"),
    [(small, "stopped"), (replaying, "killed"), (small, "full"), (replaying, "stopped")],
    ids=["rl2-stopped", "pearl-killed", "rl2-full", "pearl-stopped"],
)
def test_a_server_that_is_away_for_long_costs_no_actor_and_a_hang_after_it_is_found(
    make: Callable[..., Config], trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools: list[Pool] = []

    def remembered(*given: Any) -> Pool:
        pools.append(make_pool(*given))
        return pools[-1]

    monkeypatch.setattr(connection, "REFUSING", 3.0)
    before, after = TROUBLES[trouble]
    timers: list[threading.Timer] = []

    def watch(line: dict[str, Any]) -> None:
        if line["iteration"] == 2:
            before(server)
            timers.append(threading.Timer(4.5 * PATIENCE, after, [server]))
            timers[0].start()
        elif line["iteration"] == 3:
            member = pools[0].playing[0]
            os.kill(ray.get(member.actor.__ray_call__.remote(lambda self: os.getpid())), signal.SIGSTOP)

    with RedisServer(durable=True, maxmemory_policy="noeviction") as server:
        try:
            config = make(store=server.url, patience=PATIENCE, max_restarts=1, actors=1, checkpoint_every=9)
            train(config, tmp_path / "run", watch=watch, components=Components(pool=remembered))
        finally:
            for timer in timers:
                timer.join()
    lines = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4]
    assert lines[2]["seconds_waiting"] > 4 * PATIENCE
    assert [line["restarts"] for line in lines] == [lines[0]["restarts"]] * 3 + [lines[0]["restarts"] + 1]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_patience_does_not_run_while_nothing_can_be_written(
    trouble: str, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LOOK", 0.2)
    monkeypatch.setattr(connection, "REFUSING", 3.0)
    before, after = TROUBLES[trouble]
    with RedisServer(durable=True, maxmemory_policy="noeviction") as server:
        store = begun(open_store(server))
        clock = store.clock
        wait_until(lambda: store.clock > clock + 0.5)
        before(server)
        written = threading.Event()

        def write() -> None:
            store.writer.write(Assignment(0, 0, 1), trajectory(0))
            written.set()

        threading.Thread(target=write, daemon=True).start()
        wait_until(lambda: trouble != "full" or store.stream.link.refusing)
        clock, begin = store.clock, time.monotonic()
        wait_until(lambda: time.monotonic() > begin + 3)
        assert store.clock < clock + 0.3
        assert not written.is_set()
        after(server)
        assert written.wait(20)
        clock = store.clock
        wait_until(lambda: store.clock > clock + 0.5)


@pytest.mark.parametrize("trouble", ["stopped", "killed"])
@pytest.mark.parametrize("on_policy", [True, False])
def test_a_run_that_goes_on_waits_for_the_server_and_one_that_ends_does_not(
    trouble: str, on_policy: bool, open_store: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(address, "TIMEOUT", 0.3)
    before, after = TROUBLES[trouble]
    with RedisServer(durable=True) as server:
        store = begun(open_store(server, "waits", consumes="fresh" if on_policy else "replay"))
        store.writer.write(Assignment(0, 0, 1, (0,)), trajectory(0))
        store.close()
        store = open_store(server, "waits", consumes="fresh" if on_policy else "replay")
        before(server)
        back: list[list[Assignment]] = []
        thread = threading.Thread(target=lambda: back.append(store.begin(0)))
        thread.start()
        wait_until(lambda: store.link.away.on)
        assert not back
        after(server)
        thread.join(20)
        assert back == [[Assignment(0, 0, 1, (0,))]]
        assert store.export() == {}
        before(server)
        wait_until(lambda: store.link.away.on)
        clock = time.monotonic()
        store.close()
        assert time.monotonic() - clock < 5
        after(server)
    assert sum("the run waits" in line for line in ours(caplog)) == 2


def test_what_the_server_refuses_an_actor_for_good_ends_the_run_in_a_sentence(open_store: Open) -> None:
    with RedisServer() as server, server.client() as client:
        store = begun(open_store(server))
        client.acl_setuser("default", enabled=True, nopass=True, commands=["+@all", "-xadd"], keys=["*"])
        with pytest.raises(BadInput, match=r"^store is .*, which refuses a command \(.*xadd.*\); expected a user who "):
            store.writer.write(Assignment(0, 0, 1), trajectory(0))
