"""Causal attention with cached keys and values, over a bounded window of inputs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from .api import State

MOST = 1_024
"""Inputs in the window of a memory that was not told how many: what a row's cache takes grows with them."""


def whole_trial(window: int, steps: int) -> int:
    """The window asked for; where none was, the inputs of a trial (one more than steps), MOST at most."""
    return window or min(steps + 1, MOST)


def attend(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    """`scaled_dot_product_attention`, whose gradients have the same bits every time.

    On a GPU that is the plain one, which keeps all scores: the others add up long trials' gradients in any order.
    """
    if not query.is_cuda:
        return scaled_dot_product_attention(query, key, value, **options)
    with sdpa_kernel(SDPBackend.MATH):
        return scaled_dot_product_attention(query, key, value, **options)


class Attention(nn.Module):
    """Each position attends to the `window` newest ones, itself included (Vaswani et al. 2017, arXiv:1706.03762).

    Keys have no bias: it would shift all scores of a query by the same amount.
    """

    caches = 2
    _frequencies: Tensor

    def __init__(self, width: int, heads: int, size: int, window: int, *, rotary: bool) -> None:
        """Args:
        width: of the inputs.
        heads: of attention.
        size: of each head's queries, keys and values; even, if rotary.
        window: positions that are attended to.
        rotary: scores depend on how far back a key lies (Su et al. 2021, arXiv:2104.09864), not on its content alone.
        """
        super().__init__()
        self.heads, self.size, self.window, self._rotary = heads, size, window, rotary
        # A slot more than the window: what a step writes over is then no part of the state before it.
        self._slots = window + 1
        self.query = nn.Linear(width, heads * size)
        self.key = nn.Linear(width, heads * size, bias=False)
        self.value = nn.Linear(width, heads * size)
        frequencies = 10_000 ** -torch.linspace(0, 1, size // 2 + 1)[:-1]
        self.register_buffer("_frequencies", frequencies, persistent=False)

    def initial(self, rows: int) -> State:
        size = self._slots * self.heads * self.size
        return self.key.weight.new_zeros(rows, size), self.key.weight.new_zeros(rows, size)

    def step(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        query, key, value = self._qkv(x, position)
        slot = (position % self._slots).squeeze(-1)
        row = torch.arange(len(x), device=x.device)
        held = min(int(position.max()) + 1, self._slots)
        seen = []
        for cache, new in zip(state, (key, value), strict=True):
            ring = cache.view(-1, self.heads, self._slots, self.size)
            ring[row, :, slot] = new.to(cache.dtype)
            seen.append(ring[:, :, :held])
        age = (position - torch.arange(held, device=x.device)) % self._slots  # of what each slot holds; 0 is the newest
        mask = (age <= position) & (age < self.window)
        read = attend(query.unsqueeze(2), *seen, attn_mask=mask[:, None, None])
        return read.flatten(1), state

    def unroll(self, x: Tensor) -> Tensor:
        steps = len(x)
        index = torch.arange(steps, device=x.device)
        query, key, value = (each.permute(1, 2, 0, 3) for each in self._qkv(x, index[:, None, None]))
        if steps <= self.window:
            read = attend(query, key, value, is_causal=True)
        else:
            age = index[:, None] - index
            mask = (age >= 0) & (age < self.window)
            read = attend(query, key, value, attn_mask=mask)
        return read.permute(2, 0, 1, 3).flatten(2)

    def unroll_from(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        steps, rows = x.shape[:2]
        index, row = (torch.arange(n, device=x.device) for n in (steps, rows))
        query, key, value = (
            each.permute(1, 2, 0, 3) for each in self._qkv(x, position.unsqueeze(0) + index[:, None, None])
        )
        # What came before, by its age at the first input; rows may have had fewer inputs than others.
        age = torch.arange(min(self.window - 1, int(position.max())), 0, -1, device=x.device)
        slot = (position - age) % self._slots
        rings = [cache.view(-1, self.heads, self._slots, self.size) for cache in state]
        seen = [
            torch.cat([ring[row[:, None], :, slot].transpose(1, 2).to(new.dtype), new], 2)
            for ring, new in zip(rings, (key, value), strict=True)
        ]
        past = (index[:, None] + age < self.window) & (age <= position)[:, None]
        own = index[:, None] - index
        mask = torch.cat([past, ((own >= 0) & (own < self.window)).expand(rows, -1, -1)], -1)
        read = attend(query, *seen, attn_mask=mask.unsqueeze(1))
        newest = index[-self._slots :]
        place = row[:, None], slice(None), (position + newest) % self._slots
        after = []
        for ring, new in zip(rings, (key, value), strict=True):
            ring = ring.clone()
            ring[place] = new[:, :, newest].transpose(1, 2).to(ring.dtype)
            after.append(ring.flatten(1))
        return read.permute(2, 0, 1, 3).flatten(2), tuple(after)

    def _qkv(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [..., heads, size] of inputs [..., width], at positions of shape [..., 1]."""
        query, key, value = (part(x).unflatten(-1, (self.heads, -1)) for part in (self.query, self.key, self.value))
        if self._rotary:
            angle = (position * self._frequencies).unsqueeze(-2)
            query, key = (self._rotated(each, angle).to(value.dtype) for each in (query, key))
        return query, key, value

    @staticmethod
    def _rotated(x: Tensor, angle: Tensor) -> Tensor:
        """Pairs of numbers turned by their angle: products of two turned vectors depend on the difference alone."""
        one, other = x.chunk(2, -1)
        cos, sin = angle.cos(), angle.sin()
        return torch.cat([one * cos - other * sin, one * sin + other * cos], -1)
