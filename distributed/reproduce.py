"""`innerloop reproduce TABLE`: train what a paper's table needs, evaluate all its columns, set them beside the paper's.

A cell's directory holds its runs, each as `innerloop train` leaves it, and `result.json`. Whatever is there already is
not done again: a run that has trained as long as is asked goes straight to its evaluation, an interrupted one goes on,
and an evaluated column stands until its agent has trained further.
"""

import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import tyro

from ..actors.agent import Agent, locate
from ..actors.baselines import BASELINES
from ..actors.evaluate import evaluate
from ..envs.errors import BadInput, require
from ..envs.registry import resolve
from ..learner.checkpoint import write_whole
from ..learner.learner import usable_cpus
from .comparison import write
from .config import Config, Run, configure
from .directory import saved_config
from .display import Display
from .published import TABLES, Cell, Table
from .session import ray_session, stop_signals
from .trainer import Interrupted, resume, train

DECISIVE = ("trials", "episodes_start", "seed")
"""What of a `Run` makes it another one."""


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
        require(0 <= self.budget < float("inf"), "budget", self.budget, "a finite number of minutes, at least 0")
        require(self.tasks >= 2, "tasks", self.tasks, "at least 2")
        for field in ("seed", "parallel", "learner_threads"):
            require(getattr(self, field) >= 0, field, getattr(self, field), "at least 0")


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
    for cell in options.cells:
        resolve_cell(cell, table)
    part = table._replace(learned=chosen(options.columns, table))
    cells = in_order(options.cells or (*table.cells,), part)
    out = Path(options.out or f"runs/{options.table.replace(':', '.')}")
    for cell in cells:  # refused before anything is trained
        for column in part.learned:
            _check(_config(part, cell, column, options, 1, out), _place(out, cell, column))
    at_once = min(len(cells), options.parallel or capacity(options.address))
    threads = options.learner_threads or max(1, usable_cpus() // at_once)
    if at_once > 1:
        return _side_by_side(table, cells, out, options, at_once, threads)
    with ray_session(options.address, False):
        for cell in cells:
            _reproduce_cell(part, cell, out, options, threads)
            write(table, options.table, out)
    return 0


def resolve_cell(name: str, table: Table) -> Cell:
    """Raises:
    BadInput: no such cell; the message lists them.
    """
    if name not in table.cells:
        raise BadInput(f"cells is {name!r}; expected some of {' '.join(table.cells)}.")
    return table.cells[name]


def in_order(cells: tuple[str, ...], table: Table) -> list[str]:
    """These cells and, where something is trained, those that they start from, in the table's order."""
    needed = {*cells}
    for name in reversed(table.cells if table.learned else ()):
        needed |= {table.cells[name].after} if name in needed else set()
    return [name for name in table.cells if name in needed]


def chosen(columns: tuple[str, ...], table: Table) -> dict[str, dict[str, Any]]:
    """What is trained of a table; a column goes by the name of its directories, too, and none is no column.

    Raises:
        BadInput: no such column; the message lists them.
    """
    if columns == ("none",):
        return {}
    names = {_file_name(column): column for column in table.learned}
    for given in columns:
        if _file_name(given) not in names:
            raise BadInput(f"columns is {given!r}; expected some of {' '.join(names)}, or none.")
    asked = [_file_name(given) for given in columns] or [*names]
    return {column: table.learned[column] for name, column in names.items() if name in asked}


def capacity(address: str) -> int:
    """Cells for which a cluster has CPUs, at one for each part of a run, and this machine for their learners."""
    if address == "local":
        return max(1, usable_cpus() // Run().parts)
    with ray_session(address, False):
        cpus = int(ray.cluster_resources().get("CPU", 1))
    return max(1, min(cpus // Run().parts, usable_cpus()))


def _place(out: Path, cell: str, column: str) -> Path:
    return out / _file_name(cell) / _file_name(column)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]", "-", text.replace("²", "2")).lower()


def _config(table: Table, cell: str, column: str, options: Reproduce, threads: int, out: Path) -> Config:
    after = table.cells[cell].after
    given: dict[str, Any] = {
        "iterations": 1_000_000,
        **table.cells[cell].options,
        **table.learned[column],
        "minutes": float(options.budget or table.cells[cell].minutes),
        "seed": options.seed,
        "address": options.address,
        "learner_threads": threads,
        "evaluation_tasks": 0,
        "start_from": str(_place(out, after, column)) if after else "",
    }
    return configure(**given)


def _check(config: Config, place: Path) -> None:
    """Refuse to go on with a run of something else.

    Raises:
        BadInput: the directory holds one.
    """
    if not (place / "config.json").exists():
        return
    saved = saved_config(place)
    same = saved.experiment.to_json() == config.experiment.to_json()
    same = same and all(getattr(saved.run, name) == getattr(config.run, name) for name in DECISIVE)
    require(same, "out", str(place), "a directory without runs of other options; delete it, or name another")


def _reproduce_cell(table: Table, cell: str, out: Path, options: Reproduce, threads: int) -> None:
    """Train and evaluate what is missing of one cell."""
    trained: dict[str, dict[str, float]] = {}
    for column in table.learned:
        print(f"{cell}: {column}", file=sys.stderr, flush=True)
        trained[column] = _trained(_config(table, cell, column, options, threads, out), _place(out, cell, column))
    file = out / _file_name(cell) / "result.json"
    key = {"cell": cell, "tasks": options.tasks, "seed": options.seed}
    result: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    if {name: result.get(name) for name in key} != key:
        result = key | {"measured": {}, "trained": {}}
    experiment = configure(**table.cells[cell].options).experiment
    family, episodes = experiment.family, experiment.episodes
    for name, make in (BASELINES | dict.fromkeys(table.learned)).items():
        if name in result["measured"] and result["trained"].get(name) == trained.get(name):
            continue
        agent = make(family, episodes) if make else Agent.load(str(_place(out, cell, name)))
        if agent is not None:
            print(f"{cell}: evaluating {name}", file=sys.stderr, flush=True)
            found = evaluate(agent, family, episodes, tasks=options.tasks, seed=options.seed)
            result["measured"][name] = {measure: found[measure] for measure in ("return", "regret")}
            result["trained"] |= {name: trained[name]} if name in trained else {}
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(str(file), json.dumps(result, indent=1).encode())


def _trained(config: Config, place: Path) -> dict[str, float]:
    """See to it that a run has trained as long as it should; what it came to: iterations, env_steps and minutes."""
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
    return checkpoints.newest().numbers if checkpoints.names() else {}


def _side_by_side(table: Table, cells: list[str], out: Path, options: Reproduce, at_once: int, threads: int) -> int:
    """Each cell by a process of its own, so many at once; SIGTERM and Ctrl-C are handed on to them."""
    waiting, running, failed = [*cells], {}, []
    with stop_signals() as stopping:
        while running or (waiting and not stopping.is_set()):
            while len(running) < at_once and not stopping.is_set():
                unfinished = {*waiting, *running}
                ready = [cell for cell in waiting if table.cells[cell].after not in unfinished]
                if not ready:
                    break
                cell = ready[0]
                waiting.remove(cell)
                running[cell] = _process(cell, out, options, threads)
                print(f"{cell}: begun, its log is {_log(out, cell)}", file=sys.stderr, flush=True)
            for cell, process in [*running.items()]:
                if process.poll() is not None:
                    del running[cell]
                    said = "done" if process.returncode == 0 else f"failed: {_last_line(_log(out, cell))}"
                    failed += [cell] if process.returncode else []
                    print(f"{cell}: {said}", file=sys.stderr, flush=True)
            if stopping.wait(0.2) and running:
                for process in running.values():
                    process.send_signal(signal.SIGTERM)
                for process in running.values():
                    process.wait()
        if stopping.is_set():
            raise Interrupted(0)
    write(table, options.table, out)
    return 1 if failed else 0


def _process(cell: str, out: Path, options: Reproduce, threads: int) -> "subprocess.Popen[bytes]":
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "innerloop", "reproduce", options.table, "--cells", cell, "--out", str(out)]
    command += ["--columns", *options.columns] if options.columns else []
    for name in ("budget", "tasks", "seed", "address"):
        command += [f"--{name}", str(getattr(options, name))]
    command += ["--parallel", "1", "--learner-threads", str(threads)]
    with _log(out, cell).open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def _log(out: Path, cell: str) -> Path:
    return out / f"{_file_name(cell)}.log"


def _last_line(file: Path) -> str:
    return (file.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
