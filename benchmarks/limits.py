"""What this machine can do at best: the measure of everything else, taken in the same process."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from gymnasium import spaces

from innerloop.envs.api import TaskFamily


def median_seconds(work: Callable[[], object], runs: int = 7) -> float:
    """Of `runs` calls, after two that do not count."""
    for _ in range(2):
        work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def matrix_flops(threads: int, dtype: torch.dtype = torch.float32, size: int = 1024) -> float:
    """Floating-point operations a second of a matrix product, one product per thread at the same time."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        seconds = median_seconds(lambda: list(pool.map(lambda _: a @ b, range(4 * threads))), 9)
    return 4 * threads * 2 * size**3 / seconds


def bare_steps_per_s(family: TaskFamily, rows: int, steps: int = 200) -> float:
    """Environment steps a second of the family alone: random actions drawn beforehand, no agent, no trial."""
    rng = np.random.default_rng(0)
    env = family.make(family.sample(rng, rows, "train"), rng)
    space = family.action_space
    if isinstance(space, spaces.Box):
        actions = rng.uniform(space.low, space.high, (steps, rows, *space.shape)).astype(np.float32)
    else:
        actions = rng.integers(getattr(space, "n", 1), size=(steps, rows))
    everyone = np.ones(rows, np.bool_)

    def work() -> None:
        env.reset(everyone)
        for action in actions:
            env.step(action)

    return rows * steps / median_seconds(work)
