"""Adaptation by gradient the slow, obvious way: task by task, with plain autograd and torch's own distributions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import pytest
import torch
from torch import Tensor, distributions, nn

from innerloop.learner.gradient.adaptation import Phase
from innerloop.learner.gradient.inner_loop import GradientBased
from innerloop.learner.learner import Learner
from innerloop.learner.trajectory import Trajectory

Parameters = Mapping[str, Tensor]
"""As `named_parameters` gives them: weights.* and, where they are learned, rates.*."""


@dataclass(frozen=True)
class Slowly:
    """What an algorithm computes, of tanh networks."""

    algorithm: GradientBased
    ratio: bool

    def policy(self, weights: Parameters, x: Tensor) -> distributions.Distribution:
        """Of one task's weights (w0, b0, w1, ...), at observations [N, D]."""
        for index in count():
            x = x @ weights[f"w{index}"] + weights[f"b{index}"]
            if f"w{index + 1}" not in weights:
                break
            x = torch.tanh(x)
        if "state_independent" not in weights:
            return distributions.Categorical(logits=x)
        return distributions.Independent(distributions.Normal(x, weights["state_independent"].exp().expand_as(x)), 1)

    def adapted(self, parameters: Parameters, inner: Sequence[Phase], task: int) -> list[dict[str, Tensor]]:
        """One task's weights before and after each inner step (Finn et al. 2017, eq. 1), with their graph."""
        steps = [{name[8:]: each for name, each in parameters.items() if name.startswith("weights.")}]
        for index, phase in enumerate(inner):
            weights, shorter = steps[-1], self.algorithm.inner_decay if index else 1.0
            counted = phase.weight[task] > 0
            log_prob = self.policy(weights, phase.x[task][counted]).log_prob(phase.draw[task][counted])
            gain = (log_prob - phase.log_prob[task][counted]).exp() if self.ratio else log_prob
            loss = -(gain * phase.advantage[task][counted]).mean()
            gradient = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            if self.algorithm.first_order:
                gradient = [each.detach() for each in gradient]
            rates = [parameters.get(f"rates.{name}", self.algorithm.inner_rate) for name in weights]
            steps.append(
                {
                    name: weight - shorter * rate * share
                    for (name, weight), rate, share in zip(weights.items(), rates, gradient, strict=True)
                }
            )
        return steps

    def surrogate(self, parameters: Parameters, data: Sequence[Phase], clip: float = float("inf")) -> Tensor:
        """Minus the mean over tasks of the mean over steps, after adaptation; clipped as in PPO."""
        losses, post = [], data[-1]
        for task in range(len(post.x)):
            counted = post.weight[task] > 0
            weights = self.adapted(parameters, data[:-1], task)[-1]
            log_prob = self.policy(weights, post.x[task][counted]).log_prob(post.draw[task][counted])
            ratio, advantage = (log_prob - post.log_prob[task][counted]).exp(), post.advantage[task][counted]
            losses.append(-torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean())
        return torch.stack(losses).mean()

    def kl(self, old: Parameters, new: Parameters, data: Sequence[Phase], episode: int) -> Tensor:
        """KL(old || new) of the policies of an episode at its own observations, mean over steps and over tasks."""
        found = []
        for task in range(len(data[0].x)):
            x = data[episode].x[task][data[episode].weight[task] > 0]
            before, after = (self.policy(self.adapted(p, data[:episode], task)[-1], x) for p in (old, new))
            found.append(distributions.kl_divergence(before, after).mean())
        return torch.stack(found).mean()


@pytest.fixture
def slowly() -> Callable[..., Slowly]:
    """From an algorithm to what it computes; `ratio` tells which of the two surrogates the inner step descends."""

    def make(algorithm: GradientBased, ratio: bool = False) -> Slowly:
        return Slowly(algorithm, ratio)

    return make


@pytest.fixture
def numerical_gradient() -> Callable[..., dict[str, Tensor]]:
    """Central differences of a function of parameters."""

    def make(function: Callable[[Parameters], Tensor], at: Parameters, width: float = 1e-5) -> dict[str, Tensor]:
        found = {name: torch.zeros_like(each) for name, each in at.items()}
        for name, each in at.items():
            for index in range(each.numel()):
                sides = []
                for side in (width, -width):
                    moved = {key: value.detach().clone().requires_grad_() for key, value in at.items()}
                    with torch.no_grad():
                        moved[name].view(-1)[index] += side
                    sides.append(float(function(moved).detach()))
                found[name].view(-1)[index] = (sides[0] - sides[1]) / (2 * width)
        return found

    return make


class _Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.double()


@pytest.fixture
def in_double() -> Callable[..., Trajectory]:
    """Make a learner's model float64, and what it played too."""

    def make(learner: Learner, trajectory: Trajectory) -> Trajectory:
        learner.model.double()
        learner.model.observation = nn.Sequential(learner.model.observation, _Double())
        note = {
            name: array.astype(np.float64) if array.dtype.kind == "f" else array
            for name, array in trajectory.note.items()
        }
        return replace(trajectory, note=note)

    return make


@pytest.fixture
def gapped() -> Callable[..., Trajectory]:
    """Trials with episodes of given lengths, [B, episodes], `width` columns to a task, which wait for each other.

    Every step has a number of its own, which is its observation (twice), reward, draw and log-probability: 10,000 times
    the column, plus 100 times the episode, plus the step. What does not count is -1.
    """

    def make(lengths: Sequence[Sequence[int]], width: int) -> Trajectory:
        given = np.array(lengths)
        columns, episodes = given.shape
        each = given.reshape(-1, width, episodes).max(1)  # [tasks, episodes]: how long the slowest takes
        start = np.repeat(np.cumsum(each, 1) - each, width, axis=0)
        number = np.full((int(each.sum(1).max()) + 1, columns), -1, np.int64)
        terminated, valid = np.zeros((2, len(number) - 1, columns), np.bool_)
        for column in range(columns):
            for episode in range(episodes):
                first, length = start[column, episode], given[column, episode]
                number[first : first + length, column] = 10_000 * column + 100 * episode + np.arange(length)
                valid[first : first + length, column] = True
                until = first + each[column // width, episode]  # while it waits it says so again, which means nothing
                terminated[first + length - 1 : until, column] = True
        numbers = number.astype(np.float32)
        return Trajectory(
            observation=np.stack([numbers, numbers], -1),
            action=number[:-1],
            reward=numbers[:-1],
            terminated=terminated,
            truncated=np.zeros_like(terminated),
            valid=valid,
            note={"draw": np.stack([numbers, numbers], -1), "log_prob": numbers},
        )

    return make
