"""The nodes that actors may play on, as they come and go.

The learner's nodes are its own, unless the run says otherwise: those labelled `role: learner`, and the driver's if it
has a GPU and no role, and is not the only node. A node that drains takes no new actors.
"""

from collections.abc import Callable
from typing import Any

import ray
from ray._private import worker
from ray._private.state import state  # what drains: there is no public way, Ray's own Train goes this one
from ray.autoscaler.sdk import request_resources
from ray.util.client import ray as client
from ray.util.placement_group import placement_group, remove_placement_group

from ...envs.errors import require

NODE_ID = "ray.io/node-id"
"""A label that Ray gives every node."""


class Nodes:
    """What the cluster has for actors."""

    def __init__(self, cpus: float, *, reserved: int = 0, everywhere: bool = False) -> None:
        """Args:
        cpus: of an actor.
        reserved: CPUs that the learner needs while actors play, on this driver's node.
        everywhere: actors may play on the learner's nodes too.
        """
        self._cpus, self._everywhere = cpus, everywhere
        # Through ray:// the driver, and the learner with it, is on none of the nodes.
        self._here = "" if client.is_connected() else ray.get_runtime_context().get_node_id()
        self._learners_gpu = False
        self._requested = 0
        here = sum(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["NodeID"] == self._here)
        self._reserved = max(0, min(reserved, int(here - cpus)))  # an actor always finds a place
        self._refuse_without_room(here)
        # No process, only Ray's word that these CPUs are taken: it would fill this node before it looks at others.
        self._reservation = (
            placement_group([{"CPU": self._reserved}], name="learner", bundle_label_selector=[{NODE_ID: self._here}])
            if self._reserved and self._here in self.room()
            else None
        )

    def _refuse_without_room(self, here: float) -> None:
        """A run inside a task or an actor of Ray's may itself hold what its actors need, and would wait for ever.

        Args:
            here: CPUs of this node.

        Raises:
            BadInput: so it is, and there is no autoscaler that could add a node.
        """
        inside = worker.global_worker.mode == ray.WORKER_MODE
        held = ray.get_runtime_context().get_assigned_resources().get("CPU", 0) if inside else 0
        room = self.room()
        # An autoscaler tells the cluster what it may add.
        if held and self._here in room and any(room.values()) and state.get_cluster_config() is None:
            room[self._here] = int((here - self._reserved - held) / self._cpus + 1e-6)
            holds = f"the Ray task or actor that trains holds {held:g} of {here:g} CPUs itself"
            expected = f"one for which there is room, but {holds}: start it with num_cpus=0"
            require(any(room.values()), "actor_cpus", self._cpus, expected)

    @property
    def selector(self) -> dict[str, str]:
        """Where an actor may be placed: labels and what they must be, as Ray reads them."""
        if self._everywhere:
            return {}
        return {"role": "!learner"} | ({NODE_ID: f"!{self._here}"} if self._learners_gpu else {})

    def room(self) -> dict[str, int]:
        """The nodes that are well and may have actors, each with the number that fits when nothing else runs there."""
        draining = _in_cluster(_draining)
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        here = alive.get(self._here)
        self._learners_gpu = bool(
            here and len(alive) > 1 and here["Resources"].get("GPU") and "role" not in here["Labels"]
        )
        found = {}
        for name, node in alive.items():
            learners = node["Labels"].get("role") == "learner" or (name == self._here and self._learners_gpu)
            if name not in draining and (self._everywhere or not learners):
                free = node["Resources"].get("CPU", 0) - (self._reserved if name == self._here else 0)
                found[name] = int(free / self._cpus + 1e-6)  # 0.3 / 0.1 is less than 3
        return found

    def ask_for(self, actors: int) -> None:
        """Tell the autoscaler, where there is one, how many actors could be used."""
        if actors != self._requested:
            bundles, selectors = [{"CPU": self._cpus}] * actors, [self.selector] * actors
            _in_cluster(request_resources, bundles=bundles, bundle_label_selectors=selectors)
            self._requested = actors

    def release(self) -> None:
        """Nothing is needed any more."""
        self.ask_for(0)
        if self._reservation:
            remove_placement_group(self._reservation)


def _draining() -> set[str]:
    return {*state.get_draining_nodes()}


def _in_cluster(function: Callable[..., Any], **options: Any) -> Any:
    """What a function returns that only a process of the cluster can call: through ray://, a task does."""
    if not client.is_connected():
        return function(**options)
    return ray.get(ray.remote(num_cpus=0)(function).remote(**options))
