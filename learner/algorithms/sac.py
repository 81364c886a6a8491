"""The parts of soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905): a squashed Gaussian, twin critics with
target networks, the temperature. Algorithms differ in what their actor and critics condition on."""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from ...envs.errors import BadInput, require
from ...envs.spaces import bounded
from ..api import Metrics, Problem, linear
from ..encoders import Observation
from ..heads import Gaussian

LEARNED_FROM = ("critics.", "log_temperature", "gradient_steps")
"""How the names of what an actor does not need begin: it acts with the policy alone."""
LOG_STD = -20.0, 2.0
"""Bounds of the log standard deviation before squashing."""


class SquashedGaussian(Gaussian):
    """For a bounded `Box`: the tanh of independent normals whose means and deviations both depend on the observation.

    A draw lies in (-1, 1), in units of the box's half-widths around its centre.
    """

    def __init__(self, space: gymnasium.Space) -> None:
        if not (isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating) and bounded(space).all()):
            raise BadInput(f"the action space is {space}; expected a bounded Box of floats, for soft actor-critic.")
        super().__init__(space)
        self.state_independent = 0

    def draw(self, parameters: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """A draw from parameters [..., size] and its log-probability [...] (appendix C); differentiable."""
        mean, log_std = parameters.float().split(self.width, -1)
        log_std = log_std.clamp(*LOG_STD)
        z = torch.zeros_like(mean) if noise is None else noise.to(mean.device)
        raw = mean + log_std.exp() * z
        log_prob = -0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(raw)²), without its cancellation far from 0
        squashing = 2 * (math.log(2) - raw - functional.softplus(-2 * raw))
        return raw.tanh(), (log_prob - squashing).sum(-1)


def perceptron(inputs: int, hidden: int, layers: int, outputs: int) -> nn.Sequential:
    """A feed-forward network with ReLU between its layers."""
    widths = [inputs, *[hidden] * layers, outputs]
    parts = [part for size in pairwise(widths) for part in (nn.Linear(*size), nn.ReLU())]
    return nn.Sequential(*parts[:-1])


class Twins(nn.Module):
    """Twin critics and their target networks."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.online = nn.ModuleList([make(), make()])
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, *inputs: Tensor) -> Tensor:
        """[2, ...]: the estimates of both online critics."""
        return torch.stack([critic(*inputs).squeeze(-1) for critic in self.online])

    @torch.no_grad()
    def target_value(self, *inputs: Tensor) -> Tensor:
        """[...]: the smaller of the two target networks' estimates."""
        return torch.minimum(*(critic(*inputs).squeeze(-1) for critic in self.target))

    def frozen_value(self, *inputs: Tensor) -> Tensor:
        """[...]: the smaller of the two online estimates; gradients reach the inputs, not the critics."""
        return torch.minimum(*(frozen(critic)(*inputs).squeeze(-1) for critic in self.online))

    @torch.no_grad()
    def polyak_update(self, rate: float) -> None:
        """Move the target networks towards the online critics by this share of the difference."""
        for target, online in zip(self.target.parameters(), self.online.parameters(), strict=True):
            target.lerp_(online, rate)


def frozen(module: nn.Module) -> Callable[..., Tensor]:
    """The module with its parameters as constants: a copy that shares them, so that threads may use both at once."""
    return copy.deepcopy(module, {id(parameter): parameter.detach() for parameter in module.parameters()})


def noise(rng: np.random.Generator, shape: Sequence[int], device: torch.device) -> Tensor:
    """Standard normal float32 of the caller's generator, so that a seeded run repeats on any device."""
    return torch.from_numpy(rng.standard_normal(tuple(shape), np.float32)).to(device)


@dataclass(frozen=True, kw_only=True)
class SoftActorCritic:
    """What algorithms with this outer update share: hyperparameters, and gradient steps in proportion to the steps that
    the environment has made."""

    updates_per_step: float = 0.1
    """Gradient steps per environment step."""
    warm_up: int = 2_000
    """Environment steps before the first gradient step; no updates are owed for them."""
    learning_rate: float = 3e-4
    """Adam's step size at the start."""
    learning_rate_end: float = 3e-4
    """At the end of the run; it changes linearly."""
    discount: float = 0.99
    """Per step."""
    target_rate: float = 0.005
    """Polyak averaging: the share by which the target networks move towards the critics, per gradient step."""
    reward_scale: float = 1.0
    """Factor of the rewards, relative to the entropy."""
    temperature: float = 0.0
    """Weight of the policy's entropy; 0 to learn it, with minus the number of action dimensions as target entropy."""

    on_policy = False

    def __post_init__(self) -> None:
        require(self.warm_up >= 0, "warm_up", self.warm_up, "at least 0")
        for field in ("updates_per_step", "learning_rate", "reward_scale"):
            given = getattr(self, field)
            require(0 < given < float("inf"), field, given, "a finite number above 0")
        end = self.learning_rate_end
        require(0 <= end < float("inf"), "learning_rate_end", end, "a finite number of at least 0")
        require(0 <= self.temperature < float("inf"), "temperature", self.temperature, "a finite number of at least 0")
        require(0 <= self.discount <= 1, "discount", self.discount, "a number in [0, 1]")
        require(0 < self.target_rate <= 1, "target_rate", self.target_rate, "a number in (0, 1]")

    def optimisers(self, model: nn.Module) -> dict[str, torch.optim.Optimizer]:
        own = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return {"adam": torch.optim.Adam(own, lr=self.learning_rate, fused=True)}

    def acts_with(self, name: str) -> bool:
        return not name.startswith(LEARNED_FROM)

    def step_size(self, progress: float) -> float:
        """Adam's, when that share of the run is done."""
        return linear(self.learning_rate, self.learning_rate_end, progress)

    def due(self, played: int, taken: int) -> int:
        """Gradient steps that are due, after this many environment steps were played and gradient steps taken."""
        return max(0, math.floor(self.updates_per_step * max(0, played - self.warm_up)) - taken)


class ActorCritic(nn.Module):
    """What every model of this outer update has."""

    critics: Twins
    log_temperature: nn.Parameter
    gradient_steps: Tensor

    def __init__(self, problem: Problem, temperature: float) -> None:
        """Args:
        problem: the spaces.
        temperature: fixed; 0 for one that is learned, from 1 on.
        """
        super().__init__()
        self.observation, self.head = Observation(problem.observation_space), SquashedGaussian(problem.action_space)
        self.log_temperature = nn.Parameter(torch.tensor(temperature or 1.0).log(), requires_grad=not temperature)
        self.register_buffer("gradient_steps", torch.tensor(0))

    @property
    def device(self) -> torch.device:
        return self.log_temperature.device

    def run_gradient_steps(self, steps: Iterable[Metrics], target_rate: float) -> Metrics:
        """Run the gradient steps; returns the means of their metrics, and how many there were."""
        done: list[Metrics] = []
        for metrics in steps:
            self.critics.polyak_update(target_rate)
            self.gradient_steps += 1
            done.append(metrics)
        means = {name: sum(step[name] for step in done) / len(done) for name in done[0]} if done else {}
        return means | {"gradient_steps": len(done)}

    def temperature_loss(self, log_prob: Tensor) -> Tensor:
        """[...]: 0, unless the temperature is learned; then it falls while the entropy is above its target."""
        surplus = log_prob.detach() - self.head.width
        return -self.log_temperature * surplus * self.log_temperature.requires_grad
