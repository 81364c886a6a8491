"""The workloads W1, W2 and W3, and an iteration of them in this process: without Ray, also where there is none."""

from innerloop.actors.actor import Actor, Assignment
from innerloop.distributed.config import Config
from innerloop.distributed.rollouts.tasks import assignments
from innerloop.learner.algorithms.rl2 import RL2
from innerloop.learner.cpus import usable_cpus
from innerloop.learner.learner import Learner

WORKS = {"W1": "w1", "W2": "w2", "W3": "w3"}


def multiply_adds(config: Config) -> int:
    """RL²'s floating-point operations of one environment step: acting, and learning `epochs` times (forward and back).

    The matrix products of memory and output alone; 2 operations for each multiply-add, the backward pass twice the
    forward one.
    """
    assert isinstance(config.experiment.algorithm, RL2)
    model = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device="cpu").model
    forward = 2 * sum(p.numel() for p in model.parameters() if p.ndim == 2)
    return forward * (1 + 3 * config.experiment.algorithm.epochs)


def first_iteration(config: Config) -> tuple[Actor, list[list[Assignment]]]:
    """An actor in this process, with the first weights, and each actor's share of what is played."""
    actor = Actor(config.experiment, config.run.seed)
    learner = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device="cpu")
    actor.load(learner.weights(), 0)
    batches, actors = (
        assignments(0, config.run.trials, config.run.part_count),
        min(usable_cpus(), config.run.part_count),
    )
    return actor, [
        batches[index * len(batches) // actors : (index + 1) * len(batches) // actors] for index in range(actors)
    ]
