"""Many images, read a few at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

_STATELESS: ContextVar[bool] = ContextVar("stateless", default=False)


@contextmanager
def stateless() -> Iterator[None]:
    """While this lasts, networks run with weights that are not their own: nothing may be computed again later."""
    token = _STATELESS.set(True)
    try:
        yield
    finally:
        _STATELESS.reset(token)


def in_parts(encode: Callable[[Tensor], Tensor], images: Tensor, most: int) -> Tensor:
    """`encode` of images [N, ...], at most `most` at a time. For the backward pass each part keeps only its bytes;
    activations are recomputed."""
    parts = images.split(most)
    if len(parts) == 1 or _STATELESS.get() or not torch.is_grad_enabled():
        return torch.cat([encode(part) for part in parts])
    return torch.cat([checkpoint(encode, part, use_reentrant=False) for part in parts])
