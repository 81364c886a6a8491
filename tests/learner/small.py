"""The least of every algorithm, for tests of what holds for all of them."""

from typing import Any

import pytest
from drawings import some_pictures

from innerloop.envs.families import FAMILIES
from innerloop.learner.algorithms import ALGORITHMS

SMALL: dict[str, dict[str, Any]] = {
    "maml": {"hidden": 8, "rollouts": 12},
    "matching": {"encoder": "cnn,width=8,channels=2"},
    "pearl": {
        "hidden": 8,
        "context_hidden": 8,
        "layers": 1,
        "steps_per_task": 4,
        "context": 4,
        "warm_up": 0,
        "updates_per_step": 0.5,
    },
    "promp": {"hidden": 8, "rollouts": 12, "outer_steps": 1},
    "protonet": {"encoder": "cnn,width=8,channels=2"},
    "recurrent-sac": {"hidden": 8, "trials_per_batch": 3, "warm_up": 0, "updates_per_step": 0.5},
    "rl2": {"hidden": 8, "epochs": 1, "minibatches": 1},
    "supervised": {"hidden": 8},
    "supervised-maml": {"hidden": 8},
}

REWARDED = [name for name, kind in ALGORITHMS.items() if not getattr(kind, "learns_from_answers", False)]
"""Algorithms that learn on any family; the others need one that gives the right answers."""
OF_CLASSES = ["matching", "protonet"]
"""Those that learn to classify alone."""
CLASSES = ["images", "omniglot", "strokes"]
"""Families of classes with examples."""


def somewhere(algorithm: str) -> dict[str, Any]:
    """Options of a small family on which it learns."""
    if algorithm in REWARDED:
        return {"family": "point-navigation", "horizon": 4}
    return {"family": "strokes", "ways": 3} if algorithm in OF_CLASSES else {"family": "sinusoid"}


PAIRS = [
    pytest.param(family, algorithm, id=f"{family}-{algorithm}")
    for family, make in FAMILIES.items()
    for algorithm in ALGORITHMS
    if algorithm in REWARDED or family in CLASSES or (getattr(make, "answers", False) and algorithm not in OF_CLASSES)
]
"""Families, and the algorithms that learn on each."""


def of_length(family: str, horizon: int) -> dict[str, Any]:
    """Options that set the length of an episode, for families that have one."""
    if family == "sinusoid" or family.endswith("bandit"):
        return {}
    if family in CLASSES:
        return {"ways": horizon} | ({"data": some_pictures()} if family == "images" else {})
    return {"horizon": horizon}
