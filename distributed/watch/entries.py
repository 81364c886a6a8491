"""The entries of a metrics line: which there are, and the metrics that they are exported as."""

import re
from typing import Any, NamedTuple

from ...learner.episodes import EPISODE
from ..runs.lines import HELD_OUT

MEASURE = "measure_"
"""Begins the names of a family's measures in a metrics line."""


class Metric(NamedTuple):
    """A metric, and the entry of a metrics line that it is made of."""

    name: str
    about: str
    entry: str
    label: str = ""
    """As cause=stale; empty for none but the run's."""
    adds: bool = False
    """The entry is of the iteration, and is added up; else a counter's entry is a total already."""


SECONDS = "Of the driver's time, in each phase: wait for trajectories, update, broadcast the weights, evaluate."
DROPS = "Trajectories that were played and not learned from, by cause."

COUNTERS = (
    Metric("updates_total", "Meta-updates.", "iteration"),
    Metric("gradient_steps_total", "Gradient steps of algorithms that learn from replay.", "gradient_steps", adds=True),
    Metric("env_steps_total", "Environment steps that were learned from, or kept in replay.", "env_steps"),
    Metric("trials_total", "Trials that were learned from, or kept in replay.", "trials"),
    Metric("trials_from_context_total", "Trials that began from a context.", "trials_from_context", adds=True),
    Metric("diverged_episodes_total", "Episodes cut because their simulation broke down.", "diverged"),
    Metric("lost_trials_total", "Trials under way in actors that failed; they are played again.", "lost_trials"),
    Metric("drops_total", DROPS, "dropped_stale", "cause=stale"),
    Metric("drops_total", DROPS, "dropped_lost", "cause=lost"),
    Metric("drops_total", DROPS, "quarantined", "cause=quarantined"),
    Metric("drops_total", DROPS, "discarded", "cause=discarded"),
    Metric("evicted_trials_total", "Trials that left the replay because it was full.", "replay_evicted"),
    Metric("replay_lost_trials_total", "Trials of the replay that were lost with their shard.", "replay_lost"),
    Metric("failed_checkpoints_total", "Checkpoints that could not be written.", "checkpoints_failed"),
    Metric("actor_restarts_total", "Actors that failed and were replaced.", "restarts"),
    Metric("phase_seconds_total", SECONDS, "seconds_waiting", "phase=wait", adds=True),
    Metric("phase_seconds_total", SECONDS, "seconds_updating", "phase=update", adds=True),
    Metric("phase_seconds_total", SECONDS, "seconds_broadcasting", "phase=broadcast", adds=True),
    Metric("phase_seconds_total", SECONDS, "seconds_evaluating", "phase=evaluate", adds=True),
    Metric("playing_seconds_total", "Of all actors together, spent playing.", "seconds_playing", adds=True),
)

LAST = "Of the driver's time, in each phase of the last iteration."

GAUGES = (
    Metric("iteration", "Meta-updates made, since the run began.", "iteration"),
    Metric("trial_return", "Mean return of the iteration's trials.", "return"),
    Metric("staleness_updates", "Mean updates by which trials' weights trailed the learner's.", "staleness"),
    Metric("staleness_max_updates", "The most updates by which a trial's weights trailed.", "staleness_max"),
    Metric("actors_wanted", "Actors that the cluster has room for, up to the most.", "actors_wanted"),
    Metric("actors_alive", "Actors that can play.", "actors_alive"),
    Metric("actor_env_steps_per_second", "Environment steps per second of one actor's time.", "actor_steps_per_s"),
    Metric("store_waiting_trajectories", "Trajectories that wait for the learner.", "store_waiting"),
    Metric("store_trials", "Trials in replay; 0 where nothing is replayed.", "replay_trials"),
    Metric("store_bytes", "Of the trials in replay; 0 where nothing is replayed.", "replay_bytes"),
    Metric("iteration_phase_seconds", LAST, "seconds_waiting", "phase=wait"),
    Metric("iteration_phase_seconds", LAST, "seconds_updating", "phase=update"),
    Metric("iteration_phase_seconds", LAST, "seconds_broadcasting", "phase=broadcast"),
    Metric("iteration_phase_seconds", LAST, "seconds_evaluating", "phase=evaluate"),
    Metric("learner_gpu_bytes", "The most GPU memory that the learner held; 0 without a GPU.", "gpu_bytes"),
)

EVALUATED = (
    Metric("held_out_return", "Mean return of a held-out trial in the last evaluation.", f"{HELD_OUT}return"),
    Metric("held_out_error", "Its standard error over the tasks.", f"{HELD_OUT}error"),
    Metric("held_out_last_episode", "Mean return of such a trial's last episode.", f"{HELD_OUT}last_episode"),
)
"""Gauges that are there from the first evaluation on."""

OTHERS = frozenset({"first_episode", "last_episode", "episodes", "seconds", "env_steps_per_s"})
"""Entries of a metrics line that follow from others."""
KNOWN = OTHERS | {metric.entry for metric in COUNTERS + GAUGES}


def held_out_of(line: dict[str, Any]) -> dict[str, float]:
    """What a metrics line has of an evaluation on held-out tasks, if there was one."""
    return {name: value for name, value in line.items() if name.startswith(HELD_OUT)}


def statistics(line: dict[str, Any]) -> dict[str, float]:
    """What of a metrics line the algorithm said of its update."""
    shown_elsewhere = f"return{EPISODE}", MEASURE, HELD_OUT
    return {name: value for name, value in line.items() if name not in KNOWN and not name.startswith(shown_elsewhere)}


def by_episode(line: dict[str, Any], of: str = "return") -> dict[int, float]:
    """The mean return, or a measure, of each episode of a trial, counted from 1, as far as the metrics line has it."""
    found = ((re.fullmatch(rf"{of}{EPISODE}([0-9]{{1,9}})", name), value) for name, value in line.items())
    return {int(name[1]): value for name, value in found if name}


def measures_of(line: dict[str, Any]) -> list[str]:
    """The names, with MEASURE before them, of the measures that a metrics line has."""
    names = (re.fullmatch(rf"({MEASURE}[a-z0-9_]+?){EPISODE}1", name) for name in line)
    return [name[1] for name in names if name]
