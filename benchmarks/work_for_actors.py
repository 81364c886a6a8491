"""For how many actors each preset has work, on a cluster of many CPUs: real pools, with actors that only answer.

python benchmarks/work_for_actors.py             # a table, for 64 CPUs
python benchmarks/work_for_actors.py --cpus 16

The cluster is on this machine and its CPUs are a number that Ray is told; an actor takes 70 MB. Exit status 1 if a
preset has an iteration of 32 trials or more and work for less than 32 actors.
"""

import argparse
import copyreg
import os
import shutil
import sys
from typing import Any

import numpy as np
import ray
from feather import Feather
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table

from innerloop.actors.actor import Assignment
from innerloop.distributed.config import configure
from innerloop.distributed.launch.local import own_directory
from innerloop.distributed.presets import PRESETS
from innerloop.distributed.rollouts.broadcast import Broadcast
from innerloop.distributed.rollouts.tasks import assignments
from innerloop.distributed.store.ray import RayStore
from innerloop.distributed.trainer import make_pool
from innerloop.learner.learner import Learner

WANTED = 32
MILLISECONDS = 500
"""Duration of a call: long enough for every actor to get one before the first returns."""


def at_work(preset: str) -> tuple[int, int]:
    """The number of actors, and of those that get work in an iteration."""
    config = configure(preset)
    learner = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device="cpu", threads=1)
    pool, broadcast = make_pool(config, learner, RayStore(), Feather), Broadcast()
    broadcast.publish({"weights": np.zeros(1)}, 0)
    try:
        while pool.alive < pool.wanted:
            pool.pump(broadcast, 1.0)
        pool.submit(assignments(MILLISECONDS, config.run.trials, config.run.part_count))
        pool.pump(broadcast, 0.0)
        return pool.alive, sum(bool(member.calls) for member in pool.playing)
    finally:
        pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpus", type=int, default=64)
    cpus = parser.parse_args().cpus
    # Without this, a real assignment would bring torch into every actor.
    copyreg.pickle(Assignment, lambda assignment: (tuple, (tuple(assignment),)))  # pyright: ignore[reportArgumentType]
    directory = own_directory()
    os.environ["RAY_TMPDIR"] = str(directory)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "include_dashboard": False})
    table = Table("preset", "trials", "parts", "actors", "with work")
    found: dict[int, Any] = {}
    missing = []
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")  # pyright: ignore
        for preset in PRESETS:
            run = configure(preset).run
            if run.part_count not in found:
                found[run.part_count] = at_work(preset)
            alive, busy = found[run.part_count]
            table.add_row(preset, f"{run.trials}", f"{run.part_count}", f"{alive}", f"{busy}")
            missing += [preset] if busy < min(WANTED, run.trials, cpus) else []
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(directory, ignore_errors=True)
    Console().print(table)
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
