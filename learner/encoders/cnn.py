"""A convolutional network for the images of a space; its other entries are concatenated as they are."""

import math
from collections.abc import Callable

import gymnasium
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from ...envs.errors import BadInput, brief
from ...envs.spaces import leaves
from ..exact import exact
from .flat import FlatLeaf, has_bounds
from .parts import in_parts
from .split import Split, has_image, is_image

LARGE = 36
"""Pixels of the shorter side from which an image is read by the large kernels."""
AT_ONCE = 2**22
"""Numbers of images that are read at once."""
KERNELS = {True: ((8, 4, 0), (4, 2, 0), (3, 1, 0)), False: ((3, 1, 1), (3, 2, 1), (3, 2, 1))}
"""Kernel, stride and padding of each convolution, for images that are large and those that are not."""


class CNN(Split):
    """Convolutions (Mnih et al. 2015, for images of 36 pixels and more; smaller kernels below), then a layer with a
    layer norm (Yarats et al. 2021, arXiv:1910.01741), of each image of a space; its other entries are flat.

    An image is a `Box` of bytes with three axes; where a space has none, a box of any numbers with two or three.
    """

    def __init__(self, space: gymnasium.Space, *, width: int = 128, channels: int = 32) -> None:
        """Args:
        space: of the observations.
        width: of an image's features.
        channels: of the first convolution; the others have twice as many.

        Raises:
            BadInput: nothing in the space is an image.
        """
        wanted: Callable[[gymnasium.Space], bool] = is_image if has_image(space) else _could_be
        if not any(wanted(leaf.space) for leaf in leaves(space)):
            raise BadInput(f"the observation space is {brief(space)}; expected a Box with two or three axes for cnn.")
        super().__init__(space, lambda leaf: Image(leaf, width, channels) if wanted(leaf) else FlatLeaf(leaf))


def _could_be(space: gymnasium.Space) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) in (2, 3) and min(space.shape) > 0


class Image(nn.Module):
    """One image, [..., height, width], [..., height, width, channels] or [..., channels, height, width]: of its first
    and last axes the shorter one has the channels."""

    def __init__(self, space: gymnasium.Space, width: int, channels: int) -> None:
        super().__init__()
        assert isinstance(space, spaces.Box)
        self.width, self._shape = width, space.shape
        first = len(space.shape) == 3 and space.shape[0] < space.shape[-1]
        self._channels = None if len(space.shape) == 2 else -3 if first else -1
        sides = [*space.shape]
        depth = 1 if self._channels is None else sides.pop(self._channels)
        self.convolutions = nn.ModuleList()
        for (kernel, stride, padding), size in zip(KERNELS[min(sides) >= LARGE], (1, 2, 2), strict=True):
            self.convolutions.append(nn.Conv2d(depth, size * channels, kernel, stride, padding))
            depth, sides = size * channels, [(side + 2 * padding - kernel) // stride + 1 for side in sides]
        self.output, self.norm = nn.Linear(depth * math.prod(sides), width), nn.LayerNorm(width)
        # With biases of 0, an image that uses a tenth of its range (as ids of objects do) has the same features.
        for layer in (*self.convolutions, self.output):
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
        low, high = (float(space.low.min()), float(space.high.max())) if has_bounds(space).all() else (0.0, 1.0)
        self._low, self._span = low, max(high - low, 1e-30)

    def forward(self, image: Tensor) -> Tensor:
        rows = image.shape[: image.ndim - len(self._shape)]
        most = max(1, AT_ONCE // math.prod(self._shape))
        return in_parts(self._encoded, image.reshape(-1, *self._shape), most).reshape((*rows, self.width))

    def _encoded(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1) if self._channels is None else x.movedim(self._channels, 1)
        x = (x.float() - self._low) / self._span
        with exact(x.device):
            for convolution in self.convolutions:
                x = functional.relu(convolution(x))
        return torch.tanh(self.norm(self.output(x.flatten(1))))
