"""Returns and advantages over whole trials."""

import numpy as np
import torch
from torch import Tensor

from .memory.scan import solved
from .problem import Problem
from .trajectory import Trajectory


def steps_left(trials: Trajectory, problem: Problem, discount: float) -> np.ndarray:
    """How many steps a trial can still have at each of its steps, the one at t + k counted as discount^k.

    What is known when a trial begins counts, never what became of it: how many episodes it has, of at most as many
    steps as the problem allows; or how many steps, where trials are counted in them.

    Args:
        trials: whole ones.
        problem: they are of.
        discount: per step, in [0, 1].

    Returns:
        float32 [T, B], at least 1.
    """
    episodes = (trials.done & trials.valid).sum(0)
    longest = np.full_like(episodes, problem.trial_steps) if problem.trial_steps else problem.horizon * episodes
    return _discounted(longest - np.arange(len(trials.valid))[:, None], discount)


def most_steps(problem: Problem, discount: float) -> float:
    """`steps_left` at the beginning of the longest trial."""
    return float(_discounted(np.array(problem.steps), discount))


def _discounted(steps: np.ndarray, discount: float) -> np.ndarray:
    left = np.maximum(steps, 1).astype(np.float64)
    return (left if discount == 1 else (1 - discount**left) / (1 - discount)).astype(np.float32)


@torch.no_grad()
def advantages(reward: Tensor, value: Tensor, trial_end: Tensor, *, discount: float, trace: float) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, arXiv:1506.02438, eq. 16).

    The sum stops at the end of a trial, not of an episode: credit for exploring crosses episodes. Nothing follows a
    trial, also where its horizon cut it: what is maximised is the return of the trial (Duan et al. 2016, section 2.2).
    A value behind its end could only come from an input that no loss trains (benchmarks/results/trial-end).

    Args:
        reward: [T, B], in the task's units.
        value: [T, B], same units.
        trial_end: [T, B] bool, the trial's last step. What lies behind it must not be used.
        discount: per step, in [0, 1].
        trace: lambda in [0, 1]; 0 is one-step TD, 1 is Monte Carlo.

    Returns:
        [T, B], in the units of `reward`, without gradient.

    Raises:
        ValueError: `value` does not have as many rows as `reward`.
    """
    if len(value) != len(reward):
        raise ValueError(f"value has {len(value)} rows; expected {len(reward)}, as reward has")
    following = torch.cat([value[1:], torch.zeros_like(value[:1])])
    error = reward + (discount * following).masked_fill(trial_end, 0) - value
    carry = (discount * trace) * (~trial_end).to(reward.dtype)
    if reward.is_cuda:  # where a loop's time is that of its launches
        return solved(carry.unsqueeze(-1), error.unsqueeze(-1), backwards=True).squeeze(-1)
    result = torch.empty_like(reward)
    running = torch.zeros_like(reward[0])
    for t in range(len(reward) - 1, -1, -1):
        running = torch.addcmul(error[t], carry[t], running, out=result[t])
    return result
