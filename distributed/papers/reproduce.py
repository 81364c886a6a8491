"""`innerloop reproduce TABLE`: train what a paper's table needs, evaluate all its columns, set them beside the paper's.

A cell's directory holds its runs, each as `innerloop train` leaves it, and `result.json`. Whatever is there already is
not done again: a run that has trained as long as is asked goes straight to its evaluation, an interrupted one goes on,
and an evaluated column stands until its agent has trained further.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import tyro

from ...actors.agent import Agent, locate
from ...actors.baselines import BASELINES
from ...actors.evaluate import evaluate
from ...envs.errors import FULL, BadInput, require
from ...envs.registry import resolve
from ...learner.cpus import usable_cpus
from ...learner.files import reason, to_json, write_whole
from ...learner.places import resolve_path
from ..config import Config, configure
from ..launch.session import ray_session
from ..launch.side_by_side import side_by_side
from ..runs.display import Display
from ..runs.identity import check_run
from ..trainer import resume, train
from .cells import check_table, chosen, in_order, resolve_cell
from .comparison import CellResult, Trained, check_place, file_name, read_result, write
from .tables import TABLES, Table

LONGEST_BUDGET = 10**6
"""Minutes; two years."""
MOST_TASKS = 10**7
"""Held-out tasks whose returns fit into memory."""


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Train and evaluate a paper's table, and print published and measured figures side by side."""

    table: tyro.conf.Positional[str]
    """rl2-bandits, rl2-mdps, snail-bandits, l2rl-bandits, or a Table of your own as package.module:attribute."""
    cells: tuple[str, ...] = ()
    """Some of its cells, such as 10,5 (pulls and arms); by default all."""
    columns: tuple[str, ...] = ()
    """Some of the columns that are trained, such as rl2-deepset, or none for the baselines alone; by default all."""
    budget: float = 0.0
    """Minutes of training a cell and column; 0 for what each cell has by default. More than before trains on."""
    out: str = ""
    """Directory of the runs and the results; by default runs/TABLE."""
    tasks: int = 10_000
    """Held-out tasks on which every column is evaluated."""
    seed: int = 0
    """Of training and of the held-out tasks."""
    address: str = "local"
    """Ray cluster to join: local starts one on this machine; auto finds one; else host:port or ray://host:port."""
    parallel: int = 0
    """Cells at once, each in a process of its own here, with its actors on the cluster; 0 for as many as it has CPUs
    for, at two a cell, and as this machine has for their learners."""
    learner_threads: int = 0
    """Threads of each learner; 0 for this machine's CPUs, shared among the cells at once."""

    def __post_init__(self) -> None:
        longest = f"a finite number of minutes, at least 0 and at most {LONGEST_BUDGET}"
        require(0 <= self.budget <= LONGEST_BUDGET, "budget", self.budget, longest)
        require(self.tasks >= 2, "tasks", self.tasks, "at least 2")
        for field, most in (
            ("tasks", MOST_TASKS),
            ("seed", 2**63 - 1),
            ("parallel", 1_000),
            ("learner_threads", 1_000),
        ):
            given = getattr(self, field)
            require(given >= 0, field, given, "at least 0")
            require(given <= most, field, given, f"at most {most}")
        for field in ("cells", "columns"):
            given = getattr(self, field)
            require(len({*given}) == len(given), field, " ".join(given), "each of them once")
        if self.columns == ("none",):
            for field in ("budget", "learner_threads"):
                require(not getattr(self, field), field, getattr(self, field), "nothing beside --columns none")


def reproduce(options: Reproduce) -> int:
    """Do what is missing of a table, and write `table.md`, `table.json` and `table.png` whenever a cell is done.

    Returns:
        The exit status: 0, or 1 where a cell's own process failed (what it said is in CELL.log).

    Raises:
        BadInput: no such table, cell or column, or its directory holds runs of other options.
        Interrupted: Ctrl-C, or SIGTERM; the state is saved, and the same command goes on.
    """
    table = resolve("table", options.table, TABLES)
    require(isinstance(table, Table), "table", options.table, "a Table")
    check_table(table)
    for cell in options.cells:
        resolve_cell(cell, table)
    part = table._replace(learned=chosen(options.columns, table))
    cells = in_order(options.cells or (*table.cells,), part)
    out = resolve_path("out", options.out or f"runs/{options.table.replace(':', '.')}")
    # Refused before anything is trained.
    check_place(options.table, out)
    for cell in table.cells:
        read_result(out, cell)
    for cell in cells:
        for column in part.learned:
            check_run(_config(part, cell, column, options, 1, out), _place(out, cell, column))
    at_once = min(len(cells), options.parallel or capacity(options.address))
    threads = options.learner_threads or max(1, usable_cpus() // at_once)
    if at_once > 1:
        afters = {cell: table.cells[cell].after for cell in cells}
        failed = side_by_side(afters, at_once, lambda cell: (_command(cell, out, options, threads), _log(out, cell)))
        write(table, options.table, out)
        return 1 if failed else 0
    with ray_session(options.address, False):
        for cell in cells:
            _reproduce_cell(part, cell, out, options, threads)
            write(table, options.table, out)
    return 0


ACTORS = 2
"""Actors of a cell, as in the kept results."""


def capacity(address: str) -> int:
    """Cells for which a cluster has CPUs, at one for each actor, and this machine for their learners."""
    if address == "local":
        return max(1, usable_cpus() // ACTORS)
    with ray_session(address, False):
        cpus = int(ray.cluster_resources().get("CPU", 1))
    return max(1, min(cpus // ACTORS, usable_cpus()))


def _place(out: Path, cell: str, column: str) -> Path:
    return out / file_name(cell) / file_name(column)


def _config(table: Table, cell: str, column: str, options: Reproduce, threads: int, out: Path) -> Config:
    after = table.cells[cell].after
    given: dict[str, Any] = {
        "iterations": 1_000_000,
        **table.cells[cell].options,
        **table.learned[column],
        "minutes": float(options.budget or table.cells[cell].minutes),
        "seed": options.seed,
        "actors": ACTORS,
        "address": options.address,
        "learner_threads": threads,
        "evaluation_tasks": 0,
        "start_from": str(_place(out, after, column)) if after else "",
    }
    return configure(**given)


def _reproduce_cell(table: Table, cell: str, out: Path, options: Reproduce, threads: int) -> None:
    """Train and evaluate what is missing of one cell."""
    trained: dict[str, Trained] = {}
    for column in table.learned:
        print(f"{cell}: {column}", file=sys.stderr, flush=True)
        trained[column] = _trained(_config(table, cell, column, options, threads, out), _place(out, cell, column))
    result = read_result(out, cell)
    if result is None or (result["tasks"], result["seed"]) != (options.tasks, options.seed):
        result = CellResult(cell=cell, tasks=options.tasks, seed=options.seed, measured={}, trained={})
    experiment = configure(**table.cells[cell].options).experiment
    family, episodes = experiment.family, experiment.episodes
    for name, make in (BASELINES | dict.fromkeys(table.learned)).items():
        if name in result["measured"] and result["trained"].get(name) == trained.get(name):
            continue
        # What the run names has been compared with the table, which the user named.
        agent = make(family, episodes) if make else Agent.load(_place(out, cell, name), trust_plugins=True)
        if agent is not None:
            print(f"{cell}: evaluating {name}", file=sys.stderr, flush=True)
            found = evaluate(agent, family, episodes, tasks=options.tasks, seed=options.seed)
            result["measured"][name] = {"return": found["return"], "regret": found["regret"]}
            result["trained"] |= {name: trained[name]} if name in trained else {}
            _save(result, out / file_name(cell))


def _save(result: CellResult, place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_whole(str(place / "result.json"), to_json(result))
    except OSError as error:
        if error.errno in FULL:
            raise
        raise BadInput(f"out is {str(place)!r}; expected a directory that can be written ({reason(error)}).") from None


def _trained(config: Config, place: Path) -> Trained:
    """Train a run until it has had its full time; returns what it came to."""
    numbers = _numbers(place)
    if not numbers or config.run.progress(int(numbers["version"]), numbers["seconds"]) < 1:
        with Display(config.run) as display:
            if numbers:
                resume(place, config, watch=display)
            else:
                train(config, place, overwrite=True, watch=display)
        numbers = _numbers(place)
    return {
        "iterations": numbers["version"],
        "env_steps": numbers["env_steps"],
        "minutes": round(numbers["seconds"] / 60, 3),
    }


def _numbers(place: Path) -> dict[str, float]:
    """Of a run's newest checkpoint; empty before the first."""
    checkpoints = locate(place).checkpoints()
    numbers = checkpoints.newest().numbers if checkpoints.names() else {}
    missing = [name for name in ("version", "env_steps", "seconds") if numbers and name not in numbers]
    require(not missing, "out", str(place), f"a run whose checkpoints say their {' and '.join(missing)}")
    return numbers


def _command(cell: str, out: Path, options: Reproduce, threads: int) -> list[str]:
    """That does one cell."""
    command = [sys.executable, "-m", "innerloop", "reproduce", options.table, "--cells", cell, "--out", str(out)]
    command += ["--columns", *options.columns] if options.columns else []
    for name in ("tasks", "seed", "address"):
        command += [f"--{name}", str(getattr(options, name))]
    if options.columns != ("none",):
        command += ["--budget", str(options.budget), "--learner-threads", str(threads)]
    return [*command, "--parallel", "1"]


def _log(out: Path, cell: str) -> Path:
    return out / f"{file_name(cell)}.log"
