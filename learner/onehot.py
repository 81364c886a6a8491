"""Whole numbers as vectors with a single 1 each."""

import numpy as np
import torch
from torch import Tensor, nn


class OneHot(nn.Module):
    """Components [..., components] as their one-hot vectors, one after the other: 0 and 1, float32 [..., width]. A
    component outside its range is all zeros."""

    index: Tensor
    """[components, most]: of each component's possibilities, their places in the output; `width` for those that it does
    not have."""
    own: Tensor
    """[width]: the places in [components * most] that are possibilities."""
    _first: Tensor

    def __init__(self, first: np.ndarray, end: np.ndarray) -> None:
        """Args:
        first: int64 [components], the least value of each.
        end: int64 [components], one more than the largest.
        """
        super().__init__()
        counts = end - first
        self.width = int(counts.sum())
        column, offset = np.arange(counts.max()), np.cumsum(counts) - counts
        index = np.where(column < counts[:, None], offset[:, None] + column, self.width)
        for name, array in (("index", index), ("own", np.flatnonzero(index < self.width)), ("_first", first)):
            self.register_buffer(name, torch.from_numpy(np.array(array, np.int64)), persistent=False)

    def forward(self, components: Tensor) -> Tensor:
        chosen = (components.long() - self._first).unsqueeze(-1)
        hot = chosen == torch.arange(self.index.shape[1], device=components.device)
        return hot.float().flatten(-2)[..., self.own]
