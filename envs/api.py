"""What a family of MDPs offers: tasks to sample, and N of them stepped as one batch.

A *task* is one MDP drawn from p(M). A family is a small frozen object, usually a dataclass whose fields are its
options. The tasks it samples are plain arrays, which can be sent and stored unchanged.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import gymnasium
import numpy as np
from numpy.typing import NDArray

Tasks = dict[str, np.ndarray]
"""The parameters of N MDPs: name to array, every array with leading axis N."""

Split = Literal["train", "test"]

Bools = NDArray[np.bool_]

NOTHING: Mapping[str, np.ndarray] = MappingProxyType({})


class Step(NamedTuple):
    """What one step of N MDPs gives."""

    observation: np.ndarray
    """[N, ...], each a member of the family's observation space; where the episode ended, its last observation."""
    reward: np.ndarray
    """float32 [N], in the task's units."""
    terminated: Bools
    """[N]: the MDP itself ended the episode; the value of the next state is zero."""
    truncated: Bools
    """[N]: the episode was cut off, as by a time limit: the next state still has a value."""
    diverged: Bools | np.bool_ = np.False_
    """[N], or False for all rows: the simulation broke down and ended the episode, which counts as truncated."""
    privileged: Mapping[str, np.ndarray] = NOTHING
    """What is known in training alone, name to numbers [N, ...], the same names at every step. The agent never sees it.
    `reward`, float32 [N]: what the outer loop learns from instead of the reward that the agent sees."""
    measures: Mapping[str, np.ndarray] = NOTHING
    """Measures of this step, name to [N]: those that the family names."""


class VectorEnv(Protocol):
    """N MDPs of one family, stepped as one batch.

    What it returns is checked and copied (see `boundary`), so it may reuse its arrays. It owns the actions it is given
    and may modify them.

    A row whose episode has ended may be stepped without a reset: the step must not fail, and must return finite values,
    which are ignored.
    """

    def reset(self, rows: Bools) -> np.ndarray:
        """Begin a new episode in the rows that are True, [N]; returns the observations of all N rows."""
        ...

    def step(self, action: np.ndarray) -> Step:
        """Take one action per row, [N, ...]."""
        ...


class TaskFamily(Protocol):
    """A distribution p(M) over MDPs that share their spaces.

    Disjointness: a family with a finite set of tasks splits it between "train" and "test"; a family with a continuous
    distribution may ignore `split`, because the caller uses different random streams for the two. One `sample` from a
    finite set repeats no task before it has drawn all of them (see `seeding.in_rounds`).

    A family whose MDPs are large may have an attribute `rows: int`, the maximum number of MDPs that evaluation plays at
    once (at least one task's `rollouts_per_task`); the default is 2,000.

    A family with a finite set of tasks says how large it is (`Finite`), so that evaluation plays each equally often.

    A family whose train and test tasks are the same ones, as it was published, says so: `same_tasks = True`.

    A family whose MDPs are independent of each other and draw only through the methods of `seeding.SideBySide` may set
    `side_by_side = True`: `make` is then called once for several parts, with such an `rng`. Otherwise it is called once
    per part.

    A family of examples, whose steps give the right action as `privileged["answer"]`, an array of actions, and whose
    actions make no difference to what comes next, says so: `answers = True`.

    A family that reads files may have a method `prepare()`, which reads them or raises `BadInput`: it is called before
    a run begins, so that nothing is written where they are missing. An agent is loaded without it.

    A family whose steps have `measures` names them in an attribute `measures`: name to how an episode's number is made
    of its steps', "last", "sum" or "ever" (see `measures.Over`).
    """

    @property
    def observation_space(self) -> gymnasium.Space:
        """Of one MDP: `Discrete`, `MultiDiscrete`, `MultiBinary`, `Box`, or `Dict` or `Tuple` of these. Of the latter,
        observations are mappings or tuples of arrays [N, ...]."""
        ...

    @property
    def action_space(self) -> gymnasium.Space:
        """Of one MDP: `Discrete`, `MultiDiscrete`, `MultiBinary` or a `Box` of floats."""
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


@runtime_checkable
class Finite(Protocol):
    """A family with a finite set of tasks."""

    def task_count(self, split: Split) -> int:
        """How many different tasks a split has; 0 for no end of them."""
        ...
