"""Scores on single tasks, as `innerloop compare` reads them."""

import hashlib
from pathlib import Path

import numpy as np

from ..envs.api import Tasks
from ..learner.files import write_whole


def fingerprints(tasks: Tasks) -> np.ndarray:
    """uint64 [N]: the same for the same tasks alone."""
    digests = [hashlib.blake2b(digest_size=8) for _ in next(iter(tasks.values()))]
    for name in sorted(tasks):
        for digest, row in zip(digests, np.ascontiguousarray(tasks[name]), strict=True):
            digest.update(row.tobytes())
    return np.frombuffer(b"".join(digest.digest() for digest in digests), np.uint64)


def write_scores(file: Path, tasks: np.ndarray, returns: np.ndarray) -> None:
    """Comma-separated values that `innerloop compare` reads: the task and the return of every trial.

    Args:
        file: written whole, or not at all.
        tasks: [N], see `fingerprints`.
        returns: [N].
    """
    lines = [f"{task:016x},{score!r}\n" for task, score in zip(tasks.tolist(), returns.tolist(), strict=True)]
    write_whole(str(file), ("task,score\n" + "".join(lines)).encode())
