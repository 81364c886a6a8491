"""Fixtures of several tests of an algorithm."""

from typing import Any

import pytest
from small_pearl import SMALL, PearlOn

from innerloop.envs.api import TaskFamily
from innerloop.envs.navigation import PointNavigation
from innerloop.learner.algorithms.pearl import PEARL
from innerloop.learner.experiment import Experiment


@pytest.fixture
def pearl_on() -> PearlOn:
    """A small experiment; options are PEARL's."""

    def make(family: TaskFamily | None = None, episodes: int = 3, **options: Any) -> Experiment:
        return Experiment(
            family_name="given",
            family=family or PointNavigation(horizon=5),
            algorithm_name="pearl",
            algorithm=PEARL(**(SMALL | options)),
            episodes=episodes,
        )

    return make
