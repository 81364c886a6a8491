"""Observations as plain numbers, with nothing to learn."""

import math

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from ...envs.spaces import limits
from ..onehot import OneHot
from .split import Split


class Flat(Split):
    """Every leaf of a space as `FlatLeaf` has it, side by side."""

    def __init__(self, space: gymnasium.Space) -> None:
        super().__init__(space, FlatLeaf)


class FlatLeaf(nn.Module):
    """Members of a space without entries as float32 rows in [-1, 1]: whole numbers with a 1 among -1s, a finite `Box`
    scaled.

    The scaling is fixed, by the box's bounds: running statistics would hide the task from the policy. Whole numbers
    without bounds come as their logarithm, ±log(1 + |x|), because they may be of any size. -1s, not 0s: attention
    learns from 0s much later (benchmarks/results/rl2-mdps).
    """

    _rows: Tensor
    _centre: Tensor
    _scale: Tensor
    _counts: Tensor | None

    def __init__(self, space: gymnasium.Space) -> None:
        super().__init__()
        self._dims = len(space.shape or ())
        self._discrete, self._several = isinstance(space, spaces.Discrete), isinstance(space, spaces.MultiDiscrete)
        match space:
            case spaces.Discrete():
                self.width, self._start = int(space.n), int(space.start)
                self.register_buffer("_rows", 2 * torch.eye(self.width) - 1, persistent=False)
            case spaces.MultiDiscrete():
                first, end = (limit.reshape(-1) for limit in limits(space))
                self.onehot = OneHot(first, end)
                self.width = self.onehot.width
            case spaces.MultiBinary():
                self._scaled(np.zeros(space.shape), np.ones(space.shape), None)
            case spaces.Box():
                known, counts = has_bounds(space), None
                if space.dtype.kind in "iu" and space.dtype.itemsize >= 4:  # no bound is the last number of the dtype
                    most = np.iinfo(space.dtype.name)
                    known = (space.high < most.max) & ((space.low > most.min) | (most.min == 0))
                    counts = torch.as_tensor(~known)
                low, high = space.low.astype(np.float64), space.high.astype(np.float64)
                self._scaled(np.where(known, low, -1), np.where(known, high, 1), counts)

    def _scaled(self, low: np.ndarray, high: np.ndarray, counts: Tensor | None) -> None:
        self.width = math.prod(low.shape)
        centre, half = low / 2 + high / 2, high / 2 - low / 2
        scale = np.where(half > 1e-30, half, 1)  # of one value alone, what is off it comes in its own units
        self.register_buffer("_centre", torch.as_tensor(centre, dtype=torch.float32), persistent=False)
        self.register_buffer("_scale", torch.as_tensor(scale, dtype=torch.float32), persistent=False)
        self.register_buffer("_counts", counts, persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """[..., *shape] to [..., width]."""
        if self._discrete:
            return self._rows[observation.long() - self._start]
        rows = observation.shape[: observation.ndim - self._dims]
        if self._several:
            return 2 * self.onehot(observation.reshape((*rows, -1))) - 1
        if self._counts is not None:
            observation = observation.double()  # which tells neighbours apart far from 0
            observation = torch.where(self._counts, observation.sign() * observation.abs().log1p(), observation)
        elif not observation.is_floating_point():
            observation = observation.float()
        scaled = (observation - self._centre) / self._scale
        return scaled.reshape((*rows, self.width)).float()


def has_bounds(space: spaces.Box) -> np.ndarray:
    """Where a box has bounds to scale by, with its shape: 3.4e38 stands for "no bound" in Gymnasium's own tasks."""
    return (space.low.astype(np.float64) > -1e6) & (space.high.astype(np.float64) < 1e6)
