"""Replay: whole trials by task, kept as long as they fit, and sampled as batches over tasks.

All steps of all trials lie in one ring of slots, a trial's next to each other (the first slot follows the last) and one
slot more for its last observation. When the ring is full, the oldest trials make room for the new one, whichever task
they are of: kept are the newest trials that fit, whatever came before them.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..envs.errors import BadInput, require
from .contexts import first_steps, in_a_row
from .sampling import PRIVILEGED, Request, Sample, Steps, choose
from .trajectory import Arrays, Trajectory


class _Trial(NamedTuple):
    number: int
    """Of all trials ever appended here, in their order."""
    task: int
    start: int
    length: int
    version: int
    """Of the weights that played it."""
    from_context: bool
    """It began from a context: no other context is made of it."""


class Replay:
    """Trials by task, in this process's memory; a `Sampler` of them."""

    def __init__(self, capacity: int) -> None:
        """Args:
        capacity: bytes, at most; the memory is taken as it is filled.

        Raises:
            BadInput: less than one byte.
        """
        require(capacity >= 1, "capacity", capacity, "at least 1 byte")
        self._capacity = capacity
        self._slots = self._head = self._used = 0
        self._ring: Arrays = {}  # what is kept of a step; `episode` is its index in the trial
        self._trials: deque[_Trial] = deque()
        self._by_task: dict[int, deque[_Trial]] = {}
        self._from_nothing: dict[int, deque[_Trial]] = {}  # of these, those that did not begin from a context
        self._usable: dict[int, np.ndarray] = {}
        self.appended = 0
        """Trials ever appended."""
        self.evicted = 0
        """Trials that made room for newer ones."""
        self.played = 0

    def __len__(self) -> int:
        """Trials kept."""
        return len(self._trials)

    @property
    def steps(self) -> int:
        """Steps kept."""
        return sum(trial.length for trial in self._trials)

    @property
    def nbytes(self) -> int:
        """Bytes that the kept trials occupy."""
        return self._used * self._slot_bytes

    @property
    def tasks(self) -> np.ndarray:
        """The tasks of which something is kept, ascending, int64."""
        return np.array(sorted(self._by_task), np.int64)

    @property
    def _slot_bytes(self) -> int:
        return sum(array[:1].nbytes for array in self._ring.values())

    def append(
        self,
        tasks: Sequence[int],
        trajectory: Trajectory,
        columns: Sequence[int] | None = None,
        from_context: Sequence[int] = (),
    ) -> None:
        """Keep a trajectory's trials; the oldest make room.

        Args:
            tasks: the task of each column.
            trajectory: one column per task.
            columns: which to keep; None for all.
            from_context: 1 for each column that began from a context, 0 for the others; empty for none.

        Raises:
            BadInput: a trial alone is larger than the capacity.
        """
        valid, done = trajectory.valid, trajectory.done
        episode = np.cumsum(done, axis=0) - done
        for column in range(len(tasks)) if columns is None else columns:
            length = int(valid[:, column].sum())
            if not valid[:length, column].all():
                raise ValueError("a column waits between its episodes; replay takes one row per task")
            arrays = {name: getattr(trajectory, name) for name in ("action", "reward", "terminated", "truncated")}
            arrays |= {"episode": episode.astype(np.int32)}
            arrays |= {PRIVILEGED + name: array for name, array in trajectory.privileged.items()}
            rows = {name: _one_more(array[:length, column]) for name, array in arrays.items()}
            seen = {"observation": trajectory.observation}
            rows |= {name: array[: length + 1, column] for name, array in seen.items()}
            self._keep(tasks[column], trajectory.version, bool(from_context and from_context[column]), rows)

    def draw_steps(self, tasks: np.ndarray, request: Request, rng: np.random.Generator) -> Sample:
        """Transitions of these tasks, each drawn uniformly and independently from what is kept of its task.

        Args:
            tasks: [M], members of `tasks`; one may occur several times.
            request: how many; its `tasks` is not looked at, and the context has the first of its lengths.
            rng: of the draws.
        """
        steps = np.stack([_draw(self._transitions(task), request.steps, rng) for task in tasks])
        context = None
        if request.context:
            context = self._steps(np.stack([self._beginning(task, request, rng) for task in tasks]))
        return Sample(np.asarray(tasks, np.int64), self._steps(steps), context)

    def batches(self, request: Request, count: int, rng: np.random.Generator) -> Iterator[Sample]:
        for _ in range(count):
            tasks = choose(self.tasks, request.tasks, rng)
            yield self.draw_steps(tasks, request.of_one_length(rng), rng)

    def trials(self, tasks: int, count: int, rng: np.random.Generator) -> Iterator[Trajectory]:
        for _ in range(count):
            yield self.draw_trials(choose(self.tasks, tasks, rng), rng)

    def contexts(self, tasks: Sequence[int], window: int, most: int = 0) -> list[Trajectory | None]:
        return [self._context(task, window, most) if task in self._by_task else None for task in tasks]

    def draw_trials(self, tasks: np.ndarray, rng: np.random.Generator) -> Trajectory:
        """A whole trial of each of these tasks, drawn uniformly from those that are kept, as columns."""
        return self._columns([self._by_task[task][rng.integers(len(self._by_task[task]))] for task in tasks])

    def _columns(self, drawn: Sequence[_Trial]) -> Trajectory:
        longest = max(trial.length for trial in drawn)
        step = np.arange(longest + 1)[:, None]
        start, length = (np.array([getattr(trial, name) for trial in drawn]) for name in ("start", "length"))
        slot = (start + np.minimum(step, length)) % self._slots  # a shorter trial's last slot is repeated
        valid = step[:-1] < length
        of = {name: array.take(slot, 0) for name, array in self._ring.items()}
        return Trajectory(
            observation=of["observation"],
            action=of["action"][:-1],
            reward=of["reward"][:-1] * valid,
            terminated=of["terminated"][:-1] & valid,
            truncated=of["truncated"][:-1] & valid,
            valid=valid,
            privileged={
                name.removeprefix(PRIVILEGED): np.where(valid.reshape(*valid.shape, *[1] * (a.ndim - 2)), a[:-1], 0)
                for name, a in of.items()
                if name.startswith(PRIVILEGED)
            },
            version=min(trial.version for trial in drawn),
        )

    def export(self, after: int = 0) -> Arrays:
        """Trials appended since `appended` was `after`, as plain arrays for `restore`; those evicted are left out."""
        trials = [trial for trial in self._trials if trial.number >= after]
        slot = np.concatenate([np.zeros(0, np.int64), *(self._around(t.start, t.length + 1) for t in trials)])
        about = np.array([(t.task, t.length, t.version, t.from_context) for t in trials], np.int64).reshape(-1, 4)
        return {"trials": about} | {name: array.take(slot, 0) for name, array in self._ring.items()}

    def restore(self, arrays: Arrays, wanted: Callable[[int], bool] = lambda task: True) -> None:
        """Append what `export` gave, in the same order; of the wanted tasks alone."""
        start = 0
        for task, length, version, from_context in arrays["trials"].tolist():
            if wanted(task):
                rows = {name: array[start : start + length + 1] for name, array in arrays.items() if name != "trials"}
                self._keep(task, version, bool(from_context), rows)
            start += length + 1

    def _keep(self, task: int, version: int, from_context: bool, rows: Arrays) -> None:
        needed = len(rows["observation"])
        if not self._ring:
            each = sum(array[:1].nbytes for array in rows.values())
            self._slots = self._capacity // each
            self._require_room(needed)
            self._ring = {name: np.empty((self._slots, *a.shape[1:]), a.dtype) for name, a in rows.items()}
        self._require_room(needed)
        while self._used + needed > self._slots:
            self._evict_oldest()
        slot = self._around(self._head, needed)
        for name, array in rows.items():
            self._ring[name][slot] = array
        trial = _Trial(self.appended, task, self._head, needed - 1, version, from_context)
        self._trials.append(trial)
        self._by_task.setdefault(task, deque()).append(trial)
        if not from_context:
            self._from_nothing.setdefault(task, deque()).append(trial)
        self._usable.pop(task, None)
        self._head = (self._head + needed) % self._slots
        self._used += needed
        self.appended += 1
        self.played += needed - 1

    def _require_room(self, needed: int) -> None:
        if needed > self._slots:
            raise BadInput(
                f"the replay's capacity is {self._capacity} bytes, room for {max(self._slots - 1, 0)} steps; "
                f"expected room for a trial, {needed - 1} steps."
            )

    def _evict_oldest(self) -> None:
        trial = self._trials.popleft()
        for by_task in (self._by_task,) if trial.from_context else (self._by_task, self._from_nothing):
            own = by_task[trial.task]
            own.popleft()
            if not own:
                del by_task[trial.task]
        self._usable.pop(trial.task, None)
        self._used -= trial.length + 1
        self.evicted += 1

    def _around(self, start: int, length: int) -> np.ndarray:
        """Slots next to each other."""
        return np.arange(start, start + length) % self._slots

    def _transitions(self, task: int) -> np.ndarray:
        """The slots of a task's transitions whose successor is known or does not matter."""
        if task not in self._usable:
            self._usable[task] = self._with_successor(self._of(self._by_task[task]))
        return self._usable[task]

    def _with_successor(self, slot: np.ndarray, needed: bool = False) -> np.ndarray:
        """Without those where an episode was cut and the trial went on; where the successor is needed even of a
        transition that ended its episode, without all where the trial went on."""
        unknown = self._ring["episode"][slot] != self._ring["episode"][(slot + 1) % self._slots]
        return slot[~(unknown if needed else unknown & ~self._ring["terminated"][slot])]

    def _of(self, trials: Sequence[_Trial] | deque[_Trial]) -> np.ndarray:
        """The slots of all steps of some trials."""
        return np.concatenate([self._around(trial.start, trial.length) for trial in trials])

    def _recent(self, task: int, window: int) -> list[_Trial]:
        """The newest trials of a task that did not begin from a context; where none of those is left, of the others."""
        own = self._from_nothing.get(task) or self._by_task[task]
        return [own[index] for index in range(max(0, len(own) - window), len(own))]

    def _context(self, task: int, window: int, most: int) -> Trajectory:
        whole = in_a_row([self._columns([trial]) for trial in self._recent(task, window)])
        return first_steps(whole, most) if most else whole

    def _beginning(self, task: int, request: Request, rng: np.random.Generator) -> np.ndarray:
        """The slots of the first transitions of a recent trial."""
        recent = self._recent(task, request.window)
        slot = self._of([recent[rng.integers(len(recent))]])
        if request.successors:
            slot = self._with_successor(slot, needed=True)
        return slot[np.arange(request.context[0]) % len(slot)]

    def _steps(self, slot: np.ndarray) -> Steps[np.ndarray]:
        ring = self._ring
        return Steps(
            ring["observation"].take(slot, 0),  # several times as fast as an index
            ring["action"].take(slot, 0),
            ring["reward"].take(slot, 0),
            ring.get(PRIVILEGED + "reward", ring["reward"]).take(slot, 0),
            ring["observation"].take((slot + 1) % self._slots, 0),
            ring["terminated"].take(slot, 0),
        )


def _draw(slot: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return slot[rng.integers(len(slot), size=count)]


def _one_more(array: np.ndarray) -> np.ndarray:
    """With its last row once more, for the slot of the last observation."""
    return np.concatenate([array, array[-1:]])
