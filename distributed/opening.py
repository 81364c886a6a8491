"""Opening a run: what it needs is parsed, built and compared, and its places are locked, before anything is written.

What is opened here is complete: behind it, only the disk, the cluster and the store can still refuse.
"""

import contextlib
import dataclasses
import json
import logging
import secrets
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..actors.agent import Located, find_checkpoint, locate
from ..envs.errors import BadInput, ask, require
from ..learner.best import Best, parse_best
from ..learner.checkpoint import FORMAT, Checkpoint, Checkpoints
from ..learner.cpus import usable_cpus
from ..learner.exported import check_exported
from ..learner.files import reason, write_whole
from ..learner.learner import Learner, load_weights, weights_of
from ..learner.pieces import Pieces
from ..learner.places import Place, resolve_path, resolve_place
from .config import MEGABYTE, Config
from .rollouts.tasks import TaskOrder
from .run import Run
from .runs.directory import (
    CONFIG,
    name_of,
    refuse_foreign,
    remove,
    saved_config,
    saved_json,
    tidy,
)
from .runs.lines import scan
from .runs.locking import DirectoryLock
from .runs.saved import SavedConfig
from .sizes import refuse_too_large

FIXED_TASKS = 100
"""Training tasks of an algorithm that learns from replay, where the run does not say."""
COUNTS = (
    "env_steps", "trials", "seconds", "dropped_stale", "dropped_lost", "restarts", "lost_trials", "diverged",
    "checkpoints_failed",
)  # fmt: skip
"""What a run counts; saved with its checkpoints."""
FIXED = ("seed", "tasks", "start_from")
"""Options of a `Run` that a resumed run cannot change."""


class Opened:
    """A run that may begin, or go on."""

    def __init__(self, config: Config, out: Path, shown: str, id: str, place: Place) -> None:
        """Args:
        config: complete, see `_resolved`.
        out: its directory.
        shown: the same, as it was given.
        id: of the run; its checkpoints carry it.
        place: of the checkpoints.
        """
        run, experiment = config.run, config.experiment
        self.config, self.out, self.shown, self.id = config, out, shown, id
        self.saved_as: dict[str, Any] = {"id": id, "format": FORMAT, **config.to_json()}
        """The configuration as it is saved, with the run's id."""
        self.checkpoints = Checkpoints(place, run.keep, id)
        self.pieces = pieces_of(place, config, id)
        if prepare := getattr(experiment.family, "prepare", None):
            ask(experiment.family_name, "prepare", prepare)
        refuse_too_large(config)
        self.learner = Learner(
            experiment.algorithm, experiment.problem, seed=run.seed, device=run.device, threads=run.learner_threads
        )
        self.order = TaskOrder(run.tasks, run.task_order, run.seed)
        self.counts: dict[str, float] = dict.fromkeys(COUNTS, 0) | {"seconds": 0.0}
        self.best: Best | None = None
        """Of the checkpoints so far, the best on held-out tasks."""
        self.resumed: Checkpoint | None = None
        """The checkpoint that the run resumes from."""
        self._moved_from: Located | None = None

    def load(self, saved: Checkpoint, at: Located) -> None:
        """Go on from a checkpoint.

        Raises:
            BadInput: it is not of this configuration.
        """
        self.learner.load(saved.arrays, saved.numbers)
        self.order.load(saved.arrays)
        self.best = parse_best(saved.arrays, self.learner.version)
        self.counts |= {name: saved.numbers[name] for name in self.counts if name in saved.numbers}
        self.resumed = saved
        self._moved_from = at if at.place.url != self.checkpoints.place.url else None

    def begin(self) -> None:
        """The first writes.

        Raises:
            BadInput: they do not succeed.
        """
        try:
            if self.resumed is None:
                self.checkpoints.clear()
                self.pieces.clear()
                remove(self.out)
                self.out.mkdir(parents=True, exist_ok=True)
            else:
                for each in (self.checkpoints, self.pieces):
                    each.tidy()
                tidy(self.out)
                self._move()
            write_whole(self.out / CONFIG, json.dumps(self.saved_as, indent=1).encode())
        except OSError as error:
            expected = f"a directory that can be written ({reason(error)})"
            raise BadInput(f"out is {self.shown!r}; expected {expected}.") from error

    def _move(self) -> None:
        """To where checkpoints go from now on; before the configuration says so, so that a kill loses nothing."""
        if self._moved_from is None or self.resumed is None:
            return
        before = pieces_of(self._moved_from.place, self.config, self.id)
        for version, arrays in before.whole(self.learner.version):
            self.pieces.save(version, arrays)
        kept = [self.resumed]
        if self.best and self.best.iteration != self.learner.version:
            kept.insert(0, self._moved_from.checkpoints().at(self.best.iteration))
        for each in kept:
            self.checkpoints.save(each.arrays, each.numbers, self.saved_as, self.best.iteration if self.best else -1)


def pieces_of(place: Place, config: Config, id: str) -> Pieces:
    """Where the replay is saved."""
    # Shards do not forget in step: twice as much is kept.
    experiment, tasks = config.experiment, config.run.tasks
    check = partial(check_exported, problem=experiment.problem, tasks=tasks)
    return Pieces(f"{place.url.rstrip('/')}/replay", 2 * config.run.replay_mb * MEGABYTE, id, check)


@contextlib.contextmanager
def open_new(config: Config, out: str | Path, *, overwrite: bool) -> Iterator[tuple[Opened, list[DirectoryLock]]]:
    """A run that begins, with the locks of its places, which are released at the end.

    Raises:
        BadInput: its directory, or the place of its checkpoints, holds a run already or is in use; or something of the
            configuration cannot be used.
    """
    directory = resolve_path("out", out)
    torch.set_num_threads(1)
    config = _resolved(config, directory)
    place = _place(config.run, directory, str(out))
    with _locked(directory, str(out), place) as locks:
        refuse_foreign(directory, str(out), overwrite=overwrite)
        if config.run.checkpoints and not overwrite:  # the run's own directory has been looked at
            held = Checkpoints(place).own()
            require(not held, "checkpoints", place.shown, "a place without another run's, or --overwrite")
        opened = Opened(config, directory, str(out), secrets.token_hex(8), place)
        if start := config.run.start_from:
            fresh = not config.experiment.replays
            require(fresh, "start_from", start, "none with an algorithm that learns from replay")
            load_weights(opened.learner.model, weights_of(find_checkpoint(start).arrays))
        yield opened, locks


@contextlib.contextmanager
def open_saved(
    out: str | Path, config: Config | None, trust_plugins: bool | Collection[str]
) -> Iterator[tuple[Opened, list[DirectoryLock]]]:
    """A run that resumes from its newest whole checkpoint, with the locks of its places, which are released at the end.

    Args:
        out: its directory.
        config: another configuration to go on with; the saved one by default.
        trust_plugins: see `Agent.load`; of the saved configuration.

    Raises:
        BadInput: there is none, another process is at it, or the configuration is of another run.
    """
    directory = resolve_path("resume", out)
    saved_as = saved_json(out)
    torch.set_num_threads(1)
    base = config or saved_config(out, trust_plugins)
    at = locate(directory)
    config = _resolved(_completed(base, saved_as), directory)
    _refuse_changes(config, saved_as)
    place = _place(config.run, directory, str(out))
    with _locked(directory, str(out), place) as locks:
        saved = at.checkpoints().newest()
        for sentence in saved.skipped:
            logging.getLogger("innerloop").warning("%s The checkpoint before it is used.", sentence)
        opened = Opened(config, directory, str(out), at.run or "", place)
        if place.url != at.place.url:
            newer = [name for name in opened.checkpoints.own() if int(name) > int(saved.numbers["version"])]
            held = [*opened.checkpoints.others(), *newer]
            require(not held, "checkpoints", place.shown, "a place without checkpoints of other runs")
        scan(directory / "metrics.jsonl")
        opened.load(saved, at)
        done, wanted = opened.learner.version, config.run.iterations
        changed = wanted != saved_as["run"].get("iterations")
        require(not changed or wanted >= done, "iterations", wanted, f"at least {done}, which the run has made")
        yield opened, locks


def _resolved(config: Config, out: Path) -> Config:
    """With everything that depends on machine, directory and algorithm. Saved so: a run that is resumed on another
    machine shares its work among as many threads, and finds its checkpoints from another directory."""
    run = config.run
    threads = run.learner_threads or max(1, usable_cpus() // (2 if run.mode == "overlapped" else 1))
    return dataclasses.replace(
        config,
        run=dataclasses.replace(
            run,
            learner_threads=threads,
            tasks=run.tasks or (FIXED_TASKS if config.experiment.replays else 0),
            name=run.name or name_of(out),
            checkpoints=resolve_place("checkpoints", run.checkpoints).url if run.checkpoints else "",
            start_from=resolve_place("start_from", run.start_from).url if run.start_from else "",
        ),
    )


def _completed(config: Config, saved_as: SavedConfig) -> Config:
    """With the saved run's values where a configuration leaves the choice open."""
    run, saved = config.run, saved_as["run"]
    left_open = ("learner_threads", "tasks", "name", "checkpoints", "start_from")
    found = {name: saved.get(name) for name in left_open if not getattr(run, name)}
    fitting = {name: value for name, value in found.items() if type(value) is type(getattr(run, name))}
    return dataclasses.replace(config, run=dataclasses.replace(run, **fitting))


def _refuse_changes(config: Config, saved_as: SavedConfig) -> None:
    """Refuse what a resumed run cannot change.

    Raises:
        BadInput: naming the option.
    """
    new = config.to_json()
    run, saved_run = new["run"], saved_as["run"]
    fixed: list[tuple[str, object, object]] = [
        ("algorithm", new["algorithm"]["name"], saved_as["algorithm"]["name"]),
        ("episodes", new["episodes"], saved_as["episodes"]),
        ("trial_steps", new["trial_steps"], saved_as.get("trial_steps", 0)),
    ]
    options = [name for name in new["family"] if name in saved_as["family"]]
    fixed += [("family" if name == "name" else name, new["family"][name], saved_as["family"][name]) for name in options]
    names = [*FIXED, *(["name"] if run["store"] != "ray" else [])]
    fixed += [(name, run[name], saved_run[name]) for name in names if name in saved_run]
    for field, given, before in fixed:
        require(given == before, field, given, f"{before!r}, as the run has it: a resumed run cannot change it")
    if config.experiment.replays:
        before = str(saved_run.get("store", "ray"))
        same = (before == "ray") == (run["store"] == "ray")
        require(same, "store", run["store"], f"{before!r}, which holds the run's replay")


def _place(run: Run, out: Path, shown: str) -> Place:
    """Of the checkpoints."""
    if run.checkpoints:
        return resolve_place("checkpoints", run.checkpoints)
    return resolve_place("out", out / "checkpoints")._replace(shown=f"{shown.rstrip('/')}/checkpoints")


@contextlib.contextmanager
def _locked(out: Path, shown: str, place: Place) -> Iterator[list[DirectoryLock]]:
    """Locks on the run's directory, and on the place of its checkpoints where that is another local one."""
    locks = [DirectoryLock("out", out, shown)]
    if place.local and not Path(place.root).is_relative_to(out):
        locks.append(DirectoryLock("checkpoints", Path(place.root), place.shown))
    with ExitStack() as stack:
        for lock in locks:
            lock.acquire()
            stack.callback(lock.release)
        yield locks
