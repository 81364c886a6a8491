"""Evaluation while a run trains: the same held-out tasks again and again, played by the actors."""

from collections.abc import Mapping

import numpy as np

from ..actors.assignment import Assignment
from ..actors.evaluate import test_set
from ..learner.episodes import last_episode
from .config import Config
from .rollouts.tasks import assignments
from .runs.lines import HELD_OUT
from .store.api import Summary
from .watch.entries import MEASURE

SHARE = 0.04
"""Held-out trials between two evaluations, of the training trials in that time."""


def held_out_trials(config: Config) -> int:
    """Trials of an evaluation while the run trains, each on a held-out task of its own; of a finite set in whole
    rounds, where there are enough. No more than an iteration has; 0 for a run that is not evaluated."""
    run = config.run
    if not run.evaluate_every:
        return 0
    most = max(2, min(run.trials, int(SHARE * run.evaluate_every * run.trials)))
    size = test_set(config.experiment.family)
    return most - most % size if 0 < size <= most else most


def held_out_assignments(version: int, trials: int, parts: int) -> list[Assignment]:
    """The evaluation of the weights of this version, in parts as equal as possible."""
    wanted = assignments(version, trials, min(parts, trials), tuple(range(trials)))
    return [each._replace(held_out=True) for each in wanted]


def held_out_entries(played: Mapping[Assignment, Summary]) -> dict[str, float]:
    """Entries of a metrics line: the mean return of a held-out trial, of its first and last episode; the standard error
    of the first of these, over the tasks; each measure's mean."""
    found = [played[assignment] for assignment in sorted(played)]
    tasks = [np.nansum(s.returns, 1).reshape(a.trials, -1).mean(1) for a, s in sorted(played.items())]
    returns = np.concatenate(tasks)
    entries = {
        "iteration": float(next(iter(played)).iteration),
        "return": float(returns.mean()),
        "first_episode": float(np.concatenate([each.returns[:, 0] for each in found]).mean()),
        "last_episode": float(np.concatenate([last_episode(each.returns) for each in found]).mean()),
        "error": float(returns.std(ddof=1) / np.sqrt(len(returns))),
    }
    for name in found[0].measures:
        entries[MEASURE + name] = float(np.nanmean(np.concatenate([each.measures[name].reshape(-1) for each in found])))
    return {HELD_OUT + name: value for name, value in entries.items()}
