"""Something that goes wrong, at random moments, on a cluster of several nodes on this machine.

One event after the other, from a seed: which kind, after how long, and which of those that are there.

    actor   an actor that plays is killed (-9)
    hang    an actor that plays is stopped (SIGSTOP), and never goes on
    shard   an actor that holds a part of the replay is killed (-9)
    stuck   an actor that holds a part of the replay is stopped (SIGSTOP)
    node    a node is lost with all that runs there, and another one comes after a while
    redis   the server is killed (-9), and started again from its append-only file
"""

import os
import signal
import sys
import time
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ray._private.state import actors as actor_table
from ray.cluster_utils import Cluster

# The tests' server is of use here too.
sys.path += [str(Path(__file__).parents[1] / "tests" / each) for each in ("", "distributed")]
from redis_server import RedisServer

YOUNG = 1.0
"""Seconds for which an actor is left alone after it has come up."""


@dataclass(frozen=True)
class Victim:
    """A process that an event took away."""

    pid: int
    node: str
    shard: bool


@dataclass
class Event:
    """Something that went wrong."""

    at: float
    """Seconds since the killer began."""
    kind: str
    victims: list[Victim] = field(default_factory=list)


class Killer:
    """Makes events until a training is over. In the main thread: Ray starts nodes nowhere else."""

    def __init__(
        self,
        cluster: Cluster,
        nodes: list[Any],
        kinds: tuple[str, ...],
        *,
        every: float,
        seed: int,
        server: RedisServer,
    ) -> None:
        """Args:
        cluster: the nodes are on.
        nodes: that may be lost; others take their places in the list.
        kinds: of events; the first few come in this order, so that a short run has one of each.
        every: seconds between two events, on average.
        seed: of all that is random here.
        server: for `redis`.
        """
        self._cluster, self._nodes, self._kinds, self._every = cluster, nodes, kinds, every
        self._server, self._rng = server, np.random.default_rng(seed)
        self._begun = time.monotonic()
        self._hit: set[int] = set()
        self.events: list[Event] = []

    @property
    def clock(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._begun

    def work(self, training: Future[Any]) -> None:
        """Returns when the training is over and what it had begun is done: nodes are there again, and Redis."""
        self._training = training
        first = [*self._kinds]
        while not self._over(self._every * self._rng.uniform(0.5, 1.5)):
            kind, before = first[0] if first else str(self._rng.choice(self._kinds)), len(self.events)
            getattr(self, f"_{kind}")()
            if len(self.events) > before:  # there was somebody to hit
                first = first[1:]

    def _over(self, seconds: float) -> bool:
        """Whether the training ends within so many seconds."""
        return bool(futures.wait([self._training], timeout=seconds).done)

    def _alive(self, age: float = 0.0) -> list[Victim]:
        """Actors that have not been hit yet and are so many seconds old, in a fixed order."""
        found = []
        for actor in actor_table(actor_state_name="ALIVE").values():
            old = time.time() - actor["StartTime"] / 1000 >= age
            if old and actor["Pid"] not in self._hit:
                found.append(Victim(actor["Pid"], actor["Address"]["NodeID"], actor["ActorClassName"] == "Shard"))
        return sorted(found, key=lambda victim: victim.pid)

    def _signal(self, kind: str, number: signal.Signals, *, shards: bool) -> None:
        if candidates := [victim for victim in self._alive(YOUNG) if victim.shard == shards]:
            victim = candidates[self._rng.integers(len(candidates))]
            self._hit.add(victim.pid)
            self.events.append(Event(self.clock, kind, [victim]))
            os.kill(victim.pid, number)

    def _actor(self) -> None:
        self._signal("actor", signal.SIGKILL, shards=False)

    def _hang(self) -> None:
        self._signal("hang", signal.SIGSTOP, shards=False)

    def _shard(self) -> None:
        self._signal("shard", signal.SIGKILL, shards=True)

    def _stuck(self) -> None:
        self._signal("stuck", signal.SIGSTOP, shards=True)

    def _node(self) -> None:
        index = int(self._rng.integers(len(self._nodes)))
        node = self._nodes[index]
        victims = [victim for victim in self._alive() if victim.node == node.node_id]
        self._hit |= {victim.pid for victim in victims}
        self.events.append(Event(self.clock, "node", victims))
        self._cluster.remove_node(node, allow_graceful=False)
        self._over(self._rng.uniform(0.5, 2.0))
        self._nodes[index] = self._cluster.add_node(num_cpus=1, labels={"role": "rollout"})

    def _redis(self) -> None:
        self.events.append(Event(self.clock, "redis"))
        self._server.kill()
        self._over(self._rng.uniform(0.2, 1.5))
        self._server.start()
