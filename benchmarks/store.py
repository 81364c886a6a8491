"""How fast each store takes trajectories in and gives batches out, beside what bounds it.

python benchmarks/store.py            # a table
python benchmarks/store.py --json     # one object

A trajectory is that of 20 trials of HalfCheetah-Vel, 2 x 200 steps each; a batch is PEARL's: 16 tasks, 256 transitions
and 100 of context each. The measure runs directly before and after what it is the measure of, and `share` is the median
over rounds of what was reached of it:

    Ray append    a trajectory in the object store into replay      a copy of its arrays in memory
    Ray sample    a batch, from the shard to the learner            a numpy gather of the same bytes, indices given
    Redis append  a trajectory, until the server has acknowledged   the same bytes in the same pieces, a bare pipeline
    Redis sample  a batch, from the learner's memory                a numpy gather of the same bytes, indices given
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import ray
from rich.console import Console
from rich.table import Table

from innerloop.actors.actor import Assignment
from innerloop.distributed.launch.session import ray_session
from innerloop.distributed.store.api import Whereabouts
from innerloop.distributed.store.ray import RayStore
from innerloop.distributed.store.redis import wire
from innerloop.distributed.store.redis.store import RedisStore
from innerloop.distributed.store.redis.writer import PIECE
from innerloop.learner.sampling import Request, Sample, Sampler
from innerloop.learner.trajectory import Trajectory

# The tests' server is of use here too.
sys.path += [str(Path(__file__).parents[1] / "tests" / each) for each in ("", "distributed")]
from redis_server import RedisServer

TASKS, TRIALS, STEPS = 100, 20, 400
MEGABYTES = 1_000_000
CAPACITY = 2**28
REQUEST = Request(tasks=16, steps=256, context=(100,), window=2)


def trajectory(rng: np.random.Generator) -> Trajectory:
    shape = STEPS, TRIALS
    done = np.zeros(shape, np.bool_)
    done[STEPS // 2 - 1 :: STEPS // 2] = True
    return Trajectory(
        observation=rng.standard_normal((STEPS + 1, TRIALS, 17), np.float32),
        action=rng.standard_normal((*shape, 6), np.float32),
        reward=rng.standard_normal(shape, np.float32),
        terminated=np.zeros(shape, np.bool_),
        truncated=done,
        valid=np.ones(shape, np.bool_),
    )


def assignment(number: int) -> Assignment:
    """Of a trajectory whose tasks are the next ones, around."""
    tasks = tuple((np.arange(TRIALS) + number * TRIALS) % TASKS)
    return Assignment(number, 0, TRIALS, tuple(map(int, tasks)))


class Contender(NamedTuple):
    """Something to measure, and its measure."""

    name: str
    unit: str
    work: Callable[[int], object]
    limit: Callable[[int], object]
    bytes: int
    """That each unit of both moves."""
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    """Units in a round."""


def gather(sample: Sample) -> Callable[[int], object]:
    """A numpy gather of as many bytes, from arrays as large as the replay's; all indices are drawn beforehand."""
    rng = np.random.default_rng(0)
    parts = [part for part in (sample.steps, sample.context) if part is not None]
    kept = TASKS * STEPS * 8
    pools = [np.zeros((kept, *array.shape[2:]), array.dtype) for array in parts[0]]
    for pool in pools:
        pool[:] = rng.integers(2)
    index = [rng.integers(kept, size=(64, *part.reward.shape)) for part in parts]

    def work(count: int) -> None:
        for batch in range(count):
            for drawn in index:
                for pool in pools:
                    pool[drawn[batch % 64]]

    return work


def sampling(name: str, sampler: Sampler) -> Contender:
    rng = np.random.default_rng(1)
    first = next(iter(sampler.batches(REQUEST, 1, rng)))
    size = sum(array.nbytes for part in (first.steps, first.context) if part is not None for array in part)

    def work(count: int) -> None:
        for _ in sampler.batches(REQUEST, count, rng):
            pass

    return Contender(f"{name} sample", "batches", work, gather(first), size, 64)


def ray_contenders() -> Iterator[Contender]:
    store, rng = RayStore(1, CAPACITY), np.random.default_rng(0)
    sent = [trajectory(rng) for _ in range(5)]
    places = [Whereabouts(ray.put([each]), 0) for each in sent]
    number = 0

    def append(count: int) -> None:
        nonlocal number
        for _ in range(count):
            store.replay.append([(assignment(number), places[number % 5])])
            number += 1

    def copy(count: int) -> None:
        for each in range(count):
            for array in vars(sent[each % 5]).values():
                if isinstance(array, np.ndarray):
                    array.copy()

    append(40)
    yield Contender("Ray append", "trajectories", append, copy, sent[0].nbytes, 20)
    yield sampling("Ray", store.replay)
    store.close()


def redis_contenders(server: RedisServer) -> Iterator[Contender]:
    store = RedisStore(server.url, "benchmark", capacity=CAPACITY, consumes="fresh")
    store.begin(0)
    rng, writer = np.random.default_rng(0), store.writer
    sent, number = trajectory(rng), 0
    data = memoryview(wire.encode(assignment(0), sent))
    entry = {str(start): data[start : start + PIECE] for start in range(0, len(data), PIECE)}
    client = server.client()

    def append(count: int) -> None:
        nonlocal number
        for _ in range(count):
            writer.write(assignment(number), sent)
            number += 1

    def pipeline(count: int) -> None:
        for _ in range(count):
            with client.pipeline(transaction=True) as together:
                together.xadd("bare", entry)  # pyright: ignore[reportArgumentType]
                together.execute()

    store.close()  # nobody reads meanwhile: two cores are enough for a writer and a server
    yield Contender("Redis append", "trajectories", append, pipeline, len(data), 20)
    client.close()
    with_replay = RedisStore(server.url, "replay", capacity=CAPACITY, consumes="replay")
    for each in range(40):
        with_replay.replay.append(list(assignment(each).tasks), sent)
    yield sampling("Redis", with_replay.replay)
    with_replay.close()


def measure(contender: Contender, rounds: int) -> dict[str, float | str]:
    """Medians over rounds, each between two of the measure."""

    def seconds(work: Callable[[int], object]) -> float:
        start = time.perf_counter()
        work(contender.count)
        return (time.perf_counter() - start) / contender.count

    contender.work(contender.count)
    times, limits = [], [seconds(contender.limit), seconds(contender.limit)]
    for _ in range(rounds):
        times.append(seconds(contender.work))
        limits.append(seconds(contender.limit))
    shares = [(limits[i + 1] + limits[i + 2]) / 2 / each for i, each in enumerate(times)]
    reached, limit = statistics.median(times), statistics.median(limits)
    return {
        "unit": contender.unit,
        "per_s": 1 / reached,
        "mb_per_s": contender.bytes / reached / MEGABYTES,
        "limit_mb_per_s": contender.bytes / limit / MEGABYTES,
        "share": statistics.median(shares),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with ray_session("local", False):
        found = {each.name: measure(each, given.rounds) for each in ray_contenders()}
    with RedisServer(password="benchmark") as server:
        found |= {each.name: measure(each, given.rounds) for each in redis_contenders(server)}
    if given.json:
        print(json.dumps(found))
        return
    table = Table("", "a second", "MB/s", "its limit, MB/s", "of its limit", title="Stores")
    for name, figures in found.items():
        row = (f"{figures['per_s']:,.0f} {figures['unit']}", f"{figures['mb_per_s']:,.0f}")
        table.add_row(name, *row, f"{figures['limit_mb_per_s']:,.0f}", f"{figures['share']:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
