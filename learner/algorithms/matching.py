"""Matching networks: the answer is that of the examples that are most alike (Vinyals et al. 2016, arXiv:1606.04080).

P(y | x) is the sum of a(x, x_i) over the examples x_i with that answer, where a is the softmax of the cosine between
f(x) and f(x_i) (equations 1 and section 2.1.1, with one embedding for both and without full context embeddings). Only
examples whose answers have been told count; a class without any counts as one example that is as unlike as can be, with
a cosine of -1. What is learned is f.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..classes import Seen
from ..memory import Memory, State
from .taught import Comparing


@dataclass(frozen=True, kw_only=True)
class Matching(Comparing):
    """Matching networks, on families of classes with examples."""

    def memory(self, ways: int, width: int, steps: int) -> Memory:
        return Matches(ways, width, steps)


class Matches(nn.Module):
    """The embeddings of all examples, as a memory of what `Seen` has at each step; it gives the logarithms of the sums
    of exp(cosine) over the examples of each class."""

    def __init__(self, ways: int, width: int, steps: int) -> None:
        super().__init__()
        self._ways, self._width, self._steps = ways, width, steps

    def initial(self, rows: int) -> State:
        """The newest examples [B, steps * width], their answers [B, steps * ways], how many there were [B, 1]."""
        sizes = (self._steps * self._width, self._steps * self._ways)
        return *(torch.zeros(rows, size) for size in sizes), torch.zeros(rows, 1, dtype=torch.int64)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        embedded, told, before = Seen.of(x, self._ways)
        keys, answers, position = (each.to(x.device) for each in state)
        place = (torch.arange(self._steps, device=x.device) == position % self._steps).unsqueeze(-1)
        keys = torch.where(place, _unit(before).unsqueeze(1), keys.unflatten(1, (self._steps, self._width)))
        answers = torch.where(place, told.unsqueeze(1), answers.unflatten(1, (self._steps, self._ways)))
        alike = (keys @ _unit(embedded).unsqueeze(-1)).squeeze(-1)  # [B, steps]
        logits = _of_classes(alike.unsqueeze(1), answers).squeeze(1)
        return logits, (keys.flatten(1), answers.flatten(1), position + 1)

    def unroll(self, x: Tensor) -> Tensor:
        embedded, told, before = (each.transpose(0, 1) for each in Seen.of(x, self._ways))  # [B, T, ...]
        alike = _unit(embedded) @ _unit(before).transpose(1, 2)  # [B, T, T]
        known = torch.ones(alike.shape[1:], device=x.device).tril()  # up to the example before
        return _of_classes(alike, told, known).transpose(0, 1)


def _unit(embedded: Tensor) -> Tensor:
    return functional.normalize(embedded, dim=-1)


def _of_classes(alike: Tensor, answers: Tensor, known: Tensor | None = None) -> Tensor:
    """log of the sums of exp(cosine) over the examples of each class, [B, T, ways].

    Args:
        alike: cosines with each example, [B, T, examples].
        answers: of the examples, [B, examples, ways], a 1 among 0s; all 0 of one that is not told.
        known: [T, examples], a 1 for those that were seen by then; None for all.
    """
    weight = alike.exp() if known is None else alike.exp() * known
    sums = weight @ answers
    return torch.where(sums > 0, sums.clamp(min=1e-30).log(), torch.full_like(sums, -1.0))
