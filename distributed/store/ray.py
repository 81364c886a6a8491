"""The store in Ray: trajectories stay in the object store where they were made; replay lives in shards beside them."""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import ray
from ray.exceptions import ObjectLostError, RayActorError

from ...actors.actor import Assignment
from ...envs.errors import require
from ...learner.replay import Arrays, Context, Replay, Request, Sample, choose, join
from ...learner.trajectory import Trajectory, concatenate
from .api import Kept, Summary, Taken

BLOCK = 4
"""Batches in an answer of a shard: what a call costs is shared among them."""
AHEAD = 2
"""Answers that are asked for before they are needed."""
SERIALS = itertools.count()
"""Of the shards' names, which Ray wants to be different."""


class RayStore:
    """References held by the driver, arrays in shared memory (read without copying on the learner's node)."""

    writer = None

    def __init__(self, shards: int = 0, capacity: int = 0) -> None:
        """Args:
        shards: actors that share the replay; 0 where nothing is replayed.
        capacity: bytes of replay, in all.
        """
        self._waiting: dict[Assignment, tuple[Summary, ray.ObjectRef]] = {}
        self.replay = ShardedReplay(shards, capacity)

    @property
    def counts(self) -> dict[str, int]:
        return self.replay.counts

    def exists(self) -> bool:
        return False

    def delete(self) -> None:
        pass

    def begin(self, version: int) -> list[Assignment]:
        return []

    def append(self, assignment: Assignment, summary: Summary, reference: object) -> None:
        assert isinstance(reference, ray.ObjectRef)
        self._waiting[assignment] = summary, reference

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, count: int, oldest_version: int) -> Taken:
        taken = Taken({}, [], [])
        for assignment in sorted(self._waiting):
            if len(taken.trajectories) == count:
                break
            summary, reference = self._waiting.pop(assignment)
            if summary.version < oldest_version:
                taken.stale.append(assignment)
                continue
            try:
                trajectory = ray.get(reference)
            except (ObjectLostError, RayActorError):
                taken.lost.append(assignment)
                continue
            assert isinstance(trajectory, Trajectory)
            taken.trajectories[assignment] = trajectory
        return taken

    def keep(self, count: int) -> Kept:
        chosen = {assignment: self._waiting.pop(assignment) for assignment in sorted(self._waiting)[:count]}
        lost = self.replay.append([(assignment, reference) for assignment, (_, reference) in chosen.items()])
        return Kept({assignment: s for assignment, (s, _) in chosen.items() if assignment not in lost}, lost)

    def learned(self, assignments: list[Assignment]) -> None:
        pass  # what was taken is gone; after a crash it is played again

    def export(self) -> Arrays:
        return self.replay.export()

    def restore(self, saved: Iterable[Arrays], played: int) -> None:
        self.replay.restore(saved)
        self.replay.played = played

    def close(self) -> None:
        self.replay.close()


class About(NamedTuple):
    """What a shard says of itself."""

    tasks: np.ndarray = np.zeros(0, np.int64)
    """Of which something is kept, ascending."""
    trials: int = 0
    bytes: int = 0
    evicted: int = 0
    """Trials, since the shard began."""


class Shard:
    """The Ray side of a `Replay`: of the tasks whose index is this shard's, modulo the number of shards."""

    def __init__(self, index: int, shards: int, capacity: int) -> None:
        self._index, self._shards = index, shards
        self._replay = Replay(capacity)
        self._exported = 0

    def append(self, tasks: list[int], trajectory: Trajectory) -> tuple[int, About]:
        """Keep this shard's columns of a trajectory, which is read where it lies; returns their steps."""
        before = self._replay.played
        self._replay.append(tasks, trajectory, [column for column, task in enumerate(tasks) if self._owns(task)])
        return self._replay.played - before, self.about()

    def about(self) -> About:
        replay = self._replay
        return About(replay.tasks, len(replay), replay.nbytes, replay.evicted)

    def steps(self, batches: list[np.ndarray], request: Request, seed: int) -> list[Sample | None]:
        """Of the tasks of each batch, see `Replay.draw_steps`; None of none."""
        shared = np.random.default_rng(seed)  # all shards' shares of a batch have contexts of one length
        requests = [request.of_one_length(shared) for _ in batches]
        rng, draw = np.random.default_rng((seed, self._index)), self._replay.draw_steps
        return [draw(tasks, own, rng) if len(tasks) else None for tasks, own in zip(batches, requests, strict=True)]

    def context(self, task: int, window: int) -> Context:
        """See `Sampler.context`."""
        return self._replay.context(task, window)

    def trials(self, batches: list[np.ndarray], seed: int) -> list[Trajectory | None]:
        """Of the tasks of each batch, see `Replay.draw_trials`; None of none."""
        rng = np.random.default_rng((seed, self._index))
        return [self._replay.draw_trials(tasks, rng) if len(tasks) else None for tasks in batches]

    def export(self) -> Arrays:
        """What was appended since the last call."""
        found = self._replay.export(self._exported)
        self._exported = self._replay.appended
        return found

    def restore(self, saved: Arrays) -> About:
        """Append what is this shard's of what shards exported, however many they were."""
        self._replay.restore(saved, self._owns)
        self._exported = self._replay.appended
        return self.about()

    def _owns(self, task: int) -> bool:
        return task % self._shards == self._index


class ShardedReplay:
    """A `Sampler` whose batches are put together in the shards, so that only what is learned from travels.

    A shard that dies is replaced by an empty one, and its trials are counted as lost.
    """

    def __init__(self, shards: int, capacity: int) -> None:
        """Args:
        shards: how many; 0 for none, and no replay.
        capacity: bytes, in all.
        """
        self._capacity = capacity
        self._about = [About()] * shards
        self._shards = [self._start(index) for index in range(shards)]
        self._lost = self._evicted = 0
        self.played = 0

    @property
    def counts(self) -> dict[str, int]:
        """See `Store.counts`; empty without shards."""
        if not self._shards:
            return {}
        return {
            "replay_trials": sum(about.trials for about in self._about),
            "replay_bytes": sum(about.bytes for about in self._about),
            "replay_evicted": self._evicted + sum(about.evicted for about in self._about),
            "replay_lost": self._lost,
        }

    @property
    def tasks(self) -> np.ndarray:
        """The tasks of which something is kept, ascending."""
        return np.sort(np.concatenate([about.tasks for about in self._about]))

    def append(self, played: list[tuple[Assignment, ray.ObjectRef]]) -> list[Assignment]:
        """Keep trajectories in this order, when all shards have read them; returns those that are gone."""
        lost: list[Assignment] = []
        calls = [[shard.append.remote(list(a.tasks), ref) for shard in self._shards] for a, ref in played]
        for (assignment, reference), shares in zip(played, calls, strict=True):
            for index, call in enumerate(shares):
                try:
                    steps, self._about[index] = self._again_if_dead(
                        index, call, lambda shard, a=assignment, r=reference: shard.append.remote(list(a.tasks), r)
                    )
                    self.played += steps
                except (ObjectLostError, RayActorError):  # not the shard's: what it should have read is gone
                    lost.append(assignment)
                    break
        return lost

    def batches(
        self, request: Request, count: int, rng: np.random.Generator, priority: Mapping[int, float] | None = None
    ) -> Iterator[Sample]:
        for shares in self._ahead(
            count,
            lambda: choose(self.tasks, request.tasks, rng, priority),
            lambda shard, tasks, seed: shard.steps.remote(tasks, request, seed),
            rng,
        ):
            yield join(shares)

    def trials(self, tasks: int, count: int, rng: np.random.Generator) -> Iterator[Trajectory]:
        for shares in self._ahead(
            count,
            lambda: choose(self.tasks, tasks, rng),
            lambda shard, tasks, seed: shard.trials.remote(tasks, seed),
            rng,
        ):
            (places, first), *others = shares
            order = np.argsort(np.concatenate([places, *(places for places, _ in others)]))
            yield concatenate([first, *(each for _, each in others)]).columns(order) if others else first

    def context(self, task: int, window: int) -> Context:
        require(task in self.tasks, "task", task, f"one of those in replay: {self.tasks.tolist()}")
        index = task % len(self._shards)
        ask = self._shards[index].context.remote
        return self._again_if_dead(index, ask(task, window), lambda shard: shard.context.remote(task, window))

    def export(self) -> Arrays:
        """What all shards appended since the last call."""
        calls = [shard.export.remote() for shard in self._shards]
        shares = [self._again_if_dead(i, call, lambda shard: shard.export.remote()) for i, call in enumerate(calls)]
        found = [arrays for arrays in shares if len(arrays["trials"])]
        return {name: np.concatenate([arrays[name] for arrays in found]) for name in found[0]} if found else {}

    def restore(self, saved: Iterable[Arrays]) -> None:
        """Fill the shards with what was exported, in its order."""
        for arrays in saved:
            reference = ray.put(arrays)
            self._about = ray.get([shard.restore.remote(reference) for shard in self._shards])

    def close(self) -> None:
        """End the shards."""
        for shard in self._shards:
            ray.kill(shard)

    def _ahead(
        self,
        count: int,
        draw: Callable[[], np.ndarray],
        ask: Callable[[Any, list[np.ndarray], int], ray.ObjectRef],
        rng: np.random.Generator,
    ) -> Iterator[list[tuple[np.ndarray, Any]]]:
        """Answers to `count` draws of tasks, each as (places in the draw, a shard's answer); some are asked for ahead.

        Where a shard dies, its answers are drawn again from what is left; with nothing left, there are no more.
        """
        asked: deque[tuple[int, dict[int, tuple[list[np.ndarray], ray.ObjectRef]]]] = deque()
        missing = count  # that nobody has been asked for
        while True:
            while missing and len(asked) < AHEAD and len(self.tasks):
                block, seed = [draw() for _ in range(min(BLOCK, missing))], int(rng.integers(2**63))
                missing -= len(block)
                owners = [tasks % len(self._shards) for tasks in block]
                shares = {}
                for index in np.unique(np.concatenate(owners)).tolist():
                    places = [np.flatnonzero(owner == index) for owner in owners]
                    own = [tasks[place] for tasks, place in zip(block, places, strict=True)]
                    shares[index] = places, ask(self._shards[index], own, seed)
                asked.append((len(block), shares))
            if not asked:
                return
            size, shares = asked.popleft()
            try:
                answers = [(places, ray.get(answer)) for places, answer in shares.values()]
            except RayActorError:
                missing += size + sum(size for size, _ in asked)
                asked.clear()
                for index in shares:
                    self._again_if_dead(index, self._shards[index].about.remote(), lambda shard: shard.about.remote())
                continue
            for number in range(size):
                yield [(places[number], each[number]) for places, each in answers if each[number] is not None]

    def _again_if_dead(self, index: int, call: ray.ObjectRef, again: Callable[[Any], ray.ObjectRef]) -> Any:
        """The result of a shard's call; if the shard is dead, another takes its place and is asked `again`.

        Raises:
            RayActorError, ObjectLostError: the shard is well, but what it was given is gone.
        """
        try:
            return ray.get(call)
        except RayActorError:
            try:
                ray.get(self._shards[index].about.remote())
            except RayActorError:
                self._replace(index)
                return ray.get(again(self._shards[index]))
            raise

    def _replace(self, index: int) -> None:
        about = self._about[index]
        self._lost += about.trials
        self._evicted += about.evicted
        logging.getLogger("innerloop").warning(
            "A shard of the replay died; %d trials of %d tasks are lost. The run goes on with an empty one instead.",
            about.trials,
            len(about.tasks),
        )
        self._about[index] = About()
        self._shards[index] = self._start(index)

    def _start(self, index: int) -> Any:
        shards = len(self._about)
        environment = {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}
        remote = ray.remote(Shard).options(name=f"replay-{next(SERIALS)}", num_cpus=0, runtime_env=environment)
        return remote.remote(index, shards, self._capacity // shards)
