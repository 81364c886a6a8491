"""The batched rollout writes down what happens, as one who plays the trials one by one and step by step would."""

from dataclasses import dataclass

import numpy as np
import pytest
from fixture_types import ExperimentOn, Made
from gymnasium import spaces

from innerloop.actors.rollout import play
from innerloop.envs.api import Bools, Split, Step, Tasks
from innerloop.envs.trials import Trials
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.memory import MEMORIES

EPISODES = 3
LENGTHS = np.array([1, 2, 5, 9, 3])  # the horizon is 4: the third and the fourth are truncated


class Walks:
    """Nothing here is random: the observation is (last action, steps walked), the reward depends on both."""

    def __init__(self, length: np.ndarray, limit: int) -> None:
        self._length, self._limit = length, limit
        self._last, self._walked = np.zeros(len(length)), np.zeros(len(length))

    def reset(self, rows: Bools) -> np.ndarray:
        self._last, self._walked = np.where(rows, -1, self._last), np.where(rows, 0, self._walked)
        return self._seen()

    def step(self, action: np.ndarray) -> Step:
        self._last, self._walked = action.astype(float), self._walked + 1
        reward = (self._length * (action + 1) / self._walked).astype(np.float32)
        there = self._walked >= self._length
        return Step(self._seen(), reward, there, ~there & (self._walked >= self._limit))

    def _seen(self) -> np.ndarray:
        return np.stack([self._last, self._walked], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Walk:
    horizon = 4
    observation_space = spaces.Box(-1, 10, (2,), np.float32)
    action_space = spaces.Discrete(3)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"length": rng.integers(1, 7, n)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> Walks:
        return Walks(tasks["length"], self.horizon)


class Strolls(Walks):
    """Ended early by the first action, and broken off by the last, if that was not where it ended anyway."""

    def step(self, action: np.ndarray) -> Step:
        step = super().step(action)
        terminated = step.terminated | (action == 0)
        broken = ~terminated & ~step.truncated & (action == 2)
        return step._replace(terminated=terminated, truncated=step.truncated | broken, diverged=broken)


@dataclass(frozen=True)
class Stroll(Walk):
    def make(self, tasks: Tasks, rng: np.random.Generator) -> Walks:
        return Strolls(tasks["length"], self.horizon)


def one_by_one(experiment: Experiment, learner: Learner, length: int) -> list[tuple]:
    """One trial, one step at a time, without `Trials`: (observation, action, reward, terminated, truncated, value)."""
    agent = experiment.algorithm.inner_loop(learner.model, experiment.problem, greedy=True)
    agent.begin_trial(1)
    env, everyone = Walks(np.array([length]), 4), np.ones(1, np.bool_)
    reward, done, record = np.zeros(1, np.float32), np.zeros(1, np.bool_), []
    for _ in range(EPISODES):
        observation, over = env.reset(everyone), False
        while not over:
            action = agent.act(observation, reward, done)
            step = env.step(action)
            reward, done = step.reward, step.terminated | step.truncated
            record.append(
                (observation[0], action[0], reward[0], step.terminated[0], step.truncated[0], agent.note["value"][0])
            )
            observation, over = step.observation, bool(done[0])
    agent.act(observation, reward, done)
    return [*record, (observation[0], None, None, None, None, agent.note["value"][0])]


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_trajectory_is_the_record_of_each_trial_step_by_step(
    memory: str, experiment_on: ExperimentOn, shaken: Made
) -> None:
    experiment = experiment_on(Walk(), EPISODES, memory=memory)
    learner = shaken(experiment, seed=0 if memory == "mingru" else 1)  # with which it does not always act alike
    agent = experiment.algorithm.inner_loop(learner.model, experiment.problem, greedy=True)
    trials = Trials(Walk(), {"length": LENGTHS}, EPISODES, np.random.default_rng(0))
    found = play(agent, trials, np.random.default_rng(0), version=6)
    assert found.version == 6
    assert len(set(found.action[found.valid].tolist())) > 1
    for row, length in enumerate(LENGTHS):
        *expected, last = one_by_one(experiment, learner, int(length))
        steps = len(expected)
        np.testing.assert_array_equal(found.valid[:, row], np.arange(len(found.valid)) < steps)
        observation, action, reward, terminated, truncated, value = zip(*expected, strict=True)
        np.testing.assert_array_equal(found.observation[: steps + 1, row], [*observation, last[0]])
        np.testing.assert_array_equal(found.action[:steps, row], action)
        np.testing.assert_array_equal(found.reward[:steps, row], reward)
        np.testing.assert_array_equal(found.terminated[:steps, row], terminated)
        np.testing.assert_array_equal(found.truncated[:steps, row], truncated)
        np.testing.assert_allclose(found.note["value"][: steps + 1, row], [*value, last[-1]], atol=1e-5, rtol=1e-5)
        assert found.done[:steps, row].sum() == EPISODES
        assert found.trial_end[steps - 1, row]


def test_rows_that_share_a_task_are_recorded_as_each_walked_and_wait_for_the_others(
    adapting_on: ExperimentOn, shaken: Made
) -> None:
    """What was done in each row's steps that count, done again by itself, gives what was written down."""
    lengths = np.array([2, 1, 9])
    experiment = adapting_on(Stroll(), EPISODES, rollouts=3)
    agent = experiment.algorithm.inner_loop(shaken(experiment).model, experiment.problem)
    trials = Trials(Stroll(), {"length": lengths}, EPISODES, np.random.default_rng(0), agent.rollouts_per_task)
    found = play(agent, trials, np.random.default_rng(0), version=6)
    assert found.valid.shape[1] == found.observation.shape[1] == 9
    broken = 0
    for row in range(9):
        alone, everyone = Strolls(lengths[row // 3 : row // 3 + 1], 4), np.ones(1, np.bool_)
        ended, done, observation = 0, False, alone.reset(everyone)
        for t in np.flatnonzero(found.valid[:, row]):
            observation = alone.reset(everyone) if done else observation
            step = alone.step(found.action[t, row : row + 1])
            done = bool(step.terminated[0] or step.truncated[0])
            np.testing.assert_array_equal(found.observation[t, row : row + 1], observation)
            assert found.reward[t, row] == step.reward[0]
            observation = step.observation
            assert (found.terminated[t, row], found.truncated[t, row]) == (step.terminated[0], step.truncated[0])
            ended, broken = ended + done, broken + int(step.diverged[0])
        assert ended == EPISODES
        assert found.trial_end[t, row]
    assert found.diverged == broken > 0
    begins = found.valid & (found.observation[:-1, :, 1] == 0)
    assert (begins.any(1) == begins.all(1)).all()  # all together
    assert begins.all(1).sum() == EPISODES
    assert not found.valid.all()


def test_a_rollout_is_as_long_as_its_longest_trial(experiment_on: ExperimentOn, shaken: Made) -> None:
    experiment = experiment_on(Walk(), EPISODES)
    agent = experiment.algorithm.inner_loop(shaken(experiment).model, experiment.problem)
    for lengths, steps in (([1, 2], 2 * EPISODES), ([9], 4 * EPISODES), ([1], EPISODES)):
        trials = Trials(Walk(), {"length": np.array(lengths)}, EPISODES, np.random.default_rng(0))
        found = play(agent, trials, np.random.default_rng(0))
        assert len(found.reward) == steps
        assert len(found.observation) == len(found.note["value"]) == steps + 1


def test_arrays_have_the_types_that_the_learner_reads(experiment_on: ExperimentOn, shaken: Made) -> None:
    experiment = experiment_on(Walk(), EPISODES)
    agent = experiment.algorithm.inner_loop(shaken(experiment).model, experiment.problem)
    found = play(
        agent, Trials(Walk(), {"length": LENGTHS}, EPISODES, np.random.default_rng(0)), np.random.default_rng(0)
    )
    assert found.reward.dtype == np.float32
    assert found.terminated.dtype == found.truncated.dtype == found.valid.dtype == np.bool_
    assert {array.dtype for name, array in found.note.items() if name != "draw"} == {np.dtype(np.float32)}
