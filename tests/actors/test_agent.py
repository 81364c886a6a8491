"""A trained agent out of a checkpoint: it adapts by hand as it does in a rollout, and refuses what it cannot read."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixture_types import Made
from gymnasium import spaces
from saved_agents import FAMILIES, experiment_of, save

from innerloop.actors.agent import Agent, locate
from innerloop.actors.rollout import play
from innerloop.envs.errors import BadInput
from innerloop.envs.tabular import TabularMDP
from innerloop.envs.trials import Trials
from innerloop.learner.checkpoint import Checkpoints
from innerloop.learner.experiment import Experiment

by_family = pytest.mark.parametrize("name", FAMILIES)


@pytest.mark.parametrize("greedy", [False, True])
@by_family
def test_an_agent_adapts_by_hand_as_the_learners_own_does_in_a_rollout(
    name: str, greedy: bool, tmp_path: Path, shaken: Made
) -> None:
    experiment = experiment_of(name)
    learner = shaken(experiment)
    save(learner, experiment, tmp_path)
    agent, family = Agent.load(str(tmp_path), greedy=greedy), experiment.family
    assert agent.experiment == experiment
    tasks = family.sample(np.random.default_rng(0), 6, "test")

    own = experiment.algorithm.inner_loop(learner.model, experiment.problem, greedy)
    expected = play(own, Trials(family, tasks, 4, np.random.default_rng(1)), np.random.default_rng(2))

    env = family.make(tasks, np.random.default_rng(1))
    observation, reward, done = env.reset(np.ones(6, np.bool_)), np.zeros(6), np.zeros(6, np.bool_)
    agent.begin_trial(6, np.random.default_rng(2))
    for t in range(4 * family.horizon):
        action = agent.act(observation, reward, done)
        np.testing.assert_array_equal(action, expected.action[t])
        np.testing.assert_array_equal(agent.note["value"], expected.note["value"][t])
        step = env.step(action)
        reward, done = step.reward, step.terminated | step.truncated
        observation = env.reset(done) if done.any() else step.observation  # these episodes all end together


def test_what_it_is_shown_changes_what_it_does(agent: Agent) -> None:
    """One row is always paid and one never; the first step apart, they are not of one mind."""
    agent.begin_trial(2, np.random.default_rng(0))
    nothing, values = np.zeros(2, np.int64), []
    for t in range(4):
        agent.act(nothing, np.array([1.0, 0.0]) * (t > 0), np.full(2, t > 0))
        values.append(agent.note["value"])
    assert values[0][0] == values[0][1]
    assert abs(values[1][0] - values[1][1]) > 1e-3


def test_a_greedy_agent_draws_nothing_and_takes_the_most_probable_action(tmp_path: Path, shaken: Made) -> None:
    learner = shaken(experiment_of())
    save(learner, experiment_of(), tmp_path)
    agent, rng = Agent.load(str(tmp_path), greedy=True), np.random.default_rng(0)
    before = rng.bit_generator.state
    agent.begin_trial(3, rng)
    action = agent.act(np.zeros(3, np.int64), np.zeros(3), np.zeros(3, np.bool_))
    assert rng.bit_generator.state == before
    with torch.no_grad():  # the one observation there is; no action, no reward, not done
        policy: Any = learner.model
        parameters, _ = policy.unroll(torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3, 4 + 2))
    np.testing.assert_array_equal(action, parameters[0].argmax(-1).numpy())
    np.testing.assert_allclose(agent.note["log_prob"], parameters[0].log_softmax(-1).amax(-1).numpy(), rtol=1e-5)


def test_one_seed_repeats_and_a_new_trial_forgets(agent: Agent) -> None:
    def trial(seed: int) -> np.ndarray:
        agent.begin_trial(8, np.random.default_rng(seed))
        reward, seen = np.zeros(8), []
        for t in range(5):
            seen.append(agent.act(np.zeros(8, np.int64), reward, np.full(8, t > 0)))
            reward = (seen[-1] == 2).astype(np.float32)
        return np.array(seen)

    first = trial(0)
    assert not np.array_equal(trial(1), first)
    np.testing.assert_array_equal(trial(0), first)


def test_actions_are_members_of_the_action_space(agent: Agent) -> None:
    agent.begin_trial(200)
    actions = agent.act(np.zeros(200, np.int64), np.zeros(200), np.zeros(200, np.bool_))
    assert actions.shape == (200,)
    assert all(spaces.Discrete(4).contains(action) for action in actions)


GOOD: dict[str, Any] = {"observation": [0, 0], "reward": [0.0, 1.0], "done": [False, True]}


def test_plain_lists_will_do(agent: Agent) -> None:
    agent.begin_trial(2)
    assert agent.act(**GOOD).shape == (2,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation": [0]}, r"shape of the observation.* is \(1,\); expected \(2,\)"),
        ({"observation": [[0], [0]]}, r"shape of the observation.* is \(2, 1\); expected \(2,\)"),
        ({"observation": [0, 1]}, r"observation.* is \[0 1\]; expected integers in \[0, 1\)\.$"),
        ({"observation": [0.0, 0.0]}, r"observation.* is \[0\. 0\.\]; expected integers in \[0, 1\)\.$"),
        ({"reward": [0.0]}, r"^the shape of reward is \(1,\); expected \(2,\), one per trial\.$"),
        ({"reward": 1.0}, r"^the shape of reward is \(\); expected \(2,\), one per trial\.$"),
        ({"reward": [0.0, float("nan")]}, r"^reward is \[0\.0, nan\]; expected finite numbers\.$"),
        ({"done": [True]}, r"^the shape of done is \(1,\); expected \(2,\), one per trial\.$"),
        ({"done": False}, r"^the shape of done is \(\); expected \(2,\), one per trial\.$"),
    ],
    ids=str,
)
def test_input_that_is_not_one_row_per_trial_is_refused_in_one_sentence(
    change: dict[str, Any], message: str, agent: Agent
) -> None:
    agent.begin_trial(2)
    with pytest.raises(BadInput, match=message):
        agent.act(**(GOOD | change))


def test_input_that_is_refused_is_not_remembered(agent: Agent) -> None:
    values = []
    for wrong in (False, True):
        agent.begin_trial(2, np.random.default_rng(0))
        agent.act(**GOOD)
        if wrong:
            with pytest.raises(BadInput):
                agent.act(**(GOOD | {"reward": [np.inf, 0]}))
        agent.act(**GOOD)
        values.append(agent.note["value"])
    np.testing.assert_array_equal(values[0], values[1])


def test_a_trial_begins_before_the_first_act(agent: Agent) -> None:
    with pytest.raises(BadInput, match=r"^the number of trials is 0; expected begin_trial\(n\) before act\.$"):
        agent.act(**GOOD)


@pytest.mark.parametrize("episodes", [2, 4, 1])
def test_an_agent_by_gradient_adapts_after_every_episode_but_the_last(episodes: int, adapting: Path) -> None:
    """However many it was trained with: what is known of each task's policy is the same until it has adapted."""
    agent, rng, known = Agent.load(str(adapting), episodes=episodes), np.random.default_rng(1), []
    assert agent.experiment.episodes == episodes
    assert agent.rollouts_per_task == 12
    agent.begin_trial(24)
    for t in range(2 * episodes + 1):
        actions = agent.act(
            np.zeros(24, np.int64), rng.standard_normal(24) * (t > 0), np.full(24, t > 0 and t % 2 == 0)
        )
        rows = zip(np.arange(24) // 12, actions.tolist(), strict=True)
        known.append(dict(zip(rows, agent.note["log_prob"], strict=True)))  # by task and action
    for t, (before, after) in enumerate(pairwise(known), start=1):
        both = before.keys() & after.keys()
        assert {task for task, _ in both} == {0, 1}
        differ = {abs(before[key] - after[key]) > 1e-4 for key in both}
        assert differ == {t % 2 == 0 and t < 2 * episodes}, t


def test_an_agent_is_trained_for_its_own_number_of_episodes_unless_asked(adapting: Path) -> None:
    assert Agent.load(str(adapting)).experiment.episodes == 2


@pytest.mark.parametrize("n", [1, 4, 20])
def test_rows_come_in_whole_tasks(n: int, adapting: Path) -> None:
    agent = Agent.load(str(adapting))
    with pytest.raises(BadInput, match=rf"^n is {n}; expected a multiple of 12, .*\.$"):
        agent.begin_trial(n)
    with pytest.raises(BadInput, match="begin_trial"):
        agent.act(np.zeros(n, np.int64), np.zeros(n), np.zeros(n, np.bool_))


@pytest.mark.parametrize("algorithm", ["maml", "promp"])
def test_an_agent_by_gradient_adapts_by_hand_as_the_learners_own_does_in_a_rollout(
    algorithm: str, tmp_path: Path, adapting_on: Callable[..., Experiment], shaken: Made
) -> None:
    options = {"learned_rates": True, "rollouts": 3}
    experiment = adapting_on(TabularMDP(horizon=3), algorithm=algorithm, **options)
    experiment = replace(experiment, family_name="tabular-mdp")
    learner, family = shaken(experiment), experiment.family
    save(learner, experiment, tmp_path)
    agent = Agent.load(str(tmp_path))
    assert agent.experiment == experiment
    tasks = family.sample(np.random.default_rng(0), 2, "test")
    own = experiment.algorithm.inner_loop(learner.model, experiment.problem)
    expected = play(own, Trials(family, tasks, 3, np.random.default_rng(1), 3), np.random.default_rng(2))

    side_by_side = {name: np.repeat(array, 3, axis=0) for name, array in tasks.items()}
    env = family.make(side_by_side, np.random.default_rng(1))
    observation, reward, done = env.reset(np.ones(6, np.bool_)), np.zeros(6), np.zeros(6, np.bool_)
    agent.begin_trial(6, np.random.default_rng(2))
    for t in range(3 * 3):
        np.testing.assert_array_equal(agent.act(observation, reward, done), expected.action[t])
        np.testing.assert_array_equal(agent.note["log_prob"], expected.note["log_prob"][t])
        step = env.step(expected.action[t])
        reward, done = step.reward, step.terminated | step.truncated
        observation = env.reset(done) if done.any() else step.observation  # these episodes all end together


@pytest.mark.parametrize("n", [0, -1])
def test_at_least_one_trial_begins(n: int, agent: Agent) -> None:
    with pytest.raises(BadInput, match=rf"^n is {n}; expected at least 1\.$"):
        agent.begin_trial(n)


def test_the_newest_whole_checkpoint_is_loaded_and_what_was_skipped_is_said(tmp_path: Path, shaken: Made) -> None:
    experiment = experiment_of()
    for version in (1, 2):
        save(shaken(experiment, seed=version), experiment, tmp_path, version)
    first = [Agent.load(str(tmp_path))]
    (tmp_path / "00000002.safetensors").write_bytes(b"half")
    first.append(Agent.load(str(tmp_path)))
    values = []
    for agent in first:
        agent.begin_trial(1)
        agent.act([0], [0.0], [False])
        values.append(float(agent.note["value"][0]))
    assert values[0] != values[1]
    assert first[0].skipped == []
    assert len(first[1].skipped) == 1
    assert "00000002" in first[1].skipped[0]


def test_a_run_is_found_by_its_directory_or_by_its_checkpoints(tmp_path: Path, shaken: Made) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    save(shaken(experiment_of()), experiment_of(), run / "checkpoints")
    assert Agent.load(str(run / "checkpoints")).experiment == experiment_of()
    (run / "config.json").write_text(json.dumps(experiment_of().to_json()))
    for given in (str(run), f"{run}/"):
        assert Agent.load(given).experiment == experiment_of()
    (run / "config.json").write_text(json.dumps({"run": {"checkpoints": str(elsewhere)}}))
    assert locate(str(run)).place.url == str(elsewhere)


def test_a_place_without_a_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^no checkpoint in .*; expected the directory of a run\.$"):
        Agent.load(str(tmp_path / "nothing"))
    for content in ("{", "[]"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(BadInput, match=r"config\.json' cannot be used .*; expected the configuration of a run\.$"):
            Agent.load(str(tmp_path))


def test_a_checkpoint_that_does_not_fit_its_own_configuration_is_refused(tmp_path: Path, shaken: Made) -> None:
    arrays, numbers = shaken(experiment_of()).state()
    Checkpoints(str(tmp_path)).save(arrays, numbers, experiment_of("tabular-mdp").to_json())
    with pytest.raises(BadInput, match=r"^the weights of \S+ have shape .*; expected "):
        Agent.load(str(tmp_path))
