"""Planning against loops and against brute force."""

from itertools import product

import numpy as np
import pytest

from innerloop.envs.api import Tasks
from innerloop.envs.planning import action_values, known, optimistic
from innerloop.envs.tabular import TabularMDP


def some() -> Tasks:
    """Five random MDPs of three states and two actions."""
    return TabularMDP(states=3, actions=2).sample(np.random.default_rng(0), 5, "train")


def test_action_values_are_those_of_backward_induction_by_loops() -> None:
    tasks, horizon = some(), 4
    found = action_values(tasks["reward"], horizon, known(tasks["transition"]))
    for i in range(5):
        value = [0.0] * 3
        for left in range(1, horizon + 1):
            q = [[0.0] * 2 for _ in range(3)]
            for s, a in product(range(3), range(2)):
                q[s][a] = tasks["reward"][i, s, a] + sum(tasks["transition"][i, s, a, t] * value[t] for t in range(3))
            np.testing.assert_allclose(found[horizon - left, i], q)
            value = [max(row) for row in q]


def test_the_optimist_believes_the_best_distribution_within_its_radius() -> None:
    """Against brute force: all distributions over three states on a grid of hundredths, those within the distance."""
    rng = np.random.default_rng(3)
    grid = np.array([(i, j, 100 - i - j) for i in range(101) for j in range(101 - i)]) / 100
    transition = grid[rng.integers(len(grid), size=(20, 3, 1))]  # on the grid, corners among them
    transition[:3, 0, 0] = np.eye(3)
    radius = rng.integers(0, 120, size=(20, 3, 1)) / 50  # half of it is on the grid; the largest distance is 2
    value = rng.standard_normal((20, 3))
    found = optimistic(transition, radius)(value)
    for i, s in product(range(20), range(3)):
        near = grid[np.abs(grid - transition[i, s, 0]).sum(1) <= radius[i, s, 0] + 1e-9]
        assert found[i, s, 0] == pytest.approx((near @ value[i]).max(), abs=1e-9)


def test_an_optimist_without_a_radius_knows() -> None:
    tasks, value = some(), np.random.default_rng(1).standard_normal((5, 3))
    without = optimistic(tasks["transition"], np.zeros((5, 3, 2)))(value)
    np.testing.assert_allclose(without, known(tasks["transition"])(value))
