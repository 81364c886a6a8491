"""Soft actor-critic's twins and slow critics, its temperature, and the gradient steps that are due.

Options are tested for both algorithms that have them.
"""

import copy
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from off_policy import LOPSIDED, random
from torch import Tensor, nn

from innerloop.envs.errors import BadInput
from innerloop.learner.algorithms.pearl import PEARL
from innerloop.learner.algorithms.recurrent_sac import Reader, RecurrentSAC
from innerloop.learner.algorithms.sac import (
    ActorCritic,
    SoftActorCritic,
    Twins,
    noise,
    perceptron,
)
from innerloop.learner.api import Metrics, Problem
from innerloop.learner.memory import MEMORIES


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
