"""Advantages against the sum in the paper, written out quadratically, trial by trial."""

import pytest
import torch
from torch import Tensor

from innerloop.learner.returns import advantages, steps_left

T, B = 11, 4
LENGTHS = (11, 1, 7, 4)


def sum_as_printed(reward: Tensor, value: Tensor, length: int, discount: float, trace: float) -> list[float]:
    """Schulman et al. 2016, eq. 16, of one trial: each advantage is the sum of (γλ)^l δ_{t+l} until the trial's end,
    which nothing follows."""
    after = [*map(float, value[1:length]), 0.0]
    delta = [float(reward[t]) + discount * after[t] - float(value[t]) for t in range(length)]
    return [sum((discount * trace) ** i * delta[t + i] for i in range(length - t)) for t in range(length)]


def trials(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards, values and the ends of trials of `LENGTHS` steps."""
    generator = torch.Generator().manual_seed(seed)
    end = torch.zeros(T, B, dtype=torch.bool)
    for column, length in enumerate(LENGTHS):
        end[length - 1, column] = True
    return torch.randn(T, B, generator=generator), torch.randn(T, B, generator=generator), end


@pytest.mark.parametrize(("discount", "trace"), [(0.9, 0.8), (1.0, 1.0), (0.99, 0.0), (0.0, 0.5), (1.0, 0.3)])
def test_advantages_are_the_sum_in_the_paper(discount: float, trace: float) -> None:
    reward, value, end = trials()
    found = advantages(reward, value, end, discount=discount, trace=trace)
    for column, length in enumerate(LENGTHS):
        expected = sum_as_printed(reward[:, column], value[:, column], length, discount, trace)
        torch.testing.assert_close(found[:length, column], torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_credit_crosses_the_ends_of_episodes() -> None:
    """One reward in the last step of a trial of one-step episodes is credited to the first step too."""
    reward = torch.tensor([[0.0], [0.0], [1.0]])
    end = torch.tensor([[False], [False], [True]])
    found = advantages(reward, torch.zeros(3, 1), end, discount=0.9, trace=0.5)
    torch.testing.assert_close(found, torch.tensor([[0.45**2], [0.45], [1.0]]))


def test_what_lies_behind_the_end_of_a_trial_does_not_matter() -> None:
    reward, value, end = trials()
    one = advantages(reward, value, end, discount=0.9, trace=0.8)
    for column, length in enumerate(LENGTHS):
        reward[length:, column] = 1e6
        value[length:, column] = -1e6
    other = advantages(reward, value, end, discount=0.9, trace=0.8)
    for column, length in enumerate(LENGTHS):
        torch.testing.assert_close(one[:length, column], other[:length, column], rtol=0, atol=0)


def test_advantages_carry_no_gradient() -> None:
    reward, value, end = trials()
    found = advantages(reward, value.requires_grad_(), end, discount=0.9, trace=0.8)
    assert not found.requires_grad


@pytest.mark.parametrize("discount", [1.0, 0.99, 0.5, 0.0])
def test_steps_left_are_the_discounted_sum_of_as_many_ones(discount: float) -> None:
    longest = torch.tensor([11, 7, 4, 1])
    found = steps_left(longest, T, discount)
    for column, length in enumerate(longest.tolist()):
        expected = [sum(discount**k for k in range(max(1, length - t))) for t in range(T)]
        torch.testing.assert_close(found[:, column], torch.tensor(expected), rtol=1e-6, atol=0)


@pytest.mark.parametrize("rows", [T - 1, T + 1])
def test_values_have_as_many_rows_as_rewards(rows: int) -> None:
    reward, _, end = trials()
    with pytest.raises(ValueError, match=f"value has {rows} rows; expected {T}"):
        advantages(reward, torch.zeros(rows, B), end, discount=0.9, trace=0.8)
