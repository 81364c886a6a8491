"""Secrets in all places where users put them, and a search of everything that runs write: none of it has them."""

import json
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from processes import END_SECONDS, LEAVE_SECONDS, spawn, until
from redis_server import RedisServer, free_port, saying
from redis_stores import needs_redis
from test_cli import wait_for_lines

from innerloop.distributed.cli import main
from innerloop.distributed.launch.dashboard import ask
from innerloop.distributed.runs.lines import read_lines
from innerloop.envs.errors import BadInput

pytestmark = needs_redis

RUN = (
    "--family point-navigation --algorithm pearl --episodes 2 --horizon 5 --hidden 8 --layers 1 --trials 6 --tasks 5 "
    "--parts 2 --steps-per-task 8 --context 4 --context-hidden 8 --tasks-per-batch 3 --warm-up 60 "
    "--updates-per-step 0.05 --learner-threads 1 --evaluation-tasks 4 --iterations 100000 "
    "--checkpoint-every 100000 --replay-mb 64"
)
ASKED = (
    "/api/v0/jobs?detail=true",
    "/api/v0/actors?detail=true",
    "/api/v0/tasks?detail=true",
    "/api/v0/nodes?detail=true",
)
"""What a dashboard shows of a run."""

Written = dict[str, bytes]
"""What there is to search, by where it stands."""


def canary() -> str:
    """Letters and digits, so that it reads the same in a URL, in JSON and quoted."""
    return f"canary{secrets.token_hex(8)}"


def holding(word: str, written: Written) -> list[str]:
    """The places that have a word, in their names or in what they hold."""
    return [place for place, data in written.items() if word in place or word.encode() in data]


def files(directory: Path) -> Written:
    found: Written = {}
    for file in directory.rglob("*"):
        with suppress(FileNotFoundError):  # of a run that goes on
            found |= {str(file): file.read_bytes()} if file.is_file() else {}
    return found


def kept_by(server: RedisServer) -> Written:
    """Every key of the server, and its value byte by byte."""
    with server.client() as client:
        return {f"key {key.decode()}": client.dump(key) or b"" for key in client.scan_iter()}


def arguments_of(process: psutil.Process) -> Written:
    """Of a process and of all that it started, as everybody on the machine can see them."""
    return {
        f"process {each.pid} {each.name()}": "\0".join(each.cmdline()).encode()
        for each in [process, *process.children(recursive=True)]
    }


def shown_by(dashboard: str, token: str) -> Written:
    """The answers of a dashboard, as soon as it gives them."""
    shown: Written = {}

    def all_shown() -> bool:
        for path in {*ASKED} - {*shown}:
            with suppress(BadInput):
                shown[path] = json.dumps(ask(dashboard, path, {"Authorization": f"Bearer {token}"})).encode()
        return len(shown) == len(ASKED)

    until(all_shown, what=lambda: f"the dashboard answers no more than {[*shown]}")
    return {dashboard + path: answer for path, answer in shown.items()}


@pytest.fixture
def home() -> Iterator[Path]:
    """For what Ray writes; short, because of the length that socket paths may have."""
    home = Path(tempfile.mkdtemp(prefix="", dir=os.environ["RAY_TMPDIR"]))
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Whose values can be searched as they are."""
    with RedisServer(password=canary(), rdbcompression="no") as server:
        yield server


@contextmanager
def begin(log: Path, home: Path, *arguments: str, **environment: str) -> Iterator[psutil.Popen]:
    """A command, what it says in two files, and what its Ray writes in a directory."""
    command = [sys.executable, "-m", "innerloop", *arguments]
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_TMPDIR": str(home)} | environment
    with (
        log.with_suffix(".out").open("wb") as out,
        log.with_suffix(".err").open("wb") as err,
        spawn(command, env=environment, stdout=out, stderr=err) as process,
    ):
        yield process


@pytest.mark.usefixtures("own_ray")
def test_no_secret_is_in_anything_that_runs_write(
    server: RedisServer, home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said, marker, token, idle, wrong = tmp_path / "said", f"found{secrets.token_hex(8)}", *(canary() for _ in range(3))
    said.mkdir()
    token_file = tmp_path / "token"
    token_file.write_text(in_file := canary())
    token_file.chmod(0o600)
    out, written = tmp_path / marker, {}
    secret = {"INNERLOOP_REDIS_PASSWORD": server.password, "RAY_AUTH_TOKEN_PATH": str(token_file)}

    # The password in the URL, another in the environment, the token in the environment; then Ctrl-C.
    options = [*RUN.split(), "--store", server.url, "--name", marker, "--out", str(out), "--dashboard"]
    environment = {"INNERLOOP_REDIS_PASSWORD": idle, "RAY_AUTH_TOKEN": token}
    with begin(said / "first", home, "train", *options, **environment) as run:
        wait_for_lines(out / "metrics.jsonl", 2, run)
        [dashboard] = re.findall(r"^dashboard: (http://\S+)", (said / "first.err").read_text(), re.M)
        written |= shown_by(dashboard, token)
        written |= arguments_of(run)
        written |= files(home)  # which go with the run
        os.kill(run.pid, signal.SIGINT)
        assert run.wait(LEAVE_SECONDS) == 130

    # All other places: in what is refused, and to the end of the run.
    with saying(lambda data: b"HTTP/1.1 400 Bad Request\r\n\r\n" + data) as other:
        url = f"redis://:{wrong}@127.0.0.1"
        small = ["--iterations", "1", "--evaluation-tasks", "0", "--out", str(tmp_path / "refused")]
        iterations = str(read_lines(out / "metrics.jsonl")[-1]["iteration"] + 3)
        refused = {
            "which refuses this user and password": ["train", *small, "--store", f"{url}:{server.port}/0"],
            "something answers that is not Redis": ["train", *small, "--store", f"{url}:{other}/0"],
            "--stroe": ["train", *small, "--stroe", f"{url}:{server.port}/0"],
            "store is a URL that cannot be used": ["train", *small, "--store", f"{url}:{wrong}/0"],
            "a Ray dashboard": ["submit", "--address", f"http://127.0.0.1:{free_port()}", "--", "--preset", "first"],
            "has a password in its URL": ["submit", "--", "--preset", "first", "--store", f"{url}:{server.port}/0"],
        }
        with monkeypatch.context() as here:
            for name, value in secret.items():
                here.setenv(name, value)
            for number, (sentence, arguments) in enumerate(refused.items()):
                with pytest.raises(SystemExit) as ended:
                    main(arguments)
                assert ended.value.code == 2
                printed = capfd.readouterr()
                assert sentence in printed.err
                written[f"refused {number}"] = (printed.out + printed.err).encode()
    more = "train", "--resume", str(out), "--iterations", iterations
    with begin(said / "again", home, *more, **secret) as resumed:
        lines = int(iterations) - 2
        wait_for_lines(out / "metrics.jsonl", lines, resumed)
        written |= files(home)
        assert resumed.wait(END_SECONDS) == 0, (said / "again.err").read_text()

    written |= files(said) | files(out) | kept_by(server)
    assert not (tmp_path / "refused").exists()
    for secret in (server.password, token, in_file, idle, wrong):
        assert not holding(secret, written)

    # The search finds what is there: in what is said, shown, seen, saved and logged, in Redis, in binary files.
    for place in ("again.out", "first.err", "/api/v0/jobs", f"process {run.pid} ", "config.json", "key innerloop:"):
        assert [each for each in holding(marker, written) if place in each], place
    assert [each for each in holding(marker, written) if each.startswith(str(home)) and "/logs/" in each]
    assert not files(home)
    assert [each for each in holding("first_episode", written) if "/tensorboard/" in each]
    assert {Path(each).suffix for each in written} > {".safetensors", ".png", ".jsonl", ".log", ".err", ".out"}


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_an_unknown_option_beside_a_long_password_shows_no_piece_of_it(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is too long for a line of the terminal is said in pieces."""
    monkeypatch.setenv("COLUMNS", str(columns))
    password = secrets.token_hex(40)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--stroe", f"redis://bob:{password}@127.0.0.1:6379/0"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "--stroe" in said
    assert not [piece for piece in re.findall(r"\w{6}", password) if piece in said]
