"""The parallel scan is the recurrence, step after step, in both directions and at any length."""

import pytest
import torch
from torch import Tensor

from innerloop.learner.memory.scan import linear_recurrence, solved


def one_after_the_other(a: Tensor, b: Tensor) -> Tensor:
    h, found = torch.zeros_like(b[0]), []
    for keep, add in zip(a, b, strict=True):
        h = keep * h + add
        found.append(h)
    return torch.stack(found)


def random(steps: int, low: float = -1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(steps)
    a = low + (1 - low) * torch.rand(steps, 2, 3, generator=generator, dtype=torch.float64)
    return a, torch.randn(steps, 2, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 10, 16, 17, 31, 100, 101, 1000])
def test_it_is_the_recurrence(steps: int) -> None:
    a, b = random(steps)
    torch.testing.assert_close(solved(a, b), one_after_the_other(a, b), atol=1e-12, rtol=1e-12)
    backwards = one_after_the_other(a.flip(0), b.flip(0)).flip(0)
    torch.testing.assert_close(solved(a, b, backwards=True), backwards, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 7, 9])
def test_its_gradient_is_that_of_finite_differences(steps: int) -> None:
    a, b = (each.requires_grad_() for each in random(steps))
    assert torch.autograd.gradcheck(linear_recurrence, (a, b))


@pytest.mark.parametrize("steps", [100, 1000])
def test_its_gradient_is_that_of_the_recurrence(steps: int) -> None:
    a, b = (each.requires_grad_() for each in random(steps))
    weight = torch.randn_like(b)
    found = torch.autograd.grad((linear_recurrence(a, b) * weight).sum(), (a, b))
    expected = torch.autograd.grad((one_after_the_other(a, b) * weight).sum(), (a, b))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("keep", [0.0, 1e-30, 0.5, 1 - 1e-7, 1.0])
def test_in_single_precision_nothing_overflows_or_loses_its_digits(keep: float) -> None:
    """From forgetting at once to never: products underflow, sums stay as exact as step by step."""
    b = torch.rand(2000, 2, 3, generator=torch.Generator().manual_seed(0))
    a = torch.full_like(b, keep).requires_grad_()
    found = linear_recurrence(a, b)
    expected = one_after_the_other(a.detach().double(), b.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(found[-1].sum(), a)
    assert torch.isfinite(gradient).all()
