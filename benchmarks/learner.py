"""What the learner's speed depends on: W1's update by memory, precision and threads.

python benchmarks/learner.py

Each row is a process of its own; the share is of the float32 matrix rate measured in that process with as many threads.
"""

import json
import subprocess
import sys

import torch
from limits import matrix_flops
from rich.console import Console
from rich.table import Table
from throughput import learn, multiply_adds, rollout

from innerloop.distributed.config import configure
from innerloop.learner import learner

ROWS = [
    ("lstm", "float32", 1),
    ("lstm", "float32", 2),
    ("lstm", "bfloat16", 2),
    ("gru", "float32", 1),
    ("gru", "float32", 2),
]


def row(memory: str, precision: str, threads: int) -> dict[str, float]:
    """Samples a second, and the share of the matrix rate."""
    torch.set_num_threads(1)
    config = configure("w1", memory=memory, precision=precision)
    learner.usable_cpus = lambda: threads
    _, trajectories = rollout(config)
    rate = 4 * learn(config, trajectories)  # four epochs
    operations = multiply_adds(config) * 3 / (1 + 3 * 4)
    return {"samples_per_s": rate, "share": rate * operations / matrix_flops(threads)}


def main() -> None:
    if len(sys.argv) == 2:
        print(json.dumps(row(*json.loads(sys.argv[1]))))
        return
    table = Table("memory", "precision", "threads", "samples/s", "share of float32 matrix rate")
    for given in ROWS:
        done = subprocess.run([sys.executable, __file__, json.dumps(given)], check=True, capture_output=True, text=True)
        result = json.loads(done.stdout.splitlines()[-1])
        table.add_row(*map(str, given), f"{result['samples_per_s']:,.0f}", f"{result['share']:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
