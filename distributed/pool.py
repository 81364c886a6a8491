"""The elastic, self-healing set of Ray actors that play trials.

There are as many actors as the cluster has room for: more when nodes join, fewer when they drain or die. What an actor
had not finished when it died, hung or raised is played again by another one.
"""

import collections
import itertools
import logging
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError

from .. import __version__
from ..actors.actor import Actor, Assignment
from ..envs.errors import BadInput
from ..learner.experiment import Experiment
from ..learner.trajectory import Trajectory
from .broadcast import Broadcast
from .nodes import Nodes
from .store import Summary, Writer, summarise

IN_FLIGHT = 2
"""Calls that an actor has at once: the next one is there when it finishes one."""
LOOK = 1.0
"""Seconds between looks at the cluster's nodes."""


class ActorsDied(RuntimeError):
    """No actor is left that does not fail, or no actor can play an assignment."""


class Remote:
    """The Ray side of an `Actor`: loads the weights of the call, if it does not have them, and plays."""

    def __init__(self, experiment: Experiment, seed: int, tasks: int, writer: Writer | None) -> None:
        self._actor, self._writer = Actor(experiment, seed, tasks), writer
        self._episodes = experiment.episodes

    def greet(self) -> tuple[str, str]:
        """The node that it is on, and its version of innerloop."""
        return ray.get_runtime_context().get_node_id(), __version__

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
class Member:
    """An actor of the pool."""

    slot: int
    """Its place; the one that replaces it takes the same."""
    actor: Any
    node: str = ""
    """Empty until it has answered for the first time: Ray may still be looking for a place."""
    calls: int = 0
    since: float = 0.0
    """When it last answered, or was asked with nothing else to do."""
    retiring: bool = False
    """Gets no more calls, and ends when it has none."""


@dataclass
class Call:
    """One assignment under way."""

    member: Member
    assignment: Assignment
    trajectory: ray.ObjectRef


class Pool:
    """Hands assignments to actors, and to others when an actor fails."""

    def __init__(
        self,
        experiment: Experiment,
        seed: int,
        *,
        nodes: Nodes,
        most: int,
        max_restarts: int,
        patience: float,
        tasks: int = 0,
        writer: Writer | None = None,
        cpus: float = 1.0,
    ) -> None:
        """Args:
        experiment: what is played.
        seed: of the run.
        nodes: where.
        most: actors, at most; the autoscaler is asked for so many.
        max_restarts: how often in a row an actor is replaced before its place stays empty, and an assignment is played
            again before the run is given up.
        patience: seconds without an answer after which an actor is replaced.
        tasks: that the run trains on, drawn once; 0 for a new one in every trial.
        writer: of the store, where actors write to it themselves.
        cpus: of an actor.
        """
        self._arguments = ray.put(experiment), seed, tasks, writer
        self._family = experiment.family_name
        self._nodes, self._most, self._cpus = nodes, most, cpus
        self._max_restarts, self._patience = max_restarts, patience
        self._serial = itertools.count()
        self._members: dict[int, Member] = {}
        self._failures: collections.Counter[int | Assignment] = collections.Counter()
        self._given_up: set[int] = set()
        self._waiting: collections.deque[Assignment] = collections.deque()
        self._calls: dict[ray.ObjectRef, Call] = {}
        self._greetings: dict[ray.ObjectRef, Member] = {}
        self._looked = -LOOK
        self.wanted = 0
        """Actors that the cluster has room for, up to the most."""
        self.restarts = 0
        """Actors that failed and were replaced."""
        self.lost_trials = 0
        """Trials that were under way in actors that failed, and were played again."""
        self._look()

    @property
    def alive(self) -> int:
        """Actors that can play."""
        return sum(bool(member.node) for member in self._members.values())

    def submit(self, assignments: list[Assignment]) -> None:
        """Queue assignments; they are played in this order, with the weights that are newest when they are sent out."""
        self._waiting.extend(assignments)

    def pump(self, broadcast: Broadcast, timeout: float) -> list[tuple[Assignment, Summary, ray.ObjectRef]]:
        """Send out what waits, and return what has been played meanwhile.

        Args:
            broadcast: the weights.
            timeout: seconds to wait for a first result.

        Raises:
            ActorsDied: an assignment, or the last actor, failed more than `max_restarts` times in a row.
            BadInput: an environment misbehaved, or a node has another version of innerloop.
        """
        self._look()
        self._send(broadcast)
        pending = [*self._calls, *self._greetings]
        if not pending:  # what was played is on its way through the store
            time.sleep(min(timeout, 0.005))
            return []
        finished, _ = ray.wait(pending, num_returns=1, timeout=timeout)
        if finished:  # whatever else is there already
            finished, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
        played = []
        for reference in finished:
            if reference in self._greetings:
                self._greeted(reference)
            elif (answer := self._answered(reference)) is not None:
                played.append(answer)
        self._send(broadcast)
        return played

    def close(self) -> None:
        """End the actors."""
        for member in self._members.values():
            ray.kill(member.actor)
        self._members.clear()
        self._nodes.ask_for(0)

    def _send(self, broadcast: Broadcast) -> None:
        ready = [member for member in self._members.values() if member.node and not member.retiring]
        while self._waiting and ready:
            member = min(ready, key=lambda each: each.calls)
            if member.calls >= IN_FLIGHT:
                return
            if not member.calls:
                member.since = time.monotonic()
            member.calls += 1
            assignment = self._waiting.popleft()
            summary, trajectory = member.actor.collect.remote(assignment, *broadcast.newest)
            self._calls[summary] = Call(member, assignment, trajectory)

    def _greeted(self, reference: ray.ObjectRef) -> None:
        """An actor is there."""
        member = self._greetings.pop(reference)
        try:
            node, version = ray.get(reference)
        except (RayActorError, RayTaskError) as error:
            self._failed(member, error)
            return
        if version != __version__:
            raise BadInput(f"a node of the cluster has innerloop {version}; expected {__version__}, as here.")
        member.node, member.since = node, time.monotonic()

    def _answered(self, reference: ray.ObjectRef) -> tuple[Assignment, Summary, ray.ObjectRef] | None:
        """A call has ended, well or not."""
        call = self._calls.pop(reference)
        member = call.member
        member.calls -= 1
        try:
            summary = ray.get(reference)
        except (RayActorError, RayTaskError, ObjectLostError) as error:
            self._again(call, error)
            if not isinstance(error, ObjectLostError):
                self._failed(member, error)
            return None
        member.since = time.monotonic()
        del self._failures[member.slot], self._failures[call.assignment]
        if member.retiring and not member.calls:
            self._end(member)
        return call.assignment, summary, call.trajectory

    def _again(self, call: Call, error: Exception) -> None:
        """Queue an assignment once more, before the others."""
        if isinstance(error, RayTaskError) and isinstance(error.cause, BadInput):
            raise error.cause from None  # a sentence for the user, without the actor's traceback
        self.lost_trials += call.assignment.trials
        self._failures[call.assignment] += 1
        if self._failures[call.assignment] > self._max_restarts:
            raise ActorsDied(
                f"part {call.assignment.part} of iteration {call.assignment.iteration} failed "
                f"{self._failures[call.assignment]} times; max_restarts is {self._max_restarts}. {error}"
            )
        self._waiting.appendleft(call.assignment)

    def _failed(self, member: Member, error: Exception) -> None:
        """Replace an actor that died, hung or raised; leave its place empty if that happens again and again."""
        if not self._end(member):
            return  # its other call has said so already
        logging.getLogger("innerloop").warning("An actor failed and is replaced. %s", error)
        self.restarts += 1
        self._failures[member.slot] += 1
        if self._failures[member.slot] > self._max_restarts:
            self._given_up.add(member.slot)
            logging.getLogger("innerloop").error(
                "An actor failed %d times in a row and is given up. %s", self._failures[member.slot], error
            )
        self._fill()
        if not self._members:
            raise ActorsDied(f"every actor failed; max_restarts is {self._max_restarts}. {error}")

    def _end(self, member: Member) -> bool:
        """Whether it was still there."""
        serial = next((serial for serial, each in self._members.items() if each is member), None)
        if serial is None:
            return False
        del self._members[serial]
        ray.kill(member.actor)
        return True

    def _look(self) -> None:
        """Follow the cluster: more actors or fewer, and none that hangs."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        room = self._nodes.room()
        self.wanted = min(self._most, sum(room.values()))
        self._nodes.ask_for(self._most)
        for member in [*self._members.values()]:
            if member.node and member.node not in room and not member.retiring:
                member.retiring = True  # its node drains or is gone
                if not member.calls:
                    self._end(member)
            elif member.calls and now - member.since > self._patience:
                self._failed(member, TimeoutError(f"It has not answered for {self._patience:g} seconds."))
        self._fill()

    def _fill(self) -> None:
        """Start the actors that are missing; end those for which there is no room any more before they came up."""
        staying = [member for member in self._members.values() if not member.retiring]
        taken = {member.slot for member in staying}
        # One too many where there is no room at all: it tells Ray what is wanted.
        missing = max(1, self.wanted) - len(staying)
        free = (slot for slot in itertools.count() if slot not in taken | self._given_up)
        for slot in itertools.islice(free, max(0, missing - len(self._given_up))):
            self._start(slot)
        for member in [each for each in staying if not each.node][: max(0, -missing)]:
            self._end(member)

    def _start(self, slot: int) -> None:
        # No GPU for rollouts: num_gpus=0 alone would not hide it. Plug-ins are found where the driver finds them.
        found_by_driver = [path for path in sys.path if path and not path.startswith((sys.prefix, sys.base_prefix))]
        environment = {"env_vars": {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(found_by_driver)}}
        serial = next(self._serial)
        options = {"num_cpus": self._cpus, "label_selector": self._nodes.selector, "runtime_env": environment}
        actor = ray.remote(Remote).options(name=f"rollout-{serial} · {self._family}", **options)
        member = Member(slot, actor.remote(*self._arguments))
        self._members[serial] = member
        self._greetings[member.actor.greet.remote()] = member
