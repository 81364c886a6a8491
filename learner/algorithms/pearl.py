"""PEARL: what is not known about a task is a latent, inferred from context and sampled (Rakelly et al. 2019,
arXiv:1903.08254).

On the actor, a trial begins with z from the prior N(0, 1); every transition sharpens the posterior, and each further
episode is played with a new draw from it. The outer update is soft actor-critic with policy and critics that are given
z. Context for the encoder comes from recent trials only, transitions for the critics from all of replay. The encoder
learns from the critics' loss and from an information bottleneck; the policy's loss does not reach it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...envs.api import Bools
from ...envs.errors import require
from ...envs.registry import resolve
from ...envs.seeding import Random, only
from ..api import MOST_LAYERS, Metrics, Optimise, Problem
from ..memory import MEMORIES, constructor
from ..sampling import Request, Sample, Sampler, Steps
from .sac import ActorCritic, Critic, SoftActorCritic, Twins, noise, perceptron

VARIANCE_FLOOR = 1e-7


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
        require(0 <= self.persistence < 1, "persistence", self.persistence, "a number in [0, 1)")
        require(0 <= self.bottleneck < float("inf"), "bottleneck", self.bottleneck, "a finite number of at least 0")
        if self.context_encoder != "product":
            resolve("context_encoder", self.context_encoder.split(",")[0], {"product": None} | MEMORIES)
            constructor("context_encoder", self.context_encoder)

    def build(self, problem: Problem) -> "LatentPolicy":
        return LatentPolicy(problem, self)

    def inner_loop(self, model: nn.Module, problem: Problem, greedy: bool = False) -> "PosteriorAgent":
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
        self, model: "LatentPolicy", sample: Sample, optimise: Optimise, learning_rate: float, rng: np.random.Generator
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
        self, model: "LatentPolicy", steps: Steps[Tensor], context: Steps[Tensor], *noises: Tensor, share: float
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


class LatentPolicy(ActorCritic):
    """Encoder, and a policy and critics that are given its latent."""

    def __init__(self, problem: Problem, options: PEARL) -> None:
        super().__init__(problem, options)
        self.latent, self.next_observation = options.latent, options.next_observation
        trial, every = problem.steps, options.resample or problem.horizon
        seen_so_far = [*range(every, trial, every)] or [trial]  # where an agent draws z
        most = options.context or trial
        self.lengths = tuple(sorted({min(most, length) for length in seen_so_far}))
        seen, action, hidden, layers = self.observation.width, self.head.width, options.hidden, options.layers
        width = seen * (2 if options.next_observation else 1) + action + 1
        self.memory = None
        if options.context_encoder == "product":
            self.context_encoder = perceptron(width, options.context_hidden, layers, 2 * options.latent)
        else:
            make = constructor("context_encoder", options.context_encoder)
            self.memory = make(width, options.context_hidden, trial)
            self.context_encoder = nn.Linear(options.context_hidden, 2 * options.latent)
        self.policy = perceptron(seen + options.latent, hidden, layers, self.head.size)
        self.critics = Twins(lambda: Critic(self.head, seen + options.latent, hidden, layers))

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


class PosteriorAgent:
    """An inner loop by posterior sampling."""

    rollouts_per_task = 1
    side_by_side = True

    def __init__(self, policy: LatentPolicy, greedy: bool = False, persistence: float = 0.0, resample: int = 0) -> None:
        self._policy, self._greedy, self._persistence, self._resample = policy, greedy, persistence, resample
        self._rng: Random = np.random.default_rng(0)
        self._device = policy.device
        self.note: dict[str, np.ndarray] = {}

    def begin_trial(self, n: int, rng: Random | None = None) -> None:
        self._rng = rng or self._rng
        shape = (n, self._policy.latent)
        zeros = torch.zeros(shape, device=self._device)
        self._mean, self._variance, self._sums = zeros, zeros + 1, (zeros, zeros)
        self._state = self._policy.memory.initial(n) if self._policy.memory else ()
        self._last: tuple[Tensor, Tensor] | None = None
        self._z = noise(self._rng, shape, self._device)
        self._noise: Tensor | None = None
        self._age = np.zeros(n, np.int64)

    @torch.inference_mode()
    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        policy = self._policy
        seen = torch.tensor(observation, device=self._device)
        if self._last is not None:
            self._learn(seen, torch.tensor(reward, device=self._device), torch.tensor(done, device=self._device))
            self._sample(done)
        x = policy.observation(seen)
        action = policy.head.action(policy.draw(x, self._z, self.persistent_noise(len(x), done)).cpu().numpy())
        self._last = seen, torch.tensor(action, device=self._device)
        self.note = {
            "latent": self._z.cpu().numpy(),
            "mean": self._mean.cpu().numpy(),
            "variance": self._variance.cpu().numpy(),
        }
        return action

    def persistent_noise(self, n: int, done: Bools) -> Tensor | None:
        """Standard normal noise for the next actions; what persists of the last one's does not cross episodes."""
        if self._greedy:
            return None
        fresh = noise(self._rng, (n, self._policy.head.noise_width), self._device)
        if self._noise is not None and self._persistence:
            kept = self._persistence * ~torch.tensor(done, device=self._device).unsqueeze(-1)
            fresh = kept * self._noise + (1 - kept**2).sqrt() * fresh
        self._noise = fresh
        return fresh

    def _learn(self, seen: Tensor, reward: Tensor, done: Tensor) -> None:
        """Add the last transition to the posterior."""
        policy = self._policy
        assert self._last is not None
        # An episode's last observation is not shown: where context needs it, that transition says nothing.
        counts = ~(done if policy.next_observation else torch.zeros_like(done)).unsqueeze(-1)
        context = policy.context(Steps(*self._last, reward, reward, seen, done))
        if policy.memory is None:
            mean, precision = policy.factor(policy.context_encoder(context))
            weighted, total = self._sums
            self._sums = weighted + counts * mean * precision, total + counts * precision
            weighted, total = self._sums
            known = total > 0
            self._mean = torch.where(known, weighted / total, 0)
            self._variance = torch.where(known, 1 / total, 1)
        else:
            y, state = policy.memory.step(context, self._state)
            self._state = tuple(torch.where(counts, new, old) for new, old in zip(state, self._state, strict=True))
            mean, precision = policy.factor(policy.context_encoder(y))
            self._mean = torch.where(counts, mean, self._mean)
            self._variance = torch.where(counts, 1 / precision, self._variance)

    def _sample(self, done: Bools) -> None:
        """Draw z from the posterior where an episode begins, and where z has become old."""
        self._age = np.where(done, 0, self._age + 1)
        again = done | (self._age == self._resample) if self._resample else done
        if again.any():
            self._age[again] = 0
            fresh = self._mean + self._variance.sqrt() * noise(only(self._rng, again), self._z.shape, self._device)
            self._z = torch.where(torch.tensor(again, device=self._device).unsqueeze(-1), fresh, self._z)
