"""MAML: the update is the natural-gradient step of the adapted policies, computed slowly; it keeps its bound."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fixture_types import AdaptingOn, InDouble, Made, Numerical, Played, Slowly
from torch import Tensor

from innerloop.envs.api import TaskFamily
from innerloop.envs.errors import BadInput
from innerloop.envs.navigation import PointNavigation, SparsePointNavigation
from innerloop.envs.tabular import TabularMDP
from innerloop.learner.algorithms.maml import MAML
from innerloop.learner.api import Diverged
from innerloop.learner.gradient.adaptation import Phase, adapted, phases
from innerloop.learner.gradient.trust_region import Linearised
from innerloop.learner.learner import Learner
from innerloop.learner.trajectory import Trajectory

TASKS = 3

families = pytest.mark.parametrize(
    "family", [lambda: PointNavigation(horizon=5), "cartpole"], indirect=True, ids=["navigation", "cartpole"]
)


def read(learner: Learner, trajectory: Trajectory) -> list[Phase]:
    """What the update makes of a trajectory."""
    algorithm = learner.algorithm
    assert isinstance(algorithm, MAML)
    return phases(
        learner.model,
        trajectory,
        rollouts_per_task=algorithm.rollouts,
        discount=algorithm.discount,
        trace=algorithm.trace,
    )[0]


def parameters_of(learner: Learner) -> dict[str, Tensor]:
    return {name: each.detach().clone().requires_grad_() for name, each in learner.model.named_parameters()}


def flat(parameters: dict[str, Tensor]) -> Tensor:
    return torch.cat([each.detach().reshape(-1) for each in parameters.values()])


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> Tensor:
    return flat(after) - flat(before)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (lambda: PointNavigation(horizon=5), {}),
        (lambda: PointNavigation(horizon=5), {"learned_rates": True}),
        (lambda: PointNavigation(horizon=5), {"episodes": 1}),
        (lambda: TabularMDP(states=3, actions=3, horizon=4), {"episodes": 2}),
        ("cartpole", {}),
    ],
    indirect=["family"],
    ids=["navigation", "learned-rates", "no-inner-step", "tabular", "cartpole"],
)
def test_with_one_iteration_the_step_is_along_the_gradient_by_finite_differences(
    family: TaskFamily,
    options: dict[str, Any],
    adapting_on: AdaptingOn,
    shaken: Made,
    played: Played,
    in_double: InDouble,
    slowly: Slowly,
    numerical_gradient: Numerical,
) -> None:
    """Conjugate gradient starts along it. So what the whole update differentiates is the surrogate, inner steps and
    all, mean over tasks."""
    experiment = adapting_on(family, cg_iterations=1, **options)
    learner = shaken(experiment)
    trajectory = in_double(learner, played(experiment, learner, n=TASKS))
    before, data = parameters_of(learner), read(learner, trajectory)
    slow = slowly(experiment.algorithm)
    expected = flat(numerical_gradient(lambda given: slow.surrogate(given, data), before))
    found = learner.update(trajectory, 0.0)
    assert found["gradient_norm"] == pytest.approx(float(expected.norm()), rel=1e-6)
    step = -moved(before, parameters_of(learner))
    torch.testing.assert_close(step / step.norm(), expected / expected.norm(), rtol=0, atol=1e-6)


def test_the_first_order_update_goes_another_way(
    adapting_on: AdaptingOn, shaken: Made, played: Played, in_double: InDouble, slowly: Slowly
) -> None:
    """Along the gradient of the surrogate at the adapted weights, mean over tasks."""
    directions = {}
    for first_order in (False, True):
        experiment = adapting_on(cg_iterations=1, first_order=first_order)
        learner = shaken(experiment)
        trajectory = in_double(learner, played(experiment, learner, n=TASKS))
        before, data = parameters_of(learner), read(learner, trajectory)
        learner.update(trajectory, 0.0)
        step = -moved(before, parameters_of(learner))
        directions[first_order] = step / step.norm()
    slow, by_hand = slowly(experiment.algorithm), torch.zeros(len(flat(before)), dtype=torch.float64)
    for task in range(TASKS):
        reached = slow.adapted(before, data[:-1], task)[-1]
        weights = {f"weights.{name}": each.detach().requires_grad_() for name, each in reached.items()}
        loss = slow.surrogate(weights, [Phase(*(array[task : task + 1] for array in data[-1]))])
        by_hand += torch.cat([each.reshape(-1) for each in torch.autograd.grad(loss, list(weights.values()))])
    torch.testing.assert_close(directions[True], by_hand / by_hand.norm(), rtol=0, atol=1e-9)
    assert float((directions[True] - directions[False]).abs().max()) > 0.01


def hessian_of_kl(slow: Any, at: dict[str, Tensor], data: list[Phase]) -> Tensor:
    """Of the divergence of the adapted policies from those adapted from `at`: by differentiating twice."""
    sizes = [each.numel() for each in at.values()]

    def kl(vector: Tensor) -> Tensor:
        there = {name: part.view_as(at[name]) for name, part in zip(at, vector.split(sizes), strict=True)}
        return slow.kl(at, there, data, len(data) - 1)

    return torch.autograd.functional.hessian(kl, flat(at))


@pytest.mark.parametrize("learned_rates", [False, True], ids=["fixed-rate", "learned-rates"])
@families
def test_curvature_is_the_hessian_of_the_divergence_after_adaptation(
    family: TaskFamily,
    learned_rates: bool,
    adapting_on: AdaptingOn,
    shaken: Made,
    played: Played,
    in_double: InDouble,
    slowly: Slowly,
) -> None:
    """J' F J, with the Jacobian through both inner steps."""
    experiment = adapting_on(family, learned_rates=learned_rates)
    learner = shaken(experiment)
    model, trajectory = learner.model, in_double(learner, played(experiment, learner, n=TASKS))
    data = read(learner, trajectory)
    expected = hessian_of_kl(slowly(experiment.algorithm), parameters_of(learner), data)
    outputs = model.distribution(adapted(model, data[:-1])[-1], data[-1].x)  # pyright: ignore[reportCallIssue]
    point, parameters = Linearised(outputs, list(model.parameters())), list(model.parameters())
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        direction = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in parameters]
        along = model.head.fisher(outputs.detach(), point.push(direction))  # pyright: ignore[reportCallIssue]
        product = point.pull(along * (data[-1].weight / TASKS).unsqueeze(-1))
        found = torch.cat([each.reshape(-1) for each in product])
        torch.testing.assert_close(found, expected @ torch.cat([each.reshape(-1) for each in direction]))


@families
def test_an_update_is_the_natural_gradient_step(
    family: TaskFamily,
    adapting_on: AdaptingOn,
    shaken: Made,
    played: Played,
    in_double: InDouble,
    slowly: Slowly,
) -> None:
    """Schulman et al. 2015, appendix C, with dense matrices: -s sqrt(2 bound / (g H⁻¹ g)) H⁻¹ g."""
    experiment = adapting_on(family, cg_iterations=200, damping=0.01, max_kl=0.02)
    learner = shaken(experiment)
    trajectory = in_double(learner, played(experiment, learner, n=TASKS))
    before, data, slow = parameters_of(learner), read(learner, trajectory), slowly(experiment.algorithm)
    found = learner.update(trajectory, 0.0)
    after = parameters_of(learner)
    loss = slow.surrogate(before, data)
    gradient = torch.cat([each.reshape(-1) for each in torch.autograd.grad(loss, list(before.values()))])
    curvature = hessian_of_kl(slow, before, data) + 0.01 * torch.eye(len(gradient), dtype=torch.float64)
    natural = torch.linalg.solve(curvature, gradient)
    expected = -found["step"] * (2 * 0.02 / float(gradient @ natural)) ** 0.5 * natural
    torch.testing.assert_close(moved(before, after), expected, rtol=0, atol=1e-3 * float(expected.abs().max()))
    assert 0 < found["step"] <= 1
    assert found["improvement"] == pytest.approx(float((loss - slow.surrogate(after, data)).detach()), rel=1e-6)
    assert found["kl"] == pytest.approx(float(slow.kl(before, after, data, 2).detach()), rel=1e-6)
    entropy = [
        slow.policy(slow.adapted(before, data[:-1], task)[-1], data[-1].x[task][data[-1].weight[task] > 0]).entropy()
        for task in range(TASKS)
    ]
    assert found["entropy"] == pytest.approx(
        float(torch.stack([each.detach().mean() for each in entropy]).mean()), rel=1e-6
    )


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (lambda: PointNavigation(horizon=5), {"max_kl": 1e-3}),
        (lambda: PointNavigation(horizon=5), {"max_kl": 0.05, "inner_rate": 1.0, "learned_rates": True}),
        (lambda: PointNavigation(horizon=5), {"max_kl": 0.5, "line_search": 3}),
        ("cartpole", {"max_kl": 0.01}),
    ],
    indirect=["family"],
    ids=["short", "learned-rates", "few-tries", "cartpole"],
)
def test_the_adapted_policies_never_leave_the_bound(
    family: TaskFamily, options: dict[str, Any], adapting_on: AdaptingOn, shaken: Made, played: Played, slowly: Slowly
) -> None:
    """Over many updates; where none of the tries will do, nothing has changed."""
    experiment = adapting_on(family, episodes=2, **options)
    slow, taken = slowly(experiment.algorithm), []
    for seed in range(3):
        learner = shaken(experiment, seed=seed)
        for update in range(4):
            trajectory = played(experiment, learner, n=TASKS, seed=100 * seed + update)
            before, weights, data = parameters_of(learner), learner.weights(), read(learner, trajectory)
            found = learner.update(trajectory, 0.0)
            after = parameters_of(learner)
            taken.append(found["step"])
            if not taken[-1]:
                assert all(np.array_equal(array, weights[name]) for name, array in learner.weights().items())
                continue
            kl = float(slow.kl(before, after, data, 1).detach())
            assert 0 < kl <= options["max_kl"] * (1 + 1e-3)
            assert found["kl"] == pytest.approx(kl, rel=1e-2, abs=1e-6)
            assert float(slow.surrogate(after, data).detach()) < float(slow.surrogate(before, data).detach())
    assert any(taken)
    assert all(taken) == ("line_search" not in options)


def test_a_single_try_that_is_too_long_changes_nothing(adapting_on: AdaptingOn, shaken: Made, played: Played) -> None:
    experiment = adapting_on(line_search=1, max_kl=50.0, cg_iterations=10)
    learner = shaken(experiment)
    trajectory, before = played(experiment, learner, n=TASKS), learner.weights()
    found = learner.update(trajectory, 0.0)
    assert (found["step"], found["kl"], found["improvement"]) == (0, 0, 0)
    assert all(np.array_equal(array, before[name]) for name, array in learner.weights().items())
    assert learner.version == 1


def test_where_nothing_was_ever_earned_nothing_changes(adapting_on: AdaptingOn, shaken: Made, played: Played) -> None:
    """Goals on the unit circle are out of reach in five steps of 10 cm."""
    experiment = adapting_on(SparsePointNavigation(horizon=5))
    learner = shaken(experiment)
    trajectory, before = played(experiment, learner, n=TASKS), learner.weights()
    assert not trajectory.reward.any()
    found = learner.update(trajectory, 0.0)
    assert found["step"] == found["gradient_norm"] == 0
    assert all(np.isfinite(each) for each in found.values())
    assert all(np.array_equal(array, before[name]) for name, array in learner.weights().items())


def test_a_gradient_that_is_not_finite_changes_nothing(adapting_on: AdaptingOn, shaken: Made, played: Played) -> None:
    experiment = adapting_on()
    learner = shaken(experiment)
    trajectory, before = played(experiment, learner, n=TASKS), learner.weights()
    rewards = trajectory.reward.copy()
    rewards[0, 0] = np.nan
    with pytest.raises(Diverged, match=r"^the gradient's norm is nan at update 0\. The weights are still those of "):
        learner.update(replace(trajectory, reward=rewards), 0.0)
    assert all(np.array_equal(array, before[name]) for name, array in learner.weights().items())
    assert learner.version == 0


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_kl", 0.0),
        ("max_kl", -0.01),
        ("max_kl", float("nan")),
        ("cg_iterations", 0),
        ("damping", -1e-5),
        ("damping", float("inf")),
        ("line_search", 0),
    ],
)
def test_an_option_out_of_range_is_refused_in_one_sentence(option: str, value: float) -> None:
    with pytest.raises(BadInput, match=rf"^{option} is {value}; expected .*\.$"):
        MAML(**{option: value})
