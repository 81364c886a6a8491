"""Small runs to be damaged, and what is compared before and after."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from innerloop.distributed.config import Config, configure
from innerloop.learner.checkpoint import Checkpoints

NOWHERE = "127.0.0.1:1"
"""The address of no cluster: a run that is not refused before ends here, without Ray."""


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def tree(directory: Path) -> dict[str, bytes | str | None]:
    """Everything in a directory, byte by byte: files, where links lead, and None for directories."""
    found: dict[str, bytes | str | None] = {}
    for root, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(root) / name
            key = str(path.relative_to(directory))
            if path.is_symlink():
                found[key] = os.readlink(path)
            else:
                found[key] = path.read_bytes() if path.is_file() else None
    return found


SMALL: dict[str, dict[str, Any]] = {
    "rl2": {"family": "bernoulli-bandit", "memory": "gru", "hidden": 8, "embedding": 0, "arms": 3, "episodes": 2},
    "maml": {"family": "point-navigation", "horizon": 5, "hidden": 4, "layers": 1, "rollouts": 2, "episodes": 2},
    "promp": {"family": "point-navigation", "horizon": 5, "hidden": 4, "layers": 1, "rollouts": 2, "episodes": 2},
    "pearl": {
        "family": "sparse-point-navigation", "horizon": 5, "hidden": 8, "layers": 1, "latent": 2, "context_hidden": 8,
        "episodes": 2, "tasks": 5, "replay_mb": 1,
    },
    "recurrent-sac": {
        "family": "sparse-point-navigation", "horizon": 5, "memory": "gru", "hidden": 8, "episodes": 2, "tasks": 5,
        "replay_mb": 1,
    },
}  # fmt: skip
"""A small run of each algorithm."""


def small(algorithm: str = "rl2", **options: Any) -> Config:
    """A run that is never started: it is at no cluster's address."""
    given = {"trials": 4, "iterations": 9, "address": NOWHERE, "evaluation_tasks": 4, "learner_threads": 1}
    return configure(**{"algorithm": algorithm} | SMALL[algorithm] | given | options)


def newest(run: Path) -> int:
    """The version of a run's newest whole checkpoint."""
    return int(Checkpoints(run / "checkpoints").newest().numbers["version"])


def metrics(iteration: int) -> dict[str, Any]:
    """A line of metrics."""
    numbers = dict.fromkeys(("return", "first_episode", "last_episode", "seconds"), 1.0)
    return numbers | {"iteration": iteration, "env_steps": 10 * iteration}
