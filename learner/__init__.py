"""Algorithms. A new one is one file and one line here."""

from collections.abc import Callable

from .api import Algorithm
from .maml import MAML
from .promp import ProMP
from .rl2 import RL2

ALGORITHMS: dict[str, Callable[..., Algorithm]] = {"maml": MAML, "promp": ProMP, "rl2": RL2}
