"""Trust-region steps (Schulman et al. 2015, arXiv:1502.05477, appendix C): conjugate gradient, then a line search."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..api import Metrics

Vector = list[Tensor]
"""A direction in parameter space: one tensor per parameter, of its shape."""


class Linearised:
    """A function of parameters at the point where it was computed, and its derivative both ways.

    The derivative's product from the right is had by differentiating the one from the left, which is linear in what it
    is given: two passes backward instead of forward-mode differentiation, which may not run in several threads.
    """

    def __init__(self, outputs: Tensor, parameters: Sequence[Tensor]) -> None:
        """Args:
        outputs: with their graph.
        parameters: what they were computed from.
        """
        self.outputs, self._parameters = outputs, list(parameters)
        self._probe = torch.zeros_like(outputs, requires_grad=True)
        self._pulled = torch.autograd.grad(
            outputs, self._parameters, self._probe, create_graph=True, allow_unused=True, materialize_grads=True
        )

    def push(self, direction: Vector) -> Tensor:
        """How the outputs change along a direction: J v, of the outputs' shape."""
        return torch.autograd.grad(self._pulled, self._probe, direction, retain_graph=True)[0]

    def pull(self, cotangent: Tensor) -> Vector:
        """The gradient of the outputs' inner product with a cotangent: u J, of the parameters' shapes."""
        found = torch.autograd.grad(
            self.outputs, self._parameters, cotangent, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return list(found)


def conjugate_gradient(product: Callable[[Vector], Vector], target: Vector, iterations: int) -> tuple[Vector, float]:
    """Approximately solve H x = target; returns x and the curvature x H x.

    Args:
        product: v to H v, H symmetric and positive definite.
        target: the right-hand side.
        iterations: at most; fewer when the residual is 1e-10 of the target's or less.
    """
    x = [torch.zeros_like(t) for t in target]
    residual = [t.clone() for t in target]
    direction = [t.clone() for t in target]
    square = first = dot(residual, residual)
    for _ in range(iterations):
        if square <= 1e-10 * first:
            break
        image = product(direction)
        step = square / dot(direction, image)
        x = add(x, direction, step)
        residual = add(residual, image, -step)
        before, square = square, dot(residual, residual)
        direction = add(residual, direction, square / before)
    return x, dot(x, add(target, residual, -1))


@torch.no_grad()
def trust_region_step(
    parameters: Sequence[Tensor],
    gradient: Vector,
    product: Callable[[Vector], Vector],
    evaluate: Callable[[], tuple[float, float]],
    *,
    loss: float,
    max_kl: float,
    iterations: int,
    damping: float,
    shrink: float,
    tries: int,
) -> Metrics:
    """Lower a loss as far as a bound on the KL divergence from the old policy allows; change parameters in place.

    Args:
        parameters: to change.
        gradient: of the loss.
        product: Hessian of the KL, times a vector.
        evaluate: loss and KL of the parameters as they are when it is called.
        loss: now.
        max_kl: the bound, nats.
        iterations: of conjugate gradient.
        damping: added to the Hessian's diagonal.
        shrink: of the step, from one try of the line search to the next.
        tries: of the line search; if all fail, the parameters are as they were.

    Returns:
        kl and improvement (of the loss) of what was accepted, step (share of the full step that was taken; 0 if none).
    """
    old = [parameter.clone() for parameter in parameters]
    nothing = {"kl": 0.0, "improvement": 0.0, "step": 0.0}
    direction, curvature = conjugate_gradient(lambda v: add(product(v), v, damping), gradient, iterations)
    if not 0 < curvature < float("inf"):
        return nothing
    scale = (2 * max_kl / curvature) ** 0.5
    for trial in range(tries):
        share = shrink**trial
        for parameter, start, along in zip(parameters, old, direction, strict=True):
            parameter.copy_(start - share * scale * along)
        found, kl = evaluate()
        if found < loss and kl <= max_kl:
            return {"kl": kl, "improvement": loss - found, "step": share}
    for parameter, start in zip(parameters, old, strict=True):
        parameter.copy_(start)
    return nothing


def dot(a: Vector, b: Vector) -> float:
    """Inner product, summed in float64."""
    products = [(x.double() * y.double()).sum() for x, y in zip(a, b, strict=True)]
    return sum(torch.stack(products).tolist())


def add(a: Vector, b: Vector, scale: float) -> Vector:
    """a + scale b."""
    return [x.add(y, alpha=scale) for x, y in zip(a, b, strict=True)]
