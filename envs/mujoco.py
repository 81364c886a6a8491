"""Locomotion in MuJoCo (Todorov et al. 2012), with the models of Gymnasium's v5 environments.

The tasks are those of Finn et al. 2017 (arXiv:1703.03400), Rothfuss et al. 2018 (ProMP, arXiv:1810.06784) and Rakelly
et al. 2019 (PEARL, arXiv:1903.08254). What the families have in common:

observation  positions and velocities as in Gymnasium v5, float32, without the forces and inertias that it adds; the
             place in the world is left out, except where the goal is a place
action       a torque per joint, float32, in [-1, 1] ([-0.4, 0.4] for the humanoid), times the joint's gear; what is
             beyond is clipped, though the control cost |a|² counts it
reward       the velocity in it is the way made in the step over the time of the step, metres a second
truncated    at the horizon, or when the simulation breaks down: such a step is undone and pays 0
start        the model's pose at rest, with Gymnasium's noise
"""

from dataclasses import dataclass, replace

import numpy as np
from gymnasium import spaces

from .api import Bools, Split, Tasks
from .errors import require
from .locomotion import Body, Locomotion, Motion, Reward
from .seeding import Random, in_rounds

HALF_CHEETAH = Body(xml="half_cheetah.xml", frame_skip=5, noise=0.1, normal_velocities=True, hidden=1)
ANT = Body(xml="ant.xml", frame_skip=5, noise=0.1, normal_velocities=True, hidden=2, point="xpos")
HUMANOID = Body(xml="humanoid.xml", frame_skip=5, noise=0.01, normal_velocities=False, hidden=2, point="subtree_com")
WALKER = Body(xml="walker2d_v5.xml", frame_skip=4, noise=0.005, normal_velocities=False, hidden=1, observed_speed=10.0)


def _along(angle: np.ndarray) -> np.ndarray:
    """Unit vectors, [N, 2], for angles [N]."""
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _square(array: np.ndarray) -> np.ndarray:
    """The sum of the squares of everything in a row, [N]."""
    flat = array.reshape(len(array), -1)
    return np.einsum("ni,ni->n", flat, flat)


@dataclass(frozen=True, kw_only=True)
class _Family:
    horizon: int = 200
    """Steps in an episode."""

    side_by_side = True

    def __post_init__(self) -> None:
        require(self.horizon >= 1, "horizon", self.horizon, "at least 1")

    def _start(self, body: Body, reward: Reward, n: int, rng: Random) -> Locomotion:
        from .physics import Simulations, load  # not above: importing MuJoCo takes a tenth of a second

        simulations = Simulations([load(body.xml)] * n, body.frame_skip, body.point)
        return Locomotion(body, simulations, reward, self.horizon, rng)


@dataclass(frozen=True, kw_only=True)
class HalfCheetahVel(_Family):
    """Run at a velocity that is never observed (Finn et al. 2017, section 5.3).

    observation  float32 [N, 17]
    action       float32 [N, 6]
    reward       -|v - v*| - 0.05 |a|², v the forward velocity
    terminated   never
    task         velocity: float64 [N], v* in metres a second, uniform between slowest and fastest: [0, 3] as in ProMP
                 and PEARL, where Finn et al. have [0, 2]
    """

    slowest: float = 0.0
    """Lowest wanted velocity, metres a second."""
    fastest: float = 3.0
    """Highest wanted velocity, metres a second."""

    observation_space = spaces.Box(-np.inf, np.inf, (17,), np.float32)
    action_space = spaces.Box(-1, 1, (6,), np.float32)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(-np.inf < self.slowest < np.inf, "slowest", self.slowest, "a finite number")
        above = f"a finite number above slowest ({self.slowest})"
        require(self.slowest < self.fastest < np.inf, "fastest", self.fastest, above)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"velocity": rng.uniform(self.slowest, self.fastest, n)}

    def make(self, tasks: Tasks, rng: Random) -> Locomotion:
        def reward(motion: Motion) -> np.ndarray:
            return -np.abs(motion.velocity[:, 0] - tasks["velocity"]) - 0.05 * _square(motion.action)

        return self._start(HALF_CHEETAH, reward, len(tasks["velocity"]), rng)


@dataclass(frozen=True, kw_only=True)
class HalfCheetahDir(_Family):
    """Run forward or backward, as fast as possible (Finn et al. 2017, section 5.3).

    There are two tasks, and both are trained and tested on: nothing is held out, so what evaluation measures is
    adaptation, not generalisation.

    observation  float32 [N, 17]
    action       float32 [N, 6]
    reward       d v - 0.05 |a|², v the forward velocity
    terminated   never
    task         direction: float64 [N], d, +1 or -1 with equal probability; equally often in evaluation
    """

    observation_space = spaces.Box(-np.inf, np.inf, (17,), np.float32)
    action_space = spaces.Box(-1, 1, (6,), np.float32)
    same_tasks = True

    def task_count(self, split: Split) -> int:
        return 2

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        both = np.array([-1.0, 1.0])
        return {"direction": rng.choice(both, n) if split == "train" else in_rounds(rng, both, n)}

    def make(self, tasks: Tasks, rng: Random) -> Locomotion:
        def reward(motion: Motion) -> np.ndarray:
            return tasks["direction"] * motion.velocity[:, 0] - 0.05 * _square(motion.action)

        return self._start(HALF_CHEETAH, reward, len(tasks["direction"]), rng)


@dataclass(frozen=True, kw_only=True)
class AntGoal(_Family):
    """Walk to a place that is never observed (Rothfuss et al. 2018; reward as in PEARL's published code).

    observation  float32 [N, 29]; the first two are the torso's x and y
    action       float32 [N, 8]
    reward       -|x - x*| - |y - y*| - 0.1 |a|² - 0.0005 |F|², F the torques and forces of the contacts, each clipped
                 to [-1, 1]
    terminated   never
    task         goal: float64 [N, 2], (x*, y*) in metres, uniform on the disc of radius 3
    """

    observation_space = spaces.Box(-np.inf, np.inf, (29,), np.float32)
    action_space = spaces.Box(-1, 1, (8,), np.float32)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        radius, angle = 3 * np.sqrt(rng.random(n)), rng.uniform(0, 2 * np.pi, n)
        return {"goal": radius[:, None] * _along(angle)}

    def make(self, tasks: Tasks, rng: Random) -> Locomotion:
        def reward(motion: Motion) -> np.ndarray:
            distance = np.abs(motion.qpos[:, :2] - tasks["goal"]).sum(axis=1)
            return -distance - 0.1 * _square(motion.action) - 5e-4 * _square(np.clip(motion.contact, -1, 1))

        return self._start(replace(ANT, hidden=0), reward, len(tasks["goal"]), rng)


@dataclass(frozen=True, kw_only=True)
class AntDir(_Family):
    """Walk in a direction that is never observed (Rothfuss et al. 2018; Rakelly et al. 2019).

    The reward is that of both papers' code, whose weights are Gymnasium's. There an episode also ends when the torso
    leaves [0.2, 1] metres; here none does, and 1 is paid for every step.

    observation  float32 [N, 27]
    action       float32 [N, 8]
    reward       v cos(angle) + w sin(angle) + 1 - 0.5 |a|² - 0.0005 |F|², (v, w) the torso's velocity, F the torques
                 and forces of the contacts, each clipped to [-1, 1]
    terminated   never
    task         angle: float64 [N], uniform on [0, 2π)
    """

    observation_space = spaces.Box(-np.inf, np.inf, (27,), np.float32)
    action_space = spaces.Box(-1, 1, (8,), np.float32)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"angle": rng.uniform(0, 2 * np.pi, n)}

    def make(self, tasks: Tasks, rng: Random) -> Locomotion:
        direction = _along(tasks["angle"])

        def reward(motion: Motion) -> np.ndarray:
            along = (motion.velocity * direction).sum(axis=1)
            return along + 1 - 0.5 * _square(motion.action) - 5e-4 * _square(np.clip(motion.contact, -1, 1))

        return self._start(ANT, reward, len(tasks["angle"]), rng)


@dataclass(frozen=True, kw_only=True)
class HumanoidDir(_Family):
    """Run in a direction that is never observed (Rakelly et al. 2019).

    The reward is that of PEARL's code, whose weights are Gymnasium's. There an episode also ends when the torso leaves
    [1, 2] metres; here none does, and 5 is paid for every step.

    observation  float32 [N, 45]
    action       float32 [N, 17]
    reward       1.25 (v cos(angle) + w sin(angle)) + 5 - 0.1 |a|² - min(5e-7 |F|², 10), (v, w) the velocity of the
                 centre of mass, F the torques and forces of the contacts
    terminated   never
    task         angle: float64 [N], uniform on [0, 2π)
    """

    observation_space = spaces.Box(-np.inf, np.inf, (45,), np.float32)
    action_space = spaces.Box(-0.4, 0.4, (17,), np.float32)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"angle": rng.uniform(0, 2 * np.pi, n)}

    def make(self, tasks: Tasks, rng: Random) -> Locomotion:
        direction = _along(tasks["angle"])

        def reward(motion: Motion) -> np.ndarray:
            along = (motion.velocity * direction).sum(axis=1)
            impact = np.minimum(5e-7 * _square(motion.contact), 10)
            return 1.25 * along + 5 - 0.1 * _square(motion.action) - impact

        return self._start(HUMANOID, reward, len(tasks["angle"]), rng)


FACTORS = {"body_mass": (1.5, 8), "body_inertia": (1.5, 8, 3), "dof_damping": (1.3, 9), "geom_friction": (1.5, 8, 3)}
"""What Walker2DParams varies: the number that is raised to a power, and the shape of the factors, as in the model."""


@dataclass(frozen=True, kw_only=True)
class Walker2DParams(_Family):
    """Walk in a body whose masses, inertias, damping and friction are unknown (Rakelly et al. 2019, Walker-2D-Params).

    Reward and end of an episode are those of rand_param_envs, PEARL's source. Gymnasium's are the model and the four
    steps of it per action (there: five). The tasks are two fixed sets, drawn once and for all; none comes twice before
    all of its set have come. What the model derives from the varied numbers is recomputed (there it keeps the values
    of the unvaried body).

    observation  float32 [N, 17]; velocities are clipped to ±10
    action       float32 [N, 6]
    reward       v + 1 - 0.001 |a|², v the forward velocity
    terminated   when the torso's height leaves (0.8, 2) metres or its pitch (-1, 1) radians
    task         body_mass, body_inertia, geom_friction: float64 [N, ...], factors 1.5^u; dof_damping: factors 1.3^u;
                 u uniform on [-3, 3], drawn for every element of the model's array
    """

    train_tasks: int = 40
    """Number of training tasks."""
    test_tasks: int = 10
    """Number of test tasks; none is a training task."""

    observation_space = spaces.Box(-np.inf, np.inf, (17,), np.float32)
    action_space = spaces.Box(-1, 1, (6,), np.float32)

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("train_tasks", "test_tasks"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")

    def task_count(self, split: Split) -> int:
        return self.train_tasks if split == "train" else self.test_tasks

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        members = self.task_count(split)
        chosen = in_rounds(rng, np.arange(members), n)
        fixed = np.random.default_rng(("train", "test").index(split))
        sizes = [np.prod(shape, dtype=int) for _, *shape in FACTORS.values()]
        powers = np.split(fixed.uniform(-3, 3, (members, sum(sizes)))[chosen], np.cumsum(sizes)[:-1], axis=1)
        return {
            name: base ** u.reshape(n, *shape)
            for (name, (base, *shape)), u in zip(FACTORS.items(), powers, strict=True)
        }

    def make(self, tasks: Tasks, rng: Random) -> Locomotion:
        from .physics import Simulations, load, vary

        def reward(motion: Motion) -> np.ndarray:
            return motion.velocity[:, 0] + 1 - 1e-3 * _square(motion.action)

        def fallen(qpos: np.ndarray) -> Bools:
            height, pitch = qpos[:, 1], qpos[:, 2]
            return ~((height > 0.8) & (height < 2) & (np.abs(pitch) < 1))

        models = vary(load(WALKER.xml), {name: tasks[name] for name in FACTORS})
        simulations = Simulations(models, WALKER.frame_skip, WALKER.point)
        return Locomotion(WALKER, simulations, reward, self.horizon, rng, fallen)
