"""Action distributions: what the policy's last layer parametrises, for each kind of action space.

A *draw* is what the distribution gave and what log-probabilities are about; an *action* is the member of the action
space that it stands for. Noise comes from the caller, so that a seeded run repeats on any device.
"""

import math
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import pad

from ..envs.seeding import Random
from ..envs.spaces import check_action_space, limits, scale_of
from .onehot import OneHot

NEVER = -1e9
"""The logit of what a distribution does not have: its probability is 0, and finite beside others."""


class Head(Protocol):
    """A distribution over draws, parametrised by `size` numbers per row. It learns nothing itself."""

    size: int
    state_independent: int
    """How many of them, the last ones, do not depend on the observation: the policy learns them as they are, from 0."""
    width: int
    """Of an action as a policy input."""

    def noise(self, rng: Random, rows: int) -> Tensor:
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

    def drawn(self, action: Tensor) -> Tensor:
        """The draws that stand for members of the action space [..., *]; the inverse of `action`, but for clipping."""
        ...

    def encode(self, action: Tensor) -> Tensor:
        """Actions [..., *] as policy inputs, float32 [..., width]; "no action yet" is all zeros."""
        ...

    def none(self, rows: int) -> np.ndarray:
        """The action that stands for "none yet", [rows, ...]."""
        ...


def inverse_cdf(log_p: Tensor, noise: Tensor) -> Tensor:
    """Draws [...] from distributions with log-probabilities [..., n], by uniform noise [..., 1] in [0, 1)."""
    cumulative = log_p.exp().cumsum(-1)  # which may end a little below 1
    return (cumulative[..., :-1] <= noise.to(log_p.device) * cumulative[..., -1:]).sum(-1)


class Categorical(nn.Module):
    """For `Discrete(n)`: the parameters are n logits. The action "none yet" is start - 1."""

    _rows: Tensor

    def __init__(self, space: spaces.Discrete[Any]) -> None:
        super().__init__()
        self.size = self.width = int(space.n)
        self.state_independent = 0
        self._start = int(space.start)
        rows = torch.cat([torch.zeros(1, self.size), torch.eye(self.size)])
        self.register_buffer("_rows", rows, persistent=False)  # several times faster than F.one_hot, one step at a time

    def noise(self, rng: Random, rows: int) -> Tensor:
        return torch.from_numpy(rng.random((rows, 1), np.float32))

    def draw(self, parameters: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        log_p = parameters.float().log_softmax(-1)
        draw = log_p.argmax(-1) if noise is None else inverse_cdf(log_p, noise)
        return draw, log_p.gather(-1, draw.unsqueeze(-1)).squeeze(-1)

    def probabilities(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """And their logarithms: [..., size]."""
        log_p = parameters.float().log_softmax(-1)
        return log_p.exp(), log_p

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

    def drawn(self, action: Tensor) -> Tensor:
        return action - self._start

    def encode(self, action: Tensor) -> Tensor:
        return self._rows[action - (self._start - 1)]

    def none(self, rows: int) -> np.ndarray:
        return np.full(rows, self._start - 1, np.int64)


class MultiCategorical(nn.Module):
    """For `MultiDiscrete` and `MultiBinary`: independent categorical distributions, one per component.

    The parameters are the components' logits, one after the other. A draw is [..., components], each counted from 0;
    the action "none yet" is one less than the first of each.
    """

    def __init__(self, space: spaces.MultiDiscrete | spaces.MultiBinary) -> None:
        super().__init__()
        first, end = (np.broadcast_to(limit, space.shape).reshape(-1) for limit in limits(space))
        self.onehot = OneHot(first, end)
        self.size = self.width = self.onehot.width
        self.counts: list[int] = (end - first).tolist()
        """Possibilities of each component."""
        self.state_independent, self._shape, self._first = 0, space.shape, first

    def noise(self, rng: Random, rows: int) -> Tensor:
        return torch.from_numpy(rng.random((rows, len(self._first), 1), np.float32))

    def probabilities(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Of every component's possibilities, and their logarithms: [..., size]."""
        log_p = self._log_p(parameters).flatten(-2)[..., self.onehot.own]
        return log_p.exp(), log_p

    def _by_component(self, numbers: Tensor, missing: float) -> Tensor:
        """[..., size] as [..., components, most]."""
        return pad(numbers, (0, 1), value=missing)[..., self.onehot.index]

    def _log_p(self, parameters: Tensor) -> Tensor:
        return self._by_component(parameters.float(), NEVER).log_softmax(-1)

    def draw(self, parameters: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        log_p = self._log_p(parameters)
        draw = log_p.argmax(-1) if noise is None else inverse_cdf(log_p, noise)
        return draw, log_p.gather(-1, draw.unsqueeze(-1)).squeeze(-1).sum(-1)

    def measure(self, parameters: Tensor, draw: Tensor) -> tuple[Tensor, Tensor]:
        log_p = self._log_p(parameters)
        log_prob = log_p.gather(-1, draw.unsqueeze(-1)).squeeze(-1).sum(-1)
        return log_prob, -(log_p.exp() * log_p).sum((-1, -2))

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        log_p = self._log_p(old)
        return (log_p.exp() * (log_p - self._log_p(new))).sum((-1, -2))

    def fisher(self, parameters: Tensor, direction: Tensor) -> Tensor:
        p, along = self._log_p(parameters).exp(), self._by_component(direction, 0)
        found = p * (along - (p * along).sum(-1, keepdim=True))
        return found.flatten(-2)[..., self.onehot.own]

    def action(self, draw: np.ndarray) -> np.ndarray:
        return (draw + self._first).reshape(len(draw), *self._shape)

    def drawn(self, action: Tensor) -> Tensor:
        rows = action.shape[: action.ndim - len(self._shape)]
        return action.reshape(*rows, -1) - torch.from_numpy(self._first).to(action.device)

    def encode(self, action: Tensor) -> Tensor:
        rows = action.shape[: action.ndim - len(self._shape)]
        return self.onehot(action.reshape(*rows, -1))

    def none(self, rows: int) -> np.ndarray:
        return np.broadcast_to((self._first - 1).reshape(self._shape), (rows, *self._shape)).copy()


class Gaussian(nn.Module):
    """For `Box`: independent normals. The parameters are the means, followed by the log standard deviations, which
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

    def noise(self, rng: Random, rows: int) -> Tensor:
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

    def drawn(self, action: Tensor) -> Tensor:
        return self.encode(action)

    def encode(self, action: Tensor) -> Tensor:
        centre, scale = (torch.from_numpy(a).to(action.device) for a in (self._centre, self._scale))
        rows = action.shape[: action.ndim - len(self._shape)]
        return ((action - centre) / scale).reshape(*rows, self.width).float()

    def none(self, rows: int) -> np.ndarray:
        return np.broadcast_to(self._centre, (rows, *self._shape)).copy()


def head(space: gymnasium.Space) -> Categorical | MultiCategorical | Gaussian:
    """The distribution for an action space.

    Raises:
        BadInput: an action space that is not supported, or its bounds are none.
    """
    check_action_space("the action space", space)
    match space:
        case spaces.Discrete():
            return Categorical(space)
        case spaces.MultiDiscrete() | spaces.MultiBinary():
            return MultiCategorical(space)
    return Gaussian(space)  # pyright: ignore[reportArgumentType]


class EncodesActions(Protocol):
    """Any distribution over actions."""

    def encode(self, action: Tensor) -> Tensor:
        """See `Head`."""
        ...


def outcome(head: EncodesActions, action: Tensor, reward: Tensor, done: Tensor) -> Tensor:
    """What a policy is shown of the step before, float32 [..., O]: the action [..., *], the reward [...] for it, and
    whether it ended an episode [...]."""
    return torch.cat([head.encode(action), reward.unsqueeze(-1), done.float().unsqueeze(-1)], -1)
