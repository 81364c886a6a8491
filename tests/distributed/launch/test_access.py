"""Who may reach a run: the token, loopback, passwords; clusters that let everybody in."""

import logging
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from processes import run, spawn

from innerloop.distributed.launch import access
from innerloop.distributed.launch.access import (
    asks_for_token,
    check_address_file,
    check_socket,
    is_loopback,
    make_token,
    warn_if_open,
    write_alone,
)
from innerloop.distributed.store.redis.store import RedisStore
from innerloop.envs.errors import BadInput

KEPT = Path(__file__).parents[3] / "benchmarks" / "results" / "first"
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user too")
CLUSTER = """
import time
from innerloop.distributed.launch.local import own_cluster
with own_cluster(cpus=1) as context:
    print(context.address_info["session_dir"], flush=True)
    time.sleep(10000)
"""
INTRUDER = """
import os, socket, sys
session, nobody = sys.argv[1], int(sys.argv[2])
os.setgroups([])
os.setgid(nobody)
os.setuid(nobody)
for attempt in (
    lambda: os.listdir(session),
    lambda: open(session + "/logs/innerloop-run.part", "w"),
    lambda: os.rename(session + "/sockets/raylet", session + "/sockets/away"),
    lambda: socket.socket(socket.AF_UNIX).connect(session + "/sockets/raylet"),
):
    try:
        attempt()
        print("succeeded")
    except OSError as error:
        print(type(error).__name__)
"""


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


@pytest.mark.parametrize(
    ("name", "value"), [("RAY_AUTH_TOKEN", "0123456789"), ("RAY_AUTH_TOKEN_PATH", f"{KEPT / 'config.json'}")]
)
def test_a_token_from_the_environment_is_used_as_it_is(
    name: str, value: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    make_token()
    assert not [*home.iterdir()]


def closed(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("0123456789")


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda file: file.parent.write_text("a file"), "HOME is '{home}'; expected a directory where Ray's token"),
        (lambda file: file.parent.symlink_to("/nowhere"), "HOME is '{home}'; expected a directory where Ray's token"),
        (lambda file: file.parent.symlink_to("/proc/1/fdinfo"), "HOME is '{home}'; expected"),
        (lambda file: file.mkdir(parents=True), "Ray's token is '{file}'; expected a file with a token."),
        (lambda file: (file.parent.mkdir(), file.symlink_to("/nowhere")), "Ray's token is '{file}'; expected a file"),
        (lambda file: (file.parent.mkdir(), file.symlink_to(file)), "Ray's token is '{file}'; expected a file"),
        (lambda file: (file.parent.mkdir(), file.touch()), "Ray's token is '{file}'; expected a file with a token."),
        (lambda file: (file.parent.mkdir(), os.mkfifo(file)), "Ray's token is '{file}'; expected a file with a token."),
        (lambda file: (file.parent.mkdir(), file.write_bytes(b"\xff\xfe")), "Ray's token is '{file}'; expected a file"),
        (lambda file: (closed(file), given_away(file)), "Ray's token is '{file}'; expected a file of yours"),
        (lambda file: (closed(file), given_away(file.parent)), "Ray's directory is '{file.parent}'; expected one of"),
    ],
)
def test_a_token_that_cannot_be_kept_or_trusted_is_refused_in_a_sentence(
    prepare: Callable[[Path], object], sentence: str, home: Path
) -> None:
    file = home / ".ray" / "auth_token"
    prepare(file)
    before = [*home.rglob("*")]
    with pytest.raises(BadInput) as refused:
        make_token()
    assert sentence.format(home=home, file=file) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert [*home.rglob("*")] == before


@pytest.mark.parametrize("home_given", ["/nowhere", "/dev/null", "/proc/1/fdinfo"])
def test_a_home_that_cannot_be_written_is_refused_in_a_sentence(
    home_given: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0 and home_given == "/nowhere":
        pytest.skip("root can make it")
    monkeypatch.setenv("HOME", home_given)
    with pytest.raises(BadInput, match=f"HOME is '{home_given}'; expected .* or a token in RAY_AUTH_TOKEN"):
        make_token()


@pytest.mark.parametrize("value", ["/nowhere", "/", "/dev/null"])
def test_a_token_file_that_is_named_and_not_there_is_refused(
    value: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", value)
    with pytest.raises(BadInput, match=f"RAY_AUTH_TOKEN_PATH is '{value}'; expected a file with a token"):
        make_token()


def test_what_another_user_has_put_in_the_way_is_replaced_and_never_followed(tmp_path: Path) -> None:
    """As in Ray's directory for logs, where everybody may write."""
    victim, file = tmp_path / "victim", tmp_path / "shared" / "innerloop-run.json"
    victim.write_text("mine")
    file.parent.mkdir()
    file.parent.chmod(0o777)
    for name in (file.name, "innerloop-run.part", "innerloop-run.json.part"):
        (file.parent / name).symlink_to(victim)
    write_alone(file, "told")
    assert victim.read_text() == "mine"
    assert not file.is_symlink()
    assert (file.read_text(), mode(file)) == ("told", 0o600)
    assert len([*file.parent.iterdir()]) == 3  # nothing of its own beside it
    file.unlink()
    file.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_alone(file, "told")
    assert len([*file.parent.iterdir()]) == 3


def given_away(*places: Path) -> None:
    for place in places:
        os.chown(place, NOBODY, NOBODY)


@needs_root
def test_where_auto_leads_is_not_for_others_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    check_address_file()
    file = tmp_path / "ray" / "ray_current_cluster"
    file.parent.mkdir()
    file.write_text("127.0.0.1:6379")
    check_address_file()
    given_away(file)
    with pytest.raises(BadInput, match=r"address is .*somebody else wrote down"):
        check_address_file()
    file.unlink()
    file.symlink_to("/etc/hostname")
    os.chown(file, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(BadInput, match=r"address is .*somebody else wrote down"):
        check_address_file()


@pytest.mark.parametrize(
    ("closed_to_others", "theirs", "expected"),
    [(True, None, ""), (False, None, "warned"), (True, "sockets/raylet", ""), (False, "sockets/raylet", "refused"),
     (False, "sockets", "refused"), (False, ".", "refused")],
)  # fmt: skip
@needs_root
def test_a_socket_that_another_user_may_have_put_there_is_not_used(
    closed_to_others: bool, theirs: str | None, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as top:
        place = Path(top) / "ray"
        (place / "sockets").mkdir(parents=True)
        for each in (place, place / "sockets"):
            each.chmod(0o777)  # as Ray makes them
        Path(top).chmod(0o700 if closed_to_others else 0o755)
        (place / "sockets" / "raylet").touch()
        if theirs:
            given_away(place / theirs)
        if expected == "refused":
            with pytest.raises(BadInput, match=r"expected a cluster of yours, but .* is another user's"):
                check_socket(place / "sockets" / "raylet")
        else:
            check_socket(place / "sockets" / "raylet")
        assert ("Other users of this machine can write" in caplog.text) == (expected == "warned")


@needs_root
def test_another_user_reaches_neither_files_nor_sockets_of_a_run() -> None:
    """As `nobody`, beside a real cluster of ours."""
    with spawn([sys.executable, "-c", CLUSTER], stdout=subprocess.PIPE, text=True) as cluster:
        session = cluster.stdout.readline().strip()
        assert Path(session, "sockets", "raylet").is_socket()
        said = run([sys.executable, "-c", INTRUDER, session, str(NOBODY)])
    assert said.stdout.split() == ["PermissionError"] * 4, said.stderr


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
        RedisStore(url, "run", capacity=1000, consumes="fresh")
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
