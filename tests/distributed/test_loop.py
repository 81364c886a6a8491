"""The loop itself on a pool that plays in this process, in an order that the test decides."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import ray

from innerloop.actors.actor import Actor, Assignment
from innerloop.distributed.config import MEGABYTE, Config, configure
from innerloop.distributed.curves import mean_by_episode
from innerloop.distributed.held_out import held_out_trials
from innerloop.distributed.loop import Loop
from innerloop.distributed.rollouts.broadcast import Broadcast
from innerloop.distributed.rollouts.tasks import TaskOrder
from innerloop.distributed.store.api import Summary, Whereabouts, summarise
from innerloop.distributed.store.ray import RayStore
from innerloop.learner.learner import Learner
from innerloop.learner.trajectory import Trajectory

pytestmark = pytest.mark.usefixtures("own_ray")


class InTurns:
    """A pool that plays, whenever the loop waits, in turns what was submitted last and first."""

    wanted = alive = 1
    restarts = lost_trials = 0

    def __init__(self, config: Config) -> None:
        self._actor = Actor(config.experiment, config.run.seed, config.run.tasks, held_out_trials(config))
        self._waiting: list[Assignment] = []
        self._contexts: dict[Assignment, Trajectory] = {}
        self.played: list[tuple[Assignment, Summary]] = []

    def submit(self, assignments: list[Assignment], contexts: Mapping[Assignment, Trajectory]) -> None:
        self._waiting += assignments
        self._contexts |= contexts

    def pump(self, broadcast: Broadcast, timeout: float, *_: Any) -> list[tuple[Assignment, Summary, Whereabouts]]:
        if not timeout:  # the learner is learning
            return []
        assignment = self._waiting.pop(-(len(self.played) % 2))
        version, [weights] = broadcast.newest
        self._actor.load(ray.get(weights), version)
        trajectory = self._actor.collect(assignment, self._contexts.get(assignment))
        found = assignment, summarise(trajectory)
        if not assignment.held_out:
            self.played.append(found)
        return [(*found, Whereabouts(ray.put([trajectory]), 0))]


def run(config: Config) -> tuple[list[dict[str, Any]], list[tuple[Assignment, Summary]], TaskOrder]:
    """A run's metrics, and what was played for it, in this order."""
    algorithm, experiment = config.experiment.algorithm, config.experiment
    learner = Learner(algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    names = ["env_steps", "trials", "seconds", "dropped_stale", "dropped_lost", "restarts", "lost_trials", "diverged"]
    order = TaskOrder(config.run.tasks, config.run.task_order, 0)
    store = RayStore(0 if algorithm.consumes == "fresh" else 1, config.run.replay_mb * MEGABYTE)
    pool = InTurns(config)
    loop = Loop(config, learner, pool, store, order, dict.fromkeys(names, 0))  # pyright: ignore[reportArgumentType]
    try:
        lines = [*loop.iterations(threading.Event())]
    finally:
        store.close()
    return lines, pool.played, order


GROWING = {"mode": "overlapped", "max_staleness": 2, "iterations": 8, "parts": 3, "learner_threads": 1, "horizon": 4}
BANDIT = {"mode": "overlapped", "iterations": 8, "parts": 3, "arms": 3, "episodes": 9, "hidden": 8, "embedding": 0}
PEARL = {"algorithm": "pearl", "hidden": 8, "context_hidden": 8, "layers": 1, "context": 4, "steps_per_task": 8}
MIXED = {
    "rl2": BANDIT | {"max_staleness": 2, "episodes_start": 1, "trials": 4, "tasks": 5},
    "maml": GROWING | {"family": "point-navigation", "algorithm": "maml", "rollouts": 2, "hidden": 4, "episodes": 5,
                       "episodes_start": 2, "trials": 4, "tasks": 3},
    "promp": GROWING | {"family": "point-navigation", "algorithm": "promp", "rollouts": 2, "hidden": 4, "episodes": 5,
                        "episodes_start": 1, "trials": 4},
    "pearl": GROWING | PEARL | {"family": "sparse-point-navigation", "episodes": 5, "episodes_start": 1, "trials": 4,
                                "tasks": 6, "warm_up": 20, "updates_per_step": 0.1, "tasks_per_batch": 3},
    "pearl-from-contexts": GROWING | PEARL | {"family": "sparse-point-navigation", "episodes": 5, "episodes_start": 1,
                                              "trials": 4, "tasks": 6, "warm_up": 20, "updates_per_step": 0.1,
                                              "tasks_per_batch": 3, "posterior_share": 0.5},
    "recurrent-sac": GROWING | {"family": "point-navigation", "algorithm": "recurrent-sac", "memory": "gru",
                                "hidden": 8, "episodes": 5, "episodes_start": 1, "trials": 4, "tasks": 6,
                                "warm_up": 20, "updates_per_step": 0.1, "task_order": "prioritised"},
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_trials_of_different_lengths_in_one_iteration_are_learned_from_and_reported(name: str) -> None:
    """What a curriculum's actors play ahead comes beside what they played before."""
    config = configure(**MIXED[name])
    lines, played, order = run(config)
    assert [line["iteration"] for line in lines] == [*range(1, 9)]
    sizes, parts, mixed, began = iter(played), config.run.part_count, 0, 0
    for line in lines:
        given = [next(sizes) for _ in range(parts)]
        taken = [summary for _, summary in given]
        longest = max(summary.returns.shape[1] for summary in taken)
        mixed += len({summary.returns.shape[1] for summary in taken}) > 1
        flags = [flag for each, summary in given for flag in each.from_context or (0,) * len(summary.returns)]
        everything = zip(flags, (trial for summary in taken for trial in summary.returns), strict=True)
        trials, returning = [], list[float]()
        for flag, trial in everything:  # the curve is that of the trials that began from nothing
            (returning if flag else trials).append(trial.sum() if flag else trial)
        began += len(returning)
        assert line.get("trials_from_context", 0) == len(returning)
        assert line.get("return_from_context", 0.0) == pytest.approx(np.mean(returning or [0.0]))
        assert line["episodes"] == longest
        assert line["return"] == pytest.approx(np.mean([trial.sum() for trial in trials]))
        assert line["first_episode"] == pytest.approx(np.mean([trial[0] for trial in trials]))
        assert line["last_episode"] == pytest.approx(np.mean([trial[-1] for trial in trials]))
        for episode in range(longest):
            having = [trial[episode] for trial in trials if len(trial) > episode]
            assert line[f"return_episode_{episode + 1}"] == pytest.approx(np.mean(having))
        assert all(np.isfinite(value) for value in line.values())
    assert mixed > 0
    assert (began > 0) == (name == "pearl-from-contexts")
    if config.run.tasks:
        width = config.experiment.algorithm.rollouts if name == "maml" else 1
        seen = sum(assignment.trials * assignment.episodes * width for assignment, _ in played[: len(lines) * parts])
        assert order.episodes.sum() == seen
        assert order.state()["tasks/starts"][:, 0].tolist() == [8]


def test_of_trials_of_one_length_the_means_by_episode_are_the_plain_means_to_the_bit() -> None:
    returns = [np.random.default_rng(part).normal(size=(17, 9)) for part in range(3)]
    np.testing.assert_array_equal(mean_by_episode(returns), np.concatenate(returns).mean(0))
