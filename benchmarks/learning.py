"""How soon each memory learns: the first preset's bandit (5 arms, 10 pulls), in this process, until a return is passed.

python benchmarks/learning.py                                          # every memory, to 6.0
python benchmarks/learning.py --memories snail,filters=16 lstm --learning-rates 0.002 0.007

Chance is at 5.0 and Greedy at 6.6; who passes 6.0 has learned to look and to stay. A line for each memory and learning
rate: the iterations and seconds it took, and the best mean of three iterations.
"""

import argparse
import dataclasses
import json
import time

import numpy as np
import torch

from innerloop.actors.rollout import play
from innerloop.distributed.config import configure
from innerloop.envs.seeding import streams
from innerloop.envs.trials import Trials
from innerloop.learner.learner import Learner
from innerloop.learner.memory import MEMORIES


def learn(memory: str, learning_rate: float, iterations: int, target: float, seed: int, threads: int) -> dict:
    """Train until the mean of three iterations' returns passes the target, or the iterations are over."""
    experiment = configure("first", memory=memory, learning_rate=learning_rate).experiment
    algorithm, family = experiment.algorithm, experiment.family
    learner = Learner(algorithm, experiment.problem, seed=seed, device="cpu", threads=threads)
    returns: list[float] = []
    start = time.perf_counter()
    for iteration in range(iterations):
        rng = streams(seed, "train", iteration)
        trials = Trials(family, family.sample(rng.tasks, 1_000, "train"), experiment.episodes, rng.env)
        trajectory = play(algorithm.inner_loop(learner.model, experiment.problem), trials, rng.agent)
        returns.append(float(trajectory.reward.sum(0).mean()))
        if np.mean(returns[-3:]) > target:
            break
        learner.update(trajectory, iteration / iterations)
    return {
        "memory": memory,
        "learning_rate": learning_rate,
        "iterations": len(returns),
        "seconds": round(time.perf_counter() - start, 1),
        "reached": bool(np.mean(returns[-3:]) > target),
        "best": round(max(float(np.mean(returns[max(0, i - 2) : i + 1])) for i in range(len(returns))), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    remembering = [name for name in MEMORIES if name != "none"]
    parser.add_argument("--memories", nargs="+", default=remembering, help="names, with options as --memory has them")
    parser.add_argument("--learning-rates", type=float, nargs="+", help="by default the preset's")
    parser.add_argument("--iterations", type=int, default=100, help="at most, of 1,000 trials each")
    parser.add_argument("--target", type=float, default=6.0, help="return of a trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="of the learner; 0 for as many as there are CPUs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    preset = dataclasses.asdict(configure("first").experiment.algorithm)["learning_rate"]  # pyright: ignore
    for memory in options.memories:
        for rate in options.learning_rates or [preset]:
            done = learn(memory, rate, options.iterations, options.target, options.seed, options.threads)
            print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main()
