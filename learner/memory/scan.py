"""A linear recurrence over time as a parallel scan: many steps at once, in any order of magnitude.

h[t] = a[t] h[t - 1] + b[t] is solved in two levels (Blelloch 1990, "Prefix sums and their applications"): time is cut
into about sqrt(T) pieces of about sqrt(T) steps; all pieces go side by side from a state of 0, then their ends are put
together, and each piece adds what its beginning lacked. That is O(T) work in O(sqrt(T)) operations. With |a| at most 1
nothing can overflow and what underflows is forgotten anyway, so no logarithms are needed (sums of logarithms would lose
a digit for every tenfold of T).
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad


def linear_recurrence(a: Tensor, b: Tensor, before: Tensor | None = None) -> Tensor:
    """h[t] = a[t] h[t - 1] + b[t]; differentiable, once.

    Args:
        a: [T, B, N], in [-1, 1].
        b: [T, B, N].
        before: h[-1], [B, N]; 0 by default.

    Returns:
        [T, B, N].
    """
    if before is not None:
        b = torch.cat([b[:1] + a[:1] * before, b[1:]])
    return _LinearRecurrence.apply(a, b)  # pyright: ignore[reportReturnType]


class _LinearRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        h = solved(a, b)
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What reaches b[t] is the same recurrence backwards: g[t] = a[t + 1] g[t + 1] + gradient[t]."""
        a, h = ctx.saved_tensors
        g = solved(pad(a[1:], (0, 0, 0, 0, 0, 1)), gradient, backwards=True)
        return g * pad(h[:-1], (0, 0, 0, 0, 1, 0)), g


def solved(a: Tensor, b: Tensor, backwards: bool = False) -> Tensor:
    """The recurrence, forwards or from the last step to the first."""
    steps = len(a)
    length = math.isqrt(steps - 1) + 1
    pieces = -(-steps // length)
    missing = pieces * length - steps
    if missing:
        a, b = (pad(each, (0, 0, 0, 0, 0, missing)) for each in (a, b))
    a, b = (each.unflatten(0, (pieces, length)) for each in (a, b))
    order = range(length - 1, -1, -1) if backwards else range(length)
    # From a state of 0; and what is left at each step of the state before the piece.
    h, left = torch.empty_like(b), torch.empty_like(a)
    last = order[0]
    h[:, last], left[:, last] = b[:, last], a[:, last]
    for now in order[1:]:
        torch.addcmul(b[:, now], a[:, now], h[:, last], out=h[:, now])
        torch.mul(a[:, now], left[:, last], out=left[:, now])
        last = now
    for piece in range(pieces - 2, -1, -1) if backwards else range(1, pieces):
        earlier = piece + 1 if backwards else piece - 1
        h[piece].addcmul_(left[piece], h[earlier, last])
    return h.flatten(0, 1)[:steps]
