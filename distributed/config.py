"""Everything that decides a run: what is learned (`Experiment`), how it is carried out (`Run`), and named presets."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..envs.errors import BadInput, require
from ..envs.families import FAMILIES
from ..envs.registry import resolve
from ..learner.algorithms import ALGORITHMS
from ..learner.experiment import LONGEST_TRIAL, Experiment
from ..learner.options import check_type, construct, is_configurable, unknown_option
from .presets import resolve_preset
from .store.redis.address import split_secret


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a run is carried out."""

    iterations: int = 200
    """Maximum number of meta-updates."""
    minutes: float = 0.0
    """Maximum training time; schedules follow the time where it runs out before the iterations do. 0 for no limit. A
    run that is limited by time does not repeat bit for bit."""
    start_from: str = ""
    """Run (or place of checkpoints) whose newest weights to start from; empty to initialise new ones."""
    trials: int = 1_000
    """Trials per meta-update, each on its own task."""
    episodes_start: int = 0
    """Curriculum: episodes per trial at the start of the run, growing geometrically to `episodes` by its middle. While
    trials are shorter, more of them are played, so that the number of episodes stays the same. 0 for no curriculum."""
    parts: int = 2
    """Batches that an iteration's trials are divided into, each played by one actor. Results depend on the number of
    parts, not on the number of actors."""
    tasks: int = 0
    """Size of a fixed set of training tasks; 0 for a new task in every trial (100 for algorithms with replay)."""
    task_order: Literal["balanced", "prioritised"] = "balanced"
    """How fixed training tasks are chosen. balanced: all equally often, shuffled. prioritised: those with lower returns
    more often."""
    seed: int = 0
    """Of everything random: tasks, their noise, actions, initial weights."""
    mode: Literal["synchronous", "overlapped"] = "synchronous"
    """synchronous: play, learn, play; repeats bit for bit. overlapped: actors play while the learner learns."""
    max_staleness: int = 1
    """Overlapped mode: a trajectory is dropped (and counted) if its weights are older than this many updates."""
    actors: int = 0
    """Maximum number of Ray actors; 0 for all CPUs of the cluster, minus those that the learner needs."""
    actor_cpus: float = 1.0
    """CPUs per actor."""
    actors_on_learner_nodes: bool = False
    """Also place actors on the learner's nodes: those labelled role=learner, and the driver's if it has a GPU."""
    patience: float = 300.0
    """Seconds without a response after which an actor is considered hung and replaced."""
    max_restarts: int = 3
    """Consecutive failures after which an actor is no longer replaced, and number of actors in which the same trials
    may fail before the run ends."""
    store: str = "ray"
    """The store between actors and learner: ray, or a Redis server as redis://host:port/0 (rediss:// for TLS)."""
    name: str = ""
    """Of the run in Redis; empty to derive it from the run's directory and the machine."""
    replay_mb: int = 2_048
    """Size of the replay in megabytes, for off-policy algorithms; the oldest trials are evicted first."""
    replay_shards: int = 1
    """Ray actors that share the replay; each holds some of the tasks."""
    device: str = "auto"
    """Of the learner: auto (CUDA if available), cpu, cuda, cuda:1 ..."""
    learner_threads: int = 0
    """Threads of a learner on the CPU; 0 for all CPUs (half of them in overlapped mode)."""
    address: str = "local"
    """Ray cluster to join: local starts one on this machine, auto finds a running one; or host:port, ray://host:port."""
    dashboard: bool = False
    """With address local: also start the Ray dashboard."""
    checkpoint_every: int = 25
    """Meta-updates between checkpoints; the final state is always saved."""
    keep: int = 3
    """Number of checkpoints to keep."""
    checkpoints: str = ""
    """Where to save checkpoints: a path or an fsspec URL such as s3://bucket/run; empty for the run's directory."""
    evaluation_tasks: int = 10_000
    """Held-out tasks in the evaluation that follows training; 0 for none."""
    evaluation_episodes: int = 0
    """Episodes of a trial in the evaluation; 0 for as many as in training."""

    def __post_init__(self) -> None:
        for field in ("iterations", "trials", "parts", "checkpoint_every", "keep", "replay_mb", "replay_shards"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")
        for field, most in MOST.items():
            require(getattr(self, field) <= most, field, getattr(self, field), f"at most {most:,}")
        require(0 <= self.minutes < float("inf"), "minutes", self.minutes, "a finite number of at least 0")
        counts = "episodes_start tasks seed max_staleness actors max_restarts learner_threads evaluation_episodes"
        for field in counts.split():
            require(getattr(self, field) >= 0, field, getattr(self, field), "at least 0")
        for field in ("actor_cpus", "patience"):
            require(0 < getattr(self, field) < float("inf"), field, getattr(self, field), "a finite number above 0")
        if self.store != "ray":
            split_secret(self.store)
        expected = "local, auto, or the host:port (ray://host:port) of a running Ray cluster"
        require(self.address in ("local", "auto") or is_address(self.address), "address", self.address, expected)
        require(self.parts <= self.trials, "parts", self.parts, f"at most as many as trials, {self.trials}")
        orders = ("balanced", "prioritised")
        require(self.task_order in orders, "task_order", self.task_order, "balanced or prioritised")
        modes = ("synchronous", "overlapped")
        require(self.mode in modes, "mode", self.mode, "synchronous or overlapped")
        if self.mode == "overlapped":
            require(self.max_staleness >= 1, "max_staleness", self.max_staleness, "at least 1 when overlapped")
        require(
            self.evaluation_tasks == 0 or self.evaluation_tasks >= 2,
            "evaluation_tasks",
            self.evaluation_tasks,
            "0, or 2 and more",
        )

    def progress(self, iteration: int, seconds: float) -> float:
        """Share of the run that is done, in [0, 1], after this many meta-updates and seconds of training."""
        spent = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(iteration / self.iterations, spent))


def is_address(text: str) -> bool:
    """Whether a text is host:port, with or without ray:// before it."""
    found = re.fullmatch(r"(?:ray://)?[^\s:/@]+:(\d{1,5})|(?:ray://)?\[[0-9a-fA-F:.]+\]:(\d{1,5})", text)
    return found is not None and 1 <= int(found[1] or found[2]) < 2**16


MOST = {
    "parts": 10**5, "replay_shards": 10**4, "max_staleness": 10**4, "learner_threads": 4_096, "tasks": 10**8,
    "evaluation_tasks": 10**8, "replay_mb": 10**9, "patience": 1e8, "actor_cpus": 1e5,
}  # fmt: skip
"""The largest values of some options of a `Run`: beyond them is a slip of the hand."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run; saved as config.json, and with every checkpoint."""

    experiment: Experiment
    run: Run

    def __post_init__(self) -> None:
        start, end = self.run.episodes_start, self.experiment.episodes
        require(start <= end, "episodes_start", start, f"at most as many as episodes, {end}")
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
OWN = frozenset({"family", "algorithm", "episodes", "trial_steps"})
"""Options that are no field of the run, the family or the algorithm."""


def configure(preset: str | None = None, **options: Any) -> Config:
    """A configuration from options by their names, as on the command line but with underscores.

        configure("first", seed=3, learning_rate=3e-3)
        configure(family="tabular-mdp", states=10, episodes=25, memory="gru", iterations=500)

    Args:
        preset: a name in PRESETS to start from.
        options: fields of `Run`, of the family, of the algorithm; `family`, `algorithm`, `episodes`, `trial_steps`.

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
        owner = next((kind for kind, fields in kinds.items() if option in fields), None)
        if owner is None:
            known = sorted(OWN.union(*kinds.values()))
            raise unknown_option(option, known, f"family {names[0]!r} with algorithm {names[1]!r}")
        shares[owner][option] = value
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


def option_fields(family: str, algorithm: str) -> dict[str, list[str]]:
    """The names of the options of the run, the family and the algorithm.

    Raises:
        BadInput: an unknown name, or two of the three share an option.
    """
    owners = {
        "run": Run,
        "family": resolve("family", family, FAMILIES),
        "algorithm": resolve("algorithm", algorithm, ALGORITHMS),
    }
    kinds = {
        kind: [field.name for field in dataclasses.fields(owner)]
        if isinstance(owner, type) and dataclasses.is_dataclass(owner) and is_configurable(owner)
        else []
        for kind, owner in owners.items()
    }
    seen: dict[str, str] = dict.fromkeys(OWN, "innerloop")
    for kind, fields in kinds.items():
        for option in fields:
            if option in seen:
                raise BadInput(f"{kind} has an option {option!r}, which {seen[option]} has too; expected another name.")
            seen[option] = f"the {kind}"
    return kinds
