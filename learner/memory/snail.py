"""SNAIL: temporal convolutions gather experience, attention picks from it (Mishra et al. 2017, arXiv:1707.03141)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from .api import Chain, State
from .attention import Attention, whole_trial


class SNAIL(Chain):
    """SNAIL: dense blocks of dilated causal convolutions, and causal attention, by turns (Mishra et al. 2017).

    As in the paper's agents: each block's convolutions reach back over the whole trial, with dilations 1, 2, 4 ...;
    every layer's output is put beside its input. A step reads caches: it costs as much as the window holds.
    """

    def __init__(
        self,
        input_size: int,
        hidden: int,
        steps: int = 255,
        *,
        blocks: int = 2,
        filters: int = 32,
        keys: int = 16,
        window: int = 0,
    ) -> None:
        """Args:
        blocks: of convolutions, each followed by attention.
        filters: of each convolution.
        keys: width of the attention's keys, and of its values.
        window: inputs that attention sees; 0 for the whole trial, 1,024 at most.
        """
        parts, width = [], input_size
        for _ in range(blocks):
            for layer in range(max(1, math.ceil(math.log2(steps + 1)))):
                parts.append(Dense(width, filters, 2**layer))
                width += filters
            parts.append(Read(width, keys, whole_trial(window, steps)))
            width += keys
        super().__init__(nn.Identity(), parts, nn.Linear(width, hidden))


class Dense(nn.Module):
    """A causal convolution of two taps, gated, beside its input (section 3.1 and figure 2a)."""

    caches = 1

    def __init__(self, width: int, filters: int, dilation: int) -> None:
        super().__init__()
        self._size, self.dilation = 2 * filters, dilation
        # What the earlier and the later tap make of an input, for filter and gate: one product, then a shift.
        self.taps = nn.Linear(width, 2 * self._size, bias=False)
        self.bias = nn.Parameter(torch.zeros(self._size))
        bound = 1 / math.sqrt(2 * width)
        nn.init.uniform_(self.taps.weight, -bound, bound)

    def initial(self, rows: int) -> State:
        # A slot more than the dilation: what a step writes over is then no part of the state before it.
        return (self.bias.new_zeros(rows, (self.dilation + 1) * self._size),)

    def step(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        later, earlier = self.taps(x).split(self._size, -1)
        slots = self.dilation + 1
        ring = state[0].view(-1, slots, self._size)
        row, slot = torch.arange(len(x), device=x.device), position.squeeze(-1)
        ring[row, slot % slots] = earlier.to(ring.dtype)
        return self._gated(x, later + ring[row, (slot + 1) % slots]), state  # 0, before the trial's start

    def unroll(self, x: Tensor) -> Tensor:
        later, earlier = self.taps(x).split(self._size, -1)
        reached = max(0, len(x) - self.dilation)
        return self._gated(x, later + pad(earlier[:reached], (0, 0, 0, 0, len(x) - reached, 0)))

    def unroll_from(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        later, earlier = self.taps(x).split(self._size, -1)
        slots, steps = self.dilation + 1, len(x)
        ring, row = state[0].view(-1, slots, self._size), torch.arange(x.shape[1], device=x.device)[:, None]
        index = torch.arange(min(steps, self.dilation), device=x.device)
        past = ring[row, (position + index - self.dilation) % slots].transpose(0, 1)  # 0, before the trial's start
        convolved = later + torch.cat([past.to(earlier.dtype), earlier[: steps - len(index)]])
        newest = torch.arange(max(0, steps - slots), steps, device=x.device)
        ring = ring.index_put((row, (position + newest) % slots), earlier[newest].transpose(0, 1).to(ring.dtype))
        return self._gated(x, convolved), (ring.flatten(1),)

    def _gated(self, x: Tensor, convolved: Tensor) -> Tensor:
        out, gate = (convolved + self.bias).chunk(2, -1)
        return torch.cat([x, out.tanh() * gate.sigmoid()], -1)


class Read(nn.Module):
    """Causal attention of one head, beside its input (section 3.1 and figure 2c)."""

    caches = Attention.caches

    def __init__(self, width: int, keys: int, window: int) -> None:
        super().__init__()
        self.attention = Attention(width, 1, keys, window, rotary=False)

    def initial(self, rows: int) -> State:
        return self.attention.initial(rows)

    def step(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        read, state = self.attention.step(x, state, position)
        return torch.cat([x, read], -1), state

    def unroll(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.attention.unroll(x)], -1)

    def unroll_from(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        read, state = self.attention.unroll_from(x, state, position)
        return torch.cat([x, read], -1), state
