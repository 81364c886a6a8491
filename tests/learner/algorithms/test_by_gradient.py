"""What the updates of all algorithms that adapt by gradient share: padding, threads, and learning to adapt."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fixture_types import AdaptingOn, InDouble, Made, Played

from innerloop.actors.evaluate import play_tasks
from innerloop.actors.rollout import play
from innerloop.envs.api import TaskFamily
from innerloop.envs.navigation import PointNavigation
from innerloop.envs.seeding import streams
from innerloop.envs.trials import Trials
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.trajectory import concatenate


@pytest.mark.parametrize("algorithm", ["maml", "promp"])
def test_padding_changes_nothing(
    algorithm: str, cartpole: TaskFamily, adapting_on: AdaptingOn, shaken: Made, played: Played
) -> None:
    """Nor what the environment says of rows that wait."""
    experiment = adapting_on(cartpole, algorithm=algorithm, rollouts=2)
    parts = [played(experiment, shaken(experiment), n=1, seed=seed) for seed in (3, 4, 5)]
    assert len({len(part.reward) for part in parts}) > 1
    whole = concatenate(parts)
    rubbish = replace(
        whole,
        observation=whole.observation.copy(),
        reward=np.where(whole.valid, whole.reward, 50).astype(np.float32),
        terminated=whole.terminated | ~whole.valid,
    )
    rubbish.observation[:-1][~whole.valid] = 0.5
    weights = []
    for each in (whole, rubbish):
        learner = shaken(experiment)
        learner.update(each, 0.0)
        weights.append(learner.weights())
    for name, array in weights[0].items():
        np.testing.assert_allclose(weights[1][name], array, atol=1e-6, err_msg=name)
    assert not np.array_equal(weights[0]["weights.w0"], shaken(experiment).weights()["weights.w0"])


@pytest.mark.parametrize(("algorithm", "options"), [("maml", {"cg_iterations": 4}), ("promp", {})])
def test_threads_share_the_work_and_not_the_result(
    algorithm: str,
    options: dict[str, Any],
    adapting_on: AdaptingOn,
    shaken: Made,
    played: Played,
    in_double: InDouble,
) -> None:
    """In float64: more iterations of conjugate gradient would make much of little differences."""
    experiment = adapting_on(algorithm=algorithm, **options)
    trajectory, found = played(experiment, shaken(experiment), n=5), []
    for threads in (1, 2, 3, 2):
        learner = shaken(experiment, threads=threads)
        learner.update(in_double(learner, trajectory), 0.0)
        found.append(learner.weights())
    for name, array in found[0].items():
        for other in found[1:]:
            np.testing.assert_allclose(other[name], array, rtol=0, atol=1e-10, err_msg=name)
        np.testing.assert_array_equal(found[1][name], found[3][name])


def returns(experiment: Experiment, learner: Learner) -> np.ndarray:
    """Mean of each episode over held-out tasks."""
    agent = experiment.algorithm.inner_loop(learner.model, experiment.problem)
    return play_tasks(agent, experiment.family, experiment.episodes, tasks=100, seed=0).mean(0)


@pytest.mark.parametrize(
    ("algorithm", "options"), [("maml", {"inner_rate": 0.1}), ("promp", {"inner_rate": 0.1, "learning_rate": 1e-2})]
)
def test_what_is_learned_is_to_adapt(algorithm: str, options: dict[str, Any], adapting_on: AdaptingOn) -> None:
    """Goals lie all around the origin, so nobody can walk to them who has not tried; one inner step will do then.

    In metres, summed over ten steps: who stays where he is loses 3.8 on average.
    """
    experiment = adapting_on(
        PointNavigation(horizon=10), episodes=2, algorithm=algorithm, rollouts=10, hidden=16, **options
    )
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    unlearned = returns(experiment, learner)
    agent, family = experiment.algorithm.inner_loop(learner.model, experiment.problem), experiment.family
    for iteration in range(30):
        rng = streams(0, "train", iteration)
        trials = Trials(family, family.sample(rng.tasks, 20, "train"), 2, rng.env, agent.rollouts_per_task)
        learner.update(play(agent, trials, rng.agent), iteration / 30)
    learned = returns(experiment, learner)
    assert unlearned[1] - unlearned[0] < 0.5
    assert learned[0] < -3.5
    assert learned[1] > -2.5
