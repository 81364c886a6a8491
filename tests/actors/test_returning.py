"""An agent that returns to a task: it is handed what it has seen, and refuses what is none of its tasks'."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from innerloop.actors.actor import Actor
from innerloop.actors.agent import Agent
from innerloop.actors.assignment import Assignment
from innerloop.actors.baselines.uniform import Random
from innerloop.distributed.config import configure
from innerloop.envs.errors import BadInput
from innerloop.learner.algorithms.rl2 import RL2
from innerloop.learner.problem import Problem
from innerloop.learner.trajectory import Trajectory


def seen_by(agent: Agent, steps: int, seed: int = 0, contexts: Any = None, episode: int = 3) -> list[Trajectory | None]:
    """What an agent has seen of one task on four arms, in episodes of as many steps."""
    rng = np.random.default_rng(seed)
    agent.begin_trial(1, rng, contexts=contexts, record=True)
    for t in range(steps + 1):
        agent.act([0], rng.random(1) * (t > 0), np.array([t > 0 and t % episode == 0]))
    return agent.contexts()


def test_contexts_of_any_length_side_by_side_are_as_each_alone(agent: Agent) -> None:
    lengths, nothing = (5, 0, 1, 8), (np.zeros(1, np.int64), np.zeros(1), np.zeros(1, np.bool_))
    each = [context for length in lengths for context in seen_by(agent, length, seed=length)]
    assert [context and len(context.reward) for context in each] == [5, None, 1, 8]
    alone = []
    for context in each:
        agent.begin_trial(1, np.random.default_rng(7), contexts=[context])
        agent.act(*nothing)
        alone.append(agent.note["value"][0])
    agent.begin_trial(4, np.random.default_rng(7), contexts=each)
    agent.act(*(np.repeat(array, 4, 0) for array in nothing))
    np.testing.assert_allclose(agent.note["value"], alone, rtol=1e-5)
    assert len({*np.round(alone, 4)}) == 4


def test_what_is_seen_of_a_task_grows_from_trial_to_trial(agent: Agent) -> None:
    first = seen_by(agent, 4)
    both = seen_by(agent, 2, seed=1, contexts=first)
    again = seen_by(agent, 2, seed=1)
    assert first[0] is not None
    assert both[0] is not None
    assert again[0] is not None
    np.testing.assert_array_equal(both[0].reward, np.concatenate([first[0].reward, again[0].reward]))
    np.testing.assert_array_equal(both[0].done[:, 0], [False, False, True, True, False, False])  # it was cut after four
    assert both[0].action.shape == (6, 1)
    assert both[0].observation.shape == (7, 1)


def test_a_context_is_not_changed_by_what_follows_it(agent: Agent) -> None:
    seen = seen_by(agent, 4)
    before = copy.deepcopy(seen)
    values = []
    for _ in range(2):
        agent.begin_trial(1, np.random.default_rng(0), contexts=seen, record=True)
        agent.act([0], [0.0], [False])
        agent.act([0], [1.0], [True])
        values.append(agent.note["value"])
        seen[0].truncated[-1] = not seen[0].truncated[-1]  # pyright: ignore[reportOptionalMemberAccess]
    np.testing.assert_array_equal(*values)  # whether it had ended: it ends there
    np.testing.assert_array_equal(seen[0].reward, before[0].reward)  # pyright: ignore[reportOptionalMemberAccess]


def changed(**arrays: Any) -> Callable[[Trajectory], Any]:
    return lambda context: [replace(context, **{name: make(context) for name, make in arrays.items()})]


NO_CONTEXTS: dict[str, tuple[Callable[[Trajectory], Any], str]] = {
    "no list": (lambda _: 3, r"contexts is 3; expected a list with a Trajectory, or None, for each task"),
    "too few": (lambda _: [], r"the number of contexts is 0; expected 1, one for each task"),
    "too many": (lambda context: [context, None], r"the number of contexts is 2; expected 1, one for each task"),
    "a mapping": (lambda _: [{"reward": 1}], r"contexts\[0\] is \{'reward': 1\}; expected a Trajectory, or None"),
    "reward's shape": (
        changed(reward=lambda c: c.reward[:, 0]),
        r"the shape of the reward of contexts\[0\] is \(4,\); expected \(steps, 1\)",
    ),
    "reward's NaN": (
        changed(reward=lambda c: np.full_like(c.reward, np.nan)),
        r"the reward of contexts\[0\] is nan; expected finite numbers",
    ),
    "action's length": (
        changed(action=lambda c: c.action[1:]),
        r"the shape of the action of contexts\[0\] is \(3, 1\); expected \(4, 1\)",
    ),
    "no action of the space": (
        changed(action=lambda c: c.action + 4),
        r"the action of contexts\[0\] is \d to \d; expected members of Discrete\(4\)",
    ),
    "half an action": (
        changed(action=lambda c: c.action + 0.5),
        r"the action of contexts\[0\] is \d\.5; expected whole numbers that int64 has",
    ),
    "no last observation": (
        changed(observation=lambda c: c.observation[:-1]),
        r"the shape of the observation of contexts\[0\] is \(4, 1\); expected \(5, 1\)",
    ),
    "no observation of the space": (
        changed(observation=lambda c: c.observation + 1),
        r"the observation of contexts\[0\] is 1 to 1; expected members of Discrete\(1\)",
    ),
    "a flag of 2": (changed(valid=lambda c: c.valid * 2), r"valid of contexts\[0\] is 2; expected True or False"),
    "two columns of flags": (
        changed(terminated=lambda c: np.concatenate([c.terminated] * 2, 1)),
        r"the shape of terminated of contexts\[0\] is \(4, 2\); expected \(4, 1\)",
    ),
    "text": (changed(truncated=lambda _: "text"), r"truncated of contexts\[0\] is 'text'; expected numbers"),
}


@pytest.mark.parametrize("fault", NO_CONTEXTS)
def test_contexts_that_are_none_of_its_tasks_are_refused_in_one_sentence(fault: str, agent: Agent) -> None:
    [context] = seen_by(agent, 4)
    change, sentence = NO_CONTEXTS[fault]
    assert context is not None
    with pytest.raises(BadInput, match=rf"^{sentence}\.$"):
        agent.begin_trial(1, contexts=change(context))


def test_an_agent_by_gradient_needs_its_own_notes_and_as_many_episodes_of_every_task(adapting: Path) -> None:
    agent = Agent.load(str(adapting))
    kept = []
    for episodes in (1, 2):
        agent.begin_trial(12, record=True)
        for t in range(2 * episodes + 1):
            agent.act(np.zeros(12, np.int64), np.zeros(12), np.full(12, t > 0 and t % 2 == 0))
        kept += agent.contexts()
    for contexts, message in (
        (
            [replace(kept[0], note={})],
            r"^the notes of contexts\[0\] is \[\]; expected draw, log_prob, as Agent\.contex",
        ),
        (kept, r"^the number of episodes in contexts is \[1, .*2\]; expected one for all rows\.$"),
        ([kept[0], None], r"^the number of episodes in contexts is \[1, .*0\]; expected one for all rows\.$"),
    ):
        with pytest.raises(BadInput, match=message):
            agent.begin_trial(12 * len(contexts), contexts=contexts)
    agent.begin_trial(24, contexts=[kept[0], kept[0]])


def test_an_algorithm_whose_agents_forget_refuses_contexts(agent: Agent) -> None:
    seen = seen_by(agent, 4)
    other = Agent(agent.experiment, Random(spaces.Discrete(4)))
    with pytest.raises(BadInput, match=r"^algorithm is 'rl2'; expected one whose agents can be handed contexts\.$"):
        other.begin_trial(1, contexts=seen)
    agent.begin_trial(1)
    with pytest.raises(BadInput, match=r"^record is False; expected begin_trial\(n, record=True\) before contexts\.$"):
        agent.contexts()


def test_an_actor_whose_agents_forget_refuses_them_too() -> None:
    experiment = configure("first", arms=3, hidden=8).experiment
    contexts = Actor(experiment, 0).collect(Assignment(0, 0, 2))
    forgetful = replace(experiment, algorithm=Forgetful(hidden=8), algorithm_name="forgetful")
    actor = Actor(forgetful, 0)
    with pytest.raises(BadInput, match=r"^algorithm is 'forgetful'; expected one whose agents can be handed contexts"):
        actor.collect(Assignment(1, 0, 2), contexts)


class Forgetful(RL2):
    """Its agents are baselines."""

    def inner_loop(self, model: Any, problem: Problem, greedy: bool = False) -> Any:
        return Random(problem.action_space)
