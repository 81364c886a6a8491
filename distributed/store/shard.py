"""A Ray actor that keeps the trials of its share of the tasks, and puts batches together where they are."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...actors.assignment import Assignment
from ...learner.replay import Replay
from ...learner.sampling import Request, Sample
from ...learner.trajectory import Arrays, Trajectory

REMEMBERED = 10_000
"""Assignments that are recognised when they come again."""


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
        self._had: OrderedDict[tuple[int, int], None] = OrderedDict()

    def append(
        self, assignments: Sequence[Assignment], indices: Sequence[int], together: Sequence[Trajectory]
    ) -> tuple[int, About]:
        """Keep this shard's columns of trajectories, which are read where they lie; returns their steps.

        Args:
            assignments: those that were played. One that was played again, because it was lost before another shard had
                read it, is not kept twice.
            indices: of their trajectories in `together`.
            together: the list that an actor returned.
        """
        before = self._replay.played
        for assignment, index in zip(assignments, indices, strict=True):
            place, tasks = (assignment.iteration, assignment.part), assignment.tasks
            if place in self._had:
                continue
            self._had[place] = None
            if len(self._had) > REMEMBERED:
                self._had.popitem(last=False)
            own = [column for column, task in enumerate(tasks) if self._owns(task)]
            self._replay.append([*tasks], together[index], own, assignment.from_context)
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

    def contexts(self, tasks: list[int], window: int, most: int) -> list[Trajectory | None]:
        """See `Sampler.contexts`."""
        return self._replay.contexts(tasks, window, most)

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
