"""The store in Redis when its server is killed, full, forgetful, or loses what it says."""

import pickle
import threading
import time
from itertools import count
from typing import Any

import pytest
import redis
from logged import ours
from redis_server import RedisServer
from redis_stores import Open, begun, entries, needs_redis, numbers, play, trajectory, wait_for, wait_until

from innerloop.actors.actor import Assignment
from innerloop.distributed.store.api import summarise
from innerloop.distributed.store.redis import connection, stream

pytestmark = needs_redis


def test_nothing_that_was_acknowledged_is_lost_when_the_server_is_killed(
    durable: RedisServer, open_store: Open, caplog: pytest.LogCaptureFixture
) -> None:
    store = begun(open_store(durable))
    written: list[Assignment] = []

    def act(part: int) -> None:
        writer = pickle.loads(pickle.dumps(store.writer))
        for iteration in range(60):
            writer.write(Assignment(iteration, part, 1), trajectory(100 * iteration + part, steps=2000))
            written.append(Assignment(iteration, part, 1))

    actors = [threading.Thread(target=act, args=(part,)) for part in range(2)]
    for actor in actors:
        actor.start()
    delivered: list[float] = []
    announced = 0

    def take() -> bool:
        nonlocal announced
        for assignment in written[announced:]:
            store.append(assignment, summarise(trajectory(0)), None)
            announced += 1
        taken = store.take(10, 0)
        assert not taken.lost
        delivered.extend(numbers(taken.trajectories))
        store.learned([*taken.trajectories])
        return len(delivered) == 120

    for goal in (20, 70):
        wait_until(lambda goal=goal: take() or len(written) >= goal)
        durable.kill()
        wait_until(lambda: store.stream.link.away.on)
        assert any(actor.is_alive() for actor in actors)
        durable.start()
    wait_until(take)
    for actor in actors:
        actor.join()
    assert sorted(delivered) == sorted(100 * iteration + part for iteration in range(60) for part in range(2))
    wait_until(lambda: entries(durable, store) == 0)
    said = [line for line in ours(caplog) if "the run" in line]
    place = f"Redis at 127.0.0.1:{durable.port}"
    assert [line.startswith(f"no answer from {place}; the run waits") for line in said] == [True, False] * 2
    assert [line == f"{place} answers again; the run goes on." for line in said] == [False, True] * 2


def test_replies_that_are_lost_on_their_way_are_asked_for_again(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server))
    with server.client() as client:
        for part in range(40):
            play(store, Assignment(0, part, 1), trajectory(part, steps=2000))
            client.client_kill_filter(_type="normal", skipme=True)  # pyright: ignore[reportArgumentType]
    wait_for(store, 40)
    assert numbers(store.take(99, 0).trajectories) == [*range(40)]
    wait_until(lambda: entries(server, store) == 40)


def test_no_entry_is_missed_when_replies_are_lost(
    server: RedisServer, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, lost = redis.Redis.xreadgroup, count()

    def lossy(*arguments: object, **options: Any) -> object:
        reply = read(*arguments, **options)  # pyright: ignore[reportArgumentType]
        if reply and reply[0][1] and next(lost) % 2 == 0:  # pyright: ignore[reportIndexIssue]
            raise redis.ConnectionError("Connection reset by peer")
        return reply

    monkeypatch.setattr(connection, "PAUSES", (0.01, 0.01))
    store = begun(open_store(server, "lossy"))
    store.close()
    for part in range(5):
        store.writer.write(Assignment(0, part, 1), trajectory(part))
    monkeypatch.setattr(redis.Redis, "xreadgroup", lossy)
    store = open_store(server, "lossy")
    assert [a.part for a in store.begin(0)] == [*range(5)]
    for part in range(5, 10):
        play(store, Assignment(0, part, 1))
    wait_for(store, 10)
    assert numbers(store.take(99, 0).trajectories) == [*range(10)]
    assert next(lost) > 4


@pytest.mark.parametrize("on_policy", [True, False])
def test_what_the_server_sends_again_is_neither_delivered_again_nor_deleted(
    on_policy: bool, server: RedisServer, open_store: Open
) -> None:
    store = begun(open_store(server, consumes="fresh" if on_policy else "replay"))
    for part in range(4):
        play(store, Assignment(0, part, 1, (0,)))
    wait_for(store, 4)
    taken = [*(store.take(2, 0).trajectories if on_policy else store.keep(2).kept)]
    stream_name = store.writer.keys.trajectories
    with server.client() as client:
        client.xgroup_setid(stream_name, "learner", "0")  # as a server that lost the last second before it was killed
        before = store.stream.newest
        play(store, Assignment(0, 4, 1, (0,)))
        wait_for(store, 3)
        wait_until(lambda: store.stream.newest != before)
        assert client.xlen(stream_name) == 5
    assert [a.part for a in taken] == [0, 1]
    assert [a.part for a in (store.take(9, 0).trajectories if on_policy else store.keep(9).kept)] == [2, 3, 4]


def test_a_full_server_still_learns_what_may_be_deleted(open_store: Open) -> None:
    with RedisServer(maxmemory_policy="noeviction") as small:
        store = begun(open_store(small, consumes="replay", capacity=100_000))
        for iteration in range(8):
            play(store, Assignment(iteration, 0, 1, (0,)), trajectory(iteration, steps=2000))
        wait_for(store, 8)
        with small.client() as client:
            client.config_set("maxmemory", 1)
            assert len(store.keep(8).kept) == 8
            wait_until(lambda: entries(small, store) < 8)
            assert client.llen(store.writer.keys.kept) == 0
            client.config_set("maxmemory", 0)
            wait_until(lambda: client.llen(store.writer.keys.kept) == entries(small, store))


def test_somebody_who_was_refused_memory_is_noticed(
    open_store: Open, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LOOK", 0.05)
    with RedisServer(maxmemory="100mb", maxmemory_policy="noeviction") as small:
        begun(open_store(small))
        with small.client() as client:
            time.sleep(0.3)
            client.config_set("maxmemory", 1)
            with pytest.raises(redis.OutOfMemoryError):
                client.set("any", "thing")
            client.config_set("maxmemory", 10**8)
        wait_until(lambda: any("is full, or nearly (" in line for line in ours(caplog)))


def test_nothing_counts_as_lost_while_the_server_is_away(durable: RedisServer, open_store: Open) -> None:
    store = begun(open_store(durable, lost_after=0.8))
    durable.kill()
    for part in range(2):
        store.append(Assignment(0, part, 1), summarise(trajectory(part)), None)
    wait_until(lambda: store.stream.link.away.on)
    time.sleep(1)
    assert len(store) == 0
    durable.start()
    wait_until(lambda: not store.stream.link.away.on)
    time.sleep(0.2)
    assert len(store) == 0
    store.writer.write(Assignment(0, 0, 1), trajectory(0))
    wait_for(store, 1)
    assert numbers(store.take(1, 0).trajectories) == [0]
    wait_for(store, 1)
    assert store.take(1, 0).lost == [Assignment(0, 1, 1)]


def test_a_server_that_comes_back_empty_is_no_end(open_store: Open, caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer() as forgetful:
        store = begun(open_store(forgetful, lost_after=0.3))
        assert "does not log to disk (appendonly no)" in ours(caplog)[0]
        play(store, Assignment(0, 0, 1))
        wait_for(store, 1)
        forgetful.kill()
        forgetful.start()
        store.append(Assignment(0, 1, 1), summarise(trajectory(1)), None)  # what is gone
        wait_for(store, 2)
        taken = store.take(2, 0)
        assert (numbers(taken.trajectories), taken.lost) == ([0], [Assignment(0, 1, 1)])
        play(store, Assignment(0, 1, 1))
        wait_for(store, 1)
        assert sum("has lost what it held of this run" in line for line in ours(caplog)) == 1


@pytest.mark.parametrize("on_policy", [True, False])
def test_a_full_server_is_waited_for(
    on_policy: bool, open_store: Open, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LOOK", 0.1)
    monkeypatch.setattr(connection, "CALM", 0.5)
    with RedisServer(maxmemory="6mb", maxmemory_policy="noeviction") as small:
        store = begun(open_store(small, consumes="fresh" if on_policy else "replay", capacity=2_000_000))
        large = trajectory(0, steps=20_000, columns=2)
        assert 800_000 < large.nbytes < 1_000_000
        done = threading.Event()

        def act() -> None:
            for iteration in range(20):
                store.writer.write(Assignment(iteration, 0, 2, (0, 1)), large)
            done.set()

        threading.Thread(target=act, daemon=True).start()
        wait_until(lambda: any("the actor waits for room" in line for line in ours(caplog)))
        wait_until(lambda: any("is full, or nearly (" in line for line in ours(caplog)))
        time.sleep(0.3)
        assert not done.is_set()
        for iteration in range(20):
            store.append(Assignment(iteration, 0, 2, (0, 1)), summarise(large), None)
        over = 0

        def learn() -> bool:
            nonlocal over
            if on_policy:
                taken = store.take(1, 0).trajectories
                store.learned([*taken])
            else:
                taken = store.keep(1).kept
            over += len(taken)
            return over == 20

        wait_until(learn)
        assert done.wait(10)
        wait_until(lambda: "has room again" in ours(caplog)[-1])
