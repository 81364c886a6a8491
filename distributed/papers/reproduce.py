"""`innerloop reproduce TABLE`: train what a paper's table needs, evaluate all its columns, set them beside the paper's.

A cell's directory holds its runs, each as `innerloop train` leaves it, and `result.json`. Whatever is there already is
not done again: a run that has trained as long as is asked goes straight to its evaluation, an interrupted one goes on,
and an evaluated column stands until its agent has trained further. Of several seeds, each has a directory of its own
with all of this, as it would be alone; the first evaluates the baselines.
"""

import dataclasses
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import tyro

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
from ..runs.scores import SCORES
from ..trainer import Components, resume, train
from .cells import check_table, chosen, in_order, resolve_cell
from .comparison import CellResult, Trained, check_place, file_name, read_result, write
from .examined import examined_agent, in_units, numbers_of, record
from .table import Cell, Examination, Table
from .tables import TABLES

LONGEST_BUDGET = 10**6
"""Minutes; two years."""
MOST_TASKS = 10**7
"""Held-out tasks whose returns fit into memory."""
HELD_OUT_SEED = 0
"""Of the held-out tasks, which are the same for all seeds of training."""


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Train and evaluate a paper's table, and print published and measured figures side by side."""

    table: tyro.conf.Positional[str]
    """rl2-bandits, rl2-mdps, snail-bandits, l2rl-bandits, omniglot, sinusoid, or a Table of your own as
    package.module:attribute."""
    cells: tuple[str, ...] = ()
    """Some of its cells, such as 10,5 (pulls and arms); by default all."""
    columns: tuple[str, ...] = ()
    """Some of the columns that are trained, such as rl2-deepset, or none for the baselines alone; by default all."""
    budget: float = 0.0
    """Minutes of training a cell and column; 0 for what each cell has by default. More than before trains on."""
    out: str = ""
    """Directory of the runs and the results; by default runs/TABLE."""
    data: str = ""
    """Where the pictures are, for a table whose family reads some: its option `data`."""
    tasks: int = 10_000
    """Held-out tasks on which every column is evaluated."""
    baselines: bool = True
    """Evaluate the columns that are not trained, too."""
    seeds: int = 1
    """Train every column this many times, with seeds from --seed on; all are evaluated on the same held-out tasks."""
    seed: int = 0
    """Of training; the first of them, where there are several."""
    address: str = "local"
    """Ray cluster to join: local starts one on this machine; auto finds one; else host:port or ray://host:port."""
    parallel: int = 0
    """Cells and seeds at once, each in a process of its own here, with its actors on the cluster; 0 for as many as it
    has CPUs for, at two each, and as this machine has for their learners."""
    learner_threads: int = 0
    """Threads of each learner; 0 for this machine's CPUs, shared among those at once."""

    def __post_init__(self) -> None:
        longest = f"a finite number of minutes, at least 0 and at most {LONGEST_BUDGET}"
        require(0 <= self.budget <= LONGEST_BUDGET, "budget", self.budget, longest)
        require(self.tasks >= 2, "tasks", self.tasks, "at least 2")
        for field, most in (
            ("tasks", MOST_TASKS),
            ("seeds", 1_000),
            ("seed", 2**63 - self.seeds),
            ("parallel", 1_000),
            ("learner_threads", 1_000),
        ):
            given = getattr(self, field)
            require(given >= 0, field, given, "at least 0")
            require(given <= most, field, given, f"at most {most}")
        for field in ("cells", "columns"):
            given = getattr(self, field)
            require(len({*given}) == len(given), field, " ".join(given), "each of them once")
        require(self.seeds >= 1, "seeds", self.seeds, "at least 1")
        if self.columns == ("none",):
            require(self.baselines, "baselines", False, "them, beside --columns none")
            require(self.seeds == 1, "seeds", self.seeds, "1 beside --columns none, which trains nothing")
            for field in ("budget", "learner_threads"):
                require(not getattr(self, field), field, getattr(self, field), "nothing beside --columns none")


def reproduce(options: Reproduce, components: Components | None = None) -> int:
    """Do what is missing of a table, and write `table.md`, `table.json` and `table.png` whenever a cell is done.

    Args:
        options: what is asked for.
        components: of its runs.

    Returns:
        The exit status: 0, or 1 where a process failed (its log says why).

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
    seeds = _by_seed(options, out, table)
    # Refused before anything is trained.
    for place in {out, *seeds}:
        check_place(options.table, place)
    for place, own in seeds.items():
        for cell in table.cells:
            read_result(place, cell)
        for cell in cells:
            for column in _trained_here(part, cell):
                check_run(_config(part, cell, column, own, 1, place), _place(place, cell, column))
    units = {_name(cell, own, place == out): (cell, place) for place, own in seeds.items() for cell in cells}
    with ray_session(options.address, False):
        cpus = usable_cpus() if options.address == "local" else int(ray.cluster_resources().get("CPU", 1))
        at_once = min(len(units), options.parallel or max(1, min(cpus // ACTORS, usable_cpus())))
        threads = options.learner_threads or max(1, usable_cpus() // at_once)
        if at_once == 1:
            for cell, place in units.values():
                _reproduce_cell(part, cell, place, seeds[place], threads, components or Components())
                write(table, options.table, out, [*seeds])
            return 0
        begin = _beside(options.address, max(1, cpus // at_once))
        names = {unit: name for name, unit in units.items()}

        def command(name: str) -> tuple[list[str], Path]:
            cell, place = units[name]
            return [*begin, *_words(cell, place, seeds[place], threads)], place / f"{file_name(cell)}.log"

        afters = {
            name: names.get((table.cells[cell].after or table.cells[cell].agents, place), "")
            for name, (cell, place) in units.items()
        }
        failed = side_by_side(afters, at_once, command)
    write(table, options.table, out, [*seeds])
    return 1 if failed else 0


ACTORS = 2
"""Actors of a cell, as in the kept results."""


def _by_seed(options: Reproduce, out: Path, table: Table) -> dict[Path, Reproduce]:
    """The directory of every seed, and what is asked for in it."""
    if options.seeds == 1:
        others = sorted(each.name for each in out.glob("seed-*") if (each / "table.json").exists())
        expected = f"a directory without them, or --seeds {len(others)}"
        require(not others, "out", f"{out}, which holds {', '.join(others)}", expected)
        return {out: options}
    others = [file_name(cell) for cell in table.cells if os.path.lexists(out / file_name(cell))]
    expected = "a directory for several seeds: these are of one"
    require(not others, "out", f"{out}, which holds {', '.join(others)}", expected)
    seeds = range(options.seed, options.seed + options.seeds)
    return {
        out / f"seed-{seed}": dataclasses.replace(
            options, seed=seed, seeds=1, baselines=options.baselines and seed == options.seed
        )
        for seed in seeds
    }


def _name(cell: str, options: Reproduce, alone: bool) -> str:
    """Of what one process does."""
    return cell if alone else f"seed {options.seed}: {cell}"


def _beside(address: str, actors: int) -> list[str]:
    """What a process begins with that has its share of this cluster."""
    own = ray.get_runtime_context().gcs_address if address == "local" else ""
    return [sys.executable, "-m", "innerloop", "beside", own, str(actors), "reproduce"]


def _options(cell: Cell, options: Reproduce) -> dict[str, Any]:
    """Of a cell, with where its family's pictures are."""
    return cell.options | ({"data": options.data} if options.data else {})


def _trained_here(table: Table, cell: str) -> list[str]:
    """The columns of which an agent is trained for this cell."""
    return [] if table.cells[cell].agents else [*table.trained(cell)]


def _place(out: Path, cell: str, column: str) -> Path:
    return out / file_name(cell) / file_name(column)


def _config(table: Table, cell: str, column: str, options: Reproduce, threads: int, out: Path) -> Config:
    after = table.cells[cell].after
    given: dict[str, Any] = {
        "iterations": 1_000_000,
        **_options(table.cells[cell], options),
        **table.trained(cell)[column],
        "minutes": float(options.budget or table.cells[cell].minutes),
        "seed": options.seed,
        "actors": ACTORS,
        "address": options.address,
        "learner_threads": threads,
        "evaluation_tasks": 0,
        "start_from": str(_place(out, after, column)) if after else "",
    }
    return configure(**given)


def _reproduce_cell(
    table: Table, cell: str, out: Path, options: Reproduce, threads: int, components: Components
) -> None:
    """Train and evaluate what is missing of one cell."""
    trained: dict[str, Trained] = {}
    own, asked = table.cells[cell], table.trained(cell)
    for column in asked:
        place = _place(out, own.agents or cell, column)
        if own.agents:
            trained[column] = record(numbers_of(place))
            continue
        print(f"{cell}: {column}", file=sys.stderr, flush=True)
        trained[column] = _trained(_config(table, cell, column, options, threads, out), place, components)
    result = read_result(out, cell)
    if result is None or (result["tasks"], result["seed"]) != (options.tasks, HELD_OUT_SEED):
        result = CellResult(cell=cell, tasks=options.tasks, seed=HELD_OUT_SEED, measured={}, trained={})
    examined = own.examination or Examination({}, 0, slice(None))
    experiment = configure(**_options(own, options) | examined.family).experiment
    family, episodes = experiment.family, examined.episodes or experiment.episodes
    for name, make in ((BASELINES if options.baselines else {}) | dict.fromkeys(asked)).items():
        if name in result["measured"] and result["trained"].get(name) == trained.get(name):
            continue
        agent = make(family, episodes) if make else examined_agent(examined, _place(out, own.agents or cell, name))
        if agent is not None:
            print(f"{cell}: evaluating {name}", file=sys.stderr, flush=True)
            scores = _place(out, cell, name) / SCORES if name in asked and not own.agents else None
            found = evaluate(
                agent, family, episodes, tasks=options.tasks, seed=HELD_OUT_SEED, scores=scores,
                counted=examined.counted if own.examination else None,
            )  # fmt: skip
            result["measured"][name] = in_units(table, found, family.horizon)
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


def _trained(config: Config, place: Path, components: Components) -> Trained:
    """Train a run until it has had its full time; returns what it came to."""
    numbers = numbers_of(place)
    if not numbers or config.run.progress(int(numbers["version"]), numbers["seconds"]) < 1:
        with Display(config.run) as display:
            if numbers:
                resume(place, config, watch=display, components=components)
            else:
                train(config, place, overwrite=True, watch=display, components=components)
        numbers = numbers_of(place)
    return record(numbers)


def _words(cell: str, out: Path, options: Reproduce, threads: int) -> list[str]:
    """The options of a process that does one cell."""
    words = [options.table, "--cells", cell, "--out", str(out), "--parallel", "1"]
    words += ["--columns", *options.columns] if options.columns else []
    words += [] if options.baselines else ["--no-baselines"]
    for name in ("tasks", "seed", "address"):
        words += [f"--{name}", str(getattr(options, name))]
    trains = options.columns != ("none",)
    words += ["--data", options.data] if options.data else []
    return [*words, *(["--budget", str(options.budget), "--learner-threads", str(threads)] if trains else [])]
