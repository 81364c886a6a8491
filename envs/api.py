"""What a family of MDPs offers: tasks to sample, and N of them stepped as one batch.

A *task* is one MDP drawn from p(M). A family is a small frozen object (usually a dataclass whose
fields are its options); the tasks it samples are plain arrays, so they travel and are stored as they are.
"""

from typing import Literal, NamedTuple, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

Tasks = dict[str, np.ndarray]
"""The parameters of N MDPs: name to array, every array with leading axis N."""

Split = Literal["train", "test"]

Bools = NDArray[np.bool_]


class Step(NamedTuple):
    """What one step of N MDPs gives."""

    observation: np.ndarray
    """[N, ...], each a member of the family's observation space; where the episode ended, its last observation."""
    reward: np.ndarray
    """float32 [N], in the task's units."""
    terminated: Bools
    """[N]: the MDP itself ended the episode; what would have followed is worth nothing."""
    truncated: Bools
    """[N]: the episode was cut (a time limit); what would have followed is still worth something."""
    diverged: Bools | np.bool_ = np.False_
    """[N], or False for all: the episode was cut because its simulation broke down; it counts as truncated."""
    dense: np.ndarray | None = None
    """float32 [N]: a reward that is known in training alone, which the outer loop learns from in place of `reward`. The
    agent is never shown it."""


class VectorEnv(Protocol):
    """N MDPs of one family, stepped as one batch.

    What it returns is checked and copied (`boundary`): it may use its arrays again. The actions that it is given are
    its own, to change as it likes.

    A row whose episode has ended and which was not reset may be stepped on: it must not fail; what it returns must be
    finite, and is not used.
    """

    def reset(self, rows: Bools) -> np.ndarray:
        """Begin a new episode in the rows that are True, [N]; returns the observations of all N rows."""
        ...

    def step(self, action: np.ndarray) -> Step:
        """Take one action per row, [N, ...]."""
        ...


class TaskFamily(Protocol):
    """A distribution p(M) over MDPs that share their spaces.

    Disjointness: a family with a finite set of tasks gives "train" and "test" different members of it; a family with a
    continuous distribution may ignore `split`, because the caller draws the two from different random streams. None of
    a finite set comes twice in one `sample` before all have come (`seeding.in_rounds`).

    A family whose MDPs are large may have an attribute `rows: int`: how many of them evaluation plays side by side, at
    most (one task's `width` rows in any case); without it, 2,000.
    """

    @property
    def observation_space(self) -> gymnasium.Space:
        """Of one MDP: `Discrete` or `Box`."""
        ...

    @property
    def action_space(self) -> gymnasium.Space:
        """Of one MDP: `Discrete` or `Box`."""
        ...

    @property
    def horizon(self) -> int:
        """Steps after which every episode has ended."""
        ...

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        """Draw n tasks. All randomness comes from `rng`."""
        ...

    def make(self, tasks: Tasks, rng: np.random.Generator) -> VectorEnv:
        """The MDPs that `tasks` describes; all randomness of their steps comes from `rng`."""
        ...
