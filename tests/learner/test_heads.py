"""Action distributions against torch's own, and against what they draw."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy import stats
from torch import Tensor

from innerloop.envs.errors import BadInput
from innerloop.learner.heads import Categorical, Gaussian, head

MANY = 20_000
LARGEST = np.finfo(np.float32).max
LOGITS = torch.tensor([0.5, -1.0, 2.0, 0.0, -8.0])
SPACES = {
    "discrete": spaces.Discrete(4),
    "discrete-from-3": spaces.Discrete(4, start=3),
    "discrete-from-minus-2": spaces.Discrete(4, start=-2),
    "one-action": spaces.Discrete(1),
    "multi-discrete": spaces.MultiDiscrete([2, 5, 1], start=[0, 3, -1]),
    "multi-discrete-table": spaces.MultiDiscrete([[2, 3], [4, 2]]),
    "multi-binary": spaces.MultiBinary(3),
    "multi-binary-table": spaces.MultiBinary((2, 2)),
    "box": spaces.Box(np.float32([-2, 0]), np.float32([2, 5])),
    "box-2d": spaces.Box(-1, 1, (2, 3), np.float32),
    "box-float64": spaces.Box(-1, 1, (2,), np.float64),
    "box-unbounded": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    "box-half-bounded": spaces.Box(np.float32([0, -np.inf]), np.float32([np.inf, 3])),
    "box-half-bounded-far": spaces.Box(np.float32([50, -np.inf]), np.float32([np.inf, -50])),
    "box-half-bounded-by-the-largest": spaces.Box(np.float32([50, -LARGEST]), np.float32([LARGEST, -50])),
    "box-of-the-largest": spaces.Box(-LARGEST, LARGEST, (2,), np.float32),
    "box-of-the-largest-float64": spaces.Box(-1.7e308, 1.7e308, (2,), np.float64),
    "box-far": spaces.Box(1e9, 1e9 + 2, (2,), np.float64),
    "box-float16": spaces.Box(-1, 1, (2,), np.float16),
    "box-scalar": spaces.Box(-1, 1, (), np.float32),
}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


LOG_STD = torch.tensor([-0.7, 0.4])


def gaussian() -> Gaussian:
    return Gaussian(spaces.Box(-1, 1, (2,), np.float32))


def with_log_std(mean: Tensor) -> Tensor:
    """The head's parameters, out of means [..., 2]."""
    return torch.cat([mean, LOG_STD.expand_as(mean)], -1)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def drawn(space: gymnasium.Space, rows: int = 500, scale: float = 3.0) -> tuple[Categorical | Gaussian, Tensor]:
    made = head(space)
    draw, _ = made.draw(scale * random(rows, made.size), made.noise(np.random.default_rng(0), rows))
    return made, draw


def test_categorical_log_probability_and_entropy_are_torchs() -> None:
    logits, draw = random(7, 3, 5), torch.randint(5, (7, 3), generator=torch.Generator().manual_seed(1))
    exact = torch.distributions.Categorical(logits=logits)
    log_prob, entropy = Categorical(spaces.Discrete(5)).measure(logits, draw)
    torch.testing.assert_close(log_prob, exact.log_prob(draw))
    torch.testing.assert_close(entropy, exact.entropy())


def test_gaussian_log_probability_and_entropy_are_torchs() -> None:
    mean, draw, made = random(7, 3, 2), random(7, 3, 2, seed=1), gaussian()
    exact = torch.distributions.Independent(torch.distributions.Normal(mean, LOG_STD.exp().expand_as(mean)), 1)
    log_prob, entropy = made.measure(with_log_std(mean), draw)
    torch.testing.assert_close(log_prob, exact.log_prob(draw))
    torch.testing.assert_close(entropy, exact.entropy())


def test_categorical_draws_follow_the_distribution() -> None:
    made = Categorical(spaces.Discrete(5))
    draw, _ = made.draw(LOGITS.expand(MANY, 5), made.noise(np.random.default_rng(0), MANY))
    expected = LOGITS.double().softmax(-1).numpy() * MANY
    assert stats.chisquare(np.bincount(draw.numpy(), minlength=5), expected).pvalue > 1e-3


def test_every_uniform_number_draws_an_action_and_one_of_no_probability_never() -> None:
    made = Categorical(spaces.Discrete(4))
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]]).expand(3, 4)
    noise = torch.tensor([[0.0], [0.5], [1 - 2**-24]])
    assert made.draw(logits, noise)[0].tolist() == [1, 2, 2]


@torch.no_grad()
def test_gaussian_draws_follow_the_distribution() -> None:
    made = gaussian()
    draw, _ = made.draw(
        with_log_std(torch.tensor([2.0, -3.0]).expand(MANY, 2)), made.noise(np.random.default_rng(0), MANY)
    )
    for column, mean, log_std in zip(draw.T.numpy(), (2.0, -3.0), (-0.7, 0.4), strict=True):
        assert stats.kstest(column, stats.norm(mean, math.exp(log_std)).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(draw.T.numpy())[0, 1]) < 4 / math.sqrt(MANY)


@every_space
def test_kl_is_the_mean_difference_of_log_probabilities(space: gymnasium.Space) -> None:
    """By its definition, over many draws of the first distribution."""
    made = head(space)
    one, two = (0.4 * random(1, made.size, seed=seed).expand(MANY, -1) for seed in (0, 1))
    draw, _ = made.draw(one, made.noise(np.random.default_rng(0), MANY))
    difference = made.measure(one, draw)[0] - made.measure(two, draw)[0]
    error = float(difference.std()) / math.sqrt(MANY)
    assert float(made.kl(one, two)[0]) == pytest.approx(float(difference.mean()), abs=4 * error + 1e-6)
    torch.testing.assert_close(made.kl(one, one), torch.zeros(MANY), atol=1e-6, rtol=0)


@every_space
def test_fisher_is_the_second_derivative_of_kl(space: gymnasium.Space) -> None:
    made = head(space)
    here, direction = random(made.size).double(), random(made.size, seed=1).double()
    hessian = torch.autograd.functional.hessian(lambda there: made.kl(here, there), here)
    torch.testing.assert_close(made.fisher(here, direction), hessian @ direction)


@every_space
@torch.no_grad()
def test_a_draw_uses_the_noise_given_and_nothing_else(space: gymnasium.Space) -> None:
    made = head(space)
    parameters, noise = random(6, made.size), made.noise(np.random.default_rng(2), 6)
    torch.manual_seed(0)
    first = made.draw(parameters, noise)
    torch.manual_seed(1)
    for one, two in zip(first, made.draw(parameters, noise), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    torch.testing.assert_close(noise, made.noise(np.random.default_rng(2), 6), rtol=0, atol=0)
    assert noise.dtype == torch.float32
    assert len(noise) == 6


@every_space
@torch.no_grad()
def test_the_log_probability_of_a_draw_is_what_measure_says(space: gymnasium.Space) -> None:
    made = head(space)
    parameters = random(50, made.size)
    for noise in (made.noise(np.random.default_rng(0), 50), None):
        draw, log_prob = made.draw(parameters, noise)
        torch.testing.assert_close(log_prob, made.measure(parameters, draw)[0], atol=1e-6, rtol=0)


@torch.no_grad()
def test_without_noise_the_draw_is_the_most_probable() -> None:
    logits = random(40, 5)
    assert torch.equal(Categorical(spaces.Discrete(5)).draw(logits, None)[0], logits.argmax(-1))
    mean = random(40, 2)
    assert torch.equal(gaussian().draw(with_log_std(mean), None)[0], mean)


@every_space
def test_actions_are_members_of_the_space(space: gymnasium.Space) -> None:
    """Draws far beyond a box's bounds too."""
    made, draw = drawn(space)
    actions = made.action(draw.numpy())
    assert len(actions) == 500
    for action in actions:
        assert space.contains(np.asarray(action)), action


@pytest.mark.parametrize("start", [0, 3, -2])
def test_every_discrete_action_is_drawn(start: int) -> None:
    made, draw = drawn(spaces.Discrete(4, start=start), scale=0.1)
    assert set(made.action(draw.numpy()).tolist()) == {start, start + 1, start + 2, start + 3}


def test_a_draw_of_plus_and_minus_one_is_a_bound_of_the_box_and_zero_its_centre() -> None:
    made = head(SPACES["box"])
    actions = made.action(np.float32([[-1, -1], [0, 0], [1, 1], [9, -9]]))
    np.testing.assert_allclose(actions, [[-2, 0], [0, 2.5], [2, 5], [2, 0]])


def test_an_unbounded_box_is_in_its_own_units() -> None:
    draws = np.float32([[-70, 3], [0.5, 1e4]])
    np.testing.assert_array_equal(head(SPACES["box-unbounded"]).action(draws), draws)


@every_space
def test_different_draws_are_different_actions(space: gymnasium.Space) -> None:
    """Within one standard deviation of the middle, in every dimension: none is stuck at a bound."""
    if isinstance(space, spaces.Box):
        made = head(space)
        draws = np.linspace(-1, 1, 5, dtype=np.float32)[:, None].repeat(made.width, 1)
        actions = made.action(draws)
        assert actions.dtype == space.dtype
        assert (np.diff(actions, axis=0) > 0).all()


@every_space
def test_no_action_yet_is_encoded_as_zeros(space: gymnasium.Space) -> None:
    made = head(space)
    none = made.none(3)
    assert none.shape == (3, *(space.shape or ()))
    encoded = made.encode(torch.from_numpy(none))
    assert encoded.dtype == torch.float32
    torch.testing.assert_close(encoded, torch.zeros(3, made.width))


@every_space
def test_different_actions_are_encoded_differently_and_each_step_alike(space: gymnasium.Space) -> None:
    made, draw = drawn(space, rows=24)
    actions = torch.from_numpy(made.action(draw.numpy()))
    encoded = made.encode(actions)
    assert encoded.shape == (24, made.width)
    assert torch.isfinite(encoded).all()
    in_time = made.encode(actions.reshape(6, 4, *actions.shape[1:]))
    torch.testing.assert_close(in_time.reshape(24, made.width), encoded)
    for i in range(24):
        for j in range(24):
            assert torch.equal(encoded[i], encoded[j]) == torch.equal(actions[i], actions[j])


def test_a_discrete_action_is_encoded_one_hot() -> None:
    encoded = Categorical(spaces.Discrete(3, start=5)).encode(torch.tensor([5, 7, 4]))
    assert encoded.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_a_dimension_without_width_is_encoded_as_a_finite_number() -> None:
    made = head(spaces.Box(np.float32([0, -1]), np.float32([0, 1])))
    assert torch.isfinite(made.encode(torch.from_numpy(made.none(2)))).all()


@pytest.mark.parametrize(
    "space",
    [spaces.Dict({"x": spaces.Discrete(2)}), spaces.Box(0, 5, (2,), np.int64), spaces.Text(3)],
    ids=str,
)
def test_another_kind_of_space_is_refused_in_one_sentence(space: gymnasium.Space) -> None:
    with pytest.raises(
        BadInput,
        match=r"^the action space is .*; expected Discrete, MultiDiscrete, MultiBinary or a Box of floats; .*\.$",
    ):
        head(space)
