"""Does a run go on when actors, nodes, the replay's shards and Redis are killed at random moments?

python benchmarks/soak.py --minutes 20 --seed 0          # all runs, and a table of what was looked at
python benchmarks/soak.py --minutes 20 --out DIRECTORY   # the same, kept as soak.json

Each kind of run is trained undisturbed, then once more while a seeded killer (killer.py) is at work, on a cluster of
three nodes on this machine. Looked at are:

    hangs      the longest wait for an iteration; after WATCHDOG seconds without one the process ends with status 3
    counters   what the run counted against what the killer did
    outcome    synchronous and on-policy: the bits of the undisturbed run; otherwise, the return on held-out tasks
               in the interval where the undisturbed runs' returns (several seeds) say that it is, 99 times of 100

Minutes are those of the disturbed runs, all together, if nothing had to be waited for.
"""

import argparse
import faulthandler
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import ray
from killer import Event, Killer
from ray.cluster_utils import Cluster
from redis_server import RedisServer
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from innerloop.actors.agent import Agent
from innerloop.actors.evaluate import play_tasks
from innerloop.distributed.config import Config, configure
from innerloop.distributed.launch.local import own_directory, patience
from innerloop.distributed.rollouts.pool import IN_FLIGHT
from innerloop.distributed.runs.lines import read_lines
from innerloop.distributed.trainer import train
from innerloop.learner.checkpoint import Checkpoints

PATIENCE = 4.0
"""Seconds after which an actor counts as hung."""
WATCHDOG = 120.0
"""Seconds without an iteration after which all is given up."""
NOTICED = 2.0
"""Seconds before a run's end after which a kill may go unnoticed."""
HEALTH = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
"""Ray's own are 3 seconds, and 5 times: as long would a run wait for each lost node, and little else would happen."""
EVALUATION = 2_000
"""Held-out tasks."""
CONFIDENCE = 0.99
PER_NODE = 3
"""Actors that may fail with a node: the one that was there, and those that Ray placed there before it noticed."""

BANDIT = {
    "arms": 2, "episodes": 6, "hidden": 32, "learning_rate": 1e-2, "entropy": 0.0, "trials": 400, "parts": 4,
}  # fmt: skip
POINTS = {
    "family": "point-navigation", "horizon": 10, "algorithm": "pearl", "episodes": 2, "trials": 20, "tasks": 40,
    "parts": 4, "hidden": 32, "layers": 2, "latent": 2, "context_hidden": 16, "context": 20, "steps_per_task": 32,
    "tasks_per_batch": 5, "warm_up": 800, "updates_per_step": 0.05, "learning_rate": 3e-3, "discount": 0.9,
    "reward_scale": 10.0, "replay_shards": 2,
}  # fmt: skip


class Work(NamedTuple):
    """A kind of run."""

    options: dict[str, Any]
    kinds: tuple[str, ...]
    """Of events."""
    pace: float
    """Seconds that a disturbed iteration takes at least, so that there is time for something to go wrong."""
    redis: bool = False
    exact: bool = False
    """Whether the undisturbed run's bits are expected."""


WORKS = {
    "synchronous": Work(BANDIT, ("actor", "node", "hang"), 0.25, exact=True),
    "redis": Work(BANDIT, ("actor", "redis", "node", "hang"), 0.25, redis=True, exact=True),
    "overlapped": Work(BANDIT | {"mode": "overlapped"}, ("actor", "node", "hang"), 0.25),
    "replay": Work(POINTS | {"mode": "overlapped"}, ("shard", "actor", "node", "stuck", "hang"), 0.4),
    "replay-redis": Work(POINTS | {"mode": "overlapped"}, ("redis", "actor", "node", "hang"), 0.4, redis=True),
}


class Watchdog:
    """Ends the process if no iteration comes."""

    def __init__(self, server: RedisServer) -> None:
        self._server, self._since, self.longest, self.doing = server, time.monotonic(), 0.0, ""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def alive(self) -> None:
        """An iteration has come."""
        now = time.monotonic()
        self.longest, self._since = max(self.longest, now - self._since), now

    def begin(self, doing: str) -> None:
        """Something else."""
        self._since, self.longest, self.doing = time.monotonic(), 0.0, doing

    def _run(self) -> None:
        while time.monotonic() - self._since < WATCHDOG:
            time.sleep(1.0)
        print(f"soak: no iteration of {self.doing} for {WATCHDOG:g} seconds", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
        self._server.kill()
        os._exit(3)


class Check(NamedTuple):
    """Something that was looked at."""

    name: str
    expected: str
    found: str
    holds: bool


@dataclass
class Outcome:
    """Of one kind of run."""

    work: str
    iterations: int
    seconds: float
    """That the disturbed run took."""
    longest: float
    """Seconds between two of its iterations."""
    returns: list[float]
    """Of the undisturbed runs, by seed."""
    disturbed: float
    """The return of the disturbed run."""
    events: list[Event]
    last: dict[str, Any]
    """Line of the disturbed run's metrics."""
    checks: list[Check] = field(default_factory=list)


def trained(config: Config, out: Path, watch: Any) -> float:
    """The return, per trial, on held-out tasks, of an agent that is trained now."""
    train(config, out, watch=watch)
    return float(play_tasks(Agent.load(str(out)), config.experiment.family, config.experiment.episodes,
                            tasks=EVALUATION, seed=1).sum(1).mean())  # fmt: skip


def soak(name: str, cluster: "Nodes", out: Path, *, minutes: float, every: float, seeds: int, seed: int) -> Outcome:
    """Train a kind of run undisturbed and disturbed, and compare."""
    work, watchdog = WORKS[name], cluster.watchdog
    common = {
        "iterations": max(20, round(60 * minutes / work.pace)), "evaluation_tasks": 0, "learner_threads": 1,
        "patience": PATIENCE, "max_restarts": 10,
    }  # fmt: skip
    given: dict[str, Any] = {**work.options, **common}
    configs = [configure(seed=seed, **given) for seed in range(1 if work.exact else seeds)]
    watchdog.begin(f"{name}, undisturbed")
    returns = [trained(c, out / f"quiet{s}", lambda line: watchdog.alive()) for s, c in enumerate(configs)]

    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("innerloop").addHandler(handler)
    killer = Killer(cluster.cluster, cluster.nodes, work.kinds, every=every, seed=seed, server=cluster.server)
    lasting = time.monotonic()

    def pace(line: dict[str, Any]) -> None:
        nonlocal lasting
        watchdog.alive()
        time.sleep(max(0.0, work.pace - (time.monotonic() - lasting)))
        lasting = time.monotonic()

    watchdog.begin(f"{name}, disturbed")
    store = {"store": cluster.server.url} if work.redis else {}
    disturbed = configure(**(work.options | common | store))
    with ThreadPoolExecutor(1, "training") as thread:
        training = thread.submit(trained, disturbed, out / "disturbed", pace)
        killer.work(training)
        seconds = killer.clock
    logging.getLogger("innerloop").removeHandler(handler)
    lines = read_lines(out / "disturbed" / "metrics.jsonl")
    outcome = Outcome(name, len(lines), seconds, watchdog.longest, returns, training.result(), killer.events, lines[-1])
    outcome.checks = [
        Check("iterations", f"1 to {disturbed.run.iterations}, each once", f"{len(lines)}",
              [line["iteration"] for line in lines] == [*range(1, disturbed.run.iterations + 1)]),
        *counted(outcome, disturbed, messages),
        *compared(outcome, work, out),
    ]  # fmt: skip
    return outcome


def counted(outcome: Outcome, config: Config, messages: list[str]) -> list[Check]:
    """What the run counted against what the killer did. What was hit just before the end may have gone unnoticed, and
    an actor whose node is lost may have been let go before it failed."""
    last, run = outcome.last, config.run
    players = [(event, sum(not victim.shard for victim in event.victims)) for event in outcome.events]
    certain = sum(
        hit for event, hit in players
        if (event.kind == "actor" and event.at < outcome.seconds - NOTICED)
        or (event.kind == "hang" and event.at < outcome.seconds - PATIENCE - NOTICED)
    )  # fmt: skip
    most = sum(PER_NODE if event.kind == "node" else hit for event, hit in players)
    part = -(-run.trials // run.part_count)
    nodes = sum(event.kind == "node" for event in outcome.events)
    again = (re.match(r"(\d+) times an actor failed like this", message) for message in messages)
    said = sum("is replaced" in message for message in messages) + sum(int(found[1]) - 1 for found in again if found)
    checks = [
        Check("restarts", f"{certain} to {most}", f"{last['restarts']}", certain <= last["restarts"] <= most),
        Check("warnings", f"{last['restarts']}, as many as restarts", f"{said}", said == last["restarts"]),
        within("lost_trials", last, last["restarts"] * IN_FLIGHT * part),
        within("dropped_lost", last, run.part_count * (1 + run.max_staleness) * nodes),
        within("trials", last, run.iterations * run.trials, run.iterations * run.trials),
        within("diverged", last, 0),
    ]  # fmt: skip
    if "quarantined" in last:
        checks.append(within("quarantined", last, 0))
    if "replay_trials" in last:
        total = last["replay_trials"] + last["replay_evicted"] + last["replay_lost"]
        checks.append(Check("replay: kept, evicted, lost", f"{last['trials']}", f"{total}", total == last["trials"]))
        shards = [(event, sum(victim.shard for victim in event.victims)) for event in outcome.events]
        least = sum(hit for event, hit in shards if event.at < outcome.seconds - 2 * PATIENCE - NOTICED)
        died = sum("A shard of the replay" in message for message in messages)
        most = sum(PER_NODE if event.kind == "node" else hit for event, hit in shards)
        checks.append(Check("replay: shards that died", f"{least} to {most}", f"{died}", least <= died <= most))
    return checks


def within(name: str, line: dict[str, Any], most: float, least: float = 0) -> Check:
    expected = f"{most:g}" if least == most else f"{least:g} to {most:g}"
    return Check(name, expected, f"{line[name]:g}", least <= line[name] <= most)


def compared(outcome: Outcome, work: Work, out: Path) -> list[Check]:
    """The disturbed run's outcome with that of the undisturbed ones."""
    if work.exact:
        whole, other = (Checkpoints(str(out / n / "checkpoints")).newest().arrays for n in ("quiet0", "disturbed"))
        same = whole.keys() == other.keys() and all(np.array_equal(whole[n], other[n]) for n in whole)
        return [Check("bits", "those of the undisturbed run", "the same" if same else "others", same)]
    mean, n = np.mean(outcome.returns), len(outcome.returns)
    half = student.ppf((1 + CONFIDENCE) / 2, n - 1) * np.std(outcome.returns, ddof=1) * (1 + 1 / n) ** 0.5
    expected = f"{mean - half:.3f} to {mean + half:.3f}"
    return [Check("return", expected, f"{outcome.disturbed:.3f}", bool(abs(outcome.disturbed - mean) <= half))]


class Nodes:
    """A head for the learner, two nodes for actors, and a Redis server that logs to disk."""

    def __init__(self) -> None:
        self._directory = own_directory()
        os.environ["RAY_TMPDIR"] = str(self._directory)
        head = {
            "num_cpus": 1,
            "labels": {"role": "learner"},
            "include_dashboard": False,
            "_system_config": HEALTH,
        }
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.cluster.add_node(num_cpus=1, labels={"role": "rollout"}) for _ in range(2)]
        self.server = RedisServer(durable=True)
        self.watchdog = Watchdog(self.server)

    def __enter__(self) -> "Nodes":
        self.server.start()
        ray.init(address=self.cluster.address, log_to_driver=False, logging_level="ERROR")  # pyright: ignore
        return self

    def __exit__(self, *exception: object) -> None:
        ray.shutdown()
        self.cluster.shutdown()
        self.server.__exit__()
        shutil.rmtree(self._directory, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two events, on average")
    parser.add_argument("--quiet-seeds", type=int, default=6, help="undisturbed runs that a return is compared with")
    parser.add_argument("--work", action="append", choices=[*WORKS], help="one kind of run; may be repeated")
    parser.add_argument("--out", help="directory in which the outcome is kept")
    given = parser.parse_args()
    logging.getLogger("innerloop").setLevel(logging.WARNING)
    works = given.work or [*WORKS]
    outcomes = []
    report: dict[str, Any] = {"command": " ".join(sys.argv)}
    with tempfile.TemporaryDirectory() as out, Nodes() as cluster:
        for number, name in enumerate(works):
            share = given.minutes / len(works)
            seed = given.seed * len(WORKS) + number
            outcomes.append(soak(name, cluster, Path(out) / name, minutes=share, every=given.every,
                                 seeds=given.quiet_seeds, seed=seed))  # fmt: skip
            show(outcomes[-1])
            report["outcomes"] = [asdict(outcome) for outcome in outcomes]
            if given.out:  # what is known so far
                Path(given.out).mkdir(parents=True, exist_ok=True)
                (Path(given.out) / "soak.json").write_text(json.dumps(report, indent=1) + "\n")
    if not given.out:
        print(json.dumps(report))
    sys.exit(0 if all(check.holds for outcome in outcomes for check in outcome.checks) else 1)


def show(outcome: Outcome) -> None:
    kinds = ", ".join(f"{count} x {kind}" for kind, count in Counter(e.kind for e in outcome.events).items())
    title = f"{outcome.work}: {outcome.iterations} iterations in {outcome.seconds:.0f} s, the longest wait "
    table = Table("looked at", "expected", "found", "", title=f"{title}{outcome.longest:.1f} s; {kinds}")
    for name, expected, found, holds in outcome.checks:
        table.add_row(name, expected, found, "" if holds else "FAULT")
    Console(stderr=True).print(table)


if __name__ == "__main__":
    with patience():
        main()
