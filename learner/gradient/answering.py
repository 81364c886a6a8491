"""Adaptation by gradient to examples whose answers have been told: the inner loop of supervised MAML."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...envs.api import Bools
from ...envs.seeding import Random
from ..contexts import replayed
from ..trajectory import Trajectory
from .adaptation import Phase, adapted
from .feedforward import Weights
from .network import AnswerNetwork

AT_ONCE = 64
"""Tasks that are adapted at once."""


def support(model: AnswerNetwork, x: Tensor, answer: Tensor, known: Tensor) -> Phase:
    """What inner steps descend: the mean error of the answers that are known. That is the policy gradient's loss with
    the answer as the draw and an advantage of 1.

    Args:
        model: the network.
        x: [tasks, N, *], examples as they are stored.
        answer: [tasks, N, *], members of the action space.
        known: bool [tasks, N]; others do not count.
    """
    encoded = model.body(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    weight = known.to(next(model.parameters()).dtype) / known.sum(-1, keepdim=True).clamp(min=1)
    draw = model.head.drawn(answer.flatten(0, 1)).unflatten(0, x.shape[:2])
    return Phase(encoded, draw, torch.zeros_like(weight), torch.ones_like(weight), weight)


def answers(model: AnswerNetwork, weights: Weights, x: Tensor) -> Tensor:
    """The head's parameters [tasks, N, size] for examples [tasks, N, *], with weights of each task."""
    encoded = model.body(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return torch.func.vmap(model.distribution)(dict(weights), encoded)


class GradientAnsweringAgent:
    """Answers with weights that have been adapted, whenever an episode ends, to all examples whose answers it was told.
    It begins from the shared weights each time."""

    rollouts_per_task = 1
    remembers: tuple[str, ...] = ()

    def __init__(self, model: AnswerNetwork, steps: int) -> None:
        """Args:
        model: the network.
        steps: inner steps.
        """
        self._model, self._steps = model, steps
        self._device = next(model.parameters()).device
        self.note: dict[str, np.ndarray] = {}

    def begin_trial(self, n: int, rng: Random | None = None, contexts: Trajectory | None = None) -> None:
        self._weights = {
            name: weight.detach().expand(n, *weight.shape).clone() for name, weight in self._model.weights.items()
        }
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        """Examples [n, *], answers [n, *], and whether they were told, bool [n]."""
        self._example: Tensor | None = None
        self._new = np.zeros(n, np.bool_)
        if contexts is not None:
            for observation, _, _, done, valid in replayed(contexts, self._model.head.none(n)):
                self._see(observation, done, valid)

    @torch.no_grad()
    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        self._see(observation, done, np.ones(len(done), np.bool_))
        assert self._example is not None
        found = [
            answers(self._model, {name: each[rows] for name, each in self._weights.items()}, self._example[rows, None])
            for rows in _parts(np.arange(len(done)), self._device)
        ]
        return self._model.head.action(self._model.head.draw(torch.cat(found).squeeze(1), None)[0].cpu().numpy())

    @torch.no_grad()
    def _see(self, observation: np.ndarray, done: Bools, valid: Bools) -> None:
        """Take in the inputs of the rows that are valid, and adapt those whose episode ended."""
        shown = self._model.stream(torch.tensor(observation, device=self._device))
        rows = torch.from_numpy(valid).to(self._device)
        if self._example is None:
            self._example = torch.zeros_like(shown.example)
        else:
            told = shown.told & rows
            self._seen.append((self._example, shown.answer, told))
            self._new |= told.cpu().numpy()
        own = rows.reshape(-1, *[1] * (shown.example.ndim - 1))
        self._example = torch.where(own, shown.example, self._example)
        if (ended := self._new & done & valid).any():
            self._adapt(ended)
            self._new &= ~ended

    def _adapt(self, ended: Bools) -> None:
        examples, given, told = (torch.stack(each).transpose(0, 1) for each in zip(*self._seen, strict=True))
        counts = told.sum(1).cpu().numpy()
        for count in np.unique(counts[ended]):
            for rows in _parts(np.flatnonzero(ended & (counts == count)), self._device):
                known = told[rows]
                first = (~known).long().argsort(dim=1, stable=True)[:, :count]  # in the order of time
                index = torch.arange(len(rows), device=self._device).unsqueeze(1), first
                own = support(self._model, examples[rows][index], given[rows][index], known[index])
                for name, each in adapted(self._model, [own] * self._steps)[-1].items():
                    self._weights[name][rows] = each


def _parts(rows: np.ndarray, device: torch.device) -> Sequence[Tensor]:
    return torch.from_numpy(rows).to(device).split(AT_ONCE)
