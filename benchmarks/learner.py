"""What the learner's speed depends on: W1's update by memory, precision, threads, and what happens to freed memory.

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
    ("lstm", "float32", 1, True),
    ("lstm", "float32", 2, True),
    ("lstm", "float32", 2, False),
    ("lstm", "bfloat16", 2, True),
    ("gru", "float32", 2, True),
]


def row(memory: str, precision: str, threads: int, keep: bool) -> dict[str, float]:
    """Samples a second, and the share of the matrix rate."""
    torch.set_num_threads(1)
    config = configure("w1", memory=memory, precision=precision)
    learner.usable_cpus = lambda: threads
    if not keep:
        learner.keep_freed_memory = lambda: None
    _, trajectories = rollout(config)
    rate = learn(config, trajectories)
    operations = multiply_adds(config) * 3 / (1 + 3 * 4)
    return {"samples_per_s": rate, "share": rate * operations / matrix_flops(threads)}


def main() -> None:
    if len(sys.argv) == 2:
        memory, precision, threads, keep = json.loads(sys.argv[1])
        print(json.dumps(row(memory, precision, threads, keep)))
        return
    table = Table("memory", "precision", "threads", "freed memory", "samples/s", "share of float32 matrix rate")
    for given in ROWS:
        done = subprocess.run([sys.executable, __file__, json.dumps(given)], check=True, capture_output=True, text=True)
        result = json.loads(done.stdout.splitlines()[-1])
        memory, precision, threads, keep = given
        kept = "kept" if keep else "returned"
        share = f"{result['share']:.0%}"
        table.add_row(memory, precision, str(threads), kept, f"{result['samples_per_s']:,.0f}", share)
    Console().print(table)


if __name__ == "__main__":
    main()
