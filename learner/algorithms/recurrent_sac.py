"""Recurrent soft actor-critic: off-policy learning by memory, on whole stored trials.

(Heess et al. 2015, arXiv:1512.04455, whose deterministic actor and critic become those of soft actor-critic.)

Actor and critic each read the trial with a memory of their own, given the observation and the previous action, reward
and done, across the boundaries of episodes as in RL². The memories are unrolled from the trial's beginning, so the
state that a stored trial was played with is not needed. Critics are told how much of the trial is left, as RL²'s is:
they predict the value of a step (`returns.steps_left`). Arrays are [T, B, ...], time first.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...envs.api import Bools
from ...envs.errors import require
from ...envs.seeding import Random
from ..api import Metrics, Optimise, Problem
from ..contexts import last_action, replayed
from ..heads import outcome
from ..memory import Memory, State, constructor
from ..memory.api import choose_rows
from ..returns import most_steps, steps_left
from ..sampling import Sampler
from ..trajectory import Trajectory
from .sac import ActorCritic, Critic, SoftActorCritic, Twins, noise, perceptron


@dataclass(frozen=True, kw_only=True)
class RecurrentSAC(SoftActorCritic):
    """Soft actor-critic with recurrent actor and critics."""

    memory: str = "lstm"
    """Of the actor and of each critic: deepset, gru, lstm, mann, mingru, none (of the last step alone), snail,
    transformer, or package.module:attribute; with its options as in transformer,layers=4,window=128."""
    hidden: int = 128
    """Width of the memories, and of the critics' layer after them."""
    trials_per_batch: int = 16
    """Whole trials per gradient step."""
    updates_per_step: float = 0.01
    """Gradient steps per environment step."""
    max_gradient_norm: float = 10.0
    """Gradients are clipped to this norm."""

    def __post_init__(self) -> None:
        super().__post_init__()
        constructor("memory", self.memory)
        for field in ("hidden", "trials_per_batch"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")
        norm = self.max_gradient_norm
        require(0 < norm < float("inf"), "max_gradient_norm", norm, "a finite number above 0")

    def build(self, problem: Problem) -> "RecurrentActorCritic":
        return RecurrentActorCritic(problem, self)

    def inner_loop(self, model: nn.Module, problem: Problem, greedy: bool = False) -> "RecurrentActor":
        assert isinstance(model, RecurrentActorCritic)
        return RecurrentActor(model, greedy)

    def update(
        self, model: nn.Module, batch: Sampler, optimise: Optimise, progress: float, rng: np.random.Generator
    ) -> Metrics:
        """The gradient steps that are due.

        Returns:
            Means over them of critic_loss (in units of a step's value), policy_loss, q, entropy (nats per step),
            temperature, gradient_norm; gradient_steps, taken in this update.
        """
        assert isinstance(model, RecurrentActorCritic)
        batches = batch.trials(self.trials_per_batch, self.due(batch.played, int(model.gradient_steps)), rng)
        rate = self.step_size(progress)
        return model.run_gradient_steps(
            (self._step(model, trials, optimise, rate, rng) for trials in batches), self.target_rate
        )

    def _step(
        self,
        model: "RecurrentActorCritic",
        trials: Trajectory,
        optimise: Optimise,
        learning_rate: float,
        rng: np.random.Generator,
    ) -> Metrics:
        draw = noise(rng, (*trials.valid.shape, model.head.noise_width), model.device)
        total = float(trials.valid.sum())

        def of_some(part: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
            return self.loss(model, trials.columns(part), draw[:, torch.from_numpy(part).to(model.device)], total)

        columns = np.arange(trials.valid.shape[1])
        return optimise(of_some, columns, learning_rate=learning_rate, max_norm=self.max_gradient_norm)

    def loss(
        self, model: "RecurrentActorCritic", trials: Trajectory, draw: Tensor, total: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Of some trials, whose steps are weighted as shares of `total`."""
        device = draw.device

        def put(array: np.ndarray) -> Tensor:
            return torch.tensor(array, device=device)

        x, taken = model.unrolled_inputs(trials), model.head.encode(put(trials.action))
        alpha, fixed_x = model.log_temperature.exp().detach(), x.detach()
        left = put(steps_left(trials, model.problem, self.discount))
        action, log_prob = model.head.soft(model.actor(fixed_x), draw)
        with torch.no_grad():
            value = left * model.critics.target_value(x, action) - alpha * log_prob
            # Where an episode ended, the next one's value follows; nothing follows a trial (see `returns.advantages`).
            following = torch.cat([value[1:], torch.zeros_like(value[:1])]).masked_fill(put(trials.trial_end), 0)
            target = self.reward_scale * put(trials.outer_reward) + self.discount * following
        weight = put(trials.valid).float() / total
        q = left * model.critics(x, taken)
        error = (q - target) / most_steps(model.problem, self.discount)
        critic_loss = (error.square().sum(0) * weight).sum()
        gain = left * model.critics.frozen_value(fixed_x, action) - alpha * log_prob
        policy_loss = -(gain * weight).sum()
        metrics = {
            "critic_loss": critic_loss,
            "policy_loss": policy_loss,
            "q": (q.mean(0) * weight).sum(),
            "entropy": -(log_prob * weight).sum(),
            "temperature": alpha * weight.sum(),
        }
        temperature_loss = (model.temperature_loss(log_prob) * weight).sum()
        return critic_loss + policy_loss + temperature_loss, metrics


class RecurrentActorCritic(ActorCritic):
    """An actor and twin critics, each with a memory of its own."""

    def __init__(self, problem: Problem, options: RecurrentSAC) -> None:
        super().__init__(problem, options)
        self.problem = problem
        width, hidden = self.observation.width + self.head.width + 2, options.hidden
        make, steps = constructor("memory", options.memory), problem.steps
        self.actor = Reader(make(width, hidden, steps), perceptron(hidden, hidden, 0, self.head.size))
        self.critics = Twins(lambda: Reader(make(width, hidden, steps), Critic(self.head, hidden, hidden, 1)))

    def inputs(self, observation: Tensor, action: Tensor, reward: Tensor, done: Tensor) -> Tensor:
        """The memories' inputs [..., D] from an observation, and the previous action, reward and done."""
        return torch.cat([self.observation(observation), outcome(self.head, action, reward, done)], -1)

    def unrolled_inputs(self, trials: Trajectory) -> Tensor:
        """The memories' inputs at each step of the trials: [T, B, D]."""
        none = self.head.none(trials.valid.shape[1])
        return self.inputs(*(torch.tensor(array[:-1], device=self.device) for array in trials.inputs(none)))


class Reader(nn.Module):
    """A memory, and a network on what it remembers."""

    memory: Memory

    def __init__(self, memory: Memory, network: nn.Module) -> None:
        super().__init__()
        self.memory, self.network = memory, network

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        """Whole trials [T, B, D], and what else the network is given at each step."""
        return self.network(self.memory.unroll(x), *more)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One input [B, D]; returns the network's output and the next state."""
        y, state = self.memory.step(x, state)
        return self.network(y), state


class RecurrentActor:
    """An inner loop by memory, without a critic."""

    rollouts_per_task = 1
    side_by_side = True
    remembers: tuple[str, ...] = ()

    def __init__(self, model: RecurrentActorCritic, greedy: bool = False) -> None:
        self._model, self._greedy = model, greedy
        self._rng: Random = np.random.default_rng(0)
        self._device = model.device
        self.note: dict[str, np.ndarray] = {}

    def begin_trial(self, n: int, rng: Random | None = None, contexts: Trajectory | None = None) -> None:
        self._rng = rng or self._rng
        self._state = self._model.actor.memory.initial(n)
        self._action = none = self._model.head.none(n)
        if contexts is not None:
            for *given, valid in replayed(contexts, none):
                _, state = self._step(*given)
                self._state = choose_rows(torch.tensor(valid, device=self._device), state, self._state)
            self._action = last_action(contexts, none)

    @torch.inference_mode()
    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        model = self._model
        parameters, self._state = self._step(observation, self._action, reward, done)
        draw = None if self._greedy else noise(self._rng, (len(reward), model.head.noise_width), self._device)
        self._action = model.head.action(model.head.draw(parameters, draw)[0].cpu().numpy())
        return self._action.copy()

    @torch.inference_mode()
    def _step(self, *given: np.ndarray) -> tuple[Tensor, State]:
        """The actor's parameters for an input, and its memory's next state."""
        x = self._model.inputs(*(torch.as_tensor(array, device=self._device) for array in given))
        return self._model.actor.step(x, self._state)
