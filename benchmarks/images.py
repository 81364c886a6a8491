"""What an update on images costs: seconds and memory of one update of each algorithm, 64 trials of 100 steps with
pictures of 3x64x64 bytes, and that within 2 GB.

    python benchmarks/images.py --algorithm rl2
"""

import argparse
import json
import resource
import sys
import time

import numpy as np
from gymnasium import spaces

from innerloop.actors.actor import Actor, Assignment
from innerloop.envs.api import Bools, Split, Step, Tasks
from innerloop.learner.algorithms import ALGORITHMS
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.replay import Replay

LIMIT = 2e9
"""Bytes that a process may take at most."""
OPTIONS = {
    "rl2": {"memory": "lstm"},
    "maml": {"rollouts": 4},
    "promp": {"rollouts": 4},
    "pearl": {"warm_up": 0, "updates_per_step": 1e-3},
    "recurrent-sac": {"warm_up": 0, "updates_per_step": 1e-3},
}


class Noise:
    """Pictures without meaning; the reward is the action, or its first part."""

    observation_space = spaces.Box(0, 255, (3, 64, 64), np.uint8)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    horizon = 50

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"number": rng.random(n)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> "Noise":
        self._n, self._rng, self._time = len(tasks["number"]), rng, 0
        return self

    def reset(self, rows: Bools) -> np.ndarray:
        self._time = 0
        return self._seen()

    def step(self, action: np.ndarray) -> Step:
        self._time += 1
        cut = np.full(self._n, self._time == self.horizon)
        reward = action.reshape(self._n, -1)[:, 0].astype(np.float32)
        return Step(self._seen(), reward, np.zeros(self._n, np.bool_), cut)

    def _seen(self) -> np.ndarray:
        return self._rng.integers(256, size=(self._n, *self.observation_space.shape), dtype=np.uint8)


def peak() -> float:
    """Bytes that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="rl2")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    algorithm = ALGORITHMS[given.algorithm](**OPTIONS[given.algorithm])
    trials = 64 // OPTIONS[given.algorithm].get("rollouts", 1)
    experiment = Experiment(
        family_name="noise", family=Noise(), algorithm_name=given.algorithm, algorithm=algorithm, episodes=2
    )
    learner = Learner(algorithm, experiment.problem, seed=0, device="cpu", threads=given.threads)
    actor, replay = Actor(experiment, seed=0), Replay(2**29)
    actor.load(learner.acting_weights(), 0)
    start = time.perf_counter()
    played = actor.collect(Assignment(iteration=0, part=0, trials=trials))
    playing, data = time.perf_counter() - start, played.observation.nbytes
    if experiment.replays:
        replay.append([*range(trials)], played)
    before, start = peak(), time.perf_counter()
    metrics = learner.update(played if experiment.learns_fresh else replay, 0.0)
    line = {
        "algorithm": given.algorithm,
        "update_seconds": time.perf_counter() - start,
        "gradient_steps": metrics.get("gradient_steps"),
        "playing_seconds": playing,
        "images_mb": data / 1e6,
        "before_mb": before / 1e6,
        "peak_mb": peak() / 1e6,
    }
    print(json.dumps(line))
    sys.exit(peak() > LIMIT)


if __name__ == "__main__":
    main()
