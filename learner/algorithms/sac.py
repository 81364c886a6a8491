"""The parts of soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905): its distributions, twin critics with target
networks, the temperature. Algorithms differ in what their actor and critics condition on.

Both kinds of actions share one update. What the critics are given of a policy is its *soft action* [..., width]: of
continuous actions a draw, through which gradients flow; of discrete ones the probabilities, in which their estimate is
linear, so that it is an expectation (Christodoulou 2019, arXiv:1910.07207).

A learned encoder of observations follows the critics' loss alone (Yarats et al. 2021, arXiv:1910.01741).
"""

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

from ...envs.errors import require
from ...envs.seeding import Random
from ...envs.spaces import bounded, check_action_space, half_bounded
from ..api import Consumes, Metrics, Problem, linear
from ..encoders import build_encoder, parse_encoder
from ..heads import Categorical, Gaussian, MultiCategorical, head

LEARNED_FROM = ("critics.", "log_temperature", "gradient_steps")
"""How the names of what an actor does not need begin: it acts with the policy alone."""
LOG_STD = -20.0, 2.0
"""Bounds of the log standard deviation before squashing."""


class SquashedGaussian(Gaussian):
    """For `Box`: squashed independent normals whose means and deviations both depend on the observation.

    A draw is in units of the box's half-widths around its centre: the tanh of a normal, in (-1, 1). Where one bound is
    missing it is a softplus instead, and where both are, the normal itself.
    """

    discrete = False
    _both: Tensor
    _half: Tensor

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space)
        self.state_independent, self.noise_width, self.target_entropy = 0, self.width, float(-self.width)
        self._all_bounded = bool(bounded(space).all())
        for name, array in (("_both", bounded(space)), ("_half", half_bounded(space))):
            self.register_buffer(name, torch.from_numpy(array.reshape(-1).copy()), persistent=False)

    def soft(self, parameters: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The soft action [..., width] and its log-probability [...]."""
        return self.draw(parameters, noise)

    def draw(self, parameters: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """A draw from parameters [..., size] and its log-probability [...] (appendix C); differentiable."""
        mean, log_std = parameters.float().split(self.width, -1)
        log_std = log_std.clamp(*LOG_STD)
        z = torch.zeros_like(mean) if noise is None else noise.to(mean.device)
        raw = mean + log_std.exp() * z
        log_prob = -0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(raw)²), without its cancellation far from 0
        squashing = 2 * (math.log(2) - raw - functional.softplus(-2 * raw))
        draw = raw.tanh()
        if not self._all_bounded:
            half = self._half * (functional.softplus(self._half * raw) - 1)
            draw = torch.where(self._both, draw, torch.where(self._half != 0, half, raw))
            half_squashing = -functional.softplus(-self._half * raw) * (self._half != 0)
            squashing = torch.where(self._both, squashing, half_squashing)
        return draw, (log_prob - squashing).sum(-1)


class SoftCategorical(nn.Module):
    """For `Discrete`, `MultiDiscrete` and `MultiBinary`: independent categorical distributions.

    The critics estimate one number per possibility of each component; that of an action is their sum over components
    (Tavakoli et al. 2018, arXiv:1711.08946, by decomposition), which for `Discrete` is exact.
    """

    discrete = True

    def __init__(self, space: gymnasium.Space) -> None:
        super().__init__()
        found = head(space)
        assert isinstance(found, Categorical | MultiCategorical)
        self.distribution = found
        self.size = self.width = found.size
        self.action, self.encode, self.none = found.action, found.encode, found.none
        counts = [found.size] if isinstance(found, Categorical) else found.counts
        self.noise_width, self.target_entropy = len(counts), 0.98 * sum(math.log(count) for count in counts)

    def soft(self, parameters: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The probabilities [..., width], and minus the entropy [...], which is the expected log-probability."""
        p, log_p = self.distribution.probabilities(parameters)
        return p, (p * log_p).sum(-1)

    def draw(self, parameters: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """A draw from parameters [..., size] by standard normal noise [..., noise_width], and its log-probability."""
        return self.distribution.draw(parameters, None if noise is None else self._uniform(noise))

    def _uniform(self, noise: Tensor) -> Tensor:
        uniform = torch.special.ndtr(noise)
        return uniform if isinstance(self.distribution, Categorical) else uniform.unsqueeze(-1)


def soft_head(space: gymnasium.Space) -> SquashedGaussian | SoftCategorical:
    """The distribution for an action space.

    Raises:
        BadInput: an action space that is not supported.
    """
    check_action_space("the action space", space)
    return SquashedGaussian(space) if isinstance(space, spaces.Box) else SoftCategorical(space)


def perceptron(inputs: int, hidden: int, layers: int, outputs: int) -> nn.Sequential:
    """A feed-forward network with ReLU between its layers."""
    widths = [inputs, *[hidden] * layers, outputs]
    parts = [part for size in pairwise(widths) for part in (nn.Linear(*size), nn.ReLU())]
    return nn.Sequential(*parts[:-1])


class Critic(nn.Module):
    """A network's estimate of soft actions."""

    def __init__(self, head: SquashedGaussian | SoftCategorical, inputs: int, hidden: int, layers: int) -> None:
        """Args:
        head: of the actions.
        inputs: width of what it is given beside an action.
        hidden: width of the layers.
        layers: hidden ones.
        """
        super().__init__()
        self._discrete = head.discrete
        width, outputs = (inputs, head.size) if head.discrete else (inputs + head.width, 1)
        self.network = perceptron(width, hidden, layers, outputs)

    def forward(self, x: Tensor, action: Tensor, *more: Tensor) -> Tensor:
        """[..., 1] for inputs [..., D], a soft action [..., width] and more inputs."""
        if self._discrete:
            return (self.network(torch.cat([x, *more], -1)) * action).sum(-1, keepdim=True)
        return self.network(torch.cat([x, action, *more], -1))


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


def noise(rng: Random, shape: Sequence[int], device: torch.device) -> Tensor:
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
    """Weight of the policy's entropy; 0 to learn it. The target entropy is minus the number of action dimensions, for
    discrete actions 98 % of the largest entropy."""
    encoder: str = "auto"
    """Encoder of the observation: auto (cnn for images, else flat), cnn, flat, mlp, or package.module:attribute; with
    its options as in mlp,width=64,layers=2."""

    @property
    def consumes(self) -> Consumes:
        return "replay"

    def __post_init__(self) -> None:
        parse_encoder(self.encoder)
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

    def __init__(self, problem: Problem, options: SoftActorCritic) -> None:
        super().__init__()
        temperature = options.temperature
        self.observation = build_encoder(options.encoder, problem.observation_space)
        self.head = soft_head(problem.action_space)
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
        surplus = log_prob.detach() + self.head.target_entropy
        return -self.log_temperature * surplus * self.log_temperature.requires_grad
