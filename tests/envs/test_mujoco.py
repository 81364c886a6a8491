"""The MuJoCo families: they move and pay as Gymnasium's environments do, to the bit, over whole episodes."""

from collections.abc import Callable
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv

from innerloop.envs.api import Split, TaskFamily, Tasks
from innerloop.envs.locomotion import Locomotion
from innerloop.envs.mujoco import (
    FACTORS,
    AntDir,
    AntGoal,
    HalfCheetahDir,
    HalfCheetahVel,
    HumanoidDir,
    Walker2DParams,
)
from innerloop.envs.physics import load
from innerloop.envs.trials import Trials

Slow = Callable[[MujocoEnv, dict, dict, np.ndarray], float]
"""A reward as its definition has it: from Gymnasium's simulation, its info, the row's task and the action."""


def forces(env: MujocoEnv) -> np.ndarray:
    return env.data.cfrc_ext.ravel()


def along(info: dict, task: dict) -> float:
    return info["x_velocity"] * np.cos(task["angle"]) + info["y_velocity"] * np.sin(task["angle"])


def cheetah_vel(env: MujocoEnv, info: dict, task: dict, a: np.ndarray) -> float:
    return -abs(info["x_velocity"] - task["velocity"]) - 0.05 * (a @ a)


def cheetah_dir(env: MujocoEnv, info: dict, task: dict, a: np.ndarray) -> float:
    return task["direction"] * info["x_velocity"] - 0.05 * (a @ a)


def ant_goal(env: MujocoEnv, info: dict, task: dict, a: np.ndarray) -> float:
    distance = np.abs(env.data.qpos[:2] - task["goal"]).sum()
    return -distance - 0.1 * (a @ a) - 5e-4 * sum(min(max(f, -1), 1) ** 2 for f in forces(env))


def ant_dir(env: MujocoEnv, info: dict, task: dict, a: np.ndarray) -> float:
    return along(info, task) + 1 - 0.5 * (a @ a) - 5e-4 * sum(min(max(f, -1), 1) ** 2 for f in forces(env))


def humanoid_dir(env: MujocoEnv, info: dict, task: dict, a: np.ndarray) -> float:
    return 1.25 * along(info, task) + 5 - 0.1 * (a @ a) - min(5e-7 * sum(f**2 for f in forces(env)), 10)


def walker_params(env: MujocoEnv, info: dict, task: dict, a: np.ndarray) -> float:
    return info["x_velocity"] + 1 - 1e-3 * (a @ a)


STATE_ONLY = {
    "include_cinert_in_observation": False,
    "include_cvel_in_observation": False,
    "include_qfrc_actuator_in_observation": False,
    "include_cfrc_ext_in_observation": False,
}
CASES = [
    pytest.param(HalfCheetahVel(), cheetah_vel, "HalfCheetah-v5", {}, id="half-cheetah-vel"),
    pytest.param(HalfCheetahDir(), cheetah_dir, "HalfCheetah-v5", {}, id="half-cheetah-dir"),
    pytest.param(
        AntGoal(),
        ant_goal,
        "Ant-v5",
        {"include_cfrc_ext_in_observation": False, "exclude_current_positions_from_observation": False},
        id="ant-goal",
    ),
    pytest.param(AntDir(), ant_dir, "Ant-v5", {"include_cfrc_ext_in_observation": False}, id="ant-dir"),
    pytest.param(HumanoidDir(), humanoid_dir, "Humanoid-v5", STATE_ONLY, id="humanoid-dir"),
    pytest.param(Walker2DParams(), walker_params, "Walker2d-v5", {}, id="walker-2d-params"),
]
every_family = pytest.mark.parametrize(("family", "slow", "name", "options"), CASES)


def gym(name: str, options: dict) -> MujocoEnv:
    env = gymnasium.make(name, disable_env_checker=True, **options).unwrapped
    assert isinstance(env, MujocoEnv)
    return env


def begin(family: TaskFamily, n: int, seed: int = 0, split: Split = "train") -> tuple[Locomotion, Tasks]:
    rng = np.random.default_rng(seed)
    tasks = family.sample(rng, n, split)
    env = family.make(tasks, rng)
    assert isinstance(env, Locomotion)
    env.reset(np.ones(n, np.bool_))
    return env, tasks


def some_actions(family: TaskFamily, steps: int, n: int) -> np.ndarray:
    space = family.action_space
    assert isinstance(space, spaces.Box)
    return np.random.default_rng(7).uniform(space.low, space.high, (steps, n, *space.shape)).astype(np.float32)


@every_family
def test_every_row_is_gymnasiums_environment_for_a_whole_episode(
    family: TaskFamily, slow: Slow, name: str, options: dict
) -> None:
    """Same state to begin with, same actions, 200 steps, and nothing put right in between.

    Equal bits are the only law that can hold for so long: moved by 1e-15 at the start, Gymnasium's own cheetah and ant
    are more than 1e-6 from where they would have been after 57 to 119 steps.
    """
    n = 2
    env, tasks = begin(family, n)
    singles, start = [gym(name, options) for _ in range(n)], env.simulations
    for row, single in enumerate(singles):
        for array in FACTORS.keys() & tasks.keys():
            getattr(single.model, array)[:] *= tasks[array][row]
        mujoco.mj_setConst(single.model, mujoco.MjData(single.model))
        mujoco.mj_resetData(single.model, single.data)
        single.set_state(start.qpos[row].copy(), start.qvel[row].copy())
    for t, actions in enumerate(some_actions(family, 200, n)):
        step = env.step(actions)
        for row, single in enumerate(singles):
            observation, _, terminated, _, info = single.step(actions[row])
            np.testing.assert_array_equal(step.observation[row], observation.astype(np.float32), err_msg=f"step {t}")
            task = {key: array[row] for key, array in tasks.items()}
            expected = slow(single, info, task, actions[row].astype(np.float64))
            assert abs(step.reward[row] - expected) <= 1e-6 * (1 + abs(expected)), f"step {t}"
            assert step.terminated[row] == (terminated and isinstance(family, Walker2DParams))
    assert step.truncated.all() or step.terminated.any()


@pytest.mark.parametrize(
    ("family", "task", "name", "options"),
    [
        (HalfCheetahDir(), {"direction": 1.0}, "HalfCheetah-v5", {"ctrl_cost_weight": 0.05}),
        (AntDir(), {"angle": 0.0}, "Ant-v5", {"include_cfrc_ext_in_observation": False}),
        (HumanoidDir(), {"angle": 0.0}, "Humanoid-v5", STATE_ONLY),
        (Walker2DParams(), {key: np.ones(shape) for key, (_, *shape) in FACTORS.items()}, "Walker2d-v5", {}),
    ],
    ids=["half-cheetah", "ant", "humanoid", "walker"],
)
def test_gymnasiums_first_states_and_its_own_reward(family: TaskFamily, task: dict, name: str, options: dict) -> None:
    """For tasks that are Gymnasium's own, over two episodes, while it calls the body healthy: then its bonus ends."""
    single = gym(name, options)
    env = family.make({key: np.asarray(value)[None] for key, value in task.items()}, np.random.default_rng(3))
    for seed in (3, None):  # the second time, both generators go on
        first, _ = single.reset(seed=seed)
        np.testing.assert_array_equal(env.reset(np.ones(1, np.bool_))[0], first.astype(np.float32))
        steps = 0
        for action in some_actions(family, 200, 1):
            observation, reward, terminated, _, _ = single.step(action[0])
            step = env.step(action)
            if terminated:
                break
            np.testing.assert_array_equal(step.observation[0], observation.astype(np.float32))
            assert abs(step.reward[0] - reward) <= 1e-6 * (1 + abs(reward))
            steps += 1
        assert steps >= 5


@every_family
def test_spaces_are_gymnasiums(family: TaskFamily, slow: Slow, name: str, options: dict) -> None:
    single = gym(name, options)
    assert family.observation_space.shape == single.observation_space.shape
    assert family.observation_space.dtype == np.float32
    assert family.action_space == single.action_space


@every_family
def test_a_batch_is_its_rows(family: TaskFamily, slow: Slow, name: str, options: dict) -> None:
    """And a row that is begun again, or given other actions, does not reach into the others."""
    n, steps = 3, 40
    together, tasks = begin(family, n)
    first = together.simulations.state.copy()
    actions = some_actions(family, steps, n)
    alone = []
    for row in range(n):
        env = family.make({key: array[row : row + 1] for key, array in tasks.items()}, np.random.default_rng(0))
        assert isinstance(env, Locomotion)
        env.simulations.place(np.ones(1, np.bool_), *np.split(first[row : row + 1], [env.simulations.qpos.shape[1]], 1))
        alone.append(env)
    for t in range(steps):
        step = together.step(actions[t])
        for row in (0, 2):
            single = alone[row].step(actions[t, row : row + 1])
            for ours, its in zip(step[:5], single[:5], strict=True):
                np.testing.assert_array_equal(ours[row], its[0])
        if t % 10 == 5:
            together.reset(np.array([False, True, False]))


@pytest.mark.parametrize("family", [HalfCheetahVel(horizon=3), AntDir(horizon=3), HumanoidDir(horizon=3)])
def test_an_episode_is_truncated_at_the_horizon(family: TaskFamily) -> None:
    env, _ = begin(family, 2)
    actions = some_actions(family, 6, 2)
    for t in range(2):
        assert not env.step(actions[t]).truncated.any()
    env.reset(np.array([True, False]))
    np.testing.assert_array_equal(env.step(actions[2]).truncated, [False, True])
    env.reset(np.array([False, True]))
    np.testing.assert_array_equal(env.step(actions[3]).truncated, [False, False])
    step = env.step(actions[4])
    np.testing.assert_array_equal(step.truncated, [True, False])
    assert not step.terminated.any()


def test_a_walker_that_has_fallen_is_terminated_not_truncated() -> None:
    env, _ = begin(Walker2DParams(horizon=1), 4)
    poses = env.simulations.qpos.copy()
    poses[0, 1], poses[1, 1], poses[2, 2] = 0.7, 2.2, 1.1
    env.simulations.place(np.ones(4, np.bool_), poses, np.zeros_like(poses))
    step = env.step(np.zeros((4, 6), np.float32))
    np.testing.assert_array_equal(step.terminated, [True, True, True, False])
    np.testing.assert_array_equal(step.truncated, [False, False, False, True])


@pytest.mark.parametrize("cause", ["velocity", "action", "nan"])
@every_family
def test_a_simulation_that_breaks_down_ends_its_episode_alone(
    family: TaskFamily,
    slow: Slow,
    name: str,
    options: dict,
    cause: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (env, _), (sound, _) = begin(family, 3), begin(family, 3)
    actions = some_actions(family, 5, 3)
    broken = np.array([False, True, False])
    for t in range(2):
        assert not np.any(env.step(actions[t]).diverged)
        sound.step(actions[t])
    bad = actions[2].copy()
    if cause == "action":
        bad[1, 0] = np.nan
    else:
        env.simulations.qvel[1] = {"velocity": 1e9, "nan": np.nan}[cause]
    step, other = env.step(bad), sound.step(actions[2])
    np.testing.assert_array_equal(step.diverged, broken)
    np.testing.assert_array_equal(step.truncated, broken)
    assert not step.terminated[1]
    assert step.reward[1] == 0
    if cause != "nan":  # a test can put NaN where no step would leave it
        assert np.isfinite(step.observation).all()
    fresh = env.reset(broken)
    assert np.isfinite(fresh).all()
    for t in range(3, 5):
        for ours, its in zip(step[:5], other[:5], strict=True):
            np.testing.assert_array_equal(ours[~broken], its[~broken])
        step, other = env.step(actions[t]), sound.step(actions[t])
        assert not np.any(step.diverged)
        assert np.isfinite(step.observation).all()
    assert not list(tmp_path.iterdir()), "MuJoCo has written a log"
    assert capfd.readouterr() == ("", "")


def test_trials_go_on_where_a_simulation_has_broken_down() -> None:
    family = HalfCheetahVel(horizon=5)
    trials = Trials(family, family.sample(np.random.default_rng(0), 3, "train"), 2, np.random.default_rng(0))
    trials.begin()
    for t, action in enumerate(some_actions(family, trials.steps, 3)):
        if t == 2:
            action[1] = np.nan
        following, _ = trials.step(action)
        assert np.isfinite(following.observation).all()
    assert not trials.playing.any()
    assert trials.diverged.sum() == 1


def test_who_listens_to_mujocos_warnings_is_heard_again_afterwards() -> None:
    heard: list[str] = []
    mujoco.set_mju_user_warning(heard.append)
    try:
        env, _ = begin(HalfCheetahVel(), 2)
        env.step(np.full((2, 6), np.nan, np.float32))
        assert not heard
        data = mujoco.MjData(load("half_cheetah.xml"))
        data.ctrl[:] = np.nan
        mujoco.mj_step(load("half_cheetah.xml"), data)
        assert len(heard) == 1
    finally:
        mujoco.set_mju_user_warning(None)
