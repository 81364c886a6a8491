"""`innerloop list`."""

from dataclasses import dataclass

from ...envs.families import FAMILIES
from ...learner.algorithms import ALGORITHMS
from ...learner.encoders import ENCODERS
from ...learner.memory import MEMORIES
from ..papers.tables import TABLES
from ..parsing import parse
from ..presets import PRESETS


@dataclass(frozen=True)
class List:
    """List what can be named: families, algorithms, memories, encoders, presets and tables, each with what it is."""


KINDS = ("families", FAMILIES), ("algorithms", ALGORITHMS), ("memories", MEMORIES), ("encoders", ENCODERS)


def run(rest: list[str]) -> None:
    parse(List, rest, "innerloop list")
    for title, known in KINDS:
        print(title)
        for name, found in known.items():
            print(f"  {name:<20} {(found.__doc__ or '').splitlines()[0]}")
    print("presets")
    for name, preset in PRESETS.items():
        print(f"  {name:<20} {preset.about}")
    print("tables of papers, for innerloop reproduce")
    for name, paper in TABLES.items():
        print(f"  {name:<20} {paper.about}")
    print("Wherever one of them is named, package.module:attribute works too.")
