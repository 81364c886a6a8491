"""Runs on a real cluster: sent to it as jobs, and joining it; and everything that is refused beforehand."""

import json
import re
import shlex
import signal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import processes
import pytest

import innerloop
from innerloop.distributed.cli import main
from innerloop.distributed.launch import wheel as wheels
from innerloop.distributed.source import deployed

SMALL = "--iterations 3 --trials 32 --evaluation-tasks 0"
RUN = ["--", "--preset", "first"]
CANARY = "canary-5d1f0b"
PROBE = '''
"""A family that notes what plays it, and where."""
import pathlib
from dataclasses import dataclass
import innerloop, ray
from innerloop.envs.bandit import BernoulliBandit

@dataclass(frozen=True, kw_only=True)
class Noting(BernoulliBandit):
    def sample(self, rng, n, split):
        labels = ray.get_runtime_context().get_node_labels() if ray.is_initialized() else {}
        with open(pathlib.Path.home() / "noted", "a") as file:
            print(labels.get("role"), innerloop.__file__, file=file)
        return super().sample(rng, n, split)
'''


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by pip of the source, as `submit` does it."""
    return wheels.build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def with_token(running: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The cluster, for a command in this process."""
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(running.home / ".innerloop" / "token"))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")  # `submit` sets it
    monkeypatch.chdir(running.home)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return running


def status(arguments: list[str]) -> Any:
    """Of the command."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return stopped.value.code


def test_a_run_is_sent_with_its_code_and_followed_to_its_end(
    with_token: Any,
    interrupted: Any,
    readme: Any,
    wheel: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The README's command, over a connection that breaks while the log is shown.

    A family that is sent along notes on which node its trials are played, and by which code.
    """
    running = with_token
    (running.home / "probe.py").write_text(PROBE)
    command = readme.command("Your own machines", "innerloop submit")
    command = command.replace("127.0.0.1:8265", f"127.0.0.1:{interrupted.server_address[1]}").replace(
        "/home/ubuntu", str(running.home)
    )
    assert " -- --preset first " in command
    command = command.replace(" -- ", " --modules probe.py -- ") + f" --family probe:Noting {SMALL}"
    monkeypatch.setenv("INNERLOOP_REDIS_PASSWORD", CANARY)
    monkeypatch.setattr("innerloop.distributed.launch.submit.build", lambda folder: wheel)  # has been built so already
    assert status(shlex.split(command)[1:]) == 0
    done = capsys.readouterr()
    assert interrupted.broken == 1
    for once in ("Running entrypoint for job", "iteration 3/3  return", "agent: innerloop.actors"):
        assert done.out.count(once) == 1, done.out
    assert len((running.home / "runs/first/metrics.jsonl").read_text().splitlines()) == 3
    noted = {tuple(line.split()) for line in (running.home / "noted").read_text().splitlines()}
    played = {code for role, code in noted if role == "rollout"}
    assert len(played) == 1
    assert re.search(r"/working_dir_files/_ray_pkg_\w+/innerloop/__init__\.py$", played.pop())

    [name] = set(re.findall(r"raysubmit_\w+", done.err))
    job = running.ask(f"/api/jobs/{name}")
    roles = {
        node["node_id"]: node["labels"].get("role")
        for node in running.ask("/api/v0/nodes?detail=true")["data"]["result"]["result"]
    }
    assert roles[job["driver_node_id"]] == "learner"
    # The password of this shell is nowhere: not in the job's command or environment, not in any log of the cluster.
    assert CANARY not in json.dumps(job)
    assert CANARY not in done.out + done.err
    for file in running.logs.rglob("*"):
        assert not file.is_file() or CANARY.encode() not in file.read_bytes(), file


def test_the_status_of_a_run_that_fails_is_the_commands(
    with_token: Any, wheel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = ["submit", "--address", with_token.address, "--wheel", str(wheel), *RUN, "--out", "/proc/nowhere/run"]
    assert status(sent) == 2
    assert "innerloop: out is '/proc/nowhere/run'; expected a directory that can be written" in capsys.readouterr().out


def test_ctrl_c_leaves_the_job_and_a_job_that_is_stopped_has_saved_its_state(running: Any, wheel: Path) -> None:
    command = f"exec innerloop submit --address {running.address} --wheel {wheel} -- --preset first --out runs/long"
    command = ["bash", "-c", f". ~/.innerloop/env; {command} --iterations 100000 --trials 32"]
    options = {"cwd": running.home, "env": running.environment, "text": True}
    with processes.spawn(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        for line in process.stdout:
            if line.startswith("iteration"):
                break
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=processes.LEAVE_SECONDS)
        assert process.returncode == 130
    assert "Traceback" not in said
    *_, last = said.splitlines()
    assert "goes on. Follow it: ray job logs --follow" in last
    stop = last.partition("Stop it: ")[2]
    name = shlex.split(stop)[-1]
    assert running.ask(f"/api/jobs/{name}")["status"] == "RUNNING"
    assert running.shell(f". ~/.innerloop/env; {stop}").returncode == 0
    assert running.ask(f"/api/jobs/{name}")["status"] == "STOPPED"
    log = running.ask(f"/api/jobs/{name}/logs")["logs"]
    assert "go on with: innerloop train --resume runs/long" in log
    assert list((running.home / "runs/long/checkpoints").glob("*.safetensors"))


JOIN = """
import sys
import innerloop, ray
from innerloop.distributed import cli, trainer
from innerloop.distributed.launch import versions

def attempt(*more):
    words = sys.argv[1:]
    for name in more[::2]:
        if name in words:
            at = words.index(name)
            del words[at : at + 2]
    try:
        cli.main([*words, *more])
    except SystemExit as stopped:
        print("status", stopped.code)

ray.__version__ = "2.59.0"
attempt("--out", "mismatch")
ray.__version__ = "2.60.0"
deployed, versions.deployed = versions.deployed, lambda: "0.0.9"
attempt("--out", "mismatch")
versions.deployed = deployed
attempt("--overwrite")
"""


def test_a_run_joins_the_cluster_from_the_head_but_not_with_other_versions(running: Any, readme: Any) -> None:
    """As the README says, but for `ray attach`, which is ssh; first as another Ray, then as another innerloop."""
    [lines] = [block for block in readme.blocks("Your own machines") if "ray attach" in block]
    attach, environment, command = lines.splitlines()
    assert attach.startswith("ray attach ")
    assert command.startswith("innerloop train --address auto ")
    (running.home / "join.py").write_text(JOIN)
    command = f"python join.py{command.removeprefix('innerloop')} {SMALL}"
    done = running.shell(f"{environment}\n{command}")
    assert re.findall("status .*", done.stdout) == ["status 2", "status 2"], done.stderr
    here = ".".join(map(str, sys.version_info[:3]))
    first, second, *progress = done.stderr.splitlines()
    assert f"a cluster of Ray 2.60.0 and Python {here}; expected Ray 2.59.0 and Python {here}, as here." in first
    own = re.escape(deployed())
    assert re.search(rf"node \S+ of the cluster has innerloop {own}; expected innerloop 0.0.9, as here\.$", second)
    assert not (running.home / "mismatch").exists()
    assert "users of this machine" not in done.stderr
    assert stat.S_IMODE((running.home / ".innerloop").stat().st_mode) == 0o700
    assert "iteration 3/3" in progress[-1]


def test_a_run_joins_the_cluster_from_outside(running: Any, readme: Any) -> None:
    [lines] = [block for block in readme.blocks("Your own machines") if "ray attach" in block]
    environment = lines.splitlines()[1]
    command = f"python -m innerloop train --address {running.client} --out outside {SMALL}"
    done = running.shell(f"{environment}\n{command}")
    assert done.returncode == 0, done.stderr
    assert "iteration 3/3" in done.stderr


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says, which is one sentence with status 2."""
    assert status(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("innerloop: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["expected -- and the options of innerloop train"]),
        (["--", "--presett", "first"], ["--presett", "innerloop train --help"]),
        (["--", "--preset", "frist"], ["preset is 'frist'", "first"]),
        (["--", "--preset", "first", "--address", "auto"], ["address is 'after --'"]),
        (["--modules", "/nowhere.py", *RUN], ["modules is '/nowhere.py'", "a .py file"]),
        (["--gpus", "-2", *RUN], ["gpus is -2", "at least 0"]),
        (["--address", "auto", *RUN], ["address is 'auto'", "http://host:port"]),
        (["--address", "http://127.0.0.1:1", *RUN], ["address is 'http://127.0.0.1:1'", "a Ray dashboard", "refused"]),
        ([*RUN, "--store", f"redis://:{CANARY}@host/0"], ["password in its URL", "INNERLOOP_REDIS_PASSWORD"]),
        ([*RUN, "--checkpoints", f"ftp://me:{CANARY}@host/a"], ["password in its URL"]),
    ],
)
def test_what_cannot_be_sent_is_refused(
    arguments: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(["submit", *arguments], capsys)
    for part in expected:
        assert part in said
    assert CANARY not in said


def test_another_token_or_none_is_refused(
    with_token: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = ["submit", "--address", with_token.address, *RUN]
    monkeypatch.setenv("RAY_AUTH_TOKEN", CANARY)
    said = refused(sent, capsys)
    assert "refuses this token" in said
    assert CANARY not in said
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere/token")
    assert "asks for a token; expected one in RAY_AUTH_TOKEN" in refused(sent, capsys)


def test_a_cluster_of_other_versions_is_sent_nothing(
    with_token: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = ["submit", "--address", with_token.address]
    before = len(with_token.ask("/api/jobs/"))
    with monkeypatch.context() as patch:
        patch.setattr("ray.__version__", "2.59.0")
        assert "a cluster of Ray 2.60.0 and Python 3." in refused([*sent, *RUN], capsys)
    with monkeypatch.context() as patch:
        patch.setattr("platform.python_version_tuple", lambda: ("3", "99", "0"))
        assert "a cluster of Ray 2.60.0 and Python 3." in refused([*sent, *RUN], capsys)
    old = tmp_path / "innerloop-0.0.9-py3-none-any.whl"
    with zipfile.ZipFile(old, "w") as archive:
        archive.writestr("innerloop/__init__.py", "")
        archive.writestr(
            "innerloop-0.0.9.dist-info/METADATA", "Metadata-Version: 2.4\nName: innerloop\nVersion: 0.0.9\n"
        )
    assert f"(innerloop 0.0.9)'; expected innerloop {innerloop.__version__}, as here" in refused(
        [*sent, "--wheel", str(old), *RUN], capsys
    )
    old.write_bytes(b"no wheel")
    assert "expected a wheel of innerloop" in refused([*sent, "--wheel", str(old), *RUN], capsys)
    assert len(with_token.ask("/api/jobs/")) == before
