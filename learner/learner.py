"""The outer loop: the only place where parameters change."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from ..envs.errors import BadInput, require
from .api import Algorithm, Diverged, Metrics, Problem
from .cpus import usable_cpus
from .exact import exact
from .model import build, check_array, compare_shapes
from .optimisers import GuardedSteps, after_a_step, named, parse_state
from .sampling import Both, Sampler
from .trajectory import Arrays, Trajectory

MODEL = "model/"
"""Before the names of weights in a learner's state."""


def choose_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA if available, else the CPU.

    Raises:
        BadInput: no such device on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"device is {name!r}; expected auto, or a device that this machine has ({reason}).") from error


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """`exact`; and on a GPU the backward pass runs in the thread of the forward pass: gradients are accumulated in an
    order that depends on the threads."""
    if device.type != "cuda":
        yield
        return
    with exact(device), torch.autograd.set_multithreading_enabled(False):
        yield


class Learner:
    """Parameters, optimiser state and version; they change together in `update`, or not at all."""

    def __init__(
        self, algorithm: Algorithm, problem: Problem, *, seed: int, device: str = "auto", threads: int = 0
    ) -> None:
        """Args:
        algorithm: what to learn with.
        problem: what to learn.
        seed: of the initial parameters and of the order of minibatches.
        device: `auto`, or a torch device.
        threads: on a CPU, the number of threads that share each minibatch; 0 for one per CPU. Sums are taken in a
            fixed order, so a run repeats bit for bit with the same number of threads.

        Raises:
            BadInput: no such device.
        """
        self.algorithm, self.problem, self._seed = algorithm, problem, seed
        self.device = choose_device(device)
        self.threads = (threads or usable_cpus()) if self.device.type == "cpu" else 1
        with torch.random.fork_rng(devices=[]):  # the model is built on the CPU: no GPU's generator is touched
            torch.default_generator.manual_seed(seed)
            self.model: nn.Module = build(algorithm, problem)
        self.model.to(self.device)
        self.optimisers = algorithm.optimisers(self.model)
        """By name."""
        self._optimise = GuardedSteps(self.optimisers, self.device, self.threads)
        self.version = 0
        """Updates made."""

    def update(self, batch: Trajectory | Sampler | Both, progress: float) -> Metrics:
        """One meta-update.

        Args:
            batch: what the algorithm consumes.
            progress: share of the run that is done, in [0, 1]; schedules depend on it.

        Returns:
            The algorithm's metrics.

        Raises:
            Diverged: the loss's gradient is not finite, or what a step made of the weights; nothing has changed.
        """
        states = {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}
        before = copy.deepcopy((self.model.state_dict(), states))
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((self._seed, self.version))))
        try:
            with _repeatable(self.device):
                metrics = self.algorithm.update(self.model, batch, self._optimise, progress, rng)
            if not self._is_finite():
                raise Diverged("a step made weights, or the optimiser's averages, that are not finite")
        except BaseException as error:
            self.model.load_state_dict(before[0])
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(before[1][name])
            if isinstance(error, Diverged):
                raise Diverged(
                    f"{error} at update {self.version}. The weights are still those of version {self.version}. "
                    "Try smaller steps."
                ) from error
            raise
        self.version += 1
        return metrics

    def _is_finite(self) -> bool:
        """All that `load` would take."""
        found = [*self.model.state_dict().values(), *named(self.optimisers).values()]
        found = [each for each in found if isinstance(each, Tensor) and each.is_floating_point() and each.numel()]
        # Bounds, in one pass, are several times faster than `isfinite`, and do not overflow as sums do. All on one
        # device: an optimiser may count its steps on the CPU while its averages are on a GPU.
        bounds = [bound.to(self.device, torch.float64) for each in found for bound in each.aminmax()]
        return bool(torch.stack(bounds).isfinite().all())

    def weights(self) -> Arrays:
        """A copy of the model's parameters and buffers: name to array, on the CPU."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.model.state_dict().items()}

    def acting_weights(self) -> Arrays:
        """Those of `weights` that an actor needs to play."""
        state, acts_with = self.model.state_dict(), self.algorithm.acts_with
        return {name: each.detach().cpu().numpy().copy() for name, each in state.items() if acts_with(name)}

    def state(self) -> tuple[Arrays, dict[str, float]]:
        """All that `load` needs to go on bit for bit: arrays by name, and numbers by name."""
        arrays = {MODEL + name: array for name, array in self.weights().items()}
        arrays |= {name: tensor.cpu().numpy().copy() for name, tensor in named(self.optimisers).items()}
        return arrays, {"version": self.version, "optimiser_arrays": len(arrays) - len(self.model.state_dict())}

    def load(self, arrays: Arrays, numbers: dict[str, float]) -> None:
        """Take over a state that `state` gave.

        Raises:
            BadInput: its arrays or numbers are not those of this model; nothing has changed.
        """
        version, count = (_count(numbers, name) for name in ("version", "optimiser_arrays"))
        entries = parse_state(arrays, count, after_a_step(self.algorithm, self.model))
        load_weights(self.model, weights_of(arrays))
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(optimiser.state_dict() | {"state": entries.get(name, {})})
        self.version = version


def weights_of(state: Arrays) -> Arrays:
    """The weights among the arrays that `Learner.state` gave."""
    return {name.removeprefix(MODEL): array for name, array in state.items() if name.startswith(MODEL)}


def load_weights(model: nn.Module, weights: Arrays, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Set the model's parameters and buffers.

    Args:
        model: to be changed, in place.
        weights: name to array, as `Learner.weights` gives them.
        wanted: which of the model's are set; all by default.

    Raises:
        BadInput: a name, a shape or a dtype that the model does not have, or numbers that are not finite; nothing has
            changed.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if wanted(name)}
    compare_shapes(weights, {name: tuple(tensor.shape) for name, tensor in own.items()})
    for name, tensor in own.items():
        check_array(f"the weights of {name}", weights[name], tensor)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(torch.tensor(weights[name]))


def _count(numbers: dict[str, float], name: str) -> int:
    """Raises:
    BadInput: it is no whole number of at least 0.
    """
    given = numbers.get(name)
    whole = isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < 2**63 and given % 1 == 0
    require(whole, f"the checkpoint's {name}", given, "a whole number of at least 0")
    assert given is not None
    return int(given)
