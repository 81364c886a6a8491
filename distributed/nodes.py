"""The nodes that actors may play on, as they come and go.

A node that is labelled `role: learner` is the learner's alone, unless the run says otherwise. A node that drains takes
no new actors.
"""

from collections.abc import Mapping

import ray
from ray._private.state import state
from ray.autoscaler.sdk import request_resources

NOT_THE_LEARNERS = {"role": "!learner"}
"""Ray's label selector for every node but those labelled `role: learner`; for those without a label too."""


class Nodes:
    """What the cluster has for actors."""

    def __init__(self, cpus: float, *, reserved: int = 0, everywhere: bool = False) -> None:
        """Args:
        cpus: of an actor.
        reserved: CPUs that the learner needs while actors play, on this driver's node.
        everywhere: the learner's nodes too.
        """
        self._cpus, self._reserved, self._everywhere = cpus, reserved, everywhere
        self._here = ray.get_runtime_context().get_node_id()
        self._requested = 0

    @property
    def selector(self) -> Mapping[str, str]:
        """For an actor's options."""
        return {} if self._everywhere else NOT_THE_LEARNERS

    def room(self) -> dict[str, int]:
        """The nodes that are well and may have actors, each with the number that fits when nothing else runs there."""
        draining = state.get_draining_nodes()
        found = {}
        for node in ray.nodes():
            name = node["NodeID"]
            learners = node["Labels"].get("role") == "learner" and not self._everywhere
            if node["Alive"] and name not in draining and not learners:
                free = node["Resources"].get("CPU", 0) - (self._reserved if name == self._here else 0)
                found[name] = max(0, int(free / self._cpus))
        if len(found) == 1 and self._here in found:  # a machine alone: learner and actor share it
            found[self._here] = max(1, found[self._here])
        return found

    def ask_for(self, actors: int) -> None:
        """Tell the autoscaler, where there is one, how many actors could be used."""
        if actors != self._requested:
            request_resources(
                bundles=[{"CPU": self._cpus}] * actors, bundle_label_selectors=[dict(self.selector)] * actors
            )
            self._requested = actors
