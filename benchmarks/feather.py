"""An actor that only answers: for `coordinator.py`, which needs many. Imports neither innerloop nor torch by itself.

A hundred processes with torch in them do not fit into a small machine. What travels is what a real actor sends; it
becomes a `Summary` and a `Trajectory` in the driver.
"""

import time
from typing import Any

import numpy as np
import ray


class Feather:
    """Stands in for `innerloop.distributed.rollouts.remote.Remote`."""

    STEPS, TRIALS, EPISODES = 400, 4, 2
    """Of a trajectory; with HalfCheetah's sizes, 190 kB."""

    def __init__(self, version: str, arguments: list[ray.ObjectRef]) -> None:
        self._version = -1
        shape, rng = (self.STEPS, self.TRIALS), np.random.default_rng(0)
        self._arrays = {
            "observation": rng.standard_normal((self.STEPS + 1, self.TRIALS, 17), np.float32),
            "action": rng.standard_normal((*shape, 6), np.float32),
            "reward": rng.standard_normal(shape, np.float32),
            "terminated": np.zeros(shape, np.bool_),
            "truncated": np.zeros(shape, np.bool_),
            "valid": np.ones(shape, np.bool_),
        }
        self._returns = np.zeros((self.TRIALS, self.EPISODES))

    def greet(self) -> str:
        return ray.get_runtime_context().get_node_id()

    @ray.method(num_returns=2)
    def collect(
        self, assignments: list[tuple[int, ...]], contexts: list[None], version: int, weights: list[Any]
    ) -> tuple[list["Sent"], list["Sent"]]:
        """Pretends to play, for as many milliseconds as the first one's iteration says."""
        if version != self._version:
            ray.get(weights[0])
            self._version = version
        time.sleep(assignments[0][0] / 1000)
        summaries = [Sent(summary, version, 1600, self._returns, 0, 0.0, {}) for _ in assignments]
        return summaries, [Sent(trajectory, version, self._arrays) for _ in assignments]


class Sent:
    """Arrives as what a function makes of the arguments."""

    def __init__(self, make: Any, *arguments: Any) -> None:
        self._reduced = make, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._reduced


def summary(*fields: Any) -> Any:
    from innerloop.distributed.store.api import Summary

    return Summary(*fields)


def trajectory(version: int, arrays: dict[str, np.ndarray]) -> Any:
    from innerloop.learner.trajectory import Trajectory

    return Trajectory(**arrays, version=version)  # pyright: ignore[reportArgumentType]
