"""A recurrent actor-critic: (observation, previous action, reward, done) -> memory -> action distribution and value."""

import numpy as np
import torch
from torch import Tensor, nn

from ..envs.api import Bools
from ..envs.errors import require
from ..envs.seeding import Random
from .api import Problem
from .contexts import last_action, replayed
from .encoders import build_encoder
from .heads import Head, head, outcome
from .memory import MakeMemory, Memory, State, observation_only
from .memory.api import choose_rows, unroll_from
from .trajectory import Trajectory

LEAST_SPREAD = 1e-5
"""Of the critic's targets, as a share of their mean: float32 tells no finer ones apart."""
POPART_MIN_STEP_SIZE = 0.1
"""Share of the newest targets in the statistics of the critic's units, once ten updates have been made."""


class RecurrentPolicy(nn.Module):
    """Actor and critic on one memory (Duan et al. 2016, section 2.2).

    The critic is told how much of the trial is left (Pardo et al. 2018, arXiv:1712.00378): what it predicts is the
    value of a step that is left (see `returns.steps_left`), which changes little as the trial goes on. A memory that
    does not count steps could not predict the return, and one that does would have to learn to.

    Args:
        problem: the spaces.
        memory: constructor of a `Memory` module.
        hidden: width of the memory.
        embedding: width of a layer (tanh) between the inputs and the memory; 0 for none.
        encoder: of the observation, see `encoders`.
        transitions: show the memory the observation before, too.
    """

    head: Head
    memory: Memory
    value_mean: Tensor
    value_std: Tensor
    value_updates: Tensor
    reward_size: Tensor
    reward_updates: Tensor

    def __init__(
        self,
        problem: Problem,
        memory: MakeMemory,
        hidden: int,
        embedding: int,
        encoder: str = "auto",
        transitions: bool = False,
    ) -> None:
        super().__init__()
        self.problem = problem
        self.observation = build_encoder(encoder, problem.observation_space)
        self.head = head(problem.action_space)
        self._blind, self._transitions = observation_only(memory), transitions
        width = self.observation.width
        if not self._blind:
            width += self.head.width + 2 + (width if transitions else 0)
        self.embedding = nn.Sequential(nn.Linear(width, embedding), nn.Tanh()) if embedding else nn.Identity()
        self.memory = memory(embedding or width, hidden, problem.steps)
        missing = [part for part in ("initial", "step", "unroll") if not hasattr(self.memory, part)]
        require(not missing, "memory", type(self.memory).__name__, f"a module with {', '.join(missing)}")
        self.output = nn.Linear(hidden, self.head.size - self.head.state_independent + 1)
        # A nearly uniform first policy and a value of 0: rewards, not the draw of weights, drive the first update.
        nn.init.orthogonal_(self.output.weight, 0.01)
        nn.init.zeros_(self.output.bias)
        self.state_independent = (
            nn.Parameter(torch.zeros(self.head.state_independent)) if self.head.state_independent else None
        )
        # The critic predicts in units of its targets' spread, and the memory is shown rewards in units of their size;
        # these travel and are saved with the weights.
        units = {"value_mean": 0.0, "value_std": 1.0, "value_updates": 0.0, "reward_size": 1.0, "reward_updates": 0.0}
        for name, start in units.items():
            self.register_buffer(name, torch.tensor(start))

    def inputs(self, seen: Tensor, before: Tensor | None, outcome: Tensor) -> Tensor:
        """The memory's inputs [..., D].

        Args:
            seen: [..., W], the observation as `observation` encodes it.
            before: [..., W], the one before, across the boundaries of episodes, 0 at the trial's start; None where it
                is not shown.
            outcome: of the previous action, [..., O]; see `heads.outcome`.
        """
        if self._blind:
            return seen
        if not self._transitions:
            return torch.cat([seen, outcome], -1)
        assert before is not None
        return torch.cat([seen, before, outcome], -1)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """One input [B, D]; returns the head's parameters [B, size], the value of a step [B] and the next state."""
        y, state = self.memory.step(self.embedding(x), state)
        out = self.output(y)
        return self._distribution(out), self._value(out), state

    def unroll(self, observation: Tensor, outcome: Tensor, truncation: int = 0) -> tuple[Tensor, Tensor]:
        """Whole trials.

        Args:
            observation: [T, B, ...], as stored.
            outcome: of the previous action, [T, B, O].
            truncation: length of the segments that gradients do not leave; 0 for whole trials.

        Returns:
            The head's parameters [T, B, size] and the values of a step [T, B].
        """
        seen = self.observation(observation)
        before = torch.cat([torch.zeros_like(seen[:1]), seen[:-1]]) if self._transitions else None
        x = self.embedding(self.inputs(seen, before, outcome))
        out = self.output(self._remembered(x, truncation) if truncation else self.memory.unroll(x))
        return self._distribution(out), self._value(out)

    def _remembered(self, x: Tensor, truncation: int) -> Tensor:
        """The memory's outputs, segment by segment (truncated backpropagation through time)."""
        state, outputs = self.memory.initial(x.shape[1]), []
        for segment in x.split(truncation):
            y, state = unroll_from(self.memory, segment, tuple(each.detach() for each in state))
            outputs.append(y)
        return torch.cat(outputs)

    def _distribution(self, out: Tensor) -> Tensor:
        if self.state_independent is None:
            return out[..., :-1]
        return torch.cat([out[..., :-1].float(), self.state_independent.expand(*out.shape[:-1], -1)], -1)

    def _value(self, out: Tensor) -> Tensor:
        return out[..., -1].float() * self.value_std + self.value_mean

    def outcome(self, action: Tensor, reward: Tensor, done: Tensor) -> Tensor:
        """`heads.outcome`, with the reward in units of `reward_size`."""
        return outcome(self.head, action, reward / self.reward_size, done)

    @torch.no_grad()
    def reward_update(self, reward: Tensor) -> None:
        """Follow the size of rewards: the mean of |r| over those that are not 0, over all tasks, never of one.

        Args:
            reward: [...], in the task's units.
        """
        some = reward[reward != 0]
        if len(some):
            self.reward_updates += 1
            rate = torch.clamp(1 / self.reward_updates, min=POPART_MIN_STEP_SIZE)
            self.reward_size.lerp_(some.double().abs().mean().to(self.reward_size), rate)

    @torch.no_grad()
    def popart_update(self, target: Tensor) -> None:
        """Move the critic's units towards the mean and spread of its targets, leaving every prediction as it is.

        PopArt (van Hasselt et al. 2016, arXiv:1602.07714, section 2). Without it the squared error of returns far from
        1 drowns the policy's gradient in their common memory. The statistics are over all tasks, never of one.

        Nothing moves before the first target that is not 0: until then there is nothing to tell apart. With that the
        predictions, which were in no unit, become small numbers of spreads around the mean.

        Args:
            target: [...], of a step, in the task's units.
        """
        if not (self.value_updates or target.any()):
            return
        self.value_updates += 1
        rate = torch.clamp(1 / self.value_updates, min=POPART_MIN_STEP_SIZE).double()
        target, before, spread = target.double(), self.value_mean.double(), self.value_std.double()
        mean = torch.lerp(before, target.mean(), rate)
        # Of the old and the new ones together (Chan et al. 1983): a difference of squares would lose small spreads.
        apart = rate * (1 - rate) * (target.mean() - before).square()
        variance = torch.lerp(spread.square(), target.var(correction=0), rate) + apart
        std = torch.maximum(variance.sqrt(), LEAST_SPREAD * mean.abs()).float()
        mean = mean.float()
        if self.value_updates > 1:  # what is predicted before is in no unit
            self.output.weight[-1] *= self.value_std / std
            self.output.bias[-1] = (self.value_std * self.output.bias[-1] + self.value_mean - mean) / std
        self.value_mean.copy_(mean)
        self.value_std.copy_(std)

    @torch.no_grad()
    def spread_of(self, target: Tensor) -> Tensor:
        """The standard deviation of the critic's targets, as far as float32 tells them apart; 1 before the first that
        is not 0."""
        return torch.where(self.value_updates > 0, spread(target), 1)


def spread(array: Tensor) -> Tensor:
    """The standard deviation of an array's numbers, in their unit; above 0, and no less than float32 tells apart."""
    found = torch.maximum(array.std(correction=0), LEAST_SPREAD * array.mean().abs())
    return found.clamp(min=torch.finfo(found.dtype).tiny)


class RecurrentAgent:
    """An inner loop by memory: the state that `policy` carries through the trial is the adaptation."""

    rollouts_per_task = 1
    side_by_side = True
    remembers: tuple[str, ...] = ()

    def __init__(self, policy: RecurrentPolicy, greedy: bool = False) -> None:
        self._policy, self._greedy = policy, greedy
        self._rng: Random = np.random.default_rng(0)
        self._device = policy.output.weight.device
        self.note: dict[str, np.ndarray] = {}

    def begin_trial(self, n: int, rng: Random | None = None, contexts: Trajectory | None = None) -> None:
        self._rng = rng or self._rng
        self._state = self._policy.memory.initial(n)
        self._action = none = self._policy.head.none(n)
        self._before: Tensor | None = None
        if contexts is not None:
            for *given, valid in replayed(contexts, none):
                self._advance(*given, only=valid)
            self._action = last_action(contexts, none)

    @torch.inference_mode()
    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        head = self._policy.head
        parameters, value = self._advance(observation, self._action, reward, done)
        noise = None if self._greedy else head.noise(self._rng, len(parameters))
        draw, log_prob = head.draw(parameters, noise)
        self.note = {"draw": draw.cpu().numpy(), "log_prob": log_prob.cpu().numpy(), "value": value.cpu().numpy()}
        self._action = head.action(self.note["draw"])
        return self._action.copy()

    @torch.inference_mode()
    def _advance(
        self, observation: np.ndarray, *previous: np.ndarray, only: Bools | None = None
    ) -> tuple[Tensor, Tensor]:
        """The head's parameters [n, size] and the values of a step [n] for an input; some rows alone may remember it.

        Args:
            observation: [n, ...].
            previous: action, reward and done.
            only: bool [n]; None for all.
        """
        policy = self._policy
        seen = policy.observation(torch.tensor(observation, device=self._device))  # a copy: the caller may reuse it
        before = torch.zeros_like(seen) if self._before is None else self._before
        x = policy.inputs(seen, before, policy.outcome(*(torch.as_tensor(a, device=self._device) for a in previous)))
        parameters, value, state = policy.step(x, self._state)
        if only is not None:
            rows = torch.tensor(only, device=self._device)
            seen, *state = choose_rows(rows, (seen, *state), (before, *self._state))
        self._before, self._state = seen, tuple(state)
        return parameters, value
