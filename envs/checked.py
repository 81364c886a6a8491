"""The boundary to a family's MDPs: everything that their code returns is parsed here, once."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .api import Bools, Step, TaskFamily, Tasks, VectorEnv
from .boundary import name_of, parse_rows, parse_step
from .errors import BadInput, ask, require
from .measures import Over
from .seeding import Random, SideBySide


def make(family: TaskFamily, tasks: Tasks, rng: Random, measures: Mapping[str, Over]) -> VectorEnv:
    """The MDPs that the tasks describe.

    Args:
        family: makes them.
        tasks: parsed.
        rng: source of all their randomness. With `SideBySide`, a family that does not support it makes each part's
            MDPs separately.
        measures: those that the family names.

    Raises:
        BadInput: `make` returned the same object for two parts.
        EnvironmentRaised: the family's own code raised.
    """

    def checked(tasks: Tasks, rng: Random) -> Checked:
        return Checked(family, tasks, rng, measures)

    if not isinstance(rng, SideBySide) or getattr(family, "side_by_side", False):
        return checked(tasks, rng)
    batches = [
        checked({name: array[columns] for name, array in tasks.items()}, own)
        for own, columns in zip(rng.generators(), rng.columns, strict=True)
    ]
    if len({id(batch.env) for batch in batches}) < len(batches):
        raise BadInput(
            f"{name_of(family)}'s make returned the same object for two batches; expected a new one for each."
        )
    return batches[0] if len(batches) == 1 else Joined(batches, rng.columns)


class Checked:
    """A family's `VectorEnv` whose results are parsed."""

    def __init__(self, family: TaskFamily, tasks: Tasks, rng: Random, measures: Mapping[str, Over]) -> None:
        """Args: see `make`."""
        self.name, self._who = name_of(family), name_of(family, "the environment")
        build: Callable[..., VectorEnv] = family.make  # which takes `SideBySide` where the family says so
        self.env = ask(self.name, "make", build, tasks, rng)
        self._space, self._measures, self._n = family.observation_space, measures, len(next(iter(tasks.values())))
        self._answers = family.action_space if getattr(family, "answers", False) else None
        self.privileged: dict[str, tuple[np.dtype, tuple[int, ...]]] | None = None
        """Names, types and shapes, as the first step had them."""

    def reset(self, rows: Bools) -> np.ndarray:
        """Raises:
        BadInput: the observation is outside its space.
        EnvironmentRaised: the environment's own code raised.
        """
        observation = ask(self.name, "reset", self.env.reset, rows.copy())
        return parse_rows(f"{self._who}'s observation", observation, self._space, self._n)

    def step(self, action: np.ndarray) -> Step:
        """Raises:
        BadInput: it returned something outside its spaces, or other names than before.
        EnvironmentRaised: its own code raised.
        """
        # A copy: an environment that changes its action in place must not change what the agent did.
        step = ask(self.name, "step", self.env.step, action.copy())
        step = parse_step(self._who, step, self._space, self._n)
        if step.measures.keys() != self._measures.keys():
            raise BadInput(
                f"the measures of a step of {self.name} are {', '.join(step.measures) or 'none'}; expected "
                f"{', '.join(self._measures) or 'none'}, as its family's `measures` says."
            )
        if self._answers is not None:
            what, given = f"the answer of {self._who}", step.privileged.get("answer")
            require(given is not None, what, given, "the right action of each row, as its family says that it gives")
            step = step._replace(
                privileged={**step.privileged, "answer": parse_rows(what, given, self._answers, self._n)}
            )
        found = {name: (array.dtype, array.shape[1:]) for name, array in step.privileged.items()}
        if self.privileged is None:
            self.privileged = found
        elif found != self.privileged:
            raise BadInput(
                f"what is privileged of a step of {self.name} is {found}; expected {self.privileged}, as before."
            )
        return step


class Joined:
    """Several batches as one."""

    def __init__(self, batches: Sequence[Checked], columns: Sequence[slice]) -> None:
        """Args:
        batches: of one family.
        columns: the rows of each.
        """
        self._batches, self._columns = batches, columns
        self._seen: list[np.ndarray] = []
        self._alike = False

    def reset(self, rows: Bools) -> np.ndarray:
        needed = [bool(rows[columns].any()) for columns in self._columns]
        self._seen = [
            batch.reset(rows[columns]) if need else self._seen[index]
            for index, (batch, columns, need) in enumerate(zip(self._batches, self._columns, needed, strict=True))
        ]
        return np.concatenate(self._seen)

    def step(self, action: np.ndarray) -> Step:
        steps = [batch.step(action[columns]) for batch, columns in zip(self._batches, self._columns, strict=True)]
        self._seen = [step.observation for step in steps]
        if not self._alike:  # from the second step on, each batch is compared with itself
            self._compare([batch.privileged for batch in self._batches])
        return Step(
            observation=np.concatenate(self._seen),
            reward=np.concatenate([step.reward for step in steps]),
            terminated=np.concatenate([step.terminated for step in steps]),
            truncated=np.concatenate([step.truncated for step in steps]),
            diverged=np.concatenate([np.broadcast_to(step.diverged, len(step.reward)) for step in steps]),
            privileged=_joined([step.privileged for step in steps]),
            measures=_joined([step.measures for step in steps]),
        )

    def _compare(self, privileged: Sequence[object]) -> None:
        for found in privileged:
            if found != privileged[0]:
                raise BadInput(
                    f"what is privileged of a step of {self._batches[0].name} is {found}; expected {privileged[0]}, as "
                    "in another batch."
                )
        self._alike = True


def _joined(named: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([each[name] for each in named]) for name in named[0]}
