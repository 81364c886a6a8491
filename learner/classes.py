"""How streams of examples and answers are read: by agents that compare an example with those of each class, and by
those that take inner steps on what they have been told."""

from typing import NamedTuple

from gymnasium import spaces
from torch import Tensor

from ..envs.errors import BadInput, brief, require
from .encoders import Encoder, build_encoder
from .encoders.flat import FlatLeaf
from .encoders.split import Entries, Split
from .problem import Problem


def check_classes(problem: Problem) -> int:
    """The number of classes among which an answer chooses.

    Raises:
        BadInput: the problem is none of classes and examples, as those of `envs.fewshot` are.
    """
    space, action = problem.observation_space, problem.action_space
    ways = int(action.n) if isinstance(action, spaces.Discrete) else 0
    entries = space.spaces if isinstance(space, spaces.Dict) else {}
    if not ways or [*entries] != ["answer", "example"] or entries["answer"] != spaces.Discrete(ways + 1):
        raise BadInput(
            f"the observation space is {brief(space)}; expected a Dict of an example and of the answer to the one "
            "before, Discrete(n + 1) where one of n classes is answered, such as that of strokes."
        )
    return ways


class Shown(NamedTuple):
    """What an observation of a stream shows."""

    example: Tensor
    """[..., *shape], as it is stored."""
    answer: Tensor
    """To the step before, a member of the action space [..., *]; any, where it is not told."""
    told: Tensor
    """bool [...]: whether it is."""


class ExampleStream:
    """Observations of examples and of the answers to those before, taken apart.

    Those of classes are as `check_classes` has them; those of numbers have a third entry, `told`, and an answer that is
    as an action.
    """

    def __init__(self, problem: Problem) -> None:
        """Raises:
        BadInput: the problem is another.
        """
        space, self._numbers = problem.observation_space, isinstance(problem.action_space, spaces.Box)
        entries = space.spaces if isinstance(space, spaces.Dict) else {}
        if self._numbers and not (
            [*entries] == ["answer", "example", "told"]
            and entries["answer"] == problem.action_space
            and entries["told"] == spaces.Discrete(2)
        ):
            raise BadInput(
                f"the observation space is {brief(space)}; expected a Dict of an example, of the answer to the one "
                "before, a Box as that of actions, and of told, Discrete(2), such as that of sinusoid."
            )
        self._ways = 0 if self._numbers else check_classes(problem)
        assert isinstance(space, spaces.Dict)
        self.example_space = space.spaces["example"]
        self._entries = Entries(space)

    def __call__(self, observation: Tensor) -> Shown:
        """Of observations as they are stored, [..., *]."""
        answer, example, *told = self._entries(observation)
        if self._numbers:
            return Shown(example, answer, told[0] == 1)
        return Shown(example, answer.clamp(max=self._ways - 1), answer < self._ways)


class Labelled(Split):
    """An answer, a 1 among -1s, and then the embedding of an example, side by side: [..., ways + 1 + width]."""

    def __init__(self, problem: Problem, encoder: str) -> None:
        """Args:
        problem: of classes and examples.
        encoder: of an example, see `encoders`.

        Raises:
            BadInput: the problem is another, or the encoder learns nothing.
        """
        self.ways = check_classes(problem)

        def make(leaf: spaces.Space) -> Encoder:
            return FlatLeaf(leaf) if isinstance(leaf, spaces.Discrete) else build_encoder(encoder, leaf)

        super().__init__(problem.observation_space, make)
        require(any(True for _ in self.parameters()), "encoder", encoder, "one that learns")
        self.embedding = self.width - self.ways - 1
        """Width of an example's embedding."""


class Seen(NamedTuple):
    """What a memory is shown at a step: `Labelled` of the step, and of the one before."""

    embedded: Tensor
    """Of the example, [..., width]."""
    told: Tensor
    """The answer to the example before, [..., ways], a 1 among 0s; all 0 where it is not told."""
    before: Tensor
    """The example before, [..., width]."""

    @classmethod
    def of(cls, x: Tensor, ways: int) -> "Seen":
        """From [..., 2 (ways + 1 + width)]."""
        now, before = x.chunk(2, -1)
        return cls(now[..., ways + 1 :], (now[..., :ways] > 0).to(x.dtype), before[..., ways + 1 :])
