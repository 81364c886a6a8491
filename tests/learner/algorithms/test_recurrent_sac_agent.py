"""Recurrent soft actor-critic's agent: stored trials give what was played."""

import numpy as np
import torch
from fixture_types import Made
from off_policy import Drift, trials_of
from small_recurrent import RecurrentOn, every_memory, parts_of, stored

from innerloop.envs.seeding import streams


def test_inputs_are_the_observation_and_the_step_before_across_episodes(
    recurrent_on: RecurrentOn, shaken: Made
) -> None:
    experiment = recurrent_on(Drift())
    learner = shaken(experiment)
    (model, _), trajectory = parts_of(learner), trials_of(experiment, learner)
    none = model.head.none(8)
    observation, action, reward, done = trajectory.inputs(none)
    encoded = model.unrolled_inputs(trajectory).numpy()
    assert trajectory.done[:-1].any()
    assert len(encoded) == len(trajectory.reward)
    for t in range(len(encoded)):
        for row in range(8):
            before = (none[row], 0, False)
            if t > 0:
                before = trajectory.action[t - 1, row], trajectory.reward[t - 1, row], trajectory.done[t - 1, row]
            assert observation[t, row] == trajectory.observation[t, row]
            assert (action[t, row], reward[t, row], done[t, row]) == before
            centred = (before[0][0] + 0.5) / 1.5
            expected = [trajectory.observation[t, row, 0], centred, before[1], before[2]]
            np.testing.assert_allclose(encoded[t, row], expected, atol=1e-6)


@every_memory
def test_a_greedy_agents_actions_are_those_of_its_stored_trials_unrolled(
    memory: str, recurrent_on: RecurrentOn, shaken: Made
) -> None:
    experiment = recurrent_on(Drift(), memory=memory)
    learner = shaken(experiment)
    model, _ = parts_of(learner)
    order = np.array([5, 0, 7, 2])
    trials = stored(trials_of(experiment, learner, greedy=True), order)
    assert not trials.valid.all()
    with torch.no_grad():
        draw, _ = model.head.draw(model.actor(model.unrolled_inputs(trials)), None)
    actions = model.head.action(draw.flatten(0, 1).numpy()).reshape(trials.action.shape)
    np.testing.assert_allclose(actions[trials.valid], trials.action[trials.valid], atol=1e-5)
    assert np.ptp(actions) > 0.05


@every_memory
def test_a_drawing_agent_draws_from_the_distribution_of_its_stored_trials_unrolled(
    memory: str, recurrent_on: RecurrentOn, shaken: Made
) -> None:
    """The noise that it drew with, step by step, gives its actions again."""
    experiment = recurrent_on(Drift(), memory=memory)
    learner = shaken(experiment)
    (model, _), trajectory = parts_of(learner), trials_of(experiment, learner)
    rng = streams(3, "train", 0).agent
    noise = torch.from_numpy(rng.standard_normal((*trajectory.reward.shape, 1), np.float32))
    with torch.no_grad():
        draw, _ = model.head.draw(model.actor(model.unrolled_inputs(trajectory)), noise)
    actions = model.head.action(draw.flatten(0, 1).numpy()).reshape(trajectory.action.shape)
    np.testing.assert_allclose(actions[trajectory.valid], trajectory.action[trajectory.valid], atol=1e-5)


def test_the_same_random_numbers_play_the_same_and_others_otherwise(recurrent_on: RecurrentOn, shaken: Made) -> None:
    experiment = recurrent_on(Drift())
    learner = shaken(experiment)
    first, second, other = (trials_of(experiment, learner, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.action, second.action)
    assert (first.action[0] != other.action[0]).all()
