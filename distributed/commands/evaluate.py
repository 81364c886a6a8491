"""`innerloop evaluate`."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from ...actors.agent import Agent
from ...actors.report import evaluation, table
from ...envs.errors import require
from ...learner.options import check_range
from ...learner.places import resolve_path
from ..overrides import split_overrides
from ..parsing import parse
from ..run import MOST


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate a trained agent, and the baselines its family has, on fresh held-out tasks.

    Options of its family may differ from those of training: --family.amplitude 5,10 plays tasks from outside of the
    distribution that it learned on; and so may some of its algorithm, such as --algorithm.evaluation-steps 10.
    """

    run: tyro.conf.Positional[str]
    """Directory of the run, or the place of its checkpoints (a path or an fsspec URL)."""
    checkpoint: Literal["last", "best"] = "last"
    """last, or the best on the held-out tasks of the evaluations during training."""
    tasks: int = 10_000
    """Held-out tasks."""
    seed: int = 0
    """Of the tasks and their noise; training never draws the same."""
    episodes: int = 0
    """Episodes of a trial; 0 for as many as in training."""
    greedy: bool = False
    """Take the most probable action instead of drawing one."""
    json: bool = False
    """Print one JSON object instead of a table."""
    csv: str = ""
    """A file for the returns on every single task, with the task's parameters."""
    family: str = ""
    """The run's family again, where it is a plug-in: only then is it imported, which runs its code."""
    algorithm: str = ""
    """The run's algorithm again, where it is a plug-in."""
    trust_plugins: bool = False
    """Import whatever plug-ins the run names."""

    def __post_init__(self) -> None:
        require(2 <= self.tasks <= MOST["tasks"], "tasks", self.tasks, f"at least 2, at most {MOST['tasks']:,}")
        for name in ("tasks", "seed", "episodes"):
            check_range(name, getattr(self, name))
        for name in ("seed", "episodes"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")


def run(rest: list[str]) -> None:
    rest, changed = split_overrides(rest)
    options = parse(Evaluate, rest, "innerloop evaluate")
    file = resolve_path("csv", options.csv) if options.csv else None
    require(
        file is None or (file.parent.is_dir() and not file.is_dir()),
        "csv",
        options.csv,
        "a file in a directory that is there",
    )
    named = [name for name in (options.family, options.algorithm) if name]
    agent = Agent.load(
        options.run,
        which=options.checkpoint,
        greedy=options.greedy,
        episodes=options.episodes,
        **changed,
        trust_plugins=options.trust_plugins or named,
    )
    own = agent.experiment.family_name, agent.experiment.algorithm_name
    for kind, given, name in zip(("family", "algorithm"), (options.family, options.algorithm), own, strict=True):
        require(given in ("", name), kind, given, f"{name!r}, as the run has it")
    for reason in agent.skipped:
        print(f"warning: {reason} The checkpoint before it is used.", file=sys.stderr)
    result = evaluation(agent, tasks=options.tasks, seed=options.seed, file=file)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        Console().print(table(result, Path(options.run).name))
