"""Arithmetic on a GPU that is what it says, and repeats."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """On a GPU, within the block: float32 is float32, and the same computation gives the same bits.

    By default cuDNN computes float32 in TensorFloat-32, with three significant digits, and the gradients of its
    convolutions add up in any order. A backward pass after the block needs a block of its own.
    """
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = False, True, False
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = before
