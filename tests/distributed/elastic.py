"""Runs on a cluster whose nodes come and go, in a process of their own: `python elastic.py DIRECTORY`.

The cluster's head, where the driver is, has a GPU; another node is labelled `role: learner`: both are the learner's.
Beside them nodes with one CPU each join, drain, are killed; an actor hangs; every actor of a node raises. Writes
found.json: what the metrics said after each event, and whether the run ended in the bits of a loop without Ray.
"""

import json
import logging
import os
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
from families import POISON, PoisonedBandit
from ray._private.ray_constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.experimental.internal_kv import _internal_kv_get

from innerloop.actors.actor import Actor, Assignment
from innerloop.distributed.config import Config, configure
from innerloop.distributed.launch.local import own_directory, patience
from innerloop.distributed.rollouts.broadcast import Broadcast
from innerloop.distributed.rollouts.nodes import Nodes
from innerloop.distributed.rollouts.pool import Member, Pool
from innerloop.distributed.rollouts.remote import Remote
from innerloop.distributed.rollouts.tasks import assignments
from innerloop.distributed.store.api import Summary, Whereabouts
from innerloop.distributed.store.ray import RayStore
from innerloop.distributed.trainer import Components, make_pool, train
from innerloop.learner.checkpoint import Checkpoints
from innerloop.learner.learner import Learner
from innerloop.learner.trajectory import concatenate

ITERATIONS = 60
PAUSE = 0.1
"""Seconds that an iteration is held up while an event has not had its effect; more, the longer that takes."""
LONGEST = 3.0
READERS = 3
"""CPUs of the learner's second node, on which in the end weights are read."""
REPORT = 0.25
"""Seconds between a node's reports on itself."""
SYSTEM = {
    "metrics_report_interval_ms": int(1000 * REPORT),
    # Ray notices after two seconds, instead of fifteen, that a node is gone.
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 3,
}
Line = dict[str, Any]
POOLS: list[Pool] = []


def config(**options: Any) -> Config:
    return configure(
        family=f"{PoisonedBandit.__module__}:PoisonedBandit", iterations=ITERATIONS, trials=32, parts=4, hidden=8,
        embedding=0, learner_threads=1, episodes=5, checkpoint_every=ITERATIONS, patience=6.0, max_restarts=1,
        **options,
    )  # fmt: skip


def remembered(*given: Any) -> Pool:
    POOLS.append(make_pool(*given))
    return POOLS[-1]


def members() -> list[Member]:
    """Of the newest pool, those that have come up."""
    return POOLS[-1].playing


class Events:
    """Does one thing after the other to the cluster, each when the one before has had its effect."""

    def __init__(self, cluster: Cluster, names: list[str], nodes: list[Any]) -> None:
        self._cluster, self._names, self._nodes = cluster, names, nodes
        self._effect: Callable[[Line], bool] | None = None
        self.seen: dict[str, Line] = {}
        """What the metrics said when an event had had its effect, and the longest wait until then."""
        self.places: set[str] = set()
        """Nodes that actors have been on."""
        self.asked = 0
        """Actors that the autoscaler has been asked for."""
        self._waited = self._begun = 0.0

    def join(self, **environment: str) -> None:
        self._nodes.append(self._cluster.add_node(num_cpus=1, labels={"role": "rollout"}, env_vars=environment))
        self._await_actors(len(self._nodes))

    def drain(self) -> None:
        # as an autoscaler does before it takes a machine away; with a minute's notice
        node, until = self._nodes.pop(0).node_id, int((time.time() + 60) * 1000)
        assert GcsClient(address=self._cluster.address).drain_node(node, 2, "the machine is taken away", until)[0]
        self._await_actors(len(self._nodes))

    def kill(self) -> None:
        self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)
        self._await_actors(len(self._nodes))

    def replace(self) -> None:
        """No actor is left, until another node joins."""
        self.kill()
        self.join()
        there = self._nodes[-1].node_id
        self._effect = lambda line: [member.node for member in members()] == [there] and line["actors_wanted"] == 1

    def hang(self) -> None:
        (member,) = members()
        os.kill(ray.get(member.actor.pid.remote()), signal.SIGSTOP)
        before = POOLS[-1].restarts
        self._effect = lambda line: line["restarts"] > before and line["actors_alive"] == 1

    def poison(self) -> None:
        self.join(**{POISON: "1"})
        before = POOLS[-1].restarts
        self._effect = lambda line: line["restarts"] == before + 2

    def __call__(self, line: Line) -> None:
        self.asked = asked()
        self.places |= {member.node for member in members()}
        self._waited = max(self._waited, line["seconds_waiting"])
        if self._effect is None or self._effect(line):
            names = ["iteration", "actors_wanted", "actors_alive", "restarts", "lost_trials", "dropped_lost"]
            if self._effect:
                self.seen[self._names.pop(0)] = {name: line[name] for name in names} | {"waited": self._waited}
            if not self._names:
                self._effect = lambda line: False
                return
            self._waited, self._begun = 0.0, time.monotonic()
            getattr(self, self._names[0].partition(" ")[0])()
        elif self._names:
            time.sleep(min(max(PAUSE, (time.monotonic() - self._begun) / 4), LONGEST))

    def _await_actors(self, count: int) -> None:
        self._effect = lambda line: line["actors_alive"] == count == line["actors_wanted"]


def alone() -> dict[str, np.ndarray]:
    """The weights that the run ends with, by a loop without Ray."""
    run, experiment = config().run, config().experiment
    learner = Learner(experiment.algorithm, experiment.problem, seed=run.seed, device="cpu", threads=1)
    actor = Actor(experiment, run.seed)
    for iteration in range(ITERATIONS):
        actor.load(learner.weights(), learner.version)
        parts = assignments(iteration, run.trials, run.part_count)
        learner.update(concatenate([actor.collect(part) for part in parts]), iteration / ITERATIONS)
    return learner.state()[0]


def rooms(cluster: Cluster) -> tuple[Line, Any]:
    """Where actors may play, before and after the learner's second node is there; and that node."""
    head, own = ray.get_runtime_context().get_node_id(), Nodes(1.0)
    found: Line = {"alone": own.room() == {head: 1}}
    learners = cluster.add_node(num_cpus=READERS, labels={"role": "learner"})
    found["learners"] = own.room()
    found["told"] = Nodes(1.0, everywhere=True).room() == {head: 1, learners.node_id: READERS}
    return found, learners


def asked() -> int:
    """Bundles that the autoscaler is asked for."""
    return len(json.loads(_internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL) or "[]"))


class Reader:
    """Does with objects what an actor of the pool does."""

    def read(self, version: int, weights: list[Any]) -> float:
        return float(ray.get(weights[0])["weights"].sum())  # pyright: ignore[reportCallIssue]

    def make(self) -> np.ndarray:
        return np.ones(1_000_000, np.float32)


def copies(cluster: Cluster, node: Any) -> Line:
    """What a node receives of one broadcast to several actors on it, by its own account, in sizes of the weights.

    Then the node dies, with a trajectory that nobody has fetched.
    """
    name, options = node.node_id, {"num_cpus": 1, "label_selector": {"role": "learner"}}
    actors = [ray.remote(Reader).options(**options).remote() for _ in range(READERS)]
    weights, broadcast = np.ones(3_000_000, np.float32), Broadcast()
    for version in range(2):
        before = received(name)
        broadcast.publish({"weights": weights}, version)
        sums = ray.get([actor.read.remote(*broadcast.newest) for actor in actors])
        while received(name) - before < weights.nbytes:  # a report may come in the midst of a transfer
            time.sleep(REPORT)
    time.sleep(4 * REPORT)  # what would come after
    found = {"right": sums == [3_000_000] * READERS, "received": (received(name) - before) / weights.nbytes}
    # What lies on a node that dies before it was fetched is lost, and nothing else; nobody waits for it.
    store, summary = RayStore(), Summary(1, 0, np.zeros((1, 1)), 0, 0.0, {})
    there = actors[0].make.remote()
    ray.wait([there], fetch_local=False)
    cluster.remove_node(node, allow_graceful=False)
    for part, reference in enumerate((there, ray.put([weights]))):
        store.append(Assignment(0, part, 1), summary, Whereabouts(reference, 0))
    clock, taken = time.monotonic(), store.take(2, 0)
    found["lost"] = [assignment.part for assignment in taken.lost]
    return found | {"taken": [each.part for each in taken.trajectories], "seconds": time.monotonic() - clock}


def received(name: str) -> float:
    """Bytes that have come to a node from others, from its metrics."""
    node = next(node for node in ray.nodes() if node["NodeID"] == name)
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=400) as answer:
        lines = answer.read().decode().splitlines()
    return sum(
        float(line.split()[-1])
        for line in lines
        if line.startswith("ray_object_manager_bytes{") and 'Type="Received"' in line
    )


def main(out: Path) -> None:
    directory = own_directory()
    os.environ["RAY_TMPDIR"] = str(directory)
    head = {"num_cpus": 1, "num_gpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head | {"_system_config": SYSTEM})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    logging.basicConfig(filename=out / "log", level=logging.WARNING)
    Remote.pid = lambda self: os.getpid()  # pyright: ignore[reportAttributeAccessIssue]
    try:
        room, learners_node = rooms(cluster)
        found: Line = {"rooms": room}
        nodes: list[Any] = []
        clock, learners = time.monotonic(), {node["NodeID"] for node in ray.nodes()}
        for mode, names in {
            "synchronous": ["join", "join again", "kill", "hang", "poison"],
            "overlapped": ["join again", "drain", "replace"],
        }.items():
            events = Events(cluster, names, nodes)
            if not nodes:
                events.join()
            train(config(mode=mode), out / mode, watch=events, components=Components(pool=remembered))
            while len(nodes) > 1:  # one is enough to begin the next run
                cluster.remove_node(nodes.pop())
            found[mode] = {"seen": events.seen, "asked": [events.asked, asked()]}
            found[mode]["off_learners"] = not events.places & learners
            found[mode]["seconds"] = time.monotonic() - clock
        expected, final = alone(), Checkpoints(str(out / "synchronous" / "checkpoints")).newest().arrays
        found["same"] = all(np.array_equal(expected[name], final[name]) for name in expected)
        found["copies"] = copies(cluster, learners_node)
        (out / "found.json").write_text(json.dumps(found))
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    with patience():
        main(Path(sys.argv[1]))
