"""Every algorithm plays and learns in every space that is supported: members are stored as they are, and come through
replay, the wire, a checkpoint and an exported agent unchanged."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from small import REWARDED, SMALL

from innerloop.actors.actor import Actor, Assignment
from innerloop.actors.agent import Agent
from innerloop.distributed.store.redis.wire import decode, encode
from innerloop.distributed.store.schema import Schema
from innerloop.envs.api import Bools, Split, Step, Tasks
from innerloop.envs.boundary import parse_rows
from innerloop.envs.errors import BadInput
from innerloop.envs.spaces import layout_of, leaf_arrays, same_structure, unpack
from innerloop.learner.algorithms import ALGORITHMS
from innerloop.learner.encoders import ENCODERS, build_encoder
from innerloop.learner.encoders.flat import Flat
from innerloop.learner.encoders.split import has_image
from innerloop.learner.experiment import Experiment
from innerloop.learner.exported import check_exported
from innerloop.learner.learner import Learner
from innerloop.learner.replay import Replay

HUGE = float(np.finfo(np.float32).max)
IMAGE = spaces.Box(0, 255, (7, 7, 3), np.uint8)
OBSERVATIONS: dict[str, gymnasium.Space] = {
    "scalar": spaces.Box(-1, 1, (), np.float32),
    "table": spaces.Box(-1, 1, (2, 3), np.float32),
    "float16": spaces.Box(-1, 1, (2,), np.float16),
    "float64": spaces.Box(-1, 1, (2,), np.float64),
    "big-endian": spaces.Box(-1, 1, (2,), np.dtype(">f4")),  # pyright: ignore[reportArgumentType]
    "uint8": spaces.Box(0, 255, (2,), np.uint8),
    "uint16": spaces.Box(0, 1000, (2,), np.uint16),
    "uint32": spaces.Box(0, 2**32 - 1, (2,), np.uint32),
    "uint64": spaces.Box(0, 2**64 - 1, (), np.uint64),
    "int64": spaces.Box(-(10**9), 10**9, (2,), np.int64),
    "bool": spaces.Box(0, 1, (2,), np.bool_),  # pyright: ignore[reportCallIssue]
    "one-value": spaces.Box(3, 3, (2,), np.float32),
    "discrete-from-5": spaces.Discrete(3, start=5),
    "multi-discrete": spaces.MultiDiscrete([2, 5], start=[3, -1]),
    "multi-discrete-table": spaces.MultiDiscrete([[2, 3], [4, 1]]),
    "multi-binary": spaces.MultiBinary(3),
    "image": IMAGE,
    "image-channels-first": spaces.Box(0, 255, (3, 40, 36), np.uint8),
    "dict": spaces.Dict({"image": IMAGE, "facing": spaces.Discrete(4), "speed": spaces.Box(-1, 1, (2,), np.float64)}),
    "tuple": spaces.Tuple([spaces.MultiBinary(2), spaces.Box(-1, 1, (), np.float32)]),
    "nested": spaces.Dict(
        {"a": spaces.Tuple([spaces.Discrete(2, start=1), spaces.Dict({"b": spaces.Box(0, 1, (0,), np.float32)})])}
    ),
}
ACTIONS: dict[str, gymnasium.Space] = {
    "discrete-from-3": spaces.Discrete(2, start=3),
    "multi-discrete": spaces.MultiDiscrete([2, 5], start=[3, -1]),
    "multi-discrete-table": spaces.MultiDiscrete([[2, 3], [4, 2]]),
    "multi-binary": spaces.MultiBinary(3),
    "scalar": spaces.Box(-1, 1, (), np.float32),
    "table": spaces.Box(-1, 1, (2, 3), np.float32),
    "float16": spaces.Box(-1, 1, (2,), np.float16),
    "float64": spaces.Box(1e9, 1e9 + 2, (2,), np.float64),
    "above": spaces.Box(5, np.inf, (2,), np.float32),
    "below": spaces.Box(-np.inf, -3, (), np.float32),
    "mixed": spaces.Box(np.float32([-2, 5, -np.inf, -np.inf]), np.float32([2, np.inf, -3, np.inf])),
    "largest": spaces.Box(-HUGE, HUGE, (2,), np.float32),
    "above-largest": spaces.Box(5, HUGE, (2,), np.float32),
}
USUAL = spaces.Box(-1, 1, (2,), np.float32)


def members(space: gymnasium.Space, n: int, seed: int) -> Any:
    """n members as an environment of that many gives them, [n, ...], by entry."""
    space.seed(seed)
    rows = np.stack([parse_rows("a member", member(space), space, None) for _ in range(n)])
    return unpack(space, rows)


def member(space: gymnasium.Space) -> Any:
    found = space.sample()
    wide = isinstance(found, np.ndarray) and found.dtype.itemsize >= 4 and found.dtype.kind == "u"
    return found % 100 if wide else found


class Spaces:
    """Episodes of four steps; the observation is a member of the space, the reward the action's mean."""

    horizon = 4

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.taken: list[np.ndarray] = []
        self.seen: list[Any] = []

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"number": rng.random(n)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> "Spaces":
        self._n, self._time = len(tasks["number"]), 0
        return self

    def reset(self, rows: Bools) -> Any:
        self._time = 0
        return self._seen()

    def step(self, action: np.ndarray) -> Step:
        assert all(self.action_space.contains(np.asarray(each, self.action_space.dtype)) for each in action)
        self.taken.append(action)
        self._time += 1
        cut = np.full(self._n, self._time == self.horizon)
        reward = action.reshape(self._n, -1).astype(np.float64).mean(1) / 1e9
        return Step(self._seen(), reward.astype(np.float32), np.zeros(self._n, np.bool_), cut)

    def _seen(self) -> Any:
        self.seen.append(members(self.observation_space, self._n, self._time))
        return self.seen[-1]


def experiment_in(observation: gymnasium.Space, action: gymnasium.Space, algorithm: str, **options: Any) -> Experiment:
    return Experiment(
        family_name="spaces",
        family=Spaces(observation, action),
        algorithm_name=algorithm,
        algorithm=ALGORITHMS[algorithm](**SMALL[algorithm], **options),
        episodes=2,
    )


@pytest.mark.parametrize("algorithm", REWARDED)
@pytest.mark.parametrize(
    ("observation", "action"), [*((name, None) for name in OBSERVATIONS), *((None, name) for name in ACTIONS)]
)
def test_one_iteration(observation: str | None, action: str | None, algorithm: str) -> None:
    experiment = experiment_in(OBSERVATIONS.get(observation or "", USUAL), ACTIONS.get(action or "", USUAL), algorithm)
    family, on_policy = experiment.family, experiment.learns_fresh
    assert isinstance(family, Spaces)
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    actor, assignment = Actor(experiment, seed=0), Assignment(iteration=0, part=0, trials=3, episodes=2)
    actor.load(learner.acting_weights(), 0)
    trajectory = actor.collect(assignment)
    shape, dtype = layout_of(family.observation_space)
    assert (trajectory.observation.dtype, trajectory.observation.shape[2:]) == (dtype, shape)
    for stored, seen in zip(trajectory.observation[:4], family.seen, strict=False):  # of the first episode
        expected = parse_rows("what was seen", seen, family.observation_space, len(stored))
        np.testing.assert_array_equal(stored, expected)
    np.testing.assert_array_equal(trajectory.action, np.stack(family.taken))
    assert (np.ptp(trajectory.action, axis=(0, 1)) > 0).all()

    schema = Schema.of(experiment, learner.model, iterations=1, parts=1, tasks=0)
    rows = trajectory.reward.shape[1]
    for found in (trajectory, decode(encode(assignment, trajectory))[1]):
        if on_policy:  # the others' notes are not sent
            schema.check(assignment._replace(trials=3), found)
        np.testing.assert_array_equal(found.observation, trajectory.observation)
        assert found.observation.dtype == trajectory.observation.dtype

    replay, again = Replay(2**22), Replay(2**22)
    if not on_policy:
        replay.append([0, 1, 2], trajectory)
        exported = replay.export()
        check_exported(exported, 1, problem=experiment.problem, tasks=3)
        again.restore(exported)
        np.testing.assert_array_equal(again.export()["observation"], exported["observation"])
    before = learner.weights()
    metrics = learner.update(trajectory if on_policy else again, 0.0)
    assert all(np.isfinite(value) for value in metrics.values()), metrics
    assert learner.version == 1
    after = learner.weights()
    if observation in ("image", "image-channels-first", "dict"):
        learned = {name for name in after if name.startswith("observation.")}
        assert learned
        assert all(not np.array_equal(before[name], after[name]) for name in learned), learned

    other = Learner(experiment.algorithm, experiment.problem, seed=1, device="cpu", threads=1)
    other.load(*learner.state())
    agent = Agent(experiment, experiment.algorithm.inner_loop(other.model, experiment.problem))
    agent.begin_trial(rows)
    zeros, no = np.zeros(rows, np.float32), np.zeros(rows, np.bool_)
    given = agent.act(members(family.observation_space, rows, 0), zeros, no)
    assert all(family.action_space.contains(np.asarray(each, family.action_space.dtype)) for each in given)


@pytest.mark.parametrize("algorithm", REWARDED)
@pytest.mark.parametrize("encoder", [*ENCODERS, "mlp,width=6,layers=2", "cnn,width=6,channels=4"])
def test_every_encoder_reads_several_entries(encoder: str, algorithm: str) -> None:
    experiment = experiment_in(OBSERVATIONS["dict"], USUAL, algorithm, encoder=encoder)
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=2)
    actor = Actor(experiment, seed=0)
    actor.load(learner.acting_weights(), 0)
    trajectory, replay = actor.collect(Assignment(iteration=0, part=0, trials=3)), Replay(2**22)
    if not experiment.learns_fresh:
        replay.append([0, 1, 2], trajectory)
    metrics = learner.update(trajectory if experiment.learns_fresh else replay, 0.0)
    assert all(np.isfinite(value) for value in metrics.values()), metrics


@pytest.mark.parametrize("name", OBSERVATIONS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_an_encoders_features_are_finite_and_the_same_one_by_one(encoder: str, name: str) -> None:
    space = OBSERVATIONS[name]
    if encoder == "cnn" and not any(len(leaf.space.shape or ()) in (2, 3) for leaf, _ in leaf_arrays_of(space)):
        with pytest.raises(BadInput, match="expected a Box with two or three axes for cnn"):
            build_encoder(encoder, space)
        return
    if encoder == "cnn" and "multi" in name:
        return
    if encoder == "conv4" and not has_image(space):
        with pytest.raises(BadInput, match="expected an image, uint8 with three axes, for conv4"):
            build_encoder(encoder, space)
        return
    made = build_encoder(encoder, space)
    rows = torch.from_numpy(parse_rows("members", members(space, 6, 0), space, 6))
    with torch.no_grad():
        whole = made(rows)
        assert whole.shape == (6, made.width)
        assert whole.dtype == torch.float32
        assert whole.isfinite().all()
        folded = made(rows.reshape(2, 3, *rows.shape[1:])).reshape(6, -1)
        torch.testing.assert_close(folded, whole, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(torch.stack([made(row) for row in rows]), whole, atol=1e-5, rtol=1e-5)
    if name not in ("one-value", "nested", "uint64"):
        assert len(whole.unique(dim=0)) > 1


def leaf_arrays_of(space: gymnasium.Space) -> list[tuple[Any, np.ndarray]]:
    shape, dtype = layout_of(space)
    return [*leaf_arrays(space, np.zeros((1, *shape), dtype))]


def test_an_image_that_uses_a_tenth_of_its_range_is_told_from_another() -> None:
    """As pictures whose numbers are ids of objects do."""
    torch.manual_seed(0)
    made = build_encoder("auto", IMAGE)
    rng = np.random.default_rng(0)
    ids, pixels = (torch.from_numpy(rng.integers(0, most, (50, 7, 7, 3)).astype(np.uint8)) for most in (10, 256))
    with torch.no_grad():
        assert made(ids).std(0).mean() > 0.2 * made(pixels).std(0).mean()


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_a_space_has_its_own_structure_alone(name: str) -> None:
    for other, space in OBSERVATIONS.items():
        assert same_structure(OBSERVATIONS[name], space) == (
            name == other or {name, other} == {"big-endian", "one-value"}
        )


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"image": 0}, r"'facing' of|is with 'image'; expected a mapping with"),
        ([0, 0, 0], r"is \[0, 0, 0\]; expected a mapping with 'facing', 'image', 'speed'"),
        (
            {"image": np.zeros((2, 7, 7, 3)), "facing": [0, 4], "speed": np.zeros((2, 2))},
            r"'facing' of .* is \[0 4\]; ",
        ),
        ({"image": np.zeros((2, 7, 7, 3)), "facing": [0, 1], "speed": np.zeros((2, 3))}, r"the shape of 'speed' of "),
        ({"image": np.full((2, 7, 7, 3), 256), "facing": [0, 1], "speed": np.zeros((2, 2))}, r"'image' of .* is 256; "),
        (
            {"image": np.zeros((2, 7, 7, 3)), "facing": [0, 1], "speed": np.zeros((2, 2)), "more": 0},
            r"is with 'image', 'facing', 'speed', 'more'; expected a mapping with",
        ),
    ],
)
def test_entries_that_are_none_of_the_spaces_are_refused_and_named(given: Any, fault: str) -> None:
    with pytest.raises(BadInput, match=rf"^.*{fault}[^\n]*\.$"):
        parse_rows("the observation", given, OBSERVATIONS["dict"], 2)


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
        (spaces.Box(0, 1, (1,), np.bool_), [0, 1], [-1, 1]),  # pyright: ignore[reportCallIssue]
        (spaces.Box(3, 3, (1,), np.float32), [3, 3.5], [0, 0.5]),
        (spaces.Box(0, np.inf, (1,), np.float32), [0, 7], [0, 7]),
        (spaces.Box(-1e300, 1e300, (1,), np.float64), [-7, 7], [-7, 7]),
        (spaces.MultiDiscrete([3], start=[4]), [4, 5, 6], [1, -1, -1]),
        (spaces.MultiBinary(1), [0, 1], [-1, 1]),
    ],
    ids=str,
)
def test_members_that_differ_look_different(
    space: spaces.Box, members: list[float], encoded: list[float] | None
) -> None:
    found = Flat(space)(torch.from_numpy(np.array(members, space.dtype)[:, None]))
    assert found.dtype == torch.float32
    assert (found.diff(dim=0).abs().sum(-1) > 0.1).all()
    if encoded is not None:
        np.testing.assert_allclose(found[:, 0], encoded, atol=1e-6)
