"""minGRU: a linear recurrence whose gate sees the input alone, trained by a parallel scan (Feng et al. 2024,
arXiv:2410.01201)."""

import math

import torch
from torch import Tensor, nn

from .api import Chain, Residual, State, wide
from .scan import linear_recurrence


class MinGRU(Chain):
    """minGRU: a linear recurrent memory trained by parallel scan (Feng et al. 2024, arXiv:2410.01201).

    A gate that does not see the state can keep or replace, but not compare: several layers make up for it.
    """

    def __init__(self, input_size: int, hidden: int, steps: int = 255, *, layers: int = 2) -> None:
        """Args:
        layers: of recurrence, each followed by a small network.
        """
        parts = [Residual(Recurrence(hidden, steps), hidden, hidden) for _ in range(layers)]
        super().__init__(nn.Linear(input_size, hidden), parts, nn.LayerNorm(hidden))


class Recurrence(nn.Module):
    """h[t] = (1 - z[t]) h[t - 1] + z[t] c[t] with gate z = sigmoid(linear(x)), candidate c = linear(x) (section 3.1).

    The first gates keep for 2 steps up to the whole trial, spread evenly on a logarithmic scale (as Tallec & Ollivier
    2018, arXiv:1804.11188): there are channels for every distance from the start.
    """

    caches = 1

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.gates = nn.Linear(width, 2 * width)
        kept = torch.linspace(math.log(2), math.log(max(2, steps)), width).exp()
        with torch.no_grad():
            self.gates.bias[:width] = -(kept - 1).log()

    def initial(self, rows: int) -> State:
        return (self.gates.weight.new_zeros(rows, self.gates.in_features),)

    def step(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        gate, candidate = wide(self.gates(x)).chunk(2, -1)
        h = torch.lerp(state[0], candidate, gate.sigmoid())
        return h, (h,)

    def unroll(self, x: Tensor) -> Tensor:
        gate, candidate = wide(self.gates(x)).chunk(2, -1)
        return linear_recurrence((-gate).sigmoid(), gate.sigmoid() * candidate)

    def unroll_from(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        gate, candidate = wide(self.gates(x)).chunk(2, -1)
        h = linear_recurrence((-gate).sigmoid(), gate.sigmoid() * candidate, state[0])
        return h, (h[-1],)
