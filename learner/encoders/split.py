"""Observations of several entries, each read by a module of its own."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from ...envs.spaces import layout_of, leaves


class Entries:
    """Observations as they are stored, [..., *shape], as the leaves of their space (`envs.spaces`)."""

    def __init__(self, space: gymnasium.Space) -> None:
        found = [*leaves(space)]
        self._slices: list[tuple[int, int, torch.dtype, tuple[int, ...]]] = []
        for leaf in found if found[0].path else ():
            shape, dtype = layout_of(leaf.space)
            self._slices.append((leaf.start, leaf.stop, torch.from_numpy(np.empty(0, dtype)).dtype, shape))

    def __call__(self, observation: Tensor) -> list[Tensor]:
        """One array for each leaf."""
        if not self._slices:
            return [observation]
        rows, found = observation.shape[:-1], []
        for start, stop, dtype, shape in self._slices:
            own = observation[..., start:stop].clone(memory_format=torch.contiguous_format)
            own = own.view(dtype) if stop > start else own.to(dtype)
            found.append(own.reshape((*rows, *shape)))
        return found


class Split(nn.Module):
    """The leaves of a space, encoded one by one and put side by side: [..., *shape] to float32 [..., width].

    Packed members are taken apart here, so that an image stays bytes until a network reads it.
    """

    def __init__(self, space: gymnasium.Space, make: Callable[[gymnasium.Space], Any]) -> None:
        """Args:
        space: of the observations.
        make: a module with a `width`, for a leaf.
        """
        super().__init__()
        parts = [make(leaf.space) for leaf in leaves(space)]
        self.parts = nn.ModuleList(parts)
        self.width: int = sum(part.width for part in parts)
        self._entries = Entries(space)

    def forward(self, observation: Tensor) -> Tensor:
        encoded = [part(own) for part, own in zip(self.parts, self._entries(observation), strict=True)]
        return encoded[0] if len(encoded) == 1 else torch.cat(encoded, -1)


def is_image(space: gymnasium.Space) -> bool:
    """Bytes with three axes."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3 and min(space.shape) > 0


def has_image(space: gymnasium.Space) -> bool:
    """Whether a leaf of the space is one."""
    return any(is_image(leaf.space) for leaf in leaves(space))
