"""Families of MDPs. A new family is one file and one line here."""

from collections.abc import Callable

from .api import TaskFamily
from .bandit import BernoulliBandit, CorrelatedBandit, GaussianBandit
from .fewshot.images import Images
from .fewshot.omniglot import Omniglot
from .fewshot.sinusoid import Sinusoid
from .fewshot.strokes import Strokes
from .grid import GridNavigation
from .mujoco import (
    AntDir,
    AntGoal,
    HalfCheetahDir,
    HalfCheetahVel,
    HumanoidDir,
    Walker2DParams,
)
from .navigation import PointNavigation, SparsePointNavigation
from .tabular import TabularMDP

FAMILIES: dict[str, Callable[..., TaskFamily]] = {
    "ant-dir": AntDir,
    "ant-goal": AntGoal,
    "bernoulli-bandit": BernoulliBandit,
    "correlated-bandit": CorrelatedBandit,
    "gaussian-bandit": GaussianBandit,
    "grid-navigation": GridNavigation,
    "half-cheetah-dir": HalfCheetahDir,
    "half-cheetah-vel": HalfCheetahVel,
    "humanoid-dir": HumanoidDir,
    "images": Images,
    "omniglot": Omniglot,
    "point-navigation": PointNavigation,
    "sinusoid": Sinusoid,
    "sparse-point-navigation": SparsePointNavigation,
    "strokes": Strokes,
    "tabular-mdp": TabularMDP,
    "walker2d-params": Walker2DParams,
}
