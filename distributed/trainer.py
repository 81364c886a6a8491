"""THE loop: tasks -> actors -> store -> learner -> weights -> actors."""

import dataclasses
import json
import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..actors.actor import Assignment
from ..actors.agent import checkpoint_place
from ..envs.errors import BadInput, require
from ..learner.api import Metrics
from ..learner.checkpoint import Checkpoints, write_whole
from ..learner.learner import Learner, usable_cpus
from ..learner.trajectory import Trajectory, concatenate
from .broadcast import Broadcast
from .config import Config
from .metrics import Journal
from .pool import Pool, Summary
from .session import ray_session
from .store import RayStore, Store

WRITTEN = ("config.json", "metrics.jsonl", "evaluation.json", "tensorboard")
"""What a run writes into its directory, beside checkpoints and plots."""

Watch = Callable[[dict[str, Any]], None]
"""Called after every iteration with its metrics."""


class Interrupted(Exception):
    """The run was asked to stop, and has saved what it had."""

    def __init__(self, version: int) -> None:
        super().__init__(f"stopped after iteration {version}")
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
    """
    out = Path(out)
    if any((out / name).exists() for name in (*WRITTEN, "checkpoints")) and not overwrite:
        raise BadInput(
            f"out is {str(out)!r}, which holds a run; expected a new directory, --overwrite, or --resume {out}."
        )
    place = config.run.checkpoints
    if place and not overwrite:  # the run's own directory has been looked at
        require(not Checkpoints(place).names(), "checkpoints", place, "a place without another run's, or --overwrite")
    _run(config, out, watch, fresh=True)


def resume(out: str | Path, config: Config | None = None, *, watch: Watch = lambda line: None) -> None:
    """Go on with a run from its newest checkpoint; in synchronous mode it ends where it would have ended anyway.

    Args:
        out: the run's directory.
        config: another configuration to go on with; the saved one by default.
        watch: called after every iteration.

    Raises:
        As `train`.
    """
    _run(config or saved_config(out), Path(out), watch, fresh=False)


def saved_config(out: str | Path) -> Config:
    """The configuration of a run's directory.

    Raises:
        BadInput: there is none, or it cannot be used.
    """
    file = Path(out) / "config.json"
    try:
        return Config.from_json(json.loads(file.read_text()))
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{str(file)!r} cannot be read ({error}); expected the directory of a run.") from error


def _run(config: Config, out: Path, watch: Watch, *, fresh: bool) -> None:
    run, algorithm = config.run, config.experiment.algorithm
    require(algorithm.on_policy, "algorithm", config.experiment.algorithm_name, "one that learns on-policy")
    torch.set_num_threads(1)
    threads = run.learner_threads or max(1, usable_cpus() // (2 if run.mode == "overlapped" else 1))
    # Saved as resolved: a run that is resumed on another machine shares its work among as many threads.
    run = dataclasses.replace(run, learner_threads=threads)
    config = dataclasses.replace(config, run=run)
    learner = Learner(algorithm, config.experiment.problem, seed=run.seed, device=run.device, threads=threads)
    place = run.checkpoints or str(out / "checkpoints")
    checkpoints = Checkpoints(place, run.keep)
    counts = {
        "env_steps": 0,
        "trials": 0,
        "seconds": 0.0,
        "dropped_stale": 0,
        "dropped_lost": 0,
        "restarts": 0,
        "diverged": 0,
    }
    if not fresh:
        saved = Checkpoints(checkpoint_place(str(out))).newest()
        for reason in saved.skipped:
            logging.getLogger("innerloop").warning("%s The checkpoint before it is used.", reason)
        learner.load(saved.arrays, saved.numbers)
        counts |= {name: saved.numbers[name] for name in counts}
    with ExitStack() as stack:
        cpus = stack.enter_context(ray_session(run.address, run.dashboard))
        stopping = stack.enter_context(_stop_signals())
        # What can be refused beforehand has been. A run that fails before its first update leaves nothing either.
        if fresh:
            checkpoints.clear()
            _remove(out)
            stack.callback(lambda: None if learner.version or stopping.is_set() else _remove(out))
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"out is {str(out)!r}; expected a directory that can be written ({error}).") from error
        write_whole(str(out / "config.json"), json.dumps(config.to_json(), indent=1).encode())
        journal = Journal(out, learner.version)
        stack.callback(journal.close)
        busy = learner.threads if run.mode == "overlapped" else 0
        pool = Pool(
            config.experiment, run.seed, actors=run.actors or max(1, cpus - busy), max_restarts=run.max_restarts
        )
        stack.callback(pool.close)
        loop = _Loop(config, learner, pool, RayStore(), counts)

        def save() -> None:
            arrays, numbers = learner.state()
            checkpoints.save(arrays, numbers | loop.counts, config.to_json())

        try:
            for line in loop.iterations(stopping):
                journal.write(line)
                watch(line)
                if learner.version % run.checkpoint_every == 0:
                    save()
        finally:
            if learner.version % run.checkpoint_every or stopping.is_set():
                save()
        if learner.version < run.iterations:
            raise Interrupted(learner.version)


def _remove(out: Path) -> None:
    """What a run has written into its directory, but for checkpoints; and the directory, if nothing else is there."""
    for name in WRITTEN:
        with suppress(OSError):  # most often: it is not there
            shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
    with suppress(OSError):
        out.rmdir()


class _Loop:
    """The loop itself, with its clocks and counters."""

    def __init__(self, config: Config, learner: Learner, pool: Pool, store: Store, counts: dict[str, float]) -> None:
        self._config, self._run = config, config.run
        self._learner, self._pool, self._store = learner, pool, store
        self._broadcast = Broadcast()
        self._thread = ThreadPoolExecutor(1, "update", initializer=torch.set_num_threads, initargs=(1,))
        self._summaries: list[Summary] = []
        self._restarts_before = counts["restarts"]
        self.counts = counts

    def iterations(self, stopping: threading.Event) -> Iterator[dict[str, Any]]:
        """Play, learn, broadcast until the last iteration, or until `stopping`; yields each iteration's metrics."""
        run, learner = self._run, self._learner
        ahead = run.max_staleness if run.mode == "overlapped" else 0
        requested = learner.version
        self._publish()
        while learner.version < run.iterations:
            start = time.perf_counter()
            while requested <= min(learner.version + ahead, run.iterations - 1):
                self._pool.submit(assignments(requested, run.trials, run.parts))
                requested += 1
            taken: dict[Assignment, Trajectory] = {}
            while len(taken) < run.parts:
                if stopping.is_set():
                    return
                taken |= self._take(run.parts - len(taken))
            # In the order of their assignments, whoever finished first, so that a synchronous run repeats.
            batch = concatenate([taken[assignment] for assignment in sorted(taken)])
            staleness = [learner.version - trajectory.version for trajectory in taken.values()]
            waited = time.perf_counter()
            update = self._thread.submit(learner.update, batch, learner.version / run.iterations)
            metrics = self._meanwhile(update) if ahead else update.result()
            updated = time.perf_counter()
            self._publish()
            end = time.perf_counter()
            self.counts["env_steps"] += batch.steps
            self.counts["trials"] += run.trials
            self.counts["seconds"] += end - start
            self.counts["diverged"] += batch.diverged
            self.counts["restarts"] = self._restarts_before + self._pool.restarts
            returns = batch.episode_returns(self._config.experiment.episodes)
            played = self._summaries
            self._summaries = []
            yield {
                "iteration": learner.version,
                "return": float(returns.sum(1).mean()),
                "first_episode": float(returns[:, 0].mean()),
                "last_episode": float(returns[:, -1].mean()),
                **metrics,
                "staleness": float(np.mean(staleness)),
                "staleness_max": max(staleness),
                "env_steps_per_s": batch.steps / (end - start),
                "actor_steps_per_s": sum(s.steps for s in played) / max(sum(s.seconds for s in played), 1e-9),
                "seconds_waiting": waited - start,
                "seconds_updating": updated - waited,
                "seconds_broadcasting": end - updated,
                **self.counts,
            }

    def _publish(self) -> None:
        self._broadcast.publish(self._learner.weights(), self._learner.version)

    def _pump(self, timeout: float) -> None:
        for assignment, summary, reference in self._pool.pump(self._broadcast, timeout):
            self._summaries.append(summary)
            self._store.append(assignment, summary.version, reference)

    def _meanwhile(self, update: "Future[Metrics]") -> Metrics:
        """Keep the actors busy while the learner learns."""
        while not update.done():
            futures.wait([update], timeout=0.005)
            self._pump(timeout=0)
        return update.result()

    def _take(self, count: int) -> dict[Assignment, Trajectory]:
        """Wait until that many trajectories are there, then take them; what was dropped is counted and played again."""
        if len(self._store) < count:
            self._pump(timeout=0.2)
            return {}
        oldest = self._learner.version - (self._run.max_staleness if self._run.mode == "overlapped" else 0)
        taken = self._store.take(count, oldest)
        self.counts["dropped_stale"] += len(taken.stale)
        self.counts["dropped_lost"] += len(taken.lost)
        self._pool.submit([*taken.stale, *taken.lost])
        return taken.trajectories


def assignments(iteration: int, trials: int, parts: int) -> list[Assignment]:
    """An iteration's trials in `parts` batches as equal as possible."""
    return [Assignment(iteration, part, trials // parts + (part < trials % parts)) for part in range(parts)]


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM ask the loop to stop after what it is doing; a second one interrupts at once."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def ask(signum: int, frame: object) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    before = {signum: signal.signal(signum, ask) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
