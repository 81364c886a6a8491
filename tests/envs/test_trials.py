"""Trials: the boundary step is data, a trial ends after k episodes, and rows of one task are played side by side."""

from dataclasses import dataclass

import numpy as np
import pytest
from corridors import Corridor, Corridors, stay, trials_of

from innerloop.envs.api import Bools, Step, Tasks
from innerloop.envs.errors import BadInput
from innerloop.envs.trials import Trials


def test_the_reward_that_ended_an_episode_is_seen_with_done_and_the_next_episodes_first_observation() -> None:
    trials = trials_of([2], episodes=3)
    inputs = [trials.begin(), *(trials.step(stay(1))[0] for _ in range(5))]
    seen = [(*given.observation[0], given.reward[0], given.done[0]) for given in inputs]
    assert seen == [
        (1, 0, 0, False),
        (1, 1, 0, False),
        (2, 0, 101, True),
        (2, 1, 0, False),
        (3, 0, 102, True),
        (3, 1, 0, False),
    ]


def test_the_first_input_has_no_reward_and_no_done() -> None:
    given = trials_of([1, 3, 6], episodes=2).begin()
    np.testing.assert_array_equal(given.reward, np.zeros(3, np.float32))
    np.testing.assert_array_equal(given.done, [False] * 3)
    assert given.reward.dtype == np.float32
    np.testing.assert_array_equal(given.observation, [[1, 0]] * 3)


def test_the_step_is_as_the_mdp_gave_it_and_the_last_input_is_the_last_observation() -> None:
    trials = trials_of([2], episodes=2)
    trials.begin()
    steps = [trials.step(stay(1)) for _ in range(4)]
    np.testing.assert_array_equal(steps[1][1].observation, [[1, 2]])  # the end of the first episode
    np.testing.assert_array_equal(steps[1][0].observation, [[2, 0]])
    np.testing.assert_array_equal(steps[3][0].observation, [[2, 2]])  # no third episode is begun
    assert steps[3][0].done.all()


@pytest.mark.parametrize("episodes", [1, 2, 5])
def test_each_trial_is_over_after_exactly_k_episodes_of_its_own_length(episodes: int) -> None:
    """Lengths 5 and 6 are beyond the horizon of 4: those episodes are truncated there."""
    lengths = [1, 2, 3, 4, 5, 6]
    trials = trials_of(lengths, episodes)
    assert trials.steps == 4 * episodes
    trials.begin()
    assert trials.playing.all()
    for t in range(1, trials.steps + 1):
        _, step = trials.step(stay(6))
        for row, length in enumerate(lengths):
            each = min(length, 4)
            assert trials.playing[row] == (t < each * episodes)
            assert trials.episode[row] == min(t // each, episodes)
            if trials.playing[row]:
                assert step.truncated[row] == (length > 4 and t % 4 == 0)
    assert not trials.playing.any()


@pytest.mark.parametrize("episodes", [0, -1])
def test_a_trial_has_at_least_one_episode(episodes: int) -> None:
    with pytest.raises(BadInput, match=rf"^episodes is {episodes}; expected at least 1\.$"):
        trials_of([1], episodes)


class Varied(Corridors):
    """As corridors, but each row's own length is given by its number in the task, and by how often it has begun."""

    def __init__(self, plan: np.ndarray, limit: int, diverges: bool = False) -> None:
        super().__init__(plan[:, 0], limit)
        self._plan, self._diverges = plan, diverges

    def step(self, action: np.ndarray) -> Step:
        begun = self._begun.astype(int) - 1
        self._length = self._plan[np.arange(len(self._plan)), begun]
        step = super().step(action)
        if self._diverges:  # where it ends, and whenever it is stepped on after that
            over = self._walked >= self._length
            step = step._replace(terminated=np.zeros_like(over), truncated=over, diverged=over)
        return step


PLAN = np.array(
    [[1, 3, 2], [2, 1, 2], [4, 1, 1], [1, 1, 1], [3, 2, 2], [1, 4, 2]]  # steps of each row's three episodes
)
TOGETHER = PLAN.max(0)  # all rows wait for the slowest: 4, 4 and 2 steps


@dataclass(frozen=True, kw_only=True)
class Variety(Corridor):
    """Two tasks of three rows each, which play by `PLAN`."""

    diverges: bool = False

    def make(self, tasks: Tasks, rng: np.random.Generator) -> Corridors:
        return Varied(PLAN, self.horizon, self.diverges)


def variety(diverges: bool = False) -> Trials:
    return Trials(
        Variety(diverges=diverges),
        {"number": np.arange(len(PLAN) // 3)},
        3,
        np.random.default_rng(0),
        rollouts_per_task=3,
    )


def test_rows_of_one_task_lie_next_to_each_other() -> None:
    given: list[Tasks] = []

    class Noted(Corridor):
        def make(self, tasks: Tasks, rng: np.random.Generator) -> Corridors:
            given.append(tasks)
            return super().make(tasks, rng)

    tasks = {"length": np.array([2, 5]), "colour": np.array([[1.0, 2.0], [3.0, 4.0]])}
    trials = Trials(Noted(), tasks, 2, np.random.default_rng(0), rollouts_per_task=3)
    assert given[0]["length"].tolist() == [2, 2, 2, 5, 5, 5]
    assert given[0]["colour"].tolist() == [[1, 2]] * 3 + [[3, 4]] * 3
    assert len(trials.begin().done) == len(trials.playing) == 6
    assert tasks["length"].tolist() == [2, 5]  # what was given is as it was


def test_every_row_waits_at_the_end_of_an_episode_until_all_have_ended_theirs() -> None:
    """Also for those of other tasks: at each step, what counts, what is running and what is shown."""
    trials = variety()
    given, begins, waited = trials.begin(), np.cumsum([0, *TOGETHER]), 0
    np.testing.assert_array_equal(given.observation, [[1, 0]] * 6)
    for t in range(int(begins[-1])):
        episode = int(np.searchsorted(begins, t, "right")) - 1
        since = t - begins[episode]
        playing = since < PLAN[:, episode]
        np.testing.assert_array_equal(trials.playing, playing)
        np.testing.assert_array_equal(trials.episode, episode + ~playing)
        waited += int((~playing).sum())
        given, step = trials.step(stay(6))
        ends = playing & (since + 1 == PLAN[:, episode])
        np.testing.assert_array_equal(given.done, ends)
        np.testing.assert_array_equal(given.reward, step.reward)
        np.testing.assert_array_equal(given.reward[ends], 100.0 + episode + 1)  # the boundary's reward is shown
        again = t + 1 == begins[episode + 1] and episode < 2
        for row in np.flatnonzero(playing | again):
            seen = (episode + 2, 0) if again else (episode + 1, since + 1)
            assert tuple(given.observation[row]) == seen
    assert not trials.playing.any()
    assert trials.episode.tolist() == [3] * 6
    assert waited == 6 * TOGETHER.sum() - PLAN.sum() > 0


def test_side_by_side_no_trial_takes_longer_than_its_episodes_at_their_longest() -> None:
    trials = trials_of([1, 9], episodes=3, width=2)
    assert trials.steps == 3 * 4
    trials.begin()
    for _ in range(trials.steps):
        assert trials.playing.any()
        trials.step(stay(4))
    assert not trials.playing.any()


def test_a_row_by_itself_waits_for_no_other() -> None:
    trials = trials_of([1, 4], episodes=2)
    trials.begin()
    done = [trials.step(stay(2))[0].done[0] for _ in range(3)]
    assert done == [True, True, False]
    assert trials.playing.tolist() == [False, True]


@pytest.mark.parametrize("width", [0, -2])
def test_a_task_has_at_least_one_row(width: int) -> None:
    with pytest.raises(BadInput, match=rf"^rollouts_per_task is {width}; expected at least 1\.$"):
        trials_of([1], 1, width)


def test_episodes_that_broke_down_are_counted_once_each_and_not_while_a_row_waits() -> None:
    trials = variety(diverges=True)
    trials.begin()
    counted = []
    for _ in range(int(TOGETHER.sum())):
        trials.step(stay(6))
        counted.append(int(trials.diverged.sum()))
    assert counted[:4] == [3, 4, 5, 6]
    assert counted[-1] == PLAN.size
    whole = variety()
    whole.begin()
    for _ in range(int(TOGETHER.sum())):
        whole.step(stay(6))
    assert whole.diverged.sum() == 0


class Reusing(Corridors):
    """Writes everything that it returns, and everything that it is given, over at the next call."""

    def __init__(self, length: np.ndarray, limit: int) -> None:
        super().__init__(length, limit)
        n = len(length)
        self._buffers = Step(np.zeros((n, 2), np.float32), np.zeros(n, np.float32), *np.zeros((2, n), np.bool_))

    def reset(self, rows: Bools) -> np.ndarray:
        self._buffers.observation[:] = super().reset(rows.copy())
        rows[:] = False
        return self._buffers.observation

    def step(self, action: np.ndarray) -> Step:
        for buffer, given in zip(self._buffers[:4], super().step(action)[:4], strict=True):
            buffer[:] = given
        action[:] = -7
        return self._buffers


@dataclass(frozen=True, kw_only=True)
class Reuse(Corridor):
    def make(self, tasks: Tasks, rng: np.random.Generator) -> Corridors:
        made = Reusing(tasks["length"].copy(), self.horizon)
        tasks["length"][:] = 0
        return made


def test_an_environment_may_use_its_arrays_again_and_change_what_it_is_given() -> None:
    """The same trials, array by array, as those of one that does not; and nothing of the caller's has changed."""
    records = []
    for family in (Corridor(), Reuse()):
        tasks, action = {"length": np.array([1, 2, 3, 9])}, stay(4)
        trials = Trials(family, tasks, 3, np.random.default_rng(0))
        record = [*trials.begin()]
        while trials.playing.any():
            given, step = trials.step(action)
            record += [*given, *step[:4], trials.playing]
        np.testing.assert_array_equal(action, 0)
        np.testing.assert_array_equal(tasks["length"], [1, 2, 3, 9])
        records.append(record)
    for one, other in zip(*records, strict=True):
        np.testing.assert_array_equal(one, other)
