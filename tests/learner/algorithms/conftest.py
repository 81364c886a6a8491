"""Fixtures of several tests of an algorithm."""

from collections.abc import Callable
from typing import Any

import pytest
import small_pearl
import small_recurrent

from innerloop.envs.api import TaskFamily
from innerloop.envs.navigation import PointNavigation
from innerloop.learner.algorithms import ALGORITHMS
from innerloop.learner.experiment import Experiment


def small(name: str, defaults: dict[str, Any]) -> Callable[..., Experiment]:
    """Makes small experiments of an algorithm, given other options than the defaults."""

    def make(family: TaskFamily | None = None, episodes: int = 3, **options: Any) -> Experiment:
        return Experiment(
            family_name="given",
            family=family or PointNavigation(horizon=5),
            algorithm_name=name,
            algorithm=ALGORITHMS[name](**(defaults | options)),
            episodes=episodes,
        )

    return make


@pytest.fixture
def pearl_on() -> small_pearl.PearlOn:
    return small("pearl", small_pearl.SMALL)


@pytest.fixture
def recurrent_on() -> small_recurrent.RecurrentOn:
    return small("recurrent-sac", small_recurrent.SMALL)
