"""Advantages against the sum in the paper, written out quadratically, trial by trial."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from innerloop.learner.problem import Problem
from innerloop.learner.returns import advantages, most_steps, steps_left
from innerloop.learner.trajectory import Trajectory

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


def ended_at(*episodes: tuple[int, ...]) -> Trajectory:
    """Trials whose episodes have these lengths, a column each."""
    length = max(map(sum, episodes))
    valid, over = np.zeros((2, length, len(episodes)), np.bool_)
    for column, lengths in enumerate(episodes):
        valid[: sum(lengths), column] = True
        over[np.cumsum(lengths) - 1, column] = True
    nothing = np.zeros(valid.shape, np.float32)
    return Trajectory(
        observation=np.zeros((length + 1, len(episodes)), np.int64), action=nothing.astype(np.int64), reward=nothing,
        terminated=over, truncated=np.zeros_like(over), valid=valid,
    )  # fmt: skip


@pytest.mark.parametrize("discount", [1.0, 0.99, 0.5, 0.0])
@pytest.mark.parametrize(
    ("trial_steps", "episodes", "longest"),
    [(0, [(3, 3, 2), (3, 1), (2,)], [9, 6, 3]), (8, [(3, 3, 2), (4, 4), (8,)], [8, 8, 8])],
    ids=["episodes", "steps"],
)
def test_steps_left_are_as_many_as_are_known_before(
    trial_steps: int, episodes: list[tuple[int, ...]], longest: list[int], discount: float
) -> None:
    """Trials of different numbers of episodes, of at most 3 steps, as a curriculum has them; or of so many steps."""
    problem = Problem(spaces.Discrete(2), spaces.Discrete(2), 3, 3, trial_steps)
    found = steps_left(ended_at(*episodes), problem, discount)
    for column, most in enumerate(longest):
        expected = [sum(discount**k for k in range(max(1, most - t))) for t in range(8)]
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-6)
    assert most_steps(problem, discount) == pytest.approx(found[0, 0])


@pytest.mark.parametrize("rows", [T - 1, T + 1])
def test_values_have_as_many_rows_as_rewards(rows: int) -> None:
    reward, _, end = trials()
    with pytest.raises(ValueError, match=f"value has {rows} rows; expected {T}"):
        advantages(reward, torch.zeros(rows, B), end, discount=0.9, trace=0.8)
