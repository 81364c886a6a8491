"""What every memory offers, and the parts of which those with a cache are made."""

from collections.abc import Sequence
from itertools import islice
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""What is carried from step to step; every tensor is [B, n], a row for each trial, so that `torch.where` with a [B, 1]
condition chooses between two states row by row: to restart a trial in some rows, or to skip a step in others."""


class Memory(Protocol):
    """A module of `input_size` inputs and `hidden` outputs; what it makes of an input depends on those before it."""

    def initial(self, rows: int) -> State:
        """The state before a trial's first input."""
        ...

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One input x [B, input_size]; returns the output [B, hidden] and the next state.

        The state that was given may be written over (a cache is not copied at every step). It can still be chosen
        instead of the new one, but no step can be taken from it again.
        """
        ...

    def unroll(self, x: Tensor) -> Tensor:
        """Whole trials x [T, B, input_size] from the initial state; returns the outputs [T, B, hidden]."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A memory that unrolls from any state at once; of another one, `unroll_from` takes step after step."""

    def unroll_from(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Segments of trials x [T, B, input_size], T at least 1, from a state, which is left as it is. Returns the
        outputs [T, B, hidden] and the state after them; differentiable with respect to both."""
        ...


def unroll_from(memory: Memory, x: Tensor, state: State) -> tuple[Tensor, State]:
    """See `Resumable`."""
    if isinstance(memory, Resumable):
        return memory.unroll_from(x, state)
    outputs = []
    for each in x:
        y, state = memory.step(each, tuple(tensor.clone() for tensor in state))
        outputs.append(y)
    return torch.stack(outputs), state


def choose_rows(rows: Tensor, new: State, old: State) -> State:
    """The new state in some rows, the old one in the others.

    Args:
        rows: bool [B].
        new: state of B rows.
        old: state of B rows.
    """
    return tuple(torch.where(rows.unsqueeze(-1), *pair) for pair in zip(new, old, strict=True))


class MakeMemory(Protocol):
    """A memory's constructor. Its keyword-only arguments (bool, int, float or str, with defaults) are its options."""

    def __call__(self, input_size: int, hidden: int, steps: int, /) -> Memory:
        """Args:
        input_size: width of the inputs.
        hidden: width of the outputs.
        steps: of the longest trial that it is made for. A longer one is no error, but what lies further back than
            this may have been forgotten.
        """
        ...


def observation_only(make: MakeMemory) -> bool:
    """Whether RL² shows this memory the current observation alone, without the previous action, reward and done: where
    its class says so, in an attribute of this name."""
    return bool(getattr(getattr(make, "func", make), "observation_only", False))


class Part(Protocol):
    """A layer that remembers. It is told how many inputs each row has had, so that its caches can be rings."""

    caches: int
    """How many tensors it carries from step to step."""

    def initial(self, rows: int) -> State:
        """Its caches before a trial's first input."""
        ...

    def step(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        """One input [B, width] in, one output out; position is int64 [B, 1], 0 at the trial's first input."""
        ...

    def unroll(self, x: Tensor) -> Tensor:
        """Whole trials [T, B, width]."""
        ...

    def unroll_from(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        """Segments of trials [T, B, width]; position is int64 [B, 1], of the first input."""
        ...


class Chain(nn.Module):
    """A memory of parts in a row, between two layers that do not remember."""

    def __init__(self, inlet: nn.Module, parts: Sequence[Part], outlet: nn.Module) -> None:
        super().__init__()
        self.inlet, self.outlet = inlet, outlet
        self.parts = nn.ModuleList(cast(Sequence[nn.Module], parts))

    def initial(self, rows: int) -> State:
        position = torch.zeros(rows, 1, dtype=torch.int64, device=next(self.parameters()).device)
        return position, *(cache for part in self._each() for cache in part.initial(rows))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        position, *rest = state
        x, given, after = self.inlet(x), iter(rest), [position + 1]
        for part in self._each():
            x, caches = part.step(x, tuple(islice(given, part.caches)), position)
            after += caches
        return self.outlet(x), tuple(after)

    def unroll(self, x: Tensor) -> Tensor:
        x = self.inlet(x)
        for part in self._each():
            x = part.unroll(x)
        return self.outlet(x)

    def unroll_from(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        position, *rest = state
        given, after = iter(rest), [position + len(x)]
        x = self.inlet(x)
        for part in self._each():
            x, caches = part.unroll_from(x, tuple(islice(given, part.caches)), position)
            after += caches
        return self.outlet(x), tuple(after)

    def _each(self) -> Sequence[Part]:
        return cast(Sequence[Part], self.parts)


class Residual(nn.Module):
    """A pre-norm residual block: a layer with memory, then an MLP (Xiong et al. 2020, arXiv:2002.04745)."""

    def __init__(self, part: Part, width: int, read_width: int) -> None:
        """Args:
        part: remembers; `width` inputs.
        width: of the inputs and outputs.
        read_width: width of the part's outputs.
        """
        super().__init__()
        self.part, self.caches = part, part.caches
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.proj = nn.Linear(read_width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def initial(self, rows: int) -> State:
        return self.part.initial(rows)

    def step(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        read, state = self.part.step(self.norm1(x), state, position)
        return self._add(x, read), state

    def unroll(self, x: Tensor) -> Tensor:
        x = wide(x)
        return self._add(x, self.part.unroll(self.norm1(x)))

    def unroll_from(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        x = wide(x)
        read, state = self.part.unroll_from(self.norm1(x), state, position)
        return self._add(x, read), state

    def _add(self, x: Tensor, read: Tensor) -> Tensor:
        x = x + self.proj(read)
        return x + self.mlp(self.norm2(x))


def wide(x: Tensor) -> Tensor:
    """In float32 at least: sums over many steps or layers need more digits than bfloat16 has."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
