"""ProMP: the objective is that of the paper, computed slowly; its gradient is that of finite differences."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from fixture_types import AdaptingOn, InDouble, Made, Numerical, Played, Slowly
from torch import Tensor, nn

from innerloop.envs.api import TaskFamily
from innerloop.envs.errors import BadInput
from innerloop.envs.navigation import PointNavigation
from innerloop.learner.algorithms.promp import ProMP
from innerloop.learner.experiment import Experiment
from innerloop.learner.gradient.adaptation import phases
from innerloop.learner.learner import Learner

TASKS, RATE = 3, 0.3
SMALL: dict[str, Any] = {
    "rollouts": 4, "hidden": 4, "layers": 1, "activation": "tanh", "inner_rate": 0.3,
    "learning_rate": RATE, "max_gradient_norm": 1e9,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plain(ProMP):
    """With plain gradient descent instead of Adam, so that every step tells its gradient."""

    def optimisers(self, model: nn.Module) -> dict[str, torch.optim.Optimizer]:
        return {"adam": torch.optim.SGD(model.parameters())}


def parameters_of(learner: Learner) -> dict[str, Tensor]:
    return {name: each.detach().clone().requires_grad_() for name, each in learner.model.named_parameters()}


def learner_with(algorithm: ProMP, family: TaskFamily, shaken: Made) -> tuple[Experiment, Learner]:
    experiment = Experiment(family_name="given", family=family, algorithm_name="given", algorithm=algorithm, episodes=3)
    return experiment, shaken(experiment)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (lambda: PointNavigation(horizon=5), {}),
        (lambda: PointNavigation(horizon=5), {"learned_rates": True}),
        (lambda: PointNavigation(horizon=5), {"first_order": True}),
        ("cartpole", {}),
    ],
    indirect=["family"],
    ids=["navigation", "learned-rates", "first-order", "cartpole"],
)
def test_every_step_is_along_the_gradient_of_the_papers_objective(
    family: TaskFamily,
    options: dict[str, Any],
    shaken: Made,
    played: Played,
    in_double: InDouble,
    slowly: Slowly,
    numerical_gradient: Numerical,
) -> None:
    """Rothfuss et al. 2018, algorithm 1: clipped surrogate after adaptation, plus a penalty on the divergence of the
    policies before each inner step from those that played.

    At the first step every ratio is 1 and every divergence 0; at the third they are not.
    """
    at, gradients = [], []
    for outer_steps in (1, 2, 3):
        algorithm = Plain(outer_steps=outer_steps, clip=0.02, kl_penalty=0.5, **(SMALL | options))
        experiment, learner = learner_with(algorithm, family, shaken)
        trajectory = in_double(learner, played(experiment, learner, n=TASKS))
        if not at:
            at.append(parameters_of(learner))
            data, _ = phases(
                learner.model,
                trajectory,
                rollouts_per_task=algorithm.rollouts,
                discount=algorithm.discount,
                trace=algorithm.trace,
            )
        found = learner.update(trajectory, 0.0)
        at.append(parameters_of(learner))
        gradients.append({name: (each - at[-1][name]).detach() / RATE for name, each in at[-2].items()})
    slow = slowly(algorithm, ratio=True)

    def divergence(given: dict[str, Tensor]) -> Tensor:
        return slow.kl(at[0], given, data, 0) + slow.kl(at[0], given, data, 1)

    def objective(given: dict[str, Tensor]) -> Tensor:
        return slow.surrogate(given, data, clip=0.02) + 0.5 * divergence(given)

    for step, (here, gradient) in enumerate(zip(at[:-1], gradients, strict=True)):
        expected = dict(zip(here, torch.autograd.grad(objective(here), list(here.values())), strict=True))
        if step == 2 and not algorithm.first_order:
            expected = numerical_gradient(objective, here)
        largest = max(float(each.abs().max()) for each in expected.values())
        for name, each in expected.items():
            np.testing.assert_allclose(gradient[name], each, rtol=0, atol=1e-5 * largest, err_msg=name)
    last = at[2]  # where the third step's gradient was taken
    assert found["policy_loss"] == pytest.approx(float(slow.surrogate(last, data, clip=0.02).detach()), rel=1e-6)
    assert found["inner_kl"] == pytest.approx(float(divergence(last).detach()), rel=1e-6)
    assert found["inner_kl"] > 1e-4
    assert found["loss"] == pytest.approx(found["policy_loss"] + 0.5 * found["inner_kl"], rel=1e-6)
    assert 0.05 < found["clipped"] < 0.95  # some are, some are not


def test_clipping_counts_the_share_of_steps_outside(
    shaken: Made, played: Played, in_double: InDouble, slowly: Slowly
) -> None:
    algorithm = Plain(outer_steps=1, clip=0.1, **SMALL)
    experiment, learner = learner_with(algorithm, PointNavigation(horizon=5), shaken)
    trajectory = in_double(learner, played(experiment, learner, n=TASKS))
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter += 0.05
    before = parameters_of(learner)
    data, _ = phases(learner.model, trajectory, rollouts_per_task=4, discount=algorithm.discount, trace=algorithm.trace)
    slow, outside, entropy = slowly(algorithm, ratio=True), [], []
    for task in range(TASKS):
        policy = slow.policy(slow.adapted(before, data[:-1], task)[-1], data[-1].x[task])
        ratio = (policy.log_prob(data[-1].draw[task]) - data[-1].log_prob[task]).exp()
        counted = data[-1].weight[task] > 0
        outside.append(((ratio < 0.9) | (ratio > 1.1))[counted].double().mean())
        entropy.append(policy.entropy()[counted].mean())
    found = learner.update(trajectory, 0.0)
    assert 0.1 < found["clipped"] < 0.9
    assert found["clipped"] == pytest.approx(float(torch.stack(outside).mean()), rel=1e-6)
    assert found["entropy"] == pytest.approx(float(torch.stack(entropy).mean().detach()), rel=1e-6)


def test_the_optimiser_is_adam(adapting_on: AdaptingOn, shaken: Made, played: Played) -> None:
    """Its first step is as long as the learning rate, whatever the gradient; its state is saved with the weights."""
    experiment = adapting_on(algorithm="promp", learning_rate=1e-3, outer_steps=1)
    learner = shaken(experiment)
    before = learner.weights()
    learner.update(played(experiment, learner, n=TASKS), 0.0)
    for name, array in learner.weights().items():
        np.testing.assert_allclose(np.abs(array - before[name]), 1e-3, rtol=0.01)
    arrays, _ = learner.state()
    assert any(name.startswith("optimiser/") for name in arrays)


def test_a_penalty_holds_the_policy_near_the_one_that_played(
    adapting_on: AdaptingOn, shaken: Made, played: Played
) -> None:
    found = []
    for penalty in (0.0, 100.0):
        experiment = adapting_on(algorithm="promp", learning_rate=1e-2, outer_steps=10, kl_penalty=penalty)
        learner = shaken(experiment)
        found.append(learner.update(played(experiment, learner, n=TASKS), 0.0)["inner_kl"])
    assert 0 < found[1] < 0.1 * found[0]


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("outer_steps", 0, "at least 1"),
        ("learning_rate", 0.0, "a finite number above 0"),
        ("learning_rate", float("nan"), "a finite number above 0"),
        ("clip", -0.1, "a finite number above 0"),
        ("kl_penalty", -1e-4, "a finite number of at least 0"),
        ("max_gradient_norm", 0.0, "a finite number above 0"),
        ("rollouts", 1, "at least 2, to tell better from worse"),
    ],
)
def test_an_option_out_of_range_is_refused_in_one_sentence(option: str, value: float, expected: str) -> None:
    with pytest.raises(BadInput) as refused:
        ProMP(**{option: value})
    assert str(refused.value) == f"{option} is {value}; expected {expected}."
