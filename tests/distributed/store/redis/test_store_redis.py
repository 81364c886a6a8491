"""The store in Redis against a real server: the contract, and crashes of the learner."""

import pickle
import time
from dataclasses import replace

import numpy as np
import pytest
from logged import ours
from redis_server import RedisServer
from redis_stores import Open, begun, entries, needs_redis, numbers, play, trajectory, wait_for, wait_until

from innerloop.actors.actor import Assignment
from innerloop.distributed.store.api import summarise
from innerloop.distributed.store.redis import stream, wire
from innerloop.distributed.store.redis.store import RedisWriter
from innerloop.learner.sampling import Request

pytestmark = needs_redis

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
    store.append(Assignment(0, 1, 1), summarise(trajectory(1)), None)
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
        assert client.xpending(store.writer.keys.trajectories, "learner")["pending"] == 1


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
    expected = {f"innerloop:{run}:{name}" for run in ("one", "other") for name in ("format", "trajectories", "lock")}
    assert left == expected


def test_the_writer_travels_to_its_actor(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server))
    writer = pickle.loads(pickle.dumps(store.writer))
    assert isinstance(writer, RedisWriter)
    writer.write(Assignment(0, 0, 1), trajectory(4))
    store.append(Assignment(0, 0, 1), summarise(trajectory(4)), None)
    wait_for(store, 1)


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
    late = RedisWriter(store.writer.link, store.writer.keys, b"before")
    late.write(Assignment(5, 0, 1), trajectory(0, 4))
    wait_until(lambda: store.counts["discarded"] == 3)
    store.writer.write(Assignment(3, 9, 1), trajectory(0, 4))  # of an iteration that is over
    play(store, Assignment(5, 0, 1), trajectory(1, 4))
    wait_for(store, 4)
    wait_until(lambda: entries(server, store) == 4)
    assert numbers(store.take(9, 0).trajectories) == [4, 4, 1, 5]


def test_replay_after_a_crash_is_the_replay_before(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server, "replay", consumes="replay"))
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

    store = open_store(server, "replay", consumes="replay")
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
    store = open_store(server, "replay", consumes="replay")  # from a checkpoint before two of the iterations
    assert [a.iteration for a in store.begin(3)] == [3, 3]
    assert store.counts["discarded"] == 1
    assert len(store.replay) == 3 * 2 * 3
    wait_for(store, 2)
    assert len(store.keep(2).kept) == 2
    assert store.counts["replay_trials"] == before.counts["replay_trials"]


def test_an_entry_in_replay_that_is_not_acknowledged_stays_there(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server, "between", consumes="replay"))
    play(store, Assignment(0, 0, 1, (0,)))
    wait_for(store, 1)
    store.keep(1)
    store.close()
    with server.client() as client:  # as if the learner had died between two commands
        [[entry, _]] = client.xrange("innerloop:between:trajectories")
        client.xclaim("innerloop:between:trajectories", "learner", "learner", 0, [entry], force=True, justid=True)
    for _ in range(2):
        store = open_store(server, "between", consumes="replay")
        assert store.begin(1) == []
        assert len(store.replay) == 1
        store.close()


@pytest.mark.parametrize(("steps", "capacity"), [(400, 300_000), (5, 8_000)], ids=["long", "short"])
def test_the_server_holds_what_replay_holds_and_never_more_than_its_capacity(
    steps: int, capacity: int, server: RedisServer, open_store: Open
) -> None:
    run = f"bounded{steps}"
    store = begun(open_store(server, run, consumes="replay", capacity=capacity))
    for iteration in range(40):
        played = replace(trajectory(iteration, steps=steps, columns=2), note={})
        play(store, Assignment(iteration, 0, 2, (0, 1)), played)
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

    store = open_store(server, run, consumes="replay", capacity=capacity)
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
    keys = store.writer.keys
    other = bytearray(wire.encode(Assignment(0, 0, 1), trajectory(0)))
    other[8] += 1  # the format
    with server.client() as client:
        bad = [client.xadd(keys.trajectories, {"0": data}) for data in (b"noise", bytes(other), b"", b"x" * 2**18)]
        play(store, Assignment(0, 1, 1))
        wait_for(store, 1)
        assert store.counts["quarantined"] == 4
        said = [line for line in ours(caplog) if "put aside" in line]
        assert [entry.decode() in line for entry, line in zip(bad, said, strict=True)] == [True] * 4
        assert f"it is of format {wire.FORMAT + 1}; expected {wire.FORMAT}." in said[1]
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
    store = open_store(server, "aside", consumes="replay")
    assert store.begin(0) == []
    assert store.counts["quarantined"] == 1
    assert entries(server, store) == 0


def test_the_thread_sleeps_while_nothing_happens(server: RedisServer, open_store: Open) -> None:
    store, turns = open_store(server), []
    turn = store.stream.turn
    store.stream.turn = lambda *arguments: turns.append(None) or turn(*arguments)
    begun(store)
    time.sleep(1)
    assert 2 <= len(turns) <= 20
