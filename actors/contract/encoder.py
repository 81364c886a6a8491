"""The laws of an encoder of observations (`learner.encoders`); what is checked is its constructor."""

from collections.abc import Iterator

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from ...envs.boundary import parse_rows
from ...envs.errors import BadInput
from ...learner.encoders import Encoder, MakeEncoder
from .fault import demand
from .memory import close, its_options_have_plain_types

SPACES: tuple[gymnasium.Space, ...] = (
    spaces.Box(-1, 1, (3,), np.float32),
    spaces.Discrete(4, start=2),
    spaces.Box(0, 255, (8, 8, 3), np.uint8),
    spaces.Dict({"image": spaces.Box(0, 255, (8, 8, 3), np.uint8), "facing": spaces.Discrete(4)}),
)
ROWS = 6


def it_reads_some_space(make: MakeEncoder) -> None:
    demand([*_read(make)], f"it refuses all of {', '.join(map(str, SPACES))}.")


def features_are_float32_rows_of_its_width(make: MakeEncoder) -> None:
    for space, made, x in _read(make):
        demand(isinstance(made.width, int) and made.width >= 1, f"its width is {made.width!r}; expected at least 1.")
        found = made(x)
        expected = (ROWS, made.width)
        demand(
            found.shape == expected, f"of {ROWS} members of {space} it makes {tuple(found.shape)}; expected {expected}."
        )
        demand(found.dtype == torch.float32, f"of {space} it makes {found.dtype}; expected float32.")
        demand(found.isfinite().all(), f"of members of {space} it makes numbers that are not finite.")


def an_observation_is_read_alone_as_among_others(make: MakeEncoder) -> None:
    for space, made, x in _read(make):
        whole = made(x)
        folded = made(x.reshape(2, 3, *x.shape[1:])).reshape(ROWS, -1)
        close(folded, whole, f"members of {space} in two rows of three are not read as six in one")
        close(
            torch.stack([made(row) for row in x]), whole, f"members of {space} one by one are not read as all at once"
        )


ENCODER = (
    its_options_have_plain_types,
    it_reads_some_space,
    features_are_float32_rows_of_its_width,
    an_observation_is_read_alone_as_among_others,
)


def _read(make: MakeEncoder) -> Iterator[tuple[gymnasium.Space, Encoder, Tensor]]:
    """The spaces that it does not refuse, an encoder for each, and some members."""
    for space in SPACES:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.default_generator.manual_seed(0)
            try:
                made = make(space)
            except BadInput:
                continue
            space.seed(0)
            rows = np.stack([parse_rows("a member", space.sample(), space, None) for _ in range(ROWS)])
            yield space, made, torch.from_numpy(rows)
