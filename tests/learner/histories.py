"""What has been appended to a replay, kept the slow and obvious way."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from innerloop.learner.replay import Replay
from innerloop.learner.sampling import Request, Steps
from innerloop.learner.trajectory import Trajectory

PLENTY = 10**6
SLOT = 2 * 4 + 4 + 4 + 1 + 1 + 4
"""Bytes of a step: an observation of two floats, action, reward, two flags, the episode's index."""

Key = tuple[int, int]
"""A trial's number, and a step of it."""


class Transition(NamedTuple):
    """One transition as it was played."""

    task: int
    episode: int
    terminated: bool
    truncated: bool
    last: bool
    """Of its trial."""

    @property
    def successor_known(self) -> bool:
        """The observation behind it was stored: an episode's last one is shown behind the trial's end alone."""
        return self.last or not (self.terminated or self.truncated)


def number(key: Key) -> int:
    return 1_000 * key[0] + key[1]


class History:
    """A replay, and beside it a table of all that was ever appended."""

    def __init__(self, capacity: int = PLENTY, seed: int = 0, dense: bool = False, slots: int = 0) -> None:
        self.replay = Replay(slots * SLOT or capacity)
        self.rng, self.dense = np.random.default_rng(seed), dense
        self.trials: list[dict[Key, Transition]] = []
        self.trajectories: list[Trajectory] = []
        self.from_context: list[bool] = []

    def append(self, task: int, lengths: Sequence[int] = (), ends: str = "", *, from_context: bool = False) -> None:
        """A trial of episodes of these lengths, each (e)nding because it terminated, was (c)ut, or (b)oth."""
        lengths = lengths or self.rng.integers(1, 5, self.rng.integers(1, 4)).tolist()
        ends = ends or "".join(self.rng.choice(["e", "c"], len(lengths)))
        trial, steps = len(self.trials), sum(lengths)
        terminated, truncated = np.zeros((2, steps, 1), np.bool_)
        boundary = np.cumsum(lengths) - 1
        terminated[boundary, 0] = [end in "eb" for end in ends]
        truncated[boundary, 0] = [end in "cb" for end in ends]
        episode = np.repeat(np.arange(len(lengths)), lengths)
        numbers = np.array([[number((trial, step))] for step in range(steps)], np.float32)
        observation = np.stack([np.full((steps + 1, 1), trial), np.arange(steps + 1)[:, None]], -1)
        trajectory = Trajectory(
            observation=observation.astype(np.float32),
            action=-numbers,
            reward=numbers,
            terminated=terminated,
            truncated=truncated,
            valid=np.ones((steps, 1), np.bool_),
            privileged={"reward": numbers + 0.5} if self.dense else {},
            note={"mean": observation},  # which is not kept
            version=trial,
        )
        self.replay.append([task], trajectory, None, [int(from_context)])
        self.trajectories.append(trajectory)
        self.from_context.append(from_context)
        self.trials.append(
            {
                (trial, step): Transition(
                    task, int(episode[step]), terminated[step, 0], truncated[step, 0], step == steps - 1
                )
                for step in range(steps)
            }
        )

    def filled(self, trials: int, tasks: int = 3, from_context: float = 0.0) -> "History":
        """With random ones, of which this share began from a context."""
        for _ in range(trials):
            task = int(self.rng.integers(tasks))
            self.append(task, from_context=bool(from_context) and self.rng.random() < from_context)
        return self

    @property
    def kept(self) -> list[dict[Key, Transition]]:
        """Trials that are in the replay, if the oldest have gone first."""
        return self.trials[self.replay.evicted :]

    def of(self, task: int, window: int = 10**6) -> dict[Key, Transition]:
        """Transitions of the newest trials of a task."""
        return {key: step for trial in self.trials_of(task)[-window:] for key, step in trial.items()}

    def trials_of(self, task: int) -> list[dict[Key, Transition]]:
        return [trial for trial in self.kept if next(iter(trial.values())).task == task]

    def recent(self, task: int, window: int) -> list[int]:
        """The numbers of a task's newest trials that did not begin from a context; if there are none, of the others."""
        own = [next(iter(trial))[0] for trial in self.trials_of(task)]
        return ([trial for trial in own if not self.from_context[trial]] or own)[-window:]

    def keys(self, steps: Steps[np.ndarray], tasks: np.ndarray) -> list[list[Key]]:
        """Which transitions were drawn, [M, N]; everything about them must be as it was played."""
        found: list[list[Key]] = []
        for task, *columns in zip(tasks.tolist(), *(array.tolist() for array in steps), strict=True):
            found.append([])
            for seen, action, reward, outer_reward, following, terminated in zip(*columns, strict=True):
                key = trial, step = int(seen[0]), int(seen[1])
                played, own = self.trials[trial][key], number(key)
                assert (played.task, played.terminated) == (task, terminated)
                assert (action, reward, outer_reward) == (-own, own, own + 0.5 * self.dense)
                assert not played.successor_known or following == [trial, step + 1]
                found[-1].append(key)
        return found


def uniform(found: Sequence[Hashable], members: Sequence[Hashable]) -> bool:
    """Nothing but the members, each equally often, as far as chance allows."""
    assert set(found) <= set(members)
    if len(members) == 1:
        return True
    counts = Counter(found)
    return float(stats.chisquare([counts[member] for member in members]).pvalue) > 1e-4


def numbers_kept(replay: Replay) -> list[int]:
    """Of the trials, in the replay's order, out of what it exports."""
    exported = replay.export()
    starts = np.cumsum([0, *(exported["trials"][:, 1] + 1)])[:-1]
    return exported["observation"][starts, 0].astype(int).tolist()


def same(one: object, other: object) -> None:
    """Samples, steps or trajectories, bit for bit."""
    if isinstance(one, Trajectory):
        one, other = vars(one), vars(other)
        assert one.keys() == other.keys()
        one, other = tuple(one.values()), tuple(other.values())
    if isinstance(one, dict):
        assert one.keys() == other.keys()  # pyright: ignore[reportAttributeAccessIssue]
        one, other = tuple(one.values()), tuple(other.values())  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(one, tuple):
        for mine, yours in zip(one, other, strict=True):
            same(mine, yours)
    else:
        np.testing.assert_array_equal(one, other)


REQUEST = Request(tasks=4, steps=9, context=(7,), window=2, successors=False)
