"""The network of four blocks: as its docstring has it, and what it refuses."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.nn import functional

from innerloop.envs.errors import BadInput
from innerloop.learner.encoders import build_encoder
from innerloop.learner.encoders.conv4 import AT_ONCE, Conv4

IMAGE = spaces.Box(0, 255, (28, 28, 1), np.uint8)


def images(n: int, shape: tuple[int, ...] = (28, 28, 1)) -> torch.Tensor:
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def by_hand(encoder: Any, image: torch.Tensor, strided: bool) -> torch.Tensor:
    """Of one image, in float64, block by block."""
    x = image.permute(2, 0, 1)[None].double() / 255
    [blocks] = encoder.parts
    for convolution, norm in zip(blocks.convolutions, blocks.norms, strict=True):
        x = functional.conv2d(x, convolution.weight.double(), stride=2 if strided else 1, padding=1)
        x = x if strided else functional.max_pool2d(x, [min(2, side) for side in x.shape[2:]])
        groups = x.reshape(1, norm.num_groups, -1)
        spread = (groups - groups.mean(-1, keepdim=True)).square().mean(-1, keepdim=True).add(1e-5).sqrt()
        x = ((groups - groups.mean(-1, keepdim=True)) / spread).reshape(x.shape).clamp(min=0)
    return x.flatten()


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("side", [28, 20, 5])
def test_it_has_four_blocks(strided: bool, side: int) -> None:
    torch.manual_seed(0)
    shape = (side, side, 3)
    encoder = Conv4(spaces.Box(0, 255, shape, np.uint8), channels=16, strided=strided)
    given = images(3, shape)
    found = encoder(given)
    assert found.shape == (3, encoder.width)
    for image, own in zip(given, found, strict=True):
        torch.testing.assert_close(own.double(), by_hand(encoder, image, strided), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("strided", "width"), [(False, 64), (True, 256)])
def test_drawings_become_as_many_numbers_as_were_published(strided: bool, width: int) -> None:
    assert Conv4(IMAGE, strided=strided).width == width


def test_an_image_has_the_same_features_and_gradient_whatever_is_read_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    encoder, given = Conv4(IMAGE, channels=16), images(12)
    together = encoder(given.unflatten(0, (4, 3)))
    assert together.shape == (4, 3, 16)
    together.square().sum().backward()
    once = [parameter.grad.clone() for parameter in encoder.parameters() if parameter.grad is not None]
    encoder.zero_grad()
    torch.testing.assert_close(encoder(given[5:6])[0], together[1, 2])
    monkeypatch.setattr("innerloop.learner.encoders.conv4.AT_ONCE", 5)
    encoder(given).square().sum().backward()
    assert AT_ONCE > 12
    for before, parameter in zip(once, encoder.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "space", "sentence"),
    [
        (
            "conv4",
            spaces.Box(-1, 1, (4,)),
            r"^the observation space is Box.*; expected an image, uint8 with three axes",
        ),
        ("conv4,channels=12", IMAGE, r"^channels is 12; expected a multiple of 8"),
        ("conv4,layers=3", IMAGE, r"layers"),
    ],
)
def test_what_it_cannot_read_is_refused(given: str, space: spaces.Space, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        build_encoder(given, space)
