"""The elastic, self-healing set of Ray actors that play trials.

There are as many actors as the cluster has room for: more when nodes join, fewer when they drain or die. What an actor
had not finished when it died, hung or raised is played again by another one.
"""

import contextlib
import itertools
import logging
import math
import queue
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from ...actors.assignment import Assignment
from ...envs.errors import BadInput
from ...learner.experiment import Experiment
from ...learner.trajectory import Trajectory
from ..source import deployed
from ..store.api import Summary, Whereabouts, Writer
from .broadcast import Broadcast
from .failures import Failures
from .member import Call, Member
from .nodes import Nodes
from .remote import Remote, environment
from .waiting import Waiting

IN_FLIGHT = 2
"""Calls that an actor has at once: the next one is there when it finishes one."""
NODE_POLL_S = 1.0
"""Seconds between looks at the cluster's nodes."""
ACTOR_START_TIMEOUT_S = 120.0
"""Seconds that an actor may take to come up, at least: its node may have something to install."""
IDLE_WARNING_S = 30.0
"""Seconds without any actor before it is said that the run waits for nodes."""


class Pool:
    """Hands assignments to actors, and to others when an actor fails."""

    def __init__(
        self,
        experiment: Experiment,
        seed: int,
        *,
        nodes: Nodes,
        most: int,
        parts: int,
        max_restarts: int,
        patience: float,
        tasks: int = 0,
        held_out: int = 0,
        writer: Writer | None = None,
        cpus: float = 1.0,
        remote: type = Remote,
    ) -> None:
        """Args:
        experiment: what is played.
        seed: of the run.
        nodes: where.
        most: actors, at most; the autoscaler is asked for that many.
        parts: of an iteration, shared among the actors.
        max_restarts: how often in a row an actor is replaced before its place stays empty, and in how many places an
            assignment may fail before the run is given up.
        patience: seconds without an answer after which an actor is replaced.
        tasks, held_out: of the run, see `Actor`.
        writer: of the store, where actors write to it themselves.
        cpus: of an actor.
        remote: what an actor does in its own process.
        """
        self._arguments = ray.put((experiment, seed, tasks, held_out, writer))
        self._family, self._remote = experiment.family_name, ray.remote(remote)
        self._fresh = experiment.learns_fresh
        self._nodes, self._most, self._cpus = nodes, most, cpus
        self._parts, self._held_out_parts = parts, min(parts, held_out)
        self._failures, self._patience = Failures(max_restarts), patience
        self._serial = itertools.count()
        self._members: dict[int, Member] = {}
        self._waiting = Waiting()
        # Filled by threads of Ray's: asking it what of all that is under way has ended takes longer, the more there is.
        self._answers: queue.SimpleQueue[tuple[Member, Call | None, Future[Any]]] = queue.SimpleQueue()
        self._clock = 0.0
        """Seconds in which an actor that plays could have answered: patience is measured by it."""
        self._store_clock: float | None = None
        self._room: dict[str, int] = {}
        self._polled_at = -NODE_POLL_S
        self._well = time.monotonic()
        self.wanted = 0
        """Actors that the cluster has room for, up to the most."""
        self.restarts = 0
        """Actors that failed and were replaced."""
        self.lost_trials = 0
        """Trials that were under way in actors that failed, and were played again."""
        self._follow_cluster()

    @property
    def alive(self) -> int:
        """Actors that can play."""
        return len(self.playing)

    @property
    def playing(self) -> list[Member]:
        """The actors that have come up and can play, oldest first."""
        return [member for member in self._members.values() if member.node]

    def submit(self, assignments: list[Assignment], contexts: Mapping[Assignment, Trajectory] | None = None) -> None:
        """Queue assignments, with the contexts that some begin from; they are played in this order, with the weights
        that are newest when they are sent out."""
        self._waiting.add(assignments, contexts or {})

    def pump(
        self, broadcast: Broadcast, timeout: float, clock: float | None = None
    ) -> list[tuple[Assignment, Summary, Whereabouts]]:
        """Send out what waits, and return what has been played meanwhile.

        Args:
            broadcast: the weights.
            timeout: seconds to wait for a first answer.
            clock: of the store, see `Store.clock`; the monotonic one by default.

        Raises:
            ActorsDied: every actor failed more than `max_restarts` times in a row, or an assignment in that many.
            BadInput: an environment misbehaved, or a node has another version of innerloop.
        """
        now = time.monotonic() if clock is None else clock
        self._clock += now - (now if self._store_clock is None else self._store_clock)
        self._store_clock = now
        self._follow_cluster()
        self._send(broadcast)
        played = []
        for member, call, answer in self._answered(timeout):
            if call is None:
                self._greeted(member, answer)
            else:
                for at, summary in enumerate(self._finished(member, call, answer)):
                    played.append((call.assignments[at], summary, Whereabouts(call.trajectories, at)))
        self._send(broadcast)
        return played

    def close(self) -> None:
        """End the actors; say how often they failed, where it was said once."""
        self._failures.close()
        for member in self._members.values():
            ray.kill(member.actor)
        self._members.clear()
        self._nodes.release()

    def _send(self, broadcast: Broadcast) -> None:
        for calls in range(IN_FLIGHT):
            if not self._waiting:
                return
            for member in self._members.values():
                if self._waiting and member.node and not member.retiring and len(member.calls) == calls:
                    assignments = self._waiting.take(self._share)
                    contexts = self._waiting.contexts_of(assignments)
                    summaries, trajectories = member.play.remote(assignments, contexts, *broadcast.newest)
                    if not calls:
                        member.since = self._clock
                    member.calls.append(Call(assignments, trajectories))
                    self._await(member, member.calls[-1], summaries)

    @property
    def _share(self) -> int:
        """Of an actor in what is asked for at once; it gets an iteration in two calls if there is only one actor."""
        parts, least = (self._held_out_parts, 1) if self._waiting.held_out else (self._parts, IN_FLIGHT)
        return math.ceil(parts / max(least, self.wanted))

    def _await(self, member: Member, call: Call | None, reference: ray.ObjectRef) -> None:
        reference.future().add_done_callback(lambda answer: self._answers.put((member, call, answer)))

    def _answered(self, timeout: float) -> list[tuple[Member, Call | None, "Future[Any]"]]:
        """What actors have answered; waits for a first answer."""
        under_way = any(member.calls or not member.node for member in self._members.values())
        # With nothing under way, what was played is on its way through the store.
        wait, answers = timeout if under_way else min(timeout, 0.005), []
        with contextlib.suppress(queue.Empty):
            answers.append(self._answers.get(timeout=wait))
            while True:
                answers.append(self._answers.get_nowait())
        return answers

    def _greeted(self, member: Member, answer: "Future[Any]") -> None:
        """An actor is there."""
        try:
            member.node = answer.result()
            member.since = self._clock
        except RayError as error:
            self._failed(member, error)

    def _finished(self, member: Member, call: Call, answer: "Future[Any]") -> list[Summary]:
        """The summaries of a call that has ended; none if it failed, or if the actor has been replaced meanwhile."""
        if call not in member.calls:
            return []
        try:
            summaries = answer.result()
        except RayError as error:
            self._failed(member, error)
            return []
        member.calls.remove(call)
        self._waiting.played(call.assignments)
        member.since = self._clock
        self._failures.well(member.slot, call.assignments)
        if member.retiring and not member.calls:
            self._end(member)
        return summaries

    def _failed(self, member: Member, error: Exception) -> None:
        """Replace an actor that died, hung or raised; leave its place empty if that happens again and again."""
        if not self._end(member):
            return
        if isinstance(error, RayTaskError) and isinstance(error.cause, BadInput):
            raise error.cause from None  # a sentence for the user, without the actor's traceback
        self.restarts += 1
        # If the nodes have changed, the one that died may have been its own.
        self._failures.record(member, error, counts=not self._poll_nodes())
        calls, member.calls = member.calls, []
        self._waiting.put_back([assignment for call in calls for assignment in call.assignments])
        if calls:  # the others had not begun
            self.lost_trials += sum(assignment.trials for assignment in calls[0].assignments)
            self._failures.blame(calls[0].assignments, member.slot, error)
        self._fill()

    def _end(self, member: Member) -> bool:
        """Whether it was still there."""
        serial = next((serial for serial, each in self._members.items() if each is member), None)
        if serial is None:
            return False
        del self._members[serial]
        ray.kill(member.actor)
        return True

    def _follow_cluster(self) -> None:
        """Follow the cluster: more actors or fewer, and none that hangs."""
        now = time.monotonic()
        if now - self._polled_at < NODE_POLL_S:
            return
        self._polled_at = now
        self._poll_nodes()
        self._nodes.ask_for(self._most)
        for member in [*self._members.values()]:
            if member.node and member.node not in self._room and not member.retiring:
                member.retiring = True  # its node drains or is gone
                if not member.calls:
                    self._end(member)
            elif member.calls and self._clock - member.since > self._patience:
                self._failed(member, TimeoutError(f"it has not answered for {self._patience:g} seconds (--patience)"))
            elif not member.node and self._clock - member.since > max(ACTOR_START_TIMEOUT_S, self._patience):
                self._end(member)  # it has no place, which is nobody's fault, or it hangs
        self._fill()
        self._say_if_alone(now)

    def _poll_nodes(self) -> bool:
        """Whether they are not the same as before; all places are as good as new then."""
        before, self._room = self._room, self._nodes.room()
        self.wanted = min(self._most, sum(self._room.values()))
        if self._room == before:
            return False
        self._failures.forgive()
        return True

    def _say_if_alone(self, now: float) -> None:
        if self.alive:
            self._well = now
        elif now - self._well > IDLE_WARNING_S:
            self._well = float("inf")  # once, until there is an actor again
            logging.getLogger("innerloop").warning(
                "No actor is there; the nodes have room for %d of %g CPUs, not counting what else runs. The run waits.",
                self.wanted,
                self._cpus,
            )

    def _fill(self) -> None:
        """Start the actors that are missing; end those for which there is no room any more before they came up."""
        staying = [member for member in self._members.values() if not member.retiring]
        taken = {member.slot for member in staying} | self._failures.given_up
        # One too many where there is no room at all: it tells Ray what is wanted.
        missing = max(1, self.wanted) - len(staying) - len(self._failures.given_up)
        free = (slot for slot in itertools.count() if slot not in taken)
        for slot in itertools.islice(free, max(0, missing)):
            self._start(slot)
        for member in [each for each in staying if not each.node][: max(0, -missing)]:
            self._end(member)
        if not self._members:
            raise self._failures.all_failed()

    def _start(self, slot: int) -> None:
        serial = next(self._serial)
        name = f"rollout-{serial} · {self._family}"
        options = {"num_cpus": self._cpus, "label_selector": self._nodes.selector}
        variables = {"env_vars": environment(self._fresh)}
        made = self._remote.options(name=name, runtime_env=variables, **options)
        actor: Any = made.remote(deployed(), [self._arguments])
        play = actor.collect.options(name=f"play · {self._family}")
        member = self._members[serial] = Member(name, slot, actor, play, self._clock)
        self._await(member, None, member.actor.greet.remote())
