"""Which trials are played next, and of which of the run's fixed training tasks."""

import itertools

import numpy as np

from ...actors.assignment import Assignment
from ...envs.errors import require
from ...learner.trajectory import Arrays


class TaskOrder:
    """Chooses tasks, and knows how each went: episodes seen, and the last return."""

    def __init__(self, tasks: int, order: str, seed: int) -> None:
        """Args:
        tasks: how many there are; 0 where every trial is of a new one.
        order: balanced or prioritised.
        seed: of the choice.
        """
        self._tasks, self._order, self._seed = tasks, order, seed
        self.episodes = np.zeros(tasks, np.int64)
        """Episodes seen of each task."""
        self.last_return = np.full(tasks, np.nan)
        """Of each task's last trial, undiscounted; NaN before the first."""
        self._starts: dict[int, int] = {}
        """Of iterations: the place of their first trial in the endless shuffle, which is where the one before ended."""

    def choose(self, iteration: int, trials: int) -> tuple[int, ...]:
        """The tasks of an iteration's trials; none where every trial is of a new task.

        Of an iteration whose predecessor was not chosen for, it is assumed that all had as many trials.
        """
        if not self._tasks:
            return ()
        start = self._starts.setdefault(iteration, iteration * trials)
        end = self._starts[iteration + 1] = start + trials
        if self._order == "balanced":
            return tuple(self._shuffled(place) for place in range(start, end))
        # In proportion to the rank of the last return, the worst first; what was never played is the worst.
        rank = np.empty(self._tasks)
        rank[np.argsort(np.nan_to_num(self.last_return, nan=-np.inf), kind="stable")] = np.arange(self._tasks, 0, -1)
        rng = np.random.default_rng((self._seed, iteration))
        return tuple(rng.choice(self._tasks, trials, p=rank / rank.sum()).tolist())

    def played(self, tasks: tuple[int, ...], returns: np.ndarray) -> None:
        """A trial of each of these tasks was played.

        Args:
            tasks: their numbers.
            returns: of its episodes, [B, episodes], NaN of those that were not reached. Where a task is played in
                several columns, which lie next to each other, their mean is its return.
        """
        index = np.array(tasks, np.int64)
        by_task = returns.reshape(len(index), -1, returns.shape[1])
        np.add.at(self.episodes, index, (~np.isnan(by_task)).sum((1, 2)))
        self.last_return[index] = np.nansum(by_task, 2).mean(1)

    def over(self, iteration: int) -> None:
        """Iterations before this one are over: their tasks will not be asked for again."""
        self._starts = {each: start for each, start in self._starts.items() if each >= iteration}

    def state(self) -> Arrays:
        """For `load`."""
        if not self._tasks:
            return {}
        starts = np.array([*self._starts.items()], np.int64).reshape(-1, 2)
        return {"tasks/episodes": self.episodes, "tasks/last_return": self.last_return, "tasks/starts": starts}

    def load(self, arrays: Arrays) -> None:
        """Take over what `state` gave, where it is there.

        Raises:
            BadInput: it is of another number of tasks.
        """
        for name in ("tasks/episodes", "tasks/last_return"):
            known = arrays.get(name, self.episodes).size
            require(known == self._tasks, "tasks", self._tasks, f"{known}, as many as the run has trained on")
        self.episodes = arrays.get("tasks/episodes", self.episodes).copy()
        self.last_return = arrays.get("tasks/last_return", self.last_return).copy()
        self._starts = dict(arrays.get("tasks/starts", np.zeros((0, 2), np.int64)).tolist())

    def _shuffled(self, place: int) -> int:
        """The task at a place of an endless sequence of shuffles of all tasks."""
        shuffle, index = divmod(place, self._tasks)
        return int(np.random.default_rng((self._seed, shuffle)).permutation(self._tasks)[index])


def assignments(
    iteration: int, trials: int, parts: int, tasks: tuple[int, ...] = (), episodes: int = 0
) -> list[Assignment]:
    """An iteration's trials in `parts` batches as equal as possible, of these fixed tasks or of new ones."""
    sizes = [trials // parts + (part < trials % parts) for part in range(parts)]
    starts = [0, *itertools.accumulate(sizes)]
    return [Assignment(iteration, p, size, tasks[starts[p] : starts[p + 1]], episodes) for p, size in enumerate(sizes)]
