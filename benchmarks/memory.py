"""Does memory stay flat? Many iterations of little work; resident memory of the driver and of every actor.

python benchmarks/memory.py --iterations 8000     # about what W1 makes in an hour in float32

A leak per iteration shows as well with small iterations as with large ones, in a tenth of the time.
"""

import argparse
import json
import os
import tempfile
from typing import Any

import psutil

from innerloop.distributed.config import configure
from innerloop.distributed.trainer import train


def resident() -> dict[str, float]:
    """MB by kind of process: this one, and the actors among its descendants."""
    own = psutil.Process(os.getpid())
    actors = [p for p in own.children(recursive=True) if "Remote" in " ".join(p.cmdline())]
    return {
        "driver": own.memory_info().rss / 1e6,
        "actors": sum(p.memory_info().rss - p.memory_info().shared for p in actors) / 1e6,
        "actor_processes": len(actors),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=8_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    every = max(1, given.iterations // 10)
    samples: list[dict[str, float]] = []

    def watch(line: dict[str, Any]) -> None:
        if line["iteration"] % every == 0:
            samples.append({"iteration": line["iteration"], **resident()})
            if not given.json:
                print({name: round(value, 1) for name, value in samples[-1].items()}, flush=True)

    config = configure(
        episodes=5, trials=16, parts=2, hidden=16, embedding=0, iterations=given.iterations, checkpoint_every=500
    )
    with tempfile.TemporaryDirectory() as out:
        train(config, out, overwrite=True, watch=watch)
    # The first tenth fills caches.
    growth = {name: samples[-1][name] - samples[0][name] for name in ("driver", "actors")}
    print(json.dumps({"samples": samples, "growth_mb": growth}) if given.json else f"growth in MB: {growth}")


if __name__ == "__main__":
    main()
