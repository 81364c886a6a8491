"""PEARL's agent plays on draws from the posterior of what it has seen."""

from typing import Any

import numpy as np
import pytest
import torch
from fixture_types import Made
from off_policy import Drift, trials_of
from scipy import stats
from small_pearl import PearlOn, parts_of
from torch import Tensor

from innerloop.envs.navigation import PointNavigation
from innerloop.learner.algorithms.posterior import PosteriorAgent
from innerloop.learner.replay import Replay
from innerloop.learner.sampling import Request

OPTIONS = [
    {},
    {"next_observation": True},
    {"context_encoder": "gru"},
    {"context_encoder": "lstm", "next_observation": True},
]
every_encoder = pytest.mark.parametrize("options", OPTIONS, ids=["product", "product-next", "gru", "lstm-next"])


@every_encoder
def test_what_an_agent_notes_is_the_posterior_of_what_it_has_seen(
    options: dict[str, Any], pearl_on: PearlOn, shaken: Made
) -> None:
    """The context is put together by hand from the trajectory; before there is any, the posterior is the prior. Where
    it has next observations, an episode's last step is not in it: what followed was not shown."""
    experiment = pearl_on(Drift(), episodes=4, **options)
    learner = shaken(experiment)
    (model, algorithm), trajectory = parts_of(learner), trials_of(experiment, learner)
    assert len({*trajectory.valid.sum(0)}) > 1
    for row in range(8):
        rows: list[Tensor] = []
        for t in range(int(trajectory.valid[:, row].sum()) + 1):
            mean, variance = torch.zeros(3), torch.ones(3)
            if rows:
                with torch.no_grad():
                    mean, variance = (each[0] for each in model.posterior(torch.stack(rows).unsqueeze(0)))
            np.testing.assert_allclose(trajectory.note["mean"][t, row], mean, atol=2e-4, rtol=1e-3)
            np.testing.assert_allclose(trajectory.note["variance"][t, row], variance, atol=1e-5, rtol=1e-3)
            if t == len(trajectory.reward):
                break
            centred = (trajectory.action[t, row] + 0.5) / 1.5
            parts = [trajectory.observation[t, row], centred, trajectory.reward[t, row : row + 1]]
            if not algorithm.next_observation:
                rows.append(torch.from_numpy(np.concatenate(parts)))
            elif not trajectory.done[t, row]:
                rows.append(torch.from_numpy(np.concatenate([*parts, trajectory.observation[t + 1, row]])))
    assert np.ptp(trajectory.note["mean"]) > 0.1


@every_encoder
def test_the_encoder_learns_on_the_context_that_agents_will_give_it(
    options: dict[str, Any], pearl_on: PearlOn, shaken: Made
) -> None:
    """All that replay has of a trial leads to the posterior that the agent had behind it. Where the context has next
    observations, the agent is not yet shown the trial's last."""
    experiment = pearl_on(Drift(), episodes=4, **options)
    learner, replay = shaken(experiment), Replay(10**6)
    (model, algorithm), trajectory = parts_of(learner), trials_of(experiment, learner)
    replay.append(range(8), trajectory)
    for row in range(8):
        end = int(trajectory.valid[:, row].sum())
        shown = end - 4 if algorithm.next_observation else end
        request = Request(tasks=1, steps=1, context=(shown,), successors=algorithm.next_observation)
        context = replay.draw_steps(np.array([row]), request, np.random.default_rng(0)).context
        assert context is not None
        with torch.no_grad():
            mean, variance = model.posterior(model.context(model.put(context)))
        np.testing.assert_allclose(trajectory.note["mean"][end, row], mean[0], atol=2e-4, rtol=1e-3)
        np.testing.assert_allclose(trajectory.note["variance"][end, row], variance[0], atol=1e-5, rtol=1e-3)


@every_encoder
@pytest.mark.parametrize("resample", [0, 2])
def test_z_is_drawn_from_the_prior_and_again_from_the_posterior_exactly_where_an_episode_begins_or_it_is_old(
    resample: int, options: dict[str, Any], pearl_on: PearlOn, shaken: Made
) -> None:
    experiment = pearl_on(Drift(), episodes=4, resample=resample, **options)
    learner = shaken(experiment)
    trajectory = trials_of(experiment, learner, n=200)
    z = trajectory.note["latent"]
    assert z.shape == (len(trajectory.reward) + 1, 200, 3)
    changed = (z[1:] != z[:-1]).all(-1)
    some = (z[1:] != z[:-1]).any(-1)
    valid = trajectory.valid
    drawn = trajectory.done.copy()
    if resample:  # counted by hand, column by column
        for column in range(200):
            age = 0
            for t in range(len(drawn)):
                age = 0 if trajectory.done[t, column] else age + 1
                drawn[t, column] |= age > 0 and age % resample == 0
    np.testing.assert_array_equal(changed[valid], drawn[valid])
    np.testing.assert_array_equal(some[valid], drawn[valid])
    standard = (z[1:] - trajectory.note["mean"][1:]) / np.sqrt(trajectory.note["variance"][1:])
    for draws in (z[0], standard[drawn & valid]):
        assert abs(draws.mean()) < 4 / np.sqrt(draws.size)
        assert abs(draws.std() - 1) < 4 / np.sqrt(2 * draws.size)
        assert abs(np.corrcoef(draws.T)[0, 1]) < 4 / np.sqrt(len(draws))


@pytest.mark.parametrize("greedy", [False, True])
def test_an_agent_acts_by_its_policy_given_z(greedy: bool, pearl_on: PearlOn, shaken: Made) -> None:
    """Greedily at the mean. Otherwise, around it."""
    experiment = pearl_on(Drift(), episodes=4)
    learner = shaken(experiment)
    (model, _), trajectory = parts_of(learner), trials_of(experiment, learner, greedy=greedy)
    with torch.no_grad():
        x = torch.from_numpy(np.concatenate([trajectory.observation, trajectory.note["latent"]], -1))
        mean = model.policy(x[:-1])[..., :1].tanh().numpy()
    close = np.isclose(trajectory.action, -0.5 + 1.5 * mean, atol=1e-5)[trajectory.valid]
    assert close.all() == greedy
    assert (trajectory.action <= 1).all()
    assert (trajectory.action >= -2).all()


def test_the_same_random_numbers_play_the_same_and_others_otherwise(pearl_on: PearlOn, shaken: Made) -> None:
    experiment = pearl_on(Drift())
    learner = shaken(experiment)
    first, second, other = (trials_of(experiment, learner, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.action, second.action)
    np.testing.assert_array_equal(first.note["latent"], second.note["latent"])
    assert (first.action[0] != other.action[0]).all()


@every_encoder
def test_a_new_trial_forgets_the_last(options: dict[str, Any], pearl_on: PearlOn, shaken: Made) -> None:
    model, _ = parts_of(shaken(pearl_on(Drift(), **options)))
    agent, noted = PosteriorAgent(model), list[list[np.ndarray]]()
    for _ in range(2):
        agent.begin_trial(3, np.random.default_rng(0))
        noted.append([])
        for t in range(4):
            agent.act(np.full((3, 1), t, np.float32), np.full(3, t, np.float32), np.full(3, t == 2))
            noted[-1] += agent.note.values()
    np.testing.assert_array_equal(noted[0], noted[1])


def test_noise_persists_within_an_episode_and_each_draw_is_standard_normal(pearl_on: PearlOn, shaken: Made) -> None:
    experiment = pearl_on(PointNavigation(horizon=5), persistence=0.8)
    agent = experiment.algorithm.inner_loop(shaken(experiment).model, experiment.problem)
    assert isinstance(agent, PosteriorAgent)
    agent.begin_trial(4_000, np.random.default_rng(0))
    nothing = np.zeros(4_000, np.bool_)
    first, second, third, other = (
        agent.persistent_noise(4_000, done) for done in (nothing, nothing, nothing, ~nothing)
    )
    for draw in (first, second, third, other):
        assert draw is not None
        assert stats.kstest(draw.flatten(), "norm").pvalue > 1e-3
    pairs = [((first, second), 0.8), ((second, third), 0.8), ((first, third), 0.64), ((third, other), 0.0)]
    for (one, next_one), expected in pairs:
        assert np.corrcoef(one.flatten(), next_one.flatten())[0, 1] == pytest.approx(expected, abs=0.04)
