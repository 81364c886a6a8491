"""Which trials begin from the context of their task, and what that is."""

import numpy as np

from ...actors.assignment import Assignment
from ...learner.api import Recall
from ...learner.contexts import join
from ...learner.sampling import Sampler
from ...learner.trajectory import Trajectory

DRAW = 1
"""Of an iteration's random choices, this one."""


class Recalls:
    """Chooses them as an iteration is asked for, so that an assignment that is played again begins from the same."""

    def __init__(self, recall: Recall, replay: Sampler, seed: int) -> None:
        """Args:
        recall: how many, and from how much.
        replay: has the contexts.
        seed: of the choice.
        """
        self._recall, self._replay, self._seed = recall, replay, seed
        self.contexts: dict[Assignment, Trajectory] = {}
        """Of the assignments that may still be played, a column per trial; not of those that begin from nothing."""

    def choose(self, assignments: list[Assignment]) -> list[Assignment]:
        """All of an iteration's assignments, with those trials marked that begin from a context."""
        tasks = np.array([task for each in assignments for task in each.tasks], np.int64)
        if not self._recall.share or not len(tasks):
            return assignments
        rng = np.random.default_rng((self._seed, assignments[0].iteration, DRAW))
        wanted = np.unique(tasks[drawn := rng.random(len(tasks)) < self._recall.share]).tolist()
        known = dict(zip(wanted, self._replay.contexts(wanted, 1, self._recall.steps), strict=True))
        marked, flags = [], iter(drawn.tolist())
        for each in assignments:
            own = [known[task] if next(flags) else None for task in each.tasks]
            if contexts := join(own, [1] * len(own)):
                each = each._replace(from_context=tuple(int(context is not None) for context in own))
                self.contexts[each] = contexts
            marked.append(each)
        return marked

    def over(self, iteration: int) -> None:
        """Iterations before this one are over: they will not be played again."""
        self.contexts = {each: own for each, own in self.contexts.items() if each.iteration >= iteration}
