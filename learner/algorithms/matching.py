"""Matching networks: the answer is that of the examples that are most alike (Vinyals et al. 2016, arXiv:1606.04080).

P(y | x) is the sum of a(x, x_i) over the examples x_i with that answer, where a is the softmax of the cosine between
f(x) and g(x_i) (equations 1 and section 2.1.1). Only examples whose answers have been told count; a class without any
counts as one example that is as unlike as can be, with a cosine of -1. What is learned is the embedding, one for both,
and with full context embeddings (section 2.1.2) also what the examples make of each other and of x.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...envs.errors import require
from ..classes import Seen
from ..memory import Memory, State
from .taught import Comparing

MOST_READS = 100
"""Of the examples, for one embedding."""


@dataclass(frozen=True, kw_only=True)
class Matching(Comparing):
    """Matching networks, on families of classes with examples."""

    full_context: bool = False
    """Full context embeddings: what is embedded depends on all examples that have been told, and on their order."""
    reads: int = 5
    """With full context: how often an example is embedded again in view of the others (K)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.reads <= MOST_READS, "reads", self.reads, f"at least 1, at most {MOST_READS}")

    def memory(self, ways: int, width: int, steps: int) -> Memory:
        return Matches(ways, width, steps, FullContext(width, self.reads) if self.full_context else None)


class Matches(nn.Module):
    """The embeddings of the examples that have been told, as a memory of what `Seen` has at each step; it gives the
    logarithms of the sums of exp(cosine) over the examples of each class."""

    def __init__(self, ways: int, width: int, steps: int, context: "FullContext | None" = None) -> None:
        super().__init__()
        self._ways, self._width, self._steps, self.context = ways, width, steps, context

    def initial(self, rows: int) -> State:
        """The newest examples [B, steps * width], their answers [B, steps * ways], how many there were [B, 1]."""
        sizes = (self._steps * self._width, self._steps * self._ways)
        return *(torch.zeros(rows, size) for size in sizes), torch.zeros(rows, 1, dtype=torch.int64)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        embedded, told, before = Seen.of(x, self._ways)
        keys, answers, count = (each.to(x.device) for each in state)
        one = told.any(-1, keepdim=True)
        place = ((torch.arange(self._steps, device=x.device) == count % self._steps) & one).unsqueeze(-1)
        keys = torch.where(place, before.unsqueeze(1), keys.unflatten(1, (self._steps, self._width)))
        answers = torch.where(place, told.unsqueeze(1), answers.unflatten(1, (self._steps, self._ways)))
        count = count + one
        # In the order in which they came, as far back as is kept.
        kept = count.clamp(max=self._steps)
        order = (torch.arange(self._steps, device=x.device) + count - kept) % self._steps  # [B, steps]
        seen, own = (each.gather(1, order.unsqueeze(-1).expand_as(each)) for each in (keys, answers))
        logits = self._logits(embedded.unsqueeze(1), seen, own, kept)
        return logits.squeeze(1), (keys.flatten(1), answers.flatten(1), count)

    def unroll(self, x: Tensor) -> Tensor:
        embedded, told, before = (each.transpose(0, 1) for each in Seen.of(x, self._ways))  # [B, T, ...]
        one = told.any(-1)
        order = (~one).long().argsort(dim=1, stable=True).unsqueeze(-1)  # what was told comes first
        seen, own = (each.gather(1, order.expand_as(each)) for each in (before, told))
        counts = one.cumsum(1)
        most = max(1, int(counts.max()))
        seen, own = seen[:, :most], own[:, :most]
        if self.context is None:
            return self._logits(embedded, seen, own, counts).transpose(0, 1)
        found, start = [], 0
        changes = torch.cat(
            [(counts[:, 1:] != counts[:, :-1]).any(0), torch.ones(1, dtype=torch.bool, device=x.device)]
        )
        for end in (changes.nonzero().flatten() + 1).tolist():  # steps that know the same examples
            found.append(self._logits(embedded[:, start:end], seen, own, counts[:, start : start + 1]))
            start = end
        return torch.cat(found, 1).transpose(0, 1)

    def _logits(self, embedded: Tensor, seen: Tensor, own: Tensor, counts: Tensor) -> Tensor:
        """log of the sums of exp(cosine) over the examples of each class, [B, T, ways].

        Args:
            embedded: [B, T, width].
            seen: examples that were told, [B, N, width], in their order.
            own: their answers, [B, N, ways], a 1 among 0s.
            counts: how many of them are known, int64 [B, T] or, for all steps, [B, 1].
        """
        known = torch.arange(seen.shape[1], device=seen.device) < counts.unsqueeze(-1)  # [B, T or 1, N]
        if self.context is not None:
            embedded, seen = self.context(embedded, seen, counts)
        alike = functional.normalize(embedded, dim=-1) @ functional.normalize(seen, dim=-1).mT
        sums = (alike.exp() * known) @ own
        return torch.where(sums > 0, sums.clamp(min=1e-30).log(), torch.full_like(sums, -1.0))


class FullContext(nn.Module):
    """Full context embeddings (section 2.1.2 and appendix A): a bidirectional LSTM over the examples that are known,
    and an LSTM that reads them by attention before it answers."""

    def __init__(self, width: int, reads: int) -> None:
        super().__init__()
        self._reads = reads
        self.forwards, self.backwards = nn.LSTM(width, width), nn.LSTM(width, width)
        self.attending = nn.Linear(3 * width, 4 * width)

    def forward(self, embedded: Tensor, seen: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """f(x, S) and g(x_i, S).

        Args:
            embedded: f'(x), [B, T, width].
            seen: g'(x_i), [B, N, width].
            counts: how many of the examples are known, [B, 1].
        """
        place = torch.arange(seen.shape[1], device=seen.device)
        known = place < counts  # [B, N]
        back = torch.where(known, counts - 1 - place, place).unsqueeze(-1).expand_as(seen)  # which is its own inverse
        ahead = self.forwards(seen.transpose(0, 1))[0].transpose(0, 1)
        behind = self.backwards(seen.gather(1, back).transpose(0, 1))[0].transpose(0, 1).gather(1, back)
        context = seen + ahead + behind
        h, c = torch.zeros_like(embedded), torch.zeros_like(embedded)
        read = torch.zeros_like(embedded)
        for _ in range(self._reads):  # equations 3 to 6
            add, forget, new, out = self.attending(torch.cat([embedded, h, read], -1)).chunk(4, -1)
            c = forget.sigmoid() * c + add.sigmoid() * new.tanh()
            h = out.sigmoid() * c.tanh() + embedded
            alike = (h @ context.mT).masked_fill(~known.unsqueeze(1), -torch.inf)
            read = torch.nan_to_num(alike.softmax(-1)) @ context  # 0 where nothing is known
        return h, context
