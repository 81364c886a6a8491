"""What this machine can do at best: the measure of everything else, taken in the same process."""

import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from gymnasium import spaces

from innerloop.envs.api import TaskFamily


def device_name(device: str) -> str:
    """The card's name, or the processor's."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def median_seconds(work: Callable[[], object], runs: int = 7) -> float:
    """Of `runs` calls, after two that do not count; what a call leaves to the GPU is waited for."""

    def finish() -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()

    for _ in range(2):
        work()
    times = []
    for _ in range(runs):
        finish()
        start = time.perf_counter()
        work()
        finish()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def matrix_flops(threads: int, dtype: torch.dtype = torch.float32, size: int = 1024) -> float:
    """Floating-point operations a second of a matrix product, one product per thread at the same time."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        seconds = median_seconds(lambda: list(pool.map(lambda _: a @ b, range(4 * threads))), 9)
    return 4 * threads * 2 * size**3 / seconds


def cuda_matrix_flops(dtype: torch.dtype = torch.float32, tensor_float32: bool = False, size: int = 8192) -> float:
    """Floating-point operations a second of a matrix product on the GPU, of random numbers."""
    a, b = (torch.randn(size, size, device="cuda").to(dtype) for _ in range(2))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tensor_float32
    try:
        return 10 * 2 * size**3 / median_seconds(lambda: [a @ b for _ in range(10)])
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def cuda_copy_bytes_per_s(size: int = 2**31) -> float:
    """Bytes a second that the GPU reads and writes, copying within its memory."""
    source = torch.empty(size, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    return 10 * 2 * size / median_seconds(lambda: [target.copy_(source) for _ in range(10)])


def cuda_upload_bytes_per_s(size: int = 2**28) -> float:
    """Bytes a second from the process's ordinary memory to the GPU's."""
    source, target = torch.ones(size, dtype=torch.uint8), torch.empty(size, dtype=torch.uint8, device="cuda")
    return size / median_seconds(lambda: target.copy_(source))


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
