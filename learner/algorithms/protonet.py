"""Prototypical networks: the answer is the class whose examples lie nearest on average (Snell et al. 2017,
arXiv:1703.05175).

p(y = k | x) is proportional to exp(-|f(x) - c_k|²), where c_k is the mean of f over the examples of class k that have
been seen with their answers (equations 1 and 2). A class without examples has its prototype at 0. What is learned is f.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..classes import Seen
from ..memory import Memory, State
from .taught import Comparing


@dataclass(frozen=True, kw_only=True)
class ProtoNet(Comparing):
    """Prototypical networks, on families of classes with examples."""

    def memory(self, ways: int, width: int, steps: int) -> Memory:
        return Prototypes(ways, width)


class Prototypes(nn.Module):
    """Sums and numbers of the embeddings of each class, as a memory of what `Seen` has at each step; it gives minus the
    squared distances to the means."""

    def __init__(self, ways: int, width: int) -> None:
        super().__init__()
        self._ways, self._width = ways, width

    def initial(self, rows: int) -> State:
        return torch.zeros(rows, self._ways * self._width), torch.zeros(rows, self._ways)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        embedded, told, before = Seen.of(x, self._ways)
        sums, counts = (each.to(x.device) for each in state)
        sums = sums + (told.unsqueeze(-1) * before.unsqueeze(-2)).flatten(-2)
        counts = counts + told
        return self._logits(embedded, sums, counts), (sums, counts)

    def unroll(self, x: Tensor) -> Tensor:
        embedded, told, before = Seen.of(x, self._ways)
        sums = (told.unsqueeze(-1) * before.unsqueeze(-2)).flatten(-2).cumsum(0)
        return self._logits(embedded, sums, told.cumsum(0))

    def _logits(self, embedded: Tensor, sums: Tensor, counts: Tensor) -> Tensor:
        means = sums.unflatten(-1, (self._ways, self._width)) / counts.clamp(min=1).unsqueeze(-1)
        return -(embedded.unsqueeze(-2) - means).square().sum(-1)
