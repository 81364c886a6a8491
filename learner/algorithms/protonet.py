"""Prototypical networks: the answer is the class whose examples lie nearest on average (Snell et al. 2017,
arXiv:1703.05175).

p(y = k | x) is proportional to exp(-|f(x) - c_k|²), where c_k is the mean of f over the examples of class k that have
been seen with their answers (equations 1 and 2). A class without examples has its prototype at 0. What is learned is f.
"""

from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor, nn

from ...envs.errors import BadInput, brief, require
from ..answers import Answers
from ..api import Problem
from ..encoders import Encoder, build_encoder, parse_encoder
from ..encoders.flat import FlatLeaf
from ..encoders.split import Split
from ..memory import State
from .taught import Taught


@dataclass(frozen=True, kw_only=True)
class ProtoNet(Taught):
    """Prototypical networks, on families of classes with examples."""

    encoder: str = "auto"
    """The embedding f of an example: auto (cnn for images), cnn, mlp, or package.module:attribute; with its options as
    in cnn,width=64."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_encoder(self.encoder)

    def build(self, problem: Problem) -> Answers:
        """Raises:
        BadInput: the observations are no examples beside the answer to the one before.
        """
        ways = check_classes(problem)
        observation = Labelled(problem.observation_space, self.encoder)
        learns = any(True for _ in observation.parameters())
        require(learns, "encoder", self.encoder, "one that learns")
        memory = Prototypes(ways, observation.width - ways - 1)
        return Answers(problem, observation, memory, nn.Identity(), nn.Identity())


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


class Labelled(Split):
    """An answer as FlatLeaf has it, with a 1 among -1s, and then the embedding of an example."""

    def __init__(self, space: spaces.Space, encoder: str) -> None:
        def make(leaf: spaces.Space) -> Encoder:
            return FlatLeaf(leaf) if isinstance(leaf, spaces.Discrete) else build_encoder(encoder, leaf)

        super().__init__(space, make)


class Prototypes(nn.Module):
    """Sums and numbers of the embeddings of each class, as a memory; it gives minus the squared distances to the means.

    An input is [answer told, example, answer told before, example before], the first and the second of which belong to
    the example before and to this one.
    """

    def __init__(self, ways: int, width: int) -> None:
        super().__init__()
        self._ways, self._width = ways, width

    def initial(self, rows: int) -> State:
        return torch.zeros(rows, self._ways * self._width), torch.zeros(rows, self._ways)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        embedded, told, before = self._parts(x)
        sums, counts = (each.to(x.device) for each in state)
        sums = sums + (told.unsqueeze(-1) * before.unsqueeze(-2)).flatten(-2)
        counts = counts + told
        return self._logits(embedded, sums, counts), (sums, counts)

    def unroll(self, x: Tensor) -> Tensor:
        embedded, told, before = self._parts(x)
        sums = (told.unsqueeze(-1) * before.unsqueeze(-2)).flatten(-2).cumsum(0)
        return self._logits(embedded, sums, told.cumsum(0))

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The example's embedding, [..., width]; the answer to the one before, [..., ways], all 0 where it is not told;
        and its embedding."""
        now, before = x.chunk(2, -1)
        return now[..., self._ways + 1 :], (now[..., : self._ways] > 0).to(x.dtype), before[..., self._ways + 1 :]

    def _logits(self, embedded: Tensor, sums: Tensor, counts: Tensor) -> Tensor:
        means = sums.unflatten(-1, (self._ways, self._width)) / counts.clamp(min=1).unsqueeze(-1)
        return -(embedded.unsqueeze(-2) - means).square().sum(-1)
