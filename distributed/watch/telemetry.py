"""What a run exports to Prometheus, for Grafana and the Ray dashboard.

Ray serves the metrics of every process on its node's metrics port, under these names with `ray_` before them; the label
`run` is the run's name. Counters count from the driver's start. Gauges are of the last iteration. What the algorithm
says of its update, whatever that is, is `innerloop_learner_statistic`, with its name as a label.
"""

import math
import threading
from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge

from ..config import Config
from .entries import COUNTERS, EVALUATED, GAUGES, MEASURE, Metric, by_episode, measures_of, statistics

REFRESH_SECONDS = 1.0
"""Ray forgets a gauge that is not set again within two of its reports; an iteration may take longer."""


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
        self._gauges = {each.name: self._make(Gauge, each) for each in GAUGES + EVALUATED}
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
        shown = [*GAUGES, *(metric for metric in EVALUATED if metric.entry in line)]
        found = [(self._gauges[m.name], line.get(m.entry, 0), self._labels(m)) for m in shown]
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
