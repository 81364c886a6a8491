"""Trials: the boundary step is data, a trial ends after k episodes, and nonsense from an environment is refused."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from innerloop.envs.api import Bools, Split, Step, Tasks
from innerloop.envs.errors import BadInput, EnvironmentRaised
from innerloop.envs.trials import Trials, sample_tasks


class Corridors:
    """The observation is (episodes begun, steps walked); only the step that reaches the end pays."""

    def __init__(self, length: np.ndarray, limit: int) -> None:
        self._length, self._limit = length, limit
        self._begun, self._walked = np.zeros(len(length)), np.zeros(len(length))

    def reset(self, rows: Bools) -> np.ndarray:
        self._begun = self._begun + rows
        self._walked = np.where(rows, 0, self._walked)
        return self._seen()

    def step(self, action: np.ndarray) -> Step:
        self._walked = self._walked + 1
        there = self._walked == self._length
        reward = np.where(there, 100.0 + self._begun, 0.0).astype(np.float32)
        return Step(self._seen(), reward, there, ~there & (self._walked >= self._limit))

    def _seen(self) -> np.ndarray:
        return np.stack([self._begun, self._walked], axis=1).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Corridor:
    horizon: int = 4
    observation_space = spaces.Box(0, 1000, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"length": rng.integers(1, 7, n)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> Corridors:
        return Corridors(tasks["length"], self.horizon)


def trials_of(lengths: list[int], episodes: int, width: int = 1) -> Trials:
    return Trials(Corridor(), {"length": np.array(lengths)}, episodes, np.random.default_rng(0), width)


def stay(n: int) -> np.ndarray:
    return np.zeros(n, np.int64)


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
        counted.append(trials.diverged)
    assert counted[:4] == [3, 4, 5, 6]
    assert counted[-1] == PLAN.size
    whole = variety()
    whole.begin()
    for _ in range(int(TOGETHER.sum())):
        whole.step(stay(6))
    assert whole.diverged == 0


N = 3


@dataclass
class Faulty:
    """N rows of one-step episodes; `fault` replaces fields of every step, `resets` what the first resets return."""

    fault: dict[str, Any] = field(default_factory=dict)
    resets: list[np.ndarray] = field(default_factory=list)
    observation_space: spaces.Space = field(default_factory=lambda: spaces.Box(-1, 1, (2,), np.float32))
    action_space = spaces.Discrete(2)
    horizon = 1

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"nothing": np.zeros(n)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> "Faulty":
        return self

    def _usual(self) -> np.ndarray:
        return np.zeros((N, *(self.observation_space.shape or ())), self.observation_space.dtype)

    def reset(self, rows: Bools) -> np.ndarray:
        return self.resets.pop(0) if self.resets else self._usual()

    def step(self, action: np.ndarray) -> Step:
        ended = np.ones(N, np.bool_)
        usual = Step(self._usual(), np.zeros(N, np.float32), ended, ~ended)
        return self.fault["step"] if "step" in self.fault else usual._replace(**self.fault)


def begun(faulty: Faulty) -> Trials:
    trials = Trials(faulty, {"nothing": np.zeros(N)}, 2, np.random.default_rng(0))
    trials.begin()
    return trials


def one_nan(*shape: int) -> np.ndarray:
    array = np.zeros(shape, np.float32)
    array.flat[1] = np.nan
    return array


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"reward": one_nan(N)}, r"reward is nan; expected a finite number\.$"),
        ({"reward": np.full(N, -np.inf)}, r"reward is -inf; expected a finite number\.$"),
        (
            {"reward": np.zeros((N, 1))},
            r"shape of .*reward is \(3, 1\); expected \(3,\), one .*\.$",
        ),
        ({"reward": np.float32(0)}, r"shape of .*reward is \(\); expected \(3,\), one .*\.$"),
        ({"terminated": np.ones(2, np.bool_)}, r"shape of .*terminated is \(2,\); expected .*\.$"),
        ({"truncated": np.bool_(False)}, r"shape of .*truncated is \(\); expected \(3,\).*\.$"),
        ({"observation": one_nan(N, 2)}, r"observation.* is nan; expected finite numbers\.$"),
        (
            {"observation": np.zeros((N, 3))},
            r"shape of .*observation.* is \(3, 3\); expected \(3, 2\): 3 rows.*\.$",
        ),
        (
            {"observation": np.zeros((2, 2))},
            r"shape of .*observation.* is \(2, 2\); expected \(3, 2\): 3 rows.*\.$",
        ),
        (
            {"observation": np.full((N, 2), 1e300)},
            r"^the environment's observation is 1e\+300; expected numbers within .*float32\.$",
        ),
        ({"observation": np.zeros((N, 2), complex)}, r"^the environment's observation is .*; expected numbers\.$"),
        (
            {"observation": [[0.0, 0.0], [0.0], [0.0]]},
            r"^the environment's observation is .*; expected an array of numbers\.$",
        ),
        ({"observation": None}, r"^the environment's observation is None; expected numbers\.$"),
        ({"reward": np.full(N, 1e39)}, r"^the environment's reward is 1e\+39; expected a finite number\.$"),
        ({"reward": np.array([None] * N)}, r"^the environment's reward is .*; expected numbers\.$"),
        ({"reward": ["1"] * N}, r"^the environment's reward is .*; expected numbers\.$"),
        ({"terminated": np.full(N, 2)}, r"^the environment's terminated is 2; expected True or False\.$"),
        ({"terminated": np.full(N, -1)}, r"^the environment's terminated is -1; expected True or False\.$"),
        ({"truncated": np.full(N, np.nan)}, r"^the environment's truncated is nan; expected True or False\.$"),
        ({"truncated": np.array(["False"] * N)}, r"^the environment's truncated is .*; expected numbers\.$"),
        (
            {"diverged": np.ones(2, np.bool_)},
            r"^the shape of the environment's diverged is \(2,\); expected \(3,\).*\.$",
        ),
        ({"diverged": "no"}, r"^the environment's diverged is 'no'; expected numbers\.$"),
        ({"diverged": np.full(N, 3)}, r"^the environment's diverged is 3; expected True or False\.$"),
        (
            {"privileged": {"reward": np.float32(0)}},
            r"^the shape of 'reward' of the environment's privileged is \(\); expected \(3,\).*\.$",
        ),
        (
            {"privileged": {"reward": one_nan(N)}},
            r"^'reward' of the environment's privileged is nan; expected a finite number\.$",
        ),
        ({"privileged": {"answer": [0, 1]}}, r"^the shape of 'answer' of .* privileged is \(2,\); expected 3 rows\.$"),
        ({"privileged": {"answer": one_nan(N, 2)}}, r"^'answer' of .* privileged is nan; expected finite numbers\.$"),
        ({"privileged": {"answer": ["a"] * N}}, r"^'answer' of .* privileged is .*; expected numbers\.$"),
        ({"privileged": np.ones(N)}, r"^the environment's privileged is .*; expected a mapping of names .*\.$"),
        (
            {"privileged": {"a.b": np.ones(N)}},
            r"^the environment's privileged is .*; expected a mapping of names .*\.$",
        ),
        ({"measures": {"won": np.ones(N)}}, r"^the measures of a step of .* are won; expected none, as .*\.$"),
        ({"step": None}, r"^what step of the environment returned is None; expected a Step .*\.$"),
        (
            {"step": tuple(Step(*[np.zeros(N)] * 4))},
            r"^what step of the environment returned is \(.*; expected a Step .*\.$",
        ),
    ],
)
def test_what_an_environment_gets_wrong_is_refused_in_one_sentence(fault: dict[str, Any], message: str) -> None:
    trials = begun(Faulty(fault))
    with pytest.raises(BadInput, match=message):
        trials.step(stay(N))


@pytest.mark.parametrize("state", [4, -1])
def test_a_state_out_of_range_is_refused_in_one_sentence(state: int) -> None:
    faulty = Faulty({"observation": np.array([0, state, 1])}, observation_space=spaces.Discrete(4))
    trials = begun(faulty)
    with pytest.raises(
        BadInput,
        match=rf"observation.* is \[ *0 +{state} +1\]; expected integers in \[0, 4\)\.$",
    ):
        trials.step(stay(N))


def test_a_state_that_is_no_integer_is_refused() -> None:
    trials = begun(Faulty({"observation": np.zeros(N)}, observation_space=spaces.Discrete(4)))
    with pytest.raises(BadInput, match="expected integers in"):
        trials.step(stay(N))


def test_states_may_begin_elsewhere_than_at_zero() -> None:
    every = np.array([5, 6, 7])
    trials = begun(Faulty({"observation": every}, [every, every], spaces.Discrete(3, start=5)))
    np.testing.assert_array_equal(trials.step(stay(N))[1].observation, every)


@pytest.mark.parametrize("state", [4, 8, 0])
def test_states_out_of_a_range_that_begins_elsewhere_are_refused(state: int) -> None:
    with pytest.raises(BadInput, match=r"observation.*; expected integers in \[5, 8\)\.$"):
        begun(Faulty(resets=[np.full(N, state)], observation_space=spaces.Discrete(3, start=5)))


def test_a_bad_first_observation_is_refused() -> None:
    with pytest.raises(BadInput, match=r"observation.* is nan; expected finite numbers\.$"):
        begun(Faulty(resets=[one_nan(N, 2)]))


def test_a_bad_first_observation_of_a_later_episode_is_refused() -> None:
    trials = begun(Faulty(resets=[np.zeros((N, 2), np.float32), one_nan(N, 2)]))
    with pytest.raises(BadInput, match=r"observation.* is nan; expected finite numbers\.$"):
        trials.step(stay(N))


@pytest.mark.parametrize(
    ("fault", "field", "expected"),
    [
        ({"reward": np.arange(N)}, "reward", np.float32([0, 1, 2])),
        ({"reward": np.float64([0.1, 0.2, 0.3])}, "reward", np.float32([0.1, 0.2, 0.3])),
        ({"reward": [True, False, True]}, "reward", np.float32([1, 0, 1])),
        ({"terminated": np.int64([1, 1, 1])}, "terminated", np.ones(N, np.bool_)),
        ({"terminated": np.float32([1, 1, 1])}, "terminated", np.ones(N, np.bool_)),
        ({"truncated": np.uint8([0, 1, 0])}, "truncated", np.array([False, True, False])),
        ({"observation": np.full((N, 2), 1 / 3)}, "observation", np.full((N, 2), 1 / 3, np.float32)),
        ({"observation": np.full((N, 2), 5)}, "observation", np.full((N, 2), 5, np.float32)),  # out of its bounds
        ({"diverged": np.int8([0, 1, 0])}, "diverged", np.array([False, True, False])),
        ({"diverged": True}, "diverged", np.True_),
        ({"diverged": False}, "diverged", np.False_),
    ],
)
def test_what_another_type_holds_without_loss_is_right(fault: dict[str, Any], field: str, expected: np.ndarray) -> None:
    _, step = begun(Faulty(fault)).step(stay(N))
    found = getattr(step, field)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_whole_numbers_as_flags_play_as_many_steps_as_booleans() -> None:
    class Numbers(Corridors):
        def step(self, action: np.ndarray) -> Step:
            step = super().step(action)
            return step._replace(terminated=step.terminated.astype(int), truncated=step.truncated.astype(np.int8))

    @dataclass(frozen=True, kw_only=True)
    class Numbered(Corridor):
        def make(self, tasks: Tasks, rng: np.random.Generator) -> Corridors:
            return Numbers(tasks["length"], self.horizon)

    tasks = {"length": np.array([1, 2, 3, 9])}
    steps = []
    for family in (Corridor(), Numbered()):
        trials = Trials(family, tasks, 5, np.random.default_rng(0))
        trials.begin()
        steps.append([trials.playing])
        while trials.playing.any():
            trials.step(stay(4))
            steps[-1].append(trials.playing)
    np.testing.assert_array_equal(steps[0], steps[1])


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


def play_on(trials: Trials, n: int) -> None:
    trials.begin()
    for _ in range(trials.steps):
        trials.step(stay(n))


@pytest.mark.parametrize("lengths", [[5], [1, 5], [4, 1, 6]])
@pytest.mark.parametrize("width", [1, 2])
def test_an_episode_that_goes_on_after_the_horizon_is_refused_in_one_sentence(lengths: list[int], width: int) -> None:
    class Endless(Corridor):
        def make(self, tasks: Tasks, rng: np.random.Generator) -> Corridors:
            return Corridors(tasks["length"], limit=100)

    trials = Trials(Endless(), {"length": np.array(lengths)}, 3, np.random.default_rng(0), width)
    with pytest.raises(BadInput, match=r"^an episode of Endless goes on after 4 steps, its horizon; expected .*\.$"):
        play_on(trials, width * len(lengths))


@pytest.mark.parametrize("horizon", [0, -1, 2.5, True, None, "3"])
def test_a_horizon_that_is_no_number_of_steps_is_refused(horizon: Any) -> None:
    with pytest.raises(BadInput, match=r"^the horizon of Corridor is .*; expected at least 1, a whole number\.$"):
        Trials(Corridor(horizon=horizon), {"length": np.ones(2)}, 1, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (None, "what Drawn sampled is None; expected a dict of arrays"),
        ([1, 2], r"what Drawn sampled is \[1, 2\]; expected a dict of arrays"),
        ({}, "what Drawn sampled is {}; expected a dict of arrays"),
        ({"length": np.ones(2)}, r"the shape of 'length' of the tasks of Drawn is \(2,\); expected 3 rows"),
        ({"length": np.float64(1)}, r"the shape of 'length' of the tasks of Drawn is \(\); expected 3 rows"),
        (
            {"length": np.ones(3), "colour": np.ones(4)},
            r"the shape of 'colour' of the tasks of Drawn is \(4,\); expected 3",
        ),
        ({"length": np.array([None] * 3)}, "'length' of the tasks of Drawn is .*; expected numbers or text"),
        ({"length": [[1], [1, 2], [3]]}, "'length' of the tasks of Drawn is .*; expected numbers or text"),
    ],
)
def test_a_sample_that_is_none_is_refused_in_one_sentence(tasks: Any, message: str) -> None:
    class Drawn(Corridor):
        def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
            return tasks

    with pytest.raises(BadInput, match=rf"^{message}[^\n]*\.$"):
        sample_tasks(Drawn(), np.random.default_rng(0), 3, "train")


@pytest.mark.parametrize("method", ["make", "reset", "step"])
def test_what_an_environment_raises_is_one_sentence_with_its_line(method: str) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError("no mass")

    family, env = Corridor(), Corridors(np.ones(2), 4)
    setattr(env, method, broken)
    object.__setattr__(family, "make", broken if method == "make" else lambda tasks, rng: env)
    message = rf"^Corridor's {method} raised ZeroDivisionError: no mass, at .*test_trials\.py:\d+ in broken\.$"
    with pytest.raises(EnvironmentRaised, match=message):
        play_on(
            Trials(family, sample_tasks(family, np.random.default_rng(0), 2, "train"), 1, np.random.default_rng(0)), 2
        )
