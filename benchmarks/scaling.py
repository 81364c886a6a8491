"""The model of docs/scaling.md, in figures: what limits a workload, from what was measured and kept.

python benchmarks/scaling.py           # the tables
python benchmarks/scaling.py --write   # the same into docs/scaling.md
python benchmarks/scaling.py --network 3.1e9 --learner 20     # 25 Gbit/s; a learner 20 times as fast as two CPU cores
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from innerloop.actors.actor import Actor, Assignment
from innerloop.distributed.config import configure
from innerloop.learner.learner import Learner
from innerloop.learner.trajectory import Trajectory

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs" / "scaling.md"
BEGIN, END = "<!-- tables of benchmarks/scaling.py -->\n", "<!-- end -->\n"
NETWORK = 1.25e9
"""Bytes a second: 10 Gbit/s."""
WORKS = {"W1": "w1-bfloat16", "W2": "w2-bfloat16", "W3": "w3"}
ACTORS = (2, 8, 32, 128)
NODE = 32
"""Actors on one node, for the number of broadcasts that leave the learner's."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A workload's constants, in seconds, bytes and steps of the environment."""

    steps: int
    """Of an iteration."""
    trials: int
    """Of an iteration: as many parts, and so actors, there can be."""
    step_bytes: float
    """Of a trajectory, for each step."""
    weights: int
    """Bytes of a broadcast."""
    actor: float
    """Steps that an actor plays in a second."""
    learner: float
    """Steps that the learner learns from in a second."""
    answer: float
    """Seconds of the driver's main thread for a rollout."""
    publish: float
    """Seconds of the driver for a broadcast."""
    network: float
    """Bytes a second into, and out of, the learner's node."""

    def seconds(self, actors: int) -> dict[str, float]:
        """What each of the four has to do for one iteration, if every actor plays one part of it."""
        nodes = -(-actors // NODE)
        transfer = max(self.steps * self.step_bytes, nodes * self.weights) / self.network
        return {
            "actors": self.steps / (actors * self.actor),
            "learner": self.steps / self.learner,
            "coordinator": actors * self.answer + self.publish,
            "network": transfer,
        }

    def updates(self, actors: int, *, overlapped: bool) -> float:
        """A second. Synchronous: actors and learner in turns; overlapped: side by side, the slowest counts."""
        work = self.seconds(actors)
        if overlapped:
            return 1 / max(work.values())
        return 1 / (max(work["actors"], work["coordinator"], work["network"]) + work["learner"])

    def binds(self, actors: int) -> str:
        """What has most to do."""
        work = self.seconds(actors)
        return max(work, key=lambda name: work[name])

    def bottlenecks(self) -> dict[str, float]:
        """Actors from which on each of the others has more to do than they have."""
        return {
            "learner": self.learner / self.actor,
            # As many answers as actors, and each plays for a shorter time, the more there are.
            "coordinator": (self.steps / (self.actor * self.answer)) ** 0.5,
            "network": self.network / (self.actor * self.step_bytes),
        }


def size(trajectory: Trajectory) -> int:
    arrays = [*vars(trajectory).values(), *trajectory.note.values()]
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


def model(work: str, network: float, learner: float) -> Model:
    """Of a workload of the benchmarks, on the machine that the kept results are of.

    Args:
        work: W1, W2 or W3.
        network: bytes a second.
        learner: how many times as fast as the one measured.
    """
    config = configure(work.lower())
    kept = json.loads((RESULTS / "throughput" / f"{WORKS[work]}.json").read_text())
    driver = json.loads((RESULTS / "coordinator" / "coordinator.json").read_text())[-1]
    brain = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device="cpu", threads=1)
    actor = Actor(config.experiment, 0)
    actor.load(brain.weights(), 0)
    played = actor.collect(Assignment(0, 0, 2))
    learned = (
        kept.get("learner_steps_per_s") or kept["learner_samples_per_s"] / vars(config.experiment.algorithm)["epochs"]
    )
    return Model(
        steps=played.reward.size // 2 * config.run.trials,
        trials=config.run.trials,
        step_bytes=size(played) / played.reward.size,
        weights=sum(array.nbytes for array in brain.acting_weights().values()),
        actor=kept["rollout_steps_per_s_per_core"],
        learner=learner * learned,
        answer=driver["saturated"]["main_thread_ms"] / 1e3,
        publish=driver["broadcast"]["cpu_ms"] / 1e3,
        network=network,
    )


def tables(models: dict[str, Model]) -> str:
    """In Markdown: constants and bottlenecks, then updates a second."""
    rows = [["", *models], ["---"] * (1 + len(models))]
    for name, text in {
        "steps of an iteration": lambda m: f"{m.steps:,}",
        "most parts, and so most actors": lambda m: f"{m.trials}",
        "bytes of a trajectory, a step": lambda m: f"{m.step_bytes:.0f}",
        "kilobytes of a broadcast": lambda m: f"{m.weights / 1e3:.0f}",
        "steps/s of an actor": lambda m: f"{m.actor:,.0f}",
        "steps/s of the learner": lambda m: f"{m.learner:,.0f}",
        **{
            f"{stage}: actors": lambda m, stage=stage: f"{m.bottlenecks()[stage]:,.1f}"
            for stage in ("learner", "coordinator", "network")
        },
    }.items():
        rows.append([name, *map(text, models.values())])
    rows += [[], ["updates/s with actors", *(f"{n}" for n in ACTORS)], ["---"] * (1 + len(ACTORS))]
    for name, m in models.items():
        for overlapped in (False, True):
            figures = [f"{m.updates(n, overlapped=overlapped):.2f}" if n <= m.trials else "" for n in ACTORS]
            rows.append([f"{name}, {'overlapped' if overlapped else 'synchronous'}", *figures])
        rows.append([f"{name}: has most to do", *(m.binds(n) if n <= m.trials else "" for n in ACTORS)])
    return "\n".join(f"| {' | '.join(row)} |" if row else "" for row in rows)


def kept_tables(network: float = NETWORK, learner: float = 1.0) -> str:
    """Of all workloads."""
    return tables({work: model(work, network, learner) for work in WORKS})


def with_tables(text: str, found: str) -> str:
    """The page with these tables in their place."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + "\n" + found + "\n\n" + END + rest.partition(END)[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=float, default=NETWORK, help="bytes a second; default: 10 Gbit/s")
    parser.add_argument("--learner", type=float, default=1.0, help="how many times as fast as two CPU cores")
    parser.add_argument("--write", action="store_true", help="into docs/scaling.md")
    given = parser.parse_args()
    found = kept_tables(given.network, given.learner)
    if given.write:
        DOCS.write_text(with_tables(DOCS.read_text(), found))
    print(found)


if __name__ == "__main__":
    main()
