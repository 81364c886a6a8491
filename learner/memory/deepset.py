"""A deep set: what was seen is summed, in any order (Zaheer et al. 2017, arXiv:1703.06114): the permutation-invariant
encoder as a memory."""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from .api import Chain, Residual, State, wide
from .scan import linear_recurrence


class DeepSet(Chain):
    """Deep set (Zaheer et al. 2017, arXiv:1703.06114, theorem 2): a function of the newest input, and of the sum of
    features of all inputs so far.

    For tasks whose experience says the same in any order, as bandits do. From a second layer on, what is summed depends
    on the order.
    """

    def __init__(self, input_size: int, hidden: int, steps: int = 255, *, layers: int = 1, features: int = 64) -> None:
        """Args:
        layers: of sums, each followed by a small network.
        features: that each layer sums.
        """
        parts = [Residual(Sums(hidden, features), hidden, features) for _ in range(layers)]
        super().__init__(nn.Linear(input_size, hidden), parts, nn.LayerNorm(hidden))


class Sums(nn.Module):
    """log(1 + sum of softplus(linear(x))), over all inputs so far.

    Features are positive and the sums are read as logarithms, so that ratios are differences: with pulls and payments
    among the sums, the logarithm of an arm's posterior mean is log(1 + paid) - log(2 + pulled).
    """

    caches = 1

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.features = nn.Linear(width, features)

    def initial(self, rows: int) -> State:
        return (self.features.weight.new_zeros(rows, self.features.out_features),)

    def step(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        total = state[0] + self._of(x)
        return torch.log1p(total), (total,)

    def unroll(self, x: Tensor) -> Tensor:
        features = self._of(x)
        return torch.log1p(linear_recurrence(torch.ones_like(features), features))

    def unroll_from(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        features = self._of(x)
        total = linear_recurrence(torch.ones_like(features), features, state[0])
        return torch.log1p(total), (total[-1],)

    def _of(self, x: Tensor) -> Tensor:
        return softplus(wide(self.features(x)))
