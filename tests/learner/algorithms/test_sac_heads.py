"""Soft actor-critic's heads: squashed Gaussians, half-bounded boxes, and expectations over discrete actions."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from off_policy import LOPSIDED, random
from torch import Tensor

from innerloop.envs.errors import BadInput
from innerloop.envs.spaces import limits
from innerloop.learner.algorithms.pearl import PEARL
from innerloop.learner.algorithms.recurrent_sac import RecurrentSAC
from innerloop.learner.algorithms.sac import (
    Critic,
    SoftCategorical,
    SquashedGaussian,
    noise,
    soft_head,
)
from innerloop.learner.api import Problem


def exact_log_prob(parameters: Tensor, z: Tensor) -> Tensor:
    """Of tanh(mean + std z) by change of variables, in double precision: the normal's density over |d tanh(x)/dx|."""
    mean, log_std = parameters.double().split(z.shape[-1], -1)
    raw = mean + log_std.exp() * z.double()
    # 1 - tanh(x)² = 4 / (e^x + e^-x)², which overflows nowhere as a logarithm
    slope = np.log(4) - 2 * torch.logaddexp(raw, -raw)
    return (torch.distributions.Normal(mean, log_std.exp()).log_prob(raw) - slope).sum(-1)


def test_log_probability_is_that_of_torchs_transformed_distribution() -> None:
    head = SquashedGaussian(LOPSIDED)
    parameters, z = random(7, 4, 6, scale=0.5), random(7, 4, 3, seed=1)
    draw, log_prob = head.draw(parameters, z)
    mean, log_std = parameters.double().split(3, -1)
    normal = torch.distributions.Normal(mean, log_std.exp())
    squashed = torch.distributions.TransformedDistribution(normal, torch.distributions.TanhTransform())
    raw = mean + log_std.exp() * z
    torch.testing.assert_close(draw.double(), raw.tanh(), atol=1e-6, rtol=0)
    torch.testing.assert_close(log_prob.double(), squashed.log_prob(raw.tanh()).sum(-1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(log_prob.double(), exact_log_prob(parameters, z), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mean", [-1e3, -30.0, -9.0, 9.0, 30.0, 1e3])
@pytest.mark.parametrize("log_std", [-20.0, -3.0, 2.0])
def test_log_probability_far_in_the_tails_is_finite_and_right_and_so_is_its_gradient(
    mean: float, log_std: float
) -> None:
    """Where tanh is 1 to the last bit, its derivative is still known."""
    parameters = torch.tensor([[mean, log_std]]).expand(5, 2).clone().requires_grad_()
    z = torch.tensor([[-4.0], [-1.0], [0.0], [1.0], [4.0]])
    draw, log_prob = SquashedGaussian(spaces.Box(-1, 1, (1,), np.float32)).draw(parameters, z)
    assert (draw.abs() <= 1).all()
    torch.testing.assert_close(log_prob.double(), exact_log_prob(parameters, z), atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(log_prob.sum(), parameters)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (0.4, -1.0), (-1.5, -0.3), (0.0, 0.7)])
def test_the_density_of_draws_sums_to_one(mean: float, log_std: float) -> None:
    z = torch.linspace(-7, 7, 20_001).unsqueeze(-1)
    parameters = torch.tensor([mean, log_std]).expand(len(z), 2)
    _, log_prob = SquashedGaussian(spaces.Box(-1, 1, (1,), np.float32)).draw(parameters, z)
    draw = np.tanh(mean + np.exp(log_std) * z[:, 0].double().numpy())
    density = log_prob.double().exp().numpy()
    assert (np.diff(draw) * (density[1:] + density[:-1]) / 2).sum() == pytest.approx(1, abs=1e-4)


def test_log_standard_deviations_are_bounded() -> None:
    head, z = SquashedGaussian(spaces.Box(-1, 1, (1,), np.float32)), torch.ones(1, 1)
    for given, bounded in ((9.0, 2.0), (-99.0, -20.0)):
        for found, expected in zip(*(head.draw(torch.tensor([[0.1, s]]), z) for s in (given, bounded)), strict=True):
            torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_without_noise_it_is_the_squashed_mean() -> None:
    parameters = random(5, 6)
    draw, _ = SquashedGaussian(LOPSIDED).draw(parameters, None)
    torch.testing.assert_close(draw, parameters[:, :3].tanh())


def test_an_action_is_in_the_box_and_is_read_again_as_the_draw_it_came_from() -> None:
    head = SquashedGaussian(LOPSIDED)
    draw, _ = head.draw(random(500, 6, scale=2.0), random(500, 3, seed=1))
    action = head.action(draw.numpy())
    assert action.dtype == np.float32
    assert all(LOPSIDED.contains(each) for each in action)
    torch.testing.assert_close(head.encode(torch.from_numpy(action)), draw, atol=1e-5, rtol=0)
    ends = head.action(np.array([[-1, -1, -1], [1, 1, 1], [0, 0, 0]], np.float32))
    np.testing.assert_allclose(ends, [[-2, 0, 5], [2, 5, 5.5], [0, 2.5, 5.25]])
    np.testing.assert_array_equal(head.encode(torch.from_numpy(head.none(2))), 0)


def test_actions_have_the_boxs_shape() -> None:
    head = SquashedGaussian(spaces.Box(-3, 1, (2, 2), np.float32))
    action = head.action(random(5, 4).tanh().numpy())
    assert action.shape == (5, 2, 2)
    assert head.encode(torch.from_numpy(action).unsqueeze(0)).shape == (1, 5, 4)


@pytest.mark.parametrize("space", [spaces.Text(3), spaces.Box(0, 7, (2,), np.int64)], ids=str)
def test_other_action_spaces_are_refused_in_one_sentence(space: gymnasium.Space) -> None:
    problem = Problem(spaces.Discrete(2), space, 2, 3)
    for algorithm in (PEARL(), RecurrentSAC()):
        with pytest.raises(BadInput, match=r"^the action space is .*; expected Discrete, .* or a Box of floats; .*\.$"):
            algorithm.build(problem)


HALF = spaces.Box(np.float32([-2, 5, -np.inf, -np.inf]), np.float32([2, np.inf, -3, np.inf]))
"""Two bounds, one of either kind, none."""


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (0.4, -1.0), (-1.5, -0.3), (0.0, 0.7)])
def test_the_density_over_actions_sums_to_one_whatever_bounds_there_are(
    column: int, mean: float, log_std: float
) -> None:
    """By the change of an action along a fine grid of noise."""
    space = spaces.Box(HALF.low[column : column + 1], HALF.high[column : column + 1])
    head, z = SquashedGaussian(space), torch.linspace(-7, 7, 20_001).unsqueeze(-1)
    draw, log_prob = head.draw(torch.tensor([mean, log_std]).expand(len(z), 2).double(), z.double())
    density, draw = log_prob.double().exp().numpy(), draw.double().numpy()[:, 0]
    assert (np.diff(draw) * (density[1:] + density[:-1]) / 2).sum() == pytest.approx(1, abs=2e-4)


def test_actions_keep_whatever_bounds_there_are_and_are_read_again() -> None:
    head = SquashedGaussian(HALF)
    draw, _ = head.draw(random(500, 8, scale=2.0), random(500, 4, seed=1))
    action = head.action(draw.numpy())
    assert all(HALF.contains(each) for each in action)
    assert (np.ptp(action, axis=0) > 1).all()
    torch.testing.assert_close(head.encode(torch.from_numpy(action)), draw, atol=1e-4, rtol=1e-5)


COUNTED = {
    "discrete": spaces.Discrete(4, start=2),
    "multi": spaces.MultiDiscrete([2, 3], start=[1, 0]),
    "table": spaces.MultiDiscrete([[2, 3], [4, 1]]),
    "binary": spaces.MultiBinary(3),
}


@pytest.mark.parametrize("space", COUNTED.values(), ids=COUNTED)
def test_what_critics_are_given_of_discrete_actions_is_an_expectation_over_all_of_them(space: gymnasium.Space) -> None:
    """Every action one by one: its probability times its estimate, and times its log-probability."""
    torch.manual_seed(0)
    head = soft_head(space)
    assert isinstance(head, SoftCategorical)
    critic, x, parameters = Critic(head, 3, 8, 1), random(5, 3), random(5, head.size, seed=1)
    soft, log_prob = head.soft(parameters, torch.zeros(5, head.noise_width))
    estimate, expected_log_prob = torch.zeros(5), torch.zeros(5)
    first, end = (np.broadcast_to(limit, space.shape or ()).reshape(-1) for limit in limits(space))  # pyright: ignore
    every = np.stack(np.meshgrid(*map(np.arange, first, end), indexing="ij"), -1).reshape(-1, len(first))
    for each in every:
        action = torch.from_numpy(each.reshape(space.shape or ())).expand(5, *(space.shape or ()))
        draw = torch.from_numpy(each - first) if space.shape else torch.tensor(each[0] - first[0])
        one, _ = head.distribution.measure(parameters, draw.expand(5, *draw.shape))
        estimate += one.exp() * critic(x, head.encode(action)).squeeze(-1)
        expected_log_prob += one.exp() * one
    torch.testing.assert_close(critic(x, soft).squeeze(-1), estimate)
    torch.testing.assert_close(log_prob, expected_log_prob)
    assert head.target_entropy == pytest.approx(0.98 * np.log(len(every)))


@pytest.mark.parametrize("space", COUNTED.values(), ids=COUNTED)
def test_discrete_draws_follow_their_probabilities(space: gymnasium.Space) -> None:
    head, rows = soft_head(space), 20_000
    parameters = random(1, head.size).expand(rows, -1)
    draw, _ = head.draw(parameters, noise(np.random.default_rng(0), (rows, head.noise_width), torch.device("cpu")))
    frequency = head.encode(torch.from_numpy(head.action(draw.numpy()))).mean(0)
    soft, _ = head.soft(parameters[:1], torch.zeros(1, head.noise_width))
    torch.testing.assert_close(frequency, soft[0], atol=0.015, rtol=0)
    assert all(space.contains(each.astype(space.dtype)) for each in head.action(draw.numpy())[:50])
