"""One living run at a time uses a name: refused, waited for, taken over, lost."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from logged import ours
from redis_server import RedisServer
from redis_stores import Open, begun, entries, needs_redis, play, trajectory, wait_for, wait_until
from test_trainer import small

from innerloop.actors.actor import Assignment
from innerloop.distributed.runs.lines import read_lines
from innerloop.distributed.store.redis import lock
from innerloop.distributed.store.redis.lock import Owner
from innerloop.distributed.trainer import train
from innerloop.envs.errors import BadInput

pytestmark = needs_redis
KEY = "innerloop:{}:lock"

HOLD = """
import sys
from innerloop.distributed.store.redis.store import RedisStore
from innerloop.envs.errors import BadInput
print("ready", flush=True)
sys.stdin.readline()
try:
    store = RedisStore(sys.argv[1], sys.argv[2], capacity=1000, consumes="fresh")
    print("taken", flush=True)
except BadInput as error:
    print(error, flush=True)
sys.stdin.readline()
"""


@contextmanager
def drivers(server: RedisServer, run: str, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that open the run's store at once, say what came of it, and end when their input does."""
    command = [sys.executable, "-c", HOLD, server.url, run]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **pipes) for _ in range(count)]
    try:
        for each in started:
            assert each.stdout.readline() == "ready\n"
        for each in started:
            each.stdin.write("\n")
            each.stdin.flush()
        yield started
    finally:
        for each in started:
            each.kill()
            each.communicate()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks that lapse within a second."""
    for name, seconds in {"LAPSE": 1.0, "RENEWAL": 0.2, "POLL": 0.05}.items():
        monkeypatch.setattr(lock, name, seconds)


def elsewhere(**change: Any) -> bytes:
    """The lock of a run on another machine."""
    owner = Owner("t" * 32, "far", "far boot pid:[1]", 4321, "17", 1_700_000_000)
    return json.dumps(owner._asdict() | change).encode()


def test_of_drivers_that_race_for_a_name_one_gets_it_and_the_others_are_told_who(server: RedisServer) -> None:
    with drivers(server, "race", 3) as started:
        said = {each.pid: each.stdout.readline().rstrip() for each in started}
        [winner] = [pid for pid, line in said.items() if line == "taken"]
        for pid, line in said.items():
            if pid != winner:
                assert line.startswith(f"name is 'race', in use on Redis at 127.0.0.1:{server.port} by a run on ")
                assert f"(process {winner}) since 20" in line
                assert "; expected another name, or that run to have ended (its lock lapses in " in line


def test_a_second_run_is_refused_before_it_deletes_or_writes_anything(server: RedisServer, open_store: Open) -> None:
    store = begun(open_store(server, "held"))
    play(store, Assignment(0, 0, 1))
    wait_for(store, 1)
    with server.client() as client:
        before = {key: client.dump(key) for key in client.keys("innerloop:held:*")}
        with pytest.raises(BadInput, match=rf"^name is 'held', in use .* \(process {os.getpid()}\) since .*\.$"):
            open_store(server, "held")
        assert {key: client.dump(key) for key in client.keys("innerloop:held:*")} == before
        store.close()
        assert not client.exists(KEY.format("held"))
    assert open_store(server, "held").begin(0) == [Assignment(0, 0, 1)]


def test_a_run_that_was_killed_on_this_machine_is_followed_at_once(server: RedisServer, open_store: Open) -> None:
    with drivers(server, "killed", 1) as [holder]:
        assert holder.stdout.readline() == "taken\n"
        holder.kill()
        wait_until(lambda: psutil.Process(holder.pid).status() == psutil.STATUS_ZOMBIE)
        clock = time.monotonic()
        begun(open_store(server, "killed"))
        assert time.monotonic() - clock < lock.LAPSE / 2


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("value", [elsewhere(), b"noise"], ids=["elsewhere", "noise"])
def test_what_may_be_dead_elsewhere_is_waited_for_until_its_lock_lapses(
    value: bytes, server: RedisServer, open_store: Open, caplog: pytest.LogCaptureFixture
) -> None:
    run = f"lapsing{len(value)}"
    with server.client() as client:
        client.set(KEY.format(run), value, px=700)
        store = begun(open_store(server, run))
        said = [line for line in ours(caplog) if "may have died" in line]
        assert len(said) == 1
        assert f"the name {run!r} is in use on " in said[0]
        wait_until(lambda: client.get(KEY.format(run)) == store.run_lock.value)


@pytest.mark.usefixtures("quick")
def test_a_living_run_elsewhere_is_noticed_by_its_renewals(server: RedisServer, open_store: Open) -> None:
    ended = threading.Event()

    def renew() -> None:
        with server.client() as client:
            while not ended.wait(0.2):
                client.set(KEY.format("renewed"), elsewhere(), px=900)

    with server.client() as client:
        client.set(KEY.format("renewed"), elsewhere(), px=900)
    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(BadInput, match=r"by a run on 'far' \(process 4321\) since 2023-11-1.*\.$"):
            open_store(server, "renewed")
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(
    "put",
    [
        lambda client, key: client.set(key, elsewhere()),  # never lapses
        lambda client, key: client.set(key, b"\xff" * 10_000),
        lambda client, key: client.set(key, elsewhere(pid=-1)),
        lambda client, key: client.set(key, elsewhere(since=10**30)),
        lambda client, key: client.set(key, b"[" * 10_000, ex=3600),
        lambda client, key: client.rpush(key, "a list"),
    ],
    ids=["forever", "noise", "pid", "since", "deep", "type"],
)
def test_a_lock_that_is_none_of_ours_is_one_sentence(
    put: Callable[[Any, str], Any], server: RedisServer, open_store: Open
) -> None:
    with server.client() as client:
        client.delete(KEY.format("odd"))
        put(client, KEY.format("odd"))
        with pytest.raises(BadInput, match=r"^(name|store) is '.*; expected .*\.$") as caught:
            open_store(server, "odd")
        assert len(str(caught.value)) < 400
        assert client.exists(KEY.format("odd"))


@pytest.mark.parametrize("on_policy", [True, False])
def test_a_run_that_has_lost_its_name_ends_in_a_sentence_and_writes_nothing_further(
    on_policy: bool, server: RedisServer, open_store: Open
) -> None:
    run = f"lost{on_policy}"
    store = begun(open_store(server, run, consumes="fresh" if on_policy else "replay"))
    play(store, Assignment(0, 0, 1, (0,)))
    wait_for(store, 1)
    with server.client() as client:
        client.set(KEY.format(run), elsewhere())
        store.run_lock.held_until = 0.0  # as when the server was away for so long
        wait_until(lambda: store.run_lock.failure)
        before = {key: client.dump(key) for key in client.keys(f"innerloop:{run}:*")}
        said = rf"^name is {run!r}, in use on .* by a run on 'far' \(process 4321\) .* had lapsed; .*\.$"
        for call in (lambda: len(store), lambda: store.take(1, 0), lambda: store.begin(1)):
            with pytest.raises(BadInput, match=said):
                call()
        store.learned([Assignment(0, 0, 1, (0,))])
        store.close()
        assert {key: client.dump(key) for key in client.keys(f"innerloop:{run}:*")} == before  # also the other's lock


@pytest.mark.usefixtures("quick")
def test_the_lock_is_taken_again_where_nobody_took_it_while_the_server_was_away(open_store: Open) -> None:
    with RedisServer() as forgetful:
        store = begun(open_store(forgetful, "back"))
        forgetful.kill()
        wait_until(lambda: store.stream.link.away.on)
        forgetful.start()
        wait_until(lambda: not store.stream.link.away.on)
        play(store, Assignment(0, 0, 1))
        wait_for(store, 1)
        with forgetful.client() as client:
            wait_until(lambda: client.get(KEY.format("back")) == store.run_lock.value)


@pytest.mark.usefixtures("quick")
def test_on_a_full_server_a_lock_is_kept_and_a_run_goes_on_without_until_there_is_room(open_store: Open) -> None:
    with RedisServer(maxmemory="100mb", maxmemory_policy="noeviction") as small, small.client() as client:
        store = begun(open_store(small, "full"))
        client.config_set("maxmemory", 1)
        mine, renewed = store.run_lock.value, time.monotonic() + 1.5 * lock.LAPSE
        wait_until(lambda: time.monotonic() > renewed)
        assert client.get(KEY.format("full")) == mine
        assert len(store) == 0
        store.close()
        wait_until(lambda: not client.exists(KEY.format("full")))
        client.config_set("maxmemory", 10**8)
        begun(open_store(small, "gone")).close()  # its keys are there
        client.set(KEY.format("gone"), elsewhere(system=lock.system(), pid=2**22 + 1))
        client.config_set("maxmemory", 1)
        for run in ("full", "gone"):  # with no lock, and with a dead run's
            store = begun(open_store(small, run))
            assert client.get(KEY.format(run)) != store.run_lock.value
            client.config_set("maxmemory", 10**8)
            wait_until(lambda store=store, run=run: client.get(KEY.format(run)) == store.run_lock.value)
            client.config_set("maxmemory", 1)
            store.close()


def test_nothing_is_done_for_a_run_without_its_name(server: RedisServer, open_store: Open) -> None:
    """An entry written by a run's actors after it has lost the name is not counted for the one that has it now."""
    store = begun(open_store(server, "late"))
    writer = store.writer
    store.close()
    other = begun(open_store(server, "late"))
    writer.write(Assignment(0, 0, 1), trajectory(0))
    wait_until(lambda: other.counts["discarded"] == 1)
    wait_until(lambda: entries(server, other) == 0)


@pytest.mark.usefixtures("own_ray")
def test_a_training_under_the_name_of_one_that_runs_is_refused_and_that_one_goes_on(
    server: RedisServer, tmp_path: Path
) -> None:
    refused: list[str] = []

    def watch(line: dict[str, Any]) -> None:
        if line["iteration"] == 2:
            with pytest.raises(BadInput) as caught:
                train(small(store=server.url, name="mine"), tmp_path / "second", overwrite=True)
            refused.append(str(caught.value))

    train(small(store=server.url, name="mine"), tmp_path / "first", watch=watch)
    assert refused[0].startswith("name is 'mine', in use on Redis at ")
    assert not (tmp_path / "second").exists()
    assert [line["iteration"] for line in read_lines(tmp_path / "first" / "metrics.jsonl")] == [1, 2, 3, 4]
    with server.client() as client:
        assert not client.exists(KEY.format("mine"))
