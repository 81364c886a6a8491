"""Points in the plane, against one point that is walked step by step."""

import math

import numpy as np
import pytest

from innerloop.envs.api import TaskFamily
from innerloop.envs.errors import BadInput
from innerloop.envs.navigation import PointNavigation, SparsePointNavigation
from innerloop.envs.trials import Trials

FAMILIES = {
    "dense": PointNavigation(horizon=12),
    "sparse": SparsePointNavigation(horizon=12),
    "small-disc": SparsePointNavigation(horizon=12, radius=0.05),
}
by_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def walk(family: TaskFamily, goal: np.ndarray, actions: np.ndarray) -> list[tuple[float, float, float, bool, bool]]:
    """One point from the origin: (x, y, reward, terminated, truncated) of every step, in float64."""
    x = y = 0.0
    seen = []
    for t, (right, up) in enumerate(actions):
        x, y = x + min(max(right, -0.1), 0.1), y + min(max(up, -0.1), 0.1)
        distance = math.hypot(x - goal[0], y - goal[1])
        if isinstance(family, PointNavigation):
            reward, terminated = -distance, distance <= 0.01
        else:
            reward, terminated = (1 - distance if distance <= family.radius else 0.0), False
        seen.append((x, y, reward, terminated, not terminated and t + 1 >= family.horizon))
    return seen


def towards(goal: np.ndarray, position: np.ndarray) -> np.ndarray:
    """As far towards the goal as a step goes."""
    return np.clip(goal - position, -0.1, 0.1)


@by_family
def test_every_step_is_that_of_one_point_walked_alone(family: TaskFamily) -> None:
    """Every other row heads for its goal, the rest wander; all try to walk further than they may."""
    rng, n = np.random.default_rng(0), 40
    tasks = family.sample(rng, n, "train")
    env, everyone = family.make(tasks, rng), np.ones(n, np.bool_)
    position = env.reset(everyone)
    np.testing.assert_array_equal(position, np.zeros((n, 2)))
    actions, steps = [], []
    for _ in range(family.horizon):
        wander = 0.3 * rng.standard_normal((n, 2))
        action = np.where(np.arange(n)[:, None] % 2, wander, towards(tasks["goal"], position)).astype(np.float32)
        step = env.step(action)
        position = step.observation
        actions.append(action)
        steps.append(step)
    rewarded = 0
    for row in range(n):
        expected = walk(family, tasks["goal"][row].astype(np.float64), np.stack(actions)[:, row].astype(np.float64))
        for step, (x, y, reward, terminated, truncated) in zip(steps, expected, strict=True):
            np.testing.assert_allclose(step.observation[row], (x, y), atol=1e-6)
            assert step.reward[row] == pytest.approx(reward, abs=1e-6)
            assert (step.terminated[row], step.truncated[row]) == (terminated, truncated)
            rewarded += reward != 0
    assert rewarded > 0
    assert all(step.reward.dtype == step.observation.dtype == np.float32 for step in steps)


def test_who_walks_straight_arrives_and_the_episode_is_terminated() -> None:
    family = PointNavigation(horizon=20)
    tasks = {"goal": np.float32([[0.35, -0.2], [0.5, 0.5], [-0.1, 0.0]])}
    env = family.make(tasks, np.random.default_rng(0))
    position, arrived = env.reset(np.ones(3, np.bool_)), np.zeros(3, np.int64)
    for t in range(1, 7):
        step = env.step(towards(tasks["goal"], position))
        position = step.observation
        arrived = np.where(step.terminated & (arrived == 0), t, arrived)
        assert not step.truncated.any()
    assert arrived.tolist() == [4, 5, 1]


def test_an_arrival_at_the_last_step_is_termination_and_not_truncation() -> None:
    env = PointNavigation(horizon=1).make({"goal": np.float32([[0.1, 0], [0.3, 0]])}, np.random.default_rng(0))
    env.reset(np.ones(2, np.bool_))
    step = env.step(np.float32([[0.1, 0], [0.1, 0]]))
    assert step.terminated.tolist() == [True, False]
    assert step.truncated.tolist() == [False, True]


@by_family
def test_a_row_that_is_reset_begins_at_the_origin_and_no_other_does(family: TaskFamily) -> None:
    env = family.make({"goal": np.float32([[0, 1], [1, 0], [0.5, 0.5]])}, np.random.default_rng(0))
    env.reset(np.ones(3, np.bool_))
    for _ in range(family.horizon - 1):
        seen = env.step(np.full((3, 2), 0.05, np.float32)).observation
    after = env.reset(np.array([False, True, False]))
    np.testing.assert_array_equal(after[1], [0, 0])
    np.testing.assert_array_equal(after[[0, 2]], seen[[0, 2]])
    assert env.step(np.zeros((3, 2), np.float32)).truncated.tolist() == [True, False, True]  # its clock too


@by_family
def test_what_was_returned_does_not_change_with_the_next_step(family: TaskFamily) -> None:
    env = family.make({"goal": np.float32([[0, 1], [1, 0]])}, np.random.default_rng(0))
    first = env.reset(np.ones(2, np.bool_))
    second = env.step(np.full((2, 2), 0.1, np.float32)).observation
    kept = first.copy(), second.copy()
    env.step(np.full((2, 2), 0.1, np.float32))
    env.reset(np.ones(2, np.bool_))
    np.testing.assert_array_equal(first, kept[0])
    np.testing.assert_array_equal(second, kept[1])


def test_a_goal_counts_as_reached_where_there_is_a_reward() -> None:
    """`reached` is "ever": also in an episode that has walked on since."""
    family, goal = SparsePointNavigation(horizon=4, radius=0.05), np.float32([[0.1, 0], [1, 0], [0.1, 0.1]])
    trials = Trials(family, {"goal": goal}, 2, np.random.default_rng(0))
    for right, up in [(0.1, 0.0), (0.1, 0.0), (0.1, 0.0), (0.1, 0.0)] + [(0.0, 0.0)] * 3 + [(0.1, 0.1)]:
        trials.step(np.tile(np.float32([right, up]), (3, 1)))
    found = trials.measures.by_episode(2)["reached"]
    np.testing.assert_array_equal(found, [[1, 0], [0, 0], [0, 1]])


def test_dense_goals_fill_the_square() -> None:
    goals = PointNavigation().sample(np.random.default_rng(0), 20_000, "test")["goal"]
    assert goals.dtype == np.float32
    assert (np.abs(goals) <= 0.5).all()
    counts, *_ = np.histogram2d(*goals.T, bins=4, range=[(-0.5, 0.5)] * 2)
    assert (np.abs(counts - 1250) < 5 * math.sqrt(1250)).all()


def test_standing_still_costs_what_the_papers_figure_says() -> None:
    """38.3 in a hundred steps on average (the mean distance from the middle of a unit square to a point of it)."""
    goals = PointNavigation().sample(np.random.default_rng(0), 20_000, "train")["goal"]
    assert 100 * np.linalg.norm(goals, axis=1).mean() == pytest.approx(38.3, abs=0.4)


def test_sparse_goals_lie_on_the_half_circle_and_no_test_goal_is_trained_on() -> None:
    family, rng = SparsePointNavigation(), np.random.default_rng(0)
    members = {}
    for split, number in (("train", 80), ("test", 20)):
        goals = family.sample(rng, 5_000, split)["goal"]
        np.testing.assert_allclose(np.linalg.norm(goals, axis=1), 1, atol=1e-6)
        assert (goals[:, 1] >= -1e-6).all()
        members[split] = {tuple(goal) for goal in goals.tolist()}
        assert len(members[split]) == number
    assert not members["train"] & members["test"]
    angles = np.sort([math.atan2(y, x) for x, y in members["train"] | members["test"]])
    np.testing.assert_allclose(np.diff(angles), math.pi / 99, atol=1e-5)


def test_the_splits_are_the_same_whoever_draws() -> None:
    family = SparsePointNavigation()
    members = [
        {tuple(goal) for goal in family.sample(np.random.default_rng(seed), 5_000, "test")["goal"].tolist()}
        for seed in (1, 2)
    ]
    assert members[0] == members[1]


@pytest.mark.parametrize(
    ("family", "option", "value"),
    [
        (PointNavigation, "horizon", 0),
        (SparsePointNavigation, "horizon", -1),
        (SparsePointNavigation, "radius", 0.0),
        (SparsePointNavigation, "radius", float("nan")),
        (SparsePointNavigation, "radius", float("inf")),
    ],
)
def test_an_option_out_of_range_is_refused_in_one_sentence(family: type, option: str, value: float) -> None:
    with pytest.raises(BadInput, match=rf"^{option} is {value}; expected .*\.$"):
        family(**{option: value})
