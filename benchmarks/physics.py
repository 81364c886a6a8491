"""How fast HalfCheetah's batches step on one core, beside MuJoCo alone and beside Gymnasium's vector environments.

python benchmarks/physics.py            # a table
python benchmarks/physics.py --json     # one object

Every figure is environment steps a second, five steps of MuJoCo each, under fresh random actions in episodes of 200
steps. The measure is MuJoCo alone: one simulation, stepped in a loop that does nothing else. It runs before and after
every other measurement, and `share` is the median over rounds of what the other reached of it.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import gymnasium
import mujoco
import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from mujoco.rollout import Rollout
from rich.console import Console
from rich.table import Table

from innerloop.envs.mujoco import HALF_CHEETAH, HalfCheetahVel
from innerloop.envs.physics import load, mj

STEPS = 200
"""Steps in an episode."""
JOINTS = 6


def actions(rows: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (STEPS, rows, JOINTS)).astype(np.float32)


def alone(episodes: int) -> int:
    """MuJoCo's best case: one simulation in cache, no observation, no reward; returns the number of steps."""
    model, rng, step = load(HALF_CHEETAH.xml), np.random.default_rng(0), mj.mj_step
    data = mj.MjData(model)
    control = data.ctrl
    for controls in actions(episodes).astype(np.float64).swapaxes(0, 1):
        mj.mj_resetData(model, data)
        data.qpos += rng.uniform(-0.1, 0.1, model.nq)
        data.qvel += 0.1 * rng.standard_normal(model.nv)
        for each in controls:
            control[:] = each
            step(model, data, HALF_CHEETAH.frame_skip)
    return episodes * STEPS


def rolled_out(rows: int) -> Callable[[], int]:
    """`mujoco.rollout`, as a batch would use it: a cold solver, no observation, no reward."""
    model, pool = load(HALF_CHEETAH.xml), Rollout(nthread=0)
    data, skip = mj.MjData(model), HALF_CHEETAH.frame_skip
    rest = np.concatenate([[0], data.qpos, data.qvel])
    noise = 0.1 * np.random.default_rng(0).standard_normal((rows, len(rest)))
    models, state = [model] * rows, np.empty((rows, skip, len(rest)))

    def work() -> int:
        state[:, -1] = rest + noise
        for action in actions(rows):
            controls = np.repeat(action[:, None], skip, axis=1).astype(np.float64)
            pool.rollout(models, data, state[:, -1].copy(), controls, state=state)
        return rows * STEPS

    return work


def ours(rows: int) -> Callable[[], int]:
    """A batch of this package: reset, observation, reward."""
    family, rng, everyone = HalfCheetahVel(), np.random.default_rng(0), np.ones(rows, np.bool_)
    env = family.make(family.sample(rng, rows, "train"), rng)

    def work() -> int:
        env.reset(everyone)
        for action in actions(rows):
            env.step(action)
        return rows * STEPS

    return work


def gymnasiums(env: VectorEnv) -> Callable[[], int]:
    """A vector environment of Gymnasium's."""
    env.reset(seed=0)

    def work() -> int:
        for action in actions(env.num_envs):
            env.step(action)
        return env.num_envs * STEPS

    return work


def rate(work: Callable[[], int], at_least: float = 0.15) -> float:
    """Steps a second, over at least so many seconds."""
    start, steps = time.perf_counter(), 0
    while time.perf_counter() < start + at_least:
        steps += work()
    return steps / (time.perf_counter() - start)


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Of every contender the median rate and the median share of MuJoCo alone."""

    def single() -> gymnasium.Env:
        return gymnasium.make("HalfCheetah-v5", max_episode_steps=STEPS)

    vectors = [SyncVectorEnv([single] * 8), AsyncVectorEnv([single] * 8), AsyncVectorEnv([single] * 2)]
    names = ["Gymnasium, SyncVectorEnv of 8", "Gymnasium, AsyncVectorEnv of 8", "Gymnasium, AsyncVectorEnv of 2"]
    contenders = {f"innerloop, {rows} rows": ours(rows) for rows in (1, 8, 32, 128)}
    contenders |= {"mujoco.rollout alone, 32 rows": rolled_out(32)}
    contenders |= {name: gymnasiums(env) for name, env in zip(names, vectors, strict=True)}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    shares: dict[str, list[float]] = {name: [] for name in contenders}
    limit = [rate(lambda: alone(16))]
    for _ in range(rounds):
        for name, work in contenders.items():
            rates[name].append(rate(work))
            limit.append(rate(lambda: alone(16)))
            shares[name].append(2 * rates[name][-1] / (limit[-2] + limit[-1]))
    for env in vectors:
        env.close()
    found = {f"mj_step alone (MuJoCo {mujoco.__version__})": {"steps_per_s": statistics.median(limit), "share": 1.0}}
    for name in contenders:
        found[name] = {"steps_per_s": statistics.median(rates[name]), "share": statistics.median(shares[name])}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.rounds)
    if given.json:
        print(json.dumps(found))
        return
    table = Table("", "steps a second", "of MuJoCo alone", title="HalfCheetah, environment steps")
    for name, figures in found.items():
        table.add_row(name, f"{figures['steps_per_s']:,.0f}", f"{figures['share']:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
