"""Shared by all tests: small families and trials played on them; one Ray of our own, never somebody else's cluster."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from drawings import drawings  # noqa: F401 (pytest finds it here)
from processes import nothing_is_left, pytest_configure  # noqa: F401 (pytest finds them here)

from innerloop.actors.rollout import play
from innerloop.envs.adapter import GymnasiumFamily, Task
from innerloop.envs.api import TaskFamily
from innerloop.envs.navigation import PointNavigation
from innerloop.envs.seeding import streams
from innerloop.envs.trials import Trials
from innerloop.learner.algorithms import ALGORITHMS
from innerloop.learner.algorithms.rl2 import RL2
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.trajectory import Trajectory

os.environ.setdefault("RAY_DEDUP_LOGS", "0")
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    best = "cuda" if torch.cuda.is_available() else "cpu"
    parser.addoption("--device", default=best, help="of learners, where it is tested")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """The learner's, where a test compares it with the CPU."""
    return request.config.getoption("--device")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The soak comes first, and beside it what waits for no process to begin: it keeps all cores busy for minutes."""
    beside = {"actors", "envs", "learner"}

    def order(item: pytest.Item) -> int:
        parts = item.path.relative_to(Path(__file__).parent).parts
        return 0 if item.path.name == "test_soak.py" else 1 if parts[0] in beside else 2

    items.sort(key=order)


@pytest.fixture(scope="session")
def own_ray() -> Iterator[None]:
    """A local Ray with two CPUs, started as a run starts it."""
    from innerloop.distributed.launch.local import own_cluster  # not above: most tests do without Ray

    with own_cluster(cpus=2):
        yield


SMALL = {"memory": "gru", "hidden": 16, "embedding": 0, "epochs": 2, "minibatches": 2}
NARROW = {"snail": "snail,filters=4,keys=4"}
"""Memories whose layers are too wide to be shaken: what rounding does would grow from layer to layer."""


def _set_gravity(env: gymnasium.Env, task: Task) -> None:
    env.unwrapped.g = float(task["g"])


def _draw_gravity(rng: np.random.Generator) -> Task:
    return {"g": rng.uniform(5, 15)}


def _make_pendulum() -> gymnasium.Env:
    return gymnasium.make("Pendulum-v1")


def _set_length(env: gymnasium.Env, task: Task) -> None:
    env.unwrapped.length = float(task["length"])


def _make_cartpole() -> gymnasium.Env:
    return gymnasium.make("CartPole-v1")


@pytest.fixture
def pendulum() -> GymnasiumFamily:
    """Pendulums under different gravities: a continuous distribution of tasks, bounded Box actions, truncation."""
    return GymnasiumFamily(_make_pendulum, _set_gravity, _draw_gravity, horizon=6)


@pytest.fixture
def cartpole() -> GymnasiumFamily:
    """Poles of twenty lengths: a finite set of tasks, Discrete actions, termination at different times."""
    tasks = [{"length": 0.2 + 0.1 * i} for i in range(20)]
    return GymnasiumFamily(_make_cartpole, _set_length, tasks, horizon=30, test_share=0.25)


@pytest.fixture
def family(request: pytest.FixtureRequest) -> TaskFamily:
    """The family given by `indirect` parametrisation: a fixture's name, or what makes it."""
    return request.getfixturevalue(request.param) if isinstance(request.param, str) else request.param()


@pytest.fixture
def experiment_on() -> Callable[..., Experiment]:
    """A small experiment on a family; options are RL2's."""

    def make(family: TaskFamily, episodes: int = 3, **options: Any) -> Experiment:
        options = SMALL | options
        algorithm = RL2(**options | {"memory": NARROW.get(options["memory"], options["memory"])})
        return Experiment(
            family_name="given", family=family, algorithm_name="rl2", algorithm=algorithm, episodes=episodes
        )

    return make


@pytest.fixture
def adapting_on() -> Callable[..., Experiment]:
    """A small experiment that adapts by gradient, with a smooth policy; options are the algorithm's."""

    def make(
        family: TaskFamily | None = None, episodes: int = 3, algorithm: str = "maml", **options: Any
    ) -> Experiment:
        small = {"rollouts": 4, "hidden": 4, "layers": 1, "activation": "tanh", "inner_rate": 0.3}
        return Experiment(
            family_name="given",
            family=family or PointNavigation(horizon=5),
            algorithm_name=algorithm,
            algorithm=ALGORITHMS[algorithm](**(small | options)),
            episodes=episodes,
        )

    return make


@pytest.fixture
def shaken() -> Callable[..., Learner]:
    """A learner whose weights are far from their careful first values, so that no output is near its default."""

    def make(experiment: Experiment, seed: int = 0, threads: int = 1) -> Learner:
        learner = Learner(experiment.algorithm, experiment.problem, seed=seed, device="cpu", threads=threads)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in learner.model.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        return learner

    return make


@pytest.fixture
def played() -> Callable[..., Trajectory]:
    """Trials on training tasks with a learner's weights."""

    def make(experiment: Experiment, learner: Learner, n: int = 8, seed: int = 3) -> Trajectory:
        rng = streams(seed, "train", 0)
        tasks = experiment.family.sample(rng.tasks, n, "train")
        agent = experiment.algorithm.inner_loop(learner.model, experiment.problem)
        trials = Trials(experiment.family, tasks, experiment.episodes, rng.env, agent.rollouts_per_task)
        return play(agent, trials, rng.agent, learner.version)

    return make
