"""Gated recurrent networks, by the library's kernels."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from .api import State


def _orthogonal(recurrent: nn.Module) -> None:
    """Each gate's recurrent matrix orthogonal, biases 0: gradients neither vanish nor burst at the start."""
    _, recurrent_weight, *biases = (parameter.detach() for parameter in recurrent.parameters())
    for gate in recurrent_weight.split(recurrent_weight.shape[1]):
        nn.init.orthogonal_(gate)
    for bias in biases:
        nn.init.zeros_(bias)


class GRU(nn.Module):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078)."""

    def __init__(self, input_size: int, hidden: int, steps: int = 0) -> None:
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
        return _in_float32(self.gru, x)[0]

    def unroll_from(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, h = _in_float32(self.gru, x, state[0].unsqueeze(0))
        return y, (h[0],)


class LSTM(nn.Module):
    """Long short-term memory (Hochreiter & Schmidhuber 1997). On CPUs its library kernel is the fastest gated one."""

    def __init__(self, input_size: int, hidden: int, steps: int = 0) -> None:
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
        return self._unrolled(x, None)[0]

    def unroll_from(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, (h, c) = self._unrolled(x, (state[0].unsqueeze(0), state[1].unsqueeze(0)))
        return y, (h[0], c[0])

    def _unrolled(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> Any:
        if x.is_cuda or not kernel_takes_bfloat16():
            return _in_float32(self.lstm, x, state)
        return self.lstm(x, state)


def _in_float32(network: nn.RNNBase, x: Tensor, state: Any = None) -> Any:
    """Also where bfloat16 is asked for: a CPU's GRU is slower in it, and a GPU's kernels would take float16 instead,
    whose range gradients leave."""
    with torch.autocast(x.device.type, enabled=False):
        return network(x.to(next(network.parameters()).dtype), state)


@cache
def kernel_takes_bfloat16() -> bool:
    """On a CPU without instructions for it, the library's LSTM fails in bfloat16, or takes ten times as long."""
    return not torch.backends.mkldnn.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
