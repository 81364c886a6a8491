"""`innerloop compare`."""

import json
import math
from dataclasses import dataclass

import tyro

from ...envs.errors import require
from ...learner.places import resolve_path
from ..parsing import parse
from ..runs.compare import compare, documents, markdown
from ..runs.scores import read_systems
from ..runs.written import write_all

MOST = 10**6
"""Resamples."""


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare several runs of one or more systems: aggregates over seeds and tasks, with intervals."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Runs, directories of runs (such as `train --seeds` leaves), and CSV files of other systems' scores. Runs that
    differ by their seed alone are of one system."""
    out: str = ""
    """Directory for compare.md, compare.json and compare.png; by default the table is printed alone."""
    json: bool = False
    """Print one JSON object instead of the table."""
    low: float = 0.0
    """Score that counts as 0, such as a random policy's."""
    high: float = math.nan
    """Score that counts as 1, such as an oracle's, and is the goal of the optimality gap; by default scores stay as
    they are, and there is no gap."""
    resamples: int = 2_000
    """Of the bootstrap, for each interval."""
    seed: int = 0
    """Of the bootstrap."""

    def __post_init__(self) -> None:
        require(10 <= self.resamples <= MOST, "resamples", self.resamples, f"at least 10, at most {MOST:,}")
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        require(math.isfinite(self.low), "low", self.low, "a finite number")
        require(not math.isinf(self.high), "high", self.high, "a finite number")


def run(rest: list[str]) -> None:
    options = parse(Compare, rest, "innerloop compare")
    require(len(options.runs) > 0, "runs", [], "at least one run, directory of runs, or CSV file")
    systems = read_systems([resolve_path("runs", each) for each in options.runs])
    high = None if math.isnan(options.high) else options.high
    found = compare(systems, low=options.low, high=high, count=options.resamples, seed=options.seed)
    if options.out:
        write_all("out", resolve_path("out", options.out), documents(found))
    print(json.dumps(found, indent=1) + "\n" if options.json else markdown(found), end="")
