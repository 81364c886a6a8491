"""A Ray cluster of two nodes on this machine, started by the commands that the files in cluster/ contain."""

import json
import os
import re
import select
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import processes
import psutil
import pytest
import yaml

CLUSTER = Path(__file__).parents[2] / "cluster"


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / name).read_text())


@dataclass(frozen=True)
class Readme:
    """Its commands, section by section, as one would type them."""

    text: str

    def blocks(self, section: str) -> list[str]:
        [found] = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", self.text, re.M | re.S)
        return re.findall(r"^```\n(.*?)```", found, re.M | re.S)

    def command(self, section: str, start: str) -> str:
        [found] = [line for block in self.blocks(section) for line in block.splitlines() if line.startswith(start)]
        return found


@pytest.fixture(scope="session")
def readme() -> Readme:
    return Readme((CLUSTER / "README.md").read_text())


@dataclass(frozen=True)
class Running:
    """A cluster: a head labelled role=learner, a worker labelled role=rollout, one token."""

    address: str
    """Of the dashboard."""
    ray: str
    client: str
    """For drivers that are on none of its nodes."""
    home: Path
    """Of the user whose machines these are."""
    environment: dict[str, str]
    logs: Path

    def shell(self, script: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a script as that user, on the head or beside it."""
        return processes.run(["bash", "-c", script], cwd=self.home, env=self.environment | more)

    def ask(self, path: str) -> Any:
        """What the dashboard answers to who has the token."""
        token = (self.home / ".innerloop" / "token").read_text()
        request = urllib.request.Request(self.address + path, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=processes.BEGIN_SECONDS) as answer:
            return json.loads(answer.read())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def replaced(command: str, changes: dict[str, str]) -> str:
    """A command with other ports, so that it runs beside whatever else is on this machine."""
    for old, new in changes.items():
        assert old in command, (old, command)
        command = command.replace(old, new)
    return command


@contextmanager
def process(command: str, home: Path, environment: dict[str, str]) -> Iterator[psutil.Popen]:
    """A command, ended with all that it started; what it says is in ray.log."""
    with open(home / "ray.log", "ab") as log:
        options = {"cwd": home, "env": environment, "stdout": log, "stderr": log}
        with processes.spawn(["bash", "-c", command], **options) as started:
            yield started


class Interrupted(socketserver.ThreadingTCPServer):
    """A way to a dashboard that breaks once: in the middle of the first log that is followed."""

    daemon_threads = True

    def __init__(self, address: str) -> None:
        self.there = "127.0.0.1", int(address.rpartition(":")[2])
        self.broken = 0
        super().__init__(("127.0.0.1", 0), Interruption)


class Interruption(socketserver.BaseRequestHandler):
    server: Interrupted

    def handle(self) -> None:
        with socket.create_connection(self.server.there) as there, suppress(OSError):
            sides = {self.request: there, there: self.request}
            followed = False
            while True:
                for side in select.select(list(sides), [], [])[0]:
                    data = side.recv(65536)
                    if not data:
                        return
                    sides[side].sendall(data)
                    followed = followed or b"/logs/tail" in data
                    if followed and not self.server.broken and b"Running entrypoint" in data:
                        self.server.broken += 1
                        return


def wait_until(condition: Callable[[], bool], started: psutil.Popen, home: Path) -> None:
    def there() -> bool:
        assert started.poll() is None, (home / "ray.log").read_text()
        return condition()

    processes.until(there, what=(home / "ray.log").read_text)


@pytest.fixture(scope="module")
def running(readme: Readme) -> Iterator[Running]:
    home = Path(tempfile.mkdtemp(prefix="", dir=os.environ["RAY_TMPDIR"]))  # short, as sockets' names have to be
    machines = read("machines.yaml")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "INNERLOOP_"))}
    environment |= processes.FAIR | {"HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0", "RAY_HEAD_IP": "127.0.0.1"}
    environment["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # instead of uv and of `make`

    # What the README says to do once, then what `ray up` does on every machine, but for fetching and installing.
    (home / "cluster").mkdir()
    [once] = readme.blocks("Set-up, once")
    token = "\n".join(line for line in once.splitlines() if "cluster/secrets" in line)
    assert subprocess.run(["bash", "-ec", token], cwd=home, env=environment, check=False).returncode == 0
    (home / ".innerloop").mkdir()
    for there, here in machines["file_mounts"].items():
        if (home / here).is_file():
            shutil.copy(home / here, home / there.removeprefix("~/"))
    setup = [line for line in machines["setup_commands"] if not re.search(r"\buv\b|\bln ", line)]
    assert len(setup) == 3
    assert subprocess.run(["bash", "-ec", "\n".join(setup)], env=environment, check=False).returncode == 0

    gcs, dashboard, client = free_port(), free_port(), free_port()
    here = "--node-ip-address=127.0.0.1 --num-cpus"
    head = replaced(
        read("compose.yaml")["services"]["head"]["command"],
        {
            "--port=6379": f"--port={gcs} --dashboard-port={dashboard} --ray-client-server-port={client}",
            "--dashboard-host=0.0.0.0": "--dashboard-host=127.0.0.1",
            "--metrics-export-port=8080": f"--metrics-export-port={free_port()} --dashboard-agent-listen-port=0",
            "--num-cpus": here,
        },
    )
    worker = replaced(
        machines["worker_start_ray_commands"][-1],
        {
            ":6379": f":{gcs}",
            "--object-manager-port=8076": f"--object-manager-port={free_port()} --dashboard-agent-listen-port=0",
            "--metrics-export-port=8080": f"--metrics-export-port={free_port()} {here}=1 --block",
        },
    )
    healthy = read("compose.yaml")["services"]["head"]["healthcheck"]["test"].replace("6379", str(gcs))
    addresses = f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", f"ray://127.0.0.1:{client}"
    cluster = Running(*addresses, home, environment, home / ".innerloop" / "ray")

    def nodes() -> int:
        with suppress(OSError, KeyError):
            found = cluster.ask("/api/v0/nodes?detail=true")["data"]["result"]["result"]
            return sum(node["state"] == "ALIVE" for node in found)
        return 0

    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        started = stack.enter_context(process(f". ~/.innerloop/env; {head}", home, environment))
        wait_until(lambda: nodes() == 1, started, home)
        assert cluster.shell(f". ~/.innerloop/env; {healthy}").returncode == 0
        assert cluster.shell(healthy).returncode != 0  # without the token
        started = stack.enter_context(process(worker, home, environment))
        wait_until(lambda: nodes() == 2, started, home)
        yield cluster


@pytest.fixture
def interrupted(running: Running) -> Iterator[Interrupted]:
    with Interrupted(running.address) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()
