"""How a run is carried out."""

import re
from dataclasses import dataclass
from typing import Literal

from ..envs.errors import require
from .store.redis.address import split_secret

PARTS = 32
"""Default number of parts of an iteration, and so the number of actors that have work."""


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
    parts: int = 0
    """Number of parts that an iteration's trials are divided into. Each has its own random numbers and is played by one
    actor, so this limits how many actors have work. 0 for 32, or one per trial if there are fewer. Results do not
    depend on which actor plays a part."""
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
    evaluate_every: int = 20
    """Meta-updates between evaluations on held-out tasks while the run trains, played by the actors: as many trials as
    4 % of the training trials in that time, at least 2 and at most those of an iteration. 0 for none."""
    evaluation_tasks: int = 10_000
    """Held-out tasks in the evaluation that follows training; 0 for none."""
    evaluation_episodes: int = 0
    """Episodes of a trial in the evaluation; 0 for as many as in training."""

    def __post_init__(self) -> None:
        for field in ("iterations", "trials", "checkpoint_every", "keep", "replay_mb", "replay_shards"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")
        for field, most in MOST.items():
            require(getattr(self, field) <= most, field, getattr(self, field), f"at most {most:,}")
        require(0 <= self.minutes < float("inf"), "minutes", self.minutes, "a finite number of at least 0")
        counts = "episodes_start parts tasks seed max_staleness actors max_restarts learner_threads"
        for field in (*counts.split(), "evaluate_every", "evaluation_episodes"):
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

    @property
    def part_count(self) -> int:
        """Number of parts of an iteration."""
        return self.parts or min(PARTS, self.trials)

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
