"""Returns and advantages over whole trials."""

import torch
from torch import Tensor

from .memory.scan import solved


@torch.no_grad()
def advantages(
    reward: Tensor, value: Tensor, trial_end: Tensor, terminated: Tensor, *, discount: float, trace: float
) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, arXiv:1506.02438, eq. 16).

    The sum stops at the end of a trial, not of an episode: credit for exploring crosses episodes. A trial whose last
    episode was terminated is worth nothing afterwards; one that was truncated is bootstrapped from `value`.

    Args:
        reward: [T, B], in the task's units.
        value: [T + 1, B], same units; the row after a trial's end is its bootstrap.
        trial_end: [T, B] bool, the trial's last step. What lies behind it must not be used.
        terminated: [T, B] bool, the MDP ended the episode at this step.
        discount: per step, in [0, 1].
        trace: lambda in [0, 1]; 0 is one-step TD, 1 is Monte Carlo.

    Returns:
        [T, B], in the units of `reward`, without gradient.

    Raises:
        ValueError: `value` does not have exactly one row more than `reward`.
    """
    if len(value) != len(reward) + 1:
        raise ValueError(f"value has {len(value)} rows; expected {len(reward) + 1}, one more than reward")
    worth = discount * value[1:]
    error = reward + worth.masked_fill(trial_end & terminated, 0) - value[:-1]
    carry = (discount * trace) * (~trial_end).to(reward.dtype)
    if reward.is_cuda:  # where a loop's time is that of its launches
        return solved(carry.unsqueeze(-1), error.unsqueeze(-1), backwards=True).squeeze(-1)
    result = torch.empty_like(reward)
    running = torch.zeros_like(reward[0])
    for t in range(len(reward) - 1, -1, -1):
        running = torch.addcmul(error[t], carry[t], running, out=result[t])
    return result
