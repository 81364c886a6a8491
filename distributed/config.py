"""Everything that decides a run: what is learned (`Experiment`) and how it is carried out (`Run`)."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..envs.errors import BadInput, require
from ..envs.families import FAMILIES
from ..learner.algorithms import ALGORITHMS
from ..learner.experiment import LONGEST_TRIAL, Experiment
from ..learner.options import check_type, construct
from .names import OWN, option_fields, split_option
from .presets import resolve_preset
from .run import Run
from .store.redis.address import split_secret


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run; saved as config.json, and with every checkpoint."""

    experiment: Experiment
    run: Run

    def __post_init__(self) -> None:
        start, end = self.run.episodes_start, self.experiment.episodes
        require(start <= end, "episodes_start", start, f"at most as many as episodes, {end}")
        if self.experiment.from_answers:
            given, name = self.run.task_order, self.experiment.algorithm_name
            expected = f"balanced with {name}: nobody knows what its agent would earn on a single task"
            require(given == "balanced", "task_order", given, expected)
            first = getattr(self.experiment.algorithm, "loss_from", 0)
            expected = f"0, or more than loss_from, {first}: shorter trials would have nothing to learn from"
            require(not start or start > first, "episodes_start", start, expected)
        if self.experiment.trial_steps:
            for field in ("episodes_start", "evaluation_episodes"):
                given = getattr(self.run, field)
                require(given == 0, field, given, "0 where trials are counted in steps (trial_steps)")
        steps = self.run.evaluation_episodes * self.experiment.family.horizon
        expected = f"trials of at most {LONGEST_TRIAL:,} steps"
        require(steps <= LONGEST_TRIAL, "evaluation_episodes", self.run.evaluation_episodes, expected)

    def episodes(self, iteration: int, seconds: float) -> int:
        """Episodes per trial, after this many meta-updates and seconds of training; see `Run.episodes_start`."""
        end = self.experiment.episodes
        start = self.run.episodes_start or end
        return round(start * (end / start) ** min(1.0, 2 * self.run.progress(iteration, seconds)))

    def to_json(self) -> dict[str, Any]:
        """Plain values, nested as {family, algorithm, episodes, run}; without the store's password."""
        run = dataclasses.asdict(self.run)
        if self.run.store != "ray":
            run["store"], _ = split_secret(self.run.store)
        return self.experiment.to_json() | {"run": run}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Config":
        """The inverse of `to_json`.

        Raises:
            BadInput: a name, an option or a value that cannot be used.
        """
        run = data.get("run", {})
        require(isinstance(run, dict), "run", run, "a mapping of options")
        return cls(experiment=Experiment.from_json(data), run=construct("run", "run", {"run": Run}, run))


MEGABYTE = 2**20


def configure(preset: str | None = None, **options: Any) -> Config:
    """A configuration from options by their names, as on the command line but with underscores.

        configure("first", seed=3, learning_rate=3e-3)
        configure(family="tabular-mdp", states=10, episodes=25, memory="gru", iterations=500)

    Args:
        preset: a name in PRESETS to start from.
        options: fields of `Run`, of the family, of the algorithm; `family`, `algorithm`, `episodes`, `trial_steps`. Of
            a name that several have, as **{"family.tasks": 5, "run.tasks": 100}.

    Raises:
        BadInput: a name, an option or a value that cannot be used.
    """
    merged = merge(preset, options)
    names = merged.pop("family", "bernoulli-bandit"), merged.pop("algorithm", "rl2")
    episodes, trial_steps = merged.pop("episodes", 10), merged.pop("trial_steps", 0)
    check_type("episodes", episodes, 10)
    check_type("trial_steps", trial_steps, 0)
    kinds = option_fields(*names)
    shares: dict[str, dict[str, Any]] = {kind: {} for kind in kinds}
    for option, value in merged.items():
        owner, name = split_option(option, kinds, f"family {names[0]!r} with algorithm {names[1]!r}")
        shares[owner][name] = value
    config = Config(
        experiment=Experiment(
            family_name=names[0],
            family=construct("family", names[0], FAMILIES, shares["family"]),
            algorithm_name=names[1],
            algorithm=construct("algorithm", names[1], ALGORITHMS, shares["algorithm"]),
            episodes=episodes,
            trial_steps=trial_steps,
        ),
        run=construct("run", "run", {"run": Run}, shares["run"]),
    )
    refuse_inapplicable(config, options)
    return config


def merge(preset: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's options with others in their stead.

    Raises:
        BadInput: no such preset, or it has options that the chosen family and algorithm do not.
    """
    if not preset:
        return dict(options)
    base = resolve_preset(preset).options
    merged = base | dict(options)
    names = merged.get("family", "bernoulli-bandit"), merged.get("algorithm", "rl2")
    known = OWN.union(*option_fields(*names).values())
    unfit = [option for option in base if option not in known]
    if unfit:
        raise BadInput(
            f"preset is {preset!r}, whose options {', '.join(unfit)} do not apply to family {names[0]!r} with "
            f"algorithm {names[1]!r}; expected a family and an algorithm that have them, or no preset."
        )
    return merged


def refuse_inapplicable(config: Config, given: Iterable[str]) -> None:
    """Refuse options that would have no effect.

    Args:
        config: of the run.
        given: names of the options that somebody chose, as opposed to defaults.

    Raises:
        BadInput: naming the option, and when it applies.
    """
    run, replays = config.run, config.experiment.replays
    applies = {
        "replay_mb": (replays, "with an algorithm that learns from replay"),
        "replay_shards": (replays and run.store == "ray", "with replay in Ray's store"),
        "max_staleness": (run.mode == "overlapped", "when overlapped"),
        "task_order": (replays or run.tasks > 0, "with fixed training tasks (tasks)"),
        "dashboard": (run.address == "local", "with address local"),
        "evaluation_episodes": (run.evaluation_tasks > 0, "with evaluation_tasks"),
        "learner_threads": (not run.device.startswith("cuda"), "on a CPU"),
    }
    applies["episodes"] = not config.experiment.trial_steps, "without trial_steps"
    for option in given:
        fits, when = applies.get(option, (True, ""))
        if not fits:
            value = getattr(run, option, config.experiment.episodes)
            raise BadInput(f"{option} is {value!r}; expected it only {when}: it has no effect here.")
