"""The actor: newest weights in, trajectories out. A plain class; `distributed` makes it a Ray actor."""

import copy
import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ..envs.api import Tasks
from ..envs.boundary import parse_rows
from ..envs.errors import BadInput, require
from ..envs.seeding import SideBySide, generator, seeds, streams
from ..envs.trials import Trials, sample_tasks
from ..learner.api import InnerLoop, Returning
from ..learner.contexts import Contexts, join
from ..learner.experiment import Experiment
from ..learner.learner import load_weights
from ..learner.trajectory import Arrays, Trajectory
from .assignment import Assignment
from .rollout import play, play_side_by_side
from .widened import Widened

ALIGNED, FEW = 4, 16
"""In a product with at most `FEW` outputs, the bits of a row depend on its alignment to `ALIGNED` floats."""
HELD_OUT = 0, 0
"""Key of the stream that draws the held-out tasks of a run's evaluations: of an iteration that nobody plays."""
TRIED = 12
"""Steps for which the agent is run both side by side and alone, to compare the bits."""


class Actor:
    """Plays trials of one family with the weights it was last given."""

    def __init__(self, experiment: Experiment, seed: int, tasks: int = 0, held_out: int = 0) -> None:
        """Args:
        experiment: what is played, and by which algorithm.
        seed: of the run.
        tasks: that the run trains on, drawn once; 0 for a new one in every trial.
        held_out: tasks that the run is evaluated on while it trains, drawn once; others than those of `evaluate`,
            unless the family has a finite set of them.
        """
        torch.set_num_threads(1)
        self._tasks = sample_tasks(experiment.family, streams(seed, "train").tasks, tasks, "train") if tasks else {}
        self._experiment, self._seed, self._held_out = experiment, seed, held_out
        self._model = experiment.algorithm.build(experiment.problem).requires_grad_(False)
        self._agent = experiment.algorithm.inner_loop(self._model, experiment.problem)
        self._players = {True: self._agent, False: experiment.player(self._agent)}
        """Of held-out trials, and of those that are learned from."""
        self._odd = self._agent.rollouts_per_task == 1 and any(map(_is_odd, self._model.parameters()))
        self._alike: dict[tuple[bool, tuple[int, ...]], bool] = {}
        """By whether they are held out, and the sizes of the parts: whether trials have the same bits side by side as
        alone."""
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

    def collect(self, assignment: Assignment, contexts: Trajectory | None = None) -> Trajectory:
        """Play one trial of each of the assignment's tasks.

        Args, Raises:
            As `collect_all`.
        """
        (found,) = self.collect_all([assignment], [contexts])
        return found

    def collect_all(self, assignments: Sequence[Assignment], contexts: Contexts | None = None) -> list[Trajectory]:
        """`collect` several assignments, all held out or none, whose trials have the same number of episodes.

        They are played side by side if the agent supports it and the arithmetic of this machine gives the same bits: a
        large network batch costs little more than a small one.

        Args:
            assignments: what to play.
            contexts: of each the contexts of its tasks, a column per row; None where its trials begin from nothing, and
                for no context at all.

        Raises:
            BadInput: the environment returned something that its spaces do not have.
            EnvironmentRaised: its own code raised.
        """
        contexts = contexts or [None] * len(assignments)
        if len(assignments) > 1 and self._alike_together(assignments):
            found = self._play(assignments, contexts)
        else:
            alone = zip(assignments, contexts, strict=True)
            found = [each for assignment, own in alone for each in self._play([assignment], [own])]
        if self._experiment.learns_fresh:
            return found
        return [replace(each, note={}) for each in found]  # replay keeps none

    def _alike_together(self, assignments: Sequence[Assignment]) -> bool:
        """Whether these assignments have the same bits side by side as alone."""
        held_out = assignments[0].held_out
        if not _draws_side_by_side(self._players[held_out]):
            return False
        if self._agent.rollouts_per_task > 1 and not getattr(self._experiment.family, "side_by_side", False):
            return False  # how much an MDP draws while it waits depends on the other parts
        sizes = tuple(assignment.trials for assignment in assignments)
        if self._odd and any(size % ALIGNED for size in sizes):
            return False
        if (held_out, sizes) not in self._alike:
            self._alike[held_out, sizes] = self._can_be_made(assignments) and self._acts_alike(assignments)
        return self._alike[held_out, sizes]

    def _can_be_made(self, assignments: Sequence[Assignment]) -> bool:
        """Whether the family can make these MDPs together; what else is wrong is said when they are made alone."""
        try:
            self._begun(assignments)
        except BadInput:
            return False
        return True

    def _acts_alike(self, assignments: Sequence[Assignment]) -> bool:
        """Whether the agent acts alike in both ways, bit for bit, for a few steps on arbitrary inputs."""
        together, *alone = (self._tried(each) for each in (assignments, *([each] for each in assignments)))
        return all(np.array_equal(all_, np.concatenate(each)) for all_, *each in zip(together, *alone, strict=True))

    def _tried(self, assignments: Sequence[Assignment]) -> list[np.ndarray]:
        """The agent's actions and notes on arbitrary inputs, [rows, ...] each; some of these end all episodes."""
        space, width = copy.deepcopy(self._experiment.family.observation_space), self._agent.rollouts_per_task
        rows = [each.trials * width for each in assignments]
        observation, reward = [], []
        for assignment, count in zip(assignments, rows, strict=True):
            space.seed(assignment.part)
            observation += [parse_rows("a sample", space.sample(), space, None) for _ in range(count)]
            reward.append(np.random.default_rng(assignment.part).standard_normal(count, np.float32))
        given = np.stack(observation), np.concatenate(reward)
        agent = Widened(self._players[assignments[0].held_out])
        agent.begin_trial(sum(rows), SideBySide([np.random.SeedSequence(each.part) for each in assignments], rows))
        seen = []
        for step in range(TRIED):
            action = agent.act(*given, np.full(sum(rows), step % 4 == 3))
            seen += [np.array(each) for each in (action, *agent.note.values())]  # copies: it may reuse its arrays
        return seen

    def _play(self, assignments: Sequence[Assignment], contexts: Contexts) -> list[Trajectory]:
        """Play assignments side by side, or a single one."""
        trials, rng = self._begun(assignments)
        known = join(contexts, [each.trials * self._agent.rollouts_per_task for each in assignments])
        player = self._players[assignments[0].held_out]
        returns = known is None or isinstance(player, Returning)
        require(returns, "algorithm", self._experiment.algorithm_name, "one whose agents can be handed contexts")
        if _draws_side_by_side(player):
            return play_side_by_side(Widened(player), trials, rng, self.version, known)
        (alone,) = rng.generators()
        return [play(player, trials, alone, self.version, known)]

    def _begun(self, assignments: Sequence[Assignment]) -> tuple[Trials, SideBySide]:
        """The trials of assignments, and their agent's source of randomness."""
        experiment, family = self._experiment, self._experiment.family
        streams_of = [
            seeds(self._seed, "test" if each.held_out else "train", each.iteration, each.part) for each in assignments
        ]
        drawn = [self._drawn(each, own[0]) for each, own in zip(assignments, streams_of, strict=True)]
        tasks = {name: np.concatenate([each[name] for each in drawn]) for name in drawn[0]}
        width = self._agent.rollouts_per_task
        rows = [each.trials * width for each in assignments]
        env, agent = (SideBySide([own[index] for own in streams_of], rows) for index in (1, 2))
        episodes = assignments[0].episodes or experiment.episodes
        return Trials(family, tasks, episodes, env, width, experiment.trial_steps), agent

    @functools.cached_property
    def _held_out_tasks(self) -> Tasks:
        rng = streams(self._seed, "test", *HELD_OUT).tasks
        return sample_tasks(self._experiment.family, rng, self._held_out, "test")

    def _drawn(self, assignment: Assignment, seed: np.random.SeedSequence) -> Arrays:
        """An assignment's tasks."""
        if assignment.tasks:
            known = self._held_out_tasks if assignment.held_out else self._tasks
            return {name: array[list(assignment.tasks)] for name, array in known.items()}
        return sample_tasks(self._experiment.family, generator(seed), assignment.trials, "train")


def _draws_side_by_side(agent: InnerLoop) -> bool:
    return getattr(agent, "side_by_side", False)


def _is_odd(weight: torch.Tensor) -> bool:
    """Whether, in a product with this weight [outputs, inputs], a row's bits may depend on its place in the batch."""
    return weight.ndim == 2 and weight.shape[0] <= FEW and weight.shape[1] % ALIGNED != 0
