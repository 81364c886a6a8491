"""`innerloop plot`."""

from dataclasses import dataclass

import tyro

from ...envs.errors import require
from ...learner.places import resolve_path
from ..parsing import parse
from ..runs.plot import plot


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Draw the learning curves and adaptation curves of one or several runs into one picture each."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Directories of runs."""
    out: str = ""
    """Where the pictures go; by default into the first run's directory."""


def run(rest: list[str]) -> None:
    options = parse(Plot, rest, "innerloop plot")
    require(len(options.runs) > 0, "runs", [], "at least one directory of a run")
    runs = [resolve_path("runs", run) for run in options.runs]
    for file in plot(runs, resolve_path("out", options.out) if options.out else runs[0]):
        print(file)
