"""The two interfaces of an algorithm: the inner loop adapts within a trial, the outer loop learns across trials.

How the three kinds of meta-RL fit, so that none of them needs a trainer of its own:

* **by memory** (RL²). `InnerLoop.act` advances a recurrent state; the state is the adaptation. The outer update is
  PPO over whole trials, on the trajectories of the newest weights.
* **by gradient** (MAML, ProMP). `InnerLoop.act` plays each row with its task's parameters and records what it saw.
  `rollouts_per_task` rows share a task; when all of them have finished an episode, the next `act` takes one inner step,
  batched over tasks, before it answers. Episode e of a trial is thus played after e inner steps: the actor plays,
  adapts and plays again inside one `collect`, and the adaptation curve is the return by episode. The outer update
  differentiates through the inner steps, and may be a trust-region step instead of an optimiser's.
* **by posterior** (PEARL). `InnerLoop.act` adds the step to the task's context and, where an episode begins, samples
  the latent again, z ~ q(z | context); `note["latent"]` holds it. The algorithm says that it `consumes` replay: the
  store then serves batches of what it keeps, sampled by task, instead of each trajectory once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from ..envs.api import Bools
from ..envs.errors import RunFailed
from .problem import Problem
from .trajectory import Trajectory

Metrics = dict[str, float]

MOST_LAYERS = 1_000
"""Of any network: each is an object of its own, made before its size is known."""


class Diverged(RunFailed):
    """A gradient that is not finite. Raised by an algorithm; the learner then is as it was before the update."""


def linear(start: float, end: float, progress: float) -> float:
    """What moves linearly from `start` to `end`, when a share `progress` of the run is done."""
    return start + progress * (end - start)


class InnerLoop(Protocol):
    """An agent that adapts: n rows at once, from what it sees alone.

    An agent whose rows are independent of each other and that draws only through the methods of
    `envs.seeding.SideBySide` may set `side_by_side = True`: an actor then plays several parts as one batch, otherwise
    one after the other.
    """

    @property
    def rollouts_per_task(self) -> int:
        """Adjacent rows that play the same task. Where there are several, each waits at the end of an episode until all
        have finished theirs, and all begin the next one together."""
        ...

    @property
    def note(self) -> Mapping[str, np.ndarray]:
        """What the last `act` leaves for the outer update, name to [n, ...] (log-probability, value, latent ...)."""
        ...

    def begin_trial(self, n: int, rng: np.random.Generator | None = None) -> None:
        """Forget everything: n rows of new, unknown tasks, a multiple of `rollouts_per_task`.

        `rng`, where given, is the source of all randomness from now on.
        """
        ...

    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        """Choose the next action of every row.

        Called once more after the last step of a trial, for the bootstrap value; the action is discarded.

        Args:
            observation: [n, ...], of the episodes now running.
            reward: float32 [n], for the previous action; 0 at the start of the trial, where it begins from a context
                that of its last step.
            done: bool [n], the previous action ended an episode; False at the start of the trial, where it begins from
                a context True. The inputs of a row that waits for the others are meaningless.

        Returns:
            [n, ...], members of the action space.
        """
        ...


@runtime_checkable
class Returning(InnerLoop, Protocol):
    """An inner loop that can return to a task: it may be handed what was seen of it before."""

    @property
    def remembers(self) -> Sequence[str]:
        """The notes of its own that it needs of what it is handed."""
        ...

    def begin_trial(self, n: int, rng: np.random.Generator | None = None, contexts: Trajectory | None = None) -> None:
        """Forget everything, and take up n rows of tasks.

        Args:
            n: a multiple of `rollouts_per_task`.
            rng: where given, the source of all randomness from now on.
            contexts: what is known of the tasks, see `learner.contexts`; None where all are unknown.
        """
        ...


def begin_trial(agent: InnerLoop, n: int, rng: Any, contexts: Trajectory | None) -> None:
    """Begin a trial from contexts, where there are any: only then must the agent be `Returning`."""
    begin: Callable[..., None] = agent.begin_trial
    begin(n, rng) if contexts is None else begin(n, rng, contexts)


T = TypeVar("T")
R = TypeVar("R")

Loss = Callable[[np.ndarray], tuple[Tensor, Mapping[str, Tensor]]]
"""From the indices of some trials to their share of the loss, and of each metric; shares add up to the whole."""


class Optimise(Protocol):
    """What the learner lends to an algorithm: threads, and guarded steps of its optimisers."""

    def parts(self, trials: np.ndarray, most: int = 2**62) -> list[np.ndarray]:
        """The trials in as many parts as threads share the work, or a multiple of it where a part would have more than
        `most`; none empty."""
        ...

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """What `function` makes of each item, in their order, computed in the threads, where gradients are recorded."""
        ...

    def __call__(
        self, loss: Loss, trials: np.ndarray, *, learning_rate: float, max_norm: float, optimiser: str = "adam"
    ) -> Metrics:
        """Take one step along the clipped gradient of `loss` over the trials.

        Args:
            loss: called with parts of `trials`, from several threads at once.
            trials: indices of the minibatch's trials.
            learning_rate: of this step.
            max_norm: gradients are clipped to this norm.
            optimiser: one of the algorithm's, by name; only its parameters are changed.

        Returns:
            The metrics' sums, and `gradient_norm` before clipping.

        Raises:
            Diverged: the gradient is not finite.
        """
        ...


Consumes = Literal["fresh", "replay", "both"]


class Algorithm(Protocol):
    """One way to learn to learn: a frozen dataclass whose fields are its hyperparameters."""

    @property
    def consumes(self) -> Consumes:
        """What an update learns from. `fresh`: trajectories of the newest weights, each once, in the order of the run.
        `replay`: batches of all that is kept. `both`."""
        ...

    def build(self, problem: Problem) -> nn.Module:
        """The model: everything that is learned. Parameters come from torch's global generator; the caller seeds it."""
        ...

    def inner_loop(self, model: nn.Module, problem: Problem, greedy: bool = False) -> InnerLoop:
        """The agent that `model` makes; it reads the model's parameters as they are at each call.

        Args:
            model: what `build` returned.
            problem: what it was built for.
            greedy: take the most probable action instead of drawing one, unless the draws are what adaptation learns
                from.
        """
        ...

    def optimisers(self, model: nn.Module) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by name, any number of them; their state is saved with the model."""
        ...

    def acts_with(self, name: str) -> bool:
        """Whether an actor needs this entry of the model's `state_dict` to play; the others are not broadcast."""
        ...

    def update(
        self, model: nn.Module, batch: Any, optimise: Optimise, progress: float, rng: np.random.Generator
    ) -> Metrics:
        """One meta-update of `model` in place.

        Args:
            model: what `build` returned.
            batch: what the algorithm consumes: a `Trajectory` of whole trials; a `Sampler` of all that is kept; or
                `sampling.Both`.
            optimise: makes the gradient steps.
            progress: share of the run that is done.
            rng: all randomness of the update.

        Returns:
            What happened: losses, entropy, KL, explained variance ...
        """
        ...


@runtime_checkable
class LearnsFromAnswers(Protocol):
    """An algorithm that learns from the right answers that its family gives (`TaskFamily`), where the actions make no
    difference to what comes next. Actors play without its agent then, and the update's metrics say what its own answers
    would have returned: `return`, `first_episode`, `last_episode` and those of `episodes.episode_entries`."""

    learns_from_answers: bool


class Recall(NamedTuple):
    """Trials that begin from the context of their task, where the store has one."""

    share: float
    """Of all trials."""
    steps: int
    """Of a context, at most: the first ones of the task's newest trial that did not begin so itself."""


@runtime_checkable
class Recalling(Protocol):
    """An algorithm that has some of its trials begin from a context; with fixed training tasks and replay."""

    def recall(self, problem: Problem) -> Recall:
        """Which trials, and from how much of it."""
        ...
