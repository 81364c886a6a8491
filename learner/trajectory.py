"""What actors produce and the learner consumes: stacked arrays, time first, one trial per column.

T steps, B columns. A column shorter than T is padded at its end. Columns of one task are adjacent, and wait for each
other between their episodes. `valid` is False in padding and while a column waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..envs.api import Bools

Arrays = dict[str, np.ndarray]
"""By name."""


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """B columns of whole trials. The policy's input at step t is (observation[t], action[t-1], reward[t-1], done[t-1]).

    `observation` has one more row: the input that would follow every trial's last step.
    """

    observation: np.ndarray
    """[T + 1, B, ...]: of the episode then running (after a boundary, the new episode's first)."""
    action: np.ndarray
    """[T, B, ...]: as the environment received it."""
    reward: np.ndarray
    """float32 [T, B], in the task's units."""
    terminated: Bools
    """[T, B]: the MDP ended the episode at this step."""
    truncated: Bools
    """[T, B]: the episode was cut off at this step."""
    valid: Bools
    """[T, B]: the step belongs to an episode of the trial; the last True of a column is the trial's end."""
    privileged: dict[str, np.ndarray] = field(default_factory=dict)
    """What is known in training alone, name to [T, B, ...]; `reward`, float32: what the outer loop learns from."""
    note: dict[str, np.ndarray] = field(default_factory=dict)
    """What the inner loop recorded at each input, name to [T + 1, B, ...]."""
    measures: dict[str, np.ndarray] = field(default_factory=dict)
    """Measures by episode, name to float32 [B, episodes]; NaN for an episode that was not played."""
    version: int = 0
    """Of the weights that played; the oldest, where several did."""
    diverged: int = 0
    """Episodes that were cut because their simulation broke down."""

    @property
    def done(self) -> Bools:
        """[T, B]: an episode ended here. The end of a trial is `trial_end`."""
        return self.terminated | self.truncated

    @property
    def trial_end(self) -> Bools:
        """[T, B]: the trial's last step."""
        later = np.flip(np.logical_or.accumulate(np.flip(self.valid, 0), axis=0), 0)  # here or at a later step
        return self.valid & ~np.concatenate([later[1:], np.zeros_like(later[:1])])

    @property
    def outer_reward(self) -> np.ndarray:
        """float32 [T, B]: what the outer loop learns from."""
        return self.privileged.get("reward", self.reward)

    @property
    def steps(self) -> int:
        """Environment steps that belong to a trial."""
        return int(self.valid.sum())

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.observation, self.action, self.reward, self.terminated, self.truncated, self.valid)
        named = self.privileged, self.note, self.measures
        return sum(array.nbytes for array in (*arrays, *(each for group in named for each in group.values())))

    def inputs(self, none: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The policy's input at each step and after the last one: the observation, and the previous action, reward and
        done, across the boundaries of episodes. [T + 1, B, ...] each.

        Args:
            none: [B, ...], the action that stands for "none yet", at the trial's start.
        """

        def behind(first: np.ndarray, array: np.ndarray) -> np.ndarray:
            return np.concatenate([first[None].astype(array.dtype), array])

        action, reward = behind(none, self.action), behind(np.zeros_like(self.reward[0]), self.reward)
        return self.observation, action, reward, behind(np.zeros_like(self.done[0]), self.done)

    def columns(self, index: np.ndarray) -> "Trajectory":
        """Some of the columns."""
        arrays = ("observation", "action", "reward", "terminated", "truncated", "valid")
        return replace(
            self,
            **{name: getattr(self, name)[:, index] for name in arrays},
            privileged={name: array[:, index] for name, array in self.privileged.items()},
            note={name: array[:, index] for name, array in self.note.items()},
            measures={name: array[index] for name, array in self.measures.items()},
        )

    def episode_returns(self, episodes: int) -> np.ndarray:
        """Undiscounted return of each episode of each trial, float64 [B, episodes]; NaN of one that was not reached."""
        done = self.done & self.valid
        index = np.cumsum(done, axis=0) - done
        reached = np.where(self.valid, index + 1, 0).max(0)
        returns = np.where(np.arange(episodes) < reached[:, None], 0.0, np.nan)
        column = np.broadcast_to(np.arange(self.reward.shape[1]), index.shape)
        np.add.at(returns, (column[self.valid], index[self.valid]), self.reward[self.valid])
        return returns


def rows_together(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Rows by episode [B, episodes] of as many episodes as may be, one under the other; NaN where one has fewer."""
    widest = max(array.shape[1] for array in arrays)
    padded = [np.pad(each, [(0, 0), (0, widest - each.shape[1])], constant_values=np.nan) for each in arrays]
    return np.concatenate(padded)


def concatenate(trajectories: Sequence[Trajectory]) -> Trajectory:
    """Concatenate trials along the batch axis, in this order; shorter ones are padded and marked as not valid.

    Padding repeats the last row of arrays whose rows must be members of a space, and is 0 elsewhere.

    Raises:
        ValueError: `trajectories` is empty.
    """
    if not trajectories:
        raise ValueError("concatenate needs at least one trajectory")
    steps = max(len(trajectory.reward) for trajectory in trajectories)

    def side_by_side(arrays: list[np.ndarray], length: int, member: bool) -> np.ndarray:
        def padded(array: np.ndarray) -> np.ndarray:
            missing = length - len(array)
            more = np.repeat(array[-1:], missing, 0)
            return np.concatenate([array, more if member else np.zeros_like(more)]) if missing else array

        return np.concatenate([padded(array) for array in arrays], axis=1)

    def of(name: str, length: int, member: bool = False) -> np.ndarray:
        return side_by_side([getattr(trajectory, name) for trajectory in trajectories], length, member)

    return Trajectory(
        observation=of("observation", steps + 1, member=True),
        action=of("action", steps, member=True),
        reward=of("reward", steps),
        terminated=of("terminated", steps),
        truncated=of("truncated", steps),
        valid=of("valid", steps),
        privileged={
            name: side_by_side([trajectory.privileged[name] for trajectory in trajectories], steps, member=False)
            for name in trajectories[0].privileged
        },
        measures={
            name: rows_together([trajectory.measures[name] for trajectory in trajectories])
            for name in trajectories[0].measures
        },
        note={
            name: side_by_side([trajectory.note[name] for trajectory in trajectories], steps + 1, member=True)
            for name in trajectories[0].note
        },
        version=min(trajectory.version for trajectory in trajectories),
        diverged=sum(trajectory.diverged for trajectory in trajectories),
    )
