"""PEARL's inner loop: every transition sharpens the posterior of z; each episode is played with a draw from it."""

import numpy as np
import torch
from torch import Tensor

from ...envs.api import Bools
from ...envs.seeding import Random, only
from ..contexts import replayed
from ..memory.api import choose_rows
from ..sampling import Steps
from ..trajectory import Trajectory
from .latent import LatentPolicy
from .sac import noise


class PosteriorAgent:
    """An inner loop by posterior sampling."""

    rollouts_per_task = 1
    side_by_side = True
    remembers: tuple[str, ...] = ()

    def __init__(self, policy: LatentPolicy, greedy: bool = False, persistence: float = 0.0, resample: int = 0) -> None:
        self._policy, self._greedy, self._persistence, self._resample = policy, greedy, persistence, resample
        self._rng: Random = np.random.default_rng(0)
        self._device = policy.device
        self.note: dict[str, np.ndarray] = {}

    def begin_trial(self, n: int, rng: Random | None = None, contexts: Trajectory | None = None) -> None:
        self._rng = rng or self._rng
        shape = (n, self._policy.latent)
        zeros = torch.zeros(shape, device=self._device)
        self._mean, self._variance, self._sums = zeros, zeros + 1, (zeros, zeros)
        self._state = self._policy.memory.initial(n) if self._policy.memory else ()
        self._last: tuple[Tensor, Tensor] | None = None
        self._begun = np.zeros(n, np.bool_)
        """[n]: `_last` is a step of the task."""
        self._z = noise(self._rng, shape, self._device)
        self._noise: Tensor | None = None
        self._age = np.zeros(n, np.int64)
        if contexts is not None:
            self._recall(contexts)

    @torch.inference_mode()
    def _recall(self, contexts: Trajectory) -> None:
        none, taken = self._policy.head.none(len(self._begun)), contexts.action[0].copy()
        seen = contexts.observation[0].copy()
        for index, (observation, _, reward, done, valid) in enumerate(replayed(contexts, none)):
            if index:
                self._learn(torch.tensor(observation, device=self._device), reward, done, valid & self._begun)
            seen[valid], taken[valid] = observation[valid], contexts.action[index][valid]
            self._last = torch.tensor(seen, device=self._device), torch.tensor(taken, device=self._device)
            self._begun |= valid

    @torch.inference_mode()
    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        policy = self._policy
        seen = torch.tensor(observation, device=self._device)
        if self._last is not None:
            self._learn(seen, reward, done, self._begun)
            self._sample(done)
        x = policy.observation(seen)
        action = policy.head.action(policy.draw(x, self._z, self.persistent_noise(len(x), done)).cpu().numpy())
        self._last, self._begun = (seen, torch.tensor(action, device=self._device)), np.ones(len(x), np.bool_)
        self.note = {
            "latent": self._z.cpu().numpy(),
            "mean": self._mean.cpu().numpy(),
            "variance": self._variance.cpu().numpy(),
        }
        return action

    def persistent_noise(self, n: int, done: Bools) -> Tensor | None:
        """Standard normal noise for the next actions; what persists of the last one's does not cross episodes."""
        if self._greedy:
            return None
        fresh = noise(self._rng, (n, self._policy.head.noise_width), self._device)
        if self._noise is not None and self._persistence:
            kept = self._persistence * ~torch.tensor(done, device=self._device).unsqueeze(-1)
            fresh = kept * self._noise + (1 - kept**2).sqrt() * fresh
        self._noise = fresh
        return fresh

    def _learn(self, seen: Tensor, reward: np.ndarray, done: Bools, rows: Bools) -> None:
        """Add the last transition to the posterior, of those rows that have one."""
        policy = self._policy
        assert self._last is not None
        # An episode's last observation is not shown: where context needs it, that transition says nothing.
        told = torch.tensor(rows & ~done if policy.next_observation else rows, device=self._device)
        counts = told.unsqueeze(-1)
        gained, ended = (torch.tensor(array, device=self._device) for array in (reward, done))
        context = policy.context(Steps(*self._last, gained, gained, seen, ended))
        if policy.memory is None:
            mean, precision = policy.factor(policy.context_encoder(context))
            weighted, total = self._sums
            self._sums = weighted + counts * mean * precision, total + counts * precision
            weighted, total = self._sums
            known = total > 0
            self._mean = torch.where(known, weighted / total, 0)
            self._variance = torch.where(known, 1 / total, 1)
        else:
            y, state = policy.memory.step(context, self._state)
            self._state = choose_rows(told, state, self._state)
            mean, precision = policy.factor(policy.context_encoder(y))
            self._mean = torch.where(counts, mean, self._mean)
            self._variance = torch.where(counts, 1 / precision, self._variance)

    def _sample(self, done: Bools) -> None:
        """Draw z from the posterior where an episode begins, and where z has become old."""
        self._age = np.where(done, 0, self._age + self._begun)
        again = done | (self._age == self._resample) if self._resample else done
        if again.any():
            self._age[again] = 0
            fresh = self._mean + self._variance.sqrt() * noise(only(self._rng, again), self._z.shape, self._device)
            self._z = torch.where(torch.tensor(again, device=self._device).unsqueeze(-1), fresh, self._z)
