"""PEARL: what is not known about a task is a latent, inferred from context and sampled (Rakelly et al. 2019,
arXiv:1903.08254).

On the actor, a trial begins with z from the prior N(0, 1); every transition sharpens the posterior, and each further
episode is played with a new draw from it. The outer update is soft actor-critic with policy and critics that are given
z. Context for the encoder comes from recent trials only, transitions for the critics from all of replay. The encoder
learns from the critics' loss and from an information bottleneck; the policy's loss does not reach it. Some trials may
begin with z from the posterior of their task's context instead (`posterior_share`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...envs.errors import require
from ...envs.registry import resolve
from ..api import MOST_LAYERS, Metrics, Optimise, Problem, Recall
from ..memory import MEMORIES, constructor
from ..sampling import Request, Sample, Sampler, Steps
from .latent import LatentPolicy
from .posterior import PosteriorAgent
from .sac import SoftActorCritic, noise


@dataclass(frozen=True, kw_only=True)
class PEARL(SoftActorCritic):
    """PEARL with soft actor-critic."""

    latent: int = 5
    """Width of z."""
    context_encoder: str = "product"
    """Encoder of the context: product (of one Gaussian per transition; permutation-invariant), or a memory that reads
    it."""
    context_hidden: int = 200
    """Width of the context encoder's layers."""
    hidden: int = 300
    """Width of the policy's and the critics' layers."""
    layers: int = 3
    """Hidden layers of context encoder, policy and critics."""
    next_observation: bool = False
    """Include the next observation in the context: for tasks that differ in their dynamics."""
    context: int = 0
    """Maximum context per task and gradient step: the first transitions of a trial, as many as an agent has seen when
    it samples z. 0 for no other limit."""
    context_window: int = 1
    """Number of most recent trials of a task that context is drawn from."""
    tasks_per_batch: int = 16
    """Tasks per gradient step."""
    steps_per_task: int = 256
    """Transitions per task."""
    bottleneck: float = 0.1
    """Weight of the KL divergence from the posterior to the prior."""
    posterior_share: float = 0.0
    """Share of the trials that begin from the context of their task: with z from its posterior instead of the prior.
    The critics learn from them, the encoder does not (section 5 of the paper)."""
    resample: int = 0
    """Resample z after this many steps of an episode; 0 for once per episode, as published. An agent that resamples
    more often abandons a wrong guess sooner."""
    persistence: float = 0.0
    """Correlation of the exploration noise with that of the previous step, in [0, 1). Correlated noise explores further
    (Eberhard et al. 2023, openreview hQ9V5QN27eS); the marginal distribution of each action is unchanged."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = "latent context_hidden hidden layers context_window tasks_per_batch steps_per_task"
        for field in counts.split():
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")
        require(self.layers <= MOST_LAYERS, "layers", self.layers, f"at most {MOST_LAYERS:,}")
        for field in ("context", "resample"):
            require(getattr(self, field) >= 0, field, getattr(self, field), "at least 0")
        require(0 <= self.posterior_share <= 1, "posterior_share", self.posterior_share, "a number in [0, 1]")
        require(0 <= self.persistence < 1, "persistence", self.persistence, "a number in [0, 1)")
        require(0 <= self.bottleneck < float("inf"), "bottleneck", self.bottleneck, "a finite number of at least 0")
        if self.context_encoder != "product":
            resolve("context_encoder", self.context_encoder.split(",")[0], {"product": None} | MEMORIES)
            constructor("context_encoder", self.context_encoder)

    def build(self, problem: Problem) -> LatentPolicy:
        return LatentPolicy(
            problem,
            self,
            latent=self.latent,
            next_observation=self.next_observation,
            context_encoder=self.context_encoder,
            context_hidden=self.context_hidden,
            hidden=self.hidden,
            layers=self.layers,
            lengths=self.context_lengths(problem),
        )

    def context_lengths(self, problem: Problem) -> tuple[int, ...]:
        """How many transitions an agent has seen where it draws z, and as many as `context` at most, ascending."""
        every = self.resample or problem.horizon
        seen = [*range(every, problem.steps, every)] or [problem.steps]
        return tuple(sorted({min(self.context or problem.steps, length) for length in seen}))

    def recall(self, problem: Problem) -> Recall:
        return Recall(self.posterior_share, self.context_lengths(problem)[-1])

    def inner_loop(self, model: nn.Module, problem: Problem, greedy: bool = False) -> PosteriorAgent:
        assert isinstance(model, LatentPolicy)
        return PosteriorAgent(model, greedy, self.persistence, self.resample)

    def update(
        self, model: nn.Module, batch: Sampler, optimise: Optimise, progress: float, rng: np.random.Generator
    ) -> Metrics:
        """The gradient steps that are due.

        Returns:
            Means over them of critic_loss, policy_loss, q, entropy (nats per step), divergence (nats, of the posterior
            from the prior), temperature, gradient_norm; gradient_steps, taken in this update.
        """
        assert isinstance(model, LatentPolicy)
        request = Request(
            tasks=self.tasks_per_batch,
            steps=self.steps_per_task,
            context=model.lengths,
            window=self.context_window,
            successors=self.next_observation,
        )
        samples = batch.batches(request, self.due(batch.played, int(model.gradient_steps)), rng)
        rate = self.step_size(progress)
        return model.run_gradient_steps(
            (self._step(model, sample, optimise, rate, rng) for sample in samples), self.target_rate
        )

    def _step(
        self, model: LatentPolicy, sample: Sample, optimise: Optimise, learning_rate: float, rng: np.random.Generator
    ) -> Metrics:
        assert sample.context is not None
        steps, context = model.put(sample.steps), model.put(sample.context)
        tasks, size = len(sample.tasks), (*sample.steps.reward.shape, model.head.noise_width)
        noises = [noise(rng, shape, model.device) for shape in ((tasks, self.latent), size, size)]

        def loss(part: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
            index = torch.from_numpy(part).to(model.device)
            own, recent = (Steps(*(array[index] for array in each)) for each in (steps, context))
            return self._loss(model, own, recent, *(draw[index] for draw in noises), share=len(part) / tasks)

        return optimise(loss, np.arange(tasks), learning_rate=learning_rate, max_norm=float("inf"))

    def _loss(
        self, model: LatentPolicy, steps: Steps[Tensor], context: Steps[Tensor], *noises: Tensor, share: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Of some tasks, the batch's `share`: critics and encoder, policy, temperature, each through its own
        parameters."""
        mean, variance = model.posterior(model.context(context))
        latent_noise, action_noise, next_noise = noises
        divergence = 0.5 * (mean.square() + variance - variance.log() - 1).sum(-1)
        z = (mean + variance.sqrt() * latent_noise).unsqueeze(1).expand(-1, steps.reward.shape[1], -1)
        x, fixed_z = model.observation(steps.observation), z.detach()
        fixed_x = x.detach()
        alpha = model.log_temperature.exp().detach()
        with torch.no_grad():
            next_x = model.observation(steps.next_observation)
            next_action, next_log_prob = model.soft(next_x, fixed_z, next_noise)
            value = model.critics.target_value(next_x, next_action, fixed_z) - alpha * next_log_prob
            target = self.reward_scale * steps.outer_reward + self.discount * ~steps.terminated * value
        q = model.critics(x, model.head.encode(steps.action), z)
        critic_loss = (q - target).square().sum(0).mean()
        action, log_prob = model.soft(fixed_x, fixed_z, action_noise)
        policy_loss = (alpha * log_prob - model.critics.frozen_value(fixed_x, action, fixed_z)).mean()
        total = (
            critic_loss + policy_loss + self.bottleneck * divergence.mean() + model.temperature_loss(log_prob).mean()
        )
        metrics = {
            "critic_loss": critic_loss,
            "policy_loss": policy_loss,
            "q": q.mean(),
            "entropy": -log_prob.mean(),
            "divergence": divergence.mean(),
            "temperature": alpha,
        }
        return total * share, {name: metric * share for name, metric in metrics.items()}
