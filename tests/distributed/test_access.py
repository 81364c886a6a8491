"""Who may reach a run: the token, loopback, passwords; clusters that let everybody in."""

import logging
import os
import stat
import threading
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from innerloop.distributed import access
from innerloop.distributed.access import asks_for_token, is_loopback, make_token, warn_if_open
from innerloop.distributed.store.redis import RedisStore
from innerloop.envs.errors import BadInput


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has never used Ray."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_the_token_is_ours_alone_from_the_first_moment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0)  # as careless as can be
    modes, link = [], os.link
    monkeypatch.setattr(os, "link", lambda a, b: (modes.append(mode(Path(a))), link(a, b)))
    try:
        make_token()
    finally:
        os.umask(before)
    file = home / ".ray" / "auth_token"
    assert modes == [0o600]  # before it had its name
    assert mode(file) == 0o600
    assert mode(file.parent) == 0o700
    token = file.read_text()
    assert len(token) == 64
    make_token()
    assert file.read_text() == token
    assert [each.name for each in file.parent.iterdir()] == ["auth_token"]


def test_runs_that_begin_together_have_one_token(home: Path) -> None:
    seen: list[str] = []

    def begin() -> None:
        make_token()
        seen.append((home / ".ray" / "auth_token").read_text())

    threads = [threading.Thread(target=begin) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 16
    assert len({*seen}) == 1
    assert len(seen[0]) == 64


def test_a_token_that_others_could_read_is_closed_and_that_is_said(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = home / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("0123456789abcdef")
    file.chmod(0o644)
    make_token()
    assert mode(file) == 0o600
    assert file.read_text() == "0123456789abcdef"
    assert "could be read by other users" in caplog.text
    assert "0123456789abcdef" not in caplog.text


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_from_the_environment_is_used_as_it_is(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "somewhere")
    make_token()
    assert not [*home.iterdir()]


def test_who_switches_tokens_off_is_warned(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    make_token()
    assert "RAY_AUTH_MODE is 'disabled': whoever reaches this run's Ray ports can run programs as you." in caplog.text
    assert not [*home.iterdir()]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
        ("192.0.2.1", False), ("::", False), ("2001:db8::1", False), ("no-such-host.invalid", False),
    ],
)  # fmt: skip
def test_loopback_is_told_from_the_network(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected


@pytest.mark.parametrize("url", ["redis://192.0.2.1:6379/0", "rediss://no-such-host.invalid", "redis://bob@192.0.2.1"])
def test_redis_on_another_machine_is_never_used_without_a_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything is sent: nothing answers at these addresses."""
    monkeypatch.delenv("INNERLOOP_REDIS_PASSWORD", raising=False)
    with pytest.raises(BadInput) as refused:
        RedisStore(url, "run", capacity=1000, on_policy=True)
    assert "on another machine and without a password; expected one in the URL, or in INNERLOOP_REDIS_PASSWORD." in str(
        refused.value
    )


class Service(grpc.GenericRpcHandler):
    """Answers every call in the same way."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            if self._code is not grpc.StatusCode.OK:
                context.abort(self._code, "no")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.OK, False),
        (grpc.StatusCode.UNAUTHENTICATED, True),
        (grpc.StatusCode.UNIMPLEMENTED, None),
    ],
)
def test_a_cluster_that_lets_everybody_in_is_warned_of(
    code: grpc.StatusCode, expected: bool | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Service(code)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    assert asks_for_token(f"127.0.0.1:{port}") is expected
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        caplog.clear()
        warn_if_open(address)
        assert (f"The Ray cluster at 127.0.0.1:{port} lets everybody in" in caplog.text) == (expected is False)
    server.stop(None)


def test_nothing_that_does_not_answer_is_called_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "PROBE_SECONDS", 0.3)
    assert asks_for_token("127.0.0.1:1") is None


@pytest.mark.usefixtures("own_ray")
def test_a_real_cluster_of_ours_asks_for_the_token() -> None:
    import ray

    assert asks_for_token(ray.get_runtime_context().gcs_address) is True
