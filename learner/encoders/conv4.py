"""The four-block convolutional network of few-shot learning (Vinyals et al. 2016, arXiv:1606.04080, section 4.1.1)."""

import gymnasium
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from ...envs.errors import BadInput, brief, require
from ..exact import exact
from .flat import FlatLeaf
from .parts import in_parts
from .split import Split, has_image, is_image

BLOCKS = 4
GROUP = 8
"""Channels that are normalised together."""
AT_ONCE = 2**11
"""Images that are read at once."""


class Conv4(Split):
    """Four blocks of each image of a space; its other entries are flat.

    A block is a 3x3 convolution, a 2x2 maximum, a group norm (Wu & He 2018, arXiv:1803.08494) and a ReLU: 28 pixels
    become one, of `channels` numbers. The published networks have batch norm, whose statistics are those of all that is
    asked at once: one query would tell of the others. Norm and maximum change places, which costs a quarter.
    """

    def __init__(self, space: gymnasium.Space, *, channels: int = 64, strided: bool = False) -> None:
        """Args:
        space: of the observations.
        channels: of every block, a multiple of 8.
        strided: convolutions with a stride of two instead of maxima (as Finn et al. 2017), several times faster.

        Raises:
            BadInput: nothing in the space is an image, or the channels are none.
        """
        if not has_image(space):
            raise BadInput(
                f"the observation space is {brief(space)}; expected an image, uint8 with three axes, for conv4."
            )
        require(channels % GROUP == 0, "channels", channels, f"a multiple of {GROUP}")
        super().__init__(space, lambda leaf: Blocks(leaf, channels, strided) if is_image(leaf) else FlatLeaf(leaf))


class Blocks(nn.Module):
    """One image, uint8 [..., height, width, channels]."""

    def __init__(self, space: gymnasium.Space, channels: int, strided: bool) -> None:
        super().__init__()
        assert isinstance(space, spaces.Box)
        self._shape, self._strided = space.shape, strided
        *sides, depth = space.shape
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for _ in range(BLOCKS):
            self.convolutions.append(nn.Conv2d(depth, channels, 3, 2 if strided else 1, 1, bias=False))
            self.norms.append(nn.GroupNorm(channels // GROUP, channels))
            depth, sides = channels, [-(-side // 2) if strided else max(1, side // 2) for side in sides]
        self.width = channels * sides[0] * sides[1]

    def forward(self, image: Tensor) -> Tensor:
        rows = image.shape[: image.ndim - len(self._shape)]
        encoded = in_parts(self._encoded, image.reshape(-1, *self._shape), AT_ONCE)
        return encoded.reshape((*rows, self.width))

    def _encoded(self, x: Tensor) -> Tensor:
        x = x.movedim(-1, 1).to(next(self.parameters()).dtype) / 255
        with exact(x.device):
            for convolution, norm in zip(self.convolutions, self.norms, strict=True):
                x = convolution(x)
                if not self._strided:
                    x = functional.max_pool2d(x, [min(2, side) for side in x.shape[2:]])
                x = functional.relu(norm(x))
        return x.flatten(1)
