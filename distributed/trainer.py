"""THE loop: tasks -> actors -> store -> learner -> weights -> actors."""

import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ray.exceptions import RayError

from ..actors.actor import Assignment
from ..envs.errors import BadInput, require
from ..learner.api import Metrics
from ..learner.learner import Learner
from ..learner.trajectory import Trajectory, concatenate
from .broadcast import Broadcast
from .config import MEGABYTE, Config
from .directory import remove
from .locking import DirectoryLock
from .metrics import Journal
from .nodes import Nodes
from .opening import Opened, open_new, open_saved
from .pool import Pool
from .saving import Saver
from .session import ray_session, stop_signals
from .status import Notice
from .store import Schema, Store, Summary, open_store, summarise
from .tasks import TaskOrder
from .telemetry import Telemetry, episode_entries

Watch = Callable[[dict[str, Any]], None]
"""Called after every iteration with its metrics."""


class Played(NamedTuple):
    """What came of an assignment."""

    summary: Summary
    trajectory: Trajectory | None
    """None where it went into replay."""


class Interrupted(Exception):
    """The run was asked to stop, and has saved what it had."""

    def __init__(self, version: int, more: str = "") -> None:
        super().__init__(f"stopped after iteration {version}{more}")
        self.version = version


def train(config: Config, out: str | Path, *, overwrite: bool = False, watch: Watch = lambda line: None) -> None:
    """Begin a run.

    Args:
        config: see `configure`.
        out: its directory, made here.
        overwrite: delete what an earlier run left there.
        watch: called after every iteration.

    Raises:
        BadInput: the directory holds a run already, or something of the configuration cannot be used.
        Interrupted: Ctrl-C, or SIGTERM; the state is saved.
        Diverged: a gradient was not finite; the last whole version is saved.
        Unsaved: none of its checkpoints could be written.
    """
    with open_new(config, out, overwrite=overwrite) as (opened, locks):
        _run(opened, locks, watch, overwrite=overwrite)


def resume(
    out: str | Path,
    config: Config | None = None,
    *,
    watch: Watch = lambda line: None,
    trust_plugins: bool | Collection[str] = False,
) -> None:
    """Go on with a run from its newest checkpoint; in synchronous mode it ends where it would have ended anyway.

    Args:
        out: the run's directory.
        config: another configuration to go on with; the saved one by default. Some of it a run cannot change.
        watch: called after every iteration.
        trust_plugins: see `Agent.load`; of the saved configuration.

    Raises:
        As `train`.
    """
    with open_saved(out, config, trust_plugins) as (opened, locks):
        _run(opened, locks, watch)


def _run(opened: Opened, locks: list[DirectoryLock], watch: Watch, *, overwrite: bool = False) -> None:
    config, learner, counts = opened.config, opened.learner, opened.counts
    run, algorithm, fresh = config.run, config.experiment.algorithm, opened.resumed is None
    with ExitStack() as stack:
        stack.enter_context(ray_session(run.address, run.dashboard, run.actor_cpus))
        store = open_store(
            run.store,
            run.name,
            capacity=run.replay_mb * MEGABYTE,
            shards=run.replay_shards,
            on_policy=algorithm.on_policy,
            patience=run.patience,
        )
        stack.callback(store.close)
        taken = fresh and not overwrite and store.exists()
        require(not taken, "name", run.name, "one that the store does not hold yet, or --overwrite")
        stopping = stack.enter_context(stop_signals())
        # What can be refused beforehand has been. A run that fails before its first update leaves nothing either.
        if fresh:
            store.delete()
            stack.callback(lambda: None if learner.version or stopping.is_set() else remove(opened.out))
        opened.begin()
        try:
            journal = Journal(opened.out, learner.version)
        except OSError as error:
            raise BadInput(f"out is {opened.shown!r}; expected a directory that can be written ({error}).") from error
        stack.callback(journal.close)
        notice, telemetry = Notice(config), Telemetry(config, counts | {"iteration": learner.version})
        stack.callback(notice.close)
        stack.callback(telemetry.close)
        overlapped = run.mode == "overlapped"
        if not fresh:
            store.restore(opened.pieces.read(learner.version), int(counts["env_steps"]))
        reserved = learner.threads if overlapped else 0
        at_once = run.parts * (1 + run.max_staleness if overlapped else 1)
        pool = Pool(
            config.experiment,
            run.seed,
            nodes=Nodes(run.actor_cpus, reserved=reserved, everywhere=run.beside_learner),
            most=min(run.actors or at_once, at_once),
            max_restarts=run.max_restarts,
            patience=run.patience,
            tasks=run.tasks,
            writer=store.writer,
            cpus=run.actor_cpus,
        )
        stack.callback(pool.close)
        loop = _Loop(config, learner, pool, store, opened.order, counts)
        saver = Saver(opened, store)
        try:
            for line in loop.iterations(stopping):
                journal.write(line)
                notice.write(line)
                telemetry.record(line)
                watch(line)
                for lock in locks:
                    lock.check()
                if learner.version % run.checkpoint_every == 0:
                    saver.save()
        except KeyboardInterrupt as error:  # the second: it could not wait
            raise Interrupted(learner.version) from error
        except RayError:
            if not stopping.is_set():  # the cluster is gone: `ray_session` says so, with what is saved
                raise
        finally:
            loop.close()
            if (learner.version or stopping.is_set()) and not any(lock.lost for lock in locks):
                saver.save()
        saver.end()
        if run.progress(learner.version, counts["seconds"]) < 1:
            raise Interrupted(learner.version)


class _Loop:
    """The loop itself, with its clocks and counters."""

    def __init__(
        self,
        config: Config,
        learner: Learner,
        pool: Pool,
        store: Store,
        order: TaskOrder,
        counts: dict[str, float],
    ) -> None:
        self._config, self._run = config, config.run
        self._learner, self._pool, self._store, self._order = learner, pool, store, order
        self._broadcast = Broadcast()
        self._thread = ThreadPoolExecutor(1, "update", initializer=torch.set_num_threads, initargs=(1,))
        self._reports: list[Summary] = []
        self._before = dict(counts)
        self.counts = counts

    def iterations(self, stopping: threading.Event) -> Iterator[dict[str, Any]]:
        """Play, learn, broadcast until the last iteration, or until `stopping`; yields each iteration's metrics."""
        run, learner = self._run, self._learner
        on_policy, on_gpu = self._config.experiment.algorithm.on_policy, learner.device.type == "cuda"
        ahead = run.max_staleness if run.mode == "overlapped" else 0
        requested = learner.version
        waiting = self._store.begin(learner.version, self._schema() if self._store.writer else None)
        already = {(each.iteration, each.part): each.episodes for each in waiting}
        self._publish()
        while (progress := run.progress(learner.version, self.counts["seconds"])) < 1:
            start = time.perf_counter()
            while requested <= min(learner.version + ahead, run.iterations - 1):
                begun = [episodes for (iteration, _), episodes in already.items() if iteration == requested]
                episodes = begun[0] if begun else self._config.episodes(requested, self.counts["seconds"])
                trials = run.trials * self._config.experiment.episodes // episodes
                wanted = assignments(requested, trials, run.parts, self._order.choose(requested, trials), episodes)
                self._pool.submit([each for each in wanted if (requested, each.part) not in already])
                requested += 1
            played: dict[Assignment, Played] = {}
            while len(played) < run.parts:
                if stopping.is_set():
                    return
                wait = run.parts - len(played)
                played |= self._take(wait) if on_policy else self._keep(wait)
            # In the order of their assignments, whoever finished first, so that a synchronous run repeats.
            taken = [played[assignment] for assignment in sorted(played)]
            trajectories = [each.trajectory for each in taken if each.trajectory]
            batch = concatenate(trajectories) if on_policy else self._store.replay
            staleness = [learner.version - each.summary.version for each in taken]
            waited = time.perf_counter()
            update = self._thread.submit(learner.update, batch, progress)
            metrics = self._meanwhile(update) if ahead else update.result()
            updated = time.perf_counter()
            self._store.learned(sorted(played))
            self._order.over(learner.version)
            self._publish()
            end = time.perf_counter()
            steps = sum(each.summary.steps for each in taken)
            self.counts["env_steps"] += steps
            self.counts["trials"] += sum(each.trials for each in played)
            self.counts["seconds"] += end - start
            self.counts["diverged"] += sum(each.summary.diverged for each in taken)
            self.counts["restarts"] = self._before["restarts"] + self._pool.restarts
            self.counts["lost_trials"] = self._before["lost_trials"] + self._pool.lost_trials
            returns = [each.summary.returns for each in taken]  # [B, episodes] each; trials may have become longer
            reports, self._reports = self._reports, []
            playing = sum(report.seconds for report in reports)
            yield {
                "iteration": learner.version,
                "return": float(np.concatenate([each.sum(1) for each in returns]).mean()),
                "first_episode": float(np.concatenate([each[:, 0] for each in returns]).mean()),
                "last_episode": float(np.concatenate([each[:, -1] for each in returns]).mean()),
                "episodes": max(each.shape[1] for each in returns),
                **episode_entries(mean_by_episode(returns)),
                **metrics,
                "staleness": float(np.mean(staleness)),
                "staleness_max": max(staleness),
                "actors_wanted": self._pool.wanted,
                "actors_alive": self._pool.alive,
                "env_steps_per_s": steps / (end - start),
                "actor_steps_per_s": sum(report.steps for report in reports) / max(playing, 1e-9),
                "seconds_playing": playing,
                "seconds_waiting": waited - start,
                "seconds_updating": updated - waited,
                "seconds_broadcasting": end - updated,
                "store_waiting": len(self._store),
                **({"gpu_bytes": torch.cuda.max_memory_allocated(learner.device)} if on_gpu else {}),
                **self._store.counts,
                **self.counts,
            }

    def close(self) -> None:
        """Wait until an update that is under way has been made, or undone."""
        self._thread.shutdown()

    def _publish(self) -> None:
        self._broadcast.publish(self._learner.weights(), self._learner.version)

    def _schema(self) -> Schema:
        """What comes back from a store that others can write to is compared with it."""
        run, experiment, learner = self._run, self._config.experiment, self._learner
        iterations = max(run.iterations, learner.version + 1)
        return Schema.of(experiment, learner.model, iterations=iterations, parts=run.parts, tasks=run.tasks)

    def _pump(self, timeout: float) -> None:
        for assignment, summary, reference in self._pool.pump(self._broadcast, timeout, self._store.clock):
            self._reports.append(summary)
            self._store.append(assignment, summary, None if self._store.writer else reference)

    def _meanwhile(self, update: "Future[Metrics]") -> Metrics:
        """Keep the actors busy while the learner learns."""
        while not update.done():
            futures.wait([update], timeout=0.005)
            self._pump(timeout=0)
        return update.result()

    def _take(self, count: int) -> dict[Assignment, Played]:
        """Wait until that many trajectories are there, then take them; what was dropped is counted and played again."""
        if len(self._store) < count:
            self._pump(timeout=0.2)
            return {}
        oldest = self._learner.version - (self._run.max_staleness if self._run.mode == "overlapped" else 0)
        taken = self._store.take(count, oldest)
        self._again(taken.lost, taken.stale)
        return self._went({a: Played(summarise(t), t) for a, t in taken.trajectories.items()})

    def _keep(self, count: int) -> dict[Assignment, Played]:
        """Wait until that many trajectories are there, then put them into replay."""
        if len(self._store) < count:
            self._pump(timeout=0.2)
            return {}
        kept = self._store.keep(count)
        self._again(kept.lost, [])
        return self._went({assignment: Played(summary, None) for assignment, summary in kept.kept.items()})

    def _again(self, lost: list[Assignment], stale: list[Assignment]) -> None:
        self.counts["dropped_lost"] += len(lost)
        self.counts["dropped_stale"] += len(stale)
        self._pool.submit([*stale, *lost])

    def _went(self, played: dict[Assignment, Played]) -> dict[Assignment, Played]:
        for assignment in sorted(played):
            if assignment.tasks:
                self._order.played(assignment.tasks, played[assignment].summary.returns)
        return played


def assignments(
    iteration: int, trials: int, parts: int, tasks: tuple[int, ...] = (), episodes: int = 0
) -> list[Assignment]:
    """An iteration's trials in `parts` batches as equal as possible, of these fixed tasks or of new ones."""
    sizes = [trials // parts + (part < trials % parts) for part in range(parts)]
    starts = [0, *itertools.accumulate(sizes)]
    return [Assignment(iteration, p, size, tasks[starts[p] : starts[p + 1]], episodes) for p, size in enumerate(sizes)]


def mean_by_episode(returns: Sequence[np.ndarray]) -> np.ndarray:
    """The mean return of each episode of a trial, over the trials that have it.

    Args:
        returns: [B, episodes] each, of as many trials and episodes as may be.

    Returns:
        [the most episodes].
    """
    widest = max(each.shape[1] for each in returns)
    padded = [np.pad(each, [(0, 0), (0, widest - each.shape[1])], constant_values=np.nan) for each in returns]
    return np.nanmean(np.concatenate(padded), 0)
