"""What is to be played: assignments in their order, and the contexts that trials of some of them begin from."""

import collections
from collections.abc import Iterable, Mapping, Sequence

import ray

from ...actors.assignment import Assignment
from ...learner.trajectory import Trajectory


class Waiting:
    """Assignments that wait for an actor."""

    def __init__(self) -> None:
        self._queue: collections.deque[Assignment] = collections.deque()
        self._contexts: dict[Assignment, ray.ObjectRef] = {}  # of those under way, too

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, assignments: Iterable[Assignment], contexts: Mapping[Assignment, Trajectory]) -> None:
        """At the end; at the beginning where they are held out, as somebody waits for them."""
        given = [*assignments]
        self.put_back([each for each in given if each.held_out])
        self._queue.extend(each for each in given if not each.held_out)
        self._contexts |= {each: ray.put(contexts[each]) for each in given if each in contexts}

    @property
    def held_out(self) -> bool:
        """Whether the next one is."""
        return self._queue[0].held_out

    def take(self, most: int) -> list[Assignment]:
        """The next ones, of one iteration; all held out, or none."""
        first, found = self._queue[0], []
        kind = first.iteration, first.held_out
        while self._queue and (self._queue[0].iteration, self._queue[0].held_out) == kind and len(found) < most:
            found.append(self._queue.popleft())
        return found

    def contexts_of(self, assignments: Iterable[Assignment]) -> list[ray.ObjectRef | None]:
        """References to their contexts; None for those whose trials begin from nothing."""
        return [self._contexts.get(each) for each in assignments]

    def put_back(self, assignments: Sequence[Assignment]) -> None:
        """At the beginning: they were taken, and not played."""
        self._queue.extendleft(reversed(assignments))

    def played(self, assignments: Iterable[Assignment]) -> None:
        """They were: their contexts are not needed any more."""
        for each in assignments:
            self._contexts.pop(each, None)
