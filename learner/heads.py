"""Action distributions: what the policy's last layer parametrises, for each kind of action space.

A *draw* is what the distribution gave and what log-probabilities are about; an *action* is the member of the action
space that it stands for. Noise comes from the caller, so that a seeded run repeats on any device.
"""

import math
from typing import Protocol

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from ..envs.errors import BadInput


class Head(Protocol):
    """A distribution over draws, parametrised by `size` numbers per row."""

    size: int
    width: int
    """Of an action as a policy input."""

    def noise(self, rng: np.random.Generator, rows: int) -> Tensor:
        """What `sample` needs, float32 [rows, ...]."""
        ...

    def sample(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """A draw from parameters [B, size]."""
        ...

    def mode(self, parameters: Tensor) -> Tensor:
        """The most probable draw."""
        ...

    def log_prob(self, parameters: Tensor, draw: Tensor) -> Tensor:
        """Of draws [...] under parameters [..., size]: [...]; summed over action dimensions, nats."""
        ...

    def entropy(self, parameters: Tensor) -> Tensor:
        """[...] for parameters [..., size], nats."""
        ...

    def action(self, draw: np.ndarray) -> np.ndarray:
        """The members of the action space that draws stand for."""
        ...

    def encode(self, action: Tensor) -> Tensor:
        """Actions [..., *] as policy inputs, float32 [..., width]; "no action yet" is all zeros."""
        ...

    def none(self, rows: int) -> np.ndarray:
        """The action that stands for "none yet", [rows, ...]."""
        ...


class Categorical(nn.Module):
    """For `Discrete(n)`: the parameters are n logits. The action "none yet" is start - 1."""

    def __init__(self, space: spaces.Discrete) -> None:
        super().__init__()
        self.size = self.width = int(space.n)
        self._start = int(space.start)

    def noise(self, rng: np.random.Generator, rows: int) -> Tensor:
        return torch.from_numpy(rng.random((rows, 1), np.float32))

    def sample(self, parameters: Tensor, noise: Tensor) -> Tensor:
        cumulative = parameters.float().softmax(-1).cumsum(-1)
        return (cumulative[..., :-1] <= noise.to(parameters.device) * cumulative[..., -1:]).sum(-1)

    def mode(self, parameters: Tensor) -> Tensor:
        return parameters.argmax(-1)

    def log_prob(self, parameters: Tensor, draw: Tensor) -> Tensor:
        return parameters.log_softmax(-1).gather(-1, draw.unsqueeze(-1)).squeeze(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        log_p = parameters.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1)

    def action(self, draw: np.ndarray) -> np.ndarray:
        return draw + self._start

    def encode(self, action: Tensor) -> Tensor:
        return F.one_hot(action - self._start + 1, self.size + 1)[..., 1:].float()

    def none(self, rows: int) -> np.ndarray:
        return np.full(rows, self._start - 1, np.int64)


class Gaussian(nn.Module):
    """For `Box`: independent normals with learned means and one learned log standard deviation per dimension.

    A draw is in units of the box's half-widths around its centre (in the box's own units where it is unbounded), and
    is clipped to the box when it becomes an action.
    """

    def __init__(self, space: spaces.Box) -> None:
        super().__init__()
        self.size = self.width = math.prod(space.shape)
        self._shape, self._low, self._high = space.shape, space.low, space.high
        bounded = np.isfinite(space.low) & np.isfinite(space.high)
        self._centre = np.where(bounded, (space.high / 2 + space.low / 2), 0).astype(np.float32)
        self._scale = np.where(bounded, (space.high / 2 - space.low / 2), 1).astype(np.float32)
        self.log_std = nn.Parameter(torch.zeros(self.size))

    def noise(self, rng: np.random.Generator, rows: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal((rows, self.size), np.float32))

    def sample(self, parameters: Tensor, noise: Tensor) -> Tensor:
        return parameters.float() + self.log_std.exp() * noise.to(parameters.device)

    def mode(self, parameters: Tensor) -> Tensor:
        return parameters.float()

    def log_prob(self, parameters: Tensor, draw: Tensor) -> Tensor:
        z = (draw - parameters) * (-self.log_std).exp()
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum().expand(parameters.shape[:-1])

    def action(self, draw: np.ndarray) -> np.ndarray:
        shaped = draw.reshape(len(draw), *self._shape)
        return np.clip(self._centre + self._scale * shaped, self._low, self._high)

    def encode(self, action: Tensor) -> Tensor:
        centre, scale = (torch.from_numpy(a).to(action.device) for a in (self._centre, self._scale))
        return ((action - centre) / scale).flatten(action.ndim - len(self._shape)).float()

    def none(self, rows: int) -> np.ndarray:
        return np.broadcast_to(self._centre, (rows, *self._shape)).copy()


def head(space: gymnasium.Space) -> Categorical | Gaussian:
    """The distribution for an action space.

    Raises:
        BadInput: neither `Discrete` nor a `Box` of floats.
    """
    if isinstance(space, spaces.Discrete):
        return Categorical(space)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return Gaussian(space)
    raise BadInput(f"the action space is {space}; expected Discrete or a Box of floats.")
