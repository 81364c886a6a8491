"""Adaptation by gradient against one task after the other; its derivative against finite differences."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from fixture_types import AdaptingOn, Gapped, InDouble, Made, Numerical, Played, Slowly
from gymnasium import spaces
from torch import Tensor

from innerloop.envs.api import TaskFamily
from innerloop.envs.navigation import PointNavigation
from innerloop.envs.tabular import TabularMDP
from innerloop.learner.algorithms.maml import MAML, surrogate
from innerloop.learner.api import Problem
from innerloop.learner.experiment import Experiment
from innerloop.learner.gradient.adaptation import (
    InnerLoss,
    Phase,
    adapted,
    inner_step,
    log_probability_loss,
    phase,
    phases,
    ratio_loss,
)
from innerloop.learner.gradient.feedforward import GradientPolicy, Weights
from innerloop.learner.gradient.inner_loop import GradientBased
from innerloop.learner.trajectory import Trajectory, concatenate

TASKS = 3

families = pytest.mark.parametrize(
    "family",
    [lambda: PointNavigation(horizon=5), lambda: TabularMDP(states=3, actions=3, horizon=4), "cartpole"],
    indirect=True,
    ids=["navigation", "tabular", "cartpole"],
)
LOSSES = log_probability_loss, ratio_loss
by_ratio = pytest.mark.parametrize("ratio", [False, True], ids=["log-probability", "ratio"])
with_learned_rates = pytest.mark.parametrize("learned_rates", [False, True], ids=["fixed-rate", "learned-rates"])


@pytest.fixture
def model_and_phases(shaken: Made, played: Played, in_double: InDouble) -> Callable[..., Any]:
    """In float64, with weights that are near those that played, so that no probability ratio is 1."""

    def make(experiment: Experiment) -> tuple[GradientPolicy, list[Phase]]:
        learner = shaken(experiment)
        trajectory = in_double(learner, played(experiment, learner, n=TASKS))
        model, algorithm = learner.model, experiment.algorithm
        assert isinstance(model, GradientPolicy)
        assert isinstance(algorithm, GradientBased)
        data, _ = phases(
            model, trajectory, rollouts_per_task=algorithm.rollouts, discount=algorithm.discount, trace=algorithm.trace
        )
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        return model, data

    return make


def outer_gradient(model: GradientPolicy, data: Sequence[Phase], **options: Any) -> dict[str, Tensor]:
    """Of MAML's outer surrogate, mean over tasks."""
    weights = adapted(model, data[:-1], **options)[-1]
    loss = surrogate(model, model.distribution(weights, data[-1].x), data[-1]) / TASKS
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)
    return dict(zip(dict(model.named_parameters()), found, strict=True))


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float) -> None:
    """Up to a share of the largest number of all."""
    assert found.keys() == expected.keys()
    largest = max(float(each.detach().abs().max()) for each in expected.values())
    for name, each in expected.items():
        np.testing.assert_allclose(found[name].detach(), each.detach(), rtol=0, atol=tolerance * largest, err_msg=name)


LENGTHS = [[3, 1, 2], [1, 4, 2], [2, 2, 2], [5, 1, 1], [1, 1, 1], [1, 1, 6]]


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("parts", [1, 2])
def test_phases_hold_every_step_once_and_in_order(
    width: int, parts: int, gapped: Gapped, adapting_on: AdaptingOn, shaken: Made
) -> None:
    """Whatever the lengths of episodes, also where parts of different lengths were put side by side."""
    if parts == 1:
        lengths, trajectory = LENGTHS, gapped(LENGTHS, width)
    else:
        shorter = [[1, 2, 1]] * 6
        lengths, trajectory = shorter + LENGTHS, concatenate([gapped(shorter, width), gapped(LENGTHS, width)])
    model = shaken(adapting_on()).model
    found, explained = phases(model, trajectory, rollouts_per_task=width, discount=0.9, trace=0.8)
    tasks = len(lengths) // width
    assert len(found) == 3
    assert explained.shape == (3, tasks)
    longest = max(map(max, lengths))
    for episode, each in enumerate(found):
        assert each.x.shape == (tasks, longest * width, 2)
        for column, lasting in enumerate(length[episode] for length in lengths):
            task, row = divmod(column, width)
            own = [array[task].unflatten(0, (longest, width))[:, row] for array in each]
            number = 10_000 * (column % 6) + 100 * episode + torch.arange(lasting)
            numbers = number.float().unsqueeze(-1).expand(-1, 2)
            torch.testing.assert_close(own[0][:lasting], numbers, rtol=0, atol=0)
            torch.testing.assert_close(own[1][:lasting], numbers, rtol=0, atol=0)
            torch.testing.assert_close(own[2][:lasting], number.float(), rtol=0, atol=0)
            counted = sum(length[episode] for length in lengths[task * width : (task + 1) * width])
            assert own[4].tolist() == pytest.approx([1 / counted] * lasting + [0] * (longest - lasting))
            assert (own[3][lasting:] == 0).all()


def test_a_phase_has_the_advantages_of_its_own_episode(gapped: Gapped, adapting_on: AdaptingOn, shaken: Made) -> None:
    """As if the columns of each episode had been written down by themselves."""
    trajectory, longest = gapped(LENGTHS, 2), max(map(max, LENGTHS))
    trajectory.reward[...] = np.random.default_rng(0).standard_normal(trajectory.reward.shape)
    model = shaken(adapting_on()).model
    found, explained = phases(model, trajectory, rollouts_per_task=2, discount=0.9, trace=0.8)
    start = np.zeros(6, np.int64)
    for episode, each in enumerate(found):
        place = start + np.arange(longest)[:, None], np.arange(6)
        lasting = np.array(LENGTHS)[:, episode]
        valid = np.arange(longest)[:, None] < lasting

        def columns(array: np.ndarray, place: tuple = place, valid: np.ndarray = valid) -> Tensor:
            padded = np.concatenate([array, np.zeros((longest, *array.shape[1:]), array.dtype)])[place]
            return torch.from_numpy(np.where(valid.reshape(*valid.shape, *[1] * (padded.ndim - 2)), padded, 0))

        note = trajectory.note
        expected, share = phase(
            columns(trajectory.observation),
            columns(note["draw"]),
            columns(note["log_prob"]),
            columns(trajectory.reward),
            torch.from_numpy(valid),
            rollouts_per_task=2,
            discount=0.9,
            trace=0.8,  # pyright: ignore
        )
        torch.testing.assert_close(each.advantage, expected.advantage)
        torch.testing.assert_close(explained[episode], share)
        start += np.repeat(lasting.reshape(-1, 2).max(1), 2)


@with_learned_rates
@by_ratio
@families
def test_tasks_adapt_together_as_they_do_one_by_one(
    family: TaskFamily,
    ratio: bool,
    learned_rates: bool,
    adapting_on: AdaptingOn,
    model_and_phases: Callable[..., Any],
    slowly: Slowly,
) -> None:
    experiment = adapting_on(family, learned_rates=learned_rates)
    model, data = model_and_phases(experiment)
    parameters = dict(model.named_parameters())
    found = adapted(model, data[:-1], loss=LOSSES[ratio])
    assert len(found) == 3
    slow = slowly(experiment.algorithm, ratio)
    for task in range(TASKS):
        for step, expected in enumerate(slow.adapted(parameters, data[:-1], task)):
            own = {name: each[task] if step else each for name, each in found[step].items()}
            assert_same(own, expected, 1e-12)
    moved = max(float((found[2][name] - found[1][name]).detach().abs().max()) for name in found[0])
    assert moved > 1e-3


@with_learned_rates
@by_ratio
@families
def test_the_outer_gradient_is_the_mean_over_tasks_one_by_one(
    family: TaskFamily,
    ratio: bool,
    learned_rates: bool,
    adapting_on: AdaptingOn,
    model_and_phases: Callable[..., Any],
    slowly: Slowly,
) -> None:
    experiment = adapting_on(family, learned_rates=learned_rates)
    model, data = model_and_phases(experiment)
    parameters = dict(model.named_parameters())
    loss = slowly(experiment.algorithm, ratio).surrogate(parameters, data)
    expected = torch.autograd.grad(loss, list(parameters.values()))
    found = outer_gradient(model, data, loss=LOSSES[ratio])
    assert_same(found, dict(zip(parameters, expected, strict=True)), 1e-11)


@pytest.mark.parametrize("algorithm", ["maml", "promp"])
@pytest.mark.parametrize("fewer", [1, 2, 3])
@pytest.mark.parametrize(
    "family", [lambda: PointNavigation(horizon=5), "cartpole"], indirect=True, ids=["point", "pole"]
)
def test_trials_of_fewer_episodes_beside_others_adapt_and_count_as_they_do_alone(
    family: TaskFamily, fewer: int, algorithm: str, adapting_on: AdaptingOn, shaken: Made, played: Played,
    in_double: InDouble,
) -> None:  # fmt: skip
    """As a curriculum makes them while actors play ahead: each takes the inner steps that its own trial took."""
    experiment = adapting_on(family, episodes=4, algorithm=algorithm)
    learner = shaken(experiment)
    model = learner.model
    alone = [
        in_double(learner, played(adapting_on(family, episodes, algorithm), learner, n=TASKS, seed=episodes))
        for episodes in (4, fewer)
    ]

    def read(trajectory: Trajectory) -> list[Phase]:
        return phases(model, trajectory, rollouts_per_task=4, discount=0.9, trace=0.8)[0]

    data, ratio = read(concatenate(alone)), algorithm == "promp"
    assert len(data) == 4
    together = adapted(model, data[:-1], loss=LOSSES[ratio])[-1]
    outer = 0.0
    for group, trajectory in enumerate(alone):
        own = read(trajectory)
        expected = adapted(model, own[:-1], loss=LOSSES[ratio])[-1]
        first = group * TASKS
        for task in range(TASKS):
            one = {name: each[task] if len(own) > 1 else each for name, each in expected.items()}
            assert_same({name: each[first + task] for name, each in together.items()}, one, 1e-12)
        outer += float(surrogate(model, model.distribution(expected, own[-1].x), own[-1]).detach())  # pyright: ignore
    found = surrogate(model, model.distribution(together, data[-1].x), data[-1])  # pyright: ignore[reportCallIssue]
    assert float(found.detach()) == pytest.approx(outer, rel=1e-9)
    metrics = shaken(experiment).update(concatenate([played(experiment, learner, n=TASKS), trajectory]), 0.0)
    assert all(np.isfinite(value) for value in metrics.values())


@with_learned_rates
@by_ratio
@pytest.mark.parametrize(
    "family", [lambda: PointNavigation(horizon=5), "cartpole"], indirect=True, ids=["navigation", "cartpole"]
)
def test_the_outer_gradient_through_two_inner_steps_is_that_of_finite_differences(
    family: TaskFamily,
    ratio: bool,
    learned_rates: bool,
    adapting_on: AdaptingOn,
    model_and_phases: Callable[..., Any],
    slowly: Slowly,
    numerical_gradient: Numerical,
) -> None:
    """With respect to everything that is learned: weights, log standard deviations, rates."""
    experiment = adapting_on(family, learned_rates=learned_rates)
    model, data = model_and_phases(experiment)
    assert len(data) == 3
    slow = slowly(experiment.algorithm, ratio)
    expected = numerical_gradient(lambda given: slow.surrogate(given, data), dict(model.named_parameters()))
    assert all(float(each.abs().max()) > 1e-5 for each in expected.values())
    assert_same(outer_gradient(model, data, loss=LOSSES[ratio]), expected, 1e-6)


def test_the_first_order_gradient_is_that_of_the_adapted_weights_and_not_the_whole_one(
    adapting_on: AdaptingOn, model_and_phases: Callable[..., Any], slowly: Slowly
) -> None:
    """Finn et al. 2017, section 5.2: as if what adaptation had added did not depend on where it began."""
    experiment = adapting_on()
    model, data = model_and_phases(experiment)
    slow, shares = slowly(experiment.algorithm), []
    for task in range(TASKS):
        reached = slow.adapted(dict(model.named_parameters()), data[:-1], task)[-1]
        weights = {f"weights.{name}": each.detach().requires_grad_() for name, each in reached.items()}
        post = Phase(*(array[task : task + 1] for array in data[-1]))
        shares.append(torch.autograd.grad(slow.surrogate(weights, [post]), list(weights.values())))
    by_hand = dict(zip(weights, (torch.stack(each).mean(0) for each in zip(*shares, strict=True)), strict=True))
    found, whole = (outer_gradient(model, data, first_order=on) for on in (True, False))
    assert_same(found, by_hand, 1e-11)
    difference = max(float((found[name] - each).abs().max()) for name, each in whole.items())
    assert difference > 0.05 * max(float(each.abs().max()) for each in whole.values())


def test_to_first_order_learned_rates_are_learned_too(
    adapting_on: AdaptingOn, model_and_phases: Callable[..., Any], slowly: Slowly
) -> None:
    experiment = adapting_on(learned_rates=True, first_order=True)
    model, data = model_and_phases(experiment)
    parameters = dict(model.named_parameters())
    expected = torch.autograd.grad(slowly(experiment.algorithm).surrogate(parameters, data), list(parameters.values()))
    found = outer_gradient(model, data, first_order=True)
    assert_same(found, dict(zip(parameters, expected, strict=True)), 1e-11)
    assert all(float(each.abs().max()) > 0 for each in found.values())


def test_both_surrogates_descend_the_same_way_from_the_policy_that_played(
    adapting_on: AdaptingOn, model_and_phases: Callable[..., Any]
) -> None:
    """And differ in the second derivative (Rothfuss et al. 2018, section 5)."""
    model, data = model_and_phases(adapting_on())
    weights = {name: each.detach() for name, each in model.weights.items()}
    one = Phase(*(array[0] for array in data[0]))
    log_prob, _ = model.head.measure(model.distribution(weights, one.x), one.draw)
    one = one._replace(log_prob=log_prob)
    steps = [inner_step(model, weights, one, 0, loss=LOSSES[ratio]) for ratio in (False, True)]
    assert_same(steps[0], steps[1], 1e-12)

    def curvature(ratio: bool) -> Tensor:
        def loss(constants: Tensor) -> Tensor:
            return LOSSES[ratio](model, weights | {"state_independent": constants}, one)

        return torch.autograd.functional.hessian(loss, weights["state_independent"])

    assert float((curvature(True) - curvature(False)).abs().max()) > 1e-3


def test_an_inner_step_makes_what_paid_more_probable(
    adapting_on: AdaptingOn, model_and_phases: Callable[..., Any]
) -> None:
    model, data = model_and_phases(adapting_on(inner_rate=0.01))
    before, after = adapted(model, data[:1])
    for task in range(TASKS):
        one = Phase(*(array[task] for array in data[0]))
        own = {name: each[task] for name, each in after.items()}
        assert float(LOSSES[False](model, own, one).detach()) < float(LOSSES[False](model, before, one).detach())


def test_tasks_in_parts_adapt_as_they_do_together(
    adapting_on: AdaptingOn, model_and_phases: Callable[..., Any]
) -> None:
    model, data = model_and_phases(adapting_on())
    whole = adapted(model, data[:-1])[-1]
    for part in (np.array([1]), np.array([2, 0])):
        for name, each in adapted(model, [one.of(part) for one in data[:-1]])[-1].items():
            torch.testing.assert_close(each, whole[name][part.tolist()], rtol=1e-12, atol=1e-12)


def test_with_answers_as_draws_and_an_advantage_of_one_a_step_descends_the_cross_entropy() -> None:
    """So that one adaptation serves policy gradients and supervised losses."""
    problem = Problem(spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(4), 2, 5)
    torch.manual_seed(0)
    model = GradientPolicy(
        problem, hidden=8, layers=1, activation="tanh", rate=0.1, decay=1.0, learned_rates=False
    ).double()
    x, answer = torch.randn(6, 3).double(), torch.randint(4, (6,))
    ones, shares = torch.ones(6).double(), torch.full((6,), 1 / 6).double()
    data, weights = Phase(x, answer, 0 * ones, ones, shares), dict(model.weights.items())
    found = log_probability_loss(model, weights, data)
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(model.distribution(weights, x), answer))
    stepped = inner_step(model, weights, data, 0)
    assert log_probability_loss(model, stepped, data).item() < found.item()


def test_an_algorithm_brings_its_own_inner_loss() -> None:
    """What is injected is descended by the agent, too."""

    def towards_zero(policy: GradientPolicy, weights: Weights, data: Phase) -> Tensor:
        return sum((each.square().sum() for each in weights.values()), start=torch.zeros(()))

    class Shrinking(MAML):
        @property
        def inner_loss(self) -> InnerLoss:
            return towards_zero

    problem = Problem(spaces.Discrete(3), spaces.Discrete(2), 2, 1)
    algorithm = Shrinking(rollouts=2, inner_rate=0.25)
    model = algorithm.build(problem)
    with torch.no_grad():
        model.weights["b2"] += torch.tensor([1.0, -1.0])
    agent = algorithm.inner_loop(model, problem)
    agent.begin_trial(4)
    nothing = np.zeros(4, np.float32)
    for done in (False, True):
        agent.act(np.zeros(4, np.int64), nothing, np.full(4, done))
    halved = {name: each.detach() / 2 for name, each in model.weights.items()}
    parameters = model.distribution(halved, model.observation(torch.zeros(4, dtype=torch.int64)))
    expected, _ = model.head.measure(parameters, torch.from_numpy(agent.note["draw"]))
    np.testing.assert_allclose(agent.note["log_prob"], expected.numpy(), atol=1e-6)
    assert not np.allclose(expected.exp(), 0.5, atol=1e-3)
