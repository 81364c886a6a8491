"""Runs of a second or a few, and what they leave."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from innerloop.distributed.config import Config, configure
from innerloop.learner.checkpoint import Checkpoints


def small(**options: Any) -> Config:
    """A run of a few seconds, of which an actor's beginning takes the most."""
    given: dict[str, Any] = {
        "actors": 1, "iterations": 4, "trials": 64, "parts": 4, "hidden": 16, "embedding": 0, "learner_threads": 1,
        "episodes": 5, "checkpoint_every": 2,
    }  # fmt: skip
    return configure(**given | options)


def final(out: Path) -> dict[str, np.ndarray]:
    return Checkpoints(str(out / "checkpoints")).newest().arrays


def same_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def adapting(algorithm: str, **options: Any) -> Config:
    """A run of a second, with two inner steps."""
    given: dict[str, Any] = {
        "family": "point-navigation", "horizon": 5, "algorithm": algorithm, "rollouts": 3, "hidden": 4, "episodes": 3,
        "actors": 1, "iterations": 4, "trials": 4, "parts": 2, "learner_threads": 1, "checkpoint_every": 2,
    }  # fmt: skip
    return configure(**given | options)


def replaying(algorithm: str = "pearl", **options: Any) -> Config:
    """A run of a second, with gradient steps from the second iteration on."""
    given: dict[str, Any] = {
        "family": "sparse-point-navigation", "horizon": 5, "algorithm": algorithm, "hidden": 8, "episodes": 2,
        "actors": 1, "iterations": 4, "trials": 6, "tasks": 5, "parts": 2, "learner_threads": 1, "checkpoint_every": 2,
        "warm_up": 60, "updates_per_step": 0.05, "evaluation_tasks": 0,
    }  # fmt: skip
    if algorithm == "pearl":
        given |= {"steps_per_task": 8, "context": 4, "context_hidden": 8, "layers": 1, "tasks_per_batch": 3}
    return configure(**given | options)


def cut_short(whole: Path, dead: Path) -> None:
    """What a run of four iterations leaves if it dies in its fourth: metrics of three, and the second's checkpoint."""
    shutil.copytree(whole, dead)
    for file in (dead / "checkpoints").glob("*4.*"):
        file.unlink()
    metrics = dead / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:3]))


def mixing(**options: Any) -> Config:
    """An algorithm that consumes fresh trajectories and replay."""
    return small(algorithm="families:Mixing", tasks=10, **options)
