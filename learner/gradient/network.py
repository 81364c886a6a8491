"""A network that answers, and the part of it that inner steps change."""

import copy
import math
import threading
from collections.abc import Mapping
from itertools import pairwise
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..api import Problem
from ..classes import ExampleStream
from ..encoders import build_encoder
from ..encoders.parts import stateless
from ..heads import head
from .feedforward import Weights

_LOCAL = threading.local()
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}
LOG_STD = -0.5 * math.log(2)
"""Of a box's answers: minus the logarithm of their density is then the squared error."""


class AnswerNetwork(nn.Module):
    """An encoder of the example, hidden layers and an output layer. Inner steps change all of it, or the output layer
    alone (ANIL: Raghu et al. 2020, arXiv:1909.09157).

    Args:
        problem: a stream of examples.
        encoder: of an example, see `encoders`.
        hidden: width of each hidden layer.
        layers: hidden layers.
        activation: between them.
        rate: of an inner step.
        learned_rates: one rate for each parameter that inner steps change, learned with the parameters (Meta-SGD).
        output_alone: inner steps change the output layer alone.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        encoder: str,
        hidden: int,
        layers: int,
        activation: Literal["relu", "tanh"],
        rate: float,
        learned_rates: bool,
        output_alone: bool,
    ) -> None:
        super().__init__()
        self.stream, self.head = ExampleStream(problem), head(problem.action_space)
        encoded = build_encoder(encoder, self.stream.example_space)
        assert isinstance(encoded, nn.Module)
        parts: list[nn.Module] = [encoded]
        for inputs, outputs in pairwise([encoded.width, *[hidden] * layers]):
            parts += [_linear(inputs, outputs), ACTIVATIONS[activation]()]
        output = _linear(hidden if layers else encoded.width, self.head.size - self.head.state_independent)
        self.body = nn.Sequential(*parts) if output_alone else nn.Identity()
        self.adaptive = output if output_alone else nn.Sequential(*parts, output)
        self._rate = rate
        rates = {_key(name): torch.full_like(weight, rate) for name, weight in self.adaptive.named_parameters()}
        self.rates = nn.ParameterDict(rates if learned_rates else {})

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """What inner steps change, shared by all tasks."""
        return dict(self.adaptive.named_parameters())

    def distribution(self, weights: Weights, x: Tensor) -> Tensor:
        """The head's parameters [N, size] of one task for N examples, as `body` has them."""
        with stateless():
            out = functional_call(_own_copy(self.adaptive), dict(weights), (x,))
        if not self.head.state_independent:
            return out
        return torch.cat([out, out.new_full((*out.shape[:-1], self.head.state_independent), LOG_STD)], -1)

    def rate(self, name: str, step: int) -> Tensor | float:
        """Of an inner step, for one of the weights."""
        return self.rates[_key(name)] if self.rates else self._rate


def _own_copy(module: nn.Module) -> nn.Module:
    """This thread's copy of a module whose weights are replaced for a while: other threads do the same."""
    copies: WeakKeyDictionary[nn.Module, nn.Module] = _LOCAL.__dict__.setdefault("copies", WeakKeyDictionary())
    own = copies.get(module)
    device = next(module.parameters()).device
    if own is None or next(own.parameters()).device != device:
        own = copies[module] = copy.deepcopy(module)
    return own


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _key(name: str) -> str:
    """As a parameter dictionary can have it."""
    return name.replace(".", "/")
