"""Trust-region steps against dense matrices: the solver, derivatives both ways, the step on a quadratic."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from innerloop.learner.gradient.trust_region import Linearised, Vector, conjugate_gradient, trust_region_step

SHAPES = [(3, 2), (4,), ()]
SIZE = 11


def vector(flat: Tensor) -> Vector:
    """One tensor per shape."""
    parts = flat.split([math.prod(shape) for shape in SHAPES])
    return [part.reshape(shape) for part, shape in zip(parts, SHAPES, strict=True)]


def flat(direction: Vector) -> Tensor:
    return torch.cat([each.reshape(-1) for each in direction])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive(seed: int = 0) -> Tensor:
    """A symmetric positive definite matrix."""
    root = random(SIZE, SIZE, seed=seed)
    return root @ root.T + 0.1 * torch.eye(SIZE, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(3))
def test_conjugate_gradient_solves_as_a_dense_solver_in_as_many_iterations_as_there_are_numbers(seed: int) -> None:
    matrix, target = positive(seed), random(SIZE, seed=seed + 10)
    found, curvature = conjugate_gradient(lambda v: vector(matrix @ flat(v)), vector(target), 2 * SIZE)
    assert [each.shape for each in found] == [torch.Size(shape) for shape in SHAPES]
    expected = torch.linalg.solve(matrix, target)
    torch.testing.assert_close(flat(found), expected, rtol=1e-3, atol=1e-3)
    assert curvature == pytest.approx(float(expected @ matrix @ expected), rel=1e-3)


@pytest.mark.parametrize("iterations", range(1, 5))
def test_iterations_stopped_early_are_the_best_in_the_space_that_they_have_seen(iterations: int) -> None:
    """After k of them x minimises x H x / 2 - b x over b, H b, ..., H^(k-1) b (Hestenes & Stiefel 1952)."""
    matrix, target = positive(), random(SIZE, seed=1)
    found, curvature = conjugate_gradient(lambda v: vector(matrix @ flat(v)), vector(target), iterations)
    seen = torch.stack([torch.linalg.matrix_power(matrix, k) @ target for k in range(iterations)], 1)
    basis, _ = torch.linalg.qr(seen)
    expected = basis @ torch.linalg.solve(basis.T @ matrix @ basis, basis.T @ target)
    torch.testing.assert_close(flat(found), expected, rtol=1e-7, atol=1e-7)
    assert curvature == pytest.approx(float(flat(found) @ matrix @ flat(found)), rel=1e-7)


def test_iterations_end_when_there_is_nothing_left_to_solve() -> None:
    calls = []

    def twice(v: Vector) -> Vector:
        calls.append(v)
        return [2 * each for each in v]

    found, _ = conjugate_gradient(twice, vector(random(SIZE)), 50)
    assert len(calls) == 1
    torch.testing.assert_close(flat(found), random(SIZE) / 2)
    nothing, curvature = conjugate_gradient(twice, vector(torch.zeros(SIZE)), 50)
    assert len(calls) == 1
    assert not flat(nothing).any()
    assert curvature == 0


def curved(parameters: list[Tensor]) -> Tensor:
    """Outputs [2, 3, 5] that do not depend linearly on the parameters; the last parameter is not used."""
    first, second, _ = parameters
    x = random(2, 3, 3, seed=7)
    return torch.tanh(torch.cat([x @ first, (x @ first) ** 2 @ second.reshape(2, 2), x[..., :1] * second.sum()], -1))


def linearised() -> tuple[Linearised, Tensor]:
    """A function at a point, and its dense Jacobian [30, SIZE]."""
    parameters = [each.requires_grad_() for each in vector(0.5 * random(SIZE))]
    dense = torch.autograd.functional.jacobian(
        lambda given: curved(vector(given)).reshape(-1), 0.5 * random(SIZE), vectorize=True
    )
    return Linearised(curved(parameters), parameters), dense


def test_pushing_and_pulling_are_the_products_with_the_jacobian() -> None:
    found, dense = linearised()
    direction, cotangent = random(SIZE, seed=1), random(2, 3, 5, seed=2)
    for _ in range(2):  # as often as one likes
        pushed = found.push(vector(direction))
        assert pushed.shape == (2, 3, 5)
        torch.testing.assert_close(pushed.reshape(-1), dense @ direction)
        torch.testing.assert_close(flat(found.pull(cotangent)), cotangent.reshape(-1) @ dense)
    assert not found.pull(cotangent)[-1].any()
    torch.testing.assert_close(found.outputs, curved(vector(0.5 * random(SIZE))))


def test_a_direction_changes_the_outputs_as_a_small_step_along_it() -> None:
    found, _ = linearised()
    direction, width = random(SIZE, seed=1), 1e-6
    there, back = (curved(vector(0.5 * random(SIZE) + side * direction)) for side in (width, -width))
    torch.testing.assert_close(found.push(vector(direction)), (there - back) / (2 * width), rtol=1e-6, atol=1e-8)


Says = Callable[[float, float], tuple[float, float]]
"""From loss and KL to what is reported of them."""


def nearly(loss: float, kl: float) -> tuple[float, float]:
    """So that rounding does not push a step over the bound."""
    return loss, 0.999 * kl


class Quadratic:
    """loss(x) = b x and KL(x) = x H x / 2, x from where the parameters are at first; `says` of them what it likes."""

    def __init__(self, says: Says, seed: int = 0) -> None:
        self.matrix, self.slope = positive(seed), random(SIZE, seed=seed + 20)
        self.parameters, self.start = vector(random(SIZE, seed=5).clone()), random(SIZE, seed=5)
        self.says = says
        self.tried: list[Tensor] = []

    def evaluate(self) -> tuple[float, float]:
        moved = flat(self.parameters) - self.start
        self.tried.append(moved)
        return self.says(float(self.slope @ moved), float(moved @ self.matrix @ moved) / 2)

    def step(self, **options: Any) -> dict[str, float]:
        given: dict[str, Any] = {
            "loss": 0.0, "max_kl": 0.01, "iterations": 50, "damping": 0.0, "shrink": 0.8, "tries": 15,
        }  # fmt: skip
        return trust_region_step(
            self.parameters,
            vector(self.slope),
            lambda v: vector(self.matrix @ flat(v)),
            self.evaluate,
            **given | options,
        )


@pytest.mark.parametrize("max_kl", [1e-4, 0.01, 3.0])
def test_on_a_quadratic_the_step_is_the_best_within_the_bound(max_kl: float) -> None:
    """The minimum of b x subject to x H x / 2 = bound is at -sqrt(2 bound / (b H⁻¹ b)) H⁻¹ b."""
    quadratic = Quadratic(nearly)
    found = quadratic.step(max_kl=max_kl)
    natural = torch.linalg.solve(quadratic.matrix, quadratic.slope)
    expected = -math.sqrt(2 * max_kl / float(quadratic.slope @ natural)) * natural
    moved = flat(quadratic.parameters) - quadratic.start
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert found["step"] == 1
    assert found["kl"] == pytest.approx(0.999 * max_kl, rel=1e-3)
    assert found["improvement"] == pytest.approx(-float(quadratic.slope @ expected), rel=1e-3)


def test_damping_is_added_to_the_diagonal() -> None:
    quadratic = Quadratic(nearly)
    quadratic.step(damping=0.5)
    damped = quadratic.matrix + 0.5 * torch.eye(SIZE, dtype=torch.float64)
    natural = torch.linalg.solve(damped, quadratic.slope)
    expected = -math.sqrt(0.02 / float(natural @ damped @ natural)) * natural
    moved = flat(quadratic.parameters) - quadratic.start
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_a_step_that_leaves_the_bound_is_shortened_until_it_does_not() -> None:
    """The divergence is ten times what its Hessian says: 0.8^(2 k) has to fall below 1/10, which takes k = 6."""
    quadratic = Quadratic(lambda loss, kl: (loss, 10 * kl))
    found = quadratic.step()
    assert found["step"] == pytest.approx(0.8**6)
    assert len(quadratic.tried) == 7
    for k, moved in enumerate(quadratic.tried):
        torch.testing.assert_close(moved, 0.8**k * quadratic.tried[0])
    assert found["kl"] == pytest.approx(10 * 0.01 * 0.8**12, rel=1e-3)
    assert found["kl"] <= 0.01
    torch.testing.assert_close(flat(quadratic.parameters) - quadratic.start, quadratic.tried[-1])


@pytest.mark.parametrize(
    "says",
    [
        lambda loss, kl: (0.0, kl),
        lambda loss, kl: (loss, 0.0100001),
        lambda loss, kl: (math.nan, math.nan),
        lambda loss, kl: (loss, math.nan),
    ],
    ids=["never better", "always too far", "not a number", "divergence not a number"],
)
def test_where_no_step_will_do_the_parameters_are_the_old_ones_bit_for_bit(says: Says) -> None:
    quadratic = Quadratic(says)
    assert quadratic.step() == {"kl": 0, "improvement": 0, "step": 0}
    assert len(quadratic.tried) == 15
    np.testing.assert_array_equal(flat(quadratic.parameters), quadratic.start)


@pytest.mark.parametrize("slope", [0.0, math.nan, math.inf])
def test_where_there_is_no_way_down_nothing_is_tried(slope: float) -> None:
    quadratic = Quadratic(nearly)
    quadratic.slope = torch.full((SIZE,), slope, dtype=torch.float64)
    assert quadratic.step()["step"] == 0
    assert quadratic.tried == []
    np.testing.assert_array_equal(flat(quadratic.parameters), quadratic.start)
