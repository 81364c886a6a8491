"""Grids, against one that is walked step by step."""

import numpy as np
import pytest

from innerloop.envs.errors import BadInput
from innerloop.envs.grid import GridNavigation

WAYS = {0: (0, 0), 1: (0, 1), 2: (1, 0), 3: (0, -1), 4: (-1, 0)}


def test_a_walk_is_that_of_one_grid_at_a_time() -> None:
    family, rng, n = GridNavigation(size=4, horizon=6), np.random.default_rng(0), 50
    tasks = family.sample(rng, n, "train")
    env = family.make(tasks, rng)
    for _ in range(2):
        assert (env.reset(np.ones(n, np.bool_)) == 0).all()
        cells = [(0, 0)] * n
        for t in range(family.horizon):
            action = rng.integers(5, size=n)
            step = env.step(action)
            for i, a in enumerate(action):
                (row, column), (down, right) = cells[i], WAYS[int(a)]
                cells[i] = min(max(row + down, 0), 3), min(max(column + right, 0), 3)
                cell = 4 * cells[i][0] + cells[i][1]
                assert step.observation[i] == cell
                assert step.reward[i] == np.float32(1 if cell == tasks["goal"][i] else -0.1)
            assert not step.terminated.any()
            assert (step.truncated == (t == family.horizon - 1)).all()


def test_every_goal_outside_the_start_s_corner_is_drawn_equally_often() -> None:
    family = GridNavigation()
    for split in ("train", "test"):
        goals, counts = np.unique(family.sample(np.random.default_rng(1), 63, split)["goal"], return_counts=True)
        assert goals.tolist() == sorted({*range(25)} - {0, 1, 5, 6})
        assert (counts == 3).all()
        assert family.task_count(split) == 21


@pytest.mark.parametrize(("field", "value"), [("size", 2), ("size", 1_001), ("horizon", 0)])
def test_what_is_no_grid_is_refused(field: str, value: int) -> None:
    with pytest.raises(BadInput, match=f"^{field} is {value}; expected "):
        GridNavigation(**{field: value})
