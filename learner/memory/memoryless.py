"""No memory at all, to compare with."""

from torch import Tensor, nn

from .api import State


class Memoryless(nn.Module):
    """No memory at all, to compare with: a layer that sees the observation alone, nothing of the step before."""

    observation_only = True

    def __init__(self, input_size: int, hidden: int, steps: int = 0) -> None:
        super().__init__()
        self.layer = nn.Linear(input_size, hidden)

    def initial(self, rows: int) -> State:
        return ()

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self.layer(x).tanh(), state

    def unroll(self, x: Tensor) -> Tensor:
        return self.layer(x).tanh()

    def unroll_from(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self.unroll(x), state
