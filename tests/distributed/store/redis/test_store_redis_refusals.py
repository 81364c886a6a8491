"""What the store in Redis refuses, in one sentence that never holds a password."""

import logging
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from logged import ours
from redis_server import RedisServer, certificate, free_port, saying, tls_before
from redis_stores import Open, begun, needs_redis, numbers, play, trajectory, wait_for, wait_until

from innerloop.actors.actor import Assignment
from innerloop.distributed.store.redis import address, wire
from innerloop.distributed.store.redis.address import Address, split_secret
from innerloop.distributed.store.redis.store import RedisStore
from innerloop.envs.errors import BadInput

pytestmark = needs_redis
CANARY = "c4n/ary:p@ss#w?rd"


def refusal(url: str, **options: Any) -> str:
    """What is said to a user who gives this address."""
    with pytest.raises(BadInput) as caught:
        RedisStore(url, **({"run": "any", "capacity": 1000, "consumes": "replay"} | options))  # pyright: ignore[reportArgumentType]
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
    monkeypatch.setattr(address, "TIMEOUT", 0.3)
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
    said = rf"^the format of innerloop:other-format:format in Redis is '99'; expected {wire.FORMAT}, or --overwrite\.$"
    with pytest.raises(BadInput, match=said):
        store.begin(0)
    store.close()
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
        store = RedisStore(locked.bare_url, "secret", capacity=1000, consumes="fresh")
        begun(store)
        play(store, Assignment(0, 0, 1))
        wait_for(store, 1)
        said += [repr(thing) for thing in (store, store.writer, store.stream, store.writer.link)]
        said += [repr(store.writer.link.address), str(store.writer.link.address), repr(store.writer.link.client)]
        locked.kill()
        wait_until(lambda: store.stream.link.away.on)
        locked.command[locked.command.index(CANARY)] = locked.password = "another"
        locked.start()
        wait_until(lambda: store.stream.failure)
        with pytest.raises(BadInput, match="which refuses this user and password") as caught:
            store.take(1, 0)
        said.append(str(caught.value))
        with pytest.raises(BadInput, match="which refuses this user and password") as caught:
            store.writer.write(Assignment(0, 1, 1), trajectory(0))
        said.append(repr(caught.value))
        store.close()
    printed = "".join(capfd.readouterr())
    for text in [*said, *ours(caplog), caplog.text, printed]:
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
        store = RedisStore(f"rediss://127.0.0.1:{port}?ssl_ca_certs={files[0]}", "tls", capacity=1000, consumes="fresh")
        begun(store)
        play(store, Assignment(0, 0, 1), trajectory(6, steps=100_000))
        wait_for(store, 1)
        assert numbers(store.take(1, 0).trajectories) == [6]
        store.close()
