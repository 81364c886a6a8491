"""Algorithms, each one file that reads from top to bottom. A new one is one file here and one line below."""

from collections.abc import Callable

from ..api import Algorithm
from .maml import MAML
from .matching import Matching
from .pearl import PEARL
from .promp import ProMP
from .protonet import ProtoNet
from .recurrent_sac import RecurrentSAC
from .rl2 import RL2
from .supervised import Supervised
from .supervised_maml import SupervisedMAML

ALGORITHMS: dict[str, Callable[..., Algorithm]] = {
    "maml": MAML,
    "matching": Matching,
    "pearl": PEARL,
    "promp": ProMP,
    "protonet": ProtoNet,
    "recurrent-sac": RecurrentSAC,
    "rl2": RL2,
    "supervised": Supervised,
    "supervised-maml": SupervisedMAML,
}
