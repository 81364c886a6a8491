"""What a policy remembers of a trial: interchangeable recurrent networks behind one interface.

`step` and `unroll` compute the same function; `step` one input at a time for acting, `unroll` a whole trial for
learning. A new memory is one class and one line in MEMORIES.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""What is carried from step to step; every tensor is [B, ...]."""


class Memory(Protocol):
    """A module of `input_size` inputs and `hidden` outputs."""

    def initial(self, rows: int) -> State:
        """The state before a trial's first input."""
        ...

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One input x [B, input_size]; returns the output [B, hidden] and the next state."""
        ...

    def unroll(self, x: Tensor) -> Tensor:
        """Whole trials x [T, B, input_size] from the initial state; returns the outputs [T, B, hidden]."""
        ...


def _orthogonal(recurrent: nn.Module) -> None:
    """Each gate's recurrent matrix orthogonal, biases 0: gradients neither vanish nor burst at the start."""
    _, recurrent_weight, *biases = (parameter.detach() for parameter in recurrent.parameters())
    for gate in recurrent_weight.split(recurrent_weight.shape[1]):
        nn.init.orthogonal_(gate)
    for bias in biases:
        nn.init.zeros_(bias)


class GRU(nn.Module):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078)."""

    def __init__(self, input_size: int, hidden: int) -> None:
        super().__init__()
        self._hidden = hidden
        self.gru = nn.GRU(input_size, hidden)
        _orthogonal(self.gru)

    def initial(self, rows: int) -> State:
        return (next(self.parameters()).new_zeros(rows, self._hidden),)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = torch.gru_cell(x, state[0], *self.gru.parameters())
        return h, (h,)

    def unroll(self, x: Tensor) -> Tensor:
        return self.gru(x)[0]


class LSTM(nn.Module):
    """Long short-term memory (Hochreiter & Schmidhuber 1997). On CPUs its library kernel is the fastest gated one."""

    def __init__(self, input_size: int, hidden: int) -> None:
        super().__init__()
        self._hidden = hidden
        self.lstm = nn.LSTM(input_size, hidden)
        _orthogonal(self.lstm)
        # An open forget gate at the start: memories of early steps reach the trial's end (Gers et al. 2000).
        input_bias = [*self.lstm.parameters()][2].detach()
        input_bias[hidden : 2 * hidden] = 1

    def initial(self, rows: int) -> State:
        zeros = next(self.parameters()).new_zeros(rows, self._hidden)
        return zeros, zeros

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h, c = torch.lstm_cell(x, state, *self.lstm.parameters())
        return h, (h, c)

    def unroll(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


class Memoryless(nn.Module):
    """No memory at all, to compare with: a layer that sees the observation alone, nothing of the step before."""

    def __init__(self, input_size: int, hidden: int) -> None:
        super().__init__()
        self.layer = nn.Linear(input_size, hidden)

    def initial(self, rows: int) -> State:
        return ()

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self.layer(x).tanh(), state

    def unroll(self, x: Tensor) -> Tensor:
        return self.layer(x).tanh()


MEMORIES: dict[str, Callable[[int, int], Memory]] = {"gru": GRU, "lstm": LSTM, "none": Memoryless}
"""Name to a constructor (input_size, hidden); what it makes is also an `nn.Module`."""
