"""The laws of an algorithm (`learner.api`), on small families of ours: of discrete and of continuous actions, and of
examples with their answers."""

import copy
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch

from ...envs.api import TaskFamily
from ...envs.bandit import BernoulliBandit
from ...envs.boundary import parse_rows
from ...envs.errors import BadInput
from ...envs.fewshot.sinusoid import Sinusoid
from ...envs.fewshot.strokes import Strokes
from ...envs.navigation import SparsePointNavigation
from ...envs.spaces import not_members
from ...learner.api import Algorithm, Returning
from ...learner.experiment import Experiment
from ...learner.learner import Learner
from ...learner.options import check_parts
from ...learner.replay import Replay
from ...learner.sampling import Both
from ...learner.trajectory import Arrays, Trajectory
from ..actor import Actor, Assignment
from ..agent import Agent
from .fault import demand, options_survive, other_global_randomness, same

FAMILIES: tuple[TaskFamily, ...] = (
    BernoulliBandit(arms=3),
    SparsePointNavigation(horizon=4, radius=2.0),
    Sinusoid(),
    Strokes(ways=3),
)
TRIALS, EPISODES = 4, 3
SEEN = 7
"""Steps that an agent has seen of a task to which it returns."""
UPDATES = 3
PLAYED = 700
"""Environment steps that an algorithm with replay is told of beside those that it sees, so that steps are due."""


def it_has_its_parts(algorithm: Algorithm) -> None:
    check_parts("algorithm", type(algorithm).__name__, algorithm)


def its_options_survive_their_file(algorithm: Algorithm) -> None:
    options_survive("algorithm", algorithm)


def it_learns_on_some_family(algorithm: Algorithm) -> None:
    demand([*_experiments(algorithm)], f"it refuses all of {', '.join(type(each).__name__ for each in FAMILIES)}.")


def its_agent_gives_members_of_the_action_space(algorithm: Algorithm) -> None:
    for experiment in _experiments(algorithm):
        found = _acted(experiment, _learner(experiment).acting_weights())
        fault = not_members(experiment.family.action_space, found.action, boxes=True)
        demand(not fault, f"its actions on {experiment.family_name} are none of the action space: {fault}.")
        for name, array in found.note.items():
            shape = array.shape[:2]
            expected = (len(found.reward) + 1, found.reward.shape[1])
            demand(
                shape == expected, f"note {name!r} on {experiment.family_name} has {shape}; expected {expected} first."
            )


def an_agent_repeats_with_its_generator_alone(algorithm: Algorithm) -> None:
    for experiment in _experiments(algorithm):
        played = []
        for number in (1, 2):
            with other_global_randomness(number):
                played.append(_acted(experiment, _learner(experiment).acting_weights()))
        sentence = f"two agents of one seed act differently on {experiment.family_name}"
        same(played[0].action, played[1].action, sentence)


def an_agent_that_returns_to_a_task_goes_on_as_if_it_had_never_stopped(algorithm: Algorithm) -> None:
    for experiment in _experiments(algorithm):
        model = _learner(experiment).model.requires_grad_(False)
        inner_loops = [algorithm.inner_loop(model, experiment.problem) for _ in range(2)]
        if not isinstance(inner_loops[0], Returning):
            return
        staying, back = (Agent(experiment, inner_loop) for inner_loop in inner_loops)
        rngs, n = (np.random.default_rng(5), np.random.default_rng(5)), TRIALS * staying.rollouts_per_task
        before, after = _arbitrary_inputs(experiment, n, SEEN), _arbitrary_inputs(experiment, n, SEEN + 1)
        staying.begin_trial(n, rngs[0], record=True)
        for given in before:
            staying.act(*given)
        observation, reward, _ = after[0]
        rngs[0].bit_generator.state = np.random.default_rng(6).bit_generator.state
        found = [staying.act(observation, reward, np.ones(n, np.bool_)), *staying.note.values()]
        back.begin_trial(n, rngs[1], contexts=staying.contexts())
        rngs[1].bit_generator.state = np.random.default_rng(6).bit_generator.state
        again = [back.act(observation, np.zeros(n), np.zeros(n, np.bool_)), *back.note.values()]
        for given in after[1:]:
            for agent, seen in ((staying, found), (back, again)):
                seen += [agent.act(*given), *agent.note.values()]
        for one, other in zip(found, again, strict=True):
            sentence = f"an agent that was handed what another had seen on {experiment.family_name} acts differently"
            same(one, other, sentence)


def an_actor_plays_the_same_with_the_weights_that_it_is_sent(algorithm: Algorithm) -> None:
    for experiment in _experiments(algorithm):
        learner, played = _learner(experiment), []
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for parameter in learner.model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)  # unlike those that an actor builds
        for weights in (learner.weights(), learner.acting_weights()):
            played.append(_acted(experiment, weights))
        sentence = f"with the weights that acts_with names, an actor acts differently on {experiment.family_name}"
        same(played[0].action, played[1].action, sentence)


def an_update_gives_finite_numbers(algorithm: Algorithm) -> None:
    for experiment in _experiments(algorithm):
        for metrics in _trained(experiment, _learner(experiment)):
            for name, value in metrics.items():
                number = isinstance(value, int | float) and np.isfinite(value)
                demand(
                    number, f"the metric {name!r} on {experiment.family_name} is {value!r}; expected a finite number."
                )


def an_update_changes_parameters(algorithm: Algorithm) -> None:
    for experiment in islice(_experiments(algorithm), 1):
        learner = _learner(experiment)
        before = {name: each.detach().clone() for name, each in learner.model.named_parameters()}
        for _ in _trained(experiment, learner):
            pass
        changed = any(not torch.equal(before[name], each) for name, each in learner.model.named_parameters())
        demand(changed, f"{UPDATES} updates on {experiment.family_name} changed no parameter.")


def updates_repeat_and_go_on_from_a_saved_state_bit_for_bit(algorithm: Algorithm) -> None:
    for experiment in islice(_experiments(algorithm), 1):
        whole, half, resumed = (_learner(experiment) for _ in range(3))
        with other_global_randomness(1):
            for _ in _trained(experiment, whole):
                pass
        with other_global_randomness(2):
            next(_trained(experiment, half))
            resumed.load(*half.state())
            for _ in _trained(experiment, resumed, first=1):
                pass
        found, expected = resumed.state()[0], whole.state()[0]
        demand(found.keys() == expected.keys(), f"a resumed learner on {experiment.family_name} has other arrays.")
        for name, array in expected.items():
            sentence = f"{name} of a learner that was saved and loaded differs on {experiment.family_name}"
            same(array, found[name], sentence)


ALGORITHM = (
    it_has_its_parts,
    its_options_survive_their_file,
    it_learns_on_some_family,
    its_agent_gives_members_of_the_action_space,
    an_agent_repeats_with_its_generator_alone,
    an_agent_that_returns_to_a_task_goes_on_as_if_it_had_never_stopped,
    an_actor_plays_the_same_with_the_weights_that_it_is_sent,
    an_update_gives_finite_numbers,
    an_update_changes_parameters,
    updates_repeat_and_go_on_from_a_saved_state_bit_for_bit,
)


def _experiments(algorithm: Algorithm) -> Iterator[Experiment]:
    """On the families that it does not refuse."""
    for family in FAMILIES:
        try:
            found = Experiment(
                family_name=type(family).__name__,
                family=family,
                algorithm_name="it",
                algorithm=algorithm,
                episodes=EPISODES,
            )
            algorithm.build(found.problem)
        except BadInput:
            continue
        yield found


def _arbitrary_inputs(experiment: Experiment, n: int, steps: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of an agent: any observation and reward (0 at the start), and the end of an episode every third step."""
    rng, space = np.random.default_rng(steps), copy.deepcopy(experiment.family.observation_space)
    space.seed(steps)
    seen = [np.stack([parse_rows("a sample", space.sample(), space, None) for _ in range(n)]) for _ in range(steps)]
    return [(x, (t > 0) * rng.standard_normal(n, np.float32), np.full(n, t % 3 == 2)) for t, x in enumerate(seen)]


def _learner(experiment: Experiment) -> Learner:
    return Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)


def _acted(experiment: Experiment, weights: Arrays) -> Trajectory:
    """Held-out trials, in which the agent acts whatever the algorithm learns from."""
    actor = Actor(experiment, seed=0, held_out=TRIALS)
    actor.load(weights, 0)
    return actor.collect(Assignment(0, 0, TRIALS, (*range(TRIALS),), held_out=True))


def _played(experiment: Experiment, learner: Learner, iteration: int = 0) -> Trajectory:
    actor = Actor(experiment, seed=0)
    actor.load(learner.acting_weights(), learner.version)
    return actor.collect(Assignment(iteration, 0, TRIALS))


def _trained(experiment: Experiment, learner: Learner, first: int = 0) -> Iterator[dict[str, Any]]:
    """Updates on trials of weights that never change, so that a learner that goes on is given what the other was."""
    replay = Replay(2**24)
    for iteration in range(UPDATES):
        fresh = _played(experiment, _learner(experiment), iteration)
        if experiment.replays:
            replay.append([*range(TRIALS)], fresh)
            replay.played += PLAYED
        if iteration >= first:
            batch = Both(fresh, replay) if experiment.replays else fresh
            yield learner.update(batch if experiment.learns_fresh else replay, iteration / UPDATES)
