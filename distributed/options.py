"""The options of `innerloop train`: which there are, and the configuration that they make."""

import argparse
import dataclasses
from dataclasses import field
from typing import Annotated, Any

import tyro

from ..envs.errors import BadInput, require
from ..envs.families import FAMILIES
from ..learner.algorithms import ALGORITHMS
from ..learner.options import check_range, options_of
from .config import Config, configure, merge, refuse_inapplicable
from .names import option_fields, prefixed, split_option
from .parsing import parse
from .presets import PRESETS
from .run import Run
from .runs.directory import saved_config, saved_json
from .words import options_in

MOST_SEEDS = 1_000
COMMAND = frozenset(
    {
        "preset", "family", "algorithm", "episodes", "trial_steps", "out", "overwrite", "resume", "trust_plugins",
        "seeds", "parallel",
    }
)  # fmt: skip
"""Options of `innerloop train` that belong to nobody else."""


def read_training(rest: list[str]) -> tuple[Any, Config]:
    """The options of `innerloop train`, and the configuration that they make.

    Raises:
        BadInput: an option or a value that cannot be used.
    """
    # The names decide which options there are, so they are read first.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--preset", "--family", "--algorithm", "--resume", "--out", "--start-from", "--seeds"):
        first.add_argument(name)
    for name in ("--trust-plugins", "--overwrite"):
        first.add_argument(name, action="store_true")
    try:
        names, _ = first.parse_known_args(rest)
    except argparse.ArgumentError as error:
        raise BadInput(f"{error.argument_name} has no value; expected one.") from error
    if names.resume:
        base = _resumed(names, rest)
    else:
        require(not names.trust_plugins, "trust_plugins", True, "it beside --resume: plug-ins named here are imported")
        chosen = {key: value for key in ("family", "algorithm") if (value := getattr(names, key))}
        base = configure(**merge(names.preset, chosen))
    rest = _as_shown(rest, base)
    options = parse(train_options(base), rest, "innerloop train")
    config = Config(
        experiment=dataclasses.replace(
            base.experiment,
            family=getattr(options, "family_options", base.experiment.family),
            algorithm=getattr(options, "algorithm_options", base.experiment.algorithm),
            episodes=options.episodes,
            trial_steps=options.trial_steps,
        ),
        run=options.run,
    )
    for name, most in (("seeds", MOST_SEEDS), ("parallel", MOST_SEEDS)):
        require(0 <= getattr(options, name) <= most, name, getattr(options, name), f"at least 0, at most {most:,}")
    require(options.seeds > 0 or not options.parallel, "parallel", options.parallel, "it beside --seeds")
    last = config.run.seed + max(0, options.seeds - 1)
    require(last < 2**63, "seed", config.run.seed, "one whose last successor, with --seeds, has 63 bits")
    named = config.run.name if options.seeds else ""
    require(not named, "name", named, "none beside --seeds: each run has its own")
    for thing in (config.run, config.experiment, config.experiment.family, config.experiment.algorithm):
        for name, value in options_of(thing).items():
            check_range(name, value)
    refuse_inapplicable(config, options_in(rest))
    return options, config


def _resumed(names: argparse.Namespace, rest: list[str]) -> Config:
    """The configuration of the resumed run.

    Raises:
        BadInput: there is none, or an option beside --resume that only a new run has.
    """
    for name in ("preset", "out", "overwrite", "start_from", "seeds"):
        given = getattr(names, name)
        require(not given, name, given, "nothing beside --resume: the run has its own")
    saved = saved_json(names.resume)
    for name in ("family", "algorithm"):
        named, own = getattr(names, name), saved[name].get("name")
        require(named in (None, own), name, named, f"{own!r}, the run's own, or nothing beside --resume")
    return saved_config(names.resume, names.trust_plugins or [names.family or "", names.algorithm or ""])


def train_options(base: Config) -> type:
    """The dataclass whose fields are the options of `train` for this family and algorithm, with their defaults.

    Run, family and algorithm each bring their own fields; the flags carry no prefix, but for a family or an algorithm
    that shares a name with another.
    """
    experiment = base.experiment
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
        (
            "trial_steps",
            _described(int, "Steps of a trial instead: episodes follow each other until they are used up. 0 for none."),
            experiment.trial_steps,
        ),
        ("out", _described(str, "Directory of the run; by default runs/PRESET or runs/FAMILY."), ""),
        ("overwrite", _described(bool, "Delete an earlier run in that directory."), False),
        ("resume", _described(str, "Go on with the run in this directory, with its own options."), ""),
        (
            "seeds",
            _described(
                int,
                "Several runs that differ by their seed alone, from `seed` on, side by side in one cluster, and how "
                "they compare. The same command goes on with them. 0 for one run.",
            ),
            0,
        ),
        ("parallel", _described(int, "With seeds: runs at once; 0 for one for each CPU of the cluster."), 0),
        ("trust_plugins", _described(bool, "Import the plug-ins that a resumed run names: it runs their code."), False),
        ("run", Annotated[Run, tyro.conf.arg(name="")], base.run),
    ]
    prefixes = prefixed(option_fields(experiment.family_name, experiment.algorithm_name), COMMAND)
    for name, thing in (("family_options", experiment.family), ("algorithm_options", experiment.algorithm)):
        if options_of(thing):
            kind = name.removesuffix("_options")
            shown = kind if kind in prefixes else ""
            fields.append((name, Annotated[type(thing), tyro.conf.arg(name=shown)], thing))
    return dataclasses.make_dataclass(
        "Train", [(n, kind, field(default=default)) for n, kind, default in fields], frozen=True, kw_only=True
    )


def _as_shown(rest: list[str], base: Config) -> list[str]:
    """The words of a command line with the names of options as `train_options` has them, whether they came flat or with
    their owner's name.

    Raises:
        BadInput: one that several have is not said whose it is.
    """
    kinds = option_fields(base.experiment.family_name, base.experiment.algorithm_name)
    shown, known = prefixed(kinds, COMMAND), {name for fields in kinds.values() for name in fields}
    words = []
    for word in rest:
        flag, equals, value = word.partition("=")
        option = flag[2:].replace("-", "_")
        whose = option.partition(".")[0] in kinds and "." in option
        if flag.startswith("--") and option not in COMMAND and (whose or option in known):
            kind, name = split_option(option, kinds, "innerloop train")
            flag = f"--{f'{kind}.' if kind in shown else ''}{name.replace('_', '-')}"
        words.append(f"{flag}{equals}{value}")
    return words


def _described(kind: type, text: str) -> Any:
    return Annotated[kind, tyro.conf.arg(help=text)]
