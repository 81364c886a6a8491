"""Tasks of MiniGrid through the Gymnasium adapter, seen as MiniGrid itself shows them: 7 x 7 cells of three bytes.

    pip install minigrid
    PYTHONPATH=benchmarks innerloop train --family minigrid_tasks:images ...
    PYTHONPATH=benchmarks innerloop train --family minigrid_tasks:entries ...

A task is a seed: where the agent stands at the start of every episode of a trial.
"""

from typing import Any

import gymnasium
import minigrid  # pyright: ignore[reportMissingImports] # noqa: F401 - registers its environments
import numpy as np
from gymnasium.wrappers import FilterObservation
from minigrid.wrappers import ImgObsWrapper  # pyright: ignore[reportMissingImports]

from innerloop.envs.adapter import GymnasiumFamily

NAME = "MiniGrid-Empty-Random-6x6-v0"


def _draw(rng: np.random.Generator) -> dict[str, Any]:
    return {"seed": int(rng.integers(2**31))}


def _make_images() -> gymnasium.Env:
    return ImgObsWrapper(gymnasium.make(NAME))


def _make_entries() -> gymnasium.Env:
    return FilterObservation(gymnasium.make(NAME), ["image", "direction"])


def _nothing(env: gymnasium.Env, task: Any) -> None:
    """The seed is the task."""


images = GymnasiumFamily(_make_images, _nothing, _draw, horizon=60, seed_from="seed")
"""The picture alone, Box(0, 255, (7, 7, 3), uint8)."""
entries = GymnasiumFamily(_make_entries, _nothing, _draw, horizon=60, seed_from="seed")
"""Dict of the picture and the compass direction; the text of the mission is left out."""
