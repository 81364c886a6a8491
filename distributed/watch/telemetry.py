"""What a run exports to Prometheus, for Grafana and the Ray dashboard.

Ray serves the metrics of every process on its node's metrics port, under these names with `ray_` before them; the label
`run` is the run's name. Counters count from the driver's start. Gauges are of the last iteration. What the algorithm
says of its update, whatever that is, is `innerloop_learner_statistic`, with its name as a label.
"""

import math
import re
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ray.util.metrics import Counter, Gauge

from ..config import Config

REFRESH_SECONDS = 1.0
"""Ray forgets a gauge that is not set again within two of its reports; an iteration may take longer."""
EPISODES_SHOWN = 10
"""Episodes of a trial whose returns are shown, evenly spaced, the first and the last among them."""
EPISODE = "_episode_"
"""In the names of what a metrics line has by episode: `return_episode_1`, `measure_success_episode_1`."""
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


SECONDS = "Of the driver's time, in each phase: wait for trajectories, update, broadcast the weights."
DROPS = "Trajectories that were played and not learned from, by cause."

COUNTERS = (
    Metric("updates_total", "Meta-updates.", "iteration"),
    Metric("gradient_steps_total", "Gradient steps of algorithms that learn from replay.", "gradient_steps", adds=True),
    Metric("env_steps_total", "Environment steps that were learned from, or kept in replay.", "env_steps"),
    Metric("trials_total", "Trials that were learned from, or kept in replay.", "trials"),
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
    Metric("learner_gpu_bytes", "The most GPU memory that the learner held; 0 without a GPU.", "gpu_bytes"),
)

OTHERS = frozenset({"first_episode", "last_episode", "episodes", "seconds", "env_steps_per_s"})
"""Entries of a metrics line that follow from others."""
KNOWN = OTHERS | {metric.entry for metric in COUNTERS + GAUGES}


def statistics(line: dict[str, Any]) -> dict[str, float]:
    """What of a metrics line the algorithm said of its update."""
    shown_elsewhere = f"return{EPISODE}", MEASURE
    return {name: value for name, value in line.items() if name not in KNOWN and not name.startswith(shown_elsewhere)}


def episode_entries(returns: np.ndarray, of: str = "return") -> dict[str, float]:
    """Entries of a metrics line for the mean return, or a measure, of each episode of a trial, [episodes]; `by_episode`
    reads them."""
    shown = np.unique(np.linspace(1, len(returns), min(len(returns), EPISODES_SHOWN)).round().astype(int))
    return {f"{of}{EPISODE}{episode}": float(returns[episode - 1]) for episode in shown.tolist()}


def by_episode(line: dict[str, Any], of: str = "return") -> dict[int, float]:
    """The mean return, or a measure, of each episode of a trial, counted from 1, as far as the metrics line has it."""
    found = ((re.fullmatch(rf"{of}{EPISODE}([0-9]{{1,9}})", name), value) for name, value in line.items())
    return {int(name[1]): value for name, value in found if name}


def measures_of(line: dict[str, Any]) -> list[str]:
    """The names, with MEASURE before them, of the measures that a metrics line has."""
    names = (re.fullmatch(rf"({MEASURE}[a-z0-9_]+?){EPISODE}1", name) for name in line)
    return [name[1] for name in names if name]


def increases(line: Mapping[str, Any], before: Mapping[str, float]) -> list[tuple[Metric, float]]:
    """By how much each counter grows with a metrics line; those that do not are left out.

    Args:
        line: of this iteration.
        before: of the last one, or the totals that the run resumes with.
    """
    found = []
    for metric in COUNTERS:
        value = line.get(metric.entry, 0)
        more = value if metric.adds else value - before.get(metric.entry, 0)
        if more > 0:
            found.append((metric, more))
    return found


class Telemetry:
    """The metrics of one run, in the process of its driver; Ray must be there."""

    def __init__(self, config: Config, counts: Mapping[str, float]) -> None:
        """Args:
        config: of the run, as resolved.
        counts: totals that the run resumes with; the counters begin at 0 there.
        """
        run, experiment = config.run, config.experiment
        self._run = {"run": run.name}
        self._before = dict(counts)
        self._counters = {each.name: self._make(Counter, each) for each in COUNTERS}
        self._gauges = {each.name: self._make(Gauge, each) for each in GAUGES}
        for metric in COUNTERS:
            # Without it, the first increase would be of a counter that was not there; `inc` refuses 0.
            self._counters[metric.name]._record(0.0, self._labels(metric))
        self._episodes = Gauge("innerloop_episode_return", "Mean return by episode of a trial.", ("run", "episode"))
        by = "run", "measure", "episode"
        self._measures = Gauge("innerloop_measure", "Mean of a family's measure by episode of a trial.", by)
        self._statistics = Gauge("innerloop_learner_statistic", "What the algorithm says.", ("run", "statistic"))
        labels = {"family": experiment.family_name, "algorithm": experiment.algorithm_name, "mode": run.mode}
        about = Gauge("innerloop_run_info", "1, for the labels.", ("run", *labels))
        length = Gauge("innerloop_iterations", "Meta-updates that the run is to make.", ("run",))
        self._constant = [(about, 1.0, self._run | labels), (length, float(run.iterations), self._run)]
        self._last: list[tuple[Gauge, float, dict[str, str]]] = self._constant
        self._closing = threading.Event()
        self._refreshing = threading.Thread(target=self._refresh, name="gauges", daemon=True)
        self._refreshing.start()

    def record(self, line: dict[str, Any]) -> None:
        """Tell one iteration's metrics."""
        for metric, more in increases(line, self._before):
            self._counters[metric.name].inc(more, self._labels(metric))
        self._before |= line
        found = [(self._gauges[m.name], line.get(m.entry, 0), self._labels(m)) for m in GAUGES]
        found += [(self._episodes, v, self._run | {"episode": str(e)}) for e, v in by_episode(line).items()]
        for measure in measures_of(line):
            of = self._run | {"measure": measure.removeprefix(MEASURE)}
            found += [(self._measures, v, of | {"episode": str(e)}) for e, v in by_episode(line, measure).items()]
        found += [(self._statistics, v, self._run | {"statistic": name}) for name, v in statistics(line).items()]
        self._last = self._constant + [each for each in found if math.isfinite(each[1])]
        self._set()

    def close(self) -> None:
        """Tell no more; Ray forgets the gauges, and keeps the counters."""
        self._closing.set()
        self._refreshing.join()

    def _refresh(self) -> None:
        while not self._closing.wait(REFRESH_SECONDS):
            self._set()

    def _set(self) -> None:
        for gauge, value, labels in self._last:
            gauge.set(value, labels)

    def _labels(self, metric: Metric) -> dict[str, str]:
        label, _, value = metric.label.partition("=")
        return self._run | {label: value} if label else self._run

    @staticmethod
    def _make(kind: type[Any], metric: Metric) -> Any:
        labels = ("run", *filter(None, [metric.label.partition("=")[0]]))
        return kind(f"innerloop_{metric.name}", metric.about, labels)
