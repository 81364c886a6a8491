"""A model, built only when it is known to fit: into memory, and with the weights that it is to be given."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..envs.errors import BadInput, raised_by, require
from .api import Algorithm, Problem
from .files import plain

COPIES = 4
"""Of every parameter, that training holds at least: itself, its gradient and two moments of the optimiser."""


def build(algorithm: Algorithm, problem: Problem, weights: dict[str, np.ndarray] | None = None) -> nn.Module:
    """What `algorithm.build` returns; parameters come from torch's global generator.

    Args and errors as of `check_model`, which is called first.
    """
    check_model(algorithm, problem, weights)
    return algorithm.build(problem)


def check_model(algorithm: Algorithm, problem: Problem, weights: dict[str, np.ndarray] | None = None) -> None:
    """Compare what a configuration from outside asks for with what is there, before it is allocated: the outline of the
    model is built, without memory for its parameters.

    Args:
        algorithm: whose model.
        problem: what it is built for.
        weights: that it will be given; their shapes are compared. None for a model that is to be trained.

    Raises:
        BadInput: it is larger than this machine's memory, or its shapes are not those of the weights.
    """
    outline = _outline(algorithm, problem)
    if outline is not None:
        shapes = {name: tuple(tensor.shape) for name, tensor in outline.state_dict().items()}
        if weights is not None:
            compare_shapes(weights, shapes)
        copies = 1 if weights is not None else COPIES
        refuse_beyond_memory("the model", copies * _bytes(outline.parameters()) + _bytes(outline.buffers()))


def _outline(algorithm: Algorithm, problem: Problem) -> nn.Module | None:
    """The model without memory for its parameters; None where it cannot be built so (a plug-in's may not be)."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return algorithm.build(problem)
    except (OverflowError, TypeError, MemoryError) as error:
        raise BadInput(f"the model cannot be built ({raised_by(error)}); expected a smaller one.") from error
    except BadInput:
        raise
    except Exception as error:
        if "overflow" in str(error) or "negative dimension" in str(error):
            raise BadInput(f"the model cannot be built ({raised_by(error)}); expected a smaller one.") from error
        return None


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def compare_shapes(weights: dict[str, np.ndarray], expected: dict[str, tuple[int, ...]]) -> None:
    """Refuse weights of another model.

    Raises:
        BadInput: a name or a shape that the model does not have.
    """
    given = {name: array.shape for name, array in weights.items()}
    for name in [*expected, *given]:
        if given.get(name) != expected.get(name):
            raise BadInput(
                f"the weights of {plain(name)} have shape {given.get(name, 'none')}; expected "
                f"{expected.get(name, 'none')}: these weights are of another family, memory or width."
            )


def refuse_beyond_memory(what: str, size: int) -> None:
    """Raises:
    BadInput: `what` would take more bytes than this machine has.
    """
    if size > (most := usable_memory()):
        raise BadInput(
            f"{what} would take {_readable(size)}; expected at most {_readable(most)}, this machine's memory."
        )


def usable_memory() -> int:
    """Bytes that this process may use: the machine's, or what its container is allowed."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [physical]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # there is none, or it says "max"
            continue
    return min(limits)


def _readable(size: int) -> str:
    units = ("bytes", "KB", "MB", "GB", "TB", "PB", "EB")
    power = min(len(units) - 1, (len(str(size)) - 1) // 3)
    return f"{size / 1000**power:.3g} {units[power]}"


def check_array(field: str, array: np.ndarray, own: Tensor) -> None:
    """Refuse what a tensor of ours cannot have been.

    Raises:
        BadInput: another shape or dtype, or numbers that are not finite.
    """
    require(array.shape == tuple(own.shape), f"the shape of {field}", array.shape, f"{tuple(own.shape)}")
    dtype = str(own.dtype).removeprefix("torch.")
    require(array.dtype.name == dtype, f"the dtype of {field}", array.dtype.name, f"{dtype}, as they were saved")
    if own.is_floating_point() and not np.isfinite(array).all():
        wrong = array.size - np.count_nonzero(np.isfinite(array))
        raise BadInput(f"{wrong} of {array.size} numbers of {field} are NaN or infinite; expected finite ones.")
