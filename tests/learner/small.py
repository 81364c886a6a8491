"""The least of every algorithm, for tests of what holds for all of them."""

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "maml": {"rollouts": 12},
    "pearl": {
        "context_hidden": 8,
        "layers": 1,
        "steps_per_task": 4,
        "context": 4,
        "warm_up": 0,
        "updates_per_step": 0.5,
    },
    "promp": {"rollouts": 12, "outer_steps": 1},
    "recurrent-sac": {"trials_per_batch": 3, "warm_up": 0, "updates_per_step": 0.5},
    "rl2": {"epochs": 1, "minibatches": 1},
}


def of_length(family: str, horizon: int) -> dict[str, Any]:
    """Options for episodes of so many steps, where the family leaves a choice."""
    if family == "sinusoid" or family.endswith("bandit"):
        return {}
    return {"ways": horizon} if family == "strokes" else {"horizon": horizon}
