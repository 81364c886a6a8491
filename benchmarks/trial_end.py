"""What is the end of a trial worth? (benchmarks/results/trial-end)

python benchmarks/trial_end.py                                      # the whole table: hours
python benchmarks/trial_end.py --tasks grid --seeds 1               # some of it

A trial that its horizon cut can be followed by nothing (its return is the objective), or by the value of what would
come next: at the input that the policy would be given, done = 1 with the last observation, or at the same input with
done = 0, as of an episode that goes on, for ever. No loss trains either. Trained in this process, the same seeds for
each; returns of held-out trials, undiscounted, and the values that the critic had at a trial's last step and behind it.
"""

import argparse
import time
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from innerloop.actors.actor import Actor
from innerloop.actors.evaluate import play_tasks
from innerloop.distributed.config import configure
from innerloop.distributed.rollouts.tasks import TaskOrder, assignments
from innerloop.learner.algorithms.recurrent_sac import RecurrentActorCritic, RecurrentSAC
from innerloop.learner.algorithms.rl2 import RL2
from innerloop.learner.api import Metrics, Optimise, linear
from innerloop.learner.learner import Learner
from innerloop.learner.policy import RecurrentPolicy
from innerloop.learner.replay import Replay
from innerloop.learner.trajectory import Trajectory, concatenate

After = Literal["nothing", "done", "ongoing"]
GRID = {"family": "grid-navigation", "episodes": 4}
POINT = {"family": "point-navigation", "horizon": 20, "episodes": 2}
SAC = {
    "algorithm": "recurrent-sac", "hidden": 32, "tasks": 2_000, "warm_up": 4_000, "trials_per_batch": 16,
    "updates_per_step": 0.03, "trials": 50, "temperature": 0.02, "learning_rate": 2e-3, "learning_rate_end": 2e-4,
    "memory": "gru",
}  # fmt: skip
TASKS: dict[str, dict[str, Any]] = {
    "grid": GRID | {"learning_rate": 3e-3, "hidden": 64, "embedding": 64, "trials": 256, "iterations": 80},
    "point": POINT | {
        "learning_rate": 2e-3, "hidden": 64, "embedding": 64, "trials": 256, "iterations": 100, "trace": 0.9,
    },
    "cheetah-vel": {"preset": "cheetah-vel-rl2", "iterations": 60},
    "point-sac": POINT | SAC | {"iterations": 60},
    "grid-sac": GRID | SAC | {"iterations": 40},
}  # fmt: skip
HELD_OUT = {"cheetah-vel": 200}


def with_worth(trials: Trajectory, worth: np.ndarray) -> Trajectory:
    """With what follows a cut trial, [B], in its last reward: the same targets as those of a bootstrap."""
    cut = trials.trial_end & trials.truncated
    return replace(trials, privileged={"reward": (trials.outer_reward + cut * worth).astype(np.float32)})


@dataclass(frozen=True, kw_only=True)
class BootstrappedRL2(RL2):
    after: After = "done"

    def update(
        self, model: nn.Module, batch: Trajectory, optimise: Optimise, progress: float, rng: np.random.Generator
    ) -> Metrics:
        assert isinstance(model, RecurrentPolicy)
        if model.value_updates:
            discount = linear(self.discount, self.discount_end or self.discount, progress)
            batch = with_worth(batch, discount / (1 - discount) * self._value(model, batch))
        return super().update(model, batch, optimise, progress, rng)

    def _value(self, model: RecurrentPolicy, trials: Trajectory) -> np.ndarray:
        """The value per step after the trials' last step, which is the last row of the batch: [B]."""
        if self.after == "done":
            return trials.note["value"][-1]
        return values(model, trials, ongoing=True)[-1]


@torch.inference_mode()
def values(model: RecurrentPolicy, trials: Trajectory, *, ongoing: bool) -> np.ndarray:
    """[T + 1, B], of whole trials of the same length; at the last input as if the episode went on, or had ended."""
    observation, action, reward, done = trials.inputs(model.head.none(trials.valid.shape[1]))
    done[-1] = not ongoing
    given = [torch.tensor(array) for array in (observation, action, reward, done)]
    return model.unroll(given[0], model.outcome(*given[1:]))[1].numpy()


@dataclass(frozen=True, kw_only=True)
class BootstrappedSAC(RecurrentSAC):
    after: After = "done"

    def loss(
        self, model: RecurrentActorCritic, trials: Trajectory, draw: Tensor, total: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            observation, action, reward, done = trials.inputs(model.head.none(trials.valid.shape[1]))
            done[-1] = self.after == "done"
            x = model.inputs(*(torch.tensor(array) for array in (observation, action, reward, done)))
            chosen, log_prob = model.head.soft(model.actor(x), torch.cat([draw, draw[-1:]]))
            value = model.critics.target_value(x, chosen) / (1 - self.discount)
            value = value - model.log_temperature.exp() * log_prob
        worth = self.discount * value[-1].numpy() / self.reward_scale
        return super().loss(model, with_worth(trials, worth), draw, total)


BOOTSTRAPPED = {RL2: BootstrappedRL2, RecurrentSAC: BootstrappedSAC}


def learned(task: str, after: After, seed: int, iterations: int = 0) -> tuple[float, float, float]:
    """The return of a held-out trial after training, and RL²'s mean values at a trial's last step and behind it."""
    options = TASKS[task] | {"seed": seed} | ({"iterations": iterations} if iterations else {})
    config = configure(**options)  # pyright: ignore[reportArgumentType]
    experiment, run = config.experiment, config.run
    if after != "nothing":
        kind = BOOTSTRAPPED[type(experiment.algorithm)]
        experiment = replace(experiment, algorithm=kind(**vars(experiment.algorithm), after=after))
    actor = Actor(experiment, seed, tasks=run.tasks)
    learner = Learner(experiment.algorithm, experiment.problem, seed=seed, device="cpu", threads=1)
    order, replay = TaskOrder(run.tasks, run.task_order, seed), Replay(2**31)
    trials = None
    for iteration in range(run.iterations):
        actor.load(learner.acting_weights(), learner.version)
        tasks = order.choose(iteration, run.trials)
        wanted = assignments(iteration, run.trials, run.part_count, tasks, experiment.episodes)
        found = dict(zip(wanted, actor.collect_all(wanted), strict=True))
        trials = concatenate([*found.values()])
        if experiment.replays:
            for assignment, trajectory in found.items():
                replay.append(assignment.tasks, trajectory)
        learner.update(replay if experiment.replays else trials, iteration / run.iterations)
    agent = experiment.algorithm.inner_loop(learner.model.requires_grad_(False), experiment.problem)
    count = HELD_OUT.get(task, 2_000)
    returns = play_tasks(agent, experiment.family, experiment.episodes, tasks=count, seed=1)
    last = behind = float("nan")
    if isinstance(learner.model, RecurrentPolicy) and trials:
        found = values(learner.model, trials, ongoing=after == "ongoing").mean(1)
        last, behind = float(found[-2]), float(found[-1])
    return float(returns.sum(1).mean()), last, behind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=[*TASKS], choices=[*TASKS])
    parser.add_argument("--after", nargs="+", default=["nothing", "done", "ongoing"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| task | after the end | seed | return | value at the last step | behind it | seconds |")
    print("|---|---|---|---|---|---|---|")
    for task in options.tasks:
        for seed in range(options.seeds):
            for after in options.after:
                start = time.perf_counter()
                found = learned(task, after, seed, options.iterations)
                texts = " | ".join(f"{each:.3f}" for each in found)
                print(f"| {task} | {after} | {seed} | {texts} | {time.perf_counter() - start:.0f} |", flush=True)


if __name__ == "__main__":
    main()
