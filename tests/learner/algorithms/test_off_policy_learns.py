"""What pays is to hit a point, 0.6 to either side: off-policy algorithms learn to remember which, or to find out.

An episode is one step. Whoever knows nothing of the task loses 0.36 at least.
"""

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces
from small_pearl import PearlOn
from small_recurrent import RecurrentOn

from innerloop.actors.rollout import play
from innerloop.envs.api import Bools, Split, Step, Tasks
from innerloop.envs.seeding import streams
from innerloop.envs.trials import Trials
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.replay import Replay


@dataclass(frozen=True)
class Aim:
    told: bool
    """Show the side at the trial's first observation."""

    horizon = 1
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    @property
    def observation_space(self) -> spaces.Discrete:
        return spaces.Discrete(3 if self.told else 1)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"aim": np.where(rng.random(n) < 0.5, -0.6, 0.6).astype(np.float32)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> "Aiming":
        return Aiming(tasks["aim"], told=self.told)


class Aiming:
    def __init__(self, aim: np.ndarray, *, told: bool) -> None:
        self._aim, self._quiet = aim, np.full(len(aim), not told)

    def reset(self, rows: Bools) -> np.ndarray:
        seen = np.where(self._quiet, 0, np.where(self._aim > 0, 1, 2))
        self._quiet = self._quiet | rows
        return seen

    def step(self, action: np.ndarray) -> Step:
        ended = np.ones(len(self._aim), np.bool_)
        return Step(np.zeros(len(ended), np.int64), -np.square(action[:, 0] - self._aim), ended, ~ended)


def later_episodes(experiment: Experiment, iterations: int) -> list[float]:
    """The mean reward after the first episode, by training iteration."""
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    replay, later = Replay(10**6), []
    tasks = experiment.family.sample(np.random.default_rng(0), 16, "train")
    for iteration in range(iterations):
        rng = streams(0, "train", iteration)
        agent = experiment.algorithm.inner_loop(learner.model, experiment.problem)
        trajectory = play(agent, Trials(experiment.family, tasks, experiment.episodes, rng.env), rng.agent)
        later.append(float(trajectory.reward[1:].mean()))
        replay.append(range(16), trajectory)
        learner.update(replay, 0.0)
    return later


def test_it_learns_to_remember(recurrent_on: RecurrentOn) -> None:
    experiment = recurrent_on(
        Aim(told=True), hidden=24, trials_per_batch=16, warm_up=64, updates_per_step=0.1, learning_rate=1e-2,
        discount=0.0, temperature=0.01, target_rate=0.05,
    )  # fmt: skip
    later = later_episodes(experiment, 22)
    assert np.mean(later[:3]) < -0.36
    assert np.mean(later[-5:]) > -0.18


def test_it_learns_to_adapt(pearl_on: PearlOn) -> None:
    experiment = pearl_on(
        Aim(told=False), episodes=4, latent=2, hidden=32, context_hidden=32, tasks_per_batch=16, steps_per_task=8,
        context=4, warm_up=64, updates_per_step=0.1, learning_rate=1e-2, discount=0.0, temperature=0.01,
        target_rate=0.05, bottleneck=0.001,
    )  # fmt: skip
    later = later_episodes(experiment, 36)
    assert np.mean(later[:3]) < -0.36
    assert np.mean(later[-5:]) > -0.25
