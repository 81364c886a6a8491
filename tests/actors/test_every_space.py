"""Every algorithm plays and learns in every space that is supported, and stores its members as they are."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from innerloop.actors.actor import Actor, Assignment
from innerloop.envs.api import Bools, Split, Step, Tasks
from innerloop.envs.errors import BadInput
from innerloop.learner.algorithms import ALGORITHMS
from innerloop.learner.encoders import Observation
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.replay import Replay

SMALL = {
    "maml": {"rollouts": 4, "hidden": 8},
    "pearl": {
        "hidden": 8,
        "encoder_hidden": 8,
        "layers": 1,
        "steps_per_task": 4,
        "context": 4,
        "warm_up": 0,
        "updates_per_step": 0.1,
    },
    "promp": {"rollouts": 4, "hidden": 8, "outer_steps": 1},
    "recurrent-sac": {"hidden": 8, "trials_per_batch": 3, "warm_up": 0, "updates_per_step": 0.1},
    "rl2": {"hidden": 8, "epochs": 1, "minibatches": 1},
}
HUGE = float(np.finfo(np.float32).max)
OBSERVATIONS = {
    "scalar": spaces.Box(-1, 1, (), np.float32),
    "table": spaces.Box(-1, 1, (2, 3), np.float32),
    "float16": spaces.Box(-1, 1, (2,), np.float16),
    "float64": spaces.Box(-1, 1, (2,), np.float64),
    "uint8": spaces.Box(0, 255, (2,), np.uint8),
    "uint32": spaces.Box(0, 2**32 - 1, (2,), np.uint32),
    "uint64": spaces.Box(0, 2**64 - 1, (), np.uint64),
    "int64": spaces.Box(-(10**9), 10**9, (2,), np.int64),
    "bool": spaces.Box(0, 1, (2,), np.bool_),
    "one-value": spaces.Box(3, 3, (2,), np.float32),
    "discrete-from-5": spaces.Discrete(3, start=5),
}
ACTIONS = {
    "discrete-from-3": spaces.Discrete(2, start=3),
    "scalar": spaces.Box(-1, 1, (), np.float32),
    "table": spaces.Box(-1, 1, (2, 3), np.float32),
    "float16": spaces.Box(-1, 1, (2,), np.float16),
    "float64": spaces.Box(1e9, 1e9 + 2, (2,), np.float64),
    "above": spaces.Box(5, np.inf, (2,), np.float32),
    "below": spaces.Box(-np.inf, -3, (), np.float32),
    "largest": spaces.Box(-HUGE, HUGE, (2,), np.float32),
    "above-largest": spaces.Box(5, HUGE, (2,), np.float32),
}
UNBOUNDED = {"above", "below", "largest", "above-largest"}
USUAL = spaces.Box(-1, 1, (2,), np.float32)


class Spaces:
    """Episodes of four steps; the observation is a member of the space, the reward the action's mean."""

    horizon = 4

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.taken: list[np.ndarray] = []

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"number": rng.random(n)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> "Spaces":
        self._n, self._time = len(tasks["number"]), 0
        return self

    def reset(self, rows: Bools) -> np.ndarray:
        self._time = 0
        return self._seen()

    def step(self, action: np.ndarray) -> Step:
        assert all(self.action_space.contains(np.asarray(each)) for each in action)
        self.taken.append(action)
        self._time += 1
        cut = np.full(self._n, self._time == self.horizon)
        reward = action.reshape(self._n, -1).astype(np.float64).mean(1) / 1e9
        return Step(self._seen(), reward.astype(np.float32), np.zeros(self._n, np.bool_), cut)

    def _seen(self) -> np.ndarray:
        self.observation_space.seed(self._time)
        rows = np.array([self.observation_space.sample() for _ in range(self._n)])
        return rows % 100 if rows.dtype.itemsize >= 4 and rows.dtype.kind == "u" else rows


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("observation", "action"), [*((name, None) for name in OBSERVATIONS), *((None, name) for name in ACTIONS)]
)
def test_one_iteration(observation: str | None, action: str | None, algorithm: str) -> None:
    family = Spaces(OBSERVATIONS.get(observation or "", USUAL), ACTIONS.get(action or "", USUAL))
    experiment = Experiment(
        family_name="spaces",
        family=family,
        algorithm_name=algorithm,
        algorithm=ALGORITHMS[algorithm](**SMALL[algorithm]),
        episodes=2,
    )
    on_policy = experiment.algorithm.on_policy
    if not on_policy and action in (UNBOUNDED | {"discrete-from-3"}):
        with pytest.raises(BadInput, match="expected a bounded Box of floats"):
            Actor(experiment, seed=0)
        return
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    actor = Actor(experiment, seed=0)
    actor.load(learner.weights(), 0)
    trajectory = actor.collect(Assignment(iteration=0, part=0, trials=3))
    assert trajectory.observation.dtype == family.observation_space.dtype
    assert trajectory.observation.shape[2:] == family.observation_space.shape
    np.testing.assert_array_equal(trajectory.action, np.stack(family.taken))
    assert (np.ptp(trajectory.action, axis=(0, 1)) > 0).all()
    replay = Replay(2**20)
    if not on_policy:
        replay.append([0, 1, 2], trajectory)
    metrics = learner.update(trajectory if on_policy else replay, 0.0)
    assert all(np.isfinite(value) for value in metrics.values()), metrics
    assert learner.version == 1


@pytest.mark.parametrize(
    ("space", "members", "encoded"),
    [
        (spaces.Box(0, 255, (1,), np.uint8), [0, 255], [-1, 1]),
        (spaces.Box(0, 1000, (1,), np.uint16), [0, 500, 1000], [-1, 0, 1]),
        (spaces.Box(0, 4_000_000_000, (1,), np.uint32), [0, 2_000_000_000, 4_000_000_000], [-1, 0, 1]),
        (spaces.Box(0, 2**32 - 1, (1,), np.uint32), [0, 7], [0, np.log(8)]),  # no bound
        (spaces.Box(0, 2**64 - 1, (1,), np.uint64), [0, 7, 2**63], [0, np.log(8), 63 * np.log(2)]),
        (spaces.Box(-np.inf, np.inf, (1,), np.int64), [-(2**63), -7, 0], [-63 * np.log(2), -np.log(8), 0]),
        (spaces.Box(10**9, 10**9 + 100, (1,), np.int64), [10**9, 10**9 + 100], None),
        (spaces.Box(-100, 100, (1,), np.int8), [-100, 100], [-1, 1]),
        (spaces.Box(0, 1, (1,), np.bool_), [0, 1], [-1, 1]),
        (spaces.Box(3, 3, (1,), np.float32), [3, 3.5], [0, 0.5]),
        (spaces.Box(0, np.inf, (1,), np.float32), [0, 7], [0, 7]),
        (spaces.Box(-1e300, 1e300, (1,), np.float64), [-7, 7], [-7, 7]),
    ],
    ids=str,
)
def test_members_that_differ_look_different(
    space: spaces.Box, members: list[float], encoded: list[float] | None
) -> None:
    found = Observation(space)(torch.from_numpy(np.array(members, space.dtype)[:, None]))
    assert found.dtype == torch.float32
    assert (found.diff(dim=0).abs() > 0.1).all()
    if encoded is not None:
        np.testing.assert_allclose(found[:, 0], encoded, atol=1e-6)
