"""The self-healing set of Ray actors that play trials."""

import collections
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError

from ..actors.actor import Actor, Assignment
from ..envs.errors import BadInput
from ..learner.experiment import Experiment
from ..learner.trajectory import Trajectory
from .broadcast import Broadcast
from .store import Summary, Writer, summarise

IN_FLIGHT = 2
"""Calls that an actor has at once: the next one is there when it finishes one."""


class ActorsDied(RuntimeError):
    """Actors died more often than the run allows."""


class Remote:
    """The Ray side of an `Actor`: loads the weights of the call, if it does not have them, and plays."""

    def __init__(self, experiment: Experiment, seed: int, tasks: int, writer: Writer | None) -> None:
        self._actor, self._writer = Actor(experiment, seed, tasks), writer
        self._episodes = experiment.episodes

    @ray.method(num_returns=2)
    def collect(self, assignment: Assignment, version: int, weights: list[Any]) -> tuple[Summary, Trajectory | None]:
        if version != self._actor.version:
            self._actor.load(ray.get(weights[0]), version)
        start = time.perf_counter()
        trajectory = self._actor.collect(assignment)
        summary = summarise(trajectory, self._episodes, time.perf_counter() - start)
        if self._writer is None:
            return summary, trajectory
        self._writer.write(assignment, trajectory)
        return summary, None


@dataclass
class Call:
    """One assignment under way."""

    actor: int
    assignment: Assignment
    trajectory: ray.ObjectRef


class Pool:
    """Hands assignments to actors, and to others when an actor dies."""

    def __init__(
        self,
        experiment: Experiment,
        seed: int,
        *,
        actors: int,
        max_restarts: int,
        tasks: int = 0,
        writer: Writer | None = None,
    ) -> None:
        """Args:
        experiment: what is played.
        seed: of the run.
        actors: how many.
        tasks: that the run trains on, drawn once; 0 for a new one in every trial.
        writer: of the store, where actors write to it themselves.
        max_restarts: how often, in all, a dead actor is replaced before the run is given up.
        """
        self._arguments = ray.put(experiment), seed, tasks, writer
        self._max_restarts = max_restarts
        self._actors = {index: self._start(index) for index in range(actors)}
        self._waiting: collections.deque[Assignment] = collections.deque()
        self._calls: dict[ray.ObjectRef, Call] = {}
        self.restarts = 0

    def submit(self, assignments: list[Assignment]) -> None:
        """Queue assignments; they are played in this order, with the weights that are newest when they are sent out."""
        self._waiting.extend(assignments)

    def pump(self, broadcast: Broadcast, timeout: float) -> list[tuple[Assignment, Summary, ray.ObjectRef]]:
        """Send out what waits, and return what has been played meanwhile.

        Args:
            broadcast: the weights.
            timeout: seconds to wait for a first result.

        Raises:
            ActorsDied: more often than `max_restarts`.
            BadInput: an environment misbehaved; any other error of an actor's own code comes through as it is.
        """
        self._send(broadcast)
        if not self._calls:  # what was played is on its way through the store
            time.sleep(min(timeout, 0.005))
            return []
        finished, _ = ray.wait([*self._calls], num_returns=1, timeout=timeout)
        if finished:  # whatever else is there already
            finished, _ = ray.wait([*self._calls], num_returns=len(self._calls), timeout=0)
        played = []
        for reference in finished:
            call = self._calls.pop(reference)
            try:
                played.append((call.assignment, ray.get(reference), call.trajectory))
            except (RayActorError, ObjectLostError) as error:
                self._replace(call, error)
            except RayTaskError as error:
                if isinstance(error.cause, BadInput):  # a sentence for the user, without the actor's traceback
                    raise error.cause from None
                raise
        self._send(broadcast)
        return played

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors.values():
            ray.kill(actor)

    def _send(self, broadcast: Broadcast) -> None:
        load = collections.Counter(call.actor for call in self._calls.values())
        while self._waiting:
            index = min(self._actors, key=lambda actor: load[actor])
            if load[index] >= IN_FLIGHT:
                return
            load[index] += 1
            assignment = self._waiting.popleft()
            summary, trajectory = self._actors[index].collect.remote(assignment, *broadcast.newest)
            self._calls[summary] = Call(index, assignment, trajectory)

    def _replace(self, call: Call, error: Exception) -> None:
        """Queue the assignment again, first; start another actor, once for each that died."""
        self._waiting.appendleft(call.assignment)
        if isinstance(error, RayActorError) and self._actors[call.actor]._actor_id.hex() == error.actor_id:
            self.restarts += 1
            if self.restarts > self._max_restarts:
                raise ActorsDied(f"actors died {self.restarts} times; max_restarts is {self._max_restarts}. {error}")
            self._actors[call.actor] = self._start(call.actor)

    def _start(self, index: int) -> Any:
        # No GPU for rollouts: num_gpus=0 alone would not hide it. Plug-ins are found where the driver finds them.
        found_by_driver = [path for path in sys.path if path and not path.startswith((sys.prefix, sys.base_prefix))]
        environment = {"env_vars": {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(found_by_driver)}}
        return ray.remote(Remote).options(num_cpus=1, runtime_env=environment).remote(*self._arguments)
