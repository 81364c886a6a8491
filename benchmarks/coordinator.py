"""What the driver itself costs: a real pool, store and broadcast with many actors that only answer.

python benchmarks/coordinator.py                         # a table: 8 and 32 actors
python benchmarks/coordinator.py --actors 8 32 128       # 128 actors need 9 GB
python benchmarks/coordinator.py --json                  # one object

A cluster of several nodes on this machine: the driver on one, actors on the others. The driver broadcasts
weights, hands out assignments, takes trajectories of 190 kB out of the store, and so on. CPU time of the driver's
process, all of its threads, is what counts; the wall clock does not where a hundred processes share a few cores. Paced:
actors pretend to play, so that answers come one by one, 100 a second. Saturated: they answer at once.
"""

import argparse
import contextlib
import copyreg
import json
import os
import shutil
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import ray
from feather import Feather
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table

from innerloop.actors.actor import Assignment
from innerloop.distributed.launch.local import own_directory, patience
from innerloop.distributed.rollouts.broadcast import Broadcast
from innerloop.distributed.rollouts.nodes import Nodes
from innerloop.distributed.rollouts.pool import Pool
from innerloop.distributed.store.ray import RayStore

NODES = 2
"""That actors are on."""
WEIGHTS = {"weights": np.zeros(75_000, np.float32)}
"""300 kB: as many parameters as W1's and W2's models have."""
EACH = 4
"""Assignments of an actor between two broadcasts."""
RATE = 100
"""Answers a second, paced."""
MEGABYTES_OF_AN_ACTOR = 70
REPORT = 0.5
"""Seconds between a node's reports on itself."""


class Clock:
    """Milliseconds since it was made: of CPU in all threads of this process and in this one, and on the wall."""

    def __init__(self) -> None:
        self._begin = self._now()

    def _now(self) -> np.ndarray:
        return 1e3 * np.array([time.process_time(), time.thread_time(), time.perf_counter()])

    def read(self, count: int) -> dict[str, float]:
        """For each of so many things."""
        cpu, main, wall = ((self._now() - self._begin) / count).tolist()
        return {"cpu_ms": cpu, "main_thread_ms": main, "wall_ms": wall}


class Coordinator:
    """The part of the trainer's loop that is not the learner's."""

    def __init__(self, actors: int, nodes: Nodes, cpus: float) -> None:
        algorithm = SimpleNamespace(consumes="fresh")
        experiment: Any = SimpleNamespace(family_name="feather", algorithm=algorithm)
        options = {"most": actors, "parts": actors, "max_restarts": 0, "patience": 3600.0, "cpus": cpus}
        self._actors, self._pool = actors, Pool(experiment, 0, nodes=nodes, remote=Feather, **options)
        self._store, self.broadcast = RayStore(), Broadcast()
        self._part = 0
        self.publish()
        while self._pool.alive < actors:
            self._pool.pump(self.broadcast, 1.0)

    def publish(self) -> None:
        self.broadcast.publish(WEIGHTS, self.broadcast.version + 1)

    def iterate(self, milliseconds: int) -> int:
        """Broadcast, and have each actor pretend to play for so long, `EACH` times; returns the number of rollouts."""
        count = self._actors * EACH
        self.publish()
        self._pool.submit([Assignment(milliseconds, self._part + i, 4) for i in range(count)])
        self._part += count
        while len(self._store) < count:
            for assignment, summary, place in self._pool.pump(self.broadcast, 0.2):
                self._store.append(assignment, summary, place)
        taken = self._store.take(count, self.broadcast.version)
        assert len(taken.trajectories) == count
        return count

    def rollouts(self, seconds: float, milliseconds: int) -> dict[str, float]:
        """Of a rollout, its part in the broadcasts included."""
        self.iterate(milliseconds)
        clock, count = Clock(), 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            count += self.iterate(milliseconds)
        return clock.read(count) | {"rollouts": count}

    def close(self) -> None:
        self._pool.close()


def received(names: list[str]) -> list[float]:
    """Bytes that have come to each of these nodes from others, by their own account."""
    found = []
    for node in (node for node in ray.nodes() if node["NodeID"] in names):
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        ours = [line for line in lines if line.startswith("ray_object_manager_bytes{") and 'Type="Received"' in line]
        found.append(sum(float(line.split()[-1]) for line in ours))
    return found


def copies(coordinator: Coordinator, names: list[str], broadcasts: int) -> float:
    """How often one broadcast comes to a node, on average."""
    time.sleep(4 * REPORT)
    before = received(names)
    for _ in range(broadcasts):
        coordinator.iterate(0)
    time.sleep(4 * REPORT)
    size = WEIGHTS["weights"].nbytes
    return statistics.mean(b - a for a, b in zip(before, received(names), strict=True)) / size / broadcasts


def broadcasting(coordinator: Coordinator, count: int = 200) -> dict[str, float]:
    """Of one `publish`: from arrays to a reference."""
    clock = Clock()
    for _ in range(count):
        coordinator.publish()
    return clock.read(count)


def measure(actors: int, seconds: float) -> dict[str, Any]:
    """All figures for so many actors."""
    directory = own_directory()
    os.environ["RAY_TMPDIR"] = str(directory)
    per_node = -(-actors // NODES)
    system = {"metrics_report_interval_ms": int(1000 * REPORT)}
    head = {"num_cpus": 1, "labels": {"role": "learner"}, "include_dashboard": False, "_system_config": system}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = [cluster.add_node(num_cpus=per_node, object_store_memory=2**29) for _ in range(NODES)]
        names = [node.node_id for node in nodes]
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")  # pyright: ignore
        before = psutil.Process().memory_info().rss
        coordinator = Coordinator(actors, Nodes(1.0), 1.0)
        saturated = coordinator.rollouts(seconds, 0)
        paced = coordinator.rollouts(seconds, int(1000 * actors / RATE))
        result = {
            "actors": actors,
            "saturated": saturated,
            "paced": paced,
            "broadcast": broadcasting(coordinator),
            "broadcast_bytes": WEIGHTS["weights"].nbytes,
            "copies_of_a_broadcast_per_node": copies(coordinator, names, 5),
            "driver_mb_per_actor": (psutil.Process().memory_info().rss - before) / actors / 2**20,
        }
        coordinator.close()
        return result
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actors", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    needed = max(given.actors) * MEGABYTES_OF_AN_ACTOR * 2**20
    if psutil.virtual_memory().available < needed:
        sys.exit(f"{max(given.actors)} actors need {needed / 1e9:.0f} GB of memory; that much is not free.")
    # Without this, a real assignment would bring torch into every actor.
    copyreg.pickle(Assignment, lambda assignment: (tuple, (tuple(assignment),)))  # pyright: ignore[reportArgumentType]
    with contextlib.redirect_stdout(sys.stderr):  # Ray's warnings
        found = [measure(actors, given.seconds) for actors in given.actors]
    if given.json:
        print(json.dumps(found))
        return
    table = Table("", *(f"{each['actors']} actors" for each in found), title="The driver's own cost")
    rows: list[tuple[str, Callable[[dict[str, Any]], float]]] = [
        ("CPU ms a rollout, saturated", lambda each: each["saturated"]["cpu_ms"]),
        ("  of it in the main thread", lambda each: each["saturated"]["main_thread_ms"]),
        ("CPU ms a rollout, paced", lambda each: each["paced"]["cpu_ms"]),
        ("  of it in the main thread", lambda each: each["paced"]["main_thread_ms"]),
        ("CPU ms a broadcast", lambda each: each["broadcast"]["cpu_ms"]),
        ("wall ms a broadcast", lambda each: each["broadcast"]["wall_ms"]),
        ("copies of a broadcast per node", lambda each: each["copies_of_a_broadcast_per_node"]),
    ]
    for name, value in rows:
        table.add_row(name, *(f"{value(each):.3f}" for each in found))
    Console().print(table)


if __name__ == "__main__":
    with patience():
        main()
