"""The store in Redis against a real server: the contract, crashes of either side, a full server, refusals."""

import logging
import pickle
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import redis
from redis_server import RedisServer, certificate, find_server, free_port, saying, tls_before

from innerloop.actors.actor import Assignment
from innerloop.distributed.store import connection, stream, wire
from innerloop.distributed.store.api import summarise
from innerloop.distributed.store.connection import Address, split_secret
from innerloop.distributed.store.redis import RedisStore, RedisWriter
from innerloop.envs.errors import BadInput
from innerloop.learner.replay import Request
from innerloop.learner.trajectory import Trajectory

pytestmark = pytest.mark.skipif(find_server() is None, reason="no redis-server of version 6.2 or newer is installed")

CANARY = "c4n/ary:p@ss#w?rd"
Open = Callable[..., RedisStore]
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
            server: RedisServer, run: str = "", *, url: str = "", on_policy: bool = True, **options: float
        ) -> RedisStore:
            given = {"capacity": 10**7, "episodes": 1} | options
            store = RedisStore(url or server.url, run or next(NAMES), on_policy=on_policy, **given)
            stack.callback(store.close)
            return store

        yield make


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
    store.append(assignment, summarise(played, 1), None)


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def wait_for(store: RedisStore, trajectories: int) -> None:
    wait_until(lambda: len(store) >= trajectories)
    assert len(store) == trajectories


def entries(server: RedisServer, store: RedisStore) -> int:
    """In the run's stream."""
    with server.client() as client:
        return int(client.xlen(store.writer._keys.trajectories))  # pyright: ignore[reportArgumentType]


def numbers(trajectories: dict[Assignment, Trajectory]) -> list[float]:
    return [float(t.reward[0, 0]) for t in trajectories.values()]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "innerloop"]


# The contract


def test_trajectories_come_once_and_in_order_whoever_finished_first(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server))
    for part in (2, 0, 1):
        play(store, Assignment(0, part, 1), trajectory(part, 5))
    wait_for(store, 3)
    assert numbers(store.take(2, oldest_version=5).trajectories) == [0, 1]
    assert numbers(store.take(2, oldest_version=5).trajectories) == [2]
    assert len(store) == 0
    assert not store.take(2, oldest_version=5).trajectories


def test_what_comes_is_what_was_played_to_the_bit(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server))
    given = trajectory(3, 2, steps=60_000, columns=2)  # several pieces
    assert given.nbytes > 2 * 2**20
    play(store, Assignment(4, 1, 2, (5, 6)), given)
    wait_for(store, 1)
    [(assignment, found)] = store.take(1, 0).trajectories.items()
    assert assignment == Assignment(4, 1, 2, (5, 6))
    assert wire.encode(assignment, found) == wire.encode(assignment, given)


def test_what_is_too_old_is_dropped_named_and_may_be_played_again(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server))
    for part, version in enumerate((3, 5, 4)):
        play(store, Assignment(0, part, 1), trajectory(part, version))
    wait_for(store, 3)
    taken = store.take(3, oldest_version=4)
    assert {a.part: t.version for a, t in taken.trajectories.items()} == {1: 5, 2: 4}
    assert taken.stale == [Assignment(0, 0, 1)]
    assert len(store) == 0
    wait_until(lambda: entries(server, store) == 2)
    play(store, Assignment(0, 0, 1), trajectory(9, 5))
    wait_for(store, 1)
    assert numbers(store.take(3, oldest_version=4).trajectories) == [9]


def test_what_was_announced_and_never_comes_is_lost_and_the_rest_is_delivered(
    server: RedisServer, open_store: Open
) -> None:
    store = begun(open_store(server, lost_after=0.3))
    store.append(Assignment(0, 1, 1), summarise(trajectory(1), 1), None)
    assert len(store) == 0
    play(store, Assignment(0, 0, 1))
    wait_for(store, 2)
    taken = store.take(2, 0)
    assert taken.lost == [Assignment(0, 1, 1)]
    assert numbers(taken.trajectories) == [0]
    assert len(store) == 0
    play(store, Assignment(0, 1, 1))  # again
    wait_for(store, 1)


def test_nothing_is_delivered_before_its_actor_has_said_so(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server))
    store.writer.write(Assignment(0, 0, 1), trajectory(0))
    play(store, Assignment(0, 1, 1))
    wait_for(store, 1)
    assert [*store.take(2, 0).trajectories] == [Assignment(0, 1, 1)]


def test_what_was_learned_from_leaves_the_server(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server))
    for part in range(3):
        play(store, Assignment(0, part, 1))
    wait_for(store, 3)
    assert entries(server, store) == 3
    taken = store.take(2, 0)
    store.learned([*taken.trajectories])
    wait_until(lambda: entries(server, store) == 1)
    with server.client() as client:
        assert client.xpending(store.writer._keys.trajectories, "learner")["pending"] == 1


def test_the_second_of_two_is_dropped_before_and_after_the_first_was_delivered(
    server: RedisServer, open_store: Open
) -> None:
    store, twice = begun(open_store(server)), Assignment(0, 0, 1)
    store.writer.write(twice, trajectory(1))  # by an actor that then died
    play(store, twice, trajectory(2))
    wait_for(store, 1)
    wait_until(lambda: entries(server, store) == 1)
    assert numbers(store.take(2, 0).trajectories) == [1]
    for learned in (False, True):
        if learned:
            store.learned([twice])
        store.writer.write(twice, trajectory(3))
        wait_until(lambda expected=1 - learned: entries(server, store) == expected)
    assert len(store) == 0


def test_runs_on_one_server_do_not_meet(server: RedisServer, open_store: Open) -> None:
    one, other = begun(open_store(server, "one")), begun(open_store(server, "other"))
    play(one, Assignment(0, 0, 1), trajectory(1))
    play(other, Assignment(0, 0, 1), trajectory(2))
    wait_for(one, 1)
    wait_for(other, 1)
    one.close()
    fresh = open_store(server, "one")
    assert fresh.exists()
    fresh.delete()
    assert not fresh.exists()
    begun(fresh)
    assert numbers(other.take(1, 0).trajectories) == [2]
    with server.client() as client:
        left = {key.decode() for key in client.keys("innerloop:o*")}
    assert left == {f"innerloop:{run}:{name}" for run in ("one", "other") for name in ("format", "trajectories")}


def test_the_writer_travels_to_its_actor(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server))
    writer = pickle.loads(pickle.dumps(store.writer))
    assert isinstance(writer, RedisWriter)
    writer.write(Assignment(0, 0, 1), trajectory(4))
    store.append(Assignment(0, 0, 1), summarise(trajectory(4), 1), None)
    wait_for(store, 1)


def test_episodes_and_the_last_return_of_each_task_are_on_the_server(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server))
    first, second = trajectory(1, columns=2), trajectory(2, columns=4)  # the second: two columns for each task
    play(store, Assignment(0, 0, 2, (7, 8)), first)
    play(store, Assignment(0, 1, 2, (8, 3)), second)
    wait_for(store, 2)
    store.take(2, oldest_version=0)
    store.close()
    with server.client() as client:
        found = {name.decode(): float(value) for name, value in client.hgetall(store.writer._keys.tasks).items()}
    returns = np.concatenate([first.reward.sum(0, np.float64), second.reward.sum(0, np.float64)])
    expected = {"7:episodes": 1, "7:return": returns[0], "8:episodes": 2, "8:return": returns[2]}
    assert found == pytest.approx(expected | {"3:episodes": 1, "3:return": returns[4]})


# Crashes of the learner


def test_what_was_not_learned_from_comes_back_after_a_crash(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server, "crash"))
    for part in range(5):
        play(store, Assignment(0, part, 1))
    store.writer.write(Assignment(0, 5, 1), trajectory(5))  # and nobody was told
    wait_for(store, 5)
    store.learned([a for a in store.take(3, 0).trajectories if a.part == 1])
    store.close()

    store = open_store(server, "crash")
    back = store.begin(0)
    assert [a.part for a in back] == [0, 2, 3, 4, 5]
    wait_for(store, 5)
    taken = store.take(9, 0).trajectories
    assert [*taken] == back
    assert numbers(taken) == [0, 2, 3, 4, 5]
    store.learned(back)
    wait_until(lambda: entries(server, store) == 0)


def test_a_learner_that_goes_on_from_a_checkpoint_gets_what_it_can_use(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server, "versions"))
    for iteration, version in [(3, 3), (4, 3), (4, 4), (5, 4), (5, 5), (6, 5)]:
        store.writer.write(Assignment(iteration, version, 1), trajectory(iteration, version))
    store.close()

    store = open_store(server, "versions")
    assert store.begin(4) == [Assignment(4, 3, 1), Assignment(4, 4, 1), Assignment(5, 4, 1)]
    assert store.counts["discarded"] == 2
    wait_until(lambda: entries(server, store) == 3)
    # An actor of the learner that is gone has not noticed; what it writes is played with other weights by now.
    late = RedisWriter(store.writer._link, store.writer._keys, b"before", None)
    late.write(Assignment(5, 0, 1), trajectory(0, 4))
    wait_until(lambda: store.counts["discarded"] == 3)
    store.writer.write(Assignment(3, 9, 1), trajectory(0, 4))  # of an iteration that is over
    play(store, Assignment(5, 0, 1), trajectory(1, 4))
    wait_for(store, 4)
    wait_until(lambda: entries(server, store) == 4)
    assert numbers(store.take(9, 0).trajectories) == [4, 4, 1, 5]


def test_replay_after_a_crash_is_the_replay_before(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server, "replay", on_policy=False))
    rng = np.random.default_rng(1)
    for iteration in range(4):
        for part in (1, 0):
            tasks = tuple(rng.integers(6, size=3).tolist())
            played = trajectory(10 * iteration + part, iteration, steps=4 + iteration, columns=3)
            play(store, Assignment(iteration, part, 3, tasks), played)
        wait_for(store, 2)
        kept = store.keep(2)
        assert [a.part for a in kept.kept] == [0, 1]
        store.learned([*kept.kept])  # must not take anything from replay
    play(store, Assignment(4, 0, 3, (0, 1, 2)), trajectory(40, 4, columns=3))
    wait_for(store, 1)
    before = store
    store.close()

    store = open_store(server, "replay", on_policy=False)
    assert store.begin(4) == [Assignment(4, 0, 3, (0, 1, 2))]
    assert store.replay.played == before.replay.played
    assert store.counts == before.counts
    request = Request(tasks=4, steps=8, context=(6,), window=2)
    samples = [[*s.replay.batches(request, 5, np.random.default_rng(3))] for s in (before, store)]
    for one, other in zip(*samples, strict=True):
        np.testing.assert_array_equal(one.tasks, other.tasks)
        for of_one, of_other in ((one.steps, other.steps), (one.context, other.context)):
            for array, same in zip(of_one, of_other, strict=True):
                np.testing.assert_array_equal(array, same)

    wait_for(store, 1)
    assert store.keep(1).kept[Assignment(4, 0, 3, (0, 1, 2))].returns.shape == (3, 1)  # nobody announced it
    store.close()
    store = open_store(server, "replay", on_policy=False)  # from a checkpoint before two of the iterations
    assert [a.iteration for a in store.begin(3)] == [3, 3]
    assert store.counts["discarded"] == 1
    assert len(store.replay) == 3 * 2 * 3
    wait_for(store, 2)
    assert len(store.keep(2).kept) == 2
    assert store.counts["replay_trials"] == before.counts["replay_trials"]


def test_an_entry_in_replay_that_is_not_acknowledged_stays_there(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server, "between", on_policy=False))
    play(store, Assignment(0, 0, 1, (0,)))
    wait_for(store, 1)
    store.keep(1)
    store.close()
    with server.client() as client:  # as if the learner had died between two commands
        [[entry, _]] = client.xrange("innerloop:between:trajectories")
        client.xclaim("innerloop:between:trajectories", "learner", "learner", 0, [entry], force=True, justid=True)
    for _ in range(2):
        store = open_store(server, "between", on_policy=False)
        assert store.begin(1) == []
        assert len(store.replay) == 1
        store.close()


@pytest.mark.parametrize(("steps", "capacity"), [(400, 300_000), (5, 8_000)], ids=["long", "short"])
def test_the_server_holds_what_replay_holds_and_never_more_than_its_capacity(
    steps: int, capacity: int, server: RedisServer, open_store: Open
) -> None:
    run = f"bounded{steps}"
    store = begun(open_store(server, run, on_policy=False, capacity=capacity))
    for iteration in range(40):
        play(store, Assignment(iteration, 0, 2, (0, 1)), trajectory(iteration, steps=steps, columns=2))
        wait_for(store, 1)
        store.keep(1)
    replay = store.replay
    assert replay.evicted > 0
    before = [batch.observation for batch in replay.trials(2, 5, np.random.default_rng(0))]
    store.close()
    with server.client() as client:
        held = client.xrange(f"innerloop:{run}:trajectories")
        assert client.llen(f"innerloop:{run}:kept") == len(held)
        assert client.xpending(f"innerloop:{run}:trajectories", "learner")["pending"] == 0
    assert sum(len(value) for _, fields in held for name, value in fields.items() if name != stream.SESSION) <= capacity
    iterations = [wire.decode(fields[b"0"])[0].iteration for _, fields in held]
    assert iterations == [*range(40)][-len(iterations) :]
    if steps == 400:
        assert len(iterations) == -(-len(replay) // 2)  # of the oldest, one trial may be gone

    store = open_store(server, run, on_policy=False, capacity=capacity)
    store.restore([], played=replay.played)
    assert store.begin(40) == []
    assert store.replay.played == 40 * 2 * steps
    if steps == 5:  # the names of the arrays take more room there than the arrays
        assert len(store.replay) < len(replay)
        return
    assert len(store.replay) == len(replay)
    for found, expected in zip(store.replay.trials(2, 5, np.random.default_rng(0)), before, strict=True):
        np.testing.assert_array_equal(found.observation, expected)


# What is no trajectory


def test_what_does_not_decode_is_put_aside_named_and_counted(
    server: RedisServer, open_store: Open, caplog: pytest.LogCaptureFixture
) -> None:
    store = begun(open_store(server))
    keys = store.writer._keys
    other = bytearray(wire.encode(Assignment(0, 0, 1), trajectory(0)))
    other[8] += 1  # the format
    with server.client() as client:
        bad = [client.xadd(keys.trajectories, {"0": data}) for data in (b"noise", bytes(other), b"", b"x" * 2**18)]
        play(store, Assignment(0, 1, 1))
        wait_for(store, 1)
        assert store.counts["quarantined"] == 4
        said = [line for line in warnings(caplog) if "put aside" in line]
        assert [entry.decode() in line for entry, line in zip(bad, said, strict=True)] == [True] * 4
        assert "it is of format 2; expected 1." in said[1]
        aside = client.xrange(keys.quarantine)
        assert [fields[b"entry"] for _, fields in aside] == bad
        assert aside[1][1][b"data"] == bytes(other)
        assert len(aside[3][1][b"data"]) == stream.CUT
        wait_until(lambda: entries(server, store) == 1)
        for _ in range(2 * stream.QUARANTINE):
            client.xadd(keys.trajectories, {"0": b"more"})
        wait_until(lambda: store.counts["quarantined"] == 4 + 2 * stream.QUARANTINE)
        assert client.xlen(keys.quarantine) == stream.QUARANTINE


def test_what_did_not_decode_is_put_aside_after_a_crash_too(server: RedisServer, open_store: Open) -> None:
    begun(open_store(server, "aside")).close()
    with server.client() as client:
        client.xadd("innerloop:aside:trajectories", {"any": "thing"})
    store = open_store(server, "aside", on_policy=False)
    assert store.begin(0) == []
    assert store.counts["quarantined"] == 1
    assert entries(server, store) == 0


# Trouble with the server


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
            store.append(assignment, summarise(trajectory(0), 1), None)
            announced += 1
        taken = store.take(10, 0)
        assert not taken.lost
        delivered.extend(numbers(taken.trajectories))
        store.learned([*taken.trajectories])
        return len(delivered) == 120

    for goal in (20, 70):
        wait_until(lambda goal=goal: take() or len(written) >= goal)
        durable.kill()
        wait_until(lambda: store._stream._link.away.on)
        assert any(actor.is_alive() for actor in actors)
        durable.start()
    wait_until(take)
    for actor in actors:
        actor.join()
    assert sorted(delivered) == sorted(100 * iteration + part for iteration in range(60) for part in range(2))
    wait_until(lambda: entries(durable, store) == 0)
    said = [line for line in warnings(caplog) if "the run" in line]
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

    def lossy(*arguments: object, **options: object) -> object:
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
    store = begun(open_store(server, on_policy=on_policy))
    for part in range(4):
        play(store, Assignment(0, part, 1, (0,)))
    wait_for(store, 4)
    taken = [*(store.take(2, 0).trajectories if on_policy else store.keep(2).kept)]
    stream_name = store.writer._keys.trajectories
    with server.client() as client:
        client.xgroup_setid(stream_name, "learner", "0")  # as a server that lost the last second before it was killed
        before = store._stream._newest
        play(store, Assignment(0, 4, 1, (0,)))
        wait_for(store, 3)
        wait_until(lambda: store._stream._newest != before)
        assert client.xlen(stream_name) == 5
    assert [a.part for a in taken] == [0, 1]
    assert [a.part for a in (store.take(9, 0).trajectories if on_policy else store.keep(9).kept)] == [2, 3, 4]


def test_a_full_server_still_learns_what_may_be_deleted(open_store: Open) -> None:
    with RedisServer(maxmemory_policy="noeviction") as small:
        store = begun(open_store(small, on_policy=False, capacity=100_000))
        for iteration in range(8):
            play(store, Assignment(iteration, 0, 1, (0,)), trajectory(iteration, steps=2000))
        wait_for(store, 8)
        with small.client() as client:
            client.config_set("maxmemory", 1)
            assert len(store.keep(8).kept) == 8
            wait_until(lambda: entries(small, store) < 8)
            assert client.llen(store.writer._keys.kept) == 0
            client.config_set("maxmemory", 0)
            wait_until(lambda: client.llen(store.writer._keys.kept) == entries(small, store))


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
        wait_until(lambda: any("is full, or nearly (" in line for line in warnings(caplog)))


def test_nothing_counts_as_lost_while_the_server_is_away(durable: RedisServer, open_store: Open) -> None:
    store = begun(open_store(durable, lost_after=0.8))
    durable.kill()
    for part in range(2):
        store.append(Assignment(0, part, 1), summarise(trajectory(part), 1), None)
    wait_until(lambda: store._stream._link.away.on)
    time.sleep(1)
    assert len(store) == 0
    durable.start()
    wait_until(lambda: not store._stream._link.away.on)
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
        assert "does not log to disk (appendonly no)" in warnings(caplog)[0]
        play(store, Assignment(0, 0, 1))
        wait_for(store, 1)
        forgetful.kill()
        forgetful.start()
        store.append(Assignment(0, 1, 1), summarise(trajectory(1), 1), None)  # what is gone
        wait_for(store, 2)
        taken = store.take(2, 0)
        assert (numbers(taken.trajectories), taken.lost) == ([0], [Assignment(0, 1, 1)])
        play(store, Assignment(0, 1, 1))
        wait_for(store, 1)
        assert sum("has lost what it held of this run" in line for line in warnings(caplog)) == 1


@pytest.mark.parametrize("on_policy", [True, False])
def test_a_full_server_is_waited_for(
    on_policy: bool, open_store: Open, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LOOK", 0.1)
    monkeypatch.setattr(connection, "CALM", 0.5)
    with RedisServer(maxmemory="6mb", maxmemory_policy="noeviction") as small:
        store = begun(open_store(small, on_policy=on_policy, capacity=2_000_000))
        large = trajectory(0, steps=20_000, columns=2)
        assert 800_000 < large.nbytes < 1_000_000
        done = threading.Event()

        def act() -> None:
            for iteration in range(20):
                store.writer.write(Assignment(iteration, 0, 2, (0, 1)), large)
            done.set()

        threading.Thread(target=act, daemon=True).start()
        wait_until(lambda: any("the actor waits for room" in line for line in warnings(caplog)))
        wait_until(lambda: any("is full, or nearly (" in line for line in warnings(caplog)))
        time.sleep(0.3)
        assert not done.is_set()
        for iteration in range(20):
            store.append(Assignment(iteration, 0, 2, (0, 1)), summarise(large, 1), None)
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
        wait_until(lambda: "has room again" in warnings(caplog)[-1])


# Refusals


def refusal(url: str, **options: object) -> str:
    """What is said to a user who gives this address."""
    with pytest.raises(BadInput) as caught:
        RedisStore(url, **({"run": "any", "capacity": 1000, "on_policy": False, "episodes": 1} | options))  # pyright: ignore[reportArgumentType]
    return str(caught.value)


def old_server(data: bytes) -> bytes:
    """What a server says that is too old."""
    if b"INFO" not in data:
        return b"+OK\r\n" * data.count(b"*")
    info = b"redis_version:5.0.14\r\nmaxmemory:0\r\n"
    return b"$%d\r\n%s\r\n" % (len(info), info)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda data: b"HTTP/1.1 400 Bad Request\r\n\r\n", "where something answers that is not Redis"),
        (lambda data: data, "store is"),  # an echo
        (
            lambda data: b"-ERR unknown command `AUTH`, with args beginning with: " + data.split()[-1] + b"\r\n",
            "refuses",
        ),
        (lambda data: b"", "which cannot be reached (Timeout"),
        (old_server, "which is Redis 5.0.14; expected 6.2 or newer"),
    ],
    ids=["http", "echo", "no-auth", "silence", "old"],
)
@pytest.mark.parametrize("secret", ["", CANARY], ids=["bare", "password"])
def test_what_is_no_redis_that_we_can_use_is_one_sentence(
    answer: Callable[[bytes], bytes], said: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TIMEOUT", 0.3)
    monkeypatch.setenv("INNERLOOP_REDIS_PASSWORD", secret)
    with saying(answer) as port:
        sentence = refusal(f"redis://127.0.0.1:{port}")
    assert sentence.startswith(f"store is 'redis://127.0.0.1:{port}/0', ")
    assert said in sentence
    assert sentence.endswith(".")
    assert CANARY not in sentence


def test_a_closed_port_is_one_sentence() -> None:
    port = free_port()
    said = refusal(f"redis://127.0.0.1:{port}")
    assert said.startswith(f"store is 'redis://127.0.0.1:{port}/0', which cannot be reached (Error 111 ")
    assert said.endswith("; expected a Redis server (rediss:// with TLS).")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"maxmemory": "3mb", "maxmemory_policy": "allkeys-lru"}, "whose maxmemory-policy allkeys-lru would lose data"),
        ({"maxmemory": "3mb", "maxmemory_policy": "noeviction"}, "whose maxmemory is 3145728 bytes; expected room for"),
    ],
)
def test_a_server_that_could_not_hold_the_run_is_refused(options: dict[str, str], said: str) -> None:
    with RedisServer(**options) as small:
        assert said in refusal(small.url, capacity=4_000_000)


@pytest.mark.parametrize("run", ["", "a:b", "a b", "a*", "x" * 201])
def test_a_run_has_a_plain_name(run: str) -> None:
    assert "the run's name is" in refusal("redis://127.0.0.1:1", run=run)


def test_entries_of_another_format_are_refused_and_can_be_deleted(server: RedisServer, open_store: Open) -> None:
    with server.client() as client:
        client.set("innerloop:other-format:format", 99)
    store = open_store(server, "other-format")
    with pytest.raises(
        BadInput, match=r"^the format of innerloop:other-format:format in Redis is '99'; expected 1.*\.$"
    ):
        store.begin(0)
    store = open_store(server, "other-format")
    store.delete()
    begun(store)


@pytest.mark.parametrize(
    "url",
    [
        "", "http://127.0.0.1", "redis:///0", f"redis://:{CANARY}@127.0.0.1:6379/0", "redis://127.0.0.1:x/0",
        "redis://127.0.0.1/zero", "redis://[::1", "redis://a..b", f"redis://127.0.0.1?password={CANARY}",
        f"rediss://127.0.0.1?{CANARY}", "rediss://127.0.0.1?ssl_cert_reqs=none", "unix:///tmp/redis.sock",
    ],
)  # fmt: skip
def test_other_urls_are_refused_without_being_repeated(url: str) -> None:
    said = refusal(url)
    assert said.startswith("store is a URL that cannot be used; expected redis://")
    for part in ("c4n", "ary", "p@ss", "w?rd"):
        assert part not in said
    with pytest.raises(BadInput):
        split_secret(url)


ESCAPED = "c4n%2Fary%3Ap%40ss%23w%3Frd"


@pytest.mark.parametrize(
    ("url", "bare", "secret"),
    [
        ("redis://127.0.0.1", "redis://127.0.0.1:6379/0", None),
        (f"redis://:{ESCAPED}@host:7/3", "redis://host:7/3", CANARY),
        (f"rediss://b%40b:{ESCAPED}@[::1]:7", "rediss://b%40b@[::1]:7/0", CANARY),
        ("redis://bob@host", "redis://bob@host:6379/0", None),
        (f"rediss://h?ssl_ca_certs={__file__}", f"rediss://h:6379/0?ssl_ca_certs={__file__}", None),
    ],
)
def test_a_url_is_kept_without_its_password(url: str, bare: str, secret: str | None) -> None:
    assert split_secret(url) == (bare, secret)
    assert split_secret(bare) == (bare, None)


def test_the_url_wins_over_the_environment() -> None:
    environment = {"INNERLOOP_REDIS_USERNAME": "eve", "INNERLOOP_REDIS_PASSWORD": "env"}

    def who(url: str) -> tuple[str | None, str | None]:
        address = Address.parse(url, environment)
        return address.username, address.password

    assert who("redis://h") == ("eve", "env")
    assert who("redis://bob@h") == ("bob", "env")
    assert who("redis://bob:url@h") == ("bob", "url")
    assert who("redis://:url@h") == (None, "url")


def test_the_password_is_in_no_message_log_or_repr(
    open_store: Open,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    with RedisServer(password=CANARY) as locked:
        url = f"redis://:{ESCAPED}@127.0.0.1:{locked.port}/0"
        said = [refusal(locked.bare_url), refusal(url.replace("c4n", "c4n4"))]
        assert "which asks for a password; expected one in the URL, or in INNERLOOP_REDIS_PASSWORD." in said[0]
        assert "which refuses this user and password; expected those of one of its users." in said[1]
        with locked.client() as client:
            client.acl_setuser("reader", enabled=True, passwords=[f"+{CANARY}"], commands=["+info", "+auth"])
        with pytest.raises(BadInput, match="which refuses a command") as caught:
            open_store(locked, url=url.replace("://", "://reader")).begin(0)
        said.append(str(caught.value))

        monkeypatch.setenv("INNERLOOP_REDIS_PASSWORD", CANARY)
        store = RedisStore(locked.bare_url, "secret", capacity=1000, on_policy=True, episodes=1)
        begun(store)
        play(store, Assignment(0, 0, 1))
        wait_for(store, 1)
        said += [repr(thing) for thing in (store, store.writer, store._stream, store.writer._link)]
        said += [repr(store.writer._link.address), str(store.writer._link.address), repr(store.writer._link.client)]
        locked.kill()
        wait_until(lambda: store._stream._link.away.on)
        locked._command[locked._command.index(CANARY)] = locked.password = "another"
        locked.start()
        wait_until(lambda: store._stream._failure)
        with pytest.raises(BadInput, match="which refuses this user and password") as caught:
            store.take(1, 0)
        said.append(str(caught.value))
        with pytest.raises(BadInput, match="which refuses this user and password") as caught:
            store.writer.write(Assignment(0, 1, 1), trajectory(0))
        said.append(repr(caught.value))
        store.close()
    printed = "".join(capfd.readouterr())
    for text in [*said, *warnings(caplog), caplog.text, printed]:
        assert CANARY not in text
        assert ESCAPED not in text
        assert "c4n" not in text


def test_with_tls_the_certificate_is_checked(server: RedisServer, tmp_path: Path) -> None:
    try:
        files = certificate(tmp_path)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("no openssl to make a certificate with")
    with tls_before(server.port, files) as port:
        said = refusal(f"rediss://127.0.0.1:{port}")
        assert "which cannot be reached (" in said
        assert "certificate verify failed" in said
        assert "expected a file" in refusal(f"rediss://127.0.0.1:{port}?ssl_ca_certs=/nowhere.pem")
        refusal(f"redis://127.0.0.1:{port}")  # in the clear
        store = RedisStore(
            f"rediss://127.0.0.1:{port}?ssl_ca_certs={files[0]}", "tls", capacity=1000, on_policy=True, episodes=1
        )
        begun(store)
        play(store, Assignment(0, 0, 1), trajectory(6, steps=100_000))
        wait_for(store, 1)
        assert numbers(store.take(1, 0).trajectories) == [6]
        store.close()


def test_the_thread_sleeps_while_nothing_happens(server: RedisServer, open_store: Open) -> None:
    store, turns = open_store(server), []
    turn = store._stream._turn
    store._stream._turn = lambda *arguments: turns.append(None) or turn(*arguments)
    begun(store)
    time.sleep(1)
    assert 2 <= len(turns) <= 20
