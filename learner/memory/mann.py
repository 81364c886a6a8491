"""A memory-augmented network: an LSTM that writes to slots, and reads those that are alike (Santoro et al. 2016,
arXiv:1605.06065)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...envs.errors import require
from .api import State
from .gated import LSTM


class MANN(nn.Module):
    """An external memory with least recently used access (section 3.2).

    At each step every head writes, where it read before or over the slot that was used least (equations 5 to 8), and
    then reads by cosine similarity (equations 2 to 4). As in neural Turing machines (Graves et al. 2014,
    arXiv:1410.5401), what is written is a vector of its own, not the key, and similarities are sharpened by a learned
    strength.
    """

    def __init__(
        self,
        input_size: int,
        hidden: int,
        steps: int = 0,
        *,
        slots: int = 128,
        width: int = 40,
        heads: int = 4,
        decay: float = 0.95,
    ) -> None:
        """Args:
        slots: of the memory.
        width: numbers in a slot.
        heads: that write and read.
        decay: of a slot's usage, per step.

        Raises:
            BadInput: more heads than slots, or a decay that is none.
        """
        super().__init__()
        require(heads <= slots, "heads", heads, f"at most as many as slots, {slots}")
        require(0 <= decay < 1, "decay", decay, "a number in [0, 1)")
        self._slots, self._width, self._heads, self._decay = slots, width, heads, decay
        self.controller = LSTM(input_size + heads * width, hidden)
        self.interface = nn.Linear(hidden, heads * (2 * width + 2))
        self.output = nn.Linear(hidden + heads * width, hidden)
        nn.init.orthogonal_(self.output.weight)

    def initial(self, rows: int) -> State:
        """The controller's state; memory, its usage, the weights of the last read, and what was read."""
        like, heads = self.output.weight, self._heads
        sizes = self._slots * self._width, self._slots, heads * self._slots, heads * self._width
        memory, *others = (like.new_zeros(rows, size) for size in sizes)
        return *self.controller.initial(rows), memory + 1e-6, *others

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h, c, memory, usage, reading, read = state
        with torch.autocast(x.device.type, enabled=False):
            return self._step(x.float(), h, c, memory, usage, reading, read)

    def unroll(self, x: Tensor) -> Tensor:
        outputs, state = [], self.initial(x.shape[1])
        for each in x:
            y, state = self.step(each, state)
            outputs.append(y)
        return torch.stack(outputs)

    def _step(
        self, x: Tensor, h: Tensor, c: Tensor, memory: Tensor, usage: Tensor, reading: Tensor, read: Tensor
    ) -> tuple[Tensor, State]:
        h, (_, c) = self.controller.step(torch.cat([x, read], -1), (h, c))
        by_head = self.interface(h).unflatten(-1, (self._heads, -1))
        key, added, gate, strength = by_head.split([self._width, self._width, 1, 1], -1)
        slots, reading = memory.unflatten(-1, (self._slots, self._width)), reading.unflatten(-1, (self._heads, -1))
        least = usage.argsort(dim=-1, stable=True)[:, : self._heads]  # a slot for each head
        unused = functional.one_hot(least, self._slots).to(usage.dtype)  # [B, heads, slots]
        gate = gate.sigmoid()
        writing = gate * reading + (1 - gate) * unused
        slots = slots * (1 - unused.sum(1)).unsqueeze(-1) + writing.mT @ added.tanh()
        alike = functional.normalize(key.tanh(), dim=-1) @ functional.normalize(slots, dim=-1, eps=1e-6).mT
        reading = ((1 + functional.softplus(strength)) * alike).softmax(-1)
        usage = self._decay * usage + (reading + writing).sum(1)
        read = (reading @ slots).flatten(1)
        y = self.output(torch.cat([h, read], -1))
        return y, (h, c, slots.flatten(1), usage, reading.flatten(1), read)
