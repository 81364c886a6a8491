"""Versioned weights for every actor: put once in the object store, fetched once per node."""

import ray

from ...learner.trajectory import Arrays


class Broadcast:
    """The newest weights, as a reference that travels with each call to an actor.

    An actor that already has the version does not read them; one that was just restarted does, so no actor ever plays
    with weights that are not the call's. The previous reference is kept alive for calls still under way.
    """

    def __init__(self) -> None:
        self._references: list[ray.ObjectRef] = []
        self.version = -1

    def publish(self, weights: Arrays, version: int) -> None:
        """From now on, calls carry these weights."""
        self._references = [*self._references[-1:], ray.put(weights)]
        self.version = version

    @property
    def newest(self) -> tuple[int, list[ray.ObjectRef]]:
        """Version, and the reference in a list: Ray resolves a bare one on every call, one in a list when asked."""
        return self.version, [self._references[-1]]
