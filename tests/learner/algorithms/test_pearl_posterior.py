"""PEARL's posterior is the product of its factors, or what a memory makes of the context in its order."""

import numpy as np
import pytest
import torch
from fixture_types import Made
from off_policy import random
from small_pearl import PearlOn, parts_of
from torch import Tensor

from innerloop.learner.algorithms.latent import VARIANCE_FLOOR, LatentPolicy, product
from innerloop.learner.sampling import Steps


@pytest.mark.parametrize("factors", [1, 2, 3])
def test_a_product_of_gaussians_is_what_their_densities_multiply_to(factors: int) -> None:
    rng = np.random.default_rng(0)
    means, stds = rng.normal(size=(2, factors)), rng.uniform(0.4, 2, (2, factors))
    x = np.linspace(-12, 12, 100_001)
    mean, variance = product(torch.from_numpy(means.T).unsqueeze(0), torch.from_numpy(stds.T**-2).unsqueeze(0))
    for axis in range(2):
        density = np.ones_like(x)
        for m, s in zip(means[axis], stds[axis], strict=True):
            density *= np.exp(-0.5 * ((x - m) / s) ** 2) / s
        density /= density.sum()
        expected = (density * x).sum()
        assert float(mean[0, axis]) == pytest.approx(expected, abs=1e-6)
        assert float(variance[0, axis]) == pytest.approx((density * (x - expected) ** 2).sum(), rel=1e-6)


def posterior_by_hand(model: LatentPolicy, context: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """One transition after the other (section 4.1): precisions add up, means are weighted by them."""
    precision, weighted = np.zeros(model.latent), np.zeros(model.latent)
    with torch.no_grad():
        for transition in context:
            out = model.context_encoder(transition).double().numpy()
            variance = np.maximum(np.log1p(np.exp(out[model.latent :])), VARIANCE_FLOOR)
            precision += 1 / variance
            weighted += out[: model.latent] / variance
    return weighted / precision, 1 / precision


@pytest.mark.parametrize("length", [1, 2, 7])
def test_the_posterior_is_the_product_of_a_gaussian_per_transition_in_any_order(
    length: int, pearl_on: PearlOn, shaken: Made
) -> None:
    model, _ = parts_of(shaken(pearl_on()))
    context = random(4, length, 5)  # two of position, two of the move, the reward
    with torch.no_grad():
        mean, variance = model.posterior(context)
        shuffled = model.posterior(context[:, torch.randperm(length, generator=torch.Generator().manual_seed(0))])
    assert mean.shape == variance.shape == (4, 3)
    for row in range(4):
        expected = posterior_by_hand(model, context[row])
        np.testing.assert_allclose(mean[row], expected[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(variance[row], expected[1], rtol=1e-4)
    for found, other in zip((mean, variance), shuffled, strict=True):
        torch.testing.assert_close(found, other, atol=1e-5, rtol=1e-5)


def test_a_factors_variance_has_a_floor(pearl_on: PearlOn, shaken: Made) -> None:
    model, _ = parts_of(shaken(pearl_on()))
    mean, precision = model.factor(torch.tensor([[1.0, 2.0, 3.0, -200.0, 0.0, 200.0]]))
    np.testing.assert_array_equal(mean, [[1, 2, 3]])
    np.testing.assert_allclose(precision, [[1 / VARIANCE_FLOOR, 1 / np.log(2), 1 / 200]], rtol=1e-5)


@pytest.mark.parametrize("memory", ["gru", "lstm", "transformer,layers=1,heads=2"])
def test_an_encoder_with_memory_reads_its_context_in_order(memory: str, pearl_on: PearlOn, shaken: Made) -> None:
    model, _ = parts_of(shaken(pearl_on(context_encoder=memory)))
    context = random(4, 7, 5)
    assert model.memory is not None
    with torch.no_grad():
        found = model.posterior(context)
        state = model.memory.initial(4)
        for step in range(7):
            y, state = model.memory.step(context[:, step], state)
        mean, precision = model.factor(model.context_encoder(y))
        other, _ = model.posterior(context.flip(1))
    torch.testing.assert_close(found[0], mean)
    torch.testing.assert_close(found[1], 1 / precision)
    assert (found[0] - other).abs().max() > 1e-3


@pytest.mark.parametrize("successors", [False, True])
def test_context_is_observation_action_and_reward_and_where_asked_the_next_observation(
    successors: bool, pearl_on: PearlOn, shaken: Made
) -> None:
    model, _ = parts_of(shaken(pearl_on(next_observation=successors)))
    observation, action, reward, after = random(2, 3, 2), random(2, 3, 2, seed=1), random(2, 3), random(2, 3, 2, seed=2)
    rubbish = torch.full((2, 3), torch.nan)
    found = model.context(Steps(observation, action, reward, rubbish, after, rubbish))
    # moves are in units of their bound, 0.1; positions are unbounded
    expected = [observation, action / 0.1, reward.unsqueeze(-1), *([after] if successors else [])]
    torch.testing.assert_close(found, torch.cat(expected, -1))
