"""Soft actor-critic's parts: the squashed Gaussian against its density, twins, the temperature, and what steps are due.

Options are tested for both algorithms that have them.
"""

import copy
import threading
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from innerloop.envs.errors import BadInput
from innerloop.envs.spaces import limits
from innerloop.learner.algorithms.pearl import PEARL
from innerloop.learner.algorithms.recurrent_sac import Reader, RecurrentSAC
from innerloop.learner.algorithms.sac import (
    ActorCritic,
    Critic,
    SoftActorCritic,
    SoftCategorical,
    SquashedGaussian,
    Twins,
    noise,
    perceptron,
    soft_head,
)
from innerloop.learner.api import Metrics, Problem
from innerloop.learner.memory import MEMORIES

LOPSIDED = spaces.Box(np.float32([-2, 0, 5]), np.float32([2, 5, 5.5]))


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


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


def twins(inputs: int = 3) -> Twins:
    torch.manual_seed(0)
    made = Twins(lambda: perceptron(inputs, 5, 1, 1))
    for parameter in made.target.parameters():  # elsewhere than the critics
        parameter.data += random(*parameter.shape, seed=parameter.numel())
    return made


def test_slow_critics_begin_as_the_critics_which_differ() -> None:
    torch.manual_seed(0)
    made = Twins(lambda: perceptron(3, 5, 1, 1))
    for now, slow in zip(made.online.parameters(), made.target.parameters(), strict=True):
        torch.testing.assert_close(slow, now, atol=0, rtol=0)
        assert not slow.requires_grad
    first, second = made(random(4, 3))
    assert (first - second).abs().min() > 1e-3


def test_a_target_is_the_lesser_of_the_slow_critics_and_has_no_gradient() -> None:
    made, x = twins(), random(50, 3).requires_grad_()
    one, other = (critic(x)[:, 0] for critic in made.target)
    expected = torch.tensor([min(a, b) for a, b in zip(one.tolist(), other.tolist(), strict=True)])
    torch.testing.assert_close(made.target_value(x), expected)
    assert 0 < int((one < other).sum()) < 50
    assert not made.target_value(x).requires_grad
    np.testing.assert_array_equal(made(x).shape, (2, 50))
    torch.testing.assert_close(made(x), torch.stack([critic(x)[:, 0] for critic in made.online]))


@pytest.mark.parametrize("memory", MEMORIES)
def test_fixed_critics_give_a_gradient_to_their_inputs_and_none_to_themselves(memory: str) -> None:
    torch.manual_seed(0)
    made = Twins(lambda: Reader(MEMORIES[memory](3, 5), perceptron(5, 5, 1, 1)))  # pyright: ignore[reportCallIssue]
    x = random(4, 3, 3).requires_grad_()
    before = copy.deepcopy(made.state_dict())
    value = made.frozen_value(x)
    torch.testing.assert_close(value, made(x).min(0).values)
    (through_fixed,) = torch.autograd.grad(value.sum(), x)
    (expected,) = torch.autograd.grad(made(x).min(0).values.sum(), x)
    torch.testing.assert_close(through_fixed, expected)
    assert through_fixed.abs().max() > 0
    made.frozen_value(x).sum().backward()
    assert all(parameter.grad is None for parameter in made.parameters())
    made(x).sum().backward()  # and they are as before, with gradients of their own
    assert all(parameter.grad is not None for parameter in made.online.parameters())
    assert all(torch.equal(array, before[name]) for name, array in made.state_dict().items())


def test_fixed_critics_are_the_critics_as_they_are_now() -> None:
    made, x = twins(), random(4, 3)
    made.frozen_value(x)
    with torch.no_grad():
        for parameter in made.online.parameters():
            parameter += 0.1
    torch.testing.assert_close(made.frozen_value(x), made(x).min(0).values)


class Waits(nn.Module):
    """A critic that keeps some threads waiting while they compute; so do its copies."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.waiting: list[threading.Thread] = []
        self.inside, self.done = threading.Event(), threading.Event()

    def __deepcopy__(self, memo: dict[int, object]) -> "Waits":
        other = copy.copy(self)
        memo[id(self)] = other
        other._modules = copy.deepcopy(self._modules, memo)
        return other

    def forward(self, x: Tensor) -> Tensor:
        if threading.current_thread() in self.waiting:
            self.inside.set()
            self.done.wait(5)
        return self.layer(x)


def test_fixed_critics_of_one_thread_do_not_take_the_gradient_from_anothers() -> None:
    """A learner's threads compute parts of one loss on one model at the same time."""
    torch.manual_seed(0)
    made, x = Twins(Waits), random(4, 3)
    critics, first = [*made.online.parameters()], made.online[0]
    assert isinstance(first, Waits)
    alone = torch.autograd.grad(made(x).sum(), critics)
    thread = threading.Thread(target=lambda: made.frozen_value(x))
    first.waiting.append(thread)
    thread.start()
    assert first.inside.wait(5)
    beside = made(x).sum()
    first.done.set()
    thread.join()
    for found, expected in zip(torch.autograd.grad(beside, critics, allow_unused=True), alone, strict=True):
        assert found is not None, "a critic's parameters were constants while another thread had fixed them"
        torch.testing.assert_close(found, expected, atol=0, rtol=0)


@pytest.mark.parametrize("rate", [0.005, 0.3, 1.0])
def test_slow_critics_follow_by_polyak_average(rate: float) -> None:
    made = twins()
    expected = [
        (1 - rate) * s + rate * n for s, n in zip(made.target.parameters(), made.online.parameters(), strict=True)
    ]
    now = [parameter.detach().clone() for parameter in made.online.parameters()]
    made.polyak_update(rate)
    for slow, average in zip(made.target.parameters(), expected, strict=True):
        torch.testing.assert_close(slow, average, atol=1e-6, rtol=1e-6)
    for parameter, before in zip(made.online.parameters(), now, strict=True):
        torch.testing.assert_close(parameter, before, atol=0, rtol=0)


def test_a_perceptron_is_linear_layers_with_relu_between_them() -> None:
    torch.manual_seed(0)
    made, x = perceptron(3, 5, 2, 2), random(4, 3)
    one, two, three = (layer for layer in made if isinstance(layer, nn.Linear))
    torch.testing.assert_close(made(x), three(two(one(x).clamp(min=0)).clamp(min=0)))
    assert [layer.weight.shape for layer in (one, two, three)] == [(5, 3), (5, 5), (2, 5)]


@pytest.mark.parametrize(("ratio", "warm_up"), [(0.1, 0), (0.1, 333), (1.0, 50), (0.37, 7), (2.5, 100), (1e-3, 0)])
def test_steps_that_are_due_keep_to_the_ratio_whatever_is_played_between_updates(ratio: float, warm_up: int) -> None:
    options, rng = SoftActorCritic(updates_per_step=ratio, warm_up=warm_up), np.random.default_rng(0)
    played = taken = 0
    for more in rng.choice([0, 1, 2, 3, 40, 500], 200).tolist():
        played += more
        due = options.due(played, taken)
        assert due >= 0
        assert due == 0 or played > warm_up
        taken += due
        owed = ratio * max(0, played - warm_up)
        assert owed - 1 - 1e-9 < taken <= owed + 1e-9
        assert options.due(played, taken) == 0
    assert taken > 10


def test_steps_that_a_larger_ratio_has_taken_are_not_taken_back() -> None:
    assert SoftActorCritic(updates_per_step=0.1, warm_up=0).due(played=100, taken=500) == 0


class Bare(ActorCritic):
    """Critics, and nothing to act with."""

    def __init__(self, temperature: float) -> None:
        super().__init__(Problem(spaces.Discrete(2), LOPSIDED, 2, 3), SoftActorCritic(temperature=temperature))
        self.critics = twins()


@pytest.mark.parametrize(("log_prob", "moves"), [(3.5, 1), (2.5, -1), (3.0, 0)])
def test_a_learned_temperature_rises_while_the_entropy_is_below_minus_the_width_of_an_action_and_falls_above_it(
    log_prob: float, moves: int
) -> None:
    """Three wide: the target is -3 nats, a log-probability of 3."""
    model = Bare(temperature=0.0)
    assert model.log_temperature.item() == 0
    given = torch.full((4, 2), log_prob, requires_grad=True)
    loss = model.temperature_loss(given)
    assert loss.shape == (4, 2)
    (gradient,) = torch.autograd.grad(loss.mean(), model.log_temperature)
    assert float(gradient) == pytest.approx(-(log_prob - 3))
    assert np.sign(-float(gradient)) == moves


def test_a_fixed_temperature_has_no_loss() -> None:
    model = Bare(temperature=0.2)
    assert float(model.log_temperature.exp()) == pytest.approx(0.2)
    assert not model.log_temperature.requires_grad
    loss = model.temperature_loss(torch.full((4,), 9.0, requires_grad=True))
    assert not loss.requires_grad
    np.testing.assert_array_equal(loss, 0)


def test_steps_are_counted_their_metrics_averaged_and_the_slow_critics_follow_each() -> None:
    model, other = Bare(0.1), Bare(0.1)

    def steps(values: list[float]) -> Iterator[Metrics]:
        for value in values:
            with torch.no_grad():
                for critics in (model.critics, other.critics):
                    next(critics.online.parameters()).add_(value)
            yield {"q": value}
            other.critics.polyak_update(0.1)  # when the next is asked for, this one is over

    assert model.run_gradient_steps(steps([1.0, 2.0, 6.0]), 0.1) == {"q": 3.0, "gradient_steps": 3}
    assert int(model.gradient_steps) == 3
    for mine, yours in zip(model.critics.parameters(), other.critics.parameters(), strict=True):
        torch.testing.assert_close(mine, yours, atol=0, rtol=0)
    assert model.run_gradient_steps(iter([]), 0.1) == {"gradient_steps": 0}
    assert int(model.state_dict()["gradient_steps"]) == 3  # it is saved with the weights


def test_noise_is_standard_normal_of_the_callers_generator() -> None:
    drawn = noise(np.random.default_rng(3), (2, 5), torch.device("cpu"))
    np.testing.assert_array_equal(drawn, np.random.default_rng(3).standard_normal((2, 5), np.float32))


@pytest.mark.parametrize("algorithm", [PEARL, RecurrentSAC])
@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("updates_per_step", 0.0, "a finite number above 0"),
        ("updates_per_step", float("inf"), "a finite number above 0"),
        ("warm_up", -1, "at least 0"),
        ("learning_rate", 0.0, "a finite number above 0"),
        ("learning_rate_end", -1e-4, "a finite number of at least 0"),
        ("learning_rate", float("nan"), "a finite number above 0"),
        ("reward_scale", -1.0, "a finite number above 0"),
        ("discount", 1.01, "a number in [0, 1]"),
        ("discount", float("nan"), "a number in [0, 1]"),
        ("target_rate", 0.0, "a number in (0, 1]"),
        ("target_rate", 1.5, "a number in (0, 1]"),
        ("temperature", -0.1, "a finite number of at least 0"),
        ("temperature", float("inf"), "a finite number of at least 0"),
        ("hidden", 0, "at least 1"),
    ],
)
def test_an_option_out_of_range_is_refused_in_one_sentence(
    algorithm: type[PEARL] | type[RecurrentSAC], option: str, value: Any, expected: str
) -> None:
    with pytest.raises(BadInput) as refused:
        algorithm(**{option: value})
    assert str(refused.value) == f"{option} is {value!r}; expected {expected}."


def test_the_step_size_changes_linearly_over_the_run() -> None:
    options = SoftActorCritic(learning_rate=1e-2, learning_rate_end=2e-3)
    assert [options.step_size(progress) for progress in (0.0, 0.25, 1.0)] == pytest.approx([1e-2, 8e-3, 2e-3])
