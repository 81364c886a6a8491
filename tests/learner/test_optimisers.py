"""Steps of optimisers: the same whether threads share the work, as on a CPU, or none, as on a GPU."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from innerloop.learner.api import Metrics
from innerloop.learner.optimisers import GuardedSteps

by_device = pytest.mark.parametrize("device", ["cpu", "cuda"])
"""Of the tensors that are stepped on, all on the CPU: it decides only whose threads do it."""


def steps_on(device: str, parameters: list[nn.Parameter], learning_rate: float = 0.1) -> GuardedSteps:
    adam = torch.optim.Adam(parameters, lr=learning_rate, fused=True)
    return GuardedSteps({"adam": adam}, torch.device(device), threads=2)


@by_device
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_what_is_mapped_may_differentiate_whatever_the_callers_mode(mode: type, device: str) -> None:
    x = nn.Parameter(torch.tensor(3.0))
    steps = steps_on(device, [x])
    with mode():
        found = steps.map(lambda power: float(torch.autograd.grad(x**power, x)[0]), [1, 2, 3])
    assert found == [1, 6, 27]


@by_device
def test_a_gradient_that_lies_in_another_order_is_the_same_gradient(device: str) -> None:
    """As those of a GPU's convolutions do, in the order of channels_last."""
    target = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))

    class Reordered(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            return gradient.contiguous(memory_format=torch.channels_last)

    def stepped(reordered: bool) -> Tensor:
        x = nn.Parameter(torch.zeros(4, 3, 2, 2))

        def loss(part: np.ndarray) -> tuple[Tensor, Metrics]:
            seen = Reordered.apply(x) if reordered else x
            return ((seen - target).square() * torch.as_tensor(part).sum()).sum(), {}

        steps = steps_on(device, [x])
        for _ in range(3):
            steps(loss, np.arange(1, 5), learning_rate=0.1, max_norm=1e9)
        return x.detach()

    assert torch.equal(stepped(True), stepped(False))
