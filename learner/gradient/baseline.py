"""The linear feature baseline of policy gradients (Duan et al. 2016, arXiv:1604.06778, section 4), one fit per task.

An episode's features know the time, so its end is an end, truncated or not: nothing is bootstrapped.
"""

import torch
from torch import Tensor

from ..returns import advantages

LEAST_SPREAD = 1e-5
"""Of a task's advantages, as a share of its returns: what is less is the ridge's, or rounding, and no preference."""
RIDGE = 1e-5
"""Added to the normal equations' diagonal; ten times as much as often as they cannot be solved."""


def features(x: Tensor) -> Tensor:
    """[o, o², t/100, (t/100)², (t/100)³, 1] of observations x [H, B, D], t being the first axis; [H, B, 2 D + 4]."""
    t = torch.arange(len(x), dtype=x.dtype, device=x.device)[:, None] / 100
    time = torch.stack([t, t**2, t**3, torch.ones_like(t)], -1)
    return torch.cat([x, x.square(), time.expand(*x.shape[:-1], -1)], -1)


def fit(inputs: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Ridge regression for every task, one at a time: in a batched product, a task's bits may depend on the others.

    Args:
        inputs: [tasks, N, F].
        target: [tasks, N].
        valid: [tasks, N] bool; other rows do not count.

    Returns:
        Coefficients, [tasks, F].
    """
    counted = inputs * valid.unsqueeze(-1)
    square = torch.stack([some.mT @ all_ for some, all_ in zip(counted, inputs, strict=True)])
    cross = (counted * target.unsqueeze(-1)).sum(1, keepdim=True).mT
    identity = torch.eye(inputs.shape[-1], dtype=inputs.dtype, device=inputs.device)
    ridge = torch.full((len(inputs), 1, 1), RIDGE, dtype=inputs.dtype, device=inputs.device)
    factor, failed = torch.linalg.cholesky_ex(square + ridge * identity)
    while failed.any() and ridge.max() < 1e10:
        ridge = torch.where(failed.bool()[:, None, None], 10 * ridge, ridge)
        factor, failed = torch.linalg.cholesky_ex(square + ridge * identity)
    return torch.cholesky_solve(cross, factor).squeeze(-1)


def by_task(array: Tensor, rollouts_per_task: int) -> Tensor:
    """Rows of tasks out of columns: [H, tasks * rollouts_per_task, ...] to [tasks, H * rollouts_per_task, ...]."""
    return array.unflatten(1, (-1, rollouts_per_task)).transpose(0, 1).flatten(1, 2)


def task_advantages(
    x: Tensor, reward: Tensor, valid: Tensor, *, rollouts_per_task: int, discount: float, trace: float
) -> tuple[Tensor, Tensor]:
    """Advantages of one episode per column, against the baseline fitted to the task's own columns.

    Args:
        x: [H, B, D], encoded observations; every column's episode starts at row 0.
        reward: [H, B], in the task's units.
        valid: [H, B] bool, the episode's steps.
        rollouts_per_task: columns of one task, next to each other.
        discount: per step.
        trace: lambda of the generalised advantage estimates; 1 is return minus baseline.

    Returns:
        [tasks, H * rollouts_per_task] in the order of `by_task`, normalised over the steps of each task, 0 where not
        valid; and the share of the returns' variance that the baseline explains, [tasks]; 0 where they do not vary.
    """
    later = torch.cat([valid[1:], torch.zeros_like(valid[:1])])
    end = valid & ~later
    reward = torch.where(valid, reward, 0).double()
    inputs, counted = by_task(features(x.double()), rollouts_per_task), by_task(valid, rollouts_per_task)
    returns = by_task(
        advantages(reward, torch.zeros_like(reward), end, discount=discount, trace=1.0), rollouts_per_task
    )
    predicted = torch.where(counted, (inputs * fit(inputs, returns, counted).unsqueeze(1)).sum(-1), 0)
    value = predicted.unflatten(1, (-1, rollouts_per_task)).transpose(0, 1).flatten(1, 2)  # by_task undone
    found = by_task(advantages(reward, value, end, discount=discount, trace=trace), rollouts_per_task)
    mean, std = moments(found, counted)
    size = torch.stack(moments(returns, counted)).square().sum(0).sqrt()
    least = (LEAST_SPREAD * size).clamp(min=torch.finfo(std.dtype).tiny)
    normalised = torch.where(counted, (found - mean) / torch.maximum(std, least), 0)
    left, spread = (moments(each, counted)[1].squeeze(-1) for each in (returns - predicted, returns))
    explained = torch.where(spread > 0, 1 - (left / spread).square(), 0)
    return normalised.to(x.dtype), explained


def moments(array: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each row's valid entries; [tasks, N] to [tasks, 1] each."""
    count = valid.sum(-1, keepdim=True)
    mean = torch.where(valid, array, 0).sum(-1, keepdim=True) / count
    variance = torch.where(valid, (array - mean).square(), 0).sum(-1, keepdim=True) / count
    return mean, variance.sqrt()
