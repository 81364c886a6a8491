"""A point in the plane walks to a goal that it never sees: the smallest problem that needs adaptation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from gymnasium import spaces

from .api import NOTHING, Bools, Split, Step, Tasks
from .errors import require
from .measures import Over
from .seeding import Random, in_rounds

_STRIDE = 0.1
_PLANE = spaces.Box(-np.inf, np.inf, (2,), np.float32)
_MOVES = spaces.Box(-_STRIDE, _STRIDE, (2,), np.float32)


@dataclass(frozen=True, kw_only=True)
class PointNavigation:
    """Walk to a goal, guided by the distance (Finn et al. 2017, arXiv:1703.03400, section 5.3).

    observation  position, float32 [N, 2], metres; every episode starts at the origin
    action       displacement, float32 [N, 2], metres, clipped to ±0.1 per axis
    reward       minus the distance to the goal after the move, metres (the paper writes its square; its figures are
                 those of the distance)
    terminated   within 1 cm of the goal
    truncated    after `horizon` steps
    task         the goal, float32 [N, 2], metres, uniform in [-0.5, 0.5]²
    """

    horizon: int = 100
    """Steps in an episode."""

    observation_space = _PLANE
    action_space = _MOVES
    side_by_side = True

    def __post_init__(self) -> None:
        require(self.horizon >= 1, "horizon", self.horizon, "at least 1")

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"goal": rng.uniform(-0.5, 0.5, (n, 2)).astype(np.float32)}

    def make(self, tasks: Tasks, rng: Random) -> "Points":
        return Points(tasks["goal"], self.horizon, arrival=0.01)


@dataclass(frozen=True, kw_only=True)
class SparsePointNavigation:
    """Find a goal on the unit semicircle, rewarded only near it (Rakelly et al. 2019, arXiv:1903.08254, section 6.3).

    observation  position, float32 [N, 2], metres; every episode starts at the origin
    action       displacement, float32 [N, 2], metres, clipped to ±0.1 per axis
    reward       1 minus the distance to the goal within `radius` of it after the move, else 0
    terminated   never
    truncated    after `horizon` steps
    task         the goal, float32 [N, 2], metres; 100 of them, evenly spaced: 80 for training, 20 for test; none twice
                 before all have been drawn
    measures     reached: whether the episode was within `radius` of the goal at some time
    privileged   reward, where `dense`: minus the distance to the goal after the move, metres
    """

    horizon: int = 20
    """Steps in an episode."""
    radius: float = 0.2
    """Of the rewarded disc around the goal, metres."""
    dense: bool = False
    """Give the outer loop the dense reward to learn from, as the paper does; the agent sees the sparse one alone."""

    observation_space = _PLANE
    action_space = _MOVES
    measures: ClassVar[Mapping[str, Over]] = {"reached": "ever"}
    side_by_side = True

    def __post_init__(self) -> None:
        require(self.horizon >= 1, "horizon", self.horizon, "at least 1")
        require(0 < self.radius < float("inf"), "radius", self.radius, "a finite number above 0")

    def task_count(self, split: Split) -> int:
        return 80 if split == "train" else 20

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        order = np.random.default_rng(0).permutation(100)
        own = order[:80] if split == "train" else order[80:]
        angle = np.linspace(0, np.pi, 100)[in_rounds(rng, own, n)]
        return {"goal": np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)}

    def make(self, tasks: Tasks, rng: Random) -> "Points":
        return Points(tasks["goal"], self.horizon, radius=self.radius, dense=self.dense)


class Points:
    """N points, each with its goal."""

    def __init__(
        self,
        goal: np.ndarray,
        horizon: int,
        *,
        arrival: float = -1.0,
        radius: float | None = None,
        dense: bool = False,
    ) -> None:
        """Args:
        goal: float32 [N, 2], metres.
        horizon: steps in an episode.
        arrival: distance from the goal, metres, up to which an episode is terminated; negative for never.
        radius: of the disc where there is a (sparse) reward, metres; None for a reward everywhere.
        dense: with a radius, give the reward everywhere too.
        """
        self._dense = dense
        self._goal, self._horizon, self._arrival, self._radius = goal, horizon, arrival, radius
        self._position = np.zeros_like(goal)
        self._time = np.zeros(len(goal), np.int64)

    def reset(self, rows: Bools) -> np.ndarray:
        self._position[rows] = 0
        self._time[rows] = 0
        return self._position.copy()

    def step(self, action: np.ndarray) -> Step:
        self._position += np.clip(action, -_STRIDE, _STRIDE)
        self._time += 1
        offset = self._position - self._goal
        distance = np.sqrt(offset[:, 0] ** 2 + offset[:, 1] ** 2)
        reward, measures = -distance, NOTHING
        if self._radius is not None:
            near = distance <= self._radius
            reward, measures = np.where(near, 1 - distance, 0), {"reached": near.astype(np.float32)}
        terminated = distance <= self._arrival
        truncated = ~terminated & (self._time >= self._horizon)
        privileged = {"reward": -distance} if self._dense else NOTHING
        observation, reward = self._position.copy(), reward.astype(np.float32)
        return Step(observation, reward, terminated, truncated, measures=measures, privileged=privileged)
