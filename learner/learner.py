"""The outer loop: the only place where parameters change."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeGuard, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..envs.errors import BadInput, require
from .api import Algorithm, Diverged, Loss, Metrics, Problem
from .cpus import usable_cpus
from .model import build, compare_shapes
from .sampling import Sampler
from .trajectory import Arrays, Trajectory

MODEL = "model/"
"""Before the names of weights in a learner's state."""
OPTIMISER = "optimiser/"
"""Before those of the optimiser's arrays."""
NEVER_NEGATIVE = ("step", "exp_avg_sq", "max_exp_avg_sq")
"""Of the optimiser's arrays: counts, and averages of squares, whose roots are taken."""
T = TypeVar("T")
R = TypeVar("R")


def choose_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA where there is one, else the CPU.

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
    """On a GPU: float32 means float32, and the same update gives the same bits.

    cuDNN multiplies float32 matrices as TensorFloat-32, with three digits, unless it is told not to. And gradients are
    summed in the order in which a thread made their nodes, so the thread that goes forwards goes backwards too.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autograd.set_multithreading_enabled(False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


class _Optimise:
    """See `api.Optimise`. On a CPU, threads share the work: sums are taken in a fixed order. A GPU is fed by the
    caller's own thread."""

    def __init__(self, model: nn.Module, optimiser: torch.optim.Optimizer, device: torch.device, threads: int) -> None:
        self.optimiser, self._threads = optimiser, threads
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._pool = None
        if device.type == "cpu":
            self._pool = ThreadPoolExecutor(threads, "learner", initializer=torch.set_num_threads, initargs=(1,))

    def parts(self, trials: np.ndarray, most: int = 2**62) -> list[np.ndarray]:
        rounds = -(-len(trials) // (most * self._threads))
        return [part for part in np.array_split(trials, self._threads * rounds) if len(part)]

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        return list(self._pool.map(function, items) if self._pool else map(function, items))

    def __call__(self, loss: Loss, trials: np.ndarray, *, learning_rate: float, max_norm: float) -> Metrics:
        def gradients(part: np.ndarray) -> tuple[tuple[Tensor, ...], list[str], Tensor]:
            value, metrics = loss(part)
            found = torch.autograd.grad(value, self._parameters, allow_unused=True, materialize_grads=True)
            numbers = [each.detach().to(value.device) for each in (value, *metrics.values())]
            return found, ["loss", *metrics], torch.stack(numbers)

        shares = self.map(gradients, self.parts(trials))
        for parameter, *found in zip(self._parameters, *(share[0] for share in shares), strict=True):
            parameter.grad = sum(found[1:], start=found[0])
        norm = float(nn.utils.clip_grad_norm_(self._parameters, max_norm))
        numbers = sum((share[2] for share in shares), start=torch.zeros_like(shares[0][2]))
        metrics = dict(zip(shares[0][1], numbers.tolist(), strict=True))  # all at once: a GPU is waited for at each
        if not math.isfinite(norm):
            raise Diverged(f"the gradient's norm is {norm} (loss {metrics['loss']:.4g})")
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        return metrics | {"gradient_norm": norm}


class Learner:
    """Parameters, optimiser state and version; they change together in `update`, or not at all."""

    def __init__(
        self, algorithm: Algorithm, problem: Problem, *, seed: int, device: str = "auto", threads: int = 0
    ) -> None:
        """Args:
        algorithm: what to learn with.
        problem: what to learn.
        seed: of the first parameters and of the order of minibatches.
        device: `auto`, or a torch device.
        threads: on a CPU, threads that share each minibatch, one part each; 0 for as many as there are CPUs. Sums
            are taken in a fixed order, so a run repeats bit for bit with the same number of threads.

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
        self.optimiser = algorithm.optimiser(self.model)
        self._optimise = _Optimise(self.model, self.optimiser, self.device, self.threads)
        self.version = 0
        """Updates made."""

    def update(self, batch: Trajectory | Sampler, progress: float) -> Metrics:
        """One meta-update.

        Args:
            batch: whole trials, or for an off-policy algorithm what it samples from.
            progress: share of the run that is done, in [0, 1]; schedules depend on it.

        Returns:
            The algorithm's metrics.

        Raises:
            Diverged: the loss's gradient is not finite, or what a step made of the weights; nothing has changed.
        """
        before = copy.deepcopy((self.model.state_dict(), self.optimiser.state_dict()))
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((self._seed, self.version))))
        try:
            with _repeatable(self.device):
                metrics = self.algorithm.update(self.model, batch, self._optimise, progress, rng)
            if not self._is_finite():
                raise Diverged("a step made weights, or the optimiser's averages, that are not finite")
        except BaseException as error:
            self.model.load_state_dict(before[0])
            self.optimiser.load_state_dict(before[1])
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
        state = [each for entry in self.optimiser.state.values() for each in entry.values()]
        found = [each for each in (*self.model.state_dict().values(), *state) if _is_float(each) and each.numel()]
        # Bounds, in one pass, are several times faster than `isfinite`, and do not overflow as sums do. All on one
        # device: an optimiser may count its steps on the CPU while its averages are on a GPU.
        bounds = [bound.to(self.device, torch.float64) for each in found for bound in each.aminmax()]
        return bool(torch.stack(bounds).isfinite().all())

    def _optimiser_entries(self, arrays: Arrays, count: int) -> dict[int, dict[str, Tensor]]:
        """The optimiser's saved state by parameter, as a step of it would leave it.

        Raises:
            BadInput: not `count` arrays, or one has another name, dtype or shape, or values that no step gives.
        """
        entries: dict[int, dict[str, Tensor]] = {}
        own = self._optimiser_template()
        for key, array in arrays.items():
            if not key.startswith(OPTIMISER):
                continue
            expected = own.get(key)
            require(expected is not None, "an array of the optimiser", key, "one that it has for this model")
            assert expected is not None
            _check_array(f"the optimiser's {key.removeprefix(OPTIMISER)}", array, expected)
            _, index, name = key.split("/")
            if name in NEVER_NEGATIVE:
                least = float(array.min(initial=0))
                require(least >= 0, f"the least of the optimiser's {index}/{name}", least, "at least 0")
            entries.setdefault(int(index), {})[name] = torch.tensor(array)
        found = sum(map(len, entries.values()))
        require(found == count, "the number of the optimiser's arrays", found, f"{count}")
        return entries

    def _optimiser_template(self) -> dict[str, Tensor]:
        """What a step of the optimiser leaves, as `state` names it; of a copy, so that nothing changes."""
        model = copy.deepcopy(self.model)
        optimiser = self.algorithm.optimiser(model)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        optimiser.step()
        return _named(optimiser)

    def weights(self) -> Arrays:
        """A copy of the model's parameters and buffers, as actors load them: name to array, on the CPU."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.model.state_dict().items()}

    def state(self) -> tuple[Arrays, dict[str, float]]:
        """All that `load` needs to go on bit for bit: arrays by name, and numbers by name."""
        arrays = {MODEL + name: array for name, array in self.weights().items()}
        arrays |= {name: tensor.cpu().numpy().copy() for name, tensor in _named(self.optimiser).items()}
        return arrays, {"version": self.version, "optimiser_arrays": len(arrays) - len(self.model.state_dict())}

    def load(self, arrays: Arrays, numbers: dict[str, float]) -> None:
        """Take over a state that `state` gave.

        Raises:
            BadInput: its arrays or numbers are not those of this model; nothing has changed.
        """
        version, count = (_count(numbers, name) for name in ("version", "optimiser_arrays"))
        state = self.optimiser.state_dict()
        state["state"] = self._optimiser_entries(arrays, count)
        load_weights(self.model, weights_of(arrays))
        self.optimiser.load_state_dict(state)
        self.version = version


def weights_of(state: Arrays) -> Arrays:
    """The weights among the arrays that `Learner.state` gave."""
    return {name.removeprefix(MODEL): array for name, array in state.items() if name.startswith(MODEL)}


def load_weights(model: nn.Module, weights: Arrays) -> None:
    """Set the model's parameters and buffers.

    Args:
        model: to be changed, in place.
        weights: name to array, as `Learner.weights` gives them.

    Raises:
        BadInput: a name, a shape or a dtype that the model does not have, or numbers that are not finite; nothing has
            changed.
    """
    own = model.state_dict()
    compare_shapes(weights, {name: tuple(tensor.shape) for name, tensor in own.items()})
    for name, tensor in own.items():
        _check_array(f"the weights of {name}", weights[name], tensor)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(torch.tensor(weights[name]))


def _check_array(field: str, array: np.ndarray, own: Tensor) -> None:
    """Refuse what a tensor of ours cannot have been.

    Raises:
        BadInput: another shape or dtype, or numbers that are not finite.
    """
    require(array.shape == tuple(own.shape), f"the shape of {field}", array.shape, f"{tuple(own.shape)}")
    dtype = str(own.dtype).removeprefix("torch.")
    require(array.dtype.name == dtype, f"the dtype of {field}", array.dtype.name, f"{dtype}, as they were saved")
    if _is_float(own) and not np.isfinite(array).all():
        wrong = array.size - np.count_nonzero(np.isfinite(array))
        raise BadInput(f"{wrong} of {array.size} numbers of {field} are NaN or infinite; expected finite ones.")


def _named(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as arrays are named: optimiser/PARAMETER/ENTRY."""
    state = optimiser.state_dict()["state"]
    return {f"{OPTIMISER}{index}/{name}": each for index, entry in state.items() for name, each in entry.items()}


def _count(numbers: dict[str, float], name: str) -> int:
    """Raises:
    BadInput: it is no whole number of at least 0.
    """
    given = numbers.get(name)
    whole = isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < 2**63 and given % 1 == 0
    require(whole, f"the checkpoint's {name}", given, "a whole number of at least 0")
    assert given is not None
    return int(given)


def _is_float(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.is_floating_point()
