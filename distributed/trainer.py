"""A run: its parts, built and tied together; `loop` is what they then do."""

import math
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import RayError

from ..envs.errors import BadInput, require
from ..learner.best import Best
from ..learner.learner import Learner
from .config import MEGABYTE, Config
from .held_out import held_out_trials
from .launch.session import ray_session
from .launch.stopping import Interrupted, stop_signals
from .loop import Actors, Loop
from .opening import Opened, open_new, open_saved
from .rollouts.nodes import Nodes
from .rollouts.pool import Pool
from .rollouts.remote import Remote
from .runs.directory import remove
from .runs.journal import Journal
from .runs.lines import HELD_OUT
from .runs.locking import DirectoryLock
from .saving import Saver
from .store.api import Store
from .store.ray import RayStore
from .store.redis.store import RedisStore
from .watch.entries import held_out_of
from .watch.status_file import StatusFile
from .watch.telemetry import Telemetry

Watch = Callable[[dict[str, Any]], None]
"""Called after every iteration with its metrics."""
Say = Callable[[str], None]
"""Called with what is being waited for, in a word or two."""


def make_store(config: Config) -> Store:
    """The store that a configuration names.

    Raises:
        BadInput: it cannot be used.
    """
    run, consumes = config.run, config.experiment.algorithm.consumes
    capacity = run.replay_mb * MEGABYTE
    if run.store == "ray":
        return RayStore(0 if consumes == "fresh" else run.replay_shards, capacity, run.patience)
    return RedisStore(run.store, run.name, capacity=capacity, consumes=consumes)


def make_pool(config: Config, learner: Learner, store: Store, remote: type = Remote, share: int | None = None) -> Pool:
    """Actors wherever the cluster has room for them, that hand what they play to the store.

    Args:
        config: of the run.
        learner: whose threads are left to it.
        store: gets what is played.
        remote: what an actor does in its own process.
        share: actors at most, where other runs share the cluster.

    Raises:
        BadInput: the run itself holds what they need.
    """
    run, overlapped = config.run, config.run.mode == "overlapped"
    at_once = run.part_count * (1 + run.max_staleness if overlapped else 1)
    reserved = learner.threads if overlapped else 0
    return Pool(
        config.experiment,
        run.seed,
        nodes=Nodes(run.actor_cpus, reserved=reserved, everywhere=run.actors_on_learner_nodes),
        most=min(run.actors or at_once, at_once, share or at_once),
        parts=run.part_count,
        max_restarts=run.max_restarts,
        patience=run.patience,
        tasks=run.tasks,
        held_out=held_out_trials(config),
        writer=store.writer,
        cpus=run.actor_cpus,
        remote=remote,
    )


@dataclass(frozen=True)
class Components:
    """What makes the parts of a run: programs may put another in the place of one of ours, or keep a hold on it."""

    store: Callable[[Config], Store] = make_store
    pool: Callable[[Config, Learner, Store], Actors] = make_pool


def train(
    config: Config,
    out: str | Path,
    *,
    overwrite: bool = False,
    watch: Watch = lambda line: None,
    say: Say = lambda text: None,
    components: Components = Components(),
) -> None:
    """Begin a run.

    Args:
        config: see `configure`.
        out: its directory, made here.
        overwrite: delete what an earlier run left there.
        watch: called after every iteration.
        say: called with what is being waited for.
        components: makes the run's parts.

    Raises:
        BadInput: the directory holds a run already, or something of the configuration cannot be used.
        Interrupted: Ctrl-C, or SIGTERM; the state is saved.
        Diverged: a gradient was not finite; the last whole version is saved.
        Unsaved: none of its checkpoints could be written.
    """
    with open_new(config, out, overwrite=overwrite) as (opened, locks):
        _run(opened, locks, watch, say, components, overwrite=overwrite)


def resume(
    out: str | Path,
    config: Config | None = None,
    *,
    watch: Watch = lambda line: None,
    say: Say = lambda text: None,
    trust_plugins: bool | Collection[str] = False,
    components: Components = Components(),
) -> None:
    """Go on with a run from its newest checkpoint; in synchronous mode it ends where it would have ended anyway.

    Args:
        out: the run's directory.
        config: another configuration to go on with; the saved one by default. Some of it a run cannot change.
        watch: called after every iteration.
        say: called with what is being waited for.
        trust_plugins: see `Agent.load`; of the saved configuration.
        components: makes the run's parts.

    Raises:
        As `train`.
    """
    with open_saved(out, config, trust_plugins) as (opened, locks):
        _run(opened, locks, watch, say, components)


def _run(
    opened: Opened,
    locks: list[DirectoryLock],
    watch: Watch,
    say: Say,
    components: Components,
    *,
    overwrite: bool = False,
) -> None:
    config, learner, run = opened.config, opened.learner, opened.config.run
    with ExitStack() as stack:
        say("starting Ray" if run.address == "local" else "joining Ray")
        stack.enter_context(ray_session(run.address, run.dashboard, run.actor_cpus))
        store = components.store(config)
        stack.callback(store.close)
        taken = not opened.resumed and not overwrite and store.exists()
        require(not taken, "name", run.name, "one that the store does not hold yet, or --overwrite")
        stopping = stack.enter_context(stop_signals())
        # What can be refused beforehand has been. A run that fails before its first update leaves nothing either.
        if not opened.resumed:
            store.delete()
            stack.callback(lambda: None if learner.version or stopping.is_set() else remove(opened.out))
        opened.begin()
        record = _recorder(opened, watch, stack)
        if opened.resumed:
            store.restore(opened.pieces.read(learner.version), int(opened.counts["env_steps"]))
        say("starting actors")
        pool = components.pool(config, learner, store)
        stack.callback(pool.close)
        loop, saver = Loop(config, learner, pool, store, opened.order, opened.counts), Saver(opened, store)
        try:
            for line in loop.iterations(stopping):
                record(line)
                for lock in locks:
                    lock.check()
                if best := _better(line, opened.best):
                    saver.save(best)
                elif learner.version % run.checkpoint_every == 0:
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
        if run.progress(learner.version, opened.counts["seconds"]) < 1:
            raise Interrupted(learner.version)


def _better(line: dict[str, Any], best: Best | None) -> Best | None:
    """An iteration that was evaluated, where it is the best one so far."""
    value = line.get(f"{HELD_OUT}return")
    if value is None or not math.isfinite(value) or (best and value <= best.trial_return):
        return None
    return Best(line["iteration"], value)


def _recorder(opened: Opened, watch: Watch, stack: ExitStack) -> Watch:
    """Tells an iteration's metrics to all who want to know: files, `innerloop status`, Ray's dashboard, the caller.

    Raises:
        BadInput: the run's directory cannot be written, or its metrics cannot be read.
    """
    version = opened.learner.version
    try:
        journal = Journal(opened.out, version)
    except OSError as error:
        raise BadInput(f"out is {opened.shown!r}; expected a directory that can be written ({error}).") from error
    stack.callback(journal.close)
    status_file, telemetry = StatusFile(opened.config), Telemetry(opened.config, opened.counts | {"iteration": version})
    stack.callback(status_file.close)
    stack.callback(telemetry.close)

    known: dict[str, float] = {}

    def record(line: dict[str, Any]) -> None:
        journal.write(line)
        known.update(held_out_of(line))
        for tell in (status_file.write, telemetry.record):  # with the newest evaluation, until there is another
            tell(known | line)
        watch(line)

    return record
