"""Adaptation by gradient: a policy whose per-task parameters are a few policy-gradient steps from shared ones.

(Finn et al. 2017, arXiv:1703.03400, section 3 and algorithm 3; learned rates: Li et al. 2017, arXiv:1707.09835.)

The columns of a task are adjacent. A `Phase` has all their steps in one axis, N = H x rollouts_per_task; quantities of
several tasks have the tasks as their first axis, and functions of a single task are batched with `torch.func.vmap`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..heads import Head
from ..trajectory import Trajectory
from .baseline import by_task, task_advantages
from .feedforward import GradientPolicy, Weights


class Phase(NamedTuple):
    """One episode of every column, as policy gradients read it: first axis tasks (none inside `vmap`), then N steps."""

    x: Tensor
    """[..., N, D], encoded observations; as they are stored, [..., N, *], until `encoded`, where the encoder learns."""
    draw: Tensor
    """[..., N, *]"""
    log_prob: Tensor
    """[..., N], of the draws under the policy that played."""
    advantage: Tensor
    """[..., N], normalised per task; 0 where the step does not count."""
    weight: Tensor
    """[..., N], of a step in its task's mean; sums to 1."""

    def of(self, tasks: np.ndarray) -> "Phase":
        """Some of the tasks."""
        return Phase(*(array[torch.from_numpy(tasks).to(array.device)] for array in self))

    def encoded(self, policy: GradientPolicy) -> "Phase":
        """With the observations encoded, differentiably with respect to what the encoder learns."""
        return self._replace(x=policy.observation(self.x)) if policy.learned_encoder else self


def phase(
    x: Tensor,
    draw: Tensor,
    log_prob: Tensor,
    reward: Tensor,
    valid: Tensor,
    *,
    rollouts_per_task: int,
    discount: float,
    trace: float,
) -> tuple[Phase, Tensor]:
    """A phase out of columns [H, B, ...]; see `baseline.task_advantages`, whose second result is the second here."""
    advantage, explained = task_advantages(
        x, reward, valid, rollouts_per_task=rollouts_per_task, discount=discount, trace=trace
    )
    weight = by_task(valid, rollouts_per_task).to(x.dtype)
    weight = weight / weight.sum(-1, True).clamp(min=1)
    found = Phase(
        by_task(x, rollouts_per_task),
        by_task(draw, rollouts_per_task),
        by_task(log_prob, rollouts_per_task),
        advantage,
        weight,
    )
    return found, explained


def phases(
    policy: GradientPolicy, trajectory: Trajectory, *, rollouts_per_task: int, discount: float, trace: float
) -> tuple[list[Phase], Tensor]:
    """A trajectory as one phase per episode of its trials, and the baseline's explained variance [episodes, tasks].

    A trial's last episode is in the last phase. One with fewer episodes than others has nothing in the phases before
    it, whose inner steps then change nothing.
    """
    valid = trajectory.valid
    done = trajectory.done & valid
    own = done.sum(0)  # of each column
    episodes = int(own.max())
    episode = np.cumsum(done, axis=0) - done
    count = np.cumsum(valid, axis=0) - valid
    start = np.stack([(valid & (episode < index)).sum(0) for index in range(episodes)])
    column = np.broadcast_to(np.arange(valid.shape[1]), valid.shape)
    time = count - start[np.minimum(episode, episodes - 1), column]
    index = np.where(episode == own - 1, episodes - 1, episode)
    place = index[valid], time[valid], column[valid]
    steps = int(time[valid].max()) + 1
    device = next(policy.parameters()).device

    def split(array: np.ndarray) -> Tensor:  # [T, B, ...] to [episodes, H, B, ...]
        found = np.broadcast_to(array[0], (episodes, steps, *array.shape[1:])).copy()  # padding, a member of its space
        found[place] = array[valid]
        return torch.from_numpy(found).to(device)

    rows = len(valid)
    played = np.zeros((episodes, steps, valid.shape[1]), np.bool_)
    played[place] = True
    observation = split(trajectory.observation[:rows])
    if not policy.learned_encoder:
        observation = policy.observation(observation)
    draw, log_prob, reward = (
        split(a[:rows]) for a in (trajectory.note["draw"], trajectory.note["log_prob"], trajectory.reward)
    )
    if "reward" in trajectory.privileged:  # adaptation is left with what the agent saw
        reward[-1] = split(trajectory.privileged["reward"])[-1]
    found, explained = [], []
    for stored, *each in zip(observation, draw, log_prob, reward, torch.from_numpy(played).to(device), strict=True):
        with torch.no_grad():  # a step of all columns at a time: images are large
            x = torch.stack([policy.observation(step) for step in stored]) if policy.learned_encoder else stored
        one, share = phase(x, *each, rollouts_per_task=rollouts_per_task, discount=discount, trace=trace)
        found.append(one._replace(x=by_task(stored, rollouts_per_task)))
        explained.append(share)
    return found, torch.stack(explained)


class Adaptable(Protocol):
    """A network whose weights inner steps change, those of every task on their own."""

    @property
    def head(self) -> Head:
        """The distribution of what it draws."""
        ...

    @property
    def weights(self) -> Any:
        """What inner steps change, name to tensor, as all tasks share it before the first."""
        ...

    def distribution(self, weights: Weights, x: Tensor) -> Tensor:
        """The head's parameters [N, size] of one task."""
        ...

    def rate(self, name: str, step: int) -> Tensor | float:
        """Step size of an inner step, counted from 0, for one of the weights."""
        ...


InnerLoss = Callable[[Adaptable, Weights, Phase], Tensor]
"""What one task's inner step descends: of the network, this task's weights, and its phase, which they played."""


def log_probability_loss(policy: Adaptable, weights: Weights, data: Phase) -> Tensor:
    """Minus the mean of log-probabilities weighed by advantages, as in MAML. With answers as draws and advantages of 1
    that is the cross-entropy."""
    log_prob, _ = policy.head.measure(policy.distribution(weights, data.x), data.draw)
    return -(log_prob * data.advantage * data.weight).sum()


def ratio_loss(policy: Adaptable, weights: Weights, data: Phase) -> Tensor:
    """The same with probability ratios to the policy that played, whose second derivative is the low-variance curvature
    estimate (Rothfuss et al. 2018, arXiv:1810.06784, eq. 6). The first derivative is the same."""
    log_prob, _ = policy.head.measure(policy.distribution(weights, data.x), data.draw)
    return -((log_prob - data.log_prob).exp() * data.advantage * data.weight).sum()


def inner_step(
    policy: Adaptable,
    weights: Weights,
    data: Phase,
    step: int,
    *,
    loss: InnerLoss = log_probability_loss,
    first_order: bool = False,
) -> dict[str, Tensor]:
    """One task's weights after an inner step.

    Args:
        policy: the network, with the rates.
        weights: of this task.
        data: of this task, played with these weights.
        step: which one, from 0.
        loss: that the step descends.
        first_order: treat the step's gradient as a constant when the result is differentiated.
    """
    gradient = torch.func.grad(lambda weights: loss(policy, weights, data))(dict(weights))
    if first_order:
        gradient = {name: share.detach() for name, share in gradient.items()}
    return {name: weight - policy.rate(name, step) * gradient[name] for name, weight in weights.items()}


def inner_steps(
    policy: Adaptable,
    weights: Weights,
    data: Phase,
    step: int,
    **options: Any,
) -> dict[str, Tensor]:
    """`inner_step`, with its options, of every task at once.

    Before the first step all tasks share their weights, which then have no task axis.
    """
    one = torch.func.vmap(
        lambda weights, data: inner_step(policy, weights, data, step, **options),
        in_dims=(0 if step else None, 0),
    )
    return one(dict(weights), data)


def adapted(
    policy: Adaptable, data: Sequence[Phase], *, loss: InnerLoss = log_probability_loss, first_order: bool = False
) -> list[dict[str, Tensor]]:
    """The weights of every task before and after each inner step: one more than there are phases.

    Differentiable with respect to the policy's parameters; the first are shared by all tasks and have no task axis.
    """
    found = [dict(policy.weights.items())]
    for step, each in enumerate(data):
        found.append(inner_steps(policy, found[-1], each, step, loss=loss, first_order=first_order))
    return found
