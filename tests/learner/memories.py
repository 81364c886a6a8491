"""Memories of every kind, as the contract makes them, and in double precision."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from innerloop.actors.contract import memory as contract
from innerloop.actors.contract.memory import T
from innerloop.learner.memory import MEMORIES, constructor

WINDOW = 4
BOUNDED = ["snail,window=4", "transformer,window=4"]
OTHERWISE = [
    "deepset,layers=2,features=5",
    "mingru,layers=1",
    "snail,blocks=1,filters=3,keys=5",
    "transformer,layers=3,heads=3",
]
every_memory = pytest.mark.parametrize("name", MEMORIES)
every_kind = pytest.mark.parametrize("name", [*MEMORIES, *BOUNDED, *OTHERWISE])
remembering = pytest.mark.parametrize("name", [name for name in MEMORIES if name != "none"])
lengths = pytest.mark.parametrize("steps", [1, 5, T, 40])


def made(name: str, steps: int = T, dtype: torch.dtype = torch.float32) -> Any:
    return contract.made(constructor("memory", name), steps).to(dtype)


def inputs(steps: int = T, dtype: torch.dtype = torch.float32) -> Tensor:
    return contract.inputs(steps).to(dtype)


def gradients(y: Tensor, x: Tensor, memory: nn.Module) -> tuple[Tensor, ...]:
    """Of a sum in which every output has a weight of its own, for the inputs and every parameter."""
    weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return torch.autograd.grad((y * weight).sum(), [x, *memory.parameters()])
