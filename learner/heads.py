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

from ..envs.spaces import check_space, scale_of


class Head(Protocol):
    """A distribution over draws, parametrised by `size` numbers per row. It learns nothing itself."""

    size: int
    state_independent: int
    """How many of them, the last ones, do not depend on the observation: the policy learns them as they are, from 0."""
    width: int
    """Of an action as a policy input."""

    def noise(self, rng: np.random.Generator, rows: int) -> Tensor:
        """What `draw` needs, float32 [rows, ...]."""
        ...

    def draw(self, parameters: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """A draw from parameters [B, size], and its log-probability [B]; without noise, the most probable draw."""
        ...

    def measure(self, parameters: Tensor, draw: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of draws [...] under parameters [..., size], and the distribution's entropy: [...], nats."""
        ...

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """Kullback-Leibler divergence KL(old || new) of distributions with parameters [..., size]: [...], nats."""
        ...

    def fisher(self, parameters: Tensor, direction: Tensor) -> Tensor:
        """The Hessian of `kl` at old = new, times a direction; all [..., size]."""
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

    _rows: Tensor

    def __init__(self, space: spaces.Discrete) -> None:
        super().__init__()
        self.size = self.width = int(space.n)
        self.state_independent = 0
        self._start = int(space.start)
        rows = torch.cat([torch.zeros(1, self.size), torch.eye(self.size)])
        self.register_buffer("_rows", rows, persistent=False)  # several times faster than F.one_hot, one step at a time

    def noise(self, rng: np.random.Generator, rows: int) -> Tensor:
        return torch.from_numpy(rng.random((rows, 1), np.float32))

    def draw(self, parameters: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        log_p = parameters.float().log_softmax(-1)
        if noise is None:
            draw = log_p.argmax(-1)
        else:  # inverse of the cumulative distribution, which may sum to a little less than 1
            cumulative = log_p.exp().cumsum(-1)
            draw = (cumulative[:, :-1] <= noise.to(parameters.device) * cumulative[:, -1:]).sum(-1)
        return draw, log_p.gather(-1, draw.unsqueeze(-1)).squeeze(-1)

    def measure(self, parameters: Tensor, draw: Tensor) -> tuple[Tensor, Tensor]:
        log_p = parameters.log_softmax(-1)
        return log_p.gather(-1, draw.unsqueeze(-1)).squeeze(-1), -(log_p.exp() * log_p).sum(-1)

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        log_p = old.log_softmax(-1)
        return (log_p.exp() * (log_p - new.log_softmax(-1))).sum(-1)

    def fisher(self, parameters: Tensor, direction: Tensor) -> Tensor:
        p = parameters.softmax(-1)
        return p * (direction - (p * direction).sum(-1, keepdim=True))

    def action(self, draw: np.ndarray) -> np.ndarray:
        return draw + self._start

    def encode(self, action: Tensor) -> Tensor:
        return self._rows[action - (self._start - 1)]

    def none(self, rows: int) -> np.ndarray:
        return np.full(rows, self._start - 1, np.int64)


class Gaussian(nn.Module):
    """For `Box`: independent normals. The parameters are the means, and behind them the log standard deviations, which
    do not depend on the observation.

    A draw is in units of the box's half-widths around its centre, and is clipped to the box when it becomes an action.
    Where a bound is missing it is in the box's own units: around 0, or around what lies 1 inside of the other bound.
    """

    def __init__(self, space: spaces.Box) -> None:
        super().__init__()
        self.width = self.state_independent = math.prod(space.shape)
        self.size = 2 * self.width
        self._shape, self._low, self._high = space.shape, space.low, space.high
        precision = np.result_type(space.low.dtype, np.float32)  # float32 cannot tell 1e9 from 1e9 + 1
        self._centre, self._scale = (array.astype(precision) for array in scale_of(space))

    def noise(self, rng: np.random.Generator, rows: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal((rows, self.width), np.float32))

    def draw(self, parameters: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        parameters = parameters.float()
        draw, log_std = parameters.split(self.width, -1)
        if noise is not None:
            draw = draw + log_std.exp() * noise.to(parameters.device)
        return draw, self.measure(parameters, draw)[0]

    def measure(self, parameters: Tensor, draw: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = parameters.split(self.width, -1)
        z = (draw - mean) * (-log_std).exp()
        log_prob = (-0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)
        entropy = (log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)
        return log_prob, entropy

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        (mean, log_std), (new_mean, new_log_std) = old.split(self.width, -1), new.split(self.width, -1)
        spread = (2 * log_std).exp() + (mean - new_mean).square()
        return (new_log_std - log_std + 0.5 * spread * (-2 * new_log_std).exp() - 0.5).sum(-1)

    def fisher(self, parameters: Tensor, direction: Tensor) -> Tensor:
        mean, log_std = direction.split(self.width, -1)
        precision = (-2 * parameters[..., self.width :]).exp()
        return torch.cat([mean * precision, 2 * log_std], -1)

    def action(self, draw: np.ndarray) -> np.ndarray:
        shaped = draw.reshape(len(draw), *self._shape)
        action = np.clip(self._centre + self._scale * shaped, self._low, self._high)
        return action.astype(self._low.dtype, copy=False)

    def encode(self, action: Tensor) -> Tensor:
        centre, scale = (torch.from_numpy(a).to(action.device) for a in (self._centre, self._scale))
        rows = action.shape[: action.ndim - len(self._shape)]
        return ((action - centre) / scale).reshape(*rows, self.width).float()

    def none(self, rows: int) -> np.ndarray:
        return np.broadcast_to(self._centre, (rows, *self._shape)).copy()


def head(space: gymnasium.Space) -> Categorical | Gaussian:
    """The distribution for an action space.

    Raises:
        BadInput: neither `Discrete` nor a `Box` of floats, or its bounds are none.
    """
    check_space("the action space", space, "Discrete or a Box of floats")
    return Categorical(space) if isinstance(space, spaces.Discrete) else Gaussian(space)  # pyright: ignore[reportArgumentType]
