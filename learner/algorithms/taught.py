"""What algorithms share that learn from right answers over whole trials. Arrays are [T, B, ...], time first."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ...envs.errors import require
from ..answers import AnsweringAgent, Answers, answer_loss, answer_score
from ..api import Consumes, InnerLoop, Metrics, Optimise, Problem, linear
from ..classes import Labelled
from ..encoders import parse_encoder
from ..episodes import episode_entries, last_episode
from ..heads import Head
from ..memory import Memory
from ..trajectory import Trajectory


@dataclass(frozen=True, kw_only=True)
class Taught:
    """Adam on the error of the answers at every step of a trial, from the episode `loss_from` on. Its model is an
    `Answers`, or another with a `head`, of which the algorithm says what it has `answered`."""

    learning_rate: float = 3e-3
    """Adam's step size at the start; falls linearly to `learning_rate_end`."""
    learning_rate_end: float = 1e-5
    """Adam's step size at the end of the run."""
    minibatches: int = 1
    """Optimiser steps per iteration, each on a share of its trials."""
    max_gradient_norm: float = 1.0
    """Gradients are clipped to this norm."""
    loss_from: int = 0
    """Episodes before this one, counted from 0, make no part of the loss."""

    learns_from_answers = True

    @property
    def consumes(self) -> Consumes:
        return "fresh"

    def __post_init__(self) -> None:
        require(self.minibatches >= 1, "minibatches", self.minibatches, "at least 1")
        require(self.loss_from >= 0, "loss_from", self.loss_from, "at least 0")
        given = self.learning_rate_end
        require(0 <= given < float("inf"), "learning_rate_end", given, "a finite number of at least 0")
        for field in ("learning_rate", "max_gradient_norm"):
            given = getattr(self, field)
            require(0 < given < float("inf"), field, given, "a finite number above 0")

    def check(self, problem: Problem) -> None:
        """Raises:
        BadInput: no episode of a trial would be learned from.
        """
        episodes = -(-problem.trial_steps // problem.horizon) or problem.episodes  # at least so many
        expected = f"less than {episodes}, the episodes of a trial"
        require(self.loss_from < episodes, "loss_from", self.loss_from, expected)

    def inner_loop(self, model: nn.Module, problem: Problem, greedy: bool = False) -> InnerLoop:
        assert isinstance(model, Answers)
        return AnsweringAgent(model)

    def answered(
        self, model: nn.Module, observation: Tensor, episode: np.ndarray, learned: np.ndarray
    ) -> tuple[Tensor, np.ndarray]:
        """What the model answers in the course of trials.

        Args:
            model: what `build` returned.
            observation: [T, B, ...], as stored.
            episode: int [T, B], which one of its trial a step belongs to.
            learned: bool [T, B], the steps that are part of the loss.

        Returns:
            The parameters of its head [T, B, size], and at which steps it answered, bool [T, B]: at least those that
            are learned from.
        """
        assert isinstance(model, Answers)
        return model.unroll(observation), np.ones_like(learned)

    def optimisers(self, model: nn.Module) -> dict[str, torch.optim.Optimizer]:
        return {"adam": torch.optim.Adam(model.parameters(), lr=self.learning_rate, fused=True)}

    def acts_with(self, name: str) -> bool:
        return True

    def update(
        self, model: nn.Module, batch: Trajectory, optimise: Optimise, progress: float, rng: np.random.Generator
    ) -> Metrics:
        """One pass over the trials: `minibatches` optimiser steps.

        Returns:
            loss (nats, or the squared error in units of the action space), gradient_norm; and of the answers that were
            given on the way, before each step, what a trial and its episodes return.
        """
        device, trials = next(model.parameters()).device, batch.valid.shape[1]
        done = batch.done & batch.valid
        episode = np.cumsum(done, 0) - done
        learned = batch.valid & (episode >= self.loss_from)
        observation, answer, counted = (
            torch.tensor(array, device=device)
            for array in (batch.observation[:-1], batch.privileged["answer"], learned)
        )
        learning_rate = linear(self.learning_rate, self.learning_rate_end, progress)
        reward, own = np.zeros(batch.reward.shape, np.float32), head_of(model)

        def loss(rows: np.ndarray, total: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            index = torch.from_numpy(rows).to(device)
            right = answer.index_select(1, index)
            seen = observation.index_select(1, index)
            parameters, given = self.answered(model, seen, episode[:, rows], learned[:, rows])
            with torch.no_grad():
                reward[:, rows] = np.where(given, answer_score(own, parameters, right), np.nan)
            error = answer_loss(own, parameters, right)
            mean = torch.where(counted.index_select(1, index), error, 0).sum() / total
            return mean, {"loss": mean}

        steps: list[Metrics] = []
        for rows in np.array_split(rng.permutation(trials), min(self.minibatches, trials)):
            total = counted[:, torch.from_numpy(rows).to(device)].sum().clamp(min=1)
            steps.append(
                optimise(
                    lambda part, total=total: loss(part, total),
                    rows,
                    learning_rate=learning_rate,
                    max_norm=self.max_gradient_norm,
                )
            )
        means = {name: sum(step[name] for step in steps) / len(steps) for name in steps[0]}
        return means | returned(batch, reward) | {"learning_rate": learning_rate}


@dataclass(frozen=True, kw_only=True)
class Comparing(Taught, ABC):
    """An agent that compares an example with those of each class that it has seen: what is learned is an embedding."""

    encoder: str = "auto"
    """The embedding of an example: auto (cnn for images), cnn, conv4, mlp, or package.module:attribute; with its
    options as in conv4,channels=32."""
    loss_from: int = 1
    """Episodes before this one, counted from 0, make no part of the loss: in the first one classes have no example
    yet."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_encoder(self.encoder)

    @abstractmethod
    def memory(self, ways: int, width: int, steps: int) -> Memory:
        """A memory that reads `classes.Seen` and returns a logit for each class.

        Args:
            ways: number of classes.
            width: of an embedding.
            steps: of the longest trial.
        """

    def build(self, problem: Problem) -> Answers:
        """Raises:
        BadInput: the observations are no examples beside the answer to the one before.
        """
        self.check(problem)
        observation = Labelled(problem, self.encoder)
        memory = self.memory(observation.ways, observation.embedding, problem.steps)
        return Answers(problem, observation, memory, nn.Identity(), nn.Identity())


def head_of(model: nn.Module) -> Head:
    """Of the answers of what an algorithm here builds."""
    return model.head  # pyright: ignore[reportReturnType]


def returned(batch: Trajectory, reward: np.ndarray) -> Metrics:
    """What trials return where their actions were other ones.

    Args:
        batch: whole trials, of which the rewards are not read.
        reward: float32 [T, B], for the other actions; NaN in episodes that count for nothing.
    """
    returns = replace(batch, reward=reward).episode_returns(int((batch.done & batch.valid).sum(0).max()))
    played = ~np.isnan(returns).all(0)
    entries = episode_entries(np.where(played, np.nansum(returns, 0) / (~np.isnan(returns)).sum(0).clip(1), np.nan))
    return {
        "return": float(np.nansum(returns, 1).mean()),
        "first_episode": float(np.nanmean(returns[:, played.argmax()])),
        "last_episode": float(last_episode(returns[:, played]).mean()),
        **{name: value for name, value in entries.items() if not np.isnan(value)},
    }
