"""Learning from right answers: a network with a memory that answers at every step, the agent that it makes, and the one
that plays in its stead where nobody reads its answers."""

import numpy as np
import torch
from torch import Tensor, nn

from ..envs.api import Bools
from ..envs.errors import require
from ..envs.seeding import Random
from .api import Problem
from .contexts import replayed
from .encoders import Encoder
from .heads import Gaussian, Head, head
from .memory import Memory, State
from .memory.api import choose_rows
from .trajectory import Trajectory


class Answers(nn.Module):
    """(observation, the observation before) -> memory -> the distribution of the answer.

    What has been told of earlier answers is part of the observation; with the observation before, an example and the
    answer to it come in one input.

    Args:
        problem: the spaces; an answer is an action.
        observation: encoder of the observation, with a `width`.
        memory: of what `embedding` makes of the two.
        output: what the memory gives, as the head's parameters.
        embedding: of the two side by side.
    """

    head: Head
    memory: Memory

    def __init__(
        self, problem: Problem, observation: Encoder, memory: Memory, output: nn.Module, embedding: nn.Module
    ) -> None:
        super().__init__()
        self.head, self.observation = head(problem.action_space), observation
        missing = [part for part in ("initial", "step", "unroll") if not hasattr(memory, part)]
        require(not missing, "memory", type(memory).__name__, f"a module with {', '.join(missing)}")
        self.embedding, self.memory, self.output = embedding, memory, output

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.parameters()).device

    def step(self, seen: Tensor, before: Tensor, state: State) -> tuple[Tensor, State]:
        """One input: encoded observations [B, W], those before; returns the head's parameters and the next state."""
        y, state = self.memory.step(self.embedding(torch.cat([seen, before], -1)), state)
        return self._distribution(self.output(y)), state

    def unroll(self, observation: Tensor) -> Tensor:
        """The head's parameters [T, B, size] of whole trials' observations [T, B, ...], as stored."""
        seen = self.observation(observation)
        before = torch.cat([torch.zeros_like(seen[:1]), seen[:-1]])
        return self._distribution(self.output(self.memory.unroll(self.embedding(torch.cat([seen, before], -1)))))

    def _distribution(self, out: Tensor) -> Tensor:
        if not self.head.state_independent:
            return out
        return torch.cat([out.float(), out.new_zeros(*out.shape[:-1], self.head.state_independent).float()], -1)


def answer_loss(head: Head, parameters: Tensor, answer: Tensor) -> Tensor:
    """Of answers [..., *], members of the action space: [...]. Minus the logarithm of the right one's probability; in a
    box the squared error, in units of its half-widths.

    Args:
        head: of the answers.
        parameters: of their distributions, [..., size].
        answer: the right ones.
    """
    if isinstance(head, Gaussian):
        return (parameters[..., : head.width].float() - head.encode(answer)).square().sum(-1)
    return -head.measure(parameters.float(), head.drawn(answer))[0]


def answer_score(head: Head, parameters: Tensor, answer: Tensor) -> np.ndarray:
    """The rewards [...] of the most probable answers: 1 where all of it is right, else 0; in a box minus the squared
    error. Args as of `answer_loss`."""
    rows = parameters.reshape(-1, parameters.shape[-1])
    given = head.action(head.draw(rows, None)[0].cpu().numpy())
    right = answer.cpu().numpy().reshape(given.shape)
    axes, numbers = tuple(range(1, given.ndim)), isinstance(head, Gaussian)
    found = -np.square(given - right).sum(axes) if numbers else (given == right).all(axes)
    return found.astype(np.float32).reshape(parameters.shape[:-1])


class AnsweringAgent:
    """An inner loop by memory that gives the most probable answer."""

    rollouts_per_task = 1
    side_by_side = True
    remembers: tuple[str, ...] = ()

    def __init__(self, model: Answers) -> None:
        self._model, self._device = model, model.device
        self.note: dict[str, np.ndarray] = {}

    def begin_trial(self, n: int, rng: Random | None = None, contexts: Trajectory | None = None) -> None:
        self._state, self._before = self._model.memory.initial(n), None
        if contexts is not None:
            for observation, *_, valid in replayed(contexts, self._model.head.none(n)):
                self._advance(observation, valid)

    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        head = self._model.head
        return head.action(head.draw(self._advance(observation), None)[0].cpu().numpy())

    @torch.inference_mode()
    def _advance(self, observation: np.ndarray, only: Bools | None = None) -> Tensor:
        """The head's parameters [n, size] for an input; some rows alone may remember it."""
        seen = self._model.observation(torch.tensor(observation, device=self._device))
        before = torch.zeros_like(seen) if self._before is None else self._before
        parameters, state = self._model.step(seen, before, self._state)
        if only is not None:
            rows = torch.tensor(only, device=self._device)
            seen, *state = choose_rows(rows, (seen, *state), (before, *self._state))
        self._before, self._state = seen, tuple(state)
        return parameters


class Silent:
    """Plays where nobody reads what is answered: always the same action."""

    side_by_side = True

    def __init__(self, problem: Problem, rollouts_per_task: int) -> None:
        self._head, self.rollouts_per_task = head(problem.action_space), rollouts_per_task
        self.note: dict[str, np.ndarray] = {}

    def begin_trial(self, n: int, rng: Random | None = None) -> None:
        draw, _ = self._head.draw(torch.zeros(n, self._head.size), None)
        self._answer = self._head.action(draw.numpy())

    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        return self._answer.copy()
