"""Secrets in all places where users put them, and a search of everything that runs write: none of it has them."""

import json
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from redis_server import RedisServer, free_port, saying
from redis_stores import needs_redis
from test_cli import wait_for_lines

from innerloop.distributed.cli import main
from innerloop.distributed.dashboard import ask
from innerloop.distributed.metrics import read_lines
from innerloop.envs.errors import BadInput

pytestmark = needs_redis

RUN = (
    "--family point-navigation --algorithm pearl --episodes 2 --horizon 5 --hidden 8 --layers 1 --trials 6 --tasks 5 "
    "--parts 2 --steps-per-task 8 --context 4 --encoder-hidden 8 --tasks-per-batch 3 --warm-up 60 --ratio 0.05 "
    "--learner-threads 1 --evaluation-tasks 4 --iterations 100000 --checkpoint-every 100000 --replay-mb 64"
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
    return {str(file): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


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
    shown, deadline = {}, time.monotonic() + 120
    while len(shown) < len(ASKED) and time.monotonic() < deadline:
        for path in ASKED:
            with suppress(BadInput):
                shown[dashboard + path] = json.dumps(
                    ask(dashboard, path, {"Authorization": f"Bearer {token}"})
                ).encode()
    assert len(shown) == len(ASKED), f"the dashboard answers no more than {list(shown)}"
    return shown


@pytest.fixture
def home() -> Iterator[Path]:
    """For what Ray writes; short, because of the length that socket paths may have."""
    home = Path(tempfile.mkdtemp(prefix="ray-"))
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Whose values can be searched as they are."""
    with RedisServer(password=canary(), rdbcompression="no") as server:
        yield server


def begin(log: Path, home: Path, *arguments: str, **environment: str) -> psutil.Popen:
    """A command, what it says in two files, and what its Ray writes in a directory."""
    with log.with_suffix(".out").open("wb") as out, log.with_suffix(".err").open("wb") as err:
        return psutil.Popen(
            [sys.executable, "-m", "innerloop", *arguments],
            env=os.environ | {"RAY_AUTH_MODE": "token", "RAY_TMPDIR": str(home)} | environment,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


def test_no_secret_is_in_anything_that_runs_write(server: RedisServer, home: Path, tmp_path: Path) -> None:
    said, marker, token, idle, wrong = tmp_path / "said", f"found{secrets.token_hex(8)}", *(canary() for _ in range(3))
    said.mkdir()
    token_file = tmp_path / "token"
    token_file.write_text(in_file := canary())
    token_file.chmod(0o600)
    out, written = tmp_path / marker, {}
    secret = {"INNERLOOP_REDIS_PASSWORD": server.password, "RAY_AUTH_TOKEN_PATH": str(token_file)}

    # The password in the URL, another in the environment, the token in the environment; then Ctrl-C.
    options = [*RUN.split(), "--store", server.url, "--name", marker, "--out", str(out), "--dashboard"]
    run = begin(said / "first", home, "train", *options, INNERLOOP_REDIS_PASSWORD=idle, RAY_AUTH_TOKEN=token)
    try:
        wait_for_lines(out / "metrics.jsonl", 2, run, 180)
        [dashboard] = re.findall(r"^dashboard: (http://\S+)", (said / "first.err").read_text(), re.M)
        written |= shown_by(dashboard, token)
        written |= arguments_of(run)
    finally:
        os.kill(run.pid, signal.SIGINT)
    assert run.wait(60) == 130

    # All other places, to the end of the run; and beside it what is refused.
    with saying(lambda data: b"HTTP/1.1 400 Bad Request\r\n\r\n" + data) as other:
        url = f"redis://:{wrong}@127.0.0.1"
        small = ["--iterations", "1", "--evaluation-tasks", "0", "--out", str(tmp_path / "refused")]
        iterations = str(read_lines(out / "metrics.jsonl")[-1]["iteration"] + 3)
        resumed = begin(said / "again", home, "train", "--resume", str(out), "--iterations", iterations, **secret)
        refused = {
            "which refuses this user and password": ["train", *small, "--store", f"{url}:{server.port}/0"],
            "something answers that is not Redis": ["train", *small, "--store", f"{url}:{other}/0"],
            "--stroe": ["train", *small, "--stroe", f"{url}:{server.port}/0"],
            "store is a URL that cannot be used": ["train", *small, "--store", f"{url}:{wrong}/0"],
            "a Ray dashboard": ["submit", "--address", f"http://127.0.0.1:{free_port()}", "--", "--preset", "first"],
            "has a password in its URL": ["submit", "--", "--preset", "first", "--store", f"{url}:{server.port}/0"],
        }
        begun = [
            begin(said / str(number), home, *arguments, **secret) for number, arguments in enumerate(refused.values())
        ]
        assert [process.wait(120) for process in begun] == [2] * len(refused)
        for number, sentence in enumerate(refused):
            assert sentence in (said / f"{number}.err").read_text()
        assert resumed.wait(120) == 0, (said / "again.err").read_text()

    written |= files(said) | files(out) | files(home) | kept_by(server)
    assert not (tmp_path / "refused").exists()
    for secret in (server.password, token, in_file, idle, wrong):
        assert not holding(secret, written)

    # The search finds what is there: in what is said, shown, seen, saved and logged, in Redis, in binary files.
    for place in ("again.out", "first.err", "/api/v0/jobs", f"process {run.pid} ", "config.json", "key innerloop:"):
        assert [each for each in holding(marker, written) if place in each], place
    assert [each for each in holding(marker, files(home)) if "/logs/" in each]
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
