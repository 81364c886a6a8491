"""What the store lends to an off-policy update: batches of transitions and of whole trials, drawn by task."""

from collections.abc import Iterator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from ..envs.errors import require
from .trajectory import Trajectory

PRIVILEGED = "privileged."
"""Before the names of what is known in training alone."""

Array = TypeVar("Array")


class Steps(NamedTuple, Generic[Array]):
    """N transitions of each of M tasks: [M, N, ...] each."""

    observation: Array
    action: Array
    """As the environment received it."""
    reward: Array
    """float32, in the task's units, as the agent saw it."""
    outer_reward: Array
    """float32: what the outer loop learns from, most often the same."""
    next_observation: Array
    """Where the transition has no successor, any observation."""
    terminated: Array
    """bool: the MDP ended the episode; what would have followed is worth nothing."""


class Request(NamedTuple):
    """A batch of transitions by task."""

    tasks: int
    """Tasks in the batch, M."""
    steps: int
    """Transitions of each, from all that is kept of it. Where an episode was cut in the middle of a trial, the
    observation that followed is not known: that transition is never among them."""
    context: tuple[int, ...] = ()
    """Lengths of a context: of each task, the first transitions of one of its recent trials, as many as one of these,
    drawn for each batch. A shorter trial's are repeated. Empty for no context.

    Of trials that began from a context, none is made, unless no others of the task are left."""
    window: int = 1
    """Trials of a task that are recent: its newest ones."""
    successors: bool = False
    """The context, too, needs the next observation."""

    def of_one_length(self, rng: np.random.Generator) -> "Request":
        """The same with one of the context's lengths."""
        return self._replace(context=(int(rng.choice(self.context)),)) if self.context else self


class Sample(NamedTuple):
    """What a `Request` is answered with."""

    tasks: np.ndarray
    """int64 [M]"""
    steps: Steps[np.ndarray]
    context: Steps[np.ndarray] | None


class Sampler(Protocol):
    """What the store lends to an off-policy update: batches, fetched ahead where they come from elsewhere."""

    @property
    def played(self) -> int:
        """Environment steps that the run has put into the store, kept or not."""
        ...

    def batches(self, request: Request, count: int, rng: np.random.Generator) -> Iterator[Sample]:
        """Batches of transitions. Tasks are drawn uniformly from those of which something is kept, independently.

        Args:
            request: of one batch.
            count: batches.
            rng: of the draws.
        """
        ...

    def trials(self, tasks: int, count: int, rng: np.random.Generator) -> Iterator[Trajectory]:
        """Batches of whole trials of this many tasks, one each; tasks, and a task's trials, are drawn uniformly."""
        ...

    def contexts(self, tasks: Sequence[int], window: int, most: int = 0) -> list[Trajectory | None]:
        """What is recent of each of these tasks, to begin a trial from: its newest trials, one after the other.

        Args:
            tasks: any.
            window: trials, at most; those that began from a context only where no others are left.
            most: steps, the first ones; 0 for all.

        Returns:
            See `learner.contexts`; None for a task of which nothing is kept.
        """
        ...


class Both(NamedTuple):
    """What an algorithm learns from that consumes fresh trajectories and replay."""

    fresh: Trajectory
    """Whole trials, which are in replay too."""
    replay: Sampler


def choose(tasks: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of the tasks, drawn uniformly and independently.

    Raises:
        BadInput: no task to choose from.
    """
    require(len(tasks) > 0, "the replay", "empty", "trials of some task")
    return rng.choice(tasks, count)


def join(samples: Sequence[tuple[np.ndarray, Sample]]) -> Sample:
    """One sample of several, each with the places that its tasks have in the whole, ascending."""
    if len(samples) == 1:
        return samples[0][1]
    order = np.argsort(np.concatenate([places for places, _ in samples]))

    def whole(parts: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(parts)[order]

    def steps(parts: Sequence[Steps[np.ndarray]]) -> Steps[np.ndarray]:
        return Steps(*(whole(arrays) for arrays in zip(*parts, strict=True)))

    contexts = [sample.context for _, sample in samples if sample.context is not None]
    return Sample(
        whole([sample.tasks for _, sample in samples]),
        steps([sample.steps for _, sample in samples]),
        steps(contexts) if contexts else None,
    )
