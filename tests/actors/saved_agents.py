"""Small runs as they are saved, for tests of their agents."""

from pathlib import Path

from innerloop.envs.api import TaskFamily
from innerloop.envs.bandit import BernoulliBandit
from innerloop.envs.tabular import TabularMDP
from innerloop.learner.algorithms.rl2 import RL2
from innerloop.learner.checkpoint import Checkpoints
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner

FAMILIES: dict[str, TaskFamily] = {"bernoulli-bandit": BernoulliBandit(arms=4), "tabular-mdp": TabularMDP(horizon=3)}


def experiment_of(name: str = "bernoulli-bandit") -> Experiment:
    algorithm = RL2(memory="gru", hidden=16, embedding=0)
    return Experiment(family_name=name, family=FAMILIES[name], algorithm_name="rl2", algorithm=algorithm, episodes=4)


def save(learner: Learner, experiment: Experiment, place: Path, version: int = 1) -> None:
    arrays, numbers = learner.state()
    Checkpoints(str(place)).save(arrays, numbers | {"version": version}, experiment.to_json() | {"run": {"seed": 3}})
