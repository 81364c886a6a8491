"""THE loop: tasks -> actors -> store -> learner -> weights -> actors."""

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from ..actors.assignment import Assignment
from ..learner.api import Metrics
from ..learner.episodes import episode_entries, last_episode
from ..learner.learner import Learner
from ..learner.sampling import Both, Sampler
from ..learner.trajectory import Trajectory, concatenate
from .config import Config
from .curves import curve_of, from_context_entries, mean_by_episode, measure_entries
from .held_out import held_out_assignments, held_out_entries, held_out_trials
from .rollouts.broadcast import Broadcast
from .rollouts.recalls import Recalls
from .rollouts.tasks import TaskOrder, assignments
from .store.api import Store, Summary, Whereabouts, summarise
from .store.schema import Schema


class Actors(Protocol):
    """The actors: `Pool`, or a replacement for it."""

    wanted: int
    """Actors that the cluster has room for, up to the most."""
    restarts: int
    lost_trials: int
    """That were under way in actors that failed, and were played again."""

    @property
    def alive(self) -> int: ...

    def submit(self, assignments: list[Assignment], contexts: Mapping[Assignment, Trajectory]) -> None:
        """Queue assignments; some have contexts that their trials begin from."""
        ...

    def pump(
        self, broadcast: Broadcast, timeout: float, clock: float | None = None
    ) -> list[tuple[Assignment, Summary, Whereabouts]]:
        """Send out what waits; what has been played meanwhile. See `Pool.pump`."""
        ...

    def close(self) -> None: ...


class Played(NamedTuple):
    """What came of an assignment."""

    summary: Summary
    trajectory: Trajectory | None
    """None where it went into replay alone."""


class Loop:
    """The loop itself, with its clocks and counters."""

    def __init__(
        self,
        config: Config,
        learner: Learner,
        actors: Actors,
        store: Store,
        order: TaskOrder,
        counts: dict[str, float],
    ) -> None:
        """Args:
        config: complete.
        learner: its version says where the run resumes.
        actors: play.
        store: what they play goes through it.
        order: of the training tasks.
        counts: totals that the run resumes with; they are updated here.
        """
        self._config, self._run = config, config.run
        self._learner, self._actors, self._store, self._order = learner, actors, store, order
        self._experiment = config.experiment
        self._ahead = self._run.max_staleness if self._run.mode == "overlapped" else 0
        """Iterations that are played ahead of the learner."""
        self._broadcast = Broadcast()
        self._recalls = Recalls(config.experiment.recall, store.replay, config.run.seed)
        self._thread = ThreadPoolExecutor(1, "update", initializer=torch.set_num_threads, initargs=(1,))
        self._held_out = held_out_trials(config)
        self._evaluated: dict[Assignment, Summary] = {}
        """Of the evaluation that is under way, what has been played."""
        self._reports: list[Summary] = []
        self._before = dict(counts)
        self._requested = learner.version
        self._waiting: dict[tuple[int, int], int] = {}
        """Iteration and part of what the store had already when the run went on, and the episodes of its trials."""
        self.counts = counts

    def iterations(self, stopping: threading.Event) -> Iterator[dict[str, Any]]:
        """Play, learn, broadcast until the last iteration, or until `stopping`; yields each iteration's metrics."""
        learner = self._learner
        waiting = self._store.begin(learner.version, self._schema() if self._store.writer else None)
        self._waiting = {(each.iteration, each.part): each.episodes for each in waiting}
        self._publish()
        while (progress := self._run.progress(learner.version, self.counts["seconds"])) < 1:
            start = time.perf_counter()
            self._request()
            played = self._collect(stopping)
            if played is None:
                return
            # In the order of assignments, not of arrival, so that a synchronous run repeats.
            taken = [played[assignment] for assignment in sorted(played)]
            batch = self._batch([each.trajectory for each in taken if each.trajectory])
            staleness = [learner.version - each.summary.version for each in taken]
            waited = time.perf_counter()
            update = self._thread.submit(learner.update, batch, progress)
            metrics = self._meanwhile(update) if self._ahead else update.result()
            updated = time.perf_counter()
            self._store.learned(sorted(played))
            self._order.over(learner.version)
            self._recalls.over(learner.version)
            self._publish()
            published = time.perf_counter()
            held_out = self._evaluate(stopping, published - start)
            end = time.perf_counter()
            self._count(played, end - start)
            seconds = {
                "waiting": waited - start, "updating": updated - waited, "broadcasting": published - updated,
                "evaluating": end - published,
            }  # fmt: skip
            yield self._line(played, metrics, staleness, seconds) | held_out

    def close(self) -> None:
        """Wait until an update that is under way has been made, or undone."""
        self._thread.shutdown()

    def _publish(self) -> None:
        self._broadcast.publish(self._learner.acting_weights(), self._learner.version)

    def _schema(self) -> Schema:
        """What comes back from a store that others can write to is compared with it."""
        run, experiment, learner = self._run, self._experiment, self._learner
        iterations = max(run.iterations, learner.version + 1)
        return Schema.of(experiment, learner.model, iterations=iterations, parts=run.part_count, tasks=run.tasks)

    def _request(self) -> None:
        """Have the next iterations played, as far ahead as the mode allows."""
        run = self._run
        while self._requested <= min(self._learner.version + self._ahead, run.iterations - 1):
            requested = self._requested
            begun = [episodes for (iteration, _), episodes in self._waiting.items() if iteration == requested]
            episodes = begun[0] if begun else self._config.episodes(requested, self.counts["seconds"])
            trials = run.trials * self._experiment.episodes // episodes
            wanted = assignments(requested, trials, run.part_count, self._order.choose(requested, trials), episodes)
            wanted = self._recalls.choose(wanted)  # of all of them: what waits already must not shift the draws
            missing = [each for each in wanted if (requested, each.part) not in self._waiting]
            self._actors.submit(missing, self._recalls.contexts)
            self._requested += 1

    def _collect(self, stopping: threading.Event) -> dict[Assignment, Played] | None:
        """An iteration's trajectories, of whichever assignments they are; None when it is time to stop."""
        played: dict[Assignment, Played] = {}
        while (missing := self._run.part_count - len(played)) > 0:
            if stopping.is_set():
                return None
            if len(self._store) < missing:
                self._pump(timeout=0.2)
            else:
                played |= self._take(missing) if self._experiment.learns_fresh else self._keep(missing)
        return played

    def _evaluate(self, stopping: threading.Event, seconds: float) -> dict[str, float]:
        """Play held-out tasks with the new weights, every so often and after the last iteration; returns what the
        metrics line has of it.

        Args:
            stopping: an evaluation is short: it is given up only where nobody is there to play it.
            seconds: that the iteration has taken so far.
        """
        run, version = self._run, self._learner.version
        over = run.progress(version, self.counts["seconds"] + seconds) >= 1
        if not self._held_out or (version % run.evaluate_every and not over):
            return {}
        wanted = held_out_assignments(version, self._held_out, run.part_count)
        self._actors.submit(wanted, {})
        while len(self._evaluated) < len(wanted):
            if stopping.is_set() and not self._actors.alive:
                return {}
            self._pump(timeout=0.2)
        played, self._evaluated = self._evaluated, {}
        return held_out_entries(played)

    def _batch(self, fresh: list[Trajectory]) -> Trajectory | Sampler | Both:
        """What the algorithm consumes."""
        if not self._experiment.learns_fresh:
            return self._store.replay
        trials = concatenate(fresh)
        return Both(trials, self._store.replay) if self._experiment.replays else trials

    def _pump(self, timeout: float) -> None:
        for assignment, summary, place in self._actors.pump(self._broadcast, timeout, self._store.clock):
            if assignment.held_out:
                self._evaluated[assignment] = summary
                continue
            self._reports.append(summary)
            self._store.append(assignment, summary, None if self._store.writer else place)

    def _meanwhile(self, update: "Future[Metrics]") -> Metrics:
        """Keep the actors busy while the learner learns."""
        while not update.done():
            futures.wait([update], timeout=0.005)
            self._pump(timeout=0)
        return update.result()

    def _take(self, count: int) -> dict[Assignment, Played]:
        """Trajectories to learn from once; what was dropped is counted and played again."""
        taken = self._store.take(count, self._learner.version - self._ahead)
        self._resubmit(taken.lost, taken.stale)
        return self._record_returns({a: Played(summarise(t), t) for a, t in taken.trajectories.items()})

    def _keep(self, count: int) -> dict[Assignment, Played]:
        """Put trajectories into replay alone."""
        kept = self._store.keep(count)
        self._resubmit(kept.lost, [])
        return self._record_returns({assignment: Played(summary, None) for assignment, summary in kept.kept.items()})

    def _resubmit(self, lost: list[Assignment], stale: list[Assignment]) -> None:
        self.counts["dropped_lost"] += len(lost)
        self.counts["dropped_stale"] += len(stale)
        self._actors.submit([*stale, *lost], self._recalls.contexts)

    def _record_returns(self, played: dict[Assignment, Played]) -> dict[Assignment, Played]:
        for assignment in sorted(played):
            if assignment.tasks:
                self._order.played(assignment.tasks, played[assignment].summary.returns)
        return played

    def _count(self, played: dict[Assignment, Played], seconds: float) -> None:
        """Add an iteration to the run's totals."""
        self.counts["env_steps"] += sum(each.summary.steps for each in played.values())
        self.counts["trials"] += sum(each.trials for each in played)
        self.counts["seconds"] += seconds
        self.counts["diverged"] += sum(each.summary.diverged for each in played.values())
        self.counts["restarts"] = self._before["restarts"] + self._actors.restarts
        self.counts["lost_trials"] = self._before["lost_trials"] + self._actors.lost_trials

    def _line(
        self, played: dict[Assignment, Played], metrics: Metrics, staleness: list[int], seconds: dict[str, float]
    ) -> dict[str, Any]:
        """An iteration's metrics.

        Args:
            played: what was learned from, or kept.
            metrics: of the update.
            staleness: of each, in updates.
            seconds: of the driver's time, by phase.
        """
        summaries = {assignment: each.summary for assignment, each in played.items()}
        curve = curve_of(summaries)
        returns = [each.returns for each in curve]  # [B, episodes] each; trials may have become longer
        reports, self._reports = self._reports, []
        playing, device = sum(report.seconds for report in reports), self._learner.device
        return {
            "iteration": self._learner.version,
            "return": float(np.concatenate([np.nansum(each, 1) for each in returns]).mean()),
            "first_episode": float(np.concatenate([each[:, 0] for each in returns]).mean()),
            "last_episode": float(np.concatenate([last_episode(each) for each in returns]).mean()),
            "episodes": max(each.shape[1] for each in returns),
            **episode_entries(mean_by_episode(returns)),
            **measure_entries([each.measures for each in curve]),
            **from_context_entries(summaries),
            **metrics,
            "staleness": float(np.mean(staleness)),
            "staleness_max": max(staleness),
            "actors_wanted": self._actors.wanted,
            "actors_alive": self._actors.alive,
            "env_steps_per_s": sum(each.summary.steps for each in played.values()) / sum(seconds.values()),
            "actor_steps_per_s": sum(report.steps for report in reports) / max(playing, 1e-9),
            "seconds_playing": playing,
            **{f"seconds_{phase}": each for phase, each in seconds.items()},
            "store_waiting": len(self._store),
            **({"gpu_bytes": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {}),
            **self._store.counts,
            **self.counts,
        }
