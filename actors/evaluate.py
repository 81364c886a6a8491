"""Evaluation on held-out tasks: the adaptation curve, with intervals over tasks."""

import contextlib
import csv
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ..envs.api import Finite, TaskFamily, Tasks
from ..envs.boundary import name_of, parse_count
from ..envs.errors import BadInput, ask, require
from ..envs.seeding import Streams, streams
from ..envs.trials import Trials, sample_tasks
from ..learner.api import InnerLoop
from ..learner.trajectory import rows_together
from .baselines.regret import best_return
from .intervals import by_task, intervals
from .rollout import play
from .scores import fingerprints, write_scores

WINDOWS = 10
"""Parts into which a trial that is counted in steps is divided."""
CHUNK = 2_000
"""Tasks drawn at a time, and rows played side by side where a family does not say that it is good for fewer."""


@runtime_checkable
class Informed(Protocol):
    """An agent that is told the tasks before each trial: no learner, but what learners are measured against."""

    def inform(self, tasks: Tasks) -> None:
        """Take the tasks of the trial that begins next."""
        ...


def play_tasks(agent: InnerLoop, family: TaskFamily, episodes: int, *, tasks: int, seed: int) -> np.ndarray:
    """Play one trial on each of `tasks` held-out tasks; of a finite set in whole rounds, see `whole_rounds`.

    The tasks and their noise depend on `seed` alone, so agents are compared on the same ones.

    Returns:
        The return of each episode, float64 [trials, episodes]; the mean over the rows of a task.

    Raises:
        BadInput: fewer than 2 tasks, or the environment returned something that its spaces do not have.
        EnvironmentRaised: its own code raised.
    """
    played = _played(agent, family, episodes, tasks=tasks, seed=seed, trial_steps=0)
    return np.concatenate([each.returns for each in played])


class Evaluated(NamedTuple):
    """Some of the tasks, and how their trials went."""

    tasks: Tasks
    returns: np.ndarray
    """[tasks, episodes]; NaN of an episode that was not reached."""
    windows: np.ndarray
    """[tasks, windows]: the reward in each part of a trial that is counted in steps."""
    measures: dict[str, np.ndarray]
    """Name to [tasks, episodes]; NaN as of `returns`."""


def _played(
    agent: InnerLoop, family: TaskFamily, episodes: int, *, tasks: int, seed: int, trial_steps: int
) -> Iterator[Evaluated]:
    """What is played, part by part."""
    require(tasks >= 2, "tasks", tasks, "at least 2, for an interval")
    rollouts = agent.rollouts_per_task
    together = max(1, rows_of(family) // rollouts)
    for rng, drawn in held_out(family, tasks=tasks, seed=seed):
        for start in range(0, len(next(iter(drawn.values()))), together):
            some = {name: array[start : start + together] for name, array in drawn.items()}
            if isinstance(agent, Informed):
                agent.inform(some)
            found = play(agent, Trials(family, some, episodes, rng.env, rollouts, trial_steps), rng.agent)
            reached = int((found.done & found.valid).sum(0).max()) if trial_steps else episodes
            returns = _by_task(found.episode_returns(reached), rollouts)
            edges = window_edges(trial_steps)
            rewards = [found.reward[first:end].sum(0, np.float64) for first, end in pairwise(edges)]
            windows = np.stack(rewards, 1) if rewards else np.empty((len(returns), 0))
            measures = {name: _by_task(array, rollouts) for name, array in found.measures.items()}
            yield Evaluated(some, returns, windows, measures)


def _by_task(array: np.ndarray, rollouts: int) -> np.ndarray:
    """Means over the rows of a task, float64 [tasks, episodes], of [rows, episodes]."""
    return array.astype(np.float64).reshape(-1, rollouts, array.shape[1]).mean(1)


def window_edges(trial_steps: int) -> list[int]:
    """The first steps of the windows into which a trial is divided, and the step after its last; none for 0."""
    return np.linspace(0, trial_steps, min(trial_steps, WINDOWS) + 1).round().astype(int).tolist()


def rows_of(family: TaskFamily) -> int:
    """Rows that are played side by side: as many as the family says it is good for, CHUNK at most.

    Raises:
        BadInput: it says something else than a number of rows.
    """
    return min(parse_count(f"the rows of {name_of(family)}", getattr(family, "rows", CHUNK)), CHUNK)


def test_set(family: TaskFamily) -> int:
    """How many different test tasks a family has; 0 where there is no end of them, or where it does not say.

    Raises:
        BadInput: it says something else than a number.
        EnvironmentRaised: its own code raised.
    """
    if not isinstance(family, Finite):
        return 0
    name = name_of(family)
    return parse_count(f"the task_count of {name}", ask(name, "task_count", family.task_count, "test"), 0)


def whole_rounds(family: TaskFamily, tasks: int) -> int:
    """As many trials as `tasks`, or a few more, in which every task of a finite test set is played equally often; fewer
    trials than it has are of different tasks."""
    size = test_set(family)
    return tasks + -tasks % size if 0 < size <= tasks else tasks


def held_out(family: TaskFamily, *, tasks: int, seed: int) -> Iterator[tuple[Streams, Tasks]]:
    """The tasks that `play_tasks` plays, up to CHUNK at a time, and the randomness that goes with them."""
    size, whole = max(1, test_set(family)), whole_rounds(family, tasks)
    together = max(1, CHUNK // size) * size
    for part, start in enumerate(range(0, whole, together)):
        rng = streams(seed, "test", part)
        yield rng, sample_tasks(family, rng.tasks, min(together, whole - start), "test")


class ReturnsFile:
    """Comma-separated values, a line for every task: its parameters, the return of each episode, and the family's
    measures of each.

    Columns are such as goal.0, goal.1, episode.1, episode.2, measure.success.1, measure.success.2; where trials are
    counted in steps, episodes (how many), window.1, window.2 (the reward in each tenth), measure.success (the mean over
    episodes). The file is there when all has been written, and what was there before is until then.
    """

    def __init__(self, file: Path) -> None:
        """Raises:
        BadInput: the file cannot be written.
        """
        self._file = file
        with self._refusing():
            whole = Path(os.path.realpath(file))
            try:
                is_file = stat.S_ISREG(whole.stat().st_mode)
            except FileNotFoundError:
                is_file = True
            # A file is written beside its place first, something like /dev/stdout as it is.
            self._place = whole if is_file else None
            beside = whole.with_name(f".{whole.name}.{secrets.token_hex(8)}.part")
            self._partial, mode = (beside, "x") if is_file else (whole, "w")
            self._out = self._partial.open(mode, newline="", encoding="utf-8")
        self._writer = csv.writer(self._out)
        self._begun = False

    def write(self, part: Evaluated) -> None:
        """Some more lines."""
        names: list[str] = []
        columns: list[np.ndarray] = []
        measures = {f"measure.{name}": array for name, array in part.measures.items()}
        if part.windows.size:  # how many episodes there are, differs
            played = ~np.isnan(part.returns)
            means = {name: np.nanmean(array, 1) for name, array in measures.items()}
            by_episode = {"episodes": played.sum(1), "window": part.windows} | means
        else:
            by_episode = {"episode": part.returns} | measures
        for start, group in ((0, part.tasks), (1, by_episode)):
            for name, array in group.items():
                flat = array.reshape(len(array), -1)
                names += [name] if array.ndim == 1 else [f"{name}.{index + start}" for index in range(flat.shape[1])]
                columns += [*flat.T]
        if twice := {name for name in names if names.count(name) > 1}:
            raise BadInput(
                f"tasks have an entry {min(twice)!r}; expected another name, which no other column of csv has."
            )
        with self._refusing():
            if not self._begun:
                self._writer.writerow(names)
                self._begun = True
            self._writer.writerows(zip(*columns, strict=True))

    def __enter__(self) -> "ReturnsFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._refusing():
            try:
                self._out.close()
                if kind is None and self._place is not None:
                    self._partial.replace(self._place)
            finally:
                if self._place is not None:
                    self._partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: what no file's name, or no text, can have in it
            raise BadInput(f"csv is {str(self._file)!r}; expected a file that can be written ({error}).") from error


def evaluate(
    agent: InnerLoop,
    family: TaskFamily,
    episodes: int,
    *,
    tasks: int,
    seed: int,
    file: Path | None = None,
    scores: Path | None = None,
    trial_steps: int = 0,
    counted: slice | None = None,
) -> dict[str, Any]:
    """The return of a trial and of each of its episodes; into `file`, if given, those of every single task.

    Args:
        agent: who plays.
        family: what is played.
        episodes: of a trial.
        tasks: trials on held-out tasks; see `whole_rounds`.
        seed: of the tasks and their noise.
        file: see `ReturnsFile`.
        scores: a file for each trial's task, as its fingerprint, and return.
        trial_steps: of a trial, instead of `episodes`.
        counted: some of the episodes, which are of interest.

    Returns:
        `return`, an interval as {mean, low, high}; `by_episode`, a list of the same, one per episode; `regret`, the
        same of what the trial's return falls short of that of the best policy for each task, where that is known, else
        None; `measures`, name to such a list; `tasks`, how many trials there were; `different_tasks`, on how many
        different tasks, over which the intervals are if the set of them is finite. Where trials are counted in steps,
        `by_episode` has the episodes that half of the trials reached, each over those that did, and `by_window` the
        reward in each tenth of a trial. `counted`, the same of the mean return of an episode among those that are.
    """
    tasks = whole_rounds(family, tasks)
    columns = len(window_edges(trial_steps)) - 1 if trial_steps else episodes
    try:  # the trial's return, each episode's or window's, the regret
        samples = np.empty((max(tasks, 0), columns + 2))
    except (MemoryError, ValueError) as error:
        raise BadInput(f"tasks is {tasks}; expected fewer, whose returns fit into memory.") from error
    done, known, seen = 0, False, list[np.ndarray]()
    named: dict[str, list[np.ndarray]] = {}
    with contextlib.nullcontext() if file is None else ReturnsFile(file) as out:
        for each in _played(agent, family, episodes, tasks=tasks, seed=seed, trial_steps=trial_steps):
            part = samples[done : done + len(each.returns)]
            part[:, 0], part[:, 1:-1] = np.nansum(each.returns, 1), each.windows if trial_steps else each.returns
            best = None if trial_steps else best_return(family, each.tasks)
            known = best is not None
            if best is not None:
                part[:, -1] = episodes * best - part[:, 0]
            for name, array in (each.measures | ({"": each.returns} if trial_steps else {})).items():
                named.setdefault(name, []).append(array)
            if out is not None:
                out.write(each)
            seen.append(fingerprints(each.tasks))
            done += len(each.returns)
    different, keys = np.unique(np.concatenate(seen), return_inverse=True)
    if scores is not None:
        write_scores(scores, np.concatenate(seen), samples[:, 0])
    if not test_set(family):  # a task that was drawn twice is twice as likely: its trials are of the distribution
        keys = np.arange(tasks)
    whole, *each = (asdict(i) for i in intervals(by_task(keys, samples if known else samples[:, :-1])))
    curves = {name: _curve(keys, rows_together(parts)) for name, parts in named.items()}
    by = {"by_episode": curves.pop(""), "by_window": each} if trial_steps else {"by_episode": each[:episodes]}
    counts: dict[str, Any] = {"tasks": tasks, "different_tasks": len(different)}
    if counted is not None:
        [some] = intervals(by_task(keys, samples[:, 1:-1][:, counted].mean(1, keepdims=True)))
        counts["counted"] = asdict(some)
    return {"return": whole, **by, "regret": each[episodes] if known else None, "measures": curves, **counts}


def _curve(keys: np.ndarray, samples: np.ndarray) -> list[dict[str, float]]:
    """Intervals by episode of [trials, episodes], up to the last one that half of the trials reached."""
    reached = ~np.isnan(samples)
    shown = reached[:, 2 * reached.sum(0) >= len(samples)].shape[1]
    means = by_task(keys, samples[:, :shown])
    found = (intervals(column[~np.isnan(column), None]) for column in means.T)
    return [asdict(interval) for [interval] in found]
