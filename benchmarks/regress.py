"""Has training changed? Golden runs, played again and compared with what is kept of them (benchmarks/golden).

python benchmarks/regress.py                              # all: make regress, less than 40 minutes on two cores
python benchmarks/regress.py --runs first w1              # some
python benchmarks/regress.py --keep --seeds 5             # play all seeds, and keep them as what is right from now on

A run is synchronous: where nothing has changed, the machine that kept it plays seed 0 again bit for bit. Elsewhere, and
after a change, its figures are compared with those of the kept seeds: a figure has moved where it lies outside the 99 %
prediction interval of one more run (Student's t), and that of the next seed, played only then, lies outside on the same
side. Training that learns better has moved, too: what is kept no longer shows when that is lost again. Speeds are
compared on the processor that kept them alone.

Exit status: 0; 1 where something has moved; 2 for bad input.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from limits import bare_steps_per_s, device_name, matrix_flops
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table
from scipy import stats
from typing_extensions import TypedDict

from innerloop.distributed.config import configure
from innerloop.distributed.trainer import train
from innerloop.envs.errors import BadInput, require
from innerloop.learner.cpus import usable_cpus
from innerloop.learner.files import Finite, read_json, to_json, write_whole

GOLDEN = Path(__file__).parent / "golden"
CONFIDENCE = 0.99
"""Of a prediction interval. That two seeds lie outside on one side has, with 5 kept ones, a probability of 0.1 %."""
FEWEST_SEEDS = 3
WARM = 5
"""Iterations whose speed does not count: processes start, caches fill."""


RUNS: dict[str, dict[str, Any]] = {
    "first": {"preset": "first"},
    "bandit-100": {"preset": "bandit-100"},
    "tabular-mdp": {"preset": "tabular-mdp"},
    "point-maml": {"preset": "point-maml", "iterations": 100},
    "cheetah-dir-maml": {"preset": "cheetah-dir-maml", "iterations": 40},
    "point-pearl": {"preset": "point-pearl", "iterations": 30},
    "w1": {"preset": "w1"},
    "w2": {"preset": "w2"},
    "w3": {"preset": "w3"},
}
"""Name to options; shorter than the runs that are kept as results where those take more than five minutes."""
WORKS = ("w1", "w2", "w3")
"""Those whose speed is compared, too."""


class Played(TypedDict):
    """What is kept of a run."""

    seed: int
    processor: str
    figures: dict[str, Finite]
    """See `figures_of` and `speeds_of`."""
    returns: list[float]
    """Mean return of the training trials, by iteration."""


class Kept(TypedDict):
    """A file of benchmarks/golden."""

    options: dict[str, Any]
    runs: list[Played]


FIGURES = ("return", "return at the end", "last episode at the end", "held-out return")
SPEEDS = ("share of bare stepping", "steps a GFLOP")


class Verdict(NamedTuple):
    """What has become of a figure."""

    mean: float
    half: float
    """Of the prediction interval's width, around the mean of the kept runs."""
    values: tuple[float, ...]
    """Of the seeds that were played: one, or two where the first lies outside."""

    @property
    def moved(self) -> str:
        """Above or below (NaN, too), where all that were played lie outside on one side; else empty."""
        sides = {(value > self.mean + self.half) - (not value >= self.mean - self.half) for value in self.values}
        return {1: "above", -1: "below"}.get(sides.pop(), "") if len(sides) == 1 else ""


def figures_of(lines: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of a run's metrics: the mean return over all iterations (how fast it learned) and over the last tenth (how well),
    the last episode's over the last tenth (how well it adapts), and the mean over the evaluations on held-out tasks."""
    end = lines[-max(1, len(lines) // 10) :]
    numbers = (
        [line["return"] for line in lines],
        [line["return"] for line in end],
        [line["last_episode"] for line in end],
        [line["held_out_return"] for line in lines if "held_out_return" in line],
    )
    return dict(zip(FIGURES, map(statistics.fmean, numbers), strict=True))


def speeds_of(lines: Sequence[dict[str, Any]], bare: float, matrix: float) -> dict[str, float]:
    """Of a run's metrics: its median speed, as shares of two limits of the machine that were measured before it.

    Args:
        lines: of the run.
        bare: steps a second of the environments alone, on all cores.
        matrix: floating-point operations a second of matrix products, on all cores.
    """
    speed = statistics.median(line["env_steps_per_s"] for line in lines[WARM:])
    return dict(zip(SPEEDS, (speed / bare, speed / (matrix / 1e9)), strict=True))


def play(options: dict[str, Any], seed: int, *, with_speed: bool) -> Played:
    """Train, and measure."""
    config, limits = configure(**options, seed=seed, evaluation_tasks=0), (0.0, 0.0)
    if with_speed:
        cpus = usable_cpus()
        rows = config.run.trials // min(cpus, config.run.part_count)
        limits = cpus * bare_steps_per_s(config.experiment.family, rows), matrix_flops(cpus)
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as out:
        train(config, Path(out) / "run", watch=lines.append)
    return Played(
        seed=seed,
        processor=device_name("cpu"),
        figures=figures_of(lines) | (speeds_of(lines, *limits) if with_speed else {}),
        returns=[line["return"] for line in lines],
    )


def prediction(kept: Sequence[float]) -> tuple[float, float]:
    """Where one more value lies with probability CONFIDENCE if it is drawn as these were, from a normal distribution:
    mean and half width (e.g. Hahn & Meeker, Statistical Intervals, section 4.7)."""
    n = len(kept)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    return statistics.fmean(kept), quantile * statistics.stdev(kept) * (1 + 1 / n) ** 0.5


def compare(kept: Sequence[Played], played: Sequence[Played]) -> dict[str, Verdict]:
    """A verdict on each figure; on a speed, only where enough of the kept runs are of the same processor."""
    same = [run for run in kept if run["processor"] == played[0]["processor"]]
    among = {name: same if name in SPEEDS else kept for name in played[0]["figures"]}
    return {
        name: Verdict(
            *prediction([run["figures"][name] for run in runs]), tuple(run["figures"][name] for run in played)
        )
        for name, runs in among.items()
        if len(runs) >= FEWEST_SEEDS
    }


def same_iterations(kept: Played, now: Played) -> int:
    """How many iterations, from the first on, have the same returns, to the bit."""
    pairs = zip(kept["returns"], now["returns"], strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(kept["returns"]), len(now["returns"])))


def read_kept(name: str, folder: Path) -> Kept:
    """Raises:
    BadInput: nothing that can be compared is kept of this run.
    """
    file = folder / f"{name}.json"
    expected = f"what `python benchmarks/regress.py --keep --runs {name}` leaves"
    try:
        kept = read_json(TypeAdapter(Kept), file, expected)
    except FileNotFoundError:
        raise BadInput(f"{str(file)!r} is missing; expected {expected}.") from None
    require(kept["options"] == RUNS[name], f"options of the kept {name}", kept["options"], expected)
    require(len(kept["runs"]) >= FEWEST_SEEDS, f"seeds of the kept {name}", len(kept["runs"]), expected)
    names = {*FIGURES, *(SPEEDS if name in WORKS else ())}
    for run in kept["runs"]:
        require(run["figures"].keys() == names, f"figures of the kept {name}", [*run["figures"]], expected)
    return kept


def keep(name: str, seeds: int, folder: Path) -> None:
    """Play all seeds of a run, and keep them."""
    runs = [play(RUNS[name], seed, with_speed=name in WORKS) for seed in range(seeds)]
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{name}.json", to_json(Kept(options=RUNS[name], runs=runs), indent=None))


def check(name: str, kept: Kept, table: Table) -> bool:
    """Play a run, a second seed of it where the first differs; whether something has moved."""
    played: list[Played] = []
    verdicts: dict[str, Verdict] = {}
    for run in kept["runs"][:2]:
        played.append(play(RUNS[name], run["seed"], with_speed=name in WORKS))
        verdicts = compare(kept["runs"], played)
        if not any(verdict.moved for verdict in verdicts.values()):
            break
    table.add_section()
    for figure, verdict in verdicts.items():
        values = ", ".join(f"{value:.4g}" for value in verdict.values)
        table.add_row(name, figure, f"{verdict.mean:.4g} ± {verdict.half:.2g}", values, verdict.moved or "as kept")
    for figure in played[0]["figures"].keys() - verdicts.keys():
        table.add_row(name, figure, "of another processor", f"{played[0]['figures'][figure]:.4g}", "not compared")
    same = same_iterations(kept["runs"][0], played[0])
    table.add_row(name, "iterations with the same bits", f"{len(kept['runs'][0]['returns'])}", f"{same}", "")
    return any(verdict.moved for verdict in verdicts.values())


def main(words: list[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", choices=[*RUNS], default=[*RUNS])
    parser.add_argument("--keep", action="store_true", help="play all seeds, and keep them as what is right")
    parser.add_argument("--seeds", type=int, default=5, help="that are kept")
    parser.add_argument("--golden", type=Path, default=GOLDEN, help="directory of what is kept")
    given = parser.parse_args(words)
    if given.seeds < FEWEST_SEEDS:
        parser.error(f"seeds is {given.seeds}; expected at least {FEWEST_SEEDS}.")
    if given.keep:
        for name in given.runs:
            keep(name, given.seeds, given.golden)
        return 0
    try:
        kept = {name: read_kept(name, given.golden) for name in given.runs}
    except BadInput as error:
        parser.error(str(error))
    begun = time.perf_counter()
    table = Table("run", "figure", "kept (99 % of runs)", "now", "", title=f"Golden runs on {device_name('cpu')}")
    moved = [name for name in given.runs if check(name, kept[name], table)]
    Console().print(table)
    minutes = (time.perf_counter() - begun) / 60
    print(f"{minutes:.0f} minutes. {'Moved: ' + ', '.join(moved) if moved else 'Nothing has moved'}.")
    return 1 if moved else 0


if __name__ == "__main__":
    sys.exit(main())
