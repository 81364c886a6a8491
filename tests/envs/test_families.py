"""The contract that every family of MDPs keeps. A new family is in `FAMILIES`, so it is tested here too."""

import pickle
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from innerloop.envs.api import Split, Step, TaskFamily, Tasks, VectorEnv
from innerloop.envs.bandit import CorrelatedBandit
from innerloop.envs.families import FAMILIES
from innerloop.envs.seeding import streams
from innerloop.envs.tabular import TabularMDP

SPLITS: tuple[Split, ...] = ("train", "test")
SHORT = {"ant-dir", "ant-goal", "half-cheetah-dir", "half-cheetah-vel", "humanoid-dir", "walker2d-params"}
"""Families of long episodes, which these tests cut short."""
EVERY = [
    *(pytest.param(partial(make, horizon=20) if name in SHORT else make, id=name) for name, make in FAMILIES.items()),
    pytest.param(lambda: CorrelatedBandit(level="hard"), id="correlated-bandit-hard"),
    pytest.param(lambda: TabularMDP(states=3, actions=2, horizon=4), id="tabular-mdp-small"),
    pytest.param("pendulum", id="gymnasium-continuous-tasks"),
    pytest.param("cartpole", id="gymnasium-finite-tasks"),
]
SHARED = {"correlated-bandit-hard", "half-cheetah-dir"}
"""Families that declare that train and test share their tasks."""
every_family = pytest.mark.parametrize("family", EVERY, indirect=True)
N = 7
ALL = np.ones(N, np.bool_)


def begin(family: TaskFamily, seed: int = 0, split: Split = "train") -> VectorEnv:
    rng = np.random.default_rng(seed)
    return family.make(family.sample(rng, N, split), rng)


def some_actions(space: gymnasium.Space, steps: int) -> np.ndarray:
    space.seed(5)
    return np.array([[space.sample() for _ in range(N)] for _ in range(steps)])


def members(space: gymnasium.Space, observation: np.ndarray) -> None:
    assert observation.shape == (N, *(space.shape or ()))
    assert observation.dtype == space.dtype
    for row in observation:
        assert space.contains(row), f"{row} is not a member of {space}"


def ended(step: Step) -> np.ndarray:
    return step.terminated | step.truncated


def given(step: Step) -> list[np.ndarray]:
    """A step's arrays."""
    return [*step[:6], *step.privileged.values(), *step.measures.values()]


def rows_of(tasks: Tasks) -> set[bytes]:
    """Every task as its bits."""
    n = len(next(iter(tasks.values())))
    return {b"".join(np.ascontiguousarray(tasks[name][i]).tobytes() for name in sorted(tasks)) for i in range(n)}


@every_family
def test_spaces_are_discrete_or_box_and_the_horizon_a_number_of_steps(family: TaskFamily) -> None:
    for space in (family.observation_space, family.action_space):
        assert isinstance(space, spaces.Discrete | spaces.Box)
    assert isinstance(family.horizon, int)
    assert family.horizon >= 1


@pytest.mark.parametrize("split", SPLITS)
@every_family
def test_tasks_are_arrays_with_one_row_each(family: TaskFamily, split: Split) -> None:
    for n in (1, N):
        tasks = family.sample(np.random.default_rng(0), n, split)
        assert tasks
        for name, array in tasks.items():
            assert isinstance(name, str)
            assert isinstance(array, np.ndarray)
            assert array.dtype != np.object_
            assert len(array) == n


@pytest.mark.parametrize("split", SPLITS)
@every_family
def test_what_a_step_gives_has_the_types_and_is_in_the_spaces(family: TaskFamily, split: Split) -> None:
    env = begin(family, split=split)
    members(family.observation_space, env.reset(ALL))
    for action in some_actions(family.action_space, 2 * family.horizon):
        step = env.step(action)
        members(family.observation_space, step.observation)
        assert step.reward.dtype == np.float32
        assert np.isfinite(step.reward).all()
        for flag in (step.terminated, step.truncated):
            assert flag.dtype == np.bool_
            assert flag.shape == (N,)
        assert step.reward.shape == (N,)
        if ended(step).any():
            members(family.observation_space, env.reset(ended(step)))


@every_family
def test_an_episode_ends_by_the_horizon_whatever_happens_to_other_rows(family: TaskFamily) -> None:
    """Row 0 is begun again early, over and over: the clocks of the other rows must not notice."""
    env = begin(family)
    env.reset(ALL)
    length, episodes = np.zeros(N, np.int64), 0
    for t, action in enumerate(some_actions(family.action_space, 4 * family.horizon)):
        step = env.step(action)
        length += 1
        assert (length <= family.horizon).all()
        again = ended(step)
        episodes += int(again[1:].sum())
        if t % max(family.horizon // 2, 1) == 0:
            again[0] = True
        if again.any():
            env.reset(again)
            length[again] = 0
    assert episodes >= 4 * (N - 1)


@every_family
def test_reset_leaves_the_other_rows_where_they_are(family: TaskFamily) -> None:
    env, rows = begin(family), np.arange(N) % 2 == 0
    env.reset(ALL)
    for action in some_actions(family.action_space, max(family.horizon // 2, 1)):
        before = env.step(action).observation.copy()
        after = env.reset(rows)
        members(family.observation_space, after)
        np.testing.assert_array_equal(after[~rows], before[~rows])


@every_family
def test_a_row_whose_episode_has_ended_can_be_stepped_on(family: TaskFamily) -> None:
    """And then begins anew when it is asked to."""
    env = begin(family)
    env.reset(ALL)
    for action in some_actions(family.action_space, 3 * family.horizon):
        members(family.observation_space, env.step(action).observation)
    env.reset(ALL)
    lengths = np.zeros(N, np.int64)
    over = np.zeros(N, np.bool_)
    for action in some_actions(family.action_space, family.horizon):
        lengths += ~over
        over |= ended(env.step(action))
    assert over.all()
    if family.horizon > 1:
        assert (lengths > 1).any()


@every_family
def test_the_same_generator_gives_the_same_bits(family: TaskFamily) -> None:
    def record(seed: int) -> list[np.ndarray]:
        env = begin(family, seed)
        tasks = family.sample(np.random.default_rng(seed), N, "train")
        arrays = [*tasks.values(), env.reset(ALL).copy()]
        for action in some_actions(family.action_space, 2 * family.horizon):
            step = env.step(action)
            arrays += [np.array(array) for array in given(step)]
            if ended(step).any():
                arrays.append(env.reset(ended(step)).copy())
        return arrays

    first, second, other = record(1), record(1), record(2)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    same = len(first) == len(other) and all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert not same


@every_family
def test_what_the_caller_keeps_of_a_step_is_not_written_over(family: TaskFamily) -> None:
    env = begin(family)
    kept = [env.reset(ALL)]
    copies = [kept[0].copy()]
    for action in some_actions(family.action_space, family.horizon + 2):
        step = env.step(action)
        arrays = [*given(step), env.reset(ended(step))]
        kept += arrays
        copies += [array.copy() for array in arrays]
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@every_family
def test_tasks_come_from_the_generator_alone(family: TaskFamily) -> None:
    first = family.sample(np.random.default_rng(1), 50, "train")
    np.random.seed(0)  # noqa: NPY002  what must not matter
    family.sample(np.random.default_rng(9), 3, "test")
    second = family.sample(np.random.default_rng(1), 50, "train")
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
    assert len(rows_of(first)) > 1


@every_family
def test_some_of_the_tasks_make_the_same_mdps_as_all(family: TaskFamily) -> None:
    """Tasks travel as rows: one can be taken out and made alone."""
    tasks = family.sample(np.random.default_rng(0), N, "train")
    env = family.make({name: array[2:3] for name, array in tasks.items()}, np.random.default_rng(0))
    observation = env.reset(np.ones(1, np.bool_))
    step = env.step(some_actions(family.action_space, 1)[0, :1])
    assert observation.shape == step.observation.shape == (1, *(family.observation_space.shape or ()))


@every_family
def test_a_family_travels(family: TaskFamily) -> None:
    """Pickled, as to an actor, it samples the same tasks and makes the same MDPs."""
    copy = pickle.loads(pickle.dumps(family))
    steps = []
    for each in (family, copy):
        env = begin(each, seed=4)
        env.reset(ALL)
        steps.append(env.step(some_actions(family.action_space, 1)[0]))
    for a, b in zip(*steps, strict=True):
        np.testing.assert_array_equal(a, b)


@every_family
def test_training_and_test_tasks_are_disjoint(family: TaskFamily, request: pytest.FixtureRequest) -> None:
    """Over a few thousand draws, from the streams that actors and evaluation use."""
    train: set[bytes] = set()
    for iteration in range(3):
        train |= rows_of(family.sample(streams(0, "train", iteration, 0).tasks, 1000, "train"))
    test = rows_of(family.sample(streams(0, "test", 0).tasks, 3000, "test"))
    if request.node.callspec.id in SHARED:
        assert train == test
    else:
        assert not train & test
