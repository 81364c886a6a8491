"""What trajectories of a run look like: what comes from a server that others can write to is compared with it."""

from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import Space
from torch import nn

from ...actors.assignment import Assignment
from ...envs.errors import BadInput, EnvironmentRaised, describe, origin
from ...envs.seeding import streams
from ...envs.spaces import not_members
from ...envs.trials import Trials
from ...learner.experiment import Experiment
from ...learner.trajectory import Trajectory


class Undecodable(ValueError):
    """Bytes that are no trajectory of this format, or of this run; the message is a sentence that says why."""

    assignment: Assignment | None = None
    """What they were played for, as far as they say so."""


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Of one run."""

    experiment: Experiment
    iterations: int
    """That the run has, at most."""
    parts: int
    """Of an iteration."""
    tasks: int
    """That the run trains on; 0 where every trial is of a new one."""
    example: Trajectory
    """The first step of a trial, in as many columns as a task has."""

    @classmethod
    def of(cls, experiment: Experiment, model: nn.Module, *, iterations: int, parts: int, tasks: int) -> "Schema":
        """Args:
        experiment: what is played; here for one step.
        model: of the learner.
        iterations: see above, as all others.

        Raises:
            BadInput: the environment raised, or misbehaved.
        """
        try:
            with torch.random.fork_rng(devices=[]):  # this changes nothing of what comes
                example = first_step(experiment, model)
        except (BadInput, EnvironmentRaised):
            raise
        except (Exception, SystemExit) as error:
            raise EnvironmentRaised(
                f"the first step of a trial raised {describe(error)}, at {origin(error)}."
            ) from error
        return cls(experiment=experiment, iterations=iterations, parts=parts, tasks=tasks, example=example)

    def check(self, assignment: Assignment, trajectory: Trajectory, *, kept: bool = False) -> None:
        """Compare a trajectory, whose arrays have one T and one B, and what it was played for, with the run.

        Args:
            assignment: what it was played for.
            trajectory: it.
            kept: it was in replay already; into how many parts its iteration was divided does not matter any more.

        Raises:
            Undecodable: it is none of this run's; in one sentence, why.
        """
        self._check_assignment(assignment, trajectory)
        _within("part", assignment.part, 0, 2**63 if kept else self.parts - 1)
        problem, example = self.experiment.problem, self.example
        steps, columns = trajectory.reward.shape
        width = example.reward.shape[1]
        _expect("columns", columns, assignment.trials * width)
        longest = problem.trial_steps or assignment.episodes * problem.horizon
        _require(steps <= longest, f"it has {steps} steps; its trials end before")
        _check_members("observation", trajectory.observation, example.observation, problem.observation_space)
        _check_members("action", trajectory.action, example.action, problem.action_space, bounded=True)
        _require(bool(np.isfinite(trajectory.reward).all()), "its reward is not finite")
        for group in ("privileged", "note"):
            found, expected = getattr(trajectory, group), getattr(example, group)
            _expect(group, sorted(found), sorted(expected))
            for name, array in found.items():
                _check_like(f"{group} {name}", array, expected[name])
        _expect("measures", sorted(trajectory.measures), sorted(example.measures))
        if problem.trial_steps:
            whole = bool(trajectory.valid.all() and steps == problem.trial_steps and trajectory.done[-1].all())
            _require(whole, f"its steps are not those of trials of {problem.trial_steps} steps")
        else:
            _check_episodes(trajectory, assignment.episodes, waits=width > 1)
        for name, array in trajectory.measures.items():
            episodes = (trajectory.done & trajectory.valid).sum(0)
            _expect(f"measure {name}", array.shape, (columns, int(episodes.max())))
            played = np.arange(array.shape[1]) < episodes[:, None]
            _require(bool((np.isfinite(array) == played).all()), f"its measure {name} is not finite")

    def _check_assignment(self, assignment: Assignment, trajectory: Trajectory) -> None:
        iteration, _, trials, tasks, episodes, flags, _ = assignment
        _within("iteration", iteration, 0, self.iterations - 1)
        _within("trials", trials, 1, trajectory.reward.shape[1])
        _expect("tasks", len(tasks), trials if self.tasks else 0)
        for task in tasks:
            _within("task", task, 0, self.tasks - 1)
        _require(
            {*flags} <= ({0, 1} if tasks and self.experiment.recall.share else {0}),
            f"its from_context: {flags!s:.200}; expected 0, or 1 of a task",
        )
        _within("episodes", episodes, 1, self.experiment.episodes)
        _within("version", trajectory.version, 0, self.iterations)
        _within("diverged", trajectory.diverged, 0, trajectory.reward.shape[1] * self.experiment.problem.most_episodes)


def first_step(experiment: Experiment, model: nn.Module) -> Trajectory:
    """The first step of one trial, as actors write it down and a writer sends it."""
    rng = streams(0, "train")
    family, algorithm = experiment.family, experiment.algorithm
    agent = experiment.player(algorithm.inner_loop(model, experiment.problem))
    tasks, rollouts = family.sample(rng.tasks, 1, "train"), agent.rollouts_per_task
    trials = Trials(family, tasks, experiment.episodes, rng.env, rollouts, experiment.trial_steps)
    given = trials.begin()
    agent.begin_trial(agent.rollouts_per_task, rng.agent)
    action, observation = agent.act(*given), given.observation
    note = dict(agent.note) if experiment.learns_fresh else {}
    given, step = trials.step(action)
    return Trajectory(
        observation=np.stack([observation, given.observation]),
        action=action[None],
        reward=step.reward[None],
        terminated=step.terminated[None],
        truncated=step.truncated[None],
        valid=np.ones_like(step.terminated)[None],
        privileged={name: array[None] for name, array in step.privileged.items()},
        measures=trials.measures.by_episode(1),
        note={name: array[None] for name, array in note.items()},
    )


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise Undecodable(f"{fault}.")


def _expect(what: str, given: object, expected: object) -> None:
    _require(given == expected, f"its {what}: {given!s:.200}; expected {expected}")


def _within(what: str, given: int, first: int, last: int) -> None:
    _require(first <= given <= last, f"its {what}: {given}; expected {first} to {last}")


def _check_like(what: str, array: np.ndarray, example: np.ndarray) -> None:
    """The axes behind [T, B], the type, and that all is finite."""
    found = array.dtype, array.shape[2:]
    expected = example.dtype, example.shape[2:]
    _require(found == expected, f"its {what} is {found[0]} {found[1]}; expected {expected[0]} {expected[1]}")
    _require(array.dtype.kind in "biu" or bool(np.isfinite(array).all()), f"its {what} is not finite")


def _check_members(what: str, array: np.ndarray, example: np.ndarray, space: Space, *, bounded: bool = False) -> None:
    """Members of a space; of a box only where it is `bounded`, because environments leave their own."""
    _check_like(what, array, example)
    fault = not_members(space, array, boxes=bounded)
    _require(not fault, f"its {what} is {fault}")


def _check_episodes(trajectory: Trajectory, episodes: int, *, waits: bool) -> None:
    """That each column has its episodes one after the other, and ends with the last; where columns wait for each other,
    all begin each episode together."""
    done = trajectory.done & trajectory.valid
    ended = np.cumsum(done, 0) - done  # before each step
    running = ended.min(1, keepdims=True) if waits else ended
    counts = (ended == running) & (running < episodes)
    right = bool((trajectory.valid == counts).all() and counts.any(1).all() and (done.sum(0) == episodes).all())
    _require(right, f"its steps are not those of trials of {episodes} episodes")
