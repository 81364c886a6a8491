"""Several runs that differ by their seed alone, side by side in one Ray cluster: `innerloop train --seeds`."""

import dataclasses
import sys
from pathlib import Path

import ray

from ...envs.errors import RunFailed, require
from ...learner.cpus import usable_cpus
from ...learner.places import resolve_path
from ..config import Config
from ..launch.session import ray_session
from ..launch.side_by_side import side_by_side
from ..runs.compare import compare, documents, markdown
from ..runs.directory import is_run
from ..runs.identity import check_run
from ..runs.lines import read_lines
from ..runs.scores import read_systems
from ..runs.written import write_all

OWN_WORDS = {"seeds": 1, "parallel": 1, "out": 1, "overwrite": 0, "seed": 1, "checkpoints": 1}
"""Options that a single one of the runs is not told as they were given, and how many values each has."""


def train_seeds(config: Config, words: list[str], out: str, *, seeds: int, parallel: int, overwrite: bool) -> None:
    """Train, evaluate and compare them. Finished runs are kept, and interrupted ones are resumed.

    Args:
        config: of the first.
        words: the options of `innerloop train`, as they were given.
        out: directory; each run lies in it as seed-0, seed-1 ...
        seeds: how many.
        parallel: of them at once; 0 for one for each of the cluster's CPUs.
        overwrite: begin again.

    Raises:
        BadInput: the directory holds something else.
        RunFailed: some have failed; the others are done.
        Interrupted: Ctrl-C, or SIGTERM; the same command goes on.
    """
    scored = config.run.evaluation_tasks or config.run.evaluate_every
    require(bool(scored), "evaluation_tasks", 0, "evaluations, by which seeds are compared")
    place = resolve_path("out", out)
    require(not is_run(place), "out", out, "a directory for several runs: this one holds a run")
    configs = {f"seed-{seed}": _with_seed(config, seed) for seed in range(config.run.seed, config.run.seed + seeds)}
    if not overwrite:
        for name, each in configs.items():
            check_run(each, place / name)
    missing = {name: each for name, each in configs.items() if overwrite or not _done(place / name, each)}
    if missing:
        _train(config, missing, words, place, parallel, overwrite=overwrite)
    found = compare(read_systems([place / name for name in configs]), low=0.0, high=None, count=2_000, seed=0)
    write_all("out", place, documents(found))
    print(markdown(found), end="")


def _train(
    config: Config, configs: dict[str, Config], words: list[str], out: Path, parallel: int, *, overwrite: bool
) -> None:
    run = config.run
    with ray_session(run.address, run.dashboard, run.actor_cpus):
        cpus = usable_cpus() if run.address == "local" else int(ray.cluster_resources().get("CPU", 1))
        actors = max(1, int(cpus // run.actor_cpus))
        at_once = min(len(configs), parallel or actors)
        share = max(1, actors // at_once)
        address = ray.get_runtime_context().gcs_address if run.address == "local" else ""

        def command(name: str) -> tuple[list[str], Path]:
            begun = not overwrite and is_run(out / name)
            options = _resumed(config, out / name) if begun else _words(words, configs[name], out / name, overwrite)
            beside = [sys.executable, "-m", "innerloop", "beside", address, str(share), "train"]
            return [*beside, *options], out / f"{name}.log"

        failed = side_by_side(dict.fromkeys(configs, ""), at_once, command)
    if failed:
        logs = ", ".join(str(out / f"{name}.log") for name in failed)
        raise RunFailed(f"{' and '.join(failed)} of {out} failed; what each said last is in {logs}.")


def _with_seed(config: Config, seed: int) -> Config:
    run = config.run
    checkpoints = f"{run.checkpoints.rstrip('/')}/seed-{seed}" if run.checkpoints else ""
    return dataclasses.replace(config, run=dataclasses.replace(run, seed=seed, checkpoints=checkpoints))


def _resumed(config: Config, out: Path) -> list[str]:
    """The options that resume one of the runs: its own, but for how long it trains."""
    run, experiment = config.run, config.experiment
    names = ["--family", experiment.family_name, "--algorithm", experiment.algorithm_name]  # plug-ins may be imported
    return ["--resume", str(out), *names, "--iterations", str(run.iterations), "--minutes", str(run.minutes)]


def _words(words: list[str], config: Config, out: Path, overwrite: bool) -> list[str]:
    """The options of one of the runs."""
    kept, skip = [], 0
    for word in words:
        flag, equals, _ = word.partition("=")
        name = flag.removeprefix("--").removeprefix("run.").replace("-", "_")
        if skip:
            skip -= 1
        elif flag.startswith("--") and name in OWN_WORDS:
            skip = 0 if equals else OWN_WORDS[name]
        else:
            kept.append(word)
    own = ["--out", str(out), "--seed", str(config.run.seed), *(["--overwrite"] if overwrite else [])]
    return [*kept, *own, *(["--checkpoints", config.run.checkpoints] if config.run.checkpoints else [])]


def _done(place: Path, config: Config) -> bool:
    """Whether a run has been trained to its end, and evaluated."""
    if not is_run(place) or (config.run.evaluation_tasks and not (place / "evaluation.json").exists()):
        return False
    lines = read_lines(place / "metrics.jsonl")
    return bool(lines) and config.run.progress(int(lines[-1]["iteration"]), float(lines[-1]["seconds"])) >= 1
