"""What each memory costs: acting, learning, and the memory that both take, by the length of a trial.

python benchmarks/memories.py                              # a table: T = 100, 500 and 1000
python benchmarks/memories.py --json                       # one object
python benchmarks/memories.py --steps 100 --runs 3         # short
python benchmarks/memories.py --device cuda --precision bfloat16

One thread, 128 wide, inputs of 128, made for trials of T steps:
    step      milliseconds of one step of 32 rows in the middle of a trial, as an actor takes it
    state     bytes that a row carries from step to step
    forward   inputs a second that `unroll` reads, 32 rows of T steps at a time, without a graph
    backward  inputs a second, forwards and backwards, with gradients of all parameters
    peak      megabytes that forwards and backwards add to the process's largest size (on a GPU: to what is allocated)

Each row is a process of its own; times are medians.
"""

import argparse
import json
import resource
import subprocess
import sys
from typing import Any

import torch
from limits import device_name, median_seconds
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from innerloop.learner.memory import MEMORIES, State, constructor

WIDTH, ROWS = 128, 32
COLUMNS = ("step_ms", "state_bytes", "forward_per_s", "backward_per_s", "peak_mb")


def peak_mb(device: str) -> float:
    """The process's largest size so far; on a GPU, of what it has allocated there."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, steps: int, runs: int, rows: int, device: str, precision: str) -> dict[str, Any]:
    """A memory's costs for trials of so many steps, in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    memory = constructor("memory", name)(WIDTH, WIDTH, steps)
    assert isinstance(memory, nn.Module)
    memory.to(device)
    x, parameters = torch.randn(steps, rows, WIDTH).to(device), list(memory.parameters())

    def unroll() -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            return memory.unroll(x)

    before = peak_mb(device)
    backward = median_seconds(lambda: torch.autograd.grad(unroll().sum(), parameters), runs)
    peak = peak_mb(device) - before
    with torch.inference_mode():
        forward = median_seconds(unroll, runs)
        state: State = memory.initial(rows)
        size = sum(tensor.nbytes for tensor in state) // rows
        for each in x[: steps // 2]:
            _, state = memory.step(each, state)

        def ten_steps() -> None:
            nonlocal state
            for _ in range(10):
                _, state = memory.step(x[0], state)

        step = median_seconds(ten_steps, runs) / 10
    count = sum(parameter.numel() for parameter in parameters)
    found = (1e3 * step, size, steps * rows / forward, steps * rows / backward, peak)
    return {"memory": name, "steps": steps, "parameters": count} | dict(zip(COLUMNS, found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 500, 1000], help="lengths of a trial")
    parser.add_argument(
        "--memories", nargs="+", default=list(MEMORIES), help="names, with options as --memory has them"
    )
    parser.add_argument("--runs", type=int, default=7, help="of which each time is the median")
    parser.add_argument("--rows", type=int, default=ROWS, help="trials side by side")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the unrolls")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(*json.loads(options.only))))
        return
    rows = []
    for steps in options.steps:
        for name in options.memories:
            given = json.dumps([name, steps, options.runs, options.rows, options.device, options.precision])
            done = subprocess.run(
                [sys.executable, __file__, "--only", given], check=True, capture_output=True, text=True
            )
            rows.append(json.loads(done.stdout))
    if options.json:
        given = {"width": WIDTH, "rows": options.rows, "runs": options.runs, "precision": options.precision}
        print(json.dumps(given | {"device": device_name(options.device), "memories": rows}, indent=1))
        return
    table = Table(
        "T",
        "memory",
        "parameters",
        "step, ms",
        "state, B/row",
        "forward/s",
        "forward+backward/s",
        "peak, MB",
        title=device_name(options.device),
    )
    for row in rows:
        cells = (f"{row['step_ms']:.2f}", *(f"{row[column]:,.0f}" for column in COLUMNS[1:]))
        table.add_row(str(row["steps"]), row["memory"], f"{row['parameters']:,}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
