"""An update on a device beside the same update on the CPU: whether they agree, and what the device makes of it.

    python benchmarks/device.py --device cuda --json > device.json

Needs neither Ray nor Redis. For each algorithm: how far the weights are from the CPU's, as a share of the way that they
went (at most TOLERANCE, or the status is 1), and how far a change of the first weights in their last places moves the
CPU's own update, which is what rounding makes of it; milliseconds (median of --runs) and environment steps per second
on both. On a GPU also the share of its own rate of float32 matrix products that the update's products and convolutions
come to (cuDNN's recurrent networks are not counted), and how often an update launches a kernel and waits for the GPU.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from images import Noise
from torch.profiler import ProfilerActivity, profile

from innerloop.actors.actor import Actor, Assignment
from innerloop.envs.api import TaskFamily
from innerloop.envs.bandit import BernoulliBandit
from innerloop.envs.navigation import PointNavigation
from innerloop.learner.algorithms import ALGORITHMS
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner, choose_device
from innerloop.learner.replay import Replay
from innerloop.learner.trajectory import Trajectory

TOLERANCE = 1e-3
"""Of the way that the weights go in one update."""
NUDGE, NUDGES = 16 * torch.finfo(torch.float32).eps, 4
"""How far the first weights are changed, about what a GPU's tanh and sigmoid differ by after a hundred steps of a
recurrent network; and how often that is tried."""


class Pictures(Noise):
    """With four actions, and shorter."""

    action_space = spaces.Discrete(4)
    horizon = 25


OFF_POLICY = {"warm_up": 0, "updates_per_step": 2e-3}
CASES: dict[str, tuple[str, Callable[[], TaskFamily], int, int, dict[str, Any]]] = {
    "rl2-lstm": ("rl2", lambda: BernoulliBandit(arms=5), 100, 256, {"memory": "lstm", "embedding": 0}),
    "rl2-transformer": ("rl2", lambda: BernoulliBandit(arms=5), 100, 128, {"memory": "transformer"}),
    "rl2-pictures": ("rl2", Pictures, 2, 64, {"memory": "lstm"}),
    "maml": ("maml", lambda: PointNavigation(horizon=100), 2, 20, {}),
    "promp": ("promp", lambda: PointNavigation(horizon=100), 2, 20, {}),
    "pearl": ("pearl", lambda: PointNavigation(horizon=100), 2, 20, OFF_POLICY),
    "recurrent-sac": ("recurrent-sac", lambda: PointNavigation(horizon=100), 2, 20, OFF_POLICY),
    "recurrent-sac-discrete": ("recurrent-sac", lambda: BernoulliBandit(arms=5), 100, 64, OFF_POLICY),
}
"""Algorithm, family, episodes, trials, options."""


def experiment_of(case: str) -> tuple[Experiment, int]:
    algorithm, family, episodes, trials, options = CASES[case]
    made = ALGORITHMS[algorithm](**options)
    return Experiment(
        family_name=case, family=family(), algorithm_name=algorithm, algorithm=made, episodes=episodes
    ), trials


def batch_for(experiment: Experiment, trials: int) -> tuple[Trajectory | Replay, int]:
    """What an update learns from, played on the CPU, and its environment steps."""
    actor = Actor(experiment, 0)
    actor.load(Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1).weights(), 0)
    played = actor.collect(Assignment(iteration=0, part=0, trials=trials))
    if experiment.learns_fresh:
        return played, played.steps
    replay = Replay(2**28)
    replay.append([*range(trials)], played)
    return replay, played.steps


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def after(learner: Learner, batch: Trajectory | Replay, nudge: int = 0) -> Learner:
    """One like it after an update; `nudge` is the seed of a change of the first weights in their last places."""
    made = Learner(learner.algorithm, learner.problem, seed=0, device=str(learner.device), threads=learner.threads)
    draw = torch.Generator().manual_seed(nudge)
    for parameter in made.model.parameters() if nudge else ():
        parameter.detach().mul_(1 + torch.randint(-1, 2, parameter.shape, generator=draw) * NUDGE)
    made.update(copy.copy(batch), 0.0)
    return made


def timed(learner: Learner, batch: Trajectory | Replay, runs: int) -> tuple[float, Learner]:
    """Median seconds of the first update, each time of a learner as it was; and one that has made it."""
    seconds, before, made = [], learner.state(), learner
    for _ in range(runs + 1):  # the first one warms up
        made = Learner(learner.algorithm, learner.problem, seed=0, device=str(learner.device), threads=learner.threads)
        made.load(*before)
        wait(learner.device)
        start = time.perf_counter()
        made.update(copy.copy(batch), 0.0)
        wait(learner.device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:]), made


def moved(learner: Learner) -> np.ndarray:
    """How far each parameter is from the first one, as one vector."""
    first = Learner(learner.algorithm, learner.problem, seed=0, device="cpu", threads=1).weights()
    now = learner.weights()
    names = [name for name, _ in learner.model.named_parameters()]
    return np.concatenate([(now[name] - first[name]).astype(np.float64).ravel() for name in names])


def looked_at(learner: Learner, batch: Trajectory | Replay) -> dict[str, float]:
    """Floating-point operations, launches and waits of one update, as the profiler counts them."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], with_flops=True) as found:
        learner.update(copy.copy(batch), 0.0)
        wait(learner.device)
    events = found.key_averages()
    return {
        "flop": sum(event.flops for event in events),
        "launches": sum(event.count for event in events if event.key.startswith("cudaLaunchKernel")),
        "waits": sum(event.count for event in events if "Synchronize" in event.key),
    }


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of float32 matrix products, with as many threads as torch has."""
    size = 8192 if device.type == "cuda" else 2048
    one, other = (torch.randn(size, size, device=device) for _ in range(2))
    seconds = []
    for _ in range(6):
        wait(device)
        start = time.perf_counter()
        torch.mm(one, other)
        wait(device)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    device = choose_device(given.device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    rate, lines = matrix_rate(device), []
    for case in given.cases:
        experiment, trials = experiment_of(case)
        batch, steps = batch_for(experiment, trials)
        on_cpu, on_device = (
            Learner(experiment.algorithm, experiment.problem, seed=0, device=name, threads=0)
            for name in ("cpu", str(device))
        )
        (slow, one), (fast, other) = (timed(each, batch, given.runs) for each in (on_cpu, on_device))
        way = moved(one)

        def apart(learner: Learner, way: np.ndarray = way) -> float:
            return float(np.linalg.norm(moved(learner) - way) / np.linalg.norm(way))

        seen = looked_at(on_device, batch) if device.type == "cuda" else {}
        line = {
            "case": case,
            "difference": apart(other),
            "rounding": max(apart(after(on_cpu, batch, nudge)) for nudge in range(1, NUDGES + 1)),
            "cpu_ms": 1e3 * slow,
            "device_ms": 1e3 * fast,
            "device_steps_per_s": steps / fast,
        }
        if seen:
            line |= {"share_of_matrix_rate": seen["flop"] / fast / rate}
            line |= {"launches": seen["launches"], "waits": seen["waits"]}
        lines.append(line)
        if not given.json:
            print({name: round(value, 6) if isinstance(value, float) else value for name, value in line.items()})
    if given.json:
        print(json.dumps({"device": card, "matrix_rate": rate, "torch": torch.__version__, "cases": lines}, indent=1))
    sys.exit(any(line["difference"] > TOLERANCE for line in lines))


if __name__ == "__main__":
    main()
