"""The command `innerloop`: train, submit, status, evaluate, plot, reproduce, list."""

import json
import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import tyro
from rich.console import Console

from ..actors.agent import Agent
from ..envs import FAMILIES
from ..envs.errors import BadInput, EnvironmentRaised, raised_by, require
from ..learner import ALGORITHMS
from ..learner.checkpoint import write_whole
from ..learner.experiment import check_range
from ..learner.learner import Diverged
from ..learner.memory import MEMORIES
from ..learner.places import hide_password, resolve_path
from .access import without_passwords
from .config import MOST, PRESETS, Config
from .display import Display, use_any_terminal
from .local import ClusterFailed
from .locking import LockLost
from .options import parse, read_training, refuse_odd
from .pool import ActorsDied
from .published import TABLES
from .report import evaluation, table
from .reproduce import Reproduce, reproduce
from .saving import FULL, Unsaved
from .status import show
from .trainer import Interrupted, resume, train

USAGE = """\
usage: innerloop COMMAND [OPTIONS]

innerloop trains agents that learn to learn.

commands
  train      train an agent, evaluate it against the baselines, save the plots
  submit     train on a Ray cluster, as one of its jobs
  status     how a run is doing, in a directory or on a cluster
  evaluate   evaluate a trained agent on fresh held-out tasks
  plot       draw the curves of one or several runs
  reproduce  train and evaluate a paper's table, published and measured side by side
  list       families, algorithms, memories, presets and tables that can be named

innerloop COMMAND --help explains a command's options.
To begin:  innerloop train --preset first
"""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Exits with 0; with 2 for input that cannot be used; with 130 when interrupted; with 1 for whatever else ended it. It
    never ends in a traceback: what nobody expected becomes a sentence, with the file that has the rest.
    """
    use_any_terminal()
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in ("-h", "--help"):
        print(USAGE, end="")
        return
    command, *rest = given
    try:
        if command not in COMMANDS:
            raise BadInput(f"command is {command!r}; expected one of {', '.join(COMMANDS)}.")
        refuse_odd(rest)
        COMMANDS[command](rest)
    except BadInput as error:
        _end(str(error), 2, given)
    except Interrupted as stopped:
        _end(f"{stopped}.", 130, given)
    except KeyboardInterrupt:
        _end("interrupted.", 130, given)
    except (Diverged, ActorsDied, EnvironmentRaised, Unsaved, LockLost, ClusterFailed) as error:
        _end(str(error), 1, given)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in FULL:
            _unexpected(error, given)
        _end(f"{error}; expected room on the disk.", 1, given)
    except Exception as error:
        _unexpected(error, given)


def _end(sentence: str, status: int, words: list[str]) -> NoReturn:
    shown = without_passwords(hide_password(" ".join(sentence.split())), words)
    print(f"innerloop: {''.join(each if each.isprintable() else '?' for each in shown)}", file=sys.stderr)
    sys.exit(status)


def _unexpected(error: Exception, words: list[str]) -> NoReturn:
    """Whatever nobody expected: a sentence, and the traceback in a file."""
    text = "".join(traceback.format_exception(error))
    sentence = f"{raised_by(error)}. This is unexpected"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="innerloop-", suffix=".log", delete=False) as file:
            file.write(without_passwords(hide_password(text), words))
        sentence += f"; the whole traceback is in {file.name}"
    except OSError:
        sentence += ", and there is no room for its traceback"
    _end(f"{sentence}.", 1, words)


def _train(rest: list[str]) -> None:
    options, config = read_training(rest)
    named = options.preset or config.experiment.family_name.replace(":", ".")
    out = options.resume or options.out or f"runs/{named}"
    # From here on the plug-ins are those that were named, or trusted, above.
    trusted = [config.experiment.family_name, config.experiment.algorithm_name]
    trusted = options.trust_plugins or not options.resume or trusted
    with Display(config.run) as display:
        try:
            if options.resume:
                resume(out, config, watch=display, trust_plugins=trusted)
            else:
                train(config, out, overwrite=options.overwrite, watch=display)
        except Interrupted as stopped:
            raise Interrupted(stopped.version, f"; go on with: innerloop train --resume {shlex.quote(out)}") from None
    try:
        _report(out, config, trusted)
    except KeyboardInterrupt:
        run = shlex.quote(out)
        raise Interrupted(
            config.run.iterations, f", in its evaluation; the agent is saved: innerloop evaluate {run}"
        ) from None


def _report(out: str, config: Config, trusted: bool | list[str]) -> None:
    """What follows training: evaluation, table and plots."""
    directory = resolve_path("out", out)
    if config.run.evaluation_tasks:
        agent = Agent.load(out, episodes=config.run.evaluation_episodes, trust_plugins=trusted)
        result = evaluation(agent, tasks=config.run.evaluation_tasks, seed=config.run.seed)
        write_whole(directory / "evaluation.json", json.dumps(result, indent=1).encode())
        Console().print(table(result, directory.name))
    from .plot import plot  # not above: matplotlib takes a second

    for file in plot([directory], directory):
        print(f"plot: {file}")
    print(f"agent: innerloop.actors.agent.Agent.load({out!r})")


def _submit(rest: list[str]) -> None:
    at = rest.index("--") if "--" in rest else len(rest)
    from .submit import Submit, submit  # not above: Ray's job client takes half a second

    options = parse(Submit, rest[:at], "innerloop submit")
    training = rest[at + 1 :]
    if "--help" in training or "-h" in training:
        read_training(training)
    require(bool(training), "the run", "", "-- and the options of innerloop train, as in: -- --preset first")
    addressed = any(each.partition("=")[0] == "--address" for each in training)
    require(not addressed, "address", "after --", "it before: the job runs on the cluster that it is sent to")
    if not any(each.partition("=")[0] == "--resume" for each in training):  # that run is there, not here
        sys.path[:0] = [str(Path(module).resolve().parent) for module in options.modules]
        read_training(training)
    sys.exit(submit(options, training))


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate a trained agent, and the baselines its family has, on fresh held-out tasks."""

    run: tyro.conf.Positional[str]
    """Directory of the run, or the place of its checkpoints (a path or an fsspec URL)."""
    tasks: int = 10_000
    """Held-out tasks."""
    seed: int = 0
    """Of the tasks and their noise; training never draws the same."""
    episodes: int = 0
    """Episodes of a trial; 0 for as many as in training."""
    greedy: bool = False
    """Take the most probable action instead of drawing one."""
    json: bool = False
    """Print one JSON object instead of a table."""
    csv: str = ""
    """A file for the returns on every single task, with the task's parameters."""
    family: str = ""
    """The run's family again, where it is a plug-in: only then is it imported, which runs its code."""
    algorithm: str = ""
    """The run's algorithm again, where it is a plug-in."""
    trust_plugins: bool = False
    """Import whatever plug-ins the run names."""

    def __post_init__(self) -> None:
        require(2 <= self.tasks <= MOST["tasks"], "tasks", self.tasks, f"at least 2, at most {MOST['tasks']:,}")
        for name in ("tasks", "seed", "episodes"):
            check_range(name, getattr(self, name))
        for name in ("seed", "episodes"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")


def _evaluate(rest: list[str]) -> None:
    options = parse(Evaluate, rest, "innerloop evaluate")
    file = resolve_path("csv", options.csv) if options.csv else None
    require(
        file is None or (file.parent.is_dir() and not file.is_dir()),
        "csv",
        options.csv,
        "a file in a directory that is there",
    )
    named = [name for name in (options.family, options.algorithm) if name]
    agent = Agent.load(
        options.run, greedy=options.greedy, episodes=options.episodes, trust_plugins=options.trust_plugins or named
    )
    own = agent.experiment.family_name, agent.experiment.algorithm_name
    for kind, given, name in zip(("family", "algorithm"), (options.family, options.algorithm), own, strict=True):
        require(given in ("", name), kind, given, f"{name!r}, as the run has it")
    for reason in agent.skipped:
        print(f"warning: {reason} The checkpoint before it is used.", file=sys.stderr)
    result = evaluation(agent, tasks=options.tasks, seed=options.seed, file=file)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        Console().print(table(result, Path(options.run).name))


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Say how a run is doing: its progress, returns, actors, store and losses."""

    run: tyro.conf.Positional[str] = ""
    """Directory of the run; with --address its name there, or how that begins; empty for the list of all runs there."""
    address: str = ""
    """Of the dashboard of the cluster that it runs on, as http://127.0.0.1:8265."""
    watch: bool = False
    """Stay, and show it anew every other second until it has finished."""
    json: bool = False
    """Print one JSON object instead of a table."""


def _status(rest: list[str]) -> None:
    options = parse(Watch, rest, "innerloop status")
    show(options.run, options.address, watch=options.watch, as_json=options.json)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Draw the learning curves and adaptation curves of one or several runs into one picture each."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Directories of runs."""
    out: str = ""
    """Where the pictures go; by default into the first run's directory."""


def _plot(rest: list[str]) -> None:
    from .plot import plot

    options = parse(Plot, rest, "innerloop plot")
    require(len(options.runs) > 0, "runs", [], "at least one directory of a run")
    runs = [resolve_path("runs", run) for run in options.runs]
    for file in plot(runs, resolve_path("out", options.out) if options.out else runs[0]):
        print(file)


def _reproduce(rest: list[str]) -> None:
    options = parse(Reproduce, rest, "innerloop reproduce")
    try:
        sys.exit(reproduce(options))
    except (Interrupted, KeyboardInterrupt) as stopped:
        version = stopped.version if isinstance(stopped, Interrupted) else 0
        raise Interrupted(version, ", and what was trained is saved; the same command goes on") from None


@dataclass(frozen=True)
class List:
    """List what can be named: families, algorithms, memories, presets and tables, each with what it is."""


def _list(rest: list[str]) -> None:
    parse(List, rest, "innerloop list")
    for title, known in (("families", FAMILIES), ("algorithms", ALGORITHMS), ("memories", MEMORIES)):
        print(title)
        for name, found in known.items():
            print(f"  {name:<20} {(found.__doc__ or '').splitlines()[0]}")
    print("presets")
    for name, preset in PRESETS.items():
        print(f"  {name:<20} {preset.about}")
    print("tables of papers, for innerloop reproduce")
    for name, paper in TABLES.items():
        print(f"  {name:<20} {paper.about}")
    print("Wherever a family, an algorithm or a memory is named, package.module:attribute works too.")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": _train,
    "submit": _submit,
    "status": _status,
    "evaluate": _evaluate,
    "plot": _plot,
    "reproduce": _reproduce,
    "list": _list,
}
