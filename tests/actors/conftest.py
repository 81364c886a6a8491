"""Agents of small saved runs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fixture_types import Made
from saved_agents import experiment_of, save

from innerloop.actors.agent import Agent
from innerloop.envs.tabular import TabularMDP
from innerloop.learner.experiment import Experiment


@pytest.fixture
def agent(tmp_path: Path, shaken: Made) -> Agent:
    """On four arms, not begun."""
    save(shaken(experiment_of()), experiment_of(), tmp_path)
    return Agent.load(str(tmp_path))


@pytest.fixture
def adapting(tmp_path: Path, adapting_on: Callable[..., Experiment], shaken: Made) -> Path:
    """A run with one inner step after twelve rollouts."""
    experiment = replace(adapting_on(TabularMDP(horizon=2), episodes=2, rollouts=12), family_name="tabular-mdp")
    save(shaken(experiment), experiment, tmp_path)
    return tmp_path
