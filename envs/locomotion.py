"""Bodies that move, N at a time: the part of a MuJoCo environment that all families share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .api import Bools, Step
from .seeding import Random, only

if TYPE_CHECKING:
    from .physics import Simulations


@dataclass(frozen=True, kw_only=True)
class Body:
    """One of Gymnasium's v5 environments: its model, its observation and how its episodes begin."""

    xml: str
    """The model's file among Gymnasium's."""
    frame_skip: int
    """MuJoCo's steps per action."""
    noise: float
    """Scale of the noise around the model's own pose at rest, where an episode begins."""
    normal_velocities: bool
    """The velocities' noise is normal; otherwise uniform, as the positions'."""
    hidden: int
    """Leading positions that are not observed: the place in the world."""
    observed_speed: float = np.inf
    """Velocities are clipped to this in the observation."""
    point: str | None = None
    """What `physics.Simulations` measures; without it the body's place is that of the first two joints."""


class Motion(NamedTuple):
    """What a reward may depend on."""

    action: np.ndarray
    """[N, actions], as it was given."""
    velocity: np.ndarray
    """[N, 2], metres a second, over the whole step: x and y; of a planar body, forward and up."""
    qpos: np.ndarray
    """[N, nq]: the positions after the step."""
    contact: np.ndarray
    """[N, bodies, 6]: torque and force of the contacts on each body, where `Body.point` asks for them."""


Reward = Callable[[Motion], np.ndarray]
"""The rewards, [N], of one step."""


class Locomotion:
    """N bodies as one batch."""

    def __init__(
        self,
        body: Body,
        simulations: "Simulations",
        reward: Reward,
        horizon: int,
        rng: Random,
        fallen: Callable[[np.ndarray], Bools] | None = None,
    ) -> None:
        """Args:
        body: what moves.
        simulations: N of it, at rest.
        reward: what the task pays for.
        horizon: steps after which an episode is truncated.
        rng: where the noise of the first states comes from.
        fallen: whether positions, [N, nq], terminate the episode; by default none do.
        """
        self._body, self._reward, self._fallen = body, reward, fallen
        self.simulations = simulations
        """The bodies' states."""
        self._horizon, self._rng = horizon, rng
        self._rest = simulations.qpos.copy()
        self._time = np.zeros(len(self._rest), np.int64)

    def reset(self, rows: Bools) -> np.ndarray:
        if rows.any():
            noise, rng, speeds = self._body.noise, only(self._rng, rows), self.simulations.qvel.shape
            qpos = self._rest + rng.uniform(-noise, noise, self._rest.shape)
            normal = self._body.normal_velocities
            qvel = noise * rng.standard_normal(speeds) if normal else rng.uniform(-noise, noise, speeds)
            self.simulations.place(rows, qpos[rows], qvel[rows])
            self._time = np.where(rows, 0, self._time)
        return self._observation()

    def step(self, action: np.ndarray) -> Step:
        before = self._place().copy()
        diverged = self.simulations.advance(action)
        velocity = (self._place() - before) / self.simulations.step_s
        qpos = self.simulations.qpos
        reward = self._reward(Motion(action, velocity, qpos, self.simulations.contact)).astype(np.float32)
        reward[diverged] = 0
        self._time = self._time + 1
        terminated = np.zeros(len(qpos), np.bool_) if self._fallen is None else self._fallen(qpos) & ~diverged
        truncated = (self._time >= self._horizon) & ~terminated | diverged
        return Step(self._observation(), reward, terminated, truncated, diverged)

    def _place(self) -> np.ndarray:
        return self.simulations.qpos[:, :2] if self._body.point is None else self.simulations.point

    def _observation(self) -> np.ndarray:
        observation = self.simulations.state[:, self._body.hidden :].astype(np.float32)
        if self._body.observed_speed < np.inf:
            speeds = observation[:, -self.simulations.qvel.shape[1] :]
            np.clip(speeds, -self._body.observed_speed, self._body.observed_speed, out=speeds)
        return observation
