"""The black box: its loss by the formula, what it says of its answers, and that it learns to learn."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from innerloop.actors.actor import Actor, Assignment
from innerloop.actors.rollout import play
from innerloop.distributed.config import configure
from innerloop.envs.api import TaskFamily
from innerloop.envs.errors import BadInput
from innerloop.envs.fewshot.sinusoid import Sinusoid
from innerloop.envs.fewshot.strokes import Strokes
from innerloop.envs.seeding import streams
from innerloop.envs.trials import Trials
from innerloop.learner.algorithms.supervised import Supervised
from innerloop.learner.answers import Answers
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.memory import MEMORIES
from innerloop.learner.trajectory import Trajectory

FAMILIES: dict[str, TaskFamily] = {"numbers": Sinusoid(shots=2), "classes": Strokes(ways=3, shots=1)}
by_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def experiment_on(family: TaskFamily, episodes: int = 3, **options: Any) -> Experiment:
    small: dict[str, Any] = {"hidden": 16, "embedding": 8, "memory": "gru"}
    algorithm = Supervised(**small | options)
    return Experiment(
        family_name="given", family=family, algorithm_name="supervised", algorithm=algorithm, episodes=episodes
    )


def learner_of(experiment: Experiment) -> Learner:
    """With weights that are not small, so that no two answers are as good as each other."""
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.3)
    return learner


def played(experiment: Experiment, learner: Learner, iteration: int = 0, trials: int = 6) -> Trajectory:
    actor = Actor(experiment, seed=0)
    actor.load(learner.acting_weights(), learner.version)
    return actor.collect(Assignment(iteration, 0, trials))


@by_family
@pytest.mark.parametrize("memory", MEMORIES)
def test_what_an_update_says_is_what_its_agent_earns_on_the_same_trials(memory: str, family: TaskFamily) -> None:
    experiment = experiment_on(family, memory=memory)
    learner, rng = learner_of(experiment), streams(3, "train")
    tasks, seed = family.sample(rng.tasks, 6, "train"), 5
    agent = experiment.algorithm.inner_loop(learner.model, experiment.problem)
    found = [
        play(each, Trials(family, tasks, 3, np.random.default_rng(seed)), rng.agent)
        for each in (agent, experiment.player(agent))
    ]
    np.testing.assert_array_equal(found[0].observation, found[1].observation)  # whoever plays
    earned = found[0].episode_returns(3)
    metrics = learner.update(found[1], 0.0)
    expected = {
        "return": earned.sum(1).mean(), "first_episode": earned[:, 0].mean(), "last_episode": earned[:, 2].mean(),
        **{f"return_episode_{episode + 1}": earned[:, episode].mean() for episode in range(3)},
    }  # fmt: skip
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, rel=1e-4)


@by_family
def test_the_loss_is_that_of_the_right_answers_over_all_steps(family: TaskFamily) -> None:
    experiment = experiment_on(family)
    learner = learner_of(experiment)
    batch, model = played(experiment, learner), learner.model
    assert isinstance(model, Answers)
    out = model.unroll(torch.from_numpy(batch.observation[:-1])).detach().double().numpy()
    answer = batch.privileged["answer"]
    if isinstance(family, Sinusoid):
        expected = np.square(out[..., :1] - answer).mean()
    else:
        chosen = np.take_along_axis(out, answer[..., None], -1)[..., 0]
        expected = (np.log(np.exp(out).sum(-1)) - chosen).mean()
    assert learner.update(batch, 0.0)["loss"] == pytest.approx(expected, rel=1e-5)


@by_family
def test_steps_that_are_not_of_a_trial_count_for_nothing(family: TaskFamily) -> None:
    experiment = experiment_on(family)
    batch = played(experiment, learner_of(experiment))
    valid = batch.valid.copy()
    valid[len(valid) // 2 :, 0] = False
    other = {"answer": np.where(valid.reshape(valid.shape + (1,) * (batch.privileged["answer"].ndim - 2)),
                                batch.privileged["answer"], 0)}  # fmt: skip
    found = []
    for each in (replace(batch, valid=valid), replace(batch, valid=valid, privileged=other)):
        learner = learner_of(experiment)
        metrics = learner.update(each, 0.0)
        found.append((metrics["loss"], learner.weights()))
    assert found[0][0] == found[1][0]
    for name, array in found[0][1].items():
        np.testing.assert_array_equal(array, found[1][1][name])


def test_actors_run_the_agent_in_held_out_trials_alone() -> None:
    experiment = experiment_on(FAMILIES["numbers"])
    actor = Actor(experiment, seed=0, held_out=6)
    actor.load(learner_of(experiment).acting_weights(), 0)
    assert not actor.collect(Assignment(0, 0, 6)).action.any()
    assert np.ptp(actor.collect(Assignment(0, 0, 6, (*range(6),), held_out=True)).action) > 0


def test_minibatches_share_the_trials_of_an_iteration() -> None:
    experiment = experiment_on(FAMILIES["numbers"], minibatches=3, learning_rate=1e-12, learning_rate_end=1e-12)
    learner, whole = learner_of(experiment), learner_of(experiment_on(FAMILIES["numbers"]))
    batch = played(experiment, learner)
    assert learner.update(batch, 0.0)["return"] == pytest.approx(whole.update(batch, 0.0)["return"], rel=1e-5)


def test_it_learns_to_learn_curves() -> None:
    """The variance of a curve's value is about 4.3; with ten points known it is predicted far better than with none."""
    experiment = experiment_on(Sinusoid(), episodes=11, memory="transformer", hidden=48, embedding=0)
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    for iteration in range(250):
        metrics = learner.update(played(experiment, learner, iteration, trials=128), iteration / 250)
    assert metrics["first_episode"] < -2
    assert metrics["last_episode"] > -1


@pytest.mark.parametrize("name", ["bernoulli-bandit", "point-navigation"])
def test_a_family_without_answers_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=f"family is '{name}'; expected one that gives the right answers"):
        configure(family=name, algorithm="supervised")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden", 0), ("minibatches", 0), ("embedding", -1), ("learning_rate", 0.0), ("learning_rate_end", -1.0),
        ("max_gradient_norm", float("nan")), ("memory", "gr"), ("encoder", "cn"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(field: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"^{field} is {value!r}; expected "):
        Supervised(**{field: value})
