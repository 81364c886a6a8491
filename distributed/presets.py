"""Named sets of options; `configure` makes a configuration of one."""

from typing import Any, NamedTuple

from ..envs.errors import require
from ..envs.registry import resolve


class Preset(NamedTuple):
    """A named set of options."""

    about: str
    options: dict[str, Any]


PRESETS = {
    "first": Preset(
        "RL² on the 5-armed, 10-pull Bernoulli bandit, within 3 minutes on two cores.",
        {"family": "bernoulli-bandit", "arms": 5, "episodes": 10, "iterations": 200, "trials": 1_000},
    ),
    "bandit-100": Preset(
        "RL² on the 5-armed, 100-pull Bernoulli bandit, learned from regret, within 5 minutes on two cores.",
        {
            "family": "bernoulli-bandit", "arms": 5, "episodes": 100, "trials": 128, "iterations": 600,
            "memory": "deepset", "hidden": 64, "embedding": 0, "learning_rate": 3e-3, "entropy": 0.1, "trace": 0.8,
            "discount": 0.98, "discount_end": 1.0, "regret": True,
        },
    ),
    "tabular-mdp": Preset(
        "RL² on random tabular MDPs, 10 episodes, learned from regret, within 5 minutes on two cores.",
        {
            "family": "tabular-mdp", "episodes": 10, "trials": 64, "iterations": 400,
            "memory": "transformer,layers=2,heads=4", "transitions": True, "hidden": 64, "embedding": 64,
            "learning_rate": 1e-3, "entropy": 0.1, "trace": 0.5, "discount": 0.5, "discount_end": 1.0,
            "value_weight": 0.2, "regret": True,
        },
    ),
    "point-maml": Preset(
        "MAML-TRPO on 2-D navigation (Finn et al. 2017, figure 4), within 15 minutes on two cores.",
        {
            "family": "point-navigation", "algorithm": "maml", "episodes": 2, "trials": 20, "rollouts": 20,
            "inner_rate": 0.3, "inner_decay": 0.25, "iterations": 300, "evaluation_tasks": 1_000,
            "evaluation_episodes": 4,
        },
    ),
    "cheetah-dir-maml": Preset(
        "MAML-TRPO on HalfCheetah-Dir: one inner step from running forward and from running backward.",
        {
            "family": "half-cheetah-dir", "algorithm": "maml", "episodes": 2, "trials": 10, "rollouts": 20,
            "iterations": 200, "evaluation_tasks": 40, "evaluation_episodes": 4,
        },
    ),
    "cheetah-vel-rl2": Preset(
        "RL² on HalfCheetah-Vel, velocities U[0, 3], two episodes a trial.",
        {
            "family": "half-cheetah-vel", "algorithm": "rl2", "episodes": 2, "trials": 64, "memory": "lstm",
            "hidden": 128, "embedding": 128, "learning_rate": 7e-4, "discount": 0.97, "trace": 0.9, "entropy": 0.0,
            "clip": 0.1, "iterations": 800, "evaluation_tasks": 500,
        },
    ),
    "point-pearl": Preset(
        "PEARL on the sparse 2-D robot, from its sparse reward alone: 80 goals to learn from, 20 others to find.",
        {
            "family": "sparse-point-navigation", "algorithm": "pearl", "episodes": 5, "trials": 80, "tasks": 80,
            "task_order": "prioritised", "iterations": 110, "updates_per_step": 0.1, "warm_up": 40_000,
            "learning_rate": 1e-3, "learning_rate_end": 1e-5, "discount": 0.9, "target_rate": 0.02,
            "reward_scale": 20.0, "temperature": 1.0, "persistence": 0.9, "resample": 10,
            "learner_threads": 1, "latent": 4, "hidden": 64,
            "context_hidden": 64, "layers": 2, "steps_per_task": 32, "context_window": 2, "evaluation_tasks": 2_000,
        },
    ),
    "cheetah-vel-pearl": Preset(
        "PEARL on HalfCheetah-Vel, velocities U[0, 3], 100 training tasks, a million environment steps.",
        {
            "family": "half-cheetah-vel", "algorithm": "pearl", "episodes": 2, "trials": 10, "tasks": 100,
            "iterations": 250, "updates_per_step": 0.06, "warm_up": 8_000, "learning_rate": 1e-3,
            "learning_rate_end": 1e-3, "reward_scale": 5.0,
            "hidden": 128, "context_hidden": 128, "layers": 2, "steps_per_task": 64, "context_window": 2,
            "evaluation_tasks": 500,
        },
    ),
    "w1": Preset(
        "Workload W1 of the benchmarks: 5 arms, 100 pulls, 25,600 steps an iteration, PPO 4 x 4.",
        {
            "family": "bernoulli-bandit", "arms": 5, "episodes": 100, "memory": "lstm", "hidden": 128, "embedding": 0,
            "epochs": 4, "minibatches": 4, "iterations": 40, "trials": 256, "precision": "bfloat16",
        },
    ),
    "w2": Preset(
        "Workload W2 of the benchmarks: RL² on HalfCheetah-Vel, 2 x 200 steps, 25,600 steps an iteration, PPO 4 x 4.",
        {
            "family": "half-cheetah-vel", "algorithm": "rl2", "episodes": 2, "memory": "lstm", "hidden": 128,
            "embedding": 0, "epochs": 4, "minibatches": 4, "iterations": 40, "trials": 64,
            "precision": "bfloat16",
        },
    ),
    "w3": Preset(
        "Workload W3 of the benchmarks: MAML-TRPO on the 2-D point, 20 tasks x 20 trajectories, one inner step.",
        {
            "family": "point-navigation", "algorithm": "maml", "episodes": 2, "trials": 20, "rollouts": 20,
            "hidden": 64, "layers": 2, "iterations": 40,
        },
    ),
}  # fmt: skip


def resolve_preset(name: str) -> Preset:
    """Raises:
    BadInput: no such preset; the message lists them.
    """
    preset = resolve("preset", name, PRESETS)
    require(isinstance(preset, Preset), "preset", name, "a Preset")
    return preset
