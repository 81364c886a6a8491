"""What algorithms that adapt by gradient share: their inner loop, and its hyperparameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...envs.api import Bools
from ...envs.errors import require
from ...envs.seeding import Random, SideBySide
from ..api import MOST_LAYERS, Consumes, Problem
from ..encoders import parse_encoder
from ..trajectory import Trajectory
from .adaptation import InnerLoss, inner_steps, log_probability_loss, phase
from .feedforward import GradientPolicy, Weights


@dataclass(frozen=True, kw_only=True)
class GradientBased:
    """Adaptation by policy gradient with a linear baseline per task. Inner steps: one less than `episodes`."""

    rollouts: int = 20
    """Episodes per task that are played in parallel for each inner step."""
    inner_rate: float = 0.1
    """Step size of the first inner step."""
    inner_decay: float = 0.5
    """Step size of the later ones, as a share of the first (Finn et al. halve it)."""
    learned_rates: bool = False
    """Learn a step size for every parameter, starting from `inner_rate` (Meta-SGD)."""
    first_order: bool = False
    """First-order MAML: ignore second derivatives in the outer gradient."""
    hidden: int = 64
    """Width of the policy's hidden layers."""
    layers: int = 2
    """Number of hidden layers of the policy."""
    activation: Literal["relu", "tanh"] = "relu"
    """Activation function of the policy."""
    encoder: str = "auto"
    """Encoder of the observation: auto (cnn for images, else flat), cnn, flat, mlp, or package.module:attribute; with
    its options as in mlp,width=64,layers=2. All tasks share it: inner steps do not change what it has learned."""
    discount: float = 0.99
    """Per step, within an episode."""
    trace: float = 1.0
    """Lambda of the generalised advantage estimates; 1 is return minus baseline."""

    @property
    def consumes(self) -> Consumes:
        return "fresh"

    @property
    def inner_loss(self) -> InnerLoss:
        """What an inner step descends."""
        return log_probability_loss

    def __post_init__(self) -> None:
        parse_encoder(self.encoder)
        require(self.rollouts >= 2, "rollouts", self.rollouts, "at least 2, to tell better from worse")
        for field in ("hidden", "layers"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")
        require(self.layers <= MOST_LAYERS, "layers", self.layers, f"at most {MOST_LAYERS:,}")
        require(0 < self.inner_rate < float("inf"), "inner_rate", self.inner_rate, "a finite number above 0")
        require(0 < self.inner_decay <= 1, "inner_decay", self.inner_decay, "a number in (0, 1]")
        require(self.activation in ("relu", "tanh"), "activation", self.activation, "relu or tanh")
        for field in ("discount", "trace"):
            require(0 <= getattr(self, field) <= 1, field, getattr(self, field), "a number in [0, 1]")

    def build(self, problem: Problem) -> GradientPolicy:
        return GradientPolicy(
            problem,
            hidden=self.hidden,
            layers=self.layers,
            activation=self.activation,
            rate=self.inner_rate,
            decay=self.inner_decay,
            learned_rates=self.learned_rates,
            encoder=self.encoder,
        )

    def acts_with(self, name: str) -> bool:
        return True

    def inner_loop(self, model: nn.Module, problem: Problem, greedy: bool = False) -> "GradientAgent":
        assert isinstance(model, GradientPolicy)
        return GradientAgent(
            model,
            problem.episodes,
            rollouts_per_task=self.rollouts,
            discount=self.discount,
            trace=self.trace,
            loss=self.inner_loss,
            greedy=greedy,
        )


class GradientAgent:
    """An inner loop by gradient: plays with per-task weights, and takes an inner step whenever all have ended an
    episode."""

    side_by_side = True
    remembers: tuple[str, ...] = "draw", "log_prob"

    def __init__(
        self,
        policy: GradientPolicy,
        episodes: int,
        *,
        rollouts_per_task: int,
        discount: float,
        trace: float,
        loss: InnerLoss,
        greedy: bool,
    ) -> None:
        self.rollouts_per_task = rollouts_per_task
        self._policy, self._episodes, self._greedy = policy, episodes, greedy
        self._discount, self._trace, self._loss = discount, trace, loss
        self._rng: Random = np.random.default_rng(0)
        self._device = policy.weights["w0"].device
        self.note: dict[str, np.ndarray] = {}

    def begin_trial(self, n: int, rng: Random | None = None, contexts: Trajectory | None = None) -> None:
        """As documented; of each task the contexts have as many episodes, with the notes that it `remembers`."""
        require(
            n % self.rollouts_per_task == 0,
            "n",
            n,
            f"a multiple of {self.rollouts_per_task}, the rollouts that an inner step needs",
        )
        self._rng = rng or self._rng
        self._adapt(dict(self._policy.weights.items()))
        self._tasks, self._episode = n // self.rollouts_per_task, 0
        self._begin_episode()
        if contexts is not None:
            self._recall(contexts)

    @torch.no_grad()
    def _recall(self, contexts: Trajectory) -> None:
        """Take the inner steps of episodes that were played before."""
        done = contexts.done & contexts.valid
        episode = np.where(contexts.valid, np.cumsum(done, axis=0) - done, -1)
        counts = episode.max(0) + 1
        require(len({*counts.tolist()}) == 1, "the number of episodes in contexts", counts.tolist(), "one for all rows")
        for index in range(counts[0]):
            own = episode == index
            order = np.argsort(~own, axis=0, kind="stable")[: own.sum(0).max()]  # what is an episode's comes first
            seen, draw, log_prob, reward, playing = (
                np.take_along_axis(array, order.reshape(*order.shape, *[1] * (array.ndim - 2)), 0)
                for array in (
                    contexts.observation,
                    *(contexts.note[name] for name in self.remembers),
                    contexts.reward,
                    own,
                )
            )
            encoded = (self._policy.observation(torch.tensor(x, device=self._device)) for x in seen)
            noted = (torch.tensor(array, device=self._device) for array in (draw, log_prob, playing))
            self._steps = [*zip(encoded, *noted, strict=True)]
            self._rewards = [*torch.tensor(reward, device=self._device)]
            self.end_episode()

    def _begin_episode(self) -> None:
        self._playing = np.ones(self._tasks * self.rollouts_per_task, np.bool_)
        self._steps: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self._rewards: list[Tensor] = []

    @torch.no_grad()
    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        if self._steps:
            self._rewards.append(torch.tensor(reward, device=self._device))  # a copy: the caller may reuse its array
            self._playing = self._playing & ~done
            if not self._playing.any():
                self.end_episode()
        policy = self._policy
        x = policy.observation(torch.as_tensor(observation, device=self._device))
        by_weights = x.unflatten(0, (self._tasks, self.rollouts_per_task)) if self._episode else x
        parameters = policy.acting(self._acting, by_weights).reshape(len(x), -1)
        # Adaptation learns from exploration: a greedy agent is greedy only after its last inner step.
        greedy = self._greedy and self._episode >= self._episodes - 1
        noise = None if greedy else policy.head.noise(self._rng, len(x))
        draw, log_prob = policy.head.draw(parameters, noise)
        self._steps.append((x, draw, log_prob, torch.as_tensor(self._playing, device=self._device)))
        self.note = {"draw": draw.cpu().numpy(), "log_prob": log_prob.cpu().numpy()}
        return policy.head.action(self.note["draw"])

    def end_episode(self) -> None:
        """One inner step for every task; none after the trial's last episode."""
        self._episode += 1
        if isinstance(self._rng, SideBySide):
            self._rng.restart()  # how long rows have waited depends on the other tasks
        if self._episode < self._episodes:
            steps = [torch.stack(column) for column in (*zip(*self._steps, strict=True), self._rewards)]
            *_, valid, _ = steps
            lengths = valid.unflatten(1, (self._tasks, -1)).any(-1).sum(0).tolist()
            stepped: list[Weights] = [{}] * self._tasks
            for length in {*lengths}:
                tasks = [task for task, its in enumerate(lengths) if its == length]
                for task, weights in zip(tasks, self._stepped(length, tasks, steps), strict=True):
                    stepped[task] = weights
            self._adapt({name: torch.cat([each[name] for each in stepped]) for name in self._weights})
        self._begin_episode()

    def _adapt(self, weights: Weights) -> None:
        self._weights, self._acting = weights, self._policy.aligned(weights)

    def _stepped(self, length: int, tasks: list[int], steps: Sequence[Tensor]) -> list[Weights]:
        """The weights of each of these tasks after an inner step, with a task axis of 1.

        One task at a time: the bits of a task's step must not depend on which other tasks there are.
        """
        index = torch.tensor(tasks, device=self._device)
        rows = (
            index.unsqueeze(1) * self.rollouts_per_task + torch.arange(self.rollouts_per_task, device=self._device)
        ).flatten()
        x, draw, log_prob, valid, reward = (column[:length, rows] for column in steps)
        data, _ = phase(
            x, draw, log_prob, reward, valid,
            rollouts_per_task=self.rollouts_per_task, discount=self._discount, trace=self._trace,
        )  # fmt: skip
        adapted = self._episode > 1  # before, all share their weights
        return [
            inner_steps(
                self._policy,
                {name: each[[task]] if adapted else each for name, each in self._weights.items()},
                data.of(np.array([place])),
                self._episode - 1,
                loss=self._loss,
            )
            for place, task in enumerate(tasks)
        ]
