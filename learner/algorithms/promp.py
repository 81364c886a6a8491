"""ProMP: proximal meta-policy search (Rothfuss et al. 2018, arXiv:1810.06784, algorithm 1).

As MAML, with two changes. The inner step's surrogate weighs advantages by probability ratios, so that its second
derivative credits the policy that collected the data, with little variance (LVC). And the outer update is several
gradient steps on PPO's clipped surrogate of the adapted policies, held near the policy that collected the data by a
penalty on the KL divergence.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...envs.errors import require
from ..api import Metrics, Optimise
from ..gradient.adaptation import InnerLoss, adapted, phases, ratio_loss
from ..gradient.feedforward import GradientPolicy
from ..gradient.inner_loop import GradientBased
from ..trajectory import Trajectory


@dataclass(frozen=True, kw_only=True)
class ProMP(GradientBased):
    """ProMP. Inner steps: one less than `episodes`."""

    learning_rate: float = 1e-3
    """Adam's step size."""
    outer_steps: int = 5
    """Gradient steps of one meta-update."""
    clip: float = 0.3
    """How far the probability ratio of an adapted policy may leave 1 before it earns no more."""
    kl_penalty: float = 5e-4
    """Weight of the mean KL divergence from the policies that played before adaptation."""
    max_gradient_norm: float = 1.0
    """Gradients longer than this are shortened to it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.outer_steps >= 1, "outer_steps", self.outer_steps, "at least 1")
        for field in ("learning_rate", "clip", "max_gradient_norm"):
            given = getattr(self, field)
            require(0 < given < float("inf"), field, given, "a finite number above 0")
        require(0 <= self.kl_penalty < float("inf"), "kl_penalty", self.kl_penalty, "a finite number of at least 0")

    @property
    def inner_loss(self) -> InnerLoss:
        return ratio_loss

    def optimisers(self, model: nn.Module) -> dict[str, torch.optim.Optimizer]:
        return {"adam": torch.optim.Adam(model.parameters(), lr=self.learning_rate, eps=1e-8)}

    def update(
        self, model: nn.Module, batch: Trajectory, optimise: Optimise, progress: float, rng: np.random.Generator
    ) -> Metrics:
        """`outer_steps` gradient steps on all trials.

        Returns:
            Of the last step: policy_loss, inner_kl (nats, from the policies that played before adaptation), clipped
            (share of steps), gradient_norm; entropy of the adapted policies (nats per step), and the baseline's
            explained_variance.
        """
        assert isinstance(model, GradientPolicy)
        data, explained = phases(
            model, batch, rollouts_per_task=self.rollouts, discount=self.discount, trace=self.trace
        )
        tasks = len(data[0].x)
        with torch.no_grad():
            seen = [each.encoded(model) for each in data[:-1]]
            played = adapted(model, seen, loss=self.inner_loss)
            old = [model.distribution(weights, each.x) for weights, each in zip(played, seen, strict=False)]

        def loss(part: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
            own = [each.of(part).encoded(model) for each in data]
            weights = adapted(model, own[:-1], loss=self.inner_loss, first_order=self.first_order)
            post = own[-1]
            log_prob, entropy = model.head.measure(model.distribution(weights[-1], post.x), post.draw)
            ratio = (log_prob - post.log_prob).exp()
            clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
            gain = torch.minimum(ratio * post.advantage, clipped * post.advantage)
            inner_kl = post.weight.new_zeros(())
            for before, own_weights, each in zip(old, weights, own[:-1], strict=False):
                kl = model.head.kl(
                    before[torch.from_numpy(part).to(before.device)], model.distribution(own_weights, each.x)
                )
                inner_kl = inner_kl + (kl * each.weight).sum() / tasks

            def mean(array: Tensor) -> Tensor:
                return (array * post.weight).sum() / tasks

            metrics = {
                "policy_loss": -mean(gain),
                "inner_kl": inner_kl,
                "clipped": mean((ratio != clipped).float()),
                "entropy": mean(entropy),
            }
            return metrics["policy_loss"] + self.kl_penalty * inner_kl, metrics

        metrics: Metrics = {}
        for _ in range(self.outer_steps):
            metrics = optimise(
                loss, np.arange(tasks), learning_rate=self.learning_rate, max_norm=self.max_gradient_norm
            )
        return metrics | {"explained_variance": float(explained.mean())}
