"""A feed-forward network on flat observations."""

from itertools import pairwise

import gymnasium
import torch
from torch import Tensor, nn

from .flat import Flat


class MLP(nn.Module):
    """Feed-forward layers, tanh behind each."""

    def __init__(self, space: gymnasium.Space, *, width: int = 128, layers: int = 1) -> None:
        """Args:
        space: of the observations.
        width: of each layer.
        layers: how many.
        """
        super().__init__()
        self.width, self.flat = width, Flat(space)
        sizes = [self.flat.width, *[width] * layers]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))

    def forward(self, observation: Tensor) -> Tensor:
        x = self.flat(observation)
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x
