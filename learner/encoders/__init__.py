"""Observations as a network reads them: interchangeable encoders behind one interface.

An encoder is a module with a `width`: it makes of observations as they are stored (see `envs.spaces`) [..., *shape]
their features [..., width]. One that has parameters learns them from the outer loss. A new encoder is one file and one
line in ENCODERS.
"""

from collections.abc import Iterable
from typing import Protocol

import gymnasium
from torch import Tensor, nn

from ...envs.errors import require
from ...envs.spaces import check_observation_space
from ..constructors import parse_constructor
from .cnn import CNN
from .conv4 import Conv4
from .flat import Flat
from .mlp import MLP
from .split import has_image

__all__ = ["ENCODERS", "Encoder", "MakeEncoder", "build_encoder", "parse_encoder"]


class Encoder(Protocol):
    """A module; what it makes of an observation depends on nothing else."""

    width: int
    """Of the features."""

    def __call__(self, observation: Tensor) -> Tensor:
        """[..., *shape] as they are stored, to float32 [..., width]."""
        ...

    def parameters(self) -> Iterable[Tensor]:
        """What it learns; see `nn.Module`."""
        ...


class MakeEncoder(Protocol):
    """An encoder's constructor. Its keyword-only arguments (bool, int, float or str, with defaults) are its options."""

    def __call__(self, space: gymnasium.Space, /) -> Encoder:
        """Args:
        space: of the observations.
        """
        ...


def auto(space: gymnasium.Space) -> Encoder:
    """A convolutional encoder where the space has images, else none that learns."""
    return CNN(space) if has_image(space) else Flat(space)


ENCODERS: dict[str, MakeEncoder] = {"auto": auto, "cnn": CNN, "conv4": Conv4, "flat": Flat, "mlp": MLP}


def parse_encoder(given: str) -> MakeEncoder:
    """The constructor of the named encoder, with the options that follow its name: `mlp,width=64,layers=2`.

    Raises:
        BadInput: no such encoder or option.
    """
    return parse_constructor("encoder", given, ENCODERS, ("observation space",))


def build_encoder(given: str, space: gymnasium.Space) -> Encoder:
    """The named encoder for a space.

    Raises:
        BadInput: it cannot be had for this space, or is none.
    """
    check_observation_space("the observation space", space)
    made = parse_encoder(given)(space)
    width = getattr(made, "width", None)
    is_encoder = isinstance(made, nn.Module) and isinstance(width, int) and width >= 1
    require(is_encoder, "encoder", given, "a constructor of an nn.Module with a width of at least 1")
    return made
