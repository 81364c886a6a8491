"""Finite-horizon planning in N tabular MDPs at once, by backward induction (Puterman 1994, section 4.5).

S states, A actions; a policy is read off the action values by argmax, the first of those that tie.
"""

from collections.abc import Callable

import numpy as np

Expectation = Callable[[np.ndarray], np.ndarray]
"""From the values of the next states, [N, S], to what is expected after each state and action, [N, S, A]."""


def action_values(reward: np.ndarray, horizon: int, expectation: Expectation) -> np.ndarray:
    """What every action is worth, followed by the best ones.

    Args:
        reward: [N, S, A], expected of one step.
        horizon: steps left, at least 1.
        expectation: how the next state comes about, see `known` and `optimistic`.

    Returns:
        float64 [horizon, N, S, A]; the first row with `horizon` steps left, the last one with 1.
    """
    values = np.empty((horizon, *reward.shape))
    values[-1] = reward
    for step in reversed(range(horizon - 1)):
        values[step] = reward + expectation(values[step + 1].max(axis=2))
    return values


def known(transition: np.ndarray) -> Expectation:
    """The next state is drawn from `transition`, [N, S, A, S]."""
    n, states, actions, _ = transition.shape
    rows = transition.reshape(n, states * actions, states)
    return lambda value: (rows @ value[:, :, None]).reshape(n, states, actions)


def optimistic(transition: np.ndarray, radius: np.ndarray) -> Expectation:
    """The next state is drawn from the best of all distributions within an L1 distance: the inner maximum of extended
    value iteration (Jaksch et al. 2010, figure 2).

    Half the distance is added to the best next state, as far as it fits, and taken from the worst ones.

    Args:
        transition: [N, S, A, S], the centres.
        radius: [N, S, A], the distances, at least 0.
    """

    def expectation(value: np.ndarray) -> np.ndarray:
        order = np.argsort(value, axis=1)  # the worst first
        ordered = np.take_along_axis(transition, order[:, None, None, :], axis=3)
        moved = np.minimum(radius / 2, 1 - ordered[..., -1])[..., None]
        below = np.cumsum(ordered, axis=3) - ordered  # of all states that are worse
        best = ordered - np.clip(moved - below, 0, ordered)
        best[..., -1:] = ordered[..., -1:] + moved
        return known(best)(np.take_along_axis(value, order, axis=1))

    return expectation
