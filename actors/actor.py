"""The actor: newest weights in, trajectories out. A plain class; `distributed` makes it a Ray actor."""

from dataclasses import replace
from typing import NamedTuple

import torch

from ..envs.seeding import streams
from ..envs.trials import Trials, sample_tasks
from ..learner.experiment import Experiment
from ..learner.learner import load_weights
from ..learner.trajectory import Arrays, Trajectory
from .rollout import play


class Assignment(NamedTuple):
    """One batch of trials to play, each of a task of its own. The same assignment with the same weights gives the same
    bits, whoever plays it."""

    iteration: int
    part: int
    """Of the iteration."""
    trials: int
    tasks: tuple[int, ...] = ()
    """Of the run's fixed training tasks, one index per trial; empty where every trial is of a new task."""
    episodes: int = 0
    """Of each trial; 0 for as many as the experiment's."""


class Actor:
    """Plays trials of one family with the weights it was last given."""

    def __init__(self, experiment: Experiment, seed: int, tasks: int = 0) -> None:
        """Args:
        experiment: what is played, and by which algorithm.
        seed: of the run.
        tasks: that the run trains on, drawn once; 0 for a new one in every trial.
        """
        torch.set_num_threads(1)
        self._tasks = sample_tasks(experiment.family, streams(seed, "train").tasks, tasks, "train") if tasks else {}
        self._experiment, self._seed = experiment, seed
        self._model = experiment.algorithm.build(experiment.problem).requires_grad_(False)
        self._agent = experiment.algorithm.inner_loop(self._model, experiment.problem)
        self.version = -1
        """Of the weights; -1 before the first `load`."""

    def load(self, weights: Arrays, version: int) -> None:
        """Play with these weights from now on; those that no actor needs may be missing.

        Raises:
            BadInput: they are not of this experiment's model.
        """
        acts_with = self._experiment.algorithm.acts_with
        load_weights(self._model, {name: each for name, each in weights.items() if acts_with(name)}, acts_with)
        self.version = version

    def collect(self, assignment: Assignment) -> Trajectory:
        """Play one trial of each of the assignment's training tasks.

        Raises:
            BadInput: the environment returned something that its spaces do not have.
            EnvironmentRaised: its own code raised.
        """
        rng = streams(self._seed, "train", assignment.iteration, assignment.part)
        family = self._experiment.family
        if assignment.tasks:
            tasks = {name: array[list(assignment.tasks)] for name, array in self._tasks.items()}
        else:
            tasks = sample_tasks(family, rng.tasks, assignment.trials, "train")
        episodes = assignment.episodes or self._experiment.episodes
        trial_steps = self._experiment.trial_steps
        trials = Trials(family, tasks, episodes, rng.env, self._agent.rollouts_per_task, trial_steps)
        found = play(self._agent, trials, rng.agent, self.version)
        return found if self._experiment.learns_fresh else replace(found, note={})  # replay keeps none
