"""The command `innerloop`: train, submit, status, evaluate, plot, reproduce, list."""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NoReturn

import tyro
from rich.console import Console

from ..actors.agent import Agent
from ..envs import FAMILIES
from ..envs.errors import BadInput, require
from ..learner import ALGORITHMS
from ..learner.checkpoint import write_whole
from ..learner.experiment import options_of
from ..learner.learner import Diverged
from ..learner.memory import MEMORIES
from .access import without_passwords
from .config import PRESETS, Config, Run, configure, option_fields, resolve_preset
from .directory import saved_config
from .display import Display
from .local import ClusterFailed
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
    """Run the command line; exits with 0, with 2 for input that cannot be used, with 130 when interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in ("-h", "--help"):
        print(USAGE, end="")
        return
    command, *rest = given
    try:
        if command not in COMMANDS:
            raise BadInput(f"command is {command!r}; expected one of {', '.join(COMMANDS)}.")
        COMMANDS[command](rest)
    except BadInput as error:
        _refuse(str(error))
    except (Diverged, ActorsDied, Unsaved, ClusterFailed) as error:
        print(f"innerloop: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(f"innerloop: {error}; expected room on the disk.", file=sys.stderr)
        sys.exit(1)


def _refuse(sentence: str) -> NoReturn:
    print(f"innerloop: {sentence}", file=sys.stderr)
    sys.exit(2)


def read_training(rest: list[str]) -> tuple[Any, Config]:
    """The options of `innerloop train`, and the configuration that they make.

    Raises:
        BadInput: an option or a value that cannot be used.
    """
    # The names decide which options there are, so they are read first.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--preset", "--family", "--algorithm", "--resume"):
        first.add_argument(name)
    try:
        names, _ = first.parse_known_args(rest)
    except argparse.ArgumentError as error:
        raise BadInput(f"{error.argument_name} has no value; expected one.") from error
    if names.resume:
        for name in ("preset", "family", "algorithm"):
            require(
                getattr(names, name) is None, name, getattr(names, name), "nothing beside --resume: the run has its own"
            )
        base = saved_config(names.resume)
    else:
        chosen = {key: value for key in ("family", "algorithm") if (value := getattr(names, key))}
        options = dict(resolve_preset(names.preset).options) if names.preset else {}
        kinds = option_fields(
            chosen.get("family", options.get("family", "bernoulli-bandit")),
            chosen.get("algorithm", options.get("algorithm", "rl2")),
        )
        # A preset's options of another family or algorithm than the one chosen do not apply.
        applicable = {"family", "algorithm", "episodes"}.union(*kinds.values())
        base = configure(**{k: v for k, v in options.items() if k in applicable} | chosen)
    options = parse(train_options(base), rest, "innerloop train")
    config = Config(
        experiment=dataclasses.replace(
            base.experiment,
            family=getattr(options, "family_options", base.experiment.family),
            algorithm=getattr(options, "algorithm_options", base.experiment.algorithm),
            episodes=options.episodes,
        ),
        run=options.run,
    )
    return options, config


def _train(rest: list[str]) -> None:
    options, config = read_training(rest)
    out = Path(
        options.resume or options.out or f"runs/{options.preset or config.experiment.family_name.replace(':', '.')}"
    )
    with Display(config.run) as display:
        try:
            if options.resume:
                resume(out, config, watch=display)
            else:
                train(config, out, overwrite=options.overwrite, watch=display)
        except Interrupted as stopped:
            print(f"\ninnerloop: {stopped}; go on with: innerloop train --resume {out}", file=sys.stderr)
            sys.exit(130)
    if config.run.evaluation_tasks:
        agent = Agent.load(str(out), episodes=config.run.evaluation_episodes)
        result = evaluation(agent, tasks=config.run.evaluation_tasks, seed=config.run.seed)
        write_whole(str(out / "evaluation.json"), json.dumps(result, indent=1).encode())
        Console().print(table(result, out.name))
    from .plot import plot  # not above: matplotlib takes a second

    for file in plot([out], out):
        print(f"plot: {file}")
    print(f"agent: innerloop.actors.agent.Agent.load({str(out)!r})")


def train_options(base: Config) -> type:
    """The dataclass whose fields are the options of `train` for this family and algorithm, with their defaults.

    Run, family and algorithm each bring their own fields; the flags carry no prefix, because `option_fields` has
    made sure that no two are the same.
    """
    experiment = base.experiment
    option_fields(experiment.family_name, experiment.algorithm_name)
    fields: list[tuple[str, Any, Any]] = [
        ("preset", _described(str, f"Start from a named set of options: {', '.join(PRESETS)}."), ""),
        (
            "family",
            _described(str, f"What is learned: {', '.join(FAMILIES)}, or package.module:attribute."),
            experiment.family_name,
        ),
        (
            "algorithm",
            _described(str, f"How it is learned: {', '.join(ALGORITHMS)}, or package.module:attribute."),
            experiment.algorithm_name,
        ),
        ("episodes", _described(int, "Episodes in a trial, each of the same task."), experiment.episodes),
        ("out", _described(str, "Directory of the run; by default runs/PRESET or runs/FAMILY."), ""),
        ("overwrite", _described(bool, "Delete an earlier run in that directory."), False),
        ("resume", _described(str, "Go on with the run in this directory, with its own options."), ""),
        ("run", Annotated[Run, tyro.conf.arg(name="")], base.run),
    ]
    for name, thing in (("family_options", experiment.family), ("algorithm_options", experiment.algorithm)):
        if options_of(thing):
            fields.append((name, Annotated[type(thing), tyro.conf.arg(name="")], thing))
    return dataclasses.make_dataclass(
        "Train", [(n, kind, field(default=default)) for n, kind, default in fields], frozen=True, kw_only=True
    )


def _described(kind: type, text: str) -> Any:
    return Annotated[kind, tyro.conf.arg(help=text)]


def parse(options: Callable[..., Any], rest: list[str], name: str) -> Any:
    """Read typed options; what cannot be used becomes one sentence.

    Raises:
        BadInput: an option that is not known, or a value that its type or range does not allow.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(options, args=rest, prog=name, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as stop:
        if not stop.code:
            raise
        fault = without_passwords(first_sentence(said.getvalue()), rest).rstrip(".")
        raise BadInput(f"{fault}; expected what {name} --help lists.") from None


def first_sentence(box: str) -> str:
    """What a box of tyro's says before its first rule, on one line."""
    lines = []
    for line in (line.strip().strip("│").strip() for line in box.splitlines()):
        if line and set(line) == {"─"}:
            break
        if not line.startswith(("╭", "╰")):
            lines.append(line)
    return " ".join(lines) or box


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

    def __post_init__(self) -> None:
        require(self.tasks >= 2, "tasks", self.tasks, "at least 2")
        for name in ("seed", "episodes"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")


def _evaluate(rest: list[str]) -> None:
    options = parse(Evaluate, rest, "innerloop evaluate")
    file = Path(options.csv) if options.csv else None
    require(file is None or file.parent.is_dir(), "csv", options.csv, "a file in a directory that is there")
    agent = Agent.load(options.run, greedy=options.greedy, episodes=options.episodes)
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
    for file in plot([Path(run) for run in options.runs], Path(options.out or options.runs[0])):
        print(file)


def _reproduce(rest: list[str]) -> None:
    options = parse(Reproduce, rest, "innerloop reproduce")
    try:
        sys.exit(reproduce(options))
    except (Interrupted, KeyboardInterrupt):
        print("\ninnerloop: stopped, and what was trained is saved; the same command goes on", file=sys.stderr)
        sys.exit(130)


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
