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
    squared distances to the means, but for the square of the example's own embedding, which all classes share: what is
    left is linear in it (section 2.4)."""

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
        by_class = sums.unflatten(-1, (self._ways, self._width))
        along = (by_class @ embedded.unsqueeze(-1)).squeeze(-1)
        return _logits(along, by_class.square().sum(-1), counts), (sums, counts)

    def unroll(self, x: Tensor) -> Tensor:
        """From products of examples alone: the means at every step, [T, B, ways, width], would be many times larger."""
        embedded, told, before = (each.transpose(0, 1) for each in Seen.of(x, self._ways))  # [B, T, ...]
        until = torch.ones(x.shape[0], x.shape[0], device=x.device).tril()
        along = (embedded @ before.mT * until) @ told
        own = before @ before.mT
        earlier = (own * until.tril(-1)) @ told  # of an example with the sums before it
        square = (told * (2 * earlier + own.diagonal(0, 1, 2).unsqueeze(-1))).cumsum(1)
        return _logits(along, square, told.cumsum(1)).transpose(0, 1)


def _logits(along: Tensor, square: Tensor, counts: Tensor) -> Tensor:
    """2 f(x) c_k - |c_k|², [..., ways].

    Args:
        along: f(x) times the sum of the embeddings of each class.
        square: of these sums.
        counts: how many embeddings are in each.
    """
    counts = counts.clamp(min=1)
    return (2 * along - square / counts) / counts
