"""PEARL's model: an encoder of the context into a posterior of the latent z, and a policy and critics that are given z.

(Rakelly et al. 2019, arXiv:1903.08254, section 4.)
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..api import Problem
from ..memory import constructor
from ..sampling import Steps
from .sac import ActorCritic, Critic, SoftActorCritic, Twins, perceptron

VARIANCE_FLOOR = 1e-7


class LatentPolicy(ActorCritic):
    """Encoder, and a policy and critics that are given its latent."""

    def __init__(
        self,
        problem: Problem,
        options: SoftActorCritic,
        *,
        latent: int,
        next_observation: bool,
        context_encoder: str,
        context_hidden: int,
        hidden: int,
        layers: int,
        lengths: tuple[int, ...],
    ) -> None:
        """See the options of `PEARL`; `lengths` are those of the contexts that it learns from."""
        super().__init__(problem, options)
        self.latent, self.next_observation, self.lengths = latent, next_observation, lengths
        seen = self.observation.width
        width = seen * (2 if next_observation else 1) + self.head.width + 1
        self.memory = None
        if context_encoder == "product":
            self.context_encoder = perceptron(width, context_hidden, layers, 2 * latent)
        else:
            self.memory = constructor("context_encoder", context_encoder)(width, context_hidden, problem.steps)
            self.context_encoder = nn.Linear(context_hidden, 2 * latent)
        self.policy = perceptron(seen + latent, hidden, layers, self.head.size)
        self.critics = Twins(lambda: Critic(self.head, seen + latent, hidden, layers))

    def put(self, steps: Steps[np.ndarray]) -> Steps[Tensor]:
        """On the model's device, as tensors."""
        return Steps(*(torch.tensor(array, device=self.device) for array in steps))

    def context(self, steps: Steps[Tensor]) -> Tensor:
        """Transitions as the encoder's inputs, [..., D]."""
        parts = [self.observation(steps.observation), self.head.encode(steps.action), steps.reward.unsqueeze(-1)]
        if self.next_observation:
            parts.append(self.observation(steps.next_observation))
        return torch.cat(parts, -1)

    def factor(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """The Gaussian that the encoder's output [..., 2 * latent] stands for: mean and precision [..., latent]."""
        mean, spread = encoded.split(self.latent, -1)
        return mean, 1 / functional.softplus(spread).clamp(min=VARIANCE_FLOOR)

    def posterior(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance [M, latent] of q(z | context) for contexts [M, C, D]."""
        if self.memory is None:
            mean, precision = self.factor(self.context_encoder(context))
            return product(mean, precision)
        mean, precision = self.factor(self.context_encoder(self.memory.unroll(context.transpose(0, 1))[-1]))
        return mean, 1 / precision

    def soft(self, x: Tensor, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Soft actions and their log-probabilities for encoded observations [..., D] and latents [..., latent]."""
        return self.head.soft(self.policy(torch.cat([x, z], -1)), noise)

    def draw(self, x: Tensor, z: Tensor, noise: Tensor | None) -> Tensor:
        """Draws, without noise the most probable ones."""
        return self.head.draw(self.policy(torch.cat([x, z], -1)), noise)[0]


def product(mean: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the product of Gaussians along the last axis but one (section 4.1)."""
    total = precision.sum(-2)
    return (mean * precision).sum(-2) / total, 1 / total
