"""A real run, watched in every way: Prometheus with the dashboard's queries, Ray's dashboard, `innerloop status`."""

import json
import math
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import torch
from processes import LEAVE_SECONDS, spawn, until
from prometheus_server import PrometheusServer, queries
from test_cli import wait_for_lines

from innerloop.distributed.cli import main
from innerloop.distributed.launch.dashboard import ask
from innerloop.distributed.runs.lines import read_lines
from innerloop.distributed.watch.entries import held_out_of
from innerloop.distributed.watch.status import of_cluster
from innerloop.envs.errors import BadInput

REPORT_SECONDS = 2
"""Between reports of Ray's processes; the default is 10."""
RUN = (
    "train --family sparse-point-navigation --algorithm pearl --episodes 2 --horizon 5 --hidden 8 --layers 1 "
    "--trials 6 --tasks 5 --parts 2 --steps-per-task 8 --context 4 --context-hidden 8 --tasks-per-batch 3 "
    "--warm-up 60 --updates-per-step 0.02 --mode overlapped --replay-mb 1 --replay-shards 2 --iterations 1000000 "
    "--checkpoint-every 1000000 --learner-threads 1 --evaluation-tasks 0"
)
ONLY_WITH_A_GPU = {"GPU utilisation, A", "GPU memory, A"}
"""Queries of what Ray's nodes say of their GPUs; without one they say nothing, so that all to test is the query."""


class Watched(NamedTuple):
    """The run, and who watches it."""

    out: Path
    discovery: Path
    """Where Ray lists its metrics ports."""
    address: str
    """Of the dashboard."""
    headers: dict[str, str]

    def lines(self) -> list[dict[str, Any]]:
        return read_lines(self.out / "metrics.jsonl")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def started(command: list[str], log: Path, more: dict[str, str]) -> Iterator[None]:
    """A command; what it started ends with it."""
    with log.open("wb") as file, spawn(command, env=os.environ | more, stdout=file, stderr=file) as process:
        yield
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGINT)
        process.wait(LEAVE_SECONDS)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A run on a cluster of one node, in a directory with a short name: socket paths may not be long."""
    home, token = Path(tempfile.mkdtemp(prefix="ray-", dir=os.environ["RAY_TMPDIR"])), secrets.token_hex(32)
    directory = tmp_path_factory.mktemp("run")
    more = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_metrics_report_interval_ms": f"{REPORT_SECONDS}000"}
    gcs, address = free_port(), f"http://127.0.0.1:{free_port()}"
    clients = f"--ray-client-server-port={free_port()}"
    ports = f"--port={gcs} {clients} --dashboard-port={address.rpartition(':')[2]} --dashboard-agent-listen-port=0"
    head = f"start --head --block --node-ip-address=127.0.0.1 --num-cpus=2 --temp-dir={home} {ports}"
    ray = str(Path(sys.executable).with_name("ray"))
    train = [sys.executable, "-m", "innerloop", *RUN.split(), "--address", f"127.0.0.1:{gcs}"]
    discovery = home / "prom_metrics_service_discovery.json"
    run = Watched(directory / "run", discovery, address, {"Authorization": f"Bearer {token}"})
    try:
        with started([ray, *head.split()], directory / "head", more):
            until(discovery.exists, what="Ray does not start")
            with started([*train, "--out", str(run.out)], directory / "said", more):
                until(lambda: len(run.lines()) > 2, what=(directory / "said").read_text)
                yield run
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def prometheus(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    server = PrometheusServer(tmp_path_factory.mktemp("prometheus"), watched.discovery)
    try:
        server.wait()
        yield server
    finally:
        server.close()


def test_every_query_of_the_dashboard_gives_data(prometheus: PrometheusServer) -> None:
    missing = queries()
    assert len(missing) > 35
    assert missing.keys() > ONLY_WITH_A_GPU
    if not torch.cuda.is_available():
        for name in ONLY_WITH_A_GPU:
            prometheus.query(missing.pop(name))  # it must be a query all the same

    def all_found() -> bool:
        for name, query in list(missing.items()):
            found = prometheus.query(query)
            if found and all(math.isfinite(float(each["value"][1])) for each in found):
                del missing[name]
        return not missing

    until(all_found, what=lambda: f"no data for {missing}")


def test_prometheus_says_what_the_run_says(watched: Watched, prometheus: PrometheusServer) -> None:
    wanted = '{__name__=~"ray_innerloop_.+"}'

    def settled() -> list[Any]:
        found = prometheus.query(wanted)
        return found if any(each["metric"]["__name__"] == "ray_innerloop_episode_return" for each in found) else []

    found = until(settled, what="no metrics of the run")
    lines = watched.lines()
    name = json.loads((watched.out / "config.json").read_text())["run"]["name"]
    told: dict[tuple[str, str], float] = {}
    for each in found:
        metric = each["metric"]
        assert metric["run"] == name
        assert not any(label.startswith("otel") for label in metric)
        label = next((metric[key] for key in ("episode", "phase", "cause", "statistic") if key in metric), "")
        told[metric["__name__"].removeprefix("ray_innerloop_"), label] = float(each["value"][1])
    for key, entry in {
        ("iteration", ""): "iteration",
        ("env_steps_total", ""): "env_steps",
        ("trials_total", ""): "trials",
        ("trial_return", ""): "return",
        ("episode_return", "1"): "return_episode_1",
        ("episode_return", "2"): "return_episode_2",
        ("iteration_phase_seconds", "update"): "seconds_updating",
        ("learner_statistic", "critic_loss"): "critic_loss",
        ("store_bytes", ""): "replay_bytes",
        ("store_trials", ""): "replay_trials",
    }.items():
        assert told[key] in {line.get(entry) for line in lines}, key  # exactly, of some iteration
    assert told["run_info", ""] == 1
    assert told["actors_alive", ""] == told["actors_wanted", ""] == lines[-1]["actors_alive"]
    causes = {cause for metric, cause in told if metric == "drops_total"}
    assert causes == {"stale", "lost", "quarantined", "discarded"}
    kinds = prometheus.ask("metadata")
    for metric, _ in told:
        # Where it was asked for the newer format, Prometheus knows a counter by its name without the ending.
        kind = kinds.get(f"ray_innerloop_{metric}") or kinds[f"ray_innerloop_{metric.removesuffix('_total')}"]
        assert kind[0]["type"] == ("counter" if metric.endswith("_total") else "gauge"), metric
        assert kind[0]["help"]


def test_actors_and_calls_have_readable_names(watched: Watched) -> None:
    def names(what: str) -> set[str]:
        found = ask(watched.address, f"/api/v0/{what}?detail=true&limit=10000", watched.headers)
        return {each["name"] for each in found["data"]["result"]["result"]}

    assert names("actors") == {"rollout-0 · sparse-point-navigation", "replay-0", "replay-1"}
    until(lambda: "play · sparse-point-navigation" in names("tasks"), what="no call has its name")


def held_out_before(lines: list[dict[str, Any]], at: int) -> dict[str, float]:
    """The newest evaluation that a run tells of with its line at that place."""
    return {name: value for line in lines[:at] for name, value in held_out_of(line).items()}


def test_status_on_the_cluster_says_what_the_run_says(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", watched.headers["Authorization"].split()[1])

    def answers() -> bool:
        try:
            return any("critic_loss" in run.line for run in of_cluster(watched.address))  # not before its warm-up
        except BadInput:
            return False

    until(answers, what="the cluster does not know of the run's updates")
    main(["status", "--address", watched.address, "--json"])
    [told] = json.loads(capsys.readouterr().out)
    lines = watched.lines()
    assert told["line"] in [held_out_before(lines, at) | line for at, line in enumerate(lines)]
    main(["status", "--address", watched.address])
    assert told["name"] in capsys.readouterr().out
    main(["status", told["name"][:3], "--address", watched.address])
    said = " ".join(capsys.readouterr().out.split())
    for text in (f"{told['name']}: pearl on sparse-point-navigation, overlapped", "actors 1 of 1", "critic_loss", "MB"):
        assert text in said
    for wrong, sentence in (
        ("nobody", f"expected one of the runs at {watched.address}: {told['name']}"),
        (None, "token"),
    ):
        if wrong is None:
            monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
        with pytest.raises(SystemExit) as stopped:
            main(["status", wrong or "x", "--address", watched.address])
        assert stopped.value.code == 2
        assert sentence in capsys.readouterr().err


def test_a_long_iteration_is_still_seen(watched: Watched, prometheus: PrometheusServer) -> None:
    """Ray forgets a gauge that is not set for two of its reports."""
    found = ask(watched.address, "/api/v0/actors?detail=true", watched.headers)["data"]["result"]["result"]
    [player] = [each["pid"] for each in found if each["name"].startswith("rollout")]
    os.kill(player, signal.SIGSTOP)
    try:
        time.sleep(2 * REPORT_SECONDS + 3)
        stopped_at = watched.lines()[-1]["iteration"]
        [told] = prometheus.query("ray_innerloop_iteration")
        assert float(told["value"][1]) == stopped_at
        assert watched.lines()[-1]["iteration"] == stopped_at
    finally:
        os.kill(player, signal.SIGCONT)
    until(lambda: watched.lines()[-1]["iteration"] > stopped_at, what="the run does not go on")


def test_nothing_of_a_local_run_listens_where_the_network_reaches_it(tmp_path: Path) -> None:
    """It says where its dashboard is. All that Ray starts for it has started when it has played."""
    options = "train --preset first --iterations 100000 --trials 4 --evaluation-tasks 0 --dashboard --out"
    command = [sys.executable, "-m", "innerloop", *options.split(), str(tmp_path / "run")]
    with spawn(command, stderr=subprocess.PIPE, text=True) as run:
        said = run.stderr.readline()
        wait_for_lines(tmp_path / "run" / "metrics.jsonl", 2, run)
        listening = [address for each in [run, *run.children(recursive=True)] for address in listeners(each)]
        run.send_signal(signal.SIGINT)
        assert run.wait(LEAVE_SECONDS) == 130
    found = re.fullmatch(r"dashboard: http://127\.0\.0\.1:(\d+) \(asks for the token once: .+auth_token\)\n", said)
    assert found is not None, said
    assert int(found[1]) in {port for _, port in listening}
    assert len(listening) > 8  # GCS, raylet, its agents, their metrics, the driver, the workers
    assert {host for host, _ in listening} <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert 10001 not in {port for _, port in listening}  # Ray's client server


def listeners(process: psutil.Process) -> list[tuple[str, int]]:
    """The addresses and ports on which a process can be reached."""
    with suppress(psutil.Error):
        return [(each.laddr.ip, each.laddr.port) for each in process.net_connections("inet") if not each.raddr]
    return []
