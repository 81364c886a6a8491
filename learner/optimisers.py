"""The optimisers of an algorithm: guarded steps along a gradient, and their state as named arrays."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..envs.errors import require
from .api import Algorithm, Diverged, Loss, Metrics
from .model import check_array
from .trajectory import Arrays

PREFIX = "optimiser/"
"""Before the names of an optimiser's arrays in a learner's state: optimiser/NAME/PARAMETER/ENTRY."""
NEVER_NEGATIVE = ("step", "exp_avg_sq", "max_exp_avg_sq")
"""Counts, and averages of squares, whose roots are taken."""
T = TypeVar("T")
R = TypeVar("R")


class GuardedSteps:
    """Implements `api.Optimise`. On a CPU, threads share the work, and sums are taken in a fixed order. A GPU is driven
    by the caller's own thread."""

    def __init__(self, optimisers: Mapping[str, torch.optim.Optimizer], device: torch.device, threads: int) -> None:
        self._optimisers, self._threads = optimisers, threads
        self._pool = None
        if device.type == "cpu":
            self._pool = ThreadPoolExecutor(threads, "learner", initializer=torch.set_num_threads, initargs=(1,))

    def parts(self, trials: np.ndarray, most: int = 2**62) -> list[np.ndarray]:
        rounds = -(-len(trials) // (most * self._threads))
        return [part for part in np.array_split(trials, self._threads * rounds) if len(part)]

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        if self._pool:
            return list(self._pool.map(function, items))
        with torch.enable_grad():  # as in a thread of its own, whatever the caller's is
            return list(map(function, items))

    def __call__(
        self, loss: Loss, trials: np.ndarray, *, learning_rate: float, max_norm: float, optimiser: str = "adam"
    ) -> Metrics:
        known = f"one that the algorithm has ({', '.join(self._optimisers) or 'none'})"
        require(optimiser in self._optimisers, "optimiser", optimiser, known)
        chosen = self._optimisers[optimiser]
        parameters = [each for group in chosen.param_groups for each in group["params"] if each.requires_grad]

        def gradients(part: np.ndarray) -> tuple[tuple[Tensor, ...], list[str], Tensor]:
            value, metrics = loss(part)
            found = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
            numbers = [each.detach().to(value.device) for each in (value, *metrics.values())]
            return found, ["loss", *metrics], torch.stack(numbers)

        shares = self.map(gradients, self.parts(trials))
        for parameter, *found in zip(parameters, *(share[0] for share in shares), strict=True):
            # The numbers of a convolution's gradient may lie in another order than the parameter's.
            parameter.grad = reduce(torch.add, found).contiguous()
        norm = float(nn.utils.clip_grad_norm_(parameters, max_norm))
        numbers = sum((share[2] for share in shares), start=torch.zeros_like(shares[0][2]))
        metrics = dict(zip(shares[0][1], numbers.tolist(), strict=True))  # all at once: a GPU is waited for at each
        if not math.isfinite(norm):
            raise Diverged(f"the gradient's norm is {norm} (loss {metrics['loss']:.4g})")
        for group in chosen.param_groups:
            group["lr"] = learning_rate
        chosen.step()
        return metrics | {"gradient_norm": norm}


def named(optimisers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The state of optimisers, as it is named in a learner's."""
    return {
        f"{PREFIX}{name}/{index}/{entry}": each
        for name, optimiser in optimisers.items()
        for index, entries in optimiser.state_dict()["state"].items()
        for entry, each in entries.items()
    }


def after_a_step(algorithm: Algorithm, model: nn.Module) -> dict[str, Tensor]:
    """What a step of each optimiser leaves, as `named` gives it; of a copy, so that nothing changes."""
    model = copy.deepcopy(model)
    optimisers = algorithm.optimisers(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    for optimiser in optimisers.values():
        optimiser.step()
    return named(optimisers)


def parse_state(arrays: Arrays, count: int, expected: Mapping[str, Tensor]) -> dict[str, dict[int, dict[str, Tensor]]]:
    """The saved state of optimisers: name to parameter to entry.

    Args:
        arrays: a learner's state; others than optimisers' are left alone.
        count: of their arrays, as the state says.
        expected: see `after_a_step`.

    Raises:
        BadInput: not `count` arrays, or one has another name, dtype or shape, or values that no step gives.
    """
    states: dict[str, dict[int, dict[str, Tensor]]] = {}
    found = {key: array for key, array in arrays.items() if key.startswith(PREFIX)}
    for key, array in found.items():
        own = expected.get(key)
        require(own is not None, "an array of the optimiser", key, "one that it has for this model")
        assert own is not None
        check_array(f"the optimiser's {key.removeprefix(PREFIX)}", array, own)
        _, name, index, entry = key.split("/")
        if entry in NEVER_NEGATIVE:
            least = float(array.min(initial=0))
            require(least >= 0, f"the least of the optimiser's {name}/{index}/{entry}", least, "at least 0")
        states.setdefault(name, {}).setdefault(int(index), {})[entry] = torch.tensor(array)
    require(len(found) == count, "the number of the optimiser's arrays", len(found), f"{count}")
    return states
