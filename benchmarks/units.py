"""Does RL² learn the same whatever unit rewards have?

python benchmarks/units.py                    # the table of benchmarks/results/units
python benchmarks/units.py --units 1 1e6      # some of it

The `first` preset's bandit with all rewards multiplied by a unit: trained in this process for half of its iterations,
with the same tasks and the same draws; returns on held-out tasks in that unit.
"""

import argparse
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from innerloop.actors.actor import Actor
from innerloop.actors.baselines import baselines
from innerloop.actors.evaluate import play_tasks
from innerloop.distributed.config import configure
from innerloop.distributed.rollouts.tasks import assignments
from innerloop.envs.api import Bools, Step, Tasks, VectorEnv
from innerloop.envs.bandit import BernoulliBandit
from innerloop.envs.seeding import Random
from innerloop.learner.learner import Learner
from innerloop.learner.trajectory import concatenate

TASKS = 10_000


@dataclass(frozen=True, kw_only=True)
class InUnit(BernoulliBandit):
    """A bandit that pays in another unit."""

    unit: float = 1.0

    def make(self, tasks: Tasks, rng: Random) -> Any:
        return Paid(super().make(tasks, rng), self.unit)


class Paid:
    def __init__(self, env: VectorEnv, unit: float) -> None:
        self._env, self._unit = env, np.float32(unit)

    def reset(self, rows: Bools) -> np.ndarray:
        return self._env.reset(rows)

    def step(self, action: np.ndarray) -> Step:
        step = self._env.step(action)
        return step._replace(reward=step.reward * self._unit)


def learned(unit: float, iterations: int, seed: int) -> float:
    """The return of a trial, in that unit, after training."""
    config = configure("first", seed=seed)
    experiment = replace(config.experiment, family=InUnit(arms=5, unit=unit), family_name="benchmarks.units:InUnit")
    actor = Actor(experiment, seed)
    learner = Learner(experiment.algorithm, experiment.problem, seed=seed, device="cpu", threads=1)
    for iteration in range(iterations):
        actor.load(learner.acting_weights(), learner.version)
        trials = assignments(iteration, config.run.trials, config.run.part_count, episodes=experiment.episodes)
        learner.update(concatenate(actor.collect_all(trials)), iteration / iterations)
    agent = experiment.algorithm.inner_loop(learner.model.requires_grad_(False), experiment.problem)
    return float(play_tasks(agent, experiment.family, experiment.episodes, tasks=TASKS, seed=1).sum(1).mean()) / unit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=float, nargs="+", default=[1e-4, 1e-3, 1.0, 1e3, 1e6])
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    family = BernoulliBandit(arms=5)
    for name in ("Random", "e-greedy"):
        value = play_tasks(baselines(family, 10)[name], family, 10, tasks=TASKS, seed=1).sum(1).mean()
        print(f"{name}: {value:.3f}")
    print("| unit | return |\n|---|---|")
    for unit in options.units:
        found = [learned(unit, options.iterations, seed) for seed in range(options.seeds)]
        print(f"| {unit:g} | {', '.join(f'{each:.3f}' for each in found)} |", flush=True)


if __name__ == "__main__":
    main()
