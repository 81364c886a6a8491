"""How fast a whole workload runs, and its parts alone, beside this machine's own limits.

python benchmarks/throughput.py --work W1             # a table
python benchmarks/throughput.py --work W1 --json      # one object; env_steps_per_s is the end-to-end median

W1: bandit k = 5, 100 pulls a trial, LSTM 128, PPO 4 epochs x 4 minibatches, 25,600 steps an iteration, BPTT over whole
    trials.
W2: RL² on HalfCheetah-Vel, trials of 2 x 200 steps, LSTM 128, PPO 4 x 4, 25,600 steps an iteration.
W3: MAML-TRPO on the 2-D point, 20 tasks x 20 trajectories x 100 steps before and after one inner step, second order.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from limits import bare_steps_per_s, device_name, matrix_flops, median_seconds
from rich.console import Console
from rich.table import Table
from works import WORKS, first_iteration, multiply_adds

from innerloop.distributed.config import Config, configure
from innerloop.distributed.launch.session import ray_session
from innerloop.distributed.rollouts.broadcast import Broadcast
from innerloop.distributed.trainer import train
from innerloop.learner.algorithms.rl2 import RL2
from innerloop.learner.cpus import usable_cpus
from innerloop.learner.gradient.inner_loop import GradientAgent
from innerloop.learner.learner import Learner, choose_device
from innerloop.learner.trajectory import Trajectory, concatenate

WARM = 5
"""Iterations that do not count: processes start, caches fill."""


def rollout(config: Config) -> tuple[float, list[Trajectory]]:
    """Steps a second of one actor in this process, and an iteration of trajectories."""
    actor, shares = first_iteration(config)
    trajectories = [each for share in shares for each in actor.collect_all(share)]
    steps = sum(each.steps for each in trajectories[: len(shares[0])])
    return steps / median_seconds(lambda: actor.collect_all(shares[0])), trajectories


def learn(config: Config, trajectories: list[Trajectory]) -> float:
    """Environment steps that the learner takes in a second, in this process."""
    learner = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device=config.run.device)
    batch = concatenate(trajectories)
    return batch.steps / median_seconds(lambda: learner.update(batch, 0.0))


def adapting_share(config: Config) -> float:
    """Share of an actor's time that goes into inner steps by gradient, in this process."""
    spent = 0.0

    def timed(agent: GradientAgent, end_episode: Callable[[GradientAgent], None] = GradientAgent.end_episode) -> None:
        nonlocal spent
        start = time.perf_counter()
        end_episode(agent)
        spent += time.perf_counter() - start

    GradientAgent.end_episode = timed  # pyright: ignore[reportAttributeAccessIssue]
    rollout(config)  # warms up
    spent, start = 0.0, time.perf_counter()
    rollout(config)
    return spent / (time.perf_counter() - start)


def broadcast_seconds(config: Config) -> float:
    """From the learner's parameters to a reference that every actor can read."""
    learner = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device=config.run.device)
    broadcast = Broadcast()
    return median_seconds(lambda: broadcast.publish(learner.acting_weights(), 0), 21)


def end_to_end(config: Config) -> list[dict[str, Any]]:
    """The metrics of every iteration that counts of a real run: Ray, actors, store, learner, broadcast."""
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as out:
        train(config, out, overwrite=True, watch=lines.append)
    return lines[WARM:]


def measure(work: str, precision: str | None, iterations: int, mode: str, device: str, parts: int) -> dict[str, Any]:
    """All figures of a workload, as medians."""
    options: dict[str, Any] = {"precision": precision} if precision else {}
    options |= {"parts": parts} if parts else {}
    config = configure(WORKS[work], iterations=iterations + WARM, mode=mode, device=device, **options)
    torch.set_num_threads(1)
    cpus = usable_cpus()
    matrix = matrix_flops(cpus)
    batch = config.run.trials // min(cpus, config.run.part_count)
    bare = bare_steps_per_s(config.experiment.family, batch)
    rollout_rate, trajectories = rollout(config)
    learner_rate = learn(config, trajectories)
    with ray_session(config.run.address, False):
        publish = broadcast_seconds(config)
        lines = end_to_end(config)

    def median(name: str) -> float:
        return statistics.median(line[name] for line in lines)

    seconds = {name: median(f"seconds_{name}") for name in ("waiting", "updating", "broadcasting")}
    algorithm = config.experiment.algorithm
    rate = median("env_steps_per_s")
    result = {
        "work": work,
        "precision": getattr(algorithm, "precision", "float32"),
        "mode": mode,
        "device": device_name(str(choose_device(device))),
        "iterations": iterations,
        "env_steps_per_s": rate,
        "env_steps_per_s_low": min(line["env_steps_per_s"] for line in lines),
        "env_steps_per_s_high": max(line["env_steps_per_s"] for line in lines),
        "rollout_steps_per_s_per_core": rollout_rate,
        "rollout_share_of_bare_stepping": rollout_rate / bare,
        "learner_steps_per_s": learner_rate,
        "broadcast_ms": 1e3 * publish,
        "share_of_time_learner_waits": seconds["waiting"] / sum(seconds.values()),
        "limit_matrix_float32_gflops": matrix / 1e9,
        "limit_matrix_bfloat16_gflops": matrix_flops(cpus, torch.bfloat16) / 1e9,
        "limit_bare_env_steps_per_s_per_core": bare,
        "cpus": cpus,
    }
    if isinstance(algorithm, RL2):
        flops = multiply_adds(config)
        learning = flops * 3 * algorithm.epochs / (1 + 3 * algorithm.epochs)
        result |= {
            "mflop_per_env_step": flops / 1e6,
            "env_steps_per_s_share_of_matrix_limit": rate * flops / matrix,
            "learner_samples_per_s": learner_rate * algorithm.epochs,
            "learner_share_of_matrix_limit": learner_rate * learning / matrix,
        }
    else:
        adapting = adapting_share(config) * seconds["waiting"]
        result |= {
            "seconds_playing": seconds["waiting"] - adapting,
            "seconds_adapting": adapting,
            "seconds_learning": seconds["updating"],
            "seconds_broadcasting": seconds["broadcasting"],
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=WORKS, default="W1")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="of RL²'s learner; default: the preset's")
    parser.add_argument("--mode", choices=("synchronous", "overlapped"), default="synchronous")
    parser.add_argument("--device", default="auto", help="the learner's: auto, cpu, cuda ...")
    parser.add_argument(
        "--parts", type=int, default=0, help="into which an iteration's trials are divided; default: 32"
    )
    parser.add_argument("--iterations", type=int, default=40, help="that count")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    result = measure(given.work, given.precision, given.iterations, given.mode, given.device, given.parts)
    if given.json:
        print(json.dumps(result))
        return
    title = f"{given.work}, {result['precision']}, {given.mode}, {result['cpus']} CPUs, {result['device']}"
    table = Table("figure", "median", title=title)
    for name, value in result.items():
        if isinstance(value, float):
            table.add_row(name.replace("_", " "), f"{value:.1%}" if "share" in name else f"{value:,.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
