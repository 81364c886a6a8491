"""What the learner's speed depends on: the update alone, by workload, memory, precision, threads and device.

python benchmarks/learner.py                            # W1 on this machine's CPU, by memory, precision and threads
python benchmarks/learner.py --device cuda              # W1, W2 and W3 on the GPU
python benchmarks/learner.py --device cpu --threads 16 --work W1 W2 W3 --json

Each row is a process of its own. On a CPU, the share is of the float32 matrix rate measured in that process with as
many threads; on a GPU, of its float32 rate without TensorFloat-32.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

import torch
from limits import (
    cuda_copy_bytes_per_s,
    cuda_matrix_flops,
    cuda_upload_bytes_per_s,
    device_name,
    matrix_flops,
    median_seconds,
)
from rich.console import Console
from rich.table import Table
from works import WORKS, first_iteration, multiply_adds

from innerloop.distributed.config import configure
from innerloop.learner.algorithms.rl2 import RL2
from innerloop.learner.learner import Learner
from innerloop.learner.trajectory import concatenate

MEMORIES = [("lstm", "float32"), ("lstm", "bfloat16"), ("gru", "float32"), ("gru", "bfloat16")]


def rows(works: list[str], device: str, threads: list[int]) -> list[dict[str, Any]]:
    """What is measured."""
    found = []
    for work in works:
        for memory, precision in MEMORIES if work != "W3" else [("", "float32")]:
            found += [
                {"work": work, "memory": memory, "precision": precision, "threads": n, "device": device}
                for n in (threads if device == "cpu" else [1])
            ]
    return found


def measure(row: dict[str, Any], runs: int) -> dict[str, Any]:
    """A row with its figures."""
    torch.set_num_threads(1)
    options = {"memory": row["memory"], "precision": row["precision"]} if row["memory"] else {}
    config = configure(WORKS[row["work"]], **options)
    algorithm, threads, device = config.experiment.algorithm, row["threads"], row["device"]
    actor, shares = first_iteration(config)
    batch = concatenate([each for share in shares for each in actor.collect_all(share)])
    learner = Learner(algorithm, config.experiment.problem, seed=0, device=device, threads=threads)
    seconds = median_seconds(lambda: learner.update(batch, 0.0), runs)
    found = {"update_ms": 1e3 * seconds, "env_steps_per_s": batch.steps / seconds}
    if device != "cpu":
        found["peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
    if isinstance(algorithm, RL2):
        epochs = algorithm.epochs
        operations = multiply_adds(config) * 3 * epochs / (1 + 3 * epochs)
        limit = matrix_flops(threads) if device == "cpu" else cuda_matrix_flops()
        found |= {"samples_per_s": epochs * batch.steps / seconds, "share": batch.steps / seconds * operations / limit}
    return row | found


def limits(device: str) -> dict[str, Any]:
    """What the device can do at best."""
    if device == "cpu":
        return {"device": device_name(device), "float32_gflops_per_thread": matrix_flops(1) / 1e9}
    return {
        "device": device_name(device),
        "float32_tflops": cuda_matrix_flops() / 1e12,
        "tensor_float32_tflops": cuda_matrix_flops(tensor_float32=True) / 1e12,
        "bfloat16_tflops": cuda_matrix_flops(torch.bfloat16) / 1e12,
        "copy_gb_per_s": cuda_copy_bytes_per_s() / 1e9,
        "upload_gb_per_s": cuda_upload_bytes_per_s() / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--work", nargs="+", choices=WORKS, help="default: W1 on a CPU, all on a GPU")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="on a CPU, that share the work")
    parser.add_argument("--runs", type=int, default=7, help="of which each time is the median")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(measure(json.loads(given.only), given.runs)))
        return
    works = given.work or (["W1"] if given.device == "cpu" else [*WORKS])
    results = []
    for row in rows(works, given.device, given.threads):
        command = [sys.executable, __file__, "--runs", str(given.runs), "--only", json.dumps(row)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
    if given.json:
        print(json.dumps({"limits": limits(given.device), "runs": given.runs, "rows": results}, indent=1))
        return
    table = Table(
        "work", "memory", "precision", "threads", "update, ms", "env steps/s", "samples/s", "share", "peak, MB",
        title=device_name(given.device),
    )  # fmt: skip
    for row in results:
        cells = (f"{row['update_ms']:,.1f}", f"{row['env_steps_per_s']:,.0f}")
        cells += (f"{row.get('samples_per_s', 0):,.0f}", f"{row.get('share', 0):.1%}", f"{row.get('peak_mb', 0):,.0f}")
        table.add_row(row["work"], row["memory"], row["precision"], str(row["threads"]), *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
