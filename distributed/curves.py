"""An iteration's adaptation curve, from the summaries of what was played."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..actors.assignment import Assignment
from ..envs.api import Bools
from ..learner.episodes import episode_entries
from ..learner.trajectory import rows_together
from .store.api import Summary
from .watch.entries import MEASURE


def rows_from_context(assignment: Assignment, summary: Summary) -> Bools:
    """[B]: whether a row's trial began from a context."""
    flags = np.array(assignment.from_context or [0] * assignment.trials, np.bool_)
    return np.repeat(flags, len(summary.returns) // len(flags))


def curve_of(played: Mapping[Assignment, Summary]) -> list[Summary]:
    """What an adaptation curve is drawn from: the trials that began from nothing; all, where there are no such ones."""
    found = []
    for assignment in sorted(played):
        summary = played[assignment]
        own = ~rows_from_context(assignment, summary)
        measures = {name: each[own] for name, each in summary.measures.items()}
        found.append(summary._replace(returns=summary.returns[own], measures=measures))
    whole = any(len(each.returns) for each in found)
    return found if whole else [played[assignment] for assignment in sorted(played)]


def from_context_entries(played: Mapping[Assignment, Summary]) -> dict[str, float]:
    """Entries of a metrics line for the trials that began from a context, if any: how many, and their mean return."""
    rows = [each.returns[rows_from_context(assignment, each)] for assignment, each in played.items()]
    returns = np.concatenate([np.nansum(each, 1) for each in rows])
    return {"trials_from_context": len(returns), "return_from_context": float(returns.mean())} if len(returns) else {}


def mean_by_episode(returns: Sequence[np.ndarray]) -> np.ndarray:
    """The mean return of each episode of a trial, over the trials that have it.

    Args:
        returns: [B, episodes] each, of as many trials and episodes as may be.

    Returns:
        [the most episodes].
    """
    return np.nanmean(rows_together(returns), 0)


def measure_entries(measures: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
    """Entries of a metrics line for each measure: its mean over all episodes, and over each episode of a trial."""
    found: dict[str, float] = {}
    for name in measures[0]:
        rows = [each[name] for each in measures]
        found[MEASURE + name] = float(np.nanmean(np.concatenate([each.reshape(-1) for each in rows])))
        found |= episode_entries(mean_by_episode(rows), f"{MEASURE}{name}")
    return found
