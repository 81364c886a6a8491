"""A run on a cluster whose nodes come and go, in a process of its own: `python elastic.py DIRECTORY`.

Prints one JSON object: what the metrics said around each event, and whether the run ended in the same bits as one that
nothing happened to. Nodes: a head for the learner, and for the rollouts one, two, one (drained), two, one (killed).
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster

from innerloop.distributed import pool as pools
from innerloop.distributed.config import Config, configure
from innerloop.distributed.trainer import train
from innerloop.learner.checkpoint import Checkpoints

ITERATIONS = 80
PAUSE = 0.25


def config() -> Config:
    return configure(
        iterations=ITERATIONS, trials=32, parts=4, hidden=8, encoder=0, learner_threads=1, episodes=5,
        checkpoint_every=ITERATIONS, patience=3.0, max_restarts=5,
    )  # fmt: skip


class Events:
    """One after the other; the next one when the last has had its effect."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._nodes = [cluster.add_node(num_cpus=1, labels={"role": "rollout"})]
        self._steps = [self.join, self.drain, self.join, self.kill, self.hang]
        self._expected = 1
        self.seen: list[dict[str, Any]] = []
        self.places: set[str] = set()
        self.pool: pools.Pool | None = None

    def __call__(self, line: dict[str, Any]) -> None:
        assert self.pool
        self.places |= {member.node for member in self.pool._members.values() if member.node}
        settled = line["actors_alive"] == self._expected == line["actors_wanted"]
        if settled and self._effect(line) and len(self.seen) <= len(self._steps):
            self.seen.append({k: line[k] for k in ("iteration", "actors_alive", "restarts", "lost_trials")})
            if self._steps[len(self.seen) - 1 :]:
                self._steps[len(self.seen) - 1]()
        if len(self.seen) <= len(self._steps):
            time.sleep(PAUSE)

    def _effect(self, line: dict[str, Any]) -> bool:
        """Whether a hung actor has been replaced, if one hangs."""
        return len(self.seen) < len(self._steps) or line["restarts"] > self.seen[-1]["restarts"]

    def join(self) -> None:
        self._nodes.append(self._cluster.add_node(num_cpus=1, labels={"role": "rollout"}))
        self._expected += 1

    def drain(self) -> None:
        # as an autoscaler does before it takes a machine away; with a minute's notice
        until = int((time.time() + 60) * 1000)
        node = self._nodes.pop(0).node_id
        assert GcsClient(address=self._cluster.address).drain_node(node, 2, "the machine is taken away", until)[0]
        self._expected -= 1

    def kill(self) -> None:
        self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)
        self._expected -= 1

    def hang(self) -> None:
        assert self.pool
        (member,) = self.pool._members.values()
        os.kill(ray.get(member.actor.pid.remote()), signal.SIGSTOP)


def main(out: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "labels": {"role": "learner"}})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        events = Events(cluster)
        begin = pools.Pool.__init__

        def remembered(self: pools.Pool, *given: Any, **options: Any) -> None:
            begin(self, *given, **options)
            events.pool = self

        pools.Pool.__init__ = remembered
        pools.Remote.pid = lambda self: os.getpid()  # pyright: ignore[reportAttributeAccessIssue]
        train(config(), out / "disturbed", watch=events)
        pools.Pool.__init__ = begin
        head = ray.get_runtime_context().get_node_id()
        train(config(), out / "quiet")
        final = [Checkpoints(str(out / name / "checkpoints")).newest().arrays for name in ("disturbed", "quiet")]
        same = all(np.array_equal(final[0][name], final[1][name]) for name in final[1])
        print(json.dumps({"seen": events.seen, "same": same, "beside_learner": head in events.places}))
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
