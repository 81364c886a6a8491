"""A feed-forward policy whose parameters are given to it, so that every task may have its own."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ...envs.errors import require
from ..api import Problem
from ..encoders import build_encoder
from ..heads import head

Weights = Mapping[str, Tensor]
"""The policy's parameters by name: of one task, or with the tasks as first axis."""

MOST_FEATURES = 1_000
"""Of an observation: the baseline solves an equation in twice as many for every task."""


LINE = 16
"""Float32 numbers in a line of memory."""


class GradientPolicy(nn.Module):
    """A feed-forward policy of the observation alone.

    Args:
        problem: the spaces.
        hidden: width of each layer.
        layers: hidden layers.
        activation: between them.
        rate: of the first inner step.
        decay: of the later ones, as a share of it.
        learned_rates: one rate per parameter, learned with the parameters (Meta-SGD).
        encoder: of the observation, see `encoders`. What it learns, all tasks share: inner steps do not change it
            (as Raghu et al. 2020, arXiv:1909.09157).
    """

    def __init__(
        self,
        problem: Problem,
        *,
        hidden: int,
        layers: int,
        activation: Literal["relu", "tanh"],
        rate: float,
        decay: float,
        learned_rates: bool,
        encoder: str = "auto",
    ) -> None:
        super().__init__()
        self.observation = build_encoder(encoder, problem.observation_space)
        require(
            self.observation.width <= MOST_FEATURES,
            "the number of features of an observation",
            self.observation.width,
            f"at most {MOST_FEATURES:,}, as the linear baseline solves for them: another encoder, such as "
            "mlp,width=128",
        )
        self.learned_encoder = any(True for _ in self.observation.parameters())
        self.head = head(problem.action_space)
        self._activation = getattr(torch, activation)
        widths = [self.observation.width, *[hidden] * layers, self.head.size - self.head.state_independent]
        self.weights = nn.ParameterDict()
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            self.weights[f"w{index}"] = nn.init.xavier_uniform_(torch.empty(inputs, outputs))
            self.weights[f"b{index}"] = torch.zeros(outputs)
        if self.head.state_independent:
            self.weights["state_independent"] = torch.zeros(self.head.state_independent)
        self._layers, self._outputs, self._rate, self._decay = layers + 1, widths[-1], rate, decay
        rates = {name: torch.full_like(weight, rate) for name, weight in self.weights.items()}
        self.rates = nn.ParameterDict(rates if learned_rates else {})

    def distribution(self, weights: Weights, x: Tensor) -> Tensor:
        """The head's parameters [..., N, size] for encoded observations x [..., N, D].

        With tasks as first axis of the weights, x has it too.
        """
        return self._with_state_independent(weights, self._propagated(weights, x))

    def aligned(self, weights: Weights) -> Weights:
        """The same network for `acting`, with every width zero-padded to a multiple of `LINE`.

        Each row and each task's matrices are then aligned. Kernels may compute unaligned ones differently, and the bits
        of a task's rows would depend on how many tasks come before it.
        """

        def wider(name: str, array: Tensor) -> Tensor:
            if name == "state_independent":
                return array
            sizes = array.shape[-2:] if name.startswith("w") else array.shape[-1:]
            return pad(array, [each for size in reversed(sizes) for each in (0, -size % LINE)])

        return {name: wider(name, array) for name, array in weights.items()}

    def acting(self, aligned: Weights, x: Tensor) -> Tensor:
        """`distribution`, with the weights that `aligned` returned."""
        out = self._propagated(aligned, pad(x, (0, -x.shape[-1] % LINE)))
        return self._with_state_independent(aligned, out[..., : self._outputs])

    def _propagated(self, weights: Weights, x: Tensor) -> Tensor:
        for index in range(self._layers):
            x = x @ weights[f"w{index}"] + weights[f"b{index}"].unsqueeze(-2)
            if index + 1 < self._layers:
                x = self._activation(x)
        return x

    def _with_state_independent(self, weights: Weights, out: Tensor) -> Tensor:
        if "state_independent" not in weights:
            return out
        return torch.cat([out, weights["state_independent"].unsqueeze(-2).expand(*out.shape[:-1], -1)], -1)

    def rate(self, name: str, step: int) -> Tensor | float:
        """Of an inner step, counted from 0, for one of the weights."""
        return self.rates.get(name, self._rate) * (self._decay if step else 1.0)
