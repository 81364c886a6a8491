"""Replay in shards: what is asked of them, and another in the place of one that dies or hangs."""

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, ObjectLostError, RayActorError

from ...actors.assignment import Assignment
from ...learner.sampling import Request, Sample, choose, join
from ...learner.trajectory import Arrays, Trajectory, concatenate
from .api import Whereabouts
from .shard import About, Shard

BLOCK = 4
"""Batches in an answer of a shard: what a call costs is shared among them."""
AHEAD = 2
"""Answers that are asked for before they are needed."""
TRIES = 10
"""Shards, one in the other's place, that may die of the same question."""
STARTING = 60.0
"""Seconds, at least, that a shard has for its first answer."""
SERIALS = itertools.count()
"""Of the shards' names, which Ray wants to be different."""


class Question(NamedTuple):
    """A call under way."""

    shard: Any
    answer: ray.ObjectRef


def append_to(played: Sequence[tuple[Assignment, Whereabouts]]) -> Callable[[Any], ray.ObjectRef]:
    """The question to append trajectories that are in one list."""
    assignments, places = zip(*played, strict=True)
    return lambda shard: shard.append.remote(assignments, [place.at for place in places], places[0].reference)


class ShardedReplay:
    """A `Sampler` whose batches are put together in the shards, so that only what is learned from travels.

    A shard that dies or hangs is replaced by an empty one, and its trials are counted as lost. One thread may append
    while another one samples.
    """

    def __init__(self, shards: int, capacity: int, patience: float = 300.0) -> None:
        """Args:
        shards: how many; 0 for none, and no replay.
        capacity: bytes, in all.
        patience: seconds without an answer after which a shard is replaced.
        """
        self._patience, self._lock = patience, threading.Lock()
        self._up: set[int] = set()
        self._capacity = capacity
        self._about = [About()] * shards
        self.shards = [self._start(index) for index in range(shards)]
        """Handles of the actors."""
        self._lost = self._evicted = 0
        self.played = 0

    @property
    def counts(self) -> dict[str, int]:
        """See `Store.counts`; empty without shards."""
        if not self.shards:
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

    def append(self, played: list[tuple[Assignment, Whereabouts]]) -> list[Assignment]:
        """Keep trajectories in this order, when all shards have read them; returns those that are gone."""
        lost: list[Assignment] = []
        together = [[*group] for _, group in itertools.groupby(played, lambda each: each[1].reference)]
        calls = [[self._ask(index, append_to(group)) for index in range(len(self.shards))] for group in together]
        for group, asked in zip(together, calls, strict=True):
            for index, question in enumerate(asked):
                try:
                    steps, _ = self._answer(index, question, append_to(group), lambda answer: answer[1])
                    self.played += steps
                except (ObjectLostError, RayActorError):  # not the shard's: what it should have read is gone
                    lost += [assignment for assignment, _ in group]
                    break
        return lost

    def batches(self, request: Request, count: int, rng: np.random.Generator) -> Iterator[Sample]:
        for shares in self._ahead(
            count,
            lambda: choose(self.tasks, request.tasks, rng),
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

    def contexts(self, tasks: Sequence[int], window: int, most: int = 0) -> list[Trajectory | None]:
        found: dict[int, Trajectory | None] = {}
        for index in {task % len(self.shards) for task in tasks}:
            own = [task for task in {*tasks} if task % len(self.shards) == index]

            def ask(shard: Any, own: list[int] = own) -> ray.ObjectRef:
                return shard.contexts.remote(own, window, most)

            found |= zip(own, self._answer(index, self._ask(index, ask), ask), strict=True)
        return [found[task] for task in tasks]

    def export(self) -> Arrays:
        """What all shards appended since the last call."""

        def ask(shard: Any) -> ray.ObjectRef:
            return shard.export.remote()

        asked = [self._ask(index, ask) for index in range(len(self.shards))]
        shares = [self._answer(index, question, ask) for index, question in enumerate(asked)]
        found = [arrays for arrays in shares if len(arrays["trials"])]
        return {name: np.concatenate([arrays[name] for arrays in found]) for name in found[0]} if found else {}

    def restore(self, saved: Iterable[Arrays]) -> None:
        """Fill the shards with what was exported, in its order."""
        for arrays in saved:
            reference = ray.put(arrays)

            def ask(shard: Any, reference: ray.ObjectRef = reference) -> ray.ObjectRef:
                return shard.restore.remote(reference)

            asked = [self._ask(index, ask) for index in range(len(self.shards))]
            for index, question in enumerate(asked):
                self._answer(index, question, ask, lambda answer: answer)

    def close(self) -> None:
        """End the shards."""
        for shard in self.shards:
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
        asked: deque[tuple[int, dict[int, tuple[list[np.ndarray], Question]]]] = deque()
        missing = count  # that nobody has been asked for
        while True:
            while missing and len(asked) < AHEAD and len(self.tasks):
                block, seed = [draw() for _ in range(min(BLOCK, missing))], int(rng.integers(2**63))
                missing -= len(block)
                owners = [tasks % len(self.shards) for tasks in block]
                shares = {}
                for index in np.unique(np.concatenate(owners)).tolist():
                    places = [np.flatnonzero(owner == index) for owner in owners]
                    own = [tasks[place] for tasks, place in zip(block, places, strict=True)]
                    shares[index] = places, self._ask(index, lambda shard, own=own, seed=seed: ask(shard, own, seed))
                asked.append((len(block), shares))
            if not asked:
                return
            size, shares = asked.popleft()
            answers = []
            for index, (places, question) in shares.items():
                try:
                    answers.append((places, ray.get(question.answer, timeout=self._timeout(index))))
                except (RayActorError, GetTimeoutError) as error:
                    if not self._gone(index, question.shard, error):
                        raise
                    break
                else:
                    self._up.add(index)
            if len(answers) < len(shares):
                missing += size + sum(size for size, _ in asked)
                asked.clear()
                continue
            for number in range(size):
                yield [(places[number], each[number]) for places, each in answers if each[number] is not None]

    def _ask(self, index: int, ask: Callable[[Any], ray.ObjectRef]) -> Question:
        shard = self.shards[index]
        return Question(shard, ask(shard))

    def _answer(
        self,
        index: int,
        question: Question,
        again: Callable[[Any], ray.ObjectRef],
        about: Callable[[Any], About] | None = None,
    ) -> Any:
        """What a shard answers; if it is dead or hangs, another takes its place and is asked `again`.

        Args:
            index: of the shard.
            question: that it was asked.
            again: asks another.
            about: what an answer says of the shard.

        Raises:
            RayActorError, ObjectLostError: the shard is well, but what it was given is gone.
        """
        for tries in itertools.count(1):
            try:
                answer = ray.get(question.answer, timeout=self._timeout(index))
            except (RayActorError, GetTimeoutError) as error:
                if not self._gone(index, question.shard, error) or tries == TRIES:
                    raise
            else:
                with self._lock:
                    if question.shard is self.shards[index]:  # it has not died since
                        self._up.add(index)
                        if about:
                            self._about[index] = about(answer)
                        return answer
            question = self._ask(index, again)

    def _gone(self, index: int, shard: Any, error: Exception) -> bool:
        """Whether a shard that gave no answer has been replaced, now or by the other thread: not if it is well."""
        with self._lock:
            if shard is not self.shards[index]:
                return True
            hangs = isinstance(error, GetTimeoutError)
            if not hangs:
                try:
                    ray.get(shard.about.remote(), timeout=self._timeout(index))
                    return False
                except (RayActorError, GetTimeoutError):
                    pass
            ray.kill(shard)
            self._replace(index, f"has not answered for {self._timeout(index):g} seconds" if hangs else "died")
            return True

    def _timeout(self, index: int) -> float:
        return self._patience if index in self._up else max(self._patience, STARTING)

    def _replace(self, index: int, fault: str) -> None:
        about = self._about[index]
        self._lost += about.trials
        self._evicted += about.evicted
        logging.getLogger("innerloop").warning(
            "A shard of the replay %s; %d trials of %d tasks are lost. The run goes on with an empty one instead.",
            fault,
            about.trials,
            len(about.tasks),
        )
        self._about[index] = About()
        self._up.discard(index)
        self.shards[index] = self._start(index)

    def _start(self, index: int) -> Any:
        shards = len(self._about)
        environment = {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}
        remote = ray.remote(Shard).options(name=f"replay-{next(SERIALS)}", num_cpus=0, runtime_env=environment)
        return remote.remote(index, shards, self._capacity // shards)
