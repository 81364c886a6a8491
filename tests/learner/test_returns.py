"""Advantages against the sum in the paper, written out quadratically, trial by trial."""

import pytest
import torch
from torch import Tensor

from innerloop.learner.returns import advantages

T, B = 11, 4
LENGTHS = (11, 1, 7, 4)


def sum_as_printed(
    reward: Tensor, value: Tensor, length: int, bootstrap: bool, discount: float, trace: float
) -> list[float]:
    """Schulman et al. 2016, eq. 16, of one trial: each advantage is the sum of (γλ)^l δ_{t+l} until the trial's end."""
    after = [float(v) for v in value[1 : length + 1]]
    if not bootstrap:
        after[-1] = 0.0
    delta = [float(reward[t]) + discount * after[t] - float(value[t]) for t in range(length)]
    return [sum((discount * trace) ** i * delta[t + i] for i in range(length - t)) for t in range(length)]


def trials(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards, values and the ends of trials of `LENGTHS` steps."""
    generator = torch.Generator().manual_seed(seed)
    end = torch.zeros(T, B, dtype=torch.bool)
    for column, length in enumerate(LENGTHS):
        end[length - 1, column] = True
    return torch.randn(T, B, generator=generator), torch.randn(T + 1, B, generator=generator), end


@pytest.mark.parametrize("last", ["terminated", "truncated"])
@pytest.mark.parametrize(("discount", "trace"), [(0.9, 0.8), (1.0, 1.0), (0.99, 0.0), (0.0, 0.5), (1.0, 0.3)])
def test_advantages_are_the_sum_in_the_paper(last: str, discount: float, trace: float) -> None:
    """Episodes end inside the trials at random, by termination: only the last one decides on the bootstrap."""
    reward, value, end = trials()
    terminated = torch.rand(T, B, generator=torch.Generator().manual_seed(1)) < 0.4
    terminated[end] = last == "terminated"
    found = advantages(reward, value, end, terminated, discount=discount, trace=trace)
    for column, length in enumerate(LENGTHS):
        expected = sum_as_printed(reward[:, column], value[:, column], length, last == "truncated", discount, trace)
        torch.testing.assert_close(found[:length, column], torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_credit_crosses_the_ends_of_episodes() -> None:
    """One reward in the last step of a trial of one-step episodes is credited to the first step too."""
    reward = torch.tensor([[0.0], [0.0], [1.0]])
    end = torch.tensor([[False], [False], [True]])
    found = advantages(reward, torch.zeros(4, 1), end, torch.ones(3, 1, dtype=torch.bool), discount=0.9, trace=0.5)
    torch.testing.assert_close(found, torch.tensor([[0.45**2], [0.45], [1.0]]))


def test_what_lies_behind_the_end_of_a_trial_does_not_matter() -> None:
    reward, value, end = trials()
    terminated = end.clone()
    terminated[:, 2] = False  # this one is bootstrapped from the value behind its last step
    one = advantages(reward, value, end, terminated, discount=0.9, trace=0.8)
    for column, length in enumerate(LENGTHS):
        reward[length:, column] = 1e6
        value[length + 1 :, column] = -1e6
        terminated[length:, column] = True
    other = advantages(reward, value, end, terminated, discount=0.9, trace=0.8)
    for column, length in enumerate(LENGTHS):
        torch.testing.assert_close(one[:length, column], other[:length, column], rtol=0, atol=0)


def test_a_truncated_trial_is_bootstrapped_and_a_terminated_one_is_not() -> None:
    reward, value = torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [10.0, 10.0]])
    end, terminated = torch.ones(1, 2, dtype=torch.bool), torch.tensor([[True, False]])
    found = advantages(reward, value, end, terminated, discount=0.9, trace=0.8)
    torch.testing.assert_close(found, torch.tensor([[0.0, 9.0]]))


def test_advantages_carry_no_gradient() -> None:
    reward, value, end = trials()
    found = advantages(reward, value.requires_grad_(), end, end, discount=0.9, trace=0.8)
    assert not found.requires_grad


@pytest.mark.parametrize("rows", [T - 1, T, T + 2])
def test_values_have_one_row_more_than_rewards(rows: int) -> None:
    reward, _, end = trials()
    with pytest.raises(ValueError, match=f"value has {rows} rows; expected {T + 1}"):
        advantages(reward, torch.zeros(rows, B), end, end, discount=0.9, trace=0.8)
