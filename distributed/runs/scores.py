"""Scores of several runs of a system: ours from their directories, other systems' from comma-separated values.

The file has a line of names and then a line for each score. The columns, of which only the last must be there:

    system   what was run; by default the file's name
    seed     which of its runs; by default 0
    task     which task; by default all scores of a line's seed and steps are averaged
    steps    environment steps before; by default 0. A seed's scores at its most steps are its final ones
    score    the return of a trial, or whatever is compared; more is better
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...envs.errors import BadInput, require
from ...learner.files import plain, read
from .lines import HELD_OUT, read_lines
from .saved import SavedConfig, read_config

COLUMNS = "system", "seed", "task", "steps", "score"
SCORES = "scores.csv"
"""Of a run: the scores of its agent, one for each trial of the evaluation that followed training."""
SAME = "iterations", "minutes", "trials", "tasks", "task_order", "mode", "episodes_start", "start_from"
"""Options of a `Run` that runs of one system share; the others are how it was carried out."""
WHAT = "scores to compare"

Seed = dict[float, dict[str, list[float]]]
"""Scores of a run: by steps, by task."""


class System(NamedTuple):
    """Several runs of one system."""

    name: str
    tasks: list[str]
    """Of `scores`; empty where the runs do not have the same ones, and their means are compared."""
    scores: np.ndarray
    """float64 [runs, tasks]: the final ones."""
    steps: np.ndarray
    """float64 [points]; none where there are no curves."""
    curve: np.ndarray
    """float64 [runs, points]: the mean over tasks."""


def read_systems(places: Sequence[Path]) -> list[System]:
    """What is to be compared, in the order in which it was given.

    Args:
        places: runs, directories of runs, and CSV files. Runs that differ by their seed alone are of one system.

    Raises:
        BadInput: one of them is neither, or cannot be used; or they are not of the same family.
    """
    require(len({*places}) == len(places), "runs", [*map(str, places)], "each of them once")
    groups: dict[str, list[tuple[Path, SavedConfig]]] = {}
    found: dict[str, dict[str, Seed]] = {}
    for place in places:
        if place.is_file():
            for name, seeds in read_scores(place, place.stem).items():
                require(name not in found, "system", name, "one that no other file has")
                found[name] = seeds
            continue
        for run, config in _runs_in(place):
            groups.setdefault(_key(config), []).append((run, config))
    families = {config["family"]["name"]: str(run) for group in groups.values() for run, config in group}
    if len(families) > 1:
        (one, first), (other, second), *_ = families.items()
        raise BadInput(f"{first!r} is of family {one!r} and {second!r} of {other!r}; expected runs of one family.")
    for group in groups.values():
        found[_name([run for run, _ in group], {*found})] = _seeds_of(group)
    return [_system(name, seeds) for name, seeds in found.items()]


def together(systems: Iterable[System]) -> list[System]:
    """Systems whose scores can be compared task by task: as they are where all have the same tasks, else their means
    over tasks."""
    systems = [*systems]
    if all(each.tasks == systems[0].tasks and each.tasks for each in systems):
        return systems
    return [each._replace(tasks=[], scores=each.scores.mean(1, keepdims=True)) for each in systems]


def read_scores(file: Path, name: str) -> dict[str, dict[str, Seed]]:
    """A CSV file, as this module describes it: by system, by seed.

    Args:
        file: it.
        name: of the system where the file has none.

    Raises:
        BadInput: it is no such file.
    """
    shown = repr(str(file))
    try:
        text = read(file, shown, WHAT).decode("utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"{shown} is not there; expected {WHAT}.") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{shown} is not text ({error.reason} at byte {error.start}); expected {WHAT}.") from None
    lines = csv.reader(io.StringIO(text, newline=""))
    found: dict[str, dict[str, Seed]] = {}
    try:
        header = [each.strip() for each in next(lines, [])]
        known = len({*header}) == len(header) and {*header} <= {*COLUMNS} and "score" in header
        require(known, f"the first line of {shown}", plain(",".join(header)), f"names among {', '.join(COLUMNS)}")
        for values in lines:
            if not values:
                continue
            where = f"line {lines.line_num} of {shown}"
            require(len(values) == len(header), f"the number of values in {where}", len(values), f"{len(header)}")
            row = {key: value.strip() for key, value in zip(header, values, strict=True)}
            steps, score = (_number(row.get(key, "0"), f"{key} in {where}") for key in ("steps", "score"))
            require(steps >= 0, f"steps in {where}", steps, "at least 0")
            seeds = found.setdefault(row.get("system", name), {})
            at = seeds.setdefault(row.get("seed", "0"), {}).setdefault(steps, {})
            at.setdefault(row.get("task", ""), []).append(score)
    except csv.Error as error:
        raise BadInput(f"{shown} cannot be parsed ({error}); expected {WHAT}.") from None
    require(bool(found), f"the number of scores in {shown}", 0, "at least 1")
    return found


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    require(math.isfinite(value), what, plain(text), "a finite number")
    return value


def _runs_in(place: Path) -> list[tuple[Path, SavedConfig]]:
    """A run, or the runs in a directory."""
    runs = [place, *(sorted(each for each in place.iterdir() if each.is_dir()) if place.is_dir() else [])]
    found = [(run, config) for run in runs if (config := read_config(run))]
    require(bool(found), "run", str(place), "a run, a directory of runs, or a CSV file")
    return found[:1] if found[0][0] == place else found


def _key(config: SavedConfig) -> str:
    """The same for runs that differ by their seed alone."""
    saved: Mapping[str, Any] = config
    parts = [saved.get(name) for name in ("family", "algorithm", "episodes", "trial_steps")]
    return json.dumps([parts, [saved["run"].get(name) for name in SAME]], sort_keys=True)


def _name(runs: list[Path], taken: set[str]) -> str:
    """Of a system, from where its runs are."""
    names = [run.name for run in runs]
    if all(re.fullmatch(r"seed-\d+", name) for name in names):
        names = [run.parent.name for run in runs]
    first, last = min(names), max(names)  # what these two begin with, all do
    length = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    found = base = first if first == last else first[:length].rstrip("-_. 0123456789") or names[0]
    number = 1
    while found in taken:
        found = f"{base} ({(number := number + 1)})"
    return found


def _seeds_of(group: list[tuple[Path, SavedConfig]]) -> dict[str, Seed]:
    found: dict[str, Seed] = {}
    places: dict[str, Path] = {}
    for run, config in group:
        seed = str(dict(config["run"]).get("seed", 0))
        other = f"another seed than that of {str(places.get(seed, ''))!r}"
        require(seed not in found, f"the seed of {str(run)!r}", seed, other)
        found[seed], places[seed] = _of_run(run), run
    return found


def _of_run(run: Path) -> Seed:
    lines = read_lines(run / "metrics.jsonl")
    found: Seed = {}
    for line in lines:
        value = line.get(f"{HELD_OUT}return", math.nan)
        if math.isfinite(value):
            found[float(line["env_steps"])] = {"": [value]}
    if (run / SCORES).exists():
        systems = read_scores(run / SCORES, "")
        finals = [at for seeds in systems.values() for seed in seeds.values() for at in seed.values()]
        file = repr(str(run / SCORES))
        require(len(finals) == 1, f"the number of agents in {file}", len(finals), "1, the run's own")
        found[float(lines[-1]["env_steps"]) if lines else 0.0] = finals[0]
    require(bool(found), "run", str(run), f"one with {SCORES}, or evaluated while it trained (evaluate_every)")
    return found


def _system(name: str, seeds: dict[str, Seed]) -> System:
    finals = [{task: float(np.mean(scores)) for task, scores in seed[max(seed)].items()} for seed in seeds.values()]
    tasks = sorted(finals[0])
    if tasks != [""] and all(sorted(each) == tasks for each in finals):
        scores = np.array([[each[task] for task in tasks] for each in finals])
    else:
        tasks, scores = [], np.array([[float(np.mean([*each.values()]))] for each in finals])
    curves = [[(steps, _mean(seed[steps])) for steps in sorted(seed)] for seed in seeds.values()]
    if any(len(curve) < 2 for curve in curves):
        return System(name, tasks, scores, np.empty(0), np.empty((len(scores), 0)))
    first, last = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    steps = np.unique([each for curve in curves for each, _ in curve if first <= each <= last])
    found = [np.interp(steps, *np.array(curve).T) for curve in curves]
    return System(name, tasks, scores, steps, np.array(found))


def _mean(of_tasks: dict[str, list[float]]) -> float:
    """Over all scores."""
    return float(np.concatenate([*of_tasks.values()]).mean())
