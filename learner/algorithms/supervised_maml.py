"""MAML with the supervised inner loss: shared weights from which a few gradient steps on a handful of examples and
answers reach every task (Finn et al. 2017, arXiv:1703.03400, algorithm 2).

The agent takes its inner steps on all that it has been told, from the shared weights, whenever an episode ends. The
outer update is the gradient of the error of the answers that follow, through all inner steps.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...envs.errors import require
from ..api import MOST_LAYERS, Problem
from ..encoders import parse_encoder
from ..gradient.adaptation import adapted
from ..gradient.answering import GradientAnsweringAgent, answers, support
from ..gradient.network import AnswerNetwork
from .taught import Taught

MOST_STEPS = 10_000
"""Inner steps."""


@dataclass(frozen=True, kw_only=True)
class SupervisedMAML(Taught):
    """MAML that learns from answers. Inner steps are taken on all examples told before an episode."""

    learning_rate: float = 1e-3
    """Adam's step size at the start; falls linearly to `learning_rate_end`."""
    max_gradient_norm: float = 10.0
    """Gradients are clipped to this norm."""
    loss_from: int = 1
    """Episodes before this one, counted from 0, make no part of the loss, and are not answered in training: with as
    many as there are `shots`, all tasks are adapted once."""
    inner_rate: float = 0.1
    """Step size of an inner step."""
    inner_steps: int = 1
    """Inner steps in training."""
    evaluation_steps: int = 0
    """Inner steps of the trained agent; 0 for as many as in training."""
    learned_rates: bool = False
    """Learn a step size for every parameter, from `inner_rate` on (Meta-SGD: Li et al. 2017, arXiv:1707.09835)."""
    first_order: bool = False
    """First-order MAML: ignore second derivatives in the outer gradient."""
    adapts: Literal["all", "output"] = "all"
    """What inner steps change: all weights, or the output layer alone (ANIL: Raghu et al. 2020, arXiv:1909.09157)."""
    hidden: int = 40
    """Width of the hidden layers."""
    layers: int = 2
    """Number of hidden layers between the encoder and the output layer."""
    activation: Literal["relu", "tanh"] = "relu"
    """Activation function of the hidden layers."""
    encoder: str = "auto"
    """Encoder of an example: auto (cnn for images, else flat), cnn, conv4, flat, mlp, or package.module:attribute; with
    its options as in conv4,channels=32."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_encoder(self.encoder)
        require(0 < self.inner_rate < float("inf"), "inner_rate", self.inner_rate, "a finite number above 0")
        for field, least in (("inner_steps", 1), ("evaluation_steps", 0)):
            expected = f"at least {least}, at most {MOST_STEPS:,}"
            require(least <= getattr(self, field) <= MOST_STEPS, field, getattr(self, field), expected)
        require(self.hidden >= 1, "hidden", self.hidden, "at least 1")
        require(0 <= self.layers <= MOST_LAYERS, "layers", self.layers, f"at least 0, at most {MOST_LAYERS:,}")
        require(self.activation in ("relu", "tanh"), "activation", self.activation, "relu or tanh")
        require(self.adapts in ("all", "output"), "adapts", self.adapts, "all or output")

    def build(self, problem: Problem) -> AnswerNetwork:
        self.check(problem)
        return AnswerNetwork(
            problem,
            encoder=self.encoder,
            hidden=self.hidden,
            layers=self.layers,
            activation=self.activation,
            rate=self.inner_rate,
            learned_rates=self.learned_rates,
            output_alone=self.adapts == "output",
        )

    def inner_loop(self, model: nn.Module, problem: Problem, greedy: bool = False) -> GradientAnsweringAgent:
        assert isinstance(model, AnswerNetwork)
        return GradientAnsweringAgent(model, self.evaluation_steps or self.inner_steps)

    def answered(
        self, model: nn.Module, observation: Tensor, episode: np.ndarray, learned: np.ndarray
    ) -> tuple[Tensor, np.ndarray]:
        assert isinstance(model, AnswerNetwork)
        steps, trials = learned.shape
        shown = model.stream(observation)
        told = torch.zeros(learned.shape, dtype=torch.bool, device=observation.device)
        told[:-1] = shown.told[1:]  # the answer to a step comes with the next one
        given = torch.cat([shown.answer[1:], shown.answer[:1]])
        known = told.cpu().numpy()
        found = torch.zeros(steps, trials, model.head.size, device=observation.device)
        for group in _alike(known, episode, learned):
            before = known & (episode < group[0])
            asked = learned & np.isin(episode, group)
            x, answer, own = (_gathered(each, before) for each in (shown.example, given, told))
            weights = adapted(
                model,
                [support(model, x, answer, own)] * (self.inner_steps if before.any() else 0),
                first_order=self.first_order,
            )[-1]
            if not before.any():
                weights = {name: each.expand(trials, *each.shape) for name, each in weights.items()}
            parameters = answers(model, weights, _gathered(shown.example, asked))
            time, trial = asked.nonzero()
            place = (asked.cumsum(0) - 1)[time, trial]
            found = found.index_put(
                (torch.from_numpy(time).to(found.device), torch.from_numpy(trial).to(found.device)),
                parameters[torch.from_numpy(trial).to(found.device), torch.from_numpy(place).to(found.device)],
            )
        return found, learned


def _alike(known: np.ndarray, episode: np.ndarray, learned: np.ndarray) -> list[list[int]]:
    """The episodes that are learned from, together where no answer was told in between: they have the same weights."""
    groups: list[list[int]] = []
    counts: list[np.ndarray] = []
    for index in np.unique(episode[learned]).tolist():
        count = (known & (episode < index)).sum(0)
        if counts and np.array_equal(count, counts[-1]):
            groups[-1].append(index)
        else:
            groups.append([index])
            counts.append(count)
    return groups


def _gathered(array: Tensor, some: np.ndarray) -> Tensor:
    """The steps [trials, N, *] of [T, trials, *] that are True in `some` [T, trials], in their order; of a trial that
    has fewer than others, further ones behind them."""
    most = max(1, int(some.sum(0).max()))
    first = torch.from_numpy(np.argsort(~some, axis=0, kind="stable")[:most]).to(array.device)
    return array[first, torch.arange(some.shape[1], device=array.device)].transpose(0, 1)
