"""How long a good score takes: wall-clock minutes of `innerloop train` on this machine, from nothing.

python benchmarks/score.py                                   # every score, one seed each
python benchmarks/score.py --runs first bandit-100 --seeds 5
python benchmarks/score.py --runs point-maml --json

The clock runs from before Ray is started until the mean over the newest training trials, whose policy still explores,
is at the score. The rate of this machine's matrix products, measured before each run, stands beside it: with it,
figures of different machines compare.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from limits import device_name, matrix_flops
from rich.console import Console
from rich.table import Table

from innerloop.distributed.config import configure
from innerloop.distributed.trainer import train
from innerloop.learner.cpus import usable_cpus


class Score(NamedTuple):
    """What is to be reached."""

    preset: str
    about: str
    entry: str
    """Of a metrics line."""
    score: float
    trials: int
    """Newest ones, whose mean counts."""


SCORES = {
    "first": Score("first", "return of 10 pulls of 5 arms", "return", 6.5, 10_000),
    "bandit-100": Score("bandit-100", "return of 100 pulls of 5 arms", "return", 78.0, 10_000),
    "tabular-mdp": Score("tabular-mdp", "return of 10 episodes", "return", 150.0, 2_000),
    "cheetah-vel-pearl": Score("cheetah-vel-pearl", "return of the second episode", "last_episode", -40.0, 100),
    "point-maml": Score("point-maml", "return after an inner step", "last_episode", -12.0, 200),
    "point-pearl": Score("point-pearl", "share at the goal in episode 5", "measure_reached_episode_5", 0.8, 400),
}
"""Standard errors of these means: 0.02, 0.2, 0.6, 1.5, 0.4 and 0.02."""


class Reached(Exception):
    """The score is there; nothing is left to train for."""


def watching(score: Score, trials: int, line: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """What watches a run until its newest trials are as good as wanted.

    Args:
        score: to be reached.
        trials: in an iteration.
        line: gets the newest metrics, and as `best` the best mean so far.
    """
    newest: deque[float] = deque(maxlen=-(-score.trials // trials))

    def watch(metrics: dict[str, Any]) -> None:
        newest.append(metrics[score.entry])
        line.update(metrics)
        if len(newest) < (newest.maxlen or 0):
            return
        mean = statistics.fmean(newest)
        line["best"] = max(line.get("best", mean), mean)
        if mean >= score.score:
            raise Reached

    return watch


def measure(score: Score, seed: int) -> dict[str, Any]:
    """Train until the score or the run's end."""
    config = configure(score.preset, seed=seed, evaluation_tasks=0)
    matrix, line, reached = matrix_flops(usable_cpus()), dict[str, Any](), False
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        try:
            train(config, Path(out) / "run", watch=watching(score, config.run.trials, line))
        except Reached:
            reached = True
        minutes = (time.perf_counter() - begun) / 60
    return {
        "seed": seed,
        "reached": reached,
        "minutes": round(minutes, 2),
        "matrix_gflops": round(matrix / 1e9, 1),
        "best": round(line.get("best", float("nan")), 3),
        "iterations": line["iteration"],
        "env_steps": line["env_steps"],
    }


def row(name: str, found: list[dict[str, Any]]) -> list[str]:
    """Of the table: medians over the seeds that reached the score, and the range."""
    score, there = SCORES[name], [each for each in found if each["reached"]]
    cells = [name, score.about, f"{score.score:g}", f"{len(there)} of {len(found)}"]
    if not there:
        best = max(each["best"] for each in found)
        return [*cells, f"not in {max(each['minutes'] for each in found)} (best {best:g})", "", ""]
    minutes = sorted(each["minutes"] for each in there)
    steps = statistics.median(each["env_steps"] for each in there)
    rate = statistics.median(each["matrix_gflops"] for each in found)
    spread = f" ({minutes[0]:.2f} to {minutes[-1]:.2f})" if len(minutes) > 1 else ""
    return [*cells, f"{statistics.median(minutes):.2f}{spread}", f"{steps / 1e6:.2f} M", f"{rate:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", choices=[*SCORES], default=[*SCORES])
    parser.add_argument("--seeds", type=int, default=1, help="of each, from 0 on")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error(f"seeds is {given.seeds}; expected at least 1.")
    found = {name: [measure(SCORES[name], seed) for seed in range(given.seeds)] for name in given.runs}
    if given.json:
        print(json.dumps({"processor": device_name("cpu"), "runs": found}))
        return
    columns = ("run", "what", "score", "reached by", "minutes", "steps", "GFLOP/s of a matrix product")
    table = Table(*columns, title=f"Time to score on {device_name('cpu')}")
    for name, each in found.items():
        table.add_row(*row(name, each))
    Console().print(table)


if __name__ == "__main__":
    main()
