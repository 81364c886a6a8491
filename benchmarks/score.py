"""How long a good score takes: wall-clock minutes of `innerloop train` on this machine, from nothing.

python benchmarks/score.py                   # 6.5 on the bandit (10, 5), 78.0 on (100, 5)
python benchmarks/score.py --cells 10,5 --json

RL² on cells of `innerloop reproduce rl2-bandits`, with their own settings, in runs planned to be short: step sizes fall
over 2.5 and 10 minutes. The clock runs from before Ray is started until the mean return of the newest 10,000 training
trials, whose policy still explores, is at the score.
"""

import argparse
import json
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from innerloop.distributed.config import Config, configure
from innerloop.distributed.papers.tables import TABLES
from innerloop.distributed.trainer import train

TABLE = TABLES["rl2-bandits"]
TARGETS = {"10,5": ("RL²", 6.5, 2.5), "100,5": ("RL² deepset", 78.0, 10.0)}
"""Cell to the column that is trained, the score, and the minutes of a run."""
TRIALS = 10_000
"""Newest ones, whose mean return counts: its standard error is 0.015 with 10 pulls and 0.17 with 100."""


class Reached(Exception):
    """The score is there; nothing is left to train for."""


class Score:
    """Watches a run until its newest trials are as good as wanted."""

    def __init__(self, score: float, trials: int) -> None:
        """Args:
        score: return of a trial.
        trials: in an iteration.
        """
        self._score = score
        self._newest: deque[float] = deque(maxlen=-(-TRIALS // trials))
        self.best, self.line = -float("inf"), {}

    def __call__(self, line: dict[str, Any]) -> None:
        self._newest.append(line["return"])
        self.line = line
        if len(self._newest) < (self._newest.maxlen or 0):
            return
        mean = sum(self._newest) / len(self._newest)
        self.best = max(self.best, mean)
        if mean >= self._score:
            raise Reached


def measure(config: Config, score: float) -> dict[str, Any]:
    """Train until the score or the run's end."""
    watch, begun, reached = Score(score, config.run.trials), time.perf_counter(), False
    with tempfile.TemporaryDirectory() as out:
        try:
            train(config, Path(out) / "run", watch=watch)
        except Reached:
            reached = True
        minutes = (time.perf_counter() - begun) / 60
    return {
        "score": score,
        "reached": reached,
        "minutes": round(minutes, 2),
        "best": round(watch.best, 3),
        "iterations": watch.line["iteration"],
        "env_steps": watch.line["env_steps"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", nargs="+", choices=[*TARGETS], default=[*TARGETS])
    parser.add_argument("--minutes", type=float, help="of training at most; otherwise each cell's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {}
    for cell in given.cells:
        column, score, minutes = TARGETS[cell]
        options = TABLE.cells[cell].options | TABLE.learned[column]
        length = {"iterations": 1_000_000, "minutes": given.minutes or minutes}
        config = configure(**options, **length, seed=given.seed, evaluation_tasks=0)
        found[cell] = measure(config, score)
    if given.json:
        print(json.dumps(found))
    else:
        table = Table("pulls,arms", "score", "minutes", "steps", title="Time to score")
        for cell, each in found.items():
            minutes = f"{each['minutes']}" if each["reached"] else f"not in {each['minutes']} (best {each['best']})"
            table.add_row(cell, f"{each['score']}", minutes, f"{each['env_steps'] / 1e6:.1f} M")
        Console().print(table)


if __name__ == "__main__":
    main()
