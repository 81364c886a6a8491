"""How fast a whole workload runs, and its parts alone, beside this machine's own limits.

python benchmarks/throughput.py --work W1             # a table
python benchmarks/throughput.py --work W1 --json      # one object; env_steps_per_s is the end-to-end median

W1: bandit k = 5, 100 pulls a trial, LSTM 128, PPO 4 epochs x 4 minibatches, 25,600 steps an iteration, BPTT over whole
trials.
"""

import argparse
import json
import statistics
import tempfile
from typing import Any, Literal

import torch
from limits import bare_steps_per_s, matrix_flops, median_seconds
from rich.console import Console
from rich.table import Table

from innerloop.actors.actor import Actor, Assignment
from innerloop.distributed.broadcast import Broadcast
from innerloop.distributed.config import Config, configure
from innerloop.distributed.session import ray_session
from innerloop.distributed.trainer import assignments, train
from innerloop.learner.learner import Learner, usable_cpus
from innerloop.learner.trajectory import Trajectory, concatenate

WORKS = {"W1": "w1"}
WARM = 5
"""Iterations that do not count: processes start, caches fill."""


def multiply_adds(config: Config) -> int:
    """Floating-point operations of one environment step: acting, and learning `epochs` times (forward and back).

    The matrix products of memory and output alone; 2 operations for each multiply-add, the backward pass twice the
    forward one.
    """
    model = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device="cpu").model
    forward = 2 * sum(p.numel() for p in model.parameters() if p.ndim == 2)
    return forward * (1 + 3 * getattr(config.experiment.algorithm, "epochs", 1))


def rollout(config: Config) -> tuple[float, list[Trajectory]]:
    """Steps a second of one actor in this process, and an iteration of trajectories."""
    actor = Actor(config.experiment, config.run.seed)
    learner = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device="cpu")
    actor.load(learner.weights(), 0)
    parts: list[Assignment] = assignments(0, config.run.trials, config.run.parts)
    trajectories = [actor.collect(part) for part in parts]
    return trajectories[0].steps / median_seconds(lambda: actor.collect(parts[0])), trajectories


def learn(config: Config, trajectories: list[Trajectory]) -> float:
    """Samples a second of the learner (environment steps times epochs), in this process."""
    learner = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device=config.run.device)
    batch = concatenate(trajectories)
    seconds = median_seconds(lambda: learner.update(batch, 0.0))
    return batch.steps * getattr(config.experiment.algorithm, "epochs", 1) / seconds


def broadcast_seconds(config: Config) -> float:
    """From the learner's parameters to a reference that every actor can read."""
    learner = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device=config.run.device)
    broadcast = Broadcast()
    return median_seconds(lambda: broadcast.publish(learner.weights(), 0), 21)


def end_to_end(config: Config) -> list[dict[str, Any]]:
    """The metrics of every iteration that counts of a real run: Ray, actors, store, learner, broadcast."""
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as out:
        train(config, out, overwrite=True, watch=lines.append)
    return lines[WARM:]


def measure(work: str, precision: Literal["float32", "bfloat16"], iterations: int, mode: str) -> dict[str, Any]:
    """All figures of a workload, as medians."""
    config = configure(WORKS[work], precision=precision, iterations=iterations + WARM, mode=mode)
    torch.set_num_threads(1)
    cpus = usable_cpus()
    matrix = matrix_flops(cpus)
    batch = config.run.trials // config.run.parts
    bare = bare_steps_per_s(config.experiment.family, batch)
    rollout_rate, trajectories = rollout(config)
    learner_rate = learn(config, trajectories)
    with ray_session(config.run.address, False):
        publish = broadcast_seconds(config)
        lines = end_to_end(config)

    def median(name: str) -> float:
        return statistics.median(line[name] for line in lines)

    seconds = {name: median(f"seconds_{name}") for name in ("waiting", "updating", "broadcasting")}
    flops = multiply_adds(config)
    epochs = getattr(config.experiment.algorithm, "epochs", 1)
    rate = median("env_steps_per_s")
    return {
        "work": work,
        "precision": precision,
        "mode": mode,
        "iterations": iterations,
        "env_steps_per_s": rate,
        "env_steps_per_s_low": min(line["env_steps_per_s"] for line in lines),
        "env_steps_per_s_high": max(line["env_steps_per_s"] for line in lines),
        "env_steps_per_s_share_of_matrix_limit": rate * flops / matrix,
        "rollout_steps_per_s_per_core": rollout_rate,
        "rollout_share_of_bare_stepping": rollout_rate / bare,
        "learner_samples_per_s": learner_rate,
        "learner_share_of_matrix_limit": learner_rate * flops * 3 / (1 + 3 * epochs) / matrix,
        "broadcast_ms": 1e3 * publish,
        "share_of_time_learner_waits": seconds["waiting"] / sum(seconds.values()),
        "limit_matrix_float32_gflops": matrix / 1e9,
        "limit_matrix_bfloat16_gflops": matrix_flops(cpus, torch.bfloat16) / 1e9,
        "limit_bare_env_steps_per_s_per_core": bare,
        "mflop_per_env_step": flops / 1e6,
        "cpus": cpus,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=WORKS, default="W1")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--mode", choices=("synchronous", "overlapped"), default="synchronous")
    parser.add_argument("--iterations", type=int, default=40, help="that count")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    result = measure(given.work, given.precision, given.iterations, given.mode)
    if given.json:
        print(json.dumps(result))
        return
    table = Table("figure", "median", title=f"{given.work}, {given.precision}, {given.mode}, {result['cpus']} CPUs")
    for name, value in result.items():
        if isinstance(value, float):
            table.add_row(name.replace("_", " "), f"{value:.1%}" if "share" in name else f"{value:,.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
