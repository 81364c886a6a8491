"""Families of MDPs. A new family is one file and one line here."""

from collections.abc import Callable

from .api import TaskFamily
from .bandit import BernoulliBandit, CorrelatedBandit, GaussianBandit
from .navigation import PointNavigation, SparsePointNavigation
from .tabular import TabularMDP

FAMILIES: dict[str, Callable[..., TaskFamily]] = {
    "bernoulli-bandit": BernoulliBandit,
    "correlated-bandit": CorrelatedBandit,
    "gaussian-bandit": GaussianBandit,
    "point-navigation": PointNavigation,
    "sparse-point-navigation": SparsePointNavigation,
    "tabular-mdp": TabularMDP,
}
