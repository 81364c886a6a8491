"""MAML for reinforcement learning: shared parameters from which a few policy-gradient steps reach every task.

(Finn et al. 2017, arXiv:1703.03400, algorithm 3.)

A trial has one episode more than inner steps. The actor plays the first with the shared parameters, adapts, plays the
second with what came out, and so on. The outer update differentiates the last episode's surrogate through all inner
steps and takes a trust-region step: the bound is on the KL divergence of the *adapted* policies, and the line search
adapts again for every point that it tries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor, nn

from ...envs.errors import require
from ..api import Diverged, Metrics, Optimise
from ..gradient.adaptation import Phase, adapted, phases
from ..gradient.feedforward import GradientPolicy
from ..gradient.inner_loop import GradientBased
from ..gradient.trust_region import Linearised, Vector, trust_region_step
from ..trajectory import Trajectory

ROWS = {"cpu": 10_000, "cuda": 200_000}
"""Steps that are differentiated at once, by device: few enough for a processor's cache or a GPU's memory (7 kB a step
with two layers of 64), many enough to be worth the calls."""

IMAGE_ROWS = 500
"""The same where an encoder is differentiated too, whose images leave some 100 kB each, several times over."""


@dataclass(frozen=True, kw_only=True)
class MAML(GradientBased):
    """MAML with TRPO as its outer update. Inner steps: one less than `episodes`."""

    max_kl: float = 0.01
    """Bound of an outer step: mean KL divergence of the adapted policies, nats."""
    cg_iterations: int = 5
    """Iterations of conjugate gradient for the outer step's direction; in float32, more of them add rounding noise."""
    damping: float = 1e-5
    """Added to the diagonal of the KL's Hessian."""
    line_search: int = 15
    """Step lengths tried, each 0.8 of the one before; if none will do, nothing changes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.max_kl < float("inf"), "max_kl", self.max_kl, "a finite number above 0")
        require(0 <= self.damping < float("inf"), "damping", self.damping, "a finite number of at least 0")
        for field in ("cg_iterations", "line_search"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")

    def optimisers(self, model: nn.Module) -> dict[str, torch.optim.Optimizer]:
        return {}  # the trust region makes the steps

    def update(
        self, model: nn.Module, batch: Trajectory, optimise: Optimise, progress: float, rng: np.random.Generator
    ) -> Metrics:
        """One trust-region step.

        Returns:
            kl (nats, of the adapted policies, after the step), improvement of the surrogate, step (share of the full
            one that was taken), gradient_norm, entropy of the adapted policies (nats per step), and the baseline's
            explained_variance.
        """
        assert isinstance(model, GradientPolicy)
        data, explained = phases(
            model, batch, rollouts_per_task=self.rollouts, discount=self.discount, trace=self.trace
        )
        parameters, tasks = list(model.parameters()), len(data[0].x)
        rows = IMAGE_ROWS if model.learned_encoder else ROWS.get(data[0].x.device.type, ROWS["cpu"])
        most = max(1, rows // data[0].x.shape[1])
        parts = [[each.of(part) for each in data] for part in optimise.parts(np.arange(tasks), most)]
        everyone = range(len(parts))

        def outputs(index: int) -> Tensor:
            *before, post = (each.encoded(model) for each in parts[index])
            weights = adapted(model, before, loss=self.inner_loss, first_order=self.first_order)[-1]
            return model.distribution(weights, post.x)

        def linearised(index: int) -> Linearised:
            return Linearised(outputs(index), parameters)

        # What a learned encoder leaves of every part for its derivatives would be too much: it is computed again.
        points = [] if model.learned_encoder else optimise.map(linearised, everyone)

        def point(index: int) -> Linearised:
            return points[index] if points else linearised(index)

        @torch.no_grad()
        def before_the_step(index: int) -> Tensor:
            return outputs(index)

        old = [each.outputs.detach() for each in points] or optimise.map(before_the_step, everyone)

        def gradient(index: int) -> tuple[float, Vector]:
            z = old[index].clone().requires_grad_()
            loss = surrogate(model, z, parts[index][-1]) / tasks
            return float(loss.detach()), point(index).pull(torch.autograd.grad(loss, z)[0])

        def curvature(index: int, direction: Vector) -> Vector:
            here = point(index)
            along = model.head.fisher(old[index], here.push(direction))
            return here.pull(along * (parts[index][-1].weight / tasks).unsqueeze(-1))

        @torch.no_grad()
        def measure(index: int) -> tuple[float, float]:
            z, post = outputs(index), parts[index][-1]
            kl = (model.head.kl(old[index], z) * post.weight).sum() / tasks
            return float(surrogate(model, z, post)) / tasks, float(kl)

        def measure_all() -> tuple[float, float]:
            found = optimise.map(measure, everyone)
            return sum(loss for loss, _ in found), sum(kl for _, kl in found)

        losses, gradients = zip(*optimise.map(gradient, everyone), strict=True)
        downhill = total(gradients)
        norm = float(nn.utils.get_total_norm(downhill))
        if not np.isfinite(norm):
            raise Diverged(f"the gradient's norm is {norm}")
        metrics = trust_region_step(
            parameters,
            downhill,
            lambda v: total(optimise.map(lambda index: curvature(index, v), everyone)),
            measure_all,
            loss=sum(losses),
            max_kl=self.max_kl,
            iterations=self.cg_iterations,
            damping=self.damping,
            shrink=0.8,
            tries=self.line_search,
        )
        entropy = sum(
            float((model.head.measure(z, part[-1].draw)[1] * part[-1].weight).sum())
            for z, part in zip(old, parts, strict=True)
        )
        return metrics | {
            "gradient_norm": norm,
            "entropy": entropy / tasks,
            "explained_variance": float(explained.mean()),
        }


def surrogate(policy: GradientPolicy, parameters: Tensor, post: Phase) -> Tensor:
    """Minus the sum over tasks of the importance-weighted mean advantage (Schulman et al. 2015, eq. 14).

    Args:
        policy: the network.
        parameters: of the adapted policies' distributions now, [tasks, N, size].
        post: what the adapted policies played.
    """
    log_prob, _ = policy.head.measure(parameters, post.draw)
    return -((log_prob - post.log_prob).exp() * post.advantage * post.weight).sum()


def total(shares: Sequence[Vector]) -> Vector:
    """The sum of vectors, in their order."""
    return [reduce(torch.add, share) for share in zip(*shares, strict=True)]
