"""What an agent sees of its tasks, written down as it happens."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..envs.api import Bools
from ..learner.contexts import Contexts, ended, in_a_row
from ..learner.trajectory import Trajectory


class Recording:
    """The steps of a trial, after the contexts that it began from."""

    def __init__(self, contexts: Contexts, rollouts_per_task: int, notes: Sequence[str]) -> None:
        """Args:
        contexts: of each task.
        rollouts_per_task: rows of each, which wait for each other at the end of an episode.
        notes: of the agent's that are kept.
        """
        self._contexts, self._width, self._names = contexts, rollouts_per_task, notes
        self._observations: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self._notes: list[dict[str, np.ndarray]] = []
        self._rewards: list[np.ndarray] = []
        self._dones: list[Bools] = []
        self._valid: list[Bools] = []

    def add(
        self,
        observation: np.ndarray,
        reward: np.ndarray,
        done: Bools,
        action: np.ndarray,
        note: Mapping[str, np.ndarray],
    ) -> None:
        """A step's input, and what the agent made of it. Arrays are kept as they are."""
        if self._actions:
            playing = self._valid[-1]
            self._rewards.append(np.where(playing, reward, np.float32(0)))
            self._dones.append(done & playing)
            going = playing & ~done
            self._valid.append(going if self._width > 1 and going.any() else np.ones_like(done))
        else:
            self._valid.append(np.ones_like(done))
        self._observations.append(observation)
        self._actions.append(action)
        self._notes.append({name: np.array(note[name]) for name in self._names})

    def contexts(self) -> list[Trajectory | None]:
        """Of each task: all steps whose outcome is known; None where there is none."""
        return [self._context(index, before) for index, before in enumerate(self._contexts)]

    def _context(self, task: int, before: Trajectory | None) -> Trajectory | None:
        rows, steps = slice(task * self._width, (task + 1) * self._width), len(self._rewards)
        if not steps:
            return before
        done = np.stack(self._dones)[:, rows]
        found = Trajectory(
            observation=np.stack(self._observations)[:, rows],
            action=np.stack(self._actions[:steps])[:, rows],
            reward=np.stack(self._rewards)[:, rows],
            terminated=np.zeros_like(done),  # nobody told
            truncated=done,
            valid=np.stack(self._valid[:steps])[:, rows],
            note={name: np.stack([note[name] for note in self._notes])[:, rows] for name in self._names},
        )
        return found if before is None else in_a_row([ended(before), found])
